//! Messages that are counted: how many were made, dropped, sent and received.

use std::cmp::Ordering as Order;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// What has become of all messages.
#[derive(Debug, Default)]
pub(crate) struct Books {
    made: AtomicU64,
    dropped: AtomicU64,
    sent: AtomicU64,
    received: AtomicU64,
}

/// A value with a number, by which it is compared.
#[derive(Debug)]
pub(crate) struct Message {
    pub(crate) number: u64,
    books: Arc<Books>,
}

impl Message {
    pub(crate) fn new(books: &Arc<Books>) -> Self {
        Self { number: books.made.fetch_add(1, Ordering::Relaxed) + 1, books: books.clone() }
    }
}

impl Drop for Message {
    fn drop(&mut self) {
        self.books.dropped.fetch_add(1, Ordering::Relaxed);
    }
}

impl PartialEq for Message {
    fn eq(&self, other: &Self) -> bool {
        self.number == other.number
    }
}

impl Eq for Message {}

impl PartialOrd for Message {
    fn partial_cmp(&self, other: &Self) -> Option<Order> {
        Some(self.cmp(other))
    }
}

impl Ord for Message {
    fn cmp(&self, other: &Self) -> Order {
        self.number.cmp(&other.number)
    }
}

impl Books {
    /// Asserts that what was sent was received, and that every message was dropped once; everybody is done with them.
    pub(crate) fn close(&self) {
        let count = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        assert_eq!(count(&self.sent), count(&self.received), "the sums of what was sent, and of what was received");
        self.assert_all_dropped();
    }

    /// Asserts that every message was dropped once; everybody is done with them.
    pub(crate) fn assert_all_dropped(&self) {
        let count = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        assert_eq!(count(&self.made), count(&self.dropped), "messages made, and dropped");
    }
}

/// Notes whether the message with that number was sent.
pub(crate) fn note_sent(books: &Books, number: u64, sent: bool) {
    if sent {
        books.sent.fetch_add(number, Ordering::Relaxed);
    }
}

pub(crate) fn note_received(message: Option<Message>) {
    if let Some(message) = message {
        message.books.received.fetch_add(message.number, Ordering::Relaxed);
    }
}
