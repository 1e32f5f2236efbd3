//! Waits for many things at once: tasks, events, results, semaphores, channels; alone, in selects, joined and killed.
//!
//! The model: what is given is ready, each once; what was joined has its value; and what was left can still be waited for.

use std::collections::BTreeSet;
use std::fmt;

use osier::sync::channel::{self, Select};
use osier::sync::{AsyncResult, Event, Semaphore};
use osier::{JoinHandle, Wait, join_all, kill_all, raise, select, sleep, spawn, wait};

use crate::cast::{Cast, dawdle};
use crate::random::Random;

/// Tasks that give their number, or fail, after a moment.
fn workers(random: &mut Random, may_fail: bool) -> Vec<JoinHandle<usize>> {
    (0..random.below(6) + 1)
        .map(|number| {
            let (mut own, fails) = (random.split(), may_fail && random.once_in(8));
            spawn(move || {
                dawdle(&mut own);
                if fails {
                    raise(fmt::Error);
                }
                number
            })
        })
        .collect()
}

/// Different objects, which get ready at some time.
fn objects(random: &mut Random) {
    let (event, result, semaphore) = (Event::new(), AsyncResult::<u8>::new(), Semaphore::new(0));
    let tasks = workers(random, false);
    let setter = {
        let (event, result, semaphore, mut own) = (event.clone(), result.clone(), semaphore.clone(), random.split());
        spawn(move || {
            dawdle(&mut own);
            event.set();
            dawdle(&mut own);
            _ = result.set(7);
            semaphore.release();
        })
    };
    let mut all: Vec<&dyn Wait> = vec![&event, &result, &semaphore, &setter];
    all.extend(tasks.iter().map(|task| task as &dyn Wait));
    let mut given = BTreeSet::new();
    let mut waiting = wait(&all);
    if random.once_in(2) {
        waiting = waiting.timeout(random.moment());
    } else if random.once_in(2) {
        waiting = waiting.count(random.below(all.len()));
    }
    for index in waiting {
        assert!(given.insert(index), "{index} was given twice");
        let is_ready = match index {
            0 => event.is_set(),
            1 => result.is_ready(),
            2 => semaphore.available() == 1,
            3 => setter.is_finished(),
            task => tasks[task - 4].is_finished(),
        };
        assert!(is_ready, "{index} is not ready");
        if random.once_in(8) {
            break;
        }
    }
    assert_eq!(wait(&all).collect::<Vec<_>>().len(), all.len(), "what was left can still be waited for");
    setter.join().expect("it has no reason to fail");
}

/// Joins, one way or another.
fn joins(random: &mut Random) {
    match random.below(3) {
        0 => {
            let tasks = workers(random, true);
            let count = tasks.len();
            match join_all(tasks) {
                Ok(values) => assert_eq!(values, (0..count).collect::<Vec<_>>()),
                Err(error) => assert!(error.exception().is_some()),
            }
        }
        1 => {
            let tasks = workers(random, true);
            if kill_all(&tasks, random.once_in(2).then(|| random.moment())).is_ok() {
                assert!(tasks.iter().all(JoinHandle::is_finished));
            }
            tasks.into_iter().for_each(|task| _ = task.join());
        }
        _ => {
            let mut tasks: Vec<_> = workers(random, false).into_iter().map(Some).collect();
            let mut left = tasks.len();
            while left > 0 {
                let mut select = Select::new();
                let numbers: Vec<_> = (0..tasks.len()).filter(|&n| tasks[n].is_some()).collect();
                tasks.iter().flatten().for_each(|task| _ = select.join(task));
                let operation = select.select();
                let number = numbers[operation.index()];
                if random.once_in(4) {
                    // Taken back: it is still to be joined.
                    drop(operation);
                    continue;
                }
                drop(operation);
                let task = tasks[number].take().expect("it was there");
                assert_eq!(task.join().expect("it has no reason to fail"), number);
                left -= 1;
            }
        }
    }
}

/// Selects over everything there is.
fn selects(random: &mut Random) {
    let (sender, receiver) = channel::bounded::<u32>(random.below(2));
    let event = Event::new();
    let others = {
        let (receiver, event, mut own) = (receiver.clone(), event.clone(), random.split());
        spawn(move || {
            while let Ok(value) = receiver.recv_timeout(std::time::Duration::from_millis(5)) {
                assert_eq!(value, 1);
                if own.once_in(5) {
                    event.set();
                }
            }
        })
    };
    for _ in 0..random.below(20) {
        let mut its = random.split();
        let task = spawn(move || dawdle(&mut its));
        select! {
            send(sender, 1) -> sent => sent.expect("there is a receiver"),
            recv(receiver) -> value => assert_eq!(value, Ok(1)),
            join(task) -> value => value.expect("it has no reason to fail"),
            wait(event) => event.clear(),
            default(random.moment()) => {}
        }
    }
    others.kill();
}

pub(crate) fn round(random: &mut Random) {
    let mut cast = Cast::default();
    for _ in 0..random.below(5) + 1 {
        let kind = *random.one_of(&[objects, joins, selects]);
        cast.add(random, move |mut own| (0..3).for_each(|_| kind(&mut own)));
    }
    // Somebody who sleeps between them.
    cast.add(random, |mut own| (0..10).for_each(|_| sleep(own.moment())));
    cast.end(random);
}
