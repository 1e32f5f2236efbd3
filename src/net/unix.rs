//! Unix domain sockets: streams and listeners, and how to wait where the system does not tell.

use std::ffi::OsStr;
use std::fmt;
use std::io::{self, IoSlice, IoSliceMut, Read, Write};
use std::iter::FusedIterator;
use std::net::Shutdown;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, IntoRawFd, OwnedFd, RawFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::{self as std_net, SocketAddr};
use std::path::Path;
use std::time::{Duration, Instant};

use socket2::{Domain, SockAddr, Type};

use super::halves::{ReadHalf, Stream, WriteHalf};
use super::socket::{Socket, next_incoming};
use super::types::{accept_timeout, read_timeout, socket_type, stream_type, write_timeout};
use crate::runtime::{Direction, cancelled, timed_out};
use crate::{task, time};

/// A connection within one machine: `std::os::unix::net::UnixStream`, for tasks.
///
/// # Examples
/// ```
/// use osier::net::UnixStream;
/// use std::io::{Read, Write};
///
/// osier::run(|| {
///     let (mut here, mut there) = UnixStream::pair()?;
///     let answer = osier::spawn(move || {
///         let mut word = [0; 4];
///         there.read_exact(&mut word).and_then(|()| there.write_all(&word.map(|byte| byte.to_ascii_uppercase())))
///     });
///     here.write_all(b"twig")?;
///     assert_eq!(std::io::read_to_string(&mut here)?, "TWIG");
///     answer.join().unwrap()
/// })?;
/// # Ok::<(), std::io::Error>(())
/// ```
pub struct UnixStream {
    socket: Socket<std_net::UnixStream>,
}

socket_type!(UnixStream, std_net::UnixStream);
stream_type!(UnixStream);

impl UnixStream {
    /// Connects to the socket at `path`.
    ///
    /// # Suspends
    /// While the listener's backlog is full. The system does not tell when that ends, so it is tried again, after 1 ms and
    /// ever less often.
    ///
    /// # Cancel safety
    /// A caller that is cancelled has connected nothing.
    ///
    /// # Errors
    /// As std's; [`InvalidInput`](io::ErrorKind::InvalidInput) for a path with a NUL byte in it, also as its first.
    pub fn connect<P: AsRef<Path>>(path: P) -> io::Result<Self> {
        Self::connect_to(&path_to_system(path.as_ref())?, None)
    }

    /// Connects as [`connect`](Self::connect) does, until `deadline` at most.
    ///
    /// # Suspends
    /// As [`connect`](Self::connect).
    ///
    /// # Cancel safety
    /// As [`connect`](Self::connect).
    ///
    /// # Errors
    /// As [`connect`](Self::connect); [`TimedOut`](io::ErrorKind::TimedOut) when the time is over.
    pub fn connect_deadline<P: AsRef<Path>>(path: P, deadline: Instant) -> io::Result<Self> {
        Self::connect_to(&path_to_system(path.as_ref())?, Some(deadline))
    }

    /// Connects to the socket of that address, which need not be a path.
    ///
    /// # Suspends
    /// As [`connect`](Self::connect).
    ///
    /// # Cancel safety
    /// As [`connect`](Self::connect).
    ///
    /// # Errors
    /// As std's.
    pub fn connect_addr(address: &SocketAddr) -> io::Result<Self> {
        Self::connect_to(&to_system(address)?, None)
    }

    fn connect_to(address: &SockAddr, deadline: Option<Instant>) -> io::Result<Self> {
        let connect = || {
            let socket = socket2::Socket::new(Domain::UNIX, Type::STREAM, None)?;
            socket.set_nonblocking(true)?;
            socket.connect(address).map(|()| Self { socket: Socket::of_nonblocking(OwnedFd::from(socket).into()) })
        };
        again_and_again(deadline, connect)
    }

    /// Two that are connected to each other.
    ///
    /// # Errors
    /// As std's.
    pub fn pair() -> io::Result<(Self, Self)> {
        let (one, other) = std_net::UnixStream::pair()?;
        Ok((Self::of_std(one)?, Self::of_std(other)?))
    }

    /// Our address.
    ///
    /// # Errors
    /// As std's.
    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        self.socket.ask(|socket| socket.local_addr())
    }

    /// The peer's address.
    ///
    /// # Errors
    /// As std's.
    pub fn peer_addr(&self) -> io::Result<SocketAddr> {
        self.socket.ask(|socket| socket.peer_addr())
    }
}

/// A Unix socket that accepts connections: `std::os::unix::net::UnixListener`, for tasks.
///
/// Its file stays when it is dropped, as std's.
pub struct UnixListener {
    socket: Socket<std_net::UnixListener>,
}

socket_type!(UnixListener, std_net::UnixListener);

impl UnixListener {
    accept_timeout!();

    /// Makes a socket at `path`, and listens.
    ///
    /// # Errors
    /// As std's.
    pub fn bind<P: AsRef<Path>>(path: P) -> io::Result<Self> {
        Self::from_std(std_net::UnixListener::bind(path)?)
    }

    /// Makes a socket of that address, which need not be a path, and listens.
    ///
    /// # Errors
    /// As std's.
    ///
    /// # Examples
    /// ```
    /// # #[cfg(target_os = "linux")]
    /// osier::run(|| {
    ///     use osier::net::{UnixListener, UnixStream};
    ///     use std::os::linux::net::SocketAddrExt;
    ///     use std::os::unix::net::SocketAddr;
    ///
    ///     // A name without a file.
    ///     let address = SocketAddr::from_abstract_name(format!("willow-{}", std::process::id()))?;
    ///     let listener = UnixListener::bind_addr(&address)?;
    ///     UnixStream::connect_addr(&address)?;
    ///     listener.accept()?;
    ///     Ok::<(), std::io::Error>(())
    /// })?;
    /// # Ok::<(), std::io::Error>(())
    /// ```
    pub fn bind_addr(address: &SocketAddr) -> io::Result<Self> {
        Self::from_std(std_net::UnixListener::bind_addr(address)?)
    }

    /// Takes the next connection.
    ///
    /// # Suspends
    /// Until there is one.
    ///
    /// # Cancel safety
    /// Nothing is lost: a connection stays with the system until it is returned.
    ///
    /// # Errors
    /// As std's. [`TimedOut`](io::ErrorKind::TimedOut) after the time that [`set_accept_timeout`](Self::set_accept_timeout)
    /// has set.
    pub fn accept(&self) -> io::Result<(UnixStream, SocketAddr)> {
        let (stream, address) = self.socket.call(Direction::Read, std_net::UnixListener::accept)?;
        Ok((UnixStream::of_std(stream)?, address))
    }

    /// Takes a connection if there is one.
    pub(super) fn try_accept(&self) -> io::Result<(UnixStream, SocketAddr)> {
        let (stream, address) = self.socket.try_call(std_net::UnixListener::accept)?;
        Ok((UnixStream::of_std(stream)?, address))
    }

    /// Waits until there may be a connection; also in non-blocking mode.
    pub(super) fn wait_readable(&self) -> io::Result<()> {
        self.socket.wait_readable()
    }

    /// The connections, one after the other. They end with the error that says that the listener was closed.
    pub fn incoming(&self) -> UnixIncoming<'_> {
        UnixIncoming { listener: self, has_ended: false }
    }

    /// Our address.
    ///
    /// # Errors
    /// As std's.
    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        self.socket.ask(|socket| socket.local_addr())
    }
}

impl<'a> IntoIterator for &'a UnixListener {
    type Item = io::Result<UnixStream>;
    type IntoIter = UnixIncoming<'a>;

    fn into_iter(self) -> UnixIncoming<'a> {
        self.incoming()
    }
}

/// The connections of a [`UnixListener`].
#[derive(Debug)]
pub struct UnixIncoming<'a> {
    listener: &'a UnixListener,
    /// Whether it was told that the listener is closed.
    has_ended: bool,
}

impl Iterator for UnixIncoming<'_> {
    type Item = io::Result<UnixStream>;

    fn next(&mut self) -> Option<Self::Item> {
        next_incoming(&mut self.has_ended, || self.listener.accept()).map(|next| next.map(|(stream, _)| stream))
    }
}

impl FusedIterator for UnixIncoming<'_> {}

/// Calls `call` until it does not fail for want of room, of which the system does not tell; until `deadline` at most. It pauses
/// in between, for 1 ms at first, and ever longer.
pub(super) fn again_and_again<T>(deadline: Option<Instant>, mut call: impl FnMut() -> io::Result<T>) -> io::Result<T> {
    let mut pause = Duration::from_millis(1);
    loop {
        match call() {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            answer => return answer,
        }
        let left = deadline.map(|deadline| deadline.saturating_duration_since(time::now()));
        if left == Some(Duration::ZERO) {
            return Err(timed_out());
        }
        time::sleep(left.map_or(pause, |left| pause.min(left)));
        if task::ends_by_cancel() {
            return Err(cancelled());
        }
        pause = (2 * pause).min(Duration::from_millis(50));
    }
}

/// A path as the system has it. By std's address, which refuses what the system would take for another path, or for none.
fn path_to_system(path: &Path) -> io::Result<SockAddr> {
    to_system(&SocketAddr::from_pathname(path)?)
}

/// An address of std's as the system has it.
fn to_system(address: &SocketAddr) -> io::Result<SockAddr> {
    match (address.as_pathname(), abstract_name(address)) {
        (Some(path), _) => SockAddr::unix(path),
        (None, Some(name)) => SockAddr::unix(OsStr::from_bytes(&[b"\0", name].concat())),
        // Nobody's: as std, the system says so.
        (None, None) => SockAddr::unix(""),
    }
}

/// A name that is no path, which only Linux has.
#[cfg(any(target_os = "linux", target_os = "android"))]
fn abstract_name(address: &SocketAddr) -> Option<&[u8]> {
    #[cfg(target_os = "android")]
    use std::os::android::net::SocketAddrExt;
    #[cfg(target_os = "linux")]
    use std::os::linux::net::SocketAddrExt;
    address.as_abstract_name()
}

#[cfg(not(any(target_os = "linux", target_os = "android")))]
fn abstract_name(_address: &SocketAddr) -> Option<&[u8]> {
    None
}
