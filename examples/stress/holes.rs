//! The holes that the crate's page tells of, where nobody wrote `no_suspend`: are they still there?
//!
//! They lie in std and in libraries, so the day will come when one is closed: then this line changes, and the page wants to
//! be rewritten. Nothing is read through the pointers that the holes leave dangling.

use std::cell::{Cell, RefCell};
use std::sync::mpsc;

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

/// R3: a generator that a thread-local's destructor resumes. Whether it goes on in a borrow of one that is gone.
// H03
fn is_resumed_at_the_end() -> bool {
    /// Notes its end, and lies nowhere that is freed.
    struct Borrowed;
    impl Drop for Borrowed {
        fn drop(&mut self) {
            IS_GONE.set(true);
        }
    }
    struct Resumes(Generator<()>);
    impl Drop for Resumes {
        fn drop(&mut self) {
            self.0.next();
        }
    }
    thread_local! {
        static IS_GONE: Cell<bool> = const { Cell::new(false) };
        static KEPT: RefCell<Option<Resumes>> = const { RefCell::new(None) };
        static BORROWED: Borrowed = const { Borrowed };
    }
    let (says, said) = mpsc::channel();
    let thread = std::thread::spawn(move || {
        // Used first, so it is destroyed last.
        KEPT.set(None);
        let mut g = Generator::new(move |y: &Yielder<()>| {
            BORROWED.with(|_borrowed| {
                y.yield_(());
                says.send(IS_GONE.get()).expect("somebody waits for it");
            });
        });
        g.next();
        KEPT.set(Some(Resumes(g)));
    });
    thread.join().expect("nothing panics in there");
    // Where it is not resumed, it is leaked with its sender.
    said.try_recv().unwrap_or(false)
}

/// What is open, in one line.
pub(crate) fn report() -> String {
    // On a thread of their own, which ends: nobody shall meet what they leave.
    let look = || {
        let said = |is_open| if is_open { "open" } else { "CLOSED: the crate's page should say so" };
        let (first, second, third) = (is_replaced_while_borrowed(), is_left_set(), is_resumed_at_the_end());
        format!("hole R1 {}, R2 {}, R3 {}", said(first), said(second), said(third))
    };
    std::thread::spawn(look).join().expect("what goes wrong in there is asserted")
}
