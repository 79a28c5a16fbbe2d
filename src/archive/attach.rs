//! Attaching: whose turn it is to ship a job, and from where on. Ships nothing itself, and reads no more marks for
//! an archive that is long.

use std::sync::Arc;

use crate::clock::Clock;
use crate::error::{Error, ErrorKind, Quoted, Result};
use crate::job::Job;

use super::base::begins_empty;
use super::catalog;
use super::format::{ArchiveName, BaseMark, Life, LifeNames, SegmentMark};
use super::options::ArchiveOptions;
use super::shipper::Shipper;
use super::start::Start;
use super::store::{Store, put_settled};

/// How often it looks again who ships when somebody else attaches at the same time.
const LIFE_ROUNDS_MAX: usize = 8;

/// Attaches a job. A store that fails for now is looked at again by the first turn: see [`Shipper::unjoined`].
pub(super) async fn attach(
    job: &Job,
    store: Arc<dyn Store>,
    options: ArchiveOptions,
    clock: &Clock,
) -> Result<Shipper> {
    options.check()?;
    job.check_writable("archive")?;
    let name = options.name.clone().unwrap_or_else(|| job.id().to_owned());
    let archive = ArchiveName::new(&name).map_err(|error| error.in_context("archive name"))?;
    let holder = format!("archive/{name}");
    let generation = job.position().await?.generation;
    let mut shipper = Shipper::new(job.clone(), store, archive, generation, holder, options, clock.clone());
    match shipper.join().await {
        Err(error) if !may_pass(&error) => Err(error),
        _ => Ok(shipper),
    }
}

/// Whether a store that answers so may answer otherwise later.
fn may_pass(error: &Error) -> bool {
    error.kind() == ErrorKind::Backend || error.is_retryable()
}

/// Holds the log, and finds where shipping goes on; also while another archive of this job ships.
pub(super) async fn find(
    job: &Job,
    store: &dyn Store,
    names: &LifeNames,
    generation: &[u8; 16],
    holder: &str,
) -> Result<Start> {
    // Before the store is looked at: from here on nothing goes that has not been shipped.
    let held = job.hold_log(holder).await?;
    let info = job.info().await?;
    // By now another archive may have shipped more and released it.
    let held = held.max(info.log_first_seq.saturating_sub(1));
    let known = Known::of(store, names, generation).await?;
    // Asked now: what another archive ships may have been committed since.
    let seq = job.position().await?.seq;
    if let Some((end, ..)) = known.end()
        && end > seq
    {
        let id = Quoted(job.id());
        let message = format!("the archive is at seq {end}, and job {id} at {seq}: an older copy of it");
        return Err(Error::new(ErrorKind::Conflict, message));
    }
    let mut start = start(store, names, generation, &known, held).await?;
    if let Some(from) = start.base_at {
        start.begins_empty = begins_empty(job, from).await?;
    }
    Ok(start)
}

/// Up to where the job can be restored with what is in the store, whoever has shipped it.
pub(super) async fn archived(
    store: &dyn Store,
    names: &LifeNames,
    generation: &[u8; 16],
) -> Result<Option<u64>> {
    Ok(Known::of(store, names, generation).await?.archived())
}

/// What is in the store of this life, as far as it has to be known.
struct Known {
    /// Newest first, as many as [`catalog::newest_bases`] reads.
    bases: Vec<BaseMark>,
    newest: Option<SegmentMark>,
}

impl Known {
    async fn of(store: &dyn Store, names: &LifeNames, generation: &[u8; 16]) -> Result<Self> {
        // Segments first: the base with which their history begins was there before them.
        let newest = catalog::newest_segment(store, names, generation).await?;
        let bases = catalog::newest_bases(store, names, generation, newest.as_ref()).await?;
        Ok(Known { bases, newest })
    }

    /// The seq at which the job can be restored; none without a base, or before its history is whole.
    fn archived(&self) -> Option<u64> {
        let (end, ..) = self.end().filter(|_| !self.bases.is_empty())?;
        (end >= self.whole_at(end)).then_some(end)
    }

    /// The seq up to which the archive goes, the chain there, and the bytes of segments until then.
    fn end(&self) -> Option<(u64, u64, u64)> {
        let base = self.bases.first().map(|base| (base.from, base.chain, base.bytes_until));
        let segment = self.newest.as_ref().map(|mark| (mark.last_seq, mark.chain_after, mark.bytes_until));
        // Where both end with the same seq their chains are the same.
        base.max(segment)
    }

    /// The seq from which on the job can be restored, if it cannot where the archive ends.
    fn whole_at(&self, end: u64) -> u64 {
        let history = catalog::last_history(&self.bases);
        match history.iter().any(|base| base.to <= end) {
            true => 0,
            false => history.iter().map(|base| base.to).min().unwrap_or(0),
        }
    }
}

/// Where to begin, if the log is held from behind `held` on.
async fn start(
    store: &dyn Store,
    names: &LifeNames,
    generation: &[u8; 16],
    known: &Known,
    held: u64,
) -> Result<Start> {
    let Some((end, chain, bytes_until)) = known.end() else {
        return Ok(Start { seq: held, base_at: Some(held), ..Start::default() });
    };
    let whole_at = known.whole_at(end);
    let archived = (end >= whole_at).then_some(end);
    let base_ms = known.bases.first().map_or(0, |base| base.time_ms);
    let at_end = Start {
        seq: end,
        chain,
        bytes_until,
        bytes_until_base: known.bases.first().map_or(bytes_until, |base| base.bytes_until),
        base_bytes: known.bases.first().map_or(0, BaseMark::bytes),
        last_ms: known.newest.as_ref().map_or(0, |mark| mark.last_ms).max(base_ms),
        base_ms,
        whole_at,
        archived,
        base_at: None,
        begins_empty: false,
        probe: false,
    };
    if known.bases.is_empty() {
        // Segments that nothing can be restored from: their base was left half, or has been removed.
        return Ok(Start { archived: None, base_at: Some(end.max(held)), ..at_end });
    }
    if held > end {
        // Somebody released what had not been shipped.
        return Ok(Start { base_at: Some(held), ..at_end });
    }
    // What was shipped and not yet released is compared with the log, if the log begins where a
    // segment or a base ended.
    if held < end {
        let before = catalog::segment_before(store, names, generation, held).await?;
        let there = match before.filter(|mark| mark.last_seq == held) {
            Some(mark) => Some((mark.chain_after, mark.bytes_until)),
            None => {
                let base = catalog::base(store, names, generation, held).await?;
                base.map(|base| (base.chain, base.bytes_until))
            }
        };
        if let Some((chain, bytes_until)) = there {
            return Ok(Start { seq: held, chain, bytes_until, probe: true, ..at_end });
        }
    }
    Ok(at_end)
}

/// Sees to it that the job's present life is the archive's last one, and returns its number.
pub(super) async fn live(
    job: &Job,
    store: &dyn Store,
    archive: &ArchiveName,
    generation: &[u8; 16],
    holder: &str,
    clock: &Clock,
) -> Result<u64> {
    for _ in 0..LIFE_ROUNDS_MAX {
        let newest = catalog::newest_life(store, archive, true).await?;
        if let Some(life) = newest.as_ref().filter(|life| life.generation == *generation) {
            return Ok(life.number);
        }
        if newest.is_some() && has_lived(job, store, &archive.of(generation), holder).await? {
            let message = format!(
                "the archive has gone on with another life of job {}: give this one an archive of its own name",
                Quoted(job.id())
            );
            return Err(Error::new(ErrorKind::Conflict, message));
        }
        let last = newest.map_or(0, |life| life.number);
        let full = || Error::new(ErrorKind::Corrupt, "the number of the last life is the last one there is");
        let number = last.checked_add(1).ok_or_else(full)?;
        let attached_ms = clock.unix_ms();
        let life = Life { generation: *generation, number, attached_ms, job: job.id().to_owned() };
        let name = archive.life(number);
        let whole = |bytes: &[u8]| Life::decode(bytes).map(drop);
        if put_settled(store, &name, &life.encode(), whole).await?.is_none() {
            return Ok(number);
        }
    }
    Err(Error::new(ErrorKind::Conflict, "others attach to this archive all the time"))
}

/// Whether this life of the job has been shipped under this name before: what the store had of it may have been
/// pruned, and then its own log still tells.
async fn has_lived(job: &Job, store: &dyn Store, names: &LifeNames, holder: &str) -> Result<bool> {
    let bases = names.bases();
    Ok(!store.list(&bases, &bases, 1).await?.is_empty()
        || job.info().await?.log_holders.iter().any(|(name, _)| name == holder))
}
