//! The frames of a task that is suspended, read from outside.
//!
//! # Rooms
//! - `tables`: what the program and its libraries say of their functions' frames: the tables that exceptions are unwound by.
//! - `walk`: from frame to frame, over all stacks that are parked with the task.
//! - `symbols`: which functions those are.
//!
//! Without the feature `backtrace`, and where the system has no such tables, stacks are empty.

#[cfg(all(feature = "backtrace", target_os = "linux", any(target_arch = "x86_64", target_arch = "aarch64")))]
mod imp {
    pub(in crate::runtime::diagnosis) use super::symbols::Symbols;
    #[cfg(debug_assertions)]
    pub(in crate::runtime::diagnosis) use super::symbols::running;
    pub(in crate::runtime::diagnosis) use super::walk::Walker;
}
#[cfg(all(feature = "backtrace", target_os = "linux", any(target_arch = "x86_64", target_arch = "aarch64")))]
mod symbols;
#[cfg(all(feature = "backtrace", target_os = "linux", any(target_arch = "x86_64", target_arch = "aarch64")))]
mod tables;
#[cfg(all(feature = "backtrace", target_os = "linux", any(target_arch = "x86_64", target_arch = "aarch64")))]
mod walk;

#[cfg(not(all(feature = "backtrace", target_os = "linux", any(target_arch = "x86_64", target_arch = "aarch64"))))]
#[path = "none.rs"]
mod imp;

#[cfg(debug_assertions)]
pub(super) use imp::running;
pub(super) use imp::{Symbols, Walker};

/// A function that a task is in.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub struct StackFrame {
    /// Its path, or its address if the program has no symbols.
    pub function: String,
    /// The source file, if the program has debug info.
    pub file: Option<String>,
    /// The line in that file.
    pub line: Option<u32>,
}

impl StackFrame {
    /// Whether it is one of this crate's, or of what it stands on.
    pub(super) fn is_ours(&self) -> bool {
        // An inlined function has a name without a path; but its file is known then.
        let sources = concat!(env!("CARGO_MANIFEST_DIR"), "/src/");
        if self.file.as_deref().is_some_and(|file| std::path::Path::new(file).starts_with(sources)) {
            return true;
        }
        let path = self.function.trim_start_matches('<').trim_start_matches("dyn ");
        // A method of a trait: `<osier::Type as core::Trait>::method`.
        ["osier::", "corosensei::", "stack_init_trampoline"].iter().any(|ours| path.starts_with(ours))
            || (["core::", "std::", "alloc::", "__rust", "_R"].iter().any(|std| path.starts_with(std)))
    }
}
