//! The memory of tasks and generators: a thread keeps what those that ended leave, for the next ones.
//!
//! They come and go by the million, and most of them on the thread that made them. The allocator's own cache of a thread
//! holds a handful of blocks of a size (seven, in glibc), so a program that spawns a thousand tasks and joins them goes to
//! its slow path each time: 40 of the 115 ns of a spawn and join. And its fast path takes five times the instructions of
//! this one: a fifth of what a generator takes that is made, run once and dropped.
//!
//! ```text
//!   class 0  1  2  …  31         a block of class n has 24 + 16 · n bytes, aligned to 16;
//!         │  │                   what is larger goes straight to the allocator
//!         ▼  ▼
//!        free → free → null
//! ```
//!
//! These are the sizes that glibc has, which adds a word to a multiple of 16: with classes of 64 bytes a task of 184 took 208.
//!
//! # Invariants
//! - A block belongs to no thread: it was allocated by its class's layout, and goes back with it, on any thread.

use std::alloc::{self, Layout, handle_alloc_error};
use std::cell::Cell;
use std::ptr::NonNull;

use super::current;

/// What allocators give at no cost, and the unit of sizes.
const ALIGN: usize = 16;
/// The bytes of the first class, and how many classes there are.
const LEAST: usize = 24;
const CLASSES: usize = 32;
/// How many free blocks of a class a thread keeps. Checkers of memory shall see each block freed.
const KEPT: u32 = if cfg!(any(miri, osier_asan)) { 0 } else { 1024 };

/// Asks the processor for what lies at `address`, and goes on.
#[cfg(feature = "runtime")]
#[inline(always)]
pub(crate) fn prefetch(address: usize) {
    #[cfg(all(target_arch = "x86_64", not(miri)))]
    // SAFETY: every x86-64 has it, and it changes nothing and fails nowhere, whatever the address.
    unsafe {
        use std::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
        _mm_prefetch::<_MM_HINT_T0>(std::ptr::without_provenance(address));
    }
    #[cfg(not(all(target_arch = "x86_64", not(miri))))]
    let _ = address;
}

/// The free blocks of one thread.
#[derive(Debug)]
pub(super) struct BlockCache {
    classes: [Class; CLASSES],
}

#[derive(Debug)]
struct Class {
    /// Each free block's first word points to the next.
    first: Cell<Option<NonNull<Free>>>,
    count: Cell<u32>,
}

#[derive(Debug)]
struct Free {
    next: Option<NonNull<Free>>,
}

/// The class of what is laid out so; `None` if it has none.
const fn class_of(layout: Layout) -> Option<usize> {
    let class = layout.size().saturating_sub(LEAST).div_ceil(ALIGN);
    if layout.align() <= ALIGN && class < CLASSES { Some(class) } else { None }
}

fn layout_of(class: usize) -> Layout {
    Layout::from_size_align(LEAST + ALIGN * class, ALIGN).expect("a few cache lines")
}

/// Allocates room for a `T`, to be written by the caller: moved here, a large value would be copied once more.
#[inline]
pub(crate) fn room_for<T>() -> NonNull<T> {
    let room = match const { class_of(Layout::new::<T>()) } {
        Some(class) => current::with_blocks(|blocks| blocks.classes[class].take())
            .flatten()
            .unwrap_or_else(|| allocate(layout_of(class))),
        None => allocate(Layout::new::<T>()),
    };
    room.cast()
}

/// Drops a value, and gives its room back.
///
/// # Safety
/// - `value` lies in what `room_for` gave for this `T`, and nobody uses it afterwards.
#[inline]
pub(crate) unsafe fn remove<T>(value: NonNull<T>) {
    // SAFETY: the caller's promise.
    unsafe { value.drop_in_place() };
    let room = value.cast::<u8>();
    let layout = match const { class_of(Layout::new::<T>()) } {
        Some(class) => {
            if current::with_blocks(|blocks| blocks.classes[class].put(room)) == Some(true) {
                return;
            }
            layout_of(class)
        }
        None => Layout::new::<T>(),
    };
    // SAFETY: `room_for` allocated it with this layout.
    unsafe { alloc::dealloc(room.as_ptr(), layout) };
}

#[cold]
fn allocate(layout: Layout) -> NonNull<u8> {
    // SAFETY: what is kept here has a head: the size is not zero.
    NonNull::new(unsafe { alloc::alloc(layout) }).unwrap_or_else(|| handle_alloc_error(layout))
}

impl BlockCache {
    pub(super) const fn new() -> Self {
        Self { classes: [const { Class { first: Cell::new(None), count: Cell::new(0) } }; CLASSES] }
    }

    /// Gives all blocks back to the allocator.
    pub(super) fn clear(&self) {
        for (class, free) in self.classes.iter().enumerate() {
            while let Some(block) = free.take() {
                // SAFETY: blocks of this class were allocated with this layout.
                unsafe { alloc::dealloc(block.as_ptr(), layout_of(class)) };
            }
        }
    }
}

impl Class {
    #[inline]
    fn take(&self) -> Option<NonNull<u8>> {
        let first = self.first.get()?;
        // SAFETY: what is in the list is free memory that `put` wrote a link to.
        self.first.set(unsafe { first.as_ref() }.next);
        self.count.set(self.count.get() - 1);
        Some(first.cast())
    }

    /// Keeps a block, unless there are enough.
    #[inline]
    fn put(&self, block: NonNull<u8>) -> bool {
        if self.count.get() >= KEPT {
            return false;
        }
        let free = block.cast::<Free>();
        // SAFETY: the block is nobody's, and of at least a word.
        unsafe { free.write(Free { next: self.first.get() }) };
        self.first.set(Some(free));
        self.count.set(self.count.get() + 1);
        true
    }
}

impl Drop for BlockCache {
    fn drop(&mut self) {
        self.clear();
    }
}

#[cfg(all(test, not(any(osier_loom, osier_asan, miri))))]
mod tests {
    use super::*;

    #[test]
    fn sizes_fall_into_classes_that_hold_them() {
        const MOST: usize = LEAST + ALIGN * (CLASSES - 1);
        for size in LEAST..=MOST {
            let class = class_of(Layout::from_size_align(size, 8).unwrap()).unwrap();
            assert!(size <= layout_of(class).size() && size + ALIGN > layout_of(class).size());
        }
        assert_eq!(class_of(Layout::new::<u8>()), Some(0));
        assert_eq!(class_of(Layout::new::<[u8; MOST + 1]>()), None);
        assert_eq!(class_of(Layout::from_size_align(8, 2 * ALIGN).unwrap()), None);
    }

    #[test]
    fn a_class_gives_back_what_it_was_given_and_no_more() {
        let cache = BlockCache::new();
        let class = &cache.classes[1];
        assert!(class.take().is_none());
        let blocks: Vec<_> = (0..=KEPT).map(|_| allocate(layout_of(1))).collect();
        let kept: Vec<_> = blocks.iter().map(|&block| class.put(block)).collect();
        assert_eq!(kept.iter().filter(|&&kept| kept).count(), KEPT as usize);
        assert_eq!(
            class.take(),
            Some(blocks[KEPT as usize - 1]),
            "the last one, which is still in the processor's cache"
        );
        for block in [blocks[KEPT as usize - 1], blocks[KEPT as usize]] {
            // SAFETY: allocated above, and in no list.
            unsafe { alloc::dealloc(block.as_ptr(), layout_of(1)) };
        }
    }

    #[test]
    fn what_is_removed_is_dropped_once() {
        fn place_and_remove<T>(value: T) {
            let room = room_for::<T>();
            // SAFETY: there is room for it, and it is used no more.
            unsafe {
                room.write(value);
                remove(room);
            }
        }
        let count = std::rc::Rc::new(());
        place_and_remove((count.clone(), [0_u8; 2000]));
        place_and_remove(count.clone());
        assert_eq!(std::rc::Rc::strong_count(&count), 1);
    }
}
