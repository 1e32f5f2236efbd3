//! Pipes.

use std::fmt;
use std::io::{self, IoSlice, IoSliceMut, Read, Write};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, IntoRawFd, OwnedFd, RawFd};
use std::process::{ChildStderr, ChildStdin, ChildStdout, Stdio};
use std::time::Duration;

use super::ready::set_blocking;
use super::socket::Socket;
use super::types::{read_timeout, write_timeout};
use super::when::When;
use crate::runtime::Direction;

/// Makes a pipe, as `std::io::pipe` does: what is written into the second end is read from the first.
///
/// # Errors
/// The system is out of descriptors.
///
/// # Examples
/// ```
/// use osier::net::pipe;
/// use std::io::{Read, Write};
///
/// osier::run(|| {
///     let (mut reader, mut writer) = pipe()?;
///     let read = osier::spawn(move || std::io::read_to_string(&mut reader));
///     writer.write_all(b"sap")?;
///     drop(writer);
///     assert_eq!(read.join().unwrap()?, "sap");
///     Ok::<(), std::io::Error>(())
/// })?;
/// # Ok::<(), std::io::Error>(())
/// ```
pub fn pipe() -> io::Result<(PipeReader, PipeWriter)> {
    let (reader, writer) = io::pipe()?;
    Ok((PipeReader::try_from(OwnedFd::from(reader))?, PipeWriter::try_from(OwnedFd::from(writer))?))
}

/// The end of a pipe that is read from: one of [`pipe`]'s, or a child's output.
///
/// Reading gives the end when all writers are gone.
pub struct PipeReader {
    end: Socket<std::fs::File>,
}

/// The end of a pipe that is written into: one of [`pipe`]'s, or a child's input.
///
/// Writing fails with [`BrokenPipe`](io::ErrorKind::BrokenPipe) when all readers are gone.
pub struct PipeWriter {
    end: Socket<std::fs::File>,
}

impl PipeReader {
    read_timeout!(end);

    /// That there is something to read, or the end, as one of several things to wait for.
    pub fn when_readable(&self) -> When<'_> {
        self.end.when(Direction::Read)
    }
}

impl PipeWriter {
    write_timeout!(end);

    /// That there is room, or nobody who reads, as one of several things to wait for.
    pub fn when_writable(&self) -> When<'_> {
        self.end.when(Direction::Write)
    }
}

macro_rules! pipe_end {
    ($name:ident, $($std:ty),+) => {
        impl $name {
            /// Another descriptor of the same end. The mode belongs to the end: while one of them is used here, none should
            /// be given to a child, which makes it block.
            ///
            /// # Errors
            /// The system is out of descriptors.
            pub fn try_clone(&self) -> io::Result<Self> {
                Ok(Self { end: Socket::new(self.end.ask(std::fs::File::try_clone)?)? })
            }

            /// Closes it at once: whoever waits for it, and whoever uses it later, gets `EBADF`. A duplicate stays open.
            ///
            /// # Errors
            /// It was closed before. The system is out of descriptors: waits have ended, but what is on the other end hears of
            /// it only when this end is dropped.
            pub fn close(&self) -> io::Result<()> {
                self.end.close()
            }

            /// Gives the descriptor away, in non-blocking mode.
            pub fn into_fd(self) -> OwnedFd {
                self.end.into_inner().into()
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.debug_tuple(stringify!($name)).field(&self.as_raw_fd()).finish()
            }
        }

        /// Takes a descriptor of whatever kind, and puts it into non-blocking mode.
        impl TryFrom<OwnedFd> for $name {
            type Error = io::Error;

            fn try_from(fd: OwnedFd) -> io::Result<Self> {
                Ok(Self { end: Socket::new(fd.into())? })
            }
        }

        /// At once puts the descriptor into non-blocking mode.
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

        $(impl TryFrom<$std> for $name {
            type Error = io::Error;

            fn try_from(end: $std) -> io::Result<Self> {
                OwnedFd::from(end).try_into()
            }
        })+

        impl From<$name> for OwnedFd {
            fn from(end: $name) -> Self {
                end.into_fd()
            }
        }

        /// For a child: puts the end back into blocking mode, which programs expect.
        impl From<$name> for Stdio {
            fn from(end: $name) -> Self {
                let fd = end.into_fd();
                set_blocking(fd.as_fd());
                fd.into()
            }
        }

        impl AsFd for $name {
            fn as_fd(&self) -> BorrowedFd<'_> {
                self.end.as_fd()
            }
        }

        impl AsRawFd for $name {
            fn as_raw_fd(&self) -> RawFd {
                self.end.as_fd().as_raw_fd()
            }
        }

        impl IntoRawFd for $name {
            fn into_raw_fd(self) -> RawFd {
                self.into_fd().into_raw_fd()
            }
        }
    };
}

pipe_end!(PipeReader, io::PipeReader, ChildStdout, ChildStderr);
pipe_end!(PipeWriter, io::PipeWriter, ChildStdin);

/// # Suspends
/// Each call until there is something to read, or all writers are gone.
///
/// # Cancel safety
/// Nothing is lost: what was not read stays.
impl Read for &PipeReader {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.end.read(buffer)
    }

    fn read_vectored(&mut self, buffers: &mut [IoSliceMut<'_>]) -> io::Result<usize> {
        self.end.read_vectored(buffers)
    }
}

/// # Suspends
/// Each call until there is something to read, or all writers are gone.
///
/// # Cancel safety
/// Nothing is lost: what was not read stays.
impl Read for PipeReader {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        (&*self).read(buffer)
    }

    fn read_vectored(&mut self, buffers: &mut [IoSliceMut<'_>]) -> io::Result<usize> {
        (&*self).read_vectored(buffers)
    }
}

/// # Suspends
/// Each call until there is room to write.
///
/// # Cancel safety
/// A single `write` that is cancelled has written nothing; `write_all`, what its first calls have written.
impl Write for &PipeWriter {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.end.write(bytes)
    }

    fn write_all(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.end.write_all(bytes)
    }

    fn write_vectored(&mut self, buffers: &[IoSlice<'_>]) -> io::Result<usize> {
        self.end.write_vectored(buffers)
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
impl Write for PipeWriter {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        (&*self).write(bytes)
    }

    fn write_all(&mut self, bytes: &[u8]) -> io::Result<()> {
        (&*self).write_all(bytes)
    }

    fn write_vectored(&mut self, buffers: &[IoSlice<'_>]) -> io::Result<usize> {
        (&*self).write_vectored(buffers)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
