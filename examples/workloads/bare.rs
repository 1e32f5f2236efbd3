//! The same with corosensei alone, to see what osier adds to it.
//!
//! Each does what its namesake in `coroutines` does, value for value, in the way that corosensei offers. Its stacks are
//! as large as osier's; where osier takes them from a pool, they are handed on by hand.

use std::hint::black_box;

use corosensei::stack::DefaultStack;
use corosensei::{Coroutine, CoroutineResult, Yielder};

use crate::args::Params;
use crate::measure::{Report, Sample, check, timed};
use crate::{Failure, STACK_SIZE};

type Successor = Coroutine<u64, u64, ()>;

/// A new stack.
fn stack() -> Result<DefaultStack, Failure> {
    DefaultStack::new(STACK_SIZE).map_err(|error| Failure::Unsupported(format!("no stack: {error}")))
}

/// A coroutine that answers every number with the next one.
fn successor() -> Result<Successor, Failure> {
    let mut coroutine = Coroutine::with_stack(stack()?, |yielder: &Yielder<u64, u64>, _| {
        let mut n = 0;
        loop {
            n = yielder.suspend(n) + 1;
        }
    });
    coroutine.resume(0);
    Ok(coroutine)
}

/// Sends `n` to a coroutine that never ends.
#[inline(always)]
fn next(coroutine: &mut Successor, n: u64) -> u64 {
    match coroutine.resume(n) {
        CoroutineResult::Yield(n) => n,
        CoroutineResult::Return(()) => panic!("the coroutine never ends"),
    }
}

/// One coroutine is resumed `n` times, and then ends. Nothing is sent or yielded: the switch alone.
pub(crate) fn switch_round(n: u64) -> Result<Sample, Failure> {
    let body = move |yielder: &Yielder<(), ()>, ()| (0..=n).for_each(|_| yielder.suspend(()));
    let mut coroutine = Coroutine::with_stack(stack()?, body);
    coroutine.resume(());
    let (sample, ()) = timed(|| {
        for _ in 0..n {
            match coroutine.resume(()) {
                CoroutineResult::Yield(()) => {}
                CoroutineResult::Return(()) => panic!("the coroutine ended too early"),
            }
        }
    });
    let has_ended = matches!(coroutine.resume(()), CoroutineResult::Return(()));
    check("ends after the last switch", u64::from(has_ended), 1)?;
    Ok(sample)
}

/// Some coroutines, visited in turn, count to `n` together.
pub(crate) fn switch_many_round(coroutines: &mut [Successor], n: u64) -> Result<Sample, Failure> {
    let (sample, last) = timed(|| {
        let mut last = 0;
        let mut left = n;
        while left > 0 {
            let visited = usize::try_from(left).unwrap_or(usize::MAX).min(coroutines.len());
            for coroutine in &mut coroutines[..visited] {
                last = next(coroutine, last);
            }
            left -= visited as u64;
        }
        last
    });
    check("numbers counted", last, n)?;
    Ok(sample)
}

/// The sum of what a coroutine suspends with.
pub(crate) fn item_round(n: u64) -> Result<Sample, Failure> {
    let n = black_box(n);
    let stack = stack()?;
    let (sample, sum) = timed(|| {
        let mut numbers = Coroutine::with_stack(stack, move |yielder: &Yielder<(), u64>, ()| {
            (0..n).for_each(|i| yielder.suspend(i));
        });
        let mut sum = 0;
        while let CoroutineResult::Yield(i) = numbers.resume(()) {
            sum += i;
        }
        sum
    });
    check("the sum", sum, n * (n - 1) / 2)?;
    Ok(sample)
}

/// Makes, runs and drops `n` coroutines that do nothing, one after another on one stack.
pub(crate) fn create_round(n: u64) -> Result<Sample, Failure> {
    let mut stack = stack()?;
    let (sample, ended) = timed(|| {
        let mut ended = 0;
        for i in 0..n {
            let mut coroutine = Coroutine::with_stack(stack, move |_: &Yielder<(), ()>, ()| black_box(i));
            if let CoroutineResult::Return(returned) = coroutine.resume(()) {
                ended += u64::from(returned == i);
            }
            stack = coroutine.into_stack();
        }
        ended
    });
    check("coroutines that ended", ended, n)?;
    Ok(sample)
}

/// The same, each on a stack of its own that the system makes and takes back.
fn create_with_stack_round(n: u64) -> Result<Sample, Failure> {
    let (sample, ended) = timed(|| {
        let mut ended = 0;
        for i in 0..n {
            let mut coroutine = Coroutine::with_stack(stack()?, move |_: &Yielder<(), ()>, ()| black_box(i));
            if let CoroutineResult::Return(returned) = coroutine.resume(()) {
                ended += u64::from(returned == i);
            }
        }
        Ok(ended)
    });
    check("coroutines that ended", ended?, n)?;
    Ok(sample)
}

pub(crate) fn switch(params: &Params) -> Result<Report, Failure> {
    Report::of(params, params.number("n"), switch_round)
}

/// So many coroutines, ready to be sent numbers.
pub(crate) fn successors(count: usize) -> Result<Vec<Successor>, Failure> {
    (0..count).map(|_| successor()).collect()
}

pub(crate) fn switch_many(params: &Params) -> Result<Report, Failure> {
    let mut coroutines = successors(params.size("count"))?;
    Report::of(params, params.number("n"), |n| switch_many_round(&mut coroutines, n))
}

pub(crate) fn item(params: &Params) -> Result<Report, Failure> {
    Report::of(params, params.number("n"), item_round)
}

pub(crate) fn create(params: &Params) -> Result<Report, Failure> {
    let round = if params.is_set("pool") { create_round } else { create_with_stack_round };
    Report::of(params, params.number("n"), round)
}
