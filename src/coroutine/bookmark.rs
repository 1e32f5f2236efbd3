//! Where a suspended task stands: enough of its registers to walk its stack from outside.
//!
//! A dump reads the stacks of tasks that do not run (`runtime::diagnosis`). What it needs to begin are three registers, as
//! they are anywhere in the frame that suspends: from there on the tables that exceptions are unwound by say where each
//! caller's are. The switch itself saves them too, in a place that only corosensei knows.
//!
//! # Invariants
//! - The stack pointer is zero unless the task is suspended, or within a few instructions of it: then all frames above stay
//!   as they are until it is resumed.

use std::sync::atomic::{AtomicUsize, Ordering};

/// See the module's page. Written by the task's own thread.
#[derive(Debug, Default)]
#[repr(C)]
pub(crate) struct Bookmark {
    instruction: AtomicUsize,
    frame: AtomicUsize,
    stack: AtomicUsize,
}

/// What is read of a bookmark.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Registers {
    /// Where the code goes on.
    pub(crate) instruction: usize,
    pub(crate) stack: usize,
    /// The frame pointer, which code may use as it likes.
    pub(crate) frame: usize,
}

impl Bookmark {
    /// Notes where the caller stands.
    // In the frame of whoever suspends, also in debug builds: a frame of its own would be gone by then.
    #[inline(always)]
    pub(crate) fn set(&self) {
        #[cfg(all(target_arch = "x86_64", not(any(miri, osier_threads))))]
        // SAFETY: writes the three words, which are atomic, and uses no stack. The stack pointer comes last; the processor
        // keeps stores in order, so whoever sees it (Acquire, in `get`) sees the others.
        unsafe {
            std::arch::asm!(
                "lea {scratch}, [rip]",
                "mov [{this}], {scratch}",
                "mov [{this} + 8], rbp",
                "mov [{this} + 16], rsp",
                scratch = out(reg) _,
                this = in(reg) std::ptr::from_ref(self),
                options(nostack, preserves_flags),
            );
        }
        #[cfg(all(target_arch = "aarch64", not(any(miri, osier_threads))))]
        // SAFETY: as above; the last store is a release.
        unsafe {
            std::arch::asm!(
                "adr {scratch}, .",
                "stp {scratch}, x29, [{this}]",
                "mov {scratch}, sp",
                "add {last}, {this}, #16",
                "stlr {scratch}, [{last}]",
                scratch = out(reg) _,
                last = out(reg) _,
                this = in(reg) std::ptr::from_ref(self),
                options(nostack, preserves_flags),
            );
        }
    }

    /// Says that the task runs again.
    #[inline(always)]
    pub(crate) fn clear(&self) {
        self.stack.store(0, Ordering::Relaxed);
    }

    /// Where the task stands, if it is suspended and that can be told on this processor.
    pub(crate) fn get(&self) -> Option<Registers> {
        // Acquire: pairs with the last store in `set`.
        let stack = self.stack.load(Ordering::Acquire);
        let (instruction, frame) = (self.instruction.load(Ordering::Relaxed), self.frame.load(Ordering::Relaxed));
        (stack != 0).then_some(Registers { instruction, stack, frame })
    }
}
