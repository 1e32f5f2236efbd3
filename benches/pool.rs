//! What groups and pools cost a task or an item, on one worker.
//!
//! ```text
//! cargo bench --bench pool
//! ```

use std::time::{Duration, Instant};

use criterion::{Criterion, criterion_group, criterion_main};
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

criterion_group!(benches, pools);
criterion_main!(benches);
