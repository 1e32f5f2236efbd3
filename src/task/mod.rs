//! Tasks: coroutines that a runtime owns and runs on all its workers.
//!
//! [`spawn`] makes a task of a closure. Until it runs for the first time it may be taken by any worker; then it stays on
//! the worker that started it, so values that belong to a thread may live on its stack. It is joined for its value,
//! cancelled, or left alone.
//!
//! | gevent | osier |
//! | --- | --- |
//! | `gevent.spawn(f, x)` | `spawn(move \|\| f(x))` |
//! | `g.get()` | `handle.join()` |
//! | `g.join()` from several | `handle.task()`, and `task.join()` |
//! | `g.kill()`, `g.kill(block=False)` | `handle.kill()`, `handle.cancel()` |
//! | `g.link(f)` | `handle.link(f)` |
//! | `gevent.getcurrent()` | `task::current()` |
//! | `gevent.sleep(0)` | `yield_now()` |
//! | `gevent.sleep(s)` | `sleep(Duration::from_secs(s))` |
//! | `gevent.get_hub().threadpool.apply(f)` | `task::unblock(f)` |
//!
//! # Rooms
//! - `state`: where a task is, and whether it has ended: two words.
//! - `raw`: the task in memory. `carrier`: the coroutine it runs on.
//! - `park`: going away and coming back. `cancel`: unwinding from there.
//! - `sleeper`: who waits, and how. `wait_queue`: for what. `choice`, `crowd`: for several things at once.
//! - `end`: who is told when a task has ended, in which order.
//! - `join`, `handle`, `link`, `error`, `unblock`: what users hold.

mod cancel;
mod carrier;
#[allow(dead_code, reason = "select takes it up")]
mod choice;
#[allow(dead_code, reason = "wait takes it up")]
mod crowd;
mod end;
mod error;
mod handle;
mod join;
mod link;
mod memory;
mod park;
mod raw;
mod sleeper;
mod state;
#[cfg(feature = "blocking")]
mod unblock;
#[allow(dead_code, reason = "select and wait take the rest up")]
mod wait_queue;

pub use cancel::{is_cancelled, shield};
pub use error::{JoinError, SpawnError};
pub use handle::{Task, TaskId, current, try_current};
pub use join::{Anywhere, JoinHandle};
pub use link::Link;
pub use park::{park, park_timeout, yield_now};
#[cfg(feature = "blocking")]
pub use unblock::unblock;

pub(crate) use cancel::throw_if_due;
pub(crate) use carrier::{Carrier, Pause};
#[allow(unused_imports, reason = "select takes these up")]
pub(crate) use choice::Choice;
#[allow(unused_imports, reason = "wait takes these up")]
pub(crate) use crowd::Crowd;
pub(crate) use error::Refusal;
pub(crate) use memory::BlockCache;
pub(crate) use raw::{Header, Plan, RawTask, TaskRef};
#[allow(unused_imports, reason = "for waits that have no waiter")]
pub(crate) use sleeper::Sleeper;
pub(crate) use sleeper::{Wakeup, Woken};
#[allow(unused_imports, reason = "select takes these up")]
pub(crate) use wait_queue::Taken;
pub(crate) use wait_queue::{WaitQueue, Waiter};

use std::borrow::Cow;

use crate::runtime::{Shared, Worker};
use crate::stack::StackSize;

/// Spawns a task that runs `f`, on the runtime of the running task; elsewhere on the default runtime.
///
/// The task may be started by any worker, and then stays there. On one worker the newest fresh task starts first; idle
/// workers steal the oldest.
///
/// # Panics
/// If the runtime is shutting down: see [`try_spawn`].
///
/// # Examples
/// ```
/// let handle = osier::spawn(|| "made by a task");
/// assert_eq!(handle.join().unwrap(), "made by a task");
/// ```
///
/// What is not `Send` cannot be captured, since another worker may start the task; it may be made inside:
/// ```compile_fail
/// let shared = std::rc::Rc::new(1);
/// osier::spawn(move || drop(shared));
/// ```
pub fn spawn<F, T>(f: F) -> JoinHandle<T>
where
    F: FnOnce() -> T + Send + 'static,
    T: Send + 'static,
{
    Builder::new().spawn(f)
}

/// Spawns a task as [`spawn`] does, or says why it cannot.
///
/// # Errors
/// The runtime is shutting down, or the system has no stack left for this worker's next task. The closure comes back in
/// the error. A stack is only looked for here: the task gets one when it starts, and if there is none then, joining it
/// is the error.
pub fn try_spawn<F, T>(f: F) -> Result<JoinHandle<T>, SpawnError<F>>
where
    F: FnOnce() -> T + Send + 'static,
    T: Send + 'static,
{
    Builder::new().try_spawn(f)
}

/// The number of the worker that runs the caller, counted from 0 in its runtime; `None` on other threads.
pub fn worker() -> Option<usize> {
    Worker::get().map(Worker::index)
}

/// A task's name and stack size, to spawn it with.
///
/// # Examples
/// ```
/// let handle = osier::task::Builder::new().name("parser").stack_size(256 * 1024).spawn(|| 42);
/// assert_eq!(handle.name(), "parser");
/// assert_eq!(handle.join().unwrap(), 42);
/// ```
#[derive(Clone, Debug, Default)]
#[must_use = "a builder does nothing until `spawn` is called"]
pub struct Builder {
    name: Option<Cow<'static, str>>,
    stack_size: Option<StackSize>,
}

impl Builder {
    /// Starts with the closure's type as the name, and the runtime's stack size.
    pub fn new() -> Self {
        Self::default()
    }

    /// Names the task, in overflow messages and in `Debug`.
    pub fn name(mut self, name: impl Into<Cow<'static, str>>) -> Self {
        self.name = Some(name.into());
        self
    }

    /// Sets the usable bytes of its stack, rounded up to whole pages and to at least [`crate::stack::MIN_STACK_SIZE`].
    pub fn stack_size(mut self, bytes: usize) -> Self {
        self.stack_size = Some(StackSize::from_bytes(bytes));
        self
    }

    /// Spawns `f`, as [`spawn`] does.
    ///
    /// # Panics
    /// If the runtime is shutting down.
    pub fn spawn<F, T>(self, f: F) -> JoinHandle<T>
    where
        F: FnOnce() -> T + Send + 'static,
        T: Send + 'static,
    {
        Shared::with_current(|shared| self.spawn_on(shared, f))
    }

    /// Spawns `f`, as [`try_spawn`] does.
    ///
    /// # Errors
    /// As [`try_spawn`].
    pub fn try_spawn<F, T>(self, f: F) -> Result<JoinHandle<T>, SpawnError<F>>
    where
        F: FnOnce() -> T + Send + 'static,
        T: Send + 'static,
    {
        Shared::with_current(|shared| self.try_spawn_on(shared, f))
    }

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
    #[inline]
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
        let plan = Plan {
            name: self.name.unwrap_or(Cow::Borrowed(std::any::type_name::<F>())),
            stack_size: self.stack_size.unwrap_or(shared.stack_size),
            borrows,
            must_run: false,
        };
        // SAFETY: a runtime outlives its tasks; `f` is `Send`; the caller vouches for what it borrows.
        let (task, reference) = unsafe { TaskRef::new(shared, plan, f) };
        match shared.submit(task) {
            Ok(()) => Ok(JoinHandle::new(reference)),
            // SAFETY: these are its types, and it was not queued.
            Err(reason) => Err(SpawnError { closure: unsafe { reference.take_closure::<F, T>() }, reason }),
        }
    }
}
