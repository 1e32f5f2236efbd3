//! What works where nothing can be unwound. The first argument says what to do.

use std::error::Error;
use std::fmt;
use std::io::{ErrorKind, Read, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use osier::generator::{ResumeError, scoped};
use osier::net::{Listener, StreamServer, TcpListener, TcpStream, UdpSocket, UnixDatagram};
use osier::sync::Event;
use osier::time::timeout;
use osier::{Generator, Greenlet, Step, Yielder, raise};

#[derive(Debug)]
struct Stop;

impl fmt::Display for Stop {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("stop it")
    }
}

impl Error for Stop {}

/// Says so when it is dropped.
struct Loud;

impl Drop for Loud {
    fn drop(&mut self) {
        println!("dropped");
    }
}

fn main() {
    assert!(cfg!(panic = "abort"));
    match std::env::args().nth(1).expect("what to do").as_str() {
        "drop" => {
            let mut g = Generator::builder(|y: &Yielder<u32>| {
                let _loud = Loud;
                y.yield_(1);
            })
            .name("left-behind")
            .build();
            assert_eq!(g.next(), Some(1));
            assert!(matches!(g.close(), Err(ResumeError::IgnoredClose)));
            drop(g);
            // What has ended, or not begun, is freed as ever.
            assert_eq!(Generator::new(|y: &Yielder<u32>| y.yield_(1)).count(), 1);
            drop(Generator::new(|y: &Yielder<u32>| y.yield_(1)));
        }
        "throw into try_yield" => {
            let mut g = Generator::new(|y: &Yielder<bool, ()>| while y.try_yield(true).is_ok() {});
            assert_eq!(g.start().unwrap(), Step::Yielded(true));
            assert_eq!(g.send(()).unwrap(), Step::Yielded(true));
            assert_eq!(g.throw(Stop).unwrap(), Step::Returned(()));
        }
        "throw into yield_" => {
            let mut g = Generator::new(|y: &Yielder<u32>| y.yield_(1)).primed();
            _ = g.throw(Stop);
        }
        "raise" => _ = Generator::new(|_: &Yielder<u32>| raise(Stop)).next(),
        "panic" => _ = Generator::new(|_: &Yielder<u32>| panic!("a bug")).next(),
        "scoped" => {
            let words = ["ash".to_owned(), "oak".to_owned()];
            let body = |y: &Yielder<_>| y.yield_all(words.iter().map(String::as_str));
            assert_eq!(scoped(body, |g| g.last()), Some("oak"));
            // One that was not begun has borrowed nothing yet.
            scoped(body, |_| ());
            if std::env::args().nth(2).is_some() {
                scoped(body, |g| g.next().map(str::len));
            }
        }
        "yield_from" => {
            let mut outer = Generator::new(|y: &Yielder<u32, u32>| {
                let mut inner = Generator::new(|y: &Yielder<u32, u32>| {
                    let mut sum = 0;
                    while let Ok(n) = y.try_yield(sum) {
                        sum += n;
                    }
                    sum
                });
                2 * y.yield_from(&mut inner)
            })
            .primed();
            assert_eq!(outer.send(3).unwrap(), Step::Yielded(3));
            assert_eq!(outer.send(4).unwrap(), Step::Yielded(7));
            assert!(matches!(outer.close(), Err(ResumeError::IgnoredClose)));
            // The throw goes to the innermost one, which has a `try_yield`.
            assert_eq!(outer.throw(Stop).unwrap(), Step::Returned(14));
        }
        "greenlets" => {
            let root = Greenlet::<u32>::current();
            let g = Greenlet::new({
                let root = root.clone();
                move |n| root.switch(n + 1) + 10
            });
            assert_eq!((g.switch(1), g.switch(2), g.is_dead()), (2, 12, true));
            // One that has not begun ends unrun, and its value goes to the parent.
            assert_eq!(Greenlet::<u32>::new(|_| unreachable!()).throw_exit(7), 7);
            let left = move |n| {
                let _loud = Loud;
                root.switch(n)
            };
            let left = Greenlet::builder(left).name("left-behind").build();
            assert_eq!(left.switch(5), 5);
            assert!(!left.kill());
            drop(left);
        }
        "throw into a greenlet" => {
            let g = Greenlet::<u32>::new(|n| osier::greenlet::parent().switch(n));
            g.switch(1);
            g.throw(Stop);
        }
        "cancel" => {
            // A wait whose result has no room for it goes on; the task can ask.
            let ended = osier::run(|| {
                let (sender, receiver) = osier::sync::channel::bounded(1);
                let task = osier::spawn(move || (receiver.recv(), osier::task::is_cancelled()));
                osier::yield_now();
                task.cancel();
                sender.send(7).unwrap();
                task.join().unwrap()
            });
            assert_eq!(ended, (Ok(7), true));
            // One that has not started never runs.
            let fresh = osier::run(|| {
                let task = osier::task::Builder::new().place(osier::task::Place::Here).spawn(|| panic!("it runs"));
                task.cancel();
                task.join()
            });
            assert!(fresh.unwrap_err().is_cancelled());
        }
        "late timeout" => osier::run(|| {
            let (ms, began) = (Duration::from_millis, Instant::now());
            assert!(timeout(ms(2), || osier::sleep(ms(10))).is_err());
            assert!(began.elapsed() >= ms(10), "what is inside goes on");
            assert_eq!(timeout(ms(60_000), || 1), Ok(1));
        }),
        "join" => osier::run(|| {
            let parked = osier::spawn(osier::task::park);
            let (waits, then) = (parked.task(), parked.task());
            let joiner = osier::spawn(move || {
                let mut parked = parked;
                let hour = Duration::from_secs(3600);
                let errors = [waits.join(), waits.join_timeout(hour), parked.join_timeout(hour), parked.join()];
                errors.map(|ended| ended.is_err_and(|error| error.is_cancelled()))
            });
            osier::sleep(Duration::from_millis(5));
            joiner.cancel();
            assert_eq!(joiner.join().unwrap(), [true; 4]);
            assert!(!then.is_finished());
            then.unpark();
            then.join().unwrap();
        }),
        "shielded join" => osier::run(|| {
            let (sender, receiver) = osier::sync::channel::bounded(1);
            let slow = osier::spawn(move || receiver.recv().unwrap());
            let joiner = osier::spawn(move || osier::task::shield(|| slow.join()));
            osier::sleep(Duration::from_millis(5));
            joiner.cancel();
            osier::sleep(Duration::from_millis(5));
            sender.send(7).unwrap();
            assert_eq!(joiner.join().unwrap().unwrap(), 7);
        }),
        "kill" => osier::run(|| {
            let parked = osier::spawn(osier::task::park);
            osier::sleep(Duration::from_millis(5));
            parked.kill();
            assert!(!parked.kill_timeout(Duration::from_millis(5)) && !parked.is_finished());
            assert!(osier::kill_all([&parked], None).is_err());
            let group = osier::Group::new();
            group.add(&parked.task());
            group.kill();
            assert!(!group.kill_timeout(Duration::from_millis(5)) && group.len() == 1);
            parked.task().unpark();
            parked.join().unwrap();
            group.join().unwrap();
        }),
        "shutdown" => {
            let runtime = osier::Runtime::builder().workers(2).build().unwrap();
            drop(runtime.spawn(osier::task::park));
            runtime.run(|| osier::sleep(Duration::from_millis(5)));
            let began = Instant::now();
            drop(runtime);
            assert!(began.elapsed() < Duration::from_secs(8), "{:?}", began.elapsed());
        }
        "sockets" => osier::run(sockets_keep_to_their_limits),
        "cancelled sockets" => osier::run(calls_of_a_cancelled_task_end),
        other => panic!("{other}?"),
    }
    println!("done");
}

/// A socket's call has an error that can say that its task was cancelled.
fn calls_of_a_cancelled_task_end() {
    let hour = Duration::from_secs(3600);
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let mut client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    let mut peer = listener.accept().unwrap().0;
    peer.set_read_timeout(Some(hour)).unwrap();
    let started = Event::new();
    let (starts, socket) = (started.clone(), UdpSocket::bind("127.0.0.1:0").unwrap());
    let caller = osier::spawn(move || {
        starts.set();
        let mut byte = [0];
        let errors = [
            listener.accept().map(drop),
            peer.read(&mut byte).map(drop),
            std::io::Read::read_exact(&mut peer, &mut byte),
            socket.recv_from(&mut byte).map(drop),
        ];
        // What has come is read all the same.
        let late = osier::task::shield(|| peer.read(&mut byte).unwrap());
        (errors.map(Result::unwrap_err), late, peer.read(&mut byte).unwrap())
    });
    started.wait();
    osier::sleep(Duration::from_millis(5));
    caller.cancel();
    osier::sleep(Duration::from_millis(20));
    client.write_all(b"ab").unwrap();
    let (errors, late, again) = caller.join().unwrap();
    for error in errors {
        assert_eq!((error.kind(), error.to_string().as_str()), (ErrorKind::Other, "the task was cancelled"));
    }
    assert_eq!((late, again), (1, 1));
    // A server that is stopped for a while takes no more connections.
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let server = StreamServer::new(listener, |mut stream, _| _ = stream.write_all(b"served"));
    server.start();
    assert_eq!(std::io::read_to_string(TcpStream::connect(address).unwrap()).unwrap(), "served");
    server.pause();
    osier::sleep(Duration::from_millis(20));
    let mut waits = TcpStream::connect(address).unwrap();
    waits.set_read_timeout(Some(Duration::from_millis(20))).unwrap();
    assert_eq!(waits.read(&mut [0]).unwrap_err().kind(), ErrorKind::TimedOut);
    server.start();
    waits.set_read_timeout(None).unwrap();
    assert_eq!(std::io::read_to_string(waits).unwrap(), "served");
    // Not even while there is always one more.
    let taken = Arc::new(AtomicUsize::new(0));
    let server = StreamServer::new(Endless(taken.clone()), |(), ()| ());
    server.start();
    while taken.load(Ordering::Relaxed) < 3 {
        osier::yield_now();
    }
    server.pause();
    osier::sleep(Duration::from_millis(20));
    let before = taken.load(Ordering::Relaxed);
    osier::sleep(Duration::from_millis(20));
    assert_eq!(taken.load(Ordering::Relaxed), before);
    // What is tried again and again ends as well.
    let path = std::env::temp_dir().join(format!("osier-panic-abort-{}", std::process::id()));
    let _full = std::os::unix::net::UnixDatagram::bind(&path).unwrap();
    let (sender, to) = (UnixDatagram::unbound().unwrap(), path.clone());
    sender.set_nonblocking(true).unwrap();
    while sender.send_to(b"!", &path).is_ok() {}
    sender.set_nonblocking(false).unwrap();
    let sends = osier::spawn(move || sender.send_to(b"!", to).unwrap_err().to_string());
    osier::sleep(Duration::from_millis(5));
    sends.cancel();
    assert_eq!(sends.join().unwrap(), "the task was cancelled");
    std::fs::remove_file(&path).unwrap();
}

/// A listener to which somebody always connects. Counts them.
struct Endless(Arc<AtomicUsize>);

impl Listener for Endless {
    type Stream = ();
    type Address = ();

    fn accept(&self) -> std::io::Result<((), ())> {
        self.0.fetch_add(1, Ordering::Relaxed);
        osier::yield_now();
        Ok(((), ()))
    }

    fn close(&self) -> std::io::Result<()> {
        Ok(())
    }
}

/// Limits of sockets are told by values, and need no unwinding.
fn sockets_keep_to_their_limits() {
    let (began, short) = (Instant::now(), Duration::from_millis(20));
    let is_late = |error: std::io::Error| assert_eq!(error.kind(), std::io::ErrorKind::TimedOut);
    // A listener whose backlog is full does not answer.
    let full = TcpListener::bind_with(&"127.0.0.1:0".parse().unwrap(), 0, false).unwrap();
    let address = full.local_addr().unwrap();
    let mut queued = Vec::new();
    let late = loop {
        match TcpStream::connect_timeout(&address, short) {
            Ok(stream) => queued.push(stream),
            Err(error) => break error,
        }
    };
    is_late(late);
    // A handler that waits is asked to end, and not waited for; the acceptor ends with the listener.
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let go_on = Event::new();
    let waits = go_on.clone();
    let server = StreamServer::new(listener, move |_stream, _| waits.wait());
    server.start();
    let mut client = TcpStream::connect(address).unwrap();
    client.set_read_timeout(Some(short)).unwrap();
    is_late(client.read(&mut [0]).unwrap_err());
    assert_eq!(server.connections(), 1);
    assert!(!server.stop(short));
    server.serve_forever();
    assert!(!server.is_accepting());
    go_on.set();
    client.set_read_timeout(None).unwrap();
    assert_eq!(client.read(&mut [0]).unwrap(), 0);
    assert!(server.stop(Duration::from_secs(20)));
    assert!(began.elapsed() < Duration::from_secs(20));
}
