//! What the thread sanitizer must find between tasks, so that its silence in the other suites means something.

#![cfg(osier_tsan)]

mod common;

use std::cell::UnsafeCell;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use common::{program, run_program, stderr, watch};
use osier::task::Place;
use osier::{Runtime, yield_now};

/// The programs. Each is run by a test below, which looks at what was said of it.
#[test]
fn in_a_process_of_its_own() {
    match program().as_deref() {
        None => {}
        Some("a race between workers") => between(2),
        Some("the same in one worker") => between(1),
        Some(other) => panic!("no program '{other}'"),
    }
}

struct Shared {
    number: UnsafeCell<u64>,
    met: AtomicUsize,
}

// SAFETY: there is none, on purpose: with two workers, two threads write the number and nothing orders them.
unsafe impl Sync for Shared {}

/// Two tasks write one number, each after a switch, with nothing between them but the fact that both have begun.
fn between(workers: usize) {
    let runtime = Runtime::builder().workers(workers).build().unwrap();
    let shared = Arc::new(Shared { number: UnsafeCell::new(0), met: AtomicUsize::new(0) });
    let writer = |worker| {
        let shared = shared.clone();
        let place = if worker == 0 { Place::Here } else { Place::Spread };
        osier::task::Builder::new().place(place).spawn(move || {
            shared.met.fetch_add(1, Ordering::Relaxed);
            while shared.met.load(Ordering::Relaxed) < 2 {
                yield_now();
            }
            // SAFETY: see `Shared`.
            unsafe { *shared.number.get() += 1 };
        })
    };
    runtime.run(|| {
        let tasks = [writer(0), writer(1)];
        tasks.into_iter().for_each(|task| task.join().unwrap());
    });
}

// H40
#[test]
fn a_race_between_tasks_of_two_workers_is_found() {
    let _watch = watch();
    // Which worker takes a task is not sure: one time of some both run at once.
    let found = (0..20).any(|_| stderr(&run_program("a race between workers")).contains("data race"));
    assert!(found);
}

// H40
#[test]
fn tasks_of_one_worker_do_not_race() {
    let _watch = watch();
    let output = run_program("the same in one worker");
    assert!(output.status.success() && !stderr(&output).contains("data race"), "{}", stderr(&output));
}
