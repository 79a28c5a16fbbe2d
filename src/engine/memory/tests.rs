//! The laws over memory, and what only memory promises.

use futures_util::FutureExt;

use super::*;
use crate::batch::Batch;
use crate::engine::laws::Ask;
use crate::key::Key;
use crate::testing::async_test;

crate::engine::laws::engine_laws!(volatile, (MemorySite::default(), ()));

async fn job() -> (MemorySite, MemoryEngine) {
    let site = MemorySite::default();
    let engine = site.open_now("job", OpenMode::Create, &[1, 2, 3]).expect("opens");
    (site, engine)
}

fn change(batch: Batch) -> Change {
    let writes = vec![Write::Rows(batch.operations().into())];
    Change { reads: Vec::new(), decide: Box::new(|_| Some(writes)), durable: false }
}

fn numbered(rows: u32) -> Change {
    change((0..rows).fold(Batch::new(), |batch, n| batch.put("c", Key::from_bytes(n.to_be_bytes()), [7])))
}

fn everything() -> PageRequest {
    PageRequest {
        space: Space::Rows("c".into()),
        span: Span::all(),
        reverse: false,
        rows_max: usize::MAX,
        bytes_max: usize::MAX,
        keys_only: false,
    }
}

#[async_test]
async fn sites_made_apart_do_not_see_each_other() {
    let (site, _engine) = job().await;
    let other = MemorySite::default();
    assert_eq!(other.list().await.expect("lists"), Vec::<String>::new());
    other.open_now("job", OpenMode::Create, &[]).expect("is not open there");
    assert_eq!(site.clone().list().await.expect("lists"), ["job"], "a clone is the same site");
}

#[async_test]
async fn an_open_job_is_busy_and_a_dropped_engine_frees_it() {
    let (site, engine) = job().await;
    for mode in [OpenMode::Create, OpenMode::MustExist, OpenMode::ReadOnly] {
        assert_eq!(site.open_now("job", mode, &[]).expect_err("is open").fault, Fault::Busy);
    }
    drop(engine);
    let engine = site.open_now("job", OpenMode::Create, &[]).expect("is free");
    engine.close().await.expect("closes");
    let again = site.open_now("job", OpenMode::Create, &[]).expect("is free");
    drop(engine);
    assert_eq!(site.list().await.expect("lists"), ["job"], "a closed engine has no hold on the name");
    drop(again);
}

#[async_test]
async fn long_walks_let_others_go_on_and_keep_their_view() {
    let (_site, engine) = job().await;
    engine.apply(numbered(5000)).await.expect("applies");
    let mut count = Box::pin(engine.count("c".into(), Span::all(), Verify::Never));
    let mut page = Box::pin(engine.page(everything(), Verify::Never));
    assert!(count.as_mut().now_or_never().is_none(), "a count of 5000 rows takes several turns");
    assert!(page.as_mut().now_or_never().is_none(), "and so does a page");
    let mut clear = Box::pin(engine.apply(change(Batch::new().clear("c"))));
    assert!(clear.as_mut().now_or_never().is_none(), "and a write waits for both");
    let points = vec![Point { space: Space::Rows("c".into()), key: vec![0; 4] }];
    let get = Get { points, presence_only: false, bytes_max: 1 };
    let got = engine.get(get, Verify::Never).now_or_never().expect("a get takes one turn").expect("gets");
    assert_eq!(got.value, Got::Payloads(vec![Some(vec![7])]), "nothing of the write is seen before its turn");
    let (count, page, cleared) = futures_util::join!(count, page, clear);
    cleared.expect("applies");
    assert_eq!(count.expect("counts").value, 5000);
    assert_eq!(page.expect("reads").value.rows.len(), 5000);
    assert_eq!(engine.bytes().await.expect("tells"), Some(9), "only the record is left");
}

#[async_test]
async fn an_apply_that_is_given_up_changes_nothing() {
    let (_site, engine) = job().await;
    engine.apply(numbered(5000)).await.expect("applies");
    let mut count = Box::pin(engine.count("c".into(), Span::all(), Verify::Never));
    assert!(count.as_mut().now_or_never().is_none());
    let mut apply = engine.apply(change(Batch::new().clear("c")));
    assert!(apply.as_mut().now_or_never().is_none(), "it waits for the count");
    drop(apply);
    assert_eq!(count.await.expect("counts").value, 5000);
    assert_eq!(engine.bytes().await.expect("tells"), Some(5000 * 5 + 9));
}

#[cfg(not(target_family = "wasm"))]
#[async_test]
async fn a_decision_that_panics_changes_nothing() {
    use std::panic::{AssertUnwindSafe, catch_unwind};

    let (_site, engine) = job().await;
    let decide = Box::new(|_: Vec<Option<Vec<u8>>>| panic!("decides badly"));
    let apply = engine.apply(Change { reads: Vec::new(), decide, durable: true });
    assert!(catch_unwind(AssertUnwindSafe(|| apply.now_or_never())).is_err());
    assert_eq!(engine.bytes().await.expect("tells"), Some(9));
    engine.apply(numbered(1)).await.expect("is still usable");
}

#[async_test]
async fn bytes_are_keys_and_payloads() {
    let (_site, engine) = job().await;
    let put = |payload: &[u8]| change(Batch::new().put("c", Key::from_bytes("key"), payload));
    for (change, bytes) in [(put(&[0; 10]), 22), (put(&[0; 4]), 16), (change(Batch::new().clear("c")), 9)] {
        engine.apply(change).await.expect("applies");
        assert_eq!(engine.bytes().await.expect("tells"), Some(bytes));
    }
}

#[async_test]
async fn a_wrong_sum_and_a_row_of_no_category_are_found() {
    let (_site, engine) = job().await;
    engine.contents.borrow_mut().bytes += 1;
    engine.contents.borrow_mut().rows.insert(vec![], vec![]);
    assert_eq!(engine.check().await.expect("checks").len(), 2);
}
