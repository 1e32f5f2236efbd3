//! Pipes.

use std::fmt;
use std::io::{self, IoSlice, IoSliceMut, Read, Write};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, IntoRawFd, OwnedFd, RawFd};
use std::process::{ChildStderr, ChildStdin, ChildStdout, Stdio};

use super::ready::{Ready, set_blocking};
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
    end: Ready<std::fs::File>,
}

/// The end of a pipe that is written into: one of [`pipe`]'s, or a child's input.
///
/// Writing fails with [`BrokenPipe`](io::ErrorKind::BrokenPipe) when all readers are gone.
pub struct PipeWriter {
    end: Ready<std::fs::File>,
}

impl PipeReader {
    /// That there is something to read, or the end, as one of several things to wait for.
    pub fn when_readable(&self) -> When<'_> {
        self.end.when_readable()
    }
}

impl PipeWriter {
    /// That there is room, or nobody who reads, as one of several things to wait for.
    pub fn when_writable(&self) -> When<'_> {
        self.end.when_writable()
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
                Ok(Self { end: Ready::new(self.end.get_ref().try_clone()?)? })
            }

            /// Makes a call, which waits; but not for nothing, as when all it is to move is nothing.
            fn call(
                &self,
                direction: Direction,
                is_empty: bool,
                call: impl FnMut(&std::fs::File) -> io::Result<usize>,
            ) -> io::Result<usize> {
                if is_empty {
                    return self.end.call_for_nothing(call);
                }
                self.end.io_with(direction, None, call, |_| false)
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
                Ok(Self { end: Ready::new(fd.into())? })
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
                self.end.as_raw_fd()
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
        self.call(Direction::Read, buffer.is_empty(), |mut end| end.read(buffer))
    }

    fn read_vectored(&mut self, buffers: &mut [IoSliceMut<'_>]) -> io::Result<usize> {
        self.call(Direction::Read, buffers.iter().all(|buffer| buffer.is_empty()), |mut end| end.read_vectored(buffers))
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
        self.call(Direction::Write, bytes.is_empty(), |mut end| end.write(bytes))
    }

    fn write_vectored(&mut self, buffers: &[IoSlice<'_>]) -> io::Result<usize> {
        self.call(Direction::Write, buffers.iter().all(|buffer| buffer.is_empty()), |mut end| {
            end.write_vectored(buffers)
        })
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

    fn write_vectored(&mut self, buffers: &[IoSlice<'_>]) -> io::Result<usize> {
        (&*self).write_vectored(buffers)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
