//! gevent's queues of every kind, from tasks and threads, that are cancelled, late, resized, joined and shut down.
//!
//! The model: every item has a number. The sums of the numbers that were put (the call said so) and that were got (or were
//! left in the queue) are equal, every item was dropped once, and joining returns when the work for all is done.

use std::sync::Arc;
use std::time::Duration;

use osier::sync::queue::{GetError, PutError};
use osier::sync::{Channel, LifoQueue, PriorityQueue, Queue, SimpleQueue};

use crate::books::{Books, Message, note_received, note_sent};
use crate::cast::{Cast, dawdle};
use crate::random::Random;

/// What the kinds have in common.
#[derive(Clone, Debug)]
enum Line {
    Queue(Queue<Message>),
    Lifo(LifoQueue<Message>),
    Priority(PriorityQueue<Message>),
    Simple(SimpleQueue<Message>),
    Channel(Channel<Message>),
}

/// Calls a method that the first three have.
macro_rules! on_queue {
    ($line:expr, $queue:ident => $call:expr, $($other:tt)*) => {
        match $line {
            Line::Queue($queue) => $call,
            Line::Lifo($queue) => $call,
            Line::Priority($queue) => $call,
            $($other)*
        }
    };
}

impl Line {
    fn new(random: &mut Random) -> Self {
        let size = random.below(4);
        match random.below(5) {
            0 if size == 3 => Self::Queue(Queue::new()),
            0 => Self::Queue(Queue::bounded(size + 1)),
            1 => Self::Lifo(LifoQueue::bounded(size + 1)),
            2 => Self::Priority(PriorityQueue::bounded(size + 1)),
            3 => Self::Simple(SimpleQueue::new()),
            _ => Self::Channel(Channel::new()),
        }
    }

    /// Puts in one of three ways. Whether it did.
    fn put(&self, message: Message, random: &mut Random) -> bool {
        let moment = random.moment();
        let way = random.below(3);
        on_queue!(self, queue => match way {
            0 => queue.put(message).is_ok(),
            1 => queue.try_put(message).is_ok(),
            _ => queue.put_timeout(message, moment).is_ok(),
        },
        Self::Simple(queue) => {
            queue.put(message);
            true
        }
        Self::Channel(channel) => match way {
            0 => channel.put(message).is_ok(),
            1 => channel.try_put(message).is_ok(),
            _ => match channel.put_timeout(message, moment) {
                Ok(()) => true,
                Err(PutError::Full(message) | PutError::ShutDown(message)) => {
                    drop(message);
                    false
                }
            },
        },)
    }

    fn get(&self, random: &mut Random) -> Option<Message> {
        let moment = random.moment();
        let way = random.below(3);
        on_queue!(self, queue => match way {
            0 => queue.get().ok(),
            1 => queue.try_get().ok(),
            _ => queue.get_timeout(moment).ok(),
        },
        Self::Simple(queue) => match way {
            0 => queue.try_get().ok(),
            _ => queue.get_timeout(moment).ok(),
        },
        Self::Channel(channel) => match way {
            0 => channel.get().ok(),
            1 => channel.try_get().ok(),
            _ => channel.get_timeout(moment).ok(),
        },)
    }

    fn try_get(&self) -> Result<Message, GetError> {
        on_queue!(self, queue => queue.try_get(),
            Self::Simple(queue) => queue.try_get(),
            Self::Channel(channel) => channel.try_get(),)
    }

    fn task_done(&self) {
        on_queue!(self, queue => queue.task_done(), Self::Simple(_) | Self::Channel(_) => {});
    }

    /// Something else than putting and getting.
    fn disturb(&self, random: &mut Random) {
        let n = random.below(4) + 1;
        let moment = random.moment();
        on_queue!(self, queue => match random.below(3) {
            0 => queue.set_maxsize(n),
            1 => _ = queue.join_timeout(moment),
            _ => _ = format!("{queue:?}, {}", queue.unfinished()),
        },
        Self::Simple(queue) => _ = queue.len(),
        Self::Channel(channel) => _ = format!("{channel:?}"),);
    }

    fn shutdown(&self) {
        on_queue!(self, queue => queue.shutdown(), Self::Simple(_) => {} Self::Channel(channel) => channel.shutdown(),);
    }
}

pub(crate) fn round(random: &mut Random) {
    let books = Arc::new(Books::default());
    let line = Line::new(random);
    let mut cast = Cast::default();
    for _ in 0..random.below(8) + 1 {
        let (line, books) = (line.clone(), books.clone());
        cast.add(random, move |mut own| {
            for _ in 0..own.below(30) {
                let message = Message::new(&books);
                let number = message.number;
                note_sent(&books, number, line.put(message, &mut own));
                dawdle(&mut own);
            }
        });
    }
    for _ in 0..random.below(8) {
        let line = line.clone();
        cast.add(random, move |mut own| {
            for _ in 0..own.below(30) {
                if let Some(message) = line.get(&mut own) {
                    note_received(Some(message));
                    line.task_done();
                }
                if own.once_in(8) {
                    line.disturb(&mut own);
                }
            }
        });
    }
    // Somebody always gets, so that whoever puts can go on; until nobody puts any more.
    let last = osier::spawn({
        let (line, mut own) = (line.clone(), random.split());
        move || {
            let get = |own: &mut Random| match &line {
                Line::Simple(queue) => queue.get_timeout(Duration::from_millis(1)).ok(),
                line => line.get(own),
            };
            loop {
                match get(&mut own) {
                    Some(message) => {
                        note_received(Some(message));
                        line.task_done();
                    }
                    None if is_over(&line) => return,
                    None => osier::yield_now(),
                }
            }
        }
    });
    // Those who only get are served, or get an error, once all others have ended.
    let mut ender = random.split();
    let ending = line.clone();
    let shuts_early = random.once_in(4);
    if shuts_early {
        dawdle(random);
        line.shutdown();
    }
    let feeder = osier::spawn({
        let books = books.clone();
        move || {
            // Getters without a limit may wait for more than was put.
            while !is_over(&ending) {
                let message = Message::new(&books);
                let number = message.number;
                let sent = match &ending {
                    Line::Simple(_) => false,
                    line => line.put(message, &mut ender),
                };
                note_sent(&books, number, sent);
                osier::sleep(Duration::from_micros(200));
            }
        }
    });
    cast.end(random);
    line.shutdown();
    match &line {
        Line::Simple(_) => {
            last.cancel();
            feeder.cancel();
            (_, _) = (last.join(), feeder.join());
        }
        _ => {
            last.join().expect("the last getter has no reason to fail");
            feeder.join().expect("who feeds has no reason to fail");
        }
    }
    while let Ok(message) = line.try_get() {
        note_received(Some(message));
        line.task_done();
    }
    on_queue!(&line, queue => {
        assert!(queue.join_timeout(Duration::from_secs(20)), "the work for all items is done: {queue:?}");
    }, Line::Simple(_) | Line::Channel(_) => {});
    drop(line);
    books.close();
}

/// Whether nothing is put any more.
fn is_over(line: &Line) -> bool {
    on_queue!(line, queue => queue.is_shut_down() && queue.is_empty(), Line::Simple(_) => false,
        Line::Channel(channel) => channel.is_shut_down(),)
}
