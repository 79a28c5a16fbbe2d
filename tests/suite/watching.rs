//! Facts about watches: one item for each commit that touches the range, in order, no silent gap.

use std::ops::RangeBounds;

use futures_util::future::join;
use futures_util::{StreamExt, poll};
use persistency::{
    Batch, ErrorKind, Job, JobOptions, LogRetention, Op, Position, Watch, WatchItem, prefix_range,
};

use crate::common::{TestRoot, failing, k, kind, put_all};

facts! {
    everywhere:
        a_watch_yields_commits_in_order_from_now_on,
        a_watch_wakes_for_what_comes,
        a_watch_begins_before_what_is_written_after_it,
        operations_are_cut_to_the_range,
        what_does_not_touch_the_range_is_not_yielded,
        deleted_ranges_are_cut_to_the_range,
        empty_and_failed_batches_are_not_yielded,
        a_slow_consumer_lags_and_goes_on_behind_the_gap,
        a_slow_consumer_of_a_kept_log_misses_nothing,
        a_watch_from_a_position_begins_with_what_was_committed_since,
        a_watch_from_before_the_log_begins_with_the_gap,
        the_position_is_behind_what_was_yielded,
        a_future_that_was_dropped_loses_nothing,
        several_watches_each_yield_everything,
        a_watch_ends_when_the_job_is_closed,
        a_watch_ends_when_the_job_is_dropped,
        watches_are_bounded,
        a_watch_is_a_stream;
}

async fn seq(watch: &mut Watch) -> u64 {
    match watch.next().await.unwrap().unwrap() {
        WatchItem::Commit(commit) => commit.seq,
        other => panic!("{other:?}"),
    }
}

async fn operations(watch: &mut Watch) -> Vec<Op> {
    match watch.next().await.unwrap().unwrap() {
        WatchItem::Commit(commit) => commit.operations.to_vec(),
        other => panic!("{other:?}"),
    }
}

async fn is_quiet(watch: &mut Watch) -> bool {
    poll!(std::pin::pin!(watch.next())).is_pending()
}

async fn a_watch_yields_commits_in_order_from_now_on(root: &TestRoot) {
    let job = root.job().await;
    put_all(&job, "m", ["before"]).await;
    let mut watch = job.watch("m", ..).await.unwrap();
    for key in 0..100u8 {
        job.persist_put("m", k([key]), [key]).await.unwrap();
    }
    for key in 0..100u8 {
        let WatchItem::Commit(commit) = watch.next().await.unwrap().unwrap() else { panic!("a commit") };
        assert_eq!(commit.seq, u64::from(key) + 2);
        let put = Op::Put { category: "m".into(), key: k([key]), payload: vec![key] };
        assert_eq!(&*commit.operations, [put]);
    }
    assert!(is_quiet(&mut watch).await);
}

async fn a_watch_wakes_for_what_comes(root: &TestRoot) {
    let job = root.job().await;
    let mut watch = job.watch("m", ..).await.unwrap();
    for round in 1..=20 {
        let write = async { job.persist_put("m", k("a"), "").await.unwrap() };
        let (seen, _) = join(seq(&mut watch), write).await;
        assert_eq!(seen, round);
    }
}

async fn a_watch_begins_before_what_is_written_after_it(root: &TestRoot) {
    let job = root.job().await;
    for round in 0..20u8 {
        // More than a read is compared with, and still to be committed when the watch is asked for.
        for key in 0..100u8 {
            job.persist(Batch::from_iter((0..20u8).map(|n| put([round, key, n])))).await.unwrap();
        }
        let mut starting = std::pin::pin!(job.watch("after", ..));
        let started = poll!(&mut starting);
        job.persist_put("after", k([round]), "").await.unwrap();
        let mut watch = match started {
            std::task::Poll::Ready(watch) => watch.unwrap(),
            std::task::Poll::Pending => starting.await.unwrap(),
        };
        let WatchItem::Commit(commit) = watch.next().await.unwrap().unwrap() else { panic!("a commit") };
        assert_eq!(commit.operations.len(), 1);
        let Op::Put { key, .. } = &commit.operations[0] else { panic!("a put") };
        assert_eq!(*key, k([round]));
    }
}

fn put(key: [u8; 3]) -> Op {
    Op::Put { category: "before".into(), key: k(key), payload: vec![0; 100] }
}

async fn operations_are_cut_to_the_range(root: &TestRoot) {
    let job = root.job().await;
    let mut watch = job.watch("m", k("b")..k("d")).await.unwrap();
    let batch = Batch::new()
        .put("m", k("a"), "")
        .put("m", k("b"), "1")
        .put("n", k("b"), "")
        .delete("m", k("c"))
        .delete("m", k("d"))
        .put("m", k("b"), "2");
    job.persist(batch).await.unwrap();
    let op = |payload: &str| Op::Put { category: "m".into(), key: k("b"), payload: payload.into() };
    let delete = Op::Delete { category: "m".into(), key: k("c") };
    assert_eq!(operations(&mut watch).await, [op("1"), delete, op("2")]);
}

async fn what_does_not_touch_the_range_is_not_yielded(root: &TestRoot) {
    let job = root.job().await;
    let mut watch = job.watch("m", prefix_range(&k("b"))).await.unwrap();
    let untouched = [
        Batch::new().put("m", k("a"), ""),
        Batch::new().put("n", k("b"), ""),
        Batch::new().delete("m", k("c")),
        Batch::new().clear("n"),
        Batch::new().delete_range("m", k("c")..),
        Batch::new().delete_range("m", ..k("b")),
        Batch::new().delete_range("m", k("b")..k("b")),
    ];
    for batch in untouched {
        job.persist_acked(batch).await.unwrap();
    }
    job.persist(Batch::new().put("m", k("ba"), "")).await.unwrap();
    assert_eq!(seq(&mut watch).await, 8);
    let mut nothing = job.watch("m", k("b")..k("a")).await.unwrap();
    job.persist_acked(Batch::new().clear("m")).await.unwrap();
    assert!(is_quiet(&mut nothing).await);
}

async fn deleted_ranges_are_cut_to_the_range(root: &TestRoot) {
    let job = root.job().await;
    let mut watch = job.watch("m", k("b")..k("d")).await.unwrap();
    let batch = Batch::new()
        .clear("m")
        .delete_range("m", k("c")..)
        .delete_range("m", ..=k("b"))
        .delete_prefix("m", k("bb"))
        .delete_range("m", k("d")..);
    job.persist(batch).await.unwrap();
    let cut = operations(&mut watch).await;
    assert_eq!(cut.len(), 4);
    let probes = ["a", "b", "b\0", "bb", "bbx", "bc", "c", "cc", "d"];
    let expected: [&[&str]; 4] =
        [&["b", "b\0", "bb", "bbx", "bc", "c", "cc"], &["c", "cc"], &["b"], &["bb", "bbx"]];
    for (op, expected) in cut.iter().zip(expected) {
        let Op::DeleteRange { range, category } = op else { panic!("{op:?}") };
        assert_eq!(&**category, "m");
        assert!(probes.into_iter().filter(|key| range.contains(&k(*key))).eq(expected.iter().copied()));
    }
}

async fn empty_and_failed_batches_are_not_yielded(root: &TestRoot) {
    let job = root.job().await;
    let mut watch = job.watch("m", ..).await.unwrap();
    job.persist(Batch::new()).await.unwrap();
    assert_eq!(kind(job.persist_acked(failing()).await), ErrorKind::Conflict);
    job.persist(Batch::new().require_absent("m", k("a"))).await.unwrap();
    put_all(&job, "m", ["a"]).await;
    assert_eq!(seq(&mut watch).await, 1);
}

/// Commits more than a worker remembers for its watchers.
const FLOOD: u64 = 12;

async fn flood(job: &Job) {
    for key in 0..FLOOD as u8 {
        job.put_acked("m", k([key]), vec![key; 1 << 20]).await.unwrap();
    }
}

async fn a_slow_consumer_lags_and_goes_on_behind_the_gap(root: &TestRoot) {
    let job = root.job().await;
    let mut watch = job.watch("m", ..).await.unwrap();
    flood(&job).await;
    let WatchItem::Lagged { from, to } = watch.next().await.unwrap().unwrap() else { panic!("a gap") };
    assert_eq!(from, 1);
    assert!((1..FLOOD).contains(&to), "{to}");
    assert_eq!(watch.position().seq, to);
    for expected in to + 1..=FLOOD {
        assert_eq!(seq(&mut watch).await, expected);
    }
    put_all(&job, "m", ["after"]).await;
    assert_eq!(seq(&mut watch).await, FLOOD + 1);
}

async fn a_slow_consumer_of_a_kept_log_misses_nothing(root: &TestRoot) {
    let kept = JobOptions::new().log(LogRetention::LastBytes(1 << 30));
    let job = root.open().open_job_with("alpha", kept).await.unwrap();
    let mut watch = job.watch("m", ..).await.unwrap();
    flood(&job).await;
    for expected in 1..=FLOOD {
        assert_eq!(seq(&mut watch).await, expected);
    }
    put_all(&job, "m", ["after"]).await;
    assert_eq!(seq(&mut watch).await, FLOOD + 1);
}

async fn a_watch_from_a_position_begins_with_what_was_committed_since(root: &TestRoot) {
    let job = root.job().await;
    job.hold_log("me").await.unwrap();
    put_all(&job, "m", ["a"]).await;
    let position = job.position().await.unwrap();
    put_all(&job, "m", ["b"]).await;
    put_all(&job, "n", ["b"]).await;
    put_all(&job, "m", ["c"]).await;
    let mut watch = job.watch_from(position, "m", ..).await.unwrap();
    put_all(&job, "m", ["d"]).await;
    for expected in [2, 4, 5] {
        assert_eq!(seq(&mut watch).await, expected);
    }
    let mut now = job.watch_from(job.position().await.unwrap(), "m", ..).await.unwrap();
    put_all(&job, "m", ["e"]).await;
    assert_eq!((seq(&mut now).await, seq(&mut watch).await), (6, 6));
}

async fn a_watch_from_before_the_log_begins_with_the_gap(root: &TestRoot) {
    let job = root.job().await;
    for _ in 0..3 {
        put_all(&job, "m", ["a"]).await;
    }
    let begin = Position { seq: 1, ..job.position().await.unwrap() };
    let mut watch = job.watch_from(begin, "m", ..).await.unwrap();
    assert_eq!(watch.next().await.unwrap().unwrap(), WatchItem::Lagged { from: 2, to: 3 });
    put_all(&job, "m", ["b"]).await;
    assert_eq!(seq(&mut watch).await, 4);
}

async fn the_position_is_behind_what_was_yielded(root: &TestRoot) {
    let job = root.job().await;
    job.hold_log("me").await.unwrap();
    let mut watch = job.watch("m", ..).await.unwrap();
    assert_eq!(watch.position(), job.position().await.unwrap());
    for key in 0..5u8 {
        job.put_acked("m", k([key]), "").await.unwrap();
    }
    assert_eq!((seq(&mut watch).await, seq(&mut watch).await), (1, 2));
    assert_eq!(watch.position().seq, 2);
    // Whoever comes back with the position goes on where this one stopped.
    let mut resumed = job.watch_from(watch.position(), "m", ..).await.unwrap();
    drop(watch);
    assert_eq!(seq(&mut resumed).await, 3);
}

async fn a_future_that_was_dropped_loses_nothing(root: &TestRoot) {
    let job = root.job().await;
    let mut watch = job.watch("m", ..).await.unwrap();
    let mut seen = Vec::new();
    for key in 0..20u8 {
        let looked = match poll!(std::pin::pin!(watch.next())) {
            std::task::Poll::Ready(item) => item,
            std::task::Poll::Pending => None,
        };
        job.persist_put("m", k([key]), "").await.unwrap();
        if let Some(Ok(WatchItem::Commit(commit))) = looked {
            seen.push(commit.seq);
        }
    }
    while seen.len() < 20 {
        seen.push(seq(&mut watch).await);
    }
    assert!(seen.into_iter().eq(1..=20));
}

async fn several_watches_each_yield_everything(root: &TestRoot) {
    let job = root.job().await;
    let mut watches = Vec::new();
    for key in 0..5u8 {
        watches.push((job.watch("m", ..).await.unwrap(), job.watch("m", k([key])..).await.unwrap()));
    }
    for key in 0..5u8 {
        job.persist_put("m", k([key]), "").await.unwrap();
    }
    for (from, (all, some)) in (1..).zip(&mut watches) {
        for expected in 1..=5 {
            assert_eq!(seq(all).await, expected);
        }
        for expected in from..=5 {
            assert_eq!(seq(some).await, expected);
        }
    }
}

async fn a_watch_ends_when_the_job_is_closed(root: &TestRoot) {
    let p = root.open();
    let job = p.open_job("alpha").await.unwrap();
    let mut watch = job.watch("m", ..).await.unwrap();
    let (item, closed) = join(watch.next(), p.close_job("alpha")).await;
    closed.unwrap();
    assert_eq!(kind(item.unwrap()), ErrorKind::Closed);
    assert!(watch.next().await.is_none());
    assert!(watch.next().await.is_none());
}

async fn a_watch_ends_when_the_job_is_dropped(root: &TestRoot) {
    let p = root.open();
    let job = p.open_job("alpha").await.unwrap();
    let mut watch = job.watch("m", ..).await.unwrap();
    let (item, dropped) = join(watch.next(), p.drop_job("alpha")).await;
    dropped.unwrap();
    assert_eq!(kind(item.unwrap()), ErrorKind::JobNotFound);
    assert!(watch.next().await.is_none());
}

async fn watches_are_bounded(root: &TestRoot) {
    let job = root.job().await;
    let mut watches = Vec::new();
    for _ in 0..1024 {
        watches.push(job.watch("m", ..).await.unwrap());
    }
    assert_eq!(kind(job.watch("m", ..).await), ErrorKind::TooLarge);
    watches.pop();
    watches.push(job.watch("m", ..).await.unwrap());
    put_all(&job, "m", ["a"]).await;
    assert_eq!(seq(&mut watches[0]).await, 1);
}

async fn a_watch_is_a_stream(root: &TestRoot) {
    let p = root.open();
    let job = p.open_job("alpha").await.unwrap();
    let stream = job.watch("m", ..).await.unwrap().into_stream();
    for key in 0..3u8 {
        job.put_acked("m", k([key]), "").await.unwrap();
    }
    let items: Vec<_> = stream.take(3).collect().await;
    assert_eq!(items.len(), 3);
    assert!(items.into_iter().all(|item| matches!(item, Ok(WatchItem::Commit(_)))));
}
