//! Processes that are killed: what was committed outlives them, and no batch is half there.
//!
//! Native tests only. A child process writes and reports every receipt; the parent kills it with
//! SIGKILL at random moments or at a boundary of a primitive, opens what is left, and compares.

mod boundary;
#[path = "../tests/native/child.rs"]
pub(crate) mod child;
mod dropping;
mod random;
mod workload;

use std::env;
use std::path::PathBuf;

/// The variable that tells a child its root.
const ROOT: &str = "PERSISTENCY_TEST_ROOT";
/// The variable that tells a child its seed.
const SEED: &str = "PERSISTENCY_TEST_SEED";

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
