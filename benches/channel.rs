//! What messages cost: each kind of channel between two tasks of one worker, a select over four, and generators whose body
//! runs as a task.
//!
//! ```text
//! cargo bench --bench channel
//! ```

use std::time::{Duration, Instant};

use criterion::{Criterion, criterion_group, criterion_main};
use osier::pool::Remote;
use osier::sync::channel::{self, Receiver, Sender};
use osier::{Generator, Runtime, Yielder, select, spawn, yield_now};

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

/// `n` values to four receivers, in rounds that every one of them has seen.
fn broadcast(n: u64) -> Duration {
    let (sender, receiver) = channel::broadcast(64);
    let receivers: Vec<_> = (0..4)
        .map(|_| {
            let receiver = receiver.clone();
            spawn(move || receiver.iter().sum::<u64>())
        })
        .collect();
    drop(receiver);
    let start = Instant::now();
    for _ in 0..n {
        sender.send(1).expect("there are receivers");
        yield_now();
    }
    drop(sender);
    for receiver in receivers {
        assert_eq!(receiver.join().expect("it receives"), n);
    }
    start.elapsed()
}

/// A value that is changed `n` times, and seen each time by another task.
fn watch(n: u64) -> Duration {
    let (sender, receiver) = channel::watch(0);
    let watcher = spawn(move || receiver.iter().last());
    let start = Instant::now();
    for n in 1..=n {
        sender.send(n);
        yield_now();
    }
    drop(sender);
    assert_eq!(watcher.join().expect("it looks"), Some(n));
    start.elapsed()
}

/// `n` questions to another task, each with its own channel for the answer.
fn oneshot(n: u64) -> Duration {
    let (questions, inbox) = channel::bounded::<channel::OneshotSender<u64>>(1);
    let answers = spawn(move || inbox.iter().try_for_each(|answer| answer.send(1)));
    let start = Instant::now();
    for _ in 0..n {
        let (answer, question) = channel::oneshot();
        questions.send(answer).expect("somebody answers");
        assert_eq!(question.recv(), Ok(1));
    }
    let took = start.elapsed();
    drop(questions);
    answers.join().expect("it answers").expect("each is waited for");
    took
}

/// `n` items of a generator whose body is another task: in lock step, or so many of them ahead.
fn remote(n: u64, ahead: Option<usize>) -> Duration {
    let builder = Generator::builder(move |y: &Yielder<u64>| (0..n).for_each(|n| y.yield_(n)));
    let items: Remote<u64> = match ahead {
        None => builder.spawn(),
        Some(ahead) => builder.spawn_ahead(ahead),
    };
    let start = Instant::now();
    assert_eq!(items.count() as u64, n);
    start.elapsed()
}

/// A channel that gives the time when it has come, made and received from.
fn clock(n: u64, make: impl Fn(Duration) -> Receiver<Instant>) -> Duration {
    let start = Instant::now();
    for _ in 0..n {
        make(Duration::ZERO).recv().expect("the time comes");
    }
    start.elapsed()
}

/// Ticks that are always due.
fn ticks(n: u64) -> Duration {
    let ticks = channel::tick(Duration::from_nanos(1));
    let start = Instant::now();
    for _ in 0..n {
        ticks.recv().expect("the time comes");
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
    group.bench_function("broadcast to 4", |b| b.iter_custom(|n| runtime.run(|| broadcast(n))));
    group.bench_function("watch", |b| b.iter_custom(|n| runtime.run(|| watch(n))));
    group.bench_function("oneshot, asked and answered", |b| b.iter_custom(|n| runtime.run(|| oneshot(n))));
    group.bench_function("Remote, in lock step", |b| b.iter_custom(|n| runtime.run(|| remote(n, None))));
    group.bench_function("Remote, 16 ahead", |b| b.iter_custom(|n| runtime.run(|| remote(n, Some(16)))));
    group.bench_function("after, no time", |b| b.iter_custom(|n| runtime.run(|| clock(n, channel::after))));
    group.bench_function("tick, every nanosecond", |b| b.iter_custom(|n| runtime.run(|| ticks(n))));
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
