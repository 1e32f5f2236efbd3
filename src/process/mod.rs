//! Other processes: children, and hosts that run functions of this program.
//!
//! [`Command`] and [`Child`] have std's names and do what std's do, but a wait lets other tasks run: gevent's
//! `subprocess`. Signals that come to this process are events in [`signal`](crate::signal).
//!
//! | gevent, Python's `subprocess` | osier |
//! | --- | --- |
//! | `Popen(args)` | [`Command::spawn`] |
//! | `p.wait()`, `p.wait(timeout)` | [`Child::wait`], [`Child::wait_timeout`] |
//! | `p.poll()` | [`Child::try_wait`] |
//! | `p.communicate(input)` | [`Child::communicate`] |
//! | `p.kill()`, `p.send_signal(s)` | [`Child::kill`], [`Child::signal`] |
//! | `run(args, capture_output=True)` | [`Command::output`] |
//! | `call(args)` | [`Command::status`] |
//! | `gevent.wait([p, ..])` | [`wait`](crate::wait) |
//!
//! ```
//! use osier::process::Command;
//!
//! // Three children at once, each waited for by a task.
//! let texts = osier::run(|| {
//!     let tasks = ["sap", "bark", "leaf"].map(|word| osier::spawn(move || Command::new("echo").arg(word).output()));
//!     tasks.map(|task| task.join().unwrap().unwrap().stdout)
//! });
//! assert_eq!(texts, [b"sap\n".as_slice(), b"bark\n", b"leaf\n"]);
//! ```
//!
//! # Rooms
//! - `command`: what to start. `child`: what was started. `keeper`: who notices that it has ended.
//! - `host`: this program, started again to run functions for itself.
//!
//! How waiting works: `arch-notes/processes.md`.

mod child;
mod command;
#[cfg(feature = "processes")]
pub(crate) mod host;
mod keeper;

#[doc(hidden)]
#[cfg(feature = "processes")]
pub use ::inventory as __inventory;
pub use child::Child;
pub use command::Command;
#[cfg(feature = "processes")]
pub use host::{Entry, Hosting, Registrable, RemoteError, host};
pub use std::process::{ExitStatus, Output, Stdio};
