//! Looking at generators and greenlets that wait: who stands in for them, and what their stacks show.

mod common;

use std::backtrace::Backtrace;
use std::cell::OnceCell;
use std::rc::Rc;

use common::{OWN_THREADS, OnDrop, Tally, miri_cannot, watch};
use osier::generator::{self, Resume, ResumeError, Shared, State};
use osier::{Exception, Generator, Greenlet, Step, Yielder, catch, greenlet};

/// The names of functions of this file that a stack shows, innermost first.
fn functions(stack: &Backtrace) -> Vec<&'static str> {
    let text = stack.to_string();
    let known = ["innermost", "middle_part", "outer_part", "another_part"];
    // With line tables alone a frame has the bare name.
    let first =
        |name: &str| [format!("::{name}"), format!(": {name}\n")].iter().filter_map(|frame| text.find(frame)).min();
    let mut found: Vec<_> = known.iter().filter_map(|name| Some((first(name)?, *name))).collect();
    found.sort_unstable();
    found.into_iter().map(|(_, name)| name).collect()
}

#[inline(never)]
fn innermost(y: &Yielder<u32, String>) -> usize {
    std::hint::black_box(y.yield_(1).len())
}

#[inline(never)]
fn middle_part(y: &Yielder<u32, String>) -> usize {
    let mut inner = Generator::builder(|y: &Yielder<u32, String>| innermost(y)).name("inner").build();
    std::hint::black_box(y.yield_from(&mut inner))
}

#[inline(never)]
fn outer_part(y: &Yielder<u32, String>) -> usize {
    let middle = Generator::builder(|y: &Yielder<u32, String>| middle_part(y)).name("middle");
    std::hint::black_box(y.yield_from(&mut middle.build()))
}

#[test]
fn smoke() {
    let mut g = Generator::new(|y: &Yielder<u32, String>| outer_part(y));
    g.start().unwrap();
    assert_eq!(g.delegate(), Some("middle"));
    if !miri_cannot("walk its own stack") {
        assert!(functions(&g.backtrace().unwrap()).contains(&"innermost"));
    }
    assert_eq!(g.send("word".to_owned()).unwrap(), Step::Returned(4));
}

// ---- delegate

// GN-016
#[test]
fn state_and_delegate_follow_the_life() {
    let _watch = watch();
    let myself: Rc<OnceCell<Shared<()>>> = Rc::default();
    let running = {
        let myself = myself.clone();
        move || {
            let me: &Shared<()> = myself.get().expect("set below");
            assert_eq!((me.state(), me.delegate()), (State::Executing, None));
        }
    };
    let body = move |y: &Yielder<()>| {
        running();
        let a = |y: &Yielder<()>| {
            running();
            y.yield_(());
            running();
        };
        generator::scoped(a, |inner| y.yield_from(inner));
        running();
        let running = running.clone();
        y.yield_from(
            &mut Generator::builder(move |y: &Yielder<()>| {
                running();
                y.yield_(());
            })
            .name("a")
            .build(),
        );
        y.yield_(());
    };
    let g = Generator::new(body).shared();
    assert!(myself.set(g.clone()).is_ok());
    assert_eq!((g.state(), g.delegate()), (State::New, None));
    g.start().unwrap();
    assert_eq!(g.state(), State::Suspended);
    assert!(g.delegate().unwrap().contains("state_and_delegate_follow_the_life"));
    g.send(()).unwrap();
    assert_eq!((g.state(), g.delegate().as_deref()), (State::Suspended, Some("a")));
    g.send(()).unwrap();
    assert_eq!((g.state(), g.delegate()), (State::Suspended, None));
    g.send(()).unwrap();
    assert_eq!((g.state(), g.delegate()), (State::Finished, None));
}

/// A delegate that is no coroutine.
struct Ones;

impl Resume<()> for Ones {
    type Out = u32;
    type Ret = ();

    fn start(&mut self) -> Result<Step<u32>, ResumeError<()>> {
        Ok(Step::Yielded(1))
    }

    fn send(&mut self, (): ()) -> Result<Step<u32>, ResumeError<()>> {
        Ok(Step::Yielded(1))
    }

    fn throw(&mut self, exception: Exception) -> Result<Step<u32>, ResumeError<()>> {
        Err(ResumeError::Raised(exception))
    }

    fn close(&mut self) -> Result<Option<()>, ResumeError<()>> {
        Ok(None)
    }
}

// GN-016
#[test]
fn a_delegate_without_a_name_is_called_by_its_type() {
    let mut g = Generator::new(|y: &Yielder<u32>| {
        assert!(catch(|| y.yield_from(&mut Ones)).is_err());
        // Behind a reference without a size.
        let ones: &mut dyn Resume<(), Out = u32, Ret = ()> = &mut Ones;
        assert!(catch(|| y.yield_from(ones)).is_err());
        y.yield_all([7]);
        y.yield_(8);
    });
    assert_eq!(g.next(), Some(1));
    assert!(g.delegate().unwrap().ends_with("Ones"));
    g.throw(std::fmt::Error).unwrap();
    assert!(g.delegate().unwrap().ends_with("Ones"));
    assert_eq!(g.throw(std::fmt::Error).unwrap(), Step::Yielded(7));
    // Plain items, and then nothing.
    assert_eq!(g.delegate(), None);
    assert_eq!((g.next(), g.delegate()), (Some(8), None));
    assert_eq!((g.next(), g.delegate()), (None, None));
}

// GN-016: what unwinds a delegation leaves no delegate behind.
#[test]
fn a_delegation_that_was_left_is_forgotten() {
    let mut g = Generator::new(|y: &Yielder<u32>| {
        let _finally = OnDrop(|| y.yield_(2));
        y.yield_from(&mut Ones);
    });
    assert_eq!(g.next(), Some(1));
    assert!(g.delegate().is_some());
    assert!(matches!(g.close(), Err(ResumeError::IgnoredClose)));
    assert_eq!((g.state(), g.delegate()), (State::Suspended, None));
    assert!(matches!(g.send(()), Err(ResumeError::Finished(()))));
}

// ---- backtrace

// GN-091: a backtrace taken in the innermost.
#[test]
fn a_stack_taken_in_the_innermost_shows_all_who_delegate() {
    if OWN_THREADS {
        return; // Each has a stack of its thread's, which ends there.
    }
    #[inline(never)]
    fn another_part(y: &Yielder<Backtrace>) {
        y.yield_(Backtrace::force_capture());
    }
    let mut g = Generator::new(|y: &Yielder<Backtrace>| {
        y.yield_from(&mut Generator::new(|y: &Yielder<Backtrace>| {
            y.yield_from(&mut Generator::new(another_part));
        }));
    });
    let text = g.next().unwrap().to_string();
    assert!(text.contains("another_part"), "{text}");
    let shown = text.matches("yield_from").count();
    assert!(shown >= 2, "{shown}: {text}");
    let name = "a_stack_taken_in_the_innermost_shows_all_who_delegate";
    assert!(text.rfind(name) > text.rfind("yield_from"), "and who resumed them: {text}");
}

// GN-091: of one that is suspended.
#[test]
fn the_stack_of_a_suspended_one_shows_it_and_all_who_stand_in_for_it() {
    let _watch = watch();
    if miri_cannot("walk its own stack") {
        return;
    }
    let mut g = Generator::new(|y: &Yielder<u32, String>| {
        let sum = outer_part(y);
        y.yield_(2);
        sum
    });
    assert!(g.backtrace().is_none());
    assert_eq!(g.start().unwrap(), Step::Yielded(1));
    // Where each has a thread of its own: the innermost one, and the closure that it is made of.
    let all: &[_] =
        if OWN_THREADS { &["innermost", "middle_part"] } else { &["innermost", "middle_part", "outer_part"] };
    for _ in 0..3 {
        assert_eq!(functions(&g.backtrace().unwrap()), all);
        assert_eq!((g.state(), g.delegate()), (State::Suspended, Some("middle")));
    }
    assert_eq!(g.send("1234".to_owned()).unwrap(), Step::Yielded(2));
    assert_eq!(functions(&g.backtrace().unwrap()), [""; 0]);
    assert_eq!(g.send(String::new()).unwrap(), Step::Returned(4));
    assert!(g.backtrace().is_none());
}

// GN-091: values, exceptions and closes arrive as if nobody had looked.
#[test]
fn a_look_at_the_stack_changes_nothing() {
    let tally = Tally::default();
    let mut g = Generator::new({
        let tally = tally.clone();
        move |y: &Yielder<common::Token, common::Token>| {
            let first = y.yield_(tally.token());
            assert!(y.try_yield(tally.token()).is_err());
            assert!(catch(|| y.yield_(tally.token())).is_err());
            y.yield_from(&mut Generator::new({
                let tally = tally.clone();
                move |y: &Yielder<common::Token, common::Token>| drop(y.yield_(tally.token()))
            }));
            drop(first);
            y.yield_(tally.token());
        }
    });
    g.start().unwrap();
    assert!(g.backtrace().is_some());
    g.send(tally.token()).unwrap();
    assert!(g.backtrace().is_some());
    g.throw(std::fmt::Error).unwrap();
    assert!(g.backtrace().is_some() && g.backtrace().is_some());
    g.throw(std::fmt::Error).unwrap();
    assert!(g.delegate().is_some() && g.backtrace().is_some());
    g.send(tally.token()).unwrap();
    assert!(g.delegate().is_none() && g.backtrace().is_some());
    assert!(matches!(g.close(), Ok(None)));
    tally.assert_all_dropped(tally.made());
    assert_eq!(tally.made(), 7);
}

// GN-091: in the middle of an unwind, and with others on top.
#[test]
fn the_stack_can_be_looked_at_wherever_a_body_waits() {
    let mut unwinding = Generator::new(|y: &Yielder<u32>| {
        let _finally = OnDrop(|| y.yield_(2));
        y.yield_(1);
    });
    unwinding.start().unwrap();
    assert!(matches!(unwinding.close(), Err(ResumeError::IgnoredClose)));
    assert!(unwinding.backtrace().is_some());
    assert!(matches!(unwinding.close(), Err(ResumeError::Unwinding)));
    assert!(unwinding.backtrace().is_some());
    assert!(matches!(unwinding.send(()), Err(ResumeError::Finished(()))));

    // The outer one is suspended from on top of an inner one.
    let mut outer = Generator::new(|outer: &Yielder<u32, u32>| {
        generator::scoped(
            |_: &Yielder<()>| outer.yield_(1) + outer.yield_(2),
            |inner| inner.start().unwrap().returned(),
        )
    });
    outer.start().unwrap();
    assert!(outer.backtrace().is_some());
    assert_eq!(outer.send(20).unwrap(), Step::Yielded(2));
    assert!(outer.backtrace().is_some());
    assert_eq!(outer.send(22).unwrap(), Step::Returned(Some(42)));
}

/// A delegate of a user's, which does what it likes when it is asked for its stack.
struct Asked(fn());

impl Resume<()> for Asked {
    type Out = u32;
    type Ret = ();

    fn start(&mut self) -> Result<Step<u32>, ResumeError<()>> {
        Ok(Step::Yielded(1))
    }

    fn send(&mut self, (): ()) -> Result<Step<u32>, ResumeError<()>> {
        Ok(Step::Returned(()))
    }

    fn throw(&mut self, exception: Exception) -> Result<Step<u32>, ResumeError<()>> {
        Err(ResumeError::Raised(exception))
    }

    fn close(&mut self) -> Result<Option<()>, ResumeError<()>> {
        Ok(None)
    }

    fn backtrace(&mut self) -> Option<Backtrace> {
        (self.0)();
        None
    }
}

// GN-091: who asks waits for the stack and nothing else, so nothing else can come.
#[test]
fn a_delegate_that_yields_or_panics_when_it_is_asked_for_its_stack_does_no_harm() {
    let _watch = watch();
    let deeds: [fn(); 3] = [|| generator::yield_::<u32, ()>(7), || panic!("asked"), || osier::raise(std::fmt::Error)];
    for asked in deeds {
        let mut g = Generator::new(move |y: &Yielder<u32>| {
            y.yield_from(&mut Asked(asked));
            y.yield_(2);
        });
        assert_eq!(g.next(), Some(1));
        assert!(g.backtrace().is_some() && g.backtrace().is_some());
        assert_eq!((g.state(), g.next(), g.next()), (State::Suspended, Some(2), None));
    }
}

// GN-091: shared handles look from outside alone.
#[test]
fn a_shared_one_has_no_stack_to_look_at_while_it_runs() {
    let myself: Rc<OnceCell<Shared<bool>>> = Rc::default();
    let body = {
        let myself = myself.clone();
        move |y: &Yielder<bool>| {
            let me: &Shared<bool> = myself.get().expect("set below");
            y.yield_(me.backtrace().is_none());
        }
    };
    let g = Generator::new(body).shared();
    assert!(myself.set(g.clone()).is_ok());
    assert_eq!(g.start().unwrap(), Step::Yielded(true));
    assert!(g.backtrace().is_some());
    g.close().unwrap();
    assert!(g.backtrace().is_none());
}

// GN-091: of a greenlet, wherever it waits.
#[test]
fn the_stack_of_a_suspended_greenlet_shows_where_it_waits_and_changes_nothing() {
    #[inline(never)]
    fn another_part(n: u32) -> u32 {
        std::hint::black_box(greenlet::parent().switch(n) + 1)
    }
    let _watch = watch();
    if miri_cannot("walk its own stack") {
        return;
    }
    let g = Greenlet::new(|n: u32| another_part(n) + another_part(10 * n));
    assert!(g.backtrace().is_none() && Greenlet::<u32>::current().backtrace().is_none());
    assert_eq!(g.switch(1), 1);
    for _ in 0..3 {
        assert_eq!(functions(&g.backtrace().unwrap()), ["another_part"]);
    }
    // From a place where nobody of its tree runs, and by somebody on top of it all.
    let mut elsewhere = Generator::new({
        let g = g.clone();
        move |y: &Yielder<bool>| {
            Greenlet::new(move |(): ()| assert!(g.backtrace().is_some())).switch(());
            y.yield_(true);
        }
    });
    assert_eq!(elsewhere.next(), Some(true));
    assert_eq!(g.switch(5), 10);
    assert!(g.backtrace().is_some());
    assert_eq!(g.switch(5), 12);
    assert!(g.is_dead() && g.backtrace().is_none());

    // In a generator of its own, in a switch the long way; in its own unwind; in the drop of another one.
    let waits = Greenlet::new(|n: u32| {
        let _finally = OnDrop(|| _ = greenlet::parent::<u32>().switch(7));
        let asks = move |y: &Yielder<u32>| y.yield_(greenlet::parent::<u32>().switch(n));
        let inner = Generator::new(asks).next().unwrap();
        let stubborn = Greenlet::new(|n: u32| {
            let caught = osier::catch_exit(|| greenlet::parent::<u32>().switch(n));
            greenlet::parent::<u32>().switch(caught.is_err().into())
        });
        stubborn.switch(0);
        let root = greenlet::parent::<u32>();
        let dropper = Greenlet::with_parent(&root, move |_: u32| {
            drop(stubborn);
            0
        });
        dropper.switch(inner)
    });
    assert_eq!(waits.switch(1), 1);
    assert!(waits.backtrace().is_some() && waits.backtrace().is_some());
    assert_eq!(waits.switch(3), 0);
    assert!(waits.backtrace().is_some());
    assert_eq!(waits.throw_exit(4), 7);
    assert!(waits.backtrace().is_some() && waits.backtrace().is_some());
    assert_eq!(waits.switch(0), 4);
    assert!(waits.is_dead());
}

// ---- errors

// GN-061: calls that send nothing have no value to give back.
#[test]
fn an_error_of_a_call_that_sent_nothing_holds_no_value() {
    let myself: Rc<OnceCell<Shared<u32, u32>>> = Rc::default();
    let body = {
        let myself = myself.clone();
        move |y: &Yielder<u32, u32>| {
            let me: &Shared<u32, u32> = myself.get().expect("set below");
            assert!(matches!(me.send(7), Err(ResumeError::Executing(7))));
            assert!(matches!(me.start(), Err(ResumeError::AlreadyExecuting)));
            assert!(matches!(me.throw(std::fmt::Error), Err(ResumeError::AlreadyExecuting)));
            assert!(matches!(me.close(), Err(ResumeError::AlreadyExecuting)));
            y.yield_(1);
        }
    };
    let g = Generator::new(body).shared();
    assert!(myself.set(g.clone()).is_ok());
    assert!(matches!(g.send(5), Err(ResumeError::NotStarted(5))));
    g.start().unwrap();
    assert!(matches!(g.start(), Err(ResumeError::AlreadyStarted)));
    g.close().unwrap();
    assert!(matches!(g.send(6), Err(ResumeError::Finished(6))));
    assert!(matches!(g.start(), Err(ResumeError::AlreadyFinished)));

    // Where `In` is `()`, there is always one to give back.
    let mut units = Generator::new(|_: &Yielder<u32>| ());
    units.close().unwrap();
    assert!(matches!(units.start(), Err(ResumeError::Finished(()))));
}

// An error is one whatever was sent, also what cannot be printed.
#[test]
fn errors_are_errors_for_any_type_of_value() {
    struct Opaque;
    let mut g = Generator::new(|y: &Yielder<(), Opaque>| _ = y.yield_(()));
    let error = g.send(Opaque).unwrap_err();
    let dynamic: &dyn std::error::Error = &error;
    assert_eq!(dynamic.to_string(), "can't send a value to a generator that has not started");
    assert_eq!(format!("{error:?}"), "NotStarted(_)");
    g.start().unwrap();
    assert!(matches!(g.send(Opaque).unwrap(), Step::Returned(())));
}
