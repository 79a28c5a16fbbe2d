//! Contents: what the data of records and items is, bytes or JSON, and how it is written.
//!
//! Never looks at a job. JSON is kept as text with its fields in the order of their names, so equal
//! values have equal bytes.

use std::marker::PhantomData;
use std::sync::Arc;

use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;
use serde_json::error::Category;

use super::finite;
use super::layout::{Format, corrupt};
use crate::error::{Error, ErrorKind, Quoted, Result};
use crate::key::Key;

/// Levels of arrays and objects that JSON may have: what has more could not be read again.
const LEVELS_MAX: usize = 127;

/// What the records of a collection, or the items of a pool, are: [`Bytes`] or [`Json`].
///
/// Only these two: what is stored says which it is.
pub trait Content: sealed::Sealed + 'static {
    /// What names a record.
    type Key: Send;
    /// What a record holds.
    type Value: Send + Sync;
    #[doc(hidden)]
    const IS_JSON: bool;
    #[doc(hidden)]
    fn key(bytes: Vec<u8>) -> Result<Self::Key>;
    #[doc(hidden)]
    fn value(bytes: Vec<u8>) -> Result<Self::Value>;
    #[doc(hidden)]
    fn bytes(value: &Self::Value) -> Result<Vec<u8>>;
}

/// Records of any bytes under keys of any bytes.
#[derive(Clone, Copy, Debug)]
pub struct Bytes(());

/// Records of JSON objects, each under the string that its primary field holds.
///
/// `T` is any serde type that is written as an object; [`serde_json::Value`] takes them all. A number that is not
/// finite is `InvalidArgument`: JSON has no text for it.
#[derive(Clone, Copy, Debug)]
pub struct Json<T = Value>(PhantomData<fn() -> T>);

mod sealed {
    pub trait Sealed {}
    impl Sealed for super::Bytes {}
    impl<T> Sealed for super::Json<T> {}
}

/// As it is stored.
pub(super) fn format<C: Content>() -> Format {
    if C::IS_JSON { Format::Json } else { Format::Bytes }
}

impl Content for Bytes {
    type Key = Key;
    type Value = Vec<u8>;
    const IS_JSON: bool = false;

    fn key(bytes: Vec<u8>) -> Result<Key> {
        Ok(Key::from(bytes))
    }

    fn value(bytes: Vec<u8>) -> Result<Vec<u8>> {
        Ok(bytes)
    }

    fn bytes(value: &Vec<u8>) -> Result<Vec<u8>> {
        Ok(value.clone())
    }
}

impl<T: Serialize + DeserializeOwned + Send + Sync + 'static> Content for Json<T> {
    type Key = String;
    type Value = T;
    const IS_JSON: bool = true;

    fn key(bytes: Vec<u8>) -> Result<String> {
        String::from_utf8(bytes).map_err(|_| corrupt())
    }

    fn value(bytes: Vec<u8>) -> Result<T> {
        serde_json::from_slice(&bytes).map_err(|cause| match cause.classify() {
            Category::Data => Error::new(ErrorKind::InvalidArgument, "JSON that is no value of this type")
                .with_source(Arc::new(cause)),
            Category::Io | Category::Syntax | Category::Eof => corrupt().with_source(Arc::new(cause)),
        })
    }

    fn bytes(value: &T) -> Result<Vec<u8>> {
        write(json(value)?)
    }
}

/// The key and the bytes of a JSON record: its primary field must be a string of at least one byte.
pub(super) fn json_record<T: Serialize>(value: &T, primary: &str) -> Result<(String, Vec<u8>)> {
    let value = json(value)?;
    let key = match value.as_object().map(|fields| fields.get(primary)) {
        Some(Some(Value::String(key))) if !key.is_empty() => key.clone(),
        Some(_) => {
            let message =
                format!("the primary field {} is not a string of at least one byte", Quoted(primary));
            return Err(Error::new(ErrorKind::InvalidArgument, message));
        }
        None => return Err(Error::new(ErrorKind::InvalidArgument, "a JSON record is an object")),
    };
    Ok((key, write(value)?))
}

fn json<T: Serialize>(value: &T) -> Result<Value> {
    finite::check(value)?;
    let value = serde_json::to_value(value).map_err(|cause| {
        Error::new(ErrorKind::InvalidArgument, "a value that JSON cannot hold").with_source(Arc::new(cause))
    })?;
    match has_levels(&value, LEVELS_MAX) {
        true => Ok(value),
        false => Err(Error::new(
            ErrorKind::InvalidArgument,
            format!("more than {LEVELS_MAX} levels of arrays and objects"),
        )),
    }
}

/// Whether it has so many levels at most.
fn has_levels(value: &Value, max: usize) -> bool {
    match value {
        Value::Array(values) => max > 0 && values.iter().all(|value| has_levels(value, max - 1)),
        Value::Object(fields) => max > 0 && fields.values().all(|value| has_levels(value, max - 1)),
        _ => true,
    }
}

fn write(mut value: Value) -> Result<Vec<u8>> {
    // A map keeps the order of insertion if anybody in the program asks serde_json for that.
    value.sort_all_objects();
    serde_json::to_vec(&value).map_err(|cause| {
        Error::new(ErrorKind::InvalidArgument, "a value that JSON cannot hold").with_source(Arc::new(cause))
    })
}
