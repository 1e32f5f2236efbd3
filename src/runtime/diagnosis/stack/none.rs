//! What stands for the walker where stacks cannot be walked.

use super::StackFrame;
use crate::coroutine::Registers;

pub(in crate::runtime::diagnosis) struct Walker(());

impl Walker {
    pub(in crate::runtime::diagnosis) fn new() -> Self {
        Self(())
    }

    /// # Safety
    /// - None here.
    pub(in crate::runtime::diagnosis) unsafe fn walk(&mut self, from: Registers) -> Vec<usize> {
        // Where there are registers, but no tables.
        _ = (from.instruction, from.stack, from.frame);
        Vec::new()
    }
}

/// Where the running code is, and its callers.
#[cfg(debug_assertions)]
pub(in crate::runtime::diagnosis) fn running() -> Vec<usize> {
    Vec::new()
}

#[derive(Default)]
pub(in crate::runtime::diagnosis) struct Symbols(());

impl Symbols {
    pub(in crate::runtime::diagnosis) fn frames(&mut self, _calls: &[usize]) -> Vec<StackFrame> {
        Vec::new()
    }
}
