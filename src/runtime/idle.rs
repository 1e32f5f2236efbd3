//! Which workers sleep, and who wakes them.
//!
//! One word counts searching and sleeping workers, so a spawn decides with one load whether to wake anybody: not while
//! somebody searches, for a searcher will see the work. Protocol and proof: arch-notes/scheduler.md, "Going to sleep".
//!
//! # Invariants
//! - A worker is counted asleep before it looks at every source of work for the last time.
//! - Whoever pushes work looks at the word after that, with a fence between. So one of the two sees the other.
//! - The last worker to stop searching wakes another one whenever it found work; and so does one that gave up, and then
//!   finds some in its last look.
//! - A worker woken for work that anybody may take counts as searching from then on; one woken for its own inbox or by
//!   its own timer does not.

use std::sync::PoisonError;

use crate::primitives::{AtomicU32, AtomicUsize, Mutex, Ordering, fence};

/// One searching worker, in the word: the low half.
const SEARCHING: usize = 1;
/// One sleeping worker, in the word: the high half.
const ASLEEP: usize = 1 << (usize::BITS / 2);

/// What a worker's `rest` says.
const AWAKE: u32 = 0;
const SLEEPS: u32 = 1;
const WOKEN_TO_SEARCH: u32 = 2;

/// A copy of the word.
#[derive(Clone, Copy)]
struct Counts(usize);

impl Counts {
    fn searching(self) -> usize {
        self.0 % ASLEEP
    }

    fn asleep(self) -> usize {
        self.0 / ASLEEP
    }
}

impl std::fmt::Debug for Counts {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} searching, {} asleep", self.searching(), self.asleep())
    }
}

/// See the module's page.
#[derive(Debug)]
pub(super) struct Idle {
    /// How many workers search and how many sleep. Changed under the lock, except for `start_` and `stop_searching`.
    counts: AtomicUsize,
    /// Per worker: awake, asleep (and in `sleepers`), or woken to search. Changed under the lock.
    rest: Box<[AtomicU32]>,
    /// The workers that sleep, the last to fall asleep at the end: its caches are the warmest.
    sleepers: Mutex<Vec<usize>>,
}

impl Idle {
    pub(super) fn new(workers: usize) -> Self {
        Self {
            counts: AtomicUsize::new(0),
            rest: (0..workers).map(|_| AtomicU32::new(AWAKE)).collect(),
            sleepers: Mutex::new(Vec::with_capacity(workers)),
        }
    }

    fn counts(&self) -> Counts {
        Counts(self.counts.load(Ordering::SeqCst))
    }

    /// How many workers are asleep.
    pub(super) fn asleep(&self) -> usize {
        self.counts().asleep()
    }

    /// Whether this worker is asleep.
    pub(super) fn is_asleep(&self, worker: usize) -> bool {
        self.rest[worker].load(Ordering::SeqCst) == SLEEPS
    }

    /// After pushing work that any worker may take: a sleeping worker to be unparked, if nobody would see it otherwise.
    /// For a worker's own pushes.
    #[inline]
    #[must_use]
    pub(super) fn wake_any(&self) -> Option<usize> {
        // The only worker is the one that pushes.
        if self.rest.len() == 1 { None } else { self.wake_any_from_outside() }
    }

    /// As [`Idle::wake_any`], for a thread that is no worker of this runtime.
    #[must_use]
    pub(super) fn wake_any_from_outside(&self) -> Option<usize> {
        // SeqCst: between the push before us and the load behind us; pairs with the fence in `fall_asleep`, which stands
        // between a sleeper's count and its last look. Without it both could miss: the push is never seen.
        fence(Ordering::SeqCst);
        let counts = self.counts();
        if counts.searching() > 0 || counts.asleep() == 0 {
            return None;
        }
        self.pop_sleeper()
    }

    #[cold]
    fn pop_sleeper(&self) -> Option<usize> {
        let mut sleepers = self.sleepers.lock().unwrap_or_else(PoisonError::into_inner);
        if self.counts().searching() > 0 {
            return None;
        }
        let worker = sleepers.pop()?;
        self.rest[worker].store(WOKEN_TO_SEARCH, Ordering::SeqCst);
        self.counts.fetch_sub(ASLEEP - SEARCHING, Ordering::SeqCst);
        Some(worker)
    }

    /// After pushing into one worker's inbox: whether it sleeps and must be unparked.
    #[must_use]
    pub(super) fn wake(&self, worker: usize) -> bool {
        // SeqCst: as in `wake_any_from_outside`.
        fence(Ordering::SeqCst);
        self.rest[worker].load(Ordering::SeqCst) == SLEEPS && self.remove_sleeper(worker)
    }

    /// Says that a worker searches, unless half of them do already. The caller owes a `stop_searching`.
    #[must_use]
    pub(super) fn start_searching(&self) -> bool {
        if 2 * self.counts().searching() >= self.rest.len() {
            return false;
        }
        self.counts.fetch_add(SEARCHING, Ordering::SeqCst);
        true
    }

    /// Says that a worker has found work and searches no more. True if it was the last: it must wake another one, for
    /// somebody may have pushed and relied on it.
    #[must_use]
    pub(super) fn stop_searching(&self) -> bool {
        let before = Counts(self.counts.fetch_sub(SEARCHING, Ordering::SeqCst));
        before.searching() == 1
    }

    /// Counts `worker` asleep. It must look at every source of work once more now, and then park.
    pub(super) fn fall_asleep(&self, worker: usize, was_searching: bool) {
        let mut sleepers = self.sleepers.lock().unwrap_or_else(PoisonError::into_inner);
        sleepers.push(worker);
        self.rest[worker].store(SLEEPS, Ordering::SeqCst);
        let searching = if was_searching { SEARCHING } else { 0 };
        self.counts.fetch_add(ASLEEP - searching, Ordering::SeqCst);
        drop(sleepers);
        // SeqCst: pairs with the fences in `wake` and `wake_any_from_outside`.
        fence(Ordering::SeqCst);
    }

    /// Counts `worker` awake after it slept, or did not after all. True if somebody woke it to search, and it counts as
    /// searching.
    #[must_use]
    pub(super) fn wake_up(&self, worker: usize) -> bool {
        let woken_by_itself = self.rest[worker].load(Ordering::SeqCst) == SLEEPS && self.remove_sleeper(worker);
        // Only this worker leaves `WOKEN_TO_SEARCH`, so nobody changes it in between.
        !woken_by_itself && self.rest[worker].swap(AWAKE, Ordering::SeqCst) == WOKEN_TO_SEARCH
    }

    /// Counts a sleeper awake. False if it was no sleeper any more.
    #[cold]
    fn remove_sleeper(&self, worker: usize) -> bool {
        let mut sleepers = self.sleepers.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(place) = sleepers.iter().position(|&sleeper| sleeper == worker) else { return false };
        sleepers.remove(place);
        self.rest[worker].store(AWAKE, Ordering::SeqCst);
        self.counts.fetch_sub(ASLEEP, Ordering::SeqCst);
        true
    }
}

#[cfg(all(test, not(osier_loom)))]
mod tests {
    use super::*;

    #[test]
    fn a_push_wakes_one_sleeper_and_none_while_somebody_searches() {
        let idle = Idle::new(4);
        assert_eq!(idle.wake_any(), None, "nobody sleeps");
        assert!(idle.start_searching());
        idle.fall_asleep(0, true);
        idle.fall_asleep(1, false);
        assert_eq!(idle.wake_any(), Some(1), "the last to fall asleep");
        assert_eq!(idle.wake_any(), None, "worker 1 searches now");
        assert!(idle.wake_up(1), "and knows it");
        assert!(idle.stop_searching(), "the last searcher");
        assert_eq!(idle.wake_any(), Some(0));
    }

    #[test]
    fn at_most_half_of_the_workers_search() {
        let idle = Idle::new(4);
        assert!(idle.start_searching() && idle.start_searching());
        assert!(!idle.start_searching());
        assert!(!idle.stop_searching() && idle.stop_searching());
    }

    #[test]
    fn a_worker_is_woken_once() {
        let idle = Idle::new(2);
        idle.fall_asleep(1, false);
        assert!(!idle.wake(0));
        assert!(idle.wake(1));
        assert!(!idle.wake(1) && !idle.wake_up(1));
        assert_eq!(idle.wake_any(), None, "nobody sleeps");
    }
}

#[cfg(all(test, osier_loom))]
mod model {
    use super::super::inbox::Inbox;
    use super::super::inbox::support::{Item, numbers};
    use super::super::parker::Parker;
    use super::*;
    use loom::sync::Arc;
    use loom::thread;

    /// `work` stands for all sources of work together; a worker ends once it has done something.
    struct World {
        idle: Idle,
        work: AtomicU32,
        parkers: Vec<Parker>,
    }

    fn world(workers: usize) -> Arc<World> {
        let parkers = (0..workers).map(|_| Parker::new()).collect();
        Arc::new(World { idle: Idle::new(workers), work: AtomicU32::new(0), parkers })
    }

    impl World {
        fn take(&self) -> bool {
            let work = self.work.load(Ordering::Relaxed);
            work > 0 && self.work.compare_exchange(work, work - 1, Ordering::AcqRel, Ordering::Relaxed).is_ok()
        }

        fn push(&self) {
            self.work.fetch_add(1, Ordering::Release);
            self.wake_any();
        }

        fn wake_any(&self) {
            if let Some(worker) = self.idle.wake_any_from_outside() {
                self.parkers[worker].unpark();
            }
        }

        /// Works like `Worker::find_or_sleep` until one piece of work is done.
        fn work_once(&self, worker: usize, careful: bool) {
            let mut searching = false;
            let mut gave_up = false;
            loop {
                if self.take() {
                    break;
                }
                searching = searching || self.idle.start_searching();
                if self.take() {
                    break;
                }
                gave_up = searching;
                self.idle.fall_asleep(worker, searching);
                if self.work.load(Ordering::Relaxed) == 0 {
                    self.parkers[worker].park(None);
                }
                searching = self.idle.wake_up(worker);
            }
            if (searching && self.idle.stop_searching()) || (careful && gave_up && !searching) {
                fence(Ordering::SeqCst);
                if self.work.load(Ordering::Relaxed) > 0 {
                    self.wake_any();
                }
            }
        }
    }

    fn check(workers: usize, careful: bool) {
        let mut model = loom::model::Builder::new();
        model.preemption_bound = Some(if workers == 1 { 4 } else { 2 });
        model.check(move || {
            let world = world(workers);
            let threads: Vec<_> = (0..workers)
                .map(|worker| {
                    let world = world.clone();
                    thread::spawn(move || world.work_once(worker, careful))
                })
                .collect();
            (0..workers).for_each(|_| world.push());
            threads.into_iter().for_each(|t| t.join().unwrap());
        });
    }

    #[test]
    fn model_one_worker_never_sleeps_over_work() {
        check(1, true);
    }

    #[test]
    fn model_two_workers_never_sleep_over_work() {
        check(2, true);
    }

    #[test]
    #[should_panic(expected = "deadlock")]
    fn model_catches_one_that_gave_up_and_takes_one_of_two() {
        check(2, false);
    }

    /// One push against one worker on its way to sleep. Panics if the work lies there, the worker is about to park, and
    /// nobody has left it a token.
    fn one_push_against_one_sleeper(wake_any: fn(&Idle) -> Option<usize>, careful: bool) {
        loom::model(move || {
            let world = world(1);
            let sleeper = {
                let world = world.clone();
                thread::spawn(move || {
                    if world.take() {
                        return false;
                    }
                    world.idle.fall_asleep(0, false);
                    !careful || world.work.load(Ordering::Relaxed) == 0
                })
            };
            world.work.fetch_add(1, Ordering::Release);
            if let Some(worker) = wake_any(&world.idle) {
                world.parkers[worker].unpark();
            }
            let parks = sleeper.join().unwrap();
            assert!(!parks || world.parkers[0].has_token(), "lost wake-up");
        });
    }

    #[test]
    fn model_a_push_is_seen_or_leaves_a_token() {
        one_push_against_one_sleeper(Idle::wake_any_from_outside, true);
    }

    #[test]
    #[should_panic(expected = "lost wake-up")]
    fn model_catches_a_push_without_a_fence() {
        // The seeded bug: the word may be read before the push is there to be seen.
        let unfenced = |idle: &Idle| {
            let counts = idle.counts();
            if counts.searching() > 0 || counts.asleep() == 0 { None } else { idle.pop_sleeper() }
        };
        one_push_against_one_sleeper(unfenced, true);
    }

    #[test]
    #[should_panic(expected = "lost wake-up")]
    fn model_catches_a_worker_that_does_not_look_again() {
        one_push_against_one_sleeper(Idle::wake_any_from_outside, false);
    }

    /// The owner takes the only fresh task out, and puts it back, while another worker falls asleep.
    fn a_push_back_against_one_sleeper(wakes: bool) {
        loom::model(move || {
            let world = world(1);
            world.work.store(1, Ordering::Relaxed);
            let sleeper = {
                let world = world.clone();
                thread::spawn(move || {
                    world.idle.fall_asleep(0, false);
                    world.work.load(Ordering::Relaxed) == 0
                })
            };
            if world.take() {
                world.work.fetch_add(1, Ordering::Release);
                if wakes {
                    world.wake_any();
                }
            }
            let parks = sleeper.join().unwrap();
            assert!(!parks || world.parkers[0].has_token(), "lost wake-up");
        });
    }

    #[test]
    fn model_what_is_put_back_is_seen_or_leaves_a_token() {
        a_push_back_against_one_sleeper(true);
    }

    #[test]
    #[should_panic(expected = "lost wake-up")]
    fn model_catches_a_push_back_that_wakes_nobody() {
        a_push_back_against_one_sleeper(false);
    }

    // ---- one worker's inbox

    /// What a worker does to be counted asleep.
    type Sleep = fn(&Idle);

    /// Pushes by two threads into the inbox of a worker on its way to sleep. Only the push into an empty inbox looks at the
    /// worker. Panics if something lies there, the worker is about to park, and nobody has left it a token.
    fn pushes_into_an_inbox(wake: fn(&Idle) -> bool, sleep: Sleep, looks_again: bool) {
        let mut model = loom::model::Builder::new();
        model.preemption_bound = Some(3);
        model.check(move || {
            let world = Arc::new((Idle::new(1), Inbox::new(), Parker::new()));
            let pushers = [1, 2].map(|number| {
                let world = world.clone();
                thread::spawn(move || {
                    let (idle, inbox, parker) = &*world;
                    // SAFETY: a new item, alive until `numbers` takes it.
                    if unsafe { inbox.push(Item::leaked(number)) } && wake(idle) {
                        parker.unpark();
                    }
                })
            });
            let (idle, inbox, parker) = &*world;
            // It takes what it finds, and comes back later.
            numbers(inbox);
            sleep(idle);
            let parks = !looks_again || inbox.is_empty();
            pushers.into_iter().for_each(|pusher| pusher.join().unwrap());
            let is_left = !numbers(inbox).is_empty();
            assert!(!parks || !is_left || parker.has_token(), "lost wake-up");
        });
    }

    fn falls_asleep(idle: &Idle) {
        idle.fall_asleep(0, false);
    }

    #[test]
    fn model_no_worker_sleeps_over_its_inbox() {
        pushes_into_an_inbox(|idle| idle.wake(0), falls_asleep, true);
    }

    #[test]
    #[should_panic(expected = "lost wake-up")]
    fn model_catches_a_worker_that_does_not_look_into_its_inbox_again() {
        pushes_into_an_inbox(|idle| idle.wake(0), falls_asleep, false);
    }

    #[test]
    #[should_panic(expected = "lost wake-up")]
    fn model_catches_a_wake_of_one_worker_without_a_fence() {
        pushes_into_an_inbox(
            |idle| idle.rest[0].load(Ordering::SeqCst) == SLEEPS && idle.remove_sleeper(0),
            falls_asleep,
            true,
        );
    }

    #[test]
    #[should_panic(expected = "lost wake-up")]
    fn model_catches_a_worker_that_falls_asleep_without_a_fence() {
        let unfenced = |idle: &Idle| {
            let mut sleepers = idle.sleepers.lock().unwrap();
            sleepers.push(0);
            idle.rest[0].store(SLEEPS, Ordering::SeqCst);
            idle.counts.fetch_add(ASLEEP, Ordering::SeqCst);
        };
        pushes_into_an_inbox(|idle| idle.wake(0), unfenced, true);
    }
}
