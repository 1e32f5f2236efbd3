//! Numbers of programs: run, read, and summed up over the rounds.

use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

/// How long a program may take before it counts as hanging.
const LIMIT: Duration = Duration::from_secs(120);

/// What one program found in all its rounds: a number, or why there is none.
#[derive(Default)]
pub(crate) struct Cell {
    pub(crate) found: Vec<f64>,
    failure: Option<String>,
}

impl Cell {
    pub(crate) fn has_failed(&self) -> bool {
        self.failure.is_some()
    }

    /// Reads the number called `field` off what a program has said.
    pub(crate) fn read(&mut self, said: &Result<String, String>, field: &str) {
        match said.clone().and_then(|text| number(&text, field)) {
            Ok(number) => self.found.push(number),
            Err(why) => self.failure = Some(why),
        }
    }

    pub(crate) fn median(&self) -> Option<f64> {
        let mut found = self.found.clone();
        found.sort_by(f64::total_cmp);
        found.get(found.len() / 2).copied()
    }

    /// The median, the least, and the spread: how far the highest is above the least.
    pub(crate) fn text(&self) -> String {
        let Some(median) = self.median() else {
            return self.failure.clone().unwrap_or_default();
        };
        let least = self.found.iter().copied().fold(f64::INFINITY, f64::min);
        let most = self.found.iter().copied().fold(0.0, f64::max);
        format!("{} ({}, +{:.0} %)", short(median), short(least), (most / least - 1.0) * 100.0)
    }
}

pub(crate) fn short(number: f64) -> String {
    if number < 10.0 { format!("{number:.1}") } else { format!("{number:.0}") }
}

/// Runs one program once, and gives what it said.
///
/// # Errors
/// Why it has no result, in a word: it failed, or it hung; nothing if it does not have the workload.
pub(crate) fn turn(mut command: Command) -> Result<String, String> {
    let started = command.stdout(Stdio::piped()).stderr(Stdio::null()).spawn();
    let Ok(mut child) = started else { return Err("missing".to_owned()) };
    let start = Instant::now();
    let status = loop {
        match child.try_wait() {
            Ok(Some(status)) => break status,
            Ok(None) if start.elapsed() < LIMIT => thread::sleep(Duration::from_millis(2)),
            _ => {
                let _ = child.kill();
                let _ = child.wait();
                return Err("hangs".to_owned());
            }
        }
    };
    let output = child.wait_with_output().map(|output| output.stdout).unwrap_or_default();
    match status.code() {
        Some(0) => {}
        Some(3) => return Err(String::new()),
        Some(_) => return Err("fails".to_owned()),
        None => return Err("crashes".to_owned()),
    }
    Ok(String::from_utf8_lossy(&output).into_owned())
}

fn number(text: &str, field: &str) -> Result<f64, String> {
    let number = text.split_once(&format!("\"{field}\":")).and_then(|(_, rest)| {
        let end = rest.find([',', '}']).unwrap_or(rest.len());
        rest[..end].trim().parse().ok()
    });
    number.ok_or_else(|| "no result".to_owned())
}
