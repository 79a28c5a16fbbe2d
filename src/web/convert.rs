//! Rust values as JavaScript values: the only place of the exports that knows a JavaScript type.
//!
//! Never fails: what cannot be converted is said as a string.

use serde::Serialize;
use wasm_bindgen::JsValue;

use super::wire::PROTOCOL;
use crate::limits::limits;

/// What the worker says first, as an object.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Hello {
    protocol: u32,
    version: &'static str,
    limits: HelloLimits,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct HelloLimits {
    job_id_bytes: u32,
    category_bytes: u32,
    key_bytes: u32,
    payload_bytes: u32,
    batch_bytes: u32,
    batch_operations: u32,
    scan_bytes: u32,
    page_bytes: u32,
}

/// What the worker says first: the protocol's version, the package's, and the limits.
pub fn hello() -> JsValue {
    let limits = limits();
    // The limits of a 32-bit platform fit 32 bits.
    let hello = Hello {
        protocol: PROTOCOL,
        version: env!("CARGO_PKG_VERSION"),
        limits: HelloLimits {
            job_id_bytes: limits.job_id_bytes as u32,
            category_bytes: limits.category_bytes as u32,
            key_bytes: limits.key_bytes as u32,
            payload_bytes: limits.payload_bytes as u32,
            batch_bytes: limits.batch_bytes as u32,
            batch_operations: limits.batch_operations as u32,
            scan_bytes: limits.scan_bytes as u32,
            page_bytes: limits.page_bytes as u32,
        },
    };
    serde_wasm_bindgen::to_value(&hello).unwrap_or(JsValue::NULL)
}
