//! Signals as events. Each test has signals of its own, for they go to the whole process.
//!
//! Numbers in comments are rows of `arch-notes/conformance.md`.

#![cfg(all(feature = "net", not(miri)))]
#![allow(clippy::print_stdout, reason = "programs of this file talk by it")]

mod common;

use std::fmt;
use std::io::{BufRead, BufReader, ErrorKind};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use common::{FOR_EVER, ms, watch};
use osier::runtime::LocalRuntime;
use osier::signal::{self, Signal, Signals};
use osier::sync::WaitGroup;
use osier::task::{self, Builder};
use osier::{Generator, Yielder, catch, run, sleep, spawn, spawn_local, yield_now};

/// Sends a signal to this very thread: its handler has run when this returns.
fn raise(signal: Signal) {
    // SAFETY: it takes no pointers.
    assert_eq!(unsafe { libc::raise(signal.as_raw()) }, 0);
}

#[test]
fn smoke() {
    let _watch = watch();
    run(|| {
        let signals = Signals::new([Signal::USER1]).unwrap();
        assert_eq!(signals.try_next(), None);
        assert_eq!(signals.wait_timeout(ms(5)).unwrap(), None);
        assert_eq!(signals.wait_deadline(Instant::now() + ms(5)).unwrap(), None);
        let task = spawn(move || signals.wait().unwrap());
        raise(Signal::USER1);
        assert_eq!(task.join().unwrap(), Signal::USER1);
        assert_eq!(
            (Signal::USER1.to_string().as_str(), Signal::from_raw(99).to_string().as_str()),
            ("SIGUSR1", "signal 99")
        );
    });
}

#[test]
fn a_signal_that_is_named_twice_comes_once() {
    let _watch = watch();
    run(|| {
        let urgent = Signal::from_raw(libc::SIGURG);
        let signals = Signals::new([urgent, urgent]).unwrap();
        raise(urgent);
        assert_eq!((signals.wait().unwrap(), signals.try_next()), (urgent, None));
        assert_eq!(format!("{signals:?}"), format!("[{urgent}]"));
    });
}

#[derive(Debug)]
struct Alarm;

impl fmt::Display for Alarm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("alarm")
    }
}

impl std::error::Error for Alarm {}

// GV-200
#[test]
fn a_handler_that_raises_in_a_task_stays_until_it_is_cancelled() {
    let _watch = watch();
    let local = LocalRuntime::new();
    local.run(|| {
        let main = task::current();
        let signals = Signals::new([Signal::ALARM]).unwrap();
        let handler = Builder::new().daemon().spawn_local(move || signals.for_each(|_| main.throw(Alarm)));
        for _ in 0..2 {
            // SAFETY: it takes no pointers.
            unsafe { libc::alarm(1) };
            assert!(catch(|| sleep(FOR_EVER)).unwrap_err().is::<Alarm>());
        }
        handler.kill();
        raise(Signal::ALARM);
        sleep(ms(20));
    });
}

// GV-200
#[test]
fn waiting_for_a_signal_does_not_keep_a_runtime_alive() {
    let _watch = watch();
    let local = LocalRuntime::new();
    let task = local.spawn_local(|| signal::wait(Signal::CONTINUE));
    local.run_until_idle();
    assert!(!task.is_finished());
    raise(Signal::CONTINUE);
    local.run(|| task.join()).unwrap().unwrap();
}

#[test]
fn everybody_who_asked_gets_it_and_signals_of_a_kind_are_one() {
    let _watch = watch();
    run(|| {
        let both = [Signals::new([Signal::WINDOW]).unwrap(), Signals::new([Signal::WINDOW, Signal::QUIT]).unwrap()];
        raise(Signal::WINDOW);
        raise(Signal::WINDOW);
        for signals in &both {
            assert_eq!(signals.wait_timeout(FOR_EVER).unwrap(), Some(Signal::WINDOW));
            assert_eq!(signals.try_next(), None);
        }
        let [first, second] = both;
        drop(second);
        raise(Signal::WINDOW);
        assert_eq!(first.wait().unwrap(), Signal::WINDOW);
    });
}

#[test]
fn of_two_who_wait_each_gets_one() {
    let _watch = watch();
    run(|| {
        let signals = std::sync::Arc::new(Signals::new([Signal::USER2, Signal::HANGUP]).unwrap());
        for round in 0..200 {
            let tasks = [0, 1].map(|_| {
                let signals = signals.clone();
                spawn(move || signals.wait().unwrap())
            });
            (0..round % 3).for_each(|_| yield_now());
            raise(Signal::USER2);
            raise(Signal::HANGUP);
            let mut taken = tasks.map(|task| task.join().unwrap());
            taken.sort_unstable();
            assert_eq!(taken, [Signal::HANGUP, Signal::USER2]);
        }
    });
}

#[test]
fn what_cannot_be_waited_for_is_an_error() {
    let _watch = watch();
    for signal in [Signal::KILL, Signal::from_raw(libc::SIGSTOP), Signal::from_raw(libc::SIGSEGV)] {
        assert_eq!(signal::wait(signal).unwrap_err().kind(), ErrorKind::InvalidInput);
    }
    assert!(signal::wait(Signal::from_raw(12_345)).is_err());
}

// ---- Ctrl-C

/// Says its line when it is dropped.
struct Finally(String);

impl Drop for Finally {
    fn drop(&mut self) {
        println!("{}", self.0);
    }
}

/// In a process of its own: tasks that hold something, until Ctrl-C.
#[test]
fn program() {
    let Ok(way) = std::env::var("SIGNAL_PROGRAM") else { return };
    println!();
    let ended = run(move || {
        let begun = WaitGroup::new();
        for n in 0..5 {
            let begins = begun.clone();
            drop(spawn(move || {
                let _finally = Finally(format!("task {n}"));
                drop(begins);
                if n == 4 {
                    // In a generator, which waits.
                    let mut inner = Generator::new(|_: &Yielder<()>| {
                        let _finally = Finally("generator".to_owned());
                        sleep(FOR_EVER);
                    });
                    inner.next();
                }
                sleep(FOR_EVER);
            }));
        }
        begun.wait();
        // Runs when this task waits for the signal.
        drop(spawn_local(|| {
            let _finally = Finally("local".to_owned());
            println!("ready");
            task::park();
        }));
        match way.as_str() {
            "ctrl-c" => signal::ctrl_c(),
            _ => signal::wait(Signal::TERMINATE),
        }
    });
    ended.unwrap();
    println!("{:?}", osier::shutdown(Duration::from_secs(20)));
}

fn ended_by(way: &str, signal: Signal) -> Vec<String> {
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "program", "--nocapture", "--test-threads=1"])
        .env("SIGNAL_PROGRAM", way)
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines().map_while(Result::ok);
    assert!(lines.any(|line| line == "ready"));
    let id = libc::pid_t::try_from(child.id()).unwrap();
    // SAFETY: it takes no pointers, and the child was not waited for.
    assert_eq!(unsafe { libc::kill(id, signal.as_raw()) }, 0);
    // To the end, so that the harness can say what it likes.
    let said: Vec<_> = lines.filter(|line| !line.is_empty()).collect();
    assert!(child.wait().unwrap().success());
    said.into_iter().take_while(|line| line != "ok").collect()
}

// GV-202
#[test]
fn ctrl_c_may_end_a_program_with_all_its_destructors() {
    let _watch = watch();
    for (way, signal) in [("ctrl-c", Signal::INTERRUPT), ("wait", Signal::TERMINATE)] {
        let mut said = ended_by(way, signal);
        assert_eq!(said.pop().unwrap(), "Ok(())");
        said.sort_unstable();
        assert_eq!(said, ["generator", "local", "task 0", "task 1", "task 2", "task 3", "task 4"]);
    }
}
