//! What only exists natively: other processes, full and read-only media, older files, threads and paths.
#![cfg(not(all(target_family = "wasm", target_os = "unknown")))]
#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]
#![allow(clippy::disallowed_methods, reason = "these tests start processes and wait for them")]

#[cfg(feature = "archive")]
#[path = "native/archive.rs"]
mod archive;
#[path = "native/child.rs"]
#[allow(dead_code, reason = "two test programs use it, each its part")]
mod child;
#[path = "native/fixtures.rs"]
mod fixtures;
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
#[cfg(feature = "archive")]
#[path = "common/stores.rs"]
mod stores;

use persistency::{ErrorKind, Key, Result, key};

/// The variable that tells a child its root.
const ROOT: &str = "PERSISTENCY_TEST_ROOT";

/// What a child does.
async fn play(role: &str) {
    match role {
        "owner" => processes::owns_a_root().await,
        #[cfg(target_os = "linux")]
        "holder" => resources::opens_and_closes().await,
        "idler" => resources::rests().await,
        #[cfg(target_os = "linux")]
        "a_full_medium" => media::a_full_medium().await,
        #[cfg(target_os = "linux")]
        "full_of_small_rows" => media::full_of_small_rows(0).await,
        "full_beside_readers" => media::full_of_small_rows(2).await,
        "full_of_a_log" => media::full_of_a_log().await,
        #[cfg(target_os = "linux")]
        "neighbours" => media::neighbours().await,
        #[cfg(target_os = "linux")]
        "no_room_for_a_job" => media::no_room_for_a_job().await,
        #[cfg(target_os = "linux")]
        "a_read_only_medium" => media::a_read_only_medium().await,
        other => panic!("no such role: {other}"),
    }
}

fn kind<T>(result: Result<T>) -> Option<ErrorKind> {
    result.err().map(|error| error.kind())
}

fn number(number: i64) -> Key {
    key!(number).unwrap()
}
