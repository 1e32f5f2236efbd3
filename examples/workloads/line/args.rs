//! The command line: a workload's name, then `key=value`.
//!
//! A workload lists its keys with their defaults; what it does not list is a mistake, so that a misspelt key is never
//! measured as if it were not there.

use std::collections::BTreeMap;
use std::fmt;

/// A key of a workload: what it takes and what it is when nobody gives it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Key {
    pub(crate) name: &'static str,
    pub(crate) takes: Takes,
}

/// What a key takes.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Takes {
    /// A whole number, at least the first of the two; the second is the default.
    Number(u64, u64),
    /// One of these words; the first is the default.
    Word(&'static [&'static str]),
}

/// A key for a number that is at least 1.
pub(crate) const fn count(name: &'static str, default: u64) -> Key {
    Key { name, takes: Takes::Number(1, default) }
}

/// A key for a number that may be 0, as for switches.
pub(crate) const fn number(name: &'static str, default: u64) -> Key {
    Key { name, takes: Takes::Number(0, default) }
}

/// A key for one of some words.
pub(crate) const fn word(name: &'static str, words: &'static [&'static str]) -> Key {
    Key { name, takes: Takes::Word(words) }
}

/// The key that every workload has: how often it is timed.
pub(crate) const REPS: Key = count("reps", 5);

/// The value of a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Value {
    Number(u64),
    Word(&'static str),
}

impl fmt::Display for Value {
    /// As JSON.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Number(n) => write!(f, "{n}"),
            Self::Word(word) => write!(f, "\"{word}\""),
        }
    }
}

/// The values of all keys of one workload.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Params {
    values: BTreeMap<&'static str, Value>,
}

impl Params {
    /// Reads `key=value` arguments for a workload with these keys. Of a key that is given twice, the last counts.
    ///
    /// # Errors
    /// An unknown key, or a value that its key does not take: a sentence that says which.
    pub(crate) fn parse(keys: &[Key], arguments: &[String]) -> Result<Self, String> {
        let mut values: BTreeMap<_, _> =
            keys.iter().chain([&REPS]).map(|key| (key.name, key.takes.default_value())).collect();
        for argument in arguments {
            let Some((name, text)) = argument.split_once('=') else {
                return Err(format!("expected key=value, found '{argument}'"));
            };
            let Some(key) = keys.iter().chain([&REPS]).find(|key| key.name == name) else {
                let known: Vec<_> = keys.iter().chain([&REPS]).map(|key| key.name).collect();
                return Err(format!("unknown key '{name}'; this workload has {}", known.join(", ")));
            };
            let value = key.takes.read(text).map_err(|expected| format!("'{argument}': expected {expected}"))?;
            values.insert(key.name, value);
        }
        Ok(Self { values })
    }

    /// The value of a key that takes a number.
    ///
    /// # Panics
    /// If the workload has no such key: that is a mistake of this program.
    pub(crate) fn number(&self, name: &str) -> u64 {
        match self.values.get(name) {
            Some(Value::Number(n)) => *n,
            other => panic!("the workload has no number '{name}' but {other:?}"),
        }
    }

    /// The same for what is counted in memory.
    pub(crate) fn size(&self, name: &str) -> usize {
        usize::try_from(self.number(name)).expect("the number fits into the address space")
    }

    /// Whether a number that serves as a switch is not 0.
    pub(crate) fn is_set(&self, name: &str) -> bool {
        self.number(name) != 0
    }

    /// The value of a key that takes a word.
    ///
    /// # Panics
    /// If the workload has no such key: that is a mistake of this program.
    pub(crate) fn word(&self, name: &str) -> &'static str {
        match self.values.get(name) {
            Some(Value::Word(word)) => word,
            other => panic!("the workload has no word '{name}' but {other:?}"),
        }
    }

    /// What a report shows: every key but the number of operations, which stands by itself, and the repetitions, which
    /// are all listed.
    pub(crate) fn shown(&self) -> impl Iterator<Item = (&'static str, Value)> {
        let values = self.values.iter().map(|(&name, &value)| (name, value));
        values.filter(|(name, _)| !["n", REPS.name].contains(name))
    }
}

impl Takes {
    fn default_value(self) -> Value {
        match self {
            Self::Number(_, default) => Value::Number(default),
            Self::Word(words) => Value::Word(words[0]),
        }
    }

    fn read(self, text: &str) -> Result<Value, String> {
        match self {
            Self::Number(least, _) => match read_number(text) {
                Some(n) if n >= least => Ok(Value::Number(n)),
                _ => Err(format!("a whole number from {least} on")),
            },
            Self::Word(words) => match words.iter().find(|&&word| word == text) {
                Some(word) => Ok(Value::Word(word)),
                None => Err(format!("one of {}", words.join(", "))),
            },
        }
    }
}

/// Reads digits, with underscores between them as in Rust.
fn read_number(text: &str) -> Option<u64> {
    if !text.starts_with(|c: char| c.is_ascii_digit()) {
        return None;
    }
    text.replace('_', "").parse().ok()
}
