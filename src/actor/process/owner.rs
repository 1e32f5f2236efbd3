//! The owner's side of an actor in another process: a task that passes on what comes to its mailbox.
//!
//! ```text
//!   mailbox ─→ feeder: encodes, with credit ─→ queue ─→ writer ─→ socket ─→ host
//!                       ▲ credit                ▲ answers, addresses
//!                       └────── the actor's task: reads frames ◄── socket ◄──┘
//! ```
//!
//! # Invariants
//! - At most [`WINDOW`] messages are on the way and not received by the actor; the others wait in the mailbox, so that its
//!   bound holds, and so that what was not sent is not lost with the process.
//! - The process has ended and was waited for when the actor's task ends, however that ends.

use std::io::{self, BufReader, Write};
use std::os::unix::net as std_net;
use std::process::{Child, ExitStatus};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use serde::Serialize;

use super::super::mailbox::Mailbox;
use super::border::{Border, Exit, MYSELF};
use crate::coroutine::unwind;
use crate::exception::{Report, raise, report};
use crate::net::UnixStream;
use crate::process::RemoteError;
use crate::process::host::{self, Frame, Kind, Plan, Started};
use crate::sync::{Semaphore, channel};
use crate::task;

/// How many messages are on the way at most.
const WINDOW: usize = 64;

/// What the host shall run: a registered name, and an argument.
pub(super) struct Call {
    pub(super) function: &'static str,
    pub(super) argument: Vec<u8>,
}

/// A process that runs an actor. Dropped, it is killed.
struct Host {
    child: Child,
    socket: Option<std_net::UnixStream>,
}

impl Host {
    /// Waits for the end of a process that is about to end by itself, and kills it if it is not. Blocks the thread.
    fn reap(mut self) -> io::Result<ExitStatus> {
        match self.socket.take() {
            Some(socket) => host::reap(&mut self.child, &socket),
            None => self.kill(),
        }
    }

    fn kill(&mut self) -> io::Result<ExitStatus> {
        _ = self.child.kill();
        self.child.wait()
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        // Of one that was waited for, the system's call is not made.
        _ = self.kill();
    }
}

/// Runs in the task that the address knows: starts the process, and ends as what runs there does.
pub(super) fn pass_on<M>(plan: &Plan, call: Result<Call, RemoteError>, inbox: &Mailbox<M>)
where
    M: Serialize + Send + 'static,
{
    let call = call.unwrap_or_else(|error| raise(error));
    if call.argument.len() > plan.limit {
        raise(RemoteError::TooLarge { bytes: call.argument.len(), limit: plan.limit });
    }
    let start = plan.clone();
    let started = task::unblock(move || {
        let Started { child, socket } = start.start()?;
        Ok(Host { child, socket: Some(socket) })
    });
    let mut host = started.unwrap_or_else(|error: RemoteError| raise(error));
    let Some(socket) = host.socket.take() else { unreachable!("it was started with one") };
    let socket = UnixStream::from_std(socket).unwrap_or_else(|error| raise(error));

    let (queue, frames) = channel::unbounded();
    let border = Border::new(inbox.name().clone(), plan.limit, Exit::Queue(queue));
    border.set_myself(inbox.addresses());
    let mut talk = Talk { border, inbox, socket, credit: Semaphore::new(WINDOW), sent: 0.into(), received: 0, lost: 0 };
    let ended = unwind::intercept(|| talk.hold(&call, &frames));

    let unread = talk.unread();
    let Talk { border, socket, .. } = talk;
    border.end();
    host.socket = socket.into_std().ok();
    // Of a process that is of no use any more, nobody waits for the end.
    let is_over = matches!(&ended, Ok(Ok(_)));
    let is_lost = matches!(&ended, Ok(Err(error)) if error.kind() == io::ErrorKind::UnexpectedEof);
    let status = task::shield(|| task::unblock(move || if is_over || is_lost { host.reap() } else { host.kill() }));
    if unread > 0 {
        report(&Report::DeadLetters { name: inbox.name(), count: unread });
    }
    match ended {
        Ok(Ok(last)) => end_as(&last),
        Ok(Err(_)) if is_lost => raise(status.map_or_else(RemoteError::NotStarted, RemoteError::Died)),
        Ok(Err(_)) => raise(RemoteError::Garbage),
        Err(payload) => unwind::throw(payload),
    }
}

/// Ends as the actor did in its process.
fn end_as(last: &Frame) {
    match last.kind {
        Kind::Value => {}
        Kind::Panicked => unwind::throw(Box::new(last.text())),
        Kind::Unknown => raise(RemoteError::Unknown { function: last.text() }),
        Kind::BadArgument => raise(RemoteError::Decode(last.text())),
        _ => raise(RemoteError::Raised(last.text())),
    }
}

/// What is said with the process, and what is known of the messages.
struct Talk<'a, M> {
    border: Arc<Border>,
    inbox: &'a Mailbox<M>,
    socket: UnixStream,
    /// A permit for each message that may be sent.
    credit: Semaphore,
    /// How many messages were sent.
    sent: AtomicU64,
    /// How many of them the actor has received, as far as is known.
    received: u64,
    /// How many of them do not decode.
    lost: u64,
}

impl<M: Serialize + Send + 'static> Talk<'_, M> {
    /// Talks until the actor has ended; gives how. An error if the process did not say so.
    fn hold(&mut self, call: &Call, frames: &channel::Receiver<Vec<u8>>) -> io::Result<Frame> {
        let mut first = Vec::with_capacity(call.argument.len() + call.function.len() + 7);
        host::put_call(&mut first, call.function, &call.argument)?;
        let (border, inbox) = (self.border.clone(), self.inbox);
        let (credit, sent) = (self.credit.clone(), &self.sent);
        let writes = self.socket.try_clone()?;
        let mut reader = BufReader::new(self.socket.try_clone()?);
        let (received, lost) = (&mut self.received, &mut self.lost);
        let limit = border.limit();
        task::scope(|scope| {
            let writer = scope.spawn_local(|| {
                // If the process is gone, the reader finds out why.
                let write = |bytes: &[u8]| (&writes).write_all(bytes).is_ok();
                _ = write(&first) && frames.iter().all(|bytes| write(&bytes));
            });
            let feeder = scope.spawn_local(|| feed(&border, inbox, &credit, sent));
            let ended = loop {
                if reader.buffer().is_empty() {
                    border.tell_settled();
                }
                let frame = match host::read(&mut reader, limit) {
                    Ok(Some(frame)) => frame,
                    Ok(None) => break Err(io::ErrorKind::UnexpectedEof.into()),
                    // It has died before it had read what was sent, or in the middle of a frame.
                    Err(error) if error.kind() == io::ErrorKind::ConnectionReset => {
                        break Err(io::ErrorKind::UnexpectedEof.into());
                    }
                    Err(error) => break Err(error),
                };
                let handled = match frame.kind {
                    Kind::Value | Kind::Panicked | Kind::Raised | Kind::Unknown | Kind::BadArgument => break Ok(frame),
                    Kind::Taken => frame.numbered().and_then(|(count, _)| take(&credit, received, count)),
                    Kind::Refused => refused(&border, &frame).map(|is_ours| {
                        if is_ours {
                            *lost += 1;
                            credit.release();
                        }
                    }),
                    _ => border.handle(&frame),
                };
                if let Err(error) = handled {
                    break Err(error);
                }
            };
            feeder.cancel();
            writer.cancel();
            ended
        })
    }

    /// How many messages were sent to the process and not received by the actor.
    fn unread(&self) -> usize {
        let sent = self.sent.load(Ordering::Relaxed);
        usize::try_from(sent.saturating_sub(self.received + self.lost)).unwrap_or(usize::MAX)
    }
}

/// Sends what comes to the mailbox, as long as there is credit; then says that it was closed.
fn feed<M: Serialize>(border: &Arc<Border>, inbox: &Mailbox<M>, credit: &Semaphore, sent: &AtomicU64) {
    let mut messages = inbox.iter();
    loop {
        // First the credit: what was received from the mailbox is sent at once.
        let permit = credit.hold();
        let Some(message) = messages.next() else { break };
        match border.post(MYSELF, &message) {
            Ok(()) => {
                permit.forget();
                sent.fetch_add(1, Ordering::Relaxed);
            }
            Err(Some(error)) => border.report(MYSELF, &error),
            Err(None) => return,
        }
    }
    border.send(Kind::Close, &[]);
}

/// Notes how many messages the actor has received.
fn take(credit: &Semaphore, received: &mut u64, count: u64) -> io::Result<()> {
    let more = count.checked_sub(*received).and_then(|more| usize::try_from(more).ok()).filter(|&more| more <= WINDOW);
    credit.release_many(more.ok_or(io::ErrorKind::InvalidData)?);
    *received = count;
    Ok(())
}

/// Does what is to be done about a message that does not decode. Whether it was sent to the actor.
pub(super) fn refused(border: &Border, frame: &Frame) -> io::Result<bool> {
    let (whom, rest) = frame.numbered()?;
    let (message, why) = rest.split_first_chunk().ok_or(io::ErrorKind::InvalidData)?;
    border.forget(u64::from_be_bytes(*message));
    border.report(whom, &RemoteError::Decode(String::from_utf8_lossy(why).into_owned()));
    Ok(whom == MYSELF)
}
