//! What stacks stand on: reserve memory, guard a part of it, give pages back.
//!
//! - `system`: by system calls.
//! - `heap`: memory that nobody runs on, for the backend in which each coroutine has a thread of its own.

#[cfg(any(miri, osier_threads))]
mod heap;
#[cfg(not(any(miri, osier_threads)))]
mod system;

#[cfg(any(miri, osier_threads))]
pub(super) use self::heap::*;
#[cfg(not(any(miri, osier_threads)))]
pub(super) use self::system::*;

/// Bytes at an address, which begin and end at pages.
#[derive(Clone, Copy, Debug)]
pub(super) struct Range {
    pub(super) at: std::ptr::NonNull<u8>,
    pub(super) bytes: usize,
}
