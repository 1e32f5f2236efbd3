//! One worker's timers: a heap that knows where each entry is, so that the many that never fire are cancelled cheaply.
//!
//! Only the worker's own thread touches it. An entry is a deadline and the task to notify.

use std::time::Instant;

/// Names one entry, also after it has gone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct TimerKey {
    slot: usize,
    order: u64,
}

/// A heap by deadline, with a table of slots, which say where in it an entry is.
#[derive(Debug)]
pub(super) struct Timers<T> {
    heap: Vec<Entry<T>>,
    /// For each slot the place of its entry in the heap, or, when it is free, the next free slot.
    places: Vec<usize>,
    free: Option<usize>,
    /// Counts entries made, so that equal deadlines fire in the order in which they were set.
    made: u64,
}

#[derive(Debug)]
struct Entry<T> {
    deadline: Instant,
    order: u64,
    slot: usize,
    value: T,
}

impl<T> Entry<T> {
    fn rank(&self) -> (Instant, u64) {
        (self.deadline, self.order)
    }
}

const NO_SLOT: usize = usize::MAX;

impl<T> Timers<T> {
    pub(super) const fn new() -> Self {
        Self { heap: Vec::new(), places: Vec::new(), free: None, made: 0 }
    }

    /// When the earliest entry is due.
    pub(super) fn next_deadline(&self) -> Option<Instant> {
        self.heap.first().map(|entry| entry.deadline)
    }

    /// What the entries stand for, in no order.
    pub(super) fn values(&self) -> impl Iterator<Item = &T> {
        self.heap.iter().map(|entry| &entry.value)
    }

    pub(super) fn insert(&mut self, deadline: Instant, value: T) -> TimerKey {
        let place = self.heap.len();
        let slot = match self.free {
            Some(slot) => {
                let next = std::mem::replace(&mut self.places[slot], place);
                self.free = (next != NO_SLOT).then_some(next);
                slot
            }
            None => {
                self.places.push(place);
                self.places.len() - 1
            }
        };
        self.made += 1;
        self.heap.push(Entry { deadline, order: self.made, slot, value });
        self.sift_up(place);
        TimerKey { slot, order: self.made }
    }

    /// Where in the heap an entry is, unless it has gone.
    fn place(&self, key: TimerKey) -> Option<usize> {
        let place = self.places[key.slot];
        // A free slot may hold any number; the order tells its entry from every other.
        self.heap.get(place).is_some_and(|entry| entry.order == key.order).then_some(place)
    }

    /// Whether an entry is still to fire.
    pub(super) fn contains(&self, key: TimerKey) -> bool {
        self.place(key).is_some()
    }

    /// Takes an entry out before it fires; does nothing if it has gone.
    pub(super) fn remove(&mut self, key: TimerKey) {
        if let Some(place) = self.place(key) {
            self.remove_at(place);
        }
    }

    /// Takes out the earliest entry if it is due at `now`.
    pub(super) fn pop_due(&mut self, now: Instant) -> Option<T> {
        (self.next_deadline()? <= now).then(|| self.remove_at(0))
    }

    fn remove_at(&mut self, place: usize) -> T {
        let entry = self.heap.swap_remove(place);
        self.places[entry.slot] = self.free.replace(entry.slot).unwrap_or(NO_SLOT);
        if let Some(moved) = self.heap.get(place) {
            self.places[moved.slot] = place;
            self.sift_up(place);
            self.sift_down(place);
        }
        entry.value
    }

    fn sift_up(&mut self, mut place: usize) {
        while place > 0 {
            let parent = (place - 1) / 2;
            if self.heap[parent].rank() <= self.heap[place].rank() {
                break;
            }
            self.swap(place, parent);
            place = parent;
        }
    }

    fn sift_down(&mut self, mut place: usize) {
        loop {
            let children = [2 * place + 1, 2 * place + 2].into_iter().filter(|&child| child < self.heap.len());
            let Some(least) = children.min_by_key(|&child| self.heap[child].rank()) else { return };
            if self.heap[place].rank() <= self.heap[least].rank() {
                return;
            }
            self.swap(place, least);
            place = least;
        }
    }

    fn swap(&mut self, a: usize, b: usize) {
        self.heap.swap(a, b);
        self.places[self.heap[a].slot] = a;
        self.places[self.heap[b].slot] = b;
    }
}

#[cfg(all(test, not(osier_loom)))]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn equal_deadlines_fire_in_the_order_they_were_set() {
        let (mut timers, now) = (Timers::new(), Instant::now());
        (0..10).for_each(|n| _ = timers.insert(now, n));
        assert_eq!(std::iter::from_fn(|| timers.pop_due(now)).collect::<Vec<_>>(), Vec::from_iter(0..10));
    }

    #[test]
    fn random_inserts_and_removes_agree_with_a_sorted_list() {
        let mut seed = 0x5eed_u64;
        let mut random = move || {
            seed ^= seed << 13;
            seed ^= seed >> 7;
            seed ^= seed << 17;
            seed
        };
        let start = Instant::now();
        let (mut timers, mut model) = (Timers::new(), Vec::new());
        for n in 0..10_000_u64 {
            match random() % 4 {
                0 if !model.is_empty() => {
                    let (_, _, key): (Instant, u64, TimerKey) =
                        model.swap_remove((random() % model.len() as u64).try_into().unwrap());
                    assert!(timers.contains(key));
                    timers.remove(key);
                    assert!(!timers.contains(key));
                    timers.remove(key);
                }
                1 if !model.is_empty() => {
                    model.sort_unstable_by_key(|&(deadline, n, _)| (deadline, n));
                    let (deadline, n, _) = model.remove(0);
                    assert_eq!(timers.next_deadline(), Some(deadline));
                    assert_eq!(timers.pop_due(deadline), Some(n));
                }
                _ => {
                    let deadline = start + Duration::from_micros(random() % 1000);
                    model.push((deadline, n, timers.insert(deadline, n)));
                }
            }
        }
        model.sort_unstable_by_key(|&(deadline, n, _)| (deadline, n));
        let late = start + Duration::from_secs(1);
        let left: Vec<_> = std::iter::from_fn(|| timers.pop_due(late)).collect();
        assert_eq!(left, model.into_iter().map(|(_, n, _)| n).collect::<Vec<_>>());
    }
}
