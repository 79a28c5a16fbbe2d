//! Names: which collections and pools a job holds, how they are made, found and removed.
//!
//! Never looks at records or items. Each change of what there is is one batch that is checked against
//! what was read, so several tabs make each thing once.

use std::sync::Arc;

use super::layout::{
    DUE, Descriptor, Generation, NAMES, Parameters, ROWS, Reader, What, corrupt, count_key, due_key,
    name_key, number_names,
};
use super::options::{ATTEMPTS_MAX, ID_BYTES_MAX, check_name};
use super::store::Shared;
use crate::batch::Batch;
use crate::error::{Error, ErrorKind, Quoted, Result};
use crate::key::Key;
use crate::worker::Conflicts;

/// A collection or pool as it was found.
pub(super) struct Found {
    pub(super) what: What,
    pub(super) id: String,
    pub(super) descriptor: Descriptor,
    /// The descriptor as it is stored.
    stored: Vec<u8>,
    /// The head as it is stored.
    pub(super) head: Vec<u8>,
    pub(super) lease: Lease,
}

/// The end of either head.
#[derive(Clone, Copy, Debug)]
pub(super) struct Lease {
    pub(super) expires_ms: u64,
    pub(super) due_ms: u64,
}

impl Lease {
    /// Either head ends with these two numbers.
    fn decode(head: &[u8]) -> Result<Self> {
        let end = head.len().checked_sub(16).ok_or_else(corrupt)?;
        let mut reader = Reader(&head[end..]);
        Ok(Lease { expires_ms: reader.count()?, due_ms: reader.count()? })
    }

    /// Whether it has expired: strictly after its time.
    pub(super) fn expired(self, now_ms: u64) -> bool {
        self.expires_ms != 0 && now_ms > self.expires_ms
    }
}

impl Descriptor {
    /// The key of the head.
    pub(super) fn head_key(&self, what: What) -> Key {
        match what {
            What::Collection => self.rows().head(),
            What::Pool => self.rows().pool(),
        }
    }
}

impl Shared {
    /// What there is under this id, expired or not.
    pub(super) async fn look(&self, what: What, id: &str) -> Result<Option<Found>> {
        for _ in 0..ATTEMPTS_MAX {
            let Some(stored) = self.job.get(NAMES, name_key(what, id)).await? else { return Ok(None) };
            let descriptor = Descriptor::decode(&stored)?;
            // Without a head it has been removed between the two reads.
            if let Some(head) = self.job.get(ROWS, descriptor.head_key(what)).await? {
                let lease = Lease::decode(&head)?;
                return Ok(Some(Found { what, id: id.to_owned(), descriptor, stored, head, lease }));
            }
        }
        Err(too_often(what, id))
    }

    /// What there is under this id and has not expired.
    pub(super) async fn look_alive(&self, what: What, id: &str) -> Result<Option<Found>> {
        let found = self.look(what, id).await?;
        Ok(found.filter(|found| !found.lease.expired(self.clock.unix_ms())))
    }

    /// Finds it, or makes it anew if there is none or it has expired.
    ///
    /// `head` makes its first head; other parameters than the stored ones are `InvalidArgument`. Returns its head
    /// too, as it is stored.
    pub(super) async fn find_or_make(
        &self,
        what: What,
        id: &str,
        parameters: &Parameters,
        head: fn(Lease, u64) -> Vec<u8>,
    ) -> Result<(Descriptor, Vec<u8>)> {
        check_name("id", id, ID_BYTES_MAX)?;
        for _ in 0..ATTEMPTS_MAX {
            match self.look(what, id).await? {
                Some(found) if found.lease.expired(self.clock.unix_ms()) => {
                    self.remove_found(&found).await?;
                }
                Some(found) => {
                    compare(what, id, parameters, &found.descriptor.parameters)?;
                    return Ok((found.descriptor, found.head));
                }
                None => {
                    if let Some(made) = self.make(what, id, parameters, head).await? {
                        return Ok(made);
                    }
                }
            }
        }
        Err(too_often(what, id))
    }

    /// Makes it; `None` if somebody has changed what there is meanwhile.
    async fn make(
        &self,
        what: What,
        id: &str,
        parameters: &Parameters,
        head: fn(Lease, u64) -> Vec<u8>,
    ) -> Result<Option<(Descriptor, Vec<u8>)>> {
        let generation: Generation = random()?;
        let now_ms = self.clock.unix_ms();
        let descriptor = Descriptor { generation, created_ms: now_ms, parameters: parameters.clone() };
        let (batch, count) = self.counted().await?;
        if count >= self.bounds.stores {
            let message = format!("{count} collections and pools, the bound is {}", self.bounds.stores);
            return Err(Error::new(ErrorKind::TooLarge, message));
        }
        let expires_ms = descriptor.expires_ms(now_ms);
        let due_ms = if expires_ms == 0 { 0 } else { expires_ms + 1 };
        let head = head(Lease { expires_ms, due_ms }, now_ms);
        let mut batch = batch
            .require_absent(NAMES, name_key(what, id))
            .put(NAMES, name_key(what, id), descriptor.encode())
            .put(NAMES, count_key(), (count + 1).to_be_bytes())
            .put(ROWS, descriptor.head_key(what), head.clone());
        if due_ms != 0 {
            batch = batch.put(DUE, due_key(due_ms, generation), name_key(what, id).into_bytes());
        }
        Ok(self.try_batch(batch).await?.then_some((descriptor, head)))
    }

    /// Removes it with everything in it, if it still is as it was found.
    pub(super) async fn remove_found(&self, found: &Found) -> Result<bool> {
        let Found { what, id, descriptor, stored, head, lease } = found;
        let (batch, count) = self.counted().await?;
        let mut batch = batch
            .require_equal(NAMES, name_key(*what, id), stored.clone())
            .require_equal(ROWS, descriptor.head_key(*what), head.clone())
            .delete(NAMES, name_key(*what, id))
            .put(NAMES, count_key(), count.saturating_sub(1).to_be_bytes())
            .delete_prefix(ROWS, descriptor.rows().all());
        if lease.due_ms != 0 {
            batch = batch.delete(DUE, due_key(lease.due_ms, descriptor.generation));
        }
        self.try_batch(batch).await
    }

    /// Removes it; whether there was one that had not expired.
    pub(super) async fn remove(&self, what: What, id: &str) -> Result<bool> {
        for _ in 0..ATTEMPTS_MAX {
            let Some(found) = self.look(what, id).await? else { return Ok(false) };
            let alive = !found.lease.expired(self.clock.unix_ms());
            if self.remove_found(&found).await? {
                return Ok(alive);
            }
        }
        Err(too_often(what, id))
    }

    /// The ids of what has not expired, in the order of their bytes.
    pub(super) async fn ids(&self, what: What) -> Result<Vec<String>> {
        let mut ids = Vec::new();
        let mut pages = self.job.scan_prefix(NAMES, name_key(what, "")).keys_only().stream();
        while let Some(page) = pages.next().await {
            for row in page? {
                let (_, id) = What::and_id(row.key.as_bytes())?;
                if self.look_alive(what, &id).await?.is_some() {
                    ids.push(id);
                }
            }
        }
        Ok(ids)
    }

    /// Commits a batch; whether it was applied, which it is not if one of its preconditions did not hold.
    pub(super) async fn try_batch(&self, batch: Batch) -> Result<bool> {
        let receipt = self.job.persist_as(batch, Conflicts::Own).await?;
        match receipt.committed().await {
            Ok(_) => Ok(true),
            Err(error) if error.kind() == ErrorKind::Conflict => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// A batch that goes by the number of collections and pools there are, and that number.
    async fn counted(&self) -> Result<(Batch, u64)> {
        let Some(stored) = self.job.get(NAMES, count_key()).await? else {
            return Ok((Batch::new().require_absent(NAMES, count_key()), 0));
        };
        let count = Reader(&stored).number()?;
        Ok((Batch::new().require_equal(NAMES, count_key(), stored), count))
    }
}

/// A fresh public id: 12 random bytes as 24 hexadecimal characters.
///
/// # Errors
///
/// `Backend` if the platform has no random bytes.
pub fn fresh_id() -> Result<String> {
    Ok(random::<12>()?.iter().map(|byte| format!("{byte:02x}")).collect())
}

/// What a call is answered that others have overtaken again and again.
pub(super) fn too_often(what: What, id: &str) -> Error {
    let message = format!("{} {}: others were faster {ATTEMPTS_MAX} times in a row", what.name(), Quoted(id));
    Error::new(ErrorKind::Conflict, message)
}

fn random<const N: usize>() -> Result<[u8; N]> {
    let mut bytes = [0; N];
    getrandom::fill(&mut bytes).map_err(|cause| {
        Error::new(ErrorKind::Backend, "the platform gives no random bytes").with_source(Arc::new(cause))
    })?;
    Ok(bytes)
}

fn compare(what: What, id: &str, asked: &Parameters, stored: &Parameters) -> Result<()> {
    let numbers = asked.numbers.iter().zip(&stored.numbers).map(|(asked, stored)| asked == stored);
    let other =
        [asked.format == stored.format, asked.lifetime == stored.lifetime, asked.primary == stored.primary]
            .into_iter()
            .chain(numbers)
            .zip(["format", "lifetime", "primary field"].into_iter().chain(number_names(what)))
            .find_map(|(same, name)| (!same).then_some(name));
    match other {
        None => Ok(()),
        Some(name) => {
            let message = format!("{} {} was made with another {name}", what.name(), Quoted(id));
            Err(Error::new(ErrorKind::InvalidArgument, message))
        }
    }
}
