//! The scheduler, told by hand what happens: order, fairness, bounds, backoff and the limit of attempts.

use super::*;
use crate::testing::{Random, test};

const BOUNDS: Bounds = Bounds { in_flight: 2, bytes: 100 };
const RETRY: Retry = Retry { attempts: 4, backoff_ms: 100, backoff_max_ms: 1_000 };
const AT_ONCE: Retry = Retry { backoff_ms: 0, backoff_max_ms: 0, ..RETRY };

fn scheduler(bounds: Bounds) -> Scheduler<&'static str> {
    Scheduler::new(bounds, 1)
}

/// The request that starts now: its job, its id.
fn start(scheduler: &mut Scheduler<&'static str>, now_ms: u64) -> Option<(Lane, u64)> {
    scheduler.start(now_ms).map(|started| (started.lane, started.id))
}

#[test]
fn two_jobs_run_side_by_side_and_the_next_request_of_a_busy_one_waits() {
    let mut scheduler = scheduler(BOUNDS);
    let (a, b) = (scheduler.add(RETRY), scheduler.add(RETRY));
    assert_eq!(scheduler.submit(a, 1, "a0"), Ok(0));
    assert_eq!(scheduler.submit(b, 1, "b1"), Ok(1));
    assert_eq!(scheduler.submit(a, 1, "a2"), Ok(2));
    assert_eq!(scheduler.start(0), Some(Started { lane: a, id: 0, request: "a0" }));
    assert_eq!(scheduler.start(0), Some(Started { lane: b, id: 1, request: "b1" }));
    assert_eq!((scheduler.start(0), scheduler.next_start_ms(0)), (None, None));
    assert_eq!(scheduler.report(a, true, 0), Reported::Done);
    assert_eq!(scheduler.report(b, true, 0), Reported::Done);
    assert_eq!(scheduler.start(0), Some(Started { lane: a, id: 2, request: "a2" }));
    assert_eq!(scheduler.report(a, true, 0), Reported::Done);
    assert!(scheduler.is_idle(a) && scheduler.is_idle(b) && !scheduler.is_empty());
}

#[test]
fn a_request_that_failed_is_the_jobs_next_one_again_with_its_id() {
    let mut scheduler = scheduler(BOUNDS);
    let a = scheduler.add(AT_ONCE);
    scheduler.submit(a, 1, "a").unwrap();
    scheduler.submit(a, 1, "b").unwrap();
    assert_eq!(start(&mut scheduler, 5), Some((a, 0)));
    assert_eq!(scheduler.report(a, false, 5), Reported::Again { at_ms: 5, failures: 1 });
    assert_eq!(start(&mut scheduler, 5), Some((a, 0)));
}

#[test]
fn a_request_that_comes_while_another_is_under_way_waits_through_its_failures() {
    let mut scheduler = scheduler(BOUNDS);
    let a = scheduler.add(AT_ONCE);
    scheduler.submit(a, 1, "a").unwrap();
    assert_eq!(start(&mut scheduler, 0), Some((a, 0)));
    scheduler.submit(a, 1, "b").unwrap();
    assert_eq!(start(&mut scheduler, 0), None);
    scheduler.report(a, false, 0);
    assert_eq!(start(&mut scheduler, 0), Some((a, 0)));
    scheduler.report(a, true, 0);
    assert_eq!(start(&mut scheduler, 0), Some((a, 1)));
}

#[test]
fn the_job_that_has_waited_longest_comes_first() {
    let mut scheduler = scheduler(Bounds { in_flight: 1, ..BOUNDS });
    let lanes = [scheduler.add(RETRY), scheduler.add(RETRY), scheduler.add(RETRY)];
    for lane in [2, 0, 1, 2, 0, 1] {
        scheduler.submit(lanes[lane], 1, "").unwrap();
    }
    let mut order = Vec::new();
    while let Some((lane, _)) = start(&mut scheduler, 0) {
        order.push(lane);
        scheduler.report(lane, true, 0);
    }
    assert_eq!(order, [2, 0, 1, 2, 0, 1].map(|lane| lanes[lane]));
}

#[test]
fn a_busy_job_does_not_come_before_one_that_waits() {
    let mut scheduler = scheduler(Bounds { in_flight: 1, ..BOUNDS });
    let (busy, other) = (scheduler.add(RETRY), scheduler.add(RETRY));
    for _ in 0..5 {
        scheduler.submit(busy, 1, "").unwrap();
    }
    assert_eq!(start(&mut scheduler, 0), Some((busy, 0)));
    scheduler.submit(other, 1, "").unwrap();
    scheduler.report(busy, true, 0);
    assert_eq!(start(&mut scheduler, 0), Some((other, 5)));
}

#[test]
fn a_job_that_always_fails_does_not_starve_the_others() {
    // One slot, and no backoff at all: the worst case.
    let mut scheduler = scheduler(Bounds { in_flight: 1, ..BOUNDS });
    let failing = Retry { attempts: u32::MAX, ..AT_ONCE };
    let (failing, others) = (scheduler.add(failing), [scheduler.add(RETRY), scheduler.add(RETRY)]);
    scheduler.submit(failing, 1, "").unwrap();
    for _ in 0..10 {
        others.iter().for_each(|lane| assert!(scheduler.submit(*lane, 1, "").is_ok()));
    }
    let mut turns = 0;
    while others.iter().any(|lane| !scheduler.is_idle(*lane)) {
        let (lane, _) = start(&mut scheduler, 0).unwrap();
        scheduler.report(lane, lane != failing, 0);
        turns += 1;
    }
    assert!(turns <= 31, "{turns} turns for 20 requests of the others");
    assert!(!scheduler.is_idle(failing));
}

#[test]
fn the_backoff_doubles_up_to_its_bound_and_differs_by_chance() {
    let mut waits = Vec::new();
    for seed in 0..50 {
        let mut scheduler = Scheduler::new(BOUNDS, seed);
        let lane = scheduler.add(Retry { attempts: u32::MAX, ..RETRY });
        scheduler.submit(lane, 1, "").unwrap();
        let mut now = 7;
        for failures in 1..100u32 {
            assert_eq!(start(&mut scheduler, now), Some((lane, 0)));
            let Reported::Again { at_ms, failures: counted } = scheduler.report(lane, false, now) else {
                panic!("it goes on");
            };
            assert_eq!(counted, failures);
            let full = (100u64 << (failures - 1).min(20)).min(1_000);
            assert!((full / 2..=full).contains(&(at_ms - now)), "{} ms after {failures}", at_ms - now);
            assert_eq!(scheduler.start(at_ms - 1), None);
            assert_eq!(scheduler.next_start_ms(now), Some(at_ms));
            waits.push(at_ms - now);
            now = at_ms;
        }
    }
    waits.sort_unstable();
    waits.dedup();
    assert!(waits.len() > 100, "all jobs come back together: {waits:?}");
}

#[test]
fn a_request_that_fails_too_often_stalls_its_job_until_it_is_resumed() {
    let mut scheduler = scheduler(BOUNDS);
    let (a, b) = (scheduler.add(AT_ONCE), scheduler.add(AT_ONCE));
    scheduler.submit(a, 1, "a").unwrap();
    for failures in 1..4 {
        assert_eq!(start(&mut scheduler, 0), Some((a, 0)));
        assert_eq!(scheduler.report(a, false, 0), Reported::Again { at_ms: 0, failures });
    }
    start(&mut scheduler, 0);
    assert_eq!(scheduler.report(a, false, 0), Reported::Stalled { failures: 4 });
    assert_eq!((scheduler.start(u64::MAX), scheduler.next_start_ms(0)), (None, None));
    scheduler.submit(a, 1, "later").unwrap();
    scheduler.submit(b, 1, "b").unwrap();
    assert_eq!(start(&mut scheduler, 0), Some((b, 2)), "others go on");
    assert_eq!(start(&mut scheduler, 0), None);
    scheduler.resume(a);
    assert_eq!(start(&mut scheduler, 0), Some((a, 0)), "with what failed");
    assert_eq!(scheduler.report(a, false, 0), Reported::Again { at_ms: 0, failures: 1 }, "counted anew");
}

#[test]
fn resuming_ends_a_backoff() {
    let mut scheduler = scheduler(BOUNDS);
    let a = scheduler.add(RETRY);
    scheduler.submit(a, 1, "a").unwrap();
    start(&mut scheduler, 0);
    scheduler.report(a, false, 0);
    assert_eq!(start(&mut scheduler, 0), None);
    scheduler.resume(a);
    assert_eq!(start(&mut scheduler, 0), Some((a, 0)));
}

#[test]
fn a_success_forgets_the_failures_before() {
    let mut scheduler = scheduler(BOUNDS);
    let a = scheduler.add(AT_ONCE);
    for _ in 0..20 {
        scheduler.submit(a, 1, "").unwrap();
        for failures in 1..4 {
            start(&mut scheduler, 0).unwrap();
            assert_eq!(scheduler.report(a, false, 0), Reported::Again { at_ms: 0, failures });
        }
        start(&mut scheduler, 0).unwrap();
        assert_eq!(scheduler.report(a, true, 0), Reported::Done);
    }
}

#[test]
fn bytes_under_way_are_bounded_and_a_large_one_goes_alone() {
    let mut scheduler = scheduler(Bounds { in_flight: 10, ..BOUNDS });
    let lanes: Vec<Lane> = (0..4).map(|_| scheduler.add(RETRY)).collect();
    for (lane, bytes) in lanes.iter().zip([60, 500, 40, 1]) {
        scheduler.submit(*lane, bytes, "").unwrap();
    }
    assert_eq!(start(&mut scheduler, 0), Some((lanes[0], 0)));
    assert_eq!(start(&mut scheduler, 0), None, "smaller ones do not pass the large one");
    assert_eq!(scheduler.next_start_ms(0), None, "time does not help");
    scheduler.report(lanes[0], true, 0);
    assert_eq!(start(&mut scheduler, 0), Some((lanes[1], 1)));
    assert_eq!(start(&mut scheduler, 0), None);
    scheduler.report(lanes[1], true, 0);
    assert_eq!(start(&mut scheduler, 0), Some((lanes[2], 2)));
    assert_eq!(start(&mut scheduler, 0), Some((lanes[3], 3)));
}

#[test]
fn requests_of_one_job_are_bounded() {
    let mut scheduler = scheduler(BOUNDS);
    let a = scheduler.add(RETRY);
    for _ in 0..REQUESTS_MAX {
        scheduler.submit(a, 1, "").unwrap();
    }
    assert_eq!(scheduler.submit(a, 1, "one more"), Err("one more"));
}

#[test]
fn a_job_that_is_removed_gives_its_slot_and_its_bytes_back() {
    let mut scheduler = scheduler(Bounds { in_flight: 1, ..BOUNDS });
    let (a, b) = (scheduler.add(RETRY), scheduler.add(RETRY));
    scheduler.submit(a, 100, "").unwrap();
    scheduler.submit(b, 100, "").unwrap();
    assert_eq!(start(&mut scheduler, 0), Some((a, 0)));
    scheduler.remove(a);
    assert_eq!(scheduler.submit(a, 1, ""), Err(""));
    assert_eq!(start(&mut scheduler, 0), Some((b, 1)));
    assert_eq!(scheduler.report(a, true, 0), Reported::Unknown, "a report that comes too late");
    scheduler.report(b, true, 0);
    assert_eq!(scheduler.report(b, true, 0), Reported::Unknown, "one that comes twice");
    scheduler.remove(b);
    assert!(scheduler.is_empty());
}

#[test]
fn whatever_happens_the_rules_are_kept() {
    for seed in 0..200 {
        let mut random = Random::new(seed);
        let bounds = Bounds { in_flight: 1 + random.below(3), ..BOUNDS };
        let retries = [Retry { attempts: 3, ..RETRY }, Retry { attempts: 1, ..RETRY }];
        let mut scheduler: Scheduler<u64> = Scheduler::new(bounds, seed);
        let mut lanes: Vec<Lane> = (0..4).map(|of| scheduler.add(retries[of % 2])).collect();
        let mut under_way: Vec<(Lane, u64, usize)> = Vec::new();
        let mut last_done: BTreeMap<Lane, u64> = BTreeMap::new();
        let (mut now, mut weights) = (0, Vec::new());
        for _ in 0..400 {
            match random.below(12) {
                0..4 => {
                    let bytes = 1 + random.below(60);
                    if let Ok(id) = scheduler.submit(lanes[random.below(lanes.len())], bytes, 0) {
                        assert_eq!(id, weights.len() as u64, "ids increase by one");
                        weights.push(bytes);
                    }
                }
                4..7 => {
                    let Some(started) = scheduler.start(now) else { continue };
                    let weight = weights[started.id as usize];
                    assert!(under_way.iter().all(|(lane, ..)| *lane != started.lane), "one of each job");
                    let bytes: usize = under_way.iter().map(|(.., bytes)| bytes).sum();
                    assert!(under_way.is_empty() || bytes + weight <= bounds.bytes);
                    under_way.push((started.lane, started.id, weight));
                    assert!(under_way.len() <= bounds.in_flight);
                }
                7..10 if !under_way.is_empty() => {
                    let (lane, id, _) = under_way.remove(random.below(under_way.len()));
                    match scheduler.report(lane, random.below(2) == 0, now) {
                        Reported::Done => {
                            let before = last_done.insert(lane, id);
                            assert!(before.is_none_or(|before| before < id), "in their order");
                        }
                        Reported::Again { at_ms, .. } => assert!(at_ms > now),
                        Reported::Stalled { failures } => assert!([1, 3].contains(&failures), "{failures}"),
                        Reported::Unknown => panic!("it was under way"),
                    }
                }
                10 => now = scheduler.next_start_ms(now).unwrap_or(now),
                _ if random.below(10) == 0 => {
                    let lane = lanes.swap_remove(random.below(lanes.len()));
                    scheduler.remove(lane);
                    under_way.retain(|(other, ..)| *other != lane);
                    lanes.push(scheduler.add(retries[random.below(2)]));
                }
                _ => scheduler.resume(lanes[random.below(lanes.len())]),
            }
        }
        // Left alone, everything is done in the end.
        loop {
            under_way
                .drain(..)
                .for_each(|(lane, ..)| assert_eq!(scheduler.report(lane, true, now), Reported::Done));
            if lanes.iter().all(|lane| scheduler.is_idle(*lane)) {
                break;
            }
            lanes.iter().for_each(|lane| scheduler.resume(*lane));
            while let Some(started) = scheduler.start(now) {
                under_way.push((started.lane, started.id, 0));
            }
            assert!(!under_way.is_empty(), "seed {seed}: nobody is served");
        }
    }
}

#[test]
fn a_failure_before_the_first_request_counts_as_one_of_it() {
    let mut scheduler = scheduler(BOUNDS);
    let a = scheduler.add(RETRY);
    let Reported::Again { at_ms, failures: 1 } = scheduler.fail_before(a, 1_000) else { panic!("not again") };
    assert!((1_050..=1_100).contains(&at_ms), "{at_ms}");
    scheduler.submit(a, 1, "a").unwrap();
    assert_eq!((start(&mut scheduler, 1_000), scheduler.next_start_ms(1_000)), (None, Some(at_ms)));
    assert_eq!(start(&mut scheduler, at_ms), Some((a, 0)));
    assert!(matches!(scheduler.report(a, false, at_ms), Reported::Again { failures: 2, .. }));
    let mut last = Scheduler::new(BOUNDS, 1);
    let b = last.add(Retry { attempts: 1, ..RETRY });
    assert_eq!(last.fail_before(b, 0), Reported::Stalled { failures: 1 });
    last.submit(b, 1, "b").unwrap();
    assert_eq!((start(&mut last, u64::MAX), last.next_start_ms(0)), (None, None));
    last.resume(b);
    assert_eq!(start(&mut last, 0), Some((b, 0)));
}
