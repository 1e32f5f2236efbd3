//! The items of a map, and who works on them.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::place::{Answer, Place, Seat};

/// The items of a `map`, as bytes, and what has become of them.
pub(super) struct Batch {
    /// The function's.
    name: &'static str,
    arguments: Vec<Vec<u8>>,
    chunk: usize,
    /// The first item that nobody has taken.
    next: AtomicUsize,
    /// Empty for an item that never began.
    results: Mutex<Vec<Option<Answer>>>,
    /// Set before `turns` is looked at for the last time.
    is_stopped: AtomicBool,
    /// Who works on it.
    turns: Mutex<Vec<(Arc<Seat>, u64)>>,
}

impl Batch {
    pub(super) fn new(name: &'static str, chunk: usize, arguments: Vec<Vec<u8>>) -> Self {
        let results = Mutex::new(arguments.iter().map(|_| None).collect());
        let (next, is_stopped, turns) = (AtomicUsize::new(0), AtomicBool::new(false), Mutex::default());
        Self { name, arguments, chunk, next, results, is_stopped, turns }
    }

    pub(super) fn results(&self) -> MutexGuard<'_, Vec<Option<Answer>>> {
        self.results.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn turns(&self) -> MutexGuard<'_, Vec<(Arc<Seat>, u64)>> {
        self.turns.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Runs items until none is left.
    pub(super) fn work(&self, place: &mut Place, turn: u64) {
        self.turns().push((place.seat.clone(), turn));
        let count = self.arguments.len();
        while !self.is_stopped.load(Ordering::SeqCst) {
            // Relaxed: who gets which items does not matter.
            let first = self.next.fetch_add(self.chunk, Ordering::Relaxed).min(count);
            let chunk = &self.arguments[first..first.saturating_add(self.chunk).min(count)];
            if chunk.is_empty() {
                return;
            }
            place.call(self.name, chunk, &self.is_stopped, |index, result| {
                self.results()[first + index] = Some(result);
            });
        }
    }

    /// Lets nobody begin with an item, and kills those who run one.
    pub(super) fn stop(&self) {
        self.is_stopped.store(true, Ordering::SeqCst);
        self.turns().iter().for_each(|(seat, turn)| seat.kill(Some(*turn)));
    }
}
