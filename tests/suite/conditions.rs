//! Facts about preconditions: when a batch is refused, and that nothing of it is applied then.

use futures_util::future::{join, join_all};
use persistency::{Batch, Error, ErrorKind, Job, Outcome};

use crate::common::{TestRoot, k, kind, put_all};

facts! {
    everywhere:
        absent_present_and_equal_hold_when_they_should,
        a_conflict_names_its_precondition_and_applies_nothing,
        a_conflict_takes_no_seq,
        the_first_precondition_that_fails_is_named,
        preconditions_stand_before_the_operations_of_their_batch,
        preconditions_see_every_batch_accepted_before,
        preconditions_see_ranges_that_were_deleted_before,
        an_empty_payload_is_present_and_equal_to_nothing_else,
        long_payloads_are_compared_whole,
        a_conflict_leaves_its_neighbours_alone,
        a_batch_of_preconditions_alone_answers_the_current_seq,
        a_counter_under_many_writers_loses_no_increment,
        one_of_many_who_create_a_row_wins;
}

async fn conflict(job: &Job, batch: Batch) -> Error {
    let error = job.persist_acked(batch).await.unwrap_err();
    assert_eq!((error.kind(), error.outcome()), (ErrorKind::Conflict, Outcome::NotApplied), "{error}");
    error
}

async fn absent_present_and_equal_hold_when_they_should(root: &TestRoot) {
    let job = root.job().await;
    put_all(&job, "m", ["a"]).await;
    let holds = Batch::new()
        .require_present("m", k("a"))
        .require_equal("m", k("a"), "a")
        .require_absent("m", k("b"))
        .require_absent("n", k("a"))
        .put("m", k("c"), "");
    assert_eq!(job.persist_acked(holds).await.unwrap(), 2);
    for fails in [
        Batch::new().require_absent("m", k("a")),
        Batch::new().require_present("m", k("b")),
        Batch::new().require_present("n", k("a")),
        Batch::new().require_equal("m", k("a"), "b"),
        Batch::new().require_equal("m", k("a"), "aa"),
        Batch::new().require_equal("m", k("b"), "a"),
    ] {
        assert_eq!(conflict(&job, fails).await.conflict_index(), Some(0));
    }
}

async fn a_conflict_names_its_precondition_and_applies_nothing(root: &TestRoot) {
    let job = root.job().await;
    put_all(&job, "m", ["a", "b"]).await;
    let batch = Batch::new()
        .put("m", k("a"), "changed")
        .put("new", k("c"), "")
        .require_present("m", k("a"))
        .clear("m")
        .require_absent("m", k("b"));
    let error = conflict(&job, batch).await;
    assert_eq!(error.conflict_index(), Some(1));
    assert!(!error.is_retryable());
    for part in ["alpha", "precondition 1", "require_absent", "category \"m\""] {
        assert!(error.message().contains(part), "{part}: {error}");
    }
    assert_eq!(job.get("m", k("a")).await.unwrap().unwrap(), b"a");
    assert_eq!(job.count("m", ..).await.unwrap(), 2);
    assert_eq!(job.categories().await.unwrap(), ["m"]);
}

async fn a_conflict_takes_no_seq(root: &TestRoot) {
    let job = root.job().await;
    assert_eq!(job.put_acked("m", k("a"), "").await.unwrap(), 1);
    conflict(&job, Batch::new().require_absent("m", k("a")).put("m", k("b"), "")).await;
    assert_eq!(job.committed_seq(), 1);
    assert_eq!(job.put_acked("m", k("b"), "").await.unwrap(), 2);
}

async fn the_first_precondition_that_fails_is_named(root: &TestRoot) {
    let job = root.job().await;
    put_all(&job, "m", ["a"]).await;
    let batch = Batch::new()
        .require_present("m", k("a"))
        .require_absent("m", k("z"))
        .require_equal("m", k("a"), "other")
        .require_absent("m", k("a"))
        .require_present("m", k("b"));
    assert_eq!(conflict(&job, batch).await.conflict_index(), Some(2));
}

async fn preconditions_stand_before_the_operations_of_their_batch(root: &TestRoot) {
    let job = root.job().await;
    let create = || Batch::new().require_absent("m", k("a")).put("m", k("a"), "1");
    job.persist_acked(create()).await.unwrap();
    conflict(&job, create()).await;
    conflict(&job, Batch::new().put("m", k("b"), "").require_present("m", k("b"))).await;
    let swap = Batch::new().put("m", k("a"), "2").require_equal("m", k("a"), "1");
    job.persist_acked(swap).await.unwrap();
    assert_eq!(job.get("m", k("a")).await.unwrap().unwrap(), b"2");
}

async fn preconditions_see_every_batch_accepted_before(root: &TestRoot) {
    let job = root.job().await;
    // All are accepted before any is waited for, so most share one group.
    let mut receipts = Vec::new();
    for round in 0..50u8 {
        let before = Batch::new();
        let before = match round {
            0 => before.require_absent("m", k("a")),
            _ => before.require_equal("m", k("a"), [round - 1]),
        };
        receipts.push(job.persist(before.put("m", k("a"), [round])).await.unwrap());
        receipts.push(job.persist(Batch::new().require_equal("m", k("a"), [round + 1])).await.unwrap());
    }
    for pair in receipts.chunks(2) {
        pair[0].committed().await.unwrap();
        assert_eq!(kind(pair[1].committed().await), ErrorKind::Conflict);
    }
    assert_eq!(job.committed_seq(), 50);
}

async fn preconditions_see_ranges_that_were_deleted_before(root: &TestRoot) {
    let job = root.job().await;
    put_all(&job, "m", ["a", "b", "c", "d", "e"]).await;
    let deletes = [
        (Batch::new().delete("m", k("a")), "a"),
        (Batch::new().delete_prefix("m", k("b")), "b"),
        (Batch::new().delete_range("m", k("c")..k("d")), "c"),
        (Batch::new().clear("m"), "e"),
    ];
    for (batch, gone) in deletes {
        let is_there = Batch::new().require_present("m", k(gone));
        let is_gone = Batch::new().require_absent("m", k(gone));
        let beside = Batch::new().require_present("m", k("d"));
        let first = job.persist(is_there).await.unwrap();
        job.persist(batch).await.unwrap();
        let second = job.persist(is_gone).await.unwrap();
        let third = job.persist(beside).await.unwrap();
        first.committed().await.unwrap();
        second.committed().await.unwrap();
        assert_eq!(third.committed().await.is_ok(), gone != "e");
    }
}

async fn an_empty_payload_is_present_and_equal_to_nothing_else(root: &TestRoot) {
    let job = root.job().await;
    job.put_acked("", k(""), "").await.unwrap();
    job.persist_acked(Batch::new().require_present("", k("")).require_equal("", k(""), "")).await.unwrap();
    conflict(&job, Batch::new().require_equal("", k(""), "\0")).await;
    conflict(&job, Batch::new().require_absent("", k(""))).await;
    conflict(&job, Batch::new().require_equal("", k("missing"), "")).await;
}

async fn long_payloads_are_compared_whole(root: &TestRoot) {
    let job = root.job().await;
    for size in [32 << 10, (32 << 10) + 1, 300_000] {
        let payload = vec![7u8; size];
        let (mut other, shorter, mut longer) = (payload.clone(), payload[1..].to_vec(), payload.clone());
        other[size - 1] = 8;
        longer.push(7);
        job.put_acked("m", k("a"), payload.clone()).await.unwrap();
        for wrong in [other, shorter, longer] {
            conflict(&job, Batch::new().require_equal("m", k("a"), wrong)).await;
        }
        job.persist_acked(Batch::new().require_equal("m", k("a"), payload)).await.unwrap();
    }
}

async fn a_conflict_leaves_its_neighbours_alone(root: &TestRoot) {
    let job = root.job().await;
    let put = |key: u8| Batch::new().put("m", k([key]), "");
    let mut receipts = Vec::new();
    for key in 0..60 {
        let batch = if key % 3 == 1 { put(key).require_present("m", k("missing")) } else { put(key) };
        receipts.push(job.persist(batch).await.unwrap());
    }
    let mut seq = 0;
    for (key, receipt) in receipts.iter().enumerate() {
        if key % 3 == 1 {
            assert_eq!(kind(receipt.committed().await), ErrorKind::Conflict);
        } else {
            seq += 1;
            assert_eq!(receipt.committed().await.unwrap(), seq);
        }
    }
    assert_eq!(job.count("m", ..).await.unwrap(), 40);
}

async fn a_batch_of_preconditions_alone_answers_the_current_seq(root: &TestRoot) {
    let job = root.job().await;
    assert_eq!(job.persist_acked(Batch::new().require_absent("m", k("a"))).await.unwrap(), 0);
    job.put_acked("m", k("a"), "").await.unwrap();
    assert_eq!(job.persist_acked(Batch::new().require_present("m", k("a"))).await.unwrap(), 1);
    assert_eq!(job.persist_acked(Batch::new()).await.unwrap(), 1);
    assert_eq!(job.committed_seq(), 1);
}

async fn a_counter_under_many_writers_loses_no_increment(root: &TestRoot) {
    let job = root.job().await;
    job.put_acked("m", k("counter"), 0u32.to_be_bytes()).await.unwrap();
    let increment = async || {
        loop {
            let old = job.get("m", k("counter")).await.unwrap().unwrap();
            let new = u32::from_be_bytes(old.as_slice().try_into().unwrap()) + 1;
            let batch = Batch::new().require_equal("m", k("counter"), old);
            match job.persist_acked(batch.put("m", k("counter"), new.to_be_bytes())).await {
                Ok(_) => return,
                Err(error) => assert_eq!(error.kind(), ErrorKind::Conflict, "{error}"),
            }
        }
    };
    join_all((0..20).map(|_| increment())).await;
    assert_eq!(job.get("m", k("counter")).await.unwrap().unwrap(), 20u32.to_be_bytes());
    assert_eq!(job.committed_seq(), 21);
}

async fn one_of_many_who_create_a_row_wins(root: &TestRoot) {
    let job = root.job().await;
    let other = job.clone();
    async fn create(job: &Job, name: &str) -> persistency::Result<u64> {
        let batch = Batch::new().require_absent("m", k("a")).put("m", k("a"), name);
        job.persist_acked(batch).await
    }
    let (first, second) = join(create(&job, "first"), create(&other, "second")).await;
    assert_eq!(first.unwrap(), 1, "they were accepted in this order");
    assert_eq!(kind(second), ErrorKind::Conflict);
    assert_eq!(job.get("m", k("a")).await.unwrap().unwrap(), b"first");
}
