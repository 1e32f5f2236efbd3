//! Results and single messages that several try to give, and some wait for who are cancelled or late.
//!
//! The model: of those who set a result one succeeds, and every getter gets what that one gave; of a oneshot's message either
//! the receiver gets it or the sender gets it back, or it is dropped; and every message is dropped once.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use osier::select;
use osier::sync::{AsyncResult, channel};
use osier::task::JoinError;

use crate::books::{Books, Message, note_received, note_sent};
use crate::cast::{Cast, dawdle};
use crate::random::Random;

type Answer = AsyncResult<Arc<Message>>;

/// Checks what a getter got: what the one who succeeded gave, by its number.
fn check(got: Result<Arc<Message>, JoinError>, winner: &AtomicUsize) {
    // Noted before it is set, by each who tries: so it is among them.
    let number = match got {
        Ok(message) => usize::try_from(message.number).expect("a small number"),
        Err(error) if error.is_timeout() => return,
        Err(error) => {
            assert!(error.exception().is_some_and(|e| e.is::<fmt::Error>()), "{error}");
            0
        }
    };
    // The first getter notes it, the others find the same.
    let was = winner.compare_exchange(usize::MAX, number, Ordering::SeqCst, Ordering::SeqCst);
    assert!(was.is_ok() || was == Err(number), "{number} after {was:?}");
}

pub(crate) fn results(random: &mut Random) {
    let books = Arc::new(Books::default());
    let answer = Answer::new();
    let (winner, wins) = (Arc::new(AtomicUsize::new(usize::MAX)), Arc::new(AtomicUsize::new(0)));
    let mut cast = Cast::default();
    for _ in 0..random.below(8) {
        let (answer, winner) = (answer.clone(), winner.clone());
        let get = move |mut own: Random| match own.below(4) {
            0 => check(answer.get_timeout(own.moment()), &winner),
            1 => {
                answer.wait();
                assert!(answer.is_ready());
            }
            2 => drop(osier::wait(&[&answer]).timeout(own.moment()).next()),
            _ => check(answer.get(), &winner),
        };
        match random.once_in(2) {
            true => cast.add(random, get),
            false => cast.add_reliable(random, get),
        }
    }
    // Links run once each, unless they are taken back.
    let (links, ran) = (random.below(4), Arc::new(AtomicUsize::new(0)));
    let linked: Vec<_> = (0..links)
        .map(|_| {
            let (winner, ran) = (winner.clone(), ran.clone());
            answer.link(move |got| {
                check(got.clone(), &winner);
                ran.fetch_add(1, Ordering::SeqCst);
            })
        })
        .collect();
    let unlinked = linked.iter().filter(|link| random.once_in(3) && link.unlink()).count();
    for _ in 0..random.below(4) + 1 {
        let (answer, wins, message) = (answer.clone(), wins.clone(), Message::new(&books));
        cast.add_reliable(random, move |mut own| {
            dawdle(&mut own);
            let is_first = match own.once_in(3) {
                true => answer.set_exception(fmt::Error).is_ok(),
                false => answer.set(Arc::new(message)).is_ok(),
            };
            wins.fetch_add(usize::from(is_first), Ordering::SeqCst);
        });
    }
    cast.end(random);
    assert_eq!(wins.load(Ordering::SeqCst), 1, "those who set it");
    while ran.load(Ordering::SeqCst) < links - unlinked {
        osier::yield_now();
    }
    assert!(linked.iter().all(|link| !link.unlink()), "they have run, or were taken back");
    let last = answer.take().expect("it is set");
    if let Ok(message) = &last {
        // A link has run a moment before it lets go of what it was given.
        while Arc::strong_count(message) > 1 {
            osier::yield_now();
        }
    }
    check(last, &winner);
    drop(answer);
    books.close();
}

/// Receives one message in random ways, or none if the sender goes.
fn receive(receiver: &channel::OneshotReceiver<Message>, random: &mut Random) -> Option<Message> {
    let early = match random.below(4) {
        0 => receiver.recv_timeout(random.moment()).ok(),
        1 => receiver.try_recv().ok(),
        2 => select! {
            recv(receiver) -> message => message.ok(),
            default(random.moment()) => None,
        },
        _ => None,
    };
    early.or_else(|| receiver.recv().ok())
}

pub(crate) fn oneshots(random: &mut Random) {
    // Of those that may be cancelled, and of those that go on to the end.
    let books = [Arc::new(Books::default()), Arc::new(Books::default())];
    let mut cast = Cast::default();
    for _ in 0..random.below(12) + 1 {
        let is_reliable = random.once_in(2);
        let (sender, receiver) = channel::oneshot();
        let own_books = books[usize::from(is_reliable)].clone();
        let send = move |mut own: Random| {
            dawdle(&mut own);
            let message = Message::new(&own_books);
            let number = message.number;
            if !own.once_in(5) {
                note_sent(&own_books, number, sender.send(message).is_ok());
            }
        };
        let receive = move |mut own: Random| {
            dawdle(&mut own);
            note_received(receive(&receiver, &mut own));
        };
        if is_reliable {
            cast.add_reliable(random, send);
            cast.add_reliable(random, receive);
        } else {
            cast.add(random, send);
            cast.add(random, receive);
        }
    }
    cast.end(random);
    let [cancelled, reliable] = books;
    cancelled.assert_all_dropped();
    reliable.close();
}
