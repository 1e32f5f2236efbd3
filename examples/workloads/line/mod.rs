//! What every measured system shares: the command line, the repetitions, the line of JSON, the work.
//!
//! osier's program is the `workloads` example; `benches/peers/rust/` has a program for each of the other systems, which
//! takes these files as its own. So all have the same keys and defaults, count and time in the same way, and compute
//! the same.
//!
//! | exit code | means | on standard error |
//! | --- | --- | --- |
//! | 0 | measured | |
//! | 1 | a wrong result, or a panic | `FAIL why` |
//! | 2 | a mistake in the command line | what is wrong, and what there is |
//! | 3 | something the system does not have | `UNSUPPORTED why` |

pub(crate) mod args;
pub(crate) mod echo;
pub(crate) mod histogram;
pub(crate) mod latency;
pub(crate) mod measure;
pub(crate) mod memory;
#[cfg(target_os = "linux")]
pub(crate) mod processors;
pub(crate) mod sleep;
pub(crate) mod stall;
pub(crate) mod table;
pub(crate) mod work;

use std::panic;
use std::process::ExitCode;

use args::Params;
use measure::Report;

/// Why there is no report.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Failure {
    /// The command line asks for something that no workload has.
    Mistake(String),
    /// The system does not have what would be measured.
    Unsupported(String),
    /// The result was wrong.
    Wrong(String),
}

/// What measures a workload.
pub(crate) type Measure = fn(&Params) -> Result<Report, Failure>;

/// Does what a command line says, with the workloads that `peer` has, and returns the line that is to be printed.
///
/// # Errors
/// A mistake in the command line, or whatever kept the workload from being measured.
pub(crate) fn execute(
    peer: &str,
    find: impl Fn(&str) -> Option<Measure>,
    arguments: &[String],
) -> Result<String, Failure> {
    let known = || table::WORKLOADS.iter().map(|(name, _)| *name).collect::<Vec<_>>().join(", ");
    let Some((name, arguments)) = arguments.split_first() else {
        return Err(Failure::Mistake(format!("usage: PROGRAM WORKLOAD [key=value ...]; there are {}", known())));
    };
    let Some((name, keys)) = table::WORKLOADS.iter().find(|(known, _)| known == name) else {
        return Err(Failure::Mistake(format!("unknown workload '{name}'; there are {}", known())));
    };
    let params = Params::parse(keys, arguments).map_err(Failure::Mistake)?;
    let measure = find(name).ok_or_else(|| Failure::Unsupported(format!("{peer} has nothing to do '{name}' with")))?;
    Ok(measure(&params)?.json(peer, name, &params) + "\n")
}

/// The `main` of a program: prints what `execute` returns, or says on standard error why there is nothing.
#[allow(clippy::print_stdout, reason = "printing a line is what these programs are for")]
pub(crate) fn main(execute: impl FnOnce(&[String]) -> Result<String, Failure> + panic::UnwindSafe) -> ExitCode {
    let arguments: Vec<String> = std::env::args_os().skip(1).map(|word| word.to_string_lossy().into_owned()).collect();
    // The panic hook has shown the message and the place; this says what became of it.
    let result = panic::catch_unwind(|| execute(&arguments))
        .unwrap_or_else(|payload| Err(Failure::Wrong(message(payload.as_ref()).to_owned())));
    match result {
        Ok(text) => {
            print!("{text}");
            ExitCode::SUCCESS
        }
        Err(Failure::Wrong(why)) => {
            eprintln!("FAIL {why}");
            ExitCode::FAILURE
        }
        Err(Failure::Mistake(what)) => {
            eprintln!("{what}");
            ExitCode::from(2)
        }
        Err(Failure::Unsupported(why)) => {
            eprintln!("UNSUPPORTED {why}");
            ExitCode::from(3)
        }
    }
}

/// What a panic said.
fn message(payload: &(dyn std::any::Any + Send)) -> &str {
    match (payload.downcast_ref::<&str>(), payload.downcast_ref::<String>()) {
        (Some(text), _) => text,
        (_, Some(text)) => text,
        _ => "a panic without a message",
    }
}
