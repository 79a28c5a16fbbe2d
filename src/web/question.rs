//! Calls of the page that a job's worker answers: what their bodies hold, and what the worker is asked for them.
//!
//! Checks the limits as handles do; nothing here awaits, and nothing is asked yet.

use std::sync::Arc;

use super::wire::{Input, malformed, range, unpack_batch};
use crate::check::Check;
use crate::engine::{Found, Page, Query};
use crate::error::Result;
use crate::job::{Job, Weighed};
use crate::limits;
use crate::watch::{Beginning, Commits};
use crate::worker::{LogChange, Read, Task};

/// What a job's worker is asked.
#[derive(Debug)]
pub enum Question {
    Read(Read),
    Task(Task),
    /// Everything accepted before is to be durable, or this seq.
    Sync(Option<u64>),
    /// Nothing: the answer is known.
    Answered(Found),
}

/// What an answer needs to know of its call.
pub struct Said {
    pub category: Option<Arc<str>>,
    pub operation: &'static str,
    pub kind: Asking,
}

/// How a call is answered, where the answer does not tell.
pub enum Asking {
    Plain,
    Task,
    Position,
    /// That this seq is durable.
    Durable(u64),
    /// With damage that has been found, once there is nothing more to look at.
    Check(Box<Check>),
    /// With the position from which the stream of this number begins.
    Begin(u32, Box<Beginning>),
    /// With what the stream of this number yields next. Held by its call, so that giving that up ends it.
    Next(u32, Box<Commits>),
}

/// Whether a job's worker answers this operation.
pub fn is_one(operation: u8) -> bool {
    matches!(operation, 10..=24 | 26..=28 | 30..=31 | 40..=42)
}

/// What the call asks of the job's worker, if its arguments are within their limits and it takes calls.
///
/// Where nothing else is said the body is empty, and so is that of the answer.
///
/// # Errors
///
/// `InvalidArgument` if the body is not what the operation asks for; those of the job's own methods.
pub fn question(job: &Job, operation: u8, body: &[u8]) -> Result<(Question, Said)> {
    let mut input = Input::new(body);
    let input = &mut input;
    let mut said = Said { category: None, operation: "", kind: Asking::Plain };
    let question = match operation {
        // A flag whether to tell if a row was there, a batch. Answers the seq when it is committed, and
        // that flag.
        10 => {
            said.operation = "persist";
            let report_existed = input.flag();
            let batch = unpack_batch(input.take_rest())?;
            task(job.batch_task(batch, report_existed, said.operation)?)
        }
        11 => {
            said.operation = "flush";
            Question::Sync(None)
        }
        // A committed seq, which the call makes durable.
        12 => {
            let seq = input.number();
            said.kind = Asking::Durable(seq);
            Question::Sync(Some(seq))
        }
        // Flags whether presence is enough and whether several keys were meant; category, count, keys.
        // Answers payloads.
        20 => {
            let (presence_only, many) = (input.flag(), input.flag());
            said.operation = match (presence_only, many) {
                (false, false) => "get",
                (false, true) => "getMany",
                (true, false) => "exists",
                (true, true) => "existsMany",
            };
            let category = input.string();
            said.category = Some(Arc::from(category));
            ask(job.points_query(category, input.keys(), presence_only, said.operation)?)
        }
        // Category, range. Answers a number.
        21 => {
            said.operation = "count";
            let category = input.string();
            said.category = Some(Arc::from(category));
            job.count_query(category, input.span())?.map_or(Question::Answered(Found::Count(0)), ask)
        }
        // Flags for a whole scan, reverse order and keys only; most rows in 4 bytes (2^32 - 1 limits
        // nothing), category, range. Answers a page.
        22 => {
            said.operation = "scan";
            let (whole, reverse, keys_only) = (input.flag(), input.flag(), input.flag());
            let (limit, category) = (input.count(), input.string());
            said.category = Some(Arc::from(category));
            let mut scan = job.scan(category, range(input.span())).limit(limit);
            if reverse {
                scan = scan.reverse();
            }
            if keys_only {
                scan = scan.keys_only();
            }
            match scan.query(whole)? {
                Some(query) => Question::Read(Read::Ask { query, whole }),
                None => Question::Answered(Found::Page(Page::default())),
            }
        }
        // Answers strings.
        23 => {
            said.operation = "categories";
            ask(Query::Categories { bytes_max: limits::SCAN_BYTES_MAX })
        }
        // See `pack_info`.
        24 => {
            said.operation = "info";
            Question::Read(Read::Details)
        }
        // Answers strings.
        26 => {
            (said.operation, said.kind) = ("check", Asking::Check(Box::default()));
            Question::Read(Check::first())
        }
        27 => {
            said.operation = "compact";
            job.check_writable(said.operation)?;
            Question::Read(Read::Compact)
        }
        // Answers a position.
        28 => {
            (said.operation, said.kind) = ("position", Asking::Position);
            Question::Read(Read::Details)
        }
        // The stream's number, a flag, a position if the flag is 1; category, range. Answers the position from
        // which it watches.
        30 => {
            said.operation = "watch";
            let (stream, from) = (input.count() as u32, input.flag());
            let from = from.then(|| input.position());
            let category = input.string();
            said.category = Some(Arc::from(category));
            begin(&mut said, stream, job.watch_beginning(from, category, input.span())?)
        }
        // The stream's number, a position. Answers that position.
        31 => {
            said.operation = "logFrom";
            let stream = input.count() as u32;
            begin(&mut said, stream, Beginning::of_log(input.position()))
        }
        // A holder's name, and to advance it a seq. Answers a seq and a flag.
        40..=42 => {
            let name = input.string();
            let change;
            (said.operation, change) = match operation {
                40 => ("holdLog", LogChange::Hold(name.to_owned())),
                41 => ("advanceLog", LogChange::Advance(name.to_owned(), input.number())),
                _ => ("releaseLog", LogChange::Release(name.to_owned())),
            };
            task(job.log_task(name, change, said.operation)?)
        }
        _ => return Err(malformed()),
    };
    input.end()?;
    if let Question::Task(_) = question {
        said.kind = Asking::Task;
    }
    // A job that has ended may have made the seq durable by that.
    if !matches!(question, Question::Answered(_) | Question::Sync(Some(_))) {
        let open = job.link().check_open();
        open.map_err(|error| job.explain(error, said.category.as_deref(), said.operation))?;
    }
    Ok((question, said))
}

fn begin(said: &mut Said, stream: u32, beginning: Beginning) -> Question {
    let question = Question::Read(beginning.question());
    said.kind = Asking::Begin(stream, Box::new(beginning));
    question
}

fn ask(query: Query) -> Question {
    Question::Read(Read::Ask { query, whole: true })
}

/// The page has granted its share of the queue.
fn task(Weighed { task, .. }: Weighed) -> Question {
    Question::Task(task)
}
