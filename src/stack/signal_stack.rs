//! An alternate signal stack for threads that std gave none: where the fault handler runs.
//!
//! std installs one for the threads it starts, unless it is a library in a program whose `main` is not Rust's.

use std::mem::MaybeUninit;
use std::ptr::{self, NonNull};

use super::region::guard_bytes;
use super::sys;

/// An alternate signal stack for a thread that has none; dropped by that thread before it ends.
#[derive(Debug)]
pub(crate) struct SignalStack {
    memory: NonNull<u8>,
}

impl SignalStack {
    /// Bytes for the handler: the kernel's frame alone takes up to 11 KiB with AMX.
    const BYTES: usize = 64 * 1024;

    /// Gives the calling thread an alternate signal stack, unless it has one already.
    pub(crate) fn ensure() -> Option<Self> {
        if cfg!(any(miri, osier_threads)) {
            // No handler of ours runs.
            return None;
        }
        let mut current = MaybeUninit::<libc::stack_t>::uninit();
        // SAFETY: a null new stack only reads the current one.
        if unsafe { libc::sigaltstack(ptr::null(), current.as_mut_ptr()) } != 0 {
            return None;
        }
        // SAFETY: the call above succeeded, so it was written.
        if unsafe { current.assume_init() }.ss_flags & libc::SS_DISABLE == 0 {
            return None;
        }
        let memory = sys::reserve(guard_bytes() + Self::BYTES).ok()?;
        let this = Self { memory };
        // SAFETY: the lower part of a mapping made just now.
        unsafe { sys::guard(memory, guard_bytes()) }.ok()?;
        // SAFETY: above the guard, within the mapping.
        let usable = unsafe { memory.add(guard_bytes()) };
        let stack = libc::stack_t { ss_sp: usable.as_ptr().cast(), ss_flags: 0, ss_size: Self::BYTES };
        // SAFETY: the memory is mapped and ours until `drop`, which takes it from the thread first.
        unsafe { libc::sigaltstack(&raw const stack, ptr::null_mut()) };
        Some(this)
    }
}

impl Drop for SignalStack {
    fn drop(&mut self) {
        let none = libc::stack_t { ss_sp: ptr::null_mut(), ss_flags: libc::SS_DISABLE, ss_size: Self::BYTES };
        let mut current = none;
        // SAFETY:
        // - Disables this thread's alternate stack, after which nobody uses the mapping made in `ensure`. It is refused if this
        //   runs on it: a handler has called `exit`. Then the mapping stays.
        // - What somebody else has put in its place meanwhile is put back.
        unsafe {
            if libc::sigaltstack(&raw const none, &raw mut current) != 0 {
                return;
            }
            let ours = self.memory.add(guard_bytes()).as_ptr();
            if current.ss_flags & libc::SS_DISABLE == 0 && !ptr::eq(current.ss_sp.cast(), ours) {
                libc::sigaltstack(&raw const current, ptr::null_mut());
            }
            sys::release(self.memory, guard_bytes() + Self::BYTES);
        }
    }
}
