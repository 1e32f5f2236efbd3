//! Which functions lie at which places in the code.

use std::collections::HashMap;

use super::StackFrame;

/// What has been looked up so far.
#[derive(Default)]
pub(in crate::runtime::diagnosis) struct Symbols {
    known: HashMap<usize, Vec<StackFrame>>,
}

/// Where the running code is, and its callers, the innermost first: as many as are needed to leave this crate.
#[cfg(debug_assertions)]
pub(in crate::runtime::diagnosis) fn running() -> Vec<usize> {
    const DEEPEST: usize = 64;
    let mut calls = Vec::new();
    backtrace::trace(|frame| {
        calls.push(frame.ip().addr());
        calls.len() < DEEPEST
    });
    calls
}

impl Symbols {
    /// The functions of a task, without what is only machinery: what the outermost wait of this crate does below it, and what
    /// starts the task's closure.
    pub(in crate::runtime::diagnosis) fn frames(&mut self, calls: &[usize]) -> Vec<StackFrame> {
        let mut frames = Vec::new();
        for &place in calls {
            frames.extend_from_slice(self.at(place));
        }
        if let Some(first) = frames.iter().position(|frame| !frame.is_ours()) {
            let outermost_wait = frames[..first].iter().rposition(|frame| frame.function.contains("osier::"));
            frames.drain(..outermost_wait.unwrap_or(0));
        }
        if let Some(last) = frames.iter().rposition(|frame| !frame.is_ours()) {
            frames.truncate(last + 1);
        }
        frames
    }

    /// The functions at a place, the innermost first: several, if some were inlined into others.
    fn at(&mut self, place: usize) -> &[StackFrame] {
        self.known.entry(place).or_insert_with(|| {
            let mut frames = Vec::new();
            backtrace::resolve(std::ptr::without_provenance_mut(place), |symbol| {
                let function = symbol.name().map(|name| format!("{name:#}"));
                frames.push(StackFrame {
                    function: function.unwrap_or_else(|| format!("{place:#x}")),
                    file: symbol.filename().map(|file| file.display().to_string()),
                    line: symbol.lineno(),
                });
            });
            if frames.is_empty() {
                frames.push(StackFrame { function: format!("{place:#x}"), file: None, line: None });
            }
            frames
        })
    }
}
