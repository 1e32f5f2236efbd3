//! Memory for stacks that nobody runs on: coroutines have threads of their own, which std guards.
//!
//! The slots are still cut and counted, and hold their labels, so that everything above is the same code.

use std::alloc::{Layout, alloc_zeroed, dealloc};
use std::io;
use std::ptr::NonNull;

const PAGE: usize = 4096;

/// The size of a page in bytes.
pub(in crate::stack) fn page_size() -> usize {
    PAGE
}

/// Reserves `bytes` of zeroed memory.
pub(in crate::stack) fn reserve(bytes: usize) -> io::Result<NonNull<u8>> {
    let out_of_memory = || io::Error::from(io::ErrorKind::OutOfMemory);
    let layout = Layout::from_size_align(bytes, PAGE).map_err(|_| out_of_memory())?;
    // SAFETY: whoever asks, asks for at least one slot.
    NonNull::new(unsafe { alloc_zeroed(layout) }).ok_or_else(out_of_memory)
}

/// Gives a whole reservation back.
///
/// # Safety
/// - `at` came from [`reserve`] with as many bytes, and is not used any more.
pub(in crate::stack) unsafe fn release(at: NonNull<u8>, bytes: usize) {
    let layout = Layout::from_size_align(bytes, PAGE).expect("it was reserved with this");
    // SAFETY: `reserve` allocated it with this layout, and it is not used any more.
    unsafe { dealloc(at.as_ptr(), layout) };
}

/// Asks nobody: address space is not measured here.
///
/// # Errors
/// None; the other implementation has some.
#[cfg(feature = "runtime")]
pub(in crate::stack) fn ask_for(_bytes: usize) -> io::Result<()> {
    Ok(())
}

/// Does nothing: nobody runs here.
///
/// # Safety
/// - None; the other implementation has some.
pub(in crate::stack) unsafe fn guard(_at: NonNull<u8>, _bytes: usize) -> io::Result<()> {
    Ok(())
}

/// Does nothing: nobody has written here, but for the label.
///
/// # Safety
/// - None; the other implementation has some.
pub(in crate::stack) unsafe fn discard(_ranges: &[super::Range]) {}

/// Does nothing: memory is not measured here.
pub(in crate::stack) fn trim_heap() {}

/// Does nothing: nobody runs here.
pub(in crate::stack) fn tell_valgrind(_at: NonNull<u8>, _bytes: usize) {}
