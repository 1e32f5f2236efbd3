//! The reader-writer lock: many readers, or one writer.

use std::cell::UnsafeCell;
use std::fmt;
use std::marker::PhantomData;
use std::mem::ManuallyDrop;
use std::ops::{Deref, DerefMut};
use std::time::{Duration, Instant};

use super::raw_rwlock::RawRwLock;
use super::waiting::after;
use crate::primitives::const_unless_modelled;
use crate::task::held::{self, Held};
use crate::task::spend;

/// A value that many read or one writes at a time: `std::sync::RwLock` for code that waits while it holds it.
///
/// Writers go first: a reader that comes while a writer waits gets in after it, and who unlocks gives the lock to the
/// writer that has waited longest; to all readers that wait only if no writer does. So readers starve while writers keep
/// coming, and a task that reads twice at once may wait for itself. There is no poisoning.
///
/// # Examples
/// ```
/// use osier::sync::RwLock;
///
/// let settings = RwLock::new(vec![1, 2]);
/// settings.write().push(3);
/// let (one, other) = (settings.read(), settings.read());
/// assert_eq!(one.len() + other.len(), 6);
/// ```
#[derive(Default)]
pub struct RwLock<T: ?Sized> {
    raw: RawRwLock,
    value: UnsafeCell<T>,
}

// SAFETY: who holds the lock, or has it for itself, reaches the value: it moves from thread to thread.
unsafe impl<T: ?Sized + Send> Send for RwLock<T> {}
// SAFETY: a `&RwLock` gives `&mut T` to one thread at a time, and `&T` to several at once.
unsafe impl<T: ?Sized + Send + Sync> Sync for RwLock<T> {}

/// The right to read the value of a [`RwLock`], which dropping it gives up.
///
/// It stays with its task:
/// ```compile_fail
/// let lock = osier::sync::RwLock::new(1);
/// let guard = lock.read();
/// std::thread::scope(|s| s.spawn(move || drop(guard)).join());
/// ```
#[must_use = "the lock is given up as soon as the guard is dropped"]
pub struct RwLockReadGuard<'a, T: ?Sized> {
    lock: &'a RwLock<T>,
    _held: Held,
    /// Not `Send`: who unlocks is who locked.
    _here: PhantomData<*const ()>,
}

/// The right to write the value of a [`RwLock`], which dropping it gives up.
///
/// It stays with its task:
/// ```compile_fail
/// let lock = osier::sync::RwLock::new(1);
/// let guard = lock.write();
/// std::thread::scope(|s| s.spawn(move || drop(guard)).join());
/// ```
#[must_use = "the lock is given up as soon as the guard is dropped"]
pub struct RwLockWriteGuard<'a, T: ?Sized> {
    lock: &'a RwLock<T>,
    held: Held,
    /// Not `Send`: who unlocks is who locked.
    _here: PhantomData<*const ()>,
}

// SAFETY: a shared guard gives a `&T` and nothing else.
unsafe impl<T: ?Sized + Sync> Sync for RwLockReadGuard<'_, T> {}
// SAFETY: as above.
unsafe impl<T: ?Sized + Sync> Sync for RwLockWriteGuard<'_, T> {}

impl<T> RwLock<T> {
    const_unless_modelled! {
        /// Makes an unlocked one.
        pub fn new(value: T) -> Self {
            Self { raw: RawRwLock::new(), value: UnsafeCell::new(value) }
        }
    }

    /// Gives the value back.
    pub fn into_inner(self) -> T {
        self.value.into_inner()
    }
}

impl<T: ?Sized> RwLock<T> {
    /// Locks it for reading, waiting while somebody writes or waits to write.
    ///
    /// # Suspends
    /// The calling task, or on a plain thread the thread.
    ///
    /// # Cancel safety
    /// A task that is cancelled while it waits unwinds from here, without the lock; the others' turns stay.
    #[cfg_attr(debug_assertions, track_caller)]
    pub fn read(&self) -> RwLockReadGuard<'_, T> {
        spend();
        _ = self.raw.read_until(None);
        self.read_guard(held::site())
    }

    /// Locks it for reading if nobody writes or waits to.
    #[cfg_attr(debug_assertions, track_caller)]
    pub fn try_read(&self) -> Option<RwLockReadGuard<'_, T>> {
        let site = held::site();
        self.raw.try_read().then(|| self.read_guard(site))
    }

    /// Locks it for reading, waiting for at most `timeout`.
    ///
    /// # Suspends
    /// As [`RwLock::read`].
    ///
    /// # Cancel safety
    /// As [`RwLock::read`].
    #[cfg_attr(debug_assertions, track_caller)]
    pub fn read_timeout(&self, timeout: Duration) -> Option<RwLockReadGuard<'_, T>> {
        if !timeout.is_zero() {
            spend();
        }
        let site = held::site();
        let locked = self.raw.try_read() || (!timeout.is_zero() && self.raw.read_until(after(timeout)));
        locked.then(|| self.read_guard(site))
    }

    /// Locks it for reading, waiting until `deadline`.
    ///
    /// # Suspends
    /// As [`RwLock::read`].
    ///
    /// # Cancel safety
    /// As [`RwLock::read`].
    #[cfg_attr(debug_assertions, track_caller)]
    pub fn read_deadline(&self, deadline: Instant) -> Option<RwLockReadGuard<'_, T>> {
        spend();
        let site = held::site();
        self.raw.read_until(Some(deadline)).then(|| self.read_guard(site))
    }

    /// Locks it for writing, waiting while others read or write.
    ///
    /// # Suspends
    /// As [`RwLock::read`].
    ///
    /// # Cancel safety
    /// As [`RwLock::read`]; readers that waited only for this call get in.
    #[cfg_attr(debug_assertions, track_caller)]
    pub fn write(&self) -> RwLockWriteGuard<'_, T> {
        spend();
        _ = self.raw.write_until(None);
        self.write_guard(held::site())
    }

    /// Locks it for writing if nobody reads or writes.
    #[cfg_attr(debug_assertions, track_caller)]
    pub fn try_write(&self) -> Option<RwLockWriteGuard<'_, T>> {
        let site = held::site();
        self.raw.try_write().then(|| self.write_guard(site))
    }

    /// Locks it for writing, waiting for at most `timeout`.
    ///
    /// # Suspends
    /// As [`RwLock::read`].
    ///
    /// # Cancel safety
    /// As [`RwLock::read`].
    #[cfg_attr(debug_assertions, track_caller)]
    pub fn write_timeout(&self, timeout: Duration) -> Option<RwLockWriteGuard<'_, T>> {
        if !timeout.is_zero() {
            spend();
        }
        let site = held::site();
        let locked = self.raw.try_write() || (!timeout.is_zero() && self.raw.write_until(after(timeout)));
        locked.then(|| self.write_guard(site))
    }

    /// Locks it for writing, waiting until `deadline`.
    ///
    /// # Suspends
    /// As [`RwLock::read`].
    ///
    /// # Cancel safety
    /// As [`RwLock::read`].
    #[cfg_attr(debug_assertions, track_caller)]
    pub fn write_deadline(&self, deadline: Instant) -> Option<RwLockWriteGuard<'_, T>> {
        spend();
        let site = held::site();
        self.raw.write_until(Some(deadline)).then(|| self.write_guard(site))
    }

    /// The value, which nobody else can reach meanwhile.
    pub fn get_mut(&mut self) -> &mut T {
        self.value.get_mut()
    }

    /// The guard of the lock that the caller has just taken.
    fn read_guard(&self, site: held::Site) -> RwLockReadGuard<'_, T> {
        RwLockReadGuard { lock: self, _held: Held::new(&raw const self.raw, site), _here: PhantomData }
    }

    /// The guard of the lock that the caller has just taken.
    fn write_guard(&self, site: held::Site) -> RwLockWriteGuard<'_, T> {
        RwLockWriteGuard { lock: self, held: Held::new(&raw const self.raw, site), _here: PhantomData }
    }
}

impl<'a, T: ?Sized> RwLockWriteGuard<'a, T> {
    /// Goes on reading, without letting another writer in between.
    ///
    /// # Examples
    /// ```
    /// use osier::sync::{RwLock, RwLockWriteGuard};
    ///
    /// let lock = RwLock::new(1);
    /// let mut writer = lock.write();
    /// *writer = 2;
    /// let reader = RwLockWriteGuard::downgrade(writer);
    /// assert_eq!((*reader, *lock.read()), (2, 2));
    /// ```
    pub fn downgrade(guard: Self) -> RwLockReadGuard<'a, T> {
        let mut guard = ManuallyDrop::new(guard);
        let (lock, held) = (guard.lock, guard.held.take());
        // SAFETY: the guard has locked it for writing, and is gone.
        unsafe { lock.raw.downgrade() };
        RwLockReadGuard { lock, _held: held, _here: PhantomData }
    }
}

impl<T: ?Sized> Drop for RwLockReadGuard<'_, T> {
    fn drop(&mut self) {
        // SAFETY: a guard is made by who has locked, and the value is not reached without one.
        unsafe { self.lock.raw.unlock_read() };
    }
}

impl<T: ?Sized> Drop for RwLockWriteGuard<'_, T> {
    fn drop(&mut self) {
        // SAFETY: a guard is made by who has locked, and the value is not reached without one.
        unsafe { self.lock.raw.unlock_write() };
    }
}

impl<T: ?Sized> Deref for RwLockReadGuard<'_, T> {
    type Target = T;

    fn deref(&self) -> &T {
        // SAFETY: it is locked for reading as long as the guard lives.
        unsafe { &*self.lock.value.get() }
    }
}

impl<T: ?Sized> Deref for RwLockWriteGuard<'_, T> {
    type Target = T;

    fn deref(&self) -> &T {
        // SAFETY: it is locked for writing as long as the guard lives.
        unsafe { &*self.lock.value.get() }
    }
}

impl<T: ?Sized> DerefMut for RwLockWriteGuard<'_, T> {
    fn deref_mut(&mut self) -> &mut T {
        // SAFETY: as in `deref`, and the guard is borrowed mutably.
        unsafe { &mut *self.lock.value.get() }
    }
}

impl<T> From<T> for RwLock<T> {
    fn from(value: T) -> Self {
        Self::new(value)
    }
}

impl<T: ?Sized + fmt::Debug> fmt::Debug for RwLock<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut f = f.debug_struct("RwLock");
        match self.try_read() {
            Some(guard) => f.field("value", &&*guard),
            None => f.field("value", &format_args!("<locked>")),
        };
        f.finish()
    }
}

impl<T: ?Sized + fmt::Debug> fmt::Debug for RwLockReadGuard<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        (**self).fmt(f)
    }
}

impl<T: ?Sized + fmt::Debug> fmt::Debug for RwLockWriteGuard<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        (**self).fmt(f)
    }
}
