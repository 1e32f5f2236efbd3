//! What unwinds out of a coroutine that is being dropped: it ends there, and is told if nobody else has told it.

use super::{Leaving, Report, from_payload, report};
use crate::coroutine::current;
use crate::coroutine::region::Expiry;
use crate::coroutine::unwind::{self, Payload};

/// Drops what the coroutine `name` has left, and ends what the destructor unwinds with.
pub(crate) fn drop_what_is_left<T>(name: &str, value: T) {
    let ending = Ending::begin();
    if let Err(payload) = unwind::intercept(move || drop(value)) {
        ending.end(name, payload);
    }
}

/// The end of a coroutine in a drop.
#[derive(Clone, Copy)]
pub(crate) struct Ending {
    /// How many panics this thread had shown when it began.
    shown: usize,
}

impl Ending {
    pub(crate) fn begin() -> Self {
        Self { shown: current::panics_shown() }
    }

    /// Ends what has unwound out of the coroutine `name`.
    ///
    /// An exception is reported. So is what is nobody's: an exit whose coroutine lies further out, and will not get it
    /// again, or a payload that no panic hook was told of. The panic of a destructor has been shown by the hook. What comes
    /// again, for its request stays, is told by nobody.
    #[cold]
    pub(crate) fn end(self, name: &str, payload: Payload) {
        let payload = match from_payload(payload) {
            Ok(exception) => return report(&Report::RaisedInDrop { name, exception: &exception }),
            Err(payload) => payload,
        };
        let lost = if let Some(leaving) = Leaving::of(&payload) {
            (!leaving.lose()).then_some("the exit of another coroutine")
        } else if let Some(expiry) = payload.downcast_ref::<Expiry>() {
            (!expiry.lose()).then_some("a timeout")
        } else {
            (current::panics_shown() == self.shown).then_some("an unwind without a panic")
        };
        if let Some(what) = lost {
            report(&Report::LostInDrop { name, what });
        }
        unwind::drop_quietly(payload);
    }
}
