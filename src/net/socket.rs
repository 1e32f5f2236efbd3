//! What all sockets, and the ends of pipes, share: one descriptor with its timeouts, in one or more hands.

use std::io::{self, IoSlice, IoSliceMut, Read, Write};
use std::net::Shutdown;
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use socket2::SockRef;

use super::calls::Moves;
use super::ready::{Ready, set_nonblocking};
use super::substitute;
use super::when::When;
use crate::runtime::{Direction, closed, over};

/// No limit, in the nanoseconds of a timeout.
const FOR_EVER: u64 = u64::MAX;
/// The shortest timeout that the system knows: it would take a shorter one for none.
const SHORTEST: Duration = Duration::from_micros(1);
/// How many slices the system takes at most (`IOV_MAX`): std passes no more of them on, so that less is moved than was asked for.
const MOST_SLICES: usize = 1024;

/// One of std's socket types, or a file, in one or more hands.
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
    /// Puts a descriptor into non-blocking mode.
    pub(super) fn new(socket: S) -> io::Result<Self> {
        set_nonblocking(socket.as_fd())?;
        Ok(Self::of_nonblocking(socket))
    }

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

    /// Gives back what was put in, in non-blocking mode. It was never cloned.
    pub(super) fn into_inner(self) -> S {
        Arc::into_inner(self.0).expect("it is in one hand").ready.into_inner()
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

    /// Receives a datagram. Of a socket whose reading side is shut down the system has nothing for a call that does not block, where it
    /// ends one that does: that gives `ended`.
    pub(super) fn receive<R>(
        &self,
        ended: impl Fn() -> io::Result<R>,
        mut receive: impl FnMut(&S) -> io::Result<R>,
    ) -> io::Result<R> {
        self.call(Direction::Read, |socket| match receive(socket) {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock && !self.is_nonblocking() && self.has_ended() => {
                ended()
            }
            received => received,
        })
    }

    /// Whether it was shut down for reading, as far as is known.
    pub(super) fn has_ended(&self) -> bool {
        self.0.ready.registration.may_have_ended()
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
pub(super) trait Bytes: Moves {
    /// Whether a read that gives less has emptied it. Not so in a Unix socket: a read stops at a message that carries
    /// descriptors or another sender's name, and no event comes for what lies behind.
    const SHORT_READ_EMPTIES: bool;
    /// Whether a write that takes less has filled it.
    const SHORT_WRITE_FILLS: bool;
}

impl Bytes for std::net::TcpStream {
    const SHORT_READ_EMPTIES: bool = true;
    const SHORT_WRITE_FILLS: bool = true;
}

impl Bytes for std::os::unix::net::UnixStream {
    const SHORT_READ_EMPTIES: bool = false;
    const SHORT_WRITE_FILLS: bool = true;
}

/// The end of a pipe, or of whatever else a user has taken for one.
impl Bytes for std::fs::File {
    const SHORT_READ_EMPTIES: bool = false;
    const SHORT_WRITE_FILLS: bool = false;
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
        self.read_with(Some(buffer.len()), |stream| stream.receive(buffer))
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
        let is_short = |&count: &usize| S::SHORT_WRITE_FILLS && size.is_some_and(|size| count < size);
        self.call_with(Direction::Write, write, is_short)
    }

    pub(super) fn write(&self, bytes: &[u8]) -> io::Result<usize> {
        self.write_with(Some(bytes.len()), |stream| stream.send(bytes))
    }

    /// Writes everything. A write that has waited for all of its time, and had room for a part then, is the last: the next
    /// would wait as long again.
    pub(super) fn write_all(&self, mut bytes: &[u8]) -> io::Result<()> {
        while !bytes.is_empty() {
            let is_part = |&count: &usize| count < bytes.len();
            let is_short = |count: &usize| S::SHORT_WRITE_FILLS && is_part(count);
            match self.call_telling(Direction::Write, |stream| stream.send(bytes), is_short) {
                Ok((0, _)) => return Err(io::ErrorKind::WriteZero.into()),
                Ok((count, true)) if is_part(&count) => return Err(over()),
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
