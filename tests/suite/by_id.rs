//! Facts about the forms that take the job's id: they are those of the job's handle.

use persistency::{Batch, ErrorKind, Persistency, Position, key, prefix_range};

use crate::common::{TestRoot, k, kind};

facts! {
    everywhere:
        writes_by_id_are_those_of_the_handle,
        reads_by_id_are_those_of_the_handle,
        log_and_watch_by_id_are_those_of_the_handle,
        a_job_that_is_not_open_is_not_found_and_does_not_appear;
}

async fn writes_by_id_are_those_of_the_handle(root: &TestRoot) {
    let p = root.open();
    let job = p.open_job("alpha").await.unwrap();
    p.open_job("beta").await.unwrap();
    p.persist_put("alpha", "m", k("a"), "1").await.unwrap();
    p.persist("alpha", Batch::new().put("m", k("b"), "2")).await.unwrap();
    p.try_persist("alpha", Batch::new().put("m", k("c"), "3")).unwrap();
    p.persist_encoded("alpha", "m", k("d"), &("x", 4i64)).await.unwrap();
    assert_eq!(p.persist_acked("alpha", Batch::new().put("m", k("e"), "5")).await.unwrap(), 5);
    assert_eq!(p.put_acked("alpha", "m", k("f"), "6").await.unwrap(), 6);
    assert_eq!(job.count("m", ..).await.unwrap(), 6);
    assert_eq!(job.get("m", k("d")).await.unwrap().unwrap(), key!("x", 4i64).unwrap().into_bytes());
    let receipt = p.persist_delete("alpha", "m", k("a")).await.unwrap();
    assert_eq!(receipt.committed().await.unwrap(), 7);
    p.persist_delete_prefix("alpha", "m", k("b")).await.unwrap();
    assert!(p.delete_acked("alpha", "m", k("c")).await.unwrap());
    assert!(!p.delete_acked("alpha", "m", k("c")).await.unwrap());
    p.flush("alpha").await.unwrap();
    assert_eq!((p.committed_seq("alpha").unwrap(), p.durable_seq("alpha").unwrap()), (10, 10));
    assert_eq!(p.count("beta", "m", ..).await.unwrap(), 0);
}

async fn reads_by_id_are_those_of_the_handle(root: &TestRoot) {
    let p = root.open();
    let job = p.open_job("alpha").await.unwrap();
    for number in [3i64, 1, 2] {
        p.persist_put("alpha", "m", key!("c", number).unwrap(), [number as u8]).await.unwrap();
    }
    let prefix = || key!("c").unwrap();
    let by_id = p.scan_prefix("alpha", "m", prefix()).unwrap().await.unwrap();
    assert_eq!(by_id, job.scan_prefix("m", prefix()).await.unwrap());
    assert_eq!(by_id.len(), 3);
    let backwards = p.scan("alpha", "m", prefix_range(&prefix())).unwrap().reverse().limit(1).await.unwrap();
    assert_eq!(backwards, by_id[2..]);
    let one = || key!("c", 1i64).unwrap();
    assert_eq!(p.get("alpha", "m", one()).await.unwrap().unwrap(), [1]);
    assert_eq!(p.get_many("alpha", "m", [one(), k("")]).await.unwrap(), [Some(vec![1]), None]);
    assert!(p.exists("alpha", "m", one()).await.unwrap());
    assert_eq!(p.exists_many("alpha", "m", [k(""), one()]).await.unwrap(), [false, true]);
    assert_eq!(p.count("alpha", "m", one()..).await.unwrap(), 3);
    assert_eq!(p.categories("alpha").await.unwrap(), ["m"]);
    assert_eq!(p.info("alpha").await.unwrap(), job.info().await.unwrap());
    assert_eq!(p.stats("alpha").unwrap().batches_committed, 3);
    assert!(p.check("alpha").await.unwrap().is_empty());
    p.compact("alpha").await.unwrap();
}

async fn log_and_watch_by_id_are_those_of_the_handle(root: &TestRoot) {
    let p = root.open();
    p.open_job("alpha").await.unwrap();
    assert_eq!(p.hold_log("alpha", "me").await.unwrap(), 0);
    let begin = p.position("alpha").await.unwrap();
    let mut watch = p.watch("alpha", "m", ..).await.unwrap();
    p.put_acked("alpha", "m", k("a"), "").await.unwrap();
    let item = watch.next().await.unwrap().unwrap();
    assert_eq!(p.log_from("alpha", begin).await.unwrap().next().await.unwrap().unwrap(), item);
    let mut from = p.watch_from("alpha", begin, "m", ..).await.unwrap();
    assert_eq!(from.next().await.unwrap().unwrap(), item);
    assert_eq!(p.advance_log("alpha", "me", 1).await.unwrap(), 1);
    p.release_log("alpha", "me").await.unwrap();
}

/// The kind that every form answers.
async fn answers(p: &Persistency, id: &str) -> Vec<ErrorKind> {
    let position = Position { generation: [0; 16], seq: 0 };
    vec![
        kind(p.persist(id, Batch::new()).await),
        kind(p.try_persist(id, Batch::new())),
        kind(p.persist_put(id, "m", k("a"), "").await),
        kind(p.persist_delete(id, "m", k("a")).await),
        kind(p.persist_delete_prefix(id, "m", k("a")).await),
        kind(p.persist_encoded(id, "m", k("a"), "x").await),
        kind(p.persist_acked(id, Batch::new()).await),
        kind(p.put_acked(id, "m", k("a"), "").await),
        kind(p.delete_acked(id, "m", k("a")).await),
        kind(p.flush(id).await),
        kind(p.get(id, "m", k("a")).await),
        kind(p.get_many(id, "m", [k("a")]).await),
        kind(p.exists(id, "m", k("a")).await),
        kind(p.exists_many(id, "m", [k("a")]).await),
        kind(p.count(id, "m", ..).await),
        kind(p.scan(id, "m", ..)),
        kind(p.scan_prefix(id, "m", k("a"))),
        kind(p.categories(id).await),
        kind(p.position(id).await),
        kind(p.watch(id, "m", ..).await),
        kind(p.watch_from(id, position, "m", ..).await),
        kind(p.log_from(id, position).await),
        kind(p.hold_log(id, "h").await),
        kind(p.advance_log(id, "h", 1).await),
        kind(p.release_log(id, "h").await),
        kind(p.info(id).await),
        kind(p.stats(id)),
        kind(p.check(id).await),
        kind(p.compact(id).await),
        kind(p.committed_seq(id)),
        kind(p.durable_seq(id)),
    ]
}

async fn a_job_that_is_not_open_is_not_found_and_does_not_appear(root: &TestRoot) {
    let p = root.open();
    let all_are = |kinds: Vec<ErrorKind>, expected| {
        assert!(kinds.iter().all(|kind| *kind == expected), "{kinds:?}");
    };
    all_are(answers(&p, "alpha").await, ErrorKind::JobNotFound);
    all_are(answers(&p, "").await, ErrorKind::JobNotFound);
    assert!(!p.has_job("alpha"));
    assert!(p.list_jobs().await.unwrap().is_empty());
    p.open_job("alpha").await.unwrap();
    p.close_job("alpha").await.unwrap();
    all_are(answers(&p, "alpha").await, ErrorKind::JobNotFound);
    p.open_job("alpha").await.unwrap();
    p.drop_job("alpha").await.unwrap();
    all_are(answers(&p, "alpha").await, ErrorKind::JobNotFound);
    p.close().await.unwrap();
    all_are(answers(&p, "alpha").await, ErrorKind::Closed);
}
