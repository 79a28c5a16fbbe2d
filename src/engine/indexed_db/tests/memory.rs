//! What is remembered between transactions, while others forget it, or use it, at the same time.

use futures_util::FutureExt;
use futures_util::future::join;

use super::*;
use crate::engine::{Fault, PageRequest};
use crate::range::Span;
use crate::testing::{Random, async_test};

/// Of each row of the larger jobs here, so that a bucket has three of them.
const PAYLOAD_BYTES: usize = 5000;
/// Rows of which the buckets have more bytes than are remembered.
const MANY: u16 = 2400;

/// Buckets that `check` looks at in one view.
const CHECK_BUCKETS_PER_VIEW: u16 = 16;

fn name(number: u16) -> String {
    format!("{number:05}")
}

/// Fills a job; all of it is in buckets then.
async fn fill(engine: &IndexedDbEngine, rows: u16) {
    let batch =
        (0..rows).fold(Batch::new(), |batch, row| batch.put("c", key(name(row)), vec![1; PAYLOAD_BYTES]));
    engine.apply(change(batch)).await.expect("applies");
    engine.compact().await.expect("folds");
}

fn everything_in_order() -> PageRequest {
    PageRequest {
        space: Space::Rows(Arc::from("c")),
        span: Span::all(),
        reverse: false,
        rows_max: usize::MAX,
        bytes_max: usize::MAX,
        keys_only: true,
    }
}

/// How many rows there are: as a count says, and as a page does.
async fn counted(engine: &IndexedDbEngine) -> u64 {
    engine.count(Arc::from("c"), Span::all(), Verify::Never).await.expect("counts").value
}

/// Calls `between` whenever a row of a store comes, before whoever asked for it goes on.
struct Between {
    _patch: Patch,
    _closure: Closure<dyn Fn()>,
}

impl Between {
    fn each(between: impl Fn() + 'static) -> Self {
        let source = "(get) => function patched(key) {
            const request = get.call(this, key);
            request.addEventListener('success', () => patched.between?.());
            return request;
        }";
        let patch = Patch::new("IDBObjectStore", "get", source);
        let closure = Closure::<dyn Fn()>::new(between);
        Reflect::set(&patch.replacement, &"between".into(), closure.as_ref()).expect("is set");
        Between { _patch: patch, _closure: closure }
    }
}

impl Drop for Between {
    fn drop(&mut self) {
        let _ = Reflect::set(&self._patch.replacement, &"between".into(), &JsValue::UNDEFINED);
    }
}

/// Gets a row that stays remembered, whenever a bucket comes: each get may have others forgotten.
fn gets_between(engine: &Rc<IndexedDbEngine>) -> Between {
    let engine = Rc::clone(engine);
    Between::each(move || drop(get(&engine, &name(1)).now_or_never()))
}

#[async_test]
async fn gets_that_forget_buckets_take_none_away_from_reads() {
    let site = fresh_site();
    let engine = Rc::new(open(&site).await);
    fill(&engine, MANY).await;
    let between = gets_between(&engine);
    for round in 0..6 {
        assert_eq!(counted(&engine).await, u64::from(MANY), "round {round}");
        let page = engine.page(everything_in_order(), Verify::Never).await.expect("reads").value;
        assert_eq!(page.rows.len(), usize::from(MANY), "round {round}");
        let points =
            (0..MANY).filter(|number| number % 30 == round).map(|number| row(name(number))).collect();
        let request = Get { points, presence_only: true, bytes_max: usize::MAX };
        let Got::Payloads(found) = engine.get(request, Verify::Never).await.expect("gets").value else {
            panic!("fits");
        };
        assert!(found.iter().all(Option::is_some), "round {round}");
    }
    drop(between);
    end(&site, &engine).await;
}

#[async_test]
async fn gets_that_forget_buckets_take_none_away_from_commits() {
    let site = fresh_site();
    let engine = Rc::new(open(&site).await);
    fill(&engine, MANY).await;
    let between = gets_between(&engine);
    let mut random = Random::new(6);
    for _ in 0..80 {
        let batch = (0..100).fold(Batch::new(), |batch, _| {
            let number = 10 + random.below(usize::from(MANY) - 10) as u16;
            batch.put("c", key(name(number)), vec![2; PAYLOAD_BYTES])
        });
        engine.apply(change(batch)).await.expect("applies");
    }
    drop(between);
    assert_eq!(counted(&engine).await, u64::from(MANY), "rows have gone");
    end(&site, &engine).await;
}

#[async_test]
async fn backwards_a_page_has_the_rows_of_buckets_and_journal_that_it_has_forwards() {
    let site = fresh_site();
    let engine = open(&site).await;
    fill(&engine, 40).await;
    // Before the buckets, in place of rows of theirs, of one whole bucket, between two, and behind them.
    let new = ["", "00000", "000035", "00011", "00012", "00013", "00020x", "00039", "1", "2"];
    let batch = new.iter().fold(Batch::new(), |batch, row| batch.put("c", key(row), "new"));
    let gone = ["00001", "00007", "00025", "00038", "missing"];
    let batch = gone.iter().fold(batch, |batch, row| batch.delete("c", key(row)));
    engine.apply(change(batch)).await.expect("applies");
    let spans = [Span::all(), Span::of(&(key("00003")..key("00013"))), Span::of(&(key("000035")..=key("1")))];
    for span in spans {
        let page = async |reverse, rows_max| {
            let asked = PageRequest {
                span: span.clone(),
                keys_only: false,
                reverse,
                rows_max,
                ..everything_in_order()
            };
            engine.page(asked, Verify::Never).await.expect("reads").value.rows
        };
        let mut expected: Vec<_> = page(false, usize::MAX).await.into_iter().collect();
        expected.reverse();
        assert!(expected.len() >= 9, "{span:?}");
        for rows_max in 1..=expected.len() {
            assert_eq!(page(true, rows_max).await, &expected[..rows_max], "{rows_max} of {span:?}");
        }
    }
    end(&site, &engine).await;
}

/// Has the connection closed, as if somebody else wanted to upgrade the database, when a store is asked so often.
fn closed_at(store: Store, asked: u32) -> Patch {
    let source = format!(
        "(get) => function patched(key) {{
            if (this.name === '{}') patched.asked = (patched.asked ?? 0) + 1;
            if (patched.asked === {asked} && !patched.fired) {{
                patched.fired = true;
                this.transaction.db.dispatchEvent(new Event('versionchange'));
            }}
            return get.call(this, key);
        }}",
        store.name()
    );
    Patch::new("IDBObjectStore", "get", &source)
}

#[async_test]
async fn a_read_whose_connection_is_closed_is_lost_and_not_shortened() {
    let site = fresh_site();
    let (engine, other) = (open(&site).await, open(&site).await);
    fill(&other, 300).await;
    other.apply(put("zz", "only in the journal")).await.expect("applies");
    let patch = closed_at(Store::Rows, 50);
    let page = engine.page(everything_in_order(), Verify::Never).await;
    assert_eq!(patch.kept("fired").as_bool(), Some(true));
    drop(patch);
    assert_eq!(page.map(|page| page.value.rows.len()).expect_err("is closed").fault, Fault::Lost);
    engine.reconnect().await.expect("is still there");
    assert_eq!(counted(&engine).await, 301);
    other.close().await.expect("closes");
    end(&site, &engine).await;
}

#[async_test]
async fn a_write_whose_connection_is_closed_leaves_the_journal_as_it_was() {
    let site = fresh_site();
    let engine = open(&site).await;
    engine.apply(put("a", "1")).await.expect("applies");
    engine.compact().await.expect("folds");
    engine.apply(put("b", "2")).await.expect("applies");
    let change = put("c", "3");
    // The last of these is asked for when the record has been seen.
    let log = |number: u32| Look {
        point: Point { space: Space::Log, key: format!("log{number:05}").into_bytes() },
        want: Want::Payload(10),
    };
    let reads = change.reads.into_iter().chain((0..1100).map(log)).collect();
    let patch = closed_at(Store::Log, 1090);
    let applied = engine.apply(Change { reads, ..change }).await;
    assert_eq!(patch.kept("fired").as_bool(), Some(true));
    drop(patch);
    assert_eq!(applied.expect_err("is closed").fault, Fault::Lost);
    engine.reconnect().await.expect("is still there");
    assert_eq!(get(&engine, "b").await.expect("reads the journal"), Some(b"2".to_vec()));
    assert_eq!(get(&engine, "c").await.expect("reads the journal"), None);
    end(&site, &engine).await;
}

#[async_test]
async fn reads_that_begin_anew_together_see_the_journal_each() {
    let site = fresh_site();
    let (engine, other) = (open(&site).await, open(&site).await);
    fill(&other, 300).await;
    for late in 0..12 {
        assert!(get(&engine, "00001").await.expect("gets").is_some());
        other.compact().await.expect("folds");
        other.apply(put("zz", "only in the journal")).await.expect("applies");
        other.compact().await.expect("folds");
        other.apply(put("zzz", "only in the journal")).await.expect("applies");
        // The second look at the journal's tail is answered so many requests late.
        let source = format!(
            "(getAll) => function patched(...args) {{
                const request = getAll.apply(this, args);
                patched.asked = (patched.asked ?? 0) + 1;
                if (patched.asked !== 2) return request;
                const late = {{ readyState: 'pending' }};
                let rest = {late};
                const wait = () => {{
                    if (rest-- > 0) return void (this.get(0).onsuccess = wait);
                    Object.assign(late, {{ readyState: 'done', result: request.result }}).onsuccess();
                }};
                request.onsuccess = wait;
                return late;
            }}"
        );
        let patch = Patch::new("IDBObjectStore", "getAll", &source);
        let page = engine.page(everything_in_order(), Verify::Never);
        let (page, got) = join(page, get(&engine, "zzz")).await;
        assert!(patch.kept("asked").as_f64() >= Some(2.0), "both have looked");
        drop(patch);
        assert!(got.expect("gets").is_some(), "late by {late}");
        assert_eq!(page.expect("reads").value.rows.len(), 302, "late by {late}");
        other
            .apply(change(Batch::new().delete("c", key("zz")).delete("c", key("zzz"))))
            .await
            .expect("applies");
    }
    other.close().await.expect("closes");
    end(&site, &engine).await;
}

#[async_test]
async fn check_goes_on_where_a_bucket_has_gone_meanwhile() {
    let site = fresh_site();
    let engine = open(&site).await;
    let batch = (0..40).fold(Batch::new(), |batch, row| batch.put("c", key(name(row)), vec![1; 10_000]));
    engine.apply(change(batch)).await.expect("applies");
    engine.compact().await.expect("folds");
    // The first view ends where this bucket begins; then its row comes back, with a payload in pieces.
    let row = name(CHECK_BUCKETS_PER_VIEW);
    let batch = Batch::new().delete_range("c", key(&row)..=key(&row)).put("c", key(&row), vec![1; 50_000]);
    let (findings, applied) = join(engine.check(), engine.apply(change(batch))).await;
    applied.expect("applies");
    assert_eq!(findings.expect("checks"), Vec::<String>::new());
    end(&site, &engine).await;
}
