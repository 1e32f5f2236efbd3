//! Why nothing was put, and nothing got.

use std::error::Error;
use std::fmt;

use crate::exception::{Raise, raise};

/// The queue is shut down. What could not be put comes back.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct ShutDown<T = ()>(pub T);

/// Why something was not put; it comes back.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum PutError<T> {
    /// There was no room, and none came in time.
    Full(T),
    /// The queue is shut down.
    ShutDown(T),
}

/// Why nothing was got.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum GetError {
    /// There was nothing, and nothing came in time.
    Empty,
    /// There is nothing, and the queue is shut down.
    ShutDown,
}

impl<T> ShutDown<T> {
    /// Gives back what was not put.
    pub fn into_inner(self) -> T {
        self.0
    }
}

impl<T> PutError<T> {
    /// Gives back what was not put.
    pub fn into_inner(self) -> T {
        match self {
            Self::Full(item) | Self::ShutDown(item) => item,
        }
    }

    /// Whether there was no room.
    pub fn is_full(&self) -> bool {
        matches!(self, Self::Full(_))
    }

    /// Whether the queue is shut down.
    pub fn is_shut_down(&self) -> bool {
        matches!(self, Self::ShutDown(_))
    }

    fn without_item(&self) -> PutError<()> {
        if self.is_full() { PutError::Full(()) } else { PutError::ShutDown(()) }
    }
}

impl GetError {
    /// Whether there was nothing in time.
    pub fn is_empty(&self) -> bool {
        matches!(self, Self::Empty)
    }

    /// Whether the queue is shut down, and drained.
    pub fn is_shut_down(&self) -> bool {
        matches!(self, Self::ShutDown)
    }
}

impl<T> From<ShutDown<T>> for PutError<T> {
    fn from(ShutDown(item): ShutDown<T>) -> Self {
        Self::ShutDown(item)
    }
}

impl From<ShutDown> for GetError {
    fn from(_: ShutDown) -> Self {
        Self::ShutDown
    }
}

impl<T> fmt::Debug for ShutDown<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ShutDown(..)")
    }
}

impl<T> fmt::Debug for PutError<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.is_full() { "Full(..)" } else { "ShutDown(..)" })
    }
}

impl<T> fmt::Display for ShutDown<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the queue is shut down")
    }
}

impl<T> fmt::Display for PutError<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.is_full() { f.write_str("the queue is full") } else { ShutDown(()).fmt(f) }
    }
}

impl fmt::Display for GetError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.is_empty() { f.write_str("the queue is empty") } else { ShutDown(()).fmt(f) }
    }
}

impl<T> Error for ShutDown<T> {}
impl<T> Error for PutError<T> {}
impl Error for GetError {}

impl<T> Raise for ShutDown<T> {
    #[track_caller]
    fn raise(self) -> ! {
        raise(ShutDown(()))
    }
}

impl<T> Raise for PutError<T> {
    #[track_caller]
    fn raise(self) -> ! {
        raise(self.without_item())
    }
}

impl Raise for GetError {
    #[track_caller]
    fn raise(self) -> ! {
        raise(self)
    }
}
