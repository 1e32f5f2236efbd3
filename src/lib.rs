//! Greenlet-like stackful coroutines, and a work-stealing scheduler that runs them on every core.
//!
//! Code is written in the blocking style of Python's generators, greenlet and gevent: a call that waits simply waits,
//! and something else runs meanwhile. There is no `async`, no colour of functions; any function at any depth may yield.
//! And it runs in parallel.
//!
//! # Which type for which need
//!
//! | need | use | threads |
//! | --- | --- | --- |
//! | a lazy sequence, a coroutine fed by `send` | [`Generator`] | the one that resumes it |
//! | several bodies that switch to each other by name | [`Greenlet`] | the one that made them |
//! | many things at once, on all cores | [`spawn`] and [`JoinHandle`] | all workers of a [`Runtime`] |
//! | errors that arrive from outside, caught as values | [`catch`], [`raise`], [`mod@exception`] | the one that raises |
//! | a limit on how long any code may wait | [`time::timeout`] | any |
//! | many tasks as one; at most so many at once | [`Group`], [`Pool`] | all workers |
//! | a variable of one's own in every task | [`task_local!`] | any |
//! | tasks that talk | [`sync::channel`] | any |
//! | tasks known by name, that send each other messages | [`mod@actor`] | all workers, or a thread each |
//! | jobs with results, on tasks, on threads or in processes | [`Executor`] | all workers, or a pool's |
//! | sockets that read like blocking code | [`net`] | any |
//! | other programs, and signals | [`process`], [`signal`] | any |
//! | files | [`fs`] | a pool's |
//! | a call that blocks its thread | [`task::unblock`] | a pool's |
//! | a future awaited by code that is not `async`, and the other way round | [`mod@future`] | any |
//!
//! Whoever knows generators, greenlet or gevent: [`porting`] says what becomes of every construct.
//!
//! ```
//! # #[cfg(feature = "runtime")] {
//! use osier::{Generator, Yielder, sync::channel};
//!
//! // A generator produces, tasks on all workers consume.
//! let total = osier::run(|| {
//!     let (sender, receiver) = channel::bounded(8);
//!     let workers: Vec<_> = (0..4)
//!         .map(|_| {
//!             let numbers = receiver.clone();
//!             osier::spawn(move || numbers.iter().map(|n: u64| n * n).sum::<u64>())
//!         })
//!         .collect();
//!     drop(receiver);
//!     for n in Generator::new(|y: &Yielder<u64>| (1..=100).for_each(|n| y.yield_(n))) {
//!         sender.send(n).unwrap();
//!     }
//!     drop(sender);
//!     workers.into_iter().map(|w| w.join().unwrap()).sum::<u64>()
//! });
//! assert_eq!(total, 338_350);
//! # }
//! ```
//!
//! # What is sound, and where it ends
//!
//! A started coroutine never changes its thread. What migrates is the closure of a task that has not started, and the
//! compiler checks that it may: it is `Send`. So an `Rc`, a lock guard or a thread-local borrow may live on a task's
//! stack across any wait.
//!
//! osier is sound but for three holes, each of which needs a coroutine in an unusual place:
//!
//! - It suspends inside the initialiser of a lazy `thread_local!`.
//! - It suspends inside a callback of a library that keeps a pointer in a thread-local for the time of the callback and
//!   expects callbacks to end in reverse order (`scoped-tls` and its kin).
//! - It is resumed, or suspends, inside the destructor of a thread-local's value, at the end of a thread or in
//!   `std::process::exit`: what goes on may be in the middle of a borrow of a thread-local that is gone. Dropping it there
//!   is fine, and so is closing it: it is left as it is. (Without glibc that is not noticed, and the hole is wider.)
//!
//! Who is unwinding is kept in books, for std counts a thread's panics together. A panic hook that replaces osier's later and a
//! bare `std::panic::resume_unwind` escape them, and so does a panic that ends in std's `catch_unwind`; [`resume_unwind`] and
//! [`catch_unwind`] do not. It matters only beside a coroutine that is parked in the middle of its own unwind, in a destructor
//! that waits: another one on that thread may be taken for unwinding, so that a close is refused and a cancel is late; or, of
//! those that no hook saw, be thrown into in a destructor, which aborts.
//!
//! Inside [`no_suspend`] a suspension panics instead. `arch-notes/coroutines.md`, "Holes", has the programs.
//!
//! In a program that is built with `panic = "abort"`, nothing unwinds. A cancelled task that has started goes on: a join that
//! it waits in ends with an error that [is cancelled](JoinError::is_cancelled), a socket's call with an `io::Error` that says
//! so, [`task::is_cancelled`] tells, and every other wait lasts until what it waits for comes, or its own time is up. [`time::timeout`] returns when its closure does,
//! as elapsed if that is late. [`Task::kill`] only asks; [`kill_timeout`](Task::kill_timeout) waits as long as it says.
//! Dropping a [`Runtime`] waits for one second, leaks the tasks that still wait, and says how many; if one of them borrows
//! from a caller, as a [`scope`]'s do, it aborts. A generator or a greenlet that is dropped while it is suspended is leaked;
//! a [`generator::scoped`] one aborts.
//!
//! Waiting with a lock of `std` held blocks every task of that worker that wants it; keep such sections free of waits.
//!
//! # Features
//!
//! - `runtime` (default): tasks, channels, time. Without it only generators and greenlets, on corosensei and libc alone.
//! - `blocking` (default): [`task::unblock`].
//! - `processes` (default): `pool::Processes`, jobs in processes of this program, with serde's traits.
//! - `net` (default): sockets, children, signals, files, and [`net::Ready`] for other descriptors.
//!
//! Linux on x86-64 is what is tested; other Unixes and aarch64 are meant to work.

#[cfg(feature = "runtime")]
pub mod actor;
pub mod exception;
#[cfg(feature = "net")]
pub mod fs;
#[cfg(feature = "runtime")]
pub mod future;
pub mod generator;
pub mod greenlet;
#[cfg(feature = "net")]
pub mod net;
#[doc = include_str!("../arch-notes/porting.md")]
pub mod porting {}
#[cfg(feature = "runtime")]
pub mod pool;
#[cfg(feature = "runtime")]
mod primitives;
#[cfg(feature = "net")]
pub mod process;
#[cfg(feature = "runtime")]
pub mod runtime;
#[cfg(feature = "net")]
pub mod signal;
pub mod stack;
#[cfg(feature = "runtime")]
pub mod sync;
#[cfg(feature = "runtime")]
pub mod task;
#[cfg(feature = "runtime")]
pub mod time;

mod coroutine;

pub use coroutine::local::LocalKey;
pub use coroutine::region::no_suspend;
pub use exception::{
    Exception, Exit, ExitKind, OrRaise, Report, catch, catch_exit, catch_unwind, raise, resume_unwind, set_report_hook,
};
pub use generator::{Generator, Step, Yielder};
pub use greenlet::Greenlet;
#[cfg(feature = "runtime")]
pub use pool::{Executor, Group, Pool};
#[cfg(feature = "runtime")]
pub use runtime::{LocalRuntime, Runtime, run, shutdown};
#[cfg(feature = "runtime")]
pub use sync::{AsyncResult, Wait, join_all, join_all_deadline, join_all_timeout, kill_all, wait};
#[cfg(feature = "runtime")]
pub use task::{
    JoinError, JoinHandle, LocalHandle, Task, scope, spawn, spawn_later, spawn_local, try_spawn, yield_now,
};
#[cfg(feature = "runtime")]
pub use time::{Elapsed, sleep, timeout, timeout_raise};
