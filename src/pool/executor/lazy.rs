//! Maps that run ahead of whoever takes their values, and no further.

use std::collections::VecDeque;
use std::fmt;
use std::iter::{Fuse, FusedIterator};

use crate::exception::Raise;
use crate::sync::AsyncResult;
use crate::task::JoinError;

/// The values of a lazy map, in the order of the items: made by an executor's `imap`.
///
/// Nothing is done before the first `next`. Then so many items are submitted as are to be [ahead](Self::ahead), twice as
/// many as there are places if nothing else is said; so the items may be without end. Dropping it leaves those that were
/// submitted to run.
#[must_use = "does nothing until it is iterated"]
pub struct LazyMap<'a, I: Iterator, R> {
    items: Fuse<I>,
    submit: Box<dyn FnMut(I::Item) -> AsyncResult<R> + 'a>,
    ahead: usize,
    /// What was submitted and not taken, the earliest first.
    results: VecDeque<AsyncResult<R>>,
}

impl<'a, I: Iterator, R> LazyMap<'a, I, R> {
    pub(super) fn new(places: usize, items: I, submit: impl FnMut(I::Item) -> AsyncResult<R> + 'a) -> Self {
        let ahead = places.saturating_mul(2);
        Self { items: items.fuse(), submit: Box::new(submit), ahead, results: VecDeque::new() }
    }

    /// Sets how many items may be submitted whose values have not been taken: 1 at least.
    pub fn ahead(mut self, n: usize) -> Self {
        self.ahead = n.max(1);
        self
    }
}

/// # Suspends
/// Each `next`: the calling task, or on a plain thread the thread, until the next item's job has run.
///
/// # Cancel safety
/// A task that is cancelled in it has lost nothing: the next `next` gives the value.
///
/// # Panics
/// `next` raises the failure of its item. The one after that gives the value of the next item.
impl<I: Iterator, R> Iterator for LazyMap<'_, I, R> {
    type Item = R;

    fn next(&mut self) -> Option<R> {
        while self.results.len() < self.ahead
            && let Some(item) = self.items.next()
        {
            self.results.push_back((self.submit)(item));
        }
        // First waited for, then taken out: a wait may be interrupted.
        self.results.front()?.wait();
        let result = self.results.pop_front()?.take().unwrap_or_else(|| Err(JoinError::taken()));
        Some(result.unwrap_or_else(|error| error.raise()))
    }
}

impl<I: Iterator, R> FusedIterator for LazyMap<'_, I, R> {}

impl<I: Iterator, R> fmt::Debug for LazyMap<'_, I, R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LazyMap").field("ahead", &self.ahead).field("submitted", &self.results.len()).finish()
    }
}
