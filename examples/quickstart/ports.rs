//! Two programs from Python, line by line: a generator that is sent values, and two greenlets.

use std::cell::OnceCell;
use std::rc::Rc;

use osier::{Generator, Greenlet, Step, Yielder};

/// Both versions of the running average, side by side.
pub(crate) const AVERAGE: [(&str, &str); 8] = [
    ("def averager():", "Generator::new(|y: &Yielder<f64, f64>| {"),
    ("    total, count, average = 0, 0, 0", "    let (mut total, mut count, mut average) = (0.0, 0.0, 0.0);"),
    ("    while True:", "    loop {"),
    ("        total += yield average", "        total += y.yield_(average);"),
    ("        count += 1", "        count += 1.0;"),
    ("        average = total / count", "        average = total / count;"),
    ("", "    }"),
    ("", "})"),
];

fn averager() -> Generator<f64, f64> {
    Generator::new(|y: &Yielder<f64, f64>| {
        let (mut total, mut count, mut average) = (0.0, 0.0, 0.0);
        loop {
            total += y.yield_(average);
            count += 1.0;
            average = total / count;
        }
    })
}

/// Sends the values, one after another, and returns the average after each.
pub(crate) fn averages(values: &[f64]) -> Vec<f64> {
    let mut g = averager().primed();
    values
        .iter()
        .map(|&value| match g.send(value) {
            Ok(Step::Yielded(average)) => average,
            other => unreachable!("the averager yields for ever, but: {other:?}"),
        })
        .collect()
}

/// Both versions of the ping-pong, side by side.
pub(crate) const PING_PONG: [(&str, &str); 8] = [
    ("def ping(n):", "ping = Greenlet::new(move |mut n| {"),
    ("    while n < 6:", "    while n < 6 {"),
    ("        print('ping', n)", "        println!(\"ping {n}\");"),
    ("        n = pong.switch(n + 1)", "        n = pong.switch(n + 1);"),
    ("    return n", "    }"),
    ("", "    n"),
    ("", "});"),
    ("ping.switch(0)", "ping.switch(0)"),
];

/// Two greenlets that switch straight to each other; `say` is told who is on with which number. Returns the last.
pub(crate) fn ping_pong(say: impl Fn(&'static str, u32) + Clone + 'static) -> u32 {
    // Each needs the other's handle, so the first is made before the second is known.
    let ping: Rc<OnceCell<Greenlet<u32>>> = Rc::default();
    let pong = Greenlet::new({
        let (ping, say) = (ping.clone(), say.clone());
        move |mut n| {
            loop {
                say("pong", n);
                n = ping.get().expect("set below").switch(n + 1);
            }
        }
    });
    let first = Greenlet::new(move |mut n| {
        while n < 6 {
            say("ping", n);
            n = pong.switch(n + 1);
        }
        // What a greenlet returns comes out of its parent's switch.
        n
    });
    ping.set(first.clone()).expect("it was empty");
    first.switch(0)
}
