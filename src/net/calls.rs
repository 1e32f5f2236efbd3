//! Moving a stream's bytes.
//!
//! glibc's `recv` and `send`, which std's sockets use, are points at which `pthread_cancel` ends a thread; so where a process has
//! several threads, each call notes that before and after. A message, which takes one of both, takes 136 instructions less
//! without: an eighth of all that are not the kernel's.

use std::fs::File;
use std::io;
use std::net::TcpStream;
use std::os::unix::net::UnixStream;

/// A stream of std's, read and written as std does it.
pub(super) trait Moves {
    fn receive(&self, buffer: &mut [u8]) -> io::Result<usize>;

    fn send(&self, bytes: &[u8]) -> io::Result<usize>;
}

/// By std's own calls.
macro_rules! moves_by_std {
    ($stream:ty) => {
        impl Moves for $stream {
            #[inline]
            fn receive(&self, buffer: &mut [u8]) -> io::Result<usize> {
                io::Read::read(&mut &*self, buffer)
            }

            #[inline]
            fn send(&self, bytes: &[u8]) -> io::Result<usize> {
                io::Write::write(&mut &*self, bytes)
            }
        }
    };
}

moves_by_std!(File);

#[cfg(all(target_os = "linux", any(target_arch = "x86_64", target_arch = "aarch64")))]
mod sockets {
    use super::{Moves, TcpStream, UnixStream, io};
    use std::os::fd::AsRawFd;
    use std::ptr;

    /// The size that a call returned, or the error that it left.
    #[inline(always)]
    fn size_of(returned: libc::c_long) -> io::Result<usize> {
        usize::try_from(returned).map_err(|_| io::Error::last_os_error())
    }

    macro_rules! moves_by_system_calls {
        ($stream:ty) => {
            impl Moves for $stream {
                #[inline]
                fn receive(&self, buffer: &mut [u8]) -> io::Result<usize> {
                    let (first, size, flags) = (buffer.as_mut_ptr(), buffer.len(), 0);
                    let (nobody, no_size) = (ptr::null_mut::<libc::sockaddr>(), ptr::null_mut::<libc::socklen_t>());
                    // SAFETY: it writes to the buffer, and no more than there is room for; nobody's address is asked for.
                    size_of(unsafe {
                        libc::syscall(libc::SYS_recvfrom, self.as_raw_fd(), first, size, flags, nobody, no_size)
                    })
                }

                #[inline]
                fn send(&self, bytes: &[u8]) -> io::Result<usize> {
                    // No signal where the peer is gone.
                    let (first, size, flags) = (bytes.as_ptr(), bytes.len(), libc::MSG_NOSIGNAL);
                    let (nobody, no_size): (_, libc::socklen_t) = (ptr::null::<libc::sockaddr>(), 0);
                    // SAFETY: it reads the bytes; no address is given.
                    size_of(unsafe {
                        libc::syscall(libc::SYS_sendto, self.as_raw_fd(), first, size, flags, nobody, no_size)
                    })
                }
            }
        };
    }

    moves_by_system_calls!(TcpStream);
    moves_by_system_calls!(UnixStream);
}

#[cfg(not(all(target_os = "linux", any(target_arch = "x86_64", target_arch = "aarch64"))))]
mod sockets {
    use super::{Moves, TcpStream, UnixStream, io};

    moves_by_std!(TcpStream);
    moves_by_std!(UnixStream);
}
