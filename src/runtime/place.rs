//! Which worker a fresh task goes to, when that is said at its spawn.
//!
//! Most fresh tasks lie in their spawner's deque, and whoever comes first starts them. A task that stands *in line* goes to
//! one worker's queue of ready tasks, and is started when its turn comes: local tasks, and those that are placed.

use std::sync::PoisonError;
use std::sync::atomic::Ordering;

use super::shared::{Remote, Shared};
use super::worker::{Fresh, Worker};
use crate::task::{RawTask, Refusal};

/// How a fresh task is queued.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Way {
    /// In the spawner's deque, newest first.
    #[default]
    Newest,
    /// Oldest first, by whoever comes.
    InLine,
    /// In line with the spawner's ready tasks.
    Here,
    /// In line on the emptier of two workers.
    Spread,
    /// In line on one worker, if it is of this runtime.
    On {
        /// The address of the runtime: for a comparison, it may have gone.
        runtime: usize,
        home: usize,
    },
}

impl Shared {
    /// Queues a fresh task from a worker of this runtime, not newest first.
    #[cold]
    pub(super) fn queue(&self, worker: &Worker, task: RawTask, way: Way) -> Result<(), Refusal> {
        match self.home_for(way, Some(worker.index())) {
            Some(home) if home == worker.index() => worker.spawn_in_line(task),
            Some(home) => {
                worker.count_spawned()?;
                self.place(home, task);
                Ok(())
            }
            None if self.remotes.len() == 1 => worker.spawn_in_line(task),
            None => worker.spawn_oldest_first(task),
        }
    }

    /// Queues a fresh task from a thread that is no worker of this runtime. There, one line serves for all ways.
    #[cold]
    pub(super) fn queue_from_outside(&self, task: RawTask, way: Way) -> Result<(), Refusal> {
        // Before the gate, which somebody may have locked when this process was forked.
        if self.is_closing() {
            return Err(self.refusal());
        }
        // SAFETY: it is queued below.
        unsafe { task.is_made_now() };
        let home = self.home_for(way, None);
        let mut gate = self.gate.lock().unwrap_or_else(PoisonError::into_inner);
        if !gate.open {
            return Err(self.refusal());
        }
        gate.injected += 1;
        if let Some(home) = home {
            drop(gate);
            self.place(home, task);
            return Ok(());
        }
        self.injector.push(Fresh(task));
        drop(gate);
        if let Some(worker) = self.idle.wake_any_from_outside() {
            self.unpark(worker);
        }
        Ok(())
    }

    /// Gives a fresh task to one worker, from any thread and also while the runtime closes.
    ///
    /// # Safety
    /// - The runtime is alive, and has a task that does not end before this returns.
    pub(crate) unsafe fn place_from_outside(shared: *const Self, task: RawTask, home: usize) {
        // SAFETY: the caller's promise.
        let shared = unsafe { &*shared };
        // SAFETY: it is in no queue, and a runtime outlives its tasks.
        unsafe { task.set_runtime(shared) };
        shared.gate.lock().unwrap_or_else(PoisonError::into_inner).injected += 1;
        shared.place(home, task);
    }

    /// The worker that a way names, if it does.
    fn home_for(&self, way: Way, here: Option<usize>) -> Option<usize> {
        match way {
            Way::Newest | Way::InLine => None,
            Way::Here => here,
            Way::Spread => Some(self.emptier_of_two()),
            Way::On { runtime, home } => {
                (std::ptr::from_ref(self).addr() == runtime && home < self.remotes.len()).then_some(home)
            }
        }
    }

    /// Of two workers, another pair each time, the one with fewer tasks that have their home there.
    fn emptier_of_two(&self) -> usize {
        let workers = self.remotes.len();
        if workers == 1 {
            return 0;
        }
        let turn = self.turn.fetch_add(1, Ordering::Relaxed);
        let first = turn % workers;
        let second = (first + 1 + turn / workers % (workers - 1)) % workers;
        if self.remotes[second].load() < self.remotes[first].load() { second } else { first }
    }

    /// Puts a fresh task that was counted into a worker's inbox.
    fn place(&self, home: usize, task: RawTask) {
        task.set_home(home);
        self.remotes[home].in_line.fetch_add(1, Ordering::Relaxed);
        self.push_to_inbox(home, task);
    }
}

impl Remote {
    /// How many tasks have their home here, or will as soon as their turn comes.
    fn load(&self) -> u64 {
        let finished = self.counts.finished.get();
        let begun = self.counts.started.get() + self.in_line.load(Ordering::Relaxed);
        begun.saturating_sub(finished)
    }
}
