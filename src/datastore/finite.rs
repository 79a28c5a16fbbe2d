//! Finite numbers: refuses values that JSON would silently change, because it has no text for NaN and the infinities.
//!
//! Pure; writes nothing. A serializer that goes through a value and only looks at its fractions.

use std::fmt::{self, Display};

use serde::ser::{self, Serialize, Serializer};

use crate::error::{Error, ErrorKind, Result};

/// `InvalidArgument` if there is a number in the value that is not finite. What the value itself says is wrong
/// with it is left to who writes it.
pub(super) fn check<T: Serialize>(value: &T) -> Result<()> {
    match value.serialize(Finite) {
        Err(Found::Number(number)) => {
            Err(Error::new(ErrorKind::InvalidArgument, format!("JSON cannot hold {number}")))
        }
        Ok(()) | Err(Found::Other) => Ok(()),
    }
}

struct Finite;

/// Why it does not go on.
#[derive(Debug)]
enum Found {
    Number(f64),
    Other,
}

impl Display for Found {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a value that JSON cannot hold")
    }
}

impl std::error::Error for Found {}

impl ser::Error for Found {
    fn custom<T: Display>(_: T) -> Self {
        Found::Other
    }
}

type Looked = std::result::Result<(), Found>;

/// What cannot hold a fraction.
macro_rules! plain {
    ($($method:ident($($type:ty),*);)*) => {
        $(fn $method(self $(, _: $type)*) -> Looked {
            Ok(())
        })*
    };
}

impl Serializer for Finite {
    type Ok = ();
    type Error = Found;
    type SerializeSeq = Self;
    type SerializeTuple = Self;
    type SerializeTupleStruct = Self;
    type SerializeTupleVariant = Self;
    type SerializeMap = Self;
    type SerializeStruct = Self;
    type SerializeStructVariant = Self;

    plain! {
        serialize_bool(bool);
        serialize_i8(i8);
        serialize_i16(i16);
        serialize_i32(i32);
        serialize_i64(i64);
        serialize_i128(i128);
        serialize_u8(u8);
        serialize_u16(u16);
        serialize_u32(u32);
        serialize_u64(u64);
        serialize_u128(u128);
        serialize_char(char);
        serialize_str(&str);
        serialize_bytes(&[u8]);
        serialize_none();
        serialize_unit();
        serialize_unit_struct(&'static str);
        serialize_unit_variant(&'static str, u32, &'static str);
    }

    fn serialize_f32(self, number: f32) -> Looked {
        self.serialize_f64(number.into())
    }

    fn serialize_f64(self, number: f64) -> Looked {
        if number.is_finite() { Ok(()) } else { Err(Found::Number(number)) }
    }

    fn serialize_some<T: Serialize + ?Sized>(self, value: &T) -> Looked {
        value.serialize(self)
    }

    fn serialize_newtype_struct<T: Serialize + ?Sized>(self, _: &'static str, value: &T) -> Looked {
        value.serialize(self)
    }

    fn serialize_newtype_variant<T: Serialize + ?Sized>(
        self,
        _: &'static str,
        _: u32,
        _: &'static str,
        value: &T,
    ) -> Looked {
        value.serialize(self)
    }

    fn serialize_seq(self, _: Option<usize>) -> std::result::Result<Self, Found> {
        Ok(self)
    }

    fn serialize_tuple(self, _: usize) -> std::result::Result<Self, Found> {
        Ok(self)
    }

    fn serialize_tuple_struct(self, _: &'static str, _: usize) -> std::result::Result<Self, Found> {
        Ok(self)
    }

    fn serialize_tuple_variant(
        self,
        _: &'static str,
        _: u32,
        _: &'static str,
        _: usize,
    ) -> std::result::Result<Self, Found> {
        Ok(self)
    }

    fn serialize_map(self, _: Option<usize>) -> std::result::Result<Self, Found> {
        Ok(self)
    }

    fn serialize_struct(self, _: &'static str, _: usize) -> std::result::Result<Self, Found> {
        Ok(self)
    }

    fn serialize_struct_variant(
        self,
        _: &'static str,
        _: u32,
        _: &'static str,
        _: usize,
    ) -> std::result::Result<Self, Found> {
        Ok(self)
    }

    fn collect_str<T: Display + ?Sized>(self, _: &T) -> Looked {
        Ok(())
    }
}

/// What has parts is looked at part by part.
macro_rules! parts {
    ($($trait:ident $method:ident($($name:ty)?);)*) => {
        $(impl ser::$trait for Finite {
            type Ok = ();
            type Error = Found;

            fn $method<T: Serialize + ?Sized>(&mut self $(, _: $name)?, value: &T) -> Looked {
                value.serialize(Finite)
            }

            fn end(self) -> Looked {
                Ok(())
            }
        })*
    };
}

parts! {
    SerializeSeq serialize_element();
    SerializeTuple serialize_element();
    SerializeTupleStruct serialize_field();
    SerializeTupleVariant serialize_field();
    SerializeStruct serialize_field(&'static str);
    SerializeStructVariant serialize_field(&'static str);
}

impl ser::SerializeMap for Finite {
    type Ok = ();
    type Error = Found;

    fn serialize_key<T: Serialize + ?Sized>(&mut self, _: &T) -> Looked {
        // JSON's own writer refuses a key that is not finite.
        Ok(())
    }

    fn serialize_value<T: Serialize + ?Sized>(&mut self, value: &T) -> Looked {
        value.serialize(Finite)
    }

    fn end(self) -> Looked {
        Ok(())
    }
}
