//! A commit whose outcome is not known: the job's record tells, or nobody does.

use super::{JOB, ROWS, World, accept, key, keys, put, soon, told};
use crate::engine::faulty::{Call, Injection};
use crate::engine::{Fault, Sharing};
use crate::testing::async_test;
use crate::{Batch, ErrorKind, Outcome};

#[async_test]
async fn applied_with_its_answer_lost_is_success() {
    for fault in [Fault::Other, Fault::Lost, Fault::Busy, Fault::Corrupt] {
        let world = World::exclusive();
        let (_root, job) = world.open().await;
        world.faults.on(Call::Apply, 1, Injection::lost_answer(fault));
        assert_eq!(soon(job.put_acked(ROWS, key(1), "x")).await.expect("was applied"), 1, "{fault:?}");
        assert_eq!(soon(job.put_acked(ROWS, key(2), "x")).await.expect("commits"), 2);
        assert_eq!(world.faults.calls(Call::Reconnect), usize::from(fault == Fault::Lost));
    }
}

#[async_test]
async fn a_conflict_found_by_a_lost_turn_is_still_a_conflict() {
    let world = World::exclusive();
    let (_root, job) = world.open().await;
    world.faults.on(Call::Apply, 1, Injection::Hold);
    accept(&job, put(9)).await;
    world.held().await;
    world.faults.on(Call::Apply, 1, Injection::lost_answer(Fault::Lost));
    let conflict = accept(&job, put(1).require_present(ROWS, key(7))).await;
    let other = accept(&job, put(2)).await;
    world.faults.release();
    assert_eq!(soon(conflict.committed()).await.expect_err("fails").conflict_index(), Some(0));
    assert_eq!(soon(other.committed()).await.expect("commits"), 2);
}

#[async_test]
async fn not_applied_is_said_for_certain() {
    let world = World::exclusive();
    let (_root, job) = world.open().await;
    world.faults.on(Call::Apply, 1, Injection::unsure(Fault::Other));
    let answer = told(soon(job.put_acked(ROWS, key(1), "x")).await);
    assert_eq!(answer, (ErrorKind::Backend, Outcome::NotApplied));
    assert_eq!(soon(job.put_acked(ROWS, key(2), "x")).await.expect("commits"), 1, "no seq was used");
}

#[async_test]
async fn not_applied_after_a_lost_connection_is_tried_once_more() {
    let world = World::exclusive();
    let (_root, job) = world.open().await;
    world.faults.on(Call::Apply, 1, Injection::unsure(Fault::Lost));
    assert_eq!(soon(job.put_acked(ROWS, key(1), "x")).await.expect("the second try"), 1);
    assert_eq!(world.faults.calls(Call::Apply), 2);
    world.faults.on(Call::Apply, 1, Injection::unsure(Fault::Lost));
    world.faults.on(Call::Apply, 2, Injection::unsure(Fault::Lost));
    let answer = told(soon(job.put_acked(ROWS, key(2), "x")).await);
    assert_eq!(answer, (ErrorKind::Backend, Outcome::NotApplied));
    assert_eq!(keys(&job).await, [1]);
}

#[async_test]
async fn an_unreadable_record_leaves_it_unknown_and_is_kept_for_the_flush() {
    for injection in [Injection::lost_answer(Fault::Other), Injection::unsure(Fault::Other)] {
        let world = World::exclusive();
        let (_root, job) = world.open().await;
        world.faults.on(Call::Apply, 1, injection);
        world.faults.on(Call::Get, 1, Injection::fail(Fault::Other));
        drop(accept(&job, put(1)).await);
        assert_eq!(told(soon(job.flush()).await), (ErrorKind::Backend, Outcome::Unknown));
        soon(job.flush()).await.expect("it is reported once");
    }
}

#[async_test]
async fn another_writers_group_in_between_leaves_it_unknown() {
    let world = World::new(Sharing::Shared);
    let (_root, job) = world.open().await;
    let (_other_root, other) = world.beside().open().await;
    for injection in [Injection::lost_answer(Fault::Lost), Injection::unsure(Fault::Lost)] {
        world.faults.on(Call::Apply, 1, injection);
        world.faults.on(Call::Reconnect, 1, Injection::Hold);
        let receipt = accept(&job, Batch::new().delete(ROWS, key(1))).await;
        world.held().await;
        soon(other.put_acked(ROWS, key(2), "x")).await.expect("commits");
        world.faults.release();
        assert_eq!(told(soon(receipt.committed()).await), (ErrorKind::Backend, Outcome::Unknown));
    }
    let seq = soon(job.put_acked(ROWS, key(3), "x")).await.expect("commits");
    assert_eq!(seq, 4, "one of the two was applied: no seq is lost and none used twice in {JOB}");
}
