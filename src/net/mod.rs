//! Sockets that read like blocking code: a call that waits lets other tasks run.
//!
//! The types have the names and the methods of `std::net` and `std::os::unix::net`. Used in a task, a call that cannot go on
//! parks the task; on a plain thread it holds the thread, as std's does. `Read` and `Write` are implemented for each stream
//! and for references to it, so one task may read while another writes, and libraries written for std's types work as they
//! are.
//!
//! | need | use |
//! | --- | --- |
//! | a connection, a listener | [`TcpStream`], [`TcpListener`] |
//! | datagrams | [`UdpSocket`] |
//! | the same within one machine | [`UnixStream`], [`UnixListener`], [`UnixDatagram`] |
//! | a server: a task for each connection, or datagram, limits, pools, a graceful stop | [`StreamServer`], [`DatagramServer`] |
//! | bytes from and to child processes, or within one | [`pipe`] |
//! | to wait for a descriptor that some library owns | [`Ready`] |
//! | to wait for sockets among other things | [`When`], as a branch of [`select!`](crate::select!) |
//! | a loop over many descriptors, as Python's `selectors` | [`selector`] |
//!
//! ```
//! use osier::net::{TcpListener, TcpStream};
//! use std::io::{Read, Write};
//!
//! let echoed = osier::run(|| {
//!     let listener = TcpListener::bind("127.0.0.1:0")?;
//!     let address = listener.local_addr()?;
//!     osier::spawn(move || {
//!         let (stream, _) = listener.accept()?;
//!         std::io::copy(&mut &stream, &mut &stream)
//!     });
//!     let mut stream = TcpStream::connect(address)?;
//!     stream.write_all(b"willow")?;
//!     stream.shutdown(std::net::Shutdown::Write)?;
//!     std::io::read_to_string(&mut stream)
//! });
//! assert_eq!(echoed?, "willow");
//! # Ok::<(), std::io::Error>(())
//! ```
//!
//! # What holds for every call
//!
//! - *Waiting.* What can wait says so under `# Suspends`. It tries first. A task that never has to wait gives way to
//!   others now and then, as in [`sync`](crate::sync).
//! - *Cancelling and timeouts.* A task that is cancelled, or whose [`timeout`](crate::time::timeout) has passed, unwinds from
//!   the wait. Nothing is lost: the call has not been made, or it has returned. `write_all` and `read_exact` are many calls,
//!   and how far they came is not told.
//! - *Sharing.* Any number of tasks and threads may use one socket at the same time, also in the same direction; each call
//!   gets what the system gives it.
//! - *Closing.* Dropping the last handle closes. `close` does it at once, while others use the socket: their waits and later
//!   calls fail with `EBADF`. `shutdown` ends a stream's waits as a peer's end would.
//!
//! # Rooms
//! - `server`: loops that accept, and serve. `ready`: any descriptor. `pipe`. `selector`: a loop's view. `when`: readiness as a
//!   branch of a select. `socket`: what all sockets share. `calls`: how bytes are moved. `types`: what their types have in common.
//!   `substitute`: for what is closed. `halves`: of a stream. `tcp`, `udp`, `unix`, `unix_datagram`. `resolve`: names to addresses.
//!   `handshake`: what became of a connection that was begun.
//!
//! How waiting works: `arch-notes/reactor.md`.

mod calls;
mod halves;
mod handshake;
mod pipe;
mod ready;
mod resolve;
#[cfg(any(target_os = "linux", target_os = "android"))]
pub mod selector;
mod server;
mod socket;
mod substitute;
mod tcp;
mod types;
mod udp;
mod unix;
mod unix_datagram;
mod when;

pub use halves::{ReadHalf, ReuniteError, Stream, WriteHalf};
pub use pipe::{PipeReader, PipeWriter, pipe};
pub use ready::Ready;
pub use resolve::ToSocketAddrs;
pub use server::{DatagramServer, DatagramSocket, Listener, Serve, Spawner, StreamServer};
pub use tcp::{Incoming, TcpListener, TcpStream};
pub use udp::UdpSocket;
pub use unix::{UnixIncoming, UnixListener, UnixStream};
pub use unix_datagram::UnixDatagram;
pub use when::When;
