//! How a connection ends and begins: others that delete, upgrade, create, or only listen.

use std::time::Duration;

use futures_timer::Delay;
use futures_util::future::{Either, join, select};
use futures_util::{FutureExt, pin_mut};

use super::*;
use crate::engine::{Fault, Sharing};
use crate::error::Outcome;
use crate::testing::async_test;

async fn fault_of_opening(site: &IndexedDbSite, mode: OpenMode) -> Option<Fault> {
    site.open("job", mode, b"other".to_vec()).await.err().map(|error| error.fault)
}

#[async_test]
async fn deletion_by_others_is_not_blocked_and_loses_the_job() {
    let site = fresh_site();
    let engine = open(&site).await;
    engine.apply(put("a", "1")).await.expect("applies");
    site.destroy("job").await.expect("we let go");
    let lost = get(&engine, "a").await.expect_err("is closed");
    assert_eq!((lost.fault, lost.outcome), (Fault::Lost, Outcome::NotApplied));
    let lost = engine.apply(put("a", "2")).await.expect_err("is closed");
    assert_eq!((lost.fault, lost.outcome), (Fault::Lost, Outcome::NotApplied));
    assert_eq!(engine.reconnect().await.expect_err("has gone").fault, Fault::Missing);
    assert_eq!(get(&engine, "a").await.expect_err("has gone").fault, Fault::Lost);
    assert_eq!(site.list().await.expect("lists"), Vec::<String>::new(), "nothing was created anew");
    end(&site, &engine).await;
}

#[async_test]
async fn deletion_lets_what_is_under_way_end() {
    let site = fresh_site();
    let engine = open(&site).await;
    let apply = engine.apply(put("a", vec![1; 100_000]));
    pin_mut!(apply);
    assert!(apply.as_mut().now_or_never().is_none(), "takes a while");
    let (applied, deleted) = join(apply, site.destroy("job")).await;
    applied.expect("was before the deletion");
    deleted.expect("is deleted");
    end(&site, &engine).await;
}

#[async_test]
async fn a_lost_connection_comes_back_with_the_same_rows() {
    let site = fresh_site();
    let (engine, connection) = open_to_lose(&site).await;
    engine.apply(put("a", "1")).await.expect("applies");
    lose(&connection);
    assert_eq!(get(&engine, "a").await.expect_err("is lost").fault, Fault::Lost);
    engine.reconnect().await.expect("is still there");
    assert_eq!(get(&engine, "a").await.expect("gets"), Some(b"1".to_vec()));
    engine.apply(put("a", "2")).await.expect("applies");
    end(&site, &engine).await;
}

#[async_test]
async fn a_connection_lost_under_an_apply_leaves_its_outcome_unknown() {
    let uncaught = Uncaught::listen();
    let site = fresh_site();
    let (engine, connection) = open_to_lose(&site).await;
    let apply = engine.apply(put("a", "1"));
    pin_mut!(apply);
    assert!(apply.as_mut().now_or_never().is_none(), "takes a while");
    lose(&connection);
    let error = apply.await.expect_err("is lost");
    assert_eq!((error.fault, error.outcome), (Fault::Lost, Outcome::Unknown));
    engine.reconnect().await.expect("is still there");
    uncaught.none_after_a_while().await;
    end(&site, &engine).await;
}

#[async_test]
async fn an_upgrade_by_others_is_not_blocked_and_is_too_new_for_us() {
    let site = fresh_site();
    let engine = open(&site).await;
    engine.apply(put("a", "1")).await.expect("applies");
    foreign(&site, 2, &["meta", "rows", "chunks", "log", "journal", "more"]).await.close();
    assert_eq!(get(&engine, "a").await.expect_err("is closed").fault, Fault::Lost);
    assert_eq!(engine.reconnect().await.expect_err("is newer").fault, Fault::TooNew);
    end(&site, &engine).await;
}

#[async_test]
async fn a_newer_database_is_refused_untouched() {
    let site = fresh_site();
    foreign(&site, 7, &["something"]).await.close();
    for mode in [OpenMode::Create, OpenMode::MustExist, OpenMode::ReadOnly] {
        assert_eq!(fault_of_opening(&site, mode).await, Some(Fault::TooNew), "{mode:?}");
    }
    let database = foreign(&site, 7, &["other"]).await;
    assert_eq!((database.version().ok(), database.store_names()), (Some(7), vec!["something".to_owned()]));
    database.close();
    site.destroy("job").await.expect("is destroyed");
}

#[async_test]
async fn opening_what_is_missing_creates_nothing_and_throws_nothing() {
    let uncaught = Uncaught::listen();
    let site = fresh_site();
    for _ in 0..2 {
        assert_eq!(fault_of_opening(&site, OpenMode::MustExist).await, Some(Fault::Missing));
    }
    assert_eq!(site.list().await.expect("lists"), Vec::<String>::new());
    uncaught.none_after_a_while().await;
}

#[async_test]
async fn a_database_without_our_stores_is_corrupt() {
    let site = fresh_site();
    foreign(&site, 1, &["meta", "rows", "chunks", "log"]).await.close();
    for mode in [OpenMode::Create, OpenMode::MustExist] {
        assert_eq!(fault_of_opening(&site, mode).await, Some(Fault::Corrupt), "{mode:?}");
    }
    site.destroy("job").await.expect("is destroyed");
}

#[async_test]
async fn an_unfinished_creation_is_missing_until_it_is_finished() {
    let site = fresh_site();
    foreign(&site, 1, &["meta", "rows", "chunks", "log", "journal"]).await.close();
    for mode in [OpenMode::MustExist, OpenMode::ReadOnly] {
        assert_eq!(fault_of_opening(&site, mode).await, Some(Fault::Missing), "{mode:?}");
    }
    let engine = open(&site).await;
    let record = Get { points: vec![Point::record()], presence_only: false, bytes_max: 100 };
    let seen = engine.get(record, Verify::Never).await.expect("gets");
    assert_eq!(seen.value, Got::Payloads(vec![Some(b"record".to_vec())]));
    end(&site, &engine).await;
}

#[async_test]
async fn a_missing_record_beside_data_is_corrupt() {
    for store in [Store::Rows, Store::Meta] {
        let site = fresh_site();
        let engine = open(&site).await;
        engine.close().await.expect("closes");
        let connection = beside(&site).await;
        tamper(&connection, Store::Journal, 1.into(), None).await;
        tamper(&connection, store, bytes_to_js(b"something"), Some(bytes_to_js(b""))).await;
        connection.close();
        for mode in [OpenMode::Create, OpenMode::MustExist] {
            assert_eq!(fault_of_opening(&site, mode).await, Some(Fault::Corrupt), "{store:?} {mode:?}");
        }
        end(&site, &engine).await;
    }
}

#[async_test]
async fn a_dropped_opening_leaves_no_connection_behind() {
    let site = fresh_site();
    let engine = open(&site).await;
    engine.close().await.expect("closes");
    for _ in 0..3 {
        let name = site.database_name("job").expect("a good id");
        let engine = IndexedDbEngine::new(&name, OpenMode::MustExist);
        assert!(engine.connect().now_or_never().is_none(), "is dropped under way");
        assert!(site.open("job", OpenMode::Create, vec![1]).now_or_never().is_none());
    }
    // Connections that nobody closes would block this for ever.
    site.destroy("job").await.expect("is destroyed");
}

#[async_test]
async fn concurrent_creations_give_one_job() {
    let site = fresh_site();
    let opened = futures_util::future::join_all((0..4u8).map(|number| {
        let site = site.clone();
        async move { site.open("job", OpenMode::Create, vec![number]).await.expect("opens") }
    }))
    .await;
    let mut records = Vec::new();
    for engine in &opened {
        let record = Get { points: vec![Point::record()], presence_only: false, bytes_max: 100 };
        records.push(engine.get(record, Verify::Never).await.expect("gets").value);
    }
    records.dedup();
    assert_eq!(records.len(), 1, "{records:?}");
    drop(opened);
    site.destroy("job").await.expect("is destroyed");
}

#[async_test]
async fn two_engines_see_and_hear_each_other() {
    let site = fresh_site();
    let (first, second) = (open(&site).await, open(&site).await);
    assert_eq!(first.sharing(), Sharing::Shared);
    first.apply(put("a", "1")).await.expect("applies");
    assert_eq!(get(&second, "a").await.expect("gets"), Some(b"1".to_vec()));
    first.announce([7; 16], 1);
    second.changed().await;
    // Two before anybody listens are at least one, and none is none.
    first.announce([7; 16], 2);
    first.announce([7; 16], u64::MAX);
    Delay::new(Duration::from_millis(100)).await;
    second.changed().await;
    let silence = select(Box::pin(second.changed()), Delay::new(Duration::from_millis(100))).await;
    assert!(matches!(silence, Either::Right(_)), "nothing more was announced");
    assert!(first.changed().now_or_never().is_none(), "nobody hears itself");
    first.close().await.expect("closes");
    end(&site, &second).await;
}

#[async_test]
async fn roots_and_their_prefixes_do_not_mix() {
    let root = format!("r/{}", js_sys::Math::random());
    let (outer, inner) = (IndexedDbSite::new(&root), IndexedDbSite::new(&format!("{root}/s")));
    let engine = inner.open_now("job", OpenMode::Create, vec![1]).await.expect("opens");
    assert_eq!(outer.list().await.expect("lists"), Vec::<String>::new());
    assert_eq!(inner.list().await.expect("lists"), ["job"]);
    end(&inner, &engine).await;
}
