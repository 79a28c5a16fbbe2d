//! `Text`: strings in keys that sort as strings do, and prefixes of them that can be searched for.
//!
//! Never looks at characters: the order is that of the UTF-8 bytes, in no language in particular.

use super::{Decoder, FromKeyPart, KeyPart};
use crate::error::Result;

/// Follows a 00 of the text itself.
const ESCAPED: u8 = 0xff;
/// Follows the 00 that ends a text. Smaller than [`ESCAPED`], so that a text sorts before the longer
/// ones that go on with a 00, and not 00, so that a text never ends as another one goes on.
const END: u8 = 0x01;

/// A string in a key, ordered as its own bytes are: `Text("a") < Text("ab") < Text("b")`.
///
/// Has no length of its own to keep to, only the key's. Decoded as `Text<String>`.
///
/// ```
/// use persistency::{Text, key, prefix_range};
/// use std::ops::RangeBounds;
///
/// let starts_with_greek = prefix_range(&key!(Text::prefix("GREEK "))?);
/// assert!(starts_with_greek.contains(&key!(Text("GREEK SMALL LETTER ALPHA"), 0x3b1)?));
/// assert!(!starts_with_greek.contains(&key!(Text("GREEN APPLE"), 0x1f34f)?));
/// # Ok::<(), persistency::Error>(())
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Text<S>(
    /// The string.
    pub S,
);

/// The beginning of a [`Text`], made by [`Text::prefix`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct TextPrefix<S>(S);

impl<S: AsRef<str>> Text<S> {
    /// What all texts that begin with `beginning` begin with, for a
    /// [`prefix_range`](crate::prefix_range()).
    ///
    /// It has no end, so it must be the **last** part of its key.
    pub fn prefix(beginning: S) -> TextPrefix<S> {
        TextPrefix(beginning)
    }
}

impl<S: AsRef<str>> KeyPart for Text<S> {
    fn encode(&self, out: &mut Vec<u8>) -> Result<()> {
        escape(self.0.as_ref(), out);
        out.extend_from_slice(&[0, END]);
        Ok(())
    }
}

impl<S: AsRef<str>> KeyPart for TextPrefix<S> {
    fn encode(&self, out: &mut Vec<u8>) -> Result<()> {
        escape(self.0.as_ref(), out);
        Ok(())
    }
}

impl FromKeyPart for Text<String> {
    fn decode(input: &mut Decoder<'_>) -> Result<Self> {
        let mut bytes = Vec::new();
        loop {
            match input.byte()? {
                0 => match input.byte()? {
                    END => break,
                    ESCAPED => bytes.push(0),
                    _ => return Err(Decoder::malformed("Text")),
                },
                byte => bytes.push(byte),
            }
        }
        String::from_utf8(bytes).map(Text).map_err(|_| Decoder::malformed("Text"))
    }
}

fn escape(text: &str, out: &mut Vec<u8>) {
    for &byte in text.as_bytes() {
        out.push(byte);
        if byte == 0 {
            out.push(ESCAPED);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::ops::RangeBounds;

    use super::*;
    use crate::key::Key;
    use crate::testing::{Random, test};
    use crate::{ErrorKind, key, prefix_range};

    #[test]
    fn texts_sort_as_strings_do_whatever_follows_them() {
        let mut random = Random::new(3);
        for _ in 0..5000 {
            let (a, b) = (random.text(5), random.text(5));
            let (m, n) = (random.number(), random.number());
            let encoded = key!(Text(&a), m).unwrap().cmp(&key!(Text(&b), n).unwrap());
            assert_eq!(encoded, (&a, m).cmp(&(&b, n)), "{a:?} {m} and {b:?} {n}");
        }
    }

    #[test]
    fn a_text_is_read_back_with_what_follows_it() {
        let mut random = Random::new(4);
        for _ in 0..2000 {
            let parts = (Text(random.text(8)), random.number(), Text(random.text(8)));
            let key = key!(parts).unwrap();
            assert_eq!(key.decode::<(Text<String>, u64, Text<String>)>().unwrap(), parts);
        }
    }

    #[test]
    fn a_prefix_finds_exactly_the_texts_that_begin_with_it() {
        let mut random = Random::new(5);
        let mut found = 0;
        for _ in 0..5000 {
            let (beginning, text) = (random.text(2), random.text(4));
            let range = prefix_range(&key!(Text::prefix(&beginning)).unwrap());
            let inside = range.contains(&key!(Text(&text), random.number()).unwrap());
            assert_eq!(inside, text.starts_with(&beginning), "{beginning:?} of {text:?}");
            found += usize::from(inside && !beginning.is_empty());
        }
        assert!(found > 50, "the generator hardly ever makes a prefix: {found}");
    }

    #[test]
    fn what_is_no_text_is_invalid() {
        let no_texts: [&[u8]; 8] =
            [b"", b"a", b"a\0", b"a\0\xff", b"a\0\0", b"a\0\x02", b"\xff\0\x01", b"a\0\x01b"];
        for bytes in no_texts {
            let error = Key::from(bytes).decode::<Text<String>>().unwrap_err();
            assert_eq!(error.kind(), ErrorKind::InvalidArgument, "{bytes:x?}");
        }
    }
}
