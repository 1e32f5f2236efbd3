//! A greenlet before it is made.

use std::borrow::Cow;
use std::fmt;

use super::Greenlet;
use super::node::Node;
use crate::stack::StackSize;

/// A greenlet that has not been made: a body with a name and a stack size.
///
/// It is `Send` when its body is, so a greenlet can be described on one thread and made on another.
///
/// # Examples
/// ```
/// use osier::Greenlet;
///
/// let echo = Greenlet::builder(|n: u32| n).name("echo").stack_size(32 * 1024);
/// let name = std::thread::spawn(move || echo.build().name().to_owned()).join().unwrap();
/// assert_eq!(name, "echo");
/// ```
#[derive(Clone)]
#[must_use = "a builder does nothing until `build` is called"]
pub struct Builder<F> {
    body: F,
    name: Cow<'static, str>,
    stack_size: StackSize,
}

impl<F> Builder<F> {
    pub(super) fn new(body: F) -> Self {
        Self { body, name: Cow::Borrowed(std::any::type_name::<F>()), stack_size: StackSize::DEFAULT }
    }

    /// Names the greenlet, in overflow messages and in `Debug`.
    pub fn name(mut self, name: impl Into<Cow<'static, str>>) -> Self {
        self.name = name.into();
        self
    }

    /// Sets the usable bytes of its stack, rounded up to whole pages and to at least [`crate::stack::MIN_STACK_SIZE`].
    pub fn stack_size(mut self, bytes: usize) -> Self {
        self.stack_size = StackSize::from_bytes(bytes);
        self
    }

    /// Makes the greenlet, as a child of the running one.
    pub fn build<T: 'static>(self) -> Greenlet<T>
    where
        F: FnOnce(T) -> T + 'static,
    {
        self.build_with_parent(&Greenlet::current())
    }

    /// Makes the greenlet, as a child of `parent`.
    pub fn build_with_parent<T: 'static>(self, parent: &Greenlet<T>) -> Greenlet<T>
    where
        F: FnOnce(T) -> T + 'static,
    {
        Greenlet::of_node(Node::new(parent.clone(), Box::new(self.body), self.name, self.stack_size))
    }
}

impl<F> fmt::Debug for Builder<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Builder")
            .field("name", &self.name)
            .field("stack_size", &self.stack_size.bytes())
            .finish_non_exhaustive()
    }
}
