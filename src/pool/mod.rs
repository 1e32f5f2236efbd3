//! Many tasks as one: groups, and pools that run at most so many at once.
//!
//! | gevent | osier |
//! | --- | --- |
//! | `Group()`, `Pool(n)` | [`Group::new`], [`Pool::new`] |
//! | `pool.spawn(f, x)` | `pool.spawn(move \|\| f(x))`, which waits for a place |
//! | `pool.add(g, blocking=False)` | [`Pool::try_add`]; for a closure [`Pool::try_spawn`] |
//! | `pool.apply(f)`, `apply_async(f, callback=g)` | `pool.apply(f)`, `pool.apply_async(f)` and `link` |
//! | `pool.map(f, xs)` | `pool.map(xs, f)` |
//! | `pool.imap_unordered(f, xs, maxsize=n)` | `pool.imap_unordered(xs, f).maxsize(n)` |
//! | `pool.join(raise_error=True)` | `pool.join()?` |
//! | `pool.kill()`, `pool.kill(block=False)` | `pool.kill()`, `pool.cancel()` |
//!
//! Groups and pools are handles: clones are the same one, and dropping all of them detaches the members. Those of
//! [`Group::local`] and [`Pool::local`] share their spawner's worker, and ask nothing to be `Send`.
//!
//! A member that waits for a place in its own full pool may wait for ever: `spawn` and `map` in a member are such waits.
//! `apply` is none, it runs in place; `apply_async` and `try_spawn` never wait.
//!
//! # Rooms
//! - `members`: who belongs to a group. `crew`: spawning, and bodies that borrow. `imap`: lazy maps.
//! - `executor`: jobs and their results, on tasks or on threads.
//! - `remote`: a generator whose body runs as a task, on another core.

mod crew;
mod executor;
mod imap;
mod members;
mod remote;

pub use executor::{Coroutines, Executor, Job, LazyMap, Threads, UnorderedMap};
#[cfg(feature = "processes")]
pub use executor::{Processes, ProcessesBuilder};
pub use imap::IMap;
pub use remote::Remote;

use std::error::Error;
use std::fmt;
use std::time::{Duration, Instant};

use self::crew::{Crew, Home};
use crate::coroutine::unwind;
use crate::exception::{Raise, raise};
use crate::sync::waiting::after;
use crate::sync::{Permit, Semaphore};
use crate::task::{self, Anywhere, JoinError, JoinHandle, LocalHandle, Task, ThisThread};

/// Tasks that are waited for, killed and mapped over together. Without a limit; see [`Pool`].
///
/// A member belongs to it until it has ended. See the [module's page](self).
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
    crew: Crew<P>,
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
    crew: Crew<P>,
}

/// There is no place in the pool. What was to be spawned comes back.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Full<F>(pub F);

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
        let members = &self.crew.members;
        if !task.is_finished() && !members.contains(task) {
            let permit = members.try_take_place().map_err(|()| Full(()))?;
            members.enter(task, permit);
        }
        Ok(())
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
            let permit = match members.places() {
                Some(places) => Some(hold(places).ok_or(Full(()))?),
                None => None,
            };
            members.enter(task, permit);
        }
        Ok(())
    }
}

/// What groups and pools have in common.
macro_rules! common {
    ($name:ident) => {
        impl<P: Home> $name<P> {
            /// How many members there are. Those of `apply_async` that wait for a place do not count.
            pub fn len(&self) -> usize {
                self.crew.members.len()
            }

            /// Whether there is no member.
            pub fn is_empty(&self) -> bool {
                self.len() == 0
            }

            /// Whether a task is a member.
            pub fn contains(&self, task: &Task) -> bool {
                self.crew.members.contains(task)
            }

            /// The members, in the order in which they came.
            pub fn tasks(&self) -> Vec<Task> {
                self.crew.members.tasks()
            }

            /// Makes a task a member, waiting for a place where there is a limit. One that has ended is none.
            ///
            /// # Suspends
            /// The calling task, or on a plain thread the thread, while there is no place.
            ///
            /// # Cancel safety
            /// A task that is cancelled while it waits unwinds from here, and `t` is no member.
            pub fn add(&self, t: &Task) {
                if !t.is_finished() && !self.contains(t) {
                    let permit = self.crew.members.take_place();
                    self.crew.members.enter(t, permit);
                }
            }

            /// Takes a task out, which runs on; its place is free.
            pub fn discard(&self, t: &Task) {
                self.crew.members.discard(t);
            }

            /// Waits until there is no member, once.
            ///
            /// # Suspends
            /// The calling task, or on a plain thread the thread.
            ///
            /// # Cancel safety
            /// A task that is cancelled while it waits unwinds from here; no failure counts as told.
            ///
            /// # Errors
            /// The earliest failure of a member that no `join` was told: a panic or an exception; a cancelled member has
            /// not failed.
            pub fn join(&self) -> Result<(), JoinError> {
                self.join_until(None)
            }

            /// Waits as [`join`](Self::join) does, for at most `timeout`.
            ///
            /// # Suspends
            /// As [`join`](Self::join).
            ///
            /// # Cancel safety
            /// As [`join`](Self::join).
            ///
            /// # Errors
            /// As [`join`](Self::join); with an error that [is a timeout](JoinError::is_timeout) if the time has passed.
            pub fn join_timeout(&self, timeout: Duration) -> Result<(), JoinError> {
                self.join_until(after(timeout))
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
                self.join_until(Some(deadline))
            }

            fn join_until(&self, deadline: Option<Instant>) -> Result<(), JoinError> {
                if !self.crew.members.wait(u64::MAX, deadline) {
                    return Err(JoinError::timeout());
                }
                self.crew.members.take_failure().map_or(Ok(()), Err)
            }

            /// Asks every member to end, once, without waiting for it.
            pub fn cancel(&self) {
                self.crew.members.cancel();
            }

            /// Asks every member to end, and waits until they have. Members that come later are not asked.
            ///
            /// # Suspends
            /// The calling task, or on a plain thread the thread. A member that kills its own group unwinds from
            /// here.
            ///
            /// # Cancel safety
            /// A task that is cancelled while it waits unwinds from here; the members have been asked to end.
            pub fn kill(&self) {
                if let Some(last) = self.crew.members.cancel() {
                    self.crew.members.wait(last, None);
                }
            }

            /// Asks every member to end, and waits until they have, for at most `timeout`. Whether they have.
            ///
            /// # Suspends
            /// As [`kill`](Self::kill).
            ///
            /// # Cancel safety
            /// As [`kill`](Self::kill).
            pub fn kill_timeout(&self, timeout: Duration) -> bool {
                let last = self.crew.members.cancel();
                last.is_none_or(|last| self.crew.members.wait(last, after(timeout)))
            }
        }

        impl $name {
            /// Spawns a member, waiting for a place where there is a limit.
            ///
            /// # Suspends
            /// The calling task, or on a plain thread the thread, while there is no place.
            ///
            /// # Cancel safety
            /// A task that is cancelled while it waits for a place unwinds from here; `f` is dropped, and never runs.
            ///
            /// # Panics
            /// If the runtime is shutting down.
            #[track_caller]
            pub fn spawn<F, T>(&self, f: F) -> JoinHandle<T>
            where
                F: FnOnce() -> T + Send + 'static,
                T: Send + 'static,
            {
                // SAFETY: both are `Send` and `'static`.
                unsafe { self.crew.spawn(f) }
            }

            /// Spawns a member if there is a place.
            ///
            /// # Errors
            /// There is none; the closure comes back.
            ///
            /// # Panics
            /// If the runtime is shutting down.
            #[track_caller]
            pub fn try_spawn<F, T>(&self, f: F) -> Result<JoinHandle<T>, Full<F>>
            where
                F: FnOnce() -> T + Send + 'static,
                T: Send + 'static,
            {
                // SAFETY: both are `Send` and `'static`.
                unsafe { self.crew.try_spawn(f) }.map_err(Full)
            }

            /// Spawns a member, which waits for its place itself where there is a limit. Joining and killing see it at
            /// once.
            ///
            /// # Panics
            /// If the runtime is shutting down.
            #[track_caller]
            pub fn apply_async<F, T>(&self, f: F) -> JoinHandle<T>
            where
                F: FnOnce() -> T + Send + 'static,
                T: Send + 'static,
            {
                // SAFETY: both are `Send` and `'static`.
                unsafe { self.crew.apply_async(f) }
            }

            /// Runs `f` as a member and gives its value; `f` may borrow. A member that calls runs it in place.
            ///
            /// # Suspends
            /// The calling task, or on a plain thread the thread.
            ///
            /// # Cancel safety
            /// If it is cancelled, so is the member, which is waited for before the caller unwinds.
            ///
            /// # Panics
            /// With `f`'s panic; an exception is raised. If the runtime is shutting down.
            #[track_caller]
            pub fn apply<F, T>(&self, f: F) -> T
            where
                F: FnOnce() -> T + Send,
                T: Send,
            {
                // SAFETY: both are `Send`.
                unsafe { self.crew.apply(f) }
            }

            /// Runs `f` for every item, each call as a member, and gives the values in the order of the items. `f` and the
            /// items may borrow.
            ///
            /// Every item is run, also after one has failed; then the failure of the earliest item is raised.
            ///
            /// # Suspends
            /// The calling task, or on a plain thread the thread.
            ///
            /// # Cancel safety
            /// If it is cancelled, or the source unwinds, the members are cancelled, and waited for before the caller
            /// unwinds.
            ///
            /// # Panics
            /// With the panic of the earliest item that failed, or the source's; an exception is raised. If the runtime
            /// is shutting down.
            pub fn map<I, R>(&self, items: I, f: impl Fn(I::Item) -> R + Sync) -> Vec<R>
            where
                I: IntoIterator,
                I::Item: Send,
                R: Send,
            {
                // SAFETY: items and values are `Send`, and `f` is `Sync`.
                unsafe { self.crew.map(items, &f) }
            }

            /// The values of `f` for every item, in the order of the items, one by one; each call is a member. Nothing
            /// runs before the first is asked for. See [`IMap`].
            pub fn imap<I, R>(&self, items: I, f: impl Fn(I::Item) -> R + Send + Sync + 'static) -> IMap<R>
            where
                I: IntoIterator + Send + 'static,
                I::Item: Send + 'static,
                R: Send + 'static,
            {
                // SAFETY: all are `Send`, and `f` is `Sync`.
                unsafe { IMap::new(&self.crew, items, f, true) }
            }

            /// The values of `f` for every item, as they get ready; each call is a member. Nothing runs before the first
            /// is asked for. See [`IMap`].
            pub fn imap_unordered<I, R>(&self, items: I, f: impl Fn(I::Item) -> R + Send + Sync + 'static) -> IMap<R>
            where
                I: IntoIterator + Send + 'static,
                I::Item: Send + 'static,
                R: Send + 'static,
            {
                // SAFETY: all are `Send`, and `f` is `Sync`.
                unsafe { IMap::new(&self.crew, items, f, false) }
            }
        }

        impl $name<ThisThread> {
            /// Spawns a member on this worker, waiting for a place where there is a limit.
            ///
            /// # Suspends
            /// The calling task while there is no place.
            ///
            /// # Cancel safety
            /// A task that is cancelled while it waits for a place unwinds from here; `f` is dropped, and never runs.
            ///
            /// # Panics
            /// On a thread that runs no tasks; if the runtime is shutting down.
            #[track_caller]
            pub fn spawn<F, T>(&self, f: F) -> LocalHandle<T>
            where
                F: FnOnce() -> T + 'static,
                T: 'static,
            {
                // SAFETY: both are `'static`, and stay here.
                unsafe { self.crew.spawn(f) }
            }

            /// Spawns a member on this worker if there is a place.
            ///
            /// # Errors
            /// There is none; the closure comes back.
            ///
            /// # Panics
            /// As [`spawn`](Self::spawn).
            #[track_caller]
            pub fn try_spawn<F, T>(&self, f: F) -> Result<LocalHandle<T>, Full<F>>
            where
                F: FnOnce() -> T + 'static,
                T: 'static,
            {
                // SAFETY: both are `'static`, and stay here.
                unsafe { self.crew.try_spawn(f) }.map_err(Full)
            }

            /// Spawns a member on this worker, which waits for its place itself where there is a limit.
            ///
            /// # Panics
            /// As [`spawn`](Self::spawn).
            #[track_caller]
            pub fn apply_async<F, T>(&self, f: F) -> LocalHandle<T>
            where
                F: FnOnce() -> T + 'static,
                T: 'static,
            {
                // SAFETY: both are `'static`, and stay here.
                unsafe { self.crew.apply_async(f) }
            }

            /// Runs `f` as a member on this worker and gives its value; `f` may borrow. A member that calls runs it in
            /// place.
            ///
            /// # Suspends
            /// The calling task.
            ///
            /// # Cancel safety
            /// If it is cancelled, so is the member, which is waited for before the caller unwinds.
            ///
            /// # Panics
            /// As [`spawn`](Self::spawn), and with `f`'s panic; an exception is raised.
            #[track_caller]
            pub fn apply<F, T>(&self, f: F) -> T
            where
                F: FnOnce() -> T,
            {
                // SAFETY: it stays here.
                unsafe { self.crew.apply(f) }
            }

            /// Runs `f` for every item, each call as a member on this worker, and gives the values in the order of the
            /// items. `f` and the items may borrow. Every item is run; then the failure of the earliest is raised.
            ///
            /// # Suspends
            /// The calling task.
            ///
            /// # Cancel safety
            /// If it is cancelled, or the source unwinds, the members are cancelled, and waited for before the caller
            /// unwinds.
            ///
            /// # Panics
            /// As [`spawn`](Self::spawn), and with the panic of the earliest item that failed; an exception is raised.
            pub fn map<I, R>(&self, items: I, f: impl Fn(I::Item) -> R) -> Vec<R>
            where
                I: IntoIterator,
            {
                // SAFETY: all stay here.
                unsafe { self.crew.map(items, &f) }
            }

            /// The values of `f` for every item, in the order of the items, one by one. See [`IMap`].
            pub fn imap<I, R>(&self, items: I, f: impl Fn(I::Item) -> R + 'static) -> IMap<R, ThisThread>
            where
                I: IntoIterator + 'static,
                R: 'static,
            {
                // SAFETY: all stay here.
                unsafe { IMap::new(&self.crew, items, f, true) }
            }

            /// The values of `f` for every item, as they get ready. See [`IMap`].
            pub fn imap_unordered<I, R>(&self, items: I, f: impl Fn(I::Item) -> R + 'static) -> IMap<R, ThisThread>
            where
                I: IntoIterator + 'static,
                R: 'static,
            {
                // SAFETY: all stay here.
                unsafe { IMap::new(&self.crew, items, f, false) }
            }
        }

        impl<P> Clone for $name<P> {
            fn clone(&self) -> Self {
                Self { crew: self.crew.clone() }
            }
        }
    };
}

common!(Group);
common!(Pool);

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

impl<F> Full<F> {
    /// Gives back what was not spawned.
    pub fn into_inner(self) -> F {
        self.0
    }
}

impl<F> fmt::Debug for Full<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Full(..)")
    }
}

impl<F> fmt::Display for Full<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the pool is full")
    }
}

impl<F> Error for Full<F> {}

/// Raises the error, without what was to be spawned.
impl<F> Raise for Full<F> {
    #[track_caller]
    fn raise(self) -> ! {
        raise(Full(()))
    }
}
