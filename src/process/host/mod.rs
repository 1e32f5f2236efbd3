//! Processes that run functions for another process of the same program: what `Processes` stands on.
//!
//! The owner starts its own program again, with one end of a socket pair as standard input, and a variable in the
//! environment that names that very socket. [`host`] finds both, and serves. There is no port, and nothing else that
//! others could connect to.
//!
//! ```text
//!   owner                                             host
//!   Plan::start ── exec, socket pair ──→ main: host()
//!               ←── HELLO ───────────────
//!               ─── CALL function, bytes → main thread: the function       reader thread: frames into a queue;
//!               ←── what it answers ──────                                 end of the socket: the process ends
//! ```
//!
//! # Invariants
//! - The socket's ends are closed on exec but for the one that is the host's standard input, and the host moves that one
//!   away. So nobody else holds one, and the host's socket ends when its owner does, however that dies.
//! - A thread of the host's own reads the socket, also while a function computes: at its end the process ends.
//! - Only functions that [`registered!`](crate::registered) names are called, found by their names.
//!
//! # Rooms
//! - `registry`: the functions. `wire`: frames. `error`: errors. `start`: the owner's side. Here: the host's.

mod error;
mod registry;
mod start;
mod wire;

use std::fs::File;
use std::io::{self, Write};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::fs::MetadataExt;
use std::os::unix::net::UnixStream;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError, mpsc};
use std::thread;
use std::time::Duration;

pub use error::RemoteError;
pub use registry::{Entry, Registrable};
pub(crate) use registry::{find, function, name_of as name_of_function};
pub(crate) use start::{Plan, Started, reap};
pub(crate) use wire::{Frame, HEAD, Kind, put, put_call, read, write};

/// Names the host's socket, and says how long a message may be.
const VARIABLE: &str = "OSIER_HOST";
/// What a host says first: the protocol's name and version.
const HELLO: &[u8] = b"osier host 2";
/// How long an idle main thread may take to end the process before the reader does.
const LAST_WORDS: Duration = Duration::from_secs(1);

/// Set when this process has become a host.
static IS_HOST: AtomicBool = AtomicBool::new(false);

/// Makes this program able to run jobs for itself in processes of their own: call it first in `main`.
///
/// It returns at once, unless this very process was started as a host, by [`Processes`](crate::pool::Processes). Then it never returns: it runs the functions that it is asked for, and ends with
/// whoever started it. What stands before it in `main` runs in each host as well. A host does nothing at a Ctrl-C, which its
/// owner gets too, and what a job starts gets it as ever; its standard input is empty, its output and its environment are the owner's.
///
/// # Panics
/// In a host, if two functions were registered under one name.
///
/// # Examples
/// ```no_run
/// use osier::{pool::Processes, process, registered};
///
/// fn fib(n: u32) -> u64 {
///     if n <= 2 { 1 } else { fib(n - 1) + fib(n - 2) }
/// }
///
/// fn main() {
///     process::host();
///     let values = Processes::with(4, |ex| ex.map(registered!(fib), 30..34));
///     assert_eq!(values, [832_040, 1_346_269, 2_178_309, 3_524_578]);
/// }
/// ```
///
/// In a test there is no `main`: tell the harness which test to run in a host.
/// ```no_run
/// # use osier::{pool::Processes, process};
/// #[test]
/// fn host() {
///     process::host();
/// }
///
/// fn processes(n: usize) -> Processes {
///     Processes::builder(n).args(["--exact", "host", "--nocapture"]).build()
/// }
/// ```
pub fn host() {
    let Some((socket, limit)) = inherited() else { return };
    IS_HOST.store(true, Ordering::Relaxed);
    registry::check();
    ignore_interrupts();
    match Hosting::begin(socket, limit).serve() {
        // All that was printed is out, and what runs at exit has run.
        Ok(()) => std::process::exit(0),
        Err(error) => {
            eprintln!("osier: a host lost its owner: {error}");
            std::process::exit(1)
        }
    }
}

/// Whether this process is a host.
pub(crate) fn is_host() -> bool {
    IS_HOST.load(Ordering::Relaxed)
}

/// Panics if this process was started as a host, but runs on as the program: it would start itself again and again.
pub(crate) fn check_not_a_host() {
    if !is_host() && is_started_as_host() {
        panic!("this process was started as a host: call `osier::process::host()` first in `main`");
    }
}

fn is_started_as_host() -> bool {
    std::env::var_os(VARIABLE).is_some() && socket_of_environment().is_some()
}

/// The name of a socket, as [`VARIABLE`] has it: its device and inode.
fn name_of(socket: &File) -> io::Result<String> {
    let metadata = socket.metadata()?;
    Ok(format!("{}:{}", metadata.dev(), metadata.ino()))
}

/// The socket that the environment names, if that is the standard input: not so in a process that a job starts.
fn socket_of_environment() -> Option<(OwnedFd, usize)> {
    let variable = std::env::var(VARIABLE).ok()?;
    let (name, limit) = variable.rsplit_once(':')?;
    // A duplicate, closed on exec.
    let socket = File::from(io::stdin().as_fd().try_clone_to_owned().ok()?);
    (name_of(&socket).ok()? == name).then_some((socket.into(), limit.parse().ok()?))
}

/// Takes the socket that this process was given, and leaves an empty standard input.
fn inherited() -> Option<(UnixStream, usize)> {
    let (socket, limit) = socket_of_environment()?;
    let nothing = File::open("/dev/null").expect("the system has no /dev/null");
    // SAFETY: both are open descriptors of this process, and nobody owns the standard input.
    let answer = unsafe { libc::dup2(nothing.as_raw_fd(), 0) };
    assert_eq!(answer, 0, "the standard input cannot be replaced: {}", io::Error::last_os_error());
    Some((UnixStream::from(socket), limit))
}

/// The terminal sends Ctrl-C to hosts as well; what is to end is for the owner to say. A handler that does nothing, for an
/// ignored signal would be ignored by what jobs start, too: an exec resets handlers alone.
fn ignore_interrupts() {
    extern "C" fn nothing(_: libc::c_int) {}
    // SAFETY: all of it is integers, pointers and a set of signals, for which zeros are values.
    let mut action: libc::sigaction = unsafe { std::mem::zeroed() };
    action.sa_sigaction = nothing as extern "C" fn(libc::c_int) as libc::sighandler_t;
    // On the thread's own stack for signals where there is one: a coroutine's may be almost full.
    action.sa_flags = libc::SA_RESTART | libc::SA_ONSTACK;
    // SAFETY:
    // - Both are structs of ours; the second may be null.
    // - The handler touches nothing, so it may run at any point.
    unsafe {
        let mut before: libc::sigaction = std::mem::zeroed();
        libc::sigaction(libc::SIGINT, std::ptr::null(), &raw mut before);
        // A program that was started to ignore it passes that on.
        if before.sa_sigaction != libc::SIG_IGN {
            libc::sigaction(libc::SIGINT, &raw const action, std::ptr::null_mut());
        }
    }
}

/// What a function sees that is served: its owner.
#[derive(Debug)]
pub struct Hosting {
    /// What the owner has sent. Ends with it.
    frames: mpsc::Receiver<Frame>,
    line: &'static Line,
}

/// The host's end of the socket.
#[derive(Debug)]
pub(crate) struct Line {
    socket: Mutex<UnixStream>,
    /// How many bytes a frame may have.
    limit: usize,
    /// Whether a function runs.
    is_busy: AtomicBool,
}

impl Line {
    pub(crate) fn limit(&self) -> usize {
        self.limit
    }

    /// Notes that the function has done all that it is for: the process may end well when the socket does.
    pub(crate) fn set_idle(&self) {
        self.is_busy.store(false, Ordering::SeqCst);
    }

    /// Sends a text, or as much of it as a frame has room for.
    pub(crate) fn say(&self, kind: Kind, text: &str) -> io::Result<()> {
        self.send(kind, &[&text.as_bytes()[..text.len().min(wire::HEAD)]])
    }

    /// Sends a frame, which is not over the limit.
    pub(crate) fn send(&self, kind: Kind, parts: &[&[u8]]) -> io::Result<()> {
        let mut socket = self.socket.lock().unwrap_or_else(PoisonError::into_inner);
        write(&mut *socket, kind, parts)
    }
}

impl Hosting {
    fn begin(socket: UnixStream, limit: usize) -> Self {
        let reader = socket.try_clone().expect("a descriptor for the reader");
        // For the rest of the process: the reader uses it to the end.
        let line: &'static Line =
            Box::leak(Box::new(Line { socket: Mutex::new(socket), limit, is_busy: false.into() }));
        let (sender, frames) = mpsc::channel();
        thread::Builder::new()
            .name("osier-host".to_owned())
            .spawn(move || line.read(reader, sender))
            .expect("a thread for the reader");
        Self { frames, line }
    }

    pub(crate) fn line(&self) -> &'static Line {
        self.line
    }

    /// The next frame from the owner; `None` when it has gone.
    pub(crate) fn receive(&self) -> Option<Frame> {
        self.frames.recv().ok()
    }

    /// The next frame from the owner, if it is there.
    pub(crate) fn try_receive(&self) -> Option<Frame> {
        self.frames.try_recv().ok()
    }

    /// Says hello, and runs what is asked for until the owner goes.
    fn serve(&self) -> io::Result<()> {
        self.line.send(Kind::Hello, &[HELLO])?;
        while let Some(frame) = self.receive() {
            if frame.kind != Kind::Call {
                return Err(io::Error::new(io::ErrorKind::InvalidData, "it asks for something unknown"));
            }
            let (function, argument) = frame.call()?;
            match find(function) {
                Some(entry) => {
                    self.line.is_busy.store(true, Ordering::SeqCst);
                    let served = (entry.serve)(argument, self);
                    self.line.is_busy.store(false, Ordering::SeqCst);
                    served?;
                }
                None => self.line.send(Kind::Unknown, &[function.as_bytes()])?,
            }
        }
        io::stdout().flush()
    }
}

impl Line {
    /// Reads frames until the owner goes, and then ends the process.
    fn read(&self, mut socket: UnixStream, sender: mpsc::Sender<Frame>) {
        while let Ok(Some(frame)) = read(&mut socket, self.limit) {
            if sender.send(frame).is_err() {
                // The main thread ends the process.
                return;
            }
        }
        drop(sender);
        if !self.is_busy.load(Ordering::SeqCst) {
            // The main thread sees that no frame comes, and ends the process well.
            thread::park_timeout(LAST_WORDS);
        }
        // SAFETY: it ends the process, without running what the main thread may be in the middle of.
        unsafe { libc::_exit(0) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_host_knows_only_registered_functions_and_only_calls() {
        let (mut ours, theirs) = UnixStream::pair().unwrap();
        let serving = thread::spawn(move || Hosting::begin(theirs, 100).serve());
        assert_eq!(read(&mut ours, 100).unwrap().unwrap().body, HELLO);
        let mut call = Vec::new();
        put_call(&mut call, "nobody::knows", &[1]).unwrap();
        ours.write_all(&call).unwrap();
        let answer = read(&mut ours, 100).unwrap().unwrap();
        assert_eq!((answer.kind, answer.text().as_str()), (Kind::Unknown, "nobody::knows"));
        write(&mut ours, Kind::Value, &[]).unwrap();
        assert_eq!(serving.join().unwrap().unwrap_err().kind(), io::ErrorKind::InvalidData);
        // At its end the reader would end this process.
        std::mem::forget(ours);
    }
}
