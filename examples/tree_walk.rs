//! A tree walked from a recursive function: a generator yields from any depth of calls.
//!
//! ```text
//! cargo run --release --example tree_walk
//!
//! in order: 1 2 3 4 5 6 7
//! the same by yield_from: 1 2 3 4 5 6 7
//! the first above 3: 4, after 4 of 7 nodes
//! ```
//!
//! In Python each level of the recursion is a generator of its own, and hands the items of the one below it on:
//!
//! ```python
//! def walk(node):
//!     if node is not None:
//!         yield from walk(node.left)
//!         yield node.value
//!         yield from walk(node.right)
//! ```
//!
//! `walk_by_delegation` says the same here, and each level is resumed for each item, as there. But a generator has a stack, so the
//! recursion can be plain calls that lend the yielder on: then one item costs one switch however deep the tree is.

#![allow(clippy::print_stdout, reason = "an example prints")]

use std::cell::Cell;
use std::rc::Rc;

use osier::{Generator, Yielder};

struct Node {
    value: u32,
    left: Tree,
    right: Tree,
}

type Tree = Option<Box<Node>>;

/// A balanced tree of the numbers `low..high`.
fn tree(low: u32, high: u32) -> Tree {
    (low < high).then(|| {
        let value = low.midpoint(high);
        Box::new(Node { value, left: tree(low, value), right: tree(value + 1, high) })
    })
}

fn visit(y: &Yielder<u32>, tree: &Tree, visited: &Cell<u32>) {
    if let Some(node) = tree {
        visit(y, &node.left, visited);
        visited.set(visited.get() + 1);
        y.yield_(node.value);
        visit(y, &node.right, visited);
    }
}

/// The numbers of the tree in order, each found when it is asked for.
fn walk(tree: Tree, visited: Rc<Cell<u32>>) -> Generator<u32> {
    Generator::new(move |y: &Yielder<u32>| visit(y, &tree, &visited))
}

/// As in Python: a generator for each subtree, which stands in for the one above it.
fn walk_by_delegation(tree: Tree) -> Generator<u32> {
    Generator::new(|y: &Yielder<u32>| {
        if let Some(node) = tree {
            y.yield_from(&mut walk_by_delegation(node.left));
            y.yield_(node.value);
            y.yield_from(&mut walk_by_delegation(node.right));
        }
    })
}

fn joined(numbers: Generator<u32>) -> String {
    numbers.map(|n| n.to_string()).collect::<Vec<_>>().join(" ")
}

fn main() {
    let visited = Rc::new(Cell::new(0));
    println!("in order: {}", joined(walk(tree(1, 8), visited.clone())));
    println!("the same by yield_from: {}", joined(walk_by_delegation(tree(1, 8))));

    visited.set(0);
    let found = walk(tree(1, 8), visited.clone()).find(|&n| n > 3).expect("the tree goes up to 7");
    println!("the first above 3: {found}, after {} of 7 nodes", visited.get());
}

#[test]
fn runs() {
    main();
}
