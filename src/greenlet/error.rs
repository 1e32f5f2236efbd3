//! Why a switch was refused, or a parent.

use std::error::Error;
use std::fmt;
use std::io;

use crate::exception::{Raise, raise, raised_itself};

/// Why a switch did not happen. Nothing has changed, and the value comes back in it.
pub enum SwitchError<T> {
    /// The greenlet is in another tree than the one that runs here.
    OtherTree(T),
    /// The root of the greenlet's tree has ended.
    RootEnded(T),
    /// The greenlet is active, but parked inside a suspended coroutine: a generator, say, that it was switched to from
    /// and that has been suspended since.
    Parked(T),
    /// No stack could be had for a greenlet that starts.
    NoStack(T, io::Error),
}

impl<T> SwitchError<T> {
    /// The value that was not handed over.
    pub fn into_inner(self) -> T {
        match self {
            Self::OtherTree(value) | Self::RootEnded(value) | Self::Parked(value) | Self::NoStack(value, _) => value,
        }
    }
}

impl<T> fmt::Display for SwitchError<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::OtherTree(_) => f.write_str("cannot switch to a greenlet of another tree"),
            Self::RootEnded(_) => f.write_str("cannot switch to a greenlet whose tree's root has ended"),
            Self::Parked(_) => f.write_str("cannot switch to a greenlet that is parked inside a suspended coroutine"),
            Self::NoStack(_, error) => error.fmt(f),
        }
    }
}

impl<T> fmt::Debug for SwitchError<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (name, error) = match self {
            Self::OtherTree(_) => ("OtherTree", None),
            Self::RootEnded(_) => ("RootEnded", None),
            Self::Parked(_) => ("Parked", None),
            Self::NoStack(_, error) => ("NoStack", Some(error)),
        };
        let mut tuple = f.debug_tuple(name);
        tuple.field(&format_args!("_"));
        if let Some(error) = error {
            tuple.field(error);
        }
        tuple.finish()
    }
}

impl<T> Error for SwitchError<T> {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        match self {
            Self::NoStack(_, error) => Some(error),
            _ => None,
        }
    }
}

impl<T> Raise for SwitchError<T> {
    #[track_caller]
    fn raise(self) -> ! {
        // An exception is `Send`; what was not handed over need not be.
        raise(match self {
            Self::OtherTree(_) => SwitchError::OtherTree(()),
            Self::RootEnded(_) => SwitchError::RootEnded(()),
            Self::Parked(_) => SwitchError::Parked(()),
            Self::NoStack(_, error) => SwitchError::NoStack((), error),
        })
    }
}

/// Why a greenlet was not given another parent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ParentError {
    /// The new parent is the greenlet itself, or has it among its ancestors.
    Cycle,
    /// The greenlet is the root of its tree.
    Root,
    /// The new parent is in another tree.
    OtherTree,
}

impl fmt::Display for ParentError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Cycle => "a greenlet cannot be its own ancestor",
            Self::Root => "the root of a tree of greenlets cannot have a parent",
            Self::OtherTree => "a parent must be of the same tree",
        })
    }
}

impl Error for ParentError {}

raised_itself!(ParentError);
