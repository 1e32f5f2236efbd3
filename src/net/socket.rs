//! What all sockets share: one descriptor with its timeouts, in one or more hands.

use std::io::{self, IoSlice, IoSliceMut, Read, Write};
use std::net::Shutdown;
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use socket2::SockRef;

use super::ready::Ready;
use super::substitute;
use super::when::When;
use crate::runtime::{Direction, closed, over};

/// No limit, in the nanoseconds of a timeout.
const FOR_EVER: u64 = u64::MAX;
/// The shortest timeout that the system knows: it would take a shorter one for none.
const SHORTEST: Duration = Duration::from_micros(1);
/// How many slices the system takes at most (`IOV_MAX`): std passes no more of them on, so that less is moved than was asked for.
const MOST_SLICES: usize = 1024;

/// One of std's socket types, in one or more hands.
#[derive(Debug)]
pub(super) struct Socket<S>(Arc<Inner<S>>);

#[derive(Debug)]
struct Inner<S> {
    ready: Ready<S>,
    /// In nanoseconds.
    read_timeout: AtomicU64,
    write_timeout: AtomicU64,
    /// Whether calls fail that would wait.
    nonblocking: AtomicBool,
}

impl<S> Clone for Socket<S> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

impl<S: AsFd> Socket<S> {
    /// Of a descriptor that is in non-blocking mode.
    pub(super) fn of_nonblocking(socket: S) -> Self {
        Self(Arc::new(Inner {
            ready: Ready::of_nonblocking(socket),
            read_timeout: AtomicU64::new(FOR_EVER),
            write_timeout: AtomicU64::new(FOR_EVER),
            nonblocking: AtomicBool::new(false),
        }))
    }

    pub(super) fn get(&self) -> &S {
        self.0.ready.get_ref()
    }

    pub(super) fn is_same(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }

    /// Takes over the timeouts that the system has for the socket, which a socket in non-blocking mode does not heed.
    pub(super) fn adopt_timeouts(&self) {
        let system = SockRef::from(self);
        // What is no socket has none.
        let (read, write) = (system.read_timeout(), system.write_timeout());
        _ = self.set_timeout(Direction::Read, read.ok().flatten());
        _ = self.set_timeout(Direction::Write, write.ok().flatten());
    }

    /// Gives up this hand: the socket if it was the only one, else a duplicate; with the timeouts, for the system to heed.
    pub(super) fn into_std(self, duplicate: impl FnOnce(&S) -> io::Result<S>) -> io::Result<(S, bool)> {
        let [read, write] = [Direction::Read, Direction::Write]
            .map(|direction| self.timeout(direction).map(|timeout| timeout.max(SHORTEST)));
        let system = SockRef::from(&self);
        if system.read_timeout().is_ok_and(|set| set != read) {
            system.set_read_timeout(read)?;
        }
        if system.write_timeout().is_ok_and(|set| set != write) {
            system.set_write_timeout(write)?;
        }
        match Arc::try_unwrap(self.0) {
            Ok(inner) => Ok((inner.ready.into_inner(), true)),
            Err(shared) => Ok((duplicate(shared.ready.get_ref())?, false)),
        }
    }

    fn timeout_of(&self, direction: Direction) -> &AtomicU64 {
        match direction {
            Direction::Read => &self.0.read_timeout,
            Direction::Write => &self.0.write_timeout,
        }
    }

    pub(super) fn timeout(&self, direction: Direction) -> Option<Duration> {
        match self.timeout_of(direction).load(Relaxed) {
            FOR_EVER => None,
            nanoseconds => Some(Duration::from_nanos(nanoseconds)),
        }
    }

    pub(super) fn set_timeout(&self, direction: Direction, timeout: Option<Duration>) -> io::Result<()> {
        if timeout == Some(Duration::ZERO) {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "a timeout must not be zero"));
        }
        let nanoseconds = timeout.map_or(FOR_EVER, |timeout| timeout.as_nanos().try_into().unwrap_or(FOR_EVER));
        self.timeout_of(direction).store(nanoseconds, Relaxed);
        Ok(())
    }

    pub(super) fn set_nonblocking(&self, nonblocking: bool) {
        self.0.nonblocking.store(nonblocking, Relaxed);
    }

    /// Makes a call that says nothing about the next one.
    pub(super) fn call<R>(&self, direction: Direction, call: impl FnMut(&S) -> io::Result<R>) -> io::Result<R> {
        self.call_with(direction, call, |_| false)
    }

    pub(super) fn is_nonblocking(&self) -> bool {
        self.0.nonblocking.load(Relaxed)
    }

    pub(super) fn is_closed(&self) -> bool {
        self.0.ready.registration.is_closed()
    }

    /// Makes a call that may find that it would block, which is its caller's business.
    pub(super) fn try_call<R>(&self, call: impl FnOnce(&S) -> io::Result<R>) -> io::Result<R> {
        self.0.ready.try_call(call)
    }

    /// Asks the system about the socket, or changes what it is: a call that neither waits nor moves anything.
    pub(super) fn ask<R>(&self, call: impl FnOnce(&S) -> io::Result<R>) -> io::Result<R> {
        if self.is_closed() {
            return Err(closed());
        }
        let answer = call(self.get());
        // Closed meanwhile, it may be what took the descriptor's place that has answered.
        if self.is_closed() { Err(closed()) } else { answer }
    }

    /// Ends one direction, or both, by `shutdown`; and has those who wait see it, of which the system does not tell all of them.
    pub(super) fn shutdown(&self, shutdown: impl FnOnce(&S) -> io::Result<()>) -> io::Result<()> {
        self.ask(shutdown)?;
        self.0.ready.registration.wake();
        Ok(())
    }

    fn call_with<R>(
        &self,
        direction: Direction,
        call: impl FnMut(&S) -> io::Result<R>,
        is_short: impl Fn(&R) -> bool,
    ) -> io::Result<R> {
        self.call_telling(direction, call, is_short).map(|(value, _)| value)
    }

    /// As `call_with`; tells beside the value whether the time was over before the call that gave it.
    fn call_telling<R>(
        &self,
        direction: Direction,
        mut call: impl FnMut(&S) -> io::Result<R>,
        is_short: impl Fn(&R) -> bool,
    ) -> io::Result<(R, bool)> {
        if self.is_nonblocking() {
            return self.try_call(call).map(|value| (value, false));
        }
        let registration = &self.0.ready.registration;
        registration.io_telling(direction, self.timeout(direction), || call(self.get()), is_short)
    }

    pub(super) fn when(&self, direction: Direction) -> When<'_> {
        When::new(&self.0.ready, direction)
    }

    /// Waits until a call that reads, or accepts, is worth trying; without a limit, also in non-blocking mode.
    pub(super) fn wait_readable(&self) -> io::Result<()> {
        self.0.ready.readable()
    }

    /// Waits until what has been begun, a connection, has become of something; for at most `timeout`.
    pub(super) fn wait_for(
        &self,
        timeout: Option<Duration>,
        is_done: impl Fn(&S) -> io::Result<bool>,
    ) -> io::Result<()> {
        let registration = &self.0.ready.registration;
        registration.begin(Direction::Write);
        registration.ready(Direction::Write, timeout, || is_done(self.get()))
    }

    /// Closes the socket for everybody who shares it.
    ///
    /// Its number is kept, for a substitute, until the last hand lets go: somebody may be about to use it.
    pub(super) fn close(&self) -> io::Result<()> {
        if !self.0.ready.registration.close() {
            return Err(closed());
        }
        // What cannot be replaced can still be ended, for the peer, or for those who would connect.
        substitute::replace(self.as_fd())
            .or_else(|error| SockRef::from(self).shutdown(Shutdown::Both).map_err(|_| error))
    }
}

impl<S: AsFd> AsFd for Socket<S> {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.get().as_fd()
    }
}

/// A stream of std's, and what a call tells of it that moved less than it was asked to.
pub(super) trait Bytes {
    /// Whether a read that gives less has emptied it. Not so in a Unix socket: a read stops at a message that carries
    /// descriptors or another sender's name, and no event comes for what lies behind.
    const SHORT_READ_EMPTIES: bool;
}

impl Bytes for std::net::TcpStream {
    const SHORT_READ_EMPTIES: bool = true;
}

impl Bytes for std::os::unix::net::UnixStream {
    const SHORT_READ_EMPTIES: bool = false;
}

/// Streams: what was asked for and not had is not there, as far as the kind of stream says so.
impl<S: AsFd + Bytes> Socket<S>
where
    for<'a> &'a S: Read + Write,
{
    /// `size` is what is asked for; none where the system was not asked for all of it.
    fn read_with(&self, size: Option<usize>, read: impl FnMut(&S) -> io::Result<usize>) -> io::Result<usize> {
        if size == Some(0) {
            return self.0.ready.call_for_nothing(read);
        }
        let is_short = |&count: &usize| S::SHORT_READ_EMPTIES && 0 < count && size.is_some_and(|size| count < size);
        self.call_with(Direction::Read, read, is_short)
    }

    pub(super) fn read(&self, buffer: &mut [u8]) -> io::Result<usize> {
        self.read_with(Some(buffer.len()), |mut stream| stream.read(buffer))
    }

    /// Reads by a call that leaves what it shows, so that the next one finds it.
    pub(super) fn peek(&self, size: usize, peek: impl FnMut(&S) -> io::Result<usize>) -> io::Result<usize> {
        if size == 0 { self.0.ready.call_for_nothing(peek) } else { self.call(Direction::Read, peek) }
    }

    pub(super) fn read_vectored(&self, buffers: &mut [IoSliceMut<'_>]) -> io::Result<usize> {
        let size = buffers.iter().map(|buffer| buffer.len()).sum();
        let size = (buffers.len() <= MOST_SLICES || size == 0).then_some(size);
        self.read_with(size, |mut stream| stream.read_vectored(buffers))
    }

    /// As `read_with`. What was not taken has no room.
    fn write_with(&self, size: Option<usize>, write: impl FnMut(&S) -> io::Result<usize>) -> io::Result<usize> {
        if size == Some(0) {
            return self.0.ready.call_for_nothing(write);
        }
        self.call_with(Direction::Write, write, |&count| size.is_some_and(|size| count < size))
    }

    pub(super) fn write(&self, bytes: &[u8]) -> io::Result<usize> {
        self.write_with(Some(bytes.len()), |mut stream| stream.write(bytes))
    }

    /// Writes everything. A write that has waited for all of its time, and had room for a part then, is the last: the next
    /// would wait as long again.
    pub(super) fn write_all(&self, mut bytes: &[u8]) -> io::Result<()> {
        while !bytes.is_empty() {
            let is_short = |&count: &usize| count < bytes.len();
            match self.call_telling(Direction::Write, |mut stream| stream.write(bytes), is_short) {
                Ok((0, _)) => return Err(io::ErrorKind::WriteZero.into()),
                Ok((count, true)) if is_short(&count) => return Err(over()),
                Ok((count, _)) => bytes = &bytes[count..],
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    pub(super) fn write_vectored(&self, buffers: &[IoSlice<'_>]) -> io::Result<usize> {
        let size = buffers.iter().map(|buffer| buffer.len()).sum();
        let size = (buffers.len() <= MOST_SLICES || size == 0).then_some(size);
        self.write_with(size, |mut stream| stream.write_vectored(buffers))
    }
}

/// The next that is accepted, until one call has failed since the listener is closed: then so would all that follow.
pub(super) fn next_incoming<T>(has_ended: &mut bool, accept: impl FnOnce() -> io::Result<T>) -> Option<io::Result<T>> {
    if *has_ended {
        return None;
    }
    let accepted = accept();
    *has_ended = accepted.as_ref().is_err_and(|error| error.raw_os_error() == Some(libc::EBADF));
    Some(accepted)
}

/// What every socket type has.
macro_rules! socket_type {
    ($name:ident, $std:ty) => {
        impl $name {
            /// Takes one of std's, with its timeouts, and puts it into non-blocking mode.
            ///
            /// # Errors
            /// The system refuses the mode.
            pub fn from_std(socket: $std) -> io::Result<Self> {
                let this = Self::of_std(socket)?;
                this.socket.adopt_timeouts();
                Ok(this)
            }

            /// Takes one of std's that has no timeouts.
            fn of_std(socket: $std) -> io::Result<Self> {
                socket.set_nonblocking(true)?;
                Ok(Self { socket: Socket::of_nonblocking(socket) })
            }

            /// Gives it back as one of std's, with its timeouts, in blocking mode.
            ///
            /// If there are clones of it, it is a duplicate, and in non-blocking mode: that belongs to the socket, and the
            /// clones need it.
            ///
            /// # Errors
            /// It was closed. The system refuses the mode, or the duplicate.
            pub fn into_std(self) -> io::Result<$std> {
                self.socket.ask(|_| Ok(()))?;
                self.give_away()
            }

            /// As [`into_std`](Self::into_std); of what was closed, what took its place.
            fn give_away(self) -> io::Result<$std> {
                let (socket, is_only) = self.socket.into_std(<$std>::try_clone)?;
                match socket.set_nonblocking(!is_only) {
                    // What took its place has no mode.
                    Err(error) if error.raw_os_error() != Some(libc::EBADF) => Err(error),
                    _ => Ok(socket),
                }
            }

            /// Another handle to the same socket. Timeouts and options are the socket's.
            ///
            /// # Errors
            /// None; as std's.
            pub fn try_clone(&self) -> io::Result<Self> {
                Ok(Self { socket: self.socket.clone() })
            }

            /// Closes it at once, for everybody who shares it: whoever waits for it, and whoever uses it later, gets `EBADF`.
            /// A duplicate that was made by other means stays open.
            ///
            /// # Errors
            /// It was closed before. The system is out of descriptors: waits have ended, but the socket, of datagrams that is
            /// not connected, keeps its address until the last handle is dropped. All others are shut down in its stead.
            pub fn close(&self) -> io::Result<()> {
                self.socket.close()
            }

            /// That it becomes readable, or that there is somebody to accept, as one of several things to wait for: a branch
            /// `wait(..)` of [`select!`](crate::select!), an object of [`wait`](fn@crate::wait).
            pub fn when_readable(&self) -> crate::net::When<'_> {
                self.socket.when(Direction::Read)
            }

            /// That it becomes writable, as one of several things to wait for.
            pub fn when_writable(&self) -> crate::net::When<'_> {
                self.socket.when(Direction::Write)
            }

            /// The error that is pending on the socket, which is taken.
            ///
            /// # Errors
            /// The system cannot tell.
            pub fn take_error(&self) -> io::Result<Option<io::Error>> {
                self.socket.ask(|socket| socket.take_error())
            }

            /// Makes calls that would wait fail with [`WouldBlock`](io::ErrorKind::WouldBlock) instead, for all handles.
            ///
            /// # Errors
            /// None; as std's.
            pub fn set_nonblocking(&self, nonblocking: bool) -> io::Result<()> {
                self.socket.set_nonblocking(nonblocking);
                Ok(())
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.socket.get().fmt(f)
            }
        }

        impl TryFrom<$std> for $name {
            type Error = io::Error;

            fn try_from(socket: $std) -> io::Result<Self> {
                Self::from_std(socket)
            }
        }

        impl TryFrom<$name> for $std {
            type Error = io::Error;

            fn try_from(socket: $name) -> io::Result<Self> {
                socket.into_std()
            }
        }

        impl TryFrom<OwnedFd> for $name {
            type Error = io::Error;

            fn try_from(fd: OwnedFd) -> io::Result<Self> {
                Self::from_std(fd.into())
            }
        }

        /// Of a socket that was closed it is what keeps its number: nothing that can be read, written or waited for.
        ///
        /// # Panics
        /// If there are clones of it and the system refuses a duplicate.
        impl From<$name> for OwnedFd {
            fn from(socket: $name) -> Self {
                socket.give_away().unwrap_or_else(|error| panic!("cannot give a socket away: {error}")).into()
            }
        }

        /// # Panics
        /// If there are clones of it and the system refuses a duplicate.
        impl IntoRawFd for $name {
            fn into_raw_fd(self) -> RawFd {
                OwnedFd::from(self).into_raw_fd()
            }
        }

        impl AsFd for $name {
            fn as_fd(&self) -> BorrowedFd<'_> {
                self.socket.as_fd()
            }
        }

        impl AsRawFd for $name {
            fn as_raw_fd(&self) -> RawFd {
                self.socket.as_fd().as_raw_fd()
            }
        }
    };
}
pub(super) use socket_type;

/// `read_timeout` and its kin.
macro_rules! timeouts {
    () => {
        /// Limits how long a read waits, for all handles; `None` for no limit. A read that takes longer fails with
        /// [`TimedOut`](io::ErrorKind::TimedOut), and loses nothing.
        ///
        /// # Errors
        /// The timeout is zero.
        pub fn set_read_timeout(&self, timeout: Option<Duration>) -> io::Result<()> {
            self.socket.set_timeout(Direction::Read, timeout)
        }

        /// Limits how long a write waits, as [`set_read_timeout`](Self::set_read_timeout) does for reads. A `write_all` ends
        /// with the first of its writes that takes longer, also if there was room for a part of it in the end.
        ///
        /// # Errors
        /// The timeout is zero.
        pub fn set_write_timeout(&self, timeout: Option<Duration>) -> io::Result<()> {
            self.socket.set_timeout(Direction::Write, timeout)
        }

        /// What [`set_read_timeout`](Self::set_read_timeout) has set.
        ///
        /// # Errors
        /// None; as std's.
        pub fn read_timeout(&self) -> io::Result<Option<Duration>> {
            Ok(self.socket.timeout(Direction::Read))
        }

        /// What [`set_write_timeout`](Self::set_write_timeout) has set.
        ///
        /// # Errors
        /// None; as std's.
        pub fn write_timeout(&self) -> io::Result<Option<Duration>> {
            Ok(self.socket.timeout(Direction::Write))
        }
    };
}
pub(super) use timeouts;

/// `Read` and `Write` for a stream type and for references to it.
macro_rules! stream_type {
    ($name:ident) => {
        impl $name {
            timeouts!();

            /// Ends one direction, or both: waits end as they would if the peer had ended, and later writes fail.
            ///
            /// # Errors
            /// It is not connected.
            pub fn shutdown(&self, how: Shutdown) -> io::Result<()> {
                self.socket.shutdown(|socket| socket.shutdown(how))
            }

            /// Splits it into two halves that may go different ways. `try_clone`, and `Read` and `Write` for `&Self`, serve
            /// as well; a [`WriteHalf`] ends its direction when it is dropped.
            pub fn into_split(self) -> (ReadHalf<Self>, WriteHalf<Self>) {
                let other = Self { socket: self.socket.clone() };
                (ReadHalf::new(other), WriteHalf::new(self))
            }
        }

        impl super::halves::sealed::Sealed for $name {}

        impl Stream for $name {
            fn is_same(&self, other: &Self) -> bool {
                self.socket.is_same(&other.socket)
            }

            fn end_write(&self) {
                // It fails if the peer is gone, which says the same.
                _ = self.shutdown(Shutdown::Write);
            }
        }

        /// # Suspends
        /// Each call until there is something to read, or the peer has ended.
        ///
        /// # Cancel safety
        /// Nothing is lost: what was not read stays.
        impl Read for &$name {
            fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
                self.socket.read(buffer)
            }

            fn read_vectored(&mut self, buffers: &mut [IoSliceMut<'_>]) -> io::Result<usize> {
                self.socket.read_vectored(buffers)
            }
        }

        /// # Suspends
        /// Each call until there is something to read, or the peer has ended.
        ///
        /// # Cancel safety
        /// Nothing is lost: what was not read stays.
        impl Read for $name {
            fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
                self.socket.read(buffer)
            }

            fn read_vectored(&mut self, buffers: &mut [IoSliceMut<'_>]) -> io::Result<usize> {
                self.socket.read_vectored(buffers)
            }
        }

        /// # Suspends
        /// Each call until there is room to write.
        ///
        /// # Cancel safety
        /// A single `write` that is cancelled has written nothing; `write_all`, what its first calls have written.
        impl Write for &$name {
            fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
                self.socket.write(bytes)
            }

            fn write_all(&mut self, bytes: &[u8]) -> io::Result<()> {
                self.socket.write_all(bytes)
            }

            fn write_vectored(&mut self, buffers: &[IoSlice<'_>]) -> io::Result<usize> {
                self.socket.write_vectored(buffers)
            }

            fn flush(&mut self) -> io::Result<()> {
                Ok(())
            }
        }

        /// # Suspends
        /// Each call until there is room to write.
        ///
        /// # Cancel safety
        /// A single `write` that is cancelled has written nothing; `write_all`, what its first calls have written.
        impl Write for $name {
            fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
                self.socket.write(bytes)
            }

            fn write_all(&mut self, bytes: &[u8]) -> io::Result<()> {
                self.socket.write_all(bytes)
            }

            fn write_vectored(&mut self, buffers: &[IoSlice<'_>]) -> io::Result<usize> {
                self.socket.write_vectored(buffers)
            }

            fn flush(&mut self) -> io::Result<()> {
                Ok(())
            }
        }
    };
}
pub(super) use stream_type;
