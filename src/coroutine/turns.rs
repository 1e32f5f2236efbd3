//! How long whoever runs may go on: what a thread counts for checkpoints, and for calls that need not wait.

use std::time::Instant;

use super::current::{PACE, THREAD};

/// What `Thread::budget` begins with.
pub(super) const BUDGET: u32 = 128;

/// When checkpoints on this thread have last looked at the clock, and how often they do. See `task::checkpoint`.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Pace {
    pub(crate) looked: Option<Instant>,
    /// When one has last let others run.
    pub(crate) yielded: Option<Instant>,
    /// How many checkpoints lie between two looks.
    pub(crate) step: u32,
}

impl Pace {
    /// Before the first look.
    pub(super) const NONE: Self = Self { looked: None, yielded: None, step: 1 };
}

/// Counts one checkpoint. True if it shall look at the clock.
#[inline(always)]
pub(crate) fn count_checkpoint() -> bool {
    THREAD.with(|thread| match thread.checkpoints_left.get() {
        0 => true,
        left => {
            thread.checkpoints_left.set(left - 1);
            false
        }
    })
}

pub(crate) fn set_checkpoints_left(left: u32) {
    THREAD.with(|thread| thread.checkpoints_left.set(left));
}

/// Counts a call that may wait, whether it does or not. True when the budget is used up, and must be filled again.
#[inline(always)]
pub(crate) fn spend() -> bool {
    THREAD.with(|thread| {
        let left = thread.budget.get() - 1;
        thread.budget.set(left);
        left == 0
    })
}

/// Fills the budget of calls.
pub(crate) fn fill_budget() {
    THREAD.with(|thread| thread.budget.set(BUDGET));
}

/// What checkpoints on this thread know of their pace.
pub(crate) fn pace() -> Pace {
    PACE.get()
}

pub(crate) fn set_pace(pace: Pace) {
    PACE.set(pace);
}
