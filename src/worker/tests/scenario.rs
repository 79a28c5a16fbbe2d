//! One story that uses every primitive, and the laws that hold however it went.

use std::collections::{BTreeMap, BTreeSet};
use std::future::IntoFuture;
use std::time::Duration;

use futures_util::future::{join_all, select};

use super::{DEADLINE, JOB, START_MS, World, key, soon, writes_in};
use crate::engine::faulty::{Call, Injection};
use crate::{
    Batch, Clock, Durability, Job, JobOptions, LogRetention, Outcome, Persistency, Position, Receipt, Result,
    WatchItem,
};

/// Every batch puts its own number here and never removes it.
const MARKS: &str = "marks";
/// Two categories that every batch changes alike.
const TWINS: [&str; 2] = ["a", "b"];
/// The batch without operations.
const EMPTY: u8 = 5;
/// The batch whose precondition fails.
const CONFLICT: u8 = 6;

/// How far the clock goes at a tick, and the ticks after which what is held goes on: together more
/// than a deadline and the grace after it.
const TICK: Duration = Duration::from_secs(4);
const TICKS_HELD: u64 = 5;

/// How a story is told.
#[derive(Clone, Copy, Debug)]
pub(super) struct Way {
    pub(super) durability: Durability,
    /// Whether the job has a deadline, and time passes while held calls are released.
    pub(super) ticking: bool,
}

/// What became of one batch.
struct Written {
    number: u8,
    accepted: bool,
    /// `None` if nobody asked.
    answer: Option<Result<u64>>,
    /// Whether somebody was told that it is durable.
    durable: bool,
}

/// What was answered.
#[derive(Default)]
pub(super) struct Story {
    written: Vec<Written>,
    ends: Vec<Result<()>>,
    watched: Vec<WatchItem>,
}

pub(super) fn options(way: Way) -> JobOptions {
    let options = JobOptions::new().durability(way.durability).log(LogRetention::LastBytes(1 << 20));
    if way.ticking { options.deadline(DEADLINE) } else { options.no_deadline() }
}

/// Tells the story on a new medium whose script is set.
pub(super) async fn tell(world: &World, way: Way) -> Story {
    let story = std::pin::pin!(soon(tell_through(world, way)));
    if !way.ticking {
        return story.await;
    }
    let ticking = std::pin::pin!(async {
        let clock = Clock::system();
        for tick in 1.. {
            world.advance(TICK);
            clock.sleep_until(clock.monotonic_ms() + 1).await;
            if tick % TICKS_HELD == 0 {
                // Also what no deadline ends, such as closing.
                world.faults.release();
                world.faults.abort();
            }
        }
    });
    match select(story, ticking).await {
        futures_util::future::Either::Left((story, _)) => story,
        futures_util::future::Either::Right(_) => unreachable!("time does not end"),
    }
}

async fn tell_through(world: &World, way: Way) -> Story {
    let mut story = Story::default();
    let root = world.root();
    let Ok(job) = root.open_job_with(JOB, options(way)).await else {
        story.ends.push(root.close().await);
        return story;
    };
    let mut watch = job.watch(MARKS, ..).await.ok();
    story.write_a_group(world, &job).await;
    story.flush(&job).await;
    story.read(&root, &job).await;
    let receipts = [story.write(&job, 7).await, story.write(&job, 8).await];
    for (receipt, number) in receipts.into_iter().flatten() {
        story.ask(number, &receipt).await;
    }
    story.write(&job, 9).await;
    story.flush(&job).await;
    story.write(&job, 10).await;
    story.ends.push(root.close_job(JOB).await);
    while let Some(Some(Ok(item))) = match &mut watch {
        Some(watch) => Some(watch.next().await),
        None => None,
    } {
        story.watched.push(item);
    }
    root.list_jobs().await.ok();
    story.ends.push(root.close().await);
    story
}

impl Story {
    /// The first batch is held while the others pile up behind it; nobody asks for 2 and 4.
    async fn write_a_group(&mut self, world: &World, job: &Job) {
        world.faults.on(Call::Apply, 1, Injection::Hold);
        let mut receipts = Vec::new();
        for number in 0..=CONFLICT {
            let receipt = self.write(job, number).await;
            receipts.extend(receipt.filter(|(_, number)| ![2, 4].contains(number)));
            if let (0, Some((first, _))) = (number, receipts.first()) {
                let held = std::pin::pin!(world.faults.until_waiting(1));
                select(held, std::pin::pin!(first.committed())).await;
            }
        }
        let asked = join_all(receipts.iter().map(|(receipt, _)| receipt.committed()));
        let reads = async {
            // Every receipt is awaited by now: what befalls its batch is for nobody else to report.
            world.faults.release();
            job.get(MARKS, key(0)).await.ok();
            job.count(TWINS[0], ..).await.ok();
        };
        let (answers, ()) = futures_util::join!(asked, reads);
        for ((_, number), answer) in receipts.iter().zip(answers) {
            self.of(*number).answer = Some(answer);
        }
    }

    async fn write(&mut self, job: &Job, number: u8) -> Option<(Receipt, u8)> {
        let accepted = job.persist(batch(number)).await;
        let answer = accepted.as_ref().err().map(|error| Err(error.clone()));
        self.written.push(Written { number, accepted: accepted.is_ok(), answer, durable: false });
        Some((accepted.ok()?, number))
    }

    async fn ask(&mut self, number: u8, receipt: &Receipt) {
        let answer = receipt.committed().await;
        let is_durable = receipt.durable().await.is_ok();
        let written = self.of(number);
        written.answer.get_or_insert(answer);
        written.durable |= is_durable;
    }

    /// What a flush has answered for is durable, as far as it was committed.
    async fn flush(&mut self, job: &Job) {
        let flushed = job.flush().await;
        let done = flushed.is_ok();
        self.written.iter_mut().for_each(|written| written.durable |= done);
        self.ends.push(flushed);
    }

    async fn read(&mut self, root: &Persistency, job: &Job) {
        let committed = self.written.iter().find(|written| matches!(written.answer, Some(Ok(_))));
        let seen = committed.map(|written| written.number);
        if let Some(number) = seen
            && let Ok(found) = job.get(MARKS, key(number)).await
        {
            assert_eq!(found, Some(vec![number]), "a committed batch is read");
        }
        let counted = job.count(MARKS, ..).await.ok();
        let scanned = job.scan(MARKS, ..).into_future().await.ok().map(|rows| rows.len() as u64);
        assert!(counted.is_none() || scanned.is_none() || counted == scanned, "reads agree");
        job.exists_many(MARKS, [key(0), key(99)]).await.ok();
        let mut pages = job.scan(TWINS[1], ..).reverse().stream();
        while let Some(Ok(_)) = pages.next().await {}
        job.categories().await.ok();
        if let Ok(info) = job.info().await {
            let start = Position { generation: info.generation, seq: 0 };
            if let Ok(mut log) = job.log_from(start).await {
                let mut next = 1;
                while let Some(Ok(item)) = log.next().await {
                    assert!(matches!(&item, WatchItem::Commit(commit) if commit.seq == next), "{item:?}");
                    next += 1;
                }
            }
        }
        job.check().await.ok();
        job.compact().await.ok();
        assert!(root.root().ends_with("faulty"));
    }

    fn of(&mut self, number: u8) -> &mut Written {
        self.written.iter_mut().find(|written| written.number == number).expect("it was written")
    }
}

fn batch(number: u8) -> Batch {
    let marked = Batch::new().put(MARKS, key(number), [number]);
    match number {
        EMPTY => Batch::new(),
        CONFLICT => marked.require_present(MARKS, key(99)),
        3 => TWINS.iter().fold(marked, |batch, twin| batch.delete_range(twin, ..)),
        _ => TWINS.iter().fold(marked, |batch, twin| batch.put(twin, key(number % 3), [number])),
    }
}

/// Holds the laws against what the medium holds now; `lossy` if power was lost.
pub(super) async fn check(world: &World, story: &Story, lossy: bool, what: &str) {
    let world = world.beside();
    let (root, job) = world.open_with(JobOptions::new().no_deadline()).await;
    let stored: BTreeSet<u8> = marks(&job).await;
    check_contents(&job, &stored, what).await;
    check_answers(story, &stored, lossy, what);
    if !lossy {
        check_reports(story, &stored, what);
    }
    check_watched(story, &stored, what);
    let committed = stored.len() as u64;
    assert_eq!(job.committed_seq(), committed, "{what}: seqs are continuous");
    let receipt = job.persist(batch(50)).await.expect("is accepted");
    assert_eq!(receipt.committed().await.expect("commits"), committed + 1, "{what}: seq goes on");
    job.flush().await.expect("flushes");
    assert_eq!(job.check().await.expect("checks"), Vec::<String>::new(), "{what}: the job is whole");
    assert!(job.info().await.expect("tells").created_ms >= START_MS);
    root.close().await.expect("closes");
}

async fn marks(job: &Job) -> BTreeSet<u8> {
    let rows = job.scan(MARKS, ..).into_future().await.expect("scans");
    rows.iter().map(|row| row.key.as_bytes()[0]).collect()
}

/// The rows are those of the stored batches, applied in the order of acceptance, each whole.
async fn check_contents(job: &Job, stored: &BTreeSet<u8>, what: &str) {
    let mut expected = BTreeMap::new();
    for number in stored {
        match number {
            3 => expected.clear(),
            _ => drop(expected.insert(vec![number % 3], vec![*number])),
        }
    }
    for twin in TWINS {
        let rows = job.scan(twin, ..).into_future().await.expect("scans");
        let rows: BTreeMap<_, _> = rows.into_iter().map(|row| (row.key.into_bytes(), row.payload)).collect();
        assert_eq!(rows, expected, "{what}: category {twin} after {stored:?}");
    }
}

/// Every answer is true.
fn check_answers(story: &Story, stored: &BTreeSet<u8>, lossy: bool, what: &str) {
    let mut last_seq = 0;
    let mut first_lost = None;
    for Written { number, accepted, answer, durable } in &story.written {
        let is_stored = stored.contains(number);
        let what = format!("{what}: batch {number}, answered {answer:?}, stored {stored:?}");
        assert!(*accepted || !is_stored, "{what}");
        match answer {
            Some(Ok(seq)) if *number == EMPTY => assert!(*seq >= last_seq, "{what}"),
            Some(Ok(seq)) => {
                assert!(*seq > last_seq, "{what}");
                last_seq = *seq;
                assert!(is_stored || (lossy && !durable), "{what}");
                let rank = stored.range(..=number).count() as u64;
                assert!(lossy || *seq == rank, "{what}");
                if !is_stored {
                    first_lost.get_or_insert(*number);
                }
            }
            Some(Err(error)) => match error.outcome() {
                Outcome::NotApplied => assert!(!is_stored, "{what}"),
                Outcome::Applied => assert!(is_stored || lossy, "{what}"),
                Outcome::Unknown => {}
            },
            None => {}
        }
        if *number == CONFLICT {
            assert!(!is_stored, "{what}");
        }
    }
    if let Some(lost) = first_lost {
        assert!(stored.range(lost..).next().is_none(), "{what}: {lost} was lost, {stored:?} are there");
    }
}

/// Errors that nobody asked for have been reported, each once, unless the worker itself died.
fn check_reports(story: &Story, stored: &BTreeSet<u8>, what: &str) {
    let unasked = || story.written.iter().filter(|written| written.accepted && written.answer.is_none());
    let failed = unasked().filter(|written| !stored.contains(&written.number)).count();
    let errors = || story.ends.iter().filter_map(|end| end.as_ref().err());
    let reported: usize = errors().map(writes_in).sum();
    let died = errors().any(|error| error.message().contains("worker stopped"));
    assert!(died || failed <= reported, "{what}: {failed} failed, reported: {:?}", story.ends);
    assert!(reported <= unasked().count(), "{what}: reported: {:?}", story.ends);
    let covered = story.ends.iter().all(Result::is_ok);
    assert!(!covered || failed == 0, "{what}: {:?}", story.ends);
}

/// A watch tells of commits in order, and of every gap.
fn check_watched(story: &Story, stored: &BTreeSet<u8>, what: &str) {
    let mut next = None;
    for item in &story.watched {
        let (from, to) = match item {
            WatchItem::Commit(commit) => (commit.seq, commit.seq),
            WatchItem::Lagged { from, to } => (*from, *to),
        };
        assert!(next.is_none_or(|next| next == from), "{what}: {:?}, stored {stored:?}", story.watched);
        next = Some(to + 1);
    }
}
