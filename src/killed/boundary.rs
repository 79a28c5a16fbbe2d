//! Kills at every boundary of every primitive that one life of a job passes.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::{Arc, Mutex};

use super::child::{self, Child, directory, report};
use super::workload::{self, JOB, Reported, hex, verify};
use super::{ROOT, root};
use crate::engine::{Boundaries, MortalSite, PlatformSite};
use crate::place::Place;
use crate::{Clock, Job, Persistency};

/// The variable that tells a child where to wait for its end: a boundary's name, and which one of it.
const BOUNDARY: &str = "PERSISTENCY_TEST_BOUNDARY";

/// Boundaries at which a child must have been killed, or the test has proven too little.
const REACHED: [&str; 18] = [
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
    "after compact",
    "before page",
    "after get",
    "before close",
    "after close",
    "before destroy",
    "after destroy",
];

#[tokio::test]
async fn what_was_committed_outlives_a_process_that_is_killed_at_any_boundary() {
    let dir = directory();
    let (lived, passed) = child(dir.path(), "").end();
    assert!(lived.success());
    let mut counts = BTreeMap::<&str, usize>::new();
    for name in passed.iter().filter_map(|report| report.strip_prefix("passed ")) {
        *counts.entry(name).or_default() += 1;
    }
    for name in REACHED {
        assert!(counts.contains_key(name), "nobody came to {name:?}");
    }
    for (name, count) in counts {
        let mut kills = 0;
        for nth in 1..=count {
            let dir = directory();
            println!("killing {name} {nth}");
            kills += usize::from(kill_at(&format!("{name} {nth}"), dir.path()).await);
        }
        // Groups and syncs depend on the time that they meet, so lives differ a little.
        assert!(kills > 0 && kills * 2 >= count, "{kills} of {count} came to be killed {name}");
    }
}

fn child(dir: &Path, boundary: &str) -> Child {
    let variables = [(ROOT, dir.to_str().unwrap()), (BOUNDARY, boundary)];
    Child::start("life", &variables)
}

/// Kills a child at a boundary and looks at what it left; `false` if it ends before it comes there.
async fn kill_at(boundary: &str, dir: &Path) -> bool {
    let mut reported = Reported::default();
    let mut child = child(dir, boundary);
    loop {
        let line = child.report().expect("it says that it ends");
        match line.as_str() {
            "finished" => return false,
            "waiting" => {
                child.kill().iter().for_each(|report| reported.take(report));
                verify(dir, &mut reported).await;
                return true;
            }
            line => reported.take(line),
        }
    }
}

pub(super) async fn lives_one_life() {
    let end = std::env::var(BOUNDARY).unwrap();
    let passed = Mutex::new(BTreeMap::<String, usize>::new());
    let boundaries = Boundaries(Arc::new(move |name| {
        let nth = {
            let mut passed = passed.lock().unwrap();
            let count = passed.entry(name.to_owned()).or_default();
            *count += 1;
            *count
        };
        report(format!("passed {name}"));
        if format!("{name} {nth}") == end {
            report("waiting");
            // There are no orders, so this ends with the process.
            child::order();
        }
    }));
    let site = MortalSite { inner: PlatformSite::new(root()), boundaries };
    let p = Persistency::at(root(), Place::at(site), Clock::system());
    live(&p).await;
    report("finished");
}

/// A life that passes every primitive, twice with a new beginning.
async fn live(p: &Persistency) {
    let job = open(p).await;
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
    let job = open(p).await;
    write(&job, 0, 6).await;
    report("dropping");
    p.drop_job(JOB).await.unwrap();
    report("dropped");
    let job = open(p).await;
    write(&job, 2, 1).await;
    p.close().await.unwrap();
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
