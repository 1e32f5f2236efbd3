//! A file on a disk: its calls run on the blocking pool, one at a time, in the order in which they were made.
//!
//! A call owns the file's turn, also when its task was cancelled meanwhile: then it goes on alone, and the next call waits
//! for it. What such a read has got is kept for the next one.
//!
//! # Invariants
//! - Whoever has the turn, and nobody else, touches the system's file and what was kept.
//! - Before anything but a read, the file's position is put back to where the user is: before what is kept.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::sync::{Permit, Semaphore};
use crate::task::unblock;

/// How many bytes a read asks for at most: what it copies must not be large for a small answer.
const READ_AT_MOST: usize = 1 << 20;

/// See the module's page.
pub(super) struct Disk {
    inner: Arc<Inner>,
    /// One permit.
    turn: Semaphore,
}

struct Inner {
    file: File,
    kept: Mutex<Kept>,
}

/// What was read, and not given to the user. Locked by whoever has the turn, so it is never waited for.
#[derive(Default)]
struct Kept {
    bytes: Vec<u8>,
    /// How many of them were given.
    given: usize,
}

impl Kept {
    fn rest(&self) -> &[u8] {
        &self.bytes[self.given..]
    }
}

impl Inner {
    fn kept(&self) -> MutexGuard<'_, Kept> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Puts the file's position back to where the user is.
    fn settle(&self) -> io::Result<()> {
        let mut kept = self.kept();
        let ahead = i64::try_from(kept.rest().len()).expect("a read is shorter than that");
        if ahead > 0 {
            (&self.file).seek(SeekFrom::Current(-ahead))?;
        }
        *kept = Kept::default();
        Ok(())
    }
}

impl Disk {
    pub(super) fn new(file: File) -> Self {
        Self { inner: Arc::new(Inner { file, kept: Mutex::default() }), turn: Semaphore::new(1) }
    }

    pub(super) fn file(&self) -> &File {
        &self.inner.file
    }

    /// The file, when all calls have ended.
    pub(super) fn into_file(self) -> io::Result<File> {
        let _turn = self.turn.hold();
        self.inner.settle()?;
        Ok(Arc::into_inner(self.inner).expect("whoever had a turn has let go of the file before").file)
    }

    /// Runs a call on the pool, when it is its turn.
    fn call<T: Send + 'static>(&self, call: impl FnOnce(&Inner) -> io::Result<T> + Send + 'static) -> io::Result<T> {
        let turn = self.turn.hold();
        let inner = self.inner.clone();
        unblock(move || {
            let result = call(&inner);
            drop(inner);
            drop(turn);
            result
        })
    }

    /// As `call`, for what must be where the user is.
    pub(super) fn settled<T: Send + 'static>(
        &self,
        call: impl FnOnce(&File) -> io::Result<T> + Send + 'static,
    ) -> io::Result<T> {
        self.call(|inner| {
            inner.settle()?;
            call(&inner.file)
        })
    }

    pub(super) fn read(&self, buffer: &mut [u8]) -> io::Result<usize> {
        let wanted = buffer.len().min(READ_AT_MOST);
        if wanted == 0 {
            return Ok(0);
        }
        let turn = self.turn.hold();
        let (result, _turn) = if self.inner.kept().rest().is_empty() {
            self.fill(turn, move |mut file, bytes| {
                bytes.resize(wanted, 0);
                let count = file.read(bytes);
                bytes.truncate(*count.as_ref().unwrap_or(&0));
                count.map(drop)
            })
        } else {
            (Ok(()), turn)
        };
        result?;
        let mut kept = self.inner.kept();
        let count = kept.rest().len().min(buffer.len());
        buffer[..count].copy_from_slice(&kept.rest()[..count]);
        kept.given += count;
        Ok(count)
    }

    /// Appends all that is left of the file to `buffer`: one call on the pool, where reads by themselves would be many.
    pub(super) fn read_to_end(&self, buffer: &mut Vec<u8>) -> io::Result<usize> {
        let (result, _turn) = self.fill(self.turn.hold(), |mut file, bytes| file.read_to_end(bytes).map(drop));
        let kept = std::mem::take(&mut *self.inner.kept());
        buffer.extend_from_slice(kept.rest());
        result.map(|()| kept.rest().len())
    }

    /// Lets `read` add to what is kept, on the pool.
    fn fill(
        &self,
        turn: Permit,
        read: impl FnOnce(&File, &mut Vec<u8>) -> io::Result<()> + Send + 'static,
    ) -> (io::Result<()>, Permit) {
        let inner = self.inner.clone();
        unblock(move || {
            let mut kept = inner.kept();
            let Kept { bytes, given } = &mut *kept;
            bytes.drain(..std::mem::take(given));
            let result = read(&inner.file, bytes);
            drop(kept);
            drop(inner);
            (result, turn)
        })
    }

    /// Writes all of `bytes`, or as much as the system takes before it fails.
    pub(super) fn write(&self, bytes: &[u8]) -> io::Result<usize> {
        let bytes = bytes.to_owned();
        self.settled(move |file| write_all(file, &bytes))
    }

    pub(super) fn seek(&self, to: SeekFrom) -> io::Result<u64> {
        self.settled(move |mut file| file.seek(to))
    }
}

/// Writes in as many calls as it takes. An error only if nothing was written.
pub(super) fn write_all(mut file: &File, bytes: &[u8]) -> io::Result<usize> {
    let mut written = 0;
    while written < bytes.len() {
        match file.write(&bytes[written..]) {
            Ok(0) => break,
            Ok(count) => written += count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(_) if written > 0 => break,
            Err(error) => return Err(error),
        }
    }
    Ok(written)
}
