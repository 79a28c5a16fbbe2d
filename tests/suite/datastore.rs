//! The layer `datastore`: collections, lifetimes and the merge pool.

mod collections;
mod lifetimes;
mod model;
mod pools;
mod subscriptions;
mod tabs;
