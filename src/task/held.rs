//! The locks that a task holds, in debug builds: so that one which waits while it holds some can be told of.
//!
//! To hold a lock over a wait is legal, and often meant. It is also how a program gets slow, or stops: whoever wants the
//! lock waits for what its holder waits for. So the first time that a task parks with a lock taken at some place, both
//! places are reported. What is no wait for something else does not count: a yield, the wait for another lock, and that of
//! a condition for the lock that it gives up.
//!
//! A guard notes itself in its task: guards are moved about, so they are no regions, that nest. In release builds
//! `held_off` stands here, in which everything is empty.
//!
//! # Invariants
//! - A guard and the task that it notes itself in stay on one thread.

use std::collections::BTreeSet;
use std::fmt;
use std::panic::Location;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use super::raw::RawTask;
use super::sleeper::Leave;
use crate::runtime::report_held;

static IS_ON: AtomicBool = AtomicBool::new(true);

/// The places of which has been told.
static TOLD: Mutex<BTreeSet<&Location<'_>>> = Mutex::new(BTreeSet::new());

/// Waits for these are over as soon as another lock is.
const LOCKS: [&str; 2] = ["osier::sync::raw_mutex::", "osier::sync::raw_rwlock::"];

/// Where a lock was taken.
pub(crate) type Site = &'static Location<'static>;

/// The code that calls whoever asks.
#[track_caller]
pub(crate) fn site() -> Site {
    Location::caller()
}

/// Turns the reports on or off; returns whether they were on.
pub(crate) fn set_reports(on: bool) -> bool {
    IS_ON.swap(on, Ordering::Relaxed)
}

/// The locks that a task holds. Its guards share it, for one of them may outlive the task.
#[derive(Debug)]
pub(crate) struct Ledger(OnceLock<Arc<Mutex<Vec<Entry>>>>);

#[derive(Clone, Copy, Debug)]
struct Entry {
    /// The lock's address, which stands for it.
    lock: usize,
    site: Site,
    /// Whether it is given up for the time of a wait.
    lifted: bool,
}

impl Ledger {
    pub(super) const fn new() -> Self {
        Self(OnceLock::new())
    }

    fn entries(&self) -> Option<MutexGuard<'_, Vec<Entry>>> {
        self.0.get().map(|entries| lock(entries))
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A note of a lock that is held, until it is dropped: a part of the lock's guard. Empty outside of tasks.
pub(crate) struct Held {
    ledger: Option<Arc<Mutex<Vec<Entry>>>>,
    lock: usize,
    site: Site,
}

impl Held {
    /// Notes that the running task has taken `lock`, at `site`.
    pub(crate) fn new<T: ?Sized>(lock: *const T, site: Site) -> Self {
        let ledger = RawTask::current().map(|task| task.header().held.0.get_or_init(Arc::default).clone());
        let held = Self { ledger, lock: lock.addr(), site };
        if let Some(ledger) = &held.ledger {
            self::lock(ledger).push(Entry { lock: held.lock, site, lifted: false });
        }
        held
    }

    /// Where the lock was taken.
    pub(crate) fn site(&self) -> Site {
        self.site
    }

    /// Moves the note out of a guard that goes, into the one that takes its place.
    pub(crate) fn take(&mut self) -> Self {
        Self { ledger: self.ledger.take(), lock: self.lock, site: self.site }
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        let Some(ledger) = self.ledger.take() else { return };
        let mut entries = lock(&ledger);
        // Several guards of one lock, taken at one place, are as good as each other.
        if let Some(index) = entries.iter().rposition(|entry| entry.lock == self.lock && entry.site == self.site) {
            entries.remove(index);
        }
    }
}

impl fmt::Debug for Held {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.site.fmt(f)
    }
}

/// Says that the running task gives `lock` up while its guards stay, or, with false, that it has it again.
pub(crate) fn lift<T: ?Sized>(lock: *const T, lifted: bool) {
    if let Some(task) = RawTask::current()
        && let Some(mut entries) = task.header().held.entries()
    {
        entries.iter_mut().filter(|entry| entry.lock == lock.addr()).for_each(|entry| entry.lifted = lifted);
    }
}

/// Reports the locks that the running task holds, which is about to park in `wait`: once for each place where one was
/// taken.
pub(super) fn look(task: RawTask, wait: &dyn Leave) {
    let sites: Vec<_> = match task.header().held.entries() {
        Some(entries) => entries.iter().filter(|entry| !entry.lifted).map(|entry| entry.site).collect(),
        None => return,
    };
    let path = wait.path();
    if sites.is_empty() || !IS_ON.load(Ordering::Relaxed) || LOCKS.iter().any(|lock| path.contains(lock)) {
        return;
    }
    let mut told = lock(&TOLD);
    let new: Vec<_> = sites.into_iter().filter(|site| told.insert(site)).collect();
    drop(told);
    if !new.is_empty() {
        report_held(&task.header().name, new, path, wait.awaits().as_deref());
    }
}
