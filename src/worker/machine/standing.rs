//! What a worker knows about where its job stands, and how it believes what it reads.

use std::sync::Arc;

use super::super::waiters::Until;
use super::connection::Failure;
use crate::engine::{Sharing, Verify};
use crate::record::Record;

pub(super) struct Standing {
    /// The life of the job that this worker has opened.
    pub(super) generation: [u8; 16],
    /// 16 random bytes of this opening.
    pub(super) writer: [u8; 16],
    /// The newest record seen.
    pub(super) record: Arc<Record>,
    pub(super) sharing: Sharing,
    /// A sync has failed: what the medium says about durability is not believed.
    pub(super) poisoned: bool,
    /// Whether we have changed what the log keeps and not put that on the medium yet: such a change
    /// takes no seq, so the durable marker does not tell.
    pub(super) log_unsynced: bool,
    groups: u64,
}

impl Standing {
    pub(super) fn new(writer: [u8; 16], record: Record, sharing: Sharing) -> Self {
        Standing {
            generation: record.generation,
            writer,
            record: Arc::new(record),
            sharing,
            poisoned: false,
            log_unsynced: false,
            groups: 0,
        }
    }

    /// The number of this writer's next group.
    pub(super) fn next_group(&mut self) -> u64 {
        self.groups += 1;
        self.groups
    }

    /// How a read makes sure that it did not look into a dropped job.
    pub(super) fn verify(&self) -> Verify {
        match self.sharing {
            Sharing::Exclusive => Verify::Never,
            Sharing::Shared => Verify::WhenEmpty,
            Sharing::ReadOnly => Verify::Always,
        }
    }

    /// Whether others can commit to the job too.
    pub(super) fn is_shared(&self) -> bool {
        self.sharing != Sharing::Exclusive
    }

    pub(super) fn is_durable(&self, until: Until) -> bool {
        let record = &self.record;
        match until {
            Until::Task(_) => record.durable_seq >= record.committed_seq && !self.log_unsynced,
            // No sync can reach beyond what is committed.
            Until::Seq(seq) => record.durable_seq >= seq.min(record.committed_seq),
        }
    }

    /// Takes the record that a commit of our own has written.
    pub(super) fn committed(&mut self, after: Arc<Record>, durable: bool) {
        let (before, now) = (&self.record.log, &after.log);
        let changed = (before.retention, &before.holders) != (now.retention, &now.holders)
            || self.record.filling != after.filling;
        self.log_unsynced = !durable && (changed || self.log_unsynced);
        self.record = after;
    }

    /// Takes the bytes of a record that was read; `Gone` if it is not of our life of the job.
    pub(super) fn take_record(&mut self, bytes: Option<Vec<u8>>) -> Result<Arc<Record>, Failure> {
        let Some(bytes) = bytes else { return Err(Failure::Gone) };
        let mut record = Record::decode(&bytes)?;
        if record.dropped || record.generation != self.generation {
            return Err(Failure::Gone);
        }
        let newest = &mut self.record;
        if self.poisoned {
            // The marker of the sync that failed can be read, and means nothing.
            record.durable_seq = record.durable_seq.min(newest.durable_seq);
        }
        let record = Arc::new(record);
        // A view that was asked for before the last commit may come after it.
        if (record.committed_seq, record.durable_seq) >= (newest.committed_seq, newest.durable_seq) {
            *newest = Arc::clone(&record);
        }
        Ok(record)
    }
}
