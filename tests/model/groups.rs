//! Pools: tasks that get in, and those who wait for a place.

use std::time::Duration;

use osier::sync::channel;
use osier::{pool, spawn};

use super::{Line, Model, Operation, Said, Saying};

pub(super) struct Pool {
    pool: pool::Pool,
    size: usize,
    /// How each member is told to end.
    members: Vec<channel::Sender<()>>,
    /// Those who want to add a task.
    adders: Line<channel::Sender<()>>,
    /// Those who want to know of a place.
    watchers: Line<()>,
}

impl Pool {
    pub(super) fn new(size: usize) -> Self {
        let (adders, watchers) = (Line::new(), Line::new());
        Self { pool: pool::Pool::new(size), size, members: Vec::new(), adders, watchers }
    }
}

impl Model for Pool {
    fn begin(&mut self, number: usize, kind: u8, n: u32, patience: Option<Duration>) -> Option<Operation> {
        let pool = self.pool.clone();
        match kind {
            0 | 1 => {
                let (end, told) = channel::unbounded::<()>();
                self.adders.enter(number, end);
                Some(Box::new(move |say| {
                    let member = spawn(move || _ = told.recv()).task();
                    let is_in = match patience {
                        None => {
                            pool.add(&member);
                            true
                        }
                        Some(patience) => pool.add_timeout(&member, patience).is_ok(),
                    };
                    say(if is_in { Said::Done } else { Said::Late });
                }))
            }
            2 => {
                self.watchers.enter(number, ());
                Some(Box::new(move |say| {
                    let is_free = match patience {
                        None => {
                            pool.wait_free();
                            true
                        }
                        Some(patience) => pool.wait_free_timeout(patience),
                    };
                    say(if is_free { Said::Done } else { Said::Late });
                }))
            }
            _ => {
                if !self.members.is_empty() {
                    let member = self.members.remove(n as usize % self.members.len());
                    member.send(()).unwrap();
                }
                None
            }
        }
    }

    fn serve(&mut self) -> Vec<Saying> {
        if self.members.len() == self.size {
            return Vec::new();
        }
        if let Some((adder, member)) = self.adders.first() {
            self.members.push(member);
            return vec![(adder, Said::Done)];
        }
        std::mem::replace(&mut self.watchers, Line::new()).numbers().map(|number| (number, Said::Done)).collect()
    }

    fn waiting(&self) -> Vec<usize> {
        self.adders.numbers().chain(self.watchers.numbers()).collect()
    }

    fn leave(&mut self, number: usize) {
        self.adders.leave(number);
        self.watchers.leave(number);
    }

    fn compare(&self) {
        assert_eq!((self.pool.len(), self.pool.free()), (self.members.len(), self.size - self.members.len()));
    }
}
