//! Publishing: one message to all who subscribed to its topic, of whom the publisher knows nothing.
//!
//! A topic is words with dots between them: `weather.berlin.wind`. A pattern is the same, in which `*` stands for any one word,
//! and `>` at the end for one word or more, as in NATS. So `weather.*.wind` is the wind everywhere, `weather.>` all weather,
//! `>` everything.
//!
//! # Invariants
//! - Nothing of a user's is called or dropped under the table's lock, and nobody waits under it.
//! - A publisher serves those that take the message at once before it waits for those that are full, and waits for all of
//!   these at the same time.
//! - What fails in a subscriber's filter, or as a message is copied for it, concerns no other subscriber, and not the publisher.
//! - Whoever subscribes gets of each topic either the retained message, and what is published after it, or all that is.
//!
//! # Rooms
//! - `tree`: patterns. `subscription`: what subscribers hold. Here: the gateway.

mod subscription;
mod tree;

use std::collections::HashMap;
use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::address::Address;
use super::builder::Builder;
use super::mailbox::Mailbox;
use crate::coroutine::current as clock;
use crate::exception::{Report, report};
use crate::sync::channel::{self, Receiver, Select, Sender, TrySendError};
use crate::sync::waiting::after;
use crate::task::JoinError;
pub use subscription::{Subscription, SubscriptionIter};
use tree::Tree;

/// A gateway between those who publish and those who subscribe: actors, tasks and threads.
///
/// Topics are words with dots between them. In a pattern, `*` stands for any one word, and `>` at the end for one or more.
///
/// A handle: clones are the same gateway. When the last one is dropped, subscriptions end after what is queued.
///
/// # Examples
/// ```
/// use osier::actor::{Overflow, Topics};
///
/// let topics = Topics::new();
/// let all = topics.subscribe(">");
/// let latest = topics.subscribe_with("weather.*", 1, Overflow::DropOldest, |_| true);
/// assert_eq!(topics.publish("weather.today", "sun"), 2);
/// assert_eq!(topics.publish("weather.tomorrow", "rain"), 2);
/// assert_eq!(topics.publish("sports", "draw"), 1);
/// drop(topics);
/// assert_eq!(all.iter().collect::<Vec<_>>(), ["sun", "rain", "draw"]);
/// assert_eq!((latest.missed(), latest.iter().collect::<Vec<_>>()), (1, vec!["rain"]));
/// ```
pub struct Topics<M> {
    inner: Arc<Inner<M>>,
}

/// What happens to a message for a subscriber that is full. The others get it in any case.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Overflow {
    /// The subscriber's oldest message is dropped.
    DropOldest,
    /// The message is dropped.
    DropNewest,
    /// The subscription ends, after what is queued.
    Disconnect,
    /// The publisher waits for room, for so long; then the message is dropped.
    Wait(Duration),
}

struct Inner<M> {
    table: Mutex<Table<M>>,
}

struct Table<M> {
    subscribers: Tree<Arc<Entry<M>>>,
    /// How many subscribers there are.
    count: usize,
    /// The last message of each topic that was published to be kept.
    retained: HashMap<Box<str>, Arc<Mutex<M>>>,
}

struct Entry<M> {
    pattern: Box<str>,
    sender: Sender<M>,
    /// For dropping the oldest.
    receiver: Receiver<M>,
    overflow: Overflow,
    filter: Box<dyn Fn(&M) -> bool + Send + Sync>,
    missed: Arc<AtomicU64>,
}

impl<M> Inner<M> {
    fn table(&self) -> MutexGuard<'_, Table<M>> {
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn remove(&self, entry: &Arc<Entry<M>>) {
        let mut table = self.table();
        let removed = table.subscribers.remove(&entry.pattern, &|other| Arc::ptr_eq(other, entry));
        table.count -= usize::from(removed.is_some());
        drop(table);
        drop(removed);
    }
}

impl<M: Clone + Send + 'static> Topics<M> {
    /// Makes a gateway without subscribers.
    pub fn new() -> Self {
        let table = Table { subscribers: Tree::default(), count: 0, retained: HashMap::new() };
        Self { inner: Arc::new(Inner { table: Mutex::new(table) }) }
    }

    /// Subscribes to the topics of `pattern`. Any number of messages may wait. First come those that are
    /// [retained](Self::publish_retained).
    ///
    /// # Panics
    /// If `pattern` is none: a `>` is not its last word, or it has more than 64 words.
    pub fn subscribe(&self, pattern: &str) -> Subscription<M> {
        self.add(pattern, channel::unbounded(), Overflow::DropNewest, Box::new(|_| true))
    }

    /// Subscribes to those messages of the topics of `pattern` for which `filter` is true, of which at most `bound` may
    /// wait, beside those that are retained.
    ///
    /// Publishers call `filter`. If it panics or raises, the subscription ends after what is queued, and that is
    /// [reported](crate::Report::SubscriberFailed).
    ///
    /// # Panics
    /// As [`subscribe`](Self::subscribe). If `bound` is 0.
    pub fn subscribe_with(
        &self,
        pattern: &str,
        bound: usize,
        overflow: Overflow,
        filter: impl Fn(&M) -> bool + Send + Sync + 'static,
    ) -> Subscription<M> {
        assert!(bound > 0, "a subscription holds one message at least");
        self.add(pattern, channel::bounded(bound), overflow, Box::new(filter))
    }

    fn add(
        &self,
        pattern: &str,
        (sender, receiver): (Sender<M>, Receiver<M>),
        overflow: Overflow,
        filter: Box<dyn Fn(&M) -> bool + Send + Sync>,
    ) -> Subscription<M> {
        tree::check(pattern);
        let missed = Arc::new(AtomicU64::new(0));
        let entry = Arc::new(Entry { pattern: pattern.into(), sender, receiver, overflow, filter, missed });
        let mut table = self.inner.table();
        table.subscribers.insert(pattern, entry.clone());
        table.count += 1;
        let retained = table.retained.iter().filter(|(topic, _)| tree::matches(pattern, topic));
        let retained: Vec<_> = retained.map(|(_, message)| message.clone()).collect();
        drop(table);
        // From here on it is entered: if a filter panics, it is taken out again.
        let mut subscription = Subscription::new(&entry, Arc::downgrade(&self.inner));
        let first = retained.iter().map(copy).filter(|message| (entry.filter)(message)).collect();
        subscription.begin_with(first);
        subscription
    }

    /// Sends `message` to all who subscribed to `topic`, and gives how many have got it. Each gets what one publisher
    /// publishes in that order. A copy that fails is missed by its subscriber alone, and
    /// [reported](crate::Report::SubscriberFailed).
    ///
    /// # Suspends
    /// Only for subscribers that are full and whose policy is to [wait](Overflow::Wait): after all others got it.
    ///
    /// # Cancel safety
    /// A publisher that is cancelled while it waits has published to all but those it waited for.
    pub fn publish(&self, topic: &str, message: M) -> usize {
        let entries = self.inner.table().interested_in(topic);
        self.inner.send(&entries, message)
    }

    /// Publishes as [`publish`](Self::publish) does, and keeps the message for those who subscribe later, in the place of
    /// the one that was kept for this topic before.
    ///
    /// # Suspends
    /// As [`publish`](Self::publish).
    ///
    /// # Cancel safety
    /// As [`publish`](Self::publish); it is kept.
    ///
    /// # Examples
    /// ```
    /// let topics = osier::actor::Topics::new();
    /// topics.publish_retained("door.front", "open");
    /// topics.publish_retained("door.front", "closed");
    /// let doors = topics.subscribe("door.*");
    /// topics.publish("door.back", "open");
    /// assert_eq!((doors.recv(), doors.recv()), (Ok("closed"), Ok("open")));
    /// assert_eq!(topics.forget("door.front"), Some("closed"));
    /// ```
    pub fn publish_retained(&self, topic: &str, message: M) -> usize {
        let kept = Arc::new(Mutex::new(message.clone()));
        let mut table = self.inner.table();
        let old = table.retained.insert(topic.into(), kept);
        let entries = table.interested_in(topic);
        drop(table);
        drop(old);
        self.inner.send(&entries, message)
    }

    /// The message that is kept for `topic`.
    pub fn retained(&self, topic: &str) -> Option<M> {
        let message = self.inner.table().retained.get(topic).cloned();
        message.as_ref().map(copy)
    }

    /// Keeps no message for `topic` any more; gives the one that was.
    pub fn forget(&self, topic: &str) -> Option<M> {
        let message = self.inner.table().retained.remove(topic);
        message.as_ref().map(copy)
    }

    /// Starts an actor that publishes what it is sent: for those who have addresses only, as actors in other processes. It
    /// ends with the last clone of its address.
    ///
    /// # Panics
    /// If the runtime is shutting down.
    pub fn publisher(&self) -> Address<(String, M)> {
        let topics = self.clone();
        Builder::new().spawn(move |inbox: &Mailbox<(String, M)>| {
            for (topic, message) in inbox {
                topics.publish(&topic, message);
            }
        })
    }
}

/// A message for a subscriber that was full, and who waits for room until the deadline.
struct Late<'a, M> {
    entry: &'a Entry<M>,
    message: M,
    deadline: Option<Instant>,
}

/// Waits for room, with all subscribers at the same time: none is held up by another. Gives how many have got it.
fn send_late<M>(mut full: Vec<Late<'_, M>>) -> usize {
    let mut got = 0;
    while !full.is_empty() {
        let mut select = Select::new();
        full.iter().for_each(|late| _ = select.send(&late.entry.sender));
        let ready = match full.iter().filter_map(|late| late.deadline).min() {
            Some(deadline) => select.ready_deadline(deadline).ok(),
            None => Some(select.ready()),
        };
        drop(select);
        if let Some(index) = ready {
            let Late { entry, message, deadline } = full.swap_remove(index);
            match entry.sender.try_send(message) {
                Ok(()) => got += 1,
                // Another publisher was faster.
                Err(TrySendError::Full(message)) => full.push(Late { entry, message, deadline }),
                Err(TrySendError::Disconnected(_)) => {}
            }
        } else {
            let now = clock::now();
            let too_late = full.extract_if(.., |late| late.deadline.is_some_and(|deadline| deadline <= now));
            for late in too_late {
                late.entry.missed.fetch_add(1, Ordering::Relaxed);
            }
        }
    }
    got
}

/// A copy of a message that is kept.
fn copy<M: Clone>(message: &Arc<Mutex<M>>) -> M {
    message.lock().unwrap_or_else(PoisonError::into_inner).clone()
}

impl<M> Table<M> {
    fn interested_in(&self, topic: &str) -> Vec<Arc<Entry<M>>> {
        let mut entries = Vec::new();
        self.subscribers.visit(topic, &mut |entry| entries.push(entry.clone()));
        entries
    }
}

impl<M> Inner<M> {
    /// Offers `message` to all of them; gives how many have got it.
    fn send(&self, entries: &[Arc<Entry<M>>], message: M) -> usize
    where
        M: Clone,
    {
        let (mut got, mut full) = (0, Vec::new());
        for entry in entries {
            let Some(copy) = self.copy_for(entry, &message) else { continue };
            match self.offer(entry, copy) {
                Offer::Taken => got += 1,
                Offer::Dropped => _ = entry.missed.fetch_add(1, Ordering::Relaxed),
                Offer::Wait(message, patience) => full.push(Late { entry, message, deadline: after(patience) }),
                Offer::Gone => {}
            }
        }
        got + send_late(full)
    }

    /// A copy for a subscriber, if it wants the message. One whose filter fails loses its subscription, and a copy that
    /// fails is missed: the others get theirs.
    fn copy_for(&self, entry: &Arc<Entry<M>>, message: &M) -> Option<M>
    where
        M: Clone,
    {
        let mut has_filtered = false;
        let copied = JoinError::attempt(|| {
            let is_wanted = (entry.filter)(message);
            has_filtered = true;
            is_wanted.then(|| message.clone())
        });
        copied.unwrap_or_else(|error| {
            entry.missed.fetch_add(1, Ordering::Relaxed);
            if !has_filtered {
                entry.sender.close();
                self.remove(entry);
            }
            report(&Report::SubscriberFailed { pattern: &entry.pattern, error: &error });
            None
        })
    }

    fn offer(&self, entry: &Arc<Entry<M>>, message: M) -> Offer<M> {
        let mut refused = match entry.sender.try_send(message) {
            Ok(()) => return Offer::Taken,
            Err(TrySendError::Disconnected(_)) => return Offer::Gone,
            Err(TrySendError::Full(message)) => message,
        };
        match entry.overflow {
            Overflow::DropNewest => Offer::Dropped,
            Overflow::Wait(patience) => Offer::Wait(refused, patience),
            Overflow::Disconnect => {
                entry.sender.close();
                self.remove(entry);
                Offer::Gone
            }
            Overflow::DropOldest => loop {
                if entry.receiver.try_recv().is_ok() {
                    entry.missed.fetch_add(1, Ordering::Relaxed);
                }
                // Another publisher may have been faster.
                match entry.sender.try_send(refused) {
                    Ok(()) => return Offer::Taken,
                    Err(TrySendError::Disconnected(_)) => return Offer::Gone,
                    Err(TrySendError::Full(message)) => refused = message,
                }
            },
        }
    }
}

enum Offer<M> {
    Taken,
    Dropped,
    Wait(M, Duration),
    Gone,
}

impl<M> Clone for Topics<M> {
    fn clone(&self) -> Self {
        Self { inner: self.inner.clone() }
    }
}

impl<M: Clone + Send + 'static> Default for Topics<M> {
    fn default() -> Self {
        Self::new()
    }
}

impl<M> fmt::Debug for Topics<M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let table = self.inner.table();
        let (subscribers, retained) = (table.count, table.retained.len());
        drop(table);
        f.debug_struct("Topics").field("subscribers", &subscribers).field("retained", &retained).finish()
    }
}
