//! What a message between two actors costs, on one worker: between bodies that receive, and between values with `receive`.
//!
//! ```text
//! cargo bench --bench actor
//! ```

use std::time::{Duration, Instant};

use criterion::{Criterion, criterion_group, criterion_main};
use osier::Runtime;
use osier::actor::{Actor, Address, Builder, Context, Mailbox};

enum Ball {
    /// Whom to play with.
    Partner(Address<Ball>),
    /// How many messages are left.
    Left(u64),
}

/// Plays until no message is left.
#[derive(Default)]
struct Player {
    partner: Option<Address<Ball>>,
}

impl Player {
    /// Whether it goes on.
    fn play(&mut self, ball: Ball) -> bool {
        match ball {
            Ball::Partner(partner) => self.partner = Some(partner),
            Ball::Left(left) => {
                let partner = self.partner.as_ref().expect("it was told before");
                if left > 0 {
                    // One that has played its last has ended.
                    _ = partner.send(Ball::Left(left - 1));
                }
                return left > 1;
            }
        }
        true
    }
}

impl Actor for Player {
    type Message = Ball;

    fn receive(&mut self, ball: Ball, context: &Context<'_, Ball>) {
        if !self.play(ball) {
            context.stop();
        }
    }
}

/// Starts a player.
type Start = fn() -> Address<Ball>;

/// `n` messages between the two.
fn play(n: u64, start: Start) -> Duration {
    let players = [start(), start()];
    players[0].send(Ball::Partner(players[1].clone())).expect("it plays");
    players[1].send(Ball::Partner(players[0].clone())).expect("it plays");
    let began = Instant::now();
    players[0].send(Ball::Left(n)).expect("it plays");
    for player in players {
        player.join().expect("it ends well");
    }
    began.elapsed()
}

fn messages(c: &mut Criterion) {
    let runtime = Runtime::builder().workers(1).build().expect("a thread is to be had");
    let mut group = c.benchmark_group("actor");
    let kinds: [(&str, Start); 2] = [
        ("bodies", || {
            Builder::new().spawn(|inbox: &Mailbox<Ball>| {
                let mut player = Player::default();
                while player.play(inbox.recv()) {}
            })
        }),
        ("values", || Builder::new().spawn_actor(Player::default())),
    ];
    for (name, start) in kinds {
        group.bench_function(name, |b| b.iter_custom(|n| runtime.run(|| play(n, start))));
    }
    group.finish();
}

criterion_group!(benches, messages);
criterion_main!(benches);
