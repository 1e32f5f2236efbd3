//! Connections: a task accepts, and makes a task for each.
//!
//! # Invariants
//! - The number of connections that are being served never exceeds the limit: a place is taken before a connection is.
//! - Out of descriptors, no connection is left to hang: a reserve is given up for the time of taking one and closing it.
//! - Whatever a worker needs to wait for a connection is made before the first one comes.

use std::fmt;
use std::fs::File;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use super::course::{Course, Next, PAUSE};
use super::places::{Places, Spawner};
use super::service::Service;
use crate::net::{TcpListener, TcpStream, ToSocketAddrs, UnixListener, UnixStream};
use crate::runtime::make_pollers;
use crate::sync::{Mutex, Permit};
use crate::task;
use crate::time;

/// The name of the tasks that accept.
const NAME: &str = "acceptor";

/// How long it pauses after it has disconnected somebody, which takes two calls: so that there are less than a hundred calls a
/// second, also with a shorter pause now and then because nobody was there, and nobody waits for long to be disconnected.
const DISCONNECTING: Duration = Duration::from_millis(25);

/// What a [`StreamServer`] accepts from: [`TcpListener`] or [`UnixListener`].
pub trait Listener: Send + Sync + 'static {
    /// A connection.
    type Stream: Send + 'static;
    /// A peer's address, and its own.
    type Address: Clone + Send + Sync + 'static;

    /// Takes the next connection.
    ///
    /// # Errors
    /// As [`TcpListener::accept`].
    fn accept(&self) -> io::Result<(Self::Stream, Self::Address)>;

    /// Takes a connection if there is one; it is to be disconnected, for want of descriptors. What is provided waits for one,
    /// for up to 10 ms.
    ///
    /// # Suspends
    /// What is provided, for so long.
    ///
    /// # Cancel safety
    /// A task that is cancelled while it waits unwinds from here; whoever connects waits for the next to accept.
    ///
    /// # Errors
    /// As [`accept`](Self::accept); [`WouldBlock`](io::ErrorKind::WouldBlock) if there is none.
    fn try_accept(&self) -> io::Result<(Self::Stream, Self::Address)> {
        time::timeout(PAUSE.0, || self.accept()).unwrap_or_else(|_| Err(io::ErrorKind::WouldBlock.into()))
    }

    /// Waits until it may be that there is a connection: a server asks for that after an [`accept`](Self::accept) that did not
    /// wait, or not for long. What is provided waits for 10 ms.
    ///
    /// # Suspends
    /// Until then.
    ///
    /// # Cancel safety
    /// Nothing is lost.
    ///
    /// # Errors
    /// As [`accept`](Self::accept).
    fn wait_readable(&self) -> io::Result<()> {
        time::sleep(PAUSE.0);
        Ok(())
    }

    /// Its own address, which a server asks for when it is made. What is provided knows none.
    ///
    /// # Errors
    /// As [`TcpListener::local_addr`]; [`Unsupported`](io::ErrorKind::Unsupported) if it is not known.
    fn local_addr(&self) -> io::Result<Self::Address> {
        Err(io::ErrorKind::Unsupported.into())
    }

    /// Closes it. A server does so when it stops, and when an error ends its accepting.
    ///
    /// # Errors
    /// As [`TcpListener::close`]. `EBADF` says that it was closed before, so that a server reports no error.
    fn close(&self) -> io::Result<()>;
}

impl Listener for TcpListener {
    type Stream = TcpStream;
    type Address = SocketAddr;

    fn accept(&self) -> io::Result<(TcpStream, SocketAddr)> {
        Self::accept(self)
    }

    fn try_accept(&self) -> io::Result<(TcpStream, Self::Address)> {
        Self::try_accept(self)
    }

    fn wait_readable(&self) -> io::Result<()> {
        Self::wait_readable(self)
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        Self::local_addr(self)
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

    fn try_accept(&self) -> io::Result<(UnixStream, Self::Address)> {
        Self::try_accept(self)
    }

    fn wait_readable(&self) -> io::Result<()> {
        Self::wait_readable(self)
    }

    fn local_addr(&self) -> io::Result<Self::Address> {
        Self::local_addr(self)
    }

    fn close(&self) -> io::Result<()> {
        Self::close(self)
    }
}

/// Held by each task that serves, which holds nothing else of the server: one that is kept for later lies in there.
type Handle<L> = Arc<dyn Fn(<L as Listener>::Stream, <L as Listener>::Address) + Send + Sync>;

/// Serves each connection of a listener in a task of its own: gevent's `StreamServer`.
///
/// A handle: clones are the same server. Dropping all of them does not stop it.
///
/// A handler that panics, or raises, ends its own connection; the server goes on, and the failure is reported as that of
/// any task that nobody joins. When accepting or spawning fails, by an error, a panic or an exception, that is
/// [reported](crate::Report::ServerFailed); the connection at hand, if there is one, is closed, and the server tries again
/// after 10 ms, and ever less often up to once a second. If it fails for want of descriptors, those who connect meanwhile are
/// disconnected, up to forty a second.
///
/// A listener that somebody else closes ends the server's accepting for good, as a stop does. So does an error that says that
/// it accepts no more (`EBADF`, `EINVAL`, `ENOTSOCK`), which is reported as well; then the server closes it.
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
    /// The listener's, while it was open; none if that could not be told.
    address: Option<L::Address>,
    handle: Handle<L>,
    places: Places,
    /// How many tasks accept, from the next start on.
    acceptors: AtomicUsize,
    shortage: Shortage,
    service: Arc<Service>,
}

impl<L: Listener> Clone for StreamServer<L> {
    fn clone(&self) -> Self {
        Self { inner: self.inner.clone() }
    }
}

impl StreamServer<TcpListener> {
    /// A server that listens at the first of the addresses that lets it, as [`TcpListener::bind`] does; else as
    /// [`new`](Self::new).
    ///
    /// # Suspends
    /// While names are looked up.
    ///
    /// # Cancel safety
    /// A caller that is cancelled has bound nothing.
    ///
    /// # Errors
    /// As [`TcpListener::bind`].
    ///
    /// # Examples
    /// ```
    /// use osier::net::{StreamServer, TcpStream};
    /// use std::io::Write;
    /// use std::time::Duration;
    ///
    /// osier::run(|| {
    ///     let server = StreamServer::bind("127.0.0.1:0", |mut stream, _| _ = stream.write_all(b"hello"))?;
    ///     server.start();
    ///     assert_eq!(std::io::read_to_string(TcpStream::connect(server.local_addr()?)?)?, "hello");
    ///     assert!(server.stop(Duration::from_secs(1)));
    ///     Ok::<(), std::io::Error>(())
    /// })?;
    /// # Ok::<(), std::io::Error>(())
    /// ```
    pub fn bind<A: ToSocketAddrs>(
        address: A,
        handle: impl Fn(TcpStream, SocketAddr) + Send + Sync + 'static,
    ) -> io::Result<Self> {
        TcpListener::bind(address).map(|listener| Self::new(listener, handle))
    }
}

impl<L: Listener> StreamServer<L> {
    /// A server that calls `handle` for each connection, in a task of its own, which is named after it. It does not accept before
    /// [`start`](Self::start).
    pub fn new(listener: L, handle: impl Fn(L::Stream, L::Address) + Send + Sync + 'static) -> Self {
        Self::build(listener, handle, Places::All)
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
        Self::build(listener, handle, Places::limited_to(limit))
    }

    /// As [`new`](Self::new), with tasks that `spawner` makes: gevent's `spawn=pool`. While it is full, others wait to be
    /// accepted; where it is shared, one that was accepted may wait as well. [`stop`](Self::stop) ends those of this server
    /// alone.
    ///
    /// # Examples
    /// ```
    /// use osier::Pool;
    /// use osier::net::{StreamServer, TcpListener};
    /// use std::time::Duration;
    ///
    /// osier::run(|| {
    ///     // At most ten connections, of both together.
    ///     let pool = Pool::new(10);
    ///     let servers = [(); 2].map(|()| {
    ///         let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    ///         StreamServer::with_spawner(listener, pool.clone(), |stream, _| _ = std::io::copy(&mut &stream, &mut &stream))
    ///     });
    ///     servers.iter().for_each(StreamServer::start);
    ///     assert!(servers.iter().all(|server| server.stop(Duration::from_secs(1))));
    /// });
    /// ```
    pub fn with_spawner(
        listener: L,
        spawner: impl Spawner,
        handle: impl Fn(L::Stream, L::Address) + Send + Sync + 'static,
    ) -> Self {
        Self::build(listener, handle, Places::Spawner(Box::new(spawner)))
    }

    fn build(listener: L, handle: impl Fn(L::Stream, L::Address) + Send + Sync + 'static, places: Places) -> Self {
        let (address, acceptors) = (listener.local_addr().ok(), AtomicUsize::new(1));
        let (service, handle) = (Service::of(&handle), Arc::new(handle));
        let shortage = Shortage::default();
        Self { inner: Arc::new(Inner { listener, address, handle, places, acceptors, shortage, service }) }
    }

    /// The same server, with `count` tasks that accept from the next start on, spread over the workers. One does where
    /// connections are spread and not too many: it is woken for each, where several are woken all together. More help while
    /// the worker of one computes for long.
    ///
    /// # Panics
    /// If `count` is 0.
    ///
    /// # Examples
    /// ```
    /// use osier::net::{StreamServer, TcpListener};
    /// use std::time::Duration;
    ///
    /// osier::run(|| {
    ///     let listener = TcpListener::bind("127.0.0.1:0")?;
    ///     let server = StreamServer::new(listener, |_, _| ()).acceptors(2);
    ///     server.start();
    ///     assert!(server.stop(Duration::from_secs(1)));
    ///     Ok::<(), std::io::Error>(())
    /// })?;
    /// # Ok::<(), std::io::Error>(())
    /// ```
    #[must_use = "gives back the server"]
    pub fn acceptors(self, count: usize) -> Self {
        assert!(count > 0, "a server needs a task that accepts");
        self.inner.acceptors.store(count, Ordering::Relaxed);
        self
    }

    /// What it accepts from.
    pub fn listener(&self) -> &L {
        &self.inner.listener
    }

    /// The address that it accepts, or accepted, connections at: also when it has stopped.
    ///
    /// # Errors
    /// The listener could not tell when the server was made.
    pub fn local_addr(&self) -> io::Result<L::Address> {
        self.inner.address.clone().ok_or_else(|| io::ErrorKind::Unsupported.into())
    }

    /// Starts accepting, or goes on with it, in a task. Does nothing if it accepts, or has been stopped.
    ///
    /// # Panics
    /// If the runtime is shutting down.
    #[track_caller]
    pub fn start(&self) {
        let inner = self.inner.clone();
        let count = inner.acceptors.load(Ordering::Relaxed);
        self.inner.service.start(NAME, count, move || inner.accept());
    }

    /// Stops accepting for now. Connections that come wait with the system. One that was accepted, and waits for its
    /// [`Spawner`], is served after the next start, or closed by a stop.
    ///
    /// # Suspends
    /// Until the accepting task has ended.
    ///
    /// # Cancel safety
    /// A caller that is cancelled unwinds from here; the accepting task ends all the same.
    pub fn pause(&self) {
        self.inner.service.pause();
    }

    /// Starts, and waits until a [`stop`](Self::stop) has ended, or accepting has ended for another reason: gevent's
    /// `serve_forever`. The listener may have been closed, or accept no more; or its runtime has ended.
    ///
    /// # Suspends
    /// Until then.
    ///
    /// # Cancel safety
    /// A caller that is cancelled unwinds from here; the server serves on.
    ///
    /// # Panics
    /// As [`start`](Self::start).
    #[track_caller]
    pub fn serve_forever(&self) {
        self.start();
        self.inner.service.wait_stopped();
    }

    /// Whether it accepts.
    pub fn is_accepting(&self) -> bool {
        self.inner.service.is_accepting()
    }

    /// How many connections are being served. A handler that has just begun may not be counted yet.
    pub fn connections(&self) -> usize {
        self.inner.service.count()
    }

    /// Whether it serves as many as it may, so that the next one waits to be accepted. It may be out of date, as
    /// [`connections`](Self::connections) may.
    pub fn is_full(&self) -> bool {
        self.inner.places.is_full(self.connections())
    }

    /// Stops for good: closes the listener, waits for the connections, for at most `patience`, and cancels those that are
    /// left. True if none was. One that is called while another is under way, or after it, waits for the same connections.
    ///
    /// With `panic = "abort"` nothing can be cancelled: those that are left are asked, and not waited for.
    ///
    /// # Suspends
    /// Until all have ended. Not to be called by a handler, which would wait for itself.
    ///
    /// # Cancel safety
    /// A caller that is cancelled unwinds from here; the listener is closed, and connections that are left go on, until
    /// somebody calls it again. [`serve_forever`](Self::serve_forever) returns then as well.
    pub fn stop(&self, patience: Duration) -> bool {
        let stop = self.inner.service.begin_stop();
        // It fails if it was closed before.
        _ = self.inner.listener.close();
        stop.drain(patience)
    }
}

impl<L: Listener> fmt::Debug for StreamServer<L> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("StreamServer").field("connections", &self.connections()).finish_non_exhaustive()
    }
}

impl<L: Listener> Inner<L> {
    /// Makes a task for a connection. If there can be none, the connection is closed.
    fn serve(&self, place: Option<Permit>, stream: L::Stream, address: L::Address) -> io::Result<()> {
        let handle = self.handle.clone();
        self.service.serve(&self.places, move || {
            handle(stream, address);
            drop(place);
        })
    }

    fn accept(&self) {
        // Where this fails, a worker makes its own when it can.
        _ = make_pollers();
        // If it fails, it is tried again with the first connection.
        _ = self.shortage.restore();
        Course::new(NAME).run(|course| self.accept_one(course));
    }

    /// Takes a connection, and makes a task for it; or does what is left to do for one that cannot have a task.
    fn accept_one(&self, course: &mut Course) -> Next {
        let place = self.places.take();
        // Where nothing unwinds, the task ends here: there may always be somebody who connects.
        if task::ends_by_cancel() {
            return Next::End;
        }
        if self.service.serve_kept(&self.places) {
            return course.served();
        }
        let error = match self.next() {
            Ok((stream, address)) => {
                if let Err(error) = self.shortage.restore() {
                    // Somebody else has opened a file with the reserve's. This one's becomes it, or who comes next would hang.
                    drop((stream, address, place));
                    course.failed(&error);
                    self.shortage.disconnect(|| true);
                    return Next::Step;
                }
                match self.serve(place, stream, address) {
                    Ok(()) => return course.served(),
                    Err(error) => error,
                }
            }
            Err(error) => {
                drop(place);
                error
            }
        };
        match error.raw_os_error() {
            Some(libc::EBADF | libc::EINVAL | libc::ENOTSOCK) => {
                // Who connects is not to wait for nobody. Who has closed it, or stopped the server, knows that it ends.
                if !is_closed_before(&self.listener) && !self.service.is_stopping() {
                    course.ended(&error);
                }
                return Next::End;
            }
            Some(libc::EMFILE | libc::ENFILE) => {
                course.failed(&error);
                // There was a connection, or accepting would not have failed; another acceptor may have it.
                if self.shortage.disconnect(|| self.listener.try_accept().is_ok()) {
                    return Next::Step;
                }
            }
            _ => course.failed(&error),
        }
        Next::Pause
    }

    /// Takes the next connection. Waits for it also where the listener does not, or not for long: that is nobody's failure.
    fn next(&self) -> io::Result<(L::Stream, L::Address)> {
        loop {
            match self.listener.accept() {
                Err(error) if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut) => {
                    self.listener.wait_readable()?;
                }
                accepted => return accepted,
            }
        }
    }
}

/// Closes a listener; true if it was closed.
fn is_closed_before(listener: &impl Listener) -> bool {
    listener.close().is_err_and(|error| error.raw_os_error() == Some(libc::EBADF))
}

/// What the acceptors of a server share for the time when descriptors are out: one that is kept to be given up, and the pace.
#[derive(Default)]
struct Shortage {
    /// Locked by whoever disconnects, until its pause is over: so several do it no more often than one.
    reserve: Mutex<Option<File>>,
    has_reserve: AtomicBool,
}

impl Shortage {
    /// Opens the reserve again, if it was given up.
    ///
    /// # Errors
    /// There is no descriptor left to do so.
    fn restore(&self) -> io::Result<()> {
        if self.has_reserve.load(Ordering::Relaxed) {
            return Ok(());
        }
        self.restore_in(&mut self.reserve.lock())
    }

    fn restore_in(&self, reserve: &mut Option<File>) -> io::Result<()> {
        if reserve.is_none() {
            match File::open("/dev/null") {
                Err(error) if is_out_of_descriptors(&error) => return Err(error),
                opened => *reserve = opened.ok(),
            }
        }
        self.has_reserve.store(reserve.is_some(), Ordering::Relaxed);
        Ok(())
    }

    /// Gives the reserve up, so that `accepts` can take a connection and close it, and takes its descriptor back. Gives others time
    /// to close theirs, in any case. Whether somebody was disconnected.
    fn disconnect(&self, accepts: impl FnOnce() -> bool) -> bool {
        let mut reserve = self.reserve.lock();
        self.has_reserve.store(false, Ordering::Relaxed);
        *reserve = None;
        let has_disconnected = accepts();
        // If it fails, it is tried again with the next connection.
        _ = self.restore_in(&mut reserve);
        time::sleep(DISCONNECTING);
        has_disconnected
    }
}

/// Whether this process, or the system, has no descriptor left.
fn is_out_of_descriptors(error: &io::Error) -> bool {
    matches!(error.raw_os_error(), Some(libc::EMFILE | libc::ENFILE))
}
