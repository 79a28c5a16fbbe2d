//! A panic in a worker: the job's callers are told, and nobody else notices.

use super::*;
use crate::engine::faulty::{Call, Injection};
use crate::testing::async_test;

#[async_test]
async fn a_panic_leaves_the_other_jobs_of_the_root_working() {
    let world = World::exclusive();
    let (root, job) = world.open().await;
    let neighbour = soon(root.open_job("neighbour")).await.unwrap();
    soon(job.persist_acked(put(1))).await.unwrap();
    world.faults.on(Call::Apply, 1, Injection::Panic);
    assert_eq!(told(soon(job.persist_acked(put(2))).await), (ErrorKind::Backend, Outcome::Unknown));
    assert_eq!(told(soon(job.get(ROWS, key(1))).await).0, ErrorKind::Backend, "until it is opened again");
    for n in 1..=3 {
        assert_eq!(soon(neighbour.persist_acked(put(n))).await.unwrap(), u64::from(n));
    }
    soon(neighbour.flush()).await.unwrap();
    let again = soon(root.open_job_with(JOB, JobOptions::new().no_deadline())).await.unwrap();
    assert_eq!(keys(&again).await, [1]);
    assert_eq!(soon(again.persist_acked(put(3))).await.unwrap(), 2);
    soon(root.close()).await.unwrap();
}
