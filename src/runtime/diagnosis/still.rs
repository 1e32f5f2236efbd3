//! Tasks that hold still while somebody looks at them, at next to no cost while nobody does.
//!
//! Whoever looks, from any thread, asks the workers not to resume suspended tasks, not to change their lists of tasks, and
//! not to let a task end. A worker that computes goes on: what it runs is all that moves, and nobody waits for it. So this
//! works also while workers are stuck.
//!
//! ```text
//!   worker, before it resumes a task       somebody who looks
//!     running = the task                     held = true
//!     (compiler fence)                       membarrier: every thread of the process passes a full fence
//!     held?  then wait                       looks at every task, but for those in `running`
//!     resume                                 held = false
//! ```
//!
//! Either the worker sees `held`, or its `running` is seen: this is Dekker's way, with the fence of the one that comes often
//! moved to the one that comes rarely (Linux's `membarrier`, Dice et al., "Asymmetric Dekker Synchronization", 2001). Where
//! the system has no such call, whoever looks waits for as long as no store stays in a core's buffer.
//!
//! # Invariants
//! - `running` is the task that the worker's loop resumed last, or that began last, unless it has ended since, or the loop has
//!   found nothing to run. A task that it points to has not ended as long as the turnstile is held.
//! - Lists change, and tasks end, only within `change` and past `pass`.

use std::sync::PoisonError;

use crate::primitives::{AtomicPtr, AtomicU32, Mutex, MutexGuard, Ordering, yield_thread};

/// Where one worker waits while somebody looks. `T` is what it runs.
#[derive(Debug)]
pub(crate) struct Turnstile<T> {
    /// Whether somebody looks: 1, else 0.
    held: AtomicU32,
    running: AtomicPtr<T>,
    /// Whether the worker is changing its list: 1, else 0.
    changing: AtomicU32,
}

impl<T> Turnstile<T> {
    pub(crate) fn new() -> Self {
        Self { held: AtomicU32::new(0), running: AtomicPtr::new(std::ptr::null_mut()), changing: AtomicU32::new(0) }
    }

    // ---- the worker's side

    /// Says that `task`, which was suspended, runs from now on.
    #[inline(always)]
    pub(crate) fn resumes(&self, task: *mut T) {
        self.begins(task);
        self.pass();
    }

    /// Says that `task` runs, which was not suspended.
    #[inline(always)]
    pub(crate) fn begins(&self, task: *mut T) {
        // Release: pairs with the Acquire in `running`, so that what earlier tasks wrote before they suspended is seen.
        self.running.store(task, Ordering::Release);
    }

    /// Says, if `task` is the running one, that it ends, and may be gone afterwards.
    #[inline(always)]
    pub(crate) fn ends(&self, task: *mut T) {
        if self.running.load(Ordering::Relaxed) == task {
            self.begins(std::ptr::null_mut());
        }
        self.pass();
    }

    /// Waits while somebody looks.
    #[inline(always)]
    fn pass(&self) {
        light_fence();
        // Acquire: pairs with the Release in `Held::drop`.
        if self.held.load(Ordering::Acquire) != 0 {
            self.wait();
        }
    }

    #[cold]
    #[inline(never)]
    fn wait(&self) {
        while self.held.load(Ordering::Acquire) != 0 {
            // Whoever looks has this lock meanwhile.
            drop(looking());
        }
    }

    /// Changes the worker's list while nobody looks.
    #[inline(always)]
    pub(crate) fn change<R>(&self, f: impl FnOnce() -> R) -> R {
        loop {
            self.changing.store(1, Ordering::Relaxed);
            light_fence();
            if self.held.load(Ordering::Acquire) == 0 {
                break;
            }
            self.changing.store(0, Ordering::Release);
            self.wait();
        }
        let result = f();
        // Release: pairs with the Acquire in `hold`.
        self.changing.store(0, Ordering::Release);
        result
    }

    // ---- the side of whoever looks

    /// What the worker runs, while its turnstile is held: not to be looked at but for what never changes.
    pub(crate) fn running(&self) -> *mut T {
        self.running.load(Ordering::Acquire)
    }
}

static LOOKING: std::sync::LazyLock<Mutex<()>> = std::sync::LazyLock::new(|| Mutex::new(()));

/// Keeps others from holding turnstiles.
pub(crate) fn looking() -> MutexGuard<'static, ()> {
    LOOKING.lock().unwrap_or_else(PoisonError::into_inner)
}

/// While it lives, no task of the turnstiles' workers is resumed or ends. Whoever has it neither waits nor runs code of users.
pub(crate) struct Held<'a, T> {
    turnstiles: Vec<&'a Turnstile<T>>,
    _looking: MutexGuard<'static, ()>,
}

/// Holds the turnstiles of all workers of a runtime.
pub(crate) fn hold<'a, T>(turnstiles: impl IntoIterator<Item = &'a Turnstile<T>>) -> Held<'a, T> {
    let held = Held { turnstiles: turnstiles.into_iter().collect(), _looking: looking() };
    held.turnstiles.iter().for_each(|turnstile| turnstile.held.store(1, Ordering::SeqCst));
    heavy_fence();
    for turnstile in &held.turnstiles {
        // A few instructions of another thread, unless the system has taken its core away.
        while turnstile.changing.load(Ordering::Acquire) != 0 {
            yield_thread();
        }
    }
    held
}

impl<T> Drop for Held<'_, T> {
    fn drop(&mut self) {
        // Release: what the workers do next comes after what was looked at.
        self.turnstiles.iter().for_each(|turnstile| turnstile.held.store(0, Ordering::Release));
    }
}

/// Keeps the compiler from moving the store before it behind the load after it; `heavy_fence` does so for the processor.
#[inline(always)]
fn light_fence() {
    #[cfg(not(all(test, osier_loom)))]
    std::sync::atomic::compiler_fence(Ordering::SeqCst);
    // A model knows no barrier of the system's; what it comes to is a fence on both sides.
    #[cfg(all(test, osier_loom))]
    crate::primitives::fence(Ordering::SeqCst);
}

#[cfg(all(test, osier_loom))]
fn heavy_fence() {
    crate::primitives::fence(Ordering::SeqCst);
}

/// Makes every thread of the process pass a full fence.
#[cfg(not(all(test, osier_loom)))]
fn heavy_fence() {
    std::sync::atomic::fence(Ordering::SeqCst);
    if cfg!(miri) || !system_barrier() {
        // A store leaves its core's buffer within a microsecond or so.
        let began = std::time::Instant::now();
        while began.elapsed() < std::time::Duration::from_millis(5) {
            yield_thread();
        }
    }
}

/// Asks the system for it. False if it has none.
#[cfg(all(target_os = "linux", not(all(test, osier_loom))))]
fn system_barrier() -> bool {
    const PRIVATE_EXPEDITED: libc::c_int = 1 << 3;
    const REGISTER_PRIVATE_EXPEDITED: libc::c_int = 1 << 4;
    let call = |command: libc::c_int| {
        // SAFETY: the call takes no pointers.
        unsafe { libc::syscall(libc::SYS_membarrier, command, 0, 0) == 0 }
    };
    // To register twice does no harm.
    call(REGISTER_PRIVATE_EXPEDITED) && call(PRIVATE_EXPEDITED)
}

#[cfg(all(not(target_os = "linux"), not(all(test, osier_loom))))]
fn system_barrier() -> bool {
    false
}

#[cfg(all(test, not(osier_loom)))]
mod tests {
    use super::*;

    #[test]
    fn a_worker_waits_at_its_turnstile_while_somebody_looks() {
        let turnstile = Turnstile::new();
        let mut task = 7;
        let task = &raw mut task;
        let passed = std::sync::atomic::AtomicBool::new(false);
        std::thread::scope(|scope| {
            let held = hold([&turnstile]);
            let address = task.addr();
            let (turnstile, passed) = (&turnstile, &passed);
            let worker = scope.spawn(move || {
                turnstile.resumes(std::ptr::without_provenance_mut::<i32>(address));
                passed.store(true, Ordering::SeqCst);
            });
            while turnstile.running().is_null() {
                std::thread::yield_now();
            }
            assert!(!passed.load(Ordering::SeqCst));
            drop(held);
            worker.join().unwrap();
            assert!(passed.load(Ordering::SeqCst));
        });
    }
}

#[cfg(all(test, osier_loom))]
mod model {
    use super::*;
    use loom::cell::UnsafeCell;
    use loom::sync::Arc;
    use loom::thread;

    /// A turnstile, and what may be touched by the worker and by whoever looks, each in its time.
    struct World {
        turnstile: Turnstile<u8>,
        held: Mutex<()>,
        list: UnsafeCell<u8>,
        stack: UnsafeCell<u8>,
    }

    // SAFETY: the protocol keeps the two apart, as loom checks.
    unsafe impl Sync for World {}
    // SAFETY: as above.
    unsafe impl Send for World {}

    impl World {
        /// As `hold` and what follows, with a lock of this world's.
        fn look(&self, careful: bool) {
            let guard = self.held.lock().unwrap();
            self.turnstile.held.store(1, Ordering::SeqCst);
            if careful {
                heavy_fence();
            }
            while self.turnstile.changing.load(Ordering::Acquire) != 0 {
                yield_thread();
            }
            self.list.with(|_| ());
            if self.turnstile.running().is_null() {
                self.stack.with(|_| ());
            }
            self.turnstile.held.store(0, Ordering::Release);
            drop(guard);
        }

        fn wait(&self) {
            while self.turnstile.held.load(Ordering::Acquire) != 0 {
                drop(self.held.lock().unwrap());
                yield_thread();
            }
        }

        fn work(&self) {
            self.turnstile.begins(std::ptr::without_provenance_mut(1));
            light_fence();
            self.wait();
            self.stack.with_mut(|_| ());
            loop {
                self.turnstile.changing.store(1, Ordering::Relaxed);
                light_fence();
                if self.turnstile.held.load(Ordering::Acquire) == 0 {
                    break;
                }
                self.turnstile.changing.store(0, Ordering::Release);
                self.wait();
            }
            self.list.with_mut(|_| ());
            self.turnstile.changing.store(0, Ordering::Release);
        }
    }

    fn check(careful: bool) {
        let mut model = loom::model::Builder::new();
        model.preemption_bound = Some(3);
        model.check(move || {
            let world = Arc::new(World {
                turnstile: Turnstile::new(),
                held: Mutex::new(()),
                list: UnsafeCell::new(0),
                stack: UnsafeCell::new(0),
            });
            let worker = {
                let world = world.clone();
                thread::spawn(move || world.work())
            };
            world.look(careful);
            worker.join().unwrap();
        });
    }

    #[test]
    fn model_nothing_moves_while_somebody_looks() {
        check(true);
    }

    #[test]
    #[should_panic(expected = "Causality violation")]
    fn model_catches_a_look_without_a_fence() {
        check(false);
    }
}
