//! A runtime for tests: one worker, that chooses by a seed what runs next, and whose time is made up.
//!
//! Everything that is ready stands in the one queue of ready tasks, fresh ones too, and each time one of them is drawn: who
//! joins a fresh one waits for its turn. Where a `select!` begins to ask comes from the seed, too. When none is ready, time
//! jumps to the next timer. So what tasks do depends on the seed alone, as long as nothing comes from
//! other threads.

use std::cell::Cell;
use std::sync::atomic::Ordering;
use std::time::Instant;

use super::worker::{Fresh, Job, Worker};
use crate::coroutine::current;

/// Random numbers from a seed: splitmix64 (Steele, Lea and Flood, "Fast splittable pseudorandom number generators", 2014).
pub(super) struct Seeds(Cell<u64>);

impl Seeds {
    fn below(&self, end: usize) -> usize {
        let state = self.0.get().wrapping_add(0x9e37_79b9_7f4a_7c15);
        self.0.set(state);
        let mixed = (state ^ (state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        let below = (u128::from(mixed ^ (mixed >> 31)) * end as u128) >> 64;
        usize::try_from(below).expect("less than the end")
    }
}

impl Worker {
    /// Makes this the worker of a test runtime. Its thread's time stands still from now on, until it jumps.
    pub(super) fn choose_by(&mut self, seed: u64) {
        self.seeds = Some(Seeds(Cell::new(seed)));
        self.lines_up = true;
        self.until_far_end.set(0);
        current::seed_random(seed);
        current::set_virtual_now(Some(Instant::now()));
    }

    /// What to run next: any of what is ready.
    pub(super) fn choose(&self, seeds: &Seeds) -> Option<Job> {
        self.collect_woken();
        let own = || self.pop_fresh().map(|Fresh(task)| task);
        let outside = || match self.take_injected() {
            Some(Job::Fresh(task) | Job::Ready(task)) => Some(task),
            None => None,
        };
        while let Some(task) = own().or_else(outside) {
            task.set_home(self.index());
            self.remote().in_line.fetch_add(1, Ordering::Relaxed);
            self.push_ready(task);
        }
        let chosen = match self.ready.len() {
            0 => return None,
            1 => 0,
            len => seeds.below(len),
        };
        self.ready.remove(chosen).map(Job::Ready)
    }

    /// Moves the time on to the next timer, where all wait. False where there is none, or time is not made up. While a
    /// blocking call is under way, it is waited for: that takes no time.
    pub(super) fn jump(&self) -> bool {
        if self.seeds.is_none() || self.shared.quiet.signs.is_busy() {
            return false;
        }
        let Some(next) = self.next_deadline() else { return false };
        current::set_virtual_now(Some(next.max(current::now())));
        true
    }
}
