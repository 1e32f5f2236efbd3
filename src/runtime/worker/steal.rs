//! Searching, and stealing from other workers.
//!
//! What is stolen are closures that have not started, the oldest first: those that are likely to bring most work along. A
//! worker that goes from task to task gets to its own sooner than a thief would, so only one that computes, or has many,
//! is stolen from; until the search ends.

use std::time::{Duration, Instant};

use crossbeam_deque::{Steal, Stealer};

use super::{Fresh, Job, Relaxed, Worker};

/// How long a worker searches before it sleeps. A sleep and a wake cost about 5 µs each; this is ten times that.
const SEARCH: Duration = Duration::from_micros(50);
/// After how many searches in a row that found nothing the next ones end with the first look: what comes then comes later than
/// one searches. And the how many-th of these takes its time again, to see whether that has changed.
const VAIN: u32 = 8;
const AGAIN: u32 = 16;
/// How often a searching worker pauses between two looks: about a microsecond.
const PAUSES: u32 = 32;
/// A worker whose tick has not moved for this long computes: its fresh tasks are worth a thief's while.
const STUCK: Duration = Duration::from_micros(2);
/// A deque of at least this many tasks is worth it in any case.
const LONG_DEQUE: usize = 32;

impl Worker {
    /// Looks for work for a while, at home and at the other workers'; not for long where that has been in vain.
    pub(super) fn search(&self) -> Option<Job> {
        let vain = self.searches_in_vain.get();
        let patience = if vain < VAIN || vain.is_multiple_of(AGAIN) { SEARCH } else { Duration::ZERO };
        let fired_at = self.fired_at.get();
        let found = self.search_for(patience);
        // What a timer has brought would have come to one who sleeps as well.
        let was_worth_it = found.is_some() && self.fired_at.get() == fired_at;
        self.searches_in_vain.set(if was_worth_it { 0 } else { vain.wrapping_add(1) });
        found
    }

    fn search_for(&self, patience: Duration) -> Option<Job> {
        let began = Instant::now();
        let mut now = began;
        loop {
            if let Some(job) = self.find_task().or_else(|| self.steal(Some(now))) {
                return Some(job);
            }
            if now - began >= patience || self.shared.is_closing() {
                // Whoever still has fresh tasks after this long, or this often, gets help whether it moves or not.
                return self.steal(None);
            }
            if !self.is_called_soon() {
                // One who sleeps in it does not search; one who searches would keep what is ready waiting.
                self.poll_reactor();
            }
            now = Instant::now();
        }
    }

    /// Watches the inbox for about a microsecond. True as soon as something is in it: an answer, from a task that another
    /// worker runs.
    pub(super) fn is_called_soon(&self) -> bool {
        let inbox = &self.remote().inbox;
        self.shared.remotes.len() > 1
            && (0..PAUSES).any(|_| {
                std::hint::spin_loop();
                !inbox.is_empty()
            })
    }

    /// Takes the oldest fresh tasks of another worker. With `now`, only from one that needs it: a worker that goes from
    /// task to task gets to them sooner than we would.
    fn steal(&self, now: Option<Instant>) -> Option<Job> {
        let workers = self.shared.remotes.len();
        let first = self.next_victim.replace((self.next_victim.get() + 1) % workers);
        (0..workers).map(|n| (first + n) % workers).filter(|&victim| victim != self.index).find_map(|victim| {
            let worth_it = now.is_none_or(|now| self.needs_help(victim, now));
            worth_it.then(|| self.steal_from(victim)).flatten()
        })
    }

    fn needs_help(&self, victim: usize, now: Instant) -> bool {
        let remote = &self.shared.remotes[victim];
        if !remote.has_fresh() {
            return false;
        }
        let tick = remote.tick.load(Relaxed);
        let (seen, since) = self.looks[victim].get();
        let Some(since) = since.filter(|_| seen == tick) else {
            self.looks[victim].set((tick, Some(now)));
            return remote.stealer.len().max(remote.oldest_first.len()) >= LONG_DEQUE;
        };
        now.saturating_duration_since(since) >= STUCK
            || remote.stealer.len().max(remote.oldest_first.len()) >= LONG_DEQUE
    }

    fn steal_from(&self, victim: usize) -> Option<Job> {
        let remote = &self.shared.remotes[victim];
        [&remote.stealer, &remote.oldest_first].into_iter().find_map(|stealer| self.steal_by(stealer))
    }

    fn steal_by(&self, stealer: &Stealer<Fresh>) -> Option<Job> {
        loop {
            let stolen = match stealer.len() {
                0..LONG_DEQUE => stealer.steal(),
                _ => {
                    self.may_have_fresh.set(true);
                    stealer.steal_batch_and_pop(&self.fresh)
                }
            };
            match stolen {
                Steal::Success(Fresh(task)) => {
                    (0..=self.fresh.len()).for_each(|_| self.remote().counts.stolen.add_one());
                    return Some(Job::Fresh(task));
                }
                Steal::Empty => return None,
                Steal::Retry => std::hint::spin_loop(),
            }
        }
    }
}
