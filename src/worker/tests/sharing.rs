//! Several owners of one job: each sees what the others did, and a dropped job is not read as empty.

use super::{JOB, ROWS, World, accept, key, put, soon, told};
use crate::engine::Fault;
use crate::engine::Sharing;
use crate::engine::faulty::{Call, Injection};
use crate::limits::SHARED_POLL_MS;
use crate::testing::async_test;
use crate::{ErrorKind, JobOptions, LogRetention, OpenMode, Outcome, WatchItem};

const GONE: (ErrorKind, Outcome) = (ErrorKind::JobNotFound, Outcome::NotApplied);

#[async_test]
async fn seqs_and_preconditions_hold_across_owners() {
    let world = World::new(Sharing::Shared);
    let (_root, job) = world.open().await;
    let (_other_root, other) = world.beside().open().await;
    for n in 0..5 {
        assert_eq!(soon(job.put_acked(ROWS, key(n), "x")).await.expect("commits"), u64::from(n) * 2 + 1);
        assert_eq!(soon(other.persist_acked(put(n + 100))).await.expect("commits"), u64::from(n) * 2 + 2);
    }
    let taken = put(0).require_absent(ROWS, key(100));
    assert_eq!(told(soon(job.persist_acked(taken)).await).0, ErrorKind::Conflict);
    assert!(soon(job.info()).await.expect("tells").shared);
    assert_eq!(super::keys(&job).await, super::keys(&other).await);
}

#[async_test]
async fn an_emptied_job_is_job_not_found_whichever_read_meets_it() {
    for read in 0..5 {
        let world = World::new(Sharing::Shared);
        let (_root, job) = world.open().await;
        soon(job.put_acked(ROWS, key(1), "x")).await.expect("commits");
        let beside = world.beside();
        let (other_root, _other) = beside.open().await;
        // Marked and emptied; the store itself stays until the next open.
        beside.faults.on(Call::Destroy, 1, Injection::fail(Fault::Other));
        soon(other_root.drop_job(JOB)).await.expect_err("is not deleted yet");
        let answer = match read {
            0 => told(soon(job.get(ROWS, key(1))).await),
            1 => told(soon(async { job.scan(ROWS, ..).await }).await),
            2 => told(soon(job.count(ROWS, ..)).await),
            3 => told(soon(job.categories()).await),
            _ => told(soon(accept(&job, put(2)).await.committed()).await),
        };
        assert_eq!(answer, GONE, "read {read}");
        assert_eq!(told(soon(job.flush()).await), GONE);
        assert_eq!(told(soon(job.persist(put(3))).await), GONE);
    }
}

#[async_test]
async fn a_reader_beside_the_owner_sees_its_commits_and_its_drop() {
    let world = World::exclusive();
    let (root, job) = world.open().await;
    soon(job.put_acked(ROWS, key(1), "x")).await.expect("commits");
    let reader_world = world.beside();
    let read_only = JobOptions::new().no_deadline().mode(OpenMode::ReadOnly);
    let (_reader_root, reader) = reader_world.open_with(read_only).await;
    assert_eq!(told(soon(reader.persist(put(2))).await).0, ErrorKind::Unsupported);
    soon(job.put_acked(ROWS, key(2), "x")).await.expect("commits");
    assert_eq!(super::keys(&reader).await, [1, 2]);
    soon(reader.flush()).await.expect("has nothing to make durable");
    world.faults.on(Call::Destroy, 1, Injection::fail(Fault::Other));
    soon(root.drop_job(JOB)).await.expect_err("is not deleted yet");
    assert_eq!(told(soon(reader.get(ROWS, key(1))).await), GONE);
}

#[async_test]
async fn a_watch_finds_the_commits_of_others_by_looking_every_second() {
    for logged in [true, false] {
        let world = World::new(Sharing::Shared);
        let options = JobOptions::new().no_deadline();
        let options = if logged { options.log(LogRetention::LastBytes(1 << 20)) } else { options };
        let (_root, job) = world.open_with(options).await;
        let (_other_root, other) = world.beside().open().await;
        let mut watch = soon(job.watch(ROWS, ..)).await.expect("watches");
        soon(other.put_acked(ROWS, key(1), "x")).await.expect("commits");
        let (item, ()) = soon(async {
            futures_util::join!(watch.next(), async {
                super::pause().await;
                world.advance(std::time::Duration::from_millis(SHARED_POLL_MS));
            })
        })
        .await;
        match item.expect("goes on").expect("looks") {
            WatchItem::Commit(commit) => assert!(logged && commit.seq == 1),
            WatchItem::Lagged { from, to } => assert!(!logged && (from, to) == (1, 1)),
        }
    }
}
