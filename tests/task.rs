//! Tasks: values, panics, cancelling at every point, handles, sleeping, blocking calls, odd places to spawn from.

#![cfg(feature = "runtime")]

mod common;

use std::cell::{Cell, RefCell};
use std::panic::{self, AssertUnwindSafe};
use std::rc::Rc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Barrier, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use common::{FOR_EVER, Log, OnDrop, Random, Tally, hold_thread, ms, panic_text, text, until, watch};
use osier::sync::channel::{self, Receiver, Sender};
use osier::{Generator, JoinError, JoinHandle, Runtime, Yielder, run, sleep, spawn, task, time, try_spawn, yield_now};

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

fn assert_cancelled<T: std::fmt::Debug>(handle: JoinHandle<T>) {
    let error = handle.join().unwrap_err();
    assert!(error.is_cancelled() && !error.is_panic(), "{error}");
    assert_eq!(error.to_string(), "task was cancelled");
    assert!(error.into_panic().is_none());
}

// ---- values and handles

#[test]
fn smoke() {
    let _watch = watch();
    assert_eq!(spawn(|| 6 * 7).join().unwrap(), 42);
    assert_eq!(run(|| spawn(|| String::from("inside")).join().unwrap()), "inside");
}

#[test]
fn a_thousand_tasks_each_give_their_value_once() {
    let _watch = watch();
    let tally = Tally::default();
    let handles: Vec<_> = (0..1000)
        .map(|n| {
            let token = tally.token();
            spawn(move || (n, token))
        })
        .collect();
    assert_eq!(handles.into_iter().map(|handle| handle.join().unwrap().0).sum::<u32>(), 499_500);
    tally.assert_all_dropped(1000);
}

#[test]
fn joins_from_tasks_threads_and_in_any_order() {
    let _watch = watch();
    let spawn_some = || (0..64).map(|n| spawn(move || n)).collect::<Vec<_>>();
    let sum = |handles: Vec<JoinHandle<i32>>| handles.into_iter().map(|handle| handle.join().unwrap()).sum::<i32>();
    assert_eq!(run(|| sum(spawn_some())), 2016);
    assert_eq!(run(|| sum(spawn_some().into_iter().rev().collect())), 2016);
    assert_eq!(sum(spawn_some().into_iter().rev().collect()), 2016);
    let handles = spawn_some();
    assert_eq!(thread::spawn(move || sum(handles)).join().unwrap(), 2016);
    let handles = run(spawn_some);
    assert_eq!(spawn(move || sum(handles)).join().unwrap(), 2016);
}

#[test]
fn a_detached_task_runs_on() {
    let _watch = watch();
    let (done, finished) = channel::bounded(1);
    let (handle, stop) = waiting(move |stopped| {
        assert!(stopped.recv().is_err());
        done.send("ran on").unwrap();
    });
    drop(handle);
    drop(stop);
    assert_eq!(finished.recv(), Ok("ran on"));
}

#[test]
fn a_detached_tasks_value_is_dropped() {
    let _watch = watch();
    let tally = Tally::default();
    // Before its end, after its end, and before its start.
    let token = tally.token();
    let (handle, stop) = waiting(move |_| token);
    drop((handle, stop));
    let token = tally.token();
    let (handle, stop) = waiting(move |stopped| {
        assert!(stopped.recv().is_err());
        token
    });
    drop(handle);
    drop(stop);
    let token = tally.token();
    run(|| drop(spawn(move || token)));
    until(|| tally.dropped() == 3);
}

#[test]
fn a_detached_tasks_value_may_wait_in_its_destructor() {
    let _watch = watch();
    let log = Log::default();
    let value = {
        let log = log.clone();
        Sends(OnDrop(move || {
            sleep(ms(1));
            yield_now();
            log.push("dropped");
        }))
    };
    drop(spawn(move || value));
    until(|| log.take() == ["dropped"]);
}

/// Says that a destructor may run on any thread.
struct Sends<T>(#[allow(dead_code, reason = "kept for its destructor")] T);
// SAFETY: the tests put only closures over atomics, channels and locks into it.
unsafe impl<T> Send for Sends<T> {}

#[test]
fn handles_tell_names_and_ends() {
    let _watch = watch();
    let (handle, stop) = waiting(|stopped| stopped.recv().is_err());
    assert!(!handle.is_finished());
    assert!(format!("{handle:?}").contains("finished: false"), "{handle:?}");
    drop(stop);
    until(|| handle.is_finished());
    assert!(handle.join().unwrap());

    let named = task::Builder::new().name("parser").spawn(|| ());
    assert_eq!(named.name(), "parser");
    let kept = named.name().to_owned();
    named.join().unwrap();
    assert_eq!(kept, "parser");
    let renamed = task::Builder::new().name(format!("number {}", 7)).try_spawn(|| ()).unwrap();
    assert_eq!(renamed.name(), "number 7");
    assert!(spawn(handles_tell_names_and_ends_helper).name().contains("handles_tell_names_and_ends_helper"));
}

fn handles_tell_names_and_ends_helper() {}

#[test]
fn a_handle_goes_round_the_threads() {
    let _watch = watch();
    let (mut handle, stop) = waiting(|stopped| stopped.recv().is_err());
    for _ in 0..4 {
        handle = thread::spawn(move || {
            assert!(!handle.is_finished());
            handle
        })
        .join()
        .unwrap();
    }
    let handle = Arc::new(handle);
    let others: Vec<_> = (0..4)
        .map(|_| {
            let handle = handle.clone();
            thread::spawn(move || handle.cancel())
        })
        .collect();
    others.into_iter().for_each(|other| other.join().unwrap());
    assert_cancelled(Arc::into_inner(handle).unwrap());
    drop(stop);
}

// ---- nesting

/// Each level joins the next before it has a value: the deepest one has `depth` tasks waiting on it.
fn nested(depth: u32) -> u32 {
    if depth == 0 { 0 } else { 1 + spawn(move || nested(depth - 1)).join().unwrap() }
}

#[test]
fn ten_thousand_nested_joins_on_small_stacks() {
    let _watch = watch();
    for workers in [1, 2] {
        let runtime = Runtime::builder().workers(workers).stack_size(64 * 1024).build().unwrap();
        assert_eq!(runtime.run(|| nested(10_000)), 10_000);
        assert_eq!(runtime.run(|| nested(1000)), 1000);
    }
}

#[test]
fn nested_joins_of_tasks_that_wait() {
    fn tree(depth: u32) -> u32 {
        yield_now();
        if depth == 0 {
            return 1;
        }
        let halves = [spawn(move || tree(depth - 1)), spawn(move || tree(depth - 1))];
        yield_now();
        halves.into_iter().map(|half| half.join().unwrap()).sum()
    }
    let _watch = watch();
    for workers in [1, 2, 8] {
        assert_eq!(runtime(workers).run(|| tree(10)), 1024);
    }
    assert_eq!(run(|| tree(8)), 256);
}

/// The joined child runs right away, on its own stack, and waits there: then both are ordinary tasks.
#[test]
fn a_child_joined_in_place_may_wait_panic_or_spawn() {
    let _watch = watch();
    for workers in [1, 2] {
        runtime(workers).run(|| {
            let waits = spawn(|| {
                sleep(ms(1));
                yield_now();
                1
            });
            assert_eq!(waits.join().unwrap(), 1);
            let panics = spawn(|| panic!("in place"));
            assert_eq!(panics.join().unwrap_err().to_string(), "task panicked: in place");
            let spawns = spawn(|| (0..10).map(|n| spawn(move || n)).collect::<Vec<_>>());
            let sum: u32 = spawns.join().unwrap().into_iter().map(|handle| handle.join().unwrap()).sum();
            assert_eq!(sum, 45);
            let detaches = spawn(|| drop(spawn(|| sleep(FOR_EVER))));
            detaches.join().unwrap();
        });
    }
}

/// Many joins in place must not keep the loop from its other tasks.
#[test]
fn joins_in_place_starve_nobody() {
    let _watch = watch();
    let runtime = runtime(1);
    runtime.run(|| {
        let stop = Arc::new(AtomicBool::new(false));
        let (stops, sees) = (stop.clone(), stop.clone());
        let timer = spawn(move || {
            sleep(ms(1));
            stops.store(true, Ordering::Relaxed);
        });
        let mut joined = 0;
        while !sees.load(Ordering::Relaxed) {
            assert_eq!(spawn(move || joined).join().unwrap(), joined);
            joined += 1;
        }
        timer.join().unwrap();
    });
}

#[test]
fn a_yield_storm_starves_neither_timers_nor_fresh_tasks_nor_threads() {
    // H33, without the socket
    let _watch = watch();
    for workers in [1, 2] {
        let runtime = runtime(workers);
        let stop = Arc::new(AtomicBool::new(false));
        let storm: Vec<_> = (0..4)
            .map(|_| {
                let stop = stop.clone();
                runtime.spawn(move || {
                    while !stop.load(Ordering::Relaxed) {
                        yield_now();
                    }
                })
            })
            .collect();
        for _ in 0..20 {
            // From outside, with a timer, and from within.
            assert_eq!(runtime.run(|| (sleep(ms(1)), spawn(|| 5).join().unwrap()).1), 5);
        }
        stop.store(true, Ordering::Relaxed);
        storm.into_iter().for_each(|task| task.join().unwrap());
    }
}

#[test]
fn yielding_tasks_of_one_worker_take_turns() {
    let _watch = watch();
    let runtime = runtime(1);
    let turns = runtime.run(|| {
        let (turns, started) = (Arc::new(Mutex::new(Vec::new())), Arc::new(AtomicUsize::new(0)));
        let tasks: Vec<_> = (0..3)
            .map(|id| {
                let (turns, started) = (turns.clone(), started.clone());
                spawn(move || {
                    started.fetch_add(1, Ordering::Relaxed);
                    until(|| started.load(Ordering::Relaxed) == 3);
                    for _ in 0..100 {
                        turns.lock().unwrap().push(id);
                        yield_now();
                    }
                })
            })
            .collect();
        tasks.into_iter().for_each(|task| task.join().unwrap());
        turns.lock().unwrap().clone()
    });
    assert_eq!(turns.len(), 300);
    for round in turns.chunks(3) {
        let mut round = round.to_vec();
        round.sort_unstable();
        assert_eq!(round, [0, 1, 2]);
    }
}

#[test]
fn yielding_and_sleeping_work_on_plain_threads() {
    let _watch = watch();
    yield_now();
    let began = Instant::now();
    sleep(ms(5));
    assert!(began.elapsed() >= ms(5));
    assert_eq!(task::worker(), None);
    assert!(run(task::worker).is_some());
}

// ---- panics

// H23
#[test]
fn a_panic_comes_out_of_join_with_its_payload_and_the_worker_lives() {
    #[derive(Debug, PartialEq)]
    struct Payload(u32);
    let _watch = watch();
    let runtime = runtime(1);
    for n in 0..100 {
        let error = runtime.spawn(move || -> u32 { panic!("number {n}") }).join().unwrap_err();
        assert!(error.is_panic() && !error.is_cancelled());
        assert_eq!(error.to_string(), format!("task panicked: number {n}"));
        assert_eq!(text(&*error.into_panic().unwrap()), format!("number {n}"));
    }
    for n in 0..10_000 {
        let error = runtime.spawn(move || panic::resume_unwind(Box::new(Payload(n)))).join().map(|()| 0).unwrap_err();
        assert_eq!(error.to_string(), "task panicked: a payload that is no text");
        assert_eq!(*error.into_panic().unwrap().downcast::<Payload>().unwrap(), Payload(n));
    }
    assert_eq!(runtime.run(|| 7), 7);
}

#[test]
fn a_panic_after_a_wait_is_as_one_before() {
    let _watch = watch();
    let tally = Tally::default();
    for wait in [yield_now, || sleep(ms(1))] {
        let token = tally.token();
        let task = spawn(move || {
            let _token = token;
            wait();
            panic!("after it");
        });
        assert_eq!(task.join().map(|()| 0).unwrap_err().to_string(), "task panicked: after it");
    }
    tally.assert_all_dropped(2);
}

#[test]
fn the_first_of_the_clones_takes_the_payload_and_all_have_its_text() {
    let _watch = watch();
    let error = spawn(|| panic::panic_any(String::from("shared"))).join().map(|()| 0).unwrap_err();
    let (first, second) = (error.clone(), error.clone());
    assert_eq!(text(&*first.into_panic().unwrap()), "shared");
    assert!(second.into_panic().is_none());
    assert_eq!((error.to_string(), format!("{error:?}")), expected("task panicked: shared"));
    let cancelled = spawn(|| sleep(FOR_EVER));
    cancelled.cancel();
    let error: JoinError = cancelled.join().unwrap_err();
    assert_eq!((error.clone().to_string(), format!("{error:?}")), expected("task was cancelled"));

    fn expected(text: &str) -> (String, String) {
        (text.to_owned(), format!("JoinError({text})"))
    }
}

// H23
#[test]
fn a_payload_whose_destructor_panics_harms_no_worker() {
    struct Bomb;
    impl Drop for Bomb {
        fn drop(&mut self) {
            panic!("in the payload's destructor");
        }
    }
    let _watch = watch();
    let runtime = runtime(1);
    // Nobody joins: the payload is dropped by the task's end. Joined and not looked at: by the joiner.
    for _ in 0..10 {
        drop(runtime.spawn(|| panic::panic_any(Bomb)));
        let error = runtime.spawn(|| panic::panic_any(Bomb)).join().map(|()| 0).unwrap_err();
        assert_eq!(panic_text(|| drop(error)), "in the payload's destructor");
        // The same for values.
        drop(runtime.spawn(|| Bomb));
        let value = runtime.spawn(|| Bomb).join().unwrap();
        assert_eq!(panic_text(|| drop(value)), "in the payload's destructor");
        // And for what a fresh task that is cancelled has captured.
        let bomb = Bomb;
        let fresh = runtime.run(|| {
            let fresh = spawn(move || drop(bomb));
            fresh.cancel();
            fresh
        });
        assert_cancelled(fresh);
    }
    assert_eq!(runtime.run(|| 7), 7);
}

#[test]
fn a_task_catches_panics_among_waits() {
    let _watch = watch();
    let caught = run(|| {
        (0..20)
            .filter(|n| {
                panic::catch_unwind(|| {
                    sleep(ms(1));
                    assert!(n % 2 == 0, "odd");
                    yield_now();
                })
                .is_err()
            })
            .count()
    });
    assert_eq!(caught, 10);
}

/// Tasks of one worker unwind in turns, waiting in their destructors: each ends with its own panic.
// H17
#[test]
fn tasks_that_wait_while_they_unwind_do_not_confuse_each_other() {
    let _watch = watch();
    let runtime = runtime(1);
    runtime.run(|| {
        let tasks: Vec<_> = (0..20_u64)
            .map(|n| {
                spawn(move || {
                    let _waits = OnDrop(move || {
                        yield_now();
                        sleep(ms(n % 3));
                        assert_eq!(spawn(move || n).join().unwrap(), n);
                        // A healthy generator in the middle of all that.
                        let mut g = Generator::new(|y: &Yielder<u64>| (0..9).for_each(|i| y.yield_(i)));
                        assert_eq!(g.by_ref().take(5).sum::<u64>(), 10);
                        yield_now();
                    });
                    if n % 2 == 0 {
                        panic::panic_any(n.to_string());
                    }
                    n
                })
            })
            .collect();
        for (n, task) in tasks.into_iter().enumerate() {
            match task.join() {
                Ok(value) => assert!(n % 2 == 1 && value == n as u64),
                Err(error) => assert_eq!(error.to_string(), format!("task panicked: {n}")),
            }
        }
    });
    // Nothing of all that is left on the worker.
    assert!(!runtime.run(thread::panicking));
}

// ---- cancelling

#[test]
fn a_fresh_task_that_is_cancelled_never_runs() {
    let _watch = watch();
    let tally = Tally::default();
    let runtime = runtime(1);
    let handles = runtime.run(|| {
        (0..100)
            .map(|_| {
                let token = tally.token();
                let handle = spawn(move || {
                    drop(token);
                    panic!("a fresh task ran");
                });
                handle.cancel();
                handle.cancel();
                handle
            })
            .collect::<Vec<_>>()
    });
    handles.into_iter().for_each(assert_cancelled::<()>);
    tally.assert_all_dropped(100);
}

#[test]
fn cancelling_a_task_that_has_ended_changes_nothing() {
    let _watch = watch();
    let done = spawn(|| 5);
    until(|| done.is_finished());
    done.cancel();
    assert_eq!(done.join().unwrap(), 5);
    let panicked = spawn(|| -> u32 { panic!("before it was cancelled") });
    until(|| panicked.is_finished());
    panicked.cancel();
    assert!(panicked.join().unwrap_err().is_panic());
}

// H16, as far as there are waits
#[test]
fn a_task_is_cancelled_in_every_kind_of_wait() {
    type Wait = fn(Tools);
    /// What the waits wait with; none of it ever comes.
    struct Tools {
        empty: Receiver<u32>,
        full: Sender<u32>,
        rendezvous: Sender<u32>,
    }
    let waits: [(&str, Wait); 15] = [
        ("sleep", |_| sleep(FOR_EVER)),
        ("sleep for ever", |_| sleep(Duration::MAX)),
        ("sleep_until", |_| time::sleep_until(Instant::now() + ms(3_600_000))),
        ("recv", |t| _ = t.empty.recv()),
        ("recv_timeout", |t| _ = t.empty.recv_timeout(FOR_EVER)),
        ("iter", |t| _ = t.empty.iter().next()),
        ("into_iter", |t| _ = t.empty.into_iter().next()),
        ("send", |t| _ = t.full.send(1)),
        ("send_timeout", |t| _ = t.full.send_timeout(1, FOR_EVER)),
        ("send at capacity 0", |t| _ = t.rendezvous.send(1)),
        ("join", |_| drop(spawn(|| sleep(FOR_EVER)).join())),
        ("join of a task of another runtime", |_| drop(runtime(1).spawn(|| sleep(FOR_EVER)).join())),
        ("run", |_| run(|| sleep(FOR_EVER))),
        ("yield loop", |_| {
            loop {
                yield_now();
            }
        }),
        ("sleep loop", |_| {
            loop {
                sleep(ms(1));
            }
        }),
    ];
    let _watch = watch();
    let tally = Tally::default();
    for (name, wait) in waits {
        for round in 0..4 {
            let (_keeps_empty, empty) = channel::bounded(1);
            let (full, _keeps_full) = channel::bounded(1);
            let (rendezvous, _keeps_rendezvous) = channel::bounded(0);
            full.send(0).unwrap();
            let tools = Tools { empty, full, rendezvous };
            let (token, (started, starts)) = (tally.token(), channel::bounded(1));
            let handle = spawn(move || {
                let _token = token;
                started.send(()).unwrap();
                wait(tools);
                panic!("the wait returned");
            });
            starts.recv().unwrap();
            if round % 2 == 1 {
                // Time to get into the wait; without it, the request usually comes before.
                hold_thread(ms(1));
            }
            handle.cancel();
            if round > 1 {
                handle.cancel();
            }
            let error = handle.join().map(|()| name).unwrap_err();
            assert!(error.is_cancelled(), "{name}: {error}");
        }
    }
    tally.assert_all_dropped(tally.made());
}

#[cfg(feature = "blocking")]
#[test]
fn a_task_is_cancelled_while_a_blocking_call_runs_on() {
    let _watch = watch();
    let (go_on, waits) = std::sync::mpsc::channel::<()>();
    let (tally, (started, starts)) = (Tally::default(), channel::bounded(1));
    let token = tally.token();
    let handle = spawn(move || {
        task::unblock(move || {
            started.send(()).unwrap();
            waits.recv().unwrap_err();
            token
        })
    });
    starts.recv().unwrap();
    handle.cancel();
    assert!(handle.join().map(drop).unwrap_err().is_cancelled());
    assert_eq!(tally.dropped(), 0);
    drop(go_on);
    until(|| tally.dropped() == 1);
}

#[test]
fn a_wait_that_has_its_value_returns_it_and_the_next_one_unwinds() {
    let _watch = watch();
    let runtime = runtime(1);
    let (sender, receiver) = channel::bounded(1);
    let (report, reports) = channel::unbounded();
    let handle = runtime.run(|| {
        let (started, starts) = channel::bounded(0);
        let handle = spawn(move || {
            started.send(()).unwrap();
            report.send(receiver.recv()).unwrap();
            report.send(receiver.recv()).unwrap();
        });
        starts.recv().unwrap();
        yield_now();
        // The task waits in its first `recv`; value and request come before it runs again.
        sender.send(1).unwrap();
        handle.cancel();
        handle
    });
    assert_cancelled(handle);
    assert_eq!(reports.iter().collect::<Vec<_>>(), [Ok(1)]);
}

#[test]
fn a_task_that_never_waits_again_keeps_its_value_when_cancelled() {
    let _watch = watch();
    let runtime = runtime(2);
    let (entered, go_on) = (Arc::new(Barrier::new(2)), Arc::new(Barrier::new(2)));
    let (entered2, go_on2) = (entered.clone(), go_on.clone());
    let handle = runtime.spawn(move || {
        entered2.wait();
        go_on2.wait();
        "computed"
    });
    entered.wait();
    handle.cancel();
    go_on.wait();
    assert_eq!(handle.join().unwrap(), "computed");
}

// H12
#[test]
fn destructors_that_wait_during_a_cancel_run_to_their_end() {
    let _watch = watch();
    for workers in [1, 2, 8] {
        let runtime = runtime(workers);
        let log = Log::default();
        let (sender, receiver) = channel::bounded::<&str>(0);
        let (started, starts) = channel::bounded(1);
        let task = {
            let log = log.clone();
            runtime.spawn(move || {
                let _last = log.at_drop("last");
                let _waits = OnDrop(|| {
                    sleep(ms(2));
                    log.push("slept");
                    yield_now();
                    log.push("yielded");
                    sender.send("from a destructor").unwrap();
                    log.push("sent");
                    assert_eq!(spawn(|| 5).join().unwrap(), 5);
                    log.push("joined");
                    assert_eq!(run(|| 6), 6);
                    log.push("ran");
                });
                started.send(()).unwrap();
                sleep(FOR_EVER);
            })
        };
        starts.recv().unwrap();
        task.cancel();
        // A second request changes nothing: what destructors wait for, they wait for in peace.
        assert_eq!(receiver.recv(), Ok("from a destructor"));
        task.cancel();
        assert_cancelled(task);
        assert_eq!(log.take(), ["slept", "yielded", "sent", "joined", "ran", "last"]);
    }
}

/// A task's destructor uses `run` while the task is cancelled: nothing is thrown into it, and nothing aborts.
#[test]
fn a_destructor_may_use_run_during_a_cancel() {
    let _watch = watch();
    let runtime = runtime(1);
    let log = Log::default();
    let (task, yields) = runtime.run(|| {
        let log = log.clone();
        let task = spawn(move || {
            let _runs = OnDrop(|| {
                let n = run(|| {
                    yield_now();
                    sleep(ms(1));
                    5
                });
                log.push(format!("ran {n}"));
            });
            sleep(FOR_EVER);
        });
        yield_now();
        task.cancel();
        (task, spawn(yield_now))
    });
    assert_cancelled(task);
    yields.join().unwrap();
    assert_eq!(log.take(), ["ran 5"]);
}

// H13, the part that ends: a cancel that was swallowed is thrown again.
#[test]
fn a_swallowed_cancel_is_thrown_again_at_the_next_wait() {
    let _watch = watch();
    let swallowed = Arc::new(AtomicUsize::new(0));
    let counts = swallowed.clone();
    let (handle, _stop) = waiting(move |stopped| {
        while counts.load(Ordering::Relaxed) < 5 {
            if panic::catch_unwind(AssertUnwindSafe(|| stopped.recv())).is_err() {
                counts.fetch_add(1, Ordering::Relaxed);
            }
        }
        stopped.recv()
    });
    handle.cancel();
    assert_cancelled(handle);
    assert_eq!(swallowed.load(Ordering::Relaxed), 5);
}

#[test]
fn a_task_that_swallows_its_cancel_may_return_a_value() {
    let _watch = watch();
    let (handle, _stop) = waiting(|stopped| panic::catch_unwind(AssertUnwindSafe(|| stopped.recv())).is_err());
    handle.cancel();
    assert!(handle.join().unwrap());
}

// H14
#[test]
fn a_panic_contained_in_a_destructor_does_not_disturb_a_cancel() {
    let _watch = watch();
    let log = Log::default();
    let inner = log.clone();
    let (handle, _stop) = waiting(move |stopped| {
        let _outer = inner.at_drop("outer");
        let _contained = OnDrop(|| {
            let text = panic_text(|| {
                sleep(ms(1));
                panic!("contained");
            });
            inner.push(text);
        });
        _ = stopped.recv();
    });
    handle.cancel();
    assert_cancelled(handle);
    assert_eq!(log.take(), ["contained", "outer"]);
}

#[test]
fn a_cancel_in_the_middle_of_a_panic_leaves_the_panic() {
    let _watch = watch();
    let (in_drop, dropping) = channel::bounded(0);
    let (go_on, goes_on) = channel::bounded::<()>(0);
    let handle = spawn(move || {
        let _waits = OnDrop(|| {
            in_drop.send(()).unwrap();
            goes_on.recv().unwrap_err();
        });
        panic!("first");
    });
    dropping.recv().unwrap();
    handle.cancel();
    drop(go_on);
    assert_eq!(handle.join().map(|()| 0).unwrap_err().to_string(), "task panicked: first");
}

#[test]
fn a_joiner_that_is_cancelled_leaves_the_joined_task_running() {
    let _watch = watch();
    for workers in [1, 2] {
        let runtime = runtime(workers);
        let (stop, stopped) = channel::bounded::<()>(0);
        let (ended, ends) = channel::bounded(1);
        let (started, starts) = channel::bounded(1);
        let joiner = runtime.spawn(move || {
            // Joined in place: it waits on top of the joiner at first.
            let child = spawn(move || {
                started.send(()).unwrap();
                assert!(stopped.recv().is_err());
                ended.send("the child ran on").unwrap();
            });
            child.join()
        });
        starts.recv().unwrap();
        joiner.cancel();
        assert!(joiner.join().map(drop).unwrap_err().is_cancelled());
        drop(stop);
        assert_eq!(ends.recv(), Ok("the child ran on"));
    }
}

/// The request reaches the joiner while its child runs in place and has not waited yet.
#[test]
fn a_joiner_cancelled_by_its_child_in_place_unwinds_at_its_next_wait() {
    let _watch = watch();
    let runtime = runtime(1);
    for child_waits in [false, true] {
        let (hand_over, own) = channel::bounded::<Arc<JoinHandle<()>>>(1);
        let log = Log::default();
        let joiner = {
            let log = log.clone();
            runtime.spawn(move || {
                let itself = own.recv().unwrap();
                let child_log = log.clone();
                let child = spawn(move || {
                    itself.cancel();
                    drop(itself);
                    if child_waits {
                        yield_now();
                    }
                    child_log.push("child ended");
                });
                assert!(!child.is_finished());
                child.join().unwrap();
                log.push("joined");
                yield_now();
                log.push("went on");
            })
        };
        let joiner = Arc::new(joiner);
        hand_over.send(joiner.clone()).unwrap();
        until(|| Arc::strong_count(&joiner) == 1);
        assert_cancelled(Arc::into_inner(joiner).unwrap());
        // What had ended was joined; what had not runs on by itself.
        let mut expected = vec!["child ended"];
        expected.extend((!child_waits).then_some("joined"));
        runtime.run(|| until(|| log.len() == expected.len()));
        assert_eq!(log.take(), expected);
    }
}

#[test]
fn cancelling_a_parent_of_run_cancels_and_waits_for_what_it_runs() {
    let _watch = watch();
    let (one, two) = (Arc::new(runtime(1)), Arc::new(runtime(2)));
    // On the same runtime, and on another one.
    for (runtime, inner) in [(&one, &one), (&two, &two), (&one, &two), (&two, &one)] {
        let log = Log::default();
        let (started, starts) = channel::bounded(1);
        let parent = {
            let (inner, log) = (inner.clone(), log.clone());
            runtime.spawn(move || {
                let borrowed = String::from("lent");
                let _parent = log.at_drop("parent");
                inner.run(|| {
                    let _child = OnDrop(|| {
                        sleep(ms(1));
                        log.push(format!("child with what was {borrowed}"));
                    });
                    started.send(()).unwrap();
                    sleep(FOR_EVER);
                });
            })
        };
        starts.recv().unwrap();
        parent.cancel();
        assert_cancelled(parent);
        assert_eq!(log.take(), ["child with what was lent", "parent"]);
    }
}

#[test]
fn tasks_cancel_themselves_and_each_other() {
    let _watch = watch();
    run(|| {
        // Oneself: only asks, and acts at the next wait.
        let (hand_over, own) = channel::bounded::<Arc<JoinHandle<()>>>(1);
        let (report, reports) = channel::unbounded();
        let itself = spawn(move || {
            own.recv().unwrap().cancel();
            report.send("still here").unwrap();
            sleep(FOR_EVER);
        });
        let itself = Arc::new(itself);
        hand_over.send(itself.clone()).unwrap();
        assert_eq!(reports.recv(), Ok("still here"));
        until(|| Arc::strong_count(&itself) == 1);
        assert_cancelled(Arc::into_inner(itself).unwrap());
        // A ring, each of which cancels the next when it is cancelled.
        let ends = Arc::new(AtomicUsize::new(0));
        let mut next: Option<JoinHandle<()>> = None;
        for _ in 0..50 {
            let (ends, neighbour, (started, starts)) = (ends.clone(), next.take(), channel::bounded(1));
            next = Some(spawn(move || {
                let _cancels = OnDrop(|| {
                    neighbour.iter().for_each(JoinHandle::cancel);
                    ends.fetch_add(1, Ordering::Relaxed);
                });
                started.send(()).unwrap();
                sleep(FOR_EVER);
            }));
            starts.recv().unwrap();
        }
        let last = next.unwrap();
        last.cancel();
        assert_cancelled(last);
        until(|| ends.load(Ordering::Relaxed) == 50);
    });
}

// H48
#[test]
fn a_destructor_run_by_a_cancel_ends_its_neighbours() {
    let _watch = watch();
    for workers in [1, 2, 8] {
        let runtime = runtime(workers);
        let (tally, log) = (Tally::default(), Log::default());
        runtime.run(|| {
            let (full, drain) = channel::bounded::<u32>(1);
            full.send(0).unwrap();
            let (started, starts) = channel::bounded(2);
            let (tally, log) = (tally.clone(), log.clone());
            let first = {
                let (tally, log) = (tally.clone(), log.clone());
                spawn(move || {
                    // Of the same worker: spawned by this task, and started by its yield, unless stolen.
                    let neighbour = {
                        let (token, started) = (tally.token(), started.clone());
                        spawn(move || {
                            let _token = token;
                            let _waits = OnDrop(|| sleep(ms(1)));
                            started.send(()).unwrap();
                            sleep(FOR_EVER);
                        })
                    };
                    yield_now();
                    let mut generator = {
                        let token = tally.token();
                        Generator::new(move |y: &Yielder<u32>| {
                            let _token = token;
                            let _sleeps = OnDrop(|| sleep(ms(1)));
                            y.yield_(1);
                        })
                    };
                    assert_eq!(generator.next(), Some(1));
                    let mut kept = Some((neighbour, generator));
                    let _token = tally.token();
                    let _ends = OnDrop(|| {
                        let (neighbour, generator) = kept.take().unwrap();
                        neighbour.cancel();
                        assert!(neighbour.join().unwrap_err().is_cancelled());
                        log.push("joined its neighbour");
                        drop(generator);
                        log.push("dropped its generator");
                        full.send(1).unwrap();
                        log.push("sent");
                        sleep(ms(1));
                        log.push("slept");
                    });
                    started.send(()).unwrap();
                    sleep(FOR_EVER);
                })
            };
            starts.recv().unwrap();
            starts.recv().unwrap();
            first.cancel();
            let drained = spawn(move || drain.iter().take(2).collect::<Vec<_>>());
            assert_cancelled(first);
            assert_eq!(drained.join().unwrap(), [0, 1]);
        });
        assert_eq!(log.take(), ["joined its neighbour", "dropped its generator", "sent", "slept"]);
        tally.assert_all_dropped(3);
    }
}

/// Destructors kill and join neighbours that are themselves unwinding: a chain as long as there are tasks.
// H48
#[test]
fn destructors_that_cancel_and_join_each_other_in_a_chain_all_end() {
    let _watch = watch();
    for workers in [1, 2] {
        let tally = Tally::default();
        runtime(workers).run(|| {
            let mut last: Option<JoinHandle<()>> = None;
            for _ in 0..200 {
                let (token, mut inner, (started, starts)) = (tally.token(), last.take(), channel::bounded(1));
                last = Some(spawn(move || {
                    let _token = token;
                    let _joins = OnDrop(|| {
                        yield_now();
                        if let Some(inner) = inner.take() {
                            inner.cancel();
                            assert!(inner.join().unwrap_err().is_cancelled());
                        }
                        sleep(ms(0));
                    });
                    started.send(()).unwrap();
                    sleep(FOR_EVER);
                }));
                starts.recv().unwrap();
            }
            let last = last.unwrap();
            last.cancel();
            assert_cancelled(last);
        });
        tally.assert_all_dropped(200);
    }
}

// ---- generators in tasks

// H11
#[test]
fn cancelling_a_task_inside_its_generator_drops_both_frames_inner_first() {
    let _watch = watch();
    let log = Log::default();
    let (started, starts) = channel::bounded(1);
    let task = {
        let log = log.clone();
        spawn(move || {
            let _task = log.at_drop("task");
            let inner_log = log.clone();
            let mut outer = Generator::new(move |y: &Yielder<u32>| {
                let _outer = inner_log.at_drop("outer generator");
                let innermost_log = inner_log.clone();
                let inner = Generator::new(move |y: &Yielder<u32>| {
                    let _inner = innermost_log.at_drop("inner generator");
                    y.yield_(1);
                    started.send(()).unwrap();
                    sleep(FOR_EVER);
                    y.yield_(2);
                });
                inner.for_each(|n| y.yield_(n));
            });
            assert_eq!(outer.next(), Some(1));
            outer.next()
        })
    };
    starts.recv().unwrap();
    task.cancel();
    assert_cancelled(task);
    assert_eq!(log.take(), ["inner generator", "outer generator", "task"]);
}

#[test]
fn generators_wait_with_their_tasks() {
    let _watch = watch();
    let produced = run(|| {
        let tasks: Vec<_> = (0..20_u64)
            .map(|id| {
                spawn(move || {
                    let g = Generator::new(move |y: &Yielder<u64>| {
                        for n in 0..20 {
                            match n % 4 {
                                0 => yield_now(),
                                1 => sleep(ms(1)),
                                2 => assert_eq!(spawn(move || n).join().unwrap(), n),
                                _ => assert_eq!(run(|| n), n),
                            }
                            y.yield_(n * id);
                        }
                    });
                    g.inspect(|_| yield_now()).sum::<u64>()
                })
            })
            .collect();
        tasks.into_iter().map(|task| task.join().unwrap()).sum::<u64>()
    });
    assert_eq!(produced, 190 * 190);
}

/// A generator that one task started may be resumed by another task of the same worker, and wait in either.
#[test]
fn a_generator_is_passed_among_the_tasks_of_one_worker() {
    thread_local! {
        static SHARED: RefCell<Option<Generator<u32>>> = const { RefCell::new(None) };
    }
    let _watch = watch();
    let runtime = runtime(1);
    let items = runtime.run(|| {
        SHARED.set(Some(Generator::new(|y: &Yielder<u32>| {
            for n in 0..9 {
                sleep(ms(1));
                y.yield_(n);
            }
        })));
        let mut items = Vec::new();
        for _ in 0..3 {
            let task = spawn(|| {
                let mut g = SHARED.take().unwrap();
                let items = g.by_ref().take(3).collect::<Vec<_>>();
                SHARED.set(Some(g));
                items
            });
            items.extend(task.join().unwrap());
        }
        SHARED.take();
        items
    });
    assert_eq!(items, Vec::from_iter(0..9));
}

#[test]
fn a_panic_in_a_generator_in_a_task_is_the_tasks() {
    let _watch = watch();
    let task = spawn(|| {
        let mut g = Generator::<u32>::new(|y: &Yielder<u32>| {
            y.yield_(1);
            sleep(ms(1));
            panic!("from the generator");
        });
        g.by_ref().sum::<u32>()
    });
    assert_eq!(task.join().unwrap_err().to_string(), "task panicked: from the generator");
}

// ---- sleeping

#[test]
fn sleepers_wake_in_the_order_of_their_deadlines_and_not_before() {
    let _watch = watch();
    let runtime = runtime(1);
    let mut random = Random::new();
    // The order is certain if all sleep before the first deadline; a busy machine may need more time for that.
    for lead in [20, 100, 500, 2500] {
        let offsets: Vec<_> = (0..200).map(|_| Duration::from_micros(random.below(30_000))).collect();
        let (order, all_slept) = runtime.run(|| {
            let (order, asleep) = (Arc::new(Mutex::new(Vec::new())), Arc::new(AtomicUsize::new(0)));
            let first = Instant::now() + ms(lead);
            let sleepers: Vec<_> = offsets
                .into_iter()
                .map(|offset| {
                    let (order, asleep, deadline) = (order.clone(), asleep.clone(), first + offset);
                    spawn(move || {
                        asleep.fetch_add(1, Ordering::Relaxed);
                        time::sleep_until(deadline);
                        assert!(Instant::now() >= deadline);
                        order.lock().unwrap().push(deadline);
                    })
                })
                .collect();
            // On one worker, a task that has counted itself sleeps when another one runs.
            until(|| asleep.load(Ordering::Relaxed) == 200);
            let all_slept = Instant::now() < first;
            sleepers.into_iter().for_each(|sleeper| sleeper.join().unwrap());
            (Arc::into_inner(order).unwrap().into_inner().unwrap(), all_slept)
        });
        assert_eq!(order.len(), 200);
        if all_slept {
            assert!(order.is_sorted(), "{order:?}");
            return;
        }
    }
    panic!("200 tasks did not get to sleep within 2.5 s");
}

#[test]
fn sleeping_is_never_too_short() {
    let _watch = watch();
    run(|| {
        let sleepers: Vec<_> = [0, 1, 999, 1000, 1500, 7000, 20_000]
            .into_iter()
            .map(|micros| {
                spawn(move || {
                    let (began, duration) = (Instant::now(), Duration::from_micros(micros));
                    sleep(duration);
                    assert!(began.elapsed() >= duration);
                })
            })
            .collect();
        sleepers.into_iter().for_each(|sleeper| sleeper.join().unwrap());
        time::sleep_until(Instant::now().checked_sub(ms(5)).unwrap_or_else(Instant::now));
    });
}

#[test]
fn ten_thousand_sleepers() {
    let _watch = watch();
    for workers in [1, 2] {
        let runtime = runtime(workers);
        let (asleep, tally) = (Arc::new(AtomicUsize::new(0)), Tally::default());
        runtime.run(|| {
            let sleepers: Vec<_> = (0..10_000_u64)
                .map(|n| {
                    let (asleep, token) = (asleep.clone(), tally.token());
                    spawn(move || {
                        asleep.fetch_add(1, Ordering::Relaxed);
                        sleep(ms(1 + n % 50));
                        drop(token);
                        n
                    })
                })
                .collect();
            let sum: u64 = sleepers.into_iter().map(|sleeper| sleeper.join().unwrap()).sum();
            assert_eq!(sum, 49_995_000);
        });
        assert_eq!(asleep.load(Ordering::Relaxed), 10_000);
        tally.assert_all_dropped(10_000);
    }
}

// ---- blocking calls

#[cfg(feature = "blocking")]
#[test]
fn a_blocking_call_gives_its_value_or_its_panic_and_holds_no_worker() {
    let _watch = watch();
    let runtime = runtime(1);
    runtime.run(|| {
        // Two blocking calls that need each other, on one worker.
        let both = Arc::new(Barrier::new(2));
        let other = both.clone();
        let task = spawn(move || {
            task::unblock(move || {
                other.wait();
                String::from("second")
            })
        });
        task::unblock(move || _ = both.wait());
        assert_eq!(task.join().unwrap(), "second");
        assert!(task::unblock(task::worker).is_none());
        #[derive(Debug, PartialEq)]
        struct Payload(u32);
        let panicked = panic::catch_unwind(|| task::unblock(|| panic::panic_any(Payload(7))));
        assert_eq!(*panicked.unwrap_err().downcast::<Payload>().unwrap(), Payload(7));
    });
    assert_eq!(task::unblock(|| 5), 5, "on a plain thread too");
}

// ---- odd places

// H38
#[test]
fn spawning_from_a_thread_locals_destructor() {
    struct SpawnsInDrop(Sender<u32>);
    impl Drop for SpawnsInDrop {
        fn drop(&mut self) {
            let sender = self.0.clone();
            assert_eq!(try_spawn(move || sender.send(1).unwrap()).unwrap().join().map_err(drop), Ok(()));
            self.0.send(run(|| 2)).unwrap();
        }
    }
    thread_local! {
        static SPAWNS: RefCell<Option<SpawnsInDrop>> = const { RefCell::new(None) };
    }
    let _watch = watch();
    run(|| ());
    // Of a plain thread.
    let (sender, receiver) = channel::unbounded();
    let copy = sender.clone();
    thread::spawn(move || SPAWNS.set(Some(SpawnsInDrop(copy)))).join().unwrap();
    assert_eq!(receiver.try_iter().collect::<Vec<_>>(), [1, 2]);
    // Of a worker, which is none any more by then.
    let own = runtime(1);
    own.run(|| SPAWNS.set(Some(SpawnsInDrop(sender))));
    drop(own);
    assert_eq!(receiver.iter().collect::<Vec<_>>(), [1, 2]);
}

// H38
#[test]
fn spawning_from_destructors_during_a_cancel_or_a_panic() {
    let _watch = watch();
    for workers in [1, 2] {
        let runtime = runtime(workers);
        let (sender, receiver) = channel::unbounded();
        let spawns = |sender: &Sender<u32>| {
            let sender = sender.clone();
            OnDrop(move || {
                let (detached, joined) = (sender.clone(), sender.clone());
                drop(spawn(move || detached.send(1).unwrap()));
                spawn(move || joined.send(2).unwrap()).join().unwrap();
            })
        };
        let panics = {
            let spawns = spawns(&sender);
            runtime.spawn(move || {
                let _spawns = spawns;
                panic!("spawns on its way");
            })
        };
        assert!(panics.join().map(|()| 0).unwrap_err().is_panic());
        let (started, starts) = channel::bounded(1);
        let cancelled = {
            let spawns = spawns(&sender);
            runtime.spawn(move || {
                let _spawns = spawns;
                started.send(()).unwrap();
                sleep(FOR_EVER);
            })
        };
        starts.recv().unwrap();
        cancelled.cancel();
        assert_cancelled(cancelled);
        drop(sender);
        let mut received: Vec<_> = receiver.iter().collect();
        received.sort_unstable();
        assert_eq!(received, [1, 1, 2, 2]);
    }
}

/// What belongs to a thread lives on a task's stack across its waits.
#[test]
fn values_that_are_not_send_live_across_waits() {
    let _watch = watch();
    let sums = run(|| {
        let tasks: Vec<_> = (0..20)
            .map(|n| {
                spawn(move || {
                    let (shared, cell) = (Rc::new(RefCell::new(Vec::new())), Cell::new(0));
                    let guard = Mutex::new(());
                    for i in 0..10 {
                        let mut borrowed = shared.borrow_mut();
                        let _held = guard.lock().unwrap();
                        yield_now();
                        borrowed.push(i);
                        sleep(ms(i % 2));
                        cell.set(cell.get() + i * n);
                    }
                    assert_eq!(shared.borrow().len(), 10);
                    cell.get()
                })
            })
            .collect();
        tasks.into_iter().map(|task| task.join().unwrap()).sum::<u64>()
    });
    assert_eq!(sums, 45 * 190);
}

// ---- many

// H22
#[test]
fn a_mix_of_ends_drops_everything_once() {
    let _watch = watch();
    let mut random = Random::new();
    for workers in [1, 2, 8] {
        let runtime = runtime(workers);
        let tally = Tally::default();
        let seeds: Vec<_> = (0..4).map(|_| random.below(1 << 40)).collect();
        runtime.run(|| {
            let spawners: Vec<_> = seeds
                .into_iter()
                .map(|seed| {
                    let tally = tally.clone();
                    spawn(move || mix_of_ends(&tally, Random::seeded(seed)))
                })
                .collect();
            spawners.into_iter().for_each(|spawner| spawner.join().unwrap());
        });
        drop(runtime);
        tally.assert_all_dropped(tally.made());
    }
}

/// Five thousand tasks that finish, panic, are cancelled fresh or suspended, or are left alone.
fn mix_of_ends(tally: &Tally, mut random: Random) {
    let mut suspended = Vec::new();
    for _ in 0..5000 {
        let (captured, value) = (tally.token(), tally.token());
        match random.below(6) {
            0 => drop(spawn(move || (captured, value)).join().unwrap()),
            1 => {
                let payload = spawn(move || {
                    let _captured = captured;
                    panic::resume_unwind(Box::new(value));
                });
                assert!(payload.join().map(|()| 0).unwrap_err().is_panic());
            }
            2 => {
                let fresh = spawn(move || (captured, value));
                fresh.cancel();
                // Usually fresh; a thief may have been faster.
                drop(fresh.join());
            }
            3 => suspended.push(spawn(move || {
                let _captured = captured;
                sleep(FOR_EVER);
                value
            })),
            4 => drop(spawn(move || {
                yield_now();
                (captured, value)
            })),
            _ => drop(spawn(move || drop((captured, value)))),
        }
        if random.below(64) == 0 {
            yield_now();
        }
        if suspended.len() > 100 {
            suspended.iter().for_each(JoinHandle::cancel);
            for task in suspended.drain(..) {
                assert!(task.join().map(drop).unwrap_err().is_cancelled());
            }
        }
    }
    // The rest is detached, suspended or not, and goes with the runtime.
}

/// §5, "No leak", on one worker and on two.
#[test]
fn a_million_tasks_leave_nothing_behind() {
    let _watch = watch();
    let count = if cfg!(debug_assertions) { 100_000 } else { 1_000_000 };
    for workers in [1, 2] {
        let runtime = runtime(workers);
        let tally = Tally::default();
        runtime.run(|| {
            let mut handles = Vec::new();
            for n in 0..count {
                let token = tally.token();
                let handle = spawn(move || drop(token));
                match n % 3 {
                    0 => handle.join().unwrap(),
                    1 => drop(handle),
                    _ => handles.push(handle),
                }
                if handles.len() == 1000 {
                    handles.drain(..).for_each(|handle| handle.join().unwrap());
                }
            }
        });
        drop(runtime);
        tally.assert_all_dropped(count);
    }
}
