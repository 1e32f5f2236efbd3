//! gevent's UDP server and client: each datagram is answered by a task of its own.
//!
//! ```text
//! cargo run --release --example datagrams
//! ```
//!
//! It prints
//!
//! ```text
//! Received 11 bytes
//! 10 clients were answered
//! ```

#![allow(clippy::print_stdout, reason = "an example shows what it does")]

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use osier::net::{DatagramServer, UdpSocket};

/// Asks until it is answered: datagrams may be lost on the way there and back.
fn ask(server: SocketAddr, question: &str) -> io::Result<String> {
    let socket = UdpSocket::bind("127.0.0.1:0")?;
    socket.connect(server)?;
    socket.set_read_timeout(Some(Duration::from_secs(1)))?;
    let mut buffer = [0; 1024];
    for _ in 0..10 {
        socket.send(question.as_bytes())?;
        match socket.recv(&mut buffer) {
            Ok(size) => return Ok(String::from_utf8_lossy(&buffer[..size]).into_owned()),
            Err(error) if error.kind() == io::ErrorKind::TimedOut => {}
            Err(error) => return Err(error),
        }
    }
    Err(io::Error::new(io::ErrorKind::TimedOut, "no answer"))
}

fn main() -> io::Result<()> {
    osier::run(|| {
        let server = DatagramServer::new(UdpSocket::bind("127.0.0.1:0")?, |socket, data, peer| {
            let answer = format!("Received {} bytes", data.len());
            _ = socket.send_to(answer.as_bytes(), peer);
        });
        let address = server.socket().local_addr()?;
        server.start();
        let answer = ask(address, "Test 123456")?;
        assert_eq!(answer, "Received 11 bytes");
        println!("{answer}");

        let clients = (0..10).map(|n: usize| osier::spawn(move || Ok((ask(address, &"x".repeat(n))?, n))));
        let answers = osier::join_all(clients.collect::<Vec<_>>()).expect("nobody panics");
        let answers = answers.into_iter().collect::<io::Result<Vec<_>>>()?;
        assert!(answers.iter().all(|(answer, n)| *answer == format!("Received {n} bytes")));
        println!("{} clients were answered", answers.len());
        server.stop(Duration::from_secs(10));
        Ok(())
    })
}

// GV-235
#[test]
fn each_datagram_is_answered() {
    main().unwrap();
}
