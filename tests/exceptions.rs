//! Exceptions and exits: raised, thrown into generators and tasks, caught, and what becomes of those nobody catches.

mod common;

use std::cell::{Cell, OnceCell, RefCell};
use std::error::Error;
use std::fmt;
use std::panic::{self, AssertUnwindSafe};
use std::rc::Rc;
use std::sync::Mutex;

use common::{
    Log, OWN_THREADS, OnDrop, Oops, Tally, assert_died_of, assert_ended_well, miri_cannot, panic_text, program, raised,
    run_program, stderr, watch, yielded,
};
use osier::generator::{ResumeError, ScopedGenerator, Shared, State, Weak, scoped, yield_};
use osier::{
    Exception, ExitKind, Generator, Greenlet, OrRaise, Report, Step, Yielder, catch, catch_exit, catch_unwind, raise,
    set_report_hook,
};

fn oops(exception: &Exception) -> &'static str {
    exception.downcast_ref::<Oops>().expect("an `Oops`").0
}

// ---- raise and catch

#[test]
fn smoke() {
    let _watch = watch();
    let result = catch(|| if true { raise(Oops("no")) } else { 1 });
    assert_eq!(oops(&result.unwrap_err()), "no");
    assert_eq!(catch(|| 2).unwrap(), 2);
}

#[test]
fn clones_are_the_same_object() {
    let exception = Exception::from(Oops("one"));
    assert!(exception.ptr_eq(&exception.clone()));
    assert!(!exception.ptr_eq(&Exception::from(Oops("one"))));
    assert!(exception.is::<Oops>() && !exception.is::<fmt::Error>());
    assert_eq!((format!("{exception}"), format!("{exception:?}")), ("one".into(), "Oops(\"one\")".into()));
    let boxed: Box<dyn Error> = exception.into();
    assert_eq!(boxed.to_string(), "one");
}

#[test]
fn raise_outside_everything_is_a_panic_with_its_text() {
    assert_eq!(panic_text(|| -> () { raise(Oops("text")) }), "text");
    // Also beside a `catch` that has ended.
    _ = catch(|| raise(Oops("caught")));
    assert_eq!(panic_text(|| -> () { raise(Oops("again")) }), "again");
}

#[test]
fn catch_lets_panics_pass_and_catch_unwind_lets_exceptions_pass() {
    assert_eq!(panic_text(|| catch(|| panic!("a bug")).is_err()), "a bug");
    let exception = catch(|| catch_unwind(|| raise(Oops("through"))).is_err()).unwrap_err();
    assert_eq!(oops(&exception), "through");
    assert!(catch(|| catch_unwind(|| panic!("a bug")).is_err()).unwrap());
}

#[test]
fn destructors_run_on_the_way_of_an_exception() {
    let tally = Tally::default();
    let exception = catch(|| -> () {
        let _token = tally.token();
        raise(Oops("out"))
    });
    assert_eq!(oops(&exception.unwrap_err()), "out");
    tally.assert_all_dropped(1);
}

#[test]
fn a_catch_in_a_destructor_during_a_panic_works() {
    let caught = Cell::new(false);
    let text = panic_text(|| {
        let _guard = OnDrop(|| caught.set(catch(|| raise(Oops("inner"))).is_err()));
        panic!("outer")
    });
    assert_eq!((text.as_str(), caught.get()), ("outer", true));
}

// GN-035
#[test]
fn a_caught_exception_outlives_yields_and_is_raised_again_as_itself() {
    let mut g = Generator::new(|y: &Yielder<&str>| {
        let Err(exception) = catch(|| y.yield_("ready")) else { return };
        y.yield_("handling");
        y.yield_("still handling");
        raise(exception)
    });
    g.start().unwrap();
    let sent = Exception::from(Oops("value"));
    assert_eq!(yielded(g.throw(sent.clone())), "handling");
    assert_eq!(g.next(), Some("still handling"));
    assert!(raised(g.send(())).ptr_eq(&sent));
    assert_eq!((g.state(), g.next()), (State::Finished, None));
}

// ---- throw

// GN-031
#[test]
fn an_uncaught_throw_comes_out_as_itself_and_finishes_the_generator() {
    let tally = Tally::default();
    let token = tally.token();
    let mut g = Generator::new(move |y: &Yielder<u32, u32>| {
        let _token = token;
        y.yield_(1)
    });
    g.start().unwrap();
    let sent = Exception::from(Oops("type"));
    assert!(raised(g.throw(sent.clone())).ptr_eq(&sent));
    tally.assert_all_dropped(1);
    assert!(matches!(g.send(5), Err(ResumeError::Finished(5))));
    // GN-029: as in Python, throwing into a finished generator raises what was thrown.
    assert!(raised(g.throw(sent.clone())).ptr_eq(&sent));
    assert_eq!(g.close().unwrap(), None);
}

// GN-032
#[test]
fn a_throw_into_a_fresh_generator_ends_it_unrun() {
    let tally = Tally::default();
    let token = tally.token();
    let mut g = Generator::new(move |y: &Yielder<u32>| {
        let _token = &token;
        y.yield_(1);
        panic!("never runs");
    });
    assert_eq!(oops(&raised(g.throw(Oops("early")))), "early");
    assert_eq!((g.state(), g.next()), (State::Finished, None));
    tally.assert_all_dropped(1);
}

// GN-034
#[test]
fn a_body_that_catches_replies_and_goes_on() {
    let mut g = Generator::new(|y: &Yielder<String, u32>| {
        let mut reply = "ready".to_owned();
        loop {
            reply = match catch(|| y.yield_(reply)) {
                Ok(n) => format!("got {n}"),
                Err(e) => format!("caught {e}"),
            };
        }
    });
    g.start().unwrap();
    assert_eq!(yielded(g.throw(Oops("value"))), "caught value");
    assert_eq!(yielded(g.send(3)), "got 3");
}

#[test]
fn try_yield_takes_exceptions_and_lets_a_close_pass() {
    let log = Log::default();
    let body = {
        let log = log.clone();
        move |y: &Yielder<u32, u32>| {
            let _end = log.at_drop("unwound");
            let mut n = 0;
            loop {
                n = y.try_yield(n).unwrap_or_else(|e| u32::try_from(oops(&e).len()).unwrap());
            }
        }
    };
    let mut g: Generator<u32, u32, ()> = Generator::new(body);
    g.start().unwrap();
    assert_eq!(yielded(g.throw(Oops("four"))), 4);
    assert_eq!(yielded(g.send(9)), 9);
    assert_eq!(g.close().unwrap(), None);
    assert_eq!(log.take(), ["unwound"]);
}

// GN-010: `next` raises what left the body.
#[test]
fn next_raises_what_left_the_body() {
    let mut g = Generator::new(|y: &Yielder<u32>| {
        y.yield_(2);
        raise(Oops("division"))
    });
    assert_eq!(g.next(), Some(2));
    let exception = catch(|| g.next()).unwrap_err();
    assert_eq!(oops(&exception), "division");
    assert_eq!(g.next(), None::<u32>);
    let mut g: Generator<u32> = Generator::new(|_: &Yielder<u32>| raise(Oops("outside")));
    assert_eq!(panic_text(|| g.next()), "outside");
}

// GN-011
#[test]
fn nested_handlers_yield_in_pythons_order() {
    let g = Generator::new(|y: &Yielder<u32>| {
        y.yield_(1);
        let outer = catch(|| {
            y.yield_(2);
            let inner = catch(|| -> () { raise(Oops("zero division")) });
            y.yield_(4);
            let Err(e) = inner else { return };
            y.yield_(5);
            raise(e)
        });
        assert!(outer.is_err());
        y.yield_(8);
        y.yield_(9);
        let last = catch(|| y.yield_(10));
        y.yield_(11);
        last.or_raise();
    });
    assert_eq!(g.collect::<Vec<_>>(), [1, 2, 4, 5, 8, 9, 10, 11]);
}

// GN-013
#[test]
fn an_error_handled_by_yielding() {
    let g = Generator::new(|y: &Yielder<u32>| {
        y.yield_(12);
        if catch(|| 1_u32.checked_div(0).unwrap_or_else(|| raise(Oops("zero division")))).is_err() {
            y.yield_(666);
        }
    });
    assert_eq!(g.collect::<Vec<_>>(), [12, 666]);
}

// GN-103
#[test]
fn a_throw_runs_the_handler_and_then_the_destructor() {
    let count = Rc::new(Cell::new(0));
    let body = |count: Rc<Cell<u32>>| {
        move |y: &Yielder<u32, u32>| {
            let finally = count.clone();
            let _finally = OnDrop(move || finally.set(finally.get() + 1));
            match catch(|| y.yield_(0)) {
                Ok(n) => y.yield_(n * 10),
                Err(_) => {
                    count.set(count.get() + 100);
                    0
                }
            };
        }
    };
    let mut g = Generator::new(body(count.clone())).primed();
    assert_eq!(yielded(g.send(10)), 100);
    g.close().unwrap();
    assert_eq!(count.get(), 1);
    let mut g = Generator::new(body(count.clone())).primed();
    assert_eq!(g.throw(Oops("zero division")).unwrap(), Step::Returned(()));
    assert_eq!(count.get(), 102);
}

#[test]
fn a_panic_while_handling_a_throw_reaches_the_thrower() {
    let mut g = Generator::new(|y: &Yielder<u32>| {
        if catch(|| y.yield_(1)).is_err() {
            panic!("in the handler");
        }
    });
    g.start().unwrap();
    assert_eq!(panic_text(|| g.throw(Oops("x")).is_ok()), "in the handler");
    assert_eq!(g.state(), State::Finished);
}

#[test]
fn an_exception_thrown_into_the_outer_one_arrives_in_the_innermost_and_passes_through() {
    let log = Log::default();
    let body = {
        let log = log.clone();
        move |y: &Yielder<u32>| {
            // The inner one yields from the outer one: both are suspended together.
            let y: *const Yielder<u32> = y;
            let inner_log = log.clone();
            let mut inner = Generator::new(move |_: &Yielder<()>| {
                let _end = inner_log.at_drop("inner");
                // SAFETY: the outer body waits below for this one.
                unsafe { &*y }.yield_(7);
            });
            let exception = raised(inner.start());
            log.push("outer");
            raise(exception)
        }
    };
    let mut g: Generator<u32> = Generator::new(body);
    assert_eq!(g.next(), Some(7));
    let sent = Exception::from(Oops("far"));
    assert!(raised(g.throw(sent.clone())).ptr_eq(&sent));
    assert_eq!(log.take(), ["inner", "outer"]);
}

// ---- close and catch_exit

// GN-043, GN-044
#[test]
fn close_gives_what_the_body_returns_after_catching_it() {
    let mut g = Generator::new(|y: &Yielder<u32>| y.yield_(1)).primed();
    assert_eq!(g.close().unwrap(), None);
    let mut g = Generator::new(|y: &Yielder<u32>| match catch_exit(|| y.yield_(1)) {
        Err(exit) => exit.kind(),
        Ok(()) => panic!("not closed"),
    })
    .primed();
    assert_eq!(g.close().unwrap(), Some(ExitKind::Close));
    assert_eq!(g.state(), State::Finished);
}

// GN-049, GN-055
#[test]
fn close_gives_what_the_body_raises_after_catching_it() {
    let mut g = Generator::new(|y: &Yielder<u32>| {
        if catch_exit(|| y.yield_(1)).is_err() {
            raise(Oops("fie!"));
        }
    })
    .primed();
    assert_eq!(oops(&raised(g.close())), "fie!");
    assert_eq!(g.close().unwrap(), None);
}

// GN-052: what a handler does that unwinds on ends the generator in peace.
#[test]
fn an_exit_that_goes_on_ends_the_generator() {
    let log = Log::default();
    let body = {
        let log = log.clone();
        move |y: &Yielder<u32>| {
            if let Err(exit) = catch_exit(|| y.yield_(1)) {
                log.push("handler");
                exit.resume();
            }
        }
    };
    let mut g = Generator::new(body).primed();
    assert_eq!(g.close().unwrap(), None);
    assert_eq!((g.state(), log.take()), (State::Finished, vec!["handler".to_owned()]));
}

#[test]
fn a_close_is_thrown_once_and_may_be_answered_by_yielding() {
    let mut g = Generator::new(|y: &Yielder<u32>| {
        let exit = catch_exit(|| y.yield_(1)).unwrap_err();
        y.yield_(2);
        y.yield_(3);
        exit.resume()
    });
    g.start().unwrap();
    assert!(matches!(g.close(), Err(ResumeError::IgnoredClose)));
    assert_eq!(g.next(), Some(3));
    // Its close goes on only now: the generator ends without an item.
    assert!(matches!(g.send(()), Err(ResumeError::<()>::Finished(()))));
    let _: &Generator<u32> = &g;
}

// GN-107
#[test]
fn closing_many_times_is_seen_once() {
    let count = Rc::new(Cell::new(0));
    let inner_count = count.clone();
    let mut g = Generator::new(move |y: &Yielder<u32>| {
        let seen = inner_count.clone();
        let inner = move |y: &Yielder<u32>| {
            if let Err(exit) = catch_exit(|| y.yield_(1)) {
                seen.set(seen.get() + 1);
                exit.resume();
            }
        };
        y.yield_from(&mut Generator::new(inner));
    })
    .primed();
    (0..4).for_each(|_| assert_eq!(g.close().unwrap(), None));
    assert_eq!(count.get(), 1);
}

#[test]
fn catch_lets_a_close_pass_and_catch_exit_lets_exceptions_pass() {
    let mut g = Generator::new(|y: &Yielder<u32>| {
        let exit = catch_exit(|| catch(|| y.yield_(1)).is_ok());
        assert!(exit.is_err());
        _ = catch_exit(|| y.yield_(2));
        unreachable!("the exception passes")
    })
    .primed();
    assert!(matches!(g.close(), Err(ResumeError::IgnoredClose)));
    assert_eq!(oops(&raised::<_, ()>(g.throw(Oops("pass")))), "pass");
    let _: Generator<u32, (), ()> = g;
}

// ---- hostile: destructors that yield, panics, drops in panics

#[test]
fn a_body_suspended_in_its_own_unwind_takes_only_send() {
    let mut g = Generator::new(|y: &Yielder<&str>| {
        let _finally = OnDrop(|| y.yield_("in the destructor"));
        y.yield_("first");
    });
    g.start().unwrap();
    assert_eq!(yielded(g.throw(Oops("thrown"))), "in the destructor");
    assert!(matches!(g.throw(Oops("second")), Err(ResumeError::Unwinding)));
    assert!(matches!(g.close(), Err(ResumeError::Unwinding)));
    assert_eq!(oops(&raised(g.send(()))), "thrown");
}

#[test]
fn destructors_that_yield_while_closing_go_on_with_send() {
    let mut g = Generator::new(|y: &Yielder<u32>| {
        let _last = OnDrop(|| y.yield_(3));
        let _first = OnDrop(|| y.yield_(2));
        y.yield_(1);
    });
    g.start().unwrap();
    assert!(matches!(g.close(), Err(ResumeError::IgnoredClose)));
    assert!(matches!(g.close(), Err(ResumeError::Unwinding)));
    assert_eq!(g.next(), Some(3));
    assert_eq!((g.next(), g.state()), (None, State::Finished));
}

#[test]
fn a_catch_inside_an_unwinding_destructor_may_be_thrown_into_again_only_after_the_unwind() {
    let mut g = Generator::new(|y: &Yielder<u32>| {
        let caught = catch(|| {
            let _finally = OnDrop(|| assert!(catch(|| y.yield_(2)).is_ok(), "nothing is thrown here"));
            y.yield_(1);
        });
        assert!(caught.is_err());
        y.yield_(3);
    });
    g.start().unwrap();
    assert_eq!(yielded(g.throw(Oops("one"))), 2);
    assert!(matches!(g.throw(Oops("two")), Err(ResumeError::Unwinding)));
    assert_eq!(g.next(), Some(3));
    assert_eq!(oops(&raised(g.throw(Oops("three")))), "three");
}

#[test]
fn generators_dropped_in_a_panic_are_closed() {
    let tally = Tally::default();
    let token = tally.token();
    let text = panic_text(|| {
        let _g = Generator::new(move |y: &Yielder<u32>| {
            let _token = token;
            _ = catch(|| y.yield_(1));
        })
        .primed();
        panic!("in the middle")
    });
    assert_eq!(text, "in the middle");
    tally.assert_all_dropped(1);
}

#[test]
fn throwing_from_a_destructor_during_a_panic_works() {
    let seen = RefCell::new(Vec::new());
    let text = panic_text(|| {
        let _guard = OnDrop(|| {
            let mut g = Generator::new(|y: &Yielder<u32>| {
                assert!(catch(|| y.yield_(1)).is_err());
                y.yield_(2);
            })
            .primed();
            seen.borrow_mut().push(yielded(g.throw(Oops("inner"))));
            let exception = raised(g.throw(Oops("out")));
            assert_eq!(oops(&exception), "out");
        });
        panic!("outer")
    });
    assert_eq!((text.as_str(), seen.take()), ("outer", vec![2]));
}

#[test]
fn a_caught_unwind_is_over_even_while_a_neighbour_is_parked_in_one() {
    // The neighbour waits in a destructor, in the middle of its own unwind.
    let mut neighbour = Generator::new(|y: &Yielder<u32>| {
        let _finally = OnDrop(|| y.yield_(2));
        y.yield_(1);
    })
    .primed();
    assert_eq!(yielded(neighbour.throw(Oops("neighbour"))), 2);
    assert!(OWN_THREADS || std::thread::panicking());
    let mut g = Generator::new(|y: &Yielder<u32>| {
        (1..=3).for_each(|n| assert!(catch(|| y.yield_(n)).is_err()));
    })
    .primed();
    assert_eq!(yielded(g.throw(Oops("a"))), 2);
    assert_eq!(yielded(g.throw(Oops("b"))), 3);
    assert_eq!(g.throw(Oops("c")).unwrap(), Step::Returned(()));
    assert_eq!(oops(&raised(neighbour.send(()))), "neighbour");
    assert!(!std::thread::panicking());
}

// ---- re-entry

// GN-061, GN-104
#[test]
fn all_four_calls_on_itself_give_the_same_survivable_error() {
    let myself: Rc<OnceCell<Shared<u32>>> = Rc::default();
    let body = {
        let myself = myself.clone();
        move |y: &Yielder<u32>| {
            let me = myself.get().expect("set below");
            let texts = [
                catch(|| me.clone().next()).unwrap_err().to_string(),
                me.start().unwrap_err().to_string(),
                me.send(()).unwrap_err().to_string(),
                me.throw(Oops("x")).unwrap_err().to_string(),
                me.close().unwrap_err().to_string(),
            ];
            assert!(texts.iter().all(|text| text == "generator already executing"), "{texts:?}");
            y.yield_(1);
        }
    };
    let mut g = Generator::new(body).shared();
    assert!(myself.set(g.clone()).is_ok());
    assert_eq!((g.next(), g.next(), g.state()), (Some(1), None, State::Finished));
    assert!(matches!(g.send(()), Err(ResumeError::Finished(()))));
}

// GN-067: a body that knows itself, and is dropped all the same.
#[test]
fn a_weak_handle_in_the_body_keeps_nobody_alive() {
    let _watch = watch();
    let myself = Rc::new(OnceCell::new());
    let tally = Tally::default();
    let body = {
        let (myself, token) = (myself.clone(), tally.token());
        move |y: &Yielder<String>| {
            let _token = token;
            loop {
                let me: &Weak<String> = myself.get().unwrap();
                let refused = me.upgrade().unwrap().start().unwrap_err();
                y.yield_(refused.to_string());
            }
        }
    };
    let mut g = Generator::new(body).shared();
    myself.set(g.downgrade()).unwrap();
    assert_eq!(g.next().unwrap(), "generator already executing");
    drop(g);
    tally.assert_all_dropped(1);
    assert!(myself.get().unwrap().upgrade().is_none());
}

#[test]
fn the_last_shared_handle_closes() {
    let tally = Tally::default();
    let token = tally.token();
    let g = Generator::new(move |y: &Yielder<u32>| {
        let _token = token;
        y.yield_(1);
    })
    .shared();
    let other = g.clone();
    g.start().unwrap();
    drop(g);
    assert_eq!((other.state(), tally.dropped()), (State::Suspended, 0));
    drop(other);
    tally.assert_all_dropped(1);
}

type Actor = Shared<(), u32>;

/// Named coroutines that send to each other.
#[derive(Clone, Default)]
struct Actors(Rc<RefCell<Vec<(&'static str, Actor)>>>);

impl Actors {
    fn start(&self, name: &'static str, body: impl FnOnce(&Yielder<(), u32>) + 'static) {
        let actor = Generator::new(body).primed().shared();
        self.0.borrow_mut().push((name, actor));
    }

    fn send(&self, name: &str, n: u32) {
        let actors = self.0.borrow();
        let (_, actor) = actors.iter().find(|(known, _)| *known == name).expect("a known name");
        let actor = actor.clone();
        drop(actors);
        actor.send(n).or_raise();
    }
}

// S05: ping-pong with bare generators; the re-entry kills the chain, as in Python.
#[test]
fn ping_pong_by_direct_sends_ends_in_re_entry() {
    let (actors, log) = (Actors::default(), Log::default());
    for (me, other) in [("ping", "pong"), ("pong", "ping")] {
        let (a, log) = (actors.clone(), log.clone());
        actors.start(me, move |y| {
            loop {
                let n = y.yield_(());
                log.push(format!("{me}: {n}"));
                a.send(other, n + 1);
            }
        });
    }
    let exception = catch(|| actors.send("ping", 0)).unwrap_err();
    assert_eq!(exception.to_string(), "generator already executing");
    assert!(matches!(exception.downcast_ref(), Some(ResumeError::Executing(()))));
    assert_eq!(log.take(), ["ping: 0", "pong: 1"]);
    let states: Vec<_> = actors.0.borrow().iter().map(|(_, actor)| actor.state()).collect();
    assert_eq!(states, [State::Finished; 2]);
    assert_eq!(catch(|| actors.send("ping", 0)).unwrap_err().to_string(), "generator already finished");
}

// S13: a coroutine actor.
#[test]
fn an_actor_that_says_goodbye() {
    let log = Log::default();
    let body = {
        let log = log.clone();
        move |y: &Yielder<(), &'static str>| {
            if catch_exit(|| {
                loop {
                    log.push(format!("Got: {}", y.yield_(())));
                }
            })
            .is_err()
            {
                log.push("Actor terminated");
            }
        }
    };
    let mut actor = Generator::new(body).primed();
    actor.send("Hello").or_raise();
    actor.send("World").or_raise();
    actor.close().or_raise();
    assert_eq!(log.take(), ["Got: Hello", "Got: World", "Actor terminated"]);
}

// S16: round robin.
#[test]
fn two_counters_take_turns() {
    let (log, queue) = (Log::default(), Rc::new(RefCell::new(std::collections::VecDeque::from([15, 10, 5, 2]))));
    let mut tasks: Vec<Generator<()>> = ["One", "Two"]
        .map(|name| {
            let (log, queue) = (log.clone(), queue.clone());
            Generator::new(move |y: &Yielder<()>| {
                loop {
                    let Some(count) = queue.borrow_mut().pop_front() else { return };
                    let mut total = 0;
                    log.push(format!("{name} running"));
                    while total < count {
                        total += 1;
                        y.yield_(());
                    }
                    log.push(format!("{name} total: {total}"));
                }
            })
        })
        .into();
    while !tasks.is_empty() {
        tasks.retain_mut(|task| task.next().is_some());
    }
    let expected = [
        "One running",
        "Two running",
        "Two total: 10",
        "Two running",
        "One total: 15",
        "One running",
        "Two total: 5",
        "One total: 2",
    ];
    assert_eq!(log.take(), expected);
}

// ---- the free function

#[test]
fn the_free_yield_finds_the_innermost_generator_of_its_type() {
    let mut outer = Generator::new(|_: &Yielder<u32, u32>| {
        let mut inner = Generator::new(|_: &Yielder<String>| {
            yield_::<String, ()>("from the inner".to_owned());
            // No `u32` here: the outer one is suspended, with the inner one on top.
            let n: u32 = yield_(1_u32);
            yield_::<String, ()>(format!("got {n}"));
        });
        assert_eq!(inner.next().unwrap(), "from the inner");
        assert_eq!(inner.next().unwrap(), "got 5");
        drop(inner);
        yield_::<u32, u32>(2)
    });
    assert_eq!(yielded(outer.start()), 1);
    assert_eq!(yielded(outer.send(5)), 2);
    assert_eq!(outer.send(9).unwrap(), Step::Returned(9));
}

#[test]
fn the_free_yield_panics_where_nobody_fits() {
    let text = panic_text(|| yield_::<u32, ()>(1));
    assert_eq!(text, "no running generator yields `u32` and takes `()`");
    let mut g = Generator::new(|_: &Yielder<u64>| yield_::<u32, ()>(1));
    assert!(panic_text(|| g.next()).contains("no running generator yields `u32`"));
}

// ---- scoped

#[test]
fn a_scoped_generator_borrows_and_is_closed_at_the_end() {
    let log = Log::default();
    let mut items = vec![1, 2, 3];
    let body = |y: &Yielder<u32, u32>| {
        let _end = log.at_drop("closed");
        for item in &mut items {
            *item = y.yield_(*item);
        }
    };
    let last = scoped(body, |g| {
        assert_eq!(yielded(g.start()), 1);
        assert_eq!(yielded(g.send(10)), 2);
        yielded(g.send(20))
    });
    assert_eq!((last, log.take()), (3, vec!["closed".to_owned()]));
    assert_eq!(items, [10, 20, 3]);
}

#[test]
fn a_scoped_generator_is_closed_when_its_user_panics() {
    let closed = Cell::new(false);
    let text = panic_text(|| {
        scoped(
            |y: &Yielder<u32>| {
                let _end = OnDrop(|| closed.set(true));
                y.yield_(1);
            },
            |g| {
                g.start().unwrap();
                panic!("user")
            },
        )
    });
    assert_eq!((text.as_str(), closed.get()), ("user", true));
}

#[test]
fn scoped_generators_exchanged_between_scopes_end_in_time() {
    let (first, second) = (Cell::new(0), Cell::new(0));
    scoped(
        |y: &Yielder<u32>| {
            let _end = OnDrop(|| first.set(first.get() + 1));
            y.yield_(1);
        },
        |a| {
            a.start().unwrap();
            scoped(
                |y: &Yielder<u32>| {
                    let _end = OnDrop(|| second.set(second.get() + 1));
                    y.yield_(2);
                },
                |b| {
                    b.start().unwrap();
                    std::mem::swap(a, b);
                },
            );
            assert_eq!((first.get(), second.get()), (1, 0));
        },
    );
    assert_eq!((first.get(), second.get()), (1, 1));
}

// ---- reports

/// Runs `f` and gives the reports with `name` in them. Others run beside; the hook is set once.
fn reports(name: &str, f: impl FnOnce()) -> Vec<String> {
    static SEEN: Mutex<Vec<String>> = Mutex::new(Vec::new());
    static ONCE: std::sync::Once = std::sync::Once::new();
    ONCE.call_once(|| {
        _ = set_report_hook(|report: &Report<'_>| SEEN.lock().unwrap().push(report.to_string()));
    });
    f();
    let mut seen = SEEN.lock().unwrap();
    let (ours, others) = seen.drain(..).partition(|report| report.contains(name));
    *seen = others;
    ours
}

// GN-058
#[test]
fn a_drop_that_is_ignored_is_reported_and_harms_nobody() {
    let seen = reports("'stubborn'", || {
        let body = |y: &Yielder<u32>| -> () {
            loop {
                _ = catch_exit(|| y.yield_(1));
            }
        };
        drop(Generator::builder(body).name("stubborn").build().primed());
    });
    let expected =
        ["generator 'stubborn' ignored its close in drop", "coroutine 'stubborn' did not end: its stack is leaked"];
    assert_eq!(seen, expected);
}

#[test]
fn a_body_that_gives_in_at_the_second_close_is_not_leaked() {
    let tally = Tally::default();
    let token = tally.token();
    let seen = reports("'reluctant'", || {
        let body = move |y: &Yielder<u32>| {
            let _token = token;
            _ = catch_exit(|| y.yield_(1));
            y.yield_(2);
        };
        drop(Generator::builder(body).name("reluctant").build().primed());
    });
    assert_eq!(seen, ["generator 'reluctant' ignored its close in drop"]);
    tally.assert_all_dropped(1);
}

#[test]
fn an_exception_out_of_a_drop_is_reported() {
    let seen = reports("'raiser'", || {
        let body = |y: &Yielder<u32>| {
            _ = catch_exit(|| y.yield_(1));
            raise(Oops("too late"))
        };
        drop(Generator::<u32, (), ()>::builder(body).name("raiser").build::<u32, (), ()>().primed());
    });
    assert_eq!(seen, ["exception ignored in the drop of coroutine 'raiser': too late"]);
}

// What is no exception, and what no panic hook has shown.
#[test]
fn an_exit_or_a_bare_unwind_out_of_a_drop_is_reported_and_a_panic_is_not() {
    let dropping = |name: &'static str, end: fn()| {
        let body = move |y: &Yielder<u32>| {
            _ = catch_exit(|| y.yield_(1));
            end();
        };
        reports(name, || drop(Generator::builder(body).name(name).build().primed()))
    };
    let seen = dropping("bare", || panic::resume_unwind(Box::new(7)));
    assert_eq!(seen, ["an unwind without a panic ended in the drop of coroutine 'bare'"]);
    assert!(dropping("shown", || panic!("the hook shows this")).is_empty());
    // A greenlet that drops a generator is asked to end meanwhile.
    let root = Greenlet::<u32>::current();
    let g = Greenlet::new({
        let root = root.clone();
        move |n| {
            let waits = root.clone();
            let body = move |y: &Yielder<u32>| {
                _ = catch_exit(|| y.yield_(1));
                waits.switch(n);
            };
            drop(Generator::builder(body).name("exits").build().primed());
            root.switch(n + 1)
        }
    });
    assert_eq!(g.switch(1), 1);
    let seen = reports("'exits'", || assert_eq!(g.throw_exit(5), 2));
    assert_eq!(seen, ["the exit of another coroutine ended in the drop of coroutine 'exits'"]);
    assert!(g.kill());
}

/// A panic's payload that panics itself when it is dropped.
struct Bomb;

impl Drop for Bomb {
    fn drop(&mut self) {
        panic!("dropped");
    }
}

// H23
#[test]
fn a_payload_that_panics_when_it_is_dropped_does_no_harm() {
    // It goes to whoever resumes, as any.
    let mut g = Generator::new(|_: &Yielder<u32>| panic::panic_any(Bomb));
    let payload = panic::catch_unwind(AssertUnwindSafe(|| g.next())).unwrap_err();
    assert!(payload.is::<Bomb>());
    assert_eq!((panic_text(|| drop(payload)), g.state()), ("dropped".to_owned(), State::Finished));
    let greenlet = Greenlet::<u32>::new(|_| panic::panic_any(Bomb));
    let payload = panic::catch_unwind(AssertUnwindSafe(|| greenlet.switch(1))).unwrap_err();
    assert!(payload.is::<Bomb>() && greenlet.is_dead());
    assert_eq!(panic_text(|| drop(payload)), "dropped");
    // Out of a drop it goes to nobody.
    let g = Generator::new(|y: &Yielder<u32>| {
        _ = catch_exit(|| y.yield_(1));
        panic::panic_any(Bomb)
    });
    drop(g.primed());
    let greenlet = Greenlet::<u32>::new(|n| {
        _ = catch_exit(|| osier::greenlet::parent().switch(n));
        panic::panic_any(Bomb)
    });
    assert_eq!(greenlet.switch(1), 1);
    drop(greenlet);
    assert!(OWN_THREADS || !std::thread::panicking());
}

// GN-037, GN-038: an iterator's end inside a body is a value that the body handles; what it makes of it is no end of its own.
#[test]
fn an_empty_iterator_in_a_body_is_no_end_of_the_generator() {
    let body = |y: &Yielder<u32>| {
        let mut empty = std::iter::empty::<u32>();
        y.yield_(empty.next().unwrap_or_else(|| raise(Oops("nothing there"))));
    };
    let mut g = Generator::new(body);
    assert_eq!(oops(&raised(g.start())), "nothing there");
    let mut g = Generator::new(|y: &Yielder<u32>| y.yield_(std::iter::empty().next().expect("an item")));
    assert_eq!(panic_text(|| g.next()), "an item");
}

// ---- who unwinds

/// A generator that is parked in the middle of its own unwind. The next resume ends it, with its panic.
fn parked_in_its_unwind() -> Generator<u32> {
    let mut g = Generator::new(|y: &Yielder<u32>| {
        let _waits = OnDrop(|| y.yield_(1));
        panic!("parked")
    });
    assert_eq!(g.next(), Some(1));
    g
}

#[test]
fn a_panic_that_ended_quietly_does_not_count_beside_a_neighbour_in_its_unwind() {
    let mut neighbour = parked_in_its_unwind();
    let mut g = Generator::new(|y: &Yielder<u32>| {
        let bomb = OnDrop(|| panic!("in a destructor"));
        let unstarted = Greenlet::<u32>::new(move |n| {
            let _bomb = &bomb;
            n
        });
        assert!(unstarted.kill());
        y.yield_(1);
    })
    .primed();
    assert!(matches!(g.close(), Ok(None)));
    assert_eq!(panic_text(|| neighbour.next()), "parked");
}

#[test]
fn a_panic_that_std_has_caught_does_not_count_beside_a_neighbour_that_begins_later() {
    let neighbour = Rc::new(RefCell::new(None));
    let mut g = Generator::new({
        let neighbour = neighbour.clone();
        move |y: &Yielder<u32>| {
            assert!(panic::catch_unwind(|| panic!("caught by std")).is_err());
            *neighbour.borrow_mut() = Some(parked_in_its_unwind());
            y.yield_(1);
        }
    })
    .primed();
    assert!(matches!(g.close(), Ok(None)));
    let mut neighbour = neighbour.take().unwrap();
    assert_eq!(panic_text(|| neighbour.next()), "parked");
}

// ---- or_raise

#[test]
fn or_raise_keeps_the_exception_and_names_other_reasons() {
    let mut g = Generator::new(|_: &Yielder<(), String>| -> () { raise(Oops("inner")) });
    let early = catch(|| g.send("lost".to_owned()).or_raise()).unwrap_err();
    assert!(matches!(early.downcast_ref(), Some(ResumeError::NotStarted(()))));
    assert_eq!(oops(&catch(|| g.start().or_raise()).unwrap_err()), "inner");
    let sent = Exception::from(Oops("same"));
    assert!(catch(|| g.throw(sent.clone()).or_raise()).unwrap_err().ptr_eq(&sent));
}

#[test]
fn the_error_says_where_it_comes_from() {
    let mut g: Generator<u32, u32> = Generator::new(|_: &Yielder<u32, u32>| raise(Oops("cause")));
    let error = g.start().unwrap_err();
    assert_eq!(error.to_string(), "cause");
    assert!(error.source().is_some_and(|source| source.is::<Oops>()));
}

// ---- programs that end their process

#[test]
fn a_scoped_body_that_never_ends_aborts() {
    if miri_cannot("start a process") {
        return;
    }
    let output = run_program("scoped");
    assert_died_of(&output, libc::SIGABRT);
    let err = stderr(&output);
    let lines: Vec<_> = err.lines().filter(|line| line.starts_with("osier: ")).collect();
    let expected = [
        "osier: generator 'endless' ignored its close in drop",
        "osier: coroutine 'endless' did not end: its stack is leaked",
        "osier: generator 'endless' borrows from its caller, which cannot go on",
    ];
    assert_eq!(lines, expected, "{err}");
}

// H14: a panic that leaves a destructor during an unwind of ours is one during an unwind.
#[test]
fn a_panic_that_leaves_a_destructor_during_a_close_aborts() {
    if miri_cannot("start a process") {
        return;
    }
    let output = run_program("panics while it is closed");
    assert_died_of(&output, libc::SIGABRT);
    let err = stderr(&output);
    assert!(err.contains("not contained") && err.contains("panic in a destructor during cleanup"), "{err}");
}

#[test]
fn unhandled_exceptions_show_their_text() {
    if miri_cannot("start a process") {
        return;
    }
    let output = run_program("unhandled");
    assert_ended_well(&output);
    assert!(stderr(&output).contains("nobody catches this"), "{}", stderr(&output));
}

#[test]
fn in_a_process_of_its_own() {
    match program().as_deref() {
        Some("scoped") => {
            let local = Cell::new(0);
            let body = |y: &Yielder<u32>| -> () {
                loop {
                    local.set(local.get() + 1);
                    _ = catch_exit(|| y.yield_(1));
                }
            };
            ScopedGenerator::builder(body).name("endless").scoped(|g| g.next());
        }
        Some("panics while it is closed") => {
            let mut g = Generator::new(|y: &Yielder<u32>| {
                let _bomb = OnDrop(|| panic!("not contained"));
                y.yield_(1);
            });
            g.next();
            _ = g.close();
        }
        #[cfg(feature = "runtime")]
        Some("panics while it is cancelled") => tasks::panic_while_cancelled(),
        Some("unhandled") => {
            let outcome = panic::catch_unwind(AssertUnwindSafe(|| -> () { raise(Oops("nobody catches this")) }));
            assert!(outcome.is_err());
        }
        _ => {}
    }
}

// ---- tasks

#[cfg(feature = "runtime")]
mod tasks {
    use super::*;
    use common::FOR_EVER;
    use osier::sync::channel;
    use osier::{JoinError, Runtime, sleep, spawn, yield_now};

    pub(super) fn panic_while_cancelled() {
        Runtime::builder().workers(1).build().unwrap().run(|| {
            let task = spawn(|| {
                let _bomb = OnDrop(|| panic!("not contained"));
                sleep(FOR_EVER);
            });
            yield_now();
            task.cancel();
            _ = task.join();
        });
    }

    // H14
    #[test]
    fn a_panic_that_leaves_a_destructor_during_a_cancel_aborts() {
        let output = run_program("panics while it is cancelled");
        assert_died_of(&output, libc::SIGABRT);
        let err = stderr(&output);
        assert!(err.contains("not contained") && err.contains("panic in a destructor during cleanup"), "{err}");
    }

    fn error<T>(result: Result<T, JoinError>) -> JoinError {
        result.err().expect("the task has no value")
    }

    #[test]
    fn an_exception_that_leaves_a_task_is_in_its_join() {
        let _watch = watch();
        osier::run(|| {
            let error = error(spawn(|| -> () { raise(Oops("task")) }).join());
            assert_eq!(oops(error.exception().unwrap()), "task");
            assert!(!error.is_panic() && !error.is_cancelled());
            assert_eq!(
                oops(&catch(|| spawn(|| -> () { raise(Oops("again")) }).join().or_raise()).unwrap_err()),
                "again"
            );
        });
    }

    #[test]
    fn an_exception_that_leaves_run_is_raised_in_its_caller() {
        let _watch = watch();
        assert_eq!(oops(&catch(|| osier::run(|| -> () { raise(Oops("root")) })).unwrap_err()), "root");
        assert_eq!(panic_text(|| osier::run(|| -> () { raise(Oops("no catch")) })), "no catch");
        let nested = osier::run(|| catch(|| osier::run(|| -> () { raise(Oops("nested")) })).is_err());
        assert!(nested);
    }

    #[test]
    fn throw_raises_in_the_wait_and_is_used_up() {
        let _watch = watch();
        osier::run(|| {
            let (ready, started) = channel::bounded(0);
            let task = spawn(move || {
                ready.send(()).unwrap();
                let caught = catch(|| sleep(FOR_EVER)).unwrap_err();
                yield_now();
                sleep(common::ms(1));
                oops(&caught)
            });
            started.recv().unwrap();
            task.throw(Oops("stop"));
            assert_eq!(task.join().unwrap(), "stop");
        });
    }

    #[test]
    fn a_thrown_task_that_does_not_catch_ends_with_it_and_a_fresh_one_never_runs() {
        let _watch = watch();
        let runtime = Runtime::builder().workers(1).build().unwrap();
        runtime.run(|| {
            let fresh = spawn(|| panic!("never runs"));
            let sent = Exception::from(Oops("early"));
            fresh.throw(sent.clone());
            fresh.throw(Oops("merged"));
            assert!(error(fresh.join()).exception().unwrap().ptr_eq(&sent));
            let waiting = spawn(|| sleep(FOR_EVER));
            yield_now();
            waiting.throw(Oops("late"));
            assert_eq!(oops(error(waiting.join()).exception().unwrap()), "late");
            // One that ends without looking drops what was thrown.
            let done = spawn(|| 1);
            yield_now();
            done.throw(Oops("dropped"));
            assert_eq!(done.join().unwrap(), 1);
        });
    }

    #[test]
    fn catch_exit_uses_a_cancellation_up_and_a_later_one_is_new() {
        let _watch = watch();
        osier::run(|| {
            let (ready, started) = channel::bounded(0);
            let task = spawn(move || {
                let mut kinds = Vec::new();
                for _ in 0..2 {
                    let exit = catch_exit(|| {
                        ready.send(()).unwrap();
                        sleep(FOR_EVER);
                    });
                    kinds.push(exit.unwrap_err().kind());
                    // Waits as usual.
                    yield_now();
                    sleep(common::ms(1));
                }
                kinds
            });
            for _ in 0..2 {
                started.recv().unwrap();
                task.cancel();
            }
            assert_eq!(task.join().unwrap(), [ExitKind::Cancel; 2]);
        });
    }

    #[test]
    fn a_cancellation_that_goes_on_ends_the_task_as_cancelled() {
        let _watch = watch();
        osier::run(|| {
            let task = spawn(|| {
                if let Err(exit) = catch_exit(|| sleep(FOR_EVER)) {
                    exit.resume();
                }
            });
            yield_now();
            task.cancel();
            assert!(error(task.join()).is_cancelled());
        });
    }

    #[test]
    fn a_cancellation_swallowed_by_std_is_thrown_again_and_reported() {
        let _watch = watch();
        let seen = reports("'swallower'", || {
            osier::run(|| {
                let (ready, started) = channel::bounded(1);
                let body = move || {
                    ready.send(()).unwrap();
                    let swallowed = panic::catch_unwind(|| sleep(FOR_EVER));
                    assert!(swallowed.is_err());
                    sleep(FOR_EVER);
                };
                let task = osier::task::Builder::new().name("swallower").spawn(body);
                started.recv().unwrap();
                task.cancel();
                assert!(error(task.join()).is_cancelled());
            });
        });
        assert_eq!(seen, ["task 'swallower' swallowed its cancellation, which is thrown again"]);
    }

    // GN-042: a cancel instead of a signal.
    #[test]
    fn a_cancel_unwinds_a_generator_that_waits_in_a_task() {
        let _watch = watch();
        let log = Log::default();
        osier::run(|| {
            let (ready, started) = channel::bounded(1);
            let inner = log.clone();
            let task = spawn(move || {
                let mut g = Generator::new(move |y: &Yielder<u32>| {
                    let _end = inner.at_drop("generator unwound");
                    y.yield_(1);
                    ready.send(()).unwrap();
                    sleep(FOR_EVER);
                });
                assert_eq!(g.next(), Some(1));
                g.next()
            });
            started.recv().unwrap();
            task.cancel();
            assert!(error(task.join()).is_cancelled());
        });
        assert_eq!(log.take(), ["generator unwound"]);
    }

    #[test]
    fn catch_exit_tells_a_shutdown() {
        let _watch = watch();
        let runtime = Runtime::new().unwrap();
        let (ready, started) = channel::bounded(1);
        let task = runtime.spawn(move || {
            ready.send(()).unwrap();
            catch_exit(|| sleep(FOR_EVER)).unwrap_err().kind()
        });
        started.recv().unwrap();
        drop(runtime);
        assert_eq!(task.join().unwrap(), ExitKind::Shutdown);
    }

    #[cfg(feature = "blocking")]
    #[test]
    fn an_exception_crosses_the_blocking_pool() {
        let _watch = watch();
        osier::run(|| {
            let exception = catch(|| osier::task::unblock(|| -> () { raise(Oops("elsewhere")) })).unwrap_err();
            assert_eq!(oops(&exception), "elsewhere");
        });
    }
}
