//! Facts about opening an engine: migrations, legacy data, versions, loading.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use persistency::write_behind::{Options, Schema, WriteBehind};
use persistency::{
    Batch, Error, ErrorKind, FromPayload, Job, JobOptions, LogRetention, Persistency, Position, Result,
    ToPayload, WatchItem, key,
};

use crate::common::{TestRoot, kind, rows};

facts! {
    everywhere:
        an_empty_job_takes_every_step_in_order,
        a_step_reads_what_the_one_before_it_left,
        data_without_a_stamp_is_of_version_0,
        recognised_data_is_stamped_and_brought_up_from_there,
        recognised_data_of_the_last_version_is_only_stamped,
        data_that_cannot_be_recognised_can_be_refused,
        a_step_and_its_stamp_are_one_commit,
        a_data_migration_changes_what_it_names_and_nothing_else,
        a_newer_version_is_refused_and_nothing_is_touched,
        a_stamp_that_is_none_is_corrupt,
        a_step_whose_condition_never_holds_ends_as_a_conflict,
        a_job_that_was_not_open_is_closed_when_opening_fails,
        sets_are_loaded_in_their_order_and_nothing_is_marked,
        a_loader_that_fails_fails_to_open,
        a_stored_key_that_is_none_of_its_sets_is_corrupt;
    on_disk:
        steps_that_were_taken_are_not_taken_again,
        steps_that_failed_are_taken_up_where_they_were_left;
}

/// A schema of three steps: places, their colours, and a change of those that are "RANDOM".
fn schema(taken: &Arc<AtomicUsize>, last: u64) -> Schema {
    let mut schema = Schema::new();
    let count = |taken: &Arc<AtomicUsize>| {
        let taken = Arc::clone(taken);
        move || taken.fetch_add(1, Ordering::Relaxed)
    };
    let own = count(taken);
    schema.migrate(1, move |_| {
        own();
        async { Ok(Batch::new().put("place", key!("seed")?, "")) }
    });
    if last >= 2 {
        let own = count(taken);
        schema.migrate(2, move |job| {
            own();
            async move { colour(&job, |payload| payload.is_empty(), "RANDOM").await }
        });
    }
    if last >= 3 {
        let own = count(taken);
        schema.migrate(3, move |job| {
            own();
            async move { colour(&job, |payload| payload == b"RANDOM", "EVEN").await }
        });
    }
    schema
}

/// Gives a colour to the places whose payload asks for it.
async fn colour(job: &Job, asks: fn(&[u8]) -> bool, colour: &str) -> Result<Batch> {
    let places = job.scan("place", ..).await?;
    let asking = places.into_iter().filter(|row| asks(&row.payload));
    Ok(asking.fold(Batch::new(), |batch, row| batch.put("place", row.key, colour)))
}

async fn open(p: &Persistency, schema: Schema) -> Result<WriteBehind> {
    WriteBehind::open(p, "alpha", schema, Options::new()).await
}

async fn places(job: &Job) -> Vec<String> {
    let rows = rows(job, "place").await;
    rows.into_iter().map(|(_, payload)| String::from_utf8(payload).unwrap()).collect()
}

async fn put(p: &Persistency, name: &str, payload: &str) {
    let job = p.open_job("alpha").await.unwrap();
    job.put_acked("place", key!(name).unwrap(), payload).await.unwrap();
}

async fn an_empty_job_takes_every_step_in_order(root: &TestRoot) {
    let taken = Arc::default();
    let engine = open(&root.open(), schema(&taken, 3)).await.unwrap();
    let bootstrap = engine.bootstrap();
    assert_eq!((bootstrap.version_before, bootstrap.version), (0, 3));
    assert_eq!((taken.load(Ordering::Relaxed), places(engine.job()).await), (3, vec!["EVEN".to_owned()]));
}

async fn a_step_reads_what_the_one_before_it_left(root: &TestRoot) {
    let p = root.open();
    put(&p, "b", "").await;
    let engine = open(&p, schema(&Arc::default(), 2)).await.unwrap();
    assert_eq!(places(engine.job()).await, ["RANDOM", "RANDOM"], "the seed of step 1 among them");
}

async fn steps_that_were_taken_are_not_taken_again(root: &TestRoot) {
    for (last, steps) in [(2, 2), (2, 0), (3, 1), (3, 0)] {
        let taken = Arc::default();
        let p = root.open();
        let engine = open(&p, schema(&taken, last)).await.unwrap();
        assert_eq!(taken.load(Ordering::Relaxed), steps);
        assert_eq!(engine.bootstrap().version_before, last - steps as u64);
        p.close().await.unwrap();
    }
}

async fn data_without_a_stamp_is_of_version_0(root: &TestRoot) {
    let p = root.open();
    put(&p, "b", "RED").await;
    let taken = Arc::default();
    let engine = open(&p, schema(&taken, 3)).await.unwrap();
    assert_eq!((taken.load(Ordering::Relaxed), engine.bootstrap().version_before), (3, 0));
}

/// Data whose places have colours is of version 2.
fn recognising(mut schema: Schema) -> Schema {
    schema.legacy(|job| async move {
        let coloured = job.scan("place", ..).await?.iter().any(|row| !row.payload.is_empty());
        Ok(coloured.then_some(2))
    });
    schema
}

async fn recognised_data_is_stamped_and_brought_up_from_there(root: &TestRoot) {
    let p = root.open();
    put(&p, "b", "RANDOM").await;
    let taken = Arc::default();
    let engine = open(&p, recognising(schema(&taken, 3))).await.unwrap();
    assert_eq!((taken.load(Ordering::Relaxed), engine.bootstrap().version_before), (1, 2));
    assert_eq!(places(engine.job()).await, ["EVEN"], "step 1 was not taken, so there is no seed");

    p.drop_job("alpha").await.unwrap();
    put(&p, "b", "").await;
    let taken = Arc::default();
    let engine = open(&p, recognising(schema(&taken, 3))).await.unwrap();
    assert_eq!((taken.load(Ordering::Relaxed), engine.bootstrap().version_before), (3, 0));
}

async fn recognised_data_of_the_last_version_is_only_stamped(root: &TestRoot) {
    let p = root.open();
    put(&p, "b", "RANDOM").await;
    let taken = Arc::default();
    let engine = open(&p, recognising(schema(&taken, 2))).await.unwrap();
    assert_eq!((taken.load(Ordering::Relaxed), engine.bootstrap().version_before), (0, 2));
    // From now on it is the stamp that counts.
    put(&p, "b", "").await;
    let engine = WriteBehind::over(engine.job().clone(), recognising(schema(&taken, 2)), Options::new());
    assert_eq!((engine.await.unwrap().bootstrap().version_before, taken.load(Ordering::Relaxed)), (2, 0));
}

async fn data_that_cannot_be_recognised_can_be_refused(root: &TestRoot) {
    let p = root.open();
    put(&p, "b", "").await;
    let mut refusing = schema(&Arc::default(), 3);
    refusing.legacy(|_| async { Err(Error::new(ErrorKind::Corrupt, "not ours")) });
    assert_eq!(kind(open(&p, refusing).await), ErrorKind::Corrupt);
    assert_eq!(places(&p.open_job("alpha").await.unwrap()).await, [""]);
}

async fn a_step_and_its_stamp_are_one_commit(root: &TestRoot) {
    let options = Options::new().job(JobOptions::new().log(LogRetention::LastBytes(1 << 20)));
    let engine = WriteBehind::open(&root.open(), "alpha", schema(&Arc::default(), 3), options).await.unwrap();
    let generation = engine.job().position().await.unwrap().generation;
    let mut log = engine.job().log_from(Position { generation, seq: 0 }).await.unwrap();
    let mut commits = 0;
    while let Some(Ok(WatchItem::Commit(commit))) = log.next().await {
        let of = |category| commit.operations.iter().filter(|op| op.category() == category).count();
        assert_eq!((of("place"), of("write_behind")), (1, 2), "the step, its stamp and the fence");
        commits += 1;
    }
    assert_eq!(commits, 3);
}

async fn a_data_migration_changes_what_it_names_and_nothing_else(root: &TestRoot) {
    let p = root.open();
    for (name, payload) in [("a", "RANDOM"), ("b", "RED"), ("c", "random"), ("d", "RANDOM")] {
        put(&p, name, payload).await;
    }
    let engine = open(&p, recognising(schema(&Arc::default(), 3))).await.unwrap();
    assert_eq!(places(engine.job()).await, ["EVEN", "RED", "random", "EVEN"]);
}

async fn a_newer_version_is_refused_and_nothing_is_touched(root: &TestRoot) {
    let p = root.open();
    let engine = open(&p, schema(&Arc::default(), 3)).await.unwrap();
    let seq = engine.job().committed_seq();
    let older = WriteBehind::over(engine.job().clone(), schema(&Arc::default(), 2), Options::new()).await;
    assert_eq!(kind(older), ErrorKind::VersionTooNew);
    let none = WriteBehind::over(engine.job().clone(), Schema::new(), Options::new()).await;
    assert_eq!(kind(none), ErrorKind::VersionTooNew);
    assert_eq!(engine.job().position().await.unwrap().seq, seq);
}

async fn a_stamp_that_is_none_is_corrupt(root: &TestRoot) {
    let p = root.open();
    let engine = open(&p, schema(&Arc::default(), 3)).await.unwrap();
    let version = persistency::Key::from_bytes("version");
    engine.job().put_acked("write_behind", version, "three").await.unwrap();
    let again = WriteBehind::over(engine.job().clone(), schema(&Arc::default(), 3), Options::new()).await;
    assert_eq!(kind(again), ErrorKind::Corrupt);
}

async fn steps_that_failed_are_taken_up_where_they_were_left(root: &TestRoot) {
    let p = root.open();
    put(&p, "b", "RED").await;
    let mut failing = schema(&Arc::default(), 2);
    failing.migrate(3, |_| async { Err(Error::new(ErrorKind::StorageFull, "no room")) });
    assert_eq!(kind(open(&p, failing).await), ErrorKind::StorageFull);
    p.close().await.unwrap();
    let taken = Arc::default();
    let engine = open(&root.open(), schema(&taken, 3)).await.unwrap();
    assert_eq!((taken.load(Ordering::Relaxed), engine.bootstrap().version_before), (1, 2));
    assert_eq!(places(engine.job()).await, ["RED", "EVEN"]);
}

async fn a_step_whose_condition_never_holds_ends_as_a_conflict(root: &TestRoot) {
    let mut schema = Schema::new();
    schema.migrate(1, |_| async { Ok(Batch::new().require_present("missing", key!("x")?)) });
    assert_eq!(kind(open(&root.open(), schema).await), ErrorKind::Conflict);
}

async fn a_job_that_was_not_open_is_closed_when_opening_fails(root: &TestRoot) {
    let p = root.open();
    let failing = || {
        let mut schema = Schema::new();
        schema.migrate(1, |_| async { Err(Error::new(ErrorKind::Corrupt, "")) });
        schema
    };
    assert_eq!(kind(open(&p, failing()).await), ErrorKind::Corrupt);
    assert!(!p.has_job("alpha"));
    let job = p.open_job("alpha").await.unwrap();
    assert_eq!(kind(open(&p, failing()).await), ErrorKind::Corrupt);
    assert!(job.is_open());
}

async fn sets_are_loaded_in_their_order_and_nothing_is_marked(root: &TestRoot) {
    let p = root.open();
    let job = p.open_job("alpha").await.unwrap();
    for n in 0..3i64 {
        job.put_acked("child", key!(n).unwrap(), n.to_payload().unwrap()).await.unwrap();
        job.put_acked("parent", key!(n).unwrap(), n.to_payload().unwrap()).await.unwrap();
    }
    let seen = Arc::new(Mutex::new(Vec::new()));
    let mut schema = Schema::new();
    let parents = schema.weak("parent", |_: &i64| Ok(None));
    let strong = schema.strong::<i64>("strong");
    let children = schema.weak("child", |_: &i64| Ok(None));
    for (set, name) in [(&children, "child"), (&parents, "parent")] {
        let (seen, marks) = (Arc::clone(&seen), set.clone());
        schema.load(set, move |key, payload| {
            assert_eq!(key, i64::from_payload(payload)?);
            // What a loader does with memory may mark, and does not succeed.
            assert_eq!(kind(marks.mark(&key)), ErrorKind::Closed);
            seen.lock().unwrap().push((name, key));
            Ok(())
        });
    }
    schema.load(&strong, |_, _| Ok(()));
    let engine = open(&p, schema).await.unwrap();
    let expected = [("parent", 0), ("parent", 1), ("parent", 2), ("child", 0), ("child", 1), ("child", 2)];
    assert_eq!(*seen.lock().unwrap(), expected);
    let loaded = [("parent", 3), ("strong", 0), ("child", 3)].map(|(of, rows)| (of.to_owned(), rows));
    assert_eq!((&engine.bootstrap().loaded[..], engine.status().dirty), (&loaded[..], 0));
}

async fn a_loader_that_fails_fails_to_open(root: &TestRoot) {
    let p = root.open();
    put(&p, "a", "").await;
    let mut schema = Schema::new();
    let places = schema.strong::<String>("place");
    schema.load(&places, |_, _| Err(Error::new(ErrorKind::Corrupt, "no colour")));
    let error = open(&p, schema).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Corrupt);
    assert!(error.message().contains("place"), "{error}");
}

async fn a_stored_key_that_is_none_of_its_sets_is_corrupt(root: &TestRoot) {
    let p = root.open();
    put(&p, "a", "").await;
    let mut schema = Schema::new();
    let places = schema.strong::<i64>("place");
    schema.load(&places, |_, _| Ok(()));
    assert_eq!(kind(open(&p, schema).await), ErrorKind::Corrupt);
    let mut schema = Schema::new();
    let places = schema.strong::<i64>("place");
    schema.requires(&places, &places, |_, _| Ok(None::<i64>));
    assert_eq!(kind(open(&p, schema).await), ErrorKind::Corrupt);
}
