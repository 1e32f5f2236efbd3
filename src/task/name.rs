//! A task's name, in two words rather than the three of a `Cow`: every task has one.

use std::borrow::Cow;
use std::fmt;
use std::ops::Deref;

/// See the module's page.
#[derive(Debug)]
pub(crate) enum Name {
    Static(&'static str),
    /// In a box of its own, so that it fits beside the empty pointer that tells it from the other.
    Owned(Box<Box<str>>),
}

const _: () = assert!(size_of::<Name>() == 2 * size_of::<usize>());

impl Name {
    #[inline(always)]
    pub(crate) fn as_str(&self) -> &str {
        match self {
            Self::Static(name) => name,
            Self::Owned(name) => name,
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
    fn from(name: Cow<'static, str>) -> Self {
        match name {
            Cow::Borrowed(name) => Self::Static(name),
            Cow::Owned(name) => Self::Owned(Box::new(name.into_boxed_str())),
        }
    }
}
