//! Work: what is measured, as data, so that a peer in another program can be told; and the rows it is
//! done with.
//!
//! Never measures anything itself.

use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

/// The category that all rows are in.
pub const CATEGORY: &str = "messages";
/// Bytes of every key.
pub const KEY_BYTES: usize = 20;

/// One thing that a store is made to do.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub enum Work {
    /// Rows from 0 on, in batches, and one flush. With `scattered` in no order.
    Load { rows: u64, batch: u64, payload: usize, scattered: bool },
    /// Rows from 0 on, one by one and accepted at once, and one flush.
    Puts { rows: u64, payload: usize },
    /// New rows, each put awaited by one of so many callers.
    Acked { callers: u64, durable: bool, ms: u64 },
    /// Gets of rows `from..from + among`, each `step` apart, at random, by so many callers.
    Gets { callers: u64, from: u64, among: u64, step: u64, ms: u64 },
    /// Scans of this many rows, each beginning at random among the rows there are.
    Scans { rows: u64, from: u64, among: u64, ms: u64 },
    /// Counts of these rows.
    Counts { rows: u64, ms: u64 },
    /// How long single gets by one caller take, while another does something.
    Latency { among: u64, beside: Beside, ms: u64 },
}

/// What another caller does meanwhile.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Beside {
    Nothing,
    Loading,
    Scanning,
}

/// What came of it.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub struct Done {
    /// How much was done: rows, operations or calls, whatever the work counts.
    pub amount: f64,
    pub seconds: f64,
    /// The 99th percentile of single calls, where they were measured one by one.
    pub p99_us: Option<f64>,
}

impl Done {
    pub fn since(start: Instant, amount: u64) -> Self {
        Done { amount: amount as f64, seconds: start.elapsed().as_secs_f64(), p99_us: None }
    }

    pub fn rate(&self) -> f64 {
        self.amount / self.seconds
    }
}

/// A row's key: neighbours in number are neighbours in key order.
pub fn key(number: u64) -> Vec<u8> {
    let mut key = b"channel-0042".to_vec();
    key.extend(number.to_be_bytes());
    key
}

/// A row's payload: its number, then bytes that no compression makes smaller.
pub fn payload(number: u64, bytes: usize) -> Vec<u8> {
    let mut random = Random::new(number);
    let mut payload = number.to_le_bytes().to_vec();
    while payload.len() < bytes {
        payload.extend(random.next().to_le_bytes());
    }
    payload.truncate(bytes);
    payload
}

/// Whether a payload is that of the row.
pub fn check(number: u64, payload: &[u8]) {
    assert!(payload.starts_with(&number.to_le_bytes()), "row {number} has another row's payload");
}

/// The rows of a load, made before its time is taken.
pub fn rows(rows: u64, payload_bytes: usize, scattered: bool) -> Vec<(Vec<u8>, Vec<u8>)> {
    let mut numbers: Vec<u64> = (0..rows).collect();
    if scattered {
        let mut random = Random::new(rows);
        for at in (1..numbers.len()).rev() {
            numbers.swap(at, random.below(at as u64 + 1) as usize);
        }
    }
    numbers.into_iter().map(|number| (key(number), payload(number, payload_bytes))).collect()
}

/// Numbers that look random and are the same in every run.
#[derive(Clone)]
pub struct Random(u64);

impl Random {
    pub fn new(seed: u64) -> Self {
        Random(seed.wrapping_add(0x9e37_79b9_7f4a_7c15))
    }

    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    pub fn below(&mut self, bound: u64) -> u64 {
        self.next() % bound
    }
}

/// Repeats `call` until the time is over; how often.
pub fn until(start: Instant, ms: u64, mut call: impl FnMut(u64)) -> u64 {
    let time = Duration::from_millis(ms);
    let mut calls = 0;
    while start.elapsed() < time {
        // Looking at the clock is not what is measured.
        for _ in 0..16 {
            call(calls);
            calls += 1;
        }
    }
    calls
}

/// The 99th percentile of some times, in microseconds.
pub fn p99_us(mut nanos: Vec<u64>) -> f64 {
    nanos.sort_unstable();
    nanos.get(nanos.len() * 99 / 100).map_or(f64::NAN, |&nanos| nanos as f64 / 1000.0)
}
