//! What many wait for at once: conditions, events, barriers, results.

use std::sync::Arc;
use std::time::Duration;

use osier::sync::{self, AsyncResult};

use super::{Line, Model, Operation, Said, Saying};

pub(super) struct Condvar {
    pair: Arc<(sync::Mutex<()>, sync::Condvar)>,
    waiting: Line<()>,
    /// How many have been notified of those who waited first.
    notified: usize,
}

impl Condvar {
    pub(super) fn new() -> Self {
        Self { pair: Arc::default(), waiting: Line::new(), notified: 0 }
    }
}

impl Model for Condvar {
    fn begin(&mut self, number: usize, kind: u8, _n: u32, patience: Option<Duration>) -> Option<Operation> {
        match kind {
            2 => {
                self.pair.1.notify_one();
                self.notified = self.waiting.0.len().min(1);
                return None;
            }
            3 => {
                self.pair.1.notify_all();
                self.notified = self.waiting.0.len();
                return None;
            }
            _ => self.waiting.enter(number, ()),
        }
        let pair = self.pair.clone();
        Some(Box::new(move |say| {
            let (mutex, condvar) = &*pair;
            let is_late = match patience {
                None => {
                    drop(condvar.wait(mutex.lock()));
                    false
                }
                Some(patience) => condvar.wait_timeout(mutex.lock(), patience).1.timed_out(),
            };
            say(if is_late { Said::Late } else { Said::Done });
        }))
    }

    fn serve(&mut self) -> Vec<Saying> {
        let notified = self.waiting.0.drain(..std::mem::take(&mut self.notified));
        notified.map(|(number, ())| (number, Said::Done)).collect()
    }

    fn waiting(&self) -> Vec<usize> {
        self.waiting.numbers().collect()
    }

    fn leave(&mut self, number: usize) {
        self.waiting.leave(number);
    }
}

pub(super) struct Event {
    event: sync::Event,
    is_set: bool,
    waiting: Line<()>,
}

impl Event {
    pub(super) fn new() -> Self {
        Self { event: sync::Event::new(), is_set: false, waiting: Line::new() }
    }
}

impl Model for Event {
    fn begin(&mut self, number: usize, kind: u8, _n: u32, patience: Option<Duration>) -> Option<Operation> {
        let event = self.event.clone();
        match kind {
            2 => event.set(),
            3 => event.clear(),
            _ => {
                self.waiting.enter(number, ());
                return Some(Box::new(move |say| {
                    let is_set = match patience {
                        None => {
                            event.wait();
                            true
                        }
                        Some(patience) => event.wait_timeout(patience),
                    };
                    say(if is_set { Said::Done } else { Said::Late });
                }));
            }
        }
        self.is_set = kind == 2;
        None
    }

    fn serve(&mut self) -> Vec<Saying> {
        let next = if self.is_set { self.waiting.first() } else { None };
        next.map(|(number, ())| (number, Said::Done)).into_iter().collect()
    }

    fn waiting(&self) -> Vec<usize> {
        self.waiting.numbers().collect()
    }

    fn leave(&mut self, number: usize) {
        self.waiting.leave(number);
    }

    fn compare(&self) {
        assert_eq!(self.event.is_set(), self.is_set);
    }
}

pub(super) struct Barrier {
    barrier: sync::Barrier,
    parties: usize,
    is_broken: bool,
    waiting: Line<()>,
    /// Those whose round was ended by somebody else.
    refused: Vec<usize>,
}

impl Barrier {
    pub(super) fn new(parties: usize) -> Self {
        let barrier = sync::Barrier::new(parties);
        Self { barrier, parties, is_broken: false, waiting: Line::new(), refused: Vec::new() }
    }

    fn end(&mut self, is_broken: bool) {
        self.is_broken = is_broken;
        self.refused.extend(self.waiting.0.drain(..).map(|(number, ())| number));
    }
}

impl Model for Barrier {
    fn begin(&mut self, number: usize, kind: u8, n: u32, patience: Option<Duration>) -> Option<Operation> {
        match (kind, n) {
            (3, 0) => {
                self.barrier.abort();
                self.end(true);
                return None;
            }
            (3, _) => {
                self.barrier.reset();
                self.end(false);
                return None;
            }
            _ if self.is_broken => self.refused.push(number),
            _ => self.waiting.enter(number, ()),
        }
        let barrier = self.barrier.clone();
        Some(Box::new(move |say| {
            let place = match patience {
                None => barrier.wait(),
                Some(patience) => barrier.wait_timeout(patience),
            };
            say(place.map_or(Said::Refused, |place| Said::Value(u32::try_from(place).unwrap())));
        }))
    }

    fn serve(&mut self) -> Vec<Saying> {
        let mut said: Vec<_> = self.refused.drain(..).map(|number| (number, Said::Refused)).collect();
        if self.waiting.0.len() == self.parties {
            let round = self.waiting.0.drain(..).zip(0..);
            said.extend(round.map(|((number, ()), place)| (number, Said::Value(place))));
        }
        said
    }

    fn waiting(&self) -> Vec<usize> {
        self.waiting.numbers().collect()
    }

    fn leave(&mut self, number: usize) {
        self.waiting.leave(number);
    }

    fn late(&mut self, number: usize) -> Said {
        self.waiting.leave(number);
        self.end(true);
        Said::Refused
    }

    fn compare(&self) {
        let now = (self.barrier.waiting(), self.barrier.is_broken());
        assert_eq!(now, (self.waiting.0.len(), self.is_broken));
    }
}

/// Results that are set once, to a value or an exception.
pub(super) struct Results {
    results: [AsyncResult<u32>; 4],
    set: [Option<Result<u32, ()>>; 4],
    /// Which result, and whether its value is wanted.
    waiting: Line<(usize, bool)>,
}

impl Results {
    pub(super) fn new() -> Self {
        Self { results: [(); 4].map(|()| AsyncResult::new()), set: [None; 4], waiting: Line::new() }
    }
}

impl Model for Results {
    fn begin(&mut self, number: usize, kind: u8, n: u32, patience: Option<Duration>) -> Option<Operation> {
        let (at, result) = (n as usize, self.results[n as usize].clone());
        if kind < 2 {
            self.waiting.enter(number, (at, kind == 1));
            return Some(Box::new(move |say| {
                let was_set = match patience {
                    None => {
                        result.wait();
                        true
                    }
                    Some(patience) if kind == 0 => result.wait_timeout(patience),
                    Some(patience) => !result.get_timeout(patience).is_err_and(|error| error.is_timeout()),
                };
                say(match (was_set, kind) {
                    (false, _) => Said::Late,
                    (true, 0) => Said::Done,
                    (true, _) => result.get().map_or(Said::Refused, Said::Value),
                });
            }));
        }
        let value = u32::try_from(number).unwrap();
        let (set, outcome) = match kind {
            2 => (result.set(value).is_ok(), Ok(value)),
            _ => (result.set_exception(std::fmt::Error).is_ok(), Err(())),
        };
        assert_eq!(set, self.set[at].is_none());
        self.set[at].get_or_insert(outcome);
        None
    }

    fn serve(&mut self) -> Vec<Saying> {
        let mut said = Vec::new();
        self.waiting.0.retain(|&(number, (at, wants_value))| {
            let Some(outcome) = self.set[at] else { return true };
            said.push((number, if wants_value { outcome.map_or(Said::Refused, Said::Value) } else { Said::Done }));
            false
        });
        said
    }

    fn waiting(&self) -> Vec<usize> {
        self.waiting.numbers().collect()
    }

    fn leave(&mut self, number: usize) {
        self.waiting.leave(number);
    }
}
