//! The rows on generators and on greenlet.

use std::cell::{Cell, RefCell};
use std::rc::Rc;

use osier::generator::{self, ResumeError, State};
use osier::greenlet::{self, ParentError, SwitchError};
use osier::{
    Exception, Generator, Greenlet, OrRaise, Pool, Step, Yielder, catch, catch_exit, raise, set_report_hook, task_local,
};

use crate::Oops;
use crate::common::{Tally, reports, watch};

// | `def f(a): yield 1; yield 2`
// | `Generator[Out, In, Ret]` in a signature
fn f(a: u32) -> Generator<u32> {
    Generator::new(move |y: &Yielder<_>| {
        y.yield_(a);
        y.yield_(2);
    })
}

/// Yields what it is sent, and twice that in the end.
fn echo() -> Generator<u32, u32, u32> {
    Generator::new(|y: &Yielder<u32, u32>| {
        let first = y.yield_(0);
        // | `v = yield x`; `g.send(v)`
        let v = y.yield_(first);
        // | `return r`; `StopIteration.value`
        2 * v
    })
}

#[test]
fn generators_are_resumed_and_end() {
    let _watch = watch();
    // | `for x in f(): …`, `list(f())`, `sum(f())`, `zip(f(), g())`
    for x in f(1) {
        assert!(x < 3);
    }
    assert_eq!((f(1).collect::<Vec<_>>(), f(1).sum::<u32>(), f(1).zip(f(3)).count()), (vec![1, 2], 3, 2));
    let mut g = f(1);
    // | `next(g)`; `next(g, None)`
    assert_eq!((g.next(), g.next()), (Some(1), Some(2)));
    // | `StopIteration` where no value was expected
    assert_eq!(g.next(), None);
    let mut g = echo();
    // | `TypeError: can't send non-None value to a just-started generator`
    assert!(matches!(g.send(7), Err(ResumeError::NotStarted(7))));
    // | `next(g)` to start one that will be sent values
    assert_eq!(g.start().unwrap(), Step::Yielded(0));
    // | `task.target.send(task.sendval)`, which starts or goes on
    let mut either = echo();
    assert_eq!((either.resume(7).unwrap(), either.resume(8).unwrap()), (Step::Yielded(0), Step::Yielded(8)));
    // | what `send` and `next` return
    assert_eq!((g.send(5).unwrap(), g.send(6).unwrap()), (Step::Yielded(5), Step::Returned(12)));
    let mut counted = Generator::new(|y: &Yielder<u32>| (y.yield_(1), 7).1);
    assert_eq!(((&mut counted).count(), counted.take_return()), (1, Some(7)));
    // | a decorator `@consumer` that primes
    let mut g = echo().primed();
    assert_eq!(g.send(5).unwrap(), Step::Yielded(5));
    // | `inspect.getgeneratorstate(g)`, `g.__name__`
    assert_eq!(g.state(), State::Suspended);
    assert!(g.name().contains("echo"));
    // | `except Exception:` around `xs[i]`, `d[k]`, `a / b`
    let (xs, i) = ([1, 2], g.name().len());
    assert!(osier::catch_unwind(|| catch(|| xs[i])).is_err() && xs.get(i).is_none());
    // | `g.close()` and what it returns
    assert_eq!(g.close().unwrap(), None);
    let tally = Tally::default();
    let token = tally.token();
    // | `finally: …`, `with …:`
    let g = Generator::new(move |y: &Yielder<u32>| {
        let _token = token;
        y.yield_(1);
    });
    // | `del g`, or nobody refers to it any more
    drop(g.primed());
    tally.assert_all_dropped(1);
}

#[test]
fn exceptions_and_exits() {
    let _watch = watch();
    let mut g = Generator::new(|y: &Yielder<u32>| {
        // | `try: x = yield v` / `except Oops as e: …`
        match catch(|| y.yield_(1)) {
            Ok(()) => {}
            Err(e) if e.is::<Oops>() => y.yield_(2),
            Err(e) => raise(e),
        }
        // | the same around a single `yield`, where it must be fast
        if y.try_yield(3).is_err() {
            // | `except GeneratorExit: …`
            let Err(exit) = catch_exit(|| {
                loop {
                    y.yield_(4);
                }
            });
            exit.resume();
        }
    })
    .primed();
    // | `g.throw(Oops())`
    assert_eq!(g.throw(Oops).unwrap(), Step::Yielded(2));
    assert_eq!((g.next(), g.throw(Oops).unwrap()), (Some(3), Step::Yielded(4)));
    assert_eq!(g.close().unwrap(), None);
    assert!(matches!(f(1).primed().throw(Oops), Err(ResumeError::Raised(e)) if e.is::<Oops>()));
    // | `RuntimeError: generator ignored GeneratorExit`
    let mut stubborn = Generator::new(|y: &Yielder<u32>| (_ = catch_exit(|| y.yield_(1)), y.yield_(2)).1).primed();
    assert!(matches!(stubborn.close(), Err(ResumeError::IgnoredClose)));
    // | `raise Oops()`; `raise` again
    let once = catch(|| raise(Oops)).unwrap_err();
    let again = catch(|| raise(once.clone())).unwrap_err();
    assert!(again.ptr_eq(&once));
    // | `raise` of an error that a function returned
    assert!(catch(|| "x".parse::<u32>().unwrap_or_else(|e| raise(e))).is_err());
    assert!(catch(|| echo().send(1).or_raise()).is_err());
    assert!(catch(|| raise(Exception::from_boxed(Box::new(Oops)))).is_err());
    // | an error in `__del__`, printed as unraisable
    _ = set_report_hook as fn(fn(&osier::Report<'_>)) -> _;
    let lines = reports(|| {
        let fails = |y: &Yielder<u32>| _ = catch_exit(|| y.yield_(1)).map_err(|_| raise(Oops));
        drop(Generator::new(fails).primed());
    });
    assert!(lines.iter().any(|line| line.contains("oops")), "{lines:?}");
}

struct Node {
    left: Option<Box<Node>>,
    value: u32,
}

fn walk(y: &Yielder<u32>, node: Option<&Node>) {
    let Some(node) = node else { return };
    // | `yield from walk(node.left)` in a recursion
    walk(y, node.left.as_deref());
    y.yield_(node.value);
}

#[test]
fn delegation_and_sharing() {
    let _watch = watch();
    let mut outer = Generator::new(|y: &Yielder<u32, u32>| {
        let mut inner = echo();
        // | `yield from inner`
        let r = y.yield_from(&mut inner);
        let mut started = echo();
        started.start().or_raise();
        // | `yield from inner` where `inner` has been started
        r + y.resume_from(1, &mut started).unwrap_or(0)
    });
    let (mut new, mut done) = (f(1), f(1));
    assert_eq!(done.by_ref().count(), 2);
    let any = Generator::new(move |y: &Yielder<u32>| {
        // | `yield from inner` where `inner` may be new, started or finished
        assert_eq!((y.yield_from_any((), &mut new), y.yield_from_any((), &mut done)), (Some(()), None));
    });
    assert_eq!(any.collect::<Vec<_>>(), [1, 2]);
    assert_eq!(outer.start().unwrap(), Step::Yielded(0));
    // | `g.gi_yieldfrom`; `traceback.print_stack(g.gi_frame)`
    assert!(outer.delegate().unwrap().contains("echo") && outer.backtrace().is_some());
    assert_eq!((outer.send(3).unwrap(), outer.send(4).unwrap()), (Step::Yielded(3), Step::Yielded(1)));
    assert_eq!(outer.send(5).unwrap(), Step::Returned(18));
    let items = Generator::new(|y: &Yielder<u32>| {
        // | `yield from [1, 2]`
        y.yield_all([1, 2]);
        walk(y, Some(&Node { left: Some(Box::new(Node { left: None, value: 3 })), value: 4 }));
        // | a helper that yields, far below the generator
        let helper = || generator::yield_::<u32, ()>(5);
        helper();
    });
    assert!(items.eq(1..=5));
    // | `(x * x for x in xs)`
    assert_eq!([1, 2].iter().map(|x| x * x).sum::<i32>(), 5);
    // | a generator kept by many
    let shared = echo().primed().shared();
    assert!(shared.clone().send(1).is_ok());
    // | `ValueError: generator already executing`
    let this: Rc<RefCell<Option<generator::Shared<u32>>>> = Rc::default();
    let me = this.clone();
    let reenters = Generator::new(move |y: &Yielder<u32>| {
        let me = me.borrow().clone().unwrap();
        assert!(matches!(me.start(), Err(ResumeError::Executing(()) | ResumeError::AlreadyStarted)));
        y.yield_(1);
    });
    *this.borrow_mut() = Some(reenters.shared());
    let shared = this.borrow().clone().unwrap();
    assert_eq!(shared.start().unwrap(), Step::Yielded(1));
    this.take();
    // | a generator that uses its caller's variables
    let text = String::from("lent");
    let length = generator::scoped(|y: &Yielder<usize>| y.yield_(text.len()), |g| g.start().unwrap().yielded());
    assert_eq!(length, Some(4));
    // | `async def`, `await`, `async for`
    let plain = |g: Generator<u32>| g.sum::<u32>();
    assert_eq!(plain(f(1)), 3);
    // | a generator handed to another thread
    let builder = Generator::builder(|y: &Yielder<u32>| y.yield_(7));
    assert_eq!(std::thread::spawn(move || builder.build().next()).join().unwrap(), Some(7));
    // | a generator as the source of `pool.imap(f, g())`
    let source = Generator::builder(|y: &Yielder<u32>| y.yield_all(0..3));
    assert!(osier::run(|| Pool::new(2).imap(source, |n| n + 1).eq(1..=3)));
}

// ---- greenlet

/// Only what is not `Send` has one way to be this.
trait NotSend<A> {
    fn check() {}
}

struct IsSend;

impl<T: ?Sized> NotSend<()> for T {}
impl<T: ?Sized + Send> NotSend<IsSend> for T {}

// | `from greenlet import greenlet`
#[test]
fn greenlets_switch_and_end() {
    let _watch = watch();
    // | the main greenlet
    let root = Greenlet::<u32>::current();
    // | `g = greenlet(run)`
    let g = Greenlet::new(|n: u32| {
        // | `greenlet.getcurrent()`
        assert!(Greenlet::<u32>::current().is_active());
        // | `getcurrent().parent.switch(v)`
        let m: u32 = greenlet::parent().switch(n + 1);
        m * 2
    });
    // | what `switch` returns
    assert_eq!(g.switch(1), 2);
    // | a body returns or fails
    assert_eq!(g.switch(21), 42);
    // | `g.dead`, `bool(g)`
    assert!(g.is_dead() && !g.is_active());
    // | a switch to a dead greenlet
    assert_eq!(g.switch(7), 7);
    // | `g.switch(a, b)`, `g.switch(x=1)`
    let pair = Greenlet::new(|(a, b): (u32, u32)| (b, a));
    assert_eq!(pair.switch((1, 2)), (2, 1));
    // | `greenlet(run, parent=p)`; `g.parent`; `g.parent = p`
    let p = Greenlet::new(|n: u32| n);
    let child = Greenlet::with_parent(&p, |n: u32| n + 1);
    assert_eq!(child.parent(), Some(p.clone()));
    child.set_parent(&root).unwrap();
    // | `ValueError: cyclic parent chain`
    assert!(matches!(child.set_parent(&child), Err(ParentError::Cycle)));
    assert_eq!(child.switch(1), 2);
    // | `raise GreenletExit`; `GreenletExit(v)`
    let exits = Greenlet::new(|n: u32| greenlet::exit(n + 1));
    assert_eq!(exits.switch(1), 2);
    let waits = || {
        let g = Greenlet::new(|n: u32| greenlet::parent().switch(n));
        g.switch(1);
        g
    };
    // | `g.throw()`
    assert_eq!(waits().throw_exit(7), 7);
    // | `g.throw(Oops)`
    assert!(catch(|| waits().throw(Oops)).unwrap_err().is::<Oops>());
    // | `except GreenletExit:`
    let catches = Greenlet::new(|n: u32| catch_exit(|| greenlet::parent().switch(n)).unwrap_or(9));
    catches.switch(1);
    assert_eq!(catches.throw_exit(7), 9);
    // | `except GreenletExit as e:`; `e.args[0]`
    let takes = Greenlet::new(|n: u32| {
        let mut exit = catch_exit(|| greenlet::parent().switch(n)).unwrap_err();
        exit.take_value::<u32>().unwrap() + 1
    });
    takes.switch(1);
    assert_eq!(takes.throw_exit(7), 8);
    // | a greenlet of another tree of this thread
    let made: Rc<RefCell<Option<Greenlet<u16>>>> = Rc::default();
    let makes = made.clone();
    // The root of that tree waits.
    let other_root = Greenlet::new(move |n: u32| {
        *makes.borrow_mut() = Some(Greenlet::new(|n: u16| n));
        greenlet::parent().switch(n)
    });
    other_root.switch(1);
    let elsewhere = made.borrow().clone().unwrap();
    assert!(matches!(elsewhere.try_switch(1), Err(SwitchError::OtherTree(1))));
    // | `greenlet.error: cannot switch to a different thread`
    <Greenlet<u32> as NotSend<_>>::check();
}

#[test]
fn greenlets_are_dropped_traced_and_have_locals() {
    let _watch = watch();
    let tally = Tally::default();
    let holds = || {
        let token = tally.token();
        let g = Greenlet::new(move |n: u32| {
            let _token = token;
            greenlet::parent().switch(n)
        });
        g.switch(1);
        g
    };
    // | `del g` of a suspended one
    drop(holds());
    tally.assert_all_dropped(1);
    // | greenlets in each other's frames, left to the collector
    assert!(holds().kill());
    // | `weakref.ref(g)`
    let g = holds();
    // | `g.gr_frame`
    assert!(g.backtrace().is_some());
    let weak = g.downgrade();
    assert!(weak.upgrade().is_some());
    drop(g);
    assert!(weak.upgrade().is_none());
    // | `g.foo = 1`
    let foo = Rc::new(Cell::new(0));
    let sets = foo.clone();
    Greenlet::new(move |n: u32| (sets.set(1), n).1).switch(1);
    assert_eq!(foo.get(), 1);
    // | `greenlet.settrace(f)`, `gettrace()`
    let seen = Rc::new(Cell::new(0));
    let counts = seen.clone();
    greenlet::set_trace(Some(Rc::new(move |_: &greenlet::Event| counts.set(counts.get() + 1))));
    assert!(greenlet::trace().is_some());
    Greenlet::new(|n: u32| n).switch(1);
    greenlet::set_trace(None);
    assert_eq!(seen.get(), 2);
    // | `g.gr_context`, `contextvars`
    task_local! {
        static OWN: Cell<u32> = Cell::new(0);
        inherit static HANDED_ON: u32 = 0;
    }
    OWN.with(|own| own.set(1));
    HANDED_ON.set(7);
    let locals = Greenlet::new(|n: u32| OWN.with(Cell::get) + HANDED_ON.get() + n);
    assert_eq!(locals.switch(1), 8);
}

/// A trap of the guide: where the root of a tree is.
#[test]
fn the_first_greenlet_of_a_type_says_where_the_root_is() {
    let _watch = watch();
    for made_in_main in [false, true] {
        let thread = std::thread::spawn(move || {
            if made_in_main {
                Greenlet::new(|line: String| line).switch(String::new());
            }
            let outer = Greenlet::builder(move |_: u32| {
                let inner = Greenlet::new(|_: String| Greenlet::<u32>::current().name().to_owned());
                assert_eq!(inner.switch(String::new()) == "outer", !made_in_main);
                1
            });
            assert_eq!(outer.name("outer").build().switch(0), 1);
        });
        thread.join().unwrap();
    }
}
