//! wip
mod coroutine;
pub mod generator;
pub mod stack;
pub use generator::{Generator, Step, Yielder};
