//! Conditions whose waiters are cancelled and late.
//!
//! The model: tickets under a lock. Some take one each and go on to the end; as many are made. Others take tickets too, but
//! bring them back, or are cancelled. If a notification were used up by somebody who leaves, somebody would wait for ever.

use std::sync::Arc;

use osier::sync::{Condition, Condvar, Mutex};
use osier::task::shield;

use crate::cast::{Cast, and_then, dawdle};
use crate::random::Random;

/// Tickets, and how to wait for one.
#[derive(Debug)]
enum Tickets {
    Std(Mutex<usize>, Condvar),
    /// gevent's lock guards no value.
    Gevent(Condition, Mutex<usize>),
}

/// Where a count lies that another lock guards: nobody else has this one.
fn count(count: &Mutex<usize>) -> osier::sync::MutexGuard<'_, usize> {
    count.try_lock().expect("the condition's lock is held")
}

impl Tickets {
    fn new(random: &mut Random) -> Self {
        match random.once_in(2) {
            true => Self::Std(Mutex::new(0), Condvar::new()),
            false => Self::Gevent(Condition::new(), Mutex::new(0)),
        }
    }

    /// Puts a ticket there, also if the caller is cancelled meanwhile.
    fn give(&self, random: &mut Random) {
        let all = random.once_in(5);
        shield(|| match self {
            Self::Std(tickets, changed) => {
                *tickets.lock() += 1;
                if all { changed.notify_all() } else { changed.notify_one() }
            }
            Self::Gevent(condition, tickets) => {
                let guard = condition.lock();
                *count(tickets) += 1;
                if all { guard.notify_all() } else { guard.notify_one() }
            }
        });
    }

    /// Takes a ticket, waiting for it.
    fn take(&self) {
        match self {
            Self::Std(tickets, changed) => *changed.wait_while(tickets.lock(), |tickets| *tickets == 0) -= 1,
            Self::Gevent(condition, tickets) => {
                let guard = condition.lock();
                guard.wait_for(|| *count(tickets) > 0);
                *count(tickets) -= 1;
            }
        }
    }

    /// Takes a ticket unless that takes too long. Whether it did.
    fn take_in_time(&self, random: &mut Random) -> bool {
        let moment = random.moment();
        match self {
            Self::Std(tickets, changed) => {
                let (mut tickets, _) = changed.wait_timeout_while(tickets.lock(), moment, |tickets| *tickets == 0);
                let is_there = *tickets > 0;
                *tickets -= usize::from(is_there);
                is_there
            }
            Self::Gevent(condition, tickets) => {
                let guard = condition.lock();
                let is_there = guard.wait_for_timeout(moment, || *count(tickets) > 0);
                *count(tickets) -= usize::from(is_there);
                is_there
            }
        }
    }

    fn left(&self) -> usize {
        match self {
            Self::Std(tickets, _) | Self::Gevent(_, tickets) => *count(tickets),
        }
    }
}

pub(crate) fn round(random: &mut Random) {
    let tickets = Arc::new(Tickets::new(random));
    let takers = random.below(6) + 1;
    let mut cast = Cast::default();
    for _ in 0..takers {
        let tickets = tickets.clone();
        cast.add_reliable(random, move |_| tickets.take());
    }
    for _ in 0..random.below(8) {
        let tickets = tickets.clone();
        cast.add_doomed(random, move |mut own| {
            for _ in 0..own.below(20) {
                let has = match own.once_in(2) {
                    true => tickets.take_in_time(&mut own),
                    false => {
                        tickets.take();
                        true
                    }
                };
                if has {
                    let mut its = own.split();
                    and_then(|| dawdle(&mut own), || tickets.give(&mut its));
                }
            }
        });
    }
    for _ in 0..takers {
        let tickets = tickets.clone();
        cast.add_reliable(random, move |mut own| {
            dawdle(&mut own);
            tickets.give(&mut own);
        });
    }
    cast.end(random);
    assert_eq!(tickets.left(), 0, "tickets that were made and not taken");
}
