//! Who takes part in a round: tasks, now and then threads, of which some are cancelled or late.

use std::thread;
use std::time::Duration;

use osier::sync::channel::{self, Receiver};
use osier::time::timeout;
use osier::{JoinHandle, spawn, yield_now};

use crate::random::Random;

/// How a task may end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    /// By itself alone.
    Reliable,
    /// By itself, or cancelled.
    Random,
    /// It is cancelled, if nothing else ends it.
    Doomed,
}

/// The tasks and threads of a round. Tasks are cancelled at random when it [ends](Self::end).
#[derive(Debug, Default)]
pub(crate) struct Cast {
    tasks: Vec<(JoinHandle<()>, End)>,
    /// Told when each thread ends: `join` would hold the worker, which the thread may be waiting for.
    threads: Vec<Receiver<()>>,
}

impl Cast {
    /// Adds somebody who may end at any wait: cancelled, or within a `timeout` that expires; in a thread, once in six.
    pub(crate) fn add(&mut self, random: &mut Random, body: impl FnOnce(Random) + Send + 'static) {
        let mut own = random.split();
        if own.once_in(6) {
            return self.add_thread(move || body(own));
        }
        let limit = own.once_in(5).then(|| Duration::from_micros(own.below(2000) as u64));
        let body = move || {
            // Late: it unwinds from whatever wait it is in.
            _ = timeout(limit, || body(own));
        };
        self.tasks.push((spawn(body), End::Random));
    }

    /// Adds somebody who is cancelled in the end, if not before: it may wait for what never comes.
    pub(crate) fn add_doomed(&mut self, random: &mut Random, body: impl FnOnce(Random) + Send + 'static) {
        let own = random.split();
        self.tasks.push((spawn(move || body(own)), End::Doomed));
    }

    /// Adds somebody who goes on to the end.
    pub(crate) fn add_reliable(&mut self, random: &mut Random, body: impl FnOnce(Random) + Send + 'static) {
        let own = random.split();
        match random.once_in(6) {
            true => self.add_thread(move || body(own)),
            false => self.tasks.push((spawn(move || body(own)), End::Reliable)),
        }
    }

    fn add_thread(&mut self, body: impl FnOnce() + Send + 'static) {
        let (done, ended) = channel::bounded(1);
        thread::spawn(move || {
            body();
            _ = done.send(());
        });
        self.threads.push(ended);
    }

    /// Cancels some of those that may be, and waits for all.
    pub(crate) fn end(self, random: &mut Random) {
        for (task, end) in &self.tasks {
            if random.once_in(3) {
                yield_now();
            }
            if *end != End::Reliable && random.once_in(4) {
                task.cancel();
            }
        }
        let (doomed, others): (Vec<_>, Vec<_>) = self.tasks.into_iter().partition(|(_, end)| *end == End::Doomed);
        for (task, end) in others {
            if let Err(error) = task.join() {
                assert!(end == End::Random && error.is_cancelled(), "{error}");
            }
        }
        for ended in self.threads {
            ended.recv().expect("a thread has no reason to fail");
        }
        for (task, _) in doomed {
            task.cancel();
            if let Err(error) = task.join() {
                assert!(error.is_cancelled(), "{error}");
            }
        }
    }
}

/// Runs something that may be cancelled, and then `undo` in any case.
pub(crate) fn and_then<T>(f: impl FnOnce() -> T, undo: impl FnOnce()) -> T {
    struct OnDrop<F: FnOnce()>(Option<F>);
    impl<F: FnOnce()> Drop for OnDrop<F> {
        fn drop(&mut self) {
            self.0.take().into_iter().for_each(|undo| undo());
        }
    }
    let _undo = OnDrop(Some(undo));
    f()
}

/// Gives way, or sleeps, or does neither.
pub(crate) fn dawdle(random: &mut Random) {
    match random.below(4) {
        0 => yield_now(),
        1 => osier::sleep(random.moment()),
        _ => {}
    }
}
