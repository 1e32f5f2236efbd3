//! The host's side: an actor on a thread of its own, and a main thread that reads what is sent to it.
//!
//! # Invariants
//! - What is received from the actor's mailbox is counted, and the owner is told the count: soon, and at the latest when the
//!   mailbox is empty or the actor ends. So the owner knows what was not received, however this process ends.
//! - The last frame says how the actor has ended, after all that it has sent to others, and what has arrived at others here. The process ends when its owner closes the socket then.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use serde::de::DeserializeOwned;

use super::super::behaviour::{Actor, live};
use super::super::builder::Builder;
use super::super::mailbox::Mailbox;
use super::border::{Border, Exit, MYSELF};
use super::owner::refused;
use crate::coroutine::unwind::{self, Payload};
use crate::exception::{self, ExitKind, Leaving};
use crate::process::Hosting;
use crate::process::host::{Kind, Line};
use crate::task::JoinError;

/// How many received messages are told at once, if more come.
const BATCH: u64 = 16;

/// Serves an actor of the type `A`.
pub(super) fn serve_actor<A>(argument: &[u8], hosting: &Hosting) -> io::Result<()>
where
    A: Actor + DeserializeOwned + Send + 'static,
    A::Message: DeserializeOwned,
{
    match postcard::from_bytes::<A>(argument) {
        Ok(actor) => serve(hosting, move |inbox| live(actor, inbox)),
        Err(error) => hosting.line().say(Kind::BadArgument, &error.to_string()),
    }
}

/// Runs `body`, and passes on to it what the owner sends.
pub(super) fn serve<M>(hosting: &Hosting, body: impl FnOnce(&Mailbox<M>) + Send + 'static) -> io::Result<()>
where
    M: DeserializeOwned + Send + 'static,
{
    let line = hosting.line();
    let border = Border::new("actor".into(), line.limit(), Exit::Line(line));
    let received = Arc::new(Received::default());
    let (counts, sent) = (received.clone(), border.clone());
    let run = move |inbox: &Mailbox<M>| {
        let ended = unwind::intercept(|| exception::catch(|| body(inbox)));
        sent.flush();
        sent.tell_all_settled();
        counts.tell(line);
        let (kind, text) = ended_as(ended);
        line.set_idle();
        // If the owner is gone, this process ends.
        _ = line.say(kind, &text);
    };
    let counts = received.clone();
    let counter = move |waiting: usize| counts.add(line, waiting);
    let actor = Builder::new().thread().spawn_counted(counter, run);
    let known = actor.clone();
    border.set_myself(move || known.clone());
    let next = || {
        hosting.try_receive().or_else(|| {
            border.tell_settled();
            hosting.receive()
        })
    };
    while let Some(frame) = next() {
        match frame.kind {
            Kind::Post if frame.numbered()?.0 == MYSELF => {
                let (_, rest) = frame.numbered()?;
                let (message, bytes) = rest.split_first_chunk().ok_or(io::ErrorKind::InvalidData)?;
                match border.decode(bytes) {
                    // The owner counts those that come too late.
                    Ok(value) => _ = actor.try_send(value),
                    Err(why) => border.refuse(MYSELF, u64::from_be_bytes(*message), &why),
                }
            }
            Kind::Refused => _ = refused(&border, &frame)?,
            Kind::Close => actor.close(),
            _ => border.handle(&frame)?,
        }
    }
    Ok(())
}

/// What the last frame says.
fn ended_as(ended: Result<Result<(), exception::Exception>, Payload>) -> (Kind, String) {
    let error = match ended {
        Ok(Ok(())) => return (Kind::Value, String::new()),
        Ok(Err(exception)) => JoinError::raised(exception),
        Err(payload) if Leaving::of(&payload).is_some_and(|leaving| leaving.kind() == ExitKind::ActorClosed) => {
            return (Kind::Value, String::new());
        }
        Err(payload) => JoinError::from_payload(payload),
    };
    match (error.panic_text(), error.exception()) {
        (Some(text), _) => (Kind::Panicked, text.to_owned()),
        (None, Some(exception)) => (Kind::Raised, exception.to_string()),
        (None, None) => (Kind::Raised, error.to_string()),
    }
}

/// How many messages the actor has received, and of how many the owner was told.
#[derive(Default)]
struct Received {
    count: AtomicU64,
    told: AtomicU64,
}

impl Received {
    /// Counts one more; `waiting` are left. Called by the actor's thread alone.
    fn add(&self, line: &Line, waiting: usize) {
        let count = self.count.fetch_add(1, Ordering::Relaxed) + 1;
        if waiting == 0 || count - self.told.load(Ordering::Relaxed) >= BATCH {
            self.tell(line);
        }
    }

    fn tell(&self, line: &Line) {
        let count = self.count.load(Ordering::Relaxed);
        if self.told.swap(count, Ordering::Relaxed) != count {
            // If the owner is gone, this process ends.
            _ = line.send(Kind::Taken, &[&count.to_be_bytes()]);
        }
    }
}
