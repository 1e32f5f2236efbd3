//! What it costs to be interruptible: checkpoints, timeouts around code that does not wait, and around code that does.
//!
//! ```text
//! cargo bench --bench time
//! ```

use std::hint::black_box;
use std::time::Duration;

use criterion::{Criterion, criterion_group, criterion_main};
use osier::time::timeout;
use osier::{Runtime, sleep, task, yield_now};

/// Calls between two looks at the clock, so that what is around them does not count.
const CALLS: u64 = 1000;

/// Steps of a computation, with `between` after each: what a checkpoint adds to a loop.
fn compute(between: impl Fn()) -> u64 {
    (0..CALLS).fold(1, |state: u64, step| {
        between();
        black_box(state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(step))
    })
}

fn time(criterion: &mut Criterion) {
    let runtime = Runtime::builder().workers(1).build().expect("threads can be started");
    let limit = Duration::from_secs(10);
    let mut group = criterion.benchmark_group("time");
    group.throughput(criterion::Throughput::Elements(CALLS));
    runtime.run(|| {
        group.bench_function("1000 steps", |bencher| bencher.iter(|| compute(|| ())));
        group.bench_function("1000 steps with checkpoints", |bencher| bencher.iter(|| compute(task::checkpoint)));
        group.bench_function("1000 steps with checkpoints, in a timeout", |bencher| {
            timeout(Duration::from_secs(3600), || bencher.iter(|| compute(task::checkpoint)))
                .expect("an hour is enough");
        });
    });
    group.finish();
    let mut group = criterion.benchmark_group("timeout");
    runtime.run(|| {
        group.bench_function("nothing waits", |bencher| bencher.iter(|| timeout(limit, || black_box(1))));
        group.bench_function("a yield", |bencher| bencher.iter(yield_now));
        group.bench_function("around a yield", |bencher| bencher.iter(|| timeout(limit, yield_now)));
        group.bench_function("a sleep of no time", |bencher| bencher.iter(|| sleep(Duration::ZERO)));
    });
    group.finish();
}

criterion_group!(benches, time);
criterion_main!(benches);
