//! Kills while jobs are created and dropped: a job is whole, or gone, and never an older life.

use std::thread::sleep;
use std::time::Duration;

use super::child::{self, Child, directory, report};
use super::workload::{self, JOB, Reported, hex, verify};
use super::{ROOT, root, rounds};
use crate::Persistency;
use crate::testing::Random;

#[tokio::test]
async fn a_drop_that_is_killed_at_any_time_leaves_the_whole_job_or_none() {
    let dir = directory();
    let mut reported = Reported::default();
    for round in 0..rounds(40) {
        let mut random = Random::new(round);
        let variables = [(ROOT, dir.path().to_str().unwrap())];
        let mut child = Child::start("dropper", &variables);
        let drops = random.below(4);
        let mut seen = 0;
        while seen <= drops {
            let line = child.report().expect("it only ends by being killed");
            seen += usize::from(line == "dropping");
            reported.take(&line);
        }
        sleep(Duration::from_micros(random.below(6_000) as u64));
        child.kill().iter().for_each(|line| reported.take(line));
        println!("round {round}: {reported:?}");
        verify(dir.path(), &mut reported).await;
    }
}

pub(super) async fn drops_until_it_is_killed() {
    child::end_with_parent();
    let p = Persistency::open(root()).unwrap();
    loop {
        let job = p.open_job_with(JOB, workload::options()).await.unwrap();
        report(format!("generation {}", hex(&job.position().await.unwrap().generation)));
        for number in workload::number(&job, 0).await + 1..=3 {
            let seq = job.persist_acked(workload::batch(0, number)).await.unwrap();
            report(format!("batch 0 {number} {seq}"));
        }
        report("dropping");
        p.drop_job(JOB).await.unwrap();
        report("dropped");
    }
}
