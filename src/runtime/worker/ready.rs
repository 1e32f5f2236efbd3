//! The queue of a worker's ready tasks: a ring that grows, as `VecDeque`.
//!
//! Each yield and each wake-up goes through it. The places are counted on for ever and masked, so that neither end is compared
//! with the end of the buffer; and the worker's thread alone comes here, one call at a time, so that nothing says who borrows
//! it. Together that is 21 instructions less than `RefCell<VecDeque>` takes of a yield's 187.

use std::cell::{Cell, UnsafeCell};
use std::mem::MaybeUninit;

use super::RawTask;

/// How many tasks there is room for at first, and for how many a worker that has nothing to do keeps room: 128 KiB.
const FIRST: usize = 64;
const KEPT: usize = 16 * 1024;

/// See the module's page.
pub(in crate::runtime) struct Ready {
    /// As many slots as a power of two. Those from `first` to `end` hold tasks.
    slots: UnsafeCell<Box<[MaybeUninit<RawTask>]>>,
    /// The place of the first task, and the one behind the last: counted on for ever, and wrapping around.
    first: Cell<usize>,
    end: Cell<usize>,
}

impl Ready {
    pub(super) fn new() -> Self {
        Self { slots: UnsafeCell::new(Box::new_uninit_slice(FIRST)), first: Cell::new(0), end: Cell::new(0) }
    }

    /// The slots, for one load or store.
    #[inline(always)]
    fn slots(&self) -> *mut [MaybeUninit<RawTask>] {
        // SAFETY: no reference to them outlives the call that made it, and no such call makes another.
        unsafe { &raw mut **self.slots.get() }
    }

    /// The slot of a place.
    #[inline(always)]
    fn slot(&self, place: usize) -> *mut RawTask {
        let slots = self.slots();
        // SAFETY: masked by their number less one, and that is a power of two.
        unsafe { slots.cast::<RawTask>().add(place & (slots.len() - 1)) }
    }

    #[inline(always)]
    pub(in crate::runtime) fn len(&self) -> usize {
        self.end.get().wrapping_sub(self.first.get())
    }

    #[inline(always)]
    pub(in crate::runtime) fn is_empty(&self) -> bool {
        self.end.get() == self.first.get()
    }

    #[inline(always)]
    pub(super) fn push_back(&self, task: RawTask) {
        if self.len() == self.slots().len() {
            self.grow();
        }
        let place = self.end.get();
        // SAFETY: a slot, to which nobody has a reference.
        unsafe { self.slot(place).write(task) };
        self.end.set(place.wrapping_add(1));
    }

    pub(super) fn push_front(&self, task: RawTask) {
        if self.len() == self.slots().len() {
            self.grow();
        }
        let place = self.first.get().wrapping_sub(1);
        // SAFETY: as in `push_back`.
        unsafe { self.slot(place).write(task) };
        self.first.set(place);
    }

    #[inline(always)]
    pub(super) fn pop_front(&self) -> Option<RawTask> {
        if self.is_empty() {
            return None;
        }
        let place = self.first.get();
        self.first.set(place.wrapping_add(1));
        // SAFETY: there was a task.
        Some(unsafe { self.slot(place).read() })
    }

    /// The task that so many others are before.
    #[inline(always)]
    pub(super) fn get(&self, index: usize) -> Option<RawTask> {
        if index >= self.len() {
            return None;
        }
        // SAFETY: there is a task.
        Some(unsafe { self.slot(self.first.get().wrapping_add(index)).read() })
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = RawTask> {
        (0..self.len()).map_while(|index| self.get(index))
    }

    /// Takes out the task that `index` others are before. These move up.
    pub(in crate::runtime) fn remove(&self, index: usize) -> Option<RawTask> {
        let removed = self.get(index)?;
        for (moved, place) in (0..index).rev().filter_map(|index| Some((self.get(index)?, index + 1))) {
            // SAFETY: as in `push_back`.
            unsafe { self.slot(self.first.get().wrapping_add(place)).write(moved) };
        }
        self.first.set(self.first.get().wrapping_add(1));
        Some(removed)
    }

    #[cold]
    fn grow(&self) {
        self.make_room_for(2 * self.len());
    }

    /// Whether nobody is in it, and there is room for more than is kept.
    #[inline]
    pub(super) fn can_shrink(&self) -> bool {
        self.slots().len() > KEPT && self.is_empty()
    }

    /// Gives room back: where a million tasks were ready at once there were 8 MB.
    #[cold]
    pub(super) fn shrink(&self) {
        self.make_room_for(self.len().next_power_of_two().max(KEPT));
    }

    /// Makes it so many slots: a power of two, and no less than there are tasks.
    fn make_room_for(&self, tasks: usize) {
        let mut slots = Box::new_uninit_slice(tasks);
        for (slot, task) in slots.iter_mut().zip(self.iter()) {
            slot.write(task);
        }
        self.end.set(self.len());
        self.first.set(0);
        // SAFETY: nobody has a reference to the slots.
        unsafe { *self.slots.get() = slots };
    }
}

#[cfg(all(test, not(osier_loom)))]
mod tests {
    use super::*;
    use std::collections::VecDeque;
    use std::ptr::{self, NonNull};

    /// A number, as a task that nobody looks at.
    fn task(number: usize) -> RawTask {
        RawTask::from_header(NonNull::new(ptr::without_provenance_mut(number)).unwrap())
    }

    #[test]
    fn it_gives_room_back_when_it_is_empty_and_keeps_some() {
        let ready = Ready::new();
        for number in 1..=3 * KEPT {
            ready.push_back(task(number));
        }
        for number in 1..=3 * KEPT {
            assert!(!ready.can_shrink());
            assert!(ready.pop_front() == Some(task(number)));
        }
        assert!(ready.can_shrink());
        ready.shrink();
        assert!(!ready.can_shrink());
        for number in 1..=KEPT {
            ready.push_back(task(number));
        }
        assert!(ready.iter().eq((1..=KEPT).map(task)));
        assert_eq!(ready.slots().len(), KEPT);
    }

    #[test]
    fn it_does_what_a_deque_does_also_where_its_places_wrap_around() {
        for start in [0, usize::MAX - 100] {
            let (ready, mut deque) = (Ready::new(), VecDeque::new());
            ready.first.set(start);
            ready.end.set(start);
            let mut random = 1_usize;
            for number in 1..20_000 {
                random ^= random << 13;
                random ^= random >> 7;
                random ^= random << 17;
                match random % 16 {
                    0 => {
                        ready.push_front(task(number));
                        deque.push_front(task(number));
                    }
                    // It grows to some hundreds, and falls again.
                    1..8 if number / 1000 % 2 == 0 => {
                        ready.push_back(task(number));
                        deque.push_back(task(number));
                    }
                    1..4 => {
                        ready.push_back(task(number));
                        deque.push_back(task(number));
                    }
                    4 => {
                        let index = random % (deque.len() + 1);
                        assert!(ready.remove(index) == deque.remove(index));
                    }
                    _ => assert!(ready.pop_front() == deque.pop_front()),
                }
                assert_eq!((ready.len(), ready.is_empty()), (deque.len(), deque.is_empty()));
                assert!(ready.get(random % 100) == deque.get(random % 100).copied());
            }
            assert!(ready.iter().eq(deque));
        }
    }
}
