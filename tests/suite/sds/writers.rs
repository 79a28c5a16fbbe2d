//! Facts about several writers of one channel that know nothing of each other but what is stored.

use persistency::sds::{
    ChannelMeta, IncomingMessage, IncomingRepairEntry, JobPersistence, OutgoingRepairEntry, Persistence,
    Resolve, SnapshotPersistence, UnacknowledgedMessage,
};

use super::node::{CHANNEL, Place, message};
use super::stored::{appended, history};
use crate::common::TestRoot;

facts! {
    everywhere:
        who_takes_over_appends_behind_the_one_before,
        writers_that_do_not_know_of_each_other_lose_nothing,
        concurrent_saves_of_one_channel_are_one_of_them,
        a_save_after_somebody_elses_change_replaces_it;
}

fn waiting(id: &str, attempts: u32) -> UnacknowledgedMessage {
    UnacknowledgedMessage { message: message(id, 1, &[]), send_time_ms: 1_000, resend_attempts: attempts }
}

async fn who_takes_over_appends_behind_the_one_before(root: &TestRoot) {
    let place = Place::new(root).await;
    let first = place.store.clone();
    let second = JobPersistence::new(first.job().clone());
    let mut expected = Vec::new();
    for id in 0..12 {
        let (writer, id) = (if id / 3 % 2 == 0 { &first } else { &second }, format!("m{}", 99 - id));
        if expected.len() % 3 == 0 {
            assert_eq!(history(writer).await, expected);
        }
        writer.update_history(CHANNEL, &appended(&id)).await.unwrap();
        expected.push(id);
    }
    assert_eq!(history(&first).await, expected);
}

async fn writers_that_do_not_know_of_each_other_lose_nothing(root: &TestRoot) {
    let place = Place::new(root).await;
    let stores = [place.store.clone(), JobPersistence::new(place.store.job().clone())];
    let ids: Vec<String> = (0..20).map(|id| format!("m{id:02}")).collect();
    let writes = ids.iter().enumerate().map(async |(at, id)| {
        stores[at % 2].update_history(CHANNEL, &appended(id)).await.unwrap();
    });
    futures_util::future::join_all(writes).await;
    let (mut first, second) = (history(&stores[0]).await, history(&stores[1]).await);
    assert_eq!(first, second, "one order for all");
    first.sort();
    assert_eq!(first, ids);
}

async fn concurrent_saves_of_one_channel_are_one_of_them(root: &TestRoot) {
    let place = Place::new(root).await;
    // As two processes would be: they know nothing of each other but what is stored.
    let stores = [place.store.clone(), JobPersistence::new(place.store.job().clone())];
    for round in 0..6 {
        let metas: Vec<ChannelMeta> = (0..8)
            .map(|number| {
                let ids = (0..4).filter(|bit| (number + round) >> bit & 1 == 1);
                let outgoing_buffer = ids.map(|id| waiting(&format!("w{id}"), number)).collect();
                ChannelMeta { lamport: i64::from(number), outgoing_buffer, ..ChannelMeta::default() }
            })
            .collect();
        let saves =
            metas.iter().enumerate().map(|(at, meta)| stores[at % 2].save_channel_meta(CHANNEL, meta));
        for saved in futures_util::future::join_all(saves).await {
            saved.unwrap();
        }
        let stored = place.store.load_channel(CHANNEL).await.unwrap().meta;
        assert!(metas.contains(&stored), "a mixture: {stored:?}");
    }
}

async fn a_save_after_somebody_elses_change_replaces_it(root: &TestRoot) {
    let place = Place::new(root).await;
    let (own, other) = (place.store.clone(), JobPersistence::new(place.store.job().clone()));
    let meta = ChannelMeta { lamport: 5, outgoing_buffer: vec![waiting("a", 0)], ..ChannelMeta::default() };
    own.save_channel_meta(CHANNEL, &meta).await.unwrap();
    let (entry, back) = (OutgoingRepairEntry::default(), IncomingRepairEntry::default());
    let incoming = IncomingMessage { message: message("i", 1, &[]), ..IncomingMessage::default() };
    let changed = ChannelMeta { lamport: 9, ..ChannelMeta::default() };
    for change in 0..10 {
        match change {
            0 => other.save_lamport(CHANNEL, 9).await,
            1 => other.save_outgoing(CHANNEL, &waiting("b", 0)).await,
            2 => other.remove_outgoing(CHANNEL, "a").await,
            3 => other.save_incoming(CHANNEL, &incoming).await,
            4 => other.save_outgoing_repair(CHANNEL, "o", &entry).await,
            5 => other.save_incoming_repair(CHANNEL, "b", &back).await,
            6 => other.resolving(Resolve::Accepted).save_channel_meta(CHANNEL, &changed).await,
            7 => other.save_channel_meta(CHANNEL, &changed).await,
            8 => other.drop_channel(CHANNEL).await,
            // Not by the other one, but without a mark that this handle would know of.
            _ => own.resolving(Resolve::Accepted).save_outgoing(CHANNEL, &waiting("b", 0)).await,
        }
        .unwrap();
        own.save_channel_meta(CHANNEL, &meta).await.unwrap();
        assert_eq!(own.load_channel(CHANNEL).await.unwrap().meta, meta, "change {change}");
    }
}
