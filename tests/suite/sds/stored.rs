//! Facts about what is stored: where, in which bytes, and what is said of bytes that cannot be read.

use persistency::sds::{
    CATEGORY, ChannelMeta, HistoryUpdate, JobPersistence, Persistence, SdsMessage, SnapshotPersistence,
    UnacknowledgedMessage,
};
use persistency::{Batch, ErrorKind, Job, Key, key};

use super::node::{CHANNEL, Place, message};
use crate::common::{TestRoot, keys, kind};

facts! {
    everywhere:
        all_is_in_one_category_under_channel_table_and_id,
        rows_have_the_bytes_of_version_1,
        a_row_that_cannot_be_read_fails_the_load_by_its_name_until_it_is_removed,
        a_whole_save_replaces_damaged_buffers,
        a_row_of_a_newer_version_is_refused_untouched,
        a_channel_that_was_copied_from_elsewhere_goes_on_behind_its_end;
}

async fn damage(job: &Job, table: u8, id: &str, bytes: impl Into<Vec<u8>>) {
    job.put_acked(CATEGORY, key!(CHANNEL, table, id).unwrap(), bytes).await.unwrap();
}

async fn all_is_in_one_category_under_channel_table_and_id(root: &TestRoot) {
    let place = Place::new(root).await;
    let store = &place.store;
    store.save_lamport(CHANNEL, 1).await.unwrap();
    store.save_outgoing(CHANNEL, &UnacknowledgedMessage::default()).await.unwrap();
    store.save_outgoing_repair(CHANNEL, "o", &Default::default()).await.unwrap();
    store.save_incoming_repair(CHANNEL, "b", &Default::default()).await.unwrap();
    store.save_incoming(CHANNEL, &Default::default()).await.unwrap();
    store.set_retrieval_hint(CHANNEL, "h", &[]).await.unwrap();
    store.append_log_entry(CHANNEL, &message("m", 1, &[])).await.unwrap();
    let stored: Vec<(String, u8, String)> = keys(store.job(), CATEGORY)
        .await
        .into_iter()
        .map(|key| Key::from_bytes(key).decode().unwrap())
        .collect();
    let ids = ["", "", "", "", "o", "b", "h", "m"];
    assert_eq!(
        stored,
        (0..).zip(ids).map(|(table, id)| (CHANNEL.into(), table, id.into())).collect::<Vec<_>>()
    );
    assert_eq!(store.job().categories().await.unwrap(), [CATEGORY]);
}

async fn rows_have_the_bytes_of_version_1(root: &TestRoot) {
    let place = Place::new(root).await;
    let message = SdsMessage { message_id: "m".into(), lamport_timestamp: 5, ..SdsMessage::default() };
    place.store.append_log_entry(CHANNEL, &message).await.unwrap();
    place.store.set_retrieval_hint(CHANNEL, "m", b"hint").await.unwrap();
    let job = place.store.job();
    let row = job.get(CATEGORY, key!(CHANNEL, 7u8, "m").unwrap()).await.unwrap().unwrap();
    // Version 1, no epoch since the job had no commit, number 1, the message of 5 bytes.
    assert_eq!(row, b"\x08\x01\x18\x01\x22\x05\x0a\x01m\x10\x05");
    let row = job.get(CATEGORY, key!(CHANNEL, 6u8, "m").unwrap()).await.unwrap().unwrap();
    assert_eq!(row, b"\x08\x01\x22\x04hint");
}

async fn a_row_that_cannot_be_read_fails_the_load_by_its_name_until_it_is_removed(root: &TestRoot) {
    let place = Place::new(root).await;
    let store = &place.store;
    store.append_log_entry(CHANNEL, &message("good", 1, &[])).await.unwrap();
    let other_id = b"\x08\x01\x22\x07\x0a\x05other";
    let no_message = b"\x08\x01\x22\x02\x10\x01";
    let cases: [(u8, &[u8], &str); 7] = [
        (7, b"\xff", "history, \"bad\""),
        (7, b"", "history, \"bad\""),
        (7, b"\x08\x01\x22\x01\xff", "history, \"bad\""),
        (7, other_id, "own id is \"other\""),
        (2, no_message, "outgoing buffer, \"bad\""),
        (5, b"\x08\x01", "incoming repairs, \"bad\""),
        (3, b"not at all", "incoming buffer, \"bad\""),
    ];
    for (table, bytes, place) in cases {
        damage(store.job(), table, "bad", bytes).await;
        for error in [
            store.load_all_for_channel(CHANNEL).await.unwrap_err(),
            store.load_channel(CHANNEL).await.unwrap_err(),
        ] {
            assert_eq!(error.kind(), ErrorKind::Corrupt, "{error}");
            for part in ["sds channel \"general\"", place] {
                assert!(error.message().contains(part), "{part}: {error}");
            }
        }
        match table {
            7 => store.remove_log_entry(CHANNEL, "bad").await.unwrap(),
            2 => store.remove_outgoing(CHANNEL, "bad").await.unwrap(),
            3 => store.remove_incoming(CHANNEL, "bad").await.unwrap(),
            _ => store.remove_incoming_repair(CHANNEL, "bad").await.unwrap(),
        }
        store.load_channel(CHANNEL).await.unwrap();
    }
    // A table that there is not, and a key of nobody's.
    for key in [key!(CHANNEL, 77u8, "").unwrap(), key!(CHANNEL).unwrap()] {
        store.job().put_acked(CATEGORY, &key, "").await.unwrap();
        assert_eq!(kind(store.load_channel(CHANNEL).await), ErrorKind::Corrupt);
        store.job().delete_acked(CATEGORY, &key).await.unwrap();
    }
    damage(store.job(), 7, "bad", "\u{ff}").await;
    store.drop_channel(CHANNEL).await.unwrap();
    assert_eq!(store.load_channel(CHANNEL).await.unwrap(), Default::default());
}

async fn a_whole_save_replaces_damaged_buffers(root: &TestRoot) {
    let place = Place::new(root).await;
    let waiting = UnacknowledgedMessage { message: message("w", 1, &[]), ..Default::default() };
    let meta = ChannelMeta { lamport: 3, outgoing_buffer: vec![waiting], ..ChannelMeta::default() };
    place.store.save_channel_meta(CHANNEL, &meta).await.unwrap();
    for (table, id) in [(0, ""), (1, ""), (2, "w"), (3, "left")] {
        damage(place.store.job(), table, id, b"\xff").await;
    }
    assert_eq!(kind(place.store.load_channel(CHANNEL).await), ErrorKind::Corrupt);
    // What it wrote itself it would not read again.
    let other = JobPersistence::new(place.store.job().clone());
    other.save_channel_meta(CHANNEL, &meta).await.unwrap();
    assert_eq!(place.store.load_channel(CHANNEL).await.unwrap().meta, meta);
}

async fn a_row_of_a_newer_version_is_refused_untouched(root: &TestRoot) {
    let place = Place::new(root).await;
    let store = &place.store;
    // Of version 2, and field 4 is a number there.
    let newer = b"\x08\x02\x20\x07";
    // The row is of version 1, its entry is not.
    damage(store.job(), 1, "", b"\x08\x01\x22\x02\x08\x02").await;
    assert_eq!(kind(store.load_channel(CHANNEL).await), ErrorKind::VersionTooNew);
    for (table, id) in [(0, ""), (1, ""), (4, "o"), (99, "of a table that is not known yet")] {
        damage(store.job(), table, id, newer).await;
        let error = store.load_channel(CHANNEL).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::VersionTooNew, "{error}");
        if table < 6 {
            let saved = store.save_channel_meta(CHANNEL, &ChannelMeta::default()).await;
            assert_eq!(kind(saved), ErrorKind::VersionTooNew);
        }
        let key = key!(CHANNEL, table, id).unwrap();
        assert_eq!(store.job().get(CATEGORY, &key).await.unwrap().unwrap(), newer);
        store.job().persist_acked(Batch::new().delete(CATEGORY, key)).await.unwrap();
    }
}

pub fn appended(id: &str) -> HistoryUpdate {
    HistoryUpdate { append: vec![message(id, 1, &[])], evict: vec![] }
}

pub async fn history(store: &JobPersistence) -> Vec<String> {
    let snapshot = store.load_all_for_channel(CHANNEL).await.unwrap();
    snapshot.message_history.into_iter().map(|message| message.message_id).collect()
}

async fn a_channel_that_was_copied_from_elsewhere_goes_on_behind_its_end(root: &TestRoot) {
    let p = root.open();
    let (from, to) = (p.open_job("from").await.unwrap(), p.open_job("to").await.unwrap());
    for id in 0..5 {
        from.put_acked("other", key!(id).unwrap(), "").await.unwrap();
    }
    let store = JobPersistence::new(from.clone());
    for id in ["c", "b"] {
        store.append_log_entry(CHANNEL, &message(id, 1, &[])).await.unwrap();
    }
    let rows = from.scan(CATEGORY, ..).await.unwrap();
    let copied = rows.into_iter().fold(Batch::new(), |batch, row| batch.put(CATEGORY, row.key, row.payload));
    to.persist_acked(copied).await.unwrap();
    let store = JobPersistence::new(to);
    assert_eq!(history(&store).await, ["c", "b"]);
    store.append_log_entry(CHANNEL, &message("a", 1, &[])).await.unwrap();
    assert_eq!(history(&store).await, ["c", "b", "a"]);
}
