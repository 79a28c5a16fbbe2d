//! One number for everything that a job holds, the same in a browser: SHA-256 over all rows in their order.

use futures_util::StreamExt;
use persistency::{Job, Result};
use sha2::{Digest, Sha256};

/// Category by category, row by row: category, key and payload, each behind its length in 4 bytes, big-endian.
pub async fn digest(job: &Job) -> Result<String> {
    let mut hash = Sha256::new();
    for category in job.categories().await? {
        let mut pages = std::pin::pin!(job.scan(&category, ..).stream().into_stream());
        while let Some(page) = pages.next().await {
            for row in page? {
                for bytes in [category.as_bytes(), row.key.as_bytes(), &row.payload[..]] {
                    // A row's parts are far below 4 GiB.
                    hash.update((bytes.len() as u32).to_be_bytes());
                    hash.update(bytes);
                }
            }
        }
    }
    Ok(hash.finalize().iter().map(|byte| format!("{byte:02x}")).collect())
}
