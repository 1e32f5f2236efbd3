//! A histogram with a bounded relative error, whatever the values: buckets as wide as the values are large.
//!
//! Each power of two is cut into 128 buckets, so what is read back is at most 0.8 % above what was recorded. (`HdrHistogram`'s
//! layout.) Recording is a few instructions and never allocates, so that it does not disturb what it measures.

use std::fmt;
use std::time::Instant;

/// The base-two logarithm of the buckets in a power of two.
const CUT: u32 = 7;

/// How often which times were seen, in nanoseconds.
pub(crate) struct Histogram {
    /// Values below `2^CUT` have a bucket each; from there on, each power of two has `2^CUT` of them.
    counts: Vec<u64>,
    total: u64,
    most: u64,
}

impl Histogram {
    pub(crate) fn new() -> Self {
        Self { counts: vec![0; bucket_of(u64::MAX) + 1], total: 0, most: 0 }
    }

    pub(crate) fn record(&mut self, ns: u64) {
        self.counts[bucket_of(ns)] += 1;
        self.total += 1;
        self.most = self.most.max(ns);
    }

    /// Records how much time has passed since `due`: nothing if it is not due yet.
    pub(crate) fn record_since(&mut self, due: Instant) {
        self.record(u64::try_from(due.elapsed().as_nanos()).unwrap_or(u64::MAX));
    }

    /// Adds what another one has counted.
    pub(crate) fn add(&mut self, other: &Self) {
        for (count, more) in self.counts.iter_mut().zip(&other.counts) {
            *count += more;
        }
        self.total += other.total;
        self.most = self.most.max(other.most);
    }

    pub(crate) fn total(&self) -> u64 {
        self.total
    }

    pub(crate) fn most(&self) -> u64 {
        self.most
    }

    /// The value that this part of all values does not exceed: 0.5 is the median. 0 if there are none.
    pub(crate) fn quantile(&self, part: f64) -> u64 {
        let rank = (self.total as f64 * part).ceil().max(1.0);
        let mut seen = 0;
        for (bucket, count) in self.counts.iter().enumerate() {
            seen += count;
            if seen as f64 >= rank {
                return highest_in(bucket).min(self.most);
            }
        }
        self.most
    }
}

impl fmt::Debug for Histogram {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [p50, p99] = [0.5, 0.99].map(|part| self.quantile(part));
        f.debug_struct("Histogram").field("total", &self.total).field("p50", &p50).field("p99", &p99).finish()
    }
}

fn bucket_of(ns: u64) -> usize {
    // How far the value is shifted until only `CUT + 1` bits are left, the highest of which is set.
    let shift = (u64::BITS - ns.leading_zeros()).saturating_sub(CUT + 1);
    usize::try_from((u64::from(shift) << CUT) + (ns >> shift)).expect("there are some thousand buckets")
}

/// The highest value that falls into a bucket.
fn highest_in(bucket: usize) -> u64 {
    let bucket = bucket as u64;
    let shift = (bucket >> CUT).saturating_sub(1);
    let cut = bucket - (shift << CUT);
    (cut << shift) + ((1 << shift) - 1)
}
