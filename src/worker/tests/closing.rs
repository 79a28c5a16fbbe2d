//! Closing and dropping: drains, reports, releases, and never half.

use super::{JOB, ROWS, World, accept, key, keys, put, soon, told};
use crate::engine::Fault;
use crate::engine::faulty::{Call, Injection, Rule, Survivors};
use crate::testing::async_test;
use crate::{ErrorKind, JobOptions, OpenMode, Outcome};

const GONE: (ErrorKind, Outcome) = (ErrorKind::JobNotFound, Outcome::NotApplied);

#[async_test]
async fn closing_drains_and_makes_durable_under_an_apply_that_takes_its_time() {
    let world = World::exclusive();
    let (root, job) = world.open().await;
    world.faults.on(Call::Apply, 1, Injection::Hold);
    for n in 1..=5 {
        drop(accept(&job, put(n)).await);
    }
    world.held().await;
    let (closed, refused) = soon(async {
        futures_util::join!(root.close_job(JOB), async {
            let refused = job.persist(put(9)).await;
            world.faults.release();
            refused
        })
    })
    .await;
    closed.expect("closes");
    assert_eq!(told(refused), (ErrorKind::Closed, Outcome::NotApplied));
    world.site.lose_power(Survivors::Durable);
    assert_eq!(keys(&world.beside().open().await.1).await, [1, 2, 3, 4, 5]);
}

#[async_test]
async fn dropping_the_last_handle_drains_and_a_later_open_waits_for_it() {
    let world = World::exclusive();
    let (root, job) = world.open().await;
    world.faults.on(Call::Apply, 1, Injection::Hold);
    drop(accept(&job, put(1)).await);
    world.held().await;
    accept(&job, put(2)).await;
    drop((root, job));
    world.faults.release();
    loop {
        // In memory nobody owns the place: the other root's drain is waited for by trying again.
        match soon(world.root().open_job(JOB)).await {
            Ok(job) => {
                assert_eq!(keys(&job).await, [1, 2]);
                assert_eq!((job.committed_seq(), job.durable_seq()), (2, 2));
                return;
            }
            Err(error) => assert_eq!(error.kind(), ErrorKind::Busy, "{error}"),
        }
        super::pause().await;
    }
}

#[async_test]
async fn a_close_that_fails_has_released_the_job() {
    for fault in [Fault::Other, Fault::Lost, Fault::StorageFull] {
        let world = World::exclusive();
        let (root, job) = world.open().await;
        drop(accept(&job, put(1)).await);
        world.faults.on(Call::Close, 1, Injection::fail(fault));
        soon(root.close_job(JOB)).await.expect_err("cannot be released properly");
        assert_eq!(told(soon(job.flush()).await).0, ErrorKind::Closed);
        let job = soon(root.open_job(JOB)).await.expect("opens");
        assert_eq!(keys(&job).await, [1]);
    }
}

#[async_test]
async fn dropping_settles_what_was_accepted_and_deletes() {
    let world = World::exclusive();
    let (root, job) = world.open().await;
    world.faults.on(Call::Apply, 1, Injection::Hold);
    let receipts = [accept(&job, put(1)).await, accept(&job, put(2)).await];
    world.held().await;
    let (dropped, refused) = soon(async {
        futures_util::join!(root.drop_job(JOB), async {
            let refused = job.persist(put(9)).await;
            world.faults.release();
            refused
        })
    })
    .await;
    dropped.expect("drops");
    assert_eq!(told(refused), GONE);
    for (receipt, seq) in receipts.iter().zip(1..) {
        assert_eq!(soon(receipt.committed()).await.expect("was settled"), seq);
    }
    assert_eq!(told(soon(job.get(ROWS, key(1))).await), GONE);
    assert_eq!(soon(root.list_jobs()).await.expect("lists"), Vec::<String>::new());
    soon(root.drop_job(JOB)).await.expect("an absent job is fine");
}

#[async_test]
async fn a_mark_that_fails_does_not_stop_the_deletion() {
    for fault in [Fault::StorageFull, Fault::Other, Fault::Lost, Fault::Missing] {
        let world = World::exclusive();
        let (root, job) = world.open().await;
        soon(job.put_acked(ROWS, key(1), "x")).await.expect("commits");
        world.faults.on(Call::Apply, 1, Injection::fail(fault));
        world.faults.on(Call::Apply, 2, Injection::fail(fault));
        soon(root.drop_job(JOB)).await.expect("drops");
        assert_eq!(told(soon(job.get(ROWS, key(1))).await), GONE);
        let job = soon(root.open_job(JOB)).await.expect("creates");
        assert_eq!((keys(&job).await, job.committed_seq()), (vec![], 0), "{fault:?}");
    }
}

#[async_test]
async fn a_deletion_that_fails_is_finished_by_the_next_open() {
    let world = World::exclusive();
    let (root, job) = world.open().await;
    soon(job.put_acked(ROWS, key(1), "x")).await.expect("commits");
    let before = soon(job.info()).await.expect("tells").generation;
    world.faults.on(Call::Destroy, 1, Injection::fail(Fault::Other));
    assert_eq!(told(soon(root.drop_job(JOB)).await).0, ErrorKind::Backend);
    assert_eq!(told(soon(job.get(ROWS, key(1))).await), GONE);
    assert_eq!(soon(root.list_jobs()).await.expect("may still name it"), [JOB]);
    let read_only = JobOptions::new().no_deadline().mode(OpenMode::ReadOnly);
    assert_eq!(told(soon(root.open_job_with(JOB, read_only)).await), GONE);
    let must_exist = JobOptions::new().no_deadline().mode(OpenMode::MustExist);
    assert_eq!(told(soon(root.open_job_with(JOB, must_exist)).await), GONE);
    let job = soon(root.open_job(JOB)).await.expect("creates");
    assert_eq!((keys(&job).await, job.committed_seq()), (vec![], 0));
    assert_ne!(soon(job.info()).await.expect("tells").generation, before);
}

#[async_test]
async fn a_dropped_job_that_is_not_open_is_marked_and_deleted() {
    let world = World::exclusive();
    let (root, job) = world.open().await;
    soon(job.put_acked(ROWS, key(1), "x")).await.expect("commits");
    soon(root.close_job(JOB)).await.expect("closes");
    world.faults.set_rules(&[Rule::NoPuts]);
    soon(root.drop_job(JOB)).await.expect("drops");
    assert_eq!(soon(root.list_jobs()).await.expect("lists"), Vec::<String>::new());
}

#[cfg(panic = "unwind")]
#[async_test]
async fn a_panic_stays_in_its_job() {
    let world = World::exclusive();
    let (root, job) = world.open().await;
    let other = soon(root.open_job("other")).await.expect("opens");
    world.faults.on(Call::Apply, 1, Injection::Hold);
    let receipt = accept(&job, put(1)).await;
    world.held().await;
    let queued = accept(&job, put(2)).await;
    world.faults.on(Call::Get, 1, Injection::Panic);
    assert_eq!(told(soon(job.get(ROWS, key(7))).await).0, ErrorKind::Backend);
    for receipt in [receipt, queued] {
        assert_eq!(told(soon(receipt.committed()).await), (ErrorKind::Backend, Outcome::Unknown));
    }
    assert_eq!(told(soon(job.persist(put(3))).await), (ErrorKind::Backend, Outcome::NotApplied));
    assert_eq!(soon(other.put_acked(ROWS, key(1), "x")).await.expect("goes on"), 1);
    let job = soon(root.open_job_with(JOB, JobOptions::new().no_deadline())).await.expect("opens anew");
    assert_eq!(soon(job.put_acked(ROWS, key(3), "x")).await.expect("commits"), 1);
}
