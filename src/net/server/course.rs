//! How the tasks of a server that accept, or receive, go on: step by step, with a pause after each that fails.
//!
//! What fails is reported: a panic or an exception each time, an error once until something was served again, so that a server
//! which cannot do anything does not fill a log.

use std::error::Error;
use std::io;
use std::time::Duration;

use crate::exception::{Report, report};
use crate::task::{self, JoinError};
use crate::time;

/// How long the pause after a failure is, at first and at most.
pub(super) const PAUSE: (Duration, Duration) = (Duration::from_millis(10), Duration::from_secs(1));

/// What follows a step.
#[must_use = "a course goes on as its steps say"]
pub(super) enum Next {
    /// The next one.
    Step,
    /// A pause, and then the next one.
    Pause,
    /// Nothing.
    End,
}

/// See the module's page.
pub(super) struct Course {
    /// The task's name.
    name: &'static str,
    /// How long the next pause is.
    pause: Duration,
    /// The errors that were reported since something was last served: their codes, or what else they are.
    told: Vec<Result<i32, io::ErrorKind>>,
}

impl Course {
    pub(super) fn new(name: &'static str) -> Self {
        Self { name, pause: PAUSE.0, told: Vec::new() }
    }

    /// Makes steps until one is the last. One that panics or raises has failed; what ends the task ends the course.
    pub(super) fn run(mut self, mut step: impl FnMut(&mut Self) -> Next) {
        loop {
            let next = JoinError::attempt(|| step(&mut self)).unwrap_or_else(|error| {
                self.report(&error, false);
                Next::Pause
            });
            match next {
                Next::Step => {}
                Next::Pause => {
                    time::sleep(self.pause);
                    self.pause = (2 * self.pause).min(PAUSE.1);
                }
                Next::End => return,
            }
        }
    }

    /// Something is served: what fails now fails anew.
    pub(super) fn served(&mut self) -> Next {
        self.pause = PAUSE.0;
        self.told.clear();
        Next::Step
    }

    /// Tells of an error, unless it was told. Where nothing unwinds, a cancel comes as one, and is none.
    pub(super) fn failed(&mut self, error: &io::Error) {
        let what = error.raw_os_error().ok_or_else(|| error.kind());
        if !self.told.contains(&what) && !task::ends_by_cancel() {
            self.told.push(what);
            self.report(error, false);
        }
    }

    /// Tells of the error that ends the course.
    pub(super) fn ended(&self, error: &io::Error) {
        self.report(error, true);
    }

    #[cold]
    fn report(&self, error: &(dyn Error + 'static), has_ended: bool) {
        report(&Report::ServerFailed { name: self.name, error, has_ended });
    }
}
