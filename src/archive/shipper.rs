//! One job's way into the archive, turn by turn: durable, then data, then its mark, then the log is released.
//!
//! Never decides when: it is told up to where. A turn that fails is repeated from what the store holds.

use std::sync::Arc;

use futures_util::future::{BoxFuture, FutureExt};

use crate::error::{Error, ErrorKind, Quoted, Result};
use crate::job::Job;
use crate::watch::{LogReader, Position, WatchItem};

use super::attach::find;
use super::base::Taking;
use super::catalog;
use super::format::{Builder, Kind, LifeNames, Sealed, Segment, SegmentMark};
use super::options::ArchiveOptions;
use super::reader::ArchiveReader;
use super::restore::RestoreTo;
use super::settled::durable;
use super::store::{Store, put_settled};

/// Bytes of records after which a comparison with the log forgets them.
const COMPARE_BYTES: usize = 1024 * 1024;

/// Objects that are pruned in one turn.
const PRUNED_IN_TURN: usize = 100;

/// Where shipping begins.
#[derive(Clone, Debug)]
pub(super) struct Start {
    /// The archive has everything up to here, in the chain.
    pub(super) seq: u64,
    pub(super) chain: u64,
    /// Bytes of all segments up to there, and up to the newest base.
    pub(super) bytes_until: u64,
    pub(super) bytes_until_base: u64,
    /// Times of the newest segment or base, and of the newest base, unix ms.
    pub(super) last_ms: u64,
    pub(super) base_ms: u64,
    /// Nothing can be restored before the archive has come here.
    pub(super) whole_at: u64,
    /// Up to where it can be restored now, if it can.
    pub(super) archived: Option<u64>,
    /// A base is to be taken at this seq first.
    pub(super) base_at: Option<u64>,
    /// Whether it is certain that there were no rows at that seq.
    pub(super) begins_empty: bool,
    /// There may be segments behind `seq` that this job has shipped.
    pub(super) probe: bool,
}

impl Start {
    /// The base to take first, if there is one: behind a gap, or because the chain is long.
    fn taking(&self, generation: [u8; 16], options: &ArchiveOptions) -> Option<Taking> {
        if let Some(from) = self.base_at {
            return Some(Taking::new(generation, (from, None, self.bytes_until), self.begins_empty));
        }
        let since_base = self.bytes_until.saturating_sub(self.bytes_until_base);
        let age_ms = self.last_ms.saturating_sub(self.base_ms);
        let is_long =
            since_base >= options.base_after.0 || options.keep_ms().is_some_and(|keep| age_ms > keep);
        // While it compares with the log it is not at the end of the chain.
        let is_due = is_long && !self.probe && self.archived.is_some();
        is_due.then(|| Taking::new(generation, (self.seq, Some(self.chain), self.bytes_until), false))
    }
}

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
    pub(super) names: LifeNames,
    pub(super) generation: [u8; 16],
    pub(super) options: ArchiveOptions,
    holder: String,
    state: Start,
    taking: Option<Taking>,
    /// Where the segment ends that could not be put: cut there again it has the same bytes.
    cut_at: Option<u64>,
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
    pub(super) fn new(
        job: Job,
        store: Arc<dyn Store>,
        names: LifeNames,
        generation: [u8; 16],
        holder: String,
        options: ArchiveOptions,
        state: Start,
    ) -> Self {
        let taking = state.taking(generation, &options);
        Shipper {
            job,
            store,
            names,
            generation,
            options,
            holder,
            state,
            taking,
            cut_at: None,
            log: None,
            released: 0,
            releasing: None,
            is_stale: false,
            prunes: true,
            pruning_error: None,
        }
    }

    /// Everything up to this seq is in the archive, though it may not be restorable yet.
    pub(super) fn seq(&self) -> u64 {
        self.state.seq
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
        let (store, names) = (Arc::clone(&self.store), self.names.clone());
        ArchiveReader::of_names(store, names, self.generation).archived_seq().await
    }

    /// The seq up to which there is something to ship before anything new is committed.
    pub(super) fn overdue(&self) -> Option<u64> {
        let behind = self.is_stale
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
        if self.is_stale {
            let found = find(&self.job, &*self.store, &self.names, &self.generation, &self.holder).await?;
            self.go_on_from(found);
            self.is_stale = false;
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
                    (self.state.bytes_until_base, self.state.base_ms) = (mark.bytes_until, mark.time_ms);
                    self.state.last_ms = self.state.last_ms.max(mark.time_ms);
                    self.state.base_at = None;
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
        let Some(sealed) = self.cut(end).await? else { return Ok(Turn::More) };
        self.cut_at = Some(sealed.mark.last_seq);
        self.put(sealed).await?;
        Ok(Turn::More)
    }

    /// Lets go of the log up to what is archived. That takes its place in the job's queue, behind whatever is
    /// there, so shipping goes on meanwhile; `waits` if there is nothing else to do.
    async fn release(&mut self, waits: bool) -> Result<()> {
        let Some(mut releasing) = self.releasing.take().or_else(|| self.begin_release()) else {
            return Ok(());
        };
        let released = if waits { Some((&mut releasing).await) } else { (&mut releasing).now_or_never() };
        match released {
            Some(released) => self.released = released?,
            None => self.releasing = Some(releasing),
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
        let oldest = RestoreTo::Time(self.state.last_ms.saturating_sub(keep));
        let reader = ArchiveReader::of_names(Arc::clone(&self.store), self.names.clone(), self.generation);
        match reader.prune_some(oldest, PRUNED_IN_TURN).await {
            Ok((_, is_all)) => self.prunes = !is_all,
            // The archive does not reach back so far yet.
            Err(error) if error.kind() == ErrorKind::InvalidArgument => self.prunes = false,
            Err(error) => {
                log::warn!("job {}, archive could not be pruned: {error}", Quoted(self.job.id()));
                (self.prunes, self.pruning_error) = (false, Some(error));
            }
        }
        self.prunes
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
            _ => self.job.log_from(position).await,
        }
    }
}
