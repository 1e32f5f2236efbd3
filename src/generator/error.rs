//! What a resume can answer.

use std::error::Error;
use std::fmt;
use std::io;

/// What a resume came back with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step<Out, Ret = ()> {
    /// The body yielded.
    Yielded(Out),
    /// The body returned; the generator has finished.
    Returned(Ret),
}

impl<Out, Ret> Step<Out, Ret> {
    /// The value, if the body yielded one.
    pub fn yielded(self) -> Option<Out> {
        match self {
            Self::Yielded(out) => Some(out),
            Self::Returned(_) => None,
        }
    }

    /// The value, if the body returned.
    pub fn returned(self) -> Option<Ret> {
        match self {
            Self::Yielded(_) => None,
            Self::Returned(ret) => Some(ret),
        }
    }
}

/// Where a generator is in its life: Python's `inspect.getgeneratorstate`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// Its body has not begun.
    New,
    /// It waits in a `yield_`.
    Suspended,
    /// It runs, or waits in a resume of another coroutine.
    Executing,
    /// Its body has returned, was closed or panicked.
    Finished,
}

/// Why a generator was not resumed, or what became of a close. A value that was sent comes back in it.
#[derive(Debug)]
#[non_exhaustive]
pub enum ResumeError<In> {
    /// `send` before `start`: there is no `yield_` that could return the value.
    NotStarted(In),
    /// `start` a second time.
    AlreadyStarted,
    /// The body has ended.
    Finished(Option<In>),
    /// The body is running, or suspended inside a coroutine that it resumed.
    Executing(Option<In>),
    /// It is suspended in the middle of its own unwind, in a destructor that yields: it takes only `send`.
    Unwinding,
    /// No stack could be had; the generator is as before.
    NoStack(io::Error),
    /// It was asked to close and yielded again.
    IgnoredClose,
}

impl<In> fmt::Display for ResumeError<In> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotStarted(_) => f.write_str("can't send a value to a generator that has not started"),
            Self::AlreadyStarted => f.write_str("generator already started"),
            Self::Finished(_) => f.write_str("generator already finished"),
            Self::Executing(_) => f.write_str("generator already executing"),
            Self::Unwinding => f.write_str("generator is suspended in its own unwind"),
            Self::NoStack(error) => error.fmt(f),
            Self::IgnoredClose => f.write_str("generator ignored close"),
        }
    }
}

impl<In: fmt::Debug> Error for ResumeError<In> {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        match self {
            Self::NoStack(error) => Some(error),
            _ => None,
        }
    }
}
