//! Exits: the unwinds that end a coroutine at somebody's request.
//!
//! Whoever asks a coroutine to end makes it throw a [`Leaving`] at the point it waits in. All of them have this one
//! type, so that `catch_exit` can take them without knowing generators, greenlets or tasks.

use std::fmt;
use std::marker::PhantomData;

use crate::coroutine::unwind::{self, Payload};

/// The payload of an exit.
pub(crate) struct Leaving {
    kind: ExitKind,
    /// The coroutine that shall end, as an address: an inner one passes the exit on.
    whom: usize,
    /// For a request that stays until it is answered: told what becomes of its exit.
    told: Option<fn(Fate)>,
}

impl Leaving {
    /// The exit of the coroutine whose address is `whom`.
    pub(crate) fn new(kind: ExitKind, whom: usize) -> Self {
        Self { kind, whom, told: None }
    }

    /// The exit of the running task. `told` hears what becomes of it.
    #[cfg(feature = "runtime")]
    pub(crate) fn requested(kind: ExitKind, told: fn(Fate)) -> Self {
        Self { kind, whom: 0, told: Some(told) }
    }

    /// The exit that a caught unwind carries, if it is one.
    pub(crate) fn of(payload: &Payload) -> Option<&Self> {
        payload.downcast_ref()
    }

    /// Who asked.
    #[cfg(feature = "runtime")]
    pub(crate) fn kind(&self) -> ExitKind {
        self.kind
    }

    /// Whether it is meant for the coroutine whose address is `whom`.
    pub(crate) fn is_for(&self, kind: ExitKind, whom: usize) -> bool {
        self.kind == kind && self.whom == whom
    }

    /// Ends this exit in a drop, which nothing may leave. True if it comes again: the request stays.
    pub(crate) fn lose(&self) -> bool {
        self.told.is_some_and(|told| {
            told(Fate::Lost);
            true
        })
    }

    /// Unwinds the running coroutine. Inlined, as `unwind::throw`.
    #[inline(always)]
    pub(crate) fn throw(self) -> ! {
        unwind::throw(Box::new(self))
    }
}

/// What becomes of an exit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(not(feature = "runtime"), allow(dead_code, reason = "only tasks are told"))]
pub(crate) enum Fate {
    /// `catch_exit` has it: the request is answered.
    Caught,
    /// What was caught goes on.
    Resumed,
    /// It arrived in a drop and ended there, which nobody can be blamed for: it is to be thrown again.
    Lost,
}

/// Who asked a coroutine to end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ExitKind {
    /// A generator was closed or dropped: Python's `GeneratorExit`.
    Close,
    /// A greenlet was ended or dropped: `GreenletExit`.
    Greenlet,
    /// A task was cancelled: gevent's `kill`.
    Cancel,
    /// The runtime shuts down.
    Shutdown,
    /// An actor was closed, and has received all that was sent before.
    ActorClosed,
}

/// A request to end that [`catch_exit`] has caught.
///
/// Dropping it goes on as if nobody had asked. It is not `Send`.
#[must_use = "dropping an exit lets the coroutine live on; `resume` ends it"]
pub struct Exit {
    leaving: Box<Leaving>,
    /// Not `Send`: it goes on where it was caught.
    _thread: PhantomData<*mut ()>,
}

impl Exit {
    /// Who asked.
    pub fn kind(&self) -> ExitKind {
        self.leaving.kind
    }

    /// Unwinds on, as if the exit had not been caught.
    pub fn resume(self) -> ! {
        if let Some(told) = self.leaving.told {
            told(Fate::Resumed);
        }
        unwind::throw(self.leaving)
    }
}

impl fmt::Debug for Exit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Exit").field(&self.kind()).finish()
    }
}

/// Runs `f`, and gives the request to end that arrived in it as an error: Python's
/// `except (GeneratorExit, GreenletExit)`.
///
/// It takes the close of a generator, the end of a greenlet, the cancellation of a task and the shutdown of a runtime;
/// exceptions and panics pass. The request is used up: what follows runs, yields and waits as usual, until somebody asks
/// again. [`Exit::resume`] unwinds on.
///
/// This is how a `finally` that yields or raises is written, since a destructor that raises during an unwind aborts.
///
/// # Errors
/// With the exit that arrived.
///
/// # Examples
/// A coroutine that says goodbye:
/// ```
/// use osier::generator::ResumeError;
/// use osier::{Generator, Yielder, catch_exit};
///
/// let mut actor = Generator::new(|y: &Yielder<(), u32>| {
///     let mut sum = 0;
///     let exit = catch_exit(|| loop { sum += y.yield_(()) });
///     assert!(exit.is_err());
///     sum
/// })
/// .primed();
/// actor.send(1)?;
/// actor.send(2)?;
/// assert_eq!(actor.close()?, Some(3));
/// # Ok::<(), ResumeError<u32>>(())
/// ```
pub fn catch_exit<T>(f: impl FnOnce() -> T) -> Result<T, Exit> {
    unwind::intercept(f).map_err(|payload| match payload.downcast::<Leaving>() {
        Ok(leaving) => {
            if let Some(told) = leaving.told {
                told(Fate::Caught);
            }
            Exit { leaving, _thread: PhantomData }
        }
        Err(payload) => unwind::throw(payload),
    })
}
