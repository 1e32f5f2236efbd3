//! Timeouts and shields: what they end, what passes through them, and whose they are. GV-003 to GV-004, C.4.

#![cfg(feature = "runtime")]

mod common;

use std::cell::{Cell, RefCell};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use common::{FOR_EVER, Log, OnDrop, Tally, hold_thread, ms, panic_text, until, watch};
use osier::generator::ResumeError;
use osier::sync::channel::{self, RecvTimeoutError};
use osier::time::{Elapsed, sleep_until, timeout, timeout_at, timeout_raise, timeout_raise_at};
use osier::{
    Generator, Greenlet, OrRaise, Runtime, Yielder, catch, catch_exit, no_suspend, raise, run, sleep, spawn, task,
    yield_now,
};

#[derive(Clone, Debug, PartialEq, Eq)]
struct Late(u32);

impl std::fmt::Display for Late {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "late by {}", self.0)
    }
}

impl std::error::Error for Late {}

/// Runs a body in a task, and then again on a plain thread.
fn in_task_and_thread(body: impl Fn() + Send + Sync) {
    run(&body);
    body();
}

// GV-077, GV-082
#[test]
fn smoke() {
    let _watch = watch();
    in_task_and_thread(|| {
        let began = Instant::now();
        let late = timeout(ms(10), || sleep(ms(60_000)));
        assert!(late.is_err() && began.elapsed() >= ms(10) && began.elapsed() < ms(10_000));
        assert_eq!(late.unwrap_err().to_string(), "timed out");
        assert_eq!(timeout(ms(60_000), || 1), Ok(1));
        assert_eq!(
            timeout(ms(5), || {
                sleep(ms(60_000));
                1
            })
            .unwrap_or(2),
            2,
            "with_timeout's default"
        );
        let raised = catch(|| timeout(ms(5), || sleep(FOR_EVER)).or_raise());
        assert!(raised.unwrap_err().is::<Elapsed>());
    });
}

fn hold_thread_and_yield(d: Duration) {
    hold_thread(d);
    yield_now();
}

// GV-080
#[test]
fn none_and_a_time_beyond_the_clock_never_fire() {
    let _watch = watch();
    in_task_and_thread(|| {
        assert_eq!(
            timeout(None, || {
                sleep(ms(2));
                1
            }),
            Ok(1)
        );
        assert_eq!(
            timeout(Duration::MAX, || {
                sleep(ms(2));
                2
            }),
            Ok(2)
        );
        assert_eq!(
            timeout(Some(FOR_EVER), || {
                sleep(ms(2));
                3
            }),
            Ok(3)
        );
        assert_eq!(timeout_raise(None, Late(0), || 4), 4);
        // The absent timeout does not hide one around it.
        assert!(timeout(ms(2), || timeout(None, || sleep(FOR_EVER))).is_err());
    });
}

#[test]
fn a_zero_timeout_ends_the_first_wait_but_not_what_need_not_wait() {
    let _watch = watch();
    in_task_and_thread(|| {
        let (sender, receiver) = channel::bounded(1);
        sender.send(1).unwrap();
        assert_eq!(timeout(Duration::ZERO, || receiver.recv().unwrap()), Ok(1));
        assert!(timeout(Duration::ZERO, || receiver.recv()).is_err());
        assert!(timeout(Duration::ZERO, yield_now).is_err());
        assert!(timeout(Duration::ZERO, || sleep(Duration::ZERO)).is_err());
    });
}

// ---- which one fires

// GV-082
#[test]
fn an_outer_expiry_passes_through_an_inner_timeout() {
    let _watch = watch();
    in_task_and_thread(|| {
        let inner = Cell::new(None);
        let outer = timeout(ms(5), || inner.set(Some(timeout(ms(60_000), || sleep(FOR_EVER)))));
        assert!(outer.is_err());
        assert_eq!(inner.take(), None, "the inner call did not return");
        // And the other way round: the inner one is over, the outer one goes on.
        let outer = timeout(ms(60_000), || timeout(ms(5), || sleep(FOR_EVER)));
        assert!(outer.unwrap().is_err());
        // Both over when the wait begins: the one that was over first.
        let both = timeout(Duration::ZERO, || timeout(ms(1), || hold_thread_and_yield(ms(5))));
        assert!(both.is_err());
    });
}

#[test]
fn of_a_hundred_nested_timeouts_the_earliest_fires() {
    let _watch = watch();
    fn nest(depth: u32, shortest: u32, hits: &RefCell<Vec<u32>>) {
        if depth == 100 {
            return sleep(FOR_EVER);
        }
        let d = if depth == shortest { ms(3) } else { FOR_EVER };
        if timeout(d, || nest(depth + 1, shortest, hits)).is_err() {
            hits.borrow_mut().push(depth);
        }
    }
    in_task_and_thread(|| {
        for shortest in [0, 1, 50, 99] {
            let hits = RefCell::new(Vec::new());
            nest(0, shortest, &hits);
            assert_eq!(hits.take(), [shortest]);
        }
    });
}

// GV-083: a foreign expiry, raised as an error of the same type, is not this call's.
#[test]
fn an_elapsed_that_somebody_raises_is_an_ordinary_exception() {
    let _watch = watch();
    in_task_and_thread(|| {
        let foreign = timeout(ms(1), || sleep(FOR_EVER)).unwrap_err();
        let passed = catch(|| timeout(ms(60_000), || raise(foreign)));
        assert!(passed.unwrap_err().is::<Elapsed>());
    });
}

// GV-004
#[test]
fn a_region_ends_a_wait_that_has_a_longer_limit_of_its_own_and_unlinks_it() {
    let _watch = watch();
    in_task_and_thread(|| {
        let (sender, receiver) = channel::bounded(1);
        let returned = Cell::new(false);
        let outer = timeout(ms(2), || {
            _ = receiver.recv_timeout(ms(60_000));
            returned.set(true);
        });
        assert!(outer.is_err() && !returned.get());
        // Nobody waits any more: the value is not swallowed.
        sender.send(7).unwrap();
        assert_eq!(receiver.try_recv().ok(), Some(7));
    });
}

#[test]
fn a_wait_returns_for_its_own_limit_if_that_is_shorter() {
    let _watch = watch();
    in_task_and_thread(|| {
        let (_sender, receiver) = channel::bounded::<u8>(1);
        let inner = timeout(ms(60_000), || receiver.recv_timeout(ms(2)));
        assert_eq!(inner, Ok(Err(RecvTimeoutError::Timeout)));
    });
}

// GV-089
#[test]
fn an_expiry_is_no_exception_no_exit_and_no_panic() {
    let _watch = watch();
    in_task_and_thread(|| {
        let log = Log::default();
        let late = timeout(ms(2), || {
            let _dropped = log.at_drop("unwound");
            _ = catch(|| sleep(FOR_EVER));
            log.push("after catch");
            _ = catch_exit(|| sleep(FOR_EVER));
            log.push("after catch_exit");
        });
        assert!(late.is_err());
        assert_eq!(log.take(), ["unwound"]);
        let late = timeout(ms(2), || osier::catch_unwind(|| sleep(FOR_EVER)).is_ok());
        assert!(late.is_err());
        let late = timeout(ms(2), || catch_exit(|| sleep(FOR_EVER)).is_ok());
        assert!(late.is_err());
    });
}

#[test]
fn an_expiry_that_std_swallows_is_thrown_again_while_its_region_lasts() {
    let _watch = watch();
    in_task_and_thread(|| {
        let swallowed = Cell::new(0);
        let late = timeout(ms(2), || {
            while swallowed.get() < 3 {
                _ = catch_unwind(|| sleep(FOR_EVER));
                swallowed.set(swallowed.get() + 1);
            }
            sleep(FOR_EVER);
        });
        assert!(late.is_err());
        assert_eq!(swallowed.get(), 3);
        // One that is swallowed for good is gone with its region.
        assert_eq!(timeout(ms(2), || catch_unwind(|| sleep(FOR_EVER)).is_err()), Ok(true));
        sleep(ms(1));
    });
}

#[test]
fn an_expiry_that_was_kept_and_thrown_later_is_nobodys() {
    let _watch = watch();
    run(|| {
        let kept = timeout(ms(2), || catch_unwind(|| sleep(FOR_EVER)).unwrap_err()).unwrap();
        let passed = catch_unwind(AssertUnwindSafe(|| timeout(ms(60_000), || std::panic::resume_unwind(kept))));
        assert!(passed.is_err(), "another region, perhaps at the same place on the stack, does not take it");
    });
}

#[test]
fn panics_exceptions_and_exits_pass_through_a_timeout() {
    let _watch = watch();
    in_task_and_thread(|| {
        assert_eq!(panic_text(|| timeout(ms(60_000), || panic!("mine"))), "mine");
        let raised = catch(|| timeout(ms(60_000), || raise(Late(1))));
        assert_eq!(raised.unwrap_err().downcast_ref(), Some(&Late(1)));
        let mut g = Generator::new(|y: &Yielder<u32>| timeout(FOR_EVER, || y.yield_(1)).unwrap());
        assert_eq!(g.next(), Some(1));
        assert!(g.close().unwrap().is_none());
    });
    let (started, starts) = channel::bounded(1);
    let t = spawn(move || {
        timeout(FOR_EVER, || {
            started.send(()).unwrap();
            sleep(FOR_EVER);
        })
    });
    starts.recv().unwrap();
    t.cancel();
    assert!(t.join().unwrap_err().is_cancelled());
}

// ---- timeout_raise

// GV-076, GV-079
#[test]
fn timeout_raise_raises_its_very_exception_once() {
    let _watch = watch();
    in_task_and_thread(|| {
        let exception = osier::Exception::from(Late(7));
        let caught = catch(|| timeout_raise(ms(2), exception.clone(), || sleep(FOR_EVER))).unwrap_err();
        assert!(caught.ptr_eq(&exception));
        // Caught inside, it is over.
        let value = catch(|| {
            timeout_raise(ms(2), exception.clone(), || {
                let inside = catch(|| sleep(FOR_EVER)).unwrap_err();
                assert!(inside.ptr_eq(&exception));
                sleep(ms(5));
                3
            })
        });
        assert_eq!(value.unwrap(), 3);
        assert_eq!(timeout_raise(ms(60_000), exception, || 4), 4);
    });
}

#[test]
fn timeout_raise_where_nobody_catches() {
    let _watch = watch();
    // On a plain thread: a panic with the text.
    assert_eq!(panic_text(|| timeout_raise(ms(1), Late(3), || sleep(FOR_EVER))), "late by 3");
    // In a task: the task's error.
    let error = spawn(|| timeout_raise(ms(1), Late(4), || sleep(FOR_EVER))).join().unwrap_err();
    assert_eq!(error.exception().unwrap().downcast_ref(), Some(&Late(4)));
}

#[test]
fn the_times_of_timeout_and_timeout_raise_nest() {
    let _watch = watch();
    in_task_and_thread(|| {
        let outer = timeout(ms(2), || timeout_raise(ms(60_000), Late(1), || sleep(FOR_EVER)));
        assert!(outer.is_err());
        let inner = timeout(ms(60_000), || catch(|| timeout_raise(ms(2), Late(2), || sleep(FOR_EVER))));
        assert!(inner.unwrap().unwrap_err().is::<Late>());
    });
}

// ---- a value that has arrived

#[test]
fn a_value_that_has_arrived_is_delivered_though_the_time_is_over() {
    let _watch = watch();
    let runtime = Runtime::builder().workers(1).build().unwrap();
    runtime.run(|| {
        let (sender, receiver) = channel::bounded(1);
        let (asked, asks) = channel::bounded(1);
        // Waits until the receiver waits, sends, and holds the worker until the time is over.
        let helper = spawn(move || {
            asks.recv().unwrap();
            sender.send(42).unwrap();
            hold_thread(ms(20));
        });
        let got = Cell::new(0);
        let late = timeout(ms(5), || {
            asked.send(()).unwrap();
            got.set(receiver.recv().unwrap());
            // The next wait of the region ends it.
            sleep(ms(60_000));
        });
        assert!(late.is_err());
        assert_eq!(got.get(), 42);
        helper.join().unwrap();
    });
}

// GV-085
#[test]
fn a_loop_of_yields_does_not_starve_the_clock() {
    let _watch = watch();
    in_task_and_thread(|| {
        assert!(
            timeout(ms(10), || loop {
                yield_now();
            })
            .is_err()
        );
        assert!(
            timeout(ms(10), || loop {
                sleep(Duration::ZERO);
            })
            .is_err()
        );
    });
}

// GV-086
#[test]
fn a_loop_that_computes_is_not_interrupted() {
    let _watch = watch();
    in_task_and_thread(|| {
        let began = Instant::now();
        let computed = timeout(ms(5), || {
            while began.elapsed() < ms(20) {
                std::hint::spin_loop();
            }
            "done"
        });
        assert_eq!(computed, Ok("done"));
    });
}

// ---- what f may do meanwhile

#[test]
fn a_join_is_given_up_and_the_child_runs_on() {
    let _watch = watch();
    let runtime = Runtime::builder().workers(1).build().unwrap();
    runtime.run(|| {
        // A fresh child, joined in place: it waits, and the joiner's time counts.
        let ran = Arc::new(AtomicBool::new(false));
        let (stop, stopped) = channel::bounded::<()>(0);
        let child = spawn({
            let ran = ran.clone();
            move || {
                _ = stopped.recv();
                ran.store(true, Ordering::SeqCst);
            }
        });
        let began = Instant::now();
        assert!(timeout(ms(10), || child.join().unwrap()).is_err());
        assert!(began.elapsed() >= ms(10) && began.elapsed() < ms(1000), "{:?}", began.elapsed());
        drop(stop);
        until(|| ran.load(Ordering::SeqCst));
    });
}

// A fresh child, joined in place, that sleeps for longer than its joiner has time.
#[test]
fn a_join_of_one_that_sleeps_is_given_up_in_time() {
    let _watch = watch();
    let runtime = Runtime::builder().workers(1).build().unwrap();
    let took = runtime.run(|| {
        let once = |_| {
            let child = spawn(|| sleep(ms(1000)));
            let task = child.task();
            let began = Instant::now();
            assert!(timeout(ms(10), || child.join()).is_err());
            let took = began.elapsed();
            assert!(took >= ms(10) && !task.is_finished());
            task.kill();
            took
        };
        // The machine may be busy with other tests: one of these is not held up.
        (0..20).map(once).min().unwrap()
    });
    assert!(took <= ms(12), "{took:?}");
}

#[test]
fn one_deadline_holds_for_several_steps() {
    let _watch = watch();
    in_task_and_thread(|| {
        let deadline = Instant::now() + ms(20);
        let steps = Cell::new(0);
        while timeout_at(deadline, || sleep(ms(2))).is_ok() {
            steps.set(steps.get() + 1);
        }
        assert!(Instant::now() >= deadline && steps.get() < 10, "{steps:?}");
        // One that has passed ends the first wait, and not what need not wait.
        assert!(timeout_at(deadline, || sleep(FOR_EVER)).is_err());
        assert_eq!(timeout_at(deadline, || 7), Ok(7));
        let raised = catch(|| timeout_raise_at(Instant::now() + ms(2), Late(5), || sleep(FOR_EVER)));
        assert_eq!(raised.unwrap_err().downcast_ref(), Some(&Late(5)));
        assert_eq!(timeout_raise_at(Instant::now() + ms(60_000), Late(6), || 8), 8);
    });
}

#[test]
fn run_is_ended_by_the_clock_and_its_task_with_it() {
    let _watch = watch();
    in_task_and_thread(|| {
        let tally = Tally::default();
        let late = timeout(ms(5), || {
            run(|| {
                let _token = tally.token();
                sleep(FOR_EVER);
            });
        });
        assert!(late.is_err());
        tally.assert_all_dropped(1);
    });
}

#[test]
fn destructors_that_wait_during_an_expiry_run_to_their_end() {
    let _watch = watch();
    in_task_and_thread(|| {
        let log = Log::default();
        let late = timeout(ms(2), || {
            let _waits = OnDrop(|| {
                sleep(ms(5));
                log.push("destructor ended");
            });
            sleep(FOR_EVER);
        });
        assert!(late.is_err());
        assert_eq!(log.take(), ["destructor ended"]);
    });
}

#[test]
fn a_destructor_may_use_a_timeout_of_its_own_during_an_unwind() {
    let _watch = watch();
    in_task_and_thread(|| {
        let ended = Cell::new(None);
        let panicked = catch_unwind(AssertUnwindSafe(|| {
            let _waits = OnDrop(|| ended.set(Some(timeout(ms(2), || sleep(FOR_EVER)))));
            panic!("on purpose");
        }));
        assert!(panicked.is_err());
        assert!(ended.take().unwrap().is_err());
        // Also in the unwind of an expiry around it.
        let late = timeout(ms(2), || {
            let _waits = OnDrop(|| ended.set(Some(timeout(ms(2), || sleep(FOR_EVER)))));
            sleep(FOR_EVER);
        });
        assert!(late.is_err() && ended.take().unwrap().is_err());
    });
}

#[test]
fn many_tasks_time_out_each_on_its_own() {
    let _watch = watch();
    let hits = Arc::new(AtomicUsize::new(0));
    run(|| {
        let tasks: Vec<_> = (0..1000_u64)
            .map(|n| {
                let hits = hits.clone();
                spawn(move || {
                    let (_sender, receiver) = channel::bounded::<u8>(1);
                    let late = timeout(ms(n % 20), || receiver.recv());
                    assert!(late.is_err());
                    hits.fetch_add(1, Ordering::SeqCst);
                })
            })
            .collect();
        tasks.into_iter().for_each(|t| t.join().unwrap());
    });
    assert_eq!(hits.load(Ordering::SeqCst), 1000);
}

// ---- generators and greenlets: a region belongs to the coroutine that opened it

#[test]
fn a_region_does_not_act_while_its_generator_is_suspended() {
    let _watch = watch();
    in_task_and_thread(|| {
        let mut g = Generator::new(|y: &Yielder<&str>| {
            let late = timeout(ms(3), || {
                loop {
                    y.yield_("inside");
                }
            });
            y.yield_(if late.is_err() { "expired" } else { "not expired" });
        });
        assert_eq!(g.next(), Some("inside"));
        // Whoever resumed it waits undisturbed, for longer than that.
        sleep(ms(10));
        assert_eq!(g.next(), Some("expired"), "thrown when it is next resumed");
        assert_eq!(g.next(), None);
    });
}

#[test]
fn a_region_goes_on_when_its_generator_is_resumed_in_time() {
    let _watch = watch();
    in_task_and_thread(|| {
        let mut g = Generator::new(|y: &Yielder<u32>| {
            let late = timeout(ms(60_000), || {
                y.yield_(1);
                sleep(ms(1));
                y.yield_(2);
                3
            });
            y.yield_(late.unwrap());
        });
        assert_eq!(g.by_ref().collect::<Vec<_>>(), [1, 2, 3]);
    });
}

#[test]
fn the_value_sent_to_an_expired_generator_is_dropped_and_the_error_is_its_own() {
    let _watch = watch();
    in_task_and_thread(|| {
        let tally = Tally::default();
        let mut g = Generator::new(|y: &Yielder<u32, common::Token>| {
            let late = timeout(ms(2), || drop(y.yield_(1)));
            if late.is_err() { "late" } else { "in time" }
        });
        assert!(matches!(g.start(), Ok(osier::Step::Yielded(1))));
        sleep(ms(5));
        assert!(matches!(g.send(tally.token()), Ok(osier::Step::Returned("late"))));
        tally.assert_all_dropped(1);
        // Thrown into and closed generators see what was thrown, not the clock.
        let make = || {
            let mut g = Generator::new(|y: &Yielder<u32>| timeout(ms(1), || y.yield_(1)).unwrap());
            g.next();
            sleep(ms(3));
            g
        };
        assert!(matches!(make().throw(Late(1)), Err(ResumeError::Raised(e)) if e.is::<Late>()));
        assert!(make().close().unwrap().is_none());
        drop(make());
    });
}

#[test]
fn a_region_around_a_generators_resume_ends_waits_inside_it() {
    let _watch = watch();
    in_task_and_thread(|| {
        let tally = Tally::default();
        let mut g = Generator::new({
            let tally = tally.clone();
            move |y: &Yielder<u32>| {
                let _token = tally.token();
                y.yield_(1);
                sleep(FOR_EVER);
            }
        });
        assert_eq!(g.next(), Some(1));
        // The wait is in the generator, the region in whoever resumes it: it unwinds both, inner first.
        assert!(timeout(ms(3), || g.next()).is_err());
        tally.assert_all_dropped(1);
        assert_eq!(g.next(), None, "it has ended");
    });
}

#[test]
fn a_yield_is_no_wait_of_the_regions_around_the_resume() {
    let _watch = watch();
    in_task_and_thread(|| {
        let mut g = Generator::new(|y: &Yielder<u32>| y.yield_all(1..=3));
        let late = timeout(Duration::ZERO, || g.by_ref().sum::<u32>());
        assert_eq!(late, Ok(6), "no wait, no end");
    });
}

#[test]
fn a_region_in_the_middle_of_a_chain_unwinds_what_is_on_top_of_it_alone() {
    let _watch = watch();
    in_task_and_thread(|| {
        let log = Log::default();
        let outer = Generator::new({
            let log = log.clone();
            move |y: &Yielder<u32>| {
                let _outer = log.at_drop("outer");
                let late = timeout(ms(3), || {
                    let _region = log.at_drop("in the region");
                    let inner = Generator::new({
                        let log = log.clone();
                        move |_: &Yielder<u32>| {
                            let _inner = log.at_drop("inner");
                            sleep(FOR_EVER);
                        }
                    });
                    inner.for_each(drop);
                });
                assert!(late.is_err());
                log.push("expired");
                y.yield_(1);
            }
        });
        assert_eq!(outer.collect::<Vec<_>>(), [1]);
        assert_eq!(log.take(), ["inner", "in the region", "expired", "outer"]);
    });
}

#[test]
fn an_outer_generator_suspended_through_an_inner_one_expires_there() {
    let _watch = watch();
    in_task_and_thread(|| {
        let mut outer = Generator::new(|y: &Yielder<&'static str>| {
            let y: *const Yielder<&'static str> = y;
            let late = timeout(ms(2), || {
                let inner = Generator::new(move |_: &Yielder<u32>| {
                    // SAFETY: the outer body, whose yielder it is, outlives this generator.
                    unsafe { &*y }.yield_("through the inner one");
                });
                inner.for_each(drop);
            });
            // SAFETY: it is this body's own.
            unsafe { &*y }.yield_(if late.is_err() { "expired" } else { "not expired" });
        });
        assert_eq!(outer.next(), Some("through the inner one"));
        sleep(ms(5));
        assert_eq!(outer.next(), Some("expired"));
        assert_eq!(outer.next(), None);
    });
}

#[test]
fn a_generator_with_an_open_region_may_be_dropped_or_forgotten_or_move_to_other_code() {
    let _watch = watch();
    in_task_and_thread(|| {
        let make = || {
            let mut g = Generator::new(|y: &Yielder<u32>| {
                timeout(ms(2), || {
                    loop {
                        y.yield_(1);
                    }
                })
                .unwrap_err()
            });
            assert!(matches!(g.start(), Ok(osier::Step::Yielded(1))));
            g
        };
        drop(make());
        std::mem::forget(make());
        let mut moved = make();
        sleep(ms(5));
        // Resumed from within another region, and another generator.
        let late = timeout(FOR_EVER, || {
            Generator::new(move |_: &Yielder<u32>| {
                assert!(matches!(moved.send(()), Ok(osier::Step::Returned(_))));
            })
            .count()
        });
        assert_eq!(late, Ok(0));
    });
}

#[test]
fn a_greenlets_region_expires_when_it_is_switched_to_again() {
    let _watch = watch();
    in_task_and_thread(|| {
        let root = Greenlet::<&str>::current();
        let g = Greenlet::new({
            let root = root.clone();
            move |_| {
                let late = timeout(ms(3), || {
                    loop {
                        root.switch("inside");
                    }
                });
                if late.is_err() { "expired" } else { "not expired" }
            }
        });
        assert_eq!(g.switch("go"), "inside");
        sleep(ms(10));
        assert_eq!(g.switch("go on"), "expired");
        assert!(g.is_dead());
        // A root's region: it counts while greenlets above it run, and what they bring is delivered.
        let back = Greenlet::new(|v| {
            hold_thread(ms(5));
            v
        });
        assert_eq!(timeout(ms(1), || back.switch("value")), Ok("value"));
        let waits = Greenlet::new(|v| {
            sleep(FOR_EVER);
            v
        });
        assert!(timeout(ms(3), || waits.switch("")).is_err());
        assert!(waits.is_dead());
    });
}

#[test]
fn a_region_around_a_greenlets_switch_does_not_hold_for_its_siblings() {
    let _watch = watch();
    in_task_and_thread(|| {
        let root = Greenlet::<u32>::current();
        let a = Greenlet::new({
            let root = root.clone();
            move |n| {
                let late = timeout(ms(3), || root.switch(n + 1));
                late.map_or(100, |n| n)
            }
        });
        assert_eq!(a.switch(1), 2);
        // `a` is suspended in its region; the others wait as long as they like.
        let b = Greenlet::new(|n| {
            sleep(ms(10));
            n + 10
        });
        assert_eq!(b.switch(1), 11);
        assert_eq!(a.switch(1), 100);
    });
}

// What a throw comes back with is late as what a switch does.
#[test]
fn a_greenlets_region_expires_in_a_throw_to_a_sibling() {
    let _watch = watch();
    in_task_and_thread(|| {
        for exits in [false, true] {
            let root = Greenlet::<u32>::current();
            let a = Greenlet::new({
                let root = root.clone();
                move |n| {
                    let me = Greenlet::current();
                    let b = Greenlet::with_parent(&root, move |n| {
                        if exits {
                            assert!(catch_exit(|| me.switch(n)).is_err());
                        } else {
                            assert!(catch(|| me.switch(n)).is_err());
                        }
                        hold_thread(ms(5));
                        me.switch(n)
                    });
                    b.switch(n);
                    let late = timeout(ms(1), || if exits { b.throw_exit(2) } else { b.throw(std::fmt::Error) });
                    if late.is_err() { 100 } else { 1 }
                }
            });
            assert_eq!(a.switch(1), 100);
        }
    });
}

// Whoever is resumed on top of whom: a switch straight to a sibling leaves the region, one to a child does not.
#[test]
fn a_greenlets_region_holds_for_its_children_and_not_for_its_siblings() {
    let _watch = watch();
    in_task_and_thread(|| {
        // As the root's child, and one and two greenlets further up.
        for above in 0..3 {
            let log = std::rc::Rc::new(std::cell::RefCell::new(Vec::new()));
            let opener = {
                let log = log.clone();
                move |n: u32| {
                    let sibling = Greenlet::with_parent(&osier::greenlet::parent(), {
                        let log = log.clone();
                        move |n| {
                            sleep(ms(10));
                            log.borrow_mut().push("sibling");
                            n + 1
                        }
                    });
                    // It ends, and what it returns goes to the parent of both.
                    assert!(timeout(ms(1), || sibling.switch(n)).is_err());
                    log.borrow_mut().push("opener");
                    let child = Greenlet::new(|n| {
                        sleep(FOR_EVER);
                        n
                    });
                    assert!(timeout(ms(1), || child.switch(n)).is_err() && child.is_dead());
                    log.borrow_mut().push("child");
                    n + 100
                }
            };
            let mut body: Box<dyn FnOnce(u32) -> u32> = Box::new(move |n| {
                let g = Greenlet::new(opener);
                assert_eq!(g.switch(n), n + 1);
                g.switch(0)
            });
            for _ in 0..above {
                let inner = body;
                body = Box::new(move |n| Greenlet::new(inner).switch(n));
            }
            assert_eq!(body(5), 100 + 5);
            assert_eq!(*log.borrow(), ["sibling", "opener", "child"]);
        }
    });
}

// ---- shields

#[test]
fn a_shield_puts_a_cancel_off_until_the_first_wait_behind_it() {
    let _watch = watch();
    let log = Log::default();
    let (started, starts) = channel::bounded(1);
    let t = spawn({
        let log = log.clone();
        move || {
            let value = task::shield(|| {
                started.send(()).unwrap();
                while !task::is_cancelled() {
                    sleep(ms(1));
                }
                sleep(ms(1));
                log.push("inside");
                5
            });
            log.push(format!("value {value}"));
            sleep(FOR_EVER);
            log.push("never");
        }
    });
    starts.recv().unwrap();
    t.cancel();
    assert!(t.join().unwrap_err().is_cancelled());
    assert_eq!(log.take(), ["inside", "value 5"]);
}

#[test]
fn a_shield_puts_outer_timeouts_off_and_lets_inner_ones_act() {
    let _watch = watch();
    in_task_and_thread(|| {
        let log = Log::default();
        let late = timeout(ms(2), || {
            task::shield(|| {
                sleep(ms(6));
                log.push("slept");
                assert!(timeout(ms(2), || sleep(FOR_EVER)).is_err());
                log.push("inner");
            });
            sleep(FOR_EVER);
        });
        assert!(late.is_err());
        assert_eq!(log.take(), ["slept", "inner"]);
    });
}

#[test]
fn a_shield_does_not_lift_no_suspend() {
    let _watch = watch();
    in_task_and_thread(|| {
        let text = panic_text(|| no_suspend(|| task::shield(|| sleep(ms(1)))));
        assert!(text.starts_with("cannot wait inside `no_suspend`"), "{text}");
    });
}

#[test]
fn a_shield_in_a_generator_holds_only_while_it_runs() {
    let _watch = watch();
    let (started, starts) = channel::bounded(1);
    let log = Log::default();
    let t = spawn({
        let log = log.clone();
        move || {
            let mut g = Generator::new({
                let log = log.clone();
                move |y: &Yielder<u32>| {
                    task::shield(|| {
                        y.yield_(1);
                        sleep(ms(1));
                        log.push("shielded");
                    });
                    sleep(FOR_EVER);
                }
            });
            assert_eq!(g.next(), Some(1));
            started.send(()).unwrap();
            // Not shielded here, though the generator is suspended in its shield.
            assert!(catch_exit(|| sleep(FOR_EVER)).is_err());
            log.push("cancelled outside");
            g.next();
        }
    });
    starts.recv().unwrap();
    t.cancel();
    until({
        let log = log.clone();
        move || log.len() == 2
    });
    t.cancel();
    assert!(t.join().unwrap_err().is_cancelled());
    assert_eq!(log.take(), ["cancelled outside", "shielded"]);
}

#[test]
fn an_exception_thrown_into_a_shielded_task_waits_for_the_end_of_the_shield() {
    let _watch = watch();
    let (started, starts) = channel::bounded(1);
    let (go_on, may_go_on) = channel::bounded::<()>(0);
    let t = spawn(move || {
        task::shield(|| {
            started.send(()).unwrap();
            _ = may_go_on.recv();
        });
        catch(|| sleep(FOR_EVER)).unwrap_err().downcast_ref::<Late>().cloned()
    });
    starts.recv().unwrap();
    t.throw(Late(9));
    drop(go_on);
    assert_eq!(t.join().unwrap(), Some(Late(9)));
}

#[test]
fn a_shielded_task_ends_a_shutdown_late_but_is_not_left_behind() {
    let _watch = watch();
    let runtime = Runtime::builder().workers(1).build().unwrap();
    let done = Arc::new(AtomicBool::new(false));
    let (started, starts) = channel::bounded(1);
    let t = runtime.spawn({
        let done = done.clone();
        move || {
            task::shield(|| {
                started.send(()).unwrap();
                sleep(ms(20));
                done.store(true, Ordering::SeqCst);
            });
        }
    });
    starts.recv().unwrap();
    runtime.shutdown(Duration::from_secs(20)).unwrap();
    assert!(done.load(Ordering::SeqCst) && t.join().is_ok());
}

#[test]
fn a_neighbour_parked_in_an_unwind_does_not_disturb_timeouts() {
    let _watch = watch();
    let runtime = Runtime::builder().workers(1).build().unwrap();
    runtime.run(|| {
        let (started, starts) = channel::bounded(1);
        let (end, ends) = channel::bounded::<()>(0);
        let unwinding = spawn(move || {
            let _waits = OnDrop(move || {
                started.send(()).unwrap();
                _ = ends.recv();
            });
            panic!("on purpose");
        });
        starts.recv().unwrap();
        assert!(timeout(ms(2), || sleep(FOR_EVER)).is_err());
        let until_later = Instant::now() + ms(2);
        assert!(timeout(FOR_EVER, || sleep_until(until_later)).is_ok());
        drop(end);
        assert!(unwinding.join().unwrap_err().is_panic());
    });
}

#[test]
fn a_region_of_a_shared_generator_follows_it_from_task_to_task() {
    let _watch = watch();
    run(|| {
        let g = Rc::new(RefCell::new(Generator::new(|y: &Yielder<bool>| {
            let late = timeout(ms(2), || y.yield_(false));
            y.yield_(late.is_err());
        })));
        assert_eq!(g.borrow_mut().next(), Some(false));
        sleep(ms(4));
        assert_eq!(g.borrow_mut().next(), Some(true));
    });
}
