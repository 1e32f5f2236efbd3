//! What a message between two actors costs, on one worker: between bodies that receive, and between values with `receive`; and
//! what asking, supervising and publishing do.
//!
//! ```text
//! cargo bench --bench actor
//! ```

use std::hint::black_box;
use std::time::{Duration, Instant};

use criterion::{Criterion, criterion_group, criterion_main};
use osier::Runtime;
use osier::actor::{Actor, Address, Builder, Context, Mailbox, Reply, Restart, Strategy, Supervisor, Topics};

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

/// Gives back what it is asked for; panics at 0.
struct Echo;

impl Actor for Echo {
    type Message = (u64, Reply<u64>);

    fn receive(&mut self, (value, reply): Self::Message, _: &Context<'_, Self::Message>) {
        assert_ne!(value, 0);
        _ = reply.send(value);
    }
}

/// Runs `call` `n` times. Returns how long that took.
fn repeat<T>(n: u64, call: impl Fn() -> T) -> Duration {
    let start = Instant::now();
    (0..n).for_each(|_| _ = black_box(call()));
    start.elapsed()
}

fn calls(c: &mut Criterion) {
    let runtime = Runtime::builder().workers(1).build().expect("a thread is to be had");
    let mut group = c.benchmark_group("actor");
    group.bench_function("ask", |b| {
        b.iter_custom(|n| {
            runtime.run(|| {
                let echo = Builder::new().spawn_actor(Echo);
                let took = repeat(n, || echo.ask(|reply| (1, reply)).expect("it answers"));
                echo.close();
                took
            })
        });
    });
    group.bench_function("started and stopped by a supervisor", |b| {
        b.iter_custom(|n| {
            runtime.run(|| {
                repeat(n, || {
                    let supervisor = Supervisor::builder(Strategy::OneForOne).start();
                    supervisor
                        .start("echo", Restart::Permanent, Builder::new().child(|| Echo))
                        .map(drop)
                        .expect("nobody has the name");
                    supervisor.stop();
                })
            })
        });
    });
    group.bench_function("published to 4 of 100 subscriptions", |b| {
        b.iter_custom(|n| {
            runtime.run(|| {
                let topics = Topics::new();
                let idle: Vec<_> = (0..96).map(|i| topics.subscribe(&format!("other.{i}"))).collect();
                let four: Vec<_> = (0..4).map(|_| topics.subscribe("weather.*")).collect();
                let took = repeat(n, || {
                    assert_eq!(topics.publish("weather.today", 1), 4);
                    four.iter().for_each(|inbox| assert_eq!(inbox.recv(), Ok(1)));
                });
                drop(idle);
                took
            })
        });
    });
    group.finish();
}

criterion_group! {
    name = benches;
    config = Criterion::default()
        .warm_up_time(Duration::from_millis(300))
        .measurement_time(Duration::from_secs(1));
    targets = messages, calls
}
criterion_main!(benches);
