//! Facts about ranges: which rows each form holds, in a scan, a count and a prefix.

use std::ops::{Bound, RangeBounds};

use persistency::{Job, Key, KeyRange, key, prefix_range};

use crate::common::{TestRoot, k, keys, put_all};

facts! {
    everywhere:
        every_pair_of_bounds_holds_what_it_says,
        every_form_of_rust_range_is_taken,
        inverted_and_empty_ranges_are_empty_results,
        a_half_open_range_has_no_end_of_its_own,
        an_open_end_goes_on_to_the_last_row,
        a_prefix_holds_itself_and_its_extensions,
        an_empty_prefix_is_the_whole_category,
        a_range_is_of_one_category;
}

async fn found(job: &Job, range: impl RangeBounds<Key>) -> Vec<Vec<u8>> {
    let rows = job.scan("m", range).await.unwrap();
    rows.into_iter().map(|row| row.key.into_bytes()).collect()
}

/// Keys that hurt: empty, prefixes of each other, runs of 00 and FF.
const KEYS: [&[u8]; 9] = [b"", b"\0", b"\0\0", b"a", b"a\0", b"a\xff", b"b", b"\xff", b"\xff\xff"];

async fn every_pair_of_bounds_holds_what_it_says(root: &TestRoot) {
    let job = root.job().await;
    put_all(&job, "m", KEYS.into_iter().filter(|key| **key != *b"b")).await;
    let bounds = || {
        let at = KEYS.into_iter().flat_map(|key| [Bound::Included(k(key)), Bound::Excluded(k(key))]);
        at.chain([Bound::Unbounded])
    };
    let stored = keys(&job, "m").await;
    assert_eq!(stored.len(), KEYS.len() - 1);
    for start in bounds() {
        let asked = bounds().map(|end| {
            let (range, job, stored) = ((start.clone(), end), &job, &stored);
            async move {
                let expected = stored.iter().filter(|key| range.contains(&k(key.as_slice())));
                let expected: Vec<_> = expected.cloned().collect();
                assert_eq!(found(job, range.clone()).await, expected, "{range:?}");
                assert_eq!(job.count("m", range.clone()).await.unwrap(), expected.len() as u64, "{range:?}");
                let backwards = job.scan("m", range.clone()).reverse().keys_only().await.unwrap();
                let expected = expected.into_iter().rev();
                assert!(backwards.into_iter().map(|row| row.key.into_bytes()).eq(expected), "{range:?}");
            }
        });
        futures_util::future::join_all(asked).await;
    }
}

async fn every_form_of_rust_range_is_taken(root: &TestRoot) {
    let job = root.job().await;
    put_all(&job, "m", ["a", "b", "c"]).await;
    let (a, b, c) = (k("a"), k("b"), k("c"));
    assert_eq!(job.count("m", ..).await.unwrap(), 3);
    assert_eq!(job.count("m", b.clone()..).await.unwrap(), 2);
    assert_eq!(job.count("m", ..b.clone()).await.unwrap(), 1);
    assert_eq!(job.count("m", ..=b.clone()).await.unwrap(), 2);
    assert_eq!(job.count("m", a.clone()..c.clone()).await.unwrap(), 2);
    assert_eq!(job.count("m", a.clone()..=c.clone()).await.unwrap(), 3);
    assert_eq!(job.count("m", &a..&c).await.unwrap(), 2);
    assert_eq!(job.count("m", (Bound::Excluded(a), Bound::Included(c))).await.unwrap(), 2);
    assert_eq!(job.count("m", KeyRange::new(b..)).await.unwrap(), 2);
    assert_eq!(job.count("m", KeyRange::default()).await.unwrap(), 3);
}

async fn inverted_and_empty_ranges_are_empty_results(root: &TestRoot) {
    let job = root.job().await;
    put_all(&job, "m", ["", "a", "b", "c"]).await;
    let excluded = |key: &str| Bound::Excluded(k(key));
    for range in [
        KeyRange::new(k("c")..k("a")),
        KeyRange::new(k("c")..=k("a")),
        KeyRange::new(k("b")..k("b")),
        KeyRange::new((excluded("b"), excluded("b"))),
        KeyRange::new((excluded("b"), excluded("a"))),
        KeyRange::new(..k("")),
    ] {
        assert!(found(&job, range.clone()).await.is_empty(), "{range:?}");
        assert!(job.scan("m", range.clone()).reverse().await.unwrap().is_empty(), "{range:?}");
        assert_eq!(job.count("m", range.clone()).await.unwrap(), 0, "{range:?}");
        assert!(job.scan("m", range.clone()).stream().next().await.is_none(), "{range:?}");
    }
    assert_eq!(found(&job, k("b")..=k("b")).await, [b"b"]);
    assert_eq!(found(&job, ..=k("")).await, [b""]);
}

async fn a_half_open_range_has_no_end_of_its_own(root: &TestRoot) {
    let job = root.job().await;
    let of = |number: i64| key!(number).unwrap();
    put_all(&job, "m", [5, 3, 1, 4, 2].map(|number| of(number).into_bytes())).await;
    assert_eq!(found(&job, of(2)..of(4)).await, [of(2).into_bytes(), of(3).into_bytes()]);
    assert_eq!(job.count("m", of(2)..of(4)).await.unwrap(), 2);
    assert!(keys(&job, "m").await.into_iter().eq((1..=5).map(|number| of(number).into_bytes())));
}

async fn an_open_end_goes_on_to_the_last_row(root: &TestRoot) {
    let job = root.job().await;
    put_all(&job, "m", [&b"a"[..], b"b", b"\xff\xff\xff"]).await;
    assert_eq!(found(&job, k("b")..).await, [b"b".to_vec(), b"\xff\xff\xff".to_vec()]);
}

async fn a_prefix_holds_itself_and_its_extensions(root: &TestRoot) {
    let job = root.job().await;
    let inside = [
        key!("a").unwrap(),
        key!("a", 0i64).unwrap(),
        key!("a", "x").unwrap(),
        key!("a", i64::MAX).unwrap(),
        key!("a", true).unwrap(),
    ];
    let outside = [key!("").unwrap(), key!("b").unwrap(), key!("ab").unwrap()];
    put_all(&job, "m", inside.iter().chain(&outside).map(|key| key.as_bytes())).await;
    let rows = job.scan_prefix("m", key!("a").unwrap()).await.unwrap();
    let mut expected = inside.to_vec();
    expected.sort();
    assert!(rows.iter().map(|row| &row.key).eq(&expected));
    assert_eq!(job.count("m", prefix_range(&key!("a").unwrap())).await.unwrap(), 5);
}

async fn an_empty_prefix_is_the_whole_category(root: &TestRoot) {
    let job = root.job().await;
    put_all(&job, "m", KEYS).await;
    assert_eq!(job.scan_prefix("m", k("")).await.unwrap().len(), KEYS.len());
    assert_eq!(job.count("m", prefix_range(&k(""))).await.unwrap(), KEYS.len() as u64);
}

async fn a_range_is_of_one_category(root: &TestRoot) {
    let job = root.job().await;
    for category in ["", "l", "m", "m\0", "ma", "n"] {
        put_all(&job, category, KEYS).await;
    }
    put_all(&job, "m", ["only here"]).await;
    assert_eq!(job.count("m", ..).await.unwrap(), KEYS.len() as u64 + 1);
    assert_eq!(found(&job, ..).await.len(), KEYS.len() + 1);
    assert_eq!(job.scan("m", ..).reverse().await.unwrap().len(), KEYS.len() + 1);
    assert_eq!(job.count("", ..).await.unwrap(), KEYS.len() as u64);
}
