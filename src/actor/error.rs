//! Why an actor was not started, told or asked.

use std::error::Error;
use std::fmt;
use std::sync::Arc;

use crate::exception::{Raise, raise};

/// An actor of this name runs already.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NameTaken {
    pub(super) name: Arc<str>,
}

impl NameTaken {
    /// The name.
    pub fn name(&self) -> &str {
        &self.name
    }
}

impl fmt::Display for NameTaken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "an actor named '{}' runs already", self.name)
    }
}

impl Error for NameTaken {}

/// Why a message was not sent; it comes back.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum SendError<M> {
    /// No actor of that name runs.
    NoSuchName(M),
    /// The actor of that name receives messages of another type.
    WrongType(M),
    /// Its mailbox is full.
    Full(M),
    /// It was closed, or has ended.
    Closed(M),
}

impl<M> SendError<M> {
    /// Gives the message back.
    pub fn into_inner(self) -> M {
        match self {
            Self::NoSuchName(message) | Self::WrongType(message) | Self::Full(message) | Self::Closed(message) => {
                message
            }
        }
    }

    /// Drops the message, so that the error says only why.
    pub fn without_message(self) -> SendError<()> {
        match self {
            Self::NoSuchName(_) => SendError::NoSuchName(()),
            Self::WrongType(_) => SendError::WrongType(()),
            Self::Full(_) => SendError::Full(()),
            Self::Closed(_) => SendError::Closed(()),
        }
    }
}

impl<M> fmt::Debug for SendError<M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::NoSuchName(_) => "NoSuchName(..)",
            Self::WrongType(_) => "WrongType(..)",
            Self::Full(_) => "Full(..)",
            Self::Closed(_) => "Closed(..)",
        })
    }
}

impl<M> fmt::Display for SendError<M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::NoSuchName(_) => "no actor of that name runs",
            Self::WrongType(_) => "the actor of that name receives messages of another type",
            Self::Full(_) => "the actor's mailbox is full",
            Self::Closed(_) => "the actor was closed or has ended",
        })
    }
}

impl<M> Error for SendError<M> {}

/// Raises the error, without the message.
impl<M> Raise for SendError<M> {
    #[track_caller]
    fn raise(self) -> ! {
        raise(self.without_message())
    }
}

/// Why there is no answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum AskError {
    /// The actor was closed, or has ended.
    Closed,
    /// It has dropped the reply, or has ended before it could answer.
    NoReply,
    /// No answer came in time.
    Timeout,
    /// It is the actor itself that asks: it would wait for ever.
    Myself,
    /// The answer does not cross between two processes: it does not encode or decode, or is too long.
    BadAnswer,
}

impl fmt::Display for AskError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Closed => "the actor was closed or has ended",
            Self::NoReply => "the actor has not answered, and will not",
            Self::Timeout => "no answer in time",
            Self::Myself => "an actor cannot ask itself",
            Self::BadAnswer => "the answer does not cross between the processes",
        })
    }
}

impl Error for AskError {}

impl Raise for AskError {
    #[track_caller]
    fn raise(self) -> ! {
        raise(self)
    }
}

impl Raise for NameTaken {
    #[track_caller]
    fn raise(self) -> ! {
        raise(self)
    }
}
