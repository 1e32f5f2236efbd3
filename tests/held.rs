//! Locks that a task holds while it waits: who is told, and of which waits.
//!
//! The reports are the whole process's, so each test looks for those of its own tasks, by name.

#![cfg(feature = "runtime")]

mod common;

use std::sync::{Mutex, Once, PoisonError};
use std::time::{Duration, Instant};

use common::watch;
use osier::sync::{
    Condition, Condvar, Mutex as OsierMutex, RLock, RwLock, RwLockWriteGuard, channel, set_held_reports,
};
use osier::task::Builder;
use osier::{Generator, Report, Yielder, set_report_hook, sleep, spawn, yield_now};

/// Whether this build has the reports.
const TOLD: bool = cfg!(debug_assertions);
const SHORT: Duration = Duration::from_millis(1);

/// Each report's task, and both places.
static REPORTS: Mutex<Vec<[String; 3]>> = Mutex::new(Vec::new());

/// One test at a time: the switch is for all.
static TURN: Mutex<()> = Mutex::new(());

fn collect() -> std::sync::MutexGuard<'static, ()> {
    static COLLECTED: Once = Once::new();
    let turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
    COLLECTED.call_once(|| {
        _ = set_report_hook(|report| {
            if let Report::HeldOverWait { name, locked_at, waits_at, .. } = report {
                REPORTS.lock().unwrap().push([(*name).to_owned(), locked_at.to_string(), (*waits_at).to_owned()]);
            }
        });
    });
    turn
}

/// The places in the reports of the task `name`, once there are `count` of them.
fn told_of(name: &str, count: usize) -> Vec<[String; 2]> {
    let patience = Instant::now() + Duration::from_secs(50);
    loop {
        let reports = REPORTS.lock().unwrap();
        let ours = reports.iter().filter(|report| report[0] == name);
        let ours: Vec<_> = ours.map(|[_, locked_at, waits_at]| [locked_at.clone(), waits_at.clone()]).collect();
        drop(reports);
        if ours.len() >= count || Instant::now() > patience {
            return ours;
        }
        sleep(SHORT);
    }
}

/// Runs `body` as a task of that name.
fn task(name: &str, body: impl FnOnce() + Send + 'static) {
    Builder::new().name(name.to_owned()).spawn(body).join().unwrap();
}

/// Waits until a report arrives that is made now: those of earlier tasks have had the time to.
fn settle(name: &str) {
    static LAST: OsierMutex<u32> = OsierMutex::new(0);
    // Each needs a place of its own.
    match name {
        "nothing" => task(name, || {
            let _guard = LAST.lock();
            sleep(SHORT);
        }),
        "off" => task(name, || {
            let _guard = LAST.lock();
            sleep(SHORT);
        }),
        _ => unreachable!("a test without its place"),
    }
    told_of(name, usize::from(TOLD));
}

/// Whether a place is the given line of this file; where frames cannot be told, whether it is something.
fn is_line(place: &str, line: u32) -> bool {
    let known = cfg!(all(feature = "backtrace", target_os = "linux", not(miri)));
    if known { place.ends_with(&format!("tests/held.rs:{line}")) } else { !place.is_empty() }
}

#[test]
fn smoke_a_lock_held_over_a_wait_is_told_of_once_with_both_places() {
    // H09
    let _watch = watch();
    let _turn = collect();
    let mutex = std::sync::Arc::new(OsierMutex::new(1));
    task("holder", {
        let mutex = mutex.clone();
        move || {
            for _ in 0..3 {
                let _guard = mutex.lock();
                sleep(SHORT);
            }
        }
    });
    let locked_on = line!() - 5;
    let told = told_of("holder", usize::from(TOLD));
    assert_eq!(told.len(), usize::from(TOLD), "{told:?}");
    for [locked_at, waits_at] in told {
        assert!(locked_at.contains(&format!("tests/held.rs:{locked_on}:")), "{locked_at}");
        assert!(is_line(&waits_at, locked_on + 1), "{waits_at}");
    }
}

#[test]
fn every_kind_of_guard_counts_in_every_kind_of_wait() {
    let _watch = watch();
    let _turn = collect();
    let waits: [(&str, fn()); 4] = [
        ("reader", || {
            let lock = RwLock::new(1);
            let guard = RwLockWriteGuard::downgrade(lock.write());
            _ = channel::bounded::<u32>(1).1.recv_timeout(SHORT);
            assert_eq!(*guard, 1);
        }),
        ("writer", || {
            let lock = RwLock::new(1);
            let guard = lock.try_write().unwrap();
            spawn(yield_now).join().unwrap();
            spawn(|| sleep(SHORT)).join().unwrap();
            drop(guard);
        }),
        ("owner", || {
            let lock = RLock::new();
            let _guard = lock.lock_timeout(SHORT).unwrap();
            osier::task::park_timeout(SHORT);
        }),
        // What a generator has locked is its task's.
        ("resumer", || {
            let mut locks = Generator::new(|y: &Yielder<()>| {
                let lock = OsierMutex::new(1);
                let _guard = lock.lock();
                y.yield_(());
            });
            assert_eq!(locks.next(), Some(()));
            sleep(SHORT);
        }),
    ];
    for (name, wait) in waits {
        task(name, wait);
        assert_eq!(told_of(name, usize::from(TOLD)).len(), usize::from(TOLD), "{name}");
    }
}

#[test]
fn what_is_no_wait_for_something_else_does_not_count() {
    let _watch = watch();
    let _turn = collect();
    task("yields", || {
        let mutex = OsierMutex::new(1);
        let _guard = mutex.lock();
        yield_now();
    });
    task("gives up", || {
        let (mutex, condvar) = (OsierMutex::new(1), Condvar::new());
        let (guard, late) = condvar.wait_timeout(mutex.lock(), SHORT);
        assert!(late.timed_out());
        drop(guard);
        sleep(SHORT);
        let condition = Condition::new();
        let (outer, inner) = (condition.lock(), condition.lock());
        assert!(!inner.wait_timeout(SHORT));
        drop((outer, inner));
        sleep(SHORT);
    });
    task("nests", || {
        let inner = std::sync::Arc::new(OsierMutex::new(1));
        let (locked, is_locked) = channel::bounded(0);
        let holder = spawn({
            let inner = inner.clone();
            move || {
                let guard = inner.lock();
                // In a wait of another kind, but of another task.
                locked.send(()).unwrap();
                yield_now();
                drop(guard);
            }
        });
        is_locked.recv().unwrap();
        let outer = OsierMutex::new(1);
        let both = (outer.lock(), inner.lock());
        drop(both);
        holder.join().unwrap();
    });
    settle("nothing");
    for name in ["yields", "gives up", "nests"] {
        assert_eq!(told_of(name, 0), [[""; 2]; 0], "{name}");
    }
}

#[test]
fn a_condition_that_is_notified_holds_its_lock_again() {
    let _watch = watch();
    let _turn = collect();
    task("late", || {
        let condition = Condition::new();
        let guard = condition.lock();
        assert!(!guard.wait_timeout(SHORT));
        sleep(SHORT);
    });
    assert_eq!(told_of("late", usize::from(TOLD)).len(), usize::from(TOLD));
}

#[test]
fn the_reports_can_be_turned_off() {
    let _watch = watch();
    let _turn = collect();
    assert_eq!(set_held_reports(false), TOLD);
    task("allowed", || {
        let mutex = OsierMutex::new(1);
        let _guard = mutex.lock();
        sleep(SHORT);
    });
    assert!(!set_held_reports(true));
    settle("off");
    assert_eq!(told_of("allowed", 0), [[""; 2]; 0]);
}
