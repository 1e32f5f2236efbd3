//! wip
pub mod generator;
pub mod stack;
mod coroutine;
pub use generator::{Generator, Step, Yielder};
