//! gevent's queues, in their orders, with `task_done` and `join`; and its channel.

use std::time::Duration;

use osier::sync::{self, LifoQueue, PriorityQueue, Queue};

use super::{Line, Model, Operation, Said, Saying};

macro_rules! queue {
    ($(#[$doc:meta])* $name:ident, $queue:ident, $next:expr) => {
        $(#[$doc])*
        pub(super) struct $name {
            queue: $queue<u32>,
            maxsize: usize,
            items: Vec<u32>,
            putters: Line<u32>,
            getters: Line<()>,
            joiners: Line<()>,
            unfinished: usize,
            said: Vec<Saying>,
        }

        impl $name {
            pub(super) fn new(maxsize: usize) -> Self {
                Self {
                    queue: $queue::bounded(maxsize),
                    maxsize,
                    items: Vec::new(),
                    putters: Line::new(),
                    getters: Line::new(),
                    joiners: Line::new(),
                    unfinished: 0,
                    said: Vec::new(),
                }
            }

            fn put(&mut self, item: u32) {
                self.items.push(item);
                self.unfinished += 1;
            }

            fn get(&mut self) -> Option<u32> {
                if self.items.is_empty() {
                    let (putter, item) = self.putters.first()?;
                    self.said.push((putter, Said::Done));
                    self.put(item);
                }
                let next: fn(&[u32]) -> Option<usize> = $next;
                next(&self.items).map(|index| self.items.remove(index))
            }
        }

        impl Model for $name {
            fn begin(&mut self, number: usize, kind: u8, n: u32, patience: Option<Duration>) -> Option<Operation> {
                // Sorted by `n` first, and unique.
                let item = n * 1000 + u32::try_from(number).unwrap();
                let queue = self.queue.clone();
                match (kind, n) {
                    (0, _) => {
                        self.putters.enter(number, item);
                        Some(Box::new(move |say| {
                            let put = match patience {
                                None => queue.put(item).is_ok(),
                                Some(patience) => queue.put_timeout(item, patience).is_ok(),
                            };
                            say(if put { Said::Done } else { Said::Late });
                        }))
                    }
                    (1, _) => {
                        self.getters.enter(number, ());
                        Some(Box::new(move |say| {
                            let got = match patience {
                                None => queue.get().ok(),
                                Some(patience) => queue.get_timeout(patience).ok(),
                            };
                            say(got.map_or(Said::Late, Said::Value));
                        }))
                    }
                    (2, _) => {
                        let fits = !self.getters.is_empty() || self.items.len() < self.maxsize;
                        assert_eq!(queue.try_put(item).is_ok(), fits);
                        if fits {
                            self.put(item);
                        }
                        None
                    }
                    (_, 0) => {
                        assert_eq!(queue.try_get().ok(), self.get());
                        None
                    }
                    (_, 1) => {
                        self.joiners.enter(number, ());
                        Some(Box::new(move |say| {
                            let is_done = match patience {
                                None => {
                                    queue.join();
                                    true
                                }
                                Some(patience) => queue.join_timeout(patience),
                            };
                            say(if is_done { Said::Done } else { Said::Late });
                        }))
                    }
                    _ => {
                        if self.unfinished > 0 {
                            self.unfinished -= 1;
                            queue.task_done();
                        }
                        None
                    }
                }
            }

            fn serve(&mut self) -> Vec<Saying> {
                if !self.getters.is_empty()
                    && let Some(item) = self.get()
                    && let Some((getter, ())) = self.getters.first()
                {
                    self.said.push((getter, Said::Value(item)));
                }
                while self.items.len() < self.maxsize
                    && let Some((putter, item)) = self.putters.first()
                {
                    self.said.push((putter, Said::Done));
                    self.put(item);
                }
                while self.unfinished == 0
                    && let Some((joiner, ())) = self.joiners.first()
                {
                    self.said.push((joiner, Said::Done));
                }
                std::mem::take(&mut self.said)
            }

            fn waiting(&self) -> Vec<usize> {
                self.putters.numbers().chain(self.getters.numbers()).chain(self.joiners.numbers()).collect()
            }

            fn leave(&mut self, number: usize) {
                self.putters.leave(number);
                self.getters.leave(number);
                self.joiners.leave(number);
            }

            fn compare(&self) {
                assert_eq!((self.queue.len(), self.queue.unfinished()), (self.items.len(), self.unfinished));
            }
        }
    };
}

queue!(Fifo, Queue, |items| (!items.is_empty()).then_some(0));
queue!(Lifo, LifoQueue, |items| items.len().checked_sub(1));
queue!(Priority, PriorityQueue, |items| (0..items.len()).min_by_key(|&index| items[index]));

/// gevent's channel: every item goes from hand to hand.
pub(super) struct Channel {
    channel: sync::Channel<u32>,
    putters: Line<u32>,
    getters: Line<()>,
    said: Vec<Saying>,
}

impl Channel {
    pub(super) fn new() -> Self {
        Self { channel: sync::Channel::new(), putters: Line::new(), getters: Line::new(), said: Vec::new() }
    }
}

impl Model for Channel {
    fn begin(&mut self, number: usize, kind: u8, _n: u32, patience: Option<Duration>) -> Option<Operation> {
        let item = u32::try_from(number).unwrap();
        let channel = self.channel.clone();
        match kind {
            0 => {
                self.putters.enter(number, item);
                return Some(Box::new(move |say| {
                    let put = match patience {
                        None => channel.put(item).is_ok(),
                        Some(patience) => channel.put_timeout(item, patience).is_ok(),
                    };
                    say(if put { Said::Done } else { Said::Late });
                }));
            }
            1 => {
                self.getters.enter(number, ());
                return Some(Box::new(move |say| {
                    let got = match patience {
                        None => channel.get().ok(),
                        Some(patience) => channel.get_timeout(patience).ok(),
                    };
                    say(got.map_or(Said::Late, Said::Value));
                }));
            }
            2 => {
                let getter = self.getters.first();
                assert_eq!(channel.try_put(item).is_ok(), getter.is_some());
                self.said.extend(getter.map(|(getter, ())| (getter, Said::Value(item))));
            }
            _ => {
                let putter = self.putters.first();
                assert_eq!(channel.try_get().ok(), putter.map(|(_, item)| item));
                self.said.extend(putter.map(|(putter, _)| (putter, Said::Done)));
            }
        }
        None
    }

    fn serve(&mut self) -> Vec<Saying> {
        if !self.putters.is_empty()
            && let Some((getter, ())) = self.getters.first()
            && let Some((putter, item)) = self.putters.first()
        {
            self.said.extend([(getter, Said::Value(item)), (putter, Said::Done)]);
        }
        std::mem::take(&mut self.said)
    }

    fn waiting(&self) -> Vec<usize> {
        self.putters.numbers().chain(self.getters.numbers()).collect()
    }

    fn leave(&mut self, number: usize) {
        self.putters.leave(number);
        self.getters.leave(number);
    }
}
