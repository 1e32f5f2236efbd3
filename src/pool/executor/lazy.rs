//! Maps that run ahead of whoever takes their values, and no further.

use std::collections::VecDeque;
use std::fmt;
use std::iter::{Fuse, FusedIterator};

use crate::exception::Raise;
use crate::sync::AsyncResult;
use crate::sync::channel::{self, Receiver, Sender};
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
/// A task that is cancelled in it has lost nothing: the next `next` gives the value. (But for the item, if it waits for room in
/// the queue of `Processes`, which holds fewer jobs then than are to be ahead.)
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

/// The values of a lazy map, each as soon as it is there: made by an executor's `imap_unordered`.
///
/// Otherwise as a [`LazyMap`]: nothing is done before the first `next`, so many items are submitted [ahead](Self::ahead), and
/// they may be without end. What Python does with `as_completed`.
#[must_use = "does nothing until it is iterated"]
pub struct UnorderedMap<'a, I: Iterator, R> {
    items: Fuse<I>,
    submit: Box<dyn FnMut(I::Item) -> AsyncResult<R> + 'a>,
    ahead: usize,
    /// How many were submitted and not taken.
    submitted: usize,
    /// Where results go as they are set.
    done: (Sender<AsyncResult<R>>, Receiver<AsyncResult<R>>),
    /// The one that is taken next, which is being set.
    next: Option<AsyncResult<R>>,
}

impl<'a, I: Iterator, R> UnorderedMap<'a, I, R> {
    pub(super) fn new(places: usize, items: I, submit: impl FnMut(I::Item) -> AsyncResult<R> + 'a) -> Self {
        let ahead = places.saturating_mul(2);
        let (items, submit, done) = (items.fuse(), Box::new(submit), channel::unbounded());
        Self { items, submit, ahead, submitted: 0, done, next: None }
    }

    /// Sets how many items may be submitted whose values have not been taken: 1 at least.
    pub fn ahead(mut self, n: usize) -> Self {
        self.ahead = n.max(1);
        self
    }
}

/// # Suspends
/// Each `next`: the calling task, or on a plain thread the thread, until one more job has run.
///
/// # Cancel safety
/// As that of a [`LazyMap`].
///
/// # Panics
/// `next` raises the failure of a job. The one after that gives another value.
impl<I: Iterator, R: Send + 'static> Iterator for UnorderedMap<'_, I, R> {
    type Item = R;

    fn next(&mut self) -> Option<R> {
        while self.submitted < self.ahead
            && let Some(item) = self.items.next()
        {
            let (result, done) = ((self.submit)(item), self.done.0.clone());
            self.submitted += 1;
            // If the map is gone, nobody looks at the result.
            result.hand_over(move |result| _ = done.try_send(result));
        }
        // First waited for, then taken out: a wait may be interrupted.
        if self.next.is_none() && self.submitted > 0 {
            self.next = self.done.1.recv().ok();
        }
        self.next.as_ref()?.wait();
        self.submitted -= 1;
        let result = self.next.take()?.take().unwrap_or_else(|| Err(JoinError::taken()));
        Some(result.unwrap_or_else(|error| error.raise()))
    }
}

impl<I: Iterator, R: Send + 'static> FusedIterator for UnorderedMap<'_, I, R> {}

impl<I: Iterator, R> fmt::Debug for UnorderedMap<'_, I, R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("UnorderedMap").field("ahead", &self.ahead).field("submitted", &self.submitted).finish()
    }
}
