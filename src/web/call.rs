//! Calls of the page: what each operation's body holds, read before anything is carried out.
//!
//! Pure decoding: nothing here awaits, and no limit is checked, since roots and jobs do that.

use std::time::Duration;

use super::wire::{Input, malformed, unpack_batch};
use crate::batch::Batch;
use crate::error::Result;
use crate::key::Key;
use crate::options::{Durability, JobOptions, OpenMode};
use crate::range::Span;
use crate::record::LogRetention;
use crate::watch::Position;

/// A call with its arguments. Where nothing else is said the answer's body is empty.
#[derive(Debug)]
pub enum Call<'a> {
    /// 1: id, a flag, and options if the flag is 1. Opens the job under the number that the call is
    /// about. Answers the generation (16), the committed and the durable seq.
    OpenJob { id: &'a str, options: Option<JobOptions> },
    /// 2: id.
    CloseJob { id: &'a str },
    /// 3: id.
    DropJob { id: &'a str },
    /// 4: nothing. Answers strings.
    ListJobs,
    /// 5: nothing. Closes the root.
    Close,
    /// 6: nothing. Shows that the worker is alive.
    Ping,
    /// 7: nothing. Gives up the call whose number it is about; that is answered no more.
    Cancel,
    /// 10: a flag whether to tell if a row was there, a batch. Answers the seq when it is committed, and
    /// that flag.
    Apply { report_existed: bool, batch: Batch },
    /// 11: nothing.
    Flush,
    /// 12: a committed seq, which the call makes durable.
    Durable { seq: u64 },
    /// 20: flags whether presence is enough and whether several keys were meant; category, count, keys.
    /// Answers payloads.
    Get { presence_only: bool, many: bool, category: &'a str, keys: Vec<Key> },
    /// 21: category, range. Answers a number.
    Count { category: &'a str, span: Span },
    /// 22: flags for a whole scan, reverse order and keys only; most rows in 4 bytes (2^32 - 1 limits
    /// nothing), category, range. Answers a page.
    Scan { whole: bool, reverse: bool, keys_only: bool, limit: usize, category: &'a str, span: Span },
    /// 23: nothing. Answers strings.
    Categories,
    /// 24: nothing. See `pack_info`.
    Info,
    /// 25: nothing. Answers seven numbers in the order of `JobStats`.
    Stats,
    /// 26: nothing. Answers strings.
    Check,
    /// 27: nothing.
    Compact,
    /// 28: nothing. Answers a position.
    Position,
    /// 30: the stream's number, a flag, a position if the flag is 1; category, range. Answers the position
    /// from which it watches.
    Watch { stream: u32, from: Option<Position>, category: &'a str, span: Span },
    /// 31: the stream's number, a position. Answers that position.
    LogFrom { stream: u32, from: Position },
    /// 32: the stream's number. Answers items of it; none when it has ended.
    Next { stream: u32 },
    /// 33: the stream's number. Forgets it.
    End { stream: u32 },
    /// 40: a holder's name. Answers a seq and a flag.
    HoldLog { name: &'a str },
    /// 41: a holder's name, a seq. Answers a seq and a flag.
    AdvanceLog { name: &'a str, seq: u64 },
    /// 42: a holder's name. Answers a seq and a flag.
    ReleaseLog { name: &'a str },
}

impl<'a> Call<'a> {
    /// Reads the body of `operation`.
    ///
    /// # Errors
    ///
    /// `InvalidArgument` if it is not what the operation asks for.
    pub fn decode(operation: u8, body: &'a [u8]) -> Result<Self> {
        let mut input = Input(body);
        let input = &mut input;
        let call = match operation {
            1 => Call::OpenJob {
                id: input.string()?,
                options: if input.flag()? { Some(options(input)?) } else { None },
            },
            2 => Call::CloseJob { id: input.string()? },
            3 => Call::DropJob { id: input.string()? },
            4 => Call::ListJobs,
            5 => Call::Close,
            6 => Call::Ping,
            7 => Call::Cancel,
            10 => {
                let report_existed = input.flag()?;
                Call::Apply { report_existed, batch: unpack_batch(std::mem::take(&mut input.0))? }
            }
            11 => Call::Flush,
            12 => Call::Durable { seq: input.number()? },
            20 => Call::Get {
                presence_only: input.flag()?,
                many: input.flag()?,
                category: input.string()?,
                // Grows with what is there, whatever the count claims.
                keys: (0..input.count()?).map(|_| input.key()).collect::<Result<_>>()?,
            },
            21 => Call::Count { category: input.string()?, span: input.span()? },
            22 => Call::Scan {
                whole: input.flag()?,
                reverse: input.flag()?,
                keys_only: input.flag()?,
                limit: input.count()?,
                category: input.string()?,
                span: input.span()?,
            },
            23 => Call::Categories,
            24 => Call::Info,
            25 => Call::Stats,
            26 => Call::Check,
            27 => Call::Compact,
            28 => Call::Position,
            30 => Call::Watch {
                stream: stream(input)?,
                from: if input.flag()? { Some(position(input)?) } else { None },
                category: input.string()?,
                span: input.span()?,
            },
            31 => Call::LogFrom { stream: stream(input)?, from: position(input)? },
            32 => Call::Next { stream: stream(input)? },
            33 => Call::End { stream: stream(input)? },
            40 => Call::HoldLog { name: input.string()? },
            41 => Call::AdvanceLog { name: input.string()?, seq: input.number()? },
            42 => Call::ReleaseLog { name: input.string()? },
            _ => return Err(malformed()),
        };
        if input.0.is_empty() { Ok(call) } else { Err(malformed()) }
    }
}

fn stream(input: &mut Input<'_>) -> Result<u32> {
    u32::try_from(input.count()?).map_err(|_| malformed())
}

fn position(input: &mut Input<'_>) -> Result<Position> {
    Ok(Position { generation: input.generation()?, seq: input.number()? })
}

/// A flag for strict durability, operations and bytes of the queue (4 bytes each), a flag and the deadline
/// in ms (8) if it is 1, the log (0 as it is, 1 off, 2 and the last bytes), the mode (0 create, 1 must
/// exist, 2 read only).
fn options(input: &mut Input<'_>) -> Result<JobOptions> {
    let mut options = JobOptions::new()
        .durability(if input.flag()? { Durability::Strict } else { Durability::Relaxed })
        .queue_operations(input.count()?)
        .queue_bytes(input.count()?);
    options = match input.flag()? {
        true => options.deadline(Duration::from_millis(input.number()?)),
        false => options.no_deadline(),
    };
    options = match input.byte()? {
        0 => options,
        1 => options.log(LogRetention::Off),
        2 => options.log(LogRetention::LastBytes(input.number()?)),
        _ => return Err(malformed()),
    };
    Ok(options.mode(match input.byte()? {
        0 => OpenMode::Create,
        1 => OpenMode::MustExist,
        2 => OpenMode::ReadOnly,
        _ => return Err(malformed()),
    }))
}
