//! Ticks at equal distances.

use std::time::{Duration, Instant};

use super::sleep_until;
use crate::coroutine::current;
use crate::task::spend;

/// What an [`Interval`] does about ticks that nobody waited for in time.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum MissedTickBehavior {
    /// Makes up for them: they come one after the other without a wait, until the schedule is caught up with.
    ///
    /// ```text
    /// schedule  |     |     |     |     |     |
    /// ticks     |     |  work     ||    |     |
    /// ```
    #[default]
    Burst,
    /// Begins a new schedule with the late tick: from then on a whole period lies between two ticks.
    ///
    /// ```text
    /// schedule  |     |     |     |     |     |
    /// ticks     |     |  work       |     |     |
    /// ```
    Delay,
    /// Leaves them out: after the late tick comes the next one of the schedule.
    ///
    /// ```text
    /// schedule  |     |     |     |     |     |
    /// ticks     |     |  work       |   |     |
    /// ```
    Skip,
}

/// Ticks at equal distances: see [`interval`].
#[derive(Clone, Debug)]
#[must_use = "an interval does nothing until `tick` is called"]
pub struct Interval {
    /// When the next tick is due; `None` if that is never.
    next: Option<Instant>,
    period: Duration,
    missed: MissedTickBehavior,
}

/// Makes an interval whose first tick is due at once, and then one every `period`.
///
/// Ticks follow a schedule and do not drift: what is done between two of them takes nothing away from the next. What
/// happens when it takes longer than a period, [`MissedTickBehavior`] says.
///
/// # Panics
/// If `period` is zero.
///
/// # Examples
/// ```
/// use osier::time::interval;
/// use std::time::{Duration, Instant};
///
/// osier::run(|| {
///     let began = Instant::now();
///     let mut ticks = interval(Duration::from_millis(5));
///     for _ in 0..4 {
///         ticks.tick();
///     }
///     assert!(began.elapsed() >= Duration::from_millis(15));
/// });
/// ```
pub fn interval(period: Duration) -> Interval {
    interval_at(current::now(), period)
}

/// Makes an interval whose first tick is due at `start`, and then one every `period`.
///
/// # Panics
/// If `period` is zero.
pub fn interval_at(start: Instant, period: Duration) -> Interval {
    assert!(!period.is_zero(), "an interval's period must not be zero");
    Interval { next: Some(start), period, missed: MissedTickBehavior::default() }
}

impl Interval {
    /// Waits for the next tick, and returns when it was due.
    ///
    /// # Suspends
    /// Until then, as [`sleep_until`] does. A tick that is due already returns at once.
    ///
    /// # Cancel safety
    /// A tick whose wait was interrupted is still to come.
    pub fn tick(&mut self) -> Instant {
        let Some(due) = self.next else {
            super::sleep(Duration::MAX);
            unreachable!("for ever is not over")
        };
        if due > current::now() {
            sleep_until(due);
        } else {
            spend();
        }
        self.next = self.after(due, current::now());
        due
    }

    /// When the tick after the one that was due at `due` comes, which is taken at `now`.
    fn after(&self, due: Instant, now: Instant) -> Option<Instant> {
        let next = due.checked_add(self.period)?;
        if next > now {
            return Some(next);
        }
        match self.missed {
            MissedTickBehavior::Burst => Some(next),
            MissedTickBehavior::Delay => now.checked_add(self.period),
            MissedTickBehavior::Skip => {
                let nanos = |d: Duration| d.as_nanos();
                let into = nanos(now - due) % nanos(self.period);
                let left = nanos(self.period) - into;
                now.checked_add(Duration::from_nanos(u64::try_from(left).unwrap_or(u64::MAX)))
            }
        }
    }

    /// Sets what happens to ticks that nobody waits for in time; at first they come in a [burst](MissedTickBehavior::Burst).
    pub fn set_missed_tick_behavior(&mut self, behavior: MissedTickBehavior) {
        self.missed = behavior;
    }

    /// What happens to ticks that nobody waits for in time.
    pub fn missed_tick_behavior(&self) -> MissedTickBehavior {
        self.missed
    }

    /// Begins a new schedule now: the next tick is due after one period.
    pub fn reset(&mut self) {
        self.reset_after(self.period);
    }

    /// Begins a new schedule now, whose first tick is due at once.
    pub fn reset_immediately(&mut self) {
        self.reset_at(current::now());
    }

    /// Begins a new schedule, whose first tick is due after `d`.
    pub fn reset_after(&mut self, d: Duration) {
        self.next = current::now().checked_add(d);
    }

    /// Begins a new schedule, whose first tick is due at `deadline`.
    ///
    /// # Examples
    /// ```
    /// use osier::time::interval;
    /// use std::time::{Duration, Instant};
    ///
    /// let mut ticks = interval(Duration::from_secs(3600));
    /// let soon = Instant::now() + Duration::from_millis(5);
    /// ticks.reset_at(soon);
    /// assert_eq!(ticks.tick(), soon);
    /// ```
    pub fn reset_at(&mut self, deadline: Instant) {
        self.next = Some(deadline);
    }

    /// The time between two ticks.
    pub fn period(&self) -> Duration {
        self.period
    }
}

/// The ticks, for ever: `next` waits.
impl Iterator for Interval {
    type Item = Instant;

    fn next(&mut self) -> Option<Instant> {
        Some(self.tick())
    }
}

#[cfg(all(test, not(osier_loom)))]
mod tests {
    use super::*;

    /// When ticks come, in milliseconds, if the second one is taken at 25 and each other one in time.
    fn ticks(behavior: MissedTickBehavior) -> Vec<Duration> {
        let start = Instant::now();
        let mut interval = interval_at(start, Duration::from_millis(10));
        interval.set_missed_tick_behavior(behavior);
        let mut due = start;
        let mut taken = Vec::<Duration>::new();
        for late in [0, 15, 0, 0, 0] {
            let now = due.max(start + taken.last().copied().unwrap_or_default()) + Duration::from_millis(late);
            taken.push(now - start);
            due = interval.after(due, now).unwrap();
        }
        taken
    }

    #[test]
    fn missed_ticks_come_in_a_burst_later_or_not_at_all() {
        assert_eq!(ticks(MissedTickBehavior::Burst), [0, 25, 25, 30, 40].map(Duration::from_millis));
        assert_eq!(ticks(MissedTickBehavior::Delay), [0, 25, 35, 45, 55].map(Duration::from_millis));
        assert_eq!(ticks(MissedTickBehavior::Skip), [0, 25, 30, 40, 50].map(Duration::from_millis));
    }
}
