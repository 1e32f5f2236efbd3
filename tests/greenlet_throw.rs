//! Exceptions and exits that are thrown into greenlets, that leave them, and the tracer that is told of it.

mod common;

use std::cell::RefCell;
use std::fmt;
use std::rc::Rc;

use common::{Log, OnDrop, Oops, panic_text, reports, watch};
use osier::greenlet::{self, Event, SwitchError, Tracer};
use osier::{ExitKind, Generator, Greenlet, Yielder, catch, catch_exit, raise};

/// Runs `f`, which raises an `Oops`; gives what it says.
#[track_caller]
fn text_of<T: fmt::Debug>(f: impl FnOnce() -> T) -> &'static str {
    catch(f).unwrap_err().downcast_ref::<Oops>().expect("it raised another error").0
}

/// A greenlet that says what it catches, and else waits in its parent's switch.
fn catcher(log: &Log) -> Greenlet<u32> {
    let log = log.clone();
    let root = Greenlet::current();
    Greenlet::new(move |mut n| {
        loop {
            match catch(|| root.switch(n)) {
                Ok(next) => n = next,
                Err(error) => {
                    log.push(format!("caught {error}"));
                    n = 100;
                }
            }
        }
    })
}

// GL-031: what is thrown in arrives with its payload, and as the same object.
#[test]
fn a_suspended_one_catches_what_is_thrown_in() {
    let _watch = watch();
    let root = Greenlet::<u32>::current();
    let thrown = osier::Exception::from(Oops("ciao"));
    let g = Greenlet::new({
        let thrown = thrown.clone();
        move |n| {
            let caught = catch(|| root.switch(n)).unwrap_err();
            assert!(caught.ptr_eq(&thrown));
            assert_eq!(caught.downcast_ref(), Some(&Oops("ciao")));
            root.switch(2);
            3
        }
    });
    assert_eq!(g.switch(1), 1);
    assert_eq!(g.throw(thrown), 2);
    // It goes on as if nothing had been.
    assert_eq!(g.switch(0), 3);
    assert!(g.is_dead());
}

#[test]
fn destructors_run_on_the_way_to_the_parent() {
    let _watch = watch();
    let log = Log::default();
    let root = Greenlet::<u32>::current();
    let g = Greenlet::new({
        let log = log.clone();
        move |n| {
            let _outer = OnDrop(|| log.push("outer"));
            let _inner = OnDrop(|| log.push("inner"));
            root.switch(n)
        }
    });
    g.switch(0);
    assert_eq!(text_of(|| g.throw(Oops("up"))), "up");
    assert_eq!(log.take(), ["inner", "outer"]);
    assert!(g.is_dead());
}

// GL-026
#[test]
fn an_exception_goes_on_in_the_parent_where_it_waits() {
    let _watch = watch();
    let log = Log::default();
    let root = Greenlet::<u32>::current();
    let body = |name: &'static str| {
        let (log, root) = (log.clone(), root.clone());
        move |n| {
            let error = catch(|| root.switch(n)).unwrap_err();
            log.push(format!("{name} {error}"));
            raise(error)
        }
    };
    let (first, second) = (Greenlet::new(body("first")), Greenlet::new(|_| raise(Oops("some"))));
    assert_eq!(first.switch(3), 3);
    second.set_parent(&first).unwrap();
    assert_eq!(text_of(|| second.switch(0)), "some");
    assert_eq!(log.take(), ["first some"]);
    assert!(first.is_dead() && second.is_dead());
}

// GL-028
#[test]
fn an_exception_goes_to_the_parent_and_not_to_the_switcher() {
    let _watch = watch();
    let sibling = Greenlet::<u32>::new(|_| raise(Oops("mine")));
    let mid = Greenlet::new({
        let sibling = sibling.clone();
        move |n| catch(|| sibling.switch(n)).unwrap_or(99)
    });
    assert_eq!(text_of(|| mid.switch(0)), "mine");
    assert!(sibling.is_dead() && mid.is_active());
    assert_eq!(mid.switch(7), 7);
}

// GL-034, GL-035: to the original parent, be the greenlet started or not.
#[test]
fn what_nobody_catches_goes_to_the_original_parent() {
    let _watch = watch();
    for start in [false, true] {
        let root = Greenlet::<u32>::current();
        let parent = Greenlet::new({
            let root = root.clone();
            move |n| match catch(|| root.switch(n)) {
                Err(error) if error.is::<Oops>() => 33,
                other => panic!("{other:?}"),
            }
        });
        parent.switch(0);
        let ran = Rc::new(RefCell::new(false));
        let g = Greenlet::with_parent(&parent, {
            let ran = ran.clone();
            move |n| {
                *ran.borrow_mut() = true;
                root.switch(n)
            }
        });
        if start {
            g.switch(0);
        }
        assert_eq!(g.throw(Oops("index")), 33);
        assert!(parent.is_dead() && g.is_dead());
        assert_eq!(*ran.borrow(), start);
    }
}

// GL-034, where the parent has not begun either: both end unrun.
#[test]
fn an_exception_passes_unstarted_parents() {
    let _watch = watch();
    let parent = Greenlet::<u32>::new(|_| unreachable!("it never begins"));
    let g = Greenlet::with_parent(&parent, |_| unreachable!("nor does this"));
    assert_eq!(text_of(|| g.throw(Oops("past"))), "past");
    assert!(parent.is_dead() && g.is_dead());
}

// GL-037
#[test]
fn thrown_into_a_dead_one_it_is_raised_in_the_nearest_living_ancestor() {
    let _watch = watch();
    let log = Log::default();
    let ancestor = catcher(&log);
    ancestor.switch(0);
    let parent = Greenlet::with_parent(&ancestor, |n| n);
    let g = Greenlet::with_parent(&parent, |n| n);
    // Its value starts the parent, whose value goes to the ancestor, which hands it on to us.
    assert_eq!(g.switch(5), 5);
    assert!(parent.is_dead() && g.is_dead());
    assert_eq!(g.throw(Oops("key")), 100);
    assert_eq!(log.take(), ["caught key"]);
    let child = Greenlet::<u32>::new(|n| n);
    child.switch(1);
    assert_eq!(text_of(|| child.throw(Oops("here"))), "here");
}

// GL-038
#[test]
fn thrown_into_oneself_it_is_raised_by_that_very_call() {
    let _watch = watch();
    let root = Greenlet::<u32>::current();
    assert_eq!(text_of(|| root.throw(Oops("root"))), "root");
    let g = Greenlet::new(|n: u32| {
        let me = Greenlet::<u32>::current();
        assert_eq!(text_of(|| me.throw(Oops("own"))), "own");
        let exit = catch_exit(|| me.throw_exit(n)).unwrap_err();
        assert_eq!(exit.kind(), ExitKind::Greenlet);
        n + 1
    });
    assert_eq!(g.switch(1), 2);
    // Where nobody catches, it is an ordinary panic.
    assert_eq!(panic_text(|| root.throw(Oops("loud"))), "loud");
}

#[test]
fn a_child_throws_into_the_root_and_into_its_sibling() {
    let _watch = watch();
    let root = Greenlet::<u32>::current();
    let log = Log::default();
    let sibling = catcher(&log);
    sibling.switch(0);
    let g = Greenlet::new({
        let sibling = sibling.clone();
        move |_| {
            // It catches, and hands its answer to the root.
            sibling.throw(Oops("aside"));
            root.throw(Oops("up"))
        }
    });
    assert_eq!(g.switch(0), 100);
    assert_eq!(log.take(), ["caught aside"]);
    assert_eq!(text_of(|| g.switch(0)), "up");
    // It waits there, as after a switch.
    assert!(g.is_active());
    assert!(g.kill());
}

// GL-029, GL-032: an exit may be caught, and then the body goes on.
#[test]
fn an_exit_is_caught_by_catch_exit_alone() {
    let _watch = watch();
    let root = Greenlet::<u32>::current();
    let g = Greenlet::new(move |n| {
        let exit = catch_exit(|| catch(|| root.switch(n)).is_ok()).unwrap_err();
        assert_eq!(exit.kind(), ExitKind::Greenlet);
        root.switch(10);
        exit.resume()
    });
    g.switch(1);
    assert_eq!(g.throw_exit(5), 10);
    assert!(g.is_active());
    assert_eq!(g.switch(0), 5);
    assert!(g.is_dead());
    assert_eq!(g.throw_exit(6), 6);
}

// An exit of an outer greenlet passes the inner one of another type, and a generator between.
#[test]
fn an_exit_crosses_what_is_nested_in_its_greenlet() {
    let _watch = watch();
    let log = Log::default();
    let root = Greenlet::<u32>::current();
    let outer = Greenlet::new({
        let log = log.clone();
        move |n: u32| {
            let _guard = OnDrop(|| log.push("outer"));
            let mut generator = Generator::new({
                let (log, root) = (log.clone(), root.clone());
                move |_: &Yielder<u32>| {
                    let _guard = OnDrop(|| log.push("generator"));
                    let text = Greenlet::new({
                        let (log, root) = (log.clone(), root.clone());
                        move |_: &'static str| {
                            let _guard = OnDrop(|| log.push("inner"));
                            root.switch(1);
                            "never"
                        }
                    });
                    text.switch("go");
                }
            });
            generator.next();
            n
        }
    });
    assert_eq!(outer.switch(0), 1);
    assert_eq!(outer.throw_exit(9), 9);
    assert_eq!(log.take(), ["inner", "generator", "outer"]);
    assert!(outer.is_dead());
}

// GL-040: a neighbour that starts while we handle an error sees none in flight.
#[test]
fn an_error_in_flight_stays_with_its_greenlet() {
    let _watch = watch();
    let root = Greenlet::<u32>::current();
    let neighbour = Greenlet::new({
        let root = root.clone();
        move |n| {
            let caught = catch(|| root.switch(n)).unwrap_err();
            assert_eq!(caught.to_string(), "second");
            root.switch(2)
        }
    });
    let g = Greenlet::<u32>::new({
        let neighbour = neighbour.clone();
        move |_| {
            // Its destructor switches away in the middle of the unwind.
            let _guard = OnDrop(|| assert_eq!(neighbour.switch(1), 0));
            raise(Oops("first"))
        }
    });
    assert_eq!(g.switch(0), 1);
    // Thrown into the neighbour, while `g` is parked in its own unwind.
    assert_eq!(neighbour.throw(Oops("second")), 2);
    assert!(panic_text(|| g.throw(Oops("no"))).ends_with("it is suspended in its own unwind"));
    assert_eq!(text_of(|| g.switch(0)), "first");
    assert!(g.is_dead());
    assert!(neighbour.kill());
}

// One that waits for us in a destructor, active: nothing can be thrown into it either.
#[test]
fn nothing_is_thrown_into_one_that_waits_for_us_in_its_unwind() {
    let _watch = watch();
    let log = Log::default();
    let g = Greenlet::<u32>::new({
        let log = log.clone();
        move |_| {
            let me = Greenlet::<u32>::current();
            let _guard = OnDrop(|| {
                let (log, me) = (log.clone(), me.clone());
                let child = Greenlet::new(move |n: u32| {
                    log.push(panic_text(|| me.throw(Oops("no"))));
                    n
                });
                child.switch(1);
            });
            raise(Oops("first"))
        }
    });
    assert_eq!(text_of(|| g.switch(0)), "first");
    let [said] = &log.take()[..] else { panic!("it says one thing") };
    assert!(said.ends_with("it is suspended in its own unwind"), "{said}");
}

// GL-065: whoever drops is not disturbed; the hook is told once.
#[test]
fn an_exception_raised_in_a_drop_is_reported() {
    let _watch = watch();
    let root = Greenlet::<u32>::current();
    let stubborn = |name: &'static str, answer: fn(&Greenlet<u32>) -> u32| {
        let root = root.clone();
        let body = move |n| {
            assert!(catch_exit(|| root.switch(n)).is_err());
            answer(&root)
        };
        let g = Greenlet::builder(body).name(name).build();
        g.switch(0);
        g
    };
    let told = reports(|| drop(stubborn("fails", |_| raise(Oops("instead")))));
    assert_eq!(told, ["exception ignored in the drop of coroutine 'fails': instead"]);
    // One that waits again instead of ending is leaked.
    let told = reports(|| drop(stubborn("stays", |root| root.switch(1))));
    assert_eq!(told, ["coroutine 'stays' did not end: its stack is leaked"]);
}

// What is no exception, and what no panic hook has shown.
#[test]
fn a_bare_unwind_out_of_a_drop_is_reported_and_a_panic_is_not() {
    let _watch = watch();
    let root = Greenlet::<u32>::current();
    let dropping = |name: &'static str, end: fn() -> u32| {
        let root = root.clone();
        let body = move |n| {
            _ = catch_exit(|| root.switch(n));
            end()
        };
        let g = Greenlet::builder(body).name(name).build();
        g.switch(0);
        reports(|| drop(g))
    };
    let told = dropping("bare", || std::panic::resume_unwind(Box::new(7)));
    assert_eq!(told, ["an unwind without a panic ended in the drop of coroutine 'bare'"]);
    assert!(dropping("shown", || panic!("the hook shows this")).is_empty());
}

/// Suspended in a switch to `root`; asked to end it raises its own name, after a switch there if it `goes_first`.
fn fails_on_exit(name: &'static str, root: &Greenlet<u32>, goes_first: bool) -> Greenlet<u32> {
    let root = root.clone();
    let body = move |n| {
        _ = catch_exit(|| root.switch(n));
        if goes_first {
            root.switch(7);
        }
        raise(Oops(name))
    };
    let g = Greenlet::builder(body).name(name).build();
    g.switch(0);
    g
}

/// Runs `body` in a greenlet that stands `height` above the root, each the child of the one below.
fn at_height(height: u32, body: impl FnOnce(u32) -> u32 + 'static) -> Greenlet<u32> {
    let mut body: Box<dyn FnOnce(u32) -> u32> = Box::new(body);
    for _ in 1..height {
        let inner = body;
        body = Box::new(move |n| Greenlet::new(inner).switch(n));
    }
    Greenlet::new(body)
}

// GL-065: the one that drops is unwinding. What it is unwound by goes on, wherever it stands.
#[test]
fn an_unwind_goes_on_after_a_drop_that_raises_at_any_height() {
    let _watch = watch();
    let root = Greenlet::<u32>::current();
    for height in 1..=4 {
        let told = reports(|| {
            let c = fails_on_exit("c", &root, false);
            let b = at_height(height, move |_| {
                let _c = c;
                raise(Oops("b"))
            });
            assert_eq!(text_of(|| b.switch(1)), "b");
            assert!(b.is_dead());
        });
        assert_eq!(told, ["exception ignored in the drop of coroutine 'c': c"], "{height} above the root");
        // By siblings: the dropper is resumed by one that is no ancestor of it.
        let told = reports(|| {
            let c = fails_on_exit("c", &root, false);
            let b = Greenlet::new(move |_| {
                let _c = c;
                raise(Oops("b"))
            });
            let a = at_height(height, {
                let b = b.clone();
                move |n| b.switch(n)
            });
            assert_eq!(text_of(|| a.switch(1)), "b");
            assert!(b.is_dead() && !a.is_dead());
            assert!(a.kill());
        });
        assert_eq!(told, ["exception ignored in the drop of coroutine 'c': c"], "below {height}");
        assert!(common::OWN_THREADS || !std::thread::panicking());
    }
}

// The one that is dropped goes elsewhere first: meanwhile the one that waits for it is suspended in its unwind.
#[test]
fn an_unwind_goes_on_when_what_it_drops_ends_later() {
    let _watch = watch();
    let root = Greenlet::<u32>::current();
    for height in 1..=3 {
        let told = reports(|| {
            let c = fails_on_exit("c", &root, true);
            let weak = c.downgrade();
            let b = at_height(height, move |_| {
                let _c = c;
                raise(Oops("b"))
            });
            assert_eq!(b.switch(1), 7);
            let c = weak.upgrade().unwrap();
            assert_eq!(text_of(|| c.switch(0)), "b");
            assert!(c.is_dead() && b.is_dead());
        });
        assert_eq!(told, ["exception ignored in the drop of coroutine 'c': c"], "{height} above the root");
        assert!(common::OWN_THREADS || !std::thread::panicking());
    }
}

// A destructor that an unwind runs catches what its children raise, wherever it stands.
#[test]
fn a_destructor_catches_its_childrens_errors_at_any_height() {
    let _watch = watch();
    for height in 1..=4 {
        let log = Log::default();
        let g = at_height(height, {
            let log = log.clone();
            move |_| {
                let _guard = OnDrop(|| {
                    let child = Greenlet::<u32>::new(|_| raise(Oops("new")));
                    log.push(text_of(|| child.switch(0)));
                    let child = Greenlet::<u32>::new(|n| {
                        greenlet::parent().switch(n);
                        raise(Oops("suspended"))
                    });
                    assert_eq!(child.switch(5), 5);
                    log.push(text_of(|| child.switch(0)));
                    let child = Greenlet::<u32>::new(|n| greenlet::parent().switch(n));
                    assert_eq!(child.switch(6), 6);
                    log.push(text_of(|| child.throw(Oops("thrown in"))));
                });
                raise(Oops("first"))
            }
        });
        assert_eq!(text_of(|| g.switch(0)), "first", "{height} above the root");
        assert_eq!(log.take(), ["new", "suspended", "thrown in"], "{height} above the root");
        assert!(g.is_dead());
    }
}

// What a `kill` in a destructor that an unwind runs brings back has nowhere to go.
#[test]
fn an_unwind_goes_on_after_a_kill_that_raises() {
    let _watch = watch();
    let root = Greenlet::<u32>::current();
    for height in 1..=3 {
        let told = reports(|| {
            let c = fails_on_exit("c", &root, false);
            let g = at_height(height, move |_| {
                let _guard = OnDrop(|| assert!(c.kill()));
                raise(Oops("b"))
            });
            assert_eq!(text_of(|| g.switch(1)), "b");
        });
        assert_eq!(told, ["exception ignored in the drop of coroutine 'c': c"], "{height} above the root");
    }
}

// A neighbour that is parked in its own unwind does not make a root unwind: what comes there by a `kill` is raised. Out of a drop
// nothing comes (GL-065).
#[test]
fn a_kill_at_the_root_raises_beside_a_neighbour_in_its_unwind() {
    let _watch = watch();
    let root = Greenlet::<u32>::current();
    let neighbour = Greenlet::<u32>::new({
        let root = root.clone();
        move |_| {
            let _guard = OnDrop(|| _ = root.switch(1));
            raise(Oops("neighbour"))
        }
    });
    assert_eq!(neighbour.switch(0), 1);
    let sends = || {
        let root = root.clone();
        let sends = Greenlet::builder(move |n| {
            _ = catch_exit(|| root.switch(n));
            Greenlet::with_parent(&root, |_| raise(Oops("to the root"))).switch(0)
        });
        let sends = sends.name("sends").build();
        sends.switch(0);
        sends
    };
    let told = reports(|| {
        let killed = sends();
        assert_eq!(text_of(move || _ = std::mem::ManuallyDrop::new(killed).kill()), "to the root");
        drop(sends());
    });
    let ignored = "exception ignored in the drop of coroutine 'sends': to the root";
    assert_eq!(told.len(), 2, "the one that was dropped has not ended: {told:?}");
    assert!(told.iter().any(|told| told == ignored), "{told:?}");
    assert_eq!(text_of(|| neighbour.switch(0)), "neighbour");
}

#[test]
fn a_refused_switch_raises_its_error() {
    let _watch = watch();
    let foreign: Rc<RefCell<Option<Greenlet<u32>>>> = Rc::default();
    let other = Greenlet::new({
        let foreign = foreign.clone();
        move |text: String| {
            *foreign.borrow_mut() = Some(Greenlet::new(|n: u32| n));
            text
        }
    });
    other.switch(String::new());
    let foreign = foreign.borrow().clone().unwrap();
    // On the thread, a tree of the same type.
    let root = Greenlet::<u32>::current();
    let attempts: [&dyn Fn() -> u32; 3] =
        [&|| foreign.switch(1), &|| foreign.throw(Oops("x")), &|| foreign.throw_exit(1)];
    for attempt in attempts {
        let error = catch(attempt).unwrap_err();
        assert!(matches!(error.downcast_ref(), Some(SwitchError::RootEnded(()) | SwitchError::OtherTree(()))));
    }
    assert!(root.is_active());
}

// ---- the tracer

/// Sets a tracer that writes down what it is told, as `switch(a -> b)`.
fn traced() -> Log {
    let log = Log::default();
    let tracer = {
        let log = log.clone();
        move |event: &Event| {
            let kind = if event.is_throw() { "throw" } else { "switch" };
            log.push(format!("{kind}({} -> {})", event.origin().name(), event.target().name()));
        }
    };
    greenlet::set_trace(Some(Rc::new(tracer)));
    log
}

fn named(name: &'static str, body: impl FnOnce(u32) -> u32 + 'static) -> Greenlet<u32> {
    Greenlet::builder(body).name(name).build()
}

// GL-079
#[test]
fn a_tracer_is_told_of_switches_and_of_throws() {
    let _watch = watch();
    let log = traced();
    let first = named("first", |n| n);
    let second = named("second", |_| raise(Oops("up")));
    first.switch(1);
    assert_eq!(log.take(), ["switch(root -> first)", "switch(first -> root)"]);
    assert_eq!(text_of(|| second.switch(1)), "up");
    assert_eq!(log.take(), ["switch(root -> second)", "throw(second -> root)"]);
    greenlet::set_trace(None);
    named("third", |n| n).switch(1);
    assert!(log.take().is_empty());
}

// GL-080
#[test]
fn an_exit_arrives_as_a_throw_and_leaves_as_a_switch() {
    let _watch = watch();
    let root = Greenlet::<u32>::current();
    let g = named("g", move |n| root.switch(n));
    g.switch(0);
    let log = traced();
    assert_eq!(g.throw_exit(4), 4);
    assert_eq!(log.take(), ["throw(root -> g)", "switch(g -> root)"]);
    greenlet::set_trace(None);
}

#[test]
fn a_tracer_sees_siblings_drops_and_switches_to_oneself() {
    let _watch = watch();
    let root = Greenlet::<u32>::current();
    let a = named("a", {
        let root = root.clone();
        move |n| root.switch(n)
    });
    let b = named("b", {
        let a = a.clone();
        move |n| a.switch(n)
    });
    let log = traced();
    b.switch(1);
    assert_eq!(log.take(), ["switch(root -> b)", "switch(b -> a)", "switch(a -> root)"]);
    root.switch(3);
    assert_eq!(log.take(), ["switch(root -> root)"]);
    drop(b);
    assert_eq!(log.take(), ["throw(root -> b)", "switch(b -> root)"]);
    assert!(a.kill());
    assert_eq!(log.take(), ["throw(root -> a)", "switch(a -> root)"]);
    greenlet::set_trace(None);
}

// GL-082
#[test]
fn setting_a_tracer_gives_the_one_before() {
    let _watch = watch();
    let tracer: Tracer = Rc::new(|_: &Event| ());
    assert!(greenlet::trace().is_none());
    assert!(greenlet::set_trace(Some(tracer.clone())).is_none());
    assert!(Rc::ptr_eq(&greenlet::set_trace(Some(tracer.clone())).unwrap(), &tracer));
    assert!(Rc::ptr_eq(&greenlet::trace().unwrap(), &tracer));
    assert!(Rc::ptr_eq(&greenlet::set_trace(None).unwrap(), &tracer));
    assert!(greenlet::set_trace(None).is_none());
    assert_eq!(Rc::strong_count(&tracer), 1);
}

// GL-081: what a tracer raises comes out of the switch, in the target, and it is removed.
#[test]
fn a_tracer_that_raises_is_removed() {
    let _watch = watch();
    let ran = Log::default();
    greenlet::set_trace(Some(Rc::new(|_: &Event| raise(Oops("tracer")))));
    let g = named("g", {
        let ran = ran.clone();
        move |n| {
            ran.push("ran");
            n
        }
    });
    // It is raised in `g`, before the body, and goes on to its parent.
    assert_eq!(text_of(|| g.switch(1)), "tracer");
    assert!(g.is_dead() && ran.take().is_empty() && greenlet::trace().is_none());
    let count = Rc::new(RefCell::new(0));
    greenlet::set_trace(Some(Rc::new({
        let count = count.clone();
        move |_: &Event| {
            *count.borrow_mut() += 1;
            assert!(*count.borrow() < 2, "told too often");
        }
    })));
    // Here it is the return that it spoils.
    assert!(panic_text(|| named("g", |n| n).switch(1)).ends_with("told too often"));
    assert_eq!(*count.borrow(), 2);
    assert!(greenlet::trace().is_none());
}

// GL-083
#[test]
fn a_tracer_may_switch() {
    let _watch = watch();
    let log = Log::default();
    let root = Greenlet::<u32>::current();
    let side = named("side", {
        let (log, root) = (log.clone(), root.clone());
        move |n| {
            log.push("side");
            root.switch(n);
            unreachable!()
        }
    });
    let g = named("g", {
        let log = log.clone();
        move |n| {
            log.push("g");
            n + 1
        }
    });
    greenlet::set_trace(Some(Rc::new({
        let side = side.clone();
        move |event: &Event| {
            greenlet::set_trace(None);
            assert_eq!(event.target().name(), "g");
            // Away from `g`, which has not begun, to one that hands control to the root.
            side.switch(50);
        }
    })));
    assert_eq!(g.switch(1), 50);
    assert_eq!(log.take(), ["side"]);
    // `g` waits in the tracer's switch; then it begins, with the value that it was sent at first.
    assert_eq!(g.switch(0), 2);
    assert_eq!(log.take(), ["g"]);
    assert!(side.kill());
}

#[test]
fn a_tracer_knows_the_greenlets_it_is_told_of() {
    let _watch = watch();
    let g = named("g", |n| n);
    let root = Greenlet::<u32>::current();
    let seen = Rc::new(RefCell::new(Vec::new()));
    greenlet::set_trace(Some(Rc::new({
        let seen = seen.clone();
        move |event: &Event| {
            assert_eq!(*event.target(), Greenlet::<u32>::current());
            assert!(event.target().downcast_ref::<String>().is_none());
            seen.borrow_mut().push(event.clone());
        }
    })));
    g.switch(1);
    greenlet::set_trace(None);
    let [Event::Switch { origin, target }, back] = &seen.take()[..] else { panic!("two events") };
    assert!(*origin == root && *target == g && *back.origin() == g && *back.target() == root);
    assert!(origin == back.target() && origin.downcast_ref() == Some(&root));
}

// Each thread has its own.
#[test]
fn a_tracer_is_for_one_thread() {
    let _watch = watch();
    let log = traced();
    std::thread::spawn(|| {
        assert!(greenlet::trace().is_none());
        named("elsewhere", |n| n).switch(1);
        traced();
    })
    .join()
    .unwrap();
    assert!(log.take().is_empty());
    greenlet::set_trace(None);
}

// ---- the end of the thread and of the process

#[test]
fn in_a_process_of_its_own() {
    match common::program().as_deref() {
        None => {}
        Some("suspended at exit") => suspended_at_exit(),
        Some(other) => panic!("no program {other}"),
    }
}

/// A greenlet that waits in its root's switch, plainly or in the handler of an error, and logs its end.
fn waiting(log: &Log, i: u32) -> Greenlet<u32> {
    let (log, root) = (log.clone(), Greenlet::current());
    let g = Greenlet::new(move |n| {
        let _guard = log.at_drop(i.to_string());
        if i.is_multiple_of(2) {
            return root.switch(n);
        }
        let error = catch(|| -> u32 { raise(Oops("handled")) }).unwrap_err();
        root.switch(n);
        raise(error)
    });
    assert_eq!(g.switch(i), i);
    g
}

// GL-059, GL-076, GL-077: in any order of dropping.
#[test]
fn many_that_are_suspended_end_with_whoever_holds_them() {
    const COUNT: u32 = 100;
    let _watch = watch();
    let log = Log::default();
    std::thread::spawn({
        let log = log.clone();
        move || {
            let greenlets: Vec<_> = (0..COUNT).map(|i| waiting(&log, i)).collect();
            // Some hold others, and all their root.
            let (first, mut rest) = (greenlets[0].clone(), greenlets);
            rest.reverse();
            for pair in rest.windows(2) {
                pair[0].set_parent(&pair[1]).unwrap();
            }
            drop(first);
        }
    })
    .join()
    .unwrap();
    let mut ended: Vec<u32> = log.take().iter().map(|line| line.parse().unwrap()).collect();
    ended.sort_unstable();
    assert_eq!(ended, (0..COUNT).collect::<Vec<_>>());
}

// GL-079, GL-065: the event of a switch is the last to hold who switched; its end sends an exit to who was switched to, which
// waits in a drop, and goes on.
#[test]
fn an_exit_thrown_while_a_traced_event_is_dropped_is_reported() {
    let _watch = watch();
    let told = reports(|| {
        let target: Rc<RefCell<Option<Greenlet<u32>>>> = Rc::default();
        let t = named("target", |n| {
            // To the root and back: and then whoever comes is gone.
            10 * greenlet::parent().switch(n)
        });
        t.switch(1);
        *target.borrow_mut() = Some(t.clone());
        // A child that ends hands its value to its parent, which begins then, held by the child's link alone.
        let child: Rc<RefCell<Option<Greenlet<u32>>>> = Rc::default();
        let origin = named("origin", {
            let (t, child) = (t.clone(), child.clone());
            move |n| {
                let child = child.borrow().clone().unwrap();
                child.set_parent(&greenlet::parent()).unwrap();
                drop(child);
                assert!(catch_exit(|| t.switch(n)).is_err());
                t.throw_exit(9)
            }
        });
        *child.borrow_mut() = Some(Greenlet::with_parent(&origin, |n| n + 1));
        let weak = origin.downgrade();
        drop(origin);
        // Two above the root, it gives way to switch, and is not below the one it switches to.
        let starter = named("starter", move |n| {
            let child = child.borrow().clone().unwrap();
            child.switch(n)
        });
        let log = traced();
        assert_eq!(starter.switch(1), 20);
        greenlet::set_trace(None);
        assert!(t.is_dead(), "{:?}", log.take());
        // It waits again, so it was left as it is.
        assert!(weak.upgrade().is_some_and(|origin| origin.is_active()));
    });
    assert!(told.iter().any(|told| told.contains("the exit of the greenlet that dropped it")), "{told:?}");
}

// GL-076, GL-077: the process ends, and they are left as they are.
#[test]
fn the_process_ends_with_many_suspended() {
    let _watch = watch();
    if common::miri_cannot("start a process") {
        return;
    }
    let output = common::run_program("suspended at exit");
    assert_eq!(output.status.code(), Some(42), "{}", common::stderr(&output));
}

fn suspended_at_exit() {
    thread_local! {
        static KEPT: RefCell<Vec<Greenlet<u32>>> = const { RefCell::new(Vec::new()) };
    }
    let log = Log::default();
    let _held: Vec<_> = (0..50).map(|i| waiting(&log, i)).collect();
    KEPT.with_borrow_mut(|kept| kept.extend((0..50).map(|i| waiting(&log, i))));
    std::process::exit(42);
}

// ---- what an exit carries

#[test]
fn who_catches_an_exit_can_take_its_value() {
    let _watch = watch();
    let g = Greenlet::new(|first: String| {
        let mut exit = catch_exit(|| greenlet::parent().switch(first)).unwrap_err();
        assert_eq!(exit.take_value::<u32>(), None);
        let why = exit.take_value::<String>().unwrap();
        assert_eq!(exit.take_value::<String>(), None);
        // Once more, unread: it goes to the parent.
        let exit = catch_exit(|| greenlet::exit(format!("{why}!"))).unwrap_err();
        exit.resume()
    });
    g.switch("ready".into());
    assert_eq!(g.throw_exit("enough".into()), "enough!");
    assert!(g.is_dead());
}

#[test]
fn an_exit_whose_value_was_taken_has_none_for_the_parent() {
    let _watch = watch();
    let g = Greenlet::new(|first: Vec<u8>| {
        let mut exit = catch_exit(|| greenlet::parent().switch(first)).unwrap_err();
        assert_eq!(exit.take_value::<Vec<u8>>(), Some(vec![7]));
        exit.resume()
    });
    g.switch(Vec::new());
    assert!(panic_text(|| _ = g.throw_exit(vec![7])).contains("no value for its parent"));
}

#[test]
fn an_exit_without_a_value_gives_none() {
    let _watch = watch();
    let killed = Greenlet::new(|first: u32| {
        let mut exit = catch_exit(|| greenlet::parent().switch(first)).unwrap_err();
        assert_eq!(exit.take_value::<u32>(), None);
        exit.resume()
    });
    killed.switch(1);
    assert!(killed.kill());
    let mut closed = Generator::new(|y: &Yielder<u32>| {
        let mut exit = catch_exit(|| y.yield_(1)).unwrap_err();
        assert_eq!(exit.take_value::<u32>(), None);
    });
    closed.next();
    closed.close().unwrap();
}

// Where it was caught, it is dropped once.
#[test]
fn a_value_that_is_taken_is_dropped_once() {
    let _watch = watch();
    let log = Log::default();
    let caught = Rc::<RefCell<Option<osier::Exit>>>::default();
    let g = {
        let (caught, log) = (caught.clone(), log.clone());
        Greenlet::new(move |first| {
            *caught.borrow_mut() = catch_exit(|| greenlet::parent().switch(first)).err();
            let other = Greenlet::new(move |v: u32| {
                // Another type's greenlet on top of it: it is on the chain all the same.
                let taken = caught.borrow_mut().as_mut().unwrap().take_value::<common::AtDrop>();
                log.push(format!("took {}", taken.is_some()));
                v
            });
            other.switch(1);
            greenlet::parent::<common::AtDrop>().switch(common::Log::default().at_drop("back"))
        })
    };
    drop(g.switch(log.at_drop("first")));
    drop(g.throw_exit(log.at_drop("value")));
    assert_eq!(log.take(), ["first", "took true", "value"]);
    // Outside of it nothing is found.
    assert!(caught.borrow_mut().as_mut().unwrap().take_value::<common::AtDrop>().is_none());
}
