//! Who waits, and the one loop in which it does: until what it waits for has come, the time is up, or it must unwind.
//!
//! A [`Sleeper`] is a task, or a thread where no task runs. Everything that waits does so here, so that whatever ends a
//! wait early ends all of them.
//!
//! # Invariants
//! - What has come is returned, whatever else happened meanwhile.
//! - A wait ends early only after `Leave::leave` has said that nothing can come any more.

use std::ptr;
use std::sync::Arc;
use std::task::Waker;
use std::time::Instant;

use super::cancel;
use super::held;
use super::park::Alarm;
use super::raw::RawTask;
use super::run_state::Notice;
use crate::coroutine::current;
use crate::coroutine::region::{self, Scan};
use crate::coroutine::unwind;
use crate::runtime::{PAUSES, Parker, Rest, look_at_process};

/// See the module's page.
#[derive(Clone, Debug)]
pub(crate) enum Sleeper {
    Task(RawTask),
    Thread(Arc<Parker>),
}

/// How somebody who waits leaves what it waits in, and what that is.
///
/// What it is costs the wait nothing: it lies beside `leave` in the table of the trait object.
pub(crate) trait Leave {
    /// Makes sure that what is waited for will not come any more. False if it has come, or is about to.
    fn leave(&self) -> bool;

    /// Leaves for good, for a task that is left behind: what has come is not looked at any more, and is passed on where others
    /// would wait for it.
    fn abandon(&self) {
        self.leave();
    }

    /// The code that waits, as a path.
    fn path(&self) -> &'static str;

    /// The name of the task whose end is waited for, if it is that. For whoever looks from outside.
    fn awaits(&self) -> Option<String> {
        None
    }

    /// Whether the wait ends, as if its time were up, when its task is cancelled and nothing can be unwound: whoever waits
    /// says why it has ended.
    fn ends_with_a_cancel(&self) -> bool {
        false
    }
}

impl<F: Fn() -> bool> Leave for F {
    #[inline(always)]
    fn leave(&self) -> bool {
        self()
    }

    fn path(&self) -> &'static str {
        std::any::type_name::<Self>()
    }
}

/// A way to leave of somebody who can tell that a cancel has ended the wait: see [`Leave::ends_with_a_cancel`].
#[cfg(feature = "net")]
pub(crate) struct Tells<F>(pub(crate) F);

#[cfg(feature = "net")]
impl<F: Fn() -> bool> Leave for Tells<F> {
    #[inline(always)]
    fn leave(&self) -> bool {
        self.0()
    }

    fn path(&self) -> &'static str {
        self.0.path()
    }

    fn ends_with_a_cancel(&self) -> bool {
        true
    }
}

/// How a wait ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Woken {
    Notified,
    /// The deadline has passed, and `give_up` agreed; or it is [`Leave::ends_with_a_cancel`]'s.
    Elapsed,
}

/// The right, and the duty, to wake one sleeper after unlocking.
#[must_use = "a waiter sleeps on until its wakeup is fired"]
#[derive(Debug)]
pub(crate) enum Wakeup {
    /// It was not asleep: it will look.
    None,
    /// It is a task of this worker.
    Ready(RawTask),
    /// It is a task of another worker.
    Called(RawTask),
    Thread(Arc<Parker>),
    /// Whoever polls a future.
    Polled(Box<Waker>),
}

impl Wakeup {
    /// Wakes the sleeper. The lock under which it was notified must have been released.
    #[inline(always)]
    pub(crate) fn fire(self) {
        match self {
            Self::None => {}
            woken => woken.wake(),
        }
    }

    /// Out of line, for nothing is switched in there, and what is around shall be inlined.
    #[inline(never)]
    fn wake(self) {
        match self {
            Self::None => {}
            Self::Ready(task) => task.wake(Notice::Ready),
            Self::Called(task) => task.wake(Notice::Call),
            Self::Thread(parker) => parker.unpark(),
            Self::Polled(waker) => Self::call(*waker),
        }
    }

    /// Calls a waker, which is somebody else's code: whoever wakes neither waits here, nor fails because of it.
    #[cold]
    fn call(waker: Waker) {
        if let Err(payload) = unwind::intercept(|| region::no_suspend(|| waker.wake())) {
            unwind::drop_quietly(payload);
        }
    }
}

impl Sleeper {
    /// The running task, or the thread where no task runs.
    #[inline]
    pub(crate) fn current() -> Self {
        match RawTask::current() {
            Some(task) => Self::Task(task),
            None => Self::Thread(Arc::new(Parker::of_thread(Rest::of_process()))),
        }
    }

    /// Whether it unwinds, when it is cancelled, from a wait that begins now on the running chain.
    #[inline(always)]
    pub(crate) fn ends_with_a_cancel(&self) -> bool {
        match self {
            Self::Task(task) => cancel::ends_a_wait(*task),
            Self::Thread(_) => false,
        }
    }

    /// Whether it is a task that somebody has asked to end.
    #[inline(always)]
    pub(crate) fn is_cancelled(&self) -> bool {
        match self {
            Self::Task(task) => task.header().is_cancelled(),
            Self::Thread(_) => false,
        }
    }

    /// Makes the sleeper look again. The task cannot end before the wakeup was fired.
    #[inline]
    pub(crate) fn notify(&self) -> Wakeup {
        match self {
            Self::Task(task) => match task.header().run.notify(current::worker()) {
                Notice::Seen => Wakeup::None,
                Notice::Ready => Wakeup::Ready(*task),
                Notice::Call => Wakeup::Called(*task),
            },
            Self::Thread(parker) => Wakeup::Thread(parker.clone()),
        }
    }

    /// Waits until `is_ready`, or until `deadline` has passed. Only its owner waits as a sleeper.
    ///
    /// If `give_up` cannot leave, it is ready, or somebody is about to make it so and will notify the sleeper then.
    ///
    /// A wait that is ready returns so, whatever else happened. It unwinds from here when the task is cancelled, and when
    /// the deadline of a region passes before its own.
    ///
    /// # Panics
    /// Inside `no_suspend`, if it has to wait.
    #[inline(always)]
    pub(crate) fn wait(&self, deadline: Option<Instant>, is_ready: impl Fn() -> bool, give_up: impl Leave) -> Woken {
        self.wait_as(|| false, deadline, is_ready, give_up)
    }

    /// As [`wait`](Self::wait), where [`ends_with_a_cancel`](Self::ends_with_a_cancel) was asked as the wait began, and said
    /// `is_interruptible`. Which is looked at only where it counts.
    // Inlined down to the switch, as `yield_now` is.
    #[inline(always)]
    pub(super) fn wait_as(
        &self,
        is_interruptible: impl Fn() -> bool,
        deadline: Option<Instant>,
        is_ready: impl Fn() -> bool,
        give_up: impl Leave,
    ) -> Woken {
        // A task without a region around, and without a deadline, has only requests to look at.
        if let Self::Task(task) = self
            && deadline.is_none()
            && ptr::eq(current::frame(), task.frame())
        {
            loop {
                if is_ready() {
                    return Woken::Notified;
                }
                if task.header().has_request() {
                    break;
                }
                Self::begin_to_park(*task, &give_up);
                // SAFETY: nothing stands on top of the task: that was looked at, and what is opened meanwhile is closed again.
                unsafe { task.park_alone() };
                Self::has_parked(*task);
            }
        }
        self.wait_slow(is_interruptible(), deadline, is_ready, give_up)
    }

    /// Waits in any case that there is.
    #[inline(never)]
    fn wait_slow(
        &self,
        is_interruptible: bool,
        deadline: Option<Instant>,
        is_ready: impl Fn() -> bool,
        give_up: impl Leave,
    ) -> Woken {
        match self {
            Self::Task(task) => Self::wait_in_task(*task, is_interruptible, deadline, is_ready, give_up),
            Self::Thread(parker) => Self::wait_in_thread(parker, deadline, is_ready, give_up),
        }
    }

    fn wait_in_task(
        task: RawTask,
        is_interruptible: bool,
        own: Option<Instant>,
        is_ready: impl Fn() -> bool,
        give_up: impl Leave,
    ) -> Woken {
        let scan = Scan::from(task.frame());
        let alarm = scan.deadline_with(own).map(|deadline| Alarm::set(task, deadline));
        let alarm = alarm.as_ref();
        while !is_ready() {
            if let Some(opened) = scan.forbidden {
                if give_up.leave() {
                    region::refuse(opened, "wait");
                }
            } else if cancel::is_due_in_a_wait(task, is_interruptible) {
                if give_up.leave() {
                    cancel::throw(task);
                }
            } else if alarm.is_some_and(Alarm::has_fired)
                || (give_up.ends_with_a_cancel() && cancel::is_due_without_unwind(task))
            {
                if give_up.leave() {
                    return Self::elapse(&scan, own);
                }
            } else {
                Self::park(task, &give_up);
                continue;
            }
            // Too late to give up. Without this look a notification that has been used up would be parked over.
            if is_ready() {
                break;
            }
            Self::park(task, &give_up);
        }
        Woken::Notified
    }

    fn wait_in_thread(
        parker: &Parker,
        own: Option<Instant>,
        is_ready: impl Fn() -> bool,
        give_up: impl Leave,
    ) -> Woken {
        let scan = Scan::from(ptr::null());
        let deadline = scan.deadline_with(own);
        while !is_ready() {
            if scan.forbidden.is_none() && Self::park_thread(parker, deadline) {
                continue;
            }
            if give_up.leave() {
                if let Some(opened) = scan.forbidden {
                    region::refuse(opened, "wait");
                }
                return Self::elapse(&scan, own);
            }
            if !is_ready() {
                Self::park_thread(parker, None);
            }
        }
        Woken::Notified
    }

    /// Parks a thread until it is woken, or until `deadline`: then false. One that has none looks whether anybody is left to
    /// wake it.
    fn park_thread(parker: &Parker, deadline: Option<Instant>) -> bool {
        if deadline.is_some() {
            return parker.park(deadline);
        }
        parker.rest(&PAUSES, look_at_process);
        true
    }

    /// Waits on a thread outside of all tasks, by `sleep`: until it returns true, or its deadline has passed.
    ///
    /// # Panics
    /// Inside `no_suspend`.
    #[cfg(feature = "net")]
    pub(crate) fn wait_on_thread(own: Option<Instant>, mut sleep: impl FnMut(Option<Instant>) -> bool) -> Woken {
        let scan = Scan::from(ptr::null());
        if let Some(opened) = scan.forbidden {
            region::refuse(opened, "wait");
        }
        if sleep(scan.deadline_with(own)) { Woken::Notified } else { Self::elapse(&scan, own) }
    }

    /// Ends the wait when the earlier of its own deadline and those of its regions has passed.
    fn elapse(scan: &Scan, own: Option<Instant>) -> Woken {
        if let Some(region) = scan.comes_before(own) {
            cancel::throw_deadline(region);
        }
        Woken::Elapsed
    }

    /// Parks the running task; one that is left behind in there gives up.
    #[inline(always)]
    fn park(task: RawTask, give_up: &dyn Leave) {
        Self::begin_to_park(task, give_up);
        task.park();
        Self::has_parked(task);
    }

    #[inline(always)]
    fn begin_to_park(task: RawTask, give_up: &dyn Leave) {
        held::look(task, give_up);
        // SAFETY: `give_up` stays where it is until the task has come back.
        unsafe { task.set_leaves(Some(give_up)) };
    }

    #[inline(always)]
    fn has_parked(task: RawTask) {
        // SAFETY: nothing is set.
        unsafe { task.set_leaves(None) };
    }

    /// Waits until `is_ready`; calls `on_cancel` once if the waiting task is cancelled, or the deadline of a region has
    /// passed, and waits on. Not to be called inside `no_suspend`.
    ///
    /// `leave` takes a task that is left behind out of the queue.
    pub(crate) fn wait_through_cancel(&self, is_ready: impl Fn() -> bool, on_cancel: impl FnOnce(), leave: impl Leave) {
        let mut on_cancel = Some(on_cancel);
        match self {
            Self::Thread(parker) => {
                let scan = Scan::from(ptr::null());
                while !is_ready() {
                    let deadline = scan.deadline_with(None).filter(|_| on_cancel.is_some());
                    if !Self::park_thread(parker, deadline)
                        && let Some(on_cancel) = on_cancel.take()
                    {
                        on_cancel();
                    }
                }
            }
            Self::Task(task) => {
                let deadline = Scan::from(task.frame()).deadline_with(None);
                let alarm = deadline.map(|deadline| Alarm::set(*task, deadline));
                while !is_ready() {
                    if (cancel::is_due(*task) || alarm.as_ref().is_some_and(Alarm::has_fired))
                        && let Some(on_cancel) = on_cancel.take()
                    {
                        on_cancel();
                    }
                    Self::park(*task, &leave);
                }
            }
        }
    }
}
