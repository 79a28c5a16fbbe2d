//! Pools and their members for the page.

use async_trait::async_trait;
use serde::Serialize;
use serde_bytes::ByteBuf;
use tokio::sync::{Mutex, RwLock};

use super::super::{Answer, Args, Object, check_next, no_method};
use super::content::Crossing;
use crate::datastore::{Item, ItemId, Lacking, Member, Merged, Pool, PoolInfo, PoolUpdate};
use crate::error::{Error, ErrorKind, Result};

/// A pool.
pub struct Basin<C: Crossing>(pub Pool<C>);

/// How a pool stands, as it crosses.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Info {
    round: u64,
    items: u64,
    bytes: u64,
    members: Vec<(String, u64)>,
    expires_ms: Option<u64>,
}

#[async_trait(?Send)]
impl<C: Crossing> Object for Basin<C> {
    async fn call(&self, method: &str, args: Args<'_>) -> Result<Answer> {
        let Basin(pool) = self;
        match method {
            "info" => {
                args.none()?;
                let PoolInfo { round, items, bytes, members, expires_ms } = pool.info().await?;
                Answer::value(&Info { round, items, bytes, members, expires_ms })
            }
            "join" => {
                let (name,): (&str,) = args.read()?;
                let member = pool.join(name).await?;
                Ok(Answer::nothing().with(Joined(RwLock::new(Some(member)))))
            }
            // Another handle of the same member, which waits while the first is called.
            "updates" => {
                let (name,): (&str,) = args.read()?;
                let member = pool.join(name).await?;
                Ok(Answer::nothing().with(Updates(Mutex::new(member))))
            }
            _ => Err(no_method(method)),
        }
    }
}

/// An item as it crosses.
#[derive(Serialize)]
struct ItemOut<D> {
    id: ByteBuf,
    data: D,
}

#[derive(Serialize)]
struct LackingOut<D> {
    items: Vec<ItemOut<D>>,
    more: bool,
}

#[derive(Serialize)]
struct MergedOut<D> {
    new: Vec<ByteBuf>,
    lacking: LackingOut<D>,
    converged: bool,
}

#[derive(Serialize)]
#[serde(tag = "type", rename_all = "camelCase")]
enum Told<D> {
    Items { items: Vec<ItemOut<D>> },
    Converged { round: u64 },
}

fn id_out(id: ItemId) -> ByteBuf {
    ByteBuf::from(id.0)
}

fn items_out<C: Crossing>(items: Vec<Item<C::Value>>) -> Result<Vec<ItemOut<C::Data>>> {
    let out = |item: Item<C::Value>| Ok(ItemOut { id: id_out(item.id), data: C::out(item.data)? });
    items.into_iter().map(out).collect()
}

fn lacking_out<C: Crossing>(lacking: Lacking<C::Value>) -> Result<LackingOut<C::Data>> {
    Ok(LackingOut { items: items_out::<C>(lacking.items)?, more: lacking.more })
}

/// A member, until it leaves.
struct Joined<C: Crossing>(RwLock<Option<Member<C>>>);

#[async_trait(?Send)]
impl<C: Crossing> Object for Joined<C> {
    async fn call(&self, method: &str, args: Args<'_>) -> Result<Answer> {
        if method == "leave" {
            args.none()?;
            let member = self.0.write().await.take().ok_or_else(left)?;
            return Answer::value(&member.leave().await?);
        }
        let held = self.0.read().await;
        let member = held.as_ref().ok_or_else(left)?;
        match method {
            "merge" => {
                let (items,): (Vec<C::Data>,) = args.read()?;
                let items = items.into_iter().map(C::back).collect::<Result<Vec<_>>>()?;
                let Merged { new, lacking, converged } = member.merge(&items).await?;
                let new = new.into_iter().map(id_out).collect();
                Answer::value(&MergedOut { new, lacking: lacking_out::<C>(lacking)?, converged })
            }
            "lacking" => {
                args.none()?;
                Answer::value(&lacking_out::<C>(member.lacking().await?)?)
            }
            "acknowledge" => {
                let (ids,): (Vec<ByteBuf>,) = args.read()?;
                let ids = ids.into_iter().map(|id| id.into_vec().try_into().map(ItemId));
                let ids = ids
                    .collect::<Result<Vec<_>, _>>()
                    .map_err(|_| Error::new(ErrorKind::InvalidArgument, "an item's id has 32 bytes"))?;
                Answer::value(&member.acknowledge(&ids).await?)
            }
            _ => Err(no_method(method)),
        }
    }
}

fn left() -> Error {
    Error::new(ErrorKind::Closed, "the member has left")
}

/// What a member is told; nobody else asks while a call waits.
struct Updates<C: Crossing>(Mutex<Member<C>>);

#[async_trait(?Send)]
impl<C: Crossing> Object for Updates<C> {
    async fn call(&self, method: &str, args: Args<'_>) -> Result<Answer> {
        check_next(method, args)?;
        let update = self.0.lock().await.next().await.transpose()?;
        let out = |update| -> Result<_> {
            Ok(match update {
                PoolUpdate::Items(items) => Told::Items { items: items_out::<C>(items)? },
                PoolUpdate::Converged { round } => Told::Converged { round },
            })
        };
        let told: Vec<Told<C::Data>> = update.map(out).transpose()?.into_iter().collect();
        Answer::value(&told)
    }
}
