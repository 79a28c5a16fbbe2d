//! Processes that are killed: what was committed outlives them, and no batch is half there.
//!
//! Native tests only. A child process writes and reports every receipt; the parent kills it with
//! SIGKILL at random moments or at a boundary of a primitive, opens what is left, and compares.

mod boundary;
#[path = "../tests/native/child.rs"]
#[allow(dead_code, reason = "two test programs use it, each its part")]
pub(crate) mod child;
mod dropping;
mod migration;
mod random;
mod workload;

use std::env;
use std::path::{Path, PathBuf};

/// The variable that tells a child its root.
const ROOT: &str = "PERSISTENCY_TEST_ROOT";
/// The variable that tells a child its seed.
const SEED: &str = "PERSISTENCY_TEST_SEED";

fn root() -> PathBuf {
    env::var_os(ROOT).unwrap().into()
}

/// A directory in memory where there is one: a process that dies takes nothing from the medium, and
/// syncs there take no time.
fn directory() -> tempfile::TempDir {
    let memory = Path::new("/dev/shm");
    let made = if memory.is_dir() { tempfile::tempdir_in(memory) } else { tempfile::tempdir() };
    made.unwrap()
}

fn seed() -> u64 {
    env::var(SEED).unwrap().parse().unwrap()
}

/// Rounds of a test that kills at random moments: `PERSISTENCY_KILL_ROUNDS`, or few.
fn rounds(few: u64) -> u64 {
    env::var("PERSISTENCY_KILL_ROUNDS").map_or(few, |rounds| rounds.parse().unwrap())
}
