//! Holds the encoder, the decoder and prefix ranges to `tests/vectors/keys.json`, which says what it holds.
//!
//! Never computes an expected byte: the file is the only authority, for other encoders too.

use std::ops::{Bound, RangeBounds};

use serde_json::Value;

use super::{Decoder, FromKeyPart, Key, KeyPart, Text};
use crate::error::{ErrorKind, Result};
use crate::payload::ToPayload;
use crate::range::prefix_range;
use crate::testing::test;
use crate::testing::vectors::{list, section, string, unhex};

const VECTORS: &str = include_str!("../../tests/vectors/keys.json");

/// A part as the file writes it.
struct Part<'a>(&'a Value);

/// A list of parts as the file writes it.
struct Parts<'a>(&'a Value);

impl Part<'_> {
    /// The type's name and the value.
    fn tagged(&self) -> (&str, &Value) {
        let (tag, value) = self.0.as_object().unwrap().iter().find(|(tag, _)| *tag != "times").unwrap();
        (tag, value)
    }

    fn text(&self) -> String {
        string(self.tagged().1).repeat(self.times())
    }

    fn bytes(&self) -> Vec<u8> {
        unhex(self.tagged().1).repeat(self.times())
    }

    fn times(&self) -> usize {
        self.0.get("times").map_or(1, |times| times.as_u64().unwrap() as usize)
    }

    /// Reads a part of this type and writes it again.
    fn recode(&self, input: &mut Decoder<'_>, out: &mut Vec<u8>) -> Result<()> {
        fn recode<T: FromKeyPart + KeyPart>(input: &mut Decoder<'_>, out: &mut Vec<u8>) -> Result<()> {
            T::decode(input)?.encode(out)
        }
        match self.tagged() {
            ("str", _) => recode::<String>(input, out),
            ("bytes", _) => recode::<Vec<u8>>(input, out),
            ("text", _) => recode::<Text<String>>(input, out),
            ("i64" | "enum", _) => recode::<i64>(input, out),
            ("u64", _) => recode::<u64>(input, out),
            ("u8", _) => recode::<u8>(input, out),
            ("bool", _) => recode::<bool>(input, out),
            ("char", _) => recode::<char>(input, out),
            ("tuple", parts) => list(parts).iter().try_for_each(|part| Part(part).recode(input, out)),
            ("raw" | "key" | "text_prefix", _) => recode::<Key>(input, out),
            (tag, _) => panic!("unknown part {tag}"),
        }
    }
}

impl KeyPart for Part<'_> {
    fn encode(&self, out: &mut Vec<u8>) -> Result<()> {
        match self.tagged() {
            ("str", _) => self.text().encode(out),
            ("bytes", _) => self.bytes().encode(out),
            ("raw", _) => Key::from(self.bytes()).encode(out),
            ("text", _) => Text(self.text()).encode(out),
            ("text_prefix", _) => Text::prefix(self.text()).encode(out),
            ("i64", value) => string(value).parse::<i64>().unwrap().encode(out),
            ("u64", value) => string(value).parse::<u64>().unwrap().encode(out),
            ("u8", value) => u8::try_from(value.as_u64().unwrap()).unwrap().encode(out),
            ("bool", value) => value.as_bool().unwrap().encode(out),
            ("char", value) => string(value).parse::<char>().unwrap().encode(out),
            ("enum", value) => value.as_i64().unwrap().encode(out),
            ("tuple", parts) => Parts(parts).encode(out),
            ("key", parts) => key(parts).encode(out),
            (tag, _) => panic!("unknown part {tag}"),
        }
    }
}

impl KeyPart for Parts<'_> {
    fn encode(&self, out: &mut Vec<u8>) -> Result<()> {
        list(self.0).iter().try_for_each(|part| Part(part).encode(out))
    }
}

fn key(parts: &Value) -> Key {
    crate::key!(Parts(parts)).unwrap()
}

#[test]
fn keys_have_the_bytes_of_their_vectors() {
    for vector in section(VECTORS, "keys") {
        assert_eq!(key(&vector["parts"]), Key::from(unhex(&vector["hex"])), "{vector}");
    }
}

#[test]
fn payloads_have_the_bytes_of_their_vectors() {
    for vector in section(VECTORS, "payloads") {
        assert_eq!(Parts(&vector["parts"]).to_payload().unwrap(), unhex(&vector["hex"]), "{vector}");
    }
}

#[test]
fn the_bytes_of_every_vector_are_read_back() {
    for vector in section(VECTORS, "keys").iter().chain(&section(VECTORS, "payloads")) {
        let bytes = unhex(&vector["hex"]);
        let (mut input, mut again) = (Decoder::new(&bytes), Vec::new());
        for part in list(&vector["parts"]) {
            Part(part).recode(&mut input, &mut again).unwrap();
        }
        input.finish().unwrap();
        assert_eq!(again, bytes, "{vector}");
    }
}

#[test]
fn lists_of_keys_ascend() {
    for keys in section(VECTORS, "ascending") {
        assert!(list(&keys).len() > 1);
        assert!(list(&keys).windows(2).all(|pair| key(&pair[0]) < key(&pair[1])), "{keys}");
    }
}

#[test]
fn different_parts_of_the_same_bytes_are_the_same_key() {
    for pair in section(VECTORS, "same") {
        assert_eq!(key(&pair[0]), key(&pair[1]), "{pair}");
    }
}

#[test]
fn prefix_ranges_end_where_their_vectors_say() {
    for vector in section(VECTORS, "prefix_ranges") {
        let prefix = Key::from(unhex(&vector["prefix"]));
        let stop = Some(&vector["stop"]).filter(|stop| !stop.is_null()).map(|stop| Key::from(unhex(stop)));
        let range = prefix_range(&prefix);
        assert_eq!(range.start_bound(), Bound::Included(&prefix));
        assert_eq!(range.end_bound(), stop.as_ref().map_or(Bound::Unbounded, Bound::Excluded), "{vector}");
    }
}

#[test]
fn prefix_ranges_hold_their_members_alone() {
    for vector in section(VECTORS, "prefix_members") {
        let prefix = key(&vector["prefix"]);
        let range = prefix_range(&prefix);
        assert!(list(&vector["inside"]).iter().all(|parts| range.contains(&key(parts))), "{vector}");
        let below = |parts| key(parts) < prefix && !range.contains(&key(parts));
        let above = |parts| key(parts) > prefix && !range.contains(&key(parts));
        assert!(list(&vector["below"]).iter().all(below), "{vector}");
        assert!(list(&vector["above"]).iter().all(above), "{vector}");
    }
}

#[test]
fn keys_beyond_a_limit_are_too_large() {
    for parts in section(VECTORS, "too_large") {
        assert_eq!(crate::key!(Parts(&parts)).unwrap_err().kind(), ErrorKind::TooLarge, "{parts}");
    }
}
