//! The owner's side: how a host is started, and how it is got rid of.

use std::ffi::OsString;
use std::fs::File;
use std::io::{self, Read};
use std::net::Shutdown;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use super::wire::{self, Kind};
use super::{HELLO, RemoteError, VARIABLE, check_not_a_host, name_of};

/// How long a host may take to say hello.
pub(crate) const HELLO_PATIENCE: Duration = Duration::from_secs(10);
/// How long one may take to end when its socket has, before it is killed.
const END_PATIENCE: Duration = Duration::from_secs(1);

/// How to start hosts.
#[derive(Clone, Debug)]
pub(crate) struct Plan {
    pub(crate) arguments: Vec<OsString>,
    pub(crate) environment: Vec<(OsString, OsString)>,
    /// How many bytes a message may have.
    pub(crate) limit: usize,
}

impl Default for Plan {
    fn default() -> Self {
        Self { arguments: Vec::new(), environment: Vec::new(), limit: 64 << 20 }
    }
}

/// A host that has said hello.
#[derive(Debug)]
pub(crate) struct Started {
    pub(crate) child: Child,
    pub(crate) socket: UnixStream,
}

impl Plan {
    /// Starts a host, and waits until it serves. Blocks the thread.
    pub(crate) fn start(&self) -> Result<Started, RemoteError> {
        check_not_a_host();
        let (child, mut socket) = self.launch().map_err(RemoteError::NotStarted)?;
        let said = socket.set_read_timeout(Some(HELLO_PATIENCE)).and_then(|()| wire::read(&mut socket, HELLO.len()));
        let is_host = matches!(&said, Ok(Some(frame)) if frame.kind == Kind::Hello && frame.body == HELLO);
        if !is_host || socket.set_read_timeout(None).is_err() {
            return Err(RemoteError::NoHost(dismiss_stranger(child, &socket, matches!(said, Ok(None)))));
        }
        Ok(Started { child, socket })
    }

    fn launch(&self) -> io::Result<(Child, UnixStream)> {
        let (ours, theirs) = UnixStream::pair()?;
        let theirs = File::from(OwnedFd::from(theirs));
        // The very program that runs, also when its file was replaced meanwhile.
        let mut command = if cfg!(any(target_os = "linux", target_os = "android")) {
            Command::new("/proc/self/exe")
        } else {
            Command::new(std::env::current_exe()?)
        };
        if let Some(name) = std::env::args_os().next() {
            command.arg0(name);
        }
        command
            .args(&self.arguments)
            .envs(self.environment.iter().map(|(key, value)| (key, value)))
            .env(VARIABLE, format!("{}:{}", name_of(&theirs)?, self.limit))
            .stdin(Stdio::from(OwnedFd::from(theirs)));
        Ok((command.spawn()?, ours))
    }
}

/// Ends a process that does not serve, and gives how it ended if it did so by itself.
fn dismiss_stranger(mut child: Child, socket: &UnixStream, has_closed: bool) -> Option<ExitStatus> {
    _ = socket.shutdown(Shutdown::Both);
    let patience = if has_closed { END_PATIENCE } else { Duration::ZERO };
    let ended = wait_for(&mut child, patience);
    if ended.is_none() {
        _ = child.kill();
        _ = child.wait();
    }
    ended
}

/// Waits for the end of a process whose socket has ended, or ends now, killing it if it lingers.
pub(crate) fn reap(child: &mut Child, socket: &UnixStream) -> io::Result<ExitStatus> {
    _ = socket.shutdown(Shutdown::Write);
    // When it has ended, its end of the socket has. What it still sends nobody wants.
    let drain = || -> io::Result<()> {
        socket.set_read_timeout(Some(END_PATIENCE))?;
        let mut rest = [0; 512];
        while (&mut &*socket).read(&mut rest)? > 0 {}
        Ok(())
    };
    if drain().is_ok()
        && let Some(status) = wait_for(child, END_PATIENCE)
    {
        return Ok(status);
    }
    _ = child.kill();
    child.wait()
}

/// Waits for a process that is about to end. Holds the thread.
fn wait_for(child: &mut Child, patience: Duration) -> Option<ExitStatus> {
    let start = Instant::now();
    let mut pause = Duration::from_micros(50);
    loop {
        if let Ok(Some(status)) = child.try_wait() {
            return Some(status);
        }
        if start.elapsed() >= patience {
            return None;
        }
        thread::park_timeout(pause);
        pause = (2 * pause).min(Duration::from_millis(10));
    }
}
