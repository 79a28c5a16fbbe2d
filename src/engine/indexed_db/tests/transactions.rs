//! The driver: what a transaction answers when it is dropped, aborted, or fails.

use std::cell::Cell;
use std::rc::Rc;
use std::time::Duration;

use futures_timer::Delay;
use futures_util::future::{Either, join, select};
use futures_util::{FutureExt, pin_mut};

use super::*;
use crate::engine::{Fault, PageRequest};
use crate::error::Outcome;
use crate::range::Span;
use crate::testing::async_test;

#[async_test]
async fn dropping_an_apply_under_way_applies_nothing_and_throws_nothing() {
    let uncaught = Uncaught::listen();
    let site = fresh_site();
    let engine = open(&site).await;
    engine.apply(put("a", "1")).await.expect("applies");
    for wait in [0, 0, 1, 2] {
        let apply = engine.apply(put("a", "2"));
        pin_mut!(apply);
        assert!(apply.as_mut().now_or_never().is_none(), "takes a while");
        if wait > 0 {
            // Somewhere in the middle, and perhaps already at its end.
            let ended = select(apply, Delay::new(Duration::from_millis(wait))).await;
            if let Either::Left((ended, _)) = ended {
                ended.expect("applies");
                engine.apply(put("a", "1")).await.expect("applies");
            }
        }
    }
    assert!(get(&engine, "a").await.expect("gets").is_some());
    let _other = open(&site).await;
    let reading = get(&engine, "a");
    assert!(reading.now_or_never().is_none(), "is dropped under way");
    engine.apply(put("a", "3")).await.expect("nobody stands in the way");
    assert_eq!(get(&engine, "a").await.expect("gets"), Some(b"3".to_vec()));
    uncaught.none_after_a_while().await;
    end(&site, &engine).await;
}

#[async_test]
async fn a_dropped_apply_that_has_only_begun_is_not_applied() {
    let site = fresh_site();
    let (engine, _other) = (open(&site).await, open(&site).await);
    assert!(engine.apply(put("a", "1")).now_or_never().is_none());
    assert_eq!(get(&engine, "a").await.expect("gets"), None);
    end(&site, &engine).await;
}

#[async_test]
async fn an_aborted_apply_says_that_it_was_not_applied() {
    let uncaught = Uncaught::listen();
    let site = fresh_site();
    let (engine, _other) = (open(&site).await, open(&site).await);
    let apply = engine.apply(put("a", "1"));
    pin_mut!(apply);
    assert!(apply.as_mut().now_or_never().is_none(), "takes a while");
    engine.abort();
    let error = apply.await.expect_err("was aborted");
    assert_eq!((error.fault, error.outcome), (Fault::Aborted, Outcome::NotApplied));
    assert_eq!(get(&engine, "a").await.expect("gets"), None);
    engine.abort();
    engine.apply(put("a", "2")).await.expect("what comes later is not meant");
    assert_eq!(get(&engine, "a").await.expect("gets"), Some(b"2".to_vec()));
    uncaught.none_after_a_while().await;
    end(&site, &engine).await;
}

#[async_test]
async fn an_apply_that_waits_for_its_turn_can_be_aborted() {
    let site = fresh_site();
    let (engine, _other) = (open(&site).await, open(&site).await);
    let (first, second) = (engine.apply(put("a", "1")), engine.apply(put("b", "2")));
    pin_mut!(first, second);
    assert!(first.as_mut().now_or_never().is_none() && second.as_mut().now_or_never().is_none());
    engine.abort();
    let (first, second) = join(first, second).await;
    for ended in [first, second] {
        assert_eq!(ended.expect_err("was aborted").fault, Fault::Aborted);
    }
    assert_eq!(get(&engine, "a").await.expect("gets"), None);
    assert_eq!(get(&engine, "b").await.expect("gets"), None);
    end(&site, &engine).await;
}

#[async_test]
async fn an_abort_after_the_decision_tells_the_truth() {
    let site = fresh_site();
    let engine = open(&site).await;
    for round in 0..10u8 {
        let decided = Rc::new(Cell::new(false));
        let (inside, writes) = (Rc::clone(&decided), Batch::new().put("c", key("a"), [round]));
        let decide = move |_: Vec<Option<Vec<u8>>>| {
            inside.set(true);
            Some(vec![Write::Rows(Arc::from(writes.operations()))])
        };
        let apply = engine.apply(Change { reads: vec![], decide: Box::new(decide), durable: true });
        pin_mut!(apply);
        assert!(apply.as_mut().now_or_never().is_none(), "takes a while");
        while !decided.get() {
            Delay::new(Duration::ZERO).await;
        }
        engine.abort();
        let applied = apply.await;
        let found = get(&engine, "a").await.expect("gets");
        assert_eq!(applied.is_ok(), found == Some(vec![round]), "{applied:?} but {found:?}");
    }
    end(&site, &engine).await;
}

#[async_test]
async fn a_failing_request_aborts_its_transaction_with_its_own_error() {
    let uncaught = Uncaught::listen();
    let site = fresh_site();
    let engine = open(&site).await;
    // A function cannot be cloned into a database.
    let source = "(put) => function patched(value, key) {
        patched.asked = (patched.asked ?? 0) + 1;
        return put.call(this, patched.asked < 2 ? value : put, key);
    }";
    let patch = Patch::new("IDBObjectStore", "put", source);
    let error = engine.apply(put("k", vec![1; 3 * CHUNK_BYTES])).await.expect_err("cannot be stored");
    assert_eq!((error.fault, error.outcome), (Fault::Other, Outcome::NotApplied));
    assert!(error.message.contains("DataCloneError"), "{error:?}");
    assert_eq!(patch.kept("asked").as_f64(), Some(2.0), "nothing is asked for after it");
    drop(patch);
    assert_eq!(get(&engine, "k").await.expect("gets"), None, "nothing of it is there");
    uncaught.none_after_a_while().await;
    end(&site, &engine).await;
}

#[async_test]
async fn a_request_that_fails_later_aborts_its_transaction_with_its_own_error() {
    let uncaught = Uncaught::listen();
    let site = fresh_site();
    let engine = open(&site).await;
    engine.apply(put("k", "v")).await.expect("applies");
    let source =
        "(add) => function (value, key) { add.call(this, value, key); return add.call(this, value, key); }";
    let patch = Patch::new("IDBObjectStore", "add", source);
    let both = Batch::new().put("c", key("j"), "v").put("c", key("k"), vec![1; 2 * CHUNK_BYTES]);
    let error = engine.apply(change(both)).await.expect_err("is there already");
    // Somebody else seems to write: the worker is to connect again, and to look what is there.
    assert_eq!((error.fault, error.outcome), (Fault::Lost, Outcome::NotApplied));
    assert!(error.message.contains("ConstraintError"), "{error:?}");
    drop(patch);
    assert_eq!(get(&engine, "j").await.expect("gets"), None, "a browser that is told to commit keeps it");
    assert_eq!(get(&engine, "k").await.expect("gets"), Some(b"v".to_vec()));
    assert_eq!(engine.check().await.expect("checks"), Vec::<String>::new());
    uncaught.none_after_a_while().await;
    end(&site, &engine).await;
}

#[async_test]
async fn an_entry_whose_number_is_taken_fails_though_its_transaction_was_told_to_commit() {
    let uncaught = Uncaught::listen();
    let site = fresh_site();
    let engine = open(&site).await;
    engine.apply(put("k", "v")).await.expect("applies");
    let source = "(commit) => function patched() {
        patched.told = (patched.told ?? 0) + 1;
        return commit.call(this);
    }";
    let told = Patch::new("IDBTransaction", "commit", source);
    // As in a browser that completes it nevertheless, and lets nobody abort it any more.
    let add = "(add) => function (value, key) {
        const request = add.call(this, value, key - 1);
        request.addEventListener('error', (event) => event.preventDefault());
        return request;
    }";
    let abort = "() => () => { throw new DOMException('is committing', 'InvalidStateError'); }";
    let patches = (Patch::new("IDBObjectStore", "add", add), Patch::new("IDBTransaction", "abort", abort));
    let error = engine.apply(put("k", "w")).await.expect_err("is there already");
    assert_eq!((error.fault, error.outcome), (Fault::Lost, Outcome::NotApplied));
    assert_eq!(told.kept("told").as_f64(), Some(1.0));
    drop((told, patches));
    assert_eq!(get(&engine, "k").await.expect("gets"), Some(b"v".to_vec()));
    engine.apply(put("k", "x")).await.expect("goes on");
    assert_eq!(get(&engine, "k").await.expect("gets"), Some(b"x".to_vec()));
    assert_eq!(engine.check().await.expect("checks"), Vec::<String>::new());
    uncaught.none_after_a_while().await;
    end(&site, &engine).await;
}

#[async_test]
async fn alone_an_apply_that_is_aborted_too_late_says_that_it_was_applied() {
    let site = fresh_site();
    let engine = open(&site).await;
    let apply = engine.apply(put("a", "1"));
    pin_mut!(apply);
    assert!(apply.as_mut().now_or_never().is_none(), "takes a while");
    engine.abort();
    apply.await.expect("had been told to commit");
    assert_eq!(get(&engine, "a").await.expect("gets"), Some(b"1".to_vec()));
    engine.apply(put("a", "2")).await.expect("goes on");
    assert_eq!(get(&engine, "a").await.expect("gets"), Some(b"2".to_vec()));
    end(&site, &engine).await;
}

#[async_test]
async fn a_request_that_never_answers_is_an_error_and_not_a_hang() {
    let site = fresh_site();
    let (engine, _other) = (open(&site).await, open(&site).await);
    let never = "() => () => ({})";
    let patches = ["getAll", "getAllKeys"].map(|name| Patch::new("IDBObjectStore", name, never));
    let read = get(&engine, "a").await.map(drop);
    let applied = engine.apply(put("a", "1")).await;
    drop(patches);
    for ended in [read, applied] {
        let error = ended.expect_err("its transaction has ended");
        assert_eq!((error.fault, error.outcome), (Fault::Other, Outcome::Unknown));
    }
    assert_eq!(get(&engine, "a").await.expect("gets"), None);
    end(&site, &engine).await;
}

#[async_test]
async fn what_reading_throws_is_its_error_and_the_next_read_works() {
    let uncaught = Uncaught::listen();
    let site = fresh_site();
    let (engine, _other) = (open(&site).await, open(&site).await);
    engine.apply(put("a", "1")).await.expect("applies");
    let cases = [
        ("throw new DOMException('gone', 'NotReadableError')", "NotReadableError: gone", Fault::Corrupt),
        ("throw new TypeError('wrong')", "TypeError: wrong", Fault::Other),
        ("throw 'text'", "Error: text", Fault::Other),
        ("throw undefined", "Error: undefined", Fault::Other),
    ];
    for (source, message, fault) in cases {
        let patch = Patch::new("IDBObjectStore", "getAll", &format!("() => () => {{ {source}; }}"));
        let error = get(&engine, "a").await.expect_err("throws");
        assert_eq!((&*error.message, error.fault, error.outcome), (message, fault, Outcome::NotApplied));
        assert!(error.source.is_some(), "{message}");
        drop(patch);
        assert_eq!(get(&engine, "a").await.expect("gets"), Some(b"1".to_vec()));
    }
    uncaught.none_after_a_while().await;
    end(&site, &engine).await;
}

#[async_test]
async fn a_write_waits_for_its_turn_whatever_becomes_of_those_before_it() {
    let site = fresh_site();
    let (engine, connection) = open_to_lose(&site).await;
    let _other = open(&site).await;
    let (first, second, third) =
        (engine.apply(put("a", "1")), engine.apply(put("b", "2")), engine.apply(put("c", "3")));
    pin_mut!(second, third);
    {
        pin_mut!(first);
        assert!(first.as_mut().now_or_never().is_none() && second.as_mut().now_or_never().is_none());
        assert!(third.as_mut().now_or_never().is_none());
    }
    // The first has been dropped under way, and the second goes on in its place.
    second.await.expect("applies");
    lose(&connection);
    let error = third.await.expect_err("is lost");
    assert_eq!(error.fault, Fault::Lost);
    engine.reconnect().await.expect("is still there");
    engine.apply(put("d", "4")).await.expect("nobody stands in the way");
    assert_eq!(get(&engine, "a").await.expect("gets"), None);
    assert_eq!(get(&engine, "b").await.expect("gets"), Some(b"2".to_vec()));
    end(&site, &engine).await;
}

#[async_test]
async fn gets_do_not_wait_behind_a_long_read_with_a_write_behind_it() {
    let site = fresh_site();
    let (engine, other) = (open(&site).await, open(&site).await);
    let mut batch = Batch::new();
    for number in 0..4000u16 {
        batch = batch.put("c", key(number.to_be_bytes()), vec![1; 500]);
    }
    // By another owner, so that nothing of it is remembered.
    other.apply(change(batch)).await.expect("applies");
    other.compact().await.expect("folds");
    let order = std::cell::RefCell::new(Vec::new());
    let request = PageRequest {
        space: Space::Rows(Arc::from("c")),
        span: Span::all(),
        reverse: false,
        rows_max: 4000,
        bytes_max: usize::MAX,
        keys_only: false,
    };
    let page = engine.page(request.clone(), Verify::Never).map(|page| {
        assert_eq!(page.expect("reads").value.rows.len(), 4000);
        order.borrow_mut().push("page");
    });
    let write = engine.apply(put("new", "1")).map(|ended| {
        ended.expect("applies");
        order.borrow_mut().push("write");
    });
    let later = engine.page(request, Verify::Never).map(|page| {
        assert!(page.expect("reads").value.more, "sees the write");
        order.borrow_mut().push("later page");
    });
    let gets = async {
        for _ in 0..3 {
            assert_eq!(get(&engine, "new").await.expect("gets"), None, "the write has not begun");
        }
        order.borrow_mut().push("gets");
    };
    futures_util::join!(page, write, later, gets);
    assert_eq!(*order.borrow(), ["gets", "page", "write", "later page"]);
    end(&site, &engine).await;
}

#[async_test]
async fn durability_is_what_was_asked_for() {
    let site = fresh_site();
    let engine = open(&site).await;
    let source = "(transaction) => function patched(...args) {
        const begun = transaction.apply(this, args);
        patched.durability = begun.durability;
        return begun;
    }";
    let patch = Patch::new("IDBDatabase", "transaction", source);
    for (durable, expected) in [(false, "relaxed"), (true, "strict")] {
        engine.apply(Change { durable, ..put("a", "1") }).await.expect("applies");
        assert_eq!(patch.kept("durability").as_string().as_deref(), Some(expected));
    }
    drop(patch);
    end(&site, &engine).await;
}
