//! A store in memory: for tests, a user's own ones too. Never fails.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;

use crate::error::Result;

use super::{LIST_MAX, Put, Store};

/// A store in memory; clones are the same store.
#[derive(Clone, Default)]
pub struct MemoryStore {
    objects: Arc<Mutex<BTreeMap<String, Vec<u8>>>>,
}

impl MemoryStore {
    /// A store without objects.
    pub fn new() -> Self {
        Self::default()
    }

    /// The names of all objects, ascending.
    pub fn names(&self) -> Vec<String> {
        self.lock().keys().cloned().collect()
    }

    /// Puts an object, whether or not there is one of this name: for tests that damage what is stored.
    pub fn overwrite(&self, name: &str, bytes: impl Into<Vec<u8>>) {
        self.lock().insert(name.to_owned(), bytes.into());
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<String, Vec<u8>>> {
        // Every change is one insertion or removal: a panic leaves none half.
        self.objects.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[async_trait]
impl Store for MemoryStore {
    async fn put_new(&self, name: &str, bytes: &[u8]) -> Result<Put> {
        let mut objects = self.lock();
        if objects.contains_key(name) {
            return Ok(Put::Exists);
        }
        objects.insert(name.to_owned(), bytes.to_vec());
        Ok(Put::Created)
    }

    async fn get(&self, name: &str) -> Result<Option<Vec<u8>>> {
        Ok(self.lock().get(name).cloned())
    }

    async fn list(&self, prefix: &str, from: &str, limit: usize) -> Result<Vec<String>> {
        let objects = self.lock();
        let names = objects.range(from.max(prefix).to_owned()..).map(|(name, _)| name);
        let names = names.take_while(|name| name.starts_with(prefix));
        Ok(names.take(limit.min(LIST_MAX)).cloned().collect())
    }

    async fn delete(&self, name: &str) -> Result<()> {
        self.lock().remove(name);
        Ok(())
    }
}

impl fmt::Debug for MemoryStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MemoryStore").field("objects", &self.lock().len()).finish()
    }
}
