//! Kills at random moments, round after round on the same job.

use std::collections::VecDeque;
use std::thread::sleep;
use std::time::Duration;

use super::child::{self, Child, directory, report};
use super::workload::{self, JOB, PRODUCERS, Reported, hex, verify};
use super::{ROOT, SEED, root, rounds, seed};
use crate::testing::Random;
use crate::{Durability, Job, Persistency, Receipt};

/// Receipts that a producer lets wait.
const PENDING: usize = 8;

#[tokio::test]
async fn what_was_committed_outlives_a_process_that_is_killed_at_any_time() {
    let dir = directory();
    let root = dir.path().join("root");
    let mut reported = Reported::default();
    let mut kills_while_writing = 0;
    for round in 0..rounds(60) {
        println!("round {round}: {reported:?}");
        let mut random = Random::new(round);
        let variables = [(ROOT, root.to_str().unwrap()), (SEED, &round.to_string())];
        let mut child = Child::start("writer", &variables);
        let reports = [0, 0, 1, 50, 200][random.below(5)];
        let reports = if reports == 0 { 0 } else { 1 + random.below(reports) };
        for _ in 0..reports {
            reported.take(&child.report().expect("it only ends by being killed"));
        }
        sleep(Duration::from_micros(random.below(if reports == 0 { 60_000 } else { 5_000 }) as u64));
        let last = child.kill();
        last.iter().for_each(|report| reported.take(report));
        kills_while_writing += usize::from(reports > 1);
        verify(&root, &mut reported).await;
    }
    assert!(kills_while_writing > 0);
}

pub(super) async fn writes_until_it_is_killed() {
    child::end_with_parent();
    let durability = if seed().is_multiple_of(3) { Durability::Strict } else { Durability::Relaxed };
    let p = Persistency::open(root()).unwrap();
    let job = p.open_job_with(JOB, workload::options().durability(durability)).await.unwrap();
    report(format!("generation {}", hex(&job.position().await.unwrap().generation)));
    let producers = (0..PRODUCERS).map(|producer| tokio::spawn(produce(job.clone(), producer)));
    let counters = (0..2).map(|_| tokio::spawn(count(job.clone())));
    let tasks: Vec<_> = producers.chain(counters).chain([tokio::spawn(care(job.clone()))]).collect();
    for task in tasks {
        task.await.unwrap();
    }
}

async fn produce(job: Job, producer: i64) {
    let mut pending: VecDeque<(i64, Receipt)> = VecDeque::new();
    for number in workload::number(&job, producer).await + 1.. {
        if pending.len() == PENDING {
            let (number, receipt) = pending.pop_front().unwrap();
            let seq = receipt.committed().await.unwrap();
            report(format!("batch {producer} {number} {seq}"));
            if number % 16 == 0 {
                report(format!("durable {}", receipt.durable().await.unwrap()));
            }
        }
        pending.push_back((number, job.persist(workload::batch(producer, number)).await.unwrap()));
    }
}

async fn count(job: Job) {
    loop {
        if let Some((value, seq)) = workload::advance(&job).await.unwrap() {
            report(format!("counter {value} {seq}"));
        }
    }
}

/// What else can be under way when the process dies.
async fn care(job: Job) {
    let mut random = Random::new(seed());
    loop {
        match random.below(4) {
            0 => job.flush().await.unwrap(),
            1 => job.compact().await.unwrap(),
            2 => drop(job.scan("rows", ..).await.unwrap()),
            _ => assert_eq!(job.check().await.unwrap(), Vec::<String>::new()),
        }
        tokio::time::sleep(Duration::from_millis(random.below(20) as u64)).await;
    }
}
