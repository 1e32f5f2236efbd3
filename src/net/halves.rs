//! The halves of a stream: one reads, the other writes.

use std::error::Error;
use std::fmt;
use std::io::{self, IoSlice, IoSliceMut, Read, Write};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, RawFd};

/// A stream that can be split into halves. Implemented by this crate's streams alone.
pub trait Stream: sealed::Sealed {
    #[doc(hidden)]
    fn is_same(&self, other: &Self) -> bool;
    #[doc(hidden)]
    fn end_write(&self);
}

pub(super) mod sealed {
    /// Keeps `Stream` to this crate.
    #[allow(unnameable_types, reason = "so that nobody else implements it")]
    pub trait Sealed {}
}

/// The half of a stream that reads. See [`TcpStream::into_split`](super::TcpStream::into_split).
#[derive(Debug)]
pub struct ReadHalf<S: Stream>(S);

/// The half of a stream that writes: dropping it ends the direction, and the peer reads the end.
#[derive(Debug)]
pub struct WriteHalf<S: Stream> {
    stream: S,
    /// Whether the drop ends the direction.
    ends: bool,
}

impl<S: Stream> ReadHalf<S> {
    pub(super) fn new(stream: S) -> Self {
        Self(stream)
    }

    /// The stream.
    pub fn get_ref(&self) -> &S {
        &self.0
    }

    /// Puts the two halves of a stream together again.
    ///
    /// # Errors
    /// They are halves of different streams; both come back.
    pub fn reunite(self, mut write: WriteHalf<S>) -> Result<S, ReuniteError<S>> {
        if !self.0.is_same(&write.stream) {
            return Err(ReuniteError(self, write));
        }
        write.ends = false;
        Ok(self.0)
    }
}

impl<S: Stream> WriteHalf<S> {
    pub(super) fn new(stream: S) -> Self {
        Self { stream, ends: true }
    }

    /// The stream.
    pub fn get_ref(&self) -> &S {
        &self.stream
    }
}

impl<S: Stream> Drop for WriteHalf<S> {
    fn drop(&mut self) {
        if self.ends {
            self.stream.end_write();
        }
    }
}

/// # Suspends
/// As the stream.
///
/// # Cancel safety
/// As of the stream.
impl<S: Stream> Read for &ReadHalf<S>
where
    for<'a> &'a S: Read,
{
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.get_ref().read(buffer)
    }

    fn read_vectored(&mut self, buffers: &mut [IoSliceMut<'_>]) -> io::Result<usize> {
        self.get_ref().read_vectored(buffers)
    }
}

/// # Suspends
/// As the stream.
///
/// # Cancel safety
/// As of the stream.
impl<S: Stream> Read for ReadHalf<S>
where
    for<'a> &'a S: Read,
{
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        (&*self).read(buffer)
    }

    fn read_vectored(&mut self, buffers: &mut [IoSliceMut<'_>]) -> io::Result<usize> {
        (&*self).read_vectored(buffers)
    }
}

impl<S: Stream + AsFd> AsFd for ReadHalf<S> {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

impl<S: Stream + AsRawFd> AsRawFd for ReadHalf<S> {
    fn as_raw_fd(&self) -> RawFd {
        self.0.as_raw_fd()
    }
}

/// # Suspends
/// As the stream.
///
/// # Cancel safety
/// As of the stream.
impl<S: Stream> Write for &WriteHalf<S>
where
    for<'a> &'a S: Write,
{
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.get_ref().write(bytes)
    }

    fn write_all(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.get_ref().write_all(bytes)
    }

    fn write_vectored(&mut self, buffers: &[IoSlice<'_>]) -> io::Result<usize> {
        self.get_ref().write_vectored(buffers)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// # Suspends
/// As the stream.
///
/// # Cancel safety
/// As of the stream.
impl<S: Stream> Write for WriteHalf<S>
where
    for<'a> &'a S: Write,
{
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

impl<S: Stream + AsFd> AsFd for WriteHalf<S> {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.stream.as_fd()
    }
}

impl<S: Stream + AsRawFd> AsRawFd for WriteHalf<S> {
    fn as_raw_fd(&self) -> RawFd {
        self.stream.as_raw_fd()
    }
}

/// Two halves are not of one stream.
pub struct ReuniteError<S: Stream>(pub ReadHalf<S>, pub WriteHalf<S>);

impl<S: Stream> fmt::Debug for ReuniteError<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ReuniteError").finish_non_exhaustive()
    }
}

impl<S: Stream> fmt::Display for ReuniteError<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the halves are of different streams")
    }
}

impl<S: Stream> Error for ReuniteError<S> {}
