//! Calls of the page that no job's worker answers: what their bodies hold, read before anything is carried out.
//! Those that one answers are in [`question`](super::question), those about layers (50 and 51) in `layers`.
//!
//! Pure decoding: nothing here awaits, and no limit is checked, since roots and jobs do that.

use std::time::Duration;

use super::wire::{Input, malformed};
use crate::error::Result;
use crate::options::{Durability, JobOptions, OpenMode};
use crate::record::LogRetention;

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
    /// 25: nothing. Answers seven numbers in the order of `JobStats`.
    Stats,
    /// 32: the stream's number. Answers items of it; none when it has ended.
    Next { stream: u32 },
    /// 33: the stream's number. Forgets it.
    End { stream: u32 },
}

impl<'a> Call<'a> {
    /// Reads the body of `operation`.
    ///
    /// # Errors
    ///
    /// `InvalidArgument` if it is not what the operation asks for.
    pub fn decode(operation: u8, body: &'a [u8]) -> Result<Self> {
        let mut input = Input::new(body);
        let input = &mut input;
        let call = match operation {
            1 => Call::OpenJob {
                id: input.string(),
                options: if input.flag() { Some(options(input)?) } else { None },
            },
            2 => Call::CloseJob { id: input.string() },
            3 => Call::DropJob { id: input.string() },
            4 => Call::ListJobs,
            5 => Call::Close,
            6 => Call::Ping,
            7 => Call::Cancel,
            25 => Call::Stats,
            32 => Call::Next { stream: input.count() as u32 },
            33 => Call::End { stream: input.count() as u32 },
            _ => return Err(malformed()),
        };
        input.end().map(|()| call)
    }
}

/// A flag for strict durability, operations and bytes of the queue (4 bytes each), a flag and the deadline
/// in ms (8) if it is 1, the log (0 as it is, 1 off, 2 and the last bytes), the mode (0 create, 1 must
/// exist, 2 read only).
fn options(input: &mut Input<'_>) -> Result<JobOptions> {
    let mut options = JobOptions::new()
        .durability(if input.flag() { Durability::Strict } else { Durability::Relaxed })
        .queue_operations(input.count())
        .queue_bytes(input.count());
    options = match input.flag() {
        true => options.deadline(Duration::from_millis(input.number())),
        false => options.no_deadline(),
    };
    options = match input.byte() {
        0 => options,
        1 => options.log(LogRetention::Off),
        2 => options.log(LogRetention::LastBytes(input.number())),
        _ => return Err(malformed()),
    };
    Ok(options.mode(match input.byte() {
        0 => OpenMode::Create,
        1 => OpenMode::MustExist,
        2 => OpenMode::ReadOnly,
        _ => return Err(malformed()),
    }))
}
