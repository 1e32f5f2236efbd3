//! What a task costs that waits: memory, page tables, mappings.
//!
//! The tasks wait in `recv` of one channel on which nothing is ever sent; closing it releases them all.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use osier::spawn;
use osier::sync::channel;

use crate::Failure;
use crate::args::Params;
use crate::line::memory::{Memory, Parked};
use crate::measure::{Report, Sample, check, timed};
use crate::tasks::{on_workers, value_of};

/// One repetition; tells `parked` what it found.
fn round(n: u64, parked: &mut Parked) -> Result<Sample, Failure> {
    let (event, waiters) = channel::bounded::<()>(1);
    let (last_parks, all_park) = channel::bounded(1);
    let waiting = Arc::new(AtomicU64::new(0));
    let (creation, handles) = timed(|| {
        let task = |_| {
            let (waiters, waiting, last_parks) = (waiters.clone(), waiting.clone(), last_parks.clone());
            spawn(move || {
                // Relaxed: only the count itself is of interest, and `send` tells the rest.
                if waiting.fetch_add(1, Ordering::Relaxed) + 1 == n {
                    last_parks.send(()).expect("whoever spawns waits for this");
                }
                drop((waiting, last_parks));
                waiters.recv().is_err()
            })
        };
        let handles: Vec<_> = (0..n).map(task).collect();
        // The last ones, one a worker, may still be on their way into `recv`.
        all_park.recv().map_err(|_| Failure::Wrong("not every task began".to_owned()))?;
        Ok(handles)
    });
    let handles = handles?;
    let memory = Memory::now()?;
    let (release, released) = timed(|| {
        drop(event);
        handles.into_iter().map(|handle| Ok(u64::from(value_of(handle)?))).sum::<Result<u64, _>>()
    });
    check("tasks released by closing", released?, n)?;
    parked.push(creation, memory, release);
    Ok(creation)
}

pub(crate) fn idle_mem(params: &Params) -> Result<Report, Failure> {
    let n = params.number("n");
    on_workers(params, || {
        let mut parked = Parked::begin()?;
        let report = Report::of(params, n, |tasks| round(tasks, &mut parked))?;
        Ok(parked.add_to(report, n))
    })
}
