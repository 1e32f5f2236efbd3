//! An open file: on a disk, or something that can be waited for.

use std::fmt;
use std::fs::{Metadata, Permissions};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::os::unix::fs::FileTypeExt;
use std::path::Path;

use super::disk::Disk;
use super::open::OpenOptions;
use crate::net::Ready;
use crate::sync::Semaphore;
use crate::task::unblock;

/// An open file, as `std::fs::File`.
///
/// Its calls run on the blocking pool; those of a pipe with a name, a terminal or another device wait in the reactor. Any
/// number of tasks may use one file. Calls on it are made one after the other, and a `write` writes everything that it was
/// given, so what two tasks write never mixes. Dropping closes it, after what was begun.
///
/// # Cancel safety
/// A task that is cancelled in a call unwinds at once, and the call goes on: what a read has got is given by the next read;
/// a write is written. On a pipe or a device a read has not been made; of a write nobody knows how far it came.
///
/// # Examples
/// ```
/// use osier::fs::File;
/// use std::io::{BufRead, BufReader};
///
/// let first = osier::run(|| BufReader::new(File::open("Cargo.toml")?).lines().next().unwrap())?;
/// assert_eq!(first, "[package]");
/// # Ok::<(), std::io::Error>(())
/// ```
pub struct File(Way);

enum Way {
    Disk(Disk),
    /// And whose turn it is to write.
    Device(Ready<std::fs::File>, Semaphore),
}

impl File {
    /// Opens a file for reading.
    ///
    /// # Suspends
    /// As [`OpenOptions::open`].
    ///
    /// # Cancel safety
    /// As [`OpenOptions::open`].
    ///
    /// # Errors
    /// Those of `std::fs::File::open`.
    pub fn open(path: impl AsRef<Path>) -> io::Result<Self> {
        Self::options().read(true).open(path)
    }

    /// Opens a file for writing: an empty one, in place of what was there.
    ///
    /// # Suspends
    /// As [`OpenOptions::open`].
    ///
    /// # Cancel safety
    /// As [`OpenOptions::open`].
    ///
    /// # Errors
    /// Those of `std::fs::File::create`.
    pub fn create(path: impl AsRef<Path>) -> io::Result<Self> {
        Self::options().write(true).create(true).truncate(true).open(path)
    }

    /// Opens a file for reading and writing that must not be there yet.
    ///
    /// # Suspends
    /// As [`OpenOptions::open`].
    ///
    /// # Cancel safety
    /// As [`OpenOptions::open`].
    ///
    /// # Errors
    /// Those of `std::fs::File::create_new`.
    pub fn create_new(path: impl AsRef<Path>) -> io::Result<Self> {
        Self::options().read(true).write(true).create_new(true).open(path)
    }

    /// Begins to say how a file is opened.
    pub fn options() -> OpenOptions {
        OpenOptions::new()
    }

    fn std(&self) -> &std::fs::File {
        match &self.0 {
            Way::Disk(disk) => disk.file(),
            Way::Device(ready, _) => ready.get_ref(),
        }
    }

    /// Makes a call in its turn, on the blocking pool.
    fn call<T: Send + 'static>(
        &self,
        call: impl FnOnce(&std::fs::File) -> io::Result<T> + Send + 'static,
    ) -> io::Result<T> {
        match &self.0 {
            Way::Disk(disk) => disk.settled(call),
            Way::Device(ready, _) => {
                let file = ready.get_ref().try_clone()?;
                unblock(move || call(&file))
            }
        }
    }

    /// Sees to it that what was written, and what the system knows of the file, is on the disk.
    ///
    /// # Suspends
    /// The calling task, or on a plain thread the thread. So do all that follow.
    ///
    /// # Cancel safety
    /// What has begun is done.
    ///
    /// # Errors
    /// Those of `std::fs::File::sync_all`.
    pub fn sync_all(&self) -> io::Result<()> {
        self.call(std::fs::File::sync_all)
    }

    /// Sees to it that what was written is on the disk.
    ///
    /// # Errors
    /// Those of `std::fs::File::sync_data`.
    pub fn sync_data(&self) -> io::Result<()> {
        self.call(std::fs::File::sync_data)
    }

    /// Sets how many bytes it has, and leaves the position as it is.
    ///
    /// # Errors
    /// Those of `std::fs::File::set_len`.
    pub fn set_len(&self, size: u64) -> io::Result<()> {
        self.call(move |file| file.set_len(size))
    }

    /// What the system knows of it.
    ///
    /// # Errors
    /// Those of `std::fs::File::metadata`.
    pub fn metadata(&self) -> io::Result<Metadata> {
        self.call(std::fs::File::metadata)
    }

    /// Changes who may read and write it.
    ///
    /// # Errors
    /// Those of `std::fs::File::set_permissions`.
    pub fn set_permissions(&self, permissions: Permissions) -> io::Result<()> {
        self.call(move |file| file.set_permissions(permissions))
    }

    /// Makes another handle of the same open file: they share the position.
    ///
    /// # Errors
    /// Those of `std::fs::File::try_clone`.
    pub fn try_clone(&self) -> io::Result<Self> {
        self.call(std::fs::File::try_clone)?.try_into()
    }

    /// Gives the file to code that blocks, when all calls have ended. What was a pipe or a device stays in non-blocking mode.
    ///
    /// # Errors
    /// Its position cannot be put to where it was read to; only after a read that was cancelled.
    pub fn into_std(self) -> io::Result<std::fs::File> {
        match self.0 {
            Way::Disk(disk) => disk.into_file(),
            Way::Device(ready, _) => Ok(ready.into_inner()),
        }
    }
}

/// Takes a file of std. What can be waited for is put into non-blocking mode, which everybody sees who shares it.
impl TryFrom<std::fs::File> for File {
    type Error = io::Error;

    fn try_from(file: std::fs::File) -> io::Result<Self> {
        let kind = file.metadata()?.file_type();
        let can_be_awaited = kind.is_fifo() || kind.is_char_device() || kind.is_socket();
        let way =
            if can_be_awaited { Way::Device(Ready::new(file)?, Semaphore::new(1)) } else { Way::Disk(Disk::new(file)) };
        Ok(Self(way))
    }
}

/// As of a file of std.
impl TryFrom<OwnedFd> for File {
    type Error = io::Error;

    fn try_from(fd: OwnedFd) -> io::Result<Self> {
        std::fs::File::from(fd).try_into()
    }
}

/// # Suspends
/// Each call: the calling task, or on a plain thread the thread.
///
/// # Cancel safety
/// `read` loses nothing: what one that was cancelled got is given by the next one, or still there. Of a disk, no call does; of a
/// pipe, `read_to_string` loses what it has read, and `read_to_end` leaves that in the buffer.
impl Read for &File {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match &self.0 {
            Way::Disk(disk) => disk.read(buffer),
            Way::Device(ready, _) => Device(ready).read(buffer),
        }
    }

    fn read_to_end(&mut self, buffer: &mut Vec<u8>) -> io::Result<usize> {
        match &self.0 {
            Way::Disk(disk) => disk.read_to_end(buffer),
            Way::Device(ready, _) => Device(ready).read_to_end(buffer),
        }
    }

    fn read_to_string(&mut self, buffer: &mut String) -> io::Result<usize> {
        let mut bytes = Vec::new();
        self.read_to_end(&mut bytes)?;
        let text = str::from_utf8(&bytes).map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))?;
        buffer.push_str(text);
        Ok(text.len())
    }
}

/// Reads a device in pieces, as std reads whatever it knows nothing of.
struct Device<'a>(&'a Ready<std::fs::File>);

impl Read for Device<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if buffer.is_empty() {
            return self.0.call_for_nothing(|mut device| device.read(buffer));
        }
        self.0.io(|| self.0.get_ref().read(buffer))
    }
}

/// # Suspends
/// Each call: the calling task, or on a plain thread the thread.
///
/// # Cancel safety
/// A write to a disk that is cancelled once it has begun is done all the same. To a pipe or a device as much is written as there
/// was room for.
impl Write for &File {
    /// Writes everything, unless an error comes in between.
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match &self.0 {
            Way::Disk(disk) => disk.write(bytes),
            // It mixes with nothing, and needs no turn.
            Way::Device(ready, _) if bytes.is_empty() => ready.call_for_nothing(|mut device| device.write(bytes)),
            Way::Device(ready, turn) => {
                let _turn = turn.hold();
                let mut written = 0;
                while written < bytes.len() {
                    match ready.io_write(|| ready.get_ref().write(&bytes[written..])) {
                        Ok(0) => break,
                        Ok(count) => written += count,
                        Err(_) if written > 0 => break,
                        Err(error) => return Err(error),
                    }
                }
                Ok(written)
            }
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// # Suspends
/// Each call: the calling task, or on a plain thread the thread.
///
/// # Cancel safety
/// A seek that is cancelled once it has begun is done all the same.
impl Seek for &File {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        match &self.0 {
            Way::Disk(disk) => disk.seek(to),
            Way::Device(ready, _) => ready.get_ref().seek(to),
        }
    }
}

/// # Suspends
/// Each call: the calling task, or on a plain thread the thread.
///
/// # Cancel safety
/// `read` loses nothing: what one that was cancelled got is given by the next one, or still there. Of a disk, no call does; of a
/// pipe, `read_to_string` loses what it has read, and `read_to_end` leaves that in the buffer.
impl Read for File {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        (&*self).read(buffer)
    }

    fn read_to_end(&mut self, buffer: &mut Vec<u8>) -> io::Result<usize> {
        (&*self).read_to_end(buffer)
    }

    fn read_to_string(&mut self, buffer: &mut String) -> io::Result<usize> {
        (&*self).read_to_string(buffer)
    }
}

/// # Suspends
/// Each call: the calling task, or on a plain thread the thread.
///
/// # Cancel safety
/// A write to a disk that is cancelled once it has begun is done all the same. To a pipe or a device as much is written as there
/// was room for.
impl Write for File {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        (&*self).write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// # Suspends
/// Each call: the calling task, or on a plain thread the thread.
///
/// # Cancel safety
/// A seek that is cancelled once it has begun is done all the same.
impl Seek for File {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        (&*self).seek(to)
    }
}

impl AsFd for File {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.std().as_fd()
    }
}

impl AsRawFd for File {
    fn as_raw_fd(&self) -> RawFd {
        self.std().as_raw_fd()
    }
}

impl fmt::Debug for File {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.std().fmt(f)
    }
}
