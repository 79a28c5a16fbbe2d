//! Facts about restarts: what a protocol has written is what it finds.

use persistency::sds::{
    ChannelSnapshot, FaultyPersistence, NoOpPersistence, Operation, Persistence, SnapshotPersistence,
};

use super::node::{CHANNEL, Node, Place, message};
use crate::common::TestRoot;

facts! {
    everywhere:
        the_outgoing_buffer_survives_in_order,
        the_lamport_time_survives_and_stays_monotonic,
        delivered_messages_survive_and_rebuild_the_bloom_filter,
        an_acknowledgement_removes_from_the_outgoing_buffer_for_good,
        removing_a_channel_is_one_call_and_leaves_nothing,
        a_protocol_works_without_persistence,
        several_restarts_accumulate,
        the_incoming_buffer_survives_with_what_it_misses,
        a_removed_channel_that_is_created_again_is_new,
        repairs_survive_with_their_absolute_times,
        the_order_of_eviction_survives,
        a_cascade_goes_on_after_a_restart,
        a_channel_that_is_let_go_of_stays_stored,
        a_smaller_history_evicts_the_oldest_when_it_is_opened;
}

async fn the_outgoing_buffer_survives_in_order(root: &TestRoot) {
    let mut place = Place::new(root).await;
    let mut node = place.node(10).await;
    for (id, now) in [("m2", 5), ("m1", 6), ("m3", 7)] {
        node.send(id, now).await;
    }
    node.resend(1_000).await;
    let before = node.channel.meta().outgoing_buffer.clone();
    let node = place.node(10).await;
    assert_eq!(node.channel.meta().outgoing_buffer, before);
    let sent = |at: usize| {
        let waiting = &before[at];
        (&*waiting.message.message_id, waiting.send_time_ms, waiting.resend_attempts)
    };
    assert_eq!((sent(0), sent(1), sent(2)), (("m2", 1_000, 1), ("m1", 1_000, 1), ("m3", 1_000, 1)));
}

async fn the_lamport_time_survives_and_stays_monotonic(root: &TestRoot) {
    let mut place = Place::new(root).await;
    let mut node = place.node(10).await;
    node.receive(message("m1", 41, &[])).await;
    node.send("m2", 0).await;
    let mut node = place.node(10).await;
    assert_eq!(node.channel.meta().lamport, 42);
    node.send("m3", 0).await;
    assert_eq!(node.channel.message("m3").unwrap().lamport_timestamp, 43);
}

async fn delivered_messages_survive_and_rebuild_the_bloom_filter(root: &TestRoot) {
    let mut place = Place::new(root).await;
    let mut node = place.node(10).await;
    node.receive(message("m1", 1, &[])).await;
    node.receive(message("m2", 2, &["m1"])).await;
    let mut node = place.node(10).await;
    assert_eq!(node.ids(), ["m1", "m2"]);
    assert_eq!(Vec::from_iter(&node.bloom), ["m1", "m2"]);
    assert_eq!(node.channel.message("m2"), Some(&message("m2", 2, &["m1"])));
    node.receive(message("m1", 1, &[])).await;
    assert!(node.delivered.is_empty(), "it was delivered in an earlier life");
}

async fn an_acknowledgement_removes_from_the_outgoing_buffer_for_good(root: &TestRoot) {
    let mut place = Place::new(root).await;
    let mut node = place.node(10).await;
    node.send("m1", 0).await;
    node.send("m2", 0).await;
    node.acknowledge("m1").await;
    let node = place.node(10).await;
    let waiting = node.channel.meta().outgoing_buffer.iter();
    assert_eq!(Vec::from_iter(waiting.map(|waiting| &*waiting.message.message_id)), ["m2"]);
    assert_eq!(node.ids(), ["m1", "m2"]);
}

async fn removing_a_channel_is_one_call_and_leaves_nothing(root: &TestRoot) {
    let mut place = Place::new(root).await;
    place.restart().await;
    let faulty = FaultyPersistence::over(place.store.clone());
    let mut node = Node::start(faulty.clone(), 10).await.unwrap();
    node.send("m1", 0).await;
    node.receive(message("m3", 3, &["m2"])).await;
    node.ask_for_repair("m2", 100).await;
    node.is_asked_for_repair("m1", 100).await;
    faulty.set_retrieval_hint(CHANNEL, "m1", b"hint").await.unwrap();
    faulty.save_lamport("other", 7).await.unwrap();
    node.channel.remove().await.unwrap();
    assert_eq!(faulty.calls(Operation::DropChannel), 1);
    assert!(node.ids().is_empty() && node.channel.is_saved());
    place.restart().await;
    assert_eq!(place.store.load_all_for_channel(CHANNEL).await.unwrap(), ChannelSnapshot::default());
    assert_eq!(place.store.channels().await.unwrap(), ["other"]);
    let rows = place.store.job().count(persistency::sds::CATEGORY, ..).await.unwrap();
    assert_eq!(rows, 2, "head and mark of the other one");
}

async fn a_protocol_works_without_persistence(_: &TestRoot) {
    let mut node = Node::start(NoOpPersistence, 2).await.unwrap();
    node.send("m1", 0).await;
    node.receive(message("m3", 3, &["m2"])).await;
    node.receive(message("m2", 2, &[])).await;
    assert_eq!(node.ids(), ["m2", "m3"]);
    node.channel.remove().await.unwrap();
    assert!(node.unsaved.is_empty());
    assert_eq!(Node::start(NoOpPersistence, 2).await.unwrap().ids(), [""; 0]);
}

async fn several_restarts_accumulate(root: &TestRoot) {
    let mut place = Place::new(root).await;
    for id in ["m1", "m2", "m3"] {
        place.node(10).await.send(id, 0).await;
    }
    let node = place.node(10).await;
    assert_eq!(node.ids(), ["m1", "m2", "m3"]);
    assert_eq!((node.channel.meta().lamport, node.channel.meta().outgoing_buffer.len()), (3, 3));
}

async fn the_incoming_buffer_survives_with_what_it_misses(root: &TestRoot) {
    let mut place = Place::new(root).await;
    let mut node = place.node(10).await;
    node.receive(message("m3", 3, &["m1", "m2"])).await;
    let node = place.node(10).await;
    let waiting = &node.channel.meta().incoming_buffer["m3"];
    assert_eq!(Vec::from_iter(&waiting.missing_deps), ["m1", "m2"]);
    assert_eq!(waiting.message, message("m3", 3, &["m1", "m2"]));
}

async fn a_removed_channel_that_is_created_again_is_new(root: &TestRoot) {
    let mut place = Place::new(root).await;
    let mut node = place.node(10).await;
    node.receive(message("m1", 50, &["m0"])).await;
    node.channel.remove().await.unwrap();
    node.bloom.clear();
    node.send("m2", 0).await;
    assert_eq!(node.channel.meta().lamport, 1);
    let node = place.node(10).await;
    assert_eq!((node.channel.meta().lamport, node.ids()), (1, vec!["m2"]));
    assert!(node.channel.meta().incoming_buffer.is_empty());
}

async fn repairs_survive_with_their_absolute_times(root: &TestRoot) {
    let (soon, late) = (1_700_000_000_123, u64::MAX);
    let mut place = Place::new(root).await;
    let mut node = place.node(10).await;
    node.send("m1", 0).await;
    node.ask_for_repair("m2", soon).await;
    node.ask_for_repair("m3", late).await;
    node.is_asked_for_repair("m1", soon).await;
    let mut node = place.node(10).await;
    let meta = node.channel.meta();
    assert_eq!(meta.outgoing_repair["m2"].min_time_request_ms, soon);
    assert_eq!(meta.outgoing_repair["m3"].min_time_request_ms, late);
    assert_eq!(meta.incoming_repair["m1"].min_time_response_ms, soon);
    assert_eq!(meta.incoming_repair["m1"].cached_message, b"content of m1");
    node.sweep_repairs(soon).await;
    let node = place.node(10).await;
    assert_eq!(Vec::from_iter(node.channel.meta().outgoing_repair.keys()), ["m3"]);
    assert!(node.channel.meta().incoming_repair.is_empty());
}

async fn the_order_of_eviction_survives(root: &TestRoot) {
    let mut place = Place::new(root).await;
    let mut node = place.node(3).await;
    // Not in the order of their ids, nor of their times.
    for (id, lamport) in [("z1", 9), ("y2", 8), ("x3", 7), ("w4", 6), ("v5", 5)] {
        node.receive(message(id, lamport, &[])).await;
    }
    let mut node = place.node(3).await;
    assert_eq!(node.ids(), ["x3", "w4", "v5"]);
    node.receive(message("u6", 4, &[])).await;
    assert_eq!(node.ids(), ["w4", "v5", "u6"]);
    assert_eq!(place.node(3).await.ids(), ["w4", "v5", "u6"]);
    let by_time = place.store.load_channel(CHANNEL).await.unwrap().message_history;
    assert_eq!(Vec::from_iter(by_time.iter().map(|message| &*message.message_id)), ["u6", "v5", "w4"]);
}

async fn a_cascade_goes_on_after_a_restart(root: &TestRoot) {
    let mut place = Place::new(root).await;
    let mut node = place.node(10).await;
    node.receive(message("c", 3, &["b"])).await;
    node.receive(message("b", 2, &["a"])).await;
    let mut node = place.node(10).await;
    node.receive(message("a", 1, &[])).await;
    assert_eq!(node.delivered, ["a", "b", "c"]);
    let node = place.node(10).await;
    assert_eq!(node.ids(), ["a", "b", "c"]);
    assert!(node.channel.meta().incoming_buffer.is_empty());
}

async fn a_channel_that_is_let_go_of_stays_stored(root: &TestRoot) {
    let mut place = Place::new(root).await;
    let mut node = place.node(10).await;
    node.send("m1", 0).await;
    drop(node);
    assert_eq!(place.node(10).await.ids(), ["m1"]);
}

async fn a_smaller_history_evicts_the_oldest_when_it_is_opened(root: &TestRoot) {
    let mut place = Place::new(root).await;
    let mut node = place.node(10).await;
    for id in ["m1", "m2", "m3"] {
        node.send(id, 0).await;
    }
    let mut node = place.node(2).await;
    assert_eq!(node.ids(), ["m2", "m3"]);
    node.end().await;
    assert_eq!(place.node(10).await.ids(), ["m2", "m3"]);
}
