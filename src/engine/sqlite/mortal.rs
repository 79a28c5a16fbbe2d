//! A site that tells at every boundary of a primitive where it stands, so that a test can kill it there.
//!
//! Compiled into tests only; changes nothing of what the SQLite engine does.

use std::sync::Arc;

use async_trait::async_trait;

use super::SqliteSite;
use super::engine::{Main, SqliteEngine};
use super::fault::Result;
use crate::engine::{Change, Claim, Engine, OpenMode, Query, Seen, Sharing, Site, Verify};

/// Told at each boundary, by its name; does not return where the process is to end.
#[derive(Clone)]
pub(crate) struct Boundaries(pub(crate) Arc<dyn Fn(&str) + Send + Sync>);

/// SQLite files behind boundaries.
#[derive(Clone)]
pub(crate) struct MortalSite {
    pub(crate) inner: SqliteSite,
    pub(crate) boundaries: Boundaries,
}

/// One job behind boundaries.
pub(crate) struct MortalEngine {
    inner: SqliteEngine,
    boundaries: Boundaries,
}

impl Boundaries {
    async fn around<T>(&self, call: &str, work: impl Future<Output = Result<T>>) -> Result<T> {
        (self.0)(&format!("before {call}"));
        let result = work.await;
        (self.0)(&format!("after {call}"));
        result
    }
}

#[async_trait(?Send)]
impl Site for MortalSite {
    async fn claim(&self) -> Result<Arc<dyn Claim>> {
        self.boundaries.around("claim", self.inner.claim()).await
    }

    async fn open(&self, id: &str, mode: OpenMode, first_record: Vec<u8>) -> Result<Box<dyn Engine>> {
        let boundaries = self.boundaries.clone();
        let migrated = |step| {
            (boundaries.0)(&format!("after {step:?}"));
            Ok(())
        };
        let opening = async { self.inner.open_now(id, mode, &first_record, migrated) };
        let inner = self.boundaries.around("open", opening).await?;
        if let Some(Main::Writer(writing)) = &mut *inner.main.borrow_mut() {
            // Everything is written by then, but nothing of it counts.
            let committing = move || {
                (boundaries.0)("before commit");
                false
            };
            writing.conn.commit_hook(Some(committing))?;
        }
        Ok(Box::new(MortalEngine { inner, boundaries: self.boundaries.clone() }))
    }

    async fn list(&self) -> Result<Vec<String>> {
        self.boundaries.around("list", self.inner.list()).await
    }

    async fn destroy(&self, id: &str) -> Result<()> {
        self.boundaries.around("destroy", self.inner.destroy(id)).await
    }
}

#[async_trait(?Send)]
impl Engine for MortalEngine {
    fn sharing(&self) -> Sharing {
        self.inner.sharing()
    }

    async fn read(&self, query: Query, verify: Verify) -> Result<Seen> {
        let call = match &query {
            Query::Get(_) => "get",
            Query::Page(_) => "page",
            Query::Count { .. } => "count",
            Query::Categories { .. } => "categories",
            Query::Damage => "check",
            Query::Size => "bytes",
        };
        self.boundaries.around(call, self.inner.read(query, verify)).await
    }

    async fn apply(&self, change: Change) -> Result<()> {
        let Change { reads, decide, durable } = change;
        let call = if durable { "durable apply" } else { "apply" };
        let boundaries = self.boundaries.clone();
        let decide = Box::new(move |found| {
            let writes = decide(found);
            (boundaries.0)("after decide");
            writes
        });
        self.boundaries.around(call, self.inner.apply(Change { reads, decide, durable })).await
    }

    async fn compact(&self) -> Result<()> {
        self.boundaries.around("compact", self.inner.compact()).await
    }

    async fn close(&self) -> Result<()> {
        self.boundaries.around("close", self.inner.close()).await
    }
}
