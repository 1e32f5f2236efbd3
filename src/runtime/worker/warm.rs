//! What the next ready tasks will touch, fetched while others run.
//!
//! Of many tasks that waited for long, each has its own stack to come back to, and nothing of it is in a cache: the header,
//! then the carrier that it names, then the frames that the carrier names; three misses one after the other, and as many
//! for the address of the page. So each is asked for some tasks ahead, when the one before it has come.

use super::Carrier;
use super::ready::Ready;
use crate::coroutine::memory::prefetch;

/// How many tasks ahead each is asked for: first the header, then the others.
pub(super) const AHEAD: usize = 6;
const CARRIER: usize = 4;
const FRAMES: usize = 2;
/// What processors fetch at once.
const LINE: usize = 64;
/// The innermost frames of a task that waits, in lines: those that its wake-up goes through.
const FRAME_LINES: usize = 4;

/// Fetches what the tasks at the front of the queue will touch soon.
// Out of line: few tasks are switched between without it.
#[inline(never)]
pub(super) fn fetch_next(ready: &Ready) {
    let started = |ahead: usize| ready.get(ahead).filter(|task| task.has_started());
    if let Some(task) = ready.get(AHEAD) {
        prefetch(task.as_ptr().addr());
    }
    if let Some(task) = started(CARRIER) {
        fetch_carrier(task.carrier());
    }
    if let Some(registers) = started(FRAMES).and_then(|task| task.carrier().bookmark.get()) {
        (0..FRAME_LINES).for_each(|line| prefetch(registers.stack + line * LINE));
    }
}

fn fetch_carrier(carrier: *const Carrier) {
    (0..size_of::<Carrier>()).step_by(LINE).for_each(|offset| prefetch(carrier.addr() + offset));
}
