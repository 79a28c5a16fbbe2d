//! A Scalable Data Sync channel that survives a restart.
//!
//! A participant keeps one channel: it sends, gets acknowledgements, and receives messages, of which some
//! come before what they depend on. Every protocol operation changes the channel in memory and ends with
//! one `save`, which writes what has changed in one atomic batch. After a restart everything is where it
//! was: what awaits an acknowledgement is sent again, and what was missing can still arrive. A save that
//! fails stops nothing: the next one writes what it could not.
//!
//! `cargo run --example sds --features sds,cli`

use std::collections::BTreeSet;
use std::path::Path;

use persistency::sds::{
    Channel, Fault, FaultyPersistence, HISTORY_DEFAULT, HistoryEntry, IncomingMessage, JobPersistence,
    Operation, SdsMessage, SnapshotPersistence, UnacknowledgedMessage,
};
use persistency::{ErrorKind, Persistency, Result};

const CHANNEL: &str = "general";

struct Participant {
    channel: Channel,
    /// What a real one asks its bloom filter; rebuilt from the history, never stored.
    seen: BTreeSet<String>,
}

impl Participant {
    /// A channel that cannot be loaded must not start empty, so this is an error of the program.
    async fn start(store: impl SnapshotPersistence + 'static) -> Result<Self> {
        let channel = Channel::open(store, CHANNEL, HISTORY_DEFAULT).await?;
        let seen = channel.history().map(|message| message.message_id.clone()).collect();
        Ok(Participant { channel, seen })
    }

    async fn send(&mut self, id: &str, text: &str, now_ms: u64) {
        let last = self.channel.history().next_back();
        let meta_lamport = self.channel.meta().lamport + 1;
        let message = SdsMessage {
            message_id: id.to_owned(),
            lamport_timestamp: meta_lamport,
            causal_history: last.map(|last| depends_on(&last.message_id)).into_iter().collect(),
            channel_id: CHANNEL.to_owned(),
            content: text.as_bytes().to_vec(),
            sender_id: "ada".into(),
            ..SdsMessage::default()
        };
        let waiting =
            UnacknowledgedMessage { message: message.clone(), send_time_ms: now_ms, resend_attempts: 0 };
        let meta = self.channel.meta_mut();
        meta.lamport = meta_lamport;
        meta.outgoing_buffer.push(waiting);
        self.deliver(message);
        self.end().await;
    }

    async fn acknowledged(&mut self, id: &str) {
        self.channel.meta_mut().outgoing_buffer.retain(|waiting| waiting.message.message_id != id);
        self.end().await;
    }

    async fn receive(&mut self, message: SdsMessage) {
        let deps = message.causal_history.iter().map(|dep| dep.message_id.clone());
        let missing_deps: BTreeSet<String> = deps.filter(|dep| !self.seen.contains(dep)).collect();
        let meta = self.channel.meta_mut();
        meta.lamport = meta.lamport.max(message.lamport_timestamp);
        if missing_deps.is_empty() {
            self.deliver(message);
            self.deliver_what_waited();
        } else {
            println!("  {} waits for {missing_deps:?}", message.message_id);
            let id = message.message_id.clone();
            meta.incoming_buffer.insert(id, IncomingMessage { message, missing_deps });
        }
        self.end().await;
    }

    fn deliver(&mut self, message: SdsMessage) {
        println!("  {}: {}", message.sender_id, String::from_utf8_lossy(&message.content));
        self.seen.insert(message.message_id.clone());
        self.channel.append(message);
    }

    fn deliver_what_waited(&mut self) {
        loop {
            let incoming = &mut self.channel.meta_mut().incoming_buffer;
            let seen = &self.seen;
            let ready = incoming.iter().find(|(_, waiting)| waiting.missing_deps.is_subset(seen));
            let Some(id) = ready.map(|(id, _)| id.clone()) else { return };
            let Some(ready) = incoming.remove(&id) else { return };
            self.deliver(ready.message);
        }
    }

    /// The end of every operation. Memory is the truth, so a failure is told and no more.
    async fn end(&mut self) {
        if let Err(error) = self.channel.save().await {
            println!("  not saved yet: {error}");
        }
    }
}

fn depends_on(id: &str) -> HistoryEntry {
    HistoryEntry { message_id: id.to_owned(), ..HistoryEntry::default() }
}

fn from_grace(id: &str, lamport: i64, text: &str, dep: Option<&str>) -> SdsMessage {
    SdsMessage {
        message_id: id.to_owned(),
        lamport_timestamp: lamport,
        causal_history: dep.map(depends_on).into_iter().collect(),
        channel_id: CHANNEL.to_owned(),
        content: text.as_bytes().to_vec(),
        sender_id: "grace".into(),
        ..SdsMessage::default()
    }
}

async fn first_run(directory: &Path) -> Result<()> {
    println!("first run");
    let root = Persistency::open(directory)?;
    let store = FaultyPersistence::over(JobPersistence::new(root.open_job("ada").await?));
    let mut ada = Participant::start(store.clone()).await?;
    ada.send("a1", "hello", 1_000).await;
    // The medium is full for a moment: this one is saved together with the next.
    store.inject_times(Operation::SaveChannel, Fault::Refused(ErrorKind::StorageFull), 1);
    ada.send("a2", "is anybody there?", 2_000).await;
    ada.acknowledged("a1").await;
    assert!(ada.channel.is_saved());
    // It depends on a message that has not arrived.
    ada.receive(from_grace("g2", 5, "and how are you?", Some("g1"))).await;
    root.close().await
}

async fn second_run(directory: &Path) -> Result<()> {
    println!("second run");
    let root = Persistency::open(directory)?;
    let store = JobPersistence::new(root.open_job("ada").await?);
    let mut ada = Participant::start(store.clone()).await?;
    assert_eq!(ada.channel.meta().lamport, 5);
    assert_eq!(ada.seen, BTreeSet::from(["a1", "a2"].map(String::from)));
    for waiting in &ada.channel.meta().outgoing_buffer {
        println!("  to be sent again: {}", waiting.message.message_id);
        assert_eq!((&*waiting.message.message_id, waiting.send_time_ms), ("a2", 2_000));
    }
    ada.receive(from_grace("g1", 4, "hi", None)).await;
    let ids: Vec<&str> = ada.channel.history().map(|message| &*message.message_id).collect();
    assert_eq!(ids, ["a1", "a2", "g1", "g2"]);

    ada.channel.remove().await?;
    assert!(store.channels().await?.is_empty());
    root.close().await
}

#[tokio::main]
async fn main() -> std::result::Result<(), Box<dyn std::error::Error>> {
    let directory = tempfile::tempdir()?;
    first_run(directory.path()).await?;
    second_run(directory.path()).await?;
    Ok(())
}
