//! What the npm package's Web Worker calls: roots and jobs with bytes, strings and numbers for arguments.
//!
//! Decides nothing: every meaning is that of [`Persistency`] and [`Job`]. Rows and batches cross packed
//! (see [`wire`]); what else has to become a JavaScript value does so in [`convert`].

mod convert;
mod wire;

use std::ops::Bound;

use wasm_bindgen::prelude::{JsValue, wasm_bindgen};

use self::convert::WebError;
use crate::batch::Batch;
use crate::job::Job;
use crate::key::Key;
use crate::persistency::Persistency;
use crate::scan::Scan;

type Result<T> = std::result::Result<T, WebError>;

/// Has a panic written to the console, which otherwise only shows that the instance has ended.
#[wasm_bindgen(start)]
pub fn start() {
    console_error_panic_hook::set_once();
}

/// The package's version.
#[wasm_bindgen]
pub fn version() -> String {
    env!("CARGO_PKG_VERSION").to_owned()
}

/// A [`Persistency`].
#[wasm_bindgen(js_name = Root)]
#[derive(Debug)]
pub struct WebRoot {
    root: Persistency,
}

#[wasm_bindgen(js_class = Root)]
impl WebRoot {
    /// [`Persistency::open`].
    pub fn open(name: &str) -> Result<WebRoot> {
        Ok(WebRoot { root: Persistency::open(name)? })
    }

    /// [`Persistency::open_job`].
    #[wasm_bindgen(js_name = openJob)]
    pub async fn open_job(&self, id: String) -> Result<WebJob> {
        Ok(WebJob { job: self.root.open_job(&id).await? })
    }

    /// [`Persistency::close_job`].
    #[wasm_bindgen(js_name = closeJob)]
    pub async fn close_job(&self, id: String) -> Result<()> {
        Ok(self.root.close_job(&id).await?)
    }

    /// [`Persistency::drop_job`].
    #[wasm_bindgen(js_name = dropJob)]
    pub async fn drop_job(&self, id: String) -> Result<()> {
        Ok(self.root.drop_job(&id).await?)
    }

    /// [`Persistency::list_jobs`].
    #[wasm_bindgen(js_name = listJobs)]
    pub async fn list_jobs(&self) -> Result<Vec<String>> {
        Ok(self.root.list_jobs().await?)
    }

    /// [`Persistency::close`].
    pub async fn close(&self) -> Result<()> {
        Ok(self.root.close().await?)
    }
}

/// A [`Job`].
#[wasm_bindgen(js_name = Job)]
#[derive(Debug)]
pub struct WebJob {
    job: Job,
}

#[wasm_bindgen(js_class = Job)]
impl WebJob {
    /// [`Job::persist`] of a packed batch; an error of the batch is told by `flush`.
    pub async fn persist(&self, batch: Vec<u8>) -> Result<()> {
        self.job.persist(self.batch(&batch)?).await?;
        Ok(())
    }

    /// [`Job::persist_acked`] of a packed batch.
    #[wasm_bindgen(js_name = persistAcked)]
    pub async fn persist_acked(&self, batch: Vec<u8>) -> Result<u64> {
        Ok(self.job.persist_acked(self.batch(&batch)?).await?)
    }

    /// [`Job::flush`].
    pub async fn flush(&self) -> Result<()> {
        Ok(self.job.flush().await?)
    }

    /// [`Job::get`].
    pub async fn get(&self, category: String, key: Vec<u8>) -> Result<Option<Vec<u8>>> {
        Ok(self.job.get(&category, key).await?)
    }

    /// [`Job::count`] of the keys from `start` up to but without `end`.
    pub async fn count(&self, category: String, start: Vec<u8>, end: Option<Vec<u8>>) -> Result<u64> {
        Ok(self.job.count(&category, range(start, end)).await?)
    }

    /// All rows, packed, of a [`Job::scan`] of the keys from `start` up to but without `end`, in one view.
    pub async fn scan(
        &self,
        category: String,
        start: Vec<u8>,
        end: Option<Vec<u8>>,
        reverse: bool,
        limit: Option<usize>,
        keys_only: bool,
    ) -> Result<Vec<u8>> {
        let (rows, more) =
            self.prepare(&category, range(start, end), reverse, limit, keys_only).page(true).await?;
        Ok(wire::pack_page(&rows, more))
    }

    /// The first page of the same scan, packed. The caller goes on behind its last row, so that nothing
    /// here has to remember a scan.
    #[wasm_bindgen(js_name = scanPage)]
    pub async fn scan_page(
        &self,
        category: String,
        start: Vec<u8>,
        end: Option<Vec<u8>>,
        reverse: bool,
        limit: Option<usize>,
        keys_only: bool,
    ) -> Result<Vec<u8>> {
        let (rows, more) =
            self.prepare(&category, range(start, end), reverse, limit, keys_only).page(false).await?;
        Ok(wire::pack_page(&rows, more))
    }

    /// [`Job::categories`].
    pub async fn categories(&self) -> Result<Vec<String>> {
        Ok(self.job.categories().await?)
    }

    /// [`Job::info`].
    pub async fn info(&self) -> Result<JsValue> {
        Ok(convert::info(&self.job.info().await?))
    }

    fn prepare(
        &self,
        category: &str,
        range: (Bound<Key>, Bound<Key>),
        reverse: bool,
        limit: Option<usize>,
        keys_only: bool,
    ) -> Scan {
        let mut scan = self.job.scan(category, range).limit(limit.unwrap_or(usize::MAX));
        if reverse {
            scan = scan.reverse();
        }
        if keys_only {
            scan = scan.keys_only();
        }
        scan
    }

    fn batch(&self, packed: &[u8]) -> Result<Batch> {
        Ok(wire::unpack_batch(packed)
            .map_err(|error| error.in_context(format_args!("job {:?}", self.job.id())))?)
    }
}

fn range(start: Vec<u8>, end: Option<Vec<u8>>) -> (Bound<Key>, Bound<Key>) {
    (Bound::Included(Key::from(start)), end.map_or(Bound::Unbounded, |end| Bound::Excluded(Key::from(end))))
}
