//! What works where nothing can be unwound. The first argument says what to do.

use std::error::Error;
use std::fmt;

use osier::generator::ResumeError;
use osier::{Generator, Step, Yielder, raise};

#[derive(Debug)]
struct Stop;

impl fmt::Display for Stop {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("stop it")
    }
}

impl Error for Stop {}

/// Says so when it is dropped.
struct Loud;

impl Drop for Loud {
    fn drop(&mut self) {
        println!("dropped");
    }
}

fn main() {
    assert!(cfg!(panic = "abort"));
    match std::env::args().nth(1).expect("what to do").as_str() {
        "drop" => {
            let mut g = Generator::builder(|y: &Yielder<u32>| {
                let _loud = Loud;
                y.yield_(1);
            })
            .name("left-behind")
            .build();
            assert_eq!(g.next(), Some(1));
            assert!(matches!(g.close(), Err(ResumeError::IgnoredClose)));
            drop(g);
            // What has ended, or not begun, is freed as ever.
            assert_eq!(Generator::new(|y: &Yielder<u32>| y.yield_(1)).count(), 1);
            drop(Generator::new(|y: &Yielder<u32>| y.yield_(1)));
        }
        "throw into try_yield" => {
            let mut g = Generator::new(|y: &Yielder<bool, ()>| while y.try_yield(true).is_ok() {});
            assert_eq!(g.start().unwrap(), Step::Yielded(true));
            assert_eq!(g.send(()).unwrap(), Step::Yielded(true));
            assert_eq!(g.throw(Stop).unwrap(), Step::Returned(()));
        }
        "throw into yield_" => {
            let mut g = Generator::new(|y: &Yielder<u32>| y.yield_(1)).primed();
            _ = g.throw(Stop);
        }
        "raise" => _ = Generator::new(|_: &Yielder<u32>| raise(Stop)).next(),
        "panic" => _ = Generator::new(|_: &Yielder<u32>| panic!("a bug")).next(),
        "cancel" => {
            // A wait whose result has no room for it goes on; the task can ask.
            let ended = osier::run(|| {
                let (sender, receiver) = osier::sync::channel::bounded(1);
                let task = osier::spawn(move || (receiver.recv(), osier::task::is_cancelled()));
                osier::yield_now();
                task.cancel();
                sender.send(7).unwrap();
                task.join().unwrap()
            });
            assert_eq!(ended, (Ok(7), true));
        }
        other => panic!("{other}?"),
    }
    println!("done");
}
