//! Reports: what happened where nobody can receive it.

use std::any::Any;
use std::fmt;
use std::sync::{Arc, PoisonError, RwLock};

use super::Exception;
use crate::coroutine::region::no_suspend;
use crate::coroutine::unwind;
#[cfg(feature = "runtime")]
use crate::coroutine::unwind::Payload;

/// Something that went wrong where no caller can be told: Python's unraisable errors.
///
/// Its `Display` is the line that is printed when no hook is set.
#[derive(Debug)]
#[non_exhaustive]
pub enum Report<'a> {
    /// An exception left the body of a generator or a greenlet that was being dropped, or the destructor of what a task
    /// owned or returned.
    #[non_exhaustive]
    RaisedInDrop {
        /// The coroutine's.
        name: &'a str,
        /// What was raised.
        exception: &'a Exception,
    },
    /// Something else than an exception or a panic left the body of a generator or a greenlet that was being dropped, and
    /// ended there: the exit of a coroutine further out, or what `std::panic::resume_unwind` was given. A panic is shown by the
    /// panic hook, and a cancellation or a timeout is thrown again at the next wait. Where the program has set another panic
    /// hook after osier's, panics are told here as well.
    #[non_exhaustive]
    LostInDrop {
        /// The generator's.
        name: &'a str,
        /// What it was.
        what: &'a str,
    },
    /// An exception was thrown into a task that ended without another wait.
    #[cfg(feature = "runtime")]
    #[non_exhaustive]
    ThrownTooLate {
        /// The task's.
        name: &'a str,
        /// What was thrown.
        exception: &'a Exception,
    },
    /// A generator that was being dropped yielded again instead of ending.
    #[non_exhaustive]
    IgnoredClose {
        /// The generator's.
        name: &'a str,
    },
    /// A suspended generator or greenlet could not be unwound: its stack, and all that lies on it, stays for ever.
    ///
    /// If it was in the middle of its own unwind, that never ends either: `std::thread::panicking` says yes on this thread from
    /// now on, whoever asks, and each suspension on it takes a slower way.
    #[non_exhaustive]
    Leaked {
        /// The generator's.
        name: &'a str,
    },
    /// A task panicked or was left by an exception, and nobody will join it; or it returned an error that
    /// `JoinHandle::report` was asked to tell. Also of an actor that its supervisor does not start again, whoever joins it.
    #[cfg(feature = "runtime")]
    #[non_exhaustive]
    Unjoined {
        /// The task's.
        name: &'a str,
        /// What joining it would have given.
        error: &'a crate::JoinError,
    },
    /// A link panicked or was left by an exception.
    #[cfg(feature = "runtime")]
    #[non_exhaustive]
    LinkFailed {
        /// The name of the task that it was linked to.
        name: &'a str,
        /// What became of the link.
        error: &'a crate::JoinError,
    },
    /// An actor has ended, and dropped messages that it had not received.
    #[non_exhaustive]
    DeadLetters {
        /// The actor's.
        name: &'a str,
        /// How many messages.
        count: usize,
    },
    /// A message could not be brought to an actor in another process: it does not encode or decode, or is too long. It is
    /// lost, and nothing else.
    #[non_exhaustive]
    Undelivered {
        /// The actor's.
        name: &'a str,
        /// Why.
        error: &'a (dyn std::error::Error + 'static),
    },
    /// The filter of a subscriber failed as a message was published, and its subscription has ended; or the message could not
    /// be cloned for it.
    #[cfg(feature = "runtime")]
    #[non_exhaustive]
    SubscriberFailed {
        /// What it has subscribed to.
        pattern: &'a str,
        /// What became of the filter or the clone.
        error: &'a crate::JoinError,
    },
    /// An actor has failed, or was killed, and its supervisor starts it again.
    #[cfg(feature = "runtime")]
    #[non_exhaustive]
    Restarted {
        /// The actor's.
        name: &'a str,
        /// Why it has ended.
        error: &'a crate::JoinError,
    },
    /// A task has held its worker for longer than [`Builder::watchdog`](crate::runtime::Builder::watchdog) allows: it computes
    /// without a wait, or blocks its thread. Told once each time, by a thread that only watches.
    #[cfg(feature = "runtime")]
    #[non_exhaustive]
    Blocked {
        /// The task's.
        name: &'a str,
        /// The code that spawned it.
        spawned_at: &'static std::panic::Location<'static>,
        /// The number of the worker.
        worker: usize,
        /// For how long so far.
        time: std::time::Duration,
        /// The names of a few tasks that cannot go on meanwhile, since they belong to the same worker.
        waiting: &'a [String],
    },
    /// A task waits while it holds a lock: whoever wants that waits for the same, and longer. Told in builds with debug
    /// assertions, once for each place where a lock was taken, by a thread that only tells; what has not been told at the end
    /// of the process is lost. See [`set_held_reports`](crate::sync::set_held_reports).
    #[cfg(feature = "runtime")]
    #[non_exhaustive]
    HeldOverWait {
        /// The task's.
        name: &'a str,
        /// The code that took the lock.
        locked_at: &'static std::panic::Location<'static>,
        /// The code that waits: its file and line, as far as debug info and the feature `backtrace` tell; what it waits for, if
        /// not.
        waits_at: &'a str,
    },
    /// A server could not accept, receive or spawn, or what its program does so by has panicked or raised. Of errors that come
    /// again before the next connection is served, the first is told.
    #[cfg(feature = "net")]
    #[non_exhaustive]
    ServerFailed {
        /// The name of the task that accepts, or receives.
        name: &'a str,
        /// What went wrong: an `io::Error`, or a [`JoinError`](crate::JoinError).
        error: &'a (dyn std::error::Error + 'static),
        /// Whether it has ended by that. If not, it goes on after a pause.
        has_ended: bool,
    },
    /// It is certain that no task that waits can ever go on, and no `run` is there to be told, or
    /// [`Builder::on_deadlock`](crate::runtime::Builder::on_deadlock) says that nobody shall be cancelled. Told once.
    #[cfg(feature = "runtime")]
    #[non_exhaustive]
    Deadlock {
        /// Which tasks, and what they wait for.
        deadlock: &'a crate::runtime::Deadlock,
    },
    /// A task caught its cancellation with `std::panic::catch_unwind`. It is thrown again, at the wait it is in now.
    #[non_exhaustive]
    Swallowed {
        /// The task's.
        name: &'a str,
    },
}

impl fmt::Display for Report<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::RaisedInDrop { name, exception } => {
                write!(f, "exception ignored in the drop of coroutine '{name}': {exception}")
            }
            Self::LostInDrop { name, what } => write!(f, "{what} ended in the drop of coroutine '{name}'"),
            Self::IgnoredClose { name } => write!(f, "generator '{name}' ignored its close in drop"),
            Self::Leaked { name } => write!(f, "coroutine '{name}' did not end: its stack is leaked"),
            #[cfg(feature = "runtime")]
            Self::ThrownTooLate { name, exception } => {
                write!(f, "task '{name}' ended before it was told of what was thrown into it: {exception}")
            }
            #[cfg(feature = "runtime")]
            Self::Unjoined { name, error } => write!(f, "nobody joined task '{name}': {error}"),
            #[cfg(feature = "runtime")]
            Self::LinkFailed { name, error } => write!(f, "link of task '{name}' failed: {error}"),
            Self::DeadLetters { name, count } => write!(f, "actor '{name}' ended with unread messages: {count}"),
            Self::Undelivered { name, error } => write!(f, "a message to actor '{name}' is lost: it {error}"),
            #[cfg(feature = "runtime")]
            Self::SubscriberFailed { pattern, error } => {
                write!(f, "a subscriber of '{pattern}' failed, and misses a message: {error}")
            }
            #[cfg(feature = "runtime")]
            Self::Restarted { name, error } => write!(f, "actor '{name}' is started again: {error}"),
            #[cfg(feature = "runtime")]
            Self::Blocked { name, spawned_at, worker, time, waiting } => {
                let ms = time.as_millis();
                write!(f, "task '{name}', spawned at {spawned_at}, has held worker {worker} for {ms} ms")?;
                if !waiting.is_empty() {
                    write!(f, "; held up meanwhile: '{}'", waiting.join("', '"))?;
                }
                Ok(())
            }
            #[cfg(feature = "runtime")]
            Self::HeldOverWait { name, locked_at, waits_at } => {
                write!(f, "task '{name}' waits at {waits_at} and holds the lock that it took at {locked_at}")
            }
            #[cfg(feature = "net")]
            Self::ServerFailed { name, error, has_ended } => {
                write!(f, "the {name} of a server {}: {error}", if *has_ended { "has ended" } else { "pauses" })
            }
            #[cfg(feature = "runtime")]
            Self::Deadlock { deadlock } => write!(f, "{deadlock}"),
            Self::Swallowed { name } => {
                write!(f, "task '{name}' swallowed its cancellation, which is thrown again")
            }
        }
    }
}

type Hook = Box<dyn Fn(&Report<'_>) + Send + Sync>;

/// Counted, so that no lock is held while it is called.
static HOOK: RwLock<Option<Arc<Hook>>> = RwLock::new(None);

/// Sets what is done with [`Report`]s, for the whole process, and returns what was done before. At first they are
/// printed to standard error.
///
/// The hook runs where the report arises, perhaps in a destructor and during an unwind: it should write down what it is
/// told. It runs within [`no_suspend`](crate::no_suspend), so it cannot wait or yield. A panic in it is dropped.
///
/// # Examples
/// ```
/// use osier::{Generator, Report, Yielder, catch_exit, set_report_hook};
/// use std::sync::Mutex;
///
/// static SEEN: Mutex<Vec<String>> = Mutex::new(Vec::new());
/// let before = set_report_hook(|report| SEEN.lock().unwrap().push(report.to_string()));
///
/// let stubborn = Generator::builder(|y: &Yielder<u32>| loop { _ = catch_exit(|| y.yield_(1)) }).name("stubborn");
/// drop(stubborn.build().primed());
/// let text = SEEN.lock().unwrap().join("; ");
/// assert_eq!(text, "generator 'stubborn' ignored its close in drop; \
///                   coroutine 'stubborn' did not end: its stack is leaked");
/// set_report_hook(before);
/// ```
pub fn set_report_hook(hook: impl Fn(&Report<'_>) + Send + Sync + 'static) -> Box<dyn Fn(&Report<'_>) + Send + Sync> {
    let old = HOOK.write().unwrap_or_else(PoisonError::into_inner).replace(Arc::new(boxed(hook)));
    match old.map(Arc::try_unwrap) {
        // The very box that was set, so that setting and putting back grows no layers.
        Some(Ok(old)) => old,
        // It is being called.
        Some(Err(old)) => Box::new(move |report| old(report)),
        None => Box::new(print),
    }
}

/// The hook in a box: itself, if it is a box that `set_report_hook` gave back.
fn boxed<F: Fn(&Report<'_>) + Send + Sync + 'static>(hook: F) -> Hook {
    let mut hook = Some(hook);
    let given_back = (&mut hook as &mut dyn Any).downcast_mut::<Option<Hook>>().and_then(Option::take);
    match (given_back, hook) {
        (Some(hook), _) => hook,
        (None, hook) => Box::new(hook.expect("only a box was taken")),
    }
}

fn print(report: &Report<'_>) {
    eprintln!("osier: {report}");
}

/// Drops a value of the coroutine `name` whose destructor may unwind, where that has nowhere to go. A panic has been shown by
/// the panic hook; an exception is told here.
#[cfg(feature = "runtime")]
pub(crate) fn drop_telling<T>(name: &str, value: T) {
    if let Err(payload) = unwind::catch(move || drop(value)) {
        tell_lost(name, payload);
    }
}

/// Tells of an exception that left a destructor of the coroutine `name`.
#[cfg(feature = "runtime")]
#[cold]
pub(crate) fn tell_lost(name: &str, payload: Payload) {
    match super::from_payload(payload) {
        Ok(exception) => {
            report(&Report::RaisedInDrop { name, exception: &exception });
            unwind::drop_quietly(exception);
        }
        // Its own destructor may panic as well: see `drop_quietly`.
        Err(payload) => std::mem::forget(payload),
    }
}

/// Tells the hook.
#[cold]
pub(crate) fn report(report: &Report<'_>) {
    let hook = HOOK.read().unwrap_or_else(PoisonError::into_inner).clone();
    let tell = || match hook {
        Some(hook) => hook(report),
        None => print(report),
    };
    let told = unwind::intercept(|| no_suspend(tell));
    if let Err(payload) = told {
        unwind::drop_quietly(payload);
    }
}
