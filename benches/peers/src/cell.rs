//! Numbers of programs: run, read, and summed up over the rounds.

use std::io::{self, Read};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::process::{Command, Stdio};
use std::sync::mpsc;
use std::thread::{self, JoinHandle};
use std::time::Duration;

/// How long a program may take before it counts as hanging.
const LIMIT: Duration = Duration::from_secs(120);

/// Why there is no result.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Why {
    /// The program does not have it, and says why.
    Unsupported(String),
    /// What it did, in a word, and its last words.
    Failed(&'static str, String),
}

/// What one program found in all its rounds: numbers, and why there are not more.
#[derive(Default)]
pub(crate) struct Cell {
    pub(crate) found: Vec<f64>,
    why: Option<Why>,
}

impl Cell {
    /// Whether a round had no result: then there are no more.
    pub(crate) fn has_failed(&self) -> bool {
        self.why.is_some()
    }

    pub(crate) fn why(&self) -> Option<&Why> {
        self.why.as_ref()
    }

    /// Reads the number called `field` off what a program has said.
    pub(crate) fn read(&mut self, said: &Result<String, Why>, field: &str) {
        match said.clone().and_then(|text| number(&text, field)) {
            Ok(number) => self.found.push(number),
            Err(why) => self.why = Some(why),
        }
    }

    /// The middle value; of an even number of values, the mean of the two in the middle.
    pub(crate) fn median(&self) -> Option<f64> {
        let mut found = self.found.clone();
        found.sort_by(f64::total_cmp);
        let middle = found.len() / 2;
        match found.len() {
            0 => None,
            odd if odd % 2 == 1 => Some(found[middle]),
            _ => Some(f64::midpoint(found[middle - 1], found[middle])),
        }
    }

    /// The median, the least, and the spread: how far the highest is above the least. A program that failed is marked, also
    /// when it did so in a later round.
    pub(crate) fn text(&self) -> String {
        let failure = match &self.why {
            Some(Why::Failed(word, _)) => *word,
            _ => "",
        };
        let Some(median) = self.median() else {
            return failure.to_owned();
        };
        let least = self.found.iter().copied().fold(f64::INFINITY, f64::min);
        let most = self.found.iter().copied().fold(0.0, f64::max);
        let spread = if least > 0.0 { format!(", +{:.0} %", (most / least - 1.0) * 100.0) } else { String::new() };
        let mark =
            if self.has_failed() { format!(" **{failure} in round {}**", self.found.len() + 1) } else { String::new() };
        format!("{} ({}{spread}){mark}", short(median), short(least))
    }
}

pub(crate) fn short(number: f64) -> String {
    if number < 10.0 { format!("{number:.1}") } else { format!("{number:.0}") }
}

/// Reads a program's output to its end, on a thread of its own.
fn reader(mut from: impl Read + Send + 'static) -> JoinHandle<String> {
    thread::spawn(move || {
        let mut text = Vec::new();
        // What was read before an error is all there is.
        let _ = from.read_to_end(&mut text);
        String::from_utf8_lossy(&text).into_owned()
    })
}

/// Waits until a process ends, and leaves it to be waited for once more: until then nobody else gets its number.
fn wait_for_end(process: libc::id_t) {
    loop {
        // SAFETY: a plain structure, for which zeros are a value.
        let mut about: libc::siginfo_t = unsafe { std::mem::zeroed() };
        // SAFETY: `about` is valid for writes.
        let result = unsafe { libc::waitid(libc::P_PID, process, &raw mut about, libc::WEXITED | libc::WNOWAIT) };
        if result == 0 || io::Error::last_os_error().kind() != io::ErrorKind::Interrupted {
            return;
        }
    }
}

/// Runs one program once, and gives what it said. What it has started, as an echo server, ends with it.
///
/// # Errors
/// Why it has no result.
pub(crate) fn turn(mut command: Command) -> Result<String, Why> {
    let failed = |word, text: &str| Err(Why::Failed(word, text.trim().to_owned()));
    // A group of its own: what it starts can be killed with it.
    command.process_group(0).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = match command.spawn() {
        Ok(child) => child,
        Err(error) => return failed("missing", &error.to_string()),
    };
    let process = child.id();
    let (Some(out), Some(err)) = (child.stdout.take(), child.stderr.take()) else {
        return failed("missing", "it has no output");
    };
    let (out, err) = (reader(out), reader(err));
    let (tell, ended) = mpsc::channel();
    let waiter = thread::spawn(move || {
        wait_for_end(process);
        let _ = tell.send(());
    });
    let hangs = ended.recv_timeout(LIMIT).is_err();
    let group = libc::pid_t::try_from(process).expect("processes have small numbers");
    // SAFETY: the call takes numbers. The leader has not been waited for, so the group is still ours.
    unsafe { libc::kill(-group, libc::SIGKILL) };
    waiter.join().expect("it only waits");
    let status = child.wait();
    let (out, err) = (out.join().expect("it only reads"), err.join().expect("it only reads"));
    if hangs {
        return failed("hangs", &err);
    }
    let last = err.lines().last().unwrap_or_default();
    match status.map(|status| (status.code(), status.signal())) {
        Ok((Some(0), _)) => Ok(out),
        Ok((Some(3), _)) => Err(Why::Unsupported(last.trim_start_matches("UNSUPPORTED").trim().to_owned())),
        Ok((Some(_), _)) => failed("fails", last),
        Ok((None, signal)) => failed("crashes", &format!("signal {}. {last}", signal.unwrap_or_default())),
        Err(error) => failed("fails", &error.to_string()),
    }
}

pub(crate) fn number(text: &str, field: &str) -> Result<f64, Why> {
    let number = text.split_once(&format!("\"{field}\":")).and_then(|(_, rest)| {
        let end = rest.find([',', '}']).unwrap_or(rest.len());
        rest[..end].trim().parse().ok()
    });
    number.ok_or_else(|| Why::Failed("no result", format!("no \"{field}\" in what it said")))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shell(line: &str) -> Result<String, Why> {
        let mut command = Command::new("sh");
        command.args(["-c", line]);
        turn(command)
    }

    #[test]
    fn what_a_program_says_is_read() {
        let mut cell = Cell::default();
        for ns in [4, 1, 3, 2] {
            cell.read(&shell(&format!("echo '{{\"ns_per_op\":{ns}.5}}'")), "ns_per_op");
        }
        assert_eq!((cell.median(), cell.text().as_str()), (Some(3.0), "3.0 (1.5, +200 %)"));
        cell.read(&shell("echo 'FAIL why' >&2; exit 1"), "ns_per_op");
        assert_eq!(cell.why(), Some(&Why::Failed("fails", "FAIL why".to_owned())));
        assert_eq!(cell.text(), "3.0 (1.5, +200 %) **fails in round 5**");
    }

    #[test]
    fn what_a_program_does_not_have_is_no_failure() {
        let said = shell("echo 'UNSUPPORTED it cannot wait' >&2; exit 3");
        assert_eq!(said, Err(Why::Unsupported("it cannot wait".to_owned())));
        assert!(matches!(shell("kill -9 $$"), Err(Why::Failed("crashes", _))));
    }

    #[test]
    fn what_a_program_leaves_behind_ends_with_it() {
        // The sleeper holds both outputs: reading them to their ends would take a minute.
        let start = std::time::Instant::now();
        assert_eq!(shell("sleep 60 & echo over"), Ok("over\n".to_owned()));
        assert!(start.elapsed() < Duration::from_secs(30));
    }
}
