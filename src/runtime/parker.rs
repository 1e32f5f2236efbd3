//! A thread's place to sleep: one token, like `std::thread::park`, but nobody else's.
//!
//! Workers and plain threads that wait for a task sleep here. User code on the same thread may use
//! `std::thread::park` as it likes without eating our wake-ups.

use std::sync::PoisonError;
use std::time::Instant;

use crate::primitives::{AtomicU32, Condvar, Mutex, Ordering};

const EMPTY: u32 = 0;
const PARKED: u32 = 1;
const TOKEN: u32 = 2;

/// See the module's page. At most one thread parks on it.
#[derive(Debug)]
pub(crate) struct Parker {
    state: AtomicU32,
    lock: Mutex<()>,
    condition: Condvar,
}

impl Parker {
    pub(crate) fn new() -> Self {
        Self { state: AtomicU32::new(EMPTY), lock: Mutex::new(()), condition: Condvar::new() }
    }

    /// Sleeps until there is a token, or until `deadline`; takes the token. True if there was one.
    pub(crate) fn park(&self, deadline: Option<Instant>) -> bool {
        if self.take_token() {
            return true;
        }
        let mut guard = self.lock.lock().unwrap_or_else(PoisonError::into_inner);
        // Acquire: pairs with the Release in `unpark`.
        if self.state.compare_exchange(EMPTY, PARKED, Ordering::Acquire, Ordering::Acquire).is_err() {
            // Acquire: sees what the last of several unparkers wrote.
            self.state.swap(EMPTY, Ordering::Acquire);
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
        // Release: pairs with the Acquires in `park`.
        if self.state.swap(TOKEN, Ordering::Release) == PARKED {
            // The sleeper holds the lock from when it says so until it waits: after this line it waits.
            drop(self.lock.lock().unwrap_or_else(PoisonError::into_inner));
            self.condition.notify_one();
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
