//! Addresses of actors on the other side. Actors of this side whose addresses were sent there are in `exported`.
//!
//! ```text
//!   here: Address ─→ mailbox ─→ relay ── Post ──────────────→ the actor's mailbox, or a backlog for it
//!                               ▲ credit ◄── Settled ────────┘ how many have arrived, and how many were received
//!   close, kill ────────────────┼── CloseThat, Kill ────────→ the same calls
//!   the relay ends ◄────────────┴── Closed, Gone ◄─────────── its end, which Watch has asked for
//! ```
//!
//! # Invariants
//! - At most [`WINDOW`] messages to an address are on the way and not arrived; the others wait in the relay's mailbox, which
//!   has the bound of the actor's own, so that a sender waits, or is refused, as there.
//! - What was sent and not received when nothing crosses any more is reported as dead letters, once. The other side tells of up
//!   to 16 received messages late: so it may be too many, and not too few.
//! - A relay ends as the actor has that it stands for, unless its address is dropped before. So joins, monitors and links
//!   need to know nothing of processes.
//! - Whoever reads frames never waits for an actor: what a full mailbox has no room for is queued for it.
//! - An address that comes back to where its actor lives is the actor's own there, not one of a relay of a relay.

use std::io;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize};

use super::super::address::Address;
use super::super::builder::Builder;
use super::super::life::Life;
use super::super::mailbox::Mailbox;
use super::border::{Border, Crossing, MYSELF, crossing};
use crate::coroutine::unwind;
use crate::exception::{ExitKind, Leaving, Report, raise, report};
use crate::process::RemoteError;
use crate::process::host::Kind;
use crate::sync::{Event, Semaphore};
use crate::task::JoinError;

/// How many messages to one address are on the way at most.
const WINDOW: usize = 64;

/// The largest bound of a relay's mailbox: it is only a part of the queue, and the other side says how large it is.
const RELAY: usize = 1024;

/// What is added to the number of an address that goes back to the side that has given it.
pub(super) const YOURS: u64 = 1 << 63;

/// What is known here of an actor of the other side.
pub(in crate::actor) struct Afar {
    pub(super) border: Arc<Border>,
    pub(super) number: u64,
    name: Arc<str>,
    /// A permit for each message that may be sent.
    credit: Semaphore,
    /// Closes the relay's mailbox.
    close: OnceLock<Box<dyn Fn() + Send + Sync>>,
    state: Mutex<State>,
    /// Set when the relay has sent on all that it will.
    pub(super) is_done: Event,
    /// Set when the actor has ended, or nothing is known of it any more.
    pub(super) has_ended: Event,
}

#[derive(Default)]
pub(super) struct State {
    /// How many messages were sent, how many of them have arrived, and how many of these the actor has received.
    sent: u64,
    arrived: u64,
    received: u64,
    /// Whether those that were not received have been reported: nothing crosses any more.
    is_counted: bool,
    /// Whether it was closed by an address of this side.
    is_closed_here: bool,
    /// Whether it was closed on its own side.
    pub(super) is_closed_there: bool,
    /// Whether no address of this side is left.
    is_released: bool,
    /// How it has ended.
    end: Option<End>,
}

impl State {
    /// How many messages were sent and not received, as far as is known.
    fn unread(&self) -> u64 {
        self.sent - self.received
    }

    /// Counts one message less as sent. True if it was reported as lost before.
    fn take_back(&mut self) -> bool {
        if !self.is_counted {
            self.sent -= 1;
        }
        self.is_counted
    }
}

/// How an actor of the other side has ended.
#[derive(Debug, PartialEq)]
pub(super) enum End {
    Well,
    Panicked(String),
    Raised(String),
    Killed,
    /// With its process.
    Lost,
}

impl End {
    const WELL: u8 = 0;
    const PANICKED: u8 = 1;
    const RAISED: u8 = 2;
    const KILLED: u8 = 3;

    /// What is sent of how an actor has ended.
    pub(super) fn code(error: Option<&JoinError>) -> (u8, String) {
        let Some(error) = error else { return (Self::WELL, String::new()) };
        match (error.panic_text(), error.exception()) {
            (Some(text), _) => (Self::PANICKED, text.to_owned()),
            (None, Some(exception)) => (Self::RAISED, exception.to_string()),
            (None, None) if error.is_cancelled() => (Self::KILLED, String::new()),
            (None, None) => (Self::RAISED, error.to_string()),
        }
    }

    pub(super) fn of(code: u8, text: &[u8]) -> Option<Self> {
        let text = || String::from_utf8_lossy(text).into_owned();
        Some(match code {
            Self::WELL => Self::Well,
            Self::PANICKED => Self::Panicked(text()),
            Self::RAISED => Self::Raised(text()),
            Self::KILLED => Self::Killed,
            _ => return None,
        })
    }

    /// Ends the relay likewise.
    fn repeat(self) {
        match self {
            Self::Well => {}
            Self::Panicked(text) => unwind::throw(Box::new(text)),
            Self::Raised(text) => raise(RemoteError::Raised(text)),
            Self::Killed => Leaving::of_task(ExitKind::Cancel).throw(),
            Self::Lost => raise(RemoteError::Lost),
        }
    }
}

impl Afar {
    pub(super) fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn name(&self) -> &str {
        &self.name
    }

    pub(super) fn close_mailbox(&self) {
        if let Some(close) = self.close.get() {
            close();
        }
    }

    /// Notes that an address of this side is about to close it: the relay passes that on behind what is queued.
    pub(in crate::actor) fn note_close(&self) {
        self.state().is_closed_here = true;
    }

    /// Asks the other side to kill it, and waits until it has ended.
    pub(in crate::actor) fn kill(&self) {
        if let Some(killed) = self.ask_to_end() {
            killed.wait();
        }
    }

    /// Asks the other side to kill it. Gives what is set when it has ended, if anything crosses.
    pub(in crate::actor) fn ask_to_end(&self) -> Option<Event> {
        struct SetOnDrop(Event);
        impl Drop for SetOnDrop {
            fn drop(&mut self) {
                self.0.set();
            }
        }
        let killed = Event::new();
        let sets = SetOnDrop(killed.clone());
        let question = self.border.ask(move |_, _| drop(sets))?;
        self.border.send(Kind::Kill, &[&self.number.to_be_bytes(), &question.to_be_bytes()]);
        Some(killed)
    }

    /// Sends on what comes, and ends as the actor does.
    fn relay<M: Serialize + Send + 'static>(&self, inbox: &Mailbox<M>) {
        self.send_on(inbox);
        self.is_done.set();
        let State { is_closed_here, is_closed_there, .. } = *self.state();
        if is_closed_here {
            self.border.send_number(Kind::CloseThat, self.number);
        }
        if is_closed_here || is_closed_there {
            self.has_ended.wait();
        }
        let end = self.state().end.take();
        if let Some(end) = end {
            end.repeat();
        }
    }

    /// Sends on what comes, as long as there is credit, until the mailbox is closed and empty or the actor has ended.
    fn send_on<M: Serialize + Send + 'static>(&self, inbox: &Mailbox<M>) {
        let mut messages = inbox.iter();
        loop {
            // First the credit: what was received from the mailbox is sent at once.
            let permit = self.credit.hold();
            if self.has_ended.is_set() {
                return;
            }
            let Some(message) = messages.next() else { return };
            self.state().sent += 1;
            let Err(error) = self.border.post(self.number, &message) else {
                permit.forget();
                continue;
            };
            // Perhaps it has been reported already, among all that were lost.
            let was_counted = self.state().take_back();
            match error {
                Some(error) if !was_counted => report(&Report::Undelivered { name: &self.name, error: &error }),
                Some(_) => {}
                None if !was_counted => return report(&Report::DeadLetters { name: &self.name, count: 1 }),
                None => return,
            }
        }
    }

    /// Notes how many messages have arrived, and how many were received. True if it needs not be known any more.
    pub(super) fn settle(&self, arrived: u64, received: u64) -> io::Result<bool> {
        let mut state = self.state();
        let is_possible = arrived <= state.sent && received <= arrived && received >= state.received;
        let more = arrived.checked_sub(state.arrived).filter(|_| is_possible);
        let more = more.and_then(|more| usize::try_from(more).ok()).ok_or(io::ErrorKind::InvalidData)?;
        (state.arrived, state.received) = (arrived, received);
        let is_over = state.is_released && state.unread() == 0;
        drop(state);
        self.credit.release_many(more);
        Ok(is_over)
    }

    pub(super) fn ended(&self, end: End) {
        self.state().end.get_or_insert(end);
        self.has_ended.set();
        self.close_mailbox();
        // The relay may wait for it.
        self.credit.release();
    }

    /// Nothing crosses any more.
    pub(super) fn is_lost(&self) {
        self.ended(End::Lost);
        let mut state = self.state();
        state.is_counted = true;
        let count = usize::try_from(state.unread()).unwrap_or(usize::MAX);
        drop(state);
        if count > 0 {
            report(&Report::DeadLetters { name: &self.name, count });
        }
    }
}

impl Border {
    pub(super) fn afar(&self, number: u64) -> Option<Arc<Afar>> {
        self.entries().relays.get(&number).cloned()
    }
}

/// Ends the use of an address of the other side.
struct ReleaseOnDrop(Arc<Afar>);

impl Drop for ReleaseOnDrop {
    fn drop(&mut self) {
        let afar = &self.0;
        afar.is_done.set();
        let mut state = afar.state();
        state.is_released = true;
        let is_over = state.unread() == 0;
        drop(state);
        if is_over {
            let known = afar.border.entries().relays.remove(&afar.number);
            drop(known);
        }
        afar.border.send_number(Kind::Release, afar.number);
    }
}

impl<'de, M: Serialize + Send + 'static> Deserialize<'de> for Address<M> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let (number, name, bound) = <(u64, String, Option<u64>)>::deserialize(deserializer)?;
        let Some(Crossing { border, .. }) = crossing() else {
            return Err(D::Error::custom("an address arrives only in a message from another process"));
        };
        if number == MYSELF {
            let myself = border.myself();
            return myself.ok_or_else(|| D::Error::custom("the actor receives messages of another type"));
        }
        if number & YOURS != 0
            && let Some(target) = border.target(number & !YOURS)
        {
            let own = target.address().downcast().map(|own| *own);
            return own.map_err(|_| D::Error::custom("the actor receives messages of another type"));
        }
        let name: Arc<str> = name.into();
        let afar = Arc::new(Afar {
            border: border.clone(),
            number,
            name: name.clone(),
            credit: Semaphore::new(WINDOW),
            close: OnceLock::new(),
            state: Mutex::default(),
            is_done: Event::new(),
            has_ended: Event::new(),
        });
        let mut builder = Builder::new();
        if let Some(bound) = bound {
            builder = builder.mailbox(usize::try_from(bound).unwrap_or(RELAY).min(RELAY));
        }
        let (sender, residence) = builder.residence(name.clone(), None);
        _ = afar.close.set(Box::new(residence.mailbox().closes()));
        let (release, label) = (ReleaseOnDrop(afar.clone()), residence.label());
        let body = move |inbox: &Mailbox<M>| release.0.relay(inbox);
        let task = builder.run(&label, move || residence.live(body)).map_err(D::Error::custom)?;
        // The other side knows of a failure; who holds the address is told, and nobody else.
        task.raw().observe();
        let mut entries = border.entries();
        // Or it is one of this side that has come back, and whose actor has ended meanwhile.
        let is_over = entries.is_over || number & YOURS != 0;
        let unused = if is_over { None } else { entries.relays.insert(number, afar.clone()) };
        drop(entries);
        drop(unused);
        if is_over {
            afar.ended(End::Lost);
        }
        border.send_number(Kind::Watch, number);
        Ok(Self::new(name, sender, Life::Abroad(task, afar)))
    }
}

#[cfg(test)]
mod tests {
    use super::State;

    #[test]
    fn what_was_counted_as_lost_is_reported_once() {
        let mut state = State { sent: 3, received: 1, ..State::default() };
        // One that was not sent after all is reported by whoever has tried.
        assert!(!state.take_back());
        assert_eq!(state.unread(), 1);
        state.is_counted = true;
        assert!(state.take_back());
        assert_eq!(state.unread(), 1);
    }
}
