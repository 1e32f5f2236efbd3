//! Programs built with `panic = "abort"`: nothing is unwound, and whatever would have to be says so.
#![cfg(not(any(miri, osier_threads)))]

mod common;

use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::OnceLock;

use common::{assert_died_of, stderr, watch};

/// The program in `tests/panic_abort`, built once.
fn program() -> &'static Path {
    static PROGRAM: OnceLock<PathBuf> = OnceLock::new();
    PROGRAM.get_or_init(|| {
        let target = concat!(env!("CARGO_TARGET_TMPDIR"), "/panic_abort");
        let manifest = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/panic_abort/Cargo.toml");
        let mut cargo = Command::new(env!("CARGO"));
        cargo.args(["build", "--offline", "--manifest-path", manifest]).env("CARGO_TARGET_DIR", target);
        let output = cargo.output().expect("cargo runs");
        assert!(output.status.success(), "{}", stderr(&output));
        Path::new(target).join("debug/panic_abort")
    })
}

fn run(what: &str) -> Output {
    Command::new(program()).arg(what).env("RUST_BACKTRACE", "0").output().expect("the program runs")
}

#[track_caller]
fn assert_done(output: &Output) {
    assert!(output.status.success(), "{}\n{}", output.status, stderr(output));
    assert_eq!(String::from_utf8_lossy(&output.stdout), "done\n");
}

// H21
#[test]
fn dropping_a_suspended_generator_warns_and_leaks_it() {
    program();
    let _watch = watch();
    let output = run("drop");
    assert_done(&output);
    let err = stderr(&output);
    assert!(err.contains("left-behind") && err.contains("leaked"), "{err}");
}

// H21
#[test]
fn a_scoped_generator_must_run_to_its_end() {
    program();
    let _watch = watch();
    assert_done(&run("scoped"));
    let output = Command::new(program()).args(["scoped", "not to the end"]).output().expect("the program runs");
    assert_died_of(&output, libc::SIGABRT);
    let err = stderr(&output);
    assert!(err.contains("did not end: its stack is leaked") && err.contains("borrows from its caller"), "{err}");
}

// H21
#[test]
fn values_and_errors_are_delegated() {
    program();
    let _watch = watch();
    assert_done(&run("yield_from"));
}

// H21
#[test]
fn greenlets_switch_and_are_left_behind_and_nothing_is_thrown_into_them() {
    program();
    let _watch = watch();
    let output = run("greenlets");
    assert_done(&output);
    assert!(stderr(&output).contains("'left-behind' did not end: its stack is leaked"), "{}", stderr(&output));
    let output = run("throw into a greenlet");
    assert_died_of(&output, libc::SIGABRT);
    assert!(stderr(&output).contains("stop it"), "{}", stderr(&output));
}

// H21
#[test]
fn an_exception_can_be_thrown_into_a_try_yield_alone() {
    program();
    let _watch = watch();
    assert_done(&run("throw into try_yield"));
    let output = run("throw into yield_");
    assert_died_of(&output, libc::SIGABRT);
    assert!(stderr(&output).contains("stop it"), "{}", stderr(&output));
}

// H21
#[test]
fn a_raise_and_a_panic_abort_with_their_text() {
    program();
    let _watch = watch();
    for (what, text) in [("raise", "stop it"), ("panic", "a bug")] {
        let output = run(what);
        assert_died_of(&output, libc::SIGABRT);
        assert!(stderr(&output).contains(text), "{}", stderr(&output));
    }
}

// H21
#[cfg(feature = "runtime")]
#[test]
fn a_cancelled_task_goes_on_and_can_ask() {
    program();
    let _watch = watch();
    assert_done(&run("cancel"));
}

// H21
#[cfg(feature = "runtime")]
#[test]
fn a_timeout_that_is_late_is_told_when_its_closure_returns() {
    program();
    let _watch = watch();
    assert_done(&run("late timeout"));
}

// H21
#[cfg(feature = "runtime")]
#[test]
fn a_join_of_a_cancelled_task_ends_as_cancelled() {
    program();
    let _watch = watch();
    assert_done(&run("join"));
    assert_done(&run("shielded join"));
}

#[cfg(feature = "runtime")]
#[test]
fn a_kill_only_asks_and_with_a_limit_waits_for_that_long() {
    program();
    let _watch = watch();
    assert_done(&run("kill"));
}

#[cfg(feature = "runtime")]
#[test]
fn a_runtime_that_is_dropped_leaves_tasks_that_wait_behind_and_says_so() {
    program();
    let _watch = watch();
    let output = run("shutdown");
    assert_done(&output);
    assert!(stderr(&output).contains("1 tasks did not end before the deadline"), "{}", stderr(&output));
}

// H21
#[cfg(feature = "net")]
#[test]
fn sockets_and_servers_keep_to_their_limits() {
    program();
    let _watch = watch();
    assert_done(&run("sockets"));
}

// H21
#[cfg(feature = "net")]
#[test]
fn a_call_of_a_socket_ends_with_an_error_that_says_that_its_task_was_cancelled() {
    program();
    let _watch = watch();
    assert_done(&run("cancelled sockets"));
}
