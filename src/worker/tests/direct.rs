//! Reads that pass the worker by: which do, and that nobody can tell by what they say.

use std::sync::Arc;

use futures_util::FutureExt;

use super::{ROWS, World, accept, key, put, soon, told};
use crate::clock::Clock;
use crate::engine::faulty::{Call, Injection};
use crate::engine::{Direct, NotDirectly, Wanted};
use crate::limits::DIRECT_READS_IN_A_ROW_MAX;
use crate::testing::async_test;
use crate::worker::{Bounds, Command, Link};
use crate::{Batch, ErrorKind, Job, Persistency};

async fn open() -> (World, Persistency, Job) {
    let mut world = World::exclusive();
    world.site = world.site.offering_direct_reads();
    let (root, job) = world.open().await;
    for n in 1..=3 {
        soon(job.persist_acked(put(n))).await.expect("commits");
    }
    (world, root, job)
}

#[async_test]
async fn gets_do_not_reach_the_engine_where_no_write_is_pending() {
    let (world, _root, job) = open().await;
    let (reads, asked) = (job.stats().reads, world.faults.calls(Call::Get));
    assert_eq!(soon(job.get(ROWS, key(1))).await.expect("gets"), Some(vec![1]));
    assert_eq!(soon(job.get(ROWS, key(9))).await.expect("gets"), None);
    assert!(soon(job.exists(ROWS, key(2))).await.expect("gets"));
    assert!(!soon(job.exists("other", key(2))).await.expect("gets"));
    assert_eq!(job.stats().reads, reads + 4);
    assert_eq!(world.faults.calls(Call::Get), asked);
}

#[async_test]
async fn a_get_waits_for_the_result_of_every_write_that_may_touch_it_and_for_no_other() {
    for (write, after) in [
        (Batch::new().put(ROWS, key(1), "new"), Some(b"new".to_vec())),
        (Batch::new().delete(ROWS, key(1)), None),
        (Batch::new().clear(ROWS).put(ROWS, key(1), "again"), Some(b"again".to_vec())),
    ] {
        let (world, _root, job) = open().await;
        // Committed, but not yet known to be.
        world.faults.on(Call::Apply, 1, Injection::HoldAnswer);
        let is_range = write.len() == 2;
        let receipt = accept(&job, write).await;
        assert!(!is_range || soon(job.get("other", key(1))).await.expect("gets").is_none());
        assert!(is_range || soon(job.get(ROWS, key(2))).await.expect("gets").is_some());
        let mut touched = Box::pin(job.get(ROWS, key(1)));
        world.held().await;
        assert!(touched.as_mut().now_or_never().is_none());
        world.faults.release();
        assert_eq!(soon(touched).await.expect("gets"), after);
        receipt.committed().await.ok();
        assert_eq!(soon(job.get(ROWS, key(1))).await.expect("gets"), after);
    }
}

#[async_test]
async fn what_has_been_answered_is_seen_without_the_engine() {
    let (world, _root, job) = open().await;
    let asked = world.faults.calls(Call::Get);
    for n in 10..100 {
        soon(job.persist_acked(put(n))).await.expect("commits");
        assert_eq!(soon(job.get(ROWS, key(n))).await.expect("gets"), Some(vec![n]));
        assert!(soon(job.delete_acked(ROWS, key(n))).await.expect("commits"));
        assert_eq!(soon(job.get(ROWS, key(n))).await.expect("gets"), None);
    }
    assert_eq!(world.faults.calls(Call::Get), asked);
}

#[async_test]
async fn gets_of_a_closed_or_dropped_job_say_so() {
    let (_world, root, job) = open().await;
    soon(root.close_job(super::JOB)).await.expect("closes");
    assert_eq!(told(soon(job.get(ROWS, key(1))).await).0, ErrorKind::Closed);
    let (world, root, job) = open().await;
    world.faults.on(Call::Destroy, 1, Injection::Hold);
    let mut dropping = Box::pin(root.drop_job(super::JOB));
    assert!(dropping.as_mut().now_or_never().is_none());
    assert_eq!(told(soon(job.exists(ROWS, key(1))).await).0, ErrorKind::JobNotFound);
    world.held().await;
    assert_eq!(told(soon(job.get(ROWS, key(1))).await).0, ErrorKind::JobNotFound);
    world.faults.release();
    soon(dropping).await.expect("drops");
    assert_eq!(told(soon(job.get(ROWS, key(1))).await).0, ErrorKind::JobNotFound);
}

#[async_test]
async fn a_key_beyond_its_limit_is_too_large_also_here() {
    let (_world, _root, job) = open().await;
    let long = crate::Key::from_bytes(vec![0; crate::limits::KEY_BYTES_MAX + 1]);
    assert_eq!(told(soon(job.get(ROWS, long)).await).0, ErrorKind::TooLarge);
    let category = "c".repeat(crate::limits::CATEGORY_BYTES_MAX + 1);
    assert_eq!(told(soon(job.exists(&category, key(1))).await).0, ErrorKind::TooLarge);
}

#[async_test]
async fn a_caller_that_never_stops_reading_gives_way_to_others() {
    let (_world, _root, job) = open().await;
    let reading = async {
        for _ in 0..2 * DIRECT_READS_IN_A_ROW_MAX {
            job.get(ROWS, key(1)).await.expect("gets");
        }
    };
    assert!(reading.now_or_never().is_none());
}

/// Answers what it is told to, after it has done what it is told to.
struct Scripted<F>(F);

impl<F: Fn() -> Result<Option<Vec<u8>>, NotDirectly> + Send + Sync> Direct for Scripted<F> {
    fn row(&self, _: &Wanted<'_>) -> Result<Option<Vec<u8>>, NotDirectly> {
        (self.0)()
    }
}

#[async_test]
async fn a_row_that_went_with_its_job_is_not_called_absent() {
    let bounds = Bounds { operations: 1, bytes: 1, deadline_ms: None };
    let link = Link::new("job".into(), Clock::system(), bounds);
    let wanted = Wanted { category: ROWS, key: b"k", presence_only: false };
    assert_eq!(soon(link.read_directly(wanted)).await, Err(NotDirectly));
    link.offer(Arc::new(Scripted(|| Ok(None))));
    assert_eq!(soon(link.read_directly(wanted)).await, Ok(None));
    let dropped = Arc::clone(&link);
    link.offer(Arc::new(Scripted(move || {
        dropped.finish(Command::Drop);
        Ok(None)
    })));
    assert_eq!(soon(link.read_directly(wanted)).await, Err(NotDirectly));
    link.offer(Arc::new(Scripted(|| Ok(None))));
    assert_eq!(soon(link.read_directly(wanted)).await, Err(NotDirectly), "it has ended");
}
