//! What to start, and how: std's builder, whose children are waited for as a task waits.

use std::ffi::OsStr;
use std::fmt;
use std::io;
use std::path::Path;
use std::process::{ExitStatus, Output, Stdio};

use super::child::Child;

/// Starts programs, as `std::process::Command` does.
///
/// Starting holds the thread until the program has been found or not, a millisecond or so; everything that follows waits as
/// a task waits. Whatever is not here (groups, users, what runs before `exec`) is set through [`as_std_mut`](Self::as_std_mut).
///
/// # Examples
/// ```
/// use osier::process::Command;
///
/// let output = osier::run(|| Command::new("tr").args(["a-z", "A-Z"]).spawn_piped()?.communicate(b"willow"))?;
/// assert_eq!(output.stdout, b"WILLOW");
/// # Ok::<(), std::io::Error>(())
/// ```
pub struct Command {
    std: std::process::Command,
    /// Which of the three streams the user has set.
    is_set: [bool; 3],
    kills_on_drop: bool,
}

/// The streams, as [`Command::is_set`] has them.
const STREAMS: [fn(&mut std::process::Command, Stdio); 3] = [
    |command, stdio| _ = command.stdin(stdio),
    |command, stdio| _ = command.stdout(stdio),
    |command, stdio| _ = command.stderr(stdio),
];

impl Command {
    /// Begins to describe the start of `program`, which is looked up in `PATH` unless it contains a slash.
    pub fn new(program: impl AsRef<OsStr>) -> Self {
        std::process::Command::new(program).into()
    }

    /// Adds an argument.
    pub fn arg(&mut self, argument: impl AsRef<OsStr>) -> &mut Self {
        self.std.arg(argument);
        self
    }

    /// Adds arguments.
    pub fn args<S: AsRef<OsStr>>(&mut self, arguments: impl IntoIterator<Item = S>) -> &mut Self {
        self.std.args(arguments);
        self
    }

    /// Sets a variable of the child's environment.
    pub fn env(&mut self, key: impl AsRef<OsStr>, value: impl AsRef<OsStr>) -> &mut Self {
        self.std.env(key, value);
        self
    }

    /// Sets variables of the child's environment.
    pub fn envs<K: AsRef<OsStr>, V: AsRef<OsStr>>(&mut self, variables: impl IntoIterator<Item = (K, V)>) -> &mut Self {
        self.std.envs(variables);
        self
    }

    /// Takes a variable out of the child's environment.
    pub fn env_remove(&mut self, key: impl AsRef<OsStr>) -> &mut Self {
        self.std.env_remove(key);
        self
    }

    /// Starts the child with no variables but those set here.
    pub fn env_clear(&mut self) -> &mut Self {
        self.std.env_clear();
        self
    }

    /// Sets the child's working directory.
    pub fn current_dir(&mut self, directory: impl AsRef<Path>) -> &mut Self {
        self.std.current_dir(directory);
        self
    }

    /// Sets the child's input: a file, an end of a pipe, `Stdio::piped()`.
    pub fn stdin(&mut self, stdio: impl Into<Stdio>) -> &mut Self {
        self.set(0, stdio.into())
    }

    /// Sets the child's output.
    pub fn stdout(&mut self, stdio: impl Into<Stdio>) -> &mut Self {
        self.set(1, stdio.into())
    }

    /// Sets where the child writes errors.
    pub fn stderr(&mut self, stdio: impl Into<Stdio>) -> &mut Self {
        self.set(2, stdio.into())
    }

    fn set(&mut self, stream: usize, stdio: Stdio) -> &mut Self {
        STREAMS[stream](&mut self.std, stdio);
        self.is_set[stream] = true;
        self
    }

    /// Kills the child if its handle is dropped while it runs; without this it runs on.
    pub fn kill_on_drop(&mut self, kills: bool) -> &mut Self {
        self.kills_on_drop = kills;
        self
    }

    /// The command of std.
    pub fn as_std(&self) -> &std::process::Command {
        &self.std
    }

    /// The command of std, for what has no method here. Streams that are set through it count as not set.
    pub fn as_std_mut(&mut self) -> &mut std::process::Command {
        &mut self.std
    }

    /// Starts the child. Streams that were not set are those of this process.
    ///
    /// # Errors
    /// There is no such program, with `NotFound`; it cannot be run; the system gives no process.
    pub fn spawn(&mut self) -> io::Result<Child> {
        Child::start(&mut self.std, self.kills_on_drop)
    }

    /// Starts the child with pipes for all streams that were not set: for [`Child::communicate`].
    ///
    /// # Errors
    /// As [`spawn`](Self::spawn).
    pub fn spawn_piped(&mut self) -> io::Result<Child> {
        self.spawn_with([Stdio::piped; 3], self.kills_on_drop)
    }

    /// Starts the child, waits for its end and gives what it wrote. Its output and errors are captured unless they were
    /// set, its input is empty.
    ///
    /// # Suspends
    /// The calling task, or on a plain thread the thread.
    ///
    /// # Cancel safety
    /// If it is interrupted, by a cancel or a timeout, the child is killed, and what it wrote is lost.
    ///
    /// # Errors
    /// As [`spawn`](Self::spawn). A child that fails is none: see the status.
    ///
    /// # Examples
    /// ```
    /// use osier::process::Command;
    ///
    /// let output = Command::new("echo").arg("sap").output()?;
    /// assert!(output.status.success() && output.stdout == b"sap\n");
    /// assert_eq!(Command::new("no such program").output().unwrap_err().kind(), std::io::ErrorKind::NotFound);
    /// # Ok::<(), std::io::Error>(())
    /// ```
    pub fn output(&mut self) -> io::Result<Output> {
        self.spawn_with([Stdio::null, Stdio::piped, Stdio::piped], true)?.wait_with_output()
    }

    /// Starts the child and waits for its end. Streams that were not set are those of this process.
    ///
    /// # Suspends
    /// As [`output`](Self::output).
    ///
    /// # Cancel safety
    /// As [`output`](Self::output).
    ///
    /// # Errors
    /// As [`spawn`](Self::spawn).
    pub fn status(&mut self) -> io::Result<ExitStatus> {
        Child::start(&mut self.std, true)?.wait()
    }

    /// Starts the child with these streams where none was set, for this one start.
    fn spawn_with(&mut self, streams: [fn() -> Stdio; 3], kills_on_drop: bool) -> io::Result<Child> {
        let open: Vec<_> = (0..3).filter(|&stream| !self.is_set[stream]).collect();
        open.iter().for_each(|&stream| STREAMS[stream](&mut self.std, streams[stream]()));
        let child = Child::start(&mut self.std, kills_on_drop);
        open.iter().for_each(|&stream| STREAMS[stream](&mut self.std, Stdio::inherit()));
        child
    }
}

/// Streams that were set there count as not set: [`Command::spawn`] keeps them, [`Command::output`] replaces them.
impl From<std::process::Command> for Command {
    fn from(std: std::process::Command) -> Self {
        Self { std, is_set: [false; 3], kills_on_drop: false }
    }
}

impl fmt::Debug for Command {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.std.fmt(f)
    }
}
