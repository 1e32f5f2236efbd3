//! A task's name, in two words rather than the three of a `Cow`: every task has one. What a few tasks have beside it, lies
//! with it.

use std::any::Any;
use std::borrow::Cow;
use std::fmt;
use std::ops::Deref;
use std::sync::Arc;

use crate::coroutine::{region, unwind};

/// What a user has given a task, to be seen through its handles.
pub(super) type Data = Arc<dyn Any + Send + Sync>;

/// See the module's page.
#[derive(Debug)]
pub(crate) enum Name {
    Static(&'static str),
    /// In a box, so that it fits beside the empty pointer that tells it from the other.
    Boxed(Box<Label>),
}

const _: () = assert!(size_of::<Name>() == 2 * size_of::<usize>());

/// A name with what belongs to it.
#[derive(Debug)]
pub(crate) struct Label {
    text: Cow<'static, str>,
    data: Option<Data>,
    /// Whether the watchdog lets the task hold its worker.
    may_hold: bool,
}

impl Drop for Label {
    #[cold]
    #[inline(never)]
    fn drop(&mut self) {
        // A task goes with its last handle, perhaps in a worker's loop or in an unwind: a destructor of a user's must neither
        // wait nor unwind there.
        if let Some(data) = self.data.take() {
            region::no_suspend(|| unwind::drop_quietly(data));
        }
    }
}

impl Name {
    /// The name `text` of a task of which there is more to say.
    #[cold]
    pub(super) fn with(text: Cow<'static, str>, data: Option<Data>, may_hold: bool) -> Self {
        Self::Boxed(Box::new(Label { text, data, may_hold }))
    }

    fn label(&self) -> Option<&Label> {
        match self {
            Self::Static(_) => None,
            Self::Boxed(label) => Some(label),
        }
    }

    /// What the task was given.
    pub(super) fn data(&self) -> Option<&(dyn Any + Send + Sync)> {
        self.label()?.data.as_deref()
    }

    /// Whether the watchdog lets the task hold its worker.
    pub(super) fn may_hold(&self) -> bool {
        self.label().is_some_and(|label| label.may_hold)
    }

    #[inline(always)]
    pub(crate) fn as_str(&self) -> &str {
        match self {
            Self::Static(name) => name,
            Self::Boxed(label) => &label.text,
        }
    }
}

impl Deref for Name {
    type Target = str;

    #[inline(always)]
    fn deref(&self) -> &str {
        self.as_str()
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl From<Cow<'static, str>> for Name {
    // Most names are known where a task is spawned.
    #[inline(always)]
    fn from(name: Cow<'static, str>) -> Self {
        match name {
            Cow::Borrowed(name) => Self::Static(name),
            Cow::Owned(_) => Self::with(name, None, false),
        }
    }
}
