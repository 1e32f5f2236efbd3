//! Whether a runtime closes, and who finds that it is over.
//!
//! # Invariants
//! - A worker that has acknowledged spawns no more. So when all have, the number of tasks only falls.
//! - Whoever ends a task looks afterwards, with a fence between; so the last two, on two workers, do not miss each other.

use crate::primitives::{AtomicBool, Ordering, fence};

/// See the module's page.
#[derive(Debug)]
pub(super) struct Closing {
    /// Whether it cancels its tasks and takes no more.
    begun: AtomicBool,
    /// For each worker, whether it has seen that.
    acknowledged: Box<[AtomicBool]>,
    /// Whether every task has ended since.
    is_over: AtomicBool,
}

impl Closing {
    pub(super) fn new(workers: usize) -> Self {
        let acknowledged = (0..workers).map(|_| AtomicBool::new(false)).collect();
        Self { begun: AtomicBool::new(false), acknowledged, is_over: AtomicBool::new(false) }
    }

    pub(super) fn begin(&self) {
        self.begun.store(true, Ordering::Release);
    }

    #[inline(always)]
    pub(super) fn has_begun(&self) -> bool {
        self.begun.load(Ordering::Acquire)
    }

    /// Says that a worker spawns no more.
    pub(super) fn acknowledge(&self, worker: usize) {
        // Release: who sees it sees everything counted that the worker has spawned.
        self.acknowledged[worker].store(true, Ordering::Release);
    }

    /// Whether all is over, for whoever has ended the last task that it knows of. The first to find that calls `tell`.
    pub(super) fn is_over(&self, unfinished: impl FnOnce() -> u64, tell: impl FnOnce()) -> bool {
        if !self.has_begun() {
            return false;
        }
        // SeqCst: of two workers that finish their last tasks at the same time, one sees both.
        fence(Ordering::SeqCst);
        if !self.is_over.load(Ordering::Acquire) {
            // In that order: what is counted before may still rise.
            let all_acknowledged = self.acknowledged.iter().all(|acknowledged| acknowledged.load(Ordering::Acquire));
            if !all_acknowledged || unfinished() > 0 {
                return false;
            }
            self.is_over.store(true, Ordering::Release);
            tell();
        }
        true
    }
}

#[cfg(all(test, osier_loom))]
mod model {
    use super::*;
    use crate::primitives::AtomicU32;
    use loom::sync::Arc;
    use loom::thread;

    /// Two workers, and what each has spawned and finished.
    struct World {
        closing: Closing,
        spawned: [AtomicU32; 2],
        finished: [AtomicU32; 2],
    }

    fn world(spawned: [u32; 2]) -> Arc<World> {
        let count = |n| AtomicU32::new(n);
        Arc::new(World { closing: Closing::new(2), spawned: spawned.map(count), finished: [0, 0].map(count) })
    }

    impl World {
        fn sum(counts: &[AtomicU32; 2]) -> u64 {
            counts.iter().map(|count| u64::from(count.load(Ordering::Acquire))).sum()
        }

        /// In the order that is worse.
        fn unfinished(&self) -> u64 {
            let spawned = Self::sum(&self.spawned);
            spawned.saturating_sub(Self::sum(&self.finished))
        }

        fn count(counter: &AtomicU32) {
            // It has one writer.
            counter.store(counter.load(Ordering::Relaxed) + 1, Ordering::Release);
        }
    }

    /// How a worker looks whether it is over.
    type Look = fn(&World) -> bool;

    fn look(world: &World) -> bool {
        world.closing.is_over(|| world.unfinished(), || ())
    }

    /// Each of two workers ends its last task, and looks. Panics if neither finds that it was the last.
    fn two_last_tasks(look: Look) {
        loom::model(move || {
            let world = world([1, 1]);
            world.closing.begin();
            [0, 1].into_iter().for_each(|worker| world.closing.acknowledge(worker));
            let other = {
                let world = world.clone();
                thread::spawn(move || {
                    World::count(&world.finished[1]);
                    look(&world)
                })
            };
            World::count(&world.finished[0]);
            let found = look(&world);
            assert!(found | other.join().unwrap(), "nobody finds that it is over");
        });
    }

    #[test]
    fn model_one_of_two_finds_that_it_is_over() {
        two_last_tasks(look);
    }

    #[test]
    #[should_panic(expected = "nobody finds that it is over")]
    fn model_catches_a_look_without_a_fence() {
        two_last_tasks(|world| world.unfinished() == 0);
    }

    /// A task of the first worker spawns another one and ends, while the runtime closes and the second looks.
    fn a_last_spawn(look: Look) {
        loom::model(move || {
            let world = world([1, 0]);
            let first = {
                let world = world.clone();
                thread::spawn(move || {
                    let spawns = !world.closing.has_begun();
                    if spawns {
                        World::count(&world.spawned[0]);
                    }
                    World::count(&world.finished[0]);
                    if world.closing.has_begun() {
                        world.closing.acknowledge(0);
                    }
                    spawns
                })
            };
            world.closing.begin();
            world.closing.acknowledge(1);
            let is_over = look(&world);
            let is_left = first.join().unwrap();
            assert!(!(is_over && is_left), "a task is left");
        });
    }

    #[test]
    fn model_it_is_not_over_while_a_task_is_left() {
        a_last_spawn(look);
    }

    #[test]
    #[should_panic(expected = "a task is left")]
    fn model_catches_a_look_that_does_not_wait_for_all_to_acknowledge() {
        a_last_spawn(|world| {
            fence(Ordering::SeqCst);
            world.closing.has_begun() && world.unfinished() == 0
        });
    }
}
