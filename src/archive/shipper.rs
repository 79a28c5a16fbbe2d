//! One job's way into the archive, turn by turn: durable, then data, then its mark, then the log is released.
//!
//! Never decides when: it is told up to where. A turn that fails is repeated from what the store holds.

use std::sync::Arc;

use futures_util::future::{BoxFuture, FutureExt, join};

use crate::clock::Clock;
use crate::error::{Error, ErrorKind, Quoted, Result};
use crate::job::Job;
use crate::watch::{LogReader, Position, WatchItem};

use super::attach::{archived, find, live};
use super::base::Taking;
use super::catalog;
use super::format::{ArchiveName, Builder, Kind, LifeNames, Sealed, Segment, SegmentMark};
use super::options::ArchiveOptions;
use super::reader::ArchiveReader;
use super::restore::RestoreTo;
use super::settled::durable;
use super::start::Start;
use super::store::{Store, put_settled};

/// Bytes of records after which a comparison with the log forgets them.
const COMPARE_BYTES: usize = 1024 * 1024;

/// Objects that are pruned in one turn.
const PRUNED_IN_TURN: usize = 100;

/// What a turn came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Turn {
    /// There is more to do up to the target.
    More,
    /// The archive has everything up to the target.
    Through,
}

/// One job that is shipped.
pub(super) struct Shipper {
    pub(super) job: Job,
    pub(super) store: Arc<dyn Store>,
    archive: ArchiveName,
    /// Which of the archive's lives it is.
    life: u64,
    pub(super) names: LifeNames,
    pub(super) generation: [u8; 16],
    pub(super) options: ArchiveOptions,
    holder: String,
    /// Tells when the job's life was attached first.
    clock: Clock,
    /// Why it is not known yet what the store has, while it is not.
    unjoined: Option<Error>,
    state: Start,
    taking: Option<Taking>,
    /// Where the segment ends that could not be put: cut there again it has the same bytes.
    cut_at: Option<u64>,
    /// Bytes of a commit in the last segment, about.
    commit_bytes: u64,
    /// Goes on behind the last segment, if it has been read to its end only.
    log: Option<LogReader>,
    /// Up to where the log has been released.
    released: u64,
    /// Releases more of it.
    releasing: Option<BoxFuture<'static, Result<u64>>>,
    /// Others may have shipped since the state was found.
    is_stale: bool,
    /// Whether there may be something to prune.
    prunes: bool,
    pruning_error: Option<Error>,
}

impl Shipper {
    /// One that has not looked at the store: see [`join`](Shipper::join).
    pub(super) fn new(
        job: Job,
        store: Arc<dyn Store>,
        archive: ArchiveName,
        generation: [u8; 16],
        holder: String,
        options: ArchiveOptions,
        clock: Clock,
    ) -> Self {
        let names = archive.of(&generation);
        Shipper {
            job,
            store,
            archive,
            life: 0,
            names,
            generation,
            options,
            holder,
            clock,
            unjoined: None,
            state: Start::default(),
            taking: None,
            cut_at: None,
            commit_bytes: 0,
            log: None,
            released: 0,
            releasing: None,
            is_stale: false,
            prunes: true,
            pruning_error: None,
        }
    }

    /// Makes the job's life the archive's last one, holds the log, and finds where shipping goes on. Where the store
    /// fails it is repeated by the next turn.
    pub(super) async fn join(&mut self) -> Result<()> {
        let joined = self.try_join().await;
        self.unjoined = joined.as_ref().err().cloned();
        joined
    }

    async fn try_join(&mut self) -> Result<()> {
        // The log is not held yet: where another life is shipped nobody would let go of it again.
        self.life =
            live(&self.job, &*self.store, &self.archive, &self.generation, &self.holder, &self.clock).await?;
        self.look().await
    }

    async fn look(&mut self) -> Result<()> {
        let found = find(&self.job, &*self.store, &self.names, &self.generation, &self.holder).await?;
        self.go_on_from(found);
        self.is_stale = false;
        Ok(())
    }

    /// Why the store could not be looked at when the job was attached, until it has been.
    pub(super) fn unjoined(&self) -> Option<&Error> {
        self.unjoined.as_ref()
    }

    /// Everything up to this seq is in the archive, though it may not be restorable yet.
    pub(super) fn seq(&self) -> u64 {
        self.state.seq
    }

    /// How many bytes a commit has, to tell by their number how many bytes have not been shipped.
    pub(super) fn commit_bytes(&self) -> u64 {
        self.commit_bytes
    }

    /// Up to where the job can be restored, if it can.
    pub(super) fn archived(&self) -> Option<u64> {
        self.state.archived
    }

    /// The name under which the job's log is held.
    pub(super) fn holder(&self) -> &str {
        &self.holder
    }

    /// What those who could ship this life of the job under this name have in common.
    pub(super) fn election_name(&self) -> String {
        format!("{}/{}", self.holder, self.names.life())
    }

    /// Why pruning has failed, if it has since the last base was taken.
    pub(super) fn pruning_error(&self) -> Option<&Error> {
        self.pruning_error.as_ref()
    }

    /// Has the next turn look at the store first, where others may have shipped.
    pub(super) fn look_anew(&mut self) {
        self.is_stale = true;
    }

    /// Up to where the job can be restored with what is in the store, whoever has shipped it.
    pub(super) async fn in_store(&self) -> Result<Option<u64>> {
        archived(&*self.store, &self.names, &self.generation).await
    }

    /// The seq up to which there is something to ship before anything new is committed.
    pub(super) fn overdue(&self) -> Option<u64> {
        let behind = self.unjoined.is_some()
            || self.is_stale
            || self.taking.is_some()
            || self.state.probe
            || self.state.seq < self.state.whole_at;
        behind.then(|| self.job.committed_seq().max(self.state.whole_at))
    }

    /// Bytes that a turn has in memory, one commit excepted.
    pub(super) fn weight(&self) -> usize {
        usize::try_from(self.options.cut.bytes).unwrap_or(usize::MAX)
    }

    /// Puts one object and its mark, on the way to `target`.
    pub(super) async fn turn(&mut self, target: u64) -> Result<Turn> {
        let done = self.step(target).await;
        if done.is_err() {
            // It may have read further than what was put.
            self.log = None;
            self.releasing = None;
        }
        done.map_err(|error| {
            error.in_context(format_args!("job {}, archive behind seq {}", Quoted(self.job.id()), self.seq()))
        })
    }

    async fn step(&mut self, target: u64) -> Result<Turn> {
        if self.unjoined.is_some() {
            self.join().await?;
            return Ok(Turn::More);
        }
        if self.is_stale {
            self.look().await?;
            return Ok(Turn::More);
        }
        if let Some(mut taking) = self.taking.take() {
            let taken = taking.step(&self.job, &*self.store, &self.names, &self.options).await;
            match taken {
                Ok(Some(mark)) => {
                    if taking.is_gap() {
                        (self.state.seq, self.state.chain) = (mark.from, mark.chain);
                        self.state.whole_at = mark.to;
                        self.reached(mark.from);
                    }
                    self.state.has_base(&mark);
                    (self.prunes, self.pruning_error) = (true, None);
                    self.log = None;
                }
                Ok(None) => self.taking = Some(taking),
                Err(error) => {
                    self.taking = Some(taking);
                    return Err(error);
                }
            }
            return Ok(Turn::More);
        }
        let target = target.max(self.state.whole_at);
        let is_through = self.state.seq >= target;
        self.release(is_through).await?;
        if is_through {
            return Ok(if self.prune_some().await { Turn::More } else { Turn::Through });
        }
        let durable = match self.job.durable_seq() {
            seq if seq >= target => seq,
            _ => durable(&self.job).await?,
        };
        if self.state.probe {
            let next = self.state.seq + 1;
            match catalog::segment_at(&*self.store, &self.names, &self.generation, next).await? {
                Some(mark) => self.adopt(mark).await?,
                None => {
                    self.state.probe = false;
                    self.taking = self.state.taking(self.generation, &self.options);
                }
            }
            return Ok(Turn::More);
        }
        let end = self.cut_at.unwrap_or(durable);
        // Nothing is put into a life that another one has followed: who prunes it would not come back for that.
        let followed = self.check_life();
        let (followed, cut) = join(followed, self.cut(end)).await;
        followed?;
        let Some(sealed) = cut? else { return Ok(Turn::More) };
        self.cut_at = Some(sealed.mark.last_seq);
        self.put(sealed).await?;
        Ok(Turn::More)
    }

    /// Lets go of the log up to what is archived. That takes its place in the job's queue, behind whatever is
    /// there, so shipping goes on meanwhile; `waits` if there is nothing else to do.
    async fn release(&mut self, waits: bool) -> Result<()> {
        // What is under way may be for an earlier seq.
        while let Some(mut releasing) = self.releasing.take().or_else(|| self.begin_release()) {
            let released = if waits { Some((&mut releasing).await) } else { (&mut releasing).now_or_never() };
            let Some(released) = released else {
                self.releasing = Some(releasing);
                break;
            };
            self.released = released?;
        }
        Ok(())
    }

    fn begin_release(&self) -> Option<BoxFuture<'static, Result<u64>>> {
        let (job, holder, seq) = (self.job.clone(), self.holder.clone(), self.state.seq);
        (self.released < seq).then(|| async move { job.advance_log(&holder, seq).await }.boxed())
    }

    /// Reads commits up to `end`, or as many as a segment holds; none if the log has lost them.
    async fn cut(&mut self, end: u64) -> Result<Option<Sealed>> {
        let mut log = self.log_behind().await?;
        let mut builder = Builder::new(Kind::History, self.generation, self.state.chain);
        let cut = self.options.cut;
        while self.state.seq + builder.commits() < end
            && builder.commits() < cut.commits
            && (builder.bytes() as u64) < cut.bytes
        {
            match log.next().await {
                Some(Ok(WatchItem::Commit(commit))) => builder.push(&commit),
                Some(Ok(WatchItem::Lagged { to, .. })) => {
                    self.find_again(to).await?;
                    return Ok(None);
                }
                Some(Err(error)) => return Err(error),
                None => break,
            }
        }
        self.log = Some(log);
        self.commit_bytes = (builder.bytes() as u64).checked_div(builder.commits()).unwrap_or(0);
        let nothing = || Error::new(ErrorKind::Backend, "the log ends before what is durable");
        Ok(Some(builder.seal().ok_or_else(nothing)?))
    }

    async fn put(&mut self, sealed: Sealed) -> Result<()> {
        let Sealed { mark, bytes } = sealed;
        let mark = SegmentMark { bytes_until: self.state.bytes_until.saturating_add(mark.bytes), ..mark };
        let whole = |bytes: &[u8]| Segment::decode(Kind::History, bytes).map(drop);
        let name = self.names.data(&mark);
        if put_settled(&*self.store, &name, &bytes, whole).await?.is_some() {
            return Err(Error::new(ErrorKind::Corrupt, format!("{name}: it is another segment")));
        }
        let name = self.names.segment(mark.first_seq);
        let whole = |bytes: &[u8]| SegmentMark::decode(bytes).map(drop);
        match put_settled(&*self.store, &name, &mark.encode(), whole).await? {
            None => {
                self.shipped(&mark);
                Ok(())
            }
            Some(other) => self.adopt(SegmentMark::decode(&other)?).await,
        }
    }

    /// Tells whoever ships a life that another one has followed, before that other one prunes it.
    fn check_life(&self) -> impl Future<Output = Result<()>> + Send + use<> {
        let (job, store, archive) = (self.job.clone(), Arc::clone(&self.store), self.archive.clone());
        let (life, generation, holder) = (self.life, self.generation, self.holder.clone());
        let clock = self.clock.clone();
        async move {
            let newest = catalog::newest_life_number(&*store, &archive).await?;
            if newest.is_some_and(|number| number > life) {
                live(&job, &*store, &archive, &generation, &holder, &clock).await?;
            }
            Ok(())
        }
    }

    /// Takes a segment for ours that is there already, if it holds what the log holds.
    async fn adopt(&mut self, mark: SegmentMark) -> Result<()> {
        let conflict = |what: &str| {
            let (first, last) = (mark.first_seq, mark.last_seq);
            let message = format!("somebody else has shipped seq {first} to {last}: {what}");
            Error::new(ErrorKind::Conflict, message)
        };
        if mark.generation != self.generation || mark.chain_before != self.state.chain {
            return Err(conflict("another history goes on there"));
        }
        if mark.last_seq > durable(&self.job).await? {
            return Err(conflict("the job has not come so far"));
        }
        self.log = None;
        let mut log = self.log_behind().await?;
        let mut builder = Builder::new(Kind::History, self.generation, self.state.chain);
        let mut seq = self.state.seq;
        while seq < mark.last_seq {
            let Some(item) = log.next().await else { return Err(conflict("the log ends before")) };
            let commit = match item? {
                WatchItem::Commit(commit) => commit,
                // Whoever released them has compared them with the log.
                WatchItem::Lagged { to, .. } => return self.find_again(to).await,
            };
            builder.push(&commit);
            seq = commit.seq;
            if builder.bytes() > COMPARE_BYTES {
                builder.seal();
            }
        }
        if builder.chain() != mark.chain_after {
            return Err(conflict("they are not the job's"));
        }
        self.shipped(&mark);
        Ok(())
    }

    fn shipped(&mut self, mark: &SegmentMark) {
        (self.state.seq, self.state.chain) = (mark.last_seq, mark.chain_after);
        self.cut_at = None;
        self.reached(mark.last_seq);
        self.state.bytes_until = mark.bytes_until;
        self.state.last_ms = self.state.last_ms.max(mark.last_ms);
        self.taking = self.state.taking(self.generation, &self.options);
    }

    /// Prunes what is older than is to be kept; says whether there may be more. An error keeps nothing from
    /// being shipped: it is told, and pruning waits for the next base.
    async fn prune_some(&mut self) -> bool {
        let Some(keep) = self.options.keep_ms().filter(|_| self.prunes) else { return false };
        // A clock that was ahead for a while has nothing removed once it is right again.
        let oldest_ms = self.state.last_ms.min(self.clock.unix_ms()).saturating_sub(keep);
        match self.prune_up_to(oldest_ms).await {
            Ok(is_all) => self.prunes = !is_all,
            Err(error) => {
                log::warn!("job {}, archive could not be pruned: {error}", Quoted(self.job.id()));
                (self.prunes, self.pruning_error) = (false, Some(error));
            }
        }
        self.prunes
    }

    async fn prune_up_to(&self, oldest_ms: u64) -> Result<bool> {
        let reader = ArchiveReader::of_life(Arc::clone(&self.store), self.archive.clone(), self.generation);
        let pruned = match reader.prune_some(RestoreTo::Time(oldest_ms), PRUNED_IN_TURN).await {
            Ok((pruned, true)) => pruned.objects as usize,
            Ok((_, false)) => return Ok(false),
            // This life does not reach back so far; what is before it may.
            Err(error) if error.kind() == ErrorKind::InvalidArgument => 0,
            Err(error) => return Err(error),
        };
        let (_, is_all) = reader.prune_lives(oldest_ms, PRUNED_IN_TURN - pruned).await?;
        Ok(is_all)
    }

    fn reached(&mut self, seq: u64) {
        if seq >= self.state.whole_at {
            self.state.archived = Some(seq);
        }
    }

    /// The log has lost what comes next, up to `to`. Either another archive of this job has shipped it, and is
    /// followed; or it was never shipped, and only a base can go on behind the gap.
    async fn find_again(&mut self, to: u64) -> Result<()> {
        let mut found = find(&self.job, &*self.store, &self.names, &self.generation, &self.holder).await?;
        if found.base_at.is_none() && found.seq < to {
            if found.probe {
                let message = format!("the log has lost commits up to seq {to} that nobody has released");
                return Err(Error::new(ErrorKind::Corrupt, message));
            }
            found.base_at = Some(to);
        }
        self.go_on_from(found);
        Ok(())
    }

    fn go_on_from(&mut self, mut found: Start) {
        found.archived = found.archived.max(self.state.archived);
        // What was known of that moment is true for ever, though rows may have come since.
        found.begins_empty |= self.state.begins_empty && found.base_at == self.state.base_at;
        self.state = found;
        self.taking = self.state.taking(self.generation, &self.options);
        (self.log, self.cut_at) = (None, None);
    }

    /// The log behind what is archived.
    async fn log_behind(&mut self) -> Result<LogReader> {
        let position = Position { generation: self.generation, seq: self.state.seq };
        match self.log.take() {
            Some(log) if log.position() == position => Ok(log),
            _ => self.job.committed_from(position).await,
        }
    }
}
