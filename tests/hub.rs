//! What gevent's tests ask of the hub: failing timers and hooks, calls where nothing may wait, and an end that unwinds all.

#![cfg(feature = "runtime")]

mod common;

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use osier::sync::Event;
use osier::task::spawn_later;
use osier::time;
use osier::{Generator, Report, Runtime, Yielder, catch, raise, run, set_report_hook, sleep, spawn, yield_now};

use common::{Log, OnDrop, lock, ms, panic_text, watch};

/// One report hook for the process: the tests that set it take turns.
static HOOK: Mutex<()> = Mutex::new(());

fn boom() -> u32 {
    raise(std::fmt::Error)
}

// GV-185
#[test]
fn a_timer_that_fails_is_reported_and_the_others_stay_on_time() {
    let _watch = watch();
    let _turn = lock(&HOOK);
    let told = Arc::new(AtomicUsize::new(0));
    let old = set_report_hook({
        let told = told.clone();
        move |report: &Report<'_>| {
            if let Report::Unjoined { name, .. } = report {
                assert!(name.contains("boom"), "{name}");
                told.fetch_add(1, Ordering::SeqCst);
            }
        }
    });
    Runtime::builder().test(1).build().unwrap().run(|| {
        let began = time::now();
        for n in 1..=3 {
            drop(spawn_later(ms(n * 10), boom));
        }
        sleep(ms(100));
        assert_eq!(time::now() - began, ms(100));
    });
    drop(set_report_hook(old));
    assert_eq!(told.load(Ordering::SeqCst), 3);
}

// GV-194
#[test]
fn a_report_hook_that_fails_changes_nothing() {
    let _watch = watch();
    let _turn = lock(&HOOK);
    let calls = Arc::new(AtomicUsize::new(0));
    let old = set_report_hook({
        let calls = calls.clone();
        move |_: &Report<'_>| {
            calls.fetch_add(1, Ordering::SeqCst);
            panic!("the hook fails")
        }
    });
    run(|| {
        let handle = spawn(boom);
        // The link fails, and so does the hook that is told of it.
        handle.link(|_| raise(std::fmt::Error));
        let error = handle.join().unwrap_err();
        assert!(error.exception().unwrap().is::<std::fmt::Error>());
        // Nobody joins this one.
        let ended = spawn(boom);
        let task = ended.task();
        drop(ended);
        while !task.is_finished() {
            yield_now();
        }
        assert_eq!(spawn(|| 42).join().unwrap(), 42);
    });
    drop(set_report_hook(old));
    assert!(calls.load(Ordering::SeqCst) >= 1);
}

// GV-005
#[test]
fn a_wait_where_nothing_may_wait_panics_and_the_runtime_goes_on() {
    let _watch = watch();
    let _turn = lock(&HOOK);
    let outcome = Arc::new(Mutex::new(Vec::new()));
    let old = set_report_hook({
        let outcome = outcome.clone();
        move |_: &Report<'_>| {
            let wait = osier::catch_unwind(|| sleep(ms(1)));
            let text = wait.unwrap_err().downcast::<String>().map_or(String::new(), |text| *text);
            outcome.lock().unwrap().push(text);
        }
    });
    run(|| {
        let handle = spawn(|| 1);
        handle.link(|_| raise(std::fmt::Error));
        handle.join().unwrap();
        assert_eq!(spawn(|| 42).join().unwrap(), 42);
    });
    drop(set_report_hook(old));
    let outcome = outcome.lock().unwrap();
    assert!(!outcome.is_empty() && outcome.iter().all(|text| text.contains("no_suspend")), "{outcome:?}");
}

// GV-197
#[cfg(feature = "net")]
#[test]
fn timers_once_and_again_keep_their_time_beside_a_busy_socket() {
    use std::io::Write as _;

    let _watch = watch();
    run(|| {
        let (mut near, mut far) = osier::net::UnixStream::pair().unwrap();
        let sink = spawn(move || std::io::copy(&mut far, &mut std::io::sink()).unwrap());
        let feeder = spawn(move || while near.write_all(&[1; 64]).is_ok() {});
        let began = std::time::Instant::now();
        spawn_later(ms(10), || ()).join().unwrap();
        assert!(began.elapsed() >= ms(10));
        let began = std::time::Instant::now();
        // The first tick comes at once.
        time::interval(ms(10)).take(4).for_each(drop);
        assert!(began.elapsed() >= ms(30));
        feeder.kill();
        assert!(sink.join().unwrap() > 0);
    });
}

// GV-202
#[test]
fn an_end_from_outside_runs_what_suspended_tasks_hold_inner_first() {
    let _watch = watch();
    let runtime = Runtime::builder().workers(2).build().unwrap();
    let (log, started) = (Log::default(), Event::new());
    let tasks: Vec<_> = (0..10)
        .map(|n| {
            let (log, started) = (log.clone(), started.clone());
            runtime.spawn(move || {
                let _outer = OnDrop(|| log.push(format!("{n} outer")));
                let items = Generator::new({
                    let log = log.clone();
                    move |y: &Yielder<()>| {
                        let _inner = OnDrop(|| log.push(format!("{n} inner")));
                        started.wait();
                        y.yield_(());
                        sleep(Duration::MAX);
                    }
                });
                items.for_each(drop);
            })
        })
        .collect();
    started.set();
    // From a thread of its own, as a handler of ctrl-c would.
    thread::spawn(move || runtime.shutdown(Duration::from_secs(30)).unwrap()).join().unwrap();
    for task in tasks {
        assert!(task.join().unwrap_err().is_cancelled());
    }
    let lines = log.take();
    for n in 0..10 {
        let of_n: Vec<_> = lines.iter().filter(|line| line.starts_with(&format!("{n} "))).collect();
        // Those that had not begun hold nothing.
        assert!(of_n.is_empty() || of_n == [&format!("{n} inner"), &format!("{n} outer")], "{of_n:?}");
    }
}

// GV-089, GV-194
#[test]
fn a_failing_hook_within_a_drop_harms_nobody() {
    let _watch = watch();
    let _turn = lock(&HOOK);
    let old = set_report_hook(|_: &Report<'_>| panic!("the hook fails"));
    let caught = catch(|| {
        let mut stubborn = Generator::new(|y: &Yielder<u32>| {
            _ = osier::catch_exit(|| y.yield_(1));
            raise(std::fmt::Error)
        });
        assert_eq!(stubborn.next(), Some(1));
        drop(stubborn);
        7
    });
    drop(set_report_hook(old));
    assert_eq!(caught.unwrap(), 7);
}

// GV-053: of the task that `run` waits for.
#[test]
fn a_root_task_that_ends_itself_is_a_panic_of_run_that_says_so() {
    let _watch = watch();
    let expected = "the task of `run` was cancelled, or its runtime shut down, before it returned";
    assert_eq!(panic_text(|| run(|| osier::task::current().kill())), expected);
    let local = osier::LocalRuntime::new();
    assert_eq!(panic_text(|| local.run(|| osier::task::current().kill())), expected);
    // The runtime goes on.
    assert_eq!(local.run(|| spawn(|| 42).join().unwrap()), 42);
}

/// A generator whose drop is reported once, for an exception.
fn stubborn() -> Generator<u32> {
    Generator::new(|y: &Yielder<u32>| {
        if osier::catch_exit(|| y.yield_(1)).is_err() {
            boom();
        }
    })
    .primed()
}

// Setting a hook and putting the one before back leaves things as they were, however often.
#[test]
fn a_report_hook_that_was_set_is_given_back_itself() {
    let _watch = watch();
    let _turn = lock(&HOOK);
    let told = Arc::new(AtomicUsize::new(0));
    let before = set_report_hook({
        let told = told.clone();
        move |_: &Report<'_>| _ = told.fetch_add(1, Ordering::SeqCst)
    });
    let mut ours = set_report_hook(|_| ());
    let address = std::ptr::from_ref(&*ours).cast::<()>();
    for n in 0..3 {
        drop(set_report_hook(ours));
        // Told here, so that nobody else is calling it afterwards.
        drop(stubborn());
        assert_eq!(told.load(Ordering::SeqCst), n + 1);
        ours = set_report_hook(|_| ());
        assert!(std::ptr::addr_eq(&raw const *ours, address));
    }
    drop(set_report_hook(before));
}
