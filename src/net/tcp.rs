//! TCP: streams and listeners.

use std::fmt;
use std::io::{self, IoSlice, IoSliceMut, Read, Write};
use std::iter::FusedIterator;
use std::net::{Shutdown, SocketAddr};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, IntoRawFd, OwnedFd, RawFd};
use std::time::{Duration, Instant};

use socket2::{Domain, Protocol, SockRef, TcpKeepalive, Type};

use super::halves::{ReadHalf, Stream, WriteHalf};
use super::handshake;
use super::resolve::{Like, ToSocketAddrs, for_each_address, for_each_address_until};
use super::socket::{Socket, next_incoming};
use super::types::{accept_timeout, read_timeout, socket_type, stream_type, write_timeout};
use crate::runtime::Direction;
use crate::time;

/// How many connections a listener lets wait to be accepted, where nothing else is said. More than std's 128, which a burst
/// of connections exceeds; the system takes no more than its own limit (`net.core.somaxconn`).
const BACKLOG: i32 = 4096;

/// A TCP connection: `std::net::TcpStream`, for tasks.
///
/// Dropping the last handle closes it.
///
/// # Examples
/// ```
/// use osier::net::{TcpListener, TcpStream};
/// use std::io::{BufRead, BufReader, Write};
///
/// osier::run(|| {
///     let listener = TcpListener::bind("127.0.0.1:0")?;
///     let mut client = TcpStream::connect(listener.local_addr()?)?;
///     let (server, _) = listener.accept()?;
///     client.write_all(b"one line\nanother")?;
///     let mut line = String::new();
///     BufReader::new(&server).read_line(&mut line)?;
///     assert_eq!(line, "one line\n");
///     Ok::<(), std::io::Error>(())
/// })?;
/// # Ok::<(), std::io::Error>(())
/// ```
pub struct TcpStream {
    socket: Socket<std::net::TcpStream>,
}

socket_type!(TcpStream, std::net::TcpStream);
stream_type!(TcpStream);

impl TcpStream {
    /// Connects to the first of the addresses that lets it.
    ///
    /// # Suspends
    /// Until names are looked up and the connection stands.
    ///
    /// # Cancel safety
    /// What was begun is closed.
    ///
    /// # Errors
    /// That of the last address; there is none.
    pub fn connect<A: ToSocketAddrs>(address: A) -> io::Result<Self> {
        for_each_address(address, |address| Self::connect_to(&address, None))
    }

    /// Connects within `timeout`. For names, or several addresses, there is [`connect_deadline`](Self::connect_deadline).
    ///
    /// # Suspends
    /// Until the connection stands.
    ///
    /// # Cancel safety
    /// A connection that does not stand yet is given up.
    ///
    /// # Errors
    /// [`TimedOut`](io::ErrorKind::TimedOut) when the time is over; the timeout is zero.
    pub fn connect_timeout(address: &SocketAddr, timeout: Duration) -> io::Result<Self> {
        Self::connect_to(address, limit(Some(timeout))?)
    }

    /// Connects as [`connect`](Self::connect) does, until `deadline` at most: one limit for looking names up and for all of the
    /// addresses, which are tried one after the other.
    ///
    /// # Suspends
    /// As [`connect`](Self::connect).
    ///
    /// # Cancel safety
    /// As [`connect`](Self::connect).
    ///
    /// # Errors
    /// [`TimedOut`](io::ErrorKind::TimedOut) when the time is over; else that of the last address; there is none.
    ///
    /// # Examples
    /// ```
    /// use osier::net::{TcpListener, TcpStream};
    /// use osier::time;
    /// use std::time::Duration;
    ///
    /// osier::run(|| {
    ///     let listener = TcpListener::bind("127.0.0.1:0")?;
    ///     let name = ("localhost", listener.local_addr()?.port());
    ///     TcpStream::connect_deadline(name, time::now() + Duration::from_secs(10))?;
    ///     Ok::<(), std::io::Error>(())
    /// })?;
    /// # Ok::<(), std::io::Error>(())
    /// ```
    pub fn connect_deadline<A: ToSocketAddrs>(address: A, deadline: Instant) -> io::Result<Self> {
        for_each_address_until(address, deadline, |address, left| Self::connect_to(&address, Some(left)))
    }

    /// Connects from `source`, one of this machine's addresses, to the first of the addresses of its kind that lets it; from a port
    /// that the system chooses if that of `source` is 0. Takes at most `timeout`, or as long as it takes: one limit for looking names
    /// up and for all of the addresses.
    ///
    /// # Suspends
    /// As [`connect`](Self::connect).
    ///
    /// # Cancel safety
    /// As [`connect`](Self::connect).
    ///
    /// # Errors
    /// [`AddrNotAvailable`](io::ErrorKind::AddrNotAvailable) if `source` is not of this machine,
    /// [`AddrInUse`](io::ErrorKind::AddrInUse) if its port is taken; [`TimedOut`](io::ErrorKind::TimedOut) when the time is over;
    /// else that of the last address; there is none of IPv4, or of IPv6, as `source` is; the timeout is zero.
    ///
    /// # Examples
    /// ```
    /// use osier::net::{TcpListener, TcpStream};
    /// use std::time::Duration;
    ///
    /// osier::run(|| {
    ///     let listener = TcpListener::bind("127.0.0.1:0")?;
    ///     let source = "127.0.0.1:0".parse().unwrap();
    ///     let name = ("localhost", listener.local_addr()?.port());
    ///     let stream = TcpStream::connect_from(&source, name, Duration::from_secs(10))?;
    ///     assert_eq!(stream.local_addr()?.ip(), source.ip());
    ///     Ok::<(), std::io::Error>(())
    /// })?;
    /// # Ok::<(), std::io::Error>(())
    /// ```
    pub fn connect_from<A: ToSocketAddrs>(
        source: &SocketAddr,
        address: A,
        timeout: impl Into<Option<Duration>>,
    ) -> io::Result<Self> {
        let connect = |address: SocketAddr, left| {
            let socket = socket_for(&address)?;
            socket.bind(&(*source).into())?;
            Self::connect_socket(socket, &address, left)
        };
        let addresses = Like { source, addresses: address };
        match limit(timeout.into())?.and_then(|timeout| time::now().checked_add(timeout)) {
            Some(deadline) => for_each_address_until(addresses, deadline, |address, left| connect(address, Some(left))),
            None => for_each_address(addresses, |address| connect(address, None)),
        }
    }

    /// Connects a socket that has no peer yet, within `timeout`, or as long as it takes: for options that are to be set before,
    /// or that this type has no name for. Crates as `socket2` make such sockets. The timeouts that the system has for it are taken
    /// over, and it is put into non-blocking mode.
    ///
    /// # Suspends
    /// Until the connection stands.
    ///
    /// # Cancel safety
    /// The socket is closed.
    ///
    /// # Errors
    /// As [`connect_timeout`](Self::connect_timeout); the socket is of another kind than the address, or is none. It is closed.
    ///
    /// # Examples
    /// ```
    /// use osier::net::{TcpListener, TcpStream};
    /// use socket2::{Domain, Socket, Type};
    ///
    /// osier::run(|| {
    ///     let listener = TcpListener::bind("127.0.0.1:0")?;
    ///     let socket = Socket::new(Domain::IPV4, Type::STREAM, None)?;
    ///     // A window of that size is agreed upon when the connection is made.
    ///     socket.set_recv_buffer_size(1 << 17)?;
    ///     let stream = TcpStream::connect_with(socket.into(), &listener.local_addr()?, None)?;
    ///     assert_eq!(stream.peer_addr()?, listener.local_addr()?);
    ///     Ok::<(), std::io::Error>(())
    /// })?;
    /// # Ok::<(), std::io::Error>(())
    /// ```
    pub fn connect_with(
        socket: OwnedFd,
        address: &SocketAddr,
        timeout: impl Into<Option<Duration>>,
    ) -> io::Result<Self> {
        let stream = Self::connect_socket(socket.into(), address, limit(timeout.into())?)?;
        stream.socket.adopt_timeouts();
        Ok(stream)
    }

    fn connect_to(address: &SocketAddr, timeout: Option<Duration>) -> io::Result<Self> {
        Self::connect_socket(socket_for(address)?, address, timeout)
    }

    fn connect_socket(socket: socket2::Socket, address: &SocketAddr, timeout: Option<Duration>) -> io::Result<Self> {
        socket.set_nonblocking(true)?;
        let begun = socket.connect(&(*address).into());
        let stream = Self { socket: Socket::of_nonblocking(socket.into()) };
        match begun {
            Ok(()) => return Ok(stream),
            // An interrupted connect goes on by itself.
            Err(error) if matches!(error.raw_os_error(), Some(libc::EINPROGRESS | libc::EINTR)) => {}
            Err(error) => return Err(error),
        }
        stream.socket.wait_for(timeout, handshake::is_done)?;
        Ok(stream)
    }

    /// The peer's address.
    ///
    /// # Errors
    /// It is not connected any more.
    pub fn peer_addr(&self) -> io::Result<SocketAddr> {
        self.socket.ask(|socket| socket.peer_addr())
    }

    /// Our address.
    ///
    /// # Errors
    /// As std's.
    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        self.socket.ask(|socket| socket.local_addr())
    }

    /// Reads without taking what was read.
    ///
    /// # Suspends
    /// Until there is something to read, or the peer has ended.
    ///
    /// # Cancel safety
    /// Nothing is lost: what was not read stays.
    ///
    /// # Errors
    /// As `read`.
    pub fn peek(&self, buffer: &mut [u8]) -> io::Result<usize> {
        self.socket.peek(buffer.len(), |stream| stream.peek(buffer))
    }

    /// Whether small writes are sent at once (`TCP_NODELAY`).
    ///
    /// # Errors
    /// As std's.
    pub fn nodelay(&self) -> io::Result<bool> {
        self.socket.ask(|socket| socket.nodelay())
    }

    /// Sends small writes at once, without waiting for more.
    ///
    /// # Errors
    /// As std's.
    pub fn set_nodelay(&self, nodelay: bool) -> io::Result<()> {
        self.socket.ask(|socket| socket.set_nodelay(nodelay))
    }

    /// Whether what comes is acknowledged at once, instead of together with an answer (`TCP_QUICKACK`). Linux only.
    ///
    /// # Errors
    /// As the system's.
    #[cfg(any(target_os = "linux", target_os = "android"))]
    pub fn quickack(&self) -> io::Result<bool> {
        self.socket.ask(|socket| SockRef::from(socket).tcp_quickack())
    }

    /// Has what comes acknowledged at once, or not, until the system changes its mind, which it does as it goes on: set it
    /// again after each read. Linux only.
    ///
    /// # Errors
    /// As the system's.
    #[cfg(any(target_os = "linux", target_os = "android"))]
    pub fn set_quickack(&self, quickack: bool) -> io::Result<()> {
        self.socket.ask(|socket| SockRef::from(socket).set_tcp_quickack(quickack))
    }

    /// How many hops a packet may take.
    ///
    /// # Errors
    /// As std's.
    pub fn ttl(&self) -> io::Result<u32> {
        self.socket.ask(|socket| socket.ttl())
    }

    /// Sets how many hops a packet may take.
    ///
    /// # Errors
    /// As std's.
    pub fn set_ttl(&self, ttl: u32) -> io::Result<()> {
        self.socket.ask(|socket| socket.set_ttl(ttl))
    }

    /// How long the system goes on sending after a close (`SO_LINGER`).
    ///
    /// # Errors
    /// As the system's.
    pub fn linger(&self) -> io::Result<Option<Duration>> {
        self.socket.ask(|socket| SockRef::from(socket).linger())
    }

    /// Sets how long the system goes on sending after a close; with zero, a close is a reset.
    ///
    /// With more, the system holds whoever closes it, or drops the last handle, until all is sent or the time is over: a task
    /// holds its worker so long, for this is no wait of ours. Close such a stream in [`unblock`](crate::task::unblock); or
    /// shut it down for writing and read to the peer's end before you drop it, and set none.
    ///
    /// # Errors
    /// As the system's.
    pub fn set_linger(&self, linger: Option<Duration>) -> io::Result<()> {
        self.socket.ask(|socket| SockRef::from(socket).set_linger(linger))
    }

    /// Asks a silent peer whether it is still there after `idle`; `None` for never.
    ///
    /// # Errors
    /// As the system's.
    pub fn set_keepalive(&self, idle: Option<Duration>) -> io::Result<()> {
        match idle {
            Some(idle) => {
                let keepalive = TcpKeepalive::new().with_time(idle);
                self.socket.ask(|socket| SockRef::from(socket).set_tcp_keepalive(&keepalive))
            }
            None => self.socket.ask(|socket| SockRef::from(socket).set_keepalive(false)),
        }
    }
}

/// A TCP socket that accepts connections: `std::net::TcpListener`, for tasks.
///
/// # Examples
/// ```
/// use osier::net::{TcpListener, TcpStream};
///
/// osier::run(|| {
///     let listener = TcpListener::bind("127.0.0.1:0")?;
///     let client = TcpStream::connect(listener.local_addr()?)?;
///     let (server, address) = listener.accept()?;
///     assert_eq!(address, client.local_addr()?);
///     assert_eq!(server.local_addr()?, client.peer_addr()?);
///     Ok::<(), std::io::Error>(())
/// })?;
/// # Ok::<(), std::io::Error>(())
/// ```
pub struct TcpListener {
    socket: Socket<std::net::TcpListener>,
}

socket_type!(TcpListener, std::net::TcpListener);

impl TcpListener {
    accept_timeout!();

    /// Listens on the first of the addresses that lets it; on a port that the system chooses if it is 0.
    ///
    /// # Suspends
    /// While names are looked up.
    ///
    /// # Cancel safety
    /// A caller that is cancelled has bound nothing.
    ///
    /// # Errors
    /// That of the last address; there is none.
    pub fn bind<A: ToSocketAddrs>(address: A) -> io::Result<Self> {
        for_each_address(address, |address| Self::bind_with(&address, BACKLOG, false))
    }

    /// Listens with at most `backlog` connections waiting, and, with `reuse_port`, beside others that do the same: the
    /// system then deals the connections out among them (`SO_REUSEPORT`).
    ///
    /// # Errors
    /// As [`bind`](Self::bind).
    pub fn bind_with(address: &SocketAddr, backlog: i32, reuse_port: bool) -> io::Result<Self> {
        let socket = socket_for(address)?;
        socket.set_reuse_address(true)?;
        if reuse_port {
            socket.set_reuse_port(true)?;
        }
        socket.bind(&(*address).into())?;
        socket.listen(backlog)?;
        Self::from_std(socket.into())
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
    /// As std's. Those that concern one connection alone (`ECONNABORTED`) are tried again.
    /// [`TimedOut`](io::ErrorKind::TimedOut) after the time that [`set_accept_timeout`](Self::set_accept_timeout) has set.
    pub fn accept(&self) -> io::Result<(TcpStream, SocketAddr)> {
        self.accept_by(|socket| socket.call(Direction::Read, std::net::TcpListener::accept))
    }

    /// Takes a connection if there is one.
    pub(super) fn try_accept(&self) -> io::Result<(TcpStream, SocketAddr)> {
        self.accept_by(|socket| socket.try_call(std::net::TcpListener::accept))
    }

    fn accept_by(
        &self,
        accept: impl Fn(&Socket<std::net::TcpListener>) -> io::Result<(std::net::TcpStream, SocketAddr)>,
    ) -> io::Result<(TcpStream, SocketAddr)> {
        loop {
            match accept(&self.socket) {
                Ok((stream, address)) => return Ok((TcpStream::of_std(stream)?, address)),
                Err(error) if error.kind() == io::ErrorKind::ConnectionAborted => {}
                Err(error) => return Err(error),
            }
        }
    }

    /// Waits until there may be a connection; also in non-blocking mode.
    pub(super) fn wait_readable(&self) -> io::Result<()> {
        self.socket.wait_readable()
    }

    /// The connections, one after the other. They end with the error that says that the listener was closed.
    pub fn incoming(&self) -> Incoming<'_> {
        Incoming { listener: self, has_ended: false }
    }

    /// Our address.
    ///
    /// # Errors
    /// As std's.
    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        self.socket.ask(|socket| socket.local_addr())
    }

    /// How many hops a packet may take.
    ///
    /// # Errors
    /// As std's.
    pub fn ttl(&self) -> io::Result<u32> {
        self.socket.ask(|socket| socket.ttl())
    }

    /// Sets how many hops a packet may take.
    ///
    /// # Errors
    /// As std's.
    pub fn set_ttl(&self, ttl: u32) -> io::Result<()> {
        self.socket.ask(|socket| socket.set_ttl(ttl))
    }
}

/// The connections of a [`TcpListener`].
#[derive(Debug)]
pub struct Incoming<'a> {
    listener: &'a TcpListener,
    /// Whether it was told that the listener is closed.
    has_ended: bool,
}

impl Iterator for Incoming<'_> {
    type Item = io::Result<TcpStream>;

    fn next(&mut self) -> Option<Self::Item> {
        next_incoming(&mut self.has_ended, || self.listener.accept()).map(|next| next.map(|(stream, _)| stream))
    }
}

impl FusedIterator for Incoming<'_> {}

/// One for an address of that kind.
fn socket_for(address: &SocketAddr) -> io::Result<socket2::Socket> {
    socket2::Socket::new(Domain::for_address(*address), Type::STREAM, Some(Protocol::TCP))
}

/// A timeout that is one: as std's, not zero.
fn limit(timeout: Option<Duration>) -> io::Result<Option<Duration>> {
    match timeout {
        Some(Duration::ZERO) => Err(io::Error::new(io::ErrorKind::InvalidInput, "a timeout must not be zero")),
        timeout => Ok(timeout),
    }
}
