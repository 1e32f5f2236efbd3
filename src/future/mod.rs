//! Futures: awaiting one in a task or on a thread, and awaiting what osier has from code that is `async`.
//!
//! | from | to | by |
//! | --- | --- | --- |
//! | blocking code, in a task or on a thread | any future | [`wait`] |
//! | `async` code, on any executor | a task's value | `handle.await`: a [`JoinHandle`](crate::JoinHandle) is a future |
//! | `async` code, on any executor | an [`AsyncResult`](crate::sync::AsyncResult) | `result.await`, which makes a [`Get`] of it |
//!
//! osier runs no reactor for others: a future that needs one, such as tokio's sockets, still needs it, on a thread of its own.
//!
//! # Rooms
//! - `wait`: from a future to a call that waits. `get`: from a result to a future. A handle is one by itself, in `task::join`.

mod get;
mod wait;

pub use get::Get;
pub use wait::wait;
