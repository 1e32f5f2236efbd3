//! Starts the threads of a runtime, one after the other.
//!
//! A thread that lacks memory while it starts ends the process: std cannot get the stack on which it would handle signals,
//! or the C library cannot note a destructor. So room for all of that is asked for first, where an error can still be
//! returned, and whoever starts a thread goes on when it runs.

use std::io;
use std::sync::mpsc;
use std::thread::{Builder, JoinHandle};

use crate::stack;

/// What a thread takes: 2 MiB of stack, std's default, and as much for what it allocates until its first task.
const ROOM: usize = 4 << 20;

/// Starts a thread, and returns when it runs.
///
/// # Errors
/// The system refuses it, or the memory that it needs.
pub(super) fn start(name: String, body: impl FnOnce() + Send + 'static) -> io::Result<JoinHandle<()>> {
    stack::ask_for(ROOM)?;
    let (started, starts) = mpsc::sync_channel(1);
    let thread = Builder::new().name(name).spawn(move || {
        // Whoever starts the thread waits for this.
        _ = started.send(());
        body();
    })?;
    // A thread that has been made calls its body, or ends the process.
    _ = starts.recv();
    Ok(thread)
}
