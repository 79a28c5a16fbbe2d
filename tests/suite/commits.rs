//! Facts about the commit log: what it keeps, who holds it, and how it is read.

use persistency::{
    Batch, Clock, Commit, ErrorKind, Job, JobOptions, LogRetention, Op, Position, WatchItem, key,
};
use std::time::Duration;

use crate::common::{TestRoot, failing, k, kind, put_all};

facts! {
    everywhere:
        the_log_is_off_by_default,
        a_kept_log_tells_every_commit_whole,
        commits_written_together_are_read_and_released_one_by_one,
        many_small_commits_are_read_in_order_from_anywhere,
        a_log_of_the_last_bytes_keeps_so_many_of_small_commits,
        commits_have_times_that_never_decrease_and_their_writer,
        reading_the_log_ends_at_its_present_end,
        a_log_of_the_last_bytes_is_trimmed,
        commits_larger_than_a_part_come_back_whole,
        a_holder_keeps_the_log_until_it_releases_it,
        the_slowest_holder_decides,
        holders_go_forward_only_and_not_beyond_what_is_committed,
        holders_have_names_and_a_bound,
        a_position_of_another_generation_is_not_found,
        a_position_ahead_of_the_job_is_invalid,
        a_position_that_was_trimmed_lags;
    on_disk:
        retention_and_holders_survive_reopening,
        writers_differ_by_opening;
}

async fn logged(root: &TestRoot, retention: LogRetention) -> Job {
    root.open().open_job_with("alpha", JobOptions::new().log(retention)).await.unwrap()
}

/// The position before every commit.
async fn start(job: &Job) -> Position {
    Position { seq: 0, ..job.position().await.unwrap() }
}

async fn read(job: &Job, after: u64) -> Vec<WatchItem> {
    let position = Position { seq: after, ..start(job).await };
    let mut reader = job.log_from(position).await.unwrap();
    let mut items = Vec::new();
    while let Some(item) = reader.next().await {
        items.push(item.unwrap());
    }
    items
}

fn commits(items: &[WatchItem]) -> Vec<&Commit> {
    let mut commits = Vec::new();
    for item in items {
        match item {
            WatchItem::Commit(commit) => commits.push(commit),
            other => panic!("{other:?}"),
        }
    }
    commits
}

fn seqs(items: &[WatchItem]) -> Vec<u64> {
    commits(items).into_iter().map(|commit| commit.seq).collect()
}

/// A retention that nothing in these tests outgrows.
const PLENTY: LogRetention = LogRetention::LastBytes(1 << 30);

async fn the_log_is_off_by_default(root: &TestRoot) {
    let job = root.job().await;
    put_all(&job, "m", ["a"]).await;
    let info = job.info().await.unwrap();
    assert_eq!((info.log, info.log_first_seq, info.log_holders), (LogRetention::Off, 2, vec![]));
    assert_eq!(read(&job, 0).await, [WatchItem::Lagged { from: 1, to: 1 }]);
    assert_eq!(read(&job, 1).await, []);
}

async fn a_kept_log_tells_every_commit_whole(root: &TestRoot) {
    let job = logged(root, PLENTY).await;
    let batch = Batch::new()
        .require_absent("m", k("a"))
        .put("m", k("a"), "1")
        .delete("", k(""))
        .delete_prefix("n", k("x"))
        .clear("o");
    let operations = batch.operations().to_vec();
    job.persist(batch).await.unwrap();
    job.persist(Batch::new()).await.unwrap();
    assert_eq!(kind(job.persist_acked(failing()).await), ErrorKind::Conflict);
    job.put_acked("m", k("b"), "").await.unwrap();
    let items = read(&job, 0).await;
    assert_eq!(seqs(&items), [1, 2], "neither empty nor failed batches are in it");
    assert_eq!(&*commits(&items)[0].operations, operations);
    let put = Op::Put { category: "m".into(), key: k("b"), payload: vec![] };
    assert_eq!(&*commits(&items)[1].operations, [put]);
    assert_eq!(seqs(&read(&job, 1).await), [2]);
    let info = job.info().await.unwrap();
    assert_eq!((info.log, info.log_first_seq), (PLENTY, 1));
    assert!(job.check().await.unwrap().is_empty());
}

/// Puts that are accepted one after another and committed as they have piled up.
async fn pile_up(job: &Job, keys: std::ops::Range<u32>, payload: usize) {
    for number in keys {
        job.persist_put("m", key!("channel", number).unwrap(), vec![number as u8; payload]).await.unwrap();
    }
    job.flush().await.unwrap();
}

async fn commits_written_together_are_read_and_released_one_by_one(root: &TestRoot) {
    let job = root.job().await;
    job.hold_log("holder").await.unwrap();
    pile_up(&job, 0..300, 100).await;
    for released in [1, 7, 150, 299] {
        assert_eq!(job.advance_log("holder", released).await.unwrap(), released);
        assert_eq!(job.info().await.unwrap().log_first_seq, released + 1);
        let items = read(&job, 0).await;
        assert_eq!(items[0], WatchItem::Lagged { from: 1, to: released });
        assert_eq!(seqs(&items[1..]), (released + 1..=300).collect::<Vec<_>>());
        assert_eq!(seqs(&read(&job, released).await), (released + 1..=300).collect::<Vec<_>>());
        assert_eq!(job.check().await.unwrap(), Vec::<String>::new());
    }
    pile_up(&job, 300..310, 100).await;
    job.advance_log("holder", 300).await.unwrap();
    assert_eq!(seqs(&read(&job, 304).await), [305, 306, 307, 308, 309, 310]);
    // One that begins anew sees nothing of what has been released.
    job.release_log("holder").await.unwrap();
    job.hold_log("another").await.unwrap();
    pile_up(&job, 310..312, 100).await;
    let items = read(&job, 0).await;
    assert_eq!((&items[0], seqs(&items[1..])), (&WatchItem::Lagged { from: 1, to: 310 }, vec![311, 312]));
}

async fn many_small_commits_are_read_in_order_from_anywhere(root: &TestRoot) {
    const COMMITS: u32 = 12_000;
    let job = logged(root, PLENTY).await;
    pile_up(&job, 0..COMMITS, 3).await;
    for after in [0, 1, 5000, 11_999, 12_000] {
        let items = read(&job, after).await;
        assert_eq!(seqs(&items), (after + 1..=COMMITS.into()).collect::<Vec<_>>());
        for commit in commits(&items) {
            let number = commit.seq as u32 - 1;
            let key = key!("channel", number).unwrap();
            let put = Op::Put { category: "m".into(), key, payload: vec![number as u8; 3] };
            assert_eq!(&*commit.operations, [put]);
        }
    }
}

async fn a_log_of_the_last_bytes_keeps_so_many_of_small_commits(root: &TestRoot) {
    const KEEP: u64 = 100_000;
    let job = logged(root, LogRetention::LastBytes(KEEP)).await;
    for round in 0..10 {
        pile_up(&job, round * 600..(round + 1) * 600, 100).await;
    }
    // Trimming comes after what somebody waits for, and may come while the log is read.
    let (mut first, mut items) = (1, Vec::new());
    for _ in 0..100_000 {
        first = job.info().await.unwrap().log_first_seq;
        if first > 3000 {
            items = read(&job, first - 1).await;
            if first == job.info().await.unwrap().log_first_seq {
                break;
            }
        }
    }
    assert_eq!(seqs(&items), (first..=6000).collect::<Vec<_>>());
    let bytes = |item: &WatchItem| match item {
        WatchItem::Commit(commit) => commit.operations.len() as u64 * 130,
        other => panic!("{other:?}"),
    };
    let kept: u64 = items.iter().map(bytes).sum();
    assert!(kept >= KEEP && first > 3000, "{kept} bytes from {first} on");
    assert_eq!(read(&job, 0).await[0], WatchItem::Lagged { from: 1, to: first - 1 });
    assert!(job.check().await.unwrap().is_empty());
}

async fn commits_have_times_that_never_decrease_and_their_writer(root: &TestRoot) {
    let clock = Clock::manual(1_000_000);
    let p = root.open_with_clock(clock.clone());
    let job = p.open_job_with("alpha", JobOptions::new().log(PLENTY)).await.unwrap();
    assert_eq!(job.info().await.unwrap().created_ms, 1_000_000);
    for _ in 0..3 {
        job.put_acked("m", k("a"), "").await.unwrap();
        clock.advance(Duration::from_millis(7));
    }
    let items = read(&job, 0).await;
    let times: Vec<u64> = commits(&items).into_iter().map(|commit| commit.time_ms).collect();
    assert_eq!(times, [1_000_000, 1_000_007, 1_000_014]);
    assert!(commits(&items).iter().all(|commit| commit.writer == commits(&items)[0].writer));
    if root.persists() {
        p.close().await.unwrap();
        // Somebody has set the clock back.
        let p = root.open_with_clock(Clock::manual(5));
        let job = p.open_job("alpha").await.unwrap();
        job.put_acked("m", k("a"), "").await.unwrap();
        assert_eq!(commits(&read(&job, 3).await)[0].time_ms, 1_000_014);
    }
}

async fn reading_the_log_ends_at_its_present_end(root: &TestRoot) {
    let job = logged(root, PLENTY).await;
    let mut reader = job.log_from(start(&job).await).await.unwrap();
    assert!(reader.next().await.is_none());
    job.put_acked("m", k("a"), "").await.unwrap();
    assert_eq!(seqs(&[reader.next().await.unwrap().unwrap()]), [1]);
    assert!(reader.next().await.is_none());
    put_all(&job, "m", ["b"]).await;
    let rest: Vec<_> = futures_util::StreamExt::collect(reader.into_stream()).await;
    assert_eq!(seqs(&[rest[0].clone().unwrap()]), [2]);
    assert_eq!(rest.len(), 1);
}

async fn a_log_of_the_last_bytes_is_trimmed(root: &TestRoot) {
    const KEEP: u64 = 50_000;
    let job = logged(root, LogRetention::LastBytes(KEEP)).await;
    for number in 0..60u32 {
        job.persist_put("m", key!(number).unwrap(), vec![0; 10_000]).await.unwrap();
    }
    job.flush().await.unwrap();
    // Trimming comes after what somebody waits for, and may come while the log is read.
    let (mut first, mut items) = (1, Vec::new());
    for _ in 0..100_000 {
        first = job.info().await.unwrap().log_first_seq;
        if first > 30 {
            items = read(&job, first - 1).await;
            if first == job.info().await.unwrap().log_first_seq {
                break;
            }
        }
    }
    assert!((31..=56).contains(&first), "{first}");
    assert_eq!(seqs(&items), (first..=60).collect::<Vec<_>>());
    assert!(job.check().await.unwrap().is_empty());
    assert_eq!(job.count("m", ..).await.unwrap(), 60, "rows are not the log's affair");
}

async fn commits_larger_than_a_part_come_back_whole(root: &TestRoot) {
    let job = logged(root, PLENTY).await;
    let sizes = [48 << 10, 0, 100_000, 2 << 20, 1];
    for (number, size) in (0u8..).zip(sizes) {
        let batch = Batch::new().put("m", k([number]), vec![number; size]).put("n", k([number]), "");
        job.persist(batch).await.unwrap();
    }
    let items = read(&job, 0).await;
    assert_eq!(seqs(&items), [1, 2, 3, 4, 5]);
    for (number, size) in (0..).zip(sizes) {
        let Op::Put { payload, .. } = &commits(&items)[number].operations[0] else { panic!("a put") };
        assert!(*payload == vec![number as u8; size]);
        assert_eq!(commits(&items)[number].operations.len(), 2);
    }
    assert_eq!(seqs(&read(&job, 3).await), [4, 5]);
}

async fn a_holder_keeps_the_log_until_it_releases_it(root: &TestRoot) {
    let job = root.job().await;
    put_all(&job, "m", ["a"]).await;
    assert_eq!(job.hold_log("shipper").await.unwrap(), 1);
    put_all(&job, "m", ["b"]).await;
    put_all(&job, "m", ["c"]).await;
    assert_eq!(job.hold_log("shipper").await.unwrap(), 1, "one that is there stays where it is");
    let info = job.info().await.unwrap();
    assert_eq!((info.log_first_seq, info.log_holders), (2, vec![("shipper".to_owned(), 1)]));
    assert_eq!(seqs(&read(&job, 1).await), [2, 3]);
    assert_eq!(job.advance_log("shipper", 2).await.unwrap(), 2);
    assert_eq!(job.info().await.unwrap().log_first_seq, 3);
    assert_eq!(seqs(&read(&job, 2).await), [3]);
    job.release_log("shipper").await.unwrap();
    job.release_log("shipper").await.unwrap();
    let info = job.info().await.unwrap();
    assert_eq!((info.log_first_seq, info.log_holders), (4, vec![]));
    put_all(&job, "m", ["d"]).await;
    assert_eq!(read(&job, 3).await, [WatchItem::Lagged { from: 4, to: 4 }]);
    assert_eq!(job.committed_seq(), 4, "the log's own changes take no seq");
}

async fn the_slowest_holder_decides(root: &TestRoot) {
    let job = root.job().await;
    for holder in ["fast", "slow"] {
        job.hold_log(holder).await.unwrap();
    }
    for key in 0..5u8 {
        job.put_acked("m", k([key]), "").await.unwrap();
    }
    job.advance_log("fast", 5).await.unwrap();
    job.advance_log("slow", 2).await.unwrap();
    assert_eq!(job.info().await.unwrap().log_first_seq, 3);
    job.release_log("slow").await.unwrap();
    assert_eq!(job.info().await.unwrap().log_first_seq, 6);
    assert_eq!(read(&job, 5).await, []);
}

async fn holders_go_forward_only_and_not_beyond_what_is_committed(root: &TestRoot) {
    let job = root.job().await;
    job.hold_log("holder").await.unwrap();
    for key in 0..5u8 {
        job.persist_put("m", k([key]), "").await.unwrap();
    }
    assert_eq!(job.advance_log("holder", 3).await.unwrap(), 3);
    assert_eq!(job.advance_log("holder", 1).await.unwrap(), 3);
    assert_eq!(job.advance_log("holder", u64::MAX).await.unwrap(), 5);
    put_all(&job, "m", ["a"]).await;
    assert_eq!(seqs(&read(&job, 5).await), [6]);
    assert_eq!(kind(job.advance_log("nobody", 1).await), ErrorKind::InvalidArgument);
}

async fn holders_have_names_and_a_bound(root: &TestRoot) {
    let job = root.job().await;
    assert_eq!(kind(job.hold_log("").await), ErrorKind::InvalidArgument);
    assert_eq!(kind(job.hold_log(&"x".repeat(256)).await), ErrorKind::TooLarge);
    job.hold_log(&"x".repeat(255)).await.unwrap();
    for number in 1..64 {
        job.hold_log(&format!("\u{1f600} {number}")).await.unwrap();
    }
    assert_eq!(kind(job.hold_log("one more").await), ErrorKind::TooLarge);
    job.release_log("\u{1f600} 7").await.unwrap();
    job.hold_log("one more").await.unwrap();
    assert_eq!(job.info().await.unwrap().log_holders.len(), 64);
    job.flush().await.unwrap();
}

async fn a_position_of_another_generation_is_not_found(root: &TestRoot) {
    let p = root.open();
    let job = p.open_job_with("alpha", JobOptions::new().log(PLENTY)).await.unwrap();
    put_all(&job, "m", ["a"]).await;
    let old = start(&job).await;
    p.drop_job("alpha").await.unwrap();
    let job = p.open_job("alpha").await.unwrap();
    put_all(&job, "m", ["a"]).await;
    assert_eq!(kind(job.log_from(old).await), ErrorKind::JobNotFound);
    assert_eq!(kind(job.watch_from(old, "m", ..).await), ErrorKind::JobNotFound);
    assert_ne!(job.position().await.unwrap().generation, old.generation);
}

async fn a_position_ahead_of_the_job_is_invalid(root: &TestRoot) {
    let job = logged(root, PLENTY).await;
    put_all(&job, "m", ["a"]).await;
    let ahead = Position { seq: 2, ..job.position().await.unwrap() };
    assert_eq!(kind(job.log_from(ahead).await), ErrorKind::InvalidArgument);
    assert_eq!(kind(job.watch_from(ahead, "m", ..).await), ErrorKind::InvalidArgument);
}

async fn a_position_that_was_trimmed_lags(root: &TestRoot) {
    let job = root.job().await;
    for key in 0..3u8 {
        job.put_acked("m", k([key]), "").await.unwrap();
    }
    job.hold_log("holder").await.unwrap();
    for key in 0..2u8 {
        job.put_acked("m", k([key]), "").await.unwrap();
    }
    let items = read(&job, 1).await;
    assert_eq!(items[0], WatchItem::Lagged { from: 2, to: 3 });
    assert_eq!(seqs(&items[1..]), [4, 5]);
}

async fn retention_and_holders_survive_reopening(root: &TestRoot) {
    let p = root.open();
    let job = p.open_job_with("alpha", JobOptions::new().log(PLENTY)).await.unwrap();
    put_all(&job, "m", ["a"]).await;
    job.hold_log("holder").await.unwrap();
    put_all(&job, "m", ["b"]).await;
    p.close().await.unwrap();

    // Without a word about the log it stays as it is.
    let p = root.open();
    let job = p.open_job("alpha").await.unwrap();
    put_all(&job, "m", ["c"]).await;
    assert_eq!(job.info().await.unwrap().log, PLENTY);
    assert_eq!(seqs(&read(&job, 0).await), [1, 2, 3]);
    p.close().await.unwrap();

    // Switched off, it keeps what is held.
    let p = root.open();
    let job = p.open_job_with("alpha", JobOptions::new().log(LogRetention::Off)).await.unwrap();
    let info = job.info().await.unwrap();
    assert_eq!(info.log_holders, [("holder".to_owned(), 1)]);
    assert_eq!((info.log, info.log_first_seq), (LogRetention::Off, 2));
    assert_eq!(seqs(&read(&job, 1).await), [2, 3]);
    job.release_log("holder").await.unwrap();
    p.close().await.unwrap();
    let job = root.job().await;
    assert_eq!(job.info().await.unwrap().log_first_seq, 4);
}

async fn writers_differ_by_opening(root: &TestRoot) {
    let mut writers = Vec::new();
    for seq in 0..3 {
        let p = root.open();
        let job = p.open_job_with("alpha", JobOptions::new().log(PLENTY)).await.unwrap();
        put_all(&job, "m", ["a"]).await;
        let writer = commits(&read(&job, seq).await)[0].writer;
        assert!(!writers.contains(&writer));
        writers.push(writer);
        p.close().await.unwrap();
    }
}
