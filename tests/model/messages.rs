//! Channels of all kinds, and selects over them.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use osier::sync::channel::{self, BroadcastReceiver, BroadcastRecvError, BroadcastRecvTimeoutError, Select};
use osier::sync::channel::{BroadcastSender, Receiver, Sender, WatchReceiver, WatchSender};

use super::{Line, Model, Operation, Said, Saying};

/// What lies in a channel, and who waits to send what.
struct Lying {
    capacity: usize,
    queue: VecDeque<u32>,
    senders: Line<u32>,
}

impl Lying {
    fn new(capacity: usize) -> Self {
        Self { capacity, queue: VecDeque::new(), senders: Line::new() }
    }

    /// The next value; its sender is done if it waited.
    fn take(&mut self, said: &mut Vec<Saying>) -> Option<u32> {
        let value = self.queue.pop_front().or_else(|| {
            let (sender, value) = self.senders.first()?;
            said.push((sender, Said::Done));
            Some(value)
        });
        self.fill(said);
        value
    }

    /// Makes use of the room.
    fn fill(&mut self, said: &mut Vec<Saying>) {
        while self.queue.len() < self.capacity
            && let Some((sender, value)) = self.senders.first()
        {
            said.push((sender, Said::Done));
            self.queue.push_back(value);
        }
    }
}

fn send(sender: Sender<u32>, value: u32, patience: Option<Duration>) -> Operation {
    Box::new(move |say| {
        let sent = match patience {
            None => sender.send(value).is_ok(),
            Some(patience) => sender.send_timeout(value, patience).is_ok(),
        };
        say(if sent { Said::Done } else { Said::Late });
    })
}

fn receive(receiver: Receiver<u32>, patience: Option<Duration>) -> Operation {
    Box::new(move |say| {
        let received = match patience {
            None => receiver.recv().ok(),
            Some(patience) => receiver.recv_timeout(patience).ok(),
        };
        say(received.map_or(Said::Late, Said::Value));
    })
}

pub(super) struct Channel {
    ends: (Sender<u32>, Receiver<u32>),
    lying: Lying,
    receivers: Line<()>,
    /// What was said by whoever made it possible.
    said: Vec<Saying>,
}

impl Channel {
    pub(super) fn new(capacity: usize) -> Self {
        let ends = channel::bounded(capacity);
        Self { ends, lying: Lying::new(capacity), receivers: Line::new(), said: Vec::new() }
    }
}

impl Model for Channel {
    fn begin(&mut self, number: usize, kind: u8, _n: u32, patience: Option<Duration>) -> Option<Operation> {
        let value = u32::try_from(number).unwrap();
        match kind {
            0 => {
                self.lying.senders.enter(number, value);
                return Some(send(self.ends.0.clone(), value, patience));
            }
            1 => {
                self.receivers.enter(number, ());
                return Some(receive(self.ends.1.clone(), patience));
            }
            2 => {
                let fits = !self.receivers.is_empty() || self.lying.queue.len() < self.lying.capacity;
                assert_eq!(self.ends.0.try_send(value).is_ok(), fits);
                self.lying.queue.extend(fits.then_some(value));
            }
            _ => assert_eq!(self.ends.1.try_recv().ok(), self.lying.take(&mut self.said)),
        }
        None
    }

    fn serve(&mut self) -> Vec<Saying> {
        let mut said = std::mem::take(&mut self.said);
        if !self.receivers.is_empty()
            && let Some(value) = self.lying.take(&mut said)
            && let Some((receiver, ())) = self.receivers.first()
        {
            said.push((receiver, Said::Value(value)));
        }
        self.lying.fill(&mut said);
        said
    }

    fn waiting(&self) -> Vec<usize> {
        self.lying.senders.numbers().chain(self.receivers.numbers()).collect()
    }

    fn leave(&mut self, number: usize) {
        self.lying.senders.leave(number);
        self.receivers.leave(number);
    }

    fn compare(&self) {
        let (len, is_full) = (self.lying.queue.len(), self.lying.queue.len() == self.lying.capacity);
        assert_eq!((self.ends.1.len(), self.ends.0.is_full()), (len, is_full));
    }
}

pub(super) struct Broadcast {
    sender: BroadcastSender<u32>,
    receivers: Vec<Arc<BroadcastReceiver<u32>>>,
    capacity: usize,
    sent: Vec<u32>,
    /// How far each receiver is.
    places: Vec<usize>,
    /// Beside each, whose turn it is to receive there. One at a time: of several who are woken, anyone may be first.
    waiting: Line<usize>,
}

impl Broadcast {
    pub(super) fn new(capacity: usize) -> Self {
        let (sender, receiver) = channel::broadcast(capacity);
        let receivers = (0..3).map(|_| Arc::new(receiver.clone())).collect();
        Self { sender, receivers, capacity, sent: Vec::new(), places: vec![0; 3], waiting: Line::new() }
    }
}

impl Model for Broadcast {
    fn begin(&mut self, number: usize, kind: u8, n: u32, patience: Option<Duration>) -> Option<Operation> {
        if kind > 1 {
            self.sent.push(u32::try_from(number).unwrap());
            self.sender.send(self.sent[self.sent.len() - 1]).unwrap();
            return None;
        }
        let at = n as usize % self.receivers.len();
        if self.waiting.0.iter().any(|&(_, other)| other == at) {
            return None;
        }
        self.waiting.enter(number, at);
        let receiver = self.receivers[at].clone();
        Some(Box::new(move |say| {
            let received = match patience {
                None => receiver.recv().map_err(|error| match error {
                    BroadcastRecvError::Missed(count) => Said::Missed(count),
                    BroadcastRecvError::Disconnected => Said::Refused,
                }),
                Some(patience) => receiver.recv_timeout(patience).map_err(|error| match error {
                    BroadcastRecvTimeoutError::Missed(count) => Said::Missed(count),
                    BroadcastRecvTimeoutError::Timeout => Said::Late,
                    BroadcastRecvTimeoutError::Disconnected => Said::Refused,
                }),
            };
            say(received.map_or_else(|said| said, Said::Value));
        }))
    }

    fn serve(&mut self) -> Vec<Saying> {
        let oldest = self.sent.len().saturating_sub(self.capacity);
        let mut said = Vec::new();
        self.waiting.0.retain(|&(number, at)| {
            let place = &mut self.places[at];
            let missed = oldest.saturating_sub(*place);
            if missed > 0 {
                *place = oldest;
                said.push((number, Said::Missed(missed as u64)));
            } else if let Some(&value) = self.sent.get(*place) {
                *place += 1;
                said.push((number, Said::Value(value)));
            } else {
                return true;
            }
            false
        });
        said
    }

    fn waiting(&self) -> Vec<usize> {
        self.waiting.numbers().collect()
    }

    fn leave(&mut self, number: usize) {
        self.waiting.leave(number);
    }
}

pub(super) struct Watch {
    sender: WatchSender<u32>,
    receivers: Vec<Arc<WatchReceiver<u32>>>,
    value: u32,
    /// Which receivers have seen it.
    seen: Vec<bool>,
    waiting: Line<usize>,
}

impl Watch {
    pub(super) fn new() -> Self {
        let (sender, receiver) = channel::watch(0);
        let receivers = (0..3).map(|_| Arc::new(receiver.clone())).collect();
        Self { sender, receivers, value: 0, seen: vec![true; 3], waiting: Line::new() }
    }
}

impl Model for Watch {
    fn begin(&mut self, number: usize, kind: u8, n: u32, patience: Option<Duration>) -> Option<Operation> {
        let at = n as usize % self.receivers.len();
        let receiver = self.receivers[at].clone();
        if kind == 3 {
            self.value = u32::try_from(number).unwrap();
            self.sender.send(self.value);
            self.seen.fill(false);
        }
        if kind == 3 || self.waiting.0.iter().any(|&(_, other)| other == at) {
            return None;
        }
        if kind == 2 {
            let seen = std::mem::replace(&mut self.seen[at], true);
            assert_eq!(receiver.try_recv().ok(), (!seen).then_some(self.value));
            return None;
        }
        self.waiting.enter(number, at);
        Some(Box::new(move |say| {
            let received = match patience {
                None => receiver.recv().ok(),
                Some(patience) => receiver.recv_timeout(patience).ok(),
            };
            say(received.map_or(Said::Late, Said::Value));
        }))
    }

    fn serve(&mut self) -> Vec<Saying> {
        let mut said = Vec::new();
        self.waiting.0.retain(|&(number, at)| {
            let seen = std::mem::replace(&mut self.seen[at], true);
            if !seen {
                said.push((number, Said::Value(self.value)));
            }
            seen
        });
        said
    }

    fn waiting(&self) -> Vec<usize> {
        self.waiting.numbers().collect()
    }

    fn leave(&mut self, number: usize) {
        self.waiting.leave(number);
    }

    fn compare(&self) {
        assert_eq!(self.sender.get(), self.value);
        for (receiver, &seen) in self.receivers.iter().zip(&self.seen) {
            assert_eq!(receiver.has_changed(), !seen);
        }
    }
}

/// Two channels, receives from one, and selects that receive from either, the first one first.
pub(super) struct Selects {
    ends: [(Sender<u32>, Receiver<u32>); 2],
    lying: [Lying; 2],
    /// Who waits at each; a select waits at both.
    receivers: [Line<()>; 2],
    said: Vec<Saying>,
}

impl Selects {
    pub(super) fn new(capacity: usize) -> Self {
        Self {
            ends: [(); 2].map(|()| channel::bounded(capacity)),
            lying: [(); 2].map(|()| Lying::new(capacity)),
            receivers: [(); 2].map(|()| Line::new()),
            said: Vec::new(),
        }
    }
}

/// Receives from the first of two that has something.
fn select(receivers: &[Receiver<u32>; 2], patience: Option<Duration>) -> Option<u32> {
    let mut select = Select::new_biased();
    for receiver in receivers {
        select.recv(receiver);
    }
    let operation = match patience {
        None => select.select(),
        Some(patience) => select.select_timeout(patience).ok()?,
    };
    let index = operation.index();
    Some(operation.recv(&receivers[index]).unwrap())
}

impl Model for Selects {
    fn begin(&mut self, number: usize, kind: u8, n: u32, patience: Option<Duration>) -> Option<Operation> {
        let at = n as usize % 2;
        let receivers = self.ends.each_ref().map(|(_, receiver)| receiver.clone());
        match kind {
            0 => {
                let value = u32::try_from(number).unwrap();
                self.lying[at].senders.enter(number, value);
                Some(send(self.ends[at].0.clone(), value, patience))
            }
            1 => {
                self.receivers[at].enter(number, ());
                Some(receive(receivers[at].clone(), patience))
            }
            2 => {
                self.receivers.iter_mut().for_each(|line| line.enter(number, ()));
                Some(Box::new(move |say| say(select(&receivers, patience).map_or(Said::Late, Said::Value))))
            }
            _ => {
                let mut select = Select::new_biased();
                for receiver in &receivers {
                    select.recv(receiver);
                }
                let received = select.try_select().ok().map(|operation| {
                    let index = operation.index();
                    operation.recv(&receivers[index]).unwrap()
                });
                let [first, second] = &mut self.lying;
                let expected = first.take(&mut self.said).or_else(|| second.take(&mut self.said));
                assert_eq!(received, expected);
                None
            }
        }
    }

    fn serve(&mut self) -> Vec<Saying> {
        let mut said = std::mem::take(&mut self.said);
        for at in 0..2 {
            if !self.receivers[at].is_empty()
                && let Some(value) = self.lying[at].take(&mut said)
                && let Some((receiver, ())) = self.receivers[at].first()
            {
                self.receivers[1 - at].leave(receiver);
                said.push((receiver, Said::Value(value)));
            }
            self.lying[at].fill(&mut said);
        }
        said
    }

    fn waiting(&self) -> Vec<usize> {
        let senders = self.lying.iter().flat_map(|lying| lying.senders.numbers());
        let mut waiting: Vec<_> = senders.chain(self.receivers.iter().flat_map(Line::numbers)).collect();
        waiting.sort_unstable();
        waiting.dedup();
        waiting
    }

    fn leave(&mut self, number: usize) {
        self.lying.iter_mut().for_each(|lying| lying.senders.leave(number));
        self.receivers.iter_mut().for_each(|line| line.leave(number));
    }
}

/// Two channels, sends and receives, and a select that would send to either, the first one first. Of several such selects
/// any may be first when there is room, so there is one at a time. And fair ones that do not wait: of what is ready they may
/// begin anything, and the model follows.
pub(super) struct Sends {
    ends: [(Sender<u32>, Receiver<u32>); 2],
    lying: [Lying; 2],
    receivers: [Line<()>; 2],
    select: Line<u32>,
    said: Vec<Saying>,
}

impl Sends {
    pub(super) fn new(capacity: usize) -> Self {
        Self {
            ends: [(); 2].map(|()| channel::bounded(capacity)),
            lying: [(); 2].map(|()| Lying::new(capacity)),
            receivers: [(); 2].map(|()| Line::new()),
            select: Line::new(),
            said: Vec::new(),
        }
    }

    /// Sends to one of the channels, if that needs no waiting.
    fn try_send(&mut self, at: usize, value: u32) -> bool {
        if let Some((receiver, ())) = self.receivers[at].first() {
            self.said.push((receiver, Said::Value(value)));
            return true;
        }
        let fits = self.lying[at].queue.len() < self.lying[at].capacity;
        self.lying[at].queue.extend(fits.then_some(value));
        fits
    }

    /// Begins any of all four operations, and does the same here.
    fn select_any(&mut self, value: u32) {
        let ends = self.ends.clone();
        let mut select = Select::new();
        for (sender, receiver) in &ends {
            select.recv(receiver);
            select.send(sender);
        }
        let Ok(operation) = select.try_select() else {
            for at in 0..2 {
                assert!(!self.try_send(at, value) && self.lying[at].take(&mut self.said).is_none(), "{at} is ready");
            }
            return;
        };
        let at = operation.index() / 2;
        if operation.index() % 2 == 0 {
            assert_eq!(operation.recv(&ends[at].1).ok(), self.lying[at].take(&mut self.said));
        } else {
            operation.send(&ends[at].0, value).unwrap();
            assert!(self.try_send(at, value), "there was room in {at}");
        }
    }
}

impl Model for Sends {
    fn begin(&mut self, number: usize, kind: u8, n: u32, patience: Option<Duration>) -> Option<Operation> {
        let (at, value) = (n as usize % 2, u32::try_from(number).unwrap());
        match kind {
            0 => {
                self.receivers[at].enter(number, ());
                Some(receive(self.ends[at].1.clone(), patience))
            }
            1 => {
                self.lying[at].senders.enter(number, value);
                Some(send(self.ends[at].0.clone(), value, patience))
            }
            2 if self.select.is_empty() => {
                self.select.enter(number, value);
                let senders = self.ends.each_ref().map(|(sender, _)| sender.clone());
                Some(Box::new(move |say| {
                    let mut select = Select::new_biased();
                    senders.iter().for_each(|sender| _ = select.send(sender));
                    let operation = match patience {
                        None => Some(select.select()),
                        Some(patience) => select.select_timeout(patience).ok(),
                    };
                    say(match operation {
                        None => Said::Late,
                        Some(operation) => {
                            let at = operation.index();
                            operation.send(&senders[at], value).unwrap();
                            Said::Done
                        }
                    });
                }))
            }
            2 => None,
            _ => {
                self.select_any(value);
                None
            }
        }
    }

    fn serve(&mut self) -> Vec<Saying> {
        for at in 0..2 {
            if !self.receivers[at].is_empty()
                && let Some(value) = self.lying[at].take(&mut self.said)
                && let Some((receiver, ())) = self.receivers[at].first()
            {
                self.said.push((receiver, Said::Value(value)));
            }
            self.lying[at].fill(&mut self.said);
        }
        if let Some((select, value)) = self.select.first() {
            if (0..2).any(|at| self.try_send(at, value)) {
                self.said.push((select, Said::Done));
            } else {
                self.select.enter(select, value);
            }
        }
        std::mem::take(&mut self.said)
    }

    fn waiting(&self) -> Vec<usize> {
        let senders = self.lying.iter().flat_map(|lying| lying.senders.numbers());
        let waiting = senders.chain(self.receivers.iter().flat_map(Line::numbers)).chain(self.select.numbers());
        waiting.collect()
    }

    fn leave(&mut self, number: usize) {
        self.lying.iter_mut().for_each(|lying| lying.senders.leave(number));
        self.receivers.iter_mut().for_each(|line| line.leave(number));
        self.select.leave(number);
    }

    fn compare(&self) {
        for (at, (sender, receiver)) in self.ends.iter().enumerate() {
            let (len, capacity) = (self.lying[at].queue.len(), self.lying[at].capacity);
            assert_eq!((receiver.len(), sender.is_full()), (len, len == capacity));
        }
    }
}
