//! One context for many threads: what `current` reads where each coroutine has a thread of its own.
//!
//! The thread that started the first coroutine owns the context, in its thread-locals; the threads of coroutines point
//! to it. They never change their group, since a started coroutine never changes its thread.
//!
//! # Invariants
//! - The owner lives while a thread of its group runs: it waits for it, on a baton.
//! - std counts panics for each thread. [`Waiting`] adds up those of the threads that wait, so that the group has the
//!   count that one thread would have.

use std::any::Any;
use std::cell::{Cell, RefCell};
use std::ptr;
use std::rc::Rc;
use std::thread;

use super::current::{Thread, Trees};
use super::local::Locals;

/// What has a destructor of what the owner keeps, and the notice that it is gone.
struct Kept {
    trees: Trees,
    tracer: RefCell<Option<Rc<dyn Any>>>,
    locals: Locals,
}

impl Drop for Kept {
    fn drop(&mut self) {
        OWN.with(|own| own.group.kept.set(ptr::null()));
    }
}

thread_local! {
    static OWN: Thread = const { Thread::new() };
    static OWN_KEPT: Kept = const { Kept { trees: Trees::new(), tracer: RefCell::new(None), locals: Locals::new() } };
    /// The context of the group that this thread runs a coroutine of; null on a thread that is nobody's coroutine.
    static JOINED: Cell<*const Thread> = const { Cell::new(ptr::null()) };
}

/// What a thread keeps for its group.
#[derive(Debug)]
pub(super) struct Shared {
    /// The owner's, from its first coroutine to its end.
    kept: Cell<*const Kept>,
    /// How many threads of the group wait in the middle of a panic.
    panicking: Cell<usize>,
}

impl Shared {
    pub(super) const fn new() -> Self {
        Self { kept: Cell::new(ptr::null()), panicking: Cell::new(0) }
    }
}

pub(super) static THREAD: ThreadKey = ThreadKey;
pub(super) static TREES: TreesKey = TreesKey;
pub(super) static TRACER: TracerKey = TracerKey;
pub(super) static LOCALS: LocalsKey = LocalsKey;

/// Stands where the other backend has a thread-local of this name.
pub(super) struct ThreadKey;

impl ThreadKey {
    pub(super) fn with<T>(&self, f: impl FnOnce(&Thread) -> T) -> T {
        // SAFETY: null or the owner's, which lives while this thread runs.
        match unsafe { JOINED.get().as_ref() } {
            Some(thread) => f(thread),
            None => OWN.with(f),
        }
    }
}

/// Stands where the other backend has a thread-local of this name.
pub(super) struct TreesKey;

impl TreesKey {
    pub(super) fn try_with<T>(&self, f: impl FnOnce(&Trees) -> T) -> Result<T, PastEnd> {
        with_kept(|kept| f(&kept.trees))
    }
}

/// Stands where the other backend has a thread-local of this name.
pub(super) struct TracerKey;

impl TracerKey {
    pub(super) fn try_with<T>(&self, f: impl FnOnce(&RefCell<Option<Rc<dyn Any>>>) -> T) -> Result<T, PastEnd> {
        with_kept(|kept| f(&kept.tracer))
    }
}

/// Stands where the other backend has a thread-local of this name.
pub(super) struct LocalsKey;

impl LocalsKey {
    pub(super) fn try_with<T>(&self, f: impl FnOnce(&Locals) -> T) -> Result<T, PastEnd> {
        with_kept(|kept| f(&kept.locals))
    }
}

fn with_kept<T>(f: impl FnOnce(&Kept) -> T) -> Result<T, PastEnd> {
    // SAFETY: as in `ThreadKey::with`.
    let Some(thread) = (unsafe { JOINED.get().as_ref() }) else {
        return OWN_KEPT.try_with(f).map_err(|_| PastEnd);
    };
    // SAFETY: null or the owner's, which takes the pointer back before it is dropped.
    unsafe { thread.group.kept.get().as_ref() }.map(f).ok_or(PastEnd)
}

/// The owner is past its end.
#[derive(Debug)]
pub(super) struct PastEnd;

/// A group of threads, to be joined by one that is started for a coroutine.
#[derive(Clone, Copy, Debug)]
pub(super) struct Group(*const Thread);

// SAFETY: it is only handed to a thread of the group, of which one runs at a time.
unsafe impl Send for Group {}

impl Group {
    /// The group of this thread; a new one if it has none.
    pub(super) fn here() -> Self {
        let joined = JOINED.get();
        if !joined.is_null() {
            return Self(joined);
        }
        // Where this fails, what the owner keeps is gone already.
        let kept = OWN_KEPT.try_with(ptr::from_ref).unwrap_or(ptr::null());
        OWN.with(|own| {
            own.group.kept.set(kept);
            Self(own)
        })
    }

    /// Makes this thread one of the group.
    ///
    /// # Safety
    /// - It is a coroutine's thread, and the group's owner waits whenever it runs, until it has ended.
    pub(super) unsafe fn join(self) {
        JOINED.set(self.0);
    }
}

/// While it lives, this thread waits and another one of its group runs.
#[derive(Debug)]
pub(super) struct Waiting {
    panicking: bool,
}

impl Waiting {
    pub(super) fn begin() -> Self {
        let panicking = thread::panicking();
        if panicking {
            THREAD.with(|thread| thread.group.panicking.update(|count| count + 1));
        }
        Self { panicking }
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        if self.panicking {
            THREAD.with(|thread| thread.group.panicking.update(|count| count - 1));
        }
    }
}

/// Whether anything on this group's threads panics, as `std::thread::panicking` says of one thread.
pub(crate) fn panicking() -> bool {
    thread::panicking() || THREAD.with(|thread| thread.group.panicking.get() > 0)
}
