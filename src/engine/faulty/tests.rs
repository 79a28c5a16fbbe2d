//! Each fault does what its name says, and without faults the wrapper keeps every law.

use std::cell::Cell;
use std::rc::Rc;
use std::sync::Arc;

use futures_util::FutureExt;

use super::*;
use crate::batch::Batch;
use crate::engine::laws::Ask;
use crate::engine::memory::MemorySite;
use crate::engine::{Change, Engine, Get, Got, OpenMode, PageRequest, Point, Sharing, Site, Space, Verify};
use crate::key::Key;
use crate::range::Span;
use crate::testing::async_test;

crate::engine::laws::engine_laws!(kept, (site(&Faults::new()), ()));

const NO_KEYS: [u8; 0] = [];

type Job = FaultyEngine;

fn site(faults: &Faults) -> FaultySite {
    FaultySite::new(MemorySite::default(), faults.clone(), Sharing::Exclusive)
}

async fn open(site: &FaultySite) -> Job {
    site.open_now("job", OpenMode::Create, b"record").await.expect("opens")
}

async fn job() -> (Faults, FaultySite, Job) {
    let faults = Faults::new();
    let site = site(&faults);
    let job = open(&site).await;
    (faults, site, job)
}

fn change(batch: Batch, durable: bool) -> Change {
    let writes = vec![Write::Rows(batch.operations().into())];
    Change { reads: Vec::new(), decide: Box::new(|_| Some(writes)), durable }
}

fn puts(keys: &[u8], durable: bool) -> Change {
    change(keys.iter().fold(Batch::new(), |batch, n| batch.put("c", Key::from_bytes([*n]), [*n])), durable)
}

fn everything() -> PageRequest {
    PageRequest {
        space: Space::Rows("c".into()),
        span: Span::all(),
        reverse: false,
        rows_max: 100,
        bytes_max: 1000,
        keys_only: true,
    }
}

async fn keys(job: &Job) -> Result<Vec<u8>, EngineError> {
    let page = job.page(everything(), Verify::Never).await?.value;
    Ok(page.rows.into_iter().map(|(key, _)| key[0]).collect())
}

async fn record_of(job: &Job) -> Result<Got, EngineError> {
    let get = Get { points: vec![Point::record()], presence_only: false, bytes_max: 100 };
    Ok(job.get(get, Verify::Never).await?.value)
}

async fn reopened(site: &FaultySite, job: Job) -> Vec<u8> {
    // It answers with an error if power has been lost, and is released all the same.
    let _ = job.close().await;
    keys(&open(site).await).await.expect("reads")
}

fn told(result: Result<(), EngineError>) -> (Fault, Outcome) {
    let error = result.expect_err("fails");
    (error.fault, error.outcome)
}

#[async_test]
async fn every_primitive_is_a_step_and_fails_when_told() {
    let (faults, site, job) = job().await;
    faults.set_rules(&[]);
    let steps = faults.steps();
    for call in 1..=13 {
        faults.at(steps + call, Injection::fail(Fault::Corrupt));
    }
    let fault = |fault: Option<EngineError>| assert_eq!(fault.map(|error| error.fault), Some(Fault::Corrupt));
    fault(record_of(&job).await.err());
    fault(keys(&job).await.err());
    fault(job.count("c".into(), Span::all(), Verify::Never).await.err());
    fault(job.categories(100, Verify::Never).await.err());
    fault(job.apply(puts(&[1], false)).await.err());
    fault(job.reconnect().await.err());
    fault(job.check().await.err());
    fault(job.compact().await.err());
    fault(job.bytes().await.err());
    fault(site.list().await.err());
    fault(job.close().await.err());
    fault(site.destroy("job").await.err());
    fault(site.open("job", OpenMode::Create, vec![]).await.err());
    assert_eq!((faults.steps(), faults.fired()), (steps + 13, 13));
    let job = open(&site).await;
    assert_eq!(faults.calls(Call::Open), 3);
    assert_eq!(keys(&job).await.expect("reads"), NO_KEYS, "nothing was written, and nothing destroyed");
    assert_eq!(record_of(&job).await.expect("gets"), Got::Payloads(vec![Some(b"record".to_vec())]));
}

#[async_test]
async fn the_nth_call_of_a_primitive_fails() {
    let (faults, _site, job) = job().await;
    faults.on(Call::Apply, 2, Injection::fail(Fault::Other));
    job.apply(puts(&[1], false)).await.expect("the first applies");
    assert_eq!(told(job.apply(puts(&[2], false)).await), (Fault::Other, Outcome::NotApplied));
    job.apply(puts(&[3], false)).await.expect("the third applies");
    assert_eq!(keys(&job).await.expect("reads"), [1, 3]);
}

#[async_test]
async fn an_apply_fails_before_or_after_deciding_or_when_done() {
    let (faults, site, job) = job().await;
    let cases = [
        (Injection::fail(Fault::StorageFull), Outcome::NotApplied, 0, false),
        (Injection::unsure(Fault::StorageFull), Outcome::Unknown, 1, false),
        (Injection::lost_answer(Fault::StorageFull), Outcome::Unknown, 1, true),
    ];
    for (number, (injection, outcome, decided, applied)) in (1u8..).zip(cases) {
        faults.on(Call::Apply, 1, injection);
        let decisions = Rc::new(Cell::new(0));
        let counted = Rc::clone(&decisions);
        let Change { reads, decide, durable } = puts(&[number], true);
        let decide = Box::new(move |found| {
            counted.set(counted.get() + 1);
            decide(found)
        });
        assert_eq!(told(job.apply(Change { reads, decide, durable }).await), (Fault::StorageFull, outcome));
        assert_eq!(decisions.get(), decided, "{injection:?}");
        assert_eq!(keys(&job).await.expect("reads").contains(&number), applied, "{injection:?}");
    }
    site.lose_power(Survivors::Durable);
    assert_eq!(reopened(&site, job).await, [3], "what was done was durable, only the answer was lost");
}

#[async_test]
async fn a_lost_connection_stays_lost_until_it_is_reconnected() {
    let (faults, site, job) = job().await;
    faults.on(Call::Apply, 1, Injection::lost_answer(Fault::Lost));
    assert_eq!(told(job.apply(puts(&[1], false)).await), (Fault::Lost, Outcome::Unknown));
    assert_eq!(keys(&job).await.expect_err("is lost").fault, Fault::Lost);
    assert_eq!(told(job.apply(puts(&[2], false)).await), (Fault::Lost, Outcome::NotApplied));
    job.reconnect().await.expect("connects");
    assert_eq!(keys(&job).await.expect("reads"), [1]);
    faults.on(Call::Page, 1, Injection::fail(Fault::Lost));
    assert_eq!(keys(&job).await.expect_err("is lost").fault, Fault::Lost);
    site.vanish("job");
    assert_eq!(told(job.reconnect().await).0, Fault::Missing);
    job.close().await.expect("closes");
    assert_eq!(
        site.open("job", OpenMode::MustExist, vec![]).await.err().map(|e| e.fault),
        Some(Fault::Missing)
    );
}

#[async_test]
async fn a_failed_sync_befalls_durable_commits_and_saves_nothing() {
    let (faults, site, job) = job().await;
    job.apply(puts(&[1], true)).await.expect("applies");
    let sync_failed = |when| Injection::Fail { fault: Fault::SyncFailed, outcome: Outcome::Unknown, when };
    faults.on(Call::Apply, 1, sync_failed(When::Done));
    job.apply(puts(&[2], false)).await.expect("a relaxed commit syncs nothing");
    faults.on(Call::Apply, 1, sync_failed(When::Done));
    assert_eq!(told(job.apply(puts(&[3], true)).await), (Fault::SyncFailed, Outcome::Unknown));
    faults.set_rules(&[Rule::NoSync]);
    job.apply(puts(&[4], false)).await.expect("a relaxed commit syncs nothing");
    assert_eq!(told(job.apply(puts(&[5], true)).await), (Fault::SyncFailed, Outcome::Unknown));
    assert_eq!(keys(&job).await.expect("reads go on"), [1, 2, 3, 4, 5]);
    site.lose_power(Survivors::Durable);
    assert_eq!(reopened(&site, job).await, [1]);
}

#[async_test]
async fn a_delayed_call_yields_and_goes_on() {
    let (faults, _site, job) = job().await;
    faults.on(Call::Apply, 1, Injection::Yield(3));
    let mut apply = Box::pin(job.apply(puts(&[1], false)));
    for _ in 0..3 {
        assert!(apply.as_mut().now_or_never().is_none());
    }
    apply.now_or_never().expect("the fourth time it is done").expect("applies");
}

#[async_test]
async fn a_held_call_ignores_abort_and_goes_on_when_released() {
    let (faults, _site, job) = job().await;
    faults.on(Call::Apply, 1, Injection::Hold);
    let mut apply = Box::pin(job.apply(puts(&[1], false)));
    assert!(apply.as_mut().now_or_never().is_none());
    faults.until_waiting(1).await;
    job.abort();
    assert!(apply.as_mut().now_or_never().is_none());
    assert_eq!(keys(&job).await.expect("reads overlap"), NO_KEYS);
    faults.release();
    apply.now_or_never().expect("is released").expect("applies");
    assert_eq!(keys(&job).await.expect("reads"), [1]);
    assert!(faults.until_waiting(1).now_or_never().is_none(), "nobody waits any more");
}

#[async_test]
async fn a_hanging_call_ends_with_an_abort_one_way_or_the_other() {
    let (faults, _site, job) = job().await;
    for (key, completes) in [(1, false), (2, true)] {
        faults.on(Call::Apply, 1, Injection::Hang { completes });
        let mut apply = Box::pin(job.apply(puts(&[key], false)));
        assert!(apply.as_mut().now_or_never().is_none());
        faults.release();
        assert!(apply.as_mut().now_or_never().is_none(), "it is not held");
        let (result, ()) = futures_util::join!(apply, async {
            faults.until_waiting(1).await;
            job.abort();
        });
        match completes {
            true => result.expect("completes nevertheless"),
            false => assert_eq!(told(result), (Fault::Aborted, Outcome::NotApplied)),
        }
    }
    assert_eq!(keys(&job).await.expect("reads"), [2]);
}

#[cfg(not(target_family = "wasm"))]
#[async_test]
async fn a_panic_is_a_panic_and_the_job_can_be_opened_again() {
    use std::panic::AssertUnwindSafe;

    let (faults, site, job) = job().await;
    job.apply(puts(&[1], false)).await.expect("applies");
    faults.on(Call::Apply, 1, Injection::Panic);
    AssertUnwindSafe(job.apply(puts(&[2], false))).catch_unwind().await.expect_err("panics");
    drop(job);
    assert_eq!(keys(&open(&site).await).await.expect("reads"), [1]);
}

#[async_test]
async fn power_loss_keeps_what_is_durable_and_ends_every_engine() {
    let (faults, site, job) = job().await;
    let other = site.open_now("other", OpenMode::Create, &[]).await.expect("opens");
    for job in [&job, &other] {
        job.apply(puts(&[1], false)).await.expect("applies");
        job.apply(puts(&[2], true)).await.expect("applies");
        job.apply(puts(&[3], false)).await.expect("applies");
    }
    faults.on(Call::Apply, 1, Injection::LosePower { survivors: Survivors::Durable, fault: Fault::Other });
    assert_eq!(told(job.apply(puts(&[4], true)).await), (Fault::Other, Outcome::Unknown));
    assert_eq!(keys(&job).await.expect_err("has no power").fault, Fault::Other);
    assert_eq!(told(job.reconnect().await).0, Fault::Other);
    assert_eq!(told(job.apply(puts(&[5], true)).await), (Fault::Other, Outcome::NotApplied));
    assert_eq!(told(other.apply(puts(&[5], true)).await).0, Fault::Lost);
    assert_eq!(told(job.close().await).0, Fault::Other);
    for engine in [job, other] {
        assert_eq!(reopened(&site, engine).await, [1, 2]);
    }
}

#[async_test]
async fn power_loss_by_seed_keeps_every_prefix_and_nothing_else() {
    let mut seen = std::collections::BTreeSet::new();
    for seed in 0..40 {
        let (faults, site, job) = job().await;
        job.apply(puts(&[1], true)).await.expect("applies");
        job.apply(puts(&[2, 3], false)).await.expect("applies");
        let survivors = Survivors::Prefix(seed);
        faults.on(Call::Apply, 1, Injection::LosePower { survivors, fault: Fault::Lost });
        assert_eq!(told(job.apply(puts(&[4], true)).await), (Fault::Lost, Outcome::Unknown));
        let kept = reopened(&site, job).await;
        let again = open(&site).now_or_never().is_some();
        assert!(again, "it can be opened again and again");
        site.lose_power(Survivors::Durable);
        assert_eq!(keys(&open(&site).await).await.expect("reads"), kept, "what survived is on the medium");
        seen.insert(kept);
    }
    assert_eq!(seen.into_iter().collect::<Vec<_>>(), [vec![1], vec![1, 2, 3], vec![1, 2, 3, 4]]);
}

#[async_test]
async fn a_call_that_waits_while_power_is_lost_does_nothing() {
    let (faults, site, job) = job().await;
    faults.on(Call::Apply, 1, Injection::Hold);
    let mut apply = Box::pin(job.apply(puts(&[1], true)));
    assert!(apply.as_mut().now_or_never().is_none());
    site.lose_power(Survivors::Durable);
    faults.release();
    assert_eq!(told(apply.await), (Fault::Lost, Outcome::NotApplied));
    assert_eq!(reopened(&site, job).await, NO_KEYS);
}

#[async_test]
async fn an_apply_that_works_while_power_is_lost_is_unsure_and_not_on_the_medium() {
    let (_faults, site, job) = job().await;
    let Change { reads, decide, durable } = puts(&[1], true);
    let outage = site.clone();
    let decide = Box::new(move |found| {
        outage.lose_power(Survivors::Durable);
        decide(found)
    });
    assert_eq!(told(job.apply(Change { reads, decide, durable }).await), (Fault::Lost, Outcome::Unknown));
    assert_eq!(reopened(&site, job).await, NO_KEYS);
}

#[async_test]
async fn what_was_closed_without_being_durable_is_lost_with_power() {
    let (_faults, site, job) = job().await;
    job.apply(puts(&[1], false)).await.expect("applies");
    assert_eq!(reopened(&site, job).await, [1], "closing keeps what is committed");
    site.lose_power(Survivors::Durable);
    assert_eq!(keys(&open(&site).await).await.expect("reads"), NO_KEYS);
}

#[async_test]
async fn rules_refuse_the_writes_that_they_fit() {
    let (faults, _site, job) = job().await;
    faults.set_rules(&[Rule::OperationsMax(2)]);
    assert_eq!(told(job.apply(puts(&[1, 2, 3], false)).await), (Fault::StorageFull, Outcome::NotApplied));
    job.apply(puts(&[1, 2], false)).await.expect("two are no more than two");
    faults.set_rules(&[Rule::NoPuts]);
    assert_eq!(told(job.apply(puts(&[4], false)).await), (Fault::StorageFull, Outcome::NotApplied));
    let delete = || Batch::new().delete("c", Key::from_bytes([1]));
    job.apply(change(delete(), true)).await.expect("deletes still work");
    let mixed = delete().put("c", Key::from_bytes([5]), "");
    assert_eq!(told(job.apply(change(mixed, false)).await).0, Fault::StorageFull);
    let log = vec![Write::Put(Point::record(), b"next".to_vec())];
    let decide = Box::new(|_: Vec<Option<Vec<u8>>>| Some(log));
    job.apply(Change { reads: vec![], decide, durable: false }).await.expect("it is no put of a row");
    faults.set_rules(&[]);
    job.apply(puts(&[6], false)).await.expect("there is room again");
    assert_eq!(keys(&job).await.expect("reads"), [2, 6]);
    assert_eq!(faults.fired(), 3);
}

#[async_test]
async fn a_job_says_the_sharing_that_its_site_was_given() {
    let site = FaultySite::new(MemorySite::default(), Faults::new(), Sharing::Shared);
    let job = open(&site).await;
    assert_eq!(job.sharing(), Sharing::Shared);
    job.close().await.expect("closes");
    let reader = site.clone().open_now("job", OpenMode::ReadOnly, &[]).await.expect("opens");
    assert_eq!(reader.sharing(), Sharing::ReadOnly);
}

#[async_test]
async fn a_lost_answer_of_open_or_destroy_has_done_its_work() {
    let faults = Faults::new();
    let site = site(&faults);
    faults.on(Call::Open, 1, Injection::lost_answer(Fault::Other));
    site.open("job", OpenMode::Create, b"first".to_vec()).await.err().expect("fails");
    assert_eq!(site.list().await.expect("lists"), ["job"]);
    let job = site.open_now("job", OpenMode::MustExist, b"second").await.expect("is there");
    assert_eq!(record_of(&job).await.expect("gets"), Got::Payloads(vec![Some(b"first".to_vec())]));
    job.close().await.expect("closes");
    faults.on(Call::Destroy, 1, Injection::lost_answer(Fault::Other));
    site.destroy("job").await.expect_err("fails");
    assert_eq!(site.list().await.expect("lists"), Vec::<String>::new());
}

#[async_test]
async fn a_step_that_is_not_reached_does_nothing() {
    let (faults, site, job) = job().await;
    faults.at(faults.steps() + 3, Injection::Panic);
    job.apply(puts(&[1], false)).await.expect("applies");
    assert_eq!(keys(&job).await.expect("reads"), [1]);
    assert_eq!(faults.fired(), 0);
    drop((site, job));
}

#[async_test]
async fn a_script_is_shared_between_its_clones_and_threads() {
    fn sendable<T: Send + Sync>(value: T) -> T {
        value
    }
    let faults = sendable(Arc::new(Faults::new()));
    faults.clone().at(1, Injection::fail(Fault::Busy));
    let site = site(&faults);
    let error = site.open("job", OpenMode::Create, vec![]).await.err().expect("fails");
    assert_eq!((error.fault, faults.fired()), (Fault::Busy, 1));
}
