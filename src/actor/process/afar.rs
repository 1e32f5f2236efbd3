//! Addresses of actors on the other side, and actors of this side whose addresses were sent there.
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

use std::any::Any;
use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use serde::de::{DeserializeOwned, Error as _};
use serde::ser::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::super::address::Address;
use super::super::builder::Builder;
use super::super::error::SendError;
use super::super::life::{Life, Told, Watch};
use super::super::mailbox::Mailbox;
use super::border::{Border, Crossing, MYSELF, crossing};
use super::receipts::{Receipts, Settled};
use crate::coroutine::unwind;
use crate::exception::{ExitKind, Leaving, Report, raise, report};
use crate::process::RemoteError;
use crate::process::host::{HEAD, Kind};
use crate::sync::channel::{self, Sender};
use crate::sync::{Event, Semaphore};
use crate::task::{self, JoinError};

/// How many messages to one address are on the way at most.
const WINDOW: usize = 64;

/// The largest bound of a relay's mailbox: it is only a part of the queue, and the other side says how large it is.
const RELAY: usize = 1024;

/// What is added to the number of an address that goes back to the side that has given it.
const YOURS: u64 = 1 << 63;

// ---- actors of the other side

/// What is known here of an actor of the other side.
pub(in crate::actor) struct Afar {
    border: Arc<Border>,
    number: u64,
    name: Arc<str>,
    /// A permit for each message that may be sent.
    credit: Semaphore,
    /// Closes the relay's mailbox.
    close: OnceLock<Box<dyn Fn() + Send + Sync>>,
    state: Mutex<State>,
    /// Set when the relay has sent on all that it will.
    is_done: Event,
    /// Set when the actor has ended, or nothing is known of it any more.
    has_ended: Event,
}

#[derive(Default)]
struct State {
    /// How many messages were sent, how many of them have arrived, and how many of these the actor has received.
    sent: u64,
    arrived: u64,
    received: u64,
    /// Whether those that were not received have been reported: nothing crosses any more.
    is_counted: bool,
    /// Whether it was closed by an address of this side.
    is_closed_here: bool,
    /// Whether it was closed on its own side.
    is_closed_there: bool,
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
enum End {
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
    fn code(error: Option<&JoinError>) -> (u8, String) {
        let Some(error) = error else { return (Self::WELL, String::new()) };
        match (error.panic_text(), error.exception()) {
            (Some(text), _) => (Self::PANICKED, text.to_owned()),
            (None, Some(exception)) => (Self::RAISED, exception.to_string()),
            (None, None) if error.is_cancelled() => (Self::KILLED, String::new()),
            (None, None) => (Self::RAISED, error.to_string()),
        }
    }

    fn of(code: u8, text: &[u8]) -> Option<Self> {
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
            Self::Killed => Leaving::new(ExitKind::Cancel, 0).throw(),
            Self::Lost => raise(RemoteError::Lost),
        }
    }
}

impl Afar {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn name(&self) -> &str {
        &self.name
    }

    fn close_mailbox(&self) {
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
    fn settle(&self, arrived: u64, received: u64) -> io::Result<bool> {
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

    fn ended(&self, end: End) {
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

// ---- actors of this side

/// An actor whose address was sent to the other side.
pub(super) struct Exported {
    /// The number of the message that it was sent in.
    pub(super) message: u64,
    target: Arc<dyn Target>,
    /// Tells the other side of its end.
    watch: Option<Watch>,
}

/// An actor whose address was sent to the other side, whatever it receives.
trait Target: Send + Sync {
    fn deliver(&self, border: &Arc<Border>, number: u64, message: u64, bytes: &[u8]);
    fn settled(&self) -> &Settled;
    fn close(&self);
    fn kill(&self);
    fn watch(&self, told: Told) -> Option<Watch>;
    /// Its `Address`.
    fn address(&self) -> Box<dyn Any>;
}

/// See [`Target`].
struct Mailed<M> {
    inbox: Inbox<M>,
    /// For what its full mailbox had no room for: a task waits in the place of the reader.
    backlog: Mutex<Option<Backlog<M>>>,
}

/// Where the messages to it go.
struct Inbox<M> {
    address: Address<M>,
    settled: Arc<Settled>,
    /// What the actor has received, in a host. Elsewhere what has arrived counts as that: no process dies with it.
    receipts: Option<Arc<Receipts>>,
}

impl<M> Clone for Inbox<M> {
    fn clone(&self) -> Self {
        Self { address: self.address.clone(), settled: self.settled.clone(), receipts: self.receipts.clone() }
    }
}

impl<M: Send + 'static> Inbox<M> {
    fn try_send(&self, message: M) -> Result<(), SendError<M>> {
        let (send, len) = (|| self.address.try_send(message), || self.address.len());
        match &self.receipts {
            Some(receipts) => receipts.send(&self.settled, send, len),
            None => send().inspect(|()| self.settled.add_received(1)),
        }
    }

    /// Sends, waiting for room.
    ///
    /// # Suspends
    /// As [`Address::send`].
    ///
    /// # Cancel safety
    /// As [`Address::send`].
    fn send(&self, message: M) -> Result<(), SendError<M>> {
        self.address.send(message)?;
        match &self.receipts {
            Some(receipts) => receipts.note(&self.settled, || self.address.len()),
            None => self.settled.add_received(1),
        }
        Ok(())
    }

    /// Reports that `count` messages, which have arrived, are lost, since the actor receives no more.
    fn lose(&self, count: usize) {
        report(&Report::DeadLetters { name: self.address.name(), count });
        self.settled.add_received(count as u64);
    }
}

/// The messages that wait in line for a full mailbox.
struct Backlog<M> {
    queue: Sender<M>,
    /// Whether the actor is to be closed behind them. Set before the queue is closed, whose lock publishes it.
    closes: Arc<AtomicBool>,
}

impl<M: DeserializeOwned + Send + 'static> Target for Mailed<M> {
    fn deliver(&self, border: &Arc<Border>, number: u64, message: u64, bytes: &[u8]) {
        let value = match border.decode(bytes) {
            Ok(value) => value,
            Err(why) => {
                border.refuse(number, message, &why);
                self.arrived(border, number);
                return self.inbox.settled.add_received(1);
            }
        };
        let mut backlog = self.backlog.lock().unwrap_or_else(PoisonError::into_inner);
        let refused = match &*backlog {
            // The task that waits counts it when it is next.
            Some(Backlog { queue, .. }) => queue.send(value).err().map(channel::SendError::into_inner),
            None => {
                // First: the actor may answer, and its process end, before this goes on.
                self.arrived(border, number);
                match self.inbox.try_send(value) {
                    Ok(()) => None,
                    Err(SendError::Full(value)) => {
                        *backlog = Some(self.wait_in_line(border, number, value));
                        None
                    }
                    Err(refused) => Some(refused.into_inner()),
                }
            }
        };
        let was_counted = backlog.is_none();
        drop(backlog);
        let Some(value) = refused else { return };
        unwind::drop_quietly(value);
        if !was_counted {
            self.arrived(border, number);
        }
        self.inbox.lose(1);
        border.send_number(Kind::Closed, number);
    }

    fn settled(&self) -> &Settled {
        &self.inbox.settled
    }

    /// Closes it behind what was sent to it from the other side.
    fn close(&self) {
        match &*self.backlog.lock().unwrap_or_else(PoisonError::into_inner) {
            None => self.inbox.address.close(),
            Some(Backlog { queue, closes }) => {
                closes.store(true, Ordering::Relaxed);
                queue.close();
            }
        }
    }

    fn kill(&self) {
        self.inbox.address.kill();
    }

    fn watch(&self, told: Told) -> Option<Watch> {
        self.inbox.address.life().watch(told)
    }

    fn address(&self) -> Box<dyn Any> {
        Box::new(self.inbox.address.clone())
    }
}

impl<M: Send + 'static> Mailed<M> {
    /// Counts a message. The other side is told at once if many have come, else when the reader has nothing else to do.
    fn arrived(&self, border: &Border, number: u64) {
        let settled = &self.inbox.settled;
        settled.add_arrived(1);
        if settled.is_due() {
            settled.tell();
        }
        // Whether it is received is to be seen only later.
        let mut entries = border.entries();
        if !entries.unsettled.contains(&number) {
            entries.unsettled.push(number);
        }
    }

    /// Sends `first`, and what comes after it, as there is room.
    fn wait_in_line(&self, border: &Arc<Border>, number: u64, first: M) -> Backlog<M> {
        let (queue, receiver) = channel::unbounded();
        let closes = Arc::new(AtomicBool::new(false));
        let (inbox, border, is_to_close) = (self.inbox.clone(), border.clone(), closes.clone());
        // Whoever is next in line counts as arrived.
        let wait = move || {
            let Inbox { address, settled, .. } = &inbox;
            let mut next = Some(first);
            while let Some(message) = next {
                if inbox.send(message).is_err() {
                    receiver.close();
                    let rest = receiver.drain().len();
                    settled.add_arrived(rest as u64);
                    inbox.lose(1 + rest);
                    settled.tell();
                    return border.send_number(Kind::Closed, number);
                }
                if receiver.is_empty() {
                    settled.tell();
                }
                next = receiver.recv().ok();
                if next.is_some() {
                    settled.add_arrived(1);
                    if settled.is_due() || receiver.is_empty() {
                        settled.tell();
                    }
                }
            }
            if is_to_close.load(Ordering::Relaxed) {
                address.close();
            }
        };
        if task::Builder::new().name("osier::actor::backlog").try_spawn_lasting(wait).is_err() {
            // The runtime ends, and with it the actor.
            self.inbox.lose(1);
        }
        Backlog { queue, closes }
    }
}

impl<M: DeserializeOwned + Send + 'static> Serialize for Address<M> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let Some(Crossing { border, message }) = crossing() else {
            return Err(S::Error::custom("an address crosses only in a message to an actor in another process"));
        };
        if border.myself::<M>().is_some_and(|myself| myself.is_same(self)) {
            return (MYSELF, border.name(), None::<u64>).serialize(serializer);
        }
        if let Life::Abroad(_, afar) = self.life()
            && Arc::ptr_eq(&afar.border, &border)
            && !afar.has_ended.is_set()
        {
            return (afar.number | YOURS, self.name(), None::<u64>).serialize(serializer);
        }
        let bound = self.bound().map(|bound| bound as u64);
        let receipts = self.task().data::<Arc<Receipts>>().cloned();
        let mut entries = border.entries();
        if entries.is_over {
            drop(entries);
            return Err(S::Error::custom("the process has ended"));
        }
        let number = entries.number();
        let inbox = Inbox { address: self.clone(), settled: Settled::new(&border, number), receipts };
        let target = Arc::new(Mailed { inbox, backlog: Mutex::new(None) });
        entries.addresses.insert(number, Exported { message, target, watch: None });
        drop(entries);
        (number, self.name(), bound).serialize(serializer)
    }
}

// ---- frames

impl Border {
    fn target(&self, number: u64) -> Option<Arc<dyn Target>> {
        self.entries().addresses.get(&number).map(|exported| exported.target.clone())
    }

    pub(super) fn afar(&self, number: u64) -> Option<Arc<Afar>> {
        self.entries().relays.get(&number).cloned()
    }

    /// Does what a frame about an address says. An error if it is none.
    pub(super) fn handle_address(self: &Arc<Self>, kind: Kind, number: u64, rest: &[u8]) -> io::Result<()> {
        let second = || rest.split_first_chunk().ok_or(io::ErrorKind::InvalidData);
        match kind {
            Kind::Post => {
                let (message, bytes) = second()?;
                // One that was released meanwhile is sent nothing by whoever released it.
                if let Some(target) = self.target(number) {
                    target.deliver(self, number, u64::from_be_bytes(*message), bytes);
                }
            }
            Kind::Watch => self.watch(number),
            Kind::CloseThat => _ = self.target(number).map(|target| target.close()),
            Kind::Kill => {
                let (question, _) = second()?;
                self.kill(number, u64::from_be_bytes(*question));
            }
            Kind::Release => {
                let released = self.entries().addresses.remove(&number);
                if let Some(exported) = &released {
                    exported.target.settled().tell();
                }
                drop(released);
            }
            Kind::Settled => {
                let (arrived, rest) = second()?;
                let received = rest.first_chunk().ok_or(io::ErrorKind::InvalidData)?;
                if let Some(afar) = self.afar(number)
                    && afar.settle(u64::from_be_bytes(*arrived), u64::from_be_bytes(*received))?
                {
                    let known = self.entries().relays.remove(&number);
                    drop(known);
                }
            }
            Kind::Closed => {
                if let Some(afar) = self.afar(number) {
                    afar.state().is_closed_there = true;
                    afar.close_mailbox();
                }
            }
            Kind::Gone => {
                let end = rest.split_first().and_then(|(code, text)| End::of(*code, text));
                let end = end.ok_or(io::ErrorKind::InvalidData)?;
                if let Some(afar) = self.afar(number) {
                    afar.ended(end);
                }
            }
            _ => return Err(io::ErrorKind::InvalidData.into()),
        }
        Ok(())
    }

    /// Lets the other side know of the end of an actor of this side.
    fn watch(self: &Arc<Self>, number: u64) {
        let Some(target) = self.target(number) else { return };
        let border = Arc::downgrade(self);
        let told = move |error: Option<&JoinError>| {
            let Some(border) = border.upgrade() else { return };
            let (code, text) = End::code(error);
            let text = &text.as_bytes()[..text.len().min(HEAD - 16)];
            border.send(Kind::Gone, &[&number.to_be_bytes(), &[code], text]);
        };
        let watch = target.watch(Box::new(told));
        let mut entries = self.entries();
        let unused = match entries.addresses.get_mut(&number) {
            Some(exported) => std::mem::replace(&mut exported.watch, watch),
            None => watch,
        };
        drop(entries);
        drop(unused);
    }

    /// Kills an actor of this side, for a question of the other one.
    fn kill(self: &Arc<Self>, number: u64, question: u64) {
        struct AnswerOnDrop(Arc<Border>, u64);
        impl Drop for AnswerOnDrop {
            fn drop(&mut self) {
                self.0.send_number(Kind::NoAnswer, self.1);
            }
        }
        let answer = AnswerOnDrop(self.clone(), question);
        let Some(target) = self.target(number) else { return };
        let kill = move || {
            let _answer = answer;
            target.kill();
        };
        // Refused only where the runtime ends, and with it the actor.
        drop(task::Builder::new().name("osier::actor::kill").try_spawn_lasting(kill));
    }

    /// Tells the other side what has arrived, since no more has come.
    pub(super) fn tell_settled(&self) {
        // Whoever calls this before the end waits until others have told what they were about to.
        let telling = self.telling();
        let numbers = std::mem::take(&mut self.entries().unsettled);
        for number in numbers {
            if let Some(target) = self.target(number) {
                target.settled().tell_as(&telling, self);
            }
        }
    }

    /// Tells the other side all that has arrived and was received, at the end.
    pub(super) fn tell_all_settled(&self) {
        let telling = self.telling();
        let targets: Vec<_> = self.entries().addresses.values().map(|exported| exported.target.clone()).collect();
        targets.iter().for_each(|target| target.settled().tell_as(&telling, self));
    }

    /// Waits until all that was sent to addresses of the other side is on its way; nothing more is sent to them.
    ///
    /// # Suspends
    pub(super) fn flush(&self) {
        let relays: Vec<_> = self.entries().relays.values().cloned().collect();
        relays.iter().for_each(|afar| afar.close_mailbox());
        relays.iter().for_each(|afar| afar.is_done.wait());
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
