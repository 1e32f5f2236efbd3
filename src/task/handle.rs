//! Tasks as such, whatever their values: who they are, and how to end and wake them.

use std::any::Any;
use std::fmt;
use std::hash::{Hash, Hasher};
use std::time::{Duration, Instant};

use super::budget::spend;
use super::cancel;
use super::error::JoinError;
use super::link::Link;
use super::raw::{RawTask, TaskRef};
use super::sleeper::Woken;
use crate::coroutine::current as clock;
use crate::exception::Exception;
use crate::runtime::Worker;

/// A task, whatever its value: to be watched, woken and ended, not to be asked for its value.
///
/// It is a name, not an owner: any number of clones may be held by anybody, also by other threads and also of tasks that
/// never leave theirs. Two are equal if they are the same task. Dropping one does nothing.
///
/// # Examples
/// ```
/// use osier::task::{self, Task};
///
/// let (sender, receiver) = osier::sync::channel::bounded::<Task>(1);
/// let handle = osier::spawn(move || {
///     sender.send(task::current()).unwrap();
///     task::park();
///     "woken"
/// });
/// receiver.recv().unwrap().unpark();
/// assert_eq!(handle.join().unwrap(), "woken");
/// ```
#[derive(Clone)]
pub struct Task(TaskRef);

/// A task's number: no other task of the process has it, not even after this one has gone.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TaskId(u64);

impl TaskId {
    pub(super) fn of(task: RawTask) -> Self {
        Self(task.id())
    }

    /// The number, counted from 1 in the order in which tasks were first asked for theirs.
    pub fn get(self) -> u64 {
        self.0
    }
}

impl fmt::Display for TaskId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}

impl fmt::Debug for TaskId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "TaskId({})", self.0)
    }
}

/// The running task.
///
/// # Panics
/// Where no task runs: see [`try_current`].
///
/// # Examples
/// ```
/// let handle = osier::task::Builder::new().name("me").spawn(|| osier::task::current().name().to_owned());
/// assert_eq!(handle.join().unwrap(), "me");
/// ```
pub fn current() -> Task {
    try_current().expect("`task::current` is for code that runs in a task")
}

/// The running task; `None` on a thread outside of all tasks.
pub fn try_current() -> Option<Task> {
    // SAFETY: a running task has not ended, so the runtime's reference is counted.
    RawTask::current().map(|task| Task::new(unsafe { task.to_ref() }))
}

impl Task {
    pub(crate) fn new(task: TaskRef) -> Self {
        Self(task)
    }

    pub(super) fn reference(&self) -> &TaskRef {
        &self.0
    }

    pub(crate) fn raw(&self) -> RawTask {
        self.0.raw()
    }

    /// The task's number.
    pub fn id(&self) -> TaskId {
        TaskId::of(self.raw())
    }

    /// The name given to the task's builder, else its closure's type.
    pub fn name(&self) -> &str {
        self.0.name()
    }

    /// The value that the task's builder [was given](super::Builder::data), if it is a `T`. Also after the task's end.
    pub fn data<T: Any + Send + Sync>(&self) -> Option<&T> {
        self.0.data()?.downcast_ref()
    }

    /// Whether the task has ended: its closure has returned or unwound, and what it owned has been dropped.
    pub fn is_finished(&self) -> bool {
        self.raw().header().end.is_done()
    }

    /// Waits for the task to end. Any number may wait for one task.
    ///
    /// Its links have run when this returns, unless it is called by one of them, or after the end.
    ///
    /// # Suspends
    /// The calling task, until the other has ended; on a plain thread, the thread. A cancelled caller unwinds from here.
    ///
    /// # Cancel safety
    /// Nothing is lost: the task runs on, and may be joined again.
    ///
    /// # Errors
    /// Why the task has no value. Whoever asks counts as told: the error is not reported as unjoined.
    pub fn join(&self) -> Result<(), JoinError> {
        spend();
        self.join_until(None)
    }

    /// Waits as [`join`](Self::join) does, for at most `d`.
    ///
    /// # Suspends
    /// As [`join`](Self::join). Not at all if `d` is zero.
    ///
    /// # Cancel safety
    /// As [`join`](Self::join).
    ///
    /// # Errors
    /// As [`join`](Self::join); with an error that [is a timeout](JoinError::is_timeout) if the time has passed.
    pub fn join_timeout(&self, d: Duration) -> Result<(), JoinError> {
        match d.is_zero() {
            true if !self.is_finished() => return Err(JoinError::timeout()),
            true => {}
            false => spend(),
        }
        self.join_until(clock::now().checked_add(d))
    }

    /// Waits as [`join`](Self::join) does, until `deadline`.
    ///
    /// # Suspends
    /// As [`join`](Self::join).
    ///
    /// # Cancel safety
    /// As [`join`](Self::join).
    ///
    /// # Errors
    /// As [`join_timeout`](Self::join_timeout).
    pub fn join_deadline(&self, deadline: Instant) -> Result<(), JoinError> {
        spend();
        self.join_until(Some(deadline))
    }

    fn join_until(&self, deadline: Option<Instant>) -> Result<(), JoinError> {
        let task = self.raw();
        let asker = (!self.is_finished()).then(|| task.ask());
        if asker.is_some()
            && (deadline.is_some() || !Worker::join_in_place(task))
            && task.wait_for_end(deadline) == Woken::Elapsed
        {
            return Err(JoinError::of_a_join_that_ended_early());
        }
        self.error().map_or(Ok(()), Err)
    }

    /// Why the task has no value; `None` if it has, or has not ended. Whoever asks counts as told.
    pub fn error(&self) -> Option<JoinError> {
        if !self.is_finished() {
            return None;
        }
        let (_, error) = self.raw().failure()?;
        self.raw().observe();
        Some(error)
    }

    /// Runs `f` once when the task has ended, in a new task; at once if it has ended. It gets why the task has no value, and
    /// counts as told. Else as [`JoinHandle::link`](super::JoinHandle::link).
    ///
    /// # Examples
    /// ```
    /// let (sender, receiver) = osier::sync::channel::bounded(1);
    /// let task = osier::spawn(|| panic!("a bug")).task();
    /// task.link(move |end: &Result<(), osier::JoinError>| sender.send(end.clone()).unwrap());
    /// assert!(receiver.recv().unwrap().unwrap_err().is_panic());
    /// ```
    pub fn link(&self, f: impl FnOnce(&Result<(), JoinError>) + Send + 'static) -> Link {
        let look = |task: RawTask| {
            let error = task.failure().map(|(_, error)| error);
            if error.is_some() {
                task.observe();
            }
            f(&error.map_or(Ok(()), Err));
        };
        // SAFETY: `f` is `Send` and `'static`.
        unsafe { Link::new(&self.0, false, look) }
    }

    /// Asks the task to end, without waiting for it. See [`JoinHandle::cancel`](super::JoinHandle::cancel).
    pub fn cancel(&self) {
        self.raw().cancel();
    }

    /// Raises `e` in the task. See [`JoinHandle::throw`](super::JoinHandle::throw).
    pub fn throw(&self, e: impl Into<Exception>) {
        self.raw().throw(e.into());
    }

    /// Cancels the task and waits until it has ended, as gevent's `kill()` does.
    ///
    /// A task that has not started never runs. One that catches its exit is waited for until it ends; see
    /// [`kill_timeout`](Self::kill_timeout). Killing a task that has ended changes nothing. In a program that is built with
    /// `panic = "abort"` no task can be made to end, and so this only asks, as [`cancel`](Self::cancel) does.
    ///
    /// # Suspends
    /// The calling task, until the other has ended; on a plain thread, the thread. A cancelled caller unwinds from here;
    /// the other one stays asked. A task that kills itself unwinds at once.
    ///
    /// # Cancel safety
    /// The other task stays asked to end.
    ///
    /// # Examples
    /// ```
    /// use std::time::Duration;
    ///
    /// osier::run(|| {
    ///     let sleeper = osier::spawn(|| osier::sleep(Duration::from_secs(3600)));
    ///     sleeper.kill();
    ///     assert!(sleeper.is_finished());
    /// });
    /// ```
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

    /// Leaves the task a token, and wakes it if it waits for one in [`park`](super::park). A second token before the
    /// first is taken changes nothing.
    pub fn unpark(&self) {
        self.raw().leave_token();
    }
}

impl RawTask {
    /// Cancels the task and waits until it has ended. True if it has; the caller holds a reference.
    pub(super) fn kill(self, patience: Option<Duration>) -> bool {
        if self.header().end.is_done() {
            return true;
        }
        self.cancel();
        if Self::current() == Some(self) {
            cancel::throw_if_due();
            // It unwinds already, or is shielded: the request stays.
            return false;
        }
        let Some(patience) = patience else {
            if cfg!(panic = "abort") {
                // Nothing makes it end: it may wait for ever.
                return false;
            }
            return Worker::join_in_place(self) || self.wait_for_end(None) == Woken::Notified;
        };
        self.wait_for_end(clock::now().checked_add(patience)) == Woken::Notified
    }
}

impl PartialEq for Task {
    fn eq(&self, other: &Self) -> bool {
        self.raw() == other.raw()
    }
}

impl Eq for Task {}

impl Hash for Task {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.raw().as_ptr().hash(state);
    }
}

impl fmt::Debug for Task {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut text = f.debug_struct("Task");
        text.field("id", &self.id().get()).field("name", &self.name()).field("finished", &self.is_finished()).finish()
    }
}
