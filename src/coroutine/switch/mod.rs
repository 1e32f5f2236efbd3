//! Two ways to switch, with the same types: a coroutine that is never unwound from outside, and its yielder.
//!
//! - `corosensei`: stacks switched in user space. What everybody uses. `fiber`: what `ThreadSanitizer` is told of it.
//! - `thread`: each coroutine on a thread of the system's, of which exactly one runs at a time. For Miri, which cannot
//!   follow a switch of stacks, and to tell a fault of ours from one of the switch.
//!
//! `cfg(miri)` or `--cfg osier_threads` picks the second. `arch-notes/checking.md` says how to run either, and where
//! they differ.
//!
//! # Invariants
//! - Neither unwinds a suspended coroutine by itself: [`Coroutine`] has no destructor. Whoever holds it throws into it
//!   (see `unwind`), and what does not end is leaked.

#[cfg(not(any(miri, osier_threads)))]
mod corosensei;
#[cfg(not(any(miri, osier_threads)))]
mod fiber;
#[cfg(any(miri, osier_threads))]
mod thread;

#[cfg(not(any(miri, osier_threads)))]
pub(crate) use self::corosensei::{Coroutine, Yielder, on_stack};
#[cfg(any(miri, osier_threads))]
pub(crate) use self::thread::{Coroutine, Yielder, on_stack};

/// What a resume came back with.
#[derive(Debug)]
pub(crate) enum Resumed<Out> {
    /// The coroutine suspended.
    Suspended(Out),
    /// Its body returned.
    Returned,
}
