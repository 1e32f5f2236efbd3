//! Stacks: what overflows says so and dies, what cannot be had is an error, and what is given back is used again.
//!
//! Programs that end their process run in one of their own: see `in_a_process_of_its_own`.

mod common;

use std::hint::black_box;

use common::{assert_died_of, assert_ended_well, panic_text, program, run_program, stderr, watch};
use osier::generator::{ResumeError, State};
use osier::stack::{self, DEFAULT_STACK_SIZE, MIN_STACK_SIZE};
use osier::{Generator, Greenlet, Yielder};

/// The programs. Each is run by a test below, which looks at how the process ended.
#[test]
fn in_a_process_of_its_own() {
    let Some(program) = program() else { return };
    let _watch = watch();
    match program.as_str() {
        "generator overflows" => _ = overflowing_generator("deep-generator").next(),
        "generator overflows after others" => generator_overflows_after_others(),
        "recycled stack overflows" => recycled_stack_overflows(),
        "stack from the depot overflows" => stack_from_the_depot_overflows(),
        "inner generator overflows" => inner_generator_overflows(),
        "greenlet overflows" => _ = overflowing_greenlet().switch(0),
        "null write" => _ = generator("null-writer", 0, |_| null_write()).next(),
        "null write with a handler before" => {
            install_user_handler();
            _ = generator("null-writer", 0, |_| null_write()).next();
        }
        "overflow with a handler before" => {
            install_user_handler();
            _ = overflowing_generator("deep-generator").next();
        }
        "plain thread overflows" => {
            assert_eq!(generator("first", 0, |y| y.yield_(1)).next(), Some(1));
            let thread = std::thread::Builder::new().name("plain-thread".to_owned());
            _ = thread.spawn(|| eat::<256>(0)).unwrap().join();
        }
        "handler after" => {
            generator("first", 0, |y| y.yield_(1)).next();
            install_user_handler();
            _ = generator("null-writer", 0, |_| null_write()).next();
        }
        "overflow with a handler after that passes on" => {
            generator("first", 0, |y| y.yield_(1)).next();
            install_passing_handler();
            _ = overflowing_generator("deep-generator").next();
        }
        "locked memory" => locked_memory(),
        "no marks for guards" => no_marks_for_guards(),
        "no mapping left" => no_mapping_left(),
        "wide characters on a small stack" => wide_characters_on_a_small_stack(),
        "many stacks come and go" => many_stacks_come_and_go(),
        "panics on small stacks" => panics_on_small_stacks(),
        "panics with little left" => panics_with_little_left(),
        "no address space for generators" => no_address_space_for_generators(),
        other => {
            if let Some(left) = other.strip_prefix("foreign frames with ") {
                foreign_frames(left);
            } else if let Some(size) = other.strip_prefix("frames of ") {
                overflow_with_frames_of(size.parse().unwrap());
            } else {
                runtime_program(other);
            }
        }
    }
}

// ---- overflows

/// Calls itself until the stack ends; each frame holds `SIZE` bytes, touched from the far end.
#[inline(never)]
#[allow(clippy::large_stack_arrays, clippy::large_stack_frames, reason = "large frames are what is tested")]
fn eat<const SIZE: usize>(depth: u64) -> u64 {
    let mut frame = [0_u8; SIZE];
    black_box(&mut frame)[0] = 1;
    let below = if black_box(depth) == u64::MAX { 0 } else { eat::<SIZE>(depth + 1) };
    below + u64::from(black_box(&frame)[SIZE - 1])
}

/// A named generator with `stack_size` bytes of stack, or the default for 0.
fn generator(name: &'static str, stack_size: usize, body: impl FnOnce(&Yielder<u64>) + 'static) -> Generator<u64> {
    let builder = Generator::<u64>::builder(body).name(name);
    if stack_size == 0 { builder.build() } else { builder.stack_size(stack_size).build() }
}

fn overflowing_generator(name: &'static str) -> Generator<u64> {
    generator(name, 64 * 1024, |y| y.yield_(eat::<64>(0)))
}

fn overflowing_greenlet() -> Greenlet<u64> {
    Greenlet::builder(|n| n + eat::<64>(0)).name("deep-greenlet").stack_size(64 * 1024).build()
}

fn generator_overflows_after_others() {
    let mut others: Vec<_> =
        (0..10).map(|_| generator("another", 64 * 1024, |y| (0..u64::MAX).for_each(|n| y.yield_(n)))).collect();
    let mut deep = generator("deep-generator", 64 * 1024, |y| {
        (0..3).for_each(|n| y.yield_(n));
        y.yield_(eat::<64>(0));
    });
    for n in 0..4 {
        others.iter_mut().for_each(|other| assert_eq!(other.next(), Some(n)));
        assert_eq!(deep.next(), Some(n));
    }
}

// H30
fn recycled_stack_overflows() {
    for n in 0..100_000 {
        assert_eq!(generator("short-lived", 64 * 1024, move |y| y.yield_(n)).next(), Some(n));
    }
    _ = overflowing_generator("deep-generator").next();
}

// H30: a stack that has gone through the depot, where it gave its pages back.
fn stack_from_the_depot_overflows() {
    const SIZE: usize = 64 * 1024;
    let crowd = |count| {
        let mut all: Vec<_> = (0..count).map(|_| painted(SIZE)).collect();
        all.iter_mut().for_each(|g| assert_eq!(g.next(), Some(0)));
        all
    };
    drop(crowd(4000));
    let cut = stack::usage();
    // More than a thread keeps: the others come from the depot, and so does the next one.
    let _crowd = crowd(3000);
    let mut deep = generator("deep-generator", SIZE, |y| {
        y.yield_(0);
        y.yield_(eat::<64>(0));
    });
    assert_eq!((deep.next(), stack::usage()), (Some(0), cut));
    deep.next();
}

fn inner_generator_overflows() {
    let mut outer = generator("outer-generator", 0, |y| {
        for item in overflowing_generator("deep-generator") {
            y.yield_(item);
        }
    });
    outer.next();
}

fn overflow_with_frames_of(size: usize) {
    // Neighbours on both sides. The deepest frame, of any size, ends in the guard: they are looked at by who hears of that.
    let mut neighbours: Vec<_> = (0..2).map(|_| painted(64 * 1024)).collect();
    let mut deep = generator("deep-generator", 64 * 1024, move |y| {
        y.yield_(0);
        y.yield_(eat_frames_of(size));
    });
    assert_eq!(deep.next(), Some(0));
    neighbours.extend((0..2).map(|_| painted(64 * 1024)));
    assert!(neighbours.iter_mut().all(|n| n.next() == Some(0)));
    NEIGHBOURS.set(neighbours);
    when_aborted(|| {
        let changed: u64 = NEIGHBOURS.take().iter_mut().map(|n| n.next().unwrap()).sum();
        eprintln!("{changed} bytes of neighbours have changed");
    });
    deep.next();
}

thread_local! {
    static NEIGHBOURS: std::cell::Cell<Vec<Generator<u64>>> = const { std::cell::Cell::new(Vec::new()) };
}

/// Runs `f` when this process is aborted. Not as handlers should be, but here nothing runs meanwhile.
fn when_aborted(f: fn()) {
    static THEN: std::sync::OnceLock<fn()> = std::sync::OnceLock::new();
    extern "C" fn handler(_: libc::c_int) {
        // SAFETY: a second one ends the process.
        unsafe { libc::signal(libc::SIGABRT, libc::SIG_DFL) };
        THEN.get().unwrap()();
    }
    assert!(THEN.set(f).is_ok());
    // Room for two handlers, one on top of the other, and what this one calls.
    let room = Vec::leak(vec![0_u8; 256 * 1024]);
    let stack = libc::stack_t { ss_sp: room.as_mut_ptr().cast(), ss_flags: 0, ss_size: room.len() };
    // SAFETY: the memory is nobody else's, for ever.
    assert_eq!(unsafe { libc::sigaltstack(&raw const stack, std::ptr::null_mut()) }, 0);
    // SAFETY: the handler has the signature that `signal` demands.
    unsafe { libc::signal(libc::SIGABRT, handler as *const () as libc::sighandler_t) };
}

fn eat_frames_of(size: usize) -> u64 {
    macro_rules! with {
        ($($size:literal)*) => {
            match size {
                $($size => eat::<$size>(0),)*
                _ => panic!("no frames of {size}"),
            }
        };
    }
    with!(64 500 1000 4095 4096 4097 10000 33000 65536 100000 1048576)
}

/// Asserts that a program wrote one message that names the coroutine and its stack, and was aborted.
#[track_caller]
fn assert_overflowed(program: &str, name: &str, kib: usize) -> std::process::Output {
    let _watch = watch();
    let output = run_program(program);
    let err = stderr(&output);
    assert_died_of(&output, libc::SIGABRT);
    assert!(err.contains(&format!("coroutine '{name}' overflowed its {kib} KiB stack")), "{err}");
    assert_eq!(err.matches("overflowed").count(), 1, "{err}");
    assert!(err.contains("hint:"), "{err}");
    output
}

// H24
#[test]
fn an_overflowing_generator_is_named() {
    assert_overflowed("generator overflows", "deep-generator", 64);
}

// H24
#[test]
fn an_overflowing_greenlet_is_named() {
    assert_overflowed("greenlet overflows", "deep-greenlet", 64);
}

// H24
#[test]
fn an_overflowing_generator_is_named_among_others() {
    assert_overflowed("generator overflows after others", "deep-generator", 64);
}

// H24
#[test]
fn an_overflowing_generator_inside_a_generator_is_named() {
    assert_overflowed("inner generator overflows", "deep-generator", 64);
}

// H30
#[test]
fn a_stack_used_many_times_is_still_guarded() {
    assert_overflowed("recycled stack overflows", "deep-generator", 64);
}

// H30
#[test]
fn a_stack_whose_pages_were_given_back_is_still_guarded() {
    assert_overflowed("stack from the depot overflows", "deep-generator", 64);
}

// H25
#[test]
fn frames_of_any_size_meet_the_guard() {
    for size in [64, 500, 1000, 4095, 4096, 4097, 10_000, 33_000, 65_536, 100_000, 1_048_576] {
        let output = assert_overflowed(&format!("frames of {size}"), "deep-generator", 64);
        let err = stderr(&output);
        assert!(err.contains("\n0 bytes of neighbours have changed"), "{err}");
    }
}

// H26: glibc's wide printf has an unprobed frame of 33 KiB, twice this stack.
fn wide_characters_on_a_small_stack() {
    unsafe extern "C" {
        fn swprintf(to: *mut libc::wchar_t, length: usize, format: *const libc::wchar_t, ...) -> libc::c_int;
    }
    let mut g = generator("prints-wide", MIN_STACK_SIZE, |y| {
        let format: Vec<libc::wchar_t> = "%d %f\0".chars().map(|c| c as libc::wchar_t).collect();
        let mut to = vec![0; 100];
        // SAFETY: both pointers are to as many characters as said, the format ends with a zero, and the arguments are
        // of the types that it names.
        let length = unsafe { swprintf(to.as_mut_ptr(), to.len(), format.as_ptr(), 7_i32, 0.5_f64) };
        y.yield_(u64::try_from(length).unwrap());
    });
    assert_eq!(g.next(), Some(10));
}

// H26
#[test]
fn an_unprobed_frame_of_c_meets_the_guard_or_fits() {
    let _watch = watch();
    let output = run_program("wide characters on a small stack");
    if !output.status.success() {
        assert_overflowed("wide characters on a small stack", "prints-wide", MIN_STACK_SIZE / 1024);
    }
}

/// Uses up the stack of a coroutine until `left` bytes are left of it, then calls `f`.
#[inline(never)]
fn with_left(top: usize, size: usize, left: usize, f: &mut dyn FnMut()) -> u64 {
    let frame = black_box([1_u8; 64]);
    if top - (&raw const frame).addr() + left < size {
        return with_left(top, size, left, f) + u64::from(black_box(&frame)[0]);
    }
    f();
    u64::from(black_box(&frame)[0])
}

/// Moves the stack pointer down by 60 KiB without a look at what lies between, as `alloca` in C does, and writes there.
#[cfg(target_arch = "x86_64")]
fn take_60_kib_at_once() {
    // SAFETY: none where there is less stack than that: the process dies of it, and that is the test. Else the bytes are
    // below every frame, and the stack pointer is put back.
    unsafe {
        std::arch::asm!(
            "mov {kept}, rsp",
            "sub rsp, 61440",
            "mov byte ptr [rsp], 1",
            "mov rsp, {kept}",
            kept = out(reg) _,
        );
    }
}

/// Calls of C with large frames, with hardly any stack left: `what` is the call, and the bytes.
fn foreign_frames(what: &str) {
    const SIZE: usize = 64 * 1024;
    let (call, left) = what.split_once(' ').unwrap();
    let (call, left): (String, usize) = (call.to_owned(), left.parse().unwrap());
    let mut g = generator("calls-c", SIZE, move |y| {
        let top = (&raw const y).addr();
        let mut call = || match &*call {
            "fnmatch" => {
                // SAFETY: both are strings that end with a zero.
                assert_eq!(unsafe { libc::fnmatch(c"*[a-z]?b*".as_ptr(), c"some text with a b".as_ptr(), 0) }, 0);
            }
            "getaddrinfo" => {
                let mut found = std::ptr::null_mut();
                // SAFETY: the name ends with a zero, and the result is written to `found`.
                unsafe { libc::getaddrinfo(c"localhost".as_ptr(), std::ptr::null(), std::ptr::null(), &raw mut found) };
            }
            #[cfg(target_arch = "x86_64")]
            "alloca" => take_60_kib_at_once(),
            other => panic!("no call '{other}'"),
        };
        y.yield_(with_left(top, SIZE, left, &mut call));
    });
    // Neighbours on both sides, which must stay as they are.
    let mut neighbours: Vec<_> = (0..4).map(|_| painted(SIZE)).collect();
    assert!(neighbours.iter_mut().all(|n| n.next() == Some(0)));
    assert!(g.next().unwrap() > 0);
    let changed: u64 = neighbours.iter_mut().map(|n| n.next().unwrap()).sum();
    assert_eq!(changed, 0, "bytes of neighbours were overwritten");
}

/// A generator that paints the upper part of its stack, and then says how many bytes of it have changed.
#[allow(clippy::large_stack_arrays, clippy::large_stack_frames, reason = "it is the stack that is looked at")]
fn painted(size: usize) -> Generator<u64> {
    generator("painted", size, |y| {
        let paint = black_box([0xA5_u8; 16 * 1024]);
        y.yield_(0);
        y.yield_(black_box(&paint).iter().filter(|&&byte| byte != 0xA5).count() as u64);
    })
}

// H26: C that takes much stack, with hardly any left, runs into the guard or fits; it never reaches the neighbour.
#[test]
fn calls_of_c_with_hardly_any_stack_left_meet_the_guard_or_fit() {
    let _watch = watch();
    let calls: &[_] = if cfg!(target_arch = "x86_64") { &["fnmatch", "getaddrinfo", "alloca"] } else { &["fnmatch"] };
    for call in calls {
        for left in [700, 2000, 30_000] {
            let program = format!("foreign frames with {call} {left}");
            let output = run_program(&program);
            assert!(*call != "alloca" || !output.status.success(), "60 KiB fit into {left} bytes");
            if output.status.success() {
                assert_ended_well(&output);
            } else {
                assert_died_of(&output, libc::SIGABRT);
                assert!(stderr(&output).contains("coroutine 'calls-c' overflowed"), "{program}: {}", stderr(&output));
            }
        }
    }
}

fn null_write() {
    // SAFETY: none; the process dies of it, and that is the test.
    unsafe { black_box(std::ptr::null_mut::<u8>()).write_volatile(1) };
}

/// A handler for `SIGSEGV` that a program may have: it says so and ends the process with code 42.
fn install_user_handler() {
    extern "C" fn handler(_: libc::c_int, info: *mut libc::siginfo_t, _: *mut libc::c_void) {
        let text = b"the user's handler\n";
        // SAFETY: the kernel passes a valid `siginfo_t`; `write` and `_exit` may be called in a handler.
        unsafe {
            assert_eq!((*info).si_addr().addr(), 0);
            libc::write(2, text.as_ptr().cast(), text.len());
            libc::_exit(42);
        }
    }
    // SAFETY: all zeroes is a valid `sigaction`, and the handler has the signature that SA_SIGINFO demands.
    unsafe {
        let mut action: libc::sigaction = std::mem::zeroed();
        action.sa_sigaction = handler as *const () as usize;
        action.sa_flags = libc::SA_SIGINFO | libc::SA_ONSTACK;
        assert_eq!(libc::sigaction(libc::SIGSEGV, &raw const action, std::ptr::null_mut()), 0);
    }
}

// H27
#[test]
fn a_null_write_in_a_coroutine_dies_as_it_does_elsewhere() {
    let _watch = watch();
    let output = run_program("null write");
    assert_died_of(&output, libc::SIGSEGV);
    assert!(!stderr(&output).contains("overflowed"), "{}", stderr(&output));
}

// H27
#[test]
fn a_handler_that_was_there_before_gets_what_is_not_ours() {
    let _watch = watch();
    let output = run_program("null write with a handler before");
    assert_eq!(output.status.code(), Some(42), "{}", stderr(&output));
    assert!(stderr(&output).contains("the user's handler"), "{}", stderr(&output));
    assert_overflowed("overflow with a handler before", "deep-generator", 64);
}

/// A handler as a crash reporter installs one: it says so, puts back who was there before, and lets the fault repeat.
fn install_passing_handler() {
    use std::sync::atomic::{AtomicPtr, Ordering};
    static BEFORE: AtomicPtr<libc::sigaction> = AtomicPtr::new(std::ptr::null_mut());
    extern "C" fn handler(signal: libc::c_int) {
        let text = b"the crash reporter\n";
        // SAFETY: `write` and `sigaction` may be called in a handler; what was there before was kept below.
        unsafe {
            libc::write(2, text.as_ptr().cast(), text.len());
            libc::sigaction(signal, BEFORE.load(Ordering::Acquire), std::ptr::null_mut());
        }
    }
    // SAFETY: all zeroes is a valid `sigaction`, and the handler has the signature that is wanted without SA_SIGINFO.
    unsafe {
        let before: *mut libc::sigaction = Box::into_raw(Box::new(std::mem::zeroed()));
        BEFORE.store(before, Ordering::Release);
        let mut action: libc::sigaction = std::mem::zeroed();
        action.sa_sigaction = handler as *const () as usize;
        action.sa_flags = libc::SA_ONSTACK;
        assert_eq!(libc::sigaction(libc::SIGSEGV, &raw const action, before), 0);
    }
}

// H27
#[test]
fn a_handler_that_came_later_speaks_first_and_may_pass_on() {
    let _watch = watch();
    let output = run_program("handler after");
    assert_eq!(output.status.code(), Some(42), "{}", stderr(&output));
    assert_overflowed("overflow with a handler after that passes on", "deep-generator", 64);
    let output = run_program("overflow with a handler after that passes on");
    assert!(stderr(&output).contains("the crash reporter"), "{}", stderr(&output));
}

// H27
#[test]
fn an_overflow_of_a_plain_thread_is_still_stds_to_report() {
    let _watch = watch();
    let output = run_program("plain thread overflows");
    assert_died_of(&output, libc::SIGABRT);
    let err = stderr(&output);
    assert!(err.contains("'plain-thread'") && err.contains("has overflowed its stack"), "{err}");
    assert!(!err.contains("coroutine"), "{err}");
}

// ---- many

/// KiB of this process in memory.
fn resident() -> usize {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with("VmRSS:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}

fn many_stacks_come_and_go() {
    const COUNT: usize = 20_000;
    let round_of = |count| {
        let mut all: Vec<_> =
            std::iter::repeat_with(|| generator("one-of-many", 0, |y| y.yield_(1))).take(count).collect();
        all.iter_mut().for_each(|g| assert_eq!(g.next(), Some(1)));
        (resident(), stack::usage(), common::count_in_proc("maps"))
    };
    let round = || round_of(COUNT);
    // What few of them need, the program's own pages say, is there already.
    round_of(100);
    stack::trim();
    let before = resident();
    let (most, used, maps) = round();
    let after = resident();
    assert!(most - before > COUNT * 4, "each has touched a page: {before}, {most}");
    assert!(after - before < (most - before) / 5, "KiB resident: {before}, then {most}, then {after}");
    // Those that the thread keeps, and what the allocator does, go when they are told to.
    stack::trim();
    let trimmed = resident();
    assert!(trimmed <= before + before / 10, "KiB resident: {before}, then {most}, then {after}, trimmed {trimmed}");
    // Where a guard splits its mapping there are two for each stack; with the other kind there are a few in all.
    assert!(!(1000..=COUNT).contains(&maps), "{maps} mappings");
    let (again, used_again, maps_again) = round();
    assert_eq!(used_again, used);
    assert!(maps_again <= maps + 8 && again < most + most / 10, "{maps_again} mappings, {again} KiB");
}

#[test]
fn what_many_stacks_used_is_given_back_and_used_again() {
    let _watch = watch();
    assert_ended_well(&run_program("many stacks come and go"));
}

// ---- panics

fn panics_on_small_stacks() {
    for _ in 0..3 {
        let mut g = generator("panics-small", MIN_STACK_SIZE, |_| deep_panic(20));
        assert_eq!(panic_text(|| g.next()), "at the bottom");
    }
    // The hook of a panic within a destructor, and of one in a generator on top of another.
    let mut outer = generator("outer-small", MIN_STACK_SIZE, |y| {
        let mut g = generator("inner-small", MIN_STACK_SIZE, |_| deep_panic(3));
        assert_eq!(panic_text(|| g.next()), "at the bottom");
        y.yield_(1);
        deep_panic(3);
    });
    assert_eq!(outer.next(), Some(1));
    assert_eq!(panic_text(|| outer.next()), "at the bottom");
    #[cfg(feature = "runtime")]
    osier::run(|| {
        let task = osier::task::Builder::new().stack_size(MIN_STACK_SIZE).spawn(|| deep_panic(20));
        assert_eq!(common::text(&*task.join().unwrap_err().into_panic().unwrap()), "at the bottom");
        // Its worker goes on.
        assert_eq!(osier::spawn(|| 7).join().unwrap(), 7);
    });
}

// Stacks that are large, and nearly used up: a hook that needs more than is left must run elsewhere.
fn panics_with_little_left() {
    const SIZE: usize = 256 * 1024;
    let fill = |left| {
        let top = 0_u8;
        with_left((&raw const top).addr(), SIZE, left, &mut || panic!("at the bottom"))
    };
    for left in [14, 18, 24, 30, 40, 64] {
        let mut g = generator("nearly-full", SIZE, move |_| _ = fill(left * 1024));
        assert_eq!(panic_text(|| g.next()), "at the bottom");
        #[cfg(feature = "runtime")]
        osier::run(|| {
            let task = osier::task::Builder::new().stack_size(SIZE).spawn(move || fill(left * 1024));
            assert_eq!(common::text(&*task.join().unwrap_err().into_panic().unwrap()), "at the bottom");
        });
    }
}

// H18
#[test]
fn a_panic_with_a_full_backtrace_fits_on_a_stack_that_is_nearly_full() {
    let _watch = watch();
    let output = common::run_program_with("panics with little left", &[("RUST_BACKTRACE", "full")]);
    assert_ended_well(&output);
    assert!(stderr(&output).matches("stack backtrace:").count() >= 6, "{}", stderr(&output));
}

#[inline(never)]
fn deep_panic(depth: u32) {
    if black_box(depth) == 0 {
        panic!("at the bottom");
    }
    deep_panic(depth - 1);
    black_box(depth);
}

// H18
#[test]
fn a_panic_with_a_full_backtrace_fits_on_the_smallest_stack() {
    let _watch = watch();
    let output = common::run_program_with("panics on small stacks", &[("RUST_BACKTRACE", "full")]);
    assert_ended_well(&output);
    let err = stderr(&output);
    assert!(err.matches("stack backtrace:").count() >= 5, "{err}");
    assert!(err.matches("deep_panic").count() >= 20, "{err}");
}

// ---- exhaustion

/// Leaves this process room for `bytes` more of address space.
fn limit_address_space(bytes: usize) {
    let statm = std::fs::read_to_string("/proc/self/statm").unwrap();
    let pages: usize = statm.split(' ').next().unwrap().parse().unwrap();
    let limit = libc::rlim_t::try_from(pages * 4096 + bytes).unwrap();
    let limit = libc::rlimit { rlim_cur: limit, rlim_max: libc::RLIM_INFINITY };
    // SAFETY: `setrlimit` only reads the struct.
    assert_eq!(unsafe { libc::setrlimit(libc::RLIMIT_AS, &raw const limit) }, 0);
}

const MIB: usize = 1 << 20;

fn no_address_space_for_generators() {
    limit_address_space(64 * MIB);
    let mut suspended = Vec::with_capacity(100);
    let mut refused = loop {
        let mut g = generator("wants-room", MIB, |y| y.yield_(1));
        match g.start() {
            Ok(_) => suspended.push(g),
            Err(ResumeError::NoStack(error)) => {
                assert!(error.to_string().contains("no stack for a coroutine"), "{error}");
                break g;
            }
            Err(other) => panic!("{other}"),
        }
        assert!(suspended.len() < 100);
    };
    assert!(suspended.len() >= 20, "{}", suspended.len());
    // Nothing has changed: it can be tried again, is refused again, and works once another has given its stack back.
    assert_eq!(refused.state(), State::New);
    assert!(matches!(refused.start(), Err(ResumeError::NoStack(_))));
    assert!(panic_text(|| refused.next()).contains("no stack for a coroutine"));
    drop(suspended.pop());
    assert_eq!(refused.by_ref().collect::<Vec<_>>(), [1]);
    suspended.iter_mut().for_each(|g| assert_eq!(g.next(), None));
}

#[test]
fn generators_without_room_are_errors() {
    let _watch = watch();
    assert_ended_well(&run_program("no address space for generators"));
}

// ---- other kinds of guards

/// Runs a generator until its guard stops it, after a few that are well.
fn some_are_well_and_one_overflows() {
    let mut well: Vec<_> = (0..20).map(|_| generator("well", 64 * 1024, |y| y.yield_(1))).collect();
    well.iter_mut().for_each(|g| assert_eq!(g.next(), Some(1)));
    _ = overflowing_generator("deep-generator").next();
}

/// Memory that is locked as it is mapped takes no marks (`EINVAL`), so its guards split the mapping.
fn locked_memory() {
    // SAFETY: it only sets a flag of the process. `MCL_ONFAULT` locks what is touched, not all that is reserved.
    let locked = unsafe { libc::mlockall(libc::MCL_FUTURE | libc::MCL_ONFAULT) };
    assert_eq!(locked, 0, "{}", std::io::Error::last_os_error());
    some_are_well_and_one_overflows();
}

/// Makes the kernel refuse `MADV_GUARD_INSTALL` with `EINVAL`, as kernels before 6.13 do.
#[cfg(target_arch = "x86_64")]
fn forbid_marks() {
    const GUARD_INSTALL: u32 = 102;
    let statement = |code: u32, k: u32| libc::sock_filter { code: u16::try_from(code).unwrap(), jt: 0, jf: 0, k };
    let jump = |k: u32, jf: u8| libc::sock_filter { jf, ..statement(libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K, k) };
    let load = |offset: u32| statement(libc::BPF_LD | libc::BPF_W | libc::BPF_ABS, offset);
    let answer = |what: u32| statement(libc::BPF_RET | libc::BPF_K, what);
    // The call's number lies at 0 of what is looked at, the low half of its third argument at 32.
    let mut filter = [
        load(0),
        jump(u32::try_from(libc::SYS_madvise).unwrap(), 3),
        load(32),
        jump(GUARD_INSTALL, 1),
        answer(libc::SECCOMP_RET_ERRNO | u32::try_from(libc::EINVAL).unwrap()),
        answer(libc::SECCOMP_RET_ALLOW),
    ];
    let program = libc::sock_fprog { len: 6, filter: filter.as_mut_ptr() };
    // SAFETY: the kernel copies the program, which is as long as it says.
    unsafe {
        assert_eq!(libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0), 0);
        assert_eq!(libc::prctl(libc::PR_SET_SECCOMP, libc::SECCOMP_MODE_FILTER, &raw const program), 0);
    }
}

#[cfg(target_arch = "x86_64")]
fn no_marks_for_guards() {
    forbid_marks();
    some_are_well_and_one_overflows();
}

#[cfg(not(target_arch = "x86_64"))]
fn no_marks_for_guards() {
    some_are_well_and_one_overflows();
}

/// Where each guard splits its mapping, there are at some time no more mappings to be had.
#[cfg(target_arch = "x86_64")]
fn no_mapping_left() {
    forbid_marks();
    let most: usize = std::fs::read_to_string("/proc/sys/vm/max_map_count").unwrap().trim().parse().unwrap();
    if most > 100_000 {
        eprintln!("not here: {most} mappings are allowed");
        return;
    }
    let mut suspended = Vec::with_capacity(most);
    let error = loop {
        let mut g = generator("one-of-many", MIN_STACK_SIZE, |y| y.yield_(1));
        match g.start() {
            Ok(_) => suspended.push(g),
            Err(error) => break error,
        }
        assert!(suspended.len() < most);
    };
    assert!(matches!(error, ResumeError::NoStack(_)));
    assert!(error.to_string().contains("vm.max_map_count"), "{error}");
    // The others are well, and a stack that is given back serves again.
    suspended.truncate(most / 8);
    let mut another = generator("another", MIN_STACK_SIZE, |y| y.yield_(2));
    assert_eq!(another.next(), Some(2));
    assert!(suspended.iter_mut().all(|g| g.next().is_none()));
}

#[cfg(not(target_arch = "x86_64"))]
fn no_mapping_left() {}

// H29
#[test]
fn without_marks_in_the_page_tables_stacks_are_guarded_all_the_same() {
    assert_overflowed("no marks for guards", "deep-generator", 64);
    let _watch = watch();
    // A limit of locked memory may forbid to ask for it.
    let output = run_program("locked memory");
    if stderr(&output).contains("memory") && output.status.code() == Some(101) {
        eprintln!("not here: memory cannot be locked");
    } else {
        assert_overflowed("locked memory", "deep-generator", 64);
    }
}

// H29
#[test]
fn without_a_mapping_for_its_guard_a_stack_is_refused() {
    let _watch = watch();
    assert_ended_well(&run_program("no mapping left"));
}

// ---- sizes

#[test]
fn a_stack_has_the_size_that_was_asked_for() {
    // Frames of 1 KiB and what a debug build adds: three quarters of the stack at most.
    fn use_up(bytes: usize) -> u64 {
        #[inline(never)]
        fn go(lowest: usize) -> u64 {
            let frame = black_box([1_u8; 256]);
            let here = (&raw const frame).addr();
            if here < lowest { 1 } else { go(lowest) + u64::from(black_box(&frame)[0]) }
        }
        let top = 0_u8;
        go((&raw const top).addr() - bytes)
    }
    let _watch = watch();
    for size in [MIN_STACK_SIZE, 64 * 1024, DEFAULT_STACK_SIZE, MIB, 16 * MIB] {
        let mut g = generator("uses-much", size, move |y| y.yield_(use_up(size - size / 4 - 2048)));
        assert!(g.next().unwrap() > 1);
    }
    // Less than the least is the least; it is enough to start, to yield and to be unwound.
    let mut least = generator("least", 1, |y| y.yield_(1));
    assert_eq!(least.next(), Some(1));
    assert!(least.close().unwrap().is_none());
}

#[test]
fn stacks_are_counted_and_used_again() {
    let _watch = watch();
    // A size of its own, and a thread of its own: what it gives back is the next thing it gets.
    let size = 48 * 4096;
    let start = move || {
        let mut g = generator("counted", size, |y| y.yield_((&raw const y).addr() as u64));
        let at = g.next().unwrap();
        (g, at)
    };
    std::thread::spawn(move || {
        let (first, second) = (start(), start());
        assert_ne!(first.1, second.1);
        let at = first.1;
        drop(first.0);
        assert_eq!(start().1, at);
        assert!(stack::usage().stacks >= 2 && stack::usage().regions >= 1);
    })
    .join()
    .unwrap();
}

// ---- in tasks

#[cfg(not(feature = "runtime"))]
fn runtime_program(program: &str) {
    panic!("no program '{program}'");
}

#[cfg(feature = "runtime")]
use tasks::runtime_program;

#[cfg(feature = "runtime")]
mod tasks {
    use super::*;
    use crate::common::{FOR_EVER, count_in_proc, ms, until};
    use osier::sync::channel;
    use osier::{Runtime, task};
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::sync::{Arc, Barrier};

    pub(super) fn runtime_program(program: &str) {
        match program {
            "task overflows" => {
                let task = task::Builder::new().name("deep-task").stack_size(96 * 1024);
                _ = task.spawn(|| eat::<64>(0)).join();
            }
            "local task on a foreign thread overflows" => {
                let thread = std::thread::Builder::new().name("foreign".to_owned());
                thread.spawn(local_task_overflows).unwrap().join().unwrap();
            }
            "bursts of tasks" => bursts_of_tasks(),
            "task without a name overflows" => _ = osier::spawn(|| eat::<64>(0)).join(),
            "task overflows after it waited" => {
                let task = task::Builder::new().name("deep-task").stack_size(96 * 1024);
                let deep = task.spawn(|| {
                    osier::sleep(ms(20));
                    eat::<64>(0)
                });
                let others: Vec<_> = (0..100).map(|_| osier::spawn(|| osier::sleep(ms(1)))).collect();
                others.into_iter().for_each(|other| other.join().unwrap());
                _ = deep.join();
            }
            "task joined in place overflows" => {
                let runtime = Runtime::builder().workers(1).build().unwrap();
                runtime.run(|| {
                    let task = task::Builder::new().name("deep-task").stack_size(96 * 1024);
                    _ = task.spawn(|| eat::<64>(0)).join();
                });
            }
            "later task on the same stack overflows" => {
                let runtime = Runtime::builder().workers(1).stack_size(96 * 1024).build().unwrap();
                runtime.run(|| {
                    let named = |name: String| task::Builder::new().name(name);
                    (0..10).for_each(|n| named(format!("short-{n}")).spawn(|| ()).join().unwrap());
                    // Not joined in place: they run one after the other on one carrier.
                    let deep = named("deep-task".to_owned()).spawn(|| eat::<64>(0));
                    let others: Vec<_> = (0..10).map(|n| named(format!("after-{n}")).spawn(|| ())).collect();
                    until(|| others.iter().all(osier::JoinHandle::is_finished));
                    _ = deep.join();
                });
            }
            "generator in a task overflows" => {
                let task = task::Builder::new().name("outer-task");
                let outer = task.spawn(|| {
                    osier::yield_now();
                    overflowing_generator("deep-generator").next()
                });
                _ = outer.join();
            }
            "greenlet in a generator in a task overflows" => {
                let outer = osier::spawn(|| {
                    osier::yield_now();
                    generator("between", 0, |y| y.yield_(overflowing_greenlet().switch(0))).next()
                });
                _ = outer.join();
            }
            "worker 0 overflows" => overflow_on(0),
            "worker 1 overflows" => overflow_on(1),
            "null write in a task" => _ = osier::spawn(null_write).join(),
            "cancelled with little stack left" => cancelled_with_little_stack_left(),
            "no address space for tasks" => no_address_space_for_tasks(),
            "no address space for workers" => no_address_space_for_workers(),
            other => panic!("no program '{other}'"),
        }
    }

    fn local_task_overflows() {
        let local = osier::LocalRuntime::new();
        local.run(|| {
            let task = task::Builder::new().name("deep-task").stack_size(96 * 1024);
            _ = task.spawn_local(|| eat::<64>(0)).join();
        });
    }

    fn overflow_on(worker: usize) {
        let runtime = Runtime::builder().workers(2).build().unwrap();
        let both = Arc::new(Barrier::new(2));
        let tasks: Vec<_> = (0..2)
            .map(|_| {
                let both = both.clone();
                runtime.spawn(move || {
                    // Holds its worker until the other has one too.
                    both.wait();
                    if task::worker() == Some(worker) {
                        overflowing_generator(["on-worker-0", "on-worker-1"][worker]).next();
                    }
                })
            })
            .collect();
        tasks.into_iter().for_each(|task| task.join().unwrap());
    }

    // H24
    #[test]
    fn an_overflowing_task_is_named() {
        assert_overflowed("task overflows", "deep-task", 96);
        assert_overflowed("task overflows after it waited", "deep-task", 96);
        assert_overflowed("task joined in place overflows", "deep-task", 96);
        assert_overflowed("later task on the same stack overflows", "deep-task", 96);
    }

    // H24
    #[test]
    fn an_overflowing_task_without_a_name_is_named_after_its_closure() {
        let _watch = watch();
        let output = run_program("task without a name overflows");
        assert_died_of(&output, libc::SIGABRT);
        let err = stderr(&output);
        let kib = DEFAULT_STACK_SIZE / 1024;
        assert!(err.contains("runtime_program") && err.contains(&format!("overflowed its {kib} KiB stack")), "{err}");
    }

    // H24
    #[test]
    fn an_overflowing_generator_in_a_task_is_named() {
        assert_overflowed("generator in a task overflows", "deep-generator", 64);
    }

    // H24
    #[test]
    fn an_overflowing_greenlet_in_a_generator_in_a_task_is_named() {
        assert_overflowed("greenlet in a generator in a task overflows", "deep-greenlet", 64);
    }

    // H24
    #[test]
    fn an_overflowing_task_of_a_local_runtime_is_named_on_any_thread() {
        assert_overflowed("local task on a foreign thread overflows", "deep-task", 96);
    }

    // H24
    #[test]
    fn an_overflow_is_reported_on_every_worker() {
        assert_overflowed("worker 0 overflows", "on-worker-0", 64);
        assert_overflowed("worker 1 overflows", "on-worker-1", 64);
    }

    // H27
    #[test]
    fn a_null_write_in_a_task_dies_as_it_does_elsewhere() {
        let _watch = watch();
        let output = run_program("null write in a task");
        assert_died_of(&output, libc::SIGSEGV);
        assert!(!stderr(&output).contains("overflowed"), "{}", stderr(&output));
    }

    fn cancelled_with_little_stack_left() {
        #[inline(never)]
        fn go(lowest: usize) -> u64 {
            let frame = black_box([1_u8; 64]);
            if (&raw const frame).addr() > lowest {
                return go(lowest) + u64::from(black_box(&frame)[0]);
            }
            osier::sleep(FOR_EVER);
            0
        }
        for left in (512..8192).step_by(512).rev() {
            let (started, starts) = channel::bounded(1);
            let task = task::Builder::new().name("nearly-full").stack_size(MIN_STACK_SIZE);
            let task = task.spawn(move || {
                let top = 0_u8;
                started.send(()).unwrap();
                go((&raw const top).addr() - MIN_STACK_SIZE + left)
            });
            starts.recv().unwrap();
            task.cancel();
            assert!(task.join().unwrap_err().is_cancelled());
        }
    }

    // H28
    #[test]
    fn a_cancel_with_little_stack_left_works_or_is_an_overflow() {
        let _watch = watch();
        let output = run_program("cancelled with little stack left");
        if !output.status.success() {
            assert_died_of(&output, libc::SIGABRT);
            let err = stderr(&output);
            assert!(err.contains("coroutine 'nearly-full' overflowed its 16 KiB stack"), "{err}");
        }
    }

    fn no_address_space_for_tasks() {
        let runtime = Runtime::builder().workers(1).stack_size(MIB).build().unwrap();
        let (stop, stopped) = channel::bounded::<()>(0);
        // A first run, so that thread and allocator have what they need.
        runtime.run(|| (0..10).for_each(|_| osier::spawn(|| ()).join().unwrap()));
        limit_address_space(64 * MIB);
        runtime.run(|| {
            let mut waiting = Vec::with_capacity(100);
            let error = loop {
                let stopped = stopped.clone();
                match osier::try_spawn(move || stopped.recv().is_err()) {
                    Ok(handle) => waiting.push(handle),
                    Err(error) => break error,
                }
                // It starts, waits, and so takes a stack for itself.
                osier::yield_now();
                assert!(waiting.len() < 100);
            };
            assert!(waiting.len() >= 20, "{}", waiting.len());
            assert!(!error.is_shutdown());
            assert!(error.to_string().contains("no stack for a coroutine"), "{error}");

            // Without a look beforehand, the task that finds no stack says so where it is joined.
            let unlucky = osier::spawn(|| 1);
            let error_at_join = unlucky.join().unwrap_err();
            assert!(!error_at_join.is_cancelled() && !error_at_join.is_panic());
            assert!(error_at_join.to_string().contains("could not start"), "{error_at_join}");
            assert!(error_at_join.into_panic().is_none());

            // The closure came back whole; everybody else is well, and their stacks serve again.
            let closure = error.into_inner();
            drop(stop);
            assert!(closure());
            waiting.into_iter().for_each(|waiting| assert!(waiting.join().unwrap()));
            assert_eq!(osier::try_spawn(|| 2).unwrap().join().unwrap(), 2);
        });
    }

    #[test]
    fn tasks_without_room_are_errors() {
        let _watch = watch();
        assert_ended_well(&run_program("no address space for tasks"));
    }

    fn no_address_space_for_workers() {
        drop(Runtime::builder().workers(2).build().unwrap());
        let threads = count_in_proc("task");
        limit_address_space(64 * MIB);
        let error = Runtime::builder().workers(200).build().unwrap_err();
        assert!(!error.to_string().is_empty());
        until(|| count_in_proc("task") == threads);
        assert_eq!(Runtime::builder().workers(2).build().unwrap().run(|| 3), 3);
    }

    #[test]
    fn a_runtime_without_room_for_its_threads_is_an_error() {
        let _watch = watch();
        assert_ended_well(&run_program("no address space for workers"));
    }

    #[test]
    fn a_runtimes_stack_size_is_that_of_its_tasks() {
        let _watch = watch();
        let runtime = Runtime::builder().workers(1).stack_size(4 * MIB).build().unwrap();
        #[inline(never)]
        fn go(depth: u32) -> u64 {
            let frame = black_box([1_u8; 1024]);
            if depth == 0 { 0 } else { go(depth - 1) + u64::from(black_box(&frame)[0]) }
        }
        assert_eq!(runtime.run(|| go(2000)), 2000);
        assert_eq!(runtime.run(|| osier::spawn(|| go(2000)).join().unwrap()), 2000);
        let small = runtime.run(|| task::Builder::new().stack_size(MIN_STACK_SIZE).spawn(|| 7).join().unwrap());
        assert_eq!(small, 7);
    }

    fn bursts_of_tasks() {
        const COUNT: usize = 30_000;
        let runtime = Runtime::builder().workers(1).build().unwrap();
        let burst = |count| {
            runtime.run(|| {
                let (hold, held) = channel::bounded::<()>(0);
                let started = Arc::new(AtomicUsize::new(0));
                let tasks: Vec<_> = (0..count)
                    .map(|_| {
                        let (held, started) = (held.clone(), started.clone());
                        osier::spawn(move || {
                            started.fetch_add(1, Ordering::Relaxed);
                            _ = held.recv();
                        })
                    })
                    .collect();
                until(|| started.load(Ordering::Relaxed) == count);
                let most = resident();
                drop(hold);
                tasks.into_iter().for_each(|task| task.join().unwrap());
                most
            })
        };
        burst(100);
        let before = resident();
        let most = (0..3).map(|_| burst(COUNT)).max().unwrap();
        assert!(most - before > COUNT * 4, "each has touched a page: {before}, {most}");
        // What is left: the stacks that every thread keeps, and what the allocator does.
        until(|| {
            let left = resident().saturating_sub(before);
            left < (most - before) / 3
        });
    }

    #[test]
    fn what_bursts_of_tasks_used_is_given_back_when_there_is_nothing_to_do() {
        let _watch = watch();
        assert_ended_well(&run_program("bursts of tasks"));
    }
}
