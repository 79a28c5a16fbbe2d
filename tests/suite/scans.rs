//! Facts about scans: order, limits, keys only, and streams of pages.

use futures_util::StreamExt;
use persistency::{Batch, Job, Pages, Row, key, limits};

use crate::common::{TestRoot, k, put_all};

facts! {
    everywhere:
        a_scan_is_in_key_order_whatever_the_order_of_the_puts,
        reverse_is_from_the_last_row_to_the_first,
        a_limit_takes_the_first_rows_of_the_order,
        keys_only_leaves_payloads_out,
        a_scan_is_asked_when_it_is_awaited,
        pages_hold_all_rows_once_and_in_order,
        pages_are_bounded_in_bytes_and_rows,
        a_row_larger_than_a_page_is_a_page,
        a_stream_obeys_its_limit,
        a_stream_of_nothing_ends_at_once,
        a_row_behind_the_position_is_not_seen_and_one_ahead_is,
        a_page_that_was_not_awaited_to_its_end_is_read_again,
        a_stream_reads_what_was_written_before_each_page,
        duplicates_collapse_in_a_prefix_scan;
}

fn names(rows: &[Row]) -> Vec<&str> {
    rows.iter().map(|row| std::str::from_utf8(row.key.as_bytes()).unwrap()).collect()
}

async fn all_of(mut pages: Pages) -> Vec<Row> {
    let mut rows = Vec::new();
    while let Some(page) = pages.next().await {
        let page = page.unwrap();
        assert!(!page.is_empty(), "a page has at least one row");
        rows.extend(page);
    }
    assert!(pages.next().await.is_none(), "the end stays the end");
    rows
}

async fn put_rows(job: &Job, count: u32, size: usize) {
    for number in 0..count {
        job.persist_put("m", key!(number).unwrap(), vec![number as u8; size]).await.unwrap();
    }
}

async fn a_scan_is_in_key_order_whatever_the_order_of_the_puts(root: &TestRoot) {
    let job = root.job().await;
    put_all(&job, "m", ["d", "a", "c", "b", "e"]).await;
    assert_eq!(names(&job.scan("m", ..).await.unwrap()), ["a", "b", "c", "d", "e"]);
}

async fn reverse_is_from_the_last_row_to_the_first(root: &TestRoot) {
    let job = root.job().await;
    put_all(&job, "m", ["d", "a", "c", "b", "e"]).await;
    assert_eq!(names(&job.scan("m", ..).reverse().await.unwrap()), ["e", "d", "c", "b", "a"]);
    assert_eq!(names(&job.scan("m", k("b")..k("d")).reverse().await.unwrap()), ["c", "b"]);
}

async fn a_limit_takes_the_first_rows_of_the_order(root: &TestRoot) {
    let job = root.job().await;
    put_all(&job, "m", ["a", "b", "c"]).await;
    assert_eq!(names(&job.scan("m", ..).limit(2).await.unwrap()), ["a", "b"]);
    assert_eq!(names(&job.scan("m", ..).reverse().limit(2).await.unwrap()), ["c", "b"]);
    assert_eq!(job.scan("m", ..).limit(0).await.unwrap().len(), 0);
    assert_eq!(job.scan("m", ..).limit(usize::MAX).await.unwrap().len(), 3);
}

async fn keys_only_leaves_payloads_out(root: &TestRoot) {
    let job = root.job().await;
    job.persist_put("m", k("a"), vec![1; 100_000]).await.unwrap();
    job.persist_put("m", k("b"), "2").await.unwrap();
    let rows = job.scan("m", ..).keys_only().await.unwrap();
    assert_eq!(names(&rows), ["a", "b"]);
    assert!(rows.iter().all(|row| row.payload.is_empty()));
    let pages = all_of(job.scan("m", ..).keys_only().stream()).await;
    assert_eq!(pages, rows);
}

async fn a_scan_is_asked_when_it_is_awaited(root: &TestRoot) {
    let job = root.job().await;
    let scan = job.scan("m", ..);
    let again = scan.clone();
    put_all(&job, "m", ["a"]).await;
    assert_eq!(scan.await.unwrap().len(), 1);
    put_all(&job, "m", ["b"]).await;
    assert_eq!(again.await.unwrap().len(), 2);
}

async fn pages_hold_all_rows_once_and_in_order(root: &TestRoot) {
    let job = root.job().await;
    // 60 rows of 50 KB are three pages.
    put_rows(&job, 60, 50_000).await;
    for reverse in [false, true] {
        let scan = || if reverse { job.scan("m", ..).reverse() } else { job.scan("m", ..) };
        let whole = scan().await.unwrap();
        assert_eq!(whole.len(), 60);
        assert!(all_of(scan().stream()).await == whole);
        let stream = scan().stream().into_stream().map(|page| page.unwrap());
        assert!(stream.concat().await == whole);
    }
}

async fn pages_are_bounded_in_bytes_and_rows(root: &TestRoot) {
    let job = root.job().await;
    put_rows(&job, 50, 100_000).await;
    let mut pages = job.scan("m", ..).stream();
    let mut count = 0;
    while let Some(page) = pages.next().await {
        let bytes: usize = page.unwrap().iter().map(|row| row.key.len() + row.payload.len()).sum();
        assert!(bytes <= limits().page_bytes, "{bytes}");
        count += 1;
    }
    assert!((5..=10).contains(&count), "{count} pages");

    let small = (0..6000u32).fold(Batch::new(), |batch, number| batch.put("n", key!(number).unwrap(), ""));
    job.persist_acked(small).await.unwrap();
    let first = job.scan("n", ..).stream().next().await.unwrap().unwrap();
    assert!(first.len() < 6000, "{} rows", first.len());
    assert_eq!(all_of(job.scan("n", ..).stream()).await.len(), 6000);
    assert_eq!(job.scan("n", ..).await.unwrap().len(), 6000, "one view of them all");
}

async fn a_row_larger_than_a_page_is_a_page(root: &TestRoot) {
    let job = root.job().await;
    put_rows(&job, 3, limits().page_bytes + 1).await;
    let mut pages = job.scan("m", ..).stream();
    for _ in 0..3 {
        assert_eq!(pages.next().await.unwrap().unwrap().len(), 1);
    }
    assert!(pages.next().await.is_none());
}

async fn a_stream_obeys_its_limit(root: &TestRoot) {
    let job = root.job().await;
    put_rows(&job, 60, 50_000).await;
    for limit in [0, 1, 20, 21, 22, 59, 60, 61] {
        let rows = all_of(job.scan("m", ..).reverse().limit(limit).stream()).await;
        assert_eq!(rows.len(), limit.min(60));
        assert!(rows == job.scan("m", ..).reverse().limit(limit).await.unwrap());
    }
}

async fn a_stream_of_nothing_ends_at_once(root: &TestRoot) {
    let job = root.job().await;
    assert!(job.scan("m", ..).stream().next().await.is_none());
    assert_eq!(job.scan("m", ..).stream().into_stream().count().await, 0);
}

async fn a_row_behind_the_position_is_not_seen_and_one_ahead_is(root: &TestRoot) {
    let job = root.job().await;
    for reverse in [false, true] {
        job.persist(Batch::new().clear("m")).await.unwrap();
        put_rows(&job, 40, 100_000).await;
        let scan = job.scan("m", ..);
        let mut pages = if reverse { scan.reverse() } else { scan }.stream();
        let first = pages.next().await.unwrap().unwrap();
        let (low, high) = (k(""), k([0xff; 8]));
        job.persist_put("m", low.clone(), "").await.unwrap();
        job.persist_put("m", high.clone(), "").await.unwrap();
        job.persist_delete("m", first[0].key.clone()).await.unwrap();
        let rest = all_of(pages).await;
        let (behind, ahead) = if reverse { (high, low) } else { (low, high) };
        assert!(rest.iter().all(|row| row.key != behind));
        assert_eq!(rest.last().unwrap().key, ahead);
        assert_eq!(first.len() + rest.len(), 41);
    }
}

async fn a_page_that_was_not_awaited_to_its_end_is_read_again(root: &TestRoot) {
    let job = root.job().await;
    put_rows(&job, 40, 100_000).await;
    let mut pages = job.scan("m", ..).stream();
    let mut rows = pages.next().await.unwrap().unwrap();
    for _ in 0..3 {
        let asked = pages.next();
        if let std::task::Poll::Ready(page) = futures_util::poll!(std::pin::pin!(asked)) {
            rows.extend(page.unwrap().unwrap());
        }
    }
    rows.extend(all_of(pages).await);
    assert!(rows == job.scan("m", ..).await.unwrap());
}

async fn a_stream_reads_what_was_written_before_each_page(root: &TestRoot) {
    let job = root.job().await;
    put_rows(&job, 40, 100_000).await;
    let mut pages = job.scan("m", ..).stream();
    let first = pages.next().await.unwrap().unwrap();
    job.persist(Batch::new().clear("m")).await.unwrap();
    assert!(!first.is_empty());
    assert!(pages.next().await.is_none(), "everything ahead has been deleted");
}

async fn duplicates_collapse_in_a_prefix_scan(root: &TestRoot) {
    let job = root.job().await;
    for number in [3i64, 1, 4, 1, 5, 9, 2] {
        job.persist_put("m", key!("c", number).unwrap(), number.to_string()).await.unwrap();
    }
    job.persist_put("m", key!("d", 6i64).unwrap(), "").await.unwrap();
    let numbers = |rows: Vec<Row>| rows.into_iter().map(|row| row.key.decode::<(String, i64)>().unwrap().1);
    let rows = job.scan_prefix("m", key!("c").unwrap()).await.unwrap();
    assert!(numbers(rows).eq([1, 2, 3, 4, 5, 9]));
    let rows = job.scan_prefix("m", key!("c").unwrap()).reverse().await.unwrap();
    assert!(numbers(rows).eq([9, 5, 4, 3, 2, 1]));
}
