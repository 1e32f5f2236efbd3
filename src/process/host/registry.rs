//! The functions that hosts run, by name.

use std::any::TypeId;
use std::collections::HashMap;
use std::fmt;
use std::io;
use std::sync::LazyLock;

use super::Hosting;

/// Registers a plain `fn` item, so that it can run in another process, and is that function.
///
/// Where it stands does not matter, nor how often: the function is known to the whole program, before `main`. It is a job
/// for [`Processes`](crate::pool::Processes), and takes one argument; or the body of an actor for
/// [`ProcessBuilder`](crate::actor::ProcessBuilder), and takes its [`Mailbox`](crate::actor::Mailbox). What goes to the other process and back has serde's
/// `Serialize` and `DeserializeOwned`.
///
/// # Examples
/// ```
/// use osier::{pool::Coroutines, registered};
///
/// fn area((width, height): (u32, u32)) -> u32 {
///     width * height
/// }
///
/// // It is the function itself, for other backends too.
/// assert_eq!(Coroutines::with(2, |ex| ex.map(registered!(area), [(2, 3), (4, 5)])), [6, 20]);
/// ```
///
/// A closure has no name that another process could know it by:
/// ```compile_fail
/// let double = osier::registered!(|n: u32| 2 * n);
/// ```
/// ```compile_fail
/// let factor = 2;
/// let times = |n: u32| factor * n;
/// let times = osier::registered!(times);
/// ```
/// Nor has a pointer to a function:
/// ```compile_fail
/// const LEN: fn(String) -> usize = len;
/// fn len(text: String) -> usize { text.len() }
/// let len = osier::registered!(LEN);
/// ```
/// A reference does not arrive in another process:
/// ```compile_fail
/// fn len(text: &'static str) -> usize { text.len() }
/// let len = osier::registered!(len);
/// ```
/// Nor does a value that serde cannot write:
/// ```compile_fail
/// fn handle(n: u32) -> std::rc::Rc<u32> { std::rc::Rc::new(n) }
/// let handle = osier::registered!(handle);
/// ```
#[macro_export]
macro_rules! registered {
    ($function:path) => {{
        $crate::process::__inventory::submit! {
            $crate::process::Entry::__new($crate::__name_of_registered!($function), $function)
        }
        $function
    }};
}

/// What the owner and the host know something registered by: functions in two bodies may have one path.
#[doc(hidden)]
#[macro_export]
macro_rules! __name_of_registered {
    ($($what:tt)*) => {
        ::std::concat!(
            ::std::module_path!(), "::", ::std::stringify!($($what)*), ":", ::std::line!(), ":", ::std::column!()
        )
    };
}

/// Serves a call of a function: with the argument as it was sent.
pub(crate) type Serve = fn(&[u8], &Hosting) -> io::Result<()>;

/// What can be registered: a function from and to what serde knows. `K` stands for both types.
#[diagnostic::on_unimplemented(
    message = "`{Self}` cannot be registered",
    label = "not a `fn(A) -> R` of types that serde reads and writes",
    note = "the argument and the value need `Serialize` and `DeserializeOwned`: derive serde's traits for them"
)]
pub trait Registrable<K>: Copy + Send + 'static {
    /// Serves a call of it.
    #[doc(hidden)]
    const SERVE: fn(&[u8], &Hosting) -> io::Result<()>;
}

/// A function that was registered.
pub struct Entry {
    name: &'static str,
    /// Of the function's own type.
    id: fn() -> TypeId,
    pub(crate) serve: Serve,
}

inventory::collect!(Entry);

impl Entry {
    #[doc(hidden)]
    pub const fn __new<K, F: Registrable<K>>(name: &'static str, _function: F) -> Self {
        assert!(size_of::<F>() == 0, "`registered!` takes plain `fn` items");
        Self { name, id: TypeId::of::<F>, serve: F::SERVE }
    }

    /// What stands for the type `T`, and is served by `serve`.
    #[doc(hidden)]
    pub const fn __of_type<T: 'static>(name: &'static str, serve: fn(&[u8], &Hosting) -> io::Result<()>) -> Self {
        Self { name, id: TypeId::of::<T>, serve }
    }
}

impl fmt::Debug for Entry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Entry").field("name", &self.name).finish_non_exhaustive()
    }
}

/// Makes the one value of a function's type.
pub(crate) fn function<F: Copy>() -> F {
    const { assert!(size_of::<F>() == 0, "only plain `fn` items run in other processes") };
    // SAFETY:
    // - `F` has no bytes, so an aligned pointer may be read that points to none.
    // - It is `Copy`, and every `F` here comes from `Entry::__new` or from a caller that has one: there is a value, and one
    //   more changes nothing.
    unsafe { std::ptr::NonNull::<F>::dangling().read() }
}

/// The function that is known as `name`.
pub(crate) fn find(name: &str) -> Option<&'static Entry> {
    static NAMES: LazyLock<HashMap<&'static str, &'static Entry>> =
        LazyLock::new(|| inventory::iter::<Entry>().map(|entry| (entry.name, entry)).collect());
    NAMES.get(name).copied()
}

/// The name of the function whose type is `F`, or of the actor type `F`; `None` if it was not registered.
pub(crate) fn name_of<F: 'static>() -> Option<&'static str> {
    static TYPES: LazyLock<HashMap<TypeId, &'static str>> =
        LazyLock::new(|| inventory::iter::<Entry>().map(|entry| ((entry.id)(), entry.name)).collect());
    TYPES.get(&TypeId::of::<F>()).copied()
}

/// Panics if one name stands for two functions, as it may where a macro registers both: then it is not known which one is
/// asked for.
pub(super) fn check() {
    let mut known: HashMap<&str, TypeId> = HashMap::new();
    for entry in inventory::iter::<Entry>() {
        let id = (entry.id)();
        let first = *known.entry(entry.name).or_insert(id);
        assert_eq!(
            first, id,
            "two functions are registered as '{}': one macro must not register several of one name",
            entry.name
        );
    }
}
