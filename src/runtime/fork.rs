//! What becomes of runtimes in the child of a `fork`: nothing runs there any more.
//!
//! Only the thread that forked goes on in the child, so workers are gone, and tasks must run in the parent alone. The system
//! calls us there: every runtime is marked dead, so that its use panics instead of waiting for ever. A child that was forked
//! in a task goes on as a plain thread would, until it ends or calls `exec`; its worker runs no other task.

use std::cell::Cell;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, Once, PoisonError, Weak};

use super::diagnosis::{deciding, looking};
use super::shared::Shared;
use super::worker::Worker;
use crate::coroutine::current;
use crate::stack;

/// What a use of a runtime in the child says.
pub(crate) const MESSAGE: &str = "runtime used after fork";

/// Every runtime of the process.
static ALL: Mutex<Vec<Weak<Shared>>> = Mutex::new(Vec::new());

/// Whether this process is a child that was forked off a process with a runtime.
static IS_CHILD: AtomicBool = AtomicBool::new(false);

/// How many forks lie between this process and the first that had a runtime.
static GENERATION: AtomicU32 = AtomicU32::new(0);

/// Tells what was made in this process from what was inherited.
#[cfg(feature = "net")]
pub(super) fn generation() -> u32 {
    GENERATION.load(Ordering::Relaxed)
}

fn all() -> MutexGuard<'static, Vec<Weak<Shared>>> {
    ALL.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The locks that the child's own runtimes will take: while a thread forks it has them, so that nobody else is in the middle of
/// what they guard. The list is among them.
struct Locks {
    all: MutexGuard<'static, Vec<Weak<Shared>>>,
    /// They are taken in this order everywhere, and before the list.
    _deciding: MutexGuard<'static, ()>,
    _looking: crate::primitives::MutexGuard<'static, ()>,
    _stacks: stack::Locked,
}

/// While a thread forks: what it has.
struct Held(Cell<Option<Locks>>);

// SAFETY: touched by the thread that forks alone, which has the lock from `prepare` until it has taken it out again.
unsafe impl Sync for Held {}

static HELD: Held = Held(Cell::new(None));

/// Has the system call us when the process forks.
pub(super) fn hear_of_forks() {
    static INSTALLED: Once = Once::new();
    // SAFETY: the three are functions without arguments that do what may be done there.
    INSTALLED.call_once(|| _ = unsafe { libc::pthread_atfork(Some(prepare), Some(in_parent), Some(in_child)) });
}

/// Notes a new runtime.
pub(super) fn register(shared: Weak<Shared>) {
    hear_of_forks();
    let mut all = all();
    if all.len() == all.capacity() {
        all.retain(|shared| shared.strong_count() > 0);
    }
    all.push(shared);
}

/// The runtimes of the process.
pub(super) fn runtimes() -> Vec<Arc<Shared>> {
    all().iter().filter_map(Weak::upgrade).collect()
}

/// Whether this process was forked off one with a runtime.
pub(super) fn is_child() -> bool {
    IS_CHILD.load(Ordering::Relaxed)
}

/// Whether a runtime, by its address, came from the parent of this process.
#[inline]
pub(crate) fn is_dead(shared: *const Shared) -> bool {
    IS_CHILD.load(Ordering::Relaxed) && is_inherited(shared)
}

#[cold]
fn is_inherited(shared: *const Shared) -> bool {
    all().iter().any(|other| std::ptr::eq(other.as_ptr(), shared) && other.upgrade().is_some_and(|it| it.is_forked()))
}

/// Panics in the child, if `shared` came from the parent.
#[inline]
pub(crate) fn check(shared: *const Shared) {
    assert!(!is_dead(shared), "{MESSAGE}");
}

extern "C" fn prepare() {
    let deciding = deciding();
    let looking = looking();
    HELD.0.set(Some(Locks { all: all(), _deciding: deciding, _looking: looking, _stacks: stack::lock() }));
}

extern "C" fn in_parent() {
    drop(HELD.0.take());
}

extern "C" fn in_child() {
    let Some(Locks { all, .. }) = HELD.0.take() else { return };
    IS_CHILD.store(!all.is_empty(), Ordering::Relaxed);
    GENERATION.fetch_add(1, Ordering::Relaxed);
    for shared in all.iter().filter_map(Weak::upgrade) {
        shared.die();
        // Its tasks point there, and its workers will not end.
        std::mem::forget(shared);
    }
    drop(all);
    if let Some(worker) = Worker::get() {
        worker.stop_at_once();
        current::set_worker(std::ptr::null());
        current::set_task(std::ptr::null());
    }
}
