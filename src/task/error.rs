//! Why a task has no value, and why it was not spawned.

use std::any::Any;
use std::error::Error;
use std::fmt;
use std::io;
use std::sync::{Arc, Mutex, PoisonError, Weak};

use super::cancel::is_cancelled;
use crate::coroutine::unwind::{self, Payload};
use crate::exception::{self, Exception, Leaving, Raise, catch, catch_unwind, raise};

/// Why a joined task has no value.
#[derive(Clone)]
pub struct JoinError {
    kind: Kind,
}

#[derive(Clone)]
enum Kind {
    Cancelled,
    /// It was cancelled, and did not end before its runtime gave up.
    LeftBehind,
    /// The payload, for the first who takes it, and its text, for everybody.
    Panicked(Arc<Mutex<Option<Payload>>>, Arc<str>),
    Raised(Exception),
    /// It did not end in time.
    Timeout,
    /// Somebody else has taken the result.
    Taken,
    NoStack(Arc<io::Error>),
    /// It was given to an executor that takes no more.
    ShutDown,
    /// It returned an error, with this text, and `report` was asked to tell.
    Returned(Arc<str>),
}

impl JoinError {
    /// Sorts out what a task's closure unwound with.
    #[cold]
    pub(crate) fn from_payload(payload: Payload) -> Self {
        if Leaving::of(&payload).is_some() {
            // Also one that was meant for a coroutine the task does not run in, and that was resumed here.
            return Self::cancelled();
        }
        exception::from_payload(payload).map_or_else(Self::panicked, Self::raised)
    }

    /// Runs what belongs to somebody else: its panic or exception is no failure of the caller's. What ends the caller is.
    pub(crate) fn attempt<T>(f: impl FnOnce() -> T) -> Result<T, Self> {
        catch(|| catch_unwind(f)).map_err(Self::raised)?.map_err(Self::panicked)
    }

    pub(crate) fn raised(exception: Exception) -> Self {
        Self { kind: Kind::Raised(exception) }
    }

    pub(crate) fn cancelled() -> Self {
        Self { kind: Kind::Cancelled }
    }

    pub(crate) fn left_behind() -> Self {
        Self { kind: Kind::LeftBehind }
    }

    pub(crate) fn timeout() -> Self {
        Self { kind: Kind::Timeout }
    }

    /// Of a wait for a task that has ended before the task: for its time is up, or, where nothing unwinds, for the caller is
    /// cancelled.
    pub(super) fn of_a_join_that_ended_early() -> Self {
        if cfg!(panic = "abort") && is_cancelled() { Self::cancelled() } else { Self::timeout() }
    }

    pub(crate) fn taken() -> Self {
        Self { kind: Kind::Taken }
    }

    pub(crate) fn panicked(payload: Payload) -> Self {
        let text = match (payload.downcast_ref::<&str>(), payload.downcast_ref::<String>()) {
            (Some(text), _) => (*text).to_owned(),
            (_, Some(text)) => text.clone(),
            _ => "a payload that is no text".to_owned(),
        };
        Self { kind: Kind::Panicked(Arc::new(Mutex::new(Some(payload))), text.into()) }
    }

    pub(crate) fn executor_shut_down() -> Self {
        Self { kind: Kind::ShutDown }
    }

    pub(crate) fn no_stack(error: io::Error) -> Self {
        Self { kind: Kind::NoStack(Arc::new(error)) }
    }

    pub(crate) fn returned(error: &dyn fmt::Debug) -> Self {
        Self { kind: Kind::Returned(format!("{error:?}").into()) }
    }

    /// Whether the task has not ended in time; it runs on.
    pub fn is_timeout(&self) -> bool {
        matches!(self.kind, Kind::Timeout)
    }

    /// Whether the task was cancelled: by its handle, or because its runtime shut down. One that did not end then, and
    /// was left behind, counts as well.
    pub fn is_cancelled(&self) -> bool {
        matches!(self.kind, Kind::Cancelled | Kind::LeftBehind)
    }

    /// Whether the job was submitted to an executor that had been shut down, and so never ran.
    pub fn is_shutdown(&self) -> bool {
        matches!(self.kind, Kind::ShutDown)
    }

    /// Whether the task panicked.
    pub fn is_panic(&self) -> bool {
        matches!(self.kind, Kind::Panicked(..))
    }

    /// The text of the task's panic.
    pub(crate) fn panic_text(&self) -> Option<&str> {
        match &self.kind {
            Kind::Panicked(_, text) => Some(text),
            _ => None,
        }
    }

    /// The exception that left the task: raised in it, or thrown into it and not caught.
    pub fn exception(&self) -> Option<&Exception> {
        match &self.kind {
            Kind::Raised(exception) => Some(exception),
            _ => None,
        }
    }

    /// Takes the payload of the task's panic. `None` if it did not panic, or if a clone of this error has taken it.
    pub fn into_panic(self) -> Option<Box<dyn Any + Send>> {
        match self.kind {
            Kind::Panicked(payload, _) => payload.lock().unwrap_or_else(PoisonError::into_inner).take(),
            _ => None,
        }
    }
}

/// A note of an error that leaves the payload of a panic to whoever has the error itself.
#[derive(Clone)]
pub(super) enum Note {
    Whole(JoinError),
    Panicked(Weak<Mutex<Option<Payload>>>, Arc<str>),
}

impl Note {
    pub(super) fn of(error: JoinError) -> Self {
        match error.kind {
            Kind::Panicked(payload, text) => Self::Panicked(Arc::downgrade(&payload), text),
            kind => Self::Whole(JoinError { kind }),
        }
    }

    /// The error again; without its payload if that has gone.
    pub(super) fn into_error(self) -> JoinError {
        match self {
            Self::Whole(error) => error,
            Self::Panicked(payload, text) => {
                JoinError { kind: Kind::Panicked(payload.upgrade().unwrap_or_default(), text) }
            }
        }
    }
}

impl fmt::Display for JoinError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.kind {
            Kind::Cancelled => f.write_str("task was cancelled"),
            Kind::LeftBehind => f.write_str("task did not end when it was cancelled, and was left behind"),
            Kind::Panicked(_, text) => write!(f, "task panicked: {text}"),
            Kind::Raised(exception) => write!(f, "task raised an exception: {exception}"),
            Kind::Timeout => f.write_str("no result in time"),
            Kind::Taken => f.write_str("the result has been taken"),
            Kind::NoStack(error) => write!(f, "task could not start: {error}"),
            Kind::ShutDown => f.write_str("cannot submit: the executor has shut down"),
            Kind::Returned(text) => write!(f, "task returned an error: {text}"),
        }
    }
}

impl fmt::Debug for JoinError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "JoinError({self})")
    }
}

impl Error for JoinError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        match &self.kind {
            Kind::NoStack(error) => Some(&**error),
            Kind::Raised(exception) => Some(exception.as_ref()),
            _ => None,
        }
    }
}

/// Of the kind [`TimedOut`](io::ErrorKind::TimedOut) if it is a timeout, else [`Other`](io::ErrorKind::Other).
impl From<JoinError> for io::Error {
    fn from(error: JoinError) -> Self {
        let kind = if error.is_timeout() { io::ErrorKind::TimedOut } else { io::ErrorKind::Other };
        Self::new(kind, error)
    }
}

/// Raises the exception that left the task, unwinds on with its panic, or else raises the error itself.
impl Raise for JoinError {
    #[track_caller]
    fn raise(self) -> ! {
        match self.exception() {
            Some(exception) => raise(exception.clone()),
            None => match (self.panic_text().map(str::to_owned), self.clone().into_panic()) {
                (_, Some(payload)) => unwind::throw(payload),
                // Somebody else has the payload. It stays a panic, which was shown when it began.
                (Some(text), None) => unwind::throw(Box::new(text)),
                (None, None) => raise(self),
            },
        }
    }
}

/// Why a task was not spawned; the closure comes back in it.
pub struct SpawnError<F> {
    pub(crate) closure: F,
    pub(crate) reason: Refusal,
}

#[derive(Debug)]
pub(crate) enum Refusal {
    Shutdown,
    NoStack(io::Error),
}

impl<F> SpawnError<F> {
    /// Whether the runtime is shutting down, or has.
    pub fn is_shutdown(&self) -> bool {
        matches!(self.reason, Refusal::Shutdown)
    }

    /// Gives the closure back that was not spawned.
    pub fn into_inner(self) -> F {
        self.closure
    }
}

impl<F> fmt::Display for SpawnError<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.reason {
            Refusal::Shutdown => f.write_str("cannot spawn: the runtime has shut down"),
            Refusal::NoStack(error) => write!(f, "cannot spawn: {error}"),
        }
    }
}

impl<F> fmt::Debug for SpawnError<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SpawnError({self})")
    }
}

impl<F> Error for SpawnError<F> {}

/// Raises the error, without the closure.
impl<F> Raise for SpawnError<F> {
    #[track_caller]
    fn raise(self) -> ! {
        raise(SpawnError { closure: (), reason: self.reason })
    }
}
