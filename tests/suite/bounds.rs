//! Facts about limits: what is beyond one is `TooLarge` before anything is queued, what is exactly at
//! one is taken.

use persistency::{Batch, ErrorKind, Job, KeyRange, Outcome, key, limits};

use crate::common::{TestRoot, k, kind};

facts! {
    everywhere:
        categories_are_taken_up_to_their_limit,
        keys_are_taken_up_to_their_limit,
        parts_of_keys_beyond_their_limit_are_errors,
        range_bounds_are_limited_where_they_are_written,
        operations_are_taken_up_to_their_limit;
    // Once is enough for what takes a hundred MiB: neutral code decides it.
    on_disk:
        batches_are_taken_up_to_their_bytes,
        the_largest_payload_comes_back_and_one_byte_more_is_refused,
        a_result_beyond_its_limit_names_the_ways_out;
}

/// Nothing has been queued, committed or stored.
async fn untouched(job: &Job) {
    let stats = job.stats();
    assert_eq!((stats.queued_operations, stats.queued_bytes, stats.batches_failed), (0, 0, 0));
    assert_eq!(job.committed_seq(), 0);
    job.flush().await.unwrap();
    assert!(job.categories().await.unwrap().is_empty());
}

async fn refused(job: &Job, batch: Batch) {
    let error = job.try_persist(batch.clone()).unwrap_err();
    assert_eq!((error.kind(), error.outcome()), (ErrorKind::TooLarge, Outcome::NotApplied), "{error}");
    assert!(!error.is_retryable());
    assert_eq!(kind(job.persist(batch.clone()).await), ErrorKind::TooLarge);
    assert_eq!(kind(job.persist_acked(batch).await), ErrorKind::TooLarge);
}

async fn categories_are_taken_up_to_their_limit(root: &TestRoot) {
    let job = root.job().await;
    // Bytes count, not characters.
    let longest = format!("{}a", "\u{e9}".repeat(limits().category_bytes / 2));
    assert_eq!(longest.len(), limits().category_bytes);
    let longer = format!("{longest}a");
    refused(&job, Batch::new().put("m", k("a"), "").put(&longer, k("a"), "")).await;
    refused(&job, Batch::new().delete(&longer, k("a"))).await;
    refused(&job, Batch::new().clear(&longer)).await;
    refused(&job, Batch::new().require_absent(&longer, k("a"))).await;
    assert_eq!(kind(job.get(&longer, k("a")).await), ErrorKind::TooLarge);
    assert_eq!(kind(job.exists_many(&longer, [k("a")]).await), ErrorKind::TooLarge);
    assert_eq!(kind(job.count(&longer, ..).await), ErrorKind::TooLarge);
    assert_eq!(kind(job.scan(&longer, ..).await), ErrorKind::TooLarge);
    assert_eq!(kind(job.scan(&longer, ..).stream().next().await.unwrap()), ErrorKind::TooLarge);
    assert_eq!(kind(job.watch(&longer, ..).await), ErrorKind::TooLarge);
    untouched(&job).await;
    job.persist_put(&longest, k("a"), "1").await.unwrap();
    assert_eq!(job.get(&longest, k("a")).await.unwrap().unwrap(), b"1");
    assert_eq!(job.count(&longest, ..).await.unwrap(), 1);
    assert_eq!(job.categories().await.unwrap(), [longest]);
}

async fn keys_are_taken_up_to_their_limit(root: &TestRoot) {
    let job = root.job().await;
    let longest = vec![0xff; limits().key_bytes];
    let longer = vec![0xff; limits().key_bytes + 1];
    refused(&job, Batch::new().put("m", k("a"), "").put("m", k(longer.clone()), "")).await;
    refused(&job, Batch::new().delete("m", k(longer.clone()))).await;
    refused(&job, Batch::new().require_present("m", k(longer.clone()))).await;
    assert_eq!(kind(job.get("m", k(longer.clone())).await), ErrorKind::TooLarge);
    assert_eq!(kind(job.exists("m", k(longer.clone())).await), ErrorKind::TooLarge);
    assert_eq!(kind(job.delete_acked("m", k(longer)).await), ErrorKind::TooLarge);
    untouched(&job).await;
    let below = [&longest[1..], &[0xfe]].concat();
    for key in [&longest, &below] {
        job.persist_put("m", k(key.clone()), "1").await.unwrap();
        assert!(job.get("m", k(key.clone())).await.unwrap().unwrap() == b"1");
    }
    assert_eq!(job.count("m", k(longest.clone())..).await.unwrap(), 1);
    assert_eq!(job.count("m", ..=k(longest.clone())).await.unwrap(), 2);
    let rows = job.scan("m", ..).stream().next().await.unwrap().unwrap();
    assert!(rows.iter().map(|row| row.key.as_bytes()).eq([below, longest.clone()]));
    assert!(job.delete_acked("m", k(longest)).await.unwrap());
}

async fn parts_of_keys_beyond_their_limit_are_errors(root: &TestRoot) {
    let job = root.job().await;
    let longest = "x".repeat(65_535);
    job.persist_put("m", key!(longest).unwrap(), "").await.unwrap();
    assert!(job.exists("m", key!(longest).unwrap()).await.unwrap());
    let longer = "x".repeat(65_536);
    assert_eq!(kind(key!(longer)), ErrorKind::TooLarge);
    assert_eq!(kind(job.persist_encoded("m", k("a"), &longer).await), ErrorKind::TooLarge);
    assert!(!job.exists("m", k("a")).await.unwrap());
}

async fn range_bounds_are_limited_where_they_are_written(root: &TestRoot) {
    let job = root.job().await;
    let longest = k(vec![0xff; limits().key_bytes]);
    let far_too_long = k(vec![0xff; limits().key_bytes + 2]);
    refused(&job, Batch::new().delete_range("m", far_too_long.clone()..)).await;
    refused(&job, Batch::new().delete_range("m", ..far_too_long.clone())).await;
    untouched(&job).await;
    job.persist_put("m", longest.clone(), "").await.unwrap();
    // A read may ask for anything: nothing lies beyond the longest key.
    assert_eq!(job.count("m", far_too_long..).await.unwrap(), 0);
    let batch = Batch::new().delete_range("m", KeyRange::new(longest.clone()..=longest));
    job.persist_acked(batch).await.unwrap();
    assert_eq!(job.count("m", ..).await.unwrap(), 0);
}

async fn operations_are_taken_up_to_their_limit(root: &TestRoot) {
    let job = root.job().await;
    // Operations that do nothing: only their number matters here.
    let nothing =
        |count: usize| (0..count).fold(Batch::new(), |batch, _| batch.delete_range("m", k("b")..k("a")));
    let most = limits().batch_operations;
    refused(&job, nothing(most + 1)).await;
    refused(&job, nothing(most).require_absent("m", k("a"))).await;
    let asked = || std::iter::repeat_with(|| k("a")).take(most + 1);
    assert_eq!(kind(job.get_many("m", asked()).await), ErrorKind::TooLarge);
    assert_eq!(kind(job.exists_many("m", asked()).await), ErrorKind::TooLarge);
    untouched(&job).await;
    assert_eq!(job.persist_acked(nothing(most)).await.unwrap(), 1);
}

async fn batches_are_taken_up_to_their_bytes(root: &TestRoot) {
    let job = root.job().await;
    // Keys of rows that are not there weigh as much as any, and store nothing.
    let count = limits().batch_bytes / limits().key_bytes;
    let full = (0..count).fold(Batch::new(), |batch, _| batch.delete("", k(vec![0x77; limits().key_bytes])));
    refused(&job, full.clone().put("", k(""), "1")).await;
    refused(&job, full.clone().put("m", k(""), "")).await;
    refused(&job, full.clone().require_equal("", k(""), "1")).await;
    untouched(&job).await;
    assert_eq!(job.persist_acked(full.put("", k(""), "")).await.unwrap(), 1);
    assert!(job.exists("", k("")).await.unwrap());
}

async fn the_largest_payload_comes_back_and_one_byte_more_is_refused(root: &TestRoot) {
    let job = root.job().await;
    let most = limits().payload_bytes;
    let required = Batch::new().require_equal("m", k("a"), vec![0; most + 1]);
    assert_eq!(kind(job.try_persist(required)), ErrorKind::TooLarge);
    assert_eq!(kind(job.put_acked("m", k("a"), vec![0; most + 1]).await), ErrorKind::TooLarge);
    untouched(&job).await;
    let mut payload = vec![0x5a; most];
    (payload[0], payload[most - 1]) = (1, 2);
    job.persist_put("m", k("a"), payload.clone()).await.unwrap();
    assert!(job.get("m", k("a")).await.unwrap().unwrap() == payload);
    // A single row may be larger than a whole result.
    assert!(job.scan("m", ..).await.unwrap()[0].payload == payload);
    assert_eq!(job.scan("m", ..).stream().next().await.unwrap().unwrap().len(), 1);
    job.persist_put("m", k("b"), "").await.unwrap();
    assert_eq!(kind(job.scan("m", ..).await), ErrorKind::TooLarge, "two rows may not");
    assert!(job.delete_acked("m", k("a")).await.unwrap());
    assert_eq!(job.count("m", ..).await.unwrap(), 1);
}

async fn a_result_beyond_its_limit_names_the_ways_out(root: &TestRoot) {
    let job = root.job().await;
    let rows = limits().scan_bytes / (1 << 20) + 1;
    for number in 0..rows as u64 {
        job.persist_put("m", key!(number).unwrap(), vec![number as u8; 1 << 20]).await.unwrap();
    }
    for scan in [job.scan("m", ..), job.scan("m", ..).reverse(), job.scan("m", ..).limit(rows)] {
        let error = scan.await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::TooLarge);
        assert!(error.message().contains(".stream()") && error.message().contains(".limit("), "{error}");
    }
    let all = || (0..rows as u64).map(|number| key!(number).unwrap());
    assert_eq!(kind(job.get_many("m", all()).await), ErrorKind::TooLarge);
    assert_eq!(job.get_many("m", all().take(rows / 2)).await.unwrap().len(), rows / 2);
    assert!(job.exists_many("m", all()).await.unwrap().into_iter().all(|there| there));
    assert_eq!(job.scan("m", ..).limit(rows / 2).await.unwrap().len(), rows / 2);
    assert_eq!(job.scan("m", ..).keys_only().await.unwrap().len(), rows);
    assert_eq!(job.count("m", ..).await.unwrap(), rows as u64);
    let mut pages = job.scan("m", ..).stream();
    let mut seen = 0;
    while let Some(page) = pages.next().await {
        seen += page.unwrap().len();
    }
    assert_eq!(seen, rows);
    job.persist(Batch::new().clear("m")).await.unwrap();
    job.flush().await.unwrap();
}
