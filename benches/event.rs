//! What it costs to wait for something that many wait for: events, conditions, barriers, results, on one worker.
//!
//! ```text
//! cargo bench --bench event
//! ```

use std::sync::Arc;
use std::time::{Duration, Instant};

use criterion::{Criterion, criterion_group, criterion_main};
use osier::sync::{AsyncResult, Barrier, Condvar, Event, Mutex};
use osier::{Runtime, spawn, yield_now};

/// Wakes `count` tasks from one event, `n` times. Returns how long that took.
fn set(n: u64, count: usize) -> Duration {
    let event = Event::new();
    let tasks: Vec<_> = (0..count)
        .map(|_| {
            let event = event.clone();
            spawn(move || (0..n).for_each(|_| event.wait()))
        })
        .collect();
    yield_now();
    let start = Instant::now();
    for _ in 0..n {
        event.set();
        event.clear();
        // All go round, and wait again.
        yield_now();
    }
    // Lets those end that were late for a round.
    event.set();
    tasks.into_iter().for_each(|task| task.join().expect("it is woken"));
    start.elapsed()
}

/// Counts up, `n` times, whenever the number's last bit is `mine`.
fn play(turn: &(Mutex<u64>, Condvar), mine: u64, n: u64) {
    for _ in 0..n {
        let mut now = turn.1.wait_while(turn.0.lock(), |now| *now % 2 != mine);
        *now += 1;
        drop(now);
        turn.1.notify_one();
    }
}

/// Two tasks take turns by a condition, `n` times.
fn take_turns(n: u64) -> Duration {
    let turn = Arc::new((Mutex::new(0), Condvar::new()));
    let start = Instant::now();
    let other = {
        let turn = turn.clone();
        spawn(move || play(&turn, 1, n.div_ceil(2)))
    };
    play(&turn, 0, n.div_ceil(2));
    other.join().expect("it has had its turns");
    start.elapsed()
}

/// Two tasks meet `n` times.
fn meet(n: u64) -> Duration {
    let barrier = Barrier::new(2);
    let start = Instant::now();
    let other = {
        let barrier = barrier.clone();
        spawn(move || (0..n).for_each(|_| _ = barrier.wait().expect("nobody breaks it")))
    };
    (0..n).for_each(|_| _ = barrier.wait().expect("nobody breaks it"));
    other.join().expect("both have met");
    start.elapsed()
}

/// A task waits for each of `n` results.
fn get(n: u64) -> Duration {
    let start = Instant::now();
    for n in 0..n {
        let result = AsyncResult::new();
        let setter = {
            let result = result.clone();
            spawn(move || result.set(n))
        };
        assert_eq!(result.get().expect("it is set"), n);
        setter.join().expect("it ends").expect("it is the only one");
    }
    start.elapsed()
}

fn events(c: &mut Criterion) {
    let runtime = Runtime::builder().workers(1).build().expect("a thread is to be had");
    let mut group = c.benchmark_group("event");
    group.bench_function("Event, one waits", |b| b.iter_custom(|n| runtime.run(|| set(n, 1))));
    group.bench_function("Event, 100 wait", |b| b.iter_custom(|n| runtime.run(|| set(n, 100))));
    group.bench_function("Condvar, a turn", |b| b.iter_custom(|n| runtime.run(|| take_turns(n))));
    group.bench_function("Barrier, two meet", |b| b.iter_custom(|n| runtime.run(|| meet(n))));
    group.bench_function("AsyncResult, set by a task", |b| b.iter_custom(|n| runtime.run(|| get(n))));
    group.finish();
}

criterion_group!(benches, events);
criterion_main!(benches);
