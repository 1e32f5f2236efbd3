//! The files to read, found one at a time: a generator walks the directories lazily.
//!
//! The walk is a recursive function that yields from whatever depth it is at. It needs no runtime; here a task runs it, and
//! when that task waits for room in a channel, the generator simply stays where it is.
//!
//! What is walked is bounded by [`Limits`]. Symbolic links are not followed, so there are no loops; hidden entries are
//! left out, and so are cache directories, which say so in a file called `CACHEDIR.TAG` (cargo's `target` is one).
//! Entries are taken in the order of their names: two walks of the same tree find the same files.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use osier::{Generator, Yielder};

/// How much is read at most, so that the example is quick wherever it runs.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Limits {
    /// Files in all.
    pub(crate) files: u64,
    /// Bytes in all.
    pub(crate) bytes: u64,
    /// Bytes of one file; a larger one is left out.
    pub(crate) file_bytes: u64,
}

/// What the walk came across.
#[derive(Debug)]
pub(crate) enum Found {
    /// A file.
    File(Candidate),
    /// Something whose directory entry, or a directory whose list, cannot be read.
    Unreadable,
}

/// A file as its directory entry describes it.
#[derive(Debug, Hash)]
pub(crate) struct Candidate {
    pub(crate) path: PathBuf,
    pub(crate) bytes: u64,
    modified: Option<SystemTime>,
}

/// Deeper directories are left out as unreadable: the generator's stack is finite.
const MAX_DEPTH: usize = 100;
/// Enough for that depth in debug builds, with room to spare; untouched pages cost nothing.
const STACK: usize = 1 << 20;

/// The files under `roots`, in order.
pub(crate) fn walk(roots: Vec<PathBuf>) -> Generator<Found> {
    Generator::builder(move |y: &Yielder<Found>| {
        for root in &roots {
            visit(y, root, 0);
        }
    })
    .name("walk")
    .stack_size(STACK)
    .build()
}

fn visit(y: &Yielder<Found>, directory: &Path, depth: usize) {
    let Ok(entries) = list(directory, depth) else { return y.yield_(Found::Unreadable) };
    for entry in entries {
        match entry {
            Entry::Directory(path) => visit(y, &path, depth + 1),
            Entry::Other(found) => y.yield_(found),
        }
    }
}

enum Entry {
    Directory(PathBuf),
    Other(Found),
}

/// Reads one directory. This blocks the worker, as reading files would; but directories are few and small, and handing
/// each to another thread would cost more than that.
fn list(directory: &Path, depth: usize) -> io::Result<Vec<Entry>> {
    if depth > MAX_DEPTH {
        return Err(io::ErrorKind::QuotaExceeded.into());
    }
    let mut entries = fs::read_dir(directory)?.collect::<io::Result<Vec<_>>>()?;
    entries.sort_by_key(fs::DirEntry::file_name);
    // A directory that was asked for is walked even if it is a cache.
    if depth > 0 && entries.iter().any(|entry| entry.file_name() == "CACHEDIR.TAG") {
        return Ok(Vec::new());
    }
    entries.retain(|entry| !entry.file_name().as_encoded_bytes().starts_with(b"."));
    Ok(entries.iter().filter_map(describe).collect())
}

/// What an entry is; `None` for links, sockets and the like.
fn describe(entry: &fs::DirEntry) -> Option<Entry> {
    // Of a link, this is the link's own type.
    let Ok(kind) = entry.file_type() else { return Some(Entry::Other(Found::Unreadable)) };
    if kind.is_dir() {
        Some(Entry::Directory(entry.path()))
    } else if kind.is_file() {
        let Ok(metadata) = entry.metadata() else { return Some(Entry::Other(Found::Unreadable)) };
        let (bytes, modified) = (metadata.len(), metadata.modified().ok());
        Some(Entry::Other(Found::File(Candidate { path: entry.path(), bytes, modified })))
    } else {
        None
    }
}
