//! A name in two words, where a `Cow` has three: there may be a million of them.

use std::borrow::Cow;
use std::ptr::NonNull;

/// What a generator is called: a text that lives for ever, mostly its body's type, or one of its own.
pub(super) struct Name {
    text: NonNull<u8>,
    /// Its bytes; and [`OWNED`], which no length has.
    length: usize,
}

/// In `Name::length`: the text is a box's, and goes with the name.
const OWNED: usize = 1 << (usize::BITS - 1);

impl Name {
    #[inline(always)]
    pub(super) fn new(name: Cow<'static, str>) -> Self {
        match name {
            Cow::Borrowed(text) => Self { text: NonNull::from(text).cast(), length: text.len() },
            Cow::Owned(text) => Self::own(text.into_boxed_str()),
        }
    }

    #[cold]
    fn own(text: Box<str>) -> Self {
        let length = text.len() | OWNED;
        Self { text: NonNull::from(Box::leak(text)).cast(), length }
    }

    /// The text, as it was made.
    #[inline(always)]
    fn text(&self) -> NonNull<[u8]> {
        NonNull::slice_from_raw_parts(self.text, self.length & !OWNED)
    }

    #[inline(always)]
    pub(super) fn as_str(&self) -> &str {
        // SAFETY: it was made of a `str` that lives as long as the name does.
        unsafe { std::str::from_utf8_unchecked(self.text().as_ref()) }
    }

    #[cold]
    fn free(&self) {
        // SAFETY: it was made of a box, and this is the only call for it.
        drop(unsafe { Box::from_raw(self.text().as_ptr()) });
    }
}

impl Drop for Name {
    #[inline(always)]
    fn drop(&mut self) {
        if self.length & OWNED != 0 {
            self.free();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_what_it_was_made_of() {
        for text in ["", "ash"] {
            assert_eq!(Name::new(Cow::Borrowed(text)).as_str(), text);
            assert_eq!(Name::new(Cow::Owned(text.to_owned())).as_str(), text);
        }
    }
}
