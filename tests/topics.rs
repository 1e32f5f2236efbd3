//! Publishing and subscribing.

#![cfg(feature = "runtime")]

mod common;

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use common::{Tally, panic_text, reports, until, watch};
use osier::actor::{Builder, Mailbox, Overflow, Topics};
use osier::spawn;
use osier::sync::Event;
use osier::sync::channel::{self, TryRecvError};

// S14
#[test]
fn smoke() {
    let _watch = watch();
    let topics = Topics::new();
    let readers: Vec<_> = ["t", "t", "t", "u"]
        .map(|topic| {
            let subscription = topics.subscribe(topic);
            spawn(move || subscription.iter().collect::<Vec<u32>>())
        })
        .into();
    assert_eq!((topics.publish("t", 1), topics.publish("t", 2), topics.publish("u", 9)), (3, 3, 1));
    assert_eq!(topics.publish("nobody's", 3), 0);
    drop(topics);
    let got: Vec<_> = readers.into_iter().map(|reader| reader.join().unwrap()).collect();
    assert_eq!(got, [vec![1, 2], vec![1, 2], vec![1, 2], vec![9]]);
}

#[test]
fn patterns_stand_for_words() {
    let _watch = watch();
    let topics = Topics::new();
    let patterns = [">", "a.*", "a.>", "a.*.c", "*.b", "a.b", "*"];
    let subscriptions = patterns.map(|pattern| topics.subscribe(pattern));
    for topic in ["a", "a.b", "a.b.c", "a.x.c", "x.b", "a.", "*"] {
        topics.publish(topic, topic);
    }
    drop(topics);
    let got = subscriptions.map(|subscription| subscription.iter().collect::<Vec<_>>());
    let expected: [&[&str]; 7] = [
        &["a", "a.b", "a.b.c", "a.x.c", "x.b", "a.", "*"],
        &["a.b", "a."],
        &["a.b", "a.b.c", "a.x.c", "a."],
        &["a.b.c", "a.x.c"],
        &["a.b", "x.b"],
        &["a.b"],
        &["a", "*"],
    ];
    assert_eq!(got, expected);
}

#[test]
fn what_is_no_pattern_is_refused() {
    let _watch = watch();
    let topics = Topics::<u32>::new();
    let text = panic_text(|| topics.subscribe("a.>.b"));
    assert!(text.contains("'a.>.b' is none"), "{text}");
    assert!(panic_text(|| topics.subscribe(&["a"; 65].join("."))).contains("at most 64 words"));
    drop(topics.subscribe(&["a"; 64].join(".")));
    // A topic may have any number.
    assert_eq!(topics.publish(&vec!["a"; 100_000].join("."), 1), 0);
    assert_eq!(format!("{topics:?}"), "Topics { subscribers: 0, retained: 0 }");
}

#[test]
fn whoever_comes_later_gets_what_is_retained() {
    let _watch = watch();
    let topics = Topics::new();
    assert_eq!(topics.publish_retained("t.a", 1), 0);
    topics.publish_retained("t.a", 2);
    topics.publish_retained("t.b", 3);
    topics.publish("t.a", 4);
    topics.publish_retained("u", 5);
    let both = topics.subscribe("t.*");
    let odd = topics.subscribe_with(">", 1, Overflow::DropNewest, |n| n % 2 == 1);
    assert_eq!(topics.publish_retained("t.a", 7), 2);
    let take = |subscription: &osier::actor::Subscription<u32>, n: usize| {
        let mut first: Vec<_> = (0..n).map(|_| subscription.try_recv().unwrap()).collect();
        first.sort_unstable();
        first
    };
    assert_eq!(take(&both, 2), [2, 3]);
    assert_eq!(both.try_recv(), Ok(7), "after what was retained");
    // They do not count in its bound.
    assert_eq!(take(&odd, 2), [3, 5]);
    assert_eq!((odd.try_recv(), odd.missed()), (Ok(7), 0));
    assert_eq!((topics.retained("t.a"), topics.retained("t")), (Some(7), None));
    assert_eq!((topics.forget("t.a"), topics.forget("t.a")), (Some(7), None));
    assert_eq!(topics.subscribe("t.a").try_recv(), Err(TryRecvError::Empty));
}

#[test]
fn nothing_is_lost_or_doubled_between_what_is_retained_and_what_comes() {
    let _watch = watch();
    const LAST: u32 = 2_000;
    let topics = Topics::new();
    topics.publish_retained("n", 0);
    let publisher = spawn({
        let topics = topics.clone();
        move || (1..=LAST).for_each(|n| _ = topics.publish_retained("n", n))
    });
    let subscribers: Vec<_> = (0..8)
        .map(|_| {
            let topics = topics.clone();
            spawn(move || {
                for _ in 0..20 {
                    let subscription = topics.subscribe("n");
                    let mut last = subscription.recv().unwrap();
                    while last < LAST {
                        assert_eq!(subscription.recv(), Ok(last + 1));
                        last += 1;
                    }
                }
            })
        })
        .collect();
    publisher.join().unwrap();
    subscribers.into_iter().for_each(|subscriber| subscriber.join().unwrap());
}

#[test]
fn a_publisher_waits_for_all_that_are_full_at_the_same_time() {
    let _watch = watch();
    let topics = Topics::new();
    let wait = |patience| topics.subscribe_with("t", 1, Overflow::Wait(patience), |_| true);
    let (never, hour, soon) = (wait(Duration::MAX), wait(Duration::from_secs(3600)), wait(Duration::from_millis(1)));
    topics.publish("t", 1);
    let publisher = spawn({
        let topics = topics.clone();
        move || topics.publish("t", 2)
    });
    // The last one first: nobody who is slower holds it up. Its time may be up by then.
    until(|| soon.missed() == 1);
    assert_eq!((hour.recv(), hour.recv()), (Ok(1), Ok(2)));
    assert!(!publisher.is_finished());
    assert_eq!((never.recv(), never.recv()), (Ok(1), Ok(2)));
    assert_eq!(publisher.join().unwrap(), 2);
    assert_eq!((soon.recv(), soon.try_recv()), (Ok(1), Err(TryRecvError::Empty)));
}

#[test]
fn an_actor_is_a_subscriber_and_a_publisher() {
    let _watch = watch();
    for builder in [Builder::new(), Builder::new().thread()] {
        let topics = Topics::new();
        let publisher = topics.publisher();
        // It says everything twice.
        let echo = builder.spawn(move |inbox: &Mailbox<u32>| {
            inbox.iter().for_each(|n| publisher.send(("echo".to_owned(), 2 * n)).unwrap());
        });
        let echoes = topics.subscribe("echo");
        let forward = topics.subscribe("say.*").forward(&echo, |n| n);
        for n in 0..100 {
            topics.publish("say.it", n);
        }
        assert!(echoes.iter().take(100).eq((0..100).map(|n| 2 * n)));
        forward.kill();
        assert_eq!(topics.publish("say.it", 1), 0, "it has unsubscribed");
        // With the actor ends what is forwarded to it.
        let forward = topics.subscribe("say.it").forward(&echo, |n| n);
        echo.close();
        echo.join().unwrap();
        forward.join().unwrap();
        assert_eq!(topics.publish("say.it", 1), 0);
    }
}

#[test]
fn a_slow_actor_holds_up_nobody() {
    let _watch = watch();
    let topics = Topics::new();
    let (go, wait) = osier::sync::channel::bounded::<()>(0);
    let (sender, receiver) = osier::sync::channel::unbounded();
    let slow = Builder::new().mailbox(1).spawn(move |inbox: &Mailbox<u32>| {
        _ = wait.recv();
        inbox.iter().for_each(|n| sender.send(n).unwrap());
    });
    topics.subscribe_with("t", 2, Overflow::DropOldest, |_| true).forward(&slow, |n| n);
    let healthy = topics.subscribe("t");
    for n in 1..=100 {
        assert_eq!(topics.publish("t", n), 2);
        assert_eq!(healthy.recv(), Ok(n));
    }
    drop((go, topics));
    let got: Vec<_> = receiver.iter().take_while(|&n| n < 100).collect();
    assert!(got.len() <= 3 && got.is_sorted(), "{got:?}");
}

#[test]
fn what_waits_for_an_actor_that_ends_are_dead_letters() {
    let _watch = watch();
    for is_bounded in [true, false] {
        let lines = reports(|| {
            let topics = Topics::new();
            let (end, ends) = osier::sync::channel::bounded::<()>(0);
            let body = move |_: &Mailbox<u32>| _ = ends.recv();
            let deaf = Builder::new().mailbox(1).start("deaf", body).unwrap();
            topics.publish_retained("t", 1);
            let bound = if is_bounded { 3 } else { 100 };
            let forward = topics.subscribe_with("t", bound, Overflow::DropNewest, |_| true).forward(&deaf, |n| n);
            // One lies in the mailbox, one has left the subscription and waits for room there.
            until(|| deaf.len() == 1);
            (2..=5).for_each(|n| {
                until(|| topics.publish("t", n) == 1);
            });
            drop(end);
            _ = deaf.join();
            forward.join().unwrap();
        });
        let count =
            |line: &String| line.strip_prefix("actor 'deaf' ended with unread messages: ")?.parse::<usize>().ok();
        assert_eq!(lines.iter().filter_map(count).sum::<usize>(), 5, "{lines:?}");
    }
}

#[test]
fn filters_look_at_the_message() {
    let _watch = watch();
    let topics = Topics::new();
    let even = topics.subscribe_with("n", 10, Overflow::DropNewest, |n: &u32| n.is_multiple_of(2));
    assert_eq!((1..=4).map(|n| topics.publish("n", n)).sum::<usize>(), 2);
    drop(topics);
    assert_eq!((even.iter().collect::<Vec<_>>(), even.missed()), (vec![2, 4], 0));
}

#[test]
fn a_full_subscriber_is_dealt_with_by_its_policy() {
    let _watch = watch();
    let topics = Topics::new();
    let wait = Overflow::Wait(Duration::from_millis(1));
    let policies = [Overflow::DropOldest, Overflow::DropNewest, Overflow::Disconnect, wait];
    let subscriptions = policies.map(|policy| topics.subscribe_with("t", 2, policy, |_| true));
    let healthy = topics.subscribe("t");
    assert_eq!([1, 2, 3, 4].map(|n| topics.publish("t", n)), [5, 5, 2, 2]);
    drop(topics);
    let got = subscriptions.map(|subscription| (subscription.iter().collect::<Vec<_>>(), subscription.missed()));
    assert_eq!(got, [(vec![3, 4], 2), (vec![1, 2], 2), (vec![1, 2], 0), (vec![1, 2], 2)]);
    assert_eq!(healthy.iter().collect::<Vec<_>>(), [1, 2, 3, 4]);
}

#[test]
fn the_others_have_it_before_a_publisher_waits() {
    let _watch = watch();
    let topics = Topics::new();
    let slow = topics.subscribe_with("t", 1, Overflow::Wait(Duration::from_secs(3600)), |_| true);
    let healthy = topics.subscribe("t");
    topics.publish("t", 1);
    let publisher = spawn({
        let topics = topics.clone();
        move || topics.publish("t", 2)
    });
    assert_eq!((healthy.recv(), healthy.recv()), (Ok(1), Ok(2)));
    assert!(!publisher.is_finished());
    assert_eq!((slow.recv(), slow.recv()), (Ok(1), Ok(2)));
    assert_eq!(publisher.join().unwrap(), 2);
}

#[test]
fn dropping_a_subscription_ends_it() {
    let _watch = watch();
    let topics = Topics::new();
    let tally = Arc::new(Tally::default());
    let make = || Arc::new(tally.token());
    let (kept, dropped) = (topics.subscribe("t"), topics.subscribe("t"));
    let waited = topics.subscribe_with("t", 1, Overflow::Wait(Duration::from_secs(3600)), |_| true);
    assert_eq!(topics.publish("t", make()), 3);
    drop(dropped);
    let (began, publisher) = (Event::new(), topics.clone());
    let publishing = spawn({
        let (began, token) = (began.clone(), make());
        move || {
            began.set();
            publisher.publish("t", token)
        }
    });
    began.wait();
    kept.recv().unwrap();
    kept.recv().unwrap();
    // The publisher waits for room, or is about to.
    drop(waited);
    assert_eq!(publishing.join().unwrap(), 1);
    assert_eq!(topics.publish("t", make()), 1);
    assert!(kept.recv().is_ok());
    assert_eq!(kept.try_recv().unwrap_err(), TryRecvError::Empty);
    drop((kept, topics));
    until(|| tally.dropped() == 3);
    tally.assert_all_dropped(3);
}

#[test]
fn many_publishers_keep_their_order() {
    let _watch = watch();
    let topics = Topics::new();
    let subscriptions = [(); 3].map(|()| topics.subscribe("t"));
    let publishers: Vec<_> = (0..4)
        .map(|who| {
            let topics = topics.clone();
            spawn(move || (0..200).for_each(|n| assert_eq!(topics.publish("t", (who, n)), 3)))
        })
        .collect();
    publishers.into_iter().for_each(|publisher| publisher.join().unwrap());
    drop(topics);
    for subscription in subscriptions {
        let mut next = [0; 4];
        for (who, n) in &subscription.iter().collect::<Vec<(usize, u32)>>() {
            assert_eq!(*n, std::mem::replace(&mut next[*who], n + 1));
        }
        assert_eq!(next, [200; 4]);
    }
}

#[test]
fn a_bound_of_nothing_is_refused() {
    let _watch = watch();
    let text = panic_text(|| Topics::<u32>::new().subscribe_with("t", 0, Overflow::DropNewest, |_| true));
    assert_eq!(text, "a subscription holds one message at least");
}

#[test]
fn a_subscriber_that_fails_concerns_nobody_else() {
    let _watch = watch();
    let lines = reports(|| {
        let topics = Topics::<u32>::new();
        let before = topics.subscribe("failing.news");
        let broken = topics.subscribe_with("failing.*", 8, Overflow::DropNewest, |n| {
            assert_ne!(*n, 2, "a bug in a filter");
            true
        });
        let raising = topics.subscribe_with("failing.news", 8, Overflow::DropNewest, |n| {
            if *n == 2 { osier::raise(std::fmt::Error) } else { true }
        });
        let after = topics.subscribe("failing.>");
        assert_eq!(topics.publish("failing.news", 1), 4);
        assert_eq!(topics.publish("failing.news", 2), 2);
        assert_eq!(topics.publish("failing.news", 3), 2, "those that failed are out");
        for whole in [&before, &after] {
            assert_eq!([whole.recv(), whole.recv(), whole.recv()], [Ok(1), Ok(2), Ok(3)]);
        }
        for failed in [&broken, &raising] {
            assert_eq!((failed.missed(), failed.iter().collect::<Vec<_>>()), (1, vec![1]));
        }
    });
    let about = |pattern: &str, why: &str| {
        let start = format!("a subscriber of '{pattern}' failed, and misses a message: ");
        lines.iter().filter(|line| line.starts_with(&start) && line.contains(why)).count()
    };
    assert_eq!(about("failing.*", "a bug in a filter"), 1, "{lines:?}");
    assert_eq!(about("failing.news", &std::fmt::Error.to_string()), 1, "{lines:?}");
}

/// Its second clone fails.
#[derive(Debug)]
struct Fragile(Arc<AtomicUsize>);

impl Clone for Fragile {
    fn clone(&self) -> Self {
        assert_ne!(self.0.fetch_add(1, Ordering::SeqCst), 1, "a bug in a clone");
        Self(self.0.clone())
    }
}

#[test]
fn a_copy_that_fails_is_missed_by_one() {
    let _watch = watch();
    let lines = reports(|| {
        let topics = Topics::new();
        let subscriptions: Vec<_> = (0..3).map(|_| topics.subscribe("fragile")).collect();
        assert_eq!(topics.publish("fragile", Fragile(Arc::default())), 2);
        let missed: Vec<_> = subscriptions.iter().map(|subscription| subscription.missed()).collect();
        assert_eq!(missed.iter().sum::<u64>(), 1, "{missed:?}");
        drop(topics);
        assert_eq!(subscriptions.iter().map(|subscription| subscription.iter().count()).sum::<usize>(), 2);
    });
    assert_eq!(lines.iter().filter(|line| line.contains("a bug in a clone")).count(), 1, "{lines:?}");
}

#[test]
fn a_publisher_that_is_cancelled_in_a_filter_ends() {
    let _watch = watch();
    let topics = Topics::new();
    let (began, begins) = channel::bounded(1);
    let subscription = topics.subscribe_with("slow", 1, Overflow::DropNewest, move |(): &()| {
        began.send(()).unwrap();
        osier::sleep(common::FOR_EVER);
        true
    });
    let publisher = spawn(move || topics.publish("slow", ()));
    begins.recv().unwrap();
    publisher.kill();
    assert!(publisher.join().unwrap_err().is_cancelled());
    assert_eq!(subscription.missed(), 0);
}

#[test]
fn a_subscription_is_selected_from_and_waited_for() {
    let _watch = watch();
    let topics = Topics::new();
    topics.publish_retained("door.front", 1);
    let doors = topics.subscribe("door.*");
    let (sender, other) = channel::bounded(1);
    let next = || {
        osier::select! {
            recv(doors) -> n => n,
            recv(other) -> n => n.map(|n: u32| 100 + n),
        }
    };
    assert_eq!(next(), Ok(1), "what was retained is there");
    sender.send(1).unwrap();
    assert_eq!(next(), Ok(101));
    let publishing = spawn({
        let topics = topics.clone();
        move || topics.publish("door.back", 2)
    });
    assert_eq!(osier::wait(&[&doors as &dyn osier::Wait]).next(), Some(0));
    assert_eq!(next(), Ok(2));
    assert_eq!(publishing.join().unwrap(), 1);
    // Only looking at it takes nothing, also of what was retained.
    topics.publish("door.front", 3);
    let again = topics.subscribe("door.front");
    assert_eq!(osier::wait(&[&again as &dyn osier::Wait, &doors]).collect::<Vec<_>>().len(), 2);
    assert_eq!((again.recv(), next()), (Ok(1), Ok(3)));
    drop((topics, sender));
    assert!(doors.recv().is_err());
}
