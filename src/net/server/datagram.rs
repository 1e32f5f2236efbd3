//! Datagrams: a task receives, and makes a task for each.

use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use super::course::{Course, Next};
use super::places::{Places, Spawner};
use super::service::Service;
use crate::net::{UdpSocket, UnixDatagram};
use crate::task;

/// What a [`DatagramServer`] receives from: [`UdpSocket`] or [`UnixDatagram`]. Implemented by these alone.
pub trait DatagramSocket: sealed::Sealed + fmt::Debug + Send + Sync + 'static {
    /// A sender's address.
    type Address: Send + 'static;
    #[doc(hidden)]
    fn recv_from(&self, buffer: &mut [u8]) -> io::Result<(usize, Self::Address)>;
    #[doc(hidden)]
    fn wait_readable(&self) -> io::Result<()>;
    #[doc(hidden)]
    fn close(&self) -> io::Result<()>;
    #[doc(hidden)]
    fn has_ended(&self) -> bool;
}

mod sealed {
    /// Keeps `DatagramSocket` to this crate.
    #[allow(unnameable_types, reason = "so that nobody else implements it")]
    pub trait Sealed {}
}

macro_rules! datagram_socket {
    ($name:ty, $address:ty) => {
        impl sealed::Sealed for $name {}

        impl DatagramSocket for $name {
            type Address = $address;

            fn recv_from(&self, buffer: &mut [u8]) -> io::Result<(usize, $address)> {
                Self::recv_from(self, buffer)
            }

            fn wait_readable(&self) -> io::Result<()> {
                Self::wait_readable(self)
            }

            fn close(&self) -> io::Result<()> {
                Self::close(self)
            }

            fn has_ended(&self) -> bool {
                Self::has_ended(self)
            }
        }
    };
}

datagram_socket!(UdpSocket, SocketAddr);
datagram_socket!(UnixDatagram, std::os::unix::net::SocketAddr);

/// Calls a function for each datagram that arrives, in a task of its own: gevent's `DatagramServer`, over UDP, or within one
/// machine.
///
/// A handle: clones are the same server. Dropping all of them does not stop it.
///
/// A handler that panics, or raises, ends alone, and the failure is reported as that of any task that nobody joins. When
/// receiving or spawning fails, by an error, a panic or an exception, that is [reported](crate::Report::ServerFailed), and the
/// server tries again after 10 ms, and ever less often up to once a second. A socket that somebody else closes ends its
/// receiving for good, as a stop does.
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
///
/// Who sends from a [`UnixDatagram`] without an address gets no answer: it has to bind one, or to be connected as a pair is.
/// ```
/// use osier::net::{DatagramServer, UnixDatagram};
/// use std::time::Duration;
///
/// osier::run(|| {
///     let (near, far) = UnixDatagram::pair()?;
///     let server = DatagramServer::new(near, |socket, data, _| _ = socket.send(&data));
///     server.start();
///     far.send(b"hello")?;
///     assert_eq!(far.recv(&mut [0; 16])?, 5);
///     assert!(server.stop(Duration::from_secs(1)));
///     Ok::<(), std::io::Error>(())
/// })?;
/// # Ok::<(), std::io::Error>(())
/// ```
pub struct DatagramServer<S: DatagramSocket = UdpSocket> {
    inner: Arc<Inner<S>>,
}

impl<S: DatagramSocket> Clone for DatagramServer<S> {
    fn clone(&self) -> Self {
        Self { inner: self.inner.clone() }
    }
}

/// The name of the task that receives.
const NAME: &str = "receiver";

type Handle<S> = Box<dyn Fn(&S, Vec<u8>, <S as DatagramSocket>::Address) + Send + Sync>;

/// What tasks that serve hold, and nothing else of the server: one that is kept for later lies in there.
struct Serving<S: DatagramSocket> {
    socket: S,
    handle: Handle<S>,
}

struct Inner<S: DatagramSocket> {
    serving: Arc<Serving<S>>,
    places: Places,
    service: Arc<Service>,
}

impl<S: DatagramSocket> DatagramServer<S> {
    /// A server that calls `handle` with each datagram and its sender. It does not receive before
    /// [`start`](Self::start).
    pub fn new(socket: S, handle: impl Fn(&S, Vec<u8>, S::Address) + Send + Sync + 'static) -> Self {
        Self::build(socket, handle, Places::All)
    }

    /// As [`new`](Self::new), with at most `limit` datagrams handled at the same time. Others wait with the system, which drops
    /// what it has no room for.
    ///
    /// # Panics
    /// If `limit` is 0.
    pub fn with_limit(
        socket: S,
        limit: usize,
        handle: impl Fn(&S, Vec<u8>, S::Address) + Send + Sync + 'static,
    ) -> Self {
        assert!(limit > 0, "a server needs room for one datagram at least");
        Self::build(socket, handle, Places::limited_to(limit))
    }

    /// As [`new`](Self::new), with tasks that `spawner` makes: a [`Pool`](crate::Pool), say, which several servers may share.
    /// While it is full, datagrams wait with the system. [`stop`](Self::stop) ends the tasks of this server alone.
    pub fn with_spawner(
        socket: S,
        spawner: impl Spawner,
        handle: impl Fn(&S, Vec<u8>, S::Address) + Send + Sync + 'static,
    ) -> Self {
        Self::build(socket, handle, Places::Spawner(Box::new(spawner)))
    }

    fn build(socket: S, handle: impl Fn(&S, Vec<u8>, S::Address) + Send + Sync + 'static, places: Places) -> Self {
        let (service, handle) = (Service::of(&handle), Box::new(handle));
        Self { inner: Arc::new(Inner { serving: Arc::new(Serving { socket, handle }), places, service }) }
    }

    /// The socket, to send by.
    pub fn socket(&self) -> &S {
        &self.inner.serving.socket
    }

    /// Starts receiving, or goes on with it, in a task. Does nothing if it receives, or has been stopped.
    ///
    /// # Panics
    /// If the runtime is shutting down.
    #[track_caller]
    pub fn start(&self) {
        let inner = self.inner.clone();
        self.inner.service.start(NAME, 1, move || inner.receive());
    }

    /// Stops receiving for now. Datagrams that come wait with the system, which drops what it has no room for. One that was
    /// received, and waits for its [`Spawner`], is handled after the next start, or dropped by a stop.
    ///
    /// # Suspends
    /// Until the receiving task has ended.
    ///
    /// # Cancel safety
    /// A caller that is cancelled unwinds from here; the receiving task ends all the same.
    pub fn pause(&self) {
        self.inner.service.pause();
    }

    /// Starts, and waits until a [`stop`](Self::stop) has ended, or receiving has ended for another reason: the socket was
    /// closed, or the runtime has ended.
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

    /// Whether it receives.
    pub fn is_accepting(&self) -> bool {
        self.inner.service.is_accepting()
    }

    /// How many datagrams are being handled. A handler that has just begun may not be counted yet.
    pub fn connections(&self) -> usize {
        self.inner.service.count()
    }

    /// Whether it serves as many as it may, so that the next one waits to be received. It may be out of date, as
    /// [`connections`](Self::connections) may.
    pub fn is_full(&self) -> bool {
        self.inner.places.is_full(self.connections())
    }

    /// Stops for good: receives no more, waits for the handlers, for at most `patience`, cancels those that are left, and
    /// closes the socket, which handlers may answer by until then. True if none was left. One that is called while another is
    /// under way, or after it, waits for the same handlers.
    ///
    /// With `panic = "abort"` nothing can be cancelled: those that are left are asked, and not waited for.
    ///
    /// # Suspends
    /// Until all have ended. Not to be called by a handler, which would wait for itself.
    ///
    /// # Cancel safety
    /// A caller that is cancelled unwinds from here; the server receives no more, handlers that are left go on, and the socket
    /// stays open, until somebody calls it again. [`serve_forever`](Self::serve_forever) returns then as well.
    pub fn stop(&self, patience: Duration) -> bool {
        let stop = self.inner.service.begin_stop();
        let in_time = stop.drain(patience);
        // It fails if it was closed before.
        _ = self.socket().close();
        in_time
    }
}

impl<S: DatagramSocket> fmt::Debug for DatagramServer<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DatagramServer").field("socket", self.socket()).finish_non_exhaustive()
    }
}

impl<S: DatagramSocket> Inner<S> {
    fn receive(&self) {
        // As long as a datagram can be.
        let mut buffer = vec![0; 1 << 16];
        Course::new(NAME).run(|course| self.receive_one(course, &mut buffer));
    }

    /// Receives a datagram, and makes a task for it.
    fn receive_one(&self, course: &mut Course, buffer: &mut [u8]) -> Next {
        let place = self.places.take();
        // Where nothing unwinds, the task ends here: there may always be another datagram.
        if task::ends_by_cancel() {
            return Next::End;
        }
        if self.service.serve_kept(&self.places) {
            return course.served();
        }
        let received = self.next(buffer).and_then(|(size, peer)| {
            let (serving, data) = (self.serving.clone(), buffer[..size].to_vec());
            // One for which there can be no task is lost, as datagrams may be.
            self.service.serve(&self.places, move || {
                (serving.handle)(&serving.socket, data, peer);
                drop(place);
            })
        });
        match received {
            Ok(()) => course.served(),
            Err(error) if matches!(error.raw_os_error(), Some(libc::EBADF | libc::ENOTSOCK)) => {
                // Who has closed it, or stopped the server, knows that it ends.
                if self.serving.socket.close().is_ok() && !self.service.is_stopping() {
                    course.ended(&error);
                }
                Next::End
            }
            // What a peer's system has answered to an earlier datagram.
            Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => Next::Step,
            Err(error) => {
                course.failed(&error);
                Next::Pause
            }
        }
    }

    /// Receives the next datagram. Waits for it also where the socket does not, or not for long: that is nobody's failure. A socket
    /// that is shut down for reading is as good as closed: it would give its end again and again.
    fn next(&self, buffer: &mut [u8]) -> io::Result<(usize, S::Address)> {
        let socket = &self.serving.socket;
        loop {
            match socket.recv_from(buffer) {
                Ok((0, _)) | Err(_) if socket.has_ended() => return Err(io::Error::from_raw_os_error(libc::EBADF)),
                Err(error) if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut) => {
                    socket.wait_readable()?;
                }
                received => return received,
            }
        }
    }
}
