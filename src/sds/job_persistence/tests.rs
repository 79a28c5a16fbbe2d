//! A channel over the faulty engine: whatever befalls a primitive, what a save answered is true.

use super::*;
use crate::engine::Fault;
use crate::engine::Sharing;
use crate::engine::faulty::{Faults, FaultySite, Injection, Survivors};
use crate::engine::memory::MemorySite;
use crate::error::Outcome;
use crate::place::Place;
use crate::sds::Channel;
use crate::testing::{Random, async_test};
use crate::{Clock, JobOptions, Persistency};

const SEEDS: u64 = 12;
const STEPS: usize = 60;
/// How often something is tried that meets leftover faults.
const TRIES_MAX: usize = 20;
const FAULTS: [Fault; 6] =
    [Fault::Busy, Fault::StorageFull, Fault::Lost, Fault::Aborted, Fault::SyncFailed, Fault::Other];

/// What a channel is, apart from hints.
type State = (ChannelMeta, Vec<SdsMessage>);

fn state_of(channel: &Channel) -> State {
    (channel.meta().clone(), channel.history().cloned().collect())
}

/// A medium, a channel in memory, and the states of which one is stored.
struct Story {
    random: Random,
    faults: Faults,
    site: FaultySite,
    resolve: Resolve,
    open: Option<(Persistency, Channel)>,
    possible: Vec<State>,
    messages: u64,
}

impl Story {
    fn new(seed: u64, resolve: Resolve) -> Self {
        let faults = Faults::new();
        let site = FaultySite::new(MemorySite::default(), faults.clone(), Sharing::Exclusive);
        let possible = vec![State::default()];
        Story { random: Random::new(seed), faults, site, resolve, open: None, possible, messages: 0 }
    }

    /// Something happens to one of the next calls of the engine.
    fn inject(&mut self) {
        let fault = FAULTS[self.random.below(FAULTS.len())];
        let survivors = Survivors::Prefix(self.random.word());
        let injection = match self.random.below(4) {
            0 => Injection::fail(fault),
            1 => Injection::lost_answer(fault),
            2 => Injection::unsure(fault),
            _ if self.resolve == Resolve::Durable => Injection::LosePower { survivors, fault: Fault::Other },
            _ => Injection::Yield(3),
        };
        self.faults.at(self.faults.steps() + 1 + self.random.below(4), injection);
    }

    /// Opens the channel anew; what is found is one of what is possible.
    async fn restart(&mut self) {
        if let Some((root, channel)) = self.open.take() {
            drop(channel);
            root.close().await.ok();
        }
        for _ in 0..TRIES_MAX {
            let root = Persistency::at("faulty".into(), Place::at(self.site.clone()), Clock::manual(0));
            let opened = async {
                let job = root.open_job_with("job", JobOptions::new().no_deadline()).await?;
                Channel::open(JobPersistence::new(job).resolving(self.resolve), "general", 4).await
            };
            match opened.await {
                Ok(channel) => {
                    let found = state_of(&channel);
                    assert!(self.possible.contains(&found), "{found:?}, not one of {:?}", self.possible);
                    self.possible = vec![found];
                    self.open = Some((root, channel));
                    return;
                }
                Err(_) => drop(root.close().await),
            }
        }
        panic!("it does not open any more");
    }

    fn change(random: &mut Random, channel: &mut Channel, number: u64) {
        let message_id = format!("m{}", number % 9);
        let message = SdsMessage { message_id, lamport_timestamp: number as i64, ..SdsMessage::default() };
        let meta = channel.meta_mut();
        meta.lamport = number as i64;
        meta.outgoing_buffer.retain(|known| known.message.message_id != message.message_id);
        match random.below(4) {
            0 => drop(meta.outgoing_buffer.pop()),
            1 => meta.outgoing_buffer.insert(0, UnacknowledgedMessage { message, ..Default::default() }),
            2 => {
                meta.outgoing_buffer
                    .push(UnacknowledgedMessage { message: message.clone(), ..Default::default() });
                channel.append(message);
            }
            _ => channel.append(message),
        }
    }

    async fn step(&mut self) {
        if self.random.below(100) < 35 {
            self.inject();
        }
        let Some((_, channel)) = &mut self.open else { return self.restart().await };
        let (after, done) = match self.random.below(20) {
            0 => (State::default(), channel.remove().await),
            _ => {
                self.messages += 1;
                Self::change(&mut self.random, channel, self.messages);
                (state_of(channel), channel.save().await)
            }
        };
        match done.as_ref().map_err(|error| error.outcome()) {
            Ok(()) => self.possible = vec![after],
            Err(Outcome::NotApplied) => {}
            Err(Outcome::Applied | Outcome::Unknown) => self.possible.push(after),
        }
        // An engine that lost its power or its sync is of no use any more.
        if self.random.below(8) == 0 || done.is_err() && self.random.below(2) == 0 {
            self.restart().await;
        }
    }
}

async fn tell(resolve: Resolve) {
    for seed in 0..SEEDS {
        let mut story = Story::new(seed, resolve);
        for _ in 0..STEPS {
            story.step().await;
        }
        story.restart().await;
        assert!(story.faults.fired() > 5, "seed {seed}: hardly anything happened");
    }
}

#[async_test]
async fn a_channel_is_found_as_its_saves_said_whatever_befalls_the_engine() {
    tell(Resolve::Committed).await;
}

#[async_test]
async fn a_durable_channel_is_found_as_its_saves_said_also_after_losses_of_power() {
    tell(Resolve::Durable).await;
}

#[async_test]
async fn a_save_that_was_prepared_before_somebody_elses_change_is_a_conflict() {
    let root = Persistency::open(":memory:").unwrap();
    let own = JobPersistence::new(root.open_job("job").await.unwrap());
    let other = JobPersistence::new(own.job().clone());
    let lamport = |lamport| ChannelMeta { lamport, ..ChannelMeta::default() };
    for small in [false, true] {
        let change = async |to| match small {
            true => other.save_lamport("general", to).await.unwrap(),
            false => other.save_channel_meta("general", &lamport(to)).await.unwrap(),
        };
        change(1).await;
        let stored = own.buffers("general").await.unwrap();
        let update = HistoryUpdate::default();
        let (batch, _) = changes::save("general", stored, &lamport(3), &update, &own.writer).unwrap();
        change(2).await;
        let error = own.job().persist_acked(batch).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Conflict, "{error}");
        assert_eq!(own.load_channel("general").await.unwrap().meta, lamport(2));
    }
    root.close().await.unwrap();
}

#[async_test]
async fn buffers_larger_than_one_scan_can_be_made_smaller_again() {
    let root = Persistency::open(":memory:").unwrap();
    let store = JobPersistence::new(root.open_job("job").await.unwrap());
    let mut meta = ChannelMeta::default();
    for id in ["a", "b"] {
        let cached_message = vec![0; crate::limits().scan_bytes / 2 + 1];
        let entry = IncomingRepairEntry { cached_message, ..IncomingRepairEntry::default() };
        meta.incoming_repair.insert(id.to_owned(), entry);
    }
    store.save_channel_meta("general", &meta).await.unwrap();
    meta.incoming_repair.remove("b");
    store.save_channel_meta("general", &meta).await.unwrap();
    assert_eq!(store.load_channel("general").await.unwrap().meta, meta);
    root.close().await.unwrap();
}
