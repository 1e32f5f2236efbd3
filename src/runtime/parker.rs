//! A thread's place to sleep: one token, like `std::thread::park`, but nobody else's.
//!
//! Workers and plain threads that wait for a task sleep here. User code on the same thread may use
//! `std::thread::park` as it likes without eating our wake-ups.
//!
//! A thread that is no worker is counted while nothing but an unpark can end its sleep (`rest`).

use std::sync::PoisonError;
use std::time::{Duration, Instant};

use super::rest::Rest;
use crate::primitives::{AtomicU32, Condvar, Mutex, MutexGuard, Ordering};

const EMPTY: u32 = 0;
const PARKED: u32 = 1;
const TOKEN: u32 = 2;
const ELSEWHERE: u32 = 3;

/// See the module's page. At most one thread parks on it.
#[derive(Debug)]
pub(crate) struct Parker {
    state: AtomicU32,
    /// Whether the sleeper is counted in `rest`.
    lock: Mutex<bool>,
    condition: Condvar,
    rest: Option<&'static Rest>,
}

impl Parker {
    pub(crate) fn new() -> Self {
        Self { state: AtomicU32::new(EMPTY), lock: Mutex::new(false), condition: Condvar::new(), rest: None }
    }

    /// For a thread that is no worker, and is counted in `rest`.
    pub(crate) fn of_thread(rest: &'static Rest) -> Self {
        Self { rest: Some(rest), ..Self::new() }
    }

    /// Sleeps until there is a token, or until `deadline`; takes the token. True if there was one.
    pub(crate) fn park(&self, deadline: Option<Instant>) -> bool {
        if self.take_token() {
            return true;
        }
        let mut guard = self.lock();
        if !self.announce_park() {
            return true;
        }
        loop {
            let now = deadline.map(|deadline| deadline.saturating_duration_since(Instant::now()));
            match now {
                Some(left) if left.is_zero() => {
                    // A token may have come meanwhile; whatever there is, the place is empty afterwards.
                    return self.state.swap(EMPTY, Ordering::Acquire) == TOKEN;
                }
                Some(left) => {
                    guard = self.condition.wait_timeout(guard, left).unwrap_or_else(PoisonError::into_inner).0;
                }
                None => guard = self.condition.wait(guard).unwrap_or_else(PoisonError::into_inner),
            }
            if self.take_token() {
                return true;
            }
        }
    }

    /// Sleeps until there is a token, and takes it; for a thread that nothing else wakes, which is counted meanwhile. Calls
    /// `look` after each of `pauses`.
    pub(crate) fn rest(&self, pauses: &[Duration], mut look: impl FnMut()) {
        if self.take_token() {
            return;
        }
        let mut guard = self.lock();
        if !self.announce_park() {
            return;
        }
        self.rest.inspect(|rest| rest.begins());
        *guard = self.rest.is_some();
        let mut pauses = pauses.iter();
        let mut next = || pauses.next().and_then(|&pause| Instant::now().checked_add(pause));
        let mut next_look = next();
        loop {
            match next_look.map(|at| at.saturating_duration_since(Instant::now())) {
                Some(left) if left.is_zero() => {
                    drop(guard);
                    look();
                    next_look = next();
                    guard = self.lock();
                }
                Some(left) => {
                    guard = self.condition.wait_timeout(guard, left).unwrap_or_else(PoisonError::into_inner).0;
                }
                None => guard = self.condition.wait(guard).unwrap_or_else(PoisonError::into_inner),
            }
            if self.take_token() {
                return self.count_no_more(&mut guard);
            }
        }
    }

    /// Says that the sleeper is awake, unless that has been said.
    fn count_no_more(&self, is_counted: &mut bool) {
        if std::mem::take(is_counted) {
            self.rest.inspect(|rest| rest.ends());
        }
    }

    /// Says that somebody sleeps, under the lock. If there is a token takes that instead: false.
    fn announce_park(&self) -> bool {
        // Acquire: pairs with the Release in `unpark`.
        let is_empty = self.state.compare_exchange(EMPTY, PARKED, Ordering::Acquire, Ordering::Acquire).is_ok();
        if !is_empty {
            // Acquire: sees what the last of several unparkers wrote.
            self.state.swap(EMPTY, Ordering::Acquire);
        }
        is_empty
    }

    fn lock(&self) -> MutexGuard<'_, bool> {
        self.lock.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Lets `sleep` put the thread to sleep in a place of its own, unless there is a token; takes the token. `unpark_or`
    /// ends that sleep, which may end by itself. True if there was a token.
    pub(crate) fn park_elsewhere(&self, sleep: impl FnOnce()) -> bool {
        // Acquire: pairs with the Release in `unpark_or`.
        if self.state.compare_exchange(EMPTY, ELSEWHERE, Ordering::Acquire, Ordering::Acquire).is_ok() {
            sleep();
        }
        self.state.swap(EMPTY, Ordering::Acquire) == TOKEN
    }

    fn take_token(&self) -> bool {
        // Acquire: pairs with the Release in `unpark`.
        self.state.compare_exchange(TOKEN, EMPTY, Ordering::Acquire, Ordering::Relaxed).is_ok()
    }

    #[cfg(all(test, osier_loom))]
    pub(super) fn has_token(&self) -> bool {
        self.state.load(Ordering::SeqCst) == TOKEN
    }

    /// Leaves a token, and wakes whoever sleeps.
    pub(crate) fn unpark(&self) {
        self.unpark_or(|| unreachable!("who parks elsewhere is unparked by `unpark_or`"));
    }

    /// The seeded bug: whoever wakes a thread leaves it to that one to say so.
    #[cfg(all(test, osier_loom))]
    pub(super) fn unpark_counted(&self) {
        if self.state.swap(TOKEN, Ordering::Release) == PARKED {
            drop(self.lock());
            self.condition.notify_one();
        }
    }

    /// Leaves a token, and wakes whoever sleeps: by `ring` if that is elsewhere. A ring must end the next sleep there if
    /// none has begun.
    pub(crate) fn unpark_or(&self, ring: impl FnOnce()) {
        // Release: pairs with the Acquires in `park` and `park_elsewhere`.
        match self.state.swap(TOKEN, Ordering::Release) {
            PARKED => {
                // The sleeper holds the lock from when it says so until it waits: after this line it waits.
                self.count_no_more(&mut self.lock());
                self.condition.notify_one();
            }
            ELSEWHERE => ring(),
            _ => {}
        }
    }
}

#[cfg(all(test, not(osier_loom)))]
mod tests {
    use super::*;
    use std::sync::Arc;
    use std::time::Duration;

    #[test]
    fn a_token_left_before_is_taken_at_once_and_once() {
        let parker = Parker::new();
        parker.unpark();
        parker.unpark();
        assert!(parker.park(None));
        assert!(!parker.park(Some(Instant::now() + Duration::from_millis(1))));
    }

    // H32
    #[test]
    fn hand_overs_between_two_threads_lose_none() {
        let rounds = 100_000;
        let (here, there) = (Arc::new(Parker::new()), Arc::new(Parker::new()));
        let partner = {
            let (here, there) = (here.clone(), there.clone());
            std::thread::spawn(move || {
                for _ in 0..rounds {
                    assert!(there.park(Some(Instant::now() + Duration::from_secs(60))), "lost wake-up");
                    here.unpark();
                }
            })
        };
        for _ in 0..rounds {
            there.unpark();
            assert!(here.park(Some(Instant::now() + Duration::from_secs(60))), "lost wake-up");
        }
        partner.join().unwrap();
    }
}

#[cfg(all(test, osier_loom))]
mod model {
    use super::*;
    use loom::sync::Arc;
    use loom::thread;

    fn two_unparkers_against_a_park(unpark: fn(&Parker)) {
        loom::model(move || {
            let parker = Arc::new(Parker::new());
            let unparkers: Vec<_> = (0..2)
                .map(|_| {
                    let parker = parker.clone();
                    thread::spawn(move || unpark(&parker))
                })
                .collect();
            assert!(parker.park(None));
            unparkers.into_iter().for_each(|u| u.join().unwrap());
        });
    }

    #[test]
    fn model_a_token_is_never_lost() {
        two_unparkers_against_a_park(Parker::unpark);
    }

    /// A place to sleep that keeps a ring until somebody has slept there, as a poller does.
    struct Place {
        rung: Mutex<bool>,
        condition: Condvar,
    }

    fn two_unparkers_against_a_sleep_elsewhere(unpark: fn(&Parker, &Place)) {
        loom::model(move || {
            let place = Place { rung: Mutex::new(false), condition: Condvar::new() };
            let both = Arc::new((Parker::new(), place));
            let unparkers: Vec<_> = (0..2)
                .map(|_| {
                    let both = both.clone();
                    thread::spawn(move || unpark(&both.0, &both.1))
                })
                .collect();
            let (parker, place) = &*both;
            // One that finds no token slept although nobody was to wake it: the ring of an earlier sleep.
            while !parker.park_elsewhere(|| {
                let mut rung = place.rung.lock().unwrap();
                while !*rung {
                    rung = place.condition.wait(rung).unwrap();
                }
                *rung = false;
            }) {}
            unparkers.into_iter().for_each(|u| u.join().unwrap());
        });
    }

    fn ring(place: &Place) {
        *place.rung.lock().unwrap() = true;
        place.condition.notify_one();
    }

    #[test]
    fn model_a_token_wakes_who_sleeps_elsewhere() {
        two_unparkers_against_a_sleep_elsewhere(|parker, place| parker.unpark_or(|| ring(place)));
    }

    #[test]
    #[should_panic(expected = "deadlock")]
    fn model_catches_a_ring_that_is_decided_on_before_the_token() {
        two_unparkers_against_a_sleep_elsewhere(|parker, place| {
            // The seeded bug: a look and a store instead of one exchange.
            let is_elsewhere = parker.state.load(Ordering::SeqCst) == ELSEWHERE;
            parker.state.store(TOKEN, Ordering::SeqCst);
            if is_elsewhere {
                ring(place);
            }
        });
    }

    #[test]
    #[should_panic(expected = "deadlock")]
    fn model_catches_an_unpark_that_comes_before_the_wait() {
        two_unparkers_against_a_park(|parker| {
            if parker.state.swap(TOKEN, Ordering::Release) == PARKED {
                // The seeded bug: the lock is not taken, so the one that parks may not wait yet.
                parker.condition.notify_one();
            }
        });
    }
}
