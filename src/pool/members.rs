//! Who belongs to a group: the tasks, their places, and who waits for them to leave.
//!
//! A member leaves by a link of its task, which runs when the task has ended and before those who join it go on. Its place
//! is given back in the same step; but those who wait for the group are woken before the one who gets the place: who has
//! killed a pool goes on before somebody who waited for a place in it.
//!
//! # Invariants
//! - Each member has a number, higher than those of all that came before.
//! - A place is given back with its permit: once, however the member left.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex};
use std::time::Instant;

use crate::exception::{Report, report};
use crate::sync::waiting::{Waiting, lock};
use crate::sync::{Permit, Semaphore};
use crate::task::{self, JoinError, Task, WaitQueue, Wakeup, Woken};

/// See the module's page.
pub(super) struct Members {
    /// As many permits as there are places; none for a group, which has no limit.
    places: Option<Semaphore>,
    state: Mutex<State>,
}

struct State {
    numbers: HashMap<Task, u64>,
    members: BTreeMap<u64, Member>,
    next: u64,
    /// The earliest failure that nobody was told, with its number among all.
    failure: Option<(u64, JoinError)>,
    /// All members that have failed, with these numbers: for a group that sees to the failures itself.
    failed: Option<Vec<(u64, JoinError, Task)>>,
    /// Those who wait until members have left; beside each, the highest number among these.
    waiters: WaitQueue,
}

struct Member {
    task: Task,
    /// Its place; also none while it waits for one.
    permit: Option<Permit>,
    has_place: bool,
    /// Whether it was asked to end, which is done once.
    is_asked: bool,
}

impl Members {
    /// With `keeps_failures`, those that nobody is told are kept for [`take_failure_of_all`](Self::take_failure_of_all).
    pub(super) fn new(places: Option<usize>, keeps_failures: bool) -> Arc<Self> {
        let state = State {
            numbers: HashMap::new(),
            members: BTreeMap::new(),
            next: 0,
            failure: None,
            failed: keeps_failures.then(Vec::new),
            waiters: WaitQueue::new(),
        };
        Arc::new(Self { places: places.map(Semaphore::new), state: Mutex::new(state) })
    }

    /// Takes a place, waiting for one; `None` where there is no limit.
    pub(super) fn take_place(&self) -> Option<Permit> {
        self.places.as_ref().map(Semaphore::hold)
    }

    /// Takes a place if there is one; `Err` if there is none.
    pub(super) fn try_take_place(&self) -> Result<Option<Permit>, ()> {
        match &self.places {
            Some(places) => places.try_hold().map(Some).ok_or(()),
            None => Ok(None),
        }
    }

    /// How many places are free; `None` without a limit.
    pub(super) fn free(&self) -> Option<usize> {
        self.places.as_ref().map(Semaphore::available)
    }

    /// What waits for a free place.
    pub(super) fn places(&self) -> Option<&Semaphore> {
        self.places.as_ref()
    }

    /// How many members have a place.
    pub(super) fn len(&self) -> usize {
        lock(&self.state).members.values().filter(|member| member.has_place).count()
    }

    pub(super) fn contains(&self, task: &Task) -> bool {
        lock(&self.state).numbers.contains_key(task)
    }

    /// The members.
    pub(super) fn tasks(&self) -> Vec<Task> {
        lock(&self.state).members.values().map(|member| member.task.clone()).collect()
    }

    /// Makes `task` a member, with its place, unless it has ended. One that is a member without a place gets it.
    pub(super) fn enter(self: &Arc<Self>, task: &Task, permit: Option<Permit>) {
        self.enter_as(task, permit, true);
    }

    /// Makes `task` a member that takes its place later.
    pub(super) fn enter_waiting(self: &Arc<Self>, task: &Task) {
        self.enter_as(task, None, false);
    }

    /// Makes the running task a member, whose spawner has taken a place for it, but may not have come to enter it.
    pub(super) fn enter_current(self: &Arc<Self>) {
        self.enter_as(&task::current(), None, true);
    }

    fn enter_as(self: &Arc<Self>, task: &Task, permit: Option<Permit>, has_place: bool) {
        let mut state = lock(&self.state);
        let known = state.numbers.get(task).copied();
        if let Some(member) = known.and_then(|number| state.members.get_mut(&number)) {
            member.has_place |= has_place;
            if member.permit.is_none() {
                member.permit = permit;
            }
            return;
        }
        if task.is_finished() {
            return;
        }
        let number = state.next;
        state.next += 1;
        state.numbers.insert(task.clone(), number);
        state.members.insert(number, Member { task: task.clone(), permit, has_place, is_asked: false });
        drop(state);
        let members = Arc::downgrade(self);
        task.on_end(move |task| {
            if let Some(members) = members.upgrade() {
                members.leave(task);
            }
        });
        // Then nobody else comes after the link that finds it a member.
        if task.is_finished() {
            self.leave(task);
        }
    }

    /// Takes `task` out. Whether it was a member.
    pub(super) fn discard(&self, task: &Task) -> bool {
        self.remove(task, |_| ())
    }

    /// Takes a task out that has ended.
    pub(super) fn leave(&self, task: &Task) {
        self.remove(task, |state| state.note_failure(task));
    }

    fn remove(&self, task: &Task, note: impl FnOnce(&mut State)) -> bool {
        let mut state = lock(&self.state);
        let Some(number) = state.numbers.remove(task) else { return false };
        let member = state.members.remove(&number);
        note(&mut state);
        let mut wakeups = state.those_served();
        // After those who waited for the group: they go on first.
        let permit = member.and_then(|member| member.permit);
        wakeups.extend(permit.into_iter().flat_map(Permit::give_back));
        drop(state);
        wakeups.into_iter().for_each(Wakeup::fire);
        true
    }

    /// Asks every member to end that was not asked before. Gives the highest number among the members.
    pub(super) fn cancel(&self) -> Option<u64> {
        let mut state = lock(&self.state);
        let last = state.members.keys().next_back().copied();
        let to_ask =
            |member: &mut Member| (!std::mem::replace(&mut member.is_asked, true)).then(|| member.task.clone());
        let asked: Vec<_> = state.members.values_mut().filter_map(to_ask).collect();
        drop(state);
        asked.iter().for_each(Task::cancel);
        last
    }

    /// Waits until all members up to this number have left, or until `deadline`. Whether they have.
    pub(super) fn wait(&self, last: u64, deadline: Option<Instant>) -> bool {
        let waiting = Waiting::new(last);
        let mut state = lock(&self.state);
        if state.have_left(last) {
            return true;
        }
        // SAFETY: the waiter is new, and stays here until the wait has ended, when it is in no queue.
        unsafe { state.waiters.push(waiting.as_waiter()) };
        drop(state);
        // SAFETY: it was pushed there.
        let leave = || unsafe { lock(&self.state).waiters.remove(&waiting.waiter) };
        waiting.waiter.wait(deadline, leave) == Woken::Notified
    }

    /// Waits until there is no member. If the caller is cancelled meanwhile, cancels them all, and waits on.
    pub(super) fn wait_through_cancel(&self) {
        let waiting = Waiting::new(u64::MAX);
        let mut state = lock(&self.state);
        if !state.members.is_empty() {
            // SAFETY: the waiter is new, and stays here until the wait has ended, when it is in no queue.
            unsafe { state.waiters.push(waiting.as_waiter()) };
            drop(state);
            // SAFETY: it was pushed there.
            let leave = || unsafe { lock(&self.state).waiters.remove(&waiting.waiter) };
            waiting.waiter.wait_through_cancel(|| _ = self.cancel(), leave);
        }
    }

    /// Takes the earliest failure that nobody was told.
    pub(super) fn take_failure(&self) -> Option<JoinError> {
        let mut state = lock(&self.state);
        let (number, error) = state.failure.take()?;
        let failed = state.failed.iter().flatten().find(|(other, ..)| *other == number).map(|(.., task)| task.clone());
        drop(state);
        // Told, and so not raised by whoever has kept it.
        failed.inspect(|task| task.raw().observe());
        Some(error)
    }

    /// Takes the earliest of the failures that were kept and that nobody was told; the others are reported, or all.
    /// A member whose handle is still held is left to that.
    pub(super) fn take_failure_of_all(&self, reports_all: bool) -> Option<JoinError> {
        let mut failed = lock(&self.state).failed.as_mut().map(std::mem::take).unwrap_or_default();
        failed.retain(|(.., task)| task.raw().take_kept_failure());
        failed.sort_by_key(|(number, ..)| *number);
        let reported = failed.split_off(if reports_all { 0 } else { failed.len().min(1) });
        for (_, error, task) in &reported {
            report(&Report::Unjoined { name: task.name(), error });
        }
        failed.pop().map(|(_, error, _)| error)
    }

    /// Whether the running task is a member.
    pub(super) fn contains_current(&self) -> bool {
        task::try_current().is_some_and(|task| self.contains(&task))
    }
}

impl State {
    fn note_failure(&mut self, task: &Task) {
        let failure = task.raw().failure().filter(|(_, error)| !error.is_cancelled());
        let Some((number, error)) = failure else { return };
        if let Some(failed) = &mut self.failed {
            task.raw().keep_failure();
            failed.push((number, error.clone(), task.clone()));
        }
        if self.failure.as_ref().is_none_or(|&(earliest, _)| number < earliest) {
            self.failure = Some((number, error));
        }
    }

    fn have_left(&self, last: u64) -> bool {
        self.members.keys().next().is_none_or(|&lowest| lowest > last)
    }

    /// Notifies those whose members have left.
    fn those_served(&mut self) -> Vec<Wakeup> {
        let mut wakeups = Vec::new();
        loop {
            // SAFETY: only `Waiting<u64>` enter this queue, and its lock is held.
            let is_served = |waiter| self.have_left(*unsafe { Waiting::<u64>::place_of(waiter) });
            let Some(waiter) = self.waiters.find(is_served) else { return wakeups };
            // SAFETY: it is in this queue, by this pointer.
            wakeups.extend(unsafe { self.waiters.notify_this(waiter) });
        }
    }
}
