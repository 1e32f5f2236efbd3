//! What the system says of a thread's time: how long it has run, and how long it has waited for a core.
//!
//! On Linux, from `/proc`. Where that has nothing to say, a thread counts as having had a core, or as having blocked, all the
//! time.

use std::time::Duration;

/// What was known of a thread at one time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct ThreadTimes {
    /// How long it has had a core.
    pub(super) ran: Duration,
    /// How long it had to wait for one; a wait counts when it is over.
    pub(super) waited: Duration,
    /// What it does.
    pub(super) state: ThreadState,
}

#[cfg_attr(not(target_os = "linux"), allow(dead_code, reason = "other systems say nothing of it"))]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ThreadState {
    /// It runs, or wants to.
    Runs,
    /// It blocks in a call of the system's.
    Blocks,
    /// It was stopped, with its process or by a debugger.
    IsStopped,
}

impl ThreadTimes {
    /// Of `elapsed`, which has passed since `before` was known: for how long it computed or blocked. What it spent without the
    /// core it wanted is not its own doing.
    pub(super) fn held_since(self, before: Self, elapsed: Duration) -> Duration {
        let ran = self.ran.saturating_sub(before.ran).min(elapsed);
        match self.state {
            // The wait that it may be in is not counted yet.
            ThreadState::Runs => ran,
            ThreadState::Blocks => elapsed.saturating_sub(self.waited.saturating_sub(before.waited)).max(ran),
            ThreadState::IsStopped => Duration::ZERO,
        }
    }
}

pub(super) use imp::ThreadId;

#[cfg(target_os = "linux")]
mod imp {
    use super::{ThreadState, ThreadTimes};
    use std::sync::atomic::{AtomicI32, Ordering};
    use std::time::Duration;

    /// A thread's number, or 0.
    #[derive(Debug, Default)]
    pub(in super::super) struct ThreadId(AtomicI32);

    impl ThreadId {
        pub(in super::super) fn set_current(&self) {
            // SAFETY: the call takes and touches nothing.
            self.0.store(unsafe { libc::gettid() }, Ordering::Relaxed);
        }

        /// What the system says of it now.
        pub(in super::super) fn times(&self) -> Option<ThreadTimes> {
            if cfg!(miri) {
                return None;
            }
            let folder = format!("/proc/self/task/{}", self.0.load(Ordering::Relaxed));
            let stat = std::fs::read_to_string(format!("{folder}/stat")).ok()?;
            let schedstat = std::fs::read_to_string(format!("{folder}/schedstat")).ok()?;
            parse(&stat, &schedstat)
        }
    }

    /// The state comes after the thread's name, which stands in parentheses and may contain some.
    fn parse(stat: &str, schedstat: &str) -> Option<ThreadTimes> {
        let state = match stat.rsplit_once(") ")?.1.chars().next()? {
            'R' => ThreadState::Runs,
            'T' | 't' => ThreadState::IsStopped,
            _ => ThreadState::Blocks,
        };
        let mut nanoseconds = schedstat.split_ascii_whitespace().map(|number| number.parse().ok());
        let mut next = || nanoseconds.next()?.map(Duration::from_nanos);
        Some(ThreadTimes { ran: next()?, waited: next()?, state })
    }

    #[cfg(all(test, not(osier_loom)))]
    mod tests {
        use super::*;

        #[test]
        fn what_the_system_says_is_read() {
            let times = parse("12 (a) b) R 1 2 3", "1500 2500 7\n").unwrap();
            let nanoseconds = Duration::from_nanos;
            let expected = ThreadTimes { ran: nanoseconds(1500), waited: nanoseconds(2500), state: ThreadState::Runs };
            assert_eq!(times, expected);
            assert_eq!(parse("12 (a) S 1", "1 2 3").unwrap().state, ThreadState::Blocks);
            assert_eq!(parse("", ""), None);
            let this = ThreadId::default();
            assert_eq!(this.times(), None, "of no thread");
            this.set_current();
            assert!(cfg!(miri) || this.times().is_some_and(|times| times.state == ThreadState::Runs));
        }
    }
}

#[cfg(not(target_os = "linux"))]
mod imp {
    use super::ThreadTimes;

    /// Nothing is known of it.
    #[derive(Debug, Default)]
    pub(in super::super) struct ThreadId(());

    impl ThreadId {
        pub(in super::super) fn set_current(&self) {}

        pub(in super::super) fn times(&self) -> Option<ThreadTimes> {
            None
        }
    }
}

#[cfg(all(test, not(osier_loom)))]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    fn times(ran: u32, waited: u32, state: ThreadState) -> ThreadTimes {
        ThreadTimes { ran: ran * MS, waited: waited * MS, state }
    }

    #[test]
    fn who_waits_for_a_core_holds_nothing() {
        let before = times(100, 50, ThreadState::Runs);
        let held = |after: ThreadTimes| after.held_since(before, 25 * MS);
        assert_eq!(held(times(125, 50, ThreadState::Runs)), 25 * MS, "it computed");
        assert_eq!(held(times(100, 50, ThreadState::Runs)), Duration::ZERO, "it had no core");
        assert_eq!(held(times(104, 71, ThreadState::Runs)), 4 * MS, "it had one for a while");
        assert_eq!(held(times(100, 50, ThreadState::Blocks)), 25 * MS, "it blocked");
        assert_eq!(held(times(101, 70, ThreadState::Blocks)), 5 * MS, "it blocked, when it had had a core");
        assert_eq!(held(times(100, 50, ThreadState::IsStopped)), Duration::ZERO, "the process was stopped");
    }
}
