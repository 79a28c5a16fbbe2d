//! Layer `datastore`: live shared collections and the merge pool, over a [`Job`](crate::Job).
//!
//! Owns data and the rules by which it changes; sends nothing to other machines. What a service would send
//! to its clients, it is told here: the stamped record, the deletion's seq, the stream of changes.
//!
//! # Collections
//!
//! A [`Collection`] holds records under keys and numbers its changes by a sequence of its own, which is
//! stored with it and never goes back. The last arrival wins, whoever writes: another task, another handle,
//! another tab. JSON records ([`Json`]) lie under the string in their primary field, records of bytes
//! ([`Bytes`]) under any key.
//!
//! ```
//! use persistency::Persistency;
//! use persistency::datastore::{CollectionOptions, Collection, Datastore, Json, Since, Update};
//! use serde_json::json;
//!
//! # async fn example() -> persistency::Result<()> {
//! let root = Persistency::open(":memory:")?;
//! let store = Datastore::new(root.open_job("shared").await?);
//! let todo: Collection<Json> = store.collection("todo", CollectionOptions::permanent()).await?;
//!
//! let mut updates = todo.subscribe("ada").await?;
//! assert!(matches!(updates.next().await, Some(Ok(Update::Snapshot(all))) if all.records.is_empty()));
//!
//! let milk = todo.set(json!({ "id": "milk", "done": false })).await?;
//! assert_eq!((milk.key.as_str(), milk.seq), ("milk", 1));
//! assert!(matches!(updates.next().await, Some(Ok(Update::Changes(changes))) if changes.seq == 1));
//!
//! // Whoever was away asks for what has changed since the seq that he has, deletions among it.
//! assert_eq!(todo.delete("milk").await?, Some(2));
//! let Since::Changes(missed) = todo.changes_since(milk.seq).await? else { panic!("too long ago") };
//! assert_eq!((missed.changes.len(), missed.seq), (1, 2));
//! # root.close().await
//! # }
//! # futures_executor::block_on(example()).unwrap();
//! ```
//!
//! Deletions are remembered as long as [`keep_tombstones`](CollectionOptions::keep_tombstones) says, and at
//! most [`max_tombstones`](CollectionOptions::max_tombstones) of them. Whoever asks for changes since a time
//! before a deletion that has been forgotten is told so, [`Since::Lagged`], and reads a snapshot. Nobody is
//! ever told less than has happened without being told that.
//!
//! Seqs are `u64`, and `bigint` in JavaScript. Beside them stands the collection's
//! [generation](Collection::generation): one that was removed and made again counts from 1 again.
//!
//! # Lifetimes
//!
//! A collection or pool is permanent, or temporary: then it expires some time after it was made, or, if it
//! is *sliding*, after its last change. Records can have a time to live of their own, counted from when they
//! were last set. Expired means strictly after that time. What has expired is never handed out: handles of
//! an expired collection answer `Closed`, an expired record is not there. Room is freed by
//! [`purge_expired`](Datastore::purge_expired), or a [`Janitor`] that calls it. Time is that of the root's
//! [`Clock`](crate::Clock); within a collection it never goes back.
//!
//! What is declared when a collection or pool is made is stored with it. Opening it again with anything else
//! is `InvalidArgument`; [`find_collection`](Datastore::find_collection) takes it as it is.
//!
//! # The merge pool
//!
//! A [`Pool`] brings a set of items to several members until each of them has all. Its rules are of our own
//! choosing:
//!
//! * Items go by the SHA-256 of their bytes. In a round the pool only grows, so a merge can be repeated,
//!   and merges in any order come to the same pool.
//! * A [merge](Member::merge) says which items were new and what the member lacks. A member has what it has
//!   merged or [acknowledged](Member::acknowledge), and nothing else; whatever was lost on its way is told
//!   again.
//! * The pool has converged when every member has every item. The batch by which that comes true also
//!   removes the items and begins the next round. It takes as many members at one time in the round as
//!   [`members_needed`](PoolOptions::members_needed) says, so that the first one does not converge with itself.
//! * A member that [leaves](Member::leave), or is not heard of for
//!   [`member_timeout`](PoolOptions::member_timeout), is not waited for. Without members a pool keeps its items.
//! * If no member has been heard of for so long, as after the machine was suspended, that says nothing about any
//!   of them: each has the time once more.
//! * Of what a member has, the first 1,024 ranges of items are kept. What it has acknowledged far out of the
//!   order of arrival may be told it again.
//! * After a round its items are forgotten: one that is merged again is new, and goes round again.
//!
//! The state is in the job, so two tabs see one pool, and each is a member.
//!
//! # How it is stored
//!
//! In three categories of the job, which may hold others. All numbers are big-endian, 8 bytes unless said
//! otherwise; times are ms since the Unix epoch; a *generation* is 8 random bytes.
//!
//! | category | key | value |
//! |---|---|---|
//! | `datastore.names` | empty | how many collections and pools there are |
//! | | `c` or `p`, then the id | the descriptor of that collection or pool |
//! | `datastore.due` | time, generation | its key in `datastore.names`; it is looked after from that time on |
//! | `datastore` | generation, 00, seq | a recent change: time; 1 byte, 1 if deleted; 4 bytes length of the key; key; data |
//! | | generation, 01 | the collection's head: seq, records, bytes, tombstones, floor, seq before the recent changes, time of the last change, expiry (0: never), place in `datastore.due` (0: none) |
//! | | generation, 02, key | seq; time; 1 byte, 1 if deleted; data |
//! | | generation, 03, seq | a deletion that is remembered: time, key |
//! | | generation, 04, seq | a record that will expire: time, key |
//! | | generation, 10 | the pool's head: round, number of the last item of earlier rounds, of the last item, bytes, most members at one time, changes, time of the last, expiry, place in `datastore.due` |
//! | | generation, 11, name | a member: time it was heard of, changes of the pool when it joined, then first and last number of each range of items it has |
//! | | generation, 12, hash | the number of the item |
//! | | generation, 13, number | an item: 32 bytes hash, data |
//!
//! The descriptor: 1 byte version of this layout, which is 1 (a newer one is `VersionTooNew`); 1 byte, 0 for
//! bytes and 1 for JSON; 1 byte, 0 permanent, 1 temporary, 2 sliding; generation; time of making; time to
//! live; five numbers, of a collection record TTL, tombstone retention, tombstones, records, bytes, of a pool
//! members needed, member timeout, members, items, bytes; then the primary field. JSON is stored as text with
//! its fields in the order of their names.
//!
//! Every batch requires the head to be what it was decided by, and changes it: that is what makes seqs unique
//! and the last arrival win between tabs. The recent changes are as many as there are records, at least
//! 1,024, and end at a change of more than 16 KiB; further back the records themselves are read.
//!
//! # What it does not do
//!
//! It has no users and no rights: whoever has the job may do everything. It looks into no record but for its
//! primary field.

mod changes;
mod collection;
mod content;
mod descriptor;
mod finite;
mod janitor;
mod layout;
mod names;
mod options;
mod plan;
mod pool;
mod purge;
mod shelf;
mod store;
mod subscribers;
mod subscription;
#[cfg(test)]
mod tests;
mod typed;
mod wanted;
mod writer;

pub use changes::{Change, Changes, ChangesPages, Since, Snapshot};
pub use collection::{Collection, CollectionInfo, Record};
pub use content::{Bytes, Content, Json};
pub use janitor::{Janitor, JanitorReport};
pub use layout::Generation;
pub use names::fresh_id;
pub use options::{
    BYTES_DEFAULT, Bounds, CollectionOptions, RECORDS_DEFAULT, TOMBSTONES_DEFAULT, TOMBSTONES_KEPT_DEFAULT,
    TTL_DEFAULT,
};
pub use pool::{
    ITEMS_DEFAULT, Item, ItemId, Lacking, MEMBER_TIMEOUT_DEFAULT, MEMBERS_DEFAULT, MEMBERS_MAX, Member,
    Merged, Pool, PoolInfo, PoolOptions, PoolUpdate,
};
pub use purge::Purged;
pub use store::Datastore;
pub use subscription::{Subscription, Update};
pub use wanted::When;
