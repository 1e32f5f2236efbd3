//! The lock that its owner may lock again.

use std::fmt;
use std::marker::PhantomData;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use super::raw_mutex::RawMutex;
use super::waiting::after;
use crate::coroutine::current;
use crate::task::held::{self, Held};
use crate::task::spend;

/// A lock that whoever holds it may lock again: gevent's and Python's `RLock`. It is free when all its guards are gone.
///
/// A handle: clones are the same lock. It guards no value of its own. The owner is the running greenlet, else the task,
/// else the thread; a generator counts as part of whoever resumed it.
///
/// # Examples
/// ```
/// use osier::sync::RLock;
///
/// let lock = RLock::new();
/// let outer = lock.lock();
/// let inner = lock.lock();
/// assert!(lock.is_owned());
/// drop((outer, inner));
/// assert!(!lock.is_locked());
/// ```
#[derive(Clone, Default)]
pub struct RLock {
    inner: Arc<Inner>,
}

#[derive(Default)]
struct Inner {
    mutex: RawMutex,
    /// Who holds it, or 0: see `current::context`. Written by the holder; only the owner finds itself here.
    owner: AtomicUsize,
    /// How many guards there are. Used by the holder alone.
    depth: AtomicUsize,
}

/// The lock, held once. Dropping the last one unlocks.
///
/// It stays with its task:
/// ```compile_fail
/// let lock = osier::sync::RLock::new();
/// let guard = lock.lock();
/// std::thread::scope(|s| s.spawn(move || drop(guard)).join());
/// ```
#[must_use = "the lock is given up as soon as the guard is dropped"]
pub struct RLockGuard<'a> {
    lock: &'a RLock,
    _held: Held,
    /// Not `Send`: who unlocks is who locked.
    _here: PhantomData<*const ()>,
}

// SAFETY: nothing can be done with a shared guard.
unsafe impl Sync for RLockGuard<'_> {}

impl RLock {
    /// Makes an unlocked one.
    pub fn new() -> Self {
        Self::default()
    }

    /// Locks it, waiting while somebody else holds it.
    ///
    /// # Suspends
    /// The calling task, or on a plain thread the thread, while somebody else holds it.
    ///
    /// # Cancel safety
    /// A task that is cancelled while it waits unwinds from here, without the lock; the others' turns stay.
    #[cfg_attr(debug_assertions, track_caller)]
    pub fn lock(&self) -> RLockGuard<'_> {
        spend();
        let entered = self.enter(held::site(), |mutex| mutex.lock_until(None));
        entered.unwrap_or_else(|| unreachable!("a wait without a limit ends with the lock"))
    }

    /// Locks it if nobody else holds it.
    #[cfg_attr(debug_assertions, track_caller)]
    pub fn try_lock(&self) -> Option<RLockGuard<'_>> {
        self.enter(held::site(), RawMutex::try_lock)
    }

    /// Locks it, waiting for at most `timeout`.
    ///
    /// # Suspends
    /// As [`RLock::lock`].
    ///
    /// # Cancel safety
    /// As [`RLock::lock`].
    #[cfg_attr(debug_assertions, track_caller)]
    pub fn lock_timeout(&self, timeout: Duration) -> Option<RLockGuard<'_>> {
        if !timeout.is_zero() {
            spend();
        }
        self.enter(held::site(), |mutex| mutex.try_lock() || (!timeout.is_zero() && mutex.lock_until(after(timeout))))
    }

    /// Locks it, waiting until `deadline`.
    ///
    /// # Suspends
    /// As [`RLock::lock`].
    ///
    /// # Cancel safety
    /// As [`RLock::lock`].
    #[cfg_attr(debug_assertions, track_caller)]
    pub fn lock_deadline(&self, deadline: Instant) -> Option<RLockGuard<'_>> {
        spend();
        self.enter(held::site(), |mutex| mutex.lock_until(Some(deadline)))
    }

    /// Whether anybody holds it.
    pub fn is_locked(&self) -> bool {
        self.inner.mutex.is_locked()
    }

    /// Whether the caller holds it.
    pub fn is_owned(&self) -> bool {
        // Relaxed, here and below: only the owner has written its own number.
        self.inner.owner.load(Ordering::Relaxed) == current::context()
    }

    fn enter(&self, site: held::Site, lock: impl FnOnce(&RawMutex) -> bool) -> Option<RLockGuard<'_>> {
        let Inner { mutex, owner, depth } = &*self.inner;
        if self.is_owned() {
            depth.fetch_add(1, Ordering::Relaxed);
        } else if lock(mutex) {
            owner.store(current::context(), Ordering::Relaxed);
            depth.store(1, Ordering::Relaxed);
        } else {
            return None;
        }
        Some(RLockGuard { lock: self, _held: Held::new(&raw const *mutex, site), _here: PhantomData })
    }

    /// Unlocks whatever the depth, which is returned.
    ///
    /// # Safety
    /// - The caller holds it, and calls `restore` before a guard is dropped.
    pub(super) unsafe fn release_all(&self) -> usize {
        held::lift(&raw const self.inner.mutex, true);
        self.inner.owner.store(0, Ordering::Relaxed);
        let depth = self.inner.depth.swap(0, Ordering::Relaxed);
        // SAFETY: the caller holds it.
        unsafe { self.inner.mutex.unlock() };
        depth
    }

    /// Locks again, to the depth it had; does not unwind when the task is cancelled meanwhile.
    pub(super) fn restore(&self, depth: usize) {
        self.inner.mutex.lock_through_cancel();
        self.inner.owner.store(current::context(), Ordering::Relaxed);
        self.inner.depth.store(depth, Ordering::Relaxed);
        held::lift(&raw const self.inner.mutex, false);
    }
}

impl Drop for RLockGuard<'_> {
    fn drop(&mut self) {
        let Inner { mutex, owner, depth } = &*self.lock.inner;
        if depth.fetch_sub(1, Ordering::Relaxed) == 1 {
            owner.store(0, Ordering::Relaxed);
            // SAFETY: it was locked when the first guard was made, and this is the last.
            unsafe { mutex.unlock() };
        }
    }
}

impl fmt::Debug for RLock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RLock").field("locked", &self.is_locked()).field("owned", &self.is_owned()).finish()
    }
}

impl fmt::Debug for RLockGuard<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RLockGuard").field("depth", &self.lock.inner.depth.load(Ordering::Relaxed)).finish()
    }
}
