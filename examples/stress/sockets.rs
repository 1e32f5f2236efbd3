//! As many connections as asked for, at first idle, then all echoing, then gone: a server in a process of its own, which
//! counts what is left.
//!
//! The server is this program again. It keeps one connection for orders: after each it tells how many descriptors and tasks
//! it has, and how much memory.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::SocketAddr;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use osier::net::{StreamServer, TcpListener, TcpStream};
use osier::sync::{Event, Semaphore};
use osier::{Runtime, join_all, spawn, time};

/// Descriptors beside the connections'.
const OTHERS: u64 = 100;
/// What a connection says, and how often.
const MESSAGE: [u8; 64] = [42; 64];
const ROUNDS: usize = 5;
/// How many connect, or talk, at the same time.
const AT_ONCE: usize = 500;
const PATIENCE: Duration = Duration::from_secs(60);

/// Raises the limit of descriptors as far as it goes, and gives how many connections that is room for.
fn room() -> io::Result<u64> {
    let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: it writes the struct.
    if unsafe { libc::getrlimit(libc::RLIMIT_NOFILE, &raw mut limit) } != 0 {
        return Err(io::Error::last_os_error());
    }
    limit.rlim_cur = limit.rlim_max;
    // SAFETY: it reads the struct.
    if unsafe { libc::setrlimit(libc::RLIMIT_NOFILE, &raw const limit) } != 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(limit.rlim_cur.saturating_sub(OTHERS))
}

fn echo(mut stream: &TcpStream) -> io::Result<()> {
    let mut buffer = [0; MESSAGE.len()];
    loop {
        match stream.read(&mut buffer)? {
            0 => return Ok(()),
            n => stream.write_all(&buffer[..n])?,
        }
    }
}

/// What the server tells of itself.
#[derive(Clone, Copy, Debug)]
struct Books {
    descriptors: u64,
    /// Those that serve a connection.
    tasks: u64,
    /// In KiB.
    memory: u64,
}

impl Books {
    fn of_this_process(tasks: usize) -> io::Result<Self> {
        let status = std::fs::read_to_string("/proc/self/status")?;
        let memory = status.lines().find_map(|line| line.strip_prefix("VmRSS:")?.trim().strip_suffix(" kB"));
        Ok(Self {
            descriptors: std::fs::read_dir("/proc/self/fd")?.count() as u64,
            tasks: tasks as u64,
            memory: memory.and_then(|memory| memory.trim().parse().ok()).unwrap_or_default(),
        })
    }

    fn parse(line: &str) -> Option<Self> {
        let mut numbers = line.split_whitespace().map(|number| number.parse().ok());
        Some(Self { descriptors: numbers.next()??, tasks: numbers.next()??, memory: numbers.next()?? })
    }
}

/// The server: serves until its connection for orders ends.
pub(crate) fn serve() -> io::Result<()> {
    room()?;
    osier::run(|| {
        let listener = TcpListener::bind("127.0.0.1:0")?;
        let orders = TcpListener::bind("127.0.0.1:0")?;
        println!("\nLISTEN {} {}", listener.local_addr()?, orders.local_addr()?);
        let server = StreamServer::new(listener, |stream, _| _ = echo(&stream));
        server.start();
        let (orders, _) = orders.accept()?;
        for order in BufReader::new(&orders).lines() {
            order?;
            let Books { descriptors, tasks, memory } = Books::of_this_process(server.connections())?;
            writeln!(&orders, "{descriptors} {tasks} {memory}")?;
        }
        assert!(server.stop(PATIENCE), "connections are left");
        Ok(())
    })
}

/// The server's process, which ends with this value.
struct Server {
    process: Child,
    address: SocketAddr,
    orders: TcpStream,
}

impl Server {
    fn start(mut command: Command) -> io::Result<Self> {
        let mut process = command.stdout(Stdio::piped()).spawn()?;
        let output = osier::net::PipeReader::try_from(process.stdout.take().expect("it was asked for"))?;
        let lines = BufReader::new(output).lines().map_while(Result::ok);
        let addresses: Option<(SocketAddr, SocketAddr)> = lines.into_iter().find_map(|line| {
            let (server, orders) = line.strip_prefix("LISTEN ")?.split_once(' ')?;
            Some((server.parse().ok()?, orders.parse().ok()?))
        });
        let (address, orders) = addresses.ok_or_else(|| io::Error::other("the server does not say where it is"))?;
        Ok(Self { process, address, orders: TcpStream::connect(orders)? })
    }

    fn books(&self) -> io::Result<Books> {
        (&self.orders).write_all(b"tell\n")?;
        let mut line = String::new();
        BufReader::new(&self.orders).read_line(&mut line)?;
        Books::parse(&line).ok_or_else(|| io::Error::other(line))
    }

    /// Waits until the server has so many connections.
    fn settled(&self, connections: u64) -> io::Result<Books> {
        let began = Instant::now();
        loop {
            let books = self.books()?;
            if books.tasks == connections {
                return Ok(books);
            }
            assert!(began.elapsed() < PATIENCE, "{connections} connections expected: {books:?}");
            time::sleep(Duration::from_millis(10));
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        _ = self.process.kill();
        _ = self.process.wait();
    }
}

/// Connects, waits for `all`, and talks; a place is for one that does something.
fn client(address: SocketAddr, places: &Semaphore, all: &Event, leave: &Event) -> io::Result<()> {
    let mut stream = {
        let _place = places.hold();
        TcpStream::connect(address)?
    };
    all.wait();
    for _ in 0..ROUNDS {
        let _place = places.hold();
        stream.write_all(&MESSAGE)?;
        let mut echoed = [0; MESSAGE.len()];
        stream.read_exact(&mut echoed)?;
        assert_eq!(echoed, MESSAGE);
    }
    leave.wait();
    Ok(())
}

/// What a run has shown.
pub(crate) struct Outcome {
    pub(crate) connections: u64,
    pub(crate) messages: u64,
    pub(crate) time: Duration,
    /// Of the server, while all were connected.
    pub(crate) memory_each: u64,
}

/// Connects, says something, and goes, so many times over at once. Gives what the server counts meanwhile and afterwards.
fn round(server: &Server, connections: u64) -> io::Result<(Books, Books)> {
    let (all, leave, places) = (Event::new(), Event::new(), Arc::new(Semaphore::new(AT_ONCE)));
    let clients = (0..connections).map(|_| {
        let (all, leave, places) = (all.clone(), leave.clone(), places.clone());
        let address = server.address;
        spawn(move || client(address, &places, &all, &leave))
    });
    let clients: Vec<_> = clients.collect();
    let full = server.settled(connections)?;
    all.set();
    leave.set();
    join_all(clients).expect("nobody panics").into_iter().collect::<io::Result<()>>()?;
    Ok((full, server.settled(0)?))
}

/// Twice, so that what the first time leaves behind for the second to use is not taken for a leak.
pub(crate) fn many(asked: u64, command: Command) -> io::Result<Outcome> {
    let connections = asked.min(room()?);
    if connections < asked {
        println!("the limit of descriptors leaves room for {connections} connections only");
    }
    let began = Instant::now();
    Runtime::new()?.run(|| {
        let server = Server::start(command)?;
        // After some, so that every worker has its poller.
        let (_, empty) = round(&server, 100)?;
        let (first, _) = round(&server, connections)?;
        let (second, after) = round(&server, connections)?;
        assert_eq!(second.descriptors, empty.descriptors + connections);
        assert_eq!(after.descriptors, empty.descriptors, "descriptors are left");
        let most = first.memory + first.memory / 4 + 4096;
        assert!(second.memory < most, "memory grows: {} KiB, then {}", first.memory, second.memory);
        Ok(Outcome {
            connections,
            messages: 2 * connections * ROUNDS as u64,
            time: began.elapsed(),
            memory_each: first.memory.saturating_sub(empty.memory) * 1024 / connections,
        })
    })
}
