//! Join handles: a task's value, or why there is none.

use std::fmt;
use std::marker::PhantomData;
use std::sync::PoisonError;

use super::error::JoinError;
use super::raw::{RawTask, TaskRef};
use super::wait_queue::Waiter;
use crate::coroutine::unwind;
use crate::exception::Exception;
use crate::runtime::Worker;

/// The right to a task's result. Dropping it detaches the task, which runs on.
///
/// A handle is `Send` and may be joined from anywhere: from another task, from a task of another runtime, from a plain
/// thread.
///
/// # Examples
/// ```
/// let sum = osier::run(|| {
///     let handles: Vec<_> = (0..10).map(|n| osier::spawn(move || n * n)).collect();
///     handles.into_iter().map(|h| h.join().unwrap()).sum::<i32>()
/// });
/// assert_eq!(sum, 285);
/// ```
#[must_use = "dropping a join handle detaches its task: use `let _ =` if that is meant"]
pub struct JoinHandle<T> {
    task: TaskRef,
    _value: PhantomData<fn() -> T>,
}

// SAFETY: the handle moves a `T` out of the task, to whatever thread it is on.
unsafe impl<T: Send> Send for JoinHandle<T> {}
// SAFETY: through `&JoinHandle` nothing of the `T` is reached.
unsafe impl<T: Send> Sync for JoinHandle<T> {}

impl<T> JoinHandle<T> {
    /// Makes the handle of a task that was made with the result type `T`.
    pub(crate) fn new(task: TaskRef) -> Self {
        Self { task, _value: PhantomData }
    }

    pub(crate) fn task(&self) -> RawTask {
        self.task.raw()
    }

    /// Waits for the task to end and returns its value.
    ///
    /// A task that is still fresh, and is the next one that this worker would start, runs right here, on a stack of
    /// its own.
    ///
    /// # Suspends
    /// The calling task, until the joined one has ended; on a plain thread, the thread. A cancelled caller unwinds from
    /// here, and the joined task runs on, detached.
    ///
    /// # Errors
    /// The task panicked, was cancelled, was left by an exception, or could not get a stack.
    pub fn join(self) -> Result<T, JoinError> {
        if !self.is_finished() && !Worker::join_in_place(self.task()) {
            let task = self.task();
            let waiter = Waiter::new();
            if watch(task, &waiter) {
                waiter.wait(None, || unwatch(task, &waiter));
            }
        }
        self.take_result()
    }

    /// Waits as `join` does, but neither unwinds when the caller is cancelled nor leaves the task behind: the task is
    /// cancelled instead, and waited for.
    pub(crate) fn join_through_cancel(self) -> Result<T, JoinError> {
        let task = self.task();
        if !self.is_finished() {
            let waiter = Waiter::new();
            if watch(task, &waiter) {
                waiter.wait_through_cancel(|| task.cancel());
            }
        }
        self.take_result()
    }

    fn take_result(self) -> Result<T, JoinError> {
        // SAFETY: the task has ended and its result is for its handle, which is this one; `T` is its type.
        let result = unsafe { self.task.take_result() };
        result.expect("the only handle of a task that has ended finds its result")
    }

    /// Whether the task has ended, so that `join` would not wait.
    pub fn is_finished(&self) -> bool {
        self.task().header().end.is_done()
    }

    /// Asks the task to end: it unwinds from the wait it is in, or from its next one, running destructors. Does not
    /// wait for that.
    ///
    /// A task that has not started never runs; one that has ended keeps its result. Joining a cancelled task gives a
    /// [`JoinError`] that [is cancelled](JoinError::is_cancelled), unless it returned a value first.
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
        self.task().cancel();
    }

    /// Raises `e` in the task, in the wait it is in or in its next one, as gevent's `kill(exception, block=False)` does.
    /// [`catch`](crate::catch) takes it, and it is used up then; else it leaves the task, and the join.
    ///
    /// A task that has not started never runs. An exception that comes while another one is still on its way is dropped.
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
        self.task().throw(e.into());
    }

    /// The name given to the task's builder, else its closure's type.
    pub fn name(&self) -> &str {
        self.task.name()
    }
}

/// Enters `waiter` among those who wait for the task's end. False if it has ended.
fn watch(task: RawTask, waiter: &Waiter) -> bool {
    // SAFETY: the waiter is new, and its owner waits until it was notified or takes it out with `unwatch`.
    unsafe { task.header().waiters.lock().unwrap_or_else(PoisonError::into_inner).push(waiter) };
    task.header().end.watch() || !unwatch(task, waiter)
}

/// Takes `waiter` out again. False if it was notified.
fn unwatch(task: RawTask, waiter: &Waiter) -> bool {
    // SAFETY: it was pushed by `watch`.
    unsafe { task.header().waiters.lock().unwrap_or_else(PoisonError::into_inner).remove(waiter) }
}

impl<T> Drop for JoinHandle<T> {
    fn drop(&mut self) {
        if self.task().header().end.detach() {
            // SAFETY: the task has ended and leaves its result to its handle, which is this one; `T` is its type.
            let result = unsafe { self.task.take_result::<T>() };
            // As quietly as when the task ends after its handle.
            unwind::drop_quietly(result);
        }
    }
}

impl<T> fmt::Debug for JoinHandle<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("JoinHandle").field("name", &self.name()).field("finished", &self.is_finished()).finish()
    }
}
