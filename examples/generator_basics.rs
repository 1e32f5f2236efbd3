//! What a generator does: it produces on demand, keeps its place, and cleans up when it is left.
//!
//! ```text
//! cargo run --release --example generator_basics
//!
//! the first squares: [0, 1, 4, 9]
//! for: 3 2 1, then "lift-off"
//! by hand: Yielded(2), Yielded(1), Returned("lift-off")
//! cleaned up after 1 of 9 lines
//! ```
//!
//! In Python:
//!
//! ```python
//! def countdown(n):
//!     while n > 0:
//!         yield n
//!         n -= 1
//!     return "lift-off"
//! ```
#![allow(clippy::print_stdout, reason = "an example shows its result")]

use std::cell::Cell;
use std::rc::Rc;

use osier::generator::ResumeError;
use osier::{Generator, Yielder};

fn squares() -> Generator<u32> {
    Generator::new(|y: &Yielder<u32>| {
        for n in 0.. {
            y.yield_(n * n);
        }
    })
}

fn countdown(n: u32) -> Generator<u32, (), &'static str> {
    Generator::new(move |y: &Yielder<u32>| {
        for n in (1..=n).rev() {
            y.yield_(n);
        }
        "lift-off"
    })
}

/// Says how many lines were read when the reader is done with, however that comes.
struct Closing(Rc<Cell<u32>>);

impl Drop for Closing {
    fn drop(&mut self) {
        println!("cleaned up after {} of 9 lines", self.0.get());
    }
}

fn lines() -> Generator<String> {
    Generator::new(|y: &Yielder<String>| {
        let read = Rc::new(Cell::new(0));
        let _closing = Closing(read.clone());
        for n in 1..=9 {
            read.set(n);
            y.yield_(format!("line {n}"));
        }
    })
}

fn main() -> Result<(), ResumeError<()>> {
    // It is an iterator, and may be endless.
    println!("the first squares: {:?}", squares().take(4).collect::<Vec<_>>());

    // What the body returns is there after the loop.
    let mut g = countdown(3);
    let items: Vec<_> = g.by_ref().map(|n| n.to_string()).collect();
    println!("for: {}, then {:?}", items.join(" "), g.take_return().unwrap_or_default());

    let mut g = countdown(2);
    println!("by hand: {:?}, {:?}, {:?}", g.start()?, g.send(())?, g.send(())?);

    // Leaving the loop drops the generator, and that unwinds its body.
    for line in lines() {
        if line == "line 1" {
            break;
        }
    }
    Ok(())
}

#[test]
fn runs() {
    main().unwrap();
}
