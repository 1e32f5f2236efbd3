//! Counts the words of many files, on all workers.
//!
//! ```text
//!   walker ── batches of paths, bounded channel ──▶ readers ── spawn ──▶ counters
//!   a task with a                                   tasks that wait      tasks that compute: a fresh
//!   generator in it                                 for `unblock`        one goes to whoever is idle
//! ```
//!
//! A task that has started stays on its worker; a fresh one can be stolen. So the work that waits, reading, is done by a
//! few tasks that live long, and the work that computes, counting, by a task of its own per batch.
//!
//! A counter takes a tally from a channel and puts it back in the end, so there are never more tallies than counters at
//! work. When all tasks are joined, the few tallies are merged into one.

use std::collections::{HashMap, VecDeque};
use std::fs;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::io;
use std::mem;
use std::path::PathBuf;
use std::sync::Arc;

use osier::sync::channel::{self, Receiver, Sender};
use osier::task::unblock;
use osier::{JoinHandle, spawn};

use crate::progress::Progress;
use crate::walk::{Found, Limits, walk};

/// Words of fewer letters do not get among the most frequent: in programs they are mostly names of variables.
pub(crate) const SHORTEST: usize = 3;

/// A batch is full with so many bytes: about a millisecond's counting, against which handing it over is nothing.
const BATCH_BYTES: u64 = 128 * 1024;
/// A batch is full with so many files.
const BATCH_FILES: usize = 64;
/// Batches that lie in the channel before the walk waits.
const BATCHES_AHEAD: usize = 16;
/// So many tasks read, per worker. A reader that has been woken waits until its worker is done with what it computes;
/// many of them hand out enough to keep the other workers busy for that long.
const READERS: usize = 8;
/// So many counters a reader has spawned before it joins the oldest. With one it would join what it has just spawned, and
/// a task that is joined at once runs right there: nobody could steal it.
const COUNTING: usize = 2;

/// What was read and what was found in it.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Tally {
    pub(crate) files: u64,
    pub(crate) bytes: u64,
    pub(crate) words: u64,
    pub(crate) unreadable: u64,
    pub(crate) not_utf8: u64,
    pub(crate) not_utf8_bytes: u64,
    pub(crate) too_large: u64,
    /// Whether the walk ended at a limit.
    pub(crate) limited: bool,
    /// A hash of what the walk saw: of two counts of the same files, the same.
    pub(crate) input: u64,
    counts: HashMap<String, u64>,
}

impl Tally {
    /// The `n` most frequent words of [`SHORTEST`] letters or more, each with its count; of two as frequent the one that
    /// comes first in the alphabet.
    pub(crate) fn top(&self, n: usize) -> Vec<(&str, u64)> {
        let words = self.counts.iter().map(|(word, &count)| (word.as_str(), count));
        let mut words: Vec<_> = words.filter(|(word, _)| word.chars().count() >= SHORTEST).collect();
        words.sort_unstable_by(|a, b| b.1.cmp(&a.1).then(a.0.cmp(b.0)));
        words.truncate(n);
        words
    }

    /// How many different words there are.
    pub(crate) fn distinct(&self) -> usize {
        self.counts.len()
    }

    fn add(&mut self, mut other: Self) {
        if self.counts.len() < other.counts.len() {
            mem::swap(&mut self.counts, &mut other.counts);
        }
        for (word, count) in other.counts {
            *self.counts.entry(word).or_default() += count;
        }
        self.files += other.files;
        self.bytes += other.bytes;
        self.words += other.words;
        self.unreadable += other.unreadable;
        self.not_utf8 += other.not_utf8;
        self.not_utf8_bytes += other.not_utf8_bytes;
        self.too_large += other.too_large;
        self.limited |= other.limited;
        self.input ^= other.input;
    }

    pub(crate) fn count_file(&mut self, text: io::Result<Vec<u8>>) {
        let Ok(text) = text else {
            self.unreadable += 1;
            return;
        };
        let Ok(text) = str::from_utf8(&text) else {
            self.not_utf8 += 1;
            self.not_utf8_bytes += text.len() as u64;
            return;
        };
        self.files += 1;
        self.bytes += text.len() as u64;
        let mut word = String::new();
        // A space at the end ends the last word.
        for c in text.chars().chain([' ']) {
            if c.is_alphabetic() {
                word.extend(c.to_lowercase());
            } else if !word.is_empty() {
                self.count_word(&word);
                word.clear();
            }
        }
    }

    fn count_word(&mut self, word: &str) {
        self.words += 1;
        // Looked up first: only a word that is new needs a string of its own.
        match self.counts.get_mut(word) {
            Some(count) => *count += 1,
            None => drop(self.counts.insert(word.to_owned(), 1)),
        }
    }
}

/// Counts the words of all files under `roots`, with tasks for so many workers; to be called in a task.
pub(crate) fn count(roots: Vec<PathBuf>, limits: Limits, workers: usize, progress: &Arc<Progress>) -> Tally {
    let (batches, inbox) = channel::bounded(BATCHES_AHEAD);
    let (put, spare) = channel::bounded(workers);
    let walker = spawn(move || send_batches(&batches, roots, limits));
    let readers: Vec<_> = (0..workers * READERS)
        .map(|_| {
            let counting = Counting { put: put.clone(), spare: spare.clone(), progress: progress.clone() };
            let inbox = inbox.clone();
            spawn(move || read_and_count(inbox, &counting))
        })
        .collect();
    // The readers have their own ends: should they all fail, the walker is not left waiting.
    drop(inbox);
    let counters: Vec<_> = readers.into_iter().flat_map(joined).collect();
    counters.into_iter().for_each(joined);
    let seen = joined(walker);
    merged(spare.try_iter().chain([seen]).collect())
}

/// What all counters share.
#[derive(Clone)]
struct Counting {
    /// Takes the tallies that no counter has.
    put: Sender<Tally>,
    spare: Receiver<Tally>,
    progress: Arc<Progress>,
}

/// The walker: takes files from the generator until it ends or a limit is met, and sends them on in batches.
fn send_batches(batches: &Sender<Vec<PathBuf>>, roots: Vec<PathBuf>, limits: Limits) -> Tally {
    let mut seen = Tally::default();
    let (mut batch, mut batch_bytes) = (Vec::new(), 0);
    let (mut files, mut bytes) = (0, 0);
    let mut input = DefaultHasher::new();
    for found in walk(roots) {
        let file = match found {
            Found::Unreadable => {
                seen.unreadable += 1;
                continue;
            }
            Found::File(file) if file.bytes > limits.file_bytes => {
                seen.too_large += 1;
                continue;
            }
            Found::File(file) => file,
        };
        (files, bytes) = (files + 1, bytes + file.bytes);
        if files > limits.files || bytes > limits.bytes {
            // Leaving the loop drops the generator where it waits: what is not asked for is not walked.
            seen.limited = true;
            break;
        }
        file.hash(&mut input);
        batch_bytes += file.bytes;
        batch.push(file.path);
        if batch.len() == BATCH_FILES || batch_bytes >= BATCH_BYTES {
            batch_bytes = 0;
            if batches.send(mem::take(&mut batch)).is_err() {
                return seen;
            }
        }
    }
    seen.input = input.finish();
    // An error says that no reader is left; `count` sees why when it joins them.
    let _ = batches.send(batch);
    seen
}

/// A reader: takes batches until the channel is closed, and has each counted by a task of its own. Returns the handles
/// of the last ones, for joining them here could run them here, one after another.
fn read_and_count(inbox: Receiver<Vec<PathBuf>>, counting: &Counting) -> VecDeque<JoinHandle<()>> {
    let mut counters = VecDeque::new();
    for batch in inbox {
        // The task waits while a thread of the blocking pool reads; the worker does something else.
        let texts: Vec<_> = unblock(move || batch.iter().map(fs::read).collect());
        let counting = counting.clone();
        counters.push_back(spawn(move || counting.count(texts)));
        if counters.len() == COUNTING {
            counters.pop_front().into_iter().for_each(joined);
        }
    }
    counters
}

impl Counting {
    fn count(&self, texts: Vec<io::Result<Vec<u8>>>) {
        let mut tally = self.spare.try_recv().unwrap_or_default();
        let (files, bytes) = (tally.files, tally.bytes);
        for text in texts {
            tally.count_file(text);
        }
        self.progress.add(tally.files - files, tally.bytes - bytes);
        // Counters do not wait, so there are no more of them at work than workers, for whose tallies there is room.
        self.put.try_send(tally).expect("the channel has room for a tally per worker");
    }
}

/// Merges all tallies into one: half of them in a task of its own, and so on.
fn merged(mut tallies: Vec<Tally>) -> Tally {
    if tallies.len() > 1 {
        let half = tallies.split_off(tallies.len() / 2);
        let half = spawn(move || merged(half));
        let mut tally = merged(tallies);
        tally.add(joined(half));
        return tally;
    }
    tallies.pop().unwrap_or_default()
}

fn joined<T>(task: JoinHandle<T>) -> T {
    task.join().unwrap_or_else(|error| panic!("a task did not end well: {error}"))
}
