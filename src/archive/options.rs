//! When a segment is cut, when a base is taken, and how much an archiver does at one time.

use std::sync::Arc;
use std::time::Duration;

use crate::clock::Clock;
use crate::error::{Error, ErrorKind, Result};

use super::election::Election;
use super::scheduler::{Bounds, Retry};

/// When what has been committed is shipped: as soon as one of these is reached.
///
/// Whoever waits for a seq to be archived has it shipped at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CutPolicy {
    pub(super) age: Duration,
    pub(super) commits: u64,
    pub(super) bytes: u64,
    pub(super) early: Option<(u64, Duration)>,
}

impl Default for CutPolicy {
    fn default() -> Self {
        CutPolicy {
            age: Duration::from_secs(300),
            commits: 20_000,
            bytes: 8 * 1024 * 1024,
            early: Some((1_000, Duration::from_secs(30))),
        }
    }
}

impl CutPolicy {
    /// The default: 5 minutes, 20,000 commits, 8 MiB of log, or 1,000 commits and 30 seconds.
    pub fn new() -> Self {
        Self::default()
    }

    /// When the oldest commit that is not archived is so old.
    pub fn age(mut self, age: Duration) -> Self {
        self.age = age;
        self
    }

    /// When so many commits are not archived; a segment holds no more.
    pub fn commits(mut self, commits: u64) -> Self {
        self.commits = commits;
        self
    }

    /// When about so many bytes of the log are not archived; a segment holds no more, but for its last
    /// commit.
    pub fn bytes(mut self, bytes: u64) -> Self {
        self.bytes = bytes;
        self
    }

    /// When so many commits are not archived and the oldest is so old.
    pub fn early(mut self, commits: u64, age: Duration) -> Self {
        self.early = Some((commits, age));
        self
    }

    /// Without the rule of [`early`](CutPolicy::early).
    pub fn not_early(mut self) -> Self {
        self.early = None;
        self
    }

    /// Whether so many commits, the oldest known for so long, are to be shipped.
    pub(super) fn is_due(&self, commits: u64, age_ms: u64, bytes: u64) -> bool {
        commits >= self.commits
            || age_ms >= whole_ms(self.age)
            || bytes >= self.bytes
            || self.early.is_some_and(|(count, age)| commits >= count && age_ms >= whole_ms(age))
    }

    /// The age at which so many commits are due.
    pub(super) fn due_age_ms(&self, commits: u64) -> u64 {
        let early = self.early.filter(|(count, _)| commits >= *count);
        whole_ms(early.map_or(self.age, |(_, age)| age.min(self.age)))
    }

    /// The number of commits, above this one, that changes when they are due, if each has so many bytes.
    pub(super) fn next_count(&self, commits: u64, commit_bytes: u64) -> u64 {
        let early = self.early.map(|(count, _)| count).filter(|count| *count > commits);
        let full = if commit_bytes == 0 { u64::MAX } else { self.bytes.div_ceil(commit_bytes) };
        early.unwrap_or(self.commits).min(self.commits).min(full)
    }
}

/// How one job is archived.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ArchiveOptions {
    pub(super) name: Option<String>,
    pub(super) cut: CutPolicy,
    pub(super) base_after: BaseAfter,
    pub(super) keep: Option<Duration>,
    attempts: Option<u32>,
    backoff: Option<(Duration, Duration)>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct BaseAfter(pub(super) u64);

impl Default for BaseAfter {
    fn default() -> Self {
        BaseAfter(256 * 1024 * 1024)
    }
}

impl ArchiveOptions {
    /// The default options.
    pub fn new() -> Self {
        Self::default()
    }

    /// The archive's name in the store: what a job's id may be; the job's id by default.
    pub fn name(mut self, name: impl Into<String>) -> Self {
        self.name = Some(name.into());
        self
    }

    /// When segments are cut.
    pub fn cut(mut self, cut: CutPolicy) -> Self {
        self.cut = cut;
        self
    }

    /// A new base is taken when the segments since the last one have so many bytes, and as many as that base has;
    /// 256 MiB by default. So bases are no more than about twice the segments, however large the job is.
    pub fn base_after_bytes(mut self, bytes: u64) -> Self {
        self.base_after = BaseAfter(bytes);
        self
    }

    /// Prunes the archive when the job is attached and whenever a base has been taken: what is not needed to restore
    /// the moments from `age` before the last archived commit on goes. Without this everything is kept.
    ///
    /// Earlier lives of the job go as well: one that another one had followed by then, and that nobody has shipped
    /// since. A moment at which the job was in an earlier life is restored with
    /// [`ArchiveReader::open_at`](super::ArchiveReader::open_at).
    ///
    /// A base is then also taken when the last one is older than that, so that the archive holds commits of about
    /// twice this time at most. A store that lets nothing be removed goes on being shipped to; see
    /// [`ArchiveProgress::pruning_error`](super::ArchiveProgress::pruning_error).
    pub fn keep(mut self, age: Duration) -> Self {
        self.keep = Some(age);
        self
    }

    /// How often in a row shipping this job may fail, if not as often as its archiver's others; see
    /// [`ArchiverOptions::max_attempts`].
    pub fn max_attempts(mut self, attempts: u32) -> Self {
        self.attempts = Some(attempts);
        self
    }

    /// How long it waits after a failure of this job, if not as long as after those of its archiver's others; see
    /// [`ArchiverOptions::backoff`].
    pub fn backoff(mut self, first: Duration, most: Duration) -> Self {
        self.backoff = Some((first, most));
        self
    }

    /// How this job's attempts are repeated by an archiver that repeats others so.
    pub(super) fn retry(&self, usual: Retry) -> Retry {
        let (backoff_ms, backoff_max_ms) = match self.backoff {
            Some((first, most)) => (whole_ms(first), whole_ms(most)),
            None => (usual.backoff_ms, usual.backoff_max_ms),
        };
        Retry { attempts: self.attempts.unwrap_or(usual.attempts), backoff_ms, backoff_max_ms }
    }

    pub(super) fn keep_ms(&self) -> Option<u64> {
        self.keep.map(whole_ms)
    }

    pub(super) fn check(&self) -> Result<()> {
        if self.cut.commits == 0 || self.cut.bytes == 0 || self.base_after.0 == 0 {
            let message = "a segment holds at least one commit and one byte, and a base comes after some";
            return Err(Error::new(ErrorKind::InvalidArgument, message));
        }
        if self.attempts == Some(0) {
            return Err(Error::new(
                ErrorKind::InvalidArgument,
                "a job is shipped if it is tried at least once",
            ));
        }
        Ok(())
    }
}

/// How much an archiver does at one time, and how it goes on after failures.
#[derive(Clone, Debug)]
pub struct ArchiverOptions {
    pub(super) bounds: Bounds,
    pub(super) retry: Retry,
    pub(super) call_timeout: Duration,
    pub(super) clock: Clock,
    /// None where nobody else can have the job open.
    pub(super) election: Option<Arc<dyn Election>>,
}

impl Default for ArchiverOptions {
    fn default() -> Self {
        ArchiverOptions {
            bounds: Bounds { in_flight: 16, bytes: 64 * 1024 * 1024 },
            retry: Retry { attempts: 12, backoff_ms: 500, backoff_max_ms: 60_000 },
            call_timeout: Duration::from_secs(120),
            clock: Clock::system(),
            election: None,
        }
    }
}

impl ArchiverOptions {
    /// The default options.
    pub fn new() -> Self {
        Self::default()
    }

    /// How many jobs ship at one time; 16 by default.
    pub fn max_in_flight(mut self, jobs: usize) -> Self {
        self.bounds.in_flight = jobs;
        self
    }

    /// How many bytes of segments are in memory at one time, one segment excepted; 64 MiB by default.
    pub fn max_bytes(mut self, bytes: usize) -> Self {
        self.bounds.bytes = bytes;
        self
    }

    /// How often in a row shipping a job may fail before it waits for [`Archive::resume`](super::Archive::resume);
    /// 12 by default.
    pub fn max_attempts(mut self, attempts: u32) -> Self {
        self.retry.attempts = attempts;
        self
    }

    /// How long it waits after a failure: `first`, doubled with each failure up to `most`, less up to
    /// a half by chance. Half a second and a minute by default.
    pub fn backoff(mut self, first: Duration, most: Duration) -> Self {
        (self.retry.backoff_ms, self.retry.backoff_max_ms) = (whole_ms(first), whole_ms(most));
        self
    }

    /// How long one call to a store may take before it counts as failed; two minutes by default.
    pub fn call_timeout(mut self, timeout: Duration) -> Self {
        self.call_timeout = timeout;
        self
    }

    /// The clock that measures ages, backoffs and timeouts.
    pub fn clock(mut self, clock: Clock) -> Self {
        self.clock = clock;
        self
    }

    /// Ships only what it is chosen for, where others may have the same jobs open; by default it ships always.
    pub fn election(mut self, election: Arc<dyn Election>) -> Self {
        self.election = Some(election);
        self
    }

    pub(super) fn check(&self) -> Result<()> {
        if self.bounds.in_flight == 0 || self.retry.attempts == 0 {
            let message = "an archiver ships at least one job at a time, and tries at least once";
            return Err(Error::new(ErrorKind::InvalidArgument, message));
        }
        Ok(())
    }
}

pub(super) fn whole_ms(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::test;

    #[test]
    fn the_number_of_commits_that_is_waited_for_is_one_that_has_not_been_reached() {
        for cut in [CutPolicy::new(), CutPolicy::new().not_early(), CutPolicy::new().commits(7).bytes(100)] {
            for commit_bytes in [0, 1, 3, 100, 101, 1_000, u64::MAX] {
                let mut commits = 0;
                while !cut.is_due(commits, 0, commits.saturating_mul(commit_bytes)) {
                    let next = cut.next_count(commits, commit_bytes);
                    assert!(next > commits, "{next} after {commits} of {commit_bytes} bytes, {cut:?}");
                    commits = next;
                }
                assert!(
                    commits <= cut.commits
                        && commits.saturating_sub(1).saturating_mul(commit_bytes) < cut.bytes
                );
            }
        }
    }
}
