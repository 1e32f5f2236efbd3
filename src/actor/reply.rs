//! The way back for one answer.

use std::fmt;
#[cfg(feature = "processes")]
use std::sync::Arc;
use std::time::Instant;

use super::error::AskError;
use crate::sync::channel::{self, Receiver, RecvTimeoutError, Sender};

/// The right to answer a question, once: see [`Address::ask`](super::Address::ask).
///
/// Dropped without an answer, it tells the asker that none will come.
#[must_use = "whoever asked waits for the answer; dropping the reply is an error for them"]
pub struct Reply<R> {
    way: Way<R>,
}

/// Where the answer goes.
pub(super) enum Way<R> {
    Here(Sender<Result<R, AskError>>),
    /// To another process.
    #[cfg(feature = "processes")]
    Abroad(Arc<dyn Abroad<R> + Send + Sync>),
}

/// The way of an answer to another process. Dropped unused, it says that none will come.
#[cfg(feature = "processes")]
pub(super) trait Abroad<R> {
    fn answer(&self, answer: R) -> Result<(), R>;
    fn fail(&self, error: AskError);
}

impl<R> Way<R> {
    pub(super) fn answer(&self, answer: R) -> Result<(), R> {
        match self {
            Self::Here(sender) => sender.try_send(Ok(answer)).map_err(|refused| match refused.into_inner() {
                Ok(answer) => answer,
                Err(_) => unreachable!("an answer was sent"),
            }),
            #[cfg(feature = "processes")]
            Self::Abroad(way) => way.answer(answer),
        }
    }

    /// Says why there is no answer.
    #[cfg(feature = "processes")]
    pub(super) fn fail(&self, error: AskError) {
        match self {
            // Whoever does not wait any more need not know.
            Self::Here(sender) => _ = sender.try_send(Err(error)),
            Self::Abroad(way) => way.fail(error),
        }
    }
}

#[cfg(feature = "processes")]
impl<R> Clone for Way<R> {
    fn clone(&self) -> Self {
        match self {
            Self::Here(sender) => Self::Here(sender.clone()),
            Self::Abroad(way) => Self::Abroad(way.clone()),
        }
    }
}

impl<R> Reply<R> {
    #[cfg(feature = "processes")]
    pub(super) fn by(way: Way<R>) -> Self {
        Self { way }
    }

    #[cfg(feature = "processes")]
    pub(super) fn way(&self) -> &Way<R> {
        &self.way
    }

    /// Gives the answer. Does not wait.
    ///
    /// # Errors
    /// Nobody waits for it any more: the asker's time was up, or it was cancelled; or it cannot be sent to the asker's
    /// process. The answer comes back.
    pub fn send(self, answer: R) -> Result<(), R> {
        self.way.answer(answer)
    }
}

impl<R> fmt::Debug for Reply<R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Reply").finish_non_exhaustive()
    }
}

/// What waits for the answer.
pub(super) struct Answer<R> {
    receiver: Receiver<Result<R, AskError>>,
}

pub(super) fn pair<R>() -> (Reply<R>, Answer<R>) {
    let (sender, receiver) = channel::bounded(1);
    (Reply { way: Way::Here(sender) }, Answer { receiver })
}

impl<R> Answer<R> {
    pub(super) fn wait(self, deadline: Option<Instant>) -> Result<R, AskError> {
        let Some(deadline) = deadline else {
            return self.receiver.recv().unwrap_or(Err(AskError::NoReply));
        };
        self.receiver.recv_deadline(deadline).unwrap_or_else(|error| match error {
            RecvTimeoutError::Timeout => Err(AskError::Timeout),
            RecvTimeoutError::Disconnected => Err(AskError::NoReply),
        })
    }
}
