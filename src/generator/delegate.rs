//! Delegation: Python's `yield from`.

use std::backtrace::Backtrace;

use super::yielder::{Asked, with_innermost};
use super::{Generator, ResumeError, Shared, Step, Yielder};
use crate::coroutine::{region, unwind};
use crate::exception::{Exception, Raise};

/// What can be resumed as a generator: the four calls.
///
/// [`Yielder::yield_from`] takes any of them: a [`Generator`], its [`Shared`] form, or a type of your own.
///
/// # Examples
/// A delegate that is no coroutine:
/// ```
/// use osier::generator::{Resume, ResumeError};
/// use osier::{Exception, Generator, Step, Yielder};
///
/// /// Yields what is sent to it, doubled, until that is 0.
/// struct Doubler;
///
/// impl Resume<u32> for Doubler {
///     type Out = u32;
///     type Ret = &'static str;
///
///     fn start(&mut self) -> Result<Step<u32, &'static str>, ResumeError<u32>> {
///         Ok(Step::Yielded(0))
///     }
///     fn send(&mut self, value: u32) -> Result<Step<u32, &'static str>, ResumeError<u32>> {
///         Ok(if value == 0 { Step::Returned("done") } else { Step::Yielded(2 * value) })
///     }
///     fn throw(&mut self, exception: Exception) -> Result<Step<u32, &'static str>, ResumeError<u32>> {
///         Err(ResumeError::Raised(exception))
///     }
///     fn close(&mut self) -> Result<Option<&'static str>, ResumeError<u32>> {
///         Ok(None)
///     }
/// }
///
/// let mut g = Generator::new(|y: &Yielder<u32, u32>| y.yield_from(&mut Doubler)).primed();
/// assert_eq!(g.send(21)?, Step::Yielded(42));
/// assert_eq!(g.send(0)?, Step::Returned("done"));
/// # Ok::<(), ResumeError<u32>>(())
/// ```
pub trait Resume<In> {
    /// What it yields.
    type Out;
    /// What it returns in the end.
    type Ret;

    /// Runs to the first yield; see [`Generator::start`].
    ///
    /// # Errors
    /// As [`Generator::start`].
    fn start(&mut self) -> Result<Step<Self::Out, Self::Ret>, ResumeError<In>>;

    /// Goes on with a value; see [`Generator::send`].
    ///
    /// # Errors
    /// As [`Generator::send`].
    fn send(&mut self, value: In) -> Result<Step<Self::Out, Self::Ret>, ResumeError<In>>;

    /// Starts it if `send` says that it is [new](ResumeError::NotStarted), else goes on; see [`Generator::resume`].
    ///
    /// # Errors
    /// As [`Generator::resume`].
    fn resume(&mut self, value: In) -> Result<Step<Self::Out, Self::Ret>, ResumeError<In>> {
        match self.send(value) {
            Err(ResumeError::NotStarted(value)) => {
                drop(value);
                self.start()
            }
            step => step,
        }
    }

    /// Goes on with an exception; see [`Generator::throw`].
    ///
    /// # Errors
    /// As [`Generator::throw`].
    fn throw(&mut self, exception: Exception) -> Result<Step<Self::Out, Self::Ret>, ResumeError<In>>;

    /// Asks it to end; see [`Generator::close`].
    ///
    /// # Errors
    /// As [`Generator::close`].
    fn close(&mut self) -> Result<Option<Self::Ret>, ResumeError<In>>;

    /// What [`Generator::delegate`] calls it: its type, unless it has a name.
    fn name(&self) -> &str {
        std::any::type_name::<Self>()
    }

    /// The stack that it is suspended on; see [`Generator::backtrace`]. `None` if it has none. Asked by way of a generator
    /// that it stands in for, it must not suspend that one: it runs within [`no_suspend`](crate::no_suspend), and its panic
    /// counts as `None`.
    fn backtrace(&mut self) -> Option<Backtrace> {
        None
    }
}

/// Pointers to what can be resumed.
macro_rules! resume_through {
    ($($pointer:ty),+) => {$(
        impl<In, G: Resume<In> + ?Sized> Resume<In> for $pointer {
            type Out = G::Out;
            type Ret = G::Ret;

            fn start(&mut self) -> Result<Step<G::Out, G::Ret>, ResumeError<In>> {
                (**self).start()
            }

            fn send(&mut self, value: In) -> Result<Step<G::Out, G::Ret>, ResumeError<In>> {
                (**self).send(value)
            }

            fn resume(&mut self, value: In) -> Result<Step<G::Out, G::Ret>, ResumeError<In>> {
                (**self).resume(value)
            }

            fn throw(&mut self, exception: Exception) -> Result<Step<G::Out, G::Ret>, ResumeError<In>> {
                (**self).throw(exception)
            }

            fn close(&mut self) -> Result<Option<G::Ret>, ResumeError<In>> {
                (**self).close()
            }

            fn name(&self) -> &str {
                (**self).name()
            }

            fn backtrace(&mut self) -> Option<Backtrace> {
                (**self).backtrace()
            }
        }
    )+};
}

resume_through!(&mut G, Box<G>);

impl<Out, In: 'static> Yielder<Out, In> {
    /// Starts `fresh` and lets it stand in for this generator until it returns: what it yields is yielded, what is sent
    /// or thrown in goes to it. Gives what it returned.
    ///
    /// When this generator is closed, `fresh` is closed first, whatever it answers; then this call unwinds. An exception
    /// that leaves `fresh` is raised here.
    ///
    /// # Suspends
    /// As [`yield_`](Self::yield_).
    ///
    /// # Panics
    /// As `yield_`. What `fresh` refuses is raised as a [`ResumeError<()>`](ResumeError): not fresh, executing already,
    /// no stack to be had, or that it ignored a close; and that it has finished, if another of its holders has closed it
    /// or has got its value meanwhile.
    ///
    /// # Examples
    /// ```
    /// use osier::{Generator, Step, Yielder};
    ///
    /// fn averager(y: &Yielder<(), Option<f64>>) -> f64 {
    ///     let (mut total, mut count) = (0.0, 0.0);
    ///     while let Some(value) = y.yield_(()) {
    ///         total += value;
    ///         count += 1.0;
    ///     }
    ///     total / count
    /// }
    ///
    /// let mut report = Generator::new(|y: &Yielder<(), Option<f64>>| {
    ///     let girls = y.yield_from(&mut Generator::new(averager));
    ///     let boys = y.yield_from(&mut Generator::new(averager));
    ///     format!("girls {girls:.1}, boys {boys:.1}")
    /// })
    /// .primed();
    /// for value in [40.0, 44.0] {
    ///     report.send(Some(value))?;
    /// }
    /// report.send(None)?;
    /// report.send(Some(38.5))?;
    /// assert_eq!(report.send(None)?, Step::Returned("girls 42.0, boys 38.5".to_owned()));
    /// # Ok::<(), osier::generator::ResumeError<Option<f64>>>(())
    /// ```
    pub fn yield_from<G: Resume<In, Out = Out> + ?Sized>(&self, fresh: &mut G) -> G::Ret {
        let first = fresh.start();
        value_of(delegate(self, first, fresh))
    }

    /// Goes on with a generator that was started before, as [`yield_from`](Self::yield_from) does with a fresh one:
    /// `first` is sent to it. `None` if it had finished, or if another of its holders has finished it meanwhile.
    ///
    /// # Suspends
    /// As [`yield_`](Self::yield_).
    ///
    /// # Panics
    /// As `yield_from`.
    ///
    /// # Examples
    /// ```
    /// use osier::{Generator, Yielder};
    ///
    /// let mut rest = Generator::new(|y: &Yielder<u32>| (1..5).for_each(|n| y.yield_(n)));
    /// assert_eq!(rest.next(), Some(1));
    /// let g = Generator::new(move |y: &Yielder<u32>| {
    ///     assert_eq!(y.resume_from((), &mut rest), Some(()));
    ///     assert_eq!(y.resume_from((), &mut rest), None);
    /// });
    /// assert_eq!(g.collect::<Vec<_>>(), [2, 3, 4]);
    /// ```
    pub fn resume_from<G: Resume<In, Out = Out> + ?Sized>(&self, first: In, started: &mut G) -> Option<G::Ret> {
        let step = started.send(first);
        delegate(self, step, started)
    }

    /// Lets a generator stand in that may be new, started or finished: Python's `yield from`, of whatever there is. A new one
    /// is started, and `first` is dropped; to one that was started `first` is sent, as in [`resume_from`](Self::resume_from).
    /// `None` if it had finished, or if another of its holders has finished it meanwhile.
    ///
    /// # Suspends
    /// As [`yield_`](Self::yield_).
    ///
    /// # Panics
    /// As `yield_from`.
    ///
    /// # Examples
    /// ```
    /// use osier::{Generator, Yielder};
    ///
    /// fn count(y: &Yielder<u32>) -> &'static str {
    ///     y.yield_all(1..=3);
    ///     "done"
    /// }
    /// for taken in 0..=4 {
    ///     let mut counts = Generator::new(count);
    ///     (0..taken).for_each(|_| _ = counts.next());
    ///     let mut rest = Generator::new(move |y: &Yielder<u32>| y.yield_from_any((), &mut counts));
    ///     assert!(rest.by_ref().eq(taken + 1..=3));
    ///     assert_eq!(rest.take_return().unwrap(), (taken < 4).then_some("done"));
    /// }
    /// ```
    pub fn yield_from_any<G: Resume<In, Out = Out> + ?Sized>(&self, first: In, any: &mut G) -> Option<G::Ret> {
        let step = any.resume(first);
        delegate(self, step, any)
    }
}

/// Starts `fresh` and lets it stand in for the innermost running generator that yields an `Out` and takes an `In`, as
/// [`Yielder::yield_from`] does: for code deep in calls that was not given the yielder. See [`yield_`](super::yield_).
///
/// # Suspends
/// That generator, and everything that runs on top of it, as `Yielder::yield_` does.
///
/// # Panics
/// As `Yielder::yield_from`. If no such generator is on the running chain.
///
/// # Examples
/// ```
/// use osier::{Generator, Yielder, generator::yield_from};
///
/// fn countdown(y: &Yielder<u32>, from: u32) -> &'static str {
///     y.yield_all((1..=from).rev());
///     "lift-off"
/// }
/// fn launch() -> &'static str {
///     yield_from(&mut Generator::new(|y: &Yielder<u32>| countdown(y, 3)))
/// }
///
/// let mut g = Generator::new(|_: &Yielder<u32>| launch());
/// assert_eq!(g.by_ref().collect::<Vec<_>>(), [3, 2, 1]);
/// assert_eq!(g.take_return(), Some("lift-off"));
/// ```
pub fn yield_from<Out, In, G>(fresh: &mut G) -> G::Ret
where
    Out: 'static,
    In: 'static,
    G: Resume<In, Out = Out> + ?Sized,
{
    let first = fresh.start();
    value_of(delegate(&Innermost, first, fresh))
}

/// The generator that somebody stands in for. Asked for at each of its suspensions, for what stands in may be left with
/// another one running.
trait Place<Out, In: 'static> {
    fn with<T>(&self, f: impl FnOnce(&Yielder<Out, In>) -> T) -> T;
}

impl<Out, In: 'static> Place<Out, In> for Yielder<Out, In> {
    fn with<T>(&self, f: impl FnOnce(&Self) -> T) -> T {
        f(self)
    }
}

/// The one that the free functions find.
struct Innermost;

impl<Out: 'static, In: 'static> Place<Out, In> for Innermost {
    fn with<T>(&self, f: impl FnOnce(&Yielder<Out, In>) -> T) -> T {
        with_innermost(f)
    }
}

/// What `yield_from` promises: there is none of a delegate that somebody else has finished.
fn value_of<Ret>(returned: Option<Ret>) -> Ret {
    returned.unwrap_or_else(|| ResumeError::Finished(()).raise())
}

/// Lets `inner` stand in, beginning with its first `step`, until it returns; `None` if it is found finished, as in Python,
/// where the `next` of one that has finished raises an empty `StopIteration`.
fn delegate<Out, In: 'static, G: Resume<In, Out = Out> + ?Sized>(
    place: &impl Place<Out, In>,
    mut step: Result<Step<Out, G::Ret>, ResumeError<In>>,
    inner: &mut G,
) -> Option<G::Ret> {
    loop {
        let out = match step {
            Ok(Step::Yielded(out)) => out,
            Ok(Step::Returned(ret)) => return Some(ret),
            Err(ResumeError::Finished(_) | ResumeError::AlreadyFinished) => return None,
            Err(error) => error.raise(),
        };
        let mut asked = place.with(|y| y.exchange_for(out, &|| inner.name()));
        step = loop {
            break match asked {
                Asked::GoOn(value) => inner.send(value),
                Asked::Raise(exception) => inner.throw(exception),
                Asked::Close => {
                    // Made here, for the one that was asked.
                    let leaving = place.with(Yielder::closing);
                    match inner.close() {
                        // As in Python, what it returned is lost: this generator was asked to end, and ends.
                        Ok(_) => leaving.throw(),
                        Err(error) => error.raise(),
                    }
                }
                Asked::Trace => {
                    // Resumed from here, it shows this generator's stack below its own.
                    let stack = backtrace_of(inner).unwrap_or_else(Backtrace::force_capture);
                    asked = place.with(|y| y.wait_on_for(stack, &|| inner.name()));
                    continue;
                }
            };
        };
    }
}

/// The stack of what stands in. It may be users' code that tells it, and whoever asked waits for nothing but that: so it
/// cannot suspend, and what unwinds out of it ends here.
#[cold]
fn backtrace_of<In, G: Resume<In> + ?Sized>(inner: &mut G) -> Option<Backtrace> {
    match unwind::intercept(|| region::no_suspend(|| inner.backtrace())) {
        Ok(stack) => stack,
        Err(payload) => {
            unwind::drop_quietly(payload);
            None
        }
    }
}

impl<Out, In: 'static, Ret> Resume<In> for Generator<Out, In, Ret> {
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

impl<Out, In: 'static, Ret> Resume<In> for Shared<Out, In, Ret> {
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
