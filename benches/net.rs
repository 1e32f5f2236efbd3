//! What waits for the kernel: sockets, files, children, signals. A round trip is 64 bytes there and back, between two tasks of one
//! worker.
//!
//! ```text
//! cargo bench --bench net
//! ```

use std::io::{Read, Write};
use std::time::{Duration, Instant};
use std::{env, io, process};

use criterion::{Criterion, criterion_group, criterion_main};
use osier::net::{TcpListener, TcpStream, UdpSocket, UnixDatagram, UnixStream, pipe};
use osier::process::Command;
use osier::signal::{Signal, Signals};
use osier::{Runtime, fs, spawn, task};

const MESSAGE: [u8; 64] = [42; 64];

fn runtime() -> Runtime {
    Runtime::builder().workers(1).build().expect("a thread is to be had")
}

/// Runs `call` `n` times. Returns how long that took.
fn repeat(n: u64, mut call: impl FnMut() -> io::Result<()>) -> Duration {
    let start = Instant::now();
    (0..n).try_for_each(|_| call()).expect("nothing fails here");
    start.elapsed()
}

/// Round trips to a task that echoes until the stream is closed.
fn over_streams<S: Read + Write + Send + 'static>(n: u64, mut here: S, mut there: S) -> Duration {
    let echo = spawn(move || {
        let mut buffer = MESSAGE;
        while there.read_exact(&mut buffer).is_ok() && there.write_all(&buffer).is_ok() {}
    });
    let mut buffer = [0; MESSAGE.len()];
    let took = repeat(n, || {
        here.write_all(&MESSAGE)?;
        here.read_exact(&mut buffer)
    });
    assert_eq!(buffer, MESSAGE);
    drop(here);
    echo.join().expect("it ends with the stream");
    took
}

fn tcp_pair() -> io::Result<(TcpStream, TcpStream)> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let address = listener.local_addr()?;
    let connects = spawn(move || TcpStream::connect(address));
    let (there, _) = listener.accept()?;
    let here = connects.join().expect("it does not panic")?;
    here.set_nodelay(true)?;
    there.set_nodelay(true)?;
    Ok((here, there))
}

fn over_udp(n: u64) -> io::Result<Duration> {
    let (here, there) = (UdpSocket::bind("127.0.0.1:0")?, UdpSocket::bind("127.0.0.1:0")?);
    here.connect(there.local_addr()?)?;
    there.connect(here.local_addr()?)?;
    let echo = spawn(move || {
        let mut buffer = MESSAGE;
        for _ in 0..n {
            let size = there.recv(&mut buffer).expect("it is open");
            there.send(&buffer[..size]).expect("it is open");
        }
    });
    let mut buffer = [0; MESSAGE.len()];
    let took = repeat(n, || {
        here.send(&MESSAGE)?;
        here.recv(&mut buffer).map(drop)
    });
    echo.join().expect("it had its messages");
    Ok(took)
}

fn over_datagrams(n: u64) -> io::Result<Duration> {
    let (here, there) = UnixDatagram::pair()?;
    let echo = spawn(move || {
        let mut buffer = MESSAGE;
        for _ in 0..n {
            let size = there.recv(&mut buffer).expect("it is open");
            there.send(&buffer[..size]).expect("it is open");
        }
    });
    let mut buffer = [0; MESSAGE.len()];
    let took = repeat(n, || {
        here.send(&MESSAGE)?;
        here.recv(&mut buffer).map(drop)
    });
    echo.join().expect("it had its messages");
    Ok(took)
}

fn sockets(criterion: &mut Criterion) {
    let runtime = &runtime();
    let mut group = criterion.benchmark_group("net");
    group.bench_function("TCP, a round trip", |b| {
        b.iter_custom(|n| {
            runtime.run(|| {
                let (here, there) = tcp_pair().expect("there are ports");
                over_streams(n, here, there)
            })
        });
    });
    group.bench_function("TCP, connect and accept", |b| {
        b.iter_custom(|n| runtime.run(|| repeat(n, || tcp_pair().map(drop))));
    });
    group.bench_function("Unix stream, a round trip", |b| {
        b.iter_custom(|n| {
            runtime.run(|| {
                let (here, there) = UnixStream::pair().expect("there are descriptors");
                over_streams(n, here, there)
            })
        });
    });
    group.bench_function("Unix datagrams, a round trip", |b| {
        b.iter_custom(|n| runtime.run(|| over_datagrams(n).expect("there are descriptors")));
    });
    group.bench_function("UDP, a round trip", |b| {
        b.iter_custom(|n| runtime.run(|| over_udp(n).expect("there are ports")));
    });
    group.bench_function("pipe, written and read", |b| {
        b.iter_custom(|n| {
            runtime.run(|| {
                let (mut reader, mut writer) = pipe().expect("there are descriptors");
                let mut buffer = [0; MESSAGE.len()];
                repeat(n, || {
                    writer.write_all(&MESSAGE)?;
                    reader.read_exact(&mut buffer)
                })
            })
        });
    });
    group.finish();
}

fn files(criterion: &mut Criterion) {
    let runtime = &runtime();
    let path = env::temp_dir().join(format!("osier-bench-{}", process::id()));
    let mut group = criterion.benchmark_group("fs");
    group.bench_function("unblock", |b| {
        b.iter_custom(|n| {
            runtime.run(|| {
                repeat(n, || {
                    task::unblock(|| ());
                    Ok(())
                })
            })
        });
    });
    group.bench_function("write a small file", |b| {
        b.iter_custom(|n| runtime.run(|| repeat(n, || fs::write(&path, MESSAGE))));
    });
    group.bench_function("read it", |b| {
        b.iter_custom(|n| runtime.run(|| repeat(n, || fs::read(&path).map(drop))));
    });
    group.finish();
    runtime.run(|| fs::remove_file(&path)).expect("it was written");
}

fn children(criterion: &mut Criterion) {
    let runtime = &runtime();
    let mut group = criterion.benchmark_group("process");
    group.bench_function("a child that does nothing", |b| {
        b.iter_custom(|n| runtime.run(|| repeat(n, || Command::new("true").status().map(drop))));
    });
    group.finish();
    let mut group = criterion.benchmark_group("signal");
    group.bench_function("raised and waited for", |b| {
        b.iter_custom(|n| {
            runtime.run(|| {
                let signals = Signals::new([Signal::USER1]).expect("it may be caught");
                repeat(n, || {
                    // SAFETY: it takes no pointers, and the signal has a handler.
                    unsafe { libc::raise(libc::SIGUSR1) };
                    signals.wait().map(drop)
                })
            })
        });
    });
    group.finish();
}

criterion_group! {
    name = benches;
    config = Criterion::default()
        .warm_up_time(Duration::from_millis(300))
        .measurement_time(Duration::from_secs(1));
    targets = sockets, files, children
}
criterion_main!(benches);
