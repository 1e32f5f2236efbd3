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

// A switch of generators or greenlets is no wait: it is ended by whoever resumes, as its page says.
#[test]
fn every_public_wait_says_what_a_cancel_loses() {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut files = Vec::new();
    sources(&source, &mut files);
    files.retain(|file| ["generator", "greenlet"].iter().all(|room| !file.starts_with(source.join(room))));
    let mut waits = 0;
    for file in files {
        let text = fs::read_to_string(&file).unwrap();
        let mut lines = text.lines().map(str::trim_start).peekable();
        while let Some(first) = lines.next() {
            if !first.starts_with("///") {
                continue;
            }
            let mut page = vec![first];
            while let Some(line) = lines.next_if(|line| line.starts_with("///") || line.starts_with("#[")) {
                page.push(line);
            }
            let is_private = lines.peek().is_some_and(|item| item.starts_with("pub("));
            if page.contains(&"/// # Suspends") && !is_private {
                assert!(page.contains(&"/// # Cancel safety"), "{}: {:?}", file.display(), lines.peek());
                waits += 1;
            }
        }
    }
    assert!(waits > 200, "{waits}");
}
