//! Commits come back from their values, and damage is never taken for one.

use super::*;
use crate::batch::{Batch, CheckedBatch};
use crate::key::Key;
use crate::testing::{Random, test};

const TIME_MS: u64 = 77;
const WRITER: [u8; 16] = [5; 16];

fn commit(seq: u64, batch: Batch) -> Commit {
    Commit { seq, time_ms: TIME_MS, writer: WRITER, operations: batch.operations().into() }
}

fn some_batch() -> Batch {
    Batch::new()
        .put("", Key::empty(), "")
        .put("a", Key::from_bytes([0, 0xff]), [0, 1, 2])
        .put("a", Key::from_bytes([0, 0xfe, 7]), [3])
        .delete("a", Key::from_bytes("k"))
        .delete_range("\u{1f600}", Key::from_bytes("a")..Key::from_bytes("b"))
        .delete_range("b", Key::from_bytes("ab")..Key::from_bytes("abc"))
        .delete_prefix("b", Key::from_bytes([0xff]))
        .clear("c")
}

fn put(n: u64, payload: usize) -> Batch {
    let key = Key::of(&[&"channel-42", &n]).unwrap();
    Batch::new().put("msg", key, Random::new(n).payload(payload))
}

/// What one transaction stores of these commits, and the next offset.
fn stored(commits: &[Commit], mut offset: u64) -> (Vec<LogValue>, u64) {
    let (mut log, mut values) = (LogWriter::new(TIME_MS, WRITER), Vec::new());
    for commit in commits {
        let batch = CheckedBatch::try_from(Batch::from_iter(commit.operations.iter().cloned())).unwrap();
        log.push(commit.seq, &commit.operations, batch.bytes, &mut offset, &mut values);
    }
    log.flush(&mut offset, &mut values);
    (values, offset)
}

fn read(values: &[LogValue]) -> Result<Vec<Commit>, Fault> {
    let mut assembler = Assembler::default();
    let mut commits = Vec::new();
    for (key, value) in values {
        assembler.push(key, value, 0, &mut commits).map_err(|error| error.fault)?;
    }
    Ok(commits)
}

#[test]
fn a_commit_comes_back_as_it_was() {
    for seq in [1, 3, SEQ_MAX] {
        let small = commit(seq, some_batch());
        let (values, next) = stored(std::slice::from_ref(&small), 1000);
        assert_eq!((values.len(), next), (1, 1000 + values[0].1.len() as u64));
        assert_eq!(read(&values), Ok(vec![small]));
        let head = Head::of(&values[0].0, &values[0].1).unwrap();
        assert_eq!((head.first_seq, head.last_seq, head.offset), (seq, seq, 1000));
    }
}

#[test]
fn commits_of_one_transaction_share_a_value_and_take_little_more_room_than_their_payloads() {
    let commits: Vec<_> = (1..=400).map(|seq| commit(seq, put(seq, 100))).collect();
    let (values, bytes) = stored(&commits, 0);
    assert!(values.len() <= 2, "{} values", values.len());
    assert!(bytes < 400 * 108, "{bytes} bytes");
    assert_eq!(read(&values), Ok(commits));
}

#[test]
fn any_commits_come_back_and_each_value_is_found_by_the_seqs_in_it() {
    let mut random = Random::new(7);
    for _ in 0..50 {
        let first = 1 + random.below(1000) as u64;
        let commits: Vec<_> = (first..first + 1 + random.below(60) as u64)
            .map(|seq| {
                let payload = if random.below(30) == 0 { 70_000 } else { random.below(3000) };
                let few = random.below(4);
                let batch =
                    (0..few).fold(put(random.below(9) as u64, payload), |batch, n| match random.below(3) {
                        0 => batch.delete("msg", Key::from_bytes([n as u8])),
                        1 => batch.put("other", Key::empty(), "p"),
                        _ => batch.clear("msg"),
                    });
                commit(seq, batch)
            })
            .collect();
        let start = random.below(1 << 20) as u64;
        let (values, end) = stored(&commits, start);
        assert_eq!(read(&values).as_ref(), Ok(&commits));
        let mut offset = start;
        for (key, value) in &values {
            assert!(value.len() <= HEADER_BYTES + LOG_PART_BYTES_MAX);
            assert_eq!(Head::of(key, value).unwrap().offset, offset);
            offset += value.len() as u64;
        }
        assert_eq!(offset, end);
        for commit in &commits {
            let span = span(commit.seq, u64::MAX);
            let at = values.iter().position(|(key, _)| span.contains(key)).unwrap();
            assert_eq!(read(&values[at..]).unwrap().iter().find(|one| one.seq == commit.seq), Some(commit));
        }
    }
}

#[test]
fn a_large_commit_is_laid_down_in_pieces_of_at_most_48_kib() {
    let payload = Random::new(1).payload(3 * LOG_PART_BYTES_MAX);
    let large = commit(9, some_batch().put("large", Key::from_bytes("k"), payload));
    let (before, after) = (commit(8, some_batch()), commit(10, some_batch()));
    let (values, _) = stored(&[before.clone(), large.clone(), after.clone()], 0);
    assert_eq!(values.len(), 6);
    for (number, (key, _)) in (0..).zip(&values[1..5]) {
        assert_eq!(*key, (9 * 4096 + number as u64).to_be_bytes());
    }
    assert_eq!(read(&values), Ok(vec![before, large, after]));
}

#[test]
fn pieces_are_taken_across_pages_and_not_out_of_order() {
    let payload = Random::new(2).payload(2 * LOG_PART_BYTES_MAX);
    let (large, _) = stored(&[commit(7, Batch::new().put("c", Key::empty(), payload))], 0);
    let (next, _) = stored(&[commit(8, some_batch())], 0);
    let mut assembler = Assembler::default();
    let mut commits = Vec::new();
    assembler.push(&large[0].0, &large[0].1, 0, &mut commits).unwrap();
    assert_eq!(commits, []);
    assert_eq!(assembler.resume_key(), large[1].0);
    assert_eq!(read(&[large.as_slice(), &next].concat()).map(|commits| commits.len()), Ok(2));
    let missing = [large[0].clone(), large[2].clone()];
    assert_eq!(read(&missing), Err(Fault::Corrupt));
    assert_eq!(read(&large[1..]), Err(Fault::Corrupt), "it has no beginning");
    let strange = [large[0].clone(), (key_of(8, 1), large[1].1.clone())];
    assert_eq!(read(&strange), Err(Fault::Corrupt), "of another commit");
}

#[test]
fn what_is_cut_is_corrupt_and_a_newer_version_is_told() {
    let commits: Vec<_> = (3..9).map(|seq| commit(seq, some_batch())).collect();
    let (values, _) = stored(&commits, 0);
    let (key, value) = &values[0];
    for length in 0..value.len() {
        assert_eq!(read(&[(key.clone(), value[..length].to_vec())]), Err(Fault::Corrupt), "{length} bytes");
    }
    for length in 0..key.len() {
        assert_eq!(read(&[(key[..length].to_vec(), value.clone())]), Err(Fault::Corrupt));
    }
    assert_eq!(read(&[(key.clone(), [value.as_slice(), &[0]].concat())]), Err(Fault::Corrupt), "a byte more");
    let mut newer = value.clone();
    newer[0] = VERSION + 1;
    assert_eq!(read(&[(key.clone(), newer)]), Err(Fault::TooNew));
}

#[test]
fn damage_is_told_or_other_commits_and_never_a_panic_or_the_same() {
    let commits: Vec<_> = (3..9).map(|seq| commit(seq, some_batch())).collect();
    let (values, _) = stored(&commits, 0);
    let (key, value) = &values[0];
    let tells_nothing = 26..34;
    for at in (0..value.len()).filter(|at| !tells_nothing.contains(at)) {
        for flipped in [1, 2, 4, 8, 0x10, 0x80, 0xff] {
            let mut damaged = value.clone();
            damaged[at] ^= flipped;
            assert_ne!(read(&[(key.clone(), damaged)]).as_ref(), Ok(&commits), "byte {at}");
        }
    }
    let mut random = Random::new(3);
    for _ in 0..2000 {
        let mut damaged = value.clone();
        for _ in 0..1 + random.below(4) {
            let at = random.below(damaged.len());
            damaged[at] = random.below(256) as u8;
        }
        let _ = read(&[(key.clone(), damaged)]);
    }
}

#[test]
fn keys_that_claim_more_in_common_than_a_batch_can_hold_are_corrupt() {
    let many =
        commit(1, (0..40_000).fold(Batch::new(), |batch, _| batch.delete("", Key::from_bytes([1; 100]))));
    let (values, _) = stored(std::slice::from_ref(&many), 0);
    assert_eq!(read(&values), Ok(vec![many]));
    let mut body = vec![1, 0, 0, 0x80, 0x80, 0x08];
    body.extend([1; 128 * 1024]);
    body.push(0);
    for _ in 0..1000 {
        body.extend([6, 0x80, 0x80, 0x08, 0]);
    }
    assert_eq!(operations::Input::new(&body).commit(), None);
}

#[test]
fn a_span_holds_the_values_that_end_with_its_commits_and_no_other() {
    let span = span(3, 5);
    for (seq, inside) in [(2, false), (3, true), (5, true), (6, false)] {
        for piece in [0, 1, PIECES_MAX - 1] {
            assert_eq!(span.contains(&key_of(seq, piece)), inside, "piece {piece} of {seq}");
        }
    }
    assert!(super::span(3, u64::MAX).contains(&key_of(SEQ_MAX, PIECES_MAX - 1)));
}
