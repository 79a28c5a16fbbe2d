//! Collections for the page, and what one reads from them bit by bit.

use std::ops::Bound;

use async_trait::async_trait;
use serde::Serialize;
use serde_bytes::ByteBuf;
use tokio::sync::Mutex;

use super::super::{Answer, Args, Object, check_next, no_method};
use super::content::{Crossing, ToldOf, record_out, records_out, since_out, update_out};
use crate::datastore::{ChangesPages, Collection, CollectionInfo, Subscription, When};
use crate::error::Result;
use crate::key::Key;

/// A collection.
pub struct Shelf<C: Crossing>(pub Collection<C>);

/// How a collection stands, as it crosses.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Info {
    seq: u64,
    records: u64,
    bytes: u64,
    tombstones: u64,
    floor: u64,
    created_ms: u64,
    expires_ms: Option<u64>,
}

/// What a change depends on: nothing, that there is no record, or a record's seq.
fn when_of(when: Option<u64>) -> When {
    match when {
        None => When::Always,
        Some(0) => When::Absent,
        Some(seq) => When::Seq(seq),
    }
}

#[async_trait(?Send)]
impl<C: Crossing> Object for Shelf<C> {
    async fn call(&self, method: &str, args: Args<'_>) -> Result<Answer> {
        let Shelf(collection) = self;
        match method {
            "get" => {
                let (key,): (C::Name,) = args.read()?;
                match collection.get(key).await? {
                    Some(record) => Answer::value(&record_out::<C>(record)?),
                    None => Ok(Answer::nothing()),
                }
            }
            "range" => {
                let (start, end): (ByteBuf, Option<ByteBuf>) = args.read()?;
                let start = Bound::Included(Key::from(start.into_vec()));
                let end = end.map_or(Bound::Unbounded, |end| Bound::Excluded(Key::from(end.into_vec())));
                Answer::value(&records_out::<C>(collection.range((start, end)).await?)?)
            }
            "set" => {
                let (key, data, when): (Option<C::Name>, C::Data, Option<u64>) = args.read()?;
                let record = C::set(collection, key, data, when_of(when)).await?;
                // The page has the key and the data.
                Answer::value(&(record.seq, record.updated_ms, C::key_out(record.key)))
            }
            "setMany" => {
                let (records,): (Vec<(Option<C::Name>, C::Data)>,) = args.read()?;
                let records = C::set_many(collection, records).await?;
                let stamps = records.into_iter();
                let stamps = stamps.map(|record| (record.seq, record.updated_ms, C::key_out(record.key)));
                Answer::value(&stamps.collect::<Vec<_>>())
            }
            "delete" => {
                let (key, seq): (C::Name, Option<u64>) = args.read()?;
                let deleted = match seq {
                    None => collection.delete(key).await?,
                    Some(seq) => collection.delete_if(key, seq).await?,
                };
                Answer::value(&deleted)
            }
            "touch" => {
                args.none()?;
                collection.touch().await?;
                Ok(Answer::nothing())
            }
            "info" => {
                args.none()?;
                let CollectionInfo { seq, records, bytes, tombstones, floor, created_ms, expires_ms } =
                    collection.info().await?;
                Answer::value(&Info { seq, records, bytes, tombstones, floor, created_ms, expires_ms })
            }
            "snapshot" => {
                args.none()?;
                let snapshot = collection.snapshot().await?;
                Answer::value(&(records_out::<C>(snapshot.records)?, snapshot.seq))
            }
            "changesSince" => {
                let (seq,): (u64,) = args.read()?;
                Answer::value(&since_out::<C>(collection.changes_since(seq).await?)?)
            }
            "pagesSince" => {
                let (seq,): (u64,) = args.read()?;
                Ok(Answer::nothing().with(Pages(Mutex::new(collection.pages_since(seq)))))
            }
            "subscribe" => {
                let (client, since): (&str, Option<u64>) = args.read()?;
                let subscription = match since {
                    None => collection.subscribe(client).await?,
                    Some(seq) => collection.subscribe_since(client, seq).await?,
                };
                Ok(Answer::nothing().with(Updates(Mutex::new(subscription))))
            }
            "unsubscribe" => {
                let (client,): (&str,) = args.read()?;
                Answer::value(&collection.unsubscribe(client))
            }
            "subscribers" => {
                args.none()?;
                Answer::value(&collection.subscribers())
            }
            _ => Err(no_method(method)),
        }
    }
}

/// A subscription; nobody else asks it while a call waits.
struct Updates<C: Crossing>(Mutex<Subscription<C>>);

#[async_trait(?Send)]
impl<C: Crossing> Object for Updates<C> {
    async fn call(&self, method: &str, args: Args<'_>) -> Result<Answer> {
        check_next(method, args)?;
        let update = self.0.lock().await.next().await.transpose()?;
        let told: Vec<ToldOf<C>> = update.map(update_out::<C>).transpose()?.into_iter().collect();
        Answer::value(&told)
    }
}

/// Changes by pages.
struct Pages<C: Crossing>(Mutex<ChangesPages<C>>);

#[async_trait(?Send)]
impl<C: Crossing> Object for Pages<C> {
    async fn call(&self, method: &str, args: Args<'_>) -> Result<Answer> {
        check_next(method, args)?;
        let page = self.0.lock().await.next().await.transpose()?;
        let told: Vec<ToldOf<C>> = page.map(since_out::<C>).transpose()?.into_iter().collect();
        Answer::value(&told)
    }
}
