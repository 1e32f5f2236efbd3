//! Events and results that come later: who waits, who is woken, and what a cut-short wait leaves.

#![cfg(feature = "runtime")]

mod common;

use std::cell::Cell;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use common::{FOR_EVER, Log, Random, Tally, ms, until, watch};
use osier::sync::{AsyncResult, Event, channel};
use osier::{
    Exception, JoinHandle, LocalRuntime, Runtime, catch, no_suspend, run, spawn, spawn_local, task, time, yield_now,
};

fn runtime(workers: usize) -> Runtime {
    Runtime::builder().workers(workers).build().unwrap()
}

#[derive(Debug, PartialEq)]
struct Oops(u32);

impl fmt::Display for Oops {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "oops {}", self.0)
    }
}

impl std::error::Error for Oops {}

/// Spawns tasks that count themselves into `arrived` right before `wait`. On one worker all of them wait when they have
/// been counted and the caller runs again.
fn waiters<T: Send + 'static>(n: usize, wait: impl Fn() -> T + Clone + Send + 'static) -> Vec<JoinHandle<T>> {
    let arrived = Arc::new(AtomicUsize::new(0));
    let handles = (0..n)
        .map(|_| {
            let (wait, arrived) = (wait.clone(), arrived.clone());
            spawn(move || {
                arrived.fetch_add(1, Ordering::SeqCst);
                wait()
            })
        })
        .collect();
    until(|| arrived.load(Ordering::SeqCst) == n);
    handles
}

#[test]
fn smoke() {
    let _watch = watch();
    let (event, result) = (Event::new(), AsyncResult::new());
    assert!(!event.is_set() && !result.is_ready());
    event.set();
    result.set(7).unwrap();
    event.wait();
    assert!(event.is_set() && result.is_ready());
    assert_eq!(result.get().unwrap(), 7);
    event.clear();
    assert!(!event.is_set());
    assert_eq!(format!("{event:?} {result:?}"), "Event { set: false } AsyncResult { ready: true }");
}

// ---- events

// GV-091, GV-092
#[test]
fn set_then_clear_in_one_step_wakes_everybody_who_waits() {
    let _watch = watch();
    for n in [1, 100, 1000] {
        runtime(1).run(|| {
            let event = Event::new();
            let waiting = event.clone();
            let handles = waiters(n, move || waiting.wait_timeout(FOR_EVER));
            event.set();
            event.clear();
            assert!(handles.into_iter().all(|h| h.join().unwrap()), "each saw it set");
            assert!(!event.wait_timeout(ms(1)), "and whoever comes now does not");
        });
    }
}

// GV-094
#[test]
fn who_comes_while_others_are_being_woken_goes_on_after_them() {
    let _watch = watch();
    runtime(1).run(|| {
        let (event, log) = (Event::new(), Log::default());
        let handles = waiters(2, {
            let (event, log) = (event.clone(), log.clone());
            move || {
                event.wait();
                log.push("old");
            }
        });
        event.set();
        let late = spawn({
            let (event, log) = (event.clone(), log.clone());
            move || {
                yield_now();
                event.wait();
                log.push("new");
            }
        });
        handles.into_iter().chain([late]).for_each(|h| h.join().unwrap());
        assert_eq!(log.take(), ["old", "old", "new"]);
    });
}

// GV-094
#[test]
fn who_finds_it_set_while_others_are_being_woken_goes_on_after_them() {
    let _watch = watch();
    LocalRuntime::new().run(|| {
        let (event, log) = (Event::new(), Log::default());
        let waiter = |name: &'static str| {
            let (event, log) = (event.clone(), log.clone());
            spawn_local(move || {
                event.wait();
                log.push(name);
            })
        };
        let old = [waiter("old"), waiter("old")];
        yield_now();
        event.set();
        event.wait();
        log.push("new");
        assert_eq!(log.take(), ["old", "old", "new"]);
        old.into_iter().for_each(|h| h.join().unwrap());
        // Nobody is being woken: then it does not wait at all.
        let other = waiter("other");
        event.wait();
        assert!(event.wait_timeout(FOR_EVER) && event.wait_deadline(Instant::now()));
        assert_eq!(log.len(), 0);
        other.join().unwrap();
        assert_eq!(log.take(), ["other"]);
        // Where nothing may wait, it is set all the same; and for one that was cancelled, what has come is returned.
        event.clear();
        let old = [waiter("old"), waiter("old")];
        yield_now();
        event.set();
        no_suspend(|| event.wait());
        assert_eq!(log.len(), 0);
        event.clear();
        let third = waiter("third");
        let cancelled = spawn_local({
            let (event, log) = (event.clone(), log.clone());
            move || {
                task::current().cancel();
                event.set();
                event.wait();
                log.push("cancelled");
            }
        });
        cancelled.join().unwrap();
        old.into_iter().chain([third]).for_each(|h| h.join().unwrap());
        assert_eq!(log.take(), ["old", "old", "third", "cancelled"]);
    });
}

// GV-095
#[test]
fn a_thread_wakes_a_task_and_a_task_wakes_a_thread() {
    let _watch = watch();
    for timeout in [None, Some(FOR_EVER)] {
        let (there, back) = (Event::new(), Event::new());
        let wait = move |event: &Event| match timeout {
            None => event.wait(),
            Some(timeout) => assert!(event.wait_timeout(timeout)),
        };
        let task = spawn({
            let (there, back) = (there.clone(), back.clone());
            move || {
                for _ in 0..200 {
                    wait(&there);
                    there.clear();
                    back.set();
                }
            }
        });
        let outside = thread::spawn(move || {
            for _ in 0..200 {
                there.set();
                wait(&back);
                back.clear();
            }
        });
        outside.join().unwrap();
        task.join().unwrap();
    }
    // In the root task, from a thread.
    let event = Event::new();
    run(|| {
        let other = event.clone();
        let setter = thread::spawn(move || other.set());
        event.wait();
        setter.join().unwrap();
    });
}

// GV-001
#[test]
fn a_wait_that_takes_too_long_returns_false() {
    let _watch = watch();
    let check = || {
        let began = Instant::now();
        assert!(!Event::new().wait_timeout(ms(20)));
        assert!(!AsyncResult::<u8>::new().wait_timeout(ms(20)));
        assert!(!Event::new().wait_deadline(Instant::now() + ms(20)));
        assert!(began.elapsed() >= ms(60), "{:?}", began.elapsed());
        assert!(!Event::new().wait_deadline(Instant::now()));
    };
    check();
    run(check);
    let event = Event::new();
    event.set();
    assert!(event.wait_timeout(Duration::ZERO) && event.wait_deadline(Instant::now()), "what is set is never late");
    assert!(event.wait_timeout(Duration::MAX));
}

// H16, GV-055
#[test]
fn a_cancelled_waiter_leaves_and_one_that_was_woken_first_returns() {
    let _watch = watch();
    runtime(1).run(|| {
        let event = Event::new();
        let waiting = event.clone();
        let handles = waiters(3, move || waiting.wait());
        handles[1].cancel();
        until(|| handles[1].is_finished());
        assert!(!handles[0].is_finished() && !handles[2].is_finished());
        event.set();
        handles[0].cancel();
        let ends: Vec<_> = handles.into_iter().map(|h| h.join().is_ok()).collect();
        assert_eq!(ends, [true, false, true]);

        event.clear();
        let waiting = event.clone();
        let [first] = waiters(1, move || waiting.wait()).try_into().unwrap();
        first.cancel();
        event.set();
        assert!(first.join().unwrap_err().is_cancelled(), "what was asked first counts");
    });
}

#[test]
fn an_event_may_be_dropped_by_who_was_woken() {
    let _watch = watch();
    for _ in 0..200 {
        let event = Event::new();
        let waiter = spawn({
            let event = event.clone();
            move || event.wait()
        });
        event.set();
        drop(event);
        waiter.join().unwrap();
    }
}

#[test]
fn random_sets_clears_timeouts_and_cancels_leave_nobody_behind() {
    let _watch = watch();
    let mut random = Random::new();
    for _ in 0..30 {
        let event = Event::new();
        let handles: Vec<_> = (0..20)
            .map(|_| {
                let (event, patience) = (event.clone(), random.below(300));
                spawn(move || {
                    for _ in 0..10 {
                        event.wait_timeout(Duration::from_micros(patience));
                    }
                    event.wait();
                })
            })
            .collect();
        for _ in 0..50 {
            match random.below(4) {
                0 => event.clear(),
                1 => handles[usize::try_from(random.below(20)).unwrap()].cancel(),
                2 => yield_now(),
                _ => event.set(),
            }
        }
        event.set();
        for handle in handles {
            assert!(handle.join().map_or_else(|e| e.is_cancelled(), |()| true));
        }
    }
}

// ---- results

// GV-104
#[test]
fn every_getter_gets_the_value_or_the_same_exception() {
    let _watch = watch();
    for workers in [1, 4] {
        runtime(workers).run(|| {
            let result = AsyncResult::new();
            let getters = waiters(3, {
                let result = result.clone();
                move || result.get().unwrap()
            });
            result.set(String::from("value")).unwrap();
            assert!(getters.into_iter().all(|g| g.join().unwrap() == "value"));

            let failed = AsyncResult::<u8>::new();
            let getters = waiters(3, {
                let failed = failed.clone();
                move || failed.get().unwrap_err().exception().cloned()
            });
            let exception = Exception::from(Oops(1));
            failed.set_exception(exception.clone()).unwrap();
            for getter in getters {
                let got = getter.join().unwrap().unwrap();
                assert!(got.ptr_eq(&exception) && got.downcast_ref() == Some(&Oops(1)));
            }
        });
    }
}

#[test]
fn it_is_set_once_and_what_was_refused_comes_back() {
    let result = AsyncResult::new();
    result.set(1).unwrap();
    assert_eq!(result.set(2), Err(2));
    let refused = result.set_exception(Oops(3)).unwrap_err();
    assert_eq!(refused.downcast_ref(), Some(&Oops(3)));
    assert_eq!(result.get().unwrap(), 1);

    let failed = AsyncResult::<u8>::new();
    failed.set_exception(Oops(4)).unwrap();
    assert_eq!(failed.set(5), Err(5));
    assert!(failed.set_exception(Oops(6)).is_err());
    assert!(failed.get().unwrap_err().exception().unwrap().is::<Oops>());
}

// GV-098, GV-097, GV-002
#[test]
fn a_get_in_too_little_time_is_a_timeout() {
    let _watch = watch();
    let check = || {
        let result = AsyncResult::<u8>::new();
        let began = Instant::now();
        assert!(result.get_timeout(Duration::ZERO).unwrap_err().is_timeout());
        assert!(result.get_timeout(ms(10)).unwrap_err().is_timeout());
        assert!(began.elapsed() >= ms(10));
        assert_eq!(result.get_timeout(Duration::ZERO).unwrap_or(9), 9, "a default");
        assert_eq!(time::timeout(ms(1), || result.get().unwrap()).unwrap_or(9), 9, "another one");
        let raised = catch(|| time::timeout_raise(Duration::ZERO, Oops(1), || result.get().unwrap()));
        assert_eq!(raised.unwrap_err().downcast_ref(), Some(&Oops(1)));
        result.set(1).unwrap();
        assert_eq!(result.get_timeout(Duration::ZERO).unwrap(), 1);
        assert_eq!(result.get_timeout(Duration::MAX).unwrap(), 1);
    };
    check();
    run(check);
}

// GV-103
#[test]
fn waiting_for_an_exception_raises_nothing() {
    let failed = AsyncResult::<u8>::new();
    failed.set_exception(Oops(1)).unwrap();
    failed.wait();
    assert!(failed.wait_timeout(Duration::ZERO));
}

// GV-101
#[test]
fn results_cross_threads_both_ways() {
    let _watch = watch();
    for n in 0..200_u32 {
        let (to_task, to_thread) = (AsyncResult::new(), AsyncResult::new());
        let task = spawn({
            let (to_task, to_thread) = (to_task.clone(), to_thread.clone());
            move || to_thread.set(to_task.get().unwrap() + 1).unwrap()
        });
        let outside = thread::spawn(move || {
            to_task.set(n).unwrap();
            to_thread.get().unwrap()
        });
        assert_eq!(outside.join().unwrap(), n + 1);
        task.join().unwrap();
    }
}

#[test]
fn links_run_once_in_their_order_and_before_the_getters() {
    let _watch = watch();
    LocalRuntime::new().run(|| {
        let (result, log) = (AsyncResult::<u32>::new(), Log::default());
        let getter = spawn({
            let (result, log) = (result.clone(), log.clone());
            move || {
                result.get().unwrap();
                log.push("getter");
            }
        });
        yield_now();
        let link = |name: &'static str| {
            let log = log.clone();
            result.link(move |got| log.push(format!("{name} {}", got.as_ref().unwrap())))
        };
        let links = [link("first"), link("second"), link("third")];
        assert!(links[1].unlink() && !links[1].clone().unlink());
        result.set(7).unwrap();
        assert_eq!(log.len(), 0, "who sets it does not wait");
        getter.join().unwrap();
        assert_eq!(log.take(), ["first 7", "third 7", "getter"]);
        let late = link("late");
        yield_now();
        assert_eq!(log.take(), ["late 7"]);
        assert!(!late.unlink() && !links[0].unlink());
    });
}

#[test]
fn links_get_exceptions_too_and_one_that_fails_disturbs_nobody() {
    let _watch = watch();
    for workers in [1, 4] {
        runtime(workers).run(|| {
            let (result, tally) = (AsyncResult::<u8>::new(), Tally::default());
            result.link(|_| panic!("a link that fails: this is reported"));
            let (told, tells) = channel::unbounded();
            let token = tally.token();
            result.link(move |got| {
                let _token = &token;
                told.send(got.as_ref().unwrap_err().exception().cloned()).unwrap();
            });
            let exception = Exception::from(Oops(1));
            thread::scope(|scope| _ = scope.spawn(|| result.set_exception(exception.clone()).unwrap()));
            assert!(tells.recv().unwrap().unwrap().ptr_eq(&exception));
            assert!(tells.recv().is_err(), "it ran once, and is gone");
            until(|| tally.dropped() == 1);
            // One that is never set drops its links.
            let never = AsyncResult::<u8>::new();
            let tokens = [tally.token(), tally.token()];
            let links = tokens.map(|token| never.link(move |_| drop(token)));
            assert!(links[0].unlink());
            assert_eq!(tally.dropped(), 2);
            drop((never, links));
            tally.assert_all_dropped(3);
        });
    }
}

#[test]
fn one_takes_what_all_could_have_got() {
    let _watch = watch();
    let tally = Tally::default();
    let result = AsyncResult::new();
    assert!(result.take().is_none());
    result.set(tally.token()).unwrap();
    let takers: Vec<_> = (0..8)
        .map(|_| {
            let result = result.clone();
            spawn(move || result.take().is_some())
        })
        .collect();
    assert_eq!(takers.into_iter().map(|t| t.join().unwrap()).filter(|&took| took).count(), 1);
    tally.assert_all_dropped(1);
    assert!(result.is_ready());

    let number = AsyncResult::new();
    number.set(1).unwrap();
    assert_eq!(number.take().unwrap().unwrap(), 1);
    let error = number.get().unwrap_err();
    assert!(!error.is_timeout() && !error.is_cancelled() && error.to_string().contains("taken"), "{error}");
}

#[test]
fn what_nobody_gets_is_dropped_once() {
    let tally = Tally::default();
    let result = AsyncResult::new();
    result.set(tally.token()).unwrap();
    assert!(result.set(tally.token()).is_err());
    assert_eq!(tally.dropped(), 1, "the refused one");
    drop(result);
    tally.assert_all_dropped(2);
}

/// A value whose clone waits: getters on other workers must not clone it at the same time.
struct Slow {
    clones: Cell<u32>,
}

impl Clone for Slow {
    fn clone(&self) -> Self {
        let before = self.clones.get();
        yield_now();
        self.clones.set(before + 1);
        Self { clones: Cell::new(0) }
    }
}

#[test]
fn a_clone_that_waits_runs_alone() {
    let _watch = watch();
    for workers in [1, 2, 8] {
        runtime(workers).run(|| {
            let result = AsyncResult::new();
            let getters = waiters(50, {
                let result = result.clone();
                move || _ = result.get().unwrap_or_else(|e| panic!("{e}"))
            });
            result.set(Slow { clones: Cell::new(0) }).unwrap_or_else(|_| panic!("set before"));
            getters.into_iter().for_each(|g| g.join().unwrap());
            assert_eq!(result.take().unwrap().unwrap_or_else(|e| panic!("{e}")).clones.get(), 50);
        });
    }
}

#[test]
fn a_clone_that_panics_leaves_the_result_to_others() {
    #[derive(Debug)]
    struct Moody(Arc<AtomicUsize>);
    impl Clone for Moody {
        fn clone(&self) -> Self {
            assert!(self.0.fetch_add(1, Ordering::SeqCst) > 0, "not the first time");
            Self(self.0.clone())
        }
    }
    let _watch = watch();
    let result = AsyncResult::new();
    result.set(Moody(Arc::default())).unwrap();
    let first = result.clone();
    assert!(spawn(move || drop(first.get())).join().unwrap_err().is_panic());
    assert!(result.get().is_ok());
}

// H16
#[test]
fn a_cancelled_getter_leaves_the_value_to_others() {
    let _watch = watch();
    runtime(1).run(|| {
        let result = AsyncResult::new();
        let getters = waiters(2, {
            let result = result.clone();
            move || result.get().unwrap()
        });
        getters[0].cancel();
        until(|| getters[0].is_finished());
        result.set(5).unwrap();
        getters[1].cancel();
        let ends: Vec<_> = getters.into_iter().map(|g| g.join().ok()).collect();
        assert_eq!(ends, [None, Some(5)], "what has arrived is returned");
    });
}
