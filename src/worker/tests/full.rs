//! A full medium: halving, neighbours, and working again when there is room.

use futures_util::future::join_all;

use super::{ROWS, World, accept, key, keys, put, soon, told};
use crate::engine::Fault;
use crate::engine::faulty::{Call, Injection, Rule};
use crate::testing::async_test;
use crate::{Batch, ErrorKind, Job, Outcome, Receipt};

const FULL: (ErrorKind, Outcome) = (ErrorKind::StorageFull, Outcome::NotApplied);

/// Accepts the batches while an earlier one is held, so that they are one group; then lets them go.
async fn in_one_group(world: &World, job: &Job, batches: Vec<Batch>, then: impl FnOnce()) -> Vec<Receipt> {
    world.faults.on(Call::Apply, 1, Injection::Hold);
    let first = accept(job, put(200)).await;
    world.held().await;
    let mut receipts = Vec::new();
    for batch in batches {
        receipts.push(accept(job, batch).await);
    }
    world.faults.release();
    // Decided by now or not: the held one does not meet what is set up next.
    soon(first.committed()).await.expect("commits");
    then();
    receipts
}

async fn answers(receipts: &[Receipt]) -> Vec<Result<u64, (ErrorKind, Outcome)>> {
    let answers = soon(join_all(receipts.iter().map(Receipt::committed))).await;
    answers.into_iter().map(|answer| answer.map_err(|error| (error.kind(), error.outcome()))).collect()
}

fn two(n: u8) -> Batch {
    put(n).put(ROWS, key(n + 100), [n])
}

fn delete(n: u8) -> Batch {
    Batch::new().delete(ROWS, key(n))
}

#[async_test]
async fn one_batch_fails_alone_later_puts_untried_and_the_others_are_applied_in_order() {
    let world = World::exclusive();
    let (root, job) = world.open().await;
    for n in [1, 2] {
        accept(&job, put(n)).await;
    }
    soon(job.flush()).await.expect("flushes");
    let applies = world.faults.calls(Call::Apply);
    // Two operations do not fit: 10 and 11 do, 12 does not, 13 would but comes after it.
    world.faults.set_rules(&[Rule::OperationsMax(1)]);
    let batches = vec![put(10), put(11), two(12), delete(1), put(13), Batch::new(), delete(2)];
    let receipts = in_one_group(&world, &job, batches, || ()).await;
    let expected = vec![Ok(4), Ok(5), Err(FULL), Ok(6), Err(FULL), Ok(6), Ok(7)];
    assert_eq!(answers(&receipts).await, expected);
    assert_eq!(keys(&job).await, [10, 11, 200]);
    assert!(world.faults.calls(Call::Apply) - applies > 3, "it was halved");
    world.faults.set_rules(&[]);
    assert_eq!(soon(accept(&job, two(12)).await.committed()).await.expect("there is room"), 8);
    soon(job.flush()).await.expect("the errors have been reported by the receipts");
    soon(root.close()).await.expect("closes");
}

#[async_test]
async fn deletes_get_through_on_a_full_medium_and_make_room() {
    let world = World::exclusive();
    let (_root, job) = world.open().await;
    soon(job.put_acked(ROWS, key(1), "x")).await.expect("commits");
    world.faults.set_rules(&[Rule::NoPuts]);
    assert_eq!(told(soon(job.put_acked(ROWS, key(2), "x")).await), FULL);
    assert!(soon(job.delete_acked(ROWS, key(1))).await.expect("deletes"));
    soon(job.flush()).await.expect("syncs");
    world.faults.set_rules(&[]);
    assert_eq!(soon(job.put_acked(ROWS, key(2), "x")).await.expect("there is room"), 3);
}

#[async_test]
async fn a_full_medium_that_may_have_taken_the_group_is_not_tried_again() {
    let world = World::exclusive();
    let (_root, job) = world.open().await;
    let faults = world.faults.clone();
    // The group after the held one: applied or not, its record cannot be read.
    faults.on(Call::Apply, 2, Injection::lost_answer(Fault::StorageFull));
    faults.on(Call::Get, 1, Injection::fail(Fault::Other));
    let receipts = in_one_group(&world, &job, vec![put(1), put(2)], || ()).await;
    let unknown = Err((ErrorKind::StorageFull, Outcome::Unknown));
    assert_eq!(answers(&receipts).await, [unknown, unknown]);
    assert_eq!(keys(&job).await, [1, 2, 200], "it had been applied");
    assert_eq!(soon(job.put_acked(ROWS, key(3), "x")).await.expect("goes on"), 4, "and just once");
}

#[async_test]
async fn a_sync_that_finds_no_room_answers_its_waiters_and_leaves_the_job_usable() {
    let world = World::exclusive();
    let (_root, job) = world.open().await;
    soon(job.put_acked(ROWS, key(1), "x")).await.expect("commits");
    world.faults.on(Call::Apply, 1, Injection::fail(Fault::StorageFull));
    assert_eq!(told(soon(job.flush()).await), FULL);
    assert_eq!(soon(job.put_acked(ROWS, key(2), "x")).await.expect("goes on"), 2);
    soon(job.flush()).await.expect("syncs");
    assert_eq!(job.durable_seq(), 2);
}
