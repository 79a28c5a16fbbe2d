//! What unit tests share: one `test` attribute for both targets, and repeatable random values.
//!
//! Never part of a build that is not a test.

pub(crate) mod vectors;

/// The attribute of a test, natively Rust's own and in the browser that of wasm-bindgen-test.
#[cfg(not(all(target_family = "wasm", target_os = "unknown")))]
pub(crate) use std::prelude::v1::test;
#[cfg(all(target_family = "wasm", target_os = "unknown"))]
pub(crate) use wasm_bindgen_test::wasm_bindgen_test as test;

/// The attribute of a test that awaits.
#[cfg(not(all(target_family = "wasm", target_os = "unknown")))]
pub(crate) use tokio::test as async_test;
#[cfg(all(target_family = "wasm", target_os = "unknown"))]
pub(crate) use wasm_bindgen_test::wasm_bindgen_test as async_test;

/// SplitMix64: the same values for the same seed everywhere, chosen to hurt.
pub(crate) struct Random(u64);

impl Random {
    pub fn new(seed: u64) -> Self {
        Random(seed)
    }

    pub fn word(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// A number from 0 up to but without `end`.
    pub fn below(&mut self, end: usize) -> usize {
        (self.word() % end as u64) as usize
    }

    /// A number that is often at or beside the edge of some integer type.
    pub fn number(&mut self) -> u64 {
        let edge = [0, 1 << 7, 1 << 8, 1 << 15, 1 << 16, 1 << 31, 1 << 32, 1 << 63][self.below(8)];
        match self.below(4) {
            0 => self.word(),
            1 => edge,
            2 => u64::wrapping_sub(edge, 1),
            _ => u64::wrapping_neg(edge),
        }
    }

    /// At most `max` bytes, most of them such as encodings trip over.
    pub fn bytes(&mut self, max: usize) -> Vec<u8> {
        let length = self.below(max + 1);
        (0..length)
            .map(|_| [0x00, 0x00, 0x01, 0x02, 0x61, 0xfe, 0xff, self.word() as u8][self.below(8)])
            .collect()
    }

    /// At most `max` characters, of every length in UTF-8, with many NULs.
    pub fn text(&mut self, max: usize) -> String {
        let length = self.below(max + 1);
        (0..length)
            .map(|_| ['\0', '\0', '\x01', 'a', 'b', '\u{ff}', '\u{ffff}', '\u{1f600}'][self.below(8)])
            .collect()
    }

    /// So many bytes, each of any value.
    pub fn payload(&mut self, length: usize) -> Vec<u8> {
        (0..length).map(|_| self.word() as u8).collect()
    }
}
