//! Servers: a task for each connection, limits, pauses, ends, and too few descriptors.
//!
//! Numbers in comments are rows of `arch-notes/conformance.md`.

#![cfg(feature = "net")]

mod common;

use std::collections::VecDeque;
use std::io::{self, ErrorKind, Read, Write};
use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use common::{ms, until, watch};
use osier::net::{DatagramServer, Listener, StreamServer, TcpListener, TcpStream, UdpSocket, UnixListener, UnixStream};
use osier::sync::{Event, channel};
use osier::task::{Builder, Place};
use osier::{Group, Pool, Runtime, run, time};

const PATIENCE: Duration = Duration::from_secs(20);

fn runtime(workers: usize) -> Runtime {
    Runtime::builder().workers(workers).build().unwrap()
}

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

// GV-233
#[test]
fn a_server_tells_where_it_is_and_whether_it_is_full() {
    let _watch = watch();
    for workers in [1, 2, 8] {
        runtime(workers).run(|| {
            let until_it_goes = |stream: TcpStream, _| while (&stream).read(&mut [0]).is_ok_and(|n| n > 0) {};
            let all = StreamServer::bind("127.0.0.1:0", until_it_goes).unwrap();
            let limited = StreamServer::with_limit(listener().0, 2, until_it_goes);
            let pooled = StreamServer::with_spawner(listener().0, Pool::new(2), until_it_goes);
            let grouped = StreamServer::with_spawner(listener().0, Group::new(), until_it_goes);
            for (server, fills) in [(all, false), (limited, true), (pooled, true), (grouped, false)] {
                let address = server.local_addr().unwrap();
                assert_eq!(address, server.listener().local_addr().unwrap());
                server.start();
                let first = TcpStream::connect(address).unwrap();
                until(|| server.connections() == 1);
                assert!(!server.is_full());
                let _second = TcpStream::connect(address).unwrap();
                until(|| server.connections() == 2);
                assert_eq!(server.is_full(), fills);
                drop(first);
                until(|| !server.is_full());
                server.stop(ms(1));
                assert_eq!(server.local_addr().unwrap(), address);
            }
            let nowhere = StreamServer::new(Failing::default(), |(), ()| ());
            assert_eq!(nowhere.local_addr().unwrap_err().kind(), ErrorKind::Unsupported);
            let datagrams = DatagramServer::with_limit(UdpSocket::bind("127.0.0.1:0").unwrap(), 1, |_, _, _| ());
            assert!(!datagrams.is_full());
        });
    }
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

// ---- how a stop goes

/// A server whose handlers wait for an event, and a connection that is being served.
fn busy_server() -> (StreamServer<TcpListener>, TcpStream, Event) {
    let (listener, address) = listener();
    let go_on = Event::new();
    let waits = go_on.clone();
    let server = StreamServer::new(listener, move |_stream, _| waits.wait());
    server.start();
    let client = TcpStream::connect(address).unwrap();
    until(|| server.connections() == 1);
    (server, client, go_on)
}

// GV-230: after a start of its own, too.
#[test]
fn serving_forever_ends_when_a_stop_has_ended_not_when_it_begins() {
    let _watch = watch();
    for workers in [1, 2, 8] {
        runtime(workers).run(|| {
            let (server, _client, go_on) = busy_server();
            let serves = osier::spawn({
                let server = server.clone();
                move || {
                    server.serve_forever();
                    server.connections()
                }
            });
            let stops = osier::spawn({
                let server = server.clone();
                move || server.stop(PATIENCE)
            });
            until(|| !server.is_accepting());
            (0..20).for_each(|_| osier::yield_now());
            assert_eq!(server.connections(), 1, "it is served on, and counted");
            assert!(!serves.is_finished() && !stops.is_finished());
            go_on.set();
            assert!(stops.join().unwrap());
            assert_eq!(serves.join().unwrap(), 0);
            // Once more changes nothing.
            assert!(server.stop(ms(1)));
            server.serve_forever();
        });
    }
}

#[test]
fn a_second_stop_waits_for_the_same_connections_and_has_its_own_patience() {
    let _watch = watch();
    for workers in [1, 2, 8] {
        runtime(workers).run(|| {
            let (server, _client, _go_on) = busy_server();
            let stops = osier::spawn({
                let server = server.clone();
                move || server.stop(PATIENCE)
            });
            until(|| !server.is_accepting());
            assert!(!server.stop(ms(10)), "one was left, and cancelled");
            assert_eq!(server.connections(), 0);
            assert!(stops.join().unwrap(), "in its time none was left");
        });
    }
}

#[test]
fn a_stop_that_is_cancelled_has_closed_the_listener_and_can_be_made_again() {
    let _watch = watch();
    for workers in [1, 2, 8] {
        runtime(workers).run(|| {
            let (server, _client, go_on) = busy_server();
            let serves = osier::spawn({
                let server = server.clone();
                move || server.serve_forever()
            });
            let stops = osier::spawn({
                let server = server.clone();
                move || server.stop(PATIENCE)
            });
            // Whether it waits for the acceptor or for the connection then.
            until(|| !server.is_accepting());
            stops.kill();
            assert!(stops.join().unwrap_err().is_cancelled());
            serves.join().unwrap();
            assert_eq!(server.listener().accept().unwrap_err().raw_os_error(), Some(libc::EBADF));
            assert_eq!(server.connections(), 1);
            go_on.set();
            assert!(server.stop(PATIENCE));
            assert_eq!(server.connections(), 0);
        });
    }
}

#[test]
fn a_listener_that_somebody_else_closes_ends_accepting() {
    let _watch = watch();
    for workers in [1, 2, 8] {
        runtime(workers).run(|| {
            let (server, _client, go_on) = busy_server();
            let serves = osier::spawn({
                let server = server.clone();
                move || server.serve_forever()
            });
            osier::yield_now();
            server.listener().close().unwrap();
            serves.join().unwrap();
            assert!(!server.is_accepting());
            server.start();
            assert!(!server.is_accepting());
            assert_eq!(server.connections(), 1);
            go_on.set();
            assert!(server.stop(PATIENCE));
        });
    }
}

// GV-232
#[test]
fn a_handler_that_panics_during_a_stop_is_reported() {
    let _watch = watch();
    let reports = common::reports(|| {
        runtime(1).run(|| {
            let (listener, address) = listener();
            let go_on = Event::new();
            let waits = go_on.clone();
            let server = StreamServer::new(listener, move |_stream, _| {
                waits.wait();
                panic!("too late");
            });
            server.start();
            let _client = TcpStream::connect(address).unwrap();
            until(|| server.connections() == 1);
            let stops = osier::spawn({
                let server = server.clone();
                move || server.stop(PATIENCE)
            });
            until(|| !server.is_accepting());
            osier::yield_now();
            go_on.set();
            assert!(stops.join().unwrap());
        });
    });
    // It is the handler that is named.
    let names = |report: &String| {
        report.contains("too late") && report.contains("is_reported::") && !report.contains("net::server")
    };
    assert!(reports.iter().any(names), "{reports:?}");
}

// ---- who accepts, and what fails

/// A listener that fails as it is told, and then waits for ever. Notes when it was asked.
#[derive(Default)]
struct Failing {
    answers: Mutex<VecDeque<Option<i32>>>,
    asked: Arc<Mutex<Vec<Instant>>>,
}

impl Listener for Failing {
    type Stream = ();
    type Address = ();

    fn accept(&self) -> io::Result<((), ())> {
        common::lock(&self.asked).push(time::now());
        let answer = common::lock(&self.answers).pop_front();
        match answer {
            None => {
                osier::sleep(common::FOR_EVER);
                Err(io::Error::from_raw_os_error(libc::EBADF))
            }
            Some(None) => Ok(((), ())),
            Some(Some(code)) => Err(io::Error::from_raw_os_error(code)),
        }
    }

    fn close(&self) -> io::Result<()> {
        Ok(())
    }
}

// GV-232: in made-up time.
#[test]
fn errors_make_the_server_pause_ever_longer_and_a_connection_makes_it_begin_anew() {
    let _watch = watch();
    let asked = Arc::new(Mutex::new(Vec::new()));
    let fails = [Some(libc::ENOBUFS); 9].into_iter().chain([None]).chain([Some(libc::EPERM); 2]);
    let listener = Failing { answers: Mutex::new(fails.collect()), asked: asked.clone() };
    let served = Arc::new(AtomicUsize::new(0));
    let serves = served.clone();
    Runtime::builder().test(1).build().unwrap().run(move || {
        let server = StreamServer::new(listener, move |(), ()| _ = serves.fetch_add(1, Ordering::Relaxed));
        server.start();
        osier::sleep(Duration::from_secs(60));
        assert!(server.is_accepting());
        assert!(server.stop(PATIENCE));
        assert!(!server.is_accepting());
    });
    let asked = common::lock(&asked);
    let pauses: Vec<_> = asked.windows(2).map(|pair| pair[1] - pair[0]).collect();
    let doubled = [10, 20, 40, 80, 160, 320, 640, 1000, 1000];
    let expected: Vec<_> = doubled.into_iter().chain([0, 10, 20]).map(ms).collect();
    assert_eq!(pauses, expected);
    assert_eq!(served.load(Ordering::Relaxed), 1);
}

// GV-232: a failure for good, of a listener that is none, too.
#[test]
fn a_listener_that_is_no_socket_ends_accepting_at_once() {
    let _watch = watch();
    for code in [libc::EBADF, libc::EINVAL, libc::ENOTSOCK] {
        run(|| {
            let asked = Arc::default();
            let listener = Failing { answers: Mutex::new([Some(code)].into()), asked: Arc::clone(&asked) };
            let server = StreamServer::new(listener, |(), ()| ());
            server.serve_forever();
            assert!(!server.is_accepting());
            assert!(server.stop(PATIENCE));
            assert_eq!(common::lock(&asked).len(), 1);
        });
    }
}

// GV-233: gevent's `spawn=pool`.
#[test]
fn two_servers_share_the_places_of_a_pool() {
    let _watch = watch();
    for workers in [1, 2, 8] {
        runtime(workers).run(|| {
            let pool = Pool::new(2);
            let (served, serves) = channel::unbounded();
            let servers = [1, 2].map(|number| {
                let (listener, address) = listener();
                let served = served.clone();
                let server = StreamServer::with_spawner(listener, pool.clone(), move |mut stream: TcpStream, _| {
                    served.send(number).unwrap();
                    // Until the client goes.
                    while stream.read(&mut [0]).is_ok_and(|n| n > 0) {}
                });
                server.start();
                (server, address)
            });
            let one = TcpStream::connect(servers[0].1).unwrap();
            assert_eq!(serves.recv(), Ok(1));
            let other = TcpStream::connect(servers[1].1).unwrap();
            assert_eq!(serves.recv(), Ok(2));
            let waits = TcpStream::connect(servers[0].1).unwrap();
            assert!(serves.recv_timeout(ms(30)).is_err());
            assert!(pool.is_full());
            assert_eq!((servers[0].0.connections(), servers[1].0.connections()), (1, 1));
            drop(other);
            assert_eq!(serves.recv_timeout(PATIENCE), Ok(1));
            // A stop ends the server's own, and leaves the pool to others.
            drop(one);
            assert!(!servers[0].0.stop(ms(10)));
            assert_eq!((&waits).read(&mut [0]).unwrap(), 0);
            let _last = TcpStream::connect(servers[1].1).unwrap();
            assert_eq!(serves.recv_timeout(PATIENCE), Ok(2));
            until(|| pool.len() == 1);
            pool.kill();
            assert!(servers[1].0.stop(PATIENCE));
        });
    }
}

#[test]
fn a_group_serves_without_a_limit() {
    let _watch = watch();
    run(|| {
        let group = Group::new();
        let (listener, address) = listener();
        let server = StreamServer::with_spawner(listener, group.clone(), |stream, _| answer(stream));
        server.start();
        let waiting: Vec<_> = (0..50).map(|_| TcpStream::connect(address).unwrap()).collect();
        until(|| group.len() == 50);
        drop(waiting);
        group.join().unwrap();
        assert!(server.stop(PATIENCE));
    });
}

// ---- ports

#[test]
fn a_server_starts_again_on_the_port_that_it_had() {
    let _watch = watch();
    run(|| {
        let (mut listener, address) = listener();
        for round in 0..3 {
            // Writes and closes first, so that the port stays in the system's books for a minute.
            let server = StreamServer::new(listener, |mut stream, _| _ = stream.write_all(b"hello"));
            server.start();
            assert_eq!(io::read_to_string(TcpStream::connect(address).unwrap()).unwrap(), "hello", "{round}");
            assert!(server.stop(PATIENCE));
            drop(server);
            listener = TcpListener::bind(address).unwrap();
        }
    });
}

#[cfg(target_os = "linux")]
#[test]
fn listeners_that_share_a_port_are_dealt_connections_and_others_are_refused_it() {
    let _watch = watch();
    runtime(2).run(|| {
        let any = "127.0.0.1:0".parse().unwrap();
        let first = TcpListener::bind_with(&any, 128, true).unwrap();
        let address = first.local_addr().unwrap();
        assert_eq!(TcpListener::bind(address).unwrap_err().kind(), ErrorKind::AddrInUse);
        let second = TcpListener::bind_with(&address, 128, true).unwrap();
        let counts = [(); 2].map(|()| Arc::new(AtomicUsize::new(0)));
        let servers = [first, second].into_iter().zip(&counts).map(|(listener, count)| {
            let count = count.clone();
            let server = StreamServer::new(listener, move |stream, _| {
                count.fetch_add(1, Ordering::Relaxed);
                answer(stream);
            });
            server.start();
            server
        });
        let servers: Vec<_> = servers.collect();
        let clients: Vec<_> = (0..100).map(|_| osier::spawn(move || ask(address).unwrap())).collect();
        assert_eq!(osier::join_all(clients).unwrap(), [7; 100]);
        let [first, second] = counts.map(|count| count.load(Ordering::Relaxed));
        assert_eq!(first + second, 100);
        assert!(first > 0 && second > 0, "{first} and {second}");
        assert!(servers.iter().all(|server| server.stop(PATIENCE)));
    });
}

#[test]
fn acceptors_on_several_workers_share_one_listener() {
    let _watch = watch();
    const EACH: usize = 20;
    for workers in [1, 2, 8] {
        runtime(workers).run(|| {
            let (listener, address) = listener();
            let (listener, counted) = (Arc::new(listener), Arc::new(AtomicUsize::new(0)));
            let acceptors: Vec<_> = (0..4)
                .map(|_| {
                    let (listener, counted) = (listener.clone(), counted.clone());
                    Builder::new().place(Place::Spread).spawn(move || {
                        while let Ok((stream, _)) = listener.accept() {
                            counted.fetch_add(1, Ordering::Relaxed);
                            answer(stream);
                        }
                    })
                })
                .collect();
            let clients: Vec<_> = (0..4 * EACH).map(|_| osier::spawn(move || ask(address).unwrap())).collect();
            assert_eq!(osier::join_all(clients).unwrap(), [7; 4 * EACH]);
            assert_eq!(counted.load(Ordering::Relaxed), 4 * EACH);
            listener.close().unwrap();
            osier::join_all(acceptors).unwrap();
        });
    }
}

// ---- datagrams

/// A server of datagrams that tells of each, and a client that is connected to it.
fn datagrams(make: impl FnOnce(UdpSocket) -> DatagramServer) -> (DatagramServer, UdpSocket) {
    let server = make(UdpSocket::bind("127.0.0.1:0").unwrap());
    let client = UdpSocket::bind("127.0.0.1:0").unwrap();
    client.connect(server.socket().local_addr().unwrap()).unwrap();
    server.start();
    (server, client)
}

#[test]
fn a_handler_of_datagrams_that_panics_ends_alone() {
    let _watch = watch();
    for workers in [1, 2, 8] {
        runtime(workers).run(|| {
            let (server, client) = datagrams(|socket| {
                DatagramServer::new(socket, |socket, data, peer| {
                    assert!(data != b"bad", "what was asked for");
                    socket.send_to(&data, peer).unwrap();
                })
            });
            client.send(b"bad").unwrap();
            client.send(b"good").unwrap();
            let mut buffer = [0; 8];
            assert_eq!(client.recv(&mut buffer).unwrap(), 4);
            assert!(server.stop(PATIENCE));
        });
    }
}

#[test]
fn a_server_of_datagrams_stops_in_time_answering_to_the_end_and_closes_then() {
    let _watch = watch();
    for workers in [1, 2, 8] {
        runtime(workers).run(|| {
            let (go_on, (heard, hears)) = (Event::new(), channel::unbounded());
            let waits = go_on.clone();
            let (server, client) = datagrams(move |socket| {
                DatagramServer::new(socket, move |socket, data, peer| {
                    heard.send(()).unwrap();
                    waits.wait();
                    socket.send_to(&data, peer).unwrap();
                })
            });
            let serves = osier::spawn({
                let server = server.clone();
                move || server.serve_forever()
            });
            client.send(b"one").unwrap();
            hears.recv().unwrap();
            let stops = osier::spawn({
                let server = server.clone();
                move || server.stop(PATIENCE)
            });
            (0..20).for_each(|_| osier::yield_now());
            assert!(!serves.is_finished() && !stops.is_finished());
            go_on.set();
            let mut buffer = [0; 8];
            assert_eq!(client.recv(&mut buffer).unwrap(), 3, "the socket was open until then");
            assert!(stops.join().unwrap());
            serves.join().unwrap();
            assert_eq!(server.socket().recv(&mut buffer).unwrap_err().raw_os_error(), Some(libc::EBADF));

            // One that does not end is cancelled.
            let (heard, hears) = channel::unbounded();
            let (server, client) = datagrams(move |socket| {
                DatagramServer::new(socket, move |_, _, _| {
                    heard.send(()).unwrap();
                    osier::sleep(common::FOR_EVER);
                })
            });
            client.send(b"two").unwrap();
            hears.recv().unwrap();
            assert!(!server.stop(ms(10)));
            assert!(server.stop(ms(10)), "none is left");
            server.start();
            assert!(server.socket().recv(&mut buffer).is_err());
        });
    }
}

#[test]
fn a_full_server_of_datagrams_leaves_the_next_one_to_the_system() {
    let _watch = watch();
    for workers in [1, 2, 8] {
        runtime(workers).run(|| {
            let (go_on, (heard, hears)) = (Event::new(), channel::unbounded());
            let waits = go_on.clone();
            let (server, client) = datagrams(move |socket| {
                DatagramServer::with_limit(socket, 2, move |_, data, _| {
                    heard.send(data[0]).unwrap();
                    waits.wait();
                })
            });
            (0..4).for_each(|n| _ = client.send(&[n]).unwrap());
            let mut first = [hears.recv().unwrap(), hears.recv().unwrap()];
            first.sort_unstable();
            assert_eq!(first, [0, 1]);
            assert!(hears.recv_timeout(ms(20)).is_err());
            go_on.set();
            let mut second = [hears.recv().unwrap(), hears.recv().unwrap()];
            second.sort_unstable();
            assert_eq!(second, [2, 3]);
            assert!(server.stop(PATIENCE));
        });
    }
}

#[test]
fn a_socket_that_somebody_else_closes_ends_a_server_of_datagrams() {
    let _watch = watch();
    run(|| {
        let (server, _client) = datagrams(|socket| DatagramServer::new(socket, |_, _, _| ()));
        let serves = osier::spawn({
            let server = server.clone();
            move || server.serve_forever()
        });
        osier::yield_now();
        server.socket().close().unwrap();
        serves.join().unwrap();
        assert!(server.stop(PATIENCE));
    });
}
