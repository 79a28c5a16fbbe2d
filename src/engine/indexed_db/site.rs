//! The place that holds jobs in the browser: a name prefix of databases.
//!
//! Never keeps others out: several tabs may have the same job open. Only `open` in its creating mode
//! creates.

use std::path::Path;
use std::sync::Arc;

use async_trait::async_trait;

use super::bridge::{Call, Database, Packed, code};
use super::create::create;
use super::job::IndexedDbEngine;
use super::layout::escape_root;
use super::owner::claim;
use crate::engine::{Claim, Engine, EngineError, Fault, OpenMode, Site};
use crate::error::{Error, ErrorKind, Result};
use crate::job_id::{JobId, unescape};
use crate::text::text;

/// What all our databases' names begin with.
const NAMESPACE: &str = "persistency";
/// How often a job is opened anew because others drop it meanwhile.
const OPEN_ATTEMPTS_MAX: usize = 4;

/// All databases of one root.
#[derive(Clone, Debug)]
pub(crate) struct IndexedDbSite {
    /// Ends with a slash, which no escaped part contains.
    prefix: String,
}

impl IndexedDbSite {
    /// The root of this name; `InvalidArgument` if it is not UTF-8. Touches nothing.
    pub(crate) fn of_root(root: &Path) -> Result<Self> {
        let root = root.to_str();
        root.map(Self::new).ok_or_else(|| Error::new(ErrorKind::InvalidArgument, "the root is not UTF-8"))
    }

    pub(super) fn new(root: &str) -> Self {
        IndexedDbSite { prefix: text!(NAMESPACE, "/", escape_root(root), "/") }
    }

    /// The name of a job's database.
    pub(super) fn database_name(&self, id: &str) -> Result<String, EngineError> {
        let id = JobId::new(id).map_err(|error| EngineError::new(Fault::Other, text!(error)))?;
        Ok(text!(self.prefix, id.escaped()))
    }

    pub(super) async fn open_now(
        &self,
        id: &str,
        mode: OpenMode,
        first_record: Vec<u8>,
    ) -> Result<IndexedDbEngine, EngineError> {
        let name = self.database_name(id)?;
        for _ in 0..OPEN_ATTEMPTS_MAX {
            let engine = IndexedDbEngine::new(&name, mode);
            match engine.connect().await {
                Err(error) if error.fault == Fault::Missing && mode == OpenMode::Create => {
                    create(&name).await.map(drop)?;
                    continue;
                }
                connected => drop(connected?),
            }
            match engine.ensure_record(&first_record).await {
                // Somebody deletes it right now.
                Err(error) if error.fault == Fault::Lost => {}
                ensured => return ensured.map(|_| engine),
            }
        }
        Err(EngineError::new(Fault::Busy, "the job is dropped as often as it is opened"))
    }
}

#[async_trait(?Send)]
impl Site for IndexedDbSite {
    async fn claim(&self) -> Result<Arc<dyn Claim>, EngineError> {
        ask(&self.prefix, code::PROBE).await?;
        Ok(Arc::new(claim(&self.prefix).await))
    }

    async fn open(
        &self,
        id: &str,
        mode: OpenMode,
        first_record: Vec<u8>,
    ) -> Result<Box<dyn Engine>, EngineError> {
        Ok(Box::new(self.open_now(id, mode, first_record).await?))
    }

    async fn list(&self) -> Result<Vec<String>, EngineError> {
        let ids = ask(&self.prefix, code::LIST).await?.items;
        let id = |item: Option<Vec<u8>>| unescape(str::from_utf8(&item?).ok()?);
        Ok(ids.into_iter().filter_map(id).collect())
    }

    async fn destroy(&self, id: &str) -> Result<(), EngineError> {
        ask(&self.database_name(id)?, code::DELETE).await.map(drop)
    }
}

/// A call that needs no connection.
fn ask(name: &str, code: u8) -> Call {
    Call::begin(&Database::new(name), code, Packed::default(), None)
}
