//! From names to addresses.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV4, SocketAddrV6};
use std::time::{Duration, Instant};
use std::vec;

use crate::runtime::{cancelled, timed_out};
use crate::{task, time};

/// What names addresses: as `std::net::ToSocketAddrs`, for the same types, but names are looked up on the threads of
/// [`task::unblock`], and the caller waits as a task waits. An address that is written out is parsed on the spot.
pub trait ToSocketAddrs {
    /// The addresses.
    type Iter: Iterator<Item = SocketAddr>;

    /// Gives the addresses.
    ///
    /// # Suspends
    /// For names, until they are looked up.
    ///
    /// # Cancel safety
    /// A look-up that has begun runs on, and nobody sees what it found.
    ///
    /// # Errors
    /// The name cannot be found, or is none.
    fn to_socket_addrs(&self) -> io::Result<Self::Iter>;
}

/// Types that std's lookup serves without asking anybody.
macro_rules! at_once {
    ($($name:ty),+) => {$(
        impl ToSocketAddrs for $name {
            type Iter = std::option::IntoIter<SocketAddr>;

            fn to_socket_addrs(&self) -> io::Result<Self::Iter> {
                std::net::ToSocketAddrs::to_socket_addrs(self)
            }
        }
    )+};
}

at_once!(SocketAddr, SocketAddrV4, SocketAddrV6, (IpAddr, u16), (Ipv4Addr, u16), (Ipv6Addr, u16));

fn look_up<A>(name: A) -> io::Result<vec::IntoIter<SocketAddr>>
where
    A: std::net::ToSocketAddrs + Send + 'static,
{
    let resolve = move || name.to_socket_addrs().map(Vec::from_iter);
    task::unblock(resolve).map(Vec::into_iter)
}

impl ToSocketAddrs for (&str, u16) {
    type Iter = vec::IntoIter<SocketAddr>;

    fn to_socket_addrs(&self) -> io::Result<Self::Iter> {
        let (host, port) = *self;
        match host.parse::<IpAddr>() {
            Ok(ip) => Ok(vec![SocketAddr::new(ip, port)].into_iter()),
            Err(_) => look_up((host.to_owned(), port)),
        }
    }
}

impl ToSocketAddrs for (String, u16) {
    type Iter = vec::IntoIter<SocketAddr>;

    fn to_socket_addrs(&self) -> io::Result<Self::Iter> {
        (self.0.as_str(), self.1).to_socket_addrs()
    }
}

impl ToSocketAddrs for str {
    type Iter = vec::IntoIter<SocketAddr>;

    fn to_socket_addrs(&self) -> io::Result<Self::Iter> {
        match self.parse() {
            Ok(address) => Ok(vec![address].into_iter()),
            Err(_) => look_up(self.to_owned()),
        }
    }
}

impl ToSocketAddrs for String {
    type Iter = vec::IntoIter<SocketAddr>;

    fn to_socket_addrs(&self) -> io::Result<Self::Iter> {
        self.as_str().to_socket_addrs()
    }
}

impl<'a> ToSocketAddrs for &'a [SocketAddr] {
    type Iter = std::iter::Copied<std::slice::Iter<'a, SocketAddr>>;

    fn to_socket_addrs(&self) -> io::Result<Self::Iter> {
        Ok(self.iter().copied())
    }
}

impl<const N: usize> ToSocketAddrs for [SocketAddr; N] {
    type Iter = std::array::IntoIter<SocketAddr, N>;

    fn to_socket_addrs(&self) -> io::Result<Self::Iter> {
        Ok((*self).into_iter())
    }
}

impl<T: ToSocketAddrs + ?Sized> ToSocketAddrs for &T {
    type Iter = T::Iter;

    fn to_socket_addrs(&self) -> io::Result<Self::Iter> {
        (**self).to_socket_addrs()
    }
}

/// Those of `addresses` that are of IPv4, or of IPv6, as `source` is: a socket that is bound to it reaches no others.
pub(super) struct Like<'a, A> {
    pub(super) source: &'a SocketAddr,
    pub(super) addresses: A,
}

impl<A: ToSocketAddrs> ToSocketAddrs for Like<'_, A> {
    type Iter = vec::IntoIter<SocketAddr>;

    fn to_socket_addrs(&self) -> io::Result<Self::Iter> {
        let addresses = self.addresses.to_socket_addrs()?;
        let like = addresses.filter(|address| address.is_ipv4() == self.source.is_ipv4());
        Ok(like.collect::<Vec<_>>().into_iter())
    }
}

/// Calls `f` for each address until it succeeds.
pub(super) fn for_each_address<T>(
    addresses: impl ToSocketAddrs,
    f: impl FnMut(SocketAddr) -> io::Result<T>,
) -> io::Result<T> {
    first_of(addresses.to_socket_addrs()?, f)
}

/// As [`for_each_address`], until `deadline` at most; `f` is told how much time is left.
pub(super) fn for_each_address_until<T>(
    addresses: impl ToSocketAddrs,
    deadline: Instant,
    mut f: impl FnMut(SocketAddr, Duration) -> io::Result<T>,
) -> io::Result<T> {
    let addresses = time::timeout_at(deadline, || addresses.to_socket_addrs())??;
    first_of(addresses, |address| match deadline.saturating_duration_since(time::now()) {
        Duration::ZERO => Err(timed_out()),
        left => f(address, left),
    })
}

fn first_of<T>(
    addresses: impl Iterator<Item = SocketAddr>,
    mut f: impl FnMut(SocketAddr) -> io::Result<T>,
) -> io::Result<T> {
    let mut last = None;
    for address in addresses {
        if task::ends_by_cancel() {
            return Err(cancelled());
        }
        match f(address) {
            Ok(value) => return Ok(value),
            Err(error) => last = Some(error),
        }
    }
    Err(last.unwrap_or_else(|| io::Error::new(io::ErrorKind::InvalidInput, "no addresses to try")))
}
