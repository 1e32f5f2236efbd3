//! Tasks that borrow: a scope ends when all of them have.
//!
//! # Invariants
//! - `scope` returns, or unwinds, only when every task that was spawned in it has ended: nothing interrupts that wait.
//! - It never waits in the middle of an unwind: what leaves the body is caught first.

use std::fmt;
use std::marker::PhantomData;
use std::sync::{Mutex, MutexGuard, PoisonError};

use super::budget::spend;
use super::builder::Builder;
use super::cancel;
use super::error::JoinError;
use super::handle::Task;
use super::join::JoinHandle;
use super::wait_queue::Waiter;
use crate::coroutine::{region, unwind};
use crate::exception::{Raise, Report, report};
use crate::runtime::{Shared, Worker};

/// Spawns tasks that borrow from the caller of [`scope`].
pub struct Scope<'scope, 'env: 'scope> {
    children: Mutex<Children>,
    /// Invariant in both, as in `std::thread::Scope`: else a scope could be taken for a shorter or a longer one.
    _scope: PhantomData<&'scope mut &'scope ()>,
    _env: PhantomData<&'env mut &'env ()>,
}

#[derive(Default)]
struct Children {
    /// Those that may not have ended, in the order of their spawn.
    tasks: Vec<Task>,
    /// Those that have failed.
    failed: Vec<Task>,
    /// How many there may be before those that have ended are taken out.
    limit: usize,
}

/// Marks the handles of a scope's tasks.
#[derive(Debug)]
pub struct InScope<'scope>(PhantomData<&'scope mut &'scope ()>);

/// Marks the handles of a scope's local tasks.
#[derive(Debug)]
pub struct InScopeHere<'scope>(InScope<'scope>, PhantomData<*mut ()>);

/// The handle of a task that was spawned in a [`scope`].
pub type ScopedHandle<'scope, T> = JoinHandle<T, InScope<'scope>>;

/// The handle of a local task that was spawned in a [`scope`]: it stays on its thread.
pub type ScopedLocalHandle<'scope, T> = JoinHandle<T, InScopeHere<'scope>>;

/// Runs `f`, which may spawn tasks that borrow what lives longer than this call, and waits until all of them have ended.
///
/// A child that panics or is left by an exception, and that nobody joins, lets that go on here at the end: the earliest of
/// several, the others are [reported](crate::set_report_hook). Its siblings go on. When `f` itself unwinds, the children
/// are cancelled first, and waited for. So they are when the calling task is cancelled or a timeout around it fires while it
/// waits here; then it unwinds, after the last of them.
///
/// # Suspends
/// The calling task, until all children have ended; on a plain thread, the thread. Not interrupted by anything.
///
/// # Cancel safety
/// A caller that is cancelled cancels the children, and waits for them before it unwinds.
///
/// # Panics
/// With the panic of `f`, else of the earliest child that failed and was not joined.
///
/// # Examples
/// ```
/// let words = vec!["shoots", "woven", "together"];
/// let mut count = 0;
/// let lengths = osier::scope(|s| {
///     let tasks: Vec<_> = words.iter().map(|word| s.spawn(move || word.len())).collect();
///     s.spawn(|| count = words.len());
///     tasks.into_iter().map(|task| task.join().unwrap()).collect::<Vec<_>>()
/// });
/// assert_eq!((lengths, count), (vec![6, 5, 8], 3));
/// ```
///
/// What a task borrows must live longer than the scope:
/// ```compile_fail
/// osier::scope(|s| {
///     let inside = String::new();
///     s.spawn(|| inside.len());
/// });
/// ```
pub fn scope<'env, F, T>(f: F) -> T
where
    F: for<'scope> FnOnce(&'scope Scope<'scope, 'env>) -> T,
{
    region::forbid("wait");
    // First, while nothing has been spawned: from here it may unwind.
    spend();
    let scope = Scope { children: Mutex::default(), _scope: PhantomData, _env: PhantomData };
    let result = unwind::intercept(|| f(&scope));
    if result.is_err() {
        scope.cancel();
    }
    let was_interrupted = scope.wait(result.is_err());
    let failure = scope.take_failure(result.is_err());
    let value = result.unwrap_or_else(|payload| unwind::throw(payload));
    if let Some(error) = failure {
        drop(value);
        error.raise();
    }
    if was_interrupted {
        cancel::throw_if_due();
    }
    value
}

impl<'scope> Scope<'scope, '_> {
    /// Spawns a task that may borrow, as [`spawn`](super::spawn) does. It may spawn others in the same scope.
    ///
    /// # Panics
    /// If the runtime is shutting down.
    #[track_caller]
    pub fn spawn<F, T>(&'scope self, f: F) -> ScopedHandle<'scope, T>
    where
        F: FnOnce() -> T + Send + 'scope,
        T: Send + 'scope,
    {
        self.spawn_by(Builder::new(), f)
    }

    /// Spawns a local task that may borrow, as [`spawn_local`](super::spawn_local) does.
    ///
    /// # Panics
    /// As [`spawn_local`](super::spawn_local).
    ///
    /// # Examples
    /// ```
    /// use std::{cell::Cell, rc::Rc};
    ///
    /// let total = osier::run(|| {
    ///     let total = Rc::new(Cell::new(0));
    ///     osier::scope(|s| {
    ///         for n in 1..=3 {
    ///             let total = &total;
    ///             s.spawn_local(move || total.set(total.get() + n));
    ///         }
    ///     });
    ///     total.get()
    /// });
    /// assert_eq!(total, 6);
    /// ```
    #[track_caller]
    pub fn spawn_local<F, T>(&'scope self, f: F) -> ScopedLocalHandle<'scope, T>
    where
        F: FnOnce() -> T + 'scope,
        T: 'scope,
    {
        let worker = Worker::get().expect("`spawn_local` is for code that runs in a task or on a `LocalRuntime`");
        // SAFETY: the runtime is this thread's worker's; `scope` returns only when the task has ended.
        let spawned = unsafe { Builder::new().submit_local(worker.shared(), f, true) };
        let handle: JoinHandle<T, InScopeHere<'scope>> = spawned.unwrap_or_else(|error| panic!("{error}")).retype();
        self.add(handle.task());
        handle
    }

    /// Asks all tasks of the scope to end: those that there are now.
    pub fn cancel(&self) {
        let tasks = self.children().tasks.clone();
        tasks.iter().for_each(Task::cancel);
    }

    fn spawn_by<F, T>(&'scope self, builder: Builder, f: F) -> ScopedHandle<'scope, T>
    where
        F: FnOnce() -> T + Send + 'scope,
        T: Send + 'scope,
    {
        Shared::with_current(|shared| {
            // SAFETY: `scope` returns only when the task has ended, and such a task is never left behind.
            let spawned = unsafe { builder.submit(shared, f, true) };
            let handle: ScopedHandle<'scope, T> = spawned.unwrap_or_else(|error| panic!("{error}")).retype();
            self.add(handle.task());
            handle
        })
    }

    fn children(&self) -> MutexGuard<'_, Children> {
        self.children.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn add(&self, task: Task) {
        let mut children = self.children();
        let children = &mut *children;
        if children.tasks.len() >= children.limit {
            let ended = children.tasks.extract_if(.., |task| task.is_finished());
            children.failed.extend(ended.filter(|task| task.raw().failure().is_some()));
            children.limit = 2 * children.tasks.len() + 16;
        }
        children.tasks.push(task);
    }

    /// Waits until every task has ended, also those that are spawned meanwhile; with `cancels`, or once somebody has asked the
    /// caller to unwind, these are cancelled, too. True if somebody did ask.
    fn wait(&self, mut cancels: bool) -> bool {
        let mut was_interrupted = false;
        loop {
            // From the end: what has ended there is taken off, so that nothing is looked at twice.
            let Some(task) = self.last_running() else { return was_interrupted };
            cancels |= was_interrupted;
            if cancels {
                task.cancel();
            }
            let waiter = Waiter::new();
            // SAFETY: the waiter is new, and the wait below ends when it is notified.
            if unsafe { task.raw().watch(&raw const waiter) } {
                let interrupt = || {
                    was_interrupted = true;
                    self.cancel();
                };
                waiter.wait_through_cancel(interrupt, || task.raw().unwatch(&waiter));
            }
        }
    }

    /// The running task that was spawned last; those behind it are taken off the list.
    fn last_running(&self) -> Option<Task> {
        let mut children = self.children();
        while let Some(task) = children.tasks.pop_if(|task| task.is_finished()) {
            if task.raw().failure().is_some() {
                children.failed.push(task);
            }
        }
        children.tasks.last().cloned()
    }

    /// The earliest failure that nobody was told of; the others are reported, or all.
    fn take_failure(&self, reports_all: bool) -> Option<JoinError> {
        let tasks = std::mem::take(&mut self.children().failed);
        let unseen = |task: &Task| !task.raw().is_observed();
        let mut failures: Vec<_> = tasks
            .iter()
            .filter(|task| unseen(task))
            .filter_map(|task| Some((task.raw().failure()?, task)))
            .filter(|((_, error), _)| !error.is_cancelled())
            .collect();
        failures.sort_by_key(|((number, _), _)| *number);
        let reported = failures.split_off(if reports_all { 0 } else { failures.len().min(1) });
        for ((_, error), task) in &reported {
            report(&Report::Unjoined { name: task.name(), error });
        }
        failures.pop().map(|((_, error), _)| error)
    }
}

impl Builder {
    /// Spawns a task in a scope, as [`Scope::spawn`] does.
    ///
    /// # Panics
    /// If the runtime is shutting down.
    ///
    /// # Examples
    /// ```
    /// let text = String::from("borrowed");
    /// osier::scope(|s| {
    ///     let task = osier::task::Builder::new().name("reader").spawn_scoped(s, || text.len());
    ///     assert_eq!(task.join().unwrap(), 8);
    /// });
    /// ```
    pub fn spawn_scoped<'scope, F, T>(self, scope: &'scope Scope<'scope, '_>, f: F) -> ScopedHandle<'scope, T>
    where
        F: FnOnce() -> T + Send + 'scope,
        T: Send + 'scope,
    {
        scope.spawn_by(self, f)
    }
}

impl fmt::Debug for Scope<'_, '_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let running = self.children().tasks.iter().filter(|task| !task.is_finished()).count();
        f.debug_struct("Scope").field("running", &running).finish_non_exhaustive()
    }
}
