//! Ourselves, through nothing but the public interface.

use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use persistency::{Batch, Durability, Job, JobOptions, Key, Persistency};
use tokio::runtime::Runtime;
use tokio::task::JoinSet;

use crate::callers::{Callable, carry_out};
use crate::peers::Store;
use crate::work::{CATEGORY, Done, Work, check, key, payload};

const PAYLOAD: usize = 100;
/// Jobs that are opened at one time; each waits for its medium.
const OPENING: usize = 64;
/// How long jobs are left alone before they count as idle.
const IDLE: Duration = Duration::from_secs(5);
/// Jobs whose first read after idling is timed.
const READ_AGAIN: usize = 200;

pub struct Ours {
    runtime: Arc<Runtime>,
    root: Persistency,
    jobs: Arc<Jobs>,
}

/// One job that commits as it likes, and one that puts every commit on the medium.
struct Jobs {
    relaxed: Job,
    strict: Job,
}

impl Ours {
    pub fn open(runtime: &Arc<Runtime>, dir: &Path) -> Self {
        let root = Persistency::open(dir).expect("a root");
        let strict = JobOptions::new().durability(Durability::Strict);
        let jobs = runtime.block_on(async {
            let relaxed = root.open_job("relaxed").await.expect("a job");
            Arc::new(Jobs { relaxed, strict: root.open_job_with("strict", strict).await.expect("a job") })
        });
        Ours { runtime: Arc::clone(runtime), root, jobs }
    }

    /// The same, with its commit log kept for somebody who never reads it.
    pub fn open_logged(runtime: &Arc<Runtime>, dir: &Path) -> Self {
        let ours = Ours::open(runtime, dir);
        runtime.block_on(ours.jobs.relaxed.hold_log("bench")).expect("a holder");
        ours
    }
}

impl Store for Ours {
    fn run(&mut self, work: &Work) -> Option<Done> {
        let (jobs, work) = (Arc::clone(&self.jobs), *work);
        let task = self.runtime.spawn(async move { carry_out(&jobs, &work).await });
        self.runtime.block_on(task).expect("the work")
    }

    fn close(self: Box<Self>) {
        self.runtime.block_on(self.root.close()).expect("closing");
    }
}

impl Callable for Jobs {
    const ACCEPTS: bool = true;

    async fn load(&self, rows: Vec<(Vec<u8>, Vec<u8>)>) {
        let batch = rows
            .into_iter()
            .fold(Batch::new(), |batch, (key, payload)| batch.put(CATEGORY, Key::from_bytes(key), payload));
        self.relaxed.persist(batch).await.expect("accepted");
    }

    async fn put(&self, key: Vec<u8>, payload: Vec<u8>) {
        self.relaxed.persist_put(CATEGORY, Key::from_bytes(key), payload).await.expect("accepted");
    }

    async fn put_acked(&self, key: Vec<u8>, payload: Vec<u8>, durable: bool) {
        let job = if durable { &self.strict } else { &self.relaxed };
        job.put_acked(CATEGORY, Key::from_bytes(key), payload).await.expect("committed");
    }

    async fn flush(&self) {
        self.relaxed.flush().await.expect("durable");
    }

    async fn get(&self, key: Vec<u8>) -> Option<Vec<u8>> {
        self.relaxed.get(CATEGORY, Key::from_bytes(key)).await.expect("a read")
    }

    async fn scan(&self, from: Vec<u8>, rows: usize) -> (Vec<u8>, usize) {
        let scan = self.relaxed.scan(CATEGORY, Key::from_bytes(from)..).limit(rows);
        let mut rows = scan.await.expect("a scan");
        (std::mem::take(&mut rows[0].payload), rows.len())
    }

    async fn count(&self, from: Vec<u8>, to: Vec<u8>) -> u64 {
        let range = Key::from_bytes(from)..Key::from_bytes(to);
        let relaxed = self.relaxed.count(CATEGORY, range.clone()).await.expect("a count");
        // What was put durably went elsewhere.
        if relaxed == 0 { self.strict.count(CATEGORY, range).await.expect("a count") } else { relaxed }
    }
}

/// What so many open jobs cost that nobody uses, each.
pub struct Idle {
    pub bytes: f64,
    pub threads: f64,
    pub descriptors: f64,
    /// The slowest first read but for one in a hundred.
    pub first_read_ms: f64,
}

/// Opens so many jobs of one row each, leaves them alone, and reads from some of them.
pub fn idle(runtime: &Runtime, dir: &Path, number: usize) -> Result<Idle, persistency::Error> {
    let root = Persistency::open(dir)?;
    let before = Held::now();
    let idle = runtime.block_on(async {
        let mut jobs = Vec::with_capacity(number);
        for first in (0..number).step_by(OPENING) {
            let mut opening = JoinSet::new();
            for job in first..number.min(first + OPENING) {
                let root = root.clone();
                opening.spawn(async move {
                    let job = root.open_job(&format!("job-{job}")).await?;
                    job.put_acked(CATEGORY, Key::from_bytes(key(7)), payload(7, PAYLOAD)).await?;
                    Ok::<_, persistency::Error>(job)
                });
            }
            while let Some(job) = opening.join_next().await {
                jobs.push(job.expect("opening")?);
            }
        }
        tokio::time::sleep(IDLE).await;
        let held = Held::now();
        let each = |now: f64, then: f64| (now - then).max(0.0) / number as f64;
        let mut times = Vec::new();
        for job in jobs.iter().step_by((number / READ_AGAIN).max(1)) {
            let start = Instant::now();
            let found = job.get(CATEGORY, Key::from_bytes(key(7))).await?;
            times.push(start.elapsed().as_nanos() as u64);
            check(7, &found.expect("the row"));
        }
        Ok::<_, persistency::Error>(Idle {
            bytes: each(held.bytes, before.bytes),
            threads: each(held.threads, before.threads),
            descriptors: each(held.descriptors, before.descriptors),
            first_read_ms: crate::work::p99_us(times) / 1000.0,
        })
    });
    runtime.block_on(root.close())?;
    idle
}

/// What this process holds, as far as the system tells.
struct Held {
    bytes: f64,
    threads: f64,
    descriptors: f64,
}

impl Held {
    fn now() -> Self {
        let entries = |dir| fs::read_dir(dir).map_or(f64::NAN, |entries| entries.count() as f64);
        let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
        let kib = line.and_then(|line| line.trim().trim_end_matches(" kB").parse::<f64>().ok());
        Held {
            bytes: kib.unwrap_or(f64::NAN) * 1024.0,
            threads: entries("/proc/self/task"),
            descriptors: entries("/proc/self/fd"),
        }
    }
}
