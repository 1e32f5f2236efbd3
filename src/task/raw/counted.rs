//! Making a task, and counted references to it.

use std::cell::{Cell, UnsafeCell};
use std::mem::ManuallyDrop;
use std::panic::Location;
use std::ptr;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64};

use super::cell::{Content, Holds, Slot, TaskCell};
use super::{EndState, Header, NO_HOME, Name, RawTask, Requests, RunState, StackSize, Watchers, held};
use crate::coroutine::{local, memory};
use crate::primitives::AtomicPtr;
use crate::runtime::{Shared, clock};
use crate::task::cancel::Thrown;
use crate::task::stepped::Body;

/// How a task is to be made.
pub(crate) struct Plan {
    pub(crate) name: Name,
    /// The code that spawns it.
    pub(crate) site: &'static Location<'static>,
    pub(crate) stack_size: StackSize,
    pub(crate) borrows: bool,
    /// Whether it runs even if it is asked to end before it starts.
    pub(crate) must_run: bool,
    /// Whether its closure and result stay on the thread of the worker that made it.
    pub(crate) is_local: bool,
    /// Whether it does not count as something to wait for.
    pub(crate) is_daemon: bool,
}

/// A counted reference to a task.
pub(crate) struct TaskRef(pub(super) RawTask);

// SAFETY: what other threads may touch of a task is atomic or under a lock; the slot is left to the typed handle.
unsafe impl Send for TaskRef {}
// SAFETY: as above.
unsafe impl Sync for TaskRef {}

impl TaskRef {
    /// Makes a fresh task for `runtime`. The first of the two references is for the runtime, as a bare pointer.
    ///
    /// # Safety
    /// - `runtime` stays valid until the task has ended, or is null, and set before it is queued.
    /// - The task is started on one thread only, by whoever got the bare pointer; other threads get it only if
    ///   `closure` is `Send`. What `closure` borrows stays valid until the task has ended.
    #[inline(always)]
    pub(in crate::task) unsafe fn new<F: Body<T>, T>(
        runtime: *const Shared,
        plan: Plan,
        closure: F,
    ) -> (RawTask, Self) {
        // Before there is room to lose: users' `clone` may panic.
        let inherited = local::inherited();
        let cell = memory::room_for::<TaskCell<F, T>>();
        let header = Header {
            run: RunState::fresh(),
            end: EndState::new(),
            requests: Requests::new(),
            holds: Cell::new(Holds::Closure),
            borrows: plan.borrows,
            must_run: Cell::new(plan.must_run),
            is_local: plan.is_local,
            is_daemon: plan.is_daemon,
            born: Cell::new(clock::shown()),
            since: AtomicU32::new(clock::shown()),
            token: AtomicBool::new(false),
            id: AtomicU64::new(0),
            home: AtomicU32::new(NO_HOME),
            runtime: Cell::new(runtime),
            carrier: Cell::new(ptr::null()),
            thrown: Cell::new(Thrown::No),
            inbox_link: AtomicPtr::new(ptr::null_mut()),
            held: held::Ledger::new(),
            watchers: Mutex::new(Watchers::new(inherited)),
            name: plan.name,
            site: plan.site,
            stack_size: plan.stack_size,
            vtable: TaskCell::<F, T>::VTABLE,
        };
        // SAFETY: it is room for this type.
        unsafe { cell.write(TaskCell { header, slot: UnsafeCell::new(Slot { closure: ManuallyDrop::new(closure) }) }) };
        let task = RawTask(cell.cast());
        (task, Self(task))
    }

    pub(crate) fn raw(&self) -> RawTask {
        self.0
    }

    pub(crate) fn name(&self) -> &str {
        &self.0.header().name
    }

    /// What a user has given the task.
    pub(in crate::task) fn data(&self) -> Option<&(dyn std::any::Any + Send + Sync)> {
        self.0.header().name.data()
    }

    /// Takes the closure back out of a task that was never queued, and frees it.
    ///
    /// # Safety
    /// - `F` and `T` are the types it was made with, and nobody else has a pointer to it.
    pub(in crate::task) unsafe fn take_closure<F: Body<T>, T>(self) -> F {
        let task = ManuallyDrop::new(self).0;
        // SAFETY: the caller's promise.
        let Content::Closure(closure) = (unsafe { TaskCell::<F, T>::take(task.0) }) else {
            unreachable!("a task that was never queued still has its closure")
        };
        // SAFETY: nobody else has a pointer to it.
        unsafe { task.free() };
        closure
    }
}

impl Clone for TaskRef {
    fn clone(&self) -> Self {
        self.0.header().end.add_reference();
        Self(self.0)
    }
}

impl Drop for TaskRef {
    fn drop(&mut self) {
        // SAFETY: this reference is counted, and goes now.
        unsafe { self.0.release() };
    }
}
