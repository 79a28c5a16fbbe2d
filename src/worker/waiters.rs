//! Who waits for durability, and the errors that nobody has asked for yet.
//!
//! Never loses an error silently: it is handed to a flush or close that covers it, or kept until one
//! comes, and counted where the bound on kept errors is reached.

use std::sync::Arc;

use super::command::{Answered, Reply};
use super::slot::{Slot, Unreported};
use crate::error::{Error, Result};
use crate::limits::KEPT_ERRORS_MAX;
use crate::room::Share;
use crate::text::text;

/// An error of a task, by the task's number in the order of acceptance.
pub(crate) type Kept = (u64, Arc<Slot>);

/// Errors that their receipts have not reported.
#[derive(Default)]
pub(crate) struct KeptErrors {
    kept: Vec<Kept>,
    /// Errors beyond the bound: their number only.
    beyond: u64,
}

/// Somebody who waits until something is durable.
pub(crate) struct Waiter {
    pub(crate) until: Until,
    pub(crate) deadline: Option<u64>,
    pub(crate) reply: Reply,
    errors: Vec<Kept>,
    /// Further errors, of which only the number is known.
    beyond: u64,
    /// Its share of the bound on callers, given back when it has been answered.
    _credit: Share,
}

/// What a waiter is answered. Until that has been taken its errors are not reported: the caller may
/// go between the answer and his next look.
#[derive(Debug)]
pub(crate) struct Flushed {
    result: Result<()>,
    told: Vec<Arc<Slot>>,
}

impl Flushed {
    /// The result for the caller, who has the errors from now on.
    pub(crate) fn take(self) -> Result<()> {
        self.told.iter().for_each(|slot| slot.tell());
        self.result
    }
}

/// What has to be durable.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Until {
    /// Everything accepted up to this task; reports the errors among it.
    Task(u64),
    /// This committed seq.
    Seq(u64),
}

impl Waiter {
    /// A waiter for `until`; one that flushes takes the kept errors that it covers.
    pub(crate) fn new(until: Until, deadline: Option<u64>, reply: Reply, kept: &mut KeptErrors) -> Self {
        let (errors, beyond) = match until {
            Until::Task(last) => (kept.take(last), std::mem::take(&mut kept.beyond)),
            Until::Seq(_) => (Vec::new(), 0),
        };
        Waiter { until, deadline, reply, errors, beyond, _credit: Share::of_nothing() }
    }

    /// The same waiter, which keeps its caller's share of the bound while it waits.
    pub(crate) fn holding(mut self, credit: Share) -> Self {
        self._credit = credit;
        self
    }

    /// Whether its caller has gone.
    pub(crate) fn is_abandoned(&self) -> bool {
        self.reply.is_closed()
    }

    /// Takes note of a failed task; whether this waiter will report it.
    fn takes(&mut self, number: u64, slot: &Arc<Slot>) -> bool {
        let covered = matches!(self.until, Until::Task(last) if number <= last) && !self.is_abandoned();
        if covered {
            self.errors.push((number, Arc::clone(slot)));
        }
        covered
    }

    /// Answers: an unreported error goes before the sync's own result.
    ///
    /// Until the caller has taken them the errors are kept, for it may go without.
    pub(crate) fn answer(self, synced: Result<()>, kept: &mut KeptErrors) {
        let mut unreported = Vec::new();
        let mut awaited = Vec::new();
        for (number, slot) in self.errors {
            match slot.unreported() {
                Unreported::Error(error) => unreported.push((number, slot, error)),
                Unreported::Awaited => awaited.push((number, slot)),
                Unreported::Nothing => {}
            }
        }
        let result = match unreported.first() {
            Some((_, _, first)) => Err(with_others(first, unreported.len() as u64 - 1 + self.beyond)),
            None => synced,
        };
        let told = unreported.iter().map(|(_, slot, _)| Arc::clone(slot)).collect();
        let sent = self.reply.send(Ok(Answered::Flushed(Flushed { result, told }))).is_ok();
        if !sent || unreported.is_empty() {
            kept.beyond += self.beyond;
        }
        kept.put_back(unreported.into_iter().map(|(number, slot, _)| (number, slot)));
        kept.put_back(awaited.into_iter());
    }
}

impl KeptErrors {
    /// Hands a failed task to every waiter that covers it, or keeps it for the next.
    pub(crate) fn failed(&mut self, number: u64, slot: Arc<Slot>, waiters: &mut [Waiter]) {
        let mut taken = false;
        for waiter in waiters {
            taken |= waiter.takes(number, &slot);
        }
        if !taken {
            self.put_back(std::iter::once((number, slot)));
        }
    }

    /// Keeps the errors of a waiter whose caller has gone, unless others wait who cover them.
    pub(crate) fn pass_on(&mut self, abandoned: Waiter, waiters: &mut [Waiter]) {
        self.beyond += abandoned.beyond;
        for (number, slot) in abandoned.errors {
            self.failed(number, slot, waiters);
        }
    }

    /// The first unreported error with the number of others; clears them all.
    pub(crate) fn report(&mut self) -> Result<()> {
        let beyond = std::mem::take(&mut self.beyond);
        let errors: Vec<Error> = std::mem::take(&mut self.kept)
            .into_iter()
            .filter(|(_, slot)| !slot.is_told())
            .filter_map(|(_, slot)| match slot.unreported() {
                Unreported::Error(error) => Some(error),
                Unreported::Awaited | Unreported::Nothing => None,
            })
            .collect();
        match errors.first() {
            Some(first) => Err(with_others(first, errors.len() as u64 - 1 + beyond)),
            None => Ok(()),
        }
    }

    fn take(&mut self, last: u64) -> Vec<Kept> {
        let (covered, later) =
            std::mem::take(&mut self.kept).into_iter().partition(|(number, _)| *number <= last);
        self.kept = later;
        covered.into_iter().filter(|(_, slot): &Kept| !slot.is_told()).collect()
    }

    fn put_back(&mut self, errors: impl Iterator<Item = Kept>) {
        for error in errors {
            // Several waiters may give the same one back.
            if self.kept.iter().any(|(number, _)| *number == error.0) {
                continue;
            }
            if self.kept.len() >= KEPT_ERRORS_MAX {
                self.kept
                    .retain(|(_, slot)| !slot.is_told() && !matches!(slot.unreported(), Unreported::Nothing));
            }
            if self.kept.len() < KEPT_ERRORS_MAX {
                self.kept.push(error);
            } else {
                self.beyond += 1;
            }
        }
    }
}

fn with_others(first: &Error, others: u64) -> Error {
    match others {
        0 => first.clone(),
        1 => first.clone().with_remark("1 other write failed"),
        _ => first.clone().with_remark(text!(others, " other writes failed")),
    }
}
