//! The connection to the job's store: when it is lost, it is renewed once for all who need it.
//!
//! A renewal never creates, and looks whether the generation is still ours.

use super::{Answered, Ask, Machine, RENEWAL, Wish};
use crate::engine::{EngineError, Fault, Query, Verify};

/// Which connection is in use, and whether it can be.
#[derive(Default)]
pub(super) struct Connection {
    /// How often it has been renewed.
    pub(super) number: u64,
    /// It hangs, or it is not known whose store it leads to: it is renewed before it is used.
    pub(super) unusable: bool,
    renewal: Option<Renewal>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Renewal {
    Connecting,
    ReadingRecord,
}

/// Why something asked of the engine did not succeed, as far as that must be told apart.
#[derive(Clone, Debug)]
pub(super) enum Failure {
    /// The job's generation is not there any more: the job is over.
    Gone,
    Engine(EngineError),
}

impl From<EngineError> for Failure {
    fn from(error: EngineError) -> Self {
        match error.fault {
            Fault::Missing => Failure::Gone,
            _ => Failure::Engine(error),
        }
    }
}

/// Whether the connection was lost under this call.
pub(super) fn is_lost<T>(result: &Result<T, EngineError>) -> bool {
    matches!(result, Err(error) if error.fault == Fault::Lost)
}

impl Machine {
    /// Takes note that connection number `lost` is of no use; it may have been renewed already.
    pub(super) fn lose(&mut self, lost: u64) {
        self.connection.unusable |= self.connection.number == lost;
    }

    /// Has the connection renewed, for reads that are parked and a turn that waits.
    pub(super) fn renew(&mut self) {
        if self.connection.renewal.is_none() {
            self.connection.renewal = Some(Renewal::Connecting);
            self.wishes.push(Wish::Ask(RENEWAL, Ask::Reconnect));
        }
    }

    /// Ends a renewal for which nobody waits any more.
    pub(super) fn stop_unwanted_renewal(&mut self) {
        let wanted = self.reads.any_parked() || self.turn_waits();
        if !wanted && self.connection.renewal.take().is_some() {
            self.wishes.push(Wish::GiveUp(RENEWAL));
        }
    }

    pub(super) fn renewal_answered(&mut self, answered: Answered) {
        let Some(phase) = self.connection.renewal else { return };
        let result = match (phase, answered) {
            (Renewal::Connecting, Ok(_)) => {
                self.connection.renewal = Some(Renewal::ReadingRecord);
                self.wishes.push(Wish::Ask(RENEWAL, Ask::Read(Query::record(), Verify::Never)));
                return;
            }
            (Renewal::ReadingRecord, Ok(seen)) => {
                let bytes = seen.and_then(|seen| seen.found.into_record());
                self.standing.take_record(bytes).map(drop)
            }
            (_, Err(error)) => Err(error.into()),
        };
        self.connection.renewal = None;
        if result.is_ok() {
            self.connection.number += 1;
            self.connection.unusable = false;
        }
        for run in self.reads.take_parked() {
            match &result {
                Ok(()) => self.issue(run),
                Err(failure) => self.finish_read(run, Err(failure.clone())),
            }
        }
        if self.turn_waits() {
            self.turn_connected(result);
        }
    }
}
