//! Log and watch under faults: nothing is skipped without a word.

use super::{ROWS, World, accept, key, pause, put, soon, told};
use crate::engine::Fault;
use crate::engine::faulty::{Call, Injection, Rule};
use crate::limits::LOG_TRIM_SLACK_BYTES;
use crate::testing::async_test;
use crate::{ErrorKind, JobOptions, LogRetention, Position, WatchItem};

fn logged(bytes: u64) -> JobOptions {
    JobOptions::new().no_deadline().log(LogRetention::LastBytes(bytes))
}

fn seq(item: Option<crate::Result<WatchItem>>) -> u64 {
    match item.expect("goes on").expect("reads") {
        WatchItem::Commit(commit) => commit.seq,
        WatchItem::Lagged { from, to } => panic!("{from} to {to} are missing"),
    }
}

#[async_test]
async fn a_log_that_cannot_be_read_is_an_error_and_not_its_end() {
    let world = World::exclusive();
    let (_root, job) = world.open_with(logged(1 << 20)).await;
    let start = soon(job.position()).await.expect("tells");
    for n in 1..=3 {
        soon(job.persist_acked(put(n))).await.expect("commits");
    }
    world.faults.on(Call::Page, 1, Injection::fail(Fault::Other));
    let mut log = soon(job.log_from(start)).await.expect("starts");
    assert_eq!(told(soon(log.next()).await.expect("is told")).0, ErrorKind::Backend);
    assert!(soon(log.next()).await.is_none());
    let mut log = soon(job.log_from(start)).await.expect("starts");
    for expected in 1..=3 {
        assert_eq!(seq(soon(log.next()).await), expected);
    }
    assert!(soon(log.next()).await.is_none(), "its present end");
}

#[async_test]
async fn a_watch_whose_page_fails_says_so_and_can_go_on_from_its_position() {
    let world = World::exclusive();
    let (_root, job) = world.open_with(logged(1 << 20)).await;
    let start = soon(job.position()).await.expect("tells");
    for n in 1..=3 {
        soon(job.persist_acked(put(n))).await.expect("commits");
    }
    let mut watch = soon(job.watch_from(start, ROWS, ..)).await.expect("starts");
    world.faults.on(Call::Page, 1, Injection::fail(Fault::Other));
    assert_eq!(told(soon(watch.next()).await.expect("is told")).0, ErrorKind::Backend);
    assert!(soon(watch.next()).await.is_none());
    let mut watch = soon(job.watch_from(watch.position(), ROWS, ..)).await.expect("starts");
    world.faults.on(Call::Page, 1, Injection::fail(Fault::Lost));
    for expected in 1..=3 {
        assert_eq!(seq(soon(watch.next()).await), expected);
    }
    soon(job.persist_acked(put(4))).await.expect("commits");
    assert_eq!(seq(soon(watch.next()).await), 4);
}

#[async_test]
async fn a_watch_sees_no_batch_that_was_not_committed() {
    let world = World::exclusive();
    let (_root, job) = world.open().await;
    let mut watch = soon(job.watch(ROWS, ..)).await.expect("watches");
    world.faults.on(Call::Apply, 1, Injection::fail(Fault::Other));
    soon(accept(&job, put(1)).await.committed()).await.expect_err("fails");
    world.faults.on(Call::Apply, 1, Injection::lost_answer(Fault::Other));
    soon(accept(&job, put(2)).await.committed()).await.expect("was applied");
    match soon(watch.next()).await.expect("goes on").expect("reads") {
        WatchItem::Commit(commit) => {
            assert_eq!((commit.seq, commit.operations.as_ref()), (1, put(2).operations()));
        }
        lagged => panic!("{lagged:?}"),
    }
}

#[async_test]
async fn trimming_that_fails_leaves_the_job_alone_and_is_done_later() {
    for fault in [Fault::Other, Fault::Lost, Fault::StorageFull] {
        let world = World::exclusive();
        let (_root, job) = world.open_with(logged(1)).await;
        let start = soon(job.position()).await.expect("tells");
        // Two transactions: the commit, then the trimming.
        let payload = vec![1; LOG_TRIM_SLACK_BYTES as usize];
        world.faults.on(Call::Apply, 4, Injection::fail(fault));
        world.faults.on(Call::Page, 1, Injection::fail(fault));
        let mut info = soon(job.info()).await.expect("tells");
        for n in 1..=50 {
            // The fault may meet a commit instead of a trimming.
            soon(job.put_acked(ROWS, key(n), payload.clone())).await.ok();
            pause().await;
            info = soon(job.info()).await.expect("tells");
            if info.log_first_seq > 1 {
                break;
            }
        }
        assert!(info.log_first_seq > 1, "{fault:?}: {info:?}");
        assert!(world.faults.fired() > 0, "{fault:?}: a trimming has met its fault");
        let trimmed = Position { seq: 0, ..start };
        let mut log = soon(job.log_from(trimmed)).await.expect("starts");
        let item = soon(log.next()).await.expect("goes on").expect("reads");
        assert_eq!(item, WatchItem::Lagged { from: 1, to: info.log_first_seq - 1 });
        assert_eq!(soon(job.check()).await.expect("checks"), Vec::<String>::new());
    }
}

/// Found by attack: while the second half of a group was still under way, any read that ended told the
/// watchers of the first half's seqs, and they looked for commits that nobody had remembered yet.
#[async_test]
async fn a_watch_that_keeps_up_is_told_every_part_of_a_halved_group() {
    let world = World::exclusive();
    let (_root, job) = world.open().await;
    let mut watch = soon(job.watch(ROWS, ..)).await.expect("watches");
    world.faults.set_rules(&[Rule::OperationsMax(1)]);
    // The first put keeps the worker busy until the next two are one group; that is refused, and the
    // third try is its second half.
    world.faults.on(Call::Apply, 1, Injection::Hold);
    world.faults.on(Call::Apply, 4, Injection::Hold);
    accept(&job, put(1)).await;
    world.held().await;
    accept(&job, put(2)).await;
    accept(&job, put(3)).await;
    world.faults.release();
    let mut seqs = Vec::new();
    for expected in 1..=3 {
        if expected == 2 {
            world.held().await;
            soon(job.get(ROWS, key(9))).await.expect("gets");
        }
        if expected == 3 {
            world.faults.release();
        }
        match soon(watch.next()).await {
            Some(Ok(WatchItem::Commit(commit))) => seqs.push(commit.seq),
            other => panic!("{other:?} at {expected}"),
        }
    }
    assert_eq!(seqs, [1, 2, 3]);
}
