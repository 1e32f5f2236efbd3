//! Peers that misbehave: they go away in the middle, never read, send a byte now and then, come in storms. A server goes on
//! serving the others, and when all have gone there is nothing left: no descriptor, no task, no memory.
//!
//! Numbers in comments are rows of `arch-notes/conformance.md`. Ten thousand connections: `examples/stress`, `sockets=N`.

#![cfg(all(feature = "net", target_os = "linux"))]

mod common;

use std::io::{self, BufRead, BufReader, ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use common::{Random, count_in_proc, cpu_time, hold_thread, lock, ms, until, watch};
use osier::net::{Listener, PipeReader, StreamServer, TcpListener, TcpStream};
use osier::sync::channel;
use osier::{Runtime, join_all, spawn, time, yield_now};

const PATIENCE: Duration = Duration::from_secs(20);

/// Runs `body` on a runtime of its own, and asserts that it leaves no task and no descriptor. One test at a time, for
/// descriptors are counted.
fn leaves_nothing(body: impl FnOnce() + Send) {
    static ONE: Mutex<()> = Mutex::new(());
    let _one = lock(&ONE);
    let _watch = watch();
    let before = count_in_proc("fd");
    let runtime = Runtime::new().unwrap();
    runtime.run(body);
    assert!(runtime.wait_idle(PATIENCE), "a task is left");
    drop(runtime);
    assert_eq!(count_in_proc("fd"), before, "descriptors");
}

/// KiB of memory that are in use.
fn memory() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    line.trim().trim_end_matches(" kB").parse().unwrap()
}

/// Does something twice, for what is kept for the next time, and then again: that must take no more memory.
fn keeps_its_memory(again: usize, mut round: impl FnMut()) {
    (0..2).for_each(|_| round());
    let used = memory();
    (0..again).for_each(|_| round());
    let grown = memory().saturating_sub(used);
    assert!(grown < 8 * 1024, "{grown} KiB more");
}

fn serve(handle: impl Fn(TcpStream) + Send + Sync + 'static) -> (StreamServer<TcpListener>, SocketAddr) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let server = StreamServer::new(listener, move |stream, _| handle(stream));
    server.start();
    (server, address)
}

fn echo(mut stream: TcpStream) -> io::Result<()> {
    let mut buffer = [0; 1024];
    loop {
        match stream.read(&mut buffer)? {
            0 => return Ok(()),
            n => stream.write_all(&buffer[..n])?,
        }
    }
}

fn ask(address: SocketAddr) -> io::Result<u8> {
    let mut stream = TcpStream::connect(address)?;
    stream.write_all(&[7])?;
    let mut byte = [0];
    stream.read_exact(&mut byte)?;
    Ok(byte[0])
}

/// Goes away without a goodbye.
fn reset(stream: TcpStream) {
    stream.set_linger(Some(Duration::ZERO)).unwrap();
    drop(stream);
}

#[test]
fn resets_in_the_middle_end_their_own_connection_and_leave_nothing() {
    leaves_nothing(|| {
        let (server, address) = serve(|stream| _ = echo(stream));
        let steady = TcpStream::connect(address).unwrap();
        let exchange = |mut stream: &TcpStream, size: usize| {
            stream.write_all(&vec![3; size]).unwrap();
            stream.read_exact(&mut vec![0; size]).unwrap();
        };
        let mut random = Random::new();
        let mut churn = |count: usize| {
            for _ in 0..count / 50 {
                let clients = (0..50).map(|_| {
                    let mut own = Random::seeded(random.below(u64::MAX));
                    spawn(move || {
                        let stream = TcpStream::connect(address).unwrap();
                        for _ in 0..own.below(3) {
                            exchange(&stream, 100);
                        }
                        // What comes back is never read, or in part.
                        (&stream).write_all(&vec![1; usize::try_from(own.below(50_000)).unwrap()]).unwrap();
                        (0..own.below(3)).for_each(|_| yield_now());
                        match own.below(3) {
                            0 => drop(stream),
                            1 => stream.shutdown(Shutdown::Both).unwrap(),
                            _ => reset(stream),
                        }
                    })
                });
                let clients: Vec<_> = clients.collect();
                exchange(&steady, 10);
                join_all(clients).unwrap();
            }
        };
        keeps_its_memory(10, || churn(150));
        exchange(&steady, 1000);
        drop(steady);
        until(|| server.connections() == 0);
        assert!(server.stop(PATIENCE));
    });
}

#[test]
fn one_direction_may_end_long_before_the_other() {
    leaves_nothing(|| {
        const SIZE: usize = 300_000;
        // Answers when the question has ended, or says goodbye first and then listens.
        let (heard, hears) = channel::unbounded();
        let (server, address) = serve(move |mut stream| {
            let mut first = [0];
            stream.read_exact(&mut first).unwrap();
            if first[0] == 1 {
                stream.shutdown(Shutdown::Write).unwrap();
            }
            let mut rest = Vec::new();
            stream.read_to_end(&mut rest).unwrap();
            heard.send(rest.len()).unwrap();
            if first[0] == 0 {
                stream.write_all(&vec![5; SIZE]).unwrap();
            }
        });
        keeps_its_memory(3, || {
            let asks = (0..50).map(|_| {
                spawn(move || {
                    let mut stream = TcpStream::connect(address).unwrap();
                    stream.write_all(&[0; 10]).unwrap();
                    stream.shutdown(Shutdown::Write).unwrap();
                    let mut answer = Vec::new();
                    stream.read_to_end(&mut answer).unwrap();
                    assert_eq!(answer.len(), SIZE);
                })
            });
            let tells = (0..50).map(|_| {
                spawn(move || {
                    let mut stream = TcpStream::connect(address).unwrap();
                    stream.write_all(&[1]).unwrap();
                    assert_eq!(stream.read(&mut [0]).unwrap(), 0);
                    stream.write_all(&vec![1; SIZE]).unwrap();
                })
            });
            join_all(asks.chain(tells).collect::<Vec<_>>()).unwrap();
            let mut sizes: Vec<_> = (0..100).map(|_| hears.recv().unwrap()).collect();
            sizes.sort_unstable();
            assert_eq!(sizes, [[9; 50], [SIZE; 50]].concat());
            until(|| server.connections() == 0);
        });
        assert!(server.stop(PATIENCE));
    });
}

#[test]
fn a_peer_that_never_reads_costs_its_own_writer_a_timeout() {
    leaves_nothing(|| {
        let (failed, failures) = channel::unbounded();
        let (server, address) = serve(move |mut stream| {
            let mut first = [0];
            stream.read_exact(&mut first).unwrap();
            if first[0] == 7 {
                return stream.write_all(&first).unwrap();
            }
            stream.set_write_timeout(Some(ms(50))).unwrap();
            let data = vec![1; 1 << 16];
            let error = loop {
                if let Err(error) = stream.write_all(&data) {
                    break error;
                }
            };
            failed.send(error.kind()).unwrap();
        });
        keeps_its_memory(5, || {
            let mut deaf: Vec<_> = (0..20).map(|_| TcpStream::connect(address).unwrap()).collect();
            deaf.iter_mut().for_each(|stream| stream.write_all(&[0]).unwrap());
            (0..20).for_each(|_| assert_eq!(ask(address).unwrap(), 7));
            for _ in &deaf {
                assert_eq!(failures.recv().unwrap(), ErrorKind::TimedOut);
            }
            until(|| server.connections() == 0);
        });
        assert!(server.stop(PATIENCE));
    });
}

#[test]
fn a_peer_that_sends_a_byte_now_and_then_is_cut_off_by_a_timeout_around_the_request() {
    leaves_nothing(|| {
        const PLACES: usize = 8;
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let cut = Arc::new(AtomicUsize::new(0));
        let cuts = cut.clone();
        let server = StreamServer::with_limit(listener, PLACES, move |stream: TcpStream, _| {
            // Each read has time enough; all together have not.
            stream.set_read_timeout(Some(PATIENCE)).unwrap();
            let mut line = String::new();
            match time::timeout(ms(100), || BufReader::new(&stream).read_line(&mut line)) {
                Ok(_) => _ = (&stream).write_all(b"!"),
                Err(_) => _ = cuts.fetch_add(1, Ordering::Relaxed),
            }
        });
        server.start();
        let slow = (0..2 * PLACES).map(|_| {
            spawn(move || {
                let mut stream = TcpStream::connect(address).unwrap();
                // Until the server has closed, and its system has said so.
                while stream.write_all(b"x").is_ok() {
                    time::sleep(ms(2));
                }
            })
        });
        let slow: Vec<_> = slow.collect();
        let honest = (0..PLACES).map(|_| {
            spawn(move || {
                let mut stream = TcpStream::connect(address).unwrap();
                stream.write_all(b"line\n").unwrap();
                io::read_to_string(stream).unwrap()
            })
        });
        let honest: Vec<_> = honest.collect();
        // Those were in line behind peers that held all places.
        assert_eq!(join_all(honest).unwrap(), ["!"; PLACES]);
        join_all(slow).unwrap();
        assert_eq!(cut.load(Ordering::Relaxed), 2 * PLACES);
        assert!(server.stop(PATIENCE));
    });
}

#[test]
fn a_storm_of_connections_that_are_gone_at_once_does_not_keep_others_from_being_served() {
    leaves_nothing(|| {
        let (server, address) = serve(|stream| _ = echo(stream));
        keeps_its_memory(2, || {
            let storm: Vec<_> = (0..4)
                .map(|_| {
                    thread::spawn(move || {
                        for _ in 0..250 {
                            let stream = std::net::TcpStream::connect(address).unwrap();
                            socket2::SockRef::from(&stream).set_linger(Some(Duration::ZERO)).unwrap();
                        }
                    })
                })
                .collect();
            let asks: Vec<_> = (0..100).map(|_| spawn(move || ask(address).unwrap())).collect();
            assert_eq!(join_all(asks).unwrap(), [7; 100]);
            for thread in storm {
                until(|| thread.is_finished());
                thread.join().unwrap();
            }
            until(|| server.connections() == 0);
        });
        assert!(server.stop(PATIENCE));
    });
}

// ---- too few descriptors

/// Notes when accepting failed for want of a descriptor.
struct Counting {
    listener: TcpListener,
    failed: Arc<Mutex<Vec<Instant>>>,
}

impl Listener for Counting {
    type Stream = TcpStream;
    type Address = SocketAddr;

    fn accept(&self) -> io::Result<(TcpStream, SocketAddr)> {
        let accepted = self.listener.accept();
        if accepted.as_ref().is_err_and(|error| error.raw_os_error() == Some(libc::EMFILE)) {
            lock(&self.failed).push(Instant::now());
        }
        accepted
    }

    fn close(&self) -> io::Result<()> {
        self.listener.close()
    }
}

#[test]
fn in_a_process_of_its_own() {
    match common::program().as_deref() {
        None => {}
        Some("few descriptors") => serve_with_few_descriptors(1, false),
        Some("few descriptors, eight accept") => serve_with_few_descriptors(8, false),
        Some("few descriptors and a thief") => serve_with_few_descriptors(1, true),
        Some(other) => panic!("no program {other}"),
    }
}

/// Serves until its input ends, then tells how it went. With a thief another thread opens files all the time.
#[allow(clippy::print_stdout, reason = "that is how it tells")]
fn serve_with_few_descriptors(acceptors: usize, has_thief: bool) {
    let limit = libc::rlimit { rlim_cur: 64, rlim_max: 64 };
    // SAFETY: it only reads the struct.
    assert_eq!(unsafe { libc::setrlimit(libc::RLIMIT_NOFILE, &raw const limit) }, 0);
    let failed = Arc::new(Mutex::new(Vec::new()));
    Runtime::new().unwrap().run(|| {
        // Before the descriptors are gone.
        let input = PipeReader::try_from(std::os::fd::AsFd::as_fd(&io::stdin()).try_clone_to_owned().unwrap()).unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let listener = Counting { listener, failed: failed.clone() };
        let server = StreamServer::new(listener, |stream, _| _ = echo(stream)).acceptors(acceptors);
        server.start();
        if has_thief {
            thread::spawn(|| {
                loop {
                    let stolen = std::fs::File::open("/dev/null");
                    hold_thread(Duration::from_micros(200));
                    drop(stolen);
                    hold_thread(ms(3));
                }
            });
        }
        println!("\nLISTEN {}", address.port());
        let cpu = cpu_time();
        io::copy(&mut &input, &mut io::sink()).unwrap();
        let used = cpu_time() - cpu;
        assert!(server.stop(PATIENCE));
        println!("\nCPU {}", used.as_millis());
    });
    // Of those that failed for want of a descriptor, the most within a second.
    let failed = lock(&failed);
    let within = |from: Instant| failed.iter().filter(|&&time| time >= from && time < from + ms(1000)).count();
    println!("\nRATE {}", failed.iter().map(|&from| within(from)).max().expect("it ran out of descriptors"));
}

/// The server, and the lines that it prints after a word.
struct Few {
    process: Child,
    lines: io::Lines<BufReader<PipeReader>>,
}

impl Few {
    fn start(program: &str) -> Self {
        let mut command = Command::new(std::env::current_exe().unwrap());
        command.args(["--exact", "in_a_process_of_its_own", "--nocapture", "--test-threads=1"]);
        command.env("OSIER_TEST_PROGRAM", program).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut process = command.spawn().unwrap();
        let output = PipeReader::try_from(process.stdout.take().unwrap()).unwrap();
        Self { process, lines: BufReader::new(output).lines() }
    }

    fn number(&mut self, word: &str) -> u64 {
        let line =
            self.lines.by_ref().map(Result::unwrap).find_map(|line| line.strip_prefix(word)?.trim().parse().ok());
        line.unwrap_or_else(|| panic!("the server says nothing of '{word}'"))
    }
}

impl Drop for Few {
    fn drop(&mut self) {
        _ = self.process.kill();
        _ = self.process.wait();
    }
}

/// Two hundred clients come to a server with 64 descriptors, and are served or disconnected. Gives what it used of its processor,
/// in milliseconds, and how often accepting failed within a second.
fn two_hundred_clients_of(program: &'static str) -> (u64, u64) {
    let used = Arc::new(Mutex::new((0, 0)));
    let tells = used.clone();
    leaves_nothing(move || {
        let mut server = Few::start(program);
        let port = u16::try_from(server.number("LISTEN")).unwrap();
        let address = SocketAddr::from(([127, 0, 0, 1], port));
        let clients = (0..200).map(|_| {
            spawn(move || {
                // Each of these fails where the server has disconnected already.
                let mut stream = TcpStream::connect(address).ok()?;
                stream.set_read_timeout(Some(PATIENCE)).unwrap();
                _ = stream.write_all(&[7]);
                match stream.read(&mut [0]) {
                    Ok(1) => Some(stream),
                    Err(error) if error.kind() == ErrorKind::TimedOut => panic!("a connection hangs"),
                    _ => None,
                }
            })
        });
        let clients = join_all(clients.collect::<Vec<_>>()).unwrap();
        let mut served: Vec<_> = clients.into_iter().flatten().collect();
        assert!((30..64).contains(&served.len()), "{} were served", served.len());
        // These are served on.
        for stream in &mut served {
            stream.write_all(&[8]).unwrap();
            stream.read_exact(&mut [0]).unwrap();
        }
        drop(served);
        let patience = Instant::now() + PATIENCE;
        while ask(address).is_err() {
            assert!(Instant::now() < patience, "it does not recover");
            time::sleep(ms(5));
        }
        drop(server.process.stdin.take());
        *lock(&tells) = (server.number("CPU"), server.number("RATE"));
    });
    *lock(&used)
}

// H43
#[test]
fn two_hundred_clients_of_a_server_with_64_descriptors_are_served_or_disconnected() {
    // Several that accept share the limit.
    for program in ["few descriptors", "few descriptors, eight accept"] {
        let (cpu, rate) = two_hundred_clients_of(program);
        // After each that fails comes one that disconnects.
        assert!(2 * rate <= 100, "{program}: {rate} failures within a second");
        // A loop that tries all the time would have used all of it; debug builds on a busy machine use some tens.
        assert!(cpu < 1000, "{program}: {cpu} ms");
    }
}

// H43: also where others open files meanwhile, and get the descriptor that was given up for a moment.
#[test]
fn nobody_hangs_where_others_take_descriptors_as_well() {
    two_hundred_clients_of("few descriptors and a thief");
}
