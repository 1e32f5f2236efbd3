//! Sockets where the system does not help: ends that it does not tell of, descriptors that it has not got, calls that ask it
//! for nothing.
//!
//! Numbers in comments are rows of `arch-notes/conformance.md`.

#![cfg(all(feature = "net", target_os = "linux"))]

mod common;

use std::fs::File;
use std::io::{self, ErrorKind, IoSlice, IoSliceMut, Read, Write};
use std::net::{Shutdown, SocketAddr};
use std::os::fd::{AsFd, AsRawFd, IntoRawFd, OwnedFd, RawFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use common::{hold_thread, ms, panic_text, thread_cpu_time, watch};
use osier::net::selector::{Interest, Selector};
use osier::net::{
    Ready, StreamServer, TcpListener, TcpStream, UdpSocket, UnixDatagram, UnixListener, UnixStream, pipe,
};
use osier::sync::{Event, channel};
use osier::task::{Builder, Place};
use osier::{Runtime, Wait, run, select, spawn, time, wait, yield_now};

fn workers(n: usize) -> Runtime {
    Runtime::builder().workers(n).build().unwrap()
}

fn tcp_pair() -> (TcpStream, TcpStream) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    (client, listener.accept().unwrap().0)
}

fn path(name: &str) -> std::path::PathBuf {
    std::env::temp_dir().join(format!("osier-edges-{name}-{}", std::process::id()))
}

fn code<T>(answer: io::Result<T>) -> Option<i32> {
    answer.err().and_then(|error| error.raw_os_error())
}

/// Calls until there is no more room.
fn fill(set_nonblocking: impl Fn(bool) -> io::Result<()>, mut write: impl FnMut() -> io::Result<usize>) {
    set_nonblocking(true).unwrap();
    while write().is_ok() {}
    assert_eq!(write().unwrap_err().kind(), ErrorKind::WouldBlock);
    set_nonblocking(false).unwrap();
}

#[test]
fn in_a_process_of_its_own() {
    match common::program().as_deref() {
        Some("no runtime") => select_where_no_runtime_can_be_had(),
        Some("no descriptors") => go_on_without_descriptors(),
        Some("no pollers") => read_where_no_poller_can_be_made(),
        Some("unwatchable") => select_what_cannot_be_watched(),
        Some("computing") => select_while_the_workers_compute(),
        Some("leaving") => leave_before_the_number_goes(),
        _ => {}
    }
}

// ---- ends of which the system does not tell

/// Receives by each call that there is, which must say that there is an end.
fn receives_the_end(socket: &UnixDatagram) {
    assert_eq!(socket.recv(&mut [0; 4]).unwrap(), 0);
    let (count, sender) = socket.recv_from(&mut [0; 4]).unwrap();
    assert_eq!((count, sender.is_unnamed()), (0, true));
    select! { wait(socket.when_readable()) => assert_eq!(socket.recv(&mut [0]).unwrap(), 0) }
    socket.set_nonblocking(true).unwrap();
    assert_eq!(socket.recv(&mut [0]).unwrap_err().kind(), ErrorKind::WouldBlock);
}

#[test]
fn a_shutdown_ends_who_receives_datagrams() {
    let _watch = watch();
    for n in [1, 2, 8] {
        workers(n).run(|| {
            let (near, far) = UnixDatagram::pair().unwrap();
            far.send(b"last").unwrap();
            let near = Arc::new(near);
            let receives = {
                let near = near.clone();
                spawn(move || [near.recv(&mut [0; 4]).unwrap(), near.recv(&mut [0; 4]).unwrap()])
            };
            yield_now();
            near.shutdown(Shutdown::Read).unwrap();
            assert_eq!(receives.join().unwrap(), [4, 0]);
            receives_the_end(&near);
            // Nobody has waited for it before.
            let (near, _far) = UnixDatagram::pair().unwrap();
            near.shutdown(Shutdown::Both).unwrap();
            receives_the_end(&near);
        });
    }
    // On a thread, and shut down by somebody else.
    let (near, _far) = UnixDatagram::pair().unwrap();
    let begun = thread_cpu_time();
    thread::scope(|s| {
        let receives = s.spawn(|| near.recv(&mut [0]).unwrap());
        hold_thread(ms(30));
        socket2::SockRef::from(&near).shutdown(Shutdown::Read).unwrap();
        assert_eq!(receives.join().unwrap(), 0);
    });
    receives_the_end(&near);
    assert!(thread_cpu_time() - begun < ms(100));
}

#[test]
fn a_udp_socket_that_is_shut_down_receives_the_end() {
    let _watch = watch();
    workers(1).run(|| {
        let udp = Arc::new(UdpSocket::bind("127.0.0.1:0").unwrap());
        udp.connect(udp.local_addr().unwrap()).unwrap();
        let receives = {
            let udp = udp.clone();
            spawn(move || udp.recv(&mut [0]))
        };
        yield_now();
        socket2::SockRef::from(&*udp).shutdown(Shutdown::Read).unwrap();
        assert_eq!(receives.join().unwrap().unwrap(), 0);
        assert_eq!(udp.peek(&mut [0]).unwrap(), 0);
        assert_eq!(udp.recv_from(&mut [0]).unwrap_err().kind(), ErrorKind::InvalidInput);
        assert_eq!(udp.peek_from(&mut [0]).unwrap_err().kind(), ErrorKind::InvalidInput);
    });
}

#[test]
fn a_shutdown_ends_a_write_that_waits() {
    let _watch = watch();
    for n in [1, 2, 8] {
        workers(n).run(|| {
            let (near, _far) = UnixStream::pair().unwrap();
            fill(|on| near.set_nonblocking(on), || (&near).write(&[0; 4096]));
            let (datagrams, _other) = UnixDatagram::pair().unwrap();
            fill(|on| datagrams.set_nonblocking(on), || datagrams.send(b"!"));
            let (near, datagrams) = (Arc::new(near), Arc::new(datagrams));
            let (begins, begun) = channel::unbounded();
            let writes = || {
                let (near, begins) = (near.clone(), begins.clone());
                move || {
                    begins.send(()).unwrap();
                    (&*near).write(&[0; 4096]).unwrap_err().kind()
                }
            };
            let tasks = [spawn(writes()), spawn(writes())];
            let threads = [thread::spawn(writes()), thread::spawn(writes())];
            let sender = spawn({
                let (datagrams, begins) = (datagrams.clone(), begins.clone());
                move || {
                    begins.send(()).unwrap();
                    datagrams.send(b"!").unwrap_err().kind()
                }
            });
            (0..5).for_each(|_| begun.recv().unwrap());
            // Right whoever is first; this makes it likely that they wait.
            time::sleep(ms(30));
            near.shutdown(Shutdown::Write).unwrap();
            datagrams.shutdown(Shutdown::Write).unwrap();
            for task in tasks {
                assert_eq!(task.join().unwrap(), ErrorKind::BrokenPipe);
            }
            for thread in threads {
                assert_eq!(thread.join().unwrap(), ErrorKind::BrokenPipe);
            }
            assert_eq!(sender.join().unwrap(), ErrorKind::BrokenPipe);
        });
    }
}

#[test]
fn urgent_data_that_is_not_taken_does_not_keep_a_thread_busy() {
    let _watch = watch();
    let (near, mut far) = tcp_pair();
    far.set_nodelay(true).unwrap();
    assert_eq!(socket2::SockRef::from(&far).send_out_of_band(b"!").unwrap(), 1);
    near.set_read_timeout(Some(ms(400))).unwrap();
    let used = thread_cpu_time();
    assert_eq!(near.peek(&mut [0; 4]).unwrap_err().kind(), ErrorKind::TimedOut);
    let used = thread_cpu_time() - used;
    assert!(used < ms(100), "{used:?}");
    near.set_read_timeout(None).unwrap();
    let reader = thread::spawn(move || {
        let mut bytes = [0; 4];
        (&near).read_exact(&mut bytes).map(|()| bytes)
    });
    far.write_all(b"last").unwrap();
    assert_eq!(reader.join().unwrap().unwrap(), *b"last");
}

// ---- threads

/// A default runtime that cannot be made, and a descriptor that is selected twice, which the lookout can watch once: the thread
/// that selects panics, and must have left everything.
fn select_where_no_runtime_can_be_had() {
    // SAFETY: nobody else reads the environment now.
    unsafe { std::env::set_var("OSIER_WORKERS", "many") };
    let (near, mut far) = UnixStream::pair().unwrap();
    let twin = Ready::new(near.as_fd()).unwrap();
    let (says, hears) = channel::bounded::<u8>(0);
    let event = Event::new();
    let text = panic_text(|| {
        select! {
            recv(hears) -> _ => unreachable!("nobody says anything"),
            wait(near.when_readable()) => unreachable!("nobody writes"),
            wait(twin.when_readable()) => unreachable!("nobody writes"),
        }
    });
    assert!(text.contains("OSIER_WORKERS"), "{text}");
    assert!(says.try_send(1).is_err(), "nobody waits there any more");
    let (whens, twins) = (near.when_readable(), twin.when_readable());
    let text = panic_text(|| wait(&[&event, &whens as &dyn Wait, &twins]).next());
    assert!(text.contains("OSIER_WORKERS"), "{text}");
    event.set();
    far.write_all(b"!").unwrap();
    select! {
        recv(hears) -> _ => unreachable!("nobody says anything"),
        wait(near.when_readable()) => assert_eq!((&near).read(&mut [0; 4]).unwrap(), 1),
    }
    drop((whens, twins));
    drop(twin);
    // Would wake who had stayed.
    near.close().unwrap();
    // A server's start panics as well, and holds nothing: it can be asked, tried again and stopped.
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let server = StreamServer::new(listener, |_, _| ()).acceptors(2);
    for _ in 0..2 {
        let text = panic_text(|| server.start());
        assert!(text.contains("OSIER_WORKERS"), "{text}");
        assert!(!server.is_accepting());
    }
    assert!(server.stop(ms(1)));
}

#[test]
fn a_select_that_panics_on_a_thread_leaves_what_it_has_entered() {
    let _watch = watch();
    common::assert_ended_well(&common::run_program("no runtime"));
}

/// The lookout, and the default runtime's only worker, watch the descriptor for another `Ready`: it is asked about.
fn select_what_cannot_be_watched() {
    let (reader, mut writer) = io::pipe().unwrap();
    let reader = Arc::new(reader);
    let (one, other) = (Ready::new(reader.clone()).unwrap(), Ready::new(reader.clone()).unwrap());
    let one = run(move || {
        assert_eq!(one.readable_timeout(ms(1)).unwrap_err().kind(), ErrorKind::TimedOut);
        one
    });
    let (begins, begun) = channel::bounded(1);
    let writes = thread::spawn(move || {
        begun.recv().unwrap();
        // Right whoever is first; this makes it likely that the other waits.
        hold_thread(ms(30));
        writer.write_all(b"!").map(|()| writer)
    });
    begins.send(()).unwrap();
    let never = Event::new();
    let mut told: Vec<_> = wait(&[&one.when_readable() as &dyn Wait, &other.when_readable(), &never]).take(2).collect();
    told.sort_unstable();
    assert_eq!(told, [0, 1]);
    assert_eq!((&*reader).read(&mut [0; 4]).unwrap(), 1);
    drop((one, writes.join().unwrap().unwrap()));
}

/// The default runtime's only worker is held until the thread, which is none of its tasks, has been told.
fn select_while_the_workers_compute() {
    let (near, mut far) = UnixStream::pair().unwrap();
    let is_told = Arc::new(AtomicBool::new(false));
    let (begins, begun) = channel::bounded(1);
    let computes = spawn({
        let is_told = is_told.clone();
        move || {
            begins.send(()).unwrap();
            while !is_told.load(Ordering::Relaxed) {
                std::hint::spin_loop();
            }
        }
    });
    begun.recv().unwrap();
    let writes = thread::spawn(move || {
        // Right whoever is first; this makes it likely that the other waits.
        hold_thread(ms(30));
        far.write_all(b"!").map(|()| far)
    });
    let (_never, silent) = channel::bounded::<()>(1);
    select! {
        recv(silent) -> _ => unreachable!("nobody says anything"),
        wait(near.when_readable()) => assert_eq!((&near).read(&mut [0; 4]).unwrap(), 1),
    }
    is_told.store(true, Ordering::Relaxed);
    computes.join().unwrap();
    drop(writes.join().unwrap().unwrap());
}

#[test]
fn a_thread_that_selects_depends_on_no_worker() {
    let _watch = watch();
    common::assert_ended_well(&common::run_program_with("computing", &[("OSIER_WORKERS", "1")]));
}

#[test]
fn a_thread_that_has_selected_does_not_leave_others_without_a_watcher() {
    let _watch = watch();
    for round in 0..200 {
        let (near, mut far) = UnixStream::pair().unwrap();
        let (goes, gone) = channel::bounded::<()>(1);
        let leaves = thread::spawn({
            let near = near.try_clone().unwrap();
            move || {
                select! {
                    recv(gone) -> _ => {},
                    wait(near.when_readable()) => panic!("nobody has written yet"),
                }
            }
        });
        let stays = thread::spawn(move || {
            let never = Event::new();
            let told = wait(&[&near.when_readable() as &dyn Wait, &never]).next();
            (told, (&near).read(&mut [0; 4]).unwrap())
        });
        // In some rounds both wait before, in others one comes while the other goes.
        if round % 2 == 0 {
            hold_thread(ms(1));
        }
        goes.send(()).unwrap();
        leaves.join().unwrap();
        far.write_all(b"!").unwrap();
        assert_eq!(stays.join().unwrap(), (Some(0), 1));
    }
}

#[test]
fn a_thread_selects_what_no_worker_can_watch() {
    let _watch = watch();
    common::assert_ended_well(&common::run_program_with("unwatchable", &[("OSIER_WORKERS", "1")]));
}

// ---- too few descriptors

/// Takes all descriptors that the process may have.
fn take_all_descriptors() -> Vec<File> {
    let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: it writes the struct.
    assert_eq!(unsafe { libc::getrlimit(libc::RLIMIT_NOFILE, &raw mut limit) }, 0);
    limit.rlim_cur = 64;
    // SAFETY: it only reads the struct.
    assert_eq!(unsafe { libc::setrlimit(libc::RLIMIT_NOFILE, &raw const limit) }, 0);
    std::iter::from_fn(|| File::open("/dev/null").ok()).collect()
}

fn go_on_without_descriptors() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let (near, mut far) = UnixStream::pair().unwrap();
    let (kept, mut talks) = UnixStream::pair().unwrap();
    let (ended, waits) = UnixStream::pair().unwrap();
    let udp = UdpSocket::bind("127.0.0.1:0").unwrap();
    let (near, kept, ended, waits) = (Arc::new(near), Arc::new(kept), Arc::new(ended), Arc::new(waits));
    let (begins, begun) = channel::unbounded();
    let all = take_all_descriptors();
    assert!(code(File::open("/dev/null")) == Some(libc::EMFILE));
    // Threads wait all the same, and a close ends that.
    let reads = |stream: &Arc<UnixStream>| {
        let (stream, begins) = (stream.clone(), begins.clone());
        thread::spawn(move || {
            begins.send(()).unwrap();
            (&*stream).read(&mut [0])
        })
    };
    let (reader, closed, woken) = (reads(&kept), reads(&ended), reads(&near));
    (0..3).for_each(|_| begun.recv().unwrap());
    hold_thread(ms(30));
    talks.write_all(&[1]).unwrap();
    assert_eq!(reader.join().unwrap().unwrap(), 1);
    // What cannot be replaced is shut down.
    ended.close().unwrap();
    assert_eq!(code(closed.join().unwrap()), Some(libc::EBADF));
    assert_eq!((&*waits).read(&mut [0]).unwrap(), 0);
    near.close().unwrap();
    assert_eq!(code(woken.join().unwrap()), Some(libc::EBADF));
    assert_eq!(far.write(&[0]).unwrap_err().kind(), ErrorKind::BrokenPipe);
    listener.close().unwrap();
    assert_eq!(code(listener.accept()), Some(libc::EBADF));
    assert_eq!(code(udp.close()), Some(libc::EMFILE));
    assert_eq!(code(udp.recv(&mut [0])), Some(libc::EBADF));
    drop(all);
    // Nobody else is in this process, so it is nobody else's port.
    assert_eq!(TcpStream::connect(address).unwrap_err().kind(), ErrorKind::ConnectionRefused);
}

#[test]
fn without_descriptors_threads_wait_and_closing_ends_what_it_can() {
    let _watch = watch();
    common::assert_ended_well(&common::run_program_with("no descriptors", &[("OSIER_WORKERS", "1")]));
}

fn read_where_no_poller_can_be_made() {
    let runtime = workers(4);
    runtime.run(|| {
        let pairs: Vec<_> = (0..8).map(|_| UnixStream::pair().unwrap()).collect();
        let all = take_all_descriptors();
        let (begins, begun) = channel::unbounded();
        let mut tasks = Vec::new();
        let mut peers = Vec::new();
        for (index, (near, far)) in pairs.into_iter().enumerate() {
            let begins = begins.clone();
            peers.push(far);
            tasks.push(Builder::new().place(Place::Spread).spawn(move || {
                begins.send(()).unwrap();
                if index % 2 == 0 {
                    return (&near).read(&mut [0]).unwrap();
                }
                // A select as well, and what has ended a first wait by its time.
                assert!(time::timeout(ms(1), || (&near).read(&mut [0])).is_err());
                select! { wait(near.when_readable()) => (&near).read(&mut [0]).unwrap() }
            }));
        }
        (0..8).for_each(|_| begun.recv().unwrap());
        time::sleep(ms(20));
        peers.iter_mut().for_each(|far| far.write_all(&[1]).unwrap());
        assert!(tasks.into_iter().all(|task| task.join().unwrap() == 1));
        drop(all);
    });
}

#[test]
fn without_descriptors_for_pollers_tasks_wait_all_the_same() {
    let _watch = watch();
    common::assert_ended_well(&common::run_program("no pollers"));
}

/// How many pollers watch a descriptor, as the system tells.
fn watchers(fd: RawFd) -> usize {
    let watches = |info: String| {
        let watched = info.lines().filter_map(|line| line.strip_prefix("tfd:")?.split_whitespace().next());
        watched.filter_map(|number| number.parse().ok()).any(|number: RawFd| number == fd)
    };
    let files = std::fs::read_dir("/proc/self/fdinfo").unwrap().flatten();
    files.filter(|file| std::fs::read_to_string(file.path()).is_ok_and(watches)).count()
}

fn leave_before_the_number_goes() {
    let watched = || {
        let (near, far) = tcp_pair();
        // Not the end that has connected, and so was waited for.
        let number = far.as_raw_fd();
        assert!(time::timeout(ms(1), || (&far).read(&mut [0])).is_err());
        assert_eq!(watchers(number), 1);
        (number, far, near)
    };
    run(move || {
        // With a duplicate, the system would go on to watch.
        let (number, far, _near) = watched();
        let _duplicate = far.as_fd().try_clone_to_owned().unwrap();
        drop(far);
        assert_eq!(watchers(number), 0);
        let (number, far, _near) = watched();
        let _duplicate = far.as_fd().try_clone_to_owned().unwrap();
        far.close().unwrap();
        assert_eq!(watchers(number), 0);
        let (number, far, _near) = watched();
        assert_eq!(far.into_raw_fd(), number);
        assert_eq!(watchers(number), 0);
        let (number, far, _near) = watched();
        let std = far.into_std().unwrap();
        assert_eq!((std.as_raw_fd(), watchers(number)), (number, 0));
        let (number, far, _near) = watched();
        let fd = OwnedFd::from(far);
        assert_eq!((fd.as_raw_fd(), watchers(number)), (number, 0));
        let (reader, _writer) = pipe().unwrap();
        let number = reader.as_raw_fd();
        assert!(time::timeout(ms(1), || (&reader).read(&mut [0])).is_err());
        assert_eq!(watchers(number), 1);
        let fd = reader.into_fd();
        assert_eq!((fd.as_raw_fd(), watchers(number)), (number, 0));
    });
}

#[test]
fn a_descriptor_leaves_its_pollers_before_it_is_closed_or_given_away() {
    let _watch = watch();
    common::assert_ended_well(&common::run_program("leaving"));
}

// ---- calls for nothing

// GV-218
#[test]
fn a_call_that_moves_nothing_does_not_wait() {
    let _watch = watch();
    for n in [1, 2, 8] {
        workers(n).run(|| {
            let (near, _far) = tcp_pair();
            // Neither direction is ready, and known not to be.
            near.set_write_timeout(Some(ms(1))).unwrap();
            while (&near).write(&[0; 1 << 14]).is_ok() {}
            near.set_write_timeout(None).unwrap();
            assert!(time::timeout(ms(1), || (&near).read(&mut [0])).is_err());
            assert_eq!((&near).write(&[]).unwrap(), 0);
            assert_eq!((&near).write_vectored(&[IoSlice::new(&[]), IoSlice::new(&[])]).unwrap(), 0);
            assert_eq!((&near).read(&mut []).unwrap(), 0);
            assert_eq!((&near).read_vectored(&mut [IoSliceMut::new(&mut [])]).unwrap(), 0);
            assert_eq!(near.peek(&mut []).unwrap(), 0);
            near.close().unwrap();
            assert_eq!(code((&near).read(&mut [])), Some(libc::EBADF));

            let (near, _far) = UnixStream::pair().unwrap();
            near.set_write_timeout(Some(ms(1))).unwrap();
            while (&near).write(&[0; 1 << 14]).is_ok() {}
            near.set_write_timeout(None).unwrap();
            assert!(time::timeout(ms(1), || (&near).read(&mut [0])).is_err());
            assert_eq!((&near).write(&[]).unwrap(), 0);
            assert_eq!((&near).read(&mut []).unwrap(), 0);

            let (reader, writer) = pipe().unwrap();
            assert!(time::timeout(ms(1), || (&reader).read(&mut [0])).is_err());
            while time::timeout(ms(1), || (&writer).write(&[0; 1 << 12])).is_ok() {}
            assert_eq!((&writer).write(&[]).unwrap(), 0);
            (&reader).read_exact(&mut [0; 1 << 12]).unwrap();
            assert_eq!((&reader).read_vectored(&mut [IoSliceMut::new(&mut [])]).unwrap(), 0);
        });
    }
}

// GV-218: of datagrams, one that is empty is something.
#[test]
fn an_empty_datagram_is_sent_and_waited_for() {
    let _watch = watch();
    run(|| {
        let near = UdpSocket::bind("127.0.0.1:0").unwrap();
        let far = UdpSocket::bind("127.0.0.1:0").unwrap();
        near.connect(far.local_addr().unwrap()).unwrap();
        let receiver = spawn(move || far.recv(&mut []).unwrap());
        yield_now();
        assert_eq!(near.send(&[]).unwrap(), 0);
        assert_eq!(receiver.join().unwrap(), 0);
        let (near, far) = UnixDatagram::pair().unwrap();
        let receiver = spawn(move || far.recv(&mut [0; 4]).unwrap());
        yield_now();
        assert_eq!(near.send(&[]).unwrap(), 0);
        assert_eq!(receiver.join().unwrap(), 0);
    });
}

// ---- closed sockets, and std's

#[test]
fn a_closed_socket_answers_no_questions() {
    let _watch = watch();
    const CLOSED: Option<i32> = Some(libc::EBADF);
    run(|| {
        let (near, _far) = tcp_pair();
        near.close().unwrap();
        assert_eq!(code(near.take_error()), CLOSED);
        assert_eq!(code(near.local_addr()), CLOSED);
        assert_eq!(code(near.peer_addr()), CLOSED);
        assert_eq!(code(near.set_nodelay(true)), CLOSED);
        assert_eq!(code(near.linger()), CLOSED);
        assert_eq!(code(near.set_keepalive(None)), CLOSED);
        assert_eq!(code(near.into_std()), CLOSED);
        let udp = UdpSocket::bind("127.0.0.1:0").unwrap();
        udp.close().unwrap();
        assert_eq!(code(udp.connect("127.0.0.1:9")), CLOSED);
        assert_eq!(code(udp.local_addr()), CLOSED);
        assert_eq!(code(udp.set_ttl(9)), CLOSED);
        let (near, _far) = UnixDatagram::pair().unwrap();
        near.close().unwrap();
        assert_eq!(code(near.shutdown(Shutdown::Both)), CLOSED);
        assert_eq!(code(near.connect("/nowhere")), CLOSED);
        assert_eq!(code(near.local_addr()), CLOSED);
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        listener.close().unwrap();
        assert_eq!(code(listener.local_addr()), CLOSED);
        assert_eq!(code(std::net::TcpListener::try_from(listener)), CLOSED);
    });
}

// As std's: zero would be no limit.
#[test]
fn a_timeout_that_is_too_short_for_the_system_is_not_lost() {
    let _watch = watch();
    run(|| {
        for nanoseconds in [1, 999] {
            let (near, _far) = tcp_pair();
            near.set_read_timeout(Some(Duration::from_nanos(nanoseconds))).unwrap();
            near.set_write_timeout(Some(Duration::from_nanos(nanoseconds))).unwrap();
            let near = near.into_std().unwrap();
            assert!(near.read_timeout().unwrap().is_some() && near.write_timeout().unwrap().is_some());
            assert_eq!((&near).read(&mut [0]).unwrap_err().kind(), ErrorKind::WouldBlock);
        }
    });
}

// By code that has only the number, such as a library's.
#[test]
fn the_number_of_a_closed_socket_is_a_bad_descriptor_to_the_system() {
    let _watch = watch();
    run(|| {
        let (near, mut far) = tcp_pair();
        let kept = near.try_clone().unwrap();
        let selector = Selector::new().unwrap();
        let token = selector.register(&near, Interest::Read).unwrap();
        near.close().unwrap();
        assert_eq!(far.read(&mut [0]).unwrap(), 0, "the substitute keeps nothing open");

        let number = near.as_raw_fd();
        const CLOSED: Option<i32> = Some(libc::EBADF);
        let failed =
            |has_failed: bool| has_failed.then(io::Error::last_os_error).and_then(|error| error.raw_os_error());
        let mut bytes = [0_u8; 128];
        let (to, mut length) = (bytes.as_mut_ptr(), libc::socklen_t::try_from(bytes.len()).unwrap());
        let mut poll = libc::pollfd { fd: number, events: libc::POLLIN | libc::POLLOUT, revents: 0 };
        // SAFETY: the buffer and the length are valid for each, and long enough for an address.
        unsafe {
            assert_eq!(failed(libc::recv(number, to.cast(), 1, libc::MSG_DONTWAIT) < 0), CLOSED);
            assert_eq!(failed(libc::read(number, to.cast(), 1) < 0), CLOSED);
            assert_eq!(failed(libc::send(number, to.cast(), 1, libc::MSG_NOSIGNAL) < 0), CLOSED);
            assert_eq!(failed(libc::write(number, to.cast(), 1) < 0), CLOSED);
            assert_eq!(failed(libc::accept(number, to.cast(), &raw mut length) < 0), CLOSED);
            assert_eq!(failed(libc::connect(number, to.cast(), length) < 0), CLOSED);
            assert_eq!(failed(libc::bind(number, to.cast(), length) < 0), CLOSED);
            assert_eq!(failed(libc::listen(number, 1) < 0), CLOSED);
            assert_eq!(failed(libc::getsockname(number, to.cast(), &raw mut length) < 0), CLOSED);
            assert_eq!(libc::poll(&raw mut poll, 1, 0), 1);
        }
        assert_eq!(poll.revents, libc::POLLNVAL);

        assert_eq!(code(selector.modify(token, Interest::Both)), CLOSED);
        selector.unregister(token).unwrap();
        assert_eq!(code(selector.register(&near, Interest::Read)), CLOSED);
        assert_eq!(code(Ready::new(near.as_fd())), CLOSED);
        // It can be given away as what it is, by one of two hands and by the last.
        for hand in [near, kept] {
            let fd = OwnedFd::from(hand);
            assert_eq!(code((&File::from(fd)).read(&mut [0])), CLOSED);
        }
    });
}

#[test]
fn every_kind_comes_from_std_and_goes_back_with_its_timeouts() {
    let _watch = watch();
    // What the system need not round.
    let (read, write) = (Some(ms(200)), Some(Duration::from_secs(7)));
    macro_rules! there_and_back {
        ($std:expr, $ours:ident) => {{
            let std = $std;
            std.set_read_timeout(read).unwrap();
            std.set_write_timeout(write).unwrap();
            let ours = $ours::from_std(std).unwrap();
            assert_eq!((ours.read_timeout().unwrap(), ours.write_timeout().unwrap()), (read, write));
            ours.set_read_timeout(Some(ms(400))).unwrap();
            ours.set_write_timeout(None).unwrap();
            let std = ours.into_std().unwrap();
            assert_eq!((std.read_timeout().unwrap(), std.write_timeout().unwrap()), (Some(ms(400)), None));
            $ours::try_from(OwnedFd::from(std)).unwrap()
        }};
    }
    run(|| {
        let (near, mut far) = tcp_pair();
        let mut near = there_and_back!(near.into_std().unwrap(), TcpStream);
        far.write_all(b"!").unwrap();
        assert_eq!(near.read(&mut [0; 4]).unwrap(), 1);
        let (near, mut far) = UnixStream::pair().unwrap();
        let mut near = there_and_back!(near.into_std().unwrap(), UnixStream);
        far.write_all(b"!").unwrap();
        assert_eq!(near.read(&mut [0; 4]).unwrap(), 1);
        let near = there_and_back!(std::net::UdpSocket::bind("127.0.0.1:0").unwrap(), UdpSocket);
        near.send_to(b"!", near.local_addr().unwrap()).unwrap();
        assert_eq!(near.recv(&mut [0; 4]).unwrap(), 1);
        let (near, far) = std::os::unix::net::UnixDatagram::pair().unwrap();
        let near = there_and_back!(near, UnixDatagram);
        far.send(b"!").unwrap();
        assert_eq!(near.recv(&mut [0; 4]).unwrap(), 1);

        let listener = TcpListener::from_std(std::net::TcpListener::bind("127.0.0.1:0").unwrap()).unwrap();
        assert!(time::timeout(ms(1), || listener.accept()).is_err());
        let listener = std::net::TcpListener::try_from(listener).unwrap();
        let address = listener.local_addr().unwrap();
        let client = thread::spawn(move || std::net::TcpStream::connect(address).unwrap());
        // In blocking mode.
        listener.accept().unwrap();
        client.join().unwrap();
        let path = path("conversion");
        let listener = UnixListener::try_from(std::os::unix::net::UnixListener::bind(&path).unwrap()).unwrap();
        assert!(time::timeout(ms(1), || listener.accept()).is_err());
        let listener = listener.into_std().unwrap();
        let _client = std::os::unix::net::UnixStream::connect(&path).unwrap();
        listener.accept().unwrap();
        std::fs::remove_file(&path).unwrap();
        let (reader, writer) = io::pipe().unwrap();
        let mut reader = osier::net::PipeReader::try_from(reader).unwrap();
        let mut writer = osier::net::PipeWriter::try_from(writer).unwrap();
        writer.write_all(b"!").unwrap();
        assert_eq!(reader.read(&mut [0; 4]).unwrap(), 1);
    });
}

#[test]
fn keepalive_is_what_was_set() {
    let _watch = watch();
    let (near, _far) = tcp_pair();
    let system = socket2::SockRef::from(&near);
    assert!(!system.keepalive().unwrap());
    near.set_keepalive(Some(Duration::from_secs(77))).unwrap();
    assert!(system.keepalive().unwrap());
    assert_eq!(system.tcp_keepalive_time().unwrap(), Duration::from_secs(77));
    near.set_keepalive(None).unwrap();
    assert!(!system.keepalive().unwrap());
}

// ---- datagrams to who is full

// In made-up time.
#[test]
fn sending_to_who_is_full_ends_when_its_time_is_over_and_not_later() {
    let _watch = watch();
    let path = path("full");
    let receiver = std::os::unix::net::UnixDatagram::bind(&path).unwrap();
    let to = path.clone();
    Runtime::builder().test(1).build().unwrap().run(move || {
        let sender = UnixDatagram::unbound().unwrap();
        fill(|on| sender.set_nonblocking(on), || sender.send_to(b"!", &to));
        for limit in [1, 20, 200] {
            sender.set_write_timeout(Some(ms(limit))).unwrap();
            let began = time::now();
            assert_eq!(sender.send_to(b"!", &to).unwrap_err().kind(), ErrorKind::TimedOut);
            assert_eq!(time::now() - began, ms(limit));
        }
    });
    drop(receiver);
    std::fs::remove_file(&path).unwrap();
}

#[test]
fn sending_to_somebody_lets_other_tasks_run() {
    let _watch = watch();
    workers(1).run(|| {
        let ran = Arc::new(AtomicBool::new(false));
        let runs = ran.clone();
        let other = spawn(move || runs.store(true, Ordering::Relaxed));
        let sender = UnixDatagram::unbound().unwrap();
        while !ran.load(Ordering::Relaxed) {
            assert_eq!(sender.send_to(b"!", "/nowhere").unwrap_err().kind(), ErrorKind::NotFound);
        }
        other.join().unwrap();
    });
}

// ---- many on one socket

#[test]
fn several_write_and_several_read_on_one_socket() {
    let _watch = watch();
    const EACH: usize = 300_000;
    for n in [1, 2, 8] {
        workers(n).run(|| {
            let (near, far) = tcp_pair();
            let (near, far) = (Arc::new(near), Arc::new(far));
            let writers: Vec<_> = (1..=4_u8)
                .map(|number| {
                    let near = near.clone();
                    spawn(move || (&*near).write_all(&vec![number; EACH]).unwrap())
                })
                .collect();
            let readers: Vec<_> = (0..3)
                .map(|_| {
                    let near = near.clone();
                    spawn(move || {
                        let (mut buffer, mut all) = (vec![0; 5000], 0);
                        loop {
                            match (&*near).read(&mut buffer).unwrap() {
                                0 => return all,
                                size => all += size,
                            }
                        }
                    })
                })
                .collect();
            // Both queues are full before anything moves.
            time::sleep(ms(5));
            let answers = spawn({
                let far = far.clone();
                move || {
                    (&*far).write_all(&vec![0; EACH]).unwrap();
                    far.shutdown(Shutdown::Write).unwrap();
                }
            });
            let (mut counts, mut buffer) = ([0; 5], vec![0; 1 << 16]);
            while counts.iter().sum::<usize>() < 4 * EACH {
                let size = (&*far).read(&mut buffer).unwrap();
                buffer[..size].iter().for_each(|&number| counts[usize::from(number)] += 1);
            }
            assert_eq!(counts, [0, EACH, EACH, EACH, EACH]);
            osier::join_all(writers).unwrap();
            answers.join().unwrap();
            assert_eq!(osier::join_all(readers).unwrap().iter().sum::<usize>(), EACH);
        });
    }
}

/// How many calls of the `read` family this thread has made, if the system counts them.
fn reads() -> Option<u64> {
    let counts = std::fs::read_to_string("/proc/thread-self/io").ok()?;
    counts.lines().find_map(|line| line.strip_prefix("syscr: "))?.trim().parse().ok()
}

// A short read says that there is no more, so the next one waits without trying.
#[cfg(not(osier_polling))]
#[test]
fn a_request_costs_one_read() {
    let _watch = watch();
    const ROUNDS: u64 = 200;
    if reads().is_none() {
        eprintln!("not here: the system does not count calls");
        return;
    }
    let (near, mut far) = tcp_pair();
    let asks = thread::spawn(move || {
        for round in 0..ROUNDS {
            far.write_all(&[1]).unwrap();
            far.read_exact(&mut [0]).unwrap();
            assert!(round < ROUNDS);
        }
    });
    let made = workers(1).run(move || {
        // What asking costs.
        let before = reads().unwrap();
        let asking = reads().unwrap() - before;
        let before = reads().unwrap();
        for _ in 0..ROUNDS {
            // By `readv`, which the system counts.
            let mut buffer = [0; 16];
            assert_eq!((&near).read_vectored(&mut [IoSliceMut::new(&mut buffer)]).unwrap(), 1);
            (&near).write_all(&[2]).unwrap();
        }
        reads().unwrap() - before - asking
    });
    asks.join().unwrap();
    // The first may find nothing.
    assert!((ROUNDS..=ROUNDS + 2).contains(&made), "{made} reads for {ROUNDS} requests");
}

// GV-229: an exchange of HTTP in one thread.
#[test]
fn client_and_server_of_http_share_one_thread() {
    let _watch = watch();
    osier::LocalRuntime::new().run(|| {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address: SocketAddr = listener.local_addr().unwrap();
        let server = osier::spawn_local(move || {
            let (stream, _) = listener.accept().unwrap();
            let mut lines = io::BufRead::lines(io::BufReader::new(&stream)).map(Result::unwrap);
            let request = lines.next().unwrap();
            assert!(lines.by_ref().take_while(|line| !line.is_empty()).any(|line| line == "Host: here"));
            (&stream).write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nConnection: close\r\n\r\nhello").unwrap();
            request
        });
        let mut client = TcpStream::connect(address).unwrap();
        client.write_all(b"GET /leaf HTTP/1.1\r\nHost: here\r\nConnection: close\r\n\r\n").unwrap();
        let answer = io::read_to_string(&client).unwrap();
        let (head, body) = answer.split_once("\r\n\r\n").unwrap();
        assert!(head.starts_with("HTTP/1.1 200 OK\r\n"), "{head}");
        assert_eq!(body, "hello");
        assert_eq!(server.join().unwrap(), "GET /leaf HTTP/1.1");
    });
}
