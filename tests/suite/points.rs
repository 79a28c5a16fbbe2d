//! Facts about single rows: what a put, a delete and a get of one key mean.

use persistency::{FromPayload, ToPayload, key, key_part};

use crate::common::{TestRoot, k, keys, rows};

facts! {
    everywhere:
        a_row_that_was_put_is_found_and_another_key_is_not,
        a_second_put_replaces_the_payload,
        a_category_that_was_never_written_is_empty,
        categories_are_key_spaces_of_their_own,
        empty_keys_payloads_and_categories_are_rows,
        a_delete_tells_whether_the_row_was_there,
        deletes_and_puts_of_one_key_alternate,
        many_keys_are_answered_in_the_order_asked,
        keys_of_any_bytes_are_told_apart_and_ordered_unsigned,
        categories_are_named_in_byte_order_while_they_hold_rows,
        payloads_of_every_size_class_come_back_exactly,
        a_payload_may_grow_and_shrink,
        an_encoded_value_is_stored_as_its_payload,
        every_way_to_write_one_row_writes_it;
}

async fn a_row_that_was_put_is_found_and_another_key_is_not(root: &TestRoot) {
    let job = root.job().await;
    job.persist_put("m", k("a"), "1").await.unwrap();
    assert_eq!(job.get("m", k("a")).await.unwrap().unwrap(), b"1");
    assert!(job.exists("m", k("a")).await.unwrap());
    for missing in ["", "A", "aa", "b", "a\0"] {
        assert_eq!(job.get("m", k(missing)).await.unwrap(), None, "{missing:?}");
        assert!(!job.exists("m", k(missing)).await.unwrap(), "{missing:?}");
    }
}

async fn a_second_put_replaces_the_payload(root: &TestRoot) {
    let job = root.job().await;
    job.persist_put("m", k("a"), "first").await.unwrap();
    job.persist_put("m", k("a"), "second").await.unwrap();
    assert_eq!(rows(&job, "m").await, [(b"a".to_vec(), b"second".to_vec())]);
}

async fn a_category_that_was_never_written_is_empty(root: &TestRoot) {
    let job = root.job().await;
    assert_eq!(job.get("m", k("a")).await.unwrap(), None);
    assert_eq!(job.count("m", ..).await.unwrap(), 0);
    assert!(job.scan("m", ..).await.unwrap().is_empty());
    assert!(job.categories().await.unwrap().is_empty());
}

async fn categories_are_key_spaces_of_their_own(root: &TestRoot) {
    let job = root.job().await;
    job.persist_put("a", k("1"), "of a").await.unwrap();
    job.persist_put("b", k("1"), "of b").await.unwrap();
    job.persist_put("b", k("2"), "of b").await.unwrap();
    // A category is no prefix of another one's keys.
    job.persist_put("ab", k(""), "of ab").await.unwrap();
    assert_eq!(job.get("a", k("1")).await.unwrap().unwrap(), b"of a");
    assert_eq!(job.get("b", k("1")).await.unwrap().unwrap(), b"of b");
    assert_eq!((job.count("a", ..).await.unwrap(), job.count("b", ..).await.unwrap()), (1, 2));
    assert_eq!(job.get("a", k("b")).await.unwrap(), None);
    job.persist_delete("a", k("1")).await.unwrap();
    assert!(job.exists("b", k("1")).await.unwrap());
}

async fn empty_keys_payloads_and_categories_are_rows(root: &TestRoot) {
    let job = root.job().await;
    for category in ["", "m"] {
        for key in ["", "a"] {
            job.persist_put(category, k(key), "").await.unwrap();
        }
    }
    for category in ["", "m"] {
        assert_eq!(keys(&job, category).await, [b"".to_vec(), b"a".to_vec()]);
        assert_eq!(job.count(category, ..).await.unwrap(), 2);
        assert_eq!(job.get(category, k("")).await.unwrap().unwrap(), b"");
        assert!(job.exists(category, k("")).await.unwrap());
        assert_eq!(job.scan_prefix(category, k("")).await.unwrap().len(), 2);
    }
    assert_eq!(job.categories().await.unwrap(), ["", "m"]);
    assert!(job.delete_acked("", k("")).await.unwrap());
    assert_eq!(keys(&job, "").await, [b"a".to_vec()]);
    assert_eq!(keys(&job, "m").await, [b"".to_vec(), b"a".to_vec()]);
}

async fn a_delete_tells_whether_the_row_was_there(root: &TestRoot) {
    let job = root.job().await;
    assert!(!job.delete_acked("m", k("a")).await.unwrap());
    job.persist_put("m", k("a"), "").await.unwrap();
    assert!(job.delete_acked("m", k("a")).await.unwrap());
    assert!(!job.delete_acked("m", k("a")).await.unwrap());
    assert!(!job.exists("m", k("a")).await.unwrap());
}

async fn deletes_and_puts_of_one_key_alternate(root: &TestRoot) {
    let job = root.job().await;
    for round in 0..50 {
        // Nothing is waited for but the delete: it has to see the put before it.
        job.persist_put("m", k("a"), "").await.unwrap();
        assert!(job.delete_acked("m", k("a")).await.unwrap(), "round {round}");
        job.persist_put("m", k("a"), "").await.unwrap();
        job.persist_delete("m", k("a")).await.unwrap();
        assert!(!job.delete_acked("m", k("a")).await.unwrap(), "round {round}");
    }
}

async fn many_keys_are_answered_in_the_order_asked(root: &TestRoot) {
    let job = root.job().await;
    job.persist_put("m", k("a"), "1").await.unwrap();
    job.persist_put("m", k("c"), "").await.unwrap();
    let asked = || ["c", "b", "a", "c"].map(k);
    let found = job.get_many("m", asked()).await.unwrap();
    assert_eq!(found, [Some(vec![]), None, Some(b"1".to_vec()), Some(vec![])]);
    assert_eq!(job.exists_many("m", asked()).await.unwrap(), [true, false, true, true]);
    assert!(job.get_many("m", []).await.unwrap().is_empty());
    assert!(job.exists_many("m", []).await.unwrap().is_empty());
}

async fn keys_of_any_bytes_are_told_apart_and_ordered_unsigned(root: &TestRoot) {
    let job = root.job().await;
    let ascending: [&[u8]; 12] = [
        b"",
        b"\0",
        b"\0\0",
        b"\0\xff",
        b"\x01",
        b"A",
        b"a",
        b"a\0",
        b"a\xff",
        b"\x7f",
        b"\x80\xc0",
        b"\xff\xff",
    ];
    for key in ascending.iter().rev() {
        job.persist_put("m", k(*key), *key).await.unwrap();
    }
    assert_eq!(keys(&job, "m").await, ascending);
    for key in ascending {
        assert_eq!(job.get("m", k(key)).await.unwrap().unwrap(), key);
    }
}

async fn categories_are_named_in_byte_order_while_they_hold_rows(root: &TestRoot) {
    let job = root.job().await;
    // As UTF-16 the last two would change places.
    let ascending = ["", "\0", "A", "a", "a/b", "ab", "\u{e9}", "\u{ffff}", "\u{1f600}"];
    for category in ascending.iter().rev() {
        job.persist_put(category, k("1"), "").await.unwrap();
        job.persist_put(category, k("2"), "").await.unwrap();
    }
    assert_eq!(job.categories().await.unwrap(), ascending);
    job.persist_delete("a", k("1")).await.unwrap();
    assert!(job.categories().await.unwrap().contains(&"a".to_owned()));
    job.persist_delete("a", k("2")).await.unwrap();
    assert!(!job.categories().await.unwrap().contains(&"a".to_owned()));
}

/// Sizes beside every border that an engine may have: pages, chunks, parts of the log.
fn sizes() -> Vec<usize> {
    let borders = [4096, 8192, 16 << 10, 32 << 10, 48 << 10, 64 << 10, 1 << 20];
    let beside = borders.into_iter().flat_map(|border| [border - 1, border, border + 1]);
    [0, 1, 100].into_iter().chain(beside).collect()
}

fn payload(size: usize) -> Vec<u8> {
    (0..size).map(|index| (index * 7 + size) as u8).collect()
}

async fn payloads_of_every_size_class_come_back_exactly(root: &TestRoot) {
    let job = root.job().await;
    for size in sizes() {
        job.persist_put("m", key!(size as u64).unwrap(), payload(size)).await.unwrap();
    }
    for size in sizes() {
        let found = job.get("m", key!(size as u64).unwrap()).await.unwrap().unwrap();
        assert!(found == payload(size), "{size}");
    }
    let scanned = rows(&job, "m").await;
    assert!(scanned.iter().map(|(_, found)| found.len()).eq(sizes()));
    assert!(scanned.iter().all(|(_, found)| *found == payload(found.len())));
}

async fn a_payload_may_grow_and_shrink(root: &TestRoot) {
    let job = root.job().await;
    for size in [0, 1 << 20, 10, 40 << 10, 32 << 10, 100 << 10, 0, 70 << 10] {
        job.persist_put("m", k("a"), payload(size)).await.unwrap();
        assert!(job.get("m", k("a")).await.unwrap().unwrap() == payload(size), "{size}");
        assert_eq!(job.count("m", ..).await.unwrap(), 1);
    }
    assert!(job.delete_acked("m", k("a")).await.unwrap());
    assert_eq!(job.get("m", k("a")).await.unwrap(), None);
    assert!(job.check().await.unwrap().is_empty());
}

#[derive(Debug, PartialEq)]
struct Message {
    sender: String,
    seq: i64,
    body: Vec<u8>,
}
key_part!(Message { sender, seq, body });

async fn an_encoded_value_is_stored_as_its_payload(root: &TestRoot) {
    let job = root.job().await;
    let message = Message { sender: "alice".to_owned(), seq: 9, body: vec![0xaa, 0xbb] };
    job.persist_encoded("m", key!("alice", 9i64).unwrap(), &message).await.unwrap();
    let found = job.get("m", key!("alice", 9i64).unwrap()).await.unwrap().unwrap();
    assert_eq!(found, message.to_payload().unwrap());
    assert_eq!(Message::from_payload(&found).unwrap(), message);
    job.persist_encoded("m", k("text"), "hi").await.unwrap();
    assert_eq!(job.get("m", k("text")).await.unwrap().unwrap(), [0, 2, b'h', b'i']);
}

async fn every_way_to_write_one_row_writes_it(root: &TestRoot) {
    use persistency::Batch;
    let job = root.job().await;
    let put = |key: &str| Batch::new().put("m", k(key), "x");
    job.persist(put("a")).await.unwrap();
    job.try_persist(put("b")).unwrap();
    job.persist_put("m", k("c"), "x").await.unwrap();
    job.persist_acked(put("d")).await.unwrap();
    job.put_acked("m", k("e"), "x").await.unwrap();
    assert_eq!(keys(&job, "m").await, ["a", "b", "c", "d", "e"].map(|key| key.as_bytes().to_vec()));
    job.persist_delete("m", k("a")).await.unwrap();
    job.persist(Batch::new().delete("m", k("b"))).await.unwrap();
    job.delete_acked("m", k("c")).await.unwrap();
    job.persist_delete_prefix("m", k("d")).await.unwrap();
    assert_eq!(keys(&job, "m").await, [b"e".to_vec()]);
}
