//! Locks and semaphores whose users are cancelled, late, in tasks and in threads.
//!
//! The model: an exclusive lock has one user at a time, a reader-writer lock many readers or one writer, a semaphore as
//! many as it has permits; every entry is counted once; afterwards all locks are free, and all permits are there.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use osier::sync::{BoundedSemaphore, Mutex, RLock, RwLock, RwLockWriteGuard, Semaphore};

use crate::cast::{Cast, and_then, dawdle};
use crate::random::Random;

/// Who is inside: so many that share, or one alone.
#[derive(Debug, Default)]
struct Room {
    inside: AtomicUsize,
    entries: AtomicUsize,
}

/// What somebody alone counts for.
const ALONE: usize = 1 << 20;

impl Room {
    /// Stays inside for a moment, and looks who else is.
    fn visit(&self, weight: usize, limit: usize, random: &mut Random) {
        let before = self.inside.fetch_add(weight, Ordering::SeqCst);
        assert!(before + weight <= limit, "{before} inside when {weight} came, of at most {limit}");
        self.entries.fetch_add(1, Ordering::Relaxed);
        and_then(|| dawdle(random), || _ = self.inside.fetch_sub(weight, Ordering::SeqCst));
    }
}

#[derive(Debug)]
struct World {
    mutex: Mutex<usize>,
    mutex_room: Room,
    rw_lock: RwLock<usize>,
    rw_room: Room,
    rlock: RLock,
    rlock_room: Room,
    permits: usize,
    semaphore: Semaphore,
    semaphore_room: Room,
    bounded: BoundedSemaphore,
    bounded_room: Room,
}

impl World {
    fn use_mutex(&self, random: &mut Random) {
        let guard = match random.below(4) {
            0 => self.mutex.try_lock(),
            1 => self.mutex.lock_timeout(random.moment()),
            _ => Some(self.mutex.lock()),
        };
        if let Some(mut guard) = guard {
            *guard += 1;
            self.mutex_room.visit(ALONE, ALONE, random);
        }
    }

    fn use_rw_lock(&self, random: &mut Random) {
        let writes = random.once_in(3);
        if writes {
            let guard = match random.below(4) {
                0 => self.rw_lock.try_write(),
                1 => self.rw_lock.write_timeout(random.moment()),
                _ => Some(self.rw_lock.write()),
            };
            let Some(mut guard) = guard else { return };
            *guard += 1;
            self.rw_room.visit(ALONE, ALONE, random);
            if random.once_in(3) {
                let written = *guard;
                let guard = RwLockWriteGuard::downgrade(guard);
                dawdle(random);
                assert_eq!(*guard, written, "nobody writes after a downgrade");
            }
        } else {
            let guard = match random.below(4) {
                0 => self.rw_lock.try_read(),
                1 => self.rw_lock.read_timeout(random.moment()),
                _ => Some(self.rw_lock.read()),
            };
            let Some(guard) = guard else { return };
            let before = *guard;
            self.rw_room.visit(1, ALONE - 1, random);
            assert_eq!(*guard, before, "nobody writes while somebody reads");
        }
    }

    fn use_rlock(&self, random: &mut Random) {
        let guard = match random.below(4) {
            0 => self.rlock.try_lock(),
            1 => self.rlock.lock_timeout(random.moment()),
            _ => Some(self.rlock.lock()),
        };
        if let Some(_guard) = guard {
            self.rlock_room.visit(ALONE, ALONE, random);
            let _again = random.once_in(2).then(|| self.rlock.try_lock().expect("it is ours"));
            dawdle(random);
        }
    }

    fn use_semaphore(&self, random: &mut Random) {
        let n = random.below(self.permits) + 1;
        let limit = self.permits;
        match random.below(7) {
            0 => {
                let permit = self.semaphore.hold_many(n);
                self.semaphore_room.visit(permit.permits(), limit, random);
            }
            1 => {
                if let Some(_permit) = self.semaphore.hold_timeout(random.moment()) {
                    self.semaphore_room.visit(1, limit, random);
                }
            }
            2 => {
                if let Some(permit) = self.semaphore.try_hold() {
                    // Given back by another task, which may be cancelled before it starts.
                    let task = osier::spawn(move || drop(permit));
                    if random.once_in(2) {
                        task.cancel();
                    }
                }
            }
            3 => _ = self.semaphore.wait_timeout(random.moment()),
            kind => {
                let has = match kind {
                    4 => self.semaphore.try_acquire_many(n),
                    5 => self.semaphore.acquire_many_timeout(n, random.moment()),
                    _ => {
                        self.semaphore.acquire_many(n);
                        true
                    }
                };
                if has {
                    let release = || self.semaphore.release_many(n);
                    and_then(|| self.semaphore_room.visit(n, limit, random), release);
                }
            }
        }
    }

    fn use_bounded(&self, random: &mut Random) {
        let has = match random.below(3) {
            0 => self.bounded.try_acquire(),
            1 => self.bounded.acquire_timeout(random.moment()),
            _ => {
                self.bounded.acquire();
                true
            }
        };
        if has {
            let release = || self.bounded.release().expect("it was acquired");
            and_then(|| self.bounded_room.visit(1, self.permits, random), release);
        }
    }
}

pub(crate) fn round(random: &mut Random) {
    let permits = random.below(4) + 1;
    let world = Arc::new(World {
        mutex: Mutex::new(0),
        mutex_room: Room::default(),
        rw_lock: RwLock::new(0),
        rw_room: Room::default(),
        rlock: RLock::new(),
        rlock_room: Room::default(),
        permits,
        semaphore: Semaphore::new(permits),
        semaphore_room: Room::default(),
        bounded: BoundedSemaphore::new(permits),
        bounded_room: Room::default(),
    });
    let uses = [World::use_mutex, World::use_rw_lock, World::use_rlock, World::use_semaphore, World::use_bounded];
    // Some rounds have one kind of lock, for more of a crowd.
    let only = random.below(uses.len() + 2);
    let mut cast = Cast::default();
    for _ in 0..random.below(12) + 2 {
        let world = world.clone();
        cast.add(random, move |mut own| {
            for _ in 0..own.below(40) {
                let index = if only < uses.len() { only } else { own.below(uses.len()) };
                uses[index](&world, &mut own);
            }
        });
    }
    cast.end(random);

    // The tasks that were to give permits back have no handle: this waits for them.
    world.semaphore.acquire_many(permits);
    world.semaphore.release_many(permits);
    assert_eq!((world.semaphore.available(), world.bounded.available()), (permits, permits), "permits");
    assert!(!world.mutex.is_locked() && !world.rlock.is_locked(), "{world:?}");
    let mutex = world.mutex.try_lock().expect("everybody has unlocked");
    assert_eq!(*mutex, world.mutex_room.entries.load(Ordering::Relaxed), "entries");
    drop(world.rw_lock.try_write().expect("everybody has unlocked"));
}
