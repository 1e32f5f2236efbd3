//! Actors of this side whose addresses were sent to the other one: what arrives for them, and what is told of them.

use std::any::Any;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use serde::de::DeserializeOwned;
use serde::ser::Error as _;
use serde::{Serialize, Serializer};

use super::super::address::Address;
use super::super::error::SendError;
use super::super::life::{Life, Told, Watch};
use super::afar::YOURS;
use super::border::{Border, Crossing, MYSELF, crossing};
use super::receipts::{Receipts, Settled};
use crate::coroutine::unwind;
use crate::exception::{Report, report};
use crate::process::host::Kind;
use crate::sync::channel::{self, Sender};
use crate::task;

/// An actor whose address was sent to the other side.
pub(super) struct Exported {
    /// The number of the message that it was sent in.
    pub(super) message: u64,
    pub(super) target: Arc<dyn Target>,
    /// Tells the other side of its end.
    pub(super) watch: Option<Watch>,
}

/// An actor whose address was sent to the other side, whatever it receives.
pub(super) trait Target: Send + Sync {
    fn deliver(&self, border: &Arc<Border>, number: u64, message: u64, bytes: &[u8]);
    fn settled(&self) -> &Settled;
    fn close(&self);
    fn kill(&self);
    fn watch(&self, told: Told) -> Option<Watch>;
    /// Its `Address`.
    fn address(&self) -> Box<dyn Any>;
}

impl Border {
    pub(super) fn target(&self, number: u64) -> Option<Arc<dyn Target>> {
        self.entries().addresses.get(&number).map(|exported| exported.target.clone())
    }
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
