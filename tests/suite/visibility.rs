//! Facts about what a read sees: every batch that was accepted before it on the same root.

use futures_util::future::join_all;
use persistency::{Batch, Job, key};

use crate::common::{TestRoot, k};

facts! {
    everywhere:
        get_and_exists_see_writes_that_nobody_waited_for,
        counts_scans_and_categories_see_writes_that_nobody_waited_for,
        every_kind_of_delete_is_seen_at_once,
        every_clone_of_a_handle_sees_the_same,
        a_handle_that_was_asked_for_again_sees_the_same,
        reads_asked_for_together_each_see_what_came_before_them,
        jobs_do_not_see_each_other,
        writes_make_way_beside_readers_that_never_rest,
        reads_make_way_beside_writers_that_never_rest;
}

/// Enough rounds for many of them to meet a write that is still waiting or under way.
const ROUNDS: u32 = 100;

async fn get_and_exists_see_writes_that_nobody_waited_for(root: &TestRoot) {
    let job = root.job().await;
    for round in 0..ROUNDS {
        let (key, payload) = (key!(round).unwrap(), round.to_be_bytes());
        job.persist_put("other", k("filler"), payload).await.unwrap();
        job.persist_put("m", key.clone(), payload).await.unwrap();
        match round % 4 {
            0 => assert_eq!(job.get("m", key).await.unwrap().unwrap(), payload),
            1 => assert!(job.exists("m", key).await.unwrap()),
            2 => assert_eq!(job.get_many("m", [key]).await.unwrap(), [Some(payload.to_vec())]),
            _ => assert_eq!(job.exists_many("m", [key]).await.unwrap(), [true]),
        }
    }
}

async fn counts_scans_and_categories_see_writes_that_nobody_waited_for(root: &TestRoot) {
    let job = root.job().await;
    for round in 0..ROUNDS {
        let batch = Batch::new().put("m", key!(round).unwrap(), "").clear("gone");
        let batch = batch.put(format!("c{round:03}"), k(""), "");
        job.persist(batch).await.unwrap();
        let so_far = round as usize + 1;
        match round % 4 {
            0 => assert_eq!(job.count("m", ..).await.unwrap(), so_far as u64),
            1 => assert_eq!(job.scan("m", ..).await.unwrap().len(), so_far),
            2 => assert_eq!(job.categories().await.unwrap().len(), so_far + 1),
            _ => {
                let page = job.scan("m", ..).reverse().limit(1).stream().next().await.unwrap().unwrap();
                assert_eq!(page[0].key, key!(round).unwrap());
            }
        }
    }
}

async fn every_kind_of_delete_is_seen_at_once(root: &TestRoot) {
    let job = root.job().await;
    for round in 0..ROUNDS {
        job.persist_put("m", k("ab"), "").await.unwrap();
        job.persist_put("m", k("b"), "").await.unwrap();
        match round % 4 {
            0 => job.persist_delete("m", k("ab")).await.unwrap(),
            1 => job.persist_delete_prefix("m", k("a")).await.unwrap(),
            2 => job.persist(Batch::new().delete_range("m", k("ab")..k("b"))).await.unwrap(),
            _ => job.persist(Batch::new().clear("m").put("m", k("b"), "")).await.unwrap(),
        };
        match round % 3 {
            0 => assert!(!job.exists("m", k("ab")).await.unwrap()),
            1 => assert_eq!(job.count("m", ..).await.unwrap(), 1),
            _ => assert_eq!(job.scan_prefix("m", k("a")).await.unwrap().len(), 0),
        }
    }
}

async fn every_clone_of_a_handle_sees_the_same(root: &TestRoot) {
    let job = root.job().await;
    let clone = job.clone();
    for round in 0..ROUNDS {
        let (writer, reader) = if round % 2 == 0 { (&job, &clone) } else { (&clone, &job) };
        writer.persist_put("m", k("a"), round.to_be_bytes()).await.unwrap();
        assert_eq!(reader.get("m", k("a")).await.unwrap().unwrap(), round.to_be_bytes());
    }
}

async fn a_handle_that_was_asked_for_again_sees_the_same(root: &TestRoot) {
    let p = root.open();
    let job = p.open_job("alpha").await.unwrap();
    for round in 0..ROUNDS {
        job.persist_put("m", k("a"), round.to_be_bytes()).await.unwrap();
        let again = if round % 2 == 0 { p.job("alpha") } else { p.open_job("alpha").await };
        assert_eq!(again.unwrap().get("m", k("a")).await.unwrap().unwrap(), round.to_be_bytes());
    }
}

async fn reads_asked_for_together_each_see_what_came_before_them(root: &TestRoot) {
    let job = root.job().await;
    async fn count_after_put(job: &Job, number: u32) -> u64 {
        job.persist_put("m", key!(number).unwrap(), "").await.unwrap();
        job.count("m", ..).await.unwrap()
    }
    let counts = join_all((0..ROUNDS).map(|number| count_after_put(&job, number))).await;
    for (number, count) in counts.into_iter().enumerate() {
        assert!(count > number as u64 && count <= u64::from(ROUNDS), "{number}: {count}");
    }
}

async fn jobs_do_not_see_each_other(root: &TestRoot) {
    let p = root.open();
    let (alpha, beta) =
        futures_util::future::try_join(p.open_job("alpha"), p.open_job("beta")).await.unwrap();
    alpha.persist_put("m", k("a"), "of alpha").await.unwrap();
    beta.persist_put("m", k("a"), "of beta").await.unwrap();
    beta.persist_put("m", k("b"), "").await.unwrap();
    assert_eq!(alpha.get("m", k("a")).await.unwrap().unwrap(), b"of alpha");
    assert_eq!(beta.get("m", k("a")).await.unwrap().unwrap(), b"of beta");
    assert_eq!((alpha.count("m", ..).await.unwrap(), beta.count("m", ..).await.unwrap()), (1, 2));
    assert_ne!(alpha.info().await.unwrap().generation, beta.info().await.unwrap().generation);
    p.close_job("alpha").await.unwrap();
    assert_eq!(beta.get("m", k("a")).await.unwrap().unwrap(), b"of beta");
}

/// Reads, or writes, of one busy task before it gives up on the others.
const PATIENCE: u32 = 20_000;
/// Tasks that keep the job busy.
const CROWD: u32 = 16;

async fn writes_make_way_beside_readers_that_never_rest(root: &TestRoot) {
    let job = root.job().await;
    let written = std::cell::Cell::new(false);
    let reader = async || {
        for _ in 0..PATIENCE {
            // Of several keys the worker is asked everywhere.
            job.exists_many("m", [k("a"), k("b")]).await.unwrap();
            if written.get() {
                return true;
            }
        }
        false
    };
    let readers = join_all((0..CROWD).map(|_| reader()));
    let writer = async {
        for _ in 0..3 {
            job.persist_put("other", k("a"), "").await.unwrap().durable().await.unwrap();
        }
        written.set(true);
    };
    let (met, ()) = futures_util::future::join(readers, writer).await;
    assert!(met.into_iter().all(|met| met), "the readers were done before three writes were");
}

async fn reads_make_way_beside_writers_that_never_rest(root: &TestRoot) {
    let job = root.job().await;
    let read = std::cell::Cell::new(false);
    let writer = async |number: u32| {
        for _ in 0..PATIENCE {
            job.put_acked("other", key!(number).unwrap(), "").await.unwrap();
            if read.get() {
                return true;
            }
        }
        false
    };
    let writers = join_all((0..CROWD).map(writer));
    let reader = async {
        for _ in 0..3 {
            job.exists("m", k("a")).await.unwrap();
            job.count("m", ..).await.unwrap();
        }
        read.set(true);
    };
    let (met, ()) = futures_util::future::join(writers, reader).await;
    assert!(met.into_iter().all(|met| met), "the writers were done before six reads were");
}
