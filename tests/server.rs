//! Servers: a task for each connection, limits, pauses, ends, and too few descriptors.
//!
//! Numbers in comments are rows of `arch-notes/conformance.md`.

#![cfg(feature = "net")]

mod common;

use std::io::{self, ErrorKind, Read, Write};
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use common::{ms, until, watch};
use osier::net::{StreamServer, TcpListener, TcpStream, UnixListener, UnixStream};
use osier::sync::channel;
use osier::{run, time};

const PATIENCE: Duration = Duration::from_secs(20);

fn listener() -> (TcpListener, SocketAddr) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    (listener, address)
}

fn ask(address: SocketAddr) -> io::Result<u8> {
    let mut stream = TcpStream::connect(address)?;
    stream.write_all(&[7])?;
    let mut byte = [0];
    stream.read_exact(&mut byte)?;
    Ok(byte[0])
}

fn answer(mut stream: TcpStream) {
    let mut byte = [0];
    if stream.read_exact(&mut byte).is_ok() {
        _ = stream.write_all(&byte);
    }
}

// GV-230
#[test]
fn a_server_starts_pauses_goes_on_and_stops() {
    let _watch = watch();
    run(|| {
        let (listener, address) = listener();
        let server = StreamServer::new(listener, |stream, _| answer(stream));
        assert!(!server.is_accepting());
        server.start();
        server.start();
        assert_eq!((ask(address).unwrap(), ask(address).unwrap()), (7, 7));
        server.pause();
        assert!(time::timeout(ms(30), || ask(address)).is_err(), "connected, and not accepted");
        server.start();
        assert_eq!(ask(address).unwrap(), 7);
        assert!(server.stop(PATIENCE));
        // Not by connecting: another test may listen on that port by now.
        assert_eq!(server.listener().accept().unwrap_err().raw_os_error(), Some(libc::EBADF));
        server.start();
        assert!(!server.is_accepting());
    });
}

// GV-230: by a path, which nobody else takes.
#[test]
fn a_stopped_server_refuses() {
    let _watch = watch();
    let path = std::env::temp_dir().join(format!("osier-server-{}", std::process::id()));
    run(|| {
        let listener = UnixListener::bind(&path).unwrap();
        let server = StreamServer::new(listener, |mut stream: UnixStream, _| _ = stream.write_all(b"hello"));
        server.start();
        assert_eq!(io::read_to_string(UnixStream::connect(&path).unwrap()).unwrap(), "hello");
        assert!(server.stop(PATIENCE));
        assert_eq!(UnixStream::connect(&path).unwrap_err().kind(), ErrorKind::ConnectionRefused);
    });
    std::fs::remove_file(&path).unwrap();
}

// GV-230
#[test]
fn serving_forever_ends_with_a_stop() {
    let _watch = watch();
    run(|| {
        let (listener, address) = listener();
        let server = StreamServer::new(listener, |stream, _| answer(stream));
        let other = server.clone();
        let serves = osier::spawn(move || other.serve_forever());
        assert_eq!(ask(address).unwrap(), 7);
        assert!(!serves.is_finished());
        server.stop(PATIENCE);
        serves.join().unwrap();
    });
}

// GV-232
#[test]
fn a_handler_that_panics_ends_its_connection_alone() {
    let _watch = watch();
    run(|| {
        let (listener, address) = listener();
        let calls = AtomicUsize::new(0);
        let server = StreamServer::new(listener, move |stream, _| {
            assert!(calls.fetch_add(1, Ordering::Relaxed) != 0, "the first one fails");
            answer(stream);
        });
        server.start();
        assert!(ask(address).is_err());
        assert_eq!(ask(address).unwrap(), 7);
        server.stop(PATIENCE);
    });
}

// GV-233
#[test]
fn a_full_server_lets_the_next_wait_until_one_ends() {
    let _watch = watch();
    run(|| {
        let (listener, address) = listener();
        let (served, serves) = channel::unbounded();
        let server = StreamServer::with_limit(listener, 2, move |mut stream: TcpStream, _| {
            served.send(()).unwrap();
            // Until the client goes.
            while stream.read(&mut [0]).is_ok_and(|n| n > 0) {}
        });
        server.start();
        let first = TcpStream::connect(address).unwrap();
        let second = TcpStream::connect(address).unwrap();
        let third = TcpStream::connect(address).unwrap();
        serves.recv().unwrap();
        serves.recv().unwrap();
        assert!(serves.recv_timeout(ms(30)).is_err());
        assert_eq!(server.connections(), 2);
        drop(first);
        serves.recv_timeout(PATIENCE).unwrap();
        drop((second, third));
        assert!(server.stop(PATIENCE));
    });
}

#[test]
fn a_stop_waits_for_connections_up_to_its_deadline() {
    let _watch = watch();
    run(|| {
        let (listener, address) = listener();
        let server = StreamServer::new(listener, |stream, _| answer(stream));
        server.start();
        let mut polite = TcpStream::connect(address).unwrap();
        until(|| server.connections() == 1);
        let stops = osier::spawn({
            let server = server.clone();
            move || server.stop(PATIENCE)
        });
        osier::yield_now();
        polite.write_all(&[1]).unwrap();
        polite.read_exact(&mut [0]).unwrap();
        assert!(stops.join().unwrap(), "it was served to its end");

        let (listener, address) = self::listener();
        let server = StreamServer::new(listener, |stream, _| answer(stream));
        server.start();
        let mut silent = TcpStream::connect(address).unwrap();
        until(|| server.connections() == 1);
        assert!(!server.stop(ms(20)), "it was cancelled");
        assert_eq!(silent.read(&mut [0]).unwrap(), 0);
    });
}

// H43. In a process of its own, for its limit is the process's.
#[cfg(target_os = "linux")]
#[test]
fn too_few_descriptors_slow_a_server_down_and_hang_nobody() {
    let _watch = watch();
    let name = "too_few_descriptors_slow_a_server_down_and_hang_nobody";
    if std::env::var_os("OSIER_FEW_DESCRIPTORS").is_none() {
        let mut command = std::process::Command::new(std::env::current_exe().unwrap());
        let status = command.args([name, "--exact"]).env("OSIER_FEW_DESCRIPTORS", "1").status().unwrap();
        assert!(status.success());
        return;
    }
    let (listener, address) = listener();
    let accepted = Arc::new(AtomicUsize::new(0));
    let counts = accepted.clone();
    let server = StreamServer::new(listener, move |stream, _| {
        counts.fetch_add(1, Ordering::Relaxed);
        answer(stream);
    });
    run(|| {
        server.start();
        assert_eq!(ask(address).unwrap(), 7);
        // Sockets that connect by themselves, made while there are still descriptors.
        let idle: Vec<_> = (0..40).map(|_| TcpStream::connect(address).unwrap()).collect();
        until(|| accepted.load(Ordering::Relaxed) == 41);
        let mut waiting: Vec<_> = (0..10).map(|_| TcpStream::connect(address).unwrap()).collect();
        until(|| accepted.load(Ordering::Relaxed) == 51);
        let open = std::fs::read_dir("/proc/self/fd").unwrap().count() as u64;
        let limit = libc::rlimit { rlim_cur: open + 2, rlim_max: open + 500 };
        // SAFETY: it only reads the struct.
        assert_eq!(unsafe { libc::setrlimit(libc::RLIMIT_NOFILE, &raw const limit) }, 0);
        // Two more clients take the last descriptors.
        let mut last: Vec<_> = std::iter::from_fn(|| TcpStream::connect(address).ok()).collect();
        assert!(!last.is_empty());
        let began = Instant::now();
        // Each is served or disconnected: the server has none left to serve with.
        for stream in &mut last {
            stream.set_read_timeout(Some(PATIENCE)).unwrap();
            stream.write_all(&[3]).ok();
            if let Err(error) = stream.read_exact(&mut [0]) {
                assert_ne!(error.kind(), ErrorKind::TimedOut);
            }
        }
        assert!(began.elapsed() < PATIENCE);
        // Those that were served before are served on, and when descriptors are free again, so are new ones.
        for stream in &mut waiting {
            stream.write_all(&[4]).unwrap();
            stream.read_exact(&mut [0]).unwrap();
        }
        drop((idle, last, waiting));
        let patience = Instant::now() + PATIENCE;
        while ask(address).is_err() {
            assert!(Instant::now() < patience);
            osier::sleep(ms(5));
        }
        assert!(server.stop(PATIENCE));
    });
}
