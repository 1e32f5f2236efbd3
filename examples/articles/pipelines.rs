//! Producers, consumers, and a foreman with his workers: coroutines that hand values down a line.

use std::time::Duration;

use osier::generator::Shared;
use osier::{Generator, OrRaise, Yielder, sleep};

/// How long each side takes for a value: a second in the article.
const WORK: Duration = Duration::from_millis(1);

/// Mended: a wrong closing quote, and Python 2; and the consumer ends, when it is dropped.
pub(crate) fn s08() {
    let mut consumer = Generator::new(|y: &Yielder<(), u32>| {
        say!("Ready to receive");
        loop {
            let n = y.yield_(());
            sleep(WORK);
            say!("Receive {n} from producer");
        }
    })
    .primed();
    for n in 1..=10 {
        sleep(WORK);
        say!("Send {n} to consumer");
        consumer.send(n).or_raise();
    }
}

type Job = (u32, usize);

/// A worker does the jobs with its number, and passes on the others. It is primed: it waits for the first.
fn worker(id: usize, next: Option<Generator<(), Job>>, accept: Shared<(), (usize, u32, u32)>) -> Generator<(), Job> {
    Generator::new(move |y: &Yielder<(), Job>| {
        let mut next = next;
        loop {
            let (job, to) = y.yield_(());
            if to == id {
                accept.send((id, job, job * job)).or_raise();
            } else {
                next.as_mut().expect("a job for a worker that is there").send((job, to)).or_raise();
            }
        }
    })
    .primed()
}

/// Mended: the worker handles the job it receives, not the one it was made with; a job for an unknown worker is an error;
/// and half a dozen misspelt names.
pub(crate) fn s09() {
    const WORKERS: usize = 3;
    let jobs = Generator::new(|y: &Yielder<u32>| (0..6).for_each(|job| y.yield_(job)));
    let accept = Generator::new(|y: &Yielder<(), (usize, u32, u32)>| {
        loop {
            let (worker, job, result) = y.yield_(());
            say!("({worker}, {job}, {result})");
        }
    })
    .primed()
    .shared();
    // The last one made is the head of the chain.
    let chain = (0..WORKERS).fold(None, |next, id| Some(worker(id, next, accept.clone())));
    let mut head = chain.expect("there are workers");
    for (job, id) in jobs.zip((0..WORKERS).cycle()) {
        head.send((job, id)).or_raise();
    }
}
