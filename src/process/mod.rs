//! Other processes: children, and hosts that run functions of this program.
//!
//! # Rooms
//! - `host`: this program, started again to run functions for itself.

#[cfg(feature = "processes")]
pub(crate) mod host;

#[doc(hidden)]
#[cfg(feature = "processes")]
pub use ::inventory as __inventory;
#[cfg(feature = "processes")]
pub use host::{Entry, Hosting, Registrable, RemoteError, host};
