//! A pipeline of generators: characters go in, tokens come out, and an error comes out as an exception.
//!
//! ```text
//! cargo run --example tokenizer
//! ```
//! prints
//! ```text
//! 12 + x1 * (3 - y)
//!     Number(12) Plus Name(x1) Star Open Number(3) Minus Name(y) Close
//! 1 $ 2
//!     Number(1) error: unexpected '$'
//! ```
//!
//! Three stages, each a generator that loops over the one before it. Nothing is computed before somebody asks for a
//! token, and an error unwinds from the stage it arises in through the loop that asked, as an exception does in Python.

#![allow(clippy::print_stdout, reason = "an example prints")]

use std::error::Error;
use std::fmt;

use osier::{Generator, Yielder, catch, raise};

#[derive(Debug)]
struct Unexpected(char);

impl fmt::Display for Unexpected {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "unexpected '{}'", self.0)
    }
}

impl Error for Unexpected {}

/// Stage one: the characters of a text, and a space to end its last word.
fn characters(text: &'static str) -> Generator<char> {
    Generator::new(|y: &Yielder<char>| {
        y.yield_all(text.chars());
        y.yield_(' ');
    })
}

/// Stage two: words, cut out of characters. What is no word is a character of its own.
fn words(characters: Generator<char>) -> Generator<String> {
    Generator::new(move |y: &Yielder<String>| {
        let mut word = String::new();
        for c in characters {
            if c.is_alphanumeric() {
                word.push(c);
                continue;
            }
            if !word.is_empty() {
                y.yield_(std::mem::take(&mut word));
            }
            if !c.is_whitespace() {
                y.yield_(c.to_string());
            }
        }
    })
}

/// Stage three: tokens. An unknown character leaves it as an exception, through whoever asks for the next token.
fn tokens(words: Generator<String>) -> Generator<String> {
    Generator::new(|y: &Yielder<String>| {
        for word in words {
            let first = word.chars().next().expect("no word is empty");
            y.yield_(match first {
                '+' => "Plus".to_owned(),
                '-' => "Minus".to_owned(),
                '*' => "Star".to_owned(),
                '(' => "Open".to_owned(),
                ')' => "Close".to_owned(),
                c if c.is_numeric() => format!("Number({word})"),
                c if c.is_alphabetic() => format!("Name({word})"),
                c => raise(Unexpected(c)),
            });
        }
    })
}

fn show(text: &'static str) -> String {
    let mut line = Vec::new();
    let ended = catch(|| line.extend(tokens(words(characters(text)))));
    if let Err(exception) = ended {
        line.push(format!("error: {exception}"));
    }
    line.join(" ")
}

fn main() {
    for text in ["12 + x1 * (3 - y)", "1 $ 2"] {
        println!("{text}\n    {}", show(text));
    }
}

#[test]
fn runs() {
    main();
    assert_eq!(show("12 + x1"), "Number(12) Plus Name(x1)");
    assert_eq!(show("1 $ 2"), "Number(1) error: unexpected '$'");
}
