//! What an echo server says before it answers: where it listens.

use std::io::{Write, stdout};
use std::net::SocketAddr;

/// Bytes that a server reads at once: as many as in the echo server of tokio's README.
pub(crate) const BUFFER: usize = 1024;

/// Prints `LISTEN port`, at once: whoever reads it connects.
///
/// # Panics
/// If nobody reads standard output.
pub(crate) fn announce(address: SocketAddr) {
    let mut out = stdout().lock();
    writeln!(out, "LISTEN {}", address.port()).and_then(|()| out.flush()).expect("standard output is open");
}
