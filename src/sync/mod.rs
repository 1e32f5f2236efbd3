//! What tasks and threads say to each other.
//!
//! Everything here works between tasks of any runtime and plain threads alike. Only calls documented under `# Suspends`
//! wait. A wait that is cut short, by a timeout or a cancellation, loses nothing: what has arrived is returned, and what
//! has not goes to the next one. A task that makes many such calls and need not wait in any of them lets others run now and
//! then, once in 128 to 256 calls; it unwinds there if it was cancelled.
//!
//! | need | use |
//! | --- | --- |
//! | values from many to many | [`channel`] |
//! | the first of several operations | [`select!`](crate::select!), [`channel::Select`] |
//! | each of several objects, as it gets ready | [`wait`](fn@wait), [`join_all`] |
//! | a value that one uses at a time | [`Mutex`], with a [`Condvar`] for those who wait for it to change |
//! | a value that many read | [`RwLock`] |
//! | a value that is made once | [`OnceCell`], [`LazyCell`], [`Once`] |
//! | so many at once | [`Semaphore`], [`BoundedSemaphore`] |
//! | gevent's queues: with limit, joiners, priorities | [`mod@queue`] |
//! | "it has happened", for many at once | [`Event`] |
//! | a result that comes later, for many getters | [`AsyncResult`] |
//! | waiting for each other, or for all | [`Barrier`], [`WaitGroup`] |
//! | gevent's lock and condition, which the owner may lock again | [`RLock`], [`Condition`] |
//!
//! std's types come with std's names and without poisoning; they can be `static`. gevent's are handles: a clone is the
//! same object. Guards stay with their task: they are not `Send`. A task that waits while it holds one is reported in debug
//! builds, once for each place ([`set_held_reports`]).
//!
//! # Rooms
//! - `mutex`, `condvar`, `rwlock`, `once`, `lazy`: std's. `wait_group`: crossbeam's. `barrier`: Python's.
//! - `event`, `async_result`, `semaphore`, `rlock`, `condition`: gevent's.
//! - `queue`: gevent's queues.
//! - `select`, `wait`: several things at once.
//! - `raw_mutex`, `raw_rwlock`: the protocols under the locks. `waiting`: what a call that waits has on its stack.

mod async_result;
mod barrier;
pub mod channel;
mod condition;
mod condvar;
mod event;
mod lazy;
mod mutex;
mod once;
pub mod queue;
mod raw_mutex;
mod raw_rwlock;
mod rlock;
mod rwlock;
mod select;
mod semaphore;
mod wait;
mod wait_group;
pub(crate) mod waiting;

pub use async_result::AsyncResult;
pub use barrier::{Barrier, BrokenBarrier};
pub use condition::{Condition, ConditionGuard};
pub use condvar::{Condvar, WaitTimeoutResult};
pub use event::Event;
pub(crate) use event::RawEvent;
pub use lazy::LazyCell;
pub use mutex::{Mutex, MutexGuard};
pub use once::{Once, OnceCell};
pub use queue::{Channel, GetError, JoinableQueue, LifoQueue, PriorityQueue, PutError, Queue, ShutDown, SimpleQueue};
pub use rlock::{RLock, RLockGuard};
pub use rwlock::{RwLock, RwLockReadGuard, RwLockWriteGuard};
#[doc(hidden)]
pub use select::expansion as select_expansion;
pub(crate) use select::{Arm, Begun, Operand, Token};
pub use semaphore::{BoundedSemaphore, Permit, ReleasedTooOften, Semaphore};
pub use wait::{Wait, Waiting, join_all, join_all_deadline, join_all_timeout, kill_all, wait};
pub use wait_group::WaitGroup;

/// Turns the reports of locks that a task holds while it waits on or off, for the whole process; returns whether they were
/// on. In builds with debug assertions they are on at first; in others there are none, and this does nothing.
///
/// A lock of this room may be held over a wait, and sometimes that is what it is for: a connection that one request at a
/// time uses. Mostly it is a mistake: everybody who wants the lock waits along, and if the holder waits for one of those, for
/// ever. So a task that parks while it holds a guard of a [`Mutex`], an [`RwLock`], an [`RLock`] or a [`Condition`] is
/// [reported](crate::Report::HeldOverWait), with both places in the code, once for each place where such a guard was taken. A
/// yield does not count, nor does the wait for another lock, nor that of a condition with the lock that it gives up.
///
/// # Examples
/// ```
/// use osier::sync::{Mutex, set_held_reports};
/// use std::time::Duration;
///
/// let connection = Mutex::new(0);
/// let before = set_held_reports(false);
/// osier::run(|| {
///     let mut connection = connection.lock();
///     osier::sleep(Duration::from_millis(1));
///     *connection += 1;
/// });
/// set_held_reports(before);
/// ```
pub fn set_held_reports(on: bool) -> bool {
    crate::task::held::set_reports(on)
}
