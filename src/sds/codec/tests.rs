use std::collections::BTreeMap;
use std::fmt::Debug;

use super::*;
use crate::sds::{HistoryEntry, ParticipantId};
use crate::testing::{Random, test};

fn entry(id: &str) -> HistoryEntry {
    HistoryEntry {
        message_id: id.to_owned(),
        retrieval_hint: vec![0xab],
        sender_id: ParticipantId("s".into()),
    }
}

fn message(id: &str) -> SdsMessage {
    SdsMessage {
        message_id: id.to_owned(),
        lamport_timestamp: 300,
        causal_history: vec![entry("c")],
        channel_id: "ch".to_owned(),
        content: vec![1, 2],
        bloom_filter: vec![3],
        sender_id: "me".into(),
        repair_request: vec![entry("r")],
    }
}

fn full() -> ChannelMeta {
    let unacknowledged = |id| UnacknowledgedMessage {
        message: message(id),
        send_time_ms: 1_700_000_000_123,
        resend_attempts: 2,
    };
    let incoming =
        IncomingMessage { message: message("i"), missing_deps: ["x", "y"].map(String::from).into() };
    let out = OutgoingRepairEntry { history_entry: entry("o"), min_time_request_ms: 5 };
    let back = IncomingRepairEntry {
        history_entry: entry("b"),
        cached_message: vec![9; 3],
        min_time_response_ms: u64::MAX,
    };
    ChannelMeta {
        lamport: i64::MAX,
        outgoing_buffer: vec![unacknowledged("z"), unacknowledged("a")],
        incoming_buffer: BTreeMap::from([("i".to_owned(), incoming)]),
        outgoing_repair: BTreeMap::from([("o".to_owned(), out)]),
        incoming_repair: BTreeMap::from([("b".to_owned(), back)]),
    }
}

fn assert_round_trip<T: ToPayload + FromPayload + PartialEq + Debug>(value: &T) -> Vec<u8> {
    let payload = value.to_payload().unwrap();
    assert_eq!(T::from_payload(&payload).unwrap(), *value);
    payload
}

fn kind<T: FromPayload + Debug>(bytes: &[u8]) -> ErrorKind {
    T::from_payload(bytes).unwrap_err().kind()
}

#[test]
fn an_empty_meta_is_its_version() {
    assert_eq!(assert_round_trip(&ChannelMeta::default()), [0x08, 1]);
}

#[test]
fn a_meta_with_a_lamport_time_and_one_outgoing_message_is_read_back() {
    for lamport in [1, -1, i64::MIN, i64::MAX] {
        let outgoing_buffer = vec![UnacknowledgedMessage::default()];
        assert_round_trip(&ChannelMeta { lamport, outgoing_buffer, ..ChannelMeta::default() });
    }
}

#[test]
fn incoming_messages_keep_what_they_miss() {
    let incoming_buffer = full().incoming_buffer;
    assert_round_trip(&ChannelMeta { incoming_buffer, ..ChannelMeta::default() });
}

#[test]
fn both_repair_buffers_are_read_back() {
    let ChannelMeta { outgoing_repair, incoming_repair, .. } = full();
    assert_round_trip(&ChannelMeta { outgoing_repair, incoming_repair, ..ChannelMeta::default() });
}

#[test]
fn a_full_meta_is_read_back_in_order() {
    assert_round_trip(&full());
}

#[test]
fn every_field_has_its_number() {
    let entry = b"\x0a\x01c\x12\x01\xab\x1a\x01s";
    assert_eq!(super::super::wire::HistoryEntryWire::from(&self::entry("c")).encode_to_vec(), entry);
    let repair = b"\x0a\x01r\x12\x01\xab\x1a\x01s";
    let message = [
        &b"\x0a\x01m\x10\xac\x02\x1a\x09"[..],
        entry,
        b"\x22\x02ch\x2a\x02\x01\x02\x32\x01\x03\x3a\x02me\x6a\x09",
        repair,
    ]
    .concat();
    assert_eq!(self::message("m").to_payload().unwrap(), message);

    let field = |tag: u8, bytes: &[u8]| [&[tag, bytes.len() as u8], bytes].concat();
    let waiting =
        UnacknowledgedMessage { message: self::message("m"), send_time_ms: 300, resend_attempts: 2 };
    let waiting_bytes = [&field(0x0a, &message)[..], b"\x10\xac\x02\x18\x02"].concat();
    assert_eq!(waiting.to_payload().unwrap(), waiting_bytes);
    let incoming = IncomingMessage { message: self::message("m"), missing_deps: ["d".to_owned()].into() };
    let incoming_bytes = [&field(0x0a, &message)[..], b"\x12\x01d"].concat();
    assert_eq!(incoming.to_payload().unwrap(), incoming_bytes);
    let out = OutgoingRepairEntry { history_entry: self::entry("c"), min_time_request_ms: 300 };
    let out_bytes = [&field(0x0a, entry)[..], b"\x10\xac\x02"].concat();
    assert_eq!(out.to_payload().unwrap(), out_bytes);
    let back = IncomingRepairEntry {
        history_entry: self::entry("c"),
        cached_message: vec![7],
        min_time_response_ms: 300,
    };
    let back_bytes = [&field(0x0a, entry)[..], b"\x12\x01\x07\x18\xac\x02"].concat();
    assert_eq!(back.to_payload().unwrap(), back_bytes);

    let meta = ChannelMeta {
        lamport: -1,
        outgoing_buffer: vec![waiting],
        incoming_buffer: BTreeMap::from([("m".to_owned(), incoming)]),
        outgoing_repair: BTreeMap::from([("k".to_owned(), out)]),
        incoming_repair: BTreeMap::from([("k".to_owned(), back)]),
    };
    let under = |entry: &[u8]| [&b"\x0a\x01k"[..], &field(0x12, entry)].concat();
    let meta_bytes = [
        &b"\x08\x01\x10\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01"[..],
        &field(0x1a, &waiting_bytes),
        &field(0x22, &incoming_bytes),
        &field(0x2a, &under(&out_bytes)),
        &field(0x32, &under(&back_bytes)),
    ]
    .concat();
    assert_eq!(meta.to_payload().unwrap(), meta_bytes, "longer than 127 bytes is no single field here");
}

#[test]
fn data_without_anything_and_with_a_history_in_order_is_read_back() {
    assert_eq!(assert_round_trip(&ChannelData::default()), [0x0a, 2, 0x08, 1]);
    let message_history = ["c", "a", "b"].map(message).to_vec();
    assert_round_trip(&ChannelData { meta: full(), message_history });
}

#[test]
fn empty_appending_evicting_and_mixed_updates_are_read_back() {
    assert_eq!(assert_round_trip(&HistoryUpdate::default()), [0u8; 0]);
    let (append, evict) = (vec![message("b"), message("a")], vec!["y".to_owned(), "x".to_owned()]);
    assert_round_trip(&HistoryUpdate { append: append.clone(), evict: Vec::new() });
    assert_eq!(
        assert_round_trip(&HistoryUpdate { append: Vec::new(), evict: evict.clone() }),
        b"\x12\x01y\x12\x01x"
    );
    assert_round_trip(&HistoryUpdate { append, evict });
}

#[test]
fn a_newer_version_is_refused_and_none_at_all_is_invalid() {
    // Field 4 is a number there, where this version has messages.
    let newer = [0x08, 2, 0x20, 7];
    assert_eq!(kind::<ChannelMeta>(&newer), ErrorKind::VersionTooNew);
    assert_eq!(kind::<ChannelData>(&[&[0x0a, 4][..], &newer].concat()), ErrorKind::VersionTooNew);
    assert_eq!(kind::<ChannelMeta>(&[]), ErrorKind::InvalidArgument);
    assert_eq!(kind::<ChannelData>(&[]), ErrorKind::InvalidArgument);
    assert_eq!(kind::<ChannelData>(&[0x0a, 0]), ErrorKind::InvalidArgument);
}

#[test]
fn fields_that_are_not_known_are_skipped() {
    let payload = [&full().to_payload().unwrap()[..], &[0x7a, 1, 0]].concat();
    assert_eq!(ChannelMeta::from_payload(&payload).unwrap(), full());
}

#[test]
fn what_lacks_its_message_is_invalid() {
    assert_eq!(kind::<UnacknowledgedMessage>(&[0x10, 1]), ErrorKind::InvalidArgument);
    assert_eq!(kind::<IncomingMessage>(&[]), ErrorKind::InvalidArgument);
    assert_eq!(kind::<OutgoingRepairEntry>(&[0x10, 1]), ErrorKind::InvalidArgument);
    assert_eq!(kind::<IncomingRepairEntry>(&[0x18, 1]), ErrorKind::InvalidArgument);
    assert_eq!(kind::<ChannelMeta>(&[0x08, 1, 0x2a, 3, 0x0a, 1, b'k']), ErrorKind::InvalidArgument);
}

#[test]
fn an_id_that_stands_twice_is_invalid_in_both_directions() {
    let mut meta = full();
    meta.outgoing_buffer[1].message.message_id = "z".to_owned();
    assert_eq!(meta.to_payload().unwrap_err().kind(), ErrorKind::InvalidArgument);
    let bytes = super::super::wire::ChannelMetaWire::from(&meta).encode_to_vec();
    assert_eq!(kind::<ChannelMeta>(&bytes), ErrorKind::InvalidArgument);
}

#[test]
fn any_bytes_are_read_or_are_an_error() {
    let (mut random, whole) = (Random::new(9), full().to_payload().unwrap());
    for _ in 0..3_000 {
        let mut bytes = whole.clone();
        bytes.truncate(random.below(whole.len() + 1));
        for _ in 0..random.below(4) {
            let at = random.below(bytes.len().max(1));
            bytes.splice(at.min(bytes.len())..at.min(bytes.len()), random.bytes(3));
        }
        let read = ChannelMeta::from_payload(&bytes);
        let kinds = [ErrorKind::InvalidArgument, ErrorKind::VersionTooNew];
        assert!(read.map_or_else(|error| kinds.contains(&error.kind()), |_| true), "{bytes:x?}");
    }
}
