//! gevent's port forwarder: what comes to one port goes to another, both ways, until somebody stops it gracefully.
//!
//! ```text
//! cargo run --release --example port_forwarder
//! ```
//!
//! It prints
//!
//! ```text
//! forwarded: msg1
//! stopping: no new connections
//! forwarded: msg2
//! stopped, with every connection at its end: true
//! ```

#![allow(clippy::print_stdout, reason = "an example shows what it does")]

use std::io::{self, BufRead, BufReader, Write};
use std::net::{Shutdown, SocketAddr};
use std::time::Duration;

use osier::net::{StreamServer, TcpListener, TcpStream};

/// Passes on what comes, and then that nothing more does. The other direction goes on: a peer may have asked its last
/// question and still wait for the answer.
fn pass_on(mut from: &TcpStream, mut to: &TcpStream) {
    let end = match io::copy(&mut from, &mut to) {
        Ok(_) => Shutdown::Write,
        // Neither side can go on, and whoever waits for the other direction shall know.
        Err(_) => Shutdown::Both,
    };
    _ = to.shutdown(end);
    if end == Shutdown::Both {
        _ = from.shutdown(end);
    }
}

fn forward(client: &TcpStream, target: SocketAddr) -> io::Result<()> {
    let server = TcpStream::connect(target)?;
    osier::scope(|scope| {
        scope.spawn(|| pass_on(client, &server));
        pass_on(&server, client);
    });
    Ok(())
}

/// A server whose handle stops it: gevent's example does so when it gets a SIGTERM.
fn forwarder(target: SocketAddr) -> io::Result<StreamServer<TcpListener>> {
    let server = StreamServer::new(TcpListener::bind("127.0.0.1:0")?, move |client, _| {
        if let Err(error) = forward(&client, target) {
            eprintln!("cannot forward to {target}: {error}");
        }
    });
    server.start();
    Ok(server)
}

fn main() -> io::Result<()> {
    osier::run(|| {
        let target = TcpListener::bind("127.0.0.1:0")?;
        let forwarder = forwarder(target.local_addr()?)?;
        let mut client = TcpStream::connect(forwarder.listener().local_addr()?)?;
        let mut lines = BufReader::new(target.accept()?.0).lines();
        client.write_all(b"msg1\n")?;
        let line = lines.next().expect("a line")?;
        assert_eq!(line, "msg1");
        println!("forwarded: {line}");

        let stops = osier::spawn({
            let forwarder = forwarder.clone();
            move || forwarder.stop(Duration::from_secs(10))
        });
        while forwarder.is_accepting() {
            osier::yield_now();
        }
        println!("stopping: no new connections");
        client.write_all(b"msg2\n")?;
        let line = lines.next().expect("a line")?;
        assert_eq!(line, "msg2");
        println!("forwarded: {line}");
        drop(client);
        assert!(lines.next().is_none(), "the end was forwarded as well");
        drop(lines);
        let in_time = stops.join().expect("it does not panic");
        assert!(in_time);
        println!("stopped, with every connection at its end: {in_time}");
        Ok(())
    })
}

// GV-235
#[test]
fn what_is_under_way_is_forwarded_to_its_end() {
    main().unwrap();
}

#[test]
fn a_reset_on_one_side_ends_the_other_and_an_answer_comes_after_the_question_has_ended() {
    osier::run(|| {
        let target = TcpListener::bind("127.0.0.1:0").unwrap();
        let forwarder = forwarder(target.local_addr().unwrap()).unwrap();
        let connect = || TcpStream::connect(forwarder.listener().local_addr().unwrap()).unwrap();
        let mut asks = connect();
        let (answers, _) = target.accept().unwrap();
        asks.write_all(b"question").unwrap();
        asks.shutdown(Shutdown::Write).unwrap();
        assert_eq!(io::read_to_string(&answers).unwrap(), "question");
        (&answers).write_all(b"answer").unwrap();
        drop(answers);
        assert_eq!(io::read_to_string(asks).unwrap(), "answer");

        let client = connect();
        let (server, _) = target.accept().unwrap();
        client.set_linger(Some(Duration::ZERO)).unwrap();
        drop(client);
        assert_eq!(io::read_to_string(server).unwrap(), "");
        assert!(forwarder.stop(Duration::from_secs(10)));
    });
}
