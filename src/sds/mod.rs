//! Layer `sds`: durable state of Scalable Data Sync channels, over a [`Job`](crate::Job).
//!
//! A protocol such as SDS knows *what* of a channel must survive a restart; this layer knows how to keep
//! it. It runs no protocol: no timers, no networking, no bloom filter (rebuild that from the history).
//! Times are stored as they are given and never read from a clock.
//!
//! # What a channel is
//!
//! A Lamport time, the history of delivered messages, oldest first, and four buffers: messages that await
//! an acknowledgement (in order), messages that await what they depend on, and repairs that are to be
//! asked for or answered. Retrieval hints go with the messages. Any number of channels share a job.
//!
//! # Where to begin
//!
//! Who writes a protocol anew begins with [`Channel`]: the state of one channel in memory, changed freely, and
//! [`Channel::save`] at the end of each operation. Who has a protocol that keeps its own state implements
//! nothing either, but calls [`JobPersistence`] in one of the two ways below. Who keeps channels elsewhere
//! implements [`Persistence`]. `examples/sds.rs` is a whole participant over a `Channel`, stopped and started
//! again: `cargo run --example sds --features sds,cli`.
//!
//! # Two ways to write, one state
//!
//! * [`Persistence`]: fourteen small operations, one for each change in memory, called right after it.
//! * [`SnapshotPersistence`]: per protocol operation the whole fast-changing state as one [`ChannelMeta`]
//!   and what the history has gained and lost as one [`HistoryUpdate`]; [`save_channel`] writes both in
//!   one atomic batch.
//!
//! [`JobPersistence`] does both on the same rows, one per entry: what one way has written the other way
//! reads, changes and deletes, so they can be mixed freely. Saving a whole [`ChannelMeta`] compares it
//! with the rows and writes only what differs. The two ways of loading differ in the order of the history
//! alone: [`ChannelSnapshot`] is oldest first by insertion, [`ChannelData`] by (Lamport time, message id).
//!
//! ```
//! use persistency::Persistency;
//! use persistency::sds::{ChannelMeta, HistoryUpdate, JobPersistence, Persistence, SdsMessage};
//! use persistency::sds::SnapshotPersistence;
//!
//! # async fn example() -> persistency::Result<()> {
//! let root = Persistency::open(":memory:")?;
//! let store = JobPersistence::new(root.open_job("node").await?);
//! let message = SdsMessage { message_id: "m1".into(), content: b"hi".to_vec(), ..SdsMessage::default() };
//!
//! // One protocol operation, one batch.
//! let meta = ChannelMeta { lamport: 1, ..ChannelMeta::default() };
//! let update = HistoryUpdate { append: vec![message.clone()], evict: vec![] };
//! store.save_channel("general", &meta, &update).await?;
//!
//! // The small operations work on the same state.
//! store.save_lamport("general", 2).await?;
//! let snapshot = store.load_all_for_channel("general").await?;
//! assert_eq!((snapshot.lamport, snapshot.message_history), (2, vec![message]));
//!
//! store.drop_channel("general").await?;
//! assert_eq!(store.load_all_for_channel("general").await?, Default::default());
//! # root.close().await
//! # }
//! # futures_executor::block_on(example()).unwrap();
//! ```
//!
//! # When something fails
//!
//! Memory is the truth while a protocol runs. A save or an update that fails says so and has changed
//! nothing (or all of it, see [`Error::outcome`](crate::Error::outcome)); the protocol goes on and tries
//! again: every operation can be repeated, and the next [`ChannelMeta`] heals a missed one. For the
//! history a [`HistoryQueue`] remembers what is still to be written. Loading and dropping are errors that
//! the protocol must not go on from: a channel that cannot be loaded must not start empty, and one that
//! could not be dropped is still there. [`Channel`] is all of this in one small type: state in memory,
//! written by [`Channel::save`], with the queue and the rules above.
//!
//! [`FaultyPersistence`] makes chosen operations fail, for tests of your own failure handling;
//! [`MemoryPersistence`] keeps everything in memory, [`NoOpPersistence`] keeps nothing.
//!
//! # What resolves when
//!
//! | operation | resolves when |
//! |---|---|
//! | every save, update and remove | as the handle says: [`Resolve::Committed`] unless chosen otherwise |
//! | `drop_channel` | committed at least, also where the handle says accepted |
//! | loads | when they have read: they see everything that was accepted before |
//!
//! [`JobPersistence::resolving`] gives a handle of another choice on the same state. What resolved when it
//! was *accepted* can be lost with the process (never in part, and never without what came after it), and
//! its failure is reported by [`JobPersistence::flush`] or by closing.
//!
//! # Encoding
//!
//! Everything is in one category, [`CATEGORY`]. A row's key is `key!(channel, table, id)`, its value a
//! protobuf message `{1: version, 2: epoch, 3: number, 4: entry, 5: writer}`: `version` is
//! [`SCHEMA_VERSION`], and (epoch, number) gives the entry its place where order matters. Who changes the
//! head or a buffer leaves a mark, which says who and counts, so a whole save can require that the rows it
//! was compared with are those that are stored. `entry` is the message below.
//!
//! | table | id | entry |
//! |---|---|---|
//! | 0, mark | empty | none |
//! | 1, head | empty | `ChannelMeta` without its lists |
//! | 2, outgoing | message id | `Unacknowledged`, ordered |
//! | 3, incoming | message id | `Incoming` |
//! | 4, outgoing repair | message id | `OutgoingRepair` |
//! | 5, incoming repair | message id | `IncomingRepair` |
//! | 6, retrieval hint | message id | the hint's bytes |
//! | 7, history | message id | `SdsMessage`, ordered |
//!
//! | message | fields |
//! |---|---|
//! | `HistoryEntry` | 1 message id, 2 retrieval hint, 3 sender id |
//! | `SdsMessage` | 1 message id, 2 Lamport time, 3 causal history\*, 4 channel id, 5 content, 6 bloom filter, 7 sender id, 13 repair request\* |
//! | `Unacknowledged` | 1 message, 2 send time, 3 attempts |
//! | `Incoming` | 1 message, 2 missing dependency\* |
//! | `OutgoingRepair` | 1 history entry, 2 time of the request |
//! | `IncomingRepair` | 1 history entry, 2 cached message, 3 time of the response |
//! | `ChannelMeta` | 1 version, 2 Lamport time, 3 `Unacknowledged`\*, 4 `Incoming`\*, 5 {1 id, 2 `OutgoingRepair`}\*, 6 {1 id, 2 `IncomingRepair`}\* |
//! | `ChannelData` | 1 `ChannelMeta`, 2 `SdsMessage`\* |
//! | `HistoryUpdate` | 1 `SdsMessage`\*, 2 evicted message id\* |
//!
//! Times are milliseconds since the Unix epoch. The same messages, with the field numbers of other
//! implementations of the protocol, are what [`ToPayload`](crate::ToPayload) and
//! [`FromPayload`](crate::FromPayload) read and write for the types of this module. A newer version is
//! `VersionTooNew`; a row that cannot be read fails the load as `Corrupt`, naming channel, table and id,
//! and is never skipped. Removing that entry, or dropping the channel, works all the same.
//!
//! # Several writers
//!
//! A channel has one protocol at a time; that can move to another tab, which loads the channel and goes
//! on. Entries of writers that did not know of each other do not overwrite each other: rows are found by
//! message id, and places in the history are taken from (commit seq when the writer began or last loaded,
//! a count), so who loads after another one's commit writes behind it.
//!
//! [`save_channel`]: SnapshotPersistence::save_channel

mod channel;
mod codec;
mod faulty;
mod history_queue;
mod job_persistence;
mod memory;
mod no_op;
mod persistence;
mod types;
mod wire;

pub use channel::Channel;
pub use codec::SCHEMA_VERSION;
pub use faulty::{Fault, FaultyPersistence, Operation};
pub use history_queue::{HistoryFlush, HistoryQueue};
pub use job_persistence::{CATEGORY, JobPersistence, Resolve};
pub use memory::MemoryPersistence;
pub use no_op::NoOpPersistence;
pub use persistence::{Persistence, SnapshotPersistence};
pub use types::{
    CAUSAL_HISTORY_DEFAULT, ChannelData, ChannelMeta, ChannelSnapshot, HISTORY_DEFAULT, HistoryEntry,
    HistoryUpdate, IncomingMessage, IncomingRepairEntry, MESSAGE_BYTES_DEFAULT, MessageId,
    OutgoingRepairEntry, ParticipantId, REPAIR_REQUESTS_DEFAULT, SdsMessage, UnacknowledgedMessage,
};
