//! What one greenlet hands to another: a value, or something to throw.
//!
//! Mail lies in its tree only between the switch that posts it and the one that it wakes up in. No code of users runs
//! in between, so there is one place for it in a tree, and it is empty whenever users' code runs.

use std::backtrace::Backtrace;
use std::cell::Cell;
use std::fmt;
use std::io;
use std::panic::Location;

use super::Greenlet;
use crate::coroutine::unwind::{self, Payload};
use crate::exception::{self, Exception};

/// What a switch, or the end of a greenlet, brings.
#[derive(Default)]
pub(super) enum Mail<T: 'static> {
    /// No mail; or the end of a greenlet that was asked to end without a value.
    #[default]
    Nothing,
    /// What `switch` returns, or the body is called with.
    Value(T),
    /// Ends the greenlet it is for, by an unwind; the value goes to that one's parent.
    Exit(Option<T>),
    /// An unwind that left a body and goes on in the parent; or an exception thrown in from outside.
    Panic(Payload),
    /// An error of our own. It becomes a panic where it arrives.
    Failed(Failure),
    /// Asks for the stack that is waited on: whoever gets it puts that there, and waits on.
    Trace(*const Cell<Option<Backtrace>>),
    /// Mail whose arrival is to be told, and who it comes from: see `trace`.
    Traced(Box<(Greenlet<T>, Self)>),
    /// Mail of one whose last handle has gone, which is dropped where it arrives: that ends it. Around what is traced.
    Releasing(Box<(Greenlet<T>, Self)>),
}

impl<T: 'static> Mail<T> {
    /// Throws an exception in.
    pub(super) fn throwing(exception: Exception) -> Self {
        Self::Panic(exception::payload_of(exception))
    }

    /// Notes who it comes from, if its arrival is to be told.
    pub(super) fn from(self, origin: Option<Greenlet<T>>) -> Self {
        match origin {
            Some(origin) => Self::Traced(Box::new((origin, self))),
            None => self,
        }
    }

    /// Brings along the one that it comes from, if that one's last handle has gone.
    pub(super) fn releasing(self, orphan: Option<Greenlet<T>>) -> Self {
        match orphan {
            Some(orphan) => Self::Releasing(Box::new((orphan, self))),
            None => self,
        }
    }

    /// Who it comes from, if its arrival is to be told, and what it says. What it would release is dropped here.
    pub(super) fn apart(self) -> (Option<Greenlet<T>>, Self) {
        match self {
            Self::Releasing(releasing) => releasing.1.apart(),
            Self::Traced(traced) => {
                let (origin, mail) = *traced;
                (Some(origin), mail)
            }
            mail => (None, mail),
        }
    }

    /// Whether it unwinds the one that gets it.
    pub(super) fn is_thrown(&self) -> bool {
        matches!(self, Self::Exit(_) | Self::Panic(_) | Self::Failed(_))
    }

    /// What the parent gets of a greenlet that has ended, or ends unrun, when this comes for it.
    pub(super) fn passed_on(self) -> Self {
        match self {
            Self::Exit(Some(value)) => Self::Value(value),
            Self::Exit(None) => Self::Nothing,
            mail => mail,
        }
    }

    /// What whoever resumed a greenlet gets of mail that its parent cannot be given. Drops a value, which may run users' code.
    #[cold]
    pub(super) fn undeliverable(self, why: Failure) -> Self {
        match self.apart().1 {
            thrown @ (Self::Panic(_) | Self::Failed(_)) => thrown,
            value => {
                unwind::drop_quietly(value);
                Self::Failed(why)
            }
        }
    }
}

/// Why a greenlet's end could not be told to its parent.
#[derive(Debug)]
pub(super) enum Failure {
    /// It was asked to end without a value, and its parent waits for one.
    NoValue,
    /// The parent is active, but parked inside a suspended coroutine.
    ParentParked,
    /// The parent is below a `no_suspend`, that was opened there.
    ParentBarred(&'static Location<'static>),
    /// No ancestor is alive.
    RootEnded,
    /// The parent has not begun, and there is no stack for it.
    NoStack(io::Error),
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoValue => f.write_str("a greenlet was killed and has no value for its parent, which waits for one"),
            Self::ParentParked => {
                f.write_str("a greenlet ended while its parent was parked inside a suspended coroutine")
            }
            Self::ParentBarred(opened) => {
                write!(f, "a greenlet ended inside `no_suspend`, opened at {opened}, and cannot switch to its parent")
            }
            Self::RootEnded => f.write_str("a greenlet ended after the root of its tree"),
            Self::NoStack(error) => write!(f, "a greenlet ended and its parent cannot start: {error}"),
        }
    }
}
