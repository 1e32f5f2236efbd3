//! Overflows on the main thread, which the test harness keeps for itself: so this test has none.
//!
//! It starts itself again with a program to run, and looks at how that process ended.

mod common;

use common::{OWN_THREADS, assert_died_of, stderr};
use osier::{Generator, Yielder};
use std::hint::black_box;

const PROGRAM: &str = "OSIER_MAIN_THREAD";

/// Calls itself until the stack ends.
#[inline(never)]
fn eat(depth: u64) -> u64 {
    let mut frame = [0_u8; 256];
    black_box(&mut frame)[0] = 1;
    let below = if black_box(depth) == u64::MAX { 0 } else { eat(depth + 1) };
    below + u64::from(black_box(&frame)[255])
}

fn run_program(program: &str) {
    let none = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: `setrlimit` only reads the struct. These programs die on purpose and leave no core behind.
    unsafe { libc::setrlimit(libc::RLIMIT_CORE, &raw const none) };
    let mut g = Generator::builder(|y: &Yielder<u64>| {
        y.yield_(1);
        y.yield_(eat(0));
    })
    .name("on-the-main-thread")
    .stack_size(64 * 1024)
    .build();
    assert_eq!(g.next(), Some(1));
    match program {
        "generator" => _ = g.next(),
        "thread" => _ = black_box(eat(0)),
        other => panic!("no program '{other}'"),
    }
}

// H24, H27
fn main() {
    if OWN_THREADS {
        return;
    }
    if let Ok(program) = std::env::var(PROGRAM) {
        return run_program(&program);
    }
    let _watch = common::watch();
    let overflow = |program| {
        let mut command = std::process::Command::new(std::env::current_exe().expect("the path of this test"));
        let output = command.env(PROGRAM, program).output().expect("the test can be started again");
        assert_died_of(&output, libc::SIGABRT);
        stderr(&output)
    };
    let said = overflow("generator");
    assert!(said.contains("coroutine 'on-the-main-thread' overflowed its 64 KiB stack"), "{said}");
    // std's to report, as if there were no coroutines.
    let said = overflow("thread");
    assert!(said.contains("'main'") && said.contains("has overflowed its stack"), "{said}");
    assert!(!said.contains("coroutine"), "{said}");
}
