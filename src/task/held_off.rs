//! What stands for `held` in release builds: nothing is noted.

use super::raw::RawTask;
use super::sleeper::Leave;

/// Where a lock was taken.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Site;

#[inline(always)]
pub(crate) fn site() -> Site {
    Site
}

/// There are no reports to turn on.
pub(crate) fn set_reports(_on: bool) -> bool {
    false
}

#[derive(Debug)]
pub(crate) struct Ledger;

impl Ledger {
    #[inline(always)]
    pub(super) const fn new() -> Self {
        Self
    }
}

#[derive(Debug)]
pub(crate) struct Held;

impl Held {
    #[inline(always)]
    pub(crate) fn new<T: ?Sized>(_lock: *const T, _site: Site) -> Self {
        Self
    }

    #[inline(always)]
    pub(crate) fn site(&self) -> Site {
        Site
    }

    #[inline(always)]
    pub(crate) fn take(&mut self) -> Self {
        Self
    }
}

#[inline(always)]
pub(crate) fn lift<T: ?Sized>(_lock: *const T, _lifted: bool) {}

#[inline(always)]
pub(super) fn look(_task: RawTask, _wait: &dyn Leave) {}
