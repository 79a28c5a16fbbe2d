//! Kills at every boundary of every primitive that one life of a job passes.

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use super::child::{self, Child, report};
use super::workload::{self, JOB, Reported, hex, verify};
use super::{ROOT, SEED, root, seed};
use crate::engine::{Boundaries, MortalSite, PlatformSite};
use crate::place::Place;
use crate::{Clock, Job, Persistency};

/// Boundaries at which a child must have been killed, or the test has proven too little.
const REACHED: [&str; 16] = [
    "before claim",
    "after claim",
    "before open",
    "after open",
    "before apply",
    "after decide",
    "before commit",
    "after apply",
    "before durable apply",
    "after durable apply",
    "before compact",
    "after page",
    "before close",
    "after close",
    "before destroy",
    "after destroy",
];

#[tokio::test]
async fn what_was_committed_outlives_a_process_that_is_killed_at_any_boundary() {
    let mut reached = BTreeSet::new();
    for boundary in 1.. {
        let dir = tempfile::tempdir().unwrap();
        let Some(name) = kill_at(boundary, dir.path()).await else { break };
        println!("killed at boundary {boundary}, {name}");
        reached.insert(name);
    }
    for name in REACHED {
        assert!(reached.contains(name), "nobody was killed {name}");
    }
}

/// Kills a child at a boundary and looks at what it left; `None` if it ends before it.
async fn kill_at(boundary: u64, dir: &Path) -> Option<String> {
    let mut reported = Reported::default();
    let variables = [(ROOT, dir.to_str().unwrap()), (SEED, &boundary.to_string())];
    let mut child = Child::start("killed::boundary::lives_one_life", "life", &variables);
    loop {
        let line = child.report().expect("it says why it ends");
        if line == "finished" {
            return None;
        }
        reported.take(&line);
        if let Some(name) = line.strip_prefix("at ") {
            child.kill().iter().for_each(|report| reported.take(report));
            verify(dir, &mut reported).await;
            return Some(name.to_owned());
        }
    }
}

#[tokio::test]
#[ignore = "a role of the test above"]
async fn lives_one_life() {
    let Some(_) = child::role() else { return };
    let (last, passed) = (seed(), AtomicU64::new(0));
    let boundaries = Boundaries(Arc::new(move |name| {
        if passed.fetch_add(1, Ordering::SeqCst) + 1 == last {
            report(format!("at {name}"));
            // There are no orders, so this ends with the process.
            child::order();
        }
    }));
    let site = MortalSite { inner: PlatformSite::new(root()), boundaries };
    let p = Persistency::at(root(), Place::Mortal(site), Clock::system());
    let job = open(&p).await;
    for number in 1..=2 {
        write(&job, 0, number).await;
    }
    let (value, seq) = workload::advance(&job).await.unwrap().unwrap();
    report(format!("counter {value} {seq}"));
    together(&job).await;
    job.flush().await.unwrap();
    report(format!("durable {}", job.durable_seq()));
    assert_eq!(job.check().await.unwrap(), Vec::<String>::new());
    job.compact().await.unwrap();
    job.categories().await.unwrap();
    write(&job, 0, 5).await;
    p.close_job(JOB).await.unwrap();
    p.list_jobs().await.unwrap();
    let job = open(&p).await;
    write(&job, 0, 6).await;
    report("dropping");
    p.drop_job(JOB).await.unwrap();
    report("dropped");
    let job = open(&p).await;
    write(&job, 2, 1).await;
    p.close().await.unwrap();
    report("finished");
}

async fn open(p: &Persistency) -> Job {
    let job = p.open_job_with(JOB, workload::options()).await.unwrap();
    report(format!("generation {}", hex(&job.position().await.unwrap().generation)));
    job
}

async fn write(job: &Job, producer: i64, number: i64) {
    let seq = job.persist_acked(workload::batch(producer, number)).await.unwrap();
    report(format!("batch {producer} {number} {seq}"));
}

/// Several batches that may become one group, the last of them durable.
async fn together(job: &Job) {
    let batches = [(0, 3), (1, 1), (0, 4), (1, 2)];
    let mut receipts = Vec::new();
    for (producer, number) in batches {
        receipts.push(job.persist(workload::batch(producer, number)).await.unwrap());
    }
    let durable = receipts[3].durable().await.unwrap();
    for ((producer, number), receipt) in batches.into_iter().zip(receipts) {
        report(format!("batch {producer} {number} {}", receipt.committed().await.unwrap()));
    }
    report(format!("durable {durable}"));
}
