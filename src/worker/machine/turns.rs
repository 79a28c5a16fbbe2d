//! A turn under way: one transaction, its deadline, and what may be tried again.
//!
//! A lost connection is renewed once if nothing was applied, a deadline aborts, and after an unknown
//! outcome the record is read before anything else happens. What a turn means is decided in `turn`.

use std::sync::{Arc, Mutex, PoisonError};

use super::super::command::Reading;
use super::super::turn::{Answer, Decided, Stamp, Task, Turn, Verdict};
use super::connection::Failure;
use super::{Ask, Machine, STEP, Wish};
use crate::engine::{Change, EngineError, Fault};
use crate::error::Outcome;
use crate::limits::ABORT_GRACE_MS;
use crate::record::Record;

/// One transaction's worth of work, until it has ended one way or the other.
pub(super) struct TurnRun {
    tasks: Arc<[Task]>,
    durable: bool,
    deadline: Option<u64>,
    /// Whether it has been tried again after a lost connection: once is enough.
    repeated: bool,
    /// The connection that it uses.
    connection: u64,
    phase: Phase,
}

enum Phase {
    /// Until the connection has been renewed.
    Connecting,
    Applying(Attempt),
    /// It has been told to abort, and has until then to say how it ended.
    Aborting(Attempt, u64),
    /// The record is being read, to find out whether it was applied.
    Resolving(EngineError, Stamp, Box<Decided>),
}

struct Attempt {
    stamp: Stamp,
    /// Filled in by the decision, inside the transaction.
    verdict: Told,
}

/// Where the decision leaves its verdict.
pub(crate) type Told = Arc<Mutex<Option<Verdict>>>;

/// How a turn ended.
pub(super) enum TurnEnd {
    Done { after: Arc<Record>, answers: Vec<Answer> },
    Gone,
    Failed(EngineError),
}

impl TurnRun {
    /// When [`Machine::turn_is_late`] is wanted.
    pub(super) fn alarm(&self) -> Option<u64> {
        match &self.phase {
            Phase::Connecting | Phase::Applying(_) => self.deadline,
            Phase::Aborting(_, until) => Some(*until),
            // The read has its own.
            Phase::Resolving(..) => None,
        }
    }

    fn is_connecting(&self) -> bool {
        matches!(self.phase, Phase::Connecting)
    }
}

impl Attempt {
    /// What was decided. A transaction that is given up before it decided shall not do so later.
    fn take_verdict(&self) -> Option<Verdict> {
        let mut verdict = self.verdict.lock().unwrap_or_else(PoisonError::into_inner);
        match verdict.take() {
            Some(decided) => Some(decided),
            None => {
                *verdict = Some(Verdict::Gone);
                None
            }
        }
    }
}

/// The change that takes the turn, unless the turn has been given up, and says what it came to.
pub(crate) fn change(turn: Turn, told: Told) -> Change {
    Change {
        reads: turn.reads(),
        durable: turn.stamp.durable,
        decide: Box::new(move |found| {
            let mut told = told.lock().unwrap_or_else(PoisonError::into_inner);
            if told.is_some() {
                return None;
            }
            let (writes, verdict) = turn.decide(found);
            *told = Some(verdict);
            writes
        }),
    }
}

impl Machine {
    /// Begins a turn of the step under way; [`Machine::turn_ended`] takes how it ended.
    pub(super) fn begin_turn(&mut self, tasks: Arc<[Task]>, deadline: Option<u64>, durable: bool) {
        let (connection, phase) = (self.connection.number, Phase::Connecting);
        let run = TurnRun { tasks, durable, deadline, repeated: false, connection, phase };
        match self.connection.unusable {
            true => {
                self.renew();
                self.keep_turn(run);
            }
            false => self.attempt(run),
        }
    }

    fn attempt(&mut self, mut run: TurnRun) {
        let stamp = Stamp {
            generation: self.standing.generation,
            writer: self.standing.writer,
            group: self.standing.next_group(),
            unix_ms: self.link.clock.unix_ms(),
            durable: run.durable,
            log_unsynced: self.standing.log_unsynced,
        };
        let turn = Turn { stamp, tasks: Arc::clone(&run.tasks) };
        let verdict = Told::default();
        let ask = Ask::Apply(turn, Arc::clone(&verdict));
        run.connection = self.connection.number;
        run.phase = Phase::Applying(Attempt { stamp, verdict });
        self.wishes.push(Wish::Ask(STEP, ask));
        self.keep_turn(run);
    }

    /// Whether a turn waits for the connection.
    pub(super) fn turn_waits(&self) -> bool {
        self.turn().is_some_and(TurnRun::is_connecting)
    }

    /// The connection has been renewed, or could not be.
    pub(super) fn turn_connected(&mut self, result: std::result::Result<(), Failure>) {
        let Some(run) = self.take_turn() else { return };
        match result {
            Ok(()) => self.attempt(run),
            Err(Failure::Gone) => self.turn_ended(TurnEnd::Gone),
            // Connecting writes nothing.
            Err(Failure::Engine(error)) => {
                self.turn_ended(TurnEnd::Failed(error.with_outcome(Outcome::NotApplied)));
            }
        }
    }

    /// The engine has said how the transaction ended.
    pub(super) fn turn_answered(&mut self, applied: std::result::Result<(), EngineError>) {
        let Some(mut run) = self.take_turn() else { return };
        let (Phase::Applying(attempt) | Phase::Aborting(attempt, _)) = run.phase else { return };
        let error = match (applied, attempt.take_verdict()) {
            (Ok(()), Some(Verdict::Decided(decided))) => return self.turn_ended(done(*decided)),
            (_, Some(Verdict::Gone)) => return self.turn_ended(TurnEnd::Gone),
            (_, Some(Verdict::Unreadable(error))) => error,
            (Ok(()), None) => EngineError::new(Fault::Other, "the engine committed without a decision"),
            (Err(error), None) if error.fault == Fault::Missing => return self.turn_ended(TurnEnd::Gone),
            // Nothing is written before the decision.
            (Err(error), None) => error.with_outcome(Outcome::NotApplied),
            (Err(error), Some(Verdict::Decided(decided))) => {
                if must_be_resolved(&error) {
                    let grace = self.now().saturating_add(ABORT_GRACE_MS);
                    let deadline = run.deadline.map(|at| at.max(grace));
                    run.phase = Phase::Resolving(error, attempt.stamp, decided);
                    self.keep_turn(run);
                    return self.read_record_for_step(deadline);
                }
                error
            }
        };
        run.phase = Phase::Connecting;
        self.turn_failed(run, error);
    }

    /// The record has been read after an unknown outcome, or could not be.
    pub(super) fn turn_read(&mut self, result: std::result::Result<Reading, Failure>) {
        let Some(mut run) = self.take_turn() else { return };
        let Phase::Resolving(error, stamp, decided) = run.phase else { return };
        run.phase = Phase::Connecting;
        let now = match result {
            Ok(Reading::Details(details)) => details.record,
            Err(Failure::Gone) => return self.turn_ended(TurnEnd::Gone),
            _ => return self.turn_failed(run, error),
        };
        if (now.writer, now.group) == (stamp.writer, stamp.group) {
            return self.turn_ended(done(*decided));
        }
        let before = &decided.before;
        let untouched =
            (now.writer, now.group, now.committed_seq) == (before.writer, before.group, before.committed_seq);
        self.turn_failed(run, if untouched { error.with_outcome(Outcome::NotApplied) } else { error });
    }

    /// Its outcome has been found out as far as that is possible: once more on a new connection, or the end.
    fn turn_failed(&mut self, mut run: TurnRun, error: EngineError) {
        let again = error.fault == Fault::Lost && error.outcome == Outcome::NotApplied;
        if !again || run.repeated {
            return self.turn_ended(TurnEnd::Failed(error));
        }
        run.repeated = true;
        self.lose(run.connection);
        if self.connection.unusable {
            self.renew();
            self.keep_turn(run);
        } else {
            self.attempt(run);
        }
    }

    /// The time that it had has passed.
    pub(super) fn turn_is_late(&mut self) {
        let Some(mut run) = self.take_turn() else { return };
        match run.phase {
            Phase::Connecting => {
                self.stop_unwanted_renewal();
                let error = EngineError::new(Fault::Aborted, "the job's deadline passed");
                self.turn_ended(TurnEnd::Failed(error));
            }
            Phase::Applying(attempt) => {
                let until = self.now().saturating_add(ABORT_GRACE_MS);
                run.phase = Phase::Aborting(attempt, until);
                self.wishes.push(Wish::Abort);
                self.keep_turn(run);
            }
            Phase::Aborting(..) => {
                self.wishes.push(Wish::GiveUp(STEP));
                self.lose(run.connection);
                let message = "the deadline passed, and the aborted transaction did not say how it ended";
                let error = EngineError::new(Fault::Aborted, message).with_outcome(Outcome::Unknown);
                self.keep_turn(run);
                self.turn_answered(Err(error));
            }
            Phase::Resolving(..) => self.keep_turn(run),
        }
    }
}

fn must_be_resolved(error: &EngineError) -> bool {
    error.outcome == Outcome::Unknown && !matches!(error.fault, Fault::SyncFailed | Fault::Aborted)
}

fn done(decided: Decided) -> TurnEnd {
    TurnEnd::Done { after: Arc::new(decided.after), answers: decided.answers }
}
