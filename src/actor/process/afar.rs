//! Addresses of actors on the other side, and actors of this side whose addresses were sent there.
//!
//! ```text
//!   here: Address ─→ mailbox ─→ relay ── Post ──────────────→ the actor's mailbox, or a backlog for it
//!                               ▲ credit ◄── Settled ────────┘
//!   close, kill ────────────────┼── CloseThat, Kill ────────→ the same calls
//!   the relay ends ◄────────────┴── Closed, Gone ◄─────────── its end, which Watch has asked for
//! ```
//!
//! # Invariants
//! - At most [`WINDOW`] messages to an address are on the way and not arrived; the others wait in the relay's mailbox, which
//!   has the bound of the actor's own, so that a sender waits, or is refused, as there.
//! - What was sent and has not arrived when nothing crosses any more is reported as dead letters, once.
//! - A relay ends as the actor has that it stands for, unless its address is dropped before. So joins, monitors and links
//!   need to know nothing of processes.
//! - Whoever reads frames never waits for an actor: what a full mailbox has no room for is queued for it.

use std::io;
use std::sync::atomic::{AtomicU64, Ordering};
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
use crate::coroutine::unwind;
use crate::exception::{ExitKind, Leaving, Report, raise, report};
use crate::process::RemoteError;
use crate::process::host::{HEAD, Kind};
use crate::sync::channel::{self, Sender};
use crate::sync::{Event, Semaphore};
use crate::task::{self, JoinError};

/// How many messages to one address are on the way at most.
const WINDOW: usize = 64;

/// How many messages have arrived before that is told, if more come at once.
const BATCH: u64 = 16;

/// The largest bound of a relay's mailbox: it is only a part of the queue, and the other side says how large it is.
const RELAY: usize = 1024;

// ---- actors of the other side

/// What is known here of an actor of the other side.
pub(in crate::actor) struct Afar {
    border: Arc<Border>,
    number: u64,
    name: Arc<str>,
    /// A permit for each message that may be sent.
    credit: Semaphore,
    /// How many messages were sent, and how many of them have arrived.
    sent: AtomicU64,
    settled: AtomicU64,
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
    /// Whether it was closed by an address of this side.
    is_closed_here: bool,
    /// Whether it was closed on its own side.
    is_closed_there: bool,
    /// Whether no address of this side is left.
    is_released: bool,
    /// How it has ended.
    end: Option<End>,
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
            self.sent.fetch_add(1, Ordering::Relaxed);
            let Err(error) = self.border.post(self.number, &message) else {
                permit.forget();
                continue;
            };
            self.sent.fetch_sub(1, Ordering::Relaxed);
            match error {
                Some(error) => report(&Report::Undelivered { name: &self.name, error: &error }),
                None => return report(&Report::DeadLetters { name: &self.name, count: 1 }),
            }
        }
    }

    /// Notes how many messages have arrived. True if it needs not be known any more.
    fn settle(&self, total: u64) -> io::Result<bool> {
        let before = self.settled.load(Ordering::Relaxed);
        let more = total.checked_sub(before).filter(|_| total <= self.sent.load(Ordering::Relaxed));
        let more = more.and_then(|more| usize::try_from(more).ok()).ok_or(io::ErrorKind::InvalidData)?;
        // The reader of this side alone writes it.
        self.settled.store(total, Ordering::Relaxed);
        self.credit.release_many(more);
        Ok(self.state().is_released && self.on_the_way() == 0)
    }

    fn on_the_way(&self) -> u64 {
        self.sent.load(Ordering::Relaxed).saturating_sub(self.settled.load(Ordering::Relaxed))
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
        let count = usize::try_from(self.on_the_way()).unwrap_or(usize::MAX);
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
        afar.state().is_released = true;
        if afar.on_the_way() == 0 {
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
        let name: Arc<str> = name.into();
        let afar = Arc::new(Afar {
            border: border.clone(),
            number,
            name: name.clone(),
            credit: Semaphore::new(WINDOW),
            sent: AtomicU64::new(0),
            settled: AtomicU64::new(0),
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
        let release = ReleaseOnDrop(afar.clone());
        let body = move |inbox: &Mailbox<M>| release.0.relay(inbox);
        let task = builder.run(&name, move || residence.live(body)).map_err(D::Error::custom)?;
        // The other side knows of a failure; who holds the address is told, and nobody else.
        task.raw().observe();
        let mut entries = border.entries();
        let is_over = entries.is_over;
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
}

/// How many messages have arrived, and of how many the other side was told.
#[derive(Default)]
struct Settled {
    count: AtomicU64,
    told: AtomicU64,
}

impl Settled {
    /// Counts one more, which has arrived or was refused. True if it is time to tell.
    fn add(&self) -> bool {
        let count = self.count.fetch_add(1, Ordering::Relaxed) + 1;
        count.saturating_sub(self.told.load(Ordering::Relaxed)) >= BATCH
    }

    fn tell(&self, border: &Border, number: u64) {
        let telling = border.telling();
        self.tell_as(&telling, border, number);
    }

    /// Tells, for one who has the right to: of several who do, an old count must not come last.
    fn tell_as(&self, _telling: &MutexGuard<'_, ()>, border: &Border, number: u64) {
        let count = self.count.load(Ordering::Relaxed);
        if self.told.swap(count, Ordering::Relaxed) != count {
            border.send(Kind::Settled, &[&number.to_be_bytes(), &count.to_be_bytes()]);
        }
    }
}

/// See [`Target`].
struct Mailed<M> {
    address: Address<M>,
    settled: Arc<Settled>,
    /// What its full mailbox had no room for is queued here, for a task that waits in the place of the reader.
    backlog: Mutex<Option<Sender<M>>>,
}

impl<M: DeserializeOwned + Send + 'static> Target for Mailed<M> {
    fn deliver(&self, border: &Arc<Border>, number: u64, message: u64, bytes: &[u8]) {
        let value = match border.decode(bytes) {
            Ok(value) => value,
            Err(why) => {
                border.refuse(number, message, &why);
                return self.arrived(border, number);
            }
        };
        let mut backlog = self.backlog.lock().unwrap_or_else(PoisonError::into_inner);
        let refused = match &*backlog {
            // The task that waits counts it when it is next.
            Some(queue) => queue.send(value).err().map(channel::SendError::into_inner),
            None => {
                // First: the actor may answer, and its process end, before this goes on.
                self.arrived(border, number);
                match self.address.try_send(value) {
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
        report(&Report::DeadLetters { name: self.address.name(), count: 1 });
        unwind::drop_quietly(value);
        border.send_number(Kind::Closed, number);
        if !was_counted {
            self.arrived(border, number);
        }
    }

    fn settled(&self) -> &Settled {
        &self.settled
    }

    fn close(&self) {
        self.address.close();
    }

    fn kill(&self) {
        self.address.kill();
    }

    fn watch(&self, told: Told) -> Option<Watch> {
        self.address.life().watch(told)
    }
}

impl<M: Send + 'static> Mailed<M> {
    /// Counts a message. The other side is told at once if many have come, else when the reader has nothing else to do.
    fn arrived(&self, border: &Border, number: u64) {
        if self.settled.add() {
            self.settled.tell(border, number);
            return;
        }
        let mut entries = border.entries();
        if !entries.unsettled.contains(&number) {
            entries.unsettled.push(number);
        }
    }

    /// Sends `first`, and what comes after it, as there is room.
    fn wait_in_line(&self, border: &Arc<Border>, number: u64, first: M) -> Sender<M> {
        let (sender, receiver) = channel::unbounded();
        let (address, settled, border) = (self.address.clone(), self.settled.clone(), border.clone());
        // Whoever is next in line counts as arrived.
        let wait = move || {
            let mut next = Some(first);
            while let Some(message) = next {
                if address.send(message).is_err() {
                    receiver.close();
                    let rest = receiver.drain().len();
                    (0..rest).for_each(|_| _ = settled.add());
                    settled.tell(&border, number);
                    border.send_number(Kind::Closed, number);
                    return report(&Report::DeadLetters { name: address.name(), count: 1 + rest });
                }
                next = receiver.recv().ok();
                if next.is_some() && (settled.add() || receiver.is_empty()) {
                    settled.tell(&border, number);
                }
            }
        };
        drop(task::Builder::new().name("osier::actor::backlog").spawn(wait));
        sender
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
        let bound = self.bound().map(|bound| bound as u64);
        let target = Mailed { address: self.clone(), settled: Arc::default(), backlog: Mutex::new(None) };
        let mut entries = border.entries();
        if entries.is_over {
            drop(entries);
            return Err(S::Error::custom("the process has ended"));
        }
        let number = entries.number();
        entries.addresses.insert(number, Exported { message, target: Arc::new(target), watch: None });
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
                    exported.target.settled().tell(self, number);
                }
                drop(released);
            }
            Kind::Settled => {
                let (total, _) = second()?;
                if let Some(afar) = self.afar(number)
                    && afar.settle(u64::from_be_bytes(*total))?
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
        drop(task::Builder::new().name("osier::actor::kill").try_spawn(kill));
    }

    /// Tells the other side what has arrived, since no more has come.
    pub(super) fn tell_settled(&self) {
        // Whoever calls this before the end waits until others have told what they were about to.
        let telling = self.telling();
        let numbers = std::mem::take(&mut self.entries().unsettled);
        for number in numbers {
            if let Some(target) = self.target(number) {
                target.settled().tell_as(&telling, self, number);
            }
        }
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
