//! A task in memory: one allocation for header, closure and result, and who may touch what.
//!
//! ```text
//!   TaskCell<F, T>:  ┌ Header ───────────────────────────────────────────┬───────────────────────┐
//!                    │ run, end, requests          any thread            │ slot                  │
//!                    │ home, carrier               its home worker       │ F, then Result<T, _>, │
//!                    │ inbox_link                  who called first      │ then nothing: `holds` │
//!                    │ holds                       who writes the slot   │                       │
//!                    │ watchers                    under their lock      │                       │
//!                    │ name, flags, vtable         never change          │                       │
//!                    └───────────────────────────────────────────────────┴───────────────────────┘
//! ```
//!
//! Two references are counted at first: the runtime's, given up when the task has ended, and the join handle's.
//! A million tasks may wait, so bytes count here (`arch-notes/stacks.md`, "A million"): what only a started task needs lies in
//! its [`Carrier`], on its stack's first page.
//!
//! A [`RawTask`] is a bare pointer. It may be held by
//! - queues and deques, timers, and the waiters on the task's own stack: the task has not ended, so the runtime's
//!   reference keeps it;
//! - whoever holds a [`TaskRef`], which counts.
//!
//! # Rooms
//! - `cell`: what depends on the types. `counted`: making a task, and references that count.
//!
//! # Invariants
//! - The slot is written by the thread that runs the task until it has ended, and then by the holder of the handle; links
//!   read it in between (see `end`).
//! - `runtime` is valid until the task has ended: a runtime goes only after its last task, or never.

mod cell;
mod counted;

use std::cell::Cell;
use std::mem::ManuallyDrop;
use std::panic::Location;
use std::ptr::{self, NonNull};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};

use super::cancel::Thrown;
use super::carrier::Carrier;
use super::end::Watchers;
use super::end_state::EndState;
use super::error::JoinError;
use super::held;
use super::name::Name;
use super::requests::Requests;
use super::run_state::{Notice, RunState};
use super::sleeper::Leave;
use crate::coroutine::local;
use crate::coroutine::{Frame, current, region};
use crate::exception::{Exception, Report, drop_telling, report, tell_lost};
use crate::primitives::AtomicPtr;
use crate::runtime::{Shared, Worker, clock};
use crate::stack::StackSize;

use cell::{Holds, Ran, Vtable};
pub(crate) use counted::{Plan, TaskRef};

const NO_HOME: u32 = u32::MAX;

/// What is known of a task without knowing its types. See the module's page.
/// What a switch or a call from another thread looks at comes first, to share a cache line.
#[repr(C)]
pub(crate) struct Header {
    /// The carrier it runs on, from its start to its end.
    carrier: Cell<*const Carrier>,
    pub(crate) run: RunState,
    pub(crate) end: EndState,
    /// What the task shall unwind for.
    requests: Requests,
    /// What is in the slot. Written with it.
    holds: Cell<Holds>,
    /// Whether a cancellation has been thrown into it.
    pub(super) thrown: Cell<Thrown>,
    /// Whether its frames borrow from a caller that waits: such a task is never left behind.
    pub(crate) borrows: bool,
    /// Whether its closure and result stay on its worker's thread.
    pub(super) is_local: bool,
    /// Whether it does not count as something to wait for when its runtime is asked to become idle.
    pub(crate) is_daemon: bool,
    /// Whether it runs even if it is asked to end before it started: links do.
    must_run: Cell<bool>,
    /// The token of `task::park`.
    pub(super) token: AtomicBool,
    /// What the clock showed when it was made, which does not change once it is queued; and when it last suspended.
    pub(super) born: Cell<u32>,
    since: AtomicU32,
    /// The worker that started it or will, for life; [`NO_HOME`] while any may start it.
    home: AtomicU32,
    pub(crate) stack_size: StackSize,
    /// Set before it is queued, for good.
    runtime: Cell<*const Shared>,
    inbox_link: AtomicPtr<Header>,
    /// Its number, or 0 while nobody has asked.
    id: AtomicU64,
    /// The locks that it holds.
    pub(super) held: held::Ledger,
    /// Who waits for its end, and what is known of it then.
    pub(super) watchers: Mutex<Watchers>,
    pub(crate) name: Name,
    /// The code that spawned it.
    pub(super) site: &'static Location<'static>,
    pub(super) vtable: &'static Vtable,
}
// What tasks cost by the million: see the module's page.
#[cfg(all(target_pointer_width = "64", not(any(debug_assertions, osier_loom))))]
const _: () = assert!(size_of::<Header>() == 136);

/// A bare pointer to a task; see the module's page for who may hold one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct RawTask(NonNull<Header>);

impl RawTask {
    /// The running task, if a task runs on this thread.
    #[inline]
    pub(crate) fn current() -> Option<Self> {
        NonNull::new(current::task().cast_mut().cast()).map(Self)
    }

    pub(crate) fn from_header(header: NonNull<Header>) -> Self {
        Self(header)
    }

    /// Another counted reference to the task.
    ///
    /// # Safety
    /// - The task is alive: somebody's reference is counted meanwhile.
    pub(crate) unsafe fn to_ref(self) -> TaskRef {
        let counted = ManuallyDrop::new(TaskRef(self));
        TaskRef::clone(&counted)
    }

    pub(crate) fn as_ptr(self) -> *mut Header {
        self.0.as_ptr()
    }

    #[inline(always)]
    pub(crate) fn header(&self) -> &Header {
        // SAFETY: holders of a `RawTask` keep to the rules of the module's page, so the task is alive.
        unsafe { self.0.as_ref() }
    }

    /// The carrier that a started task runs on.
    #[inline(always)]
    pub(crate) fn carrier(&self) -> &Carrier {
        // SAFETY: a started task has its carrier until it has ended.
        unsafe { &*self.header().carrier.get() }
    }

    pub(crate) fn frame(&self) -> &Frame {
        &self.carrier().frame
    }

    /// The number of the worker that started it, or will.
    pub(crate) fn home(self) -> usize {
        self.header().home.load(Ordering::Relaxed) as usize
    }

    /// The worker that the task has been given to, if it has.
    pub(crate) fn settled_home(self) -> Option<usize> {
        Some(self.home()).filter(|&home| home != NO_HOME as usize)
    }

    /// Gives a fresh task to one worker, whose thread alone may start it.
    #[inline(always)]
    pub(crate) fn set_home(self, home: usize) {
        #[expect(clippy::cast_possible_truncation, reason = "each worker is a thread, and there are not so many")]
        self.header().home.store(home as u32, Ordering::Relaxed);
    }

    /// Whether it has been started.
    #[inline(always)]
    pub(crate) fn has_started(self) -> bool {
        !self.header().carrier.get().is_null()
    }

    /// The runtime of a task that has not ended.
    pub(crate) fn runtime(self) -> *const Shared {
        self.header().runtime.get()
    }

    /// Says which runtime will run a task that was made for none.
    ///
    /// # Safety
    /// - The task is fresh and in no queue, and `runtime` stays valid until it has ended.
    pub(crate) unsafe fn set_runtime(self, runtime: *const Shared) {
        self.header().runtime.set(runtime);
    }

    /// Winds the clock for a fresh task: where all workers sleep nobody has for long.
    ///
    /// # Safety
    /// - The task is in no queue.
    pub(crate) unsafe fn is_made_now(self) {
        let now = clock::wind();
        self.header().born.set(now);
        self.header().since.store(now, Ordering::Relaxed);
    }

    /// The task's number, which no other task of the process ever has.
    pub(crate) fn id(self) -> u64 {
        static LAST: AtomicU64 = AtomicU64::new(0);
        let id = &self.header().id;
        match id.load(Ordering::Relaxed) {
            0 => {
                // Made when it is first asked for, so that a spawn touches no counter that all workers share.
                let new = LAST.fetch_add(1, Ordering::Relaxed) + 1;
                id.compare_exchange(0, new, Ordering::Relaxed, Ordering::Relaxed).err().unwrap_or(new)
            }
            id => id,
        }
    }

    /// Suspends the running task, `self`. Somebody has queued it, or will.
    #[inline(always)]
    pub(crate) fn suspend(self) {
        // SAFETY: that frame runs.
        unsafe { self.suspend_below(current::frame()) };
    }

    /// As [`suspend`](Self::suspend), with nothing on top of the task, and so in less time.
    ///
    /// # Safety
    /// - The task's own frame is the running one.
    #[inline(always)]
    pub(crate) unsafe fn suspend_alone(self) {
        // SAFETY: the caller's promise.
        unsafe { self.suspend_below(self.frame()) };
    }

    /// # Safety
    /// - `top` is `current::frame()`.
    #[inline(always)]
    unsafe fn suspend_below(self, top: *const Frame) {
        let carrier = self.carrier();
        self.header().since.store(clock::shown(), Ordering::Relaxed);
        if carrier.listed.get().is_none() {
            Worker::here().list(self);
        }
        // SAFETY: `self` runs, so its carrier is on the running chain; and the caller's promise.
        unsafe { carrier.suspend(top) };
        current::set_task(self.as_ptr().cast());
    }

    /// Says how to take the running task out of the queue that it is about to park in.
    ///
    /// # Safety
    /// - `leaves` stays valid until another is set; the task sets `None` before it goes on.
    #[inline]
    pub(crate) unsafe fn set_leaves(self, leaves: Option<&dyn Leave>) {
        // SAFETY: only the lifetime changes, and the caller vouches for it.
        let leaves = leaves.map(|leaves| unsafe {
            std::mem::transmute::<NonNull<dyn Leave + '_>, NonNull<dyn Leave>>(NonNull::from(leaves))
        });
        self.carrier().leaves.set(leaves);
    }

    /// How a suspended task is taken out of what it waits in, if it waits.
    ///
    /// # Safety
    /// - The task is suspended, and is not resumed while the reference is used.
    pub(super) unsafe fn leaves(&self) -> Option<&dyn Leave> {
        // SAFETY: it was set by the wait that the task is parked in, whose frame is still there.
        self.carrier().leaves.get().map(|leaves| unsafe { leaves.as_ref() })
    }

    /// Runs the task to its end, on the carrier and as the running task.
    // Inlined into the two loops that do it: 20 instructions a task.
    #[inline(always)]
    pub(crate) fn run_on(self, carrier: &Carrier, home: usize) {
        let header = self.header();
        self.set_home(home);
        header.run.start(current::worker());
        header.carrier.set(carrier);
        let ran = if header.has_request() && !header.must_run.get() && self.settle_requests() {
            let error = self.take_thrown().map_or_else(JoinError::cancelled, JoinError::raised);
            // What the closure owns is dropped here, and may wait.
            // SAFETY: the task is started by the only one that took it out of its queue, so the slot is ours.
            region::in_peace(|| unsafe { (header.vtable.refuse)(self.0, error) });
            self.tell_thrown();
            Ran::Error
        } else {
            self.adopt_locals();
            // SAFETY: as above.
            let ran = unsafe { (header.vtable.run)(self.0) };
            if header.has_request() && ran != Ran::Again {
                self.tell_thrown();
            }
            // Before anybody learns that it has ended, or takes it to another thread, and while it still may wait.
            carrier.frame.locals.end(|payload| tell_lost(&header.name, payload));
            ran
        };
        if ran == Ran::Again {
            return self.queue_again();
        }
        self.end(ran == Ran::Value);
    }

    /// Makes the running task a fresh one: its code has returned, and wants another turn. Whoever takes it may be done with
    /// it before this returns.
    #[cold]
    fn queue_again(self) {
        self.wait_for_calls();
        self.unlist();
        self.leaves_the_worker();
        let header = self.header();
        header.thrown.set(Thrown::No);
        header.run.leave_home();
        header.carrier.set(ptr::null());
        header.home.store(NO_HOME, Ordering::Relaxed);
        Worker::here().queue_again(self);
    }

    /// Begins with the task locals that were inherited.
    #[inline(always)]
    fn adopt_locals(self) {
        if local::is_any_inherited() {
            self.frame().locals.adopt(self.take_inherited());
        }
    }

    /// Ends a fresh task that cannot be started. One that must run does so here, on the caller's stack and as no task.
    pub(crate) fn refuse(self, error: JoinError) {
        if self.header().must_run.get() {
            // SAFETY: the caller took it out of its queue, so the slot is its own.
            let ran = unsafe { (self.header().vtable.run)(self.0) };
            return self.end(ran == Ran::Value);
        }
        self.discard(error);
    }

    /// Makes a fresh task that was to run in any case one that ends unrun when its turn comes.
    ///
    /// # Safety
    /// - The task is in no queue.
    pub(super) unsafe fn revoke(self) {
        self.header().must_run.set(false);
        self.request_cancel();
    }

    /// Ends a fresh task, whose closure is dropped.
    pub(super) fn discard(self, error: JoinError) {
        // SAFETY: the caller took it out of its queue, so the slot is its own.
        unsafe { (self.header().vtable.refuse)(self.0, error) };
        self.end(false);
    }

    /// Takes the task out of the list of those that have suspended.
    #[inline]
    pub(super) fn unlist(self) {
        if self.has_started() && self.carrier().listed.get().is_some() {
            Worker::here().unlist(self);
        }
    }

    /// Says that the running task may be gone soon, or be another worker's.
    #[inline]
    pub(super) fn leaves_the_worker(self) {
        if let Some(worker) = Worker::get() {
            worker.turnstile().ends(self.as_ptr());
        }
    }

    /// Gives a suspended task up that did not end: whoever joins it gets an error. Its stack, and the task, stay for
    /// ever, since its frames may be pointed to. It is taken out of the queue it waits in, so that no message goes to it.
    pub(crate) fn leave_behind(self) {
        // SAFETY: nobody resumes it any more.
        if let Some(leaves) = unsafe { self.leaves() } {
            leaves.abandon();
        }
        self.carrier().leaves.set(None);
        // SAFETY: nobody resumes it any more, and its closure has left the slot when it started.
        unsafe { (self.header().vtable.refuse)(self.0, JoinError::left_behind()) };
        self.header().run.abandon();
        // The runtime's reference is never given up.
        self.header().end.add_reference();
        self.end(false);
    }

    /// Where the `Result<T, JoinError>` of a task lies that has ended.
    ///
    /// # Safety
    /// - The result is in the slot, and stays there for as long as the pointer is used.
    pub(super) unsafe fn result(self) -> *const () {
        // SAFETY: the caller's promise.
        unsafe { (self.header().vtable.result)(self.0) }
    }

    /// The error that is the result in the slot, if it is one.
    ///
    /// # Safety
    /// - The task is about to end or has, and nobody writes the slot now.
    pub(super) unsafe fn error(self) -> Option<JoinError> {
        // SAFETY: the caller's promise.
        unsafe { (self.header().vtable.error)(self.0) }
    }

    /// Takes the result of a task that has ended, if it is still there.
    ///
    /// # Safety
    /// - `T` is the task's type, the task has ended, and nobody else uses its result now.
    pub(super) unsafe fn take_result<T>(self) -> Option<Result<T, JoinError>> {
        let mut result = None::<Result<T, JoinError>>;
        // SAFETY: the caller's promise.
        unsafe { (self.header().vtable.take_result)(self.0, (&raw mut result).cast()) };
        result
    }

    /// Drops the result that is in the slot, if there is one.
    ///
    /// # Safety
    /// - Nobody else uses the slot now.
    pub(super) unsafe fn drop_result(self) {
        // SAFETY: the caller's promise.
        unsafe { (self.header().vtable.drop_result)(self.0) };
    }

    /// Cancels the task: it unwinds from the wait it is in, or from its next one; a fresh one never runs.
    ///
    /// The caller holds a reference.
    pub(crate) fn cancel(self) {
        self.request_cancel();
        self.notify();
        self.wake_nested();
    }

    /// Raises `exception` in the task, in the wait it is in or its next one, after those that are pending; a fresh one never
    /// runs, and for one that has ended it is nothing.
    ///
    /// The caller holds a reference.
    pub(crate) fn throw(self, exception: Exception) {
        if self.header().end.is_done() {
            return;
        }
        self.keep_thrown(exception);
        self.header().requests.throw();
        self.notify();
        self.wake_nested();
    }

    /// Takes the exception that was thrown in first, if there is one.
    pub(crate) fn take_thrown(self) -> Option<Exception> {
        self.header().requests.take_throw(|| self.take_kept(), || self.keeps_thrown())
    }

    /// Tells of exceptions that were thrown into the task, which will not wait again.
    #[cold]
    fn tell_thrown(self) {
        while let Some(exception) = self.take_kept() {
            let name = &self.header().name;
            report(&Report::ThrownTooLate { name, exception: &exception });
            region::in_peace(|| drop_telling(name, exception));
        }
    }

    /// Whether the running task, `self`, really has something to unwind for.
    pub(crate) fn settle_requests(self) -> bool {
        self.header().requests.settle(|| self.keeps_thrown())
    }

    pub(super) fn notify(self) {
        if !self.header().end.is_done() {
            self.wake(self.header().run.notify(current::worker()));
        }
    }

    /// Notes that the task shall unwind, without waking it.
    pub(crate) fn request_cancel(self) {
        self.header().requests.cancel();
    }

    /// Notes that the task has answered the requests to unwind that were made so far.
    pub(crate) fn answer_cancel(self) {
        self.header().requests.answer_cancel();
    }

    /// Whether the runtime of the running task, `self`, is shutting down.
    pub(crate) fn is_shutting_down(self) -> bool {
        // SAFETY: the task has not ended, so its runtime is alive.
        unsafe { &*self.runtime() }.is_closing()
    }

    /// Does what a notification asks for.
    #[inline(always)]
    pub(super) fn wake(self, notice: Notice) {
        match notice {
            Notice::Seen => {}
            Notice::Ready => Worker::here().push_ready(self),
            // SAFETY: the task does not end while the call is on its way, so its runtime is alive.
            Notice::Call => unsafe { Shared::push_called(self.runtime(), self) },
        }
    }

    /// Waits until no call of another thread is on its way to the running task, `self`; none comes through afterwards.
    #[inline(always)]
    pub(super) fn wait_for_calls(self) {
        while !self.header().run.stop_listening() {
            self.park();
        }
    }

    /// Gives one reference up.
    ///
    /// # Safety
    /// - The reference is the caller's, who does not use the task afterwards without another.
    #[inline]
    pub(super) unsafe fn release(self) {
        if self.header().end.release() {
            // SAFETY: this was the last reference.
            unsafe { self.free() };
        }
    }

    /// Frees the task.
    ///
    /// # Safety
    /// - The last reference was given up.
    pub(super) unsafe fn free(self) {
        // SAFETY: the caller's promise; the vtable is the task's.
        unsafe { (self.header().vtable.free)(self.0) };
    }
}

impl Header {
    /// What the clock showed when it last suspended.
    pub(super) fn since(&self) -> u32 {
        self.since.load(Ordering::Relaxed)
    }

    #[inline(always)]
    pub(crate) fn has_request(&self) -> bool {
        self.requests.any()
    }

    /// Whether the task shall end.
    #[inline(always)]
    pub(crate) fn is_cancelled(&self) -> bool {
        self.requests.is_cancelled()
    }
}

// SAFETY: `link` always gives the same field; only who called first pushes the task, and only its home takes it out.
unsafe impl crate::runtime::Linked for Header {
    fn link(&self) -> &AtomicPtr<Self> {
        &self.inbox_link
    }
}
