//! What is in a queue, and in which order it comes out.
//!
//! # Invariants
//! - A comparison that panics leaves a heap as it was: all comparisons of a change are made before the first move.

use std::collections::VecDeque;

use crate::no_suspend;

/// The items of a queue.
#[allow(unnameable_types, reason = "the kinds of queues are given")]
pub trait Store<T>: Default {
    /// Whether an item may be put in by somebody else than its putter: not if that runs code of the item's.
    const IS_PASSIVE: bool;

    /// Puts an item in.
    fn push(&mut self, item: T);

    /// Takes the next item out.
    fn pop(&mut self) -> Option<T>;

    /// The next item.
    fn peek(&self) -> Option<&T>;

    /// How many there are.
    fn len(&self) -> usize;
}

/// First in, first out.
#[allow(unnameable_types, reason = "`Queue` is its name")]
#[derive(Debug)]
pub struct Fifo<T>(VecDeque<T>);

/// Last in, first out.
#[allow(unnameable_types, reason = "`LifoQueue` is its name")]
#[derive(Debug)]
pub struct Lifo<T>(Vec<T>);

/// The smallest first; of equals, the one that came first.
#[allow(unnameable_types, reason = "`PriorityQueue` is its name")]
#[derive(Debug)]
pub struct Heap<T> {
    /// Each with the number of its arrival; no smaller than the one at half its index.
    entries: Vec<(T, u64)>,
    arrivals: u64,
}

impl<T> Default for Fifo<T> {
    fn default() -> Self {
        Self(VecDeque::new())
    }
}

impl<T> Default for Lifo<T> {
    fn default() -> Self {
        Self(Vec::new())
    }
}

impl<T> Default for Heap<T> {
    fn default() -> Self {
        Self { entries: Vec::new(), arrivals: 0 }
    }
}

impl<T> Store<T> for Fifo<T> {
    const IS_PASSIVE: bool = true;

    fn push(&mut self, item: T) {
        self.0.push_back(item);
    }

    fn pop(&mut self) -> Option<T> {
        self.0.pop_front()
    }

    fn peek(&self) -> Option<&T> {
        self.0.front()
    }

    fn len(&self) -> usize {
        self.0.len()
    }
}

impl<T> Store<T> for Lifo<T> {
    const IS_PASSIVE: bool = true;

    fn push(&mut self, item: T) {
        self.0.push(item);
    }

    fn pop(&mut self) -> Option<T> {
        self.0.pop()
    }

    fn peek(&self) -> Option<&T> {
        self.0.last()
    }

    fn len(&self) -> usize {
        self.0.len()
    }
}

impl<T: Ord> Store<T> for Heap<T> {
    const IS_PASSIVE: bool = false;

    fn push(&mut self, item: T) {
        let entry = (item, self.arrivals);
        let mut place = self.entries.len();
        // The queue's lock is held: a comparison that waited would hold up a thread that wants it.
        no_suspend(|| {
            while place > 0 && entry < self.entries[(place - 1) / 2] {
                place = (place - 1) / 2;
            }
        });
        self.arrivals += 1;
        let mut at = self.entries.len();
        self.entries.push(entry);
        while at != place {
            let parent = (at - 1) / 2;
            self.entries.swap(at, parent);
            at = parent;
        }
    }

    fn pop(&mut self) -> Option<T> {
        let (last, rest) = self.entries.split_last()?;
        // As in `push`.
        let (turns, depth) = no_suspend(|| way_down(last, rest));
        let (item, _) = self.entries.swap_remove(0);
        let mut at = 0;
        for level in 0..depth {
            let child = 2 * at + 1 + usize::from(turns >> level & 1 == 1);
            self.entries.swap(at, child);
            at = child;
        }
        Some(item)
    }

    fn peek(&self) -> Option<&T> {
        self.entries.first().map(|(item, _)| item)
    }

    fn len(&self) -> usize {
        self.entries.len()
    }
}

/// The way on which `last` sinks from the top of the heap `rest`, whose first one is about to go: at each level left, or
/// right where the bit is set; and how far.
fn way_down<E: PartialOrd>(last: &E, rest: &[E]) -> (u64, u32) {
    let (mut turns, mut depth, mut at) = (0, 0, 0);
    loop {
        let left = 2 * at + 1;
        let Some(mut smaller) = rest.get(left) else { break };
        let goes_right = rest.get(left + 1).is_some_and(|right| right < smaller);
        if goes_right {
            smaller = &rest[left + 1];
        }
        if last < smaller {
            break;
        }
        turns |= u64::from(goes_right) << depth;
        depth += 1;
        at = left + usize::from(goes_right);
    }
    (turns, depth)
}

#[cfg(all(test, not(osier_loom)))]
mod tests {
    use super::*;
    use std::cell::Cell;
    use std::cmp::Ordering;
    use std::panic::{AssertUnwindSafe, catch_unwind};
    use std::rc::Rc;

    #[test]
    fn a_heap_gives_the_smallest_first_and_equals_in_order() {
        let mut heap = Heap::default();
        let mut seed = 7_u32;
        for n in 0..1000_u32 {
            seed = seed.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            heap.push((seed >> 28, n));
            if n % 3 == 0 {
                heap.pop();
            }
        }
        let items: Vec<_> = std::iter::from_fn(|| heap.pop()).collect();
        assert!(items.is_sorted());

        #[derive(PartialEq, Eq, PartialOrd, Ord)]
        struct Same;
        let mut heap = Heap::default();
        (0..50).for_each(|_| heap.push(Same));
        let arrivals: Vec<_> = std::iter::from_fn(|| {
            let first = heap.entries.first()?.1;
            heap.pop();
            Some(first)
        })
        .collect();
        assert!(arrivals.into_iter().eq(0..50));
    }

    /// Panics in the comparison that makes the fuse burn down.
    #[derive(Clone)]
    struct Fused(u32, Rc<Cell<u32>>);

    impl Ord for Fused {
        fn cmp(&self, other: &Self) -> Ordering {
            self.1.set(self.1.get().wrapping_sub(1));
            assert!(self.1.get() != 0, "the fuse has burnt down");
            self.0.cmp(&other.0)
        }
    }

    impl PartialOrd for Fused {
        fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
            Some(self.cmp(other))
        }
    }

    impl PartialEq for Fused {
        fn eq(&self, other: &Self) -> bool {
            self.0 == other.0
        }
    }

    impl Eq for Fused {}

    #[test]
    fn a_comparison_that_panics_changes_nothing() {
        for burns in 1..12 {
            let fuse = Rc::new(Cell::new(0));
            let mut heap = Heap::default();
            (0..20).for_each(|n| heap.push(Fused(n * 7 % 20, fuse.clone())));
            fuse.set(burns);
            let pushed = catch_unwind(AssertUnwindSafe(|| heap.push(Fused(0, fuse.clone())))).is_ok();
            fuse.set(burns);
            let popped = catch_unwind(AssertUnwindSafe(|| heap.pop())).is_ok();
            fuse.set(0);
            let rest: Vec<_> = std::iter::from_fn(|| heap.pop()).map(|item| item.0).collect();
            assert_eq!(rest.len(), 20 + usize::from(pushed) - usize::from(popped));
            assert!(rest.is_sorted(), "{rest:?}");
        }
    }
}
