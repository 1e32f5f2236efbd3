//! Groups, and pools, which are groups with a number of places.

use std::fmt;
use std::time::{Duration, Instant};

use super::Full;
use super::crew::{Crew, Home};
use crate::coroutine::{region, unwind};
use crate::exception::Raise;
use crate::sync::{Permit, Semaphore};
use crate::task::{self, Anywhere, JoinHandle, LocalHandle, Task, ThisThread};

/// Tasks that are waited for, killed and mapped over together. Without a limit; see [`Pool`].
///
/// A member belongs to it until it has ended, and leaves in that moment, whether somebody joins it or not: what a `map` has
/// run is no member any more when that returns. See the [module's page](super).
///
/// # Examples
/// ```
/// use osier::Group;
///
/// let group = Group::new();
/// let handles: Vec<_> = (0..3).map(|n| group.spawn(move || n * n)).collect();
/// group.join().unwrap();
/// assert!(group.is_empty());
/// assert_eq!(handles.into_iter().map(|h| h.join().unwrap()).sum::<u32>(), 5);
/// ```
pub struct Group<P = Anywhere> {
    pub(super) crew: Crew<P>,
}

/// A [`Group`] of at most `n` members at a time.
///
/// # Examples
/// ```
/// use osier::Pool;
///
/// let pool = Pool::new(2);
/// let words = ["shoots", "woven", "together"];
/// // `map` waits, so the closure may borrow.
/// let lengths = pool.map(words.iter(), |word| word.len());
/// assert_eq!(lengths, [6, 5, 8]);
/// let mut squares: Vec<u64> = pool.imap_unordered(1..=10, |n| n * n).maxsize(4).collect();
/// squares.sort_unstable();
/// assert_eq!(squares.iter().sum::<u64>(), 385);
/// ```
///
/// A local pool stays on its thread:
/// ```compile_fail
/// osier::run(|| {
///     let pool = osier::Pool::local(2);
///     osier::spawn(move || drop(pool));
/// });
/// ```
pub struct Pool<P = Anywhere> {
    pub(super) crew: Crew<P>,
}

impl Group {
    /// Makes an empty group.
    pub fn new() -> Self {
        Self { crew: Crew::new(None) }
    }

    /// Makes an empty group whose members share the worker of whoever spawns them. It stays on this thread.
    ///
    /// # Examples
    /// ```
    /// use osier::Group;
    /// use std::{cell::Cell, rc::Rc};
    ///
    /// let count = osier::run(|| {
    ///     let (group, count) = (Group::local(), Rc::new(Cell::new(0)));
    ///     for _ in 0..3 {
    ///         let count = count.clone();
    ///         drop(group.spawn(move || count.set(count.get() + 1)));
    ///     }
    ///     group.join().unwrap();
    ///     count.get()
    /// });
    /// assert_eq!(count, 3);
    /// ```
    pub fn local() -> Group<ThisThread> {
        Group { crew: Crew::new(None) }
    }

    /// Makes a group, lends it to `f`, and joins it; when `f` unwinds, or the caller is cancelled, kills it. Failures go as
    /// those of [`Pool::with`].
    ///
    /// # Suspends
    /// The calling task, or on a plain thread the thread, until all members have ended.
    ///
    /// # Cancel safety
    /// If the caller is cancelled, the members are killed, and waited for, before it unwinds.
    ///
    /// # Panics
    /// With `f`'s panic, else with that of the earliest member that failed and was not joined; an exception is raised.
    pub fn with<R>(f: impl FnOnce(&Self) -> R) -> R {
        let group = Self { crew: Crew::joined(None) };
        with(&group.crew, || f(&group))
    }
}

impl Pool {
    /// Makes an empty pool with `n` places. One without any is full: whoever wants a place in it waits for ever.
    pub fn new(n: usize) -> Self {
        Self { crew: Crew::new(Some(n)) }
    }

    /// Makes an empty pool with `n` places, whose members share the worker of whoever spawns them. It stays on this
    /// thread.
    pub fn local(n: usize) -> Pool<ThisThread> {
        Pool { crew: Crew::new(Some(n)) }
    }

    /// Makes a pool, lends it to `f`, and joins it; when `f` unwinds, or the caller is cancelled, kills it.
    ///
    /// A member's failure goes to whoever joins its handle, or the pool. The earliest that nobody was told leaves `with` at
    /// the end, as it leaves a [`scope`](crate::scope); the others are reported.
    ///
    /// # Suspends
    /// The calling task, or on a plain thread the thread, until all members have ended.
    ///
    /// # Cancel safety
    /// If the caller is cancelled, the members are killed, and waited for, before it unwinds.
    ///
    /// # Panics
    /// With `f`'s panic, else with that of the earliest member that failed and was not joined; an exception is raised.
    ///
    /// # Examples
    /// ```
    /// use osier::{Pool, sync::Event};
    ///
    /// let done = Event::new();
    /// Pool::with(1, |pool| {
    ///     let done = done.clone();
    ///     drop(pool.spawn(move || done.set()));
    /// });
    /// assert!(done.is_set());
    /// ```
    pub fn with<R>(n: usize, f: impl FnOnce(&Self) -> R) -> R {
        let pool = Self { crew: Crew::joined(Some(n)) };
        with(&pool.crew, || f(&pool))
    }
}

/// Runs `f`, then joins the crew; kills it when `f` unwinds.
fn with<R, P: Home>(crew: &Crew<P>, f: impl FnOnce() -> R) -> R {
    // The wait at the end cannot be refused any more.
    region::forbid("wait");
    let result = unwind::intercept(f);
    if result.is_err() {
        crew.members.cancel();
    }
    // Before the unwind goes on.
    crew.members.wait_through_cancel();
    let failure = crew.members.take_failure_of_all(result.is_err());
    let value = result.unwrap_or_else(|payload| unwind::throw(payload));
    if let Some(error) = failure {
        drop(value);
        error.raise();
    }
    task::throw_if_due();
    value
}

impl<P: Home> Pool<P> {
    /// How many members fit in now.
    pub fn free(&self) -> usize {
        self.crew.members.free().unwrap_or(usize::MAX)
    }

    /// Whether no member fits in now.
    pub fn is_full(&self) -> bool {
        self.free() == 0
    }

    /// Waits until a member fits in, and takes no place.
    ///
    /// # Suspends
    /// The calling task, or on a plain thread the thread.
    ///
    /// # Cancel safety
    /// A task that is cancelled while it waits unwinds from here; it has taken no place.
    pub fn wait_free(&self) {
        if let Some(places) = self.crew.members.places() {
            places.wait();
        }
    }

    /// Waits until a member fits in, for at most `timeout`. Whether one does.
    ///
    /// # Suspends
    /// As [`wait_free`](Self::wait_free).
    ///
    /// # Cancel safety
    /// As [`wait_free`](Self::wait_free).
    pub fn wait_free_timeout(&self, timeout: Duration) -> bool {
        self.crew.members.places().is_none_or(|places| places.wait_timeout(timeout))
    }

    /// Waits until a member fits in, or until `deadline`. Whether one does.
    ///
    /// # Suspends
    /// As [`wait_free`](Self::wait_free).
    ///
    /// # Cancel safety
    /// As [`wait_free`](Self::wait_free).
    pub fn wait_free_deadline(&self, deadline: Instant) -> bool {
        self.crew.members.places().is_none_or(|places| places.wait_deadline(deadline))
    }

    /// Makes a task a member if there is a place; one that has ended, or is a member, needs none.
    ///
    /// # Errors
    /// There is none; the task is no member.
    pub fn try_add(&self, task: &Task) -> Result<(), Full<()>> {
        self.add_when(task, Semaphore::try_hold)
    }

    /// Makes a task a member, waiting for a place for at most `timeout`.
    ///
    /// # Suspends
    /// As [`add`](Self::add).
    ///
    /// # Cancel safety
    /// As [`add`](Self::add).
    ///
    /// # Errors
    /// No place has come in time; the task is no member.
    pub fn add_timeout(&self, task: &Task, timeout: Duration) -> Result<(), Full<()>> {
        self.add_when(task, |places| places.hold_timeout(timeout))
    }

    /// Makes a task a member, waiting for a place until `deadline`.
    ///
    /// # Suspends
    /// As [`add`](Self::add).
    ///
    /// # Cancel safety
    /// As [`add`](Self::add).
    ///
    /// # Errors
    /// No place has come in time; the task is no member.
    pub fn add_deadline(&self, task: &Task, deadline: Instant) -> Result<(), Full<()>> {
        self.add_when(task, |places| places.hold_deadline(deadline))
    }

    fn add_when(&self, task: &Task, hold: impl FnOnce(&Semaphore) -> Option<Permit>) -> Result<(), Full<()>> {
        let members = &self.crew.members;
        if !task.is_finished() && !members.contains(task) {
            let permit = members.take_place_by(hold).map_err(Full)?;
            members.enter(task, permit);
        }
        Ok(())
    }
}

impl Pool {
    /// Spawns a member, waiting for a place for at most `timeout`.
    ///
    /// # Suspends
    /// As [`spawn`](Self::spawn).
    ///
    /// # Cancel safety
    /// As [`spawn`](Self::spawn).
    ///
    /// # Errors
    /// No place has come in time; the closure comes back.
    ///
    /// # Panics
    /// If the runtime is shutting down.
    #[track_caller]
    pub fn spawn_timeout<F, T>(&self, timeout: Duration, f: F) -> Result<JoinHandle<T>, Full<F>>
    where
        F: FnOnce() -> T + Send + 'static,
        T: Send + 'static,
    {
        // SAFETY: both are `Send` and `'static`.
        unsafe { self.crew.spawn_by(f, |places| places.hold_timeout(timeout)) }.map_err(Full)
    }

    /// Spawns a member, waiting for a place until `deadline`.
    ///
    /// # Suspends
    /// As [`spawn`](Self::spawn).
    ///
    /// # Cancel safety
    /// As [`spawn`](Self::spawn).
    ///
    /// # Errors
    /// No place has come in time; the closure comes back.
    ///
    /// # Panics
    /// If the runtime is shutting down.
    #[track_caller]
    pub fn spawn_deadline<F, T>(&self, deadline: Instant, f: F) -> Result<JoinHandle<T>, Full<F>>
    where
        F: FnOnce() -> T + Send + 'static,
        T: Send + 'static,
    {
        // SAFETY: both are `Send` and `'static`.
        unsafe { self.crew.spawn_by(f, |places| places.hold_deadline(deadline)) }.map_err(Full)
    }
}

impl Pool<ThisThread> {
    /// Spawns a member on this worker, waiting for a place for at most `timeout`.
    ///
    /// # Suspends
    /// As [`spawn`](Self::spawn).
    ///
    /// # Cancel safety
    /// As [`spawn`](Self::spawn).
    ///
    /// # Errors
    /// No place has come in time; the closure comes back.
    ///
    /// # Panics
    /// As [`spawn`](Self::spawn).
    #[track_caller]
    pub fn spawn_timeout<F, T>(&self, timeout: Duration, f: F) -> Result<LocalHandle<T>, Full<F>>
    where
        F: FnOnce() -> T + 'static,
        T: 'static,
    {
        // SAFETY: both are `'static`, and stay here.
        unsafe { self.crew.spawn_by(f, |places| places.hold_timeout(timeout)) }.map_err(Full)
    }

    /// Spawns a member on this worker, waiting for a place until `deadline`.
    ///
    /// # Suspends
    /// As [`spawn`](Self::spawn).
    ///
    /// # Cancel safety
    /// As [`spawn`](Self::spawn).
    ///
    /// # Errors
    /// No place has come in time; the closure comes back.
    ///
    /// # Panics
    /// As [`spawn`](Self::spawn).
    #[track_caller]
    pub fn spawn_deadline<F, T>(&self, deadline: Instant, f: F) -> Result<LocalHandle<T>, Full<F>>
    where
        F: FnOnce() -> T + 'static,
        T: 'static,
    {
        // SAFETY: both are `'static`, and stay here.
        unsafe { self.crew.spawn_by(f, |places| places.hold_deadline(deadline)) }.map_err(Full)
    }
}

impl Default for Group {
    fn default() -> Self {
        Self::new()
    }
}

impl<P: Home> fmt::Debug for Group<P> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Group").field("len", &self.len()).finish()
    }
}

impl<P: Home> fmt::Debug for Pool<P> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pool").field("len", &self.len()).field("free", &self.free()).finish()
    }
}
