//! tokio, on as many workers as `threads` says. The root is a task of its own: the thread that calls it is no worker.

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
    let mut builder = Builder::new_multi_thread();
    builder.worker_threads(params.size("threads")).enable_all();
    builder.build().map_err(|error| Failure::Wrong(format!("no runtime: {error}")))
}

fn find(workload: &str) -> Option<Measure> {
    workloads::find(workload)
}

fn main() -> ExitCode {
    line::main(|arguments| line::execute("tokio_multi_thread", find, arguments))
}
