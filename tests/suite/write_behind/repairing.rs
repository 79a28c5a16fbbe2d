//! Facts about repair: which rows the relations do not allow, and that no other row is touched.

use std::sync::Mutex;
use std::sync::atomic::Ordering;

use futures_util::FutureExt;
use persistency::write_behind::{Options, RelationKind, RepairReport, Schema, WriteBehind};
use persistency::{Batch, ErrorKind, Job, Key, Result, ToPayload, key};

use super::app::{App, stored};
use crate::common::{TestRoot, k, keys, kind, rows};

facts! {
    everywhere:
        orphans_are_removed_and_counted_and_nothing_else,
        a_dry_run_tells_the_same_and_changes_nothing,
        rows_that_all_relations_allow_stay,
        evicted_rows_need_no_node_and_keep_none_alive,
        each_relation_sees_the_effect_of_those_before_it,
        a_repair_finds_nothing_after_a_repair,
        a_repair_is_one_commit,
        an_engine_that_runs_can_be_repaired,
        what_is_only_dirty_is_flushed_before_anything_is_removed,
        a_repair_that_cannot_flush_removes_nothing,
        keys_of_any_bytes_are_repaired,
        parents_may_be_in_another_job,
        a_relation_that_fails_changes_nothing,
        what_another_engine_writes_between_look_and_removal_is_seen,
        others_that_never_stop_writing_end_as_a_conflict,
        many_orphans_are_removed_whole;
}

async fn put(job: &Job, category: &str, key: Result<Key>, payload: impl ToPayload) {
    job.put_acked(category, key.unwrap(), payload.to_payload().unwrap()).await.unwrap();
}

/// Orphans of every relation, and beside each a row that is none.
async fn damage(job: &Job) {
    put(job, "feed", key!("s1"), Key::empty()).await;
    put(job, "platform", key!("p1"), Key::empty()).await;
    for node in ["valid", "unlinked", "only evicted", "of a lost feed"].iter().zip(1i64..) {
        put(job, "node", key!(node.1), *node.0).await;
    }
    put(job, "link", key!("s1", 1), false).await;
    put(job, "link", key!("s1", 3), true).await; // evicted, its node is there until nothing keeps it
    put(job, "link", key!("s1", 9), true).await; // evicted, without a node
    put(job, "link", key!("s1", 8), false).await; // no node
    put(job, "link", key!("lost", 1), false).await; // no feed
    put(job, "link", key!("lost", 4), false).await; // no feed, and was all that kept node 4
    put(job, "ping", key!(1, "t"), 5i64).await;
    put(job, "ping", key!(2, "t"), 5i64).await;
    put(job, "ping", key!(7, "t"), 5i64).await;
    put(job, "lease", key!("p1", 1), 1i64).await;
    put(job, "lease", key!("p1", 2), 2i64).await;
    put(job, "lease", key!("lost", 1), 1i64).await;
}

fn counts(report: &RepairReport) -> Vec<(&str, &str, u64, u64)> {
    let relations = report.relations.iter();
    relations.map(|of| (of.child.as_str(), of.parent.as_str(), of.examined, of.removed)).collect()
}

const COUNTS: [(&str, &str, u64, u64); 6] = [
    ("link", "feed", 6, 2),
    ("link", "node", 4, 1),
    ("link", "node", 4, 3), // kept by: nodes 2, 3 and 4
    ("ping", "node", 3, 2),
    ("lease", "platform", 3, 1),
    ("lease", "node", 2, 1),
];

async fn damaged(root: &TestRoot) -> App {
    let p = root.open();
    damage(&p.open_job("alpha").await.unwrap()).await;
    App::open(&p, Options::new()).await.unwrap()
}

async fn orphans_are_removed_and_counted_and_nothing_else(root: &TestRoot) {
    let app = damaged(root).await;
    let report = &app.engine.bootstrap().repair;
    assert_eq!(counts(report), COUNTS);
    assert_eq!((report.removed(), report.batches), (10, 1));
    assert_eq!(report.relations[2].kind, RelationKind::KeptBy);
    let stored = app.stored().await;
    assert_eq!(stored, *app.memory(), "what is loaded is what is left");
    assert_eq!(stored.nodes.into_keys().collect::<Vec<_>>(), [1]);
    let links = [("s1", 1, false), ("s1", 3, true), ("s1", 9, true)];
    let links = links.map(|(feed, node, evicted)| ((feed.to_owned(), node), evicted));
    assert_eq!(stored.links, links.into());
    assert_eq!(stored.pings.into_keys().collect::<Vec<_>>(), [(1, "t".to_owned())]);
    assert_eq!(stored.leases.into_keys().collect::<Vec<_>>(), [("p1".to_owned(), 1)]);
    assert_eq!(keys(app.job(), "feed").await.len() + keys(app.job(), "platform").await.len(), 2);
}

async fn a_dry_run_tells_the_same_and_changes_nothing(root: &TestRoot) {
    let app = App::of(root).await;
    damage(app.job()).await;
    let before = (stored(app.job()).await, app.job().position().await.unwrap().seq);
    let report = app.engine.repair_dry_run().await.unwrap();
    assert_eq!((counts(&report), report.batches), (COUNTS.to_vec(), 0));
    assert_eq!((stored(app.job()).await, app.job().position().await.unwrap().seq), before);
}

async fn rows_that_all_relations_allow_stay(root: &TestRoot) {
    let app = App::of(root).await;
    app.found("f").await;
    for id in 0..20 {
        app.plant("f", id);
    }
    app.engine.flush().await.unwrap();
    let seq = app.job().committed_seq();
    let report = app.engine.repair().await.unwrap();
    assert_eq!((report.removed(), report.batches), (0, 0));
    assert!(report.relations.iter().all(|relation| relation.examined == 20));
    assert_eq!((app.stored().await, app.job().committed_seq()), (app.memory().clone(), seq));
}

async fn evicted_rows_need_no_node_and_keep_none_alive(root: &TestRoot) {
    let app = App::of(root).await;
    app.found("f").await;
    put(app.job(), "node", key!(1), "kept by nothing but an evicted link").await;
    put(app.job(), "link", key!("f", 1), true).await;
    put(app.job(), "link", key!("f", 2), true).await;
    app.engine.repair().await.unwrap();
    let stored = app.stored().await;
    assert_eq!((stored.nodes.len(), stored.links.len()), (0, 2));
}

async fn each_relation_sees_the_effect_of_those_before_it(root: &TestRoot) {
    let app = App::of(root).await;
    // One missing feed: its link goes, so its node, so its ping and its lease.
    put(app.job(), "platform", key!("p"), Key::empty()).await;
    put(app.job(), "link", key!("lost", 1), false).await;
    put(app.job(), "node", key!(1), "a").await;
    put(app.job(), "ping", key!(1, "t"), 5i64).await;
    put(app.job(), "lease", key!("p", 1), 1i64).await;
    let report = app.engine.repair().await.unwrap();
    let removed: Vec<u64> = report.relations.iter().map(|relation| relation.removed).collect();
    assert_eq!(removed, [1, 0, 1, 1, 0, 1]);
    assert_eq!(report.relations[1].examined, 0, "the link had gone already");
    assert_eq!(app.job().categories().await.unwrap(), ["platform", "write_behind"]);
}

async fn a_repair_finds_nothing_after_a_repair(root: &TestRoot) {
    let app = damaged(root).await;
    assert_eq!(app.engine.repair_dry_run().await.unwrap().removed(), 0);
    assert_eq!(app.engine.repair().await.unwrap().removed(), 0);
}

async fn a_repair_is_one_commit(root: &TestRoot) {
    let app = App::of(root).await;
    damage(app.job()).await;
    let seq = app.job().position().await.unwrap().seq;
    app.engine.repair().await.unwrap();
    assert_eq!(app.job().position().await.unwrap().seq, seq + 1);
    assert!(app.job().durable_seq() > seq, "and durable");
}

async fn an_engine_that_runs_can_be_repaired(root: &TestRoot) {
    let app = App::of(root).await;
    app.found("f").await;
    app.found("g").await;
    app.plant("f", 1);
    app.engine.flush().await.unwrap();
    app.plant("g", 2);
    app.sets.feeds.remove(&"f".to_owned()).await.unwrap();
    assert_eq!(app.engine.repair().await.unwrap().removed(), 4);
    assert_eq!((app.dirty(), app.engine.status().flushes), (0, 2), "what was dirty is flushed first");
    assert_eq!(app.stored().await.nodes.into_keys().collect::<Vec<_>>(), [2]);
}

/// Rows that were strongly written, all of whose parents and children memory has, but the store has not.
async fn what_is_only_dirty_is_flushed_before_anything_is_removed(root: &TestRoot) {
    let app = App::of(root).await;
    app.found("f").await;
    app.plant("f", 3);
    app.engine.flush().await.unwrap();
    // A parent that is stored, but that memory has no longer, is none.
    app.forget(3);
    // A parent that is only dirty is one.
    app.plant("f", 1);
    let ping = (1, "target".to_owned());
    app.sets.pings.strong().put(&ping, 10i64.to_payload().unwrap()).await.unwrap();
    // And a link that is only dirty keeps its node alive.
    app.plant("f", 2);
    app.sets.nodes.strong().put(&2, "node 2".to_payload().unwrap()).await.unwrap();

    let dry = app.engine.repair_dry_run().await.unwrap();
    assert_eq!((dry.removed(), app.dirty()), (2, 7), "it sees what is stored, and flushes nothing");
    let report = app.engine.repair().await.unwrap();
    let removed: Vec<u64> = report.relations.iter().map(|relation| relation.removed).collect();
    assert_eq!(removed, [0, 1, 0, 1, 0, 1], "the children of the third");
    let stored = app.stored().await;
    assert_eq!(stored.nodes.into_keys().collect::<Vec<_>>(), [1, 2]);
    assert!(stored.pings.contains_key(&ping) && stored.pings.len() == 2);
}

async fn a_repair_that_cannot_flush_removes_nothing(root: &TestRoot) {
    let app = App::of(root).await;
    app.plant("lost", 1);
    app.engine.flush().await.unwrap();
    app.name(1, "dirty");
    app.shared.broken.store(true, Ordering::Relaxed);
    assert_eq!(kind(app.engine.repair().await), ErrorKind::InvalidArgument);
    assert_eq!((app.stored().await.nodes.len(), app.dirty()), (1, 1));
    app.shared.broken.store(false, Ordering::Relaxed);
    assert_eq!(app.engine.repair().await.unwrap().removed(), 4);
}

async fn keys_of_any_bytes_are_repaired(root: &TestRoot) {
    let odd = ["", "'", "\"", "\\", "\0", "%", "ü\u{0301}", "\u{1f600}", "'; DROP TABLE rows; --"];
    let mut schema = Schema::new();
    let parents = schema.strong::<String>("pa'rent\\");
    let children = schema.strong::<(String, String)>("child \"\u{1f600}");
    schema.requires(&children, &parents, |(parent, _), _| Ok(Some(parent.clone())));
    let job = root.job().await;
    for name in odd {
        put(&job, "pa'rent\\", key!(name), Key::empty()).await;
        put(&job, "child \"\u{1f600}", key!(name, "kept"), Key::empty()).await;
        put(&job, "child \"\u{1f600}", key!(format!("{name}x"), name), Key::empty()).await;
    }
    let engine = WriteBehind::over(job, schema, Options::new()).await.unwrap();
    let relation = &engine.bootstrap().repair.relations[0];
    assert_eq!((relation.examined, relation.removed), (18, 9));
    for row in engine.job().scan("child \"\u{1f600}", ..).await.unwrap() {
        assert_eq!(row.key.decode::<(String, String)>().unwrap().1, "kept");
    }
}

async fn parents_may_be_in_another_job(root: &TestRoot) {
    let p = root.open();
    let state = p.open_job("state").await.unwrap();
    put(&state, "platform", key!("p1"), Key::empty()).await;
    let cache = p.open_job("cache").await.unwrap();
    put(&cache, "lease", key!("p1", 1), Key::empty()).await;
    put(&cache, "lease", key!("gone", 1), Key::empty()).await;
    put(&cache, "platform", key!("gone"), Key::empty()).await; // the same category here is another one
    let mut schema = Schema::new();
    let leases = schema.strong::<(String, i64)>("lease");
    schema.requires_elsewhere(&leases, &state, "platform", |(platform, _), _| Ok(Some(platform.clone())));
    let engine = WriteBehind::over(cache.clone(), schema, Options::new()).await.unwrap();
    assert_eq!(counts(&engine.bootstrap().repair), [("lease", "platform", 2, 1)]);
    assert_eq!(keys(&cache, "lease").await, [key!("p1", 1).unwrap().into_bytes()]);
    assert_eq!(keys(&state, "platform").await.len(), 1, "the other job is only read");
    // What is removed there from now on is found by the next repair.
    state.delete_acked("platform", key!("p1").unwrap()).await.unwrap();
    assert_eq!(engine.repair_dry_run().await.unwrap().removed(), 1);
}

async fn a_relation_that_fails_changes_nothing(root: &TestRoot) {
    let p = root.open();
    let job = p.open_job("alpha").await.unwrap();
    damage(&job).await;
    put(&job, "lease", key!("p1", 3), "no number").await;
    let seq = job.position().await.unwrap().seq;
    let error = App::open(&p, Options::new()).await.map(drop).unwrap_err();
    assert!(error.message().contains("lease") && error.message().contains("node"), "{error}");
    assert_eq!(job.position().await.unwrap().seq, seq);
}

/// Two sets, and what is done in the middle of a look.
fn interrupted(meanwhile: impl Fn() + Send + Sync + 'static) -> Schema {
    let mut schema = Schema::new();
    let parents = schema.strong::<i64>("parent");
    let children = schema.strong::<i64>("child");
    schema.requires(&children, &parents, move |key, _| {
        meanwhile();
        Ok(Some(*key))
    });
    schema
}

async fn what_another_engine_writes_between_look_and_removal_is_seen(root: &TestRoot) {
    let job = root.job().await;
    put(&job, "child", key!(1), Key::empty()).await;
    put(&job, "child", key!(2), Key::empty()).await;
    let other = WriteBehind::over(job.clone(), Schema::new(), Options::new()).await.unwrap();
    let once = Mutex::new(true);
    let schema = interrupted(move || {
        if std::mem::take(&mut *once.lock().unwrap()) {
            // The parent of 1 arrives after it has been found missing.
            let write = other.write(Batch::new().put("parent", key!(1).unwrap(), ""));
            // One look has it accepted; natively it may be through as well.
            drop(write.now_or_never());
        }
    });
    let engine = WriteBehind::over(job, schema, Options::new()).await.unwrap();
    assert_eq!(counts(&engine.bootstrap().repair), [("child", "parent", 2, 1)]);
    assert_eq!(keys(engine.job(), "child").await, [key!(1).unwrap().into_bytes()]);
}

async fn others_that_never_stop_writing_end_as_a_conflict(root: &TestRoot) {
    let job = root.job().await;
    put(&job, "child", key!(1), Key::empty()).await;
    let other = WriteBehind::over(job.clone(), Schema::new(), Options::new()).await.unwrap();
    let schema = interrupted(move || {
        let write = other.write(Batch::new().put("x", k("x"), ""));
        drop(write.now_or_never());
    });
    let opened = WriteBehind::over(job.clone(), schema, Options::new()).await;
    assert_eq!(kind(opened), ErrorKind::Conflict);
    assert_eq!(rows(&job, "child").await.len(), 1);
}

async fn many_orphans_are_removed_whole(root: &TestRoot) {
    let job = root.job().await;
    let batch = (0..6_000i64).fold(Batch::new(), |batch, n| batch.put("child", key!(n).unwrap(), ""));
    job.persist_acked(batch.put("parent", key!(17).unwrap(), "")).await.unwrap();
    let engine = WriteBehind::over(job, interrupted(|| ()), Options::new()).await.unwrap();
    let repair = &engine.bootstrap().repair;
    assert_eq!((counts(repair), repair.batches), (vec![("child", "parent", 6_000, 5_999)], 1));
    assert_eq!(keys(engine.job(), "child").await.len(), 1);
}
