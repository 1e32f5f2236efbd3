//! Who belongs to a group: the tasks, their places, and who waits for them to leave.
//!
//! A member is entered by its spawner and by its own body, whichever comes first: on another worker it may run, and ask
//! whether it is a member, before its spawner has come back. What it enters with waits under a ticket until then; the
//! second one finds that gone, also when the member has been discarded meanwhile.
//!
//! A member leaves by a link of its task, which runs when the task has ended and before those who join it go on. Its place
//! is given back in the same step; but those who wait for the group are woken before the one who gets the place: who has
//! killed a pool goes on before somebody who waited for a place in it.
//!
//! # Invariants
//! - Each member has a number, from before its spawn, higher than those of all that came before.
//! - Who waits for the members, or cancels them, finds also those that have been launched and not entered: what is about to
//!   be spawned cannot slip through.
//! - A place is given back with its permit: once, however the member left.

use std::collections::{BTreeMap, HashMap};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Instant;

use super::failures::{Failure, Failures};
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
    /// What members enter with that have been launched, and entered neither by their spawner nor by their body. As many as
    /// there are spawners at work, so few.
    arrivals: Vec<Arrival>,
    numbers: HashMap<Task, u64>,
    members: BTreeMap<u64, Member>,
    next: u64,
    failures: Failures,
    /// Those who wait until members have left; beside each, the highest number among these.
    waiters: WaitQueue,
}

/// One launch of a member: the number that it will have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Ticket(u64);

/// What a member enters with.
struct Arrival {
    ticket: Ticket,
    permit: Option<Permit>,
    has_place: bool,
    /// Whether it is to end as soon as it has entered.
    is_asked: bool,
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
            arrivals: Vec::new(),
            numbers: HashMap::new(),
            members: BTreeMap::new(),
            next: 0,
            failures: Failures::new(keeps_failures),
            waiters: WaitQueue::new(),
        };
        Arc::new(Self { places: places.map(Semaphore::new), state: Mutex::new(state) })
    }

    /// Takes a place, waiting for one; `None` where there is no limit.
    pub(super) fn take_place(&self) -> Option<Permit> {
        self.places.as_ref().map(Semaphore::hold)
    }

    /// Takes a place if `hold` gets one; `Err` if not.
    pub(super) fn take_place_by(&self, hold: impl FnOnce(&Semaphore) -> Option<Permit>) -> Result<Option<Permit>, ()> {
        self.places.as_ref().map(|places| hold(places).ok_or(())).transpose()
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

    /// Keeps what a member that is about to be spawned enters with: its place, or none if it takes it later. Whoever has
    /// spawned it, and its body, both call [`arrive`](Self::arrive).
    pub(super) fn launch(&self, permit: Option<Permit>, has_place: bool) -> Ticket {
        lock(&self.state).launch(permit, has_place)
    }

    /// As [`launch`](Self::launch), of one that has a place; `None` after [`stop`](Self::stop), and the place is free again.
    pub(super) fn launch_unless(&self, is_stopped: &AtomicBool, permit: Option<Permit>) -> Option<Ticket> {
        let mut state = lock(&self.state);
        // Relaxed: it is written under the same lock.
        let superfluous =
            if is_stopped.load(Ordering::Relaxed) { permit } else { return Some(state.launch(permit, true)) };
        drop(state);
        drop(superfluous);
        None
    }

    /// Says that nothing is to be launched any more by who looks at this mark.
    pub(super) fn stop(&self, is_stopped: &AtomicBool) {
        let _state = lock(&self.state);
        is_stopped.store(true, Ordering::Relaxed);
    }

    /// Gives up a launch of which no task came: its place is free.
    pub(super) fn forgo(&self, ticket: Ticket) {
        let mut state = lock(&self.state);
        let arrival = state.take_arrival(ticket);
        let wakeups = state.those_served();
        drop(state);
        wakeups.into_iter().for_each(Wakeup::fire);
        drop(arrival);
    }

    /// Makes a task a member that was launched, unless that has been done. Whether it has been asked to end meanwhile.
    pub(super) fn arrive(self: &Arc<Self>, ticket: Ticket, task: &Task) -> bool {
        let mut state = lock(&self.state);
        let Some(arrival) = state.take_arrival(ticket) else { return false };
        let is_asked = arrival.is_asked;
        self.insert(state, task, arrival);
        if is_asked {
            task.cancel();
        }
        is_asked
    }

    /// Makes `task` a member, with its place, unless it has ended. One that is a member without a place gets it.
    pub(super) fn enter(self: &Arc<Self>, task: &Task, permit: Option<Permit>) {
        let mut state = lock(&self.state);
        if state.numbers.contains_key(task) {
            let superfluous = state.settle(task, permit);
            drop(state);
            drop(superfluous);
        } else {
            let ticket = state.ticket();
            self.insert(state, task, Arrival { ticket, permit, has_place: true, is_asked: false });
        }
    }

    /// Gives a member its place that was launched without one. If it was discarded meanwhile, the place is free again.
    pub(super) fn settle(&self, task: &Task, permit: Option<Permit>) {
        let superfluous = lock(&self.state).settle(task, permit);
        drop(superfluous);
    }

    fn insert(self: &Arc<Self>, mut state: MutexGuard<'_, State>, task: &Task, arrival: Arrival) {
        if task.is_finished() {
            let wakeups = state.those_served();
            drop(state);
            wakeups.into_iter().for_each(Wakeup::fire);
            return;
        }
        let Arrival { ticket: Ticket(number), permit, has_place, is_asked } = arrival;
        state.numbers.insert(task.clone(), number);
        state.members.insert(number, Member { task: task.clone(), permit, has_place, is_asked });
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
        self.remove(task, |_| Vec::new())
    }

    /// Takes a task out that has ended.
    pub(super) fn leave(&self, task: &Task) {
        self.remove(task, |state| state.failures.note(task));
    }

    fn remove(&self, task: &Task, note: impl FnOnce(&mut State) -> Vec<Failure>) -> bool {
        let mut state = lock(&self.state);
        let Some(number) = state.numbers.remove(task) else { return false };
        let member = state.members.remove(&number);
        let told = note(&mut state);
        let mut wakeups = state.those_served();
        // After those who waited for the group: they go on first.
        let permit = member.and_then(|member| member.permit);
        wakeups.extend(permit.into_iter().flat_map(Permit::give_back));
        drop(state);
        wakeups.into_iter().for_each(Wakeup::fire);
        drop(told);
        true
    }

    /// Asks every member to end that was not asked before. Gives the highest number among the members.
    pub(super) fn cancel(&self) -> Option<u64> {
        let mut state = lock(&self.state);
        let launched = state.arrivals.iter().map(|arrival| arrival.ticket.0);
        let last = launched.chain(state.members.keys().next_back().copied()).max();
        state.arrivals.iter_mut().for_each(|arrival| arrival.is_asked = true);
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
        if !state.have_left(u64::MAX) {
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
        let (failure, superfluous) = lock(&self.state).failures.join();
        drop(superfluous);
        // Told, and so not raised by whoever has kept it.
        failure.map(|failure| failure.tell())
    }

    /// Takes the earliest of the failures that were kept and that nobody was told; the others are reported, or all.
    /// A member whose handle is still held is left to that.
    pub(super) fn take_failure_of_all(&self, reports_all: bool) -> Option<JoinError> {
        let failures = lock(&self.state).failures.take_all();
        Failures::raise_earliest(failures, reports_all)
    }

    /// Whether the running task is a member.
    pub(super) fn contains_current(&self) -> bool {
        task::try_current().is_some_and(|task| self.contains(&task))
    }
}

impl State {
    fn ticket(&mut self) -> Ticket {
        let ticket = Ticket(self.next);
        self.next += 1;
        ticket
    }

    fn launch(&mut self, permit: Option<Permit>, has_place: bool) -> Ticket {
        let ticket = self.ticket();
        self.arrivals.push(Arrival { ticket, permit, has_place, is_asked: false });
        ticket
    }

    fn take_arrival(&mut self, ticket: Ticket) -> Option<Arrival> {
        let place = self.arrivals.iter().position(|arrival| arrival.ticket == ticket)?;
        Some(self.arrivals.swap_remove(place))
    }

    /// Gives a member its place. The permit comes back if it has one, or is none.
    fn settle(&mut self, task: &Task, permit: Option<Permit>) -> Option<Permit> {
        let number = self.numbers.get(task).copied();
        let Some(member) = number.and_then(|number| self.members.get_mut(&number)) else { return permit };
        member.has_place = true;
        if member.permit.is_some() {
            return permit;
        }
        member.permit = permit;
        None
    }

    fn have_left(&self, last: u64) -> bool {
        let launched = self.arrivals.iter().map(|arrival| arrival.ticket.0);
        launched.chain(self.members.keys().next().copied()).all(|number| number > last)
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
