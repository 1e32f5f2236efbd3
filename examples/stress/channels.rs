//! Channels of every capacity, alone and in selects, from tasks and threads, that are cancelled, late and dropped.
//!
//! The model: every message has a number. The sums of the numbers that were sent (the call said so) and that were
//! received (or were left in a channel) are equal, and every message was dropped once.

use std::sync::Arc;

use osier::sync::channel::{self, Receiver, Select, Sender};
use osier::{select, select_biased, spawn, yield_now};

use crate::books::{Books, Message, note_received, note_sent};
use crate::cast::Cast;
use crate::random::Random;

type Ends = (Sender<Message>, Receiver<Message>);

/// Sends some messages in random ways; stops early now and then.
fn send_some(channels: &[Ends], books: &Arc<Books>, mut random: Random) {
    for _ in 0..random.below(40) {
        let message = Message::new(books);
        let number = message.number;
        let (a, b) = (&random.one_of(channels).0, &random.one_of(channels).0);
        let sent = match random.below(7) {
            0 => a.send(message).is_ok(),
            1 => a.try_send(message).is_ok(),
            2 => a.send_timeout(message, random.moment()).is_ok(),
            3 => select! {
                send(a, message) -> sent => sent.is_ok(),
                send(b, message) -> sent => sent.is_ok(),
            },
            4 => select! {
                send(a, message) -> sent => sent.is_ok(),
                recv(random.one_of(channels).1) -> got => { note_received(got.ok()); false }
                default(random.moment()) => false,
            },
            5 => {
                let mut select = Select::new();
                channels.iter().for_each(|(sender, _)| _ = select.send(sender));
                match select.select_timeout(random.moment()) {
                    // Taken back: nothing was sent.
                    Ok(operation) if random.once_in(3) => {
                        drop(operation);
                        false
                    }
                    Ok(operation) => {
                        let index = operation.index();
                        operation.send(&channels[index].0, message).is_ok()
                    }
                    Err(_) => false,
                }
            }
            _ => {
                yield_now();
                false
            }
        };
        note_sent(books, number, sent);
    }
}

/// Receives some messages in random ways. With `to_the_end`, until all channels are closed and empty.
fn receive_some(channels: &[Ends], mut random: Random, to_the_end: bool) {
    let mut rounds = random.below(60);
    while to_the_end || rounds > 0 {
        rounds = rounds.saturating_sub(1);
        let (a, b) = (&random.one_of(channels).1, &random.one_of(channels).1);
        match random.below(7) {
            0 => note_received(a.recv_timeout(random.moment()).ok()),
            1 => note_received(a.try_recv().ok()),
            2 => select_biased! {
                recv(a) -> got => note_received(got.ok()),
                recv(b) -> got => note_received(got.ok()),
                default(random.moment()) => {}
            },
            3 => {
                let mut select = Select::new();
                channels.iter().for_each(|(_, receiver)| _ = select.recv(receiver));
                match select.select_timeout(random.moment()) {
                    // Taken back: the message comes again.
                    Ok(operation) if random.once_in(3) => drop(operation),
                    Ok(operation) => {
                        let index = operation.index();
                        note_received(operation.recv(&channels[index].1).ok());
                    }
                    Err(_) => {}
                }
            }
            4 if random.once_in(4) => a.drain().for_each(|message| note_received(Some(message))),
            5 => a.try_iter().take(3).for_each(|message| note_received(Some(message))),
            _ => yield_now(),
        }
        if to_the_end && channels.iter().all(|(_, receiver)| receiver.is_closed() && receiver.is_empty()) {
            break;
        }
    }
}

pub(crate) fn round(random: &mut Random) {
    let books = Arc::new(Books::default());
    let channels: Arc<[Ends]> =
        (0..random.below(4) + 1).map(|_| channel::bounded(*random.one_of(&[0, 0, 1, 1, 3, usize::MAX]))).collect();

    let mut cast = Cast::default();
    for _ in 0..random.below(12) + 2 {
        let (channels, books, sends) = (channels.clone(), books.clone(), random.once_in(2));
        cast.add(random, move |own| match sends {
            true => send_some(&channels, &books, own),
            false => receive_some(&channels, own, false),
        });
    }
    // Somebody always receives, so that whoever sends can go on.
    let last = spawn({
        let (channels, own) = (channels.clone(), random.split());
        move || receive_some(&channels, own, true)
    });
    cast.end(random);
    channels.iter().for_each(|(sender, _)| _ = sender.close());
    last.join().expect("the last receiver has no reason to fail");

    channels.iter().flat_map(|(_, receiver)| receiver.drain()).for_each(|message| note_received(Some(message)));
    drop(channels);
    books.close();
}
