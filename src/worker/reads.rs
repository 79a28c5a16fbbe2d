//! Runs one read: finds room for its result, asks the engine, and makes sure of what it saw.
//!
//! Never orders reads against writes: the actor starts a read only when it may run.

use std::cell::RefCell;
use std::rc::Rc;

use super::command::{Details, Found, QueuedRead, Read, points};
use super::context::{Context, Failure, gone};
use super::recent::{CommitsPage, Recent};
use crate::commit_log::{self, Assembler};
use crate::engine::{EngineError, Fault, Get, Got, Page, PageRequest, Space, Verify};
use crate::error::Error;
use crate::limits;
use crate::range::Span;

/// Runs the read and answers it; returns whether it found the job gone.
pub(crate) async fn run(context: Rc<Context>, recent: Rc<RefCell<Recent>>, queued: QueuedRead) -> bool {
    let QueuedRead { read, reply, deadline, _credit } = queued;
    let (result, is_gone) = match context.until(deadline, find(&context, &recent, read)).await {
        Ok(Ok(found)) => (Ok(found), false),
        Ok(Err(Failure::Engine(error))) => (Err(Error::from(error)), false),
        Ok(Err(Failure::Gone)) => (Err(gone()), true),
        Err(late) => (Err(late), false),
    };
    // A caller that has gone is not an error of the read.
    drop(reply.send(result));
    is_gone
}

async fn find(context: &Context, recent: &RefCell<Recent>, read: Read) -> Result<Found, Failure> {
    let engine = &context.engine;
    match read {
        Read::Get { category, keys, presence_only } => {
            let get = || Get {
                points: points(&category, &keys),
                presence_only,
                bytes_max: limits::SMALL_GET_BYTES_MAX,
            };
            get_points(context, &get).await
        }
        Read::Page { page, whole, .. } => get_page(context, page, whole).await.map(Found::Page),
        Read::Commits { after, follow } => {
            get_commits(context, recent, after, follow).await.map(Found::Commits)
        }
        Read::Details => details(context).await.map(|details| Found::Details(Box::new(details))),
        Read::Check => check(context).await.map(Found::Strings),
        Read::Count { category, span } => {
            let count = || async {
                let seen = engine.count(category.clone(), span.clone(), context.verify()).await?;
                context.admit(seen).map(Found::Count)
            };
            context.with_connection(count).await
        }
        Read::Categories => {
            let categories = || async {
                let seen = engine.categories(limits::SCAN_BYTES_MAX, context.verify()).await?;
                context.admit(seen).map(Found::Strings)
            };
            context.with_connection(categories).await
        }
        Read::Compact => {
            let compact = || async { Ok(engine.compact().await.map(|()| Found::Done)?) };
            context.with_connection(compact).await
        }
    }
}

async fn get_points(context: &Context, get: &dyn Fn() -> Get) -> Result<Found, Failure> {
    let mut got = {
        let _room = context.small_gets.acquire().await;
        fetch(context, get, limits::SMALL_GET_BYTES_MAX).await?
    };
    if matches!(got, Got::TooLarge(_)) {
        let _room = context.large_get.acquire().await;
        got = fetch(context, get, limits::SCAN_BYTES_MAX).await?;
    }
    Ok(Found::Got(got))
}

async fn fetch(context: &Context, get: &dyn Fn() -> Get, bytes_max: usize) -> Result<Got, Failure> {
    let fetch =
        || async { context.admit(context.engine.get(Get { bytes_max, ..get() }, context.verify()).await?) };
    context.with_connection(fetch).await
}

/// A page, or all rows in one view: first with a page's room, then with room for everything.
async fn get_page(context: &Context, page: PageRequest, whole: bool) -> Result<Page, Failure> {
    let bounds: &[usize] = match whole {
        true => &[limits::PAGE_BYTES_MAX, limits::SCAN_BYTES_MAX],
        false => &[limits::PAGE_BYTES_MAX],
    };
    let mut found = Page::default();
    for &bytes_max in bounds {
        drop(std::mem::take(&mut found));
        let _room = context.scan_room.acquire_many(u32::try_from(bytes_max).unwrap_or(u32::MAX)).await;
        let request = || async {
            let page = PageRequest { bytes_max, ..page.clone() };
            context.admit(context.engine.page(page, context.verify()).await?)
        };
        found = context.with_connection(request).await?;
        let complete = !found.more || found.rows.len() >= page.rows_max;
        if complete || !whole {
            return Ok(found);
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
        let (logged, committed) = context.with_connection(|| logged_commits(context, after)).await?;
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
        let seen = context.engine.page(request, Verify::Always).await?;
        let (page, record) = context.admit_with_record(seen)?;
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
    let record = context.with_connection(|| context.read_record()).await?;
    let bytes = context.with_connection(|| async { Ok(context.engine.bytes().await?) }).await?;
    Ok(Details { record, bytes, shared: context.is_shared() })
}

/// The engine's own findings, and whether the log is as the record says.
async fn check(context: &Context) -> Result<Vec<String>, Failure> {
    let mut findings = context.with_connection(|| async { Ok(context.engine.check().await?) }).await?;
    let record = context.with_connection(|| context.read_record()).await?;
    let mut next = record.log.first_seq;
    let mut after = 0;
    loop {
        let page = match context.with_connection(|| logged_commits(context, after)).await {
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
    Ok(context.with_connection(|| context.read_record()).await?.log.first_seq)
}

/// Looks at the job's record, for watchers of a job that others change; whether the job is gone.
pub(crate) async fn look(context: &Context, deadline: Option<u64>) -> bool {
    match context.until(deadline, context.with_connection(|| context.read_record())).await {
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
