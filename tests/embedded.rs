//! osier in a library that a program in C loads: std has prepared nothing there, and thread-locals are reached in another way
//! than in a program.
#![cfg(all(
    feature = "runtime",
    target_os = "linux",
    not(any(miri, osier_threads, osier_asan, osier_tsan, osier_loom))
))]

mod common;

use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::OnceLock;

use common::{assert_died_of, stderr, watch};

/// The host and the library, built once.
fn built() -> &'static (PathBuf, PathBuf) {
    static BUILT: OnceLock<(PathBuf, PathBuf)> = OnceLock::new();
    BUILT.get_or_init(|| {
        let target = Path::new(concat!(env!("CARGO_TARGET_TMPDIR"), "/embedded"));
        let package = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/embedded"));
        let mut cargo = Command::new(env!("CARGO"));
        cargo.args(["build", "--release", "--offline", "--manifest-path"]).arg(package.join("Cargo.toml"));
        let output = cargo.env("CARGO_TARGET_DIR", target).output().expect("cargo runs");
        assert!(output.status.success(), "{}", stderr(&output));
        let host = target.join("host");
        // What rustc links with, so it is there.
        let mut cc = Command::new("cc");
        cc.args(["-O1", "-Wall", "-o"]).arg(&host).arg(package.join("src/host.c")).args(["-ldl", "-lpthread"]);
        let output = cc.output().expect("a C compiler runs");
        assert!(output.status.success(), "{}", stderr(&output));
        (host, target.join("release/libembedded.so"))
    })
}

fn run(arguments: &[&str]) -> Output {
    let (host, library) = built();
    Command::new(host).arg(library).args(arguments).output().expect("the host runs")
}

#[track_caller]
fn assert_overflowed(arguments: &[&str], name: &str) {
    let output = run(arguments);
    assert_died_of(&output, libc::SIGABRT);
    let said = stderr(&output);
    assert!(said.contains(&format!("coroutine '{name}' overflowed its 80 KiB stack")), "{said}");
}

// H27
#[test]
fn an_overflow_names_the_coroutine_on_any_thread() {
    built();
    let _watch = watch();
    for thread in ["main", "thread"] {
        for handler in ["none", "handler"] {
            assert_overflowed(&["overflow_a_generator", thread, handler], "embedded-generator");
            assert_overflowed(&["overflow_a_task", thread, handler], "embedded-task");
            assert_overflowed(&["overflow_after_a_local_runtime", thread, handler], "embedded-generator");
        }
    }
}

// H27
#[test]
fn other_faults_are_the_hosts() {
    built();
    let _watch = watch();
    for thread in ["main", "thread"] {
        let output = run(&["begin", thread, "null"]);
        assert_died_of(&output, libc::SIGSEGV);
        assert!(!stderr(&output).contains("overflowed"), "{}", stderr(&output));
        // `exit` ends the thread's variables while the handler runs.
        for ends in ["", "exits"] {
            let output = run(&["begin", thread, "null", "handler", ends]);
            assert_eq!(output.status.code(), Some(42), "{} {}", output.status, stderr(&output));
            assert!(stderr(&output).contains("the host's handler"), "{}", stderr(&output));
        }
    }
}

// H06
#[test]
fn who_runs_is_asked_anew_after_a_switch() {
    built();
    let _watch = watch();
    for thread in ["main", "thread"] {
        let output = run(&["ask_around_switches", thread]);
        assert!(output.status.success(), "{}\n{}", output.status, stderr(&output));
        assert_eq!(String::from_utf8_lossy(&output.stdout), "0\n");
    }
}
