//! Deadlines by a clock that the test moves: what has not started is withdrawn, what runs is aborted.

use std::future::IntoFuture;
use std::time::Duration;

use futures_util::future::join_all;

use super::{DEADLINE, JOB, ROWS, World, accept, key, keys, pause, put, soon, told};
use crate::engine::Fault;
use crate::engine::faulty::{Call, Injection};
use crate::limits::{ABORT_GRACE_MS, ANSWERS_IN_A_ROW_MAX};
use crate::testing::async_test;
use crate::{ErrorKind, JobOptions, LogRetention, Outcome};

const LATE: (ErrorKind, Outcome) = (ErrorKind::Timeout, Outcome::NotApplied);
const LATE_UNKNOWN: (ErrorKind, Outcome) = (ErrorKind::Timeout, Outcome::Unknown);
const GRACE: Duration = Duration::from_millis(ABORT_GRACE_MS);
const MOMENT: Duration = Duration::from_secs(1);

fn options() -> JobOptions {
    JobOptions::new().deadline(DEADLINE)
}

#[async_test]
async fn what_has_not_started_is_withdrawn() {
    let world = World::exclusive();
    let (_root, job) = world.open_with(options().queue_operations(3)).await;
    world.faults.on(Call::Apply, 1, Injection::Hold);
    let running = accept(&job, put(1)).await;
    world.held().await;
    let queued = accept(&job, put(2)).await;
    accept(&job, put(3)).await;
    let (waiting, read, flushed, ()) = soon(async {
        futures_util::join!(job.persist(put(4)), job.get(ROWS, key(2)), job.flush(), async {
            pause().await;
            world.advance(DEADLINE);
        })
    })
    .await;
    // What was withdrawn may have made room at the last moment, for one that is late itself.
    let waited = match waiting {
        Ok(receipt) => soon(receipt.committed()).await,
        Err(error) => Err(error),
    };
    assert_eq!(told(waited), LATE, "waited for room");
    assert_eq!(told(read), LATE);
    assert_eq!(told(soon(queued.committed()).await), LATE);
    assert_eq!(told(flushed), LATE);
    soon(world.faults.until_aborts(1)).await;
    world.faults.release();
    assert_eq!(soon(running.committed()).await.expect("completes within the grace"), 1);
    assert_eq!(keys(&job).await, [1]);
    assert_eq!(job.stats().queued_operations, 0, "the room is given back");
}

#[async_test]
async fn a_running_apply_is_aborted_and_the_others_of_its_group_are_tried_again_in_order() {
    let world = World::exclusive();
    let (_root, job) = world.open_with(options()).await;
    world.faults.on(Call::Apply, 1, Injection::Hold);
    let first = accept(&job, put(1)).await;
    world.held().await;
    let late = accept(&job, put(2)).await;
    world.advance(MOMENT);
    let others = [accept(&job, put(3)).await, accept(&job, put(4)).await];
    world.faults.on(Call::Apply, 1, Injection::Hang { completes: false });
    world.faults.release();
    soon(first.committed()).await.expect("commits");
    world.held().await;
    world.advance(DEADLINE - MOMENT);
    assert_eq!(told(soon(late.committed()).await), LATE);
    assert_eq!(soon(others[0].committed()).await.expect("is tried again"), 2);
    assert_eq!(soon(others[1].committed()).await.expect("is tried again"), 3);
    assert_eq!(keys(&job).await, [1, 3, 4]);
}

#[async_test]
async fn an_aborted_apply_that_completes_is_a_success() {
    let world = World::exclusive();
    let (_root, job) = world.open_with(options()).await;
    world.faults.on(Call::Apply, 1, Injection::Hang { completes: true });
    let receipt = accept(&job, put(1)).await;
    world.held().await;
    world.advance(DEADLINE);
    assert_eq!(soon(receipt.committed()).await.expect("completed nevertheless"), 1);
}

#[async_test]
async fn an_apply_that_ignores_its_abort_is_unknown_after_the_grace_and_the_connection_is_renewed() {
    let world = World::exclusive();
    let (_root, job) = world.open_with(options()).await;
    world.faults.on(Call::Apply, 1, Injection::HoldAnswer);
    let receipt = accept(&job, put(1)).await;
    world.held().await;
    world.advance(DEADLINE);
    soon(world.faults.until_aborts(1)).await;
    pause().await;
    world.advance(GRACE - Duration::from_millis(1));
    pause().await;
    assert_eq!(job.stats().batches_failed, 0, "it has its grace");
    world.advance(Duration::from_millis(1));
    assert_eq!(told(soon(receipt.committed()).await), LATE_UNKNOWN);
    assert_eq!(world.faults.calls(Call::Reconnect), 0);
    assert!(soon(job.exists(ROWS, key(1))).await.expect("reads"), "it had been applied");
    assert_eq!(world.faults.calls(Call::Reconnect), 1);
    assert_eq!(soon(job.put_acked(ROWS, key(2), "x")).await.expect("commits"), 2);
    assert_eq!(world.faults.calls(Call::Reconnect), 1, "once");
}

#[async_test]
async fn an_apply_that_hangs_undecided_is_known_not_to_be_applied() {
    let world = World::exclusive();
    let (_root, job) = world.open_with(options()).await;
    world.faults.on(Call::Apply, 1, Injection::Hold);
    let receipt = accept(&job, put(1)).await;
    world.held().await;
    world.advance(DEADLINE);
    soon(world.faults.until_aborts(1)).await;
    pause().await;
    world.advance(GRACE);
    assert_eq!(told(soon(receipt.committed()).await), LATE);
    world.faults.release();
    assert!(!soon(job.exists(ROWS, key(1))).await.expect("reads"));
}

#[async_test]
async fn reads_that_run_too_long_time_out_and_the_job_goes_on() {
    let world = World::exclusive();
    let (root, job) = world.open_with(options()).await;
    soon(job.put_acked(ROWS, key(1), "x")).await.expect("commits");
    for call in [Call::Get, Call::Count, Call::Page, Call::Categories] {
        world.faults.on(call, 1, Injection::Hold);
        let (answer, ()) = soon(async {
            futures_util::join!(
                async {
                    match call {
                        Call::Get => job.get(ROWS, key(1)).await.map(drop),
                        Call::Count => job.count(ROWS, ..).await.map(drop),
                        Call::Page => job.scan(ROWS, ..).into_future().await.map(drop),
                        _ => job.categories().await.map(drop),
                    }
                },
                async {
                    world.held().await;
                    world.advance(DEADLINE);
                }
            )
        })
        .await;
        assert_eq!(told(answer), LATE, "{call:?}");
        assert_eq!(keys(&job).await, [1]);
    }
    soon(root.close()).await.expect("closes");
}

#[async_test]
async fn what_comes_after_many_reads_that_timed_out_together_is_done_at_once() {
    const READS: usize = 20 * ANSWERS_IN_A_ROW_MAX;
    let world = World::exclusive();
    let (_root, job) = world.open_with(options()).await;
    for nth in 1..=READS {
        world.faults.on(Call::Get, nth, Injection::Hold);
    }
    let reads = join_all((0..READS).map(|_| job.get(ROWS, key(1))));
    let (answers, ()) = soon(async {
        futures_util::join!(reads, async {
            world.faults.until_waiting(READS).await;
            world.advance(DEADLINE);
        })
    })
    .await;
    answers.into_iter().for_each(|answer| assert_eq!(told(answer), LATE));
    assert_eq!(soon(job.put_acked(ROWS, key(1), "x")).await.expect("commits"), 1);
}

#[async_test]
async fn a_flush_that_has_time_is_not_answered_by_the_abort_of_an_earlier_one() {
    let world = World::exclusive();
    let (_root, job) = world.open_with(options()).await;
    soon(job.put_acked(ROWS, key(1), "x")).await.expect("commits");
    world.faults.on(Call::Apply, 1, Injection::Hang { completes: false });
    let (early, later) = soon(async {
        futures_util::join!(job.flush(), async {
            world.held().await;
            world.advance(MOMENT);
            let (later, ()) = futures_util::join!(job.flush(), async {
                pause().await;
                world.advance(DEADLINE - MOMENT);
            });
            later
        })
    })
    .await;
    assert_eq!(told(early), LATE);
    later.expect("is synced by another try");
    assert_eq!(job.durable_seq(), 1);
}

#[async_test]
async fn an_open_that_is_blocked_is_busy_and_a_later_one_succeeds() {
    for call in [Call::Open, Call::Get] {
        let world = World::exclusive();
        world.faults.on(call, 1, Injection::Hold);
        let root = world.root();
        let (opened, ()) = soon(async {
            futures_util::join!(root.open_job_with(JOB, options()), async {
                world.held().await;
                world.advance(DEADLINE);
            })
        })
        .await;
        assert_eq!(told(opened), (ErrorKind::Busy, Outcome::NotApplied));
        let job = soon(root.open_job_with(JOB, options())).await.expect("opens");
        assert_eq!(soon(job.put_acked(ROWS, key(1), "x")).await.expect("commits"), 1);
    }
}

#[async_test]
async fn an_open_whose_retention_hangs_ends() {
    let world = World::exclusive();
    world.faults.on(Call::Apply, 1, Injection::Hang { completes: false });
    let root = world.root();
    let with_log = options().log(LogRetention::LastBytes(1000));
    let (opened, ()) = soon(async {
        futures_util::join!(root.open_job_with(JOB, with_log), async {
            world.held().await;
            world.advance(DEADLINE);
        })
    })
    .await;
    assert_eq!(told(opened), LATE);
    soon(root.open_job_with(JOB, options())).await.expect("opens");
}

#[async_test]
async fn a_reconnection_that_hangs_is_given_up_and_tried_again() {
    let world = World::exclusive();
    let (_root, job) = world.open_with(options()).await;
    world.faults.on(Call::Apply, 1, Injection::fail(Fault::Lost));
    world.faults.on(Call::Reconnect, 1, Injection::Hold);
    let receipt = accept(&job, put(1)).await;
    world.held().await;
    world.advance(DEADLINE);
    assert_eq!(told(soon(receipt.committed()).await), LATE);
    assert_eq!(soon(job.put_acked(ROWS, key(2), "x")).await.expect("commits"), 1);
}

#[async_test]
async fn a_drop_that_is_blocked_counts_as_dropped_at_the_deadline() {
    let world = World::exclusive();
    let (root, job) = world.open_with(options()).await;
    soon(job.put_acked(ROWS, key(1), "x")).await.expect("commits");
    world.faults.on(Call::Destroy, 1, Injection::Hold);
    let (dropped, ()) = soon(async {
        futures_util::join!(root.drop_job(JOB), async {
            world.held().await;
            world.advance(DEADLINE);
        })
    })
    .await;
    dropped.expect("counts as dropped");
    assert_eq!(told(soon(job.get(ROWS, key(1))).await).0, ErrorKind::JobNotFound);
    let job = soon(root.open_job_with(JOB, options())).await.expect("finishes the deletion");
    assert_eq!((keys(&job).await, job.committed_seq()), (vec![], 0));
}
