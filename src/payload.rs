//! Payloads: what a value is stored as when the caller does not bring bytes.
//!
//! Never chooses a format for the caller: a key part is written as in a key, and with the feature
//! `serde` a `MessagePack` says by its name what it is.

use crate::error::Result;
use crate::key::{FromKeyPart, KeyPart, decode_whole};

/// A value that can be stored as a payload.
///
/// Every [`KeyPart`] is one and is written as in a key; a tuple is its fields one after another, and a
/// string or byte string has its length before it, so at most 65,535 bytes. To store bytes as they are,
/// give them to the put itself. Implement it for types with a format of their own.
///
/// ```
/// use persistency::{FromPayload, ToPayload};
///
/// let payload = ("v1", 42i64).to_payload()?;
/// assert_eq!(<(String, i64)>::from_payload(&payload)?, ("v1".to_owned(), 42));
/// # Ok::<(), persistency::Error>(())
/// ```
pub trait ToPayload {
    /// The payload that this value is stored as.
    ///
    /// # Errors
    ///
    /// `TooLarge` or `InvalidArgument` if the value cannot be written.
    fn to_payload(&self) -> Result<Vec<u8>>;
}

/// A value that can be read back from a payload; the inverse of [`ToPayload`].
pub trait FromPayload: Sized {
    /// Reads the whole of `payload`.
    ///
    /// # Errors
    ///
    /// `InvalidArgument` if it is no such value, ends early, or goes on after it.
    fn from_payload(payload: &[u8]) -> Result<Self>;
}

impl<T: KeyPart + ?Sized> ToPayload for T {
    fn to_payload(&self) -> Result<Vec<u8>> {
        let mut payload = Vec::new();
        self.encode(&mut payload)?;
        Ok(payload)
    }
}

impl<T: FromKeyPart> FromPayload for T {
    fn from_payload(payload: &[u8]) -> Result<Self> {
        decode_whole(payload)
    }
}

#[cfg(feature = "serde")]
pub use message_pack::MessagePack;

#[cfg(feature = "serde")]
mod message_pack {
    use std::sync::Arc;

    use serde::Serialize;
    use serde::de::DeserializeOwned;

    use super::{FromPayload, ToPayload};
    use crate::error::{Error, ErrorKind, Result};

    /// Any serde value, stored as MessagePack with named fields.
    ///
    /// Fields are found by name, so a struct may reorder its fields, and gain some that have a default,
    /// and still read what was stored before. Needs the feature `serde`.
    ///
    /// ```
    /// use persistency::{FromPayload, MessagePack, ToPayload};
    ///
    /// #[derive(serde::Serialize, serde::Deserialize)]
    /// struct Profile { name: String, age: u8 }
    ///
    /// let payload = MessagePack(Profile { name: "Ada".to_owned(), age: 36 }).to_payload()?;
    /// let MessagePack(profile) = MessagePack::<Profile>::from_payload(&payload)?;
    /// assert_eq!((profile.name.as_str(), profile.age), ("Ada", 36));
    /// # Ok::<(), persistency::Error>(())
    /// ```
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
    pub struct MessagePack<T>(
        /// The value.
        pub T,
    );

    impl<T: Serialize> ToPayload for MessagePack<T> {
        fn to_payload(&self) -> Result<Vec<u8>> {
            rmp_serde::to_vec_named(&self.0).map_err(|cause| {
                Error::new(ErrorKind::InvalidArgument, "a value that MessagePack cannot hold")
                    .with_source(Arc::new(cause))
            })
        }
    }

    impl<T: DeserializeOwned> FromPayload for MessagePack<T> {
        fn from_payload(payload: &[u8]) -> Result<Self> {
            let mut left = payload;
            let value = rmp_serde::from_read(&mut left).map_err(|cause| {
                Error::new(ErrorKind::InvalidArgument, "bytes that are no MessagePack of this type")
                    .with_source(Arc::new(cause))
            })?;
            if left.is_empty() {
                return Ok(MessagePack(value));
            }
            let message = format!("{} bytes are left after the MessagePack", left.len());
            Err(Error::new(ErrorKind::InvalidArgument, message))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::ErrorKind;
    use crate::key;
    use crate::testing::test;

    #[test]
    fn a_payload_has_the_bytes_of_a_key_and_is_read_back() {
        let value = ("v1".to_owned(), 1i64, vec![0xde, 0xad]);
        let payload = value.to_payload().unwrap();
        assert_eq!(payload, key!(value).unwrap().into_bytes());
        assert_eq!(<(String, i64, Vec<u8>)>::from_payload(&payload).unwrap(), value);
        assert_eq!("hi".to_payload().unwrap().len(), 4);
    }

    #[test]
    fn a_payload_of_parts_may_be_longer_than_a_key() {
        let part = vec![0u8; 60_000];
        let payload = (&part, &part, &part).to_payload().unwrap();
        assert_eq!(payload.len(), 3 * 60_002);
    }

    #[test]
    fn a_payload_of_another_type_is_invalid() {
        for bytes in [&[0u8, 2, b'h'][..], &[0, 1, b'h', b'i'], &[]] {
            assert_eq!(String::from_payload(bytes).unwrap_err().kind(), ErrorKind::InvalidArgument);
        }
    }

    #[cfg(feature = "serde")]
    mod message_pack {
        use super::test;
        use crate::{ErrorKind, FromPayload, MessagePack, ToPayload};

        #[derive(Debug, PartialEq, serde::Serialize, serde::Deserialize)]
        struct Old {
            a: u8,
            b: Option<String>,
        }

        #[derive(Debug, PartialEq, serde::Serialize, serde::Deserialize)]
        struct New {
            b: Option<String>,
            a: u8,
            #[serde(default)]
            c: Vec<f64>,
        }

        #[test]
        fn fields_are_written_by_name() {
            let payload = MessagePack(Old { a: 1, b: None }).to_payload().unwrap();
            assert_eq!(payload, [0x82, 0xa1, b'a', 0x01, 0xa1, b'b', 0xc0]);
        }

        #[test]
        fn a_struct_with_further_fields_reads_what_the_former_one_wrote() {
            let payload = MessagePack(Old { a: 1, b: Some("x".to_owned()) }).to_payload().unwrap();
            let MessagePack(new) = MessagePack::<New>::from_payload(&payload).unwrap();
            assert_eq!(new, New { a: 1, b: Some("x".to_owned()), c: vec![] });
        }

        #[test]
        fn what_ends_early_goes_on_or_has_another_type_is_invalid() {
            let payload = MessagePack(Old { a: 1, b: None }).to_payload().unwrap();
            let longer = [&payload[..], &[0]].concat();
            for bytes in
                [&[][..], &payload[..payload.len() - 1], &longer, &[0xc0], &[0xdf, 0xff, 0xff, 0xff, 0xff]]
            {
                let error = MessagePack::<Old>::from_payload(bytes).unwrap_err();
                assert_eq!(error.kind(), ErrorKind::InvalidArgument, "{bytes:x?}");
            }
        }
    }
}
