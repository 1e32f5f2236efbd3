//! What the basic moves cost, each beside bare corosensei where that can do the same.
//!
//! ```text
//! cargo bench --bench context_switch              # about half a minute
//! cargo bench --bench context_switch -- --quick   # less exact, a few seconds
//! cargo bench --bench context_switch -- yield     # one group
//! ```
//!
//! Tasks run on one worker, so that a move is measured and not the wake-up of a thread; `channel hop` also on two. The
//! `workloads` example measures larger programs.

use std::cell::OnceCell;
use std::hint::black_box;
use std::rc::Rc;
use std::time::{Duration, Instant};

use corosensei::stack::DefaultStack;
use corosensei::{Coroutine, CoroutineResult};
use criterion::measurement::WallTime;
use criterion::{BatchSize, BenchmarkGroup, Criterion, criterion_group, criterion_main};
use osier::stack::DEFAULT_STACK_SIZE;
use osier::sync::channel;
use osier::{Exception, Generator, Greenlet, Runtime, Step, Yielder, catch, spawn, yield_now};

type BareYielder<In, Out> = corosensei::Yielder<In, Out>;

fn bare_stack() -> DefaultStack {
    DefaultStack::new(DEFAULT_STACK_SIZE).expect("there is room for a stack")
}

/// Measures `work`, which does as many operations as it is told, as a task; only the work is timed.
fn bench_in_task(group: &mut BenchmarkGroup<'_, WallTime>, name: &str, workers: usize, work: impl Fn(u64) + Sync) {
    let runtime = Runtime::builder().workers(workers).build().expect("the system has threads to spare");
    let timed = |n| {
        let start = Instant::now();
        work(n);
        start.elapsed()
    };
    group.bench_function(name, |bencher| bencher.iter_custom(|n| runtime.run(|| timed(n))));
}

/// One resume and one suspension, with a number each way.
fn switch(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("switch");
    group.bench_function("osier", |bencher| {
        let mut successor = Generator::new(|y: &Yielder<u64, u64>| {
            let mut n = 0;
            loop {
                n = y.yield_(n) + 1;
            }
        })
        .primed();
        let mut n = 0;
        bencher.iter(|| match successor.send(n) {
            Ok(Step::Yielded(next)) => n = next,
            other => panic!("the generator never ends, but: {other:?}"),
        });
    });
    group.bench_function("corosensei", |bencher| {
        let mut successor = Coroutine::with_stack(bare_stack(), |yielder: &BareYielder<u64, u64>, mut n| {
            loop {
                n = yielder.suspend(n) + 1;
            }
        });
        successor.resume(0);
        let mut n = 0;
        bencher.iter(|| match successor.resume(n) {
            CoroutineResult::Yield(next) => n = next,
            CoroutineResult::Return(()) => panic!("the coroutine never ends"),
        });
    });
    group.finish();
}

/// One number from a coroutine that is sent nothing.
fn generator_item(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("generator item");
    group.bench_function("osier", |bencher| {
        let mut numbers = Generator::new(|y: &Yielder<u64>| {
            for n in 0.. {
                y.yield_(n);
            }
        });
        bencher.iter(|| numbers.next());
    });
    group.bench_function("corosensei", |bencher| {
        let mut numbers = Coroutine::with_stack(bare_stack(), |yielder: &BareYielder<(), u64>, ()| {
            for n in 0.. {
                yielder.suspend(n);
            }
        });
        bencher.iter(|| numbers.resume(()).as_yield());
    });
    group.finish();
}

/// A consumer that adds up what it gets: a thousand numbers, from the making of the coroutine to its end.
fn generator_sum(criterion: &mut Criterion) {
    const ITEMS: u64 = 1000;
    let mut group = criterion.benchmark_group("sum of 1000 items");
    group.bench_function("osier", |bencher| {
        bencher.iter(|| {
            let items = black_box(ITEMS);
            Generator::new(move |y: &Yielder<u64>| (0..items).for_each(|n| y.yield_(n))).sum::<u64>()
        });
    });
    group.bench_function("corosensei", |bencher| {
        let mut stack = Some(bare_stack());
        bencher.iter(|| {
            let items = black_box(ITEMS);
            let free = stack.take().expect("each iteration puts it back");
            let mut numbers = Coroutine::with_stack(free, move |yielder: &BareYielder<(), u64>, ()| {
                (0..items).for_each(|n| yielder.suspend(n));
            });
            let mut sum = 0;
            while let CoroutineResult::Yield(n) = numbers.resume(()) {
                sum += n;
            }
            stack = Some(numbers.into_stack());
            sum
        });
    });
    group.finish();
}

/// Ten thousand coroutines, visited in turn: their stacks do not fit into the nearest caches.
fn switch_many(criterion: &mut Criterion) {
    const MANY: usize = 10_000;
    let mut group = criterion.benchmark_group("switch, 10 000 in turn");
    group.bench_function("osier", |bencher| {
        let successor = |_| {
            Generator::new(|y: &Yielder<u64, u64>| {
                let mut n = 0;
                loop {
                    n = y.yield_(n) + 1;
                }
            })
            .primed()
        };
        let mut generators: Vec<_> = (0..MANY).map(successor).collect();
        let (mut n, mut next) = (0, (0..MANY).cycle());
        bencher.iter(|| {
            let visited = next.next().expect("it never ends");
            match generators[visited].send(n) {
                Ok(Step::Yielded(next)) => n = next,
                other => panic!("the generator never ends, but: {other:?}"),
            }
        });
    });
    group.bench_function("corosensei", |bencher| {
        let successor = |_| {
            let mut successor = Coroutine::with_stack(bare_stack(), |yielder: &BareYielder<u64, u64>, mut n| {
                loop {
                    n = yielder.suspend(n) + 1;
                }
            });
            successor.resume(0);
            successor
        };
        let mut coroutines: Vec<_> = (0..MANY).map(successor).collect();
        let (mut n, mut next) = (0, (0..MANY).cycle());
        bencher.iter(|| {
            let visited = next.next().expect("it never ends");
            match coroutines[visited].resume(n) {
                CoroutineResult::Yield(next) => n = next,
                CoroutineResult::Return(()) => panic!("the coroutine never ends"),
            }
        });
    });
    group.finish();
}

/// A coroutine that does nothing: made, run and dropped.
fn create(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("create");
    group.bench_function("osier", |bencher| {
        bencher.iter(|| Generator::new(|_: &Yielder<()>| black_box(1)).start().map(Step::returned).ok());
    });
    group.bench_function("corosensei", |bencher| {
        let mut stack = Some(bare_stack());
        bencher.iter(|| {
            let free = stack.take().expect("each iteration puts it back");
            let mut coroutine = Coroutine::with_stack(free, |_: &BareYielder<(), ()>, ()| black_box(1));
            let returned = coroutine.resume(()).as_return();
            stack = Some(coroutine.into_stack());
            returned
        });
    });
    group.finish();
}

/// Greenlets: from a parent to its child and back, and straight between two children.
fn greenlet_switch(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("greenlet switch");
    group.bench_function("to a child and back", |bencher| {
        let echo = Greenlet::new(|mut n: u64| {
            let parent = Greenlet::<u64>::current().parent().expect("it was made by the thread's root");
            loop {
                n = parent.switch(n + 1);
            }
        });
        let mut n = 0;
        bencher.iter(|| n = echo.switch(n));
    });
    group.bench_function("to a sibling and back", |bencher| {
        bencher.iter_custom(|switches| {
            // Each needs the other's handle, so the first is made before the second is known.
            let there: Rc<OnceCell<Greenlet<u64>>> = Rc::default();
            let back = Greenlet::new({
                let there = there.clone();
                move |mut n: u64| {
                    let there = there.get().expect("set below").clone();
                    loop {
                        n = there.switch(n + 1);
                    }
                }
            });
            let counter = Greenlet::new(move |n: u64| (0..switches).fold(n, |n, _| back.switch(n)));
            there.set(counter.clone()).expect("it was empty");
            let start = Instant::now();
            assert_eq!(counter.switch(0), switches);
            start.elapsed()
        });
    });
    group.finish();
}

/// A greenlet that does nothing: made, run and dropped.
fn greenlet_create(criterion: &mut Criterion) {
    let root = Greenlet::<u64>::current();
    criterion.bench_function("greenlet create", |bencher| {
        bencher.iter(|| Greenlet::with_parent(&root, black_box).switch(1));
    });
}

/// An exception thrown into a generator and into a greenlet, and what a yield of the same costs where nothing unwinds.
fn throw(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("throw");
    group.bench_function("to a catch", |bencher| {
        let mut g = Generator::new(|y: &Yielder<()>| {
            loop {
                assert!(catch(|| y.yield_(())).is_err(), "nothing is sent");
            }
        })
        .primed();
        let exception = Exception::from(std::fmt::Error);
        bencher.iter(|| g.throw(exception.clone()).is_ok());
    });
    group.bench_function("to a try_yield", |bencher| {
        let mut g = Generator::new(|y: &Yielder<()>| {
            loop {
                assert!(y.try_yield(()).is_err(), "nothing is sent");
            }
        })
        .primed();
        let exception = Exception::from(std::fmt::Error);
        bencher.iter(|| g.throw(exception.clone()).is_ok());
    });
    group.bench_function("to a greenlet's catch", |bencher| {
        let root = Greenlet::<u64>::current();
        let g = Greenlet::new(move |n| {
            loop {
                assert!(catch(|| root.switch(n)).is_err(), "nothing is switched with");
            }
        });
        g.switch(1);
        let exception = Exception::from(std::fmt::Error);
        bencher.iter(|| g.throw(exception.clone()));
    });
    group.finish();
}

/// The end of a suspended coroutine: it unwinds.
fn close(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("close");
    group.bench_function("generator", |bencher| {
        let make = || Generator::new(|y: &Yielder<()>| y.yield_(())).primed();
        bencher.iter_batched(make, |mut g| g.close().is_ok(), BatchSize::SmallInput);
    });
    group.bench_function("greenlet", |bencher| {
        let root = Greenlet::<u64>::current();
        let make = || {
            let root = root.clone();
            let g = Greenlet::new(move |n| root.switch(n));
            g.switch(1);
            g
        };
        bencher.iter_batched(make, drop, BatchSize::SmallInput);
    });
    group.finish();
}

/// A task that does nothing: spawned and joined, at once or in batches.
fn spawn_join(criterion: &mut Criterion) {
    const BATCH: u64 = 1000;
    let mut group = criterion.benchmark_group("spawn+join");
    bench_in_task(&mut group, "one", 1, |n| {
        for i in 0..n {
            assert_eq!(spawn(move || i).join().ok(), Some(i));
        }
    });
    let batches = |n: u64, task: fn()| {
        let mut left = n;
        while left > 0 {
            let batch: Vec<_> = (0..left.min(BATCH)).map(|_| spawn(task)).collect();
            left -= batch.len() as u64;
            for handle in batch {
                handle.join().expect("the task has no reason to fail");
            }
        }
    };
    bench_in_task(&mut group, "batch of 1000", 1, |n| batches(n, || ()));
    bench_in_task(&mut group, "batch of 1000, each waits once", 1, |n| batches(n, yield_now));
    group.finish();
}

/// A task yields to others that do the same.
fn yields(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("yield");
    for tasks in [2, 1000] {
        bench_in_task(&mut group, &format!("{tasks} tasks"), 1, |n| {
            let times = n.div_ceil(tasks);
            let yielding = || spawn(move || (0..times).for_each(|_| yield_now()));
            let handles: Vec<_> = (0..tasks).map(|_| yielding()).collect();
            for handle in handles {
                handle.join().expect("the task has no reason to fail");
            }
        });
    }
    group.finish();
}

/// A message to another task over a channel that holds one.
fn channel_hop(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("channel hop");
    for (name, workers) in [("1 worker", 1), ("2 workers", 2)] {
        bench_in_task(&mut group, name, workers, |n| {
            let (there, inbox) = channel::bounded(1);
            let (back, answers) = channel::bounded(1);
            let echo = spawn(move || inbox.into_iter().take_while(|&i: &u64| back.send(i).is_ok()).count());
            for i in 0..n.div_ceil(2) {
                there.send(i).expect("the other task lives as long as this end");
                assert_eq!(answers.recv(), Ok(i));
            }
            drop(there);
            echo.join().expect("the other task ends when the channel is closed");
        });
    }
    group.finish();
}

criterion_group! {
    name = context_switch;
    config = Criterion::default()
        .warm_up_time(Duration::from_millis(300))
        .measurement_time(Duration::from_secs(1));
    targets = switch, switch_many, generator_item, generator_sum, create, greenlet_switch, greenlet_create, throw, close, spawn_join, yields, channel_hop
}
criterion_main!(context_switch);
