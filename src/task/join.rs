//! Join handles: a task's value, or why there is none.

use std::any::Any;
use std::fmt;
use std::marker::PhantomData;
use std::mem::ManuallyDrop;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use super::budget::spend;
use super::error::JoinError;
use super::handle::Task;
use super::link::Link;
use super::polled::Polled;
use super::raw::{RawTask, TaskRef};
use super::sleeper::Woken;
use super::wait_queue::Waiter;
use crate::coroutine::current;
use crate::exception::{Exception, Report, report};
use crate::runtime::Worker;
use crate::sync::AsyncResult;

/// The right to a task's result. Dropping it detaches the task, which runs on.
///
/// A handle is `Send` and may be joined from anywhere: from another task, from a task of another runtime, from a plain
/// thread. If nobody joins a task that panics or is left by an exception, that is [reported](crate::set_report_hook).
///
/// `P` says where the handle may go: anywhere, unless it is a scope's.
///
/// # Examples
/// ```
/// let sum = osier::run(|| {
///     let handles: Vec<_> = (0..10).map(|n| osier::spawn(move || n * n)).collect();
///     handles.into_iter().map(|h| h.join().unwrap()).sum::<i32>()
/// });
/// assert_eq!(sum, 285);
/// ```
pub struct JoinHandle<T, P = Anywhere> {
    task: TaskRef,
    /// Whoever polls the handle as a future waits for the task by this.
    polled: Polled,
    _value: PhantomData<fn() -> T>,
    _place: PhantomData<P>,
}

/// Marks handles that may go to any thread.
#[derive(Debug)]
pub struct Anywhere(());

/// Marks handles that stay on the thread of the worker that made them: see [`LocalHandle`].
#[derive(Debug)]
pub struct ThisThread(PhantomData<*mut ()>);

/// The handle of a task that was made by [`spawn_local`](super::spawn_local): a [`JoinHandle`] that stays on its thread.
///
/// ```compile_fail
/// fn check<T: Send>() {}
/// check::<osier::task::LocalHandle<u32>>();
/// ```
pub type LocalHandle<T> = JoinHandle<T, ThisThread>;

// SAFETY: the handle moves a `T` out of the task, to whatever thread it is on; `P` says whether it may leave its own.
unsafe impl<T: Send, P: Send> Send for JoinHandle<T, P> {}
// SAFETY: through `&JoinHandle` nothing of the `T` is reached, except by links, which ask for more.
unsafe impl<T: Send, P: Send> Sync for JoinHandle<T, P> {}

impl<T, P> JoinHandle<T, P> {
    /// Makes the handle of a task that was made with the result type `T`.
    pub(crate) fn new(task: TaskRef) -> Self {
        Self { task, polled: Polled::new(), _value: PhantomData, _place: PhantomData }
    }

    /// The same handle, marked otherwise.
    pub(super) fn retype<Q>(self) -> JoinHandle<T, Q> {
        let this = ManuallyDrop::new(self);
        // SAFETY: read once, out of a handle that is not dropped.
        JoinHandle::new(unsafe { std::ptr::read(&raw const this.task) })
    }

    pub(crate) fn raw(&self) -> RawTask {
        self.task.raw()
    }

    /// The task itself, whatever its value: for those who only watch it or end it.
    ///
    /// # Examples
    /// ```
    /// osier::run(|| {
    ///     let handle = osier::spawn(|| 42);
    ///     let task = handle.task();
    ///     assert_eq!(handle.join().unwrap(), 42);
    ///     assert!(task.is_finished());
    /// });
    /// ```
    pub fn task(&self) -> Task {
        Task::new(self.task.clone())
    }

    /// Waits for the task to end and returns its value.
    ///
    /// A task that is still fresh, and is the next one that this worker would start, runs right here, on a stack of
    /// its own. So a loop that spawns a task and joins it at once runs one after the other: spawn several, then join them.
    /// A task that joins itself waits for ever.
    ///
    /// # Suspends
    /// The calling task, until the joined one has ended and its links have returned; on a plain thread, the thread.
    ///
    /// # Cancel safety
    /// A cancelled caller unwinds from here, and the joined task runs on, detached.
    ///
    /// # Errors
    /// The task panicked, was cancelled, was left by an exception, or could not get a stack.
    ///
    /// # Panics
    /// Inside [`no_suspend`](crate::no_suspend), if the task has not ended.
    pub fn join(self) -> Result<T, JoinError> {
        spend();
        let task = self.raw();
        if !self.is_finished() && !Worker::join_in_place(task) && task.wait_for_end(None) == Woken::Elapsed {
            return Err(JoinError::of_a_join_that_ended_early());
        }
        if task.header().end.is_linked() {
            task.wait_for_links(None);
        }
        self.into_result()
    }

    /// Waits as [`join`](Self::join) does, for at most `d`. The handle stays: it may be joined again if the time has
    /// passed, and a task that is not finished runs on.
    ///
    /// # Suspends
    /// As [`join`](Self::join). Not at all if `d` is zero.
    ///
    /// # Cancel safety
    /// Nothing is lost: the handle still has the result.
    ///
    /// # Errors
    /// As [`join`](Self::join); with an error that [is a timeout](JoinError::is_timeout) if the time has passed; and
    /// if the result was taken before.
    ///
    /// # Examples
    /// ```
    /// use std::time::Duration;
    ///
    /// osier::run(|| {
    ///     let mut sleeper = osier::spawn(|| osier::sleep(Duration::from_millis(20)));
    ///     assert!(sleeper.join_timeout(Duration::ZERO).unwrap_err().is_timeout());
    ///     sleeper.join_timeout(Duration::from_secs(60)).unwrap();
    /// });
    /// ```
    pub fn join_timeout(&mut self, d: Duration) -> Result<T, JoinError> {
        match d.is_zero() {
            true if !self.is_finished() => return Err(JoinError::timeout()),
            true => {}
            false => spend(),
        }
        self.join_until(current::now().checked_add(d))
    }

    /// Waits as [`join_timeout`](Self::join_timeout) does, until `deadline`.
    ///
    /// # Suspends
    /// As [`join`](Self::join).
    ///
    /// # Cancel safety
    /// Nothing is lost: the handle still has the result.
    ///
    /// # Errors
    /// As [`join_timeout`](Self::join_timeout).
    pub fn join_deadline(&mut self, deadline: Instant) -> Result<T, JoinError> {
        spend();
        self.join_until(Some(deadline))
    }

    fn join_until(&mut self, deadline: Option<Instant>) -> Result<T, JoinError> {
        let task = self.raw();
        if !self.is_finished() && task.wait_for_end(deadline) == Woken::Elapsed {
            return Err(JoinError::of_a_join_that_ended_early());
        }
        if task.header().end.is_linked() && task.wait_for_links(deadline) == Woken::Elapsed {
            return Err(JoinError::timeout());
        }
        self.take_result()
    }

    /// Waits as `join` does, but neither unwinds when the caller is cancelled nor leaves the task behind: the task is
    /// cancelled instead, and waited for.
    pub(crate) fn join_through_cancel(self) -> Result<T, JoinError> {
        let task = self.raw();
        if !self.is_finished() {
            let waiter = Waiter::new();
            // SAFETY: the waiter is new, and stays here until it was notified.
            if unsafe { task.watch(&raw const waiter) } {
                waiter.wait_through_cancel(|| task.cancel(), || task.unwatch(&waiter));
            }
        }
        self.into_result()
    }

    /// Takes the result of a task that is settled, and disposes of the handle.
    #[inline]
    fn into_result(mut self) -> Result<T, JoinError> {
        self.leave();
        let result = self.take_result();
        let this = ManuallyDrop::new(self);
        // SAFETY: read once, out of a handle that is not dropped. There is no result left to give up.
        drop(unsafe { std::ptr::read(&raw const this.task) });
        result
    }

    /// Takes the result of a task that is settled.
    #[inline]
    fn take_result(&self) -> Result<T, JoinError> {
        // SAFETY: the task has ended, no link reads, and the result is for its handle, which is this one, lent to nobody
        // who takes; `T` is its type.
        let result = unsafe { self.raw().take_result() };
        match result {
            Some(Ok(value)) => Ok(value),
            Some(Err(error)) => {
                self.raw().observe();
                Err(error)
            }
            None => Err(JoinError::taken()),
        }
    }

    /// Gives up what was polled for.
    #[inline]
    fn leave(&mut self) {
        let task = self.raw();
        self.polled.leave(|waiter| task.unwatch(waiter));
    }

    /// Whether the task has ended, so that `join` would wait for nothing but links.
    #[inline]
    pub fn is_finished(&self) -> bool {
        self.raw().header().end.is_done()
    }

    /// Asks the task to end: it unwinds from the wait it is in, or from its next one, running destructors. Does not
    /// wait for that.
    ///
    /// A task that has not started never runs; one that has ended keeps its result. Joining a cancelled task gives a
    /// [`JoinError`] that [is cancelled](JoinError::is_cancelled), unless it returned a value first.
    ///
    /// In a program that is built with `panic = "abort"` nothing unwinds: a task that has started goes on, and ends early if
    /// it asks [`is_cancelled`](super::is_cancelled), or is told so by a join.
    ///
    /// # Examples
    /// ```
    /// use std::time::Duration;
    ///
    /// osier::run(|| {
    ///     let sleeper = osier::spawn(|| osier::sleep(Duration::from_secs(3600)));
    ///     sleeper.cancel();
    ///     assert!(sleeper.join().unwrap_err().is_cancelled());
    /// });
    /// ```
    pub fn cancel(&self) {
        self.raw().cancel();
    }

    /// Raises `e` in the task, in the wait it is in or in its next one, as gevent's `kill(exception, block=False)` does.
    /// [`catch`](crate::catch) takes it, and it is used up then; else it leaves the task, and the join.
    ///
    /// A task that has not started never runs. Several are raised one after the other, each at a wait,
    /// and before a cancel, whenever that came. What is left when its body ends is [reported](crate::Report::ThrownTooLate);
    /// what comes after that is nothing.
    ///
    /// # Examples
    /// ```
    /// use osier::{catch, raise, sleep, spawn};
    /// use std::time::Duration;
    ///
    /// osier::run(|| {
    ///     let t = spawn(|| sleep(Duration::from_secs(3600)));
    ///     t.throw(std::fmt::Error);
    ///     assert!(t.join().unwrap_err().exception().unwrap().is::<std::fmt::Error>());
    /// });
    /// ```
    pub fn throw(&self, e: impl Into<Exception>) {
        self.raw().throw(e.into());
    }

    /// Cancels the task and waits until it has ended, as gevent's `kill()` does. See [`Task::kill`].
    ///
    /// # Suspends
    /// The calling task, until the other has ended; on a plain thread, the thread. In the task itself it unwinds at once.
    ///
    /// # Cancel safety
    /// The other task stays asked to end.
    pub fn kill(&self) {
        self.raw().kill(None);
    }

    /// Cancels the task and waits until it has ended, for at most `d`. True if it has.
    ///
    /// # Suspends
    /// As [`kill`](Self::kill).
    ///
    /// # Cancel safety
    /// As [`kill`](Self::kill).
    pub fn kill_timeout(&self, d: Duration) -> bool {
        self.raw().kill(Some(d))
    }

    /// The name given to the task's builder, else its closure's type.
    pub fn name(&self) -> &str {
        self.task.name()
    }

    /// The value that the task's builder [was given](super::Builder::data), if it is a `D`. Also after the task's end.
    pub fn data<D: Any + Send + Sync>(&self) -> Option<&D> {
        self.task.data()?.downcast_ref()
    }

    /// The task's number.
    pub fn id(&self) -> super::TaskId {
        super::TaskId::of(self.raw())
    }

    /// Links `f`.
    ///
    /// # Safety
    /// - `Link::new`'s demands; and `f` may look at a `&T` on whatever thread it runs.
    unsafe fn link_unchecked(&self, f: impl FnOnce(&Result<T, JoinError>)) -> Link {
        debug_assert!(!self.task.raw().header().borrows, "no handle of a task that borrows may be linked");
        let look = move |task: RawTask| {
            // SAFETY: links run after the end and before the task is settled, so nobody writes the slot; `T` is its type.
            match unsafe { task.result().cast::<Result<T, JoinError>>().as_ref() } {
                Some(result) => {
                    if result.is_err() {
                        task.observe();
                    }
                    f(result);
                }
                None => f(&Err(JoinError::taken())),
            }
        };
        // SAFETY: the caller's promise.
        unsafe { Link::new(&self.task, self.task.raw().header().is_local, look) }
    }
}

impl<T> JoinHandle<T> {
    /// Runs `f` once when the task has ended, in a new task, with what joining it would give: gevent's `link`. At once if
    /// it has ended.
    ///
    /// Links run in the order in which they were made, and before those who wait for the task go on: each until it
    /// returns or waits itself. Joining waits until all have returned. A failure in `f` is
    /// [reported](crate::Report::LinkFailed); the task's own result stays as it is. A link that gets an error counts as
    /// having received it. While the runtime shuts down, links still run.
    ///
    /// # Examples
    /// ```
    /// let (sender, receiver) = osier::sync::channel::bounded(1);
    /// let task = osier::spawn(|| 6 * 7);
    /// task.link(move |result| sender.send(*result.as_ref().unwrap()).unwrap());
    /// assert_eq!(receiver.recv(), Ok(42));
    /// ```
    pub fn link(&self, f: impl FnOnce(&Result<T, JoinError>) + Send + 'static) -> Link
    where
        T: Send + Sync,
    {
        // SAFETY: `f` is `Send` and `'static`, and `T: Sync`.
        unsafe { self.link_unchecked(f) }
    }

    /// Sets `r` to the task's result when it has ended, unless somebody set it before.
    ///
    /// # Examples
    /// ```
    /// use osier::sync::AsyncResult;
    ///
    /// let result = AsyncResult::new();
    /// let task = osier::spawn(|| 6 * 7);
    /// task.link_to(&result);
    /// assert_eq!(result.get().unwrap(), 42);
    /// ```
    pub fn link_to(&self, r: &AsyncResult<T>) -> Link
    where
        T: Clone + Send + Sync + 'static,
    {
        let r = r.clone();
        self.link(move |result| {
            // Whoever set it before wins.
            _ = r.complete(result.clone());
        })
    }
}

impl<T: 'static> LocalHandle<T> {
    /// Runs `f` once when the task has ended, in a new task on the same worker: see [`link`](JoinHandle::link) of handles
    /// that go anywhere. Nothing needs to be `Send`.
    pub fn link(&self, f: impl FnOnce(&Result<T, JoinError>) + 'static) -> Link {
        // SAFETY: `f` is `'static`; links of a local task run on its worker, whose thread is this one.
        unsafe { self.link_unchecked(f) }
    }

    /// Sets `r` to the task's result when it has ended, unless somebody set it before.
    pub fn link_to(&self, r: &AsyncResult<T>) -> Link
    where
        T: Clone,
    {
        let r = r.clone();
        self.link(move |result| {
            // Whoever set it before wins.
            _ = r.complete(result.clone());
        })
    }
}

impl<T: 'static, P> JoinHandle<T, P> {
    /// Exchanges the handle for a result that any number of getters share.
    ///
    /// What nobody gets is dropped with the last of them, without a report.
    ///
    /// # Examples
    /// ```
    /// let answer = osier::spawn(|| 6 * 7).shared();
    /// let getters: Vec<_> = (0..3).map(|_| osier::spawn({ let answer = answer.clone(); move || answer.get() })).collect();
    /// for getter in getters {
    ///     assert_eq!(getter.join().unwrap().unwrap(), 42);
    /// }
    /// ```
    pub fn shared(self) -> AsyncResult<T> {
        let shared = AsyncResult::new();
        let r = shared.clone();
        self.raw().observe();
        self.raw().set_heir(Box::new(move |task| {
            // SAFETY: an heir is given the task when its result is nobody else's; `T` is its type.
            let result = unsafe { task.take_result::<T>() };
            _ = r.complete(result.unwrap_or_else(|| Err(JoinError::taken())));
        }));
        shared
    }
}

impl<T, E: fmt::Debug, P> JoinHandle<Result<T, E>, P> {
    /// Detaches the task, and [reports](crate::Report::Unjoined) an error that it returns, as a panic would be.
    ///
    /// # Examples
    /// ```
    /// fn serve() -> std::io::Result<()> {
    ///     Err(std::io::Error::other("not today"))
    /// }
    /// osier::spawn(serve).report();
    /// ```
    pub fn report(self) {
        unsafe fn look<T, E: fmt::Debug>(task: RawTask) {
            // SAFETY: the result is in the slot and nobody writes it now; these are its types.
            let result = unsafe { task.result().cast::<Result<Result<T, E>, JoinError>>().as_ref() };
            if let Some(Ok(Err(error))) = result {
                let error = JoinError::returned(error);
                report(&Report::Unjoined { name: &task.header().name, error: &error });
            }
        }
        let look: unsafe fn(RawTask) = look::<T, E>;
        // SAFETY: an heir is given the task when its result is nobody else's.
        self.raw().set_heir(Box::new(move |task| unsafe { look(task) }));
    }
}

// Nothing in it is reached through a pinned reference: who polls it waits by a record of its own.
impl<T, P> Unpin for JoinHandle<T, P> {}

/// What [`join`](JoinHandle::join) gives, for whoever polls. Once it has been given, an error.
///
/// # Cancel safety
/// Nothing is lost when whoever awaits a `&mut JoinHandle` stops doing so: the handle still has the result. Dropping the
/// handle detaches the task.
///
/// # Examples
/// ```
/// use futures_lite::future::{block_on, zip};
///
/// let (one, two) = (osier::spawn(|| 1), osier::spawn(|| 2));
/// let (one, two) = block_on(zip(one, two));
/// assert_eq!(one.unwrap() + two.unwrap(), 3);
/// ```
impl<T, P> Future for JoinHandle<T, P> {
    type Output = Result<T, JoinError>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let task = self.raw();
        // SAFETY: where it waits it is left before the handle goes, or else the waiter stays for ever.
        let watch = |waiter| unsafe { task.watch_result(waiter) };
        // SAFETY: the waiter is left by the same task's `unwatch`.
        let poll = unsafe { self.polled.poll(context.waker(), watch, |waiter| task.unwatch(waiter)) };
        poll.map(|()| self.take_result())
    }
}

impl<T, P> Drop for JoinHandle<T, P> {
    fn drop(&mut self) {
        self.leave();
        let task = self.raw();
        if task.detach() {
            // SAFETY: the task is settled and leaves its result to its handle, which is this one.
            unsafe { task.dispose() };
        }
    }
}

impl<T, P> fmt::Debug for JoinHandle<T, P> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("JoinHandle").field("name", &self.name()).field("finished", &self.is_finished()).finish()
    }
}
