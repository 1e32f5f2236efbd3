//! Topics: who publishes knows nothing of who subscribes, and a slow subscriber holds up nobody.
//!
//! ```text
//! cargo run --release --example topics
//! all of berlin: ["berlin.temperature 7", "berlin.wind 30", "berlin.temperature 8"]
//! storms: ["oslo.wind 95"]
//! the newest temperature: ["oslo.temperature -2"], missed 2
//! an actor has heard 4 messages
//! retained for who comes late: "berlin.wind 30"
//! ```

#![allow(clippy::print_stdout, reason = "an example shows what it does")]

use osier::actor::{Builder, Mailbox, Overflow, Topics};

#[derive(Clone)]
struct Reading {
    place: &'static str,
    value: i32,
}

impl Reading {
    fn text(self) -> String {
        format!("{} {}", self.place, self.value)
    }
}

fn main() {
    let topics = Topics::new();
    // `*` is one word, `>` all that follow.
    let berlin = topics.subscribe("berlin.>");
    let storms = topics.subscribe_with("*.wind", 100, Overflow::DropNewest, |reading: &Reading| reading.value > 90);
    let newest = topics.subscribe_with("*.temperature", 1, Overflow::DropOldest, |_| true);
    let (sender, heard) = osier::sync::channel::bounded(1);
    let listener = Builder::new().spawn(move |inbox: &Mailbox<Reading>| {
        let places: Vec<_> = (0..4).map(|_| inbox.recv().place).collect();
        sender.send(places.len()).expect("somebody waits for it");
    });
    let forward = topics.subscribe("*.*").forward(&listener, |reading| reading);

    let publish = |place, value| topics.publish_retained(place, Reading { place, value });
    publish("berlin.temperature", 7);
    publish("berlin.wind", 30);
    publish("berlin.temperature", 8);
    publish("oslo.wind", 95);
    let late = topics.subscribe("berlin.wind");
    let heard = heard.recv().expect("it sends");
    forward.kill();
    publish("oslo.temperature", -2);
    drop(topics);

    let texts =
        |subscription: &osier::actor::Subscription<Reading>| subscription.iter().map(Reading::text).collect::<Vec<_>>();
    println!("all of berlin: {:?}", texts(&berlin));
    println!("storms: {:?}", texts(&storms));
    println!("the newest temperature: {:?}, missed {}", texts(&newest), newest.missed());
    println!("an actor has heard {heard} messages");
    println!("retained for who comes late: {:?}", late.iter().next().map(Reading::text).unwrap_or_default());
}

#[test]
fn runs() {
    main();
}
