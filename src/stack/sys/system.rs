//! The system calls that stacks stand on: reserve, guard, give pages back.
//!
//! Two guards exist. `MADV_GUARD_INSTALL` (Linux 6.13) marks page-table entries and leaves the mapping in one piece,
//! so a million guards cost no mapping; it survives `MADV_DONTNEED`. `mprotect` splits the mapping, two a stack, and is
//! used where the first is refused (`EINVAL`: older kernel, locked memory). There is no third: without a guard a stack
//! is not handed out.

use std::io;
use std::ptr::{self, NonNull};
use std::sync::atomic::{AtomicUsize, Ordering};

use corosensei::stack::valgrind::ValgrindStackRegistration;

use super::Range;

/// The BSDs but NetBSD reserve nothing for private memory, and have no flag to say so.
#[cfg(any(target_os = "freebsd", target_os = "dragonfly", target_os = "openbsd"))]
const NO_RESERVE: i32 = 0;
#[cfg(not(any(target_os = "freebsd", target_os = "dragonfly", target_os = "openbsd")))]
const NO_RESERVE: i32 = libc::MAP_NORESERVE;

/// `MADV_GUARD_INSTALL` of Linux 6.13 (`include/uapi/asm-generic/mman-common.h`); libc does not have it on all targets.
#[cfg(target_os = "linux")]
const MADV_GUARD_INSTALL: libc::c_int = 102;

/// The calling process, where a pidfd is expected (`include/uapi/linux/pidfd.h`); kernels that do not know it refuse it.
#[cfg(target_os = "linux")]
const PIDFD_SELF: libc::c_int = -10001;
/// The most ranges that one call takes: `UIO_MAXIOV`.
#[cfg(target_os = "linux")]
const RANGES_A_CALL: usize = 1024;

/// The size of a page in bytes.
pub(in crate::stack) fn page_size() -> usize {
    static PAGE: AtomicUsize = AtomicUsize::new(0);
    match PAGE.load(Ordering::Relaxed) {
        0 => {
            // SAFETY: `sysconf` has no demands on its caller.
            let page = usize::try_from(unsafe { libc::sysconf(libc::_SC_PAGESIZE) }).unwrap_or(4096);
            PAGE.store(page, Ordering::Relaxed);
            page
        }
        page => page,
    }
}

/// Reserves `bytes` of zeroed memory that costs nothing until it is touched.
pub(in crate::stack) fn reserve(bytes: usize) -> io::Result<NonNull<u8>> {
    let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | NO_RESERVE;
    // SAFETY: a new anonymous mapping at an address of the system's choice touches no existing memory.
    let at = unsafe { libc::mmap(ptr::null_mut(), bytes, libc::PROT_READ | libc::PROT_WRITE, flags, -1, 0) };
    if at == libc::MAP_FAILED {
        return Err(io::Error::last_os_error());
    }
    #[cfg(target_os = "linux")]
    // SAFETY: the range was mapped just now. Failure only costs memory: one touched page might become 2 MiB.
    unsafe {
        libc::madvise(at, bytes, libc::MADV_NOHUGEPAGE);
    }
    NonNull::new(at.cast()).ok_or_else(io::Error::last_os_error)
}

/// Gives a whole reservation back.
///
/// # Safety
/// - `at` came from [`reserve`] with as many bytes, and is not used any more.
pub(in crate::stack) unsafe fn release(at: NonNull<u8>, bytes: usize) {
    // SAFETY: the caller's promise.
    unsafe { libc::munmap(at.as_ptr().cast(), bytes) };
}

/// Whether `bytes` could be mapped now. They are not kept.
///
/// # Errors
/// They could not.
#[cfg(feature = "runtime")]
pub(in crate::stack) fn ask_for(bytes: usize) -> io::Result<()> {
    let at = reserve(bytes)?;
    // SAFETY: it was reserved just now, and nobody has heard of it.
    unsafe { release(at, bytes) };
    Ok(())
}

/// Makes every access to `bytes` at `at` fault.
///
/// # Safety
/// - The range lies in memory from [`reserve`], on page boundaries, and nobody uses it.
pub(in crate::stack) unsafe fn guard(at: NonNull<u8>, bytes: usize) -> io::Result<()> {
    #[cfg(target_os = "linux")]
    // SAFETY: the caller's promise is ours.
    match unsafe { guard_by_marking(at, bytes) } {
        Ok(()) => return Ok(()),
        Err(error) if error.raw_os_error() == Some(libc::EINVAL) => {}
        Err(error) => return Err(error),
    }
    // SAFETY: the caller's promise is ours.
    unsafe { guard_by_protecting(at, bytes) }
}

#[cfg(target_os = "linux")]
// The safety contract of `guard`.
unsafe fn guard_by_marking(at: NonNull<u8>, bytes: usize) -> io::Result<()> {
    // SAFETY: the caller owns the range and nobody uses it.
    match unsafe { libc::madvise(at.as_ptr().cast(), bytes, MADV_GUARD_INSTALL) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

// The safety contract of `guard`.
unsafe fn guard_by_protecting(at: NonNull<u8>, bytes: usize) -> io::Result<()> {
    // SAFETY: the caller owns the range and nobody uses it.
    match unsafe { libc::mprotect(at.as_ptr().cast(), bytes, libc::PROT_NONE) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

/// Gives the pages of free ranges back; they read as zero afterwards, and guards stay.
///
/// # Safety
/// - The ranges lie in memory from [`reserve`], on page boundaries, and hold nothing that is still wanted.
pub(in crate::stack) unsafe fn discard(ranges: &[Range]) {
    #[cfg(target_os = "linux")]
    // SAFETY: the caller's promise is ours.
    let ranges = &ranges[unsafe { discard_together(ranges) }..];
    for range in ranges {
        // SAFETY: the caller owns the range and wants nothing in it. Failure leaves the pages where they are.
        unsafe { libc::madvise(range.at.as_ptr().cast(), range.bytes, libc::MADV_DONTNEED) };
    }
}

/// Discards ranges with one call for many, where the system can. How many of them that were.
///
/// Each call makes the other cores forget what they know of the pages, and waits for them: while another thread ran, a stack
/// among 512 scattered ones cost 5.4 µs to give back by itself, 1.0 with the others.
// The safety contract of `discard`.
#[cfg(target_os = "linux")]
unsafe fn discard_together(ranges: &[Range]) -> usize {
    let mut done = 0;
    for chunk in ranges.chunks(RANGES_A_CALL) {
        let vector: Vec<_> = chunk
            .iter()
            .map(|range| libc::iovec { iov_base: range.at.as_ptr().cast(), iov_len: range.bytes })
            .collect();
        // SAFETY: it reads the vector; the caller owns the ranges and wants nothing in them.
        let discarded = unsafe {
            libc::syscall(
                libc::SYS_process_madvise,
                PIDFD_SELF,
                vector.as_ptr(),
                vector.len(),
                libc::MADV_DONTNEED,
                0_u32,
            )
        };
        let bytes: usize = chunk.iter().map(|range| range.bytes).sum();
        // What was done in part is done again.
        if usize::try_from(discarded) != Ok(bytes) {
            break;
        }
        done += chunk.len();
    }
    done
}

/// Tells valgrind, if it is there, that code will run on these bytes for the rest of the process.
pub(in crate::stack) fn tell_valgrind(at: NonNull<u8>, bytes: usize) {
    // Its destructor would take it back.
    std::mem::forget(ValgrindStackRegistration::new(at.as_ptr(), bytes));
}

/// Asks the allocator to give the pages of its free lists back.
#[cold]
pub(in crate::stack) fn trim_heap() {
    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    // SAFETY: `malloc_trim` may be called at any time, from any thread.
    unsafe {
        libc::malloc_trim(0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Whether the kernel refuses to read from `at`: `write(2)` answers `EFAULT` where a load would fault.
    fn faults(at: NonNull<u8>) -> bool {
        let mut ends = [0; 2];
        // SAFETY: `ends` has room for two descriptors.
        assert_eq!(unsafe { libc::pipe(ends.as_mut_ptr()) }, 0);
        // SAFETY: the kernel checks the address itself and answers with an error.
        let written = unsafe { libc::write(ends[1], at.as_ptr().cast(), 1) };
        // SAFETY: both descriptors are ours.
        unsafe {
            libc::close(ends[0]);
            libc::close(ends[1]);
        }
        written == -1
    }

    type Guard = unsafe fn(NonNull<u8>, usize) -> io::Result<()>;

    fn guard_holds_and_survives_discard(guard: Guard) {
        let page = page_size();
        let at = reserve(page * 4).unwrap();
        // SAFETY: the first two of four pages mapped just now.
        unsafe { guard(at, page * 2) }.unwrap();
        // SAFETY: the third page lies in the mapping.
        let usable = unsafe { at.add(page * 2) };
        // SAFETY: mapped, readable and writable, and ours.
        unsafe { usable.write(7) };
        assert!(faults(at) && !faults(usable));
        // SAFETY: all four pages are ours and hold nothing that is wanted.
        unsafe { discard(&[Range { at, bytes: page * 4 }]) };
        assert!(faults(at) && !faults(usable));
        // SAFETY: mapped and ours; discarded pages read as zero.
        assert_eq!(unsafe { usable.read() }, 0);
    }

    #[test]
    fn the_best_guard_faults_and_survives_discard() {
        guard_holds_and_survives_discard(guard);
    }

    #[test]
    fn the_fallback_guard_faults_and_survives_discard() {
        guard_holds_and_survives_discard(guard_by_protecting);
    }

    #[test]
    fn scattered_pages_are_discarded_and_their_neighbours_stay() {
        let (page, count) = (page_size(), 2 * 1024 + 10);
        let at = reserve(page * count).unwrap();
        // SAFETY: each lies in the mapping.
        let pages: Vec<_> = (0..count).map(|index| unsafe { at.add(index * page) }).collect();
        // SAFETY: mapped, writable, and ours.
        pages.iter().for_each(|at| unsafe { at.write(7) });
        let ranges: Vec<_> = pages.iter().step_by(2).map(|&at| Range { at, bytes: page }).collect();
        // SAFETY: ours, and nothing in them is wanted.
        unsafe { discard(&ranges) };
        for (index, at) in pages.iter().enumerate() {
            // SAFETY: mapped, readable, and ours.
            assert_eq!(unsafe { at.read() }, if index % 2 == 0 { 0 } else { 7 });
        }
    }

    #[test]
    fn a_reservation_that_cannot_be_had_is_an_error() {
        assert!(reserve(1 << 60).is_err());
    }
}
