//! Where shipping begins, and when a base is due. Pure.

use super::base::Taking;
use super::format::BaseMark;
use super::options::ArchiveOptions;

/// Where shipping begins; by default before anything has been shipped.
#[derive(Clone, Debug, Default)]
pub(super) struct Start {
    /// The archive has everything up to here, in the chain.
    pub(super) seq: u64,
    pub(super) chain: u64,
    /// Bytes of all segments up to there, and up to the newest base.
    pub(super) bytes_until: u64,
    pub(super) bytes_until_base: u64,
    /// Bytes of the newest base's rows.
    pub(super) base_bytes: u64,
    /// Times of the newest segment or base, and of the newest base, unix ms.
    pub(super) last_ms: u64,
    pub(super) base_ms: u64,
    /// Nothing can be restored before the archive has come here.
    pub(super) whole_at: u64,
    /// Up to where it can be restored now, if it can.
    pub(super) archived: Option<u64>,
    /// A base is to be taken at this seq first.
    pub(super) base_at: Option<u64>,
    /// Whether it is certain that there were no rows at that seq.
    pub(super) begins_empty: bool,
    /// There may be segments behind `seq` that this job has shipped.
    pub(super) probe: bool,
}

impl Start {
    /// The base to take first, if there is one: behind a gap, or because the chain is long.
    pub(super) fn taking(&self, generation: [u8; 16], options: &ArchiveOptions) -> Option<Taking> {
        if let Some(from) = self.base_at {
            return Some(Taking::new(generation, (from, None, self.bytes_until), self.begins_empty));
        }
        // While it compares with the log it is not at the end of the chain.
        let is_due = self.is_long(options) && !self.probe && self.archived.is_some();
        is_due.then(|| Taking::new(generation, (self.seq, Some(self.chain), self.bytes_until), false))
    }

    fn is_long(&self, options: &ArchiveOptions) -> bool {
        let since_base = self.bytes_until.saturating_sub(self.bytes_until_base);
        let age_ms = self.last_ms.saturating_sub(self.base_ms);
        // A job that is larger than the chain may get would have a base behind each segment.
        since_base >= options.base_after.0.max(self.base_bytes)
            || options.keep_ms().is_some_and(|keep| age_ms > keep)
    }

    /// A base has been put, the newest one now.
    pub(super) fn has_base(&mut self, mark: &BaseMark) {
        (self.bytes_until_base, self.base_bytes, self.base_ms) =
            (mark.bytes_until, mark.bytes(), mark.time_ms);
        self.last_ms = self.last_ms.max(mark.time_ms);
        self.base_at = None;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::test;

    /// Whether a base is due behind segments of so many bytes, if the last one has so many.
    fn is_due(base_after: u64, base_bytes: u64, segment_bytes: u64) -> bool {
        let options = ArchiveOptions::new().base_after_bytes(base_after);
        let (bytes_until, bytes_until_base) = (1_000 + segment_bytes, 1_000);
        let start = Start {
            seq: 9,
            bytes_until,
            bytes_until_base,
            base_bytes,
            archived: Some(9),
            ..Start::default()
        };
        start.taking([0; 16], &options).is_some()
    }

    #[test]
    fn a_base_is_due_behind_segments_of_the_bytes_asked_for() {
        assert!(!is_due(100, 0, 99));
        assert!(is_due(100, 0, 100) && is_due(100, 100, 100));
    }

    #[test]
    fn no_base_is_due_before_the_segments_have_as_many_bytes_as_the_last_one() {
        assert!(!is_due(100, 5_000, 4_999));
        assert!(is_due(100, 5_000, 5_000));
    }
}
