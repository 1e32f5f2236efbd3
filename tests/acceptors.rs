//! What accepts for a server, and what spawns for it: ends that nobody asked for, refusals, several at once.

#![cfg(feature = "net")]

mod common;

use std::collections::HashSet;
use std::io::{self, Read, Write};
use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, OnceLock};
use std::thread;
use std::time::Duration;

use common::{ms, until, watch};
use osier::net::{DatagramServer, Listener, Serve, Spawner, StreamServer, TcpListener, TcpStream, UdpSocket};
use osier::sync::{Event, channel};
use osier::task::{self, Task};
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

fn answer(mut stream: TcpStream) {
    let mut byte = [0];
    while stream.read_exact(&mut byte).is_ok() {
        _ = stream.write_all(&byte);
    }
}

fn asks(stream: &mut TcpStream) {
    stream.write_all(&[7]).unwrap();
    stream.read_exact(&mut [0]).unwrap();
}

// ---- ends

/// A listener that panics when it is asked for the second time.
#[derive(Default)]
struct Panicking(AtomicUsize);

impl Listener for Panicking {
    type Stream = ();
    type Address = ();

    fn accept(&self) -> io::Result<((), ())> {
        assert!(self.0.fetch_add(1, Ordering::Relaxed) == 0, "as it was told");
        Ok(((), ()))
    }

    fn close(&self) -> io::Result<()> {
        Ok(())
    }
}

#[test]
fn serving_forever_ends_when_what_accepts_panics() {
    let _watch = watch();
    for workers in [1, 2, 8] {
        runtime(workers).run(|| {
            let served = Arc::new(AtomicUsize::new(0));
            let serves = served.clone();
            let server =
                StreamServer::new(Panicking::default(), move |(), ()| _ = serves.fetch_add(1, Ordering::Relaxed));
            server.serve_forever();
            assert!(!server.is_accepting());
            assert!(server.stop(PATIENCE));
            assert_eq!(served.load(Ordering::Relaxed), 1);
        });
    }
}

#[test]
fn serving_forever_ends_with_the_runtime_that_accepts() {
    let _watch = watch();
    for workers in [1, 2, 8] {
        let runtime = runtime(workers);
        let (server, datagrams) = runtime.run(|| {
            let server = StreamServer::new(listener().0, |stream, _| answer(stream)).acceptors(3);
            let datagrams = DatagramServer::new(UdpSocket::bind("127.0.0.1:0").unwrap(), |_, _, _| ());
            server.start();
            datagrams.start();
            (server, datagrams)
        });
        let (serves, receives) = (server.clone(), datagrams.clone());
        let threads = [thread::spawn(move || serves.serve_forever()), thread::spawn(move || receives.serve_forever())];
        drop(runtime);
        threads.into_iter().for_each(|thread| thread.join().unwrap());
        assert!(!server.is_accepting() && !datagrams.is_accepting());
    }
}

#[test]
fn pausing_is_no_end() {
    let _watch = watch();
    for workers in [1, 2, 8] {
        runtime(workers).run(|| {
            let (listener, address) = listener();
            let server = StreamServer::new(listener, |stream, _| answer(stream)).acceptors(2);
            for _ in 0..20 {
                server.start();
                assert!(server.is_accepting());
                asks(&mut TcpStream::connect(address).unwrap());
                server.pause();
                assert!(!server.is_accepting());
            }
            server.start();
            asks(&mut TcpStream::connect(address).unwrap());
            server.stop(PATIENCE);
        });
    }
}

// ---- several at once

#[test]
fn several_tasks_of_a_server_accept_on_several_workers() {
    let _watch = watch();
    /// Notes which workers accept.
    struct Noting(TcpListener, Arc<Mutex<HashSet<usize>>>);
    impl Listener for Noting {
        type Stream = TcpStream;
        type Address = SocketAddr;

        fn accept(&self) -> io::Result<(TcpStream, SocketAddr)> {
            common::lock(&self.1).insert(task::worker().unwrap());
            self.0.accept()
        }

        fn close(&self) -> io::Result<()> {
            self.0.close()
        }
    }

    for workers in [1, 2, 8] {
        runtime(workers).run(|| {
            let (listener, address) = listener();
            let noted = Arc::default();
            let server = StreamServer::new(Noting(listener, Arc::clone(&noted)), |stream, _| answer(stream));
            let server = server.acceptors(4);
            server.start();
            server.start();
            let clients = (0..40)
                .map(|_| osier::spawn(move || (0..5).for_each(|_| asks(&mut TcpStream::connect(address).unwrap()))));
            osier::join_all(clients.collect::<Vec<_>>()).unwrap();
            until(|| common::lock(&noted).len() >= workers.min(2));
            until(|| server.connections() == 0);
            assert!(server.stop(PATIENCE));
            assert!(!server.is_accepting());
        });
    }
}

// ---- who spawns

#[test]
fn a_pool_spreads_a_servers_tasks_over_the_workers() {
    let _watch = watch();
    /// Serves through a spawner, and notes which workers do.
    fn serve(spawner: impl Spawner) {
        let (listener, address) = listener();
        let noted = Arc::<Mutex<HashSet<usize>>>::default();
        let notes = noted.clone();
        let server = StreamServer::with_spawner(listener, spawner, move |stream, _| {
            common::lock(&notes).insert(task::worker().unwrap());
            answer(stream);
        });
        server.start();
        let mut clients: Vec<_> = (0..20).map(|_| TcpStream::connect(address).unwrap()).collect();
        clients.iter_mut().for_each(asks);
        until(|| server.connections() == 20);
        drop(clients);
        assert!(server.stop(PATIENCE));
        assert_eq!(common::lock(&noted).len(), 2);
    }
    runtime(2).run(|| {
        serve(Pool::new(50));
        serve(Group::new());
    });
}

/// Refuses so many times, and looks at its server meanwhile.
struct Refusing {
    left: AtomicUsize,
    group: Group,
    server: Arc<OnceLock<StreamServer<TcpListener>>>,
    asked: channel::Sender<std::time::Instant>,
}

impl Spawner for Refusing {
    fn wait_free(&self) {}

    fn try_spawn(&self, serve: Serve) -> Result<Task, Serve> {
        let server = self.server.get().unwrap();
        assert!(server.is_accepting() && server.connections() == 0);
        self.asked.send(time::now()).unwrap();
        if self.left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| left.checked_sub(1)).is_ok() {
            return Err(serve);
        }
        Ok(self.group.spawn(serve).task())
    }
}

// In made-up time.
#[test]
fn a_connection_that_cannot_be_spawned_for_is_served_later() {
    let _watch = watch();
    let (asked, asks_at) = channel::unbounded();
    Runtime::builder().test(1).build().unwrap().run(move || {
        let (listener, address) = listener();
        let server = Arc::new(OnceLock::new());
        let spawner = Refusing { left: AtomicUsize::new(4), group: Group::new(), server: server.clone(), asked };
        let new = StreamServer::with_spawner(listener, spawner, |stream, _| answer(stream));
        let server = server.get_or_init(|| new);
        server.start();
        asks(&mut TcpStream::connect(address).unwrap());
        assert!(server.stop(PATIENCE));
    });
    let asked: Vec<_> = asks_at.try_iter().collect();
    let pauses: Vec<_> = asked.windows(2).map(|pair| pair[1] - pair[0]).collect();
    assert_eq!(pauses, [0, 10, 20, 40].map(ms));
}

#[test]
fn a_stop_ends_a_server_whose_spawner_refuses() {
    let _watch = watch();
    for workers in [1, 2, 8] {
        runtime(workers).run(|| {
            let (listener, address) = listener();
            let (asked, asks_at) = channel::unbounded();
            let server = Arc::new(OnceLock::new());
            let spawner =
                Refusing { left: AtomicUsize::new(usize::MAX), group: Group::new(), server: server.clone(), asked };
            let new = StreamServer::with_spawner(listener, spawner, |stream, _| answer(stream));
            let server = server.get_or_init(|| new);
            server.start();
            let mut client = TcpStream::connect(address).unwrap();
            asks_at.recv().unwrap();
            assert!(server.stop(PATIENCE));
            assert_eq!(client.read(&mut [0]).unwrap(), 0);
        });
    }
}

#[test]
fn datagrams_are_handled_by_a_pool_and_paused() {
    let _watch = watch();
    for workers in [1, 2, 8] {
        runtime(workers).run(|| {
            let (go_on, (handles, handled)) = (Event::new(), channel::unbounded());
            let waits = go_on.clone();
            let pool = Pool::new(1);
            let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
            let address = socket.local_addr().unwrap();
            let server = DatagramServer::with_spawner(socket, pool.clone(), move |_, data, _| {
                handles.send(data[0]).unwrap();
                waits.wait();
            });
            assert!(!server.is_accepting());
            server.start();
            let client = UdpSocket::bind("127.0.0.1:0").unwrap();
            (0..3).for_each(|number| _ = client.send_to(&[number], address).unwrap());
            assert_eq!(handled.recv(), Ok(0));
            // A handler may begin before whoever has spawned it has counted it.
            until(|| (server.connections(), pool.len()) == (1, 1));
            assert!(handled.recv_timeout(ms(10)).is_err());
            go_on.set();
            assert_eq!((handled.recv(), handled.recv()), (Ok(1), Ok(2)));
            server.pause();
            assert!(!server.is_accepting());
            client.send_to(&[3], address).unwrap();
            assert!(handled.recv_timeout(ms(10)).is_err());
            server.start();
            assert_eq!(handled.recv(), Ok(3));
            assert!(server.stop(PATIENCE));
        });
    }
}

#[test]
fn a_server_that_is_dropped_without_a_stop_serves_on() {
    let _watch = watch();
    run(|| {
        let (listener, address) = listener();
        StreamServer::new(listener, |stream, _| answer(stream)).start();
        asks(&mut TcpStream::connect(address).unwrap());
    });
}
