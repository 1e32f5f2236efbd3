//! Publishing and subscribing.

#![cfg(feature = "runtime")]

mod common;

use std::sync::Arc;
use std::time::Duration;

use common::{Tally, panic_text, until, watch};
use osier::actor::{Overflow, Topics};
use osier::spawn;
use osier::sync::Event;
use osier::sync::channel::TryRecvError;

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
fn patterns_match_what_begins_so() {
    let _watch = watch();
    let topics = Topics::new();
    let [all, a, ab, exact] = ["*", "a*", "a.b*", "a.b"].map(|pattern| topics.subscribe(pattern));
    for (n, topic) in ["a", "a.b", "a.b.c", "b", "*"].into_iter().enumerate() {
        topics.publish(topic, n);
    }
    drop(topics);
    let got = [all, a, ab, exact].map(|subscription| subscription.iter().collect::<Vec<_>>());
    assert_eq!(got, [vec![0, 1, 2, 3, 4], vec![0, 1, 2], vec![1, 2], vec![1]]);
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
