//! Barriers, values that are made once, wait groups: who goes on when, and with what.

#![cfg(feature = "runtime")]

mod common;

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::Instant;

use common::{ms, panic_text, watch};
use osier::sync::{Barrier, BrokenBarrier, Event, Once, OnceCell, WaitGroup};
use osier::{JoinHandle, Runtime, run, spawn, yield_now};

fn runtime(workers: usize) -> Runtime {
    Runtime::builder().workers(workers).build().unwrap()
}

/// On one worker: spawns a task, which runs until it waits or ends before this returns.
fn started<T: Send + 'static>(f: impl FnOnce() -> T + Send + 'static) -> JoinHandle<T> {
    let begun = Event::new();
    let says = begun.clone();
    let handle = spawn(move || {
        says.set();
        f()
    });
    begun.wait();
    handle
}
fn together<T: Send + 'static>(n: usize, f: impl Fn(usize) -> T + Clone + Send + 'static) -> Vec<T> {
    let tasks: Vec<_> = (0..n)
        .map(|i| {
            let f = f.clone();
            spawn(move || f(i))
        })
        .collect();
    tasks.into_iter().map(|t| t.join().unwrap()).collect()
}

// GV-145
#[test]
fn five_parties_go_in_lockstep_each_with_a_number_of_its_own() {
    let _watch = watch();
    for workers in [1, 2, 8] {
        runtime(workers).run(|| {
            let (barrier, count) = (Barrier::new(5), Arc::new(AtomicUsize::new(0)));
            let numbers = together(5, move |_| {
                let mut mine = Vec::new();
                for round in 0..10 {
                    count.fetch_add(1, Ordering::SeqCst);
                    mine.push(barrier.wait().unwrap());
                    assert!(count.load(Ordering::SeqCst) >= (round + 1) * 5, "all have come");
                    _ = barrier.wait().unwrap();
                }
                mine
            });
            for round in 0..10 {
                let mut of_round: Vec<_> = numbers.iter().map(|mine| mine[round]).collect();
                of_round.sort_unstable();
                assert_eq!(of_round, [0, 1, 2, 3, 4]);
            }
        });
    }
    let alone = Barrier::new(1);
    assert!((0..3).all(|_| alone.wait() == Ok(0)));
    assert!(panic_text(|| Barrier::new(0)).contains("one party"));
}

// GV-145
#[test]
fn the_action_runs_once_a_round_before_anybody_goes_on() {
    let _watch = watch();
    for workers in [1, 4] {
        runtime(workers).run(|| {
            let acted = Arc::new(AtomicUsize::new(0));
            let barrier = Barrier::with_action(5, {
                let acted = acted.clone();
                move || {
                    yield_now();
                    acted.fetch_add(1, Ordering::SeqCst);
                }
            });
            together(5, move |_| {
                for round in 1..=10 {
                    barrier.wait().unwrap();
                    assert_eq!(acted.load(Ordering::SeqCst), 2 * round - 1, "the next action needs all of us");
                    barrier.wait().unwrap();
                }
            });
        });
    }
}

// GV-145
#[test]
fn an_action_that_panics_breaks_the_barrier() {
    let _watch = watch();
    runtime(1).run(|| {
        let barrier = Barrier::with_action(2, || panic!("in the action"));
        let first = {
            let barrier = barrier.clone();
            started(move || barrier.wait())
        };
        assert_eq!(panic_text(|| barrier.wait()), "in the action");
        assert!(first.join().unwrap().is_err() && barrier.is_broken() && barrier.wait().is_err());
    });
}

// GV-145
#[test]
fn abort_reset_and_a_late_one_end_the_wait_of_all() {
    let _watch = watch();
    runtime(1).run(|| {
        let barrier = Barrier::new(3);
        let wait = || {
            let barrier = barrier.clone();
            started(move || barrier.wait())
        };
        let fails = |tasks: [JoinHandle<Result<usize, BrokenBarrier>>; 2]| {
            tasks.into_iter().all(|t| t.join().unwrap().is_err())
        };
        let two = [wait(), wait()];
        assert_eq!((barrier.parties(), barrier.waiting(), barrier.is_broken()), (3, 2, false));
        barrier.abort();
        assert!(fails(two) && barrier.is_broken() && barrier.wait().is_err());
        assert_eq!(BrokenBarrier::to_string(&barrier.wait().unwrap_err()), "the barrier is broken");

        barrier.reset();
        assert!(!barrier.is_broken() && barrier.waiting() == 0);
        let two = [wait(), wait()];
        barrier.reset();
        assert!(fails(two) && !barrier.is_broken());

        let two = [wait(), {
            let barrier = barrier.clone();
            started(move || barrier.wait_timeout(ms(1)))
        }];
        assert!(fails(two) && barrier.is_broken());
        barrier.reset();

        // One who is cancelled has not come: another takes the place.
        let cancelled = wait();
        cancelled.cancel();
        assert!(cancelled.join().is_err() && barrier.waiting() == 0);
        let two = [wait(), wait()];
        assert_eq!(barrier.wait_deadline(Instant::now() + ms(60_000)), Ok(2));
        assert_eq!(two.map(|t| t.join().unwrap()), [Ok(0), Ok(1)]);
    });
}

#[test]
fn a_barrier_for_tasks_and_threads() {
    let _watch = watch();
    let barrier = Barrier::new(6);
    let threads: Vec<_> = (0..3)
        .map(|_| {
            let barrier = barrier.clone();
            thread::spawn(move || (0..200).all(|_| barrier.wait().is_ok()))
        })
        .collect();
    assert!(together(3, move |_| (0..200).all(|_| barrier.wait().is_ok())).into_iter().all(|ok| ok));
    assert!(threads.into_iter().all(|t| t.join().unwrap()));
}

// ---- once

#[test]
fn one_makes_it_and_the_others_wait() {
    let _watch = watch();
    for workers in [1, 2, 8] {
        runtime(workers).run(|| {
            let (once, calls) = (Arc::new(Once::new()), Arc::new(AtomicUsize::new(0)));
            let made = together(20, {
                let (once, calls) = (once.clone(), calls.clone());
                move |_| {
                    once.call_once(|| {
                        yield_now();
                        calls.fetch_add(1, Ordering::SeqCst);
                    });
                    calls.load(Ordering::SeqCst)
                }
            });
            assert!(made.into_iter().all(|calls| calls == 1) && once.is_completed());
            once.wait();
        });
    }
}

#[test]
fn a_maker_that_fails_leaves_it_to_the_next() {
    let _watch = watch();
    runtime(1).run(|| {
        let cell = Arc::new(OnceCell::new());
        let start = Event::new();
        let first = {
            let (cell, start) = (cell.clone(), start.clone());
            started(move || {
                *cell.get_or_init(|| {
                    start.wait();
                    panic!("the first fails")
                })
            })
        };
        let second = {
            let cell = cell.clone();
            started(move || *cell.get_or_init(|| 2))
        };
        let cancelled = {
            let cell = cell.clone();
            started(move || *cell.get_or_init(|| 3))
        };
        let watcher = {
            let cell = cell.clone();
            started(move || *cell.wait())
        };
        assert!(cell.get().is_none() && !second.is_finished());
        cancelled.cancel();
        start.set();
        assert!(first.join().unwrap_err().is_panic() && cancelled.join().is_err());
        assert_eq!((second.join().unwrap(), watcher.join().unwrap()), (2, 2));
        assert_eq!((cell.set(4), cell.get()), (Err(4), Some(&2)));
        assert_eq!(cell.get_or_try_init(|| Err::<i32, &str>("not run")), Ok(&2));
        let mut cell = Arc::into_inner(cell).unwrap();
        assert_eq!((cell.take(), cell.get()), (Some(2), None));
        assert_eq!(cell.get_or_try_init(|| Err::<i32, &str>("run")), Err("run"));
        assert_eq!((cell.set(5), cell.into_inner()), (Ok(()), Some(5)));
    });
}

#[test]
fn a_maker_that_waits_for_itself_is_told_so() {
    let _watch = watch();
    let cell = OnceCell::new();
    let text = panic_text(|| *cell.get_or_init(|| *cell.get_or_init(|| 1)));
    assert!(text.contains("wait for itself"), "{text}");
    assert_eq!(*cell.get_or_init(|| 2), 2);
}

// ---- the wait group

#[test]
fn a_wait_group_waits_for_all_clones_also_of_those_who_panic() {
    let _watch = watch();
    let group = WaitGroup::new();
    let done = Arc::new(AtomicUsize::new(0));
    for n in 0..10 {
        let (group, done) = (group.clone(), done.clone());
        let body = move || {
            yield_now();
            done.fetch_add(1, Ordering::SeqCst);
            assert!(n != 3, "one fails");
            drop(group);
        };
        if n % 5 == 4 { drop(thread::spawn(body)) } else { drop(spawn(body)) }
    }
    group.wait();
    assert_eq!(done.load(Ordering::SeqCst), 10);
    WaitGroup::new().wait();
}
#[test]
fn a_barriers_timeout_also_counts_while_the_action_of_the_round_before_runs() {
    let _watch = watch();
    run(|| {
        let (acts, goes_on) = (Event::new(), Event::new());
        let barrier = Arc::new(Barrier::with_action(1, {
            let (acts, goes_on) = (acts.clone(), goes_on.clone());
            move || {
                acts.set();
                goes_on.wait();
            }
        }));
        let acting = spawn({
            let barrier = barrier.clone();
            move || barrier.wait().is_err()
        });
        acts.wait();
        assert!(barrier.wait_timeout(ms(5)).is_err());
        assert!(barrier.is_broken());
        goes_on.set();
        assert!(acting.join().unwrap(), "its round was broken");
    });
}
