//! Runtimes: workers, one thread each, that run tasks and steal from each other.
//!
//! Most programs use the default runtime, which starts when it is first needed: [`run`], [`crate::spawn`]. A
//! [`Runtime`] is a value; several may live in one process, and tasks of one may join tasks of another.
//!
//! # Rooms
//! - `worker`: the loop, and what it finds next. `shared`: how workers reach each other, and the way to the end.
//! - `local`: a worker on the calling thread. `bell`: how a foreign event loop hears of its work.
//! - `place`: where a fresh task goes. `quiet`: whether anything is left to do.
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
pub(crate) use reactor::{Direction, Registration, Watched, closed, make_pollers};
pub(crate) use rest::Rest;
pub(crate) use shared::Shared;
pub(crate) use timer::TimerKey;
pub(crate) use worker::Worker;

use shared::World;
use worker::Deques;

use std::borrow::Cow;
use std::error::Error;
use std::fmt;
use std::io;
use std::num::NonZeroUsize;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::thread::{JoinHandle as Thread, available_parallelism};
use std::time::Duration;

use crate::coroutine::{region, unwind};
use crate::exception::{Raise, raised_itself};
use crate::stack::StackSize;
use crate::task::{self, JoinError, JoinHandle, SpawnError};

/// How long a task may hold a worker before that is reported, unless the builder says otherwise.
const WATCHDOG: Duration = Duration::from_millis(100);
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
        Builder {
            workers: None,
            stack_size: StackSize::DEFAULT,
            thread_name: Cow::Borrowed("osier"),
            pinned: false,
            on_start: None,
            on_stop: None,
            seed: None,
            watchdog: Some(WATCHDOG),
            world: World::default(),
            dump_on_quit: false,
        }
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
    #[must_use = "dropping a join handle detaches its task: use `drop` if that is meant"]
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
        self.shared.close();
        if Worker::get().is_some_and(|worker| std::ptr::eq(worker.shared(), &raw const *self.shared)) {
            // A worker cannot wait for itself: the others, and this one after us, end what there is.
            self.shared.monitor.stop();
            return Ok(());
        }
        let watch = self.watch.lock().unwrap_or_else(PoisonError::into_inner).take();
        let stop_watching = || {
            self.shared.monitor.stop();
            _ = watch.map(Thread::join);
        };
        let mut threads = std::mem::take(&mut *self.threads.lock().unwrap_or_else(PoisonError::into_inner));
        if !self.shared.wait_for_workers(patience) {
            stop_watching();
            let error = self.shared.abandon();
            // Those that are not stuck in a task exit now; the others are left with it.
            self.shared.wait_for_workers(Duration::from_millis(100));
            threads.retain(Thread::is_finished);
            threads.into_iter().for_each(|thread| _ = thread.join());
            return Err(error);
        }
        stop_watching();
        threads.into_iter().for_each(|thread| _ = thread.join());
        Ok(())
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

    /// The names of those that had started, also the ones that hold their workers.
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

/// Describes a runtime.
#[derive(Clone, Debug)]
#[must_use = "a builder does nothing until `build` is called"]
pub struct Builder {
    workers: Option<NonZeroUsize>,
    stack_size: StackSize,
    thread_name: Cow<'static, str>,
    pinned: bool,
    on_start: Option<Hook>,
    on_stop: Option<Hook>,
    /// For a runtime for tests.
    seed: Option<u64>,
    /// For how long a task may hold a worker before it is reported.
    watchdog: Option<Duration>,
    world: World,
    dump_on_quit: bool,
}

/// What a worker's thread calls with its number.
#[derive(Clone)]
struct Hook(Arc<dyn Fn(usize) + Send + Sync>);

impl Hook {
    /// Runs a hook, whose panic is printed by the panic hook and has no other effect.
    fn call(hook: Option<&Self>, index: usize) {
        if let Some(Self(hook)) = hook {
            _ = unwind::intercept(|| hook(index)).map_err(unwind::drop_quietly);
        }
    }
}

impl fmt::Debug for Hook {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Hook")
    }
}

impl Builder {
    /// Sets the number of workers; 0 means one for each available core, which is the default.
    pub fn workers(mut self, workers: usize) -> Self {
        self.workers = NonZeroUsize::new(workers);
        self
    }

    /// Sets the usable bytes of the stacks of tasks that ask for no other size.
    pub fn stack_size(mut self, bytes: usize) -> Self {
        self.stack_size = StackSize::from_bytes(bytes);
        self
    }

    /// Names the workers' threads: `name-0`, `name-1` and so on, instead of `osier-0`.
    ///
    /// # Examples
    /// ```
    /// let runtime = osier::Runtime::builder().workers(1).thread_name("io").build()?;
    /// assert_eq!(runtime.run(|| std::thread::current().name().map(str::to_owned)).unwrap(), "io-0");
    /// # Ok::<(), std::io::Error>(())
    /// ```
    pub fn thread_name(mut self, name: impl Into<Cow<'static, str>>) -> Self {
        self.thread_name = name.into();
        self
    }

    /// Ties each worker to one of the cores that the process may use, in turn. On Linux; elsewhere it does nothing.
    ///
    /// For machines that do nothing else. Beside other programs it is slower: the system cannot move a worker out of their
    /// way.
    pub fn pinned(mut self, pinned: bool) -> Self {
        self.pinned = pinned;
        self
    }

    /// Says what each worker's thread does first, given the worker's number: before any task, and as no task.
    pub fn on_thread_start(mut self, f: impl Fn(usize) + Send + Sync + 'static) -> Self {
        self.on_start = Some(Hook(Arc::new(f)));
        self
    }

    /// Says what each worker's thread does last, given the worker's number: after the last task.
    ///
    /// # Examples
    /// ```
    /// use std::sync::{Arc, atomic::{AtomicUsize, Ordering}};
    ///
    /// let running = Arc::new(AtomicUsize::new(0));
    /// let (starts, stops) = (running.clone(), running.clone());
    /// let runtime = osier::Runtime::builder()
    ///     .workers(2)
    ///     .on_thread_start(move |_| _ = starts.fetch_add(1, Ordering::SeqCst))
    ///     .on_thread_stop(move |_| _ = stops.fetch_sub(1, Ordering::SeqCst))
    ///     .build()?;
    /// runtime.run(|| assert!(running.load(Ordering::SeqCst) > 0));
    /// drop(runtime);
    /// assert_eq!(running.load(Ordering::SeqCst), 0);
    /// # Ok::<(), std::io::Error>(())
    /// ```
    pub fn on_thread_stop(mut self, f: impl Fn(usize) + Send + Sync + 'static) -> Self {
        self.on_stop = Some(Hook(Arc::new(f)));
        self
    }

    /// Makes it a runtime for tests: one worker, which draws by `seed` what runs next, and whose time is made up.
    ///
    /// The same seed gives the same order, so a test that fails with one fails again; trying many finds what happens rarely.
    /// When all tasks wait, time jumps to the next one that sleeps, or has a timeout: an hour's test takes no time. Inside,
    /// [`time::now`](crate::time::now) tells the made-up time; `Instant::now` does not, and holding the thread takes none of
    /// it. Other threads that wake tasks or spawn some are not part of the order.
    ///
    /// # Examples
    /// ```
    /// use osier::{Runtime, sleep, spawn, sync::channel, time};
    /// use std::time::Duration;
    ///
    /// fn order(seed: u64) -> Vec<u32> {
    ///     let runtime = Runtime::builder().test(seed).build().unwrap();
    ///     runtime.run(|| {
    ///         let began = time::now();
    ///         let (sender, receiver) = channel::unbounded();
    ///         for n in 0..8 {
    ///             let sender = sender.clone();
    ///             drop(spawn(move || {
    ///                 sleep(Duration::from_secs(3600));
    ///                 sender.send(n).unwrap();
    ///             }));
    ///         }
    ///         drop(sender);
    ///         let order = receiver.iter().collect();
    ///         assert_eq!(time::now() - began, Duration::from_secs(3600));
    ///         order
    ///     })
    /// }
    ///
    /// assert_eq!(order(1), order(1));
    /// assert!((2..20).any(|seed| order(seed) != order(1)));
    /// ```
    pub fn test(mut self, seed: u64) -> Self {
        self.seed = Some(seed);
        self
    }

    /// Says for how long a task may hold its worker, without a wait, before that is
    /// [reported](crate::Report::Blocked); `None` for no reports. 100 ms, unless this says otherwise.
    ///
    /// A thread of the runtime's watches. It sleeps while every worker does. Other tasks of a worker that is held cannot go
    /// on; fresh ones are stolen by others.
    ///
    /// # Examples
    /// ```
    /// use std::time::Duration;
    ///
    /// // A second is what its tasks are known to compute for.
    /// let runtime = osier::Runtime::builder().watchdog(Duration::from_secs(1)).build()?;
    /// # drop(runtime);
    /// # Ok::<(), std::io::Error>(())
    /// ```
    pub fn watchdog(mut self, limit: impl Into<Option<Duration>>) -> Self {
        self.watchdog = limit.into();
        self
    }

    /// Promises that nobody outside of this runtime wakes its tasks: no other thread, also none of an executor's or of another
    /// runtime's, and no signal handler. Timers, descriptors, signals, children and blocking calls that tasks wait for do not
    /// count as outside.
    ///
    /// Then a [`Deadlock`] is certain when its own workers sleep and its tasks wait for none of these. Without the promise it is
    /// only where every thread of the process is osier's and sleeps, or waits for a task or in a wait of [`sync`](crate::sync);
    /// which is so in most programs whose `main` calls [`run`], and never in tests, since their harness has a thread. After one
    /// blocking call, by `task::unblock`, for a file or to look a name up, it is not so any more: the threads that make such
    /// calls do not end, and the process may use them for anything. A promise that is not kept ends programs that would have
    /// gone on.
    pub fn closed_world(mut self, closed: bool) -> Self {
        self.world.is_closed = closed;
        self
    }

    /// Says what becomes of a deadlock that is certain; see [`OnDeadlock`].
    ///
    /// # Examples
    /// ```
    /// use osier::runtime::{OnDeadlock, Runtime};
    ///
    /// // Told to the report's hook, and no task is cancelled.
    /// let runtime = Runtime::builder().on_deadlock(OnDeadlock::Report).build()?;
    /// # drop(runtime);
    /// # Ok::<(), std::io::Error>(())
    /// ```
    pub fn on_deadlock(mut self, then: OnDeadlock) -> Self {
        self.world.on_deadlock = then;
        self
    }

    /// Makes SIGQUIT, which a terminal sends for Ctrl-\\, write a dump of every runtime of the process to standard error,
    /// instead of ending the process. It stays so when the runtime has gone.
    ///
    /// The signal's handler only tells a thread. Of the program's own handlers for SIGQUIT the last one that was set counts.
    pub fn dump_on_quit(mut self, dump: bool) -> Self {
        self.dump_on_quit = dump;
        self
    }

    /// Makes a runtime on this thread, with what was set of the stack size, deadlocks and dumps.
    ///
    /// # Panics
    /// If the system refuses what [`dump_on_quit`](Self::dump_on_quit) needs.
    pub fn build_local(self) -> LocalRuntime {
        if self.dump_on_quit {
            diagnosis::quit::install().unwrap_or_else(|error| panic!("no dumps on SIGQUIT: {error}"));
        }
        LocalRuntime::built(self.stack_size, self.world)
    }

    /// Starts the workers.
    ///
    /// # Errors
    /// The system refuses a thread; those that were started have ended.
    pub fn build(self) -> io::Result<Runtime> {
        let workers = match self.seed {
            Some(_) => 1,
            None => self.workers.or_else(|| available_parallelism().ok()).map_or(1, NonZeroUsize::get),
        };
        let deques: Vec<_> = (0..workers).map(|_| Deques::new()).collect();
        if self.dump_on_quit {
            diagnosis::quit::install()?;
        }
        let shared = Shared::new(&deques, self.stack_size, self.world);
        let runtime = Runtime { shared, threads: Mutex::new(Vec::with_capacity(workers)), watch: Mutex::new(None) };
        for (index, deques) in deques.into_iter().enumerate() {
            let shared = runtime.shared.clone();
            let (on_start, on_stop, pinned) = (self.on_start.clone(), self.on_stop.clone(), self.pinned);
            let seed = self.seed;
            let body = move || {
                if pinned {
                    pin::to_core(index);
                }
                Hook::call(on_start.as_ref(), index);
                Worker::main(shared.clone(), index, deques, seed);
                Hook::call(on_stop.as_ref(), index);
                shared.worker_exits();
            };
            match thread::start(format!("{}-{index}", self.thread_name), body) {
                Ok(thread) => runtime.threads.lock().unwrap_or_else(PoisonError::into_inner).push(thread),
                Err(error) => {
                    // The workers that do not exist neither run nor need to be waited for.
                    (index..workers).for_each(|missing| runtime.shared.never_starts(missing));
                    return Err(error);
                }
            }
        }
        // Made-up time stands still while a task computes.
        if let Some(limit) = self.watchdog.filter(|_| self.seed.is_none()) {
            let watch = diagnosis::monitor::start(runtime.shared.clone(), &self.thread_name, limit)?;
            *runtime.watch.lock().unwrap_or_else(PoisonError::into_inner) = Some(watch);
        }
        Ok(runtime)
    }
}

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
