//! Programs that archive, killed at random moments, with a store that fails in every way: a writer, its
//! archiver, and whoever kills both.
//!
//! The batch of each seq follows from the seq, so at any seq it is known what the job's rows were.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::Duration;

use super::child::{self, Child, directory, report};
use super::{ROOT, SEED, root, rounds, seed};
use crate::archive::{
    Archive, ArchiveOptions, ArchiveReader, Archiver, ArchiverOptions, CutPolicy, FaultyStore, RestoreTo,
    Store,
};
use crate::object_stores::ObjectStores;
use crate::testing::Random;
use crate::{Batch, Clock, Job, Key, Op, Persistency};

const JOB: &str = "archiving";
const CATEGORIES: [&str; 2] = ["", "rows"];
/// Seqs that are restored in the end, the last one among them.
const RESTORED: usize = 12;
/// Commits that the writer is ahead of its archive at most, as far as it knows.
const AHEAD_MAX: u64 = 100;

/// Rows by category and key.
type Rows = BTreeMap<(String, Vec<u8>), Vec<u8>>;

/// What is committed as this seq.
fn batch(seq: u64) -> Batch {
    let mut random = Random::new(seq);
    let mut batch = Batch::new();
    for _ in 0..1 + random.below(4) {
        let category = CATEGORIES[random.below(2)];
        let key = Key::from_bytes([b'k', random.below(12) as u8]);
        batch = match random.below(10) {
            0 => batch.delete(category, key),
            1 if random.below(8) == 0 => batch.clear(category),
            _ => {
                let length = if random.below(6) == 0 { 4_000 } else { 100 };
                batch.put(category, key, [&seq.to_be_bytes()[..], &random.payload(length)].concat())
            }
        };
    }
    batch
}

/// The rows after each of these seqs, ascending.
fn model(seqs: &[u64]) -> Vec<Rows> {
    let (mut rows, mut seq, mut states) = (Rows::new(), 0, Vec::new());
    for wanted in seqs {
        while seq < *wanted {
            seq += 1;
            for op in batch(seq).operations() {
                match op {
                    Op::Put { category, key, payload } => {
                        rows.insert((category.to_string(), key.as_bytes().to_vec()), payload.to_vec());
                    }
                    Op::Delete { category, key } => {
                        rows.remove(&(category.to_string(), key.as_bytes().to_vec()));
                    }
                    Op::DeleteRange { category, .. } => rows.retain(|(other, _), _| **other != **category),
                }
            }
        }
        states.push(rows.clone());
    }
    states
}

async fn rows(job: &Job) -> Rows {
    let mut rows = Rows::new();
    for category in job.categories().await.unwrap() {
        for row in job.scan(&category, ..).await.unwrap() {
            rows.insert((category.clone(), row.key.into_bytes()), row.payload);
        }
    }
    rows
}

fn store(root: &Path) -> ObjectStores {
    ObjectStores::directory(root.join("store")).unwrap()
}

fn options(random: &mut Random) -> ArchiveOptions {
    let cut = CutPolicy::new().commits(5 + random.below(40) as u64).age(Duration::from_millis(5)).not_early();
    ArchiveOptions::new().cut(cut).base_after_bytes([1, 30_000, u64::MAX][random.below(3)])
}

#[tokio::test]
async fn a_job_that_was_archived_through_kills_and_failures_is_restored_at_any_seq() {
    let dir = directory();
    let root = dir.path();
    let mut archived = 0;
    for round in 0..rounds(12) {
        let mut random = Random::new(round);
        let variables = [(ROOT, root.to_str().unwrap()), (SEED, &round.to_string())];
        let mut child = Child::start("archiver", &variables);
        for _ in 0..random.below(12) {
            take(&mut archived, &child.report().expect("it only ends by being killed"));
        }
        thread::sleep(Duration::from_micros(random.below(8_000) as u64));
        child.kill().iter().for_each(|report| take(&mut archived, report));
    }
    assert!(archived > 0);
    let p = Persistency::open(root.join("jobs")).unwrap();
    let job = p.open_job(JOB).await.unwrap();
    let store: Arc<dyn Store> = Arc::new(store(root));
    let archive = Archive::attach(&job, Arc::clone(&store), ArchiveOptions::new()).await.unwrap();
    let last = archive.close().await.unwrap();
    assert!(last == job.committed_seq() && last >= archived, "{last}, {archived} had been reported");
    let reader = ArchiveReader::open(store, JOB).await.unwrap();
    let restorable = reader.verify().await.unwrap().restorable;
    // Some had been committed when the first base was whole; since then the log has been held.
    let first = restorable[0].0;
    assert_eq!(restorable, [(first, last)]);
    let mut random = Random::new(rounds(12));
    let mut seqs: Vec<u64> =
        (2..RESTORED).map(|_| first + random.below((last - first) as usize) as u64).collect();
    seqs.extend([first, last]);
    seqs.sort();
    for (seq, state) in seqs.iter().zip(model(&seqs)) {
        reader.restore(&p, "restored", RestoreTo::Seq(*seq), |_| {}).await.unwrap();
        assert!(rows(&p.open_job("restored").await.unwrap()).await == state, "seq {seq} of {last}");
        p.drop_job("restored").await.unwrap();
    }
    assert!(rows(&job).await == model(&[last])[0]);
    p.close().await.unwrap();
}

/// Takes in a report: `archived` and a seq.
fn take(archived: &mut u64, report: &str) {
    let seq: u64 = report.strip_prefix("archived ").unwrap().parse().unwrap();
    *archived = seq.max(*archived);
}

pub(super) async fn archives_until_it_is_killed() {
    child::end_with_parent();
    let mut random = Random::new(seed());
    let p = Persistency::open(root().join("jobs")).unwrap();
    let job = p.open_job(JOB).await.unwrap();
    let faulty = FaultyStore::new(store(&root()), Clock::system());
    let percent = [10, 30][random.below(2)];
    let ms = Duration::from_millis;
    let archiver = Archiver::new(ArchiverOptions::new().backoff(ms(0), ms(2)).max_attempts(4)).unwrap();
    let archived = Arc::new(AtomicU64::new(0));
    tokio::spawn(writes(job.clone(), Arc::clone(&archived)));
    for attempt in 0.. {
        faulty.by_chance(seed() + attempt, percent, Duration::from_millis(2));
        let store = Arc::new(faulty.clone());
        let Ok(archive) = archiver.attach(&job, store, options(&mut random)).await else { continue };
        archived.fetch_max(archive.archived_seq(), Ordering::Relaxed);
        for _ in 0..1 + random.below(30) {
            if let Ok(seq) = archive.ship().await {
                report(format!("archived {seq}"));
            }
            archived.fetch_max(archive.archived_seq(), Ordering::Relaxed);
            archive.resume();
        }
    }
}

/// Writes as far ahead of the archive as that can be caught up with.
async fn writes(job: Job, archived: Arc<AtomicU64>) {
    let mut next = job.position().await.unwrap().seq;
    loop {
        while next > archived.load(Ordering::Relaxed) + AHEAD_MAX {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        let mut receipts = Vec::new();
        for _ in 0..10 {
            next += 1;
            receipts.push(job.persist(batch(next)).await.unwrap());
        }
        for (receipt, seq) in receipts.into_iter().zip(next - 9..) {
            assert_eq!(receipt.committed().await.unwrap(), seq);
        }
    }
}

/// Found by reading: the log was held, and grew, for ever.
#[tokio::test]
async fn an_export_that_was_killed_does_not_hold_the_log() {
    let dir = directory();
    let mut child = Child::start("exporter", &[(ROOT, dir.path().to_str().unwrap())]);
    assert_eq!(child.report().unwrap(), "exporting");
    child.kill();
    let p = Persistency::open(dir.path().join("jobs")).unwrap();
    let job = p.open_job(JOB).await.unwrap();
    assert_eq!(job.info().await.unwrap().log_holders, [("another".to_owned(), 1)]);
    job.release_log("another").await.unwrap();
    let seq = job.persist_acked(batch(2)).await.unwrap();
    assert_eq!(job.info().await.unwrap().log_first_seq, seq + 1, "nothing is kept");
    p.close().await.unwrap();
}

pub(super) async fn exports_until_it_is_killed() {
    child::end_with_parent();
    let p = Persistency::open(root().join("jobs")).unwrap();
    let job = p.open_job(JOB).await.unwrap();
    job.persist_acked(batch(1)).await.unwrap();
    job.hold_log("another").await.unwrap();
    let mut export = job.export().await.unwrap();
    export.next().await.unwrap().unwrap();
    assert_eq!(job.info().await.unwrap().log_holders.len(), 2);
    report("exporting");
    std::future::pending().await
}
