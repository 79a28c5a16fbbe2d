//! The one decision, by itself: preconditions, seqs, the marker, the log, dropped and foreign records.

use super::*;
use crate::batch::Batch;
use crate::key::Key;
use crate::testing::test;

const STAMP: Stamp = Stamp {
    generation: [1; 16],
    writer: [2; 16],
    group: 9,
    unix_ms: 500,
    durable: false,
    log_unsynced: false,
};

fn key(n: u8) -> Key {
    Key::from_bytes([n])
}

fn task(batch: Batch) -> Task {
    Task::Batch { batch: CheckedBatch::try_from(batch).expect("is within limits"), report_existed: false }
}

fn delete(n: u8) -> Task {
    let batch = CheckedBatch::try_from(Batch::new().delete("c", key(n))).expect("is within limits");
    Task::Batch { batch, report_existed: true }
}

fn put(n: u8) -> Batch {
    Batch::new().put("c", key(n), [n])
}

fn done(seq: u64) -> Answer {
    Answer::Done { seq, existed: false }
}

/// Takes the turn on a job that holds the rows given.
fn decide(stamp: Stamp, tasks: Vec<Task>, record: &Record, rows: &[u8]) -> (Option<Vec<Write>>, Verdict) {
    let turn = Turn { stamp, tasks: tasks.into() };
    let found = turn.reads().into_iter().map(|look| match look.point.space {
        Space::Meta => Some(record.encode()),
        _ => rows.contains(&look.point.key[0]).then_some(look.point.key),
    });
    turn.decide(found.collect())
}

fn decided(verdict: Verdict) -> Decided {
    match verdict {
        Verdict::Decided(decided) => *decided,
        other => panic!("{other:?}"),
    }
}

fn record() -> Record {
    Record { committed_seq: 10, durable_seq: 8, ..Record::new([1; 16], 100) }
}

fn answers(tasks: Vec<Task>, rows: &[u8]) -> Vec<Answer> {
    decided(decide(STAMP, tasks, &record(), rows).1).answers
}

#[test]
fn each_batch_with_operations_takes_the_next_seq_and_an_empty_one_none() {
    let tasks = vec![task(put(1)), task(Batch::new()), task(put(1)), task(Batch::new().delete("c", key(9)))];
    assert_eq!(answers(tasks, &[]), [done(11), done(11), done(12), done(13)]);
}

#[test]
fn a_failed_precondition_names_its_index_and_leaves_its_neighbours() {
    let tasks = vec![
        task(put(1).require_present("c", key(5)).require_absent("c", key(6))),
        task(put(2).require_present("c", key(5)).require_absent("c", key(5))),
        task(put(3).require_equal("c", key(5), [5])),
        task(put(3).require_equal("c", key(5), [5, 0])),
    ];
    let expected = [done(11), Answer::Conflict(1), done(12), Answer::Conflict(0)];
    assert_eq!(answers(tasks, &[5]), expected);
}

#[test]
fn preconditions_and_reports_see_the_batches_before_them_in_the_turn() {
    let tasks = vec![
        task(put(1)),
        task(Batch::new().require_present("c", key(1)).delete_range("c", key(0)..key(2))),
        task(put(2).require_absent("c", key(1))),
        delete(2),
        delete(2),
        task(put(7).require_equal("c", key(7), [7])),
    ];
    let existed = Answer::Done { seq: 14, existed: true };
    assert_eq!(answers(tasks, &[7]), [done(11), done(12), done(13), existed, done(15), done(16)]);
}

#[test]
fn a_batch_that_conflicts_writes_nothing() {
    let (writes, verdict) = decide(STAMP, vec![task(put(1).require_present("c", key(9)))], &record(), &[]);
    assert!(writes.is_none());
    assert_eq!(decided(verdict).after, record(), "not even the writer's number");
}

#[test]
fn the_record_says_who_wrote_last_and_when_and_time_does_not_go_back() {
    let late = Record { last_commit_ms: 900, ..record() };
    let (writes, verdict) = decide(STAMP, vec![task(put(1))], &late, &[]);
    let after = decided(verdict).after;
    assert_eq!((after.writer, after.group, after.last_commit_ms), ([2; 16], 9, 900));
    assert_eq!((after.committed_seq, after.durable_seq), (11, 8));
    let writes = writes.expect("writes");
    assert!(matches!(writes.as_slice(), [Write::Rows(_), Write::Put(..)]), "rows, then the record");
}

#[test]
fn a_sync_moves_the_marker_once() {
    let durable = Stamp { durable: true, ..STAMP };
    let (writes, verdict) = decide(durable, vec![Task::Sync], &record(), &[]);
    let after = decided(verdict).after;
    assert_eq!((writes.map(|writes| writes.len()), after.durable_seq), (Some(1), 10));
    assert!(decide(durable, vec![Task::Sync], &after, &[]).0.is_none(), "there is nothing left to do");
}

#[test]
fn a_dropped_foreign_or_missing_record_is_gone_and_a_damaged_one_unreadable() {
    let dropped = Record { dropped: true, ..record() };
    let foreign = Record { generation: [7; 16], ..record() };
    for record in [dropped, foreign] {
        assert!(matches!(decide(STAMP, vec![task(put(1))], &record, &[]), (None, Verdict::Gone)));
    }
    let turn = Turn { stamp: STAMP, tasks: [task(put(1))].into() };
    assert!(matches!(turn.decide(vec![None]), (None, Verdict::Gone)));
    assert!(matches!(turn.decide(vec![Some(vec![1, 2])]), (None, Verdict::Unreadable(_))));
}

#[test]
fn dropping_empties_and_marks_in_one() {
    let (writes, verdict) = decide(STAMP, vec![Task::Drop], &record(), &[]);
    assert!(matches!(writes.as_deref(), Some([Write::Empty, Write::Put(..)])));
    assert!(decided(verdict).after.dropped);
}

#[test]
fn the_log_is_written_while_somebody_wants_it_and_trimmed_as_far_as_released() {
    let hold = |name: &str| Task::Log(LogChange::Hold(name.to_owned()));
    let advance = |name: &str, seq| Task::Log(LogChange::Advance(name.to_owned(), seq));
    let tasks = vec![task(put(1)), hold("a"), task(put(2)), task(put(3)), hold("b"), advance("a", 99)];
    let decided_now = decided(decide(STAMP, tasks, &record(), &[]).1);
    let held = Answer::Done { seq: 13, existed: true };
    assert_eq!(decided_now.answers, [done(11), done(11), done(12), done(13), done(13), held]);
    let log = &decided_now.after.log;
    assert_eq!((log.first_seq, log.released_seq()), (14, 13), "12 and 13 are released by both");
    let none = answers(vec![advance("x", 1), Task::Log(LogChange::Release("x".to_owned()))], &[]);
    assert_eq!(none, [Answer::NoHolder, done(10)]);
}

/// The log's part of a decision's writes: what is stored, as its commits' seqs, and what is deleted.
fn log_writes(writes: Option<Vec<Write>>) -> Vec<String> {
    let mut read = commit_log::Assembler::default();
    let mut seqs = |key: &[u8], value: &[u8]| {
        let mut commits = Vec::new();
        read.push(key, value, 0, &mut commits).expect("is whole");
        commits.iter().map(|commit| commit.seq.to_string()).collect::<Vec<_>>().join(" ")
    };
    let told = writes.unwrap_or_default().into_iter().filter_map(|write| match write {
        Write::Put(Point { space: Space::Log, key }, value) => Some(seqs(&key, &value)),
        Write::Log(values) => {
            let values: Vec<_> = values.iter().map(|(key, value)| seqs(key, value)).collect();
            Some(format!("all: {}", values.join(", ")))
        }
        Write::DeleteSpan(Space::Log, span) => {
            let held = |seq: &u64| span.contains(&commit_log::span(*seq, *seq).start);
            Some(format!("without {:?}", (0..30).filter(held).collect::<Vec<_>>()))
        }
        _ => None,
    });
    told.collect()
}

#[test]
fn commits_of_a_turn_share_a_value_and_a_change_of_the_log_comes_between() {
    let log = |change| Task::Log(change);
    let name = || "a".to_owned();
    let held = decided(decide(STAMP, vec![log(LogChange::Hold(name()))], &record(), &[]).1).after;
    let refused = task(put(1).require_present("c", key(9)));
    let (writes, verdict) =
        decide(STAMP, vec![task(put(1)), refused, task(put(2)), task(put(3))], &held, &[]);
    assert_eq!(log_writes(writes), ["all: 11 12 13"]);
    assert!(decided(verdict).after.log.end_offset > held.log.end_offset);
    let tasks = vec![
        task(put(1)),
        task(put(2)),
        log(LogChange::Advance(name(), 11)),
        task(put(3)),
        log(LogChange::Release(name())),
        task(put(4)),
        log(LogChange::Hold(name())),
        task(put(5)),
    ];
    let (writes, verdict) = decide(STAMP, tasks, &held, &[]);
    assert_eq!(log_writes(writes), ["11 12", "without [11]", "13", "without [12, 13]", "15"]);
    assert_eq!(decided(verdict).after.log.first_seq, 15);
    // Of commits before the turn a trim can be written before all that the turn logs.
    let later = Record { committed_seq: 12, ..held };
    let tasks = vec![task(put(1)), log(LogChange::Advance(name(), 11)), task(put(2))];
    let (writes, _) = decide(STAMP, tasks, &later, &[]);
    assert_eq!(log_writes(writes), ["without [11]", "all: 13 14"]);
    // While nobody wants the log the turn is not all in it.
    let tasks = vec![task(put(1)), log(LogChange::Hold(name())), task(put(2))];
    assert_eq!(log_writes(decide(STAMP, tasks, &record(), &[]).0), ["12"]);
}

#[test]
fn a_point_is_looked_at_once_and_as_much_as_anybody_wants() {
    let batch = put(1).require_absent("c", key(1)).require_equal("c", key(1), [0; 7]);
    let turn = Turn { stamp: STAMP, tasks: [task(batch), delete(1), task(put(2))].into() };
    let reads = turn.reads();
    assert_eq!((reads.len(), reads[0].point.clone()), (2, Point::record()));
    assert_eq!(reads[1].want, Want::Payload(7));
}

/// Found by attack: every range that was deleted walked over every row that some task looked at, so one
/// batch within the limits kept its worker busy for minutes.
#[test]
fn a_batch_of_many_preconditions_and_many_ranges_is_decided_in_no_time() {
    let mut batch = Batch::new();
    for n in 0..50_000u32 {
        batch = batch.require_absent("c", Key::from_bytes(n.to_be_bytes()));
    }
    for _ in 0..50_000 {
        batch = batch.clear("c");
    }
    let clock = crate::Clock::system();
    let begun = clock.monotonic_ms();
    assert_eq!(answers(vec![task(batch)], &[]), [done(11)]);
    let took = clock.monotonic_ms() - begun;
    assert!(took < 20_000, "{took} ms");
}
