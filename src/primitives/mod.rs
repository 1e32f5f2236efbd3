//! The atomics and locks of the protocols: std's, or loom's while a model test runs.
//!
//! Only rooms with a protocol of their own use them, which contain no coroutine, so that a model checker can run them:
//! `runtime::{closing, idle, inbox, parker, quiet, rest, diagnosis::monitor}`,
//! `task::{run_state, end_state, requests, wait_queue, choice, crowd}`, `runtime::reactor::readiness`, locks of `sync`.
//!
//! # Rooms
//! - `spin_lock`: a lock for a few instructions. `modelled_lock`: what stands in its place in a model.

#[cfg_attr(all(test, osier_loom), path = "modelled_lock.rs")]
mod spin_lock;

pub(crate) use spin_lock::{SpinGuard, SpinLock};

#[cfg(all(test, osier_loom))]
pub(crate) use loom::sync::{
    Condvar, Mutex, MutexGuard,
    atomic::{AtomicBool, AtomicPtr, AtomicU8, AtomicU32, AtomicUsize, Ordering, fence},
};
#[cfg(not(all(test, osier_loom)))]
pub(crate) use std::sync::{
    Condvar, Mutex, MutexGuard,
    atomic::{AtomicBool, AtomicPtr, AtomicU8, AtomicU32, AtomicUsize, Ordering, fence},
};

/// Makes a function `const`, except where loom's types, whose constructors are not, take the place of std's.
macro_rules! const_unless_modelled {
    ($(#[$attribute:meta])* $visibility:vis fn $($rest:tt)*) => {
        #[cfg(not(all(test, osier_loom)))]
        $(#[$attribute])*
        $visibility const fn $($rest)*
        #[cfg(all(test, osier_loom))]
        $(#[$attribute])*
        $visibility fn $($rest)*
    };
}
pub(crate) use const_unless_modelled;

/// Gives up the thread's time slice.
pub(crate) fn yield_thread() {
    #[cfg(all(test, osier_loom))]
    loom::thread::yield_now();
    #[cfg(not(all(test, osier_loom)))]
    std::thread::yield_now();
}
