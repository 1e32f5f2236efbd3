//! Servers: gevent's `StreamServer` and `DatagramServer`. A task accepts, and makes a task for each connection.
//!
//! # Rooms
//! - `stream`: connections of a listener. `datagram`: datagrams of a socket. `service`: the tasks of either, from its start to
//!   the end of its stop. `course`: how accepting goes on when something fails. `places`: how many there may be, and who spawns
//!   them.

mod course;
mod datagram;
mod places;
mod service;
mod stream;

pub use datagram::{DatagramServer, DatagramSocket};
pub use places::{Serve, Spawner};
pub use stream::{Listener, StreamServer};
