//! How much a program does at a time: so much that starting it does not count.
//!
//! Systems differ by factors of thousands, so no number of operations is right for all. What an operation takes does not depend on
//! it where a row says that it is fitted.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::cell::{Why, number};
use crate::rows::Size;

/// What a program is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Work {
    /// Operations in a repetition; none for the workload's own number of them.
    pub(crate) n: Option<u64>,
    pub(crate) reps: u64,
}

/// What it begins with where that is fitted: some milliseconds even for threads.
const FEW: u64 = 1_000;
/// Below this, what was measured says little about how long more of it takes.
const SHORT: f64 = 10e6;
/// More are not needed, however short they are.
const MOST_REPS: f64 = 50.0;

/// Finds out how much, and keeps it for the next rounds.
pub(crate) struct Fits {
    /// How long a turn should take; almost nothing otherwise.
    length: Option<Duration>,
    /// What given numbers of operations are multiplied with, and divided by.
    factor: (u64, u64),
    /// By row and program.
    found: BTreeMap<(usize, usize), Work>,
}

impl Fits {
    pub(crate) fn new(length: Option<Duration>, factor: (u64, u64)) -> Self {
        Self { length, factor, found: BTreeMap::new() }
    }

    /// What one program does for one row; asks it if need be.
    ///
    /// # Errors
    /// It does not do it.
    pub(crate) fn of(
        &mut self,
        place: (usize, usize),
        size: Size,
        is_slow: bool,
        run: &impl Fn(Work) -> Result<String, Why>,
    ) -> Result<Work, Why> {
        let given = |n: u64, divisor: u64| {
            let divisor = if is_slow { divisor } else { 1 };
            (n > 0).then(|| (n * self.factor.0 / divisor / self.factor.1).max(1))
        };
        if let Some(work) = self.found.get(&place) {
            return Ok(*work);
        }
        let work = match (size, self.length) {
            (Size::Once(n, divisor), _) => Work { n: given(n, divisor), reps: 1 },
            (Size::Fitted, None) => Work { n: Some(FEW), reps: 1 },
            (Size::Repeated(n, divisor), None) => Work { n: given(n, divisor), reps: 1 },
            (Size::Fitted, Some(length)) => fitted(length, run)?,
            // The tree is the same in every run, whatever its factor.
            (Size::Repeated(n, divisor), Some(length)) => {
                let n = (n > 0).then(|| if is_slow { n / divisor } else { n });
                repeated(Work { n, reps: 1 }, length, run)?
            }
        };
        self.found.insert(place, work);
        Ok(work)
    }
}

/// Nanoseconds of a repetition, as a program has said.
fn wall(said: &str) -> Result<f64, Why> {
    Ok(number(said, "ns_per_op")? * number(said, "n")?)
}

/// So many operations that a repetition takes this long.
fn fitted(length: Duration, run: &impl Fn(Work) -> Result<String, Why>) -> Result<Work, Why> {
    let length = length.as_nanos() as f64;
    let mut n = FEW as f64;
    loop {
        let took = wall(&run(Work { n: Some(n as u64), reps: 1 })?)?.max(1.0);
        let more = (length / took).min(100.0);
        if took >= SHORT || more <= 1.0 {
            return Ok(Work { n: Some((n * more).max(FEW as f64) as u64), reps: 1 });
        }
        // Not at once to its full length, for that was too short to tell.
        n *= more.min(2.0 * SHORT / took).max(2.0);
    }
}

/// So many repetitions of the same work.
fn repeated(work: Work, length: Duration, run: &impl Fn(Work) -> Result<String, Why>) -> Result<Work, Why> {
    let took = wall(&run(work)?)?.max(1.0);
    let reps = (length.as_nanos() as f64 / took).ceil().clamp(1.0, MOST_REPS);
    Ok(Work { reps: reps as u64, ..work })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A program that takes so many nanoseconds an operation, and as many to start.
    fn program(each: f64, start: f64) -> impl Fn(Work) -> Result<String, Why> {
        move |work| {
            let n = work.n.unwrap_or(100);
            Ok(format!("{{\"n\":{n},\"ns_per_op\":{}}}", each + start / n as f64))
        }
    }

    fn fit(size: Size, each: f64, start: f64) -> Work {
        let mut fits = Fits::new(Some(Duration::from_millis(200)), (1, 1));
        fits.of((0, 0), size, false, &program(each, start)).unwrap()
    }

    #[test]
    fn programs_run_long_enough_whatever_an_operation_takes() {
        for each in [1.0, 70.0, 5_000.0, 90_000.0] {
            let n = fit(Size::Fitted, each, 1e6).n.unwrap() as f64;
            assert!((150e6..=300e6).contains(&(n * each)), "{each} ns: {n} operations");
        }
        assert_eq!(fit(Size::Fitted, 1e9, 0.0).n, Some(FEW));
    }

    #[test]
    fn what_is_given_is_repeated() {
        assert_eq!(fit(Size::Repeated(1000, 1), 10_000.0, 0.0), Work { n: Some(1000), reps: 20 });
        assert_eq!(fit(Size::Repeated(0, 1), 1e9, 0.0), Work { n: None, reps: 1 });
        assert_eq!(fit(Size::Once(7, 1), 1.0, 0.0), Work { n: Some(7), reps: 1 });
    }
}
