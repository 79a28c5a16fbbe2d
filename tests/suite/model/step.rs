//! The words of the model tests: what can be asked of a job, and what it can answer.
//!
//! Plain values that both the model and the runner understand; nothing here asks or answers.

use std::fmt;
use std::ops::Bound;

/// One request, as the generator makes it.
#[derive(Clone, Debug)]
pub enum Step {
    /// A batch in one of the forms in which batches are written.
    Write(Request, Form),
    /// Several batches at once, whose receipts are asked later.
    Burst(Vec<Request>),
    /// `delete_acked`.
    DeleteAcked(String, Vec<u8>),
    /// Asks every receipt that has not been asked.
    Settle,
    Flush,
    Get(String, Vec<u8>),
    Exists(String, Vec<u8>),
    GetMany(String, Vec<Vec<u8>>),
    ExistsMany(String, Vec<Vec<u8>>),
    Count(String, Range),
    Scan(Scan),
    Categories,
    Info,
    /// Compacts the job, then looks for damage.
    Care,
    Hold(String),
    Advance(String, u64),
    Release(String),
    /// The log behind this seq.
    Log(u64),
    /// The log at a position of a generation that never was.
    ForeignLog,
    /// Closes the job and opens it again.
    Reopen(Reopen),
    /// Drops the job and creates another one.
    Recreate,
}

/// How a job is opened again.
#[derive(Clone, Copy, Debug)]
pub struct Reopen {
    /// The log retention that the options name: all or nothing.
    pub log: Option<bool>,
    /// First tries to open without creating.
    pub must_exist: bool,
    /// First opens for reading only, and tries to write.
    pub read_only: bool,
    /// With a queue so small that most batches fill it.
    pub small_queue: bool,
    /// With every commit put on the medium.
    pub strict: bool,
}

/// How a batch is written.
#[derive(Clone, Copy, Debug)]
pub enum Form {
    /// Waits until it is committed.
    Acked,
    /// The receipt is asked at once whether it is durable.
    Durable,
    /// The receipt is asked later.
    Later,
    /// The receipt is dropped.
    Forgotten,
}

/// A batch.
#[derive(Clone, Debug, Default)]
pub struct Request {
    pub conditions: Vec<Condition>,
    pub operations: Vec<Operation>,
}

/// A precondition on a row.
#[derive(Clone, Debug)]
pub struct Condition {
    pub category: String,
    pub key: Vec<u8>,
    pub expected: Expected,
}

#[derive(Clone, Debug)]
pub enum Expected {
    Absent,
    Present,
    Equal(Vec<u8>),
}

/// An operation of a batch.
#[derive(Clone, Debug)]
pub enum Operation {
    Put(String, Vec<u8>, Vec<u8>),
    Delete(String, Vec<u8>),
    DeletePrefix(String, Vec<u8>),
    DeleteRange(String, Range),
    Clear(String),
}

/// A range as a caller says it.
#[derive(Clone, Debug)]
pub enum Range {
    Between(Bound<Vec<u8>>, Bound<Vec<u8>>),
    Prefix(Vec<u8>),
}

#[derive(Clone, Debug)]
pub struct Scan {
    pub category: String,
    pub range: Range,
    pub reverse: bool,
    pub limit: Option<usize>,
    pub keys_only: bool,
    /// By pages.
    pub stream: bool,
}

/// What a job answered, or has to answer.
#[derive(Clone, PartialEq, Eq)]
pub enum Answer {
    Fine,
    Failed { kind: &'static str, outcome: &'static str, conflict: Option<usize> },
    Seq(u64),
    Truth(Vec<bool>),
    Payloads(Vec<Option<Vec<u8>>>),
    Count(u64),
    Rows(Vec<(Vec<u8>, Vec<u8>)>),
    Names(Vec<String>),
    Log(Vec<LogItem>),
    Info { seqs: [u64; 2], keeps_log: bool, holders: Vec<(String, u64)> },
    Several(Vec<Answer>),
}

/// An item of the log.
#[derive(Clone, PartialEq, Eq)]
pub enum LogItem {
    Commit(u64, Vec<LogOperation>),
    Lagged(u64, u64),
}

/// An operation as the log shows it; a range without keys has neither start nor end.
#[derive(Clone, PartialEq, Eq)]
pub enum LogOperation {
    Put(String, Vec<u8>, Vec<u8>),
    Delete(String, Vec<u8>),
    DeleteRange(String, Vec<u8>, Option<Vec<u8>>),
    DeleteNothing(String),
}

impl Answer {
    /// A failure that changed nothing.
    pub fn refused(kind: &'static str) -> Self {
        Answer::Failed { kind, outcome: "NotApplied", conflict: None }
    }

    /// A precondition that failed.
    pub fn conflict(index: usize) -> Self {
        Answer::Failed { kind: "Conflict", outcome: "NotApplied", conflict: Some(index) }
    }
}

impl Step {
    /// The request's name in the transcript.
    pub fn name(&self) -> &'static str {
        match self {
            Step::Write(_, Form::Acked) => "persist_acked",
            Step::Write(_, Form::Durable) => "durable",
            Step::Write(..) => "persist",
            Step::Burst(_) => "burst",
            Step::DeleteAcked(..) => "delete_acked",
            Step::Settle => "settle",
            Step::Flush => "flush",
            Step::Get(..) => "get",
            Step::Exists(..) => "exists",
            Step::GetMany(..) => "get_many",
            Step::ExistsMany(..) => "exists_many",
            Step::Count(..) => "count",
            Step::Scan(_) => "scan",
            Step::Categories => "categories",
            Step::Info => "info",
            Step::Care => "care",
            Step::Hold(_) => "hold_log",
            Step::Advance(..) => "advance_log",
            Step::Release(_) => "release_log",
            Step::Log(_) | Step::ForeignLog => "log_from",
            Step::Reopen(_) => "reopen",
            Step::Recreate => "recreate",
        }
    }
}

/// The canonical text of the transcript: the same wherever the answer is the same.
impl fmt::Display for Answer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Answer::Fine => f.write_str("ok"),
            Answer::Failed { kind, outcome, conflict: None } => write!(f, "{kind}/{outcome}"),
            Answer::Failed { kind, outcome, conflict: Some(index) } => write!(f, "{kind}/{outcome}/{index}"),
            Answer::Seq(seq) => write!(f, "seq {seq}"),
            Answer::Truth(found) => {
                found.iter().try_for_each(|&yes| f.write_str(if yes { "y" } else { "n" }))
            }
            Answer::Payloads(found) => found.iter().try_for_each(|payload| match payload {
                Some(payload) => write!(f, " {}", Short(payload)),
                None => f.write_str(" -"),
            }),
            Answer::Count(count) => write!(f, "{count} rows"),
            Answer::Rows(rows) => {
                write!(f, "{} rows", rows.len())?;
                rows.iter().try_for_each(|(key, payload)| write!(f, " {}={}", Short(key), Short(payload)))
            }
            Answer::Names(names) => {
                names.iter().try_for_each(|name| write!(f, " {}", Short(name.as_bytes())))
            }
            Answer::Log(items) => items.iter().try_for_each(|item| write!(f, " {item}")),
            Answer::Info { seqs: [committed, first], keeps_log, holders } => {
                write!(f, "committed {committed} log from {first} kept {keeps_log}")?;
                holders.iter().try_for_each(|(name, seq)| write!(f, " {name}@{seq}"))
            }
            Answer::Several(answers) => answers.iter().try_for_each(|answer| write!(f, "[{answer}]")),
        }
    }
}

impl fmt::Display for LogItem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let LogItem::Commit(seq, operations) = self else {
            let LogItem::Lagged(from, to) = self else { return Ok(()) };
            return write!(f, "lagged {from}-{to}");
        };
        write!(f, "#{seq}")?;
        operations.iter().try_for_each(|operation| match operation {
            LogOperation::Put(category, key, payload) => {
                write!(f, " put {} {}={}", Short(category.as_bytes()), Short(key), Short(payload))
            }
            LogOperation::Delete(category, key) => {
                write!(f, " delete {} {}", Short(category.as_bytes()), Short(key))
            }
            LogOperation::DeleteRange(category, start, end) => {
                write!(f, " range {} {}..", Short(category.as_bytes()), Short(start))?;
                end.iter().try_for_each(|end| write!(f, "{}", Short(end)))
            }
            LogOperation::DeleteNothing(category) => write!(f, " nothing {}", Short(category.as_bytes())),
        })
    }
}

/// Bytes as hexadecimal, long ones by their length and both ends.
struct Short<'a>(&'a [u8]);

impl fmt::Display for Short<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let hex = |f: &mut fmt::Formatter<'_>, bytes: &[u8]| {
            bytes.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
        };
        match self.0 {
            [] => f.write_str("''"),
            short if short.len() <= 24 => hex(f, short),
            long => {
                hex(f, &long[..8])?;
                write!(f, "({})", long.len())?;
                hex(f, &long[long.len() - 4..])
            }
        }
    }
}
