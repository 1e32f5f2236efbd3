//! From a `Result` of ours to a value or an exception.

use super::{Exception, Exit};

/// Errors that [`OrRaise`] knows how to raise.
#[allow(unnameable_types, reason = "the errors of this crate alone")]
pub trait Raise: Sized {
    /// Unwinds with what the error stands for.
    fn raise(self) -> !;
}

/// Takes the value out of a result of this crate, or raises its error.
///
/// An error that carries an exception raises that exception, the same object; one that carries a panic or an exit
/// unwinds on with it; any other is raised itself, without the value that came back in it. It is implemented for the
/// results of this crate alone: for others, `.unwrap_or_else(|e| raise(e))`.
///
/// # Examples
/// ```
/// use osier::generator::ResumeError;
/// use osier::{Generator, OrRaise, Yielder, catch};
///
/// let mut g = Generator::new(|_: &Yielder<(), u32>| ());
/// let error = catch(|| g.send(1).or_raise()).unwrap_err();
/// assert!(matches!(error.downcast_ref(), Some(ResumeError::NotStarted(()))));
/// ```
pub trait OrRaise: sealed::Sealed {
    /// What it is when there is no error.
    type Ok;

    /// Gives the value, or raises the error.
    ///
    /// # Panics
    /// Outside every coroutine and every `catch`, with the error's text.
    fn or_raise(self) -> Self::Ok;
}

impl<T, E: Raise> OrRaise for Result<T, E> {
    type Ok = T;

    #[inline]
    #[track_caller]
    fn or_raise(self) -> T {
        match self {
            Ok(value) => value,
            Err(error) => error.raise(),
        }
    }
}

mod sealed {
    #[allow(unnameable_types, reason = "nobody else implements `OrRaise`")]
    pub trait Sealed {}
    impl<T, E: super::Raise> Sealed for Result<T, E> {}
}

/// Errors that are raised themselves: those that hold nothing of users'.
macro_rules! raised_itself {
    ($($error:ty),+) => {$(
        impl $crate::exception::Raise for $error {
            #[track_caller]
            fn raise(self) -> ! {
                $crate::exception::raise(self)
            }
        }
    )+};
}
pub(crate) use raised_itself;

raised_itself!(Exception);

impl Raise for Exit {
    fn raise(self) -> ! {
        self.resume()
    }
}
