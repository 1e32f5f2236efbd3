//! Everything that tasks wait for, beside models of a few lines: random operations, each in a task, some of which run out
//! of time or are cancelled.
//!
//! The runtime's time is made up: it jumps when everybody waits, so a short sleep of the driver is the moment in which all
//! that can happen has happened. Then exactly those operations have ended that have in the model, with the same results:
//! who is served, with what, in which order of arrival, and what those leave who do not wait on.
//!
//! To add a primitive, write a [`Model`] of it, and a test that drives it.

#![cfg(feature = "runtime")]

#[path = "../common/mod.rs"]
mod common;

mod groups;
mod locks;
mod messages;
mod queues;
mod signals;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use common::{lock, ms, watch};
use osier::{JoinHandle, Runtime, sleep, spawn};
use proptest::prelude::*;

/// How an operation has ended, or what a task says on its way.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Said {
    Done,
    Value(u32),
    Missed(u64),
    /// Its time was up.
    Late,
    /// It was refused, or broken off by somebody else.
    Refused,
}

/// By number, what operations have said.
type Saying = (usize, Said);

/// What a task does: an operation, with a way to say how it ended.
type Operation = Box<dyn FnOnce(&dyn Fn(Said)) + Send>;

/// A primitive, and beside it what it should do.
trait Model {
    /// Begins the operation `kind`, of which there are four, about `n`, below 4, with that much patience if it waits at
    /// all: here in the model, and as a task that is returned, if it is one that may wait.
    fn begin(&mut self, number: usize, kind: u8, n: u32, patience: Option<Duration>) -> Option<Operation>;

    /// What is said in the model that can be now. Called until nothing is.
    fn serve(&mut self) -> Vec<Saying>;

    /// The operations that wait, those who came first first.
    fn waiting(&self) -> Vec<usize>;

    /// One of them is cancelled, or its time is up.
    fn leave(&mut self, number: usize);

    /// What an operation says whose time is up; it leaves then.
    fn late(&mut self, _number: usize) -> Said {
        Said::Late
    }

    /// Compares what can be asked without waiting.
    fn compare(&self) {}
}

/// The operations that were begun, by number, and what was said.
#[derive(Default)]
struct Tasks {
    begun: BTreeMap<usize, JoinHandle<()>>,
    said: Arc<std::sync::Mutex<Vec<Saying>>>,
}

impl Tasks {
    fn begin(&mut self, number: usize, operation: Operation) {
        let said = self.said.clone();
        let task = spawn(move || operation(&|saying| lock(&said).push((number, saying))));
        self.begun.insert(number, task);
    }

    /// Lets everything happen, and gives what was said since the last time.
    fn settle(&self) -> Vec<Saying> {
        sleep(ms(1));
        let mut said = std::mem::take(&mut *lock(&self.said));
        said.sort_unstable();
        said
    }
}

#[derive(Clone, Copy, Debug)]
enum Step {
    /// An operation, and how many steps it waits, or for ever.
    Begin { kind: u8, n: u32, steps: Option<u32> },
    /// Of those that wait, the one in this place.
    Cancel(usize),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let begin =
        (0..4_u8, 0..4_u32, prop::option::of(0..6_u32)).prop_map(|(kind, n, steps)| Step::Begin { kind, n, steps });
    prop::collection::vec(prop_oneof![8 => begin, 1 => (0..8_usize).prop_map(Step::Cancel)], 1..60)
}

/// Takes the steps, each in a time of its own.
fn drive(mut model: impl Model, steps: &[Step]) {
    let mut tasks = Tasks::default();
    // By the time at which it is up. No two are at once.
    let mut deadlines = BTreeMap::new();
    for (now, step) in steps.iter().enumerate() {
        match *step {
            Step::Begin { kind, n, steps } => {
                let in_time = Duration::from_micros(100 + 10 * now as u64);
                let patience = steps.map(|steps| ms(steps.into()) + in_time);
                if let Some(operation) = model.begin(now, kind, n, patience) {
                    tasks.begin(now, operation);
                    deadlines.extend(patience.map(|patience| (ms(now as u64) + patience, now)));
                }
            }
            Step::Cancel(place) => {
                if let Some(&number) = model.waiting().get(place) {
                    tasks.begun[&number].cancel();
                    model.leave(number);
                }
            }
        }
        let mut expected = serve(&mut model);
        while let Some(entry) = deadlines.first_entry().filter(|entry| *entry.key() < ms(now as u64 + 1)) {
            let number = entry.remove();
            if model.waiting().contains(&number) {
                let late = model.late(number);
                model.leave(number);
                expected.push((number, late));
                expected.extend(serve(&mut model));
            }
        }
        expected.sort_unstable();
        assert_eq!(tasks.settle(), expected, "after step {now}, {step:?}");
        model.compare();
    }
    // Whoever is left may be cancelled as well.
    tasks.begun.values().for_each(JoinHandle::cancel);
}

fn serve(model: &mut impl Model) -> Vec<Saying> {
    let mut said = Vec::new();
    loop {
        let now = model.serve();
        if now.is_empty() {
            return said;
        }
        said.extend(now);
    }
}

/// Drives a model on a runtime of its own, whose order the seed decides.
fn check<M: Model>(seed: u64, steps: &[Step], model: impl FnOnce() -> M + Send) {
    let _watch = watch();
    // The models hold locks while they wait: that is what they are about.
    osier::sync::set_held_reports(false);
    Runtime::builder().test(seed).build().unwrap().run(|| drive(model(), steps));
}

/// Those who wait, with what each wants, the first ones first.
struct Line<T>(std::collections::VecDeque<(usize, T)>);

impl<T> Line<T> {
    fn new() -> Self {
        Self(std::collections::VecDeque::new())
    }

    fn enter(&mut self, number: usize, wish: T) {
        self.0.push_back((number, wish));
    }

    fn first(&mut self) -> Option<(usize, T)> {
        self.0.pop_front()
    }

    fn leave(&mut self, number: usize) {
        self.0.retain(|&(n, _)| n != number);
    }

    fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    fn numbers(&self) -> impl Iterator<Item = usize> {
        self.0.iter().map(|&(number, _)| number)
    }
}

macro_rules! models {
    ($($(#[$doc:meta])* $name:ident($($parameter:ident in $range:expr),*) => $model:expr;)*) => {
        proptest! {
            #![proptest_config(ProptestConfig { cases: 48, failure_persistence: None, ..ProptestConfig::default() })]
            $(
                $(#[$doc])*
                #[test]
                fn $name(seed: u64, steps in steps(), $($parameter in $range),*) {
                    check(seed, &steps, move || $model);
                }
            )*
        }
    };
}

models! {
    a_channel_does_what_its_model_does(capacity in 0..3_usize) => messages::Channel::new(capacity);
    a_broadcast_does_what_its_model_does(capacity in 1..4_usize) => messages::Broadcast::new(capacity);
    a_watch_does_what_its_model_does() => messages::Watch::new();
    selects_do_what_their_model_does(capacity in 0..2_usize) => messages::Selects::new(capacity);
    selects_that_send_do_what_their_model_does(capacity in 0..2_usize) => messages::Sends::new(capacity);
    a_queue_does_what_its_model_does(maxsize in 0..3_usize) => queues::Fifo::new(maxsize);
    a_lifo_queue_does_what_its_model_does(maxsize in 0..3_usize) => queues::Lifo::new(maxsize);
    a_priority_queue_does_what_its_model_does(maxsize in 0..3_usize) => queues::Priority::new(maxsize);
    a_handing_channel_does_what_its_model_does() => queues::Channel::new();
    a_mutex_does_what_its_model_does() => locks::Mutex::new();
    a_reader_writer_lock_does_what_its_model_does() => locks::RwLock::new();
    a_semaphore_does_what_its_model_does() => locks::Semaphore::new();
    a_condition_variable_does_what_its_model_does() => signals::Condvar::new();
    an_event_does_what_its_model_does() => signals::Event::new();
    a_barrier_does_what_its_model_does(parties in 1..4_usize) => signals::Barrier::new(parties);
    results_do_what_their_model_does() => signals::Results::new();
    a_pool_does_what_its_model_does(size in 1..3_usize) => groups::Pool::new(size);
}
