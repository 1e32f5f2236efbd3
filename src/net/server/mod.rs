//! Servers: gevent's `StreamServer` and `DatagramServer`. A task accepts, and makes a task for each connection.
//!
//! # Rooms
//! - `stream`: connections of a listener. `datagram`: datagrams of a socket. `service`: the tasks of either, from its start to
//!   the end of its stop. `places`: how many there may be, and who spawns them.

mod datagram;
mod places;
mod service;
mod stream;

pub use datagram::DatagramServer;
pub use places::{Serve, Spawner};
pub use stream::{Listener, StreamServer};

use std::time::Duration;

/// How long accepting, or receiving, pauses after an error, at first and at most.
const PAUSE: (Duration, Duration) = (Duration::from_millis(10), Duration::from_secs(1));
