//! Any descriptor, and waiting until it is ready.

use std::fmt;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, RawFd};
use std::time::{Duration, Instant};

use super::when::When;
use crate::runtime::{self, Direction, Registration, closed};
use crate::{task, time};

/// A descriptor of whatever kind, to wait for: a library's connection, a pipe, a terminal, an inotify instance.
///
/// The descriptor is put into non-blocking mode, which belongs to the open file and is seen by everybody who shares it. A
/// regular file is always ready.
///
/// One descriptor belongs in one `Ready`, which any number of tasks may share: a worker watches a descriptor once. For more, make
/// duplicates.
///
/// [`io`](Self::io) tries a call and waits when it would block; [`readable`](Self::readable) and
/// [`writable`](Self::writable) are for code that wants to try by itself.
///
/// # Examples
/// ```
/// use osier::net::Ready;
/// use std::io::{Read, Write};
///
/// osier::run(|| {
///     let (reader, mut writer) = std::io::pipe()?;
///     let reader = Ready::new(reader)?;
///     let read = osier::spawn(move || {
///         let mut byte = [0];
///         reader.io(|| reader.get_ref().read(&mut byte)).map(|_| byte[0])
///     });
///     osier::yield_now();
///     writer.write_all(&[7])?;
///     assert_eq!(read.join().unwrap()?, 7);
///     Ok::<(), std::io::Error>(())
/// })?;
/// # Ok::<(), std::io::Error>(())
/// ```
pub struct Ready<T> {
    // First, so that it is dropped first: the descriptor leaves its pollers before it is closed.
    pub(super) registration: Registration,
    io: T,
}

impl<T: AsFd> Ready<T> {
    /// Takes a descriptor, and puts it into non-blocking mode.
    ///
    /// `io` must give the same descriptor for as long as it lives.
    ///
    /// # Errors
    /// The system refuses the mode.
    pub fn new(io: T) -> io::Result<Self> {
        set_nonblocking(io.as_fd())?;
        Ok(Self::of_nonblocking(io))
    }

    /// Of a descriptor that is in non-blocking mode.
    pub(super) fn of_nonblocking(io: T) -> Self {
        Self { registration: Registration::new(io.as_fd().as_raw_fd()), io }
    }

    /// What was put in.
    pub fn get_ref(&self) -> &T {
        &self.io
    }

    /// What was put in. It must keep its descriptor: put nothing else in its place.
    pub fn get_mut(&mut self) -> &mut T {
        &mut self.io
    }

    /// Gives back what was put in, in non-blocking mode.
    pub fn into_inner(self) -> T {
        let Self { registration, io } = self;
        drop(registration);
        io
    }

    /// Waits until the system says that a read would not block. With several who read, another may be faster.
    ///
    /// # Suspends
    /// The calling task; on a plain thread, the thread.
    ///
    /// # Cancel safety
    /// Nothing is lost: what is ready stays so.
    ///
    /// # Errors
    /// The system cannot wait for this kind of descriptor, or it was closed. `EEXIST` if this worker watches it already for
    /// another `Ready`.
    pub fn readable(&self) -> io::Result<()> {
        self.wait(Direction::Read, None)
    }

    /// Waits as [`readable`](Self::readable) does, for at most `timeout`.
    ///
    /// # Suspends
    /// As [`readable`](Self::readable).
    ///
    /// # Cancel safety
    /// As [`readable`](Self::readable).
    ///
    /// # Errors
    /// As [`readable`](Self::readable); [`TimedOut`](io::ErrorKind::TimedOut) when the time is over.
    pub fn readable_timeout(&self, timeout: Duration) -> io::Result<()> {
        self.wait(Direction::Read, Some(timeout))
    }

    /// Waits as [`readable`](Self::readable) does, until `deadline` at most.
    ///
    /// # Suspends
    /// As [`readable`](Self::readable).
    ///
    /// # Cancel safety
    /// As [`readable`](Self::readable).
    ///
    /// # Errors
    /// As [`readable_timeout`](Self::readable_timeout).
    pub fn readable_deadline(&self, deadline: Instant) -> io::Result<()> {
        self.readable_timeout(deadline.saturating_duration_since(time::now()))
    }

    /// Waits until a write is worth trying, as [`readable`](Self::readable) does.
    ///
    /// # Suspends
    /// As [`readable`](Self::readable).
    ///
    /// # Cancel safety
    /// As [`readable`](Self::readable).
    ///
    /// # Errors
    /// As [`readable`](Self::readable).
    pub fn writable(&self) -> io::Result<()> {
        self.wait(Direction::Write, None)
    }

    /// Waits as [`writable`](Self::writable) does, for at most `timeout`.
    ///
    /// # Suspends
    /// As [`readable`](Self::readable).
    ///
    /// # Cancel safety
    /// As [`readable`](Self::readable).
    ///
    /// # Errors
    /// As [`readable_timeout`](Self::readable_timeout).
    pub fn writable_timeout(&self, timeout: Duration) -> io::Result<()> {
        self.wait(Direction::Write, Some(timeout))
    }

    /// Waits as [`writable`](Self::writable) does, until `deadline` at most.
    ///
    /// # Suspends
    /// As [`readable`](Self::readable).
    ///
    /// # Cancel safety
    /// As [`readable`](Self::readable).
    ///
    /// # Errors
    /// As [`readable_timeout`](Self::readable_timeout).
    pub fn writable_deadline(&self, deadline: Instant) -> io::Result<()> {
        self.writable_timeout(deadline.saturating_duration_since(time::now()))
    }

    /// That it becomes readable, as one of several things to wait for.
    pub fn when_readable(&self) -> When<'_> {
        When::new(self, Direction::Read)
    }

    /// That it becomes writable, as one of several things to wait for.
    pub fn when_writable(&self) -> When<'_> {
        When::new(self, Direction::Write)
    }

    /// Asks the system before it returns: what is known may be old.
    fn wait(&self, direction: Direction, timeout: Option<Duration>) -> io::Result<()> {
        self.registration.ready(direction, timeout, || runtime::is_ready(self.as_raw_fd(), direction))
    }

    /// Calls `call` until it does not fail with [`WouldBlock`](io::ErrorKind::WouldBlock), and waits in between until the
    /// descriptor is readable: for calls that read, or accept.
    ///
    /// # Suspends
    /// As [`readable`](Self::readable), and now and then in any case.
    ///
    /// # Cancel safety
    /// It is cancelled before a `call` or after one that would have blocked, never after one that has done something.
    ///
    /// # Errors
    /// Those of `call`, and as [`readable`](Self::readable).
    pub fn io<R>(&self, call: impl FnMut() -> io::Result<R>) -> io::Result<R> {
        self.registration.io(Direction::Read, None, call, |_| false)
    }

    /// As [`io`](Self::io), for calls that write: it waits until the descriptor is writable.
    ///
    /// # Suspends
    /// As [`io`](Self::io).
    ///
    /// # Cancel safety
    /// As [`io`](Self::io).
    ///
    /// # Errors
    /// As [`io`](Self::io).
    pub fn io_write<R>(&self, call: impl FnMut() -> io::Result<R>) -> io::Result<R> {
        self.registration.io(Direction::Write, None, call, |_| false)
    }

    /// Makes a call that may find that it would block, which is its caller's business; gives way to others now and then.
    pub(super) fn try_call<R>(&self, call: impl FnOnce(&T) -> io::Result<R>) -> io::Result<R> {
        task::spend();
        if self.registration.is_closed() {
            return Err(closed());
        }
        call(&self.io).map_err(|error| if self.registration.is_closed() { closed() } else { error })
    }

    /// Makes a call that is to move no bytes: the system is asked whether all is well, and there is nothing to wait for.
    pub(crate) fn call_for_nothing(&self, call: impl FnOnce(&T) -> io::Result<usize>) -> io::Result<usize> {
        match self.try_call(call) {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(0),
            answer => answer,
        }
    }
}

impl<T: AsFd> AsFd for Ready<T> {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.io.as_fd()
    }
}

impl<T: AsFd> AsRawFd for Ready<T> {
    fn as_raw_fd(&self) -> RawFd {
        self.io.as_fd().as_raw_fd()
    }
}

impl<T: fmt::Debug> fmt::Debug for Ready<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Ready").field(&self.io).finish()
    }
}

pub(super) fn set_nonblocking(fd: BorrowedFd<'_>) -> io::Result<()> {
    // SAFETY: it takes no pointers, and the descriptor is open.
    let flags = unsafe { libc::fcntl(fd.as_raw_fd(), libc::F_GETFL) };
    if flags < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: as above.
    let set = || unsafe { libc::fcntl(fd.as_raw_fd(), libc::F_SETFL, flags | libc::O_NONBLOCK) };
    if flags & libc::O_NONBLOCK == 0 && set() < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

/// Puts a descriptor of ours back into blocking mode. That does not fail for one that is open.
pub(super) fn set_blocking(fd: BorrowedFd<'_>) {
    // SAFETY: it takes no pointers, and the descriptor is open.
    let flags = unsafe { libc::fcntl(fd.as_raw_fd(), libc::F_GETFL) };
    // SAFETY: as above.
    unsafe { libc::fcntl(fd.as_raw_fd(), libc::F_SETFL, flags & !libc::O_NONBLOCK) };
}
