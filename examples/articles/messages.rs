//! "Generators: The Final Frontier", the second half: actors, from a decorator to mailboxes.

use std::cell::RefCell;
use std::collections::{HashMap, VecDeque};
use std::rc::Rc;

use osier::actor::{self, Address, Builder};
use osier::generator::Shared;
use osier::{Generator, OrRaise, Yielder, catch};

/// The wish, come true. Mended: a name that nobody has is an error that says so, with the message in it.
pub(crate) fn s03() {
    let printer = actor::start("printer", |inbox| {
        loop {
            let message: &str = inbox.recv();
            say!("printer: {message}");
        }
    })
    .unwrap();
    for _ in 0..10 {
        actor::send("printer", "Hello!").unwrap();
    }
    end(&printer);
}

/// Lets an actor receive what it was sent, and waits for its end.
fn end<M>(actor: &Address<M>) {
    actor.close();
    actor.task().join().unwrap();
}

/// Generators by name, each waiting at its `yield_` for the next message: what the decorator `@actor` makes.
#[derive(Clone, Default)]
struct Actors(Rc<RefCell<HashMap<&'static str, Shared<(), u32>>>>);

impl Actors {
    /// Makes the generator, advances it to its first `yield_`, and registers it.
    fn start(&self, name: &'static str, body: impl FnOnce(&Yielder<(), u32>) + 'static) {
        self.0.borrow_mut().insert(name, Generator::new(body).primed().shared());
    }

    fn get(&self, name: &str) -> Shared<(), u32> {
        self.0.borrow()[name].clone()
    }

    fn send(&self, name: &str, n: u32) {
        self.get(name).send(n).or_raise();
    }
}

/// Nothing to mend: one instance per name.
pub(crate) fn s04() {
    let actors = Actors::default();
    actors.start("printer", |y| {
        loop {
            let n = y.yield_(());
            say!("printer: {n}");
        }
    });
    for n in (1..=10).rev() {
        actors.send("printer", n);
    }
}

/// ping resumes pong, which resumes ping while it runs: the error that comes back ends both. Here it is caught and shown
/// by whoever sent the first message; `s07` is the mended program.
pub(crate) fn s05() {
    let actors = Actors::default();
    for (me, other) in [("ping", "pong"), ("pong", "ping")] {
        let all = actors.clone();
        actors.start(me, move |y| {
            loop {
                let n = y.yield_(());
                say!("{me}: {n}");
                all.send(other, n + 1);
            }
        });
    }
    say!("{}", catch(|| actors.send("ping", 0)).unwrap_err());
    for name in ["ping", "pong"] {
        say!("{name} afterwards: {}", actors.get(name).send(0).unwrap_err());
    }
    // Each body holds the table that it is in: without this, nobody would drop them.
    actors.0.borrow_mut().clear();
}

/// Two actors that send to each other by name, until one of them has `last`.
fn ping_pong(builder: &Builder, last: u32) {
    let actors = [("ping", "pong"), ("pong", "ping")].map(|(me, other)| {
        let body = move |inbox: &actor::Mailbox<u32>| {
            for n in inbox {
                say!("{me}: {n}");
                if n == last {
                    return;
                }
                actor::send(other, n + 1).unwrap();
            }
        };
        builder.clone().start(me, body).unwrap()
    });
    actors[0].send(0).unwrap();
    actors[last as usize % 2].task().join().unwrap();
    actors.iter().for_each(end);
}

/// Mended: an actor needs no priming, its failure is told, and it ends: after six messages, or when it is closed.
pub(crate) fn s06() {
    ping_pong(&Builder::new().thread(), 6);
}

/// `s05`, mended: no send runs the other actor. They may go on for ever; here they stop after eight messages.
pub(crate) fn s07_tasks() {
    ping_pong(&Builder::new(), 7);
}

/// A send only queues, and one loop delivers: no actor is resumed by another. Mended: it ends, after eight messages.
pub(crate) fn s07() {
    let actors = Actors::default();
    let messages = Rc::new(RefCell::new(VecDeque::new()));
    for (me, other) in [("ping", "pong"), ("pong", "ping")] {
        let messages = messages.clone();
        actors.start(me, move |y| {
            loop {
                let n = y.yield_(());
                say!("{me}: {n}");
                messages.borrow_mut().push_back((other, n + 1));
            }
        });
    }
    messages.borrow_mut().push_back(("ping", 0));
    for _ in 0..8 {
        let Some((name, n)) = messages.borrow_mut().pop_front() else { break };
        actors.send(name, n);
    }
}
