//! Callers: carries out a piece of work on a store that is called with `await`, by as many tasks as the
//! work says.
//!
//! Never knows which store it is, so that all of them are asked in the same way.

use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use tokio::task::JoinSet;

use crate::work::{Beside, Done, Random, Work, check, key, p99_us, payload, rows};

/// Rows of one batch of the caller that loads while another one's gets are timed.
const BATCH: u64 = 1000;
/// Rows of one of the scans that go on meanwhile.
const SCAN: u64 = 1000;
const PAYLOAD: usize = 100;

/// A store as its users see it.
pub trait Callable: Send + Sync + 'static {
    /// Whether a put can be accepted before it is committed; if not, putting is loading.
    const ACCEPTS: bool;

    fn load(&self, rows: Vec<(Vec<u8>, Vec<u8>)>) -> impl Future<Output = ()> + Send;
    fn put(&self, key: Vec<u8>, payload: Vec<u8>) -> impl Future<Output = ()> + Send;
    fn put_acked(&self, key: Vec<u8>, payload: Vec<u8>, durable: bool) -> impl Future<Output = ()> + Send;
    fn flush(&self) -> impl Future<Output = ()> + Send;
    fn get(&self, key: Vec<u8>) -> impl Future<Output = Option<Vec<u8>>> + Send;
    /// Rows from a key on, as many; the first payload and how many there were.
    fn scan(&self, from: Vec<u8>, rows: usize) -> impl Future<Output = (Vec<u8>, usize)> + Send;
    fn count(&self, from: Vec<u8>, to: Vec<u8>) -> impl Future<Output = u64> + Send;
}

pub async fn carry_out<S: Callable>(store: &Arc<S>, work: &Work) -> Option<Done> {
    Some(match *work {
        Work::Load { rows: number, batch, payload, scattered } => {
            // Whole batches before the time is taken: who loads has them.
            let mut rows = rows(number, payload, scattered).into_iter();
            let batches =
                (0..number).step_by(batch as usize).map(|_| rows.by_ref().take(batch as usize).collect());
            let batches: Vec<Vec<_>> = batches.collect();
            let start = Instant::now();
            for batch in batches {
                store.load(batch).await;
            }
            store.flush().await;
            Done::since(start, number)
        }
        Work::Puts { rows: number, payload } => {
            if !S::ACCEPTS {
                return None;
            }
            let rows = rows(number, payload, false);
            let start = Instant::now();
            for (key, payload) in rows {
                store.put(key, payload).await;
            }
            store.flush().await;
            Done::since(start, number)
        }
        Work::Acked { callers, durable, ms } => {
            let start = Instant::now();
            let end = start + Duration::from_millis(ms);
            let puts = all(callers, |caller| {
                let store = Arc::clone(store);
                async move {
                    let mut puts = 0;
                    while Instant::now() < end {
                        let number = (1 << 60) | (caller << 40) | puts;
                        store.put_acked(key(number), payload(number, PAYLOAD), durable).await;
                        puts += 1;
                    }
                    puts
                }
            });
            let puts = puts.await;
            let done = Done::since(start, puts);
            assert_eq!(store.count(key(1 << 60), key(1 << 61)).await, puts);
            done
        }
        Work::Gets { callers, from, among, step, ms } => {
            let start = Instant::now();
            let end = start + Duration::from_millis(ms);
            let gets = |caller| {
                let store = Arc::clone(store);
                async move {
                    let mut random = Random::new(caller);
                    let mut gets = 0;
                    while Instant::now() < end {
                        for _ in 0..16 {
                            get(&*store, from + random.below(among) * step).await;
                        }
                        gets += 16;
                    }
                    gets
                }
            };
            // One caller is one that awaits where it is.
            let gets = if callers == 1 { gets(0).await } else { all(callers, gets).await };
            Done::since(start, gets)
        }
        Work::Scans { rows, from, among, ms } => {
            let start = Instant::now();
            let mut random = Random::new(rows);
            let mut scanned = 0;
            while start.elapsed() < Duration::from_millis(ms) {
                let first = from + random.below(among - rows);
                let (payload, found) = store.scan(key(first), rows as usize).await;
                check(first, &payload);
                assert_eq!(found as u64, rows);
                scanned += rows;
            }
            Done::since(start, scanned)
        }
        Work::Counts { rows, ms } => {
            let start = Instant::now();
            let mut counted = 0;
            while start.elapsed() < Duration::from_millis(ms) {
                assert_eq!(store.count(key(0), key(rows)).await, rows);
                counted += rows;
            }
            Done::since(start, counted)
        }
        Work::Latency { among, beside, ms } => latency(store, among, beside, ms).await,
    })
}

async fn latency<S: Callable>(store: &Arc<S>, among: u64, beside: Beside, ms: u64) -> Done {
    let ended = Arc::new(AtomicBool::new(false));
    let other = {
        let (store, ended) = (Arc::clone(store), Arc::clone(&ended));
        tokio::spawn(async move {
            let mut turn = 0;
            while beside != Beside::Nothing && !ended.load(Ordering::Relaxed) {
                if beside == Beside::Loading {
                    let numbers = (0..BATCH).map(|at| (1 << 59) | (turn * BATCH + at));
                    store.load(numbers.map(|number| (key(number), payload(number, PAYLOAD))).collect()).await;
                } else {
                    store.scan(key(turn * SCAN % (among - SCAN)), SCAN as usize).await;
                }
                turn += 1;
            }
        })
    };
    let timed = {
        let store = Arc::clone(store);
        tokio::spawn(async move {
            let mut random = Random::new(among);
            let mut nanos = Vec::new();
            let start = Instant::now();
            while start.elapsed() < Duration::from_millis(ms) {
                let number = random.below(among);
                let since = Instant::now();
                get(&*store, number).await;
                nanos.push(since.elapsed().as_nanos() as u64);
            }
            Done { p99_us: Some(p99_us(nanos.clone())), ..Done::since(start, nanos.len() as u64) }
        })
    };
    let done = timed.await.expect("the caller that gets");
    ended.store(true, Ordering::Relaxed);
    other.await.expect("the caller beside it");
    store.flush().await;
    done
}

async fn get<S: Callable>(store: &S, number: u64) {
    check(number, &store.get(key(number)).await.expect("a row that was put"));
}

/// What so many tasks come to together.
async fn all<F: Future<Output = u64> + Send + 'static>(callers: u64, make: impl Fn(u64) -> F) -> u64 {
    let mut tasks: JoinSet<u64> = (0..callers).map(make).collect();
    let mut sum = 0;
    while let Some(done) = tasks.join_next().await {
        sum += done.expect("a caller");
    }
    sum
}
