//! Delegation: `yield_from` and its kin, what is sent, thrown and closed through them, and how deep they go.

mod common;

use std::cell::{OnceCell, RefCell};
use std::rc::Rc;

use common::{Log, OnDrop, Oops, Tally, levels, panic_text, raised, watch, yielded};
use osier::generator::{Resume, ResumeError, Shared, State};
use osier::{Exception, Generator, Step, Yielder, catch, catch_exit, raise};

fn range(n: u32) -> Generator<u32> {
    Generator::new(move |y: &Yielder<u32>| y.yield_all(0..n))
}

#[test]
fn smoke() {
    let _watch = watch();
    let mut g = Generator::new(|y: &Yielder<u32>| {
        y.yield_from(&mut range(3));
        y.yield_all([10, 11]);
        "end"
    });
    assert_eq!(g.by_ref().collect::<Vec<_>>(), [0, 1, 2, 10, 11]);
    assert_eq!(g.take_return(), Some("end"));
}

// GN-067
#[test]
fn the_inner_one_starts_and_ends_within_the_outer_one() {
    let log = Log::default();
    let l = log.clone();
    let g = Generator::new(move |y: &Yielder<u32>| {
        l.push("start g1");
        let inner = l.clone();
        y.yield_from(&mut Generator::new(move |y: &Yielder<u32>| {
            inner.push("start g2");
            y.yield_(42);
            inner.push("finish g2");
        }));
        l.push("finish g1");
    });
    for n in g {
        log.push(n.to_string());
    }
    assert_eq!(log.take(), ["start g1", "start g2", "42", "finish g2", "finish g1"]);
}

// GN-068, GN-070
#[test]
fn what_the_inner_one_raises_passes_through_the_outer_one() {
    for before in [0, 1] {
        let log = Log::default();
        let l = log.clone();
        let mut g: Generator<u32> = Generator::new(move |y: &Yielder<u32>| {
            let _outer = l.at_drop("finally outer");
            let inner = l.clone();
            y.yield_from(&mut Generator::new(move |y: &Yielder<u32>| -> () {
                let _inner = inner.at_drop("finally inner");
                y.yield_all(0..before);
                raise(Oops("inner"))
            }));
        });
        let mut step = g.start();
        for _ in 0..before {
            yielded(step);
            step = g.send(());
        }
        assert!(raised(step).is::<Oops>());
        assert_eq!((log.take(), g.next()), (vec!["finally inner".to_owned(), "finally outer".to_owned()], None));
    }
}

// GN-071
#[test]
fn sends_go_to_whoever_yielded() {
    let log = Log::default();
    let l = log.clone();
    let mut g = Generator::new(move |y: &Yielder<(), u32>| {
        l.push(format!("g1 got {}", y.yield_(())));
        let inner = l.clone();
        y.yield_from(&mut Generator::new(move |y: &Yielder<(), u32>| {
            inner.push(format!("g2 got {}", y.yield_(())));
            inner.push(format!("g2 got {}", y.yield_(())));
        }));
        l.push(format!("g1 got {}", y.yield_(())));
    });
    g.start().unwrap();
    let steps: Vec<_> = (1..=4).map(|n| g.send(n).unwrap()).collect();
    assert_eq!(steps, [Step::Yielded(()), Step::Yielded(()), Step::Yielded(()), Step::Returned(())]);
    assert_eq!(log.take(), ["g1 got 1", "g2 got 2", "g2 got 3", "g1 got 4"]);
}

// GN-028, the delegating half; GN-077, GN-079
#[test]
fn the_value_of_a_delegation_is_what_the_inner_one_returned() {
    let mut g = Generator::new(|y: &Yielder<u32, u32>| {
        let inner = |y: &Yielder<u32, u32>| y.yield_(1);
        y.yield_from(&mut Generator::new(inner))
    });
    assert_eq!((g.start().unwrap(), g.send(2).unwrap()), (Step::Yielded(1), Step::Returned(2)));
    let mut g = Generator::new(|y: &Yielder<u32>| {
        let none: () = y.yield_from(&mut Generator::new(|_: &Yielder<u32>| ()));
        let spam = y.yield_from(&mut Generator::new(|_: &Yielder<u32>| "spam"));
        (none, spam)
    });
    assert_eq!(g.start().unwrap(), Step::Returned(((), "spam")));
}

// GN-073
#[test]
fn closing_the_outer_one_closes_the_inner_one_first() {
    let log = Log::default();
    let l = log.clone();
    let mut g = Generator::new(move |y: &Yielder<u32>| {
        let _outer = l.at_drop("outer");
        let inner = l.clone();
        y.yield_from(&mut Generator::new(move |y: &Yielder<u32>| {
            let _inner = inner.at_drop("inner");
            y.yield_(1);
        }));
    })
    .primed();
    assert_eq!(g.close().unwrap(), None);
    assert_eq!(log.take(), ["inner", "outer"]);
}

/// An inner generator that answers a close or an exception in its own way, delegated to by one that logs its end.
/// Suspended at the inner one's first yield.
fn suspended(
    log: &Log,
    inner: impl FnOnce(&Yielder<&'static str>) -> &'static str + 'static,
) -> Generator<&'static str, (), &'static str> {
    let log = log.clone();
    Generator::new(move |y: &Yielder<&'static str>| {
        let _outer = log.at_drop("outer");
        y.yield_from(&mut Generator::new(inner))
    })
    .primed()
}

// GN-074
#[test]
fn an_error_while_the_inner_one_is_closed_leaves_close() {
    let log = Log::default();
    let mut g = suspended(&log, |y| {
        _ = catch_exit(|| y.yield_("first"));
        raise(Oops("value"))
    });
    assert_eq!(raised(g.close()).to_string(), "value");
    assert_eq!((log.take(), g.state()), (vec!["outer".to_owned()], State::Finished));
}

// GN-076
#[test]
fn a_throw_that_the_inner_one_catches_gives_its_next_yield() {
    let mut g = Generator::new(|y: &Yielder<&str>| {
        y.yield_from(&mut Generator::new(|y: &Yielder<&str>| {
            if catch(|| y.yield_("inner first")).is_err() {
                y.yield_("inner caught");
            }
            y.yield_("inner last");
        }));
        y.yield_("outer");
    });
    assert_eq!(g.next(), Some("inner first"));
    assert_eq!(yielded(g.throw(Oops("x"))), "inner caught");
    assert_eq!(g.collect::<Vec<_>>(), ["inner last", "outer"]);
}

// GN-080
#[test]
fn a_throw_that_makes_the_inner_one_return_goes_on_in_the_outer_one() {
    let mut g = Generator::new(|y: &Yielder<u32>| {
        let v =
            y.yield_from(&mut Generator::new(|y: &Yielder<u32>| if catch(|| y.yield_(1)).is_err() { 7 } else { 0 }));
        y.yield_(v);
    });
    assert_eq!(g.next(), Some(1));
    assert_eq!(yielded(g.throw(Oops("x"))), 7);
}

// GN-083
#[test]
fn a_throw_into_plain_items_is_raised_in_the_outer_one() {
    let mut g = Generator::new(|y: &Yielder<u32>| {
        let caught = catch(|| y.yield_all(0..100)).unwrap_err();
        assert!(caught.is::<Oops>());
        y.yield_(1000);
    });
    assert_eq!(g.by_ref().take(5).collect::<Vec<_>>(), [0, 1, 2, 3, 4]);
    assert_eq!(yielded(g.throw(Oops("x"))), 1000);
}

// GN-085
#[test]
fn delegating_to_nothing_yields_nothing() {
    let mut g = Generator::new(|y: &Yielder<u32>| {
        y.yield_from(&mut range(0));
        y.yield_all([]);
    });
    assert_eq!(g.next(), None);
}

/// A delegate that is no coroutine: counts, returns 42, and shows its hooks to a closure.
struct Counter<F: FnMut(&'static str)> {
    left: u32,
    hook: F,
}

impl<F: FnMut(&'static str)> Resume<()> for Counter<F> {
    type Out = u32;
    type Ret = u32;

    fn start(&mut self) -> Result<Step<u32, u32>, ResumeError<()>> {
        (self.hook)("start");
        self.send(())
    }

    fn send(&mut self, (): ()) -> Result<Step<u32, u32>, ResumeError<()>> {
        if self.left == 0 {
            return Ok(Step::Returned(42));
        }
        self.left -= 1;
        Ok(Step::Yielded(self.left))
    }

    fn throw(&mut self, exception: Exception) -> Result<Step<u32, u32>, ResumeError<()>> {
        (self.hook)("throw");
        Err(ResumeError::Raised(exception))
    }

    fn close(&mut self) -> Result<Option<u32>, ResumeError<()>> {
        (self.hook)("close");
        Ok(None)
    }
}

// GN-086
#[test]
fn a_delegate_of_ones_own_has_a_value_too() {
    let mut g = Generator::new(|y: &Yielder<u32>| y.yield_from(&mut Counter { left: 2, hook: drop }));
    assert_eq!(g.by_ref().collect::<Vec<_>>(), [1, 0]);
    assert_eq!(g.take_return(), Some(42));
}

// GN-064, GN-065: hooks of a delegate that look at, and resume, whoever delegates to it.
#[test]
fn a_delegates_hooks_find_the_delegator_executing() {
    let myself: Rc<OnceCell<Shared<u32, (), u32>>> = Rc::default();
    let seen = Rc::new(RefCell::new(Vec::new()));
    let body = {
        let (myself, seen) = (myself.clone(), seen.clone());
        move |y: &Yielder<u32>| {
            let hook = |what| {
                let me = myself.get().expect("set below");
                seen.borrow_mut().push((what, me.state(), me.send(()).unwrap_err().to_string()));
            };
            y.yield_from(&mut Counter { left: 9, hook })
        }
    };
    let g = Generator::new(body).shared();
    assert!(myself.set(g.clone()).is_ok());
    g.start().unwrap();
    g.close().unwrap();
    let text = || "generator already executing".to_owned();
    assert_eq!(*seen.borrow(), [("start", State::Executing, text()), ("close", State::Executing, text())]);
}

// As in Python, where the `next` of one that has finished raises an empty `StopIteration`: the delegation ends.
#[test]
fn a_delegate_that_another_holder_finishes_ends_the_delegation() {
    let counting = || Generator::new(|y: &Yielder<u32, ()>| y.yield_all(0..2)).shared();
    let inner = counting();
    inner.start().unwrap();
    let mut g = Generator::new({
        let mut inner = inner.clone();
        move |y: &Yielder<u32, ()>| y.resume_from((), &mut inner)
    });
    assert_eq!(g.next(), Some(1));
    inner.close().unwrap();
    assert_eq!(g.next(), None);
    assert_eq!(g.take_return(), Some(None));

    // `yield_from` promises a value, and has none.
    let inner = counting();
    let mut g = Generator::new({
        let mut inner = inner.clone();
        move |y: &Yielder<u32, ()>| y.yield_from(&mut inner)
    })
    .primed();
    inner.close().unwrap();
    let error = raised(g.send(()));
    assert!(matches!(error.downcast_ref(), Some(ResumeError::<()>::Finished(()))), "{error}");
}

// GN-064: the inner one catches each throw and yields on.
#[test]
fn throwing_at_every_step_keeps_the_count() {
    let mut g = Generator::new(|y: &Yielder<u32>| {
        y.yield_from(&mut Generator::new(|y: &Yielder<u32>| {
            let mut n = 0;
            while catch(|| y.yield_(n)).is_err() {
                n += 1;
            }
        }));
    });
    let mut seen = vec![yielded(g.start())];
    seen.extend((0..3).map(|_| yielded(g.throw(Oops("my error")))));
    assert_eq!(seen, [0, 1, 2, 3]);
}

// GN-062
#[test]
fn delegating_in_a_circle_is_re_entry() {
    let log = Log::default();
    let first: Rc<OnceCell<Shared<u32>>> = Rc::default();
    let second = {
        let (first, log) = (first.clone(), log.clone());
        move |y: &Yielder<u32>| {
            y.yield_(2);
            log.push("g2: about to yield from g1");
            y.yield_from(&mut first.get().expect("set below").clone());
            log.push("never");
        }
    };
    let g = {
        let log = log.clone();
        Generator::new(move |y: &Yielder<u32>| {
            y.yield_(1);
            log.push("g1: about to yield from g2");
            y.yield_from(&mut Generator::new(second));
            log.push("never");
        })
        .shared()
    };
    assert!(first.set(g.clone()).is_ok());
    assert_eq!((yielded(g.start()), yielded(g.send(()))), (1, 2));
    assert_eq!(raised(g.send(())).to_string(), "generator already executing");
    assert_eq!(log.take(), ["g1: about to yield from g2", "g2: about to yield from g1"]);
}

// GN-088, GN-094: the inner one is closed, and what it returns is lost.
#[test]
fn an_outer_one_sees_the_close_and_not_what_the_inner_one_returned() {
    let seen = Rc::new(RefCell::new(Vec::new()));
    let log = seen.clone();
    let mut g = Generator::new(move |y: &Yielder<u32>| {
        let outer = catch_exit(|| {
            y.yield_from(&mut Generator::new(
                |y: &Yielder<u32>| {
                    if catch_exit(|| y.yield_(1)).is_err() { 42 } else { 0 }
                },
            ))
        });
        log.borrow_mut().push(outer.as_ref().map_err(|exit| exit.kind()).copied());
        if let Err(exit) = outer {
            exit.resume();
        }
    })
    .primed();
    assert_eq!(g.close().unwrap(), None);
    assert_eq!(*seen.borrow(), [Err(osier::ExitKind::Close)]);
}

// GN-092
#[test]
fn delegating_to_started_and_finished_ones() {
    let (mut half, mut done) = (range(4), range(0));
    assert_eq!((half.next(), done.next()), (Some(0), None));
    let mut g = Generator::new(move |y: &Yielder<u32>| {
        let mut rest = half;
        assert!(matches!(
            catch(|| y.yield_from(&mut rest)).unwrap_err().downcast_ref(),
            Some(ResumeError::<()>::AlreadyStarted)
        ));
        let fresh = catch(|| y.resume_from((), &mut range(1))).unwrap_err();
        assert!(matches!(fresh.downcast_ref(), Some(ResumeError::NotStarted(()))));
        (y.resume_from((), &mut rest), y.resume_from((), &mut done))
    });
    assert_eq!(g.by_ref().collect::<Vec<_>>(), [1, 2, 3]);
    assert_eq!(g.take_return(), Some((Some(()), None)));
}

// ---- the edge matrix: what the inner one does × close or throw; afterwards there is nothing more

/// The outer one has ended, and its destructors have run.
#[track_caller]
fn assert_over(g: &mut Generator<&'static str, (), &'static str>, log: &Log) {
    assert_eq!((g.next(), g.state(), log.take()), (None, State::Finished, vec!["outer".to_owned()]));
}

// GN-095
#[test]
fn edge_an_inner_one_without_a_handler() {
    let log = Log::default();
    let inner = |y: &Yielder<&'static str>| {
        y.yield_("first");
        "end"
    };
    let mut g = suspended(&log, inner);
    assert_eq!(g.close().unwrap(), None);
    assert_over(&mut g, &log);
    let mut g = suspended(&log, inner);
    let sent = Exception::from(Oops("x"));
    assert!(raised(g.throw(sent.clone())).ptr_eq(&sent));
    assert_over(&mut g, &log);
}

/// Waits in the inner one, and does `f` when that ends by a close or an exception.
fn finally(y: &Yielder<&'static str>, f: impl FnOnce()) -> &'static str {
    match catch_exit(|| catch(|| y.yield_("first"))) {
        Err(exit) => {
            f();
            exit.resume()
        }
        Ok(Err(exception)) => {
            f();
            raise(exception)
        }
        Ok(Ok(())) => "end",
    }
}

// GN-098: a `finally` that raises. Here both are of one kind; the sent one is lost.
#[test]
fn edge_an_inner_one_whose_finally_raises() {
    let log = Log::default();
    let inner = |y: &Yielder<&'static str>| finally(y, || raise(Oops("finally")));
    let mut g = suspended(&log, inner);
    assert_eq!(raised(g.close()).to_string(), "finally");
    assert_over(&mut g, &log);
    let mut g = suspended(&log, inner);
    assert_eq!(raised(g.throw(Oops("x"))).to_string(), "finally");
    assert_over(&mut g, &log);
}

// GN-089, GN-100: a `finally` that yields.
#[test]
fn edge_an_inner_one_whose_finally_yields() {
    let log = Log::default();
    let inner = |y: &Yielder<&'static str>| finally(y, || y.yield_("second"));
    let mut g = suspended(&log, inner);
    let ignored = raised(g.close());
    assert!(matches!(ignored.downcast_ref(), Some(ResumeError::<()>::IgnoredClose)), "{ignored}");
    assert_over(&mut g, &log);
    let mut g = suspended(&log, inner);
    let sent = Exception::from(Oops("x"));
    assert_eq!(yielded(g.throw(sent.clone())), "second");
    assert!(raised(g.send(())).ptr_eq(&sent));
    assert_over(&mut g, &log);
}

// GN-101: a `finally` that returns.
#[test]
fn edge_an_inner_one_whose_finally_returns() {
    let log = Log::default();
    let inner = |y: &Yielder<&'static str>| {
        _ = catch_exit(|| catch(|| y.yield_("first")));
        "returned"
    };
    let mut g = suspended(&log, inner);
    assert_eq!(g.close().unwrap(), None, "what the inner one returns is swallowed");
    assert_over(&mut g, &log);
    let mut g = suspended(&log, inner);
    assert_eq!(g.throw(Oops("x")).unwrap(), Step::Returned("returned"), "the exception is lost");
    assert_over(&mut g, &log);
}

// ---- hostile

#[test]
fn a_panic_in_the_inner_one_passes_through_all() {
    let log = Log::default();
    let mut g = suspended(&log, |y| {
        y.yield_("first");
        panic!("inner bug")
    });
    assert_eq!(panic_text(|| g.next()), "inner bug");
    assert_over(&mut g, &log);
}

#[test]
fn an_inner_one_suspended_in_its_own_unwind_refuses_a_throw() {
    let log = Log::default();
    let mut g = suspended(&log, |y| {
        let _finally = OnDrop(|| y.yield_("destructor"));
        y.yield_("first");
        "end"
    });
    assert_eq!(yielded(g.throw(Oops("one"))), "destructor");
    // The outer one does not unwind itself, so it takes the throw; the inner one refuses, and that is raised.
    let refused = raised(g.throw(Oops("two")));
    assert!(matches!(refused.downcast_ref(), Some(ResumeError::<()>::Unwinding)), "{refused}");
    assert_over(&mut g, &log);
}

#[test]
fn a_dropped_chain_drops_every_level_once() {
    let tally = Tally::default();
    drop(nest(20, &tally).primed());
    tally.assert_all_dropped(21);
}

// ---- depth

/// Generators that delegate to each other, `depth` levels; the innermost yields 0, 1, 2 and returns what it was sent
/// by then.
fn nest(depth: u32, tally: &Tally) -> Generator<u32, u32, u32> {
    let (token, tally) = (tally.token(), tally.clone());
    Generator::builder(move |y: &Yielder<u32, u32>| {
        let _token = token;
        match depth {
            0 => (0..3).map(|n| y.yield_(n)).sum(),
            _ => y.yield_from(&mut nest(depth - 1, &tally)),
        }
    })
    .stack_size(32 * 1024)
    .build()
}

#[expect(clippy::cast_possible_truncation, reason = "it is a small constant")]
const DEEP: u32 = levels(10_000) as u32;

#[test]
fn ten_thousand_levels_send_and_return() {
    let _watch = watch();
    let tally = Tally::default();
    let mut g = nest(DEEP, &tally);
    let mut step = g.start();
    for n in 0..3 {
        assert_eq!(yielded(step), n);
        step = g.send(n + 1);
    }
    assert_eq!(step.unwrap(), Step::Returned(6));
    tally.assert_all_dropped(DEEP as usize + 1);
}

#[test]
fn ten_thousand_levels_raise_close_and_drop() {
    let _watch = watch();
    for way in 0..3 {
        let tally = Tally::default();
        let mut g = nest(DEEP, &tally).primed();
        match way {
            0 => {
                let sent = Exception::from(Oops("deep"));
                assert!(raised(g.throw(sent.clone())).ptr_eq(&sent));
            }
            1 => assert_eq!(g.close().unwrap(), None),
            _ => drop(g),
        }
        tally.assert_all_dropped(DEEP as usize + 1);
    }
}

#[test]
fn what_is_resumed_may_be_in_a_box_or_borrowed() {
    let letters = || Generator::new(|y: &Yielder<char>| "ab".chars().for_each(|letter| y.yield_(letter)));
    let mut kinds: Vec<Box<dyn Resume<(), Out = char, Ret = ()>>> =
        vec![Box::new(letters()), Box::new(letters().shared())];
    let mut g = Generator::new(move |y: &Yielder<char>| {
        for kind in &mut kinds {
            y.yield_from(kind);
        }
        let mut last = letters();
        y.yield_from(&mut &mut last);
    });
    assert_eq!(g.by_ref().collect::<String>(), "ababab");
    assert_eq!(g.state(), State::Finished);
}

#[test]
fn yield_from_any_takes_what_is_new_started_or_finished() {
    let _watch = watch();
    for taken in 0..=4 {
        let mut inner = range(3);
        (0..taken).for_each(|_| _ = inner.next());
        let mut outer = Generator::new(move |y: &Yielder<u32>| y.yield_from_any((), &mut inner));
        assert!(outer.by_ref().eq(taken..3));
        assert_eq!(outer.take_return(), Some((taken < 4).then_some(())));
    }
    // To one that was started `first` is sent; what comes later goes through, exceptions too.
    let echo = |y: &Yielder<u32, u32>| {
        let mut said = 0;
        for _ in 0..3 {
            said = y.try_yield(said).unwrap_or(99);
        }
        said
    };
    for is_started in [false, true] {
        let mut inner = Generator::new(echo);
        if is_started {
            assert_eq!(yielded(inner.start()), 0);
        }
        let mut outer = Generator::new(move |y: &Yielder<u32, u32>| y.yield_from_any(5, &mut inner));
        assert_eq!(yielded(outer.start()), if is_started { 5 } else { 0 });
        assert_eq!(yielded(outer.throw(Oops("off"))), 99);
        if !is_started {
            assert_eq!(yielded(outer.send(1)), 1);
        }
        assert_eq!(outer.send(7).unwrap(), Step::Returned(Some(7)));
    }
    // What executes is refused, as everywhere.
    let slot: Rc<OnceCell<Shared<u32>>> = Rc::default();
    let own = slot.clone();
    let g = Generator::new(move |y: &Yielder<u32>| y.yield_from_any((), &mut own.get().unwrap().clone()).unwrap());
    let g = slot.get_or_init(|| g.shared());
    assert!(raised(g.clone().start()).is::<ResumeError<()>>());
}
