//! Why a task has no value, and why it was not spawned.

use std::any::Any;
use std::error::Error;
use std::fmt;
use std::io;
use std::sync::{Arc, Mutex, PoisonError};

use crate::coroutine::unwind::Payload;

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
    Panicked(Arc<(Mutex<Option<Payload>>, String)>),
    NoStack(Arc<io::Error>),
}

impl JoinError {
    pub(crate) fn cancelled() -> Self {
        Self { kind: Kind::Cancelled }
    }

    pub(crate) fn left_behind() -> Self {
        Self { kind: Kind::LeftBehind }
    }

    pub(crate) fn panicked(payload: Payload) -> Self {
        let text = match (payload.downcast_ref::<&str>(), payload.downcast_ref::<String>()) {
            (Some(text), _) => (*text).to_owned(),
            (_, Some(text)) => text.clone(),
            _ => "a payload that is no text".to_owned(),
        };
        Self { kind: Kind::Panicked(Arc::new((Mutex::new(Some(payload)), text))) }
    }

    pub(crate) fn no_stack(error: io::Error) -> Self {
        Self { kind: Kind::NoStack(Arc::new(error)) }
    }

    /// Whether the task was cancelled: by its handle, or because its runtime shut down. One that did not end then, and
    /// was left behind, counts as well.
    pub fn is_cancelled(&self) -> bool {
        matches!(self.kind, Kind::Cancelled | Kind::LeftBehind)
    }

    /// Whether the task panicked.
    pub fn is_panic(&self) -> bool {
        matches!(self.kind, Kind::Panicked(_))
    }

    /// Takes the payload of the task's panic. `None` if it did not panic, or if a clone of this error has taken it.
    pub fn into_panic(self) -> Option<Box<dyn Any + Send>> {
        match self.kind {
            Kind::Panicked(shared) => shared.0.lock().unwrap_or_else(PoisonError::into_inner).take(),
            _ => None,
        }
    }
}

impl fmt::Display for JoinError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.kind {
            Kind::Cancelled => f.write_str("task was cancelled"),
            Kind::LeftBehind => f.write_str("task did not end when it was cancelled, and was left behind"),
            Kind::Panicked(shared) => write!(f, "task panicked: {}", shared.1),
            Kind::NoStack(error) => write!(f, "task could not start: {error}"),
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
            _ => None,
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
