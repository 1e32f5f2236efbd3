//! Exceptions as values, and the other things that unwind on purpose.
//!
//! Rust's errors are values that a function returns. A generator also needs them to arrive from outside, at the `yield_`
//! it waits in, as Python's `throw` does. So an [`Exception`] is an error that can unwind: [`raise`] starts it,
//! [`catch`] ends it and gives it as a `Result`, and it crosses coroutines as a value, without a copy: whoever catches
//! it sees the same object.
//!
//! | what unwinds | started by | ended by | at the top of a generator | at the top of a task |
//! | --- | --- | --- | --- | --- |
//! | an exception | [`raise`], `throw` | [`catch`], `try_yield` | `ResumeError::Raised` | `JoinError::exception` |
//! | an [`Exit`] | `close`, `cancel`, drop | [`catch_exit`] | ends it | `JoinError::is_cancelled` |
//! | an expiry | [`timeout`](crate::time::timeout) | the same call alone | |
//! | a panic | `panic!` | [`catch_unwind`] | goes on in whoever resumed | `JoinError::into_panic` |
//!
//! Each of these takes its own kind and lets the others pass. std's `catch_unwind` takes all of them; use it with care
//! in code that runs in coroutines, or use [`catch_unwind`] of this crate.
//!
//! | Python | osier |
//! | --- | --- |
//! | `raise ValueError(x)` | `raise(ValueError(x))` |
//! | `try: ... except ValueError as e: A` and others pass | `match catch(..) { Err(e) if e.is::<ValueError>() => A, Err(e) => raise(e), .. }` |
//! | `except (GeneratorExit, GreenletExit):` | `catch_exit(..)` |
//! | `finally:` | a destructor; where the block raises or yields, `catch_exit` |
//! | `except BaseException: pass` | nobody should |
//! | `sys.unraisablehook` | [`set_report_hook`] |
//!
//! ```
//! use std::num::ParseIntError;
//!
//! fn parse(text: &str) -> i32 {
//!     text.parse().unwrap_or_else(|e: ParseIntError| osier::raise(e))
//! }
//!
//! let sum = osier::catch(|| parse("40") + parse("2"));
//! assert_eq!(sum.unwrap(), 42);
//! let error = osier::catch(|| parse("40") + parse("two")).unwrap_err();
//! assert!(error.is::<ParseIntError>());
//! ```
//!
//! With `panic = "abort"` nothing unwinds: `throw` works only into a `try_yield`, and `raise` aborts.
//!
//! # Rooms
//! - `exit`: the payload that ends a coroutine, and `catch_exit`.
//! - `or_raise`: from a `Result` of ours to an exception.
//! - `report`: who is told what nobody can receive. `lost`: what of an unwind that ends in a drop is told.
//!
//! # Invariants
//! - An exception is thrown only where somebody takes it: in a coroutine, whose root does, or within a `catch`.
//! - A catcher that lets something pass throws the very payload on.

mod exit;
mod lost;
mod or_raise;
mod report;

pub use exit::{Exit, ExitKind, catch_exit};
pub use or_raise::OrRaise;
pub use report::{Report, set_report_hook};

#[cfg(feature = "runtime")]
pub(crate) use exit::Fate;
pub(crate) use exit::Leaving;
pub(crate) use lost::{Ending, drop_what_is_left};
pub(crate) use or_raise::{Raise, raised_itself};
pub(crate) use report::report;
#[cfg(feature = "runtime")]
pub(crate) use report::{drop_telling, tell_lost};

use std::any::Any;
use std::error::Error;
use std::fmt;
use std::sync::Arc;

use crate::coroutine::current;
use crate::coroutine::region::Expiry;
use crate::coroutine::unwind::{self, Payload};

/// An error that can be raised, thrown into a coroutine, caught, and passed around.
///
/// Made from any error by [`From`], and by `raise` and `throw` on the way. Clones are the same object: see
/// [`ptr_eq`](Self::ptr_eq). It is not an [`Error`] itself, since it is made from every one; it converts into a
/// `Box<dyn Error>`, so `?` works.
///
/// # Examples
/// ```
/// use osier::Exception;
/// use std::fmt::Error;
///
/// let exception = Exception::from(Error);
/// assert!(exception.is::<Error>() && exception.clone().ptr_eq(&exception));
/// assert_eq!(exception.downcast_ref::<Error>(), Some(&Error));
/// assert_eq!(exception.to_string(), Error.to_string());
/// ```
#[derive(Clone)]
pub struct Exception {
    error: Arc<dyn Error + Send + Sync>,
}

impl Exception {
    /// Makes one of an error in a box, which is no error itself.
    ///
    /// # Examples
    /// ```
    /// use osier::{Exception, catch, raise};
    /// use std::error::Error;
    ///
    /// fn parse(text: &str) -> Result<u32, Box<dyn Error + Send + Sync>> {
    ///     Ok(text.parse()?)
    /// }
    /// let number = || parse("four").unwrap_or_else(|e| raise(Exception::from_boxed(e)));
    /// assert!(catch(number).unwrap_err().is::<std::num::ParseIntError>());
    /// ```
    pub fn from_boxed(error: Box<dyn Error + Send + Sync>) -> Self {
        Self { error: error.into() }
    }

    /// Makes one of a text: Python's `raise Exception("…")`, where nobody asks for a type.
    ///
    /// # Examples
    /// ```
    /// use osier::{Exception, catch, raise};
    ///
    /// let error = catch(|| -> u32 { raise(Exception::msg("no such willow")) }).unwrap_err();
    /// assert_eq!(error.to_string(), "no such willow");
    /// ```
    pub fn msg(text: impl Into<String>) -> Self {
        Self::from_boxed(text.into().into())
    }

    /// Whether the error is an `E`.
    pub fn is<E: Error + 'static>(&self) -> bool {
        self.error.is::<E>()
    }

    /// The error, if it is an `E`.
    pub fn downcast_ref<E: Error + 'static>(&self) -> Option<&E> {
        self.error.downcast_ref()
    }

    /// Whether both are the same object: clones of one exception.
    pub fn ptr_eq(&self, other: &Self) -> bool {
        // The addresses alone: vtables of one type may differ.
        std::ptr::addr_eq(Arc::as_ptr(&self.error), Arc::as_ptr(&other.error))
    }
}

impl<E: Error + Send + Sync + 'static> From<E> for Exception {
    fn from(error: E) -> Self {
        Self { error: Arc::new(error) }
    }
}

impl From<Exception> for Box<dyn Error + Send + Sync> {
    fn from(exception: Exception) -> Self {
        Box::new(exception.error)
    }
}

impl From<Exception> for Box<dyn Error> {
    fn from(exception: Exception) -> Self {
        Box::new(exception.error)
    }
}

impl AsRef<dyn Error + Send + Sync> for Exception {
    fn as_ref(&self) -> &(dyn Error + Send + Sync + 'static) {
        &*self.error
    }
}

impl fmt::Debug for Exception {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.error, f)
    }
}

impl fmt::Display for Exception {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.error, f)
    }
}

/// The payload of an exception on its way.
struct Raised(Exception);

/// Unwinds the running coroutine with `e`, to the innermost [`catch`] around; else out of the coroutine, whose resumer
/// or joiner gets it as an error. The panic hook is not told.
///
/// What is caught is raised again with `raise(e)`, and stays the same object.
///
/// # Panics
/// Outside every coroutine and every `catch`, with the error's text: an ordinary panic. A destructor that raises during
/// an unwind aborts the process, as one that panics does.
///
/// # Examples
/// ```
/// use osier::{catch, raise};
///
/// let exception = catch(|| -> u32 { raise(std::fmt::Error) }).unwrap_err();
/// let again = catch(|| -> u32 { raise(exception.clone()) }).unwrap_err();
/// assert!(again.ptr_eq(&exception));
/// ```
#[track_caller]
pub fn raise(e: impl Into<Exception>) -> ! {
    let exception = e.into();
    if cfg!(panic = "abort") || current::is_outside() && current::catches() == 0 {
        panic!("{exception}");
    }
    throw(exception)
}

/// Unwinds with an exception that somebody takes. Inlined, as `unwind::throw`.
#[inline(always)]
pub(crate) fn throw(exception: Exception) -> ! {
    if cfg!(panic = "abort") {
        // Its own payload would abort without a word.
        panic!("{exception}");
    }
    unwind::throw(payload_of(exception))
}

/// What an exception unwinds as.
pub(crate) fn payload_of(exception: Exception) -> Payload {
    Box::new(Raised(exception))
}

/// Goes on with what unwound another coroutine, in the one that is told of it.
#[cold]
pub(crate) fn go_on(payload: Payload) -> ! {
    match from_payload(payload) {
        Ok(exception) => raise(exception),
        Err(payload) => unwind::throw(payload),
    }
}

/// The exception that a caught unwind carries; other payloads come back.
pub(crate) fn from_payload(payload: Payload) -> Result<Exception, Payload> {
    payload.downcast::<Raised>().map(|raised| raised.0)
}

/// Counts a `catch` that runs outside every coroutine, where [`raise`] must know that somebody takes what it throws.
struct Catching {
    outside: bool,
}

impl Catching {
    fn begin() -> Self {
        let outside = current::is_outside();
        if outside {
            current::set_catches(current::catches() + 1);
        }
        Self { outside }
    }
}

impl Drop for Catching {
    fn drop(&mut self) {
        if self.outside {
            current::set_catches(current::catches() - 1);
        }
    }
}

/// Runs `f`, and gives the exception that it raised as an error: Python's `try` and `except` around any block.
///
/// Panics, closes and cancellations pass. What `f` left half done stays so, as after `std::panic::catch_unwind`; what it
/// owned has been dropped.
///
/// # Errors
/// With what was raised in `f`, or thrown into the coroutine while it waited in `f`.
///
/// # Examples
/// ```
/// use osier::{Generator, Yielder, catch};
///
/// let mut g = Generator::new(|y: &Yielder<String>| {
///     while let Err(exception) = catch(|| y.yield_("ready".to_owned())) {
///         y.yield_(format!("caught: {exception}"));
///     }
/// });
/// assert_eq!(g.next().unwrap(), "ready");
/// assert_eq!(g.throw(std::fmt::Error).unwrap().yielded().unwrap(), format!("caught: {}", std::fmt::Error));
/// assert_eq!(g.next().unwrap(), "ready");
/// ```
pub fn catch<T>(f: impl FnOnce() -> T) -> Result<T, Exception> {
    let catching = Catching::begin();
    let result = unwind::intercept(f);
    drop(catching);
    result.map_err(|payload| from_payload(payload).unwrap_or_else(|payload| unwind::throw(payload)))
}

/// `std::panic::catch_unwind` for code that runs in coroutines: it takes panics, and lets exceptions, closes and
/// cancellations pass. It asks for no `UnwindSafe`, as [`catch`] does not: what `f` left half done stays so.
///
/// # Errors
/// With the payload of the panic.
///
/// # Examples
/// ```
/// use osier::{catch, catch_unwind, raise};
///
/// assert!(catch_unwind(|| panic!("a bug")).is_err());
/// let passed = catch(|| catch_unwind(|| raise(std::fmt::Error)).is_err());
/// assert!(passed.unwrap_err().is::<std::fmt::Error>());
/// ```
pub fn catch_unwind<T>(f: impl FnOnce() -> T) -> std::thread::Result<T> {
    unwind::intercept(f).map_err(|payload| {
        let is_ours = payload.is::<Raised>() || payload.is::<Leaving>() || payload.is::<Expiry>();
        if is_ours { unwind::throw(payload) } else { payload }
    })
}

/// `std::panic::resume_unwind` for code that runs in coroutines: it also notes that this coroutine unwinds, so that
/// nothing is thrown into its destructors when they wait.
///
/// # Examples
/// ```
/// let payload = osier::catch_unwind(|| osier::resume_unwind(Box::new(42))).unwrap_err();
/// assert_eq!(payload.downcast_ref(), Some(&42));
/// ```
pub fn resume_unwind(payload: Box<dyn Any + Send>) -> ! {
    unwind::throw(payload)
}
