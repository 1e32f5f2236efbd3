//! Who is measured: each system's program, and what it takes to run it.
//!
//! Programs in Rust are built by cargo, beside this one. The others are built by `benches/peers/run` into `target/peers/` when
//! their compilers and libraries are there; `benches/peers/setup.sh` installs those on Debian. A program that is not there is
//! said to be missing, and left out.

use std::path::{Path, PathBuf};
use std::process::Command;

/// What a program is run by.
#[derive(Clone, Copy)]
enum Kind {
    /// osier's own example.
    Osier,
    /// A program in Rust, by cargo.
    Rust,
    /// A program that `run` has built.
    Built,
    /// A script, by the interpreter that `setup.sh` has made.
    Python(&'static str),
}

/// A system that is measured.
pub(crate) struct System {
    pub(crate) name: &'static str,
    kind: Kind,
    /// It is about a hundred times as slow as the others at everything.
    pub(crate) is_slow: bool,
    /// Its tasks have stacks of their own.
    pub(crate) is_stackful: bool,
}

const fn rust(name: &'static str) -> System {
    System { name, kind: Kind::Rust, is_slow: false, is_stackful: false }
}

/// With stacks.
const fn stackful(name: &'static str, kind: Kind, is_slow: bool) -> System {
    System { name, kind, is_slow, is_stackful: true }
}

const fn python(name: &'static str, script: &'static str) -> System {
    System { name, kind: Kind::Python(script), is_slow: true, is_stackful: false }
}

/// All of them; osier is the first.
pub(crate) const SYSTEMS: [System; 15] = [
    stackful("osier", Kind::Osier, false),
    stackful("corosensei", Kind::Rust, false),
    rust("epoll"),
    stackful("generator", Kind::Rust, false),
    stackful("may", Kind::Rust, false),
    rust("tokio_current_thread"),
    rust("tokio_multi_thread"),
    rust("smol"),
    rust("rayon"),
    stackful("threads", Kind::Rust, true),
    stackful("go", Kind::Built, false),
    stackful("boost", Kind::Built, false),
    python("python", "generators.py"),
    stackful("greenlet", Kind::Python("greenlets.py"), true),
    stackful("gevent", Kind::Python("gevents.py"), true),
];

/// A system whose program is there.
pub(crate) struct Program {
    pub(crate) system: &'static System,
    path: PathBuf,
    script: Option<PathBuf>,
}

impl Program {
    /// What runs a workload.
    pub(crate) fn command(&self) -> Command {
        let mut command = Command::new(&self.path);
        command.args(&self.script);
        command
    }

    /// The command line of its echo server, if it has one.
    pub(crate) fn echo_server(&self) -> String {
        let words = std::iter::once(&self.path).chain(&self.script).map(|path| path.display().to_string());
        words.chain(["echo".to_owned()]).collect::<Vec<_>>().join(" ")
    }
}

/// The programs that are there, and the names of the systems whose are not.
pub(crate) fn find(root: &Path, beside: &Path) -> (Vec<Program>, Vec<&'static str>) {
    let mut missing = Vec::new();
    let mut programs = Vec::new();
    for system in &SYSTEMS {
        let (path, script) = match system.kind {
            Kind::Osier => (root.join("target/release/examples/workloads"), None),
            Kind::Rust => (beside.with_file_name(system.name), None),
            Kind::Built => (root.join("target/peers").join(system.name), None),
            Kind::Python(script) => {
                (root.join("target/peers/python/bin/python"), Some(root.join("benches/peers/python").join(script)))
            }
        };
        if path.exists() {
            programs.push(Program { system, path, script });
        } else {
            missing.push(system.name);
        }
    }
    (programs, missing)
}
