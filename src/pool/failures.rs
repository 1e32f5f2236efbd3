//! The failures of a group's members, until somebody is told of them.
//!
//! A member's failure is for whoever asks first: the join of its handle, `apply` or `map`, a link; then it is told. Whoever
//! joins the group gets the earliest of those that nobody was told; the next join looks at later ones only. That a failure
//! was reported when its handle was dropped is not told: nobody has received it.
//!
//! # Invariants
//! - Of failures whose handles are gone only the earliest is kept for long, so that a group which nobody joins does not
//!   grow: what lies here is bounded by the handles that are still held. A group that sees to the failures itself, at its
//!   end, keeps all that nobody was told.

use crate::exception::{Report, report};
use crate::task::{JoinError, Task};

/// See the module's page.
pub(super) struct Failures {
    list: Vec<Failure>,
    /// At this length the list is looked through for what need not be kept.
    limit: usize,
    /// Whether the group sees to the failures: then they are not reported when a handle goes.
    keeps_all: bool,
}

/// That a member has failed.
pub(super) struct Failure {
    /// Among all failures of the process.
    number: u64,
    error: JoinError,
    task: Task,
    /// Whether a join of the group has seen it.
    was_seen: bool,
}

impl Failures {
    const FEW: usize = 16;

    pub(super) fn new(keeps_all: bool) -> Self {
        Self { list: Vec::new(), limit: Self::FEW, keeps_all }
    }

    /// Notes the failure of a member that has ended, if it is one. Gives back what need not be kept any more, to be dropped
    /// after unlocking.
    pub(super) fn note(&mut self, task: &Task) -> Vec<Failure> {
        let failure = task.raw().failure().filter(|(_, error)| !error.is_cancelled());
        let Some((number, error)) = failure else { return Vec::new() };
        if self.keeps_all {
            task.raw().keep_failure();
        }
        self.list.push(Failure { number, error, task: task.clone(), was_seen: false });
        if self.list.len() < self.limit {
            return Vec::new();
        }
        let superfluous = self.extract_superfluous();
        self.limit = 2 * self.list.len() + Self::FEW;
        superfluous
    }

    /// Takes the earliest that nobody was told, for a join of the group; and what need not be kept any more, to be dropped
    /// after unlocking.
    pub(super) fn join(&mut self) -> (Option<Failure>, Vec<Failure>) {
        let mut superfluous = self.extract_told();
        let new = self.list.iter().enumerate().filter(|(_, failure)| !failure.was_seen);
        let earliest = new.min_by_key(|(_, failure)| failure.number).map(|(place, _)| place);
        let failure = earliest.map(|place| self.list.swap_remove(place));
        self.list.iter_mut().for_each(|failure| failure.was_seen = true);
        if !self.keeps_all {
            superfluous.append(&mut self.list);
        }
        (failure, superfluous)
    }

    /// Takes out what somebody was told meanwhile.
    fn extract_told(&mut self) -> Vec<Failure> {
        self.list.extract_if(.., |failure| failure.is_told()).collect()
    }

    fn extract_superfluous(&mut self) -> Vec<Failure> {
        let mut superfluous = self.extract_told();
        let gone = self.list.iter().filter(|failure| failure.is_detached());
        if let Some(earliest) = gone.map(|failure| failure.number).min().filter(|_| !self.keeps_all) {
            superfluous.extend(self.list.extract_if(.., |failure| failure.number > earliest && failure.is_detached()));
        }
        superfluous
    }

    pub(super) fn take_all(&mut self) -> Vec<Failure> {
        std::mem::take(&mut self.list)
    }

    /// Of failures that were kept, and that nobody was told: gives the earliest, and reports the others, or all. One whose
    /// handle is still held is left to that.
    pub(super) fn raise_earliest(mut failures: Vec<Failure>, reports_all: bool) -> Option<JoinError> {
        failures.retain(|failure| failure.task.raw().take_kept_failure());
        failures.sort_by_key(|failure| failure.number);
        let reported = failures.split_off(if reports_all { 0 } else { failures.len().min(1) });
        for failure in &reported {
            report(&Report::Unjoined { name: failure.task.name(), error: &failure.error });
        }
        failures.pop().map(|failure| failure.error)
    }
}

impl Failure {
    fn is_told(&self) -> bool {
        self.task.raw().is_told()
    }

    /// Whether the member's handle is gone, so that nobody will join it.
    fn is_detached(&self) -> bool {
        self.task.raw().is_detached()
    }

    /// The error, for somebody who is told of it.
    pub(super) fn tell(self) -> JoinError {
        self.task.raw().observe();
        self.error
    }
}
