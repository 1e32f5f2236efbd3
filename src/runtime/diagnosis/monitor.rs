//! A thread of each runtime that looks whether its workers move: the watchdog.
//!
//! While workers work it looks four times within the time that a task may hold one, and winds the clock. When all have
//! slept for a few looks it sleeps too, until one of them wakes up: an idle runtime wakes nobody.
//!
//! A worker that does not move is not stuck for that: the system may have taken its core away, or have stopped the process.
//! So what counts is how long it computed or blocked meanwhile, of the time between two looks (`thread_times`).

use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use super::thread_times::ThreadTimes;
use super::{clock, still};
use crate::exception::{Report, report};
use crate::primitives::{AtomicBool, Ordering, fence};
use crate::runtime::parker::Parker;
use crate::runtime::rest::Rest;
use crate::runtime::shared::Shared;
use crate::runtime::thread;

/// After how many looks at sleeping workers the monitor sleeps. A server with a request now and then is not slowed down by
/// waking it for each.
const IDLE_LOOKS: u32 = 8;
/// A look that comes later than after this many periods tells of the system, or of a process that was stopped: the rest of the
/// time does not count.
const LATE: u32 = 2;
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
        self.is_needed();
    }

    /// Wakes the monitor, if it sleeps.
    #[inline]
    fn is_needed(&self) {
        // SeqCst: after the worker was counted awake; pairs with the fence in `rest`. One of the two sees the other.
        fence(Ordering::SeqCst);
        if self.is_asleep.load(Ordering::SeqCst) && self.is_asleep.swap(false, Ordering::SeqCst) {
            self.parker.unpark();
        }
    }

    /// Sleeps until a worker wakes up, if all sleep.
    fn rest(&self, all_sleep: impl Fn() -> bool) {
        self.is_asleep.store(true, Ordering::SeqCst);
        // SeqCst: pairs with the fence in `wakes`.
        fence(Ordering::SeqCst);
        if all_sleep() && !self.is_over.load(Ordering::SeqCst) {
            self.parker.park(None);
        }
        self.is_asleep.store(false, Ordering::SeqCst);
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

/// What the monitor remembers of a worker that it looks at.
#[derive(Debug, Default)]
struct Suspicion {
    /// When it looked last.
    looked: Option<Instant>,
    /// What was known of its thread then, if it had not moved before that either.
    times: Option<ThreadTimes>,
    /// For how long the task that it is in has held it, as far as has been seen.
    held: Duration,
    /// Whether it has been reported.
    is_told: bool,
}

impl Suspicion {
    /// Adds the time since the last look, in which the worker has not moved. `period` is the time between two looks.
    fn add_up(&mut self, now: Instant, times: Option<ThreadTimes>, period: Duration) {
        let before = self.looked.replace(now);
        let elapsed = before.map_or(Duration::ZERO, |before| now.saturating_duration_since(before)).min(period * LATE);
        self.held += match (times, self.times) {
            (Some(times), Some(before)) => times.held_since(before, elapsed),
            // The first look at a thread that does not move: what it did before is not known.
            (Some(_), None) => Duration::ZERO,
            (None, _) => elapsed,
        };
        self.times = times;
    }
}

impl Shared {
    fn watch(&self, limit: Duration) {
        let period = (limit / 4).max(Duration::from_millis(1));
        let mut suspicions: Vec<_> = self.remotes.iter().map(|_| Suspicion::default()).collect();
        let mut idle_looks = 0;
        Rest::of_monitors().begins();
        while !self.monitor.is_over.load(Ordering::SeqCst) {
            let now = clock::wind();
            for (index, suspicion) in suspicions.iter_mut().enumerate() {
                self.watch_worker(index, now, limit, period, suspicion);
            }
            idle_looks = if self.all_sleep() { idle_looks + 1 } else { 0 };
            if idle_looks < IDLE_LOOKS {
                self.monitor.parker.park(Instant::now().checked_add(period));
            } else {
                self.monitor.rest(|| self.all_sleep());
                idle_looks = 0;
            }
        }
        Rest::of_monitors().ends();
    }

    fn all_sleep(&self) -> bool {
        self.idle.asleep() == self.remotes.len()
    }

    /// Reports a worker that a task has held for longer than `limit`, once each time.
    fn watch_worker(&self, index: usize, now: u32, limit: Duration, period: Duration, suspicion: &mut Suspicion) {
        let remote = &self.remotes[index];
        let tick = remote.tick.load(Ordering::Relaxed);
        if remote.watched.look(tick, now) || self.idle.is_asleep(index) {
            *suspicion = Suspicion { looked: Some(Instant::now()), ..Suspicion::default() };
            return;
        }
        if suspicion.is_told {
            return;
        }
        suspicion.add_up(Instant::now(), remote.watched.thread.times(), period);
        if suspicion.held < limit {
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
        suspicion.is_told = true;
        if task.may_hold {
            return;
        }
        // What the user's hook does, nobody knows.
        Rest::of_monitors().ends();
        report(&Report::Blocked {
            name: &task.name,
            spawned_at: task.spawned_at,
            worker: index,
            time: suspicion.held,
            waiting: &waiting,
        });
        Rest::of_monitors().begins();
    }
}

#[cfg(all(test, not(osier_loom)))]
mod tests {
    use super::*;

    #[test]
    fn only_what_was_seen_counts() {
        let ms = Duration::from_millis;
        let began = Instant::now();
        let mut suspicion = Suspicion { looked: Some(began), ..Suspicion::default() };
        suspicion.add_up(began + ms(25), None, ms(25));
        assert_eq!(suspicion.held, ms(25), "where nothing is known of threads, all of it");
        suspicion.add_up(began + ms(5000), None, ms(25));
        assert_eq!(suspicion.held, ms(75), "but not what passed while the monitor itself could not look");
    }
}

#[cfg(all(test, osier_loom))]
mod model {
    use super::super::super::idle::Idle;
    use super::*;
    use loom::sync::Arc;
    use loom::thread;

    /// The only worker wakes up while the monitor goes to sleep. Deadlocks if nobody watches it then.
    fn one_who_wakes_up(wakes: fn(&Monitor)) {
        loom::model(move || {
            let world = Arc::new((Idle::new(1), Monitor::new()));
            world.0.fall_asleep(0, false);
            let worker = {
                let world = world.clone();
                thread::spawn(move || {
                    _ = world.0.wake_up(0);
                    wakes(&world.1);
                })
            };
            let (idle, monitor) = &*world;
            while idle.asleep() == 1 {
                monitor.rest(|| idle.asleep() == 1);
            }
            worker.join().unwrap();
        });
    }

    #[test]
    fn model_the_monitor_does_not_sleep_while_a_worker_is_awake() {
        one_who_wakes_up(Monitor::is_needed);
    }

    #[test]
    #[should_panic(expected = "deadlock")]
    fn model_catches_a_worker_that_looks_at_the_monitor_without_a_fence() {
        one_who_wakes_up(|monitor| {
            if monitor.is_asleep.load(Ordering::SeqCst) && monitor.is_asleep.swap(false, Ordering::SeqCst) {
                monitor.parker.unpark();
            }
        });
    }
}
