//! The cell that makes its value itself, when somebody first looks.

use std::fmt;
use std::ops::Deref;

use super::once::OnceCell;
use crate::primitives::const_unless_modelled;

/// A value that is made when somebody first looks at it: `std::sync::LazyLock` for values whose making waits.
///
/// Whoever looks while another makes it waits. There is no poisoning: if the closure unwinds, by a panic or because the
/// task that looks is cancelled, the next who looks calls it again; so it is `Fn`, where std's is `FnOnce`. For values
/// whose closure is known only when they are needed there is [`OnceCell`].
///
/// # Suspends
/// Whoever looks, through `*`, a method of the value or [`force`](Self::force): the calling task, or on a plain thread the
/// thread, while another makes the value; and wherever the closure waits.
///
/// # Cancel safety
/// As that of [`OnceCell::get_or_init`].
///
/// # Examples
/// ```
/// use osier::sync::LazyCell;
///
/// static ANSWER: LazyCell<u32> = LazyCell::new(|| osier::spawn(|| 6 * 7).join().unwrap());
/// let tasks: Vec<_> = (0..4).map(|_| osier::spawn(|| *ANSWER)).collect();
/// assert!(tasks.into_iter().all(|task| task.join().unwrap() == 42));
/// ```
pub struct LazyCell<T, F = fn() -> T> {
    cell: OnceCell<T>,
    make: F,
}

impl<T, F> LazyCell<T, F> {
    const_unless_modelled! {
        /// Makes one whose value `make` makes.
        pub fn new(make: F) -> Self {
            Self { cell: OnceCell::new(), make }
        }
    }

    /// The value, if it has been made.
    pub fn get(this: &Self) -> Option<&T> {
        this.cell.get()
    }
}

impl<T, F: Fn() -> T> LazyCell<T, F> {
    /// The value, which is made if it has not been.
    ///
    /// # Panics
    /// With the closure's panic. If the closure looks at the value: it would wait for itself.
    pub fn force(this: &Self) -> &T {
        this.cell.get_or_init(&this.make)
    }
}

impl<T, F: Fn() -> T> Deref for LazyCell<T, F> {
    type Target = T;

    fn deref(&self) -> &T {
        Self::force(self)
    }
}

impl<T: Default> Default for LazyCell<T> {
    fn default() -> Self {
        Self::new(T::default)
    }
}

impl<T: fmt::Debug, F> fmt::Debug for LazyCell<T, F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("LazyCell").field(&self.cell.get()).finish()
    }
}
