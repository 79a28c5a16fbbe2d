//! The bytes of format 1: what is written is read again, what is damaged is found, and version 1 stays.

use serde_json::Value;

use super::*;
use crate::batch::{Batch, Op};
use crate::commit_log::Commit;
use crate::error::ErrorKind;
use crate::key::Key;
use crate::testing::vectors::unhex;
use crate::testing::{Random, test};

const VECTORS: &str = include_str!("../../../tests/vectors/archive.json");
const GENERATION: [u8; 16] = *b"generation-of-16";

fn commit(seq: u64, operations: impl IntoIterator<Item = Op>) -> Commit {
    let operations = operations.into_iter().collect();
    Commit { seq, time_ms: 1_700_000_000_000 + seq, writer: [7; 16], operations }
}

fn commits() -> Vec<Commit> {
    let key = |text: &str| Key::from_bytes(text);
    let first = Batch::new().put("msg", key("a"), "payload").delete("msg", Key::from_bytes([0, 255]));
    let second = Batch::new().clear("").delete_range("\u{1f600}", key("a")..key("b")).put("", key(""), "");
    [(8, first), (9, second)].map(|(seq, batch)| commit(seq, batch.operations().to_vec())).to_vec()
}

fn sealed(kind: Kind) -> Sealed {
    let mut builder = Builder::new(kind, GENERATION, chain_start(kind, &GENERATION, 7));
    commits().iter().for_each(|commit| builder.push(commit));
    assert_eq!(builder.commits(), 2);
    let sealed = builder.seal().unwrap();
    assert_eq!((builder.commits(), builder.chain()), (0, sealed.mark.chain_after));
    assert_eq!(builder.seal(), None, "nothing is left");
    sealed
}

fn base() -> BaseMark {
    let mark = sealed(Kind::Rows).mark;
    let piece = BasePiece { last_record: 9, bytes: mark.bytes, checksum: mark.checksum };
    let chain = chain_start(Kind::History, &GENERATION, 7);
    let pieces = vec![piece; 2];
    BaseMark {
        generation: GENERATION,
        from: 7,
        to: 8,
        time_ms: 99,
        chain,
        rows: 2,
        bytes_until: 1234,
        pieces,
    }
}

fn life() -> Life {
    Life { generation: GENERATION, number: 3, attached_ms: 17, job: "alpha".to_owned() }
}

/// The object as it is without compression.
fn uncompressed(object: &[u8]) -> Vec<u8> {
    let mut out = object[..24].to_vec();
    out[5] = 0;
    out.extend(held(object).unwrap());
    frame::end(&mut out);
    out
}

/// What an object that says it is a segment holds.
fn held(object: &[u8]) -> crate::Result<Vec<u8>> {
    frame::open(object, object[4])?.whole(|held| held.take(held.left()).map(<[u8]>::to_vec))
}

/// The name of an object in the vectors, its bytes, and whether such bytes are whole.
type Object = (&'static str, Vec<u8>, fn(&[u8]) -> crate::Result<()>);

/// Every kind of object.
fn objects() -> Vec<Object> {
    let [history, rows] = [Kind::History, Kind::Rows].map(|kind| sealed(kind).bytes);
    vec![
        ("segment", uncompressed(&history), |bytes| Segment::decode(Kind::History, bytes).map(drop)),
        ("segment_lz4", history, |bytes| Segment::decode(Kind::History, bytes).map(drop)),
        ("rows", uncompressed(&rows), |bytes| Segment::decode(Kind::Rows, bytes).map(drop)),
        ("rows_lz4", rows, |bytes| Segment::decode(Kind::Rows, bytes).map(drop)),
        ("segment_mark", sealed(Kind::History).mark.encode(), |bytes| SegmentMark::decode(bytes).map(drop)),
        ("base_mark", base().encode(), |bytes| BaseMark::decode(bytes).map(drop)),
        ("life", life().encode(), |bytes| Life::decode(bytes).map(drop)),
    ]
}

#[test]
fn what_is_written_is_read_again() {
    for kind in [Kind::History, Kind::Rows] {
        let sealed = sealed(kind);
        let read = Segment::decode(kind, &sealed.bytes).unwrap();
        assert_eq!(read, Segment { mark: sealed.mark.clone(), commits: commits() });
        assert_eq!(sealed.mark.bytes, sealed.bytes.len() as u64);
        assert!(sealed.bytes.ends_with(&sealed.mark.checksum.to_be_bytes()));
        assert_eq!(SegmentMark::decode(&sealed.mark.encode()).unwrap(), sealed.mark);
    }
    assert_eq!(BaseMark::decode(&base().encode()).unwrap(), base());
    assert_eq!(Life::decode(&life().encode()).unwrap(), life());
}

#[test]
fn objects_of_version_1_have_the_bytes_of_their_vectors() {
    let vectors: Value = serde_json::from_str(VECTORS).unwrap();
    for (name, bytes, whole) in objects() {
        let vector = unhex(&vectors["version_1"][name]);
        whole(&vector).unwrap();
        match name.ends_with("_lz4") {
            // How a block is compressed is up to who does it.
            true => assert_eq!(held(&vector).unwrap(), held(&bytes).unwrap(), "{name}"),
            false => assert_eq!(vector, bytes, "{name}"),
        }
    }
}

#[test]
fn what_cannot_be_compressed_is_left_as_it_is() {
    let mut random = Random::new(5);
    let noise = std::iter::repeat_with(|| random.below(256) as u8).take(10_000).collect();
    let put = |payload| commit(1, Batch::new().put("m", Key::from_bytes("a"), payload).operations().to_vec());
    for (payload, compression) in [(noise, 0), (vec![7; 10_000], 1)] {
        let mut builder = Builder::new(Kind::History, GENERATION, 0);
        builder.push(&put(payload.clone()));
        let bytes = builder.seal().unwrap().bytes;
        assert_eq!(bytes[5], compression);
        assert_eq!(Segment::decode(Kind::History, &bytes).unwrap().commits, [put(payload)]);
    }
}

/// A block of zeros that says how much it holds.
fn block(says: u32, holds: usize) -> Vec<u8> {
    let head = sealed(Kind::History).bytes[..24].to_vec();
    let mut out = [head, says.to_be_bytes().to_vec(), lz4_flex::block::compress(&vec![0; holds])].concat();
    frame::end(&mut out);
    out
}

#[test]
fn a_block_that_holds_more_or_less_than_it_says_is_corrupt() {
    assert_eq!(held(&block(100_000, 100_000)).unwrap(), vec![0; 100_000]);
    for (says, holds) in [(99_999, 100_000), (0, 100_000), (100_001, 100_000), (u32::MAX, 100_000), (1, 0)] {
        let refused = held(&block(says, holds)).unwrap_err();
        assert_eq!(refused.kind(), ErrorKind::Corrupt, "{says}, {holds}");
    }
}

#[test]
fn no_room_is_made_for_what_a_block_cannot_hold() {
    let bomb = block(u32::MAX, 1_000_000);
    assert!(bomb.len() < 10_000);
    assert!(held(&bomb).unwrap_err().message().contains("more than it can"));
    // One that would hold what it says, which is more than anybody has to have room for.
    let bomb = block(300_000_000, 300_000_000);
    assert!(held(&bomb).unwrap_err().message().contains("more than it can"));
}

#[test]
fn every_flipped_byte_is_found() {
    for (name, bytes, whole) in objects() {
        for at in 0..bytes.len() {
            for flip in [0x01, 0x80, 0xff] {
                let mut damaged = bytes.clone();
                damaged[at] ^= flip;
                let kind = whole(&damaged).unwrap_err().kind();
                let newer = (5..8).contains(&at) && kind == ErrorKind::VersionTooNew;
                assert!(newer || kind == ErrorKind::Corrupt, "{name}, byte {at}: {kind}");
            }
        }
    }
}

#[test]
fn every_cut_and_every_addition_is_found() {
    for (name, bytes, whole) in objects() {
        for len in 0..bytes.len() {
            assert_eq!(whole(&bytes[..len]).unwrap_err().kind(), ErrorKind::Corrupt, "{name}, {len} bytes");
        }
        let longer = [bytes, vec![0]].concat();
        assert_eq!(whole(&longer).unwrap_err().kind(), ErrorKind::Corrupt, "{name}");
    }
}

#[test]
fn a_record_is_found_damaged_though_the_checksum_of_the_object_is_right() {
    let bytes = uncompressed(&sealed(Kind::History).bytes);
    // Up to the chain at the end, which is checked against that of the last record.
    for at in 56..bytes.len() - 8 {
        let mut damaged = bytes[..bytes.len() - 8].to_vec();
        damaged[at] ^= 1;
        frame::end(&mut damaged);
        assert!(Segment::decode(Kind::History, &damaged).is_err(), "byte {at}");
    }
}

#[test]
fn objects_are_not_taken_for_others() {
    for (name, bytes, _) in objects() {
        let takers =
            objects().into_iter().filter(|(other, _, whole)| *other != name && whole(&bytes).is_ok());
        let takers =
            takers.filter(|(other, ..)| other.trim_end_matches("_lz4") != name.trim_end_matches("_lz4"));
        assert_eq!(takers.count(), 0, "{name}");
    }
}

#[test]
fn random_bytes_are_refused() {
    let mut random = Random::new(11);
    for (name, bytes, whole) in objects() {
        for _ in 0..200 {
            // Behind a right head, so that it is looked into.
            let mut garbage = bytes[..24].to_vec();
            garbage.extend(random.bytes(200));
            frame::end(&mut garbage);
            assert!(whole(&garbage).is_err(), "{name}");
        }
    }
}

#[test]
fn the_chain_does_not_depend_on_where_segments_are_cut() {
    let all = sealed(Kind::History).mark.chain_after;
    let start = chain_start(Kind::History, &GENERATION, 7);
    let mut builder = Builder::new(Kind::History, GENERATION, start);
    for commit in commits() {
        builder.push(&commit);
        let mark = builder.seal().unwrap().mark;
        assert_eq!((mark.first_seq, mark.last_seq), (commit.seq, commit.seq));
    }
    assert_eq!(builder.chain(), all);
    assert_ne!(chain_start(Kind::History, &GENERATION, 8), start);
    assert_ne!(chain_start(Kind::Rows, &GENERATION, 7), start);
}

#[test]
fn an_ascending_listing_gives_the_newest_first() {
    let names = ArchiveName::new("Alpha").unwrap().of(&GENERATION);
    let firsts = [1, 2, 9, 10, 11, 65, 1 << 40, u64::MAX];
    let listed: Vec<String> = firsts.iter().rev().map(|first| names.segment(*first)).collect();
    assert!(listed.is_sorted());
    assert!(listed.iter().all(|name| name.starts_with(&names.segments())));
    let read: Vec<u64> = listed.iter().rev().filter_map(|name| number_of(name)).collect();
    assert_eq!(read, firsts);
    // The segment that holds seq n is the first one from the name of n on.
    assert!(names.segment(11) < names.segment(10) && names.segment(12) < names.segment(11));
}

#[test]
fn names_say_the_generation_and_the_seqs() {
    let archive = ArchiveName::new("Alpha").unwrap();
    let names = archive.of(&GENERATION);
    let mark = sealed(Kind::History).mark;
    let prefix = "=41lpha/67656e65726174696f6e2d6f662d3136";
    let data = format!("{prefix}/data/18446744073709551606-00000000000000000008-{:016x}", mark.checksum);
    assert_eq!(names.data(&mark), data);
    assert_eq!(names.segment(8), format!("{prefix}/segments/18446744073709551607"));
    assert_eq!(names.base(7), format!("{prefix}/bases/18446744073709551608"));
    assert_eq!(archive.life(1), "=41lpha/lives/18446744073709551614");
    assert_eq!(number_of("x/1844674407370955160"), None);
    assert_eq!(number_of("x/+8446744073709551608"), None);
    assert!(ArchiveName::new("").is_err());
}
