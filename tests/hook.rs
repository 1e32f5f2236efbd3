//! Panic hooks that use the runtime: they wait as threads wait. Each program sets its hook before the first coroutine.

#![cfg(feature = "runtime")]

mod common;

use std::panic;
use std::sync::Mutex;
use std::time::Duration;

use common::{Log, assert_ended_well, lock, ms, program, run_program, watch};
use osier::time::timeout;
use osier::{Generator, Runtime, Yielder, sleep, spawn, task, yield_now};

osier::task_local! {
    static NAME: &'static str = "nobody";
}

// H19
#[test]
fn a_hook_that_waits_holds_its_thread_and_no_second_panic_comes_in_its_middle() {
    let _watch = watch();
    assert_ended_well(&run_program("waits"));
}

// H19
#[test]
fn a_hook_is_neither_cancelled_nor_timed_out_and_the_panic_goes_on() {
    let _watch = watch();
    assert_ended_well(&run_program("is to be interrupted"));
}

#[cfg(feature = "net")]
// H19
#[test]
fn a_hook_may_do_the_runtimes_own_input_and_output() {
    let _watch = watch();
    assert_ended_well(&run_program("writes"));
}

// H38
#[test]
fn a_hook_may_spawn_join_and_resume_generators() {
    let _watch = watch();
    assert_ended_well(&run_program("spawns"));
}

#[test]
fn in_a_process_of_its_own() {
    let _watch = watch();
    match program().as_deref() {
        None => {}
        Some("waits") => waits(),
        Some("is to be interrupted") => is_to_be_interrupted(),
        #[cfg(feature = "net")]
        Some("writes") => writes(),
        Some("spawns") => spawns(),
        Some(other) => panic!("no program is called {other}"),
    }
}

/// Sets a hook that logs around what it does.
fn hook(log: &Log, act: impl Fn() + Send + Sync + 'static) {
    let log = log.clone();
    panic::set_hook(Box::new(move |_| {
        log.push("in");
        act();
        log.push("out");
    }));
}

fn one_worker() -> Runtime {
    Runtime::builder().workers(1).build().unwrap()
}

fn waits() {
    let log = Log::default();
    hook(&log, || {
        sleep(ms(5));
        yield_now();
        task::park_timeout(ms(1));
    });
    let (sent, sees) = (Mutex::new(0), 3);
    one_worker().run(|| {
        let tasks: Vec<_> = (0..sees).map(|_| spawn(|| panic!("on purpose"))).collect();
        for task in tasks {
            assert!(task.join().unwrap_err().is_panic());
            *lock(&sent) += 1;
        }
    });
    assert_eq!(log.take(), ["in", "out", "in", "out", "in", "out"], "one after the other");
    assert_eq!(*lock(&sent), sees);
    // In made-up time, which goes on as it was.
    let runtime = Runtime::builder().test(1).build().unwrap();
    runtime.run(|| {
        sleep(Duration::from_secs(1_000_000));
        let before = osier::time::now();
        assert!(spawn(|| panic!("on purpose")).join().unwrap_err().is_panic());
        assert_eq!(osier::time::now(), before);
    });
}

fn is_to_be_interrupted() {
    let log = Log::default();
    hook(&log, || sleep(ms(20)));
    one_worker().run(|| {
        let t = spawn(|| {
            task::current().cancel();
            panic!("on purpose");
        });
        assert!(t.join().unwrap_err().is_panic());
        let late = spawn(|| timeout(ms(1), || panic!("on purpose")));
        assert!(late.join().unwrap_err().is_panic());
    });
    assert_eq!(log.take(), ["in", "out", "in", "out"]);
}

#[cfg(feature = "net")]
fn writes() {
    use std::io::{Read, Write};
    let (mut reader, writer) = osier::net::pipe().unwrap();
    let (ended, ends) = osier::sync::channel::bounded::<()>(0);
    // Reads slowly, on a runtime of its own, so that the hook has to wait.
    let other = one_worker();
    let reads = other.spawn(move || {
        sleep(ms(10));
        let mut bytes = Vec::new();
        reader.read_to_end(&mut bytes).unwrap();
        drop(ended);
        bytes.len()
    });
    let writer = Mutex::new(Some(writer));
    let log = Log::default();
    hook(&log, move || {
        let mut writer = lock(&writer).take().unwrap();
        writer.write_all("1".repeat(300_000).as_bytes()).unwrap();
        drop(writer);
        assert!(ends.recv().is_err());
    });
    one_worker().run(|| assert!(spawn(|| panic!("on purpose")).join().unwrap_err().is_panic()));
    assert_eq!((reads.join().unwrap(), log.take()), (300_000, vec!["in".to_owned(), "out".to_owned()]));
}

fn spawns() {
    let log = Log::default();
    let seen = log.clone();
    hook(&log, move || {
        assert_eq!(spawn(|| 7).join().unwrap(), 7);
        assert_eq!(Generator::new(|y: &Yielder<u32>| y.yield_all(0..4)).sum::<u32>(), 6);
        assert!(task::try_current().is_none());
        seen.push(NAME.get());
    });
    one_worker().run(|| {
        for _ in 0..2 {
            assert!(spawn(|| panic!("on purpose")).join().unwrap_err().is_panic());
        }
        // The worker is as it was.
        assert!(task::try_current().is_some() && task::worker() == Some(0));
    });
    assert_eq!(log.take(), ["in", "nobody", "out", "in", "nobody", "out"]);
}
