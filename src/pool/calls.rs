//! What groups and pools can do alike: members that come and go, joins, and the forms of map and apply.

use std::time::{Duration, Instant};

use super::crew::Home;
use super::{Full, Group, IMap, Pool};
use crate::sync::waiting::after;
use crate::task::{JoinError, JoinHandle, LocalHandle, Task, ThisThread};

/// What groups and pools have in common.
macro_rules! common {
    ($name:ident) => {
        impl<P: Home> $name<P> {
            /// How many members there are. One leaves the moment it ends, also in the middle of a `map`: the number falls before
            /// those who join it go on. Those of `apply_async` that wait for a place do not count.
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
            /// The earliest failure of a member that nobody was told, neither by a join of the member or of the group nor
            /// by `apply` or `map`: a panic or an exception; a cancelled member has not failed. Also of one that ended
            /// before the call, where gevent's `raise_error` looks at those that are members then. Once: the next join
            /// looks at what fails later.
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

            /// Asks every member to end, and waits until they have. Members that come later are not asked. With
            /// `panic = "abort"` no task can be made to end, and so this only asks, as [`cancel`](Self::cancel) does.
            ///
            /// # Suspends
            /// The calling task, or on a plain thread the thread. A member that kills its own group unwinds from
            /// here.
            ///
            /// # Cancel safety
            /// A task that is cancelled while it waits unwinds from here; the members have been asked to end.
            pub fn kill(&self) {
                let last = self.crew.members.cancel();
                if let Some(last) = last.filter(|_| cfg!(panic = "unwind")) {
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
