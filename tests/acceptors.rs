//! What accepts for a server, and what spawns for it: ends that nobody asked for, refusals, several at once.

#![cfg(feature = "net")]

mod common;

use std::collections::{HashSet, VecDeque};
use std::io::{self, Read, Write};
use std::net::SocketAddr;
use std::os::fd::AsRawFd;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
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

// ---- what fails, and goes on

/// What becomes of a call that accepts or spawns.
#[derive(Clone, Copy)]
enum Fate {
    Connects,
    Fails(i32),
    Panics,
    Raises,
}

/// A listener whose calls go as they are told, and then wait for ever. Notes when it was asked.
struct Told {
    fates: Mutex<VecDeque<Fate>>,
    asked: channel::Sender<std::time::Instant>,
}

impl Listener for Told {
    type Stream = ();
    type Address = ();

    fn accept(&self) -> io::Result<((), ())> {
        self.asked.send(time::now()).unwrap();
        let fate = common::lock(&self.fates).pop_front();
        match fate {
            None => osier::sleep(common::FOR_EVER),
            Some(Fate::Connects) => {}
            Some(Fate::Fails(code)) => return Err(io::Error::from_raw_os_error(code)),
            Some(Fate::Panics) => panic!("the listener's panic"),
            Some(Fate::Raises) => osier::raise(io::Error::other("the listener's exception")),
        }
        Ok(((), ()))
    }

    fn close(&self) -> io::Result<()> {
        Ok(())
    }
}

/// Lets a server run in made-up time; gives the pauses between its calls, and what was reported.
fn pauses(fates: &[Fate]) -> (Vec<Duration>, Vec<String>) {
    let (asked, asks_at) = channel::unbounded();
    let listener = Told { fates: Mutex::new(fates.iter().copied().collect()), asked };
    let reports = common::reports(|| {
        Runtime::builder().test(1).build().unwrap().run(move || {
            let server = StreamServer::new(listener, |(), ()| ());
            server.start();
            osier::sleep(Duration::from_secs(60));
            assert!(server.is_accepting());
            assert!(server.stop(PATIENCE));
            assert!(!server.is_accepting());
        });
    });
    let asked: Vec<_> = asks_at.try_iter().collect();
    (asked.windows(2).map(|pair| pair[1] - pair[0]).collect(), reports)
}

// GV-232: as gevent's, a server outlives whatever goes wrong where it accepts.
#[test]
fn a_server_whose_listener_panics_or_raises_pauses_reports_and_goes_on() {
    let _watch = watch();
    let (pauses, reports) =
        pauses(&[Fate::Panics, Fate::Raises, Fate::Panics, Fate::Connects, Fate::Raises, Fate::Panics]);
    assert_eq!(pauses, [10, 20, 40, 0, 10, 20].map(ms));
    let count = |what: &str| reports.iter().filter(|report| report.ends_with(what)).count();
    assert_eq!(count("the acceptor of a server pauses: task panicked: the listener's panic"), 3, "{reports:?}");
    assert_eq!(count("pauses: task raised an exception: the listener's exception"), 2, "{reports:?}");
}

// GV-232: `EPERM` is what a firewall says.
#[test]
fn an_error_is_reported_once_until_a_connection_is_served() {
    let _watch = watch();
    let (perm, none) = (Fate::Fails(libc::EPERM), Fate::Fails(libc::ENOBUFS));
    let (pauses, reports) = pauses(&[perm, perm, none, perm, Fate::Connects, perm, perm]);
    assert_eq!(pauses, [10, 20, 40, 80, 0, 10, 20].map(ms));
    let text = |code| format!("the acceptor of a server pauses: {}", io::Error::from_raw_os_error(code));
    let count = |code| reports.iter().filter(|report| **report == text(code)).count();
    assert_eq!((count(libc::EPERM), count(libc::ENOBUFS)), (2, 1), "{reports:?}");
}

/// Spawns into a pool as it is told, and without failure when it is told nothing more.
struct Falters {
    fates: Mutex<VecDeque<Fate>>,
    pool: Pool,
}

impl Falters {
    fn new(fates: &[Fate]) -> Self {
        Self { fates: Mutex::new(fates.iter().copied().collect()), pool: Pool::new(10) }
    }
}

impl Spawner for Falters {
    fn wait_free(&self) {}

    fn try_spawn(&self, serve: Serve) -> Result<Task, Serve> {
        let fate = common::lock(&self.fates).pop_front();
        match fate {
            Some(Fate::Panics) => panic!("the spawner's panic"),
            Some(Fate::Raises) => osier::raise(io::Error::other("the spawner's exception")),
            _ => Spawner::try_spawn(&self.pool, serve),
        }
    }
}

// GV-232
#[test]
fn a_server_whose_spawner_panics_or_raises_closes_that_connection_and_goes_on() {
    let _watch = watch();
    for workers in [1, 2, 8] {
        let reports = common::reports(|| {
            runtime(workers).run(|| {
                let (listener, address) = listener();
                let spawner = Falters::new(&[Fate::Panics, Fate::Connects, Fate::Raises]);
                let server = StreamServer::with_spawner(listener, spawner, |stream, _| answer(stream));
                let serves = osier::spawn({
                    let server = server.clone();
                    move || server.serve_forever()
                });
                for is_served in [false, true, false, true, true] {
                    let mut stream = TcpStream::connect(address).unwrap();
                    if is_served {
                        asks(&mut stream);
                    } else {
                        assert_eq!(stream.read(&mut [0]).unwrap(), 0, "it is closed");
                    }
                }
                assert!(server.is_accepting() && !serves.is_finished());
                assert!(server.stop(PATIENCE));
                serves.join().unwrap();
            });
        });
        for what in ["panicked: the spawner's panic", "exception: the spawner's exception"] {
            let of_server = |report: &&String| report.starts_with("the acceptor of a server pauses: task ");
            assert!(reports.iter().filter(of_server).any(|report| report.ends_with(what)), "{reports:?}");
        }
    }
}

// GV-232: of datagrams, too.
#[test]
fn a_server_of_datagrams_whose_spawner_panics_or_raises_loses_that_one_and_goes_on() {
    let _watch = watch();
    for workers in [1, 2, 8] {
        let reports = common::reports(|| {
            runtime(workers).run(|| {
                let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
                let client = UdpSocket::bind("127.0.0.1:0").unwrap();
                client.connect(socket.local_addr().unwrap()).unwrap();
                let spawner = Falters::new(&[Fate::Panics, Fate::Raises]);
                let server = DatagramServer::with_spawner(socket, spawner, |socket, data, peer| {
                    socket.send_to(&data, peer).unwrap();
                });
                server.start();
                (0..3).for_each(|number| _ = client.send(&[number]).unwrap());
                let mut number = [0];
                client.recv(&mut number).unwrap();
                assert_eq!(number, [2]);
                assert!(server.is_accepting());
                assert!(server.stop(PATIENCE));
            });
        });
        assert!(reports.iter().any(|report| report.starts_with("the receiver of a server pauses: ")), "{reports:?}");
    }
}

// An end that nobody asked for is told, one by a close or a stop is not. Here alone a server of this file ends unasked.
#[test]
fn accepting_that_ends_unasked_is_reported_and_closes_the_listener() {
    let _watch = watch();
    for workers in [1, 2, 8] {
        let ended = |end: fn(&StreamServer<TcpListener>)| {
            let reports = common::reports(|| {
                runtime(workers).run(|| {
                    let (listener, address) = listener();
                    let server = StreamServer::new(listener, |stream, _| answer(stream)).acceptors(2);
                    server.start();
                    asks(&mut TcpStream::connect(address).unwrap());
                    end(&server);
                    server.serve_forever();
                    assert!(!server.is_accepting());
                    assert_eq!(server.listener().local_addr().unwrap_err().raw_os_error(), Some(libc::EBADF));
                });
            });
            reports.into_iter().filter(|report| report.contains("of a server has ended")).collect::<Vec<_>>()
        };
        // As code does that knows the number only.
        let unasked = ended(|server| {
            // SAFETY: it takes no pointers.
            let answer = unsafe { libc::shutdown(server.listener().as_raw_fd(), libc::SHUT_RDWR) };
            assert_eq!(answer, 0);
        });
        let error = io::Error::from_raw_os_error(libc::EINVAL);
        assert_eq!(unasked, [format!("the acceptor of a server has ended: {error}")]);
        let none: [String; 0] = [];
        assert_eq!(ended(|server| server.listener().close().unwrap()), none);
        assert_eq!(ended(|server| _ = server.stop(PATIENCE)), none);
    }
}

// In made-up time, which would pass only by a pause.
#[test]
fn a_listener_that_does_not_wait_or_not_for_long_is_waited_for() {
    let _watch = watch();
    let set: [fn(&TcpListener); 2] = [
        |listener| listener.set_nonblocking(true).unwrap(),
        |listener| listener.set_accept_timeout(Some(ms(5))).unwrap(),
    ];
    for set in set {
        let reports = common::reports(|| {
            Runtime::builder().test(1).build().unwrap().run(|| {
                let (listener, address) = listener();
                set(&listener);
                let server = StreamServer::new(listener, |stream, _| answer(stream));
                server.start();
                osier::sleep(Duration::from_secs(60));
                let began = time::now();
                asks(&mut TcpStream::connect(address).unwrap());
                assert_eq!(time::now() - began, ms(0));
                assert!(server.stop(PATIENCE));
            });
        });
        let timed_out = |report: &String| report.contains("pauses: ") && !report.contains("pauses: task ");
        assert!(!reports.iter().any(timed_out), "{reports:?}");
    }
}

// ---- pauses

/// A pool that is full, until its event is set.
fn full_pool() -> (Pool, Event) {
    let (pool, go_on) = (Pool::new(1), Event::new());
    let waits = go_on.clone();
    drop(pool.spawn(move || waits.wait()));
    (pool, go_on)
}

/// A pool that has a place until somebody asks for it: so a server takes a connection, and then waits with it.
struct Tempts {
    pool: Pool,
    has_asked: Arc<AtomicBool>,
}

impl Spawner for Tempts {
    fn wait_free(&self) {
        if self.has_asked.load(Ordering::Relaxed) {
            self.pool.wait_free();
        }
    }

    fn try_spawn(&self, serve: Serve) -> Result<Task, Serve> {
        self.has_asked.store(true, Ordering::Relaxed);
        Spawner::try_spawn(&self.pool, serve)
    }
}

/// A server that has taken a connection and waits for a place for it, which comes with the event; and who has connected.
fn waiting_for_a_place() -> (StreamServer<TcpListener>, TcpStream, Event) {
    let (listener, address) = listener();
    let ((pool, go_on), has_asked) = (full_pool(), Arc::<AtomicBool>::default());
    let spawner = Tempts { pool, has_asked: has_asked.clone() };
    let server = StreamServer::with_spawner(listener, spawner, |stream, _| answer(stream));
    server.start();
    let client = TcpStream::connect(address).unwrap();
    until(|| has_asked.load(Ordering::Relaxed));
    (server, client, go_on)
}

// GV-230, GV-233
#[test]
fn a_connection_that_waits_for_a_place_is_served_after_a_pause() {
    let _watch = watch();
    for workers in [1, 2, 8] {
        runtime(workers).run(|| {
            let (server, mut client, go_on) = waiting_for_a_place();
            for _ in 0..2 {
                server.pause();
                server.start();
            }
            server.pause();
            go_on.set();
            server.start();
            asks(&mut client);
            drop(client);
            assert!(server.stop(PATIENCE));
        });
    }
}

// GV-230, GV-233: of a stop, and where nobody is left to start the server.
#[test]
fn a_connection_that_waits_for_a_place_is_closed_by_the_end_of_its_server() {
    let _watch = watch();
    type Server = StreamServer<TcpListener>;
    let stop = |server: Server| server.stop(PATIENCE).then_some(server);
    let ends: [fn(Server) -> Option<Server>; 2] = [stop, |_| None];
    for (workers, end) in [1, 2, 8].into_iter().flat_map(|workers| ends.map(|end| (workers, end))) {
        runtime(workers).run(|| {
            let (server, mut client, go_on) = waiting_for_a_place();
            server.pause();
            let _stopped = end(server);
            assert_eq!(client.read(&mut [0]).unwrap(), 0);
            go_on.set();
        });
    }
}

// GV-230
#[test]
fn a_datagram_that_waits_for_a_place_is_handled_after_a_pause() {
    let _watch = watch();
    for workers in [1, 2, 8] {
        runtime(workers).run(|| {
            let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
            let client = UdpSocket::bind("127.0.0.1:0").unwrap();
            client.connect(socket.local_addr().unwrap()).unwrap();
            let ((pool, go_on), has_asked) = (full_pool(), Arc::<AtomicBool>::default());
            let spawner = Tempts { pool, has_asked: has_asked.clone() };
            let server = DatagramServer::with_spawner(socket, spawner, |socket, data, peer| {
                socket.send_to(&data, peer).unwrap();
            });
            server.start();
            client.send(&[5]).unwrap();
            until(|| has_asked.load(Ordering::Relaxed));
            server.pause();
            go_on.set();
            server.start();
            let mut number = [0];
            client.recv(&mut number).unwrap();
            assert_eq!(number, [5]);
            assert!(server.stop(PATIENCE));
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
