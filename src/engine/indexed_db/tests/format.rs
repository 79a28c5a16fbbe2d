//! Format 1 as it lies in the stores, and what `check` says of damage to it.

use js_sys::{ArrayBuffer, Promise};
use wasm_bindgen_futures::JsFuture;
use web_sys::DomException;

use super::*;
use crate::engine::Fault;
use crate::engine::indexed_db::bridge::{During, thrown};
use crate::engine::indexed_db::create::{by_rexie, by_script};
use crate::engine::indexed_db::layout::escape_root;
use crate::engine::row_key::{category_prefix, split_row_key};
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

/// What can be told of a database from outside, as one line of JSON; it is deleted afterwards.
async fn described(name: &str) -> String {
    let describe = Function::new_with_args(
        "name",
        "const asked = (request) => new Promise((resolve, reject) => {
             request.onsuccess = () => resolve(request.result);
             request.onerror = () => reject(request.error);
         });
         return asked(indexedDB.open(name)).then(async (database) => {
             const { version, objectStoreNames } = database;
             const transaction = database.transaction(objectStoreNames);
             const stores = [];
             for (const each of objectStoreNames) {
                 const { name, keyPath, autoIncrement, indexNames } = transaction.objectStore(each);
                 const rows = await asked(transaction.objectStore(each).count());
                 stores.push({ name, keyPath, autoIncrement, indexes: [...indexNames], rows });
             }
             database.close();
             await asked(indexedDB.deleteDatabase(name));
             return JSON.stringify({ version, stores });
         })",
    );
    let described = describe.call1(&JsValue::NULL, &name.into()).expect("is asked");
    let described = JsFuture::from(described.unchecked_into::<Promise>()).await.expect("is described");
    described.as_string().expect("a string")
}

#[async_test]
async fn rexie_and_the_script_create_the_same_database() {
    let site = fresh_site();
    let name = |id| site.database_name(id).expect("a good id");
    by_rexie::create(&name("rexie")).await.expect("creates");
    by_script::create(&name("script")).await.expect("creates");
    let made = described(&name("script")).await;
    assert_eq!(made, described(&name("rexie")).await);
    for store in Store::ALL {
        let empty = format!(
            "{{\"name\":\"{}\",\"keyPath\":null,\"autoIncrement\":false,\"indexes\":[],\"rows\":0}}",
            store.name()
        );
        assert!(made.contains(&empty), "{made}");
    }
}

#[async_test]
async fn a_database_that_is_there_is_created_over_by_neither() {
    let site = fresh_site();
    let engine = open(&site).await;
    let name = site.database_name("job").expect("a good id");
    by_rexie::create(&name).await.expect("finds it");
    by_script::create(&name).await.expect("finds it");
    engine.ensure_record(b"another").await.expect("has one");
    engine.close().await.expect("closes");
    foreign(&site, 7, &["other"]).await.close();
    for refused in [by_rexie::create(&name).await, by_script::create(&name).await.map(drop)] {
        assert_eq!(refused.expect_err("is newer").fault, Fault::TooNew);
    }
    site.destroy("job").await.expect("is destroyed");
}

fn bytes(parts: &[&[u8]]) -> Vec<u8> {
    parts.concat()
}

/// A row as it lies in a bucket and in a put of the journal; of a long payload only how long it is.
fn packed(key: &[u8], payload_bytes: usize, payload: &[u8]) -> Vec<u8> {
    let [key_length, length] = [key.len(), payload_bytes].map(|length| (length as u32).to_be_bytes());
    bytes(&[&key_length, &length, key, payload])
}

/// An entry of the journal.
fn entry(number: u64, record: &[u8], operations: &[&[u8]]) -> Vec<u8> {
    bytes(&[&number.to_be_bytes(), &(record.len() as u32).to_be_bytes(), record, &operations.concat()])
}

/// The binary keys and the values of a store.
async fn packed_in(connection: &Rexie, store: Store) -> Vec<(Vec<u8>, Vec<u8>)> {
    let (keys, values) = everything(connection, store).await;
    keys.iter().zip(&values).map(|(key, value)| (key_bytes(key), exact(value))).collect()
}

/// The numbers and the values of the journal.
async fn journal(connection: &Rexie) -> Vec<(f64, Vec<u8>)> {
    let (keys, values) = everything(connection, Store::Journal).await;
    keys.iter().zip(&values).map(|(key, value)| (key.as_f64().expect("a number"), exact(value))).collect()
}

#[async_test]
async fn commits_lie_in_the_journal_and_then_in_buckets_as_the_format_says() {
    let site = fresh_site();
    let engine = open(&site).await;
    let connection = beside(&site).await;
    assert_eq!(journal(&connection).await, [(1.0, entry(1, b"record", &[]))]);
    let long: Vec<u8> = (0..2 * CHUNK_BYTES + 5).map(|index| (index % 251) as u8).collect();
    let batch = Batch::new()
        .put("c", key("empty"), "")
        .put("c", key("long"), long.clone())
        .put("a\0b", key([0, 255]), "x")
        .delete("c", key("gone"))
        .delete_range("c", key("p")..key("q"))
        .clear("d");
    engine.apply(change(batch)).await.expect("applies");
    let record = Change {
        reads: vec![],
        decide: Box::new(|_| Some(vec![Write::Put(Point::record(), b"next".to_vec())])),
        durable: false,
    };
    engine.apply(record).await.expect("applies");

    let (escaped, empty, row) = (b"a\0\xFFb\0\x01\0\xFF", row_key(b"empty"), row_key(b"long"));
    let puts = [packed(&empty, 0, b""), packed(&row, long.len(), b""), packed(escaped, 1, b"x")]
        .map(|row| bytes(&[&[0], &row]));
    let delete = bytes(&[&[1, 0, 0, 0, 7], &row_key(b"gone")]);
    let ranges = [
        bytes(&[&[2, 2, 0, 0, 0, 4], &row_key(b"p"), &[0, 0, 0, 4], &row_key(b"q")]),
        bytes(&[&[2, 2, 0, 0, 0, 3], b"d\0\x01", &[0, 0, 0, 3], b"d\0\x02"]),
    ];
    let operations = [&puts[0][..], &puts[1], &puts[2], &delete, &ranges[0], &ranges[1]];
    let (first, second) = ((1.0, entry(1, b"record", &[])), (2.0, entry(2, b"record", &operations)));
    assert_eq!(journal(&connection).await, [first, second, (3.0, entry(3, b"next", &[]))]);
    assert_eq!(packed_in(&connection, Store::Rows).await, []);
    let (keys, values) = everything(&connection, Store::Chunks).await;
    let keys: Vec<(Vec<u8>, f64)> = keys
        .iter()
        .map(|key| {
            let parts = key.dyn_ref::<Array>().expect("an array");
            (key_bytes(&parts.get(0)), parts.get(1).as_f64().expect("an index"))
        })
        .collect();
    assert_eq!(keys, [(row.clone(), 0.0), (row.clone(), 1.0), (row.clone(), 2.0)]);
    let pieces: Vec<Vec<u8>> = values.iter().map(exact).collect();
    assert_eq!(pieces.concat(), long);
    assert_eq!((pieces[0].len(), pieces[2].len()), (CHUNK_BYTES, 5));

    engine.compact().await.expect("folds");
    assert_eq!(journal(&connection).await, [(4.0, entry(4, b"next", &[]))]);
    let rows = [packed(escaped, 1, b"x"), packed(&empty, 0, b""), packed(&row, long.len(), b"")].concat();
    assert_eq!(packed_in(&connection, Store::Rows).await, [(vec![], rows)]);
    assert_eq!(everything(&connection, Store::Chunks).await.0.len(), 3);
    connection.close();
    end(&site, &engine).await;
}

#[async_test]
async fn the_log_and_meta_lie_in_their_stores_as_they_are_given() {
    let site = fresh_site();
    let engine = open(&site).await;
    let log = Write::Put(Point { space: Space::Log, key: vec![1] }, vec![3; 50_000]);
    let meta = Write::Put(Point { space: Space::Meta, key: vec![2] }, vec![4]);
    let decide = Box::new(|_: Vec<Option<Vec<u8>>>| Some(vec![log, meta]));
    engine.apply(Change { reads: vec![], decide, durable: false }).await.expect("applies");
    let connection = beside(&site).await;
    assert!(packed_in(&connection, Store::Log).await == [(vec![1], vec![3; 50_000])]);
    assert_eq!(packed_in(&connection, Store::Meta).await, [(vec![2], vec![4])]);
    assert_eq!(journal(&connection).await.len(), 1, "they are not rows, so it says nothing of them");
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
    for rows in [3u16, 300, 3000] {
        let batch = (0..rows).fold(Batch::new(), |batch, row| {
            batch.put("c", key(row.to_be_bytes()), vec![1; usize::from(row) * 7919 % INLINE_BYTES_MAX / 20])
        });
        engine.apply(change(batch)).await.expect("applies");
        for _ in 0..2 {
            for store in Store::ALL {
                for value in everything(&connection, store).await.1 {
                    let bytes = value.dyn_ref::<Uint8Array>().map_or(0, |bytes| bytes.buffer().byte_length());
                    assert!(bytes < 64 * 1024, "{bytes} in {store:?}");
                }
            }
            engine.compact().await.expect("folds");
        }
    }
    connection.close();
    end(&site, &engine).await;
}

#[async_test]
async fn what_the_journal_outgrows_goes_into_buckets_of_neighbours() {
    let site = fresh_site();
    let engine = open(&site).await;
    let connection = beside(&site).await;
    let (mut written, mut entries) = (0, 0);
    loop {
        let before = entries;
        entries = journal(&connection).await.len();
        if entries < before {
            break;
        }
        let batch = (0..500u32).fold(Batch::new(), |batch, row| {
            batch.put("c", key((written + row).to_be_bytes()), vec![7; 100])
        });
        engine.apply(change(batch)).await.expect("applies");
        written += 500;
    }
    assert!(entries > 1, "what came meanwhile is still in the journal");
    assert_eq!(engine.check().await.expect("checks"), Vec::<String>::new());
    engine.compact().await.expect("folds");
    assert_eq!(journal(&connection).await.len(), 1, "which begins anew");
    let buckets = packed_in(&connection, Store::Rows).await;
    assert_eq!(buckets[0].0, b"", "the first bucket has everything from the beginning on");
    for pair in buckets.windows(2) {
        assert_eq!(pair[1].1[8..][..7], pair[1].0, "the others begin with their first row");
    }
    assert!(buckets.iter().all(|(_, bucket)| bucket.len() <= BUCKET_BYTES_MAX));
    let bytes: usize = buckets.iter().map(|(_, bucket)| bucket.len()).sum();
    assert!(bytes > buckets.len() * BUCKET_BYTES_MAX * 3 / 4, "rows that come in order fill their buckets");
    let all = engine.count(Arc::from("c"), crate::range::Span::all(), Verify::Never).await.expect("counts");
    assert_eq!(all.value, u64::from(written));
    assert_eq!(engine.check().await.expect("checks"), Vec::<String>::new());
    // What is deleted takes its buckets along.
    engine.apply(change(Batch::new().clear("c"))).await.expect("applies");
    assert_eq!(packed_in(&connection, Store::Rows).await, []);
    connection.close();
    end(&site, &engine).await;
}

/// Opens the job beside another owner, so that nothing is remembered of what is tampered with.
async fn open_shared(site: &IndexedDbSite) -> (IndexedDbEngine, IndexedDbEngine) {
    (open(site).await, open(site).await)
}

#[async_test]
async fn check_finds_what_is_damaged() {
    let site = fresh_site();
    let (engine, other) = open_shared(&site).await;
    let mut batch = Batch::new();
    for number in 0..600u16 {
        batch = batch.put("c", key(number.to_be_bytes()), "x");
    }
    batch = batch.put("c", key("long"), vec![1; 5_000_000]).put("c", key("other"), vec![2; 50_000]);
    engine.apply(change(batch)).await.expect("applies");
    assert_eq!(engine.check().await.expect("checks"), Vec::<String>::new());
    engine.compact().await.expect("folds");
    assert_eq!(engine.check().await.expect("checks"), Vec::<String>::new());
    let connection = beside(&site).await;
    let js = |bytes: &[u8]| Some(bytes_to_js(bytes));
    let (row, piece) =
        (|key: &[u8]| packed(&row_key(key), 1, b"x"), |key: &[u8], index| chunk_key(&row_key(key), index));
    let late = bytes_to_js(row_key(b"zz"));
    let damages = [
        (Store::Chunks, piece(b"long", 70), None, "101 of its 102"),
        (Store::Chunks, piece(b"long", 70), js(b"short"), "wrong length"),
        (Store::Chunks, piece(b"zz", 0), js(b"x"), "no row"),
        (Store::Rows, late.clone(), Some("text".into()), "not binary"),
        (Store::Rows, late.clone(), js(&row(b"zz")[1..]), "within a row"),
        (Store::Rows, late.clone(), js(&[row(b"zz2"), row(b"zz1")].concat()), "not in order"),
        (Store::Rows, late.clone(), js(&[row(b"zz1"), row(b"zz1")].concat()), "not in order"),
        (Store::Rows, late.clone(), js(&row(b"z")), "not in order"),
    ];
    for (store, key, value, expected) in damages {
        tamper(&connection, store, key, value).await;
        let findings = engine.check().await.expect("checks");
        assert!(findings.iter().any(|finding| finding.contains(expected)), "{expected}: {findings:?}");
    }
    tamper(&connection, Store::Rows, late, js(&row(b"zz"))).await;
    tamper(&connection, Store::Rows, bytes_to_js(row_key(b"m")), js(&row(b"zz"))).await;
    let findings = engine.check().await.expect("checks");
    assert!(findings.iter().any(|finding| finding.contains("not its own")), "{findings:?}");
    tamper(&connection, Store::Rows, bytes_to_js(row_key(b"m")), None).await;
    assert_eq!(get(&engine, "long").await.expect_err("is damaged").fault, Fault::Corrupt);
    assert_eq!(get(&engine, "other").await.expect("is whole"), Some(vec![2; 50_000]));
    connection.close();
    other.close().await.expect("closes");
    end(&site, &engine).await;
}

#[async_test]
async fn a_damaged_journal_is_corrupt() {
    let site = fresh_site();
    let (engine, other) = open_shared(&site).await;
    engine.apply(put("a", "1")).await.expect("applies");
    let connection = beside(&site).await;
    let put_b = bytes(&[&[0], &packed(&row_key(b"b"), 1, b"x")]);
    let damages: [(f64, JsValue); 5] = [
        (3.0, "text".into()),
        (3.0, bytes_to_js(b"short")),
        (3.0, bytes_to_js(entry(3, b"", &[&[9]]))),
        (3.0, bytes_to_js(entry(3, b"", &[&put_b[..put_b.len() - 1]]))),
        (4.0, bytes_to_js(entry(4, b"", &[]))),
    ];
    for (number, value) in damages {
        tamper(&connection, Store::Journal, number.into(), Some(value)).await;
        for asked in [get(&engine, "a").await.map(drop), engine.check().await.map(drop)] {
            assert_eq!(asked.expect_err("is damaged").fault, Fault::Corrupt, "{number}");
        }
        tamper(&connection, Store::Journal, number.into(), None).await;
        assert_eq!(get(&engine, "a").await.expect("gets"), Some(b"1".to_vec()));
    }
    connection.close();
    other.close().await.expect("closes");
    end(&site, &engine).await;
}

#[async_test]
async fn keys_that_begin_with_no_category_are_damage() {
    let site = fresh_site();
    let (engine, other) = open_shared(&site).await;
    let connection = beside(&site).await;
    for wrong in [&b""[..], b"a", b"a\0", b"a\0\x02", b"\xFF\0\x01", b"\0"] {
        tamper(&connection, Store::Rows, bytes_to_js(b""), Some(bytes_to_js(packed(wrong, 0, b"")))).await;
        let findings = engine.check().await.expect("checks");
        assert_eq!(findings, ["a row's key begins with no category"], "{wrong:?}");
        let error = engine.categories(usize::MAX, Verify::Never).await.expect_err("is damaged");
        assert_eq!(error.fault, Fault::Corrupt, "{wrong:?}");
    }
    connection.close();
    other.close().await.expect("closes");
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
