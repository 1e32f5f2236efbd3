//! What messages cost: each kind of channel between two tasks of one worker, and a select over four.
//!
//! ```text
//! cargo bench --bench channel
//! ```

use std::time::{Duration, Instant};

use criterion::{Criterion, criterion_group, criterion_main};
use osier::sync::channel::{self, Receiver, Sender};
use osier::{Runtime, select, spawn};

/// Makes a channel of one kind.
type Make = fn() -> (Sender<u64>, Receiver<u64>);

/// A counter goes to and fro until it is 0. Returns how long that took.
fn ping_pong(n: u64, make: Make) -> Duration {
    let ((there, inbox), (back, answers)) = (make(), make());
    let partner = spawn(move || inbox.iter().try_for_each(|n| back.send(n)));
    let start = Instant::now();
    for n in 0..n.div_ceil(2) {
        there.send(n).expect("the partner listens");
        assert_eq!(answers.recv(), Ok(n));
    }
    let took = start.elapsed();
    drop(there);
    partner.join().expect("the partner ends").expect("somebody listens to it");
    took
}

/// `n` numbers come over four channels, each from a task of its own that sends for as long as it may.
fn select_four(n: u64) -> Duration {
    let start = Instant::now();
    let receivers: [Receiver<u64>; 4] = std::array::from_fn(|_| {
        let (sender, receiver) = channel::bounded(16);
        drop(spawn(move || while sender.send(1).is_ok() {}));
        receiver
    });
    let [a, b, c, d] = &receivers;
    for _ in 0..n {
        let number = select! {
            recv(a) -> number => number,
            recv(b) -> number => number,
            recv(c) -> number => number,
            recv(d) -> number => number,
        };
        assert_eq!(number, Ok(1));
    }
    start.elapsed()
}

fn messages(c: &mut Criterion) {
    let runtime = Runtime::builder().workers(1).build().expect("a thread is to be had");
    let mut group = c.benchmark_group("channel");
    let kinds: [(&str, Make); 3] = [
        ("bounded(1)", || channel::bounded(1)),
        ("unbounded", channel::unbounded),
        ("rendezvous", channel::rendezvous),
    ];
    for (name, make) in kinds {
        group.bench_function(name, |b| b.iter_custom(|n| runtime.run(|| ping_pong(n, make))));
    }
    group.bench_function("select over 4", |b| b.iter_custom(|n| runtime.run(|| select_four(n))));
    group.bench_function("buffered, alone", |b| {
        let (sender, receiver) = channel::bounded(1);
        b.iter(|| {
            sender.send(1).expect("there is room");
            receiver.recv()
        });
    });
    group.finish();
}

criterion_group!(benches, messages);
criterion_main!(benches);
