//! Random operations from a seed, compared with plain values in memory.
//!
//! `PERSISTENCY_SDS_SEEDS=1000` for more seeds, read when it runs and natively also when it is built.

mod participant;

use std::collections::BTreeMap;

use persistency::sds::{
    ChannelData, ChannelMeta, HistoryUpdate, IncomingMessage, IncomingRepairEntry, MemoryPersistence,
    OutgoingRepairEntry, Persistence, SdsMessage, SnapshotPersistence, UnacknowledgedMessage,
};

use super::node::{Place, entry, message};
use crate::common::TestRoot;

facts! {
    everywhere:
        any_sequence_of_operations_stores_what_plain_memory_holds,
        a_participant_finds_what_it_saved_whenever_it_is_stopped_and_whatever_fails;
}

use participant::a_participant_finds_what_it_saved_whenever_it_is_stopped_and_whatever_fails;

/// SplitMix64.
struct Random(u64);

impl Random {
    fn new(seed: u64) -> Self {
        // Neighbouring seeds would be the same words, shifted by one.
        Random(Random(seed).word())
    }

    fn word(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// A number from 0 up to but without `end`.
    fn below(&mut self, end: u64) -> u64 {
        self.word() % end
    }

    fn chance(&mut self, percent: u64) -> bool {
        self.below(100) < percent
    }

    /// One of a few ids, so that operations meet.
    fn id(&mut self) -> String {
        format!("m{}", self.below(7))
    }

    fn ids(&mut self, max: u64) -> Vec<String> {
        (0..self.below(max + 1)).map(|_| self.id()).collect()
    }

    fn message(&mut self, id: &str) -> SdsMessage {
        let content = vec![self.word() as u8; self.below(40) as usize];
        SdsMessage { content, ..message(id, self.word() as i64 >> self.below(63), &[]) }
    }

    fn waiting(&mut self, id: &str) -> UnacknowledgedMessage {
        UnacknowledgedMessage {
            message: self.message(id),
            send_time_ms: self.word(),
            resend_attempts: self.word() as u32,
        }
    }

    fn incoming(&mut self, id: &str) -> IncomingMessage {
        IncomingMessage { message: self.message(id), missing_deps: self.ids(3).into_iter().collect() }
    }

    fn outgoing_repair(&mut self) -> OutgoingRepairEntry {
        OutgoingRepairEntry { history_entry: entry(&self.id()), min_time_request_ms: self.word() }
    }

    fn incoming_repair(&mut self) -> IncomingRepairEntry {
        IncomingRepairEntry {
            history_entry: entry(&self.id()),
            cached_message: vec![1; self.below(9) as usize],
            min_time_response_ms: self.word(),
        }
    }

    fn meta(&mut self) -> ChannelMeta {
        let mut outgoing_buffer: Vec<UnacknowledgedMessage> = Vec::new();
        for id in self.ids(5) {
            if outgoing_buffer.iter().all(|known| known.message.message_id != id) {
                outgoing_buffer.push(self.waiting(&id));
            }
        }
        let incoming = self.ids(2).into_iter().map(|id| (id.clone(), self.incoming(&id)));
        let incoming_buffer = BTreeMap::from_iter(incoming.collect::<Vec<_>>());
        let outgoing_repair = self.ids(2).into_iter().map(|id| (id, self.outgoing_repair()));
        let outgoing_repair = BTreeMap::from_iter(outgoing_repair.collect::<Vec<_>>());
        let incoming_repair = self.ids(2).into_iter().map(|id| (id, self.incoming_repair()));
        let incoming_repair = BTreeMap::from_iter(incoming_repair.collect::<Vec<_>>());
        let lamport = self.word() as i64;
        ChannelMeta { lamport, outgoing_buffer, incoming_buffer, outgoing_repair, incoming_repair }
    }

    fn update(&mut self) -> HistoryUpdate {
        let append = self.ids(3).iter().map(|id| self.message(id)).collect();
        HistoryUpdate { append, evict: self.ids(2) }
    }
}

fn seeds() -> std::ops::Range<u64> {
    let built = option_env!("PERSISTENCY_SDS_SEEDS").map(str::to_owned);
    let seeds = std::env::var("PERSISTENCY_SDS_SEEDS").ok().or(built);
    0..seeds.map_or(5, |seeds| seeds.parse().unwrap())
}

/// The same operation on both.
async fn operate(random: &mut Random, channel: &str, stores: [&dyn SnapshotPersistence; 2]) {
    let (start, id) = (random.word(), random.id());
    let operation = random.below(20);
    for store in stores {
        let random = &mut Random::new(start);
        let done = match operation {
            0 => store.save_lamport(channel, random.word() as i64).await,
            1..=3 => store.append_log_entry(channel, &random.message(&id)).await,
            4 => store.remove_log_entry(channel, &id).await,
            5 => store.set_retrieval_hint(channel, &id, &[random.word() as u8]).await,
            6..=7 => store.save_outgoing(channel, &random.waiting(&id)).await,
            8 => store.remove_outgoing(channel, &id).await,
            9 => store.save_incoming(channel, &random.incoming(&id)).await,
            10 => store.remove_incoming(channel, &id).await,
            11 => store.save_outgoing_repair(channel, &id, &random.outgoing_repair()).await,
            12 => store.remove_outgoing_repair(channel, &id).await,
            13 => store.save_incoming_repair(channel, &id, &random.incoming_repair()).await,
            14 => store.remove_incoming_repair(channel, &id).await,
            15 if random.chance(20) => store.drop_channel(channel).await,
            15 | 16 => store.update_history(channel, &random.update()).await,
            17 => store.save_channel_meta(channel, &random.meta()).await,
            _ => store.save_channel(channel, &random.meta(), &random.update()).await,
        };
        done.unwrap();
    }
}

async fn any_sequence_of_operations_stores_what_plain_memory_holds(root: &TestRoot) {
    let mut place = Place::new(root).await;
    for seed in seeds() {
        let (mut random, plain) = (Random::new(seed), MemoryPersistence::new());
        let channels = [format!("{seed} a"), format!("{seed} b")];
        for step in 0..60 {
            let channel = &channels[random.below(2) as usize];
            if random.chance(8) {
                place.restart().await;
            }
            operate(&mut random, channel, [&place.store, &plain]).await;
            if random.chance(40) {
                let expected = plain.load_all_for_channel(channel).await.unwrap();
                let stored = place.store.load_all_for_channel(channel).await.unwrap();
                assert_eq!(stored, expected, "seed {seed}, step {step}");
                let data = place.store.load_channel(channel).await.unwrap();
                assert_eq!(data, ChannelData::from(expected), "seed {seed}, step {step}");
            }
        }
    }
}
