//! A crowd of tasks that wait for ever, and a shutdown that unwinds them all.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use osier::{Runtime, task, yield_now};

/// How long a hundred thousand of them may take.
const LIMIT: Duration = Duration::from_secs(5);

/// Counts its drops.
struct Unwound(Arc<AtomicU64>);

impl Drop for Unwound {
    fn drop(&mut self) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }
}

/// Suspends `count` tasks, shuts their runtime down, and returns how long that took.
///
/// # Panics
/// If one of them was not unwound, or it took longer than five seconds for each hundred thousand.
pub(crate) fn unwind(count: u64) -> Duration {
    let runtime = Runtime::builder().workers(2).build().expect("two threads are to be had");
    let (begun, unwound) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicU64::new(0)));
    runtime.run(|| {
        for _ in 0..count {
            let (begun, unwinds) = (begun.clone(), Unwound(unwound.clone()));
            drop(runtime.spawn(move || {
                let _unwinds = unwinds;
                begun.fetch_add(1, Ordering::Relaxed);
                loop {
                    task::park();
                }
            }));
        }
        while begun.load(Ordering::Relaxed) < count {
            yield_now();
        }
    });
    let began = Instant::now();
    runtime.shutdown(Duration::MAX).expect("nobody holds a worker");
    let time = began.elapsed();
    assert_eq!(unwound.load(Ordering::Relaxed), count);
    assert!(time < LIMIT * u32::try_from(count.div_ceil(100_000)).unwrap_or(u32::MAX), "{time:?}");
    time
}
