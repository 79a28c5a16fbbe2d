//! Facts about the operations themselves: each of them, and that both ways of writing speak of one state.

use std::collections::BTreeMap;

use persistency::ErrorKind;
use persistency::sds::{
    Channel, ChannelData, ChannelMeta, ChannelSnapshot, FaultyPersistence, HistoryQueue, HistoryUpdate,
    IncomingMessage, IncomingRepairEntry, MemoryPersistence, NoOpPersistence, OutgoingRepairEntry,
    Persistence, Resolve, SdsMessage, SnapshotPersistence, UnacknowledgedMessage,
};

use super::node::{CHANNEL, Place, entry, message};
use crate::common::{TestRoot, kind};

facts! {
    everywhere:
        every_operation_is_seen_by_both_loads,
        removing_what_is_not_there_is_fine,
        the_history_is_oldest_first_by_insertion_and_by_time_in_the_other_load,
        an_appended_message_that_is_there_already_moves_to_the_end,
        an_outgoing_message_that_is_saved_again_keeps_its_place,
        an_id_that_is_appended_and_evicted_at_once_is_gone,
        a_whole_save_replaces_what_small_operations_wrote_and_the_reverse,
        a_whole_save_keeps_any_order_of_the_outgoing_buffer,
        a_whole_save_leaves_history_and_hints_alone,
        hints_go_with_their_message_and_with_their_channel,
        channels_do_not_touch_each_other,
        channels_are_listed,
        a_meta_that_no_rows_can_hold_is_refused,
        ids_of_any_characters_are_kept,
        saves_resolve_as_they_are_told_to,
        handles_and_futures_can_be_sent_to_other_threads;
    in_memory:
        a_channel_of_several_pages_is_loaded;
}

fn waiting(id: &str, attempts: u32) -> UnacknowledgedMessage {
    UnacknowledgedMessage { message: message(id, 1, &[]), send_time_ms: 1_000, resend_attempts: attempts }
}

fn ids(messages: &[SdsMessage]) -> Vec<&str> {
    messages.iter().map(|message| &*message.message_id).collect()
}

fn outgoing(snapshot: &ChannelSnapshot) -> Vec<(&str, u32)> {
    let each = snapshot.outgoing_buffer.iter();
    each.map(|waiting| (&*waiting.message.message_id, waiting.resend_attempts)).collect()
}

async fn every_operation_is_seen_by_both_loads(root: &TestRoot) {
    let place = Place::new(root).await;
    let stores: [&dyn SnapshotPersistence; 2] = [&place.store, &MemoryPersistence::new()];
    for store in stores {
        assert_eq!(store.load_all_for_channel(CHANNEL).await.unwrap(), ChannelSnapshot::default());
        let incoming =
            IncomingMessage { message: message("i", 9, &["x"]), missing_deps: ["x".to_owned()].into() };
        let out = OutgoingRepairEntry { history_entry: entry("o"), min_time_request_ms: 5 };
        let back = IncomingRepairEntry {
            history_entry: entry("b"),
            cached_message: vec![0, 255],
            min_time_response_ms: 6,
        };
        store.save_lamport(CHANNEL, i64::MIN).await.unwrap();
        store.append_log_entry(CHANNEL, &message("m", -3, &["k"])).await.unwrap();
        store.set_retrieval_hint(CHANNEL, "m", &[7]).await.unwrap();
        store.save_outgoing(CHANNEL, &waiting("w", 3)).await.unwrap();
        store.save_incoming(CHANNEL, &incoming).await.unwrap();
        store.save_outgoing_repair(CHANNEL, "o", &out).await.unwrap();
        store.save_incoming_repair(CHANNEL, "b", &back).await.unwrap();
        let snapshot = ChannelSnapshot {
            lamport: i64::MIN,
            message_history: vec![message("m", -3, &["k"])],
            outgoing_buffer: vec![waiting("w", 3)],
            incoming_buffer: BTreeMap::from([("i".to_owned(), incoming)]),
            outgoing_repair: BTreeMap::from([("o".to_owned(), out)]),
            incoming_repair: BTreeMap::from([("b".to_owned(), back)]),
            retrieval_hints: BTreeMap::from([("m".to_owned(), vec![7])]),
        };
        assert_eq!(store.load_all_for_channel(CHANNEL).await.unwrap(), snapshot);
        assert_eq!(store.load_channel(CHANNEL).await.unwrap(), ChannelData::from(snapshot));

        store.remove_log_entry(CHANNEL, "m").await.unwrap();
        store.remove_outgoing(CHANNEL, "w").await.unwrap();
        store.remove_incoming(CHANNEL, "i").await.unwrap();
        store.remove_outgoing_repair(CHANNEL, "o").await.unwrap();
        store.remove_incoming_repair(CHANNEL, "b").await.unwrap();
        let left = ChannelSnapshot { lamport: i64::MIN, ..ChannelSnapshot::default() };
        assert_eq!(store.load_all_for_channel(CHANNEL).await.unwrap(), left);
        store.drop_channel(CHANNEL).await.unwrap();
        assert_eq!(store.load_channel(CHANNEL).await.unwrap(), ChannelData::default());
    }
}

async fn removing_what_is_not_there_is_fine(root: &TestRoot) {
    let place = Place::new(root).await;
    let stores: [&dyn SnapshotPersistence; 3] = [&place.store, &MemoryPersistence::new(), &NoOpPersistence];
    for store in stores {
        for _ in 0..2 {
            store.remove_log_entry(CHANNEL, "m").await.unwrap();
            store.remove_outgoing(CHANNEL, "m").await.unwrap();
            store.remove_incoming(CHANNEL, "m").await.unwrap();
            store.remove_outgoing_repair(CHANNEL, "m").await.unwrap();
            store.remove_incoming_repair(CHANNEL, "m").await.unwrap();
            store.drop_channel(CHANNEL).await.unwrap();
        }
    }
}

async fn the_history_is_oldest_first_by_insertion_and_by_time_in_the_other_load(root: &TestRoot) {
    let mut place = Place::new(root).await;
    place.store.append_log_entry(CHANNEL, &message("c", 5, &[])).await.unwrap();
    let update = HistoryUpdate { append: vec![message("b", 7, &[]), message("d", 5, &[])], evict: vec![] };
    place.store.update_history(CHANNEL, &update).await.unwrap();
    place.restart().await;
    place.store.append_log_entry(CHANNEL, &message("a", 6, &[])).await.unwrap();
    place.restart().await;
    let snapshot = place.store.load_all_for_channel(CHANNEL).await.unwrap();
    assert_eq!(ids(&snapshot.message_history), ["c", "b", "d", "a"]);
    let data = place.store.load_channel(CHANNEL).await.unwrap();
    assert_eq!(ids(&data.message_history), ["c", "d", "a", "b"]);
}

async fn an_appended_message_that_is_there_already_moves_to_the_end(root: &TestRoot) {
    let place = Place::new(root).await;
    let stores: [&dyn SnapshotPersistence; 2] = [&place.store, &MemoryPersistence::new()];
    for store in stores {
        for (id, lamport) in [("a", 1), ("b", 2), ("a", 3), ("c", 4), ("b", 5)] {
            store.append_log_entry(CHANNEL, &message(id, lamport, &[])).await.unwrap();
        }
        let history = store.load_all_for_channel(CHANNEL).await.unwrap().message_history;
        assert_eq!(ids(&history), ["a", "c", "b"]);
        assert_eq!(history[2].lamport_timestamp, 5);
    }
}

async fn an_outgoing_message_that_is_saved_again_keeps_its_place(root: &TestRoot) {
    let mut place = Place::new(root).await;
    for id in ["b", "a", "c"] {
        place.store.save_outgoing(CHANNEL, &waiting(id, 0)).await.unwrap();
    }
    place.restart().await;
    place.store.save_outgoing(CHANNEL, &waiting("b", 1)).await.unwrap();
    place.store.save_outgoing(CHANNEL, &waiting("d", 0)).await.unwrap();
    place.store.remove_outgoing(CHANNEL, "a").await.unwrap();
    place.store.save_outgoing(CHANNEL, &waiting("a", 2)).await.unwrap();
    let snapshot = place.store.load_all_for_channel(CHANNEL).await.unwrap();
    assert_eq!(outgoing(&snapshot), [("b", 1), ("c", 0), ("d", 0), ("a", 2)]);
}

async fn an_id_that_is_appended_and_evicted_at_once_is_gone(root: &TestRoot) {
    let place = Place::new(root).await;
    let stores: [&dyn SnapshotPersistence; 2] = [&place.store, &MemoryPersistence::new()];
    for store in stores {
        let update = HistoryUpdate {
            append: vec![message("a", 1, &[]), message("b", 2, &[])],
            evict: vec!["a".to_owned(), "never".to_owned()],
        };
        store.update_history(CHANNEL, &update).await.unwrap();
        assert_eq!(ids(&store.load_channel(CHANNEL).await.unwrap().message_history), ["b"]);
    }
}

async fn a_whole_save_replaces_what_small_operations_wrote_and_the_reverse(root: &TestRoot) {
    let mut place = Place::new(root).await;
    let store = &place.store;
    store.save_lamport(CHANNEL, 3).await.unwrap();
    store.save_outgoing(CHANNEL, &waiting("small", 0)).await.unwrap();
    let incoming = IncomingMessage { message: message("i", 9, &[]), ..IncomingMessage::default() };
    store.save_incoming(CHANNEL, &incoming).await.unwrap();
    let meta = ChannelMeta {
        lamport: 4,
        outgoing_buffer: vec![waiting("y", 0), waiting("x", 0)],
        outgoing_repair: BTreeMap::from([("r".to_owned(), OutgoingRepairEntry::default())]),
        ..ChannelMeta::default()
    };
    store.save_channel_meta(CHANNEL, &meta).await.unwrap();
    assert_eq!(store.load_channel(CHANNEL).await.unwrap().meta, meta);

    store.save_lamport(CHANNEL, 5).await.unwrap();
    store.save_outgoing(CHANNEL, &waiting("y", 1)).await.unwrap();
    store.save_outgoing(CHANNEL, &waiting("z", 0)).await.unwrap();
    store.remove_outgoing_repair(CHANNEL, "r").await.unwrap();
    place.restart().await;
    let snapshot = place.store.load_all_for_channel(CHANNEL).await.unwrap();
    assert_eq!((snapshot.lamport, outgoing(&snapshot)), (5, vec![("y", 1), ("x", 0), ("z", 0)]));
    assert!(snapshot.outgoing_repair.is_empty());
    place.store.save_channel_meta(CHANNEL, &ChannelMeta::default()).await.unwrap();
    assert_eq!(place.store.load_channel(CHANNEL).await.unwrap(), ChannelData::default());
}

async fn a_whole_save_keeps_any_order_of_the_outgoing_buffer(root: &TestRoot) {
    let mut place = Place::new(root).await;
    for order in ["abc", "cab", "bac", "db", "bda", "", "a", "ba", "abcde", "edcba", "ace"] {
        let outgoing_buffer: Vec<_> = order.chars().map(|id| waiting(&id.to_string(), 0)).collect();
        let meta = ChannelMeta { lamport: 1, outgoing_buffer, ..ChannelMeta::default() };
        place.store.save_channel_meta(CHANNEL, &meta).await.unwrap();
        assert_eq!(place.store.load_channel(CHANNEL).await.unwrap().meta, meta, "{order}");
        if order.len() == 2 {
            place.restart().await;
        }
    }
}

async fn a_whole_save_leaves_history_and_hints_alone(root: &TestRoot) {
    let place = Place::new(root).await;
    place.store.append_log_entry(CHANNEL, &message("m", 1, &[])).await.unwrap();
    place.store.set_retrieval_hint(CHANNEL, "m", b"hint").await.unwrap();
    let meta = ChannelMeta { lamport: 1, ..ChannelMeta::default() };
    place.store.save_channel_meta(CHANNEL, &meta).await.unwrap();
    let snapshot = place.store.load_all_for_channel(CHANNEL).await.unwrap();
    assert_eq!((ids(&snapshot.message_history), &*snapshot.retrieval_hints["m"]), (vec!["m"], &b"hint"[..]));
}

async fn hints_go_with_their_message_and_with_their_channel(root: &TestRoot) {
    let place = Place::new(root).await;
    let stores: [&dyn SnapshotPersistence; 2] = [&place.store, &MemoryPersistence::new()];
    for store in stores {
        for id in ["a", "b", "c", "d"] {
            store.append_log_entry(CHANNEL, &message(id, 1, &[])).await.unwrap();
            store.set_retrieval_hint(CHANNEL, id, b"first").await.unwrap();
            store.set_retrieval_hint(CHANNEL, id, id.as_bytes()).await.unwrap();
        }
        store.remove_log_entry(CHANNEL, "a").await.unwrap();
        let update = HistoryUpdate { append: vec![message("c", 2, &[])], evict: vec!["b".to_owned()] };
        store.update_history(CHANNEL, &update).await.unwrap();
        let hints = store.load_all_for_channel(CHANNEL).await.unwrap().retrieval_hints;
        let expected = [("c".to_owned(), b"c".to_vec()), ("d".to_owned(), b"d".to_vec())];
        assert_eq!(hints, BTreeMap::from(expected));
        store.drop_channel(CHANNEL).await.unwrap();
        assert!(store.load_all_for_channel(CHANNEL).await.unwrap().retrieval_hints.is_empty());
    }
}

async fn channels_do_not_touch_each_other(root: &TestRoot) {
    let place = Place::new(root).await;
    // Each a prefix of the next, and one that ends in a byte of a table's number.
    let channels = ["", "a", "ab", "a\0", "a\u{1}", "b"];
    for (lamport, channel) in (1..).zip(channels) {
        let meta = ChannelMeta { lamport, outgoing_buffer: vec![waiting("w", 0)], ..ChannelMeta::default() };
        let update = HistoryUpdate { append: vec![message("m", lamport, &[])], evict: vec![] };
        place.store.save_channel(channel, &meta, &update).await.unwrap();
    }
    place.store.drop_channel("a").await.unwrap();
    place.store.save_channel_meta("ab", &ChannelMeta { lamport: 9, ..ChannelMeta::default() }).await.unwrap();
    for (lamport, channel) in (1..).zip(channels) {
        let data = place.store.load_channel(channel).await.unwrap();
        let found = (data.meta.lamport, data.meta.outgoing_buffer.len(), data.message_history.len());
        let expected = match channel {
            "a" => (0, 0, 0),
            "ab" => (9, 0, 1),
            _ => (lamport, 1, 1),
        };
        assert_eq!(found, expected, "{channel:?}");
    }
}

async fn channels_are_listed(root: &TestRoot) {
    let place = Place::new(root).await;
    assert_eq!(place.store.channels().await.unwrap(), [""; 0]);
    for channel in ["b", "", "aa", "a"] {
        place.store.save_lamport(channel, 1).await.unwrap();
        place.store.append_log_entry(channel, &message("m", 1, &[])).await.unwrap();
    }
    place.store.remove_outgoing("ab", "m").await.unwrap();
    assert_eq!(
        place.store.channels().await.unwrap(),
        ["", "a", "b", "aa"],
        "where nothing was there is nothing"
    );
}

async fn a_meta_that_no_rows_can_hold_is_refused(root: &TestRoot) {
    let place = Place::new(root).await;
    let twice = ChannelMeta { outgoing_buffer: vec![waiting("w", 0), waiting("w", 1)], ..Default::default() };
    let incoming = IncomingMessage { message: message("a", 1, &[]), ..IncomingMessage::default() };
    let other = ChannelMeta {
        incoming_buffer: BTreeMap::from([("b".to_owned(), incoming)]),
        ..ChannelMeta::default()
    };
    let stores: [&dyn SnapshotPersistence; 2] = [&place.store, &MemoryPersistence::new()];
    for store in stores {
        for meta in [&twice, &other] {
            assert_eq!(kind(store.save_channel_meta(CHANNEL, meta).await), ErrorKind::InvalidArgument);
        }
        assert_eq!(store.load_channel(CHANNEL).await.unwrap(), ChannelData::default());
    }
    let long = "x".repeat(65_536);
    assert_eq!(kind(place.store.save_lamport(&long, 1).await), ErrorKind::TooLarge);
    assert_eq!(kind(place.store.remove_outgoing(CHANNEL, &long).await), ErrorKind::TooLarge);
}

async fn ids_of_any_characters_are_kept(root: &TestRoot) {
    let place = Place::new(root).await;
    let names = ["", "\0", "\u{1f600}", "a/b\\c", &"y".repeat(65_535)];
    for channel in &names[..4] {
        for id in names {
            let message = message(id, 1, &["", "\0"]);
            place.store.append_log_entry(channel, &message).await.unwrap();
            place.store.save_outgoing_repair(channel, id, &OutgoingRepairEntry::default()).await.unwrap();
        }
        let snapshot = place.store.load_all_for_channel(channel).await.unwrap();
        assert_eq!(ids(&snapshot.message_history), names);
        assert_eq!(snapshot.outgoing_repair.len(), names.len());
    }
}

async fn saves_resolve_as_they_are_told_to(root: &TestRoot) {
    let mut place = Place::new(root).await;
    let accepted = place.store.resolving(Resolve::Accepted);
    for lamport in 1..=50 {
        let meta = ChannelMeta { lamport, ..ChannelMeta::default() };
        let update =
            HistoryUpdate { append: vec![message(&lamport.to_string(), lamport, &[])], evict: vec![] };
        accepted.save_channel(CHANNEL, &meta, &update).await.unwrap();
    }
    let data = place.store.load_channel(CHANNEL).await.unwrap();
    assert_eq!((data.meta.lamport, data.message_history.len()), (50, 50), "what is accepted is seen");
    accepted.flush().await.unwrap();

    place.store.save_lamport(CHANNEL, 51).await.unwrap();
    let job = place.store.job().clone();
    place.store.resolving(Resolve::Durable).save_lamport(CHANNEL, 52).await.unwrap();
    assert_eq!((job.committed_seq(), job.durable_seq()), (52, 52));
    accepted.save_lamport(CHANNEL, 53).await.unwrap();
    accepted.drop_channel("other").await.unwrap();
    assert_eq!(job.committed_seq(), 54, "dropping is committed also here");
    drop(job);
    if root.persists() {
        place.restart().await;
        assert_eq!(place.store.load_channel(CHANNEL).await.unwrap().meta.lamport, 53);
    }
}

async fn a_channel_of_several_pages_is_loaded(root: &TestRoot) {
    let place = Place::new(root).await;
    // Together more than a scan returns at once, without that much being written: few large ones.
    let large = persistency::limits().scan_bytes / 4;
    for (at, id) in ["d", "c", "b", "a", "e"].into_iter().enumerate() {
        let content = vec![at as u8; large];
        let message = SdsMessage { content, ..message(id, 1, &[]) };
        place.store.append_log_entry(CHANNEL, &message).await.unwrap();
    }
    let history = place.store.load_all_for_channel(CHANNEL).await.unwrap().message_history;
    assert_eq!(ids(&history), ["d", "c", "b", "a", "e"]);
    assert!(history.iter().enumerate().all(|(at, message)| message.content == vec![at as u8; large]));
}

async fn handles_and_futures_can_be_sent_to_other_threads(root: &TestRoot) {
    fn is_send<T: Send>(value: T) -> T {
        value
    }
    fn is_shared<T: Send + Sync + 'static>(_: &T) {}
    let place = Place::new(root).await;
    is_shared(&place.store);
    is_shared(&NoOpPersistence);
    is_shared(&MemoryPersistence::new());
    is_shared(&FaultyPersistence::new());
    let queue = HistoryQueue::new(1);
    is_shared(&queue);
    let mut channel = is_send(Channel::open(place.store.clone(), CHANNEL, 1)).await.unwrap();
    is_shared(&channel);
    channel.append(message("m", 1, &[]));
    is_send(channel.save()).await.unwrap();
    is_send(channel.remove()).await.unwrap();
    is_send(is_send(queue.begin()).await).succeeded();
    is_send(place.store.channels()).await.unwrap();
    is_send(place.store.flush()).await.unwrap();
}
