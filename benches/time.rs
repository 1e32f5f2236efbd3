//! What it costs to be interruptible: checkpoints, timeouts around code that does not wait, and around code that does; and
//! whether it matters how many others have a timeout.
//!
//! ```text
//! cargo bench --bench time
//! ```

use std::hint::black_box;
use std::time::{Duration, Instant};

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use osier::sync::{WaitGroup, channel};
use osier::time::{interval, timeout};
use osier::{Runtime, sleep, spawn, task, yield_now};

/// Calls between two looks at the clock, so that what is around them does not count.
const CALLS: u64 = 1000;

/// Steps of a computation, with `between` after each: what a checkpoint adds to a loop.
fn compute(between: impl Fn()) -> u64 {
    (0..CALLS).fold(1, |state: u64, step| {
        between();
        black_box(state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(step))
    })
}

/// Runs `call` `n` times in a task. Returns how long that took.
fn repeat<T>(runtime: &Runtime, n: u64, call: impl Fn() -> T + Sync) -> Duration {
    runtime.run(|| {
        let start = Instant::now();
        (0..n).for_each(|_| _ = black_box(call()));
        start.elapsed()
    })
}

fn time(criterion: &mut Criterion) {
    let runtime = &Runtime::builder().workers(1).build().expect("threads can be started");
    let limit = Duration::from_secs(10);
    let mut group = criterion.benchmark_group("checkpoint");
    group.throughput(Throughput::Elements(CALLS));
    group.bench_function("1000 steps without", |b| b.iter_custom(|n| repeat(runtime, n, || compute(|| ()))));
    group.bench_function("1000 steps with", |b| b.iter_custom(|n| repeat(runtime, n, || compute(task::checkpoint))));
    group.bench_function("1000 steps with, in a timeout", |b| {
        let in_a_timeout = || timeout(limit, || compute(task::checkpoint));
        b.iter_custom(|n| repeat(runtime, n, in_a_timeout));
    });
    group.finish();
    let mut group = criterion.benchmark_group("timeout");
    group.bench_function("nothing waits", |b| b.iter_custom(|n| repeat(runtime, n, || timeout(limit, || 1))));
    group.bench_function("a yield without", |b| b.iter_custom(|n| repeat(runtime, n, yield_now)));
    group.bench_function("a yield", |b| b.iter_custom(|n| repeat(runtime, n, || timeout(limit, yield_now))));
    let tick = |n| {
        runtime.run(|| {
            let mut interval = interval(Duration::from_nanos(1));
            let start = Instant::now();
            (0..n).for_each(|_| _ = interval.tick());
            start.elapsed()
        })
    };
    group.bench_function("an Interval's tick that is due", |b| b.iter_custom(tick));
    group.bench_function("a sleep of a microsecond", |b| {
        b.iter_custom(|n| repeat(runtime, n, || sleep(Duration::from_micros(1))));
    });
    group.bench_function("a sleep of no time", |b| b.iter_custom(|n| repeat(runtime, n, || sleep(Duration::ZERO))));
    group.finish();
}

/// A message that one of `count` tasks receives, each with a limit of a minute: the one that has waited longest, whose timer
/// is the earliest of all, and is set anew.
fn rearm(criterion: &mut Criterion) {
    let runtime = &Runtime::builder().workers(1).build().expect("threads can be started");
    let mut group = criterion.benchmark_group("the earliest timeout is set anew");
    for count in [100, 10_000, 100_000] {
        let (sender, receiver) = channel::unbounded::<()>();
        runtime.run(|| {
            let begun = WaitGroup::new();
            for _ in 0..count {
                let (receiver, begun) = (receiver.clone(), begun.clone());
                drop(spawn(move || {
                    drop(begun);
                    while receiver.recv_timeout(Duration::from_secs(60)).is_ok() {}
                }));
            }
            begun.wait();
        });
        let pass_one = || {
            sender.send(()).expect("they receive");
            yield_now();
        };
        group.bench_function(format!("among {count}"), |b| b.iter_custom(|n| repeat(runtime, n, pass_one)));
    }
    group.finish();
}

criterion_group!(benches, time, rearm);
criterion_main!(benches);
