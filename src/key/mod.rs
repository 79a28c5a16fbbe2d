//! Keys: byte strings in unsigned order, and the encoding that turns typed parts into them and back.
//!
//! Never stores, looks up or waits for anything, and never prints a key into an error message.
//!
//! A key is made of parts, written one after another without type tags or separators:
//!
//! | part | bytes | order |
//! |---|---|---|
//! | `str`, `String`; `[u8]`, `[u8; N]`, `Vec<u8>` | length in 2 bytes, then the bytes | shorter first, then bytewise |
//! | [`Text`] | the UTF-8 bytes, 00 as `00 FF`, then `00 01` | bytewise |
//! | `i64`, `i32`, `i16`, `i8`, `isize` | as `i64` with its sign bit flipped, 8 bytes | numeric |
//! | `u64`, `u32`, `u16` | as `u64`, 8 bytes | numeric |
//! | `u8`, ASCII `char` | 1 byte | numeric |
//! | `bool` | `00` or `01` | false first |
//! | enum ([`key_part!`](crate::key_part)) | its discriminant as `i64` | by discriminant |
//! | tuple, struct ([`key_part!`](crate::key_part)) | its fields in order | by the first field that differs |
//! | [`Key`] | its own bytes | bytewise |
//!
//! All numbers are big-endian. There is no `usize`, whose width depends on the platform.
//!
//! ```
//! use persistency::{Key, Text, key};
//!
//! let message = key!("channel-42", 7i64)?;
//! assert_eq!(message.decode::<(String, i64)>()?, ("channel-42".to_owned(), 7));
//!
//! let whole_channel = key!("channel-42")?;
//! assert!(message.as_bytes().starts_with(whole_channel.as_bytes()));
//! assert!(key!("z")? < key!("aa")?, "strings sort by length first");
//! assert!(key!(Text("aa"))? < key!(Text("z"))?, "texts sort as dictionaries do");
//! # Ok::<(), persistency::Error>(())
//! ```
//!
//! Since nothing tells the types apart, parts of different types can have the same bytes:
//! `key!("")` is `key!(0u8, 0u8)`, `key!(0i64)` is `key!(1u64 << 63)`, and `key!(true, false)` is
//! `Key::from_bytes([1, 0])`. Give every category one shape of key.

mod decode;
mod part;
mod text;
#[cfg(test)]
mod vectors;

use std::borrow::Borrow;
use std::fmt;

use crate::error::Result;
use crate::limits::{KEY_BYTES_MAX, check_bytes};

pub(crate) use decode::decode_whole;
pub use decode::{Decoder, FromKeyPart};
pub use part::KeyPart;
pub use text::{Text, TextPrefix};

/// The name of a row within its category: any bytes, possibly none.
///
/// Keys compare as unsigned bytes, and a key sorts before everything it is a prefix of. Make one from
/// typed parts with [`key!`](crate::key!), or from bytes of your own with [`Key::from_bytes`].
#[derive(Clone, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Key(Vec<u8>);

impl Key {
    /// The key without bytes: the first of all, and a prefix of every other.
    pub const fn empty() -> Self {
        Key(Vec::new())
    }

    /// The key of exactly these bytes, for callers with an encoding of their own.
    ///
    /// Takes bytes of any number; a write with a key beyond `limits().key_bytes` is refused.
    pub fn from_bytes(bytes: impl Into<Vec<u8>>) -> Self {
        Key(bytes.into())
    }

    /// The key of these parts in this order; [`key!`](crate::key!) is the short way to say it.
    ///
    /// # Errors
    ///
    /// Those of [`Key::push`].
    pub fn of(parts: &[&dyn KeyPart]) -> Result<Self> {
        let mut key = Key::empty();
        for part in parts {
            key.push(part)?;
        }
        Ok(key)
    }

    /// Appends one part; a key that cannot take it stays as it was.
    ///
    /// # Errors
    ///
    /// `TooLarge` if the part is a string of more than 65,535 bytes or the key would pass
    /// `limits().key_bytes`; `InvalidArgument` if the part has no encoding (see [`KeyPart`]).
    pub fn push(&mut self, part: impl KeyPart) -> Result<()> {
        let before = self.len();
        let pushed = part.encode(&mut self.0).and_then(|()| check_bytes("key", self.len(), KEY_BYTES_MAX));
        if pushed.is_err() {
            self.0.truncate(before);
        }
        pushed
    }

    /// Reads the whole key as a part, usually a tuple of the types it was made of.
    ///
    /// # Errors
    ///
    /// `InvalidArgument` if the bytes are no such part, end early, or go on after it.
    pub fn decode<T: FromKeyPart>(&self) -> Result<T> {
        decode_whole(&self.0)
    }

    /// The key's bytes.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// The key's bytes, without copying them.
    pub fn into_bytes(self) -> Vec<u8> {
        self.0
    }

    /// The number of bytes.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether the key has no bytes.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

/// Makes a [`Key`](crate::Key) of [parts](crate::KeyPart): `key!("channel-42", 7i64)`; `key!()` is the
/// empty key.
///
/// Gives a `Result<Key>`: a part can be too long, see [`Key::push`](crate::Key::push). The parts are
/// only borrowed. An integer without a type of its own is written as an `i64`, as all signed ones are.
///
/// ```
/// use persistency::{Key, key};
///
/// let channel = key!("channel-42")?;
/// assert_eq!(key!(channel, 7)?, key!("channel-42", 7i64)?, "a key within a key is its prefix");
/// assert_eq!(key!()?, Key::empty());
/// # Ok::<(), persistency::Error>(())
/// ```
#[macro_export]
macro_rules! key {
    ($($part:expr),* $(,)?) => {{
        // Ends the borrows here: else a key that is made within an awaited call would keep its future
        // from being sent to another thread.
        let key = $crate::Key::of(&[$(&$part),*]);
        key
    }};
}

/// The bytes in hexadecimal.
impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Key(")?;
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))?;
        f.write_str(")")
    }
}

impl AsRef<[u8]> for Key {
    fn as_ref(&self) -> &[u8] {
        &self.0
    }
}

/// Sound because a key compares and hashes exactly as its bytes do.
impl Borrow<[u8]> for Key {
    fn borrow(&self) -> &[u8] {
        &self.0
    }
}

impl From<&Key> for Key {
    fn from(key: &Key) -> Self {
        key.clone()
    }
}

impl From<Vec<u8>> for Key {
    fn from(bytes: Vec<u8>) -> Self {
        Key(bytes)
    }
}

impl From<&[u8]> for Key {
    fn from(bytes: &[u8]) -> Self {
        Key(bytes.to_vec())
    }
}

impl<const N: usize> From<[u8; N]> for Key {
    fn from(bytes: [u8; N]) -> Self {
        Key(bytes.to_vec())
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use super::*;
    use crate::error::ErrorKind;
    use crate::limits::KEY_PART_BYTES_MAX;
    use crate::testing::{Random, test};

    #[test]
    fn keys_compare_as_unsigned_bytes_with_a_prefix_first() {
        let ascending: [&[u8]; 7] = [b"", b"\0", b"\0\0", b"\x01", b"\x7f", b"\x80", b"\xff"];
        for pair in ascending.windows(2) {
            assert!(Key::from(pair[0]) < Key::from(pair[1]), "{pair:x?}");
        }
        let mut random = Random::new(1);
        for _ in 0..1000 {
            let (a, b) = (random.bytes(6), random.bytes(6));
            assert_eq!(Key::from(&*a).cmp(&Key::from(&*b)), a.cmp(&b));
            assert_eq!(Key::from(&*a) == Key::from(&*b), a == b);
        }
    }

    #[test]
    fn a_key_keeps_the_bytes_it_was_given() {
        let bytes = vec![0x00, 0xff, 0x10];
        let key = Key::from_bytes(bytes.clone());
        assert_eq!((key.as_bytes(), key.as_ref(), key.len(), key.is_empty()), (&*bytes, &*bytes, 3, false));
        assert_eq!(key, Key::from([0x00, 0xff, 0x10]));
        assert_eq!(key.into_bytes(), bytes);
        assert!(Key::empty().is_empty() && Key::default() == Key::empty());
    }

    #[test]
    fn debug_shows_hexadecimal() {
        assert_eq!(format!("{:?}", Key::from([0x00, 0xfe])), "Key(00fe)");
    }

    #[test]
    fn a_map_of_keys_is_searched_by_bytes() {
        let map = HashMap::from([(Key::from([1, 2]), "found")]);
        assert_eq!(map.get([1u8, 2].as_slice()), Some(&"found"));
    }

    #[test]
    fn a_key_at_its_limit_is_made_and_one_byte_more_is_too_large() {
        let part = vec![b'x'; KEY_PART_BYTES_MAX];
        let rest = Key::from_bytes(vec![0; KEY_BYTES_MAX - (2 + KEY_PART_BYTES_MAX)]);
        let longest = key!(part, rest).unwrap();
        assert_eq!(longest.len(), KEY_BYTES_MAX);
        assert_eq!(key!(longest, 0u8).unwrap_err().kind(), ErrorKind::TooLarge);
    }

    #[test]
    fn a_part_that_is_refused_leaves_the_key_as_it_was() {
        let mut key = key!("a").unwrap();
        let too_long = "x".repeat(KEY_PART_BYTES_MAX + 1);
        assert_eq!(key.push(("b", &too_long)).unwrap_err().kind(), ErrorKind::TooLarge);
        assert_eq!(
            key.push(Key::from_bytes(vec![0; KEY_BYTES_MAX])).unwrap_err().kind(),
            ErrorKind::TooLarge
        );
        assert_eq!(key, key!("a").unwrap());
        key.push(7i64).unwrap();
        assert_eq!(key, key!("a", 7i64).unwrap());
    }

    #[test]
    fn the_macro_only_borrows_its_parts() {
        let name = String::from("a");
        assert_eq!(key!(name, 1).unwrap(), key!(name, 1i64,).unwrap());
    }

    #[test]
    fn a_call_with_a_key_made_in_place_can_be_awaited_on_any_thread() {
        async fn call(_: Key) {}
        fn is_send(_: impl Send) {}
        is_send(async { call(key!("a", 1).unwrap()).await });
    }
}
