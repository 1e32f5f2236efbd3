//! Every row of the tables for ports from Python, as code: above each statement stands what it takes the place of. The last
//! test compares these lines with the tables. Generators and greenlets have a room of their own.

#![cfg(all(feature = "net", feature = "processes", feature = "blocking", not(miri)))]
#![allow(clippy::print_stdout, reason = "a row prints")]

#[path = "../common/mod.rs"]
mod common;
mod generators;

use std::cell::{Cell, RefCell};
use std::collections::BTreeSet;
use std::io::{self, BufRead, BufReader, ErrorKind, Read, Seek, SeekFrom, Write};
use std::os::fd::AsRawFd;
use std::process::Stdio;
use std::rc::Rc;
use std::sync::OnceLock;
use std::time::Duration;

use common::{FOR_EVER, hold_thread, ms, watch};
use osier::actor::{self, Reply};
use osier::fs::{self, File};
use osier::net::selector::{Interest, Selector};
use osier::net::{self, Ready, StreamServer, TcpListener, TcpStream, UdpSocket, UnixStream};
use osier::pool::{Coroutines, Executor, Processes, Threads};
use osier::process::{self, Command, RemoteError};
use osier::signal::{self, Signal, Signals};
use osier::sync::{
    AsyncResult, Barrier, BoundedSemaphore, BrokenBarrier, Channel, Condition, Condvar, Event, JoinableQueue,
    LifoQueue, Mutex, PriorityQueue, Queue, RLock, Semaphore, SimpleQueue, channel,
};
use osier::{
    Group, JoinHandle, LocalRuntime, OrRaise, Pool, Runtime, catch, catch_exit, join_all, kill_all, raise, registered,
    run, select, set_report_hook, sleep, spawn, spawn_local, task, task_local, time, timeout, wait, yield_now,
};

/// What runs in the processes of this file: the harness is told to run this alone.
#[test]
fn host() {
    process::host();
}

fn processes(n: usize) -> Processes {
    Processes::builder(n).args(["--exact", "host", "--nocapture"]).build()
}

/// Long enough for whatever comes.
const LONG: Duration = Duration::from_secs(60);

fn endless() -> JoinHandle<()> {
    spawn(|| sleep(FOR_EVER))
}

#[derive(Debug)]
pub(crate) struct Oops;

impl std::fmt::Display for Oops {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("oops")
    }
}

impl std::error::Error for Oops {}

// ---- gevent

#[test]
fn greenlets() {
    let _watch = watch();
    // | the hub; the main greenlet
    let value = run(|| 42);
    assert_eq!(Runtime::new().unwrap().run(|| value), 42);
    // | one thread, as in gevent
    let one: LocalRuntime = Runtime::builder().build_local();
    assert_eq!(one.run(|| 1), 1);

    run(|| {
        let a = 6;
        // | `gevent.spawn(f, a)`
        let g = spawn(move || a * 7);
        // | `g.join()`, `g.get()`
        assert_eq!(g.join().or_raise(), 42);
        // | greenlets that share plain objects without a lock
        let shared = Rc::new(RefCell::new(0));
        let other = shared.clone();
        spawn_local(move || *other.borrow_mut() += 1).join().unwrap();
        assert_eq!(*shared.borrow(), 1);
        // | `gevent.spawn_later(s, f)`
        let later = task::spawn_later(FOR_EVER, || ());
        later.cancel();
        // | `Greenlet(f)` and `g.start()`
        let f = || 1;
        let mut g = spawn(f);
        // | `g.get(timeout=s)`
        assert_eq!(g.join_timeout(LONG).unwrap(), 1);
        assert!(endless().join_timeout(ms(1)).unwrap_err().is_timeout());
        // | several who `get`
        let all = spawn(|| 1).shared();
        assert_eq!(all.get().unwrap() + all.clone().get().unwrap(), 2);
        // | `g.value`, `g.exception`, `g.successful()`
        let failed = spawn(|| -> u32 { raise(Oops) });
        let task = failed.task();
        assert!(task.join().is_err() && task.error().unwrap().exception().unwrap().is::<Oops>());
        assert!(failed.shared().take().unwrap().is_err());
        // | `g.ready()`, `g.dead`
        assert!(task.is_finished());
        // | `g.kill()`; `g.kill(block=False)`
        endless().kill();
        endless().cancel();
        // | `g.kill(Oops(), block=False)`
        let g = spawn(|| catch(|| sleep(FOR_EVER)).is_err_and(|e| e.is::<Oops>()));
        yield_now();
        g.throw(Oops);
        // One that has not begun is ended by it.
        assert!(g.join().unwrap_or(true));
        // | `g.kill(timeout=s)`
        assert!(endless().kill_timeout(LONG));
        // | `except GreenletExit:` in a greenlet
        let g = spawn(|| catch_exit(|| sleep(FOR_EVER)).is_err());
        g.cancel();
        assert!(g.join().unwrap_or(true));
        // | `raise GreenletExit(v)` in a greenlet
        let deep = || raise(Oops);
        let g = spawn(move || catch(deep).is_err_and(|e| e.is::<Oops>()));
        assert!(g.join().unwrap());
        // | `g.link(f)`, `g.unlink(f)`
        let g = endless();
        let link = g.link(|_| unreachable!());
        assert!(link.unlink());
        // | `g.link_value`, `g.link_exception`
        let (sender, receiver) = channel::unbounded();
        _ = spawn(|| 7).link(move |result| {
            if let Ok(value) = result {
                sender.send(*value).unwrap();
            }
        });
        assert_eq!(receiver.recv(), Ok(7));
        // | `result = AsyncResult(); g.link(result)`
        let result = AsyncResult::new();
        _ = spawn(|| 42).link_to(&result);
        assert_eq!(result.get().unwrap(), 42);
        // | `gevent.sleep(s)`, `gevent.sleep(0)`, `idle()`
        sleep(ms(1));
        yield_now();
        // | `gevent.getcurrent()`
        assert!(!task::current().is_finished());
        // | `g.foo = 1`, a subclass with attributes
        let g = task::Builder::new().data("attribute").spawn(|| ());
        assert_eq!(g.data::<&str>(), Some(&"attribute"));
        g.join().unwrap();
    });
    let (sender, receiver) = channel::unbounded();
    // | `threading.excepthook`
    let before = set_report_hook(move |report| _ = sender.send(report.to_string()));
    // | a failure that nobody looks at, printed
    spawn(|| Err::<(), _>(io::Error::other("not today"))).report();
    assert!(receiver.iter().any(|line| line.contains("not today")));
    drop(set_report_hook(before));
}

#[test]
fn waits_and_timeouts() {
    let _watch = watch();
    run(|| {
        // | `gevent.joinall(gs)`, `raise_error=True`
        assert_eq!(join_all([spawn(|| 1), spawn(|| 2)]).unwrap(), [1, 2]);
        // | `gevent.wait(objects)`, `iwait`, `count=n`, `timeout=s`
        let (a, b) = (spawn(|| 1), Event::new());
        assert_eq!(wait(&[&a, &b]).count(1).timeout(LONG).collect::<Vec<_>>(), [0]);
        // | `gevent.killall(gs, timeout=s)`
        kill_all(&[endless(), endless()], LONG).unwrap();
        // | `with Timeout(s): …`, `with_timeout(s, f)`
        assert!(time::timeout(ms(1), || sleep(FOR_EVER)).is_err());
        assert_eq!(timeout(ms(1), || (sleep(FOR_EVER), 0).1).unwrap_or(3), 3);
        // | `with Timeout(s, Oops): …`
        assert!(catch(|| time::timeout_raise(ms(1), Oops, || sleep(FOR_EVER))).unwrap_err().is::<Oops>());
        // | `with Timeout(s, False): …`
        _ = time::timeout(ms(1), || sleep(FOR_EVER));
    });
    // | `gevent.wait()`
    let runtime = Runtime::builder().workers(1).closed_world(true).build().unwrap();
    assert!(runtime.wait_idle(LONG));
    // | `gevent.util.print_run_info()`
    println!("{}", runtime.dump());
    // | `LoopExit: This operation would block forever`
    let told = runtime.try_run(task::park);
    assert!(told.unwrap_err().to_string().contains("deadlock"));
}

#[test]
fn events_queues_and_locks() {
    let _watch = watch();
    run(|| {
        // | `Event`
        let event = Event::new();
        event.set();
        event.wait();
        event.clear();
        assert!(!event.wait_timeout(ms(1)));
        // | `event.rawlink(f)`, `semaphore.rawlink(f)`
        let (told, tells) = channel::unbounded();
        drop(spawn({
            let (event, told) = (event.clone(), told.clone());
            move || {
                event.wait();
                told.send(0).unwrap();
            }
        }));
        event.set();
        assert_eq!(tells.recv(), Ok(0));
        // | `AsyncResult`
        let result = AsyncResult::new();
        assert!(result.get_timeout(ms(1)).is_err() && result.try_get().is_err());
        // | `result.rawlink(f)`
        result.link(move |result| told.send(*result.as_ref().unwrap()).unwrap());
        result.set(1).unwrap();
        assert_eq!(tells.recv(), Ok(1));
        assert_eq!(result.get().unwrap(), 1);
        // | `result.set(v)` a second time, which replaces the value
        assert_eq!((result.set(2), result.get().unwrap()), (Err(2), 1));
        let failed = AsyncResult::<u32>::new();
        failed.set_exception(Oops).unwrap();
        assert!(failed.get().unwrap_err().exception().unwrap().is::<Oops>());
        // | `Queue(n)`, `Queue()`, `JoinableQueue`, `LifoQueue`, `PriorityQueue`, `SimpleQueue`, `Channel`
        let (queue, bounded) = (Queue::new(), Queue::bounded(1));
        queue.put(1).unwrap();
        queue.put_timeout(2, ms(1)).unwrap();
        queue.try_put(3).unwrap();
        assert_eq!((queue.peek().unwrap(), queue.get().unwrap(), queue.try_get().unwrap()), (1, 1, 2));
        assert_eq!(queue.get_timeout(LONG).unwrap(), 3);
        let (lifo, first) = (LifoQueue::new(), PriorityQueue::new());
        (1..=2).for_each(|n| lifo.put(n).unwrap());
        [2, 1].into_iter().for_each(|n| first.put(n).unwrap());
        assert_eq!((lifo.get().unwrap(), first.get().unwrap()), (2, 1));
        let simple = SimpleQueue::new();
        simple.put(1);
        assert_eq!(simple.get(), 1);
        let rendezvous = Channel::new();
        let gets = rendezvous.clone();
        let getter = spawn(move || gets.get().unwrap());
        rendezvous.put(7).unwrap();
        assert_eq!(getter.join().unwrap(), 7);
        // | `Full`, `Empty`, `ShutDown`
        bounded.put(1).unwrap();
        assert!(bounded.try_put(2).unwrap_err().is_full());
        assert!(queue.try_get().unwrap_err().is_empty());
        bounded.shutdown();
        assert!(bounded.try_put(2).unwrap_err().is_shut_down());
        // | `for x in q:` up to `StopIteration` as an end marker
        for x in &bounded {
            assert_eq!(x, 1);
        }
        // | `q.task_done()`, `q.join()`
        let jobs = JoinableQueue::new();
        jobs.put(1).unwrap();
        jobs.get().unwrap();
        jobs.task_done();
        jobs.join();
        // | a queue between threads
        let (sender, receiver) = channel::bounded(1);
        let puts = queue.clone();
        let thread = std::thread::spawn(move || {
            puts.put(1).unwrap();
            sender.send(2).unwrap();
        });
        assert_eq!((queue.get().unwrap(), receiver.iter().collect::<Vec<_>>()), (1, vec![2]));
        thread.join().unwrap();
        // | `Semaphore(n)`, `BoundedSemaphore`, `with sem:`
        let (semaphore, bounded) = (Semaphore::new(1), BoundedSemaphore::new(1));
        {
            let _permit = semaphore.hold();
            let _permit = bounded.hold();
        }
        assert!(bounded.release().is_err());
        // | `sem.release()` while others wait, and `sem.counter`
        let semaphore = Semaphore::new(0);
        let waits = semaphore.clone();
        let waiter = spawn_local(move || waits.acquire());
        yield_now();
        semaphore.release();
        assert_eq!((semaphore.available(), waiter.is_finished()), (0, false));
        waiter.join().unwrap();
        // | `RLock`, `Condition`, `Lock`
        let (lock, condition) = (RLock::new(), Condition::new());
        drop((lock.lock(), lock.lock()));
        condition.lock().notify_all();
        let counter = Mutex::new(0);
        *counter.lock() += 1;
        // | `gevent.lock` across a wait
        let guard = lock.lock();
        osier::sync::set_held_reports(false);
        sleep(ms(1));
        drop(guard);
        // | `gevent.select.select`
        // | several queues at once
        let (sender, receiver) = channel::bounded(1);
        let (stream, _peer) = UnixStream::pair().unwrap();
        let task = endless();
        sender.send(1).unwrap();
        select! {
            recv(receiver) -> n => assert_eq!(n, Ok(1)),
            join(task) -> _ => unreachable!(),
            wait(stream.when_readable()) => unreachable!(),
            default(LONG) => unreachable!(),
        }
        // | `Waiter()`, `hub.switch()`, `loop.run_callback(g.switch)`
        let waiter = spawn(task::park);
        waiter.task().unpark();
        waiter.join().unwrap();
    });
}

#[test]
fn pools_sockets_and_the_rest() {
    let _watch = watch();
    run(|| {
        // | `gevent.threadpool`, `get_hub().threadpool.apply(f)`
        // | whatever blocks otherwise
        task::unblock(|| hold_thread(ms(1)));
        // | `Group`, `Pool(n)`, `map`, `imap`, `imap_unordered`
        let (group, pool) = (Group::new(), Pool::new(2));
        drop(group.spawn(|| ()));
        group.join().unwrap();
        let factor = 2;
        assert_eq!(pool.map([1, 2], |n| factor * n), [2, 4]);
        assert_eq!(pool.imap([1, 2], |n| n + 1).collect::<Vec<_>>(), [2, 3]);
        assert_eq!(pool.imap_unordered([1, 2], |n| n + 1).maxsize(1).sum::<i32>(), 5);
        // | `pool.apply_async(f, callback=g)`; `map_async(f, xs, callback=g)`
        let (told, tells) = channel::unbounded();
        let tell = told.clone();
        _ = pool.apply_async(move || factor).link(move |result| tell.send(*result.as_ref().unwrap()).unwrap());
        assert_eq!(tells.recv(), Ok(2));
        let all = pool.clone();
        _ = spawn(move || all.map([1, 2], |n| n + 1))
            .link(move |result| told.send(result.as_ref().unwrap()[1]).unwrap());
        assert_eq!(tells.recv(), Ok(3));
        // | `concurrent.futures`, `gevent.threadpool.ThreadPoolExecutor`
        fn squares(ex: &impl Executor<fn(u32) -> u32, u32>) -> Vec<u32> {
            ex.map(|n| n * n, 0..3)
        }
        assert_eq!(Coroutines::with(2, squares), Threads::with(2, squares));
        // | `gevent.local.local()`
        // | `threading.local()`
        task_local! { static DEPTH: Cell<u32> = Cell::new(0); }
        DEPTH.with(|depth| depth.set(1));
        assert_eq!(spawn(|| DEPTH.with(Cell::get)).join().unwrap(), 0);
    });
    run(|| {
        // | `gevent.socket`, `server.StreamServer`, `DatagramServer`
        let listener = TcpListener::bind("127.0.0.1:0")?;
        let mut client = TcpStream::connect(listener.local_addr()?)?;
        let (mut server, _) = listener.accept()?;
        server.write_all(b"leaf")?;
        drop(server);
        assert_eq!(io::read_to_string(&mut client)?, "leaf");
        let (mut one, mut other) = UnixStream::pair()?;
        one.write_all(b"leaf")?;
        other.read_exact(&mut [0; 4])?;
        let udp = UdpSocket::bind("127.0.0.1:0")?;
        udp.send_to(b"leaf", udp.local_addr()?)?;
        assert_eq!(udp.recv_from(&mut [0; 8])?.0, 4);
        // | `create_connection(a, timeout=s, source_address=b)`
        let (a, b) = (("localhost", listener.local_addr()?.port()), ([127, 0, 0, 2], 0).into());
        drop(TcpStream::connect_from(&b, a, LONG)?);
        drop(TcpStream::connect_deadline(a, time::now() + LONG)?);
        let server = StreamServer::new(listener, |mut stream: TcpStream, _| _ = stream.write_all(b"served"));
        server.start();
        assert_eq!(io::read_to_string(TcpStream::connect(server.listener().local_addr()?)?)?, "served");
        assert!(server.stop(LONG));
        // | `gevent.select.poll`, `selectors`, any other descriptor
        // | `socket`, `ssl`, `select`
        let (reader, mut writer) = std::io::pipe()?;
        let selector = Selector::new()?;
        let token = selector.register(&reader, Interest::Read)?;
        assert!(selector.select(Duration::ZERO)?.is_empty());
        // | `selector.get_map()`, `get_key(f)`
        let fd = reader.as_raw_fd();
        assert_eq!(selector.get(token), Some((fd, Interest::Read)));
        assert_eq!(selector.registered(), [(token, fd, Interest::Read)]);
        writer.write_all(b"leaf")?;
        assert_eq!(selector.select(None)?, [(token, Interest::Read)]);
        selector.unregister(token)?;
        // | `gevent.os.tp_read(fd)`, `nb_read(fd)`
        let reader = Ready::new(reader)?;
        assert_eq!(reader.io(|| reader.get_ref().read(&mut [0; 8]))?, 4);
        // | `gevent.subprocess`, `gevent.fileobject`, `gevent.signal_handler`, `gevent.threadpool`
        // | `subprocess`, `os.waitpid`
        drop(Command::new("true").spawn()?);
        // | files, which `monkey` leaves alone
        fs::metadata("/")?;
        // | `signal`
        _ = Signals::new([Signal::USER2])?;
        // | `time.sleep`
        sleep(ms(1));
        // | `threading`, `queue`
        spawn(|| Queue::new().put(1)).join().unwrap().unwrap();
        Ok::<(), io::Error>(())
    })
    .unwrap();
}

// ---- subprocess

#[test]
fn children() {
    let _watch = watch();
    run(|| {
        // | `p = Popen(["cat", "-n"])`
        let mut p = Command::new("cat").arg("-n").stdin(Stdio::piped()).stdout(Stdio::piped()).spawn()?;
        // | `p.pid`, `p.poll()`, `p.returncode`
        assert!(p.id() > 0 && p.try_wait()?.is_none());
        // | `p.stdin.write(b)`, `p.stdout.read()`
        p.stdin.take().unwrap().write_all(b"leaf")?;
        let mut text = Vec::new();
        p.stdout.take().unwrap().read_to_end(&mut text)?;
        assert!(text.ends_with(b"1\tleaf"));
        // | `p.wait()`, `p.wait(timeout=s)`, `TimeoutExpired`
        assert_eq!(p.wait()?.code(), Some(0));
        let mut slow = endless_child().spawn_piped()?;
        assert!(slow.wait_timeout(ms(1))?.is_none());
        // | `p.communicate(timeout=s)`, and once more
        assert!(time::timeout(ms(1), || slow.communicate(&[])).is_err());
        assert!(time::timeout(ms(1), || slow.communicate(&[])).is_err());
        // | `p.kill()`, `p.terminate()`, `p.send_signal(s)`
        slow.signal(Signal::TERMINATE)?;
        slow.kill()?;
        // | `gevent.wait([p, q], count=1)`
        let q = endless_child().spawn()?;
        assert_eq!(wait(&[&slow, &q]).next(), Some(0));
        // | `Popen(cmd, shell=True)`
        let mut shell = Command::new("sh");
        shell.args(["-c", "cat; echo $WORD"]);
        // | `env=…`, `cwd=…`
        shell.env_clear().envs([("WORD", "sap")]).current_dir("/");
        // | `out, err = p.communicate(data)`
        let output = shell.spawn_piped()?.communicate(b"willow ")?;
        assert_eq!(output.stdout, b"willow sap\n");
        // | `stdin=PIPE`, `stdout=DEVNULL`, `stdout=file`
        let file = std::fs::File::open("/dev/null")?;
        let quiet = Command::new("echo").stdin(Stdio::piped()).stdout(Stdio::null()).stderr(file).spawn()?;
        drop(quiet);
        // | `call(cmd)`
        assert!(Command::new("true").status()?.success());
        // | `stdin=a.stdout`
        let mut a = Command::new("echo").arg("sap").stdout(Stdio::piped()).spawn()?;
        let b = Command::new("cat").stdin(a.stdout.take().unwrap()).output()?;
        // | `run(cmd, capture_output=True)`, `check_output(cmd)`
        assert!(b.status.success() && b.stdout == b"sap\n");
        // | `preexec_fn`, `start_new_session`, `user=…`
        std::os::unix::process::CommandExt::process_group(Command::new("true").as_std_mut(), 0);
        // | `FileNotFoundError`
        assert_eq!(Command::new("no such program").output().unwrap_err().kind(), ErrorKind::NotFound);
        Ok::<(), io::Error>(())
    })
    .unwrap();
}

fn endless_child() -> Command {
    let mut command = Command::new("sleep");
    // | `with Popen(..) as p:`
    command.arg("1000").kill_on_drop(true);
    command
}

// ---- files, signals, threads for what blocks

#[test]
fn files_signals_and_threads() {
    let _watch = watch();
    run(|| {
        let folder = std::env::temp_dir().join(format!("osier-rows-{}", std::process::id()));
        fs::create_dir(&folder)?;
        let path = folder.join("file");
        // | `open(path, "w")`, `"x"`, `"a"`, `"r+"`
        File::create(&path)?.write_all(b"sap\n")?;
        assert!(File::create_new(&path).is_err());
        // | `f.write(data)`, as a whole
        File::options().append(true).open(&path)?.write_all(b"bark\nleaf\n")?;
        let mut f = File::options().read(true).write(true).open(&path)?;
        // | `FileObject(path)`, `open(path)`, also `FileObjectThread`
        let lines = BufReader::new(File::open(&path)?).lines();
        // | `f.read()`, `f.readinto(b)`, `for line in f:`
        assert_eq!(lines.count(), 3);
        let (mut text, mut some) = (String::new(), [0; 3]);
        f.read_to_string(&mut text)?;
        // | `f.seek(n)`, `f.tell()`, `f.flush()`
        f.seek(SeekFrom::Start(4))?;
        assert!(f.read(&mut some)? > 0 && f.stream_position()? > 4);
        f.sync_data()?;
        // | `os.rename`, `os.stat`, `shutil.rmtree`
        let renamed = path.with_extension("old");
        fs::rename(&path, &renamed)?;
        assert_eq!(fs::metadata(&renamed)?.len(), 14);
        fs::remove_dir_all(&folder)?;
        // | `FileObjectPosix(fd)`: a pipe, a terminal
        let (reader, writer) = std::io::pipe()?;
        let mut reader = File::try_from(std::os::fd::OwnedFd::from(reader))?;
        File::try_from(std::os::fd::OwnedFd::from(writer))?.write_all(b"leaf")?;
        assert_eq!(io::read_to_string(&mut reader)?, "leaf");

        // | `gevent.signal_handler(SIGUSR1, f)`
        let signals = Signals::new([Signal::USER1])?;
        let (sender, receiver) = channel::unbounded();
        let handler = spawn(move || {
            for signal in signals {
                sender.send(signal).unwrap();
            }
        });
        // SAFETY: it takes no pointers, and the signal has a handler.
        unsafe { libc::raise(libc::SIGUSR1) };
        assert_eq!(receiver.recv(), Ok(Signal::USER1));
        // | `handler.cancel()`
        handler.kill();
        // | `KeyboardInterrupt` in the main greenlet
        let graceful = || signal::ctrl_c().map(|()| osier::shutdown(LONG));
        assert!(time::timeout(ms(1), graceful).is_err());

        // | `ThreadPool(n).spawn(f)`, `.apply(f)`, `.map(f, xs)`
        let ex = Threads::new(2);
        assert_eq!(ex.submit(|n: u32| n + 1, 1).get().unwrap() + ex.apply(|n: u32| n + 1, 2), 5);
        assert_eq!(ex.map(|n: u32| n + 1, [1, 2]), [2, 3]);
        // | `pool.size = n`, `pool.maxsize`
        ex.set_places(4);
        // | `pool.join()`
        ex.shutdown(false);
        Ok::<(), io::Error>(())
    })
    .unwrap();
}

// ---- threading and queue

#[test]
fn threads_locks_and_queues() {
    let _watch = watch();
    run(|| {
        let a = 6;
        // | `t = Thread(target=f, args=(a,)); t.start()`
        let t = spawn(move || a * 7);
        // | `t.join()`, `t.join(s)`, `t.is_alive()`
        assert_eq!(t.join().unwrap(), 42);
        let mut t = endless();
        assert!(t.join_timeout(ms(1)).unwrap_err().is_timeout() && !t.is_finished());
        // | `Thread(daemon=True)`, `name=…`, `threading.stack_size(n)`
        let named = task::Builder::new().daemon().name("smith").stack_size(1 << 18);
        // | `current_thread().name`
        assert_eq!(named.spawn(|| task::current().name().to_owned()).join().unwrap(), "smith");
        // | `Timer(s, f).start()`, `timer.cancel()`
        let timer = task::spawn_later(FOR_EVER, || unreachable!());
        timer.cancel();
        // | `lock = Lock()`, `with lock:`
        let lock = Mutex::new(0);
        {
            let mut guard = lock.lock();
            *guard += 1;
        }
        // | `lock.acquire(False)`, `acquire(timeout=s)`
        assert!(lock.try_lock().is_some() && lock.lock_timeout(ms(1)).is_some());
        // | `RLock`, `Semaphore(n)`, `BoundedSemaphore`, `Event`
        let (lock, event) = (RLock::new(), Event::new());
        let _twice = (lock.lock(), lock.lock());
        let (semaphore, bounded) = (Semaphore::new(1), BoundedSemaphore::new(1));
        let _both = (semaphore.hold(), bounded.hold());
        event.set();
        // | `cond.wait_for(p)`, `cond.notify(n)`, `notify_all()`
        let condition = Condition::new();
        let held = condition.lock();
        held.wait_for(|| true);
        held.notify(1);
        held.notify_all();
        drop(held);
        Condvar::new().notify_all();
        // | `Barrier(n)`, `barrier.wait()`, `BrokenBarrierError`
        let barrier = Barrier::new(1);
        assert_eq!(barrier.wait(), Ok(0));
        barrier.abort();
        let broken: Result<usize, BrokenBarrier> = barrier.wait();
        assert!(broken.is_err());
        // | `queue.Queue(n)`, `Queue()`, `LifoQueue`, `PriorityQueue`, `SimpleQueue`
        let q = Queue::bounded(1);
        let _others =
            (Queue::<u32>::new(), LifoQueue::<u32>::new(), PriorityQueue::<u32>::new(), SimpleQueue::<u32>::new());
        // | `q.put(x)`, `put_nowait`, `put(x, timeout=s)`, `Full`
        q.put(1).unwrap();
        assert!(q.try_put(2).unwrap_err().is_full() && q.put_timeout(2, ms(1)).unwrap_err().is_full());
        // | `q.get()`, `get_nowait`, `get(timeout=s)`, `Empty`
        assert_eq!(q.get().unwrap(), 1);
        assert!(q.try_get().unwrap_err().is_empty() && q.get_timeout(ms(1)).unwrap_err().is_empty());
        // | `q.task_done()`, `q.join()`, `q.shutdown()`, `q.qsize()`
        let jobs = JoinableQueue::new();
        jobs.put(1).unwrap();
        assert_eq!((jobs.len(), jobs.get().unwrap()), (1, 1));
        jobs.task_done();
        jobs.join();
        jobs.shutdown();
    });
}

// ---- concurrent.futures and multiprocessing

// | pickle
fn area((width, height): (u32, u32)) -> u32 {
    // | `initializer=f`
    static FACTOR: OnceLock<u32> = OnceLock::new();
    width * height * FACTOR.get_or_init(|| 1)
}

fn die((): ()) {
    std::process::exit(7);
}

/// Adds up, in a process of its own.
fn sum(inbox: &actor::Mailbox<(u32, Reply<u32>)>) {
    let mut total = 0;
    for (n, reply) in inbox {
        total += n;
        reply.send(total).unwrap();
    }
}

#[test]
fn executors() {
    let _watch = watch();
    // | `with ThreadPoolExecutor(n) as ex:`
    Threads::with(2, |ex| {
        // | a function of a module, which pickle finds by its name
        // | `ex.submit(f, x)`, `pool.apply_async(f, (x,))`
        let (one, two) = (ex.submit(registered!(area), (2, 3)), ex.submit(registered!(area), (4, 5)));
        // | `wait(futures, return_when=FIRST_COMPLETED)`, `timeout=s`
        assert!(osier::wait(&[&one, &two]).timeout(LONG).next().is_some());
        // | `as_completed(futures)`, `timeout=s`
        for i in wait(&[&one, &two]).timeout(LONG) {
            assert!([&one, &two][i].is_ready());
        }
        // | `future.result()`, `future.result(timeout=s)`
        assert_eq!(one.get().unwrap() + two.get_timeout(LONG).unwrap(), 26);
        // | `future.done()`, `future.exception()`
        assert!(one.is_ready() && one.get().is_ok());
        // | `future.add_done_callback(f)`
        let (called, calls) = channel::bounded(1);
        one.link(move |result| called.send(*result.as_ref().unwrap()).unwrap());
        assert_eq!(calls.recv(), Ok(6));
        // | `future.cancel()`
        assert!(!one.cancel());
        // | `pool.imap_unordered(f, xs)`
        let areas = ex.imap_unordered(registered!(area), (1..).map(|n| (n, n))).ahead(2);
        assert!(areas.take(2).all(|area| [1, 4, 9].contains(&area)));
        // | `list(ex.map(f, xs))`, `pool.map(f, xs)`, `pool.starmap(f, pairs)`
        assert_eq!(ex.map(registered!(area), [(1, 1), (2, 2)]), [1, 4]);
        // | `for y in ex.map(f, xs):`, `pool.imap(f, xs)`
        assert_eq!(ex.imap(registered!(area), (1..).map(|n| (n, n))).take(3).sum::<u32>(), 14);
        // | `ex.map(f, xs, chunksize=n)`
        assert_eq!(ex.map_chunked(8, registered!(area), [(1, 1), (2, 2)]), [1, 4]);
        // | `pool.apply(f, (x,))`
        assert_eq!(ex.apply(registered!(area), (6, 7)), 42);
        // | `ex.shutdown(wait=False, cancel_futures=True)`
        ex.close(true);
        // | `pool.close(); pool.join()`
        ex.shutdown(false);
        // | `RuntimeError: cannot schedule new futures after shutdown`
        assert!(ex.submit(registered!(area), (1, 1)).get().unwrap_err().is_shutdown());
    });
    // | `f.set_result(v)`, `f.set_exception(e)` of a bare `Future()`
    let (future, failed) = (AsyncResult::new(), AsyncResult::<u32>::new());
    future.set(1).unwrap();
    failed.set_exception(Oops).unwrap();
    assert!(future.get().is_ok() && failed.get().is_err());
}

#[test]
fn workers_in_processes() {
    let _watch = watch();
    // | `if __name__ == "__main__":`
    process::host();
    // | `with ProcessPoolExecutor(n) as ex:`, `multiprocessing.Pool(n)`
    processes(1).lend(|ex| {
        assert_eq!(ex.map(registered!(area), [(1, 1), (2, 2)]), [1, 4]);
        // | `BrokenProcessPool`
        let error = ex.submit(registered!(die), ()).get().unwrap_err();
        assert!(matches!(error.exception().unwrap().downcast_ref(), Some(RemoteError::Died(_))));
        assert_eq!(ex.apply(registered!(area), (6, 7)), 42);
        // | `pool.terminate()`
        ex.kill();
    });
    // | `os.cpu_count()`
    assert!(std::thread::available_parallelism().unwrap().get() > 0);
    // | `Pipe()`, a `Queue` between processes
    let adds = actor::Builder::new().process().args(["--exact", "host", "--nocapture"]).spawn(registered!(sum));
    assert_eq!([1, 2].map(|n| adds.ask(|reply| (n, reply)).unwrap()), [1, 3]);
    run(|| {
        let (mut ours, theirs) = net::UnixStream::pair()?;
        let theirs = std::os::fd::OwnedFd::from(theirs.into_std()?);
        let mut child = Command::new("echo").arg("leaf").stdout(theirs).spawn()?;
        assert_eq!(io::read_to_string(&mut ours)?, "leaf\n");
        child.wait().map(drop)
    })
    .unwrap();
}

// ---- whether these are all

/// The left cells of the tables, without the rows that say that there is nothing.
fn rows_of_the_guide() -> BTreeSet<&'static str> {
    let mut lines = include_str!("../../arch-notes/porting.md").lines().peekable();
    let mut rows = BTreeSet::new();
    while let Some(line) = lines.next() {
        let Some((left, right)) = line.strip_prefix("| ").and_then(|line| line.split_once(" | ")) else { continue };
        let is_head = lines.peek().is_some_and(|next| next.starts_with("| ---"));
        if !is_head && left != "---" && !right.starts_with("nothing") {
            assert!(rows.insert(left), "twice: {left}");
        }
    }
    rows
}

#[test]
fn every_row_of_the_guide_is_here_and_no_other() {
    let rooms = [include_str!("main.rs"), include_str!("generators.rs")];
    let lines = rooms.iter().flat_map(|room| room.lines());
    let here: BTreeSet<_> = lines.filter_map(|line| line.trim().strip_prefix("// | ")).collect();
    let guide = rows_of_the_guide();
    assert!(guide.len() > 150, "{}", guide.len());
    let missing: Vec<_> = guide.difference(&here).collect();
    let stale: Vec<_> = here.difference(&guide).collect();
    assert!(missing.is_empty() && stale.is_empty(), "not in code: {missing:#?}\nnot in a table: {stale:#?}");
}
