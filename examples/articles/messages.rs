//! "Generators: The Final Frontier", the second half: actors, from a decorator to mailboxes.

use std::cell::RefCell;
use std::collections::{HashMap, VecDeque};
use std::rc::Rc;

use osier::generator::Shared;
use osier::{Generator, OrRaise, Yielder, catch};

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
