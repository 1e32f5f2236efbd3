//! A thread of each runtime that looks whether its workers move: the watchdog.
//!
//! While workers work it looks four times within the time that a task may hold one, and winds the clock. When all have
//! slept for a few looks it sleeps too, until one of them wakes up: an idle runtime wakes nobody.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering, fence};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use super::{clock, still};
use crate::exception::{Report, report};
use crate::runtime::parker::Parker;
use crate::runtime::shared::Shared;
use crate::runtime::thread;

/// After how many looks at sleeping workers the monitor sleeps. A server with a request now and then is not slowed down by
/// waking it for each.
const IDLE_LOOKS: u32 = 8;
/// How many names of tasks that a stuck worker holds up are told.
const HELD_UP: usize = 4;

/// What the workers of a runtime know of its monitor.
#[derive(Debug)]
pub(crate) struct Monitor {
    parker: Parker,
    is_asleep: AtomicBool,
    is_over: AtomicBool,
}

impl Monitor {
    pub(crate) fn new() -> Self {
        Self { parker: Parker::new(), is_asleep: AtomicBool::new(false), is_over: AtomicBool::new(false) }
    }

    /// Says that a worker has woken up, and winds the clock.
    #[inline]
    pub(crate) fn wakes(&self) {
        clock::wind();
        // SeqCst: after the worker was counted awake; pairs with the fence in `Shared::rest`. One of the two sees the other.
        fence(Ordering::SeqCst);
        if self.is_asleep.load(Ordering::SeqCst) && self.is_asleep.swap(false, Ordering::SeqCst) {
            self.parker.unpark();
        }
    }

    /// Ends the thread.
    pub(crate) fn stop(&self) {
        self.is_over.store(true, Ordering::SeqCst);
        self.parker.unpark();
    }
}

/// Starts the thread that watches the workers of `shared`, each of which a task may hold for `limit`.
///
/// # Errors
/// The system refuses a thread.
pub(crate) fn start(shared: Arc<Shared>, name: &str, limit: Duration) -> std::io::Result<JoinHandle<()>> {
    thread::start(format!("watch {name}"), move || shared.watch(limit))
}

impl Shared {
    fn watch(&self, limit: Duration) {
        let period = (limit / 4).max(Duration::from_millis(1));
        let mut told = vec![None; self.remotes.len()];
        let mut idle_looks = 0;
        while !self.monitor.is_over.load(Ordering::SeqCst) {
            let now = clock::wind();
            for (index, told) in told.iter_mut().enumerate() {
                self.watch_worker(index, now, limit, told);
            }
            idle_looks = if self.all_sleep() { idle_looks + 1 } else { 0 };
            if idle_looks < IDLE_LOOKS {
                self.monitor.parker.park(Instant::now().checked_add(period));
            } else {
                self.rest();
                idle_looks = 0;
            }
        }
    }

    fn all_sleep(&self) -> bool {
        self.idle.asleep() == self.remotes.len()
    }

    /// Sleeps until a worker wakes up.
    fn rest(&self) {
        self.monitor.is_asleep.store(true, Ordering::SeqCst);
        // SeqCst: pairs with the fence in `Monitor::wakes`.
        fence(Ordering::SeqCst);
        if self.all_sleep() && !self.monitor.is_over.load(Ordering::SeqCst) {
            self.monitor.parker.park(None);
        }
        self.monitor.is_asleep.store(false, Ordering::SeqCst);
    }

    /// Reports a worker that has not moved for longer than `limit`, once each time.
    fn watch_worker(&self, index: usize, now: u32, limit: Duration, told: &mut Option<u32>) {
        let remote = &self.remotes[index];
        let tick = remote.tick.load(Ordering::Relaxed);
        let since = remote.watched.look(tick, now);
        if since < limit || *told == Some(tick) || self.idle.is_asleep(index) {
            return;
        }
        let held = still::hold([&remote.turnstile]);
        // It may have gone on, perhaps after a long sleep, since its tick was read: what it runs was stored after that moved.
        let running = remote.running().filter(|_| remote.tick.load(Ordering::Relaxed) == tick);
        let running = running.map(crate::task::RawTask::facts_of_running);
        let names = remote.live_tasks().filter(|&task| Some(task) != remote.running());
        let waiting: Vec<_> = names.take(HELD_UP).map(|task| task.facts_of_running().name).collect();
        drop(held);
        let Some(task) = running else { return };
        *told = Some(tick);
        report(&Report::Blocked {
            name: &task.name,
            spawned_at: task.spawned_at,
            worker: index,
            time: since,
            waiting: &waiting,
        });
    }
}
