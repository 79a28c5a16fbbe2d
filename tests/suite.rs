//! One suite for every place: the same tests natively and in each browser, in a window and in a worker.
//!
//! A module per group of facts. Each fact is written once and stamped for every kind of root.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

#[macro_use]
mod common;

mod suite {
    #[cfg(feature = "archive")]
    mod archive;
    mod batches;
    mod bounds;
    mod by_id;
    mod care;
    mod commits;
    mod conditions;
    #[cfg(feature = "datastore")]
    mod datastore;
    mod deadlines;
    mod futures;
    mod ids;
    mod lifecycle;
    mod model;
    mod points;
    mod queue;
    mod ranges;
    mod receipts;
    mod reported;
    mod scans;
    #[cfg(feature = "sds")]
    mod sds;
    mod singleton;
    mod tabs;
    mod visibility;
    mod watching;
    #[cfg(feature = "write_behind")]
    mod write_behind;
}
