//! Contents as they cross: bytes as they are, JSON as its text, which pages write and read themselves.
//!
//! Records and changes have the names here that pages know them by.

use async_trait::async_trait;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_bytes::ByteBuf;
use serde_json::Value;

use crate::datastore::{Bytes, Change, Changes, Collection, Content, Json, Record, Since, Update, When};
use crate::error::{Error, ErrorKind, Result};
use crate::key::Key;

/// A content that crosses.
#[async_trait(?Send)]
pub trait Crossing: Content + Sized {
    /// A key and what is under it, as they cross.
    type Name: AsRef<[u8]> + DeserializeOwned + Serialize;
    type Data: DeserializeOwned + Serialize;

    fn key_out(key: <Self as Content>::Key) -> Self::Name;
    fn out(value: Self::Value) -> Result<Self::Data>;
    fn back(data: Self::Data) -> Result<Self::Value>;

    /// Sets a record; of JSON the key is in the data.
    async fn set(
        collection: &Collection<Self>,
        key: Option<Self::Name>,
        data: Self::Data,
        when: When,
    ) -> Result<RecordOf<Self>>;
    async fn set_many(
        collection: &Collection<Self>,
        records: Vec<(Option<Self::Name>, Self::Data)>,
    ) -> Result<Vec<RecordOf<Self>>>;
}

pub type RecordOf<C> = Record<<C as Content>::Key, <C as Content>::Value>;

#[async_trait(?Send)]
impl Crossing for Bytes {
    type Name = ByteBuf;
    type Data = ByteBuf;

    fn key_out(key: Key) -> ByteBuf {
        ByteBuf::from(key.as_bytes())
    }

    fn out(value: Vec<u8>) -> Result<ByteBuf> {
        Ok(ByteBuf::from(value))
    }

    fn back(data: ByteBuf) -> Result<Vec<u8>> {
        Ok(data.into_vec())
    }

    async fn set(
        collection: &Collection<Bytes>,
        key: Option<ByteBuf>,
        data: ByteBuf,
        when: When,
    ) -> Result<RecordOf<Bytes>> {
        collection.set_if(bytes_key(key)?, data.into_vec(), when).await
    }

    async fn set_many(
        collection: &Collection<Bytes>,
        records: Vec<(Option<ByteBuf>, ByteBuf)>,
    ) -> Result<Vec<RecordOf<Bytes>>> {
        let records = records.into_iter().map(|(key, data)| Ok((bytes_key(key)?, data.into_vec())));
        collection.set_many(records.collect::<Result<Vec<_>>>()?).await
    }
}

fn bytes_key(key: Option<ByteBuf>) -> Result<Key> {
    let key = key.ok_or_else(|| Error::new(ErrorKind::InvalidArgument, "a record of bytes has a key"))?;
    Ok(Key::from(key.into_vec()))
}

#[async_trait(?Send)]
impl Crossing for Json {
    type Name = String;
    type Data = String;

    fn key_out(key: String) -> String {
        key
    }

    fn out(value: Value) -> Result<String> {
        Ok(value.to_string())
    }

    fn back(data: String) -> Result<Value> {
        serde_json::from_str(&data).map_err(|error| {
            let message = "the text is no JSON, or has too many levels";
            Error::new(ErrorKind::InvalidArgument, message).with_source(std::sync::Arc::new(error))
        })
    }

    async fn set(
        collection: &Collection<Json>,
        _key: Option<String>,
        data: String,
        when: When,
    ) -> Result<RecordOf<Json>> {
        collection.set_if(Json::back(data)?, when).await
    }

    async fn set_many(
        collection: &Collection<Json>,
        records: Vec<(Option<String>, String)>,
    ) -> Result<Vec<RecordOf<Json>>> {
        let records = records.into_iter().map(|(_, data)| Json::back(data));
        collection.set_many(records.collect::<Result<Vec<_>>>()?).await
    }
}

/// A record.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub struct RecordOut<K, D> {
    key: K,
    data: D,
    seq: u64,
    updated_ms: u64,
}

/// One change.
#[derive(Serialize)]
#[serde(tag = "type", rename_all = "camelCase", rename_all_fields = "camelCase")]
pub enum ChangeOut<K, D> {
    Set { record: RecordOut<K, D> },
    Deleted { key: K, seq: u64, updated_ms: u64 },
}

/// What a subscriber is told, and what has changed since a seq.
#[derive(Serialize)]
#[serde(tag = "type", rename_all = "camelCase")]
pub enum Told<K, D> {
    Snapshot { records: Vec<RecordOut<K, D>>, seq: u64 },
    Changes { changes: Vec<ChangeOut<K, D>>, seq: u64 },
    Lagged { oldest: u64 },
}

pub type RecordOutOf<C> = RecordOut<<C as Crossing>::Name, <C as Crossing>::Data>;
pub type ToldOf<C> = Told<<C as Crossing>::Name, <C as Crossing>::Data>;

pub fn record_out<C: Crossing>(record: RecordOf<C>) -> Result<RecordOutOf<C>> {
    let Record { key, data, seq, updated_ms } = record;
    Ok(RecordOut { key: C::key_out(key), data: C::out(data)?, seq, updated_ms })
}

pub fn records_out<C: Crossing>(records: Vec<RecordOf<C>>) -> Result<Vec<RecordOutOf<C>>> {
    records.into_iter().map(record_out::<C>).collect()
}

fn changes_out<C: Crossing>(
    changes: Changes<<C as Content>::Key, <C as Content>::Value>,
) -> Result<ToldOf<C>> {
    let out = |change| {
        Ok(match change {
            Change::Set(record) => ChangeOut::Set { record: record_out::<C>(record)? },
            Change::Deleted { key, seq, updated_ms } => {
                ChangeOut::Deleted { key: C::key_out(key), seq, updated_ms }
            }
        })
    };
    let told = changes.changes.into_iter().map(out).collect::<Result<_>>()?;
    Ok(Told::Changes { changes: told, seq: changes.seq })
}

pub fn since_out<C: Crossing>(since: Since<<C as Content>::Key, <C as Content>::Value>) -> Result<ToldOf<C>> {
    match since {
        Since::Changes(changes) => changes_out::<C>(changes),
        Since::Lagged { oldest } => Ok(Told::Lagged { oldest }),
    }
}

pub fn update_out<C: Crossing>(
    update: Update<<C as Content>::Key, <C as Content>::Value>,
) -> Result<ToldOf<C>> {
    match update {
        Update::Snapshot(snapshot) => {
            Ok(Told::Snapshot { records: records_out::<C>(snapshot.records)?, seq: snapshot.seq })
        }
        Update::Changes(changes) => changes_out::<C>(changes),
    }
}
