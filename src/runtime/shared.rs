//! What all workers of a runtime share: how to reach each other, the injector, the way to the end.
//!
//! # Invariants
//! - It lives until every task has ended; if tasks are left behind at shutdown, for ever.
//! - After a worker has acknowledged that the runtime closes, nothing is spawned on it; after the gate is shut, nothing
//!   from outside. From then on the number of tasks only falls, and whoever sees it at zero may say that it is over.

use std::ptr::NonNull;
use std::sync::atomic::{AtomicBool, AtomicPtr, AtomicU8, AtomicU32, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, OnceLock, PoisonError, Weak};
use std::time::{Duration, Instant};

use crossbeam_deque::{Injector, Stealer};

use super::ShutdownError;
use super::bell::Bell;
use super::berth::Berth;
use super::closing::Closing;
use super::diagnosis::{Monitor, OnDeadlock, Roots, Turnstile, Watched, names_of_started};
use super::fork;
use super::idle::Idle;
use super::inbox::Inbox;
use super::place::Way;
use super::quiet::Quiet;
use super::worker::{Deques, Fresh, Worker};
use crate::coroutine::{self, region};
use crate::exception::{Report, report};
use crate::stack::StackSize;
use crate::task::{Carrier, Header, JoinError, RawTask, Refusal, WaitQueue, Waiter, Wakeup, Woken, shield};

/// How many tasks that are left behind are reported one by one; the error of the shutdown names all.
const REPORTED: usize = 32;

/// See the module's page.
pub(crate) struct Shared {
    this: Weak<Self>,
    pub(super) remotes: Box<[Arc<Remote>]>,
    pub(super) idle: Idle,
    /// Fresh tasks from threads that are no workers of this runtime.
    pub(super) injector: Injector<Fresh>,
    pub(super) gate: Mutex<Gate>,
    /// Which pair of workers is compared next, by `Way::Spread`.
    pub(super) turn: AtomicUsize,
    /// Whether it closes, and is over.
    closing: Closing,
    /// Whether the deadline of the shutdown has passed: tasks are left behind.
    abandoned: AtomicBool,
    pub(super) quiet: Quiet,
    pub(super) monitor: Monitor,
    /// Who waits in a `run`.
    pub(super) roots: Roots,
    pub(super) on_deadlock: OnDeadlock,
    /// Whether nobody outside of it wakes its tasks.
    pub(super) is_closed_world: bool,
    /// Whether its worker is a thread that comes and goes: a local runtime's.
    is_local: bool,
    /// Of such a worker, whether it sleeps in here, and nothing but another thread can end that.
    rests: AtomicBool,
    /// Of a local runtime that ends with one task: where that has been started from, and what it starts shall live on.
    outer: OnceLock<Weak<Self>>,
    /// Rings when the worker of a local runtime is woken, if a foreign event loop asked for that.
    pub(super) bell: OnceLock<Bell>,
    /// Whether this is the child of a `fork`, in which nothing runs.
    forked: AtomicBool,
    /// Local runtimes that work in its tasks, and so hold its workers' threads.
    nested: Mutex<Vec<Weak<Self>>>,
    running_workers: Mutex<usize>,
    worker_exited: Condvar,
    /// Tasks of other runtimes that wait for the workers to exit.
    awaiting_exit: Mutex<WaitQueue>,
    /// The stack size of tasks that ask for no other.
    pub(crate) stack_size: StackSize,
}

/// What others see of a worker, and what it counts for them. One cache line apart from the next.
#[repr(align(128))]
pub(super) struct Remote {
    pub(super) inbox: Inbox<Header>,
    /// Where it waits while somebody looks at its tasks.
    pub(super) turnstile: Turnstile<Header>,
    /// The first carrier of a task that has suspended at least once and not ended; they are linked through themselves. Its
    /// thread changes it, within `turnstile`.
    pub(super) live: AtomicPtr<Carrier>,
    pub(super) stealer: Stealer<Fresh>,
    /// Of the deque that its worker, too, empties oldest first.
    pub(super) oldest_first: Stealer<Fresh>,
    /// Fresh tasks that only it may start, in its inbox or in line.
    pub(super) in_line: AtomicU64,
    pub(super) parker: Berth,
    /// Moves whenever the worker starts or resumes a task: who does not move computes, and its fresh tasks wait.
    pub(super) tick: AtomicU32,
    /// What the runtime's monitor has seen of it.
    pub(super) watched: Watched,
    /// What it had to wait for when it last fell asleep: bits of [`Expects`].
    expects: AtomicU8,
    pub(super) counts: Counts,
}

/// What a worker that falls asleep says of what its tasks wait for.
pub(super) struct Expects {
    /// A timer, or a descriptor, of any task.
    pub(super) anything: bool,
    /// One that counts where it is asked whether there is nothing left to do.
    pub(super) what_counts: bool,
}

impl Expects {
    const ANYTHING: u8 = 1;
    const WHAT_COUNTS: u8 = 2;
}

/// How a runtime deals with deadlocks.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct World {
    pub(super) on_deadlock: OnDeadlock,
    pub(super) is_closed: bool,
    pub(super) is_local: bool,
}

/// Written by their worker alone.
#[derive(Default)]
pub(super) struct Counts {
    pub(super) spawned: Count,
    pub(super) started: Count,
    pub(super) finished: Count,
    pub(super) stolen: Count,
    pub(super) parked: Count,
    pub(super) woken: Count,
}

/// A counter with one writer.
#[derive(Default)]
pub(super) struct Count(AtomicU64);

impl Count {
    #[inline]
    pub(super) fn add_one(&self) {
        // Release: pairs with the Acquire in `get`: whoever sees a task counted as finished sees it counted as spawned.
        self.0.store(self.0.load(Ordering::Relaxed) + 1, Ordering::Release);
    }

    pub(super) fn get(&self) -> u64 {
        self.0.load(Ordering::Acquire)
    }
}

/// The way in for tasks from outside.
pub(super) struct Gate {
    pub(super) open: bool,
    pub(super) injected: u64,
    /// How many fresh tasks have been ended by whoever gave up waiting for the workers.
    refused: u64,
}

impl Shared {
    pub(super) fn new(deques: &[Deques], stack_size: StackSize, world: World) -> Arc<Self> {
        let remotes: Box<[_]> = deques
            .iter()
            .map(|deques| {
                Arc::new(Remote {
                    inbox: Inbox::new(),
                    turnstile: Turnstile::new(),
                    live: AtomicPtr::new(std::ptr::null_mut()),
                    stealer: deques.newest_first.stealer(),
                    oldest_first: deques.oldest_first.stealer(),
                    in_line: AtomicU64::new(0),
                    parker: Berth::new(),
                    tick: AtomicU32::new(0),
                    watched: Watched::default(),
                    expects: AtomicU8::new(0),
                    counts: Counts::default(),
                })
            })
            .collect();
        let shared = Arc::new_cyclic(|this| Self {
            this: this.clone(),
            idle: Idle::new(remotes.len()),
            injector: Injector::new(),
            gate: Mutex::new(Gate { open: true, injected: 0, refused: 0 }),
            turn: AtomicUsize::new(0),
            closing: Closing::new(remotes.len()),
            abandoned: AtomicBool::new(false),
            quiet: Quiet::new(),
            monitor: Monitor::new(),
            roots: Roots::default(),
            on_deadlock: world.on_deadlock,
            is_closed_world: world.is_closed,
            is_local: world.is_local,
            rests: AtomicBool::new(false),
            outer: OnceLock::new(),
            bell: OnceLock::new(),
            forked: AtomicBool::new(false),
            nested: Mutex::default(),
            running_workers: Mutex::new(remotes.len()),
            worker_exited: Condvar::new(),
            awaiting_exit: Mutex::new(WaitQueue::new()),
            stack_size,
            remotes,
        });
        fork::register(Arc::downgrade(&shared));
        shared
    }

    /// Lends the runtime that the caller belongs to: its worker's, else the default one.
    #[inline(always)]
    pub(crate) fn with_current<T>(f: impl FnOnce(&Self) -> T) -> T {
        #[cold]
        fn default() -> &'static Shared {
            super::default_runtime().shared()
        }
        f(Worker::get().map_or_else(default, Worker::shared))
    }

    /// Lends the runtime for what shall not end with the calling thread: the caller's; on a thread that is there for one
    /// task alone, the one that this was started from. If that has ended meanwhile, the default one.
    pub(crate) fn with_lasting<T>(f: impl FnOnce(&Self) -> T) -> T {
        Self::with_current(|shared| match shared.outer.get() {
            None => f(shared),
            Some(outer) => match outer.upgrade().filter(|outer| !outer.is_closing()) {
                Some(outer) => f(&outer),
                None => f(super::default_runtime().shared()),
            },
        })
    }

    /// The runtime that [`with_lasting`](Self::with_lasting) lends.
    pub(crate) fn lasting() -> Weak<Self> {
        Self::with_lasting(|shared| shared.this.clone())
    }

    /// Says where this local runtime was started from. The first time counts.
    pub(super) fn set_outer(&self, outer: Weak<Self>) {
        _ = self.outer.set(outer);
    }

    /// The calling worker, if it is one of this runtime's.
    #[inline]
    fn own_worker(&self) -> Option<&'static Worker> {
        Worker::get().filter(|worker| std::ptr::eq(worker.shared(), self))
    }

    /// Queues a fresh task.
    ///
    /// # Errors
    /// The runtime is closing; the task was not queued.
    #[inline]
    pub(crate) fn submit(&self, task: RawTask, way: Way) -> Result<(), Refusal> {
        match self.own_worker() {
            Some(worker) if way == Way::Newest => worker.spawn(task),
            Some(worker) => self.queue(worker, task, way),
            None => self.queue_from_outside(task, way),
        }
    }

    /// Looks whether a task of this size would get a stack now.
    pub(crate) fn check_stack(&self, size: StackSize) -> std::io::Result<()> {
        match self.own_worker() {
            Some(worker) => worker.ensure_carrier(size),
            None => coroutine::take_stack(size).map(|stack| coroutine::give_stack(size, stack)),
        }
    }

    /// Puts a task that a thread has called, which is not its home, into its home's inbox.
    ///
    /// # Safety
    /// - `shared` is the task's runtime, and the caller was the first to call the task.
    #[cold]
    pub(crate) unsafe fn push_called(shared: *const Self, task: RawTask) {
        // SAFETY: a task does not end while a call is on its way, so its runtime is alive.
        unsafe { &*shared }.push_to_inbox(task.home(), task);
    }

    #[cold]
    pub(super) fn push_to_inbox(&self, home: usize, task: RawTask) {
        // Once pushed, the task may run and end, and the runtime with it: something must keep it until the worker is
        // unparked. One of its workers does; a count, which all threads share, costs as much as the push.
        match self.own_worker() {
            Some(worker) => worker.shared().push_kept(home, task),
            None => _ = self.this.upgrade().map(|this| this.push_kept(home, task)),
        }
    }

    fn push_kept(&self, home: usize, task: RawTask) {
        // SAFETY: the caller was the first to call it, or placed it, so it is in no inbox; it lives until its home has
        // taken it.
        let was_empty = unsafe { self.remotes[home].inbox.push(task.as_ptr()) };
        if was_empty && self.idle.wake(home) {
            self.unpark(home);
        }
    }

    pub(super) fn unpark(&self, worker: usize) {
        self.remotes[worker].counts_woken();
        self.remotes[worker].parker.unpark();
        if let Some(bell) = self.bell.get() {
            bell.ring();
        }
    }

    #[cfg(feature = "blocking")]
    pub(super) fn weak(&self) -> Weak<Self> {
        self.this.clone()
    }

    /// Whether any fresh task lies where any worker may take it.
    pub(super) fn has_fresh(&self) -> bool {
        !self.injector.is_empty() || self.remotes.iter().any(|remote| remote.has_fresh())
    }

    /// How many tasks have been spawned and have not started, as far as can be seen.
    pub(super) fn fresh_tasks(&self) -> u64 {
        let of = |remote: &Arc<Remote>| {
            (remote.stealer.len() + remote.oldest_first.len()) as u64 + remote.in_line.load(Ordering::Relaxed)
        };
        self.injector.len() as u64 + self.remotes.iter().map(of).sum::<u64>()
    }

    /// Says of the worker of a local runtime whether it sleeps in here for good, as long as nobody wakes it.
    pub(super) fn say_rests(&self, rests: bool) {
        self.rests.store(rests, Ordering::SeqCst);
    }

    /// Whether it has no thread that sleeps for it: its worker is somewhere else, or nowhere.
    pub(super) fn is_elsewhere(&self) -> bool {
        self.is_local && !self.rests.load(Ordering::SeqCst)
    }

    // ---- the end

    pub(super) fn has_no_workers(&self) -> bool {
        *self.running_workers.lock().unwrap_or_else(PoisonError::into_inner) == 0
    }

    pub(crate) fn is_closing(&self) -> bool {
        self.closing.has_begun()
    }

    /// In the child of a fork: nothing may be spawned, and nobody is waited for.
    pub(super) fn die(&self) {
        self.forked.store(true, Ordering::Release);
        self.closing.begin();
        self.abandoned.store(true, Ordering::Release);
    }

    pub(super) fn is_forked(&self) -> bool {
        self.forked.load(Ordering::Acquire)
    }

    /// Why nothing can be spawned on a runtime that closes.
    ///
    /// # Panics
    /// In the child of a fork.
    #[cold]
    pub(super) fn refusal(&self) -> Refusal {
        assert!(!self.is_forked(), "{}", fork::MESSAGE);
        Refusal::Shutdown
    }

    pub(super) fn is_abandoned(&self) -> bool {
        self.abandoned.load(Ordering::Acquire)
    }

    /// Takes no more tasks, and asks every worker to cancel those it has.
    pub(super) fn close(&self) {
        self.gate.lock().unwrap_or_else(PoisonError::into_inner).open = false;
        self.closing.begin();
        self.unpark_all();
    }

    /// Wakes every worker, and those of local runtimes that work in its tasks.
    pub(crate) fn unpark_all(&self) {
        self.remotes.iter().for_each(|remote| remote.parker.unpark());
        if let Some(bell) = self.bell.get() {
            bell.ring();
        }
        let nested = self.nested().clone();
        nested.iter().filter_map(Weak::upgrade).for_each(|nested| nested.unpark_all());
    }

    fn nested(&self) -> MutexGuard<'_, Vec<Weak<Self>>> {
        self.nested.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Says that `other` works in a task of this runtime, and holds a worker's thread; until the other call.
    pub(super) fn begin_nested(&self, other: &Self) {
        self.nested().push(other.this.clone());
    }

    pub(super) fn end_nested(&self, other: &Self) {
        let mut nested = self.nested();
        if let Some(place) = nested.iter().rposition(|nested| nested.ptr_eq(&other.this)) {
            nested.remove(place);
        }
    }

    /// Whether `other`'s workers hold some of this runtime's: it is the same, or works in one of its tasks, perhaps through
    /// others.
    pub(super) fn holds(&self, other: &Self) -> bool {
        let nested = || self.nested().clone();
        std::ptr::eq(self, other) || nested().iter().filter_map(Weak::upgrade).any(|nested| nested.holds(other))
    }

    /// Another count of it.
    pub(super) fn arc(&self) -> Option<Arc<Self>> {
        self.this.upgrade()
    }

    /// Says that a worker spawns no more.
    pub(super) fn acknowledge(&self, worker: usize) {
        self.closing.acknowledge(worker);
    }

    /// Whether a worker that found nothing to do may exit. The last to come here finds that all is over.
    pub(super) fn may_exit(&self) -> bool {
        self.closing.is_over(|| self.unfinished(), || self.unpark_all())
    }

    /// How many tasks have been spawned and have not ended.
    pub(super) fn unfinished(&self) -> u64 {
        let finished: u64 = self.remotes.iter().map(|remote| remote.counts.finished.get()).sum();
        let gate = self.gate.lock().unwrap_or_else(PoisonError::into_inner);
        let (injected, refused) = (gate.injected, gate.refused);
        drop(gate);
        let spawned: u64 = self.remotes.iter().map(|remote| remote.counts.spawned.get()).sum();
        (injected + spawned).saturating_sub(finished + refused)
    }

    /// Says that a worker's thread could not be had.
    pub(super) fn never_starts(&self, worker: usize) {
        self.acknowledge(worker);
        self.worker_exits();
    }

    pub(super) fn worker_exits(&self) {
        let mut running = self.running_workers.lock().unwrap_or_else(PoisonError::into_inner);
        *running -= 1;
        let is_last = *running == 0;
        drop(running);
        self.worker_exited.notify_all();
        if is_last {
            let woken = self.awaiting_exit().notify_all();
            woken.into_iter().for_each(Wakeup::fire);
        }
    }

    fn awaiting_exit(&self) -> MutexGuard<'_, WaitQueue> {
        self.awaiting_exit.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits until every worker has exited, or for `patience`. True if they have.
    ///
    /// # Suspends
    /// The calling task, whose worker may be needed for what the tasks here still do; else the thread waits.
    pub(super) fn wait_for_workers(&self, patience: Duration) -> bool {
        let deadline = Instant::now().checked_add(patience);
        if RawTask::current().is_some() && !region::is_forbidden() {
            return shield(|| self.wait_for_workers_as_task(deadline));
        }
        let mut running = self.running_workers.lock().unwrap_or_else(PoisonError::into_inner);
        while *running > 0 {
            let left = deadline.map_or(Duration::MAX, |deadline| deadline.saturating_duration_since(Instant::now()));
            if left.is_zero() {
                return false;
            }
            running = self.worker_exited.wait_timeout(running, left).unwrap_or_else(PoisonError::into_inner).0;
        }
        true
    }

    fn wait_for_workers_as_task(&self, deadline: Option<Instant>) -> bool {
        let waiter = Waiter::new();
        let mut queue = self.awaiting_exit();
        // Under the queue's lock, which the last one to exit takes after it has been counted.
        if self.has_no_workers() {
            return true;
        }
        // SAFETY: the waiter is new, and stays here until it was notified or taken out.
        unsafe { queue.push(&raw const waiter) };
        drop(queue);
        // SAFETY: it was pushed above.
        waiter.wait(deadline, || unsafe { self.awaiting_exit().remove(&waiter) }) == Woken::Notified
    }

    /// Gives up what has not ended: refuses the fresh tasks that can be had, and has the workers refuse theirs and exit. The
    /// names of those that have started.
    pub(super) fn abandon(&self) -> Vec<String> {
        let names = names_of_started(self);
        // Their workers may be held for ever.
        let fresh = std::iter::from_fn(|| self.steal_any());
        let refused = fresh.map(|Fresh(task)| task.refuse(JoinError::cancelled())).count();
        self.gate.lock().unwrap_or_else(PoisonError::into_inner).refused += refused as u64;
        self.abandoned.store(true, Ordering::Release);
        self.unpark_all();
        names
    }

    /// After `abandon`, when the workers have refused what they could: leaves behind what has not ended, and reports it.
    pub(super) fn leave(&self, names: Vec<String>) -> Result<(), ShutdownError> {
        let leaked = self.unfinished();
        if leaked == 0 {
            return Ok(());
        }
        // The tasks point here, and may be notified at any time.
        std::mem::forget(self.this.upgrade());
        names.iter().take(REPORTED).for_each(|name| report(&Report::Leaked { name }));
        Err(ShutdownError { leaked, names })
    }

    /// What is left of what an earlier shutdown has left behind.
    pub(super) fn still_left(&self) -> Result<(), ShutdownError> {
        match self.unfinished() {
            0 => Ok(()),
            leaked => Err(ShutdownError { leaked, names: names_of_started(self) }),
        }
    }

    /// Takes a fresh task from wherever there is one.
    fn steal_any(&self) -> Option<Fresh> {
        let from_deques = || self.remotes.iter().map(|remote| remote.stealer.steal()).collect();
        let from_lines = || self.remotes.iter().map(|remote| remote.oldest_first.steal()).collect();
        std::iter::repeat_with(|| self.injector.steal().or_else(from_deques).or_else(from_lines))
            .find(|steal| !steal.is_retry())?
            .success()
    }
}

impl Remote {
    /// The task that it runs, if its turnstile is held: one that has not ended, of which what never changes may be looked at.
    pub(super) fn running(&self) -> Option<RawTask> {
        NonNull::new(self.turnstile.running()).map(RawTask::from_header)
    }

    /// How long it has been in the same task, at `now` by the clock, if it is stuck there.
    pub(super) fn stuck(&self, now: u32) -> Option<Duration> {
        self.watched.stuck(self.tick.load(Ordering::Relaxed), now)
    }

    /// The tasks that have suspended at least once and not ended: for its own thread, and while its turnstile is held.
    pub(super) fn live_tasks(&self) -> impl Iterator<Item = RawTask> {
        let mut next = self.live.load(Ordering::Relaxed).cast_const();
        std::iter::from_fn(move || {
            // SAFETY: a listed task has not ended, and its carrier is there until then.
            let carrier = unsafe { next.as_ref() }?;
            next = carrier.next.get();
            carrier.listed.get()
        })
    }

    /// Says, before the worker falls asleep, what it has to wait for.
    pub(super) fn say_expects(&self, expects: &Expects) {
        let anything = if expects.anything { Expects::ANYTHING } else { 0 };
        let what_counts = if expects.what_counts { Expects::WHAT_COUNTS } else { 0 };
        self.expects.store(anything | what_counts, Ordering::Relaxed);
    }

    /// Whether it had anything to wait for when it last fell asleep.
    pub(super) fn expects_anything(&self) -> bool {
        self.expects.load(Ordering::SeqCst) & Expects::ANYTHING != 0
    }

    /// Whether it had something to wait for that counts.
    pub(super) fn expects_what_counts(&self) -> bool {
        self.expects.load(Ordering::SeqCst) & Expects::WHAT_COUNTS != 0
    }

    /// Whether others may steal from it.
    pub(super) fn has_fresh(&self) -> bool {
        !self.stealer.is_empty() || !self.oldest_first.is_empty()
    }

    fn counts_woken(&self) {
        // The one count with several writers: threads that wake this worker.
        self.counts.woken.0.fetch_add(1, Ordering::Relaxed);
    }
}
