//! Carriers: the coroutines that tasks run on.
//!
//! A worker runs fresh tasks one after another on one carrier. Only when a task suspends does the carrier become its
//! own, until the task has ended; the worker then takes another. So a task that never waits costs no switch and no
//! stack of its own.
//!
//! A carrier lies at the head of its own stack (`stack`), on the page that its first frames touch: so a task that waits costs
//! no memory for it, and whoever resumes it finds both in the same place.
//!
//! # Invariants
//! - A carrier never leaves its worker.
//! - Between two tasks its stack holds nothing but the loop in `Carrier::serve`.

use std::cell::{Cell, UnsafeCell};
use std::io;
use std::mem::MaybeUninit;
use std::ptr::{self, NonNull};

use super::raw::RawTask;
use super::sleeper::Leave;
use crate::coroutine::{self, Bookmark, Coroutine, Frame, Resumed, Yielder, current, unwind};
use crate::runtime::{AbortsOnDrop, Worker};
use crate::stack::{NameTag, StackSize};

/// Why a carrier came back to whoever resumed it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Pause {
    /// It has no task and wants one.
    Idle,
    /// Its task suspended, and takes it along.
    Suspended,
}

/// See the module's page. Made and freed by its worker.
#[repr(C, align(64))]
pub(crate) struct Carrier {
    pub(crate) frame: Frame,
    /// Where its task stands while it is suspended.
    pub(crate) bookmark: Bookmark,
    /// Whether it must come back after its task, instead of looking for more.
    only_one: Cell<bool>,
    yielder: Cell<*const Yielder<(), Pause>>,
    coroutine: UnsafeCell<MaybeUninit<Coroutine<(), Pause>>>,
    /// The task to start at the next resume.
    task: Cell<Option<RawTask>>,
    /// The pointer that it was made with, and is freed with.
    this: NonNull<Self>,
    name: NameTag,
    pub(crate) stack_size: StackSize,
    /// Whether its task waits until its runtime is idle.
    pub(crate) waits_for_quiet: Cell<bool>,
    /// Its task, if it is in its worker's list of those that have suspended, and its neighbours there: the list links
    /// carriers, for a header is one cache line more to fetch.
    pub(crate) listed: Cell<Option<RawTask>>,
    pub(crate) previous: Cell<*const Carrier>,
    pub(crate) next: Cell<*const Carrier>,
    /// While its task is parked: how to take it out of what it waits in, if it is left behind. Lies on this stack.
    pub(super) leaves: Cell<Option<NonNull<dyn Leave>>>,
}

impl Carrier {
    /// Makes a carrier with a stack of its own.
    ///
    /// # Errors
    /// There is no stack to be had.
    pub(crate) fn new(stack_size: StackSize) -> io::Result<NonNull<Self>> {
        let stack = coroutine::take_stack(stack_size)?;
        let carrier = stack.head::<Self>();
        let this = Self {
            frame: Frame::base(),
            bookmark: Bookmark::default(),
            stack_size,
            task: Cell::new(None),
            this: carrier,
            only_one: Cell::new(false),
            yielder: Cell::new(ptr::null()),
            coroutine: UnsafeCell::new(MaybeUninit::uninit()),
            name: stack.name_tag(),
            waits_for_quiet: Cell::new(false),
            listed: Cell::new(None),
            previous: Cell::new(ptr::null()),
            next: Cell::new(ptr::null()),
            leaves: Cell::new(None),
        };
        // SAFETY: there is room for it at the head of the stack, which is ours.
        unsafe { carrier.write(this) };
        let body = move |yielder: &Yielder<(), Pause>, ()| {
            // What unwound from here would go through frames of tasks that borrow.
            let dies = AbortsOnDrop;
            // SAFETY: a carrier is freed only after its coroutine has returned.
            unsafe { carrier.as_ref() }.serve(yielder);
            std::mem::forget(dies);
        };
        // SAFETY: `body` borrows the carrier alone, which outlives the coroutine; it catches what tasks throw, and else aborts.
        let coroutine = unsafe { Coroutine::new(stack, body) };
        // SAFETY: the carrier was made just now; nobody else looks at the cell.
        unsafe { (*carrier.as_ref().coroutine.get()).write(coroutine) };
        Ok(carrier)
    }

    /// The loop that runs on the carrier's stack: one task after the other, until it is resumed without one.
    fn serve(&self, yielder: &Yielder<(), Pause>) {
        self.yielder.set(yielder);
        let worker = Worker::here();
        while let Some(first) = self.task.take() {
            let mut next = Some(first);
            while let Some(task) = next {
                self.begin(task);
                worker.turnstile().begins(task.as_ptr());
                worker.count_started();
                task.run_on(self, worker.index());
                self.frame.end_trees();
                worker.count_finished();
                next = if self.only_one.get() { None } else { worker.next_fresh(self.stack_size) };
            }
            // SAFETY: the carrier itself runs, with nothing on top of it.
            unsafe { yielder.suspend(Pause::Idle) };
        }
    }

    /// Makes `task` the running one.
    fn begin(&self, task: RawTask) {
        self.frame.begin();
        self.name.set(&task.header().name);
        current::set_frame(&raw const self.frame);
        current::set_task(task.as_ptr().cast());
    }

    /// The pointer that `free` takes.
    pub(crate) fn this(&self) -> NonNull<Self> {
        self.this
    }

    /// Gives the idle carrier the task to start next. With `only_one` it comes back after it.
    pub(crate) fn load(&self, task: RawTask, only_one: bool) {
        self.task.set(Some(task));
        self.only_one.set(only_one);
    }

    /// Lets a carrier whose task has suspended take more after that one.
    pub(crate) fn may_go_on(&self) {
        self.only_one.set(false);
    }

    /// Runs the carrier until it pauses. The caller sets `current`'s task back afterwards.
    ///
    /// # Safety
    /// - The carrier is suspended or loaded, and this is its worker's thread.
    #[inline(always)]
    pub(crate) unsafe fn resume(&self) -> Option<Pause> {
        let coroutine = self.coroutine.get();
        // SAFETY: the caller's promise. The reference is used for the switch alone, and nobody else resumes meanwhile.
        match unsafe { unwind::resuming(&self.frame, || (*coroutine).assume_init_mut().resume(())) } {
            Resumed::Suspended(pause) => Some(pause),
            Resumed::Returned => None,
        }
    }

    /// Suspends the task that runs on this carrier.
    ///
    /// # Safety
    /// - The carrier is on the running chain.
    /// - `top` is `current::frame()`.
    #[inline(always)]
    pub(crate) unsafe fn suspend(&self, top: *const Frame) {
        self.bookmark.set();
        // SAFETY: the yielder was set when the carrier first ran, and the caller says that it runs.
        unsafe { unwind::suspending(top, &self.frame, |_| (*self.yielder.get()).suspend(Pause::Suspended)) };
        self.bookmark.clear();
    }

    /// Ends an idle carrier and gives its stack back.
    ///
    /// # Safety
    /// - The carrier is idle, this is its worker's thread, and nobody uses it afterwards.
    pub(crate) unsafe fn free(carrier: NonNull<Self>) {
        // SAFETY: the caller's promise. Resumed without a task, `serve` returns.
        let pause = unsafe { carrier.as_ref().resume() };
        assert!(pause.is_none(), "a carrier without a task returns");
        // SAFETY: `new` wrote it, and nobody else uses it; its coroutine has returned.
        let carrier = unsafe { carrier.read() };
        // SAFETY: written in `new`.
        let coroutine = unsafe { carrier.coroutine.into_inner().assume_init() };
        coroutine::give_stack(carrier.stack_size, coroutine.into_stack());
    }
}
