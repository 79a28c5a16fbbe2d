//! What of write-behind can be chosen: bounds, when to flush, how to retry, what "done" means.
//!
//! Pure values and their checks; nothing here waits or flushes.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use crate::clock::Clock;
use crate::error::{Error, ErrorKind, Result};
use crate::limits::{BATCH_BYTES_MAX, BATCH_OPERATIONS_MAX, CATEGORY_BYTES_MAX, KEY_BYTES_MAX};
use crate::options::{Durability, JobOptions};

/// Marks of all sets together at most, so that one batch holds them and the engine's own row.
pub const MARKS_MAX: usize = BATCH_OPERATIONS_MAX - 1;
/// Bytes of all marks together at most, so that one batch holds them and the engine's own row.
pub const MARK_BYTES_MAX: usize = BATCH_BYTES_MAX - 1024;

/// What a dirty set holds at most.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SetBounds {
    /// Marked keys; [`MARKS_MAX`] by default.
    pub marks: usize,
    /// Bytes that the marks weigh; [`MARK_BYTES_MAX`] by default.
    pub bytes: usize,
    /// Bytes of a payload of this set at most, which is what a marked key weighs beside the key
    /// itself, since its value is not known before the flush; 512 by default.
    ///
    /// A larger payload is written as long as the batch of its flush is within its limits. If it is
    /// not, the flush is `TooLarge`, which cannot happen while payloads keep to what is said here.
    pub payload_bytes: usize,
}

impl Default for SetBounds {
    fn default() -> Self {
        SetBounds { marks: MARKS_MAX, bytes: MARK_BYTES_MAX, payload_bytes: 512 }
    }
}

/// When the flusher flushes: at the first tick at which one of these is reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FlushPolicy {
    /// Marked keys of all sets together; 1,000 by default.
    pub marks: usize,
    /// Bytes that their marks weigh, see [`SetBounds::payload_bytes`]; 4 MiB by default.
    pub bytes: usize,
    /// Time since the last flush that succeeded, or since the flusher was started; 5 minutes by
    /// default.
    pub interval: Duration,
}

impl Default for FlushPolicy {
    fn default() -> Self {
        FlushPolicy { marks: 1_000, bytes: 4 * 1024 * 1024, interval: Duration::from_secs(300) }
    }
}

/// How long the flusher waits after a flush that failed: `first`, then twice as long each time, up to
/// `max`; of each wait a random part of up to a half is left out, so that many do not come at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Backoff {
    /// The wait after the first failure; 1 second by default.
    pub first: Duration,
    /// The longest wait; 1 minute by default.
    pub max: Duration,
}

impl Default for Backoff {
    fn default() -> Self {
        Backoff { first: Duration::from_secs(1), max: Duration::from_secs(60) }
    }
}

impl Backoff {
    /// The wait after so many failures in a row, in ms; `random` chooses what is left out.
    pub(super) fn wait_ms(&self, failures: u32, random: u64) -> u64 {
        let doublings = failures.saturating_sub(1).min(31);
        let wait = self.first.saturating_mul(1 << doublings).min(self.max);
        let ms = u64::try_from(wait.as_millis()).unwrap_or(u64::MAX).max(1);
        ms - random % (ms / 2 + 1)
    }
}

/// What [`FlushPolicy`] holds now.
pub(super) type PolicyNow = Arc<dyn Fn() -> FlushPolicy + Send + Sync>;

/// How an engine is opened.
#[derive(Clone)]
pub struct Options {
    pub(super) job: JobOptions,
    pub(super) clock: Clock,
    pub(super) marks: usize,
    pub(super) bytes: usize,
    pub(super) durability: Durability,
    pub(super) tick: Duration,
    pub(super) policy: PolicyNow,
    pub(super) backoff: Backoff,
}

impl Default for Options {
    fn default() -> Self {
        Options {
            job: JobOptions::default(),
            clock: Clock::system(),
            marks: MARKS_MAX,
            bytes: MARK_BYTES_MAX,
            durability: Durability::Strict,
            tick: Duration::from_secs(5),
            policy: Arc::new(FlushPolicy::default),
            backoff: Backoff::default(),
        }
    }
}

impl Options {
    /// The default options.
    pub fn new() -> Self {
        Self::default()
    }

    /// How the job is opened.
    pub fn job(mut self, job: JobOptions) -> Self {
        self.job = job;
        self
    }

    /// The clock that the flusher goes by; the system's by default.
    pub fn clock(mut self, clock: Clock) -> Self {
        self.clock = clock;
        self
    }

    /// How many keys may be marked in all sets together, those of a flush under way included;
    /// [`MARKS_MAX`] by default and at most.
    pub fn marks(mut self, marks: usize) -> Self {
        self.marks = marks;
        self
    }

    /// How many bytes their marks may weigh; [`MARK_BYTES_MAX`] by default and at most.
    pub fn bytes(mut self, bytes: usize) -> Self {
        self.bytes = bytes;
        self
    }

    /// What a flush that is reported as done is: durable ([`Durability::Strict`], the default), or only
    /// committed. Strong writes are durable always.
    pub fn durability(mut self, durability: Durability) -> Self {
        self.durability = durability;
        self
    }

    /// How often the flusher looks whether to flush; 5 seconds by default.
    pub fn tick(mut self, tick: Duration) -> Self {
        self.tick = tick;
        self
    }

    /// When the flusher flushes.
    pub fn policy(self, policy: FlushPolicy) -> Self {
        self.policy_from(move || policy)
    }

    /// When the flusher flushes, asked anew at each tick. Natively one that panics asks for a flush.
    pub fn policy_from(mut self, policy: impl Fn() -> FlushPolicy + Send + Sync + 'static) -> Self {
        self.policy = Arc::new(policy);
        self
    }

    /// How long the flusher waits after a flush that failed.
    pub fn backoff(mut self, backoff: Backoff) -> Self {
        self.backoff = backoff;
        self
    }

    pub(super) fn check(&self) -> Result<()> {
        for (what, bound, max) in
            [("marks", self.marks, MARKS_MAX), ("bytes of marks", self.bytes, MARK_BYTES_MAX)]
        {
            if !(1..=max).contains(&bound) {
                let message = format!("a bound of {bound} {what}, it must be 1 to {max}");
                return Err(Error::new(ErrorKind::InvalidArgument, message));
            }
        }
        if self.tick.as_millis() == 0 {
            return Err(Error::new(ErrorKind::InvalidArgument, "a tick of less than a millisecond"));
        }
        Ok(())
    }
}

impl fmt::Debug for Options {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Options")
            .field("marks", &self.marks)
            .field("bytes", &self.bytes)
            .field("durability", &self.durability)
            .field("tick", &self.tick)
            .field("policy", &(self.policy)())
            .field("backoff", &self.backoff)
            .finish_non_exhaustive()
    }
}

const _: () = assert!(CATEGORY_BYTES_MAX + KEY_BYTES_MAX < MARK_BYTES_MAX);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{Random, test};

    #[test]
    fn waits_double_up_to_the_longest_and_lose_at_most_a_half() {
        let backoff = Backoff { first: Duration::from_millis(100), max: Duration::from_millis(1500) };
        let mut random = Random::new(1);
        for (failures, wait) in
            [(1, 100), (2, 200), (3, 400), (4, 800), (5, 1500), (6, 1500), (u32::MAX, 1500)]
        {
            assert_eq!(backoff.wait_ms(failures, 0), wait);
            let mut seen = std::collections::BTreeSet::new();
            for _ in 0..200 {
                let waited = backoff.wait_ms(failures, random.word());
                assert!((wait / 2..=wait).contains(&waited), "{waited} of {wait}");
                seen.insert(waited);
            }
            assert!(seen.len() > 20, "many do not come at once");
        }
    }

    #[test]
    fn waits_of_any_length_can_be_said() {
        let never = Backoff { first: Duration::MAX, max: Duration::MAX };
        assert!(never.wait_ms(u32::MAX, 1) > 0);
        let at_once = Backoff { first: Duration::ZERO, max: Duration::ZERO };
        assert_eq!(at_once.wait_ms(1, u64::MAX), 1);
    }
}
