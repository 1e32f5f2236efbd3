//! What `host.c` calls. Each returns 0 if all is well.

use std::cell::RefCell;
use std::hint::black_box;
use std::rc::Rc;

use osier::runtime::LocalRuntime;
use osier::sync::channel;
use osier::{Generator, Greenlet, Runtime, Yielder, spawn, task, yield_now};

fn deeper(n: u64) -> u64 {
    let frame = black_box([n; 64]);
    if n == 0 { frame[0] } else { deeper(n - 1) + frame[1] }
}

/// Overflows a generator's stack.
#[unsafe(no_mangle)]
pub extern "C" fn overflow_a_generator() -> i32 {
    let mut g = Generator::builder(|y: &Yielder<u64>| y.yield_(deeper(1 << 20))).name("embedded-generator").build();
    g.next().map_or(1, |_| 0)
}

/// Overflows a task's stack.
#[unsafe(no_mangle)]
pub extern "C" fn overflow_a_task() -> i32 {
    let runtime = Runtime::builder().workers(1).build().unwrap();
    let task = osier::task::Builder::new().name("embedded-task");
    runtime.run(|| task.spawn(|| deeper(1 << 20)).join().map_or(1, |_| 0))
}

/// Overflows a generator's stack, on a thread that a runtime ran on before.
#[unsafe(no_mangle)]
pub extern "C" fn overflow_after_a_local_runtime() -> i32 {
    assert_eq!(LocalRuntime::new().run(|| spawn(|| 7).join().unwrap()), 7);
    overflow_a_generator()
}

/// Makes a coroutine, so that faults are looked at, and ends it.
#[unsafe(no_mangle)]
pub extern "C" fn begin() -> i32 {
    Generator::new(|y: &Yielder<u32>| y.yield_(7)).map(|n| n - 7).sum::<u32>() as i32
}

/// Who runs, asked before a switch and after it.
#[unsafe(no_mangle)]
pub extern "C" fn ask_around_switches() -> i32 {
    let outside = who_resumes();
    let runtime = Runtime::builder().workers(2).build().unwrap();
    let inside = runtime.run(|| {
        let (sender, receiver) = channel::bounded(1);
        let asks = |n: u64| {
            let (sender, receiver) = (sender.clone(), receiver.clone());
            spawn(move || {
                let me = task::current().id();
                let mut wrong = 0;
                for _ in 0..1000 {
                    sender.send(n).unwrap();
                    wrong += i32::from(task::current().id() != me);
                    receiver.recv().unwrap();
                    wrong += i32::from(task::current().id() != me);
                    yield_now();
                    wrong += i32::from(task::current().id() != me);
                }
                wrong + who_resumes()
            })
        };
        let tasks: Vec<_> = (0..8).map(asks).collect();
        tasks.into_iter().map(|task| task.join().unwrap()).sum::<i32>()
    });
    outside + inside
}

/// A generator that is resumed in turn by several greenlets asks each time which of them runs.
fn who_resumes() -> i32 {
    let g = Generator::new(|y: &Yielder<(Greenlet<u32>, Greenlet<u32>)>| {
        let mut before = Greenlet::current();
        loop {
            y.yield_((before, Greenlet::current()));
            before = Greenlet::current();
        }
    });
    let g = Rc::new(RefCell::new(g));
    let mut wrong = 0;
    for n in 0..100 {
        let g = g.clone();
        let asks = Greenlet::new(move |_| {
            let me = Greenlet::<u32>::current();
            let (before, now) = g.borrow_mut().next().unwrap();
            u32::from(before != me) + u32::from(now != me)
        });
        wrong += asks.switch(n);
    }
    wrong as i32
}
