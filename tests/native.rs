//! What only exists natively: other processes, full and read-only media, older files, threads and paths.
#![cfg(not(all(target_family = "wasm", target_os = "unknown")))]
#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]
#![allow(clippy::disallowed_methods, reason = "these tests start processes and wait for them")]

#[path = "native/child.rs"]
#[allow(dead_code, reason = "two test programs use it, each its part")]
mod child;
#[path = "native/handles.rs"]
mod handles;
#[cfg(target_os = "linux")]
#[path = "native/media.rs"]
mod media;
#[path = "native/migration.rs"]
mod migration;
#[path = "native/processes.rs"]
mod processes;
#[cfg(target_os = "linux")]
#[path = "native/resources.rs"]
mod resources;

use persistency::{ErrorKind, Key, Result, key};

/// The variable that tells a child its root.
const ROOT: &str = "PERSISTENCY_TEST_ROOT";

fn kind<T>(result: Result<T>) -> Option<ErrorKind> {
    result.err().map(|error| error.kind())
}

fn number(number: i64) -> Key {
    key!(number).unwrap()
}
