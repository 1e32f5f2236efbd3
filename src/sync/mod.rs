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
//! | a value that is made once | [`OnceCell`], [`Once`] |
//! | so many at once | [`Semaphore`], [`BoundedSemaphore`] |
//! | gevent's queues: with limit, joiners, priorities | [`mod@queue`] |
//! | "it has happened", for many at once | [`Event`] |
//! | a result that comes later, for many getters | [`AsyncResult`] |
//! | waiting for each other, or for all | [`Barrier`], [`WaitGroup`] |
//! | gevent's lock and condition, which the owner may lock again | [`RLock`], [`Condition`] |
//!
//! std's types come with std's names and without poisoning; they can be `static`. gevent's are handles: a clone is the
//! same object. Guards stay with their task: they are not `Send`.
//!
//! # Rooms
//! - `mutex`, `condvar`, `rwlock`, `once`: std's. `wait_group`: crossbeam's. `barrier`: Python's.
//! - `event`, `async_result`, `semaphore`, `rlock`, `condition`: gevent's.
//! - `queue`: gevent's queues.
//! - `select`, `wait`: several things at once.
//! - `raw_mutex`, `raw_rwlock`: the protocols under the locks. `spin_lock`: a lock for a few instructions. `waiting`: what
//!   a call that waits has on its stack.

mod async_result;
mod barrier;
pub mod channel;
mod condition;
mod condvar;
mod event;
mod mutex;
mod once;
pub mod queue;
mod raw_mutex;
mod raw_rwlock;
mod rlock;
mod rwlock;
mod select;
mod semaphore;
#[cfg_attr(all(test, osier_loom), path = "modelled_lock.rs")]
mod spin_lock;
mod wait;
mod wait_group;
pub(crate) mod waiting;

pub use async_result::AsyncResult;
pub use barrier::{Barrier, BrokenBarrier};
pub use condition::{Condition, ConditionGuard};
pub use condvar::{Condvar, WaitTimeoutResult};
pub use event::Event;
pub use mutex::{Mutex, MutexGuard};
pub use once::{Once, OnceCell};
pub use queue::{Channel, JoinableQueue, LifoQueue, PriorityQueue, Queue, SimpleQueue};
pub use rlock::{RLock, RLockGuard};
pub use rwlock::{RwLock, RwLockReadGuard, RwLockWriteGuard};
#[doc(hidden)]
pub use select::expansion as select_expansion;
pub use semaphore::{BoundedSemaphore, Permit, ReleasedTooOften, Semaphore};
pub use wait::{Wait, Waiting, join_all, kill_all, wait};
pub use wait_group::WaitGroup;
