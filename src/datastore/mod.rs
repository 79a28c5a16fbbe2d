//! Layer `datastore`: live shared collections and the merge pool, over a [`Job`](crate::Job).

mod changes;
mod collection;
mod content;
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
pub use plan::When;
pub use pool::{
    ITEMS_DEFAULT, Item, ItemId, Lacking, MEMBER_TIMEOUT_DEFAULT, MEMBERS_DEFAULT, Member, Merged, Pool,
    PoolInfo, PoolOptions, PoolUpdate,
};
pub use purge::Purged;
pub use store::Datastore;
pub use subscription::{Subscription, Update};
