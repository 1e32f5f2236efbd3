//! What a worker runs next.
//!
//! First what its own queues hold, in turns; every so many tasks what that order could starve; and what came from elsewhere
//! where there is nothing else.

use crossbeam_deque::{Steal, Stealer};

use super::{Fresh, Job, MANY, PUT_OFF, RawTask, Relaxed, Worker, pop, warm};
use crate::stack::StackSize;

impl Worker {
    /// The next task for a carrier that has just ended one: a fresh one of its size, if that is what the loop would
    /// choose now. So a run of tasks that do not wait costs no switch.
    #[inline]
    pub(crate) fn next_fresh(&self, size: StackSize) -> Option<RawTask> {
        let is_due_elsewhere = self.until_far_end.get() <= 0 || (self.round.get() > 0 && !self.ready.is_empty());
        // While the runtime closes, every fresh task goes through `start_on`, which cancels it.
        if is_due_elsewhere || self.has_acknowledged.get() || !self.remote().inbox.is_empty() {
            return None;
        }
        let Some(Fresh(task)) = pop(&self.fresh) else { return self.next_oldest_first(size) };
        if task.header().stack_size != size {
            self.push_fresh(&self.fresh, task);
            return None;
        }
        self.round.set(self.ready.len());
        Some(task)
    }

    /// As `next_fresh`, of those that start oldest first. They cannot be put back: one of another size goes in line.
    fn next_oldest_first(&self, size: StackSize) -> Option<RawTask> {
        let Fresh(task) = pop(&self.fresh_in_line)?;
        if task.header().stack_size != size {
            task.set_home(self.index);
            self.remote().in_line.fetch_add(1, Relaxed);
            self.ready.push_front(task);
            return None;
        }
        self.round.set(self.ready.len());
        Some(task)
    }

    /// The ready task that `find_task` would give, where few looks tell: tasks that give way to each other, or wake each other,
    /// need no more.
    #[inline(always)]
    pub(super) fn next_ready(&self) -> Option<RawTask> {
        let round = self.round.get();
        let others_first = round == 0 && (self.may_have_fresh.get() || !self.remote().inbox.is_empty());
        if self.until_far_end.get() <= 0 || others_first {
            return None;
        }
        let task = self.pop_ready()?;
        self.round.set(round.saturating_sub(1));
        Some(task)
    }

    /// What to run next, by this worker's own queues: as many started tasks as were ready when the last fresh one
    /// started, then a fresh one. So neither kind starves the other, and a worker goes deep before it goes wide.
    pub(super) fn find_task(&self) -> Option<Job> {
        if self.until_far_end.get() <= 0
            && let Some(job) = self.look_at_far_end()
        {
            return Some(job);
        }
        if self.round.get() > 0
            && let Some(task) = self.pop_ready()
        {
            self.round.set(self.round.get() - 1);
            return Some(Job::Ready(task));
        }
        // A task that others woke holds up more than itself; a fresh one may compute for long.
        if !self.remote().inbox.is_empty() {
            self.take_called();
            if let Some(task) = self.pop_ready() {
                return Some(Job::Ready(task));
            }
        }
        if self.may_have_fresh.get()
            && let Some(Fresh(task)) = self.pop_fresh()
        {
            self.round.set(self.ready.len());
            return Some(Job::Fresh(task));
        }
        self.pop_ready().map(Job::Ready).or_else(|| self.look_outside())
    }

    /// Takes a fresh task out of this worker's own deques, and notes it if there is none.
    pub(in crate::runtime) fn pop_fresh(&self) -> Option<Fresh> {
        let fresh = pop(&self.fresh).or_else(|| pop(&self.fresh_in_line));
        self.may_have_fresh.set(fresh.is_some());
        fresh
    }

    #[inline(always)]
    pub(super) fn pop_ready(&self) -> Option<RawTask> {
        if self.ready.len() >= warm::AHEAD && self.suspended.get() >= MANY {
            warm::fetch_next(&self.ready);
        }
        self.ready.pop_front()
    }

    /// What came from elsewhere: tasks that others woke, timers, tasks from outside.
    #[cold]
    fn look_outside(&self) -> Option<Job> {
        self.repeat_requests();
        self.collect_woken();
        self.pop_ready().map(Job::Ready).or_else(|| self.take_injected())
    }

    /// Moves what others woke and what timers woke into `ready`.
    pub(in crate::runtime) fn collect_woken(&self) {
        self.take_called();
        self.fire_timers();
    }

    /// Takes what others have put into the inbox: tasks that they called, and fresh ones that are for this worker.
    fn take_called(&self) {
        for task in self.remote().inbox.take().map(RawTask::from_header) {
            if !task.has_started() || task.header().run.take_call() {
                self.push_ready(task);
            }
        }
    }

    pub(in crate::runtime) fn take_injected(&self) -> Option<Job> {
        loop {
            match self.shared.injector.steal() {
                Steal::Success(Fresh(task)) => return Some(Job::Fresh(task)),
                Steal::Empty => return None,
                Steal::Retry => {}
            }
        }
    }

    /// The look at what the order of `find_task` could starve: the inbox, the timers, the injector, our oldest fresh
    /// task; and at whether the runtime closes.
    #[cold]
    fn look_at_far_end(&self) -> Option<Job> {
        self.acknowledge_closing();
        self.repeat_requests();
        if let Some(seeds) = &self.seeds {
            self.poll_reactor();
            // Here again the next time: everything is chosen here.
            self.until_far_end.set(0);
            return self.choose(seeds);
        }
        let next = self.next_far_end();
        let next = if self.has_put_off.get() { next.min(PUT_OFF) } else { next };
        self.until_far_end.set(next.cast_signed());
        self.collect_woken();
        // In turns: any of the three may never be empty.
        let first = self.far_end_first.replace((self.far_end_first.get() + 1) % 3);
        let oldest = |deque: &Stealer<Fresh>| deque.steal().success().map(|Fresh(task)| Job::Fresh(task));
        (first..first + 3).find_map(|place| match place % 3 {
            0 => self.take_injected(),
            1 => oldest(&self.remote().oldest_first),
            _ => oldest(&self.remote().stealer),
        })
    }

    pub(in crate::runtime) fn has_ready(&self) -> bool {
        !self.ready.is_empty()
    }

    pub(in crate::runtime) fn ready_len(&self) -> usize {
        self.ready.len()
    }

    pub(in crate::runtime) fn only_daemons_are_ready(&self) -> bool {
        self.ready.iter().all(|task| task.header().is_daemon)
    }
}
