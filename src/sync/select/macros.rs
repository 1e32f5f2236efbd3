//! `select!` and `select_biased!`.
//!
//! Both read their branches one by one, giving each the next number, then make one expression: a tuple with a reference
//! to each object, an array of arms, the wait, and a chain of `if`s of which one completes the operation and runs the
//! branch's code. That code stands in no closure and no loop, so `return`, `break` and `?` mean what they mean outside.

/// Waits for the first of several operations and runs the code of that branch; its value is the macro's.
///
/// | branch | begins when |
/// | --- | --- |
/// | `recv(receiver) -> result => code` | there is a value to receive, or the channel is closed; also from an actor's mailbox, or a subscription |
/// | `send(sender, value) -> result => code` | there is room or a receiver, or the channel is closed; `value` is evaluated then |
/// | `join(handle) -> result => code` | the task has ended; takes the handle |
/// | `wait(object) => code` | an object that [`wait`](crate::wait) takes is ready: an event, or a socket's `when_readable()` |
/// | `default => code` | nothing else is ready now |
/// | `default(timeout) => code` | nothing else was ready within that duration |
///
/// Of several that are ready any may be begun; [`select_biased!`](crate::select_biased!) begins the first in the text. Up
/// to 100 branches; [`Select`](crate::sync::channel::Select) serves more, and numbers known only at run time.
///
/// # Suspends
/// The calling task, or on a plain thread the thread, unless there is a `default` without a timeout.
///
/// # Cancel safety
/// A task that is cancelled while it waits has received and sent nothing. What has been begun is completed.
///
/// # Examples
/// ```
/// use osier::select;
/// use osier::sync::channel;
/// use std::time::Duration;
///
/// let (numbers, inbox) = channel::bounded(1);
/// let (_words, words) = channel::unbounded::<&str>();
/// osier::run(|| {
///     let producer = osier::spawn(move || numbers.send(1));
///     let got = select! {
///         recv(inbox) -> number => number.unwrap(),
///         recv(words) -> word => word.unwrap().len(),
///         default(Duration::from_secs(60)) => 0,
///     };
///     assert_eq!(got, 1);
///     select! {
///         join(producer) -> result => result.unwrap().unwrap(),
///         recv(words) -> word => panic!("{word:?}"),
///     }
/// });
/// ```
#[macro_export]
macro_rules! select {
    ($($branches:tt)*) => {
        $crate::__select!(@read (false) [] [] [0 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20 21 22 23 24 25 26 27 28 29 30 31 32 33 34 35 36 37 38 39 40 41 42 43 44 45 46 47 48 49 50 51 52 53 54 55 56 57 58 59 60 61 62 63 64 65 66 67 68 69 70 71 72 73 74 75 76 77 78 79 80 81 82 83 84 85 86 87 88 89 90 91 92 93 94 95 96 97 98 99] $($branches)*)
    };
}

/// As [`select!`](crate::select!), but of several operations that are ready the first in the text is begun.
///
/// # Examples
/// ```
/// use osier::{select_biased, sync::channel};
///
/// let (urgent, first) = channel::unbounded();
/// let (normal, second) = channel::unbounded();
/// normal.send("later").unwrap();
/// urgent.send("now").unwrap();
/// let got = select_biased! {
///     recv(first) -> word => word,
///     recv(second) -> word => word,
/// };
/// assert_eq!(got, Ok("now"));
/// ```
#[macro_export]
macro_rules! select_biased {
    ($($branches:tt)*) => {
        $crate::__select!(@read (true) [] [] [0 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20 21 22 23 24 25 26 27 28 29 30 31 32 33 34 35 36 37 38 39 40 41 42 43 44 45 46 47 48 49 50 51 52 53 54 55 56 57 58 59 60 61 62 63 64 65 66 67 68 69 70 71 72 73 74 75 76 77 78 79 80 81 82 83 84 85 86 87 88 89 90 91 92 93 94 95 96 97 98 99] $($branches)*)
    };
}

#[doc(hidden)]
#[macro_export]
macro_rules! __select {
    // ---- reads one branch: bias, arms so far, default so far, numbers that are left, branches that are left. A block with
    // a comma behind it has a rule of its own, so that each branch costs one level of the recursion of macros, of which
    // there are 128.
    (@read $bias:tt $arms:tt $default:tt $numbers:tt) => {
        $crate::__select!(@emit $bias $arms $default)
    };
    (@read $bias:tt $arms:tt $default:tt $numbers:tt , $($rest:tt)*) => {
        $crate::__select!(@read $bias $arms $default $numbers $($rest)*)
    };
    (@read $bias:tt [$($arms:tt)*] $default:tt [$number:tt $($numbers:tt)*] recv($object:expr $(,)?) -> $result:pat => $code:block, $($rest:tt)*) => {
        $crate::__select!(@read $bias [$($arms)* {$number recv ($object) ($result) ($code)}] $default [$($numbers)*] $($rest)*)
    };
    (@read $bias:tt [$($arms:tt)*] $default:tt [$number:tt $($numbers:tt)*] recv($object:expr $(,)?) -> $result:pat => $code:block $($rest:tt)*) => {
        $crate::__select!(@read $bias [$($arms)* {$number recv ($object) ($result) ($code)}] $default [$($numbers)*] $($rest)*)
    };
    (@read $bias:tt [$($arms:tt)*] $default:tt [$number:tt $($numbers:tt)*] recv($object:expr $(,)?) -> $result:pat => $code:expr $(, $($rest:tt)*)?) => {
        $crate::__select!(@read $bias [$($arms)* {$number recv ($object) ($result) ($code)}] $default [$($numbers)*] $($($rest)*)?)
    };
    (@read $bias:tt [$($arms:tt)*] $default:tt [$number:tt $($numbers:tt)*] send($object:expr, $value:expr $(,)?) -> $result:pat => $code:block, $($rest:tt)*) => {
        $crate::__select!(@read $bias [$($arms)* {$number send ($object, $value) ($result) ($code)}] $default [$($numbers)*] $($rest)*)
    };
    (@read $bias:tt [$($arms:tt)*] $default:tt [$number:tt $($numbers:tt)*] send($object:expr, $value:expr $(,)?) -> $result:pat => $code:block $($rest:tt)*) => {
        $crate::__select!(@read $bias [$($arms)* {$number send ($object, $value) ($result) ($code)}] $default [$($numbers)*] $($rest)*)
    };
    (@read $bias:tt [$($arms:tt)*] $default:tt [$number:tt $($numbers:tt)*] send($object:expr, $value:expr $(,)?) -> $result:pat => $code:expr $(, $($rest:tt)*)?) => {
        $crate::__select!(@read $bias [$($arms)* {$number send ($object, $value) ($result) ($code)}] $default [$($numbers)*] $($($rest)*)?)
    };
    (@read $bias:tt [$($arms:tt)*] $default:tt [$number:tt $($numbers:tt)*] join($object:expr $(,)?) -> $result:pat => $code:block, $($rest:tt)*) => {
        $crate::__select!(@read $bias [$($arms)* {$number join ($object) ($result) ($code)}] $default [$($numbers)*] $($rest)*)
    };
    (@read $bias:tt [$($arms:tt)*] $default:tt [$number:tt $($numbers:tt)*] join($object:expr $(,)?) -> $result:pat => $code:block $($rest:tt)*) => {
        $crate::__select!(@read $bias [$($arms)* {$number join ($object) ($result) ($code)}] $default [$($numbers)*] $($rest)*)
    };
    (@read $bias:tt [$($arms:tt)*] $default:tt [$number:tt $($numbers:tt)*] join($object:expr $(,)?) -> $result:pat => $code:expr $(, $($rest:tt)*)?) => {
        $crate::__select!(@read $bias [$($arms)* {$number join ($object) ($result) ($code)}] $default [$($numbers)*] $($($rest)*)?)
    };
    (@read $bias:tt [$($arms:tt)*] $default:tt [$number:tt $($numbers:tt)*] wait($object:expr $(,)?) => $code:block, $($rest:tt)*) => {
        $crate::__select!(@read $bias [$($arms)* {$number wait ($object) () ($code)}] $default [$($numbers)*] $($rest)*)
    };
    (@read $bias:tt [$($arms:tt)*] $default:tt [$number:tt $($numbers:tt)*] wait($object:expr $(,)?) => $code:block $($rest:tt)*) => {
        $crate::__select!(@read $bias [$($arms)* {$number wait ($object) () ($code)}] $default [$($numbers)*] $($rest)*)
    };
    (@read $bias:tt [$($arms:tt)*] $default:tt [$number:tt $($numbers:tt)*] wait($object:expr $(,)?) => $code:expr $(, $($rest:tt)*)?) => {
        $crate::__select!(@read $bias [$($arms)* {$number wait ($object) () ($code)}] $default [$($numbers)*] $($($rest)*)?)
    };
    (@read $bias:tt $arms:tt [] $numbers:tt default $(())? => $code:block, $($rest:tt)*) => {
        $crate::__select!(@read $bias $arms [() ($code)] $numbers $($rest)*)
    };
    (@read $bias:tt $arms:tt [] $numbers:tt default $(())? => $code:block $($rest:tt)*) => {
        $crate::__select!(@read $bias $arms [() ($code)] $numbers $($rest)*)
    };
    (@read $bias:tt $arms:tt [] $numbers:tt default $(())? => $code:expr $(, $($rest:tt)*)?) => {
        $crate::__select!(@read $bias $arms [() ($code)] $numbers $($($rest)*)?)
    };
    (@read $bias:tt $arms:tt [] $numbers:tt default($timeout:expr $(,)?) => $code:block, $($rest:tt)*) => {
        $crate::__select!(@read $bias $arms [($timeout) ($code)] $numbers $($rest)*)
    };
    (@read $bias:tt $arms:tt [] $numbers:tt default($timeout:expr $(,)?) => $code:block $($rest:tt)*) => {
        $crate::__select!(@read $bias $arms [($timeout) ($code)] $numbers $($rest)*)
    };
    (@read $bias:tt $arms:tt [] $numbers:tt default($timeout:expr $(,)?) => $code:expr $(, $($rest:tt)*)?) => {
        $crate::__select!(@read $bias $arms [($timeout) ($code)] $numbers $($($rest)*)?)
    };
    (@read $bias:tt $arms:tt [$($default:tt)+] $numbers:tt default $($rest:tt)*) => {
        compile_error!("there can be only one `default` branch in `select!`")
    };
    (@read $bias:tt $arms:tt $default:tt [] $($rest:tt)*) => {
        compile_error!("`select!` takes at most 100 branches; use `Select` for more")
    };
    (@read $bias:tt $arms:tt $default:tt $numbers:tt $($rest:tt)*) => {
        compile_error!(concat!(
            "expected `recv(receiver) -> result => code`, `send(sender, value) -> result => code`, ",
            "`join(handle) -> result => code`, `wait(object) => code`, `default => code` or `default(timeout) => code`, ",
            "found `", stringify!($($rest)*), "`",
        ))
    };

    // ---- writes the expression
    (@emit $bias:tt [] []) => {
        compile_error!("`select!` without a branch would wait for ever")
    };
    (@emit ($bias:tt) [$({$number:tt $kind:ident $object:tt $result:tt ($code:expr)})*] []) => {
        {
            #[allow(unused_imports, reason = "not every select has all kinds")]
            use $crate::sync::select_expansion::{Join as _, Receive as _, Send as _};
            match ($($crate::__select!(@object $kind $object),)*) {
                objects => {
                    let operations = [$($crate::__select!(@operation $kind (objects.$number))),*];
                    let operation = $crate::sync::select_expansion::select(operations, $bias);
                    let (begun, mut at) = (operation.index(), 0);
                    $(
                        if $crate::sync::select_expansion::next(&mut at) == begun {
                            $crate::__select!(@complete $kind operation (objects.$number) $object $result);
                            $code
                        } else
                    )* {
                        unreachable!("one of the branches was selected")
                    }
                }
            }
        }
    };
    (@emit ($bias:tt) [$({$number:tt $kind:ident $object:tt $result:tt ($code:expr)})*] [$timeout:tt ($default:expr)]) => {
        {
            #[allow(unused_imports, reason = "not every select has all kinds")]
            use $crate::sync::select_expansion::{Join as _, Receive as _, Send as _};
            match ($($crate::__select!(@object $kind $object),)*) {
                objects => {
                    let operations = [$($crate::__select!(@operation $kind (objects.$number))),*];
                    let operation = $crate::__select!(@patience $timeout operations $bias);
                    // Moved as a whole either way, so that no borrow of an object outlives it: the code may take a handle.
                    match operation.as_ref().map($crate::sync::channel::SelectedOperation::index) {
                        Some(begun) => {
                            #[allow(unused_variables, reason = "without arms nothing is completed")]
                            let operation = operation.expect("it has an index");
                            #[allow(unused_mut, reason = "without arms nothing is counted")]
                            let mut at = 0_usize;
                            $(
                                if $crate::sync::select_expansion::next(&mut at) == begun {
                                    $crate::__select!(@complete $kind operation (objects.$number) $object $result);
                                    $code
                                } else
                            )* {
                                unreachable!("one of the branches was selected")
                            }
                        }
                        None => {
                            drop(operation);
                            $default
                        }
                    }
                }
            }
        }
    };

    (@patience () $operations:ident $bias:tt) => {
        $crate::sync::select_expansion::try_select($operations, $bias)
    };
    (@patience ($timeout:expr) $operations:ident $bias:tt) => {
        $crate::sync::select_expansion::select_timeout($operations, $bias, $timeout)
    };

    // ---- a reference to the object, through whatever it derefs to
    (@object recv ($object:expr)) => {
        $object.__osier_recv()
    };
    (@object send ($object:expr, $value:expr)) => {
        $object.__osier_send()
    };
    (@object join ($object:expr)) => {
        $object.__osier_join()
    };
    (@object wait ($object:expr)) => {
        &$object
    };

    (@operation recv ($object:expr)) => {
        $crate::sync::select_expansion::receiving($object)
    };
    (@operation send ($object:expr)) => {
        $crate::sync::select_expansion::sending($object)
    };
    (@operation join ($object:expr)) => {
        $crate::sync::select_expansion::joining($object)
    };
    (@operation wait ($object:expr)) => {
        $crate::sync::select_expansion::waiting($object)
    };

    // ---- completes what was begun
    (@complete recv $operation:ident ($reference:expr) $object:tt ($result:pat)) => {
        let $result = $crate::sync::select_expansion::Receive::__osier_complete($reference, $operation);
    };
    (@complete send $operation:ident ($reference:expr) ($object:expr, $value:expr) ($result:pat)) => {
        let $result = $crate::sync::select_expansion::Send::__osier_complete($reference, $operation, $value);
    };
    (@complete join $operation:ident ($reference:expr) ($object:expr) ($result:pat)) => {
        drop($operation);
        let $result = $crate::sync::select_expansion::Join::__osier_complete($object);
    };
    (@complete wait $operation:ident ($reference:expr) $object:tt ()) => {
        drop($operation);
    };
}
