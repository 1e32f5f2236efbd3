//! Deadlocks: what is done when it is certain that nobody can go on.
//!
//! Whoever falls asleep last looks, after a pause, and once more later: a thread that has ended may be counted by the system
//! for a while. Each look costs one wake-up; then nothing ticks.

use std::error::Error;
use std::fmt;
use std::sync::atomic::{AtomicUsize, Ordering, fence};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use super::certainty::standstill_of_process;
use super::dump::{Dump, TaskDump};
use super::text::Headline;
use crate::exception::{Report, report};
use crate::runtime::rest::Rest;
use crate::runtime::shared::Shared;
use crate::runtime::{Worker, fork};
use crate::task::Task;

/// How long whoever sleeps waits before each look. A pause keeps the looks away from programs that sleep for moments.
pub(crate) const PAUSES: [Duration; 2] = [Duration::from_millis(50), Duration::from_millis(450)];

/// The certainty that none of the tasks can ever go on: what each waits for, and who spawned it.
///
/// Given by [`Runtime::try_run`](crate::Runtime::try_run), and told by the panic of [`Runtime::run`](crate::Runtime::run). It
/// was certain since every worker slept, no task waited for a time, a descriptor or a blocking call, and no other thread
/// was there to wake one; or since [`Builder::closed_world`](super::super::Builder::closed_world) says so. Where that is
/// not known nothing is claimed: see [`Runtime::dump`](crate::Runtime::dump) for what waits. It is not known any more after
/// the process has made one blocking call, for a file, a name, or by `task::unblock`: the threads that make them stay.
///
/// Its `Display` has a line for each task, and one for where its code waits.
#[derive(Clone)]
pub struct Deadlock {
    dumps: Arc<[Dump]>,
}

impl Deadlock {
    /// The tasks that wait, but for [daemons](crate::task::Builder::daemon).
    pub fn tasks(&self) -> impl Iterator<Item = &TaskDump> {
        self.dumps.iter().flat_map(|dump| &dump.tasks).filter(|task| !task.is_daemon)
    }

    /// All there was to tell of each runtime that took part.
    pub fn dumps(&self) -> &[Dump] {
        &self.dumps
    }
}

impl fmt::Display for Deadlock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "deadlock: nobody can wake any of the tasks that wait")?;
        for task in self.tasks() {
            write!(f, "\n  {}", Headline(task))?;
            if let Some(frame) = task.waits_at() {
                write!(f, "\n    in {frame}")?;
            }
        }
        Ok(())
    }
}

impl fmt::Debug for Deadlock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Deadlock({self})")
    }
}

impl Error for Deadlock {}

/// What a runtime does about a deadlock: see [`Builder::on_deadlock`](super::super::Builder::on_deadlock).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum OnDeadlock {
    /// The root task of every `run` that waits is cancelled; once it has unwound, `run` panics with the
    /// [`Deadlock`](super::super::Deadlock), and `try_run` returns it.
    #[default]
    Cancel,
    /// It is [reported](crate::Report::Deadlock), once, and stays.
    Report,
}

/// Those who wait in a `run`.
#[derive(Debug, Default)]
pub(crate) struct Roots {
    waiting: Mutex<Vec<Arc<Root>>>,
    /// How many those are, for a look without the lock.
    len: AtomicUsize,
    /// How often a worker had woken up when a deadlock was told last, and one more.
    told: AtomicUsize,
}

/// A root task, and why it was cancelled.
#[derive(Debug)]
struct Root {
    task: Task,
    deadlock: OnceLock<Deadlock>,
}

/// Somebody who waits in a `run`.
#[derive(Debug)]
pub(crate) struct Waits<'a> {
    roots: &'a Roots,
    root: Arc<Root>,
}

impl Roots {
    fn waiting(&self) -> MutexGuard<'_, Vec<Arc<Root>>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn wait_for(&self, task: Task) -> Waits<'_> {
        let root = Arc::new(Root { task, deadlock: OnceLock::new() });
        let mut waiting = self.waiting();
        waiting.push(root.clone());
        self.len.store(waiting.len(), Ordering::SeqCst);
        Waits { roots: self, root }
    }
}

impl Waits<'_> {
    /// The deadlock for which the task was cancelled.
    pub(crate) fn deadlock(&self) -> Option<&Deadlock> {
        self.root.deadlock.get()
    }
}

impl Drop for Waits<'_> {
    fn drop(&mut self) {
        let mut waiting = self.roots.waiting();
        waiting.retain(|root| !Arc::ptr_eq(root, &self.root));
        self.roots.len.store(waiting.len(), Ordering::SeqCst);
    }
}

/// Held by whoever decides whether there is a deadlock, and by who wakes others although it counts as asleep.
static DECIDING: Mutex<()> = Mutex::new(());

/// Keeps others from deciding that there is a deadlock, until it is dropped.
pub(crate) fn deciding() -> MutexGuard<'static, ()> {
    DECIDING.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Shared {
    /// Notes that the caller waits for `task`, the root of a `run`, until what it gets is dropped.
    pub(crate) fn wait_for_root(&self, task: Task) -> Waits<'_> {
        let waits = self.roots.wait_for(task);
        self.look_again();
        waits
    }

    /// Makes a worker look once more, if all sleep: something has changed that they did not know of when they fell asleep.
    fn look_again(&self) {
        // SeqCst: pairs with the fence in `Idle::fall_asleep`.
        fence(Ordering::SeqCst);
        if self.idle.asleep() == self.remotes.len() {
            self.remotes[0].parker.unpark();
        }
    }

    /// Whether there may be a deadlock, as far as this runtime is concerned: for the last of its workers to fall asleep.
    fn may_be_deadlocked(&self) -> bool {
        self.idle.asleep() == self.remotes.len()
            && !self.is_closing()
            && !self.quiet.signs.is_busy()
            && !self.remotes.iter().any(|remote| remote.expects_anything())
            && (self.roots.len.load(Ordering::SeqCst) > 0 || Rest::of_process().look().count() > 0)
    }

    /// Looks whether there is a deadlock that this runtime's tasks are part of, and acts if so.
    fn look_for_deadlock(&self) {
        if !self.is_closed_world {
            return look_at_process();
        }
        let deciding = deciding();
        // Somebody may be about to wait in a `run`; then one of the workers looks again.
        if self.roots.len.load(Ordering::SeqCst) > 0
            && let Some(wakes) = self.is_at_standstill()
        {
            act(deciding, &[(self, wakes)]);
        }
    }
}

/// Says that the calling thread, of which nothing was known, is about to end.
#[cfg(debug_assertions)]
pub(super) fn thread_ends() {
    fork::runtimes().iter().for_each(|shared| shared.look_again());
}

/// Looks whether no task and no thread of the process can go on, and acts if so.
pub(crate) fn look_at_process() {
    // In the child of a fork threads are still counted that are not there.
    if fork::is_child() {
        return;
    }
    let deciding = deciding();
    if let Some(runtimes) = standstill_of_process() {
        let runtimes: Vec<_> = runtimes.iter().map(|(shared, wakes)| (&**shared, *wakes)).collect();
        act(deciding, &runtimes);
    }
}

/// Tells those who wait in a `run` of a deadlock, or if there is none, everybody. The runtimes come with how often a worker of
/// theirs has woken up.
fn act(deciding: MutexGuard<'_, ()>, runtimes: &[(&Shared, usize)]) {
    let was_told = |shared: &Shared, wakes: usize| shared.roots.told.swap(wakes + 1, Ordering::Relaxed) == wakes + 1;
    // All of them must be looked at.
    if runtimes.iter().filter(|(shared, wakes)| !was_told(shared, *wakes)).count() == 0 {
        return;
    }
    let dumps = runtimes.iter().map(|(shared, _)| Dump::of(shared)).filter(|dump| !dump.tasks.is_empty());
    let deadlock = Deadlock { dumps: dumps.collect() };
    if deadlock.tasks().next().is_none() {
        return;
    }
    let mut is_received = false;
    // What cannot be unwound can only be told of.
    let cancels = |shared: &&Shared| shared.on_deadlock == OnDeadlock::Cancel && cfg!(panic = "unwind");
    for shared in runtimes.iter().map(|&(shared, _)| shared).filter(cancels) {
        for root in shared.roots.waiting().iter() {
            // One that was cancelled before has caught that, and waits again.
            if !root.task.is_finished() && root.deadlock.set(deadlock.clone()).is_ok() {
                root.task.cancel();
                is_received = true;
            }
        }
    }
    drop(deciding);
    if !is_received {
        report(&Report::Deadlock { deadlock: &deadlock });
    }
}

impl Worker {
    /// Parks the worker, which has counted itself asleep, until somebody wakes it or a timer is due. The last one to fall
    /// asleep looks whether there is a deadlock meanwhile.
    pub(in crate::runtime) fn park_asleep(&self) {
        if self.shared().may_be_deadlocked() {
            self.remote().counts.parked.add_one();
            for pause in PAUSES {
                let look_at = Instant::now() + pause;
                if self.remote().parker.park(Some(look_at)) || self.has_ready() || Instant::now() < look_at {
                    return;
                }
                self.shared().look_for_deadlock();
                if self.has_ready() {
                    return;
                }
            }
        }
        self.park(None);
    }
}
