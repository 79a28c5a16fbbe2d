//! Random requests from a seed, made of keys, categories and sizes that stores trip over.
//!
//! The same seed on the same kind of place gives the same requests everywhere. Never asks a job
//! anything; it looks at the model, so that preconditions hold often enough.

use std::ops::Bound;

use super::reference::Reference;
use super::step::{Condition, Expected, Form, Operation, Range, Reopen, Request, Scan, Step};

/// Keys of a sequence, so few that requests meet.
const KEYS: usize = 18;
/// The longest key that can be written, in bytes.
const KEY_BYTES_MAX: usize = 128 * 1024;
/// Bytes of the longer payloads: around the bounds of chunks and log parts.
const SIZES: [usize; 12] = [
    4 * 1024,
    16 * 1024,
    32 * 1024 - 1,
    32 * 1024,
    32 * 1024 + 1,
    48 * 1024 - 1,
    48 * 1024,
    48 * 1024 + 1,
    64 * 1024 - 1,
    64 * 1024,
    64 * 1024 + 1,
    96 * 1024,
];
/// Bytes of payloads of which a few fill a page of 1 MiB; the last one alone is larger.
const FAT_SIZES: [usize; 4] = [250_000, 350_000, 500_000, 1_100_000];
const HOLDERS: [&str; 3] = ["a", "archive", "\u{1f600}"];

/// SplitMix64.
struct Random(u64);

impl Random {
    fn word(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// A number from 0 up to but without `end`.
    fn below(&mut self, end: usize) -> usize {
        usize::try_from(self.word() % end as u64).unwrap()
    }

    /// Whether something happens that does so `percent` times in a hundred.
    fn chance(&mut self, percent: usize) -> bool {
        self.below(100) < percent
    }

    fn pick<'a, T>(&mut self, from: &'a [T]) -> &'a T {
        &from[self.below(from.len())]
    }
}

/// Makes the requests of one sequence, one after another.
pub struct Generator {
    random: Random,
    categories: Vec<String>,
    keys: Vec<Vec<u8>>,
    /// Whether the job is closed and dropped in between.
    reopens: bool,
    /// Whether so many payloads are large that streams need several pages.
    fat: bool,
    payloads: u32,
}

impl Generator {
    pub fn new(seed: u64, reopens: bool) -> Self {
        // Neighbouring seeds would be the same words, shifted by one.
        let mut random = Random(Random(seed).word());
        let mut categories: Vec<String> =
            ["", "a", "ab", "a\0", "a\0b", "b", "\u{1f600}", "\u{ff5e}"].map(String::from).to_vec();
        categories.push("z".repeat(255));
        let fat = matches!(seed % 12, 4 | 5);
        while categories.len() > if fat { 2 } else { 5 } {
            categories.remove(random.below(categories.len()));
        }
        let mut keys = short_keys(&mut random);
        while keys.len() > KEYS {
            keys.remove(random.below(keys.len()));
        }
        let long = [1_000, 2_048, 8_192, 32 * 1024, 48 * 1024 + 1, 65_535, KEY_BYTES_MAX];
        let mut long = vec![0xff; *random.pick(&long)];
        keys.push(long.clone());
        long.pop();
        keys.push(long);
        Generator { random, categories, keys, reopens, fat, payloads: 0 }
    }

    /// The next request; `model` is how the job stands.
    pub fn step(&mut self, model: &Reference) -> Step {
        match self.random.below(100) {
            0..30 => self.write(model),
            30..34 => {
                let batches = 2 + self.random.below(5);
                Step::Burst((0..batches).map(|_| self.request(model)).collect())
            }
            34..38 => Step::DeleteAcked(self.category(), self.key()),
            38..41 => Step::Settle,
            41..44 => Step::Flush,
            44..50 => Step::Get(self.category(), self.key()),
            50..53 => Step::Exists(self.category(), self.key()),
            53..57 => Step::GetMany(self.category(), self.some_keys()),
            57..60 => Step::ExistsMany(self.category(), self.some_keys()),
            60..65 => Step::Count(self.category(), self.range()),
            65..83 => self.scan(),
            83..86 => Step::Categories,
            86..88 => Step::Info,
            88..89 if self.random.chance(50) => Step::Care,
            88..89 => Step::Info,
            89..91 => Step::Hold(self.holder()),
            91..93 => Step::Advance(self.holder(), self.seq(model)),
            93..94 => Step::Release(self.holder()),
            94..96 => Step::Log(self.seq(model)),
            96..97 if self.random.chance(30) => Step::ForeignLog,
            96..97 => self.refused(),
            97..99 if self.reopens => Step::Reopen(Reopen {
                log: [None, None, Some(true), Some(false)][self.random.below(4)],
                must_exist: self.random.chance(25),
                read_only: self.random.chance(25),
                small_queue: self.random.chance(25),
                strict: self.random.chance(20),
            }),
            99 if self.reopens && self.random.chance(60) => Step::Recreate,
            _ => Step::Scan(Scan {
                category: self.category(),
                range: Range::Between(Bound::Unbounded, Bound::Unbounded),
                reverse: false,
                limit: None,
                keys_only: false,
                stream: false,
            }),
        }
    }

    fn write(&mut self, model: &Reference) -> Step {
        let form = match self.random.below(20) {
            0..8 => Form::Acked,
            8..9 => Form::Durable,
            9..16 => Form::Later,
            _ => Form::Forgotten,
        };
        Step::Write(self.request(model), form)
    }

    /// A request with a part beyond its limit.
    fn refused(&mut self) -> Step {
        let long_category = "c".repeat(256);
        let long_key = vec![0; KEY_BYTES_MAX + 1];
        let (category, key) = match self.random.below(2) {
            0 => (long_category, self.key()),
            _ => (self.category(), long_key),
        };
        match self.random.below(4) {
            0 => Step::Get(category, key),
            1 => Step::DeleteAcked(category, key),
            2 => Step::GetMany(category, vec![self.key(), key]),
            _ => {
                let conditions = vec![Condition { category, key, expected: Expected::Absent }];
                let operations = vec![Operation::Clear(self.category())];
                Step::Write(Request { conditions, operations }, Form::Later)
            }
        }
    }

    fn request(&mut self, model: &Reference) -> Request {
        let operations = match self.random.below(20) {
            0 => 0,
            1..11 => 1,
            11..19 => 2 + self.random.below(4),
            _ => 6 + self.random.below(15),
        };
        let conditions = if self.random.chance(65) { 0 } else { 1 + self.random.below(3) };
        Request {
            conditions: (0..conditions).map(|_| self.condition(model)).collect(),
            operations: (0..operations).map(|_| self.operation()).collect(),
        }
    }

    /// A precondition that holds three times in four.
    fn condition(&mut self, model: &Reference) -> Condition {
        let (category, key) = (self.category(), self.key());
        let now = model.get(&category, &key).map(<[u8]>::to_vec);
        let holds = self.random.chance(75);
        let expected = match (now, holds) {
            (None, true) => Expected::Absent,
            (None, false) => match self.random.below(2) {
                0 => Expected::Present,
                _ => Expected::Equal(self.payload()),
            },
            (Some(payload), true) => match self.random.below(2) {
                0 => Expected::Present,
                _ => Expected::Equal(payload),
            },
            (Some(mut payload), false) => match self.random.below(3) {
                0 => Expected::Absent,
                1 if !payload.is_empty() => {
                    payload.pop();
                    Expected::Equal(payload)
                }
                _ => {
                    payload.push(0);
                    Expected::Equal(payload)
                }
            },
        };
        Condition { category, key, expected }
    }

    fn operation(&mut self) -> Operation {
        let category = self.category();
        // Rows have to pile up where streams are to need several pages.
        let kinds = if self.fat && self.random.chance(80) { 75 } else { 100 };
        match self.random.below(kinds) {
            0..66 => Operation::Put(category, self.key(), self.payload()),
            66..82 => Operation::Delete(category, self.key()),
            82..89 => Operation::DeletePrefix(category, self.prefix()),
            89..97 => Operation::DeleteRange(category, self.between()),
            _ => Operation::Clear(category),
        }
    }

    fn scan(&mut self) -> Step {
        let limits = [None, None, None, Some(0), Some(1), Some(2), Some(3), Some(7), Some(usize::MAX)];
        Step::Scan(Scan {
            category: self.category(),
            range: self.range(),
            reverse: self.random.chance(50),
            limit: *self.random.pick(&limits),
            keys_only: self.random.chance(25),
            stream: self.random.chance(if self.fat { 70 } else { 35 }),
        })
    }

    fn category(&mut self) -> String {
        self.random.pick(&self.categories).clone()
    }

    fn key(&mut self) -> Vec<u8> {
        match self.random.chance(94) {
            true => self.random.pick(&self.keys).clone(),
            false => bytes(&mut self.random, 6),
        }
    }

    fn some_keys(&mut self) -> Vec<Vec<u8>> {
        let many = self.random.below(8);
        (0..many).map(|_| self.key()).collect()
    }

    fn range(&mut self) -> Range {
        if self.fat && self.random.chance(40) {
            return Range::Prefix(Vec::new());
        }
        match self.random.chance(35) {
            true => Range::Prefix(self.prefix()),
            false => self.between(),
        }
    }

    /// Bounds in either order: many are inverted, some hold one key or none.
    fn between(&mut self) -> Range {
        let start = self.key();
        let end = if self.random.chance(15) { start.clone() } else { self.key() };
        let mut bound = |key| match self.random.below(7) {
            0 => Bound::Unbounded,
            1..4 => Bound::Included(key),
            _ => Bound::Excluded(key),
        };
        Range::Between(bound(start), bound(end))
    }

    /// The beginning of a key.
    fn prefix(&mut self) -> Vec<u8> {
        let mut prefix = self.key();
        if self.random.chance(60) {
            let length = self.random.below(prefix.len() + 1);
            prefix.truncate(length.max(usize::from(self.random.chance(80))));
        }
        prefix
    }

    /// A payload that no other request of the sequence has, unless it is very short.
    fn payload(&mut self) -> Vec<u8> {
        let length = match self.random.below(20) {
            0..2 => 0,
            2..10 if self.fat => *self.random.pick(&FAT_SIZES),
            2..18 => 1 + self.random.below(40),
            _ => *self.random.pick(&SIZES),
        };
        self.payloads += 1;
        let tag = self.payloads.to_le_bytes();
        let mut payload = vec![tag[0]; length];
        // Blocks carry their number, so that swapped or repeated chunks are seen.
        for (number, block) in (0u16..).zip(payload.chunks_exact_mut(256)) {
            block[..2].copy_from_slice(&number.to_le_bytes());
        }
        payload.iter_mut().zip(tag).for_each(|(byte, tag)| *byte = tag);
        payload
    }

    fn holder(&mut self) -> String {
        if self.random.chance(4) { String::new() } else { (*self.random.pick(&HOLDERS)).to_owned() }
    }

    /// A seq somewhere in the job's life, now and then beyond it.
    fn seq(&mut self, model: &Reference) -> u64 {
        let now = usize::try_from(model.seq()).unwrap();
        let back = if self.random.chance(60) { self.random.below(12) } else { self.random.below(now + 1) };
        match self.random.chance(8) {
            true => (now + 1 + self.random.below(3)) as u64,
            false => now.saturating_sub(back) as u64,
        }
    }
}

/// Keys that are prefixes of each other, runs of 00 and FF, invalid UTF-8, and some random ones.
fn short_keys(random: &mut Random) -> Vec<Vec<u8>> {
    let hurting: [&[u8]; 26] = [
        b"",
        b"\0",
        b"\0\0",
        b"\0\0\0",
        b"\0\x01",
        b"\0\xff",
        b"\x01",
        b"a",
        b"a\0",
        b"a\0\0",
        b"a\0b",
        b"aa",
        b"a\xff",
        b"a\xff\0",
        b"a\xff\xff",
        b"b",
        b"\x7f",
        b"\x80",
        b"\xc3\x28",
        b"\xed\xa0\x80",
        b"\xf0\x9f",
        b"\xfe\xff",
        b"\xff",
        b"\xff\0",
        b"\xff\xff",
        b"\xff\xff\xff",
    ];
    let mut keys: Vec<Vec<u8>> = hurting.iter().map(|key| key.to_vec()).collect();
    keys.extend((0..4).map(|_| bytes(random, 12)));
    keys
}

/// At most `max` bytes, most of them at an edge.
fn bytes(random: &mut Random, max: usize) -> Vec<u8> {
    let length = random.below(max + 1);
    (0..length).map(|_| *random.pick(&[0x00, 0x00, 0x01, 0x61, 0x7f, 0x80, 0xfe, 0xff])).collect()
}
