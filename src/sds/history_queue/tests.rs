use super::*;
use crate::testing::{async_test, test};

fn message(id: &str) -> Option<SdsMessage> {
    Some(SdsMessage { message_id: id.to_owned(), ..SdsMessage::default() })
}

/// What a flush that begins now would write, as ids; it fails.
async fn waiting(queue: &HistoryQueue) -> (Vec<String>, Vec<String>) {
    ids(&queue.begin().await.update(message))
}

fn ids(update: &HistoryUpdate) -> (Vec<String>, Vec<String>) {
    (update.append.iter().map(|message| message.message_id.clone()).collect(), update.evict.clone())
}

fn lists(append: &[&str], evict: &[&str]) -> (Vec<String>, Vec<String>) {
    let owned = |ids: &[&str]| ids.iter().map(|id| (*id).to_owned()).collect();
    (owned(append), owned(evict))
}

#[async_test]
async fn the_latest_mark_of_an_id_wins() {
    let queue = HistoryQueue::new(10);
    queue.append("a");
    queue.evict("b");
    queue.evict("a");
    queue.append("b");
    queue.append("c");
    assert_eq!(waiting(&queue).await, lists(&["b", "c"], &["a"]));
    queue.append("b");
    assert_eq!(waiting(&queue).await, lists(&["c", "b"], &["a"]), "appended again it comes last");
}

#[async_test]
async fn a_failed_flush_gives_its_marks_back_before_those_made_meanwhile() {
    let queue = HistoryQueue::new(10);
    queue.append("a");
    queue.append("b");
    queue.evict("x");
    queue.evict("y");
    let flush = queue.begin().await;
    assert!(queue.is_empty());
    queue.append("c");
    queue.evict("a");
    queue.append("x");
    drop(flush);
    assert_eq!(waiting(&queue).await, lists(&["b", "c", "x"], &["a", "y"]));
}

#[async_test]
async fn what_is_marked_during_a_flush_is_not_forgotten_when_it_succeeds() {
    let queue = HistoryQueue::new(10);
    queue.append("a");
    queue.append("b");
    let flush = queue.begin().await;
    queue.append("b");
    queue.evict("a");
    flush.succeeded();
    assert_eq!(waiting(&queue).await, lists(&["b"], &["a"]));
}

#[async_test]
async fn a_flush_begins_when_the_one_before_has_ended() {
    let queue = HistoryQueue::new(10);
    queue.append("a");
    let first = queue.begin().await;
    let mut second = Box::pin(queue.begin());
    assert!(futures_util::poll!(second.as_mut()).is_pending());
    drop(first);
    assert_eq!(ids(&second.await.update(message)), lists(&["a"], &[]));
}

#[async_test]
async fn a_message_that_is_not_in_the_history_any_more_is_left_out() {
    let queue = HistoryQueue::new(10);
    queue.append("a");
    queue.append("gone");
    let flush = queue.begin().await;
    let update = flush.update(|id| message(id).filter(|_| id != "gone"));
    assert_eq!(ids(&update), lists(&["a"], &[]));
}

#[async_test]
async fn beyond_its_bound_the_queue_says_that_it_lost_track_until_a_flush_succeeds() {
    let queue = HistoryQueue::new(2);
    queue.append("a");
    queue.append("b");
    queue.append("a");
    assert_eq!(queue.len(), 2);
    queue.append("c");
    assert_eq!((queue.len(), queue.is_empty()), (0, false));
    let flush = queue.begin().await;
    assert!(flush.lost_track() && !flush.is_empty());
    queue.append("d");
    assert_eq!(queue.len(), 1, "made meanwhile, and not in what is written as a whole");
    drop(flush);
    assert_eq!(queue.len(), 0);
    let flush = queue.begin().await;
    assert!(flush.lost_track());
    queue.append("e");
    flush.succeeded();
    assert_eq!(waiting(&queue).await, lists(&["e"], &[]));
}

#[async_test]
async fn marks_that_come_back_count_against_the_bound() {
    let queue = HistoryQueue::new(2);
    queue.append("a");
    queue.append("b");
    let flush = queue.begin().await;
    queue.append("c");
    drop(flush);
    assert!(queue.begin().await.lost_track());
}

#[test]
fn a_queue_is_shared_by_its_clones() {
    let queue = HistoryQueue::new(2);
    queue.clone().append("a");
    assert_eq!(queue.len(), 1);
}
