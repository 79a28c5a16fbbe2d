//! The commit log, read beside the worker: whoever follows a job that is written all the time does not wait for
//! each group of writes, and the worker does not take the log apart for him.
//!
//! Never says why there is no answer: whoever gets none asks the worker.

use super::link::Link;
use super::log_walk::LogWalk;
use super::recent::CommitsPage;
use crate::engine::{NotDirectly, READS_DIRECTLY};
use crate::pace::yield_now;
use crate::record::Record;

impl Link {
    /// The commits after a seq that the log of this generation still holds, whatever has been accepted. Reads on this
    /// thread, and gives way between two pages.
    pub(crate) async fn commits_directly(
        &self,
        generation: [u8; 16],
        after: u64,
    ) -> Result<CommitsPage, NotDirectly> {
        let direct = self.direct().filter(|_| READS_DIRECTLY).ok_or(NotDirectly)?;
        let mut walk = LogWalk::new(after);
        loop {
            yield_now().await;
            let (page, record) = direct.log_page(&walk.request())?;
            let record = Record::decode(&record).map_err(|_| NotDirectly)?;
            if record.dropped || record.generation != generation {
                return Err(NotDirectly);
            }
            if walk.take(&page, record.log.first_seq).map_err(|_| NotDirectly)? {
                return Ok(walk.end(record.committed_seq, None));
            }
        }
    }
}
