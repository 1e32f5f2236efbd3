//! Futures in both directions: a task awaits an `async` function; another crate's executor awaits a task.
//!
//! ```text
//! cargo run --release --example futures
//!
//! the task got 12
//! the executor got 42
//! the deadline was met: false
//! ```

#![allow(clippy::print_stdout, reason = "an example prints")]

use std::time::Duration;

use futures_lite::future::{block_on, pending, zip};
use osier::time::timeout;
use osier::{future, spawn};

/// Somebody's `async` code, which knows nothing of osier.
async fn lengths(left: &str, right: &str) -> usize {
    let length = async |word: &str| word.len();
    let (left, right) = zip(length(left), length(right)).await;
    left + right
}

fn main() {
    // From a task to a future: the call waits, as any call does. It may lend what is on its stack.
    let task = spawn(|| {
        let (left, right) = (String::from("willow"), String::from("shoots"));
        future::wait(lengths(&left, &right))
    });
    println!("the task got {}", task.join().unwrap());

    // From a future to a task: a handle is a future, for any executor.
    let (six, seven) = (spawn(|| 6), spawn(|| 7));
    let product = block_on(async { six.await.unwrap() * seven.await.unwrap() });
    println!("the executor got {product}");

    // What ends every wait ends this one: the future is dropped where it stands.
    let met = osier::run(|| timeout(Duration::from_millis(10), || future::wait(pending::<()>())).is_ok());
    println!("the deadline was met: {met}");
}

#[test]
fn runs() {
    main();
}
