//! What tasks and threads say to each other.
//!
//! Everything here works between tasks of any runtime and plain threads alike. Only calls documented under `# Suspends`
//! wait.

pub mod channel;
