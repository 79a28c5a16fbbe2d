//! Gathering: a group that is put on the medium waits a moment for writers who are about to come.
//!
//! Those who were answered together come again together, but not at once. Without this the first of them would
//! have the medium for himself, and all the others would wait until it has been synced for him.
//! Never makes anybody wait for long: it ends when nobody comes, or when as many are there as were answered.

use super::Machine;
use crate::engine::GATHERS;
use crate::limits::{GATHERING_LOOKS_MAX, GATHERING_MS_MAX};

/// Who is likely to come, and how long that has been waited for.
#[derive(Debug, Default)]
pub(super) struct Gathering {
    /// Writes that the last group answered.
    answered: usize,
    /// Looks since the last write came.
    looks: usize,
    /// When the first look was.
    since: Option<u64>,
}

impl Gathering {
    /// So many have been answered.
    pub(super) fn have_been_answered(&mut self, writes: usize) {
        *self = Gathering { answered: writes, ..Gathering::default() };
    }

    /// Another write is there.
    pub(super) fn has_come(&mut self) {
        self.looks = 0;
    }
}

impl Machine {
    /// Whether the next group waits for writes that are about to come; then the driver gives way and looks again.
    pub(crate) fn gathers(&self) -> bool {
        GATHERS
            && self.durable_always
            && self.step.is_none()
            && self.last_command.is_none()
            && !self.gone
            && !self.reads.any_beginning()
            && !self.writes.is_empty()
            && self.writes.len() < self.gathering.answered
    }

    /// The same, for the step that would begin the group: whether to wait on, after another look.
    pub(super) fn gathers_on(&mut self) -> bool {
        if !self.gathers() {
            return false;
        }
        let now = self.now();
        let since = *self.gathering.since.get_or_insert(now);
        self.gathering.looks += 1;
        let goes_on =
            self.gathering.looks <= GATHERING_LOOKS_MAX && now.saturating_sub(since) <= GATHERING_MS_MAX;
        if !goes_on {
            // Who did not come is not waited for again.
            self.gathering = Gathering::default();
        }
        goes_on
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::time::Duration;

    use super::super::super::command::{Command, QueuedTask};
    use super::super::super::link::{Bounds, Link};
    use super::super::super::slot::Slot;
    use super::super::super::turn::Task;
    use super::super::{Ask, STEP, Wish, change};
    use super::*;
    use crate::clock::Clock;
    use crate::engine::Sharing;
    use crate::key::Key;
    use crate::record::Record;
    use crate::room::Share;
    use crate::testing::test;
    use crate::{Batch, batch::CheckedBatch};

    /// A machine and the engine of its tests, which has a record and nothing else.
    struct Writers {
        machine: Machine,
        clock: Clock,
        record: Vec<u8>,
    }

    impl Writers {
        fn new(durable_always: bool) -> Self {
            let (clock, record) = (Clock::manual(1), Record::new([0; 16], 0));
            let bounds = Bounds { operations: 100, bytes: 1000, deadline_ms: None };
            let link = Link::new("job".into(), clock.clone(), bounds);
            let encoded = record.encode();
            let machine = Machine::new(link, [0; 16], record, Sharing::Exclusive, durable_always);
            Writers { machine, clock, record: encoded }
        }

        fn come(&mut self, writes: usize) {
            for _ in 0..writes {
                let operations = Batch::new().put("c", Key::from_bytes(*b"k"), "v").operations().into();
                let batch = CheckedBatch { preconditions: Arc::new([]), operations, bytes: 3 };
                let task = Task::Batch { batch, report_existed: false };
                let (_slot, ticket) = Slot::pair();
                let credit = Share::of_nothing();
                let queued = QueuedTask { number: 0, task, ticket, deadline: None, pending: None, credit };
                self.machine.receive(Command::Write(queued));
            }
        }

        /// How many writes the machine commits together now; none if it waits.
        fn commit(&mut self) -> Option<usize> {
            assert!(self.machine.advance().is_none());
            let applied = self.machine.wishes().into_iter().find_map(|wish| match wish {
                Wish::Ask(STEP, Ask::Apply(turn, told)) => Some((turn, told)),
                _ => None,
            });
            let (turn, told) = applied?;
            let writes = turn.tasks.len();
            (change(turn, told).decide)(vec![Some(self.record.clone())]);
            self.machine.answered(STEP, Ok(None));
            Some(writes)
        }
    }

    #[test]
    fn a_group_that_is_put_on_the_medium_waits_for_those_who_were_answered_together() {
        let mut writers = Writers::new(true);
        writers.come(3);
        assert_eq!(writers.commit(), Some(3));
        for _ in 0..2 {
            writers.come(1);
            assert_eq!(writers.commit(), None);
            assert!(writers.machine.gathers());
        }
        writers.come(1);
        assert_eq!(writers.commit(), Some(3));
        writers.come(5);
        assert_eq!(writers.commit(), Some(5));
    }

    #[test]
    fn who_does_not_come_is_not_waited_for_again() {
        let mut writers = Writers::new(true);
        writers.come(3);
        assert_eq!(writers.commit(), Some(3));
        writers.come(1);
        let looks = (0..).find(|_| writers.commit() == Some(1));
        assert_eq!(looks, Some(GATHERING_LOOKS_MAX));
        writers.come(1);
        assert_eq!(writers.commit(), Some(1));
    }

    #[test]
    fn each_who_comes_lets_the_others_come_too_but_not_for_long() {
        let mut writers = Writers::new(true);
        writers.come(4);
        assert_eq!(writers.commit(), Some(4));
        for _ in 0..3 {
            writers.come(1);
            for _ in 0..GATHERING_LOOKS_MAX {
                assert_eq!(writers.commit(), None);
            }
        }
        writers.clock.advance(Duration::from_millis(GATHERING_MS_MAX + 1));
        assert_eq!(writers.commit(), Some(3));
    }

    #[test]
    fn nobody_waits_where_nothing_is_put_on_the_medium_or_the_job_closes() {
        let mut writers = Writers::new(false);
        writers.come(3);
        assert_eq!(writers.commit(), Some(3));
        writers.come(1);
        assert!(!writers.machine.gathers());
        assert_eq!(writers.commit(), Some(1));
        let mut writers = Writers::new(true);
        writers.come(3);
        assert_eq!(writers.commit(), Some(3));
        writers.come(1);
        writers.machine.receive(Command::Close);
        assert_eq!(writers.commit(), Some(1));
    }
}
