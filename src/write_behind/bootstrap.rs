//! Bringing an engine up: migrate, repair, load, in this order.
//!
//! Writes nothing to a job whose version is newer than the schema's.

use std::sync::Arc;

use super::elsewhere::Patience;
use super::fence;
use super::repair::{self, RepairReport, each_row};
use super::schema::{Migration, OWN_CATEGORY, Schema};
use super::strong::ATTEMPTS_MAX;
use crate::batch::Batch;
use crate::error::{Error, ErrorKind, Quoted, Result};
use crate::job::Job;
use crate::key::Key;
use crate::payload::{FromPayload, ToPayload};

/// What was done when an engine was opened.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Bootstrap {
    /// The version that the job was at: 0 if it was empty or not recognised.
    pub version_before: u64,
    /// The version that it is at now: the last that the schema has a step for.
    pub version: u64,
    /// What was removed since the relations did not allow it.
    pub repair: RepairReport,
    /// The categories that were loaded, in their order, and how many rows each had.
    pub loaded: Vec<(String, u64)>,
}

/// Which life of its program's memory an engine is opened in.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Life {
    /// It begins with what is stored.
    First,
    /// It goes on, and may have what is not stored yet.
    Further,
}

pub(super) async fn bring_up(
    job: &Job,
    schema: &Schema,
    patience: &Patience,
    life: Life,
) -> Result<Bootstrap> {
    let version_before = migrate(job, schema).await?;
    if life == Life::Further {
        return Ok(Bootstrap { version_before, version: schema.version(), ..Bootstrap::default() });
    }
    let repair = repair::repair(job, &schema.sets, &schema.relations, patience).await?;
    let mut loaded = Vec::new();
    for set in &schema.sets {
        let Some(load) = &set.loader else { continue };
        let mut rows = 0;
        each_row(job, &set.category, false, |key, payload| {
            rows += 1;
            load(key, payload)
        })
        .await
        .map_err(|error| error.in_context(format_args!("load category {}", Quoted(&set.category))))?;
        loaded.push((set.category.to_string(), rows));
    }
    Ok(Bootstrap { version_before, version: schema.version(), repair, loaded })
}

fn version_key() -> Key {
    Key::from_bytes("version")
}

/// Takes the steps that are missing; answers with the version before them.
async fn migrate(job: &Job, schema: &Schema) -> Result<u64> {
    let mut before = None;
    let mut conflicts = 0;
    loop {
        let stamp = job.get(OWN_CATEGORY, version_key()).await?;
        let version = match &stamp {
            Some(stamp) => Some(read_version(stamp)?),
            None => recognise(job, schema).await?,
        };
        let at = version.unwrap_or(0);
        if at > schema.version() {
            let message = format!("the data is at version {at}, the schema at {}", schema.version());
            return Err(Error::new(ErrorKind::VersionTooNew, message));
        }
        let before = *before.get_or_insert(at);
        let (to, step) = match schema.migrations.iter().find(|migration| migration.version > at) {
            // What was recognised is stamped before anything else.
            _ if stamp.is_none() && version.is_some() => (at, Batch::new()),
            None => return Ok(before),
            Some(Migration { version, step }) => {
                let made = step(job.clone()).await;
                (
                    *version,
                    made.map_err(|error| error.in_context(format_args!("migrate to version {version}")))?,
                )
            }
        };
        let step = match &stamp {
            Some(stamp) => step.require_equal(OWN_CATEGORY, version_key(), stamp.clone()),
            None => step.require_absent(OWN_CATEGORY, version_key()),
        };
        let mut step = step.put(OWN_CATEGORY, version_key(), to.to_payload()?);
        fence::push(&mut step)?;
        let applied = async { job.persist(step).await?.durable().await };
        match applied.await {
            Ok(_) => {}
            // Another tab is migrating too, or a condition of the step itself does not hold.
            Err(error) if error.kind() == ErrorKind::Conflict && conflicts + 1 < ATTEMPTS_MAX => {
                conflicts += 1
            }
            Err(error) => return Err(error.in_context(format_args!("migrate to version {to}"))),
        }
    }
}

/// The version of data that has no stamp; none if it is to be taken as version 0.
async fn recognise(job: &Job, schema: &Schema) -> Result<Option<u64>> {
    let Some(legacy) = &schema.legacy else { return Ok(None) };
    if job.categories().await?.iter().all(|category| category == OWN_CATEGORY) {
        return Ok(None);
    }
    legacy(job.clone()).await.map_err(|error| error.in_context("recognise data without a version"))
}

fn read_version(stamp: &[u8]) -> Result<u64> {
    u64::from_payload(stamp).map_err(|error| {
        Error::new(ErrorKind::Corrupt, "the stored version is no number").with_source(Arc::new(error))
    })
}
