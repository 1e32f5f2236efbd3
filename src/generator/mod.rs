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
//! | `g.send(v)`, which starts or goes on | `g.resume(v)` |
//! | `g.throw(ValueError())` | `g.throw(ValueError)` |
//! | `yield from inner` | `y.yield_from(&mut inner)`, over iterables `y.yield_all(iter)` |
//! | `g.close()`, `del g` | `g.close()`, `drop(g)` |
//! | `StopIteration.value` | `Step::Returned(value)`, or `g.take_return()` after a `for` |
//! | `ValueError: generator already executing` | `ResumeError::Executing` |
//! | `except` around a `yield` | [`catch`](crate::catch), or [`Yielder::try_yield`] |
//! | `except GeneratorExit` | [`catch_exit`](crate::catch_exit) |
//!
//! The whole table, with the traps: [`porting`](crate::porting).
//!
//! | form | made by | for |
//! | --- | --- | --- |
//! | [`Generator`] | `Generator::new` | nearly everything |
//! | [`Shared`] | [`Generator::shared`] | generators that resume each other, and themselves by mistake |
//! | [`ScopedGenerator`] | [`scoped`] | a body that borrows |
//!
//! # Rooms
//! - `block`: one allocation that holds the body, the coroutine and the books; mount, resume, finish.
//! - `calls`: start, send, throw, close and drop, the same for every form.
//! - `shared`, `scoped`: the other forms.
//! - `yielder`: the body's side, also as free functions. `delegate`: `yield from`.
//! - `error`: what a resume can answer. `name`: a name in two words.

mod block;
mod calls;
mod delegate;
mod error;
mod name;
mod scoped;
mod shared;
mod yielder;

pub use delegate::{Resume, yield_from};
pub use error::{ResumeError, State, Step};
pub use scoped::{ScopedGenerator, scoped};
pub use shared::{Shared, Weak};
pub use yielder::{Yielder, try_yield, yield_, yield_all};

use std::any::TypeId;
use std::backtrace::Backtrace;
use std::borrow::Cow;
use std::fmt;
use std::marker::PhantomData;

use crate::exception::{Exception, Raise};
use crate::stack::StackSize;
use block::{Owner, Plan};

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
/// that lies in a thread-local is leaked when its thread ends: what its frames borrow may be gone by then. (So do not resume
/// it there, in a destructor: see the [crate's page](crate).) Leaks, and exceptions that leave a body in its drop, are
/// [reported](crate::set_report_hook).
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
/// ```compile_fail,E0277
/// # // H01
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
    ///
    /// What is sent in does not borrow: a value could be kept on a stack that is forgotten. Nor does the body, unless the
    /// generator is [`scoped`].
    /// ```compile_fail
    /// use osier::{Generator, Yielder};
    /// fn feed(text: &str) {
    ///     Generator::new(|y: &Yielder<(), &str>| { y.yield_(()); }).primed().send(text).unwrap();
    /// }
    /// ```
    pub fn new<F>(body: F) -> Self
    where
        F: FnOnce(&Yielder<Out, In>) -> Ret + 'static,
        Out: 'static,
    {
        Self::builder(body).build()
    }

    /// Starts building a generator of `body` with a name or a stack size.
    pub fn builder<F>(body: F) -> Builder<Body<F, Out, In, Ret>>
    where
        F: FnOnce(&Yielder<Out, In>) -> Ret + 'static,
    {
        Builder::of(body)
    }

    /// Runs the body up to its first `yield_`: Python's first `next`.
    ///
    /// # Errors
    /// [`ResumeError::AlreadyStarted`], [`ResumeError::AlreadyFinished`], [`ResumeError::AlreadyExecuting`] (where `In` is
    /// `()`, these two are `Finished(())` and `Executing(())`), or [`ResumeError::NoStack`], after which it can be tried
    /// again. [`ResumeError::Raised`] with the exception that left the body, which finishes the generator.
    ///
    /// # Panics
    /// With the body's panic, which finishes the generator.
    #[inline]
    pub fn start(&mut self) -> Result<Step<Out, Ret>, ResumeError<In>> {
        self.owner.start()
    }

    /// Goes on with the body: `value` is what its `yield_` returns. Runs up to the next `yield_`.
    ///
    /// # Errors
    /// [`ResumeError::NotStarted`], [`ResumeError::Finished`] or [`ResumeError::Executing`], each with `value` in it.
    /// [`ResumeError::AlreadyFinished`] if the body took the value and then unwound, from an earlier close.
    /// [`ResumeError::Raised`] with the exception that left the body, which finishes the generator.
    ///
    /// # Panics
    /// With the body's panic, which finishes the generator.
    #[inline(always)]
    pub fn send(&mut self, value: In) -> Result<Step<Out, Ret>, ResumeError<In>> {
        self.owner.send(value)
    }

    /// Starts the body if it is new, as [`start`](Self::start) does, and drops `value`; else goes on with it, as
    /// [`send`](Self::send) does: Python's `g.send(value)` of a scheduler that does not care, whose first value is `None`.
    ///
    /// # Errors
    /// As `start`, where `value` is lost; else as `send`.
    ///
    /// # Panics
    /// With the body's panic, which finishes the generator.
    ///
    /// # Examples
    /// ```
    /// use osier::{Generator, Step, Yielder};
    ///
    /// let mut g = Generator::new(|y: &Yielder<u32, u32>| y.yield_(1) + y.yield_(2));
    /// assert_eq!(g.resume(0).unwrap(), Step::Yielded(1));
    /// assert_eq!(g.resume(30).unwrap(), Step::Yielded(2));
    /// assert_eq!(g.resume(12).unwrap(), Step::Returned(42));
    /// assert!(g.resume(0).unwrap_err().is_finished());
    /// ```
    pub fn resume(&mut self, value: In) -> Result<Step<Out, Ret>, ResumeError<In>> {
        self.owner.start_or_send(value)
    }

    /// Goes on with the body by raising `e` from the `yield_` it waits in; a [`try_yield`](Yielder::try_yield) gives it
    /// as an error. Runs up to the next `yield_`.
    ///
    /// A generator that has not started ends unrun, and one that has finished stays so; `e` comes back.
    ///
    /// # Errors
    /// [`ResumeError::Raised`] with the exception that left the body, which finishes the generator: `e` itself, the same
    /// object, if the body did not catch it. [`ResumeError::AlreadyExecuting`], or `Executing(())` where `In` is `()`.
    /// [`ResumeError::Unwinding`] if it is suspended in the middle of its own unwind, and takes only `send`.
    ///
    /// # Panics
    /// With the body's panic, which finishes the generator.
    ///
    /// # Examples
    /// ```
    /// use osier::generator::ResumeError;
    /// use osier::{Generator, Step, Yielder, catch};
    ///
    /// let mut g = Generator::new(|y: &Yielder<&str>| {
    ///     if catch(|| y.yield_("working")).is_err() {
    ///         y.yield_("recovered");
    ///     }
    /// });
    /// g.start()?;
    /// assert_eq!(g.throw(std::fmt::Error)?, Step::Yielded("recovered"));
    /// let error = g.throw(std::fmt::Error).unwrap_err();
    /// assert!(matches!(error, ResumeError::Raised(e) if e.is::<std::fmt::Error>()));
    /// # Ok::<(), ResumeError<()>>(())
    /// ```
    pub fn throw(&mut self, e: impl Into<Exception>) -> Result<Step<Out, Ret>, ResumeError<In>> {
        self.owner.throw(e.into())
    }

    /// Asks the body to end: unwinds it from the `yield_` it waits in. `Ok` when it has ended.
    ///
    /// Returns the body's return value if it returned just now instead of unwinding. Closing a generator that has not
    /// started drops its body unrun; closing one that has finished does nothing.
    ///
    /// # Errors
    /// [`ResumeError::IgnoredClose`] if the body yielded again, and stays suspended; with `panic = "abort"` always.
    /// [`ResumeError::Raised`] if an exception left it instead. [`ResumeError::AlreadyExecuting`], or `Executing(())` where
    /// `In` is `()`. [`ResumeError::Unwinding`] if it is suspended in the middle of its own unwind, and takes only `send`.
    /// [`ResumeError::ThreadEnding`] in the destructor of a thread-local, where what the body borrows may be gone.
    ///
    /// # Panics
    /// With the panic of a destructor on the body's stack.
    pub fn close(&mut self) -> Result<Option<Ret>, ResumeError<In>> {
        self.owner.close()
    }

    /// Starts the generator and drops what it yields first, so that it is ready for `send`. What it returns instead is there for
    /// [`take_return`](Self::take_return).
    ///
    /// # Panics
    /// With the body's panic. An exception that leaves the body is raised, and so is [`ResumeError::NoStack`].
    pub fn primed(mut self) -> Self {
        match self.start() {
            Ok(Step::Returned(ret)) => {
                self.owner.returned().set(Some(ret));
                self
            }
            // One that was primed before, or has ended, needs no priming.
            Ok(Step::Yielded(_))
            | Err(ResumeError::AlreadyStarted | ResumeError::Finished(_) | ResumeError::AlreadyFinished) => self,
            Err(error) => error.raise(),
        }
    }

    /// Turns it into a form with many handles, for generators that resume each other.
    pub fn shared(self) -> Shared<Out, In, Ret> {
        Shared::new(self.owner)
    }

    /// Where the generator is in its life.
    pub fn state(&self) -> State {
        self.owner.state()
    }

    /// The name given to the builder, else the body's type.
    pub fn name(&self) -> &str {
        self.owner.name()
    }

    /// The name of the one that it is suspended in a [`yield_from`](Yielder::yield_from) of: Python's `gi_yieldfrom`.
    /// `None` where nobody stands in for it. Items that [`yield_all`](Yielder::yield_all) passes on have no name.
    ///
    /// # Examples
    /// ```
    /// use osier::{Generator, Yielder};
    ///
    /// let mut outer = Generator::new(|y: &Yielder<u32>| {
    ///     let inner = Generator::builder(|y: &Yielder<u32>| y.yield_(1)).name("inner");
    ///     y.yield_from(&mut inner.build());
    ///     y.yield_(2);
    /// });
    /// assert_eq!((outer.next(), outer.delegate()), (Some(1), Some("inner")));
    /// assert_eq!((outer.next(), outer.delegate()), (Some(2), None));
    /// ```
    pub fn delegate(&self) -> Option<&str> {
        self.owner.delegate()
    }

    /// The stack that the body is suspended on, below those that stand in for it in a
    /// [`yield_from`](Yielder::yield_from), innermost first. `None` unless it is suspended.
    ///
    /// The body is resumed for it, notes its stack, and suspends again where it was; none of its code runs. Below its
    /// last frame the stack goes on with whoever asks. The frames get their names when it is printed.
    ///
    /// # Examples
    /// ```
    /// use osier::{Generator, Yielder};
    ///
    /// #[inline(never)]
    /// fn wait_for_a_word(y: &Yielder<(), String>) -> usize {
    ///     y.yield_(()).len()
    /// }
    ///
    /// let mut g = Generator::new(|y: &Yielder<(), String>| wait_for_a_word(y));
    /// assert!(g.backtrace().is_none());
    /// g.start()?;
    /// assert!(g.backtrace().unwrap().to_string().contains("wait_for_a_word"));
    /// # Ok::<(), osier::generator::ResumeError<String>>(())
    /// ```
    pub fn backtrace(&mut self) -> Option<Backtrace> {
        self.owner.backtrace()
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
    /// With the body's panic. An exception that leaves the body is [raised](crate::raise), and so is why it could not be
    /// resumed, as a [`ResumeError<()>`](ResumeError): no stack, or executing already.
    #[inline(always)]
    fn next(&mut self) -> Option<Out> {
        self.owner.next()
    }
}

impl<Out, Ret> std::iter::FusedIterator for Generator<Out, (), Ret> {}

impl<Out, In: 'static, Ret> fmt::Debug for Generator<Out, In, Ret> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Generator").field("name", &self.name()).field("state", &self.state()).finish_non_exhaustive()
    }
}

/// A generator that has not started: a body with a name and a stack size.
///
/// It is `Send` when its body is, so a generator can be described on one thread and started on another. Where nothing is sent
/// in, it is [`IntoIterator`]: the generator is made where the iteration begins. So it is what functions are given that take a
/// source to another task, as [`Pool::imap`](crate::pool::Pool::imap).
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
///
/// # #[cfg(feature = "runtime")] {
/// let jobs = Generator::builder(|y: &Yielder<u32>| (1..=4).for_each(|n| y.yield_(n)));
/// assert_eq!(osier::Pool::new(2).imap(jobs, |n| n * n).collect::<Vec<_>>(), [1, 4, 9, 16]);
/// # }
/// ```
#[must_use = "a builder does nothing until `build` is called"]
#[derive(Clone)]
pub struct Builder<B> {
    body: B,
    name: Cow<'static, str>,
    stack_size: StackSize,
}

/// A body, in the type of its [`Builder`], with what it yields, is sent and returns.
pub struct Body<F, Out, In: 'static = (), Ret = ()> {
    body: F,
    _types: PhantomData<Types<Out, In, Ret>>,
}

/// Nothing that a builder has.
type Types<Out, In, Ret> = fn(&Yielder<Out, In>) -> Ret;

impl<B> Builder<B> {
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

    /// The name that it gives.
    #[cfg(feature = "runtime")]
    pub(crate) fn label(&self) -> Cow<'static, str> {
        self.name.clone()
    }
}

impl<F, O, I: 'static, R> Builder<Body<F, O, I, R>> {
    fn of(body: F) -> Self {
        let name = Cow::Borrowed(std::any::type_name::<F>());
        Self { body: Body { body, _types: PhantomData }, name, stack_size: StackSize::DEFAULT }
    }

    /// The same with nothing of the body's types in its own: they need not be `'static`.
    #[cfg(feature = "runtime")]
    pub(crate) fn untyped(self) -> Builder<Body<F, ()>> {
        let body = Body { body: self.body.body, _types: PhantomData };
        Builder { body, name: self.name, stack_size: self.stack_size }
    }

    /// Makes the generator; its body runs at the first resume, on the thread that does that.
    pub fn build<Out, In: 'static, Ret>(self) -> Generator<Out, In, Ret>
    where
        F: FnOnce(&Yielder<Out, In>) -> Ret + 'static,
        Out: 'static,
    {
        let yields: fn() -> TypeId = TypeId::of::<Yielder<Out, In>>;
        let plan = Plan { name: self.name, stack_size: self.stack_size, yields: Some(yields), borrows: false };
        // SAFETY: the body is `'static`; `yields` gives that type.
        let owner = unsafe { Owner::new(self.body.body, plan) };
        Generator { owner, _thread: PhantomData }
    }
}

impl<F, Out, Ret> IntoIterator for Builder<Body<F, Out, (), Ret>>
where
    F: FnOnce(&Yielder<Out>) -> Ret + 'static,
    Out: 'static,
{
    type Item = Out;
    type IntoIter = Generator<Out, (), Ret>;

    fn into_iter(self) -> Generator<Out, (), Ret> {
        self.build()
    }
}

impl<F: Clone, Out, In: 'static, Ret> Clone for Body<F, Out, In, Ret> {
    fn clone(&self) -> Self {
        Self { body: self.body.clone(), _types: PhantomData }
    }
}

impl<B> fmt::Debug for Builder<B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Builder")
            .field("name", &self.name)
            .field("stack_size", &self.stack_size.bytes())
            .finish_non_exhaustive()
    }
}

impl<F, Out, In: 'static, Ret> fmt::Debug for Body<F, Out, In, Ret> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Body").finish_non_exhaustive()
    }
}
