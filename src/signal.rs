//! Signals that come to this process, as events that tasks wait for.
//!
//! A handler may do next to nothing, so none of a user's ever runs in one: ours raises a flag and writes a byte to a pipe,
//! and whoever waits goes on in his own task. It allocates nothing and takes no lock. `signal-hook` installs it, and so it
//! gets along with other libraries that use that crate, and calls a handler that was there before.
//!
//! Once a signal has been waited for, its handler stays, and the system's default action is gone: a Ctrl-C that nobody waits
//! for any more does nothing.
//!
//! # Shutting down by Ctrl-C
//!
//! [`ctrl_c`] waits for it. What follows is up to the program; [`shutdown`](crate::shutdown) unwinds every task, so that all
//! destructors run:
//! ```no_run
//! use osier::{signal, spawn};
//! use std::time::{Duration, Instant};
//!
//! # fn serve() {}
//! osier::run(|| {
//!     drop(spawn(serve));
//!     signal::ctrl_c()
//! })?;
//! // Cancels what runs, and waits for its end, for ten seconds at most.
//! osier::shutdown(Duration::from_secs(10)).expect("every task ends in time");
//! # Ok::<(), std::io::Error>(())
//! ```
//!
//! # Rooms
//! One file. Why not a signalfd: `arch-notes/processes.md`.

use std::fmt;
use std::io::{self, Read, Write};
use std::os::fd::AsRawFd;
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use signal_hook::SigId;
use signal_hook::low_level::{pipe, unregister};

use crate::coroutine::current;
use crate::runtime::{Direction, Registration};

/// A kind of signal, by its number.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Signal(i32);

macro_rules! signals {
    ($($(#[doc = $doc:literal])+ $name:ident = $number:ident;)+) => {
        impl Signal {
            $($(#[doc = $doc])+ pub const $name: Self = Self(libc::$number);)+

            fn name(self) -> Option<&'static str> {
                match self {
                    $(Self::$name => Some(stringify!($number)),)+
                    _ => None,
                }
            }
        }
    };
}

signals! {
    /// The timer of `alarm(2)`.
    ALARM = SIGALRM;
    /// A child has ended, or stopped.
    CHILD = SIGCHLD;
    /// A stopped process goes on.
    CONTINUE = SIGCONT;
    /// The terminal is gone; by custom: read the configuration again.
    HANGUP = SIGHUP;
    /// Ctrl-C.
    INTERRUPT = SIGINT;
    /// Ends a process at once; can only be sent.
    KILL = SIGKILL;
    /// Ctrl-\.
    QUIT = SIGQUIT;
    /// Asks a process to end.
    TERMINATE = SIGTERM;
    /// For the program's own use.
    USER1 = SIGUSR1;
    /// For the program's own use.
    USER2 = SIGUSR2;
    /// The terminal has another size.
    WINDOW = SIGWINCH;
}

impl Signal {
    /// The signal with this number.
    pub const fn from_raw(number: i32) -> Self {
        Self(number)
    }

    /// Its number.
    pub const fn as_raw(self) -> i32 {
        self.0
    }
}

impl fmt::Display for Signal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.name() {
            Some(name) => f.write_str(name),
            None => write!(f, "signal {}", self.0),
        }
    }
}

impl fmt::Debug for Signal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// The signals of some kinds that come from its making on: gevent's `signal_handler`, as an iterator.
///
/// Signals of one kind that come before they are taken are one, as for the system itself. Several of these may wait for one
/// kind; each gets it. Dropped, it gets no more. A task that waits for a signal does not keep its runtime from being idle.
///
/// # Examples
/// ```
/// use osier::signal::{Signal, Signals};
///
/// osier::run(|| {
///     let mut signals = Signals::new([Signal::USER1, Signal::HANGUP])?;
///     let task = osier::spawn(move || signals.next());
///     // SAFETY: it takes no pointers, and the signal has a handler.
///     unsafe { libc::raise(libc::SIGUSR1) };
///     assert_eq!(task.join().unwrap(), Some(Signal::USER1));
///     Ok::<(), std::io::Error>(())
/// })?;
/// # Ok::<(), std::io::Error>(())
/// ```
pub struct Signals {
    // First, so that it is dropped first: the descriptor leaves its pollers before it is closed.
    registration: Registration,
    /// Gets a byte for each signal.
    stream: UnixStream,
    writer: UnixStream,
    kinds: Vec<Kind>,
}

/// What is known of one kind of signal.
struct Kind {
    signal: Signal,
    /// Raised by the handler, before it writes the byte.
    has_come: Arc<AtomicBool>,
    /// What the handler does.
    actions: Vec<SigId>,
}

impl Drop for Kind {
    fn drop(&mut self) {
        for action in self.actions.drain(..) {
            unregister(action);
        }
    }
}

impl Kind {
    fn new(signal: Signal, stream: UnixStream) -> io::Result<Self> {
        if signal_hook::consts::FORBIDDEN.contains(&signal.0) {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, format!("{signal} cannot be waited for")));
        }
        let mut kind = Self { signal, has_come: Arc::default(), actions: Vec::with_capacity(2) };
        // In this order they are done: whoever has read the byte finds the flag.
        kind.actions.push(signal_hook::flag::register(signal.0, kind.has_come.clone())?);
        kind.actions.push(pipe::register(signal.0, stream)?);
        Ok(kind)
    }
}

impl Signals {
    /// Begins to receive signals of these kinds.
    ///
    /// # Errors
    /// One of them cannot be waited for (`KILL`, `STOP`, and those of faults), or there is none of that number; the
    /// system is out of descriptors.
    pub fn new(signals: impl IntoIterator<Item = Signal>) -> io::Result<Self> {
        let (stream, writer) = UnixStream::pair()?;
        stream.set_nonblocking(true)?;
        writer.set_nonblocking(true)?;
        let mut kinds: Vec<Kind> = Vec::new();
        for signal in signals {
            // What is named twice comes once.
            if kinds.iter().all(|kind| kind.signal != signal) {
                kinds.push(Kind::new(signal, writer.try_clone()?)?);
            }
        }
        Ok(Self { registration: Registration::uncounted(stream.as_raw_fd()), stream, writer, kinds })
    }

    /// Waits for the next signal. Several tasks may; each signal goes to one of them.
    ///
    /// # Suspends
    /// The calling task, or on a plain thread the thread.
    ///
    /// # Cancel safety
    /// Nothing is lost.
    ///
    /// # Errors
    /// The system cannot wait for the pipe.
    pub fn wait(&self) -> io::Result<Signal> {
        self.registration.io(
            Direction::Read,
            None,
            || self.take().ok_or_else(|| io::ErrorKind::WouldBlock.into()),
            |_| false,
        )
    }

    /// Waits for the next signal, for at most `timeout`.
    ///
    /// # Suspends
    /// As [`wait`](Self::wait).
    ///
    /// # Cancel safety
    /// Nothing is lost.
    ///
    /// # Errors
    /// As [`wait`](Self::wait).
    pub fn wait_timeout(&self, timeout: Duration) -> io::Result<Option<Signal>> {
        let take = || self.take().ok_or_else(|| io::ErrorKind::WouldBlock.into());
        match self.registration.io(Direction::Read, Some(timeout), take, |_| false) {
            Err(error) if error.kind() == io::ErrorKind::TimedOut => Ok(None),
            result => result.map(Some),
        }
    }

    /// Waits for the next signal, or until `deadline`.
    ///
    /// # Suspends
    /// As [`wait`](Self::wait).
    ///
    /// # Cancel safety
    /// Nothing is lost.
    ///
    /// # Errors
    /// As [`wait`](Self::wait).
    pub fn wait_deadline(&self, deadline: Instant) -> io::Result<Option<Signal>> {
        self.wait_timeout(deadline.saturating_duration_since(current::now()))
    }

    /// A signal that has come and was not taken.
    pub fn try_next(&self) -> Option<Signal> {
        self.take()
    }

    /// Empties the pipe, then looks at the flags: what comes afterwards writes once more.
    fn take(&self) -> Option<Signal> {
        while (&self.stream).read(&mut [0; 64]).is_ok_and(|count| count > 0) {}
        let taken = self.kinds.iter().find(|kind| kind.has_come.swap(false, Ordering::AcqRel))?;
        if self.kinds.iter().any(|kind| kind.has_come.load(Ordering::Acquire)) {
            // Its byte may have been read here, and whoever waits for it must not sleep on. If the pipe is full, it is heard.
            _ = (&self.writer).write(&[0]);
        }
        Some(taken.signal)
    }
}

/// Without end, but for an error of the system.
///
/// # Suspends
/// Each `next`, as [`Signals::wait`].
///
/// # Cancel safety
/// As [`Signals::wait`].
impl Iterator for &Signals {
    type Item = Signal;

    fn next(&mut self) -> Option<Signal> {
        self.wait().ok()
    }
}

/// As of a reference.
impl Iterator for Signals {
    type Item = Signal;

    fn next(&mut self) -> Option<Signal> {
        self.wait().ok()
    }
}

impl fmt::Debug for Signals {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.kinds.iter().map(|kind| kind.signal)).finish()
    }
}

/// Waits for one signal that comes from now on. To miss none between two waits, make [`Signals`].
///
/// # Suspends
/// The calling task, or on a plain thread the thread.
///
/// # Cancel safety
/// A signal that comes just then may be lost.
///
/// # Errors
/// As [`Signals::new`].
pub fn wait(signal: Signal) -> io::Result<()> {
    Signals::new([signal])?.wait().map(drop)
}

/// Waits for Ctrl-C, from now on. See the [module's page](self).
///
/// # Suspends
/// The calling task, or on a plain thread the thread.
///
/// # Cancel safety
/// As [`wait`].
///
/// # Errors
/// As [`Signals::new`].
pub fn ctrl_c() -> io::Result<()> {
    wait(Signal::INTERRUPT)
}
