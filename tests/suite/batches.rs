//! Facts about batches: operations in order, all or nothing, and what the deleting ones reach.

use std::ops::Bound;

use futures_util::future::join_all;
use persistency::{Batch, KeyRange, Op, key, prefix_range};

use crate::common::{TestRoot, k, keys, put_all, rows};

facts! {
    everywhere:
        the_last_write_to_a_key_in_a_batch_wins,
        put_then_delete_in_one_batch_leaves_nothing,
        deleting_operations_act_on_what_stands_before_them,
        a_batch_may_be_made_of_operations,
        a_batch_spans_categories,
        a_batch_is_seen_whole_or_not_at_all,
        delete_prefix_removes_what_begins_with_it,
        a_prefix_of_ff_reaches_to_the_end,
        an_empty_prefix_deletes_the_whole_category,
        delete_range_takes_every_kind_of_bound,
        an_inverted_or_empty_range_deletes_nothing,
        clear_removes_one_category_alone,
        a_channel_is_stored_loaded_evicted_and_dropped;
}

fn bytes(all: &[&str]) -> Vec<Vec<u8>> {
    all.iter().map(|key| key.as_bytes().to_vec()).collect()
}

async fn the_last_write_to_a_key_in_a_batch_wins(root: &TestRoot) {
    let job = root.job().await;
    let batch = Batch::new().put("m", k("a"), "1").put("m", k("b"), "2").put("m", k("a"), "3");
    job.persist_acked(batch).await.unwrap();
    assert_eq!(rows(&job, "m").await, [(b"a".to_vec(), b"3".to_vec()), (b"b".to_vec(), b"2".to_vec())]);
}

async fn put_then_delete_in_one_batch_leaves_nothing(root: &TestRoot) {
    let job = root.job().await;
    job.persist_acked(Batch::new().put("m", k("a"), "1").delete("m", k("a"))).await.unwrap();
    assert!(!job.exists("m", k("a")).await.unwrap());
    job.persist_acked(Batch::new().delete("m", k("a")).put("m", k("a"), "2")).await.unwrap();
    assert_eq!(job.get("m", k("a")).await.unwrap().unwrap(), b"2");
}

async fn deleting_operations_act_on_what_stands_before_them(root: &TestRoot) {
    let job = root.job().await;
    put_all(&job, "m", ["a", "b", "c", "d"]).await;
    let batch = Batch::new()
        .put("m", k("ab"), "")
        .delete_prefix("m", k("a"))
        .put("m", k("ac"), "")
        .delete_range("m", k("c")..)
        .put("m", k("e"), "");
    job.persist_acked(batch).await.unwrap();
    assert_eq!(keys(&job, "m").await, bytes(&["ac", "b", "e"]));
    job.persist_acked(Batch::new().put("m", k("f"), "").clear("m").put("m", k("g"), "")).await.unwrap();
    assert_eq!(keys(&job, "m").await, bytes(&["g"]));
}

async fn a_batch_may_be_made_of_operations(root: &TestRoot) {
    let job = root.job().await;
    let put = |key: &str| Op::Put { category: "m".into(), key: k(key), payload: vec![1] };
    job.persist_acked(put("a")).await.unwrap();
    job.persist_acked(vec![put("b"), put("c"), Op::Delete { category: "m".into(), key: k("a") }])
        .await
        .unwrap();
    let mut batch: Batch = [put("d")].into_iter().collect();
    batch.push(Op::DeleteRange { category: "m".into(), range: KeyRange::new(k("b")..=k("b")) });
    assert_eq!((batch.len(), batch.is_empty(), Batch::new().is_empty()), (2, false, true));
    assert_eq!(batch.operations()[0], put("d"));
    job.persist_acked(batch).await.unwrap();
    assert_eq!(keys(&job, "m").await, bytes(&["c", "d"]));
}

async fn a_batch_spans_categories(root: &TestRoot) {
    let job = root.job().await;
    let batch = Batch::new().put("meta", k("a"), "1").put("log", k("a"), "2").delete("meta", k("b"));
    assert_eq!(job.persist_acked(batch).await.unwrap(), 1);
    assert_eq!(job.categories().await.unwrap(), ["log", "meta"]);
}

async fn a_batch_is_seen_whole_or_not_at_all(root: &TestRoot) {
    let job = root.job().await;
    put_all(&job, "m", ["a", "b"]).await;
    let writer = async {
        for round in 0..100u8 {
            let batch = Batch::new().put("m", k("a"), [round]).clear("n").put("m", k("b"), [round]);
            job.persist(batch.put("n", k([round]), "")).await.unwrap();
        }
    };
    let reader = async {
        for _ in 0..50 {
            let found = job.get_many("m", [k("a"), k("b")]).await.unwrap();
            assert!(found[0].is_some() && (found[0] == found[1] || found[0] == Some(b"a".to_vec())));
            let rows = rows(&job, "m").await;
            assert!(rows[0].1 == rows[1].1 || rows[0].1 == b"a");
            assert!(job.count("n", ..).await.unwrap() <= 1);
        }
    };
    futures_util::future::join(writer, reader).await;
    assert_eq!(keys(&job, "n").await, [vec![99]]);
}

async fn delete_prefix_removes_what_begins_with_it(root: &TestRoot) {
    let job = root.job().await;
    put_all(&job, "m", ["", "Z", "a", "a\0", "aa", "ab\u{7f}", "b", "ba"]).await;
    put_all(&job, "n", ["a"]).await;
    job.persist_delete_prefix("m", k("a")).await.unwrap();
    assert_eq!(keys(&job, "m").await, bytes(&["", "Z", "b", "ba"]));
    assert_eq!(keys(&job, "n").await, bytes(&["a"]));
    job.persist_delete_prefix("m", k("x")).await.unwrap();
    assert_eq!(job.count("m", ..).await.unwrap(), 4);
}

async fn a_prefix_of_ff_reaches_to_the_end(root: &TestRoot) {
    let job = root.job().await;
    let all: [&[u8]; 6] = [b"\xfe", b"\xfe\xff", b"\xfe\xff\x01", b"\xff", b"\xff\xff", b"\xff\xff\0"];
    put_all(&job, "m", all).await;
    assert_eq!(job.count("m", prefix_range(&k(b"\xff"))).await.unwrap(), 3);
    assert_eq!(job.count("m", prefix_range(&k(b"\xfe\xff"))).await.unwrap(), 2);
    job.persist_delete_prefix("m", k(b"\xff\xff")).await.unwrap();
    assert_eq!(keys(&job, "m").await, all[..4]);
    job.persist_delete_prefix("m", k(b"\xfe\xff")).await.unwrap();
    assert_eq!(keys(&job, "m").await, [b"\xfe".to_vec(), b"\xff".to_vec()]);
}

async fn an_empty_prefix_deletes_the_whole_category(root: &TestRoot) {
    let job = root.job().await;
    put_all(&job, "m", ["", "a", "\u{7f}"]).await;
    put_all(&job, "n", [""]).await;
    job.persist_delete_prefix("m", k("")).await.unwrap();
    assert_eq!(job.categories().await.unwrap(), ["n"]);
}

async fn delete_range_takes_every_kind_of_bound(root: &TestRoot) {
    let job = root.job().await;
    let all = ["", "a", "b", "b\0", "c"];
    let bounds = |key: &str| [Bound::Unbounded, Bound::Included(k(key)), Bound::Excluded(k(key))];
    for start in bounds("a") {
        for end in bounds("b") {
            let range = (start.clone(), end);
            job.persist_acked(Batch::new().clear("m")).await.unwrap();
            put_all(&job, "m", all).await;
            job.persist(Batch::new().delete_range("m", range.clone())).await.unwrap();
            let left = all.iter().filter(|key| !std::ops::RangeBounds::contains(&range, &k(**key)));
            assert!(
                keys(&job, "m").await.iter().map(Vec::as_slice).eq(left.map(|key| key.as_bytes())),
                "{range:?}"
            );
        }
    }
}

async fn an_inverted_or_empty_range_deletes_nothing(root: &TestRoot) {
    let job = root.job().await;
    put_all(&job, "m", ["", "a", "b", "c"]).await;
    let excluded = (Bound::Excluded(k("b")), Bound::Excluded(k("b")));
    let batch = Batch::new()
        .delete_range("m", k("c")..k("a"))
        .delete_range("m", k("c")..=k("a"))
        .delete_range("m", k("b")..k("b"))
        .delete_range("m", excluded)
        .delete_range("m", ..k(""));
    // It has operations, so it takes a seq all the same.
    assert_eq!(job.persist_acked(batch).await.unwrap(), 2);
    assert_eq!(job.count("m", ..).await.unwrap(), 4);
}

async fn clear_removes_one_category_alone(root: &TestRoot) {
    let job = root.job().await;
    for category in ["", "l", "m", "mm", "n"] {
        put_all(&job, category, ["", "a", "\u{ff}"]).await;
    }
    job.persist(Batch::new().clear("m")).await.unwrap();
    assert_eq!(job.categories().await.unwrap(), ["", "l", "mm", "n"]);
    job.persist(Batch::new().clear("")).await.unwrap();
    assert_eq!(job.categories().await.unwrap(), ["l", "mm", "n"]);
    job.persist(Batch::new().clear("never written")).await.unwrap();
    assert_eq!(job.count("l", ..).await.unwrap(), 3);
}

/// What a protocol layer does with one job: channels with meta data, a history and hints.
async fn a_channel_is_stored_loaded_evicted_and_dropped(root: &TestRoot) {
    let job = root.job().await;
    let append = |channel: &str, lamport: i64| {
        Batch::new().put("meta", key!(channel).unwrap(), lamport.to_be_bytes()).put(
            "log",
            key!(channel, lamport).unwrap(),
            format!("message {lamport}"),
        )
    };
    let writes = [3, 1, 2].map(|lamport| job.persist(append("chan-1", lamport)));
    join_all(writes).await.into_iter().for_each(|receipt| drop(receipt.unwrap()));
    job.persist(append("chan-10", 7)).await.unwrap();
    let history = job.scan_prefix("log", key!("chan-1").unwrap()).await.unwrap();
    let lamports = history.iter().map(|row| row.key.decode::<(String, i64)>().unwrap().1);
    assert!(lamports.eq([1, 2, 3]), "sorted although written out of order");
    assert!(job.get("meta", key!("fresh").unwrap()).await.unwrap().is_none());

    job.persist_delete("log", key!("chan-1", 1i64).unwrap()).await.unwrap();
    assert_eq!(job.count("log", prefix_range(&key!("chan-1").unwrap())).await.unwrap(), 2);
    let whole = key!("chan-1").unwrap();
    job.persist(Batch::new().delete("meta", whole.clone()).delete_prefix("log", whole)).await.unwrap();
    assert_eq!(keys(&job, "meta").await, [key!("chan-10").unwrap().into_bytes()]);
    assert_eq!(keys(&job, "log").await, [key!("chan-10", 7i64).unwrap().into_bytes()]);
}
