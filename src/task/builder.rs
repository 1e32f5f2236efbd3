//! How a task is to be made.

use std::any::{Any, type_name};
use std::borrow::Cow;
use std::fmt;
use std::panic::Location;
use std::sync::Arc;
use std::time::Duration;

use super::error::{Refusal, SpawnError};
use super::handle::Task;
use super::join::{JoinHandle, LocalHandle};
use super::name::{Data, Name};
use super::raw::{Plan, TaskRef};
use super::sleeper::Sleeper;
use super::stepped::Body;
use crate::coroutine::current;
use crate::runtime::{Shared, Way, Worker};
use crate::stack::StackSize;

/// How a task is to be made: its name, its stack, when and where it starts.
///
/// # Examples
/// ```
/// let handle = osier::task::Builder::new().name("parser").stack_size(256 * 1024).spawn(|| 42);
/// assert_eq!(handle.name(), "parser");
/// assert_eq!(handle.join().unwrap(), 42);
/// ```
#[derive(Clone, Debug)]
#[must_use = "a builder does nothing until `spawn` is called"]
pub struct Builder {
    name: Option<Cow<'static, str>>,
    data: Option<Data>,
    stack_size: Option<StackSize>,
    way: Way,
    is_daemon: bool,
    may_hold: bool,
    site: &'static Location<'static>,
}

impl Default for Builder {
    #[track_caller]
    fn default() -> Self {
        Self::new()
    }
}

/// In which order a worker starts its fresh tasks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Order {
    /// The newest first, as in a call: a tree of tasks stays narrow. Other workers steal the oldest.
    #[default]
    Lifo,
    /// The oldest first, in line with tasks that were woken or that yielded.
    Fifo,
}

/// Where a task starts, and so where it stays.
#[derive(Clone, Copy)]
pub enum Place<'a> {
    /// On the worker that spawns it.
    Here,
    /// On the emptier of two workers: for tasks that live long, as those that a server makes for its connections.
    Spread,
    /// On the worker of another task. If that has not got one yet, wherever it may.
    Beside(&'a dyn HasTask),
}

impl fmt::Debug for Place<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Here => f.write_str("Here"),
            Self::Spread => f.write_str("Spread"),
            Self::Beside(other) => f.debug_tuple("Beside").field(&other.to_task()).finish(),
        }
    }
}

/// What stands for a task: a [`Task`] or one of the handles.
pub trait HasTask: sealed::Sealed {}

impl HasTask for Task {}
impl<T, P> HasTask for JoinHandle<T, P> {}
impl<H: HasTask + ?Sized> HasTask for &H {}

pub(super) mod sealed {
    use super::{JoinHandle, Task};

    #[allow(unnameable_types, reason = "what this crate alone implements")]
    pub trait Sealed {
        fn to_task(&self) -> Task;
    }

    impl<S: Sealed + ?Sized> Sealed for &S {
        fn to_task(&self) -> Task {
            (**self).to_task()
        }
    }

    impl Sealed for Task {
        fn to_task(&self) -> Task {
            self.clone()
        }
    }

    impl<T, P> Sealed for JoinHandle<T, P> {
        fn to_task(&self) -> Task {
            self.task()
        }
    }
}

impl Builder {
    /// Starts with the closure's type as the name, and the runtime's stack size. The caller is who reports say has spawned it.
    #[inline(always)]
    #[track_caller]
    pub fn new() -> Self {
        Self {
            name: None,
            data: None,
            stack_size: None,
            way: Way::default(),
            is_daemon: false,
            may_hold: false,
            site: Location::caller(),
        }
    }

    /// Names the task, in overflow messages and in `Debug`.
    pub fn name(mut self, name: impl Into<Cow<'static, str>>) -> Self {
        self.name = Some(name.into());
        self
    }

    /// Gives the task a value that whoever has a handle of it can [see](Task::data), also after its end: what a request, a
    /// user or a number of its own is to a server. A clone of the builder gives the same value.
    ///
    /// It is dropped with the task's last handle, wherever that is: its destructor must not wait.
    ///
    /// # Examples
    /// ```
    /// use osier::task::{self, Builder};
    /// use std::sync::atomic::{AtomicU32, Ordering};
    ///
    /// let worker = Builder::new().data(AtomicU32::new(0)).spawn(|| {
    ///     task::current().data::<AtomicU32>().unwrap().store(7, Ordering::Relaxed);
    /// });
    /// let seen = worker.task();
    /// worker.join().unwrap();
    /// assert_eq!(seen.data::<AtomicU32>().unwrap().load(Ordering::Relaxed), 7);
    /// assert!(seen.data::<String>().is_none());
    /// ```
    pub fn data(mut self, value: impl Any + Send + Sync) -> Self {
        self.data = Some(Arc::new(value));
        self
    }

    /// Names the task after what runs in it, if it has no name.
    pub(super) fn name_after(mut self, what: &'static str) -> Self {
        self.name.get_or_insert(Cow::Borrowed(what));
        self
    }

    /// Sets the usable bytes of its stack, rounded up to whole pages and to at least [`crate::stack::MIN_STACK_SIZE`].
    pub fn stack_size(mut self, bytes: usize) -> Self {
        self.stack_size = Some(StackSize::from_bytes(bytes));
        self
    }

    /// Says in which order it starts among the fresh tasks of the worker that spawns it.
    ///
    /// # Examples
    /// ```
    /// use osier::task::{Builder, Order};
    ///
    /// let runtime = osier::Runtime::builder().workers(1).build()?;
    /// let started = runtime.run(|| {
    ///     let (sender, receiver) = osier::sync::channel::unbounded();
    ///     for n in 0..3 {
    ///         let sender = sender.clone();
    ///         drop(Builder::new().spawn_order(Order::Fifo).spawn(move || sender.send(n)));
    ///     }
    ///     drop(sender);
    ///     receiver.iter().collect::<Vec<_>>()
    /// });
    /// assert_eq!(started, [0, 1, 2]);
    /// # Ok::<(), std::io::Error>(())
    /// ```
    pub fn spawn_order(mut self, order: Order) -> Self {
        self.way = match order {
            Order::Lifo => Way::Newest,
            Order::Fifo => Way::InLine,
        };
        self
    }

    /// Says on which worker it starts, and stays. Such a task starts in line, and is not stolen.
    ///
    /// # Examples
    /// ```
    /// use osier::task::{self, Builder, Place};
    ///
    /// osier::run(|| {
    ///     let first = Builder::new().place(Place::Spread).spawn(task::worker);
    ///     let beside = Builder::new().place(Place::Beside(&first)).spawn(task::worker);
    ///     assert_eq!(beside.join().unwrap(), first.join().unwrap());
    /// });
    /// ```
    pub fn place(mut self, place: Place<'_>) -> Self {
        self.way = match place {
            Place::Here => Way::Here,
            Place::Spread => Way::Spread,
            Place::Beside(other) => {
                let task = other.to_task();
                let other = task.raw();
                other.settled_home().map_or(Way::Newest, |home| Way::On { runtime: other.runtime().addr(), home })
            }
        };
        self
    }

    /// Makes it a task that only serves others: its runtime counts as idle although it sleeps, or waits.
    ///
    /// # Examples
    /// ```
    /// use osier::{runtime::LocalRuntime, sleep, task::Builder};
    /// use std::time::Duration;
    ///
    /// let runtime = LocalRuntime::new();
    /// runtime.run(|| drop(Builder::new().daemon().spawn(|| loop { sleep(Duration::from_secs(60)) })));
    /// runtime.run_until_idle();
    /// ```
    pub fn daemon(mut self) -> Self {
        self.is_daemon = true;
        self
    }

    /// Lets the task hold its worker for as long as it likes: the
    /// [watchdog](crate::runtime::Builder::watchdog) does not report it. For what is known to compute for long, where nobody
    /// waits for that worker.
    pub fn unwatched(mut self) -> Self {
        self.may_hold = true;
        self
    }

    /// Spawns `f`, as [`spawn_local`](super::spawn_local) does. Where it starts is settled by that.
    ///
    /// # Panics
    /// As [`spawn_local`](super::spawn_local).
    pub fn spawn_local<F, T>(self, f: F) -> LocalHandle<T>
    where
        F: FnOnce() -> T + 'static,
        T: 'static,
    {
        let worker = Worker::get().expect("`spawn_local` is for code that runs in a task or on a `LocalRuntime`");
        // SAFETY: the runtime is this thread's worker's, and closure and value are `'static`.
        let spawned = unsafe { self.submit_local(worker.shared(), f, false) };
        spawned.unwrap_or_else(|error| panic!("{error}"))
    }

    /// Spawns `f`, as [`spawn`](super::spawn) does.
    ///
    /// # Panics
    /// If the runtime is shutting down.
    // Inlined down to the queue, as everything on the way is: each closure is of its own type, so that costs no code, and
    // the plan and the closure are not moved from call to call (a tenth of a spawn and join).
    #[inline(always)]
    pub fn spawn<F, T>(self, f: F) -> JoinHandle<T>
    where
        F: FnOnce() -> T + Send + 'static,
        T: Send + 'static,
    {
        Shared::with_current(|shared| self.spawn_on(shared, f))
    }

    /// Spawns a task that runs `f` after `d`, as [`spawn_later`](super::spawn_later) does.
    ///
    /// # Panics
    /// If the runtime is shutting down.
    pub fn spawn_later<F, T>(self, d: Duration, f: F) -> JoinHandle<T>
    where
        F: FnOnce() -> T + Send + 'static,
        T: Send + 'static,
    {
        let deadline = current::now().checked_add(d);
        self.name_after(type_name::<F>()).spawn(move || {
            _ = Sleeper::current().wait(deadline, || false, || true);
            f()
        })
    }

    /// Spawns `f`, as [`try_spawn`](super::try_spawn) does.
    ///
    /// # Errors
    /// As [`try_spawn`](super::try_spawn).
    pub fn try_spawn<F, T>(self, f: F) -> Result<JoinHandle<T>, SpawnError<F>>
    where
        F: FnOnce() -> T + Send + 'static,
        T: Send + 'static,
    {
        Shared::with_current(|shared| self.try_spawn_on(shared, f))
    }

    /// Spawns `f` where it does not end with the calling thread: see [`Shared::with_lasting`].
    pub(crate) fn try_spawn_lasting<F, T>(self, f: F) -> Result<JoinHandle<T>, SpawnError<F>>
    where
        F: FnOnce() -> T + Send + 'static,
        T: Send + 'static,
    {
        Shared::with_lasting(|shared| self.try_spawn_on(shared, f))
    }

    #[inline(always)]
    pub(crate) fn spawn_on<F, T>(self, shared: &Shared, f: F) -> JoinHandle<T>
    where
        F: FnOnce() -> T + Send + 'static,
        T: Send + 'static,
    {
        // SAFETY: closure and value are `'static`.
        match unsafe { self.submit(shared, f, false) } {
            Ok(handle) => handle,
            Err(error) => panic!("{error}"),
        }
    }

    pub(crate) fn try_spawn_on<F, T>(self, shared: &Shared, f: F) -> Result<JoinHandle<T>, SpawnError<F>>
    where
        F: FnOnce() -> T + Send + 'static,
        T: Send + 'static,
    {
        let stack_size = self.stack_size.unwrap_or(shared.stack_size);
        match shared.check_stack(stack_size) {
            // SAFETY: closure and value are `'static`.
            Ok(()) => unsafe { self.submit(shared, f, false) },
            Err(error) => Err(SpawnError { closure: f, reason: Refusal::NoStack(error) }),
        }
    }

    /// Makes a task and queues it.
    ///
    /// # Safety
    /// - What `f` and its value borrow stays valid until the task has ended. `borrows` says whether they do.
    #[inline(always)]
    pub(crate) unsafe fn submit<F, T>(
        self,
        shared: &Shared,
        f: F,
        borrows: bool,
    ) -> Result<JoinHandle<T>, SpawnError<F>>
    where
        F: FnOnce() -> T + Send,
        T: Send,
    {
        // SAFETY: the caller's promise; both are `Send`.
        unsafe { self.submit_anything(shared, f, borrows, false) }.map(JoinHandle::new)
    }

    /// Makes a task and queues it, for callers who know more than the types say.
    ///
    /// # Safety
    /// - As [`submit`](Self::submit); `f` and its value are `Send`.
    pub(crate) unsafe fn submit_unchecked<F, T>(
        self,
        shared: &Shared,
        f: F,
        borrows: bool,
    ) -> Result<JoinHandle<T>, SpawnError<F>>
    where
        F: FnOnce() -> T,
    {
        // SAFETY: the caller's promise.
        unsafe { self.submit_anything(shared, f, borrows, false) }.map(JoinHandle::new)
    }

    /// Makes a task that stays on this thread, and queues it.
    ///
    /// # Safety
    /// - `shared` is the runtime of this thread's worker.
    /// - What `f` and its value borrow stays valid until the task has ended. `borrows` says whether they do.
    pub(crate) unsafe fn submit_local<F, T>(
        mut self,
        shared: &Shared,
        f: F,
        borrows: bool,
    ) -> Result<LocalHandle<T>, SpawnError<F>>
    where
        F: FnOnce() -> T,
    {
        self.way = Way::Here;
        // SAFETY: the caller's promise; the way and the plan say that it stays here.
        unsafe { self.submit_anything(shared, f, borrows, true) }.map(LocalHandle::new)
    }

    /// Makes a task and queues it.
    ///
    /// # Safety
    /// - As [`submit`](Self::submit).
    /// - `f` and its value are `Send`; or the way is `Here`, `is_local` is set, and this is a worker's thread.
    #[inline(always)]
    pub(super) unsafe fn submit_anything<F, T>(
        self,
        shared: &Shared,
        f: F,
        borrows: bool,
        is_local: bool,
    ) -> Result<TaskRef, SpawnError<F>>
    where
        F: Body<T>,
    {
        let name = self.name.unwrap_or(Cow::Borrowed(type_name::<F>()));
        let plan = Plan {
            name: match (self.data, self.may_hold) {
                (None, false) => Name::from(name),
                (data, may_hold) => Name::with(name, data, may_hold),
            },
            site: self.site,
            stack_size: self.stack_size.unwrap_or(shared.stack_size),
            borrows,
            must_run: false,
            is_local,
            is_daemon: self.is_daemon,
        };
        // SAFETY: a runtime outlives its tasks; the caller vouches for what `f` borrows, and for its thread.
        let (task, reference) = unsafe { TaskRef::new(shared, plan, f) };
        match shared.submit(task, self.way) {
            Ok(()) => Ok(reference),
            // SAFETY: these are its types, and it was not queued.
            Err(reason) => Err(SpawnError { closure: unsafe { reference.take_closure::<F, T>() }, reason }),
        }
    }
}
