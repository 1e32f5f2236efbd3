//! Broadcast and watch channels whose receivers are slow, late, cancelled and dropped.
//!
//! The model: values come in order; what a receiver got and what it was told it missed are, together, all that was sent
//! since it came. A watcher sees the last value.

use osier::sync::channel::{
    self, BroadcastReceiver, BroadcastRecvError, BroadcastRecvTimeoutError, BroadcastTryRecvError, WatchReceiver,
};
use osier::{JoinHandle, spawn, wait, yield_now};

use crate::random::Random;

/// Receives to the end. Returns how many values it got or missed.
fn follow(receiver: &BroadcastReceiver<u64>, mut random: Random) -> u64 {
    let (mut next, mut got, mut missed) = (None, 0, 0);
    loop {
        let value = match random.below(4) {
            0 => receiver.recv(),
            1 => match receiver.try_recv() {
                Ok(value) => Ok(value),
                Err(BroadcastTryRecvError::Empty) => {
                    yield_now();
                    continue;
                }
                Err(BroadcastTryRecvError::Missed(count)) => Err(BroadcastRecvError::Missed(count)),
                Err(BroadcastTryRecvError::Disconnected) => Err(BroadcastRecvError::Disconnected),
            },
            2 => match receiver.recv_timeout(random.moment()) {
                Ok(value) => Ok(value),
                Err(BroadcastRecvTimeoutError::Timeout) => continue,
                Err(BroadcastRecvTimeoutError::Missed(count)) => Err(BroadcastRecvError::Missed(count)),
                Err(BroadcastRecvTimeoutError::Disconnected) => Err(BroadcastRecvError::Disconnected),
            },
            _ => {
                wait(&[receiver]).for_each(drop);
                continue;
            }
        };
        match value {
            Ok(value) => {
                assert!(next.is_none_or(|next| next == value), "expected {next:?}, got {value}");
                next = Some(value + 1);
                got += 1;
            }
            Err(BroadcastRecvError::Missed(count)) => {
                next = next.map(|next| next + count);
                missed += count;
            }
            Err(BroadcastRecvError::Disconnected) => return got + missed,
        }
    }
}

/// Looks until the end. Returns the last value.
fn look(receiver: &WatchReceiver<u64>, mut random: Random) -> u64 {
    let mut last = receiver.get();
    loop {
        let value = if random.once_in(3) {
            match receiver.recv_timeout(random.moment()) {
                Err(channel::RecvTimeoutError::Timeout) => continue,
                value => value.ok(),
            }
        } else {
            receiver.recv().ok()
        };
        let Some(value) = value else { return receiver.get() };
        assert!(value > last, "{value} after {last}");
        last = value;
    }
}

pub(crate) fn round(random: &mut Random) {
    let (sender, receiver) = channel::broadcast(random.below(20) + 1);
    let (setter, watcher) = channel::watch(0);
    let count = random.below(300) as u64;
    let followers: Vec<(JoinHandle<u64>, bool)> = (0..random.below(6) + 1)
        .map(|_| {
            let (receiver, own) = (receiver.clone(), random.split());
            (spawn(move || follow(&receiver, own)), random.once_in(4))
        })
        .collect();
    let lookers: Vec<JoinHandle<u64>> = (0..random.below(4))
        .map(|_| {
            let (watcher, own) = (watcher.clone(), random.split());
            spawn(move || look(&watcher, own))
        })
        .collect();
    for number in 1..=count {
        sender.send(number).expect("there is a receiver");
        setter.send(number);
        if random.once_in(5) {
            yield_now();
        }
        if number == count / 2 {
            followers.iter().filter(|(_, is_cancelled)| *is_cancelled).for_each(|(task, _)| task.cancel());
        }
    }
    drop((sender, setter));
    for (follower, is_cancelled) in followers {
        match follower.join() {
            Ok(seen) => assert_eq!(seen, count, "what was got and what was missed"),
            Err(error) => assert!(is_cancelled && error.is_cancelled(), "{error}"),
        }
    }
    for looker in lookers {
        assert_eq!(looker.join().expect("a looker has no reason to fail"), count);
    }
}
