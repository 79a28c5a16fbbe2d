//! What an archive holds, as its marks say: lives, bases, segments. Never looks into data.

use std::collections::VecDeque;

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

/// The number of the newest life, whether or not its mark is whole; `None` if there is none.
pub(super) async fn newest_life_number(store: &dyn Store, archive: &ArchiveName) -> Result<Option<u64>> {
    let prefix = archive.lives();
    let listed = store.list(&prefix, &prefix, 1).await?;
    listed.first().map(|name| number_of(name).ok_or_else(|| foreign(name))).transpose()
}

/// The numbers of so many of the oldest lives, the oldest one last, and whether these are all.
pub(super) async fn oldest_lives(
    store: &dyn Store,
    archive: &ArchiveName,
    most: usize,
) -> Result<(VecDeque<u64>, bool)> {
    let mut list = Numbers::new(archive.lives());
    let (mut oldest, mut are_all) = (VecDeque::new(), true);
    while let Some(number) = list.next(store).await? {
        oldest.push_back(number);
        if oldest.len() > most {
            oldest.pop_front();
            are_all = false;
        }
    }
    Ok((oldest, are_all))
}

/// The newest life that had been attached at a time.
pub(super) async fn life_at(store: &dyn Store, archive: &ArchiveName, unix_ms: u64) -> Result<Option<Life>> {
    let mut list = Numbers::new(archive.lives());
    while let Some(number) = list.next(store).await? {
        let life = life(store, archive, number).await?;
        if let Some(life) = life.filter(|life| life.attached_ms <= unix_ms) {
            return Ok(Some(life));
        }
    }
    Ok(None)
}

/// The life of this number; `None` if its mark is not there, or damaged.
pub(super) async fn life(store: &dyn Store, archive: &ArchiveName, number: u64) -> Result<Option<Life>> {
    let name = archive.life(number);
    let Some(bytes) = store.get(&name).await? else { return Ok(None) };
    match Life::decode(&bytes) {
        Ok(life) if life.number == number => Ok(Some(life)),
        Ok(_) => Err(misplaced(&name)),
        Err(error) if error.kind() == ErrorKind::Corrupt => Ok(None),
        Err(error) => Err(error.in_context(name)),
    }
}

/// The time of the last commit or base of a life, unix ms; 0 if there is none that can be read.
pub(super) async fn last_ms(store: &dyn Store, names: &LifeNames, generation: &[u8; 16]) -> Result<u64> {
    let none_if_damaged = |error: Error| match error.kind() {
        ErrorKind::Corrupt => Ok(0),
        _ => Err(error),
    };
    let segment = segment_before(store, names, generation, u64::MAX).await;
    let segment_ms = segment.map(|mark| mark.map_or(0, |mark| mark.last_ms)).or_else(none_if_damaged)?;
    let base_ms = match Numbers::new(names.bases()).next(store).await? {
        Some(from) => base_at(store, names, generation, from).await.map(|mark| mark.time_ms),
        None => Ok(0),
    };
    Ok(segment_ms.max(base_ms.or_else(none_if_damaged)?))
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
    let mut found = Vec::new();
    let mut list = Numbers::new(names.bases());
    while let Some(from) = list.next(store).await? {
        found.push(base_at(store, names, generation, from).await?);
    }
    Ok(found)
}

/// Lists the numbers that the names of marks end with, newest first, page by page.
struct Numbers {
    prefix: String,
    /// From where the next page begins; none behind the last one.
    from: Option<String>,
    waiting: VecDeque<String>,
}

impl Numbers {
    fn new(prefix: String) -> Self {
        Numbers { from: Some(prefix.clone()), prefix, waiting: VecDeque::new() }
    }

    async fn next(&mut self, store: &dyn Store) -> Result<Option<u64>> {
        if self.waiting.is_empty()
            && let Some(from) = self.from.take()
        {
            self.waiting = store.list(&self.prefix, &from, LIST_MAX).await?.into();
            // The name behind the last one.
            let last = self.waiting.back().filter(|_| self.waiting.len() == LIST_MAX);
            self.from = last.map(|last| format!("{last}0"));
        }
        let Some(name) = self.waiting.pop_front() else { return Ok(None) };
        number_of(&name).map(Some).ok_or_else(|| foreign(&name))
    }
}

/// The mark of the newest segment. Those before it that an upload left half are removed: what they were to mark is
/// shipped again.
pub(super) async fn newest_segment(
    store: &dyn Store,
    names: &LifeNames,
    generation: &[u8; 16],
) -> Result<Option<SegmentMark>> {
    let prefix = names.segments();
    while let Some(name) = store.list(&prefix, &prefix, 1).await?.into_iter().next() {
        if let Some(mark) = unless_torn(store, &name, SegmentMark::decode).await? {
            let is_there = mark.generation == *generation && Some(mark.first_seq) == number_of(&name);
            return if is_there { Ok(Some(mark)) } else { Err(misplaced(&name)) };
        }
    }
    Ok(None)
}

/// The newest bases, newest first: as many as tell from where on the last history can be restored, which are one or
/// two where it can. Those that an upload left half are removed.
pub(super) async fn newest_bases(
    store: &dyn Store,
    names: &LifeNames,
    generation: &[u8; 16],
    newest: Option<&SegmentMark>,
) -> Result<Vec<BaseMark>> {
    let mut found: Vec<BaseMark> = Vec::new();
    let mut list = Numbers::new(names.bases());
    while let Some(from) = list.next(store).await? {
        let Some(base) = base(store, names, generation, from).await? else { continue };
        let newest_base = found.first().map_or(base.from, |first| first.from);
        let end = newest.map_or(0, |mark| mark.last_seq).max(newest_base);
        let is_enough = base.to <= end || begins_history(&base);
        found.push(base);
        if is_enough {
            break;
        }
    }
    Ok(found)
}

/// The mark of the base at `from`, if there is one; one that an upload left half is removed.
pub(super) async fn base(
    store: &dyn Store,
    names: &LifeNames,
    generation: &[u8; 16],
    from: u64,
) -> Result<Option<BaseMark>> {
    let name = names.base(from);
    let Some(mark) = unless_torn(store, &name, BaseMark::decode).await? else { return Ok(None) };
    match mark.generation == *generation && mark.from == from {
        true => Ok(Some(mark)),
        false => Err(misplaced(&name)),
    }
}

/// Removes the newest marks of bases that an upload left half. To be called before a new one is put: below that
/// nobody who attaches would look.
pub(super) async fn remove_torn_bases(store: &dyn Store, names: &LifeNames) -> Result<()> {
    let mut list = Numbers::new(names.bases());
    while let Some(from) = list.next(store).await? {
        if unless_torn(store, &names.base(from), BaseMark::decode).await?.is_some() {
            break;
        }
    }
    Ok(())
}

/// Reads a mark; `None` if there is none, also because it was left half, and has been removed.
async fn unless_torn<M>(store: &dyn Store, name: &str, decode: fn(&[u8]) -> Result<M>) -> Result<Option<M>> {
    let Some(bytes) = store.get(name).await? else { return Ok(None) };
    match decode(&bytes) {
        Ok(mark) => Ok(Some(mark)),
        Err(error) if error.kind() == ErrorKind::Corrupt => {
            log::warn!("{name} is damaged, and what it marks is shipped again: {error}");
            store.delete(name).await?;
            Ok(None)
        }
        Err(error) => Err(error.in_context(name)),
    }
}

fn foreign(name: &str) -> Error {
    Error::new(ErrorKind::Corrupt, format!("{name}: no object of an archive is called so"))
}

fn misplaced(name: &str) -> Error {
    Error::new(ErrorKind::Corrupt, format!("{name}: it is another object's content"))
}
