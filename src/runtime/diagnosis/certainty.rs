//! Whether nobody can ever go on: what must be so, and how it is read while others might be at work.
//!
//! A runtime stands still when its workers sleep, and none of its tasks waits for a timer, a descriptor or a blocking call.
//! Then only another thread can wake one. That there is none is either known, since every thread of the process is a worker
//! that sleeps or rests in a wait of ours (`rest`), and no signal handler is installed; or it is promised
//! ([`Builder::closed_world`](crate::runtime::Builder::closed_world)).
//!
//! Everything is read twice, with what the system says in between. Who was asleep both times has been so in between, for
//! who wakes up moves a counter that is read as well. So when the two looks are alike, all that was read held at once.
//! Proof: arch-notes/diagnosis.md, "Deadlocks".

use std::sync::Arc;
use std::sync::atomic::{Ordering, fence};

use super::process::Process;
use crate::runtime::fork;
use crate::runtime::rest::Rest;
use crate::runtime::shared::Shared;

/// What was read of one runtime that stands still.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Still {
    /// How many of its threads sleep.
    threads: usize,
    /// How often one of them had woken up.
    wakes: usize,
}

impl Shared {
    /// `None` if one of its tasks may go on, as far as is known here.
    fn stands_still(&self) -> Option<Still> {
        // SeqCst: what a thread pushed before it went to rest is seen by whoever has seen that it rests.
        fence(Ordering::SeqCst);
        let wakes = self.quiet.signs.wakes();
        if self.is_elsewhere() || (self.is_closing() && self.has_no_workers()) {
            return Some(Still { threads: 0, wakes });
        }
        let mut threads = 0;
        for (index, remote) in self.remotes.iter().enumerate() {
            if self.idle.is_asleep(index) {
                threads += 1;
                if remote.expects_anything() {
                    return None;
                }
            }
            if !remote.inbox.is_empty() {
                return None;
            }
        }
        let may_go_on =
            self.is_closing() || self.quiet.signs.is_busy() || self.quiet.signs.is_awaited() || self.has_fresh();
        (!may_go_on).then_some(Still { threads, wakes })
    }

    /// Whether none of its tasks can go on, as long as nobody else wakes one; then how often a worker has woken up.
    pub(super) fn is_at_standstill(&self) -> Option<usize> {
        let look = || self.stands_still().filter(|still| still.threads == self.remotes.len());
        let still = look()?;
        (look()? == still).then_some(still.wakes)
    }
}

/// Whether no task and no thread of the process can go on; then its runtimes, each with how often a worker has woken up.
pub(super) fn standstill_of_process() -> Option<Vec<(Arc<Shared>, usize)>> {
    let runtimes = fork::runtimes();
    let look = || {
        let threads = (Rest::of_process().look(), Rest::of_monitors().look());
        let stills: Option<Vec<_>> = runtimes.iter().map(|shared| shared.stands_still()).collect();
        Some((threads, stills?))
    };
    let ((resting, monitors), stills) = look()?;
    let process = Process::look().filter(|process| !process.handles_signals)?;
    let asleep: usize = stills.iter().map(|still| still.threads).sum();
    let are_all_still = resting.count() + monitors.count() + asleep == process.threads;
    if !are_all_still || look()? != ((resting, monitors), stills.clone()) {
        return None;
    }
    Some(runtimes.into_iter().zip(stills.iter().map(|still| still.wakes)).collect())
}
