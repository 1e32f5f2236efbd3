//! Reservations, the slots cut from them, and the table that the fault handler reads.
//!
//! # Invariants
//! - A region is never unmapped, so an address once found in the table stays a stack's address.
//! - [`Stack`] is the only owner of its slot: two live `Stack`s never share one.
//! - The table only grows, and an entry is complete before its index can be seen.

use std::io;
use std::mem::size_of;
#[cfg(not(any(miri, osier_threads)))]
use std::num::NonZeroUsize;
use std::ptr::{self, NonNull};
use std::sync::atomic::{AtomicPtr, AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};

use super::books::{Books, SlotSet};
use super::{StackSize, exhausted, sys};

/// Bytes of guard below each stack, before they are rounded to whole pages.
///
/// Rust probes every page of a large frame, C does not: glibc 2.36 has unprobed frames of 33 KiB (`vfwprintf`), and takes up
/// to 64 KiB by `alloca` at a time, which would step over a guard of one page.
pub(crate) const LEAST_GUARD: usize = 64 * 1024;

/// Bytes of guard below each stack.
pub(super) fn guard_bytes() -> usize {
    LEAST_GUARD.next_multiple_of(sys::page_size())
}

/// How far apart the first frames of neighbouring slots begin, and after how many slots that repeats. Slots lie at
/// multiples of a page, so without a shift the hottest lines of all stacks would share a few sets of the first cache.
const SHIFT: usize = 64;
const SHIFTS: usize = 32;

/// Bytes right above each stack's base for what its holder keeps: a carrier. They lie on a page that is touched anyway, and
/// no frame ever does.
const HEAD: usize = if cfg!(feature = "runtime") { 256 } else { 0 };

/// The least size of a page. Slots end at a multiple of it, and all that lies above a base fits in one.
const PAGE: usize = 4096;
const _: () = assert!(size_of::<Label>() + HEAD + (SHIFTS - 1) * SHIFT < PAGE);

/// What lies at the very top of each slot: whose stack it is. Written at each start, read by the fault handler.
#[repr(C, align(64))]
#[derive(Debug)]
pub(super) struct Label {
    /// The name's bytes; they live as long as the coroutine runs.
    name: AtomicPtr<u8>,
    length: AtomicUsize,
}

impl Label {
    /// The name last written, for the fault handler.
    ///
    /// # Safety
    /// - The coroutine whose stack this is still runs, so its name is alive.
    pub(super) unsafe fn name(&self) -> &[u8] {
        let name = self.name.load(Ordering::Relaxed);
        if name.is_null() {
            return b"?";
        }
        // SAFETY: pointer and length were taken from one `&str` by `NameTag::set` on this thread, and the caller
        // vouches that it is alive.
        unsafe { std::slice::from_raw_parts(name, self.length.load(Ordering::Relaxed)) }
    }
}

/// One reservation: `count` slots of `slot` bytes each.
#[derive(Debug)]
pub(super) struct Region {
    start: NonNull<u8>,
    slot: usize,
    guard: usize,
    count: usize,
    /// Usable bytes of each slot, as asked for.
    pub(super) usable: usize,
    /// The slots that are free and have no pages; its depot's.
    pub(super) cold: SlotSet,
}

// SAFETY: but for `cold`, which may be used by any thread, a region is never changed after it was made, and the memory it
// points to is handed out slot by slot.
unsafe impl Send for Region {}
// SAFETY: as for `Send`.
unsafe impl Sync for Region {}

/// The most regions a process may have. They double in size up to 512 MiB, so this is over a terabyte of stacks.
const TABLE: usize = 4096;
static REGIONS: [AtomicPtr<Region>; TABLE] = [const { AtomicPtr::new(std::ptr::null_mut()) }; TABLE];
/// Changed by who has the books.
static COUNT: AtomicUsize = AtomicUsize::new(0);
static BOOKS: Mutex<Books> = Mutex::new(Books::new());

/// How many regions there are.
pub(super) fn count() -> usize {
    COUNT.load(Ordering::Acquire)
}

impl Region {
    /// Reserves room for `count` stacks, or for as many as the system grants, and enters it in the table.
    pub(super) fn reserve(size: StackSize, count: usize) -> io::Result<&'static Self> {
        let usable = size.bytes();
        let guard = guard_bytes();
        let slot = guard + usable + sys::page_size();
        let mut books = BOOKS.lock().unwrap_or_else(PoisonError::into_inner);
        let index = COUNT.load(Ordering::Relaxed);
        let Some(entry) = REGIONS.get(index) else {
            return Err(exhausted("more regions", &io::Error::from(io::ErrorKind::OutOfMemory)));
        };
        let mut count = count.max(1);
        let start = loop {
            match sys::reserve(slot * count) {
                Ok(start) => break start,
                // An address-space limit may have room for fewer.
                Err(_) if count > 1 => count /= 2,
                Err(error) => return Err(exhausted("to reserve memory", &error)),
            }
        };
        let (place, bits) = match books.take::<Self>(SlotSet::words(count)) {
            Ok(taken) => taken,
            Err(error) => {
                // SAFETY: it was reserved just now, and nobody has heard of it.
                unsafe { sys::release(start, slot * count) };
                return Err(exhausted("to reserve memory", &error));
            }
        };
        // SAFETY: it was taken for this, is nobody else's, and stays for ever.
        let region: &'static Self = unsafe {
            place.write(Self { start, slot, guard, count, usable, cold: SlotSet::new(bits) });
            place.as_ref()
        };
        // Release: pairs with the Acquire in `find`, which then sees the fields.
        entry.store(ptr::from_ref(region).cast_mut(), Ordering::Release);
        // Release: pairs with the Acquire in `count`.
        COUNT.store(index + 1, Ordering::Release);
        Ok(region)
    }

    pub(super) fn slots(&self) -> usize {
        self.count
    }

    /// Cuts slot `index` and guards it.
    ///
    /// # Safety
    /// - `index < self.slots()`, and no other call for this region has succeeded with it.
    pub(super) unsafe fn cut(&'static self, index: usize) -> io::Result<Stack> {
        debug_assert!(index < self.count);
        // SAFETY: the caller keeps `index` below `count`, so the slot lies in the mapping.
        let limit = unsafe { self.start.add(index * self.slot) };
        // SAFETY: the slot lies in this region, and nobody else has it.
        unsafe { sys::guard(limit, self.guard) }.map_err(|error| exhausted("a guard page", &error))?;
        // SAFETY: above the guard of a slot that nobody else has.
        sys::tell_valgrind(unsafe { limit.add(self.guard) }, self.slot - self.guard);
        // SAFETY: it was cut just now.
        Ok(unsafe { self.stack(index) })
    }

    /// The stack of slot `index`.
    ///
    /// # Safety
    /// - The slot was cut, and there is no other stack of it.
    pub(super) unsafe fn stack(&'static self, index: usize) -> Stack {
        debug_assert!(index < self.count);
        // SAFETY: the slot lies in the mapping.
        let limit = unsafe { self.start.add(index * self.slot) };
        // SAFETY: the topmost page of the slot has room for the label, the largest shift and the head.
        let base = unsafe { limit.add(self.slot - size_of::<Label>() - index % SHIFTS * SHIFT - HEAD) };
        Stack { base, region: self }
    }

    /// The label of slot `index`, which is one of this region's.
    fn label(&self, index: usize) -> &'static Label {
        debug_assert!(index < self.count);
        let offset = (index + 1) * self.slot - size_of::<Label>();
        // SAFETY: the label is at the top of a slot of this region, which is mapped for ever, zeroed at first, and only
        // ever holds atomics.
        unsafe { self.start.add(offset).cast::<Label>().as_ref() }
    }

    /// The label of the slot whose guard `address` lies in, if it lies in one.
    pub(super) fn label_of_guard(&self, address: usize) -> Option<&'static Label> {
        let offset = address.checked_sub(self.start.addr().get())?;
        if offset / self.slot >= self.count || offset % self.slot >= self.guard {
            return None;
        }
        Some(self.label(offset / self.slot))
    }

    /// Finds the region and the label for a fault at `address`. Takes no lock and allocates nothing.
    pub(super) fn find(address: usize) -> Option<(&'static Self, &'static Label)> {
        REGIONS[..count()].iter().find_map(|entry| {
            // Acquire: pairs with the Release in `reserve`.
            let region = entry.load(Ordering::Acquire);
            // SAFETY: entries are null or point to leaked, complete regions.
            let region = unsafe { region.as_ref() }?;
            region.label_of_guard(address).map(|label| (region, label))
        })
    }
}

/// The region of the stack that the caller runs on, if it is one of ours, and how far above the slot's lowest address the
/// caller's frame lies.
fn here() -> Option<(&'static Region, usize)> {
    let here = 0_u8;
    slot_of((&raw const here).addr())
}

/// The region of the stack that `address` lies in, if it is one of ours, and how far above the slot's lowest address.
fn slot_of(address: usize) -> Option<(&'static Region, usize)> {
    REGIONS[..count()].iter().find_map(|entry| {
        // Acquire: pairs with the Release in `reserve`.
        let region = entry.load(Ordering::Acquire);
        // SAFETY: entries are null or point to leaked, complete regions.
        let region = unsafe { region.as_ref() }?;
        let offset = address.checked_sub(region.start.addr().get())?;
        (offset / region.slot < region.count).then_some((region, offset % region.slot))
    })
}

/// The lowest address, guard included, of the stack with this base.
#[cfg(not(any(miri, osier_threads)))]
#[cold]
pub(crate) fn limit_of(base: NonZeroUsize) -> NonZeroUsize {
    let (_, above) = slot_of(base.get()).expect("a stack lies in a region");
    NonZeroUsize::new(base.get() - above).expect("nothing is mapped at null")
}

/// The usable bytes of the stack that the caller runs on, if it is one of ours.
#[cfg(feature = "runtime")]
pub(crate) fn usable_here() -> Option<usize> {
    here().map(|(region, _)| region.usable)
}

/// How many bytes are left of the stack that the caller runs on, down to its guard, if it is one of ours.
pub(crate) fn left_here() -> Option<usize> {
    here().map(|(region, above)| above.saturating_sub(region.guard))
}

/// The addresses of the stack that `address` lies in, without its guard, if it is one of ours. They can be read for ever.
#[cfg(all(feature = "backtrace", target_os = "linux", any(target_arch = "x86_64", target_arch = "aarch64")))]
pub(crate) fn slot_around(address: usize) -> Option<std::ops::Range<usize>> {
    REGIONS[..count()].iter().find_map(|entry| {
        // Acquire: pairs with the Release in `reserve`.
        let region = entry.load(Ordering::Acquire);
        // SAFETY: entries are null or point to leaked, complete regions.
        let region = unsafe { region.as_ref() }?;
        let start = region.start.addr().get();
        let index = address.checked_sub(start)? / region.slot;
        let slot = start + index * region.slot..start + (index + 1) * region.slot;
        let usable = slot.start + region.guard..slot.end;
        (index < region.count && usable.contains(&address)).then_some(usable)
    })
}

/// Says whose stack it is.
#[derive(Clone, Copy, Debug)]
pub(crate) struct NameTag(&'static Label);

impl NameTag {
    /// Writes whose stack this is.
    ///
    /// The caller keeps `name` alive until it is replaced or the coroutine has ended: an overflow prints it.
    #[inline(always)]
    pub(crate) fn set(self, name: &str) {
        self.0.name.store(name.as_ptr().cast_mut(), Ordering::Relaxed);
        self.0.length.store(name.len(), Ordering::Relaxed);
    }
}

/// A guarded stack that nobody runs on, or the right to the one a coroutine runs on.
///
/// Two words, so that it travels in registers: as three it went through memory, where it was read in larger pieces than it
/// had been written in, which stalls the processor.
#[derive(Debug)]
pub(crate) struct Stack {
    /// The highest address: frames begin right below it.
    base: NonNull<u8>,
    region: &'static Region,
}

// SAFETY: a `Stack` is plain memory with one owner; nothing in it belongs to a thread while no coroutine runs on it.
unsafe impl Send for Stack {}

impl Stack {
    /// The place of the name that an overflow prints.
    #[inline(always)]
    pub(crate) fn name_tag(&self) -> NameTag {
        // SAFETY: the label is the last in the slot, which is mapped for ever, zeroed at first, and there only ever holds
        // atomics.
        NameTag(unsafe { self.base.add(self.above_base() - size_of::<Label>()).cast().as_ref() })
    }

    /// Room for what the stack's holder keeps beside the frames: `T` may be written there, and stay as long as the stack
    /// is the holder's. Nothing else is written there.
    #[cfg(feature = "runtime")]
    pub(crate) fn head<T>(&self) -> NonNull<T> {
        const { assert!(size_of::<T>() <= HEAD && align_of::<T>() <= SHIFT) }
        self.base.cast()
    }

    /// Bytes from the base to the end of the slot, which is the next multiple of a page.
    #[inline(always)]
    fn above_base(&self) -> usize {
        PAGE - self.base.addr().get() % PAGE
    }

    /// Usable bytes, as asked for.
    #[cfg(any(miri, osier_threads))]
    pub(crate) fn usable(&self) -> usize {
        self.region.usable
    }

    /// The highest address: frames begin right below it.
    #[cfg(not(any(miri, osier_threads)))]
    #[inline(always)]
    pub(crate) fn base(&self) -> NonZeroUsize {
        self.base.addr()
    }

    /// The lowest address, guard included.
    #[cfg(not(any(miri, osier_threads)))]
    #[inline(always)]
    pub(crate) fn limit(&self) -> NonZeroUsize {
        self.bottom().addr()
    }

    /// The slot's lowest address, where the guard begins.
    #[inline(always)]
    fn bottom(&self) -> NonNull<u8> {
        // SAFETY: the slot lies in the region's mapping, whose bytes it ends at.
        unsafe { self.top().sub(self.region.slot) }
    }

    /// What [`Region::stack`] makes it of again.
    pub(super) fn into_slot(self) -> (&'static Region, usize) {
        (self.region, self.index())
    }

    fn index(&self) -> usize {
        (self.base.addr().get() - self.region.start.addr().get()) / self.region.slot
    }

    /// Gives the memory of all of them back; the slots stay reserved and guarded.
    pub(super) fn discard_all(stacks: &mut [Self]) {
        stacks.sort_unstable_by_key(|stack| stack.base);
        // Those that lie side by side go in one piece, with the guards between them, which survive it.
        let runs = stacks.chunk_by(|lower, upper| lower.top() == upper.bottom());
        let ranges: Vec<_> = runs
            .map(|run| {
                let (lowest, highest) = (&run[0], &run[run.len() - 1]);
                // SAFETY: a slot is longer than its guard.
                let at = unsafe { lowest.bottom().add(lowest.region.guard) };
                sys::Range { at, bytes: highest.top().addr().get() - at.addr().get() }
            })
            .collect();
        // SAFETY: nobody runs on these stacks, so nothing above their guards is wanted.
        unsafe { sys::discard(&ranges) };
    }

    /// The slot's end.
    fn top(&self) -> NonNull<u8> {
        // SAFETY: the slot lies in the region's mapping, which may end here.
        unsafe { self.base.add(self.above_base()) }
    }
}
