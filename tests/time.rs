//! Sleeping, intervals, tasks that start later, checkpoints. GV-011, GV-013, GV-044, GV-085.

#![cfg(feature = "runtime")]

mod common;

use std::cell::Cell;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use common::{FOR_EVER, Log, Tally, hold_thread, ms, panic_text, until, watch};
use osier::sync::channel;
use osier::task::{self, checkpoint, spawn_later};
use osier::time::{Interval, MissedTickBehavior, interval, interval_at, sleep_until, timeout};
use osier::{Runtime, catch, no_suspend, run, sleep, spawn, yield_now};

fn one_worker() -> Runtime {
    Runtime::builder().workers(1).build().unwrap()
}

#[test]
fn smoke() {
    let _watch = watch();
    let body = || {
        let began = Instant::now();
        sleep(ms(5));
        sleep_until(began + ms(10));
        assert!(began.elapsed() >= ms(10));
        sleep_until(began);
    };
    body();
    run(body);
}

#[test]
fn sleepers_wake_in_the_order_of_their_deadlines() {
    let _watch = watch();
    let log = Log::default();
    // Its time stands still while tasks run: none of them is late.
    Runtime::builder().test(1).build().unwrap().run(|| {
        let base = osier::time::now() + ms(20);
        let sleepers: Vec<_> = [5, 1, 4, 2, 3, 0]
            .map(|n| {
                let log = log.clone();
                spawn(move || {
                    sleep_until(base + ms(n));
                    log.push(n.to_string());
                })
            })
            .into();
        sleepers.into_iter().for_each(|s| s.join().unwrap());
    });
    assert_eq!(log.take(), ["0", "1", "2", "3", "4", "5"]);
}

#[test]
fn ten_thousand_sleepers_each_wake_once_and_not_early() {
    let _watch = watch();
    let woken = Arc::new(AtomicUsize::new(0));
    run(|| {
        let sleepers: Vec<_> = (0..10_000_u64)
            .map(|n| {
                let woken = woken.clone();
                spawn(move || {
                    let due = Instant::now() + Duration::from_micros(n * 7919 % 50_000);
                    sleep_until(due);
                    assert!(Instant::now() >= due);
                    woken.fetch_add(1, Ordering::SeqCst);
                })
            })
            .collect();
        sleepers.into_iter().for_each(|s| s.join().unwrap());
    });
    assert_eq!(woken.load(Ordering::SeqCst), 10_000);
}

// GV-011
#[test]
fn a_sleep_of_zero_lets_the_others_run() {
    let _watch = watch();
    let log = Log::default();
    one_worker().run(|| {
        let tasks: Vec<_> = (1..=2)
            .map(|n| {
                let log = log.clone();
                spawn(move || {
                    log.push(format!("{n}A"));
                    sleep(Duration::ZERO);
                    log.push(format!("{n}B"));
                })
            })
            .collect();
        tasks.into_iter().for_each(|t| t.join().unwrap());
    });
    let lines = log.take();
    let place = |line: &str| lines.iter().position(|l| l == line).unwrap();
    assert!(place("1A") < place("1B") && place("2A") < place("2B"));
    assert!(place("1A") < place("2B") && place("2A") < place("1B"), "{lines:?}");
}

#[test]
fn timers_are_served_between_tasks_that_yield_for_ever() {
    let _watch = watch();
    one_worker().run(|| {
        let stop = Arc::new(AtomicBool::new(false));
        let yielders: Vec<_> = (0..10)
            .map(|_| {
                let stop = stop.clone();
                spawn(move || {
                    while !stop.load(Ordering::SeqCst) {
                        yield_now();
                    }
                })
            })
            .collect();
        for _ in 0..20 {
            sleep(ms(1));
        }
        stop.store(true, Ordering::SeqCst);
        yielders.into_iter().for_each(|y| y.join().unwrap());
    });
}

// ---- spawn_later

// GV-013
#[test]
fn a_task_spawned_for_later_runs_then() {
    let _watch = watch();
    run(|| {
        let fired = Arc::new(AtomicBool::new(false));
        let later = spawn_later(ms(10), {
            let fired = fired.clone();
            move || fired.store(true, Ordering::SeqCst)
        });
        let began = Instant::now();
        until(|| fired.load(Ordering::SeqCst));
        assert!(began.elapsed() >= ms(5));
        later.join().unwrap();
        // The time counts from the call, not from when a worker gets to it.
        let asked = Instant::now();
        assert!(spawn_later(ms(3), Instant::now).join().unwrap() >= asked + ms(3));
        assert_eq!(spawn_later(Duration::ZERO, || 1).join().unwrap(), 1);
        let named = task::Builder::new().name("later").spawn_later(ms(1), || task::current().name().to_owned());
        assert_eq!(named.join().unwrap(), "later");
    });
}

// GV-044
#[test]
fn a_task_spawned_for_later_and_cancelled_before_never_runs() {
    let _watch = watch();
    run(|| {
        let tally = Tally::default();
        let ran = Arc::new(AtomicBool::new(false));
        let make = || {
            let (token, ran) = (tally.token(), ran.clone());
            spawn_later(FOR_EVER, move || {
                ran.store(true, Ordering::SeqCst);
                drop(token);
            })
        };
        // At once, and when it waits already.
        let at_once = make();
        at_once.cancel();
        assert!(at_once.join().unwrap_err().is_cancelled());
        let waiting = make();
        sleep(ms(5));
        waiting.kill();
        assert!(waiting.is_finished());
        assert!(!ran.load(Ordering::SeqCst));
        tally.assert_all_dropped(2);
    });
}

// ---- intervals

#[test]
fn ticks_come_on_schedule_however_long_the_work_between_takes() {
    let _watch = watch();
    let body = || {
        let start = Instant::now();
        let mut ticks = interval_at(start, ms(10));
        for n in 0..4 {
            assert_eq!(ticks.tick(), start + ms(10 * n));
            assert!(Instant::now() >= start + ms(10 * n));
            hold_thread(ms(3));
        }
        assert_eq!(ticks.period(), ms(10));
    };
    body();
    run(body);
}

#[test]
fn missed_ticks_burst_are_put_off_or_skipped() {
    let _watch = watch();
    run(|| {
        let late = |behavior| -> (Interval, Instant) {
            let start = Instant::now();
            let mut ticks = interval_at(start, ms(20));
            ticks.set_missed_tick_behavior(behavior);
            assert_eq!(ticks.missed_tick_behavior(), behavior);
            ticks.tick();
            hold_thread(ms(50));
            (ticks, start)
        };
        let (mut ticks, start) = late(MissedTickBehavior::Burst);
        assert_eq!([ticks.tick(), ticks.tick(), ticks.tick()], [start + ms(20), start + ms(40), start + ms(60)]);

        let (mut ticks, start) = late(MissedTickBehavior::Delay);
        assert_eq!(ticks.tick(), start + ms(20));
        assert!(ticks.tick() >= start + ms(70), "a period after the late one was taken");

        let (mut ticks, start) = late(MissedTickBehavior::Skip);
        assert_eq!(ticks.tick(), start + ms(20));
        let next = ticks.tick() - start;
        assert!(next >= ms(60) && next.as_nanos() % ms(20).as_nanos() == 0, "on the schedule: {next:?}");
    });
}

#[test]
fn an_interval_iterates_resets_and_keeps_a_tick_that_was_interrupted() {
    let _watch = watch();
    run(|| {
        assert_eq!(interval(ms(1)).take(3).count(), 3);
        let mut ticks = interval(ms(60_000));
        let first = ticks.tick();
        assert!(timeout(ms(2), || ticks.tick()).is_err());
        let before = Instant::now();
        ticks.reset();
        assert!(timeout(ms(2), || ticks.tick()).is_err());
        assert!(first <= before);
        let soon = interval_at(Instant::now() + ms(3), ms(60_000));
        let mut soon = soon;
        assert!(timeout(ms(1), || soon.tick()).is_err());
        let due = soon.tick();
        assert!(Instant::now() >= due);
    });
    assert_eq!(panic_text(|| interval(Duration::ZERO)), "an interval's period must not be zero");
}

#[test]
fn an_interval_begins_a_new_schedule_whenever_it_shall() {
    let _watch = watch();
    // Its time stands still while tasks run.
    Runtime::builder().test(1).build().unwrap().run(|| {
        let start = osier::time::now();
        let mut ticks = interval(ms(10));
        assert_eq!([ticks.tick(), ticks.tick()], [start, start + ms(10)]);
        ticks.reset_after(ms(3));
        assert_eq!([ticks.tick(), ticks.tick()], [start + ms(13), start + ms(23)]);
        ticks.reset_immediately();
        assert_eq!([ticks.tick(), ticks.tick()], [start + ms(23), start + ms(33)]);
        ticks.reset_at(start + ms(100));
        assert_eq!([ticks.tick(), ticks.tick()], [start + ms(100), start + ms(110)]);
        ticks.reset();
        assert_eq!(ticks.tick(), start + ms(120));
        assert_eq!(osier::time::now(), start + ms(120));
    });
}

#[test]
fn an_interval_that_never_ticks_again_waits_for_ever() {
    let _watch = watch();
    run(|| {
        let mut ticks = interval(Duration::MAX);
        ticks.tick();
        assert!(timeout(ms(3), || ticks.tick()).is_err());
    });
}

// ---- checkpoints

#[test]
fn a_checkpoint_throws_what_is_asked_of_a_task_that_computes() {
    let _watch = watch();
    let turns = Arc::new(AtomicU64::new(0));
    let compute = |turns: Arc<AtomicU64>| {
        move || loop {
            turns.fetch_add(1, Ordering::SeqCst);
            checkpoint();
        }
    };
    let t: osier::JoinHandle<()> = spawn(compute(turns.clone()));
    until(|| turns.load(Ordering::SeqCst) > 1000);
    t.cancel();
    assert!(t.join().unwrap_err().is_cancelled());
    // An exception.
    let t = spawn({
        let turns = turns.clone();
        let body: Box<dyn FnOnce() + Send> = Box::new(compute(turns));
        move || catch(body).unwrap_err().to_string()
    });
    let before = turns.load(Ordering::SeqCst);
    until(|| turns.load(Ordering::SeqCst) > before + 1000);
    t.throw(std::fmt::Error);
    assert_eq!(t.join().unwrap(), std::fmt::Error.to_string());
}

#[test]
fn a_checkpoint_ends_a_timeout_in_a_loop_that_computes() {
    let _watch = watch();
    let body = || {
        let began = Instant::now();
        let late = timeout(ms(10), || {
            loop {
                checkpoint();
            }
        });
        assert!(late.is_err() && began.elapsed() >= ms(10));
        // With slow turns as well.
        let began = Instant::now();
        let late = timeout(ms(10), || {
            loop {
                hold_thread(ms(2));
                checkpoint();
            }
        });
        assert!(late.is_err() && began.elapsed() < ms(1000), "{:?}", began.elapsed());
    };
    run(body);
    body();
}

#[test]
fn checkpoints_let_the_others_run() {
    let _watch = watch();
    one_worker().run(|| {
        let (started, starts) = channel::bounded(1);
        let stop = Arc::new(AtomicBool::new(false));
        let computing = spawn({
            let stop = stop.clone();
            move || {
                started.send(()).unwrap();
                while !stop.load(Ordering::SeqCst) {
                    checkpoint();
                }
            }
        });
        starts.recv().unwrap();
        // On the only worker: these run in between.
        sleep(ms(2));
        spawn(|| ()).join().unwrap();
        stop.store(true, Ordering::SeqCst);
        computing.join().unwrap();
    });
}

#[test]
fn a_checkpoint_in_a_shield_or_in_no_suspend_throws_nothing() {
    let _watch = watch();
    let (started, starts) = channel::bounded(1);
    let t = spawn(move || {
        let passed = Cell::new(0);
        task::shield(|| {
            started.send(()).unwrap();
            while !task::is_cancelled() {
                checkpoint();
            }
            checkpoint();
            passed.set(1);
        });
        no_suspend(|| (0..10_000).for_each(|_| checkpoint()));
        passed.set(passed.get() + 1);
        started.send(()).unwrap();
        checkpoint();
        passed.set(3);
        passed.get()
    });
    starts.recv().unwrap();
    t.cancel();
    starts.recv().unwrap();
    assert!(t.join().unwrap_err().is_cancelled());
    // On a plain thread it costs as little and does nothing.
    assert!(!task::is_cancelled());
    (0..10_000).for_each(|_| checkpoint());
}

/// Not a measurement: that it does not read the clock each time.
#[test]
fn checkpoints_are_cheap() {
    let _watch = watch();
    let per_checkpoint = run(|| {
        (0..5)
            .map(|_| {
                let began = Instant::now();
                (0..100_000).for_each(|_| checkpoint());
                began.elapsed() / 100_000
            })
            .min()
            .unwrap()
    });
    assert!(
        per_checkpoint < Duration::from_nanos(if cfg!(debug_assertions) { 2_000 } else { 100 }),
        "{per_checkpoint:?}"
    );
}
