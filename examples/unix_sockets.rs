//! gevent's Unix socket server and client: as TCP's, by a path.
//!
//! ```text
//! cargo run --release --example unix_sockets
//! ```
//!
//! It prints
//!
//! ```text
//! client 0: you said 'hello', number 0
//! client 1: you said 'hello', number 1
//! client 2: you said 'hello', number 2
//! refused once it is stopped
//! ```

#![allow(clippy::print_stdout, reason = "an example shows what it does")]

use std::io::{self, Write};
use std::net::Shutdown;
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use osier::net::{StreamServer, UnixListener, UnixStream};

fn ask(path: &Path) -> io::Result<String> {
    let mut stream = UnixStream::connect(path)?;
    stream.write_all(b"hello")?;
    stream.shutdown(Shutdown::Write)?;
    io::read_to_string(stream)
}

fn main() -> io::Result<()> {
    let path = std::env::temp_dir().join(format!("osier-example-{}", std::process::id()));
    let served = AtomicUsize::new(0);
    osier::run(|| {
        let server = StreamServer::new(UnixListener::bind(&path)?, move |mut stream: UnixStream, _| {
            let Ok(said) = io::read_to_string(&stream) else { return };
            let number = served.fetch_add(1, Ordering::Relaxed);
            _ = write!(stream, "you said '{said}', number {number}");
        });
        server.start();
        for client in 0..3 {
            let answer = ask(&path)?;
            assert_eq!(answer, format!("you said 'hello', number {client}"));
            println!("client {client}: {answer}");
        }
        server.stop(Duration::from_secs(10));
        let refused = UnixStream::connect(&path).expect_err("nobody listens");
        assert_eq!(refused.kind(), io::ErrorKind::ConnectionRefused);
        println!("refused once it is stopped");
        std::fs::remove_file(&path)
    })
}

// GV-235
#[test]
fn clients_are_served_by_a_path() {
    main().unwrap();
}
