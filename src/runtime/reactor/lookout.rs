//! The lookout: a thread of the process that watches descriptors for those who have no reactor, threads outside of all tasks.
//!
//! A worker's reactor would not do for them: its worker may compute for long, and they are none of its tasks. The lookout does
//! nothing but wait in its poller. It is made when a thread first selects a descriptor, and stays.

use std::io;
use std::ptr;
use std::sync::Arc;
use std::sync::atomic::{AtomicPtr, Ordering};

use super::Reactor;
use crate::runtime::fork;
use crate::runtime::thread;

/// What the lookout of this process watches; null before there is one. In the child of a fork the parent's stays here until the
/// child needs one of its own: without a lock, for whoever had it would be missing there.
static LOOKOUT: AtomicPtr<Arc<Reactor>> = AtomicPtr::new(ptr::null_mut());

/// What the lookout watches, for good.
///
/// # Errors
/// There is no lookout, and no descriptor, memory or thread for one.
pub(super) fn reactor() -> io::Result<&'static Arc<Reactor>> {
    // Acquire: pairs with the Release in `make`.
    let known = LOOKOUT.load(Ordering::Acquire);
    // SAFETY: what stands there is never freed.
    match unsafe { known.as_ref() }.filter(|reactor| !reactor.is_inherited()) {
        Some(reactor) => Ok(reactor),
        None => make(known),
    }
}

/// Makes one in the place of `known`, unless somebody else is faster.
#[cold]
fn make(known: *mut Arc<Reactor>) -> io::Result<&'static Arc<Reactor>> {
    fork::hear_of_forks();
    let new = Reactor::new();
    new.poller()?;
    let watched = new.clone();
    // Before anybody can have something watched, for there may be no thread to be had.
    thread::start("osier lookout".to_owned(), move || {
        while !watched.is_retired() {
            watched.wait(None);
        }
    })?;
    let leaked = Box::into_raw(Box::new(new));
    // Release: pairs with the Acquire in `reactor`.
    match LOOKOUT.compare_exchange(known, leaked, Ordering::Release, Ordering::Acquire) {
        // SAFETY: it is never freed.
        Ok(_) => Ok(unsafe { &*leaked }),
        Err(faster) => {
            // SAFETY: nobody else has seen it.
            let late = unsafe { Box::from_raw(leaked) };
            late.retire();
            late.ring();
            // SAFETY: as in `reactor`; it was made in this process, just now.
            Ok(unsafe { &*faster })
        }
    }
}
