//! Whose unwind it is, how high whoever asks stands, and what an exit carries: greenlets and generators that end each other.

mod common;

use std::cell::{OnceCell, RefCell};
use std::panic::AssertUnwindSafe;
use std::rc::Rc;

use common::{Log, OnDrop, Oops, assert_ended_well, panic_text, reports, watch};
use osier::generator::{self, ResumeError, State, scoped};
use osier::greenlet::{self, Event};
use osier::{Exit, Generator, Greenlet, Yielder, catch, catch_exit, raise};

/// Runs `f` in a greenlet that so many others have started one another for.
fn at_height(height: u32, f: impl FnOnce() + 'static) {
    if height == 0 {
        return f();
    }
    let above = Greenlet::new(move |n: i64| {
        at_height(height - 1, f);
        n
    });
    above.switch(0);
}

/// At any height the same: some are resumed by their parents, some by the root in their stead.
fn at_all_heights(f: impl Fn(u32) + 'static) {
    let f = Rc::new(f);
    for height in 0..6 {
        let (f, done) = (f.clone(), Rc::new(RefCell::new(false)));
        at_height(height, {
            let done = done.clone();
            move || {
                f(height);
                *done.borrow_mut() = true;
            }
        });
        assert!(*done.borrow(), "height {height}");
    }
}

/// A child that waits in a switch to its parent, with something to unwind.
fn waiting(log: &Log, name: &str) -> Greenlet<i64> {
    let (log, ended) = (log.clone(), format!("{name} ended"));
    let g = Greenlet::builder(move |n| {
        let _guard = log.at_drop(ended);
        greenlet::parent().switch(n)
    });
    let g = g.name(name.to_owned()).build();
    assert_eq!(g.switch(1), 1);
    g
}

// GL-064, GL-067: also the parent that is seen in there.
#[test]
fn a_drop_unwinds_at_any_height() {
    let _watch = watch();
    at_all_heights(|height| {
        let log = Log::default();
        let g = waiting(&log, "g");
        assert!(format!("{g:?}").contains("Suspended"), "{g:?}");
        assert!(g.backtrace().is_some(), "height {height}");
        drop(g);
        log.push("after the drop");
        assert_eq!(log.take(), ["g ended", "after the drop"], "height {height}");

        let me = Greenlet::<i64>::current();
        let seen = Rc::new(RefCell::new(None));
        let g = Greenlet::new({
            let seen = seen.clone();
            move |n: i64| {
                let _guard = OnDrop(|| *seen.borrow_mut() = Some(greenlet::parent::<i64>()));
                greenlet::parent().switch(n)
            }
        });
        g.switch(1);
        drop(g);
        assert!(seen.take() == Some(me), "height {height}");
    });
}

#[test]
fn a_kill_ends_at_any_height() {
    let _watch = watch();
    at_all_heights(|height| {
        let log = Log::default();
        let g = waiting(&log, "g");
        assert!(g.kill() && g.is_dead(), "height {height}");
        assert_eq!(log.take(), ["g ended"]);
    });
}

// GL-064: the one that is dropped waits for the very one that drops it.
#[test]
fn one_that_waits_below_is_dropped_at_once() {
    let _watch = watch();
    at_all_heights(|height| {
        let log = Log::default();
        let mut root = Greenlet::<i64>::current();
        let me = root.downgrade();
        while let Some(parent) = root.parent() {
            root = parent;
        }
        let sibling = Greenlet::with_parent(&root, {
            let log = log.clone();
            move |n| {
                let _guard = log.at_drop("sibling ended");
                me.upgrade().unwrap().switch(n)
            }
        });
        drop(root);
        sibling.switch(1);
        assert!(format!("{sibling:?}").contains("Suspended"), "{sibling:?}");
        drop(sibling);
        log.push("after the drop");
        assert_eq!(log.take(), ["sibling ended", "after the drop"], "height {height}");
    });
}

#[test]
fn a_no_suspend_lets_children_run_at_any_height() {
    let _watch = watch();
    at_all_heights(|height| {
        let g = Greenlet::new(|n: i64| greenlet::parent().switch(n) + 1);
        g.switch(1);
        assert_eq!(osier::no_suspend(|| g.switch(2)), 3, "height {height}");
    });
}

#[test]
fn what_a_child_raises_is_caught_in_a_destructor_at_any_height() {
    let _watch = watch();
    at_all_heights(|height| {
        let caught = Rc::new(RefCell::new(None));
        let unwound = catch(|| {
            let child = Greenlet::new(|n: i64| {
                greenlet::parent().switch(n);
                raise(Oops("the child's"))
            });
            child.switch(1);
            let _guard = OnDrop(|| *caught.borrow_mut() = catch(|| child.switch(2)).err());
            raise(Oops("its own"))
        });
        let unwound: Result<(), _> = unwound;
        assert_eq!(unwound.unwrap_err().downcast_ref(), Some(&Oops("its own")), "height {height}");
        let caught = caught.take().expect("the child has raised");
        assert_eq!(caught.downcast_ref(), Some(&Oops("the child's")));
    });
}

// GL-065: twice: the value that was on its way is not lost (GL-068).
#[test]
fn what_comes_to_a_drop_from_elsewhere_is_reported() {
    let _watch = watch();
    let root = Greenlet::<i64>::current();
    let told = reports(|| {
        let slot: Rc<RefCell<Option<Greenlet<i64>>>> = Rc::default();
        let sender = Greenlet::builder({
            let (root, slot) = (root.clone(), slot.clone());
            move |_| {
                // Its own handle: the last one goes while 42 is on its way.
                slot.borrow_mut().take();
                _ = catch_exit(|| root.switch(42));
                root.throw(Oops("to the root"))
            }
        });
        *slot.borrow_mut() = Some(sender.name("sender").build());
        let child = Greenlet::with_parent(slot.borrow().as_ref().unwrap(), |n| n);
        assert_eq!(catch(move || child.switch(25)).unwrap(), 42);
    });
    assert!(
        told.iter().any(|told| told == "exception ignored in the drop of coroutine 'sender': to the root"),
        "{told:?}"
    );
}

// Made in a destructor, before there was a panic hook of ours that could have noted who unwinds.
fn the_first_coroutine_is_made_in_an_unwind() {
    let unwound = std::panic::catch_unwind(AssertUnwindSafe(|| {
        let _guard = OnDrop(|| {
            let words = ["a".to_owned(), "b".to_owned()];
            let body = |y: &Yielder<_>| words.iter().for_each(|word| y.yield_(word.as_str()));
            assert_eq!(scoped(body, |g| g.next().map(str::len)), Some(1));
            let mut g = Generator::new(|y: &Yielder<u32>| y.yield_(1));
            assert_eq!(g.next(), Some(1));
            assert_eq!(g.close().unwrap(), None);
            let g = Greenlet::new(|n: u32| greenlet::parent().switch(n));
            g.switch(1);
            assert_eq!(g.throw_exit(2), 2);
        });
        panic!("boom")
    }));
    assert_eq!(unwound.unwrap_err().downcast_ref(), Some(&"boom"));
}

#[test]
fn in_a_process_of_its_own() {
    match common::program().as_deref() {
        None => {}
        Some("first in an unwind") => the_first_coroutine_is_made_in_an_unwind(),
        Some(program) => panic!("no program '{program}'"),
    }
}

#[test]
fn the_first_coroutine_of_a_process_may_be_made_in_an_unwind() {
    let _watch = watch();
    if common::miri_cannot("start a process") {
        return;
    }
    assert_ended_well(&common::run_program("first in an unwind"));
}

// GL-066: each exit has its own value.
#[test]
fn an_exit_keeps_its_value_beside_others() {
    let _watch = watch();
    let g = Greenlet::new(|n: u32| {
        let _guard = OnDrop(|| assert!(catch_exit(|| greenlet::exit(2u32)).is_err()));
        greenlet::parent().switch(n)
    });
    g.switch(0);
    assert_eq!(g.throw_exit(1), 1);

    let g = Greenlet::new(|n: u32| {
        let first = catch_exit(|| greenlet::parent().switch(n)).unwrap_err();
        assert!(catch_exit(|| greenlet::exit(2u32)).is_err());
        first.resume()
    });
    g.switch(0);
    assert_eq!(g.throw_exit(1), 1);
}

#[test]
fn what_a_dropped_exit_carries_is_dropped_with_it() {
    let _watch = watch();
    let root = Greenlet::<Rc<()>>::current();
    let g = Greenlet::new(move |mut given: Rc<()>| {
        loop {
            match catch_exit(|| root.switch(given.clone())) {
                Ok(next) => given = next,
                Err(exit) => drop(exit),
            }
        }
    });
    let carried = Rc::new(());
    g.switch(Rc::new(()));
    for _ in 0..3 {
        g.throw_exit(carried.clone());
        assert_eq!(Rc::strong_count(&carried), 1);
    }
}

#[test]
fn an_exit_ends_its_own_coroutine_and_no_other() {
    let _watch = watch();
    let escaped: Rc<RefCell<Option<Exit>>> = Rc::default();
    let make = {
        let escaped = escaped.clone();
        move || {
            let escaped = escaped.clone();
            Generator::new(move |y: &Yielder<u32>| {
                *escaped.borrow_mut() = catch_exit(|| y.yield_(1)).err();
            })
        }
    };
    let mut g = make();
    g.next();
    g.close().unwrap();
    let exit = escaped.take().unwrap();
    assert!(panic_text(|| exit.resume()).contains("does not run"));

    // The next one lies where the first has lain.
    let mut g = make();
    g.next();
    drop(g);
    let exit = escaped.take().unwrap();
    let mut other = Generator::new(move |_: &Yielder<u32>| exit.resume());
    assert!(panic_text(|| _ = other.next()).contains("does not run"));
    // Where it was caught it goes on.
    let mut g = Generator::new(|y: &Yielder<u32>| {
        let exit = catch_exit(|| y.yield_(1)).unwrap_err();
        y.yield_(2);
        exit.resume()
    });
    g.next();
    assert!(matches!(g.close(), Err(ResumeError::IgnoredClose)));
    assert_eq!(g.next(), None);
    assert_eq!(g.state(), State::Finished);
}

// The exit of a generator is on its way to that: greenlets that are parked on top of it are no matter of their parents.
#[test]
fn closing_a_generator_unwinds_the_greenlets_in_it_and_nobody_else() {
    let _watch = watch();
    let log = Log::default();
    // A parent that has nothing to do with it, and waits.
    let parent = waiting(&log, "parent");
    for parent in [None, Some(parent.clone())] {
        let parked = {
            let log = log.clone();
            move |n: i64| {
                let _guard = log.at_drop("parked ended");
                generator::yield_::<u32, ()>(1);
                n
            }
        };
        let parked = match &parent {
            Some(parent) => Greenlet::with_parent(parent, parked),
            None => Greenlet::new(parked),
        };
        let mut g = Generator::new({
            let log = log.clone();
            move |_: &Yielder<u32>| {
                let _guard = log.at_drop("generator ended");
                parked.switch(0);
            }
        });
        assert_eq!(g.next(), Some(1));
        let other = Greenlet::new(move |n: i64| {
            g.close().unwrap();
            n + 1
        });
        assert_eq!(other.switch(1), 2);
        assert_eq!(log.take(), ["parked ended", "generator ended"]);
    }
    assert!(parent.is_active());
    drop(parent);
    assert_eq!(log.take(), ["parent ended"]);
}

// GL-065, GN-040
#[test]
fn a_drop_survives_what_a_returned_value_does() {
    let _watch = watch();
    let dropped = Rc::new(RefCell::new(0));
    let body = |dropped: Rc<RefCell<u32>>| {
        move |y: &Yielder<u32>| {
            let exit = catch_exit(|| y.yield_(1));
            let guard = OnDrop(move || {
                *dropped.borrow_mut() += 1;
                panic!("in the destructor of what was returned")
            });
            (exit.is_err(), guard)
        }
    };
    let mut g = Generator::new(body(dropped.clone()));
    g.next();
    drop(g);
    assert_eq!(*dropped.borrow(), 1);
    // In an unwind this would abort.
    let mut g = Generator::new(body(dropped.clone()));
    g.next();
    let unwound: Result<(), _> = catch(move || {
        let _g = g;
        raise(Oops("its own"))
    });
    assert_eq!(unwound.unwrap_err().downcast_ref(), Some(&Oops("its own")));
    assert_eq!(*dropped.borrow(), 2);
}

#[test]
fn primed_keeps_what_the_body_returns_at_once() {
    let mut g = Generator::new(|_: &Yielder<u32>| 7).primed();
    assert_eq!((g.state(), g.take_return()), (State::Finished, Some(7)));
}

#[test]
fn an_exit_thrown_into_oneself_is_an_exit_in_a_destructor_too() {
    let _watch = watch();
    let g = Greenlet::new(|n: u32| {
        let _guard = OnDrop(|| assert!(catch_exit(|| Greenlet::<u32>::current().throw_exit(5)).is_err()));
        greenlet::parent().switch(n)
    });
    g.switch(0);
    assert_eq!(g.throw_exit(1), 1);
}

#[test]
fn a_scoped_body_may_yield_in_a_destructor() {
    let _watch = watch();
    struct Yields<'a>(&'a Yielder<u32>, &'a Log);
    impl Drop for Yields<'_> {
        fn drop(&mut self) {
            for step in 0..3 {
                self.0.yield_(step);
                self.1.push(step.to_string());
            }
        }
    }
    let log = Log::default();
    let told = reports(|| {
        let body = |y: &Yielder<u32>| {
            let _yields = Yields(y, &log);
            y.yield_(1);
        };
        scoped(body, |g| assert_eq!(g.next(), Some(1)));
    });
    assert_eq!(log.take(), ["0", "1", "2"]);
    assert_eq!(told.len(), 1, "{told:?}");
}

#[test]
fn what_the_captures_of_an_unstarted_body_raise_is_reported() {
    let _watch = watch();
    let told = reports(|| {
        // In a coroutine, where an exception is no panic.
        at_height(1, || {
            let guard = OnDrop(|| raise(Oops("captured")));
            let g = Greenlet::builder(move |n: i64| {
                let _guard = &guard;
                n
            });
            assert!(g.name("unrun").build().kill());
        });
    });
    assert_eq!(told, ["exception ignored in the drop of coroutine 'unrun': captured"]);
}

// GL-079, GL-080: as greenlet tells it.
#[test]
fn what_is_thrown_into_a_new_one_is_traced_there_and_then_in_its_parent() {
    let _watch = watch();
    let named = |name: &'static str| Greenlet::builder(|n: u32| n).name(name);
    let log = Log::default();
    greenlet::set_trace(Some(Rc::new({
        let log = log.clone();
        move |event: &Event| {
            let what = if event.is_throw() { "throw" } else { "switch" };
            log.push(format!("{what} {} -> {}", event.origin().name(), event.target().name()));
        }
    })));
    let g = named("g").build();
    assert_eq!(g.throw_exit(3), 3);
    assert_eq!(log.take(), ["throw root -> g", "switch g -> root"]);
    let g = named("g").build();
    assert!(catch(|| g.throw(Oops("new"))).is_err());
    assert_eq!(log.take(), ["throw root -> g", "throw g -> root"]);
    let parent = named("parent").build();
    let g = named("g").build_with_parent(&parent);
    assert!(catch(|| g.throw(Oops("new"))).is_err());
    assert_eq!(log.take(), ["throw root -> g", "throw g -> parent", "throw parent -> root"]);
    greenlet::set_trace(None);
}

#[test]
fn a_tracer_may_start_the_one_that_is_thrown_into() {
    let _watch = watch();
    let g = Greenlet::new(|n: u32| {
        let caught = catch(|| greenlet::parent().switch(n)).unwrap_err();
        if caught.is::<Oops>() { 7 } else { 8 }
    });
    greenlet::set_trace(Some(Rc::new({
        let g = g.clone();
        move |event: &Event| {
            if event.is_throw() && event.origin().name() == "root" {
                greenlet::set_trace(None);
                assert_eq!(g.switch(1), 1);
            }
        }
    })));
    assert_eq!(g.throw(Oops("to a new one")), 7);
    assert!(g.is_dead());
}

#[cfg(feature = "runtime")]
mod in_tasks {
    use super::*;
    use std::time::{Duration, Instant};

    // GV-080: a region at any height, around a child that waits.
    #[test]
    fn a_timeout_ends_a_child_that_waits_at_any_height() {
        let _watch = watch();
        let runtime = osier::Runtime::builder().workers(1).build().unwrap();
        runtime.run(|| {
            at_all_heights(|height| {
                let child = Greenlet::new(|n: i64| {
                    let n = greenlet::parent().switch(n);
                    osier::time::sleep(Duration::from_secs(20));
                    n
                });
                child.switch(1);
                let begun = Instant::now();
                let timed_out = osier::time::timeout(Duration::from_millis(10), || child.switch(2));
                assert!(timed_out.is_err(), "height {height}");
                assert!(begun.elapsed() < Duration::from_secs(10), "height {height}");
            });
        });
    }
}

// ---- the last handle of one that runs

/// A greenlet that runs without a handle, when `child`, who held the last one, is given another parent.
fn orphan(body: impl FnOnce(&dyn Fn()) -> u32 + 'static) -> Greenlet<u32> {
    let main = Greenlet::<u32>::current();
    let child: Rc<OnceCell<Greenlet<u32>>> = Rc::default();
    let lets_go = {
        let child = child.clone();
        move || child.get().unwrap().set_parent(&main).unwrap()
    };
    let parent = Greenlet::builder(move |_| body(&lets_go)).name("orphan").build();
    // Returns at once, and so starts its parent.
    let made = Greenlet::with_parent(&parent, |v| v);
    child.set(made.clone()).unwrap();
    made
}

// The ways to resume differ; who is told does not.
#[test]
fn one_whose_last_handle_has_gone_ends_in_the_one_that_it_switches_to() {
    let _watch = watch();
    for nested in [false, true] {
        let log = Log::default();
        let main = Greenlet::<u32>::current();
        let between: Rc<OnceCell<Greenlet<u32>>> = Rc::default();
        let starts = {
            let (log, main, between) = (log.clone(), main.clone(), between.clone());
            orphan(move |lets_go| {
                lets_go();
                if catch_exit(|| main.switch(1)).is_err() {
                    log.push(format!("parent {}", greenlet::parent::<u32>().name()));
                    between.get().unwrap().switch(9);
                }
                0
            })
        };
        let a = {
            let log = log.clone();
            Greenlet::new(move |v| {
                let got = if nested { in_a_generator(move || starts.switch(v)) } else { starts.switch(v) };
                log.push(format!("between got {got}"));
                100
            })
        };
        between.set(a.clone()).unwrap();
        log.push(format!("main got {}", a.switch(0)));
        assert_eq!(log.take(), [format!("parent {}", main.name()).as_str(), "between got 9", "main got 1"]);
        assert!(a.is_dead());
    }
}

/// Calls `f` on top of a generator that is the running greenlet's.
fn in_a_generator<T: 'static>(f: impl FnOnce() -> T + 'static) -> T {
    Generator::new(|y: &Yielder<T>| y.yield_(f())).next().unwrap()
}

#[test]
fn one_whose_last_handle_has_gone_ends_before_the_one_it_switches_to_goes_on() {
    let _watch = watch();
    let log = Log::default();
    let other = {
        let log = log.clone();
        Greenlet::new(move |v: u32| {
            log.push("the other runs");
            v
        })
    };
    let starts = {
        let log = log.clone();
        orphan(move |lets_go| {
            let _unwinds = log.at_drop("the orphan is unwound");
            lets_go();
            other.switch(1)
        })
    };
    assert_eq!(starts.switch(0), 1);
    assert_eq!(log.take(), ["the orphan is unwound", "the other runs"]);
}

// With a tracer: it is told of the switch first.
#[test]
fn the_tracer_is_told_before_the_one_that_has_no_handle_ends() {
    let _watch = watch();
    let log = Log::default();
    let main = Greenlet::<u32>::current();
    let starts = {
        let log = log.clone();
        orphan(move |lets_go| {
            let _unwinds = log.at_drop("unwound");
            lets_go();
            main.switch(1)
        })
    };
    let tells = {
        let log = log.clone();
        move |event: &Event| log.push(format!("{} to {}", event.origin().name(), event.target().name()))
    };
    greenlet::set_trace(Some(Rc::new(tells)));
    assert_eq!(starts.switch(0), 1);
    greenlet::set_trace(None);
    let told = log.take();
    let switched = told.iter().position(|line| line == "orphan to root").unwrap();
    let ended = told.iter().position(|line| line == "unwound").unwrap();
    assert!(switched < ended, "{told:?}");
}
