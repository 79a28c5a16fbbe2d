//! Rows: where the entries of a channel stand, what is around each, and how they are read back.
//!
//! Pure: never reads or writes a job. The tables and the messages are in the layer's documentation.

use std::sync::Arc;

use prost::Message;

use crate::error::{Error, ErrorKind, Quoted, Result};
use crate::key::Key;
use crate::payload::FromPayload;
use crate::scan::Row;
use crate::sds::codec::{SCHEMA_VERSION, check_version, read};
use crate::sds::types::{ChannelSnapshot, IncomingMessage, SdsMessage, UnacknowledgedMessage};
use crate::sds::wire::{ChannelMetaWire, RowWire};

/// What kind of entry a row holds; the second part of its key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Table {
    /// Who changed head or buffers last.
    Mark = 0,
    Head = 1,
    Outgoing = 2,
    Incoming = 3,
    OutgoingRepair = 4,
    IncomingRepair = 5,
    Hint = 6,
    History = 7,
}

/// An entry's place among those that have an order.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Stamp {
    /// The job's seq when the writer began or last loaded.
    pub(super) epoch: u64,
    /// Counts within it.
    pub(super) number: u64,
}

impl Table {
    const ALL: [Table; 8] = [
        Table::Mark,
        Table::Head,
        Table::Outgoing,
        Table::Incoming,
        Table::OutgoingRepair,
        Table::IncomingRepair,
        Table::Hint,
        Table::History,
    ];

    fn of(number: u8) -> Option<Self> {
        Self::ALL.into_iter().find(|table| *table as u8 == number)
    }

    fn name(self) -> &'static str {
        match self {
            Table::Mark => "mark",
            Table::Head => "head",
            Table::Outgoing => "outgoing buffer",
            Table::Incoming => "incoming buffer",
            Table::OutgoingRepair => "outgoing repairs",
            Table::IncomingRepair => "incoming repairs",
            Table::Hint => "retrieval hints",
            Table::History => "history",
        }
    }

    /// The key of an entry.
    pub(super) fn key(self, channel: &str, id: &str) -> Result<Key> {
        crate::key!(channel, self as u8, id)
    }

    /// What the keys of all its entries begin with.
    pub(super) fn prefix(self, channel: &str) -> Result<Key> {
        crate::key!(channel, self as u8)
    }

    /// The payload of an entry without an order.
    pub(super) fn payload(self, entry: Vec<u8>) -> Vec<u8> {
        RowWire { version: SCHEMA_VERSION, entry, ..RowWire::default() }.encode_to_vec()
    }
}

impl Stamp {
    /// The payload of an entry that has this place.
    pub(super) fn payload(self, entry: Vec<u8>) -> Vec<u8> {
        let Stamp { epoch, number } = self;
        RowWire { version: SCHEMA_VERSION, epoch, number, entry, writer: Vec::new() }.encode_to_vec()
    }

    /// The place that the row says its entry has; none if it cannot be read.
    pub(super) fn of(payload: &[u8]) -> Option<Self> {
        let RowWire { epoch, number, .. } = RowWire::decode(payload).ok()?;
        Some(Stamp { epoch, number })
    }
}

/// The payload of a channel's head.
pub(super) fn head(lamport: i64) -> Vec<u8> {
    let meta = ChannelMetaWire { version: SCHEMA_VERSION, lamport, ..ChannelMetaWire::default() };
    Table::Head.payload(meta.encode_to_vec())
}

/// The payload of a mark: no writer has the id of another one, and none gives a number twice.
pub(super) fn mark(writer: &[u8], number: u64) -> Vec<u8> {
    RowWire { version: SCHEMA_VERSION, number, writer: writer.to_vec(), ..RowWire::default() }.encode_to_vec()
}

/// The table and the id of a row.
fn place_of(key: &Key) -> Result<(Table, String)> {
    let (_, number, id) = key.decode::<(String, u8, String)>()?;
    match Table::of(number) {
        Some(table) => Ok((table, id)),
        None => Err(Error::new(ErrorKind::InvalidArgument, format!("there is no table {number}"))),
    }
}

/// A channel as its rows are read, one after another.
#[derive(Default)]
pub(super) struct Loaded {
    snapshot: ChannelSnapshot,
    history: Vec<(Stamp, SdsMessage)>,
    outgoing: Vec<(Stamp, UnacknowledgedMessage)>,
}

impl Loaded {
    /// Takes one row; the error names the row.
    pub(super) fn take(&mut self, row: &Row) -> Result<()> {
        // First of all: a newer version may have other tables.
        let version = check_version(&row.payload, "row");
        let newer = version.err().filter(|error| error.kind() == ErrorKind::VersionTooNew);
        let (taken, within) = match place_of(&row.key) {
            Ok((table, id)) => {
                let within = format!("{}, {}", table.name(), Quoted(&id));
                (newer.map_or_else(|| self.entry(table, &id, &row.payload), Err), within)
            }
            Err(error) => (Err(newer.unwrap_or(error)), "a row whose key cannot be read".to_owned()),
        };
        taken.map_err(|error| corrupt(error).in_context(within))
    }

    fn entry(&mut self, table: Table, id: &str, payload: &[u8]) -> Result<()> {
        check_version(payload, "row")?;
        let row: RowWire = read(payload, "row")?;
        let stamp = Stamp { epoch: row.epoch, number: row.number };
        let snapshot = &mut self.snapshot;
        match table {
            Table::Mark => {}
            Table::Head => {
                check_version(&row.entry, "channel meta")?;
                snapshot.lamport = read::<ChannelMetaWire>(&row.entry, "channel meta")?.lamport;
            }
            Table::Outgoing => {
                let message = UnacknowledgedMessage::from_payload(&row.entry)?;
                same(id, &message.message.message_id)?;
                self.outgoing.push((stamp, message));
            }
            Table::Incoming => {
                let message = IncomingMessage::from_payload(&row.entry)?;
                same(id, &message.message.message_id)?;
                snapshot.incoming_buffer.insert(id.to_owned(), message);
            }
            Table::OutgoingRepair => {
                snapshot.outgoing_repair.insert(id.to_owned(), FromPayload::from_payload(&row.entry)?);
            }
            Table::IncomingRepair => {
                snapshot.incoming_repair.insert(id.to_owned(), FromPayload::from_payload(&row.entry)?);
            }
            Table::Hint => {
                snapshot.retrieval_hints.insert(id.to_owned(), row.entry);
            }
            Table::History => {
                let message = SdsMessage::from_payload(&row.entry)?;
                same(id, &message.message_id)?;
                self.history.push((stamp, message));
            }
        }
        Ok(())
    }

    /// The channel, everything in its place, and the last stamp that it has.
    pub(super) fn finish(mut self) -> (ChannelSnapshot, Stamp) {
        self.history.sort_by(|(a, x), (b, y)| (a, &x.message_id).cmp(&(b, &y.message_id)));
        self.outgoing.sort_by(|(a, x), (b, y)| (a, &x.message.message_id).cmp(&(b, &y.message.message_id)));
        let last =
            [self.history.last().map(|(stamp, _)| *stamp), self.outgoing.last().map(|(stamp, _)| *stamp)];
        let last = last.into_iter().flatten().max().unwrap_or_default();
        self.snapshot.message_history = self.history.into_iter().map(|(_, message)| message).collect();
        self.snapshot.outgoing_buffer = self.outgoing.into_iter().map(|(_, message)| message).collect();
        (self.snapshot, last)
    }
}

/// What stands under an id is of that id.
fn same(id: &str, own: &str) -> Result<()> {
    match id == own {
        true => Ok(()),
        false => {
            Err(Error::new(ErrorKind::InvalidArgument, format!("the message's own id is {}", Quoted(own))))
        }
    }
}

/// Bytes that a caller gives can be his mistake; stored ones are damaged, unless they are newer.
fn corrupt(error: Error) -> Error {
    match error.kind() {
        ErrorKind::VersionTooNew => error,
        _ => Error::new(ErrorKind::Corrupt, error.message().to_owned()).with_source(Arc::new(error)),
    }
}
