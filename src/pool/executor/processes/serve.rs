//! The host's side: a job, as a registered function.

use std::io;
use std::marker::PhantomData;

use serde::Serialize;
use serde::de::DeserializeOwned;

use super::job;
use crate::process::host::{self, Hosting, Kind, Registrable};

/// Says that a function is a job from `A` to `R`.
#[derive(Debug)]
#[allow(unnameable_types, reason = "the compiler alone names it, to tell jobs from actors")]
pub struct AsJob<A, R>(PhantomData<fn(A) -> R>);

impl<F, A, R> Registrable<AsJob<A, R>> for F
where
    F: Fn(A) -> R + Copy + Send + 'static,
    A: DeserializeOwned,
    R: Serialize,
{
    const SERVE: fn(&[u8], &Hosting) -> io::Result<()> = serve::<F, A, R>;
}

/// Runs the job `F`, and answers with its value or its failure.
fn serve<F, A, R>(argument: &[u8], hosting: &Hosting) -> io::Result<()>
where
    F: Fn(A) -> R + Copy + 'static,
    A: DeserializeOwned,
    R: Serialize,
{
    let line = hosting.line();
    let ran = job::run(|| match postcard::from_bytes(argument) {
        Ok(argument) => Ok(postcard::to_stdvec(&host::function::<F>()(argument))),
        Err(error) => Err(error),
    });
    match ran {
        Ok(Ok(Ok(value))) if value.len() > line.limit() => {
            line.send(Kind::TooLarge, &[&(value.len() as u64).to_be_bytes()])
        }
        Ok(Ok(Ok(value))) => line.send(Kind::Value, &[&value]),
        Ok(Ok(Err(error))) => line.say(Kind::BadValue, &error.to_string()),
        Ok(Err(error)) => line.say(Kind::BadArgument, &error.to_string()),
        Err(error) => match (error.panic_text(), error.exception()) {
            (Some(text), _) => line.say(Kind::Panicked, text),
            (None, Some(exception)) => line.say(Kind::Raised, &exception.to_string()),
            (None, None) => line.say(Kind::Raised, &error.to_string()),
        },
    }
}
