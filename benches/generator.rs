//! What generators, greenlets and exceptions cost besides the switches that `context_switch` measures.
//!
//! ```text
//! cargo bench --bench generator
//! ```

use std::fmt::Error;
use std::hint::black_box;
use std::time::Duration;

use criterion::{BatchSize, Criterion, criterion_group, criterion_main};
use osier::generator::{scoped, yield_, yield_from};
use osier::{Generator, Greenlet, Step, Yielder, catch, catch_exit, greenlet, raise};

/// Numbers without an end.
fn numbers() -> Generator<u64> {
    Generator::new(|y: &Yielder<u64>| (0..u64::MAX).for_each(|n| y.yield_(n)))
}

fn generators(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("generator");
    group.bench_function("an item", |bencher| {
        let mut items = numbers();
        bencher.iter(|| items.next());
    });
    group.bench_function("an item of free yield_", |bencher| {
        let mut items = Generator::new(|_: &Yielder<u64>| (0..u64::MAX).for_each(|n: u64| yield_(n)));
        bencher.iter(|| items.next());
    });
    group.bench_function("an item through y.yield_from", |bencher| {
        let mut items = Generator::new(|y: &Yielder<u64>| y.yield_from(&mut numbers()));
        bencher.iter(|| items.next());
    });
    group.bench_function("an item through free yield_from", |bencher| {
        let mut items = Generator::new(|_: &Yielder<u64>| yield_from(&mut numbers()));
        bencher.iter(|| items.next());
    });
    group.bench_function("an item through eight yield_from", |bencher| {
        let nest = |mut inner: Generator<u64>| Generator::new(move |y: &Yielder<u64>| y.yield_from(&mut inner));
        let mut items = (0..8).fold(numbers(), |inner, _| nest(inner));
        bencher.iter(|| items.next());
    });
    group.bench_function("an item of yield_all", |bencher| {
        let mut items = Generator::new(|y: &Yielder<u64>| y.yield_all(0..u64::MAX));
        bencher.iter(|| items.next());
    });
    group.bench_function("an item of a shared one", |bencher| {
        let items = numbers().primed().shared();
        bencher.iter(|| items.send(()).map(Step::yielded));
    });
    group.bench_function("scoped, with one item", |bencher| {
        let text = "willow".to_owned();
        bencher.iter(|| scoped(|y: &Yielder<&str>| y.yield_(black_box(&text)), |g| g.next()));
    });
    group.finish();
}

fn greenlets(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("greenlet");
    // Made, told to end, and ended: all but the first of these unwind.
    group.bench_function("returns", |bencher| {
        bencher.iter_batched(|| Greenlet::new(|n: u64| n), |g| g.switch(1), BatchSize::SmallInput);
    });
    group.bench_function("exit", |bencher| {
        let make = || Greenlet::new(|n: u64| -> u64 { greenlet::exit(n) });
        bencher.iter_batched(make, |g| g.switch(1), BatchSize::SmallInput);
    });
    let waiting = || {
        let g = Greenlet::new(|n: u64| greenlet::parent().switch(n));
        g.switch(1);
        g
    };
    group.bench_function("throw_exit", |bencher| {
        bencher.iter_batched(waiting, |g| g.throw_exit(1), BatchSize::SmallInput);
    });
    group.bench_function("throw, to the parent", |bencher| {
        bencher.iter_batched(waiting, |g| catch(|| g.throw(Error)).is_err(), BatchSize::SmallInput);
    });
    group.bench_function("current", |bencher| bencher.iter(Greenlet::<u64>::current));
    group.finish();
}

fn exceptions(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("exception");
    group.bench_function("catch, nothing raised", |bencher| bencher.iter(|| catch(|| black_box(1)).is_ok()));
    group.bench_function("catch_exit, no exit", |bencher| bencher.iter(|| catch_exit(|| black_box(1)).is_ok()));
    group.bench_function("raise and catch", |bencher| {
        bencher.iter(|| catch(|| -> u64 { raise(Error) }).is_err());
    });
    group.bench_function("raise and catch, ten calls below", |bencher| {
        #[inline(never)]
        fn deep(left: u32) -> u32 {
            if left == 0 { raise(Error) } else { black_box(deep(left - 1)) + 1 }
        }
        bencher.iter(|| catch(|| deep(black_box(10))).is_err());
    });
    group.finish();
}

criterion_group! {
    name = benches;
    config = Criterion::default()
        .warm_up_time(Duration::from_millis(300))
        .measurement_time(Duration::from_secs(1));
    targets = generators, greenlets, exceptions
}
criterion_main!(benches);
