//! The layers behind the exports: objects of a job that the page calls by numbers that it gives them.
//!
//! Means nothing by itself: a layer's own module here makes an [`Object`] of its handles. One operation serves
//! all of them, whose body is:
//!
//! * the object's number (4 bytes), 0 for the job itself, whose methods are the layers by their names and open them;
//! * the number of the object that the call makes (4), 0 if it makes none;
//! * the method as a string;
//! * the arguments as bytes: a MessagePack array of them.
//!
//! The answer's body is MessagePack as bytes, or empty where there is nothing to say. A second operation, whose body is
//! an object's number, drops that object: calls under way on it go on.
//!
//! What is malformed is an `InvalidArgument`, whatever it is. Objects end with their job, and with the worker.

mod datastore;
mod message;
mod sds;
#[cfg(test)]
mod tests;
mod write_behind;

use std::cell::Cell;
use std::fmt;
use std::rc::Rc;

use async_trait::async_trait;

pub use self::message::{Answer, Args};
use super::Table;
use super::wire::{Input, Output, malformed};
use crate::error::{Error, ErrorKind, Result};
use crate::job::Job;

/// Objects of layers that a job may have.
pub const OBJECTS_MAX: usize = 1024;
/// Calls on them that may be under way, per job. A stream that is waited for takes one.
pub const CALLS_MAX: usize = 4096;
/// Bytes that these calls may bring; a single one may bring more.
pub const CALL_BYTES_MAX: usize = 64 * 1024 * 1024;

/// Something of a layer that the page holds: the layer, or what one of its calls has made.
#[async_trait(?Send)]
pub trait Object {
    /// Carries out a call. It may take as long as it likes and be dropped at any time; one that waits for
    /// news of the job has to end when the job ends.
    ///
    /// # Errors
    ///
    /// The layer's own; [`no_method`] for a method that there is not.
    async fn call(&self, method: &str, args: Args<'_>) -> Result<Answer>;
}

/// Opens a layer over the job.
async fn open(job: &Job, layer: &str, args: Args<'_>) -> Result<Answer> {
    match layer {
        "datastore" => datastore::open(job, args),
        "sds" => sds::open(job, args),
        "writeBehind" => write_behind::open(job, args),
        _ => Err(no_method(layer)),
    }
}

/// What is answered to a method that the object does not have.
pub fn no_method(name: &str) -> Error {
    Error::new(ErrorKind::InvalidArgument, format!("no layer or method {name:?}"))
}

/// The objects of one job.
#[derive(Default)]
pub struct Objects {
    all: Table<Rc<dyn Object>>,
    /// Calls under way, and the bytes that they brought.
    calls: Cell<usize>,
    bytes: Cell<usize>,
}

impl fmt::Debug for Objects {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Objects").field("calls", &self.calls).finish_non_exhaustive()
    }
}

impl Objects {
    /// Drops the object that `body` names.
    ///
    /// # Errors
    ///
    /// `InvalidArgument` if it names none; one that is not there is fine.
    pub fn leave(&self, body: &[u8]) -> Result<()> {
        let mut input = Input(body);
        let number = input.count()? as u32;
        drop(self.all.take(number));
        if input.0.is_empty() { Ok(()) } else { Err(malformed()) }
    }

    /// Begins the call that `body` describes.
    ///
    /// # Errors
    ///
    /// `InvalidArgument` if it describes none; `Overloaded` if there are too many.
    pub fn call(
        self: &Rc<Self>,
        job: &Job,
        body: &[u8],
    ) -> Result<impl Future<Output = Result<Output>> + use<>> {
        let mut input = Input(body);
        let (number, makes) = (input.count()? as u32, input.count()? as u32);
        let (method, args) = (input.string()?.to_owned(), input.bytes()?.to_vec());
        if !input.0.is_empty() {
            return Err(malformed());
        }
        let object = match number {
            0 => None,
            number => Some(self.all.get(number).ok_or_else(malformed)?),
        };
        if makes != 0 && self.all.get(makes).is_some() {
            return Err(malformed());
        }
        let under_way = UnderWay::new(Rc::clone(self), args.len())?;
        let job = job.clone();
        Ok(async move {
            let done = async {
                under_way.0.room(makes)?;
                let Answer { body, made } = match object {
                    Some(object) => object.call(&method, Args(&args)).await?,
                    None => open(&job, &method, Args(&args)).await?,
                };
                if made.is_some() != (makes != 0) {
                    return Err(malformed());
                }
                if let Some(made) = made {
                    // Others may have come meanwhile.
                    under_way.0.room(makes)?;
                    under_way.0.all.insert(makes, made);
                }
                let mut out = Output::default();
                if !body.is_empty() {
                    out.bytes(&body);
                }
                Ok(out)
            };
            done.await.map_err(|error| explain(&job, error, &method))
        })
    }

    /// Checks that an object may be added, if one is to be.
    fn room(&self, makes: u32) -> Result<()> {
        if makes == 0 || self.all.len() < OBJECTS_MAX {
            return Ok(());
        }
        Err(Error::new(
            ErrorKind::Overloaded,
            format!("the job has {OBJECTS_MAX} objects of layers, the limit"),
        ))
    }
}

/// A call's share of what may be under way, until it is dropped.
struct UnderWay(Rc<Objects>, usize);

impl UnderWay {
    fn new(objects: Rc<Objects>, bytes: usize) -> Result<Self> {
        let (calls, taken) = (objects.calls.get(), objects.bytes.get());
        if calls >= CALLS_MAX || (taken > 0 && taken + bytes > CALL_BYTES_MAX) {
            let message = format!("{calls} calls of layers with {taken} bytes are under way");
            return Err(Error::new(ErrorKind::Overloaded, message));
        }
        objects.calls.set(calls + 1);
        objects.bytes.set(taken + bytes);
        Ok(UnderWay(objects, bytes))
    }
}

impl Drop for UnderWay {
    fn drop(&mut self) {
        let UnderWay(objects, bytes) = self;
        objects.calls.set(objects.calls.get() - 1);
        objects.bytes.set(objects.bytes.get() - *bytes);
    }
}

/// Says where an error happened, unless it says so itself.
fn explain(job: &Job, error: Error, method: &str) -> Error {
    if error.message().starts_with("job ") { error } else { job.explain(error, None, method) }
}
