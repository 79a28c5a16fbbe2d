//! Reads under way: finds room for their results, asks the engine, and makes sure of what it saw.
//!
//! Never orders reads against writes: the machine starts one only when it may run.

use std::sync::Arc;

use super::super::command::{self, Details, QueuedRead, Read, Reading, Reply};
use super::super::errors::{gone, timed_out};
use super::super::log_walk::LogWalk;
use super::super::recent::CommitsPage;
use super::connection::{Failure, is_lost};
use super::rooms::{Need, Rooms};
use super::{Answered, Ask, CallId, FIRST_READ, Machine, Wish};
use crate::clock::earlier;
use crate::engine::{EngineError, Fault, Found, Got, PageRequest, Query, Seen, Verify};
use crate::error::{Error, Quoted, Result};
use crate::limits;
use crate::record::Record;
use crate::room::Share;
use crate::text::text;

/// Every read that has been started and has no answer yet; bounded by the callers' credits.
#[derive(Default)]
pub(super) struct Reads {
    runs: Vec<Run>,
    rooms: Rooms,
    started: u64,
}

/// A read under way. It has one call of the engine at a time.
pub(super) struct Run {
    id: CallId,
    whom: Whom,
    deadline: Option<u64>,
    stage: Stage,
    asked: Asked,
    at: At,
    /// The connection that its call uses.
    connection: u64,
    /// Whether its call has been repeated after a lost connection: once is enough.
    repeated: bool,
    /// The room that it has taken.
    room: Option<Need>,
}

/// Who wants to know.
enum Whom {
    Caller(Reply, Share),
    /// The step under way.
    Step,
    /// Nobody but the machine itself: whether the job has moved on, or gone.
    Machine,
}

/// What the answer of the present call is for.
enum Stage {
    /// It is the answer; if it is too large for the room, ask again with that of the next number.
    Answer {
        whole: bool,
        needs: &'static [Need],
        attempt: usize,
    },
    Commits {
        follow: bool,
        walk: LogWalk,
    },
    Record {
        with_size: bool,
    },
    Size(Arc<Record>),
    Compacted,
}

/// The call, as it is asked again after a lost connection.
enum Asked {
    Read(Query, Verify),
    Compact,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum At {
    Engine,
    /// Until the connection has been renewed.
    Parked,
    /// Until there is room.
    Waiting,
}

impl Reads {
    pub(super) fn is_empty(&self) -> bool {
        self.runs.is_empty()
    }

    pub(super) fn earliest_deadline(&self) -> Option<u64> {
        self.runs.iter().fold(None, |earliest, run| earlier(earliest, run.deadline))
    }

    pub(super) fn any_parked(&self) -> bool {
        self.runs.iter().any(|run| run.at == At::Parked)
    }

    pub(super) fn take_parked(&mut self) -> Vec<Run> {
        self.take_all(&|run| run.at == At::Parked)
    }

    fn take_all(&mut self, wanted: &dyn Fn(&Run) -> bool) -> Vec<Run> {
        let mut taken = Vec::new();
        for run in std::mem::take(&mut self.runs) {
            if wanted(&run) { &mut taken } else { &mut self.runs }.push(run);
        }
        taken
    }

    /// Whether one says where a watch begins: no write may overtake it.
    pub(super) fn any_beginning(&self) -> bool {
        self.runs.iter().any(|run| matches!(run.stage, Stage::Record { with_size: false }) && run.is_called())
    }

    fn take(&mut self, id: CallId) -> Option<Run> {
        let at = self.runs.iter().position(|run| run.id == id)?;
        Some(self.runs.swap_remove(at))
    }
}

impl Run {
    fn is_called(&self) -> bool {
        matches!(self.whom, Whom::Caller(..))
    }
}

impl Machine {
    /// Starts a read that has nothing left to wait for.
    pub(super) fn start_read(&mut self, queued: QueuedRead) {
        let QueuedRead { read, reply, deadline, _credit } = queued;
        let whom = Whom::Caller(reply, _credit);
        let record = |with_size| (Stage::Record { with_size }, Asked::Read(Query::record(), Verify::Never));
        let (stage, asked) = match read {
            Read::Ask { query, whole } => {
                let needs = Need::of(&query, whole);
                (Stage::Answer { whole, needs, attempt: 0 }, Asked::Read(query, self.standing.verify()))
            }
            Read::Commits { after, follow } => {
                let commits = if follow { self.recent.following(after) } else { Vec::new() };
                if let Some(last) = commits.last() {
                    let page = CommitsPage { lost: None, next_after: last.seq, commits };
                    return self.answer_read(whom, Ok(Reading::Commits(page)));
                }
                let walk = LogWalk::new(after);
                let page = Asked::Read(Query::Page(walk.request()), Verify::Always);
                (Stage::Commits { follow, walk }, page)
            }
            Read::Details => record(true),
            Read::DetailsNow => record(false),
            Read::Compact => (Stage::Compacted, Asked::Compact),
        };
        self.run(whom, deadline, stage, asked);
    }

    /// Reads the job's record for the machine itself, so that it knows what others have committed.
    pub(super) fn look(&mut self) {
        let deadline = self.link.deadline();
        self.run_record(Whom::Machine, deadline);
    }

    /// Reads the job's record for the step under way.
    pub(super) fn read_record_for_step(&mut self, deadline: Option<u64>) {
        self.run_record(Whom::Step, deadline);
    }

    /// Reads a page for the step under way.
    pub(super) fn read_page_for_step(&mut self, request: PageRequest, deadline: Option<u64>) {
        let stage = Stage::Answer { whole: false, needs: &[], attempt: 0 };
        self.run(Whom::Step, deadline, stage, Asked::Read(Query::Page(request), Verify::Always));
    }

    fn run_record(&mut self, whom: Whom, deadline: Option<u64>) {
        let asked = Asked::Read(Query::record(), Verify::Never);
        self.run(whom, deadline, Stage::Record { with_size: false }, asked);
    }

    fn run(&mut self, whom: Whom, deadline: Option<u64>, stage: Stage, asked: Asked) {
        self.mind_deadline(deadline);
        let id = FIRST_READ + self.reads.started;
        self.reads.started += 1;
        let (at, room) = (At::Engine, None);
        self.admit(Run { id, whom, deadline, stage, asked, at, connection: 0, repeated: false, room });
    }

    /// Asks the engine once there is room for the answer.
    fn admit(&mut self, mut run: Run) {
        if let Stage::Answer { needs, attempt, .. } = &run.stage
            && let Some(need) = needs.get(*attempt)
        {
            if !self.reads.rooms.take(run.id, *need) {
                run.at = At::Waiting;
                self.reads.runs.push(run);
                return;
            }
            run.enter(*need);
        }
        self.issue(run);
    }

    /// Asks the engine, over a connection that can be used.
    pub(super) fn issue(&mut self, mut run: Run) {
        run.connection = self.connection.number;
        if self.connection.unusable {
            run.at = At::Parked;
            self.renew();
        } else {
            run.at = At::Engine;
            let ask = match &run.asked {
                Asked::Read(query, verify) => Ask::Read(query.clone(), *verify),
                Asked::Compact => Ask::Compact,
            };
            self.wishes.push(Wish::Ask(run.id, ask));
        }
        self.reads.runs.push(run);
    }

    pub(super) fn read_answered(&mut self, id: CallId, answered: Answered) {
        let Some(mut run) = self.reads.take(id) else { return };
        if is_lost(&answered) && !run.repeated {
            run.repeated = true;
            self.lose(run.connection);
            return self.issue(run);
        }
        match self.take_seen(&run, answered) {
            Ok((found, record)) => self.go_on(run, found, record),
            Err(failure) => self.finish_read(run, Err(failure)),
        }
    }

    /// What was found, unless its view was of a dropped job, and the record of that view if it was wanted.
    fn take_seen(
        &mut self,
        run: &Run,
        answered: Answered,
    ) -> std::result::Result<(Option<Found>, Option<Arc<Record>>), Failure> {
        let Some(Seen { found, record }) = answered? else { return Ok((None, None)) };
        if matches!(run.stage, Stage::Record { .. }) {
            let record = self.standing.take_record(found.into_record())?;
            return Ok((None, Some(record)));
        }
        Ok((Some(found), record.map(|record| self.standing.take_record(record)).transpose()?))
    }

    /// Takes the answer of a read's call: its next one, or its end.
    fn go_on(&mut self, mut run: Run, found: Option<Found>, record: Option<Arc<Record>>) {
        run.repeated = false;
        let reading = match (&mut run.stage, found, record) {
            (Stage::Answer { whole, needs, attempt }, Some(found), _) => {
                if run.asked.is_cut(&found, *whole) {
                    *attempt += 1;
                    if *attempt < needs.len() {
                        self.leave_room(&mut run);
                        return self.admit(run);
                    }
                    if *whole && matches!(found, Found::Page(_)) {
                        return self.finish_read(run, Err(too_large().into()));
                    }
                }
                Reading::Found(found)
            }
            (Stage::Commits { follow, walk }, Some(Found::Page(page)), Some(record)) => {
                match walk.take(&page, record.log.first_seq) {
                    Ok(false) => {
                        run.asked = Asked::Read(Query::Page(walk.request()), Verify::Always);
                        return self.issue(run);
                    }
                    Ok(true) => {
                        let known = if *follow { self.recent.first_after(walk.after()) } else { None };
                        Reading::Commits(walk.end(record.committed_seq, known))
                    }
                    Err(error) => return self.finish_read(run, Err(error.into())),
                }
            }
            (Stage::Record { with_size: true }, _, Some(record)) => {
                run.stage = Stage::Size(record);
                run.asked = Asked::Read(Query::Size, Verify::Never);
                return self.issue(run);
            }
            (Stage::Record { .. }, _, Some(record)) => Reading::Details(self.details(record, None)),
            (Stage::Size(record), Some(Found::Size(bytes)), _) => {
                let record = Arc::clone(record);
                Reading::Details(self.details(record, bytes))
            }
            (Stage::Compacted, ..) => Reading::Compacted,
            _ => {
                let error = EngineError::new(Fault::Other, "the engine answered another question");
                return self.finish_read(run, Err(error.into()));
            }
        };
        self.finish_read(run, Ok(reading));
    }

    fn details(&self, record: Arc<Record>, bytes: Option<u64>) -> Details {
        Details { record, bytes, shared: self.standing.is_shared() }
    }

    /// Ends a read that is not in the table any more.
    pub(super) fn finish_read(&mut self, mut run: Run, result: std::result::Result<Reading, Failure>) {
        self.leave_room(&mut run);
        if matches!(run.whom, Whom::Step) {
            return self.step_read(result);
        }
        let result = result.map_err(|failure| match failure {
            Failure::Engine(error) => Error::from(error),
            Failure::Gone => {
                self.lose_job();
                gone()
            }
        });
        self.answer_read(run.whom, result);
    }

    fn answer_read(&mut self, whom: Whom, result: Result<Reading>) {
        match (whom, result) {
            // A caller that has gone is not an error of the read.
            (Whom::Caller(reply, _credit), result) => {
                drop(reply.send(result.map(command::Answered::Reading)))
            }
            (_, Err(error)) if !self.gone => {
                log::warn!("job {}: its record could not be read: {error}", Quoted(&self.link.id));
            }
            _ => {}
        }
    }

    /// Answers `Timeout` to reads that have not ended in time.
    pub(super) fn withdraw_late_reads(&mut self, now: u64) {
        for mut run in self.reads.take_all(&|run| run.deadline.is_some_and(|at| at <= now)) {
            self.give_up(&mut run);
            match run.whom {
                Whom::Step => {
                    let error = EngineError::new(Fault::Aborted, "the job's deadline passed");
                    self.step_read(Err(error.into()));
                }
                whom => self.answer_read(whom, Err(timed_out())),
            }
        }
        self.stop_unwanted_renewal();
    }

    /// Drops every read but that of the step: whoever waits learns of the job's end.
    pub(super) fn abandon_reads(&mut self) {
        for mut run in self.reads.take_all(&|run| !matches!(run.whom, Whom::Step)) {
            self.give_up(&mut run);
        }
        self.stop_unwanted_renewal();
    }

    /// Takes back what the read has under way.
    fn give_up(&mut self, run: &mut Run) {
        if run.at == At::Engine {
            self.wishes.push(Wish::GiveUp(run.id));
        }
        self.leave_room(run);
    }

    /// Gives the read's room back, and lets those in who wait for it.
    fn leave_room(&mut self, run: &mut Run) {
        let Some(need) = run.room.take() else { return };
        self.reads.rooms.give_back(need);
        while let Some(id) = self.reads.rooms.first(need.room) {
            let Some(mut next) = self.reads.take(id) else {
                self.reads.rooms.skip_first(need.room);
                continue;
            };
            let wanted = next.need();
            if wanted.is_some_and(|wanted| self.reads.rooms.take_first(wanted)) {
                wanted.into_iter().for_each(|wanted| next.enter(wanted));
                self.issue(next);
            } else {
                self.reads.runs.push(next);
                return;
            }
        }
    }
}

impl Run {
    fn need(&self) -> Option<Need> {
        match &self.stage {
            Stage::Answer { needs, attempt, .. } => needs.get(*attempt).copied(),
            _ => None,
        }
    }

    /// Has found room: the answer may be as large as that.
    fn enter(&mut self, need: Need) {
        self.room = Some(need);
        match &mut self.asked {
            Asked::Read(Query::Get(get), _) => get.bytes_max = need.bytes,
            Asked::Read(Query::Page(page), _) => page.bytes_max = need.bytes,
            _ => {}
        }
    }
}

impl Asked {
    /// Whether the bound in bytes has kept the answer from being the whole one.
    fn is_cut(&self, found: &Found, whole: bool) -> bool {
        match (self, found) {
            (Asked::Read(Query::Get(get), _), Found::Got(Got::TooLarge(_))) => {
                get.bytes_max < limits::SCAN_BYTES_MAX
            }
            (Asked::Read(Query::Page(request), _), Found::Page(page)) => {
                whole && page.more && page.rows.len() < request.rows_max
            }
            _ => false,
        }
    }
}

fn too_large() -> EngineError {
    let (most, advice) = (limits::SCAN_BYTES_MAX, "use .limit(n), or .stream() for pages");
    let message = text!("the scan's rows are larger than ", most, " bytes: ", advice);
    EngineError::new(Fault::TooLarge, message)
}
