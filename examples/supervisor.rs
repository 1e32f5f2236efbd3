//! An actor with a state, and a supervisor that starts it again when it fails: its address stays valid.
//!
//! ```text
//! cargo run --release --example supervisor
//! 12 / 3 = 4
//! 1 / 0: the actor has not answered, and will not
//! 10 / 5 = 2
//! restarts: 1, and this one has answered 1 question
//! ```

#![allow(clippy::print_stdout, reason = "an example shows what it does")]

use osier::actor::{Actor, Builder, Context, Reply, Restart, Strategy, Supervisor};
use osier::raise;

/// Divides, and counts the questions that it has answered.
#[derive(Default)]
struct Divider {
    answered: u32,
}

enum Question {
    Divide(u32, u32, Reply<u32>),
    Answered(Reply<u32>),
}

impl Actor for Divider {
    type Message = Question;

    fn receive(&mut self, question: Question, _: &Context<'_, Question>) {
        match question {
            // A failure of the actor: it ends, and whoever has asked is told that no answer comes.
            Question::Divide(_, 0, _) => raise(std::io::Error::other("division by zero")),
            Question::Divide(a, b, reply) => {
                self.answered += 1;
                reply.send(a / b).expect("somebody waits for it");
            }
            Question::Answered(reply) => reply.send(self.answered).expect("somebody waits for it"),
        }
    }
}

fn main() {
    let supervisor = Supervisor::builder(Strategy::OneForOne).start();
    // `Builder::new().thread()` gives it a thread; with serde's traits, `.process()` a process.
    let child = Builder::new().child(Divider::default);
    let divider = supervisor.start("divider", Restart::Permanent, child).expect("the name is free");
    for (a, b) in [(12, 3), (1, 0), (10, 5)] {
        match divider.ask(|reply| Question::Divide(a, b, reply)) {
            Ok(quotient) => println!("{a} / {b} = {quotient}"),
            Err(error) => println!("{a} / {b}: {error}"),
        }
    }
    let answered = divider.ask(Question::Answered).expect("it runs");
    let restarts = supervisor.restarts().expect("it runs");
    println!("restarts: {restarts}, and this one has answered {answered} question");
    supervisor.stop();
}

#[test]
fn runs() {
    main();
}
