//! What a child writes and how the parent recognises what is missing, half or in excess.
//!
//! Each producer overwrites the same rows with every batch, all of one number, and keeps a history of
//! its last numbers with every kind of deletion. A counter is advanced by preconditions alone.

use std::collections::BTreeMap;

use crate::key;
use crate::testing::Random;
use crate::{
    Batch, Error, ErrorKind, Job, JobOptions, Key, LogRetention, Op, Persistency, Position, WatchItem,
};

pub(super) const JOB: &str = "job";
pub(super) const PRODUCERS: i64 = 4;
/// Rows that each batch of a producer overwrites.
const ROWS: i64 = 5;
/// Numbers in a producer's history.
const KEPT: i64 = 8;
/// Rows of one number in the history.
const PARTS: i64 = 3;

fn counter() -> Key {
    key!("counter").unwrap()
}

/// Often inside the key tree, sometimes beside it; unlike that of any other row or number.
fn payload(producer: i64, number: i64, row: i64) -> Vec<u8> {
    let mut random = Random::new((producer << 48 | number << 8 | row) as u64);
    let length = if random.below(8) == 0 { random.below(20_000) } else { random.below(200) };
    [&number.to_be_bytes()[..], &random.payload(length)].concat()
}

/// A producer's batch of a number, which starts at 1.
pub(super) fn batch(producer: i64, number: i64) -> Batch {
    let mut batch = Batch::new();
    for row in 0..ROWS {
        batch = batch.put("rows", key!(producer, row).unwrap(), payload(producer, number, row));
    }
    for part in 0..PARTS {
        batch = batch.put("history", key!(producer, number, part).unwrap(), "");
    }
    let old = number - KEPT;
    let from = key!(producer, old).unwrap();
    match number % 3 {
        0 => batch.delete_prefix("history", from),
        1 => batch.delete_range("history", from..key!(producer, old + 1).unwrap()),
        _ => {
            (0..PARTS).fold(batch, |batch, part| batch.delete("history", key!(producer, old, part).unwrap()))
        }
    }
}

/// Advances the counter if nobody was faster; gives its new value and the seq.
pub(super) async fn advance(job: &Job) -> Result<Option<(i64, u64)>, Error> {
    let old = job.get("counter", counter()).await?;
    let value = old.as_ref().map_or(0, |old| i64::from_be_bytes(old[..].try_into().unwrap())) + 1;
    let batch = match old {
        Some(old) => Batch::new().require_equal("counter", counter(), old),
        None => Batch::new().require_absent("counter", counter()),
    };
    let batch = batch.require_absent("counted", key!(value).unwrap());
    let batch = batch.put("counted", key!(value).unwrap(), "").put("counter", counter(), value.to_be_bytes());
    match job.persist_acked(batch).await {
        Ok(seq) => Ok(Some((value, seq))),
        Err(error) if error.kind() == ErrorKind::Conflict => Ok(None),
        Err(error) => Err(error),
    }
}

/// The number of the producer's last batch, all of which must be there.
pub(super) async fn number(job: &Job, producer: i64) -> i64 {
    let keys: Vec<Key> = (0..ROWS).map(|row| key!(producer, row).unwrap()).collect();
    let rows = job.get_many("rows", keys).await.unwrap();
    let first = rows[0].as_ref();
    let number = first.map_or(0, |row| i64::from_be_bytes(row[..8].try_into().unwrap()));
    for (row, found) in (0..).zip(rows) {
        let written = (number > 0).then(|| payload(producer, number, row));
        assert!(found == written, "producer {producer}: row {row} is not of batch {number}");
    }
    let history = job.scan_prefix("history", key!(producer).unwrap()).keys_only().await.unwrap();
    let history: Vec<Key> = history.into_iter().map(|row| row.key).collect();
    let kept = (number - KEPT + 1).max(1)..=number;
    let kept = kept.flat_map(|number| (0..PARTS).map(move |part| key!(producer, number, part).unwrap()));
    assert_eq!(history, kept.collect::<Vec<_>>(), "producer {producer} at {number}");
    number
}

/// How the job is opened: with a log, so that its seqs can be read back.
pub(super) fn options() -> JobOptions {
    JobOptions::new().log(LogRetention::LastBytes(256 * 1024))
}

/// What children have reported of one job so far.
#[derive(Debug, Default)]
pub(super) struct Reported {
    generation: Option<String>,
    committed_seq: u64,
    durable_seq: u64,
    numbers: [i64; PRODUCERS as usize],
    counter: i64,
    /// The job may have been dropped, or not.
    pub(super) dropping: bool,
}

impl Reported {
    /// Takes in a report: `generation <hex>`, `batch <producer> <number> <seq>`, `counter <value> <seq>`,
    /// `durable <seq>`, `dropping` or `dropped`.
    pub(super) fn take(&mut self, report: &str) {
        let words: Vec<&str> = report.split(' ').collect();
        let number = |at: usize| words[at].parse::<i64>().unwrap();
        match words[0] {
            "generation" => {
                let known = self.generation.get_or_insert_with(|| words[1].to_owned());
                assert_eq!(known, words[1], "a job that was not dropped has another generation");
            }
            "batch" => {
                let last = &mut self.numbers[number(1) as usize];
                *last = number(2).max(*last);
                self.committed_seq = self.committed_seq.max(number(3) as u64);
            }
            "counter" => {
                self.counter = self.counter.max(number(1));
                self.committed_seq = self.committed_seq.max(number(2) as u64);
            }
            "durable" => self.durable_seq = self.durable_seq.max(number(1) as u64),
            "dropping" => self.dropping = true,
            "dropped" => *self = Reported::default(),
            _ => {}
        }
    }
}

/// Opens what a killed child has left, as a later process would, and holds it against the reports.
pub(super) async fn verify(root: &std::path::Path, reported: &mut Reported) {
    let p = Persistency::open(root).unwrap();
    let job = p.open_job_with(JOB, options()).await.unwrap();
    assert_eq!(job.check().await.unwrap(), Vec::<String>::new());
    let info = job.info().await.unwrap();
    let generation = hex(&info.generation);
    if reported.dropping && reported.generation.as_ref() != Some(&generation) {
        assert_eq!((info.committed_seq, job.categories().await.unwrap()), (0, vec![]));
        *reported = Reported::default();
    }
    reported.take(&format!("generation {generation}"));
    assert!(info.committed_seq >= reported.committed_seq, "{info:?} {reported:?}");
    assert!(info.durable_seq >= reported.durable_seq, "{info:?} {reported:?}");
    assert!(info.durable_seq <= info.committed_seq, "{info:?}");
    for producer in 0..PRODUCERS {
        let last = number(&job, producer).await;
        assert!(last >= reported.numbers[producer as usize], "{producer} at {last}: {reported:?}");
        reported.take(&format!("batch {producer} {last} {}", info.committed_seq));
    }
    let value = job.get("counter", counter()).await.unwrap();
    let value = value.map_or(0, |value| i64::from_be_bytes(value.try_into().unwrap()));
    assert!(value >= reported.counter, "counter at {value}: {reported:?}");
    assert_eq!(job.count("counted", ..).await.unwrap() as i64, value);
    verify_log(&job, info.log_first_seq, info.committed_seq).await;
    let seq = job.put_acked("after", key!("a").unwrap(), "").await.unwrap();
    assert_eq!(seq, info.committed_seq + 1, "seq continues");
    reported.take(&format!("counter {value} {seq}"));
    p.close().await.unwrap();
    reported.dropping = false;
}

/// Every commit from the log's first to the last is there, each whole, and the rows are as it says.
async fn verify_log(job: &Job, first: u64, last: u64) {
    let position = Position { generation: job.position().await.unwrap().generation, seq: first - 1 };
    let mut log = job.log_from(position).await.unwrap();
    let mut next = first;
    let mut rows = BTreeMap::new();
    while next <= last {
        next = match log.next().await.unwrap().unwrap() {
            WatchItem::Commit(commit) if commit.seq == next => {
                for op in commit.operations.iter() {
                    if let Op::Put { category, key, payload } = op
                        && **category == *"rows"
                    {
                        rows.insert(key.clone(), payload.to_vec());
                    }
                }
                next + 1
            }
            // The log is trimmed as soon as the job is open; its newest commits stay.
            WatchItem::Lagged { from, to } if next == first && from == first && to < last => to + 1,
            other => panic!("{other:?} instead of commit {next}"),
        }
    }
    for (key, payload) in rows {
        assert!(job.get("rows", key).await.unwrap() == Some(payload), "a row is not of its last commit");
    }
}

pub(super) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
