//! Generators that run as tasks, in lock step and ahead, whose drivers throw, close, drop, and are cancelled.
//!
//! The model: numbers come in order and without a gap, up to where the driver stopped; in lock step the body has seen what was
//! sent; and every message was dropped once, also those that were produced ahead.

use std::fmt;
use std::sync::Arc;

use osier::generator::ResumeError;
use osier::{Generator, Step, Yielder};

use crate::books::{Books, Message};
use crate::cast::{Cast, dawdle};
use crate::random::Random;

/// Takes numbers from a body that runs ahead.
fn take_ahead(books: &Arc<Books>, mut random: Random) {
    let (count, ahead) = (random.below(40) as u64, random.below(4) + 1);
    let (own, mut its) = (books.clone(), random.split());
    let mut numbers = Generator::builder(move |y: &Yielder<(u64, Message)>| {
        for number in 0..count {
            dawdle(&mut its);
            y.yield_((number, Message::new(&own)));
        }
        count
    })
    .spawn_ahead(ahead);
    for expected in 0..=count {
        match random.below(30) {
            0 => return,
            1 => {
                // It may have ended ahead of us.
                assert!(matches!(numbers.close(), Ok(None) | Ok(Some(_))));
                assert!(numbers.next().is_none());
                return;
            }
            2 => {
                match numbers.throw(fmt::Error) {
                    Err(ResumeError::Raised(e)) => assert!(e.is::<fmt::Error>()),
                    other => panic!("{other:?}"),
                }
                assert!(numbers.next().is_none());
                return;
            }
            _ => {}
        }
        match numbers.next() {
            Some((number, _message)) => assert_eq!(number, expected),
            None => {
                assert_eq!((expected, numbers.take_return()), (count, Some(count)));
                return;
            }
        }
    }
    panic!("more than {count} numbers");
}

/// Sends numbers into a body that adds them up.
fn send_in_step(books: &Arc<Books>, mut random: Random) {
    let (own, mut its) = (books.clone(), random.split());
    let mut sums = Generator::builder(move |y: &Yielder<u64, Message>| {
        let (mut sum, _message) = (0, Message::new(&own));
        loop {
            dawdle(&mut its);
            sum += y.yield_(sum).number;
        }
    })
    .spawn::<u64, Message, ()>();
    assert_eq!(sums.start().expect("it has not started"), Step::Yielded(0));
    let mut sum = 0;
    for _ in 0..random.below(20) {
        let message = Message::new(books);
        sum += message.number;
        assert_eq!(sums.send(message).expect("it goes on for ever"), Step::Yielded(sum));
        dawdle(&mut random);
    }
    if random.once_in(2) {
        assert!(matches!(sums.close(), Ok(None)));
        assert!(matches!(sums.send(Message::new(books)), Err(ResumeError::Finished(_))));
    }
}

pub(crate) fn round(random: &mut Random) {
    let books = Arc::new(Books::default());
    let mut cast = Cast::default();
    for _ in 0..random.below(6) + 1 {
        let (books, in_step) = (books.clone(), random.once_in(2));
        cast.add(random, move |own| if in_step { send_in_step(&books, own) } else { take_ahead(&books, own) });
    }
    cast.end(random);
    // The tasks of generators that were dropped are about to end.
    while Arc::strong_count(&books) > 1 {
        osier::yield_now();
    }
    books.assert_all_dropped();
}
