//! Facts about flushes: everything dirty, at once, in order, one after another.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use futures_util::future::join_all;
use futures_util::poll;
use persistency::write_behind::{MARKS_MAX, Options, Schema, SetBounds, WeakSet, WriteBehind};
use persistency::{Durability, ErrorKind, JobOptions, Key, LogRetention, Op, WatchItem, key};

use super::app::{App, Memory, Shared, schema};
use crate::common::{TestRoot, kind, rows};

facts! {
    everywhere:
        a_flush_writes_what_is_dirty_and_leaves_nothing_dirty,
        a_flush_without_anything_dirty_writes_nothing,
        what_is_marked_for_deletion_is_removed_whatever_memory_says,
        an_upsert_that_memory_does_not_have_is_a_delete,
        the_value_is_that_of_the_flush,
        everything_is_one_commit_parents_first_and_deletes_the_other_way_round,
        marks_made_during_a_flush_are_left_for_the_next,
        flushes_do_not_overtake_each_other,
        a_reader_that_fails_fails_the_flush_and_every_mark_stays,
        a_mark_made_after_a_failed_flush_began_is_the_one_that_counts,
        a_flush_that_is_given_up_loses_no_mark,
        many_mark_while_many_flush_and_every_key_arrives,
        a_full_engine_refuses_marks_and_takes_them_after_a_flush,
        what_is_in_flight_keeps_its_place,
        payloads_beyond_what_was_declared_are_written_while_a_batch_holds_them,
        more_payload_than_a_batch_holds_is_told_and_loses_no_mark,
        no_set_can_be_declared_beyond_what_a_batch_holds,
        an_engine_that_is_dropped_takes_no_more_marks,
        a_set_whose_engine_is_not_open_takes_no_marks,
        a_flush_of_a_closed_job_is_told_and_loses_no_mark,
        mistakes_in_a_schema_are_told_before_anything_is_touched;
    on_disk:
        everything_flushed_is_loaded_by_the_next_run,
        a_flush_is_durable_unless_the_caller_wants_less;
}

async fn a_flush_writes_what_is_dirty_and_leaves_nothing_dirty(root: &TestRoot) {
    let app = App::of(root).await;
    app.found("f").await;
    app.plant("f", 1);
    assert_eq!((app.dirty(), app.sets.nodes.dirty()), (4, 1));
    assert_eq!(app.stored().await, Memory::default());
    let flushed = app.engine.flush().await.unwrap();
    assert_eq!((flushed.upserts, flushed.deletes, flushed.seq), (4, 0, Some(app.job().committed_seq())));
    assert_eq!(app.stored().await, *app.memory());
    let status = app.engine.status();
    assert_eq!((status.dirty, status.dirty_bytes, status.flushes, status.rows), (0, 0, 1, 4));
}

async fn everything_flushed_is_loaded_by_the_next_run(root: &TestRoot) {
    let p = root.open();
    let app = App::open(&p, Options::new()).await.unwrap();
    app.found("f").await;
    app.plant("f", 1);
    app.plant("f", 2);
    app.engine.stop().await.unwrap();
    let memory = app.memory().clone();
    p.close().await.unwrap();

    let again = App::of(root).await;
    assert_eq!(*again.memory(), memory);
    assert_eq!(again.dirty(), 0, "loading marks nothing");
    assert_eq!(again.engine.bootstrap().repair.removed(), 0);
    assert_eq!(again.engine.flush().await.unwrap().seq, None);
}

async fn a_flush_without_anything_dirty_writes_nothing(root: &TestRoot) {
    let app = App::of(root).await;
    let seq = app.job().committed_seq();
    assert_eq!(app.engine.flush().await.unwrap().seq, None);
    assert_eq!((app.job().committed_seq(), app.engine.status().flushes), (seq, 0));
}

async fn what_is_marked_for_deletion_is_removed_whatever_memory_says(root: &TestRoot) {
    let app = App::of(root).await;
    app.name(1, "a");
    app.name(2, "b");
    app.engine.flush().await.unwrap();
    app.sets.nodes.mark_delete(&1).unwrap();
    let flushed = app.engine.flush().await.unwrap();
    assert_eq!((flushed.upserts, flushed.deletes), (0, 1));
    assert_eq!(app.stored().await.nodes.into_keys().collect::<Vec<_>>(), [2]);
    assert_eq!(app.memory().nodes.len(), 2);
}

async fn an_upsert_that_memory_does_not_have_is_a_delete(root: &TestRoot) {
    let app = App::of(root).await;
    app.name(1, "a");
    app.engine.flush().await.unwrap();
    app.memory().nodes.clear();
    app.sets.nodes.mark(&1).unwrap();
    app.sets.nodes.mark(&2).unwrap();
    let flushed = app.engine.flush().await.unwrap();
    assert_eq!((flushed.upserts, flushed.deletes), (0, 2));
    assert_eq!(app.stored().await, Memory::default());
}

async fn the_value_is_that_of_the_flush(root: &TestRoot) {
    let app = App::of(root).await;
    app.name(1, "when it was marked");
    app.memory().nodes.insert(1, "when it was flushed".to_owned());
    app.engine.flush().await.unwrap();
    assert_eq!(app.stored().await.nodes[&1], "when it was flushed");
    assert_eq!(app.shared.nodes_read.load(Ordering::Relaxed), 1, "read once");
}

async fn everything_is_one_commit_parents_first_and_deletes_the_other_way_round(root: &TestRoot) {
    let options = Options::new().job(JobOptions::new().log(LogRetention::LastBytes(1 << 20)));
    let app = App::open(&root.open(), options).await.unwrap();
    app.found("f").await;
    app.plant("f", 1);
    app.engine.flush().await.unwrap();
    app.fell("f", 1);
    app.plant("f", 3);
    app.plant("f", 2);
    let before = app.job().position().await.unwrap();
    app.engine.flush().await.unwrap();
    let mut log = app.job().log_from(before).await.unwrap();
    let Some(Ok(WatchItem::Commit(commit))) = log.next().await else { panic!("no commit") };
    let order: Vec<String> = commit
        .operations
        .iter()
        .filter(|op| op.category() != "write_behind")
        .map(|op| match op {
            Op::Put { category, .. } => format!("put {category}"),
            other => format!("delete {}", other.category()),
        })
        .collect();
    let upserts = ["node", "node", "link", "link", "ping", "ping", "lease", "lease"];
    let deletes = ["lease", "ping", "link", "node"];
    let expected = upserts.map(|of| format!("put {of}")).into_iter();
    assert_eq!(order, expected.chain(deletes.map(|of| format!("delete {of}"))).collect::<Vec<_>>());
    assert!(log.next().await.is_none(), "one commit");
}

async fn marks_made_during_a_flush_are_left_for_the_next(root: &TestRoot) {
    let app = App::of(root).await;
    app.name(1, "old");
    app.name(2, "b");
    let mut flush = Box::pin(app.engine.flush());
    if poll!(&mut flush).is_pending() {
        app.name(1, "new");
        assert_eq!(app.dirty(), 3, "two in flight, one of them marked again");
        flush.await.unwrap();
        assert_eq!(app.dirty(), 1);
    } else {
        app.name(1, "new");
    }
    assert_eq!(app.stored().await.nodes[&1], "old");
    app.engine.flush().await.unwrap();
    assert_eq!(app.stored().await.nodes[&1], "new");
}

/// Of two flushes the one that was asked for later writes the newer value, in whatever order they are
/// waited for.
async fn flushes_do_not_overtake_each_other(root: &TestRoot) {
    let app = App::of(root).await;
    for round in 0..10 {
        let (old, new) = (format!("old {round}"), format!("new {round}"));
        app.name(1, &old);
        app.name(2, &old);
        let mut first = Box::pin(app.engine.flush());
        let _ = poll!(&mut first);
        app.name(1, &new);
        app.forget(2);
        app.name(3, &new);
        let mut second = Box::pin(app.engine.flush());
        let _ = poll!(&mut second);
        let (second, first) = futures_util::join!(second, first);
        let (first, second) = (first.unwrap().seq.unwrap(), second.unwrap().seq.unwrap());
        assert!(first < second);
        assert_eq!(app.stored().await, *app.memory(), "round {round}");
        assert_eq!(app.dirty(), 0);
    }
}

async fn a_reader_that_fails_fails_the_flush_and_every_mark_stays(root: &TestRoot) {
    let app = App::of(root).await;
    app.found("f").await;
    app.plant("f", 1);
    let seq = app.job().committed_seq();
    app.shared.broken.store(true, Ordering::Relaxed);
    let error = app.engine.flush().await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidArgument);
    assert!(error.message().contains("alpha") && error.message().contains("node"), "{error}");
    let status = app.engine.status();
    assert_eq!((status.dirty, status.failures, status.error.is_some()), (4, 1, true));
    assert_eq!(app.job().committed_seq(), seq, "nothing is half there");
    app.shared.broken.store(false, Ordering::Relaxed);
    app.engine.flush().await.unwrap();
    assert_eq!(app.stored().await, *app.memory());
    let status = app.engine.status();
    assert_eq!((status.dirty, status.failures, status.error.is_none()), (0, 0, true));
}

async fn a_mark_made_after_a_failed_flush_began_is_the_one_that_counts(root: &TestRoot) {
    let app = App::of(root).await;
    app.name(1, "a");
    app.engine.flush().await.unwrap();
    app.name(1, "b");
    app.shared.broken.store(true, Ordering::Relaxed);
    app.engine.flush().await.unwrap_err();
    app.sets.nodes.mark_delete(&1).unwrap();
    app.shared.broken.store(false, Ordering::Relaxed);
    let flushed = app.engine.flush().await.unwrap();
    assert_eq!((flushed.upserts, flushed.deletes), (0, 1));
    assert_eq!(app.stored().await, Memory::default());
}

async fn a_flush_that_is_given_up_loses_no_mark(root: &TestRoot) {
    let app = App::of(root).await;
    app.name(1, "a");
    let mut flush = Box::pin(app.engine.flush());
    let flushed = poll!(&mut flush).is_ready();
    drop(flush);
    assert_eq!(app.dirty(), usize::from(!flushed));
    app.name(1, "b");
    app.engine.flush().await.unwrap();
    assert_eq!((app.stored().await.nodes[&1].as_str(), app.dirty()), ("b", 0));
}

async fn many_mark_while_many_flush_and_every_key_arrives(root: &TestRoot) {
    let app = App::of(root).await;
    let app = &app;
    let marker = async |marker: i64| {
        for number in 0..10 {
            app.name(marker * 10 + number, "x");
            // Gives way to the others, now and then for as long as a read takes.
            app.job().exists("node", key!(number).unwrap()).await.unwrap();
        }
    };
    let flusher = async || {
        for _ in 0..5 {
            app.engine.flush().await.unwrap();
        }
    };
    futures_util::join!(join_all((0..10).map(marker)), flusher(), flusher(), flusher());
    app.engine.flush().await.unwrap();
    assert_eq!(app.stored().await.nodes.into_keys().collect::<Vec<_>>(), Vec::from_iter(0..100));
}

async fn a_full_engine_refuses_marks_and_takes_them_after_a_flush(root: &TestRoot) {
    let p = root.open();
    let app = App::open(&p, Options::new().marks(3)).await.unwrap();
    for id in 0..3 {
        app.name(id, "a");
    }
    let refused = app.sets.pings.mark(&(1, "t".to_owned())).unwrap_err();
    assert_eq!((refused.kind(), refused.is_retryable()), (ErrorKind::Overloaded, true));
    app.sets.nodes.mark(&2).unwrap();
    app.engine.flush().await.unwrap();
    app.sets.pings.mark(&(1, "t".to_owned())).unwrap();

    let app = App::at(&p, "beta", Options::new().bytes(1_100)).await.unwrap();
    app.name(1, "a");
    app.name(2, "b");
    assert_eq!(kind(app.sets.nodes.mark(&3)), ErrorKind::Overloaded);
    app.sets.nodes.mark_delete(&3).unwrap();
}

async fn what_is_in_flight_keeps_its_place(root: &TestRoot) {
    let app = App::open(&root.open(), Options::new().marks(2)).await.unwrap();
    app.name(1, "a");
    app.name(2, "a");
    let mut flush = Box::pin(app.engine.flush());
    if poll!(&mut flush).is_pending() {
        assert_eq!(kind(app.sets.nodes.mark(&3)), ErrorKind::Overloaded);
    }
    drop(flush);
    assert!(app.dirty() <= 2);
    app.engine.flush().await.unwrap();
}

async fn payloads_beyond_what_was_declared_are_written_while_a_batch_holds_them(root: &TestRoot) {
    let app = App::of(root).await;
    let name = "x".repeat(40_000);
    app.name(1, &name);
    assert!(app.engine.status().dirty_bytes < 1_000);
    app.engine.flush().await.unwrap();
    assert_eq!(app.stored().await.nodes[&1], name);
}

async fn more_payload_than_a_batch_holds_is_told_and_loses_no_mark(root: &TestRoot) {
    let mut schema = Schema::new();
    let sizes = Arc::new(std::sync::Mutex::new(vec![64 * 1024 * 1024 + 1]));
    let own = Arc::clone(&sizes);
    let set: WeakSet<u8> =
        schema.weak("a", move |n| Ok(own.lock().unwrap().get(usize::from(*n)).map(|size| vec![0; *size])));
    let engine = WriteBehind::open(&root.open(), "alpha", schema, Options::new()).await.unwrap();
    set.mark(&0).unwrap();
    set.mark(&1).unwrap();
    assert_eq!(kind(engine.flush().await), ErrorKind::TooLarge);
    assert_eq!(engine.status().dirty, 2);
    *sizes.lock().unwrap() = vec![10, 20];
    assert_eq!(engine.flush().await.unwrap().upserts, 2);
}

async fn no_set_can_be_declared_beyond_what_a_batch_holds(root: &TestRoot) {
    let p = root.open();
    for options in [
        Options::new().marks(0),
        Options::new().marks(MARKS_MAX + 1),
        Options::new().bytes(0),
        Options::new().bytes(usize::MAX),
        Options::new().tick(std::time::Duration::ZERO),
    ] {
        assert_eq!(kind(App::open(&p, options).await), ErrorKind::InvalidArgument);
    }
    assert!(!p.has_job("alpha") && p.list_jobs().await.unwrap().is_empty());
    assert!(SetBounds::default().marks < persistency::limits().batch_operations);
    assert!(SetBounds::default().bytes < persistency::limits().batch_bytes);
}

async fn an_engine_that_is_dropped_takes_no_more_marks(root: &TestRoot) {
    let app = App::of(root).await;
    let second = app.engine.clone();
    drop(app.engine);
    app.sets.nodes.mark(&1).unwrap();
    drop(second);
    assert_eq!(kind(app.sets.nodes.mark(&1)), ErrorKind::Closed);
}

async fn a_set_whose_engine_is_not_open_takes_no_marks(root: &TestRoot) {
    let (schema, sets) = schema(&Arc::new(Shared::default()));
    assert_eq!(kind(sets.nodes.mark(&1)), ErrorKind::Closed);
    assert_eq!(kind(sets.feeds.get(&"f".to_owned()).await), ErrorKind::Closed);
    let _engine = WriteBehind::open(&root.open(), "alpha", schema, Options::new()).await.unwrap();
    sets.nodes.mark(&1).unwrap();
}

async fn a_flush_of_a_closed_job_is_told_and_loses_no_mark(root: &TestRoot) {
    let p = root.open();
    let app = App::open(&p, Options::new()).await.unwrap();
    app.name(1, "a");
    p.close().await.unwrap();
    assert_eq!(kind(app.engine.flush().await), ErrorKind::Closed);
    assert_eq!(app.dirty(), 1);
}

async fn mistakes_in_a_schema_are_told_before_anything_is_touched(root: &TestRoot) {
    let p = root.open();
    let nothing = |_: &i64| Ok(None);
    let mistakes: [fn(&mut Schema); 8] = [
        |schema| drop((schema.strong::<i64>("a"), schema.strong::<i64>("a"))),
        |schema| drop(schema.strong::<i64>("write_behind")),
        |schema| drop(schema.strong::<i64>(&"x".repeat(256))),
        |schema| schema.migrate(0, |_| async { Ok(persistency::Batch::new()) }),
        |schema| {
            schema.migrate(2, |_| async { Ok(persistency::Batch::new()) });
            schema.migrate(2, |_| async { Ok(persistency::Batch::new()) });
        },
        |schema| {
            let foreign = Schema::new().strong::<i64>("a");
            let own = schema.strong::<i64>("a");
            schema.requires(&own, &foreign, |key, _| Ok(Some(*key)));
        },
        |schema| {
            let foreign = Schema::new().strong::<i64>("a");
            schema.load(&foreign, |_, _| Ok(()));
        },
        |schema| {
            let set = schema.weak("a", |_: &i64| Ok(None));
            schema.bounds(&set, SetBounds { marks: 0, ..SetBounds::default() });
        },
    ];
    for (number, mistake) in mistakes.into_iter().enumerate() {
        let mut schema = Schema::new();
        mistake(&mut schema);
        let opened = WriteBehind::open(&p, "alpha", schema, Options::new()).await;
        let expected = if number == 2 { ErrorKind::TooLarge } else { ErrorKind::InvalidArgument };
        assert_eq!(kind(opened), expected, "mistake {number}");
    }
    assert!(p.list_jobs().await.unwrap().is_empty());
    let mut schema = Schema::new();
    let set = schema.weak("a", nothing);
    schema.bounds(&set, SetBounds { marks: 1, ..SetBounds::default() });
    let _engine = WriteBehind::open(&p, "alpha", schema, Options::new()).await.unwrap();
    set.mark(&1).unwrap();
    assert_eq!(kind(set.mark(&2)), ErrorKind::Overloaded, "a set's own bound");
}

async fn a_flush_is_durable_unless_the_caller_wants_less(root: &TestRoot) {
    let p = root.open();
    let app = App::open(&p, Options::new()).await.unwrap();
    app.name(1, "a");
    let seq = app.engine.flush().await.unwrap().seq.unwrap();
    assert!(app.job().durable_seq() >= seq);
    let syncs = app.job().stats().syncs;

    let less = Options::new().durability(Durability::Relaxed);
    let relaxed = App::at(&p, "beta", less).await.unwrap();
    relaxed.name(1, "a");
    let seq = relaxed.engine.flush().await.unwrap().seq.unwrap();
    assert!(relaxed.job().committed_seq() >= seq && relaxed.job().durable_seq() < seq);
    assert_eq!((relaxed.job().stats().syncs, syncs), (0, 1));
    assert!(rows(relaxed.job(), "node").await[0].0 == Key::of(&[&1i64]).unwrap().as_bytes());
}
