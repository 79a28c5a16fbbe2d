//! Every fault at every step: whatever happens, the laws of `scenario` hold and nothing hangs.

use super::World;
use super::scenario::{Way, check, tell};
use crate::Durability;
use crate::engine::faulty::{Injection, Survivors, When};
use crate::engine::{Fault, Sharing};
use crate::error::Outcome;
use crate::testing::async_test;

const FAULTS: [Fault; 11] = [
    Fault::Busy,
    Fault::StorageFull,
    Fault::Corrupt,
    Fault::TooNew,
    Fault::TooLarge,
    Fault::Unsupported,
    Fault::Missing,
    Fault::Lost,
    Fault::Aborted,
    Fault::SyncFailed,
    Fault::Other,
];

/// Steps that the story can have at most.
const STEPS_MAX: usize = 500;

/// Tells the story once for each of its steps, with the injections at that step.
async fn sweep(sharing: Sharing, way: Way, injections: &[Injection]) {
    for step in 1..STEPS_MAX {
        let world = World::new(sharing);
        for injection in injections {
            world.faults.at(step, *injection);
        }
        let what = format!("{injections:?} at step {step}, {sharing:?}, {way:?}");
        let story = tell(&world, way).await;
        let lossy = injections.iter().any(|injection| matches!(injection, Injection::LosePower { .. }));
        check(&world, &story, lossy, &what).await;
        if world.faults.steps() < step {
            assert!(step > 20, "the story has more steps than that");
            return;
        }
    }
    panic!("the story does not end");
}

fn ways(ticking: bool) -> [Way; 2] {
    [Durability::Relaxed, Durability::Strict].map(|durability| Way { durability, ticking })
}

async fn sweep_both(ticking: bool, injections: &[Injection]) {
    for way in ways(ticking) {
        sweep(Sharing::Exclusive, way, injections).await;
    }
    sweep(Sharing::Shared, ways(ticking)[0], injections).await;
}

#[async_test]
async fn a_primitive_that_fails_with_nothing_done() {
    for fault in FAULTS {
        sweep_both(false, &[Injection::fail(fault)]).await;
    }
}

#[async_test]
async fn a_primitive_that_is_done_and_whose_answer_is_lost() {
    for fault in FAULTS {
        sweep_both(false, &[Injection::lost_answer(fault)]).await;
    }
}

#[async_test]
async fn a_primitive_that_is_not_done_and_nobody_knows() {
    for fault in FAULTS {
        sweep_both(false, &[Injection::unsure(fault)]).await;
    }
}

#[async_test]
async fn a_primitive_that_has_decided_and_fails_for_certain() {
    for fault in [Fault::StorageFull, Fault::Lost, Fault::Aborted, Fault::Other] {
        let injection = Injection::Fail { fault, outcome: Outcome::NotApplied, when: When::Decided };
        sweep_both(false, &[injection]).await;
    }
}

#[async_test]
async fn a_primitive_that_takes_its_time() {
    sweep_both(false, &[Injection::Yield(20)]).await;
}

#[async_test]
async fn a_primitive_that_hangs_and_ignores_aborts_for_a_while() {
    sweep_both(true, &[Injection::Hold]).await;
    sweep_both(true, &[Injection::HoldAnswer]).await;
}

#[async_test]
async fn a_primitive_that_hangs_until_it_is_aborted() {
    for completes in [true, false] {
        sweep_both(true, &[Injection::Hang { completes }]).await;
    }
}

#[cfg(panic = "unwind")]
#[async_test]
async fn a_primitive_that_panics() {
    sweep_both(false, &[Injection::Panic]).await;
}

#[async_test]
async fn power_that_is_lost() {
    for survivors in [Survivors::Durable, Survivors::Prefix(1), Survivors::Prefix(2), Survivors::Prefix(3)] {
        for fault in [Fault::Lost, Fault::Other] {
            sweep_both(false, &[Injection::LosePower { survivors, fault }]).await;
        }
    }
}
