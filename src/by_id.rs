//! Every operation of a job in the form that takes the job's id on the root.
//!
//! Adds nothing but the look-up: a job that is not open is `JobNotFound`.

use std::ops::RangeBounds;

use crate::batch::Batch;
use crate::error::Result;
use crate::job_info::{JobInfo, JobStats, SeqWatch};
use crate::key::Key;
use crate::payload::ToPayload;
use crate::persistency::Persistency;
use crate::receipt::Receipt;
use crate::scan::Scan;
use crate::watch::{LogReader, Position, Watch};

/// Defines methods that look the job up and call its method of the same name.
macro_rules! by_id {
    ($(async $name:ident($($argument:ident: $type:ty),*) -> $answer:ty;)*) => {
        $(
            #[doc = concat!("As [`Job::", stringify!($name), "`](crate::Job::", stringify!($name), "), on the open job `job`; `JobNotFound` if it is not open.")]
            pub async fn $name(&self, job: &str, $($argument: $type),*) -> Result<$answer> {
                self.job(job)?.$name($($argument),*).await
            }
        )*
    };
    ($(fn $name:ident($($argument:ident: $type:ty),*) -> $answer:ty;)*) => {
        $(
            #[doc = concat!("As [`Job::", stringify!($name), "`](crate::Job::", stringify!($name), "), on the open job `job`; `JobNotFound` if it is not open.")]
            pub fn $name(&self, job: &str, $($argument: $type),*) -> Result<$answer> {
                Ok(self.job(job)?.$name($($argument),*))
            }
        )*
    };
}

/// The same operations as on [`Job`](crate::Job), by the id of an open job.
impl Persistency {
    by_id! {
        async persist(batch: impl Into<Batch>) -> Receipt;
        async persist_put(category: &str, key: impl Into<Key>, payload: impl Into<Vec<u8>>) -> Receipt;
        async persist_delete(category: &str, key: impl Into<Key>) -> Receipt;
        async persist_delete_prefix(category: &str, prefix: impl Into<Key>) -> Receipt;
        async persist_encoded(category: &str, key: impl Into<Key>, value: &(impl ToPayload + ?Sized)) -> Receipt;
        async persist_acked(batch: impl Into<Batch>) -> u64;
        async put_acked(category: &str, key: impl Into<Key>, payload: impl Into<Vec<u8>>) -> u64;
        async delete_acked(category: &str, key: impl Into<Key>) -> bool;
        async flush() -> ();
        async get(category: &str, key: impl Into<Key>) -> Option<Vec<u8>>;
        async get_many(category: &str, keys: impl IntoIterator<Item = Key>) -> Vec<Option<Vec<u8>>>;
        async exists(category: &str, key: impl Into<Key>) -> bool;
        async exists_many(category: &str, keys: impl IntoIterator<Item = Key>) -> Vec<bool>;
        async count(category: &str, range: impl RangeBounds<Key>) -> u64;
        async categories() -> Vec<String>;
        async position() -> Position;
        async watch(category: &str, range: impl RangeBounds<Key>) -> Watch;
        async watch_from(position: Position, category: &str, range: impl RangeBounds<Key>) -> Watch;
        async log_from(position: Position) -> LogReader;
        async hold_log(name: &str) -> u64;
        async advance_log(name: &str, seq: u64) -> u64;
        async release_log(name: &str) -> ();
        async info() -> JobInfo;
        async check() -> Vec<String>;
        async compact() -> ();
    }

    by_id! {
        fn scan(category: &str, range: impl RangeBounds<Key>) -> Scan;
        fn scan_prefix(category: &str, prefix: impl Into<Key>) -> Scan;
        fn stats() -> JobStats;
        fn committed_seq() -> u64;
        fn durable_seq() -> u64;
        fn watch_committed_seq() -> SeqWatch;
        fn watch_durable_seq() -> SeqWatch;
    }

    /// As [`Job::try_persist`](crate::Job::try_persist), on the open job `job`; `JobNotFound` if it is not open.
    pub fn try_persist(&self, job: &str, batch: impl Into<Batch>) -> Result<Receipt> {
        self.job(job)?.try_persist(batch)
    }
}
