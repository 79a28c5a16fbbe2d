//! Measures the layer `sds` beside the bare core: 10 channels with 200 operations a second each.
//!
//! An operation delivers one message of 200 bytes, evicts the oldest, acknowledges an own message and sends
//! another, and waits until all that is committed. The buffers hold some 30 entries, of which the cached
//! repairs are the largest: 14 KiB in all. The layer is given the channel's whole meta; the bare core puts
//! the same meta as one encoded value, the message as another, and deletes the evicted one, in one batch.
//!
//! Each is measured twice: at that pace, where the question is how long operations take and whether any
//! falls behind, and as fast as it goes. What an operation takes of the processors does not depend on what
//! else the machine does.
//!
//! `cargo run --release --example sds_load --features sds,cli`

#![allow(clippy::disallowed_methods, reason = "reading the time is what it is for")]

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use persistency::sds::{
    ChannelMeta, HistoryEntry, HistoryUpdate, IncomingMessage, IncomingRepairEntry, JobPersistence,
    OutgoingRepairEntry, SdsMessage, SnapshotPersistence, UnacknowledgedMessage,
};
use persistency::{Batch, Job, Persistency, Result, ToPayload, key};

const CHANNELS: usize = 10;
const PER_SECOND: u32 = 200;
const PACED: Duration = Duration::from_secs(5);
const UNPACED: Duration = Duration::from_secs(3);
const HISTORY: usize = 1_000;

/// What one channel has in memory.
struct Load {
    name: String,
    meta: ChannelMeta,
    count: usize,
}

impl Load {
    fn new(number: usize) -> Self {
        let entry = |id: usize| HistoryEntry {
            message_id: format!("{id:064x}"),
            retrieval_hint: vec![7; 32],
            sender_id: "somebody".into(),
        };
        let repair = |id| (format!("{id:064x}"), entry(id));
        let incoming = (0..6).map(|id| {
            let missing_deps = [format!("{:064x}", id + 1)].into();
            (format!("{id:064x}"), IncomingMessage { message: message(id), missing_deps })
        });
        let outgoing_repair = (0..8)
            .map(repair)
            .map(|(id, history_entry)| (id, OutgoingRepairEntry { history_entry, min_time_request_ms: 1 }));
        let incoming_repair = (0..8).map(repair).map(|(id, history_entry)| {
            (id, IncomingRepairEntry { history_entry, cached_message: vec![1; 800], min_time_response_ms: 1 })
        });
        let meta = ChannelMeta {
            lamport: 0,
            outgoing_buffer: (0..8).map(unacknowledged).collect(),
            incoming_buffer: incoming.collect(),
            outgoing_repair: outgoing_repair.collect::<BTreeMap<_, _>>(),
            incoming_repair: incoming_repair.collect::<BTreeMap<_, _>>(),
        };
        Load { name: format!("channel-{number}"), meta, count: 1_000 }
    }

    /// The next operation in memory; what the history gains and loses.
    fn step(&mut self) -> HistoryUpdate {
        self.count += 1;
        self.meta.lamport += 1;
        self.meta.outgoing_buffer.remove(0);
        self.meta.outgoing_buffer.push(unacknowledged(self.count));
        let evict = Vec::from_iter(self.count.checked_sub(HISTORY).map(|id| format!("{id:064x}")));
        HistoryUpdate { append: vec![message(self.count)], evict }
    }
}

fn message(id: usize) -> SdsMessage {
    SdsMessage {
        message_id: format!("{id:064x}"),
        lamport_timestamp: id as i64,
        content: vec![42; 200],
        ..SdsMessage::default()
    }
}

fn unacknowledged(id: usize) -> UnacknowledgedMessage {
    UnacknowledgedMessage { message: message(id), send_time_ms: 1_700_000_000_000, resend_attempts: 0 }
}

/// Who carries an operation out.
#[derive(Clone)]
enum Store {
    Core(Job),
    Layer(JobPersistence),
}

impl Store {
    async fn save(&self, load: &Load, update: &HistoryUpdate) -> Result<()> {
        match self {
            Store::Layer(store) => store.save_channel(&load.name, &load.meta, update).await,
            Store::Core(job) => {
                let mut batch = Batch::new().put("meta", key!(load.name)?, load.meta.to_payload()?);
                for message in &update.append {
                    batch = batch.put("log", key!(load.name, message.message_id)?, message.to_payload()?);
                }
                for id in &update.evict {
                    batch = batch.delete("log", key!(load.name, id)?);
                }
                job.persist_acked(batch).await.map(drop)
            }
        }
    }
}

/// How long each operation took, in microseconds, and what all of them took of the processors.
struct Measured {
    micros: Vec<u64>,
    seconds: f64,
    processor_seconds: f64,
}

/// What this process has had of the processors so far, where Linux tells it in hundredths of a second.
fn processor_seconds() -> f64 {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
    let fields = stat.rsplit_once(") ").map_or("", |(_, fields)| fields);
    let ticks = fields.split(' ').skip(11).take(2).filter_map(|field| field.parse::<f64>().ok());
    ticks.sum::<f64>() / 100.0
}

impl Measured {
    fn print(mut self, name: &str) -> f64 {
        self.micros.sort_unstable();
        let at = |share: f64| self.micros[((self.micros.len() - 1) as f64 * share) as usize];
        let rate = self.micros.len() as f64 / self.seconds;
        let (median, p99, worst) = (at(0.5), at(0.99), at(1.0));
        let processor = 1e6 * self.processor_seconds / self.micros.len() as f64;
        println!(
            "{name:<30} {rate:>6.0} operations/s, median {median} us, p99 {p99} us, worst {worst} us, \
             of processors {processor:.0} us"
        );
        rate
    }
}

/// Runs all channels for a while; at the pace an operation's time counts from when it was due.
async fn measure(store: &Store, paced: bool) -> Measured {
    let (start, before) = (Instant::now(), processor_seconds());
    let mut channels = tokio::task::JoinSet::new();
    for number in 0..CHANNELS {
        let store = store.clone();
        channels.spawn(async move {
            let (mut load, mut micros) = (Load::new(number), Vec::new());
            let mut pace = tokio::time::interval(Duration::from_secs(1) / PER_SECOND);
            pace.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Burst);
            while start.elapsed() < if paced { PACED } else { UNPACED } {
                let due = if paced { pace.tick().await.into_std() } else { Instant::now() };
                let update = load.step();
                store.save(&load, &update).await.expect("a save");
                micros.push(due.elapsed().as_micros() as u64);
            }
            micros
        });
    }
    let micros = channels.join_all().await.concat();
    let processor_seconds = processor_seconds() - before;
    Measured { micros, seconds: start.elapsed().as_secs_f64(), processor_seconds }
}

#[tokio::main]
async fn main() -> std::result::Result<(), Box<dyn std::error::Error>> {
    let directory = tempfile::tempdir()?;
    let root = Arc::new(Persistency::open(directory.path())?);
    let core = Store::Core(root.open_job("core").await?);
    let layer = Store::Layer(JobPersistence::new(root.open_job("sds").await?));
    println!("meta of {} bytes", Load::new(0).meta.to_payload()?.len());
    measure(&core, true).await.print("bare core, paced");
    measure(&layer, true).await.print("layer, paced");
    let core = measure(&core, false).await.print("bare core, as fast as it goes");
    let layer = measure(&layer, false).await.print("layer, as fast as it goes");
    println!("the layer does {:.0} % of what the bare core does", 100.0 * layer / core);
    root.close().await?;
    Ok(())
}
