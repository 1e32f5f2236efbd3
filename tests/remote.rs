//! Generators whose body runs as a task: the same calls, in lock step and ahead.

#![cfg(feature = "runtime")]

mod common;

use std::panic::{self, AssertUnwindSafe};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use common::{Log, OnDrop, lock, ms, panic_text, until, watch};
use osier::exception::{Report, catch, set_report_hook};
use osier::generator::{ResumeError, State};
use osier::pool::Remote;
use osier::sync::Event;
use osier::{Generator, Runtime, Step, Yielder, run, spawn, task, time, yield_now};

fn runtime(workers: usize) -> Runtime {
    Runtime::builder().workers(workers).build().unwrap()
}

#[derive(Debug, PartialEq, Eq)]
struct Oops(u32);

impl std::fmt::Display for Oops {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "oops {}", self.0)
    }
}

impl std::error::Error for Oops {}

/// Adds up what is sent in; an exception resets the sum, and a negative number ends it.
fn summing(log: Log) -> impl FnOnce(&Yielder<i32, i32>) -> &'static str + Send + 'static {
    move |y| {
        let _end = log.at_drop("unwound");
        let mut sum = 0;
        loop {
            match y.try_yield(sum) {
                Ok(n) if n < 0 => return "negative",
                Ok(n) => sum += n,
                Err(_) => sum = 0,
            }
        }
    }
}

#[test]
fn it_answers_as_a_generator_does() {
    let _watch = watch();
    for workers in [1, 2] {
        runtime(workers).run(|| {
            let logs = [Log::default(), Log::default()];
            let mut here = Generator::builder(summing(logs[0].clone())).build();
            let mut there = Generator::builder(summing(logs[1].clone())).name("there").spawn();
            assert_eq!((there.name(), there.state()), ("there", State::New));
            macro_rules! both {
                ($call:ident $arguments:tt) => {
                    assert_eq!(format!("{:?}", here.$call $arguments), format!("{:?}", there.$call $arguments))
                };
            }
            both!(send(1));
            both!(start());
            both!(start());
            both!(send(5));
            both!(send(6));
            both!(throw(Oops(1)));
            both!(state());
            both!(send(7));
            both!(send(-1));
            both!(send(8));
            both!(start());
            both!(throw(Oops(2)));
            both!(close());
            both!(state());
            assert_eq!(logs[0].take(), logs[1].take());
        });
    }
}

#[test]
fn closing_unwinds_the_body_over_there() {
    let _watch = watch();
    run(|| {
        let log = Log::default();
        let mut sums = Generator::builder(summing(log.clone())).spawn();
        sums.start().unwrap();
        assert_eq!(sums.close().unwrap(), None);
        assert_eq!(log.take(), ["unwound"]);
        assert!(matches!(sums.send(1), Err(ResumeError::Finished(1))));

        let mut returns =
            Generator::builder(
                |y: &Yielder<u8>| {
                    if osier::catch_exit(|| y.yield_(1)).is_err() { "closed" } else { "went on" }
                },
            )
            .spawn();
        returns.start().unwrap();
        assert_eq!(returns.close().unwrap(), Some("closed"));

        let mut fresh = Generator::builder(|_: &Yielder<u8>| unreachable!("it never starts")).spawn::<u8, (), ()>();
        assert_eq!(fresh.close().unwrap(), None);
        let mut stubborn = Generator::builder(|y: &Yielder<u8>| {
            _ = osier::catch_exit(|| y.yield_(1));
            y.yield_(2);
        })
        .spawn();
        stubborn.start().unwrap();
        assert!(matches!(stubborn.close(), Err(ResumeError::IgnoredClose)));
        assert_eq!(stubborn.send(()).unwrap(), Step::Returned(()));
    });
}

#[test]
fn panics_and_exceptions_come_back() {
    let _watch = watch();
    run(|| {
        let panicking = || Generator::builder(|_: &Yielder<u8>| -> () { panic!("over there") });
        assert_eq!(panic_text(|| panicking().spawn().start().is_ok()), "over there");
        assert_eq!(panic_text(|| panicking().spawn_ahead(3).next()), "over there");
        let raising = || {
            Generator::builder(|y: &Yielder<u8>| {
                y.yield_(1);
                osier::raise(Oops(3));
            })
        };
        let mut lock_step = raising().spawn::<u8, (), ()>();
        assert_eq!(lock_step.start().unwrap(), Step::Yielded(1));
        match lock_step.send(()) {
            Err(ResumeError::Raised(e)) => assert_eq!(e.downcast_ref::<Oops>(), Some(&Oops(3))),
            other => panic!("{other:?}"),
        }
        let mut ahead = raising().spawn_ahead::<u8, ()>(3);
        assert_eq!(ahead.next(), Some(1));
        assert!(catch(|| ahead.next()).unwrap_err().is::<Oops>());
        assert_eq!(ahead.next(), None);
    });
}

#[test]
fn items_come_in_order_and_the_value_last() {
    let _watch = watch();
    for workers in [1, 2] {
        for ahead in [0, 1, 2, 100] {
            runtime(workers).run(|| {
                let body = |y: &Yielder<u32>| {
                    (0..500).for_each(|n| y.yield_(n));
                    "done"
                };
                let builder = Generator::builder(body);
                let mut items: Remote<u32, (), &str> =
                    if ahead == 0 { builder.spawn() } else { builder.spawn_ahead(ahead) };
                assert!(items.by_ref().eq(0..500));
                assert_eq!((items.take_return(), items.next(), items.state()), (Some("done"), None, State::Finished));
            });
        }
    }
}

#[test]
fn it_looks_ahead_so_far_and_no_farther() {
    let _watch = watch();
    run(|| {
        for n in [1, 3, 10] {
            let produced = Arc::new(AtomicUsize::new(0));
            let count = produced.clone();
            let mut items = Generator::builder(move |y: &Yielder<usize>| {
                for n in 0.. {
                    count.fetch_add(1, Ordering::SeqCst);
                    y.yield_(n);
                }
            })
            .spawn_ahead::<usize, ()>(n);
            until(|| produced.load(Ordering::SeqCst) == n);
            (0..20).for_each(|_| yield_now());
            assert_eq!(produced.load(Ordering::SeqCst), n);
            assert_eq!(items.next(), Some(0));
            until(|| produced.load(Ordering::SeqCst) == n + 1);
        }
    });
    assert!(panic_text(|| Generator::builder(|_: &Yielder<u8>| ()).spawn_ahead(0).next()).contains("at least one"));
}

#[test]
fn throw_and_close_pass_over_what_was_produced_ahead() {
    let _watch = watch();
    run(|| {
        let body = |y: &Yielder<i32>| {
            let mut n = 0;
            loop {
                match y.try_yield(n) {
                    Ok(()) => n += 1,
                    Err(_) => n = 1000,
                }
            }
        };
        let mut items = Generator::builder(body).spawn_ahead::<i32, ()>(5);
        assert_eq!((items.next(), items.next()), (Some(0), Some(1)));
        assert_eq!(items.throw(Oops(1)).unwrap(), Step::Yielded(1000));
        assert_eq!((items.next(), items.next()), (Some(1001), Some(1002)));
        assert_eq!(items.close().unwrap(), None);
        assert_eq!((items.next(), items.state()), (None, State::Finished));
        // One that has ended ahead of the throw has ended.
        let mut short = Generator::builder(|y: &Yielder<u8>| y.yield_(1)).spawn_ahead(5);
        assert_eq!(short.next(), Some(1));
        assert!(matches!(short.throw(Oops(2)), Err(ResumeError::Raised(_))));
        assert_eq!(short.next(), None);
    });
}

/// A body that yields one item and comes to its end ahead of whoever takes it: with an exception, a panic or a value.
fn ends_ahead(how: &str, log: &Log) -> Remote<u8, (), u32> {
    let (ended, at_end, how) = (Event::new(), log.clone(), how.to_owned());
    let end = ended.clone();
    let body = move |y: &Yielder<u8>| {
        y.yield_(1);
        let _end = OnDrop(|| {
            at_end.push("ended");
            end.set();
        });
        match &*how {
            "raises" => osier::raise(Oops(7)),
            "panics" => panic!("ahead of its time"),
            _ => 42,
        }
    };
    let mut items = Generator::builder(body).name("ahead").spawn_ahead::<u8, u32>(3);
    assert_eq!(items.next(), Some(1));
    ended.wait();
    items
}

/// What is reported of generators called "ahead" while `f` runs, which is as much as `count` at least.
fn reports(count: usize, f: impl FnOnce()) -> Vec<String> {
    static ALONE: Mutex<()> = Mutex::new(());
    let _alone = lock(&ALONE);
    let log = Log::default();
    let seen = log.clone();
    let before = set_report_hook(move |report| match report {
        Report::RaisedInDrop { name: "ahead", exception, .. } => seen.push(exception.to_string()),
        _ => eprintln!("{report}"),
    });
    f();
    until(|| log.len() >= count);
    drop(set_report_hook(before));
    log.take()
}

#[test]
fn a_close_tells_how_a_body_has_ended_ahead() {
    let _watch = watch();
    for workers in [1, 2] {
        let seen = reports(0, || {
            runtime(workers).run(|| {
                let log = Log::default();
                match ends_ahead("raises", &log).close() {
                    Err(ResumeError::Raised(e)) => assert_eq!(e.downcast_ref::<Oops>(), Some(&Oops(7))),
                    other => panic!("{other:?}"),
                }
                assert_eq!(ends_ahead("returns", &log).close().unwrap(), Some(42));
                let mut panics = ends_ahead("panics", &log);
                assert_eq!(panic_text(|| panics.close().is_ok()), "ahead of its time");
                // Told once.
                assert_eq!((panics.close().unwrap(), panics.state()), (None, State::Finished));
            });
        });
        assert_eq!(seen, [""; 0]);
    }
}

#[test]
fn what_a_throw_cannot_give_is_kept_or_reported() {
    let _watch = watch();
    for workers in [1, 2] {
        let seen = reports(1, || {
            runtime(workers).run(|| {
                let log = Log::default();
                let mut raises = ends_ahead("raises", &log);
                match raises.throw(Oops(8)) {
                    Err(ResumeError::Raised(e)) => assert_eq!(e.downcast_ref::<Oops>(), Some(&Oops(8))),
                    other => panic!("{other:?}"),
                }
                let mut returns = ends_ahead("returns", &log);
                assert!(matches!(returns.throw(Oops(9)), Err(ResumeError::Raised(_))));
                assert_eq!((returns.take_return(), returns.next()), (Some(42), None));
                let mut panics = ends_ahead("panics", &log);
                assert_eq!(panic_text(|| panics.throw(Oops(10)).is_ok()), "ahead of its time");
            });
        });
        assert_eq!(seen, ["oops 7"]);
    }
}

#[test]
fn dropping_reports_what_a_body_has_raised_ahead() {
    let _watch = watch();
    for workers in [1, 2] {
        let seen = reports(3, || {
            runtime(workers).run(|| {
                let log = Log::default();
                drop(ends_ahead("raises", &log));
                drop(ends_ahead("returns", &log));
                // The end of one that looks ahead by one item is still in its task's hands.
                let gate = Event::new();
                let (opens, begun) = (gate.clone(), Event::new());
                let begins = begun.clone();
                let body = move |y: &Yielder<u8>| {
                    begins.set();
                    task::shield(|| opens.wait());
                    if opens.is_set() {
                        osier::raise(Oops(5));
                    }
                    y.yield_(1);
                };
                let items = Generator::builder(body).name("ahead").spawn_ahead::<u8, ()>(1);
                begun.wait();
                drop(items);
                gate.set();
                // Of an interrupted call.
                let gate = Event::new();
                let opens = gate.clone();
                let body = move |_: &Yielder<u8>| {
                    task::shield(|| opens.wait());
                    osier::raise(Oops(6));
                };
                let mut items = Generator::builder(body).name("ahead").spawn::<u8, (), ()>();
                assert!(time::timeout(ms(5), || items.start().is_ok()).is_err());
                gate.set();
                yield_now();
                drop(items);
                yield_now();
            });
        });
        assert_eq!(seen.len(), 3, "{seen:?}");
        assert!(["oops 5", "oops 6", "oops 7"].iter().all(|oops| seen.contains(&(*oops).to_owned())), "{seen:?}");
    }
}

#[test]
fn a_call_that_finds_a_failure_owed_gives_it_or_reports_it() {
    let _watch = watch();
    let seen = reports(1, || {
        run(|| {
            for closes in [true, false] {
                let gate = Event::new();
                let opens = gate.clone();
                let body = move |_: &Yielder<u8>| {
                    opens.wait();
                    osier::raise(Oops(6));
                };
                let mut items = Generator::builder(body).name("ahead").spawn::<u8, (), ()>();
                assert!(time::timeout(ms(5), || items.start().is_ok()).is_err());
                gate.set();
                let expected = if closes { 6 } else { 9 };
                let error = if closes { items.close().unwrap_err() } else { items.throw(Oops(9)).unwrap_err() };
                match error {
                    ResumeError::Raised(e) => assert_eq!(e.downcast_ref::<Oops>(), Some(&Oops(expected))),
                    other => panic!("{other:?}"),
                }
            }
        });
    });
    assert_eq!(seen, ["oops 6"]);
}

#[test]
fn dropping_closes_a_body_at_rest_and_cancels_one_that_waits() {
    let _watch = watch();
    run(|| {
        for ahead in [false, true] {
            let log = Log::default();
            let at_end = log.clone();
            let builder = Generator::builder(move |y: &Yielder<u8>| {
                let _end = at_end.at_drop("closed");
                loop {
                    y.yield_(1);
                }
            });
            let mut items = if ahead { builder.spawn_ahead::<u8, ()>(2) } else { builder.spawn() };
            assert_eq!(items.next(), Some(1));
            drop(items);
            until(|| log.len() == 1);
        }
        let (log, waits) = (Log::default(), Event::new());
        let (at_end, begun) = (log.clone(), waits.clone());
        let items = Generator::builder(move |_: &Yielder<u8>| {
            let _end = at_end.at_drop("cancelled");
            begun.set();
            Event::new().wait();
        })
        .spawn_ahead(2);
        waits.wait();
        drop(items);
        until(|| log.len() == 1);
    });
}

#[test]
fn a_call_that_is_interrupted_loses_no_item() {
    let _watch = watch();
    run(|| {
        let gate = Event::new();
        let opens = gate.clone();
        let mut items = Generator::builder(move |y: &Yielder<u8>| {
            y.yield_(1);
            opens.wait();
            y.yield_(2);
        })
        .spawn::<u8, (), ()>();
        assert_eq!(items.next(), Some(1));
        assert!(time::timeout(ms(5), || items.next()).is_err());
        assert_eq!(items.state(), State::Executing);
        assert!(matches!(items.send(()), Err(ResumeError::Executing(()))));
        gate.set();
        assert_eq!((items.next(), items.next()), (Some(2), None));
    });
}

/// A body that waits at the gate while it is thrown into or closed, and then goes on as it is told.
fn gated(gate: &Event, at_gate: &Event) -> impl FnOnce(&Yielder<u32>) -> &'static str + Send + 'static {
    let (gate, at_gate) = (gate.clone(), at_gate.clone());
    move |y| {
        let mut n = 0;
        loop {
            let asked = osier::catch_exit(|| y.try_yield(n).is_err());
            n += 1;
            if let Ok(false) = asked {
                continue;
            }
            at_gate.set();
            task::shield(|| gate.wait());
            match asked {
                Ok(_) => n = 1000,
                Err(_) => return "closed",
            }
        }
    }
}

#[test]
fn a_throw_or_a_close_that_is_interrupted_is_answered_by_the_next_call() {
    let _watch = watch();
    for workers in [1, 2] {
        runtime(workers).run(|| {
            for ahead in [0, 1, 4] {
                for closes in [false, true] {
                    let made = || {
                        let (gate, at_gate) = (Event::new(), Event::new());
                        let builder = Generator::builder(gated(&gate, &at_gate));
                        let mut items: Remote<u32, (), &str> =
                            if ahead == 0 { builder.spawn() } else { builder.spawn_ahead(ahead) };
                        assert_eq!((items.next(), items.next()), (Some(0), Some(1)));
                        let interrupted = if closes {
                            time::timeout(ms(5), || items.close().is_ok()).is_err()
                        } else {
                            time::timeout(ms(5), || items.throw(Oops(1)).is_ok()).is_err()
                        };
                        assert!(interrupted);
                        at_gate.wait();
                        assert_eq!(items.state(), State::Executing);
                        assert!(matches!(items.send(()), Err(ResumeError::Executing(()))));
                        (gate, items)
                    };
                    // Goes on by `next`.
                    let (gate, mut items) = made();
                    assert!(time::timeout(ms(5), || items.next()).is_err());
                    gate.set();
                    if closes {
                        assert_eq!((items.next(), items.take_return(), items.next()), (None, Some("closed"), None));
                    } else {
                        assert_eq!((items.next(), items.next()), (Some(1000), Some(1001)));
                        assert_eq!(items.close().unwrap(), Some("closed"));
                    }
                    assert_eq!(items.state(), State::Finished);
                    // By `close`, which waits for the other's answer.
                    let (gate, mut items) = made();
                    gate.set();
                    assert_eq!(items.close().unwrap(), Some("closed"));
                    assert_eq!((items.next(), items.state()), (None, State::Finished));
                    // By another `throw`.
                    let (gate, mut items) = made();
                    gate.set();
                    match (closes, items.throw(Oops(2))) {
                        (false, Ok(Step::Yielded(1000))) => assert_eq!(items.next(), Some(1001)),
                        (true, Err(ResumeError::Raised(e))) => assert!(e.is::<Oops>()),
                        other => panic!("{other:?}"),
                    }
                    // Or not at all.
                    let (gate, items) = made();
                    drop(items);
                    gate.set();
                }
            }
        });
    }
}

#[test]
fn a_panic_that_a_call_which_was_interrupted_owes_is_not_lost() {
    let _watch = watch();
    run(|| {
        for closes in [false, true] {
            let gate = Event::new();
            let opens = gate.clone();
            let mut items = Generator::builder(move |y: &Yielder<u8>| {
                y.yield_(1);
                opens.wait();
                panic!("a bug");
            })
            .spawn::<u8, (), ()>();
            assert_eq!(items.next(), Some(1));
            assert!(time::timeout(ms(5), || items.next()).is_err());
            gate.set();
            let ended = panic::catch_unwind(AssertUnwindSafe(|| {
                if closes { items.close().is_ok() } else { items.throw(Oops(1)).is_ok() }
            }));
            assert_eq!(ended.unwrap_err().downcast_ref(), Some(&"a bug"));
            assert_eq!((items.state(), items.next()), (State::Finished, None));
        }
    });
}

#[test]
fn it_moves_between_tasks_and_threads_and_stands_in_for_others() {
    let _watch = watch();
    let rt = runtime(2);
    let items = rt.run(|| Generator::builder(|y: &Yielder<u32>| (0..10).for_each(|n| y.yield_(n))).spawn_ahead(3));
    assert_eq!(std::thread::spawn(move || items.sum::<u32>()).join().unwrap(), 45);
    rt.run(|| {
        let mut sums = Generator::builder(summing(Log::default())).spawn();
        let through = spawn(move || {
            let mut outer = Generator::new(move |y: &Yielder<i32, i32>| y.yield_from(&mut sums));
            outer.start().unwrap();
            (outer.send(3).unwrap(), outer.send(4).unwrap(), outer.send(-1).unwrap())
        });
        let steps = through.join().unwrap();
        assert_eq!(steps, (Step::Yielded(3), Step::Yielded(7), Step::Returned("negative")));
    });
}

#[test]
fn a_body_on_a_runtime_that_ends_is_told() {
    let _watch = watch();
    let rt = runtime(1);
    let closed = Arc::new(AtomicUsize::new(0));
    let count = closed.clone();
    let mut items = rt.run(move || {
        Generator::builder(move |y: &Yielder<u8>| {
            let _end = OnDrop(move || _ = count.fetch_add(1, Ordering::SeqCst));
            loop {
                y.yield_(1);
            }
        })
        .spawn::<u8, (), ()>()
    });
    assert_eq!(items.next(), Some(1));
    drop(rt);
    assert_eq!(closed.load(Ordering::SeqCst), 1);
    assert!(catch(|| items.next()).unwrap_err().is::<osier::JoinError>());
    assert_eq!(items.next(), None);
}

#[test]
fn resume_starts_or_goes_on() {
    let _watch = watch();
    run(|| {
        let mut sums = Generator::builder(summing(Log::default())).spawn();
        assert_eq!((sums.resume(7).unwrap(), sums.resume(8).unwrap()), (Step::Yielded(0), Step::Yielded(8)));
        assert_eq!(sums.resume(-1).unwrap(), Step::Returned("negative"));
        assert!(matches!(sums.resume(3), Err(ResumeError::Finished(3))));
        let mut ahead = Generator::builder(|y: &Yielder<u8>| y.yield_(1)).spawn_ahead(2);
        assert_eq!((ahead.resume(()).unwrap(), ahead.resume(()).unwrap()), (Step::Yielded(1), Step::Returned(())));
    });
}
