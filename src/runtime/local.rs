//! A runtime on the calling thread: one worker that works while somebody calls it.
//!
//! # Invariants
//! - The worker belongs to the thread that made it. It is this thread's current worker while it is entered.
//! - Outside of that it counts as asleep, so whoever pushes work rings its bell.

use std::cell::Cell;
use std::fmt;
use std::marker::PhantomData;
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use super::diagnosis::Deadlock;
use super::shared::{Shared, World};
use super::worker::{Deques, Worker};
use super::{Metrics, PATIENCE, ShutdownError};
use crate::coroutine::region::{self, Scan};
use crate::coroutine::unwind;
use crate::coroutine::{self, current};
use crate::exception::{Report, report};
use crate::stack::StackSize;
use crate::task::{self, JoinHandle, LocalHandle, RawTask};

/// A runtime on the calling thread, with no threads of its own: gevent's hub.
///
/// Its tasks run while one of its methods does. They take turns in one line, in the order in which they were spawned, woken
/// or yielded, so a program's output is the same each time. For programs that want one thread, for tests, and for other
/// event loops to drive: see [`event_fd`](Self::event_fd).
///
/// It stays on its thread, and may be told to run in a task of another runtime, whose worker it then holds. Dropping it
/// cancels its tasks and runs until they have ended, for at most ten seconds.
///
/// # Examples
/// ```
/// use osier::runtime::LocalRuntime;
/// use osier::{spawn_local, yield_now};
/// use std::{cell::RefCell, rc::Rc};
///
/// let log = Rc::new(RefCell::new(String::new()));
/// LocalRuntime::new().run(|| {
///     let writers: Vec<_> = ["a", "b"]
///         .map(|name| {
///             let log = log.clone();
///             spawn_local(move || {
///                 for _ in 0..3 {
///                     *log.borrow_mut() += name;
///                     yield_now();
///                 }
///             })
///         })
///         .into();
///     writers.into_iter().for_each(|writer| writer.join().unwrap());
/// });
/// assert_eq!(*log.borrow(), "ababab");
/// ```
///
/// It is not `Send`:
/// ```compile_fail
/// let runtime = osier::runtime::LocalRuntime::new();
/// std::thread::spawn(move || runtime.run_until_idle());
/// ```
pub struct LocalRuntime {
    inner: Inner,
}

struct Inner {
    /// In an option for the end alone, which may have to leave it.
    worker: Option<Box<Worker>>,
    is_entered: Cell<bool>,
    is_over: Cell<bool>,
    _thread: PhantomData<*mut ()>,
}

impl Default for LocalRuntime {
    fn default() -> Self {
        Self::new()
    }
}

impl LocalRuntime {
    /// Makes one with the default stack size; [`Builder::build_local`](super::Builder::build_local) has more to set.
    pub fn new() -> Self {
        Self::built(StackSize::DEFAULT, World::default())
    }

    /// Makes one for a single task, that was started from `outer`.
    pub(crate) fn within(outer: Weak<Shared>) -> Self {
        let runtime = Self::new();
        runtime.worker().shared().set_outer(outer);
        runtime
    }

    pub(super) fn built(stack_size: StackSize, world: World) -> Self {
        let deques = Deques::new();
        let world = World { is_local: true, ..world };
        let shared = Shared::new(std::slice::from_ref(&deques), stack_size, world);
        shared.idle.fall_asleep(0, false);
        let worker = Worker::new_local(shared, deques);
        let inner = Inner {
            worker: Some(Box::new(worker)),
            is_entered: Cell::new(false),
            is_over: Cell::new(false),
            _thread: PhantomData,
        };
        Self { inner }
    }

    pub(super) fn worker(&self) -> &Worker {
        self.inner.worker()
    }

    /// Whether the caller is a task of this runtime.
    fn is_running_caller(&self) -> bool {
        Worker::get().is_some_and(|worker| std::ptr::eq(worker, self.worker())) && RawTask::current().is_some()
    }

    /// Runs `f` as a task and waits for its value. `f` may borrow, and need not be `Send`. Other tasks run meanwhile; those
    /// that have not ended when `f` has stay, for the next call.
    ///
    /// # Suspends
    /// In a task of this runtime, that task. Elsewhere it works on the calling thread, and sleeps when there is nothing to
    /// do.
    ///
    /// # Cancel safety
    /// If the calling task is cancelled, `f`'s task is cancelled, and waited for, before the caller unwinds.
    ///
    /// # Panics
    /// With `f`'s panic; an exception that leaves `f` is raised. If `f` ends by a cancel of its task. With a [`Deadlock`], if
    /// it is certain that nobody can go on any more. If the runtime is entered further down the stack, through a task of
    /// another one. In the destructor of a thread-local, if there are tasks from before: what they borrow may be gone.
    #[track_caller]
    pub fn run<F, T>(&self, f: F) -> T
    where
        F: FnOnce() -> T,
    {
        self.try_run(f).unwrap_or_else(|deadlock| panic!("{deadlock}"))
    }

    /// Runs `f` as [`run`](Self::run) does.
    ///
    /// # Suspends
    /// As [`run`](Self::run).
    ///
    /// # Cancel safety
    /// As [`run`](Self::run).
    ///
    /// # Errors
    /// As [`Runtime::try_run`](super::Runtime::try_run).
    ///
    /// # Panics
    /// As [`run`](Self::run), but for deadlocks.
    ///
    /// # Examples
    /// ```
    /// use osier::Runtime;
    /// use osier::sync::channel;
    ///
    /// let runtime = Runtime::builder().closed_world(true).build_local();
    /// let deadlock = runtime.try_run(|| {
    ///     let (sender, receiver) = channel::bounded::<u32>(1);
    ///     let received = receiver.recv();
    ///     drop(sender);
    ///     received
    /// });
    /// assert!(deadlock.unwrap_err().to_string().contains("waits for a channel"));
    /// ```
    #[track_caller]
    pub fn try_run<F, T>(&self, f: F) -> Result<T, Deadlock>
    where
        F: FnOnce() -> T,
    {
        region::forbid("wait");
        let builder = task::Builder::new();
        let inner = &self.inner;
        let worker = inner.worker();
        let submit = || {
            // SAFETY: below it is waited for until it has ended; it stays on this thread.
            let task = unsafe { builder.submit_local(worker.shared(), f, true) };
            task.unwrap_or_else(|error| panic!("{error}"))
        };
        let (result, waits) = if self.is_running_caller() {
            let handle = submit();
            let waits = worker.shared().wait_for_root(handle.task());
            (handle.join_through_cancel(), waits)
        } else {
            let outer = RawTask::current();
            let base = outer.map_or(std::ptr::null(), |task| std::ptr::from_ref(task.frame()));
            let mut deadline = Scan::from(base).deadline_with(None);
            inner.enter_to_run(|worker, mut host| {
                let handle = submit();
                let waits = inner.worker().shared().wait_for_root(handle.task());
                worker.walled(|worker| {
                    for turn in (1_u32..).cycle() {
                        if handle.is_finished() {
                            break;
                        }
                        worker.step_or_sleep(turn, deadline);
                        if deadline.take_if(|deadline| *deadline <= Instant::now()).is_some()
                            || host.as_mut().is_some_and(|host| host.is_newly_asked())
                        {
                            handle.cancel();
                        }
                    }
                });
                (handle.join_through_cancel(), waits)
            })
        };
        super::outcome(result, &waits)
    }

    /// Spawns a task on this runtime, from inside or outside. See [`crate::spawn_local`].
    ///
    /// # Panics
    /// If the runtime is shutting down.
    #[track_caller]
    pub fn spawn_local<F, T>(&self, f: F) -> LocalHandle<T>
    where
        F: FnOnce() -> T + 'static,
        T: 'static,
    {
        let builder = task::Builder::new();
        // SAFETY: both are `'static`, and this is the worker's thread.
        let task = self.as_current(|worker| unsafe { builder.submit_local(worker.shared(), f, false) });
        task.unwrap_or_else(|error| panic!("{error}"))
    }

    /// Spawns a task on this runtime whose handle may go to other threads. See [`crate::spawn`].
    ///
    /// # Panics
    /// If the runtime is shutting down.
    #[track_caller]
    pub fn spawn<F, T>(&self, f: F) -> JoinHandle<T>
    where
        F: FnOnce() -> T + Send + 'static,
        T: Send + 'static,
    {
        let builder = task::Builder::new();
        self.as_current(|worker| builder.spawn_on(worker.shared(), f))
    }

    /// Runs tasks until nothing is left that could go on by itself: tasks that sleep are waited for; those that wait for
    /// each other, or for other threads, are not, nor are [daemons](crate::task::Builder::daemon).
    ///
    /// # Suspends
    /// As [`run`](Self::run).
    ///
    /// # Cancel safety
    /// The tasks that it ran go on when it is called again.
    ///
    /// # Panics
    /// In the destructor of a thread-local, as [`run`](Self::run).
    pub fn run_until_idle(&self) {
        self.wait_idle(None);
    }

    /// As [`run_until_idle`](Self::run_until_idle), for at most `timeout`. True if nothing is left to do. It may be called
    /// again and again: gevent's `wait()` and `hub.join()`.
    ///
    /// # Suspends
    /// As [`run`](Self::run).
    ///
    /// # Cancel safety
    /// The tasks that it ran go on when it is called again.
    ///
    /// # Panics
    /// In the destructor of a thread-local, as [`run`](Self::run).
    pub fn wait_idle(&self, timeout: impl Into<Option<Duration>>) -> bool {
        let timeout = timeout.into();
        if self.is_running_caller() {
            return self.worker().shared().wait_quiet(timeout);
        }
        let deadline = timeout.and_then(|timeout| Instant::now().checked_add(timeout));
        self.inner.enter_to_run(|worker, _| worker.walled(|worker| worker.work_until_idle(deadline)))
    }

    /// Runs what is ready now, once; if nothing is, waits for something for at most `timeout`. True if anything ran.
    ///
    /// For foreign event loops, with a timeout of zero.
    ///
    /// # Panics
    /// In a task of this runtime. In the destructor of a thread-local, as [`run`](Self::run).
    pub fn run_once(&self, timeout: impl Into<Option<Duration>>) -> bool {
        assert!(!self.is_running_caller(), "`run_once` was called in a task of the same runtime");
        let deadline = timeout.into().map(|timeout| Instant::now().checked_add(timeout).unwrap_or_else(far_future));
        self.inner.enter_to_run(|worker, _| worker.walled(|worker| worker.work_once(deadline)))
    }

    /// When the next sleeping task is due, if one sleeps.
    pub fn next_deadline(&self) -> Option<Instant> {
        self.worker().next_deadline()
    }

    /// A file descriptor that is readable when there is something to do: a task is ready, has been woken by another thread,
    /// is due, or its socket is ready. To be polled by an event loop, which then calls [`run_once`](Self::run_once); nobody else reads from it.
    /// A sleep that was cancelled may make it readable for nothing, once.
    ///
    /// # Errors
    /// The system refuses a descriptor.
    ///
    /// # Examples
    /// ```
    /// use osier::runtime::LocalRuntime;
    /// use std::os::fd::AsRawFd;
    ///
    /// let runtime = LocalRuntime::new();
    /// let mut poll = libc::pollfd { fd: runtime.event_fd()?.as_raw_fd(), events: libc::POLLIN, revents: 0 };
    /// // SAFETY: one struct.
    /// let mut is_readable = || unsafe { libc::poll(&raw mut poll, 1, 0) } == 1;
    /// assert!(!is_readable());
    /// let task = runtime.spawn_local(|| 42);
    /// assert!(is_readable());
    /// runtime.run_once(std::time::Duration::ZERO);
    /// assert!(task.is_finished() && !is_readable());
    /// # Ok::<(), std::io::Error>(())
    /// ```
    #[cfg(target_os = "linux")]
    pub fn event_fd(&self) -> std::io::Result<std::os::fd::BorrowedFd<'_>> {
        let shared = self.worker().shared();
        if let Some(bell) = shared.bell.get() {
            return Ok(bell.as_fd());
        }
        let new = super::bell::Bell::new()?;
        let bell = shared.bell.get_or_init(|| new);
        if !self.inner.is_entered.get() {
            self.worker().set_bell();
        }
        Ok(bell.as_fd())
    }

    /// What the worker has done.
    pub fn metrics(&self) -> Metrics {
        Metrics::read(self.worker().shared())
    }

    /// Cancels every task and runs until all have unwound, at most until `deadline` has passed.
    ///
    /// # Errors
    /// Some tasks have not ended. They are left behind, with their stacks. In the destructor of a thread-local all are, at
    /// once: what they borrow may be gone.
    pub fn shutdown(mut self, deadline: Duration) -> Result<(), ShutdownError> {
        self.inner.shut_down(deadline)
    }

    /// Lends the worker as the current one, for spawning.
    fn as_current<T>(&self, f: impl FnOnce(&Worker) -> T) -> T {
        if Worker::get().is_some_and(|worker| std::ptr::eq(worker, self.worker())) {
            return f(self.worker());
        }
        self.inner.enter(f)
    }
}

/// The task of another runtime that a local runtime works in. Whoever asks it to end wakes this one, for its own worker cannot
/// see to that.
struct Host<'a> {
    task: RawTask,
    guest: &'a Shared,
    was_asked: bool,
    /// What is put back at the end.
    before: Option<Arc<Shared>>,
}

impl<'a> Host<'a> {
    fn begin(task: RawTask, guest: &'a Shared) -> Self {
        Self::runtime(task).begin_nested(guest);
        let before = task.set_nested(guest.arc());
        Self { task, guest, was_asked: false, before }
    }

    fn runtime<'t>(task: RawTask) -> &'t Shared {
        // SAFETY: the task runs while it is a host, so its runtime is alive.
        unsafe { &*task.runtime() }
    }

    /// Whether somebody has asked the task to end, or its runtime closes, for the first time.
    fn is_newly_asked(&mut self) -> bool {
        if self.was_asked {
            return false;
        }
        if Self::runtime(self.task).is_closing() {
            self.task.request_cancel();
        }
        self.was_asked = task::is_due(self.task);
        self.was_asked
    }
}

impl Drop for Host<'_> {
    fn drop(&mut self) {
        Self::runtime(self.task).end_nested(self.guest);
        self.task.set_nested(self.before.take());
    }
}

fn far_future() -> Instant {
    Instant::now() + Duration::from_secs(1 << 30)
}

/// Sets what was current before, when a runtime is left.
struct Leaves<'a> {
    inner: &'a Inner,
    worker: *const (),
    task: *const (),
}

impl Drop for Leaves<'_> {
    fn drop(&mut self) {
        self.inner.worker().go_to_rest();
        current::set_worker(self.worker);
        current::set_task(self.task);
        self.inner.is_entered.set(false);
    }
}

impl Inner {
    fn worker(&self) -> &Worker {
        self.worker.as_ref().expect("there until the end of the drop")
    }

    /// Runs `f` with this as the thread's current worker, and no current task.
    fn enter<T>(&self, f: impl FnOnce(&Worker) -> T) -> T {
        let worker = self.worker();
        assert!(!worker.shared().is_forked(), "{}", super::fork::MESSAGE);
        assert!(
            !self.is_entered.replace(true),
            "a `LocalRuntime` was entered through another runtime that one of its own tasks runs"
        );
        let _leaves = Leaves { inner: self, worker: current::worker(), task: current::task() };
        current::set_worker(std::ptr::from_ref(worker).cast());
        current::set_task(std::ptr::null());
        worker.get_up();
        // So that what happens does not depend on what this thread has done before.
        current::fill_budget();
        unwind::hosting(|| f(worker))
    }

    /// As [`enter`](Self::enter), to run tasks: also those that were there before, unless this is the destructor of a
    /// thread-local, and what they borrow may be gone. `f` gets the task that the caller is, if it is one.
    fn enter_to_run<T>(&self, f: impl FnOnce(&Worker, Option<&mut Host<'_>>) -> T) -> T {
        let caller = RawTask::current();
        let f = |worker: &Worker| {
            let mut host = caller.map(|task| Host::begin(task, worker.shared()));
            f(worker, host.as_mut())
        };
        if self.is_idle() {
            return self.enter(f);
        }
        assert!(
            !coroutine::is_thread_ending(),
            "a `LocalRuntime` that has tasks was told to run them in the destructor of a thread-local"
        );
        coroutine::vouching(|| self.enter(f))
    }

    /// Whether no task is left that has not ended.
    fn is_idle(&self) -> bool {
        self.worker().shared().unfinished() == 0
    }

    /// Leaves the worker behind, with all its tasks and their stacks.
    fn leave(&mut self) {
        report(&Report::Leaked { name: "a local runtime" });
        std::mem::forget(self.worker.take());
    }

    fn shut_down(&mut self, patience: Duration) -> Result<(), ShutdownError> {
        self.is_over.set(true);
        if !self.is_idle() && coroutine::is_thread_ending() {
            self.worker().shared().close();
            let shared = self.worker().shared();
            let left = shared.leave(shared.abandon());
            self.leave();
            return left;
        }
        self.worker().shared().close();
        let deadline = Instant::now().checked_add(patience);
        self.enter_to_run(|worker, _| {
            let has_ended = worker.walled(|worker| worker.work_to_the_end(deadline));
            let mut left = Ok(());
            if !has_ended {
                let names = worker.shared().abandon();
                worker.refuse_fresh();
                left = worker.shared().leave(names);
            }
            worker.drain();
            left
        })
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        if self.is_over.get() {
            return;
        }
        if self.worker().shared().is_forked() {
            // The parent has these tasks.
            std::mem::forget(self.worker.take());
            return;
        }
        if cfg!(panic = "abort") && !self.is_idle() {
            // Nothing can be unwound.
            return self.leave();
        }
        if let Err(error) = self.shut_down(PATIENCE)
            && self.worker.is_some()
        {
            eprintln!("osier: {error}");
        }
    }
}

impl fmt::Debug for LocalRuntime {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LocalRuntime").field("unfinished_tasks", &self.worker().shared().unfinished()).finish()
    }
}
