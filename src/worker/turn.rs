//! A turn: one transaction's worth of work, decided by one pure function.
//!
//! What a batch, a precondition, a seq, the log and a durable marker mean is written here and
//! nowhere else. Nothing here awaits, reads a clock or knows an engine: the engine fetches what
//! [`Turn::reads`] names, and writes what [`Turn::decide`] returns.

use std::sync::Arc;

use crate::batch::{CheckedBatch, Expected, Op, Precondition};
use crate::commit_log::{self, LogWriter};
use crate::engine::row_key::{Bounds, category_prefix, row_key};
use crate::engine::table::Table;
use crate::engine::{EngineError, LogValue, Look, Point, Space, Want, Write};
use crate::error::Quoted;
use crate::record::{LogRetention, Record};
use crate::text::text;

/// Who takes the turn, and when.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Stamp {
    /// The life of the job that the turn belongs to.
    pub(crate) generation: [u8; 16],
    /// 16 random bytes of this opening.
    pub(crate) writer: [u8; 16],
    /// The number of this turn among the writer's; tells afterwards whether it was applied.
    pub(crate) group: u64,
    /// The clock, in ms since the Unix epoch.
    pub(crate) unix_ms: u64,
    /// Whether the commit is put on the medium.
    pub(crate) durable: bool,
    /// Whether an earlier change of what the log keeps has yet to be put there.
    pub(crate) log_unsynced: bool,
}

/// One piece of work in a turn.
#[derive(Clone, Debug)]
pub(crate) enum Task {
    /// Applies the batch; `report_existed` asks whether the row of its first operation was there.
    Batch { batch: CheckedBatch, report_existed: bool },
    /// Changes what the log keeps.
    Log(LogChange),
    /// Writes the durable marker and nothing else.
    Sync,
    /// Marks the generation as dropped and empties the job.
    Drop,
    /// Remembers how far filling the job has come.
    #[cfg(feature = "archive")]
    Filling(Vec<u8>),
    /// Makes a job of what was being filled.
    #[cfg(feature = "archive")]
    Filled,
}

impl Task {
    /// The operations on rows that it may carry out.
    pub(crate) fn operations(&self) -> Option<&Arc<[Op]>> {
        match self {
            Task::Batch { batch, .. } => Some(&batch.operations),
            _ => None,
        }
    }

    /// What it weighs in a queue or a group: operations and bytes.
    pub(crate) fn weight(&self) -> (usize, usize) {
        match self {
            Task::Batch { batch, .. } => (batch.entries(), batch.bytes),
            _ => (1, 0),
        }
    }

    /// What it does, without keys and payloads.
    pub(super) fn in_words(&self) -> String {
        let Task::Batch { batch, .. } = self else { return "change of the log".into() };
        let (category, operation) = match &*batch.operations {
            [Op::Put { category, .. }] => (category, "put"),
            [Op::Delete { category, .. }] => (category, "delete"),
            [Op::DeleteRange { category, .. }] => (category, "delete range"),
            operations => return text!("batch of ", operations.len(), " operations"),
        };
        text!("category ", Quoted(category), ", ", operation)
    }
}

/// A change of what the log keeps.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum LogChange {
    Retain(LogRetention),
    Hold(String),
    Advance(String, u64),
    Release(String),
    /// Removes commits up to this seq that nobody holds.
    Trim(u64),
}

/// What a task came to, once its turn is committed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Answer {
    /// Applied; the job stands at `seq`.
    Done { seq: u64, existed: bool },
    /// The precondition of this index did not hold; nothing of the batch was applied.
    Conflict(usize),
    /// No such log holder.
    NoHolder,
    /// Too many log holders.
    HoldersFull,
}

/// What became of a turn.
#[derive(Debug)]
pub(crate) enum Verdict {
    /// The job is not the one the turn was meant for any more; nothing was written.
    Gone,
    /// The record cannot be read; nothing was written.
    Unreadable(EngineError),
    Decided(Box<Decided>),
}

/// A turn that will have been taken if it commits.
#[derive(Debug)]
pub(crate) struct Decided {
    pub(crate) before: Record,
    /// What the record says then.
    pub(crate) after: Record,
    /// The answer of each task, in order.
    pub(crate) answers: Vec<Answer>,
}

/// One transaction's worth of work.
#[derive(Debug)]
pub(crate) struct Turn {
    pub(crate) stamp: Stamp,
    pub(crate) tasks: Arc<[Task]>,
}

impl Turn {
    /// What [`Turn::decide`] has to know, the job's record first.
    pub(crate) fn reads(&self) -> Vec<Look> {
        let record = Look { point: Point::record(), want: Want::Payload(usize::MAX) };
        std::iter::once(record).chain(looks(&self.tasks).into_iter().map(|(_, look)| look)).collect()
    }

    /// Decides every task in order; `found` answers [`Turn::reads`].
    ///
    /// `None` for the writes means that nothing changes and no transaction is needed.
    pub(crate) fn decide(&self, found: Vec<Option<Vec<u8>>>) -> (Option<Vec<Write>>, Verdict) {
        let mut found = found.into_iter();
        let before = match found.next().flatten().map(|bytes| Record::decode(&bytes)) {
            None => return (None, Verdict::Gone),
            Some(Err(error)) => return (None, Verdict::Unreadable(error)),
            Some(Ok(record)) if record.dropped || record.generation != self.stamp.generation => {
                return (None, Verdict::Gone);
            }
            Some(Ok(record)) => record,
        };
        let mut decision = Decision::new(self, before.clone(), found);
        let answers = self.tasks.iter().map(|task| decision.task(task)).collect();
        let (writes, after) = decision.finish(&before);
        (writes, Verdict::Decided(Box::new(Decided { before, after, answers })))
    }
}

/// The state of a decision between two tasks.
struct Decision<'a> {
    stamp: Stamp,
    record: Record,
    /// The rows that some task looks at, by their row keys, ascending.
    watched: Vec<Vec<u8>>,
    /// Those of them that are there at this point of the turn. Only those, so that ranges which are
    /// deleted over and over cost nothing once they are empty.
    present: Table,
    writes: Vec<Write>,
    /// The commits that are logged, and what they have come to so far.
    log: LogWriter<'a>,
    logged: Vec<LogValue>,
    /// Whether each commit of the turn is in `log` or `logged`.
    logs_all: bool,
    /// The job's seq before the turn.
    seq_before: u64,
    time_ms: u64,
}

impl<'a> Decision<'a> {
    /// `found` is what was found of each of the turn's [`looks`].
    fn new(turn: &Turn, record: Record, found: impl Iterator<Item = Option<Vec<u8>>>) -> Self {
        let (mut watched, mut present) = (Vec::new(), Table::default());
        for ((row, _), payload) in looks(&turn.tasks).into_iter().zip(found) {
            if let Some(payload) = payload {
                present.insert(row.clone(), payload);
            }
            watched.push(row);
        }
        let time_ms = turn.stamp.unix_ms.max(record.last_commit_ms);
        let log = LogWriter::new(time_ms, turn.stamp.writer);
        Decision {
            stamp: turn.stamp,
            seq_before: record.committed_seq,
            record,
            watched,
            present,
            writes: Vec::new(),
            log,
            logged: Vec::new(),
            logs_all: true,
            time_ms,
        }
    }

    fn task(&mut self, task: &'a Task) -> Answer {
        match task {
            Task::Batch { batch, report_existed } => self.batch(batch, *report_existed),
            Task::Log(change) => self.log_change(change),
            Task::Sync => self.done(false),
            #[cfg(feature = "archive")]
            Task::Filling(come) => {
                self.record.extension.clone_from(come);
                self.done(false)
            }
            #[cfg(feature = "archive")]
            Task::Filled => {
                self.record.filling = false;
                self.record.extension.clear();
                self.done(false)
            }
            Task::Drop => {
                self.record.dropped = true;
                self.store_log();
                self.writes.push(Write::Empty);
                self.done(false)
            }
        }
    }

    fn batch(&mut self, batch: &'a CheckedBatch, report_existed: bool) -> Answer {
        for (index, precondition) in batch.preconditions.iter().enumerate() {
            if !self.holds(precondition) {
                return Answer::Conflict(index);
            }
        }
        let existed = report_existed && batch.operations.first().is_some_and(|op| self.exists(op));
        if batch.operations.is_empty() {
            return self.done(existed);
        }
        self.record.committed_seq += 1;
        self.record.last_commit_ms = self.time_ms;
        for op in batch.operations.iter() {
            self.watch(op);
        }
        self.writes.push(Write::Rows(Arc::clone(&batch.operations)));
        self.log(batch);
        self.done(existed)
    }

    fn done(&self, existed: bool) -> Answer {
        Answer::Done { seq: self.record.committed_seq, existed }
    }

    fn holds(&self, precondition: &Precondition) -> bool {
        let now = self.present.get(&row_key(&precondition.category, precondition.key.as_bytes()));
        match &precondition.expected {
            Expected::Absent => now.is_none(),
            Expected::Present => now.is_some(),
            Expected::Equal(payload) => now == Some(payload),
        }
    }

    fn exists(&self, op: &Op) -> bool {
        match op {
            Op::Put { category, key, .. } | Op::Delete { category, key } => {
                self.present.get(&row_key(category, key.as_bytes())).is_some()
            }
            Op::DeleteRange { .. } => false,
        }
    }

    /// Keeps the watched rows as the operation leaves them.
    fn watch(&mut self, op: &Op) {
        if self.watched.is_empty() {
            return;
        }
        match op {
            Op::Put { category, key, payload } => {
                let row = row_key(category, key.as_bytes());
                if self.watched.binary_search(&row).is_ok() {
                    self.present.insert(row, payload.clone());
                }
            }
            Op::Delete { category, key } => {
                self.present.remove(&row_key(category, key.as_bytes()));
            }
            Op::DeleteRange { category, range } => {
                let Some(bounds) = Bounds::of(&category_prefix(category), &range.span()) else { return };
                let gone: Vec<_> = self.present.range(&bounds).map(|(row, _)| row.clone()).collect();
                for row in gone {
                    self.present.remove(&row);
                }
            }
        }
    }

    fn log(&mut self, batch: &'a CheckedBatch) {
        let Record { committed_seq: seq, log, .. } = &mut self.record;
        if log.is_on() {
            self.log.push(*seq, &batch.operations, batch.bytes, &mut log.end_offset, &mut self.logged);
        } else {
            log.first_seq = *seq + 1;
            // The commits of a value have no gap.
            self.end_log();
            self.logs_all = false;
        }
    }

    fn end_log(&mut self) {
        self.log.flush(&mut self.record.log.end_offset, &mut self.logged);
    }

    /// Writes what has been logged so far; then it is not all of the turn any more.
    fn store_log(&mut self) {
        self.end_log();
        self.logs_all = false;
        let put = |(key, value)| Write::Put(Point { space: Space::Log, key }, value);
        self.writes.extend(self.logged.drain(..).map(put));
    }

    fn log_change(&mut self, change: &LogChange) -> Answer {
        let seq = self.record.committed_seq;
        let log = &mut self.record.log;
        let answer = match change {
            LogChange::Retain(retention) => {
                log.retention = *retention;
                Answer::Done { seq, existed: true }
            }
            LogChange::Hold(name) => match log.holders.get(name) {
                Some(held) => Answer::Done { seq: *held, existed: true },
                None if log.holders.len() >= crate::limits::LOG_HOLDERS_MAX => Answer::HoldersFull,
                None => {
                    log.holders.insert(name, seq);
                    Answer::Done { seq, existed: false }
                }
            },
            LogChange::Advance(name, to) => match log.holders.get_mut(name) {
                // Nobody can have read what is not committed yet.
                Some(held) => {
                    *held = (*held).max((*to).min(seq));
                    Answer::Done { seq: *held, existed: true }
                }
                None => Answer::NoHolder,
            },
            LogChange::Release(name) => Answer::Done { seq, existed: log.holders.remove(name).is_some() },
            LogChange::Trim(to) => {
                self.trim(*to);
                return self.done(true);
            }
        };
        if self.record.log.retention == LogRetention::Off {
            self.trim(u64::MAX);
        }
        answer
    }

    /// Removes commits up to `to` from the log, as far as they are released.
    fn trim(&mut self, to: u64) {
        let to = to.min(self.record.log.released_seq()).min(self.record.committed_seq);
        if to >= self.record.log.first_seq {
            if to > self.seq_before {
                // What is trimmed has been written before.
                self.store_log();
            }
            let log = &mut self.record.log;
            self.writes.push(Write::DeleteSpan(Space::Log, commit_log::span(log.first_seq, to)));
            log.first_seq = to + 1;
        }
    }

    fn finish(mut self, before: &Record) -> (Option<Vec<Write>>, Record) {
        self.end_log();
        match self.logs_all {
            _ if self.logged.is_empty() => {}
            true => self.writes.push(Write::Log(std::mem::take(&mut self.logged))),
            false => self.store_log(),
        }
        let unsynced = self.stamp.log_unsynced || self.record.durable_seq != self.record.committed_seq;
        let marked = self.stamp.durable && unsynced;
        if self.writes.is_empty() && self.record == *before && !marked {
            return (None, self.record);
        }
        if self.stamp.durable {
            self.record.durable_seq = self.record.committed_seq;
        }
        self.record.writer = self.stamp.writer;
        self.record.group = self.stamp.group;
        self.writes.push(Write::Put(Point::record(), self.record.encode()));
        (Some(self.writes), self.record)
    }
}

/// Every row that some task must know, once, with its row key and by that in order.
fn looks(tasks: &[Task]) -> Vec<(Vec<u8>, Look)> {
    let mut looks = Vec::new();
    let mut add = |category: &Arc<str>, key: &[u8], want| {
        let point = Point { space: Space::Rows(Arc::clone(category)), key: key.to_vec() };
        looks.push((row_key(category, key), Look { point, want }));
    };
    for task in tasks {
        let Task::Batch { batch, report_existed } = task else { continue };
        for precondition in batch.preconditions.iter() {
            let want = match &precondition.expected {
                Expected::Absent | Expected::Present => Want::Presence,
                Expected::Equal(payload) => Want::Payload(payload.len()),
            };
            add(&precondition.category, precondition.key.as_bytes(), want);
        }
        if *report_existed
            && let Some(Op::Put { category, key, .. } | Op::Delete { category, key }) =
                batch.operations.first()
        {
            add(category, key.as_bytes(), Want::Presence);
        }
    }
    looks.sort_unstable_by(|(a, _), (b, _)| a.cmp(b));
    looks.dedup_by(|(row, later), (same, look)| {
        if row == same {
            look.want = look.want.max(later.want);
        }
        row == same
    });
    looks
}

#[cfg(test)]
mod tests;
