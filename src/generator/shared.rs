//! A generator with many handles on one thread, for programs in which generators resume each other.

use std::backtrace::Backtrace;
use std::cell::Cell;
use std::fmt;
use std::rc::{self, Rc};

use super::block::Owner;
use super::{ResumeError, State, Step};
use crate::exception::{Exception, raise};

/// A generator behind an `Rc`: the same calls with `&self`.
///
/// Several holders may resume it, also from within its own body; that is the error [`ResumeError::Executing`], which
/// harms nobody. Dropping the last handle closes it. A body that keeps a handle of itself is a cycle, as with any `Rc`:
/// it is never dropped, and ends only by itself or by `close`. So such a body keeps a [`Weak`].
///
/// # Examples
/// ```
/// use osier::{Generator, Yielder};
/// use std::cell::OnceCell;
/// use std::rc::Rc;
///
/// let myself = Rc::new(OnceCell::new());
/// let body = {
///     let myself = myself.clone();
///     move |y: &Yielder<String>| {
///         let me: &osier::generator::Shared<String> = myself.get().unwrap();
///         y.yield_(me.start().unwrap_err().to_string());
///     }
/// };
/// let g = Generator::new(body).shared();
/// myself.set(g.clone()).unwrap();
/// assert_eq!(g.start()?.yielded().unwrap(), "generator already executing");
/// g.close()?;
/// # Ok::<(), osier::generator::ResumeError<()>>(())
/// ```
///
/// It stays on its thread, with all its handles:
/// ```compile_fail,E0277
/// let g = osier::Generator::new(|y: &osier::Yielder<u32>| y.yield_(1)).shared();
/// std::thread::spawn(move || g.start());
/// ```
#[must_use = "a generator does nothing until it is resumed"]
pub struct Shared<Out, In: 'static = (), Ret = ()> {
    inner: Rc<Inner<Out, In, Ret>>,
}

struct Inner<Out, In: 'static, Ret> {
    owner: Owner<Out, In, Ret>,
    /// Whether a call is being made: the body runs, or is parked with others.
    executing: Cell<bool>,
}

/// The right to make the one call that may be made at a time.
struct Call<'a> {
    executing: &'a Cell<bool>,
}

impl Drop for Call<'_> {
    fn drop(&mut self) {
        self.executing.set(false);
    }
}

impl<Out, In: 'static, Ret> Shared<Out, In, Ret> {
    pub(super) fn new(owner: Owner<Out, In, Ret>) -> Self {
        Self { inner: Rc::new(Inner { owner, executing: Cell::new(false) }) }
    }

    /// A handle that does not keep the generator alive.
    ///
    /// # Examples
    /// ```
    /// use osier::{Generator, Yielder};
    ///
    /// let g = Generator::new(|y: &Yielder<u32>| y.yield_(1)).shared();
    /// let weak = g.downgrade();
    /// assert_eq!(weak.upgrade().unwrap().next(), Some(1));
    /// drop(g);
    /// assert!(weak.upgrade().is_none());
    /// ```
    pub fn downgrade(&self) -> Weak<Out, In, Ret> {
        Weak { inner: Rc::downgrade(&self.inner) }
    }

    /// Begins a call. `None` while another one is being made.
    #[inline]
    fn call(&self) -> Option<Call<'_>> {
        let executing = &self.inner.executing;
        // `then`, not `then_some`: a `Call` that is refused must not be made, for its drop ends the one under way.
        (!executing.replace(true)).then(|| Call { executing })
    }

    /// Runs the body up to its first `yield_`; see [`Generator::start`](super::Generator::start).
    ///
    /// # Errors
    /// As `Generator::start`.
    ///
    /// # Panics
    /// With the body's panic, which finishes the generator.
    pub fn start(&self) -> Result<Step<Out, Ret>, ResumeError<In>> {
        let Some(_call) = self.call() else { return Err(ResumeError::executing()) };
        self.inner.owner.start()
    }

    /// Goes on with the body; see [`Generator::send`](super::Generator::send).
    ///
    /// # Errors
    /// As `Generator::send`.
    ///
    /// # Panics
    /// With the body's panic, which finishes the generator.
    #[inline]
    pub fn send(&self, value: In) -> Result<Step<Out, Ret>, ResumeError<In>> {
        let Some(_call) = self.call() else { return Err(ResumeError::Executing(value)) };
        self.inner.owner.send(value)
    }

    /// Starts the body, or goes on with it; see [`Generator::resume`](super::Generator::resume).
    ///
    /// # Errors
    /// As `Generator::resume`.
    ///
    /// # Panics
    /// With the body's panic, which finishes the generator.
    pub fn resume(&self, value: In) -> Result<Step<Out, Ret>, ResumeError<In>> {
        let Some(_call) = self.call() else { return Err(ResumeError::Executing(value)) };
        self.inner.owner.start_or_send(value)
    }

    /// Throws an exception into the body; see [`Generator::throw`](super::Generator::throw).
    ///
    /// # Errors
    /// As `Generator::throw`.
    ///
    /// # Panics
    /// With the body's panic, which finishes the generator.
    pub fn throw(&self, e: impl Into<Exception>) -> Result<Step<Out, Ret>, ResumeError<In>> {
        let Some(_call) = self.call() else { return Err(ResumeError::executing()) };
        self.inner.owner.throw(e.into())
    }

    /// Asks the body to end; see [`Generator::close`](super::Generator::close).
    ///
    /// # Errors
    /// As `Generator::close`.
    ///
    /// # Panics
    /// With the panic of a destructor on the body's stack.
    pub fn close(&self) -> Result<Option<Ret>, ResumeError<In>> {
        let Some(_call) = self.call() else { return Err(ResumeError::executing()) };
        self.inner.owner.close()
    }

    /// Where the generator is in its life.
    pub fn state(&self) -> State {
        if self.inner.executing.get() { State::Executing } else { self.inner.owner.state() }
    }

    /// The name given to the builder, else the body's type.
    pub fn name(&self) -> &str {
        self.inner.owner.name()
    }

    /// The name of the one that it is suspended in a `yield_from` of, if nobody resumes it now; see
    /// [`Generator::delegate`](super::Generator::delegate).
    pub fn delegate(&self) -> Option<String> {
        let _call = self.call()?;
        self.inner.owner.delegate().map(str::to_owned)
    }

    /// The stack that the body is suspended on, if nobody resumes it now; see
    /// [`Generator::backtrace`](super::Generator::backtrace).
    pub fn backtrace(&self) -> Option<Backtrace> {
        let _call = self.call()?;
        self.inner.owner.backtrace()
    }

    /// Takes the value that the body returned while the generator was used as an iterator.
    pub fn take_return(&self) -> Option<Ret> {
        self.inner.owner.returned().take()
    }

    /// Whether both are handles of one generator.
    pub fn ptr_eq(&self, other: &Self) -> bool {
        Rc::ptr_eq(&self.inner, &other.inner)
    }
}

impl<Out, In: 'static, Ret> Clone for Shared<Out, In, Ret> {
    fn clone(&self) -> Self {
        Self { inner: self.inner.clone() }
    }
}

impl<Out, Ret> Iterator for Shared<Out, (), Ret> {
    type Item = Out;

    /// As [`Generator::next`](super::Generator); all handles take from the same items.
    #[inline]
    fn next(&mut self) -> Option<Out> {
        let Some(_call) = self.call() else { raise(ResumeError::Executing(())) };
        self.inner.owner.next()
    }
}

impl<Out, Ret> std::iter::FusedIterator for Shared<Out, (), Ret> {}

impl<Out, In: 'static, Ret> fmt::Debug for Shared<Out, In, Ret> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Shared").field("name", &self.name()).field("state", &self.state()).finish_non_exhaustive()
    }
}

/// A handle to a [`Shared`] generator that does not keep it alive.
pub struct Weak<Out, In: 'static = (), Ret = ()> {
    inner: rc::Weak<Inner<Out, In, Ret>>,
}

impl<Out, In: 'static, Ret> Weak<Out, In, Ret> {
    /// A handle that counts, if there are others.
    pub fn upgrade(&self) -> Option<Shared<Out, In, Ret>> {
        self.inner.upgrade().map(|inner| Shared { inner })
    }
}

impl<Out, In: 'static, Ret> Clone for Weak<Out, In, Ret> {
    fn clone(&self) -> Self {
        Self { inner: self.inner.clone() }
    }
}

impl<Out, In: 'static, Ret> fmt::Debug for Weak<Out, In, Ret> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("(Weak)")
    }
}
