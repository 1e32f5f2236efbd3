//! A running average, by `send`: a Python generator, line for line.
//!
//! ```text
//! cargo run --release --example generator_average
//!
//! sent  10, the average is 10.0
//! sent  20, the average is 15.0
//! sent  60, the average is 30.0
//! the generator is closed
//! ```
//!
//! In Python:
//!
//! ```python
//! def averager():
//!     total, count, average = 0, 0, None
//!     while True:
//!         total += yield average
//!         count += 1
//!         average = total / count
//!
//! g = averager()
//! next(g)
//! for value in (10, 20, 60):
//!     print(f"sent {value:3}, the average is {g.send(value):.1f}")
//! g.close()
//! ```

#![allow(clippy::print_stdout, reason = "an example prints")]

use std::error::Error;

use osier::generator::State;
use osier::{Generator, Step, Yielder};

fn averager() -> Generator<Option<f64>, f64> {
    Generator::new(|y: &Yielder<Option<f64>, f64>| {
        let (mut total, mut count, mut average) = (0.0, 0.0, None);
        loop {
            total += y.yield_(average);
            count += 1.0;
            average = Some(total / count);
        }
    })
}

fn main() -> Result<(), Box<dyn Error>> {
    let mut g = averager();
    g.start()?;
    for value in [10.0, 20.0, 60.0] {
        if let Step::Yielded(Some(average)) = g.send(value)? {
            println!("sent {value:3}, the average is {average:.1}");
        }
    }
    g.close()?;
    assert_eq!(g.state(), State::Finished);
    println!("the generator is closed");
    Ok(())
}

#[test]
fn runs() {
    main().unwrap();
}
