//! Reading parts back: the exact inverse of `part`, given the types.
//!
//! Never guesses and never panics: bytes that no value of the type is written as are an error.

use super::Key;
use super::part::SIGN_BIT;
use crate::error::{Error, ErrorKind, Result};

/// A value that can be read back from a key; the inverse of [`KeyPart`](crate::KeyPart).
///
/// A [`Key`] as a part has no end of its own, so it reads all that is left.
pub trait FromKeyPart: Sized {
    /// Reads this part from the front of `input`.
    ///
    /// # Errors
    ///
    /// `InvalidArgument` if the bytes end early or are no such part.
    fn decode(input: &mut Decoder<'_>) -> Result<Self>;
}

/// The bytes of a key or payload that have not been read yet.
#[derive(Clone, Debug)]
pub struct Decoder<'a> {
    left: &'a [u8],
}

impl<'a> Decoder<'a> {
    /// Starts at the front of `bytes`.
    pub fn new(bytes: &'a [u8]) -> Self {
        Decoder { left: bytes }
    }

    /// Reads the next `count` bytes.
    ///
    /// # Errors
    ///
    /// `InvalidArgument` if fewer are left; none is read then.
    pub fn take(&mut self, count: usize) -> Result<&'a [u8]> {
        let Some((taken, left)) = self.left.split_at_checked(count) else {
            let message = format!("the next part needs {count} bytes, {} are left", self.left.len());
            return Err(Error::new(ErrorKind::InvalidArgument, message));
        };
        self.left = left;
        Ok(taken)
    }

    /// Reads one byte.
    ///
    /// # Errors
    ///
    /// `InvalidArgument` if none is left.
    pub fn byte(&mut self) -> Result<u8> {
        self.array().map(|[byte]| byte)
    }

    /// Reads all that is left, possibly nothing.
    pub fn rest(&mut self) -> &'a [u8] {
        std::mem::take(&mut self.left)
    }

    /// Ends the reading.
    ///
    /// # Errors
    ///
    /// `InvalidArgument` if anything is left.
    pub fn finish(self) -> Result<()> {
        if self.left.is_empty() {
            return Ok(());
        }
        let message = format!("{} bytes are left after the last part", self.left.len());
        Err(Error::new(ErrorKind::InvalidArgument, message))
    }

    /// The error to answer with when what was read is no value of the type `name`.
    pub fn malformed(name: &str) -> Error {
        Error::new(ErrorKind::InvalidArgument, format!("bytes that are no {name}"))
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N]> {
        let mut array = [0; N];
        array.copy_from_slice(self.take(N)?);
        Ok(array)
    }

    fn prefixed(&mut self) -> Result<&'a [u8]> {
        let length = u16::from_be_bytes(self.array()?);
        self.take(length.into())
    }
}

/// Reads all of `bytes` as one part.
pub(crate) fn decode_whole<T: FromKeyPart>(bytes: &[u8]) -> Result<T> {
    let mut input = Decoder::new(bytes);
    let part = T::decode(&mut input)?;
    input.finish()?;
    Ok(part)
}

impl FromKeyPart for Key {
    fn decode(input: &mut Decoder<'_>) -> Result<Self> {
        Ok(Key::from(input.rest()))
    }
}

impl FromKeyPart for Vec<u8> {
    fn decode(input: &mut Decoder<'_>) -> Result<Self> {
        Ok(input.prefixed()?.to_vec())
    }
}

impl<const N: usize> FromKeyPart for [u8; N] {
    fn decode(input: &mut Decoder<'_>) -> Result<Self> {
        input.prefixed()?.try_into().map_err(|_| Decoder::malformed("array of this length"))
    }
}

impl FromKeyPart for String {
    fn decode(input: &mut Decoder<'_>) -> Result<Self> {
        let text = std::str::from_utf8(input.prefixed()?).map_err(|_| Decoder::malformed("String"))?;
        Ok(text.to_owned())
    }
}

impl FromKeyPart for bool {
    fn decode(input: &mut Decoder<'_>) -> Result<Self> {
        match input.byte()? {
            0 => Ok(false),
            1 => Ok(true),
            _ => Err(Decoder::malformed("bool")),
        }
    }
}

impl FromKeyPart for u8 {
    fn decode(input: &mut Decoder<'_>) -> Result<Self> {
        input.byte()
    }
}

impl FromKeyPart for char {
    fn decode(input: &mut Decoder<'_>) -> Result<Self> {
        let byte = input.byte()?;
        if byte.is_ascii() { Ok(byte.into()) } else { Err(Decoder::malformed("char")) }
    }
}

impl FromKeyPart for u64 {
    fn decode(input: &mut Decoder<'_>) -> Result<Self> {
        input.array().map(u64::from_be_bytes)
    }
}

impl FromKeyPart for i64 {
    fn decode(input: &mut Decoder<'_>) -> Result<Self> {
        u64::decode(input).map(|flipped| (flipped ^ SIGN_BIT) as i64)
    }
}

macro_rules! narrow {
    ($($int:ident from $wide:ident)*) => {$(
        impl FromKeyPart for $int {
            fn decode(input: &mut Decoder<'_>) -> Result<Self> {
                $int::try_from($wide::decode(input)?).map_err(|_| Decoder::malformed(stringify!($int)))
            }
        }
    )*};
}

macro_rules! tuple {
    ($($Part:ident)*) => {
        impl<$($Part: FromKeyPart),*> FromKeyPart for ($($Part,)*) {
            fn decode(input: &mut Decoder<'_>) -> Result<Self> {
                Ok(($($Part::decode(input)?,)*))
            }
        }
    };
}

narrow!(i32 from i64  i16 from i64  i8 from i64  isize from i64  u32 from u64  u16 from u64);

tuple!(A);
tuple!(A B);
tuple!(A B C);
tuple!(A B C D);
tuple!(A B C D E);
tuple!(A B C D E F);
tuple!(A B C D E F G);
tuple!(A B C D E F G H);
tuple!(A B C D E F G H I);
tuple!(A B C D E F G H I J);
tuple!(A B C D E F G H I J K);
tuple!(A B C D E F G H I J K L);

#[cfg(test)]
mod tests {
    use std::fmt::Debug;

    use super::*;
    use crate::key;
    use crate::key::{KeyPart, Text};
    use crate::testing::{Random, test};

    fn assert_round_trip<T: KeyPart + FromKeyPart + PartialEq + Debug>(part: T) {
        assert_eq!(key!(part).unwrap().decode::<T>().unwrap(), part);
    }

    fn assert_invalid<T: FromKeyPart + Debug>(bytes: &[u8]) {
        let error = Key::from(bytes).decode::<T>().unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidArgument, "{bytes:x?}");
    }

    #[test]
    fn every_part_is_read_back() {
        let mut random = Random::new(6);
        for _ in 0..1000 {
            let number = random.number();
            assert_round_trip((number, number as u32, number as u16, number as u8));
            assert_round_trip((number as i64, number as i32, number as i16, number as i8, number as isize));
            assert_round_trip((number.is_multiple_of(2), char::from(number as u8 & 0x7f), random.text(9)));
            assert_round_trip((random.bytes(9), [number as u8; 3], ((Text(random.text(9)),), 1u8)));
            assert_round_trip(("before".to_owned(), Key::from_bytes(random.bytes(9))));
        }
        assert_round_trip((
            1u8,
            2u16,
            3u32,
            4u64,
            -1i8,
            -2i16,
            -3i32,
            -4i64,
            true,
            'x',
            [0u8; 0],
            Key::empty(),
        ));
    }

    #[test]
    fn a_key_that_ends_early_or_goes_on_is_invalid() {
        type Parts = (String, (i64, bool), Text<String>, [u8; 2]);
        let whole = key!("ab", (7, true), Text("c\0d"), [1, 2]).unwrap();
        whole.decode::<Parts>().unwrap();
        for end in 0..whole.len() {
            assert_invalid::<Parts>(&whole.as_bytes()[..end]);
        }
        assert_invalid::<Parts>(key!(whole, 0u8).unwrap().as_bytes());
    }

    #[test]
    fn a_number_beyond_its_type_is_invalid() {
        let (low, high) = (key!(i64::from(i32::MIN) - 1).unwrap(), key!(i64::from(i32::MAX) + 1).unwrap());
        assert_invalid::<i32>(low.as_bytes());
        assert_invalid::<i32>(high.as_bytes());
        assert_invalid::<i16>(key!(40_000).unwrap().as_bytes());
        assert_invalid::<i8>(key!(-129).unwrap().as_bytes());
        assert_invalid::<u16>(key!(65_536u64).unwrap().as_bytes());
        assert_invalid::<u32>(key!(u64::MAX).unwrap().as_bytes());
    }

    #[test]
    fn bytes_that_no_value_is_written_as_are_invalid() {
        assert_invalid::<bool>(&[2]);
        assert_invalid::<char>(&[0x80]);
        assert_invalid::<String>(&[0, 1, 0xff]);
        assert_invalid::<[u8; 2]>(&[0, 3, 1, 2, 3]);
        assert_invalid::<(Key, u8)>(&[1, 2]);
    }

    #[test]
    fn whatever_can_be_read_is_written_as_the_same_bytes() {
        fn assert_bijective<T: KeyPart + FromKeyPart>(bytes: &[u8], read: &mut usize) {
            if let Ok(part) = Key::from(bytes).decode::<T>() {
                assert_eq!(key!(part).unwrap().as_bytes(), bytes);
                *read += 1;
            }
        }
        let (mut random, mut read) = (Random::new(7), [0; 6]);
        for _ in 0..20_000 {
            let bytes = random.bytes(9);
            assert_bijective::<String>(&bytes, &mut read[0]);
            assert_bijective::<Text<String>>(&bytes, &mut read[1]);
            assert_bijective::<(bool, char, Key)>(&bytes, &mut read[2]);
            assert_bijective::<(bool, i64)>(&bytes, &mut read[3]);
            assert_bijective::<(Vec<u8>, Vec<u8>)>(&bytes, &mut read[4]);
            assert_bijective::<[u8; 1]>(&bytes, &mut read[5]);
        }
        assert!(read.iter().all(|&count| count > 10), "the generator hits too little: {read:?}");
    }
}
