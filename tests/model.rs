//! Channels and semaphores beside models of a few lines: random operations, each in a task, some of which are cancelled.
//!
//! The runtime's time is made up: it jumps when everybody waits, so a short sleep of the driver is the moment in which all
//! that can happen has happened. Then exactly those operations have ended that have in the model.

#![cfg(feature = "runtime")]

mod common;

use std::collections::VecDeque;
use std::sync::Arc;

use common::{lock, ms, watch};
use osier::sync::{Semaphore, channel};
use osier::{JoinHandle, Runtime, sleep, spawn};
use proptest::prelude::*;

/// An operation that has ended, by its number, with what it received.
type Ended = (usize, Option<u32>);

/// The operations that were begun, by number, and what those that ended said.
#[derive(Default)]
struct Operations {
    tasks: Vec<JoinHandle<()>>,
    ended: Arc<std::sync::Mutex<Vec<Ended>>>,
}

impl Operations {
    /// Begins one in a task of its own.
    fn begin(&mut self, operation: impl FnOnce() -> Option<u32> + Send + 'static) {
        let (number, ended) = (self.tasks.len(), self.ended.clone());
        self.tasks.push(spawn(move || {
            let result = operation();
            lock(&ended).push((number, result));
        }));
    }

    /// Lets everything happen, and gives what has ended since the last time.
    fn settle(&self) -> Vec<Ended> {
        sleep(ms(1));
        let mut ended = std::mem::take(&mut *lock(&self.ended));
        ended.sort_unstable();
        ended
    }
}

#[derive(Clone, Copy, Debug)]
enum Step {
    Give(u32),
    Take(u32),
    /// Of those that wait, the one with this number.
    Cancel(usize),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        3 => (1..4_u32).prop_map(Step::Give),
        3 => (1..4_u32).prop_map(Step::Take),
        1 => (0..8_usize).prop_map(Step::Cancel),
    ];
    prop::collection::vec(step, 1..40)
}

fn check_channel(capacity: usize, steps: &[Step]) {
    let (sender, receiver) = channel::bounded(capacity);
    let mut operations = Operations::default();
    let (mut queue, mut senders, mut receivers) = (VecDeque::new(), VecDeque::new(), VecDeque::new());
    for step in steps {
        let number = operations.tasks.len();
        let mut expected = Vec::new();
        match *step {
            Step::Give(_) => {
                let (sender, value) = (sender.clone(), u32::try_from(number).unwrap());
                operations.begin(move || sender.send(value).map(|()| None).unwrap());
                if let Some(receiver) = receivers.pop_front() {
                    expected = vec![(receiver, Some(value)), (number, None)];
                } else if queue.len() < capacity {
                    queue.push_back(value);
                    expected = vec![(number, None)];
                } else {
                    senders.push_back((number, value));
                }
            }
            Step::Take(_) => {
                let receiver = receiver.clone();
                operations.begin(move || Some(receiver.recv().unwrap()));
                let first = queue.pop_front();
                let next = senders.pop_front().inspect(|&(sender, _)| expected.push((sender, None)));
                let value = match (first, next) {
                    (Some(first), next) => {
                        queue.extend(next.map(|(_, value)| value));
                        Some(first)
                    }
                    (None, next) => next.map(|(_, value)| value),
                };
                match value {
                    Some(value) => expected.push((number, Some(value))),
                    None => receivers.push_back(number),
                }
            }
            Step::Cancel(at) => {
                let waiting: Vec<_> = senders.iter().map(|&(n, _)| n).chain(receivers.iter().copied()).collect();
                if let Some(&number) = waiting.get(at) {
                    operations.tasks[number].cancel();
                    senders.retain(|&(n, _)| n != number);
                    receivers.retain(|&n| n != number);
                }
            }
        }
        expected.sort_unstable();
        assert_eq!(operations.settle(), expected, "after {step:?}");
        assert_eq!((receiver.len(), sender.is_full()), (queue.len(), queue.len() == capacity));
    }
}

fn check_semaphore(steps: &[Step]) {
    let semaphore = Semaphore::new(2);
    let mut operations = Operations::default();
    let (mut permits, mut takers) = (2, VecDeque::new());
    for step in steps {
        match *step {
            Step::Give(n) => {
                semaphore.release_many(n as usize);
                permits += n;
            }
            Step::Take(n) => {
                takers.push_back((operations.tasks.len(), n));
                let semaphore = semaphore.clone();
                operations.begin(move || {
                    semaphore.acquire_many(n as usize);
                    None
                });
            }
            Step::Cancel(at) => {
                if let Some((number, _)) = takers.remove(at) {
                    operations.tasks[number].cancel();
                }
            }
        }
        // First come, first served, also if those behind want less.
        let mut expected = Vec::new();
        while let Some(&(number, n)) = takers.front().filter(|(_, n)| *n <= permits) {
            takers.pop_front();
            permits -= n;
            expected.push((number, None));
        }
        assert_eq!(operations.settle(), expected, "after {step:?}");
        assert_eq!(semaphore.available(), permits as usize);
        assert_eq!(semaphore.try_acquire_many(1), permits > 0 && takers.is_empty());
        if permits > 0 && takers.is_empty() {
            semaphore.release();
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_channel_does_what_its_model_does(seed: u64, capacity in 0..3_usize, steps in steps()) {
        let _watch = watch();
        Runtime::builder().test(seed).build().unwrap().run(|| check_channel(capacity, &steps));
    }

    #[test]
    fn a_semaphore_does_what_its_model_does(seed: u64, steps in steps()) {
        let _watch = watch();
        Runtime::builder().test(seed).build().unwrap().run(|| check_semaphore(&steps));
    }
}
