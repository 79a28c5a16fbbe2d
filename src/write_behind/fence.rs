//! The fence: a row of the job that every batch of an engine changes.
//!
//! A repair looks at many rows and removes some in a batch of its own; that the fence is as it was tells
//! that no engine, here or in another tab, has written in between. Holds nothing else.

use crate::batch::Batch;
use crate::error::{Error, ErrorKind, Result};
use crate::job::Job;
use crate::key::Key;

use super::schema::OWN_CATEGORY;

/// What the fence was at some time.
pub(super) type Seen = Option<Vec<u8>>;

fn key() -> Key {
    Key::from_bytes("fence")
}

/// A value that no batch has had.
fn fresh() -> Result<[u8; 16]> {
    let mut bytes = [0; 16];
    getrandom::fill(&mut bytes)
        .map_err(|error| Error::new(ErrorKind::Backend, format!("no random bytes: {error}")))?;
    Ok(bytes)
}

/// Adds: the fence has moved; answers where to.
pub(super) fn push(batch: &mut Batch) -> Result<Vec<u8>> {
    let moved = fresh()?.to_vec();
    *batch = std::mem::take(batch).put(OWN_CATEGORY, key(), moved.clone());
    Ok(moved)
}

pub(super) async fn look(job: &Job) -> Result<Seen> {
    job.get(OWN_CATEGORY, key()).await
}

/// Requires that the fence is where it was seen.
pub(super) fn require(batch: Batch, seen: &Seen) -> Batch {
    match seen {
        Some(value) => batch.require_equal(OWN_CATEGORY, key(), value.clone()),
        None => batch.require_absent(OWN_CATEGORY, key()),
    }
}
