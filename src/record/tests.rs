//! The record comes back as it was, is refused when damaged or too new, and keeps what it does not know.

use super::*;
use crate::testing::test;

fn names(holders: &[(&str, u64)]) -> Names<u64> {
    let mut names = Names::default();
    for (name, seq) in holders {
        names.insert(name, *seq);
    }
    names
}

fn full() -> Record {
    let holders = [("archive", 7), ("\u{1f600}", u64::MAX)];
    Record {
        optional_features: 1 << 63 | 5,
        committed_seq: 12,
        durable_seq: 11,
        writer: [3; 16],
        group: 99,
        last_commit_ms: 1_700_000_000_001,
        log: LogState {
            retention: LogRetention::LastBytes(1 << 40),
            first_seq: 4,
            end_offset: 1 << 50,
            holders: names(&holders),
        },
        extension: b"of a later library".to_vec(),
        ..Record::new([1; 16], 1_700_000_000_000)
    }
}

/// The bytes with a sum that fits them.
fn summed(mut bytes: Vec<u8>) -> Vec<u8> {
    bytes.truncate(bytes.len() - 4);
    bytes.extend(checksum(&bytes).to_be_bytes());
    bytes
}

fn fault(bytes: &[u8]) -> Fault {
    Record::decode(bytes).expect_err("is refused").fault
}

#[test]
fn a_record_comes_back_as_it_was() {
    let dropped = Record { dropped: true, ..full() };
    let filling = Record { filling: true, ..full() };
    for record in [Record::new([7; 16], 5), dropped, filling, full()] {
        let bytes = record.encode();
        assert_eq!(Record::decode(&bytes).expect("decodes"), record);
        assert_eq!(Record::decode(&bytes).expect("decodes").encode(), bytes, "unknown bits are kept");
    }
}

#[test]
fn the_layout_is_format_1() {
    let bytes = Record::new([0xab; 16], 0x0102).encode();
    assert_eq!(bytes.len(), 122 + 4 + 4);
    assert_eq!(&bytes[..6], b"PSTY\x00\x01");
    assert_eq!(&bytes[22..46], [[0xab; 16].as_slice(), &[0, 0, 0, 0, 0, 0, 1, 2]].concat());
    assert_eq!((bytes[94], bytes[95], bytes[111]), (1, 0, 1));
}

#[test]
fn damage_at_any_byte_is_corrupt() {
    let bytes = full().encode();
    for at in 0..bytes.len() {
        for flip in [1, 0x80, 0xff] {
            let mut damaged = bytes.clone();
            damaged[at] ^= flip;
            assert_eq!(fault(&damaged), Fault::Corrupt, "byte {at}");
        }
    }
}

#[test]
fn a_record_that_is_cut_or_too_long_is_corrupt() {
    let bytes = full().encode();
    for length in 0..bytes.len() {
        assert_eq!(fault(&bytes[..length]), Fault::Corrupt, "{length} bytes");
        if length >= 8 {
            let cut = summed(bytes[..length].to_vec());
            assert_eq!(fault(&cut), Fault::Corrupt, "{length} bytes, and a sum that fits");
        }
    }
    let longer = summed([bytes.as_slice(), b"more"].concat());
    assert_eq!(fault(&longer), Fault::Corrupt);
}

#[test]
fn values_that_mean_nothing_are_corrupt_even_if_the_sum_fits() {
    for (at, value) in [(0, b'Q'), (94, 0), (94, 4), (95, 2)] {
        let mut bytes = full().encode();
        bytes[at] = value;
        assert_eq!(fault(&summed(bytes)), Fault::Corrupt, "byte {at}");
    }
}

#[test]
fn a_newer_format_or_an_unknown_required_feature_is_too_new_whatever_follows() {
    for at in [4, 6, 13] {
        let mut bytes = full().encode();
        bytes[at] |= 2;
        assert_eq!(fault(&summed(bytes.clone())), Fault::TooNew, "byte {at}");
        bytes.truncate(40);
        assert_eq!(fault(&summed(bytes)), Fault::TooNew, "byte {at}");
    }
}

#[test]
fn the_log_is_on_while_somebody_wants_it() {
    let mut log = LogState::default();
    assert!(!log.is_on());
    assert_eq!(log.released_seq(), u64::MAX);
    log.holders = names(&[("a", 9), ("b", 3)]);
    assert!(log.is_on());
    assert_eq!(log.released_seq(), 3);
    assert!(LogState { retention: LogRetention::LastBytes(0), ..LogState::default() }.is_on());
}
