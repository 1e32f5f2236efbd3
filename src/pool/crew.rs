//! What groups and pools have in common: members that are spawned anywhere, or on this thread.
//!
//! Bodies that borrow are run by [`Crew::apply`] and [`Crew::map`], which return only when the tasks have ended: they wait
//! through cancellations, and catch what unwinds before they do.

use std::any::type_name;
use std::collections::VecDeque;
use std::marker::PhantomData;
use std::sync::Arc;
#[cfg(feature = "net")]
use std::sync::Mutex;
use std::sync::atomic::AtomicBool;

use super::members::{Members, Ticket};
use crate::coroutine::{region, unwind};
use crate::exception::Raise;
#[cfg(feature = "net")]
use crate::net::Serve;
use crate::runtime::{Shared, Worker};
#[cfg(feature = "net")]
use crate::sync::waiting::lock;
use crate::sync::{Permit, Semaphore};
#[cfg(feature = "net")]
use crate::task::Place;
use crate::task::{self, Anywhere, Builder, JoinError, JoinHandle, Order, SpawnError, Task, ThisThread};

/// Where the members of a group run.
#[allow(unnameable_types, reason = "the two places are given")]
pub trait Home: Sized + 'static {
    /// Makes a task and queues it.
    ///
    /// # Safety
    /// - What `f` and its value borrow stays valid until the task has ended. `borrows` says whether they do.
    /// - If tasks of this home may start on any thread, both are `Send`.
    #[track_caller]
    unsafe fn submit<F, T>(builder: Builder, f: F, borrows: bool) -> Result<JoinHandle<T, Self>, SpawnError<F>>
    where
        F: FnOnce() -> T;
}

impl Home for Anywhere {
    #[track_caller]
    unsafe fn submit<F, T>(builder: Builder, f: F, borrows: bool) -> Result<JoinHandle<T>, SpawnError<F>>
    where
        F: FnOnce() -> T,
    {
        // SAFETY: the caller's promise.
        Shared::with_current(|shared| unsafe { builder.submit_unchecked(shared, f, borrows) })
    }
}

impl Home for ThisThread {
    #[track_caller]
    unsafe fn submit<F, T>(builder: Builder, f: F, borrows: bool) -> Result<JoinHandle<T, Self>, SpawnError<F>>
    where
        F: FnOnce() -> T,
    {
        let worker = Worker::get().expect("a local group is for code that runs in a task or on a `LocalRuntime`");
        // SAFETY: the caller's promise; it is this thread's worker.
        unsafe { builder.submit_local(worker.shared(), f, borrows) }
    }
}

/// Ends the process where nothing may unwind.
pub(super) struct AbortOnDrop;

impl Drop for AbortOnDrop {
    fn drop(&mut self) {
        std::process::abort();
    }
}

/// A member on its way. Its place is free again if the spawn fails.
struct Launch<'a> {
    members: &'a Arc<Members>,
    ticket: Ticket,
}

impl<'a> Launch<'a> {
    fn new(members: &'a Arc<Members>, permit: Option<Permit>, has_place: bool) -> Self {
        Self { members, ticket: members.launch(permit, has_place) }
    }

    /// Makes the task a member, unless its body has been faster.
    fn succeed(self, task: &Task) {
        _ = self.members.arrive(self.ticket, task);
        std::mem::forget(self);
    }
}

impl Drop for Launch<'_> {
    fn drop(&mut self) {
        self.members.forgo(self.ticket);
    }
}

/// See the module's page. A handle.
pub(super) struct Crew<P> {
    pub(super) members: Arc<Members>,
    _home: PhantomData<P>,
}

impl<P> Clone for Crew<P> {
    fn clone(&self) -> Self {
        Self { members: self.members.clone(), _home: PhantomData }
    }
}

impl<P: Home> Crew<P> {
    pub(super) fn new(places: Option<usize>) -> Self {
        Self { members: Members::new(places, false), _home: PhantomData }
    }

    /// A crew that is joined where it is made, and whose failures are raised there.
    pub(super) fn joined(places: Option<usize>) -> Self {
        Self { members: Members::new(places, true), _home: PhantomData }
    }

    /// Spawns a member that has its place.
    ///
    /// # Safety
    /// - As [`Home::submit`].
    #[track_caller]
    unsafe fn launch<F: FnOnce() -> T, T>(&self, permit: Option<Permit>, f: F, borrows: bool) -> JoinHandle<T, P> {
        let builder = Builder::new().name(type_name::<F>());
        // SAFETY: the caller's promise.
        let spawned = unsafe { self.launch_by(builder, permit, f, borrows) };
        spawned.unwrap_or_else(|error| panic!("{error}"))
    }

    /// As [`launch`](Self::launch), as `builder` says.
    ///
    /// # Safety
    /// - As there.
    ///
    /// # Errors
    /// The runtime refuses; the place is free again.
    unsafe fn launch_by<F: FnOnce() -> T, T>(
        &self,
        builder: Builder,
        permit: Option<Permit>,
        f: F,
        borrows: bool,
    ) -> Result<JoinHandle<T, P>, SpawnError<()>> {
        let launch = Launch::new(&self.members, permit, true);
        // SAFETY: the caller's promise.
        unsafe { self.fly(launch, builder, f, borrows) }
    }

    /// Spawns a member that was launched.
    ///
    /// # Safety
    /// - As [`launch`](Self::launch).
    ///
    /// # Errors
    /// The runtime refuses; the place is free again.
    unsafe fn fly<F: FnOnce() -> T, T>(
        &self,
        launch: Launch<'_>,
        builder: Builder,
        f: F,
        borrows: bool,
    ) -> Result<JoinHandle<T, P>, SpawnError<()>> {
        let (members, ticket) = (self.members.clone(), launch.ticket);
        let body = move || {
            let is_asked = members.arrive(ticket, &task::current());
            drop(members);
            if is_asked {
                task::throw_if_due();
            }
            f()
        };
        // SAFETY: the caller's promise; `Members` is `Send`.
        let handle = match unsafe { P::submit(builder, body, borrows) } {
            Ok(handle) => handle,
            Err(error) => {
                // Before the body is dropped, for a destructor there may wait for the members.
                drop(launch);
                return Err(SpawnError { closure: (), reason: error.reason });
            }
        };
        // What borrows must be waited for: nothing unwinds past the handle.
        let strict = borrows.then(|| AbortOnDrop);
        launch.succeed(&handle.task());
        std::mem::forget(strict);
        Ok(handle)
    }

    /// Spawns a member, waiting for a place.
    ///
    /// # Safety
    /// - As [`Home::submit`]; nothing is borrowed.
    #[track_caller]
    pub(super) unsafe fn spawn<F: FnOnce() -> T, T>(&self, f: F) -> JoinHandle<T, P> {
        let permit = self.members.take_place();
        // SAFETY: the caller's promise.
        unsafe { self.launch(permit, f, false) }
    }

    /// Spawns a member, waiting for a place; `None` if `is_stopped` says so by then, and `f` is dropped.
    ///
    /// # Safety
    /// - As [`Home::submit`]; nothing is borrowed.
    pub(super) unsafe fn spawn_unless<F: FnOnce() -> T, T>(
        &self,
        is_stopped: &AtomicBool,
        f: F,
    ) -> Option<JoinHandle<T, P>> {
        let permit = self.members.take_place();
        let ticket = self.members.launch_unless(is_stopped, permit)?;
        let launch = Launch { members: &self.members, ticket };
        // SAFETY: the caller's promise.
        let spawned = unsafe { self.fly(launch, Builder::new().name(type_name::<F>()), f, false) };
        Some(spawned.unwrap_or_else(|error| panic!("{error}")))
    }

    /// Spawns a member if there is a place.
    ///
    /// # Safety
    /// - As [`Home::submit`]; nothing is borrowed.
    #[track_caller]
    pub(super) unsafe fn try_spawn<F: FnOnce() -> T, T>(&self, f: F) -> Result<JoinHandle<T, P>, F> {
        // SAFETY: the caller's promise.
        unsafe { self.spawn_by(f, Semaphore::try_hold) }
    }

    /// Spawns a member if `hold` gets a place.
    ///
    /// # Safety
    /// - As [`Home::submit`]; nothing is borrowed.
    #[track_caller]
    pub(super) unsafe fn spawn_by<F: FnOnce() -> T, T>(
        &self,
        f: F,
        hold: impl FnOnce(&Semaphore) -> Option<Permit>,
    ) -> Result<JoinHandle<T, P>, F> {
        match self.members.take_place_by(hold) {
            // SAFETY: the caller's promise.
            Ok(permit) => Ok(unsafe { self.launch(permit, f, false) }),
            Err(()) => Err(f),
        }
    }

    /// Spawns a member that waits for its place itself.
    ///
    /// # Safety
    /// - As [`Home::submit`]; nothing is borrowed.
    #[track_caller]
    pub(super) unsafe fn apply_async<F: FnOnce() -> T, T>(&self, f: F) -> JoinHandle<T, P> {
        // SAFETY: the caller's promise.
        let f = match unsafe { self.try_spawn(f) } {
            Ok(handle) => return handle,
            Err(f) => f,
        };
        let launch = Launch::new(&self.members, None, false);
        let (members, ticket) = (self.members.clone(), launch.ticket);
        let body = move || {
            let task = task::current();
            if members.arrive(ticket, &task) {
                task::throw_if_due();
            }
            let permit = members.take_place();
            members.settle(&task, permit);
            drop((members, task));
            f()
        };
        // In line, for so do they come to stand in line for a place.
        let plan = Builder::new().name(type_name::<F>()).spawn_order(Order::Fifo);
        // SAFETY: the caller's promise; `Members` is `Send`.
        let spawned = unsafe { P::submit(plan, body, false) };
        let handle = match spawned {
            Ok(handle) => handle,
            Err(error) => {
                drop(launch);
                panic!("{error}");
            }
        };
        launch.succeed(&handle.task());
        handle
    }

    /// Runs `f` as a member and waits for its value; in place if a member calls.
    ///
    /// # Safety
    /// - If tasks of this home may start on any thread, `f` and its value are `Send`.
    #[track_caller]
    pub(super) unsafe fn apply<F: FnOnce() -> T, T>(&self, f: F) -> T {
        if self.members.contains_current() {
            return f();
        }
        region::forbid("wait");
        let permit = self.members.take_place();
        // SAFETY: the caller's promise; the task has ended when `join_through_cancel` returns, and nothing unwinds before.
        let handle = unsafe { self.launch(permit, f, true) };
        match self.finish(handle) {
            Ok(value) => value,
            Err(error) => fail(error),
        }
    }

    /// Waits for a member that borrows, which has left when this returns.
    fn finish<T>(&self, handle: JoinHandle<T, P>) -> Result<T, JoinError> {
        let task = handle.task();
        let result = handle.join_through_cancel();
        // If it had ended before, its link may be still to come.
        self.members.leave(&task);
        result
    }

    /// Runs `f` for every item, each call as a member, and gives the values in the order of the items.
    ///
    /// # Safety
    /// - If tasks of this home may start on any thread, the items and values are `Send`, and `f` is `Sync`.
    pub(super) unsafe fn map<I: IntoIterator, R>(&self, items: I, f: &impl Fn(I::Item) -> R) -> Vec<R> {
        region::forbid("wait");
        let mut handles = VecDeque::new();
        // Whatever unwinds here is caught: the tasks borrow, and must be waited for.
        let spawned = unwind::intercept(|| {
            for item in items {
                let permit = self.members.take_place();
                // SAFETY: the caller's promise; all tasks have ended before this function returns or unwinds.
                handles.push_back(unsafe { self.launch(permit, move || f(item), true) });
            }
        });
        if spawned.is_err() {
            handles.iter().for_each(JoinHandle::cancel);
        }
        let mut values = Vec::with_capacity(handles.len());
        let mut failure = None;
        while let Some(handle) = handles.pop_front() {
            match self.finish(handle) {
                Ok(value) => values.push(value),
                Err(error) => failure = failure.or(Some(error)),
            }
            if task::is_cancelled() {
                handles.iter().for_each(JoinHandle::cancel);
            }
        }
        if let Err(payload) = spawned {
            unwind::throw(payload);
        }
        match failure {
            None => values,
            Some(error) => fail(error),
        }
    }
}

#[cfg(feature = "net")]
impl Crew<Anywhere> {
    /// Spawns a member that serves somebody, and may do so for long, if there is a place: on the emptier of two workers.
    ///
    /// # Errors
    /// There is none, or the runtime refuses; `serve` comes back.
    pub(super) fn try_serve(&self, serve: Serve) -> Result<Task, Serve> {
        let has_stacks = Shared::with_current(|shared| shared.check_stack(shared.stack_size).is_ok());
        let Some(permit) = self.members.take_place_by(Semaphore::try_hold).ok().filter(|_| has_stacks) else {
            return Err(serve);
        };
        // What is refused comes back inside of the member's body, which it could not be taken out of.
        let kept = Arc::new(Mutex::new(Some(serve)));
        let take = {
            let kept = kept.clone();
            move || lock(&kept).take().expect("a body runs once, or never")
        };
        let builder = Builder::new().name(type_name::<Serve>()).place(Place::Spread);
        // SAFETY: the body is `Send` and `'static`.
        match unsafe { self.launch_by(builder, permit, move || take()(), false) } {
            Ok(handle) => Ok(handle.task()),
            Err(_) => Err(lock(&kept).take().expect("it was not run")),
        }
    }
}

/// Unwinds the caller with a member's failure; with its own cancellation, if that was why.
fn fail(error: JoinError) -> ! {
    if error.is_cancelled() {
        task::throw_if_due();
    }
    error.raise()
}
