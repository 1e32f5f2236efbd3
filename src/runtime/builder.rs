//! What is said of a runtime before it starts, and the start.

use std::borrow::Cow;
use std::fmt;
use std::io;
use std::num::NonZeroUsize;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::available_parallelism;
use std::time::Duration;

use super::shared::{Shared, World};
use super::worker::{Deques, Worker};
use super::{LocalRuntime, OnDeadlock, Runtime, diagnosis, pin, thread};
use crate::coroutine::unwind;
use crate::stack::StackSize;

/// How long a task may hold a worker before that is reported, unless the builder says otherwise.
const WATCHDOG: Duration = Duration::from_millis(100);

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

impl Default for Builder {
    fn default() -> Self {
        Self::new()
    }
}

impl Builder {
    /// As [`Runtime::builder`].
    pub fn new() -> Self {
        Self {
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
    /// Then a [`Deadlock`](super::Deadlock) is certain when its own workers sleep and its tasks wait for none of these. Without the promise it is
    /// only where every thread of the process is osier's and sleeps, or waits for a task or in a wait of [`sync`](crate::sync);
    /// which is so in most programs whose `main` calls [`run`](super::run), and never in tests, since their harness has a thread. After one
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
