//! Where an actor's messages are sent to.

use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::error::{AskError, SendError};
use super::life::Life;
use super::reply::{self, Reply};
use crate::sync::channel::{SendTimeoutError, Sender, TrySendError};
use crate::sync::waiting::after;
use crate::task::{self, JoinError, Task};

/// Where messages to an actor are sent to: a handle, of which clones are the same address.
///
/// It is `Send` and `Sync`; any task and any thread may send.
pub struct Address<M> {
    name: Arc<str>,
    sender: Sender<M>,
    life: Life,
}

impl<M> Address<M> {
    pub(super) fn new(name: Arc<str>, sender: Sender<M>, life: Life) -> Self {
        Self { name, sender, life }
    }

    /// The name it was started with; "actor" if with none.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The task that runs the actor: to link closures to, and to watch. An actor of a [supervisor](super::Supervisor) has a
    /// new one after each restart; this is the newest. Of an address that has come from another process it is a task here,
    /// which passes messages on, and ends as the actor does, or with the last clone of the address.
    ///
    /// # Examples
    /// ```
    /// use osier::{actor, sync::channel};
    ///
    /// let (sender, receiver) = channel::bounded(1);
    /// let fragile = actor::start("fragile", |inbox| assert_ne!(inbox.recv(), 0))?;
    /// fragile.task().link(move |end| sender.send(end.is_err()).unwrap());
    /// fragile.send(0)?;
    /// assert!(receiver.recv()?, "it has panicked");
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn task(&self) -> Task {
        self.life.task()
    }

    /// Kills the actor, and waits until it has ended: it unwinds from the wait that it is in, or from its next one, and what
    /// is left in its mailbox are dead letters. One in another process is not asked: the process is killed.
    ///
    /// A supervisor counts that as a failure, and may start it again. To end an actor for good, [close](Self::close) it.
    ///
    /// # Suspends
    /// The calling task, or on a plain thread the thread. An actor that kills itself unwinds at once.
    ///
    /// # Cancel safety
    /// A caller that is cancelled unwinds from here; the actor stays asked to end.
    pub fn kill(&self) {
        self.life.kill();
    }

    /// Waits until the actor has ended, for good if it has a supervisor.
    ///
    /// # Suspends
    /// The calling task, or on a plain thread the thread.
    ///
    /// # Cancel safety
    /// Nothing is lost: the actor runs on, and may be joined again.
    ///
    /// # Errors
    /// It has failed, or was killed. Whoever asks counts as told.
    pub fn join(&self) -> Result<(), JoinError> {
        self.life.join(None)
    }

    /// Waits as [`join`](Self::join) does, for at most `timeout`.
    ///
    /// # Suspends
    /// As [`join`](Self::join).
    ///
    /// # Cancel safety
    /// As [`join`](Self::join).
    ///
    /// # Errors
    /// As [`join`](Self::join); or an error that [is a timeout](JoinError::is_timeout).
    pub fn join_timeout(&self, timeout: Duration) -> Result<(), JoinError> {
        self.life.join(after(timeout))
    }

    /// Waits as [`join`](Self::join) does, until `deadline`.
    ///
    /// # Suspends
    /// As [`join`](Self::join).
    ///
    /// # Cancel safety
    /// As [`join`](Self::join).
    ///
    /// # Errors
    /// As [`join_timeout`](Self::join_timeout).
    pub fn join_deadline(&self, deadline: Instant) -> Result<(), JoinError> {
        self.life.join(Some(deadline))
    }

    /// Queues `message` for the actor, behind those that were sent before. The actor never runs within this call.
    ///
    /// # Suspends
    /// Only if the mailbox is bounded, and full: then until there is room. Actors that wait for room in each other's
    /// mailboxes wait for ever; use [`try_send`](Self::try_send) where that may be.
    ///
    /// # Cancel safety
    /// A task that is cancelled while it waits for room has not sent the message, which is dropped.
    ///
    /// # Errors
    /// The actor has ended or was closed; or it sends to itself, and its mailbox is full. The message comes back.
    pub fn send(&self, message: M) -> Result<(), SendError<M>> {
        if self.sender.capacity().is_some() {
            task::spend();
        }
        match self.try_send(message) {
            Err(SendError::Full(message)) if !self.is_mine() => {
                self.sender.send(message).map_err(|refused| SendError::Closed(refused.into_inner()))
            }
            result => result,
        }
    }

    /// Queues `message` if there is room. Does not wait.
    ///
    /// # Errors
    /// The mailbox is full, or the actor has ended or was closed. The message comes back.
    pub fn try_send(&self, message: M) -> Result<(), SendError<M>> {
        self.sender.try_send(message).map_err(|refused| match refused {
            TrySendError::Full(message) => SendError::Full(message),
            TrySendError::Disconnected(message) => SendError::Closed(message),
        })
    }

    /// Queues `message`, waiting for room for at most `timeout`.
    ///
    /// # Suspends
    /// As [`send`](Self::send).
    ///
    /// # Cancel safety
    /// As [`send`](Self::send).
    ///
    /// # Errors
    /// As [`try_send`](Self::try_send), when the time is up.
    pub fn send_timeout(&self, message: M, timeout: Duration) -> Result<(), SendError<M>> {
        self.sender.send_timeout(message, timeout).map_err(too_late)
    }

    /// Queues `message`, waiting for room until `deadline`.
    ///
    /// # Suspends
    /// As [`send`](Self::send).
    ///
    /// # Cancel safety
    /// As [`send`](Self::send).
    ///
    /// # Errors
    /// As [`try_send`](Self::try_send), when the time is up.
    pub fn send_deadline(&self, message: M, deadline: Instant) -> Result<(), SendError<M>> {
        self.sender.send_deadline(message, deadline).map_err(too_late)
    }

    /// Sends the message that `f` makes of a [`Reply`], and waits for the answer.
    ///
    /// # Suspends
    /// The calling task, or on a plain thread the thread, until the actor has answered.
    ///
    /// # Cancel safety
    /// A caller that is cancelled has sent its message, or not; the answer is given back to the actor.
    ///
    /// # Errors
    /// The actor has ended or was closed; it ends, or drops the reply, without an answer; an actor asks itself.
    ///
    /// # Examples
    /// ```
    /// use osier::actor::{self, Reply};
    ///
    /// enum Message {
    ///     Add(u32),
    ///     Total(Reply<u32>),
    /// }
    ///
    /// let counter = actor::start("counter", |inbox| {
    ///     let mut total = 0;
    ///     for message in inbox {
    ///         match message {
    ///             Message::Add(n) => total += n,
    ///             Message::Total(reply) => _ = reply.send(total),
    ///         }
    ///     }
    /// })?;
    /// counter.send(Message::Add(40))?;
    /// counter.send(Message::Add(2))?;
    /// assert_eq!(counter.ask(Message::Total)?, 42);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn ask<R>(&self, f: impl FnOnce(Reply<R>) -> M) -> Result<R, AskError> {
        self.ask_until(None, f)
    }

    /// Asks as [`ask`](Self::ask) does, for at most `timeout` in all.
    ///
    /// # Suspends
    /// As [`ask`](Self::ask).
    ///
    /// # Cancel safety
    /// As [`ask`](Self::ask).
    ///
    /// # Errors
    /// As [`ask`](Self::ask); or the time is up.
    pub fn ask_timeout<R>(&self, timeout: Duration, f: impl FnOnce(Reply<R>) -> M) -> Result<R, AskError> {
        self.ask_until(after(timeout), f)
    }

    /// Asks as [`ask`](Self::ask) does, until `deadline`.
    ///
    /// # Suspends
    /// As [`ask`](Self::ask).
    ///
    /// # Cancel safety
    /// As [`ask`](Self::ask).
    ///
    /// # Errors
    /// As [`ask_timeout`](Self::ask_timeout).
    pub fn ask_deadline<R>(&self, deadline: Instant, f: impl FnOnce(Reply<R>) -> M) -> Result<R, AskError> {
        self.ask_until(Some(deadline), f)
    }

    fn ask_until<R>(&self, deadline: Option<Instant>, f: impl FnOnce(Reply<R>) -> M) -> Result<R, AskError> {
        if self.is_mine() {
            return Err(AskError::Myself);
        }
        let (reply, answer) = reply::pair();
        let message = f(reply);
        match deadline {
            None => self.sender.send(message).map_err(|_| AskError::Closed)?,
            Some(deadline) => self.sender.send_deadline(message, deadline).map_err(|refused| match refused {
                SendTimeoutError::Timeout(_) => AskError::Timeout,
                SendTimeoutError::Disconnected(_) => AskError::Closed,
            })?,
        }
        answer.wait(deadline)
    }

    /// Lets the actor receive what is queued, and no more: then it ends, and no supervisor starts it again. Sends are refused
    /// from now on. Does not wait: for that, [join](Self::join) it.
    pub fn close(&self) {
        self.life.note_close();
        self.sender.close();
    }

    /// Whether it was closed, or has ended.
    pub fn is_closed(&self) -> bool {
        self.sender.is_closed()
    }

    /// How many messages wait in its mailbox.
    pub fn len(&self) -> usize {
        self.sender.len()
    }

    /// Whether no message waits in its mailbox.
    pub fn is_empty(&self) -> bool {
        self.sender.is_empty()
    }

    /// Who runs the actor.
    pub(super) fn life(&self) -> &Life {
        &self.life
    }

    /// How many messages its mailbox holds, if it is bounded.
    #[cfg(feature = "processes")]
    pub(super) fn bound(&self) -> Option<usize> {
        self.sender.capacity()
    }

    /// Whether both lead to the same mailbox.
    #[cfg(feature = "processes")]
    pub(super) fn is_same(&self, other: &Self) -> bool {
        self.sender.same_channel(&other.sender)
    }

    /// Whether the caller is the actor itself.
    fn is_mine(&self) -> bool {
        task::try_current().is_some_and(|current| self.life.is_run_by(&current))
    }
}

fn too_late<M>(refused: SendTimeoutError<M>) -> SendError<M> {
    match refused {
        SendTimeoutError::Timeout(message) => SendError::Full(message),
        SendTimeoutError::Disconnected(message) => SendError::Closed(message),
    }
}

impl<M> Clone for Address<M> {
    fn clone(&self) -> Self {
        Self { name: self.name.clone(), sender: self.sender.clone(), life: self.life.clone() }
    }
}

impl<M> fmt::Debug for Address<M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Address").field("name", &self.name).field("len", &self.len()).finish_non_exhaustive()
    }
}
