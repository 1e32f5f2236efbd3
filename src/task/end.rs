//! A task's end: who is told, in which order, and who drops the result.
//!
//! ```text
//!   result in the slot ──→ DONE ──→ links run, in link order, each in a new task ──→ settled ──→ waiters are woken
//!                                   (they read the result)                            (the result is its handle's)
//! ```
//!
//! The result of a task that borrows is no link's to look at: its handle takes it, or it is dropped before DONE. A scope
//! waits for that, so who waits is woken then already, before the links run.
//!
//! Most tasks have no link: they are settled as soon as they are done. A link that is added after the end runs at once,
//! and unsettles the task until it has returned: whoever joins meanwhile waits for it.
//!
//! # Invariants
//! - Between the end and settling nobody writes the slot; then its handle does, or, if that is gone, the last link. Of a
//!   task that borrows only its handle does.
//! - A link is in the list, or somebody is about to run it, or it has run or was taken out: one of them.
//! - No closure of a user runs, and nothing is dropped, under the watchers' lock.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, MutexGuard, PoisonError};
use std::time::Instant;

use super::end_state::End;
use super::error::{JoinError, Note};
use super::raw::{RawTask, TaskRef};
use super::sleeper::{Leave, Woken};
use super::wait_queue::{WaitQueue, Waiter};
use crate::coroutine::local::Inherited;
use crate::coroutine::{region, unwind};
use crate::exception::{Exception, Report, report};
use crate::runtime::{Shared, Way, Worker, check_fork};

/// Who wants to know of a task's end, and what is known of it. Lies under a lock in the task's header.
pub(super) struct Watchers {
    queue: WaitQueue,
    /// What few tasks have.
    more: Option<Box<More>>,
}

/// What is given a task with a result that nobody else uses.
pub(super) type Heir = Box<dyn FnOnce(RawTask)>;

#[derive(Default)]
struct More {
    /// The task locals that it begins with.
    inherited: Inherited,
    /// What it shall raise at its next waits, one after the other.
    thrown: VecDeque<Exception>,
    /// Fresh tasks to start when this one has ended, in link order.
    links: VecDeque<RawTask>,
    /// How many links are running, or about to.
    unsettled: usize,
    /// Whether the result is dropped, or is about to be: by the last link, say, in the place of a handle that is gone.
    is_claimed: bool,
    /// Why there is no value, and the number of that failure among all failures of the process.
    failure: Option<(u64, Note)>,
    /// Whether somebody was told of the failure, or will be.
    is_observed: bool,
    /// How many wait for the end and will be told of a failure, unless they give up before.
    askers: usize,
    /// Whether the failure was left for one of them to be told of.
    is_left_to_askers: bool,
    /// The runtime that works in this task, on its worker's thread.
    nested: Option<Arc<Shared>>,
    /// Whether somebody will see to a failure that nobody is told of, so that it is not reported when the handle goes.
    is_kept: bool,
    /// Looks at the result of a task whose handle is gone, or takes it, before it is dropped.
    heir: Option<Heir>,
}

impl More {
    /// Leaves a failure that nobody was told of to whoever waits for the end, if somebody does.
    fn leave_to_askers(&mut self) -> bool {
        self.is_left_to_askers |= self.askers > 0;
        self.askers > 0
    }
}

/// Somebody who waits for a task's end and will be told of its failure. If it goes without having been, and the failure was
/// left to it, that is reported.
pub(super) struct Asker(RawTask);

impl Drop for Asker {
    fn drop(&mut self) {
        let mut watchers = self.0.watchers();
        let more = watchers.more();
        more.askers -= 1;
        let is_lost = more.askers == 0 && more.is_left_to_askers && !std::mem::replace(&mut more.is_observed, true);
        let failure = more.failure.clone().filter(|_| is_lost);
        drop(watchers);
        if let Some((_, note)) = failure {
            self.0.report_unjoined(note);
        }
    }
}

/// What became of a link that was to be taken out.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Removed {
    /// It has run, or is about to, or was taken out before.
    No,
    /// It is out, and the caller must discard it.
    Here,
    /// It is out, and its worker discards it.
    ByItsWorker,
}

impl Watchers {
    /// Of a fresh task that begins with `inherited`.
    #[inline(always)]
    pub(super) fn new(inherited: Inherited) -> Self {
        let more = inherited.is_some().then(|| Box::new(More { inherited, ..More::default() }));
        Self { queue: WaitQueue::new(), more }
    }

    fn more(&mut self) -> &mut More {
        self.more.get_or_insert_default()
    }

    /// Takes out the link to run next.
    fn next_link(&mut self) -> Option<RawTask> {
        let more = self.more();
        let link = more.links.pop_front();
        more.unsettled += usize::from(link.is_some());
        link
    }
}

impl Drop for Watchers {
    #[inline]
    fn drop(&mut self) {
        if let Some(more) = self.more.take() {
            // A panic's payload may be in it, with a destructor that panics.
            unwind::drop_quietly(more);
        }
    }
}

/// The wait for a task's end.
struct Watching<'a> {
    task: RawTask,
    waiter: &'a Waiter,
}

impl Leave for Watching<'_> {
    fn leave(&self) -> bool {
        self.task.unwatch(self.waiter)
    }

    fn path(&self) -> &'static str {
        "osier::task::join"
    }

    fn awaits(&self) -> Option<String> {
        Some(self.task.header().name.as_str().to_owned())
    }

    fn ends_with_a_cancel(&self) -> bool {
        true
    }
}

impl RawTask {
    fn watchers(&self) -> MutexGuard<'_, Watchers> {
        self.header().watchers.lock().unwrap_or_else(PoisonError::into_inner)
    }

    // ---- what few tasks are given before they end

    /// Takes the task locals that it begins with.
    #[cold]
    pub(super) fn take_inherited(self) -> Inherited {
        self.watchers().more.as_mut()?.inherited.take()
    }

    /// Keeps an exception for the task to raise.
    pub(super) fn keep_thrown(self, exception: Exception) {
        self.watchers().more().thrown.push_back(exception);
    }

    /// Takes the exception that has been kept longest.
    pub(super) fn take_kept(self) -> Option<Exception> {
        self.watchers().more.as_mut()?.thrown.pop_front()
    }

    /// Whether an exception is kept.
    pub(super) fn keeps_thrown(self) -> bool {
        self.watchers().more.as_ref().is_some_and(|more| !more.thrown.is_empty())
    }

    // ---- waiting for the end

    /// Enters `waiter` among those who wait for the task's end. False if it has ended.
    ///
    /// # Safety
    /// - As [`WaitQueue::push`](super::WaitQueue::push), until it was notified or taken out with `unwatch`.
    pub(crate) unsafe fn watch(self, waiter: *const Waiter) -> bool {
        // SAFETY: the caller's promise.
        unsafe { self.watchers().queue.push(waiter) };
        // SAFETY: as above.
        self.header().end.watch() || !self.unwatch(unsafe { &*waiter })
    }

    /// Takes `waiter` out again. False if it was notified.
    pub(crate) fn unwatch(self, waiter: &Waiter) -> bool {
        // SAFETY: it was pushed by `watch`.
        unsafe { self.watchers().queue.remove(waiter) }
    }

    /// Waits until the task has ended, or `deadline` has passed. Where nothing unwinds, also until the caller is cancelled:
    /// [`JoinError::of_a_join_that_ended_early`] knows.
    pub(super) fn wait_for_end(self, deadline: Option<Instant>) -> Woken {
        check_fork(self.runtime());
        let waiter = Waiter::interruptible();
        // SAFETY: the waiter is new, and stays here until it was notified or taken out.
        match unsafe { self.watch(&raw const waiter) } {
            true => waiter.wait(deadline, Watching { task: self, waiter: &waiter }),
            false => Woken::Notified,
        }
    }

    /// Waits until the task has ended, or `deadline` has passed. Whether it has.
    pub(crate) fn has_ended_until(self, deadline: Option<Instant>) -> bool {
        self.header().end.is_done() || self.wait_for_end(deadline) == Woken::Notified
    }

    /// Waits until the links of a task that has ended have returned, or `deadline` has passed.
    #[cold]
    pub(super) fn wait_for_links(self, deadline: Option<Instant>) -> Woken {
        loop {
            let waiter = Waiter::new();
            // SAFETY: the waiter is new, and stays here until it was notified or taken out.
            if !unsafe { self.watch_links(&raw const waiter) } {
                return Woken::Notified;
            }
            if waiter.wait(deadline, || self.unwatch(&waiter)) == Woken::Elapsed {
                return Woken::Elapsed;
            }
        }
    }

    /// Enters `waiter` among those who wait for the links of the task, which has ended. False if they have returned.
    ///
    /// # Safety
    /// - As [`watch`](Self::watch).
    unsafe fn watch_links(self, waiter: *const Waiter) -> bool {
        let mut watchers = self.watchers();
        let waits = !self.is_settled(watchers.more());
        if waits {
            // SAFETY: the caller's promise.
            unsafe { watchers.queue.push(waiter) };
        }
        waits
    }

    /// Enters `waiter`, to be notified when the task has ended, and again, if it comes back then, when its links have
    /// returned. False if all of that has happened.
    ///
    /// # Safety
    /// - As [`watch`](Self::watch).
    pub(super) unsafe fn watch_result(self, waiter: *const Waiter) -> bool {
        let end = &self.header().end;
        // SAFETY: the caller's promise.
        let watches_end = !end.is_done() && unsafe { self.watch(waiter) };
        // SAFETY: as above; it was not entered, or is out again.
        watches_end || (end.is_linked() && unsafe { self.watch_links(waiter) })
    }

    // ---- the end

    /// Ends the task whose result is in its slot, tells whoever wants to know, and gives up the runtime's reference.
    #[inline]
    pub(super) fn end(self, is_ok: bool) {
        if !is_ok {
            self.note_failure();
        }
        let mut has_result = true;
        loop {
            // Before it ends, for afterwards it may be gone; again if it has suspended in a destructor of its result.
            self.wait_for_calls();
            self.unlist();
            self.leaves_the_worker();
            match self.header().end.end(has_result, self.links_look()) {
                End::Unwatched { is_last: false } => return,
                // SAFETY: the last reference was the runtime's.
                End::Unwatched { is_last: true } => return unsafe { self.free() },
                End::Watched => {
                    self.sweep();
                    self.wait_for_calls();
                    self.unlist();
                    self.leaves_the_worker();
                    // SAFETY: the runtime's reference, which nobody uses after this.
                    return unsafe { self.release() };
                }
                End::DropResult => {
                    // SAFETY: the task has not ended, so the slot is ours; the handle is gone.
                    unsafe { self.dispose() };
                    has_result = false;
                }
            }
        }
    }

    #[cold]
    fn note_failure(self) {
        static LAST: AtomicU64 = AtomicU64::new(0);
        // SAFETY: the task is about to end, so the slot is ours.
        let error = unsafe { self.error() };
        let number = LAST.fetch_add(1, Ordering::Relaxed) + 1;
        // The scope of a task that borrows goes on with its panic; else the payload stays with the result.
        let note = if self.header().borrows { Note::Whole } else { Note::of };
        self.watchers().more().failure = error.map(|error| (number, note(error)));
    }

    /// Runs the links of a task that has ended, then wakes who waits.
    #[cold]
    fn sweep(self) {
        if !self.links_look() {
            // A scope waits for the end alone: a link may wait for what comes after the scope.
            self.wake_waiters(self.watchers());
        }
        let mut watchers = self.watchers();
        let Some(more) = &mut watchers.more else {
            self.header().end.swept();
            return self.wake_waiters(watchers);
        };
        // One for ourselves, so that it is settled only when all have been started.
        more.unsettled += 1;
        // One by one: a link may take back one that comes after it.
        while let Some(link) = watchers.next_link() {
            drop(watchers);
            // SAFETY: the link was in the list and is in no queue. This task counts as unfinished until it has been
            // swept, so its runtime is alive.
            unsafe { link.set_runtime(self.runtime()) };
            if !Worker::start_in_place(link) {
                link.refuse(JoinError::cancelled());
            }
            watchers = self.watchers();
        }
        self.header().end.swept();
        drop(watchers);
        self.settle();
    }

    /// Says that a link has returned, or that all have been started.
    #[cold]
    pub(super) fn settle(self) {
        let mut watchers = self.watchers();
        let more = watchers.more();
        more.unsettled -= 1;
        if more.unsettled > 0 {
            return;
        }
        if self.links_look() && self.header().end.is_detached() && !std::mem::replace(&mut more.is_claimed, true) {
            drop(watchers);
            // SAFETY: claimed, so nobody else uses the slot.
            unsafe { self.dispose() };
            watchers = self.watchers();
        }
        self.wake_waiters(watchers);
    }

    fn wake_waiters<'a>(&'a self, mut watchers: MutexGuard<'a, Watchers>) {
        while let Some(wakeup) = watchers.queue.notify_first(|_| ()) {
            let was_last = watchers.queue.is_empty();
            drop(watchers);
            wakeup.fire();
            if was_last {
                return;
            }
            watchers = self.watchers();
        }
    }

    /// Whether links may look at the result, and so keep it past the end. Not of a task that borrows: what it returned is
    /// gone when it has ended, or is its handle's alone, for nobody waits for its links before what it borrows goes.
    fn links_look(self) -> bool {
        !self.header().borrows
    }

    /// Whether no link of the task, which has ended, looks at the result, or will. One that has just ended has not yet
    /// counted those that it will start.
    fn is_settled(self, more: &More) -> bool {
        more.unsettled == 0 && !self.header().end.is_swept_later()
    }

    /// Gives up the result, for a handle that goes. True if the caller must drop it.
    pub(super) fn detach(self) -> bool {
        let end = &self.header().end;
        if !end.detach() {
            return false;
        }
        if !end.is_linked() {
            return true;
        }
        let mut watchers = self.watchers();
        let more = watchers.more();
        // While a link looks at it, or is about to, the last one drops it.
        let claims = (self.is_settled(more) || !self.links_look()) && !more.is_claimed;
        more.is_claimed |= claims;
        claims
    }

    // ---- links

    /// Adds a fresh task that is to be started when this one has ended. False if it has, and nobody will: then the
    /// task counts as unsettled, and the caller must queue the link.
    pub(super) fn add_link(self, link: RawTask) -> bool {
        let mut watchers = self.watchers();
        if self.header().end.link() {
            watchers.more().links.push_back(link);
            return true;
        }
        watchers.more().unsettled += 1;
        false
    }

    /// Takes a link out before it runs.
    pub(super) fn remove_link(self, link: RawTask) -> Removed {
        let mut watchers = self.watchers();
        let links = &mut watchers.more().links;
        let place = links.iter().position(|&other| other == link);
        if place.and_then(|place| links.remove(place)).is_none() {
            return Removed::No;
        }
        if !self.header().is_local || Worker::is_home_of(self) {
            return Removed::Here;
        }
        // Its closure must be dropped at home. Under the lock: this task cannot pass its end meanwhile, so its runtime
        // stays.
        // SAFETY: the link is in no queue.
        unsafe { link.revoke() };
        // SAFETY: as above.
        unsafe { Shared::place_from_outside(self.runtime(), link, self.home()) };
        Removed::ByItsWorker
    }

    // ---- failures

    /// Why the task, which has ended, has no value; and the number of that failure among all.
    pub(crate) fn failure(self) -> Option<(u64, JoinError)> {
        let (number, note) = self.watchers().more.as_ref()?.failure.clone()?;
        Some((number, note.into_error()))
    }

    /// Says that somebody is told of the failure, if there is one, or will be.
    pub(crate) fn observe(self) {
        self.watchers().more().is_observed = true;
    }

    /// Whether somebody was told of the failure, or will be: if nobody else, whoever waits for the end now.
    pub(super) fn is_observed(self) -> bool {
        self.watchers().more.as_mut().is_some_and(|more| more.is_observed || more.leave_to_askers())
    }

    /// Says that somebody waits for the end, and will be told of a failure.
    pub(super) fn ask(self) -> Asker {
        self.watchers().more().askers += 1;
        Asker(self)
    }

    /// Whether the join handle is gone.
    pub(crate) fn is_detached(self) -> bool {
        self.header().end.is_detached()
    }

    /// Whether somebody was told of the failure. That it was reported as its handle went does not count.
    pub(crate) fn is_told(self) -> bool {
        self.watchers().more.as_ref().is_some_and(|more| more.is_observed)
    }

    /// Says that the caller sees to the failure, if nobody is told of it. For a link, so before the result is disposed of.
    pub(crate) fn keep_failure(self) {
        self.watchers().more().is_kept = true;
    }

    /// Takes charge of the failure that was kept, if the handle is gone and nobody was told. One that is still held may be
    /// joined: then it, and no longer the caller, sees to the failure.
    pub(crate) fn take_kept_failure(self) -> bool {
        let is_detached = self.is_detached();
        let mut watchers = self.watchers();
        let more = watchers.more();
        more.is_kept = false;
        let takes = is_detached && !more.is_observed;
        more.is_observed |= takes;
        takes
    }

    fn report_unjoined(self, note: Note) {
        let error = note.into_error();
        if !error.is_cancelled() {
            report(&Report::Unjoined { name: &self.header().name, error: &error });
        }
    }

    // ---- a runtime that works in the task

    /// Says which runtime works in the running task, `self`, if one does; gives back what was said before.
    pub(crate) fn set_nested(self, nested: Option<Arc<Shared>>) -> Option<Arc<Shared>> {
        std::mem::replace(&mut self.watchers().more().nested, nested)
    }

    /// Wakes the runtime that works in the task, for it to see what the task was asked.
    #[cold]
    pub(super) fn wake_nested(self) {
        let nested = self.watchers().more.as_ref().and_then(|more| more.nested.clone());
        if let Some(nested) = nested {
            nested.unpark_all();
        }
    }

    // ---- the result

    /// Says who gets the result when the handle, which is about to go, has gone, and the links have looked at it.
    pub(super) fn set_heir(self, heir: Heir) {
        let mut watchers = self.watchers();
        watchers.more().heir = Some(heir);
        // As a link does: so that the task ends before its result is passed on. If it has ended, its handle does that.
        _ = self.header().end.link();
    }

    /// Disposes of the result that nobody will ask for: reports a panic or an exception, gives it to the heir, drops it. In
    /// peace, for whoever has been asked to end would leave a user's `Debug` or destructor in the middle; and nothing
    /// unwinds out of it.
    ///
    /// # Safety
    /// - The task is about to end or has, its handle is gone or goes, and nobody else uses the slot.
    pub(super) unsafe fn dispose(self) {
        // SAFETY: the caller's promise.
        region::in_peace(|| unsafe { self.dispose_in_peace() });
    }

    // Safety: `dispose`'s.
    unsafe fn dispose_in_peace(self) {
        // The scope that waits for a task that borrows looks at its failure.
        let is_looked_at = self.header().borrows;
        let (failure, heir) = match &mut self.watchers().more {
            Some(more) => {
                // For links that are added while a destructor waits, and whoever goes through the watchers.
                more.is_claimed = true;
                let is_looked_at = is_looked_at || more.is_kept || more.leave_to_askers();
                let is_observed = is_looked_at || more.is_observed;
                (more.failure.clone().filter(|_| !is_observed), more.heir.take())
            }
            None => (None, None),
        };
        if let Some((_, note)) = failure {
            self.report_unjoined(note);
        }
        if let Some(heir) = heir {
            self.run_heir(heir);
        }
        // SAFETY: the caller's promise.
        unsafe { self.drop_result() };
    }

    /// Gives the result to the heir, and reports what that unwinds with.
    // Out of line: few tasks have one, and what it takes would cost each task's end 14 instructions.
    #[cold]
    #[inline(never)]
    fn run_heir(self, heir: Heir) {
        if let Err(payload) = unwind::intercept(|| heir(self)) {
            let error = JoinError::from_payload(payload);
            self.report_unjoined(Note::Whole(error.clone()));
            unwind::drop_quietly(error);
        }
    }
}

/// Queues a link for a task that has ended already.
pub(super) fn start_late(link: RawTask) {
    let submit = |shared: &Shared, way| {
        // SAFETY: it is in no queue yet; a runtime outlives its tasks.
        unsafe { link.set_runtime(shared) };
        shared.submit(link, way).is_ok()
    };
    let is_queued = if link.header().is_local {
        Worker::get().is_some_and(|worker| submit(worker.shared(), Way::Here))
    } else {
        Shared::with_current(|shared| submit(shared, Way::InLine))
    };
    if !is_queued {
        link.refuse(JoinError::cancelled());
    }
}

/// Settles a task when a link has returned, however it did.
pub(super) struct Settles<'a>(pub(super) &'a TaskRef);

impl Drop for Settles<'_> {
    fn drop(&mut self) {
        self.0.raw().settle();
    }
}
