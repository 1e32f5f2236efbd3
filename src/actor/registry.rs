//! Which name belongs to which actor, in the whole process.
//!
//! # Invariants
//! - A name is taken before its actor is spawned, and free again after the actor's last message was received, dropped or
//!   counted as dead.
//! - An address is published with its task: by whoever starts the actor, or by the actor, whichever is first.
//! - Nothing of a user's is called or dropped under the lock.

use std::any::Any;
use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, LazyLock, Mutex, MutexGuard, PoisonError};

use super::address::Address;
use super::error::NameTaken;

struct Entry {
    /// Which actor of this name it is.
    id: u64,
    /// An `Address<M>`; empty until it is published.
    address: Option<Box<dyn Any + Send + Sync>>,
}

static NAMES: LazyLock<Mutex<HashMap<Arc<str>, Entry>>> = LazyLock::new(Mutex::default);

fn names() -> MutexGuard<'static, HashMap<Arc<str>, Entry>> {
    NAMES.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A name that is taken, until this is dropped.
#[derive(Debug)]
pub(super) struct Name {
    name: Arc<str>,
    id: u64,
}

impl Name {
    pub(super) fn take(name: &Arc<str>) -> Result<Self, NameTaken> {
        static LAST: AtomicU64 = AtomicU64::new(0);
        // Relaxed: only a number of its own is asked for.
        let id = LAST.fetch_add(1, Ordering::Relaxed);
        let mut names = names();
        if names.contains_key(name) {
            drop(names);
            return Err(NameTaken { name: name.clone() });
        }
        names.insert(name.clone(), Entry { id, address: None });
        Ok(Self { name: name.clone(), id })
    }

    /// What publishes the address of this name's actor.
    pub(super) fn id(&self) -> u64 {
        self.id
    }
}

impl Drop for Name {
    fn drop(&mut self) {
        let removed = names().remove(&self.name);
        debug_assert!(removed.as_ref().is_some_and(|entry| entry.id == self.id), "a name belongs to one actor");
        drop(removed);
    }
}

/// Lets others find `address`, if its actor, which took its name with `id`, has not ended.
pub(super) fn publish<M: Send + 'static>(id: u64, address: Address<M>) {
    let address: Box<dyn Any + Send + Sync> = Box::new(address);
    let mut names = names();
    let name = address.downcast_ref::<Address<M>>().map(Address::name);
    let entry = name.and_then(|name| names.get_mut(name)).filter(|entry| entry.id == id);
    let unused = match entry {
        Some(entry) if entry.address.is_none() => {
            entry.address = Some(address);
            None
        }
        _ => Some(address),
    };
    drop(names);
    drop(unused);
}

/// Why there is no address.
pub(super) enum Missing {
    Name,
    Type,
}

pub(super) fn find<M: Send + 'static>(name: &str) -> Result<Address<M>, Missing> {
    let names = names();
    let address = names.get(name).and_then(|entry| entry.address.as_ref()).ok_or(Missing::Name)?;
    address.downcast_ref::<Address<M>>().cloned().ok_or(Missing::Type)
}
