//! Starting a fresh task below the running one, instead of from the loop: for whoever joins it, and for links.

use std::ptr;

use super::{Fresh, RawTask, Relaxed, Worker, current, region};

impl Worker {
    /// Runs `child` right here, on a carrier of its own, if it is the fresh task that this worker would start next.
    /// True if it has ended. If it waits, both it and the caller are ordinary tasks from then on.
    ///
    /// # Panics
    /// Inside `no_suspend`, whether the child would wait or not.
    pub(crate) fn join_in_place(child: RawTask) -> bool {
        region::forbid("wait");
        let (Some(worker), Some(joiner)) = (Self::get(), RawTask::current()) else { return false };
        let budget = worker.joins_in_place.get();
        // Below one that unwinds, the child would be taken for it at its first wait, and nothing be thrown into it.
        if budget == 0 || joiner.header().has_request() || current::panicking() {
            return false;
        }
        let Some(Fresh(newest)) = worker.fresh.pop() else { return worker.join_next_in_line(joiner, child) };
        if newest != child {
            worker.push_fresh(&worker.fresh, newest);
            return false;
        }
        let Ok(carrier) = worker.take_carrier(child.header().stack_size) else {
            worker.push_fresh(&worker.fresh, child);
            return false;
        };
        worker.joins_in_place.set(budget - 1);
        // The joiner holds the child's handle, so the child can be asked after its end.
        worker.start_on(carrier, child, true);
        current::set_task(joiner.as_ptr().cast());
        worker.turnstile().begins(joiner.as_ptr());
        child.header().end.is_done()
    }

    /// As `join_in_place`, for the task that is the next in line.
    fn join_next_in_line(&self, joiner: RawTask, child: RawTask) -> bool {
        // In a test runtime, where all stand in line, the seed decides who comes next.
        // In that order: of a task that is not ours nothing may be asked.
        if self.seeds.is_some() || self.ready.get(0) != Some(child) || child.has_started() {
            return false;
        }
        let Ok(carrier) = self.take_carrier(child.header().stack_size) else { return false };
        self.pop_ready();
        self.remote().in_line.fetch_sub(1, Relaxed);
        self.joins_in_place.set(self.joins_in_place.get() - 1);
        self.start_on(carrier, child, true);
        current::set_task(joiner.as_ptr().cast());
        self.turnstile().begins(joiner.as_ptr());
        child.header().end.is_done()
    }

    /// Starts a fresh task that is in no queue right here, on a carrier of its own, until it ends or waits. False if it
    /// cannot be: there is no carrier, or this is no worker of the task's runtime, or one that has ended its tasks.
    pub(crate) fn start_in_place(task: RawTask) -> bool {
        let is_able = |worker: &&Self| ptr::eq(&raw const *worker.shared, task.runtime()) && !worker.has_ended.get();
        let Some(worker) = Self::get().filter(is_able) else { return false };
        let Ok(carrier) = worker.take_carrier(task.header().stack_size) else { return false };
        worker.remote().counts.spawned.add_one();
        let running = current::task();
        worker.start_on(carrier, task, true);
        current::set_task(running);
        // Not `running`: it may be the task that ends.
        worker.turnstile().begins(ptr::null_mut());
        true
    }
}
