//! The layer `sds` for the page: a [`JobPersistence`] behind calls.
//!
//! Decides nothing: each method is the one of that name.

use std::collections::BTreeMap;

use async_trait::async_trait;
use serde::Serialize;
use serde_bytes::ByteBuf;

use super::{Answer, Args, Object, no_method};
use crate::error::Result;
use crate::job::Job;
use crate::sds::{JobPersistence, Persistence};

/// Opens the layer over a job.
///
/// # Errors
///
/// `InvalidArgument` if there are arguments.
pub fn open(job: &Job, args: Args<'_>) -> Result<Answer> {
    args.none()?;
    Ok(Answer::nothing().with(Store(JobPersistence::new(job.clone()))))
}

struct Store(JobPersistence);

/// A channel as the page reads it.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Snapshot {
    lamport: i64,
    retrieval_hints: BTreeMap<String, ByteBuf>,
}

#[async_trait(?Send)]
impl Object for Store {
    async fn call(&self, method: &str, args: Args<'_>) -> Result<Answer> {
        let Store(store) = self;
        match method {
            "saveLamport" => {
                let (channel, lamport): (&str, i64) = args.read()?;
                store.save_lamport(channel, lamport).await?;
            }
            "setRetrievalHint" => {
                let (channel, message_id, hint): (&str, &str, &[u8]) = args.read()?;
                store.set_retrieval_hint(channel, message_id, hint).await?;
            }
            "dropChannel" => {
                let (channel,): (&str,) = args.read()?;
                store.drop_channel(channel).await?;
            }
            "loadAllForChannel" => {
                let (channel,): (&str,) = args.read()?;
                let loaded = store.load_all_for_channel(channel).await?;
                let hints = loaded.retrieval_hints.into_iter();
                return Answer::value(&Snapshot {
                    lamport: loaded.lamport,
                    retrieval_hints: hints.map(|(id, hint)| (id, ByteBuf::from(hint))).collect(),
                });
            }
            _ => return Err(no_method(method)),
        }
        Ok(Answer::nothing())
    }
}
