//! Sockets of further kinds, addresses and options: what std's types have beside streams over TCP.

#![cfg(all(feature = "net", target_os = "linux"))]

mod common;

use std::ffi::OsStr;
use std::io::{self, ErrorKind, Read, Write};
use std::net::Ipv4Addr;
use std::net::Shutdown;
use std::os::fd::{AsFd, AsRawFd, FromRawFd, IntoRawFd};
use std::os::linux::net::SocketAddrExt;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::OpenOptionsExt;
use std::os::unix::net::SocketAddr;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, mpsc};

use common::{ms, panic_text, until, watch};
use osier::net::{
    DatagramServer, PipeReader, PipeWriter, Ready, TcpListener, TcpStream, ToSocketAddrs, UdpSocket, UnixDatagram,
    UnixListener, UnixStream, pipe,
};
use osier::{Runtime, run, spawn, task, time, yield_now};

/// A name that nobody else has, and that is no path.
fn name() -> SocketAddr {
    static NEXT: AtomicUsize = AtomicUsize::new(0);
    let number = NEXT.fetch_add(1, Ordering::Relaxed);
    SocketAddr::from_abstract_name(format!("osier-kinds-{}-{number}", std::process::id())).unwrap()
}

#[test]
fn streams_connect_by_names_that_are_no_paths() {
    let _watch = watch();
    for workers in [1, 2, 8] {
        Runtime::builder().workers(workers).build().unwrap().run(|| {
            let address = name();
            assert_eq!(UnixStream::connect_addr(&address).unwrap_err().kind(), ErrorKind::ConnectionRefused);
            let listener = UnixListener::bind_addr(&address).unwrap();
            assert_eq!(UnixListener::bind_addr(&address).unwrap_err().kind(), ErrorKind::AddrInUse);
            assert_eq!(listener.local_addr().unwrap().as_abstract_name(), address.as_abstract_name());
            let server = spawn(move || {
                for stream in (&listener).into_iter().take(2) {
                    let mut stream = stream.unwrap();
                    let mut byte = [0];
                    stream.read_exact(&mut byte).unwrap();
                    stream.write_all(&byte).unwrap();
                }
            });
            for n in [1, 2] {
                let mut client = UnixStream::connect_addr(&address).unwrap();
                client.write_all(&[n]).unwrap();
                let mut byte = [0];
                client.read_exact(&mut byte).unwrap();
                assert_eq!(byte, [n]);
            }
            server.join().unwrap();
            // By an address that is a path, and by one that is nobody's.
            let path = std::env::temp_dir().join(format!("osier-kinds-{}-{workers}", std::process::id()));
            let address = SocketAddr::from_pathname(&path).unwrap();
            let _listener = UnixListener::bind_addr(&address).unwrap();
            UnixStream::connect_addr(&address).unwrap();
            std::fs::remove_file(&path).unwrap();
            let (pair, _other) = UnixStream::pair().unwrap();
            assert!(UnixStream::connect_addr(&pair.local_addr().unwrap()).is_err());
        });
    }
}

// A path ends at its first NUL for the system: it would be another one.
#[test]
fn paths_have_no_nul() {
    let _watch = watch();
    run(|| {
        let path = std::env::temp_dir().join(format!("osier-kinds-nul-{}", std::process::id()));
        let _listener = UnixListener::bind(&path).unwrap();
        // What begins with one is the name of `named`, if it is taken as it stands.
        let named = name();
        let _other = UnixListener::bind_addr(&named).unwrap();
        let longer = [path.as_os_str().as_bytes(), b"\0more"].concat();
        let first = [b"\0", named.as_abstract_name().unwrap()].concat();
        for bytes in [&longer[..], &first] {
            let path = Path::new(OsStr::from_bytes(bytes));
            let expected = std::os::unix::net::UnixStream::connect(path).unwrap_err().kind();
            assert_eq!(expected, ErrorKind::InvalidInput);
            assert_eq!(UnixStream::connect(path).unwrap_err().kind(), expected);
            let deadline = time::now() + ms(60_000);
            assert_eq!(UnixStream::connect_deadline(path, deadline).unwrap_err().kind(), expected);
        }
        UnixStream::connect(&path).unwrap();
        UnixStream::connect_addr(&named).unwrap();
        std::fs::remove_file(&path).unwrap();
    });
}

#[test]
fn datagrams_go_by_names_that_are_no_paths_and_wait_for_room() {
    let _watch = watch();
    for workers in [1, 2, 8] {
        Runtime::builder().workers(workers).build().unwrap().run(|| {
            let address = name();
            let server = UnixDatagram::bind_addr(&address).unwrap();
            let client = UnixDatagram::unbound().unwrap();
            let to = address.clone();
            // More than there is room for.
            let sender = spawn(move || {
                (0..200_u8).for_each(|n| _ = client.send_to_addr(&[n], &to).unwrap());
                client.connect_addr(&to).unwrap();
                client.send(b"last").unwrap();
            });
            let mut buffer = [0; 8];
            for n in 0..200 {
                assert_eq!((server.recv(&mut buffer).unwrap(), buffer[0]), (1, n));
            }
            assert_eq!(server.recv(&mut buffer).unwrap(), 4);
            sender.join().unwrap();
            assert!(UnixDatagram::unbound().unwrap().send_to_addr(&[1], &name()).is_err());
        });
    }
}

#[test]
fn options_of_multicast_are_the_sockets() {
    let _watch = watch();
    run(|| {
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        for on in [false, true] {
            socket.set_multicast_loop_v4(on).unwrap();
            assert_eq!(socket.multicast_loop_v4().unwrap(), on);
        }
        socket.set_multicast_ttl_v4(7).unwrap();
        assert_eq!(socket.multicast_ttl_v4().unwrap(), 7);
        socket.join_multicast_v4(&Ipv4Addr::new(239, 255, 7, 7), &Ipv4Addr::LOCALHOST).unwrap();
        socket.leave_multicast_v4(&Ipv4Addr::new(239, 255, 7, 7), &Ipv4Addr::LOCALHOST).unwrap();
        // Where there is IPv6.
        if let Ok(socket) = UdpSocket::bind("[::1]:0") {
            for on in [false, true] {
                socket.set_multicast_loop_v6(on).unwrap();
                assert_eq!(socket.multicast_loop_v6().unwrap(), on);
            }
        }
    });
}

#[test]
fn a_pipe_ends_when_all_of_its_writers_have_gone() {
    let _watch = watch();
    for workers in [1, 2, 8] {
        Runtime::builder().workers(workers).build().unwrap().run(|| {
            let (reader, writer) = pipe().unwrap();
            let writers = [writer.try_clone().unwrap(), writer.try_clone().unwrap(), writer];
            let readers = [reader.try_clone().unwrap(), reader];
            // Both wait, on descriptors of their own.
            let readers = readers.map(|mut reader| {
                spawn(move || {
                    let mut all = Vec::new();
                    reader.read_to_end(&mut all).unwrap();
                    all
                })
            });
            yield_now();
            let writers = writers.map(|mut writer| spawn(move || writer.write_all(&vec![7; 100_000]).unwrap()));
            writers.into_iter().for_each(|writer| writer.join().unwrap());
            let read = readers.map(|reader| reader.join().unwrap()).concat();
            assert!(read == vec![7; 300_000]);
        });
    }
}

#[test]
fn what_is_waited_for_can_be_changed_in_place() {
    let _watch = watch();
    run(|| {
        let (reader, mut writer) = io::pipe().unwrap();
        let mut ready = Ready::new(reader).unwrap();
        assert_eq!(ready.readable_timeout(ms(1)).unwrap_err().kind(), ErrorKind::TimedOut);
        writer.write_all(b"ab").unwrap();
        ready.readable().unwrap();
        let mut byte = [0];
        ready.get_mut().read_exact(&mut byte).unwrap();
        assert_eq!(byte, *b"a");
    });
}

#[test]
fn datagrams_within_one_machine_are_served() {
    let _watch = watch();
    for workers in [1, 2, 8] {
        Runtime::builder().workers(workers).build().unwrap().run(|| {
            let (address, to) = (name(), name());
            let socket = UnixDatagram::bind_addr(&address).unwrap();
            // A server waits all the same.
            socket.set_nonblocking(true).unwrap();
            let server = DatagramServer::with_limit(socket, 2, |socket, data, peer| {
                assert!(data != b"bad", "what was asked for");
                socket.send_to_addr(&data, &peer).unwrap();
            });
            let client = UnixDatagram::bind_addr(&to).unwrap();
            client.connect_addr(&address).unwrap();
            server.start();
            client.send(b"bad").unwrap();
            let mut buffer = [0; 8];
            for n in 1..=8 {
                client.send(&[7; 8][..n]).unwrap();
                assert_eq!(client.recv(&mut buffer).unwrap(), n);
            }
            server.pause();
            client.send(b"waits").unwrap();
            client.set_read_timeout(Some(ms(10))).unwrap();
            assert_eq!(client.recv(&mut buffer).unwrap_err().kind(), ErrorKind::TimedOut);
            client.set_read_timeout(None).unwrap();
            server.start();
            assert_eq!(client.recv(&mut buffer).unwrap(), 5);
            let serves = spawn({
                let server = server.clone();
                move || server.serve_forever()
            });
            assert!(server.stop(ms(20_000)));
            serves.join().unwrap();
            // A process that another test is just starting may have it open for a moment.
            client.set_nonblocking(true).unwrap();
            until(|| client.send(b"late").is_err_and(|error| error.kind() == ErrorKind::ConnectionRefused));

            // One that somebody else closes ends.
            let (near, far) = UnixDatagram::pair().unwrap();
            let server = DatagramServer::new(near, |socket, data, _| _ = socket.send(&data).unwrap());
            let serves = spawn({
                let server = server.clone();
                move || server.serve_forever()
            });
            far.send(b"!").unwrap();
            assert_eq!(far.recv(&mut buffer).unwrap(), 1);
            server.socket().close().unwrap();
            serves.join().unwrap();
        });
    }
}

#[test]
fn a_server_of_datagrams_ends_with_what_can_be_read() {
    let _watch = watch();
    for (workers, is_nonblocking) in [(1, false), (2, false), (8, true)] {
        Runtime::builder().workers(workers).build().unwrap().run(|| {
            let (near, far) = UnixDatagram::pair().unwrap();
            near.set_nonblocking(is_nonblocking).unwrap();
            let server = DatagramServer::new(near, |socket, data, _| {
                assert!(!data.is_empty(), "there was none");
                socket.send(&data).unwrap();
            });
            let serves = spawn({
                let server = server.clone();
                move || server.serve_forever()
            });
            far.send(b"!").unwrap();
            assert_eq!(far.recv(&mut [0]).unwrap(), 1);
            server.socket().shutdown(Shutdown::Read).unwrap();
            serves.join().unwrap();
        });
    }
}

// ---- descriptors

fn is_nonblocking(fd: impl AsFd) -> bool {
    // SAFETY: it takes no pointers.
    unsafe { libc::fcntl(fd.as_fd().as_raw_fd(), libc::F_GETFL) & libc::O_NONBLOCK != 0 }
}

/// By its number, and back.
fn by_number<T: FromRawFd + AsFd>(one: impl IntoRawFd) -> T {
    let number = one.into_raw_fd();
    // SAFETY: it is ours, and open.
    let other = unsafe { T::from_raw_fd(number) };
    assert_eq!(other.as_fd().as_raw_fd(), number);
    assert!(is_nonblocking(&other));
    other
}

#[test]
fn descriptors_are_taken_by_their_numbers() {
    let _watch = watch();
    use std::net as std_net;
    use std::os::unix::net as std_unix;
    run(|| {
        let listener: TcpListener = by_number(std_net::TcpListener::bind("127.0.0.1:0").unwrap());
        let stream = std_net::TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        stream.set_read_timeout(Some(ms(20))).unwrap();
        let mut stream: TcpStream = by_number(stream);
        let (mut peer, _) = listener.accept().unwrap();
        assert_eq!(stream.read(&mut [0]).unwrap_err().kind(), ErrorKind::TimedOut, "its timeout is kept");
        peer.write_all(b"!").unwrap();
        stream.read_exact(&mut [0]).unwrap();

        let socket: UdpSocket = by_number(std_net::UdpSocket::bind("127.0.0.1:0").unwrap());
        socket.send_to(b"!", socket.local_addr().unwrap()).unwrap();
        assert_eq!(socket.recv(&mut [0]).unwrap(), 1);

        let address = name();
        let listener: UnixListener = by_number(std_unix::UnixListener::bind_addr(&address).unwrap());
        let mut stream: UnixStream = by_number(std_unix::UnixStream::connect_addr(&address).unwrap());
        let (mut peer, _) = listener.accept().unwrap();
        peer.write_all(b"!").unwrap();
        stream.read_exact(&mut [0]).unwrap();

        let (one, other) = std_unix::UnixDatagram::pair().unwrap();
        let (one, other): (UnixDatagram, UnixDatagram) = (by_number(one), by_number(other));
        one.send(b"!").unwrap();
        assert_eq!(other.recv(&mut [0]).unwrap(), 1);

        let (reader, writer) = io::pipe().unwrap();
        let (mut reader, mut writer): (PipeReader, PipeWriter) = (by_number(reader), by_number(writer));
        writer.write_all(b"!").unwrap();
        reader.read_exact(&mut [0]).unwrap();
    });
}

#[test]
fn a_number_that_cannot_be_taken_is_a_panic_and_is_closed() {
    let _watch = watch();
    // A place in the file system that is not opened has no mode. Nobody else has this one.
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests");
    let place = std::fs::File::options().read(true).custom_flags(libc::O_PATH).open(&path).unwrap();
    let number = place.as_raw_fd();
    // SAFETY: it is ours, and open.
    let text = panic_text(move || drop(unsafe { TcpStream::from_raw_fd(place.into_raw_fd()) }));
    assert!(text.starts_with("cannot take a descriptor: "), "{text}");
    let is_place = std::fs::read_link(format!("/proc/self/fd/{number}")).is_ok_and(|what| what == path);
    assert!(!is_place);
}

// ---- names

#[test]
fn in_a_process_of_its_own() {
    if common::program().as_deref() == Some("one thread for blocking") {
        look_up_behind_a_blocking_call();
    }
}

fn look_up_behind_a_blocking_call() {
    Runtime::builder().workers(1).build().unwrap().run(|| {
        let (release, held) = mpsc::channel::<()>();
        let holds = Arc::new(AtomicBool::new(false));
        let begun = holds.clone();
        let blocks = spawn(move || {
            task::unblock(move || {
                begun.store(true, Ordering::Release);
                held.recv().unwrap();
            });
        });
        until(|| holds.load(Ordering::Acquire));
        // The only thread that looks names up is held, as by a resolver that does not answer.
        let looks_up = spawn(|| "localhost:80".to_socket_addrs().map(|addresses| addresses.count()));
        let others: usize = (0..100).map(|n| spawn(move || n).join().unwrap()).sum();
        assert_eq!(others, 4950);
        assert!(!looks_up.is_finished());
        // What is written out needs nobody.
        assert_eq!("127.0.0.1:80".to_socket_addrs().unwrap().count(), 1);
        release.send(()).unwrap();
        blocks.join().unwrap();
        assert!(looks_up.join().unwrap().unwrap() > 0);
    });
}

#[test]
fn names_are_looked_up_beside_the_worker() {
    let _watch = watch();
    let output = common::run_program_with("one thread for blocking", &[("BLOCKING_MAX_THREADS", "1")]);
    common::assert_ended_well(&output);
}
