//! What is noted of each region for as long as the process lives, in memory of its own.
//!
//! The allocator gives whole pages back, so a note of a few hundred bytes keeps one from it. After a million coroutines,
//! whose regions were noted among what was allocated for them, 200 pages could not be given back.
//!
//! # Invariants
//! - Memory is handed out once, and is never given back.

use std::alloc::Layout;
use std::io;
use std::ptr::NonNull;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use super::sys;

/// How much is reserved at a time: a hundred regions' notes.
const CHUNK: usize = 64 * 1024;

/// All notes are aligned to this.
const ALIGN: usize = align_of::<u64>();

/// Memory that is handed out from one end to the other.
#[derive(Debug)]
pub(super) struct Books {
    /// Zeroed, and nobody's yet; dangling where `left` is 0.
    at: NonNull<u8>,
    left: usize,
}

// SAFETY: it owns what it points to.
unsafe impl Send for Books {}

impl Books {
    pub(super) const fn new() -> Self {
        Self { at: NonNull::dangling(), left: 0 }
    }

    /// Zeroed memory for ever, and as many words behind it as there are `words`.
    ///
    /// # Errors
    /// The system has none; nothing was taken.
    pub(super) fn take<T>(&mut self, words: usize) -> io::Result<(NonNull<T>, &'static [AtomicU64])> {
        const { assert!(align_of::<T>() <= ALIGN) }
        let first = Layout::new::<T>().align_to(ALIGN).expect("a power of two").pad_to_align().size();
        let bytes = first + words * size_of::<AtomicU64>();
        if bytes > self.left {
            let chunk = bytes.max(CHUNK);
            (self.at, self.left) = (sys::reserve(chunk)?, chunk);
        }
        let taken = self.at;
        // SAFETY: there are as many bytes left.
        let behind = unsafe { taken.add(first) };
        // SAFETY: as above.
        self.at = unsafe { taken.add(bytes) };
        self.left -= bytes;
        // SAFETY: so many zeroed words lie there, aligned, since all that was ever taken is a multiple of `ALIGN`; they are
        // nobody else's, and never given back.
        let words = unsafe { std::slice::from_raw_parts(behind.cast().as_ptr(), words) };
        Ok((taken.cast(), words))
    }
}

/// Some of a region's slots: one bit each, so that a million of them cost 128 KiB.
///
/// Whoever changes it holds a lock; the atomics are for `&self`, and order nothing.
#[derive(Debug)]
pub(super) struct SlotSet {
    count: AtomicUsize,
    bits: &'static [AtomicU64],
}

impl SlotSet {
    /// How many words are needed for so many slots.
    pub(super) fn words(slots: usize) -> usize {
        slots.div_ceil(64)
    }

    /// An empty one; the words are zero, and belong to nobody else.
    pub(super) fn new(bits: &'static [AtomicU64]) -> Self {
        Self { count: AtomicUsize::new(0), bits }
    }

    /// Puts in a slot that is not there.
    pub(super) fn insert(&self, index: usize) {
        let word = &self.bits[index / 64];
        let bits = word.load(Ordering::Relaxed);
        debug_assert!(bits & 1 << (index % 64) == 0);
        word.store(bits | 1 << (index % 64), Ordering::Relaxed);
        self.count.store(self.count.load(Ordering::Relaxed) + 1, Ordering::Relaxed);
    }

    /// Takes out the lowest.
    pub(super) fn pop(&self) -> Option<usize> {
        let count = self.count.load(Ordering::Relaxed).checked_sub(1)?;
        let found = |(_, word): &(usize, &AtomicU64)| word.load(Ordering::Relaxed) != 0;
        let (place, word) = self.bits.iter().enumerate().find(found)?;
        let bits = word.load(Ordering::Relaxed);
        word.store(bits & (bits - 1), Ordering::Relaxed);
        self.count.store(count, Ordering::Relaxed);
        Some(place * 64 + bits.trailing_zeros() as usize)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_taken_is_zero_and_apart_also_across_chunks() {
        let mut books = Books::new();
        let taken: Vec<_> = (0..3 * CHUNK / 1000).map(|_| books.take::<[u32; 3]>(123).unwrap()).collect();
        for (index, &(first, words)) in taken.iter().enumerate() {
            // SAFETY: it was taken for such an array, which zeroes are, and is nobody else's.
            assert_eq!(unsafe { first.read() }, [0; 3]);
            assert!(words.len() == 123 && words.iter().all(|word| word.load(Ordering::Relaxed) == 0));
            // SAFETY: as above.
            unsafe { first.write([u32::MAX; 3]) };
            words.iter().for_each(|word| word.store(index as u64 + 1, Ordering::Relaxed));
        }
        for (index, (_, words)) in taken.iter().enumerate() {
            assert!(words.iter().all(|word| word.load(Ordering::Relaxed) == index as u64 + 1));
        }
    }

    #[test]
    fn more_than_a_chunk_is_handed_out_in_one_piece() {
        let (_, words) = Books::new().take::<u8>(CHUNK).unwrap();
        assert_eq!(words[CHUNK - 1].load(Ordering::Relaxed), 0);
    }

    #[test]
    fn a_set_gives_out_what_was_put_in_the_lowest_first() {
        let (_, words) = Books::new().take::<u64>(SlotSet::words(130)).unwrap();
        let set = SlotSet::new(words);
        assert_eq!(set.pop(), None);
        [129, 64, 0, 63].iter().for_each(|&index| set.insert(index));
        assert_eq!(set.pop(), Some(0));
        set.insert(1);
        assert_eq!([(); 5].map(|()| set.pop()), [Some(1), Some(63), Some(64), Some(129), None]);
    }
}
