//! The holes that the crate's page tells of, where nobody wrote `no_suspend`: are they still there?
//!
//! They lie in std and in libraries, so the day will come when one is closed: then this line changes, and the page wants to
//! be rewritten. Nothing is read through the pointers that the holes leave dangling.

use std::cell::Cell;

use osier::{Generator, Yielder};

thread_local! {
    static DROPPED: Cell<u32> = const { Cell::new(0) };
}

/// What the lazy variable holds. It counts its drops, and lies nowhere that is freed.
struct Counted;

impl Drop for Counted {
    fn drop(&mut self) {
        DROPPED.set(DROPPED.get() + 1);
    }
}

/// R1: an initialiser that suspends, beside one that does not. Whether std drops what the second made while it is borrowed.
// H07
fn is_replaced_while_borrowed() -> bool {
    thread_local! {
        static FIRST: Cell<bool> = const { Cell::new(true) };
        static LAZY: Counted = {
            if FIRST.replace(false) {
                osier::generator::yield_::<u32, ()>(0);
            }
            Counted
        };
    }
    let dropped = DROPPED.get();
    let mut first = Generator::new(|_: &Yielder<u32>| LAZY.with(|_| ()));
    let mut second = Generator::new(|y: &Yielder<u32>| LAZY.with(|_borrowed| y.yield_(1)));
    // The first one initialises and suspends in there, the second initialises and borrows, the first one goes on.
    assert_eq!((first.next(), second.next(), first.next()), (Some(0), Some(1), None));
    let is_replaced = DROPPED.get() > dropped;
    assert_eq!(second.next(), None);
    is_replaced
}

/// R2: two callbacks that a pointer is set for, which end in the order of their beginning. Whether it is left set.
// H08
fn is_left_set() -> bool {
    scoped_tls::scoped_thread_local!(static SCOPED: u32);
    let callback = |n| Generator::new(move |y: &Yielder<u32>| SCOPED.set(&n, || y.yield_(n)));
    let (mut first, mut second) = (callback(1), callback(2));
    assert_eq!((first.next(), second.next()), (Some(1), Some(2)));
    assert_eq!((first.next(), second.next()), (None, None));
    SCOPED.is_set()
}

/// What is open, in one line.
pub(crate) fn report() -> String {
    // On a thread of their own, which ends: nobody shall meet what they leave.
    let look = || {
        let said = |is_open| if is_open { "open" } else { "CLOSED: the crate's page should say so" };
        format!("hole R1 {}, R2 {}", said(is_replaced_while_borrowed()), said(is_left_set()))
    };
    std::thread::spawn(look).join().expect("what goes wrong in there is asserted")
}
