//! Whole jobs as bytes for the page: an export that is pulled, an import that is pushed.

use async_trait::async_trait;
use serde_bytes::{ByteBuf, Bytes};
use tokio::sync::Mutex;

use super::super::{Answer, Args, Object, check_next, no_method};
use super::reading::RestoredOut;
use crate::archive::{Export, Import};
use crate::error::{Error, ErrorKind, Result};
use crate::job::Job;
use crate::persistency::Persistency;

/// Begins to export a job.
///
/// # Errors
///
/// Those of [`Job::export`].
pub async fn export(job: &Job, args: Args<'_>) -> Result<Answer> {
    args.none()?;
    Ok(Answer::nothing().with(Exporting(Mutex::new(job.export().await?))))
}

/// Begins to import a job: its id.
///
/// # Errors
///
/// Those of [`Persistency::import_job`].
pub async fn import(root: &Persistency, args: Args<'_>) -> Result<Answer> {
    let (id,): (&str,) = args.read()?;
    Ok(Answer::nothing().with(Importing(Mutex::new(Some(root.import_job(id).await?)))))
}

struct Exporting(Mutex<Export>);

#[async_trait(?Send)]
impl Object for Exporting {
    async fn call(&self, method: &str, args: Args<'_>) -> Result<Answer> {
        check_next(method, args)?;
        let bytes = self.0.lock().await.next().await.transpose()?;
        let told: Vec<ByteBuf> = bytes.map(ByteBuf::from).into_iter().collect();
        Answer::value(&told)
    }
}

/// None once it is through.
struct Importing(Mutex<Option<Import>>);

#[async_trait(?Send)]
impl Object for Importing {
    async fn call(&self, method: &str, args: Args<'_>) -> Result<Answer> {
        let mut held = self.0.lock().await;
        let through = || Error::new(ErrorKind::Closed, "the import is through");
        match method {
            "push" => {
                let (bytes,): (&Bytes,) = args.read()?;
                held.as_mut().ok_or_else(through)?.push(bytes).await?;
                Ok(Answer::nothing())
            }
            "finish" => {
                args.none()?;
                let restored = held.take().ok_or_else(through)?.finish().await?;
                Answer::value(&RestoredOut::from(restored))
            }
            "abandon" => {
                args.none()?;
                held.take().ok_or_else(through)?.abandon().await?;
                Ok(Answer::nothing())
            }
            _ => Err(no_method(method)),
        }
    }
}
