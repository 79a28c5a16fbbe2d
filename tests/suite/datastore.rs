//! The layer `datastore`: collections, lifetimes and the merge pool.

mod collections;
mod lifetimes;
mod pools;
mod subscriptions;
mod tabs;
