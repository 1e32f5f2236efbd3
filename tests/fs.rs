//! Files: the same results as std's, whichever way they are waited for; and nothing mixed or lost.
//!
//! Numbers in comments are rows of `arch-notes/conformance.md`.

#![cfg(all(feature = "net", not(miri)))]

mod common;

use std::fs as std_fs;
use std::io::{self, BufRead, BufReader, ErrorKind, Read, Seek, SeekFrom, Write};
use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::sync::Arc;

use common::{Random, ms, watch};
use osier::fs::{self, File};
use osier::runtime::LocalRuntime;
use osier::sync::Event;
use osier::{catch_exit, run, spawn, task, time};

/// A directory that is removed in the end.
struct Directory(PathBuf);

impl Directory {
    fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("osier-{}-{name}", std::process::id()));
        std_fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    fn file(&self, contents: &[u8]) -> PathBuf {
        let path = self.0.join("file");
        std_fs::write(&path, contents).unwrap();
        path
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        _ = std_fs::remove_dir_all(&self.0);
    }
}

/// Both ends of a pipe as files.
fn pipe() -> (File, File) {
    let (reader, writer) = io::pipe().unwrap();
    (OwnedFd::from(reader).try_into().unwrap(), OwnedFd::from(writer).try_into().unwrap())
}

const LINES: &[u8] = b"first\nsecond\r\nthird\n\nlast";

/// What std reads of a file with these contents, and whatever else reads it: in pieces, by lines, to the end.
fn readings(open: impl Fn() -> Box<dyn Read>) -> Vec<Vec<u8>> {
    let mut all = Vec::new();
    let mut file = open();
    let mut piece = [0; 4];
    while let count @ 1.. = file.read(&mut piece).unwrap() {
        all.push(piece[..count].to_vec());
    }
    assert_eq!(file.read(&mut piece).unwrap(), 0, "the end stays the end");
    let mut exact = [0; 6];
    let mut file = open();
    file.read_exact(&mut exact).unwrap();
    all.push(exact.to_vec());
    let mut rest = String::from("and ");
    file.read_to_string(&mut rest).unwrap();
    all.push(rest.into_bytes());
    all.extend(BufReader::new(open()).lines().map(|line| line.unwrap().into_bytes()));
    all.extend(BufReader::new(open()).split(b'\n').map(Result::unwrap));
    let mut bytes = vec![1];
    open().read_to_end(&mut bytes).unwrap();
    all.push(bytes);
    all
}

// GV-244
#[test]
fn empty_reads_and_writes_of_a_pipe_never_wait() {
    let _watch = watch();
    run(|| {
        let (mut reader, writer) = pipe();
        assert_eq!(reader.read(&mut []).unwrap(), 0);
        // Nor for their turn, while somebody waits to write more than there is room for.
        let writer = Arc::new(writer);
        let writes = spawn({
            let writer = writer.clone();
            move || (&*writer).write(&vec![1; 1 << 20])
        });
        reader.read_exact(&mut [0]).unwrap();
        assert_eq!((&*writer).write(&[]).unwrap(), 0);
        assert!(!writes.is_finished());
        reader.read_exact(&mut vec![0; (1 << 20) - 1]).unwrap();
        assert_eq!(writes.join().unwrap().unwrap(), 1 << 20);
    });
}

// GV-244
#[test]
fn files_read_as_those_of_std_do() {
    let _watch = watch();
    let directory = Directory::new("read");
    let path = directory.file(LINES);
    let expected = readings(|| Box::new(std_fs::File::open(&path).unwrap()));
    let ours = || readings(|| Box::new(File::open(&path).unwrap()));
    assert_eq!(ours(), expected);
    assert_eq!(run(ours), expected);
    assert_eq!(LocalRuntime::new().run(ours), expected);
}

// GV-244
#[test]
fn pipes_read_as_those_of_std_do() {
    let _watch = watch();
    let expected = readings(|| {
        let (reader, mut writer) = io::pipe().unwrap();
        writer.write_all(LINES).unwrap();
        Box::new(reader)
    });
    let ours = || {
        readings(|| {
            let (reader, mut writer) = pipe();
            // What is closed is at its end.
            writer.write_all(LINES).unwrap();
            Box::new(reader)
        })
    };
    assert_eq!(ours(), expected);
    assert_eq!(run(ours), expected);
}

// GV-244
#[test]
fn positions_are_those_of_std() {
    let _watch = watch();
    let directory = Directory::new("seek");
    let path = directory.file(b"");
    let mut rng = Random::new();
    run(|| {
        let mut ours = File::options().read(true).write(true).open(&path).unwrap();
        let twin = directory.0.join("twin");
        std_fs::write(&twin, b"").unwrap();
        let mut std = std_fs::File::options().read(true).write(true).open(&twin).unwrap();
        for n in 0..300_u32 {
            let place = rng.below(200);
            let length = usize::try_from(rng.below(50)).unwrap();
            match rng.below(5) {
                0 => {
                    let bytes = vec![n.to_le_bytes()[0]; length];
                    assert_eq!(ours.write(&bytes).unwrap(), std.write(&bytes).unwrap());
                }
                1 => {
                    let (mut a, mut b) = (vec![0; length], vec![0; length]);
                    assert_eq!(ours.read(&mut a).unwrap(), std.read(&mut b).unwrap());
                    assert_eq!(a, b);
                }
                2 => {
                    let to = SeekFrom::Start(place);
                    assert_eq!(ours.seek(to).unwrap(), std.seek(to).unwrap());
                }
                3 => {
                    let to = SeekFrom::Current(i64::try_from(place).unwrap() - 100);
                    let (a, b) = (ours.seek(to), std.seek(to));
                    assert_eq!(a.map_err(|error| error.kind()), b.map_err(|error| error.kind()));
                }
                _ => {
                    ours.set_len(place).unwrap();
                    std.set_len(place).unwrap();
                }
            }
        }
        assert_eq!(ours.stream_position().unwrap(), std.stream_position().unwrap());
        assert_eq!(ours.metadata().unwrap().len(), std.metadata().unwrap().len());
        ours.sync_all().unwrap();
        assert_eq!(fs::read(&path).unwrap(), std_fs::read(&twin).unwrap());
    });
}

/// Lets tasks write records of one letter each to `file`, all at once, and checks that none is torn in what `read` reads,
/// which may wait until all is written.
fn records_stay_whole(file: File, size: usize, read: impl FnOnce(&dyn Fn()) -> Vec<u8> + Send + 'static) {
    const WRITERS: u8 = 8;
    const EACH: usize = 10;
    run(move || {
        let written = Event::new();
        let reading = spawn({
            let written = written.clone();
            move || read(&|| written.wait())
        });
        let file = Arc::new(file);
        let tasks: Vec<_> = (b'a'..b'a' + WRITERS)
            .map(|letter| {
                let file = file.clone();
                spawn(move || (0..EACH).for_each(|_| assert_eq!((&*file).write(&vec![letter; size]).unwrap(), size)))
            })
            .collect();
        tasks.into_iter().for_each(|task| task.join().unwrap());
        drop(file);
        written.set();
        let bytes = reading.join().unwrap();
        assert_eq!(bytes.len(), usize::from(WRITERS) * EACH * size);
        assert!(bytes.chunks(size).all(|record| record.iter().all(|&byte| byte == record[0])), "a record is torn");
    });
}

// GV-244
#[test]
fn writes_to_one_handle_are_atomic() {
    let _watch = watch();
    let directory = Directory::new("atomic");
    let path = directory.file(b"");
    records_stay_whole(File::create(&path).unwrap(), 10_000, move |wait_until_written| {
        wait_until_written();
        fs::read(path).unwrap()
    });
}

// GV-244
#[test]
fn writes_to_a_pipe_are_atomic_and_may_be_larger_than_it() {
    let _watch = watch();
    let (mut reader, writer) = pipe();
    records_stay_whole(writer, 100_000, move |_| {
        let mut bytes = Vec::new();
        reader.read_to_end(&mut bytes).unwrap();
        bytes
    });
}

// GV-244
#[test]
fn the_ends_of_a_pipe_close() {
    let _watch = watch();
    run(|| {
        let (mut reader, writer) = pipe();
        let reading = spawn(move || reader.read(&mut [0; 8]).map(|count| (count, reader)));
        osier::yield_now();
        assert!(!reading.is_finished());
        drop(writer);
        assert_eq!(reading.join().unwrap().unwrap().0, 0);
        let (reader, mut writer) = pipe();
        drop(reader);
        assert_eq!(writer.write(b"nobody").unwrap_err().kind(), ErrorKind::BrokenPipe);
    });
}

#[test]
fn named_pipes_and_devices_wait_in_the_reactor() {
    let _watch = watch();
    let directory = Directory::new("fifo");
    let path = directory.0.join("fifo");
    assert!(std::process::Command::new("mkfifo").arg(&path).status().unwrap().success());
    LocalRuntime::new().run(|| {
        let opening = spawn({
            let path = path.clone();
            move || File::open(path)
        });
        let mut writer = File::options().write(true).open(&path).unwrap();
        let mut reader = opening.join().unwrap().unwrap();
        // On the only thread: a read that held it would wait for ever.
        let reading = spawn(move || {
            let mut bytes = [0; 5];
            reader.read_exact(&mut bytes).map(|()| bytes)
        });
        osier::yield_now();
        writer.write_all(b"shoot").unwrap();
        assert_eq!(&reading.join().unwrap().unwrap(), b"shoot");
        let mut zeros = [1; 8];
        File::open("/dev/zero").unwrap().read_exact(&mut zeros).unwrap();
        assert_eq!(zeros, [0; 8]);
        let mut null = File::options().read(true).write(true).open("/dev/null").unwrap();
        assert_eq!((null.write(b"gone").unwrap(), null.read(&mut zeros).unwrap()), (4, 0));
    });
}

#[test]
fn a_read_that_is_cancelled_loses_nothing() {
    let _watch = watch();
    let directory = Directory::new("cancel");
    let contents: Vec<u8> = (0..=255).cycle().take(20_000).collect();
    let path = directory.file(&contents);
    run(|| {
        let file = Arc::new(File::open(&path).unwrap());
        let mut bytes = Vec::new();
        loop {
            let reading = spawn({
                let file = file.clone();
                move || {
                    let mut piece = [0; 100];
                    let read = catch_exit(|| {
                        // It is thrown when the read waits.
                        task::current().cancel();
                        (&*file).read(&mut piece).unwrap()
                    });
                    read.map_or(Vec::new(), |count| piece[..count].to_vec())
                }
            });
            bytes.extend(reading.join().unwrap());
            // One that was cancelled has read nothing, as far as the next one can tell.
            let mut piece = [0; 70];
            match (&*file).read(&mut piece).unwrap() {
                0 => break,
                count => bytes.extend_from_slice(&piece[..count]),
            }
        }
        assert_eq!(bytes, contents);
    });
}

#[test]
fn what_is_kept_of_a_cancelled_read_does_not_move_a_write() {
    let _watch = watch();
    let directory = Directory::new("kept");
    let path = directory.file(b"0123456789");
    run(|| {
        for _ in 0..50 {
            let mut file = File::options().read(true).write(true).open(&path).unwrap();
            let cancelled = time::timeout(ms(0), || file.read(&mut [0; 4]).unwrap());
            // What it has got, it has moved by.
            let at = cancelled.unwrap_or(0);
            assert_eq!(file.write(b"x").unwrap(), 1);
            drop(file);
            let mut expected = b"0123456789".to_vec();
            expected[at] = b'x';
            assert_eq!(fs::read(&path).unwrap(), expected);
            fs::write(&path, b"0123456789").unwrap();
        }
    });
}

#[test]
fn handles_are_cloned_and_given_back() {
    let _watch = watch();
    let directory = Directory::new("clone");
    let path = directory.file(b"0123456789");
    run(|| {
        let mut file = File::open(&path).unwrap();
        let mut clone = file.try_clone().unwrap();
        let mut piece = [0; 3];
        file.read_exact(&mut piece).unwrap();
        clone.read_exact(&mut piece).unwrap();
        assert_eq!(&piece, b"345");
        let mut std = file.into_std().unwrap();
        std.read_exact(&mut piece).unwrap();
        assert_eq!(&piece, b"678");
    });
}

#[test]
fn functions_of_paths_do_what_those_of_std_do() {
    let _watch = watch();
    let directory = Directory::new("paths");
    let at = |name: &str| directory.0.join(name);
    run(|| {
        assert!(!fs::exists(at("a")).unwrap());
        fs::write(at("a"), "text").unwrap();
        assert_eq!(fs::read_to_string(at("a")).unwrap(), "text");
        assert_eq!(fs::copy(at("a"), at("b")).unwrap(), 4);
        fs::rename(at("b"), at("c")).unwrap();
        fs::hard_link(at("c"), at("d")).unwrap();
        assert_eq!(fs::metadata(at("d")).unwrap().len(), 4);
        fs::create_dir_all(at("e/f")).unwrap();
        fs::remove_dir(at("e/f")).unwrap();
        fs::create_dir(at("e/g")).unwrap();
        fs::remove_dir_all(at("e")).unwrap();
        fs::remove_file(at("d")).unwrap();
        let mut names: Vec<_> = fs::read_dir(&directory.0).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        names.sort_unstable();
        assert_eq!(names, ["a", "c"]);
        assert!(fs::canonicalize(at("a")).unwrap().is_absolute());
        let mut permissions = fs::metadata(at("a")).unwrap().permissions();
        permissions.set_readonly(true);
        fs::set_permissions(at("a"), permissions).unwrap();
        assert!(fs::symlink_metadata(at("a")).unwrap().permissions().readonly());
        assert!(fs::read_link(at("a")).is_err());
        assert_eq!(fs::read(at("no")).unwrap_err().kind(), ErrorKind::NotFound);
        assert_eq!(File::open(at("no")).unwrap_err().kind(), ErrorKind::NotFound);
        assert_eq!(File::create_new(at("a")).unwrap_err().kind(), ErrorKind::AlreadyExists);
        assert_eq!(fs::read_to_string(directory.file(b"\xff")).unwrap_err().kind(), ErrorKind::InvalidData);
        let mut text = String::from("kept");
        let error = File::open(directory.file(b"\xff")).unwrap().read_to_string(&mut text).unwrap_err();
        assert_eq!((error.kind(), text.as_str()), (ErrorKind::InvalidData, "kept"));
    });
}
