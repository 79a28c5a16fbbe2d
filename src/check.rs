//! Looks for damage: the engine's own findings, and whether the log is as the record says.
//!
//! Never repairs anything.

use std::sync::Arc;

use crate::engine::{Found, Query};
use crate::error::{ErrorKind, Result};
use crate::record::Record;
use crate::worker::{Link, Read, Reading, misanswered};

/// One sentence for each finding.
pub(crate) async fn check(link: &Link) -> Result<Vec<String>> {
    let Found::Damage(mut findings) = link.ask(Query::Damage, true).await? else { return Err(misanswered()) };
    let record = record(link).await?;
    let mut next = record.log.first_seq;
    let mut after = 0;
    loop {
        let page = match link.read(Read::Commits { after, follow: false }).await {
            Ok(Reading::Commits(page)) => page,
            Ok(_) => return Err(misanswered()),
            Err(error) if error.kind() == ErrorKind::Corrupt => {
                findings.push(error.message().to_owned());
                break;
            }
            Err(error) => return Err(error),
        };
        let Some(last) = page.commits.last() else { break };
        after = last.seq;
        for commit in &page.commits {
            // Commits that come in while this runs go on where the record stood.
            if commit.seq != next && next <= record.committed_seq && commit.seq > kept_from(link).await? {
                findings.push(format!(
                    "the commit log goes from seq {} to {}",
                    next.saturating_sub(1),
                    commit.seq
                ));
            }
            next = commit.seq + 1;
        }
    }
    if record.log.is_on() && next <= record.committed_seq && next >= kept_from(link).await? {
        findings.push(format!("the commit log ends before seq {}", record.committed_seq));
    }
    Ok(findings)
}

/// The first seq that has to be in the log by now; trimming may go on while somebody checks it.
async fn kept_from(link: &Link) -> Result<u64> {
    Ok(record(link).await?.log.first_seq)
}

async fn record(link: &Link) -> Result<Arc<Record>> {
    Ok(link.read(Read::Details).await?.details()?.record)
}
