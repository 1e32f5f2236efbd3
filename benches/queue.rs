//! What gevent's queues cost: each kind alone and between two tasks of one worker, and a queue that is joined.
//!
//! ```text
//! cargo bench --bench queue
//! ```

use std::time::{Duration, Instant};

use criterion::{Criterion, criterion_group, criterion_main};
use osier::sync::{Channel, LifoQueue, PriorityQueue, Queue, SimpleQueue};
use osier::{Runtime, spawn};

/// Puts `n` items by one task for another, which gets them. Returns how long that took.
fn pass<Q: Clone + Send + 'static>(n: u64, queue: Q, put: fn(&Q, u64), get: fn(&Q) -> u64) -> Duration {
    let start = Instant::now();
    let putter = spawn({
        let queue = queue.clone();
        move || (0..n).for_each(|item| put(&queue, item))
    });
    let sum: u64 = (0..n).map(|_| get(&queue)).sum();
    putter.join().expect("the putter ends");
    assert_eq!(sum, n * n.saturating_sub(1) / 2);
    start.elapsed()
}

fn queues(c: &mut Criterion) {
    let runtime = Runtime::builder().workers(1).build().expect("a thread is to be had");
    let mut group = c.benchmark_group("queue");
    macro_rules! pass {
        ($name:literal, $queue:expr) => {
            group.bench_function($name, |b| {
                b.iter_custom(|n| {
                    runtime.run(|| pass(n, $queue, |q, item| q.put(item).expect("open"), |q| q.get().expect("open")))
                });
            });
        };
    }
    pass!("Queue::bounded(1)", Queue::bounded(1));
    pass!("Queue::bounded(128)", Queue::bounded(128));
    pass!("LifoQueue::bounded(128)", LifoQueue::bounded(128));
    pass!("PriorityQueue::bounded(128)", PriorityQueue::bounded(128));
    pass!("Channel", Channel::new());
    group.bench_function("SimpleQueue, alone", |b| {
        let queue = SimpleQueue::new();
        b.iter(|| {
            queue.put(1_u64);
            queue.get()
        });
    });
    group.bench_function("Queue, alone, done and joined", |b| {
        let queue = Queue::new();
        b.iter(|| {
            queue.put(1_u64).expect("open");
            queue.task_done();
            queue.join();
            queue.get()
        });
    });
    group.finish();
}

criterion_group!(benches, queues);
criterion_main!(benches);
