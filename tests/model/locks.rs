//! Locks, which are held until another step lets go of them; permits.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use osier::sync::{self, channel};

use super::{Line, Model, Operation, Said, Saying};

/// Who holds a lock, and how each is told to let go.
struct Holders(BTreeMap<usize, channel::Sender<()>>);

impl Holders {
    fn new() -> Self {
        Self(BTreeMap::new())
    }

    /// A holder to be, and what it waits for before it lets go.
    fn add(&mut self, number: usize) -> channel::Receiver<()> {
        let (let_go, told) = channel::unbounded();
        self.0.insert(number, let_go);
        told
    }

    /// Lets the holder in that place among `holding` go.
    fn let_go(&mut self, holding: &mut Vec<usize>, place: u32) {
        if !holding.is_empty() {
            let number = holding.remove(place as usize % holding.len());
            self.0[&number].send(()).unwrap();
        }
    }
}

/// Says whether it has been locked, and holds the guard until it is told to let go.
fn hold<G>(guard: Option<G>, told: &channel::Receiver<()>, say: &dyn Fn(Said)) {
    say(if guard.is_some() { Said::Done } else { Said::Late });
    if guard.is_some() {
        _ = told.recv();
    }
}

pub(super) struct Mutex {
    mutex: Arc<sync::Mutex<()>>,
    holders: Holders,
    holding: Vec<usize>,
    waiting: Line<()>,
}

impl Mutex {
    pub(super) fn new() -> Self {
        Self { mutex: Arc::default(), holders: Holders::new(), holding: Vec::new(), waiting: Line::new() }
    }
}

impl Model for Mutex {
    fn begin(&mut self, number: usize, kind: u8, n: u32, patience: Option<Duration>) -> Option<Operation> {
        if kind > 1 {
            self.holders.let_go(&mut self.holding, n);
            return None;
        }
        self.waiting.enter(number, ());
        let (mutex, told) = (self.mutex.clone(), self.holders.add(number));
        Some(Box::new(move |say| match patience {
            None => hold(Some(mutex.lock()), &told, say),
            Some(patience) => hold(mutex.lock_timeout(patience), &told, say),
        }))
    }

    fn serve(&mut self) -> Vec<Saying> {
        let next = if self.holding.is_empty() { self.waiting.first() } else { None };
        self.holding.extend(next.map(|(number, ())| number));
        next.map(|(number, ())| (number, Said::Done)).into_iter().collect()
    }

    fn waiting(&self) -> Vec<usize> {
        self.waiting.numbers().collect()
    }

    fn leave(&mut self, number: usize) {
        self.waiting.leave(number);
    }

    fn compare(&self) {
        assert_eq!(self.mutex.is_locked(), !self.holding.is_empty());
    }
}

pub(super) struct RwLock {
    lock: Arc<sync::RwLock<()>>,
    holders: Holders,
    reading: Vec<usize>,
    writing: Vec<usize>,
    readers: Line<()>,
    writers: Line<()>,
}

impl RwLock {
    pub(super) fn new() -> Self {
        let (reading, writing) = (Vec::new(), Vec::new());
        let (readers, writers) = (Line::new(), Line::new());
        Self { lock: Arc::default(), holders: Holders::new(), reading, writing, readers, writers }
    }
}

impl Model for RwLock {
    fn begin(&mut self, number: usize, kind: u8, n: u32, patience: Option<Duration>) -> Option<Operation> {
        if kind > 1 {
            let holding = if self.writing.is_empty() { &mut self.reading } else { &mut self.writing };
            self.holders.let_go(holding, n);
            return None;
        }
        let (lock, told) = (self.lock.clone(), self.holders.add(number));
        if kind == 0 {
            self.readers.enter(number, ());
            return Some(Box::new(move |say| match patience {
                None => hold(Some(lock.read()), &told, say),
                Some(patience) => hold(lock.read_timeout(patience), &told, say),
            }));
        }
        self.writers.enter(number, ());
        Some(Box::new(move |say| match patience {
            None => hold(Some(lock.write()), &told, say),
            Some(patience) => hold(lock.write_timeout(patience), &told, say),
        }))
    }

    fn serve(&mut self) -> Vec<Saying> {
        if !self.writing.is_empty() {
            return Vec::new();
        }
        // Writers go first: while one waits, no reader gets in.
        let next = match self.writers.is_empty() {
            true => self.readers.first(),
            false if self.reading.is_empty() => self.writers.first().inspect(|&(number, ())| self.writing.push(number)),
            false => None,
        };
        let Some((number, ())) = next else { return Vec::new() };
        if self.writing.is_empty() {
            self.reading.push(number);
        }
        vec![(number, Said::Done)]
    }

    fn waiting(&self) -> Vec<usize> {
        self.writers.numbers().chain(self.readers.numbers()).collect()
    }

    fn leave(&mut self, number: usize) {
        self.readers.leave(number);
        self.writers.leave(number);
    }

    fn compare(&self) {
        let readable = self.writing.is_empty() && self.writers.is_empty();
        assert_eq!(self.lock.try_read().is_some(), readable);
        assert_eq!(self.lock.try_write().is_some(), readable && self.reading.is_empty());
    }
}

pub(super) struct Semaphore {
    semaphore: sync::Semaphore,
    permits: u32,
    takers: Line<u32>,
}

impl Semaphore {
    pub(super) fn new() -> Self {
        Self { semaphore: sync::Semaphore::new(2), permits: 2, takers: Line::new() }
    }
}

impl Model for Semaphore {
    fn begin(&mut self, number: usize, kind: u8, n: u32, patience: Option<Duration>) -> Option<Operation> {
        let (semaphore, n) = (self.semaphore.clone(), n.max(1));
        match kind {
            0 | 1 => {
                self.takers.enter(number, n);
                Some(Box::new(move |say| {
                    let taken = match patience {
                        None => {
                            semaphore.acquire_many(n as usize);
                            true
                        }
                        Some(patience) => semaphore.acquire_many_timeout(n as usize, patience),
                    };
                    say(if taken { Said::Done } else { Said::Late });
                }))
            }
            2 => {
                semaphore.release_many(n as usize);
                self.permits += n;
                None
            }
            _ => {
                // Nobody overtakes, not even one who would find enough.
                let fits = self.takers.is_empty() && self.permits >= n;
                assert_eq!(semaphore.try_acquire_many(n as usize), fits);
                self.permits -= if fits { n } else { 0 };
                None
            }
        }
    }

    fn serve(&mut self) -> Vec<Saying> {
        // First come, first served, also if those behind want less.
        match self.takers.0.front() {
            Some(&(number, n)) if n <= self.permits => {
                self.takers.first();
                self.permits -= n;
                vec![(number, Said::Done)]
            }
            _ => Vec::new(),
        }
    }

    fn waiting(&self) -> Vec<usize> {
        self.takers.numbers().collect()
    }

    fn leave(&mut self, number: usize) {
        self.takers.leave(number);
    }

    fn compare(&self) {
        assert_eq!(self.semaphore.available(), self.permits as usize);
    }
}
