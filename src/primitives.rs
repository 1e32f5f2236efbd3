//! The atomics and locks of the protocols: std's, or loom's while a model test runs.
//!
//! Only rooms with a protocol of their own use them (`runtime::{idle, inbox, parker}`, `task::state`); these contain no
//! coroutine, so a model checker can run them.

#[cfg(all(test, osier_loom))]
pub(crate) use loom::sync::{
    Condvar, Mutex,
    atomic::{AtomicPtr, AtomicU32, AtomicUsize, Ordering, fence},
};
#[cfg(not(all(test, osier_loom)))]
pub(crate) use std::sync::{
    Condvar, Mutex,
    atomic::{AtomicPtr, AtomicU32, AtomicUsize, Ordering, fence},
};
