//! tokio, on the thread that calls it: `threads` must be 1.

use std::process::ExitCode;

use line::args::Params;
use line::{Failure, Measure};
use tokio::runtime::{Builder, Runtime};

#[path = "tokio/late.rs"]
mod late;
#[path = "../../../examples/workloads/line/mod.rs"]
#[allow(dead_code, reason = "not every system needs every part")]
mod line;
#[path = "tokio/workloads.rs"]
mod workloads;

fn runtime(params: &Params) -> Result<Runtime, Failure> {
    if params.number("threads") != 1 {
        return Err(Failure::Unsupported("this runtime has one thread".to_owned()));
    }
    Builder::new_current_thread().enable_all().build().map_err(|error| Failure::Wrong(format!("no runtime: {error}")))
}

fn find(workload: &str) -> Option<Measure> {
    workloads::find(workload)
}

fn main() -> ExitCode {
    line::main(|arguments| line::execute("tokio_current_thread", find, arguments))
}
