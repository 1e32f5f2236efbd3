//! Generators and greenlets: what needs no runtime.

use std::cell::OnceCell;
use std::hint::black_box;
use std::rc::Rc;

use osier::{Generator, Greenlet, Step, Yielder};

use crate::Failure;
use crate::args::Params;
use crate::measure::{Report, Sample, check, timed};

/// A generator that answers every number with the next one.
fn successor() -> Generator<u64, u64> {
    Generator::new(|y: &Yielder<u64, u64>| {
        let mut n = 0;
        loop {
            n = y.yield_(n) + 1;
        }
    })
    .primed()
}

/// Sends `n` to a generator that never ends.
#[inline(always)]
fn next(generator: &mut Generator<u64, u64>, n: u64) -> u64 {
    match generator.send(n) {
        Ok(Step::Yielded(n)) => n,
        // Not formatted: a look at the result would keep every one of them in memory.
        _ => panic!("the generator never ends"),
    }
}

/// One generator is resumed `n` times, and then ends. Nothing is sent or yielded: the switch alone.
pub(crate) fn switch_round(n: u64) -> Result<Sample, Failure> {
    let mut generator = Generator::new(move |y: &Yielder<()>| (0..=n).for_each(|_| y.yield_(()))).primed();
    let (sample, ()) = timed(|| {
        for _ in 0..n {
            match generator.send(()) {
                Ok(Step::Yielded(())) => {}
                _ => panic!("the generator ended too early"),
            }
        }
    });
    check("ends after the last switch", u64::from(generator.next().is_none()), 1)?;
    Ok(sample)
}

/// Some generators, visited in turn, count to `n` together.
pub(crate) fn switch_many_round(generators: &mut [Generator<u64, u64>], n: u64) -> Result<Sample, Failure> {
    let (sample, last) = timed(|| {
        let mut last = 0;
        let mut left = n;
        while left > 0 {
            let visited = usize::try_from(left).unwrap_or(usize::MAX).min(generators.len());
            for generator in &mut generators[..visited] {
                last = next(generator, last);
            }
            left -= visited as u64;
        }
        last
    });
    check("numbers counted", last, n)?;
    Ok(sample)
}

/// The sum of what a generator of `n` numbers yields.
pub(crate) fn gen_sum_round(n: u64) -> Result<Sample, Failure> {
    let n = black_box(n);
    let (sample, sum) = timed(|| {
        let numbers = Generator::new(move |y: &Yielder<u64>| (0..n).for_each(|i| y.yield_(i)));
        numbers.sum::<u64>()
    });
    check("the sum", sum, n * (n - 1) / 2)?;
    Ok(sample)
}

/// Makes, runs and drops `n` generators that do nothing.
pub(crate) fn create_round(n: u64) -> Result<Sample, Failure> {
    let (sample, ended) = timed(|| {
        let mut ended = 0;
        for i in 0..n {
            let mut generator: Generator<(), (), u64> = Generator::new(move |_: &Yielder<()>| black_box(i));
            if let Ok(Step::Returned(returned)) = generator.start() {
                ended += u64::from(returned == i);
            }
        }
        ended
    });
    check("generators that ended", ended, n)?;
    Ok(sample)
}

/// Two greenlets that switch straight to each other, `n` times there and back.
fn symmetric_round(n: u64) -> Result<Sample, Failure> {
    // Each needs the other's handle, so the first is made before the second is known.
    let there: Rc<OnceCell<Greenlet<u64>>> = Rc::default();
    let back = Greenlet::new({
        let there = there.clone();
        move |mut n: u64| {
            let there = there.get().expect("set below").clone();
            loop {
                n = there.switch(n + 1);
            }
        }
    });
    let counter = Greenlet::new(move |mut last: u64| {
        for _ in 0..n {
            last = back.switch(last);
        }
        last
    });
    there.set(counter.clone()).expect("it was empty");
    // What the greenlet returns comes out of the switch of its parent, which is us.
    let (sample, last) = timed(|| counter.switch(0));
    check("switches there and back", last, n)?;
    Ok(sample)
}

pub(crate) fn switch(params: &Params) -> Result<Report, Failure> {
    Report::of(params, params.number("n"), switch_round)
}

/// So many generators, ready to be sent numbers.
pub(crate) fn successors(count: usize) -> Vec<Generator<u64, u64>> {
    (0..count).map(|_| successor()).collect()
}

pub(crate) fn switch_many(params: &Params) -> Result<Report, Failure> {
    let mut generators = successors(params.size("count"));
    Report::of(params, params.number("n"), |n| switch_many_round(&mut generators, n))
}

pub(crate) fn symmetric(params: &Params) -> Result<Report, Failure> {
    Report::of(params, params.number("n"), symmetric_round)
}

pub(crate) fn gen_sum(params: &Params) -> Result<Report, Failure> {
    Report::of(params, params.number("n"), gen_sum_round)
}

pub(crate) fn create(params: &Params) -> Result<Report, Failure> {
    if !params.is_set("pool") {
        return Err(Failure::Unsupported("osier keeps every stack that it made for the next coroutine".to_owned()));
    }
    Report::of(params, params.number("n"), create_round)
}
