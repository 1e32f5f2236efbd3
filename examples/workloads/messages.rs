//! Tasks that send each other messages.

use osier::spawn;
use osier::sync::channel::{self, Receiver, Select, Sender};

use crate::Failure;
use crate::args::Params;
use crate::line::work::{highest_in_ring, share, sum_below};
use crate::measure::{Report, Sample, check, timed};
use crate::places::Places;
use crate::tasks::{on_workers, value_of};

/// Makes a channel of the kind that the parameters name.
type Make = fn() -> (Sender<u64>, Receiver<u64>);

/// Receives a counter and sends it on, one higher, until it is `last`. Returns the highest number it had.
fn pass_on(inbox: &Receiver<u64>, next: &Sender<u64>, last: u64) -> u64 {
    let mut highest = 0;
    for counter in inbox {
        highest = counter;
        if counter == last || next.send(counter + 1).is_err() {
            break;
        }
    }
    highest
}

/// A counter goes from task to task in a ring, until `n` messages were received.
fn ring_round(n: u64, tasks: u64, make: Make, places: &Places) -> Result<Sample, Failure> {
    let (sample, highest) = timed(|| {
        let (first, mut inbox) = make();
        let starter = first.clone();
        let mut handles = Vec::new();
        for _ in 1..tasks {
            let (next, next_inbox) = make();
            let this_inbox = std::mem::replace(&mut inbox, next_inbox);
            handles.push(places.spawn(handles.len(), move || pass_on(&this_inbox, &next, n)));
        }
        // The last one closes the ring.
        handles.push(places.spawn(handles.len(), move || pass_on(&inbox, &first, n)));
        starter.send(1).expect("somebody receives it");
        drop(starter);
        handles.into_iter().map(value_of).collect::<Result<Vec<_>, _>>()
    });
    check("the highest number that each task had", highest?, highest_in_ring(n, tasks))?;
    Ok(sample)
}

/// Producers send `n` numbers in all through one channel to consumers, who add them up.
fn mpmc_round(n: u64, capacity: usize, producers: u64, consumers: u64) -> Result<Sample, Failure> {
    let (sample, sum) = timed(|| {
        let (sender, receiver) = channel::bounded(capacity);
        let sending: Vec<_> = (0..producers)
            .map(|producer| {
                let sender = sender.clone();
                let first = n * producer / producers;
                spawn(move || (first..first + share(n, producer, producers)).try_for_each(|number| sender.send(number)))
            })
            .collect();
        let adding: Vec<_> = (0..consumers)
            .map(|_| {
                let receiver = receiver.clone();
                spawn(move || receiver.iter().sum::<u64>())
            })
            .collect();
        drop((sender, receiver));
        for sent in sending {
            value_of(sent)?.map_err(|_| Failure::Wrong("a consumer has gone".to_owned()))?;
        }
        adding.into_iter().map(value_of).sum::<Result<u64, _>>()
    });
    check("the sum of what was received", sum?, sum_below(n))?;
    Ok(sample)
}

/// One task selects over channels, each fed by a task of its own, until `n` numbers were received.
fn select_round(n: u64, channels: u64) -> Result<Sample, Failure> {
    let (sample, sum) = timed(|| {
        let (feeding, inboxes): (Vec<_>, Vec<_>) = (0..channels)
            .map(|feeder| {
                let (sender, inbox) = channel::bounded(128);
                let first = n * feeder / channels;
                let numbers = first..first + share(n, feeder, channels);
                (spawn(move || numbers.into_iter().try_for_each(|number| sender.send(number))), inbox)
            })
            .unzip();
        let mut select = Select::new();
        for inbox in &inboxes {
            select.recv(inbox);
        }
        let (mut sum, mut received) = (0, 0);
        while received < n {
            let operation = select.select();
            let index = operation.index();
            match operation.recv(&inboxes[index]) {
                Ok(number) => (sum, received) = (sum + number, received + 1),
                Err(_) => select.remove(index),
            }
        }
        for fed in feeding {
            value_of(fed)?.map_err(|_| Failure::Wrong("the receiver has gone".to_owned()))?;
        }
        Ok(sum)
    });
    check("the sum of what was received", sum?, sum_below(n))?;
    Ok(sample)
}

pub(crate) fn ping_pong(params: &Params) -> Result<Report, Failure> {
    let make: Make = match params.word("chan") {
        "bounded1" => || channel::bounded(1),
        "unbounded" => channel::unbounded,
        _ => channel::rendezvous,
    };
    // Two tasks and two channels are a ring of two.
    on_workers(params, || {
        let places = Places::of(params)?;
        Report::of(params, params.number("n"), |n| ring_round(n, 2, make, &places))
    })
}

pub(crate) fn ring(params: &Params) -> Result<Report, Failure> {
    let tasks = params.number("tasks");
    on_workers(params, || {
        let places = Places::of(params)?;
        Report::of(params, params.number("n"), |n| ring_round(n, tasks, || channel::bounded(1), &places))
    })
}

pub(crate) fn mpmc(params: &Params) -> Result<Report, Failure> {
    let (producers, consumers) = (params.number("producers"), params.number("consumers"));
    let capacity = params.size("cap");
    on_workers(params, || Report::of(params, params.number("n"), |n| mpmc_round(n, capacity, producers, consumers)))
}

pub(crate) fn select(params: &Params) -> Result<Report, Failure> {
    let channels = params.number("chans");
    on_workers(params, || Report::of(params, params.number("n"), |n| select_round(n, channels)))
}
