//! The `generator` crate: switches, items, creation. It has no tasks; `may` is built on it.

use std::hint::black_box;
use std::process::ExitCode;

use generator::{Generator, Gn, done};
use line::args::Params;
use line::measure::{Report, Sample, check, timed};
use line::work::sum_below;
use line::{Failure, Measure};

#[path = "../../../examples/workloads/line/mod.rs"]
#[allow(dead_code, reason = "not every system needs every part")]
mod line;

/// Words of a stack: as many bytes as osier's.
const STACK_WORDS: usize = 80 * 1024 / size_of::<usize>();

/// A generator that answers every number with the next one.
fn successor() -> Generator<'static, u64, u64> {
    let mut successor = Gn::<u64>::new_scoped_opt(STACK_WORDS, |mut scope| {
        let mut n = 0;
        loop {
            n = scope.yield_(n).expect("a number is sent each time") + 1;
        }
    });
    successor.send(0);
    successor
}

fn switch_round(n: u64) -> Result<Sample, Failure> {
    let mut generator = Gn::<()>::new_scoped_opt(STACK_WORDS, move |mut scope| {
        for _ in 0..=n {
            scope.yield_(());
        }
        done!();
    });
    generator.resume();
    let (sample, ()) = timed(|| {
        for _ in 0..n {
            assert!(generator.resume().is_some(), "the generator ended too early");
        }
    });
    check("ends after the last switch", generator.resume(), None)?;
    Ok(sample)
}

fn switch_many_round(generators: &mut [Generator<'static, u64, u64>], n: u64) -> Result<Sample, Failure> {
    let (sample, last) = timed(|| {
        let mut last = 0;
        let mut left = n;
        while left > 0 {
            let visited = usize::try_from(left).unwrap_or(usize::MAX).min(generators.len());
            for generator in &mut generators[..visited] {
                last = generator.send(last);
            }
            left -= visited as u64;
        }
        last
    });
    check("numbers counted", last, n)?;
    Ok(sample)
}

/// Two generators hand a number to and fro, through whoever resumes both.
fn symmetric_round(n: u64) -> Result<Sample, Failure> {
    let (mut there, mut back) = (successor(), successor());
    let (sample, last) = timed(|| (0..n).fold(0, |last, _| back.send(there.send(last))));
    check("switches there and back", last, 2 * n)?;
    Ok(sample)
}

fn gen_sum_round(n: u64) -> Result<Sample, Failure> {
    let n = black_box(n);
    let (sample, sum) = timed(|| {
        let numbers = Gn::<()>::new_scoped_opt(STACK_WORDS, move |mut scope| {
            for i in 0..n {
                scope.yield_(i);
            }
            done!();
        });
        numbers.sum::<u64>()
    });
    check("the sum", sum, sum_below(n))?;
    Ok(sample)
}

/// Makes, runs and drops `n` generators that do nothing, one after another on one stack.
fn create_round(n: u64) -> Result<Sample, Failure> {
    let mut generator = Gn::<()>::new_scoped_opt(STACK_WORDS, |_| 0);
    generator.resume();
    let (sample, ended) = timed(|| {
        let mut ended = 0;
        for i in 0..n {
            generator.scoped_init(move |_| black_box(i));
            ended += u64::from(generator.resume() == Some(i));
        }
        ended
    });
    check("generators that ended", ended, n)?;
    Ok(sample)
}

/// The same, each on a stack of its own that the system makes and takes back.
fn create_with_stack_round(n: u64) -> Result<Sample, Failure> {
    let (sample, ended) = timed(|| {
        let mut ended = 0;
        for i in 0..n {
            let mut generator = Gn::<()>::new_scoped_opt(STACK_WORDS, move |_| black_box(i));
            ended += u64::from(generator.resume() == Some(i));
        }
        ended
    });
    check("generators that ended", ended, n)?;
    Ok(sample)
}

fn switch_many(params: &Params) -> Result<Report, Failure> {
    let mut generators: Vec<_> = (0..params.size("count")).map(|_| successor()).collect();
    Report::of(params, params.number("n"), |n| switch_many_round(&mut generators, n))
}

fn create(params: &Params) -> Result<Report, Failure> {
    let round = if params.is_set("pool") { create_round } else { create_with_stack_round };
    Report::of(params, params.number("n"), round)
}

fn find(workload: &str) -> Option<Measure> {
    Some(match workload {
        "switch" => |params| Report::of(params, params.number("n"), switch_round),
        "switch_many" => switch_many,
        "symmetric" => |params| Report::of(params, params.number("n"), symmetric_round),
        "gen_sum" => |params| Report::of(params, params.number("n"), gen_sum_round),
        "create" => create,
        _ => return None,
    })
}

fn main() -> ExitCode {
    line::main(|arguments| line::execute("generator", find, arguments))
}
