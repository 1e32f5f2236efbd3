//! Publishing: one message to all who subscribed to its topic, of whom the publisher knows nothing.
//!
//! # Invariants
//! - Nothing of a user's is called or dropped under the lock, and nobody waits under it.
//! - A publisher serves those that take the message at once before it waits for one that is full.

use std::collections::HashMap;
use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::{Duration, Instant};

use crate::sync::channel::{self, Receiver, RecvError, RecvTimeoutError, Sender, TryRecvError, TrySendError};

/// A gateway between those who publish and those who subscribe: actors, tasks and threads.
///
/// A handle: clones are the same gateway. When the last one is dropped, subscriptions end after what is queued.
///
/// # Examples
/// ```
/// use osier::actor::{Overflow, Topics};
///
/// let topics = Topics::new();
/// let all = topics.subscribe("*");
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
    lists: Mutex<Lists<M>>,
}

struct Lists<M> {
    /// By topic.
    exact: HashMap<Box<str>, Vec<Arc<Entry<M>>>>,
    /// Those whose pattern ends with a `*`.
    wild: Vec<Arc<Entry<M>>>,
}

struct Entry<M> {
    /// The topic; with a `*`, what it begins with.
    pattern: Box<str>,
    is_wild: bool,
    sender: Sender<M>,
    /// For dropping the oldest.
    receiver: Receiver<M>,
    overflow: Overflow,
    filter: Box<dyn Fn(&M) -> bool + Send + Sync>,
    missed: Arc<AtomicU64>,
}

impl<M> Inner<M> {
    fn lists(&self) -> MutexGuard<'_, Lists<M>> {
        self.lists.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<M> Lists<M> {
    fn remove(&mut self, entry: &Arc<Entry<M>>) -> Option<Arc<Entry<M>>> {
        let take = |list: &mut Vec<Arc<Entry<M>>>| {
            list.iter().position(|other| Arc::ptr_eq(other, entry)).map(|place| list.remove(place))
        };
        if entry.is_wild {
            return take(&mut self.wild);
        }
        let list = self.exact.get_mut(&entry.pattern)?;
        let removed = take(list);
        if list.is_empty() {
            self.exact.remove(&entry.pattern);
        }
        removed
    }
}

impl<M: Clone + Send + 'static> Topics<M> {
    /// Makes a gateway without subscribers.
    pub fn new() -> Self {
        let lists = Lists { exact: HashMap::new(), wild: Vec::new() };
        Self { inner: Arc::new(Inner { lists: Mutex::new(lists) }) }
    }

    /// Subscribes to a topic, or, with a `*` at the end, to all topics that begin so. Any number of messages may wait.
    pub fn subscribe(&self, pattern: &str) -> Subscription<M> {
        self.add(pattern, channel::unbounded(), Overflow::DropNewest, Box::new(|_| true))
    }

    /// Subscribes to those messages of the topics of `pattern` for which `filter` is true, of which at most `bound` may
    /// wait.
    ///
    /// # Panics
    /// If `bound` is 0.
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
        let (start, is_wild) = pattern.strip_suffix('*').map_or((pattern, false), |start| (start, true));
        let missed = Arc::new(AtomicU64::new(0));
        let entry = Arc::new(Entry {
            pattern: start.into(),
            is_wild,
            sender,
            receiver,
            overflow,
            filter,
            missed: missed.clone(),
        });
        let mut lists = self.inner.lists();
        if is_wild {
            lists.wild.push(entry.clone());
        } else {
            lists.exact.entry(start.into()).or_default().push(entry.clone());
        }
        drop(lists);
        let (receiver, gateway) = (entry.receiver.clone(), Arc::downgrade(&self.inner));
        Subscription { receiver, missed, entry: Arc::downgrade(&entry), gateway }
    }

    /// Sends `message` to all who subscribed to `topic`, and gives how many have got it. Each gets what one publisher
    /// publishes in that order.
    ///
    /// # Suspends
    /// Only for subscribers that are full and whose policy is to [wait](Overflow::Wait): after all others got it.
    ///
    /// # Cancel safety
    /// A publisher that is cancelled while it waits has published to all but those it waited for.
    pub fn publish(&self, topic: &str, message: M) -> usize {
        let lists = self.inner.lists();
        let wild = lists.wild.iter().filter(|entry| topic.starts_with(&*entry.pattern));
        let entries: Vec<_> = lists.exact.get(topic).into_iter().flatten().chain(wild).cloned().collect();
        drop(lists);
        let (mut got, mut full) = (0, Vec::new());
        for entry in entries.iter().filter(|entry| (entry.filter)(&message)) {
            match self.offer(entry, message.clone()) {
                Offer::Taken => got += 1,
                Offer::Dropped => _ = entry.missed.fetch_add(1, Ordering::Relaxed),
                Offer::Wait(message, patience) => full.push((entry, message, patience)),
                Offer::Gone => {}
            }
        }
        for (entry, message, patience) in full {
            match entry.sender.send_timeout(message, patience) {
                Ok(()) => got += 1,
                Err(_) => _ = entry.missed.fetch_add(1, Ordering::Relaxed),
            }
        }
        got
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
                let removed = self.inner.lists().remove(entry);
                drop(removed);
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
        let lists = self.inner.lists();
        let (topics, patterns) = (lists.exact.len(), lists.wild.len());
        drop(lists);
        f.debug_struct("Topics").field("topics", &topics).field("patterns", &patterns).finish()
    }
}

/// What a subscriber receives from. Dropping it unsubscribes.
#[must_use = "dropping a subscription ends it"]
pub struct Subscription<M> {
    receiver: Receiver<M>,
    missed: Arc<AtomicU64>,
    entry: Weak<Entry<M>>,
    gateway: Weak<Inner<M>>,
}

impl<M> Subscription<M> {
    /// Receives the next message, waiting for one.
    ///
    /// # Suspends
    /// The calling task, or on a plain thread the thread.
    ///
    /// # Errors
    /// All has been received, and the gateway is gone or has disconnected this subscriber.
    pub fn recv(&self) -> Result<M, RecvError> {
        self.receiver.recv()
    }

    /// Receives a message if one is there.
    ///
    /// # Errors
    /// None is there; or none will come.
    pub fn try_recv(&self) -> Result<M, TryRecvError> {
        self.receiver.try_recv()
    }

    /// Receives the next message, waiting for at most `timeout`.
    ///
    /// # Suspends
    /// As [`recv`](Self::recv).
    ///
    /// # Errors
    /// As [`recv`](Self::recv); or the time is up.
    pub fn recv_timeout(&self, timeout: Duration) -> Result<M, RecvTimeoutError> {
        self.receiver.recv_timeout(timeout)
    }

    /// Receives the next message, waiting until `deadline`.
    ///
    /// # Suspends
    /// As [`recv`](Self::recv).
    ///
    /// # Errors
    /// As [`recv_timeout`](Self::recv_timeout).
    pub fn recv_deadline(&self, deadline: Instant) -> Result<M, RecvTimeoutError> {
        self.receiver.recv_deadline(deadline)
    }

    /// Iterates over what comes, until nothing more will.
    ///
    /// # Suspends
    /// Each `next`, as [`recv`](Self::recv).
    pub fn iter(&self) -> channel::Iter<'_, M> {
        self.receiver.iter()
    }

    /// How many messages it has not got, since it was full.
    pub fn missed(&self) -> u64 {
        self.missed.load(Ordering::Relaxed)
    }
}

impl<M> Drop for Subscription<M> {
    fn drop(&mut self) {
        self.receiver.close();
        if let (Some(gateway), Some(entry)) = (self.gateway.upgrade(), self.entry.upgrade()) {
            let removed = gateway.lists().remove(&entry);
            drop(removed);
        }
    }
}

impl<M> fmt::Debug for Subscription<M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Subscription").field("len", &self.receiver.len()).finish_non_exhaustive()
    }
}
