//! What is measured: the rows of the tables.

/// How much a program does in a repetition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Size {
    /// As many operations as take some time; how many, is found out for each program.
    Fitted,
    /// So many operations, fewer by the divisor for slow systems; none if the workload has another key for them. Repeated until
    /// that takes some time.
    Repeated(u64, u64),
    /// The same, once a round: it takes its time anyway, or what it finds depends on how many there are.
    Once(u64, u64),
}

/// A row: the workload with its keys, the number that is read off, and its unit.
pub(crate) struct Row {
    pub(crate) line: &'static str,
    pub(crate) size: Size,
    pub(crate) field: &'static str,
    pub(crate) unit: &'static str,
    /// The README shows it. (It also shows all others that osier is behind in.)
    pub(crate) is_brief: bool,
}

const fn row(line: &'static str, size: Size, field: &'static str, unit: &'static str) -> Row {
    Row { line, size, field, unit, is_brief: false }
}

/// Nanoseconds of an operation.
const fn ns(line: &'static str) -> Row {
    row(line, Size::Fitted, "ns_per_op", "ns")
}

const fn repeated(line: &'static str, n: u64, divisor: u64) -> Row {
    row(line, Size::Repeated(n, divisor), "ns_per_op", "ns")
}

const fn once(line: &'static str, n: u64, divisor: u64, field: &'static str, unit: &'static str) -> Row {
    row(line, Size::Once(n, divisor), field, unit)
}

impl Row {
    const fn brief(mut self) -> Self {
        self.is_brief = true;
        self
    }

    pub(crate) fn name(&self) -> String {
        match self.field {
            "ns_per_op" => format!("`{}`, {}", self.line, self.unit),
            field => format!("`{}`: {field}, {}", self.line, self.unit),
        }
    }
}

/// Rows of one line stand together: they are read off the same run.
pub(crate) const ROWS: &[Row] = &[
    ns("switch").brief(),
    ns("switch_many"),
    ns("symmetric").brief(),
    ns("gen_sum").brief(),
    ns("create").brief(),
    ns("spawn_join").brief(),
    ns("spawn_join wait=1").brief(),
    ns("spawn_join threads=2"),
    ns("spawn_join wait=1 threads=2").brief(),
    ns("yield_now").brief(),
    ns("yield_now threads=2"),
    ns("yield_now tasks=1000").brief(),
    ns("ping_pong").brief(),
    ns("ping_pong threads=2").brief(),
    ns("ping_pong place=apart threads=2"),
    ns("ping_pong chan=unbounded"),
    ns("ping_pong chan=rendezvous"),
    ns("ring"),
    ns("ring threads=2").brief(),
    ns("mpmc").brief(),
    ns("mpmc threads=2").brief(),
    ns("select").brief(),
    ns("select threads=2"),
    repeated("skynet", 100_000, 100),
    repeated("skynet wait=1", 100_000, 100).brief(),
    repeated("skynet threads=2", 100_000, 100).brief(),
    repeated("skynet wait=1 threads=2", 100_000, 100),
    repeated("fib k=22", 0, 1).brief(),
    repeated("fib k=22 wait=1", 0, 1),
    repeated("fib k=22 threads=2", 0, 1).brief(),
    repeated("fib k=22 wait=1 threads=2", 0, 1),
    ns("mutex").brief(),
    ns("mutex threads=2").brief(),
    ns("mutex yield_in=1"),
    ns("mutex yield_in=1 threads=2"),
    ns("timeout_churn").brief(),
    ns("timeout_churn wait=1").brief(),
    once("sleep_many", 20_000, 10, "ns_per_op", "ns of processor time").brief(),
    once("sleep_many threads=2", 20_000, 10, "ns_per_op", "ns of processor time"),
    ns("parallel_speedup"),
    ns("parallel_speedup threads=2"),
    ns("wake_remote").brief(),
    row("wake_remote", Size::Fitted, "cpu_per_wall", "processors"),
    once("idle_mem", 20_000, 10, "bytes_per_task", "bytes").brief(),
    once("idle_cpu ms=500", 0, 1, "wakeups_per_s", "a second"),
    once("wake_latency", 5_000, 1, "p50_us", "µs").brief(),
    once("wake_latency", 5_000, 1, "p99_us", "µs").brief(),
    once("wake_latency", 5_000, 1, "p999_us", "µs").brief(),
    once("wake_latency load=2", 5_000, 1, "p50_us", "µs").brief(),
    once("wake_latency load=2", 5_000, 1, "p99_us", "µs").brief(),
    once("wake_latency load=2", 5_000, 1, "p999_us", "µs").brief(),
    once("wake_latency from=thread", 5_000, 1, "p50_us", "µs"),
    once("wake_latency from=thread", 5_000, 1, "p99_us", "µs"),
    once("wake_latency from=thread", 5_000, 1, "p999_us", "µs"),
    once("stall", 0, 1, "sleep_p50_us", "µs"),
    once("stall", 0, 1, "sleep_p99_us", "µs"),
    once("stall", 0, 1, "spawn_p50_us", "µs"),
    once("stall", 0, 1, "spawn_p99_us", "µs"),
    once("stall", 0, 1, "spawn_max_us", "µs"),
    once("stall", 0, 1, "apart_p99_us", "µs"),
    once("echo_load conns=50", 50_000, 10, "ns_per_op", "ns").brief(),
    once("echo_load conns=50", 50_000, 10, "server_cpu_us", "µs of processor time").brief(),
    once("echo_load conns=50", 50_000, 10, "p99_us", "µs").brief(),
    once("echo_load conns=1000", 50_000, 10, "ns_per_op", "ns").brief(),
    once("echo_load conns=1000", 50_000, 10, "server_cpu_us", "µs of processor time").brief(),
    once("echo_load conns=1000", 50_000, 10, "p99_us", "µs").brief(),
];
