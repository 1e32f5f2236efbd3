//! The mutex: a value that one task or thread uses at a time.

use std::cell::UnsafeCell;
use std::fmt;
use std::marker::PhantomData;
use std::ops::{Deref, DerefMut};
use std::time::{Duration, Instant};

use super::raw_mutex::RawMutex;
use super::waiting::after;
use crate::primitives::const_unless_modelled;
use crate::task::held::{self, Held};
use crate::task::{give_way, is_spent, spend};

/// A value that one task or thread uses at a time: `std::sync::Mutex` for code that waits while it holds it.
///
/// A task that waits for it leaves its worker to others, so the lock may be held over any wait; builds with debug assertions
/// report where that is done, for it is rarely meant ([`set_held_reports`](super::set_held_reports)). Uncontended, locking and
/// unlocking are one atomic exchange each. A task that runs may overtake one that waits; who has been overtaken for a
/// millisecond is given the lock by the next unlock. There is no poisoning: a guard dropped by an unwind unlocks.
///
/// Locking what one holds already waits for ever; see [`RLock`](super::RLock).
///
/// # Examples
/// ```
/// use osier::sync::Mutex;
///
/// static TOTAL: Mutex<u32> = Mutex::new(0);
/// let tasks: Vec<_> = (1..=10).map(|n| osier::spawn(move || *TOTAL.lock() += n)).collect();
/// tasks.into_iter().for_each(|t| t.join().unwrap());
/// assert_eq!(*TOTAL.lock(), 55);
/// ```
#[derive(Default)]
pub struct Mutex<T: ?Sized> {
    raw: RawMutex,
    value: UnsafeCell<T>,
}

// SAFETY: the value is reached by who holds the lock, or has the mutex for itself: one thread after another.
unsafe impl<T: ?Sized + Send> Send for Mutex<T> {}
// SAFETY: as above; so a `&Mutex` moves a `T` between threads, but does not share it.
unsafe impl<T: ?Sized + Send> Sync for Mutex<T> {}

/// The right to use the value of a locked [`Mutex`], which dropping it unlocks.
///
/// It stays with its task:
/// ```compile_fail
/// let mutex = osier::sync::Mutex::new(1);
/// let guard = mutex.lock();
/// std::thread::scope(|s| s.spawn(move || drop(guard)).join());
/// ```
#[must_use = "the mutex is unlocked as soon as the guard is dropped"]
pub struct MutexGuard<'a, T: ?Sized> {
    mutex: &'a Mutex<T>,
    held: Held,
    /// Not `Send`: who unlocks is who locked.
    _here: PhantomData<*const ()>,
}

// SAFETY: a shared guard gives a `&T` and nothing else.
unsafe impl<T: ?Sized + Sync> Sync for MutexGuard<'_, T> {}

impl<T> Mutex<T> {
    const_unless_modelled! {
        /// Makes an unlocked mutex.
        pub fn new(value: T) -> Self {
            Self { raw: RawMutex::new(), value: UnsafeCell::new(value) }
        }
    }

    /// Gives the value back.
    pub fn into_inner(self) -> T {
        self.value.into_inner()
    }
}

impl<T: ?Sized> Mutex<T> {
    /// Locks it, waiting while another holds it.
    ///
    /// # Suspends
    /// The calling task, or on a plain thread the thread, while another holds it.
    ///
    /// # Cancel safety
    /// A task that is cancelled while it waits unwinds from here, without the lock; the others' turns stay.
    #[inline]
    #[cfg_attr(debug_assertions, track_caller)]
    pub fn lock(&self) -> MutexGuard<'_, T> {
        _ = self.raw.lock_until(None);
        let guard = self.guard(held::site());
        // Now, and not before: a store right before the exchange that locks would hold that up (4 ns).
        if is_spent() { Self::lock_later(guard) } else { guard }
    }

    /// Lets others run, and locks it then.
    #[cold]
    fn lock_later(guard: MutexGuard<'_, T>) -> MutexGuard<'_, T> {
        let (mutex, site) = guard.unlock();
        give_way();
        _ = mutex.raw.lock_until(None);
        mutex.guard(site)
    }

    /// Locks it if nobody holds it.
    #[inline]
    #[cfg_attr(debug_assertions, track_caller)]
    pub fn try_lock(&self) -> Option<MutexGuard<'_, T>> {
        let site = held::site();
        self.raw.try_lock().then(|| self.guard(site))
    }

    /// Locks it, waiting for at most `timeout`.
    ///
    /// # Suspends
    /// As [`Mutex::lock`].
    ///
    /// # Cancel safety
    /// As [`Mutex::lock`].
    #[cfg_attr(debug_assertions, track_caller)]
    pub fn lock_timeout(&self, timeout: Duration) -> Option<MutexGuard<'_, T>> {
        if !timeout.is_zero() {
            spend();
        }
        let site = held::site();
        let locked = self.raw.try_lock() || (!timeout.is_zero() && self.raw.lock_until(after(timeout)));
        locked.then(|| self.guard(site))
    }

    /// Locks it, waiting until `deadline`.
    ///
    /// # Suspends
    /// As [`Mutex::lock`].
    ///
    /// # Cancel safety
    /// As [`Mutex::lock`].
    #[cfg_attr(debug_assertions, track_caller)]
    pub fn lock_deadline(&self, deadline: Instant) -> Option<MutexGuard<'_, T>> {
        spend();
        let site = held::site();
        self.raw.lock_until(Some(deadline)).then(|| self.guard(site))
    }

    /// Whether somebody holds it now.
    pub fn is_locked(&self) -> bool {
        self.raw.is_locked()
    }

    /// The value, which nobody else can reach meanwhile.
    pub fn get_mut(&mut self) -> &mut T {
        self.value.get_mut()
    }

    /// The guard of the lock that the caller has just taken.
    #[inline]
    fn guard(&self, site: held::Site) -> MutexGuard<'_, T> {
        MutexGuard { mutex: self, held: Held::new(&raw const self.raw, site), _here: PhantomData }
    }
}

impl<'a, T: ?Sized> MutexGuard<'a, T> {
    /// Unlocks, and gives the mutex to lock again, and where it was locked.
    pub(super) fn unlock(self) -> (&'a Mutex<T>, held::Site) {
        (self.mutex, self.held.site())
    }

    /// Locks again, and does not unwind when the task is cancelled meanwhile.
    pub(super) fn relock((mutex, site): (&'a Mutex<T>, held::Site)) -> Self {
        mutex.raw.lock_through_cancel();
        mutex.guard(site)
    }
}

impl<T: ?Sized> Drop for MutexGuard<'_, T> {
    #[inline]
    fn drop(&mut self) {
        // SAFETY: a guard is made by who has locked, and the value is not reached without one.
        unsafe { self.mutex.raw.unlock() };
    }
}

impl<T: ?Sized> Deref for MutexGuard<'_, T> {
    type Target = T;

    #[inline]
    fn deref(&self) -> &T {
        // SAFETY: the lock is held as long as the guard lives.
        unsafe { &*self.mutex.value.get() }
    }
}

impl<T: ?Sized> DerefMut for MutexGuard<'_, T> {
    #[inline]
    fn deref_mut(&mut self) -> &mut T {
        // SAFETY: as in `deref`, and the guard is borrowed mutably.
        unsafe { &mut *self.mutex.value.get() }
    }
}

impl<T> From<T> for Mutex<T> {
    fn from(value: T) -> Self {
        Self::new(value)
    }
}

impl<T: ?Sized + fmt::Debug> fmt::Debug for Mutex<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut f = f.debug_struct("Mutex");
        match self.try_lock() {
            Some(guard) => f.field("value", &&*guard),
            None => f.field("value", &format_args!("<locked>")),
        };
        f.finish()
    }
}

impl<T: ?Sized + fmt::Debug> fmt::Debug for MutexGuard<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        (**self).fmt(f)
    }
}

impl<T: ?Sized + fmt::Display> fmt::Display for MutexGuard<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        (**self).fmt(f)
    }
}
