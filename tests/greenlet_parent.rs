//! Greenlets that switch to their parent, whoever that is, and hold nothing meanwhile.

mod common;

use std::cell::RefCell;
use std::rc::Rc;

use osier::greenlet::{self, parent};
use osier::{Generator, Greenlet, Yielder, catch, catch_exit, raise};

use common::watch;

// GL-001, GL-008
#[test]
fn what_is_handed_to_the_parent_comes_out_of_its_switch() {
    let _watch = watch();
    let g = Greenlet::new(|n: i32| {
        let m = parent().switch(n + 1);
        parent().switch(m * 10) - 1
    });
    assert_eq!((g.switch(1), g.switch(2), g.switch(3)), (2, 20, 2));
    assert!(g.is_dead());
}

// GL-064
#[test]
fn one_that_waits_for_its_parent_ends_with_its_last_handle() {
    let _watch = watch();
    let said = Rc::new(RefCell::new(Vec::new()));
    let g = Greenlet::new({
        let said = said.clone();
        move |_: i32| {
            let Err(_) = catch_exit(|| {
                loop {
                    parent().switch(0);
                }
            });
            said.borrow_mut().push("Got GreenletExit; quitting");
            0
        }
    });
    g.switch(1);
    g.switch(2);
    drop(g);
    assert_eq!(*said.borrow(), ["Got GreenletExit; quitting"]);
}

// GL-064: the handle that `current` gives is held until the end of its statement.
#[test]
fn one_that_holds_its_own_handle_is_ended_by_kill_alone() {
    let _watch = watch();
    let g = Greenlet::new(|n: i32| Greenlet::<i32>::current().parent().unwrap().switch(n));
    assert_eq!(g.switch(1), 1);
    let weak = g.downgrade();
    drop(g);
    let g = weak.upgrade().expect("its own stack holds it");
    assert!(!g.is_dead() && g.kill());
}

// GL-053
#[test]
fn another_parent_is_the_one_from_then_on() {
    let _watch = watch();
    let root = Greenlet::<i32>::current();
    let slot = Rc::new(RefCell::new(None));
    let middle = Greenlet::new({
        let slot = slot.clone();
        move |_: i32| {
            let inner = Greenlet::new(|n: i32| {
                let m = parent().switch(n + 1);
                parent().switch(m + 1)
            });
            assert_eq!(inner.switch(0), 1);
            *slot.borrow_mut() = Some(inner);
            parent().switch(10)
        }
    });
    assert_eq!(middle.switch(0), 10);
    let inner: Greenlet<i32> = slot.take().unwrap();
    inner.set_parent(&root).unwrap();
    assert_eq!(inner.switch(20), 21);
    assert!(middle.is_active() && inner.is_active());
}

// GL-031
#[test]
fn an_exception_is_raised_out_of_the_switch_to_the_parent() {
    let _watch = watch();
    let g = Greenlet::new(|n: i32| match catch(|| parent().switch(n)) {
        Err(e) if e.is::<std::fmt::Error>() => 42,
        Err(e) => raise(e),
        Ok(n) => n,
    });
    g.switch(1);
    assert_eq!(g.throw(std::fmt::Error), 42);
}

// GL-097
#[test]
fn a_generator_in_a_greenlet_switches_to_the_greenlets_parent() {
    let _watch = watch();
    let g = Greenlet::new(|n: i32| {
        let items = Generator::new(move |y: &Yielder<i32>| {
            y.yield_(parent().switch(n));
            y.yield_(parent().switch(n + 1));
        });
        items.sum()
    });
    assert_eq!((g.switch(7), g.switch(20), g.switch(22)), (7, 8, 42));
}

#[test]
fn each_type_has_its_own_parent() {
    let _watch = watch();
    let outer = Greenlet::new(|text: &'static str| {
        let inner = Greenlet::new(|n: u8| {
            let back = parent().switch("from the inner one");
            assert_eq!(back, "go on");
            parent().switch(n + 1)
        });
        assert_eq!(inner.switch(1), 2);
        text
    });
    assert_eq!(outer.switch("the end"), "from the inner one");
    assert_eq!(outer.switch("go on"), "the end");
}

#[test]
fn without_a_greenlet_there_is_no_parent() {
    let _watch = watch();
    let message = |ran: std::thread::Result<Greenlet<u64>>| match ran {
        Ok(_) => panic!("it has a parent"),
        Err(payload) => *payload.downcast_ref::<&str>().expect("a literal"),
    };
    let expected = "only a greenlet has a parent, and no greenlet of that type runs";
    // Neither where there is no tree, nor at the root of one, nor in a greenlet of another type.
    assert_eq!(message(osier::catch_unwind(parent)), expected);
    let root = Greenlet::<u64>::current();
    assert_eq!(message(osier::catch_unwind(parent)), expected);
    let other = Greenlet::new(move |n: i8| {
        assert_eq!(message(osier::catch_unwind(greenlet::parent)), expected);
        n
    });
    other.switch(1);
    drop(root);
}
