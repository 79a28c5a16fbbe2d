//! What JavaScript throws, as faults: the one place that knows the names of DOM exceptions.
//!
//! Never keeps a JavaScript value: errors must be able to leave the thread.

use std::fmt;

use wasm_bindgen::{JsCast, JsValue};
use web_sys::DomException;

use crate::engine::{EngineError, Fault};

/// A JavaScript error, flattened to plain data.
#[derive(Clone, thiserror::Error)]
#[error("{name}: {message}")]
pub(super) struct JsError {
    pub(super) name: String,
    pub(super) message: String,
}

/// As it is shown.
impl fmt::Debug for JsError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// What was being done when JavaScript threw; some names mean different things.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum During {
    /// Reaching, opening, listing or deleting databases.
    Opening,
    /// A read request.
    Reading,
    /// A write request, or the commit.
    Writing,
}

impl JsError {
    pub(super) fn from_value(value: &JsValue) -> Self {
        if let Some(exception) = value.dyn_ref::<DomException>() {
            return JsError { name: exception.name(), message: exception.message() };
        }
        // Plain errors (`TypeError`) and the exceptions of shims have the same two fields.
        let field = |name: &str| {
            let value = js_sys::Reflect::get(value, &JsValue::from_str(name)).ok()?;
            value.as_string()
        };
        let message = field("message").or_else(|| value.as_string()).unwrap_or_else(|| "thrown".to_owned());
        JsError { name: field("name").unwrap_or_else(|| "Error".to_owned()), message }
    }

    /// The fault that this error means.
    pub(super) fn fault(&self, during: During) -> Fault {
        let message = self.message.to_ascii_lowercase();
        // Browsers report full disks and lost servers under names that say nothing.
        if FULL_WORDS.iter().any(|words| message.contains(words)) {
            return Fault::StorageFull;
        }
        if during != During::Opening && LOST_WORDS.iter().any(|words| message.contains(words)) {
            return Fault::Lost;
        }
        match (self.name.as_str(), during) {
            ("QuotaExceededError", _) => Fault::StorageFull,
            ("VersionError", _) => Fault::TooNew,
            ("SecurityError" | "NotSupportedError", _) => Fault::Unsupported,
            // Private windows of some browsers refuse to open under this name.
            ("InvalidStateError", During::Opening) => Fault::Unsupported,
            // The connection has been closed, or the browser closed it under its transactions.
            ("InvalidStateError" | "AbortError", _) => Fault::Lost,
            ("NotFoundError", _) => Fault::Corrupt,
            ("NotReadableError" | "DataError" | "EncodingError", During::Reading) => Fault::Corrupt,
            _ => Fault::Other,
        }
    }

    /// The engine's error for this one, with nothing applied.
    pub(super) fn into_engine_error(self, during: During) -> EngineError {
        EngineError::new(self.fault(during), self.to_string()).with_source(self)
    }
}

/// In a message: the medium is full, whatever the name.
const FULL_WORDS: [&str; 4] = ["full disk", "disk is full", "disk full", "not enough space"];
/// In a message: the connection has gone, whatever the name.
const LOST_WORDS: [&str; 4] = [
    "connection to indexed database server lost",
    "connection is clos",
    "connection was clos",
    "connection lost",
];

/// A thrown value as the engine's error, with nothing applied.
pub(super) fn thrown(value: &JsValue, during: During) -> EngineError {
    JsError::from_value(value).into_engine_error(during)
}

/// What is stored is not what the format says.
pub(super) fn corrupt(message: &str) -> EngineError {
    EngineError::new(Fault::Corrupt, message)
}

/// The connection has gone before anything was asked.
pub(super) fn lost() -> EngineError {
    EngineError::new(Fault::Lost, "the connection to the database has been closed")
}
