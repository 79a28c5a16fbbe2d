//! What an archive holds, as its marks say: lives, bases, segments. Never looks into data.

use crate::error::{Error, ErrorKind, Result};

use super::format::{ArchiveName, BaseMark, Kind, Life, LifeNames, SegmentMark, chain_start, number_of};
use super::store::{LIST_MAX, Store, get_whole};

/// The life that is shipped, or was last; `None` if nothing ever was.
///
/// One that is damaged may be what an upload left half. Who attaches passes over it, and writes it anew; who
/// reads must not, or he would take an earlier life for the last one.
pub(super) async fn newest_life(
    store: &dyn Store,
    archive: &ArchiveName,
    pass_damaged: bool,
) -> Result<Option<Life>> {
    let prefix = archive.lives();
    for name in store.list(&prefix, &prefix, LIST_MAX).await? {
        let number = number_of(&name).ok_or_else(|| foreign(&name))?;
        let Some(bytes) = store.get(&name).await? else { continue };
        match Life::decode(&bytes) {
            Ok(life) if life.number == number => return Ok(Some(life)),
            Ok(_) => return Err(misplaced(&name)),
            // What an upload left half is no life yet, and nothing was shipped in it.
            Err(error) if pass_damaged && error.kind() == ErrorKind::Corrupt => continue,
            Err(error) => return Err(error.in_context(name)),
        }
    }
    Ok(None)
}

/// The mark of the segment that begins with `first`; `None` if there is none.
pub(super) async fn segment_at(
    store: &dyn Store,
    names: &LifeNames,
    generation: &[u8; 16],
    first: u64,
) -> Result<Option<SegmentMark>> {
    let name = names.segment(first);
    let Some(bytes) = store.get(&name).await? else { return Ok(None) };
    let mark = SegmentMark::decode(&bytes).map_err(|error| error.in_context(&name))?;
    match mark.generation == *generation && mark.first_seq == first {
        true => Ok(Some(mark)),
        false => Err(misplaced(&name)),
    }
}

/// The mark of the segment with the largest first seq up to `seq`.
pub(super) async fn segment_before(
    store: &dyn Store,
    names: &LifeNames,
    generation: &[u8; 16],
    seq: u64,
) -> Result<Option<SegmentMark>> {
    let listed = store.list(&names.segments(), &names.segment(seq), 1).await?;
    let Some(name) = listed.first() else { return Ok(None) };
    let first = number_of(name).ok_or_else(|| foreign(name))?;
    segment_at(store, names, generation, first).await
}

/// The mark of the base at `from`, which has to be there.
async fn base_at(store: &dyn Store, names: &LifeNames, generation: &[u8; 16], from: u64) -> Result<BaseMark> {
    let name = names.base(from);
    let bytes = get_whole(store, &name).await?;
    let mark = BaseMark::decode(&bytes).map_err(|error| error.in_context(&name))?;
    match mark.generation == *generation && mark.from == from {
        true => Ok(mark),
        false => Err(misplaced(&name)),
    }
}

/// Whether a history begins with this base: the first one, or one after a gap in the job's log.
pub(super) fn begins_history(base: &BaseMark) -> bool {
    base.chain == chain_start(Kind::History, &base.generation, base.from)
}

/// Of bases, newest first, those of the last history.
pub(super) fn last_history(bases: &[BaseMark]) -> &[BaseMark] {
    match bases.iter().position(begins_history) {
        Some(first) => &bases[..=first],
        // What was before has been pruned.
        None => bases,
    }
}

/// The bases, newest first.
pub(super) async fn bases(
    store: &dyn Store,
    names: &LifeNames,
    generation: &[u8; 16],
) -> Result<Vec<BaseMark>> {
    let prefix = names.bases();
    let mut found = Vec::new();
    let mut from = prefix.clone();
    loop {
        let listed = store.list(&prefix, &from, LIST_MAX).await?;
        for name in &listed {
            let seq = number_of(name).ok_or_else(|| foreign(name))?;
            found.push(base_at(store, names, generation, seq).await?);
        }
        match listed.last() {
            // The name behind this one.
            Some(last) if listed.len() == LIST_MAX => from = format!("{last}0"),
            _ => return Ok(found),
        }
    }
}

/// Removes the marks that an upload left half: those of bases, and of the newest segments. What they were
/// to mark is shipped again.
pub(super) async fn remove_torn(store: &dyn Store, names: &LifeNames) -> Result<()> {
    let prefix = names.segments();
    while let Some(name) = store.list(&prefix, &prefix, 1).await?.into_iter().next() {
        if !remove_if_torn(store, &name, |bytes| SegmentMark::decode(bytes).map(drop)).await? {
            break;
        }
    }
    let prefix = names.bases();
    let mut from = prefix.clone();
    loop {
        let listed = store.list(&prefix, &from, LIST_MAX).await?;
        for name in &listed {
            remove_if_torn(store, name, |bytes| BaseMark::decode(bytes).map(drop)).await?;
        }
        match listed.last() {
            // The name behind this one.
            Some(last) if listed.len() == LIST_MAX => from = format!("{last}0"),
            _ => return Ok(()),
        }
    }
}

/// Whether it has gone.
async fn remove_if_torn(store: &dyn Store, name: &str, whole: fn(&[u8]) -> Result<()>) -> Result<bool> {
    let Some(bytes) = store.get(name).await? else { return Ok(true) };
    match whole(&bytes) {
        Err(error) if error.kind() == ErrorKind::Corrupt => {
            log::warn!("{name} is damaged, and what it marks is shipped again: {error}");
            store.delete(name).await?;
            Ok(true)
        }
        _ => Ok(false),
    }
}

fn foreign(name: &str) -> Error {
    Error::new(ErrorKind::Corrupt, format!("{name}: no object of an archive is called so"))
}

fn misplaced(name: &str) -> Error {
    Error::new(ErrorKind::Corrupt, format!("{name}: it is another object's content"))
}
