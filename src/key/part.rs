//! Writing parts: which types can stand in a key, and the bytes of each.
//!
//! Never knows where in a key a part stands, so that parts nest freely.

use super::Key;
use crate::error::{Error, ErrorKind, Result};
use crate::limits::{KEY_PART_BYTES_MAX, check_bytes};

/// Flips the sign bit, which puts the negative numbers before the others in unsigned order.
pub(super) const SIGN_BIT: u64 = 1 << 63;

/// A value that can stand in a key; the [module](mod@crate::key) has the bytes and the order of each type.
///
/// Implemented for structs and enums of your own by [`key_part!`](crate::key_part!).
pub trait KeyPart {
    /// Appends this part's bytes to `out`.
    ///
    /// # Errors
    ///
    /// `TooLarge` for a string or byte string of more than 65,535 bytes, `InvalidArgument` for a `char`
    /// outside ASCII. What `out` then ends with is unspecified.
    fn encode(&self, out: &mut Vec<u8>) -> Result<()>;
}

impl<T: KeyPart + ?Sized> KeyPart for &T {
    fn encode(&self, out: &mut Vec<u8>) -> Result<()> {
        (**self).encode(out)
    }
}

/// Its bytes as they are, without a length: this is how a prefix made earlier is reused.
impl KeyPart for Key {
    fn encode(&self, out: &mut Vec<u8>) -> Result<()> {
        out.extend_from_slice(self.as_bytes());
        Ok(())
    }
}

impl KeyPart for [u8] {
    fn encode(&self, out: &mut Vec<u8>) -> Result<()> {
        check_bytes("key part", self.len(), KEY_PART_BYTES_MAX)?;
        out.extend_from_slice(&(self.len() as u16).to_be_bytes());
        out.extend_from_slice(self);
        Ok(())
    }
}

impl<const N: usize> KeyPart for [u8; N] {
    fn encode(&self, out: &mut Vec<u8>) -> Result<()> {
        self.as_slice().encode(out)
    }
}

impl KeyPart for Vec<u8> {
    fn encode(&self, out: &mut Vec<u8>) -> Result<()> {
        self.as_slice().encode(out)
    }
}

impl KeyPart for str {
    fn encode(&self, out: &mut Vec<u8>) -> Result<()> {
        self.as_bytes().encode(out)
    }
}

impl KeyPart for String {
    fn encode(&self, out: &mut Vec<u8>) -> Result<()> {
        self.as_bytes().encode(out)
    }
}

impl KeyPart for bool {
    fn encode(&self, out: &mut Vec<u8>) -> Result<()> {
        u8::from(*self).encode(out)
    }
}

impl KeyPart for u8 {
    fn encode(&self, out: &mut Vec<u8>) -> Result<()> {
        out.push(*self);
        Ok(())
    }
}

/// One byte, hence ASCII only: what a further character would be as a byte has no one answer.
impl KeyPart for char {
    fn encode(&self, out: &mut Vec<u8>) -> Result<()> {
        match u8::try_from(*self) {
            Ok(byte) if byte.is_ascii() => byte.encode(out),
            _ => Err(Error::new(ErrorKind::InvalidArgument, "a char in a key must be ASCII; use a string")),
        }
    }
}

macro_rules! signed {
    ($($int:ty)*) => {$(
        impl KeyPart for $int {
            fn encode(&self, out: &mut Vec<u8>) -> Result<()> {
                (*self as i64 as u64 ^ SIGN_BIT).encode(out)
            }
        }
    )*};
}

macro_rules! unsigned {
    ($($int:ty)*) => {$(
        impl KeyPart for $int {
            fn encode(&self, out: &mut Vec<u8>) -> Result<()> {
                out.extend_from_slice(&u64::from(*self).to_be_bytes());
                Ok(())
            }
        }
    )*};
}

macro_rules! tuple {
    ($($field:tt $Part:ident),*) => {
        impl<$($Part: KeyPart),*> KeyPart for ($($Part,)*) {
            fn encode(&self, out: &mut Vec<u8>) -> Result<()> {
                $(self.$field.encode(out)?;)*
                Ok(())
            }
        }
    };
}

signed!(i64 i32 i16 i8 isize);
unsigned!(u64 u32 u16);

tuple!(0 A);
tuple!(0 A, 1 B);
tuple!(0 A, 1 B, 2 C);
tuple!(0 A, 1 B, 2 C, 3 D);
tuple!(0 A, 1 B, 2 C, 3 D, 4 E);
tuple!(0 A, 1 B, 2 C, 3 D, 4 E, 5 F);
tuple!(0 A, 1 B, 2 C, 3 D, 4 E, 5 F, 6 G);
tuple!(0 A, 1 B, 2 C, 3 D, 4 E, 5 F, 6 G, 7 H);
tuple!(0 A, 1 B, 2 C, 3 D, 4 E, 5 F, 6 G, 7 H, 8 I);
tuple!(0 A, 1 B, 2 C, 3 D, 4 E, 5 F, 6 G, 7 H, 8 I, 9 J);
tuple!(0 A, 1 B, 2 C, 3 D, 4 E, 5 F, 6 G, 7 H, 8 I, 9 J, 10 K);
tuple!(0 A, 1 B, 2 C, 3 D, 4 E, 5 F, 6 G, 7 H, 8 I, 9 J, 10 K, 11 L);

/// Makes a struct or an enum of your own a [`KeyPart`](crate::KeyPart) that can also be
/// [decoded](crate::FromKeyPart).
///
/// A struct is written field by field in the order **listed here**; every field has to be listed, those
/// of a tuple struct by number. An enum without data is written as the `i64` of its discriminant, and
/// every variant has to be listed.
///
/// ```
/// use persistency::{key, key_part};
///
/// #[derive(Debug, PartialEq)]
/// struct Header { name: String, seq: i64 }
/// key_part!(Header { name, seq });
///
/// struct Shard(u16);
/// key_part!(Shard { 0 });
///
/// enum Mood { Calm, Happy }
/// key_part!(enum Mood { Calm, Happy });
///
/// let header = Header { name: "alice".to_owned(), seq: 5 };
/// assert_eq!(key!(header)?, key!("alice", 5i64)?);
/// assert_eq!(key!(header)?.decode::<Header>()?, header);
/// assert_eq!(key!(Shard(3), Mood::Happy)?, key!(3u16, 1i64)?);
/// # Ok::<(), persistency::Error>(())
/// ```
#[macro_export]
macro_rules! key_part {
    (enum $name:ident { $($variant:ident),+ $(,)? }) => {
        impl $crate::KeyPart for $name {
            fn encode(&self, out: &mut ::std::vec::Vec<u8>) -> $crate::Result<()> {
                let ordinal = match self {
                    $($name::$variant => $name::$variant as i64,)+
                };
                $crate::KeyPart::encode(&ordinal, out)
            }
        }

        impl $crate::FromKeyPart for $name {
            fn decode(input: &mut $crate::Decoder<'_>) -> $crate::Result<Self> {
                let ordinal = <i64 as $crate::FromKeyPart>::decode(input)?;
                $(if ordinal == $name::$variant as i64 {
                    return ::std::result::Result::Ok($name::$variant);
                })+
                ::std::result::Result::Err($crate::Decoder::malformed(::std::stringify!($name)))
            }
        }
    };
    ($name:ident { $($field:tt),+ $(,)? }) => {
        impl $crate::KeyPart for $name {
            fn encode(&self, out: &mut ::std::vec::Vec<u8>) -> $crate::Result<()> {
                $($crate::KeyPart::encode(&self.$field, out)?;)+
                ::std::result::Result::Ok(())
            }
        }

        impl $crate::FromKeyPart for $name {
            fn decode(input: &mut $crate::Decoder<'_>) -> $crate::Result<Self> {
                ::std::result::Result::Ok($name { $($field: $crate::FromKeyPart::decode(input)?,)+ })
            }
        }
    };
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::key;
    use crate::testing::{Random, test};

    #[derive(Clone, Debug, PartialEq)]
    struct Header {
        name: String,
        seq: i64,
    }
    key_part!(Header { name, seq });

    #[derive(Debug, PartialEq)]
    struct Reordered {
        last: u8,
        first: bool,
    }
    key_part!(Reordered { first, last });

    #[derive(Debug, PartialEq)]
    struct Shard(u16, bool);
    key_part!(Shard { 0, 1 });

    #[derive(Debug, PartialEq)]
    enum Mood {
        Calm,
        Happy,
        Wild = -7,
    }
    key_part!(
        enum Mood {
            Calm,
            Happy,
            Wild,
        }
    );

    fn header() -> Header {
        Header { name: "alice".to_owned(), seq: 5 }
    }

    #[test]
    fn tuples_structs_and_flat_parts_have_the_same_bytes() {
        let flat = key!("v1", "alice", 5i64).unwrap();
        assert_eq!(key!("v1", ("alice", 5i64)).unwrap(), flat);
        assert_eq!(key!("v1", header()).unwrap(), flat);
        assert_eq!(key!(("v1", &header())).unwrap(), flat);
        assert_eq!(key!(((("v1",), "alice"), (5,))).unwrap(), flat);
        let twelve = (1u8, 2u8, 3u8, 4u8, 5u8, 6u8, 7u8, 8u8, 9u8, 10u8, 11u8, 12u8);
        assert_eq!(key!(twelve).unwrap(), Key::from([1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12]));
    }

    #[test]
    fn a_struct_is_written_in_the_order_listed() {
        let part = Reordered { last: 9, first: true };
        assert_eq!(key!(part).unwrap(), Key::from([1, 9]));
        assert_eq!(key!(part).unwrap().decode::<Reordered>().unwrap(), part);
        assert_eq!(key!(Shard(3, true)).unwrap(), key!(3u64, true).unwrap());
        assert_eq!(key!(3u64, true).unwrap().decode::<Shard>().unwrap(), Shard(3, true));
    }

    #[test]
    fn an_enum_is_the_i64_of_its_discriminant() {
        for (mood, ordinal) in [(Mood::Calm, 0i64), (Mood::Happy, 1), (Mood::Wild, -7)] {
            assert_eq!(key!(mood).unwrap(), key!(ordinal).unwrap());
            assert_eq!(key!(ordinal).unwrap().decode::<Mood>().unwrap(), mood);
        }
        let unknown = key!(2i64).unwrap().decode::<Mood>().unwrap_err();
        assert_eq!(unknown.kind(), ErrorKind::InvalidArgument);
    }

    #[test]
    fn integers_are_widened() {
        assert_eq!(key!(-7i8, -7i16, -7i32, -7isize).unwrap(), key!(-7i64, -7i64, -7i64, -7i64).unwrap());
        assert_eq!(key!(7u16, 7u32).unwrap(), key!(7u64, 7u64).unwrap());
        assert_eq!(key!(7u8).unwrap().len(), 1);
    }

    #[test]
    fn strings_and_bytes_of_every_kind_have_the_same_bytes() {
        let expected = Key::from([0, 2, b'h', b'i']);
        let (string, vec) = ("hi".to_owned(), b"hi".to_vec());
        for key in [key!("hi"), key!(string), key!(b"hi"), key!(*b"hi"), key!(&b"hi"[..]), key!(vec)] {
            assert_eq!(key.unwrap(), expected);
        }
    }

    #[test]
    fn a_part_at_its_limit_is_written_and_one_byte_more_is_too_large() {
        let longest = "x".repeat(KEY_PART_BYTES_MAX);
        assert!(key!(longest).unwrap().as_bytes().starts_with(&[0xff, 0xff, b'x']));
        for error in [key!(longest + "x"), key!(vec![0; KEY_PART_BYTES_MAX + 1])] {
            assert_eq!(error.unwrap_err().kind(), ErrorKind::TooLarge);
        }
    }

    #[test]
    fn a_char_is_one_ascii_byte_or_invalid() {
        assert_eq!(key!('\0', 'x', '\x7f').unwrap(), Key::from([0, b'x', 0x7f]));
        for beyond in ['\u{80}', '\u{ff}', '\u{100}', '\u{1f600}'] {
            assert_eq!(key!(beyond).unwrap_err().kind(), ErrorKind::InvalidArgument);
        }
    }

    #[test]
    fn documented_collisions_exist() {
        assert_eq!(key!("").unwrap(), key!(0u8, 0u8).unwrap());
        assert_eq!(key!(0i64).unwrap(), key!(1u64 << 63).unwrap());
        assert_eq!(key!(true, false).unwrap(), Key::from([1, 0]));
    }

    /// Both sides of `a < b`, `==` and `>` at once.
    fn assert_order<N: Ord>(a: &dyn KeyPart, b: &dyn KeyPart, natural: (N, N)) {
        assert_eq!(key!(a).unwrap().cmp(&key!(b).unwrap()), natural.0.cmp(&natural.1));
    }

    #[test]
    fn every_part_sorts_as_its_type_promises() {
        let mut random = Random::new(2);
        for _ in 0..2000 {
            let (a, b) = (random.number(), random.number());
            assert_order(&a, &b, (a, b));
            let (i, j) = (a as i64, b as i64);
            assert_order(&i, &j, (i, j));
            assert_order(&(i as i32), &(j as i32), (i as i32, j as i32));
            assert_order(&(i as i8), &(j as i8), (i as i8, j as i8));
            assert_order(&(a as u16), &(b as u16), (a as u16, b as u16));
            assert_order(&(a as u8), &(b as u8), (a as u8, b as u8));
            let (x, y) = (random.bytes(4), random.bytes(4));
            assert_order(&x, &y, ((x.len(), &x), (y.len(), &y)));
            let (s, t) = (random.text(4), random.text(4));
            assert_order(&s, &t, ((s.len(), &s), (t.len(), &t)));
            let (p, q) = ((s.as_str(), i, a.is_multiple_of(2)), (t.as_str(), j, b.is_multiple_of(2)));
            assert_order(&p, &q, ((s.len(), p), (t.len(), q)));
        }
    }
}
