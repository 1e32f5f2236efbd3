//! One worker's timers: a wheel, so that setting and cancelling one costs the same among a thousand and a million.
//!
//! Most timers never fire. So they lie unsorted in slots, by how far away they are, and are sorted only when their slot
//! comes up.
//!
//! ```text
//!   ticks of 65 µs, in digits of 6 bits:        … 000000 000000 010110 101001   the wheel's time
//!   a deadline's highest digit that differs     … 000000 000000 011001 ······   → level 1, slot 25
//!
//!   level 0   64 slots of a tick         due ←─ the slot that has come up, as a heap by exact deadline
//!   level 1   64 slots of 64 ticks       a slot that comes up is spread over the levels below it
//!     ⋮
//!   level 7
//! ```
//!
//! Whatever is on a lower level is due before whatever is on a higher one, and within a level the slots come up in order.
//! So the earliest deadline is in the first slot of the lowest level that is not empty.
//!
//! A slot may hold many, and timeouts that are set anew before they fire take out the earliest one all the time. So it is not
//! looked for then: its deadline stays the bound before which nothing is due, and only a look at the wheel after that time
//! finds the earliest of those that are left. Whoever sleeps until the bound wakes up once for nothing, at most.
//!
//! Only the worker's own thread touches it. An entry is a deadline and the task to notify. Varghese and Lauck, "Hashed and
//! Hierarchical Timing Wheels" (1987), scheme 7; the heap in front of it keeps deadlines exact.
//!
//! # Invariants
//! - An entry that is not in `due` has a tick later than the wheel's time.
//! - `due` may name entries that were removed: their slot is free, or has another `order`.
//! - No entry is due before `bound`; if it `is_exact`, one is due then.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::time::{Duration, Instant};

/// Names one entry, also after it has gone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct TimerKey {
    index: usize,
    order: u64,
}

/// A tick is two to this many nanoseconds.
const TICK_BITS: u32 = 16;
/// A level has two to this many slots.
const SLOT_BITS: u32 = 6;
const SLOTS: usize = 1 << SLOT_BITS;
/// Enough for 64 bits of nanoseconds: 584 years.
const LEVELS: usize = (u64::BITS - TICK_BITS).div_ceil(SLOT_BITS) as usize;
/// The room of how many entries stays when there are none.
const KEPT: usize = 1024;
/// No index.
const NONE: usize = usize::MAX;

/// See the module's page.
#[derive(Debug)]
pub(super) struct Timers<T> {
    /// What nanoseconds are counted from. Deadlines before that are due.
    origin: Instant,
    /// The wheel's time, in ticks.
    now: u64,
    entries: Vec<Entry<T>>,
    /// The first of the free entries, linked by `place`.
    free: usize,
    levels: Box<[Level]>,
    /// Deadline, order and index of what has come up.
    due: BinaryHeap<Reverse<(u64, u64, usize)>>,
    /// Counts entries made, so that equal deadlines fire in the order in which they were set.
    made: u64,
    /// How many entries there are.
    len: usize,
    /// In nanoseconds. Nothing while there are no entries.
    bound: u64,
    is_exact: bool,
    /// How many entries were looked at to find the earliest one.
    #[cfg(test)]
    looked_at: usize,
}

#[derive(Debug)]
struct Level {
    /// A bit for each slot that is not empty.
    occupied: u64,
    /// The entries of each slot, in no order. Not a list through the entries: that would touch one that was set long
    /// ago, and is in no cache, whenever one is set.
    slots: [Vec<usize>; SLOTS],
}

impl Level {
    fn new() -> Self {
        Self { occupied: 0, slots: [const { Vec::new() }; SLOTS] }
    }
}

#[derive(Debug)]
struct Entry<T> {
    /// In nanoseconds from the origin.
    deadline: u64,
    /// Unique; 0 in a free entry.
    order: u64,
    /// Its place in its slot; of a free entry, the next free one.
    place: usize,
    /// The level and the slot it is in, in one number; `DUE` if in none.
    slot: usize,
    /// `None` in a free entry.
    value: Option<T>,
}

const DUE: usize = usize::MAX;

impl<T> Timers<T> {
    pub(super) fn new() -> Self {
        Self {
            origin: Instant::now(),
            now: 0,
            entries: Vec::new(),
            free: NONE,
            levels: (0..LEVELS).map(|_| Level::new()).collect(),
            due: BinaryHeap::new(),
            made: 0,
            len: 0,
            bound: 0,
            is_exact: false,
            #[cfg(test)]
            looked_at: 0,
        }
    }

    /// When the earliest entry is due. May look at many; see [`next_look`](Self::next_look).
    pub(super) fn next_deadline(&mut self) -> Option<Instant> {
        if self.len == 0 {
            return None;
        }
        self.find_earliest();
        self.next_look()
    }

    /// When to ask next for what is due: nothing is before. Too early at most once, if what was due then was removed.
    pub(super) fn next_look(&self) -> Option<Instant> {
        if self.len == 0 {
            return None;
        }
        self.origin.checked_add(Duration::from_nanos(self.bound))
    }

    /// Makes the bound exact, if there is an entry.
    fn find_earliest(&mut self) {
        if self.is_exact {
            return;
        }
        self.drop_removed();
        let earliest = match self.due.peek() {
            Some(&Reverse((deadline, ..))) => Some(deadline),
            None => self.first_slot().and_then(|(level, slot)| {
                let slot = &self.levels[level].slots[slot];
                #[cfg(test)]
                {
                    self.looked_at += slot.len();
                }
                slot.iter().map(|&index| self.entries[index].deadline).min()
            }),
        };
        if let Some(earliest) = earliest {
            (self.bound, self.is_exact) = (earliest, true);
        }
    }

    /// Drops what was removed from the front of `due`.
    fn drop_removed(&mut self) {
        while let Some(&Reverse((_, order, index))) = self.due.peek()
            && self.entries[index].order != order
        {
            self.due.pop();
        }
    }

    /// The slot that comes up first.
    fn first_slot(&self) -> Option<(usize, usize)> {
        let (level, bits) = self.levels.iter().enumerate().find(|(_, level)| level.occupied != 0)?;
        Some((level, bits.occupied.trailing_zeros() as usize))
    }

    pub(super) fn insert(&mut self, deadline: Instant, value: T) -> TimerKey {
        let nanos = self.nanos(deadline);
        self.made += 1;
        let entry = Entry { deadline: nanos, order: self.made, place: NONE, slot: DUE, value: Some(value) };
        let index = if self.free == NONE {
            self.entries.push(entry);
            self.entries.len() - 1
        } else {
            let index = self.free;
            self.free = std::mem::replace(&mut self.entries[index], entry).place;
            index
        };
        self.link(index);
        self.len += 1;
        if self.len == 1 || nanos <= self.bound {
            (self.bound, self.is_exact) = (nanos, true);
        }
        TimerKey { index, order: self.made }
    }

    fn nanos(&self, instant: Instant) -> u64 {
        let since = instant.saturating_duration_since(self.origin);
        // Without a division: 584 years are for ever.
        since.as_secs().saturating_mul(1_000_000_000).saturating_add(since.subsec_nanos().into())
    }

    /// Puts an entry where it belongs, as the wheel's time is.
    fn link(&mut self, index: usize) {
        let entry = &mut self.entries[index];
        let tick = entry.deadline >> TICK_BITS;
        if tick <= self.now {
            entry.slot = DUE;
            self.due.push(Reverse((entry.deadline, entry.order, index)));
            return;
        }
        // Which digit is the highest that differs, and what it is in the deadline.
        let level = (tick ^ self.now).ilog2() / SLOT_BITS;
        let number = usize::from((tick >> (level * SLOT_BITS)).to_le_bytes()[0]) % SLOTS;
        let level = usize::try_from(level).expect("one of eight");
        let slot = &mut self.levels[level].slots[number];
        entry.slot = level * SLOTS + number;
        entry.place = slot.len();
        slot.push(index);
        self.levels[level].occupied |= 1 << number;
    }

    /// Whether an entry is still to fire.
    pub(super) fn contains(&self, key: TimerKey) -> bool {
        self.entries.get(key.index).is_some_and(|entry| entry.order == key.order)
    }

    /// Takes an entry out before it fires; `None` if it has gone.
    pub(super) fn remove(&mut self, key: TimerKey) -> Option<T> {
        let entry = self.entries.get(key.index).filter(|entry| entry.order == key.order)?;
        let (slot, place) = (entry.slot, entry.place);
        if slot != DUE {
            let (level, number) = (slot / SLOTS, slot % SLOTS);
            let level = &mut self.levels[level];
            let slot = &mut level.slots[number];
            slot.swap_remove(place);
            if let Some(&moved) = slot.get(place) {
                self.entries[moved].place = entry.place;
            } else if slot.is_empty() {
                level.occupied &= !(1 << number);
            }
        }
        let value = self.release(key.index);
        if slot == DUE {
            // Else those that never fire would pile up.
            self.drop_removed();
        }
        value
    }

    /// Frees an entry that is in no slot.
    fn release(&mut self, index: usize) -> Option<T> {
        let entry = &mut self.entries[index];
        entry.order = 0;
        entry.place = self.free;
        let deadline = entry.deadline;
        let value = entry.value.take();
        self.free = index;
        self.len -= 1;
        if deadline == self.bound {
            self.is_exact = false;
        }
        if self.len == 0 && self.entries.len() > KEPT {
            self.forget_room();
        }
        value
    }

    /// Gives back the room of many entries of which none is left.
    #[cold]
    fn forget_room(&mut self) {
        self.entries = Vec::new();
        self.free = NONE;
        self.due = BinaryHeap::new();
    }

    /// Takes out the earliest entry if it is due at `now`.
    pub(super) fn pop_due(&mut self, now: Instant) -> Option<T> {
        if self.len == 0 {
            return None;
        }
        let nanos = self.nanos(now);
        if self.bound > nanos {
            return None;
        }
        self.advance(nanos >> TICK_BITS);
        self.drop_removed();
        match self.due.peek() {
            Some(&Reverse((deadline, _, index))) if deadline <= nanos => {
                self.due.pop();
                self.release(index)
            }
            _ => {
                // It has passed in vain, and must not do so again.
                self.find_earliest();
                None
            }
        }
    }

    /// The first tick of a slot. Its digits above the level are those of the wheel's time.
    fn start_of(&self, level: usize, slot: usize) -> u64 {
        let digit = level * SLOT_BITS as usize;
        (self.now >> digit >> SLOT_BITS << SLOT_BITS | slot as u64) << digit
    }

    /// How many will fire.
    pub(super) fn len(&self) -> usize {
        self.len
    }

    /// Moves the wheel's time on, and what comes up on the way into `due`.
    fn advance(&mut self, to: u64) {
        while self.now < to {
            let Some((level, slot)) = self.first_slot() else { break };
            let starts = self.start_of(level, slot);
            if starts > to {
                break;
            }
            self.now = starts;
            self.levels[level].occupied &= !(1 << slot);
            for index in std::mem::take(&mut self.levels[level].slots[slot]) {
                self.link(index);
            }
        }
        self.now = self.now.max(to);
    }
}

#[cfg(all(test, not(osier_loom)))]
mod tests {
    use super::*;

    #[test]
    fn equal_deadlines_fire_in_the_order_they_were_set() {
        let (mut timers, now) = (Timers::new(), Instant::now() + Duration::from_secs(1));
        (0..10).for_each(|n| _ = timers.insert(now, n));
        assert_eq!(timers.pop_due(now - Duration::from_nanos(1)), None);
        assert_eq!(std::iter::from_fn(|| timers.pop_due(now)).collect::<Vec<_>>(), Vec::from_iter(0..10));
    }

    #[test]
    fn the_room_of_many_goes_with_the_last_and_its_keys_with_it() {
        let (mut timers, now) = (Timers::new(), Instant::now());
        for fires in [false, true] {
            let keys: Vec<_> = (0..10_000).map(|n| timers.insert(now + Duration::from_micros(n), n)).collect();
            match fires {
                true => assert_eq!(std::iter::from_fn(|| timers.pop_due(now + Duration::from_secs(1))).count(), 10_000),
                false => keys.iter().enumerate().for_each(|(n, &key)| assert_eq!(timers.remove(key), Some(n as u64))),
            }
            assert_eq!((timers.len(), timers.entries.capacity()), (0, 0));
            let key = timers.insert(now + Duration::from_secs(60), 7);
            assert!(!keys.into_iter().any(|gone| timers.contains(gone) || timers.remove(gone).is_some()));
            assert_eq!(timers.remove(key), Some(7));
        }
    }

    #[test]
    fn deadlines_at_both_ends_of_the_clock() {
        let mut timers = Timers::new();
        let now = Instant::now();
        let past = now.checked_sub(Duration::from_secs(1)).unwrap_or(now);
        let far = now + Duration::from_secs(1 << 36);
        timers.insert(far, "far");
        timers.insert(past, "past");
        assert_eq!(timers.pop_due(now + Duration::from_secs(1)), Some("past"));
        assert_eq!(timers.pop_due(now + Duration::from_secs(1 << 30)), None);
        assert!(timers.next_deadline().is_some_and(|next| next > now + Duration::from_secs(1 << 33)));
        assert_eq!(timers.pop_due(far), Some("far"));
        assert_eq!(timers.next_deadline(), None);
    }

    /// Compares with a sorted list. Deadlines lie within `range` of the time, which moves on.
    fn compare_with_a_list(range: Duration, mut seed: u64) {
        let mut random = move || {
            seed ^= seed << 13;
            seed ^= seed >> 7;
            seed ^= seed << 17;
            seed
        };
        let (mut timers, mut model) = (Timers::new(), Vec::<(Instant, u64, TimerKey)>::new());
        let mut now = Instant::now();
        for n in 0..20_000_u64 {
            match random() % 8 {
                0 | 1 if !model.is_empty() => {
                    let (_, _, key) = model.swap_remove((random() % model.len() as u64).try_into().unwrap());
                    assert!(timers.contains(key));
                    timers.remove(key);
                    assert!(!timers.contains(key));
                    timers.remove(key);
                }
                2 | 3 if !model.is_empty() => {
                    model.sort_unstable_by_key(|&(deadline, n, _)| (deadline, n));
                    let (deadline, n, _) = model.remove(0);
                    assert!(timers.next_look().is_some_and(|look| look <= deadline));
                    if random() % 2 == 0 {
                        assert_eq!(timers.next_deadline(), Some(deadline));
                    }
                    assert_eq!(timers.pop_due(deadline - Duration::from_nanos(1)), None);
                    assert_eq!(timers.pop_due(deadline), Some(n));
                    now = now.max(deadline);
                }
                4 => {
                    // Time passes, and nothing was due meanwhile that is not fired now.
                    now += range / 1000;
                    model.sort_unstable_by_key(|&(deadline, n, _)| (deadline, n));
                    while let Some(n) = timers.pop_due(now) {
                        assert_eq!(model.remove(0).1, n);
                    }
                    assert!(model.first().is_none_or(|&(deadline, ..)| deadline > now));
                    assert!(timers.next_look().is_none_or(|look| look > now), "it would be looked at again at once");
                }
                _ => {
                    let nanos = random() % u64::try_from(range.as_nanos()).unwrap();
                    let deadline = now + Duration::from_nanos(nanos);
                    model.push((deadline, n, timers.insert(deadline, n)));
                }
            }
        }
        model.sort_unstable_by_key(|&(deadline, n, _)| (deadline, n));
        let left: Vec<_> = std::iter::from_fn(|| timers.pop_due(now + range)).collect();
        assert_eq!(left, model.into_iter().map(|(_, n, _)| n).collect::<Vec<_>>());
    }

    /// A server's timeouts: all equally long, each set anew long before it fires, in the order in which they were set.
    #[test]
    fn timeouts_that_never_fire_are_not_searched_each_time_the_earliest_is_set_anew() {
        let (mut timers, mut now) = (Timers::new(), Instant::now());
        let limit = Duration::from_secs(60);
        let mut set = std::collections::VecDeque::new();
        let count = if cfg!(debug_assertions) { 10_000 } else { 100_000 };
        // Each is set anew when a sixth of its time has passed.
        let step = limit / 6 / u32::try_from(count).unwrap();
        for n in 0..count {
            set.push_back(timers.insert(now + limit, n));
            now += Duration::from_micros(1);
        }
        for n in 0..10 * count {
            timers.remove(set.pop_front().unwrap());
            set.push_back(timers.insert(now + limit, n));
            now += step;
            // As a worker does that looks what is due, and then for how long it may sleep.
            assert_eq!(timers.pop_due(now), None);
            assert!(timers.next_look().is_some_and(|look| look > now));
        }
        assert!(timers.looked_at <= 10 * count, "{} entries in {} turns", timers.looked_at, 10 * count);
    }

    #[test]
    fn whoever_sleeps_until_the_next_look_wakes_up_for_nothing_once_at_most() {
        let (mut timers, now) = (Timers::new(), Instant::now());
        let after = |ms| now + Duration::from_millis(ms);
        let first = timers.insert(after(10), 1);
        timers.insert(after(50_000), 2);
        let third = timers.insert(after(20_000), 3);
        timers.remove(first);
        timers.remove(third);
        assert_eq!(timers.next_look(), Some(after(10)));
        assert_eq!(timers.pop_due(after(10)), None);
        assert_eq!(timers.next_look(), Some(after(50_000)));
        assert_eq!(timers.pop_due(after(50_000)), Some(2));
        assert_eq!(timers.next_look(), None);
    }

    /// Run by hand: `cargo test --release --lib timer -- --nocapture cost`.
    #[test]
    fn the_cost_of_setting_and_cancelling_among_many() {
        let mut seed = 1_u64;
        let mut random = move || {
            seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            seed >> 33
        };
        for exponent in 3..=if cfg!(debug_assertions) { 4 } else { 6 } {
            let count = 10_u64.pow(exponent);
            let mut timers = Timers::new();
            let now = Instant::now();
            let mut after = move || now + Duration::from_micros(random() % 10_000_000);
            (0..count).for_each(|n| _ = timers.insert(after(), n));
            let deadlines: Vec<_> = (0..100_000).map(|_| after()).collect();
            let began = Instant::now();
            for &deadline in &deadlines {
                let key = timers.insert(deadline, 0);
                timers.remove(key);
            }
            let each = began.elapsed().as_nanos() / 100_000;
            let began = Instant::now();
            let fired = (0..=10_000).map(|ms| {
                let now = now + Duration::from_millis(ms);
                std::iter::from_fn(|| timers.pop_due(now)).count() as u64
            });
            assert_eq!(fired.sum::<u64>(), count);
            let fire = began.elapsed().as_nanos() / u128::from(count);
            eprintln!("among {count}: set and cancel {each} ns, fire {fire} ns");
        }
    }

    #[test]
    fn random_inserts_and_removes_agree_with_a_sorted_list() {
        for (seed, exponent) in (0..9).enumerate() {
            compare_with_a_list(Duration::from_micros(10_u64.pow(exponent)), 0x5eed + seed as u64);
        }
    }
}
