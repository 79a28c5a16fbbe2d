//! What marks cost: 1,000,000 marks over 10,000 keys and their flush, beside 10,000 writes of the same rows.
//!
//! The writes are what a program without marks would do: `persist_put` for each row, then `flush`. One batch of
//! all rows stands beside them as what no flush can be faster than. All of it is durable when its time is taken.
//!
//! `cargo run --release --example write_behind_cost --features write_behind,cli`

use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::time::{Duration, Instant};

use persistency::write_behind::{Options, Schema, WeakSet, WriteBehind};
use persistency::{Batch, Persistency, Result, key};

const MARKS: i64 = 1_000_000;
const KEYS: i64 = 10_000;
const ROUNDS: usize = 21;
const PAYLOAD_BYTES: usize = 100;

#[tokio::main]
async fn main() -> std::result::Result<(), Box<dyn std::error::Error>> {
    let directory = tempfile::tempdir()?;
    let root = Persistency::open(directory.path())?;
    let round = Arc::new(AtomicU8::new(0));
    let (engine, rows) = engine(&root, Arc::clone(&round)).await?;
    let job = root.open_job("writes").await?;

    // In turns, so that both meet the same machine.
    let mut times: [Vec<Duration>; 4] = Default::default();
    for n in 0..ROUNDS {
        round.store(n as u8, Ordering::Relaxed);
        let payload = [n as u8; PAYLOAD_BYTES];
        let marking = now();
        for n in 0..MARKS {
            rows.mark(&(n % KEYS))?;
        }
        times[0].push(marking.elapsed());
        let written = engine.flush().await?.rows();
        assert_eq!(written as i64, KEYS);
        times[1].push(marking.elapsed());

        let writing = now();
        let mut batch = Batch::new();
        for n in 0..KEYS {
            batch = batch.put("row", key!(n)?, payload);
        }
        job.persist(batch).await?.durable().await?;
        // What comes next must not find its own bytes there.
        let payload = [!payload[0]; PAYLOAD_BYTES];
        times[2].push(writing.elapsed());

        let writing = now();
        for n in 0..KEYS {
            job.persist_put("row", key!(n)?, payload).await?;
        }
        job.flush().await?;
        times[3].push(writing.elapsed());
    }
    engine.stop().await?;
    root.close().await?;

    // Of each round its own ratio: a disturbance that lasts meets both sides.
    let ratio = |of: &[Duration]| {
        let rounds = times[1].iter().zip(of);
        median(rounds.map(|(marked, of)| marked.as_secs_f64() / of.as_secs_f64()).collect())
    };
    let (to_puts, to_batch) = (ratio(&times[3]), ratio(&times[2]));
    let [marks, marked, batch, puts] = times.map(median);
    println!("{MARKS} marks over {KEYS} keys     {marks:>10.1?}");
    println!("… and their flush, durable         {marked:>10.1?}");
    println!("{KEYS} writes, each put, durable    {puts:>10.1?}   marks and flush are {to_puts:.2} of it");
    println!("{KEYS} writes, one batch, durable   {batch:>10.1?}   marks and flush are {to_batch:.2} of it");
    Ok(())
}

async fn engine(root: &Persistency, round: Arc<AtomicU8>) -> Result<(WriteBehind, WeakSet<i64>)> {
    let mut schema = Schema::new();
    let rows =
        schema.weak("row", move |_: &i64| Ok(Some(vec![round.load(Ordering::Relaxed); PAYLOAD_BYTES])));
    Ok((WriteBehind::open(root, "behind", schema, Options::new()).await?, rows))
}

#[allow(clippy::disallowed_methods, reason = "it measures")]
fn now() -> Instant {
    Instant::now()
}

fn median<T: PartialOrd + Copy>(mut values: Vec<T>) -> T {
    values.sort_by(|a, b| a.partial_cmp(b).expect("times are numbers"));
    values[values.len() / 2]
}
