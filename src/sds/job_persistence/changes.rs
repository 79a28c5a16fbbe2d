//! What has to be written so that a channel's rows say what its new state says, and nothing more.
//!
//! Pure: compares bytes; what cannot be read is replaced, what is newer is refused.

use std::collections::BTreeMap;

use super::rows::{Stamp, Table, head, lamport_of};
use super::{CATEGORY, Writer};
use crate::batch::Batch;
use crate::error::{ErrorKind, Result};
use crate::key::Key;
use crate::payload::ToPayload;
use crate::scan::Row;
use crate::sds::codec::check_version;
use crate::sds::types::{ChannelMeta, HistoryUpdate};

/// Makes the rows of the head and the buffers, which are `stored`, those of `meta`, and applies the update.
///
/// The batch requires the head to be as it was read: so of two that were made beside each other one fails,
/// and no mixture of both is ever stored.
pub(super) fn save(
    channel: &str,
    stored: &[Row],
    meta: &ChannelMeta,
    update: &HistoryUpdate,
    writer: &Writer,
) -> Result<Batch> {
    for row in stored {
        if let Err(error) = check_version(&row.payload, "row")
            && error.kind() == ErrorKind::VersionTooNew
        {
            return Err(error);
        }
    }
    let mut rows: BTreeMap<&Key, &[u8]> = stored.iter().map(|row| (&row.key, &*row.payload)).collect();
    let head_key = Table::Head.key(channel, "")?;
    let old_head = rows.remove(&head_key);
    let mut changes = Changes { channel, batch: Batch::new(), rows };
    changes.outgoing(meta, writer)?;
    changes.entries(Table::Incoming, &meta.incoming_buffer)?;
    changes.entries(Table::OutgoingRepair, &meta.outgoing_repair)?;
    changes.entries(Table::IncomingRepair, &meta.incoming_repair)?;
    let mut batch = changes.finish();

    let same_lamport = old_head.is_some_and(|head| lamport_of(head).is_some_and(|old| old == meta.lamport));
    if !batch.is_empty() || !same_lamport {
        batch = match old_head {
            Some(old) => batch.require_equal(CATEGORY, &head_key, old),
            None => batch.require_absent(CATEGORY, &head_key),
        };
        batch = batch.put(CATEGORY, head_key, head(meta.lamport, writer.order.next(), &writer.id));
    }
    history(batch, channel, update, writer)
}

/// Adds what a history update does.
pub(super) fn history(
    mut batch: Batch,
    channel: &str,
    update: &HistoryUpdate,
    writer: &Writer,
) -> Result<Batch> {
    for message in &update.append {
        let payload = writer.order.next().payload(message.to_payload()?);
        batch = batch.put(CATEGORY, Table::History.key(channel, &message.message_id)?, payload);
    }
    for id in &update.evict {
        batch = evict(batch, channel, id)?;
    }
    Ok(batch)
}

/// Adds: a message leaves the history, with its hint.
pub(super) fn evict(batch: Batch, channel: &str, id: &str) -> Result<Batch> {
    let batch = batch.delete(CATEGORY, Table::History.key(channel, id)?);
    Ok(batch.delete(CATEGORY, Table::Hint.key(channel, id)?))
}

struct Changes<'a> {
    channel: &'a str,
    batch: Batch,
    /// What is stored and has not been met in the new state yet.
    rows: BTreeMap<&'a Key, &'a [u8]>,
}

impl Changes<'_> {
    fn entries<T: ToPayload>(&mut self, table: Table, entries: &BTreeMap<String, T>) -> Result<()> {
        entries.iter().try_for_each(|(id, entry)| {
            let payload = table.payload(entry.to_payload()?);
            self.put(table.key(self.channel, id)?, payload);
            Ok(())
        })
    }

    /// Entries keep their places as long as these ascend; from where they do not, each gets a new one.
    fn outgoing(&mut self, meta: &ChannelMeta, writer: &Writer) -> Result<()> {
        let mut last = Stamp::default();
        for message in &meta.outgoing_buffer {
            let key = Table::Outgoing.key(self.channel, &message.message.message_id)?;
            let stored = self.rows.get(&key).and_then(|payload| Stamp::of(payload));
            last = match stored {
                Some(stamp) if stamp > last => stamp,
                _ => writer.order.next_after(last),
            };
            self.put(key, last.payload(message.to_payload()?));
        }
        Ok(())
    }

    fn put(&mut self, key: Key, payload: Vec<u8>) {
        if self.rows.remove(&key) != Some(&payload) {
            self.batch = std::mem::take(&mut self.batch).put(CATEGORY, key, payload);
        }
    }

    /// What has not been met goes.
    fn finish(self) -> Batch {
        self.rows.into_keys().fold(self.batch, |batch, key| batch.delete(CATEGORY, key))
    }
}
