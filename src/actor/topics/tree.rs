//! Patterns: who is interested in a topic.
//!
//! ```text
//!   a.b ─→ a ─→ b: here      a.* ─→ a ─→ any: here      a.> ─→ a: rest      > ─→ the root: rest
//! ```

use std::collections::HashMap;

/// How many words a pattern may have: the tree is as deep, and is walked on stacks that are small.
pub(super) const WORDS: usize = 64;

/// Entries by the patterns they are interested in.
#[derive(Debug)]
pub(super) struct Tree<T> {
    /// What follows after which word.
    exact: HashMap<Box<str>, Self>,
    /// What follows after any word.
    any: Option<Box<Self>>,
    /// Whose pattern ends here.
    here: Vec<T>,
    /// Whose pattern has a `>` here.
    rest: Vec<T>,
}

impl<T> Default for Tree<T> {
    fn default() -> Self {
        Self { exact: HashMap::new(), any: None, here: Vec::new(), rest: Vec::new() }
    }
}

/// Panics if `pattern` is none.
pub(super) fn check(pattern: &str) {
    let before_last = pattern.rsplit_once('.').map_or("", |(before, _)| before);
    assert!(before_last.split('.').all(|word| word != ">"), "`>` is the last word of a pattern: '{pattern}' is none");
    assert!(pattern.split('.').count() <= WORDS, "a pattern has at most {WORDS} words");
}

/// Whether `topic` is one of `pattern`.
pub(super) fn matches(pattern: &str, topic: &str) -> bool {
    let mut words = topic.split('.');
    for wanted in pattern.split('.') {
        match (wanted, words.next()) {
            (">", Some(_)) => return true,
            ("*", Some(_)) => {}
            (wanted, Some(word)) if wanted == word => {}
            _ => return false,
        }
    }
    words.next().is_none()
}

impl<T> Tree<T> {
    fn is_empty(&self) -> bool {
        self.exact.is_empty() && self.any.is_none() && self.here.is_empty() && self.rest.is_empty()
    }

    pub(super) fn insert(&mut self, pattern: &str, entry: T) {
        let mut node = self;
        for word in pattern.split('.') {
            node = match word {
                ">" => return node.rest.push(entry),
                "*" => node.any.get_or_insert_default(),
                word => node.exact.entry(word.into()).or_default(),
            };
        }
        node.here.push(entry);
    }

    /// Takes out the entry of `pattern` for which `is_it` is true.
    pub(super) fn remove(&mut self, pattern: &str, is_it: &impl Fn(&T) -> bool) -> Option<T> {
        self.remove_below(Some(pattern), is_it)
    }

    fn remove_below(&mut self, pattern: Option<&str>, is_it: &impl Fn(&T) -> bool) -> Option<T> {
        let take = |list: &mut Vec<T>| list.iter().position(is_it).map(|place| list.remove(place));
        let Some(pattern) = pattern else { return take(&mut self.here) };
        let (word, after) = pattern.split_once('.').map_or((pattern, None), |(word, after)| (word, Some(after)));
        match word {
            ">" => take(&mut self.rest),
            "*" => {
                let removed = self.any.as_mut()?.remove_below(after, is_it);
                self.any.take_if(|node| node.is_empty());
                removed
            }
            word => {
                let node = self.exact.get_mut(word)?;
                let removed = node.remove_below(after, is_it);
                if node.is_empty() {
                    self.exact.remove(word);
                }
                removed
            }
        }
    }

    /// Tells `each` the entries of all patterns that `topic` is one of.
    pub(super) fn visit<'a>(&'a self, topic: &str, each: &mut impl FnMut(&'a T)) {
        self.visit_below(Some(topic), each);
    }

    fn visit_below<'a>(&'a self, topic: Option<&str>, each: &mut impl FnMut(&'a T)) {
        let Some(topic) = topic else { return self.here.iter().for_each(each) };
        self.rest.iter().for_each(&mut *each);
        let (word, after) = topic.split_once('.').map_or((topic, None), |(word, after)| (word, Some(after)));
        if let Some(node) = self.exact.get(word) {
            node.visit_below(after, each);
        }
        if let Some(node) = &self.any {
            node.visit_below(after, each);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Every pattern and every topic of at most three words, from few words.
    #[test]
    fn the_tree_finds_what_matches() {
        let below = |words: &[&str]| {
            let mut all: Vec<String> = words.iter().map(|&word| word.to_owned()).collect();
            for length in 1..3 {
                let longer: Vec<_> = all.iter().filter(|text| text.split('.').count() == length).cloned().collect();
                all.extend(longer.iter().flat_map(|text| words.iter().map(move |word| format!("{text}.{word}"))));
            }
            all
        };
        let patterns = below(&["a", "", "*", ">"]);
        let patterns: Vec<_> = patterns.into_iter().filter(|text| !text.contains(">.")).collect();
        let mut tree = Tree::default();
        for pattern in &patterns {
            check(pattern);
            tree.insert(pattern, pattern.clone());
        }
        for topic in below(&["a", "", "b", "*"]) {
            let mut found = Vec::new();
            tree.visit(&topic, &mut |pattern: &String| found.push(pattern.clone()));
            found.sort();
            let mut expected: Vec<_> = patterns.iter().filter(|pattern| matches(pattern, &topic)).cloned().collect();
            expected.sort();
            assert_eq!(found, expected, "{topic}");
        }
        for pattern in &patterns {
            assert_eq!(tree.remove(pattern, &|entry| entry == pattern).as_ref(), Some(pattern));
            assert_eq!(tree.remove(pattern, &|entry| entry == pattern), None);
        }
        assert!(tree.is_empty(), "nothing of it is left");
    }
}
