//! Reads beside writes and beside each other: what waits for what, and how much room there is.

use std::future::IntoFuture;

use futures_util::FutureExt;

use super::{ROWS, World, accept, key, pause, put, soon};
use crate::engine::faulty::{Call, Injection};
use crate::limits::{PAGE_BYTES_MAX, TOUCH_CHECK_OPERATIONS_MAX};
use crate::testing::async_test;
use crate::{Batch, Job};

async fn fill(job: &Job) {
    for n in 1..=3 {
        soon(job.put_acked(ROWS, key(n), vec![n; PAGE_BYTES_MAX / 2])).await.expect("commits");
    }
}

#[async_test]
async fn gets_do_not_wait_behind_a_scan_or_a_count() {
    let world = World::exclusive();
    let (_root, job) = world.open().await;
    fill(&job).await;
    world.faults.on(Call::Page, 1, Injection::Hold);
    world.faults.on(Call::Count, 1, Injection::Hold);
    let (scanned, counted, ()) = soon(async {
        futures_util::join!(job.scan(ROWS, ..).into_future(), job.count(ROWS, ..), async {
            soon(world.faults.until_waiting(2)).await;
            assert!(job.get(ROWS, key(1)).await.expect("gets").is_some());
            assert!(job.exists(ROWS, key(1)).await.expect("gets"));
            assert_eq!(job.put_acked(ROWS, key(4), "x").await.expect("commits"), 4);
            world.faults.release();
        })
    })
    .await;
    assert!(scanned.expect("scans").len() >= 3);
    assert!(counted.expect("counts") >= 3);
}

#[async_test]
async fn a_read_waits_only_for_writes_that_touch_it() {
    let world = World::exclusive();
    let (_root, job) = world.open().await;
    fill(&job).await;
    world.faults.on(Call::Apply, 1, Injection::Hold);
    accept(&job, put(1)).await;
    world.held().await;
    accept(&job, Batch::new().delete_range(ROWS, key(2)..key(3))).await;
    assert!(soon(job.get(ROWS, key(3))).await.expect("is not touched").is_some());
    assert_eq!(soon(job.count("other", ..)).await.expect("is not touched"), 0);
    assert_eq!(soon(job.count(ROWS, key(3)..)).await.expect("is not touched"), 1);
    let mut touched = [
        job.get(ROWS, key(1)).map(|found| found.expect("gets").map(|row| row.len() as u64)).boxed(),
        job.get(ROWS, key(2)).map(|found| found.expect("gets").map(|row| row.len() as u64)).boxed(),
        job.count(ROWS, ..).map(|found| Some(found.expect("counts"))).boxed(),
    ];
    for touched in &mut touched {
        assert_eq!(touched.now_or_never(), None);
    }
    pause().await;
    for touched in &mut touched {
        assert_eq!(touched.now_or_never(), None);
    }
    world.faults.release();
    let answers = soon(futures_util::future::join_all(touched)).await;
    assert_eq!(answers, [Some(1), None, Some(2)]);
}

#[async_test]
async fn beyond_the_touch_check_a_read_simply_waits() {
    for (operations, waits) in [(TOUCH_CHECK_OPERATIONS_MAX - 1, false), (TOUCH_CHECK_OPERATIONS_MAX, true)] {
        let world = World::exclusive();
        let (_root, job) = world.open().await;
        world.faults.on(Call::Apply, 1, Injection::Hold);
        accept(&job, put(1)).await;
        world.held().await;
        let many = (0..operations).fold(Batch::new(), |batch, _| batch.delete(ROWS, key(2)));
        accept(&job, many).await;
        let mut get = job.get(ROWS, key(9)).boxed();
        let mut answered = get.as_mut().now_or_never().is_some();
        pause().await;
        answered = answered || get.as_mut().now_or_never().is_some();
        assert_eq!(!answered, waits, "{operations} operations are pending");
        world.faults.release();
        if waits {
            assert_eq!(soon(get).await.expect("gets"), None);
        }
    }
}

#[async_test]
async fn large_scans_and_large_gets_take_turns() {
    let world = World::exclusive();
    let (_root, job) = world.open().await;
    fill(&job).await;
    for call in [Call::Page, Call::Get] {
        for nth in 1..=4 {
            world.faults.on(call, nth, Injection::Hold);
        }
    }
    let before = [Call::Page, Call::Get].map(|call| world.faults.calls(call));
    let read = || async {
        futures_util::join!(job.scan(ROWS, ..).into_future(), job.get_many(ROWS, [key(1), key(2)]))
    };
    let (first, second, ()) = soon(async {
        futures_util::join!(read(), read(), async {
            // Each has asked for a small answer first.
            soon(world.faults.until_waiting(4)).await;
            world.faults.release();
            pause().await;
            soon(world.faults.until_waiting(2)).await;
            let calls = [Call::Page, Call::Get].map(|call| world.faults.calls(call));
            assert_eq!(calls, [before[0] + 3, before[1] + 3]);
            world.faults.release();
            pause().await;
            soon(world.faults.until_waiting(2)).await;
            world.faults.release();
        })
    })
    .await;
    for (scanned, got) in [first, second] {
        assert_eq!(scanned.expect("scans").len(), 3);
        assert_eq!(got.expect("gets").iter().flatten().count(), 2);
    }
}
