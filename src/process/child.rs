//! A child, its pipes and its end.
//!
//! # Invariants
//! - A signal is sent under the lock under which the child is reaped, and only before: nobody signals a stranger who got its
//!   number.
//! - Whoever reaps sets `ended`.

use std::fmt;
use std::io::{self, Read, Write};
use std::os::fd::OwnedFd;
use std::process::{ExitStatus, Output};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::keeper;
use crate::coroutine::current;
use crate::net::{PipeReader, PipeWriter};
use crate::runtime::Busy;
use crate::signal::Signal;
use crate::sync::select_expansion::Operation;
use crate::sync::{Event, Operand, Wait};
use crate::task::{Waiter, scope};

/// A process that [`Command::spawn`](super::Command::spawn) started: `std::process::Child`, whose waits let other tasks run.
///
/// Dropping the handle lets the child run on, unless it was started with
/// [`kill_on_drop`](super::Command::kill_on_drop). In any case it is reaped when it ends: nothing stays behind as a zombie,
/// whether somebody waits for it or not, and no runtime is needed for that.
///
/// [`wait`](crate::wait) takes it among tasks, events and the like; there it is ready when it has ended.
///
/// # Examples
/// ```
/// use osier::process::Command;
/// use std::time::Duration;
///
/// osier::run(|| {
///     let mut child = Command::new("sleep").arg("60").spawn()?;
///     assert!(child.wait_timeout(Duration::from_millis(10))?.is_none());
///     child.kill()?;
///     assert!(!child.wait()?.success());
///     Ok::<(), std::io::Error>(())
/// })?;
/// # Ok::<(), std::io::Error>(())
/// ```
pub struct Child {
    /// The child's input, if it is a pipe.
    pub stdin: Option<PipeWriter>,
    /// The child's output, if it is a pipe.
    pub stdout: Option<PipeReader>,
    /// The child's errors, if they go to a pipe.
    pub stderr: Option<PipeReader>,
    /// What has been read of both, by a `communicate` that was interrupted.
    read: [Vec<u8>; 2],
    process: Handle,
}

/// The process, with what its drop does.
struct Handle {
    process: Arc<Process>,
    kills_on_drop: bool,
}

impl Drop for Handle {
    fn drop(&mut self) {
        if self.kills_on_drop {
            // It fails if it has ended, and somebody else reaped it.
            _ = self.process.std().kill();
        }
    }
}

/// A process that the keeper does not know yet. If something fails, it is ended and reaped: nobody else would.
struct Begun<'a>(&'a Process);

impl Drop for Begun<'_> {
    fn drop(&mut self) {
        let mut std = self.0.std();
        _ = std.kill();
        // That holds the thread for the moment in which the system ends it.
        _ = std.wait();
    }
}

/// A process, as its handle and the keeper share it.
pub(super) struct Process {
    std: Mutex<std::process::Child>,
    id: u32,
    /// Set when it has ended and was reaped; also if nothing can be found out any more.
    ended: Event,
    /// Those who wait for it among other things, by the addresses of their waiters: their runtimes have something to wait for
    /// until it has ended.
    watched: Mutex<Vec<(usize, Busy)>>,
    /// Readable when it has ended; where the system has such a thing.
    pub(super) descriptor: Option<OwnedFd>,
}

impl Process {
    pub(super) fn new(std: std::process::Child, descriptor: Option<OwnedFd>) -> Arc<Self> {
        let id = std.id();
        Arc::new(Self { std: Mutex::new(std), id, ended: Event::new(), watched: Mutex::default(), descriptor })
    }

    fn std(&self) -> MutexGuard<'_, std::process::Child> {
        self.std.lock().unwrap_or_else(PoisonError::into_inner)
    }

    #[cfg(test)]
    pub(super) fn ended(&self) -> &Event {
        &self.ended
    }

    /// How it has ended, if it has; then it is reaped.
    pub(super) fn try_wait(&self) -> io::Result<Option<ExitStatus>> {
        let status = self.std().try_wait();
        if !matches!(status, Ok(None)) && !self.ended.is_set() {
            self.ended.set();
            // They are woken by now.
            let watched = std::mem::take(&mut *self.watched());
            drop(watched);
        }
        status
    }

    fn watched(&self) -> MutexGuard<'_, Vec<(usize, Busy)>> {
        self.watched.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Operand for Process {
    fn is_ready(&self) -> bool {
        self.ended.is_set()
    }

    unsafe fn watch(&self, waiter: *const Waiter) -> bool {
        // Under the lock from before it is entered: whoever sets the event afterwards finds the note as well.
        let mut watched = self.watched();
        // SAFETY: the caller's promise.
        let is_entered = unsafe { self.ended.raw().watch(waiter) };
        if is_entered {
            watched.push((waiter.addr(), Busy::begin()));
        }
        is_entered
    }

    fn unwatch(&self, waiter: &Waiter) {
        self.ended.raw().unwatch(waiter);
        let mut watched = self.watched();
        let place = watched.iter().position(|(address, _)| *address == std::ptr::from_ref(waiter).addr());
        let left = place.map(|place| watched.swap_remove(place));
        drop(watched);
        drop(left);
    }
}

impl Child {
    /// Starts what `command` says.
    pub(super) fn start(command: &mut std::process::Command, kills_on_drop: bool) -> io::Result<Self> {
        let mut std = command.spawn()?;
        let (stdin, stdout, stderr) = (std.stdin.take(), std.stdout.take(), std.stderr.take());
        let descriptor = keeper::descriptor_of(&std);
        let process = Process::new(std, descriptor);
        let begun = Begun(&process);
        let stdin = stdin.map(TryInto::try_into).transpose()?;
        let stdout = stdout.map(TryInto::try_into).transpose()?;
        let stderr = stderr.map(TryInto::try_into).transpose()?;
        keeper::keep(&process)?;
        std::mem::forget(begun);
        Ok(Self { stdin, stdout, stderr, read: Default::default(), process: Handle { process, kills_on_drop } })
    }

    /// Its number. When it has ended the number may be given to another process: send signals with
    /// [`signal`](Self::signal), which knows.
    pub fn id(&self) -> u32 {
        self.process.process.id
    }

    /// How it has ended, if it has: Python's `poll`. It never waits, and asks the system itself: a loop that calls it sees the
    /// end, whoever runs meanwhile.
    ///
    /// # Errors
    /// The system does not know it, since something else in this process has reaped it.
    pub fn try_wait(&mut self) -> io::Result<Option<ExitStatus>> {
        self.process.process.try_wait()
    }

    /// Closes its input, and waits for its end.
    ///
    /// # Suspends
    /// The calling task, or on a plain thread the thread.
    ///
    /// # Cancel safety
    /// Nothing is lost but the input, which is closed: it can be waited for again.
    ///
    /// # Errors
    /// As [`try_wait`](Self::try_wait).
    pub fn wait(&mut self) -> io::Result<ExitStatus> {
        drop(self.stdin.take());
        loop {
            // Without a deadline it has ended by now.
            if let Some(status) = self.wait_until(None)? {
                return Ok(status);
            }
        }
    }

    /// Waits for its end, for at most `timeout`. Does not close its input.
    ///
    /// # Suspends
    /// As [`wait`](Self::wait).
    ///
    /// # Cancel safety
    /// Nothing is lost.
    ///
    /// # Errors
    /// As [`try_wait`](Self::try_wait).
    pub fn wait_timeout(&mut self, timeout: Duration) -> io::Result<Option<ExitStatus>> {
        self.wait_until(current::now().checked_add(timeout))
    }

    /// Waits for its end, or until `deadline`. Does not close its input.
    ///
    /// # Suspends
    /// As [`wait`](Self::wait).
    ///
    /// # Cancel safety
    /// Nothing is lost.
    ///
    /// # Errors
    /// As [`try_wait`](Self::try_wait).
    pub fn wait_deadline(&mut self, deadline: Instant) -> io::Result<Option<ExitStatus>> {
        self.wait_until(Some(deadline))
    }

    fn wait_until(&self, deadline: Option<Instant>) -> io::Result<Option<ExitStatus>> {
        let process = &self.process.process;
        if let Some(status) = process.try_wait()? {
            return Ok(Some(status));
        }
        // The runtime has something to wait for.
        let _busy = Busy::begin();
        match deadline {
            Some(deadline) => _ = process.ended.wait_deadline(deadline),
            None => process.ended.wait(),
        }
        process.try_wait()
    }

    /// Kills it, if it has not ended. It is still to be waited for, if its end matters.
    ///
    /// # Errors
    /// As [`signal`](Self::signal).
    pub fn kill(&mut self) -> io::Result<()> {
        self.process.process.std().kill()
    }

    /// Sends it a signal; none if it has ended.
    ///
    /// # Errors
    /// The system refuses it.
    pub fn signal(&mut self, signal: Signal) -> io::Result<()> {
        let mut std = self.process.process.std();
        if std.try_wait()?.is_some() {
            return Ok(());
        }
        let id = libc::pid_t::try_from(std.id()).map_err(io::Error::other)?;
        // SAFETY: it takes no pointers; the number is the child's, which was not reaped.
        if unsafe { libc::kill(id, signal.as_raw()) } < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
    }

    /// Writes `input` to the child and closes its input, reads what it writes, all at once, and waits for its end. Streams
    /// that are no pipes are left alone.
    ///
    /// A child that ends, or closes its input, before it has read everything is no error.
    ///
    /// # Suspends
    /// As [`wait`](Self::wait). On a plain thread the default runtime helps.
    ///
    /// # Cancel safety
    /// What has been read is kept, and is part of what the next call gives. What was not written is lost: the input is
    /// closed.
    ///
    /// # Errors
    /// A pipe fails, or as [`try_wait`](Self::try_wait).
    ///
    /// # Examples
    /// ```
    /// use osier::process::Command;
    ///
    /// osier::run(|| {
    ///     let mut child = Command::new("sh").args(["-c", "cat; echo done >&2"]).spawn_piped()?;
    ///     let output = child.communicate(b"banana")?;
    ///     assert_eq!((output.stdout, output.stderr), (b"banana".to_vec(), b"done\n".to_vec()));
    ///     Ok::<(), std::io::Error>(())
    /// })?;
    /// # Ok::<(), std::io::Error>(())
    /// ```
    pub fn communicate(&mut self, input: &[u8]) -> io::Result<Output> {
        let Self { stdin, stdout, stderr, read: [output, errors], .. } = self;
        let stdin = stdin.take().filter(|_| !input.is_empty());
        let pump = |pipe: &mut Option<PipeReader>, to: &mut Vec<u8>| pipe.as_mut().map(|pipe| pipe.read_to_end(to));
        scope(|s| {
            let written = stdin.map(|stdin| s.spawn(move || feed(stdin, input)));
            let errors = stderr.is_some().then(|| s.spawn(move || pump(stderr, errors)));
            pump(stdout, output).transpose()?;
            errors.and_then(|errors| errors.join().unwrap_or(None)).transpose()?;
            written.map_or(Ok(()), |written| written.join().unwrap_or(Ok(())))
        })?;
        let status = self.wait()?;
        let [stdout, stderr] = std::mem::take(&mut self.read);
        Ok(Output { status, stdout, stderr })
    }

    /// Reads what the child writes, and waits for its end: [`communicate`](Self::communicate) without an input.
    ///
    /// # Suspends
    /// As [`communicate`](Self::communicate).
    ///
    /// # Cancel safety
    /// What has been read is lost, and the child runs on unless it is killed on drop.
    ///
    /// # Errors
    /// As [`communicate`](Self::communicate).
    pub fn wait_with_output(mut self) -> io::Result<Output> {
        self.communicate(&[])
    }
}

/// Writes all of `input`, unless nobody reads it.
fn feed(mut stdin: PipeWriter, input: &[u8]) -> io::Result<()> {
    match stdin.write_all(input) {
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        result => result,
    }
}

impl Wait for Child {
    fn __osier_wait(&self) -> Operation<'_> {
        Operation::of(&*self.process.process)
    }
}

impl fmt::Debug for Child {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let process = &self.process.process;
        f.debug_struct("Child").field("id", &process.id).field("ended", &process.ended.is_set()).finish_non_exhaustive()
    }
}
