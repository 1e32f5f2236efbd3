//! Tasks that stay on their spawner's worker, and where tasks are placed.

#![cfg(feature = "runtime")]

mod common;

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::{self, ThreadId};

use common::{FOR_EVER, Log, OnDrop, hold_thread, ms, watch};
use osier::sync::channel;
use osier::task::{self, Builder, Order, Place};
use osier::{JoinHandle, LocalHandle, Runtime, run, sleep, spawn, spawn_local, yield_now};

fn runtime(workers: usize) -> Runtime {
    Runtime::builder().workers(workers).build().unwrap()
}

/// Notes where it is dropped.
struct Dropped(Arc<Mutex<Vec<ThreadId>>>, #[allow(dead_code, reason = "makes it stay")] Rc<()>);

impl Drop for Dropped {
    fn drop(&mut self) {
        self.0.lock().unwrap().push(thread::current().id());
    }
}

#[test]
fn smoke() {
    let _watch = watch();
    let sum = run(|| {
        let total = Rc::new(Cell::new(0));
        let adders: Vec<_> = (1..=100)
            .map(|n| {
                let total = total.clone();
                spawn_local(move || {
                    let before = total.get();
                    total.set(before + n);
                    yield_now();
                    n
                })
            })
            .collect();
        let returned: i32 = adders.into_iter().map(|adder| adder.join().unwrap()).sum();
        assert_eq!(returned, total.get());
        returned
    });
    assert_eq!(sum, 5050);
}

#[test]
fn outside_of_workers_it_is_refused() {
    let _watch = watch();
    assert!(common::panic_text(|| spawn_local(|| ())).contains("spawn_local"));
}

// GV-010, GV-011
#[test]
fn local_tasks_stand_in_one_line_with_woken_and_yielding_ones() {
    let _watch = watch();
    for workers in [1, 2] {
        let lines = runtime(workers).run(|| {
            let log = Rc::new(RefCell::new(Vec::new()));
            let writer = |name: &'static str| {
                let log = log.clone();
                spawn_local(move || log.borrow_mut().push(name))
            };
            let parent = {
                let log = log.clone();
                spawn_local(move || {
                    log.borrow_mut().push("p1");
                    let inner = log.clone();
                    let child = spawn_local(move || inner.borrow_mut().push("c"));
                    log.borrow_mut().push("p2");
                    yield_now();
                    log.borrow_mut().push("p3");
                    child.join().unwrap();
                })
            };
            let sibling = writer("s");
            sibling.join().unwrap();
            parent.join().unwrap();
            log.take()
        });
        assert_eq!(lines, ["p1", "p2", "s", "c", "p3"]);
    }
}

#[test]
fn they_run_on_their_spawners_worker_whoever_is_idle() {
    let _watch = watch();
    runtime(4).run(|| {
        let here = task::worker();
        let tasks: Vec<_> = (0..200)
            .map(|n| {
                spawn_local(move || {
                    assert_eq!(task::worker(), here);
                    if n % 2 == 0 {
                        sleep(ms(1));
                    }
                    assert_eq!(task::worker(), here);
                    spawn_local(move || assert_eq!(task::worker(), here)).join().unwrap();
                })
            })
            .collect();
        // Hold the worker: nobody may help.
        hold_thread(ms(20));
        tasks.into_iter().for_each(|task| task.join().unwrap());
    });
}

#[test]
fn everything_is_dropped_on_the_worker_also_when_others_cancel() {
    let _watch = watch();
    let threads = Arc::new(Mutex::new(Vec::new()));
    let runtime = runtime(2);
    let home = runtime.run(|| {
        let token = || Dropped(threads.clone(), Rc::new(()));
        // Its closure, cancelled while fresh, by another thread.
        let closure = token();
        let fresh = spawn_local(move || drop(closure));
        let task = fresh.task();
        thread::spawn(move || task.cancel()).join().unwrap();
        // A link that another thread takes back.
        let linked = spawn_local(|| sleep(FOR_EVER));
        let captured = token();
        let link = linked.link(move |_| drop(captured));
        thread::spawn(move || assert!(link.unlink() && !link.unlink())).join().unwrap();
        // What lies on its stack, and its result.
        let local = token();
        let waits = spawn_local(move || {
            let _local = local;
            sleep(FOR_EVER);
        });
        yield_now();
        let task = waits.task();
        thread::spawn(move || task.cancel()).join().unwrap();
        let value = token();
        let returns = spawn_local(move || value);
        let task = returns.task();
        drop(returns);
        assert!(fresh.join().unwrap_err().is_cancelled());
        assert!(waits.join().unwrap_err().is_cancelled());
        task.join().unwrap();
        linked.kill();
        thread::current().id()
    });
    drop(runtime);
    let threads = threads.lock().unwrap();
    assert_eq!(threads.len(), 4);
    assert!(threads.iter().all(|&thread| thread == home), "home is {home:?}: {threads:?}");
}

#[test]
fn links_of_local_tasks_run_on_their_worker_and_need_no_send() {
    let _watch = watch();
    for workers in [1, 2] {
        runtime(workers).run(|| {
            let log = Rc::new(RefCell::new(Vec::new()));
            let (stop, stopped) = channel::bounded::<()>(0);
            let task = spawn_local(move || {
                _ = stopped.recv();
                Rc::new(7)
            });
            let here = task::worker();
            let link = |task: &LocalHandle<Rc<i32>>, name: &'static str| {
                let log = log.clone();
                task.link(move |result| {
                    assert_eq!(task::worker(), here);
                    log.borrow_mut().push((name, **result.as_ref().unwrap()));
                })
            };
            link(&task, "first");
            link(&task, "second");
            drop(stop);
            while !task.is_finished() {
                yield_now();
            }
            link(&task, "late");
            assert_eq!(*task.join().unwrap(), 7);
            assert_eq!(*log.borrow(), [("first", 7), ("second", 7), ("late", 7)]);
        });
    }
}

#[test]
fn a_local_result_may_be_shared_among_its_worker() {
    let _watch = watch();
    run(|| {
        let shared = spawn_local(|| {
            yield_now();
            Rc::new(5)
        })
        .shared();
        let getter = spawn_local({
            let shared = shared.clone();
            move || shared.get().unwrap()
        });
        assert!(Rc::ptr_eq(&shared.get().unwrap(), &getter.join().unwrap()));
    });
}

#[test]
fn local_tasks_of_a_runtime_that_goes_are_unwound_or_dropped_unrun() {
    let _watch = watch();
    for workers in [1, 2] {
        let threads = Arc::new(Mutex::new(Vec::new()));
        let runtime = runtime(workers);
        let home = runtime.run(|| {
            for n in 0..50 {
                let token = Dropped(threads.clone(), Rc::new(()));
                drop(spawn_local(move || {
                    let _token = token;
                    sleep(FOR_EVER);
                }));
                if n == 24 {
                    // Those behind this point are still fresh when `run` returns.
                    yield_now();
                }
            }
            thread::current().id()
        });
        drop(runtime);
        let threads = threads.lock().unwrap();
        assert_eq!(threads.len(), 50);
        assert!(threads.iter().all(|&thread| thread == home));
    }
}

// ---- order and place

#[test]
fn fifo_tasks_of_one_worker_start_in_order() {
    let _watch = watch();
    let log = Log::default();
    runtime(1).run(|| {
        let tasks: Vec<_> = (0..10)
            .map(|n| {
                let log = log.clone();
                Builder::new().spawn_order(Order::Fifo).spawn(move || {
                    log.push(format!("a{n}"));
                    yield_now();
                    log.push(format!("b{n}"));
                })
            })
            .collect();
        // Whatever the joiner runs in place is the next in line anyway.
        tasks.into_iter().for_each(|task| task.join().unwrap());
    });
    let expected: Vec<_> = ["a", "b"].iter().flat_map(|name| (0..10).map(move |n| format!("{name}{n}"))).collect();
    assert_eq!(log.take(), expected);
}

#[test]
fn fifo_tasks_are_spread_over_idle_workers() {
    let _watch = watch();
    let runtime = runtime(2);
    runtime.run(|| {
        let here = task::worker();
        let tasks: Vec<_> =
            (0..2).map(|_| Builder::new().spawn_order(Order::Fifo).spawn(task::worker)).collect::<Vec<_>>();
        // This worker is held until the other one has taken them.
        while !tasks.iter().all(JoinHandle::is_finished) {
            thread::yield_now();
        }
        assert!(tasks.into_iter().all(|task| task.join().unwrap() != here));
    });
}

/// How many of `count` long-lived tasks each worker has, when all were spawned by one.
fn spread(workers: usize, count: usize) -> Vec<usize> {
    let runtime = runtime(workers);
    runtime.run(|| {
        let (stop, stopped) = channel::bounded::<()>(0);
        let (sender, homes) = channel::unbounded();
        let tasks: Vec<_> = (0..count)
            .map(|n| {
                let (sender, stopped) = (sender.clone(), stopped.clone());
                if n % 10 == 0 {
                    yield_now();
                }
                Builder::new().place(Place::Spread).spawn(move || {
                    sender.send(task::worker().unwrap()).unwrap();
                    assert!(stopped.recv().is_err());
                })
            })
            .collect();
        let mut counts = vec![0; workers];
        (0..count).for_each(|_| counts[homes.recv().unwrap()] += 1);
        drop(stop);
        tasks.into_iter().for_each(|task| task.join().unwrap());
        counts
    })
}

#[test]
fn a_thousand_long_lived_tasks_of_one_acceptor_are_spread_evenly() {
    let _watch = watch();
    for workers in [1, 2, 4] {
        let counts = spread(workers, 1000);
        let (most, least) = (*counts.iter().max().unwrap(), *counts.iter().min().unwrap());
        assert!(most * 10 <= least * 13, "{workers} workers: {counts:?}");
    }
}

#[test]
fn a_task_is_placed_beside_another_or_here() {
    let _watch = watch();
    let runtime = runtime(4);
    runtime.run(|| {
        let (stop, stopped) = channel::bounded::<()>(0);
        for _ in 0..20 {
            let (sender, receiver) = channel::bounded(1);
            let stopped = stopped.clone();
            let first = Builder::new().place(Place::Spread).spawn(move || {
                sender.send(task::worker()).unwrap();
                _ = stopped.recv();
            });
            let home = receiver.recv().unwrap();
            let beside = Builder::new().place(Place::Beside(&first)).spawn(task::worker);
            assert_eq!(beside.join().unwrap(), home);
            let beside = Builder::new().place(Place::Beside(&first.task())).try_spawn(task::worker).unwrap();
            assert_eq!(beside.join().unwrap(), home);
            let here = Builder::new().place(Place::Here).spawn(task::worker);
            assert_eq!(here.join().unwrap(), task::worker());
        }
        drop(stop);
        // One that ended in another runtime, or has no worker yet, does not bind.
        let other = Runtime::builder().workers(1).build().unwrap().spawn(|| ());
        assert!(Builder::new().place(Place::Beside(&other)).spawn(|| true).join().unwrap());
        let fresh = spawn(|| ());
        assert!(Builder::new().place(Place::Beside(&fresh)).spawn(|| true).join().unwrap());
        assert!(format!("{:?}", Place::Beside(&fresh)).contains("Beside(Task"));
    });
    // From outside.
    let placed: Vec<_> = (0..8).map(|_| runtime.spawn(|| ())).collect();
    placed.into_iter().for_each(|task| task.join().unwrap());
}

#[test]
fn placed_tasks_of_a_closing_runtime_are_dropped_or_unwound() {
    let _watch = watch();
    let dropped = Arc::new(AtomicUsize::new(0));
    for round in 0..50 {
        let runtime = runtime(2);
        let (begun, begins) = channel::bounded::<()>(1);
        let dropped = dropped.clone();
        drop(runtime.spawn(move || {
            begun.send(()).unwrap();
            loop {
                let dropped = dropped.clone();
                let token = OnDrop(move || _ = dropped.fetch_add(1, Ordering::SeqCst));
                let task = Builder::new().place(Place::Spread).try_spawn(move || {
                    let _token = token;
                    sleep(FOR_EVER);
                });
                if task.is_err() {
                    break;
                }
                yield_now();
            }
        }));
        begins.recv().unwrap();
        if round % 2 == 0 {
            hold_thread(ms(1));
        }
        drop(runtime);
    }
    assert!(dropped.load(Ordering::SeqCst) > 0);
}
