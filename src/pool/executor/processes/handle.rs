//! The executor's side: how jobs become work, and results come back.

use std::any::type_name;
use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use serde::Serialize;
use serde::de::DeserializeOwned;

use super::batch::Batch;
use super::place::{Place, Seat, Work};
use super::{Desk, Gone, Left, Pending, Ticket, failure, job, threads};
use crate::coroutine::{region, unwind};
use crate::exception::Raise;
use crate::process::host::{self, Plan, RemoteError};
use crate::sync::{AsyncResult, Semaphore};
use crate::task::{self, JoinError};

/// How many jobs of a map are at most with one host, so that it need not wait for the next.
const CHUNK: usize = 32;

/// The executor's side.
pub(super) struct Handle(Arc<Inner>);

pub(super) struct Inner {
    pub(super) plan: Plan,
    desk: Arc<Desk<Work>>,
    /// A permit for each job that may be pending.
    room: Semaphore,
    /// One for each thread that there is or was.
    seats: Mutex<Vec<Arc<Seat>>>,
    pub(super) is_killed: AtomicBool,
}

/// The name of the function `F`, which must have no captures.
fn name_of<F: Copy + 'static>() -> Result<&'static str, RemoteError> {
    const { assert!(size_of::<F>() == 0, "only functions in `registered!` run in processes: this captures, or points") };
    host::name_of_function::<F>().ok_or(RemoteError::NotRegistered { function: type_name::<F>() })
}

impl Handle {
    pub(super) fn new(places: usize, queue: usize, plan: Plan) -> Self {
        Self(Arc::new(Inner {
            plan,
            desk: Arc::new(Desk::new(places)),
            room: Semaphore::new(queue),
            seats: Mutex::default(),
            is_killed: AtomicBool::new(false),
        }))
    }

    pub(super) fn places(&self) -> usize {
        self.0.desk.places()
    }

    /// How many threads there are, and how much work waits.
    pub(super) fn counts(&self) -> (usize, usize) {
        self.0.desk.counts()
    }

    /// The numbers of the processes that there are.
    pub(super) fn ids(&self) -> Vec<u32> {
        self.0.seats().iter().filter_map(|seat| seat.id()).collect()
    }

    pub(super) fn submit<F: Copy + 'static, A: Serialize, R>(&self, argument: A) -> AsyncResult<R>
    where
        R: DeserializeOwned + Send + 'static,
    {
        let result = AsyncResult::of_job(type_name::<F>());
        let mut ticket = Ticket::new(result.clone());
        let encoded = name_of::<F>().and_then(|name| Ok((name, self.0.encode(&argument)?)));
        drop(argument);
        let (name, argument) = match encoded {
            Ok(call) => call,
            Err(error) => {
                ticket.settle(Err(failure(error)));
                return result;
            }
        };
        // Nobody waits for room that is of no use.
        if self.0.desk.is_closed() {
            ticket.settle(Err(JoinError::executor_shut_down()));
            return result;
        }
        let permit = self.0.room.hold();
        let work: Work = Box::new(move |place| {
            drop(permit);
            if !ticket.begin() {
                return;
            }
            place.take_turn(|place, _| {
                place.call(name, &[argument], &AtomicBool::new(false), |_, answer| {
                    ticket.settle(answer.and_then(|value| decode(&value)));
                });
            });
        });
        if let Err((work, error)) = self.push(work) {
            // Before its ticket says that it was cancelled.
            _ = result.complete(Err(error));
            drop(work);
        }
        result
    }

    pub(super) fn map<F: Copy + 'static, I, R: DeserializeOwned>(&self, chunk: Option<usize>, items: I) -> Vec<R>
    where
        I: IntoIterator,
        I::Item: Serialize,
    {
        region::forbid("wait");
        let name = name_of::<F>().unwrap_or_else(|error| failure(error).raise());
        let encode = |item| self.0.encode(&item).unwrap_or_else(|error| failure(error).raise());
        let arguments: Vec<_> = items.into_iter().map(encode).collect();
        if arguments.is_empty() {
            return Vec::new();
        }
        let places = self.0.desk.places();
        let chunk = chunk.unwrap_or_else(|| (arguments.len() / (4 * places)).clamp(1, CHUNK));
        let jobs = places.min(arguments.len().div_ceil(chunk));
        let batch = Arc::new(Batch::new(name, chunk, arguments));
        let refusal = self.run_batch(&batch, jobs);
        task::throw_if_due();
        let results = std::mem::take(&mut *batch.results());
        let values = results.into_iter().map(|result| match result {
            Some(Ok(value)) => decode(&value),
            Some(Err(error)) => Err(error),
            None => Err(refusal.clone().unwrap_or_else(JoinError::cancelled)),
        });
        values.collect::<Result<_, _>>().unwrap_or_else(|error| error.raise())
    }

    /// Runs the batch as `jobs` jobs, and waits for them. If that is interrupted, kills the processes that run it, and goes
    /// on unwinding when they have ended. Jobs that have not begun are not waited for: they never will.
    fn run_batch(&self, batch: &Arc<Batch>, jobs: usize) -> Option<JoinError> {
        let left = Left::new(jobs);
        let mut refusal = None;
        let pending = Pending::new((0..jobs).map(|_| Gone(left.clone())));
        let interrupted = unwind::intercept(|| {
            for _ in 0..jobs {
                if self.0.desk.is_closed() {
                    refusal.get_or_insert_with(JoinError::executor_shut_down);
                    pending.forget_all();
                    break;
                }
                let permit = self.0.room.hold();
                let (batch, begins) = (batch.clone(), pending.begins());
                let work: Work = Box::new(move |place| {
                    drop(permit);
                    let Some(gone) = begins.begin() else { return };
                    place.take_turn(|place, turn| batch.work(place, turn));
                    drop((batch, gone));
                });
                if let Err((work, error)) = self.push(work) {
                    drop(work);
                    refusal.get_or_insert(error);
                }
            }
            left.none.wait();
        });
        if let Err(payload) = interrupted {
            pending.forget_all();
            batch.stop();
            task::shield(|| left.none.wait());
            unwind::throw(payload);
        }
        refusal
    }

    fn push(&self, work: Work) -> Result<(), (Work, JoinError)> {
        self.0.desk.push_to_waiting(work, |number| self.hire(number)).map_err(|(work, refusal)| (work, refusal.into()))
    }

    fn hire(&self, number: usize) -> io::Result<()> {
        let place = Place::new(self.0.clone());
        let seat = place.seat.clone();
        let name = format!("osier-process-{number}");
        threads::start(self.0.desk.clone(), name, place, |place, work: Work| job::perform(0, || work(place)))?;
        let mut seats = self.0.seats();
        // Those of threads that have ended are nobody else's.
        seats.retain(|seat| Arc::strong_count(seat) > 1);
        seats.push(seat);
        Ok(())
    }

    pub(super) fn shut_down(&self, cancel_pending: bool) {
        drop(self.0.desk.close(cancel_pending));
    }

    /// Cancels what is pending, and kills the processes.
    pub(super) fn give_up(&self) {
        self.0.is_killed.store(true, Ordering::SeqCst);
        self.shut_down(true);
        self.0.seats().iter().for_each(|seat| seat.kill(None));
    }

    pub(super) fn wait(&self) {
        self.0.desk.wait();
    }

    pub(super) fn set_places(&self, places: usize) {
        self.0.desk.set_places_of_waiting(places, |number| self.hire(number));
    }
}

impl Inner {
    fn seats(&self) -> MutexGuard<'_, Vec<Arc<Seat>>> {
        self.seats.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn encode(&self, value: &impl Serialize) -> Result<Vec<u8>, RemoteError> {
        let limit = self.plan.limit;
        let bytes = postcard::to_stdvec(value).map_err(|error| RemoteError::Encode(error.to_string()))?;
        if bytes.len() > limit { Err(RemoteError::TooLarge { bytes: bytes.len(), limit }) } else { Ok(bytes) }
    }
}

fn decode<R: DeserializeOwned>(bytes: &[u8]) -> Result<R, JoinError> {
    job::run(|| postcard::from_bytes(bytes))?.map_err(|error| failure(RemoteError::Decode(error.to_string())))
}
