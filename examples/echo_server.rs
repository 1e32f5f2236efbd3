//! gevent's echo server, and its clients: a task for each connection, written as if calls blocked.
//!
//! ```text
//! cargo run --release --example echo_server
//! ```
//!
//! It prints
//!
//! ```text
//! welcome to the echo server
//! 100 clients got 1000 lines back
//! ```

#![allow(clippy::print_stdout, reason = "an example shows what it does")]

use std::io::{self, BufRead, BufReader, Write};
use std::net::SocketAddr;
use std::time::Duration;

use osier::net::{StreamServer, TcpListener, TcpStream};

fn echo(stream: TcpStream) -> io::Result<()> {
    (&stream).write_all(b"welcome to the echo server\n")?;
    for line in BufReader::new(&stream).lines() {
        (&stream).write_all(format!("{}\n", line?).as_bytes())?;
    }
    Ok(())
}

/// Says ten things, and gives the greeting and how many came back.
fn client(address: SocketAddr, number: u32) -> io::Result<(String, usize)> {
    let stream = TcpStream::connect(address)?;
    let mut lines = BufReader::new(&stream).lines();
    let greeting = lines.next().expect("a greeting")?;
    let mut echoed = 0;
    for n in 0..10 {
        let said = format!("client {number}, line {n}");
        (&stream).write_all(format!("{said}\n").as_bytes())?;
        echoed += usize::from(lines.next().expect("an echo")? == said);
    }
    Ok((greeting, echoed))
}

fn main() -> io::Result<()> {
    osier::run(|| {
        let listener = TcpListener::bind("127.0.0.1:0")?;
        let address = listener.local_addr()?;
        let server = StreamServer::new(listener, |stream, _| _ = echo(stream));
        server.start();
        let clients: Vec<_> = (0..100).map(|number| osier::spawn(move || client(address, number))).collect();
        let mut answers = Vec::new();
        for client in clients {
            answers.push(client.join().expect("it does not panic")?);
        }
        assert!(answers.iter().all(|(greeting, _)| greeting == "welcome to the echo server"));
        println!("{}", answers[0].0);
        let lines: usize = answers.iter().map(|(_, n)| n).sum();
        assert_eq!((answers.len(), lines), (100, 1000));
        println!("{} clients got {lines} lines back", answers.len());
        server.stop(Duration::from_secs(10));
        Ok(())
    })
}

// GV-235
#[test]
fn everybody_gets_everything_back() {
    main().unwrap();
}
