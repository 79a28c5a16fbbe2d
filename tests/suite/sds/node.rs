//! A small SDS participant: sends, receives in causal order, acknowledges, asks for repairs.
//!
//! As much of the protocol as its durable state needs. Its clock is a number that the test gives.

use std::collections::BTreeSet;

use persistency::sds::{
    Channel, HistoryEntry, IncomingMessage, IncomingRepairEntry, JobPersistence, OutgoingRepairEntry,
    SdsMessage, SnapshotPersistence, UnacknowledgedMessage,
};
use persistency::{Persistency, Result};

use crate::common::TestRoot;

pub const CHANNEL: &str = "general";

/// A message that depends on others.
pub fn message(id: &str, lamport: i64, deps: &[&str]) -> SdsMessage {
    SdsMessage {
        message_id: id.to_owned(),
        lamport_timestamp: lamport,
        causal_history: deps.iter().map(|id| entry(id)).collect(),
        channel_id: CHANNEL.to_owned(),
        content: format!("content of {id}").into_bytes(),
        sender_id: "other".into(),
        ..SdsMessage::default()
    }
}

pub fn entry(id: &str) -> HistoryEntry {
    HistoryEntry { message_id: id.to_owned(), retrieval_hint: vec![1, 2], sender_id: "other".into() }
}

/// What a protocol keeps in memory only, beside its channel.
pub struct Node {
    pub channel: Channel,
    /// Rebuilt from the history whenever the node starts.
    pub bloom: BTreeSet<String>,
    /// What this life of the node has handed to its user.
    pub delivered: Vec<String>,
    /// Errors of saves, which no operation fails with.
    pub unsaved: Vec<persistency::Error>,
}

impl Node {
    pub async fn start(store: impl SnapshotPersistence + 'static, messages_max: usize) -> Result<Self> {
        let channel = Channel::open(store, CHANNEL, messages_max).await?;
        let bloom = channel.history().map(|message| message.message_id.clone()).collect();
        Ok(Node { channel, bloom, delivered: Vec::new(), unsaved: Vec::new() })
    }

    pub async fn send(&mut self, id: &str, now_ms: u64) {
        let lamport = self.channel.meta().lamport + 1;
        let causal_history = self.channel.history().rev().take(2).map(|m| entry(&m.message_id)).collect();
        let message = SdsMessage { causal_history, ..message(id, lamport, &[]) };
        let meta = self.channel.meta_mut();
        meta.lamport = lamport;
        meta.outgoing_buffer.push(UnacknowledgedMessage {
            message: message.clone(),
            send_time_ms: now_ms,
            resend_attempts: 0,
        });
        self.deliver(message);
        self.end().await;
    }

    pub async fn resend(&mut self, now_ms: u64) {
        for waiting in &mut self.channel.meta_mut().outgoing_buffer {
            waiting.send_time_ms = now_ms;
            waiting.resend_attempts += 1;
        }
        self.end().await;
    }

    pub async fn acknowledge(&mut self, id: &str) {
        self.channel.meta_mut().outgoing_buffer.retain(|waiting| waiting.message.message_id != id);
        self.end().await;
    }

    pub async fn receive(&mut self, message: SdsMessage) {
        let id = message.message_id.clone();
        let known = self.bloom.contains(&id) || self.channel.meta().incoming_buffer.contains_key(&id);
        if !known {
            let meta = self.channel.meta_mut();
            meta.lamport = meta.lamport.max(message.lamport_timestamp);
            meta.outgoing_repair.remove(&id);
            let deps = message.causal_history.iter().map(|dep| dep.message_id.clone());
            let missing_deps: BTreeSet<String> = deps.filter(|dep| !self.bloom.contains(dep)).collect();
            if missing_deps.is_empty() {
                self.deliver(message);
                self.cascade();
            } else {
                let incoming = IncomingMessage { message, missing_deps };
                self.channel.meta_mut().incoming_buffer.insert(id, incoming);
            }
        }
        self.end().await;
    }

    pub async fn ask_for_repair(&mut self, id: &str, at_ms: u64) {
        let repair = OutgoingRepairEntry { history_entry: entry(id), min_time_request_ms: at_ms };
        self.channel.meta_mut().outgoing_repair.insert(id.to_owned(), repair);
        self.end().await;
    }

    pub async fn is_asked_for_repair(&mut self, id: &str, at_ms: u64) {
        let cached_message = self.channel.message(id).map(|message| message.content.clone());
        let repair = IncomingRepairEntry {
            history_entry: entry(id),
            cached_message: cached_message.unwrap_or_default(),
            min_time_response_ms: at_ms,
        };
        self.channel.meta_mut().incoming_repair.insert(id.to_owned(), repair);
        self.end().await;
    }

    pub async fn sweep_repairs(&mut self, now_ms: u64) {
        let meta = self.channel.meta_mut();
        meta.outgoing_repair.retain(|_, repair| repair.min_time_request_ms > now_ms);
        meta.incoming_repair.retain(|_, repair| repair.min_time_response_ms > now_ms);
        self.end().await;
    }

    pub fn ids(&self) -> Vec<&str> {
        self.channel.history().map(|message| &*message.message_id).collect()
    }

    fn deliver(&mut self, message: SdsMessage) {
        self.bloom.insert(message.message_id.clone());
        self.delivered.push(message.message_id.clone());
        self.channel.append(message);
    }

    /// Delivers what has waited for what was delivered, and so on.
    fn cascade(&mut self) {
        loop {
            let bloom = &self.bloom;
            let incoming = &mut self.channel.meta_mut().incoming_buffer;
            for waiting in incoming.values_mut() {
                waiting.missing_deps.retain(|dep| !bloom.contains(dep));
            }
            let ready = incoming.iter().find(|(_, waiting)| waiting.missing_deps.is_empty());
            let Some(id) = ready.map(|(id, _)| id.clone()) else { return };
            let Some(ready) = incoming.remove(&id) else { return };
            self.deliver(ready.message);
        }
    }

    /// The end of every protocol operation.
    pub async fn end(&mut self) {
        self.unsaved.extend(self.channel.save().await.err());
    }
}

/// A job with channels that can be closed and opened again; in memory it stays open.
pub struct Place<'a> {
    root: &'a TestRoot,
    open: Persistency,
    pub store: JobPersistence,
}

impl<'a> Place<'a> {
    pub async fn new(root: &'a TestRoot) -> Self {
        let open = root.open();
        let store = JobPersistence::new(open.open_job("node").await.unwrap());
        Place { root, open, store }
    }

    pub async fn restart(&mut self) {
        if self.root.persists() {
            self.open.close().await.unwrap();
            self.open = self.root.open();
        }
        self.store = JobPersistence::new(self.open.open_job("node").await.unwrap());
    }

    /// A node that begins after a restart.
    pub async fn node(&mut self, messages_max: usize) -> Node {
        self.restart().await;
        Node::start(self.store.clone(), messages_max).await.unwrap()
    }
}
