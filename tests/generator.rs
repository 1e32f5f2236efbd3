//! Generators: Python's, by hand and as iterators; values, panics and destructors on every way through; programs.

mod common;

use std::cell::{Cell, RefCell};
use std::collections::{HashMap, VecDeque};
use std::hint::black_box;
use std::panic::{self, AssertUnwindSafe};
use std::ptr;
use std::rc::Rc;
use std::sync::mpsc;

use common::{
    Log, OWN_THREADS, OnDrop, Random, Tally, Token, levels, miri_cannot, panic_text, reports, rounds, text,
    thread_cpu_time, watch,
};
use osier::generator::{self, Builder, Resume, ResumeError, State};
use osier::{Generator, Step, Yielder};

/// What a resume came back with, short enough to compare.
fn yielded<Out, In, Ret>(step: Result<Step<Out, Ret>, ResumeError<In>>) -> Out {
    match step {
        Ok(Step::Yielded(out)) => out,
        Ok(Step::Returned(_)) => panic!("the generator returned"),
        Err(error) => panic!("{error}"),
    }
}

fn returned<Out, In, Ret>(step: Result<Step<Out, Ret>, ResumeError<In>>) -> Ret {
    match step {
        Ok(Step::Returned(ret)) => ret,
        Ok(Step::Yielded(_)) => panic!("the generator yielded"),
        Err(error) => panic!("{error}"),
    }
}

fn catch<T>(f: impl FnOnce() -> T) -> Result<T, Box<dyn std::any::Any + Send>> {
    panic::catch_unwind(AssertUnwindSafe(f))
}

// ---- basics

#[test]
fn smoke() {
    let _watch = watch();
    let mut g = Generator::new(|y: &Yielder<&str, u32>| {
        let first = y.yield_("one");
        let second = y.yield_("two");
        first + second
    });
    assert_eq!(g.start().unwrap(), Step::Yielded("one"));
    assert_eq!(g.send(20).unwrap(), Step::Yielded("two"));
    assert_eq!(g.send(22).unwrap(), Step::Returned(42));
}

// GN-001
#[test]
fn items_come_in_order_and_then_the_end() {
    let mut g = Generator::new(|y: &Yielder<u32>| {
        y.yield_(1);
        y.yield_(2);
    });
    assert_eq!([g.next(), g.next(), g.next()], [Some(1), Some(2), None]);
}

// GN-002
#[test]
fn a_finished_generator_stays_finished() {
    let mut g = Generator::new(|y: &Yielder<u32>| {
        y.yield_(1);
        if std::hint::black_box(true) {
            return;
        }
        y.yield_(2);
    });
    assert_eq!([g.next(), g.next(), g.next()], [Some(1), None, None]);
    assert!(matches!(g.start(), Err(ResumeError::Finished(()))));
}

// GN-005: `finally` is a destructor; here it runs on the way of a plain return.
#[test]
fn a_destructor_may_yield_on_the_way_of_a_return() {
    let mut g = Generator::new(|y: &Yielder<u32>| {
        let _finally = OnDrop(|| y.yield_(1));
        "x"
    });
    assert_eq!(g.next(), Some(1));
    assert_eq!((g.next(), g.take_return()), (None, Some("x")));
}

fn range(n: u32) -> Generator<u32> {
    Generator::new(move |y: &Yielder<u32>| (0..n).for_each(|i| y.yield_(i)))
}

// GN-007
#[test]
fn a_generator_loops_over_another_one() {
    let outer = Generator::new(|y: &Yielder<u32>| {
        for i in range(5) {
            y.yield_(i);
        }
    });
    assert_eq!(outer.collect::<Vec<_>>(), [0, 1, 2, 3, 4]);
}

// GN-008
#[test]
fn none_is_a_value() {
    let g = Generator::new(|y: &Yielder<Option<u32>>| (0..4).for_each(|_| y.yield_(None)));
    assert_eq!(g.collect::<Vec<_>>(), [None; 4]);
}

// GN-010
#[test]
fn an_error_in_the_body_finishes_the_generator() {
    let mut g = Generator::new(|y: &Yielder<u32>| {
        for divisor in [5, 0, 2] {
            y.yield_(10_u32.checked_div(divisor).expect("division by zero"));
        }
    });
    assert_eq!(g.next(), Some(2));
    assert_eq!(panic_text(|| g.next()), "division by zero");
    assert_eq!((g.next(), g.state()), (None, State::Finished));
}

// GN-011
#[test]
fn errors_pass_through_nested_handlers_that_yield() {
    let g = Generator::new(|y: &Yielder<u32>| {
        let outer = catch(|| {
            y.yield_(1);
            let inner: Result<(), _> = catch(|| {
                y.yield_(2);
                panic::panic_any("inner");
            });
            if let Err(error) = inner {
                y.yield_(4);
                y.yield_(5);
                panic::resume_unwind(error);
            }
            y.yield_(7);
        });
        assert_eq!(text(&*outer.unwrap_err()), "inner");
        y.yield_(8);
        y.yield_(9);
        {
            let _finally = OnDrop(|| y.yield_(10));
        }
        y.yield_(11);
    });
    assert_eq!(g.collect::<Vec<_>>(), [1, 2, 4, 5, 8, 9, 10, 11]);
}

// GN-013
#[test]
fn a_handled_error_does_not_end_the_body() {
    let g = Generator::new(|y: &Yielder<u32>| {
        y.yield_(12);
        if catch(|| panic!("handled")).is_err() {
            y.yield_(666);
        }
    });
    assert_eq!(g.collect::<Vec<_>>(), [12, 666]);
}

// GN-014
#[test]
fn a_generator_is_its_own_iterator() {
    let mut g = range(6);
    assert_eq!(g.by_ref().take(2).sum::<u32>(), 1);
    assert_eq!(g.next(), Some(2));
    let mut rest = Vec::new();
    for item in g {
        rest.push(item);
    }
    assert_eq!(rest, [3, 4, 5]);
}

// GN-016: the states; delegates are in `inspection.rs`.
#[test]
fn the_state_follows_the_life() {
    let mut g = range(1);
    assert_eq!(g.state(), State::New);
    assert_eq!(g.next(), Some(0));
    assert_eq!(g.state(), State::Suspended);
    assert_eq!(g.next(), None);
    assert_eq!(g.state(), State::Finished);

    let mut closed = range(1);
    closed.close().unwrap();
    assert_eq!(closed.state(), State::Finished);
}

// GN-017
#[test]
fn debug_text_contains_the_name() {
    let named = range(1);
    assert!(named.name().contains("range"), "{}", named.name());
    assert!(format!("{named:?}").contains("range") && format!("{named:?}").contains("New"));
    let renamed = Generator::builder(|y: &Yielder<u32>| y.yield_(1)).name(format!("number {}", 7)).build();
    assert_eq!(renamed.name(), "number 7");
    assert!(format!("{renamed:?}").contains("number 7"));
}

// GN-019
#[test]
fn arguments_are_taken_at_once_and_the_rest_when_the_body_runs() {
    let factor = Rc::new(Cell::new(2));
    let (captured, read_late) = (factor.get(), factor.clone());
    let g = Generator::new(move |y: &Yielder<(u32, u32)>| y.yield_((captured, read_late.get())));
    factor.set(3);
    assert_eq!(g.collect::<Vec<_>>(), [(2, 3)]);
}

// GN-020
#[test]
fn collecting_a_finished_generator_gives_nothing() {
    let mut g = range(3);
    assert_eq!(g.by_ref().count(), 3);
    assert_eq!(g.by_ref().collect::<Vec<_>>(), []);
    assert_eq!(g.collect::<Vec<_>>(), []);
}

#[test]
fn a_return_value_is_kept_for_who_iterated() {
    let mut g = Generator::new(|y: &Yielder<u32>| {
        y.yield_(1);
        String::from("kept")
    });
    assert_eq!(g.take_return(), None);
    assert_eq!(g.by_ref().sum::<u32>(), 1);
    assert_eq!((g.take_return().as_deref(), g.take_return()), (Some("kept"), None));
}

#[test]
fn primed_skips_the_first_item() {
    let log = Log::default();
    let seen = log.clone();
    let mut printer = Generator::new(move |y: &Yielder<(), u32>| {
        loop {
            seen.push(format!("printer: {}", y.yield_(())));
        }
    })
    .primed();
    // S04: the registry's actor, sent to ten times.
    (1..=10).rev().for_each(|n| yielded::<_, _, ()>(printer.send(n)));
    assert_eq!(log.take(), (1..=10).rev().map(|n| format!("printer: {n}")).collect::<Vec<_>>());
    let panicking: Generator<()> = Generator::new(|_: &Yielder<()>| panic!("before the first yield"));
    assert_eq!(panic_text(|| panicking.primed()), "before the first yield");
    let empty: Generator<()> = Generator::new(|_: &Yielder<()>| ());
    assert_eq!(empty.primed().state(), State::Finished);
}

// ---- send

// GN-022, GN-104
#[test]
fn a_value_sent_too_early_comes_back_and_does_no_harm() {
    let mut g = Generator::new(|y: &Yielder<u32, String>| y.yield_(1).len());
    let error = g.send(String::from("early")).unwrap_err();
    assert!(error.to_string().contains("can't send"), "{error}");
    assert!(matches!(error, ResumeError::NotStarted(value) if value == "early"));
    assert_eq!(yielded(g.start()), 1);
    assert!(matches!(g.start(), Err(ResumeError::AlreadyStarted)));
    assert_eq!(returned(g.send(String::from("late"))), 4);
}

// GN-023
#[test]
fn a_bare_yield_yields_nothing_and_takes_a_value() {
    let mut g = Generator::new(|y: &Yielder<(), u32>| y.yield_(()));
    yielded(g.start());
    assert_eq!(returned(g.send(7)), 7);
}

// GN-025
#[test]
fn yields_in_one_expression_happen_in_its_order() {
    let map = Rc::new(RefCell::new(HashMap::new()));
    let mut g = {
        let map = map.clone();
        Generator::new(move |y: &Yielder<char, u32>| {
            let value = 27;
            let key = y.yield_('a');
            map.borrow_mut().insert(key, value);
            let key = y.yield_('b');
            map.borrow_mut().insert(key, value);
        })
    };
    assert_eq!(yielded(g.start()), 'a');
    assert_eq!(yielded(g.send(0)), 'b');
    assert_eq!(*map.borrow(), HashMap::from([(0, 27)]));
    returned(g.send(1));
    assert_eq!(*map.borrow(), HashMap::from([(0, 27), (1, 27)]));
}

// GN-026
#[test]
fn what_is_sent_can_be_returned_unchanged() {
    let mut g = Generator::new(|y: &Yielder<(), (u32,)>| y.yield_(()));
    yielded(g.start());
    assert_eq!(returned(g.send((2,))), (2,));
}

// GN-028
#[test]
fn closures_functions_and_delegating_bodies_receive_alike() {
    type Boxed = Box<dyn FnOnce(&Yielder<u32, u32>) -> u32>;
    fn function(y: &Yielder<u32, u32>) -> u32 {
        y.yield_(1)
    }
    fn delegating(y: &Yielder<u32, u32>) -> u32 {
        let mut inner = Generator::new(function);
        let mut step = inner.start();
        loop {
            match step.unwrap() {
                Step::Yielded(out) => step = inner.send(y.yield_(out)),
                Step::Returned(ret) => return ret,
            }
        }
    }
    let boxed: Boxed = Box::new(|y| y.yield_(1));
    let helper = |y: &Yielder<u32, u32>| function(y);
    let variants = [
        Generator::new(|y: &Yielder<u32, u32>| y.yield_(1)),
        Generator::new(function),
        Generator::new(delegating),
        Generator::new(boxed),
        Generator::new(helper),
        Generator::builder(|y: &Yielder<u32, u32>| delegating(y)).name("built").build(),
    ];
    for mut g in variants {
        assert_eq!(yielded(g.start()), 1);
        assert_eq!(returned(g.send(2)), 2);
    }
}

// GN-029, GN-106
#[test]
fn a_finished_generator_gives_the_value_back() {
    let mut g = Generator::new(|_: &Yielder<(), Box<u32>>| ());
    returned(g.start());
    let error = g.send(Box::new(5)).unwrap_err();
    assert!(error.to_string().contains("finished"), "{error}");
    assert!(matches!(error, ResumeError::Finished(value) if *value == 5));
    assert!(matches!(g.close(), Ok(None)));
}

// ---- close and drop

/// A generator that logs what happens to it.
fn logging(log: &Log) -> Generator<u32> {
    let log = log.clone();
    let argument = log.at_drop("argument");
    Generator::new(move |y: &Yielder<u32>| {
        let _argument = argument;
        log.push("begun");
        let _first = log.at_drop("first");
        let _second = log.at_drop("second");
        y.yield_(1);
        log.push("went on");
        y.yield_(2);
        log.push("returned");
    })
}

// GN-043, GN-050, GN-103
#[test]
fn close_unwinds_the_body_at_once_and_inner_values_first() {
    let log = Log::default();
    let mut g = logging(&log);
    assert_eq!(g.next(), Some(1));
    assert!(matches!(g.close(), Ok(None)));
    assert_eq!(log.take(), ["begun", "second", "first", "argument"]);
    assert_eq!((g.state(), g.next()), (State::Finished, None));
    drop(g);
    assert_eq!(log.take(), [""; 0]);
}

// GN-044
#[test]
fn a_body_that_catches_its_close_may_return_a_value() {
    let mut g = Generator::new(|y: &Yielder<()>| if catch(|| y.yield_(())).is_err() { 0 } else { 1 });
    yielded(g.start());
    assert!(matches!(g.close(), Ok(Some(0))));
    assert!(matches!(g.close(), Ok(None)));
}

// GN-046
#[test]
fn closing_a_fresh_generator_drops_its_body_unrun() {
    let log = Log::default();
    let mut g = logging(&log);
    assert!(matches!(g.close(), Ok(None)));
    assert_eq!(log.take(), ["argument"]);
    assert!(matches!(g.start(), Err(ResumeError::Finished(()))));
    assert_eq!(g.next(), None);
}

// GN-047, GN-107
#[test]
fn closing_twice_or_after_the_end_does_nothing() {
    let log = Log::default();
    let mut g = logging(&log);
    assert_eq!(g.by_ref().count(), 2);
    assert_eq!(log.take(), ["begun", "went on", "returned", "second", "first", "argument"]);
    (0..3).for_each(|_| assert!(matches!(g.close(), Ok(None))));

    let mut g = logging(&log);
    g.next();
    (0..4).for_each(|_| assert!(matches!(g.close(), Ok(None))));
    assert_eq!(log.take(), ["begun", "second", "first", "argument"]);
}

// GN-049, GN-055
#[test]
fn an_error_raised_while_handling_a_close_leaves_close() {
    let mut g = Generator::new(|y: &Yielder<()>| {
        assert!(catch(|| y.yield_(())).is_err());
        panic!("fie!");
    });
    yielded::<_, _, ()>(g.start());
    assert_eq!(panic_text(|| g.close()), "fie!");
    assert_eq!(g.state(), State::Finished);
}

// GN-056
#[test]
fn dropping_a_suspended_generator_unwinds_it() {
    let log = Log::default();
    let mut g = logging(&log);
    g.next();
    log.push("dropping");
    drop(g);
    log.push("dropped");
    assert_eq!(log.take(), ["begun", "dropping", "second", "first", "argument", "dropped"]);
}

// GN-058: what cannot be ended is leaked, and whoever drops it does not notice.
#[test]
fn a_generator_that_ignores_its_close_is_leaked_by_its_drop() {
    let (tally, tries) = (Tally::default(), Rc::new(Cell::new(0)));
    let mut g = {
        let (token, tries) = (tally.token(), tries.clone());
        Generator::new(move |y: &Yielder<u32>| {
            let _token = token;
            loop {
                if catch(|| y.yield_(1)).is_err() {
                    tries.set(tries.get() + 1);
                }
            }
        })
    };
    assert_eq!(yielded(g.start()), 1);
    assert!(matches!(g.close(), Err(ResumeError::IgnoredClose)));
    assert_eq!((tries.get(), g.state()), (1, State::Suspended));
    assert_eq!(yielded::<_, _, ()>(g.send(())), 1, "it goes on as if nothing had been asked");
    drop(g);
    assert_eq!((tries.get(), tally.dropped()), (4, 0), "asked three times more, then left alone with what it owns");
}

#[test]
fn a_body_that_goes_on_after_a_close_can_still_end() {
    let mut g = Generator::new(|y: &Yielder<u32>| {
        let swallowed = catch(|| y.yield_(1));
        y.yield_(2);
        if let Err(close) = swallowed {
            panic::resume_unwind(close);
        }
    });
    assert_eq!(g.next(), Some(1));
    assert!(matches!(g.close(), Err(ResumeError::IgnoredClose)));
    // The close of then ends the body now: there is neither an item nor a return value.
    assert!(matches!(g.send(()), Err(ResumeError::Finished(()))));
    assert_eq!((g.state(), g.next()), (State::Finished, None));
}

// GN-059
#[test]
fn leaving_a_loop_closes_a_temporary_and_not_a_variable() {
    let log = Log::default();
    for item in logging(&log) {
        if item == 1 {
            break;
        }
    }
    log.push("after the loop");
    assert_eq!(log.take(), ["begun", "second", "first", "argument", "after the loop"]);

    let mut kept = logging(&log);
    for item in kept.by_ref() {
        if item == 1 {
            break;
        }
    }
    log.push("after the loop");
    kept.close().unwrap();
    assert_eq!(log.take(), ["begun", "after the loop", "second", "first", "argument"]);
}

// GN-067, GN-073, GN-068
#[test]
fn closing_the_outer_generator_closes_the_inner_one_first() {
    let log = Log::default();
    let nested = |log: &Log, inner_panics: bool| {
        let log = log.clone();
        Generator::new(move |y: &Yielder<u32>| {
            log.push("start outer");
            let _outer = log.at_drop("finish outer");
            let inner_log = log.clone();
            let inner = Generator::new(move |y: &Yielder<u32>| {
                inner_log.push("start inner");
                let _inner = inner_log.at_drop("finish inner");
                assert!(!inner_panics, "at once");
                y.yield_(42);
            });
            for item in inner {
                y.yield_(item);
            }
        })
    };
    assert_eq!(nested(&log, false).collect::<Vec<_>>(), [42]);
    assert_eq!(log.take(), ["start outer", "start inner", "finish inner", "finish outer"]);

    let mut g = nested(&log, false);
    g.next();
    log.take();
    g.close().unwrap();
    assert_eq!(log.take(), ["finish inner", "finish outer"]);

    assert_eq!(panic_text(|| nested(&log, true).next()), "at once");
    assert_eq!(log.take(), ["start outer", "start inner", "finish inner", "finish outer"]);
}

/// A body with a destructor that yields `1` and then `2`, and after that drops a token.
fn yields_in_drop(tally: &Tally) -> Generator<u32> {
    let token = tally.token();
    Generator::new(move |y: &Yielder<u32>| {
        let _token = token;
        let _yields = OnDrop(|| {
            y.yield_(1);
            y.yield_(2);
        });
        y.yield_(0);
    })
}

#[test]
fn a_destructor_that_yields_in_an_unwind_takes_only_send() {
    let tally = Tally::default();
    let mut g = yields_in_drop(&tally);
    assert_eq!(g.next(), Some(0));
    assert!(matches!(g.close(), Err(ResumeError::IgnoredClose)));
    assert!(matches!(g.close(), Err(ResumeError::Unwinding)), "a second unwind out of a destructor would abort");
    assert_eq!(g.state(), State::Suspended);
    assert_eq!(yielded(g.send(())), 2);
    assert!(matches!(g.close(), Err(ResumeError::Unwinding)));
    assert_eq!(tally.dropped(), 0);
    // Now the unwind goes on to its end.
    assert!(matches!(g.send(()), Err(ResumeError::Finished(()))));
    assert_eq!((g.state(), g.next()), (State::Finished, None));
    tally.assert_all_dropped(1);

    let mut iterated = yields_in_drop(&tally);
    assert_eq!(iterated.next(), Some(0));
    assert!(matches!(iterated.close(), Err(ResumeError::IgnoredClose)));
    assert_eq!(iterated.by_ref().collect::<Vec<_>>(), [2], "the item that answered the close went with it");
    tally.assert_all_dropped(2);
}

#[test]
fn a_generator_suspended_in_its_own_unwind_is_leaked_by_its_drop() {
    let tally = Tally::default();
    let mut g = yields_in_drop(&tally);
    g.next();
    drop(g);
    assert_eq!(tally.dropped(), 0);
}

#[test]
fn a_body_that_caught_a_panic_and_yielded_is_unwound_by_an_owner_that_unwinds() {
    let tally = Tally::default();
    let mut g = {
        let token = tally.token();
        Generator::new(move |y: &Yielder<u32>| {
            let _token = token;
            let caught = std::panic::catch_unwind(|| panic!("in the body"));
            y.yield_(u32::from(caught.is_err()));
            y.yield_(2);
        })
    };
    assert_eq!(g.next(), Some(1));
    assert_eq!(
        panic_text(|| {
            let _owned = g;
            panic!("in the owner")
        }),
        "in the owner"
    );
    tally.assert_all_dropped(1);
}

#[test]
fn a_panicking_body_may_yield_from_a_destructor() {
    let mut g = Generator::new(|y: &Yielder<u32>| {
        let _yields = OnDrop(|| {
            y.yield_(1);
        });
        panic!("on its way");
    });
    assert_eq!(yielded::<_, _, ()>(g.start()), 1);
    assert!(matches!(g.close(), Err(ResumeError::Unwinding)));
    // While it is parked mid-unwind, others on this thread start, close and panic as usual.
    let tally = Tally::default();
    let mut other = {
        let token = tally.token();
        Generator::new(move |y: &Yielder<u32>| {
            let _token = token;
            y.yield_(5);
        })
    };
    assert_eq!(other.next(), Some(5));
    assert!(matches!(other.close(), Ok(None)));
    tally.assert_all_dropped(1);
    assert_eq!(panic_text(|| Generator::<()>::new(|_: &Yielder<()>| panic!("another")).next()), "another");
    assert_eq!(panic_text(|| g.send(())), "on its way");
    assert!(!std::thread::panicking());
}

// H20
#[test]
fn a_generator_dropped_during_a_panic_is_unwound() {
    let log = Log::default();
    let panicked = panic_text(|| {
        let mut g = logging(&log);
        g.next();
        let mut inner = logging(&log);
        inner.next();
        panic!("outside");
    });
    assert_eq!(panicked, "outside");
    assert_eq!(log.take(), ["begun", "begun", "second", "first", "argument", "second", "first", "argument"]);
}

#[test]
fn a_destructor_may_run_generators_during_a_panic() {
    let sums = Rc::new(Cell::new(0));
    let panicked = panic_text(|| {
        let _drops = OnDrop(|| {
            let mut g = range(4);
            g.next();
            let closed = Tally::default();
            let token = closed.token();
            let mut other = Generator::new(move |y: &Yielder<u32>| {
                let _token = token;
                y.yield_(1);
                y.yield_(2);
            });
            other.next();
            other.close().unwrap();
            closed.assert_all_dropped(1);
            sums.set(g.sum::<u32>());
        });
        panic!("outside");
    });
    assert_eq!((panicked.as_str(), sums.get()), ("outside", 6));
}

#[test]
fn a_panic_contained_in_a_destructor_does_not_disturb_a_close() {
    let log = Log::default();
    let mut g = {
        let log = log.clone();
        Generator::new(move |y: &Yielder<u32>| {
            let _outer = log.at_drop("outer");
            let _contained = OnDrop(|| {
                log.push(panic_text(|| panic!("contained")));
            });
            y.yield_(1);
        })
    };
    g.next();
    assert!(matches!(g.close(), Ok(None)));
    assert_eq!(log.take(), ["contained", "outer"]);
}

// ---- panics

#[test]
fn a_panic_reaches_whoever_resumed_with_its_payload() {
    #[derive(Debug, PartialEq)]
    struct Payload(Vec<u32>);
    let mut g = Generator::new(|y: &Yielder<u32, u32>| {
        let n = y.yield_(1);
        panic::panic_any(Payload(vec![n]));
    });
    g.start().unwrap();
    let payload = catch(|| returned::<_, _, ()>(g.send(3))).unwrap_err();
    assert_eq!(*payload.downcast::<Payload>().unwrap(), Payload(vec![3]));
    assert!(matches!(g.send(4), Err(ResumeError::Finished(4))));
    assert!(matches!(g.start(), Err(ResumeError::AlreadyFinished)));
    assert!(matches!(g.close(), Ok(None)));
}

#[test]
fn a_panic_passes_through_nested_generators_and_drops_every_frame() {
    fn nest(depth: u32, tally: &Tally) -> Generator<u32> {
        let (token, tally) = (tally.token(), tally.clone());
        Generator::new(move |y: &Yielder<u32>| {
            let _token = token;
            if depth == 0 {
                y.yield_(7);
                panic!("from the bottom");
            }
            for item in nest(depth - 1, &tally) {
                y.yield_(item);
            }
        })
    }
    let tally = Tally::default();
    let mut g = nest(50, &tally);
    assert_eq!(g.next(), Some(7));
    assert_eq!(panic_text(|| g.next()), "from the bottom");
    tally.assert_all_dropped(51);
}

#[test]
fn a_body_catches_its_own_panics_among_yields() {
    let g = Generator::new(|y: &Yielder<u32>| {
        for n in 0..10 {
            let caught = catch(|| {
                y.yield_(n);
                panic::resume_unwind(Box::new(n));
            });
            assert_eq!(*caught.unwrap_err().downcast::<u32>().unwrap(), n);
        }
    });
    assert_eq!(g.count(), 10);
}

/// Whether the thread panics is asked from destructors: two bodies that unwind in turns must not confuse each other.
#[test]
fn bodies_that_unwind_in_turns_each_end_with_their_own_panic() {
    let make = |name: &'static str| {
        Generator::<u32>::new(move |y: &Yielder<u32>| {
            let _yields = OnDrop(|| (0..3).for_each(|n| y.yield_(n)));
            panic::panic_any(name);
        })
    };
    let (mut a, mut b) = (make("a"), make("b"));
    for n in 0..3 {
        assert_eq!((a.next(), b.next()), (Some(n), Some(n)));
        assert_eq!(range(3).sum::<u32>(), 3);
    }
    assert_eq!((panic_text(|| a.next()), panic_text(|| b.next())), (String::from("a"), String::from("b")));
    assert!(!std::thread::panicking());
}

// ---- values

#[test]
fn values_are_dropped_once_on_every_way() {
    type Body = Generator<Token, Token, Token>;
    type Way = (&'static str, fn(Body, &Tally));
    /// Yields, takes and holds tokens; returns one after two sends.
    fn body(tally: &Tally) -> Body {
        let (tally, captured) = (tally.clone(), tally.token());
        Generator::new(move |y: &Yielder<Token, Token>| {
            let _captured = captured;
            let _local = tally.token();
            let first = y.yield_(tally.token());
            let second = y.yield_(tally.token());
            drop(first);
            let third = y.yield_(tally.token());
            drop(third);
            second
        })
    }
    let ways: [Way; 9] = [
        ("never started", |g, _| drop(g)),
        ("closed fresh", |mut g, _| assert!(g.close().unwrap().is_none())),
        ("sent to too early", |mut g, tally| drop(g.send(tally.token()))),
        ("dropped at the first yield", |mut g, _| drop(g.start())),
        ("closed at the second yield", |mut g, tally| {
            drop(g.start());
            drop(g.send(tally.token()));
            assert!(g.close().unwrap().is_none());
        }),
        ("dropped at the third yield", |mut g, tally| {
            drop(g.start());
            drop(g.send(tally.token()));
            drop(g.send(tally.token()));
        }),
        ("finished", |mut g, tally| {
            drop(g.start());
            (0..3).for_each(|_| drop(g.send(tally.token())));
            assert_eq!(g.state(), State::Finished);
        }),
        ("sent to after the end", |mut g, tally| {
            drop(g.start());
            (0..5).for_each(|_| drop(g.send(tally.token())));
        }),
        ("started twice", |mut g, _| {
            drop(g.start());
            drop(g.start());
        }),
    ];
    for (name, way) in ways {
        let tally = Tally::default();
        way(body(&tally), &tally);
        assert_eq!((tally.made(), name), (tally.dropped(), name));
    }
}

#[test]
fn a_return_value_that_nobody_takes_is_dropped_with_the_generator() {
    let tally = Tally::default();
    let token = tally.token();
    let mut g = Generator::new(move |_: &Yielder<()>| token);
    assert_eq!(g.next(), None);
    assert_eq!(tally.dropped(), 0);
    drop(g);
    tally.assert_all_dropped(1);
}

#[test]
fn values_are_dropped_once_when_the_body_panics() {
    let tally = Tally::default();
    let mut g = {
        let (tally, captured) = (tally.clone(), tally.token());
        Generator::<Token, Token>::new(move |y: &Yielder<Token, Token>| {
            let _captured = captured;
            let _received = y.yield_(tally.token());
            panic::panic_any(tally.token());
        })
    };
    drop(g.start());
    drop(catch(|| g.send(tally.token()).map(|_| ())));
    drop(g);
    tally.assert_all_dropped(4);
}

#[test]
fn values_of_any_shape_pass() {
    // Nothing, much, aligned, borrowed, boxed: In and Out travel in registers or memory as they need.
    #[derive(Clone, Copy, Debug, PartialEq)]
    #[repr(align(128))]
    struct Aligned([u8; 200]);
    let mut big = Generator::new(|y: &Yielder<Aligned, Aligned>| y.yield_(Aligned([1; 200])));
    assert_eq!(yielded(big.start()), Aligned([1; 200]));
    assert_eq!(returned(big.send(Aligned([2; 200]))), Aligned([2; 200]));

    let mut text = Generator::new(|y: &Yielder<&'static str, Box<dyn Fn(u32) -> u32>>| y.yield_("f")(20));
    assert_eq!(yielded(text.start()), "f");
    assert_eq!(returned(text.send(Box::new(|n| n + 1))), 21);

    let captured = [7_u8; 8 * 1024];
    let mut carries_much =
        Generator::new(move |y: &Yielder<u8>| captured.iter().take(rounds(8 * 1024)).for_each(|&b| y.yield_(b)));
    assert!(carries_much.by_ref().all(|b| b == 7));

    let words = ["alpha", "beta"];
    let mut lends = Generator::new(move |y: &Yielder<String>| words.iter().for_each(|w| y.yield_(w.to_uppercase())));
    assert_eq!(lends.by_ref().collect::<String>(), "ALPHABETA");
}

// ---- who may yield where

/// Lends a yielder to code that its lifetime would not allow. Safe code has only ways that end in a task, which need a
/// runtime: `nesting.rs` has those.
#[derive(Clone)]
struct Lent(Rc<Cell<Option<&'static Yielder<u32>>>>);

impl Lent {
    fn new() -> Self {
        Self(Rc::new(Cell::new(None)))
    }

    fn set(&self, y: &Yielder<u32>) {
        // SAFETY: the generators below live as long as anybody uses what they lent.
        self.0.set(Some(unsafe { std::mem::transmute::<&Yielder<u32>, &'static Yielder<u32>>(y) }));
    }

    fn get(&self) -> &'static Yielder<u32> {
        self.0.get().expect("a yielder was lent")
    }
}

#[test]
fn a_yielder_off_its_chain_panics_and_does_no_harm() {
    let lent = Lent::new();
    let mut lender = {
        let lent = lent.clone();
        Generator::new(move |y: &Yielder<u32>| {
            lent.set(y);
            y.yield_(1);
            y.yield_(2);
        })
    };
    assert_eq!(lender.next(), Some(1));
    // From the thread, with no coroutine running.
    let message = panic_text(|| lent.get().yield_(10));
    assert!(message.contains("off its chain"), "{message}");
    // From a generator that runs alone.
    let borrower = lent.clone();
    let mut borrower = Generator::new(move |y: &Yielder<u32>| {
        y.yield_(3);
        borrower.get().yield_(11);
    });
    assert_eq!(borrower.next(), Some(3));
    assert!(panic_text(|| borrower.next()).contains("off its chain"));
    assert_eq!(lender.by_ref().collect::<Vec<_>>(), [2]);
}

/// An outer generator that resumes an inner one, which yields as the outer one, from the middle of its own body.
fn yields_through_inner(log: &Log) -> Generator<u32> {
    let log = log.clone();
    Generator::new(move |y: &Yielder<u32>| {
        let lent = Lent::new();
        lent.set(y);
        let _outer = log.at_drop("outer");
        let inner_log = log.clone();
        let mut inner = Generator::new(move |own: &Yielder<u32>| {
            let _inner = inner_log.at_drop("inner");
            own.yield_(100);
            lent.get().yield_(1);
            own.yield_(101);
            lent.get().yield_(2);
            lent.get().yield_(3);
        });
        assert_eq!(inner.next(), Some(100));
        assert_eq!(inner.next(), Some(101));
        assert_eq!(inner.next(), None);
        y.yield_(4);
    })
}

// GL-097, c: a deep yield
#[test]
fn an_outer_generator_yields_through_an_inner_one() {
    let log = Log::default();
    assert_eq!(yields_through_inner(&log).collect::<Vec<_>>(), [1, 2, 3, 4]);
    assert_eq!(log.take(), ["inner", "outer"]);
    // Others run meanwhile, and the chain is put back each time.
    let mut g = yields_through_inner(&log);
    for n in 1..=4 {
        assert_eq!(g.next(), Some(n));
        assert_eq!(range(4).sum::<u32>(), 6);
    }
}

#[test]
fn closing_through_an_inner_generator_unwinds_both_inner_first() {
    let log = Log::default();
    for steps in 1..=3 {
        let mut g = yields_through_inner(&log);
        assert_eq!(g.by_ref().take(steps).count(), steps);
        assert!(matches!(g.close(), Ok(None)));
        assert_eq!(log.take(), ["inner", "outer"]);
        assert_eq!(g.state(), State::Finished);
    }
}

// ---- threads

#[test]
fn the_free_yield_finds_nobody_on_another_thread() {
    let mut g = Generator::new(|_: &Yielder<u32>| {
        let there = std::thread::scope(|s| s.spawn(|| panic_text(|| generator::yield_::<u32, ()>(1))).join());
        assert!(there.unwrap().starts_with("no running generator yields `u32`"));
        generator::yield_::<u32, ()>(2);
    });
    assert_eq!((g.next(), g.next()), (Some(2), None));
}

// The other free functions are the yielder's as well.
#[test]
fn the_free_functions_do_what_the_yielders_do() {
    fn deep() -> u32 {
        let answer: Result<u32, _> = generator::try_yield("try".to_owned());
        assert!(answer.unwrap_err().is::<std::fmt::Error>());
        generator::yield_from(&mut Generator::new(|y: &Yielder<String, u32>| {
            y.yield_("from".to_owned()) + generator::yield_::<String, u32>("innermost".to_owned())
        }))
    }
    let mut g = Generator::new(|_: &Yielder<String, u32>| deep());
    assert_eq!(yielded(g.start()), "try");
    assert_eq!(yielded(g.throw(std::fmt::Error)), "from");
    assert!(g.delegate().is_some());
    assert_eq!(yielded(g.send(40)), "innermost");
    assert_eq!(returned(g.send(2)), 42);
    // A close ends the one that was asked, from within what stands in for it.
    let log = Log::default();
    let inner = log.clone();
    let mut g = Generator::new(move |_: &Yielder<String, u32>| {
        let _outer = inner.at_drop("outer");
        let log = inner.clone();
        let body = move |y: &Yielder<String, u32>| {
            let _inner = log.at_drop("inner");
            y.yield_(String::new());
        };
        generator::yield_from(&mut Generator::new(body));
    })
    .primed();
    assert!(matches!(g.close(), Ok(None)));
    assert_eq!(log.take(), ["inner", "outer"]);
    let all = Generator::new(|_: &Yielder<u8>| generator::yield_all(*b"abc"));
    assert_eq!(all.collect::<Vec<_>>(), b"abc");
    assert!(panic_text(|| generator::yield_all([1_u8])).starts_with("no running generator yields `u8`"));
}

#[test]
fn a_builder_goes_to_another_thread_and_starts_there() {
    let _watch = watch();
    let builder: Builder<_> = Generator::builder(|y: &Yielder<std::thread::ThreadId>| {
        let own = Rc::new(std::thread::current().id());
        (0..3).for_each(|_| y.yield_(*own));
    });
    let copy = builder.clone();
    let there = std::thread::spawn(move || {
        assert!(OWN_THREADS || copy.build().all(|id| id == std::thread::current().id()));
        std::thread::current().id()
    });
    let there = there.join().unwrap();
    assert!(builder.build().all(|id| id != there));
}

/// Waits in a borrow of a thread-local, and reads it when it unwinds.
macro_rules! borrows_text {
    ($name:expr, $log:expr) => {{
        let log: Log = $log;
        let body = move |y: &Yielder<()>| {
            TEXT.with(|text| {
                let _reads = OnDrop(|| log.push(text.as_str()));
                y.yield_(());
            });
        };
        let mut g = Generator::builder(body).name($name).build();
        g.next();
        g
    }};
}

// H03
#[test]
fn a_suspended_generator_in_a_thread_local_is_leaked_at_the_threads_end() {
    if miri_cannot("walk its own stack, to find that the thread ends") {
        return;
    }
    thread_local! {
        static KEPT: RefCell<Option<Generator<()>>> = const { RefCell::new(None) };
        static TEXT: String = "F".repeat(40);
    }
    let _watch = watch();
    let log = Log::default();
    let told = reports(|| {
        let log = log.clone();
        // `KEPT` is used first, so `TEXT` is destroyed before it.
        let thread = std::thread::spawn(move || {
            KEPT.set(None);
            KEPT.set(Some(borrows_text!("left at the end", log)));
        });
        thread.join().unwrap();
    });
    assert_eq!(log.take(), [""; 0], "the destructor would read a string that is gone");
    let leaks = told.iter().filter(|told| *told == "coroutine 'left at the end' did not end: its stack is leaked");
    assert_eq!(leaks.count(), 1, "{told:?}");
}

// H03: what a key of pthread's holds is dropped when all thread-locals are gone.
#[test]
fn a_suspended_generator_that_a_pthread_key_holds_is_leaked_at_the_threads_end() {
    if OWN_THREADS || miri_cannot("make keys") {
        return;
    }
    thread_local! {
        static TEXT: String = "F".repeat(40);
    }
    extern "C" fn drops(kept: *mut libc::c_void) {
        // SAFETY: the key was set to a box of this type, once.
        drop(unsafe { Box::from_raw(kept.cast::<Generator<()>>()) });
    }
    let _watch = watch();
    let log = Log::default();
    let told = reports(|| {
        let log = log.clone();
        let thread = std::thread::spawn(move || {
            let kept = Box::new(borrows_text!("left to a key", log));
            let mut key = 0;
            // SAFETY: the key is ours, and `drops` takes what it is set to.
            unsafe {
                assert_eq!(libc::pthread_key_create(&raw mut key, Some(drops)), 0);
                assert_eq!(libc::pthread_setspecific(key, Box::into_raw(kept).cast()), 0);
            }
        });
        thread.join().unwrap();
    });
    assert_eq!(log.take(), [""; 0], "the destructor would read a string that is gone");
    let leaks = told.iter().filter(|told| *told == "coroutine 'left to a key' did not end: its stack is leaked");
    assert_eq!(leaks.count(), 1, "{told:?}");
}

// H03: asked to end by name, and not by its drop.
#[test]
fn a_close_in_a_thread_locals_destructor_is_refused() {
    struct AtEnd(Generator<()>, Log);
    impl Drop for AtEnd {
        fn drop(&mut self) {
            self.1.push(self.0.close().unwrap_err().to_string());
            assert_eq!(self.0.state(), State::Suspended);
            // What begins in here is not concerned, up to its first wait; nor what borrows, and has its callers here.
            assert_eq!(range(1).next(), Some(0));
            let sum =
                osier::generator::scoped(|y: &Yielder<u32>| y.yield_(1), |g| g.next().is_some() && g.close().is_ok());
            assert!(sum);
        }
    }
    thread_local! {
        static KEPT: RefCell<Option<AtEnd>> = const { RefCell::new(None) };
        static TEXT: String = "F".repeat(40);
    }
    if miri_cannot("walk its own stack, to find that the thread ends") {
        return;
    }
    let _watch = watch();
    let (log, read) = (Log::default(), Log::default());
    let thread = std::thread::spawn({
        let (log, read) = (log.clone(), read.clone());
        move || {
            KEPT.set(None);
            KEPT.set(Some(AtEnd(borrows_text!("closed at the end", read), log)));
        }
    });
    thread.join().unwrap();
    assert_eq!(log.take(), ["can't close a generator in the destructor of a thread-local"]);
    assert_eq!(read.take(), [""; 0]);
}

// GN-067: each drop asks how the thread stands, and does not walk over all the others for it.
#[test]
fn many_generators_in_for_loops_are_dropped_in_linear_time() {
    fn nest(level: usize, tally: &Tally) -> Generator<usize> {
        let (tally, token) = (tally.clone(), tally.token());
        let body = move |y: &Yielder<usize>| {
            let _token = token;
            if level == 0 {
                return y.yield_(0);
            }
            for item in nest(level - 1, &tally) {
                y.yield_(item + 1);
            }
        };
        Generator::builder(body).stack_size(32 * 1024).build()
    }
    /// What dropping them costs.
    fn dropping(depth: usize) -> f64 {
        let tally = Tally::default();
        let mut g = nest(depth, &tally);
        assert_eq!(g.next(), Some(depth));
        let began = thread_cpu_time();
        drop(g);
        let spent = thread_cpu_time() - began;
        tally.assert_all_dropped(depth + 1);
        spent.as_secs_f64()
    }
    let _watch = watch();
    if common::miri_cannot("ask for a thread's processor time") {
        return;
    }
    let (few, many) = (dropping(levels(1000)), dropping(levels(10_000)));
    // Ten times as many; where each walks over all the others, it is a hundred times the work.
    assert!(OWN_THREADS || many < 40.0 * few, "{few} s for 1000, {many} s for 10 000");
}

#[test]
fn a_finished_or_fresh_generator_in_a_thread_local_is_dropped_at_the_threads_end() {
    thread_local! {
        static KEPT: RefCell<Vec<Generator<Token>>> = const { RefCell::new(Vec::new()) };
    }
    let _watch = watch();
    let tally = Tally::default();
    let (fresh, finished) = (tally.token(), tally.token());
    std::thread::spawn(move || {
        KEPT.with_borrow_mut(|kept| {
            kept.push(Generator::new(move |y: &Yielder<Token>| y.yield_(fresh)));
            let mut g = Generator::new(move |y: &Yielder<Token>| y.yield_(finished));
            assert_eq!(g.by_ref().count(), 1);
            kept.push(g);
        });
    })
    .join()
    .unwrap();
    tally.assert_all_dropped(2);
}

// H05: what lies in its frame stays there, also for a thread of a `thread::scope` that is never left.
#[test]
fn a_forgotten_generator_stays_as_it_is() {
    let tally = Tally::default();
    let token = tally.token();
    // The thread reads a number on the forgotten stack when it is asked.
    let (ask, asked) = mpsc::channel::<mpsc::Sender<u32>>();
    let mut g = Generator::new(move |y: &Yielder<usize>| {
        let _token = token;
        let number = black_box(7_u32);
        let borrowed = &number;
        std::thread::scope(|s| {
            s.spawn(move || asked.iter().for_each(|answer| answer.send(*borrowed).unwrap()));
            y.yield_(ptr::from_ref(borrowed).addr());
        });
    });
    let at = g.next().unwrap();
    std::mem::forget(g);
    for _ in 0..rounds(100) {
        // It would get that stack, were it free.
        let mut g = Generator::new(|y: &Yielder<usize>| y.yield_((&raw const *black_box(&8_u32)).addr()));
        assert_ne!(g.next(), Some(at));
        let (answer, answers) = mpsc::channel();
        ask.send(answer).unwrap();
        assert_eq!((answers.recv(), tally.dropped()), (Ok(7), 0));
    }
}

// A body that never ran is a value as any other; where its destructor panics, the rest goes all the same. In a process of its
// own, for its memory is measured.
#[cfg(target_os = "linux")]
#[test]
fn a_fresh_body_whose_destructor_panics_leaves_no_block_behind() {
    let _watch = watch();
    if cfg!(osier_asan) || miri_cannot("start a process") {
        // The sanitizer keeps what was freed.
        return;
    }
    common::assert_ended_well(&common::run_program("bombs"));
}

#[cfg(target_os = "linux")]
#[allow(clippy::large_stack_arrays, clippy::large_stack_frames, reason = "the body is large so that its block is")]
fn bombs() {
    const SIZE: usize = 64 * 1024;
    let resident = || {
        let pages = std::fs::read_to_string("/proc/self/statm").unwrap();
        pages.split(' ').nth(1).unwrap().parse::<usize>().unwrap() * 4096
    };
    let before = resident();
    for _ in 0..2000 {
        let large = black_box([1_u8; SIZE]);
        let bomb = OnDrop(|| panic::resume_unwind(Box::new(3)));
        let g = Generator::new(move |y: &Yielder<u8>| {
            let _bomb = &bomb;
            y.yield_(large[SIZE - 1]);
        });
        assert!(catch(|| drop(g)).is_err());
    }
    let after = resident();
    assert!(after < before + 500 * SIZE, "{before} bytes, then {after}");
}

// Programs that need a process of their own.
#[test]
fn in_a_process_of_its_own() {
    match common::program().as_deref() {
        None => {}
        #[cfg(target_os = "linux")]
        Some("bombs") => bombs(),
        Some(other) => panic!("no program {other}"),
    }
}

// ---- many

#[test]
fn a_million_yields() {
    let _watch = watch();
    let mut g = Generator::new(|y: &Yielder<u64, u64>| {
        let mut sum = 0;
        loop {
            sum += y.yield_(sum);
        }
    });
    g.start().unwrap();
    let count = rounds(1_000_000) as u64;
    let last = (1..=count).map(|n| yielded::<_, _, ()>(g.send(n))).last();
    assert_eq!(last, Some(count * (count + 1) / 2));
}

#[test]
fn many_generators_share_few_stacks() {
    let _watch = watch();
    for _ in 0..rounds(20_000) {
        let mut g = range(2);
        assert_eq!(g.next(), Some(0));
    }
    let mut suspended: Vec<_> = std::iter::repeat_with(|| range(9)).take(levels(2000)).collect();
    for g in &mut suspended {
        assert_eq!(g.next(), Some(0));
    }
    assert!(osier::stack::usage().stacks < 20_000);
    suspended.iter_mut().rev().for_each(|g| assert_eq!(g.next(), Some(1)));
}

/// Random calls on a few generators, against what a table of states says they must answer.
#[test]
fn random_calls_agree_with_a_model() {
    const ITEMS: u64 = 5;
    let _watch = watch();
    let mut random = Random::new();
    let tally = Tally::default();
    let make = || {
        let token = tally.token();
        Generator::new(move |y: &Yielder<u64, u64>| {
            let _token = token;
            (0..ITEMS).map(|n| y.yield_(n)).sum::<u64>()
        })
    };
    // A generator, how many items it has yielded if it is suspended, and the sum of what it was sent.
    let mut all: Vec<_> = (0..20).map(|_| (make(), State::New, 0, 0)).collect();
    for _ in 0..rounds(50_000) {
        let at = usize::try_from(random.below(20)).unwrap();
        let (g, state, items, sum) = &mut all[at];
        assert_eq!(g.state(), *state);
        match random.below(16) {
            0 => {
                assert!(matches!(g.close(), Ok(None)));
                *state = State::Finished;
            }
            1 => all[at] = (make(), State::New, 0, 0),
            2..6 => match (g.start(), *state) {
                (Ok(Step::Yielded(0)), State::New) => (*state, *items) = (State::Suspended, 1),
                (Err(ResumeError::AlreadyStarted), State::Suspended) => {}
                (Err(ResumeError::AlreadyFinished), State::Finished) => {}
                (answer, state) => panic!("start in {state:?}: {answer:?}"),
            },
            _ => {
                let value = random.below(1000);
                match (g.send(value), *state) {
                    (Err(ResumeError::NotStarted(v)), State::New) => assert_eq!(v, value),
                    (Err(ResumeError::Finished(v)), State::Finished) => assert_eq!(v, value),
                    (Ok(Step::Yielded(n)), State::Suspended) => {
                        assert_eq!(n, *items);
                        (*items, *sum) = (*items + 1, *sum + value);
                    }
                    (Ok(Step::Returned(total)), State::Suspended) => {
                        assert_eq!((*items, total), (ITEMS, *sum + value));
                        *state = State::Finished;
                    }
                    (answer, state) => panic!("send in {state:?}: {answer:?}"),
                }
            }
        }
    }
    drop(all);
    tally.assert_all_dropped(tally.made());
}

// ---- programs

type Link = Option<Rc<Tree>>;

struct Tree {
    label: char,
    left: Link,
    right: Link,
}

fn tree(labels: &[char]) -> Link {
    let middle = labels.len() / 2;
    let &label = labels.get(middle)?;
    Some(Rc::new(Tree { label, left: tree(&labels[..middle]), right: tree(&labels[middle + 1..]) }))
}

fn recursive_walk(tree: Link) -> Generator<char> {
    Generator::new(move |y: &Yielder<char>| {
        if let Some(tree) = tree {
            recursive_walk(tree.left.clone()).for_each(|label| y.yield_(label));
            y.yield_(tree.label);
            recursive_walk(tree.right.clone()).for_each(|label| y.yield_(label));
        }
    })
}

fn iterative_walk(tree: Link) -> Generator<char> {
    Generator::new(move |y: &Yielder<char>| {
        let (mut stack, mut node) = (Vec::new(), tree);
        loop {
            while let Some(tree) = node {
                node = tree.left.clone();
                stack.push(tree);
            }
            let Some(tree) = stack.pop() else { return };
            y.yield_(tree.label);
            node = tree.right.clone();
        }
    })
}

// GN-109
#[test]
fn a_tree_is_walked_in_order_both_ways() {
    let alphabet: Vec<_> = ('A'..='Z').collect();
    let tree = tree(&alphabet);
    assert_eq!(recursive_walk(tree.clone()).collect::<Vec<_>>(), alphabet);
    assert_eq!(iterative_walk(tree).collect::<Vec<_>>(), alphabet);
}

fn sieve(numbers: Box<dyn Iterator<Item = u64>>) -> Generator<u64> {
    Generator::new(move |y: &Yielder<u64>| {
        let mut numbers = numbers;
        let Some(prime) = numbers.next() else { return };
        y.yield_(prime);
        let rest = Generator::new(move |y: &Yielder<u64>| {
            numbers.filter(|n| n % prime != 0).for_each(|n| y.yield_(n));
        });
        sieve(Box::new(rest)).for_each(|n| y.yield_(n));
    })
}

// GN-110
#[test]
fn the_recursive_sieve_nests_deeper_with_every_prime() {
    let _watch = watch();
    let primes: Vec<_> = sieve(Box::new(2..)).take(20).collect();
    assert_eq!(primes, [2, 3, 5, 7, 11, 13, 17, 19, 23, 29, 31, 37, 41, 43, 47, 53, 59, 61, 67, 71]);
}

const FIBONACCI: [u64; 17] = [1, 2, 3, 5, 8, 13, 21, 34, 55, 89, 144, 233, 377, 610, 987, 1597, 2584];

/// Several readers of one source, each at its own place; what was read once is kept.
#[derive(Clone)]
struct Tee {
    source: Rc<RefCell<Option<Generator<u64>>>>,
    read: Rc<RefCell<Vec<u64>>>,
    at: usize,
}

impl Iterator for Tee {
    type Item = u64;

    fn next(&mut self) -> Option<u64> {
        if self.at == self.read.borrow().len() {
            let item = self.source.borrow_mut().as_mut()?.next()?;
            self.read.borrow_mut().push(item);
        }
        self.at += 1;
        Some(self.read.borrow()[self.at - 1])
    }
}

// GN-112
#[test]
fn fibonacci_reads_its_own_output() {
    // By index into what it has produced.
    let produced = Rc::new(RefCell::new(Vec::new()));
    let own = produced.clone();
    let by_index = Generator::new(move |y: &Yielder<u64>| {
        y.yield_(1);
        y.yield_(2);
        for i in 0.. {
            let sum = own.borrow()[i] + own.borrow()[i + 1];
            y.yield_(sum);
        }
    });
    let kept = produced.clone();
    assert_eq!(by_index.inspect(move |&n| kept.borrow_mut().push(n)).take(17).collect::<Vec<_>>(), FIBONACCI);

    // Through two readers of itself.
    let tee = Tee { source: Rc::default(), read: Rc::default(), at: 0 };
    let (first, second) = (tee.clone(), tee.clone());
    let source = Generator::new(move |y: &Yielder<u64>| {
        y.yield_(1);
        y.yield_(2);
        first.zip(second.skip(1)).for_each(|(a, b)| y.yield_(a + b));
    });
    *tee.source.borrow_mut() = Some(source);
    assert_eq!(tee.clone().take(17).collect::<Vec<_>>(), FIBONACCI);
    // The source holds readers of itself: a cycle that only its holder can break.
    drop(tee.source.take());
}

fn combinations(items: Vec<u32>, k: usize) -> Generator<Vec<u32>> {
    Generator::new(move |y: &Yielder<Vec<u32>>| {
        if k > items.len() {
            return;
        }
        let Some((&first, rest)) = items.split_first().filter(|_| k > 0) else { return y.yield_(Vec::new()) };
        for mut combination in combinations(rest.to_vec(), k - 1) {
            combination.insert(0, first);
            y.yield_(combination);
        }
        combinations(rest.to_vec(), k).for_each(|combination| y.yield_(combination));
    })
}

// GN-113
#[test]
fn all_combinations_come_in_lexical_order() {
    for (k, count) in [1, 4, 6, 4, 1, 0].into_iter().enumerate() {
        let all: Vec<_> = combinations(vec![1, 2, 3, 4], k).collect();
        assert_eq!(all.len(), count);
        assert!(all.is_sorted() && all.iter().all(|combination| combination.len() == k));
    }
}

type Choices = Rc<Vec<Box<dyn Fn() -> Generator<usize>>>>;

/// Every way to take one item from each of the generators; each is made anew when those before it have moved on.
fn conjoin(choices: Choices) -> Generator<Vec<usize>> {
    fn from(at: usize, choices: Choices, values: Rc<RefCell<Vec<usize>>>) -> Generator<Vec<usize>> {
        Generator::new(move |y: &Yielder<Vec<usize>>| {
            let Some(choice) = choices.get(at) else { return y.yield_(values.borrow().clone()) };
            for value in choice() {
                values.borrow_mut()[at] = value;
                from(at + 1, choices.clone(), values.clone()).for_each(|all| y.yield_(all));
            }
        })
    }
    let values = Rc::new(RefCell::new(vec![0; choices.len()]));
    from(0, choices, values)
}

// GN-115
#[test]
fn conjoin_tries_every_choice() {
    let _watch = watch();
    for n in 0..=9 {
        let bits = || Box::new(|| Generator::new(|y: &Yielder<usize>| (0..2).for_each(|bit| y.yield_(bit)))) as Box<_>;
        let all: Vec<_> = conjoin(Rc::new((0..n).map(|_| bits()).collect())).collect();
        assert_eq!(all.len(), 1 << n);
        assert_eq!((&all[0], &all[all.len() - 1]), (&vec![0; n], &vec![1; n]));
    }
}

// GN-116
#[test]
fn eight_queens_by_backtracking() {
    const N: usize = 8;
    let _watch = watch();
    // Each row's generator takes a free column while its item is in use, and gives it back when it is resumed.
    let taken = Rc::new(RefCell::new([[false; 2 * N]; 3]));
    let row = |row: usize| -> Box<dyn Fn() -> Generator<usize>> {
        let taken = taken.clone();
        Box::new(move || {
            let taken = taken.clone();
            Generator::new(move |y: &Yielder<usize>| {
                for column in 0..N {
                    let lines = [column, row + column, row + N - column];
                    let is_free = |taken: &[[bool; 2 * N]; 3]| (0..3).all(|kind| !taken[kind][lines[kind]]);
                    if is_free(&taken.borrow()) {
                        (0..3).for_each(|kind| taken.borrow_mut()[kind][lines[kind]] = true);
                        y.yield_(column);
                        (0..3).for_each(|kind| taken.borrow_mut()[kind][lines[kind]] = false);
                    }
                }
            })
        })
    };
    let all: Vec<_> = conjoin(Rc::new((0..N).map(row).collect())).collect();
    assert_eq!(all.len(), 92);
    assert_eq!((&all[0][..], &all[1][..]), (&[0, 4, 7, 5, 2, 6, 1, 3][..], &[0, 5, 7, 2, 6, 3, 1, 4][..]));
}

// S08
#[test]
fn a_producer_sends_to_a_consumer() {
    let log = Log::default();
    let mut consumer = {
        let log = log.clone();
        Generator::new(move |y: &Yielder<(), u32>| {
            log.push("Ready to receive");
            loop {
                log.push(format!("Receive {} from producer", y.yield_(())));
            }
        })
        .primed()
    };
    for i in 1..=10 {
        log.push(format!("Send {i} to consumer"));
        yielded::<_, _, ()>(consumer.send(i));
    }
    let pairs = (1..=10).flat_map(|i| [format!("Send {i} to consumer"), format!("Receive {i} from producer")]);
    assert_eq!(log.take(), std::iter::once(String::from("Ready to receive")).chain(pairs).collect::<Vec<_>>());
}

// S09: a chain of a thousand workers, each of which handles its own jobs and passes the others on.
#[test]
fn a_foreman_deals_jobs_through_a_chain_of_workers() {
    const WORKERS: u64 = levels(1000) as u64;
    type Job = (u64, u64);
    let _watch = watch();
    let done = Rc::new(RefCell::new(Vec::new()));
    let mut head: Option<Generator<(), Job>> = None;
    for id in (0..WORKERS).rev() {
        let (mut next, done) = (head.take(), done.clone());
        let worker = Generator::new(move |y: &Yielder<(), Job>| {
            loop {
                let (worker, job) = y.yield_(());
                match &mut next {
                    _ if worker == id => done.borrow_mut().push((worker, job, job * job)),
                    Some(next) => yielded::<_, _, ()>(next.send((worker, job))),
                    None => panic!("nobody is worker {worker}"),
                }
            }
        });
        head = Some(worker.primed());
    }
    let mut head = head.unwrap();
    for job in 0..6 {
        yielded::<_, _, ()>(head.send((job % 3, job)));
    }
    assert_eq!(*done.borrow(), [(0, 0, 0), (1, 1, 1), (2, 2, 4), (0, 3, 9), (1, 4, 16), (2, 5, 25)]);
    done.borrow_mut().clear();
    yielded::<_, _, ()>(head.send((WORKERS - 1, 9)));
    assert_eq!(*done.borrow(), [(WORKERS - 1, 9, 81)]);
}

// S16
#[test]
fn round_robin_over_generators() {
    let log = Log::default();
    let countdown = |name: &'static str, from: u32| {
        let log = log.clone();
        Generator::new(move |y: &Yielder<()>| {
            for n in (1..=from).rev() {
                log.push(format!("{name} {n}"));
                y.yield_(());
            }
        })
    };
    let mut tasks = VecDeque::from([countdown("a", 3), countdown("b", 1), countdown("c", 2)]);
    while let Some(mut task) = tasks.pop_front() {
        if task.next().is_some() {
            tasks.push_back(task);
        }
    }
    assert_eq!(log.take(), ["a 3", "b 1", "c 2", "a 2", "c 1", "a 1"]);
}

// ---- started, or gone on with

#[test]
fn resume_starts_what_is_new_and_sends_to_what_is_suspended() {
    let _watch = watch();
    let tally = Tally::default();
    let body = |y: &Yielder<u32, Token>| {
        drop(y.yield_(1));
        drop(y.yield_(2));
        "end"
    };
    /// The same calls of every form: the first value is dropped unseen, one that is refused comes back.
    macro_rules! resumed {
        ($g:expr) => {{
            let made = tally.made();
            assert_eq!(yielded($g.resume(tally.token())), 1);
            assert_eq!(tally.dropped(), made + 1, "the first run takes no value");
            assert_eq!($g.state(), State::Suspended);
            assert_eq!(yielded($g.resume(tally.token())), 2);
            assert_eq!(returned($g.resume(tally.token())), "end");
            assert!(matches!($g.resume(tally.token()), Err(ResumeError::Finished(_))));
            tally.assert_all_dropped(made + 4);
        }};
    }
    let mut plain = Generator::new(body);
    resumed!(plain);
    let shared = Generator::new(body).shared();
    resumed!(shared);
    generator::scoped(body, |g| resumed!(g));
    let mut plain = Generator::new(body);
    let mut through: Box<dyn Resume<Token, Out = u32, Ret = &'static str> + '_> = Box::new(&mut plain);
    assert_eq!(yielded(through.resume(tally.token())), 1);
    assert_eq!(yielded(through.resume(tally.token())), 2);
    assert_eq!(returned(through.resume(tally.token())), "end");
}

#[test]
fn resume_of_what_executes_gives_the_value_back() {
    let _watch = watch();
    let slot: Rc<RefCell<Option<generator::Shared<u32, u32>>>> = Rc::default();
    let own = slot.clone();
    let g = Generator::new(move |y: &Yielder<u32, u32>| {
        let me = own.borrow_mut().take().unwrap();
        match me.resume(7) {
            Err(ResumeError::Executing(value)) => drop(y.yield_(value)),
            other => panic!("{other:?}"),
        }
    })
    .shared();
    *slot.borrow_mut() = Some(g.clone());
    assert_eq!(yielded(g.resume(0)), 7);
    returned(g.resume(0));
    // A start that fails is one of `resume`, too.
    let mut raises = Generator::new(|_: &Yielder<u32, u32>| osier::raise(std::fmt::Error));
    assert!(matches!(raises.resume(0), Err(ResumeError::Raised(_))));
}
