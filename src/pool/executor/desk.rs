//! Where work waits for hands: what all backends share.
//!
//! A hand does work: a task or a thread. Some do one piece and ask for the next ([`Desk::push`], [`Desk::next`]); threads
//! stay and wait for it ([`Desk::push_to_waiting`], [`Desk::wait_for_next`]).
//!
//! # Invariants
//! - There are at most `places` hands; after `set_places` with less, as soon as those too many are done.
//! - Work that was taken is done by a hand, or dropped by whoever cancels it.
//! - Nothing of a user's is called or dropped under the lock.

use std::collections::VecDeque;
use std::io;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};

use crate::sync::Event;

/// See the module's page.
pub(super) struct Desk<W> {
    state: Mutex<State<W>>,
    /// Tells threads that wait: of work, of fewer places, and of the end.
    changed: Condvar,
    /// Set when it is closed, nothing is pending and no hand is left.
    ended: Event,
}

struct State<W> {
    /// How many hands there may be.
    places: usize,
    pending: VecDeque<W>,
    hands: usize,
    /// How many of them are threads that have been told to end.
    leaving: usize,
    /// How many of them wait for work.
    idle: usize,
    is_closed: bool,
}

impl<W> State<W> {
    /// How many hands there are that go on.
    fn staying(&self) -> usize {
        self.hands - self.leaving
    }

    fn has_ended(&self) -> bool {
        self.is_closed && self.hands == 0 && self.pending.is_empty()
    }
}

/// What became of work that was brought.
pub(super) enum Pushed<W> {
    /// A hand takes it when it is done with what it does.
    Queued,
    /// A new hand is to do it, which has been counted.
    ToNewHand(W),
    /// The desk is closed.
    Closed(W),
}

/// Why work was not taken by a thread.
pub(super) enum Refusal {
    Closed,
    /// The system gives no thread, and there is none yet.
    NoThread(io::Error),
}

impl<W> Desk<W> {
    pub(super) fn new(places: usize) -> Self {
        assert!(places > 0, "an executor has one place at least");
        let state = State { places, pending: VecDeque::new(), hands: 0, leaving: 0, idle: 0, is_closed: false };
        Self { state: Mutex::new(state), changed: Condvar::new(), ended: Event::new() }
    }

    fn state(&self) -> MutexGuard<'_, State<W>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn places(&self) -> usize {
        self.state().places
    }

    #[cfg(feature = "processes")]
    pub(super) fn is_closed(&self) -> bool {
        self.state().is_closed
    }

    /// How many hands there are, and how much work waits.
    pub(super) fn counts(&self) -> (usize, usize) {
        let state = self.state();
        (state.hands, state.pending.len())
    }

    // ---- hands that do one piece of work

    /// Brings work. The caller must start the hand that it may ask for.
    pub(super) fn push(&self, work: W) -> Pushed<W> {
        let mut state = self.state();
        if state.is_closed {
            return Pushed::Closed(work);
        }
        if state.hands >= state.places {
            state.pending.push_back(work);
            return Pushed::Queued;
        }
        state.hands += 1;
        Pushed::ToNewHand(work)
    }

    /// The next work for a hand that is done. With `None` it is no hand any more.
    pub(super) fn next(&self) -> Option<W> {
        let mut state = self.state();
        let next = if state.hands > state.places { None } else { state.pending.pop_front() };
        if next.is_none() {
            self.leave(state);
        }
        next
    }

    /// Says that a hand has gone, and takes all that is pending from the others as well.
    pub(super) fn give_up(&self) -> VecDeque<W> {
        let mut state = self.state();
        let pending = std::mem::take(&mut state.pending);
        self.leave(state);
        pending
    }

    /// Sets how many hands there may be, and gives what new ones, which have been counted, are to do.
    pub(super) fn set_places(&self, places: usize) -> Vec<W> {
        assert!(places > 0, "an executor has one place at least");
        let mut state = self.state();
        state.places = places;
        let new = places.saturating_sub(state.hands).min(state.pending.len());
        state.hands += new;
        let work = state.pending.drain(..new).collect();
        drop(state);
        self.changed.notify_all();
        work
    }

    fn leave(&self, mut state: MutexGuard<'_, State<W>>) {
        state.hands -= 1;
        let has_ended = state.has_ended();
        drop(state);
        if has_ended {
            self.ended.set();
        }
    }

    // ---- threads, which wait for the next

    /// Brings work, and starts a thread with `hire` if none waits for it and there is a place.
    pub(super) fn push_to_waiting(
        &self,
        work: W,
        hire: impl FnOnce(usize) -> io::Result<()>,
    ) -> Result<(), (W, Refusal)> {
        let mut state = self.state();
        if state.is_closed {
            return Err((work, Refusal::Closed));
        }
        // Those who wait may have been told of other work that they have not taken yet.
        if state.idle <= state.pending.len() && state.staying() < state.places {
            match hire(state.hands) {
                Ok(()) => state.hands += 1,
                // Those that there are will do it.
                Err(_) if state.staying() > 0 => {}
                Err(error) => return Err((work, Refusal::NoThread(error))),
            }
        }
        state.pending.push_back(work);
        drop(state);
        self.changed.notify_one();
        Ok(())
    }

    /// Sets how many threads there may be, and starts those that there is work for.
    pub(super) fn set_places_of_waiting(&self, places: usize, mut hire: impl FnMut(usize) -> io::Result<()>) {
        assert!(places > 0, "an executor has one place at least");
        let mut state = self.state();
        state.places = places;
        let mut wanted = state.pending.len().saturating_sub(state.idle);
        // One that cannot be had is missed, no more: there is one at least where something is pending.
        while wanted > 0 && state.staying() < state.places && hire(state.hands).is_ok() {
            state.hands += 1;
            wanted -= 1;
        }
        drop(state);
        self.changed.notify_all();
    }

    /// Waits for the next work, as a thread. With `None` it is to end, and must say so with [`retire`](Self::retire).
    pub(super) fn wait_for_next(&self) -> Option<W> {
        let mut state = self.state();
        loop {
            if state.staying() > state.places || state.is_closed && state.pending.is_empty() {
                state.leaving += 1;
                return None;
            }
            if let Some(work) = state.pending.pop_front() {
                return Some(work);
            }
            state.idle += 1;
            state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
            state.idle -= 1;
        }
    }

    /// Says that a thread has ended.
    pub(super) fn retire(&self) {
        let mut state = self.state();
        state.leaving -= 1;
        self.leave(state);
    }

    // ---- the end

    /// Takes no more work. What is pending is done, or given to the caller.
    pub(super) fn close(&self, cancel_pending: bool) -> VecDeque<W> {
        let mut state = self.state();
        state.is_closed = true;
        let cancelled = if cancel_pending { std::mem::take(&mut state.pending) } else { VecDeque::new() };
        let has_ended = state.has_ended();
        drop(state);
        self.changed.notify_all();
        if has_ended {
            self.ended.set();
        }
        cancelled
    }

    /// Waits until it is closed and all is done.
    pub(super) fn wait(&self) {
        self.ended.wait();
    }
}
