//! What a collection of bytes and one of JSON each have of their own: how records are set.

use serde::Serialize;
use serde::de::DeserializeOwned;

use super::collection::{Collection, Record};
use super::content::{Bytes, Json, json_record};
use super::options::ATTEMPTS_MAX;
use super::wanted::When;
use crate::error::{Error, ErrorKind, Result};
use crate::key::Key;

impl Collection<Bytes> {
    /// Sets the record under this key, whatever was there: the last arrival wins.
    pub async fn set(&self, key: impl Into<Key>, data: impl Into<Vec<u8>>) -> Result<Record<Key, Vec<u8>>> {
        self.set_when(key.into(), data.into(), When::Always, "set").await
    }

    /// Sets the record if `when` holds; `Conflict` if it does not.
    pub async fn set_if(
        &self,
        key: impl Into<Key>,
        data: impl Into<Vec<u8>>,
        when: When,
    ) -> Result<Record<Key, Vec<u8>>> {
        self.set_when(key.into(), data.into(), when, "set_if").await
    }

    /// Sets several records in one batch, all or none.
    ///
    /// # Errors
    ///
    /// `TooLarge` beyond 12,000 records or 16 MiB.
    pub async fn set_many(
        &self,
        records: impl IntoIterator<Item = (Key, Vec<u8>)>,
    ) -> Result<Vec<Record<Key, Vec<u8>>>> {
        let records: Vec<(Key, Vec<u8>)> = records.into_iter().collect();
        let rows = records.iter().map(|(key, data)| (key.as_bytes().to_vec(), data.clone())).collect();
        let stamps = self.set_all(rows, When::Always, "set_many").await?;
        let records = records.into_iter().zip(stamps);
        Ok(records.map(|((key, data), (seq, updated_ms))| Record { key, data, seq, updated_ms }).collect())
    }

    /// Replaces the record by what `change` makes of it, nothing between: it is read, and set if it
    /// still is what was read. `change` may be called several times; `None` deletes the record.
    pub async fn update(
        &self,
        key: impl Into<Key>,
        mut change: impl FnMut(Option<&[u8]>) -> Option<Vec<u8>>,
    ) -> Result<Option<Record<Key, Vec<u8>>>> {
        let key = key.into();
        for _ in 0..ATTEMPTS_MAX {
            let old = self.get(&key).await?;
            let result = match (change(old.as_ref().map(|old| &*old.data)), &old) {
                (Some(data), old) => self.set_when(key.clone(), data, as_read(old), "update").await.map(Some),
                (None, Some(old)) => {
                    self.delete_when(key.as_bytes(), When::Seq(old.seq), "update").await.map(|_| None)
                }
                (None, None) => return Ok(None),
            };
            match result {
                Err(error) if error.kind() == ErrorKind::Conflict => {}
                result => return result,
            }
        }
        Err(overtaken())
    }

    async fn set_when(
        &self,
        key: Key,
        data: Vec<u8>,
        when: When,
        operation: &str,
    ) -> Result<Record<Key, Vec<u8>>> {
        let rows = vec![(key.as_bytes().to_vec(), data.clone())];
        let stamp = self.set_all(rows, when, operation).await?.into_iter().next();
        let (seq, updated_ms) = stamp.ok_or_else(overtaken)?;
        Ok(Record { key, data, seq, updated_ms })
    }
}

impl<T: Serialize + DeserializeOwned + Send + Sync + 'static> Collection<Json<T>> {
    /// Sets a record, whatever was there under the key that its primary field holds: the last arrival
    /// wins, and replaces the record as a whole.
    ///
    /// # Errors
    ///
    /// `InvalidArgument` unless it is an object whose primary field is a string of at least one byte;
    /// then no seq is used.
    pub async fn set(&self, data: T) -> Result<Record<String, T>> {
        self.set_when(data, When::Always, "set").await
    }

    /// Sets a record if `when` holds; `Conflict` if it does not.
    pub async fn set_if(&self, data: T, when: When) -> Result<Record<String, T>> {
        self.set_when(data, when, "set_if").await
    }

    /// Sets several records in one batch, all or none.
    ///
    /// # Errors
    ///
    /// `TooLarge` beyond 12,000 records or 16 MiB; `InvalidArgument` as for [`set`](Collection::set).
    pub async fn set_many(&self, records: impl IntoIterator<Item = T>) -> Result<Vec<Record<String, T>>> {
        let records: Vec<T> = records.into_iter().collect();
        let written: Result<Vec<_>> = records.iter().map(|data| json_record(data, self.primary())).collect();
        let written = written.map_err(|error| self.shelf.explain(error, "set_many"))?;
        let keys: Vec<String> = written.iter().map(|(key, _)| key.clone()).collect();
        let rows = written.into_iter().map(|(key, data)| (key.into_bytes(), data)).collect();
        let stamps = self.set_all(rows, When::Always, "set_many").await?;
        let records = keys.into_iter().zip(records).zip(stamps);
        Ok(records.map(|((key, data), (seq, updated_ms))| Record { key, data, seq, updated_ms }).collect())
    }

    /// Replaces the record by what `change` makes of it, nothing between: it is read, and set if it
    /// still is what was read. `change` may be called several times; `None` deletes the record.
    ///
    /// # Errors
    ///
    /// `InvalidArgument` if the changed record has another key.
    pub async fn update(
        &self,
        key: &str,
        mut change: impl FnMut(Option<T>) -> Option<T>,
    ) -> Result<Option<Record<String, T>>> {
        for _ in 0..ATTEMPTS_MAX {
            let old = self.get(key).await?;
            let when = as_read(&old);
            let result = match (change(old.map(|old| old.data)), when) {
                (Some(data), when) => {
                    let (new, _) = json_record(&data, self.primary())?;
                    if new != key {
                        let message = "the changed record has another key";
                        let error = Error::new(ErrorKind::InvalidArgument, message);
                        return Err(self.shelf.explain(error, "update"));
                    }
                    self.set_when(data, when, "update").await.map(Some)
                }
                (None, When::Absent) => return Ok(None),
                (None, when) => self.delete_when(key.as_bytes(), when, "update").await.map(|_| None),
            };
            match result {
                Err(error) if error.kind() == ErrorKind::Conflict => {}
                result => return result,
            }
        }
        Err(overtaken())
    }

    async fn set_when(&self, data: T, when: When, operation: &str) -> Result<Record<String, T>> {
        let written = json_record(&data, self.primary());
        let (key, bytes) = written.map_err(|error| self.shelf.explain(error, operation))?;
        let rows = vec![(key.clone().into_bytes(), bytes)];
        let stamp = self.set_all(rows, when, operation).await?.into_iter().next();
        let (seq, updated_ms) = stamp.ok_or_else(overtaken)?;
        Ok(Record { key, data, seq, updated_ms })
    }
}

fn as_read<K, V>(old: &Option<Record<K, V>>) -> When {
    old.as_ref().map_or(When::Absent, |old| When::Seq(old.seq))
}

fn overtaken() -> Error {
    let message = format!("others were faster {ATTEMPTS_MAX} times in a row");
    Error::new(ErrorKind::Conflict, message)
}
