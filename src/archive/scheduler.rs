//! Who may ship when: a pure state machine that is told what happens and what time it is.
//!
//! Never awaits, reads no clock, and holds no bytes of anybody's: what waits here is a request, and what
//! it is about stays in the job's own log until its turn comes.
//!
//! A job's requests are served one at a time, in their order. Jobs are served side by side, the one that
//! has waited longest first; a request that fails waits anew, behind those who wait already, and not
//! before its backoff is over. So a job that always fails takes no more than its turn.

use std::collections::{BTreeMap, VecDeque};

/// Requests of one job that wait at most; the caller keeps what comes on top.
pub(crate) const REQUESTS_MAX: usize = 16;

/// What the scheduler keeps to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Bounds {
    /// Requests under way at one time, of all jobs.
    pub(crate) in_flight: usize,
    /// Bytes under way at one time, as the requests announce them; one alone may be larger.
    pub(crate) bytes: usize,
}

/// How one job's requests are repeated.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Retry {
    /// How often in a row a request may fail.
    pub(crate) attempts: u32,
    /// How long a request waits after its first failure; it doubles with each one.
    pub(crate) backoff_ms: u64,
    /// How long it waits at most.
    pub(crate) backoff_max_ms: u64,
}

/// A job, as the scheduler calls it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Lane(u64);

/// A request that may start now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Started<T> {
    pub(crate) lane: Lane,
    pub(crate) id: u64,
    pub(crate) request: T,
}

/// What a report led to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Reported {
    /// It is done; the job's next request may start.
    Done,
    /// It starts again, not before this time.
    Again { at_ms: u64, failures: u32 },
    /// It has failed too often; it stays the job's first, and starts when the job is resumed.
    Stalled { failures: u32 },
    /// The job has been removed, or nothing of it was under way.
    Unknown,
}

#[derive(Debug)]
struct Waiting<T> {
    id: u64,
    bytes: usize,
    request: T,
}

#[derive(Debug)]
struct Queue<T> {
    retry: Retry,
    requests: VecDeque<Waiting<T>>,
    in_flight: bool,
    /// Since when it waits, on the scale of all jobs.
    ticket: u64,
    failures: u32,
    not_before_ms: u64,
    stalled: bool,
}

/// The state.
#[derive(Debug)]
pub(crate) struct Scheduler<T> {
    bounds: Bounds,
    lanes: BTreeMap<Lane, Queue<T>>,
    next_lane: u64,
    next_id: u64,
    next_ticket: u64,
    in_flight: usize,
    bytes: usize,
    random: u64,
}

impl<T: Clone> Scheduler<T> {
    /// Nothing waits; the jitter follows from `seed`.
    pub(crate) fn new(bounds: Bounds, seed: u64) -> Self {
        let (next_lane, next_id, next_ticket) = (0, 0, 0);
        let (in_flight, bytes) = (0, 0);
        let lanes = BTreeMap::new();
        Scheduler { bounds, lanes, next_lane, next_id, next_ticket, in_flight, bytes, random: seed }
    }

    /// Takes a job in.
    pub(crate) fn add(&mut self, retry: Retry) -> Lane {
        let lane = Lane(self.next_lane);
        self.next_lane += 1;
        let requests = VecDeque::new();
        let queue = Queue {
            retry,
            requests,
            in_flight: false,
            ticket: 0,
            failures: 0,
            not_before_ms: 0,
            stalled: false,
        };
        self.lanes.insert(lane, queue);
        lane
    }

    /// Forgets a job with its requests; what is under way does not count any more.
    pub(crate) fn remove(&mut self, lane: Lane) {
        if let Some(queue) = self.lanes.remove(&lane)
            && queue.in_flight
        {
            self.release(queue.requests.front().map_or(0, |first| first.bytes));
        }
    }

    /// Takes a request of `bytes` in, and gives it an id; gives it back if too many of the job wait.
    pub(crate) fn submit(&mut self, lane: Lane, bytes: usize, request: T) -> Result<u64, T> {
        let (id, ticket) = (self.next_id, self.next_ticket);
        let Some(queue) = self.lanes.get_mut(&lane) else { return Err(request) };
        if queue.requests.len() >= REQUESTS_MAX {
            return Err(request);
        }
        if queue.requests.is_empty() {
            queue.ticket = ticket;
            self.next_ticket += 1;
        }
        queue.requests.push_back(Waiting { id, bytes, request });
        self.next_id += 1;
        Ok(id)
    }

    /// The next request that may start, which counts as under way from now on.
    pub(crate) fn start(&mut self, now_ms: u64) -> Option<Started<T>> {
        if self.in_flight >= self.bounds.in_flight {
            return None;
        }
        let ready =
            self.lanes.iter_mut().filter(|(_, queue)| queue.ready_at().is_some_and(|at| at <= now_ms));
        let (lane, queue) = ready.min_by_key(|(_, queue)| queue.ticket)?;
        let first = queue.requests.front()?;
        // Who waits longest is not passed by smaller ones.
        if self.in_flight > 0 && self.bytes.saturating_add(first.bytes) > self.bounds.bytes {
            return None;
        }
        queue.in_flight = true;
        self.in_flight += 1;
        self.bytes = self.bytes.saturating_add(first.bytes);
        Some(Started { lane: *lane, id: first.id, request: first.request.clone() })
    }

    /// When a request may start that could not at `now_ms` for its backoff alone; those that then were
    /// ready and did not start wait for a report.
    pub(crate) fn next_start_ms(&self, now_ms: u64) -> Option<u64> {
        if self.in_flight >= self.bounds.in_flight {
            return None;
        }
        self.lanes.values().filter_map(Queue::ready_at).filter(|at| *at > now_ms).min()
    }

    /// The job's request under way has ended.
    pub(crate) fn report(&mut self, lane: Lane, succeeded: bool, now_ms: u64) -> Reported {
        let jitter = self.word();
        let ticket = self.next_ticket;
        let Some(queue) = self.lanes.get_mut(&lane).filter(|queue| queue.in_flight) else {
            return Reported::Unknown;
        };
        queue.in_flight = false;
        queue.ticket = ticket;
        let bytes = queue.requests.front().map_or(0, |first| first.bytes);
        let reported = if succeeded {
            queue.requests.pop_front();
            (queue.failures, queue.not_before_ms) = (0, 0);
            Reported::Done
        } else {
            queue.fail(jitter, now_ms)
        };
        self.next_ticket += 1;
        self.release(bytes);
        reported
    }

    /// The job has failed before its first request, which waits as if it had been that.
    pub(crate) fn fail_before(&mut self, lane: Lane, now_ms: u64) -> Reported {
        let jitter = self.word();
        let queue = self.lanes.get_mut(&lane).filter(|queue| !queue.in_flight);
        queue.map_or(Reported::Unknown, |queue| queue.fail(jitter, now_ms))
    }

    /// Lets a job that is stalled, or waits for its backoff, start again as if it had never failed.
    pub(crate) fn resume(&mut self, lane: Lane) {
        if let Some(queue) = self.lanes.get_mut(&lane) {
            (queue.stalled, queue.failures, queue.not_before_ms) = (false, 0, 0);
        }
    }

    /// Whether the job has nothing that waits or is under way.
    #[cfg(test)]
    pub(crate) fn is_idle(&self, lane: Lane) -> bool {
        self.lanes.get(&lane).is_none_or(|queue| queue.requests.is_empty())
    }

    /// Whether no job is there.
    pub(crate) fn is_empty(&self) -> bool {
        self.lanes.is_empty()
    }

    fn release(&mut self, bytes: usize) {
        self.in_flight -= 1;
        self.bytes = self.bytes.saturating_sub(bytes);
    }

    /// SplitMix64.
    fn word(&mut self) -> u64 {
        self.random = self.random.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.random;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }
}

impl<T> Queue<T> {
    /// From when on its first request may start; `None` if time alone does not help.
    fn ready_at(&self) -> Option<u64> {
        let waits = !self.requests.is_empty() && !self.in_flight && !self.stalled;
        waits.then_some(self.not_before_ms)
    }

    fn fail(&mut self, jitter: u64, now_ms: u64) -> Reported {
        self.failures += 1;
        let failures = self.failures;
        if failures >= self.retry.attempts {
            self.stalled = true;
            return Reported::Stalled { failures };
        }
        self.not_before_ms = now_ms.saturating_add(self.retry.backoff(failures, jitter));
        Reported::Again { at_ms: self.not_before_ms, failures }
    }
}

impl Retry {
    /// How long to wait after so many failures in a row: at least half of what has been doubled each
    /// time, the rest by chance, so that jobs that failed together do not come back together.
    fn backoff(&self, failures: u32, jitter: u64) -> u64 {
        let doubled = self.backoff_ms.saturating_mul(1 << failures.saturating_sub(1).min(32));
        let full = doubled.min(self.backoff_max_ms);
        full - jitter % (full / 2 + 1)
    }
}

#[cfg(test)]
mod tests;
