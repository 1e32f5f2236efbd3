//! The tables, as Markdown.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;
use std::fs;
use std::path::Path;

use crate::cell::{Cell, Why, short};
use crate::rows::{ROWS, Row};
use crate::systems::Program;

/// What was found, by row and program.
pub(crate) type Cells = BTreeMap<(usize, usize), Cell>;

/// A whole run.
pub(crate) struct Report {
    pub(crate) facts: String,
    pub(crate) made_by: &'static str,
    pub(crate) rounds: usize,
    pub(crate) programs: Vec<Program>,
    pub(crate) missing: Vec<&'static str>,
    pub(crate) cells: Cells,
}

impl Report {
    fn names(&self) -> impl Iterator<Item = &'static str> {
        self.programs.iter().map(|program| program.system.name)
    }

    fn median(&self, row: usize, column: usize) -> Option<f64> {
        self.cells.get(&(row, column))?.median()
    }

    fn absent(&self) -> String {
        if self.missing.is_empty() {
            String::new()
        } else {
            format!(" Not installed there: {}.", self.missing.join(", "))
        }
    }

    /// Everything, and why what is not there is not.
    pub(crate) fn full(&self) -> String {
        let (facts, absent, rounds, made_by) = (&self.facts, self.absent(), self.rounds, self.made_by);
        let mut text = format!(
            "{facts}{absent} Made by `{made_by}`.\n\nThe median of {rounds} rounds (the least, and how far the highest is above it).\n\n"
        );
        let names: Vec<_> = self.names().collect();
        let _ = writeln!(text, "| workload | {} |", names.join(" | "));
        let _ = writeln!(text, "| --- |{}", " ---: |".repeat(names.len()));
        for (index, row) in ROWS.iter().enumerate() {
            let texts: Vec<_> = (0..names.len())
                .map(|column| self.cells.get(&(index, column)).map_or_else(String::new, Cell::text))
                .collect();
            let _ = writeln!(text, "| {} | {} |", row.name(), texts.join(" | "));
        }
        text.push_str("\nWhat is not there, and why:\n\n");
        for (name, reasons) in self.reasons() {
            let reasons: Vec<_> =
                reasons.into_iter().map(|(why, lines)| format!("{why} ({})", lines.join(", "))).collect();
            let _ = writeln!(text, "- `{name}`: {}", reasons.join("; "));
        }
        text
    }

    /// Of each system: its reasons, and the lines that it gives them for.
    fn reasons(&self) -> Vec<(&'static str, BTreeMap<String, Vec<String>>)> {
        let mut all = Vec::new();
        for (column, name) in self.names().enumerate() {
            let mut reasons: BTreeMap<String, Vec<String>> = BTreeMap::new();
            let mut seen = BTreeSet::new();
            for (index, row) in ROWS.iter().enumerate() {
                let why = self.cells.get(&(index, column)).and_then(Cell::why);
                let (Some(why), true) = (why, seen.insert(row.line)) else { continue };
                // All that a program says about a workload that it does not know.
                let why = match why {
                    Why::Unsupported(why) if why.contains("has nothing to do") => "nothing to do it with".to_owned(),
                    Why::Unsupported(why) => why.clone(),
                    Why::Failed("no result", _) => "nothing like it is measured".to_owned(),
                    Why::Failed(word, why) => format!("**{word}**: {}", why.replace('|', "\\|")),
                };
                reasons.entry(why).or_default().push(format!("`{}`", row.line));
            }
            if !reasons.is_empty() {
                all.push((name, reasons));
            }
        }
        all
    }

    /// What did not do what it should, for whoever runs this.
    pub(crate) fn failures(&self) -> Vec<String> {
        let failed = self.cells.iter().filter_map(|(&(row, column), cell)| match cell.why() {
            Some(Why::Failed(word, why)) if *word != "no result" => {
                Some(format!("{}: '{}' {word}: {why}", self.programs[column].system.name, ROWS[row].line))
            }
            _ => None,
        });
        failed.collect()
    }

    /// osier beside the best of the others, in what users do most and wherever it is behind.
    pub(crate) fn brief(&self) -> String {
        let (facts, absent, made_by) = (&self.facts, self.absent(), self.made_by);
        let mut text = format!("{facts}{absent} Made by `{made_by}`.\n\n");
        text.push_str("| workload | osier | best other | who | osier / best |\n| --- | ---: | ---: | --- | ---: |\n");
        for (index, row) in ROWS.iter().enumerate() {
            self.compare(&mut text, index, row, &row.name(), |_| true);
            if row.field == "bytes_per_task" {
                self.compare(&mut text, index, row, &format!("{}, among those with stacks", row.name()), |program| {
                    program.system.is_stackful
                });
            }
        }
        text.push_str("\nBold: the other one is better. All rows in which it is are here.\n");
        text
    }

    /// A row of the brief table, if it belongs there.
    fn compare(&self, text: &mut String, index: usize, row: &Row, name: &str, is_rival: impl Fn(&Program) -> bool) {
        let rivals = self.programs.iter().enumerate().skip(1).filter(|(_, program)| is_rival(program));
        let found = rivals.filter_map(|(column, program)| Some((self.median(index, column)?, program.system.name)));
        let best = found.min_by(|a, b| a.0.total_cmp(&b.0));
        let (Some(osier), Some((other, who))) = (self.median(index, 0), best) else { return };
        let ratio = osier / other;
        if !row.is_brief && (ratio <= 1.0 || ratio.is_nan()) {
            return;
        }
        let mark = if ratio > 1.0 { "**" } else { "" };
        let _ = writeln!(text, "| {name} | {} | {} | {who} | {mark}{ratio:.2}{mark} |", short(osier), short(other));
    }
}

/// Puts `text` between the marks of a file; a check only looks whether there are any.
pub(crate) fn put(file: &Path, text: &str, is_check: bool) -> Result<(), String> {
    const MARKS: [&str; 2] = ["<!-- measured -->", "<!-- /measured -->"];
    let old = fs::read_to_string(file).map_err(|error| format!("{}: {error}", file.display()))?;
    let marks = old.split_once(MARKS[0]).and_then(|(before, rest)| Some((before, rest.split_once(MARKS[1])?.1)));
    let (before, after) = marks.ok_or_else(|| format!("{} has no marks", file.display()))?;
    if is_check {
        return Ok(());
    }
    let new = format!("{before}{}\n\n{text}\n{}{after}", MARKS[0], MARKS[1]);
    fs::write(file, new).map_err(|error| format!("{}: {error}", file.display()))
}
