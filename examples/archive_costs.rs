//! What an attached archive costs who writes: the same rows into a job with one and a job without, and the ratio.
//!
//! Rounds alternate between the two, so that both see the same machine, and the ratio is the median of those of
//! each round. A round ends when all of it is durable, and what is shipped meanwhile is shipped beside it; what is left
//! then goes while nobody measures. A job that only holds its log stands between: what it costs more than the
//! bare one is the log, what the archived one costs more than that is shipping.
//!
//! `cargo run --release --example archive_costs --features archive,cli`; `--memory` ships to memory, `--only bare`,
//! `log` or `archived` writes to one of them, for tools that count what a process does.

use std::future::Future;
use std::sync::Arc;
use std::time::Instant;

use clap::{Parser, ValueEnum};
use futures_util::future::join_all;
use persistency::archive::{Archive, ArchiveOptions, MemoryStore, Store};
use persistency::object_stores::ObjectStores;
use persistency::{Job, Persistency, Result, key};

const CALLERS: u64 = 64;

#[derive(Parser)]
struct Program {
    /// Rounds of each kind of work
    #[arg(long, default_value_t = 7)]
    rounds: usize,
    /// Work in a round, in parts of the usual
    #[arg(long, default_value_t = 1.0)]
    work: f64,
    /// Ships to memory instead of a directory
    #[arg(long)]
    memory: bool,
    /// Writes to this job only, and measures nothing
    #[arg(long)]
    only: Option<Side>,
    /// Only the work whose name holds these words
    #[arg(long, default_value = "")]
    like: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Side {
    Bare,
    Log,
    Archived,
}

const SIDES: [Side; 3] = [Side::Bare, Side::Log, Side::Archived];

/// What is written in a round: more than a job's queue holds, so that the archiver has something to ship meanwhile.
struct Work {
    name: &'static str,
    payload_bytes: usize,
    rows: u64,
    /// How many wait for each of their writes; nobody does if it is none.
    callers: Option<u64>,
}

const WORK: [Work; 4] = [
    Work { name: "100 B, a stream of puts", payload_bytes: 100, rows: 300_000, callers: None },
    Work { name: "1 KB, a stream of puts", payload_bytes: 1_000, rows: 60_000, callers: None },
    Work { name: "64 KB, a stream of puts", payload_bytes: 64 * 1024, rows: 1_500, callers: None },
    Work { name: "100 B, 64 callers wait", payload_bytes: 100, rows: 40_000, callers: Some(CALLERS) },
];

#[tokio::main]
async fn main() -> std::result::Result<(), Box<dyn std::error::Error>> {
    let program = Program::parse();
    let [bare, log, archived] = ["bare", "log", "archived"];
    println!(
        "{:<26} {bare:>9} {log:>9} {archived:>9}   {log:>4} {archived}   shipped meanwhile",
        "writes per second"
    );
    for work in WORK.iter().filter(|work| work.name.contains(&program.like)) {
        measure(&program, work).await?;
    }
    Ok(())
}

async fn measure(program: &Program, work: &Work) -> std::result::Result<(), Box<dyn std::error::Error>> {
    let place = tempfile::tempdir()?;
    let root = Persistency::open(place.path().join("jobs"))?;
    let store: Arc<dyn Store> = match program.memory {
        true => Arc::new(MemoryStore::new()),
        false => Arc::new(ObjectStores::directory(place.path().join("store"))?),
    };
    let jobs = [root.open_job("bare").await?, root.open_job("log").await?, root.open_job("archived").await?];
    jobs[1].hold_log("nobody").await?;
    let archive = Archive::attach(&jobs[2], store, ArchiveOptions::new()).await?;

    let rows = (work.rows as f64 * program.work) as u64;
    let mut rates: [Vec<f64>; 3] = Default::default();
    let mut shipped = Vec::new();
    for round in 0..program.rounds as u64 {
        for (side, (job, rates)) in SIDES.into_iter().zip(jobs.iter().zip(&mut rates)) {
            if program.only.is_some_and(|only| only != side) {
                continue;
            }
            let seconds = timed(write(job, work, round, rows)).await?;
            rates.push(rows as f64 / seconds);
            match side {
                Side::Bare => {}
                Side::Log => drop(job.advance_log("nobody", job.committed_seq()).await?),
                Side::Archived => {
                    let last = job.committed_seq();
                    let left = last.saturating_sub(archive.archived_seq()).min(rows);
                    shipped.push(1.0 - left as f64 / rows as f64);
                    archive.ship().await?;
                }
            }
        }
    }
    archive.close().await?;
    root.close().await?;
    if program.only.is_none() {
        let ratio = |side: usize| median(rates[side].iter().zip(&rates[0]).map(|(a, b)| a / b).collect());
        let (log, archived) = (ratio(1), ratio(2));
        let [bare, with_log, with_archive] = rates.map(median);
        let shipped = 100.0 * median(shipped);
        println!(
            "{:<26} {bare:>9.0} {with_log:>9.0} {with_archive:>9.0}   {log:>4.2} {archived:>8.2}   {shipped:.0} %",
            work.name
        );
    }
    Ok(())
}

/// Puts rows, in no order, as names are; all of them are durable at the end.
async fn write(job: &Job, work: &Work, round: u64, rows: u64) -> Result<()> {
    let put = async |number: u64, is_acked: bool| {
        let (key, payload) = (key!(name(round * rows + number))?, payload(number, work.payload_bytes));
        match is_acked {
            true => job.put_acked("row", key, payload).await.map(drop),
            false => job.persist_put("row", key, payload).await.map(drop),
        }
    };
    match work.callers {
        None => {
            for number in 0..rows {
                put(number, false).await?;
            }
        }
        Some(callers) => {
            let caller = async |first: u64| {
                for number in (first..rows).step_by(callers as usize) {
                    put(number, true).await?;
                }
                Ok(())
            };
            join_all((0..callers).map(caller)).await.into_iter().collect::<Result<()>>()?;
        }
    }
    job.flush().await
}

/// Names in no order, each once.
fn name(number: u64) -> i64 {
    number.wrapping_mul(0x9e37_79b9_7f4a_7c15) as i64
}

/// Bytes that compress about as well as text does.
fn payload(number: u64, bytes: usize) -> Vec<u8> {
    let mut state = number;
    let byte = || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        b'a' + (state >> 60) as u8
    };
    std::iter::repeat_with(byte).take(bytes).collect()
}

/// Seconds that the work takes.
async fn timed(work: impl Future<Output = Result<()>>) -> Result<f64> {
    #[allow(clippy::disallowed_methods, reason = "it measures")]
    let start = Instant::now();
    work.await?;
    Ok(start.elapsed().as_secs_f64())
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}
