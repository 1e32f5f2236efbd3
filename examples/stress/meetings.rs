//! Barriers, what happens once, events and wait groups, with guests who are cancelled, late, or fail.
//!
//! The model: of a round of a barrier all come through, each with a number of its own, or nobody does; what is to run once
//! runs to its end once; who waits for an event or a group goes on after it, and never before.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use osier::sync::{Barrier, Event, Mutex, Once, OnceCell, WaitGroup};
use osier::task::shield;
use osier::{catch, raise, sleep};

use crate::cast::{Cast, dawdle};
use crate::random::Random;

/// Breaks the barrier for the others, who would wait for ever, when its owner has gone, or never comes.
struct Breaker(Arc<Barrier>);

impl Drop for Breaker {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// How often the parties of a barrier meet.
const MEETINGS: usize = 20;

/// Parties that go in lock step, until one of them breaks the barrier.
pub(crate) fn barriers(random: &mut Random) {
    let parties = random.below(5) + 1;
    let (acts, breaks) = (random.once_in(2), random.once_in(2));
    let action = Mutex::new(random.split());
    let barrier = Arc::new(match acts {
        true => Barrier::with_action(parties, move || dawdle(&mut action.lock())),
        false => Barrier::new(parties),
    });
    // The numbers that were given in each round.
    let numbers = Arc::new(Mutex::new(BTreeMap::<usize, Vec<usize>>::new()));
    let mut cast = Cast::default();
    for _ in 0..parties {
        let (barrier, numbers) = (barrier.clone(), numbers.clone());
        let meet = move |mut own: Random, barrier: &Barrier| {
            for round in 0..MEETINGS {
                let number = match own.below(4) {
                    0 if breaks => barrier.wait_timeout(own.moment()),
                    _ => barrier.wait(),
                };
                let Ok(number) = number else { return };
                shield(|| numbers.lock().entry(round).or_default().push(number));
                dawdle(&mut own);
            }
        };
        match breaks {
            true => {
                let breaker = Breaker(barrier);
                cast.add(random, move |own| meet(own, &{ breaker }.0));
            }
            false => cast.add_reliable(random, move |own| meet(own, &barrier)),
        }
    }
    cast.end(random);
    let mut numbers = numbers.lock();
    assert!(breaks || numbers.len() == MEETINGS, "{} rounds", numbers.len());
    for given in numbers.values_mut() {
        given.sort_unstable();
        let count = given.len();
        given.dedup();
        assert_eq!(given.len(), count, "a number was given twice");
        // Somebody may go while the action runs, and the others come through.
        assert!(count == parties || (acts && breaks), "{count} of {parties} came through");
    }
}

/// Closures that are to run once, and fail or are cancelled at first.
pub(crate) fn onces(random: &mut Random) {
    let world = Arc::new((Once::new(), OnceCell::<usize>::new(), AtomicUsize::new(0)));
    let mut cast = Cast::default();
    let visit = |world: &(Once, OnceCell<usize>, AtomicUsize), own: &mut Random, may_fail: bool| {
        let (once, cell, runs) = world;
        let fails = may_fail && own.once_in(2);
        let called = || {
            once.call_once(|| {
                dawdle(own);
                if fails {
                    raise(fmt::Error);
                }
                runs.fetch_add(1, Ordering::Relaxed);
            });
        };
        if catch(called).is_ok() {
            assert!(once.is_completed());
        }
        let made = cell.get_or_try_init(|| {
            dawdle(own);
            if fails { Err(()) } else { Ok(own.below(1000)) }
        });
        if let Ok(&made) = made {
            assert_eq!(cell.get(), Some(&made));
        }
    };
    for _ in 0..random.below(8) {
        let world = world.clone();
        cast.add(random, move |mut own| visit(&world, &mut own, true));
    }
    for _ in 0..random.below(4) + 1 {
        let (waits, calls) = (world.clone(), world.clone());
        cast.add_reliable(random, move |_| {
            waits.0.wait();
            assert_eq!(waits.1.wait(), waits.1.get().expect("it is there"));
        });
        cast.add_reliable(random, move |mut own| visit(&calls, &mut own, false));
    }
    cast.end(random);
    assert_eq!(world.2.load(Ordering::Relaxed), 1, "closures that ran to their end");
    assert!(world.1.get().is_some());
}

/// Counts itself out before it leaves its group, also if its task never runs.
struct Member {
    members: Arc<AtomicUsize>,
    _group: WaitGroup,
}

impl Drop for Member {
    fn drop(&mut self) {
        self.members.fetch_sub(1, Ordering::SeqCst);
    }
}

/// An event that is set and cleared, and a group that is waited for.
pub(crate) fn events(random: &mut Random) {
    let (event, group) = (Event::new(), WaitGroup::new());
    let (members, sets) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let mut cast = Cast::default();
    for _ in 0..random.below(8) {
        let (event, sets) = (event.clone(), sets.clone());
        cast.add_doomed(random, move |mut own| {
            loop {
                match own.below(3) {
                    0 => _ = event.wait_timeout(own.moment()),
                    1 => event.wait(),
                    _ => drop(osier::wait(&[&event]).timeout(own.moment()).next()),
                }
                if own.once_in(3) {
                    sets.fetch_add(1, Ordering::SeqCst);
                    event.set();
                } else if own.once_in(2) {
                    event.clear();
                }
                osier::yield_now();
            }
        });
    }
    for _ in 0..random.below(6) + 1 {
        let (event, sets) = (event.clone(), sets.clone());
        cast.add_reliable(random, move |_| {
            event.wait();
            assert!(sets.load(Ordering::SeqCst) > 0, "an event that nobody has set");
        });
        members.fetch_add(1, Ordering::SeqCst);
        let member = Member { members: members.clone(), _group: group.clone() };
        cast.add(random, move |mut own| {
            let _member = member;
            dawdle(&mut own);
        });
    }
    // Again and again, since others clear it; so that everybody who waits is woken once.
    let setter = osier::spawn({
        let (event, sets) = (event.clone(), sets.clone());
        move || loop {
            sets.fetch_add(1, Ordering::SeqCst);
            event.set();
            sleep(Duration::from_micros(100));
        }
    });
    cast.end(random);
    group.wait();
    assert_eq!(members.load(Ordering::SeqCst), 0, "members, when the group was waited for");
    setter.kill();
    assert!(setter.is_finished());
}
