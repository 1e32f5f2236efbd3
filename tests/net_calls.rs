//! Each call on a socket that can wait, ended in each way that a wait can end: cancelled, out of time, cancelled at the very
//! moment, closed by somebody else. Afterwards the call must go through as if nothing had been, and no descriptor is left.
//! H16.

#![cfg(all(feature = "net", target_os = "linux"))]

mod common;

use std::any::Any;
use std::io::{self, ErrorKind, Read, Write};
use std::net::SocketAddr;
use std::os::fd::AsRawFd;
use std::path::PathBuf;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use common::{FOR_EVER, OnDrop, count_in_proc, full_listener, ms, until, watch};
use osier::net::selector::{Interest, Selector};
use osier::net::{
    DatagramServer, Listener, PipeReader, PipeWriter, Ready, StreamServer, TcpListener, TcpStream, UdpSocket,
    UnixDatagram, UnixListener, UnixStream, pipe,
};
use osier::sync::{Event, channel};
use osier::{Runtime, catch_exit, spawn, task, time, yield_now};

/// What a pipe that is full has no room for, however little it has.
const PAGE: &[u8] = &[0; 4096];

type Act = Box<dyn Fn() -> io::Result<()> + Send + Sync>;

/// A call that waits, since nothing is there.
struct Call {
    wait: Arc<Act>,
    /// Lets every later call through, or the one that waits.
    allow: Box<dyn FnOnce() + Send>,
    /// Limits how long it waits, if the socket can do that by itself.
    limit: Option<Box<dyn Fn(Option<Duration>)>>,
    close: Option<Act>,
    /// What must stay open meanwhile.
    _keep: Box<dyn Any>,
}

impl Call {
    fn new(
        wait: impl Fn() -> io::Result<()> + Send + Sync + 'static,
        allow: impl FnOnce() + Send + 'static,
        keep: impl Any,
    ) -> Self {
        let wait: Act = Box::new(wait);
        Self { wait: Arc::new(wait), allow: Box::new(allow), limit: None, close: None, _keep: Box::new(keep) }
    }

    fn limited(mut self, limit: impl Fn(Option<Duration>) + 'static) -> Self {
        self.limit = Some(Box::new(limit));
        self
    }

    fn closed(mut self, close: impl Fn() -> io::Result<()> + Send + Sync + 'static) -> Self {
        self.close = Some(Box::new(close));
        self
    }
}

fn tcp_pair() -> (Arc<TcpStream>, Arc<TcpStream>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    (Arc::new(client), Arc::new(listener.accept().unwrap().0))
}

fn unix_pair() -> (Arc<UnixStream>, Arc<UnixStream>) {
    let (a, b) = UnixStream::pair().unwrap();
    (Arc::new(a), Arc::new(b))
}

/// A path that nobody else has.
struct Path(PathBuf);

impl Path {
    fn new() -> Self {
        static NEXT: AtomicUsize = AtomicUsize::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        Self(std::env::temp_dir().join(format!("osier-calls-{}-{number}", std::process::id())))
    }
}

impl Drop for Path {
    fn drop(&mut self) {
        _ = std::fs::remove_file(&self.0);
    }
}

/// Writes until there is no room.
fn fill(mut writer: impl Write) {
    let piece = vec![0; 1 << 16];
    while time::timeout(ms(30), || writer.write(&piece)).is_ok() {}
}

/// Leaves a socket that is full no room until nearly all has been read. Otherwise the system takes a little more when it has
/// tried to send again, some hundred milliseconds later.
fn keep_full(socket: &impl AsRawFd) {
    let least: libc::c_int = 1;
    let size = libc::socklen_t::try_from(size_of_val(&least)).unwrap();
    // SAFETY: the option is an int, whose size is told.
    let done = unsafe {
        libc::setsockopt(socket.as_raw_fd(), libc::SOL_SOCKET, libc::SO_SNDBUF, (&raw const least).cast(), size)
    };
    assert_eq!(done, 0, "{}", io::Error::last_os_error());
}

/// Reads all that ever comes, in a task that ends with the writer.
fn swallow(mut reader: impl Read + Send + 'static) {
    drop(spawn(move || _ = io::copy(&mut reader, &mut io::sink())));
}

/// A handle to a shared socket that reads.
struct Shared<T>(Arc<T>);

impl<T> Read for Shared<T>
where
    for<'a> &'a T: Read,
{
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        (&*self.0).read(buffer)
    }
}

/// One of a read, given a pair of streams.
macro_rules! reading {
    ($pair:expr, |$from:ident| $read:expr) => {{
        let ($from, to) = $pair;
        let [limits, closes] = [$from.clone(), $from.clone()];
        let writes = to.clone();
        // Enough for all who come.
        let allow = move || (&*writes).write_all(&[7; 16]).unwrap();
        Call::new(move || $read.map(drop), allow, to)
            .limited(move |limit| limits.set_read_timeout(limit).unwrap())
            .closed(move || closes.close())
    }};
}

/// One of a write that finds no room, given a pair of streams.
macro_rules! writing {
    ($pair:expr, |$to:ident| $write:expr) => {{
        let ($to, from) = $pair;
        fill(&*$to);
        keep_full(&*$to);
        let [limits, closes] = [$to.clone(), $to.clone()];
        let reader = Shared(from.clone());
        Call::new(move || $write.map(drop), move || swallow(reader), from)
            .limited(move |limit| limits.set_write_timeout(limit).unwrap())
            .closed(move || closes.close())
    }};
}

type Make = fn() -> Call;

const CALLS: &[(&str, Make)] = &[
    ("TcpStream::read", || reading!(tcp_pair(), |from| (&*from).read(&mut [0]))),
    ("TcpStream::peek", || reading!(tcp_pair(), |from| from.peek(&mut [0]))),
    ("TcpStream::read_vectored", || {
        reading!(tcp_pair(), |from| (&*from).read_vectored(&mut [io::IoSliceMut::new(&mut [0])]))
    }),
    ("TcpStream::write", || writing!(tcp_pair(), |to| (&*to).write(&[0]))),
    ("TcpStream::write_vectored", || writing!(tcp_pair(), |to| (&*to).write_vectored(&[io::IoSlice::new(&[0])]))),
    ("UnixStream::read", || reading!(unix_pair(), |from| (&*from).read(&mut [0]))),
    ("UnixStream::write", || writing!(unix_pair(), |to| (&*to).write(&[0]))),
    ("TcpListener::accept", tcp_accept),
    ("TcpStream::connect", tcp_connect),
    ("TcpStream::connect_timeout", || tcp_connect_limited(TcpStream::connect_timeout)),
    ("TcpStream::connect_deadline", || {
        tcp_connect_limited(|address, limit| TcpStream::connect_deadline(address, time::now() + limit))
    }),
    ("TcpStream::connect_from", || {
        tcp_connect_limited(|address, limit| TcpStream::connect_from(&([127, 0, 0, 2], 0).into(), address, limit))
    }),
    ("TcpStream::connect_with", || {
        tcp_connect_limited(|address, limit| {
            let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None)?;
            TcpStream::connect_with(socket.into(), address, limit)
        })
    }),
    ("UnixListener::accept", unix_accept),
    ("UnixStream::connect", || unix_connect(|path| UnixStream::connect(path))),
    ("UnixStream::connect_deadline", || {
        let limit = Limit::new();
        let set = limit.setter();
        unix_connect(move |path| UnixStream::connect_deadline(path, time::now() + limit.get())).limited(set)
    }),
    ("UdpSocket::recv", || udp(|socket| socket.recv(&mut [0]).map(drop))),
    ("UdpSocket::recv_from", || udp(|socket| socket.recv_from(&mut [0]).map(drop))),
    ("UdpSocket::peek", || udp(|socket| socket.peek(&mut [0]).map(drop))),
    ("UdpSocket::peek_from", || udp(|socket| socket.peek_from(&mut [0]).map(drop))),
    ("UnixDatagram::recv", || unix_datagram(|socket| socket.recv(&mut [0]).map(drop))),
    ("UnixDatagram::recv_from", || unix_datagram(|socket| socket.recv_from(&mut [0]).map(drop))),
    ("UnixDatagram::send", unix_send),
    ("UnixDatagram::send_to", unix_send_to),
    ("PipeReader::read", || pipe_read(|mut reader| reader.read(&mut [0]).map(drop))),
    ("PipeReader::read_vectored", || {
        pipe_read(|mut reader| reader.read_vectored(&mut [io::IoSliceMut::new(&mut [0])]).map(drop))
    }),
    ("PipeWriter::write", || pipe_write(|mut writer| writer.write(&[0]).map(drop))),
    ("PipeWriter::write_vectored", || {
        pipe_write(|mut writer| writer.write_vectored(&[io::IoSlice::new(&[0])]).map(drop))
    }),
    ("Ready::readable", || ready_read(|ready| ready.readable())),
    ("Ready::io", || ready_read(|ready| ready.io(|| ready.get_ref().read(&mut [0])).map(drop))),
    ("Ready::writable", || ready_write(|ready| ready.writable())),
    ("Ready::io_write", || ready_write(|ready| ready.io_write(|| ready.get_ref().write(PAGE)).map(drop))),
    ("Ready::readable_timeout", || ready_read_limited(|ready, limit| ready.readable_timeout(limit))),
    ("Ready::readable_deadline", || ready_read_limited(|ready, limit| ready.readable_deadline(time::now() + limit))),
    ("Ready::writable_timeout", || ready_write_limited(|ready, limit| ready.writable_timeout(limit))),
    ("Ready::writable_deadline", || ready_write_limited(|ready, limit| ready.writable_deadline(time::now() + limit))),
    ("Selector::select", || select(|selector, _| selector.select(None).map(|ready| ready.len()))),
    ("Selector::select with a limit", || select(|selector, limit| selector.select(limit).map(|ready| ready.len()))),
    ("StreamServer::serve_forever", serve_forever),
    ("StreamServer::stop", stream_stop),
    ("StreamServer::pause", stream_pause),
    ("DatagramServer::stop", datagram_stop),
    ("DatagramServer::serve_forever", datagrams_forever),
];

fn tcp_accept() -> Call {
    let listener = Arc::new(TcpListener::bind("127.0.0.1:0").unwrap());
    let address = listener.local_addr().unwrap();
    let [limits, closes] = [listener.clone(), listener.clone()];
    // Who has connected may go: the listener gives the connection all the same.
    let allow = move || (0..3).for_each(|_| drop(TcpStream::connect(address).unwrap()));
    Call::new(move || listener.accept().map(drop), allow, ())
        .limited(move |limit| limits.set_accept_timeout(limit).unwrap())
        .closed(move || closes.close())
}

/// Accepts whoever comes, in a task that ends when the second value goes.
fn accept_all<L: Listener>(listener: L) -> (impl FnOnce() + Send + 'static, impl Any) {
    let listener = Arc::new(listener);
    let closes = listener.clone();
    (move || drop(spawn(move || while listener.accept().is_ok() {})), OnDrop(move || closes.close().unwrap()))
}

fn tcp_connect() -> Call {
    let (listener, address, queued) = full_listener();
    let (allow, keep) = accept_all(listener);
    Call::new(move || TcpStream::connect(address).map(drop), allow, (queued, keep))
}

/// A limit that a call is given as an argument: an hour, where there is none.
#[derive(Clone)]
struct Limit(Arc<Mutex<Duration>>);

impl Limit {
    const NONE: Duration = Duration::from_secs(3600);

    fn new() -> Self {
        Self(Arc::new(Mutex::new(Self::NONE)))
    }

    fn get(&self) -> Duration {
        *common::lock(&self.0)
    }

    fn setter(&self) -> impl Fn(Option<Duration>) + 'static {
        let this = self.clone();
        move |limit| *common::lock(&this.0) = limit.unwrap_or(Self::NONE)
    }
}

fn tcp_connect_limited(connect: fn(&SocketAddr, Duration) -> io::Result<TcpStream>) -> Call {
    let (listener, address, queued) = full_listener();
    let (allow, keep) = accept_all(listener);
    let limit = Limit::new();
    let set = limit.setter();
    Call::new(move || connect(&address, limit.get()).map(drop), allow, (queued, keep)).limited(set)
}

fn unix_accept() -> Call {
    let path = Path::new();
    let listener = Arc::new(UnixListener::bind(&path.0).unwrap());
    let [limits, closes] = [listener.clone(), listener.clone()];
    let to = path.0.clone();
    let allow = move || (0..3).for_each(|_| drop(UnixStream::connect(&to).unwrap()));
    Call::new(move || listener.accept().map(drop), allow, path)
        .limited(move |limit| limits.set_accept_timeout(limit).unwrap())
        .closed(move || closes.close())
}

fn unix_connect(connect: impl Fn(&std::path::Path) -> io::Result<UnixStream> + Send + Sync + 'static) -> Call {
    let path = Path::new();
    let address = socket2::SockAddr::unix(&path.0).unwrap();
    let listener = socket2::Socket::new(socket2::Domain::UNIX, socket2::Type::STREAM, None).unwrap();
    listener.bind(&address).unwrap();
    listener.listen(0).unwrap();
    let listener = UnixListener::from_std(std::os::fd::OwnedFd::from(listener).into()).unwrap();
    let mut queued = Vec::new();
    while let Ok(stream) = time::timeout(ms(30), || UnixStream::connect(&path.0)) {
        queued.push(stream.unwrap());
    }
    let to = path.0.clone();
    let (allow, keep) = accept_all(listener);
    Call::new(move || connect(&to).map(drop), allow, (queued, path, keep))
}

fn udp(wait: fn(&UdpSocket) -> io::Result<()>) -> Call {
    let socket = Arc::new(UdpSocket::bind("127.0.0.1:0").unwrap());
    let [sends, limits, closes] = [socket.clone(), socket.clone(), socket.clone()];
    let allow = move || {
        let address = sends.local_addr().unwrap();
        (0..3).for_each(|_| _ = sends.send_to(&[7], address).unwrap());
    };
    Call::new(move || wait(&socket), allow, ())
        .limited(move |limit| limits.set_read_timeout(limit).unwrap())
        .closed(move || closes.close())
}

fn unix_datagram(wait: fn(&UnixDatagram) -> io::Result<()>) -> Call {
    let (socket, other) = UnixDatagram::pair().unwrap();
    let socket = Arc::new(socket);
    let [limits, closes] = [socket.clone(), socket.clone()];
    let allow = move || (0..3).for_each(|_| _ = other.send(&[7]).unwrap());
    Call::new(move || wait(&socket), allow, ())
        .limited(move |limit| limits.set_read_timeout(limit).unwrap())
        .closed(move || closes.close())
}

fn unix_send() -> Call {
    let (socket, reader) = UnixDatagram::pair().unwrap();
    while time::timeout(ms(30), || socket.send(&[0; 1000])).is_ok() {}
    let socket = Arc::new(socket);
    let [limits, closes] = [socket.clone(), socket.clone()];
    let reader = Arc::new(reader);
    let receives = reader.clone();
    // All of it: the system calls a socket writable once most of its memory is free.
    let allow = move || while time::timeout(ms(10), || receives.recv(&mut [0; 1000])).is_ok() {};
    Call::new(move || socket.send(&[1]).map(drop), allow, reader)
        .limited(move |limit| limits.set_write_timeout(limit).unwrap())
        .closed(move || closes.close())
}

fn unix_send_to() -> Call {
    let path = Path::new();
    let reader = Arc::new(UnixDatagram::bind(&path.0).unwrap());
    let socket = UnixDatagram::unbound().unwrap();
    while time::timeout(ms(30), || socket.send_to(&[0; 1000], &path.0)).is_ok() {}
    let receives = reader.clone();
    // All of it: the system calls a socket writable once most of its memory is free.
    let allow = move || while time::timeout(ms(10), || receives.recv(&mut [0; 1000])).is_ok() {};
    let to = path.0.clone();
    let socket = Arc::new(socket);
    let limits = socket.clone();
    Call::new(move || socket.send_to(&[1], &to).map(drop), allow, (path, reader))
        .limited(move |limit| limits.set_write_timeout(limit).unwrap())
}

fn pipe_read(read: fn(&PipeReader) -> io::Result<()>) -> Call {
    let (reader, writer): (PipeReader, PipeWriter) = pipe().unwrap();
    let (reader, writer) = (Arc::new(reader), Arc::new(writer));
    let [limits, closes] = [reader.clone(), reader.clone()];
    let writes = writer.clone();
    Call::new(move || read(&reader), move || (&*writes).write_all(&[7; 16]).unwrap(), writer)
        .limited(move |limit| limits.set_read_timeout(limit).unwrap())
        .closed(move || closes.close())
}

fn pipe_write(write: fn(&PipeWriter) -> io::Result<()>) -> Call {
    let (reader, writer) = pipe().unwrap();
    fill(&writer);
    let writer = Arc::new(writer);
    let [limits, closes] = [writer.clone(), writer.clone()];
    Call::new(move || write(&writer), move || swallow(reader), ())
        .limited(move |limit| limits.set_write_timeout(limit).unwrap())
        .closed(move || closes.close())
}

fn ready_read(wait: fn(&Ready<io::PipeReader>) -> io::Result<()>) -> Call {
    let (reader, mut writer) = io::pipe().unwrap();
    let keep = writer.try_clone().unwrap();
    let ready = Ready::new(reader).unwrap();
    Call::new(move || wait(&ready), move || writer.write_all(&[7; 16]).unwrap(), keep)
}

fn ready_write(wait: fn(&Ready<io::PipeWriter>) -> io::Result<()>) -> Call {
    let (reader, writer) = io::pipe().unwrap();
    let ready = Ready::new(writer).unwrap();
    while (&mut ready.get_ref()).write(PAGE).is_ok() {}
    let reader = PipeReader::try_from(std::os::fd::OwnedFd::from(reader)).unwrap();
    Call::new(move || wait(&ready), move || swallow(reader), ())
}

fn ready_read_limited(wait: fn(&Ready<io::PipeReader>, Duration) -> io::Result<()>) -> Call {
    let (reader, mut writer) = io::pipe().unwrap();
    let keep = writer.try_clone().unwrap();
    let ready = Ready::new(reader).unwrap();
    let limit = Limit::new();
    let set = limit.setter();
    let allow = move || writer.write_all(&[7; 16]).unwrap();
    Call::new(move || wait(&ready, limit.get()), allow, keep).limited(set)
}

fn ready_write_limited(wait: fn(&Ready<io::PipeWriter>, Duration) -> io::Result<()>) -> Call {
    let (reader, writer) = io::pipe().unwrap();
    let ready = Ready::new(writer).unwrap();
    while (&mut ready.get_ref()).write(PAGE).is_ok() {}
    let reader = PipeReader::try_from(std::os::fd::OwnedFd::from(reader)).unwrap();
    let limit = Limit::new();
    let set = limit.setter();
    Call::new(move || wait(&ready, limit.get()), move || swallow(reader), ()).limited(set)
}

fn serve_forever() -> Call {
    let server = StreamServer::new(TcpListener::bind("127.0.0.1:0").unwrap(), |_, _| ());
    // Here: a thread's call would start it in the default runtime.
    server.start();
    let stops = server.clone();
    let serve = move || {
        server.serve_forever();
        Ok(())
    };
    Call::new(serve, move || assert!(stops.stop(ms(0))), ())
}

fn stream_stop() -> Call {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let (go_on, address) = (Event::new(), listener.local_addr().unwrap());
    let waits = go_on.clone();
    let server = StreamServer::new(listener, move |_stream, _| waits.wait());
    server.start();
    let client = TcpStream::connect(address).unwrap();
    until(|| server.connections() == 1);
    let stop = move || {
        assert!(server.stop(FOR_EVER));
        Ok(())
    };
    Call::new(stop, move || go_on.set(), client)
}

/// Accepts nobody, and cannot be interrupted once it has begun.
struct Stubborn {
    begun: Event,
    go_on: Event,
}

impl Listener for Stubborn {
    type Stream = ();
    type Address = ();

    fn accept(&self) -> io::Result<((), ())> {
        self.begun.set();
        task::shield(|| self.go_on.wait());
        Err(io::Error::from_raw_os_error(libc::EBADF))
    }

    fn close(&self) -> io::Result<()> {
        Ok(())
    }
}

fn stream_pause() -> Call {
    let (begun, go_on) = (Event::new(), Event::new());
    let server = StreamServer::new(Stubborn { begun: begun.clone(), go_on: go_on.clone() }, |(), ()| ());
    server.start();
    begun.wait();
    let pause = move || {
        server.pause();
        Ok(())
    };
    Call::new(pause, move || go_on.set(), ())
}

fn datagram_stop() -> Call {
    let go_on = Event::new();
    let waits = go_on.clone();
    let (heard, hears) = channel::unbounded();
    let server = DatagramServer::new(UdpSocket::bind("127.0.0.1:0").unwrap(), move |_, _, _| {
        heard.send(()).unwrap();
        waits.wait();
    });
    server.start();
    server.socket().send_to(&[7], server.socket().local_addr().unwrap()).unwrap();
    hears.recv().unwrap();
    let stop = move || {
        assert!(server.stop(FOR_EVER));
        Ok(())
    };
    Call::new(stop, move || go_on.set(), ())
}

fn datagrams_forever() -> Call {
    let server = DatagramServer::new(UdpSocket::bind("127.0.0.1:0").unwrap(), |_, _, _| ());
    // Here: a thread's call would start it in the default runtime.
    server.start();
    let stops = server.clone();
    let serve = move || {
        server.serve_forever();
        Ok(())
    };
    Call::new(serve, move || assert!(stops.stop(ms(0))), ())
}

fn select(select: fn(&Selector, Duration) -> io::Result<usize>) -> Call {
    let (reader, mut writer) = io::pipe().unwrap();
    let selector = Selector::new().unwrap();
    selector.register(&reader, Interest::Read).unwrap();
    let allow = move || writer.write_all(&[7]).map(|()| drop(writer)).unwrap();
    let limit = Limit::new();
    // Out of time it tells of none, which is no error.
    let selects = move || {
        assert_eq!(select(&selector, limit.get())?, 1);
        Ok(())
    };
    Call::new(selects, allow, reader)
}

fn open_files() -> usize {
    count_in_proc("fd")
}

/// What the descriptors are, for a failure's message.
fn what_is_open() -> Vec<std::path::PathBuf> {
    let fds = std::fs::read_dir("/proc/self/fd").expect("a folder in /proc");
    fds.filter_map(|fd| std::fs::read_link(fd.ok()?.path()).ok()).collect()
}

/// Runs `body` with each call, on one worker: a task that is spawned has come to its wait when the caller has yielded. Each
/// leaves as many descriptors open as it found.
fn for_each_call(body: impl Fn(Call) + Send + Sync) {
    // One test at a time, for descriptors are counted.
    static ONE: std::sync::Mutex<()> = std::sync::Mutex::new(());
    let _one = common::lock(&ONE);
    let _watch = watch();
    let runtime = Runtime::builder().workers(1).build().unwrap();
    runtime.run(|| {
        // So that the worker has its poller.
        drop(time::timeout(ms(1), || pipe_read(|mut reader| reader.read(&mut [0]).map(drop)).wait.as_ref()()));
        for (name, make) in CALLS {
            eprintln!("{name}");
            let before = open_files();
            body(make());
            let patience = Instant::now() + Duration::from_secs(10);
            // Tasks that accept or read to the end let go a moment later.
            until(|| open_files() == before || Instant::now() > patience);
            assert_eq!(open_files(), before, "{name}: {:?}", what_is_open());
        }
    });
    assert!(runtime.wait_idle(Duration::from_secs(10)), "no task is left");
}

/// The call goes through once it may.
fn goes_through(call: Call) {
    (call.allow)();
    (call.wait)().unwrap();
}

#[test]
fn cancelled_it_unwinds_and_the_next_one_goes_through() {
    for_each_call(|call| {
        for _ in 0..3 {
            let waits = spawn({
                let wait = call.wait.clone();
                move || catch_exit(|| wait()).is_err()
            });
            yield_now();
            assert!(!waits.is_finished());
            waits.cancel();
            assert!(waits.join().unwrap(), "an exit came through it");
        }
        goes_through(call);
    });
}

#[test]
fn killed_its_task_counts_as_cancelled() {
    for_each_call(|call| {
        let waits = spawn({
            let wait = call.wait.clone();
            move || wait()
        });
        yield_now();
        waits.kill();
        assert!(waits.join().unwrap_err().is_cancelled());
        goes_through(call);
    });
}

#[test]
fn out_of_the_time_of_a_region_it_unwinds_and_the_next_one_goes_through() {
    for_each_call(|call| {
        for _ in 0..2 {
            assert!(time::timeout(ms(3), || (call.wait)()).is_err());
        }
        goes_through(call);
    });
}

#[test]
fn out_of_its_own_time_it_says_so_and_the_next_one_goes_through() {
    for_each_call(|call| {
        if let Some(limit) = &call.limit {
            limit(Some(ms(3)));
            for _ in 0..2 {
                assert_eq!((call.wait)().unwrap_err().kind(), ErrorKind::TimedOut);
            }
            // A thread that is no worker waits in another way.
            let wait = call.wait.clone();
            let thread = thread::spawn(move || wait().unwrap_err().kind());
            assert_eq!(thread.join().unwrap(), ErrorKind::TimedOut);
            limit(None);
        }
        goes_through(call);
    });
}

#[test]
fn a_thread_that_was_out_of_time_leaves_no_descriptor_behind() {
    for_each_call(|call| {
        if let Some(limit) = &call.limit {
            let before = open_files();
            limit(Some(ms(3)));
            let wait = call.wait.clone();
            assert_eq!(thread::spawn(move || wait().unwrap_err().kind()).join().unwrap(), ErrorKind::TimedOut);
            let wait = call.wait.clone();
            assert!(thread::spawn(move || time::timeout(ms(1), || wait()).is_err()).join().unwrap());
            assert_eq!(open_files(), before);
            limit(None);
        }
        goes_through(call);
    });
}

#[test]
fn cancelled_when_it_may_go_on_it_has_gone_through_or_leaves_all_for_the_next() {
    for_each_call(|call| {
        let waits = spawn({
            let wait = call.wait.clone();
            move || wait()
        });
        yield_now();
        (call.allow)();
        waits.cancel();
        match waits.join() {
            Ok(done) => done.unwrap(),
            Err(error) => assert!(error.is_cancelled()),
        }
        (call.wait)().unwrap();
    });
}

#[test]
fn a_thread_goes_through_when_it_may() {
    for_each_call(|call| {
        let wait = call.wait.clone();
        let thread = thread::spawn(move || wait());
        (call.allow)();
        until(|| thread.is_finished());
        thread.join().unwrap().unwrap();
    });
}

#[test]
fn closed_by_another_it_fails_and_so_does_the_next() {
    for_each_call(|call| {
        let Some(close) = call.close else { return goes_through(call) };
        let waits = spawn({
            let wait = call.wait.clone();
            move || wait()
        });
        yield_now();
        close().unwrap();
        let code = |result: io::Result<()>| result.unwrap_err().raw_os_error();
        assert_eq!(code(waits.join().unwrap()), Some(libc::EBADF));
        assert_eq!(code((call.wait)()), Some(libc::EBADF));
        assert!(close().is_err());
    });
}
