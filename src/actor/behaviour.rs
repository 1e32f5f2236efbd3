//! Actors as values: a state, and what it does with a message.

use std::cell::Cell;
use std::fmt;

use super::address::Address;
use super::mailbox::Mailbox;
use crate::coroutine::unwind::{self, Payload};
use crate::exception::{ExitKind, Leaving};
use crate::task;

/// A state that messages change: an actor without a loop of its own.
///
/// The closure form, [`start`](super::start), is for those that receive in several places; this one is for those that do
/// one thing with each message, and for what supervisors start again. [`Builder::start_actor`](super::Builder::start_actor)
/// runs it: as a task, on a thread, or in another process.
///
/// All three calls are made by the actor's own task, one at a time, and may wait.
///
/// # Examples
/// ```
/// use osier::actor::{Actor, Builder, Context, Reply};
///
/// #[derive(Default)]
/// struct Counter {
///     total: u32,
/// }
///
/// enum Message {
///     Add(u32),
///     Total(Reply<u32>),
/// }
///
/// impl Actor for Counter {
///     type Message = Message;
///
///     fn receive(&mut self, message: Message, _context: &Context<'_, Message>) {
///         match message {
///             Message::Add(n) => self.total += n,
///             Message::Total(reply) => _ = reply.send(self.total),
///         }
///     }
/// }
///
/// let counter = Builder::new().spawn_actor(Counter::default());
/// counter.send(Message::Add(40))?;
/// counter.send(Message::Add(2))?;
/// assert_eq!(counter.ask(Message::Total)?, 42);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub trait Actor {
    /// What it receives.
    type Message: Send + 'static;

    /// Is called once, before the first message.
    fn started(&mut self, context: &Context<'_, Self::Message>) {
        _ = context;
    }

    /// Does what `message` asks for. A panic or an exception that leaves it ends the actor.
    fn receive(&mut self, message: Self::Message, context: &Context<'_, Self::Message>);

    /// Is called once, at the end, also when `started` or `receive` has failed. It may wait: nothing interrupts it.
    ///
    /// Not when it never ran, nor in another process that is killed or dies.
    fn stopped(&mut self, why: Stop, context: &Context<'_, Self::Message>) {
        _ = (why, context);
    }
}

/// Why an actor ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Stop {
    /// It was [closed](Address::close), and has received all.
    Closed,
    /// It has asked for it itself, by [`Context::stop`].
    Asked,
    /// A panic or an exception has left it.
    Failed,
    /// It was killed, or the runtime shuts down.
    Killed,
}

/// What an [`Actor`] knows of itself.
pub struct Context<'a, M> {
    mailbox: &'a Mailbox<M>,
    is_stopping: Cell<bool>,
}

impl<'a, M> Context<'a, M> {
    /// The actor's address, to be given to others.
    pub fn address(&self) -> Address<M> {
        self.mailbox.address()
    }

    /// The actor's mailbox: to receive further messages before this one is done with.
    pub fn mailbox(&self) -> &'a Mailbox<M> {
        self.mailbox
    }

    /// Ends the actor after this message. What waits in its mailbox are dead letters.
    pub fn stop(&self) {
        self.is_stopping.set(true);
    }
}

impl<M> fmt::Debug for Context<'_, M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Context").field("mailbox", &self.mailbox).finish_non_exhaustive()
    }
}

/// Lets `actor` receive from `mailbox` until it ends.
pub(super) fn live<A: Actor>(mut actor: A, mailbox: &Mailbox<A::Message>) {
    let context = Context { mailbox, is_stopping: Cell::new(false) };
    let lived = unwind::intercept(|| {
        actor.started(&context);
        let mut messages = mailbox.iter();
        while !context.is_stopping.get() {
            let Some(message) = messages.next() else { return };
            actor.receive(message, &context);
        }
    });
    let why = match &lived {
        Ok(()) if context.is_stopping.get() => Stop::Asked,
        Ok(()) => Stop::Closed,
        Err(payload) => reason_of(payload),
    };
    // Its own failure is the actor's, if there was none before.
    let stopped = unwind::intercept(|| task::shield(|| actor.stopped(why, &context)));
    match (lived, stopped) {
        (Ok(()), Ok(())) => {}
        (Err(payload), Err(second)) => {
            unwind::drop_quietly(second);
            unwind::throw(payload)
        }
        (Err(payload), Ok(())) | (Ok(()), Err(payload)) => unwind::throw(payload),
    }
}

fn reason_of(payload: &Payload) -> Stop {
    if Leaving::of(payload).is_some_and(|leaving| leaving.kind() == ExitKind::ActorClosed) {
        return Stop::Closed;
    }
    if Leaving::of(payload).is_some() { Stop::Killed } else { Stop::Failed }
}
