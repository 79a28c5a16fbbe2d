//! Commits come back from their parts, and damage is never taken for one.

use super::*;
use crate::batch::Batch;
use crate::testing::{Random, test};

fn commit(seq: u64, batch: Batch) -> Commit {
    Commit { seq, time_ms: 77, writer: [5; 16], operations: batch.operations().into() }
}

fn some_batch() -> Batch {
    Batch::new()
        .put("", Key::empty(), "")
        .put("a", Key::from_bytes([0, 0xff]), [0, 1, 2])
        .delete("a", Key::from_bytes("k"))
        .delete_range("\u{1f600}", Key::from_bytes("a")..Key::from_bytes("b"))
        .delete_prefix("b", Key::from_bytes([0xff]))
        .clear("c")
}

/// Key and value.
type Part = (Vec<u8>, Vec<u8>);

fn parts(commit: &Commit, offset: u64) -> (Vec<Part>, u64) {
    let (writes, next) = encode(commit, offset);
    let parts = writes.into_iter().map(|write| match write {
        Write::Put(Point { space: Space::Log, key }, value) => (key, value),
        other => panic!("{other:?}"),
    });
    (parts.collect(), next)
}

fn joined(parts: &[Part]) -> Result<Vec<Commit>, Fault> {
    let mut assembler = Assembler::default();
    let mut commits = Vec::new();
    for (key, value) in parts {
        commits.extend(assembler.push(key, value).map_err(|error| error.fault)?);
    }
    Ok(commits)
}

#[test]
fn a_commit_comes_back_as_it_was() {
    let small = commit(3, some_batch());
    let (parts, next) = parts(&small, 1000);
    assert_eq!((parts.len(), next), (1, 1000 + parts[0].1.len() as u64));
    assert_eq!(joined(&parts), Ok(vec![small]));
    assert_eq!((part_seq(&parts[0].0), part_offset(&parts[0].1)), (Some(3), Some(1000)));
}

#[test]
fn a_large_commit_is_laid_down_in_parts_of_at_most_48_kib() {
    let payload = Random::new(1).payload(3 * LOG_PART_BYTES_MAX);
    let large = commit(u64::MAX, some_batch().put("large", Key::from_bytes("k"), payload));
    let (parts, next) = parts(&large, 0);
    assert_eq!(parts.len(), 4);
    let mut offset = 0;
    for (number, (key, value)) in parts.iter().enumerate() {
        assert!(value.len() <= HEADER_BYTES + LOG_PART_BYTES_MAX);
        assert_eq!(part_offset(value), Some(offset));
        assert_eq!(key[8..], (number as u32).to_be_bytes());
        offset += value.len() as u64;
    }
    assert_eq!(next, offset);
    assert_eq!(joined(&parts), Ok(vec![large]));
}

#[test]
fn parts_are_taken_across_pages_and_not_out_of_order() {
    let payload = Random::new(2).payload(2 * LOG_PART_BYTES_MAX);
    let (large, _) = parts(&commit(7, Batch::new().put("c", Key::empty(), payload)), 0);
    let (next, _) = parts(&commit(8, some_batch()), 0);
    let mut assembler = Assembler::default();
    assert!(assembler.push(&large[0].0, &large[0].1).is_ok_and(|whole| whole.is_none()));
    assert_eq!(assembler.resume_key(), large[1].0);
    assert_eq!(joined(&[large.as_slice(), &next].concat()).map(|commits| commits.len()), Ok(2));
    let missing = [large[0].clone(), large[2].clone()];
    assert_eq!(joined(&missing), Err(Fault::Corrupt));
    assert_eq!(joined(&large[1..]), Err(Fault::Corrupt), "it has no beginning");
    let strange = [large[0].clone(), (part_key(8, 1).to_vec(), next[0].1.clone())];
    assert_eq!(joined(&strange), Err(Fault::Corrupt), "of another commit");
}

#[test]
fn damage_is_corrupt_or_another_commit_and_never_a_panic() {
    let whole = commit(3, some_batch());
    let (parts, _) = parts(&whole, 0);
    let (key, value) = &parts[0];
    for length in 0..value.len() {
        let cut = joined(&[(key.clone(), value[..length].to_vec())]);
        assert_ne!(cut, Ok(vec![whole.clone()]), "{length} bytes");
    }
    for length in 0..key.len() {
        assert_eq!(joined(&[(key[..length].to_vec(), value.clone())]), Err(Fault::Corrupt));
    }
    for at in 32..value.len() {
        let mut damaged = value.clone();
        damaged[at] ^= 0xff;
        assert_ne!(joined(&[(key.clone(), damaged)]), Ok(vec![whole.clone()]), "byte {at}");
    }
}

#[test]
fn a_span_holds_the_parts_of_its_commits_and_no_other() {
    let span = span(3, 5);
    for (seq, inside) in [(2, false), (3, true), (5, true), (6, false)] {
        for part in [0, 1, u32::MAX] {
            assert_eq!(span.contains(&part_key(seq, part)), inside, "part {part} of {seq}");
        }
    }
    assert!(super::span(3, u64::MAX).contains(&part_key(u64::MAX, u32::MAX)));
}
