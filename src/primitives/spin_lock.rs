//! A lock for a few instructions: taking it is one exchange, letting go a plain store.
//!
//! std's lock pays a second exchange to find out whether somebody sleeps over it. A channel is locked twice a message, so
//! that was a third of its time; a lock's queue is locked twice whenever a task waits for it. Here nobody sleeps: whoever finds the lock held spins, then gives its time slice away,
//! then sleeps for microseconds, so that a holder whose core was taken away gets one. Under it nothing waits and nothing
//! of a user's runs. The longest section is a source's, which may tell the system what to watch (`epoll_ctl`): about a microsecond.
//!
//! In the models of the rooms that use it, loom's lock takes its place.

use std::cell::UnsafeCell;
use std::fmt;
use std::ops::{Deref, DerefMut};
use std::panic::{RefUnwindSafe, UnwindSafe};
use std::sync::atomic::{AtomicBool, Ordering};

/// See the module's page.
pub(crate) struct SpinLock<T> {
    locked: AtomicBool,
    value: UnsafeCell<T>,
}

// SAFETY: the lock gives one thread at a time to the value, which takes that it may move between them.
unsafe impl<T: Send> Send for SpinLock<T> {}
// SAFETY: as above.
unsafe impl<T: Send> Sync for SpinLock<T> {}
// What a panic leaves half done under a lock is seen by the next; but nothing of a user's runs under this one.
impl<T> RefUnwindSafe for SpinLock<T> {}
impl<T> UnwindSafe for SpinLock<T> {}

impl<T> SpinLock<T> {
    pub(crate) const fn new(value: T) -> Self {
        Self { locked: AtomicBool::new(false), value: UnsafeCell::new(value) }
    }

    #[inline(always)]
    pub(crate) fn lock(&self) -> SpinGuard<'_, T> {
        // Acquire: pairs with the Release of whoever unlocked.
        if self.locked.swap(true, Ordering::Acquire) {
            self.lock_slow();
        }
        SpinGuard { lock: self }
    }

    #[cold]
    fn lock_slow(&self) {
        let mut looks = 0_u32;
        loop {
            match looks {
                // A microsecond or two: what the sections under it take, several times over.
                0..64 => (0..8).for_each(|_| std::hint::spin_loop()),
                64..80 => std::thread::yield_now(),
                // A holder that is not scheduled at all: one of lower priority than ours, for instance.
                #[allow(clippy::disallowed_methods, reason = "whoever holds this needs the core, not our other tasks")]
                _ => std::thread::sleep(std::time::Duration::from_micros(50)),
            }
            looks = looks.saturating_add(1);
            // Acquire: as in `lock`. The load first, so that waiting does not take the cache line away.
            if !self.locked.load(Ordering::Relaxed) && !self.locked.swap(true, Ordering::Acquire) {
                return;
            }
        }
    }
}

impl<T> fmt::Debug for SpinLock<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SpinLock").finish_non_exhaustive()
    }
}

/// The right to the value; unlocks when dropped.
pub(crate) struct SpinGuard<'a, T> {
    lock: &'a SpinLock<T>,
}

impl<T> Deref for SpinGuard<'_, T> {
    type Target = T;

    #[inline(always)]
    fn deref(&self) -> &T {
        // SAFETY: the lock is held.
        unsafe { &*self.lock.value.get() }
    }
}

impl<T> DerefMut for SpinGuard<'_, T> {
    #[inline(always)]
    fn deref_mut(&mut self) -> &mut T {
        // SAFETY: the lock is held.
        unsafe { &mut *self.lock.value.get() }
    }
}

impl<T> Drop for SpinGuard<'_, T> {
    #[inline(always)]
    fn drop(&mut self) {
        // Release: pairs with the Acquire in `lock`.
        self.lock.locked.store(false, Ordering::Release);
    }
}

#[cfg(all(test, not(osier_loom)))]
mod tests {
    use super::*;

    #[test]
    fn one_thread_at_a_time() {
        let lock = SpinLock::new((0_u64, 0_u64));
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    for _ in 0..20_000 {
                        let mut both = lock.lock();
                        both.0 += 1;
                        assert_eq!(both.0, both.1 + 1);
                        both.1 += 1;
                    }
                });
            }
        });
        assert_eq!(*lock.lock(), (80_000, 80_000));
    }
}
