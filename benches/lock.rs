//! What locks, semaphores and events cost, uncontended and held over a yield, each beside std where that can do the same;
//! conditions and wait groups between tasks.
//!
//! ```text
//! cargo bench --bench lock              # about half a minute
//! cargo bench --bench lock -- --quick   # less exact, a few seconds
//! ```
//!
//! The `workloads` example measures contended mutexes: `mutex threads=2`, `mutex yield_in=1`.

use std::hint::black_box;
use std::time::{Duration, Instant};

use criterion::{BatchSize, Criterion, criterion_group, criterion_main};
use osier::sync::{Condition, Event, Mutex, Once, OnceCell, Queue, RLock, RwLock, Semaphore, WaitGroup};
use osier::{Runtime, spawn, yield_now};

/// One lock and one unlock that nobody contends for.
fn uncontended(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("uncontended");
    let mutex = Mutex::new(0_u64);
    group.bench_function("mutex", |bencher| bencher.iter(|| *black_box(&mutex).lock() += 1));
    let std_mutex = std::sync::Mutex::new(0_u64);
    group.bench_function("std mutex", |bencher| {
        bencher.iter(|| *black_box(&std_mutex).lock().expect("nobody panics with it") += 1);
    });
    let lock = RwLock::new(0_u64);
    group.bench_function("rwlock read", |bencher| bencher.iter(|| *black_box(&lock).read()));
    group.bench_function("rwlock write", |bencher| bencher.iter(|| *black_box(&lock).write() += 1));
    let rlock = RLock::new();
    group.bench_function("rlock", |bencher| bencher.iter(|| drop(black_box(&rlock).lock())));
    let held = rlock.lock();
    group.bench_function("rlock, again", |bencher| bencher.iter(|| drop(black_box(&rlock).lock())));
    drop(held);
    let condition = Condition::new();
    group.bench_function("condition", |bencher| bencher.iter(|| black_box(&condition).lock().notify_one()));
    let once = Once::new();
    group.bench_function("once that has run", |bencher| bencher.iter(|| black_box(&once).call_once(|| ())));
    let cell = OnceCell::new();
    group.bench_function("cell that is full", |bencher| bencher.iter(|| *black_box(&cell).get_or_init(|| 7)));
    group.bench_function("cell that is filled", |bencher| {
        bencher.iter_batched_ref(OnceCell::new, |cell| *cell.get_or_init(|| 7), BatchSize::SmallInput);
    });
    let semaphore = Semaphore::new(1);
    group.bench_function("semaphore", |bencher| {
        bencher.iter(|| {
            black_box(&semaphore).acquire();
            semaphore.release();
        });
    });
    let event = Event::new();
    event.set();
    group.bench_function("event that is set", |bencher| bencher.iter(|| black_box(&event).wait()));
    let queue = Queue::new();
    group.bench_function("queue put and get", |bencher| {
        bencher.iter(|| {
            queue.put(1).expect("it is not shut down");
            queue.get().expect("it is not empty")
        });
    });
    group.finish();
}

/// One lock of eight tasks that take turns, and yield while they hold it.
fn held_over_a_yield(criterion: &mut Criterion) {
    const TASKS: u64 = 8;
    let runtime = Runtime::builder().workers(1).build().expect("the system has threads to spare");
    let work = |n: u64| -> Duration {
        let mutex = std::sync::Arc::new(Mutex::new(0));
        let start = Instant::now();
        let tasks: Vec<_> = (0..TASKS)
            .map(|_| {
                let mutex = mutex.clone();
                spawn(move || {
                    for _ in 0..n.div_ceil(TASKS) {
                        let _guard = mutex.lock();
                        yield_now();
                    }
                })
            })
            .collect();
        tasks.into_iter().for_each(|task| task.join().expect("nothing fails"));
        start.elapsed()
    };
    criterion.bench_function("held over a yield", |bencher| bencher.iter_custom(|n| runtime.run(|| work(n))));
}

/// A group of eight tasks that are waited for.
fn wait_group(criterion: &mut Criterion) {
    const TASKS: u64 = 8;
    let runtime = Runtime::builder().workers(1).build().expect("the system has threads to spare");
    let work = |n: u64| -> Duration {
        let start = Instant::now();
        for _ in 0..n.div_ceil(TASKS) {
            let group = WaitGroup::new();
            for _ in 0..TASKS {
                let member = group.clone();
                drop(spawn(move || drop(member)));
            }
            group.wait();
        }
        start.elapsed()
    };
    criterion.bench_function("a wait group's task", |bencher| bencher.iter_custom(|n| runtime.run(|| work(n))));
}

/// A condition that goes from task to task: notified, waited for, its lock given up and taken.
fn condition(criterion: &mut Criterion) {
    let runtime = Runtime::builder().workers(1).build().expect("the system has threads to spare");
    let work = |n: u64| -> Duration {
        let condition = Condition::new();
        let other = spawn({
            let condition = condition.clone();
            move || {
                let guard = condition.lock();
                for _ in 0..n.div_ceil(2) {
                    guard.notify_one();
                    guard.wait();
                }
            }
        });
        let start = Instant::now();
        let guard = condition.lock();
        for _ in 0..n.div_ceil(2) {
            guard.wait();
            guard.notify_one();
        }
        drop(guard);
        other.join().expect("it was notified");
        start.elapsed()
    };
    criterion.bench_function("condition, from task to task", |bencher| {
        bencher.iter_custom(|n| runtime.run(|| work(n)));
    });
}

criterion_group!(benches, uncontended, held_over_a_yield, wait_group, condition);
criterion_main!(benches);
