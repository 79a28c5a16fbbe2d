//! What marks cost: 1,000,000 marks over 10,000 keys and their flush, beside 10,000 writes of the same rows.
//!
//! First what of them reaches the store: rows, commits, and bytes as the commit log counts them. Then the time, in
//! rounds, beside what a program without marks would do. All of it is durable when its time is taken. One batch of
//! all rows stands there as what no flush can be faster than.
//!
//! `cargo run --release --example write_behind_cost --features write_behind,cli`

use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::time::{Duration, Instant};

use persistency::write_behind::{Options, Schema, WeakSet, WriteBehind};
use persistency::{Batch, Job, Persistency, Result, key};

const MARKS: i64 = 1_000_000;
const KEYS: i64 = 10_000;
const CALLERS: i64 = 64;
const ROUNDS: usize = 21;
const PAYLOAD_BYTES: usize = 100;

#[tokio::main]
async fn main() -> std::result::Result<(), Box<dyn std::error::Error>> {
    let directory = tempfile::tempdir()?;
    let root = Persistency::open(directory.path())?;
    what_reaches_the_store(&root).await?;

    let round = Arc::new(AtomicU8::new(0));
    let (engine, rows) = engine(&root, "behind", Arc::clone(&round)).await?;
    // A job for each way of writing, since a commit also tidies up after those before it.
    let (batches, puts, acknowledged) =
        (root.open_job("batches").await?, root.open_job("puts").await?, root.open_job("acknowledged").await?);
    // In turns, so that all meet the same machine. None finds its own bytes there.
    let mut times: [Vec<Duration>; 6] = Default::default();
    for n in 0..ROUNDS {
        let payload = |side: u8| [(n as u8).wrapping_mul(8) + side; PAYLOAD_BYTES];
        round.store(payload(0)[0], Ordering::Relaxed);
        let started = now();
        mark(&rows, MARKS)?;
        times[0].push(started.elapsed());
        flush(&engine).await?;
        times[1].push(started.elapsed());

        round.store(payload(1)[0], Ordering::Relaxed);
        let started = now();
        mark(&rows, KEYS)?;
        flush(&engine).await?;
        times[2].push(started.elapsed());

        let started = now();
        put_together(&batches, payload(2)).await?;
        times[3].push(started.elapsed());

        let started = now();
        for n in 0..KEYS {
            puts.persist_put("row", key!(n)?, payload(3)).await?;
        }
        puts.flush().await?;
        times[4].push(started.elapsed());

        let started = now();
        put_acknowledged(&acknowledged, payload(4)).await?;
        acknowledged.flush().await?;
        times[5].push(started.elapsed());
    }
    engine.stop().await?;
    root.close().await?;

    println!("\ndurable within                                       median   1,000,000 marks and flush are");
    println!("{MARKS} marks, not flushed yet     {:>20.1?}", median(times[0].clone()));
    let names = [
        format!("{MARKS} marks and their flush"),
        format!("{KEYS} marks and their flush"),
        format!("{KEYS} puts in one batch"),
        format!("{KEYS} puts, and a flush"),
        format!("{KEYS} puts acknowledged to {CALLERS} callers"),
    ];
    for (name, of) in names.into_iter().zip(&times[1..]) {
        // Of each round its own ratio: a disturbance that lasts meets both sides.
        let rounds = times[1].iter().zip(of);
        let ratio = median(rounds.map(|(marked, of)| marked.as_secs_f64() / of.as_secs_f64()).collect());
        println!("{name:<40}{:>18.1?}   {ratio:.2} of it", median(of.clone()));
    }
    Ok(())
}

/// Fails unless many marks write what few do.
async fn what_reaches_the_store(root: &Persistency) -> Result<()> {
    let (engine, rows) = engine(root, "behind-logged", Arc::default()).await?;
    let job = root.open_job("writes-logged").await?;
    println!("what reaches the store                            rows  commits      bytes");
    let mut reached = Vec::new();
    for marks in [MARKS, KEYS] {
        let counted = Counted::begin(engine.job()).await?;
        mark(&rows, marks)?;
        let written = flush(&engine).await?;
        reached.push((written, counted.end(&format!("{marks} marks over {KEYS} keys"), written).await?));
    }
    assert_eq!(reached[0], reached[1], "a mark on a marked key writes nothing");
    let counted = Counted::begin(&job).await?;
    put_together(&job, [0; PAYLOAD_BYTES]).await?;
    counted.end(&format!("{KEYS} puts in one batch"), KEYS as usize).await?;
    let counted = Counted::begin(&job).await?;
    put_acknowledged(&job, [1; PAYLOAD_BYTES]).await?;
    counted.end(&format!("{KEYS} puts, each acknowledged"), KEYS as usize).await?;
    engine.stop().await.map(drop)
}

/// Where a job stood.
struct Counted<'a> {
    job: &'a Job,
    seq: u64,
    bytes: u64,
}

impl<'a> Counted<'a> {
    async fn begin(job: &'a Job) -> Result<Self> {
        job.hold_log("cost").await?;
        let info = job.info().await?;
        Ok(Counted { job, seq: info.committed_seq, bytes: info.log_written_bytes })
    }

    /// Commits and bytes since then.
    async fn end(self, what: &str, rows: usize) -> Result<(u64, u64)> {
        let info = self.job.info().await?;
        let (commits, bytes) = (info.committed_seq - self.seq, info.log_written_bytes - self.bytes);
        println!("{what:<44}{rows:>10}{commits:>9}{bytes:>11}");
        Ok((commits, bytes))
    }
}

fn mark(rows: &WeakSet<i64>, marks: i64) -> Result<()> {
    (0..marks).try_for_each(|n| rows.mark(&(n % KEYS)))
}

async fn flush(engine: &WriteBehind) -> Result<usize> {
    let written = engine.flush().await?.rows();
    assert_eq!(written as i64, KEYS);
    Ok(written)
}

async fn put_together(job: &Job, payload: [u8; PAYLOAD_BYTES]) -> Result<()> {
    let mut batch = Batch::new();
    for n in 0..KEYS {
        batch = batch.put("row", key!(n)?, payload);
    }
    job.persist(batch).await?.durable().await.map(drop)
}

/// Each caller waits until his put is committed before he makes the next one.
async fn put_acknowledged(job: &Job, payload: [u8; PAYLOAD_BYTES]) -> Result<()> {
    let callers = (0..CALLERS).map(|caller| async move {
        for n in (caller..KEYS).step_by(CALLERS as usize) {
            job.put_acked("row", key!(n)?, payload).await?;
        }
        Ok(())
    });
    futures_util::future::try_join_all(callers).await.map(drop)
}

async fn engine(root: &Persistency, job: &str, round: Arc<AtomicU8>) -> Result<(WriteBehind, WeakSet<i64>)> {
    let mut schema = Schema::new();
    let rows =
        schema.weak("row", move |_: &i64| Ok(Some(vec![round.load(Ordering::Relaxed); PAYLOAD_BYTES])));
    Ok((WriteBehind::open(root, job, schema, Options::new()).await?, rows))
}

#[allow(clippy::disallowed_methods, reason = "it measures")]
fn now() -> Instant {
    Instant::now()
}

fn median<T: PartialOrd + Copy>(mut values: Vec<T>) -> T {
    values.sort_by(|a, b| a.partial_cmp(b).expect("times are numbers"));
    values[values.len() / 2]
}
