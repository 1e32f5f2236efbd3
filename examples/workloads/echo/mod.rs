//! Echoing 64-byte messages over TCP: servers that run until they are killed, and the load that measures one.
//!
//! # Rooms
//! - `epoll`: a raw loop, osier's yardstick, and what the load waits with. `load`: the client. `turns`: several servers in turns.

mod epoll;
mod load;
mod turns;

use std::io::{self, Read, Write};

use osier::Runtime;
use osier::net::{StreamServer, TcpListener, TcpStream};

use crate::Failure;
use crate::args::{Key, Params, count, number, word};
use crate::line::echo::{BUFFER, announce};
use crate::measure::Report;

pub(crate) use epoll::serve as bare_echo;
pub(crate) use load::echo_load;
pub(crate) use turns::echo_turns;

/// The keys of `bare_echo`.
pub(crate) const BARE: &[Key] = &[count("threads", 1), number("lines", 0)];

/// The keys of `echo_load`.
pub(crate) const LOAD: &[Key] = &[
    count("n", 200_000),
    count("conns", 50),
    word("server", &["osier", "epoll", "other"]),
    number("pin", 1),
    number("work", 0),
    count("threads", 1),
];

/// The keys of `echo_turns`.
pub(crate) const TURNS: &[Key] = &[
    count("n", 20_000),
    count("conns", 50),
    count("rounds", 31),
    number("pin", 1),
    number("work", 0),
    count("threads", 1),
];

fn failed(error: io::Error) -> Failure {
    Failure::Wrong(error.to_string())
}

fn serve(mut stream: TcpStream) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let mut buffer = [0; BUFFER];
    loop {
        let size = stream.read(&mut buffer)?;
        if size == 0 {
            return Ok(());
        }
        stream.write_all(&buffer[..size])?;
    }
}

/// A task for each connection.
pub(crate) fn echo(params: &Params) -> Result<Report, Failure> {
    let runtime = Runtime::builder().workers(params.size("threads")).build().map_err(failed)?;
    runtime.run(|| {
        let listener = TcpListener::bind("127.0.0.1:0").map_err(failed)?;
        announce(listener.local_addr().map_err(failed)?);
        // A client that goes away in the middle is no failure of the server.
        StreamServer::new(listener, |stream, _| _ = serve(stream)).serve_forever();
        unreachable!("nobody stops it")
    })
}
