//! Tasks that change their worker: in steps, and by a hop.

#![cfg(feature = "runtime")]

mod common;

use std::cell::RefCell;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use common::{FOR_EVER, Tally, hold_thread, ms, until, watch};
use osier::runtime::LocalRuntime;
use osier::sync::channel;
use osier::task::{self, Builder, Hop, Order, Step, spawn_hop, spawn_stepped};
use osier::{Runtime, run, sleep, spawn, yield_now};

fn runtime(workers: usize) -> Runtime {
    Runtime::builder().workers(workers).build().unwrap()
}

fn count_to(end: u32) -> osier::JoinHandle<u32> {
    spawn_stepped(0, move |n| {
        *n += 1;
        if *n == end { Step::Done(*n) } else { Step::Again }
    })
}

#[test]
fn smoke() {
    let _watch = watch();
    for workers in [1, 2, 4] {
        let runtime = runtime(workers);
        let sum: u32 = runtime.run(|| {
            let tasks: Vec<_> = (1..=100).map(count_to).collect();
            tasks.into_iter().map(|task| task.join().unwrap()).sum()
        });
        assert_eq!(sum, 5050);
    }
    assert_eq!(count_to(7).join().unwrap(), 7);
    assert_eq!(LocalRuntime::new().run(|| count_to(5).join().unwrap()), 5);
    let hops = |n: u32| spawn_hop(move || Hop::on(move || Hop::on(move || Hop::Done(n * 2))));
    assert_eq!(hops(4).join().unwrap(), 8);
    assert_eq!(LocalRuntime::new().run(|| hops(5).join().unwrap()), 10);
}

#[test]
fn steps_are_taken_by_whoever_has_time() {
    let _watch = watch();
    let runtime = runtime(2);
    runtime.run(|| {
        let here = task::worker().unwrap();
        // The other worker is held until the first step has been taken, so that it is taken here.
        let (held, released) = (Arc::new(AtomicUsize::new(usize::MAX)), Arc::new(AtomicUsize::new(0)));
        let hog = spawn({
            let (held, released) = (held.clone(), released.clone());
            move || {
                held.store(task::worker().unwrap(), Ordering::SeqCst);
                while released.load(Ordering::SeqCst) == 0 {
                    std::thread::yield_now();
                }
            }
        });
        while held.load(Ordering::SeqCst) == usize::MAX {
            // Not by a wait: it would start here.
            std::thread::yield_now();
        }
        assert_ne!(held.load(Ordering::SeqCst), here, "whoever has time takes it");
        let (sender, receiver) = channel::unbounded();
        let stepped = spawn_stepped(0, move |n| {
            sender.send(task::worker().unwrap()).unwrap();
            hold_thread(ms(1));
            *n += 1;
            if *n == 50 { Step::Done(()) } else { Step::Again }
        });
        assert_eq!(receiver.recv(), Ok(here));
        // Now this worker is held: the steps that are left go to the other one.
        released.store(1, Ordering::SeqCst);
        while !stepped.is_finished() {
            std::thread::yield_now();
        }
        stepped.join().unwrap();
        hog.join().unwrap();
        assert_ne!(receiver.iter().last(), Some(here), "the last step, at least");
    });
}

#[test]
fn a_step_may_wait_and_stays_on_its_worker_until_it_returns() {
    let _watch = watch();
    for workers in [1, 2, 4] {
        runtime(workers).run(|| {
            let tasks: Vec<_> = (0..20)
                .map(|_| {
                    spawn_stepped(0, |n| {
                        let (home, stays) = (task::worker(), Rc::new(()));
                        sleep(ms(1));
                        yield_now();
                        assert_eq!(task::worker(), home);
                        drop(stays);
                        *n += 1;
                        if *n == 5 { Step::Done(*n) } else { Step::Again }
                    })
                })
                .collect();
            assert!(tasks.into_iter().all(|task| task.join().unwrap() == 5));
        });
    }
}

#[test]
fn other_tasks_get_their_turn_between_steps() {
    let _watch = watch();
    let log = Rc::new(RefCell::new(Vec::new()));
    let runtime = LocalRuntime::new();
    let seen = log.clone();
    let (sender, receiver) = channel::unbounded();
    let stepped = runtime.run(|| {
        spawn_stepped(0, move |n| {
            sender.send(*n).unwrap();
            *n += 1;
            if *n == 3 { Step::Done(()) } else { Step::Again }
        })
    });
    let other = runtime.spawn_local(move || {
        for _ in 0..3 {
            seen.borrow_mut().push(receiver.try_iter().collect::<Vec<_>>());
            yield_now();
        }
    });
    runtime.run_until_idle();
    assert!(stepped.is_finished() && other.is_finished());
    assert_eq!(*log.borrow(), [vec![0], vec![1], vec![2]]);
    // With one worker, endless steps starve nobody.
    runtime_with_endless_steps();
}

fn runtime_with_endless_steps() {
    let runtime = runtime(1);
    let endless = runtime.spawn(|| spawn_stepped((), |()| Step::<()>::Again)).join().unwrap();
    assert_eq!(runtime.run(|| spawn(|| 5).join().unwrap()), 5);
    let slept = runtime.spawn(|| sleep(ms(1)));
    slept.join().unwrap();
    endless.kill();
    assert!(endless.join().unwrap_err().is_cancelled());
}

#[test]
fn it_is_cancelled_between_steps_and_in_them() {
    let _watch = watch();
    for workers in [1, 2] {
        let runtime = runtime(workers);
        let tally = Tally::default();
        runtime.run(|| {
            let (started, starts) = channel::bounded(1);
            let token = tally.token();
            let waits = spawn_stepped(token, move |_| -> Step<()> {
                started.send(()).unwrap();
                sleep(FOR_EVER);
                Step::Again
            });
            starts.recv().unwrap();
            waits.kill();
            assert!(waits.join().unwrap_err().is_cancelled());
            let steps = Arc::new(AtomicUsize::new(0));
            let (token, counts) = (tally.token(), steps.clone());
            let endless = spawn_stepped(token, move |_| -> Step<()> {
                counts.fetch_add(1, Ordering::SeqCst);
                Step::Again
            });
            until(|| steps.load(Ordering::SeqCst) > 100);
            endless.kill();
            assert!(endless.join().unwrap_err().is_cancelled());
            let fresh = spawn_stepped(tally.token(), |_| Step::Done(()));
            fresh.cancel();
            drop(fresh.join());
        });
        tally.assert_all_dropped(3);
    }
}

#[test]
fn panics_links_names_and_ids_are_as_of_other_tasks() {
    let _watch = watch();
    let handle = Builder::new().name("stepper").spawn_stepped(0, |n| {
        *n += 1;
        assert_eq!(task::current().name(), "stepper");
        assert!(*n < 3, "at the third step");
        Step::<()>::Again
    });
    let (sender, receiver) = channel::unbounded();
    let id = handle.id();
    handle.link(move |result| sender.send(result.as_ref().unwrap_err().to_string()).unwrap());
    assert_eq!(handle.task().id(), id);
    assert!(handle.join().unwrap_err().to_string().contains("at the third step"));
    assert_eq!(receiver.iter().count(), 1, "a link runs once");
    let ids = spawn_stepped(Vec::new(), |ids| {
        ids.push(task::current().id());
        if ids.len() == 3 { Step::Done(ids.clone()) } else { Step::Again }
    });
    let id = ids.id();
    assert_eq!(ids.join().unwrap(), [id; 3]);
    assert!(spawn_stepped((), named_step).name().contains("named_step"));
    assert!(format!("{:?} {:?}", Hop::Done(1), Hop::<u8>::on(|| Hop::Done(1))).contains("On(..)"));
}

fn named_step((): &mut ()) -> Step<()> {
    Step::Done(())
}

#[test]
fn a_hop_leaves_a_worker_that_is_held() {
    let _watch = watch();
    let runtime = runtime(2);
    runtime.run(|| {
        for _ in 0..20 {
            let here = task::worker().unwrap();
            let is_over = Arc::new(AtomicUsize::new(0));
            let over = is_over.clone();
            let (sender, receiver) = channel::bounded(2);
            let heavy = Builder::new().place(task::Place::Here).spawn_hop(move || {
                assert_eq!(task::worker(), Some(here));
                // Stands before the rest of this one, and holds whichever worker starts it until that has run.
                let hog = Builder::new().spawn_order(Order::Fifo).spawn(move || {
                    while is_over.load(Ordering::SeqCst) == 0 {
                        std::thread::yield_now();
                    }
                    task::worker().unwrap()
                });
                sender.send(hog).unwrap();
                Hop::on(move || {
                    over.store(1, Ordering::SeqCst);
                    Hop::Done(task::worker().unwrap())
                })
            });
            let hog = receiver.recv().unwrap();
            assert_ne!(heavy.join().unwrap(), hog.join().unwrap(), "it left the one that is held");
        }
    });
}

#[test]
fn a_runtime_that_goes_ends_tasks_in_steps() {
    let _watch = watch();
    for workers in [1, 2, 4] {
        let tally = Tally::default();
        let runtime = runtime(workers);
        runtime.run(|| {
            for n in 0..20 {
                drop(spawn_stepped(tally.token(), move |_| -> Step<()> {
                    if n % 2 == 0 {
                        yield_now();
                    }
                    Step::Again
                }));
            }
            sleep(ms(2));
        });
        drop(runtime);
        tally.assert_all_dropped(20);
    }
    let tally = Tally::default();
    let local = LocalRuntime::new();
    local.run(|| {
        drop(spawn_stepped(tally.token(), |_| Step::<()>::Again));
        yield_now();
    });
    drop(local);
    tally.assert_all_dropped(1);
}

#[test]
fn a_thousand_in_parallel_lose_and_double_nothing() {
    let _watch = watch();
    let total = Arc::new(AtomicUsize::new(0));
    run(|| {
        let tasks: Vec<_> = (0..1000)
            .map(|n| {
                let total = total.clone();
                spawn_stepped(n % 17, move |left| {
                    total.fetch_add(1, Ordering::Relaxed);
                    if *left % 5 == 3 {
                        yield_now();
                    }
                    if *left == 0 {
                        return Step::Done(());
                    }
                    *left -= 1;
                    Step::Again
                })
            })
            .collect();
        tasks.into_iter().for_each(|task| task.join().unwrap());
    });
    assert_eq!(total.load(Ordering::Relaxed), (0..1000).map(|n| n % 17 + 1).sum::<usize>());
}
