//! Why a function did not run in another process, or failed there.

use std::error::Error;
use std::fmt;
use std::io;
use std::process::ExitStatus;

/// Why a job in another process has failed: the exception of its result.
///
/// A job's panic is none of them: it is a panic of the result, with the same text.
///
/// # Examples
/// ```
/// use osier::{pool::Processes, process::RemoteError};
///
/// fn len(text: String) -> usize {
///     text.len()
/// }
///
/// let ex = Processes::new(1);
/// // It was not registered: `registered!(len)` would be needed.
/// let error = ex.submit(len, "osier".to_owned()).get().unwrap_err();
/// let error = error.exception().unwrap().downcast_ref::<RemoteError>().unwrap();
/// assert!(matches!(error, RemoteError::NotRegistered { .. }));
/// ```
#[derive(Debug)]
#[non_exhaustive]
pub enum RemoteError {
    /// The function stands in no [`registered!`](crate::registered).
    #[non_exhaustive]
    NotRegistered {
        /// Its type's name.
        function: &'static str,
    },
    /// The host knows no function of this name: it is another program.
    #[non_exhaustive]
    Unknown {
        /// The name.
        function: String,
    },
    /// What was to be sent cannot be encoded; the text says why.
    Encode(String),
    /// What was received cannot be decoded; the text says why.
    Decode(String),
    /// What was to be sent, either way, has more bytes than a message may.
    #[non_exhaustive]
    TooLarge {
        /// How many it has.
        bytes: usize,
        /// How many it may have.
        limit: usize,
    },
    /// The process has ended in the middle: with a code, or by a signal.
    Died(ExitStatus),
    /// An actor lived in a process that has ended: what is known of it where only its address was.
    Lost,
    /// What the process sent is no answer. It was killed.
    Garbage,
    /// An exception was raised there; its text.
    Raised(String),
    /// The process could not be started.
    NotStarted(io::Error),
    /// The process was started, but did not say that it is a host; it may have ended by itself.
    NoHost(Option<ExitStatus>),
}

impl fmt::Display for RemoteError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotRegistered { function } => {
                write!(f, "'{function}' is no registered function: name it in `registered!(..)`")
            }
            Self::Unknown { function } => write!(f, "the host knows no function '{function}'"),
            Self::Encode(why) => write!(f, "cannot be encoded: {why}"),
            Self::Decode(why) => write!(f, "cannot be decoded: {why}"),
            Self::TooLarge { bytes, limit } => write!(f, "a message of {bytes} bytes, over the limit of {limit}"),
            Self::Died(status) => write!(f, "the process died: {status}"),
            Self::Lost => f.write_str("the process that it lived in has ended"),
            Self::Garbage => f.write_str("the process sent garbage, and was killed"),
            Self::Raised(text) => f.write_str(text),
            Self::NotStarted(error) => write!(f, "no process could be started: {error}"),
            Self::NoHost(None) => {
                f.write_str("the process does not serve: call `osier::process::host()` first in `main`")
            }
            Self::NoHost(Some(status)) => write!(
                f,
                "the process ended before it served ({status}): call `osier::process::host()` first in `main`"
            ),
        }
    }
}

impl Error for RemoteError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        match self {
            Self::NotStarted(error) => Some(error),
            _ => None,
        }
    }
}
