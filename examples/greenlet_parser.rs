//! A parser and a printer that each run as if the other were a plain function.
//!
//! ```text
//! cargo run --release --example greenlet_parser
//!
//! add
//!   1
//!   mul
//!     2
//!     3
//!   4
//! ```
//!
//! The parser recurses over its input and says `event(..)` wherever it has found something, deep in the recursion. The
//! printer is a loop that says `next_event()`. With callbacks, or with a `next` method on the parser, one of the two
//! would have to be turned inside out; greenlets let both keep their shape, and switch.
#![allow(clippy::print_stdout, reason = "an example shows its result")]

use osier::Greenlet;

#[derive(Debug)]
enum Event {
    Open(String),
    Atom(String),
    Close,
    /// What the printer says when it wants the next one.
    Next,
}

/// Parses one expression from the words of `input`, and tells `printer` of it.
fn parse(input: &mut dyn Iterator<Item = String>, printer: &Greenlet<Event>) -> bool {
    match input.next().as_deref() {
        Some("(") => {
            printer.switch(Event::Open(input.next().unwrap_or_default()));
            while parse(input, printer) {}
            printer.switch(Event::Close);
            true
        }
        Some(")") | None => false,
        Some(atom) => {
            printer.switch(Event::Atom(atom.to_owned()));
            true
        }
    }
}

/// Prints events, indented, and asks `parser` for each next one.
fn print(first: Event, parser: &Greenlet<Event>) -> ! {
    let (mut event, mut depth) = (first, 0);
    loop {
        match event {
            Event::Open(name) => {
                println!("{:depth$}{name}", "");
                depth += 2;
            }
            Event::Atom(atom) => println!("{:depth$}{atom}", ""),
            Event::Close => depth -= 2,
            Event::Next => unreachable!("only the printer says that"),
        }
        event = parser.switch(Event::Next);
    }
}

fn main() {
    let text = "( add 1 ( mul 2 3 ) 4 )";
    // The parser is what runs here; the printer waits for it at the end, and is unwound with its last handle.
    let parser = Greenlet::current();
    let printer = Greenlet::new(move |first| print(first, &parser));
    assert!(parse(&mut text.split_whitespace().map(str::to_owned), &printer));
}

#[test]
fn runs() {
    main();
}
