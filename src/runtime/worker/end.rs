//! A worker's end: cancelling what has started, refusing what has not, and leaving behind what does not go.

use super::{Carrier, Fresh, JoinError, RawTask, Relaxed, Worker};

impl Worker {
    /// When the runtime closes: spawns no more, and cancels every task that has started here. Those that have not are
    /// cancelled when their turn comes. True if it closes, and this worker has not seen it before.
    pub(in crate::runtime) fn acknowledge_closing(&self) -> bool {
        if !self.shared.is_closing() || self.has_acknowledged.replace(true) {
            return false;
        }
        for task in self.live_tasks() {
            task.request_cancel();
            if task.header().run.notify_here() {
                self.push_ready(task);
            }
        }
        self.shared.acknowledge(self.index);
        true
    }

    /// In the child of a fork, where this worker's thread goes on in a task: takes no other one up.
    pub(in crate::runtime) fn stop_at_once(&self) {
        self.until_far_end.set(0);
    }

    /// Ends the fresh tasks that only this worker can, unrun. Nothing runs here any more.
    pub(in crate::runtime) fn refuse_fresh(&self) {
        self.has_ended.set(true);
        let refuse = |task: RawTask| {
            self.count_started();
            task.refuse(JoinError::cancelled());
            self.count_finished();
        };
        while let Some(Fresh(task)) = self.pop_fresh() {
            refuse(task);
        }
        self.collect_woken();
        while let Some(task) = self.ready.pop_front() {
            if !task.has_started() {
                self.remote().in_line.fetch_sub(1, Relaxed);
                refuse(task);
            }
        }
    }

    /// Frees the carriers, and leaves behind what is still suspended.
    pub(in crate::runtime) fn drain(&self) {
        self.has_ended.set(true);
        self.reactor().retire();
        for carrier in self.carriers.take() {
            // SAFETY: it is idle, and in no list any more.
            unsafe { Carrier::free(carrier) };
        }
        self.refuse_fresh();
        for task in self.live_tasks() {
            if task.header().borrows {
                eprintln!("osier: task '{}' borrows from a caller and cannot be left behind", task.header().name);
                std::process::abort();
            }
            task.leave_behind();
        }
    }
}
