//! What stands in the place of the spin lock where models run: loom's lock, whose waiting loom knows of.

use std::fmt;

pub(crate) type SpinGuard<'a, T> = loom::sync::MutexGuard<'a, T>;

pub(crate) struct SpinLock<T>(loom::sync::Mutex<T>);

impl<T> SpinLock<T> {
    pub(crate) fn new(value: T) -> Self {
        Self(loom::sync::Mutex::new(value))
    }

    pub(crate) fn lock(&self) -> SpinGuard<'_, T> {
        self.0.lock().expect("nobody panics under it")
    }
}

impl<T> fmt::Debug for SpinLock<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SpinLock").finish_non_exhaustive()
    }
}
