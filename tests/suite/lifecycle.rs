//! Facts about roots and jobs: opening, closing, dropping, and what is there afterwards.

use futures_util::future::{join, join_all};
use persistency::{Durability, ErrorKind, JobOptions, OpenMode, Persistency};

use crate::common::{TestRoot, k, keys, kind, put_all};

facts! {
    everywhere:
        an_open_job_is_the_same_job_whoever_opens_it,
        concurrent_opens_give_one_job,
        other_options_than_those_it_is_open_with_are_invalid,
        open_jobs_are_found_by_id_and_others_are_not,
        a_closed_handle_answers_closed_to_everything,
        closing_and_reopening_takes_turns,
        closing_a_job_that_is_not_open_is_fine,
        closing_a_root_closes_its_jobs_and_is_fine_to_repeat,
        a_dropped_job_answers_job_not_found_to_everything,
        a_dropped_job_comes_back_empty_and_as_another,
        dropping_an_absent_job_is_fine,
        dropping_settles_what_was_accepted,
        a_drop_and_an_open_take_turns,
        a_job_that_must_exist_and_does_not_is_not_created,
        job_handles_keep_their_root_open,
        one_job_s_end_leaves_the_others,
        an_empty_root_is_invalid;
    on_disk:
        data_survives_reopening_and_seqs_go_on,
        every_kind_of_row_survives_reopening,
        a_closed_job_is_still_listed,
        dropped_handles_drain_in_the_background,
        a_dropped_root_drains_in_the_background,
        a_job_open_for_reading_takes_no_writes,
        a_relaxed_job_pays_when_it_is_closed;
    in_memory:
        closing_a_job_in_memory_deletes_it,
        every_root_in_memory_is_another_one;
}

async fn an_open_job_is_the_same_job_whoever_opens_it(root: &TestRoot) {
    let p = root.open();
    let job = p.open_job("alpha").await.unwrap();
    put_all(&job, "m", ["a"]).await;
    let again = p.open_job("alpha").await.unwrap();
    assert_eq!((again.id(), again.options()), ("alpha", &JobOptions::default()));
    assert_eq!(again.info().await.unwrap().generation, job.info().await.unwrap().generation);
    assert!(again.exists("m", k("a")).await.unwrap());
    drop(job);
    assert!(again.is_open() && p.has_job("alpha"));
}

async fn concurrent_opens_give_one_job(root: &TestRoot) {
    let p = root.open();
    let jobs = join_all((0..10).map(|_| p.open_job("alpha"))).await;
    let mut generations = Vec::new();
    for (number, job) in jobs.iter().enumerate() {
        let job = job.as_ref().unwrap();
        assert_eq!(job.put_acked("m", k([number as u8]), "").await.unwrap(), number as u64 + 1);
        generations.push(job.info().await.unwrap().generation);
    }
    assert!(generations.iter().all(|generation| *generation == generations[0]));
    assert_eq!(p.list_jobs().await.unwrap(), ["alpha"]);
}

async fn other_options_than_those_it_is_open_with_are_invalid(root: &TestRoot) {
    let p = root.open();
    let options = || JobOptions::new().queue_operations(77);
    let job = p.open_job_with("alpha", options()).await.unwrap();
    p.open_job_with("alpha", options()).await.unwrap();
    p.open_job("alpha").await.unwrap();
    for other in [
        JobOptions::default(),
        options().durability(Durability::Strict),
        options().queue_bytes(1),
        options().mode(OpenMode::MustExist),
    ] {
        assert_eq!(kind(p.open_job_with("alpha", other).await), ErrorKind::InvalidArgument);
    }
    assert_eq!(job.options(), &options());
    job.put_acked("m", k("a"), "").await.unwrap();
}

async fn open_jobs_are_found_by_id_and_others_are_not(root: &TestRoot) {
    let p = root.open();
    assert!(!p.has_job("alpha"));
    assert_eq!(kind(p.job("alpha")), ErrorKind::JobNotFound);
    let job = p.open_job("alpha").await.unwrap();
    assert!(p.has_job("alpha") && !p.has_job("Alpha") && !p.has_job(""));
    assert_eq!(p.job("alpha").unwrap().id(), job.id());
    p.close_job("alpha").await.unwrap();
    assert!(!p.has_job("alpha"));
    assert_eq!(kind(p.job("alpha")), ErrorKind::JobNotFound);
    p.close().await.unwrap();
    assert_eq!(kind(p.job("alpha")), ErrorKind::Closed);
}

/// Every call on the handle answers this.
async fn assert_all_answer(job: &persistency::Job, expected: ErrorKind) {
    use persistency::Batch;
    assert!(!job.is_open());
    let position = persistency::Position { generation: [0; 16], seq: 0 };
    let kinds = [
        kind(job.persist_put("m", k("a"), "").await),
        kind(job.persist_delete("m", k("a")).await),
        kind(job.persist_delete_prefix("m", k("a")).await),
        kind(job.persist_encoded("m", k("a"), "").await),
        kind(job.persist(Batch::new()).await),
        kind(job.try_persist(Batch::new())),
        kind(job.persist_acked(Batch::new()).await),
        kind(job.put_acked("m", k("a"), "").await),
        kind(job.delete_acked("m", k("a")).await),
        kind(job.flush().await),
        kind(job.get("m", k("a")).await),
        kind(job.get_many("m", [k("a")]).await),
        kind(job.exists("m", k("a")).await),
        kind(job.exists_many("m", [k("a")]).await),
        kind(job.count("m", ..).await),
        kind(job.scan("m", ..).await),
        kind(job.scan("m", ..).stream().next().await.unwrap()),
        kind(job.categories().await),
        kind(job.position().await),
        kind(job.watch("m", ..).await),
        kind(job.watch_from(position, "m", ..).await),
        kind(job.log_from(position).await),
        kind(job.hold_log("h").await),
        kind(job.advance_log("h", 1).await),
        kind(job.release_log("h").await),
        kind(job.info().await),
        kind(job.check().await),
        kind(job.compact().await),
    ];
    assert!(kinds.iter().all(|kind| *kind == expected), "{kinds:?}");
}

async fn a_closed_handle_answers_closed_to_everything(root: &TestRoot) {
    let p = root.open();
    let job = p.open_job("alpha").await.unwrap();
    put_all(&job, "m", ["a"]).await;
    p.close_job("alpha").await.unwrap();
    assert_all_answer(&job, ErrorKind::Closed).await;
    let again = p.open_job("alpha").await.unwrap();
    assert!(again.is_open());
    // The new opening does not revive the old handle.
    assert_all_answer(&job, ErrorKind::Closed).await;
    p.close().await.unwrap();
    assert_all_answer(&again, ErrorKind::Closed).await;
}

async fn closing_and_reopening_takes_turns(root: &TestRoot) {
    let p = root.open();
    for round in 0..10u8 {
        let job = p.open_job("alpha").await.unwrap();
        let kept = if root.persists() { usize::from(round) } else { 0 };
        assert_eq!(keys(&job, "m").await.len(), kept);
        job.persist_put("m", k([round]), "").await.unwrap();
        let (closed, opened) = join(p.close_job("alpha"), p.open_job("alpha")).await;
        closed.unwrap();
        assert!(opened.unwrap().is_open());
        p.close_job("alpha").await.unwrap();
    }
}

async fn closing_a_job_that_is_not_open_is_fine(root: &TestRoot) {
    let p = root.open();
    p.close_job("alpha").await.unwrap();
    p.open_job("alpha").await.unwrap();
    let (first, second) = join(p.close_job("alpha"), p.close_job("alpha")).await;
    first.and(second).unwrap();
    p.close_job("alpha").await.unwrap();
}

async fn closing_a_root_closes_its_jobs_and_is_fine_to_repeat(root: &TestRoot) {
    let p = root.open();
    let alpha = p.open_job("alpha").await.unwrap();
    let beta = p.open_job("beta").await.unwrap();
    let (first, second) = join(p.close(), p.clone().close()).await;
    first.and(second).unwrap();
    p.close().await.unwrap();
    for job in [alpha, beta] {
        assert_eq!(kind(job.get("m", k("a")).await), ErrorKind::Closed);
    }
    assert!(!p.has_job("alpha"));
    assert_eq!(kind(p.open_job("alpha").await), ErrorKind::Closed);
    assert_eq!(kind(p.drop_job("alpha").await), ErrorKind::Closed);
    assert_eq!(kind(p.list_jobs().await), ErrorKind::Closed);
    // Another root object takes the place over.
    let next = root.open();
    next.open_job("alpha").await.unwrap();
}

async fn a_dropped_job_answers_job_not_found_to_everything(root: &TestRoot) {
    let p = root.open();
    let job = p.open_job("alpha").await.unwrap();
    put_all(&job, "m", ["a"]).await;
    p.drop_job("alpha").await.unwrap();
    assert_all_answer(&job, ErrorKind::JobNotFound).await;
    assert!(!p.has_job("alpha"));
    assert_eq!(kind(p.get("alpha", "m", k("a")).await), ErrorKind::JobNotFound);
    p.open_job("alpha").await.unwrap();
    assert_all_answer(&job, ErrorKind::JobNotFound).await;
}

async fn a_dropped_job_comes_back_empty_and_as_another(root: &TestRoot) {
    let p = root.open();
    let mut generations = Vec::new();
    for open_when_dropped in [true, false, true] {
        let job = p.open_job("alpha").await.unwrap();
        assert!(job.categories().await.unwrap().is_empty());
        assert_eq!((job.committed_seq(), job.durable_seq()), (0, 0));
        let info = job.info().await.unwrap();
        assert!(info.log_holders.is_empty());
        assert!(!generations.contains(&info.generation));
        generations.push(info.generation);
        put_all(&job, "m", ["a"]).await;
        job.put_acked("big", k("a"), vec![1; 100_000]).await.unwrap();
        job.hold_log("holder").await.unwrap();
        if !open_when_dropped {
            p.close_job("alpha").await.unwrap();
        }
        p.drop_job("alpha").await.unwrap();
        assert!(p.list_jobs().await.unwrap().is_empty());
    }
}

async fn dropping_an_absent_job_is_fine(root: &TestRoot) {
    let p = root.open();
    p.drop_job("alpha").await.unwrap();
    p.open_job("beta").await.unwrap();
    let (first, second) = join(p.drop_job("beta"), p.drop_job("beta")).await;
    first.and(second).unwrap();
    p.drop_job("beta").await.unwrap();
    assert!(p.list_jobs().await.unwrap().is_empty());
    assert_eq!(kind(p.drop_job("").await), ErrorKind::InvalidArgument);
}

async fn dropping_settles_what_was_accepted(root: &TestRoot) {
    let p = root.open();
    let job = p.open_job("alpha").await.unwrap();
    let mut receipts = Vec::new();
    for number in 0..100u8 {
        receipts.push(job.persist_put("m", k([number]), "").await.unwrap());
    }
    let read = job.count("m", ..);
    let (count, dropped) = join(read, p.drop_job("alpha")).await;
    dropped.unwrap();
    assert_eq!(count.unwrap(), 100);
    for (seq, receipt) in (1..).zip(receipts) {
        assert_eq!(receipt.committed().await.unwrap(), seq);
    }
}

async fn a_drop_and_an_open_take_turns(root: &TestRoot) {
    let p = root.open();
    for _ in 0..5 {
        let job = p.open_job("alpha").await.unwrap();
        put_all(&job, "m", ["a"]).await;
        let (dropped, opened) = join(p.drop_job("alpha"), p.open_job("alpha")).await;
        dropped.unwrap();
        assert!(opened.unwrap().categories().await.unwrap().is_empty());
    }
}

async fn a_job_that_must_exist_and_does_not_is_not_created(root: &TestRoot) {
    let p = root.open();
    for mode in [OpenMode::MustExist, OpenMode::ReadOnly] {
        let opened = p.open_job_with("alpha", JobOptions::new().mode(mode)).await;
        assert_eq!(kind(opened), ErrorKind::JobNotFound);
        assert!(!p.has_job("alpha"));
    }
    assert!(p.list_jobs().await.unwrap().is_empty());
    // The failed opening is not in the way of a right one.
    p.open_job("alpha").await.unwrap();
}

async fn job_handles_keep_their_root_open(root: &TestRoot) {
    let p = root.open_unheld();
    let job = p.open_job("alpha").await.unwrap();
    drop(p);
    put_all(&job, "m", ["a"]).await;
    assert_eq!(keys(&job, "m").await, [b"a".to_vec()]);
    job.flush().await.unwrap();
}

async fn one_job_s_end_leaves_the_others(root: &TestRoot) {
    let p = root.open();
    let (alpha, beta) = (p.open_job("alpha").await.unwrap(), p.open_job("beta").await.unwrap());
    put_all(&alpha, "m", ["a"]).await;
    put_all(&beta, "m", ["b"]).await;
    p.close_job("alpha").await.unwrap();
    assert_eq!(keys(&beta, "m").await, [b"b".to_vec()]);
    p.drop_job("alpha").await.unwrap();
    assert_eq!(keys(&beta, "m").await, [b"b".to_vec()]);
    assert_eq!(p.list_jobs().await.unwrap(), ["beta"]);
}

async fn an_empty_root_is_invalid(_: &TestRoot) {
    assert_eq!(kind(Persistency::open("")), ErrorKind::InvalidArgument);
}

async fn data_survives_reopening_and_seqs_go_on(root: &TestRoot) {
    let mut generation = None;
    for round in 1..=3u8 {
        let p = root.open();
        let job = p.open_job("alpha").await.unwrap();
        let so_far = u64::from(round - 1) * 2;
        assert_eq!((job.committed_seq(), job.durable_seq()), (so_far, so_far));
        let info = job.info().await.unwrap();
        assert_eq!(*generation.get_or_insert(info.generation), info.generation);
        assert_eq!(job.put_acked("m", k([round]), [round]).await.unwrap(), so_far + 1);
        job.persist_put("n", k([round]), "").await.unwrap();
        p.close().await.unwrap();
    }
    let job = root.job().await;
    assert_eq!(keys(&job, "m").await, [[1], [2], [3]]);
    assert_eq!(job.count("n", ..).await.unwrap(), 3);
    assert!(job.check().await.unwrap().is_empty());
}

async fn every_kind_of_row_survives_reopening(root: &TestRoot) {
    let p = root.open();
    let job = p.open_job("alpha").await.unwrap();
    let big = vec![9; 200_000];
    job.persist_put("", k(""), "").await.unwrap();
    job.persist_put("\u{1f600}\0", k([0xff, 0]), "x").await.unwrap();
    job.persist_put("big", k(vec![7; 100_000]), big.clone()).await.unwrap();
    p.close_job("alpha").await.unwrap();
    let job = p.open_job("alpha").await.unwrap();
    assert_eq!(job.categories().await.unwrap(), ["", "big", "\u{1f600}\0"]);
    assert_eq!(job.get("", k("")).await.unwrap().unwrap(), b"");
    assert_eq!(job.get("\u{1f600}\0", k([0xff, 0])).await.unwrap().unwrap(), b"x");
    assert!(job.get("big", k(vec![7; 100_000])).await.unwrap().unwrap() == big);
}

async fn a_closed_job_is_still_listed(root: &TestRoot) {
    let p = root.open();
    assert!(p.list_jobs().await.unwrap().is_empty());
    for id in ["beta", "alpha"] {
        p.open_job(id).await.unwrap();
    }
    p.close_job("beta").await.unwrap();
    assert_eq!(p.list_jobs().await.unwrap(), ["alpha", "beta"]);
    p.close().await.unwrap();
    assert_eq!(root.open().list_jobs().await.unwrap(), ["alpha", "beta"]);
}

async fn dropped_handles_drain_in_the_background(root: &TestRoot) {
    for round in 1..=5u64 {
        let p = root.open_unheld();
        let job = p.open_job("alpha").await.unwrap();
        for number in 0..200u8 {
            drop(job.persist_put("m", k([round as u8, number]), "").await.unwrap());
        }
        // Nothing is awaited any more; what comes next has to wait by itself.
        drop(p);
        drop(job);
        let next = root.open_unheld();
        let job = next.open_job("alpha").await.unwrap();
        assert_eq!(job.count("m", ..).await.unwrap(), 200 * round);
        assert_eq!((job.committed_seq(), job.durable_seq()), (200 * round, 200 * round));
    }
}

async fn a_dropped_root_drains_in_the_background(root: &TestRoot) {
    for round in 1..=5u64 {
        let p = root.open_unheld();
        for id in ["alpha", "beta"] {
            let job = p.open_job(id).await.unwrap();
            drop(job.persist_put("m", k(round.to_be_bytes()), "").await.unwrap());
        }
        drop(p);
        let next = root.open_unheld();
        for id in ["alpha", "beta"] {
            assert_eq!(next.open_job(id).await.unwrap().count("m", ..).await.unwrap(), round);
        }
        next.close().await.unwrap();
    }
}

async fn a_job_open_for_reading_takes_no_writes(root: &TestRoot) {
    use persistency::Batch;
    let p = root.open();
    put_all(&p.open_job("alpha").await.unwrap(), "m", ["a"]).await;
    p.close_job("alpha").await.unwrap();
    let read_only = JobOptions::new().mode(OpenMode::ReadOnly);
    let job = p.open_job_with("alpha", read_only).await.unwrap();
    assert_eq!(keys(&job, "m").await, [b"a".to_vec()]);
    for refused in [
        kind(job.persist_put("m", k("b"), "").await),
        kind(job.delete_acked("m", k("a")).await),
        kind(job.try_persist(Batch::new())),
        kind(job.hold_log("holder").await),
        kind(job.compact().await),
    ] {
        assert_eq!(refused, ErrorKind::Unsupported);
    }
    job.flush().await.unwrap();
    assert_eq!(job.info().await.unwrap().mode, OpenMode::ReadOnly);
    assert!(job.check().await.unwrap().is_empty());
    p.close_job("alpha").await.unwrap();
    assert_eq!(keys(&p.open_job("alpha").await.unwrap(), "m").await, [b"a".to_vec()]);
}

async fn a_relaxed_job_pays_when_it_is_closed(root: &TestRoot) {
    let p = root.open();
    let job = p.open_job("alpha").await.unwrap();
    put_all(&job, "m", ["a"]).await;
    assert_eq!(job.durable_seq(), 0);
    p.close_job("alpha").await.unwrap();
    assert_eq!(p.open_job("alpha").await.unwrap().durable_seq(), 1);
}

async fn closing_a_job_in_memory_deletes_it(root: &TestRoot) {
    let p = root.open();
    let job = p.open_job("alpha").await.unwrap();
    let generation = job.info().await.unwrap().generation;
    put_all(&job, "m", ["a"]).await;
    assert_eq!(p.list_jobs().await.unwrap(), ["alpha"]);
    p.close_job("alpha").await.unwrap();
    assert!(p.list_jobs().await.unwrap().is_empty());
    let must_exist = JobOptions::new().mode(OpenMode::MustExist);
    assert_eq!(kind(p.open_job_with("alpha", must_exist).await), ErrorKind::JobNotFound);
    let again = p.open_job("alpha").await.unwrap();
    assert!(again.categories().await.unwrap().is_empty());
    assert_eq!(again.committed_seq(), 0);
    assert_ne!(again.info().await.unwrap().generation, generation);
}

async fn every_root_in_memory_is_another_one(root: &TestRoot) {
    let (first, second) = (root.open(), root.open());
    let (one, two) = (first.open_job("alpha").await.unwrap(), second.open_job("alpha").await.unwrap());
    put_all(&one, "m", ["a"]).await;
    assert_eq!(two.count("m", ..).await.unwrap(), 0);
    first.close().await.unwrap();
    put_all(&two, "m", ["b"]).await;
    assert_eq!(keys(&two, "m").await, [b"b".to_vec()]);
}
