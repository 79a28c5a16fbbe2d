//! A site that tells at every boundary of a primitive where it stands, so that a test can kill it there.
//!
//! Compiled into tests only; changes nothing of what the SQLite engine does.

use std::sync::Arc;

use async_trait::async_trait;

use super::SqliteSite;
use super::engine::{Main, SqliteEngine};
use super::fault::Result;
use crate::engine::{
    Change, Claim, Engine, Get, Got, OpenMode, Page, PageRequest, Seen, Sharing, Site, Verify,
};
use crate::range::Span;

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
        if let Some(Main::Writer(conn)) = &mut *inner.main.borrow_mut() {
            // Everything is written by then, but nothing of it counts.
            let committing = move || {
                (boundaries.0)("before commit");
                false
            };
            conn.commit_hook(Some(committing))?;
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

    async fn get(&self, get: Get, verify: Verify) -> Result<Seen<Got>> {
        self.boundaries.around("get", self.inner.get(get, verify)).await
    }

    async fn page(&self, page: PageRequest, verify: Verify) -> Result<Seen<Page>> {
        self.boundaries.around("page", self.inner.page(page, verify)).await
    }

    async fn count(&self, category: Arc<str>, span: Span, verify: Verify) -> Result<Seen<u64>> {
        self.boundaries.around("count", self.inner.count(category, span, verify)).await
    }

    async fn categories(&self, bytes_max: usize, verify: Verify) -> Result<Seen<Vec<String>>> {
        self.boundaries.around("categories", self.inner.categories(bytes_max, verify)).await
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

    async fn check(&self) -> Result<Vec<String>> {
        self.boundaries.around("check", self.inner.check()).await
    }

    async fn compact(&self) -> Result<()> {
        self.boundaries.around("compact", self.inner.compact()).await
    }

    async fn bytes(&self) -> Result<Option<u64>> {
        self.boundaries.around("bytes", self.inner.bytes()).await
    }

    async fn close(&self) -> Result<()> {
        self.boundaries.around("close", self.inner.close()).await
    }
}
