//! Dumps as lines to read, and as JSON.

use std::fmt::{self, Write as _};
use std::time::Duration;

use super::dump::{Dump, TaskDump, WorkerDump};
use super::stack::StackFrame;

/// What the code at each path waits for. The first that fits counts.
const PURPOSES: &[(&str, &str)] = &[
    ("sync::channel", "a channel"),
    ("sync::queue", "a queue"),
    ("sync::raw_mutex", "a mutex"),
    ("sync::raw_rwlock", "a read-write lock"),
    ("sync::condvar", "a condition"),
    ("sync::condition", "a condition"),
    ("sync::semaphore", "a semaphore"),
    ("sync::barrier", "a barrier"),
    ("sync::event", "an event"),
    ("sync::once", "a value that is being made"),
    ("sync::async_result", "a result"),
    ("task::choice", "one of several things"),
    ("task::crowd", "some of several things"),
    ("task::join", "a task"),
    ("task::scope", "the tasks of its scope"),
    ("task::park", "being unparked"),
    ("task::end", "a task"),
    ("pool::", "the tasks of a pool"),
    ("runtime::quiet", "its runtime to be idle"),
    ("runtime::reactor", "a descriptor"),
    ("future", "a future"),
    ("task::builder", "its time to start"),
    ("time::", "its time"),
];

/// What the wait in the code at `path` is for; `awaits` is the task that is joined.
pub(super) fn purpose(path: &str, awaits: Option<&str>) -> String {
    if let Some(awaits) = awaits {
        return format!("task '{awaits}'");
    }
    let path = path.strip_prefix("osier::").unwrap_or(path);
    match PURPOSES.iter().find(|(room, _)| path.starts_with(room)) {
        Some((_, purpose)) => (*purpose).to_owned(),
        None => path.trim_end_matches("::{{closure}}").to_owned(),
    }
}

/// A time, to be read: a thousandth is enough.
fn rounded(time: Duration) -> Duration {
    Duration::from_millis(u64::try_from(time.as_millis()).unwrap_or(u64::MAX))
}

impl fmt::Display for Dump {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{} tasks, {} more have not started", self.tasks.len(), self.fresh)?;
        self.workers.iter().try_for_each(|worker| writeln!(f, "{worker}"))?;
        self.tasks.iter().try_for_each(|task| write!(f, "{task}"))
    }
}

impl fmt::Display for WorkerDump {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "worker {}: ", self.index)?;
        match (&self.running, self.stuck) {
            (Some(task), Some(time)) => write!(f, "stuck in task '{task}' for {:?}", rounded(time)),
            (Some(task), None) => write!(f, "runs task '{task}'"),
            (None, _) if self.is_asleep => f.write_str("asleep"),
            (None, _) => f.write_str("awake"),
        }
    }
}

/// The line of a task, without its stack.
pub(super) struct Headline<'a>(pub(super) &'a TaskDump);

impl fmt::Display for Headline<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let task = self.0;
        write!(f, "task {} '{}' on worker {}: ", task.id, task.name, task.worker)?;
        match &task.waits_for {
            Some(purpose) => write!(f, "waits for {purpose}")?,
            None => write!(f, "{}", task.state)?,
        }
        write!(f, " since {:?}, {:?} old, ", rounded(task.since), rounded(task.age))?;
        if task.is_daemon {
            f.write_str("a daemon, ")?;
        }
        write!(f, "spawned at {}", task.spawned_at)
    }
}

impl fmt::Display for TaskDump {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}", Headline(self))?;
        self.stack.iter().try_for_each(|frame| writeln!(f, "    {frame}"))
    }
}

impl fmt::Display for StackFrame {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.function)?;
        match (&self.file, self.line) {
            (Some(file), Some(line)) => write!(f, " at {file}:{line}"),
            _ => Ok(()),
        }
    }
}

// ---- JSON

impl Dump {
    /// The same as JSON: one object, whose `workers` and `tasks` are arrays; times in milliseconds.
    ///
    /// # Examples
    /// ```
    /// let runtime = osier::Runtime::builder().workers(1).build()?;
    /// assert!(runtime.dump().to_json().starts_with("{\"workers\":[{\"worker\":0,"));
    /// # Ok::<(), std::io::Error>(())
    /// ```
    pub fn to_json(&self) -> String {
        let mut json = String::new();
        json.push_str("{\"workers\":");
        list(&mut json, &self.workers, |json, worker| {
            _ = write!(json, "{{\"worker\":{},\"asleep\":{},\"running\":", worker.index, worker.is_asleep);
            optional(json, worker.running.as_deref(), quote);
            json.push_str(",\"stuck_ms\":");
            optional(json, worker.stuck, |json, time| _ = write!(json, "{}", time.as_millis()));
            json.push('}');
        });
        _ = write!(json, ",\"fresh\":{},\"tasks\":", self.fresh);
        list(&mut json, &self.tasks, TaskDump::write_json);
        json.push('}');
        json
    }
}

impl TaskDump {
    fn write_json(json: &mut String, task: &Self) {
        _ = write!(json, "{{\"id\":{},\"name\":", task.id);
        quote(json, &task.name);
        _ = write!(json, ",\"worker\":{},\"state\":\"{}\",\"waits_for\":", task.worker, task.state);
        optional(json, task.waits_for.as_deref(), quote);
        _ = write!(json, ",\"age_ms\":{},\"since_ms\":{}", task.age.as_millis(), task.since.as_millis());
        _ = write!(json, ",\"daemon\":{},\"spawned_at\":", task.is_daemon);
        quote(json, &task.spawned_at.to_string());
        json.push_str(",\"stack\":");
        list(json, &task.stack, |json, frame| {
            json.push_str("{\"function\":");
            quote(json, &frame.function);
            json.push_str(",\"file\":");
            optional(json, frame.file.as_deref(), quote);
            json.push_str(",\"line\":");
            optional(json, frame.line, |json, line| _ = write!(json, "{line}"));
            json.push('}');
        });
        json.push('}');
    }
}

fn list<T>(json: &mut String, items: &[T], write: impl Fn(&mut String, &T)) {
    json.push('[');
    for (n, item) in items.iter().enumerate() {
        if n > 0 {
            json.push(',');
        }
        write(json, item);
    }
    json.push(']');
}

fn optional<T>(json: &mut String, value: Option<T>, write: impl FnOnce(&mut String, T)) {
    match value {
        Some(value) => write(json, value),
        None => json.push_str("null"),
    }
}

fn quote(json: &mut String, text: &str) {
    json.push('"');
    for c in text.chars() {
        match c {
            '"' => json.push_str("\\\""),
            '\\' => json.push_str("\\\\"),
            '\n' => json.push_str("\\n"),
            c if c < ' ' => _ = write!(json, "\\u{:04x}", u32::from(c)),
            c => json.push(c),
        }
    }
    json.push('"');
}

#[cfg(all(test, not(osier_loom)))]
mod tests {
    use super::*;

    #[test]
    fn json_quotes_what_it_must() {
        let mut json = String::new();
        quote(&mut json, "a\"b\\c\n\u{1}é");
        assert_eq!(json, "\"a\\\"b\\\\c\\n\\u0001é\"");
    }

    #[test]
    fn a_wait_is_told_by_the_room_it_is_in() {
        assert_eq!(purpose("osier::sync::channel::exchange::Exchange<T>::take::{{closure}}", None), "a channel");
        assert_eq!(purpose("osier::task::join", Some("b")), "task 'b'");
        assert_eq!(purpose("my::own::wait::{{closure}}", None), "my::own::wait");
    }
}
