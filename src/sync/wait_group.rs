//! The wait group: waiting until several tasks have done their part.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use super::event::RawEvent;
use super::waiting::after;

/// Waits until all its clones are gone: crossbeam's `WaitGroup`.
///
/// # Examples
/// ```
/// use osier::sync::WaitGroup;
///
/// let group = WaitGroup::new();
/// for _ in 0..4 {
///     let group = group.clone();
///     osier::spawn(move || {
///         osier::yield_now();
///         drop(group);
///     });
/// }
/// group.wait();
/// ```
pub struct WaitGroup {
    inner: Arc<Inner>,
}

struct Inner {
    members: AtomicUsize,
    all_gone: RawEvent,
}

impl WaitGroup {
    /// Makes a group with one member.
    pub fn new() -> Self {
        Self { inner: Arc::new(Inner { members: AtomicUsize::new(1), all_gone: RawEvent::default() }) }
    }

    /// Drops this member and waits until the others are gone too.
    ///
    /// # Suspends
    /// The calling task, or on a plain thread the thread.
    ///
    /// # Cancel safety
    /// A cancelled task unwinds from here; it counts as gone.
    pub fn wait(self) {
        self.wait_until(None);
    }

    /// Drops this member and waits until the others are gone too, for at most `timeout`. Whether they are.
    ///
    /// # Suspends
    /// As [`WaitGroup::wait`].
    ///
    /// # Cancel safety
    /// As [`WaitGroup::wait`].
    pub fn wait_timeout(self, timeout: Duration) -> bool {
        self.wait_until(after(timeout))
    }

    /// Drops this member and waits until the others are gone too, until `deadline` at most. Whether they are.
    ///
    /// # Suspends
    /// As [`WaitGroup::wait`].
    ///
    /// # Cancel safety
    /// As [`WaitGroup::wait`].
    pub fn wait_deadline(self, deadline: Instant) -> bool {
        self.wait_until(Some(deadline))
    }

    fn wait_until(self, deadline: Option<Instant>) -> bool {
        let inner = self.inner.clone();
        drop(self);
        inner.all_gone.wait(deadline)
    }
}

impl Clone for WaitGroup {
    fn clone(&self) -> Self {
        self.inner.members.fetch_add(1, Ordering::Relaxed);
        Self { inner: self.inner.clone() }
    }
}

impl Drop for WaitGroup {
    fn drop(&mut self) {
        // AcqRel: what every member did happens before what follows the wait.
        if self.inner.members.fetch_sub(1, Ordering::AcqRel) == 1 {
            self.inner.all_gone.set();
        }
    }
}

impl Default for WaitGroup {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for WaitGroup {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WaitGroup").field("members", &self.inner.members.load(Ordering::Relaxed)).finish()
    }
}
