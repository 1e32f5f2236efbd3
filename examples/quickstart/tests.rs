//! The counting, on a small tree that has everything in it that can go wrong.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, mpsc};
use std::thread;
use std::time::Duration;

use osier::Runtime;

use crate::progress::Progress;
use crate::walk::Limits;
use crate::words::{self, Tally};
use crate::{grouped, plural, ports, runs_in, tour};

const LIMITS: Limits = Limits { files: 1000, bytes: 1_000_000, file_bytes: 10_000 };

/// A directory that is removed in the end.
struct Tree(PathBuf);

impl Tree {
    fn new() -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let name = format!("osier-quickstart-{}-{}", process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
        let root = std::env::temp_dir().join(name);
        fs::create_dir(&root).unwrap();
        Self(root)
    }

    fn file(&self, name: &str, content: &[u8]) -> PathBuf {
        let path = self.0.join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, content).unwrap();
        path
    }
}

impl Drop for Tree {
    fn drop(&mut self) {
        // Left behind if that fails; the test's result stands.
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// Runs `test` on a thread of its own and ends the process if it does not end.
fn watched<T: Send + 'static>(test: impl FnOnce() -> T + Send + 'static) -> T {
    let (done, ended) = mpsc::channel();
    let thread = thread::spawn(move || {
        let result = test();
        let _ = done.send(());
        result
    });
    if ended.recv_timeout(Duration::from_secs(120)) == Err(mpsc::RecvTimeoutError::Timeout) {
        eprintln!("a test of the quickstart hangs");
        process::abort();
    }
    thread.join().unwrap()
}

fn count(root: &Path, limits: Limits, workers: usize) -> Tally {
    let roots = vec![root.to_owned()];
    watched(move || {
        let runtime = Runtime::builder().workers(workers).build().unwrap();
        runtime.run(|| words::count(roots, limits, workers, &Arc::new(Progress::new())))
    })
}

#[test]
fn counts_words_in_lower_case() {
    let tree = Tree::new();
    tree.file("a.txt", "The osier, THE willow; it is the_osier2osier. GRÖSSE".as_bytes());
    let tally = count(&tree.0, LIMITS, 1);
    assert_eq!(tally.top(2), [("osier", 3), ("the", 3)]);
    assert_eq!(tally.top(10), [("osier", 3), ("the", 3), ("grösse", 1), ("willow", 1)]);
    assert_eq!((tally.files, tally.words, tally.distinct()), (1, 10, 6));
}

#[test]
fn one_worker_and_many_find_the_same() {
    let tree = Tree::new();
    for i in 0..200 {
        let text = format!("file number {i} holds words such as {}", "willow osier ".repeat(i));
        tree.file(&format!("{}/{i}.txt", i % 7), text.as_bytes());
    }
    let one = count(&tree.0, LIMITS, 1);
    assert_eq!((one.files, one.top(2)), (200, vec![("osier", 19_900), ("willow", 19_900)]));
    for workers in [2, 4] {
        assert_eq!(count(&tree.0, LIMITS, workers), one);
    }
}

#[test]
fn a_changed_file_is_another_input() {
    let tree = Tree::new();
    tree.file("text", b"willow");
    let before = count(&tree.0, LIMITS, 2);
    assert_eq!(count(&tree.0, LIMITS, 1).input, before.input);
    tree.file("text", b"willows");
    assert_ne!(count(&tree.0, LIMITS, 2).input, before.input);
}

#[test]
fn what_cannot_be_read_is_counted_and_not_fatal() {
    let tree = Tree::new();
    tree.file("good.txt", b"good");
    tree.file("latin1.txt", b"caf\xe9 words that are not counted");
    tree.file("large.txt", &[b'x'; 10_001]);
    let locked = tree.file("locked.txt", b"locked");
    #[cfg(unix)]
    fs::set_permissions(&locked, std::os::unix::fs::PermissionsExt::from_mode(0o000)).unwrap();
    // Whoever may read everything reads this one as well.
    let is_locked = u64::from(File::open(&locked).is_err());
    let tally = count(&tree.0, LIMITS, 2);
    assert_eq!((tally.not_utf8, tally.too_large, tally.unreadable), (1, 1, is_locked));
    assert_eq!(tally.files, 2 - is_locked);
    assert!(tally.top(10).contains(&("good", 1)));
}

#[test]
fn a_file_that_vanishes_is_unreadable() {
    let tree = Tree::new();
    let mut tally = Tally::default();
    tally.count_file(fs::read(tree.0.join("gone.txt")));
    assert_eq!((tally.files, tally.unreadable), (0, 1));
}

#[test]
#[cfg(unix)]
fn links_hidden_entries_and_caches_are_left_out() {
    let tree = Tree::new();
    tree.file("sub/one.txt", b"one");
    tree.file(".hidden/two.txt", b"two");
    tree.file("target/CACHEDIR.TAG", b"Signature");
    tree.file("target/debug/three.txt", b"three");
    std::os::unix::fs::symlink(&tree.0, tree.0.join("sub/loop")).unwrap();
    let tally = count(&tree.0, LIMITS, 2);
    assert_eq!((tally.files, tally.unreadable, tally.top(3)), (1, 0, vec![("one", 1)]));
    // A cache that is asked for is read.
    assert_eq!(count(&tree.0.join("target"), LIMITS, 2).top(2), [("signature", 1), ("three", 1)]);
}

#[test]
fn the_walk_ends_at_its_limits() {
    let tree = Tree::new();
    for i in 0..10 {
        tree.file(&format!("{i}/text"), b"word");
    }
    let few = count(&tree.0, Limits { files: 4, ..LIMITS }, 2);
    assert_eq!((few.files, few.limited), (4, true));
    let small = count(&tree.0, Limits { bytes: 20, ..LIMITS }, 2);
    assert_eq!((small.files, small.bytes, small.limited), (5, 20, true));
    assert!(!count(&tree.0, LIMITS, 2).limited);
}

#[test]
fn a_deep_tree_does_not_overflow_the_walk() {
    let tree = Tree::new();
    let deep = "d/".repeat(150);
    tree.file(&format!("{deep}/text"), b"deep");
    tree.file("text", b"flat");
    let tally = count(&tree.0, LIMITS, 1);
    assert_eq!((tally.files, tally.unreadable), (1, 1));
}

#[test]
fn the_ports_behave_as_in_python() {
    assert_eq!(ports::averages(&[10.0, 20.0, 60.0]), [10.0, 15.0, 30.0]);
    let (say, said) = mpsc::channel();
    let last = ports::ping_pong(move |who, n| say.send((who, n)).unwrap());
    let said: Vec<_> = said.iter().collect();
    assert_eq!(said, [("ping", 0), ("pong", 1), ("ping", 2), ("pong", 3), ("ping", 4), ("pong", 5)]);
    assert_eq!(last, 6);
}

#[test]
fn the_whole_tour_runs() {
    let tree = Tree::new();
    tree.file("text", b"The osier bends, the oak breaks.");
    let root = tree.0.clone();
    watched(move || tour(&[root]).unwrap());
    // Nothing to count is no reason to fail.
    let empty = Tree::new();
    let root = empty.0.clone();
    watched(move || tour(&[root]).unwrap());
}

#[test]
fn numbers_are_easy_to_read() {
    assert_eq!([0, 999, 1000, 1_234_567].map(grouped), ["0", "999", "1 000", "1 234 567"]);
    assert_eq!((plural(1, "file"), plural(2000, "file")), ("1 file".to_owned(), "2 000 files".to_owned()));
}

#[test]
fn runs_fit_into_the_time() {
    let runs = |first_ms| runs_in(Duration::from_secs(6), Duration::from_millis(first_ms), 2);
    assert_eq!([1, 300, 10_000].map(runs), [9, 6, 3]);
}
