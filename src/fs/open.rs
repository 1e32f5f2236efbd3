//! How a file is opened.

use std::io;
use std::path::Path;

use super::file::File;
use crate::task::unblock;

/// How a file is opened: std's `OpenOptions`.
///
/// # Examples
/// ```
/// use osier::fs::OpenOptions;
///
/// let error = OpenOptions::new().write(true).create_new(true).open("Cargo.toml").unwrap_err();
/// assert_eq!(error.kind(), std::io::ErrorKind::AlreadyExists);
/// ```
#[derive(Clone, Debug)]
pub struct OpenOptions(std::fs::OpenOptions);

macro_rules! options {
    ($($(#[doc = $doc:literal])+ $name:ident;)+) => {
        $(
            $(#[doc = $doc])+
            pub fn $name(&mut self, is: bool) -> &mut Self {
                self.0.$name(is);
                self
            }
        )+
    };
}

impl OpenOptions {
    /// Begins with everything off.
    #[allow(clippy::new_without_default, reason = "std has none either")]
    pub fn new() -> Self {
        Self(std::fs::OpenOptions::new())
    }

    options! {
        /// Whether it can be read.
        read;
        /// Whether it can be written.
        write;
        /// Whether every write goes to the end.
        append;
        /// Whether it is emptied.
        truncate;
        /// Whether it is made if there is none.
        create;
        /// Whether it is made, and there must be none.
        create_new;
    }

    /// Opens the file.
    ///
    /// # Suspends
    /// The calling task, or on a plain thread the thread; for a pipe with a name until it has another end.
    ///
    /// # Cancel safety
    /// What has been opened is closed again.
    ///
    /// # Errors
    /// Those of `std::fs::OpenOptions::open`.
    pub fn open(&self, path: impl AsRef<Path>) -> io::Result<File> {
        let (options, path) = (self.0.clone(), path.as_ref().to_owned());
        unblock(move || options.open(path))?.try_into()
    }
}

/// For what has no method here: modes and flags.
impl From<std::fs::OpenOptions> for OpenOptions {
    fn from(options: std::fs::OpenOptions) -> Self {
        Self(options)
    }
}
