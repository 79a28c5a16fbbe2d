//! What jobs' workers are asked for calls of the page, until these have been answered.
//!
//! There is no future for them: each answer says whether the worker has to be asked more, whether the job has to
//! come further first, or what the page is told.

use std::rc::Rc;
use std::sync::Arc;

use super::question::{Asking, Said};
use super::wire::{Output, pack_items, pack_page, pack_payloads};
use super::{ROOTS, Root, Table};
use crate::engine::Found;
use crate::error::Result;
use crate::job::{Job, done, payloads};
use crate::job_info::JobInfo;
use crate::options::OpenMode;
use crate::record::{LogRetention, Record};
use crate::watch::{Commits, Need, Position};
use crate::worker::{Answered, Caller, Link, Read, Reading};

/// A call of the page that its job's worker is asked for.
pub(super) struct Asked {
    pub(super) root: u32,
    /// The call, and the job that it is about.
    pub(super) number: u32,
    pub(super) about: u32,
    pub(super) may_cancel: bool,
    /// Whether it is one of those of which a job's worker is asked so many at a time.
    pub(super) counts: bool,
    /// Stays open until then.
    pub(super) job: Job,
    pub(super) said: Said,
}

/// What comes of an answer.
pub(super) enum Then {
    /// It has been written.
    Answered,
    /// The worker has to be asked this too.
    Ask(Read),
    /// The job has to come further first.
    Wait,
}

/// Waits for an answer of a job's worker.
pub(super) struct Asker(Option<Asked>);

impl Asker {
    pub(super) fn new(asked: Asked) -> Self {
        Asker(Some(asked))
    }

    fn take(&mut self) -> Option<(Rc<Root>, Asked)> {
        let asked = self.0.take()?;
        Some((ROOTS.with(|roots| roots.get(asked.root))?, asked))
    }
}

impl Caller for Asker {
    fn answer(mut self: Box<Self>, answer: Result<Answered>) -> bool {
        self.take().is_some_and(|(root, asked)| root.conclude(asked, answer))
    }

    fn has_gone(&self) -> bool {
        let given_up = |asked: &Asked| {
            let root = ROOTS.with(|roots| roots.get(asked.root));
            asked.may_cancel && root.is_none_or(|root| root.running.get(asked.number).is_none())
        };
        self.0.as_ref().is_none_or(given_up)
    }
}

impl Drop for Asker {
    fn drop(&mut self) {
        // Nobody would take one that was given up from those that wait.
        let has_gone = self.has_gone();
        let Some((root, asked)) = self.take() else { return };
        let link = asked.job.link();
        if has_gone || link.see(|progress| progress.end.is_some()) {
            let error = link.closed();
            root.conclude(asked, Err(error));
        } else {
            root.waiting.insert(asked.number, asked);
        }
    }
}

impl Asked {
    pub(super) fn is_of(&self, link: &Arc<Link>) -> bool {
        Arc::ptr_eq(self.job.link(), link)
    }

    /// Whether it may go on where its job has come further.
    pub(super) fn follows(&self) -> bool {
        matches!(self.said.kind, Asking::Next(..))
    }

    /// Takes an answer of the worker, if there was one, and writes what the page is told once there is all of it.
    pub(super) fn go_on(
        &mut self,
        answer: Option<Result<Answered>>,
        streams: &Table<Box<Commits>>,
        out: &mut Output,
    ) -> Result<Then> {
        let Asked { job, said, .. } = self;
        let then = match (std::mem::replace(&mut said.kind, Asking::Plain), answer) {
            (Asking::Next(stream, mut commits), answer) => {
                if let Some(answer) = answer {
                    commits.take_in(answer.and_then(Answered::reading));
                }
                let then = match commits.need() {
                    Need::Page(read) => Then::Ask(read),
                    Need::News => Then::Wait,
                    Need::Nothing => {
                        let items = commits.take_all()?;
                        if !items.is_empty() {
                            pack_items(out, &items, commits.yielded().seq);
                            streams.insert(stream, commits);
                        }
                        return Ok(Then::Answered);
                    }
                };
                said.kind = Asking::Next(stream, commits);
                return Ok(then);
            }
            (kind, None) => {
                said.kind = kind;
                return Ok(Then::Wait);
            }
            (Asking::Durable(seq), Some(answer)) => {
                return job
                    .link()
                    .durable_result(seq, answer.and_then(Answered::flushed))
                    .map(|()| Then::Answered);
            }
            // Their errors say where already.
            (Asking::Task, Some(Err(error))) => return Err(error),
            (Asking::Check(mut check), Some(answer)) => {
                check.take_in(answer.and_then(Answered::reading)).map(|further| match further {
                    Some(read) => {
                        said.kind = Asking::Check(check);
                        Then::Ask(read)
                    }
                    None => {
                        out.strings(&check.findings);
                        Then::Answered
                    }
                })
            }
            (Asking::Begin(stream, beginning), Some(answer)) => answer
                .and_then(Answered::reading)
                .and_then(Reading::details)
                .and_then(|details| beginning.begin(Arc::clone(job.link()), &details))
                .map(|commits| {
                    pack_position(out, commits.yielded());
                    streams.insert(stream, Box::new(commits));
                    Then::Answered
                }),
            (_, Some(Ok(Answered::Task(answer)))) => {
                let (seq, existed) = done(answer);
                out.number(seq).flag(existed);
                Ok(Then::Answered)
            }
            (kind, Some(Ok(Answered::Reading(reading)))) => {
                pack_reading(out, job, reading, matches!(kind, Asking::Position)).map(|()| Then::Answered)
            }
            (_, Some(answer)) => answer.and_then(Answered::flushed).map(|()| Then::Answered),
        };
        then.map_err(|error| job.explain(error, said.category.as_deref(), said.operation))
    }
}

fn pack_reading(out: &mut Output, job: &Job, reading: Reading, as_position: bool) -> Result<()> {
    match reading {
        Reading::Found(Found::Page(page)) => pack_page(out, &page),
        Reading::Found(Found::Count(count)) => drop(out.number(count)),
        Reading::Found(Found::Categories(strings)) => drop(out.strings(&strings)),
        Reading::Found(found) => pack_payloads(out, &payloads(found)?),
        Reading::Details(details) if as_position => {
            let Record { generation, committed_seq, .. } = *details.record;
            pack_position(out, Position { generation, seq: committed_seq });
        }
        Reading::Details(details) => pack_info(out, &job.info_of(details)),
        // Watches and the log read commits, through their streams.
        Reading::Commits(_) | Reading::Compacted => {}
    }
    Ok(())
}

fn pack_position(out: &mut Output, position: Position) {
    out.raw(&position.generation).number(position.seq);
}

/// Generation (16), creation time, committed and durable seq, a flag for shared, the mode (0 create, 1 must
/// exist, 2 read only), a flag and the bytes, a flag and the log's last bytes, the log's first seq, and the
/// holders to the end, each a string and a seq. Numbers have 8 bytes.
fn pack_info(out: &mut Output, info: &JobInfo) {
    out.raw(&info.generation).number(info.created_ms).number(info.committed_seq).number(info.durable_seq);
    out.flag(info.shared).byte(match info.mode {
        OpenMode::Create => 0,
        OpenMode::MustExist => 1,
        OpenMode::ReadOnly => 2,
    });
    out.flag(info.bytes.is_some()).number(info.bytes.unwrap_or(0));
    let last_bytes = match info.log {
        LogRetention::Off => None,
        LogRetention::LastBytes(bytes) => Some(bytes),
    };
    out.flag(last_bytes.is_some()).number(last_bytes.unwrap_or(0)).number(info.log_first_seq);
    for (name, seq) in &info.log_holders {
        out.bytes(name.as_bytes()).number(*seq);
    }
}
