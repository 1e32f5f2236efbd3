//! What the actors of a host have received of what was sent to them from the other side.
//!
//! Whoever has sent a message to a further actor of a host counts it as lost until it is told that the actor has received it:
//! so it reports those that lay in the mailbox when the process died. There they lie among messages of this side; so each is
//! entered here with its place in line.
//!
//! # Invariants
//! - A message counts as received when the actor has it, or has ended: never before it was handed out.
//! - It counts soon: one message later at most, and at once when the mailbox is empty. For a place may be too far back by those
//!   that others have sent at the same moment, and by the one that the actor has just taken. (Of an actor whose mailbox several
//!   tasks receive from, each but one may let a message count that lies there still.)
//! - Nobody is told under the lock.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use super::border::Border;
use crate::process::host::{self, Kind};

/// How many messages have arrived, or were received, before that is told, if more come at once.
const BATCH: u64 = 16;

/// What has become of the messages to an actor of this side, whose address was sent to the other side under a number.
pub(super) struct Settled {
    border: Weak<Border>,
    number: u64,
    /// How many have reached the mailbox, or the end of their way.
    arrived: AtomicU64,
    /// How many of them the actor has received; or were lost, and that was reported.
    received: AtomicU64,
    /// Of how many the other side was told. Written within [`Border::telling`].
    told: [AtomicU64; 2],
}

impl Settled {
    pub(super) fn new(border: &Arc<Border>, number: u64) -> Arc<Self> {
        let [arrived, received, told_arrived, told_received] = [const { AtomicU64::new(0) }; 4];
        Arc::new(Self {
            border: Arc::downgrade(border),
            number,
            arrived,
            received,
            told: [told_arrived, told_received],
        })
    }

    /// Counts `count` more that have arrived.
    pub(super) fn add_arrived(&self, count: u64) {
        self.arrived.fetch_add(count, Ordering::Relaxed);
    }

    /// Counts `count` more, which have arrived, as received.
    pub(super) fn add_received(&self, count: u64) {
        // Release: pairs with the Acquire in `tell_as`, which then sees that they have arrived.
        self.received.fetch_add(count, Ordering::Release);
    }

    /// Whether so much is new that it is time to tell.
    pub(super) fn is_due(&self) -> bool {
        let new = |count: &AtomicU64, told: &AtomicU64| {
            count.load(Ordering::Relaxed).saturating_sub(told.load(Ordering::Relaxed)) >= BATCH
        };
        new(&self.arrived, &self.told[0]) || new(&self.received, &self.told[1])
    }

    pub(super) fn tell(&self) {
        if let Some(border) = self.border.upgrade() {
            self.tell_as(&border.telling(), &border);
        }
    }

    /// Tells, for one who has the right to: of several who do, an old count must not come last.
    pub(super) fn tell_as(&self, _telling: &MutexGuard<'_, ()>, border: &Border) {
        // Acquire: what was received has arrived, also as seen here. Pairs with the Release in `add_received`.
        let received = self.received.load(Ordering::Acquire);
        let arrived = self.arrived.load(Ordering::Relaxed);
        let is_new = |told: &AtomicU64, count| told.swap(count, Ordering::Relaxed) != count;
        if is_new(&self.told[0], arrived) | is_new(&self.told[1], received) {
            let [number, arrived, received] = [self.number, arrived, received].map(u64::to_be_bytes);
            border.send(Kind::Settled, &[&number, &arrived, &received]);
        }
    }
}

/// What an actor of a host has received.
#[derive(Default)]
pub(in crate::actor) struct Receipts {
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    /// How many messages the actor has received, from whomever.
    received: u64,
    /// What lies in the mailbox, and came from the other side: how many messages the actor has received then at the latest,
    /// and who counts it. In the order in which it came.
    lying: VecDeque<(u64, Arc<Settled>)>,
    /// Whether nothing more is received.
    is_over: bool,
}

impl State {
    /// Notes a message that was sent, of `waiting` in the mailbox.
    fn enter(&mut self, settled: &Arc<Settled>, waiting: usize) {
        if waiting == 0 || self.is_over {
            // The actor has it already.
            settled.add_received(1);
        } else {
            self.lying.push_back((self.received + waiting as u64 + 1, settled.clone()));
        }
    }

    /// Counts those as received that are, of which `all` may be; gives who counts them.
    fn take(&mut self, all: bool) -> Vec<Arc<Settled>> {
        let mut changed: Vec<Arc<Settled>> = Vec::new();
        let received = self.received;
        while self.lying.front().is_some_and(|(place, _)| all || *place <= received)
            && let Some((_, settled)) = self.lying.pop_front()
        {
            settled.add_received(1);
            if !changed.iter().any(|other| Arc::ptr_eq(other, &settled)) {
                changed.push(settled);
            }
        }
        changed
    }
}

impl Receipts {
    /// For a new actor; `None` where no process dies that others have sent to.
    pub(in crate::actor) fn of_host() -> Option<Arc<Self>> {
        host::is_host().then(Arc::default)
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Sends a message with `send`, which does not wait, into a mailbox of `len`, and notes it.
    pub(super) fn send<E>(
        &self,
        settled: &Arc<Settled>,
        send: impl FnOnce() -> Result<(), E>,
        len: impl FnOnce() -> usize,
    ) -> Result<(), E> {
        // The actor may receive it at once, and waits here until it was noted.
        let mut state = self.state();
        send()?;
        state.enter(settled, len());
        Ok(())
    }

    /// Notes a message that was sent into a mailbox of `len`.
    pub(super) fn note(&self, settled: &Arc<Settled>, len: impl FnOnce() -> usize) {
        let mut state = self.state();
        state.enter(settled, len());
        let is_over = state.is_over;
        drop(state);
        if is_over {
            settled.tell();
        }
    }

    /// Notes that the actor has received a message from a mailbox of `len`.
    pub(in crate::actor) fn add(&self, len: impl FnOnce() -> usize) {
        let mut state = self.state();
        state.received += 1;
        if state.lying.is_empty() {
            return;
        }
        let all = len() == 0;
        let changed = state.take(all);
        drop(state);
        changed.iter().filter(|settled| all || settled.is_due()).for_each(|settled| settled.tell());
    }

    /// Notes that the actor receives no more: what has not been is reported here.
    pub(in crate::actor) fn end(&self) {
        let mut state = self.state();
        state.is_over = true;
        let changed = state.take(true);
        drop(state);
        changed.iter().for_each(|settled| settled.tell());
    }
}
