//! What the types of sockets have in common, written once: their methods, conversions and traits.
//!
//! Each type is a `Socket` of one of std's types in a field of that name; the macros are used in the files of the types, and
//! name what is imported there.

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

        /// At once puts the descriptor into non-blocking mode, and takes over the timeouts that the system has for it. Of what is
        /// no socket, the calls say so.
        ///
        /// # Panics
        /// If the system refuses the mode, which `TryFrom<OwnedFd>` tells as an error. The descriptor is closed.
        impl FromRawFd for $name {
            unsafe fn from_raw_fd(fd: RawFd) -> Self {
                // SAFETY: the caller's promise: it is open, and nobody else's.
                let fd = unsafe { OwnedFd::from_raw_fd(fd) };
                Self::try_from(fd).unwrap_or_else(|error| panic!("cannot take a descriptor: {error}"))
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

/// `read_timeout` and its kin, where `$end` is a `Socket`.
macro_rules! read_timeout {
    ($end:ident) => {
        /// Limits how long a read waits, for all handles; `None` for no limit. A read that takes longer fails with
        /// [`TimedOut`](io::ErrorKind::TimedOut), and loses nothing.
        ///
        /// # Errors
        /// The timeout is zero.
        pub fn set_read_timeout(&self, timeout: Option<Duration>) -> io::Result<()> {
            self.$end.set_timeout(Direction::Read, timeout)
        }

        /// What [`set_read_timeout`](Self::set_read_timeout) has set.
        ///
        /// # Errors
        /// None; as std's.
        pub fn read_timeout(&self) -> io::Result<Option<Duration>> {
            Ok(self.$end.timeout(Direction::Read))
        }
    };
}
pub(super) use read_timeout;

/// As `read_timeout`, of writes.
macro_rules! write_timeout {
    ($end:ident) => {
        /// Limits how long a write waits, for all handles; `None` for no limit. A write that takes longer fails with
        /// [`TimedOut`](io::ErrorKind::TimedOut), and writes nothing. A `write_all` ends with the first of its writes that
        /// takes longer, also if there was room for a part of it in the end.
        ///
        /// # Errors
        /// The timeout is zero.
        pub fn set_write_timeout(&self, timeout: Option<Duration>) -> io::Result<()> {
            self.$end.set_timeout(Direction::Write, timeout)
        }

        /// What [`set_write_timeout`](Self::set_write_timeout) has set.
        ///
        /// # Errors
        /// None; as std's.
        pub fn write_timeout(&self) -> io::Result<Option<Duration>> {
            Ok(self.$end.timeout(Direction::Write))
        }
    };
}
pub(super) use write_timeout;

/// The timeout of a listener.
macro_rules! accept_timeout {
    () => {
        /// Limits how long an [`accept`](Self::accept) waits, for all handles; `None` for no limit. One that takes longer
        /// fails with [`TimedOut`](io::ErrorKind::TimedOut), and loses nothing. A server waits on.
        ///
        /// # Errors
        /// The timeout is zero.
        pub fn set_accept_timeout(&self, timeout: Option<Duration>) -> io::Result<()> {
            self.socket.set_timeout(Direction::Read, timeout)
        }

        /// What [`set_accept_timeout`](Self::set_accept_timeout) has set.
        ///
        /// # Errors
        /// None; as those of streams.
        pub fn accept_timeout(&self) -> io::Result<Option<Duration>> {
            Ok(self.socket.timeout(Direction::Read))
        }
    };
}
pub(super) use accept_timeout;

/// `Read` and `Write` for a stream type and for references to it.
macro_rules! stream_type {
    ($name:ident) => {
        impl $name {
            read_timeout!(socket);
            write_timeout!(socket);

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
