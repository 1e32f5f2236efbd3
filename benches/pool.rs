//! What groups, pools and executors cost a task, an item or a job, on one worker.
//!
//! ```text
//! cargo bench --bench pool
//! ```

use std::time::{Duration, Instant};

use criterion::{Criterion, criterion_group, criterion_main};
use osier::pool::{Coroutines, Threads};
use osier::sync::Semaphore;
use osier::{Group, Pool, Runtime, spawn};

fn timed(f: impl FnOnce()) -> Duration {
    let start = Instant::now();
    f();
    start.elapsed()
}

/// Two tasks hand one permit to and fro, `n` times.
fn hand_over(n: u64) -> Duration {
    let (there, back) = (Semaphore::new(0), Semaphore::new(0));
    let other = spawn({
        let (there, back) = (there.clone(), back.clone());
        move || {
            for _ in 0..n.div_ceil(2) {
                there.acquire();
                back.release();
            }
        }
    });
    let took = timed(|| {
        for _ in 0..n.div_ceil(2) {
            there.release();
            back.acquire();
        }
    });
    other.join().expect("it has had its permits");
    took
}

fn pools(c: &mut Criterion) {
    let runtime = Runtime::builder().workers(1).build().expect("a thread is to be had");
    let mut group = c.benchmark_group("pool");
    group.bench_function("Group, spawned and joined", |b| {
        b.iter_custom(|n| {
            runtime.run(|| {
                timed(|| {
                    let group = Group::new();
                    (0..n).for_each(|_| drop(group.spawn(|| ())));
                    group.join().expect("none fails");
                })
            })
        });
    });
    group.bench_function("Pool(8), spawned and joined", |b| {
        b.iter_custom(|n| {
            runtime.run(|| {
                timed(|| {
                    let pool = Pool::new(8);
                    (0..n).for_each(|_| drop(pool.spawn(|| ())));
                    pool.join().expect("none fails");
                })
            })
        });
    });
    group.bench_function("Pool(8)::map", |b| {
        b.iter_custom(|n| {
            runtime.run(|| timed(|| assert_eq!(Pool::new(8).map(0..n, |item| item + 1).len() as u64, n)))
        });
    });
    group.bench_function("Pool(8)::imap_unordered", |b| {
        b.iter_custom(|n| {
            runtime.run(|| timed(|| assert_eq!(Pool::new(8).imap_unordered(0..n, |item| item + 1).count() as u64, n)))
        });
    });
    group.bench_function("Semaphore, alone", |b| {
        let semaphore = Semaphore::new(1);
        b.iter(|| {
            semaphore.acquire();
            semaphore.release();
        });
    });
    group.bench_function("Semaphore, from task to task", |b| b.iter_custom(|n| runtime.run(|| hand_over(n))));
    group.finish();
}

/// Jobs of an executor: one that is waited for, and many that are mapped.
macro_rules! executor {
    ($group:ident, $runtime:ident, $Executor:ident) => {
        let executor = $runtime.run(|| $Executor::new(4));
        let name = stringify!($Executor);
        $group.bench_function(format!("{name}(4)::submit, and get"), |b| {
            let submit = |n: u64| (0..n).for_each(|i| assert_eq!(executor.submit(|i: u64| i, i).get().ok(), Some(i)));
            b.iter_custom(|n| $runtime.run(|| timed(|| submit(n))));
        });
        $group.bench_function(format!("{name}(4)::map"), |b| {
            b.iter_custom(|n| $runtime.run(|| timed(|| assert_eq!(executor.map(|i: u64| i, 0..n).len() as u64, n))));
        });
        $group.bench_function(format!("{name}(4)::imap"), |b| {
            let map = |n| executor.imap(|i: u64| i, 0..n).count() as u64;
            b.iter_custom(|n| $runtime.run(|| timed(|| assert_eq!(map(n), n))));
        });
        $runtime.run(|| executor.shutdown(false));
    };
}

fn executors(c: &mut Criterion) {
    let runtime = Runtime::builder().workers(1).build().expect("a thread is to be had");
    let mut group = c.benchmark_group("executor");
    executor!(group, runtime, Coroutines);
    executor!(group, runtime, Threads);
    group.finish();
}

criterion_group! {
    name = benches;
    config = Criterion::default()
        .warm_up_time(Duration::from_millis(300))
        .measurement_time(Duration::from_secs(1));
    targets = pools, executors
}
criterion_main!(benches);
