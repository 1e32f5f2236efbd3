//! Timeouts: a limit on the time that any code may wait.

use std::error::Error;
use std::fmt;
use std::io;
use std::time::{Duration, Instant};

use crate::coroutine::region::Region;
use crate::coroutine::{current, unwind};
use crate::exception::{self, Exception, Raise, raise};

/// The time given to [`timeout`] has passed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Elapsed;

impl fmt::Display for Elapsed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("timed out")
    }
}

impl Error for Elapsed {}

/// Of the kind [`TimedOut`](io::ErrorKind::TimedOut), so that `timeout(d, || stream.read(b))??` reads as with the stream's own
/// limit.
impl From<Elapsed> for io::Error {
    fn from(elapsed: Elapsed) -> Self {
        Self::new(io::ErrorKind::TimedOut, elapsed)
    }
}

impl Raise for Elapsed {
    #[track_caller]
    fn raise(self) -> ! {
        raise(self)
    }
}

/// Runs `f`, and ends it if it still waits when `d` has passed: gevent's `Timeout`, around any code.
///
/// `f` unwinds from the wait it is in then, or from its next one, with whatever it called. What it owned is dropped, and
/// what it left half done stays so, as after a panic; catchers of exceptions, exits and panics inside `f` do not see it.
/// `None`, and a time too far away for the clock, never end it.
///
/// Timeouts nest, and each call gives an error for its own time alone: an outer one passes through the inner ones. They
/// are kept apart from the time limit of a single call as well: a `recv_timeout` inside returns for its own time, or is
/// unwound from by a `timeout` that ends first. A wait whose value has arrived returns it, also when the time is over.
///
/// The time runs for the coroutine that opened it: in a generator or a greenlet that is suspended inside `f`, whoever
/// resumed it waits undisturbed, and `f` unwinds when it is resumed after `d`. A [shield](crate::task::shield) inside `f`
/// puts the end off. Code that computes without ever waiting is not interrupted: see [`checkpoint`](crate::task::checkpoint).
///
/// Works on plain threads as well, in the waits of this crate.
///
/// # Suspends
/// As `f` does.
///
/// # Cancel safety
/// What was received or locked by a call that has returned is `f`'s, and is dropped if `f` unwinds later.
///
/// # Errors
/// [`Elapsed`], if `f` was unwound because its time had passed.
///
/// # Examples
/// ```
/// use osier::{sleep, time::timeout};
/// use std::time::Duration;
///
/// osier::run(|| {
///     let ms = Duration::from_millis;
///     assert!(timeout(ms(10), || sleep(ms(10_000))).is_err());
///     assert_eq!(timeout(ms(10_000), || 1), Ok(1));
///     assert_eq!(timeout(None, || 2), Ok(2));
///     // gevent's `with_timeout(10 ms, f, timeout_value=3)`.
///     assert_eq!(timeout(ms(10), || { sleep(ms(10_000)); 0 }).unwrap_or(3), 3);
/// });
/// ```
pub fn timeout<T>(d: impl Into<Option<Duration>>, f: impl FnOnce() -> T) -> Result<T, Elapsed> {
    match deadline_after(d.into()) {
        Some(deadline) => timeout_at(deadline, f),
        None => Ok(f()),
    }
}

/// Runs `f` as [`timeout`] does, and ends it if it still waits at `deadline`: one limit for several steps, however long each
/// of them takes.
///
/// # Suspends
/// As `f` does.
///
/// # Cancel safety
/// As [`timeout`].
///
/// # Errors
/// As [`timeout`].
///
/// # Examples
/// ```
/// use osier::{sleep, time::timeout_at};
/// use std::time::{Duration, Instant};
///
/// osier::run(|| {
///     let deadline = Instant::now() + Duration::from_millis(50);
///     assert!(timeout_at(deadline, || sleep(Duration::from_millis(1))).is_ok());
///     assert!(timeout_at(deadline, || sleep(Duration::from_secs(60))).is_err());
///     assert!(Instant::now() >= deadline);
/// });
/// ```
pub fn timeout_at<T>(deadline: Instant, f: impl FnOnce() -> T) -> Result<T, Elapsed> {
    current::set_checkpoints_left(0);
    let region = Region::deadline(deadline, None);
    match unwind::intercept(|| region.run(f)) {
        // Where nothing unwinds, it is told when it is over.
        Ok(_) if cfg!(panic = "abort") && current::now() >= deadline => Err(Elapsed),
        Ok(value) => Ok(value),
        Err(payload) if region.takes(&payload) => Err(Elapsed),
        Err(payload) => unwind::throw(payload),
    }
}

/// Runs `f` as [`timeout`] does, and raises `e` from the wait that `f` is in when `d` has passed.
///
/// `e` is an ordinary [exception](mod@crate::exception), raised once: [`catch`](crate::catch) takes it inside `f` or
/// outside, and if it is caught inside, `f` goes on as if there had been no timeout.
///
/// # Suspends
/// As `f` does.
///
/// # Cancel safety
/// As [`timeout`].
///
/// # Panics
/// With the text of `e` where nobody could catch it: outside every coroutine and every `catch`.
///
/// # Examples
/// ```
/// use osier::{catch, sleep, time::timeout_raise};
/// use std::time::Duration;
///
/// osier::run(|| {
///     let ms = Duration::from_millis;
///     let late = catch(|| timeout_raise(ms(10), std::fmt::Error, || sleep(ms(10_000))));
///     assert!(late.unwrap_err().is::<std::fmt::Error>());
/// });
/// ```
pub fn timeout_raise<T>(d: impl Into<Option<Duration>>, e: impl Into<Exception>, f: impl FnOnce() -> T) -> T {
    match deadline_after(d.into()) {
        Some(deadline) => timeout_raise_at(deadline, e, f),
        None => f(),
    }
}

/// Runs `f` as [`timeout_raise`] does, and raises `e` from the wait that `f` is in at `deadline`.
///
/// # Suspends
/// As `f` does.
///
/// # Cancel safety
/// As [`timeout`].
///
/// # Panics
/// As [`timeout_raise`].
pub fn timeout_raise_at<T>(deadline: Instant, e: impl Into<Exception>, f: impl FnOnce() -> T) -> T {
    current::set_checkpoints_left(0);
    let exception = e.into();
    if cfg!(panic = "abort") {
        let value = f();
        return if current::now() < deadline { value } else { raise(exception) };
    }
    let region = Region::deadline(deadline, Some(exception::payload_of(exception)));
    unwind::intercept(|| region.run(f)).unwrap_or_else(|payload| exception::go_on(payload))
}

/// When `d` will have passed; `None` for never.
fn deadline_after(d: Option<Duration>) -> Option<Instant> {
    current::now().checked_add(d?)
}
