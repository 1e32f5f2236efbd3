//! Generators whose body borrows from the caller.
//!
//! A stack that is forgotten keeps its borrows for ever, so a body that borrows must not be able to be forgotten: the
//! generator is lent to a closure, and `scoped` ends it before it returns, or does not return.

use std::backtrace::Backtrace;
use std::fmt;
use std::marker::PhantomData;

use super::block::{Owner, Plan};
use super::{Body, Builder, Resume, ResumeError, State, Step, Yielder};
use crate::exception::Exception;

/// Makes a generator of a `body` that may borrow, lends it to `with`, and ends it when that has returned or unwound.
///
/// At the end the generator is dropped as any other: a body that waits in a `yield_` is asked to close, and what it
/// raises then is [reported](crate::set_report_hook). But it cannot be left behind: a body that ignores every close ends
/// the process, after a report. One that yields in a destructor then is resumed, if that takes no value (`In` is `()`).
///
/// Where items borrow, leave their type to inference: in a closure's `&Yielder<&str>` the inner lifetime would stand for
/// every lifetime, `'static` among them.
///
/// # Aborts
/// If the body still lives after three closes, or waits in the middle of its unwind for a value; with `panic = "abort"`, where nothing can be unwound, if it has begun and not
/// run to its end: iterate to the end there, or let the body return when it is told to by a value.
///
/// # Examples
/// ```
/// use osier::{Yielder, generator::scoped};
///
/// let words = vec!["ash".to_owned(), "oak".to_owned(), "yew".to_owned()];
/// let mut visited = 0;
/// let body = |y: &Yielder<_>| {
///     for word in &words {
///         visited += 1;
///         y.yield_(word.as_str());
///     }
/// };
/// let oak = scoped(body, |g| g.find(|word| word.starts_with('o')));
/// assert_eq!((oak, visited), (Some("oak"), 2));
/// ```
///
/// The generator cannot leave:
/// ```compile_fail
/// use osier::{Generator, Yielder, generator::scoped};
///
/// let word = "ash".to_owned();
/// let g = scoped(|y: &Yielder<u32>| drop(&word), |g| g);
/// ```
pub fn scoped<'a, Out, In, Ret, T>(
    body: impl FnOnce(&Yielder<Out, In>) -> Ret + 'a,
    with: impl FnOnce(&mut ScopedGenerator<'a, Out, In, Ret>) -> T,
) -> T
where
    In: 'static,
{
    ScopedGenerator::builder(body).scoped(with)
}

impl<F, O, I: 'static, R> Builder<Body<F, O, I, R>> {
    /// Makes a generator whose body may borrow, lends it to `with`, and ends it when that has returned or unwound: see
    /// [`scoped`].
    ///
    /// # Aborts
    /// As [`scoped`].
    ///
    /// # Examples
    /// ```
    /// use osier::{Yielder, generator::ScopedGenerator};
    ///
    /// let words = ["ash".to_owned(), "oak".to_owned()];
    /// let body = |y: &Yielder<_>| y.yield_all(words.iter().map(String::as_str));
    /// let last = ScopedGenerator::builder(body).name("words").stack_size(32 * 1024).scoped(|g| {
    ///     assert_eq!(g.name(), "words");
    ///     g.last()
    /// });
    /// assert_eq!(last, Some("oak"));
    /// ```
    pub fn scoped<'a, Out, In, Ret, T>(self, with: impl FnOnce(&mut ScopedGenerator<'a, Out, In, Ret>) -> T) -> T
    where
        F: FnOnce(&Yielder<Out, In>) -> Ret + 'a,
        In: 'static,
    {
        let plan = Plan { name: self.name, stack_size: self.stack_size, yields: None, borrows: true };
        // SAFETY:
        // - The owner stays in this frame: `with` gets a reference, and the type has no value to exchange it for but
        //   another one with the same `'a`, which lies in a frame of this function too. Each is dropped before its frame
        //   goes, and `'a` outlives both calls. The drop aborts where the body does not end.
        // - `yields` says nothing.
        let owner = unsafe { Owner::new(self.body.body, plan) };
        with(&mut ScopedGenerator { owner, _borrows: PhantomData })
    }
}

/// A generator that [`scoped`] lends: the calls of [`Generator`](super::Generator).
pub struct ScopedGenerator<'a, Out, In: 'static = (), Ret = ()> {
    owner: Owner<Out, In, Ret>,
    /// Not `Send`, not `Sync`; and neither longer nor shorter than `'a`.
    _borrows: PhantomData<*mut &'a ()>,
}

impl<'a, Out, In: 'static, Ret> ScopedGenerator<'a, Out, In, Ret> {
    /// Starts building a generator of a `body` that may borrow, with a name or a stack size; [`Builder::scoped`] makes it.
    pub fn builder<F>(body: F) -> Builder<Body<F, Out, In, Ret>>
    where
        F: FnOnce(&Yielder<Out, In>) -> Ret + 'a,
    {
        Builder::of(body)
    }

    /// Runs the body up to its first `yield_`; see [`Generator::start`](super::Generator::start).
    ///
    /// # Errors
    /// As `Generator::start`.
    ///
    /// # Panics
    /// With the body's panic, which finishes the generator.
    pub fn start(&mut self) -> Result<Step<Out, Ret>, ResumeError<In>> {
        self.owner.start()
    }

    /// Goes on with the body; see [`Generator::send`](super::Generator::send).
    ///
    /// # Errors
    /// As `Generator::send`.
    ///
    /// # Panics
    /// With the body's panic, which finishes the generator.
    #[inline]
    pub fn send(&mut self, value: In) -> Result<Step<Out, Ret>, ResumeError<In>> {
        self.owner.send(value)
    }

    /// Starts the body, or goes on with it; see [`Generator::resume`](super::Generator::resume).
    ///
    /// # Errors
    /// As `Generator::resume`.
    ///
    /// # Panics
    /// With the body's panic, which finishes the generator.
    pub fn resume(&mut self, value: In) -> Result<Step<Out, Ret>, ResumeError<In>> {
        self.owner.start_or_send(value)
    }

    /// Throws an exception into the body; see [`Generator::throw`](super::Generator::throw).
    ///
    /// # Errors
    /// As `Generator::throw`.
    ///
    /// # Panics
    /// With the body's panic, which finishes the generator.
    pub fn throw(&mut self, e: impl Into<Exception>) -> Result<Step<Out, Ret>, ResumeError<In>> {
        self.owner.throw(e.into())
    }

    /// Asks the body to end; see [`Generator::close`](super::Generator::close).
    ///
    /// # Errors
    /// As `Generator::close`.
    ///
    /// # Panics
    /// With the panic of a destructor on the body's stack.
    pub fn close(&mut self) -> Result<Option<Ret>, ResumeError<In>> {
        self.owner.close()
    }

    /// Where the generator is in its life.
    pub fn state(&self) -> State {
        self.owner.state()
    }

    /// The name given to the builder, else the body's type.
    pub fn name(&self) -> &str {
        self.owner.name()
    }

    /// The name of the one that it is suspended in a `yield_from` of; see
    /// [`Generator::delegate`](super::Generator::delegate).
    pub fn delegate(&self) -> Option<&str> {
        self.owner.delegate()
    }

    /// The stack that the body is suspended on; see [`Generator::backtrace`](super::Generator::backtrace).
    pub fn backtrace(&mut self) -> Option<Backtrace> {
        self.owner.backtrace()
    }

    /// Takes the value that the body returned while the generator was used as an iterator.
    pub fn take_return(&mut self) -> Option<Ret> {
        self.owner.returned().take()
    }
}

impl<Out, Ret> Iterator for ScopedGenerator<'_, Out, (), Ret> {
    type Item = Out;

    #[inline]
    fn next(&mut self) -> Option<Out> {
        self.owner.next()
    }
}

impl<Out, Ret> std::iter::FusedIterator for ScopedGenerator<'_, Out, (), Ret> {}

impl<Out, In: 'static, Ret> Resume<In> for ScopedGenerator<'_, Out, In, Ret> {
    type Out = Out;
    type Ret = Ret;

    fn start(&mut self) -> Result<Step<Out, Ret>, ResumeError<In>> {
        Self::start(self)
    }

    fn send(&mut self, value: In) -> Result<Step<Out, Ret>, ResumeError<In>> {
        Self::send(self, value)
    }

    fn throw(&mut self, exception: Exception) -> Result<Step<Out, Ret>, ResumeError<In>> {
        Self::throw(self, exception)
    }

    fn close(&mut self) -> Result<Option<Ret>, ResumeError<In>> {
        Self::close(self)
    }

    fn name(&self) -> &str {
        Self::name(self)
    }

    fn backtrace(&mut self) -> Option<Backtrace> {
        Self::backtrace(self)
    }
}

impl<Out, In: 'static, Ret> fmt::Debug for ScopedGenerator<'_, Out, In, Ret> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ScopedGenerator")
            .field("name", &self.name())
            .field("state", &self.state())
            .finish_non_exhaustive()
    }
}
