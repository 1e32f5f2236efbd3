//! The web's sockets on osier's: tungstenite, written for blocking sockets, as it is, with a hundred clients at once.
//!
//! ```text
//! cargo run --release --example websocket_echo
//! ```
//!
//! It prints
//!
//! ```text
//! 100 clients got 1000 messages back
//! ```

#![allow(clippy::print_stdout, reason = "an example shows what it does")]
#![allow(clippy::large_stack_frames, reason = "a handshake is large, and a task's stack has room for it")]

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use osier::net::{StreamServer, TcpListener, TcpStream};
use osier::sync::Barrier;
use tungstenite::{Error, Message};

const CLIENTS: usize = 100;

/// Sends back what comes, until the client says goodbye. Pings are answered by tungstenite.
fn echo(stream: TcpStream) -> Result<(), Error> {
    // Its error holds the whole handshake.
    let mut socket = tungstenite::accept(stream).map_err(|error| io::Error::other(error.to_string()))?;
    loop {
        match socket.read() {
            Ok(message) if message.is_text() || message.is_binary() => socket.send(message)?,
            Ok(_) => {}
            Err(Error::ConnectionClosed) => return Ok(()),
            Err(error) => return Err(error),
        }
    }
}

/// Says ten things once everybody is connected, and gives how many came back.
fn client(address: SocketAddr, number: usize, all: &Barrier) -> Result<usize, Error> {
    let stream = TcpStream::connect(address)?;
    let connected = tungstenite::client("ws://localhost/echo", stream);
    let (mut socket, _) = connected.map_err(|error| io::Error::other(error.to_string()))?;
    all.wait().expect("nobody gives up");
    let mut echoed = 0;
    for n in 0..10 {
        let said = match n % 3 {
            0 => Message::binary(vec![7; 100_000]),
            _ => Message::text(format!("client {number}, message {n}")),
        };
        socket.send(Message::Ping(vec![1].into()))?;
        socket.send(said.clone())?;
        let pong = socket.read()?;
        assert!(pong.is_pong(), "{pong}");
        echoed += usize::from(socket.read()? == said);
    }
    socket.close(None)?;
    loop {
        match socket.read() {
            Ok(_) => {}
            Err(Error::ConnectionClosed) => return Ok(echoed),
            Err(error) => return Err(error),
        }
    }
}

fn main() -> Result<(), Error> {
    osier::run(|| {
        let listener = TcpListener::bind("127.0.0.1:0")?;
        let address = listener.local_addr()?;
        let failures = Arc::new(AtomicUsize::new(0));
        let server = StreamServer::new(listener, {
            let failures = failures.clone();
            move |stream, _| {
                if let Err(error) = echo(stream) {
                    eprintln!("a connection failed: {error}");
                    failures.fetch_add(1, Ordering::Relaxed);
                }
            }
        });
        server.start();
        let all = Arc::new(Barrier::new(CLIENTS));
        let clients = (0..CLIENTS).map(|number| {
            let all = all.clone();
            osier::spawn(move || client(address, number, &all))
        });
        let echoed = osier::join_all(clients.collect::<Vec<_>>()).expect("nobody panics");
        let echoed = echoed.into_iter().collect::<Result<Vec<_>, _>>()?;
        let messages: usize = echoed.iter().sum();
        assert_eq!(messages, 10 * CLIENTS);
        println!("{} clients got {messages} messages back", echoed.len());
        assert!(server.stop(Duration::from_secs(10)), "everybody has gone");
        assert_eq!(failures.load(Ordering::Relaxed), 0);
        Ok(())
    })
}

#[test]
fn tungstenite_works_on_tasks() {
    main().unwrap();
}
