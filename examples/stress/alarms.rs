//! What time sends: alarms and ticks, shared by some who are cancelled and late.
//!
//! The model: an alarm is received once, by one of all, and not before its time; no tick is received twice, and between two of
//! them lies a period.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use osier::select;
use osier::sync::channel::{self, Receiver, Select};

use crate::cast::{Cast, dawdle};
use crate::random::Random;

#[derive(Debug)]
struct Alarm {
    channel: Receiver<Instant>,
    /// Not before this.
    due: Instant,
    received: AtomicUsize,
}

impl Alarm {
    fn new(random: &mut Random) -> Self {
        let moment = random.moment();
        // Before the channel is made, which counts from a later moment.
        let due = Instant::now() + moment;
        let channel = if random.once_in(2) { channel::after(moment) } else { channel::at(due) };
        Self { channel, due, received: AtomicUsize::new(0) }
    }

    fn note(&self, fired: Instant) {
        assert!(fired >= self.due && Instant::now() >= fired);
        self.received.fetch_add(1, Ordering::SeqCst);
    }
}

#[derive(Debug)]
struct Ticks {
    channel: Receiver<Instant>,
    period: Duration,
    received: Mutex<BTreeSet<Instant>>,
}

impl Ticks {
    fn new(random: &mut Random) -> Self {
        let period = Duration::from_micros(random.below(200) as u64 + 1);
        Self { channel: channel::tick(period), period, received: Mutex::default() }
    }

    fn note(&self, fired: Instant) {
        assert!(Instant::now() >= fired);
        assert!(self.received.lock().unwrap_or_else(PoisonError::into_inner).insert(fired), "a tick came twice");
    }
}

/// Receives in random ways, or not.
fn receive(alarms: &[Alarm], ticks: &Ticks, random: &mut Random) {
    let (alarm, other) = (random.one_of(alarms), random.one_of(alarms));
    match random.below(6) {
        0 => alarm.channel.recv_timeout(random.moment()).into_iter().for_each(|fired| alarm.note(fired)),
        1 => alarm.channel.try_iter().for_each(|fired| alarm.note(fired)),
        2 => ticks.note(ticks.channel.recv().expect("nobody closes it")),
        3 => select! {
            recv(alarm.channel) -> fired => alarm.note(fired.expect("nobody closes it")),
            recv(ticks.channel) -> fired => ticks.note(fired.expect("nobody closes it")),
            default(random.moment()) => {}
        },
        4 => select! {
            recv(alarm.channel) -> fired => alarm.note(fired.expect("nobody closes it")),
            recv(other.channel) -> fired => other.note(fired.expect("nobody closes it")),
            default => {}
        },
        _ => {
            let mut select = Select::new();
            alarms.iter().for_each(|alarm| _ = select.recv(&alarm.channel));
            match select.select_timeout(random.moment()) {
                // Taken back: it is received by another.
                Ok(operation) if random.once_in(2) => drop(operation),
                Ok(operation) => {
                    let alarm = &alarms[operation.index()];
                    alarm.note(operation.recv(&alarm.channel).expect("nobody closes it"));
                }
                Err(_) => {}
            }
        }
    }
}

pub(crate) fn round(random: &mut Random) {
    let alarms: Arc<[Alarm]> = (0..random.below(4) + 1).map(|_| Alarm::new(random)).collect();
    let ticks = Arc::new(Ticks::new(random));
    let mut cast = Cast::default();
    for _ in 0..random.below(10) + 1 {
        let (alarms, ticks) = (alarms.clone(), ticks.clone());
        let body = move |mut own: Random| {
            for _ in 0..own.below(10) {
                receive(&alarms, &ticks, &mut own);
                dawdle(&mut own);
            }
        };
        match random.once_in(3) {
            true => cast.add_reliable(random, body),
            false => cast.add(random, body),
        }
    }
    cast.end(random);
    for alarm in alarms.iter() {
        let count = alarm.received.load(Ordering::SeqCst);
        let left = if count == 0 { alarm.channel.recv().is_ok() } else { alarm.channel.try_recv().is_ok() };
        assert_eq!(count + usize::from(left), 1, "an alarm is received once");
    }
    let received = ticks.received.lock().unwrap_or_else(PoisonError::into_inner);
    let times: Vec<_> = received.iter().copied().collect();
    assert!(times.windows(2).all(|pair| pair[1] - pair[0] >= ticks.period), "ticks come a period after each other");
}
