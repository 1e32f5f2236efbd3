//! What a resume can answer.

use std::any::Any;
use std::error::Error;
use std::fmt;
use std::io;

use crate::exception::{Exception, Raise, raise};

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
    /// Its body has returned, was closed, raised or panicked.
    Finished,
}

/// Why a generator was not resumed, or what became of a close. A value that was sent comes back in it.
///
/// `start`, `throw` and `close` send nothing that could come back. They answer `AlreadyFinished` and `AlreadyExecuting`
/// where `send` answers [`Finished`](Self::Finished) and [`Executing`](Self::Executing); but a `()` need not have been
/// sent to be given back, so where `In` is `()` all calls answer with these two.
#[non_exhaustive]
pub enum ResumeError<In> {
    /// `send` before `start`: there is no `yield_` that could return the value.
    NotStarted(In),
    /// `start` a second time.
    AlreadyStarted,
    /// The body has ended.
    Finished(In),
    /// The body has ended, and there is no value to give back.
    AlreadyFinished,
    /// The body is running, or suspended inside a coroutine that it resumed.
    Executing(In),
    /// The body is running, or suspended inside a coroutine that it resumed, and there is no value to give back.
    AlreadyExecuting,
    /// It is suspended in the middle of its own unwind, in a destructor that yields: it takes only `send`.
    Unwinding,
    /// It cannot be closed in the destructor of a thread-local: what its frames borrow may be gone. It stays suspended.
    ThreadEnding,
    /// No stack could be had; the generator is as before.
    NoStack(io::Error),
    /// It was asked to close and yielded again; it stays suspended.
    IgnoredClose,
    /// An exception left the body, which has ended.
    Raised(Exception),
}

impl<In> ResumeError<In> {
    /// Whether the body has ended, with or without a value that came back.
    pub fn is_finished(&self) -> bool {
        matches!(self, Self::Finished(_) | Self::AlreadyFinished)
    }

    /// Whether the body is running, with or without a value that came back: Python's "generator already executing".
    pub fn is_executing(&self) -> bool {
        matches!(self, Self::Executing(_) | Self::AlreadyExecuting)
    }

    /// Drops the value that came back, so that the error says only why.
    pub fn without_value(self) -> ResumeError<()> {
        match self {
            Self::NotStarted(_) => ResumeError::NotStarted(()),
            Self::AlreadyStarted => ResumeError::AlreadyStarted,
            Self::Finished(_) | Self::AlreadyFinished => ResumeError::Finished(()),
            Self::Executing(_) | Self::AlreadyExecuting => ResumeError::Executing(()),
            Self::Unwinding => ResumeError::Unwinding,
            Self::ThreadEnding => ResumeError::ThreadEnding,
            Self::NoStack(error) => ResumeError::NoStack(error),
            Self::IgnoredClose => ResumeError::IgnoredClose,
            Self::Raised(exception) => ResumeError::Raised(exception),
        }
    }
}

impl<In: 'static> ResumeError<In> {
    /// The body has ended, said to a call that sent nothing.
    #[cold]
    pub(crate) fn finished() -> Self {
        nothing().map_or(Self::AlreadyFinished, Self::Finished)
    }

    /// The body is running, said to a call that sent nothing.
    #[cold]
    pub(crate) fn executing() -> Self {
        nothing().map_or(Self::AlreadyExecuting, Self::Executing)
    }
}

/// The value that was not sent, if it is `()`.
fn nothing<In: 'static>() -> Option<In> {
    let mut nothing = Some(());
    (&mut nothing as &mut dyn Any).downcast_mut::<Option<In>>().and_then(Option::take)
}

/// Raises the exception that left the body, or else the error itself, without the value.
impl<In> Raise for ResumeError<In> {
    #[track_caller]
    fn raise(self) -> ! {
        match self {
            Self::Raised(exception) => raise(exception),
            error => raise(error.without_value()),
        }
    }
}

impl<In> fmt::Display for ResumeError<In> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotStarted(_) => f.write_str("can't send a value to a generator that has not started"),
            Self::AlreadyStarted => f.write_str("generator already started"),
            Self::Finished(_) | Self::AlreadyFinished => f.write_str("generator already finished"),
            Self::Executing(_) | Self::AlreadyExecuting => f.write_str("generator already executing"),
            Self::Unwinding => f.write_str("generator is suspended in its own unwind"),
            Self::ThreadEnding => f.write_str("can't close a generator in the destructor of a thread-local"),
            Self::NoStack(error) => error.fmt(f),
            Self::IgnoredClose => f.write_str("generator ignored close"),
            Self::Raised(exception) => exception.fmt(f),
        }
    }
}

impl<In> fmt::Debug for ResumeError<In> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotStarted(_) => f.write_str("NotStarted(_)"),
            Self::AlreadyStarted => f.write_str("AlreadyStarted"),
            Self::Finished(_) => f.write_str("Finished(_)"),
            Self::AlreadyFinished => f.write_str("AlreadyFinished"),
            Self::Executing(_) => f.write_str("Executing(_)"),
            Self::AlreadyExecuting => f.write_str("AlreadyExecuting"),
            Self::Unwinding => f.write_str("Unwinding"),
            Self::ThreadEnding => f.write_str("ThreadEnding"),
            Self::NoStack(error) => f.debug_tuple("NoStack").field(error).finish(),
            Self::IgnoredClose => f.write_str("IgnoredClose"),
            Self::Raised(exception) => f.debug_tuple("Raised").field(exception).finish(),
        }
    }
}

impl<In> Error for ResumeError<In> {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        match self {
            Self::NoStack(error) => Some(error),
            Self::Raised(exception) => Some(exception.as_ref()),
            _ => None,
        }
    }
}
