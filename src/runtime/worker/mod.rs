//! A worker: one thread, its queues, and the loop that decides what runs next.
//!
//! # Invariants
//! - Only the worker's own thread touches what is in [`Worker`]; others reach it through its [`Remote`].
//! - A started task is in `ready`, in the inbox, parked, or running; it is resumed by this loop alone.
//! - While the loop decides, no task of this worker is in the middle of running.
//!
//! # Rooms
//! - `next`: what runs next. `ready`: the queue of tasks that can go on. `in_place`: tasks started below the running one. `started`: carriers, and the list of tasks that have suspended.
//! - `rest`: when there is nothing to run. `steal`: looking at other workers. `timers`: what is due.
//! - `warm`: what the next tasks will touch. `local`: a loop that is its caller's. `end`: what becomes of the rest.

mod end;
mod in_place;
mod local;
mod next;
mod ready;
mod rest;
mod started;
mod steal;
mod timers;
mod warm;

use std::cell::{Cell, RefCell};
use std::ptr::{self, NonNull};
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Instant;

use crossbeam_deque::Worker as Deque;
use ready::Ready;

use super::diagnosis::Turnstile;
use super::fork;
use super::reactor::Reactor;
use super::shared::{Remote, Shared};
use super::test::Seeds;
use super::timer::Timers;
use crate::coroutine::{self, current, memory, region};
use crate::task::{Carrier, Header, JoinError, Pause, RawTask, Refusal};

/// Every so many tasks the loop looks where it otherwise looks last, so that nothing starves. A prime, as in Go's
/// scheduler (`runtime/proc.go`), so that it does not beat in time with the program.
const FAR_END: u32 = 61;
/// After how many tasks it looks whether requests that were put off can be thrown.
const PUT_OFF: u32 = 4;
/// How many joins in place are made before the loop gets its turn.
const IN_PLACE: u32 = 64;
/// From how many suspended tasks on what they left is likely to have gone from the core's nearest cache.
const MANY: usize = 64;

/// A fresh task, on its way to whichever worker starts it.
pub(crate) struct Fresh(pub(super) RawTask);

// SAFETY: a fresh task is a closure that is `Send`; whoever takes it out of a deque is the only one to start it.
unsafe impl Send for Fresh {}

/// Where a worker keeps the fresh tasks that others may steal.
pub(super) struct Deques {
    pub(super) newest_first: Deque<Fresh>,
    pub(super) oldest_first: Deque<Fresh>,
}

impl Deques {
    pub(super) fn new() -> Self {
        Self { newest_first: Deque::new_lifo(), oldest_first: Deque::new_fifo() }
    }
}

/// Takes a task out of a deque of this worker's. Looks before: a pop has a fence, which costs as much as a yield.
#[inline(always)]
pub(super) fn pop(deque: &Deque<Fresh>) -> Option<Fresh> {
    if deque.is_empty() { None } else { deque.pop() }
}

/// What to run next.
pub(super) enum Job {
    Fresh(RawTask),
    Ready(RawTask),
}

/// A worker's tick when a thief last saw it move, and when that was.
type Look = (u32, Option<Instant>);

/// See the module's page.
pub(crate) struct Worker {
    pub(super) shared: Arc<Shared>,
    /// Its own among those of `shared`, at hand.
    remote: Arc<Remote>,
    index: usize,
    /// Started tasks that can go on, first come first served; among them fresh ones that stand in line.
    pub(super) ready: Ready,
    /// How many of them go on before the next fresh task starts.
    round: Cell<usize>,
    /// Tasks that have not started: newest first for this worker, oldest first for thieves.
    pub(super) fresh: Deque<Fresh>,
    /// Tasks that have not started: oldest first for this worker, too.
    pub(super) fresh_in_line: Deque<Fresh>,
    /// Whether there may be any in either: a look at both costs a tenth of a yield. Others may have stolen the last.
    may_have_fresh: Cell<bool>,
    /// Carriers that no task has.
    carriers: RefCell<Vec<NonNull<Carrier>>>,
    /// How many tasks have suspended and not ended.
    suspended: Cell<usize>,
    timers: RefCell<Timers<RawTask>>,
    /// How many of them are something to wait for: not daemons', nor of who waits for there to be nothing to do.
    timers_that_count: Cell<usize>,
    /// After how many tasks the loop looks at the far end. Below zero where it has not come to it.
    pub(super) until_far_end: Cell<i32>,
    /// Where the far end is looked at first, of its three places.
    far_end_first: Cell<u8>,
    joins_in_place: Cell<u32>,
    /// The tick when a budget of calls was last used up.
    spent_at: Cell<u32>,
    /// When the loop last looked at the far end, and after how many tasks it does again.
    far_end_pace: Cell<(Option<Instant>, u32)>,
    /// The tick, and the time, when the loop last looked at its poller in between.
    polled: Cell<(u32, Option<Instant>)>,
    /// When timers last fired.
    fired_at: Cell<Option<Instant>>,
    has_acknowledged: Cell<bool>,
    /// Whether its loop has ended, so that nothing can be started any more.
    has_ended: Cell<bool>,
    /// Whether a request was not thrown into a task because somebody on this thread was unwinding.
    has_put_off: Cell<bool>,
    /// Whether every fresh task of its own stands in line: a local runtime's worker.
    pub(super) lines_up: bool,
    /// In a test runtime: what its choices come from.
    pub(super) seeds: Option<Seeds>,
    /// For each other worker, what we saw last.
    looks: Box<[Cell<Look>]>,
    /// Where to look first when stealing; moves on each time.
    next_victim: Cell<usize>,
    /// How many searches in a row have found nothing.
    searches_in_vain: Cell<u32>,
}

/// Ends the process if a worker's thread is made to leave its loop, or one of its tasks' carriers theirs.
pub(crate) struct AbortsOnDrop;

impl Drop for AbortsOnDrop {
    #[cold]
    fn drop(&mut self) {
        // In the child it is no worker any more; but of a runtime made there it may be one.
        if fork::is_child() && Worker::get().is_none() {
            eprintln!("osier: a task went on after a fork, in the child: {}", fork::MESSAGE);
        } else {
            let name = std::thread::current().name().unwrap_or("a worker").to_owned();
            eprintln!("osier: the thread of worker '{name}' was made to end, with tasks that only it can run");
        }
        std::process::abort();
    }
}

impl Worker {
    pub(super) fn new(shared: Arc<Shared>, index: usize, deques: Deques) -> Self {
        let looks = shared.remotes.iter().map(|_| Cell::new((0, None))).collect();
        Self {
            remote: shared.remotes[index].clone(),
            shared,
            index,
            ready: Ready::new(),
            round: Cell::new(0),
            fresh: deques.newest_first,
            fresh_in_line: deques.oldest_first,
            may_have_fresh: Cell::new(false),
            carriers: RefCell::new(Vec::new()),
            suspended: Cell::new(0),
            timers: RefCell::new(Timers::new()),
            timers_that_count: Cell::new(0),
            until_far_end: Cell::new(FAR_END.cast_signed()),
            far_end_first: Cell::new(0),
            joins_in_place: Cell::new(IN_PLACE),
            spent_at: Cell::new(0),
            far_end_pace: Cell::new((None, FAR_END)),
            polled: Cell::new((0, None)),
            fired_at: Cell::new(None),
            has_acknowledged: Cell::new(false),
            has_ended: Cell::new(false),
            has_put_off: Cell::new(false),
            lines_up: false,
            seeds: None,
            looks,
            next_victim: Cell::new(index + 1),
            searches_in_vain: Cell::new(0),
        }
    }

    /// What a worker's thread does from its start to its end.
    pub(super) fn main(shared: Arc<Shared>, index: usize, deques: Deques, seed: Option<u64>) {
        let mut worker = Self::new(shared, index, deques);
        if let Some(seed) = seed {
            worker.choose_by(seed);
        }
        worker.remote().watched.begins();
        coroutine::keep_stacks();
        current::set_worker((&raw const worker).cast());
        // A worker that unwinds or is ended from outside (`pthread_exit`) would take its tasks along, without a word.
        let dies = AbortsOnDrop;
        // No destructor of a thread-local runs on a thread that has only begun.
        coroutine::vouching_for_worker(|| worker.run());
        if worker.shared.is_forked() {
            eprintln!("osier: a task went on after a fork, in the child: {}", super::fork::MESSAGE);
            std::process::abort();
        }
        std::mem::forget(dies);
        worker.drain();
        current::set_worker(ptr::null());
    }

    /// The worker that this thread is, if it is one.
    #[inline(always)]
    pub(crate) fn get() -> Option<&'static Self> {
        // SAFETY: set by `main` for as long as the worker lives, which outlives everything that runs on the thread.
        unsafe { current::worker().cast::<Self>().as_ref() }
    }

    /// The worker that this thread is; for code that runs in tasks.
    #[inline(always)]
    pub(crate) fn here() -> &'static Self {
        Self::get().expect("tasks run on workers, and not in the child of a fork")
    }

    pub(crate) fn index(&self) -> usize {
        self.index
    }

    pub(crate) fn shared(&self) -> &Shared {
        &self.shared
    }

    /// Where this worker waits while somebody looks at its tasks.
    #[inline(always)]
    pub(crate) fn turnstile(&self) -> &Turnstile<Header> {
        &self.remote().turnstile
    }

    pub(super) fn remote(&self) -> &Remote {
        &self.remote
    }

    // ---- what tasks ask for

    /// Queues a fresh task, and wakes a worker for it if nobody would see it otherwise.
    #[inline]
    pub(super) fn spawn(&self, task: RawTask) -> Result<(), Refusal> {
        if self.shared.is_closing() {
            return Err(self.shared.refusal());
        }
        if self.lines_up {
            return self.spawn_in_line(task);
        }
        self.remote().counts.spawned.add_one();
        self.push_fresh(&self.fresh, task);
        Ok(())
    }

    /// Counts a task that is about to be queued.
    pub(super) fn count_spawned(&self) -> Result<(), Refusal> {
        if self.shared.is_closing() {
            return Err(self.shared.refusal());
        }
        self.remote().counts.spawned.add_one();
        Ok(())
    }

    /// Queues a fresh task that this worker alone may start, in line with those that are ready.
    pub(super) fn spawn_in_line(&self, task: RawTask) -> Result<(), Refusal> {
        self.count_spawned()?;
        task.set_home(self.index);
        self.remote().in_line.fetch_add(1, Relaxed);
        self.push_ready(task);
        Ok(())
    }

    /// Queues a fresh task that starts after those that were queued so before.
    pub(super) fn spawn_oldest_first(&self, task: RawTask) -> Result<(), Refusal> {
        self.count_spawned()?;
        self.push_fresh(&self.fresh_in_line, task);
        Ok(())
    }

    /// Queues a task as fresh that has just run here, and counts as ended and as spawned again.
    pub(crate) fn queue_again(&self, task: RawTask) {
        self.remote().counts.spawned.add_one();
        if self.lines_up {
            task.set_home(self.index);
            self.remote().in_line.fetch_add(1, Relaxed);
            return self.push_ready(task);
        }
        // Behind all that are fresh: it has just had its turn.
        self.push_fresh(&self.fresh_in_line, task);
    }

    /// Whether this thread is the worker that a task has its home on.
    pub(crate) fn is_home_of(task: RawTask) -> bool {
        Self::get().is_some_and(|worker| {
            ptr::eq(&raw const *worker.shared, task.runtime()) && task.settled_home() == Some(worker.index)
        })
    }

    /// Puts a task into one of the two deques, and wakes a worker for it if nobody would see it otherwise; also one that was
    /// taken out and is not started, over which a worker may have fallen asleep meanwhile.
    #[inline]
    pub(super) fn push_fresh(&self, deque: &Deque<Fresh>, task: RawTask) {
        deque.push(Fresh(task));
        self.may_have_fresh.set(true);
        if let Some(worker) = self.shared.idle.wake_any() {
            self.shared.unpark(worker);
        }
    }

    /// Queues a started task of this worker.
    #[inline]
    pub(crate) fn push_ready(&self, task: RawTask) {
        self.ready.push_back(task);
    }

    pub(crate) fn count_started(&self) {
        self.remote().counts.started.add_one();
        self.move_tick();
    }

    pub(crate) fn count_finished(&self) {
        self.remote().counts.finished.add_one();
    }

    fn move_tick(&self) {
        let tick = &self.remote().tick;
        tick.store(tick.load(Relaxed).wrapping_add(1), Relaxed);
        self.until_far_end.set(self.until_far_end.get().wrapping_sub(1));
    }

    // ---- the loop

    fn run(&self) {
        loop {
            if let Some(task) = self.next_ready() {
                self.execute(Job::Ready(task));
            } else if let Some(job) = self.next_job() {
                self.execute(job);
            } else {
                return;
            }
        }
    }

    /// The next job, now or later; `None` when the worker shall exit.
    #[inline(never)]
    fn next_job(&self) -> Option<Job> {
        if self.until_far_end.get() <= 0 && self.shared.is_abandoned() {
            return None;
        }
        self.find_task().or_else(|| self.find_or_sleep())
    }

    #[inline(always)]
    fn execute(&self, job: Job) {
        self.move_tick();
        self.joins_in_place.set(IN_PLACE);
        match job {
            Job::Ready(task) if task.has_started() => self.resume(task),
            Job::Ready(task) => self.start_in_line(task),
            Job::Fresh(task) => self.start(task),
        }
    }

    /// Runs the next task, if there is one: for a loop that somebody else has.
    pub(super) fn step(&self) -> bool {
        let job = self.next_ready().map(Job::Ready).or_else(|| self.find_task());
        job.map(|job| self.execute(job)).is_some()
    }

    pub(super) fn reactor(&self) -> &Arc<Reactor> {
        &self.remote().parker.reactor
    }

    /// Wakes the tasks whose descriptors are ready.
    #[inline]
    pub(super) fn poll_reactor(&self) {
        if self.reactor().is_used() {
            self.reactor().poll();
        }
    }

    /// Notes that a budget of calls is used up. True if one task has used up all of it: no other ran meanwhile.
    pub(crate) fn note_spent(&self) -> bool {
        let tick = self.remote().tick.load(Relaxed);
        self.spent_at.replace(tick) == tick
    }

    /// Makes the loop look at the far end next: the running task has computed for long.
    pub(crate) fn look_far_soon(&self) {
        self.until_far_end.set(0);
    }

    /// Makes the loop look at the far end after so many tasks at the latest.
    fn look_far_within(&self, tasks: u32) {
        self.until_far_end.set(self.until_far_end.get().min(tasks.cast_signed()));
    }

    // ---- running

    /// Goes on with a started task.
    #[inline(always)]
    fn resume(&self, task: RawTask) {
        self.turnstile().resumes(task.as_ptr());
        task.header().run.resume();
        self.enter(task.carrier());
    }

    /// Starts a fresh task that stood in line.
    #[cold]
    fn start_in_line(&self, task: RawTask) {
        self.remote().in_line.fetch_sub(1, Relaxed);
        self.start(task);
    }

    /// Starts a fresh task, or ends it if there is no stack for it.
    fn start(&self, task: RawTask) {
        match self.take_carrier(task.header().stack_size) {
            Ok(carrier) => self.start_on(carrier, task, false),
            Err(error) => {
                self.count_started();
                task.refuse(JoinError::no_stack(error));
                self.count_finished();
            }
        }
    }

    fn start_on(&self, carrier: NonNull<Carrier>, task: RawTask, only_one: bool) {
        if self.has_acknowledged.get() {
            task.request_cancel();
        }
        // SAFETY: a carrier of this worker's, which frees it only when it is idle.
        let carrier = unsafe { carrier.as_ref() };
        carrier.load(task, only_one);
        if self.enter(carrier) == Pause::Suspended {
            // It is the task's own from now on, and goes on by itself.
            carrier.may_go_on();
        }
    }

    /// Runs a carrier until it pauses. An idle one may be gone then.
    #[inline(always)]
    fn enter(&self, carrier: &Carrier) -> Pause {
        // SAFETY: it is this worker's, and loaded or suspended: it was idle, or its task was in a queue.
        let pause = unsafe { carrier.resume() }.expect("a carrier returns only when it is freed");
        current::set_task(ptr::null());
        if pause == Pause::Idle {
            self.put_carrier(carrier.this());
        }
        pause
    }

    /// Notes that a task has a request that could not be thrown into it now.
    pub(crate) fn put_off_requests(&self) {
        self.has_put_off.set(true);
        self.look_far_within(PUT_OFF);
    }

    /// Wakes the tasks whose requests were put off, when nobody on this thread unwinds any more.
    pub(super) fn repeat_requests(&self) {
        if !self.has_put_off.get() || current::panicking() {
            return;
        }
        self.has_put_off.set(false);
        for task in self.live_tasks() {
            if task.header().has_request() && task.header().run.notify_here() {
                self.push_ready(task);
            }
        }
    }
}
