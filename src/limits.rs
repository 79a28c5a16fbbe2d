//! Every bound of the product, by name and unit; the same on both platforms.
//!
//! Pure numbers: nothing here reads, waits or decides. The relations between them are proven at
//! compile time.

use crate::error::{Error, ErrorKind, Result};
use crate::text::text;

/// Bytes of a job id (UTF-8) at most; at least one.
pub const JOB_ID_BYTES_MAX: usize = 64;
/// Bytes of a category (UTF-8) at most; it may be empty.
pub const CATEGORY_BYTES_MAX: usize = 255;
/// Bytes of a key at most; it may be empty.
pub const KEY_BYTES_MAX: usize = 128 * 1024;
/// Bytes of one length-prefixed part of a key at most; its length is written in two bytes.
pub const KEY_PART_BYTES_MAX: usize = u16::MAX as usize;
/// Bytes of a payload at most; it may be empty.
pub const PAYLOAD_BYTES_MAX: usize = 64 * 1024 * 1024;
/// Bytes of a batch at most: its categories, keys, payloads and precondition values.
pub const BATCH_BYTES_MAX: usize = 96 * 1024 * 1024;
/// Operations and preconditions of a batch at most.
pub const BATCH_OPERATIONS_MAX: usize = 100_000;
/// Bytes of keys and payloads that a whole scan or a `get_many` returns at most; a single row excepted.
pub const SCAN_BYTES_MAX: usize = 64 * 1024 * 1024;
/// Bytes of keys and payloads in one page of a stream, unless its single row is larger.
pub const PAGE_BYTES_MAX: usize = 1024 * 1024;
/// Rows in one page of a stream.
pub const PAGE_ROWS_MAX: usize = 4096;

/// Operations that wait in a job's queue, unless the options say otherwise.
pub const QUEUE_OPERATIONS_DEFAULT: usize = 100_000;
/// Bytes that wait in a job's queue, unless the options say otherwise.
pub const QUEUE_BYTES_DEFAULT: usize = 16 * 1024 * 1024;
/// The largest bound of a queue, in operations or in bytes, that the options accept.
pub const QUEUE_BOUND_MAX: usize = (1 << 29) - 1;
/// Operations in one group commit at most, a single batch excepted.
pub const GROUP_OPERATIONS_MAX: usize = 16 * 1024;
/// Bytes in one group commit at most, a single batch excepted.
pub const GROUP_BYTES_MAX: usize = 8 * 1024 * 1024;
/// Flushes and waits for durability of a job at one time; further callers wait in their own future.
pub const WAITERS_MAX: usize = 16 * 1024;
/// Reads of a job that wait or run at one time; further callers wait in their own future.
pub const READS_MAX: usize = 4096;
/// Reads without the worker between two times that a reader's thread may do something else.
pub const DIRECT_READS_IN_A_ROW_MAX: u64 = 64;
/// Answers of an engine that a worker takes in a row before it looks at commands and the time again.
pub const ANSWERS_IN_A_ROW_MAX: usize = 32;
/// How long a job is without work before it makes its commits durable and gives its thread and its connection back, in ms.
pub(crate) const REST_AFTER_MS: u64 = 1_000;
/// Bytes of scan results under way per worker; further scans wait.
pub const SCANS_UNDER_WAY_BYTES_MAX: usize = 64 * 1024 * 1024;
/// Bytes that a get returns without reserving room for a large result first.
pub const SMALL_GET_BYTES_MAX: usize = 64 * 1024;
/// Such gets under way per worker; further ones wait.
pub const SMALL_GETS_UNDER_WAY_MAX: usize = 1024;
/// Pending operations up to which a read asks whether they touch it; beyond it simply waits.
pub const TOUCH_CHECK_OPERATIONS_MAX: usize = 1024;
/// Pending operations times keys of one read up to which it asks that.
pub const TOUCH_CHECK_COMPARISONS_MAX: usize = 64 * 1024;
/// Errors that nobody has asked for yet, kept per job; beyond it they are only counted.
pub const KEPT_ERRORS_MAX: usize = 1024;

/// How often a group that is put on the medium looks for further writes in vain before it is.
pub const GATHERING_LOOKS_MAX: usize = 64;
/// Milliseconds, counted by their beginnings, for which such a group waits at most; syncing takes longer as a rule.
pub const GATHERING_MS_MAX: u64 = 1;

/// Bytes of operations in one value of the log; with what else is in it three pages of SQLite hold one.
pub const LOG_PART_BYTES_MAX: usize = 48 * 1024 - 128;
/// Bytes by which the log may at least outgrow its retention before it is trimmed.
pub const LOG_TRIM_SLACK_BYTES: u64 = 64 * 1024;
/// Named holders of a job's log.
pub const LOG_HOLDERS_MAX: usize = 64;
/// How the name of a log holder begins that ends with the opening of the job in which it was made.
pub const LOG_HOLDER_WHILE_OPEN: &str = "while-open/";
/// Bytes of a log holder's name (UTF-8); at least one.
pub const LOG_HOLDER_BYTES_MAX: usize = 255;
/// Bytes of recent commits that a worker keeps in memory while somebody watches.
pub const WATCH_BYTES_MAX: usize = 8 * 1024 * 1024;
/// Recent commits that a worker keeps in memory while somebody watches.
pub const WATCH_COMMITS_MAX: usize = 8192;
/// Watchers of one job at one time.
pub const WATCHERS_MAX: usize = 1024;
/// Bytes of commits handed to a watcher or a log reader at one time, a single commit excepted.
pub const COMMITS_PAGE_BYTES_MAX: usize = 1024 * 1024;

/// Milliseconds between two looks at a shared job's record while somebody watches it.
pub const SHARED_POLL_MS: u64 = 1_000;
/// Milliseconds that an aborted transaction has to say how it ended.
pub const ABORT_GRACE_MS: u64 = 5_000;

const _: () = assert!(KEY_BYTES_MAX + PAYLOAD_BYTES_MAX + CATEGORY_BYTES_MAX <= BATCH_BYTES_MAX);
const _: () =
    assert!(PAGE_BYTES_MAX <= SCANS_UNDER_WAY_BYTES_MAX && SCAN_BYTES_MAX <= SCANS_UNDER_WAY_BYTES_MAX);
const _: () = assert!(SMALL_GETS_UNDER_WAY_MAX * SMALL_GET_BYTES_MAX <= PAYLOAD_BYTES_MAX);
const _: () = assert!(GROUP_BYTES_MAX <= QUEUE_BYTES_DEFAULT && QUEUE_BYTES_DEFAULT <= QUEUE_BOUND_MAX);
const _: () = assert!(BATCH_BYTES_MAX <= QUEUE_BOUND_MAX && QUEUE_BOUND_MAX <= u32::MAX as usize >> 3);

/// The limits that a caller can meet, as one value; see [`limits()`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Limits {
    /// Bytes of a job id.
    pub job_id_bytes: usize,
    /// Bytes of a category.
    pub category_bytes: usize,
    /// Bytes of a key.
    pub key_bytes: usize,
    /// Bytes of a payload.
    pub payload_bytes: usize,
    /// Bytes of a batch.
    pub batch_bytes: usize,
    /// Operations and preconditions of a batch.
    pub batch_operations: usize,
    /// Bytes of a whole scan or `get_many`.
    pub scan_bytes: usize,
    /// Bytes of one page of a stream.
    pub page_bytes: usize,
}

/// The limits that a caller can meet.
pub const fn limits() -> Limits {
    Limits {
        job_id_bytes: JOB_ID_BYTES_MAX,
        category_bytes: CATEGORY_BYTES_MAX,
        key_bytes: KEY_BYTES_MAX,
        payload_bytes: PAYLOAD_BYTES_MAX,
        batch_bytes: BATCH_BYTES_MAX,
        batch_operations: BATCH_OPERATIONS_MAX,
        scan_bytes: SCAN_BYTES_MAX,
        page_bytes: PAGE_BYTES_MAX,
    }
}

/// `TooLarge` unless `bytes` is within `max`.
pub(crate) fn check_bytes(what: &str, bytes: usize, max: usize) -> Result<()> {
    if bytes <= max {
        return Ok(());
    }
    Err(Error::new(ErrorKind::TooLarge, text!(what, " of ", bytes, " bytes, the limit is ", max)))
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::job_id::JobId;
    use crate::options::JobOptions;
    use crate::testing::vectors::{section, size, text};
    use crate::testing::{async_test, test};

    const VECTORS: &str = include_str!("../tests/vectors/limits.json");

    /// Holds each vector of a section to what `check` comes to.
    fn held(name: &str, check: impl Fn(&Value) -> Result<()>) {
        for vector in section(VECTORS, name) {
            let kind = check(&vector["of"]).err().map(|error| error.kind().name());
            assert_eq!(kind, vector["kind"].as_str(), "{name}: {vector}");
        }
    }

    #[test]
    fn limits_are_those_of_their_vectors() {
        let file: Value = serde_json::from_str(VECTORS).unwrap();
        let limits = limits();
        let told = json!({
            "jobIdBytes": limits.job_id_bytes,
            "categoryBytes": limits.category_bytes,
            "keyBytes": limits.key_bytes,
            "payloadBytes": limits.payload_bytes,
            "batchBytes": limits.batch_bytes,
            "batchOperations": limits.batch_operations,
            "scanBytes": limits.scan_bytes,
            "pageBytes": limits.page_bytes,
        });
        assert_eq!(told, file["limits"]);
        let bounds = json!({
            "keyPartBytes": KEY_PART_BYTES_MAX,
            "queueBound": QUEUE_BOUND_MAX,
            "queueOperations": QUEUE_OPERATIONS_DEFAULT,
            "queueBytes": QUEUE_BYTES_DEFAULT,
            "keptErrors": KEPT_ERRORS_MAX,
            "holderBytes": LOG_HOLDER_BYTES_MAX,
        });
        assert_eq!(bounds, file["bounds"]);
    }

    #[test]
    fn ids_queues_and_keys_are_taken_as_their_vectors_say() {
        held("ids", |id| JobId::new(&text(id)).map(drop));
        held("queues", |bound| JobOptions::new().queue_operations(size(bound)).check());
        held("queues", |bound| JobOptions::new().queue_bytes(size(bound)).check());
        held("keys", |part| crate::key!(text(part)).map(drop));
    }

    #[async_test]
    async fn log_holders_are_taken_as_their_vectors_say() {
        let root = crate::Persistency::open(":memory:").unwrap();
        let job = root.open_job("alpha").await.unwrap();
        for vector in section(VECTORS, "holders") {
            let held = job.hold_log(&text(&vector["of"])).await;
            let kind = held.err().map(|error| error.kind().name());
            assert_eq!(kind, vector["kind"].as_str(), "{vector}");
        }
        root.close().await.unwrap();
    }
}
