//! wip
pub mod generator;
#[cfg(feature = "runtime")]
mod primitives;
#[cfg(feature = "runtime")]
pub mod runtime;
pub mod stack;
#[cfg(feature = "runtime")]
pub mod sync;
#[cfg(feature = "runtime")]
pub mod task;
#[cfg(feature = "runtime")]
pub mod time;

mod coroutine;
pub use generator::{Generator, Step, Yielder};
#[cfg(feature = "runtime")]
pub use runtime::{Runtime, run, shutdown};
#[cfg(feature = "runtime")]
pub use task::{JoinError, JoinHandle, spawn, try_spawn, yield_now};
#[cfg(feature = "runtime")]
pub use time::sleep;
