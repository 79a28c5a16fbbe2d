//! Rust values as JavaScript values: the only place of the exports that knows a JavaScript type.
//!
//! Never fails: what cannot be converted is said as a string.

use wasm_bindgen::JsValue;

use super::wire::PROTOCOL;
use crate::limits::limits;

/// What the worker says first: the protocol's version, the package's, and the limits in the order of
/// `limits.js`. A list: objects with their names would be a tenth of all exports.
pub fn hello() -> JsValue {
    let limits = limits();
    // The limits of a 32-bit platform fit 32 bits.
    let limits = [
        limits.job_id_bytes,
        limits.category_bytes,
        limits.key_bytes,
        limits.payload_bytes,
        limits.batch_bytes,
        limits.batch_operations,
        limits.scan_bytes,
        limits.page_bytes,
    ]
    .map(|limit| limit as u32);
    let hello = (PROTOCOL, env!("CARGO_PKG_VERSION"), limits);
    serde_wasm_bindgen::to_value(&hello).unwrap_or(JsValue::NULL)
}
