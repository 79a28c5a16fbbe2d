//! Every fault at every step: whatever happens, what was reported is there, whole, and nothing else is.

use super::World;
use super::story::{check, tell};
use crate::engine::Fault;
use crate::engine::faulty::{Injection, Survivors, When};
use crate::error::Outcome;
use crate::testing::async_test;

/// Steps that the story can have at most.
const STEPS_MAX: usize = 400;

async fn sweep(injection: Injection) {
    for step in 1..STEPS_MAX {
        let world = World::new();
        world.faults.at(step, injection);
        let what = format!("{injection:?} at step {step}");
        let story = tell(&world).await;
        check(&world, &story, &what).await;
        if world.faults.steps() < step {
            assert!(step > 20, "the story has more steps than that");
            return;
        }
    }
    panic!("the story does not end");
}

#[async_test]
async fn a_primitive_that_fails_with_nothing_done() {
    for fault in [Fault::StorageFull, Fault::Corrupt, Fault::Lost, Fault::Aborted, Fault::Other] {
        sweep(Injection::fail(fault)).await;
    }
}

#[async_test]
async fn a_primitive_whose_answer_is_lost() {
    for fault in [Fault::Lost, Fault::Other] {
        sweep(Injection::lost_answer(fault)).await;
        sweep(Injection::unsure(fault)).await;
    }
}

#[async_test]
async fn a_primitive_that_has_decided_and_fails() {
    for fault in [Fault::StorageFull, Fault::Other] {
        sweep(Injection::Fail { fault, outcome: Outcome::NotApplied, when: When::Decided }).await;
    }
}

#[async_test]
async fn power_that_is_lost() {
    for survivors in [Survivors::Durable, Survivors::Prefix(1), Survivors::Prefix(2)] {
        sweep(Injection::LosePower { survivors, fault: Fault::Other }).await;
    }
}
