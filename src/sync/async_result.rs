//! Results that come later: a value or an exception, for any number of getters.

use std::cell::UnsafeCell;
use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use super::event::RawEvent;
use super::raw_mutex::RawMutex;
use super::waiting::lock;
use crate::coroutine::{region, unwind};
use crate::exception::{Exception, Report, report};
use crate::task::{Builder, JoinError, Link, Order, SpawnError, Unlink};

/// A value or an exception that is set once, and that any number of tasks and threads wait for: gevent's `AsyncResult`.
///
/// A handle: clones are the same result. Each getter gets a clone of the value; an exception is the same object for all.
///
/// # Examples
/// ```
/// use osier::sync::AsyncResult;
///
/// let answer = AsyncResult::new();
/// let asker = osier::spawn({
///     let answer = answer.clone();
///     move || answer.get().unwrap() + 1
/// });
/// answer.set(41).unwrap();
/// assert_eq!(asker.join().unwrap(), 42);
/// assert_eq!(answer.set(1), Err(1), "it is set once");
/// ```
///
/// What is not `Send` stays on its thread:
/// ```compile_fail
/// let result = osier::sync::AsyncResult::<std::rc::Rc<u8>>::new();
/// osier::spawn(move || result.wait());
/// ```
pub struct AsyncResult<T> {
    inner: Arc<Inner<T>>,
}

struct Inner<T> {
    /// Whether somebody sets it, or has.
    claimed: AtomicBool,
    /// Set when the result is there.
    ready: RawEvent,
    /// Guards the result once it is there. Tasks wait for it: the `Clone` of a value runs under it.
    lock: RawMutex,
    /// Written by whoever claimed, before `ready`; afterwards under the lock. Empty once taken.
    result: UnsafeCell<Option<Result<T, JoinError>>>,
    links: Mutex<Links<T>>,
    /// The job's name, if it is the result of one: a failure that nobody has looked at is to be reported.
    job: Option<&'static str>,
    /// Whether the job has begun, or was taken back: who sets it first decides.
    has_begun: AtomicBool,
    /// Whether somebody has looked at the result.
    is_seen: AtomicBool,
}

/// Closures to be started when the result is there.
struct Links<T> {
    /// By number, in the order in which they were made.
    waiting: Vec<(u64, Start<T>)>,
    made: u64,
    /// Whether the setter has been here: later ones are started at once.
    are_started: bool,
}

/// Starts a link in a task of its own. It is given the result, for to keep it there would be a circle. What comes back was
/// refused by a runtime that shuts down.
type Start<T> = Box<dyn FnOnce(AsyncResult<T>) -> Option<Body> + Send>;

/// What the task of a link runs.
type Body = Box<dyn FnOnce() + Send>;

// SAFETY: the result is touched by its setter alone until it is ready, and then under the lock: so a `&Inner` moves a
// `T` between threads, but never shares it.
unsafe impl<T: Send> Send for Inner<T> {}
// SAFETY: as above.
unsafe impl<T: Send> Sync for Inner<T> {}

impl<T> Drop for Inner<T> {
    fn drop(&mut self) {
        if let Some(name) = self.job
            && !*self.is_seen.get_mut()
            && let Some(Err(error)) = self.result.get_mut()
            && !error.is_cancelled()
        {
            report(&Report::Unjoined { name, error });
        }
    }
}

impl<T> AsyncResult<T> {
    /// Makes one that is not set.
    pub fn new() -> Self {
        Self::named(None)
    }

    /// Makes one whose failure is reported if nobody looks at it.
    pub(crate) fn of_job(name: &'static str) -> Self {
        Self::named(Some(name))
    }

    fn named(job: Option<&'static str>) -> Self {
        let inner = Inner {
            claimed: AtomicBool::new(false),
            ready: RawEvent::default(),
            lock: RawMutex::new(),
            result: UnsafeCell::new(None),
            links: Mutex::new(Links { waiting: Vec::new(), made: 0, are_started: false }),
            job,
            has_begun: AtomicBool::new(false),
            is_seen: AtomicBool::new(false),
        };
        Self { inner: Arc::new(inner) }
    }

    /// Sets the value; whoever waits goes on.
    ///
    /// # Errors
    /// It was set before; the value comes back.
    pub fn set(&self, value: T) -> Result<(), T> {
        self.complete(Ok(value)).map_err(|refused| refused.unwrap_or_else(|_| unreachable!("a value was given")))
    }

    /// Sets an exception, which every getter gets as a [`JoinError`].
    ///
    /// # Errors
    /// It was set before; the exception comes back.
    pub fn set_exception(&self, e: impl Into<Exception>) -> Result<(), Exception> {
        let exception = e.into();
        self.complete(Err(JoinError::raised(exception.clone()))).map_err(|_| exception)
    }

    /// Sets what a task ended with.
    pub(crate) fn complete(&self, result: Result<T, JoinError>) -> Result<(), Result<T, JoinError>> {
        // Relaxed: what is written is published by `ready`.
        if self.inner.claimed.swap(true, Ordering::Relaxed) {
            return Err(result);
        }
        // SAFETY: it was claimed by this call, and it is not ready, so nobody else touches the result.
        unsafe { *self.inner.result.get() = Some(result) };
        let links = {
            let mut links = lock(&self.inner.links);
            links.are_started = true;
            std::mem::take(&mut links.waiting)
        };
        // Before those who wait are woken, so that the links stand in line before them.
        let refused: Vec<_> = links.into_iter().filter_map(|(_, start)| start(self.clone())).collect();
        self.inner.ready.set();
        refused.into_iter().for_each(run_here);
        Ok(())
    }

    /// Takes back a job of an [executor](crate::pool::Executor) that has not begun: it never runs, and its result is
    /// [cancelled](JoinError::is_cancelled). True if it was; false if it runs, has run or was taken back before, and for what is
    /// no executor's. Does not wait. The closure and its argument are dropped when its turn comes.
    ///
    /// # Examples
    /// ```
    /// use osier::{pool::Coroutines, sync::Event};
    ///
    /// Coroutines::with(1, |ex| {
    ///     let go_on = Event::new();
    ///     let first = ex.submit(|event: Event| event.wait(), go_on.clone());
    ///     let second = ex.submit(|n: u32| n, 1);
    ///     assert!(second.cancel() && !second.cancel());
    ///     go_on.set();
    ///     assert!(first.get().is_ok() && !first.cancel());
    ///     assert!(second.get().unwrap_err().is_cancelled());
    /// });
    /// ```
    pub fn cancel(&self) -> bool {
        self.inner.job.is_some() && self.begin() && self.complete(Err(JoinError::cancelled())).is_ok()
    }

    /// Says that its job begins. False if that was said before, or it was taken back.
    pub(crate) fn begin(&self) -> bool {
        // Relaxed: only who is the first is asked for.
        !self.inner.has_begun.swap(true, Ordering::Relaxed)
    }

    /// Whether it was set.
    pub fn is_ready(&self) -> bool {
        self.inner.ready.is_set()
    }

    /// Waits until it is set, whatever with.
    ///
    /// # Suspends
    /// The calling task, or on a plain thread the thread.
    ///
    /// # Cancel safety
    /// A cancelled task unwinds from here, unless it was set first.
    pub fn wait(&self) {
        self.inner.ready.wait(None);
    }

    /// Waits until it is set, for at most `timeout`. Whether it was.
    ///
    /// # Suspends
    /// As [`AsyncResult::wait`].
    ///
    /// # Cancel safety
    /// As [`AsyncResult::wait`].
    pub fn wait_timeout(&self, timeout: Duration) -> bool {
        self.inner.ready.wait_timeout(timeout)
    }

    /// Waits until it is set, or until `deadline`. Whether it was.
    ///
    /// # Suspends
    /// As [`AsyncResult::wait`].
    ///
    /// # Cancel safety
    /// As [`AsyncResult::wait`].
    pub fn wait_deadline(&self, deadline: Instant) -> bool {
        self.inner.ready.wait(Some(deadline))
    }

    /// Waits for the value and returns a clone of it.
    ///
    /// # Suspends
    /// As [`AsyncResult::wait`]; also while another getter clones the value, if that waits.
    ///
    /// # Cancel safety
    /// As [`AsyncResult::wait`]; the value stays.
    ///
    /// # Errors
    /// An exception was set; the task behind it panicked or was cancelled; somebody has taken the value.
    pub fn get(&self) -> Result<T, JoinError>
    where
        T: Clone,
    {
        self.wait();
        self.with(|result| result.clone().unwrap_or_else(|| Err(JoinError::taken())))
    }

    /// Waits for the value for at most `timeout`, and returns a clone of it. With no time at all it does not wait.
    ///
    /// # Suspends
    /// As [`AsyncResult::get`].
    ///
    /// # Cancel safety
    /// As [`AsyncResult::get`].
    ///
    /// # Errors
    /// As [`AsyncResult::get`]; or the time is up: [`JoinError::is_timeout`].
    pub fn get_timeout(&self, timeout: Duration) -> Result<T, JoinError>
    where
        T: Clone,
    {
        if self.wait_timeout(timeout) { self.get() } else { Err(JoinError::timeout()) }
    }

    /// Waits for the value until `deadline`, and returns a clone of it.
    ///
    /// # Suspends
    /// As [`AsyncResult::get`].
    ///
    /// # Cancel safety
    /// As [`AsyncResult::get`].
    ///
    /// # Errors
    /// As [`AsyncResult::get_timeout`].
    pub fn get_deadline(&self, deadline: Instant) -> Result<T, JoinError>
    where
        T: Clone,
    {
        if self.wait_deadline(deadline) { self.get() } else { Err(JoinError::timeout()) }
    }

    /// Returns a clone of the value, if it is there: gevent's `get_nowait`.
    ///
    /// # Suspends
    /// While another getter clones the value, if that waits.
    ///
    /// # Cancel safety
    /// A task that is cancelled while it waits unwinds from here; the value stays.
    ///
    /// # Errors
    /// As [`AsyncResult::get`]; or it was not set: [`JoinError::is_timeout`].
    pub fn try_get(&self) -> Result<T, JoinError>
    where
        T: Clone,
    {
        if self.is_ready() { self.get() } else { Err(JoinError::timeout()) }
    }

    /// Takes the result, without cloning it, if it is there and nobody has taken it. Those who get it later get an error.
    ///
    /// # Suspends
    /// While a getter clones the value, if that waits.
    ///
    /// # Cancel safety
    /// A task that is cancelled while it waits unwinds from here, and has not taken it.
    ///
    /// # Examples
    /// ```
    /// use osier::sync::AsyncResult;
    ///
    /// let result = AsyncResult::new();
    /// assert!(result.take().is_none());
    /// result.set(String::from("moved")).unwrap();
    /// assert_eq!(result.take().unwrap().unwrap(), "moved");
    /// assert!(result.take().is_none() && result.is_ready() && result.get().is_err());
    /// ```
    pub fn take(&self) -> Option<Result<T, JoinError>> {
        if self.is_ready() { self.with(Option::take) } else { None }
    }

    /// Runs `f` once in a new task when it is set, with a clone of the result; at once if it is set: gevent's `rawlink`.
    ///
    /// Links are started in the order in which they were made, before those go on who wait for the result. A link that fails
    /// is [reported](crate::Report::LinkFailed). To link the end of a task there is [`JoinHandle::link`].
    ///
    /// [`JoinHandle::link`]: crate::JoinHandle::link
    ///
    /// # Examples
    /// ```
    /// use osier::sync::{AsyncResult, channel};
    ///
    /// let (says, heard) = channel::unbounded();
    /// let answer = AsyncResult::new();
    /// answer.link(move |result| says.send(*result.as_ref().unwrap()).unwrap());
    /// answer.set(42).unwrap();
    /// assert_eq!(heard.recv(), Ok(42));
    /// ```
    pub fn link(&self, f: impl FnOnce(&Result<T, JoinError>) + Send + 'static) -> Link
    where
        T: Clone + Send + 'static,
    {
        let number = self.enter(Box::new(move |result| start_link(move || f(&result.get()))));
        Link::elsewhere(Arc::new(LinkOfResult { result: self.clone(), number }))
    }

    /// Gives the result to `f` as it is being set, by whoever sets it: it must not wait. At once if it is set.
    pub(crate) fn hand_over(&self, f: impl FnOnce(Self) + Send + 'static) {
        self.enter(Box::new(move |result| {
            f(result);
            None
        }));
    }

    /// Enters what is to be started, or starts it; gives its number.
    fn enter(&self, start: Start<T>) -> u64 {
        let mut links = lock(&self.inner.links);
        let number = links.made;
        links.made += 1;
        if links.are_started {
            drop(links);
            start(self.clone()).into_iter().for_each(run_here);
        } else {
            links.waiting.push((number, start));
        }
        number
    }

    /// Lends the result, which is there.
    fn with<R>(&self, f: impl FnOnce(&mut Option<Result<T, JoinError>>) -> R) -> R {
        struct Unlock<'a>(&'a RawMutex);
        impl Drop for Unlock<'_> {
            fn drop(&mut self) {
                // SAFETY: it was locked right before this guard was made.
                unsafe { self.0.unlock() };
            }
        }
        debug_assert!(self.is_ready());
        // Relaxed: read by whoever drops the last handle, after all others were dropped.
        self.inner.is_seen.store(true, Ordering::Relaxed);
        _ = self.inner.lock.lock_until(None);
        let _unlock = Unlock(&self.inner.lock);
        // SAFETY: it is ready, and the lock is held.
        f(unsafe { &mut *self.inner.result.get() })
    }

    /// What waits and wakes, for `wait` over several objects.
    pub(crate) fn ready(&self) -> &RawEvent {
        &self.inner.ready
    }
}

/// Runs a link in a task of its own, unless that is refused.
fn start_link(f: impl FnOnce() + Send + 'static) -> Option<Body> {
    let body: Body = Box::new(move || {
        if let Err(error) = unwind::intercept(f).map_err(JoinError::from_payload)
            && !error.is_cancelled()
        {
            report(&Report::LinkFailed { name: "that sets a result", error: &error });
        }
    });
    Builder::new().name("link of a result").spawn_order(Order::Fifo).try_spawn(body).err().map(SpawnError::into_inner)
}

/// Runs a link that was refused a task. Who sets a result does not wait, so a link that wants to fails.
fn run_here(body: Body) {
    region::no_suspend(body);
}

/// The place of a link that has not been started.
struct LinkOfResult<T> {
    result: AsyncResult<T>,
    number: u64,
}

impl<T: Send> Unlink for LinkOfResult<T> {
    fn unlink(&self) -> bool {
        let mut links = lock(&self.result.inner.links);
        let place = links.waiting.iter().position(|&(number, _)| number == self.number);
        let unlinked = place.map(|place| links.waiting.remove(place));
        drop(links);
        unlinked.is_some()
    }
}

impl<T> Clone for AsyncResult<T> {
    fn clone(&self) -> Self {
        Self { inner: self.inner.clone() }
    }
}

impl<T> Default for AsyncResult<T> {
    fn default() -> Self {
        Self::new()
    }
}

impl<T> fmt::Debug for AsyncResult<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AsyncResult").field("ready", &self.is_ready()).finish()
    }
}
