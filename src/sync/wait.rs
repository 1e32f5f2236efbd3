//! Waiting for several objects of different kinds: each one as it gets ready.

use std::cell::{Cell, UnsafeCell};
use std::fmt;
use std::iter::FusedIterator;
use std::ptr::NonNull;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::async_result::AsyncResult;
use super::event::{Event, RawEvent};
use super::select::Operand;
use super::select::expansion::Operation;
use super::semaphore::{BoundedSemaphore, RawSemaphore, Semaphore};
use super::waiting::after;
use crate::task::{Crowd, HasTask, JoinError, JoinHandle, Task, ToTask, Waiter, try_current};
use crate::time::Elapsed;

/// What [`wait`] waits for: the end of a task, an event that is set, a result that has come, a permit to be had. Sealed.
pub trait Wait {
    /// Seals it: nobody else can make an [`Operation`].
    #[doc(hidden)]
    fn __osier_wait(&self) -> Operation<'_>;
}

/// Handles of what is waited for.
macro_rules! wait_through {
    ($($handle:ty),+) => {$(
        impl<W: Wait + ?Sized> Wait for $handle {
            fn __osier_wait(&self) -> Operation<'_> {
                (**self).__osier_wait()
            }
        }
    )+};
}

wait_through!(&W, Box<W>, Rc<W>, Arc<W>);

/// Lets users wait for something, through what is watched of it.
macro_rules! wait_for {
    (<$($generics:ident),*> $object:ty, $watched:expr) => {
        impl<$($generics),*> Wait for $object {
            fn __osier_wait(&self) -> Operation<'_> {
                let watched: fn(&Self) -> &_ = $watched;
                Operation::of(watched(self))
            }
        }
    };
}

wait_for!(<T, P> JoinHandle<T, P>, |handle| handle);
wait_for!(<> Task, |task| task);

impl<T, P> Operand for JoinHandle<T, P> {
    fn is_ready(&self) -> bool {
        self.is_finished()
    }

    unsafe fn watch(&self, waiter: *const Waiter) -> bool {
        // SAFETY: the caller's promise.
        unsafe { self.raw().watch(waiter) }
    }

    fn unwatch(&self, waiter: &Waiter) {
        self.raw().unwatch(waiter);
    }
}

impl Operand for Task {
    fn is_ready(&self) -> bool {
        self.is_finished()
    }

    unsafe fn watch(&self, waiter: *const Waiter) -> bool {
        // SAFETY: the caller's promise.
        unsafe { self.raw().watch(waiter) }
    }

    fn unwatch(&self, waiter: &Waiter) {
        self.raw().unwatch(waiter);
    }
}

impl Operand for RawEvent {
    fn is_ready(&self) -> bool {
        self.is_set()
    }

    unsafe fn watch(&self, waiter: *const Waiter) -> bool {
        // SAFETY: the caller's promise.
        unsafe { self.watch(waiter) }
    }

    fn unwatch(&self, waiter: &Waiter) {
        self.unwatch(waiter);
    }
}

impl Operand for RawSemaphore {
    fn is_ready(&self) -> bool {
        self.is_ready()
    }

    unsafe fn watch(&self, waiter: *const Waiter) -> bool {
        // SAFETY: the caller's promise.
        unsafe { self.watch(waiter) }
    }

    fn unwatch(&self, waiter: &Waiter) {
        self.unwatch(waiter);
    }
}

wait_for!(<> Event, |event| event.raw());
wait_for!(<T> AsyncResult<T>, |result| result.ready());
wait_for!(<> Semaphore, |semaphore| semaphore.raw());
wait_for!(<> BoundedSemaphore, |semaphore| semaphore.raw());

/// Waits for several objects, and gives their indices as they get ready: each once, in that order.
///
/// gevent's `iwait`, and with [`count`](Waiting::count) and [`timeout`](Waiting::timeout) its `wait`. Those that are
/// ready from the start come first. Nothing is taken from an object: a task is still to be joined.
///
/// # Examples
/// ```
/// use osier::sync::Event;
/// use osier::{spawn, wait};
/// use std::sync::Arc;
///
/// osier::run(|| {
///     let go_on = Arc::new(Event::new());
///     let event = go_on.clone();
///     let slow = spawn(move || event.wait());
///     let quick = spawn(|| ());
///     let tasks: [&dyn osier::Wait; 2] = [&slow, &quick];
///     let mut ended = wait(&tasks);
///     assert_eq!(ended.next(), Some(1));
///     go_on.set();
///     assert_eq!(ended.next(), Some(0));
/// });
/// ```
///
/// A list of handles, which need not be of one type, as references:
/// ```
/// use osier::{JoinHandle, Wait, spawn, wait};
///
/// osier::run(|| {
///     let mut handles: Vec<JoinHandle<u32>> = (0..3).map(|n| spawn(move || n * n)).collect();
///     let objects: Vec<&dyn Wait> = handles.iter().map(|handle| handle as &dyn Wait).collect();
///     let first = wait(&objects).next().unwrap();
///     assert_eq!(handles.swap_remove(first).join().unwrap(), (first * first) as u32);
/// });
/// ```
pub fn wait<'a>(objects: &'a [&'a dyn Wait]) -> Waiting<'a> {
    Waiting { objects, left: objects.len(), limit: Limit::None, places: None }
}

/// See [`wait`]. Dropping it leaves the objects that have not been ready yet.
#[must_use = "waits when it is iterated"]
pub struct Waiting<'a> {
    objects: &'a [&'a dyn Wait],
    /// How many are still to be given.
    left: usize,
    limit: Limit,
    /// Made with the first `next`.
    places: Option<Places>,
}

/// How long to wait.
#[derive(Clone, Copy)]
enum Limit {
    None,
    /// From the first `next` on.
    For(Duration),
    Until(Instant),
}

impl Waiting<'_> {
    /// Ends after `n` objects.
    pub fn count(mut self, n: usize) -> Self {
        self.left = self.left.min(n);
        self
    }

    /// Ends after `d`, counted from the first [`next`](Iterator::next).
    pub fn timeout(mut self, d: Duration) -> Self {
        self.limit = Limit::For(d);
        self
    }

    /// Ends at `deadline`.
    pub fn deadline(mut self, deadline: Instant) -> Self {
        self.limit = Limit::Until(deadline);
        self
    }

    /// Leaves all objects.
    fn leave(&mut self) {
        if let Some(places) = self.places.take() {
            self.objects
                .iter()
                .enumerate()
                .for_each(|(index, object)| places.leave(index, object.__osier_wait().operand()));
        }
    }
}

/// # Suspends
/// Each `next`: the calling task, or on a plain thread the thread.
///
/// # Cancel safety
/// A task that is cancelled in it has taken nothing; what was ready is given by the following `next`.
impl Iterator for Waiting<'_> {
    type Item = usize;

    fn next(&mut self) -> Option<usize> {
        if self.left == 0 {
            return None;
        }
        if self.places.is_none() {
            if let Limit::For(timeout) = self.limit {
                self.limit = after(timeout).map_or(Limit::None, Limit::Until);
            }
            let places = self.places.insert(Places::new(self.objects.len()));
            for (index, object) in self.objects.iter().enumerate() {
                places.enter(index, object.__osier_wait().operand());
            }
        }
        let deadline = match self.limit {
            Limit::Until(deadline) => Some(deadline),
            Limit::None | Limit::For(_) => None,
        };
        let places = self.places.as_ref()?;
        let mut next = places.next(deadline);
        while let Some(index) = next {
            let object = self.objects[index].__osier_wait();
            // It is not waited for any more, while the others are.
            places.leave(index, object.operand());
            if object.operand().confirms() {
                break;
            }
            places.enter_again(index, object.operand());
            next = places.next(deadline);
        }
        self.left = if next.is_some() { self.left - 1 } else { 0 };
        if self.left == 0 {
            self.leave();
        }
        next
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        (0, Some(self.left))
    }
}

impl FusedIterator for Waiting<'_> {}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.leave();
    }
}

impl fmt::Debug for Waiting<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Waiting").field("objects", &self.objects.len()).field("left", &self.left).finish()
    }
}

/// One waiter for each of some objects, and the crowd that they report to. They point to each other, so they lie in a
/// box that is reached through one pointer.
struct Places(NonNull<PlacesInner>);

struct PlacesInner {
    crowd: Crowd,
    waiters: Vec<UnsafeCell<Waiter>>,
    /// Which of them have entered their object, and not left.
    entered: Vec<Cell<bool>>,
}

impl Places {
    fn new(count: usize) -> Self {
        let entered = vec![Cell::new(false); count];
        let inner = Box::leak(Box::new(PlacesInner { crowd: Crowd::new(count), waiters: Vec::new(), entered }));
        let inner = NonNull::from(inner);
        let crowd = inner.as_ptr().cast_const();
        // SAFETY: made just now; this makes no reference.
        let crowd = unsafe { &raw const (*crowd).crowd };
        // SAFETY: made just now, and nobody else knows it.
        unsafe { (*inner.as_ptr()).waiters.extend((0..count).map(|index| Waiter::among(crowd, index).into())) };
        Self(inner)
    }

    fn inner(&self) -> &PlacesInner {
        // SAFETY: it lives until `self` is dropped, and is changed by nobody.
        unsafe { self.0.as_ref() }
    }

    /// Enters the waiter of an object, which must be left before `self` is dropped.
    fn enter(&self, index: usize, object: &dyn Operand) {
        let inner = self.inner();
        // SAFETY: the waiters stay where they are until every object has been left; forgotten, for ever.
        let entered = unsafe { object.watch(inner.waiters[index].get()) };
        inner.entered[index].set(entered);
        if !entered {
            inner.crowd.report(index).fire();
        }
    }

    /// Enters the waiter of an object that was left when the waiter was notified.
    fn enter_again(&self, index: usize, object: &dyn Operand) {
        let inner = self.inner();
        // SAFETY: nobody touches a waiter any more that was notified, nor one that was never entered.
        unsafe { inner.waiters[index].get().write(Waiter::among(&raw const inner.crowd, index)) };
        self.enter(index, object);
    }

    /// Leaves an object, unless that was done before.
    fn leave(&self, index: usize, object: &dyn Operand) {
        let inner = self.inner();
        if !inner.entered[index].replace(false) {
            return;
        }
        // SAFETY: written only by `enter_again`, which nobody runs meanwhile: a crowd has one owner, on one thread.
        let waiter = unsafe { &*inner.waiters[index].get() };
        if waiter.is_notified() {
            object.forget();
        } else {
            object.unwatch(waiter);
        }
    }

    fn next(&self, deadline: Option<Instant>) -> Option<usize> {
        self.inner().crowd.next(deadline)
    }
}

impl Drop for Places {
    fn drop(&mut self) {
        // SAFETY: `new` made the box; every waiter has left its object.
        drop(unsafe { Box::from_raw(self.0.as_ptr()) });
    }
}

/// Waits for all tasks and gives their values, in the order of the handles; or the first failure as soon as it is there:
/// then the other tasks go on, detached.
///
/// # Suspends
/// As [`JoinHandle::join`].
///
/// # Cancel safety
/// As [`JoinHandle::join`].
///
/// # Errors
/// That of the first task that fails, in time.
///
/// # Examples
/// ```
/// let tasks = (0..4).map(|n| osier::spawn(move || n * n));
/// assert_eq!(osier::join_all(tasks).unwrap(), [0, 1, 4, 9]);
/// ```
pub fn join_all<T, P>(handles: impl IntoIterator<Item = JoinHandle<T, P>>) -> Result<Vec<T>, JoinError> {
    join_all_until(handles, None)
}

/// As [`join_all`], for at most `timeout`.
///
/// # Suspends
/// As [`JoinHandle::join`].
///
/// # Cancel safety
/// As [`JoinHandle::join`].
///
/// # Errors
/// As [`join_all`]; with an error that [is a timeout](JoinError::is_timeout) if the time has passed. The tasks that have not
/// been joined go on, detached.
pub fn join_all_timeout<T, P>(
    handles: impl IntoIterator<Item = JoinHandle<T, P>>,
    timeout: Duration,
) -> Result<Vec<T>, JoinError> {
    join_all_until(handles, after(timeout))
}

/// As [`join_all`], until `deadline` at most.
///
/// # Suspends
/// As [`JoinHandle::join`].
///
/// # Cancel safety
/// As [`JoinHandle::join`].
///
/// # Errors
/// As [`join_all_timeout`].
pub fn join_all_deadline<T, P>(
    handles: impl IntoIterator<Item = JoinHandle<T, P>>,
    deadline: Instant,
) -> Result<Vec<T>, JoinError> {
    join_all_until(handles, Some(deadline))
}

fn join_all_until<T, P>(
    handles: impl IntoIterator<Item = JoinHandle<T, P>>,
    deadline: Option<Instant>,
) -> Result<Vec<T>, JoinError> {
    /// Those that have not been joined, which are left when this goes.
    struct Open<T, P> {
        places: Places,
        handles: Vec<Option<JoinHandle<T, P>>>,
    }
    impl<T, P> Drop for Open<T, P> {
        fn drop(&mut self) {
            for (index, handle) in self.handles.iter().enumerate() {
                if let Some(handle) = handle {
                    self.places.leave(index, handle);
                }
            }
        }
    }

    let handles: Vec<_> = handles.into_iter().map(Some).collect();
    let mut open = Open { places: Places::new(handles.len()), handles };
    for (index, handle) in open.handles.iter().enumerate() {
        handle.iter().for_each(|handle| open.places.enter(index, handle));
    }
    let mut values: Vec<Option<T>> = open.handles.iter().map(|_| None).collect();
    // Each is ready once.
    for _ in 0..values.len() {
        let index = open.places.next(deadline).ok_or_else(JoinError::timeout)?;
        if let Some(mut handle) = open.handles[index].take() {
            // It has ended, but its links may take longer.
            values[index] = Some(match deadline {
                None => handle.join()?,
                Some(deadline) => handle.join_deadline(deadline)?,
            });
        }
    }
    Ok(values.into_iter().flatten().collect())
}

/// Cancels all tasks, then waits until they have ended: gevent's `killall`. With a duration, for that long at most.
///
/// Takes handles, [`Task`]s, or references to them. A task that has not started never runs. The running task may be
/// among them: it comes last, and unwinds from here. With `panic = "abort"` no task can be made to end: without a duration
/// this only asks, and fails for those that have not ended.
///
/// # Suspends
/// The calling task, until the others have ended; on a plain thread, the thread.
///
/// # Cancel safety
/// A caller that is cancelled while it waits unwinds from here; the tasks are cancelled all the same.
///
/// # Errors
/// The time is up, or there is none and nothing unwinds; those that have not ended are cancelled all the same.
///
/// # Examples
/// ```
/// use osier::{kill_all, sleep, spawn};
/// use std::time::Duration;
///
/// osier::run(|| {
///     let sleepers: Vec<_> = (0..3).map(|_| spawn(|| sleep(Duration::from_secs(3600)))).collect();
///     kill_all(&sleepers, Duration::from_secs(60)).unwrap();
///     assert!(sleepers.iter().all(|s| s.is_finished()));
/// });
/// ```
pub fn kill_all<I>(tasks: I, d: impl Into<Option<Duration>>) -> Result<(), Elapsed>
where
    I: IntoIterator,
    I::Item: HasTask,
{
    let deadline = d.into().and_then(after);
    let (own, others): (Vec<_>, Vec<_>) =
        tasks.into_iter().map(|task| task.to_task()).partition(|task| try_current().as_ref() == Some(task));
    others.iter().for_each(Task::cancel);
    let mut result = Ok(());
    for task in &others {
        // As `Task::kill`: where nothing unwinds it may wait for ever.
        let only_asks = cfg!(panic = "abort") && deadline.is_none();
        if !task.is_finished() && (only_asks || !task.raw().has_ended_until(deadline)) {
            result = Err(Elapsed);
        }
    }
    own.iter().for_each(Task::kill);
    result
}
