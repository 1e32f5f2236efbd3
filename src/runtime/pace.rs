//! How often a loop looks at the clock, when its turns are sometimes short and sometimes long.

use std::time::Duration;

/// After how many turns to look again: as many as fit into `wanted`, by how long the last `step` turns took, and `most` at
/// most. It falls at once and grows by doubling, for one short turn says little.
pub(crate) fn fitting_step(step: u32, elapsed: Duration, wanted: Duration, most: u32) -> u32 {
    let fitting = u128::from(step) * wanted.as_nanos() / elapsed.as_nanos().max(1);
    u32::try_from(fitting).unwrap_or(most).clamp(1, most).min(step * 2)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_falls_at_once_and_grows_by_doubling() {
        let us = Duration::from_micros;
        assert_eq!(fitting_step(60, us(6_000), us(500), 61), 5);
        assert_eq!(fitting_step(5, us(1), us(500), 61), 10);
        assert_eq!(fitting_step(1, us(50_000), us(500), 61), 1);
        assert_eq!(fitting_step(61, us(0), us(500), 61), 61);
    }
}
