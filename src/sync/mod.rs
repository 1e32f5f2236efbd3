//! What tasks and threads say to each other.
//!
//! Everything here works between tasks of any runtime and plain threads alike. Only calls documented under `# Suspends`
//! wait. A wait that is cut short, by a timeout or a cancellation, loses nothing: what has arrived is returned, and what
//! has not goes to the next one.
//!
//! | need | use |
//! | --- | --- |
//! | values from many to many | [`channel`] |
//! | "it has happened", for many at once | [`Event`] |
//! | a value that one uses at a time | [`Mutex`], with a [`Condvar`] for those who wait for it to change |
//! | a result that comes later, for many getters | [`AsyncResult`] |
//!
//! # Rooms
//! - `mutex`, `condvar`: std's, without poisoning.
//! - `event`, `async_result`: a flag and a value.
//! - `raw_mutex`: the lock that tasks wait for. `waiting`: what a call that waits has on its stack.

mod async_result;
pub mod channel;
mod condvar;
mod event;
mod mutex;
mod raw_mutex;
mod waiting;

pub use async_result::AsyncResult;
pub use condvar::{Condvar, WaitTimeoutResult};
pub use event::Event;
pub use mutex::{Mutex, MutexGuard};
