//! Job ids: what a job may be called, and how an id is written where file names or database names go.
//!
//! Pure: never touches a file system. Escaped names are lower-case ASCII, so they stay one to one where
//! names fold case, and hold no separator, so no id leaves its root.

use crate::error::{Error, ErrorKind, Result};
use crate::limits::{JOB_ID_BYTES_MAX, check_bytes};

const HEX: &[u8; 16] = b"0123456789abcdef";

/// A job's name: 1 to [`JOB_ID_BYTES_MAX`] bytes of any UTF-8.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct JobId(String);

impl JobId {
    /// Checks an id's length; `InvalidArgument` if it is empty, `TooLarge` if it is too long.
    pub(crate) fn new(id: &str) -> Result<Self> {
        if id.is_empty() {
            return Err(Error::new(ErrorKind::InvalidArgument, "a job id has at least one byte"));
        }
        check_bytes("job id", id.len(), JOB_ID_BYTES_MAX)?;
        Ok(JobId(id.to_owned()))
    }

    /// The id as a part of a file's or a database's name.
    pub(crate) fn escaped(&self) -> String {
        escape(&self.0)
    }
}

/// The id whose escaped form this is; `None` if no id is written so.
pub(crate) fn unescape(escaped: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(escaped.len());
    let mut rest = escaped.as_bytes();
    while let Some((&first, tail)) = rest.split_first() {
        if first == b'%' {
            let (digits, tail) = tail.split_at_checked(2)?;
            bytes.push(hex_value(digits[0])? << 4 | hex_value(digits[1])?);
            rest = tail;
        } else {
            bytes.push(first);
            rest = tail;
        }
    }
    let id = JobId::new(&String::from_utf8(bytes).ok()?).ok()?;
    // Only the one form that `escaped` writes counts, so that names and ids correspond one to one.
    (id.escaped() == escaped).then_some(id.0)
}

fn escape(id: &str) -> String {
    let reserved = is_reserved(id);
    let mut escaped = String::with_capacity(id.len());
    for (index, byte) in id.bytes().enumerate() {
        let plain = matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'-' | b'_') || (byte == b'.' && index > 0);
        if plain && !reserved {
            escaped.push(char::from(byte));
        } else {
            escaped.push('%');
            escaped.push(char::from(HEX[usize::from(byte >> 4)]));
            escaped.push(char::from(HEX[usize::from(byte & 15)]));
        }
    }
    escaped
}

/// Whether Windows takes the name for a device, whatever follows its first dot.
///
/// Upper-case letters, spaces and the superscript digits that Windows also takes for `com` and `lpt`
/// are escaped anyway, and a dot at the end of an id is never the end of a file's name.
fn is_reserved(id: &str) -> bool {
    let stem = id.as_bytes().split(|byte| *byte == b'.').next();
    match stem.unwrap_or_default() {
        b"con" | b"prn" | b"aux" | b"nul" => true,
        [b'c', b'o', b'm', digit] | [b'l', b'p', b't', digit] => digit.is_ascii_digit(),
        _ => false,
    }
}

fn hex_value(digit: u8) -> Option<u8> {
    HEX.iter().position(|&known| known == digit).and_then(|value| u8::try_from(value).ok())
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use super::*;
    use crate::testing::{Random, async_test};

    fn escaped(id: &str) -> String {
        JobId::new(id).unwrap().escaped()
    }

    /// Short ids of bytes that hurt, then long random ones.
    fn ids() -> Vec<String> {
        let parts =
            ["", "a", "A", ".", "%", "/", "\\", "con", "Con", "nul", "com1", "%63", "6", " ", "\0", "\u{E9}"];
        let mut ids = Vec::new();
        for first in parts {
            for second in parts {
                for third in parts {
                    ids.push([first, second, third].concat());
                }
            }
        }
        let mut rng = Random::new(7);
        for _ in 0..2000 {
            let len = rng.below(20);
            ids.push(rng.bytes(len).into_iter().map(|byte| char::from(byte & 0x7F)).collect());
        }
        ids.sort();
        ids.dedup();
        ids.retain(|id| !id.is_empty());
        ids
    }

    #[async_test]
    async fn plain_ids_are_written_as_they_are() {
        for id in ["a", "alpha", "a.b", "a..b", "a.", "-", "_", "console", "com", "com10", "x.con"] {
            assert_eq!(escaped(id), id);
        }
    }

    #[async_test]
    async fn other_bytes_are_written_in_hex() {
        let cases = [
            ("Alpha", "%41lpha"),
            (".", "%2e"),
            ("..", "%2e."),
            (".lock", "%2elock"),
            ("a/b", "a%2fb"),
            ("%41", "%2541"),
            ("\u{E9}", "%c3%a9"),
            ("con", "%63%6f%6e"),
            ("nul.a", "%6e%75%6c%2e%61"),
            ("lpt0.", "%6c%70%74%30%2e"),
            ("CON", "%43%4f%4e"),
        ];
        for (id, expected) in cases {
            assert_eq!(escaped(id), expected);
        }
    }

    #[async_test]
    async fn ids_come_back_from_their_names() {
        for id in ids() {
            assert_eq!(unescape(&escaped(&id)), Some(id));
        }
    }

    #[async_test]
    async fn names_differ_even_where_case_is_folded() {
        let mut seen = HashMap::new();
        for id in ids() {
            let other = seen.insert(escaped(&id).to_lowercase(), id.clone());
            assert_eq!(other, None, "{id:?} has a name of its own");
        }
    }

    #[async_test]
    async fn names_are_safe_as_file_names() {
        for id in ids() {
            let name = escaped(&id);
            assert!(!name.starts_with('.'), "{name}");
            assert!(
                name.bytes()
                    .all(|byte| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'%')),
                "{name}"
            );
            assert!(!is_reserved(&name), "{name}");
        }
    }

    #[async_test]
    async fn names_that_no_id_has_are_refused() {
        for name in
            ["", "A", "%41%", "%4", "%zz", "%61", "%4A", ".a", "con", "con.x", "%ff", "a/b", "\u{E9}", "%2F"]
        {
            assert_eq!(unescape(name), None, "{name}");
        }
        assert_eq!(unescape(&"x".repeat(JOB_ID_BYTES_MAX + 1)), None);
    }

    #[async_test]
    async fn lengths_are_checked() {
        assert_eq!(JobId::new("").unwrap_err().kind(), ErrorKind::InvalidArgument);
        assert!(JobId::new(&"x".repeat(JOB_ID_BYTES_MAX)).is_ok());
        assert_eq!(JobId::new(&"x".repeat(JOB_ID_BYTES_MAX + 1)).unwrap_err().kind(), ErrorKind::TooLarge);
    }
}
