//! Runs one read: finds room for its result, asks the engine, and makes sure of what it saw.
//!
//! Never orders reads against writes: the actor starts a read only when it may run.

use std::cell::RefCell;
use std::rc::Rc;

use super::command::{Details, QueuedRead, Read, Reading};
use super::context::{Context, Failure, gone};
use super::recent::{CommitsPage, Recent};
use crate::commit_log::{self, Assembler};
use crate::engine::{EngineError, Fault, Found, Got, PageRequest, Query, Space, Verify};
use crate::error::Error;
use crate::limits;
use crate::range::Span;

/// Runs the read and answers it; returns whether it found the job gone.
pub(crate) async fn run(context: Rc<Context>, recent: Rc<RefCell<Recent>>, queued: QueuedRead) -> bool {
    let QueuedRead { read, reply, deadline, _credit } = queued;
    let (result, is_gone) = match context.until(deadline, carry_out(&context, &recent, read)).await {
        Ok(Ok(reading)) => (Ok(reading), false),
        Ok(Err(Failure::Engine(error))) => (Err(Error::from(error)), false),
        Ok(Err(Failure::Gone)) => (Err(gone()), true),
        Err(late) => (Err(late), false),
    };
    // A caller that has gone is not an error of the read.
    drop(reply.send(result));
    is_gone
}

async fn carry_out(context: &Context, recent: &RefCell<Recent>, read: Read) -> Result<Reading, Failure> {
    Ok(match read {
        Read::Ask { query, whole } => Reading::Found(ask_with_room(context, query, whole).await?),
        Read::Commits { after, follow } => {
            Reading::Commits(get_commits(context, recent, after, follow).await?)
        }
        Read::Details | Read::DetailsNow => Reading::Details(details(context).await?),
        Read::Check => Reading::Damage(check(context).await?),
        Read::Compact => {
            context.compact().await?;
            Reading::Compacted
        }
    })
}

/// Asks the engine when there is room for the result: first for a small one, then if need be for as much
/// as a result may hold.
async fn ask_with_room(context: &Context, mut query: Query, whole: bool) -> Result<Found, Failure> {
    // What to ask for room, how much of it, and the bytes that this is good for.
    let pages =
        [limits::PAGE_BYTES_MAX, limits::SCAN_BYTES_MAX].map(|bytes| (&context.scan_room, bytes, bytes));
    let gets = [
        (&context.small_gets, 1, limits::SMALL_GET_BYTES_MAX),
        (&context.large_get, 1, limits::SCAN_BYTES_MAX),
    ];
    let rooms = match &query {
        Query::Get(_) => &gets[..],
        Query::Page(_) if whole => &pages,
        Query::Page(_) => &pages[..1],
        _ => return Ok(context.ask(query, context.verify()).await?.0),
    };
    for &(room, share, bytes) in rooms {
        let _room = room.acquire_many(u32::try_from(share).unwrap_or(u32::MAX)).await;
        let mut rows = usize::MAX;
        match &mut query {
            Query::Get(get) => get.bytes_max = bytes,
            Query::Page(request) => {
                request.bytes_max = bytes;
                rows = request.rows_max;
            }
            _ => {}
        }
        let found = context.ask(query.clone(), context.verify()).await?.0;
        match &found {
            Found::Got(Got::TooLarge(_)) if bytes < limits::SCAN_BYTES_MAX => {}
            Found::Page(page) if whole && page.more && page.rows.len() < rows => {}
            _ => return Ok(found),
        }
    }
    let message = format!(
        "the scan's rows are larger than {} bytes: use .limit(n), or .stream() for pages",
        limits::SCAN_BYTES_MAX
    );
    Err(EngineError::new(Fault::TooLarge, message).into())
}

/// The commits after a seq: from memory, else from the log, else as a gap.
async fn get_commits(
    context: &Context,
    recent: &RefCell<Recent>,
    after: u64,
    follow: bool,
) -> Result<CommitsPage, Failure> {
    let mut page = CommitsPage { next_after: after, ..CommitsPage::default() };
    if follow {
        page.commits = recent.borrow().following(after);
    }
    if page.commits.is_empty() {
        let (logged, committed) = logged_commits(context, after).await?;
        page = logged;
        if page.commits.is_empty() && after < committed {
            // What memory holds further on ends the gap; what nobody holds is lost up to now.
            let known = if follow { recent.borrow().first_after(after) } else { None };
            let to = known.map_or(committed, |seq| seq - 1);
            page.lost = (to > after).then_some((after + 1, to));
            page.next_after = to.max(after);
        }
    }
    if let Some(last) = page.commits.last() {
        page.next_after = last.seq;
    }
    Ok(page)
}

/// The commits after a seq that the log still holds, with the gap before them; and the committed seq of
/// the view in which they were found.
async fn logged_commits(context: &Context, after: u64) -> Result<(CommitsPage, u64), Failure> {
    let mut result = CommitsPage { next_after: after, ..CommitsPage::default() };
    let mut assembler = Assembler::default();
    let mut span = commit_log::span(after + 1, u64::MAX);
    let mut bytes = 0;
    loop {
        let request = PageRequest {
            space: Space::Log,
            span: span.clone(),
            reverse: false,
            rows_max: limits::PAGE_ROWS_MAX,
            bytes_max: limits::COMMITS_PAGE_BYTES_MAX,
            keys_only: false,
        };
        let (Found::Page(page), Some(record)) = context.ask(Query::Page(request), Verify::Always).await?
        else {
            return Err(Failure::Gone);
        };
        for (key, value) in &page.rows {
            bytes += value.len();
            let Some(commit) = assembler.push(key, value)? else { continue };
            match result.commits.last() {
                None if commit.seq > after + 1 => result.lost = Some((after + 1, commit.seq - 1)),
                // Trimmed between two pages: the next call begins with what is lost.
                Some(last) if commit.seq != last.seq + 1 => return Ok((result, record.committed_seq)),
                _ => {}
            }
            result.commits.push(commit);
        }
        // A page may end inside a commit: one that began is read to its end.
        let enough = !result.commits.is_empty() && bytes >= limits::COMMITS_PAGE_BYTES_MAX;
        if enough || !page.more {
            return Ok((result, record.committed_seq));
        }
        span = Span { start: assembler.resume_key(), end: span.end };
    }
}

async fn details(context: &Context) -> Result<Details, Failure> {
    let record = context.read_record().await?;
    let (size, _) = context.ask(Query::Size, Verify::Never).await?;
    let bytes = if let Found::Size(bytes) = size { bytes } else { None };
    Ok(Details { record, bytes, shared: context.is_shared() })
}

/// The engine's own findings, and whether the log is as the record says.
async fn check(context: &Context) -> Result<Vec<String>, Failure> {
    let (damage, _) = context.ask(Query::Damage, Verify::Never).await?;
    let mut findings = if let Found::Damage(findings) = damage { findings } else { Vec::new() };
    let record = context.read_record().await?;
    let mut next = record.log.first_seq;
    let mut after = 0;
    loop {
        let page = match logged_commits(context, after).await {
            Ok((page, _)) => page,
            Err(Failure::Engine(error)) if error.fault == Fault::Corrupt => {
                findings.push(error.message.clone());
                break;
            }
            Err(failure) => return Err(failure),
        };
        let Some(last) = page.commits.last() else { break };
        after = last.seq;
        for commit in &page.commits {
            // Commits that come in while this runs go on where the record stood.
            if commit.seq != next && next <= record.committed_seq && commit.seq > kept_from(context).await? {
                findings.push(format!(
                    "the commit log goes from seq {} to {}",
                    next.saturating_sub(1),
                    commit.seq
                ));
            }
            next = commit.seq + 1;
        }
    }
    if record.log.is_on() && next <= record.committed_seq && next >= kept_from(context).await? {
        findings.push(format!("the commit log ends before seq {}", record.committed_seq));
    }
    Ok(findings)
}

/// The first seq that has to be in the log by now; trimming may go on while somebody checks it.
async fn kept_from(context: &Context) -> Result<u64, Failure> {
    Ok(context.read_record().await?.log.first_seq)
}

/// Looks at the job's record, for watchers of a job that others change; whether the job is gone.
pub(crate) async fn look(context: &Context, deadline: Option<u64>) -> bool {
    match context.until(deadline, context.read_record()).await {
        Ok(Err(Failure::Gone)) => true,
        Ok(Err(Failure::Engine(error))) => {
            log::warn!("a shared job's record could not be read: {error:?}");
            false
        }
        Err(late) => {
            log::warn!("a shared job's record could not be read: {late}");
            false
        }
        Ok(Ok(_)) => false,
    }
}
