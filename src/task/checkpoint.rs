//! Checkpoints, for loops that compute and never wait.
//!
//! One costs a nanosecond: it looks at the task's requests and counts. Only every so often it looks at the clock, which
//! costs thirty: after as many as passed in the last [`LOOK`], but after [`MOST`] at the latest, for the turns of a loop may
//! become slow. A new timeout is looked at by the first checkpoint.

use std::time::{Duration, Instant};

use super::cancel;
use super::park::yield_now;
use super::raw::RawTask;
use crate::coroutine::current::{self, Pace};
use crate::coroutine::region;
use crate::runtime::{Worker, fitting_step};

/// How much time shall lie between two looks at the clock.
const LOOK: Duration = Duration::from_micros(20);
/// At most so many checkpoints lie between two looks.
const MOST: u32 = 64;
/// For how long a task may compute before it lets others run.
const TURN: Duration = Duration::from_millis(1);
/// In a runtime whose time is made up: how many checkpoints make a turn.
const VIRTUAL_TURN: u32 = 64;

/// A place where a loop that computes may be interrupted, and where it lets others run: call it once a turn.
///
/// It costs about a nanosecond. If the task was cancelled, or an exception thrown into it, that is thrown here; and so is
/// the expiry of a [`timeout`](crate::time::timeout) around it, some tens of microseconds after its time. About every
/// millisecond the other ready tasks of the worker run.
///
/// In a [shield](super::shield()) requests and timeouts around that wait, as at every wait. Inside
/// [`no_suspend`](crate::no_suspend) it does nothing.
///
/// # Suspends
/// Sometimes, as [`yield_now`] does.
///
/// # Cancel safety
/// Nothing is lost: what is due is thrown from here.
///
/// # Examples
/// ```
/// use osier::{task, time::timeout};
/// use std::time::Duration;
///
/// osier::run(|| {
///     let mut turns = 0_u64;
///     let late = timeout(Duration::from_millis(5), || loop {
///         turns += 1;
///         task::checkpoint();
///     });
///     assert!(late.is_err() && turns > 0);
/// });
/// ```
#[inline]
pub fn checkpoint() {
    let has_request = RawTask::current().is_some_and(|task| task.header().has_request());
    if current::count_checkpoint() || has_request {
        look();
    }
}

#[cold]
#[inline(never)]
fn look() {
    if region::is_forbidden() {
        current::set_checkpoints_left(MOST);
        return;
    }
    if current::is_virtual() {
        current::set_checkpoints_left(VIRTUAL_TURN);
        return yield_now();
    }
    let now = Instant::now();
    let pace = current::pace();
    let step =
        pace.looked.map_or(1, |looked| fitting_step(pace.step, now.saturating_duration_since(looked), LOOK, MOST));
    let yielded = pace.yielded.unwrap_or(now);
    let is_turn_over = now.saturating_duration_since(yielded) >= TURN;
    let yielded = if is_turn_over { now } else { yielded };
    current::set_pace(Pace { looked: Some(now), yielded: Some(yielded), step });
    current::set_checkpoints_left(step - 1);
    if is_turn_over {
        // What has become due meanwhile comes first.
        if let Some(worker) = Worker::get() {
            worker.look_far_soon();
        }
        yield_now();
    } else {
        cancel::throw_if_due();
    }
}
