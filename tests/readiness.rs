//! What is known of a descriptor, where it could be wrong: short calls that say nothing, data that a busy worker has not heard
//! of, descriptors that are closed, or watched, by somebody else.
//!
//! Numbers in comments are rows of `arch-notes/conformance.md`.

#![cfg(all(feature = "net", target_os = "linux"))]

mod common;

use std::fs::File;
use std::io::{self, ErrorKind, IoSlice, IoSliceMut, Read, Write};
use std::os::fd::{AsFd, AsRawFd, RawFd};
use std::sync::{Arc, Barrier};
use std::thread;
use std::time::{Duration, Instant};

use common::{cpu_time, hold_thread, ms, thread_cpu_time, until, watch};
use osier::net::selector::{Interest, Selector};
use osier::net::{Ready, TcpListener, TcpStream, UdpSocket, UnixDatagram, UnixListener, UnixStream};
use osier::sync::channel;
use osier::{Runtime, run, select, spawn, time, yield_now};

fn workers(n: usize) -> Runtime {
    Runtime::builder().workers(n).build().unwrap()
}

fn tcp_pair() -> (TcpStream, TcpStream) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    (client, listener.accept().unwrap().0)
}

/// Holds the thread until the peer's system has all that was sent.
fn until_delivered(stream: &TcpStream) {
    let mut left = 1;
    while left > 0 {
        hold_thread(ms(1));
        // SAFETY: it writes the number.
        assert_eq!(unsafe { libc::ioctl(stream.as_raw_fd(), libc::TIOCOUTQ, &raw mut left) }, 0);
    }
}

// ---- short calls

/// More than the system takes at once.
const SLICES: usize = 3000;

#[test]
fn a_read_into_more_slices_than_the_system_takes_leaves_the_rest_to_the_next() {
    let _watch = watch();
    for n in [1, 2, 8] {
        workers(n).run(|| {
            let (near, mut far) = tcp_pair();
            let reader = spawn(move || {
                // Waits: from now on it is events that say what is there.
                (&near).read_exact(&mut [0]).unwrap();
                let mut bytes = [0; SLICES];
                let mut slices: Vec<_> = bytes.chunks_mut(1).map(IoSliceMut::new).collect();
                let mut count = 0;
                while count < SLICES {
                    count += (&near).read_vectored(&mut slices[count..]).unwrap();
                }
                bytes
            });
            yield_now();
            far.write_all(&[7; SLICES + 1]).unwrap();
            assert_eq!(reader.join().unwrap(), [7; SLICES]);
        });
    }
}

#[test]
fn a_write_of_more_slices_than_the_system_takes_is_followed_by_the_next() {
    let _watch = watch();
    for n in [1, 2, 8] {
        workers(n).run(|| {
            let (near, far) = tcp_pair();
            let piece = vec![0; 1 << 16];
            while time::timeout(ms(30), || (&near).write(&piece)).is_ok() {}
            let writer = spawn(move || {
                // Waits for room, as above.
                (&near).write_all(&[1]).unwrap();
                let slices = vec![IoSlice::new(&[2]); SLICES];
                let mut count = 0;
                while count < SLICES {
                    count += (&near).write_vectored(&slices[count..]).unwrap();
                }
            });
            yield_now();
            let mut all = Vec::new();
            (&far).read_to_end(&mut all).unwrap();
            writer.join().unwrap();
            assert_eq!(all.iter().filter(|&&byte| byte == 2).count(), SLICES);
        });
    }
}

/// Sends bytes with a descriptor.
fn send_a_descriptor(to: &UnixStream, bytes: &[u8]) {
    let passed = File::open("/dev/null").unwrap();
    let mut control = [0_u64; 4];
    let mut part = libc::iovec { iov_base: bytes.as_ptr().cast_mut().cast(), iov_len: bytes.len() };
    // SAFETY: zeros are an empty message.
    let mut message: libc::msghdr = unsafe { std::mem::zeroed() };
    message.msg_iov = &raw mut part;
    message.msg_iovlen = 1;
    message.msg_control = control.as_mut_ptr().cast();
    let size = u32::try_from(size_of::<RawFd>()).unwrap();
    // SAFETY: it only computes.
    message.msg_controllen = unsafe { libc::CMSG_SPACE(size) } as _;
    assert!(message.msg_controllen as usize <= size_of_val(&control));
    // SAFETY: the message is whole, and there is room for one header with a descriptor.
    unsafe {
        let header = libc::CMSG_FIRSTHDR(&raw const message);
        (*header).cmsg_level = libc::SOL_SOCKET;
        (*header).cmsg_type = libc::SCM_RIGHTS;
        (*header).cmsg_len = libc::CMSG_LEN(size) as _;
        libc::CMSG_DATA(header).cast::<RawFd>().write_unaligned(passed.as_raw_fd());
    }
    // SAFETY: as above; it only reads.
    let sent = unsafe { libc::sendmsg(to.as_raw_fd(), &raw const message, 0) };
    assert_eq!(usize::try_from(sent).unwrap(), bytes.len());
}

#[test]
fn what_comes_behind_a_descriptor_is_read_by_the_next_call() {
    let _watch = watch();
    for n in [1, 2, 8] {
        workers(n).run(|| {
            let (near, mut far) = UnixStream::pair().unwrap();
            let reader = spawn(move || {
                let mut buffer = [0; 16];
                [(); 2].map(|()| (&near).read(&mut buffer).map(|size| buffer[..size].to_vec()).unwrap())
            });
            yield_now();
            // Both come before the reader's worker looks again, where there is but one.
            send_a_descriptor(&far, b"with");
            far.write_all(b"without").unwrap();
            assert_eq!(reader.join().unwrap(), [b"with".to_vec(), b"without".to_vec()]);
        });
    }
}

#[test]
fn what_comes_behind_urgent_data_is_read_by_the_next_call() {
    let _watch = watch();
    for n in [1, 2, 8] {
        workers(n).run(|| {
            let (near, mut far) = tcp_pair();
            far.set_nodelay(true).unwrap();
            let reader = spawn(move || {
                let mut all = Vec::new();
                while all.len() < 12 {
                    let mut buffer = [0; 16];
                    let size = (&near).read(&mut buffer).unwrap();
                    all.extend_from_slice(&buffer[..size]);
                }
                all
            });
            yield_now();
            far.write_all(b"before").unwrap();
            assert_eq!(socket2::SockRef::from(&far).send_out_of_band(b"!").unwrap(), 1);
            far.write_all(b"behind").unwrap();
            until_delivered(&far);
            assert_eq!(reader.join().unwrap(), b"beforebehind");
        });
    }
}

// ---- late workers

/// Reads with a limit of 50 ms what comes at once, on a worker that is held for longer.
fn read_late(read: impl FnOnce(&TcpStream) -> io::Result<usize> + Send + 'static) -> io::Result<usize> {
    workers(1).run(|| {
        let (near, mut far) = tcp_pair();
        let reader = spawn(move || read(&near));
        yield_now();
        far.write_all(&[7]).unwrap();
        until_delivered(&far);
        hold_thread(ms(150));
        reader.join().unwrap()
    })
}

#[test]
fn what_has_come_in_time_is_read_by_a_worker_that_was_held_until_the_time_was_over() {
    let _watch = watch();
    let own = read_late(|mut stream| {
        stream.set_read_timeout(Some(ms(50))).unwrap();
        stream.read(&mut [0])
    });
    assert_eq!(own.unwrap(), 1);
    let around = read_late(|mut stream| time::timeout(ms(50), || stream.read(&mut [0])).expect("it came in time"));
    assert_eq!(around.unwrap(), 1);
    let ready = read_late(|stream| {
        let ready = Ready::new(stream.as_fd().try_clone_to_owned().unwrap()).unwrap();
        ready.readable_timeout(ms(50)).map(|()| 1)
    });
    assert_eq!(ready.unwrap(), 1);
}

#[test]
fn what_has_not_come_is_out_of_time_and_comes_later() {
    let _watch = watch();
    for n in [1, 2, 8] {
        workers(n).run(|| {
            let (near, mut far) = tcp_pair();
            let ready = Ready::new(near.as_fd().try_clone_to_owned().unwrap()).unwrap();
            let began = Instant::now();
            assert_eq!(ready.readable_timeout(ms(10)).unwrap_err().kind(), ErrorKind::TimedOut);
            assert_eq!(ready.readable_deadline(began + ms(20)).unwrap_err().kind(), ErrorKind::TimedOut);
            assert!(began.elapsed() >= ms(20));
            ready.writable_timeout(ms(10)).unwrap();
            ready.writable_deadline(Instant::now() + ms(10)).unwrap();
            far.write_all(&[7]).unwrap();
            ready.readable_timeout(Duration::from_secs(20)).unwrap();
            assert_eq!((&near).read(&mut [0; 8]).unwrap(), 1);
        });
    }
}

// ---- who watches

#[test]
fn what_takes_the_place_of_a_closed_socket_does_not_block() {
    let _watch = watch();
    run(|| {
        let mut byte = 0_u8;
        let mut does_not_block = |close: io::Result<()>, socket: RawFd| {
            close.unwrap();
            // SAFETY: there is room for one byte.
            let answer = unsafe { libc::read(socket, (&raw mut byte).cast(), 1) };
            assert_eq!((answer, io::Error::last_os_error().raw_os_error()), (-1, Some(libc::EBADF)));
        };
        let (near, _far) = tcp_pair();
        does_not_block(near.close(), near.as_raw_fd());
        let (near, _far) = UnixStream::pair().unwrap();
        does_not_block(near.close(), near.as_raw_fd());
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        does_not_block(listener.close(), listener.as_raw_fd());
        let udp = UdpSocket::bind("127.0.0.1:0").unwrap();
        does_not_block(udp.close(), udp.as_raw_fd());
        let datagram = UnixDatagram::unbound().unwrap();
        does_not_block(datagram.close(), datagram.as_raw_fd());
        let path = std::env::temp_dir().join(format!("osier-readiness-{}", std::process::id()));
        let listener = UnixListener::bind(&path).unwrap();
        does_not_block(listener.close(), listener.as_raw_fd());
        std::fs::remove_file(&path).unwrap();
    });
}

// A task watches for the thread, and may come to that only when the number is somebody else's.
#[test]
fn a_thread_that_selects_and_closes_leaves_the_number_to_others() {
    let _watch = watch();
    let selects = || {
        for _ in 0..300 {
            let (near, _far) = UnixStream::pair().unwrap();
            select! {
                wait(near.when_readable()) => panic!("nothing was sent"),
                default(Duration::from_micros(20)) => {}
            }
        }
    };
    let threads = [(); 2].map(|()| thread::spawn(selects));
    run(|| {
        while !threads.iter().all(thread::JoinHandle::is_finished) {
            let (near, mut far) = UnixStream::pair().unwrap();
            let reader = spawn(move || (&near).read(&mut [0]).unwrap());
            yield_now();
            far.write_all(&[7]).unwrap();
            assert_eq!(reader.join().unwrap(), 1);
        }
    });
    threads.into_iter().for_each(|thread| thread.join().unwrap());
}

#[test]
fn a_worker_watches_a_descriptor_for_one_ready_alone() {
    let _watch = watch();
    for n in [1, 2] {
        let runtime = workers(n);
        runtime.run(|| {
            let (reader, mut writer) = io::pipe().unwrap();
            let reader = Arc::new(reader);
            let (one, other) = (Ready::new(reader.clone()).unwrap(), Ready::new(reader.clone()).unwrap());
            let duplicate = Ready::new(reader.try_clone().unwrap()).unwrap();
            assert_eq!(one.readable_timeout(ms(1)).unwrap_err().kind(), ErrorKind::TimedOut);
            assert_eq!(other.readable_timeout(ms(1)).unwrap_err().raw_os_error(), Some(libc::EEXIST));
            assert_eq!(duplicate.readable_timeout(ms(1)).unwrap_err().kind(), ErrorKind::TimedOut);
            // When the first has gone, the other one may.
            drop(one);
            assert_eq!(other.readable_timeout(ms(1)).unwrap_err().kind(), ErrorKind::TimedOut);
            writer.write_all(&[7]).unwrap();
            other.readable().unwrap();
            duplicate.readable().unwrap();
        });
    }
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

#[test]
fn a_socket_is_watched_where_it_is_waited_for_and_moves_to_the_only_worker_that_waits() {
    let _watch = watch();
    let runtime = workers(2);
    // Not the end that has connected, and so was waited for.
    let (far, near) = runtime.run(tcp_pair);
    let (fd, near) = (near.as_raw_fd(), Arc::new(near));
    let (reader, both) = (near.clone(), Arc::new(Barrier::new(2)));
    let (waited, waits) = channel::bounded(1);
    let other = both.clone();
    assert_eq!(watchers(fd), 0);
    // Each holds its worker until the other has started.
    let first = runtime.spawn(move || {
        both.wait();
        (&*near).read_exact(&mut [0]).unwrap();
        waited.send(()).unwrap();
        near
    });
    let second = runtime.spawn(move || {
        other.wait();
        waits.recv().unwrap();
        (&*reader).read_exact(&mut [0]).unwrap();
        let both = watchers(fd);
        let mut rounds = 0;
        while watchers(fd) > 1 {
            (&*reader).write_all(&[1]).unwrap();
            (&*reader).read_exact(&mut [0]).unwrap();
            rounds += 1;
        }
        (&*reader).write_all(&[0]).unwrap();
        (both, rounds)
    });
    // Answers on this thread.
    until(|| watchers(fd) == 1);
    (&far).write_all(&[1]).unwrap();
    let _near = first.join().unwrap();
    until(|| watchers(fd) == 2);
    (&far).write_all(&[1]).unwrap();
    let mut asked = [0];
    while (&far).read_exact(&mut asked).is_ok() && asked == [1] {
        (&far).write_all(&[1]).unwrap();
    }
    let (both, rounds) = second.join().unwrap();
    assert_eq!(both, 2, "the other worker's watch was kept for a while");
    assert!(rounds > 1, "two that take turns do not make it move to and fro");
}

// ---- old systems

#[test]
fn in_a_process_of_its_own() {
    if common::program().as_deref() == Some("no newer calls") {
        sleep_without_the_newer_call();
    }
}

/// Forbids `epoll_pwait2`, as a container's filter that does not know it, to this thread and those that it starts.
#[cfg(not(osier_polling))]
fn forbid_the_newer_call() {
    let statement = |code: u32, jf: u8, k: u32| libc::sock_filter { code: u16::try_from(code).unwrap(), jt: 0, jf, k };
    let mut filter = [
        // The number of the call is first.
        statement(libc::BPF_LD | libc::BPF_W | libc::BPF_ABS, 0, 0),
        statement(libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K, 1, u32::try_from(libc::SYS_epoll_pwait2).unwrap()),
        statement(libc::BPF_RET | libc::BPF_K, 0, libc::SECCOMP_RET_ERRNO | libc::EPERM.cast_unsigned()),
        statement(libc::BPF_RET | libc::BPF_K, 0, libc::SECCOMP_RET_ALLOW),
    ];
    let program = libc::sock_fprog { len: u16::try_from(filter.len()).unwrap(), filter: filter.as_mut_ptr() };
    // SAFETY: it takes no pointers.
    assert_eq!(unsafe { libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) }, 0);
    // SAFETY: it reads the program, which is whole.
    let answer = unsafe { libc::prctl(libc::PR_SET_SECCOMP, libc::SECCOMP_MODE_FILTER, &raw const program) };
    assert_eq!(answer, 0, "{}", io::Error::last_os_error());
}

#[cfg(osier_polling)]
fn forbid_the_newer_call() {}

fn sleep_without_the_newer_call() {
    forbid_the_newer_call();
    workers(1).run(|| {
        let (near, mut far) = tcp_pair();
        near.set_read_timeout(Some(ms(300))).unwrap();
        let (began, used) = (Instant::now(), cpu_time());
        assert_eq!((&near).read(&mut [0]).unwrap_err().kind(), ErrorKind::TimedOut);
        let (took, used) = (began.elapsed(), cpu_time() - used);
        assert!(took >= ms(300) && took < ms(5000), "{took:?}");
        assert!(used < ms(150), "it does not sleep: {used:?}");
        far.write_all(&[7]).unwrap();
        assert_eq!((&near).read(&mut [0]).unwrap(), 1);
    });
}

#[test]
fn a_worker_sleeps_where_the_newer_call_is_forbidden() {
    let _watch = watch();
    common::assert_ended_well(&common::run_program("no newer calls"));
}

// ---- what the system calls ready, and is not

/// Runs `wait`, which takes a tenth of a second, on a thread outside of all tasks; which must not spin.
fn waits_on_a_thread(wait: impl FnOnce() + Send + 'static) {
    let waits = thread::spawn(move || {
        let (began, used) = (Instant::now(), thread_cpu_time());
        wait();
        assert!(began.elapsed() >= ms(100));
        assert!(thread_cpu_time() - used < ms(50), "it spun");
    });
    waits.join().unwrap();
}

#[test]
fn an_error_that_is_not_taken_does_not_outlast_a_timeout() {
    let _watch = watch();
    waits_on_a_thread(|| {
        let nobody = UdpSocket::bind("127.0.0.1:0").unwrap();
        let address = nobody.local_addr().unwrap();
        drop(nobody);
        let udp = UdpSocket::bind("127.0.0.1:0").unwrap();
        let on = 1_i32;
        // SAFETY: it reads the number.
        let set =
            unsafe { libc::setsockopt(udp.as_raw_fd(), libc::SOL_IP, libc::IP_RECVERR, (&raw const on).cast(), 4) };
        assert_eq!(set, 0);
        udp.connect(address).unwrap();
        udp.send(b"!").unwrap();
        udp.set_read_timeout(Some(ms(100))).unwrap();
        // Tells of the error, and leaves it in the queue of errors, of which `poll` goes on to tell.
        assert_eq!(udp.recv(&mut [0]).unwrap_err().kind(), ErrorKind::ConnectionRefused);
        assert_eq!(udp.recv(&mut [0]).unwrap_err().kind(), ErrorKind::TimedOut);
    });
}

#[test]
fn a_selector_that_is_woken_for_nobody_does_not_outlast_its_timeout() {
    let _watch = watch();
    waits_on_a_thread(|| {
        let selector = Selector::new().unwrap();
        let (near, mut far) = std::os::unix::net::UnixStream::pair().unwrap();
        let _duplicate = near.try_clone().unwrap();
        let token = selector.register(&near, Interest::Read).unwrap();
        drop(near);
        // Too late: epoll watches the duplicate, and nobody can name it.
        selector.unregister(token).unwrap();
        far.write_all(&[0]).unwrap();
        assert_eq!(selector.select(ms(100)).unwrap(), []);
    });
}

/// Tries to lock a file, which is always ready, until nobody else has it locked.
fn lock(file: &Ready<File>) -> io::Result<()> {
    // SAFETY: it takes no pointers.
    let lock = || match unsafe { libc::flock(file.as_raw_fd(), libc::LOCK_EX | libc::LOCK_NB) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    };
    file.io(lock)
}

#[test]
fn a_call_on_what_is_always_ready_lets_others_run_and_can_be_ended() {
    let _watch = watch();
    for n in [1, 2, 8] {
        workers(n).run(move || {
            let path = std::env::temp_dir().join(format!("osier-locked-{}-{n}", std::process::id()));
            let holder = File::create(&path).unwrap();
            let file = Ready::new(File::open(&path).unwrap()).unwrap();
            std::fs::remove_file(&path).unwrap();
            // SAFETY: it takes no pointers.
            let set = move |how| assert_eq!(unsafe { libc::flock(holder.as_raw_fd(), how) }, 0);
            set(libc::LOCK_EX);
            let began = Instant::now();
            assert!(time::timeout(ms(50), || lock(&file)).is_err());
            assert!(began.elapsed() >= ms(50));
            let (file, waits) = (Arc::new(file), channel::unbounded());
            let others = file.clone();
            let cancelled = spawn(move || {
                waits.0.send(()).unwrap();
                lock(&others)
            });
            waits.1.recv().unwrap();
            cancelled.cancel();
            assert!(cancelled.join().unwrap_err().is_cancelled());
            let unlocks = spawn(move || set(libc::LOCK_UN));
            lock(&file).unwrap();
            unlocks.join().unwrap();
        });
    }
}
