//! Datagrams of Unix domain sockets.

use std::fmt;
use std::io;
use std::net::Shutdown;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, IntoRawFd, OwnedFd, RawFd};
use std::os::unix::net::{self as std_net, SocketAddr};
use std::path::Path;
use std::time::Duration;

use super::socket::Socket;
use super::types::{read_timeout, socket_type, write_timeout};
use super::unix::again_and_again;
use crate::runtime::Direction;
use crate::sync::waiting::after;

/// Datagrams within one machine: `std::os::unix::net::UnixDatagram`, for tasks.
pub struct UnixDatagram {
    socket: Socket<std_net::UnixDatagram>,
}

socket_type!(UnixDatagram, std_net::UnixDatagram);

impl UnixDatagram {
    read_timeout!(socket);
    write_timeout!(socket);

    /// Makes a socket at `path`.
    ///
    /// # Errors
    /// As std's.
    pub fn bind<P: AsRef<Path>>(path: P) -> io::Result<Self> {
        Self::from_std(std_net::UnixDatagram::bind(path)?)
    }

    /// Makes a socket of that address, which need not be a path.
    ///
    /// # Errors
    /// As std's.
    pub fn bind_addr(address: &SocketAddr) -> io::Result<Self> {
        Self::from_std(std_net::UnixDatagram::bind_addr(address)?)
    }

    /// One without an address, to send from.
    ///
    /// # Errors
    /// As std's.
    pub fn unbound() -> io::Result<Self> {
        Self::from_std(std_net::UnixDatagram::unbound()?)
    }

    /// Whether it was shut down for reading.
    pub(super) fn has_ended(&self) -> bool {
        self.socket.has_ended()
    }

    /// Waits until there may be a datagram; also in non-blocking mode.
    pub(super) fn wait_readable(&self) -> io::Result<()> {
        self.socket.wait_readable()
    }

    /// Two that are connected to each other.
    ///
    /// # Errors
    /// As std's.
    pub fn pair() -> io::Result<(Self, Self)> {
        let (one, other) = std_net::UnixDatagram::pair()?;
        Ok((Self::of_std(one)?, Self::of_std(other)?))
    }

    /// Sets whom `send` sends to.
    ///
    /// # Errors
    /// As std's.
    pub fn connect<P: AsRef<Path>>(&self, path: P) -> io::Result<()> {
        self.socket.ask(|socket| socket.connect(path))
    }

    /// Sets whom `send` sends to, by an address, which need not be a path.
    ///
    /// # Errors
    /// As std's.
    pub fn connect_addr(&self, address: &SocketAddr) -> io::Result<()> {
        self.socket.ask(|socket| socket.connect_addr(address))
    }

    /// Receives a datagram; what does not fit is cut off. Of a socket that was shut down for reading it gives an empty one, of
    /// nobody.
    ///
    /// # Suspends
    /// Until there is one.
    ///
    /// # Cancel safety
    /// Nothing is lost: a datagram that was not given stays.
    ///
    /// # Errors
    /// As std's.
    pub fn recv_from(&self, buffer: &mut [u8]) -> io::Result<(usize, SocketAddr)> {
        self.socket.receive(|| Ok((0, SocketAddr::from_pathname("")?)), |socket| socket.recv_from(buffer))
    }

    /// As [`recv_from`](Self::recv_from), without the sender's address.
    ///
    /// # Suspends
    /// As [`recv_from`](Self::recv_from).
    ///
    /// # Cancel safety
    /// As [`recv_from`](Self::recv_from).
    ///
    /// # Errors
    /// As std's.
    pub fn recv(&self, buffer: &mut [u8]) -> io::Result<usize> {
        self.socket.receive(|| Ok(0), |socket| socket.recv(buffer))
    }

    /// Sends a datagram to the socket at `path`.
    ///
    /// # Suspends
    /// Until there is room. When it is the receiver's queue that is full, and this socket is not connected to it, the
    /// system does not tell when that ends: it is tried again, after 1 ms and ever less often.
    ///
    /// # Cancel safety
    /// A datagram is sent as a whole, or not at all.
    ///
    /// # Errors
    /// As std's.
    pub fn send_to<P: AsRef<Path>>(&self, bytes: &[u8], path: P) -> io::Result<usize> {
        let path = path.as_ref();
        self.send_by(|socket| socket.send_to(bytes, path))
    }

    /// Sends a datagram to the socket of that address, which need not be a path.
    ///
    /// # Suspends
    /// As [`send_to`](Self::send_to).
    ///
    /// # Cancel safety
    /// As [`send_to`](Self::send_to).
    ///
    /// # Errors
    /// As std's.
    pub fn send_to_addr(&self, bytes: &[u8], address: &SocketAddr) -> io::Result<usize> {
        self.send_by(|socket| socket.send_to_addr(bytes, address))
    }

    fn send_by(&self, mut send: impl FnMut(&std_net::UnixDatagram) -> io::Result<usize>) -> io::Result<usize> {
        if self.socket.is_nonblocking() {
            return self.socket.try_call(send);
        }
        let deadline = self.socket.timeout(Direction::Write).and_then(after);
        again_and_again(deadline, || self.socket.try_call(&mut send))
    }

    /// Sends a datagram to the peer that the socket is connected to.
    ///
    /// # Suspends
    /// Until there is room.
    ///
    /// # Cancel safety
    /// A datagram is sent as a whole, or not at all.
    ///
    /// # Errors
    /// As std's.
    pub fn send(&self, bytes: &[u8]) -> io::Result<usize> {
        self.socket.call(Direction::Write, |socket| socket.send(bytes))
    }

    /// Ends one direction, or both.
    ///
    /// # Errors
    /// It is not connected.
    pub fn shutdown(&self, how: Shutdown) -> io::Result<()> {
        self.socket.shutdown(|socket| socket.shutdown(how))
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
    /// It is not connected.
    pub fn peer_addr(&self) -> io::Result<SocketAddr> {
        self.socket.ask(|socket| socket.peer_addr())
    }
}
