//! Model tests: random requests to a job, each answer compared with that of a plain model.
//!
//! Every sequence comes from a seed, is run on the platform's own store and in memory, and for the
//! seeds in [`digests`] its transcript has to be the one that is checked in, on every platform.
//! Sequences of even seeds keep one job open; those of odd seeds close, reopen and drop it.
//!
//! Settings, read when it runs and natively also when it is built: `PERSISTENCY_MODEL_SEEDS=1000` for
//! more seeds, `PERSISTENCY_MODEL_SEED=7` for that one alone.

mod concurrent;
mod digests;
mod generate;
mod reference;
mod runner;
mod step;

use digests::DIGESTS;

use crate::common::{async_test, fresh};

/// Whether the job of this seed is closed and dropped in between.
fn reopens(seed: u64) -> bool {
    seed % 2 == 1
}

/// A setting, of the environment at run time or, as in a browser, at build time.
fn setting(run: &str, built: Option<&str>) -> Option<u64> {
    let value = std::env::var(run).ok().or_else(|| built.map(str::to_owned))?;
    Some(value.parse().unwrap())
}

/// The seeds to run.
fn seeds() -> std::ops::Range<u64> {
    if let Some(seed) = setting("PERSISTENCY_MODEL_SEED", option_env!("PERSISTENCY_MODEL_SEED")) {
        return seed..seed + 1;
    }
    let seeds = setting("PERSISTENCY_MODEL_SEEDS", option_env!("PERSISTENCY_MODEL_SEEDS"));
    0..seeds.unwrap_or(DIGESTS.len() as u64)
}

/// Runs all seeds that `wanted` names, and compares transcripts with those that are checked in.
async fn run(memory: bool, wanted: impl Fn(u64) -> bool) {
    let mut wrong = Vec::new();
    for seed in seeds().filter(|seed| wanted(*seed)) {
        let fresh = fresh("model");
        let root = if memory { ":memory:" } else { fresh.root() };
        let transcript = match runner::run(root, seed, reopens(seed)).await {
            Ok(transcript) => transcript,
            Err(difference) => panic!("{difference}"),
        };
        let Some((lasting, in_memory)) = usize::try_from(seed).ok().and_then(|seed| DIGESTS.get(seed)) else {
            continue;
        };
        let expected = if memory { in_memory } else { lasting };
        if transcript.digest != *expected {
            let marks = transcript.marks.join(" ");
            wrong.push(format!(
                "seed {seed}: {} and not {expected}; every 20 steps: {marks}",
                transcript.digest
            ));
        }
    }
    assert!(wrong.is_empty(), "other transcripts than those checked in:\n{}", wrong.join("\n"));
}

#[async_test]
async fn a_stored_job_answers_as_the_model_does() {
    run(false, |seed| !reopens(seed)).await;
}

#[async_test]
async fn a_stored_job_that_is_reopened_and_dropped_answers_as_the_model_does() {
    run(false, reopens).await;
}

#[async_test]
async fn a_job_in_memory_answers_as_the_model_does() {
    run(true, |seed| !reopens(seed)).await;
}

#[async_test]
async fn a_job_in_memory_that_is_closed_and_dropped_answers_as_the_model_does() {
    run(true, reopens).await;
}

#[async_test]
async fn transcripts_of_one_open_job_are_the_same_in_memory_and_on_the_medium() {
    for (seed, (lasting, memory)) in (0..).zip(DIGESTS) {
        assert_eq!(lasting == memory, !reopens(seed), "seed {seed}");
    }
}
