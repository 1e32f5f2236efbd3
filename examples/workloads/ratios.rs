//! osier beside corosensei, turn and turn about, as a table.
//!
//! Both run in each round, one after the other, and the ratio is taken within the round: what slows the machine down
//! for a while slows both.

use std::fmt::Write;

use crate::Failure;
use crate::args::Params;
use crate::measure::{Sample, median, ns_per_op};
use crate::{bare, coroutines};

type Turn<'a> = Box<dyn FnMut(u64) -> Result<Sample, Failure> + 'a>;

/// One line of the table.
struct Row<'a> {
    name: &'static str,
    n: u64,
    osier: Turn<'a>,
    bare: Turn<'a>,
}

/// Coroutines that are visited in turn: more than the nearest cache holds the stacks of.
const COUNT: usize = 1000;

/// Measures, and returns the table.
pub(crate) fn table(params: &Params) -> Result<String, Failure> {
    let n = params.number("n");
    let mut generators = coroutines::successors(COUNT);
    let mut coroutines = bare::successors(COUNT)?;
    let mut rows = [
        row("switch", n, coroutines::switch_round, bare::switch_round),
        row(
            "switch_many",
            n,
            |n| coroutines::switch_many_round(&mut generators, n),
            |n| bare::switch_many_round(&mut coroutines, n),
        ),
        row("gen_sum", n, coroutines::gen_sum_round, bare::item_round),
        row("create", n.div_ceil(4), coroutines::create_round, bare::create_round),
    ];

    let mut text = String::new();
    let rounds = params.number("rounds");
    let _ = writeln!(text, "ns an operation, medians of {rounds} rounds in which both take turns");
    let _ = writeln!(text);
    let _ = writeln!(text, "| workload    |   osier | corosensei | osier / corosensei (least .. most) |");
    let _ = writeln!(text, "| :---------- | ------: | ---------: | ---------------------------------: |");
    for row in &mut rows {
        let _ = writeln!(text, "{}", row.measure(rounds)?);
    }
    Ok(text)
}

fn row<'a>(
    name: &'static str,
    n: u64,
    osier: impl FnMut(u64) -> Result<Sample, Failure> + 'a,
    bare: impl FnMut(u64) -> Result<Sample, Failure> + 'a,
) -> Row<'a> {
    Row { name, n, osier: Box::new(osier), bare: Box::new(bare) }
}

impl Row<'_> {
    /// Measures one line of the table.
    fn measure(&mut self, rounds: u64) -> Result<String, Failure> {
        let n = self.n;
        let warm_up = (n / 10).max(1);
        (self.osier)(warm_up)?;
        (self.bare)(warm_up)?;
        let mut times = Vec::new();
        for round in 0..rounds {
            // Each goes first in every other round, so that neither always finds the caches as the other left them.
            let (osier, bare) = if round % 2 == 0 {
                let osier = (self.osier)(n)?;
                (osier, (self.bare)(n)?)
            } else {
                let bare = (self.bare)(n)?;
                ((self.osier)(n)?, bare)
            };
            times.push((ns_per_op(osier, n), ns_per_op(bare, n)));
        }
        let ratios = || times.iter().map(|(osier, bare)| osier / bare);
        let (least, most) = (ratios().fold(f64::INFINITY, f64::min), ratios().fold(0.0, f64::max));
        let osier = median(times.iter().map(|time| time.0));
        let bare = median(times.iter().map(|time| time.1));
        let spread = format!("{:.2} ({least:.2} .. {most:.2})", median(ratios()));
        Ok(format!("| {:<11} | {osier:>7.2} | {bare:>10.2} | {spread:>34} |", self.name))
    }
}
