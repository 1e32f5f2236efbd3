//! What the public pages promise.

#![cfg(not(miri))]

use std::fs;
use std::path::{Path, PathBuf};

/// All source files below `folder`.
fn sources(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() { sources(&path, found) } else { found.push(path) }
    }
}

/// Something with a page, or with none.
struct Item {
    file: PathBuf,
    page: Vec<String>,
    /// Its first lines, up to its body: joined.
    head: String,
}

impl Item {
    /// The name of a public function.
    fn function(&self) -> Option<&str> {
        let rest = self.head.strip_prefix("pub fn ").or_else(|| self.head.strip_prefix("pub unsafe fn "))?;
        rest.split(|c: char| !c.is_alphanumeric() && c != '_').next()
    }

    fn has(&self, heading: &str) -> bool {
        self.page.iter().any(|line| *line == format!("/// # {heading}"))
    }

    fn is_private(&self) -> bool {
        self.head.starts_with("pub(")
    }
}

/// Everything in the rooms that wait. A switch of generators or greenlets is no wait: it is ended by whoever resumes, as its
/// page says.
fn items() -> Vec<Item> {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut files = Vec::new();
    sources(&source, &mut files);
    files.retain(|file| ["generator", "greenlet"].iter().all(|room| !file.starts_with(source.join(room))));
    let mut items = Vec::new();
    for file in files {
        let text = fs::read_to_string(&file).unwrap();
        let mut lines = text.lines().map(str::trim).peekable();
        while lines.peek().is_some() {
            let mut page = Vec::new();
            while let Some(line) = lines.next_if(|line| line.starts_with("///") || line.starts_with("#[")) {
                page.push(line.to_owned());
            }
            let Some(mut head) = lines.next().map(str::to_owned) else { break };
            let is_function = head.starts_with("pub fn ") || head.starts_with("pub unsafe fn ");
            while is_function
                && !head.ends_with(['{', ';'])
                && let Some(line) = lines.next()
            {
                head = format!("{head} {line}");
            }
            if !page.is_empty() || is_function {
                items.push(Item { file: file.clone(), page, head });
            }
        }
    }
    items
}

#[test]
fn every_public_wait_says_what_a_cancel_loses() {
    let mut waits = 0;
    for item in items().iter().filter(|item| item.has("Suspends") && !item.is_private()) {
        assert!(item.has("Cancel safety"), "{}: {}", item.file.display(), item.head);
        waits += 1;
    }
    assert!(waits > 200, "{waits}");
}

/// Functions that take a time, and do not wait for it: what they make does.
const MAKE: [&str; 7] = ["spawn_later", "after", "timeout", "deadline", "reset_after", "reset_at", "select_timeout"];
/// Functions that hold the thread that calls them, whatever runs there.
const HOLD_THE_THREAD: [&str; 2] = ["run_once", "shutdown"];

// Whoever takes a time limit waits, and so does the form without one; and so does what says so.
#[test]
fn every_public_wait_says_that_it_suspends() {
    let items = items();
    let takes_a_limit = |item: &&Item| {
        let names = ["timeout: ", "deadline: ", "d: "];
        let types = ["Duration", "Instant", "impl Into<Option<Duration>>"];
        let mut parameters = item.head.split(['(', ',', ')']).map(str::trim);
        let is_limit = |parameter: &str| {
            names.iter().any(|name| parameter.strip_prefix(name).is_some_and(|of| types.contains(&of)))
        };
        parameters.any(is_limit)
    };
    let mut waits = 0;
    for item in items.iter().filter(|item| item.function().is_some()).filter(takes_a_limit) {
        let name = item.function().unwrap();
        if MAKE.contains(&name) || HOLD_THE_THREAD.contains(&name) || name.starts_with("set_") {
            continue;
        }
        assert!(item.has("Suspends"), "{}: {}", item.file.display(), item.head);
        waits += 1;
        let base = name.strip_suffix("_timeout").or_else(|| name.strip_suffix("_deadline"));
        let forms = items.iter().filter(|other| other.file == item.file && base.is_some() && other.function() == base);
        // What macros alone call has no page.
        for form in forms.filter(|form| form.page.iter().any(|line| line.starts_with("///"))) {
            assert!(form.has("Suspends"), "{}: {}", form.file.display(), form.head);
        }
    }
    assert!(waits > 80, "{waits}");
    let says_so = |item: &&Item| item.page.first().is_some_and(|line| line.starts_with("/// Waits "));
    for item in items.iter().filter(|item| item.function().is_some_and(|name| name != "wait")).filter(says_so) {
        assert!(item.has("Suspends"), "{}: {}", item.file.display(), item.head);
    }
}
