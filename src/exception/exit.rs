//! Exits: the unwinds that end a coroutine at somebody's request.
//!
//! Whoever asks a coroutine to end makes it throw a [`Leaving`] at the point it waits in. All of them have this one
//! type, so that `catch_exit` can take them without knowing generators, greenlets or tasks.

use std::any::{Any, TypeId};
use std::fmt;
use std::marker::PhantomData;
use std::mem;

use crate::coroutine::unwind::{self, Payload};
use crate::coroutine::{Frame, Identity};

/// The payload of an exit.
#[derive(Clone, Copy)]
pub(crate) struct Leaving {
    kind: ExitKind,
    /// The coroutine that shall end: an inner one passes the exit on. `None` for the running task.
    whom: Option<Identity>,
    /// For a request that stays until it is answered: told what becomes of its exit.
    told: Option<fn(Fate)>,
    /// For an exit that carries something, which its coroutine keeps under a number.
    carried: Option<Carried>,
}

/// Something that lies in a coroutine, since it need not be `Send` as a payload must.
#[derive(Clone, Copy)]
struct Carried {
    number: u32,
    take: Take,
}

/// Takes out what a coroutine keeps under a number, if it is of that type, or of any. To be called with the coroutine's frame, as it
/// is found on the chain.
pub(crate) type Take = unsafe fn(*const Frame, u32, Option<TypeId>) -> Option<Box<dyn Any>>;

impl Leaving {
    /// The exit of the coroutine on `frame`.
    pub(crate) fn new(kind: ExitKind, frame: &Frame) -> Self {
        Self { kind, whom: Some(Identity::of(frame)), told: None, carried: None }
    }

    /// As [`new`](Self::new), of one that carries what the coroutine keeps under `number`. If the exit is caught there,
    /// `take` is called with both by whoever wants that, or drops the exit; it may demand that the frame is this one, as it is found
    /// on the chain.
    pub(crate) fn carrying(kind: ExitKind, frame: &Frame, number: u32, take: Take) -> Self {
        Self { carried: Some(Carried { number, take }), ..Self::new(kind, frame) }
    }

    /// The exit of the running task.
    #[cfg(feature = "runtime")]
    pub(crate) fn of_task(kind: ExitKind) -> Self {
        Self { kind, whom: None, told: None, carried: None }
    }

    /// The exit of the running task. `told` hears what becomes of it.
    #[cfg(feature = "runtime")]
    pub(crate) fn requested(kind: ExitKind, told: fn(Fate)) -> Self {
        Self { told: Some(told), ..Self::of_task(kind) }
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

    /// Whether it is meant for the coroutine on `frame`.
    pub(crate) fn is_for(&self, kind: ExitKind, frame: &Frame) -> bool {
        self.kind == kind && self.whom.is_some_and(|whom| whom.is_of(frame))
    }

    /// The number of what it carries.
    pub(crate) fn carried(&self) -> Option<u32> {
        self.carried.map(|carried| carried.number)
    }

    /// Whether it ends a generator that runs here, or has resumed who does.
    pub(crate) fn closes_on_chain(&self) -> bool {
        self.kind == ExitKind::Close && self.whom.is_some_and(|whom| whom.on_chain().is_some())
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
    leaving: Leaving,
    /// Not `Send`: it goes on where it was caught.
    _thread: PhantomData<*mut ()>,
}

impl Exit {
    /// Who asked.
    pub fn kind(&self) -> ExitKind {
        self.leaving.kind
    }

    /// Takes the value that it carries for the greenlet's parent, if it is one and of this type: Python's `e.args[0]` of a
    /// `GreenletExit`. Afterwards it carries none.
    ///
    /// The exits of [`throw_exit`](crate::Greenlet::throw_exit) and [`greenlet::exit`](crate::greenlet::exit()) carry one. It is
    /// found where the greenlet runs that the exit ends.
    ///
    /// # Examples
    /// ```
    /// use osier::{Greenlet, catch_exit, greenlet};
    ///
    /// let g = Greenlet::new(|first: String| match catch_exit(|| greenlet::parent().switch(first)) {
    ///     Ok(other) => other,
    ///     Err(mut exit) => format!("ended: {}", exit.take_value::<String>().unwrap_or_default()),
    /// });
    /// g.switch("ready".into());
    /// assert_eq!(g.throw_exit("no work left".into()), "ended: no work left");
    /// ```
    pub fn take_value<T: 'static>(&mut self) -> Option<T> {
        let value = self.take_carried(Some(TypeId::of::<T>()))?;
        self.leaving.carried = None;
        value.downcast().ok().map(|value| *value)
    }

    /// None as well where its coroutine does not run: that drops what is carried when it ends.
    fn take_carried(&self, of: Option<TypeId>) -> Option<Box<dyn Any>> {
        let (whom, carried) = self.leaving.whom.zip(self.leaving.carried)?;
        let frame = whom.on_chain()?;
        // SAFETY: it is that coroutine's frame, as it was found on the chain.
        unsafe { (carried.take)(frame, carried.number, of) }
    }

    /// Unwinds on, as if the exit had not been caught.
    ///
    /// # Panics
    /// If the generator or the greenlet that it ends does not run here: nobody would be there to end. And the parent of a greenlet
    /// panics that waits for a value, where this exit carries none: that of a [`kill`](crate::Greenlet::kill) or of a drop, which
    /// was caught, and goes on after others have switched; or its value was taken.
    pub fn resume(self) -> ! {
        let leaving = self.leaving;
        let is_there = leaving.whom.is_none_or(|whom| whom.on_chain().is_some());
        assert!(is_there, "the exit of a generator or greenlet is resumed where that does not run");
        // What it carries goes on with it.
        mem::forget(self);
        if let Some(told) = leaving.told {
            told(Fate::Resumed);
        }
        leaving.throw()
    }
}

impl Drop for Exit {
    fn drop(&mut self) {
        drop(self.take_carried(None));
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
            Exit { leaving: *leaving, _thread: PhantomData }
        }
        Err(payload) => unwind::throw(payload),
    })
}
