//! What may leave: what of a job is durable. Waits for nothing that is still in the job's queue.

use std::sync::Arc;

use crate::error::Result;
use crate::job::Job;
use crate::record::Record;

/// Makes what is committed durable, and returns up to which seq it is.
pub(super) async fn durable(job: &Job) -> Result<u64> {
    let seq = durable_record(job).await?.committed_seq;
    Ok(job.durable_seq().max(seq))
}

/// The job's record, once what it says is committed is durable.
///
/// Asked for by the seq: a batch would wait for its turn, and a flush would take the errors of writes that
/// others wait for.
pub(super) async fn durable_record(job: &Job) -> Result<Arc<Record>> {
    let record = job.record_now().await?;
    job.sync_up_to(record.committed_seq).await?;
    Ok(record)
}
