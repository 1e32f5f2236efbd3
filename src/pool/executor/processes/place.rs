//! A place: a thread's host, how it is asked, and how others find it to kill it.
//!
//! # Invariants
//! - A host is started, asked and reaped by its place's thread alone.
//! - A child is taken out of its seat before it is reaped, and killed under the seat's lock: nobody kills a stranger who got
//!   its number.

use std::io::{self, Write};
use std::os::unix::net::UnixStream;
use std::process::{Child, ExitStatus};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::failure;
use super::handle::Inner;
use crate::process::host::{self, Frame, Kind, RemoteError, Started};
use crate::task::JoinError;

/// What a job gives: its value, encoded.
pub(super) type Answer = Result<Vec<u8>, JoinError>;

/// What a thread does, with its place.
pub(super) type Work = Box<dyn FnOnce(&mut Place) + Send>;

/// What a thread has: the host that it talks to.
pub(super) struct Place {
    inner: Arc<Inner>,
    pub(super) seat: Arc<Seat>,
    /// Empty while there is no host.
    socket: Option<UnixStream>,
}

/// Where others find a thread's host, to kill it.
#[derive(Default)]
pub(super) struct Seat(Mutex<SeatState>);

#[derive(Default)]
struct SeatState {
    /// Counts the pieces of work.
    turn: u64,
    is_working: bool,
    /// Taken out by the thread before it reaps it, so that nobody kills a stranger who got its number.
    child: Option<Child>,
}

impl Seat {
    /// The number of the host's process, if there is one.
    pub(super) fn id(&self) -> Option<u32> {
        self.state().child.as_ref().map(Child::id)
    }

    fn state(&self) -> MutexGuard<'_, SeatState> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Kills the host, if it works for that turn still, or for whichever.
    pub(super) fn kill(&self, turn: Option<u64>) {
        let mut state = self.state();
        if turn.is_none_or(|turn| state.is_working && state.turn == turn)
            && let Some(child) = &mut state.child
        {
            // It fails if it has ended already.
            _ = child.kill();
        }
    }
}

impl Place {
    pub(super) fn new(inner: Arc<Inner>) -> Self {
        Self { inner, seat: Arc::default(), socket: None }
    }

    /// Lets `f` work, with a number for which the host can be killed meanwhile.
    pub(super) fn take_turn(&mut self, f: impl FnOnce(&mut Self, u64)) {
        let turn = {
            let mut state = self.seat.state();
            state.turn += 1;
            state.is_working = true;
            state.turn
        };
        f(self, turn);
        self.seat.state().is_working = false;
    }

    /// Lets hosts run the function with these arguments, one after the other, and tells `each` what came of each.
    pub(super) fn call(
        &mut self,
        name: &str,
        arguments: &[Vec<u8>],
        is_stopped: &AtomicBool,
        mut each: impl FnMut(usize, Answer),
    ) {
        let mut done = 0;
        while done < arguments.len() {
            // SeqCst: set before the hosts are killed that there are; so either this sees it, or the kill sees our host.
            let is_over = |inner: &Inner| is_stopped.load(Ordering::SeqCst) || inner.is_killed.load(Ordering::SeqCst);
            let has_host = self.ensure_host();
            if is_over(&self.inner) {
                return (done..arguments.len()).for_each(|index| each(index, Err(JoinError::cancelled())));
            }
            if let Err(error) = has_host {
                let error = failure(error);
                return (done..arguments.len()).for_each(|index| each(index, Err(error.clone())));
            }
            let end = self.converse(name, &arguments[done..], |result| {
                each(done, result);
                done += 1;
            });
            if let Err(reason) = end {
                let error = self.lose(reason);
                each(done, Err(if is_over(&self.inner) { JoinError::cancelled() } else { error }));
                done += 1;
            }
        }
    }

    /// Starts a host if there is none that lives.
    fn ensure_host(&mut self) -> Result<(), RemoteError> {
        let has_ended = |child: &mut Child| !matches!(child.try_wait(), Ok(None));
        if self.socket.is_some() && self.seat.state().child.as_mut().is_none_or(has_ended) {
            self.dismiss();
        }
        if self.socket.is_none() {
            let Started { child, socket } = self.inner.plan.start()?;
            self.seat.state().child = Some(child);
            self.socket = Some(socket);
        }
        Ok(())
    }

    /// Sends the calls, and reads an answer to each. An error if the host is of no use any more.
    fn converse(&mut self, name: &str, arguments: &[Vec<u8>], mut each: impl FnMut(Answer)) -> Result<(), io::Error> {
        let socket = self.socket.as_mut().expect("there is a host");
        let mut calls = Vec::with_capacity(arguments.iter().map(|argument| argument.len() + name.len() + 7).sum());
        for argument in arguments {
            host::put_call(&mut calls, name, argument)?;
        }
        // The host reads all the time, so this waits for no answer. If the host is gone, the reads find out.
        _ = socket.write_all(&calls);
        for _ in arguments {
            let frame = host::read(socket, self.inner.plan.limit)?.ok_or(io::ErrorKind::UnexpectedEof)?;
            each(answer(frame, self.inner.plan.limit)?);
        }
        Ok(())
    }

    /// Gets rid of a host, and says why its job has failed.
    fn lose(&mut self, reason: io::Error) -> JoinError {
        let is_garbage = reason.kind() == io::ErrorKind::InvalidData;
        if is_garbage {
            self.seat.kill(None);
        }
        match self.dismiss() {
            _ if is_garbage => failure(RemoteError::Garbage),
            Some(Ok(status)) => failure(RemoteError::Died(status)),
            Some(Err(error)) => failure(RemoteError::NotStarted(error)),
            None => JoinError::cancelled(),
        }
    }

    /// Ends the host, if there is one, and waits for it.
    fn dismiss(&mut self) -> Option<io::Result<ExitStatus>> {
        let socket = self.socket.take()?;
        let mut child = self.seat.state().child.take()?;
        Some(host::reap(&mut child, &socket))
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.dismiss();
    }
}

/// What a host's answer says of its job. An error if it is none.
fn answer(frame: Frame, limit: usize) -> io::Result<Answer> {
    let error = match frame.kind {
        Kind::Value => return Ok(Ok(frame.body)),
        Kind::Panicked => return Ok(Err(JoinError::panicked(Box::new(frame.text())))),
        Kind::Raised => RemoteError::Raised(frame.text()),
        Kind::Unknown => RemoteError::Unknown { function: frame.text() },
        Kind::BadArgument => RemoteError::Decode(frame.text()),
        Kind::BadValue => RemoteError::Encode(frame.text()),
        Kind::TooLarge => {
            let (bytes, _) = frame.numbered()?;
            RemoteError::TooLarge { bytes: usize::try_from(bytes).unwrap_or(usize::MAX), limit }
        }
        _ => return Err(io::ErrorKind::InvalidData.into()),
    };
    Ok(Err(failure(error)))
}
