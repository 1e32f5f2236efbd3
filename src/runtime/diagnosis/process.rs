//! Who there is in the process besides tasks: threads, and signal handlers.

/// What the system says of this process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Process {
    /// How many threads it has.
    pub(super) threads: usize,
    /// Whether a signal that comes from outside runs a handler, which may do anything.
    pub(super) handles_signals: bool,
}

impl Process {
    /// `None` where the system does not tell.
    pub(super) fn look() -> Option<Self> {
        if cfg!(miri) || cfg!(not(target_os = "linux")) {
            return None;
        }
        Self::parse(&std::fs::read_to_string("/proc/self/status").ok()?)
    }

    fn parse(status: &str) -> Option<Self> {
        let field = |name: &str| {
            let line = status.lines().find_map(|line| line.strip_prefix(name));
            line.map(str::trim)
        };
        let threads = field("Threads:")?.parse().ok()?;
        let caught = u64::from_str_radix(field("SigCgt:")?, 16).ok()?;
        Some(Self { threads, handles_signals: caught & !harmless() != 0 })
    }
}

/// Signals whose handlers wake nobody: those that a fault of the thread itself raises, of which std handles some, those that
/// the C library keeps for itself, and our own.
fn harmless() -> u64 {
    let faults = [libc::SIGSEGV, libc::SIGBUS, libc::SIGILL, libc::SIGFPE, libc::SIGTRAP, libc::SIGABRT, libc::SIGSYS];
    // glibc has the first two, for cancelling threads and for setting ids; musl has three.
    let of_the_library = [32, 33, 34];
    let own = super::quit::is_installed().then_some(libc::SIGQUIT);
    faults.into_iter().chain(of_the_library).chain(own).map(|signal| 1 << (signal - 1)).sum()
}

#[cfg(all(test, not(osier_loom)))]
mod tests {
    use super::*;

    #[test]
    fn handlers_of_faults_wake_nobody() {
        let look = |caught: u64| Process::parse(&format!("Name:\tx\nThreads:\t3\nSigCgt:\t{caught:016x}\n"));
        let bit = |signal: i32| 1 << (signal - 1);
        let found = |handles_signals| Some(Process { threads: 3, handles_signals });
        assert_eq!(look(bit(libc::SIGSEGV) | bit(libc::SIGBUS) | bit(33)), found(false));
        assert_eq!(look(bit(libc::SIGSEGV) | bit(libc::SIGUSR1)), found(true));
        assert_eq!(Process::parse("Threads:\t3\n"), None);
    }
}
