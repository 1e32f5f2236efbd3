//! Groups and pools whose members fail, are killed, discarded and waited for, and maps over them that are left early.
//!
//! The model: a pool of `n` runs at most `n` members at a time; every member that started has ended when the pool was joined,
//! but for those that were discarded, which are none from then on; then it is empty, and all its places are free.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use osier::{Pool, catch, raise};

use crate::cast::{Cast, and_then, dawdle};
use crate::random::Random;

/// Who runs in a pool.
#[derive(Debug)]
struct Floor {
    running: AtomicUsize,
    limit: usize,
}

impl Floor {
    /// The work of a member, which fails now and then. Gives back what it was given.
    fn work(&self, number: usize, mut random: Random) -> usize {
        let running = self.running.fetch_add(1, Ordering::SeqCst) + 1;
        assert!(running <= self.limit, "{running} members of a pool of {}", self.limit);
        and_then(|| dawdle(&mut random), || _ = self.running.fetch_sub(1, Ordering::SeqCst));
        if random.once_in(6) {
            raise(fmt::Error);
        }
        number
    }
}

/// Takes a member on, in a random way.
fn employ(pool: &Pool, floor: &Arc<Floor>, random: &mut Random) {
    let (own, its) = (floor.clone(), random.split());
    let work = move || own.work(1, its);
    match random.below(6) {
        0 => drop(pool.spawn(work).task()),
        1 => drop(pool.apply_async(work)),
        2 => drop(pool.try_spawn(work)),
        3 => _ = pool.spawn(work).join(),
        4 => {
            let handle = pool.apply_async(work);
            dawdle(random);
            handle.cancel();
        }
        _ => _ = catch(|| pool.apply(work)),
    }
}

/// Takes members on and out again, before they have started, while they run or wait for their place, or later.
fn discard(pool: &Pool, random: &mut Random) {
    let mut its = random.split();
    let member = match random.below(2) {
        0 => pool.spawn(move || dawdle(&mut its)),
        _ => pool.apply_async(move || dawdle(&mut its)),
    };
    if random.once_in(2) {
        dawdle(random);
    }
    let task = member.task();
    pool.discard(&task);
    assert!(!pool.contains(&task), "it was discarded");
    if random.once_in(2) {
        member.cancel();
    }
    if random.once_in(2) {
        _ = member.join();
    }
    assert!(!pool.contains(&task), "it came back");
}

/// Maps over some numbers, in a random way.
fn map(pool: &Pool, floor: &Arc<Floor>, random: &mut Random) {
    let count = random.below(8);
    let items: Vec<_> = (0..count).map(|number| (number, random.split())).collect();
    let own = floor.clone();
    match random.below(3) {
        0 => {
            if let Ok(values) = catch(|| pool.map(items, |(number, its)| floor.work(number, its))) {
                assert_eq!(values, (0..count).collect::<Vec<_>>());
            }
        }
        kind => {
            let work = move |(number, its)| own.work(number, its);
            let mut values = match kind {
                1 => pool.imap(items, work),
                _ => pool.imap_unordered(items, work),
            };
            if random.once_in(2) {
                values = values.maxsize(random.below(3) + 1);
            }
            let (mut got, mut failed) = (Vec::new(), 0);
            while got.len() + failed < count && !random.once_in(20) {
                match catch(|| values.next()) {
                    Ok(value) => got.push(value.expect("there is one for each item")),
                    Err(_) => failed += 1,
                }
            }
            assert!(kind != 1 || got.is_sorted(), "{got:?} is in order");
            if got.len() + failed == count {
                assert_eq!(values.next(), None);
            }
        }
    }
}

pub(crate) fn round(random: &mut Random) {
    let limit = random.below(4) + 1;
    let pool = Pool::new(limit);
    let floor = Arc::new(Floor { running: AtomicUsize::new(0), limit });
    let mut cast = Cast::default();
    for _ in 0..random.below(5) + 1 {
        let (pool, floor) = (pool.clone(), floor.clone());
        cast.add(random, move |mut own| {
            for _ in 0..own.below(12) {
                match own.below(9) {
                    0 => map(&pool, &floor, &mut own),
                    5 => discard(&pool, &mut own),
                    1 => _ = pool.join_timeout(own.moment()),
                    2 => _ = pool.wait_free_timeout(own.moment()),
                    3 if own.once_in(3) => pool.cancel(),
                    4 if own.once_in(3) => pool.kill(),
                    _ => employ(&pool, &floor, &mut own),
                }
            }
        });
    }
    cast.end(random);
    // Failures have been told, or are told here, one by one.
    while pool.join().is_err() {}
    // Who feeds a map that was left may still be about to spawn: it is told to end, and does.
    while !pool.is_empty() {
        _ = pool.join();
        osier::yield_now();
    }
    assert!(pool.wait_free_timeout(std::time::Duration::from_secs(20)));
    let mut free = pool.free();
    for _ in 0..10_000 {
        if free == limit {
            break;
        }
        osier::yield_now();
        free = pool.free();
    }
    assert_eq!((pool.len(), free), (0, limit), "members, and free places");
    assert_eq!(floor.running.load(Ordering::SeqCst), 0, "members that run");
}
