//! The client: as many connections as asked for, each with one message under way, on one thread around epoll.
//!
//! It starts the server as a process of its own: `server=osier` and `server=epoll` are this program again,
//! `server=other` is the command line in the environment's `ECHO_SERVER`, which prints `LISTEN port` as they do. With
//! `pin=1` the server has the first processor that this program may run on, or all but the last for `threads` above 1, and the
//! client the last. `work` is how many nanoseconds the client computes for each message: with enough of them it is the
//! client that is busy all the time, and not the server.

use std::ffi::OsString;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};
use std::{env, fs};

use super::epoll::Epoll;
use super::failed;
use crate::Failure;
use crate::args::Params;
use crate::line::processors;
use crate::measure::{Report, Sample, check, median, timed};

const MESSAGE: usize = 64;

/// A server's process, which ends with this value.
struct Server {
    process: Child,
    port: u16,
}

impl Drop for Server {
    fn drop(&mut self) {
        _ = self.process.kill();
        _ = self.process.wait();
    }
}

impl Server {
    /// Starts a program that prints `LISTEN port` as soon as it does.
    fn start(words: &[OsString]) -> Result<Self, Failure> {
        let (program, arguments) = words.split_first().expect("a command line has words");
        let process = Command::new(program).args(arguments).stdout(Stdio::piped()).spawn().map_err(failed)?;
        let mut server = Self { process, port: 0 };
        let mut line = String::new();
        let output = server.process.stdout.take().expect("it was asked for");
        BufReader::new(output).read_line(&mut line).map_err(failed)?;
        if line.is_empty() && server.process.wait().map_err(failed)?.code() == Some(3) {
            return Err(Failure::Unsupported("the other program has no echo server".to_owned()));
        }
        let port = line.trim().strip_prefix("LISTEN ").and_then(|port| port.parse().ok());
        server.port = port.ok_or_else(|| Failure::Wrong(format!("the server does not say where it is: '{line}'")))?;
        Ok(server)
    }
}

/// The command line of a server that this program is itself.
pub(super) fn own(workload: &str, keys: &[String]) -> Result<Vec<OsString>, Failure> {
    let mut words = vec![env::current_exe().map_err(failed)?.into_os_string(), workload.into()];
    words.extend(keys.iter().map(OsString::from));
    Ok(words)
}

/// The words of a command line, with spaces between them and nowhere else.
pub(super) fn words_of(line: &str) -> Vec<OsString> {
    line.split_whitespace().map(OsString::from).collect()
}

/// The processor time that the threads of a process have used, in nanoseconds.
fn cpu_of(process: u32) -> f64 {
    let threads = fs::read_dir(format!("/proc/{process}/task")).into_iter().flatten().flatten();
    let of = |text: String| text.split_whitespace().next().and_then(|first| first.parse::<f64>().ok());
    threads.filter_map(|thread| of(fs::read_to_string(thread.path().join("schedstat")).ok()?)).sum()
}

/// A connection, and what is under way on it.
struct Connection {
    stream: TcpStream,
    sent: Instant,
    /// How much of the answer has come.
    got: usize,
}

fn compute(work: Duration) {
    if !work.is_zero() {
        let end = Instant::now() + work;
        while Instant::now() < end {
            std::hint::spin_loop();
        }
    }
}

/// Exchanges `n` messages, and notes how long each took. Computes for `work` after each answer.
fn exchange(
    connections: &mut [Connection],
    epoll: &mut Epoll,
    n: u64,
    work: Duration,
    times: &mut Vec<u32>,
) -> io::Result<u64> {
    let message = [42; MESSAGE];
    let mut to_send = n;
    let mut answered = 0;
    let mut send = |connection: &mut Connection| {
        if to_send == 0 {
            return Ok(());
        }
        to_send -= 1;
        connection.sent = Instant::now();
        connection.stream.write_all(&message)
    };
    connections.iter_mut().try_for_each(&mut send)?;
    let mut buffer = [0; MESSAGE];
    while answered < n {
        let mut failure = None;
        for key in epoll.wait() {
            let connection = &mut connections[usize::try_from(key).expect("it was an index")];
            match connection.stream.read(&mut buffer[connection.got..]) {
                Ok(0) => failure = Some(io::ErrorKind::UnexpectedEof.into()),
                Ok(size) => connection.got += size,
                Err(error) => failure = Some(error),
            }
            if connection.got == MESSAGE {
                connection.got = 0;
                answered += 1;
                times.push(u32::try_from(connection.sent.elapsed().as_nanos()).unwrap_or(u32::MAX));
                if buffer != message {
                    failure = Some(io::Error::other("it sent something else"));
                }
                compute(work);
                if let Err(error) = send(connection) {
                    failure = Some(error);
                }
            }
        }
        if let Some(failure) = failure {
            return Err(failure);
        }
    }
    Ok(answered)
}

/// Which processors servers have, and which one the client.
pub(super) struct Places(Option<(Vec<usize>, Vec<usize>)>);

impl Places {
    /// As `pin` says. Asked before the client is bound to its own.
    pub(super) fn of(params: &Params) -> Result<Self, Failure> {
        let mut servers = processors::allowed().map_err(failed)?;
        let client = servers.pop().filter(|_| params.is_set("pin") && !servers.is_empty());
        if params.number("threads") == 1 {
            servers.truncate(1);
        }
        Ok(Self(client.map(|client| (servers, vec![client]))))
    }

    fn start(&self, words: &[OsString]) -> Result<Server, Failure> {
        let Some((servers, client)) = &self.0 else { return Server::start(words) };
        processors::run_on(servers).map_err(failed)?;
        let server = Server::start(words);
        processors::run_on(client).map_err(failed)?;
        server
    }
}

/// A server, and connections to it.
pub(super) struct Load {
    connections: Vec<Connection>,
    epoll: Epoll,
    /// How long the client computes for each message.
    work: Duration,
    // Ends after the connections.
    server: Server,
}

/// What some messages took.
#[derive(Clone, Copy)]
pub(super) struct Taken {
    pub(super) sample: Sample,
    /// Of the server's processor time, for one message.
    pub(super) cpu_us: f64,
    pub(super) p50_us: f64,
    pub(super) p99_us: f64,
}

impl Load {
    /// Starts a server and connects to it.
    pub(super) fn start(words: &[OsString], places: &Places, params: &Params) -> Result<Self, Failure> {
        let server = places.start(words)?;
        let epoll = Epoll::new().map_err(failed)?;
        let mut connections = Vec::new();
        for key in 0..params.number("conns") {
            let stream = TcpStream::connect(("127.0.0.1", server.port)).map_err(failed)?;
            stream.set_nodelay(true).map_err(failed)?;
            epoll.add(&stream, key).map_err(failed)?;
            connections.push(Connection { stream, sent: Instant::now(), got: 0 });
        }
        Ok(Self { connections, epoll, work: Duration::from_nanos(params.number("work")), server })
    }

    /// Exchanges `n` messages.
    pub(super) fn measure(&mut self, n: u64) -> Result<Taken, Failure> {
        let mut times = Vec::with_capacity(usize::try_from(n).expect("they fit into memory"));
        let before = cpu_of(self.server.process.id());
        let (sample, answered) = timed(|| exchange(&mut self.connections, &mut self.epoll, n, self.work, &mut times));
        let cpu_us = (cpu_of(self.server.process.id()) - before) / n as f64 / 1e3;
        check("messages answered", answered.map_err(failed)?, n)?;
        times.sort_unstable();
        Ok(Taken { sample, cpu_us, p50_us: percentile(&times, 50), p99_us: percentile(&times, 99) })
    }
}

/// Microseconds that so many percent of the times were below.
fn percentile(sorted: &[u32], percent: usize) -> f64 {
    f64::from(sorted[sorted.len() * percent / 100]) / 1e3
}

/// One operation is one message and its answer.
pub(crate) fn echo_load(params: &Params) -> Result<Report, Failure> {
    let threads = [format!("threads={}", params.number("threads"))];
    let words = match params.word("server") {
        "osier" => own("echo", &threads)?,
        "epoll" => own("bare_echo", &threads)?,
        _ => {
            let words = words_of(&env::var("ECHO_SERVER").unwrap_or_default());
            if words.is_empty() {
                return Err(Failure::Mistake("server=other: ECHO_SERVER holds no command line".to_owned()));
            }
            words
        }
    };
    let mut load = Load::start(&words, &Places::of(params)?, params)?;
    let (mut cpu, mut p50, mut p99) = (Vec::new(), Vec::new(), Vec::new());
    let report = Report::of(params, params.number("n"), |n| {
        let taken = load.measure(n)?;
        cpu.push(taken.cpu_us);
        p50.push(taken.p50_us);
        p99.push(taken.p99_us);
        Ok(taken.sample)
    })?;
    // The first is the warm-up.
    let of = |values: Vec<f64>| median(values.into_iter().skip(1));
    Ok(report.with("server_cpu_us", of(cpu)).with("p50_us", of(p50)).with("p99_us", of(p99)))
}
