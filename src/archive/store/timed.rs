//! A store whose calls end: one that takes too long has failed. Never repeats a call.

use std::sync::Arc;

use async_trait::async_trait;

use crate::clock::Clock;
use crate::error::{Error, ErrorKind, Result};

use super::{Put, Store};

pub(in crate::archive) struct TimedStore {
    store: Arc<dyn Store>,
    clock: Clock,
    timeout_ms: u64,
}

impl TimedStore {
    pub(in crate::archive) fn new(store: Arc<dyn Store>, clock: Clock, timeout_ms: u64) -> Self {
        TimedStore { store, clock, timeout_ms }
    }

    async fn timed<T>(&self, name: &str, call: impl Future<Output = Result<T>> + Send) -> Result<T> {
        let deadline = self.clock.monotonic_ms().saturating_add(self.timeout_ms);
        let late = || {
            let message = format!("{name}: the store has not answered in {} ms", self.timeout_ms);
            Err(Error::new(ErrorKind::Timeout, message))
        };
        self.clock.until(Some(deadline), call).await.unwrap_or_else(late)
    }
}

#[async_trait]
impl Store for TimedStore {
    async fn put_new(&self, name: &str, bytes: &[u8]) -> Result<Put> {
        self.timed(name, self.store.put_new(name, bytes)).await
    }

    async fn get(&self, name: &str) -> Result<Option<Vec<u8>>> {
        self.timed(name, self.store.get(name)).await
    }

    async fn list(&self, prefix: &str, from: &str, limit: usize) -> Result<Vec<String>> {
        self.timed(prefix, self.store.list(prefix, from, limit)).await
    }

    async fn delete(&self, name: &str) -> Result<()> {
        self.timed(name, self.store.delete(name)).await
    }
}
