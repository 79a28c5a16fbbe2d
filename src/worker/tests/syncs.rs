//! Durability: failed syncs, poisoned jobs, and errors that nobody has asked for.

use futures_util::future::select;

use super::{JOB, ROWS, World, accept, key, keys, pause, put, soon, told, writes_in};
use crate::engine::Fault;
use crate::engine::faulty::{Call, Injection, Rule, Survivors};
use crate::testing::async_test;
use crate::{Batch, Durability, ErrorKind, JobOptions, LogRetention, Outcome};

/// A batch that fails whatever the medium does.
fn conflict() -> Batch {
    put(99).require_present(ROWS, key(98))
}

#[async_test]
async fn a_failed_fsync_poisons_the_job_until_it_is_opened_anew() {
    let world = World::exclusive();
    let (root, job) = world.open().await;
    soon(job.put_acked(ROWS, key(1), "x")).await.expect("commits");
    world.faults.set_rules(&[Rule::NoSync]);
    assert_eq!(told(soon(job.flush()).await).0, ErrorKind::Backend);
    world.faults.set_rules(&[]);
    for _ in 0..2 {
        let refused = (ErrorKind::Backend, Outcome::NotApplied);
        let receipt = accept(&job, put(2)).await;
        assert_eq!(told(soon(job.flush()).await).0, ErrorKind::Backend);
        assert_eq!(told(soon(receipt.committed()).await), refused);
        assert_eq!(keys(&job).await, [1], "reads go on");
        soon(job.info()).await.expect("tells");
        assert_eq!(job.durable_seq(), 0, "the marker of the failed sync is not believed");
    }
    assert_eq!(told(soon(root.close_job(JOB)).await).0, ErrorKind::Backend);
    let (_root, job) = world.open().await;
    assert_eq!(soon(job.put_acked(ROWS, key(2), "x")).await.expect("commits"), 2);
    soon(job.flush()).await.expect("syncs");
}

#[async_test]
async fn a_strict_group_whose_sync_failed_is_unknown_and_its_followers_are_refused() {
    let world = World::exclusive();
    let options = JobOptions::new().no_deadline().durability(Durability::Strict);
    let (_root, job) = world.open_with(options).await;
    soon(job.put_acked(ROWS, key(1), "x")).await.expect("commits");
    assert_eq!(job.durable_seq(), 1);
    world.faults.set_rules(&[Rule::NoSync]);
    world.faults.on(Call::Apply, 1, Injection::Hold);
    let under_way = accept(&job, put(2)).await;
    world.held().await;
    let queued = accept(&job, put(3)).await;
    world.faults.release();
    assert_eq!(told(soon(under_way.committed()).await), (ErrorKind::Backend, Outcome::Unknown));
    assert_eq!(told(soon(queued.committed()).await), (ErrorKind::Backend, Outcome::NotApplied));
    assert_eq!(told(soon(job.flush()).await).0, ErrorKind::Backend, "also with nothing to do");
    assert_eq!(keys(&job).await.first(), Some(&1));
}

#[async_test]
async fn a_sync_that_fails_otherwise_answers_its_waiters_only() {
    for fault in [Fault::Other, Fault::Busy, Fault::Corrupt] {
        let world = World::exclusive();
        let (root, job) = world.open().await;
        let receipt = accept(&job, put(1)).await;
        soon(receipt.committed()).await.expect("commits");
        world.faults.on(Call::Apply, 1, Injection::fail(fault));
        let (_, outcome) = told(soon(receipt.durable()).await);
        assert_eq!(outcome, Outcome::Applied, "the batch is committed whatever its sync came to");
        assert_eq!(soon(receipt.durable()).await.expect("a later sync succeeds"), 1);
        assert_eq!(soon(job.put_acked(ROWS, key(2), "x")).await.expect("commits"), 2);
        world.faults.on(Call::Apply, 1, Injection::fail(fault));
        soon(root.close_job(JOB)).await.expect_err("the last sync fails");
        assert!(!root.has_job(JOB));
    }
}

#[async_test]
async fn what_a_relaxed_job_left_behind_is_not_durable_by_opening_it_strictly() {
    let world = World::exclusive();
    let (root, job) = world.open().await;
    soon(job.put_acked(ROWS, key(1), "x")).await.expect("commits");
    world.faults.on(Call::Apply, 1, Injection::fail(Fault::Other));
    soon(root.close()).await.expect_err("the last sync fails");
    let options = JobOptions::new().no_deadline().durability(Durability::Strict);
    let (_root, job) = world.open_with(options).await;
    assert_eq!((job.committed_seq(), job.durable_seq()), (1, 0));
    soon(job.flush()).await.expect("syncs");
    assert_eq!(job.durable_seq(), 1);
    world.site.lose_power(Survivors::Durable);
    assert_eq!(keys(&world.beside().open().await.1).await, [1]);
}

#[async_test]
async fn durable_survives_power_loss_and_relaxed_commits_may_not() {
    let world = World::exclusive();
    let (root, job) = world.open().await;
    let first = accept(&job, put(1)).await;
    assert_eq!(soon(first.durable()).await.expect("syncs"), 1);
    soon(job.put_acked(ROWS, key(2), "x")).await.expect("commits");
    world.site.lose_power(Survivors::Durable);
    assert_eq!(told(soon(job.get(ROWS, key(1))).await).0, ErrorKind::Backend);
    soon(root.close()).await.expect_err("it cannot be released properly");
    let (_root, job) = world.beside().open().await;
    assert_eq!(keys(&job).await, [1]);
    assert_eq!(soon(job.put_acked(ROWS, key(3), "x")).await.expect("commits"), 2, "assigned again");
}

#[async_test]
async fn an_error_nobody_asked_for_is_reported_once_with_the_number_of_others() {
    let world = World::exclusive();
    let (root, job) = world.open().await;
    for _ in 0..3 {
        drop(accept(&job, conflict()).await);
    }
    let asked = accept(&job, conflict()).await;
    soon(asked.committed()).await.expect_err("conflicts");
    let error = soon(job.flush()).await.expect_err("three are kept");
    assert_eq!((error.kind(), writes_in(&error)), (ErrorKind::Conflict, 3), "{error}");
    soon(job.flush()).await.expect("they have been reported");
    drop(accept(&job, conflict()).await);
    let error = soon(root.close()).await.expect_err("one is kept");
    assert_eq!((error.kind(), writes_in(&error)), (ErrorKind::Conflict, 1), "{error}");
}

#[async_test]
async fn every_flush_that_waits_and_covers_an_error_is_given_it_and_no_other() {
    let world = World::exclusive();
    let (_root, job) = world.open().await;
    world.faults.on(Call::Apply, 1, Injection::Hold);
    accept(&job, put(1)).await;
    world.held().await;
    let before = job.flush();
    let (before, first, second, ()) = soon(async {
        futures_util::join!(
            before,
            async {
                drop(accept(&job, conflict()).await);
                job.flush().await
            },
            job.flush(),
            async { world.faults.release() }
        )
    })
    .await;
    before.expect("what it covers has succeeded");
    for flushed in [first, second] {
        assert_eq!(writes_in(&flushed.expect_err("covers the conflict")), 1);
    }
    soon(job.flush()).await.expect("cleared");
}

#[async_test]
async fn an_error_that_is_awaited_is_left_to_its_receipt() {
    let world = World::exclusive();
    let (_root, job) = world.open().await;
    world.faults.on(Call::Apply, 1, Injection::Hold);
    let receipt = accept(&job, conflict()).await;
    world.held().await;
    let (answer, flushed, ()) = soon(async {
        futures_util::join!(receipt.committed(), job.flush(), async { world.faults.release() })
    })
    .await;
    answer.expect_err("conflicts");
    flushed.expect("the receipt has it");
}

#[async_test]
async fn an_error_whose_flush_was_given_up_is_kept_for_the_next_once() {
    let world = World::exclusive();
    let (_root, job) = world.open().await;
    world.faults.on(Call::Apply, 1, Injection::Hold);
    accept(&job, put(1)).await;
    world.held().await;
    drop(accept(&job, conflict()).await);
    drop(select(Box::pin(job.flush()), Box::pin(pause())).await);
    world.faults.release();
    // The flush that was given up may still be under way when the next one begins.
    let flushed = [soon(job.flush()).await, soon(job.flush()).await];
    let reported = flushed.iter().filter_map(|flushed| flushed.as_ref().err()).map(writes_in);
    assert_eq!(reported.sum::<usize>(), 1, "{flushed:?}");
}

/// Found by attack: such a change takes no seq, so a flush, and a close, found nothing to sync; a holder
/// that had been acknowledged, flushed and closed was lost with power, and its log with it.
#[async_test]
async fn what_the_log_is_to_keep_is_durable_after_a_flush_and_after_a_close() {
    for durability in [Durability::Relaxed, Durability::Strict] {
        for closes in [false, true] {
            let world = World::exclusive();
            let options = JobOptions::new().no_deadline().durability(durability);
            let (root, job) = world.open_with(options.clone()).await;
            soon(job.put_acked(ROWS, key(1), "x")).await.expect("commits");
            soon(job.flush()).await.expect("syncs");
            soon(job.hold_log("holder")).await.expect("holds");
            match closes {
                true => soon(root.close()).await.expect("closes"),
                false => soon(job.flush()).await.expect("syncs"),
            }
            let synced = job.stats().syncs;
            if !closes {
                soon(job.flush()).await.expect("has nothing left to sync");
                assert_eq!(job.stats().syncs, synced);
            }
            world.site.lose_power(Survivors::Durable);
            let (root, job) = world.beside().open_with(options.log(LogRetention::LastBytes(7))).await;
            assert_eq!(soon(job.info()).await.expect("tells").log_holders, [("holder".to_owned(), 1)]);
            match closes {
                true => soon(root.close()).await.expect("closes"),
                false => soon(job.flush()).await.expect("syncs"),
            }
            world.site.lose_power(Survivors::Durable);
            let (_root, job) = world.beside().open().await;
            assert_eq!(soon(job.info()).await.expect("tells").log, LogRetention::LastBytes(7));
        }
    }
}
