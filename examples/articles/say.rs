//! Printing that can be looked at afterwards.

use std::sync::{Mutex, PoisonError};

static SAID: Mutex<Vec<String>> = Mutex::new(Vec::new());

/// `println!`, of which a test gets a copy. One line at a time, from whatever thread.
macro_rules! say {
    ($($text:tt)*) => { $crate::say::line(format!($($text)*)) };
}

pub(crate) fn line(text: String) {
    let mut said = SAID.lock().unwrap_or_else(PoisonError::into_inner);
    println!("{text}");
    said.push(text);
}

/// Takes out what has been printed since the last time.
pub(crate) fn take() -> Vec<String> {
    std::mem::take(&mut *SAID.lock().unwrap_or_else(PoisonError::into_inner))
}
