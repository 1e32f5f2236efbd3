//! What crosses between an actor's owner and its host: messages, and in them replies and addresses.
//!
//! Both processes have one of these for an actor. A reply or an address in a message is entered here under a number, and the
//! number is sent; the other side makes a reply or an address of it that leads back. What becomes of addresses is in `afar` and `exported`.
//!
//! ```text
//!   encode: Reply, Address ─→ number, entry          decode: number ─→ Reply that sends Answer, Address of a relay that sends Post
//!   Answer, NoAnswer, BadAnswer ─→ the entry, which goes        Post ─→ the entry, until Release
//! ```
//!
//! # Invariants
//! - An entry goes when its answer has come, when its address was released, when the message it was in was refused or never
//!   sent, or with the border: so whoever asks is told in any case.
//! - Nothing of a user's is called or dropped under the lock.
//! - Whoever reads frames never waits for an actor: what a full mailbox has no room for is queued for it.

use std::any::Any;
use std::cell::RefCell;
use std::collections::HashMap;
use std::marker::PhantomData;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use serde::de::{DeserializeOwned, Error as _};
use serde::ser::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::super::address::Address;
use super::super::error::AskError;
use super::super::reply::{Abroad, Reply, Way};
use super::afar::Afar;
use super::exported::Exported;
use crate::coroutine::unwind;
use crate::exception::{Report, report};
use crate::process::RemoteError;
use crate::process::host::{self, Frame, Kind, Line};
use crate::sync::channel::Sender;

/// The number that stands for the actor itself.
pub(super) const MYSELF: u64 = 0;

/// One side of what crosses for one actor.
pub(super) struct Border {
    /// The actor's name.
    name: Arc<str>,
    /// How many bytes a message may have.
    limit: usize,
    exit: Exit,
    /// Makes the actor's own `Address`, when it is known.
    myself: OnceLock<Box<dyn Fn() -> Box<dyn Any> + Send + Sync>>,
    entries: Mutex<Entries>,
    /// Held by whoever tells the other side what has arrived.
    telling: Mutex<()>,
}

/// How frames get to the other side.
pub(super) enum Exit {
    /// The owner's: they are queued for the task that writes.
    Queue(Sender<Vec<u8>>),
    /// The host's.
    Line(&'static Line),
}

#[derive(Default)]
pub(super) struct Entries {
    /// The last number of a message, a question or an address.
    last: u64,
    questions: HashMap<u64, Question>,
    /// Actors of this side, whose addresses were sent to the other one.
    pub(super) addresses: HashMap<u64, Exported>,
    /// Of which of them the other side has not been told yet that messages have arrived.
    pub(super) unsettled: Vec<u64>,
    /// What stands for actors of the other side.
    pub(super) relays: HashMap<u64, Arc<Afar>>,
    /// Whether nothing crosses any more.
    pub(super) is_over: bool,
}

impl Entries {
    /// A number that nothing else has.
    pub(super) fn number(&mut self) -> u64 {
        self.last += 1;
        self.last
    }
}

struct Question {
    /// The number of the message it was sent in.
    message: u64,
    settle: Settle,
}

type Settle = Box<dyn FnOnce(&Arc<Border>, Result<&[u8], AskError>) + Send>;

crate::task_local! {
    /// What is being encoded or decoded here.
    static CROSSING: RefCell<Option<Crossing>> = RefCell::new(None);
}

#[derive(Clone)]
pub(super) struct Crossing {
    pub(super) border: Arc<Border>,
    /// The number of the message.
    pub(super) message: u64,
}

pub(super) fn crossing() -> Option<Crossing> {
    CROSSING.with(|crossing| crossing.borrow().clone())
}

/// Runs `f`, which calls serde's traits of a user's, as part of a crossing.
fn cross<T>(border: &Arc<Border>, message: u64, f: impl FnOnce() -> postcard::Result<T>) -> Result<T, String> {
    let crossing = Some(Crossing { border: border.clone(), message });
    let before = CROSSING.with(|current| current.replace(crossing));
    let crossed = unwind::intercept(f);
    CROSSING.with(|current| current.replace(before));
    match crossed {
        Ok(result) => result.map_err(|error| error.to_string()),
        Err(payload) => {
            unwind::drop_quietly(payload);
            Err("its serde traits panicked".to_owned())
        }
    }
}

impl Border {
    pub(super) fn new(name: Arc<str>, limit: usize, exit: Exit) -> Arc<Self> {
        Arc::new(Self {
            name,
            limit,
            exit,
            myself: OnceLock::new(),
            entries: Mutex::default(),
            telling: Mutex::default(),
        })
    }

    /// Says what the actor's own address is.
    pub(super) fn set_myself<M: Send + 'static>(&self, address: impl Fn() -> Address<M> + Send + Sync + 'static) {
        _ = self.myself.set(Box::new(move || Box::new(address())));
    }

    pub(super) fn myself<M: 'static>(&self) -> Option<Address<M>> {
        let address = self.myself.get()?().downcast().ok()?;
        Some(*address)
    }

    pub(super) fn entries(&self) -> MutexGuard<'_, Entries> {
        self.entries.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn telling(&self) -> MutexGuard<'_, ()> {
        self.telling.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn name(&self) -> &str {
        &self.name
    }

    pub(super) fn limit(&self) -> usize {
        self.limit
    }

    /// A number for a message.
    fn number(&self) -> u64 {
        self.entries().number()
    }

    /// Sends a frame. False if nothing crosses any more.
    pub(super) fn send(&self, kind: Kind, parts: &[&[u8]]) -> bool {
        match &self.exit {
            Exit::Line(line) => line.send(kind, parts).is_ok(),
            Exit::Queue(queue) => {
                let mut bytes = Vec::new();
                host::put(&mut bytes, kind, parts).is_ok() && queue.send(bytes).is_ok()
            }
        }
    }

    pub(super) fn send_number(&self, kind: Kind, number: u64) {
        self.send(kind, &[&number.to_be_bytes()]);
    }

    // ---- messages

    /// Sends `value` to the actor that the other side knows as `whom`.
    ///
    /// # Errors
    /// It does not encode, or is too long; or nothing crosses any more, and nobody will be told of it: `None`.
    pub(super) fn post<T: Serialize>(self: &Arc<Self>, whom: u64, value: &T) -> Result<(), Option<RemoteError>> {
        let message = self.number();
        let encoded = cross(self, message, || postcard::to_stdvec(value)).map_err(RemoteError::Encode);
        let fits = encoded.and_then(|bytes| match bytes.len() {
            length if length > self.limit => Err(RemoteError::TooLarge { bytes: length, limit: self.limit }),
            _ => Ok(bytes),
        });
        let bytes = fits.map_err(|error| {
            self.forget(message);
            Some(error)
        })?;
        if self.send(Kind::Post, &[&whom.to_be_bytes(), &message.to_be_bytes(), &bytes]) { Ok(()) } else { Err(None) }
    }

    pub(super) fn decode<T: DeserializeOwned>(self: &Arc<Self>, bytes: &[u8]) -> Result<T, String> {
        cross(self, 0, || postcard::from_bytes(bytes))
    }

    /// Tells the other side that a message of its does not decode.
    pub(super) fn refuse(&self, whom: u64, message: u64, why: &str) {
        let why = &why.as_bytes()[..why.len().min(host::HEAD - 16)];
        self.send(Kind::Refused, &[&whom.to_be_bytes(), &message.to_be_bytes(), why]);
    }

    /// Forgets what was sent in a message that has not arrived.
    pub(super) fn forget(&self, message: u64) {
        let mut entries = self.entries();
        let questions: Vec<_> = entries.questions.extract_if(|_, question| question.message == message).collect();
        let addresses: Vec<_> = entries.addresses.extract_if(|_, exported| exported.message == message).collect();
        drop(entries);
        drop((questions, addresses));
    }

    /// Reports that a message to the actor that the other side knows as `whom` is lost.
    pub(super) fn report(&self, whom: u64, error: &RemoteError) {
        let afar = self.afar(whom);
        let name = afar.as_ref().map_or(&*self.name, |afar| afar.name());
        report(&Report::Undelivered { name, error });
    }

    /// Enters a question to the other side, which `settle` is called for, or dropped with, when that is answered or nothing
    /// crosses any more. Gives its number, if anything does.
    pub(super) fn ask(&self, settle: impl FnOnce(&Arc<Self>, Result<&[u8], AskError>) + Send + 'static) -> Option<u64> {
        self.enter_question(0, Box::new(settle))
    }

    fn enter_question(&self, message: u64, settle: Settle) -> Option<u64> {
        let mut entries = self.entries();
        if entries.is_over {
            drop(entries);
            drop(settle);
            return None;
        }
        let number = entries.number();
        entries.questions.insert(number, Question { message, settle });
        Some(number)
    }

    /// Nothing crosses any more: who waits for an answer is told so, and what stands for actors of the other side ends.
    pub(super) fn end(&self) {
        let mut entries = self.entries();
        entries.is_over = true;
        let all = std::mem::take(&mut *entries);
        entries.is_over = true;
        drop(entries);
        if let Exit::Queue(queue) = &self.exit {
            queue.close();
        }
        all.relays.values().for_each(|afar| afar.is_lost());
    }

    // ---- frames

    /// Does what a frame says that both sides may send. An error if it is none of them.
    pub(super) fn handle(self: &Arc<Self>, frame: &Frame) -> std::io::Result<()> {
        let (number, rest) = frame.numbered()?;
        match frame.kind {
            Kind::Answer => self.settle(number, Ok(rest)),
            Kind::NoAnswer => self.settle(number, Err(AskError::NoReply)),
            Kind::BadAnswer => self.settle(number, Err(AskError::BadAnswer)),
            _ => return self.handle_address(frame.kind, number, rest),
        }
        Ok(())
    }

    fn settle(self: &Arc<Self>, number: u64, result: Result<&[u8], AskError>) {
        let question = self.entries().questions.remove(&number);
        if let Some(question) = question {
            (question.settle)(self, result);
        }
    }
}

// ---- replies

impl<R: DeserializeOwned + Send + 'static> Serialize for Reply<R> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let Some(Crossing { border, message }) = crossing() else {
            return Err(S::Error::custom("a reply crosses only in a message to an actor in another process"));
        };
        let way = self.way().clone();
        let settle = move |border: &Arc<Border>, result: Result<&[u8], AskError>| match result {
            // Whoever does not wait any more need not know.
            Ok(bytes) => match border.decode(bytes) {
                Ok(answer) => _ = way.answer(answer),
                Err(_) => way.fail(AskError::BadAnswer),
            },
            Err(AskError::NoReply) => {}
            Err(error) => way.fail(error),
        };
        match border.enter_question(message, Box::new(settle)) {
            Some(number) => serializer.serialize_u64(number),
            None => Err(S::Error::custom("the process has ended")),
        }
    }
}

impl<'de, R: Serialize + 'static> Deserialize<'de> for Reply<R> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let number = u64::deserialize(deserializer)?;
        let Some(Crossing { border, .. }) = crossing() else {
            return Err(D::Error::custom("a reply arrives only in a message from another process"));
        };
        let way = WayBack { border, number, was_used: AtomicBool::new(false), _answer: PhantomData };
        Ok(Self::by(Way::Abroad(Arc::new(way))))
    }
}

/// The way of an answer to the other side.
struct WayBack<R> {
    border: Arc<Border>,
    number: u64,
    was_used: AtomicBool,
    _answer: PhantomData<fn(R)>,
}

impl<R: Serialize> Abroad<R> for WayBack<R> {
    fn answer(&self, answer: R) -> Result<(), R> {
        let border = &self.border;
        let message = border.number();
        match cross(border, message, || postcard::to_stdvec(&answer)) {
            Ok(bytes) if bytes.len() <= border.limit => {
                self.was_used.store(true, Ordering::Relaxed);
                if border.send(Kind::Answer, &[&self.number.to_be_bytes(), &bytes]) { Ok(()) } else { Err(answer) }
            }
            _ => {
                border.forget(message);
                self.fail(AskError::BadAnswer);
                Err(answer)
            }
        }
    }

    fn fail(&self, error: AskError) {
        self.was_used.store(true, Ordering::Relaxed);
        let kind = if error == AskError::BadAnswer { Kind::BadAnswer } else { Kind::NoAnswer };
        self.border.send_number(kind, self.number);
    }
}

impl<R> Drop for WayBack<R> {
    fn drop(&mut self) {
        // Relaxed: whoever drops it is the only one that has it.
        if !self.was_used.load(Ordering::Relaxed) {
            self.border.send_number(Kind::NoAnswer, self.number);
        }
    }
}
