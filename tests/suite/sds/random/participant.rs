//! A participant under faults and restarts, beside a plain model of what it should hold.

use std::collections::{BTreeMap, BTreeSet};
use std::future::poll_fn;
use std::pin::pin;
use std::task::Poll;

use persistency::sds::{Fault, FaultyPersistence, Operation, SdsMessage};
use persistency::{ErrorKind, Outcome};

use super::super::node::{Node, Place, message};
use super::{Random, seeds};
use crate::common::TestRoot;

const MESSAGES_MAX: usize = 5;

/// A channel as plain lists. What of it is in memory and what is stored are two values of this type.
#[derive(Clone, Debug, Default, PartialEq)]
struct Model {
    lamport: i64,
    history: Vec<String>,
    outgoing: Vec<(String, u64, u32)>,
    incoming: BTreeMap<String, (SdsMessage, BTreeSet<String>)>,
    outgoing_repair: BTreeMap<String, u64>,
    incoming_repair: BTreeMap<String, u64>,
}

/// What a participant does; it is applied to the node and to the model.
#[derive(Clone, Debug)]
enum Action {
    Send(String, u64),
    Resend(u64),
    Acknowledge(String),
    Receive(SdsMessage),
    AskForRepair(String, u64),
    IsAskedForRepair(String, u64),
    Sweep(u64),
    Nothing,
}

impl Model {
    fn of(node: &Node) -> Self {
        let meta = node.channel.meta();
        let outgoing = meta.outgoing_buffer.iter();
        let outgoing = outgoing.map(|w| (w.message.message_id.clone(), w.send_time_ms, w.resend_attempts));
        let incoming = meta.incoming_buffer.iter();
        let incoming = incoming.map(|(id, w)| (id.clone(), (w.message.clone(), w.missing_deps.clone())));
        let outgoing_repair = meta.outgoing_repair.iter();
        let incoming_repair = meta.incoming_repair.iter();
        Model {
            lamport: meta.lamport,
            history: node.ids().into_iter().map(str::to_owned).collect(),
            outgoing: outgoing.collect(),
            incoming: incoming.collect(),
            outgoing_repair: outgoing_repair.map(|(id, r)| (id.clone(), r.min_time_request_ms)).collect(),
            incoming_repair: incoming_repair.map(|(id, r)| (id.clone(), r.min_time_response_ms)).collect(),
        }
    }

    /// `bloom` is what this life of the participant has seen delivered.
    fn apply(&mut self, bloom: &mut BTreeSet<String>, action: &Action) {
        match action {
            Action::Send(id, now) => {
                self.lamport += 1;
                self.outgoing.push((id.clone(), *now, 0));
                self.deliver(bloom, id);
            }
            Action::Resend(now) => {
                self.outgoing.iter_mut().for_each(|(_, sent, times)| (*sent, *times) = (*now, *times + 1));
            }
            Action::Acknowledge(id) => self.outgoing.retain(|(waiting, ..)| waiting != id),
            Action::Receive(message) => self.receive(bloom, message),
            Action::AskForRepair(id, at) => drop(self.outgoing_repair.insert(id.clone(), *at)),
            Action::IsAskedForRepair(id, at) => drop(self.incoming_repair.insert(id.clone(), *at)),
            Action::Sweep(now) => {
                self.outgoing_repair.retain(|_, at| *at > *now);
                self.incoming_repair.retain(|_, at| *at > *now);
            }
            Action::Nothing => {}
        }
    }

    fn receive(&mut self, bloom: &mut BTreeSet<String>, message: &SdsMessage) {
        let id = &message.message_id;
        if bloom.contains(id) || self.incoming.contains_key(id) {
            return;
        }
        self.lamport = self.lamport.max(message.lamport_timestamp);
        self.outgoing_repair.remove(id);
        let deps = message.causal_history.iter().map(|dep| dep.message_id.clone());
        let missing: BTreeSet<String> = deps.filter(|dep| !bloom.contains(dep)).collect();
        if !missing.is_empty() {
            self.incoming.insert(id.clone(), (message.clone(), missing));
            return;
        }
        self.deliver(bloom, id);
        loop {
            self.incoming.values_mut().for_each(|(_, missing)| missing.retain(|dep| !bloom.contains(dep)));
            let ready = self.incoming.iter().find(|(_, (_, missing))| missing.is_empty());
            let Some(id) = ready.map(|(id, _)| id.clone()) else { return };
            self.incoming.remove(&id);
            self.deliver(bloom, &id);
        }
    }

    fn deliver(&mut self, bloom: &mut BTreeSet<String>, id: &str) {
        bloom.insert(id.to_owned());
        self.history.retain(|known| known != id);
        self.history.push(id.to_owned());
        if self.history.len() > MESSAGES_MAX {
            self.history.remove(0);
        }
    }
}

impl Action {
    fn random(random: &mut Random, sent: &mut u64) -> Self {
        let time = random.below(1_000);
        match random.below(12) {
            0..=2 => {
                *sent += 1;
                Action::Send(format!("s{sent}"), time)
            }
            3 => Action::Resend(time),
            4 => Action::Acknowledge(format!("s{}", random.below(*sent + 1))),
            5..=7 => {
                let (id, deps) = (random.id(), random.ids(2));
                let deps: Vec<&str> = deps.iter().map(String::as_str).filter(|dep| *dep != id).collect();
                Action::Receive(message(&id, random.below(500) as i64, &deps))
            }
            8 => Action::AskForRepair(random.id(), time),
            9 => Action::IsAskedForRepair(random.id(), time),
            10 => Action::Sweep(time),
            _ => Action::Nothing,
        }
    }

    async fn run(&self, node: &mut Node) {
        match self.clone() {
            Action::Send(id, now) => node.send(&id, now).await,
            Action::Resend(now) => node.resend(now).await,
            Action::Acknowledge(id) => node.acknowledge(&id).await,
            Action::Receive(message) => node.receive(message).await,
            Action::AskForRepair(id, at) => node.ask_for_repair(&id, at).await,
            Action::IsAskedForRepair(id, at) => node.is_asked_for_repair(&id, at).await,
            Action::Sweep(now) => node.sweep_repairs(now).await,
            Action::Nothing => node.end().await,
        }
    }
}

fn fault(random: &mut Random) -> Fault {
    let kind = [ErrorKind::StorageFull, ErrorKind::Timeout, ErrorKind::Backend][random.below(3) as usize];
    if random.chance(70) { Fault::Refused(kind) } else { Fault::AnswerLost(kind) }
}

/// Runs the future until it has been polled so often and still waits; whether it came to its end.
async fn cut_off(future: impl Future<Output = ()>, polls_max: u64) -> bool {
    let (mut future, mut polls) = (pin!(future), 0);
    poll_fn(|context| {
        polls += 1;
        match future.as_mut().poll(context) {
            Poll::Ready(()) => Poll::Ready(true),
            Poll::Pending if polls >= polls_max => Poll::Ready(false),
            Poll::Pending => Poll::Pending,
        }
    })
    .await
}

/// One life after another of a participant, and what may be stored.
struct Run<'a, 'b> {
    place: &'a mut Place<'b>,
    random: Random,
    faulty: FaultyPersistence,
    node: Node,
    memory: Model,
    bloom: BTreeSet<String>,
    /// What is stored is one of these: a save that was cut off is applied as a whole or not at all.
    stored: Vec<Model>,
    sent: u64,
}

impl Run<'_, '_> {
    async fn act(&mut self) {
        if self.random.chance(30) {
            let saves = [Operation::SaveChannel, Operation::SaveChannelMeta, Operation::UpdateHistory];
            let (operation, times) = (saves[self.random.below(3) as usize], 1 + self.random.below(4));
            self.faulty.inject_times(operation, fault(&mut self.random), times);
        }
        let action = Action::random(&mut self.random, &mut self.sent);
        self.memory.apply(&mut self.bloom, &action);
        let errors = self.node.unsaved.len();
        let polls_max = if self.random.chance(20) { self.random.below(5) } else { u64::MAX };
        let ended = cut_off(action.run(&mut self.node), polls_max).await;
        let applied = match self.node.unsaved.get(errors) {
            _ if !ended => None,
            None => Some(true),
            Some(error) => Some(error.outcome() != Outcome::NotApplied),
        };
        match applied {
            Some(true) => self.stored = vec![self.memory.clone()],
            Some(false) => {}
            None => self.stored.push(self.memory.clone()),
        }
    }

    async fn remove(&mut self) {
        if self.random.chance(50) {
            self.faulty.inject_times(Operation::DropChannel, fault(&mut self.random), 1);
        }
        match self.node.channel.remove().await {
            Ok(()) => {
                self.node.bloom.clear();
                self.bloom.clear();
                self.memory = Model::default();
                self.stored = vec![Model::default()];
            }
            Err(error) if error.outcome() == Outcome::Unknown => self.stored = vec![Model::default()],
            Err(_) => {}
        }
    }

    /// The end of one life, at once, and the beginning of the next.
    async fn restart(&mut self, context: &str) {
        self.place.restart().await;
        self.faulty = FaultyPersistence::over(self.place.store.clone());
        if self.random.chance(30) {
            self.faulty.inject_times(Operation::LoadAllForChannel, fault(&mut self.random), 1);
            assert!(Node::start(self.faulty.clone(), MESSAGES_MAX).await.is_err(), "{context}");
        }
        self.node = Node::start(self.faulty.clone(), MESSAGES_MAX).await.unwrap();
        let found = Model::of(&self.node);
        assert!(self.stored.contains(&found), "{context}: {found:#?}\nand not one of {:#?}", self.stored);
        self.bloom = found.history.iter().cloned().collect();
        self.memory = found.clone();
        self.stored = vec![found];
    }
}

pub async fn a_participant_finds_what_it_saved_whenever_it_is_stopped_and_whatever_fails(root: &TestRoot) {
    let mut place = Place::new(root).await;
    for seed in seeds() {
        let node = place.node(MESSAGES_MAX).await;
        let (memory, stored) = (Model::of(&node), vec![Model::of(&node)]);
        let bloom = memory.history.iter().cloned().collect();
        let (random, faulty) = (Random::new(seed), FaultyPersistence::over(place.store.clone()));
        let mut run =
            Run { place: &mut place, random, faulty, node, memory, bloom, stored, sent: seed * 1_000 };
        run.restart("at first").await;
        for step in 0..80 {
            let context = format!("seed {seed}, step {step}");
            match run.random.below(100) {
                0..=7 => run.restart(&context).await,
                8..=9 => run.remove().await,
                _ => run.act().await,
            }
            assert_eq!(Model::of(&run.node), run.memory, "{context}, in memory");
        }
        run.restart("at last").await;
    }
}
