//! Runtimes: workers, one thread each, that run tasks and steal from each other.
//!
//! Most programs use the default runtime, which starts when it is first needed: [`run`], [`crate::spawn`]. A
//! [`Runtime`] is a value; several may live in one process, and tasks of one may join tasks of another.
//!
//! # Rooms
//! - `builder`: what is said of a runtime before it starts.
//! - `worker`: the loop, and what it finds next. `shared`: how workers reach each other, and the way to the end.
//! - `local`: a worker on the calling thread. `bell`: how a foreign event loop hears of its work.
//! - `closing`: who finds that all is over. `place`: where a fresh task goes. `quiet`: whether anything is left to do.
//! - `idle`: who sleeps, who wakes. `berth`: where a worker sleeps, `parker`: where any thread does. `reactor`: descriptors
//!   that tasks wait for, as long as the feature `net` is on.
//! - `rest`: which other threads wait. `inbox`: tasks on their way home. `timer`: a wheel.
//! - `pace`: how often a loop looks at the clock. `thread`: how a runtime's threads start. `pin`: a worker's core. `fork`: what becomes of all this in a child process.
//! - `test`: a seed, and time that is made up.
//! - `metrics`: what each worker has done. `diagnosis`: what every task does, and why nothing goes on.
//!
//! What runs when, why nothing is lost, what was measured: `arch-notes/scheduler.md`.

mod bell;
mod berth;
mod builder;
mod closing;
mod diagnosis;
mod fork;
mod idle;
mod inbox;
mod local;
mod metrics;
mod pace;
mod parker;
mod pin;
mod place;
mod quiet;
#[cfg(feature = "net")]
mod reactor;
#[cfg(not(feature = "net"))]
#[path = "no_reactor.rs"]
mod reactor;
mod rest;
mod shared;
mod test;
mod thread;
mod timer;
mod worker;

pub use builder::Builder;
pub use diagnosis::{Deadlock, Dump, OnDeadlock, StackFrame, TaskDump, WorkerDump, dump};
pub use local::LocalRuntime;
pub use metrics::{Metrics, WorkerMetrics, metrics};

#[cfg(debug_assertions)]
pub(crate) use diagnosis::report_held;
pub(crate) use diagnosis::{PAUSES, clock, look_at_process};
pub(crate) use fork::check as check_fork;
pub(crate) use inbox::Linked;
pub(crate) use pace::fitting_step;
pub(crate) use parker::Parker;
pub(crate) use place::Way;
#[cfg(feature = "blocking")]
pub(crate) use quiet::Busy;
#[cfg(feature = "net")]
pub(crate) use reactor::{
    Direction, Registration, Watched, cancelled, closed, is_ready, make_pollers, over, timed_out,
};
pub(crate) use rest::Rest;
pub(crate) use shared::Shared;
pub(crate) use timer::TimerKey;
pub(crate) use worker::{AbortsOnDrop, Worker};

use std::error::Error;
use std::fmt;
use std::io;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::thread::JoinHandle as Thread;
use std::time::Duration;

use crate::coroutine::region;
use crate::exception::{Raise, raised_itself};
use crate::task::{self, JoinError, JoinHandle, SpawnError};

/// How long dropping a runtime waits for its tasks to unwind; where nothing unwinds, for those that end by themselves.
const PATIENCE: Duration = Duration::from_secs(if cfg!(panic = "abort") { 1 } else { 10 });

/// A set of workers and their tasks.
///
/// Dropping it shuts it down: every task is cancelled and unwinds on its own worker while the scheduler still runs.
/// After ten seconds the drop gives up on those that do not end, leaks their stacks and says so on standard error; see
/// [`Runtime::shutdown`] for another deadline. Dropped by one of its own tasks it cancels them all, and does not wait.
///
/// # Examples
/// ```
/// use osier::Runtime;
///
/// let runtime = Runtime::builder().workers(2).build()?;
/// let words = vec!["shoots", "woven", "together"];
/// // `run` waits, so the closure may borrow.
/// let longest = runtime.run(|| words.iter().copied().max_by_key(|word| word.len()));
/// assert_eq!(longest, Some("together"));
/// # Ok::<(), std::io::Error>(())
/// ```
pub struct Runtime {
    shared: Arc<Shared>,
    threads: Mutex<Vec<Thread<()>>>,
    /// The monitor's thread, if there is one.
    watch: Mutex<Option<Thread<()>>>,
}

impl Runtime {
    /// Starts a runtime with one worker for each available core.
    ///
    /// # Errors
    /// The system refuses a thread.
    pub fn new() -> io::Result<Self> {
        Self::builder().build()
    }

    /// Starts describing a runtime.
    pub fn builder() -> Builder {
        Builder::new()
    }

    /// Runs `f` as a task and waits for its value. `f` may borrow from the caller.
    ///
    /// # Suspends
    /// The calling thread; inside a task of any runtime, that task.
    ///
    /// # Cancel safety
    /// If the calling task is cancelled, `f`'s task is cancelled, and waited for, before the caller unwinds.
    ///
    /// # Panics
    /// With `f`'s panic; an exception that leaves `f` is raised. If the runtime has shut down, or does so before `f` returns;
    /// or if `f` ends by a cancel of its task. With a [`Deadlock`], if it is certain that nobody can go on any more.
    #[track_caller]
    pub fn run<F, T>(&self, f: F) -> T
    where
        F: FnOnce() -> T + Send,
        T: Send,
    {
        run_on(&self.shared, task::Builder::new(), f)
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
    /// It was certain that neither `f` nor any other task could go on, since they waited for each other, or for nobody. `f`
    /// was cancelled therefore, and has unwound. [`Deadlock`] says what was waited for, and when that is certain: without
    /// [`closed_world`](Builder::closed_world) not after a blocking call, for the threads that make those stay.
    ///
    /// # Panics
    /// As [`run`](Self::run), but for deadlocks.
    ///
    /// # Examples
    /// ```
    /// use osier::{Runtime, spawn, sync::Mutex};
    /// use std::sync::Arc;
    ///
    /// let runtime = Runtime::builder().workers(1).closed_world(true).build()?;
    /// let deadlock = runtime.try_run(|| {
    ///     let lock = Arc::new(Mutex::new(()));
    ///     let _held = lock.lock();
    ///     let other = lock.clone();
    ///     spawn(move || drop(other.lock())).join()
    /// });
    /// let text = deadlock.unwrap_err().to_string();
    /// assert!(text.contains("waits for a mutex") && text.contains("waits for task"), "{text}");
    /// # Ok::<(), std::io::Error>(())
    /// ```
    #[track_caller]
    pub fn try_run<F, T>(&self, f: F) -> Result<T, Deadlock>
    where
        F: FnOnce() -> T + Send,
        T: Send,
    {
        try_run_on(&self.shared, task::Builder::new(), f)
    }

    /// Spawns a task on this runtime, as [`crate::spawn`] does on the caller's.
    ///
    /// # Panics
    /// If the runtime is shutting down.
    #[track_caller]
    pub fn spawn<F, T>(&self, f: F) -> JoinHandle<T>
    where
        F: FnOnce() -> T + Send + 'static,
        T: Send + 'static,
    {
        task::Builder::new().spawn_on(&self.shared, f)
    }

    /// Spawns a task on this runtime, as [`crate::try_spawn`] does on the caller's.
    ///
    /// # Errors
    /// As [`crate::try_spawn`].
    #[track_caller]
    pub fn try_spawn<F, T>(&self, f: F) -> Result<JoinHandle<T>, SpawnError<F>>
    where
        F: FnOnce() -> T + Send + 'static,
        T: Send + 'static,
    {
        task::Builder::new().try_spawn_on(&self.shared, f)
    }

    /// Waits until nothing is left to do: every task has ended, or waits for another or for nobody; or for at most
    /// `timeout`. True if it is so. It may be called again and again.
    ///
    /// Tasks that sleep are waited for, and blocking calls; what other threads will do nobody knows.
    /// [Daemons](crate::task::Builder::daemon) do not count when they wait.
    ///
    /// # Suspends
    /// The calling task, which does not count itself; on a plain thread, the thread.
    ///
    /// # Cancel safety
    /// Nothing is lost.
    ///
    /// # Examples
    /// ```
    /// let runtime = osier::Runtime::new()?;
    /// let sleeper = runtime.spawn(|| osier::sleep(std::time::Duration::from_millis(5)));
    /// assert!(runtime.wait_idle(None));
    /// assert!(sleeper.is_finished());
    /// # Ok::<(), std::io::Error>(())
    /// ```
    pub fn wait_idle(&self, timeout: impl Into<Option<Duration>>) -> bool {
        check_fork(&raw const *self.shared);
        self.shared.wait_quiet(timeout.into())
    }

    /// How many workers there are.
    pub fn workers(&self) -> usize {
        self.shared.remotes.len()
    }

    /// What each worker has done since the runtime started.
    pub fn metrics(&self) -> Metrics {
        Metrics::read(&self.shared)
    }

    /// Cancels every task and waits until all have unwound, at most until `deadline` has passed.
    ///
    /// # Suspends
    /// A task of another runtime; on a plain thread, and inside [`no_suspend`](crate::no_suspend), the thread. In a task of
    /// this runtime it returns at once, and the workers end what there is. A drop waits in the same way, for ten seconds.
    ///
    /// # Cancel safety
    /// It waits on, and the cancel is thrown at the caller's next wait.
    ///
    /// # Errors
    /// Some tasks have not ended: they caught their cancellation, or compute without ever waiting. They are left
    /// behind, with their stacks, and [reported](crate::Report::Leaked). Whoever joins one of them gets an error, but for
    /// those that belong to a worker that never comes back: joining these waits for ever.
    pub fn shutdown(self, deadline: Duration) -> Result<(), ShutdownError> {
        self.shut_down(deadline)
    }

    pub(crate) fn shared(&self) -> &Shared {
        &self.shared
    }

    fn shut_down(&self, patience: Duration) -> Result<(), ShutdownError> {
        if self.shared.is_forked() {
            // The parent has these tasks, and there are no workers here.
            return Ok(());
        }
        if self.shared.is_abandoned() {
            // An earlier one has given up. Nobody is waited for again, nor told again.
            return self.shared.still_left();
        }
        self.shared.close();
        if Worker::get().is_some_and(|worker| self.shared.holds(worker.shared())) {
            // A worker cannot wait for itself: the others, and this one after us, end what there is.
            self.shared.monitor.stop();
            return Ok(());
        }
        let have_ended = self.shared.wait_for_workers(patience);
        self.shared.monitor.stop();
        let mut threads = std::mem::take(&mut *self.threads.lock().unwrap_or_else(PoisonError::into_inner));
        let mut left = Ok(());
        if !have_ended {
            let names = self.shared.abandon();
            // Those that are not stuck in a task exit now, and refuse what stands in their lines; the others are left with
            // theirs.
            self.shared.wait_for_workers(Duration::from_millis(100));
            threads.retain(Thread::is_finished);
            left = self.shared.leave(names);
        }
        threads.extend(self.watch.lock().unwrap_or_else(PoisonError::into_inner).take());
        thread::join_all(threads);
        left
    }
}

impl Drop for Runtime {
    fn drop(&mut self) {
        // After a shutdown that gave up, nobody is waited for again.
        if self.shared.is_abandoned() {
            return;
        }
        if let Err(error) = self.shut_down(PATIENCE) {
            eprintln!("osier: {error}");
        }
    }
}

impl fmt::Debug for Runtime {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let unfinished = self.shared.unfinished();
        f.debug_struct("Runtime").field("workers", &self.workers()).field("unfinished_tasks", &unfinished).finish()
    }
}

/// Some tasks did not end before the deadline of a shutdown.
#[derive(Debug)]
pub struct ShutdownError {
    leaked: u64,
    names: Vec<String>,
}

impl ShutdownError {
    /// How many tasks were left behind.
    pub fn leaked(&self) -> u64 {
        self.leaked
    }

    /// The names of those that had started when the deadline passed, also the ones that hold their workers. One that has ended
    /// since then may be among them.
    pub fn names(&self) -> &[String] {
        &self.names
    }
}

impl fmt::Display for ShutdownError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} tasks did not end before the deadline and were left behind with their stacks", self.leaked)
    }
}

impl Error for ShutdownError {}

raised_itself!(ShutdownError);

/// The runtime of whoever belongs to no other.
pub(crate) fn default_runtime() -> &'static Runtime {
    static DEFAULT: OnceLock<Runtime> = OnceLock::new();
    DEFAULT.get_or_init(|| {
        let asked = std::env::var("OSIER_WORKERS").ok();
        let workers = asked.map_or(0, |text| match text.trim().parse() {
            Ok(workers) => workers,
            Err(_) => panic!("OSIER_WORKERS must be a number, and is '{text}'"),
        });
        let built = Runtime::builder().workers(workers).build();
        built.unwrap_or_else(|error| panic!("cannot start the default runtime: {error}"))
    })
}

/// Runs `f` as a task of the caller's runtime, else of the default one, and waits for its value. See [`Runtime::run`].
///
/// The default runtime has one worker for each available core, or as many as `OSIER_WORKERS` says.
///
/// # Suspends
/// As [`Runtime::run`].
///
/// # Cancel safety
/// As [`Runtime::run`].
///
/// # Panics
/// As [`Runtime::run`].
///
/// # Examples
/// ```
/// let text = String::from("borrowed");
/// assert_eq!(osier::run(|| text.len()), 8);
/// ```
#[track_caller]
pub fn run<F, T>(f: F) -> T
where
    F: FnOnce() -> T + Send,
    T: Send,
{
    let builder = task::Builder::new();
    Shared::with_current(|shared| run_on(shared, builder, f))
}

#[track_caller]
fn run_on<F, T>(shared: &Shared, builder: task::Builder, f: F) -> T
where
    F: FnOnce() -> T + Send,
    T: Send,
{
    try_run_on(shared, builder, f).unwrap_or_else(|deadlock| panic!("{deadlock}"))
}

fn try_run_on<F, T>(shared: &Shared, builder: task::Builder, f: F) -> Result<T, Deadlock>
where
    F: FnOnce() -> T + Send,
    T: Send,
{
    region::forbid("wait");
    // SAFETY: this function returns only when the task has ended: it waits through cancellation, and a task that
    // borrows is never left behind.
    let spawned = unsafe { builder.submit(shared, f, true) };
    let handle = spawned.unwrap_or_else(|error| panic!("{error}"));
    let waits = shared.wait_for_root(handle.task());
    let result = handle.join_through_cancel();
    outcome(result, &waits)
}

/// What a `run` gives whose root task has ended.
fn outcome<T>(result: Result<T, JoinError>, waits: &diagnosis::Waits<'_>) -> Result<T, Deadlock> {
    match result {
        Ok(value) => Ok(value),
        Err(error) if error.is_cancelled() => {
            task::throw_if_due();
            let deadlock = waits.deadlock().cloned();
            Err(deadlock.expect("the task of `run` was cancelled, or its runtime shut down, before it returned"))
        }
        Err(error) => error.raise(),
    }
}

/// Shuts the default runtime down; see [`Runtime::shutdown`]. Nothing can be spawned on it afterwards.
///
/// # Errors
/// As [`Runtime::shutdown`].
pub fn shutdown(deadline: Duration) -> Result<(), ShutdownError> {
    default_runtime().shut_down(deadline)
}
