//! The work itself, where it must be the same whoever does it.

use std::time::Duration;

/// How many of `n` operations one of `parts` does.
pub(crate) fn share(n: u64, part: u64, parts: u64) -> u64 {
    n * (part + 1) / parts - n * part / parts
}

/// A chain of multiplications that no compiler takes apart, 1 to 2 ns a step.
pub(crate) fn compute(seed: u64, steps: u64) -> u64 {
    (0..steps).fold(seed, |x, _| (x ^ (x >> 29)).wrapping_mul(0x9E37_79B9_7F4A_7C15))
}

/// What computing begins with.
pub(crate) const SEED: u64 = 42;

/// For how long the task with this number sleeps: something below a second, always the same.
pub(crate) fn nap(number: u64) -> Duration {
    Duration::from_nanos(number.wrapping_mul(0x9e37_79b9_7f4a_7c15) % 1_000_000_000)
}

/// The `k`th Fibonacci number, by adding up.
pub(crate) fn fib_by_sums(k: u64) -> u64 {
    (0..k).fold((0, 1), |(a, b), _| (b, a + b)).0
}

/// How many calls of `fib(k)` split up: one less than the next Fibonacci number.
pub(crate) fn fib_calls(k: u64) -> u64 {
    (fib_by_sums(k + 1) - 1).max(1)
}

/// The Fibonacci number that is computed for so many calls: `k`, or in the warm-up the one with a tenth of its calls.
pub(crate) fn fib_index(calls: u64, k: u64) -> u64 {
    if calls < fib_calls(k) { k.saturating_sub(5) } else { k }
}

/// The branches of a skynet node over the leaves `first` and the next ones, `size` of them: the first leaf of each, and
/// how many there are. Some of the lowest may have none.
pub(crate) fn branches(first: u64, size: u64) -> [(u64, u64); 10] {
    std::array::from_fn(|i| (first + size * i as u64 / 10, share(size, i as u64, 10)))
}

/// The highest number that each of the tasks in a ring has had when `n` messages were received.
pub(crate) fn highest_in_ring(n: u64, tasks: u64) -> Vec<u64> {
    (0..tasks).map(|task| if task < n { n - (n - 1 - task) % tasks } else { 0 }).collect()
}

/// The sum of the numbers below `n`.
pub(crate) fn sum_below(n: u64) -> u64 {
    n * n.saturating_sub(1) / 2
}

/// Lets the calling thread's sleeps end when they are due. The kernel adds up to 50 µs otherwise, to wake threads together.
pub(crate) fn wake_sharply() {
    #[cfg(target_os = "linux")]
    // SAFETY: the call takes a number and touches no memory of ours.
    let _ = unsafe { libc::prctl(libc::PR_SET_TIMERSLACK, 1_u64) };
}
