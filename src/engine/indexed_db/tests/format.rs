//! Format 1 as it lies in the stores, and what `check` says of damage to it.

use js_sys::ArrayBuffer;
use web_sys::DomException;

use super::*;
use crate::engine::indexed_db::bridge::{During, thrown};
use crate::engine::indexed_db::layout::escape_root;
use crate::engine::row_key::{category_prefix, split_row_key};
use crate::engine::{Fault, RECORD_KEY};
use crate::testing::async_test;

/// The bytes of a value, which are the whole of its buffer.
fn exact(value: &JsValue) -> Vec<u8> {
    let bytes = value.dyn_ref::<Uint8Array>().expect("a Uint8Array");
    assert_eq!(bytes.buffer().byte_length(), bytes.length(), "its buffer holds nothing else");
    bytes.to_vec()
}

fn key_bytes(key: &JsValue) -> Vec<u8> {
    Uint8Array::new(key.dyn_ref::<ArrayBuffer>().expect("a binary key")).to_vec()
}

fn row_key(key: &[u8]) -> Vec<u8> {
    [b"c\0\x01", key].concat()
}

#[async_test]
async fn rows_lie_in_the_stores_as_the_format_says() {
    let site = fresh_site();
    let engine = open(&site).await;
    let long: Vec<u8> = (0..2 * CHUNK_BYTES + 5).map(|index| (index % 251) as u8).collect();
    let batch = Batch::new()
        .put("c", key("empty"), "")
        .put("c", key("inline"), vec![1; INLINE_BYTES_MAX])
        .put("c", key("just"), vec![2; INLINE_BYTES_MAX + 1])
        .put("c", key("long"), long.clone())
        .put("a\0b", key([0, 255]), "x");
    engine.apply(change(batch)).await.expect("applies");
    let log = vec![Write::Put(Point { space: Space::Log, key: vec![1] }, vec![3; 50_000])];
    let log = Change { reads: vec![], decide: Box::new(move |_| Some(log)), durable: false };
    engine.apply(log).await.expect("applies");
    let connection = beside(&site).await;

    let (keys, values) = everything(&connection, Store::Rows).await;
    let keys: Vec<Vec<u8>> = keys.iter().map(key_bytes).collect();
    let other = b"a\0\xFFb\0\x01\0\xFF".to_vec();
    let expected = [other, row_key(b"empty"), row_key(b"inline"), row_key(b"just"), row_key(b"long")];
    assert_eq!(keys, expected);
    assert_eq!(exact(&values[1]), b"");
    assert_eq!(exact(&values[2]), vec![1; INLINE_BYTES_MAX]);
    assert_eq!(values[3].as_f64(), Some((INLINE_BYTES_MAX + 1) as f64));
    assert_eq!(values[4].as_f64(), Some(long.len() as f64));

    let (keys, values) = everything(&connection, Store::Chunks).await;
    let keys: Vec<(Vec<u8>, f64)> = keys
        .iter()
        .map(|key| {
            let parts = key.dyn_ref::<Array>().expect("an array");
            (key_bytes(&parts.get(0)), parts.get(1).as_f64().expect("an index"))
        })
        .collect();
    let (just, row) = (row_key(b"just"), row_key(b"long"));
    assert_eq!(keys, [(just, 0.0), (row.clone(), 0.0), (row.clone(), 1.0), (row, 2.0)]);
    let pieces: Vec<Vec<u8>> = values.iter().map(exact).collect();
    assert_eq!(pieces[1..].concat(), long);
    assert_eq!(pieces[3].len(), 5);

    let (keys, values) = everything(&connection, Store::Log).await;
    assert_eq!((key_bytes(&keys[0]), exact(&values[0]).len()), (vec![1], 50_000));
    let (keys, values) = everything(&connection, Store::Meta).await;
    let keys: Vec<Vec<u8>> = keys.iter().map(key_bytes).collect();
    assert_eq!(keys, [CHUNKS_NOTE_KEY, RECORD_KEY]);
    assert_eq!(exact(&values[1]), b"record");
    connection.close();
    end(&site, &engine).await;
}

#[async_test]
async fn no_value_is_larger_than_64_kib() {
    let site = fresh_site();
    let engine = open(&site).await;
    for bytes in [INLINE_BYTES_MAX, INLINE_BYTES_MAX + 1, CHUNK_BYTES, CHUNK_BYTES + 1, 65_536, 3_000_000] {
        engine.apply(put(&format!("{bytes}"), vec![9; bytes])).await.expect("applies");
    }
    let connection = beside(&site).await;
    for store in Store::ALL {
        for value in everything(&connection, store).await.1 {
            let bytes = value.dyn_ref::<Uint8Array>().map_or(0, |bytes| bytes.buffer().byte_length());
            assert!(bytes <= CHUNK_BYTES as u32, "{bytes} in {store:?}");
        }
    }
    connection.close();
    end(&site, &engine).await;
}

#[async_test]
async fn the_note_comes_with_the_first_long_payload_and_goes_with_compact() {
    let site = fresh_site();
    let engine = open(&site).await;
    let connection = beside(&site).await;
    engine.apply(put("a", "short")).await.expect("applies");
    assert_eq!(everything(&connection, Store::Meta).await.0.len(), 1, "only the record");
    engine.apply(put("a", vec![1; 70_000])).await.expect("applies");
    assert_eq!(everything(&connection, Store::Meta).await.0.len(), 2, "the record and the note");
    engine.compact().await.expect("compacts");
    assert_eq!(everything(&connection, Store::Meta).await.0.len(), 2, "there are chunks");
    engine.apply(put("a", "short")).await.expect("applies");
    assert_eq!(everything(&connection, Store::Chunks).await.0.len(), 0, "they went with the payload");
    engine.compact().await.expect("compacts");
    assert_eq!(everything(&connection, Store::Meta).await.0.len(), 1, "only the record");
    connection.close();
    end(&site, &engine).await;
}

#[async_test]
async fn deleting_all_of_meta_keeps_the_note_of_chunks() {
    let site = fresh_site();
    let engine = open(&site).await;
    engine.apply(put("a", vec![1; 70_000])).await.expect("applies");
    let writes = vec![Write::DeleteSpan(Space::Meta, crate::range::Span::all())];
    let everything_else = Change { reads: vec![], decide: Box::new(move |_| Some(writes)), durable: false };
    engine.apply(everything_else).await.expect("applies");
    assert_eq!(engine.check().await.expect("checks"), Vec::<String>::new());
    end(&site, &engine).await;
}

#[async_test]
async fn check_finds_what_is_damaged() {
    let site = fresh_site();
    let engine = open(&site).await;
    let mut batch = Batch::new();
    for number in 0..600u16 {
        batch = batch.put("c", key(number.to_be_bytes()), "x");
    }
    batch = batch.put("c", key("long"), vec![1; 5_000_000]).put("c", key("other"), vec![2; 50_000]);
    engine.apply(change(batch)).await.expect("applies");
    assert_eq!(engine.check().await.expect("checks"), Vec::<String>::new());
    let connection = beside(&site).await;
    let (row, bytes) = (|key: &[u8]| bytes_to_js(row_key(key)), |bytes: &[u8]| Some(bytes_to_js(bytes)));
    let piece = |key: &[u8], index| chunk_key(&row_key(key), index);
    let damages = [
        (Store::Chunks, piece(b"long", 70), None, "101 of its 102"),
        (Store::Chunks, piece(b"long", 70), bytes(b"short"), "wrong length"),
        (Store::Chunks, piece(b"zz", 0), bytes(b"x"), "no row"),
        (Store::Rows, row(b"s"), Some("text".into()), "not binary"),
        (Store::Rows, row(b"t"), Some(5.into()), "impossible"),
        (Store::Meta, bytes_to_js(CHUNKS_NOTE_KEY), None, "not the note"),
    ];
    for (store, key, value, expected) in damages {
        tamper(&connection, store, key, value).await;
        let findings = engine.check().await.expect("checks");
        assert!(findings.iter().any(|finding| finding.contains(expected)), "{expected}: {findings:?}");
    }
    assert_eq!(get(&engine, "long").await.expect_err("is damaged").fault, Fault::Corrupt);
    assert_eq!(get(&engine, "s").await.expect_err("is damaged").fault, Fault::Corrupt);
    assert_eq!(get(&engine, "other").await.expect("is whole"), Some(vec![2; 50_000]));
    connection.close();
    end(&site, &engine).await;
}

#[async_test]
async fn keys_that_begin_with_no_category_are_damage() {
    let site = fresh_site();
    let engine = open(&site).await;
    let connection = beside(&site).await;
    for wrong in [&b""[..], b"a", b"a\0", b"a\0\x02", b"\xFF\0\x01", b"\0"] {
        tamper(&connection, Store::Rows, bytes_to_js(wrong), Some(bytes_to_js(b""))).await;
        let findings = engine.check().await.expect("checks");
        assert_eq!(findings, ["a row's key begins with no category"], "{wrong:?}");
        let error = engine.categories(usize::MAX, Verify::Never).await.expect_err("is damaged");
        assert_eq!(error.fault, Fault::Corrupt, "{wrong:?}");
        tamper(&connection, Store::Rows, bytes_to_js(wrong), None).await;
    }
    connection.close();
    end(&site, &engine).await;
}

#[async_test]
async fn categories_are_escaped_in_their_order_and_back() {
    let names =
        ["", "\0", "\0\0", "\0a", "\u{1}", "a", "a\0", "a\0b", "a\u{1}", "ab", "b", "\u{E9}", "\u{1F600}"];
    for pair in names.windows(2) {
        for (first, second) in [(&[0xFFu8, 0xFF][..], &[][..]), (&[], &[0])] {
            let keys =
                [[&category_prefix(pair[0]), first].concat(), [&category_prefix(pair[1]), second].concat()];
            assert!(keys[0] < keys[1], "{pair:?}");
        }
    }
    for name in names {
        let prefix = category_prefix(name);
        let key = [&prefix[..], &[0, 1, 0]].concat();
        assert_eq!(split_row_key(&key), Some((name.to_owned(), prefix.len())));
    }
    for wrong in [&b""[..], b"a", b"a\0", b"a\0\x02", b"\xFF\0\x01", b"\0"] {
        assert_eq!(split_row_key(wrong), None, "{wrong:?}");
    }
}

#[async_test]
async fn roots_are_escaped_byte_by_byte() {
    assert_eq!(escape_root("az09-_."), "az09-_.");
    assert_eq!(escape_root("A/\u{E9}%"), "%41%2f%c3%a9%25");
    assert_eq!(escape_root(""), "");
}

#[async_test]
async fn exceptions_mean_faults_by_name_and_message() {
    let cases = [
        ("QuotaExceededError", "", During::Writing, Fault::StorageFull),
        ("UnknownError", "Full disk while opening", During::Opening, Fault::StorageFull),
        ("VersionError", "", During::Opening, Fault::TooNew),
        ("SecurityError", "", During::Opening, Fault::Unsupported),
        ("InvalidStateError", "", During::Opening, Fault::Unsupported),
        ("InvalidStateError", "", During::Reading, Fault::Lost),
        ("AbortError", "", During::Writing, Fault::Lost),
        ("UnknownError", "Connection to Indexed Database server lost. Refresh", During::Reading, Fault::Lost),
        ("UnknownError", "", During::Reading, Fault::Other),
        ("NotFoundError", "", During::Reading, Fault::Corrupt),
        ("NotReadableError", "", During::Reading, Fault::Corrupt),
        ("DataError", "Failed to write blobs", During::Writing, Fault::Other),
    ];
    for (name, message, during, expected) in cases {
        let exception = DomException::new_with_message_and_name(message, name).expect("is made");
        assert_eq!(thrown(&exception, during).fault, expected, "{name} {message} {during:?}");
    }
}
