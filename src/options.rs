//! How a job is opened: durability, bounds, deadline, log retention and mode.

use std::time::Duration;

use crate::engine::DEADLINE_DEFAULT;
pub use crate::engine::OpenMode;
use crate::error::{Error, ErrorKind, Result};
use crate::limits::{QUEUE_BOUND_MAX, QUEUE_BYTES_DEFAULT, QUEUE_OPERATIONS_DEFAULT};
use crate::record::LogRetention;
use crate::text::text;

/// When a commit is put on the medium.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Durability {
    /// When somebody waits for it (`flush`, `Receipt::durable`, closing). Until then a commit survives
    /// the death of the process, but not a loss of power.
    #[default]
    Relaxed,
    /// With every commit.
    Strict,
}

/// How a job is opened. The default creates what does not exist and commits without waiting for the
/// medium.
///
/// ```
/// use persistency::{Durability, JobOptions};
///
/// let options = JobOptions::new().durability(Durability::Strict).queue_operations(1_000);
/// assert_ne!(options, JobOptions::default());
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JobOptions {
    pub(crate) durability: Durability,
    pub(crate) queue_operations: usize,
    pub(crate) queue_bytes: usize,
    pub(crate) deadline: Option<Duration>,
    pub(crate) log: Option<LogRetention>,
    pub(crate) mode: OpenMode,
}

impl Default for JobOptions {
    fn default() -> Self {
        JobOptions {
            durability: Durability::default(),
            queue_operations: QUEUE_OPERATIONS_DEFAULT,
            queue_bytes: QUEUE_BYTES_DEFAULT,
            deadline: DEADLINE_DEFAULT,
            log: None,
            mode: OpenMode::default(),
        }
    }
}

impl JobOptions {
    /// The default options.
    pub fn new() -> Self {
        Self::default()
    }

    /// When commits are put on the medium; [`Durability::Relaxed`] by default.
    pub fn durability(mut self, durability: Durability) -> Self {
        self.durability = durability;
        self
    }

    /// How many operations the queue holds before `persist` waits; 100,000 by default.
    pub fn queue_operations(mut self, operations: usize) -> Self {
        self.queue_operations = operations;
        self
    }

    /// How many bytes the queue holds before `persist` waits; 16 MiB by default.
    pub fn queue_bytes(mut self, bytes: usize) -> Self {
        self.queue_bytes = bytes;
        self
    }

    /// How long a call may take before it answers `Timeout`; 30 seconds by default in the browser.
    pub fn deadline(mut self, deadline: Duration) -> Self {
        self.deadline = Some(deadline);
        self
    }

    /// Calls take as long as they take; the default natively.
    pub fn no_deadline(mut self) -> Self {
        self.deadline = None;
        self
    }

    /// What the job's commit log keeps from now on; it is stored with the job. Without this the
    /// stored retention stays, which is off in a new job.
    pub fn log(mut self, retention: LogRetention) -> Self {
        self.log = Some(retention);
        self
    }

    /// Whether the job may be created or written; [`OpenMode::Create`] by default.
    pub fn mode(mut self, mode: OpenMode) -> Self {
        self.mode = mode;
        self
    }

    pub(crate) fn check(&self) -> Result<()> {
        for (what, bound) in [("operations", self.queue_operations), ("bytes", self.queue_bytes)] {
            if !(1..=QUEUE_BOUND_MAX).contains(&bound) {
                let message = text!("a queue of ", bound, " ", what, ", it must be 1 to ", QUEUE_BOUND_MAX);
                return Err(Error::new(ErrorKind::InvalidArgument, message));
            }
        }
        if self.mode == OpenMode::ReadOnly && self.log.is_some() {
            let message = "a job that is opened for reading only keeps its log as it is";
            return Err(Error::new(ErrorKind::InvalidArgument, message));
        }
        Ok(())
    }

    pub(crate) fn deadline_ms(&self) -> Option<u64> {
        self.deadline.map(|deadline| u64::try_from(deadline.as_millis()).unwrap_or(u64::MAX))
    }
}
