//! Handles, tasks as such, links, killing, reports of what nobody joins, park tokens.

#![cfg(feature = "runtime")]

mod common;

use std::collections::HashSet;
use std::fmt;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Barrier, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use common::{FOR_EVER, Log, OnDrop, Tally, ms, until, watch};
use osier::sync::AsyncResult;
use osier::sync::channel::{self, Receiver, Sender};
use osier::{
    JoinHandle, Report, Runtime, Task, catch, catch_exit, raise, run, set_report_hook, sleep, spawn, task, wait,
    yield_now,
};

fn runtime(workers: usize) -> Runtime {
    Runtime::builder().workers(workers).build().unwrap()
}

/// A task that has started and waits, and a channel that ends its wait when it is dropped.
fn waiting<T: Send + 'static>(f: impl FnOnce(&Receiver<()>) -> T + Send + 'static) -> (JoinHandle<T>, Sender<()>) {
    let (started, starts) = channel::bounded(1);
    let (stop, stopped) = channel::bounded(0);
    let handle = spawn(move || {
        started.send(()).unwrap();
        f(&stopped)
    });
    starts.recv().unwrap();
    (handle, stop)
}

#[derive(Debug)]
struct Oops(u32);

impl fmt::Display for Oops {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "oops {}", self.0)
    }
}

impl std::error::Error for Oops {}

// ---- reports

static REPORTS: Mutex<Vec<String>> = Mutex::new(Vec::new());

/// Collects all reports of the process from now on.
fn collect_reports() {
    static SET: std::sync::Once = std::sync::Once::new();
    SET.call_once(|| {
        _ = set_report_hook(|report: &Report<'_>| {
            REPORTS.lock().unwrap_or_else(PoisonError::into_inner).push(report.to_string());
        });
    });
}

/// The reports that mention `what`; they are given once.
fn reports(what: &str) -> Vec<String> {
    collect_reports();
    let mut reports = REPORTS.lock().unwrap_or_else(PoisonError::into_inner);
    reports.extract_if(.., |report| report.contains(what)).collect()
}

// Whoever waits for a task's end is not told of its failure: that is reported, as where nobody waits.
#[test]
fn a_failure_that_is_waited_for_is_reported_once() {
    let _watch = watch();
    for (workers, what) in [(1, "failed 1, and was waited for"), (2, "failed 2, and was waited for")] {
        reports(what);
        Runtime::builder().workers(workers).build().unwrap().run(move || {
            let handle = spawn(move || {
                yield_now();
                panic!("{what}")
            });
            let task = handle.task();
            drop(handle);
            wait(&[&task]).for_each(drop);
        });
        assert_eq!(reports(what).len(), 1);
    }
}

#[test]
fn a_failure_that_nobody_joins_is_reported_once() {
    let _watch = watch();
    assert!(reports("unseen").is_empty());
    // Detached before the end, and after.
    let (handle, stop) = waiting(|stopped| {
        _ = stopped.recv();
        panic!("unseen 1");
    });
    let task = handle.task();
    drop::<JoinHandle<()>>(handle);
    drop(stop);
    until(|| task.is_finished());
    let (handle, stop) = waiting(|stopped| -> u32 {
        _ = stopped.recv();
        raise(Oops(7_001))
    });
    drop(stop);
    until(|| handle.is_finished());
    drop(handle);
    assert_eq!(reports("unseen").len(), 1);
    let raised = reports("oops 7001");
    assert!(raised.len() == 1 && raised[0].contains("nobody joined task"), "{raised:?}");
    assert!(reports("unseen").is_empty() && reports("7001").is_empty());
}

#[test]
fn what_somebody_sees_is_not_reported() {
    let _watch = watch();
    assert!(reports("was seen").is_empty());
    // Joined; seen by a task's waiter; by a link; cancelled.
    assert!(spawn(|| -> () { panic!("was seen") }).join().is_err());
    let (handle, stop) = waiting(|stopped| {
        _ = stopped.recv();
        panic!("was seen");
    });
    let task = handle.task();
    let joiner = spawn(move || task.join().unwrap_err().to_string());
    drop(stop);
    assert!(joiner.join().unwrap().contains("was seen"));
    drop::<JoinHandle<()>>(handle);
    let (handle, stop) = waiting(|stopped| {
        _ = stopped.recv();
        panic!("was seen");
    });
    let (sender, receiver) = channel::bounded(1);
    handle.link(move |result: &Result<(), _>| sender.send(result.is_err()).unwrap());
    let task = handle.task();
    drop(handle);
    drop(stop);
    assert_eq!(receiver.recv(), Ok(true));
    task.join().unwrap_err();
    let (handle, _stop) = waiting(|stopped| stopped.recv().is_err());
    let task = handle.task();
    task.cancel();
    drop(handle);
    until(|| task.is_finished());
    assert!(reports("was seen").is_empty());
    assert!(reports("cancelled").is_empty());
}

#[test]
fn a_returned_error_is_reported_on_request() {
    let _watch = watch();
    collect_reports();
    for (number, fails) in [(1, true), (2, false)] {
        let (handle, stop) = waiting(move |stopped| {
            _ = stopped.recv();
            if fails { Err(Oops(8_000 + number)) } else { Ok(()) }
        });
        let task = handle.task();
        if number == 1 {
            handle.report();
            drop(stop);
        } else {
            drop(stop);
            until(|| task.is_finished());
            handle.report();
        }
        task.join().unwrap();
    }
    let finished = spawn(|| Err::<(), _>(Oops(8_003)));
    until(|| finished.is_finished());
    finished.report();
    spawn(|| -> Result<(), Oops> { panic!("reported 8004") }).report();
    assert_eq!(reports("8001").len(), 1);
    assert!(reports("8002").is_empty());
    assert_eq!(reports("8003").len(), 1);
    until(|| REPORTS.lock().unwrap().iter().any(|line| line.contains("8004")));
    assert_eq!(reports("8004").len(), 1);
}

// ---- tasks as such

// GV-016
#[test]
fn ids_are_stable_and_never_used_again() {
    let _watch = watch();
    let mut seen = HashSet::new();
    for _ in 0..1000 {
        let handle = spawn(|| task::current().id());
        let (outside, inside) = (handle.id(), handle.task().id());
        assert_eq!((outside, inside), (handle.join().unwrap(), outside));
        assert!(outside.get() > 0 && seen.insert(outside), "{outside} was used before");
    }
    let handle = spawn(|| ());
    let ids: Vec<_> = (0..4)
        .map(|_| {
            let task = handle.task();
            thread::spawn(move || task.id())
        })
        .collect();
    let ids: HashSet<_> = ids.into_iter().map(|id| id.join().unwrap()).collect();
    assert_eq!(ids.len(), 1, "all threads see the same number");
}

// GV-017
#[test]
fn a_task_tells_its_name_also_after_its_end() {
    let _watch = watch();
    let handle = task::Builder::new().name("parser").spawn(|| task::current().name().to_owned());
    let task = handle.task();
    assert_eq!(handle.join().unwrap(), "parser");
    let text = format!("{task:?}");
    assert!(text.contains("parser") && text.contains("finished: true"), "{text}");
    assert_eq!(task, task.clone());
    assert!(spawn(named_function).task().name().contains("named_function"));
}

fn named_function() {}

#[test]
fn a_task_shows_what_it_was_given_until_its_last_handle_goes() {
    let _watch = watch();
    let tally = Tally::default();
    type Given = (&'static str, common::Token);
    let handle = task::Builder::new().data(("a request", tally.token())).spawn(|| {
        let me = task::current();
        me.data::<Given>().unwrap().0
    });
    let task = handle.task();
    assert_eq!(handle.data::<Given>().unwrap().0, "a request");
    assert_eq!(handle.join().unwrap(), "a request");
    assert_eq!(task.data::<Given>().unwrap().0, "a request");
    assert!(task.data::<u32>().is_none() && task.name().contains("closure"), "{task:?}");
    assert_eq!(tally.dropped(), 0);
    drop(task);
    // The worker that ran it may still have to let go.
    until(|| tally.dropped() == 1);

    // Tasks of one builder share it; those that never run have it as well.
    let named = task::Builder::new().name("a name".to_owned()).data(tally.token());
    runtime(1).run(|| {
        let local = named.clone().spawn_local(|| ());
        let fresh = named.clone().spawn(|| unreachable!());
        assert!(local.data::<common::Token>().is_some() && fresh.data::<common::Token>().is_some());
        assert_eq!((local.name(), fresh.name()), ("a name", "a name"));
        fresh.kill();
        assert!(spawn(|| ()).data::<common::Token>().is_none());
    });
    assert_eq!(tally.dropped(), 1);
    drop(named);
    until(|| tally.dropped() == 2);
}

#[test]
fn what_a_task_was_given_may_fail_when_it_is_dropped() {
    let _watch = watch();
    let (runtime, tally) = (runtime(1), Tally::default());
    let mut token = Some(tally.token());
    let fails = OnDrop(move || {
        drop(token.take());
        panic!("on purpose");
    });
    // Its last reference is the worker's.
    drop(runtime.run(|| task::Builder::new().data(fails).spawn(yield_now)));
    until(|| tally.dropped() == 1);
    assert_eq!(runtime.run(|| 7), 7);
}

#[test]
fn outside_of_tasks_there_is_no_current_one() {
    assert!(task::try_current().is_none());
    assert!(std::panic::catch_unwind(task::current).is_err());
    assert!(run(|| task::try_current().is_some()));
}

#[test]
fn tasks_go_anywhere_and_outlive_their_runtime() {
    fn check<T: Send + Sync + Clone + 'static>() {}
    check::<Task>();
    check::<task::Link>();
    let _watch = watch();
    let runtime = runtime(2);
    let tasks: Vec<_> = (0..100)
        .map(|n| {
            runtime
                .spawn(move || {
                    if n % 2 == 0 {
                        yield_now();
                    }
                })
                .task()
        })
        .collect();
    drop(runtime);
    for task in tasks {
        assert!(task.is_finished());
        task.cancel();
        task.kill();
        task.unpark();
        task.throw(Oops(1));
        assert!(task.kill_timeout(ms(1)));
        if let Err(error) = task.join() {
            assert!(error.is_cancelled(), "{error}");
        }
    }
}

#[test]
fn many_wait_for_one_task() {
    let _watch = watch();
    for fails in [false, true] {
        let (handle, stop) = waiting(move |stopped| {
            _ = stopped.recv();
            if fails {
                raise(Oops(5));
            }
        });
        let task = handle.task();
        let threads: Vec<_> = (0..3)
            .map(|_| {
                let task = task.clone();
                thread::spawn(move || task.join())
            })
            .collect();
        let tasks: Vec<_> = (0..50)
            .map(|_| {
                let task = task.clone();
                spawn(move || task.join())
            })
            .collect();
        assert!(task.join_timeout(ms(5)).unwrap_err().is_timeout());
        assert!(task.error().is_none());
        drop(stop);
        let results =
            tasks.into_iter().map(|t| t.join().unwrap()).chain(threads.into_iter().map(|t| t.join().unwrap()));
        for result in results {
            assert_eq!(result.is_err(), fails);
            assert!(result.err().is_none_or(|error| error.exception().unwrap().is::<Oops>()));
        }
        assert_eq!(handle.join().is_err(), fails);
        assert_eq!(task.error().is_some(), fails);
    }
}

// GV-001, GV-002, GV-022
#[test]
fn join_timeout_gives_up_in_time_and_keeps_the_handle() {
    let _watch = watch();
    let (mut handle, stop) = waiting(|stopped| {
        _ = stopped.recv();
        String::from("late")
    });
    let began = Instant::now();
    let error = handle.join_timeout(Duration::ZERO).unwrap_err();
    assert!(error.is_timeout() && !error.is_cancelled() && !error.is_panic(), "{error}");
    assert!(began.elapsed() < ms(100));
    for from_task in [false, true] {
        let began = Instant::now();
        let error = match from_task {
            false => handle.join_timeout(ms(20)).unwrap_err(),
            true => run(|| handle.join_timeout(ms(20)).unwrap_err()),
        };
        assert!(error.is_timeout());
        assert!(began.elapsed() >= ms(20) && began.elapsed() < ms(2000), "{:?}", began.elapsed());
    }
    drop(stop);
    assert_eq!(handle.join_timeout(FOR_EVER).unwrap(), "late");
    // H23: the result is there once.
    let error = handle.join_timeout(FOR_EVER).unwrap_err();
    assert!(!error.is_timeout() && error.to_string().contains("taken"), "{error}");
    assert!(handle.join().unwrap_err().to_string().contains("taken"));
}

#[test]
fn a_joiner_that_is_cancelled_in_join_timeout_loses_nothing() {
    let _watch = watch();
    let (mut handle, stop) = waiting(|stopped| {
        _ = stopped.recv();
        7
    });
    let (sender, receiver) = channel::bounded(1);
    let joiner = spawn(move || {
        let caught = catch_exit(|| handle.join_timeout(FOR_EVER));
        assert!(caught.is_err());
        sender.send(handle).unwrap();
    });
    joiner.cancel();
    if let Ok(handle) = receiver.recv() {
        drop(stop);
        assert_eq!(handle.join().unwrap(), 7);
    }
}

// ---- tokens

#[test]
fn a_token_ends_a_park_now_or_later_and_once() {
    let _watch = watch();
    let (sender, receiver) = channel::bounded(0);
    let (passed, passes) = channel::bounded(1);
    let handle = spawn(move || {
        receiver.recv().unwrap();
        task::park();
        assert!(!task::park_timeout(ms(5)), "two tokens are one");
        passed.send(()).unwrap();
        task::park();
    });
    let task = handle.task();
    task.unpark();
    task.unpark();
    sender.send(()).unwrap();
    // A third one only after the second wait: it could take that.
    if passes.recv().is_ok() {
        assert!(!handle.is_finished());
        task.unpark();
    }
    handle.join().unwrap();
    let began = Instant::now();
    assert!(!run(|| task::park_timeout(ms(10))));
    assert!(began.elapsed() >= ms(10));
    let parked = spawn(task::park);
    parked.kill();
    assert!(parked.join().unwrap_err().is_cancelled());
}

// H32, smaller
#[test]
fn tokens_between_tasks_and_threads_are_never_lost() {
    let _watch = watch();
    let rounds = 20_000;
    for workers in [1, 2] {
        let runtime = runtime(workers);
        let turn = Arc::new(AtomicUsize::new(0));
        let pair: Vec<_> = (0..2)
            .map(|me| {
                let turn = turn.clone();
                let (partner, get) = channel::bounded::<Task>(1);
                let handle = runtime.spawn(move || {
                    let partner = get.recv().unwrap();
                    for round in 0..rounds {
                        while turn.load(Ordering::Acquire) != 2 * round + me {
                            task::park();
                        }
                        turn.store(2 * round + me + 1, Ordering::Release);
                        partner.unpark();
                    }
                });
                (handle, partner)
            })
            .collect();
        pair[0].1.send(pair[1].0.task()).unwrap();
        pair[1].1.send(pair[0].0.task()).unwrap();
        pair.into_iter().for_each(|(handle, _)| handle.join().unwrap());
    }
}

// ---- links

#[test]
fn a_link_gets_the_result_once_before_and_after_the_end() {
    let _watch = watch();
    let (handle, stop) = waiting(|stopped| {
        _ = stopped.recv();
        String::from("value")
    });
    let log = Log::default();
    let link = |handle: &JoinHandle<String>, name: &'static str| {
        let log = log.clone();
        handle.link(move |result| log.push(format!("{name}: {}", result.as_ref().unwrap())))
    };
    link(&handle, "before");
    assert!(log.take().is_empty());
    drop(stop);
    until(|| log.len() > 0);
    link(&handle, "after");
    // Joining waits for the links, also for late ones.
    assert_eq!(handle.join().unwrap(), "value");
    assert_eq!(log.take(), ["before: value", "after: value"]);
}

#[test]
fn a_link_runs_that_comes_after_an_end_that_others_waited_for() {
    let _watch = watch();
    let handle = osier::spawn(|| osier::sleep(Duration::from_secs(3600)));
    handle.task().kill();
    let (sender, receiver) = channel::bounded(1);
    handle.link(move |result| sender.send(result.is_err()).unwrap());
    assert_eq!(receiver.recv(), Ok(true));
    assert!(handle.join().unwrap_err().is_cancelled());
}

// GV-034
#[test]
fn links_run_in_order_and_before_the_joiners() {
    let _watch = watch();
    for workers in [1, 2] {
        let runtime = runtime(workers);
        let log = Log::default();
        runtime.run(|| {
            let (stop, stopped) = channel::bounded::<()>(0);
            let handle = spawn(move || stopped.recv().is_err());
            let task = handle.task();
            let (ready, all_ready) = channel::bounded::<()>(0);
            let joiner = spawn({
                let log = log.clone();
                move || {
                    drop(ready);
                    task.join().unwrap();
                    log.push("joiner");
                }
            });
            assert!(all_ready.recv().is_err());
            for name in ["l1", "l2", "l3"] {
                let log = log.clone();
                handle.link(move |_| log.push(name));
            }
            drop(stop);
            assert!(handle.join().unwrap());
            joiner.join().unwrap();
        });
        assert_eq!(log.take(), ["l1", "l2", "l3", "joiner"]);
    }
}

// GV-031
#[test]
fn links_that_fail_are_reported_and_change_nothing() {
    let _watch = watch();
    collect_reports();
    let (handle, stop) = waiting(|stopped| {
        _ = stopped.recv();
        3
    });
    let calls = Arc::new(AtomicUsize::new(0));
    for n in 0..3_u32 {
        let calls = calls.clone();
        handle.link(move |_| {
            calls.fetch_add(1, Ordering::SeqCst);
            if n == 1 {
                raise(Oops(9_000 + n));
            }
            panic!("link {} fails", 9_000 + n);
        });
    }
    drop(stop);
    assert_eq!(handle.join().unwrap(), 3);
    assert_eq!(calls.load(Ordering::SeqCst), 3);
    for n in ["9000", "9001", "9002"] {
        let seen = reports(n);
        assert!(seen.len() == 1 && seen[0].contains("link of task"), "{n}: {seen:?}");
    }
}

// GV-032
#[test]
fn the_first_link_may_take_back_the_second() {
    let _watch = watch();
    for first in [0, 1] {
        let (handle, stop) = waiting(|stopped| stopped.recv().is_err());
        let links = Arc::new(Mutex::new(Vec::<task::Link>::new()));
        let calls = Arc::new(AtomicUsize::new(0));
        for me in 0..2_usize {
            let (shared, calls) = (links.clone(), calls.clone());
            let link = handle.link(move |_| {
                calls.fetch_add(1, Ordering::SeqCst);
                let other = shared.lock().unwrap()[1 - me].clone();
                other.unlink();
            });
            links.lock().unwrap().push(link);
        }
        if first == 1 {
            // Take the first back and link it anew, behind the other.
            let (shared, count) = (links.clone(), calls.clone());
            let again = handle.link(move |_| {
                count.fetch_add(1, Ordering::SeqCst);
                let other = shared.lock().unwrap()[1].clone();
                other.unlink();
            });
            let old = std::mem::replace(&mut links.lock().unwrap()[0], again);
            assert!(old.unlink());
        }
        drop(stop);
        handle.join().unwrap();
        assert_eq!(calls.load(Ordering::SeqCst), 1);
        links.lock().unwrap().clear();
    }
}

#[test]
fn an_unlinked_closure_is_dropped_at_once_and_never_runs() {
    let _watch = watch();
    let tally = Tally::default();
    let (handle, stop) = waiting(|stopped| stopped.recv().is_err());
    let links: Vec<_> = (0..10)
        .map(|_| {
            let token = tally.token();
            handle.link(move |_| {
                let _token = token;
            })
        })
        .collect();
    for (n, link) in links.iter().enumerate() {
        assert!(link.unlink());
        assert_eq!(tally.dropped(), n + 1);
        assert!(!link.unlink());
    }
    tally.assert_all_dropped(10);
    drop(stop);
    handle.join().unwrap();
}

#[test]
fn links_may_wait_and_joiners_wait_for_them() {
    let _watch = watch();
    let log = Log::default();
    let (handle, stop) = waiting(|stopped| stopped.recv().is_err());
    let (go, goes) = channel::bounded::<()>(0);
    let task = handle.task();
    handle.link({
        let (log, task) = (log.clone(), task.clone());
        move |_| {
            // A link sees the task's end, and may join it.
            assert!(task.is_finished());
            task.join().unwrap();
            log.push("first begins");
            assert!(goes.recv().is_err());
            log.push("first ends");
        }
    });
    handle.link({
        let log = log.clone();
        move |_| log.push("second")
    });
    drop(stop);
    until(|| log.len() == 2);
    assert!(task.is_finished());
    let mut handle = handle;
    assert!(handle.join_timeout(ms(5)).unwrap_err().is_timeout());
    drop(go);
    assert!(handle.join().unwrap());
    assert_eq!(log.take(), ["first begins", "second", "first ends"]);
}

#[test]
fn links_run_for_every_kind_of_end() {
    let _watch = watch();
    collect_reports();
    for workers in [1, 2] {
        runtime(workers).run(|| {
            let (sender, ends) = channel::unbounded();
            let link = |handle: &JoinHandle<()>| {
                let sender = sender.clone();
                handle.link(move |result| sender.send(result.clone().map_err(|e| e.to_string())).unwrap());
            };
            let value = spawn(|| ());
            link(&value);
            let panics = spawn(|| panic!("by a link"));
            link(&panics);
            let killed = spawn(|| sleep(FOR_EVER));
            link(&killed);
            killed.kill();
            // Not at once, or the other worker might start it before it is cancelled.
            let fresh = osier::spawn_later(FOR_EVER, || unreachable!());
            link(&fresh);
            fresh.cancel();
            let raised = spawn(|| raise(Oops(3)));
            link(&raised);
            drop((value, panics, killed, fresh, raised));
            let mut seen: Vec<_> =
                (0..5).map(|_| ends.recv().unwrap().map_or_else(|e| e, |()| "value".into())).collect();
            seen.sort();
            assert_eq!(
                seen,
                [
                    "task panicked: by a link",
                    "task raised an exception: oops 3",
                    "task was cancelled",
                    "task was cancelled",
                    "value"
                ]
            );
        });
    }
    assert!(reports("by a link").is_empty(), "a link has seen it");
}

#[test]
fn links_run_while_their_runtime_shuts_down() {
    let _watch = watch();
    for workers in [1, 2] {
        let runtime = runtime(workers);
        let calls = Arc::new(AtomicUsize::new(0));
        let (started, starts) = channel::unbounded();
        for _ in 0..100 {
            let started = started.clone();
            let handle = runtime.spawn(move || {
                started.send(()).unwrap();
                sleep(FOR_EVER);
            });
            let calls = calls.clone();
            handle.link(move |result| {
                assert!(result.as_ref().unwrap_err().is_cancelled());
                calls.fetch_add(1, Ordering::SeqCst);
                // A wait in a link unwinds, as any other.
                sleep(FOR_EVER);
            });
            starts.recv().unwrap();
        }
        drop(runtime);
        assert_eq!(calls.load(Ordering::SeqCst), 100);
    }
}

/// The last link drops the result of a task whose handle is gone, on whatever thread, once.
#[test]
fn results_are_dropped_once_with_links_and_detached_handles() {
    let _watch = watch();
    let tally = Tally::default();
    let rounds = 300;
    for round in 0..rounds {
        let token = tally.token();
        let (handle, stop) = waiting(move |stopped| {
            _ = stopped.recv();
            Mutex::new(token)
        });
        let looks = Arc::new(AtomicUsize::new(0));
        let link = |handle: &JoinHandle<_>| {
            let looks = looks.clone();
            handle.link(move |result: &Result<Mutex<common::Token>, _>| {
                drop(result.as_ref().unwrap().lock().unwrap());
                if round % 3 == 0 {
                    yield_now();
                }
                looks.fetch_add(1, Ordering::SeqCst);
            })
        };
        link(&handle);
        let barrier = Arc::new(Barrier::new(2));
        let dropper = thread::spawn({
            let barrier = barrier.clone();
            move || {
                barrier.wait();
                drop(stop);
            }
        });
        barrier.wait();
        link(&handle);
        if round % 2 == 0 {
            drop(handle);
        } else {
            drop(handle.join().unwrap());
            assert_eq!(looks.load(Ordering::SeqCst), 2);
        }
        dropper.join().unwrap();
        until(|| looks.load(Ordering::SeqCst) == 2);
    }
    until(|| tally.dropped() == rounds);
    tally.assert_all_dropped(rounds);
}

// ---- kill

// GV-041, GV-043, GV-046
#[test]
fn a_task_killed_before_it_starts_never_runs() {
    let _watch = watch();
    for workers in [1, 2] {
        runtime(workers).run(|| {
            let ran = Arc::new(AtomicBool::new(false));
            let links = Arc::new(AtomicUsize::new(0));
            let fresh = || {
                let ran = ran.clone();
                let handle = spawn(move || ran.store(true, Ordering::SeqCst));
                let links = links.clone();
                handle.link(move |_| _ = links.fetch_add(1, Ordering::SeqCst));
                handle
            };
            // Held, so that nobody steals a fresh task and starts it before it was killed: asking comes first.
            type Kill = fn(&JoinHandle<()>);
            let ways: [Kill; 3] = [JoinHandle::cancel, |h| h.throw(Oops(1)), |h| h.task().cancel()];
            for way in ways {
                let pair = [fresh(), fresh()];
                pair.iter().for_each(way);
                for handle in pair {
                    let was_running = ran.swap(false, Ordering::SeqCst);
                    handle.kill();
                    assert!(handle.is_finished());
                    handle.kill();
                    let result = handle.join();
                    // With two workers the other one may have been faster than the request.
                    assert!(workers == 2 || !was_running && result.is_err());
                }
            }
            assert_eq!(links.load(Ordering::SeqCst), 6, "each link once");
            assert!(workers == 2 || !ran.load(Ordering::SeqCst));
        });
    }
}

// GV-049, GV-050, GV-052
#[test]
fn kill_waits_for_a_body_that_goes_on_and_for_its_destructors() {
    let _watch = watch();
    let log = Log::default();
    let (handle, _stop) = waiting({
        let log = log.clone();
        move |stopped| {
            assert!(catch_exit(|| stopped.recv()).is_err());
            log.push("except");
            sleep(ms(20));
            log.push("finished");
            "done"
        }
    });
    handle.kill();
    assert_eq!(log.take(), ["except", "finished"]);
    assert_eq!(handle.join().unwrap(), "done");
    let (handle, _stop) = waiting({
        let log = log.clone();
        move |stopped| {
            let _finally = OnDrop(|| {
                sleep(ms(20));
                log.push("cleaned up");
            });
            _ = stopped.recv();
        }
    });
    run(|| handle.kill());
    assert_eq!(log.take(), ["cleaned up"]);
    assert!(handle.join().unwrap_err().is_cancelled());
}

// GV-053
#[test]
fn a_task_that_kills_itself_unwinds_there() {
    let _watch = watch();
    let log = Log::default();
    let inner = log.clone();
    let handle = spawn(move || {
        let _drop = inner.at_drop("unwound");
        task::current().kill();
        inner.push("went on");
    });
    assert!(handle.join().unwrap_err().is_cancelled());
    assert_eq!(log.take(), ["unwound"]);
    let caught = spawn(|| catch_exit(|| task::current().kill_timeout(ms(1))).is_err());
    assert!(caught.join().unwrap());
}

// GV-047
#[test]
fn a_killing_exception_is_that_very_object() {
    let _watch = watch();
    let exception = osier::Exception::from(Oops(1));
    let (handle, _stop) = waiting(move |stopped| catch(|| stopped.recv()).unwrap_err());
    handle.throw(std::fmt::Error);
    assert!(handle.join().unwrap().is::<std::fmt::Error>());
    let (handle, _stop) = waiting(move |stopped| catch(|| stopped.recv()).unwrap_err());
    handle.task().throw(Oops(77));
    assert_eq!(handle.join().unwrap().downcast_ref::<Oops>().unwrap().0, 77);
    drop(exception);
}

// GV-059
#[test]
fn kill_timeout_gives_up_on_a_resistant_body() {
    let _watch = watch();
    let (stop, stopped) = channel::bounded::<()>(0);
    let (handle, _wait) = waiting(move |wait| {
        _ = catch_exit(|| wait.recv());
        assert!(stopped.recv().is_err());
        5
    });
    let began = Instant::now();
    assert!(!handle.kill_timeout(ms(20)));
    assert!(began.elapsed() >= ms(20));
    assert!(!handle.is_finished());
    drop(stop);
    assert_eq!(handle.join().unwrap(), 5);
    let (easy, _stop) = waiting(|stopped| stopped.recv().is_err());
    assert!(easy.kill_timeout(FOR_EVER));
    assert!(easy.kill_timeout(Duration::ZERO));
}

#[test]
fn a_killer_that_is_cancelled_leaves_the_request() {
    let _watch = watch();
    let (stop, stopped) = channel::bounded::<()>(0);
    let (caught, catches) = channel::bounded(1);
    let (victim, _wait) = waiting(move |wait| {
        _ = catch_exit(|| wait.recv());
        caught.send(()).unwrap();
        assert!(stopped.recv().is_err());
    });
    let task = victim.task();
    let killer = spawn(move || task.kill());
    catches.recv().unwrap();
    killer.kill();
    assert!(killer.join().unwrap_err().is_cancelled());
    assert!(!victim.is_finished());
    drop(stop);
    victim.join().unwrap();
}

// GV-007
#[test]
fn an_error_that_leaves_the_body_is_the_joiners_object() {
    let _watch = watch();
    let handle = spawn(|| -> u32 { raise(Oops(42)) });
    let task = handle.task();
    until(|| handle.is_finished());
    let error = handle.join().unwrap_err();
    assert_eq!(error.exception().unwrap().downcast_ref::<Oops>().unwrap().0, 42);
    assert!(task.error().unwrap().exception().unwrap().ptr_eq(error.exception().unwrap()));
}

// ---- results for many

// GV-028, GV-100
#[test]
fn links_to_results_and_closures_all_get_the_value() {
    let _watch = watch();
    let (handle, stop) = waiting(|stopped| stopped.recv().is_err());
    let (first, second) = (AsyncResult::new(), AsyncResult::new());
    handle.link_to(&first);
    let calls = Arc::new(AtomicUsize::new(0));
    for _ in 0..20 {
        let calls = calls.clone();
        handle.link(move |result| _ = calls.fetch_add(usize::from(result.is_ok()), Ordering::SeqCst));
    }
    handle.link_to(&second);
    second.set(false).unwrap();
    drop(stop);
    assert!(first.get().unwrap());
    assert!(handle.join().unwrap());
    assert_eq!(calls.load(Ordering::SeqCst), 20);
    assert!(!second.get().unwrap(), "it was set before");
}

// GV-100: what gevent's `link_value` and `link_exception` do, by an `if let`.
#[test]
fn links_set_the_results_that_are_meant_for_values_or_for_failures() {
    let _watch = watch();
    for fails in [false, true] {
        let (handle, stop) = waiting(move |stopped| {
            _ = stopped.recv();
            if fails {
                raise(Oops(7));
            }
            7
        });
        let (either, value, failure) = (AsyncResult::new(), AsyncResult::new(), AsyncResult::new());
        handle.link_to(&either);
        let (sets_value, sets_failure) = (value.clone(), failure.clone());
        handle.link(move |result| {
            if let Ok(value) = result {
                sets_value.set(*value).unwrap();
            }
        });
        handle.link(move |result| {
            if let Err(error) = result {
                sets_failure.set(error.clone()).unwrap();
            }
        });
        drop(stop);
        let joined = handle.join();
        if fails {
            for error in [either.get().unwrap_err(), failure.get().unwrap(), joined.unwrap_err()] {
                assert_eq!(error.exception().unwrap().downcast_ref::<Oops>().unwrap().0, 7);
            }
            assert!(!value.is_ready());
        } else {
            assert_eq!((either.get().unwrap(), value.get().unwrap(), joined.unwrap()), (7, 7, 7));
            assert!(!failure.is_ready());
        }
    }
}

#[test]
fn a_shared_result_serves_all_getters_whenever_it_is_asked_for() {
    let _watch = watch();
    for late in [false, true] {
        let (handle, stop) = waiting(|stopped| {
            _ = stopped.recv();
            String::from("shared")
        });
        let task = handle.task();
        let linked = AsyncResult::new();
        handle.link_to(&linked);
        let mut stop = Some(stop);
        if late {
            drop(stop.take());
            until(|| task.is_finished());
        }
        let shared = handle.shared();
        let getters: Vec<_> = (0..10)
            .map(|_| {
                let shared = shared.clone();
                spawn(move || shared.get().unwrap())
            })
            .collect();
        drop(stop);
        assert_eq!(shared.get().unwrap(), "shared");
        assert!(task.is_finished());
        assert!(getters.into_iter().all(|getter| getter.join().unwrap() == "shared"));
        assert_eq!(linked.get().unwrap(), "shared");
    }
}

#[test]
fn a_shared_failure_is_everybodys_and_not_reported() {
    let _watch = watch();
    collect_reports();
    let shared = spawn(|| -> u32 { raise(Oops(6_001)) }).shared();
    let errors = [shared.get().unwrap_err(), shared.get().unwrap_err()];
    assert!(errors[0].exception().unwrap().ptr_eq(errors[1].exception().unwrap()));
    let killed = spawn(|| sleep(FOR_EVER));
    killed.cancel();
    assert!(killed.shared().get().unwrap_err().is_cancelled());
    assert!(reports("6001").is_empty());
}

// ---- links to other things

// GV-025, GV-026
#[test]
fn links_may_send_the_task_itself() {
    let _watch = watch();
    let (sender, receiver) = channel::bounded::<Task>(0);
    let (stop, stopped) = channel::bounded::<()>(0);
    let tasks: Vec<_> = (0..3)
        .map(|_| {
            let stopped = stopped.clone();
            spawn(move || stopped.recv().is_err())
        })
        .collect();
    let link = |handle: &JoinHandle<bool>| {
        let (sender, task) = (sender.clone(), handle.task());
        handle.link(move |_| sender.send(task).unwrap());
    };
    tasks.iter().for_each(link);
    drop(stop);
    // Rendezvous: each link waits for its turn, and holds up none of the others.
    let arrived: HashSet<_> = (0..3).map(|_| receiver.recv().unwrap().id()).collect();
    assert_eq!(arrived, tasks.iter().map(JoinHandle::id).collect());
    // After the end, too.
    link(&tasks[0]);
    assert_eq!(receiver.recv().unwrap(), tasks[0].task());
}

// GV-040
#[test]
fn a_child_of_an_unwinding_spawner_sees_no_unwind_and_leaves_it_intact() {
    let _watch = watch();
    for workers in [1, 2] {
        let error = runtime(workers)
            .spawn(|| {
                let _in_handler = OnDrop(|| {
                    let child = spawn(|| {
                        yield_now();
                        let clean = catch(|| raise(Oops(2))).is_err();
                        if clean {
                            raise(Oops(3))
                        }
                    });
                    let error = child.join().unwrap_err();
                    assert_eq!(error.exception().unwrap().downcast_ref::<Oops>().unwrap().0, 3);
                });
                raise(Oops(1))
            })
            .join()
            .unwrap_err();
        assert_eq!(error.exception().unwrap().downcast_ref::<Oops>().unwrap().0, 1);
    }
}

// GV-035
#[test]
fn a_task_that_runs_is_never_finished() {
    let _watch = watch();
    let (sender, receiver) = channel::bounded::<Task>(1);
    let handle = spawn(move || {
        let me = receiver.recv().unwrap();
        for _ in 0..10 {
            assert!(me == task::current() && !me.is_finished());
            yield_now();
        }
    });
    sender.send(handle.task()).unwrap();
    handle.join().unwrap();
}

// GV-055
#[test]
fn of_a_token_and_a_cancel_the_first_wins_on_one_worker() {
    let _watch = watch();
    osier::runtime::LocalRuntime::new().run(|| {
        let parked = || {
            let handle = osier::spawn_local(|| {
                task::park();
                "woken"
            });
            yield_now();
            handle
        };
        let woken_first = parked();
        woken_first.task().unpark();
        woken_first.cancel();
        assert_eq!(woken_first.join().unwrap(), "woken");
        let cancelled_alone = parked();
        cancelled_alone.cancel();
        assert!(cancelled_alone.join().unwrap_err().is_cancelled());
    });
}

#[test]
fn a_panic_is_reported_if_all_who_waited_for_it_gave_up() {
    let _watch = watch();
    collect_reports();
    for gives_up in ["by time", "by a cancel"] {
        let (handle, stop) = waiting(move |stopped| {
            _ = stopped.recv();
            panic!("nobody stayed, {gives_up}");
        });
        let task = handle.task();
        drop(handle);
        if gives_up == "by time" {
            assert!(task.join_timeout(ms(1)).unwrap_err().is_timeout());
        } else {
            let (started, starts) = channel::bounded(1);
            let joiner = spawn({
                let task = task.clone();
                move || {
                    started.send(()).unwrap();
                    task.join()
                }
            });
            starts.recv().unwrap();
            joiner.kill();
            assert!(joiner.join().unwrap_err().is_cancelled());
        }
        drop(stop);
        until(|| task.is_finished());
        let line = format!("nobody stayed, {gives_up}");
        until(|| REPORTS.lock().unwrap_or_else(PoisonError::into_inner).iter().any(|report| report.contains(&line)));
    }
}

#[test]
fn a_panic_is_not_reported_if_one_of_those_who_waited_was_told() {
    let _watch = watch();
    collect_reports();
    // On one worker who has said that it starts waits before anybody else runs.
    runtime(1).run(|| {
        for _ in 0..100 {
            let (handle, stop) = waiting(|stopped| {
                _ = stopped.recv();
                panic!("told to one");
            });
            let task = handle.task();
            drop(handle);
            let (started, starts) = channel::bounded(2);
            let joiners: Vec<_> = (0..2)
                .map(|_| {
                    let (task, started) = (task.clone(), started.clone());
                    spawn(move || {
                        started.send(()).unwrap();
                        task.join()
                    })
                })
                .collect();
            (0..2).for_each(|_| starts.recv().unwrap());
            joiners[0].cancel();
            drop(stop);
            let told = joiners.into_iter().filter_map(|joiner| joiner.join().ok()).filter(|told| told.is_err()).count();
            assert!(told >= 1);
        }
    });
    let told = |report: &String| report.contains("told to one");
    assert!(!REPORTS.lock().unwrap_or_else(PoisonError::into_inner).iter().any(told));
}

// Each is raised at a wait of its own, in order; what comes too late is told of.
#[test]
fn exceptions_thrown_one_after_the_other_arrive_in_order() {
    let _watch = watch();
    run(|| {
        let (begun, begins) = channel::bounded(1);
        let task = spawn(move || {
            begun.send(()).unwrap();
            [(); 3].map(|()| osier::catch(|| sleep(FOR_EVER)).unwrap_err().to_string())
        });
        begins.recv().unwrap();
        ["one", "two", "three"].into_iter().for_each(|text| task.throw(osier::Exception::msg(text)));
        assert_eq!(task.join().unwrap(), ["one", "two", "three"]);
    });
    let told = common::reports(|| {
        run(|| {
            let task = spawn(|| {
                ["one", "two"].into_iter().for_each(|text| osier::task::current().throw(osier::Exception::msg(text)));
                3
            });
            assert_eq!(task.join().unwrap(), 3);
        });
    });
    let told: Vec<_> = told.iter().filter(|told| told.contains("of what was thrown into it")).collect();
    assert!(told.len() == 2 && told[0].ends_with("one") && told[1].ends_with("two"), "{told:?}");
}
