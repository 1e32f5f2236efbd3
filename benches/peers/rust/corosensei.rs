//! corosensei alone: switches and creation. It has no tasks.
//!
//! The rounds are those that the `workloads` example compares osier with in one process.

use std::process::ExitCode;

use corosensei::stack::DefaultStack;
use corosensei::{Coroutine, CoroutineResult, Yielder};
use line::args::{self, Params};
use line::measure::{self, Report, Sample, check, timed};
use line::{Failure, Measure};

#[path = "../../../examples/workloads/bare.rs"]
#[allow(dead_code, reason = "some parts are for osier's own program")]
mod bare;
#[path = "../../../examples/workloads/line/mod.rs"]
#[allow(dead_code, reason = "not every system needs every part")]
mod line;

/// As large as osier's.
const STACK_SIZE: usize = 80 * 1024;

/// Two coroutines hand a number to and fro, through whoever resumes both: there is no switch from one to the other.
fn symmetric_round(n: u64) -> Result<Sample, Failure> {
    let make = || -> Result<_, Failure> {
        let stack =
            DefaultStack::new(STACK_SIZE).map_err(|error| Failure::Unsupported(format!("no stack: {error}")))?;
        Ok(Coroutine::<u64, u64, ()>::with_stack(stack, |yielder: &Yielder<u64, u64>, mut n| {
            loop {
                n = yielder.suspend(n + 1);
            }
        }))
    };
    let (mut there, mut back) = (make()?, make()?);
    let next = |coroutine: &mut Coroutine<u64, u64, ()>, n| match coroutine.resume(n) {
        CoroutineResult::Yield(n) => n,
        CoroutineResult::Return(()) => panic!("the coroutine never ends"),
    };
    let (sample, last) = timed(|| (0..n).fold(0, |last, _| next(&mut back, next(&mut there, last))));
    check("switches there and back", last, 2 * n)?;
    Ok(sample)
}

fn symmetric(params: &Params) -> Result<Report, Failure> {
    Report::of(params, params.number("n"), symmetric_round)
}

fn find(workload: &str) -> Option<Measure> {
    Some(match workload {
        "switch" => bare::switch,
        "switch_many" => bare::switch_many,
        "symmetric" => symmetric,
        "gen_sum" => bare::item,
        "create" => bare::create,
        _ => return None,
    })
}

fn main() -> ExitCode {
    line::main(|arguments| line::execute("corosensei", find, arguments))
}
