//! What tasks and runtimes cost besides spawning, joining and yielding, which `context_switch` measures.
//!
//! ```text
//! cargo bench --bench task
//! ```
//!
//! On one worker, so that a move is measured and not the wake-up of a thread.

use std::cell::Cell;
use std::hint::black_box;
use std::time::{Duration, Instant};

use criterion::{Criterion, criterion_group, criterion_main};
use osier::sync::Event;
use osier::task::{self, Hop, Step, scope, spawn_hop, spawn_stepped};
use osier::{LocalRuntime, Runtime, future, join_all, spawn, spawn_local, wait, yield_now};

osier::task_local! {
    static COUNT: Cell<u64> = Cell::new(0);
    inherit static NAME: String = "none".to_owned();
}

fn runtime() -> Runtime {
    Runtime::builder().workers(1).build().expect("a thread is to be had")
}

/// Runs `call` `n` times in a task. Returns how long that took.
fn repeat<T>(runtime: &Runtime, n: u64, call: impl Fn() -> T + Sync) -> Duration {
    runtime.run(|| {
        let start = Instant::now();
        (0..n).for_each(|_| _ = black_box(call()));
        start.elapsed()
    })
}

/// Two tasks unpark each other, `n` times in all.
fn unpark_each_other(n: u64) {
    let first = task::current();
    let turns = n.div_ceil(2);
    let second = spawn(move || {
        for _ in 0..turns {
            task::park();
            first.unpark();
        }
    });
    for _ in 0..turns {
        second.task().unpark();
        task::park();
    }
    second.join().expect("it had its turns");
}

/// A task that waits for what does not come.
fn waiting() -> osier::JoinHandle<()> {
    let waits = spawn(|| Event::new().wait());
    // So that it waits.
    yield_now();
    waits
}

fn tasks(criterion: &mut Criterion) {
    let runtime = &runtime();
    let mut group = criterion.benchmark_group("task");
    group.bench_function("spawn_local and join", |b| {
        b.iter_custom(|n| repeat(runtime, n, || spawn_local(|| ()).join().is_ok()));
    });
    group.bench_function("a scope with one task", |b| {
        let call = || {
            let mut value = 0_u64;
            scope(|s| drop(s.spawn(|| value += 1)));
            value
        };
        b.iter_custom(|n| repeat(runtime, n, call));
    });
    group.bench_function("spawn_stepped, ten steps", |b| {
        let step = |left: &mut u32| {
            *left -= 1;
            if *left == 0 { Step::Done(()) } else { Step::Again }
        };
        b.iter_custom(|n| repeat(runtime, n, || spawn_stepped(10, step).join().is_ok()));
    });
    group.bench_function("spawn_hop, two hops", |b| {
        let hop = || spawn_hop(|| Hop::on(|| Hop::on(|| Hop::Done(1)))).join().is_ok();
        b.iter_custom(|n| repeat(runtime, n, hop));
    });
    group.bench_function("unpark and park", |b| {
        b.iter_custom(|n| {
            runtime.run(|| {
                let start = Instant::now();
                unpark_each_other(n);
                start.elapsed()
            })
        });
    });
    group.bench_function("spawned, waits, cancelled and joined", |b| {
        let call = || {
            let waits = waiting();
            waits.cancel();
            waits.join().is_err()
        };
        b.iter_custom(|n| repeat(runtime, n, call));
    });
    group.bench_function("spawned, waits, killed", |b| b.iter_custom(|n| repeat(runtime, n, || waiting().kill())));
    group.bench_function("join_all of 100", |b| {
        let call = || join_all((0..100).map(|i| spawn(move || i))).map(|all| all.len());
        b.iter_custom(|n| repeat(runtime, n, call));
    });
    group.bench_function("wait for the first of four", |b| {
        let call = || {
            let tasks = [0, 1, 2, 3].map(|i| spawn(move || i));
            let objects = tasks.each_ref().map(|task| task as &dyn osier::Wait);
            wait(&objects).next()
        };
        b.iter_custom(|n| repeat(runtime, n, call));
    });
    group.bench_function("task_local, with", |b| {
        b.iter_custom(|n| repeat(runtime, n, || COUNT.with(|count| count.replace(count.get() + 1))));
    });
    group.bench_function("task_local, inherited by a task", |b| {
        let call = || {
            NAME.set("willow".to_owned());
            spawn(|| NAME.with(String::len)).join().ok()
        };
        b.iter_custom(|n| repeat(runtime, n, call));
    });
    group.bench_function("task::current", |b| b.iter_custom(|n| repeat(runtime, n, task::current)));
    group.finish();
}

fn futures(criterion: &mut Criterion) {
    let runtime = &runtime();
    let mut group = criterion.benchmark_group("future");
    group.bench_function("wait for one that is ready", |b| {
        b.iter_custom(|n| repeat(runtime, n, || future::wait(async { black_box(1) })));
    });
    group.bench_function("wait for one that waits for a task", |b| {
        b.iter_custom(|n| repeat(runtime, n, || future::wait(async { spawn(|| 1).await.ok() })));
    });
    group.bench_function("wait for one that yields", |b| {
        b.iter_custom(|n| repeat(runtime, n, || future::wait(futures_lite::future::yield_now())));
    });
    group.finish();
}

fn runtimes(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("runtime");
    group.bench_function("start, run and shut down", |b| b.iter(|| runtime().run(|| black_box(1))));
    group.bench_function("run on one that is there", |b| {
        let runtime = runtime();
        b.iter(|| runtime.run(|| black_box(1)));
    });
    group.bench_function("LocalRuntime, made and run", |b| b.iter(|| LocalRuntime::new().run(|| black_box(1))));
    group.bench_function("LocalRuntime, run", |b| {
        let runtime = LocalRuntime::new();
        b.iter(|| runtime.run(|| black_box(1)));
    });
    group.bench_function("spawned from outside and joined", |b| {
        let runtime = runtime();
        b.iter(|| runtime.spawn(|| 1).join().ok());
    });
    group.bench_function("metrics", |b| {
        let runtime = runtime();
        b.iter(|| runtime.metrics());
    });
    group.bench_function("dump of 100 tasks", |b| {
        let runtime = runtime();
        let event = Event::new();
        for _ in 0..100 {
            let event = event.clone();
            drop(runtime.spawn(move || event.wait()));
        }
        b.iter(|| runtime.dump());
        event.set();
    });
    group.finish();
}

criterion_group! {
    name = benches;
    config = Criterion::default()
        .warm_up_time(Duration::from_millis(300))
        .measurement_time(Duration::from_secs(1));
    targets = tasks, futures, runtimes
}
criterion_main!(benches);
