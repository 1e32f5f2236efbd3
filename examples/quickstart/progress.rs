//! Says how far the counting is: a line that rewrites itself on a terminal, a plain line per stage elsewhere.

use std::io::{self, IsTerminal};
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// Progress on standard error, so that standard output holds the results alone.
#[derive(Debug)]
pub(crate) struct Progress {
    stage: Mutex<Stage>,
    files: AtomicU64,
    bytes: AtomicU64,
    is_terminal: bool,
}

#[derive(Debug)]
struct Stage {
    name: String,
    last_shown: Instant,
}

/// Between two updates of the line.
const INTERVAL: Duration = Duration::from_millis(100);
/// Spaces, and back to the beginning of the line.
const WIPE: &str = "\r                                                                              \r";

impl Progress {
    pub(crate) fn new() -> Self {
        let stage = Mutex::new(Stage { name: String::new(), last_shown: Instant::now() });
        // The test harness cannot keep back what tasks print.
        let is_terminal = !cfg!(test) && io::stderr().is_terminal();
        Self { stage, files: AtomicU64::new(0), bytes: AtomicU64::new(0), is_terminal }
    }

    /// Begins a stage. It gets a plain line if `worth_a_line` and nobody sees the other kind.
    pub(crate) fn begin(&self, name: String, worth_a_line: bool) {
        self.files.store(0, Ordering::Relaxed);
        self.bytes.store(0, Ordering::Relaxed);
        if !self.is_terminal && worth_a_line {
            eprintln!("  ... {name}");
        }
        let mut stage = self.stage.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        stage.name = name;
        if self.is_terminal {
            self.show(&mut stage);
        }
    }

    /// Counts what has been read; shows it now and then.
    pub(crate) fn add(&self, files: u64, bytes: u64) {
        self.files.fetch_add(files, Ordering::Relaxed);
        self.bytes.fetch_add(bytes, Ordering::Relaxed);
        // Whoever finds the lock taken leaves the showing to the other.
        if self.is_terminal
            && let Ok(mut stage) = self.stage.try_lock()
            && stage.last_shown.elapsed() >= INTERVAL
        {
            self.show(&mut stage);
        }
    }

    /// Wipes the line.
    pub(crate) fn end(&self) {
        if self.is_terminal {
            eprint!("{WIPE}");
        }
    }

    fn show(&self, stage: &mut Stage) {
        let (files, bytes) = (self.files.load(Ordering::Relaxed), self.bytes.load(Ordering::Relaxed));
        stage.last_shown = Instant::now();
        eprint!("{WIPE}  ... {}: {files} files, {:.1} MB", stage.name, bytes as f64 / 1e6);
    }
}
