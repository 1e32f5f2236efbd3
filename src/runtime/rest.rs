//! How many threads outside of workers' loops are at rest: they wait in here, and only another thread can end that.
//!
//! So that it can be certain that nobody will ever go on (`diagnosis::deadlock`). Workers are counted by `idle`.
//!
//! # Invariants
//! - A thread is counted only after it has seen that nobody has woken it.
//! - Whoever wakes a thread that is counted takes it out of the count before doing anything else, or the thread itself has done
//!   so before it goes on. So while the count is too high, somebody is at work who is not counted.

use std::sync::LazyLock;

use crate::primitives::{AtomicUsize, Ordering};

/// One thread at rest, in the word: the low half.
const RESTS: usize = 1;
/// One thread that was at rest and is no more, in the word: the high half.
const ENDED: usize = 1 << (usize::BITS / 2);

/// See the module's page.
#[derive(Debug)]
pub(crate) struct Rest {
    /// How many rest, and how often one has ended its rest. The second moves when a thread that was counted is no more; so
    /// whoever reads the same twice knows that those who were counted have been so in between.
    word: AtomicUsize,
}

/// What was read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Resting(usize);

impl Resting {
    /// How many threads rest.
    pub(crate) fn count(self) -> usize {
        self.0 % ENDED
    }
}

impl Rest {
    pub(crate) fn new() -> Self {
        Self { word: AtomicUsize::new(0) }
    }

    /// The process's threads that wait as a task would.
    pub(crate) fn of_process() -> &'static Self {
        static THREADS: LazyLock<Rest> = LazyLock::new(Rest::new);
        Self::of_model().unwrap_or_else(|| &THREADS)
    }

    /// Threads of ours that only watch: whatever they do wakes nobody, so they count as if they rested.
    pub(crate) fn of_monitors() -> &'static Self {
        static MONITORS: LazyLock<Rest> = LazyLock::new(Rest::new);
        Self::of_model().unwrap_or_else(|| &MONITORS)
    }

    /// In a model, a count that nobody else has: loom's atomics do not outlive a run, so none may be static. What a run leaks is
    /// small.
    #[inline]
    fn of_model() -> Option<&'static Self> {
        cfg!(all(test, osier_loom)).then(|| &*Box::leak(Box::new(Self::new())))
    }

    /// Counts a thread.
    pub(crate) fn begins(&self) {
        self.word.fetch_add(RESTS, Ordering::SeqCst);
    }

    /// Counts a thread no more.
    pub(crate) fn ends(&self) {
        self.word.fetch_add(ENDED - RESTS, Ordering::SeqCst);
    }

    pub(crate) fn look(&self) -> Resting {
        Resting(self.word.load(Ordering::SeqCst))
    }
}

#[cfg(all(test, osier_loom))]
mod model {
    use super::super::parker::Parker;
    use super::*;
    use crate::primitives::AtomicU32;
    use loom::sync::Arc;
    use loom::thread;

    /// One thread wakes another one that rests, and both rest for good then, each when it is done. Panics if they are both
    /// counted while one is not.
    fn check(unpark: fn(&Parker)) {
        let mut model = loom::model::Builder::new();
        model.preemption_bound = Some(3);
        model.check(move || {
            // Loom has no statics; what a run of the model leaks is small.
            let rest: &'static Rest = Box::leak(Box::new(Rest::new()));
            let parker = Arc::new(Parker::of_thread(rest));
            let done = Arc::new(AtomicU32::new(0));
            let sleeper = {
                let (parker, done) = (parker.clone(), done.clone());
                thread::spawn(move || {
                    parker.rest(&[], || ());
                    done.fetch_add(1, Ordering::SeqCst);
                    rest.begins();
                })
            };
            let waker = {
                let done = done.clone();
                thread::spawn(move || {
                    unpark(&parker);
                    done.fetch_add(1, Ordering::SeqCst);
                    rest.begins();
                })
            };
            let (before, after) = (rest.look(), rest.look());
            if before == after && before.count() == 2 {
                assert_eq!(done.load(Ordering::SeqCst), 2, "one of the two is at work");
            }
            sleeper.join().unwrap();
            waker.join().unwrap();
            assert_eq!(rest.look().count(), 2);
        });
    }

    #[test]
    fn model_all_rest_only_when_all_are_done() {
        check(Parker::unpark);
    }

    #[test]
    #[should_panic(expected = "one of the two is at work")]
    fn model_catches_a_thread_that_is_counted_until_it_has_woken_up() {
        check(Parker::unpark_counted);
    }
}
