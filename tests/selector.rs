//! Pipes, and selectors: loops over whatever is ready.
//!
//! Numbers in comments are rows of `arch-notes/conformance.md`.

#![cfg(all(feature = "net", target_os = "linux"))]

mod common;

use std::collections::HashMap;
use std::io::{self, ErrorKind, Read, Write};
use std::os::fd::AsRawFd;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use common::{ms, watch};
use osier::net::selector::{Interest, Selector};
use osier::net::{PipeReader, PipeWriter, TcpListener, TcpStream, UnixStream, pipe};
use osier::sync::channel;
use osier::{Runtime, run, select, spawn, time, yield_now};

// GV-236
#[test]
fn a_pipe_is_ready_when_it_has_something_or_has_ended() {
    let _watch = watch();
    run(|| {
        let (reader, mut writer) = pipe().unwrap();
        let selector = Selector::new().unwrap();
        let read = selector.register(&reader, Interest::Read).unwrap();
        assert_eq!(selector.select(Duration::ZERO).unwrap(), []);
        let began = Instant::now();
        assert_eq!(selector.select(ms(20)).unwrap(), []);
        assert!(began.elapsed() >= ms(20));
        let write = selector.register(&writer, Interest::Write).unwrap();
        assert_eq!(selector.select(None).unwrap(), [(write, Interest::Write)]);
        writer.write_all(b"x").unwrap();
        let mut both = selector.select(None).unwrap();
        both.sort_by_key(|&(token, _)| token);
        assert_eq!(both, [(read, Interest::Read), (write, Interest::Write)]);
        selector.unregister(write).unwrap();
        drop(writer);
        (&reader).read_exact(&mut [0]).unwrap();
        assert_eq!(selector.select(None).unwrap(), [(read, Interest::Read)], "the end");
        assert_eq!((&reader).read(&mut [0]).unwrap(), 0);
    });
}

#[test]
fn a_pipe_that_is_closed_ends_waits_and_tells_the_other_end() {
    let _watch = watch();
    run(|| {
        let code = |answer: io::Result<usize>| answer.unwrap_err().raw_os_error();
        let (reader, writer) = pipe().unwrap();
        let other = reader.try_clone().unwrap();
        let reader = Arc::new(reader);
        let reads = spawn({
            let reader = reader.clone();
            move || (&*reader).read(&mut [0])
        });
        yield_now();
        reader.close().unwrap();
        assert_eq!(code(reads.join().unwrap()), Some(libc::EBADF));
        assert_eq!(code((&*reader).read(&mut [])), Some(libc::EBADF));
        assert_eq!(code(reader.close().map(|()| 0)), Some(libc::EBADF));
        assert_eq!(code(reader.try_clone().map(|_| 0)), Some(libc::EBADF));
        // The duplicate is another descriptor.
        (&writer).write_all(b"x").unwrap();
        (&other).read_exact(&mut [0]).unwrap();
        drop(other);
        assert_eq!((&writer).write(b"x").unwrap_err().kind(), ErrorKind::BrokenPipe);
        let (reader, writer) = pipe().unwrap();
        writer.close().unwrap();
        assert_eq!((&reader).read(&mut [0]).unwrap(), 0);
        assert_eq!(code((&writer).write(b"x")), Some(libc::EBADF));
    });
}

// GV-236: as gevent's `select` with a timeout of 0.
#[test]
fn a_loop_that_only_looks_lets_others_run() {
    let _watch = watch();
    Runtime::builder().workers(1).build().unwrap().run(|| {
        let (reader, mut writer) = pipe().unwrap();
        let selector = Selector::new().unwrap();
        selector.register(&reader, Interest::Read).unwrap();
        let writes = spawn(move || writer.write_all(b"x").map(|()| writer).unwrap());
        // The first look finds nothing, for the other task has not run.
        let looks = (0..).find(|_| !selector.select(Duration::ZERO).unwrap().is_empty());
        assert_eq!(looks, Some(1));
        let _writer = writes.join().unwrap();
        // One that finds something each time gives way now and then.
        let other = spawn(|| ());
        while !other.is_finished() {
            assert_eq!(selector.select(Duration::ZERO).unwrap().len(), 1);
        }
        // And where nobody may wait, it looks.
        (&reader).read_exact(&mut [0]).unwrap();
        assert_eq!(osier::no_suspend(|| selector.select(Duration::ZERO).unwrap()), []);
    });
}

// GV-236
#[test]
fn what_is_unknown_or_registered_twice_is_an_error() {
    let _watch = watch();
    run(|| {
        let (one, _other) = UnixStream::pair().unwrap();
        let selector = Selector::new().unwrap();
        let token = selector.register(&one, Interest::Both).unwrap();
        assert_eq!(selector.register(&one, Interest::Read).unwrap_err().kind(), ErrorKind::AlreadyExists);
        assert_eq!(selector.len(), 1);
        selector.unregister(token).unwrap();
        assert!(selector.is_empty());
        assert_eq!(selector.unregister(token).unwrap_err().kind(), ErrorKind::NotFound);
        assert_eq!(selector.modify(token, Interest::Read).unwrap_err().kind(), ErrorKind::NotFound);
        assert_ne!(selector.register(&one, Interest::Read).unwrap(), token);
    });
}

// GV-238
#[test]
fn a_loop_serves_one_and_ten_pairs() {
    let _watch = watch();
    for pairs in [1, 10] {
        run(|| {
            let selector = Selector::new().unwrap();
            let mut served = HashMap::new();
            let clients: Vec<_> = (0..pairs)
                .map(|n: u8| {
                    let (here, mut there) = UnixStream::pair().unwrap();
                    served.insert(selector.register(&here, Interest::Read).unwrap(), here);
                    spawn(move || {
                        there.write_all(&[n; 100]).unwrap();
                        let mut echoed = [0; 100];
                        there.read_exact(&mut echoed).unwrap();
                        assert_eq!(echoed, [n; 100]);
                    })
                })
                .collect();
            while !served.is_empty() {
                for (token, _) in selector.select(None).unwrap() {
                    let mut buffer = [0; 64];
                    let size = (&served[&token]).read(&mut buffer).unwrap();
                    (&served[&token]).write_all(&buffer[..size]).unwrap();
                    if size == 0 {
                        selector.unregister(token).unwrap();
                        served.remove(&token);
                    }
                }
            }
            clients.into_iter().for_each(|client| client.join().unwrap());
        });
    }
}

// The articles' selector server: it says "ok" when it may write, and goes when the client does.
#[test]
fn a_server_changes_what_it_waits_for() {
    let _watch = watch();
    run(|| {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let server = spawn(move || {
            let selector = Selector::new().unwrap();
            let accepts = selector.register(&listener, Interest::Read).unwrap();
            let (mut streams, mut log) = (HashMap::new(), Vec::new());
            while log.iter().filter(|&&line| line == "Success").count() < 2 {
                for (token, interest) in selector.select(None).unwrap() {
                    if token == accepts {
                        let (stream, _) = listener.accept().unwrap();
                        streams.insert(selector.register(&stream, Interest::Read).unwrap(), stream);
                        log.push("Accept");
                    } else if interest == Interest::Write {
                        (&streams[&token]).write_all(b"ok").unwrap();
                        selector.modify(token, Interest::Read).unwrap();
                        log.push("Write");
                    } else if (&streams[&token]).read(&mut [0; 100]).unwrap() > 0 {
                        selector.modify(token, Interest::Write).unwrap();
                        log.push("Connect");
                    } else {
                        selector.unregister(token).unwrap();
                        streams.remove(&token);
                        log.push("Success");
                    }
                }
            }
            log
        });
        for _ in 0..2 {
            let mut client = TcpStream::connect(address).unwrap();
            client.write_all(b"hello").unwrap();
            let mut answer = [0; 2];
            client.read_exact(&mut answer).unwrap();
            assert_eq!(&answer, b"ok");
        }
        let one = ["Accept", "Connect", "Write", "Success"];
        let log = server.join().unwrap();
        for line in one {
            assert_eq!(log.iter().filter(|&&said| said == line).count(), 2, "{log:?}");
        }
    });
}

#[test]
fn select_can_be_cancelled_timed_out_and_used_by_a_thread() {
    let _watch = watch();
    run(|| {
        let (here, mut there) = UnixStream::pair().unwrap();
        let selector = std::sync::Arc::new(Selector::new().unwrap());
        let token = selector.register(&here, Interest::Read).unwrap();
        let selects = spawn({
            let selector = selector.clone();
            move || selector.select(None).map(|_| ())
        });
        yield_now();
        selects.cancel();
        assert!(selects.join().unwrap_err().is_cancelled());
        assert!(time::timeout(ms(5), || selector.select(None)).is_err());
        there.write_all(&[1]).unwrap();
        let other = selector.clone();
        let seen = thread::spawn(move || other.select(None).unwrap()).join().unwrap();
        assert_eq!(seen, [(token, Interest::Read)]);
    });
}

#[test]
fn pipes_wait_at_both_ends_and_serve_children() {
    let _watch = watch();
    run(|| {
        let (mut reader, mut writer) = pipe().unwrap();
        let data: Vec<u8> = (0..300_000_u32).map(|n| n.to_le_bytes()[0]).collect();
        let expected = data.clone();
        let writes = spawn(move || writer.write_all(&data));
        let mut read = Vec::new();
        reader.read_to_end(&mut read).unwrap();
        assert!(read == expected);
        writes.join().unwrap().unwrap();

        let (reader, mut writer) = pipe().unwrap();
        drop(reader);
        assert_eq!(writer.write(&[0]).unwrap_err().kind(), ErrorKind::BrokenPipe);

        let mut child = Command::new("cat").stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        let mut writer = PipeWriter::try_from(child.stdin.take().unwrap()).unwrap();
        let mut reader = PipeReader::try_from(child.stdout.take().unwrap()).unwrap();
        writer.write_all(b"banana").unwrap();
        drop(writer);
        assert_eq!(io::read_to_string(&mut reader).unwrap(), "banana");
        child.wait().unwrap();
    });
}

// A descriptor that is closed before it is unregistered leaves its token behind, and its number to others.
#[test]
fn a_stale_token_does_not_name_the_descriptor_that_has_its_number() {
    let _watch = watch();
    run(|| {
        let selector = Selector::new().unwrap();
        let (near, _far) = UnixStream::pair().unwrap();
        let number = near.as_raw_fd();
        let stale = selector.register(&near, Interest::Read).unwrap();
        // Nobody else takes the number in between.
        let (near_again, mut far_again) = UnixStream::pair().unwrap();
        let closed = std::os::fd::OwnedFd::from(near);
        // SAFETY: both are open; the first number is ours, and names a socket again.
        assert_eq!(unsafe { libc::dup2(near_again.as_raw_fd(), number) }, number);
        let near = UnixStream::try_from(closed).unwrap();
        let token = selector.register(&near, Interest::Read).unwrap();
        assert_eq!(selector.len(), 1);
        assert_eq!(selector.modify(stale, Interest::Both).unwrap_err().kind(), ErrorKind::NotFound);
        assert_eq!(selector.unregister(stale).unwrap_err().kind(), ErrorKind::NotFound);
        far_again.write_all(b"!").unwrap();
        assert_eq!(selector.select(None).unwrap(), [(token, Interest::Read)]);
        selector.unregister(token).unwrap();
    });
}

// Another changes what is waited for while the system is asked.
#[test]
fn what_is_told_is_what_was_waited_for() {
    let _watch = watch();
    run(|| {
        // Always writable, never readable.
        let (near, _far) = UnixStream::pair().unwrap();
        let selector = Arc::new(Selector::new().unwrap());
        let token = selector.register(&near, Interest::Write).unwrap();
        let ends = Arc::new(AtomicBool::new(false));
        let modifies = thread::spawn({
            let (selector, ends) = (selector.clone(), ends.clone());
            move || {
                while !ends.load(Ordering::Relaxed) {
                    selector.modify(token, Interest::Read).unwrap();
                    selector.modify(token, Interest::Write).unwrap();
                }
            }
        });
        let mut told = 0;
        // Waits by turns, so that an event that was not told would be missed.
        for timeout in [Some(Duration::ZERO), None].into_iter().cycle().take(20_000) {
            for event in selector.select(timeout).unwrap() {
                assert_eq!(event, (token, Interest::Write));
                told += 1;
            }
        }
        ends.store(true, Ordering::Relaxed);
        modifies.join().unwrap();
        assert!(told >= 10_000);
    });
}

// What has hung up is told to whoever watches it, for whatever.
#[test]
fn an_end_is_told_for_whatever_is_waited_for() {
    let _watch = watch();
    run(|| {
        let (reader, writer) = pipe().unwrap();
        let selector = Selector::new().unwrap();
        let token = selector.register(&writer, Interest::Read).unwrap();
        assert_eq!(selector.select(Duration::ZERO).unwrap(), []);
        drop(reader);
        for interest in [Interest::Read, Interest::Write, Interest::Both] {
            selector.modify(token, interest).unwrap();
            assert_eq!(selector.select(None).unwrap(), [(token, interest)]);
        }
    });
}

// As `get_map` and `get_key` of Python's.
#[test]
fn what_is_registered_can_be_asked_for() {
    let _watch = watch();
    run(|| {
        let selector = Selector::new().unwrap();
        assert_eq!(selector.registered(), []);
        let pairs: Vec<_> = (0..10).map(|_| UnixStream::pair().unwrap()).collect();
        let number = |n: usize| pairs[n].0.as_raw_fd();
        let tokens: Vec<_> = pairs.iter().map(|(near, _)| selector.register(near, Interest::Read).unwrap()).collect();
        selector.modify(tokens[1], Interest::Both).unwrap();
        for &token in &tokens[2..] {
            selector.unregister(token).unwrap();
        }
        assert_eq!(selector.get(tokens[1]), Some((number(1), Interest::Both)));
        assert_eq!(selector.get(tokens[2]), None);
        let mut expected = vec![(tokens[0], number(0), Interest::Read), (tokens[1], number(1), Interest::Both)];
        assert_eq!(selector.registered(), expected);
        // A number that comes again is another's, and comes last.
        let again = selector.register(&pairs[2].0, Interest::Write).unwrap();
        expected.push((again, number(2), Interest::Write));
        assert_eq!(selector.registered(), expected);
    });
}

#[test]
fn selectors_nest_and_are_waited_for_among_other_things() {
    let _watch = watch();
    for workers in [1, 2, 8] {
        Runtime::builder().workers(workers).build().unwrap().run(|| {
            let (mut near, mut far) = UnixStream::pair().unwrap();
            let [inner, outer] = [(); 2].map(|()| Selector::new().unwrap());
            let token = inner.register(&near, Interest::Read).unwrap();
            let nested = outer.register(&inner, Interest::Read).unwrap();
            assert_eq!(outer.select(Duration::ZERO).unwrap(), []);
            select! {
                wait(outer.when_readable()) => panic!("nothing is there"),
                default(ms(5)) => {},
            }
            let (_stop, stopped) = channel::bounded::<()>(1);
            // One waits for the outer one, one for what is in it; each round anew.
            for _ in 0..100 {
                let writes = spawn(move || far.write_all(b"!").map(|()| far));
                select! {
                    wait(outer.when_readable()) => {},
                    recv(stopped) -> _ => unreachable!("nobody stops it"),
                }
                assert_eq!(outer.select(None).unwrap(), [(nested, Interest::Read)]);
                assert_eq!(inner.select(None).unwrap(), [(token, Interest::Read)]);
                near.read_exact(&mut [0]).unwrap();
                assert_eq!(outer.select(Duration::ZERO).unwrap(), []);
                assert_eq!(inner.select(Duration::ZERO).unwrap(), []);
                far = writes.join().unwrap().unwrap();
            }
        });
    }
}

#[test]
fn interests_add_up() {
    assert_eq!(Interest::Read | Interest::Write, Interest::Both);
    assert_eq!(Interest::Read | Interest::Read, Interest::Read);
    assert_eq!(Interest::Both | Interest::Write, Interest::Both);
}
