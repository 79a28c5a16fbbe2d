//! The worker's small parts by themselves: slots, kept errors, recent commits.

use std::sync::Arc;

use futures_channel::oneshot;
use futures_util::FutureExt;

use super::{ROWS, key, put, told, writes_in};
use crate::commit_log::Commit;
use crate::limits::{COMMITS_PAGE_BYTES_MAX, KEPT_ERRORS_MAX, WATCH_BYTES_MAX, WATCH_COMMITS_MAX};
use crate::testing::test;
use crate::worker::command::{Answered, Reply};
use crate::worker::recent::Recent;
use crate::worker::slot::{Slot, Unreported};
use crate::worker::turn::Answer;
use crate::worker::waiters::{KeptErrors, Until, Waiter};
use crate::{Batch, Error, ErrorKind, Outcome, Result};

const DONE: Answer = Answer::Done { seq: 4, existed: false };

fn failure() -> Result<Answer> {
    Err(Error::new(ErrorKind::Conflict, "job, batch of 2 operations"))
}

fn failed_slot() -> Arc<Slot> {
    let (_, ticket) = Slot::pair();
    ticket.settle(failure()).expect("has an error to report")
}

#[test]
fn a_slot_answers_everyone_who_asks_now_or_later() {
    let (slot, ticket) = Slot::pair();
    let mut first = slot.settled();
    let mut second = slot.settled();
    assert!((&mut first).now_or_never().is_none() && (&mut second).now_or_never().is_none());
    assert!(ticket.settle(Ok(DONE)).is_none(), "nothing to report");
    assert!((&mut first).now_or_never().expect("is settled").is_ok());
    assert!((&mut second).now_or_never().expect("is settled").is_ok());
    assert!(slot.settled().now_or_never().expect("is settled").is_ok());
}

#[test]
fn a_ticket_that_is_dropped_answers_unknown() {
    let (slot, ticket) = Slot::pair();
    drop(ticket);
    let answer = slot.settled().now_or_never().expect("is settled");
    assert_eq!(told(answer), (ErrorKind::Backend, Outcome::Unknown));
}

#[test]
fn an_error_is_unreported_until_it_is_awaited_or_taken() {
    let (slot, ticket) = Slot::pair();
    assert!(matches!(slot.unreported(), Unreported::Nothing), "no result yet");
    let mut waiting = slot.settled();
    assert!((&mut waiting).now_or_never().is_none());
    ticket.settle(failure());
    assert!(matches!(slot.unreported(), Unreported::Awaited));
    drop(waiting);
    assert!(matches!(slot.unreported(), Unreported::Error(_)), "it was given up");
    assert!(slot.settled().now_or_never().expect("is settled").is_err());
    assert!(matches!(slot.unreported(), Unreported::Nothing));
}

/// A flush of everything up to `last`, and where its answer comes.
fn flush(last: u64, kept: &mut KeptErrors) -> (Waiter, oneshot::Receiver<Result<Answered>>) {
    let (reply, answer) = oneshot::channel();
    (Waiter::new(Until::Task(last), None, Reply::Future(reply), kept), answer)
}

fn answered(mut answer: oneshot::Receiver<Result<Answered>>) -> usize {
    answer
        .try_recv()
        .expect("is there")
        .expect("is answered")
        .and_then(Answered::flushed)
        .err()
        .map_or(0, |error| writes_in(&error))
}

/// A flush in a `select!` can lose against another branch after the worker has answered it.
#[test]
fn an_answer_that_nobody_takes_leaves_its_errors_to_the_next_flush() {
    let mut kept = KeptErrors::default();
    kept.failed(1, failed_slot(), &mut []);
    let (waiter, given_up) = flush(1, &mut kept);
    waiter.answer(Ok(()), &mut kept);
    drop(given_up);
    let (waiter, answer) = flush(1, &mut kept);
    waiter.answer(Ok(()), &mut kept);
    assert_eq!(answered(answer), 1);
    let (waiter, answer) = flush(1, &mut kept);
    waiter.answer(Ok(()), &mut kept);
    assert_eq!(answered(answer), 0);
}

#[test]
fn a_flush_takes_the_kept_errors_that_it_covers() {
    let mut kept = KeptErrors::default();
    for number in 1..=4 {
        kept.failed(number, failed_slot(), &mut []);
    }
    let (waiter, answer) = flush(3, &mut kept);
    waiter.answer(Ok(()), &mut kept);
    assert_eq!(answered(answer), 3);
    assert_eq!(kept.report().err().map_or(0, |error| writes_in(&error)), 1);
    assert!(kept.report().is_ok());
}

#[test]
fn an_error_goes_to_every_waiting_flush_that_covers_it() {
    let mut kept = KeptErrors::default();
    let (early, early_answer) = flush(1, &mut kept);
    let (first, first_answer) = flush(2, &mut kept);
    let (second, second_answer) = flush(5, &mut kept);
    let mut waiters = [early, first, second];
    kept.failed(2, failed_slot(), &mut waiters);
    waiters.into_iter().for_each(|waiter| waiter.answer(Ok(()), &mut kept));
    assert_eq!([early_answer, first_answer, second_answer].map(answered), [0, 1, 1]);
    assert!(kept.report().is_ok());
}

#[test]
fn an_error_whose_flush_has_gone_is_kept() {
    let mut kept = KeptErrors::default();
    let (waiter, answer) = flush(2, &mut kept);
    let mut waiters = [waiter];
    kept.failed(1, failed_slot(), &mut waiters);
    drop(answer);
    kept.failed(2, failed_slot(), &mut waiters);
    waiters.into_iter().for_each(|waiter| waiter.answer(Ok(()), &mut kept));
    assert_eq!(kept.report().err().map_or(0, |error| writes_in(&error)), 2);
}

#[test]
fn an_awaited_error_that_two_flushes_saw_is_counted_once_when_it_is_given_up() {
    let mut kept = KeptErrors::default();
    let (first, _first_answer) = flush(1, &mut kept);
    let (second, _second_answer) = flush(1, &mut kept);
    let (slot, ticket) = Slot::pair();
    let mut waiting = slot.settled();
    assert!((&mut waiting).now_or_never().is_none());
    let mut waiters = [first, second];
    kept.failed(1, ticket.settle(failure()).expect("failed"), &mut waiters);
    waiters.into_iter().for_each(|waiter| waiter.answer(Ok(()), &mut kept));
    drop(waiting);
    assert_eq!(kept.report().err().map_or(0, |error| writes_in(&error)), 1);
}

#[test]
fn errors_beyond_the_bound_are_counted_and_a_flush_tells_of_them() {
    let mut kept = KeptErrors::default();
    for number in 0..KEPT_ERRORS_MAX as u64 + 3 {
        kept.failed(number, failed_slot(), &mut []);
    }
    let (waiter, answer) = flush(u64::MAX, &mut kept);
    waiter.answer(Ok(()), &mut kept);
    assert_eq!(answered(answer), KEPT_ERRORS_MAX + 3);
    assert!(kept.report().is_ok(), "told once");
}

/// Found by attack: a flush that was given up before it was answered took their number with it.
#[test]
fn errors_beyond_the_bound_are_counted_also_after_a_flush_that_was_given_up() {
    let mut kept = KeptErrors::default();
    for number in 0..KEPT_ERRORS_MAX as u64 + 3 {
        kept.failed(number, failed_slot(), &mut []);
    }
    let (waiter, answer) = flush(u64::MAX, &mut kept);
    drop(answer);
    kept.pass_on(waiter, &mut []);
    assert_eq!(kept.report().err().map_or(0, |error| writes_in(&error)), KEPT_ERRORS_MAX + 3);
}

fn commit(seq: u64, bytes: usize) -> Commit {
    let batch = Batch::new().put(ROWS, key(1), vec![0; bytes]);
    Commit { seq, time_ms: 0, writer: [0; 16], operations: batch.operations().into() }
}

fn seqs(recent: &Recent, after: u64) -> Vec<u64> {
    recent.following(after).iter().map(|commit| commit.seq).collect()
}

#[test]
fn recent_commits_are_told_up_to_the_first_gap() {
    let mut recent = Recent::default();
    [3, 4, 7].into_iter().for_each(|seq| recent.push(commit(seq, 1)));
    assert_eq!(seqs(&recent, 2), [3, 4]);
    assert_eq!(seqs(&recent, 3), [4]);
    assert_eq!(seqs(&recent, 6), [7]);
    for gap in [0, 1, 4, 5, 7] {
        assert!(seqs(&recent, gap).is_empty(), "after {gap}");
    }
    assert_eq!([0, 4, 7].map(|after| recent.first_after(after)), [Some(3), Some(7), None]);
    recent.clear();
    assert_eq!(recent.first_after(0), None);
}

#[test]
fn recent_commits_are_bounded_in_number_and_bytes_and_the_newest_stays() {
    let mut recent = Recent::default();
    (1..=WATCH_COMMITS_MAX as u64 + 5).for_each(|seq| recent.push(commit(seq, 0)));
    assert_eq!(recent.first_after(0), Some(6));
    recent.push(commit(90_000, WATCH_BYTES_MAX + 1));
    assert_eq!(recent.first_after(0), Some(90_000));
    assert_eq!(seqs(&recent, 89_999), [90_000], "whatever it weighs");
    (90_001..90_004).for_each(|seq| recent.push(commit(seq, COMMITS_PAGE_BYTES_MAX / 2)));
    assert_eq!(seqs(&recent, 90_000), [90_001], "a page is bounded");
    assert_eq!(put(1).len(), 1);
}
