//! The layers behind the exports: objects of a job that the page calls by numbers that it gives them.
//!
//! Means nothing by itself, and serves roots alike, for what is there without a job: a layer's own module here makes an [`Object`] of its handles. One operation serves
//! all of them, whose body is:
//!
//! * the object's number (4 bytes), 0 for the job or root itself, whose methods are the layers by their names and open
//!   them;
//! * the number of the object that the call makes (4), 0 if it makes none;
//! * the method as a string;
//! * the arguments as bytes: a MessagePack array of them.
//!
//! The answer's body is MessagePack as bytes, or empty where there is nothing to say. A second operation, whose body is
//! an object's number, drops that object: calls under way on it go on.
//!
//! What is malformed is an `InvalidArgument`, whatever it is. Objects end with their job or root, and with the worker.

mod archive;
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
use crate::persistency::Persistency;

/// Objects of layers that a job may have, and a root beside its jobs.
pub const OBJECTS_MAX: usize = 1024;
/// Calls on them that may be under way, per job, and per root. A stream that is waited for takes one.
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

/// Over what layers are opened.
#[derive(Clone, Debug)]
pub enum Owner {
    /// A job.
    Job(Job),
    /// A root, for what is there without a job.
    Root(Persistency),
}

impl Owner {
    /// Opens a layer.
    async fn open(&self, layer: &str, args: Args<'_>) -> Result<Answer> {
        match (self, layer) {
            (Owner::Job(job), "archive") => archive::attach(job, args).await,
            (Owner::Job(job), "exportJob") => archive::export(job, args).await,
            (Owner::Job(job), "datastore") => datastore::open(job, args),
            (Owner::Job(job), "sds") => sds::open(job, args),
            (Owner::Job(job), "writeBehind") => write_behind::open(job, args),
            (Owner::Root(root), "archiveReader") => archive::reader(root, args).await,
            (Owner::Root(root), "importJob") => archive::import(root, args).await,
            _ => Err(no_method(layer)),
        }
    }

    /// Says where an error happened, unless it says so itself.
    fn explain(&self, error: Error, method: &str) -> Error {
        match self {
            Owner::Job(job) if !error.message().starts_with("job ") => job.explain(error, None, method),
            _ => error,
        }
    }
}

/// Checks that a call of something that is pulled asks for what is next.
///
/// # Errors
///
/// As [`no_method`] and [`Args::none`].
pub fn check_next(method: &str, args: Args<'_>) -> Result<()> {
    if method == "next" { args.none() } else { Err(no_method(method)) }
}

/// What is answered to a method that the object does not have.
pub fn no_method(name: &str) -> Error {
    Error::new(ErrorKind::InvalidArgument, format!("no layer or method {name:?}"))
}

/// The objects of one job, or root.
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
        let mut input = Input::new(body);
        let number = input.count() as u32;
        input.end()?;
        drop(self.all.take(number));
        Ok(())
    }

    /// Begins the call that `body` describes.
    ///
    /// # Errors
    ///
    /// `InvalidArgument` if it describes none; `Overloaded` if there are too many.
    pub fn call(
        self: &Rc<Self>,
        owner: &Owner,
        body: &[u8],
    ) -> Result<impl Future<Output = Result<Output>> + use<>> {
        let mut input = Input::new(body);
        let (number, makes) = (input.count() as u32, input.count() as u32);
        let (method, args) = (input.string().to_owned(), input.bytes().to_vec());
        input.end()?;
        let object = match number {
            0 => None,
            number => Some(self.all.get(number).ok_or_else(malformed)?),
        };
        if makes != 0 && self.all.get(makes).is_some() {
            return Err(malformed());
        }
        let under_way = UnderWay::new(Rc::clone(self), args.len())?;
        let owner = owner.clone();
        Ok(async move {
            let done = async {
                under_way.0.room(makes)?;
                let Answer { body, made } = match object {
                    Some(object) => object.call(&method, Args(&args)).await?,
                    None => owner.open(&method, Args(&args)).await?,
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
            done.await.map_err(|error| owner.explain(error, &method))
        })
    }

    /// Checks that an object may be added, if one is to be.
    fn room(&self, makes: u32) -> Result<()> {
        if makes == 0 || self.all.len() < OBJECTS_MAX {
            return Ok(());
        }
        Err(Error::new(
            ErrorKind::Overloaded,
            format!("there are {OBJECTS_MAX} objects of layers, the limit"),
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
