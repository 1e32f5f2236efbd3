//! Sockets among other things: readiness as a branch of a select and as an object to wait for.

#![cfg(feature = "net")]

mod common;

use std::fs::File;
use std::io::{Read, Write};
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use common::{ms, panic_text, until, watch};
use osier::net::{Ready, TcpListener, TcpStream, UdpSocket, UnixStream, pipe};
use osier::sync::{Event, channel};
use osier::{
    Generator, LocalRuntime, Runtime, Wait, Yielder, no_suspend, run, select, spawn, spawn_local, wait, yield_now,
};

fn runtime(workers: usize) -> Runtime {
    Runtime::builder().workers(workers).build().unwrap()
}

/// A conversation that comes by a socket and by a channel, each message after the answer to the one before.
fn converse() {
    const ROUNDS: u8 = 20;
    let (mut near, mut far) = UnixStream::pair().unwrap();
    let ((says, hears), (answers, answer)) = (channel::bounded(1), channel::bounded(1));
    let speaker = thread::spawn(move || {
        for n in 0..ROUNDS {
            match n % 3 {
                0 => says.send(n).unwrap(),
                _ => far.write_all(&[n]).unwrap(),
            }
            assert_eq!(answer.recv(), Ok(n));
        }
    });
    for n in 0..ROUNDS {
        let got = select! {
            recv(hears) -> got => got.unwrap(),
            wait(near.when_readable()) => {
                let mut byte = [0];
                near.read_exact(&mut byte).unwrap();
                byte[0]
            }
        };
        assert_eq!(got, n);
        answers.send(got).unwrap();
    }
    speaker.join().unwrap();
    // The speaker is gone: the end of the stream is something to read.
    select! {
        wait(near.when_readable()) => assert_eq!(near.read(&mut [0]).unwrap(), 0),
        default => panic!("the peer has hung up"),
    }
}

#[test]
fn smoke_a_socket_and_a_channel_are_served_as_they_come() {
    let _watch = watch();
    converse();
    run(converse);
    for workers in [1, 2, 8] {
        runtime(workers).run(converse);
    }
}

#[test]
fn a_socket_is_a_branch_wherever_select_is_called() {
    let _watch = watch();
    spawn(converse).join().unwrap();
    run(|| spawn_local(converse).join().unwrap());
    LocalRuntime::new().run(converse);
    let in_generator = || {
        let body = |y: &Yielder<()>| {
            converse();
            y.yield_(());
        };
        assert_eq!(Generator::new(body).count(), 1);
    };
    in_generator();
    run(in_generator);
    // And where nothing may wait, it is refused, unless it is ready.
    run(|| {
        let (near, mut far) = UnixStream::pair().unwrap();
        let look = || {
            select! {
                wait(near.when_readable()) => {}
                recv(channel::never::<u8>()) -> _ => unreachable!(),
            }
        };
        assert!(panic_text(|| no_suspend(look)).contains("no_suspend"));
        far.write_all(b"!").unwrap();
        no_suspend(look);
    });
}

#[test]
fn a_default_comes_first_while_nothing_is_ready() {
    let _watch = watch();
    let check = || {
        let (near, mut far) = UnixStream::pair().unwrap();
        select! {
            wait(near.when_readable()) => panic!("nothing was sent"),
            default => {}
        }
        select! {
            wait(near.when_readable()) => panic!("nothing was sent"),
            default(ms(5)) => {}
        }
        select! {
            wait(near.when_readable()) => panic!("nothing was sent"),
            wait(near.when_writable()) => {}
        }
        far.write_all(b"!").unwrap();
        select! {
            wait(near.when_readable()) => {}
            default => panic!("it was sent"),
        }
        // Waiting has taken nothing.
        assert_eq!(wait(&[&near.when_readable()]).next(), Some(0));
        assert_eq!((&near).read(&mut [0; 8]).unwrap(), 1);
        assert_eq!(wait(&[&near.when_readable()]).timeout(ms(2)).next(), None);
    };
    check();
    run(check);
}

#[test]
fn an_event_of_what_was_read_already_is_not_told() {
    let _watch = watch();
    let check = || {
        let (near, mut far) = UnixStream::pair().unwrap();
        for round in 0..500 {
            // Read while others may be about to tell of it.
            far.write_all(b"!").unwrap();
            assert_eq!((&near).read(&mut [0; 8]).unwrap(), 1);
            let told = wait(&[&near.when_readable()]).timeout(Duration::from_micros(200)).next();
            assert_eq!(told, None, "round {round}");
            // What comes while it is waited for is told.
            let writes = thread::spawn({
                let mut far = far.try_clone().unwrap();
                move || far.write_all(b"!").unwrap()
            });
            assert_eq!(wait(&[&near.when_readable()]).next(), Some(0));
            assert_eq!((&near).read(&mut [0; 8]).unwrap(), 1);
            writes.join().unwrap();
        }
    };
    check();
    run(check);
}

#[test]
fn descriptors_of_all_kinds_are_given_in_the_order_in_which_they_get_ready() {
    let _watch = watch();
    let check = || {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let (receiver, sender) = (UdpSocket::bind("127.0.0.1:0").unwrap(), UdpSocket::bind("127.0.0.1:0").unwrap());
        let (reader, mut writer) = pipe().unwrap();
        let (event, file) = (Event::new(), Ready::new(File::open("/dev/null").unwrap()).unwrap());
        let accepts = listener.when_readable();
        let (datagrams, bytes, reads) = (receiver.when_readable(), reader.when_readable(), file.when_readable());
        let all: [&dyn Wait; 5] = [&accepts, &datagrams, &bytes, &event, &reads];
        let mut ready = wait(&all);
        assert_eq!(ready.next(), Some(4), "a file always is");
        sender.send_to(b"datagram", receiver.local_addr().unwrap()).unwrap();
        assert_eq!(ready.next(), Some(1));
        event.set();
        assert_eq!(ready.next(), Some(3));
        let stream = TcpStream::connect(address).unwrap();
        assert_eq!(ready.next(), Some(0));
        writer.write_all(b"bytes").unwrap();
        assert_eq!((ready.next(), ready.next()), (Some(2), None));
        drop(ready);
        // The same once more: nothing was taken.
        let mut again: Vec<_> = wait(&all).collect();
        again.sort_unstable();
        assert_eq!(again, [0, 1, 2, 3, 4]);
        drop((listener.accept().unwrap(), stream));
    };
    check();
    run(check);
}

#[test]
fn a_peer_that_hangs_up_and_a_close_are_ready() {
    let _watch = watch();
    for workers in [1, 2] {
        runtime(workers).run(|| {
            let (near, far) = UnixStream::pair().unwrap();
            let waits = |near: UnixStream| {
                spawn(move || {
                    select! {
                        wait(near.when_readable()) => (&near).read(&mut [0]),
                        recv(channel::never::<u8>()) -> _ => unreachable!(),
                    }
                })
            };
            let (first, second) = (waits(near.try_clone().unwrap()), waits(near));
            yield_now();
            drop(far);
            assert_eq!((first.join().unwrap().unwrap(), second.join().unwrap().unwrap()), (0, 0));

            let (near, _far) = UnixStream::pair().unwrap();
            let waiting = waits(near.try_clone().unwrap());
            yield_now();
            near.close().unwrap();
            assert_eq!(waiting.join().unwrap().unwrap_err().raw_os_error(), Some(9), "EBADF");
        });
    }
}

// H16
#[test]
fn who_gives_up_leaves_the_others_and_the_data_alone() {
    let _watch = watch();
    for workers in [1, 2] {
        runtime(workers).run(|| {
            for round in 0..20 {
                let (near, mut far) = UnixStream::pair().unwrap();
                let near = Arc::new(near);
                let selects = |patience: Duration| {
                    let near = near.clone();
                    spawn(move || {
                        select! {
                            wait(near.when_readable()) => true,
                            default(patience) => false,
                        }
                    })
                };
                let reads = {
                    let near = near.clone();
                    spawn(move || {
                        let mut byte = [0];
                        (&*near).read_exact(&mut byte).unwrap();
                        byte[0]
                    })
                };
                let (cancelled, late) = (selects(Duration::from_secs(3600)), selects(ms(1)));
                (0..round % 4).for_each(|_| yield_now());
                cancelled.cancel();
                assert!(cancelled.join().is_err_and(|error| error.is_cancelled()));
                assert!(!late.join().unwrap());
                far.write_all(&[7]).unwrap();
                assert_eq!(reads.join().unwrap(), 7);
                // Those that have left are not touched by later events.
                far.write_all(&[8]).unwrap();
                until(|| {
                    select! {
                        wait(near.when_readable()) => true,
                        default => false,
                    }
                });
            }
        });
    }
}

#[test]
fn many_selects_on_one_listener_accept_every_connection() {
    let _watch = watch();
    const CLIENTS: usize = 40;
    for workers in [1, 4] {
        runtime(workers).run(|| {
            let listener = Arc::new(TcpListener::bind("127.0.0.1:0").unwrap());
            let address = listener.local_addr().unwrap();
            let (stop, stopped) = channel::bounded::<()>(1);
            listener.set_nonblocking(true).unwrap();
            let acceptors: Vec<_> = (0..4)
                .map(|_| {
                    let (listener, stopped) = (listener.clone(), stopped.clone());
                    spawn(move || {
                        let mut count = 0;
                        loop {
                            select! {
                                wait(listener.when_readable()) => {
                                    // Another may have been faster.
                                    if let Ok((mut stream, _)) = listener.accept() {
                                        stream.write_all(b"!").unwrap();
                                        count += 1;
                                    }
                                }
                                recv(stopped) -> _ => break count,
                            }
                        }
                    })
                })
                .collect();
            let clients: Vec<_> = (0..CLIENTS)
                .map(|_| {
                    spawn(move || {
                        let mut byte = [0];
                        TcpStream::connect(address).unwrap().read_exact(&mut byte).unwrap();
                    })
                })
                .collect();
            clients.into_iter().for_each(|client| client.join().unwrap());
            drop(stop);
            assert_eq!(acceptors.into_iter().map(|acceptor| acceptor.join().unwrap()).sum::<usize>(), CLIENTS);
        });
    }
}

// Data may come: then a wait is no deadlock. Several looks fit into the time.
#[cfg(all(feature = "blocking", target_os = "linux", panic = "unwind"))]
#[test]
fn a_select_with_a_socket_is_no_deadlock() {
    let _watch = watch();
    let runtime = Runtime::builder().workers(1).closed_world(true).build().unwrap();
    let (near, mut far) = UnixStream::pair().unwrap();
    let writer = thread::spawn(move || {
        common::hold_thread(ms(700));
        far.write_all(b"!").unwrap();
        far
    });
    let got = runtime.try_run(|| {
        let first = select! {
            wait(near.when_readable()) => 1,
            recv(channel::never::<u8>()) -> _ => 2,
        };
        // Over several objects as well; it has been ready, and is not any more.
        (&near).read_exact(&mut [0]).unwrap();
        first
    });
    assert_eq!(got.unwrap(), 1);
    drop(writer.join().unwrap());
    // Nobody is left who waits for one: then it is told.
    let deadlock = runtime.try_run(|| {
        let (sender, receiver) = channel::bounded::<u8>(1);
        _ = receiver.recv();
        drop(sender);
    });
    assert!(deadlock.is_err());
}

// What has come is not waited for any more, whoever still holds the branch.
#[cfg(all(feature = "blocking", target_os = "linux", panic = "unwind"))]
#[test]
fn a_socket_that_has_come_does_not_hide_a_deadlock() {
    let _watch = watch();
    let runtime = Runtime::builder().workers(1).closed_world(true).build().unwrap();
    let deadlock = runtime.try_run(|| {
        let (near, mut far) = UnixStream::pair().unwrap();
        let (readable, never) = (near.when_readable(), Event::new());
        let objects: [&dyn Wait; 2] = [&readable, &never];
        let mut ready = wait(&objects);
        let writes = spawn(move || far.write_all(b"!").map(|()| far));
        assert_eq!(ready.next(), Some(0));
        let _far = writes.join().unwrap().unwrap();
        // Nobody sets it.
        ready.next()
    });
    assert!(deadlock.is_err());
    // Nor when it was given up, or had come, in a wait that is over.
    let deadlock = runtime.try_run(|| {
        let (near, mut far) = UnixStream::pair().unwrap();
        let readable = near.when_readable();
        assert_eq!(wait(&[&readable]).timeout(ms(1)).next(), None);
        let writes = spawn(move || far.write_all(b"!").map(|()| far));
        assert_eq!(wait(&[&readable]).next(), Some(0));
        let _far = writes.join().unwrap().unwrap();
        Event::new().wait();
    });
    assert!(deadlock.is_err());
}
