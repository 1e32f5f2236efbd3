//! Which free stack is handed out next: the thread's own hottest, then the depot's, then a newly cut one.
//!
//! A thread keeps up to [`CACHED`] free stacks with their pages, fewer of large ones ([`cached`]); when it has more, half of them
//! go to the depot, which every thread shares and which keeps address space and guards but no memory. A worker keeps more if it asks for
//! those again that it has given away, until it has nothing to do.
//!
//! # Invariants
//! - A stack is in one place: in use, a thread's spare, in one cache, or in one depot.
//! - Stacks in a depot have given their pages back.

use std::cell::Cell;
use std::io;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use super::region::{Region, Stack};
use super::{StackSize, overflow, sys};

/// Free stacks a thread keeps with their pages, per size, if they are no larger than the default.
///
/// A batch of a thousand tasks that all wait needs a thousand stacks at once, again and again; giving their pages back
/// each time would cost a system call and a page fault a task.
const CACHED: usize = 1024;

/// As many bytes of larger ones, each of which may have been used to the last page; and a few in any case.
const CACHED_BYTES: usize = CACHED * super::DEFAULT_STACK_SIZE;
const LEAST_CACHED: usize = 8;

/// The most that a worker keeps, however often it asks: so many times what other threads do.
const MOST: usize = 128;

/// How many free stacks of a size a thread keeps with their pages.
fn cached(size: StackSize) -> usize {
    (CACHED_BYTES / size.bytes()).clamp(LEAST_CACHED, CACHED)
}

/// The bytes of the first region of a size, and the most that later ones double to.
const FIRST_REGION: usize = if cfg!(miri) { 1 << 20 } else { 16 << 20 };
const LARGEST_REGION: usize = 512 << 20;

/// After how many stacks given back the allocator is asked to give pages back as well. What was allocated for so many
/// coroutines lies in its free lists, and glibc's keeps that.
const TRIM_EVERY: usize = 1 << 16;

static CUT: AtomicUsize = AtomicUsize::new(0);

/// How many stacks were ever cut.
pub(super) fn stacks_cut() -> usize {
    CUT.load(Ordering::Relaxed)
}

/// What all threads share of the stacks of one size.
struct Depot {
    size: StackSize,
    shelf: Mutex<Shelf>,
}

struct Shelf {
    /// All of this size, each with its free slots.
    regions: Vec<&'static Region>,
    /// The region that new slots are cut from, and the next slot in it.
    current: Option<(&'static Region, usize)>,
    /// Bytes of the region to reserve next.
    next_region: usize,
    /// How many stacks were ever given back.
    returned: usize,
}

impl Shelf {
    /// A free stack without pages.
    fn take(&mut self) -> Option<Stack> {
        let (region, index) = self.regions.iter().find_map(|region| Some((region, region.cold.pop()?)))?;
        // SAFETY: it was put in by `put`, which took the slot's only stack.
        Some(unsafe { region.stack(index) })
    }

    /// Keeps a stack that has no pages. True if the allocator shall be asked for its pages now.
    fn put(&mut self, stack: Stack) -> bool {
        let (region, index) = stack.into_slot();
        region.cold.insert(index);
        self.returned += 1;
        self.returned.is_multiple_of(TRIM_EVERY)
    }
}

/// One for each size that was asked for.
static DEPOTS: Mutex<Vec<&'static Depot>> = Mutex::new(Vec::new());

fn depots() -> MutexGuard<'static, Vec<&'static Depot>> {
    DEPOTS.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Keeps other threads from the depots, until it is dropped: for the time of a fork.
#[cfg(feature = "runtime")]
pub(crate) struct Locked {
    _shelves: Vec<MutexGuard<'static, Shelf>>,
    _depots: MutexGuard<'static, Vec<&'static Depot>>,
}

#[cfg(feature = "runtime")]
pub(crate) fn lock() -> Locked {
    let depots = depots();
    let shelves = depots.iter().map(|&depot| depot.shelf());
    Locked { _shelves: shelves.collect(), _depots: depots }
}

impl Depot {
    /// The depot for `size`, made when it is first asked for.
    fn of(size: StackSize) -> &'static Self {
        let mut depots = depots();
        if let Some(depot) = depots.iter().find(|depot| depot.size == size) {
            return depot;
        }
        let shelf = Shelf { regions: Vec::new(), current: None, next_region: FIRST_REGION, returned: 0 };
        let depot = Box::leak(Box::new(Self { size, shelf: Mutex::new(shelf) }));
        depots.push(depot);
        depot
    }

    fn shelf(&self) -> MutexGuard<'_, Shelf> {
        self.shelf.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn take(&self) -> io::Result<Stack> {
        let mut shelf = self.shelf();
        if let Some(stack) = shelf.take() {
            return Ok(stack);
        }
        let (region, index) = match shelf.current {
            Some((region, index)) if index < region.slots() => (region, index),
            _ => {
                overflow::install();
                let region = Region::reserve(self.size, shelf.next_region / self.size.bytes())?;
                shelf.next_region = (shelf.next_region * 2).min(LARGEST_REGION);
                shelf.regions.push(region);
                (region, 0)
            }
        };
        shelf.current = Some((region, index));
        // SAFETY: `index` is below the region's count, and is passed on only after it succeeded, under the lock.
        let stack = unsafe { region.cut(index) }?;
        shelf.current = Some((region, index + 1));
        CUT.fetch_add(1, Ordering::Relaxed);
        Ok(stack)
    }

    /// Takes the first `count` of `free`.
    fn put(&self, free: &mut Vec<Stack>, count: usize) {
        Stack::discard_all(&mut free[..count]);
        let mut shelf = self.shelf();
        let mut trim = false;
        for stack in free.drain(..count) {
            trim |= shelf.put(stack);
        }
        drop(shelf);
        if trim {
            sys::trim_heap();
        }
    }
}

/// The stack that a thread gave back last, before those of its cache: most are asked for again at once, and this takes a third
/// of the instructions. It has no destructor; the cache takes what is in it when that is dropped.
pub(crate) struct Spare {
    size: Cell<StackSize>,
    stack: Cell<Option<Stack>>,
    /// Whether there is a cache that will be dropped.
    is_open: Cell<bool>,
}

impl Spare {
    pub(crate) const fn new() -> Self {
        Self { size: Cell::new(StackSize::DEFAULT), stack: Cell::new(None), is_open: Cell::new(false) }
    }

    /// Hands the stack out, if there is one of this size.
    #[inline(always)]
    pub(crate) fn take(&self, size: StackSize) -> Option<Stack> {
        if self.size.get() == size { self.stack.take() } else { None }
    }

    /// Keeps a stack that nobody runs on. It comes back if there is one already.
    #[inline(always)]
    pub(crate) fn put(&self, size: StackSize, stack: Stack) -> Option<Stack> {
        let kept = self.stack.take();
        if kept.is_some() || !self.is_open.get() {
            self.stack.set(kept);
            return Some(stack);
        }
        self.size.set(size);
        self.stack.set(Some(stack));
        None
    }

    /// Lets it keep a stack from now on.
    pub(crate) fn open(&self) {
        self.is_open.set(true);
    }

    /// Takes out what is in it. It keeps nothing from now on.
    pub(crate) fn close(&self) -> Option<(StackSize, Stack)> {
        self.is_open.set(false);
        self.stack.take().map(|stack| (self.size.get(), stack))
    }
}

/// One thread's free stacks, hottest last.
#[derive(Default)]
pub(crate) struct StackCache {
    sizes: Vec<CachedSize>,
    /// Whether it keeps more if it is asked for more: somebody calls `shrink` when the thread has nothing to do.
    adapts: bool,
}

struct CachedSize {
    size: StackSize,
    depot: &'static Depot,
    /// Has room for `limit` at most.
    free: Vec<Stack>,
    /// How many every thread keeps.
    least: usize,
    /// How many are kept.
    limit: usize,
    /// How many went to the depot and have not been asked for since; of a cache that adapts.
    given: usize,
}

impl CachedSize {
    /// Notes that there was none. If one was given away before, one more will be kept.
    #[cold]
    fn miss(&mut self) {
        if self.given > 0 {
            self.given -= 1;
            self.limit = (self.limit + 1).min(MOST * self.least);
        }
    }

    /// How many go to the depot at once.
    fn batch(&self) -> usize {
        self.least / 2
    }

    /// How many there are beyond what every thread keeps.
    #[cfg(feature = "runtime")]
    fn extra(&self) -> usize {
        self.free.len().saturating_sub(self.least)
    }
}

impl StackCache {
    pub(crate) const fn new() -> Self {
        Self { sizes: Vec::new(), adapts: false }
    }

    /// Makes it keep what it is asked for again and again.
    #[cfg(feature = "runtime")]
    pub(crate) fn adapt(&mut self) {
        self.adapts = true;
    }

    /// Hands out a free stack, if this thread keeps one.
    #[inline(always)]
    pub(crate) fn take(&mut self, size: StackSize) -> Option<Stack> {
        let cached = self.sizes.iter_mut().find(|cached| cached.size == size)?;
        let stack = cached.free.pop();
        if stack.is_none() {
            cached.miss();
        }
        stack
    }

    /// Whether it keeps more than every thread does.
    #[cfg(feature = "runtime")]
    pub(crate) fn is_large(&self) -> bool {
        self.sizes.iter().any(|cached| cached.extra() > 0)
    }

    /// Gives some of what it keeps beyond that back.
    #[cfg(feature = "runtime")]
    pub(crate) fn shrink(&mut self) {
        let Some(cached) = self.sizes.iter_mut().find(|cached| cached.extra() > 0) else { return };
        let count = cached.extra().min(cached.batch());
        let mut free = cached.free.split_off(cached.free.len() - count);
        cached.depot.put(&mut free, count);
        (cached.limit, cached.given) = (cached.least, 0);
        if cached.extra() == 0 {
            // `put` fills what room there is.
            cached.free.shrink_to(cached.least);
        }
    }

    /// Gives all that it keeps back.
    pub(crate) fn clear(&mut self) {
        for mut cached in self.sizes.drain(..) {
            let count = cached.free.len();
            cached.depot.put(&mut cached.free, count);
        }
    }

    /// Takes back a stack that nobody runs on.
    #[inline(always)]
    pub(crate) fn put(&mut self, size: StackSize, stack: Stack) {
        match self.sizes.iter_mut().find(|cached| cached.size == size) {
            Some(cached) if cached.free.len() < cached.free.capacity() => cached.free.push(stack),
            _ => self.put_slow(size, stack),
        }
    }

    /// Where there are as many as there is room for.
    #[cold]
    #[inline(never)]
    fn put_slow(&mut self, size: StackSize, stack: Stack) {
        let index = self.sizes.iter().position(|cached| cached.size == size).unwrap_or_else(|| {
            let (depot, least) = (Depot::of(size), cached(size));
            self.sizes.push(CachedSize { size, depot, free: Vec::new(), least, limit: least, given: 0 });
            self.sizes.len() - 1
        });
        let cached = &mut self.sizes[index];
        let kept = cached.free.len();
        if kept >= cached.limit {
            let batch = cached.batch();
            cached.depot.put(&mut cached.free, batch);
            cached.given += if self.adapts { batch } else { 0 };
        } else {
            // It doubles, as a vector does by itself, but to no more than is kept: `put` fills what room there is.
            cached.free.reserve_exact(kept.max(4).min(cached.limit - kept));
        }
        cached.free.push(stack);
    }
}

/// Hands out a stack that no thread keeps, cutting a new one if there is none.
///
/// # Errors
/// The system has no memory, no address space or no mapping left; nothing was changed.
#[cold]
#[inline(never)]
pub(crate) fn take_uncached(size: StackSize) -> io::Result<Stack> {
    Depot::of(size).take()
}

/// Takes back a stack where the thread's cache is gone already, as in a thread-local's destructor.
#[cold]
#[inline(never)]
pub(crate) fn put_uncached(size: StackSize, stack: Stack) {
    Depot::of(size).put(&mut vec![stack], 1);
}

impl Drop for StackCache {
    fn drop(&mut self) {
        self.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A size that no other test uses, so that the counts below are this test's own.
    const SIZE: usize = 20 * 4096;

    #[test]
    fn a_freed_stack_is_the_next_one_handed_out() {
        let size = StackSize::from_bytes(SIZE);
        let mut cache = StackCache::new();
        let (first, second) = (take_uncached(size).unwrap(), take_uncached(size).unwrap());
        let (top, other) = (first.base(), second.base());
        assert_ne!(top, other);
        cache.put(size, second);
        cache.put(size, first);
        assert_eq!(cache.take(size).unwrap().base(), top);
    }

    #[test]
    fn the_caches_overflow_goes_to_the_depot_and_comes_back() {
        let size = StackSize::from_bytes(SIZE + 4096);
        let mut cache = StackCache::new();
        let stacks: Vec<_> = (0..CACHED + 10).map(|_| take_uncached(size).unwrap()).collect();
        let mut tops: Vec<_> = stacks.iter().map(Stack::base).collect();
        stacks.into_iter().for_each(|stack| cache.put(size, stack));
        assert!(tops.contains(&take_uncached(size).unwrap().base()), "a new stack was cut though some were free");
        tops.sort_unstable();
        tops.dedup();
        assert_eq!(tops.len(), CACHED + 10);
    }

    #[cfg(feature = "runtime")]
    #[test]
    fn a_cache_that_adapts_keeps_what_is_asked_for_again_until_it_shrinks() {
        const COUNT: usize = 4 * CACHED;
        let size = StackSize::from_bytes(SIZE + 2 * 4096);
        for adapts in [false, true] {
            let mut cache = StackCache::new();
            if adapts {
                cache.adapt();
            }
            let mut burst = || {
                let take = |_| cache.take(size).unwrap_or_else(|| take_uncached(size).unwrap());
                let stacks: Vec<_> = (0..COUNT).map(take).collect();
                stacks.into_iter().for_each(|stack| cache.put(size, stack));
                cache.sizes[0].free.len()
            };
            assert!(burst() <= CACHED, "nobody has asked again");
            assert!(if adapts { burst() >= COUNT - CACHED / 2 } else { burst() <= CACHED });
            assert_eq!(cache.is_large(), adapts);
            while cache.is_large() {
                cache.shrink();
            }
            assert!(cache.sizes[0].free.capacity() < 2 * CACHED);
        }
    }

    #[test]
    #[cfg_attr(miri, ignore = "it asks the allocator for hundreds of MiB")]
    fn large_stacks_are_kept_by_their_bytes() {
        const SIZE: usize = 8 << 20;
        let size = StackSize::from_bytes(SIZE);
        let mut cache = StackCache::new();
        let count = CACHED_BYTES / SIZE + 2 * LEAST_CACHED;
        let stacks: Vec<_> = (0..count).map(|_| take_uncached(size).unwrap()).collect();
        for stack in stacks {
            cache.put(size, stack);
            assert!(cache.sizes[0].free.len() * SIZE <= CACHED_BYTES.max(LEAST_CACHED * SIZE));
        }
        assert_eq!(cached(StackSize::from_bytes(super::super::MAX_STACK_SIZE)), LEAST_CACHED);
        assert_eq!(cached(StackSize::DEFAULT), CACHED);
    }

    #[test]
    fn sizes_are_whole_pages_within_the_limits() {
        assert_eq!(StackSize::from_bytes(1).bytes(), super::super::MIN_STACK_SIZE);
        assert_eq!(StackSize::from_bytes(20_000).bytes(), 20_480);
        assert_eq!(StackSize::from_bytes(usize::MAX).bytes(), super::super::MAX_STACK_SIZE);
    }
}
