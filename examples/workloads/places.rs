//! Tasks on workers that are told apart for sure.

use osier::sync::{Event, channel};
use osier::task::{self, Builder, Place, Task};
use osier::{JoinHandle, spawn};

use crate::Failure;
use crate::args::Params;

/// Where tasks go: beside tasks that sleep, one on each worker that is to be used.
pub(crate) struct Places {
    anchors: Vec<Task>,
    end: Event,
}

impl Places {
    /// No anchors for `place=auto`, one for `same`, one on each worker for `apart`.
    pub(crate) fn of(params: &Params) -> Result<Self, Failure> {
        let wanted = match params.word("place") {
            "auto" => 0,
            "same" => 1,
            _ => params.size("threads"),
        };
        if params.word("place") == "apart" && wanted < 2 {
            return Err(Failure::Unsupported("one worker has no two places: place=apart".to_owned()));
        }
        Self::on(wanted)
    }

    /// Anchors on so many workers.
    pub(crate) fn on(wanted: usize) -> Result<Self, Failure> {
        let mut places = Self { anchors: Vec::new(), end: Event::new() };
        let mut workers = Vec::new();
        // The runtime is asked to spread them, but promises nothing: those that come too many just sleep.
        for _ in 0..10_000 {
            if places.anchors.len() == wanted {
                return Ok(places);
            }
            let (tell, worker) = channel::oneshot();
            let end = places.end.clone();
            let anchor = Builder::new().place(Place::Spread).spawn(move || {
                let _ = tell.send(task::worker());
                end.wait();
            });
            let worker = worker.recv().map_err(|_| Failure::Wrong("a task did not start".to_owned()))?;
            if !workers.contains(&worker) {
                workers.push(worker);
                places.anchors.push(anchor.task());
            }
        }
        Err(Failure::Wrong("the tasks are never spread over all workers".to_owned()))
    }

    /// Spawns the task number `index`.
    pub(crate) fn spawn<T: Send + 'static>(
        &self,
        index: usize,
        body: impl FnOnce() -> T + Send + 'static,
    ) -> JoinHandle<T> {
        match self.anchors.len() {
            0 => spawn(body),
            count => Builder::new().place(Place::Beside(&self.anchors[index % count])).spawn(body),
        }
    }
}

impl Drop for Places {
    fn drop(&mut self) {
        self.end.set();
    }
}
