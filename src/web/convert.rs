//! Rust values as JavaScript values: the only place of the exports that knows a JavaScript type.
//!
//! Never fails: what cannot be converted is said as a string.

use serde::Serialize;
use wasm_bindgen::JsValue;

use crate::error::Error;
use crate::job_info::JobInfo;
use crate::options::OpenMode;
use crate::record::LogRetention;

/// An error as the object `{ kind, message, outcome, retryable, conflictIndex? }`.
#[derive(Debug)]
pub struct WebError(Error);

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct ErrorFields<'a> {
    kind: &'static str,
    message: &'a str,
    outcome: &'static str,
    retryable: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    conflict_index: Option<u32>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct InfoFields<'a> {
    id: &'a str,
    /// 32 hexadecimal digits.
    generation: String,
    created_ms: f64,
    committed_seq: u64,
    durable_seq: u64,
    shared: bool,
    mode: &'static str,
    bytes: Option<f64>,
    /// Bytes of commits that the log keeps.
    log_bytes: f64,
    log_first_seq: u64,
}

impl From<Error> for WebError {
    fn from(error: Error) -> Self {
        WebError(error)
    }
}

impl From<WebError> for JsValue {
    fn from(WebError(error): WebError) -> Self {
        to_js(&ErrorFields {
            kind: error.kind().name(),
            message: error.message(),
            outcome: error.outcome().name(),
            retryable: error.is_retryable(),
            // A batch has at most limits().batch_operations preconditions.
            conflict_index: error.conflict_index().map(|index| index as u32),
        })
    }
}

/// A [`JobInfo`] as an object; numbers that can pass 2^53 are bigint.
pub fn info(info: &JobInfo) -> JsValue {
    to_js(&InfoFields {
        id: &info.id,
        generation: info.generation.iter().map(|byte| format!("{byte:02x}")).collect(),
        created_ms: info.created_ms as f64,
        committed_seq: info.committed_seq,
        durable_seq: info.durable_seq,
        shared: info.shared,
        mode: match info.mode {
            OpenMode::Create => "create",
            OpenMode::MustExist => "mustExist",
            OpenMode::ReadOnly => "readOnly",
        },
        bytes: info.bytes.map(|bytes| bytes as f64),
        log_bytes: match info.log {
            LogRetention::Off => 0.0,
            LogRetention::LastBytes(bytes) => bytes as f64,
        },
        log_first_seq: info.log_first_seq,
    })
}

fn to_js(value: &impl Serialize) -> JsValue {
    let serializer = serde_wasm_bindgen::Serializer::new().serialize_large_number_types_as_bigints(true);
    value.serialize(&serializer).unwrap_or_else(|error| JsValue::from_str(&error.to_string()))
}
