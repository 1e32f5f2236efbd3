//! The way back for one answer.

use std::fmt;
use std::time::Instant;

use super::error::AskError;
use crate::sync::channel::{self, Receiver, RecvTimeoutError, Sender};

/// The right to answer a question, once: see [`Address::ask`](super::Address::ask).
///
/// Dropped without an answer, it tells the asker that none will come.
#[must_use = "whoever asked waits for the answer; dropping the reply is an error for them"]
pub struct Reply<R> {
    sender: Sender<R>,
}

impl<R> Reply<R> {
    /// Gives the answer. Does not wait.
    ///
    /// # Errors
    /// Nobody waits for it any more: the asker's time was up, or it was cancelled. The answer comes back.
    pub fn send(self, answer: R) -> Result<(), R> {
        self.sender.try_send(answer).map_err(channel::TrySendError::into_inner)
    }
}

impl<R> fmt::Debug for Reply<R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Reply").finish_non_exhaustive()
    }
}

/// What waits for the answer.
pub(super) struct Answer<R> {
    receiver: Receiver<R>,
}

pub(super) fn pair<R>() -> (Reply<R>, Answer<R>) {
    let (sender, receiver) = channel::bounded(1);
    (Reply { sender }, Answer { receiver })
}

impl<R> Answer<R> {
    pub(super) fn wait(self, deadline: Option<Instant>) -> Result<R, AskError> {
        let Some(deadline) = deadline else {
            return self.receiver.recv().map_err(|_| AskError::NoReply);
        };
        self.receiver.recv_deadline(deadline).map_err(|error| match error {
            RecvTimeoutError::Timeout => AskError::Timeout,
            RecvTimeoutError::Disconnected => AskError::NoReply,
        })
    }
}
