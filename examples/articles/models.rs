//! "Concurrency again": threads, processes and coroutines, and how they talk: queues, actors, publishing.

use std::thread;
use std::time::Duration;

use osier::actor::{self, Overflow, SendError, Topics};
use osier::sync::{Event, Queue};
use osier::{Generator, OrRaise, Yielder, catch_exit, spawn};

/// How long the reader waits for more: five seconds in the article.
const PATIENCE: Duration = Duration::from_millis(500);

/// One end is a thread, the other a task: the queue does not mind. Mended: the reader leaves its loop when it says so.
pub(crate) fn s10() {
    let queue = Queue::new();
    let reader = spawn({
        let queue = queue.clone();
        move || {
            while let Ok(i) = queue.get_timeout(PATIENCE) {
                say!("读取数据 {i}");
            }
            say!("队列超时，退出");
        }
    });
    let writer = thread::spawn(move || {
        for i in 0..10 {
            say!("放入数据 {i}");
            queue.put(i).unwrap();
        }
    });
    writer.join().unwrap();
    reader.join().unwrap();
}

/// Whoever sends waits until its message has been dealt with. Mended: both loops end, with three messages.
pub(crate) fn s11() {
    let queue = Queue::new();
    let b = spawn({
        let queue = queue.clone();
        move || {
            for (i, done) in &queue {
                say!("B got {i}");
                Event::set(&done);
            }
        }
    });
    let a = spawn(move || {
        for i in 0..3 {
            let done = Event::new();
            queue.put((i, done.clone())).unwrap();
            done.wait();
            say!("A acked {i}");
        }
        queue.shutdown();
    });
    a.join().unwrap();
    b.join().unwrap();
}

/// Mended: a send after the close is an error, not lost; and it is joined only once it has been started.
pub(crate) fn s12() {
    let printer = actor::start("PrintActor", |inbox| {
        loop {
            let message: &str = inbox.recv();
            say!("Got: {message}");
        }
    })
    .unwrap();
    printer.send("Hello").unwrap();
    printer.send("World").unwrap();
    printer.close();
    assert_eq!(printer.send("too late"), Err(SendError::Closed("too late")));
    printer.task().join().unwrap();
}

/// Mended: the `try` stands around the loop. Inside it, the actor yields again after its close, which is an error.
pub(crate) fn s13() {
    let mut actor = Generator::new(|y: &Yielder<(), &'static str>| {
        let Err(_exit) = catch_exit(|| {
            loop {
                say!("Got: {}", y.yield_(()));
            }
        });
        say!("Actor terminated");
    })
    .primed();
    actor.send("Hello").or_raise();
    actor.send("World").or_raise();
    actor.close().or_raise();
}

/// The article has no code for it. Those who publish and those who subscribe know the gateway alone; whoever is slow misses
/// messages, and holds up nobody.
pub(crate) fn s14() {
    let gateway = Topics::new();
    let subscribe = |name: &'static str, topic| {
        let subscription = gateway.subscribe(topic);
        spawn(move || subscription.iter().for_each(|n: u32| say!("{name} got {n}")))
    };
    let readers = [("A", "t"), ("B", "t"), ("C", "t"), ("D", "u")].map(|(name, topic)| subscribe(name, topic));
    let slow = gateway.subscribe_with("t", 1, Overflow::DropNewest, |_| true);
    let gone = gateway.subscribe("t");
    assert_eq!(gateway.publish("t", 1), 5);
    drop(gone);
    assert_eq!(gateway.publish("t", 2), 3);
    assert_eq!(gateway.publish("u", 9), 1);
    drop(gateway);
    readers.into_iter().for_each(|reader| reader.join().unwrap());
    say!("slow got {:?} and missed {}", slow.iter().collect::<Vec<_>>(), slow.missed());
}
