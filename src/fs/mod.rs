//! Files, by std's names: a call that waits lets other tasks run.
//!
//! The system has no way to wait for a disk, so what touches it runs on the threads of [`task::unblock`](crate::task::unblock).
//! What can be waited for, pipes with a name and terminals, is waited for like a socket. [`File`] knows which is which.
//!
//! The functions do what std's functions of the same names do; each is one call on a thread made for blocking. For many small
//! calls in a row, one `unblock` around a function of plain std calls is cheaper: a call here costs some microseconds.
//!
//! ```
//! use osier::fs::{self, File};
//! use std::io::{Read, Seek, Write};
//!
//! let path = std::env::temp_dir().join(format!("osier-fs-{}", std::process::id()));
//! osier::run(|| {
//!     fs::write(&path, "willow")?;
//!     let mut file = File::options().read(true).append(true).open(&path)?;
//!     file.write_all(b" tree")?;
//!     file.rewind()?;
//!     let mut text = String::new();
//!     file.read_to_string(&mut text)?;
//!     assert_eq!(text, "willow tree");
//!     fs::remove_file(&path)
//! })?;
//! # Ok::<(), std::io::Error>(())
//! ```
//!
//! # Rooms
//! - `file`: an open file. `open`: how it is opened. `disk`: calls on the blocking pool, in order. Here: functions of paths.
//!
//! How it works: `arch-notes/processes.md`.

mod disk;
mod file;
mod open;

pub use file::File;
pub use open::OpenOptions;

use std::fs as std_fs;
use std::io;
use std::iter::FusedIterator;
use std::path::{Path, PathBuf};
use std::vec;

use crate::task::unblock;

/// Functions that are std's, on the blocking pool.
macro_rules! of_std {
    ($($(#[doc = $doc:literal])+ $name:ident($($path:ident),+) -> $out:ty;)+) => {
        $(
            $(#[doc = $doc])+
            ///
            /// # Suspends
            /// The calling task, or on a plain thread the thread.
            ///
            /// # Cancel safety
            /// What has begun is done.
            ///
            /// # Errors
            #[doc = concat!("Those of `std::fs::", stringify!($name), "`.")]
            pub fn $name($($path: impl AsRef<Path>),+) -> io::Result<$out> {
                $(let $path = $path.as_ref().to_owned();)+
                unblock(move || std_fs::$name($($path),+))
            }
        )+
    };
}

of_std! {
    /// The whole of a file, as bytes.
    read(path) -> Vec<u8>;
    /// The whole of a file, as text.
    read_to_string(path) -> String;
    /// What the system knows of a file, or of that which a link points to.
    metadata(path) -> std_fs::Metadata;
    /// What the system knows of a file or a link.
    symlink_metadata(path) -> std_fs::Metadata;
    /// Copies a file, and says how many bytes it had.
    copy(from, to) -> u64;
    /// Gives a file another name, in place of what had it.
    rename(from, to) -> ();
    /// Makes a second name of a file.
    hard_link(original, link) -> ();
    /// Removes a file.
    remove_file(path) -> ();
    /// Makes a directory.
    create_dir(path) -> ();
    /// Makes a directory, and those that it is in.
    create_dir_all(path) -> ();
    /// Removes an empty directory.
    remove_dir(path) -> ();
    /// Removes a directory with all that is in it.
    remove_dir_all(path) -> ();
    /// The absolute path without links.
    canonicalize(path) -> PathBuf;
    /// What a link points to.
    read_link(path) -> PathBuf;
    /// Whether there is such a file.
    exists(path) -> bool;
}

/// Makes a file of these bytes, in place of what was there.
///
/// # Suspends
/// The calling task, or on a plain thread the thread.
///
/// # Cancel safety
/// What has begun is done.
///
/// # Errors
/// Those of `std::fs::write`.
pub fn write(path: impl AsRef<Path>, contents: impl AsRef<[u8]>) -> io::Result<()> {
    let (path, contents) = (path.as_ref().to_owned(), contents.as_ref().to_owned());
    unblock(move || std_fs::write(path, contents))
}

/// Changes who may read and write a file.
///
/// # Suspends
/// The calling task, or on a plain thread the thread.
///
/// # Cancel safety
/// What has begun is done.
///
/// # Errors
/// Those of `std::fs::set_permissions`.
pub fn set_permissions(path: impl AsRef<Path>, permissions: std_fs::Permissions) -> io::Result<()> {
    let path = path.as_ref().to_owned();
    unblock(move || std_fs::set_permissions(path, permissions))
}

/// What is in a directory, read as a whole: iterating waits no more.
///
/// # Suspends
/// The calling task, or on a plain thread the thread.
///
/// # Cancel safety
/// What has begun is done.
///
/// # Errors
/// Those of `std::fs::read_dir`; those of its entries come with them.
pub fn read_dir(path: impl AsRef<Path>) -> io::Result<ReadDir> {
    let path = path.as_ref().to_owned();
    let entries: Vec<_> = unblock(move || Ok::<_, io::Error>(std_fs::read_dir(path)?.collect()))?;
    Ok(ReadDir(entries.into_iter()))
}

/// The entries of a directory. See [`read_dir`].
#[derive(Debug)]
pub struct ReadDir(vec::IntoIter<io::Result<std_fs::DirEntry>>);

impl Iterator for ReadDir {
    type Item = io::Result<std_fs::DirEntry>;

    fn next(&mut self) -> Option<Self::Item> {
        self.0.next()
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        self.0.size_hint()
    }
}

impl ExactSizeIterator for ReadDir {}
impl FusedIterator for ReadDir {}
