//! Lazy maps: values one by one, while the tasks that make them run ahead.
//!
//! ```text
//!   source ──→ feeder, a task ──→ members, a task for each item ──→ a queue of values ──→ `next`
//! ```
//!
//! The feeder takes an item, waits until it may run ahead, and then for a place. It says at its end how many items there
//! were. An item becomes a member before `IMap::drop` comes, or never: nothing begins after it. Each item's value, or why there
//! is none, reaches the queue once, also if its task never ran: whoever drops it unanswered answers.

use std::collections::BTreeMap;
use std::fmt;
use std::iter::FusedIterator;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use super::crew::{Crew, Home};
use super::members::Members;
use crate::coroutine::unwind;
use crate::exception::{Leaving, Raise};
use crate::sync::{Queue, Semaphore};
use crate::task::{Anywhere, Builder, JoinError, JoinHandle};

/// The values of [`Pool::imap`](super::Pool::imap) and its kin, one by one.
///
/// Nothing runs before the first `next`. A failure is raised by the `next` whose value it would have been, and the one
/// after that goes on.
///
/// Dropping it, as a `break` out of a loop does, stops the source. Items that are members by then are done all the same: a
/// `join` waits for them, a `kill` ends them. One that has been taken from the source, and waits for its place, is dropped.
///
/// # Examples
/// ```
/// use osier::{Pool, sleep};
/// use std::sync::Arc;
/// use std::sync::atomic::{AtomicUsize, Ordering};
/// use std::time::Duration;
///
/// let (pool, running) = (Pool::new(2), Arc::new(AtomicUsize::new(0)));
/// let count = running.clone();
/// let squares = pool.imap(1.., move |n: u64| {
///     count.fetch_add(1, Ordering::SeqCst);
///     sleep(Duration::from_millis(1));
///     count.fetch_sub(1, Ordering::SeqCst);
///     n * n
/// });
/// for square in squares {
///     if square > 20 {
///         break;
///     }
/// }
/// pool.join().unwrap();
/// assert_eq!(running.load(Ordering::SeqCst), 0);
/// ```
#[must_use = "nothing runs until `next` is called"]
pub struct IMap<R, P = Anywhere> {
    answers: Queue<Answer<R>>,
    state: Feeding<P>,
    /// Whether values come in the order of their items; else as they get ready.
    in_order: bool,
    /// Those that came too early.
    early: BTreeMap<usize, Result<R, JoinError>>,
    /// How many values have been given.
    given: usize,
    /// How many there are; known when the source has ended.
    total: Option<usize>,
    /// Why the source ended, if it failed.
    source_failure: Option<JoinError>,
    /// What bounds how far the tasks run ahead.
    ahead: Option<Semaphore>,
    members: Arc<Members>,
    /// Set when it is dropped, under the members' lock: the feeder makes no more of them.
    is_stopped: Arc<AtomicBool>,
}

enum Feeding<P> {
    NotStarted(Box<dyn FnOnce(Option<Semaphore>) -> JoinHandle<(), P>>),
    Started(JoinHandle<(), P>),
    /// While it changes.
    Between,
}

enum Answer<R> {
    /// The value of the item with that number.
    Value(usize, Result<R, JoinError>),
    /// The source has ended after so many items; or failed.
    End(usize, Option<JoinError>),
}

// SAFETY: `new` asks that all that is in it, also in the closure that starts it, is `Send`, unless its tasks stay on
// one thread; then `P` is not.
unsafe impl<R: Send, P: Send> Send for IMap<R, P> {}

impl<R: 'static, P: Home> IMap<R, P> {
    /// Makes one of a source and a function.
    ///
    /// # Safety
    /// - If tasks of this home may start on any thread, all types are `Send`, and `f` is `Sync`.
    pub(super) unsafe fn new<I>(crew: &Crew<P>, items: I, f: impl Fn(I::Item) -> R + 'static, in_order: bool) -> Self
    where
        I: IntoIterator + 'static,
    {
        let answers = Queue::new();
        let (members, is_stopped) = (crew.members.clone(), Arc::new(AtomicBool::new(false)));
        let (crew, queue, f, is_over) = (crew.clone(), answers.clone(), Arc::new(f), is_stopped.clone());
        let start = move |ahead: Option<Semaphore>| {
            let body = move || {
                let mut end = End { answers: &queue, count: 0, failure: None };
                let fed = unwind::intercept(|| {
                    for item in items {
                        if let Some(ahead) = &ahead {
                            ahead.acquire();
                        }
                        let mut answer = Unanswered { answers: queue.clone(), number: end.count, is_answered: false };
                        end.count += 1;
                        let f = f.clone();
                        let member = move || answer.answer(|| f(item));
                        // SAFETY: the caller's promise.
                        if unsafe { crew.spawn_unless(&is_over, member) }.is_none() {
                            return;
                        }
                    }
                });
                if let Err(payload) = fed {
                    if Leaving::of(&payload).is_some() {
                        drop(end);
                        unwind::throw(payload);
                    }
                    end.failure = Some(JoinError::from_payload(payload));
                }
            };
            // SAFETY: the caller's promise; nothing is borrowed.
            unsafe { P::submit(Builder::new().name("feeder of a lazy map"), body, false) }
                .unwrap_or_else(|error| panic!("{error}"))
        };
        Self {
            answers,
            state: Feeding::NotStarted(Box::new(start)),
            in_order,
            early: BTreeMap::new(),
            given: 0,
            total: None,
            source_failure: None,
            ahead: None,
            members,
            is_stopped,
        }
    }

    /// Bounds how many items are taken from the source ahead of the values that were given. At least 1.
    ///
    /// # Panics
    /// If it is called after the first `next`.
    pub fn maxsize(mut self, n: usize) -> Self {
        assert!(matches!(self.state, Feeding::NotStarted(_)), "`maxsize` is set before the first value is asked for");
        self.ahead = Some(Semaphore::new(n.max(1)));
        self
    }

    fn start(&mut self) {
        self.state = match std::mem::replace(&mut self.state, Feeding::Between) {
            Feeding::NotStarted(start) => Feeding::Started(start(self.ahead.clone())),
            started => started,
        };
    }

    /// The next value, or why there is none; `None` at the end.
    fn next_answer(&mut self) -> Option<Result<R, JoinError>> {
        self.start();
        loop {
            let early = if self.in_order { self.early.remove(&self.given) } else { None };
            if let Some(value) = early {
                return Some(self.give(value));
            }
            if self.total == Some(self.given) {
                return self.source_failure.take().map(Err);
            }
            match self.answers.get() {
                Ok(Answer::Value(_, value)) if !self.in_order => return Some(self.give(value)),
                Ok(Answer::Value(number, value)) => _ = self.early.insert(number, value),
                Ok(Answer::End(total, failure)) => {
                    self.total = Some(total);
                    self.source_failure = failure;
                }
                Err(_) => unreachable!("nobody shuts this queue down"),
            }
        }
    }

    fn give(&mut self, value: Result<R, JoinError>) -> Result<R, JoinError> {
        self.given += 1;
        if let Some(ahead) = &self.ahead {
            ahead.release();
        }
        value
    }
}

impl<R: 'static, P: Home> Iterator for IMap<R, P> {
    type Item = R;

    /// # Suspends
    /// The calling task, or on a plain thread the thread, until the next value is there.
    ///
    /// # Cancel safety
    /// Nothing is lost: a value that was not given comes with the next `next`.
    ///
    /// # Panics
    /// With the panic that left `f` or the source; with an exception it raises.
    fn next(&mut self) -> Option<R> {
        self.next_answer().map(|answer| answer.unwrap_or_else(|error| error.raise()))
    }
}

impl<R: 'static, P: Home> FusedIterator for IMap<R, P> {}

impl<R, P> Drop for IMap<R, P> {
    fn drop(&mut self) {
        if let Feeding::Started(feeder) = &self.state {
            self.members.stop(&self.is_stopped);
            feeder.cancel();
        }
    }
}

impl<R, P> fmt::Debug for IMap<R, P> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("IMap").field("given", &self.given).field("total", &self.total).finish_non_exhaustive()
    }
}

/// Says that the source has ended, however it did.
struct End<'a, R> {
    answers: &'a Queue<Answer<R>>,
    count: usize,
    failure: Option<JoinError>,
}

impl<R> Drop for End<'_, R> {
    fn drop(&mut self) {
        _ = self.answers.try_put(Answer::End(self.count, self.failure.take()));
    }
}

/// The duty to answer for one item.
struct Unanswered<R> {
    answers: Queue<Answer<R>>,
    number: usize,
    is_answered: bool,
}

impl<R> Unanswered<R> {
    /// Answers with what `f` gives or fails with. An exit goes on.
    fn answer(&mut self, f: impl FnOnce() -> R) {
        let answer = match unwind::intercept(f) {
            Ok(value) => Ok(value),
            Err(payload) if Leaving::of(&payload).is_some() => unwind::throw(payload),
            Err(payload) => Err(JoinError::from_payload(payload)),
        };
        self.is_answered = true;
        _ = self.answers.try_put(Answer::Value(self.number, answer));
    }
}

impl<R> Drop for Unanswered<R> {
    fn drop(&mut self) {
        if !self.is_answered {
            _ = self.answers.try_put(Answer::Value(self.number, Err(JoinError::cancelled())));
        }
    }
}
