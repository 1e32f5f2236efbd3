//! What the address sanitizer must find on the stacks of coroutines, so that its silence in the other suites means something.

#![cfg(osier_asan)]

mod common;

use std::hint::black_box;

use common::{program, run_program, stderr, watch};
use osier::{Generator, Yielder};

/// The programs with a mistake. Each is run by a test below, which looks at what was said of it.
#[test]
fn in_a_process_of_its_own() {
    match program().as_deref() {
        None => {}
        Some("past an array") => past_an_array(),
        Some("a frame that is gone") => a_frame_that_is_gone(),
        #[cfg(feature = "runtime")]
        Some("past an array in a task") => past_an_array_in_a_task(),
        #[cfg(feature = "runtime")]
        Some("a frame of a task that is gone") => a_frame_of_a_task_that_is_gone(),
        Some(other) => panic!("no program '{other}'"),
    }
}

/// Writes past the end of an array in a coroutine's frame, after a switch there and back.
fn past_an_array() {
    let mut g = Generator::new(|y: &Yielder<u8>| {
        let mut array = [0_u8; 32];
        y.yield_(1);
        let past = black_box(array.as_mut_ptr()).wrapping_add(black_box(array.len()));
        // SAFETY: there is none, on purpose.
        unsafe { past.write(7) };
        y.yield_(black_box(array)[3]);
    });
    assert_eq!(g.next(), Some(1));
    g.next();
}

/// Reads what a closed generator has owned.
fn a_frame_that_is_gone() {
    let mut g = Generator::new(|y: &Yielder<*const u8>| {
        let owned = vec![7_u8; 100];
        y.yield_(owned.as_ptr());
    });
    let kept = g.next().unwrap();
    g.close().unwrap();
    // SAFETY: there is none, on purpose.
    black_box(unsafe { black_box(kept).read() });
}

/// Writes past the end of an array in a task's frame, after another task has run.
#[cfg(feature = "runtime")]
fn past_an_array_in_a_task() {
    osier::run(|| {
        let mut array = [0_u8; 32];
        osier::yield_now();
        let past = black_box(array.as_mut_ptr()).wrapping_add(black_box(array.len()));
        // SAFETY: there is none, on purpose.
        unsafe { past.write(7) };
        black_box(array);
    });
}

/// Reads what a cancelled task has owned.
#[cfg(feature = "runtime")]
fn a_frame_of_a_task_that_is_gone() {
    osier::run(|| {
        let (sender, receiver) = osier::sync::channel::bounded(1);
        let task = osier::spawn(move || {
            let owned = vec![7_u8; 100];
            sender.send(owned.as_ptr().addr()).unwrap();
            osier::sleep(common::FOR_EVER);
            black_box(owned);
        });
        let kept: usize = receiver.recv().unwrap();
        task.kill();
        // SAFETY: there is none, on purpose.
        black_box(unsafe { black_box(std::ptr::with_exposed_provenance::<u8>(kept)).read() });
    });
}

#[track_caller]
fn assert_found(program: &str, mistake: &str) {
    let output = run_program(program);
    assert!(!output.status.success() && stderr(&output).contains(mistake), "{}\n{}", output.status, stderr(&output));
}

// H39
#[test]
fn a_write_past_an_array_in_a_coroutines_frame_is_found() {
    let _watch = watch();
    assert_found("past an array", "stack-buffer-overflow");
}

// H39
#[test]
fn a_read_of_what_an_unwound_coroutine_has_owned_is_found() {
    let _watch = watch();
    assert_found("a frame that is gone", "heap-use-after-free");
}

// H39
#[cfg(feature = "runtime")]
#[test]
fn a_write_past_an_array_in_a_tasks_frame_is_found() {
    let _watch = watch();
    assert_found("past an array in a task", "stack-buffer-overflow");
}

// H39
#[cfg(feature = "runtime")]
#[test]
fn a_read_of_what_a_cancelled_task_has_owned_is_found() {
    let _watch = watch();
    assert_found("a frame of a task that is gone", "heap-use-after-free");
}
