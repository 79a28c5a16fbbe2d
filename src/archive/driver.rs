//! The loop of an archiver: waits until jobs are due, asks the scheduler, and runs their turns.
//!
//! The one place that awaits many things; what follows from them the scheduler and the shippers decide.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use futures_util::future::{AbortHandle, Abortable, FutureExt, LocalBoxFuture};
use futures_util::stream::{FuturesUnordered, StreamExt};
use futures_util::{pin_mut, select_biased};
use tokio::sync::Notify;

use crate::clock::Clock;
use crate::error::{Error, ErrorKind, Result};

use super::due::due;
use super::election::{Candidate, Elector, follow};
use super::options::ArchiverOptions;
use super::progress::{ArchiveState, Shared};
use super::scheduler::{Lane, Reported, Retry, Scheduler};
use super::shipper::{Shipper, Turn};

/// What the loop is told; names archives by their numbers.
pub(super) enum Command {
    /// Takes part in its election already, if there is one.
    Attach(u64, Box<Shipper>, Arc<Shared>, Option<Elector>),
    Resume(u64),
    /// Ends the archive at once.
    Stop(u64),
    /// There will be no further command.
    End,
}

/// What the handles of an archiver and its loop share.
pub(super) struct Mailbox {
    /// None once the loop has gone. Bounded by what it names: one attachment of each archive, and resumes
    /// and stops that its callers have asked for.
    commands: Mutex<Option<Vec<Command>>>,
    notify: Notify,
}

impl Default for Mailbox {
    fn default() -> Self {
        Mailbox { commands: Mutex::new(Some(Vec::new())), notify: Notify::new() }
    }
}

impl Mailbox {
    pub(super) fn send(&self, command: Command) {
        match (&mut *self.lock(), command) {
            (Some(commands), command) => commands.push(command),
            (None, Command::Attach(_, _, shared, _)) => shared.end(Some(gone())),
            (None, _) => {}
        }
        self.notify.notify_one();
    }

    fn take(&self) -> Vec<Command> {
        self.lock().as_mut().map(std::mem::take).unwrap_or_default()
    }

    fn lock(&self) -> MutexGuard<'_, Option<Vec<Command>>> {
        // A push is whole or has not happened.
        self.commands.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Tells those who wait when the loop ends, also if a store panics in it.
struct Leaving(Arc<Mailbox>);

impl Drop for Leaving {
    fn drop(&mut self) {
        for command in self.0.lock().take().unwrap_or_default() {
            if let Command::Attach(_, _, shared, _) = command {
                shared.end(Some(gone()));
            }
        }
    }
}

impl Drop for Attached {
    fn drop(&mut self) {
        // Says nothing to those that have ended in another way.
        self.shared.end(Some(gone()));
    }
}

fn gone() -> Error {
    Error::new(ErrorKind::Backend, "the archiver has stopped")
}

/// Something that an archive has waited for.
enum Event {
    /// There is something to ship up to this seq; or the job has ended.
    Due(u64, Result<u64>),
    /// It is to ship; or it never will.
    Chosen(u64, Box<Shipper>, Result<()>),
    /// A turn has ended.
    Turned(u64, u64, Box<Shipper>, Result<Turn>),
    /// It was stopped.
    Stopped,
}

/// An archive as the loop knows it.
struct Attached {
    lane: Lane,
    retry: Retry,
    shared: Arc<Shared>,
    /// Away while it has a turn, or waits to be chosen.
    shipper: Option<Box<Shipper>>,
    /// Ends what it waits for.
    abort: AbortHandle,
    /// How it is chosen, if it has to be.
    elector: Option<Elector>,
}

struct Driver {
    clock: Clock,
    /// For archives that have no other.
    retry: Retry,
    scheduler: Scheduler<u64>,
    attached: BTreeMap<u64, Attached>,
    lanes: BTreeMap<Lane, u64>,
    work: FuturesUnordered<LocalBoxFuture<'static, Event>>,
    ending: bool,
}

/// Runs until it is told that nothing more will come.
pub(super) async fn run(mailbox: Arc<Mailbox>, options: ArchiverOptions, seed: u64) {
    let mut driver = Driver {
        clock: options.clock,
        retry: options.retry,
        scheduler: Scheduler::new(options.bounds, seed),
        attached: BTreeMap::new(),
        lanes: BTreeMap::new(),
        work: FuturesUnordered::new(),
        ending: false,
    };
    let leaving = Leaving(mailbox);
    let mailbox = &leaving.0;
    loop {
        mailbox.take().into_iter().for_each(|command| driver.obey(command));
        if driver.ending && driver.scheduler.is_empty() {
            return;
        }
        let now_ms = driver.clock.monotonic_ms();
        driver.start_turns(now_ms);
        let event = driver.next_event(mailbox, now_ms).await;
        if let Some(event) = event {
            driver.take(event);
        }
    }
}

impl Driver {
    /// What happens next to an archive; none if there are commands, or a backoff is over.
    async fn next_event(&mut self, mailbox: &Mailbox, now_ms: u64) -> Option<Event> {
        let news = mailbox.notify.notified().fuse();
        let clock = self.clock.clone();
        let at = self.scheduler.next_start_ms(now_ms);
        let backoff = async move {
            match at {
                Some(at) => clock.sleep_until(at).await,
                None => std::future::pending().await,
            }
        }
        .fuse();
        pin_mut!(news, backoff);
        select_biased! {
            event = self.work.select_next_some() => Some(event),
            () = news => None,
            () = backoff => None,
        }
    }

    fn obey(&mut self, command: Command) {
        match command {
            Command::Attach(id, shipper, shared, elector) => self.attach(id, shipper, shared, elector),
            Command::Resume(id) => self.resume(id),
            Command::Stop(id) => self.end(id, None),
            Command::End => self.ending = true,
        }
    }

    fn attach(&mut self, id: u64, shipper: Box<Shipper>, shared: Arc<Shared>, elector: Option<Elector>) {
        let retry = shipper.options.retry(self.retry);
        let lane = self.scheduler.add(retry);
        self.lanes.insert(lane, id);
        let (abort, _) = AbortHandle::new_pair();
        let candidate = elector.as_ref().and_then(Elector::candidate);
        self.attached.insert(id, Attached { lane, retry, shared, shipper: None, abort, elector });
        if let Some(candidate) = candidate {
            self.follow(id, shipper, candidate);
            return;
        }
        // What has failed while it was attached was its first attempt.
        let failed = shipper.unjoined().cloned();
        self.begin(id, shipper);
        if let Some(error) = failed {
            self.has_failed(id, error, |scheduler, lane, now| scheduler.fail_before(lane, now));
        }
    }

    /// Has the archive wait until it is chosen.
    fn follow(&mut self, id: u64, shipper: Box<Shipper>, candidate: Arc<dyn Candidate>) {
        let Some(archive) = self.attached.get(&id) else { return };
        let chosen = follow(shipper, candidate, Arc::clone(&archive.shared), self.clock.clone());
        self.run_for(id, chosen.map(move |(shipper, chosen)| Event::Chosen(id, shipper, chosen)));
    }

    /// Ships from now on.
    fn begin(&mut self, id: u64, shipper: Box<Shipper>) {
        let Some(archive) = self.attached.get_mut(&id) else { return };
        // What was committed before has waited long enough.
        let behind = Some(shipper.job.committed_seq()).filter(|seq| *seq > shipper.seq());
        let overdue = shipper.overdue().or(behind);
        archive.shipper = Some(shipper);
        match overdue {
            Some(target) => self.submit(id, target),
            None => self.wait(id),
        }
    }

    fn resume(&mut self, id: u64) {
        let Some(archive) = self.attached.get_mut(&id) else { return };
        // One that follows has nothing to resume.
        if archive.shared.now().is_following() {
            return;
        }
        let joined = match &mut archive.elector {
            Some(elector) if elector.candidate().is_none() => elector.join(&archive.shared),
            _ => {
                self.scheduler.resume(archive.lane);
                archive.shared.publish(None, ArchiveState::Shipping);
                return;
            }
        };
        // What it had to ship may have been shipped by another one: it begins as a new one does.
        self.lanes.remove(&archive.lane);
        self.scheduler.remove(archive.lane);
        archive.lane = self.scheduler.add(archive.retry);
        self.lanes.insert(archive.lane, id);
        archive.shared.publish(None, ArchiveState::Following);
        match (joined, archive.shipper.take()) {
            (Ok(candidate), Some(shipper)) => self.follow(id, shipper, candidate),
            (Err(error), _) => self.end(id, Some(error)),
            // A turn is never under way while it is stalled.
            (Ok(_), None) => self.end(id, Some(gone())),
        }
    }

    fn end(&mut self, id: u64, error: Option<Error>) {
        let Some(archive) = self.attached.remove(&id) else { return };
        archive.abort.abort();
        self.lanes.remove(&archive.lane);
        self.scheduler.remove(archive.lane);
        archive.shared.end(error);
    }

    fn submit(&mut self, id: u64, target: u64) {
        let Some(archive) = self.attached.get(&id) else { return };
        let weight = archive.shipper.as_ref().map_or(0, |shipper| shipper.weight());
        // One request at a time: the next one comes when this one has been served.
        if self.scheduler.submit(archive.lane, weight, target).is_err() {
            self.end(
                id,
                Some(Error::new(ErrorKind::Backend, "the archiver has too many requests of one job")),
            );
        }
    }

    /// Has the archive wait until there is something to ship.
    fn wait(&mut self, id: u64) {
        let Some(archive) = self.attached.get_mut(&id) else { return };
        let Some(shipper) = &archive.shipper else { return };
        let (job, cut) = (shipper.job.clone(), shipper.options.cut);
        let behind = (shipper.seq(), shipper.commit_bytes());
        let due = due(job, behind, cut, archive.shared.asked(), self.clock.clone());
        self.run_for(id, due.map(move |due| Event::Due(id, due)));
    }

    fn start_turns(&mut self, now_ms: u64) {
        while let Some(started) = self.scheduler.start(now_ms) {
            let target = started.request;
            let archive =
                self.lanes.get(&started.lane).and_then(|id| self.attached.get_mut(id).zip(Some(*id)));
            let Some((archive, id)) = archive else { continue };
            let Some(mut shipper) = archive.shipper.take() else { continue };
            self.run_for(id, async move {
                let turned = shipper.turn(target).await;
                Event::Turned(id, target, shipper, turned)
            });
        }
    }

    fn run_for(&mut self, id: u64, work: impl Future<Output = Event> + 'static) {
        let Some(archive) = self.attached.get_mut(&id) else { return };
        let (abort, registration) = AbortHandle::new_pair();
        archive.abort = abort;
        let work = Abortable::new(work, registration);
        self.work.push(work.map(|event| event.unwrap_or(Event::Stopped)).boxed_local());
    }

    fn take(&mut self, event: Event) {
        match event {
            Event::Due(id, Ok(target)) => self.submit(id, target),
            Event::Due(id, Err(error)) | Event::Chosen(id, _, Err(error)) => self.end(id, Some(error)),
            Event::Chosen(id, shipper, Ok(())) => {
                if let Some(archive) = self.attached.get(&id) {
                    archive.shared.publish(None, ArchiveState::Shipping);
                }
                self.begin(id, shipper);
            }
            Event::Turned(id, target, shipper, turned) => self.turned(id, target, shipper, turned),
            Event::Stopped => {}
        }
    }

    fn turned(&mut self, id: u64, target: u64, shipper: Box<Shipper>, turned: Result<Turn>) {
        let now = self.clock.monotonic_ms();
        let Some(archive) = self.attached.get_mut(&id) else { return };
        let archived = shipper.archived();
        archive.shared.publish_pruning(shipper.pruning_error());
        archive.shipper = Some(shipper);
        match turned {
            Ok(turn) => {
                self.scheduler.report(archive.lane, true, now);
                archive.shared.publish(archived, ArchiveState::Shipping);
                match turn {
                    Turn::More => self.submit(id, target),
                    Turn::Through => self.wait(id),
                }
            }
            Err(error) if is_final(&error) => self.end(id, Some(error)),
            Err(error) => {
                archive.shared.advance(archived);
                self.has_failed(id, error, |scheduler, lane, now| scheduler.report(lane, false, now));
            }
        }
    }

    /// Tells of a failure, of which `report` informs the scheduler. One that stalls lets another one be chosen, so that
    /// nobody waits for it.
    fn has_failed(
        &mut self,
        id: u64,
        error: Error,
        report: impl FnOnce(&mut Scheduler<u64>, Lane, u64) -> Reported,
    ) {
        let Some(archive) = self.attached.get_mut(&id) else { return };
        let state = failed(report(&mut self.scheduler, archive.lane, self.clock.monotonic_ms()), error);
        let stalls = matches!(state, ArchiveState::Stalled { .. });
        archive.shared.publish(None, state);
        if let Some(elector) = archive.elector.as_mut().filter(|_| stalls) {
            elector.leave();
        }
    }
}

/// What an archive does that has failed.
fn failed(reported: Reported, error: Error) -> ArchiveState {
    match reported {
        Reported::Stalled { .. } => {
            log::error!("an archive waits to be resumed: {error}");
            ArchiveState::Stalled { error }
        }
        Reported::Again { failures, .. } => {
            log::warn!("an archive tries again, failures in a row {failures}: {error}");
            ArchiveState::Retrying { failures, error }
        }
        Reported::Done | Reported::Unknown => ArchiveState::Shipping,
    }
}

/// Whether trying again cannot help.
pub(super) fn is_final(error: &Error) -> bool {
    matches!(
        error.kind(),
        ErrorKind::Conflict
            | ErrorKind::Closed
            | ErrorKind::JobNotFound
            | ErrorKind::VersionTooNew
            | ErrorKind::Unsupported
            | ErrorKind::InvalidArgument
    )
}
