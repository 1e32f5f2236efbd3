//! Two greenlets that switch straight to each other, and back to their parent at the end.
//!
//! ```sh
//! cargo run --release --example greenlet_ping_pong
//! ```
//!
//! prints
//!
//! ```text
//! ping 0
//! pong 1
//! ping 2
//! pong 3
//! back at the parent with 4
//! ```
//!
//! As in Python, `ping` ends by returning, and what it returns goes to its parent, not to `pong`, which switched to it
//! last. `pong` waits in its switch when its last handle goes, and is unwound.
#![allow(clippy::print_stdout, reason = "an example shows its result")]

use std::cell::OnceCell;
use std::rc::Rc;

use osier::Greenlet;

fn main() {
    // Each must know the other, so one of them gets its partner later.
    let partner = Rc::new(OnceCell::<Greenlet<u32>>::new());
    let ping = Greenlet::new({
        let partner = partner.clone();
        move |mut count: u32| {
            let pong = partner.get().expect("set before the first switch").clone();
            while count < 4 {
                println!("ping {count}");
                count = pong.switch(count + 1);
            }
            count
        }
    });
    let pong = Greenlet::new({
        // A handle on the stack of each to the other would be a cycle that keeps both alive: this one is weak.
        let ping = ping.downgrade();
        move |mut count: u32| loop {
            println!("pong {count}");
            let ping = ping.upgrade().expect("ping waits for our answer");
            count = ping.switch(count + 1);
        }
    });
    assert!(partner.set(pong).is_ok());
    let last = ping.switch(0);
    println!("back at the parent with {last}");
    assert!(ping.is_dead());
}

#[test]
fn runs() {
    main();
}
