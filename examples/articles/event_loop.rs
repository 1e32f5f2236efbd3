//! From a list of tasks to an event loop: round robin, servers, and the loop itself.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::io::{self, Read, Write};
use std::net::{Shutdown, SocketAddr};
use std::os::fd::AsFd;
use std::rc::Rc;
use std::thread;
use std::time::Duration;

use osier::net::{Ready, TcpListener, TcpStream};
use osier::runtime::LocalRuntime;
use osier::sync::{Queue, channel};
use osier::{Generator, Yielder, run, sleep, spawn, spawn_local};

type Work = Rc<RefCell<VecDeque<u32>>>;

fn work() -> Work {
    Rc::new(RefCell::new(VecDeque::from([15, 10, 5, 2])))
}

/// Nothing to mend.
pub(crate) fn s15() {
    fn task(name: &str, work: &Work) {
        if work.borrow().is_empty() {
            say!("Task {name} nothing to do");
        }
        while let Some(count) = work.borrow_mut().pop_front() {
            say!("Task {name} running");
            say!("Task {name} total: {}", (0..count).fold(0, |total, _| total + 1));
        }
    }
    let work = work();
    task("One", &work);
    task("Two", &work);
}

/// Mended: what has ended is taken out without making its neighbour miss a turn.
pub(crate) fn s16() {
    fn task(name: &'static str, work: &Work) -> Generator<()> {
        let work = work.clone();
        Generator::new(move |y: &Yielder<()>| {
            loop {
                // Not a `while let`, which would hold the borrow while it yields.
                let Some(count) = work.borrow_mut().pop_front() else { return };
                say!("Task {name} running");
                let mut total = 0;
                for _ in 0..count {
                    total += 1;
                    y.yield_(());
                }
                say!("Task {name} total: {total}");
            }
        })
    }
    let work = work();
    let mut tasks = vec![task("One", &work), task("Two", &work)];
    while !tasks.is_empty() {
        tasks.retain_mut(|task| task.next().is_some());
    }
}

/// Events that callbacks wait for, each once: the article's selector. What waits is a local task, which puts its callback in
/// line; whoever wants the next event registers again.
#[derive(Clone)]
struct Selector(Queue<Callback>);

type Callback = Box<dyn FnOnce(&Selector)>;

impl Selector {
    fn readable<T: AsFd + 'static>(&self, socket: &Rc<Ready<T>>, callback: impl FnOnce(&Self) + 'static) {
        self.register(socket, |socket| socket.readable(), callback);
    }

    fn writable<T: AsFd + 'static>(&self, socket: &Rc<Ready<T>>, callback: impl FnOnce(&Self) + 'static) {
        self.register(socket, |socket| socket.writable(), callback);
    }

    fn register<T: AsFd + 'static>(
        &self,
        socket: &Rc<Ready<T>>,
        wait: impl FnOnce(&Ready<T>) -> io::Result<()> + 'static,
        callback: impl FnOnce(&Self) + 'static,
    ) {
        let (events, socket) = (self.0.clone(), socket.clone());
        spawn_local(move || wait(&socket).map(|()| _ = events.put(Box::new(callback)))).report();
    }
}

/// The server in callbacks, which an event loop calls. Mended: no socket blocks; it answers once the socket is writable; what
/// has been read is looked at, so that the end of a client is told from a request; and it ends, after two clients.
pub(crate) fn s17() {
    type Socket = Rc<Ready<std::net::TcpStream>>;

    fn accept(server: &Rc<Ready<std::net::TcpListener>>, left: u32, events: &Selector) {
        let next = server.clone();
        events.readable(server, move |events| {
            let (connection, peer) = next.get_ref().accept().unwrap();
            say!("Accept {peer}");
            read(Rc::new(Ready::new(connection).unwrap()), peer, left - 1, events);
            if left > 1 {
                accept(&next, left - 1, events);
            }
        });
    }
    fn read(connection: Socket, peer: SocketAddr, left: u32, events: &Selector) {
        events.readable(&connection.clone(), move |events| {
            if connection.get_ref().read(&mut [0; 1024]).unwrap() == 0 {
                say!("Success {peer}");
                if left == 0 {
                    events.0.shutdown();
                }
                return;
            }
            say!("Connect {peer}");
            write(connection, peer, left, events);
        });
    }
    fn write(connection: Socket, peer: SocketAddr, left: u32, events: &Selector) {
        events.writable(&connection.clone(), move |events| {
            assert_eq!(connection.get_ref().write(b"ok").unwrap(), 2);
            say!("Write {peer}");
            read(connection, peer, left, events);
        });
    }

    let server = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = server.local_addr().unwrap();
    // One after the other, so that the lines of both come in order.
    let clients = thread::spawn(move || [(); 2].map(|()| ask(address).unwrap()));
    LocalRuntime::new().run(|| {
        say!("启动服务端...");
        let events = Selector(Queue::new());
        accept(&Rc::new(Ready::new(server).unwrap()), 2, &events);
        for callback in &events.0 {
            callback(&events);
        }
    });
    assert_eq!(clients.join().unwrap(), ["ok", "ok"]);
}

/// A client of both servers: sends a request, and reads the answer.
fn ask(server: SocketAddr) -> io::Result<String> {
    let mut client = TcpStream::connect(server)?;
    client.write_all(b"hello")?;
    client.shutdown(Shutdown::Write)?;
    io::read_to_string(client)
}

/// The server in a straight line, a task for each connection. Mended: a handler ends, and frees its stack, when its client
/// closes; each request gets its answer; errors end the connection they belong to, and are reported.
pub(crate) fn s18() {
    fn handle(mut connection: TcpStream) -> io::Result<()> {
        let peer = connection.peer_addr()?;
        say!("Connect {peer}");
        let mut data = [0; 1024];
        while connection.read(&mut data)? > 0 {
            connection.write_all(b"ok")?;
            say!("Write {peer}");
        }
        say!("Success {peer}");
        Ok(())
    }
    run(|| -> io::Result<()> {
        let server = TcpListener::bind("127.0.0.1:0")?;
        let address = server.local_addr()?;
        say!("启动服务端...");
        for _ in 0..2 {
            let client = spawn(move || ask(address));
            let (connection, peer) = server.accept()?;
            say!("Accept {peer}");
            // Joined at once, so that the lines of both clients come in order.
            spawn(move || handle(connection)).join().unwrap()?;
            assert_eq!(client.join().unwrap()?, "ok");
        }
        Ok(())
    })
    .unwrap();
}

/// The program drives the loop, one turn at a time, and feeds it what happens elsewhere: here by a thread that sends; a
/// loop that polls descriptors adds [`LocalRuntime::event_fd`] to them. Mended: it ends with what it was to do.
pub(crate) fn s19() {
    let (sender, events) = channel::unbounded();
    let runtime = LocalRuntime::new();
    let handler = runtime.spawn_local(move || {
        for event in events {
            say!("event {event}");
        }
    });
    let outside = thread::spawn(move || (1..=3).for_each(|event| sender.send(event).unwrap()));
    while !handler.is_finished() {
        runtime.run_once(Duration::from_secs(1));
    }
    outside.join().unwrap();
}

/// What waits is a plain function, called as any other: neither `yield from` nor `await` marks the call. Mended: `stuff`
/// was nowhere.
pub(crate) fn s20() {
    fn stuff() -> u32 {
        sleep(Duration::from_millis(1));
        42
    }
    fn py34() -> u32 {
        stuff()
    }
    fn py35() -> u32 {
        py34()
    }
    run(|| say!("{}", spawn(py35).join().unwrap()));
}
