//! Work that is handed to others.
//!
//! # Rooms
//! - `remote`: a generator whose body runs as a task, on another core.

mod remote;

pub use remote::Remote;
