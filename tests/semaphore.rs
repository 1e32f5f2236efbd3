//! Semaphores: who gets permits, in which order, and what a cut-short wait leaves.

#![cfg(feature = "runtime")]

mod common;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use common::{Log, Random, ms, panic_text, watch};
use osier::sync::{BoundedSemaphore, Event, Permit, RLock, Semaphore};
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
// GV-131, GV-001
#[test]
fn an_acquire_that_takes_too_long_returns_false() {
    let _watch = watch();
    let check = || {
        let semaphore = Semaphore::new(0);
        let began = Instant::now();
        assert!(!semaphore.acquire_timeout(ms(10)) && !semaphore.acquire_deadline(Instant::now() + ms(10)));
        assert!(!semaphore.wait_timeout(ms(10)) && began.elapsed() >= ms(30));
        assert!(!semaphore.try_acquire() && !semaphore.acquire_timeout(Duration::ZERO));
        assert!(semaphore.is_locked() && semaphore.hold_timeout(ms(1)).is_none());
        semaphore.release();
        assert!(semaphore.acquire_timeout(Duration::ZERO) && semaphore.available() == 0);
    };
    check();
    run(check);
}

// GV-133
#[test]
fn an_extra_release_counts_up_or_is_an_error() {
    let semaphore = Semaphore::new(1);
    semaphore.release();
    semaphore.release_many(2);
    assert_eq!(semaphore.available(), 4);
    assert_eq!(format!("{semaphore:?}"), "Semaphore { available: 4 }");
    let bounded = BoundedSemaphore::new(2);
    assert!(bounded.release().is_err());
    bounded.acquire();
    assert!(bounded.release().is_ok() && bounded.release().is_err());
    assert_eq!(bounded.available(), 2);
    assert!(Semaphore::default().try_acquire() && BoundedSemaphore::default().release().is_err());
    assert!(panic_text(|| Semaphore::new(Semaphore::MAX_PERMITS).release()).contains("at most"));
}

#[test]
fn a_permit_of_a_bounded_semaphore_never_brings_it_over_its_bound() {
    let bounded = BoundedSemaphore::new(1);
    let holds: [fn(&BoundedSemaphore) -> Permit; 4] = [
        BoundedSemaphore::hold,
        |bounded| bounded.try_hold().unwrap(),
        |bounded| bounded.hold_timeout(ms(1)).unwrap(),
        |bounded| bounded.hold_deadline(Instant::now()).unwrap(),
    ];
    for hold in holds {
        let held = hold(&bounded);
        bounded.release().unwrap();
        assert_eq!(bounded.available(), 1);
        drop(held);
        assert_eq!(bounded.available(), 1, "it was given back before");
    }
}

// GV-136
#[test]
fn waiting_for_a_free_semaphore_takes_nothing() {
    let _watch = watch();
    let semaphore = Semaphore::new(1);
    semaphore.wait();
    assert!(semaphore.wait_timeout(Duration::ZERO) && semaphore.available() == 1);
    assert_eq!(osier::wait(&[&semaphore, &BoundedSemaphore::new(1)]).collect::<Vec<_>>(), [0, 1]);
    assert_eq!(semaphore.available(), 1);
    semaphore.acquire();
    runtime(1).run(|| {
        let watcher = {
            let semaphore = semaphore.clone();
            started(move || semaphore.wait())
        };
        let taker = {
            let semaphore = semaphore.clone();
            started(move || semaphore.acquire())
        };
        semaphore.release();
        taker.join().unwrap();
        assert!(!watcher.is_finished(), "the permit went to the one who takes it");
        semaphore.release();
        watcher.join().unwrap();
        assert_eq!(semaphore.available(), 1);
    });
}

// GV-137
#[test]
fn a_plain_acquirer_gets_its_turn_among_greedy_ones() {
    let _watch = watch();
    runtime(1).run(|| {
        let (semaphore, stop) = (Semaphore::new(1), Arc::new(AtomicBool::new(false)));
        let greedy: Vec<_> = (0..3)
            .map(|_| {
                let (semaphore, stop) = (semaphore.clone(), stop.clone());
                started(move || {
                    while !stop.load(Ordering::SeqCst) {
                        let _permit = semaphore.hold();
                        yield_now();
                    }
                })
            })
            .collect();
        for _ in 0..20 {
            drop(semaphore.hold());
        }
        stop.store(true, Ordering::SeqCst);
        greedy.into_iter().for_each(|g| g.join().unwrap());
        assert_eq!(semaphore.available(), 1);
    });
}

#[test]
fn first_come_first_served_also_for_many_permits() {
    let _watch = watch();
    runtime(1).run(|| {
        let (semaphore, log) = (Semaphore::new(0), Log::default());
        let take = |n: usize| {
            let (semaphore, log) = (semaphore.clone(), log.clone());
            started(move || {
                semaphore.acquire_many(n);
                log.push(format!("{n}"));
            })
        };
        let tasks = [take(3), take(1), take(2)];
        semaphore.release_many(2);
        yield_now();
        assert!(log.len() == 0 && !semaphore.try_acquire(), "two are there, for the one who wants three");
        semaphore.release_many(4);
        tasks.into_iter().for_each(|t| t.join().unwrap());
        assert_eq!(log.take(), ["3", "1", "2"]);
        assert_eq!(semaphore.available(), 0);
    });
}

// GV-139, H16
#[test]
fn a_cancelled_acquirer_loses_no_permit() {
    let _watch = watch();
    runtime(1).run(|| {
        let semaphore = Semaphore::new(0);
        let take = |n: usize| {
            let semaphore = semaphore.clone();
            started(move || {
                semaphore.acquire_many(n);
                yield_now();
            })
        };
        let killed = take(1);
        killed.cancel();
        assert!(killed.join().is_err());
        semaphore.release();
        assert!(semaphore.try_acquire());

        // The one in front leaves: those behind it get what it would not take.
        let (big, small) = (take(5), take(1));
        semaphore.release();
        yield_now();
        assert!(!small.is_finished());
        big.cancel();
        small.join().unwrap();
        assert!(big.join().is_err());

        // Given, then cancelled: the permit is returned, and the cancellation comes at the next wait.
        let given = take(1);
        semaphore.release();
        given.cancel();
        assert!(given.join().unwrap_err().is_cancelled());
        assert_eq!(semaphore.available(), 0, "it had its permit");
        let in_time = {
            let semaphore = semaphore.clone();
            started(move || semaphore.acquire_many_timeout(3, ms(1)))
        };
        let behind = take(1);
        semaphore.release();
        assert!(!in_time.join().unwrap());
        behind.join().unwrap();
    });
}

#[test]
fn permits_are_given_back_by_whoever_has_them() {
    let _watch = watch();
    run(|| {
        let semaphore = Semaphore::new(3);
        let permit = semaphore.hold_many(2);
        assert_eq!((permit.permits(), semaphore.available()), (2, 1));
        spawn(move || drop(permit)).join().unwrap();
        assert_eq!(semaphore.available(), 3);
        semaphore.try_hold().unwrap().forget();
        assert_eq!(semaphore.available(), 2);
        let failed = catch_unwind(AssertUnwindSafe(|| {
            let _permit = semaphore.hold();
            panic!("with a permit");
        }));
        assert!(failed.is_err() && semaphore.available() == 2);
    });
}

// GV-140
#[test]
fn threads_and_tasks_share_semaphores_and_rlocks() {
    let _watch = watch();
    let (semaphore, bounded, rlock) = (Semaphore::new(1), BoundedSemaphore::new(2), RLock::new());
    let inside = Arc::new(AtomicUsize::new(0));
    let body = {
        let inside = inside.clone();
        move |rounds: usize| {
            for n in 0..rounds {
                semaphore.acquire();
                assert_eq!(inside.fetch_add(1, Ordering::SeqCst), 0);
                inside.fetch_sub(1, Ordering::SeqCst);
                semaphore.release();
                if bounded.acquire_timeout(ms(n as u64 % 2)) {
                    bounded.release().unwrap();
                }
                let _outer = rlock.lock();
                let _inner = rlock.lock();
                assert!(rlock.is_owned());
            }
        }
    };
    let threads: Vec<_> = (0..2)
        .map(|_| {
            let body = body.clone();
            thread::spawn(move || body(10_000))
        })
        .collect();
    let tasks: Vec<_> = (0..4)
        .map(|_| {
            let body = body.clone();
            spawn(move || body(1_000))
        })
        .collect();
    threads.into_iter().for_each(|t| t.join().unwrap());
    tasks.into_iter().for_each(|t| t.join().unwrap());
}

#[test]
fn random_calls_conserve_permits() {
    let _watch = watch();
    let mut random = Random::new();
    for workers in [1, 4] {
        let runtime = runtime(workers);
        let semaphore = Semaphore::new(5);
        let tasks: Vec<_> = (0..30)
            .map(|_| {
                let (semaphore, seed) = (semaphore.clone(), random.below(1 << 30));
                runtime.spawn(move || {
                    let mut random = Random::seeded(seed);
                    for _ in 0..100 {
                        let n = usize::try_from(1 + random.below(5)).unwrap();
                        let patience = Duration::from_micros(random.below(100));
                        match random.below(4) {
                            0 => drop(semaphore.hold_many(n)),
                            1 => _ = semaphore.wait_timeout(patience),
                            2 => drop(semaphore.try_hold()),
                            _ => {
                                if let Some(permit) = semaphore.hold_timeout(patience) {
                                    yield_now();
                                    drop(permit);
                                }
                            }
                        }
                    }
                })
            })
            .collect();
        for _ in 0..15 {
            tasks[usize::try_from(random.below(30)).unwrap()].cancel();
            drop(semaphore.hold());
        }
        tasks.into_iter().for_each(|t| drop(t.join()));
        assert_eq!(semaphore.available(), 5);
    }
}
