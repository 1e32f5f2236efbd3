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
//! - `run_state`: where a task is, and how others wake it. `end_state`: whether it has ended. A few words each.
//! - `raw`: the task in memory. `carrier`: the coroutine it runs on.
//! - `park`: going away and coming back. `cancel`: unwinding from there.
//! - `budget`, `checkpoint`: letting others run, in calls that need not wait and in loops that compute.
//! - `sleeper`: who waits, and how. `wait_queue`: for what. `choice`, `crowd`: for several things at once. `polled`: as a
//!   future.
//! - `builder`: how a task is to be made, and where it starts.
//! - `end`: who is told when a task has ended, in which order.
//! - `scope`: tasks that borrow. `stepped`: tasks that change their worker between steps.
//! - `facts`: what can be told of a task from outside.
//! - `join`, `handle`, `link`, `error`, `unblock`, `big_stack`: what users hold and call.

mod big_stack;
mod budget;
mod builder;
mod cancel;
mod carrier;
mod checkpoint;
mod choice;
mod crowd;
mod end;
mod end_state;
mod error;
mod facts;
mod handle;
#[cfg_attr(not(debug_assertions), path = "held_off.rs")]
pub(crate) mod held;
mod join;
mod link;
mod name;
mod park;
mod polled;
mod raw;
mod requests;
mod run_state;
mod scope;
mod sleeper;
mod stepped;
#[cfg(feature = "blocking")]
mod unblock;
mod wait_queue;

pub use big_stack::with_big_stack;
pub use builder::{Builder, HasTask, Order, Place};
pub use cancel::{is_cancelled, shield};
pub use checkpoint::checkpoint;
pub use error::{JoinError, SpawnError};
pub use facts::TaskState;
pub use handle::{Task, TaskId, current, try_current};
pub use join::{Anywhere, JoinHandle, LocalHandle, ThisThread};
pub use link::Link;
pub use park::{park, park_deadline, park_timeout, yield_now};
pub use scope::{InScope, InScopeHere, Scope, ScopedHandle, ScopedLocalHandle, scope};
pub use stepped::{Hop, Step, spawn_hop, spawn_stepped};
#[cfg(feature = "blocking")]
pub use unblock::unblock;

#[cfg(feature = "net")]
pub(crate) use budget::give_way_in_vain;
pub(crate) use budget::{give_way, go_last, is_spent, spend};
pub(crate) use builder::sealed::Sealed as ToTask;
#[cfg(feature = "net")]
pub(crate) use cancel::ends_by_cancel;
pub(crate) use cancel::{is_due, throw_if_due};
pub(crate) use carrier::{Carrier, Pause};
pub(crate) use choice::Choice;
pub(crate) use crowd::Crowd;
pub(crate) use error::Refusal;
pub(crate) use facts::Facts;
pub(crate) use link::Unlink;
pub(crate) use polled::Polled;
pub(crate) use raw::{Header, RawTask};
pub(crate) use sleeper::{Leave, Wakeup, Woken};
#[cfg(feature = "net")]
pub(crate) use sleeper::{Sleeper, Tells};
pub(crate) use wait_queue::Taken;
pub(crate) use wait_queue::{WaitQueue, Waiter};

use std::time::Duration;

use crate::runtime::Worker;

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
/// ```compile_fail,E0277
/// # // H01
/// let shared = std::rc::Rc::new(1);
/// osier::spawn(move || drop(shared));
/// ```
#[inline(always)]
#[track_caller]
pub fn spawn<F, T>(f: F) -> JoinHandle<T>
where
    F: FnOnce() -> T + Send + 'static,
    T: Send + 'static,
{
    Builder::new().spawn(f)
}

/// Spawns a task that shares its spawner's worker, and nothing of which needs to be `Send`.
///
/// It never changes its thread, not even before it starts. So tasks of one worker may share what is not `Send`, an
/// `Rc<RefCell<_>>`, without a lock: between two waits each runs undisturbed. They start in the order in which they were
/// made, in one line with tasks that were woken or that yielded. Closure, result and links are called and dropped on that
/// worker, also when another thread cancels the task.
///
/// # Panics
/// On a thread that runs no tasks: call it in a task, or on a [`LocalRuntime`](crate::runtime::LocalRuntime). If the
/// runtime is shutting down.
///
/// # Examples
/// ```
/// use osier::{spawn_local, yield_now};
/// use std::{cell::RefCell, rc::Rc};
///
/// let log = osier::run(|| {
///     let log = Rc::new(RefCell::new(Vec::new()));
///     let write = |name| {
///         let log = log.clone();
///         spawn_local(move || {
///             for n in 1..=2 {
///                 log.borrow_mut().push(format!("{name}{n}"));
///                 yield_now();
///             }
///         })
///     };
///     for writer in [write("a"), write("b")] {
///         writer.join().unwrap();
///     }
///     log.take()
/// });
/// assert_eq!(log, ["a1", "b1", "a2", "b2"]);
/// ```
#[track_caller]
pub fn spawn_local<F, T>(f: F) -> LocalHandle<T>
where
    F: FnOnce() -> T + 'static,
    T: 'static,
{
    Builder::new().spawn_local(f)
}

/// Spawns a task as [`spawn`] does, that runs `f` after `d`.
///
/// Until then it counts as any task that waits. Cancelled before, it never runs `f`.
///
/// # Panics
/// If the runtime is shutting down.
///
/// # Examples
/// ```
/// use std::time::{Duration, Instant};
///
/// let began = Instant::now();
/// let later = osier::task::spawn_later(Duration::from_millis(10), Instant::now);
/// assert!(later.join().unwrap() - began >= Duration::from_millis(10));
/// ```
#[track_caller]
pub fn spawn_later<F, T>(d: Duration, f: F) -> JoinHandle<T>
where
    F: FnOnce() -> T + Send + 'static,
    T: Send + 'static,
{
    Builder::new().spawn_later(d, f)
}

/// Spawns a task as [`spawn`] does, or says why it cannot.
///
/// # Errors
/// The runtime is shutting down, or the system has no stack left for this worker's next task. The closure comes back in
/// the error. A stack is only looked for here: the task gets one when it starts, and if there is none then, joining it
/// is the error.
#[track_caller]
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
