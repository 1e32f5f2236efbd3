//! What has become of a TCP connection that was begun.
//!
//! It may have stood, and be over, by the time that somebody looks: the peer has accepted, written, and reset it. Then it was made, as
//! it would be for a thread that waits in `connect`. What was written is there to be read, and the reset comes after that: it is the
//! socket's pending error.
//!
//! # Invariants
//! - The pending error is taken only from a connection that never stood, as far as the system tells them apart.

use std::io;
use std::net::TcpStream;

/// How far a connection has come.
#[cfg_attr(not(any(target_os = "linux", target_os = "android")), allow(dead_code, reason = "no other system tells"))]
enum Progress {
    UnderWay,
    /// It stands, or has stood.
    Made,
    /// It has not come about, and will not.
    Failed,
}

/// Whether it has been made.
///
/// # Errors
/// Why it has not, and will not.
pub(super) fn is_done(socket: &TcpStream) -> io::Result<bool> {
    match imp::progress(socket) {
        Some(Progress::UnderWay) => Ok(false),
        Some(Progress::Made) => Ok(true),
        // The system itself says so of one that is over for no reason.
        Some(Progress::Failed) => Err(socket.take_error()?.unwrap_or_else(|| io::ErrorKind::ConnectionAborted.into())),
        None => has_peer(socket),
    }
}

/// As [`is_done`], where the system does not tell. Of a connection that is over, what was written is seen without its error; one that
/// was reset and left nothing is an error, as if it had never stood.
fn has_peer(socket: &TcpStream) -> io::Result<bool> {
    // Systems differ in how they say that there is none.
    if socket.peer_addr().is_ok() {
        return Ok(true);
    }
    match socket.peek(&mut [0]) {
        Ok(_) => Ok(true),
        Err(error) if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::NotConnected) => {
            socket.take_error()?.map_or(Ok(false), Err)
        }
        Err(error) => Err(error),
    }
}

#[cfg(any(target_os = "linux", target_os = "android"))]
mod imp {
    use std::net::TcpStream;
    use std::os::fd::AsRawFd;

    use super::Progress;

    // States, as in the kernel's `include/net/tcp_states.h`.
    const SYN_SENT: u8 = 2;
    const SYN_RECEIVED: u8 = 3;
    const CLOSED: u8 = 7;

    /// None where the kernel is older than 4.1, or `TCP_INFO` is forbidden.
    pub(super) fn progress(socket: &TcpStream) -> Option<Progress> {
        // The beginning of `struct tcp_info` (`include/uapi/linux/tcp.h`): its first byte is the state, its sixteenth word how many
        // bytes the peer has acknowledged. The first of these is the SYN: without it, there was no connection.
        let mut info = [0_u64; 16];
        let mut size = libc::socklen_t::try_from(size_of_val(&info)).expect("small");
        let room = size;
        // SAFETY: it writes no more than `size` bytes, which are there, and of which every value is a number.
        let answer = unsafe {
            libc::getsockopt(
                socket.as_raw_fd(),
                libc::IPPROTO_TCP,
                libc::TCP_INFO,
                (&raw mut info).cast(),
                &raw mut size,
            )
        };
        if answer < 0 || size < room {
            return None;
        }
        let ([state, ..], acknowledged) = (info[0].to_ne_bytes(), info[15]);
        Some(match state {
            SYN_SENT | SYN_RECEIVED => Progress::UnderWay,
            CLOSED if acknowledged == 0 => Progress::Failed,
            _ => Progress::Made,
        })
    }
}

#[cfg(not(any(target_os = "linux", target_os = "android")))]
mod imp {
    use std::net::TcpStream;

    use super::Progress;

    pub(super) fn progress(_socket: &TcpStream) -> Option<Progress> {
        None
    }
}
