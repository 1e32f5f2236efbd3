//! Servers: gevent's `StreamServer` and `DatagramServer`. A task accepts, and makes a task for each connection.
//!
//! # Invariants
//! - The number of connections that are being served never exceeds the limit: a place is taken before a connection is.
//! - Out of descriptors, no connection is left to hang: a reserve is given up for the time of taking one and closing it.
//! - Whatever a worker needs to wait for a connection is made before the first one comes.

use std::fmt;
use std::fs::File;
use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use super::{TcpListener, TcpStream, UdpSocket, UnixListener, UnixStream};
use crate::runtime::make_pollers;
use crate::sync::waiting::lock;
use crate::sync::{Event, Semaphore};
use crate::task::{Builder, JoinHandle, Place, Task};
use crate::time;

/// How long accepting pauses after an error, at first and at most.
const PAUSE: (Duration, Duration) = (Duration::from_millis(10), Duration::from_secs(1));
/// How long it pauses after it has disconnected somebody, which takes two calls: so that there are at most a hundred calls a
/// second, and nobody waits for long to be disconnected.
const DISCONNECTING: Duration = Duration::from_millis(20);

/// What a [`StreamServer`] accepts from: [`TcpListener`] or [`UnixListener`].
pub trait Listener: Send + Sync + 'static {
    /// A connection.
    type Stream: Send + 'static;
    /// A peer's address.
    type Address: Send + 'static;

    /// Takes the next connection.
    ///
    /// # Errors
    /// As [`TcpListener::accept`].
    fn accept(&self) -> io::Result<(Self::Stream, Self::Address)>;

    /// Closes it.
    ///
    /// # Errors
    /// As [`TcpListener::close`].
    fn close(&self) -> io::Result<()>;
}

impl Listener for TcpListener {
    type Stream = TcpStream;
    type Address = SocketAddr;

    fn accept(&self) -> io::Result<(TcpStream, SocketAddr)> {
        Self::accept(self)
    }

    fn close(&self) -> io::Result<()> {
        Self::close(self)
    }
}

impl Listener for UnixListener {
    type Stream = UnixStream;
    type Address = std::os::unix::net::SocketAddr;

    fn accept(&self) -> io::Result<(UnixStream, Self::Address)> {
        Self::accept(self)
    }

    fn close(&self) -> io::Result<()> {
        Self::close(self)
    }
}

type Handle<L> = Box<dyn Fn(<L as Listener>::Stream, <L as Listener>::Address) + Send + Sync>;

/// Serves each connection of a listener in a task of its own: gevent's `StreamServer`.
///
/// A handle: clones are the same server. Dropping all of them does not stop it.
///
/// A handler that panics, or raises, ends its own connection; the server goes on, and the failure is reported as that of
/// any task that nobody joins. When accepting fails, the server tries again after 10 ms, and ever less often up to once a
/// second. If that is for want of descriptors, those who connect meanwhile are disconnected, up to fifty a second.
///
/// # Examples
/// ```
/// use osier::net::{StreamServer, TcpListener, TcpStream};
/// use std::io::Write;
/// use std::time::Duration;
///
/// osier::run(|| {
///     let listener = TcpListener::bind("127.0.0.1:0")?;
///     let address = listener.local_addr()?;
///     let server = StreamServer::new(listener, |mut stream, _| _ = stream.write_all(b"hello"));
///     server.start();
///     assert_eq!(std::io::read_to_string(TcpStream::connect(address)?)?, "hello");
///     assert!(server.stop(Duration::from_secs(1)));
///     assert!(server.listener().accept().is_err());
///     Ok::<(), std::io::Error>(())
/// })?;
/// # Ok::<(), std::io::Error>(())
/// ```
pub struct StreamServer<L: Listener> {
    inner: Arc<Inner<L>>,
}

struct Inner<L: Listener> {
    listener: L,
    handle: Handle<L>,
    /// A place for each connection that may be served at the same time.
    places: Option<Semaphore>,
    acceptor: Mutex<Option<JoinHandle<()>>>,
    connections: Connections,
    stopped: Event,
}

/// The tasks that serve.
#[derive(Clone, Default)]
struct Connections(Arc<Mutex<Vec<Task>>>);

impl Connections {
    fn add(&self, task: Task) {
        let mut tasks = lock(&self.0);
        // Now and then those that have ended are let go, so that each is looked at a few times at most.
        if tasks.len() == tasks.capacity() {
            tasks.retain(|task| !task.is_finished());
            let room = tasks.len().max(16);
            tasks.reserve(room);
        }
        tasks.push(task);
    }

    fn count(&self) -> usize {
        lock(&self.0).iter().filter(|task| !task.is_finished()).count()
    }

    /// Waits until all have ended, or for at most `patience`; then ends the others. True if none was left.
    fn end(&self, patience: Duration) -> bool {
        let tasks = std::mem::take(&mut *lock(&self.0));
        let in_time = time::timeout(patience, || tasks.iter().for_each(|task| _ = task.join())).is_ok();
        tasks.iter().for_each(Task::cancel);
        tasks.iter().for_each(|task| _ = task.join());
        in_time
    }
}

impl<L: Listener> Clone for StreamServer<L> {
    fn clone(&self) -> Self {
        Self { inner: self.inner.clone() }
    }
}

impl<L: Listener> StreamServer<L> {
    /// A server that calls `handle` for each connection, in a task of its own. It does not accept before
    /// [`start`](Self::start).
    pub fn new(listener: L, handle: impl Fn(L::Stream, L::Address) + Send + Sync + 'static) -> Self {
        Self::build(listener, Box::new(handle), None)
    }

    /// As [`new`](Self::new), with at most `limit` connections served at the same time. Others wait to be accepted.
    ///
    /// # Panics
    /// If `limit` is 0.
    pub fn with_limit(
        listener: L,
        limit: usize,
        handle: impl Fn(L::Stream, L::Address) + Send + Sync + 'static,
    ) -> Self {
        assert!(limit > 0, "a server needs room for one connection at least");
        Self::build(listener, Box::new(handle), Some(Semaphore::new(limit)))
    }

    fn build(listener: L, handle: Handle<L>, places: Option<Semaphore>) -> Self {
        let inner = Inner {
            listener,
            handle,
            places,
            acceptor: Mutex::new(None),
            connections: Connections::default(),
            stopped: Event::new(),
        };
        Self { inner: Arc::new(inner) }
    }

    /// What it accepts from.
    pub fn listener(&self) -> &L {
        &self.inner.listener
    }

    /// Starts accepting, or goes on with it, in a task. Does nothing if it accepts, or has been stopped.
    pub fn start(&self) {
        let mut acceptor = lock(&self.inner.acceptor);
        if acceptor.is_none() && !self.inner.stopped.is_set() {
            let inner = self.inner.clone();
            *acceptor = Some(Builder::new().name("acceptor").spawn(move || inner.accept()));
        }
    }

    /// Stops accepting for now. Connections that come wait with the system.
    ///
    /// # Suspends
    /// Until the accepting task has ended.
    ///
    /// # Cancel safety
    /// A caller that is cancelled unwinds from here; the accepting task ends all the same.
    pub fn pause(&self) {
        let acceptor = lock(&self.inner.acceptor).take();
        if let Some(acceptor) = acceptor {
            acceptor.kill();
        }
    }

    /// Starts, and waits until somebody has stopped the server: gevent's `serve_forever`.
    ///
    /// # Suspends
    /// Until then.
    ///
    /// # Cancel safety
    /// A caller that is cancelled unwinds from here; the server serves on.
    pub fn serve_forever(&self) {
        self.start();
        self.inner.stopped.wait();
    }

    /// Whether it accepts.
    pub fn is_accepting(&self) -> bool {
        lock(&self.inner.acceptor).is_some()
    }

    /// How many connections are being served.
    pub fn connections(&self) -> usize {
        self.inner.connections.count()
    }

    /// Stops for good: closes the listener, waits for the connections, for at most `patience`, and cancels those that are
    /// left. True if none was.
    ///
    /// # Suspends
    /// Until all have ended. Not to be called by a handler, which would wait for itself.
    ///
    /// # Cancel safety
    /// A caller that is cancelled unwinds from here; the server accepts no more, and connections that are left go on.
    pub fn stop(&self, patience: Duration) -> bool {
        self.inner.stopped.set();
        self.pause();
        // It fails if it was closed before.
        _ = self.inner.listener.close();
        self.inner.connections.end(patience)
    }
}

impl<L: Listener> fmt::Debug for StreamServer<L> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("StreamServer").field("connections", &self.connections()).finish_non_exhaustive()
    }
}

impl<L: Listener> Inner<L> {
    fn accept(self: Arc<Self>) {
        // Where this fails, a worker makes its own when it can.
        _ = make_pollers();
        let open_reserve = || File::open("/dev/null").ok();
        let mut reserve = open_reserve();
        let mut pause = PAUSE.0;
        loop {
            let place = self.places.as_ref().map(Semaphore::hold);
            let error = match self.listener.accept() {
                Ok((stream, address)) => {
                    pause = PAUSE.0;
                    let this = self.clone();
                    let serve = move || {
                        (this.handle)(stream, address);
                        drop(place);
                    };
                    match Builder::new().place(Place::Spread).try_spawn(serve) {
                        Ok(task) => self.connections.add(task.task()),
                        // The connection is closed with the closure.
                        Err(_) => time::sleep(pause),
                    }
                    continue;
                }
                Err(error) => error,
            };
            drop(place);
            match error.raw_os_error() {
                Some(libc::EBADF | libc::EINVAL) => return,
                Some(libc::EMFILE | libc::ENFILE) if reserve.take().is_some() => {
                    // There was a connection, or accepting would not have failed; another acceptor may take it.
                    let disconnects = time::timeout(PAUSE.0, || self.listener.accept().is_ok()) == Ok(true);
                    reserve = open_reserve();
                    if disconnects {
                        time::sleep(DISCONNECTING);
                        continue;
                    }
                }
                _ => reserve = reserve.or_else(open_reserve),
            }
            time::sleep(pause);
            pause = (2 * pause).min(PAUSE.1);
        }
    }
}

/// Calls a function for each datagram that arrives, in a task of its own: gevent's `DatagramServer`.
///
/// A handle: clones are the same server. Dropping all of them does not stop it.
///
/// # Examples
/// ```
/// use osier::net::{DatagramServer, UdpSocket};
/// use std::time::Duration;
///
/// osier::run(|| {
///     let server = DatagramServer::new(UdpSocket::bind("127.0.0.1:0")?, |socket, data, peer| {
///         _ = socket.send_to(&data, peer);
///     });
///     server.start();
///     let client = UdpSocket::bind("127.0.0.1:0")?;
///     client.send_to(b"hello", server.socket().local_addr()?)?;
///     let mut buffer = [0; 16];
///     assert_eq!(client.recv(&mut buffer)?, 5);
///     assert!(server.stop(Duration::from_secs(1)));
///     Ok::<(), std::io::Error>(())
/// })?;
/// # Ok::<(), std::io::Error>(())
/// ```
#[derive(Clone)]
pub struct DatagramServer {
    inner: Arc<DatagramInner>,
}

type HandleDatagram = Box<dyn Fn(&UdpSocket, Vec<u8>, SocketAddr) + Send + Sync>;

struct DatagramInner {
    socket: UdpSocket,
    handle: HandleDatagram,
    receiver: Mutex<Option<JoinHandle<()>>>,
    tasks: Connections,
    stopped: Event,
}

impl DatagramServer {
    /// A server that calls `handle` with each datagram and its sender. It does not receive before
    /// [`start`](Self::start).
    pub fn new(socket: UdpSocket, handle: impl Fn(&UdpSocket, Vec<u8>, SocketAddr) + Send + Sync + 'static) -> Self {
        let inner = DatagramInner {
            socket,
            handle: Box::new(handle),
            receiver: Mutex::new(None),
            tasks: Connections::default(),
            stopped: Event::new(),
        };
        Self { inner: Arc::new(inner) }
    }

    /// The socket, to send by.
    pub fn socket(&self) -> &UdpSocket {
        &self.inner.socket
    }

    /// Starts receiving, in a task. Does nothing if it receives, or has been stopped.
    pub fn start(&self) {
        let mut receiver = lock(&self.inner.receiver);
        if receiver.is_none() && !self.inner.stopped.is_set() {
            let inner = self.inner.clone();
            *receiver = Some(Builder::new().name("receiver").spawn(move || inner.receive()));
        }
    }

    /// Starts, and waits until somebody has stopped the server.
    ///
    /// # Suspends
    /// Until then.
    ///
    /// # Cancel safety
    /// A caller that is cancelled unwinds from here; the server serves on.
    pub fn serve_forever(&self) {
        self.start();
        self.inner.stopped.wait();
    }

    /// Stops for good: closes the socket, waits for the handlers, for at most `patience`, and cancels those that are left.
    /// True if none was.
    ///
    /// # Suspends
    /// Until all have ended. Not to be called by a handler, which would wait for itself.
    ///
    /// # Cancel safety
    /// A caller that is cancelled unwinds from here; the server accepts no more, and connections that are left go on.
    pub fn stop(&self, patience: Duration) -> bool {
        self.inner.stopped.set();
        let receiver = lock(&self.inner.receiver).take();
        if let Some(receiver) = receiver {
            receiver.kill();
        }
        let in_time = self.inner.tasks.end(patience);
        // It fails if it was closed before.
        _ = self.inner.socket.close();
        in_time
    }
}

impl fmt::Debug for DatagramServer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DatagramServer").field("socket", &self.inner.socket).finish_non_exhaustive()
    }
}

impl DatagramInner {
    fn receive(self: Arc<Self>) {
        // As long as a datagram can be.
        let mut buffer = vec![0; 1 << 16];
        loop {
            match self.socket.recv_from(&mut buffer) {
                Ok((size, peer)) => {
                    let (this, data) = (self.clone(), buffer[..size].to_vec());
                    let serve = move || (this.handle)(&this.socket, data, peer);
                    // One that cannot be spawned is lost, as datagrams may be.
                    if let Ok(task) = Builder::new().place(Place::Spread).try_spawn(serve) {
                        self.tasks.add(task.task());
                    }
                }
                Err(error) if error.raw_os_error() == Some(libc::EBADF) => return,
                // What a peer's system has answered to an earlier datagram.
                Err(_) => time::sleep(PAUSE.0),
            }
        }
    }
}
