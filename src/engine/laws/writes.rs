//! Laws of `apply`: one transaction, its order, its ranges, and payloads of every size class.
//!
//! Never examines what a failure does; that is the fault model's part.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::rc::Rc;

use super::*;
use crate::limits::LOG_PART_BYTES_MAX;
use crate::testing::Random;

/// Applies with reads; `writes` is what is decided. Gives back what the decision was shown.
async fn decide_with(
    engine: &dyn Engine,
    reads: Vec<Point>,
    durable: bool,
    writes: Option<Vec<Write>>,
) -> Vec<Option<Vec<u8>>> {
    let shown = Rc::new(RefCell::new(None));
    let calls = Rc::new(Cell::new(0));
    let (shown_inside, calls_inside) = (Rc::clone(&shown), Rc::clone(&calls));
    let decide = Box::new(move |found| {
        calls_inside.set(calls_inside.get() + 1);
        shown_inside.replace(Some(found));
        writes
    });
    let reads = reads.into_iter().map(look).collect();
    engine.apply(Change { reads, decide, durable }).await.expect("applies");
    assert_eq!(calls.get(), 1, "decides once");
    shown.take().expect("was shown what was read")
}

pub(crate) async fn apply_reads_decides_and_writes_in_one_transaction(site: impl Site) {
    let engine = open(&site, "job").await;
    apply_batch(&*engine, Batch::new().put("c", key("a"), "1").put("c", key("big"), vec![9; 100_000])).await;
    let reads = vec![
        point("c", "big"),
        point("c", "none"),
        Point::record(),
        log_point([0, 1]),
        point("c", "a"),
        point("c", "a"),
    ];
    for durable in [false, true] {
        let next = [Some(vec![9; 100_000]), None, Some(FIRST_RECORD.to_vec()), None];
        let (record, log) = (FIRST_RECORD.to_vec(), b"logged".to_vec());
        let writes = vec![
            batch_write(Batch::new().delete("c", key("a")).put("d", key("new"), "2")),
            Write::Put(Point::record(), b"next record".to_vec()),
            Write::Put(log_point([0, 1]), log.clone()),
        ];
        let shown = decide_with(&*engine, reads.clone(), durable, Some(writes)).await;
        assert_eq!(shown[..4], next, "in the order asked");
        assert_eq!(shown[4..], [Some(b"1".to_vec()), Some(b"1".to_vec())], "as often as asked");
        let written = vec![point("c", "a"), point("d", "new"), Point::record(), log_point([0, 1])];
        let expected = [None, Some(b"2".to_vec()), Some(b"next record".to_vec()), Some(log)];
        assert_eq!(get_points(&*engine, written).await, expected);
        let back = vec![
            batch_write(Batch::new().put("c", key("a"), "1").clear("d")),
            Write::Put(Point::record(), record),
            Write::DeleteSpan(Space::Log, Span::all()),
        ];
        apply_writes(&*engine, back).await;
    }
    for expected in 1..=20u8 {
        // Each decision sees the one before it.
        let decide = Box::new(|found: Vec<Option<Vec<u8>>>| {
            let number = found[0].as_ref().map_or(0, |bytes| bytes[0]);
            Some(vec![batch_write(Batch::new().put("n", key("n"), vec![number + 1]))])
        });
        let change = Change { reads: vec![look(point("n", "n"))], decide, durable: false };
        engine.apply(change).await.expect("applies");
        assert_eq!(get_row(&*engine, "n", "n").await, Some(vec![expected]));
    }
    end(&site, engine, "job").await;
}

pub(crate) async fn looks_see_as_much_as_they_want(site: impl Site) {
    let engine = open(&site, "job").await;
    let mut batch = Batch::new();
    let sizes = [0, 1, 2, 100, 32768, 32769, 70_000];
    for size in sizes {
        batch = batch.put("c", key(size.to_string()), vec![8; size]);
    }
    apply_batch(&*engine, batch).await;
    let bounds = [0, 1, 99, 100, 32767, 32768, 69_999, 70_000, usize::MAX];
    let wants = bounds.into_iter().map(Want::Payload).chain([Want::Presence]);
    for want in wants {
        let mut reads =
            vec![Look { point: point("c", "none"), want }, Look { point: log_point("none"), want }];
        reads.extend(sizes.map(|size| Look { point: point("c", size.to_string()), want }));
        let decide = Box::new(move |found: Vec<Option<Vec<u8>>>| {
            assert_eq!(found[..2], [None, None], "{want:?}");
            for (size, payload) in sizes.into_iter().zip(&found[2..]) {
                let payload = payload.as_ref().expect("is there");
                match want {
                    Want::Payload(max) if size <= max => {
                        assert!(*payload == vec![8; size], "{size} {want:?}")
                    }
                    Want::Payload(max) => assert!(payload.len() > max, "{size} {want:?}"),
                    Want::Presence => {}
                }
            }
            None
        });
        engine.apply(Change { reads, decide, durable: false }).await.expect("applies");
    }
    end(&site, engine, "job").await;
}

pub(crate) async fn overlapping_reads_see_whole_commits(site: impl Site) {
    let engine = open(&site, "job").await;
    for number in 0..10u8 {
        let mut batch = Batch::new();
        for row in 0..300u16 {
            batch = batch.put("c", key(row.to_be_bytes()), vec![number; usize::from(number) + 1]);
        }
        let first = page(&*engine, whole(rows("c")));
        let second = count(&*engine, "c", Span::all());
        let write = apply_batch(&*engine, batch);
        let points = (0..300u16).map(|row| point("c", row.to_be_bytes())).collect();
        let third = get_points(&*engine, points);
        let (first, second, (), third) = futures_util::join!(first, second, write, third);
        let mut payloads: Vec<Option<Vec<u8>>> = first.rows.into_iter().map(|row| Some(row.1)).collect();
        payloads.dedup();
        assert!(payloads.len() <= 1, "a page sees one commit, not {payloads:?}");
        assert!(second == 300 || (second == 0 && number == 0), "a count sees one commit: {second}");
        let mut payloads = third;
        payloads.dedup();
        assert_eq!(payloads.len(), 1, "a get sees one commit, not {payloads:?}");
    }
    end(&site, engine, "job").await;
}

pub(crate) async fn deciding_none_writes_nothing(site: impl Site) {
    let engine = open(&site, "job").await;
    apply_batch(&*engine, Batch::new().put("c", key("a"), "1")).await;
    for durable in [false, true] {
        let shown = decide_with(&*engine, vec![point("c", "a")], durable, None).await;
        assert_eq!(shown, [Some(b"1".to_vec())]);
        let shown = decide_with(&*engine, vec![], durable, Some(vec![])).await;
        assert_eq!(shown, Vec::new());
    }
    assert_eq!(page(&*engine, whole(rows("c"))).await.rows, [(b"a".to_vec(), b"1".to_vec())]);
    assert_eq!(record(&*engine).await, Some(FIRST_RECORD.to_vec()));
    end(&site, engine, "job").await;
}

pub(crate) async fn writes_apply_in_order(site: impl Site) {
    let engine = open(&site, "job").await;
    let batch = Batch::new()
        .put("c", key("a"), "first")
        .put("c", key("b"), vec![1; 70_000])
        .put("c", key("a"), "last")
        .delete("c", key("b"))
        .put("c", key("p1"), "gone")
        .put("c", key("p2"), vec![2; 70_000])
        .delete_range("c", key("p")..key("q"))
        .put("c", key("p2"), "after")
        .put("d", key("x"), "gone")
        .clear("d")
        .delete("d", key("never"));
    let writes = vec![
        batch_write(batch),
        Write::Put(log_point([1]), b"gone".to_vec()),
        Write::DeleteSpan(Space::Log, Span::all()),
        Write::Put(log_point([2]), b"first".to_vec()),
        Write::Put(log_point([2]), b"last".to_vec()),
        batch_write(Batch::new().put("c", key("z"), "z1").delete("c", key("a")).put("c", key("a"), "anew")),
    ];
    apply_writes(&*engine, writes).await;
    let expected = [("a", "anew"), ("p2", "after"), ("z", "z1")];
    let expected = expected.map(|(key, payload)| (key.as_bytes().to_vec(), payload.as_bytes().to_vec()));
    assert_eq!(page(&*engine, whole(rows("c"))).await.rows, expected);
    assert_eq!(categories(&*engine).await, ["c"]);
    assert_eq!(page(&*engine, whole(Space::Log)).await.rows, [(log_key([2]), b"last".to_vec())]);
    assert_undamaged(&*engine).await;
    end(&site, engine, "job").await;
}

pub(crate) async fn delete_range_stops_at_its_bounds(site: impl Site) {
    let engine = open(&site, "job").await;
    let all: [&[u8]; 9] = [b"", b"\0", b"a", b"a\0", b"a\xFF", b"a\xFF\xFF", b"b", b"\xFF", b"\xFF\xFF"];
    let spans = [
        Span::all(),
        span("a", "b"),
        span("a\0", "b"),
        span("", "a"),
        span("\0", "a\0"),
        span("a", "a\0"),
        Span { start: b"a\xFF".to_vec(), end: None },
        Span { start: b"\xFF".to_vec(), end: None },
        span("", b"\xFF\xFF"),
    ];
    for span in spans {
        let mut batch = Batch::new();
        for category in ["b", "c", "c\0", "d"] {
            for bytes in all {
                batch = batch.put(category, key(bytes), vec![5; 33_000 * usize::from(bytes == b"a")]);
            }
        }
        let range = crate::range::KeyRange::from(span.clone());
        apply_batch(&*engine, batch.delete_range("c", range)).await;
        let kept: Vec<_> = all.into_iter().filter(|key| !span.contains(key)).collect();
        assert_eq!(keys(&*engine, rows("c")).await, kept, "{span:?}");
        for category in ["b", "c\0", "d"] {
            assert_eq!(keys(&*engine, rows(category)).await, all, "{span:?} of a neighbour");
        }
    }
    assert_undamaged(&*engine).await;
    end(&site, engine, "job").await;
}

/// Sizes around every bound at which an engine may store a payload in another way.
const SIZES: [usize; 12] =
    [0, 1, 32767, 32768, 32769, 49151, 49152, 49153, 65535, 65536, 65537, (1 << 20) + 1];

pub(crate) async fn large_payloads_come_back(site: impl Site) {
    let engine = open(&site, "job").await;
    let mut random = Random::new(2);
    let mut payloads: Vec<Vec<u8>> = SIZES.iter().map(|size| random.payload(*size)).collect();
    let name = |index: usize| (index as u16).to_be_bytes();
    // Then each is overwritten by one of another size class, larger or smaller, twice.
    for round in 0..3 {
        let mut batch = Batch::new();
        for (index, payload) in payloads.iter().enumerate() {
            batch = batch.put("c", key(name(index)), payload.clone());
        }
        apply_batch(&*engine, batch).await;
        let points = (0..SIZES.len()).map(|index| point("c", name(index))).collect();
        let got = get_points(&*engine, points).await;
        assert!(got.iter().flatten().eq(payloads.iter()), "round {round}: a get gives back what was put");
        let page = page(&*engine, whole(rows("c"))).await;
        assert!(page.rows.iter().map(|row| row.1).eq(payloads.iter()), "round {round}: and so does a page");
        assert_undamaged(&*engine).await;
        payloads.rotate_left(5);
    }
    // Pages bounded in bytes count the payload, wherever it is stored.
    payloads.rotate_right(5);
    let bytes_max = 2 + payloads[0].len() + 2 + payloads[1].len();
    for (bytes_max, len) in [(bytes_max, 2), (bytes_max - 1, 1)] {
        let page = page(&*engine, PageRequest { bytes_max, ..whole(rows("c")) }).await;
        assert_eq!((page.rows.len(), page.more), (len, true));
    }
    let range = crate::range::KeyRange::from(span(name(2), name(9)));
    apply_batch(&*engine, Batch::new().delete_range("c", range).delete("c", key(name(0)))).await;
    assert_eq!(keys(&*engine, rows("c")).await, [1, 9, 10, 11].map(|index| name(index).to_vec()));
    assert_eq!(count(&*engine, "c", Span::all()).await, 4);
    assert_undamaged(&*engine).await;
    // A small one, then one that was large before, under a key that was deleted.
    apply_batch(&*engine, Batch::new().put("c", key(name(5)), "s").put("c", key(name(6)), vec![6; 40_000]))
        .await;
    assert_eq!(get_row(&*engine, "c", name(5)).await, Some(b"s".to_vec()));
    assert_eq!(get_row(&*engine, "c", name(6)).await, Some(vec![6; 40_000]));
    apply_batch(&*engine, Batch::new().clear("c")).await;
    assert_eq!(count(&*engine, "c", Span::all()).await, 0);
    assert_undamaged(&*engine).await;
    end(&site, engine, "job").await;
}

pub(crate) async fn large_log_values_come_back(site: impl Site) {
    let engine = open(&site, "job").await;
    let mut random = Random::new(3);
    // A full part and a generous header.
    let values = [0, 1, LOG_PART_BYTES_MAX, LOG_PART_BYTES_MAX + 256].map(|size| random.payload(size));
    let writes = values.iter().enumerate().map(|(n, value)| Write::Put(log_point([n as u8]), value.clone()));
    let big_record = random.payload(40_000);
    let writes = writes.chain([Write::Put(Point::record(), big_record.clone())]);
    apply_writes(&*engine, writes.collect()).await;
    let page = page(&*engine, whole(Space::Log)).await;
    assert!(page.rows.iter().map(|row| row.1).eq(values.iter()));
    assert!(record(&*engine).await == Some(big_record), "64 holders of 255 bytes make a large record");
    assert_undamaged(&*engine).await;
    end(&site, engine, "job").await;
}

pub(crate) async fn empty_removes_rows_and_log_but_not_record(site: impl Site) {
    let engine = open(&site, "job").await;
    let fill = || {
        let batch =
            Batch::new().put("", key(""), "").put("c", key("a"), "1").put("d", key("b"), vec![3; 100_000]);
        vec![batch_write(batch), Write::Put(log_point("l"), b"log".to_vec())]
    };
    apply_writes(&*engine, fill()).await;
    apply_writes(&*engine, vec![Write::Empty]).await;
    assert_eq!(categories(&*engine).await, Vec::<String>::new());
    assert_eq!(get_row(&*engine, "c", "a").await, None);
    assert_eq!(get_row(&*engine, "d", "b").await, None);
    assert_eq!(keys(&*engine, Space::Log).await, Vec::<Vec<u8>>::new());
    assert_eq!(record(&*engine).await, Some(FIRST_RECORD.to_vec()));
    assert_undamaged(&*engine).await;
    // Beside other writes it stands in their order.
    let mut writes = vec![Write::Put(Point::record(), b"kept".to_vec())];
    writes.extend(fill());
    writes.push(Write::Empty);
    writes.push(batch_write(Batch::new().put("c", key("z"), "after")));
    apply_writes(&*engine, writes).await;
    assert_eq!(categories(&*engine).await, ["c"]);
    assert_eq!(keys(&*engine, rows("c")).await, [b"z"]);
    assert_eq!(keys(&*engine, Space::Log).await, Vec::<Vec<u8>>::new());
    assert_eq!(record(&*engine).await, Some(b"kept".to_vec()));
    assert_undamaged(&*engine).await;
    end(&site, engine, "job").await;
}

pub(crate) async fn random_writes_equal_a_map(site: impl Site) {
    let engine = open(&site, "job").await;
    let mut random = Random::new(4);
    let mut model: BTreeMap<(usize, Vec<u8>), Vec<u8>> = BTreeMap::new();
    let names = ["", "c", "c\0"];
    let short = |random: &mut Random| -> Vec<u8> {
        (0..random.below(4)).map(|_| [0, b'a', 0xFF][random.below(3)]).collect()
    };
    for step in 0..80 {
        let mut batch = Batch::new();
        for _ in 0..=random.below(8) {
            let category = random.below(names.len());
            let bytes = short(&mut random);
            match random.below(8) {
                0 => {
                    let span = Span { start: bytes, end: (random.below(3) > 0).then(|| short(&mut random)) };
                    model.retain(|(at, key), _| *at != category || !span.contains(key));
                    batch = batch.delete_range(names[category], crate::range::KeyRange::from(span));
                }
                1 | 2 => {
                    model.remove(&(category, bytes.clone()));
                    batch = batch.delete(names[category], key(bytes));
                }
                _ => {
                    let payload = vec![step; [0, 3, 33_000, 66_000][random.below(4)]];
                    model.insert((category, bytes.clone()), payload.clone());
                    batch = batch.put(names[category], key(bytes), payload);
                }
            }
        }
        apply_batch(&*engine, batch).await;
        for (index, name) in names.iter().enumerate() {
            let found = page(&*engine, whole(rows(name))).await.rows;
            let expected = model.iter().filter(|((at, _), _)| *at == index);
            assert!(
                found.iter().eq(expected.map(|((_, key), payload)| (&**key, &**payload))),
                "step {step} of {name:?}"
            );
        }
    }
    assert_undamaged(&*engine).await;
    end(&site, engine, "job").await;
}

pub(crate) async fn compacting_keeps_everything(site: impl Site) {
    let engine = open(&site, "job").await;
    apply_batch(
        &*engine,
        Batch::new().put("c", key("a"), vec![1; 300_000]).put("c", key("b"), vec![2; 300_000]),
    )
    .await;
    if let Some(bytes) = engine.bytes().await.expect("tells") {
        assert!(bytes >= 600_000, "{bytes}");
    }
    apply_batch(&*engine, Batch::new().delete("c", key("a"))).await;
    engine.compact().await.expect("compacts");
    assert_eq!(page(&*engine, whole(rows("c"))).await.rows, [(b"b".to_vec(), vec![2; 300_000])]);
    assert_eq!(record(&*engine).await, Some(FIRST_RECORD.to_vec()));
    assert_undamaged(&*engine).await;
    end(&site, engine, "job").await;
}
