//! Stacks for coroutines: guarded slots cut from large reservations, cached per thread.
//!
//! ```text
//!   a region: one mapping, many slots                 a slot
//!   ┌────────┬────────┬─ … ─┬────────┐      low  ┌──────────────┐ ← limit
//!   │ slot 0 │ slot 1 │     │ slot n │           │ guard 64 KiB │   a touch here is an overflow
//!   └────────┴────────┴─ … ─┴────────┘           ├──────────────┤
//!                                                │ usable       │   grows downwards
//!                                                │      ↑       │
//!                                                ├──────────────┤ ← base (first frame below)
//!                                                │ head 256 B   │   what the stack's holder keeps: a carrier
//!                                                │ shift 0–2 KiB│   so that stacks differ in their cache lines
//!                                           high │ label 64 B   │   whose stack this is
//!                                                └──────────────┘
//! ```
//!
//! # Rooms
//! - `sys`: the few system calls, per operating system.
//! - `books`: memory for what is noted of regions for ever.
//! - `region`: reservations, slots and their guards, and the table the fault handler reads.
//! - `pool`: which free slot is handed out next, and when pages go back.
//! - `overflow`: a fault in a guard becomes a message that names the coroutine. `signal_stack`: where that runs.
//!
//! # Invariants
//! - No slot is handed out without a guard.
//! - A slot with live frames is never reused or unmapped; regions live as long as the process.
//!
//! The numbers and the rejected layouts: `arch-notes/stacks.md`.

mod books;
mod overflow;
mod pool;
mod region;
mod signal_stack;
mod sys;

#[cfg(feature = "runtime")]
pub(crate) use pool::{Locked, lock};
pub(crate) use pool::{Spare, StackCache, put_uncached, take_uncached};
#[cfg(feature = "runtime")]
pub(crate) use region::NameTag;
#[cfg(not(any(miri, osier_threads)))]
pub(crate) use region::limit_of;
#[cfg(all(feature = "backtrace", target_os = "linux", any(target_arch = "x86_64", target_arch = "aarch64")))]
pub(crate) use region::slot_around;
#[cfg(feature = "runtime")]
pub(crate) use region::usable_here;
pub(crate) use region::{LEAST_GUARD, Stack, left_here};
pub(crate) use signal_stack::SignalStack;

/// Of the thread whose stacks they are, so it is made where that keeps them.
pub use crate::coroutine::trim;

use std::io;

/// The smallest stack that can be asked for, in usable bytes.
///
/// A stack of this size survives its own unwinding. A panic with a backtrace would want about 23 KiB; so the panic hook
/// runs on another stack where less than 32 KiB are left of the coroutine's.
pub const MIN_STACK_SIZE: usize = 16 * 1024;

/// The usable bytes of a stack when nobody asks for another size.
///
/// 80 KiB, enough for a panic with a backtrace, a TLS handshake, or JSON nested 127 deep. Debug builds use 512 KiB: their
/// frames are up to six times as large.
pub const DEFAULT_STACK_SIZE: usize = if cfg!(debug_assertions) { 512 * 1024 } else { 80 * 1024 };

/// The usable bytes of the stack that `task::with_big_stack` lends: what a program's main thread has, and six times that in
/// debug builds.
pub const BIG_STACK_SIZE: usize = if cfg!(debug_assertions) { 48 << 20 } else { 8 << 20 };

/// The largest stack that can be asked for, in usable bytes.
pub const MAX_STACK_SIZE: usize = 1 << 30;

/// Usable bytes of a stack: whole pages, within the limits. Half a word: every task has one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct StackSize(u32);

impl StackSize {
    /// What a panic hook needs, with a full backtrace, in any build.
    pub(crate) const OF_HOOKS: Self = Self(256 * 1024);

    #[cfg(feature = "runtime")]
    pub(crate) const BIG: Self = Self(as_half_word(BIG_STACK_SIZE));

    pub(crate) const DEFAULT: Self = Self(as_half_word(DEFAULT_STACK_SIZE));

    /// Rounds `bytes` up to whole pages and into the allowed range.
    pub(crate) fn from_bytes(bytes: usize) -> Self {
        let page = sys::page_size();
        Self(as_half_word(bytes.clamp(MIN_STACK_SIZE, MAX_STACK_SIZE).next_multiple_of(page)))
    }

    pub(crate) fn bytes(self) -> usize {
        self.0 as usize
    }
}

const fn as_half_word(bytes: usize) -> u32 {
    assert!(bytes <= MAX_STACK_SIZE);
    #[expect(clippy::cast_possible_truncation, reason = "checked above")]
    let bytes = bytes as u32;
    bytes
}

/// Asks the allocator to give the memory of its free lists back to the system, where it can be asked.
pub(crate) fn trim_heap() {
    sys::trim_heap();
}

/// Says which limit was met and what to raise, around the system's own error.
#[cold]
fn exhausted(what: &'static str, error: &io::Error) -> io::Error {
    let hint = "no stack for a coroutine: the system refused";
    let advice = "check vm.max_map_count, ulimit -v and free memory";
    io::Error::new(error.kind(), format!("{hint} {what} ({error}); {advice}"))
}

/// Whether `bytes` of address space could be had now. They are not kept.
///
/// # Errors
/// They could not.
#[cfg(feature = "runtime")]
pub(crate) fn ask_for(bytes: usize) -> io::Result<()> {
    sys::ask_for(bytes)
}

/// How many stacks this process has cut and how many regions they lie in.
///
/// Both only grow: a freed stack is kept for the next coroutine, its memory is not.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StackUsage {
    /// Stacks cut since the process began; each is in use or waits to be reused.
    pub stacks: usize,
    /// Mappings that the stacks lie in.
    pub regions: usize,
}

/// Counts the stacks and regions of this process.
///
/// # Examples
/// ```
/// let mut g = osier::Generator::new(|y: &osier::Yielder<u32>| y.yield_(1));
/// assert_eq!(g.next(), Some(1));
/// let usage = osier::stack::usage();
/// assert!(usage.stacks >= 1 && usage.regions >= 1);
/// ```
pub fn usage() -> StackUsage {
    StackUsage { stacks: pool::stacks_cut(), regions: region::count() }
}
