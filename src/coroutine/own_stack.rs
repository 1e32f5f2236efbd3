//! The stack that the system made this thread with, or that a worker's task runs on, word by word.
//!
//! Whoever was called by some function has that function's return address above: somewhere between the stack pointer and the
//! stack's end. So where no word there is such an address, nobody was called from there. The reverse does not hold: a word
//! may be left over, or be a number. It takes a twentieth of what an unwinder takes for the same frames: `arch-notes/coroutines.md`
//! has the numbers.
//!
//! Elsewhere than on x86-64 Linux with glibc, and where valgrind looks on (it takes reading what nobody has written for a
//! mistake), the answer is always that it may be.

#![cfg_attr(
    not(all(target_os = "linux", target_env = "gnu", target_arch = "x86_64", not(any(miri, osier_threads)))),
    allow(dead_code, reason = "nobody asks, or nothing is known")
)]

use super::current;
use crate::stack;

/// What is known of the running thread's stack.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum OwnStack {
    /// Nobody has asked yet.
    Unasked,
    /// The system does not tell, or nobody may read it.
    Unknown,
    Known {
        lowest: usize,
        end: usize,
    },
}

/// From further away than this from the stack's end nothing is read: it would be large buffers, which cost an unwinder nothing.
const MOST: usize = 64 * 1024;
// So whoever runs on another stack, a borrowed one say, is further away from a carrier's frame: a guard and a stack lie below
// that.
const _: () = assert!(MOST < stack::LEAST_GUARD + stack::MIN_STACK_SIZE);

/// Whether the caller may have been called, over any number of frames, from a function that begins at `function` and has at
/// most `length` bytes; where the caller runs in a worker's task, from one that runs in that task.
pub(super) fn may_return_into(function: usize, length: usize) -> bool {
    let here = 0_usize;
    let here = (&raw const here).addr();
    let end = match known() {
        OwnStack::Known { lowest, end } if (lowest..end).contains(&here) => end,
        OwnStack::Known { .. } => end_of_task(),
        _ => return true,
    };
    if !(here..here + MOST).contains(&end) {
        return true;
    }
    // SAFETY: from a frame that runs to the end of its stack everything is mapped; both are multiples of 8.
    unsafe { imp::holds(here..end, function, length) }
}

/// Where the frames of the running task end, which the loop of a worker's thread has resumed, and which itself runs; else 0.
/// Nobody else resumes a base where no frame is current: a join in place has one.
#[cfg(feature = "runtime")]
fn end_of_task() -> usize {
    // Regions are opened by those below them.
    let innermost = current::chain().find(|frame| !frame.is_region());
    match innermost {
        // The frame lies above the task's, on the same stack.
        Some(frame) if frame.is_base() && frame.resumer.get().is_null() && current::is_worker_vouched_for() => {
            std::ptr::from_ref(frame).addr()
        }
        _ => 0,
    }
}

#[cfg(not(feature = "runtime"))]
fn end_of_task() -> usize {
    0
}

/// Asks the system the first time: on the main thread glibc reads all mappings, 10 ms with 30 000 of them.
fn known() -> OwnStack {
    current::THREAD.with(|thread| {
        if thread.own_stack.get() == OwnStack::Unasked {
            thread.own_stack.set(imp::ask());
        }
        thread.own_stack.get()
    })
}

#[cfg(all(
    target_arch = "x86_64",
    target_pointer_width = "64",
    target_os = "linux",
    target_env = "gnu",
    not(any(miri, osier_threads))
))]
mod imp {
    use std::arch::asm;
    use std::mem::MaybeUninit;
    use std::ops::Range;
    use std::ptr;

    use super::OwnStack;

    /// Whether one of the words in a range of memory is an address in a function, behind its beginning: that itself lies about
    /// in our own frames, and no call returns to it.
    ///
    /// # Safety
    /// - The memory can be read, begins and ends at multiples of 8, and is not empty.
    pub(super) unsafe fn holds(words: Range<usize>, function: usize, length: usize) -> bool {
        let found: usize;
        // SAFETY: it only reads what can be read. Others' frames, and what they have never written, are nothing that the
        // language lets anybody look at, so the machine does.
        unsafe {
            asm!(
                "2:",
                "mov {word}, [{at}]",
                "add {word}, {away}",
                "cmp {word}, {length}",
                "jb 3f",
                "add {at}, 8",
                "cmp {at}, {end}",
                "jb 2b",
                "3:",
                word = out(reg) found,
                at = inout(reg) words.start => _,
                // Not as it is, for the same reason.
                away = in(reg) !function,
                length = in(reg) length - 1,
                end = in(reg) words.end,
                options(nostack, readonly),
            );
        }
        found < length - 1
    }

    #[cold]
    pub(super) fn ask() -> OwnStack {
        if is_under_valgrind() {
            return OwnStack::Unknown;
        }
        let mut attributes = MaybeUninit::uninit();
        let (mut lowest, mut size) = (ptr::null_mut(), 0);
        // SAFETY: the attributes are read and destroyed only if they were made; the results are ours to write.
        let is_told = unsafe {
            libc::pthread_getattr_np(libc::pthread_self(), attributes.as_mut_ptr()) == 0 && {
                let told = libc::pthread_attr_getstack(attributes.as_ptr(), &raw mut lowest, &raw mut size);
                libc::pthread_attr_destroy(attributes.as_mut_ptr());
                told == 0
            }
        };
        // Whole words.
        let end = (lowest.addr() + size) & !7;
        if is_told { OwnStack::Known { lowest: lowest.addr(), end } } else { OwnStack::Unknown }
    }

    /// Whether valgrind runs this program: its own request, which does nothing on a processor (`RUNNING_ON_VALGRIND` in
    /// valgrind 3.19's `valgrind.h`).
    fn is_under_valgrind() -> bool {
        const RUNNING_ON_VALGRIND: u64 = 0x1001;
        let request = [RUNNING_ON_VALGRIND, 0, 0, 0, 0, 0];
        let answer: u64;
        // SAFETY: turns a register by 128 bits in all, and exchanges another one with itself.
        unsafe {
            asm!(
                "rol rdi, 3",
                "rol rdi, 13",
                "rol rdi, 61",
                "rol rdi, 51",
                "xchg rbx, rbx",
                inout("rdx") 0_u64 => answer,
                in("rax") request.as_ptr(),
                inout("rdi") 0_u64 => _,
                options(nostack),
            );
        }
        answer != 0
    }

    #[cfg(test)]
    mod tests {
        use std::hint::black_box;

        use super::super::may_return_into;

        #[inline(never)]
        fn asks(deeper: u32, functions: &[usize]) -> Vec<bool> {
            let answers = match deeper {
                0 => functions.iter().map(|&function| may_return_into(function, 16)).collect(),
                _ => asks(deeper - 1, functions),
            };
            black_box(answers)
        }

        // Whose body is short, so that the call lies in its first bytes.
        #[inline(never)]
        extern "C" fn calls(f: extern "C" fn()) {
            f();
            black_box(());
        }

        thread_local! {
            static ANSWERS: std::cell::RefCell<Vec<bool>> = const { std::cell::RefCell::new(Vec::new()) };
        }

        extern "C" fn inner() {
            let calls = (calls as extern "C" fn(extern "C" fn()) as *const ()).addr();
            // The second is a function that nobody has called.
            let never = (never as extern "C" fn() as *const ()).addr();
            ANSWERS.set([0, 20].iter().flat_map(|&deeper| asks(deeper, &[calls, never])).collect());
        }

        extern "C" fn never() {
            black_box(1);
        }

        #[test]
        fn callers_are_seen_and_nobody_else() {
            calls(black_box(inner));
            assert_eq!(ANSWERS.take(), [true, false, true, false]);
        }
    }
}

#[cfg(not(all(
    target_arch = "x86_64",
    target_pointer_width = "64",
    target_os = "linux",
    target_env = "gnu",
    not(any(miri, osier_threads))
)))]
mod imp {
    use std::ops::Range;

    use super::OwnStack;

    // Safety: nothing is read.
    pub(super) unsafe fn holds(_words: Range<usize>, _function: usize, _length: usize) -> bool {
        true
    }

    pub(super) fn ask() -> OwnStack {
        OwnStack::Unknown
    }
}
