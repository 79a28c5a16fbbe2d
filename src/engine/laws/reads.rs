//! Laws of reading: points, pages, counts, categories, their bounds and the record beside them.
//!
//! Never closes or destroys more than its own job.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::*;
use crate::engine::Fault;
use crate::limits::{CATEGORY_BYTES_MAX, KEY_BYTES_MAX};
use crate::testing::Random;

pub(crate) async fn get_answers_in_the_order_asked(site: impl Site) {
    let engine = open(&site, "job").await;
    let batch = Batch::new().put("c", key("a"), "1").put("c", key("b"), "2").put("d", key("a"), "3");
    apply_writes(&*engine, vec![batch_write(batch), Write::Put(log_point("a"), b"4".to_vec())]).await;
    let points = vec![
        point("d", "a"),
        point("c", "b"),
        point("c", "none"),
        log_point("a"),
        point("none", "a"),
        point("c", "a"),
        Point::record(),
        point("c", "b"),
    ];
    let expected = [Some("3"), Some("2"), None, Some("4"), None, Some("1"), Some("first record"), Some("2")];
    let expected: Vec<_> = expected.iter().map(|value| value.map(|text| text.as_bytes().to_vec())).collect();
    assert_eq!(get_points(&*engine, points).await, expected);
    end(&site, engine, "job").await;
}

pub(crate) async fn get_too_large_says_size(site: impl Site) {
    let engine = open(&site, "job").await;
    apply_batch(
        &*engine,
        Batch::new().put("c", key("a"), vec![1; 60_000]).put("c", key("b"), vec![2; 40_000]),
    )
    .await;
    let points = vec![point("c", "a"), point("c", "none"), point("c", "b")];
    for (bytes_max, fits) in [(100_000, true), (99_999, false), (0, false)] {
        let get = Get { points: points.clone(), presence_only: false, bytes_max };
        match engine.get(get, Verify::Never).await.expect("gets").value {
            Got::TooLarge(bytes) => assert!(!fits && bytes == 100_000, "{bytes} of {bytes_max}"),
            Got::Payloads(payloads) => {
                assert!(fits, "{bytes_max} are too few");
                assert_eq!(payloads, [Some(vec![1; 60_000]), None, Some(vec![2; 40_000])]);
            }
        }
    }
    end(&site, engine, "job").await;
}

pub(crate) async fn presence_is_told_without_payloads(site: impl Site) {
    let engine = open(&site, "job").await;
    apply_batch(
        &*engine,
        Batch::new().put("c", key("a"), "1").put("c", key("e"), "").put("c", key("l"), vec![7; 40_000]),
    )
    .await;
    let points = ["l", "none", "a", "e"].map(|key| point("c", key)).to_vec();
    let get = Get { points, presence_only: true, bytes_max: BYTES_MAX };
    let Got::Payloads(payloads) = engine.get(get, Verify::Never).await.expect("gets").value else {
        panic!("fits");
    };
    let present: Vec<bool> = payloads.iter().map(Option::is_some).collect();
    assert_eq!(present, [true, false, true, true]);
    end(&site, engine, "job").await;
}

pub(crate) async fn page_obeys_rows_bytes_and_direction(site: impl Site) {
    let engine = open(&site, "job").await;
    // Ten rows of 1 + 9 bytes, amid neighbours of other categories.
    let mut batch = Batch::new().put("b", key("z"), "other").put("d", key("0"), "other");
    for digit in "0123456789".chars() {
        batch = batch.put("c", key(digit.to_string()), format!("payload {digit}"));
    }
    apply_batch(&*engine, batch).await;
    let cases = [
        // (start, end, rows_max, bytes_max, reverse) -> (keys, more)
        ("", "~", 100, 1000, false, "0123456789", false),
        ("", "~", 100, 1000, true, "9876543210", false),
        ("", "~", 10, 1000, false, "0123456789", false),
        ("", "~", 9, 1000, false, "012345678", true),
        ("", "~", 9, 1000, true, "987654321", true),
        ("", "~", 1, 1000, true, "9", true),
        ("", "~", 100, 100, false, "0123456789", false),
        ("", "~", 100, 99, false, "012345678", true),
        ("", "~", 100, 30, false, "012", true),
        ("", "~", 100, 29, true, "98", true),
        ("", "~", 100, 0, false, "0", true),
        ("", "~", 100, 0, true, "9", true),
        ("9", "~", 100, 0, false, "9", false),
        ("3", "6", 100, 1000, false, "345", false),
        ("3", "6", 100, 1000, true, "543", false),
        ("3", "6", 3, 30, true, "543", false),
        ("3", "6", 2, 1000, false, "34", true),
        ("3", "3\0", 1, 1000, false, "3", false),
        ("30", "31", 1, 1000, true, "", false),
    ];
    for (start, end, rows_max, bytes_max, reverse, expected, more) in cases {
        let request =
            PageRequest { span: span(start, end), rows_max, bytes_max, reverse, ..whole(rows("c")) };
        let what = format!("{request:?}");
        let page = page(&*engine, request).await;
        let keys: String = page.rows.iter().map(|(key, _)| char::from(key[0])).collect();
        assert_eq!((keys.as_str(), page.more), (expected, more), "{what}");
        for (key, payload) in page.rows {
            assert_eq!(payload, [b"payload ", key.as_slice()].concat(), "{what}");
        }
    }
    end(&site, engine, "job").await;
}

pub(crate) async fn page_keys_only(site: impl Site) {
    let engine = open(&site, "job").await;
    let batch = Batch::new().put("c", key("aa"), "1").put("c", key("bb"), vec![0; 100_000]);
    apply_batch(&*engine, batch.put("c", key("cc"), "3")).await;
    let all = vec![(b"aa".to_vec(), vec![]), (b"bb".to_vec(), vec![]), (b"cc".to_vec(), vec![])];
    // What stays behind does not count: three keys of two bytes each.
    for (bytes_max, reverse, len) in [(6, false, 3), (6, true, 3), (5, false, 2), (5, true, 2)] {
        let request = PageRequest { keys_only: true, bytes_max, reverse, ..whole(rows("c")) };
        let page = page(&*engine, request).await;
        let mut expected = all.clone();
        if reverse {
            expected.reverse();
        }
        expected.truncate(len);
        assert_eq!(page, Page { rows: expected.into(), more: len < 3 }, "{bytes_max} {reverse}");
    }
    end(&site, engine, "job").await;
}

pub(crate) async fn page_takes_boundless_bounds(site: impl Site) {
    let engine = open(&site, "job").await;
    apply_batch(&*engine, Batch::new().put("c", key("a"), "1").put("c", key("b"), "2")).await;
    for reverse in [false, true] {
        let request =
            PageRequest { rows_max: usize::MAX, bytes_max: usize::MAX, reverse, ..whole(rows("c")) };
        let page = page(&*engine, request).await;
        assert_eq!((page.rows.len(), page.more), (2, false));
    }
    let get = Get { points: vec![point("c", "a")], presence_only: false, bytes_max: usize::MAX };
    let got = engine.get(get, Verify::Never).await.expect("gets").value;
    assert_eq!(got, Got::Payloads(vec![Some(b"1".to_vec())]));
    let seen = engine.categories(usize::MAX, Verify::Never).await.expect("lists");
    assert_eq!(seen.value, ["c"]);
    end(&site, engine, "job").await;
}

pub(crate) async fn empty_spans_find_and_delete_nothing(site: impl Site) {
    let engine = open(&site, "job").await;
    apply_batch(
        &*engine,
        Batch::new().put("c", key(""), "0").put("c", key("a"), "1").put("c", key("b"), "2"),
    )
    .await;
    apply_writes(&*engine, vec![Write::Put(log_point("a"), b"1".to_vec())]).await;
    for empty in [span("", ""), span("a", "a"), span("b", "a"), span([0xFF; 4], "")] {
        assert_eq!(count(&*engine, "c", empty.clone()).await, 0, "{empty:?}");
        for reverse in [false, true] {
            for space in [rows("c"), Space::Log] {
                let request = PageRequest { span: empty.clone(), reverse, ..whole(space) };
                assert_eq!(page(&*engine, request).await, Page::default(), "{empty:?}");
            }
        }
        let batch = Batch::new().delete_range("c", crate::range::KeyRange::from(empty.clone()));
        apply_writes(&*engine, vec![batch_write(batch), Write::DeleteSpan(Space::Log, empty)]).await;
    }
    assert_eq!(count(&*engine, "c", Span::all()).await, 3);
    assert_eq!(keys(&*engine, Space::Log).await, [log_key("a")]);
    end(&site, engine, "job").await;
}

pub(crate) async fn empty_key_payload_and_category_are_rows(site: impl Site) {
    let engine = open(&site, "job").await;
    assert_eq!(get_row(&*engine, "", "").await, None);
    apply_batch(&*engine, Batch::new().put("", key(""), "").put("", key([0]), "x").put("c", key(""), ""))
        .await;
    assert_eq!(get_row(&*engine, "", "").await, Some(vec![]));
    assert_eq!(get_row(&*engine, "c", "").await, Some(vec![]));
    assert_eq!(page(&*engine, whole(rows(""))).await.rows, [(vec![], vec![]), (vec![0], b"x".to_vec())]);
    assert_eq!(count(&*engine, "", Span::all()).await, 2);
    assert_eq!(categories(&*engine).await, ["", "c"]);
    apply_batch(&*engine, Batch::new().delete("", key(""))).await;
    assert_eq!(get_row(&*engine, "", "").await, None);
    assert_eq!(count(&*engine, "", Span::all()).await, 1);
    end(&site, engine, "job").await;
}

/// Keys that hurt: empty, prefixes of each other, runs of 00 and FF, invalid UTF-8, random ones.
fn hard_keys(random: &mut Random) -> Vec<Vec<u8>> {
    let mut keys = vec![vec![], b"a".to_vec(), b"ab".to_vec(), b"b".to_vec(), vec![0xC3, 0x28]];
    for run in 1..6 {
        for byte in [0x00, 0x01, 0x7F, 0x80, 0xFE, 0xFF] {
            keys.push(vec![byte; run]);
            keys.push([vec![b'a'], vec![byte; run]].concat());
        }
    }
    for _ in 0..200 {
        let len = random.below(7);
        keys.push((0..len).map(|_| [0x00, 0x01, 0x80, 0xFF][random.below(4)]).collect());
        let len = random.below(40);
        keys.push(random.payload(len));
    }
    keys
}

pub(crate) async fn keys_order_as_unsigned_bytes(site: impl Site) {
    let engine = open(&site, "job").await;
    let mut random = Random::new(1);
    let hard = hard_keys(&mut random);
    let mut map = BTreeMap::new();
    let mut batch = Batch::new();
    for (number, bytes) in hard.iter().enumerate() {
        let payload = number.to_string().into_bytes();
        map.insert(bytes.clone(), payload.clone());
        batch = batch.put("c", key(bytes), payload);
    }
    apply_batch(&*engine, batch).await;
    let all: Vec<_> = map.clone().into_iter().collect();
    assert_eq!(page(&*engine, whole(rows("c"))).await, Page { rows: all.into(), more: false });
    for _ in 0..60 {
        let start = hard[random.below(hard.len())].clone();
        let end = (random.below(4) > 0).then(|| hard[random.below(hard.len())].clone());
        let span = Span { start, end };
        let inside = map.iter().filter(|(key, _)| span.contains(key));
        let mut expected: Vec<_> = inside.map(|(key, payload)| (key.clone(), payload.clone())).collect();
        assert_eq!(count(&*engine, "c", span.clone()).await, expected.len() as u64, "{span:?}");
        let reverse = random.below(2) == 0;
        if reverse {
            expected.reverse();
        }
        let rows_max = 1 + random.below(20);
        let more = expected.len() > rows_max;
        expected.truncate(rows_max);
        let request = PageRequest { span, reverse, rows_max, ..whole(rows("c")) };
        let what = format!("{request:?}");
        assert_eq!(page(&*engine, request).await, Page { rows: expected.into(), more }, "{what}");
    }
    end(&site, engine, "job").await;
}

pub(crate) async fn longest_keys_are_rows(site: impl Site) {
    let engine = open(&site, "job").await;
    let category = "\u{10FFFF}".repeat(CATEGORY_BYTES_MAX / 4);
    let long = |last: u8| [vec![0xFF; KEY_BYTES_MAX - 1], vec![last]].concat();
    let batch = Batch::new().put(&category, key(long(2)), "2").put(&category, key(long(0xFF)), "FF");
    apply_batch(&*engine, batch.put(&category, key(long(0)), "0")).await;
    assert_eq!(get_row(&*engine, &category, long(2)).await, Some(b"2".to_vec()));
    assert_eq!(get_row(&*engine, &category, long(1)).await, None);
    assert_eq!(keys(&*engine, rows(&category)).await, [long(0), long(2), long(0xFF)]);
    // The bound behind the greatest key is one byte longer than any key.
    let behind = |last: u8| [long(last), vec![0]].concat();
    assert_eq!(count(&*engine, &category, span(long(2), behind(0xFF))).await, 2);
    assert_eq!(count(&*engine, &category, Span { start: behind(0xFF), end: None }).await, 0);
    let range = crate::range::KeyRange::from(span(behind(0), behind(2)));
    apply_batch(&*engine, Batch::new().delete_range(&category, range)).await;
    assert_eq!(keys(&*engine, rows(&category)).await, [long(0), long(0xFF)]);
    end(&site, engine, "job").await;
}

/// Categories that hurt: prefixes of each other, NUL, and a pair that UTF-16 orders the other way.
const HARD_CATEGORIES: [&str; 14] =
    ["", "\0", "\0\0", "\0a", "\u{1}", "B", "a", "a\0", "a\0b", "a\u{1}", "ab", "b", "\u{FF5E}", "\u{1F600}"];

pub(crate) async fn categories_order_as_utf8_bytes(site: impl Site) {
    let engine = open(&site, "job").await;
    let mut batch = Batch::new();
    for category in HARD_CATEGORIES.iter().rev() {
        batch = batch.put(category, key("k"), *category).put(category, key(""), "");
    }
    apply_batch(&*engine, batch).await;
    assert_eq!(categories(&*engine).await, HARD_CATEGORIES);
    for category in HARD_CATEGORIES {
        let expected = [(vec![], vec![]), (b"k".to_vec(), category.as_bytes().to_vec())];
        assert_eq!(page(&*engine, whole(rows(category))).await.rows, expected, "{category:?}");
        assert_eq!(count(&*engine, category, Span::all()).await, 2, "{category:?}");
    }
    let (gone, kept) = HARD_CATEGORIES.split_at(7);
    for category in gone {
        apply_batch(&*engine, Batch::new().clear(category)).await;
    }
    assert_eq!(categories(&*engine).await, kept);
    apply_batch(&*engine, Batch::new().delete("b", key("k")).delete("b", key(""))).await;
    assert!(!categories(&*engine).await.contains(&"b".to_string()), "its last row has gone");
    end(&site, engine, "job").await;
}

pub(crate) async fn categories_too_large_is_said(site: impl Site) {
    let engine = open(&site, "job").await;
    apply_batch(&*engine, Batch::new().put("", key(""), "").put("abc", key("k"), "").put("de", key("k"), ""))
        .await;
    let seen = engine.categories(5, Verify::Never).await.expect("five bytes are five bytes");
    assert_eq!(seen.value, ["", "abc", "de"]);
    let error = engine.categories(4, Verify::Never).await.expect_err("five are more than four");
    assert_eq!(error.fault, Fault::TooLarge);
    end(&site, engine, "job").await;
}

pub(crate) async fn count_counts(site: impl Site) {
    let engine = open(&site, "job").await;
    let mut batch = Batch::new().put("b", key("x"), "").put("d", key("x"), "");
    for number in 0..3000u16 {
        batch = batch.put("c", key(number.to_be_bytes()), vec![0; usize::from(number % 5)]);
    }
    apply_batch(&*engine, batch).await;
    let bytes = u16::to_be_bytes;
    assert_eq!(count(&*engine, "c", Span::all()).await, 3000);
    assert_eq!(count(&*engine, "c", span(bytes(10), bytes(2510))).await, 2500);
    assert_eq!(count(&*engine, "c", Span { start: bytes(2999).to_vec(), end: None }).await, 1);
    assert_eq!(count(&*engine, "c", Span { start: bytes(3000).to_vec(), end: None }).await, 0);
    assert_eq!(count(&*engine, "none", Span::all()).await, 0);
    end(&site, engine, "job").await;
}

pub(crate) async fn verify_returns_the_record(site: impl Site) {
    let engine = open(&site, "job").await;
    apply_batch(&*engine, Batch::new().put("c", key("a"), "1").put("c", key("b"), "2")).await;
    apply_writes(&*engine, vec![Write::Put(Point::record(), b"second".to_vec())]).await;
    let record = Some(Some(b"second".to_vec()));
    let cases = [
        (Verify::Never, None, None),
        (Verify::WhenEmpty, None, record.clone()),
        (Verify::Always, record.clone(), record.clone()),
    ];
    for (verify, found, nothing) in cases {
        for (key, expected) in [("a", &found), ("none", &nothing)] {
            let points = vec![point("c", key), point("c", "neither")];
            let get = Get { points, presence_only: false, bytes_max: BYTES_MAX };
            let seen = engine.get(get, verify).await.expect("gets");
            assert_eq!(&seen.record, expected, "get {verify:?} {key}");
            let category: Arc<str> = Arc::from(if key == "a" { "c" } else { "none" });
            let seen = engine.page(whole(Space::Rows(category.clone())), verify).await.expect("reads");
            assert_eq!(&seen.record, expected, "page {verify:?} {key}");
            let seen = engine.count(category, Span::all(), verify).await.expect("counts");
            assert_eq!(&seen.record, expected, "count {verify:?} {key}");
        }
        let seen = engine.page(PageRequest { span: span("b", "a"), ..whole(rows("c")) }, verify).await;
        assert_eq!(seen.expect("reads").record, nothing, "an empty span finds nothing");
        let seen = engine.categories(BYTES_MAX, verify).await.expect("lists");
        assert_eq!(seen.record, found, "categories {verify:?}");
    }
    apply_writes(&*engine, vec![Write::Empty]).await;
    let seen = engine.categories(BYTES_MAX, Verify::WhenEmpty).await.expect("lists");
    assert_eq!((seen.value, seen.record), (vec![], record));
    end(&site, engine, "job").await;
}

pub(crate) async fn log_space_is_ordered(site: impl Site) {
    let engine = open(&site, "job").await;
    let number = |n: u64| n.to_be_bytes().to_vec();
    let mut numbers: Vec<u64> = (0..40).map(|n| n * 7919 % 40 * 131).collect();
    let puts = numbers.iter().map(|n| Write::Put(log_point(number(*n)), format!("part {n}").into_bytes()));
    apply_writes(&*engine, puts.collect()).await;
    numbers.sort_unstable();
    let row = |n: &u64| (number(*n), format!("part {n}").into_bytes());
    let all: Vec<_> = numbers.iter().map(row).collect();
    assert_eq!(page(&*engine, whole(Space::Log)).await, Page { rows: all.clone().into(), more: false });
    let from = span(number(numbers[5]), number(numbers[30]));
    let request = PageRequest { span: from.clone(), rows_max: 7, ..whole(Space::Log) };
    assert_eq!(page(&*engine, request.clone()).await, Page { rows: all[5..12].to_vec().into(), more: true });
    let newest: Vec<_> = all[23..30].iter().rev().cloned().collect();
    let reverse = PageRequest { reverse: true, ..request };
    assert_eq!(page(&*engine, reverse).await, Page { rows: newest.into(), more: true });
    apply_writes(&*engine, vec![Write::DeleteSpan(Space::Log, from)]).await;
    let kept = [&all[..5], &all[30..]].concat();
    assert_eq!(page(&*engine, whole(Space::Log)).await, Page { rows: kept.into(), more: false });
    end(&site, engine, "job").await;
}

pub(crate) async fn log_and_meta_are_not_rows(site: impl Site) {
    let engine = open(&site, "job").await;
    apply_writes(&*engine, vec![Write::Put(log_point("k"), b"log".to_vec())]).await;
    assert_eq!(categories(&*engine).await, Vec::<String>::new());
    // Not even a category of the same name finds them, and rows are found in neither of the others.
    let names = ["", "log", "meta", "rows", "chunks", "record"];
    for category in names {
        assert_eq!(count(&*engine, category, Span::all()).await, 0, "{category:?}");
        assert_eq!(get_row(&*engine, category, "k").await, None);
        assert_eq!(get_row(&*engine, category, "record").await, None);
        apply_batch(
            &*engine,
            Batch::new().put(category, key("k"), "row").put(category, key("record"), "row"),
        )
        .await;
    }
    assert_eq!(get_points(&*engine, vec![log_point("k")]).await, [Some(b"log".to_vec())]);
    assert_eq!(record(&*engine).await, Some(FIRST_RECORD.to_vec()));
    for category in names {
        apply_batch(&*engine, Batch::new().clear(category)).await;
    }
    assert_eq!(keys(&*engine, Space::Log).await, [log_key("k")]);
    assert_eq!(record(&*engine).await, Some(FIRST_RECORD.to_vec()));
    assert_undamaged(&*engine).await;
    end(&site, engine, "job").await;
}
