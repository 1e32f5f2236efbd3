//! The carriers of a worker, and which of its tasks have suspended.
//!
//! # Invariants
//! - A task is listed from its first suspension to its end, so its carrier is there while it is linked.
//! - Others read the list while they hold the turnstile; so it changes only within `Turnstile::change`.

use std::io;
use std::ptr::{self, NonNull};

use super::{Carrier, RawTask, Relaxed, Worker};
use crate::stack::StackSize;

/// How many idle carriers a worker keeps.
const IDLE_CARRIERS: usize = 1024;

impl Worker {
    /// Enters a task into the list of those that have suspended.
    pub(crate) fn list(&self, task: RawTask) {
        let live = &self.remote().live;
        self.turnstile().change(|| {
            let carrier = task.carrier();
            let first = live.load(Relaxed);
            carrier.listed.set(Some(task));
            // It may have been in a list before: with an earlier task or step, or before its result was dropped.
            carrier.previous.set(ptr::null());
            carrier.next.set(first);
            // SAFETY: as below.
            if let Some(first) = unsafe { first.as_ref() } {
                first.previous.set(carrier);
            }
            live.store(carrier.this().as_ptr(), Relaxed);
        });
        self.suspended.set(self.suspended.get() + 1);
    }

    /// Takes a task that ends out of that list.
    pub(crate) fn unlist(&self, task: RawTask) {
        self.turnstile().change(|| {
            let carrier = task.carrier();
            carrier.listed.set(None);
            let (previous, next) = (carrier.previous.get(), carrier.next.get());
            // SAFETY: neighbours are the carriers of listed tasks, which have not ended.
            match unsafe { previous.as_ref() } {
                Some(previous) => previous.next.set(next),
                None => self.remote().live.store(next.cast_mut(), Relaxed),
            }
            // SAFETY: as above.
            if let Some(next) = unsafe { next.as_ref() } {
                next.previous.set(previous);
            }
        });
        self.suspended.set(self.suspended.get() - 1);
    }

    pub(super) fn live_tasks(&self) -> impl Iterator<Item = RawTask> {
        self.remote().live_tasks()
    }

    #[inline]
    pub(super) fn take_carrier(&self, size: StackSize) -> io::Result<NonNull<Carrier>> {
        let mut carriers = self.carriers.borrow_mut();
        // SAFETY: idle carriers are this worker's and alive.
        match carriers.iter().rposition(|carrier| unsafe { carrier.as_ref() }.stack_size == size) {
            Some(place) => Ok(carriers.remove(place)),
            None => Carrier::new(size),
        }
    }

    #[inline]
    pub(super) fn put_carrier(&self, carrier: NonNull<Carrier>) {
        let mut carriers = self.carriers.borrow_mut();
        if carriers.len() < IDLE_CARRIERS {
            carriers.push(carrier);
        } else {
            drop(carriers);
            // SAFETY: it is idle, and in no list.
            unsafe { Carrier::free(carrier) };
        }
    }

    /// Makes sure that the next task of this size gets a carrier.
    pub(in crate::runtime) fn ensure_carrier(&self, size: StackSize) -> io::Result<()> {
        let carrier = self.take_carrier(size)?;
        self.carriers.borrow_mut().push(carrier);
        Ok(())
    }
}
