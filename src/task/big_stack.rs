//! Deep calls, on a stack that is lent for them.

use std::panic::Location;

use super::raw::RawTask;
use crate::coroutine::region::no_suspend_at;
use crate::coroutine::{on_big_stack, unwind};

/// Runs `f`, which does not wait, on a big stack: of [`BIG_STACK_SIZE`](crate::stack::BIG_STACK_SIZE) bytes, which each worker
/// keeps for the next call.
///
/// For deep recursion and for libraries with large frames, in tasks whose own stacks are small. It costs about as much as
/// a few calls, and no task needs a [`stack_size`](super::Builder::stack_size) for the deepest that it may ever go. Since `f`
/// cannot wait, one such stack serves all tasks of a worker. On a stack that is as large already, `f` runs right there; on
/// a plain thread it gets one as well.
///
/// # Panics
/// If `f` waits, yields or switches, as inside [`no_suspend`](crate::no_suspend). With `f`'s panic; exceptions and exits pass,
/// too. If the system has no memory for the stack.
///
/// # Examples
/// ```
/// use osier::{run, task::with_big_stack};
///
/// fn depth(levels: u32) -> u32 {
///     let frame = std::hint::black_box([1_u8; 1024]);
///     if levels == 0 { 0 } else { depth(levels - 1) + u32::from(frame[7]) }
/// }
/// // Three megabytes of frames and more.
/// assert_eq!(run(|| with_big_stack(|| depth(3_000))), 3_000);
/// ```
#[track_caller]
pub fn with_big_stack<T>(f: impl FnOnce() -> T) -> T {
    let name = match RawTask::current() {
        Some(task) => format!("{}, on a big stack", task.header().name),
        None => String::from("a thread's big stack"),
    };
    // What unwinds crosses from stack to stack as a value.
    no_suspend_at(Location::caller(), || match on_big_stack(&name, || unwind::intercept(f)) {
        Ok(Ok(value)) => value,
        Ok(Err(payload)) => unwind::throw(payload),
        Err(error) => panic!("{error}"),
    })
}
