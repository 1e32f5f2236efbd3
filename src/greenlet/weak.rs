//! Handles that do not count.

use std::fmt;
use std::rc::{self, Rc};

use super::Greenlet;
use super::node::Node;

/// A handle that does not keep its greenlet alive.
///
/// # Examples
/// ```
/// let g = osier::Greenlet::new(|n: u32| n);
/// let weak = g.downgrade();
/// assert!(weak.upgrade().is_some());
/// drop(g);
/// assert!(weak.upgrade().is_none());
/// ```
pub struct Weak<T: 'static> {
    node: rc::Weak<Node<T>>,
}

impl<T: 'static> Weak<T> {
    pub(super) fn of(node: &Rc<Node<T>>) -> Self {
        Self { node: Rc::downgrade(node) }
    }

    /// A handle to the greenlet, if it has others, or is active.
    pub fn upgrade(&self) -> Option<Greenlet<T>> {
        self.node.upgrade().map(Greenlet::of_node)
    }
}

impl<T: 'static> Clone for Weak<T> {
    fn clone(&self) -> Self {
        Self { node: self.node.clone() }
    }
}

impl<T: 'static> fmt::Debug for Weak<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("(Weak)")
    }
}
