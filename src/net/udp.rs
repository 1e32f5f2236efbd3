//! UDP.

use std::fmt;
use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, IntoRawFd, OwnedFd, RawFd};
use std::time::Duration;

use super::resolve::{ToSocketAddrs, for_each_address};
use super::socket::Socket;
use super::types::{read_timeout, socket_type, write_timeout};
use crate::runtime::Direction;

/// A UDP socket: `std::net::UdpSocket`, for tasks.
///
/// # Examples
/// ```
/// use osier::net::UdpSocket;
///
/// osier::run(|| {
///     let server = UdpSocket::bind("127.0.0.1:0")?;
///     let client = UdpSocket::bind("127.0.0.1:0")?;
///     client.send_to(b"ping", server.local_addr()?)?;
///     let mut buffer = [0; 16];
///     let (size, sender) = server.recv_from(&mut buffer)?;
///     assert_eq!((&buffer[..size], sender), (&b"ping"[..], client.local_addr()?));
///     Ok::<(), std::io::Error>(())
/// })?;
/// # Ok::<(), std::io::Error>(())
/// ```
pub struct UdpSocket {
    socket: Socket<std::net::UdpSocket>,
}

socket_type!(UdpSocket, std::net::UdpSocket);

impl UdpSocket {
    read_timeout!(socket);
    write_timeout!(socket);

    /// Binds to the first of the addresses that lets it; to a port that the system chooses if it is 0.
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
        for_each_address(address, std::net::UdpSocket::bind).and_then(Self::from_std)
    }

    /// Whether it was shut down for reading.
    pub(super) fn has_ended(&self) -> bool {
        self.socket.has_ended()
    }

    /// Waits until there may be a datagram; also in non-blocking mode.
    pub(super) fn wait_readable(&self) -> io::Result<()> {
        self.socket.wait_readable()
    }

    /// Sets whom `send` sends to, and from whom alone datagrams are received.
    ///
    /// # Suspends
    /// While names are looked up.
    ///
    /// # Cancel safety
    /// A caller that is cancelled has connected nothing.
    ///
    /// # Errors
    /// That of the last address; there is none.
    pub fn connect<A: ToSocketAddrs>(&self, address: A) -> io::Result<()> {
        for_each_address(address, |address| self.socket.ask(|socket| socket.connect(address)))
    }

    /// Receives a datagram; what does not fit is cut off.
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
        self.socket.receive(nobody, |socket| socket.recv_from(buffer))
    }

    /// As [`recv_from`](Self::recv_from); the datagram stays.
    ///
    /// # Suspends
    /// As [`recv_from`](Self::recv_from).
    ///
    /// # Cancel safety
    /// As [`recv_from`](Self::recv_from).
    ///
    /// # Errors
    /// As std's.
    pub fn peek_from(&self, buffer: &mut [u8]) -> io::Result<(usize, SocketAddr)> {
        self.socket.receive(nobody, |socket| socket.peek_from(buffer))
    }

    /// Sends a datagram, to the first of the addresses.
    ///
    /// # Suspends
    /// While names are looked up, and until there is room.
    ///
    /// # Cancel safety
    /// A datagram is sent as a whole, or not at all.
    ///
    /// # Errors
    /// As std's.
    pub fn send_to<A: ToSocketAddrs>(&self, bytes: &[u8], address: A) -> io::Result<usize> {
        let Some(address) = address.to_socket_addrs()?.next() else {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "no addresses to send data to"));
        };
        self.socket.call(Direction::Write, |socket| socket.send_to(bytes, address))
    }

    /// Receives a datagram from the peer that the socket is connected to.
    ///
    /// # Suspends
    /// Until there is one.
    ///
    /// # Cancel safety
    /// Nothing is lost: a datagram that was not given stays.
    ///
    /// # Errors
    /// As std's; `ConnectionRefused` if the peer's system has said that nobody is there.
    pub fn recv(&self, buffer: &mut [u8]) -> io::Result<usize> {
        self.socket.receive(|| Ok(0), |socket| socket.recv(buffer))
    }

    /// As [`recv`](Self::recv); the datagram stays.
    ///
    /// # Suspends
    /// As [`recv`](Self::recv).
    ///
    /// # Cancel safety
    /// As [`recv`](Self::recv).
    ///
    /// # Errors
    /// As std's.
    pub fn peek(&self, buffer: &mut [u8]) -> io::Result<usize> {
        self.socket.receive(|| Ok(0), |socket| socket.peek(buffer))
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

    /// Our address.
    ///
    /// # Errors
    /// As std's.
    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        self.socket.ask(|socket| socket.local_addr())
    }

    /// The address that the socket is connected to.
    ///
    /// # Errors
    /// It is not connected.
    pub fn peer_addr(&self) -> io::Result<SocketAddr> {
        self.socket.ask(|socket| socket.peer_addr())
    }

    /// Whether it may send to broadcast addresses.
    ///
    /// # Errors
    /// As std's.
    pub fn broadcast(&self) -> io::Result<bool> {
        self.socket.ask(|socket| socket.broadcast())
    }

    /// Sets whether it may send to broadcast addresses.
    ///
    /// # Errors
    /// As std's.
    pub fn set_broadcast(&self, broadcast: bool) -> io::Result<()> {
        self.socket.ask(|socket| socket.set_broadcast(broadcast))
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

    /// Whether what it sends to a group comes back to this machine.
    ///
    /// # Errors
    /// As std's.
    pub fn multicast_loop_v4(&self) -> io::Result<bool> {
        self.socket.ask(|socket| socket.multicast_loop_v4())
    }

    /// Sets whether what it sends to a group comes back to this machine.
    ///
    /// # Errors
    /// As std's.
    pub fn set_multicast_loop_v4(&self, comes_back: bool) -> io::Result<()> {
        self.socket.ask(|socket| socket.set_multicast_loop_v4(comes_back))
    }

    /// How many hops a packet to a group may take.
    ///
    /// # Errors
    /// As std's.
    pub fn multicast_ttl_v4(&self) -> io::Result<u32> {
        self.socket.ask(|socket| socket.multicast_ttl_v4())
    }

    /// Sets how many hops a packet to a group may take.
    ///
    /// # Errors
    /// As std's.
    pub fn set_multicast_ttl_v4(&self, ttl: u32) -> io::Result<()> {
        self.socket.ask(|socket| socket.set_multicast_ttl_v4(ttl))
    }

    /// Whether what it sends to a group comes back to this machine, by IPv6.
    ///
    /// # Errors
    /// As std's.
    pub fn multicast_loop_v6(&self) -> io::Result<bool> {
        self.socket.ask(|socket| socket.multicast_loop_v6())
    }

    /// Sets whether what it sends to a group comes back to this machine, by IPv6.
    ///
    /// # Errors
    /// As std's.
    pub fn set_multicast_loop_v6(&self, comes_back: bool) -> io::Result<()> {
        self.socket.ask(|socket| socket.set_multicast_loop_v6(comes_back))
    }

    /// Joins a multicast group.
    ///
    /// # Errors
    /// As std's.
    pub fn join_multicast_v4(&self, group: &Ipv4Addr, interface: &Ipv4Addr) -> io::Result<()> {
        self.socket.ask(|socket| socket.join_multicast_v4(group, interface))
    }

    /// Leaves a multicast group.
    ///
    /// # Errors
    /// As std's.
    pub fn leave_multicast_v4(&self, group: &Ipv4Addr, interface: &Ipv4Addr) -> io::Result<()> {
        self.socket.ask(|socket| socket.leave_multicast_v4(group, interface))
    }

    /// Joins a multicast group.
    ///
    /// # Errors
    /// As std's.
    pub fn join_multicast_v6(&self, group: &Ipv6Addr, interface: u32) -> io::Result<()> {
        self.socket.ask(|socket| socket.join_multicast_v6(group, interface))
    }

    /// Leaves a multicast group.
    ///
    /// # Errors
    /// As std's.
    pub fn leave_multicast_v6(&self, group: &Ipv6Addr, interface: u32) -> io::Result<()> {
        self.socket.ask(|socket| socket.leave_multicast_v6(group, interface))
    }
}

/// What std gives for a sender that there is not, of a socket whose reading side is shut down.
fn nobody<T>() -> io::Result<T> {
    Err(io::ErrorKind::InvalidInput.into())
}
