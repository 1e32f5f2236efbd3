//! Generators: Python's, with a stack of their own.
//!
//! A [`Generator`] is a body that produces values with [`Yielder::yield_`] and goes on where it left off when the next
//! one is asked for. As in Python, a value can be sent in and becomes what `yield_` returns; unlike Python's, a
//! generator may yield from any depth of calls, because it has a stack.
//!
//! | Python | osier |
//! | --- | --- |
//! | `def f(): yield 1` | `Generator::new(\|y\| { y.yield_(1); })` |
//! | `for x in f(): ...` | `for x in f() { ... }` |
//! | `next(g)` the first time | `g.start()`, or `g.next()` |
//! | `g.send(v)` | `g.send(v)` |
//! | `g.close()`, `del g` | `g.close()`, `drop(g)` |
//! | `StopIteration.value` | `Step::Returned(value)`, or `g.take_return()` after a `for` |
//! | `ValueError: generator already executing` | `ResumeError::Executing` |
//!
//! # Rooms
//! - `block`: one allocation that holds the body, the coroutine and the books; start, resume, finish.
//! - `yielder`: the body's side.
//! - `error`: what a resume can answer.

mod block;
mod error;
mod yielder;

pub use error::{ResumeError, State, Step};
pub use yielder::Yielder;

use std::borrow::Cow;
use std::fmt;
use std::marker::PhantomData;
use std::mem::MaybeUninit;

use crate::coroutine::{self, unwind};
use crate::stack::StackSize;
use block::{Command, Ended, Outcome, Owner};

/// A body that runs until it yields a value, and goes on from there when it is resumed.
///
/// `Out` is what it yields, `In` what is sent to it, `Ret` what it returns in the end: the order and the defaults of
/// Python's `typing.Generator`. With `In = ()` it is an [`Iterator`].
///
/// The body runs on the thread that resumes it, on its own stack, from the first resume on. A generator is not `Send`:
/// what lives on its stack may belong to the thread it was started on. A [`Builder`] is `Send` when its body is.
///
/// Dropping a generator that is suspended closes it: its body unwinds from the `yield_` it waits in, running
/// destructors. A body that yields again instead is asked three times; then its stack is leaked. A suspended generator
/// that lies in a thread-local is leaked when its thread ends: what its frames borrow may be gone by then.
///
/// # Examples
/// A running average, as in Python:
/// ```
/// use osier::{Generator, Step, Yielder};
///
/// let mut average = Generator::new(|y: &Yielder<f64, f64>| {
///     let (mut total, mut count, mut average) = (0.0, 0.0, 0.0);
///     loop {
///         total += y.yield_(average);
///         count += 1.0;
///         average = total / count;
///     }
/// });
/// average.start()?;
/// assert_eq!(average.send(10.0)?, Step::Yielded(10.0));
/// assert_eq!(average.send(30.0)?, Step::Yielded(20.0));
/// # #[allow(unreachable_code, reason = "fixes the body's return type")]
/// # Ok::<(), osier::generator::ResumeError<f64>>(())
/// ```
///
/// A started generator never leaves its thread:
/// ```compile_fail
/// let g = osier::Generator::new(|y: &osier::Yielder<u32>| y.yield_(1));
/// std::thread::spawn(move || drop(g));
/// ```
#[must_use = "a generator does nothing until it is resumed"]
pub struct Generator<Out, In: 'static = (), Ret = ()> {
    owner: Owner<Out, In, Ret>,
    /// Not `Send`, not `Sync`.
    _thread: PhantomData<*mut ()>,
}

impl<Out, In: 'static, Ret> Generator<Out, In, Ret> {
    /// Makes a generator of `body`, which runs at the first resume.
    ///
    /// It is named after the body's type, in overflow messages and in `Debug`; see [`Builder`] for another name or
    /// another stack size. No stack is taken before the first resume.
    pub fn new<F>(body: F) -> Self
    where
        F: FnOnce(&Yielder<Out, In>) -> Ret + 'static,
    {
        Self::builder(body).build()
    }

    /// Starts building a generator of `body` with a name or a stack size.
    pub fn builder<F>(body: F) -> Builder<F>
    where
        F: FnOnce(&Yielder<Out, In>) -> Ret + 'static,
    {
        let name = Cow::Borrowed(std::any::type_name::<F>());
        Builder { body, name, stack_size: StackSize::DEFAULT }
    }

    /// Runs the body up to its first `yield_`: Python's first `next`.
    ///
    /// # Errors
    /// [`ResumeError::AlreadyStarted`], [`ResumeError::Finished`], [`ResumeError::Executing`], or
    /// [`ResumeError::NoStack`], after which it can be tried again.
    ///
    /// # Panics
    /// With the body's panic, which finishes the generator.
    #[inline]
    pub fn start(&mut self) -> Result<Step<Out, Ret>, ResumeError<In>> {
        match self.state() {
            State::New => {}
            State::Suspended => return Err(ResumeError::AlreadyStarted),
            State::Executing => return Err(ResumeError::Executing(None)),
            State::Finished => return Err(ResumeError::Finished(None)),
        }
        self.owner.start().map_err(ResumeError::NoStack)?;
        self.owner.set_command(Command::Send);
        self.step(MaybeUninit::uninit())
    }

    /// Goes on with the body: `value` is what its `yield_` returns. Runs up to the next `yield_`.
    ///
    /// # Errors
    /// [`ResumeError::NotStarted`], [`ResumeError::Finished`] or [`ResumeError::Executing`], each with `value` in it.
    /// [`ResumeError::Finished`] without it if the body took the value and then unwound, from an earlier close.
    ///
    /// # Panics
    /// With the body's panic, which finishes the generator.
    #[inline(always)]
    pub fn send(&mut self, value: In) -> Result<Step<Out, Ret>, ResumeError<In>> {
        if !self.owner.is_suspended() {
            return Err(self.cannot_send(value));
        }
        self.step(MaybeUninit::new(value))
    }

    #[cold]
    fn cannot_send(&self, value: In) -> ResumeError<In> {
        match self.state() {
            State::New => ResumeError::NotStarted(value),
            State::Finished => ResumeError::Finished(Some(value)),
            State::Executing | State::Suspended => ResumeError::Executing(Some(value)),
        }
    }

    /// Resumes a suspended body with a value and says what came of it.
    #[inline(always)]
    fn step(&mut self, value: MaybeUninit<In>) -> Result<Step<Out, Ret>, ResumeError<In>> {
        match self.owner.resume(value) {
            Outcome::Yielded(out) => Ok(Step::Yielded(out)),
            Outcome::Ended(Ended::Returned(ret)) => Ok(Step::Returned(ret)),
            // An earlier close, which the body had answered by yielding, has unwound it only now.
            Outcome::Ended(Ended::Closed) => Err(ResumeError::Finished(None)),
            Outcome::Ended(Ended::Panicked(payload)) => unwind::throw(payload),
        }
    }

    /// Asks the body to end: unwinds it from the `yield_` it waits in. `Ok` when it has ended.
    ///
    /// Returns the body's return value if it returned just now instead of unwinding. Closing a generator that has not
    /// started drops its body unrun; closing one that has finished does nothing.
    ///
    /// # Errors
    /// [`ResumeError::IgnoredClose`] if the body yielded again, and stays suspended; [`ResumeError::Executing`];
    /// [`ResumeError::Unwinding`] if it is suspended in the middle of its own unwind, and takes only `send`.
    ///
    /// # Panics
    /// With the panic of a destructor on the body's stack.
    pub fn close(&mut self) -> Result<Option<Ret>, ResumeError<In>> {
        match self.state() {
            State::New => self.owner.finish_unstarted(),
            State::Finished => {}
            State::Executing => return Err(ResumeError::Executing(None)),
            State::Suspended if self.owner.is_unwinding() => return Err(ResumeError::Unwinding),
            State::Suspended => {
                self.owner.set_command(Command::Close);
                let outcome = self.owner.resume(MaybeUninit::uninit());
                self.owner.set_command(Command::Send);
                match outcome {
                    Outcome::Yielded(_) => return Err(ResumeError::IgnoredClose),
                    Outcome::Ended(Ended::Closed) => {}
                    Outcome::Ended(Ended::Returned(ret)) => return Ok(Some(ret)),
                    Outcome::Ended(Ended::Panicked(payload)) => unwind::throw(payload),
                }
            }
        }
        Ok(None)
    }

    /// Starts the generator and drops what it yields first, so that it is ready for `send`.
    ///
    /// # Panics
    /// If no stack can be had, or with the body's panic.
    pub fn primed(mut self) -> Self {
        if let Err(ResumeError::NoStack(error)) = self.start() {
            panic!("cannot start generator '{}': {error}", self.name());
        }
        self
    }

    /// Where the generator is in its life.
    pub fn state(&self) -> State {
        self.owner.state()
    }

    /// The name given to the builder, else the body's type.
    pub fn name(&self) -> &str {
        self.owner.name()
    }

    /// Takes the value that the body returned while the generator was used as an iterator.
    pub fn take_return(&mut self) -> Option<Ret> {
        self.owner.returned().take()
    }
}

impl<Out, Ret> Iterator for Generator<Out, (), Ret> {
    type Item = Out;

    /// Resumes the body, starting it the first time; `None` once it has returned, and ever after.
    ///
    /// # Panics
    /// With the body's panic; if no stack can be had; or if the generator is executing already.
    #[inline(always)]
    fn next(&mut self) -> Option<Out> {
        let step = if self.owner.is_suspended() { self.step(MaybeUninit::new(())).ok()? } else { self.first_step()? };
        match step {
            Step::Yielded(out) => Some(out),
            Step::Returned(ret) => {
                *self.owner.returned() = Some(ret);
                None
            }
        }
    }
}

impl<Out, Ret> Generator<Out, (), Ret> {
    #[cold]
    fn first_step(&mut self) -> Option<Step<Out, Ret>> {
        match self.start() {
            Ok(step) => Some(step),
            Err(ResumeError::Finished(_)) => None,
            Err(error) => panic!("cannot resume generator '{}': {error}", self.name()),
        }
    }
}

impl<Out, Ret> std::iter::FusedIterator for Generator<Out, (), Ret> {}

impl<Out, In: 'static, Ret> Drop for Generator<Out, In, Ret> {
    fn drop(&mut self) {
        const TRIES: usize = 3;
        let tries = if self.state() != State::Suspended || coroutine::may_unwind() { TRIES } else { 0 };
        for _ in 0..tries {
            // The panic of a destructor on the body's stack has been shown by the panic hook and ends here.
            match unwind::catch(|| self.close()) {
                Ok(Err(ResumeError::IgnoredClose)) => {}
                Ok(_) => break,
                Err(payload) => unwind::drop_quietly(payload),
            }
        }
        if !matches!(self.state(), State::Finished) {
            self.owner.leak();
        }
    }
}

impl<Out, In: 'static, Ret> fmt::Debug for Generator<Out, In, Ret> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Generator").field("name", &self.name()).field("state", &self.state()).finish_non_exhaustive()
    }
}

/// A generator that has not started: a body with a name and a stack size.
///
/// It is `Send` when its body is, so a generator can be described on one thread and started on another.
///
/// # Examples
/// ```
/// use osier::{Generator, Yielder};
///
/// let squares = Generator::builder(|y: &Yielder<u32>| (0..).for_each(|n| y.yield_(n * n)))
///     .name("squares")
///     .stack_size(32 * 1024);
/// let sum = std::thread::spawn(move || squares.build().take(4).sum::<u32>()).join().unwrap();
/// assert_eq!(sum, 14);
/// ```
#[derive(Clone)]
#[must_use = "a builder does nothing until `build` is called"]
pub struct Builder<F> {
    body: F,
    name: Cow<'static, str>,
    stack_size: StackSize,
}

impl<F> Builder<F> {
    /// Names the generator, in overflow messages and in `Debug`.
    pub fn name(mut self, name: impl Into<Cow<'static, str>>) -> Self {
        self.name = name.into();
        self
    }

    /// Sets the usable bytes of its stack, rounded up to whole pages and to at least [`crate::stack::MIN_STACK_SIZE`].
    pub fn stack_size(mut self, bytes: usize) -> Self {
        self.stack_size = StackSize::from_bytes(bytes);
        self
    }

    /// Makes the generator; its body runs at the first resume, on the thread that does that.
    pub fn build<Out, In: 'static, Ret>(self) -> Generator<Out, In, Ret>
    where
        F: FnOnce(&Yielder<Out, In>) -> Ret + 'static,
    {
        Generator { owner: Owner::new(self.body, self.name, self.stack_size), _thread: PhantomData }
    }
}

impl<F> fmt::Debug for Builder<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Builder")
            .field("name", &self.name)
            .field("stack_size", &self.stack_size.bytes())
            .finish_non_exhaustive()
    }
}
