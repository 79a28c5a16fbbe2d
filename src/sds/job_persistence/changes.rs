//! What has to be written so that a channel's rows say what its new state says, and nothing more.
//!
//! Pure: compares bytes; what cannot be read is replaced, what is newer is refused.

use std::collections::BTreeMap;

use super::remembered::Buffers;
use super::rows::{Stamp, Table, head};
use super::{CATEGORY, Writer};
use crate::batch::Batch;
use crate::error::{ErrorKind, Result};
use crate::key::Key;
use crate::payload::ToPayload;
use crate::sds::codec::check_version;
use crate::sds::types::{ChannelMeta, HistoryUpdate};

/// Makes the rows of the head and the buffers, which are `stored`, those of `meta`, and applies the update;
/// with the rows that are stored then.
///
/// The batch requires the mark to be the stored one: so nothing is made of rows that somebody else has
/// changed, and of two saves that were made beside each other no mixture is ever stored.
pub(super) fn save(
    channel: &str,
    mut stored: Buffers,
    meta: &ChannelMeta,
    update: &HistoryUpdate,
    writer: &Writer,
) -> Result<(Batch, Buffers)> {
    for payload in stored.values() {
        if let Err(error) = check_version(payload, "row")
            && error.kind() == ErrorKind::VersionTooNew
        {
            return Err(error);
        }
    }
    let mark_key = Table::Mark.key(channel, "")?;
    let old_mark = stored.remove(&mark_key);
    let mut changes = Changes { channel, batch: Batch::new(), stored, after: Buffers::new() };
    changes.put(Table::Head.key(channel, "")?, head(meta.lamport));
    changes.outgoing(meta, writer)?;
    changes.entries(Table::Incoming, &meta.incoming_buffer)?;
    changes.entries(Table::OutgoingRepair, &meta.outgoing_repair)?;
    changes.entries(Table::IncomingRepair, &meta.incoming_repair)?;
    let (mut batch, mut after) = changes.finish();

    let changed = !batch.is_empty();
    batch = match &old_mark {
        Some(old) => batch.require_equal(CATEGORY, &mark_key, &**old),
        None => batch.require_absent(CATEGORY, &mark_key),
    };
    let mark = if changed { Some(writer.mark()) } else { old_mark };
    if let Some(mark) = mark {
        if changed {
            batch = batch.put(CATEGORY, &mark_key, &*mark);
        }
        after.insert(mark_key, mark);
    }
    Ok((history(batch, channel, update, writer)?, after))
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
    Table::History.prefix(channel)?;
    match (Table::History.key(channel, id), Table::Hint.key(channel, id)) {
        (Ok(message), Ok(hint)) => Ok(batch.delete(CATEGORY, message).delete(CATEGORY, hint)),
        // What has no key was never stored; an error would keep the channel from ever being saved again.
        _ => Ok(batch),
    }
}

/// Adds: the channel's buffers have been changed otherwise than by a whole save.
pub(super) fn marked(batch: Batch, channel: &str, writer: &Writer) -> Result<Batch> {
    Ok(batch.put(CATEGORY, Table::Mark.key(channel, "")?, writer.mark()))
}

struct Changes<'a> {
    channel: &'a str,
    batch: Batch,
    /// What is stored and has not been met in the new state yet.
    stored: Buffers,
    after: Buffers,
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
            let stored = self.stored.get(&key).and_then(|payload| Stamp::of(payload));
            last = match stored {
                Some(stamp) if stamp > last => stamp,
                _ => writer.order.next_after(last),
            };
            self.put(key, last.payload(message.to_payload()?));
        }
        Ok(())
    }

    fn put(&mut self, key: Key, payload: Vec<u8>) {
        if self.stored.remove(&key).as_ref() != Some(&payload) {
            self.batch = std::mem::take(&mut self.batch).put(CATEGORY, &key, &*payload);
        }
        self.after.insert(key, payload);
    }

    /// What has not been met goes.
    fn finish(self) -> (Batch, Buffers) {
        let batch = self.stored.into_keys().fold(self.batch, |batch, key| batch.delete(CATEGORY, key));
        (batch, self.after)
    }
}
