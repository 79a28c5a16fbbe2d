//! Processes that are killed: what was committed outlives them, and no batch is half there.
//!
//! Native tests only. A child process writes and reports every receipt; the parent kills it with
//! SIGKILL at random moments or at a boundary of a primitive, opens what is left, and compares.
#![allow(clippy::disallowed_methods, reason = "these tests wait for processes, which only exist natively")]

#[cfg(feature = "archive")]
mod archiving;
#[cfg(feature = "write_behind")]
mod behind;
mod boundary;
#[path = "../tests/native/child.rs"]
#[allow(dead_code, reason = "two test programs use it, each its part")]
pub(crate) mod child;
mod dropping;
mod migration;
mod random;
mod workload;

use std::env;
use std::path::PathBuf;

/// The variable that tells a child its root.
const ROOT: &str = "PERSISTENCY_TEST_ROOT";
/// The variable that tells a child its seed.
const SEED: &str = "PERSISTENCY_TEST_SEED";

/// What a child does.
async fn play(role: &str) {
    match role {
        #[cfg(feature = "archive")]
        "archiver" => archiving::archives_until_it_is_killed().await,
        #[cfg(feature = "write_behind")]
        "behind" => behind::changes_until_it_is_killed().await,
        #[cfg(feature = "archive")]
        "exporter" => archiving::exports_until_it_is_killed().await,
        "life" => boundary::lives_one_life().await,
        "dropper" => dropping::drops_until_it_is_killed().await,
        "migrator" => migration::migrates().await,
        "writer" => random::writes_until_it_is_killed().await,
        other => panic!("no such role: {other}"),
    }
}

fn root() -> PathBuf {
    env::var_os(ROOT).unwrap().into()
}

fn seed() -> u64 {
    env::var(SEED).unwrap().parse().unwrap()
}

/// Rounds of a test that kills at random moments: `PERSISTENCY_KILL_ROUNDS`, or few.
fn rounds(few: u64) -> u64 {
    env::var("PERSISTENCY_KILL_ROUNDS").map_or(few, |rounds| rounds.parse().unwrap())
}
