//! The threads of a runtime: they are started one after the other, and waited for at the end.
//!
//! A thread that lacks memory while it starts ends the process: std cannot get the stack on which it would handle signals,
//! or the C library cannot note a destructor. So room for all of that is asked for first, where an error can still be
//! returned, and whoever starts a thread goes on when it runs.

use std::io;
use std::sync::{Arc, Mutex, PoisonError, mpsc};
use std::thread::{Builder, JoinHandle};

use crate::coroutine::region;
use crate::stack;
use crate::task::{RawTask, WaitQueue, Waiter, Wakeup, shield};

/// What a thread takes: 2 MiB of stack, std's default, and as much for what it allocates until its first task.
const ROOM: usize = 4 << 20;

/// Starts a thread, and returns when it runs.
///
/// # Errors
/// The system refuses it, or the memory that it needs.
pub(super) fn start(name: String, body: impl FnOnce() + Send + 'static) -> io::Result<JoinHandle<()>> {
    stack::ask_for(ROOM)?;
    let (started, starts) = mpsc::sync_channel(1);
    let thread = Builder::new().name(name).spawn(move || {
        // Whoever starts the thread waits for this.
        _ = started.send(());
        body();
    })?;
    // A thread that has been made calls its body, or ends the process.
    _ = starts.recv();
    Ok(thread)
}

/// Waits until threads that have done what they were started for have ended.
///
/// # Suspends
/// The calling task: what destructors of the threads' variables wait for may need its worker. Else, and inside `no_suspend`,
/// the thread waits.
pub(super) fn join_all(threads: Vec<JoinHandle<()>>) {
    let join = |threads: Vec<JoinHandle<()>>| threads.into_iter().for_each(|thread| _ = thread.join());
    if RawTask::current().is_none() || region::is_forbidden() {
        return join(threads);
    }
    let ended = Arc::new(Ended { queue: Mutex::new((false, WaitQueue::new())) });
    let joiner = {
        let ended = ended.clone();
        move || {
            join(threads);
            ended.tell();
        }
    };
    // If there is no thread to be had for that, they end by themselves.
    if start("osier end".to_owned(), joiner).is_ok() {
        shield(|| ended.wait());
    }
}

/// Whether threads have ended, and the task that waits for that.
struct Ended {
    queue: Mutex<(bool, WaitQueue)>,
}

impl Ended {
    fn tell(&self) {
        let mut queue = self.queue.lock().unwrap_or_else(PoisonError::into_inner);
        queue.0 = true;
        let woken = queue.1.notify_all();
        drop(queue);
        woken.into_iter().for_each(Wakeup::fire);
    }

    fn wait(&self) {
        let waiter = Waiter::new();
        let mut queue = self.queue.lock().unwrap_or_else(PoisonError::into_inner);
        if queue.0 {
            return;
        }
        // SAFETY: the waiter is new, and stays here until it was notified or taken out.
        unsafe { queue.1.push(&raw const waiter) };
        drop(queue);
        // SAFETY: it was pushed above.
        let leave = || unsafe { self.queue.lock().unwrap_or_else(PoisonError::into_inner).1.remove(&waiter) };
        _ = waiter.wait(None, leave);
    }
}
