//! The trees of greenlets whose root is one context: a thread, a task, or a greenlet.

use std::any::Any;
use std::cell::{OnceCell, RefCell};
use std::fmt;
use std::rc::Rc;

/// The root of a tree of greenlets, typed in `greenlet::node`.
pub(crate) trait Root: Any {
    /// Notes that its context has ended. Runs no code of users.
    fn end(&self);
}

type Roots = RefCell<Vec<Rc<dyn Root>>>;

/// The trees of greenlets whose root is one context: they end with it.
#[derive(Default)]
pub(crate) struct Trees {
    /// Made with the first tree, so that having none is one null word.
    roots: OnceCell<Box<Roots>>,
}

impl Trees {
    pub(super) const fn new() -> Self {
        Self { roots: OnceCell::new() }
    }

    /// The root of the tree whose nodes are of type `R`.
    pub(crate) fn find<R: Root>(&self) -> Option<Rc<R>> {
        let roots = self.roots.get()?.borrow();
        let root = roots.iter().find(|root| (&***root as &dyn Any).is::<R>())?;
        (Rc::clone(root) as Rc<dyn Any>).downcast().ok()
    }

    /// Adds the root of another tree.
    pub(crate) fn add(&self, root: Rc<dyn Root>) {
        self.roots.get_or_init(Box::default).borrow_mut().push(root);
    }

    #[inline(always)]
    pub(super) fn end(&self) {
        if let Some(roots) = self.roots.get() {
            Self::end_all(roots);
        }
    }

    #[cold]
    fn end_all(roots: &Roots) {
        for root in roots.take() {
            root.end();
        }
    }
}

impl Drop for Trees {
    fn drop(&mut self) {
        self.end();
    }
}

impl fmt::Debug for Trees {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let count = self.roots.get().map_or(0, |roots| roots.borrow().len());
        f.debug_struct("Trees").field("count", &count).finish_non_exhaustive()
    }
}
