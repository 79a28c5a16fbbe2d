//! Facts about strong writes: durable when acknowledged, decided on what is stored.

use std::sync::atomic::Ordering;

use futures_util::future::join_all;
use futures_util::poll;
use persistency::write_behind::{ATTEMPTS_MAX, Options, Saved};
use persistency::{Batch, Error, ErrorKind, FromPayload, Job, ToPayload, key, prefix_range};

use super::app::App;
use crate::common::{TestRoot, k, kind, rows};

facts! {
    everywhere:
        a_put_says_whether_it_created_or_updated,
        an_insert_on_a_row_is_a_conflict_and_the_row_stays,
        ensuring_inserts_only_what_is_missing_and_says_whether_it_did,
        an_update_can_preserve_what_was_there_before,
        an_update_that_refuses_writes_nothing,
        a_removal_says_whether_there_was_a_row,
        a_get_of_nothing_is_nothing,
        a_unique_name_is_a_precondition_and_a_conflict_leaves_all_as_it_was,
        many_updates_of_one_row_are_all_counted,
        an_update_that_is_always_too_late_ends_as_a_conflict,
        an_update_that_was_too_late_decides_again,
        a_strong_write_is_newer_than_the_mark_on_its_key,
        a_strong_write_is_newer_than_the_flush_that_was_asked_for_before,
        a_mark_made_after_a_strong_write_is_flushed,
        a_strong_write_of_a_range_takes_the_marks_of_the_range_off,
        a_strong_write_that_fails_puts_the_marks_back,
        a_mark_that_a_failed_write_had_does_not_come_back_over_a_later_write,
        a_mark_that_a_failed_write_had_does_not_come_back_over_a_later_mark,
        a_mark_comes_back_only_when_every_write_after_it_has_failed,
        a_strong_write_that_nobody_waits_for_is_newer_than_the_mark_all_the_same,
        marks_that_may_come_back_keep_their_place,
        strong_writes_speak_of_what_is_stored,
        strong_writes_leave_other_marks_dirty;
    on_disk:
        what_is_acknowledged_is_durable,
        what_is_acknowledged_is_there_in_the_next_run;
}

fn name(name: &str) -> String {
    name.to_owned()
}

async fn what_is_acknowledged_is_durable(root: &TestRoot) {
    let app = App::of(root).await;
    let feeds = &app.sets.feeds;
    let durable = |job: &Job| job.durable_seq() == job.committed_seq() && job.committed_seq() > 0;
    feeds.put(&name("a"), "1").await.unwrap();
    assert!(durable(app.job()));
    feeds.update(&name("a"), |_| Ok(Some(b"2".to_vec()))).await.unwrap();
    assert!(durable(app.job()));
    feeds.remove(&name("a")).await.unwrap();
    assert!(durable(app.job()));
    let seq = app.engine.write(Batch::new().put("feed", key!("b").unwrap(), "")).await.unwrap();
    assert!(app.job().durable_seq() >= seq);
}

async fn what_is_acknowledged_is_there_in_the_next_run(root: &TestRoot) {
    let p = root.open_unheld();
    let app = App::open(&p, Options::new()).await.unwrap();
    app.sets.feeds.put(&name("a"), "config").await.unwrap();
    app.name(1, "weak");
    // Without an end of any kind.
    drop((app, p));
    let app = App::of(root).await;
    assert_eq!(app.sets.feeds.get(&name("a")).await.unwrap().unwrap(), b"config");
    assert!(app.memory().nodes.is_empty());
}

async fn a_put_says_whether_it_created_or_updated(root: &TestRoot) {
    let feeds = App::of(root).await.sets.feeds;
    assert_eq!(feeds.put(&name("a"), "1").await.unwrap(), Saved::Created);
    assert_eq!(feeds.put(&name("a"), "2").await.unwrap(), Saved::Updated);
    assert_eq!(feeds.get(&name("a")).await.unwrap().unwrap(), b"2");
}

async fn an_insert_on_a_row_is_a_conflict_and_the_row_stays(root: &TestRoot) {
    let feeds = App::of(root).await.sets.feeds;
    feeds.insert(&name("a"), "1").await.unwrap();
    let error = feeds.insert(&name("a"), "2").await.unwrap_err();
    assert_eq!((error.kind(), error.conflict_index()), (ErrorKind::Conflict, Some(0)));
    assert_eq!(feeds.get(&name("a")).await.unwrap().unwrap(), b"1");
}

async fn ensuring_inserts_only_what_is_missing_and_says_whether_it_did(root: &TestRoot) {
    let feeds = App::of(root).await.sets.feeds;
    assert!(feeds.ensure(&name("a"), "1").await.unwrap());
    assert!(!feeds.ensure(&name("a"), "2").await.unwrap());
    assert_eq!(feeds.get(&name("a")).await.unwrap().unwrap(), b"1");
}

/// A feed's payload: when it was created, and its address.
fn feed(created: i64, address: &str) -> persistency::Result<Vec<u8>> {
    (created, address).to_payload()
}

async fn an_update_can_preserve_what_was_there_before(root: &TestRoot) {
    let feeds = App::of(root).await.sets.feeds;
    let save = |now: i64, address: &'static str| {
        feeds.update(&name("a"), move |stored| {
            let created = match stored {
                Some(stored) => <(i64, String)>::from_payload(stored)?.0,
                None => now,
            };
            feed(created, address).map(Some)
        })
    };
    assert_eq!(save(100, "old").await.unwrap(), Saved::Created);
    assert_eq!(save(200, "new").await.unwrap(), Saved::Updated);
    let stored = feeds.get(&name("a")).await.unwrap().unwrap();
    assert_eq!(<(i64, String)>::from_payload(&stored).unwrap(), (100, name("new")));
}

async fn an_update_that_refuses_writes_nothing(root: &TestRoot) {
    let app = App::of(root).await;
    let feeds = &app.sets.feeds;
    feeds.put(&name("a"), "1").await.unwrap();
    let seq = app.job().committed_seq();
    let refusal = || Error::new(ErrorKind::InvalidArgument, "an interval of less than 30 seconds");
    assert_eq!(kind(feeds.update(&name("a"), move |_| Err(refusal())).await), ErrorKind::InvalidArgument);
    assert_eq!(feeds.update(&name("a"), |_| Ok(None)).await.unwrap(), Saved::Unchanged);
    assert_eq!(feeds.update(&name("b"), |_| Ok(None)).await.unwrap(), Saved::Unchanged);
    assert_eq!(kind(feeds.put(&"x".repeat(70_000), "").await), ErrorKind::TooLarge);
    assert_eq!(app.job().committed_seq(), seq);
    assert_eq!(rows(app.job(), "feed").await.len(), 1);
}

async fn a_removal_says_whether_there_was_a_row(root: &TestRoot) {
    let feeds = App::of(root).await.sets.feeds;
    assert!(!feeds.remove(&name("a")).await.unwrap());
    feeds.put(&name("a"), "1").await.unwrap();
    assert!(feeds.remove(&name("a")).await.unwrap());
    assert!(!feeds.remove(&name("a")).await.unwrap());
}

async fn a_get_of_nothing_is_nothing(root: &TestRoot) {
    let app = App::of(root).await;
    assert_eq!(app.sets.feeds.get(&name("a")).await.unwrap(), None);
    app.name(1, "dirty");
    assert_eq!(app.sets.nodes.strong().get(&1).await.unwrap(), None, "not stored yet");
}

async fn a_unique_name_is_a_precondition_and_a_conflict_leaves_all_as_it_was(root: &TestRoot) {
    let app = App::of(root).await;
    let platform = |id: i64, name: &str| {
        Batch::new()
            .require_absent("platform_name", key!(name).unwrap())
            .put("platform_name", key!(name).unwrap(), key!(id).unwrap().into_bytes())
            .put("platform", key!(id).unwrap(), name)
    };
    app.engine.write(platform(1, "default")).await.unwrap();
    app.engine.write(platform(2, "other")).await.unwrap();
    let before = (rows(app.job(), "platform").await, rows(app.job(), "platform_name").await);
    let error = app.engine.write(platform(3, "default")).await.unwrap_err();
    assert_eq!((error.kind(), error.conflict_index()), (ErrorKind::Conflict, Some(0)));
    assert_eq!((rows(app.job(), "platform").await, rows(app.job(), "platform_name").await), before);
}

fn next(stored: Option<&[u8]>) -> persistency::Result<Option<Vec<u8>>> {
    let last = stored.map(i64::from_payload).transpose()?;
    (last.unwrap_or(0) + 1).to_payload().map(Some)
}

async fn many_updates_of_one_row_are_all_counted(root: &TestRoot) {
    let feeds = App::of(root).await.sets.feeds;
    let updates = (0..20).map(|_| feeds.update(&name("a"), next));
    let updates: Vec<_> = updates.map(Box::pin).collect();
    let saved: Vec<Saved> = join_all(updates).await.into_iter().map(Result::unwrap).collect();
    assert_eq!(saved.iter().filter(|saved| **saved == Saved::Created).count(), 1);
    let stored = feeds.get(&name("a")).await.unwrap().unwrap();
    assert_eq!(i64::from_payload(&stored).unwrap(), 20);
}

async fn an_update_that_is_always_too_late_ends_as_a_conflict(root: &TestRoot) {
    let app = App::of(root).await;
    let (job, mut tries) = (app.job().clone(), 0u8);
    let updated = app.sets.feeds.update(&name("a"), |_| {
        tries += 1;
        // Somebody beside the engine, between the look and the write.
        job.try_persist(Batch::new().put("feed", key!("a")?, [tries])).unwrap();
        Ok(Some(b"mine".to_vec()))
    });
    assert_eq!(kind(updated.await), ErrorKind::Conflict);
    assert_eq!(usize::from(tries), ATTEMPTS_MAX);
    assert_eq!(app.sets.feeds.get(&name("a")).await.unwrap().unwrap(), [tries]);
}

async fn an_update_that_was_too_late_decides_again(root: &TestRoot) {
    let app = App::of(root).await;
    let (job, mut first) = (app.job().clone(), true);
    let updated = app.sets.feeds.update(&name("a"), |stored| {
        if std::mem::take(&mut first) {
            job.try_persist(Batch::new().put("feed", key!("a")?, 41i64.to_payload()?)).unwrap();
        }
        next(stored)
    });
    assert_eq!(updated.await.unwrap(), Saved::Updated);
    assert_eq!(app.sets.feeds.get(&name("a")).await.unwrap().unwrap(), 42i64.to_payload().unwrap());
}

async fn a_strong_write_is_newer_than_the_mark_on_its_key(root: &TestRoot) {
    let app = App::of(root).await;
    app.name(1, "weak");
    app.name(2, "weak");
    app.sets.nodes.mark_delete(&3).unwrap();
    let strong = app.sets.nodes.strong();
    strong.put(&1, "strong".to_payload().unwrap()).await.unwrap();
    strong.put(&3, "strong".to_payload().unwrap()).await.unwrap();
    assert_eq!(app.dirty(), 1);
    assert_eq!(app.engine.flush().await.unwrap().rows(), 1);
    let nodes = app.stored().await.nodes;
    assert_eq!(nodes.into_values().collect::<Vec<_>>(), ["strong", "weak", "strong"]);
}

async fn a_strong_write_is_newer_than_the_flush_that_was_asked_for_before(root: &TestRoot) {
    let app = App::of(root).await;
    for round in 0..10 {
        app.name(1, &format!("weak {round}"));
        let mut flush = Box::pin(app.engine.flush());
        let _ = poll!(&mut flush);
        let value = format!("strong {round}");
        let put = app.sets.nodes.strong().put(&1, value.to_payload().unwrap());
        let (saved, flushed) = futures_util::join!(put, flush);
        saved.unwrap();
        flushed.unwrap();
        assert_eq!(app.engine.flush().await.unwrap().seq, None);
        assert_eq!(app.stored().await.nodes[&1], value);
    }
}

async fn a_mark_made_after_a_strong_write_is_flushed(root: &TestRoot) {
    let app = App::of(root).await;
    app.sets.nodes.strong().put(&1, "strong".to_payload().unwrap()).await.unwrap();
    app.name(1, "weak");
    app.engine.flush().await.unwrap();
    assert_eq!(app.stored().await.nodes[&1], "weak");
}

async fn a_strong_write_of_a_range_takes_the_marks_of_the_range_off(root: &TestRoot) {
    let app = App::of(root).await;
    for (feed, id) in [("a", 1), ("a", 2), ("b", 1)] {
        app.memory().links.insert((name(feed), id), false);
        app.sets.links.mark(&(name(feed), id)).unwrap();
    }
    app.name(1, "n");
    let batch = Batch::new().delete_range("link", prefix_range(&key!("a").unwrap()));
    app.engine.write(batch).await.unwrap();
    assert_eq!((app.sets.links.dirty(), app.dirty()), (1, 2));
    app.engine.flush().await.unwrap();
    assert_eq!(app.stored().await.links.into_keys().collect::<Vec<_>>(), [(name("b"), 1)]);
}

async fn a_strong_write_that_fails_puts_the_marks_back(root: &TestRoot) {
    let app = App::of(root).await;
    app.name(1, "weak");
    let batch = || Batch::new().require_present("missing", k("x")).clear("node");
    assert_eq!(kind(app.engine.write(batch()).await), ErrorKind::Conflict);
    assert_eq!(app.dirty(), 1);
    // Also when the key has been marked again, which then counts.
    let mut write = Box::pin(app.engine.write(batch()));
    let _ = poll!(&mut write);
    app.sets.nodes.mark_delete(&1).unwrap();
    assert_eq!(kind(write.await), ErrorKind::Conflict);
    let flushed = app.engine.flush().await.unwrap();
    assert_eq!((flushed.upserts, flushed.deletes), (0, 1));
    // And when nobody waits for it.
    app.name(1, "weak");
    let mut write = Box::pin(app.engine.write(batch()));
    let _ = poll!(&mut write);
    drop(write);
    assert_eq!(app.engine.flush().await.unwrap().upserts, 1);
    assert_eq!(app.stored().await.nodes[&1], "weak");
}

/// A program with node 1 stored, and marked to be removed.
async fn with_a_removal(root: &TestRoot) -> App {
    let app = App::of(root).await;
    app.name(1, "old");
    app.engine.flush().await.unwrap();
    app.forget(1);
    app
}

fn node(name: &str) -> Batch {
    Batch::new().put("node", key!(1i64).unwrap(), name.to_payload().unwrap())
}

async fn a_mark_that_a_failed_write_had_does_not_come_back_over_a_later_write(root: &TestRoot) {
    let app = with_a_removal(root).await;
    // The row is there until the removal is flushed.
    let insert = app.sets.nodes.strong().insert(&1, "refused".to_payload().unwrap());
    let (inserted, written) = futures_util::join!(insert, app.engine.write(node("strong")));
    assert_eq!(kind(inserted), ErrorKind::Conflict);
    written.unwrap();
    assert_eq!(app.dirty(), 0);
    assert_eq!(app.engine.flush().await.unwrap().seq, None);
    assert_eq!(app.stored().await.nodes[&1], "strong");
}

async fn a_mark_that_a_failed_write_had_does_not_come_back_over_a_later_mark(root: &TestRoot) {
    let app = with_a_removal(root).await;
    let insert = app.sets.nodes.strong().insert(&1, "refused".to_payload().unwrap());
    let flush = async {
        app.name(1, "new");
        app.engine.flush().await
    };
    let (inserted, flushed) = futures_util::join!(insert, flush);
    assert_eq!(kind(inserted), ErrorKind::Conflict);
    assert_eq!(flushed.unwrap().upserts, 1);
    assert_eq!(app.engine.flush().await.unwrap().seq, None);
    assert_eq!(app.stored().await.nodes[&1], "new");
}

async fn a_mark_comes_back_only_when_every_write_after_it_has_failed(root: &TestRoot) {
    let app = with_a_removal(root).await;
    let refused = || app.engine.write(Batch::new().require_present("missing", k("x")).clear("node"));
    let (one, other) = futures_util::join!(refused(), refused());
    assert_eq!((kind(one), kind(other), app.dirty()), (ErrorKind::Conflict, ErrorKind::Conflict, 1));
    let (one, other) = futures_util::join!(app.engine.write(node("strong")), refused());
    assert_eq!((one.is_ok(), kind(other), app.dirty()), (true, ErrorKind::Conflict, 0));
}

async fn a_strong_write_that_nobody_waits_for_is_newer_than_the_mark_all_the_same(root: &TestRoot) {
    let app = with_a_removal(root).await;
    let mut write = Box::pin(app.engine.write(node("strong")));
    let _ = poll!(&mut write);
    drop(write);
    app.engine.flush().await.unwrap();
    assert_eq!(app.dirty(), 0);
    assert_eq!(app.stored().await.nodes[&1], "strong");
}

async fn marks_that_may_come_back_keep_their_place(root: &TestRoot) {
    let app = App::open(&root.open(), Options::new().marks(2)).await.unwrap();
    app.name(1, "a");
    app.name(2, "b");
    let batch = Batch::new().require_present("missing", k("x")).clear("node");
    let mut write = Box::pin(app.engine.write(batch));
    if poll!(&mut write).is_pending() {
        assert_eq!(app.dirty(), 0);
        assert_eq!(kind(app.sets.nodes.mark(&3)), ErrorKind::Overloaded);
    }
    assert_eq!(kind(write.await), ErrorKind::Conflict);
    assert_eq!(app.dirty(), 2);
    app.engine.flush().await.unwrap();
    app.name(3, "c");
    app.name(4, "d");
}

async fn strong_writes_speak_of_what_is_stored(root: &TestRoot) {
    let app = App::of(root).await;
    app.name(1, "dirty");
    let strong = app.sets.nodes.strong();
    assert_eq!(strong.put(&1, "x".to_payload().unwrap()).await.unwrap(), Saved::Created);
    app.forget(1);
    assert!(!strong.ensure(&1, "y".to_payload().unwrap()).await.unwrap(), "the row is still there");
    app.engine.flush().await.unwrap();
    assert!(!strong.remove(&1).await.unwrap());
}

async fn strong_writes_leave_other_marks_dirty(root: &TestRoot) {
    let app = App::of(root).await;
    app.name(1, "a");
    app.shared.broken.store(true, Ordering::Relaxed);
    app.sets.feeds.put(&name("a"), "").await.unwrap();
    assert_eq!(app.dirty(), 1);
    assert!(app.stored().await.nodes.is_empty());
}
