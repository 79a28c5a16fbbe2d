//! Several producers at once on one job: nothing is lost, nothing is counted twice.

use futures_util::future::join_all;
use persistency::{Batch, ErrorKind, Job, Op, Persistency, Position, WatchItem, key};

use crate::common::{async_test, fresh};

const PRODUCERS: u64 = 5;
const INCREMENTS: u64 = 8;

/// Adds to the counter that all share, each time anew until nobody came in between, with a row of its
/// own in the same batch and one that nobody waits for; returns how often somebody did.
async fn produce(job: Job, producer: u64) -> u64 {
    let counter = || key!("counter").unwrap();
    let mut conflicts = 0;
    for increment in 0..INCREMENTS {
        let own = key!(producer, increment).unwrap();
        job.persist_put("loose", own.clone(), vec![0; 100]).await.unwrap();
        loop {
            let now = job.get("shared", counter()).await.unwrap();
            let batch = match &now {
                None => Batch::new().require_absent("shared", counter()),
                Some(payload) => Batch::new().require_equal("shared", counter(), payload.clone()),
            };
            let next = now.map_or(0, |payload| u64::from_be_bytes(payload.try_into().unwrap())) + 1;
            let batch = batch
                .require_absent("own", own.clone())
                .put("shared", counter(), next.to_be_bytes())
                .put("own", own.clone(), next.to_be_bytes());
            match job.persist_acked(batch).await {
                Ok(_) => break,
                Err(error) => {
                    assert_eq!((error.kind(), error.conflict_index()), (ErrorKind::Conflict, Some(0)));
                    conflicts += 1;
                }
            }
        }
    }
    conflicts
}

/// Runs the producers on these jobs, which are one and the same, and checks what they came to.
async fn produce_all(jobs: &[Job]) {
    let job = &jobs[0];
    job.hold_log("test").await.unwrap();
    let start = job.position().await.unwrap();
    assert_eq!(start.seq, 0);
    let producers = (0..PRODUCERS).zip(jobs.iter().cycle());
    let conflicts = join_all(producers.map(|(producer, job)| produce(job.clone(), producer))).await;
    assert!(conflicts.iter().sum::<u64>() > 0, "nobody came in between: this has tested nothing");
    for job in jobs {
        job.flush().await.unwrap();
    }
    let successes = PRODUCERS * INCREMENTS;
    for job in jobs {
        let count = job.get("shared", key!("counter").unwrap()).await.unwrap().unwrap();
        assert_eq!(count, successes.to_be_bytes(), "the counter is the number of successes");
        let rows = job.scan("own", ..).await.unwrap();
        let mut values: Vec<Vec<u8>> = rows.into_iter().map(|row| row.payload).collect();
        values.sort();
        let each_once: Vec<Vec<u8>> = (1..=successes).map(|value| value.to_be_bytes().to_vec()).collect();
        assert_eq!(values, each_once, "each number was counted by one producer");
        assert_eq!(job.count("loose", ..).await.unwrap(), successes);
        assert_eq!(job.position().await.unwrap().seq, 2 * successes, "a conflict takes no seq");
        assert_eq!(history(job, start).await, (1..=2 * successes).collect::<Vec<_>>());
    }
}

/// The seqs in the log; each increment has to be one more than the one before.
async fn history(job: &Job, from: Position) -> Vec<u64> {
    let mut log = job.log_from(from).await.unwrap();
    let (mut seqs, mut counter) = (Vec::new(), 0);
    while let Some(item) = log.next().await {
        let WatchItem::Commit(commit) = item.unwrap() else { panic!("the log has a gap") };
        seqs.push(commit.seq);
        for operation in commit.operations.iter() {
            if let Op::Put { category, payload, .. } = operation
                && &**category == "shared"
            {
                counter += 1;
                assert_eq!(*payload, u64::to_be_bytes(counter));
            }
        }
    }
    seqs
}

#[async_test]
async fn producers_that_compare_and_set_lose_no_update() {
    let fresh = fresh("producers");
    let root = Persistency::open(fresh.root()).unwrap();
    let job = root.open_job("alpha").await.unwrap();
    produce_all(&[job]).await;
    root.drop_job("alpha").await.unwrap();
    root.close().await.unwrap();
}

#[async_test]
async fn producers_in_memory_that_compare_and_set_lose_no_update() {
    let root = Persistency::open(":memory:").unwrap();
    let job = root.open_job("alpha").await.unwrap();
    produce_all(&[job]).await;
    root.close().await.unwrap();
}

/// Two roots of one name are two tabs; natively the second one would be `Busy`.
#[cfg(all(target_family = "wasm", target_os = "unknown"))]
#[async_test]
async fn producers_in_two_tabs_that_compare_and_set_lose_no_update() {
    let fresh = fresh("tabs");
    let roots = [Persistency::open(fresh.root()).unwrap(), Persistency::open(fresh.root()).unwrap()];
    let jobs = [roots[0].open_job("alpha").await.unwrap(), roots[1].open_job("alpha").await.unwrap()];
    produce_all(&jobs).await;
    roots[1].close().await.unwrap();
    roots[0].drop_job("alpha").await.unwrap();
    roots[0].close().await.unwrap();
}
