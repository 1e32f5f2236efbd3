//! What takes the place of a descriptor that is closed while others use it, so that nobody else gets its number before the last
//! hand lets go.
//!
//! Somebody may be about to make a call by that number. It must find nothing to do, must not be held up, and should be told what
//! it would be told if the number were nobody's: `EBADF`. See `arch-notes/reactor.md`, "Closing while others use it".

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};

/// Closes what a descriptor of ours names, and has the number name the substitute.
pub(super) fn replace(fd: BorrowedFd<'_>) -> io::Result<()> {
    put(imp::substitute()?.as_fd(), fd)
}

#[cfg(any(target_os = "linux", target_os = "android"))]
mod imp {
    use std::fs::{File, OpenOptions};
    use std::io;
    use std::os::unix::fs::OpenOptionsExt;

    /// A place in the file system that is not opened (`O_PATH`): each call that reads, writes, waits or asks of a socket fails,
    /// with `EBADF`.
    pub(super) fn substitute() -> io::Result<File> {
        OpenOptions::new().read(true).custom_flags(libc::O_PATH).open("/")
    }
}

#[cfg(not(any(target_os = "linux", target_os = "android")))]
mod imp {
    use std::io;
    use std::os::unix::net::UnixDatagram;

    /// A socket that is not connected, and does not block.
    pub(super) fn substitute() -> io::Result<UnixDatagram> {
        let socket = UnixDatagram::unbound()?;
        socket.set_nonblocking(true)?;
        Ok(socket)
    }
}

/// Makes the number of `fd` name what `by` names; a child that is started gets neither.
#[cfg(not(target_vendor = "apple"))]
fn put(by: BorrowedFd<'_>, fd: BorrowedFd<'_>) -> io::Result<()> {
    // SAFETY: both are open, and `fd` is the caller's.
    match unsafe { libc::dup3(by.as_raw_fd(), fd.as_raw_fd(), libc::O_CLOEXEC) } {
        answer if answer < 0 => Err(io::Error::last_os_error()),
        _ => Ok(()),
    }
}

/// As above, where that takes two calls: a child that is started between them gets the substitute.
#[cfg(target_vendor = "apple")]
fn put(by: BorrowedFd<'_>, fd: BorrowedFd<'_>) -> io::Result<()> {
    // SAFETY: both are open, and `fd` is the caller's.
    if unsafe { libc::dup2(by.as_raw_fd(), fd.as_raw_fd()) } < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: it takes no pointers.
    match unsafe { libc::fcntl(fd.as_raw_fd(), libc::F_SETFD, libc::FD_CLOEXEC) } {
        answer if answer < 0 => Err(io::Error::last_os_error()),
        _ => Ok(()),
    }
}
