//! Scans: rows of a category in key order, whole or by pages.

use std::fmt;
use std::future::IntoFuture;
use std::pin::Pin;
use std::sync::Arc;

use futures_core::Stream;

use crate::batch::check_category;
use crate::engine::{Found, Page, PageRequest, Query, Space};
use crate::error::{Error, Quoted, Result};
use crate::key::Key;
use crate::limits;
use crate::range::Span;
use crate::text::text;
use crate::worker::{Link, misanswered};

/// One row of a category.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct Row {
    /// The row's key.
    pub key: Key,
    /// The row's payload; empty in a scan of keys only.
    pub payload: Vec<u8>,
}

/// A scan that has not been asked yet: choose its order and bounds, then `.await` it for all rows in
/// one view, or take it as a [stream](Scan::stream) of pages.
///
/// # Errors
///
/// `TooLarge` if the rows are together larger than [`Limits::scan_bytes`](crate::Limits::scan_bytes)
/// (a single row excepted), and as every read: `Closed`, `JobNotFound`, `Timeout`, `Corrupt`, `Backend`.
#[must_use = "a scan does nothing until it is awaited or streamed"]
#[derive(Clone)]
pub struct Scan {
    link: Arc<Link>,
    category: Arc<str>,
    span: Span,
    reverse: bool,
    limit: usize,
    keys_only: bool,
}

impl Scan {
    pub(crate) fn new(link: Arc<Link>, category: &str, span: Span) -> Self {
        let category = Arc::from(category);
        Scan { link, category, span, reverse: false, limit: usize::MAX, keys_only: false }
    }

    /// From the last row to the first.
    pub fn reverse(mut self) -> Self {
        self.reverse = true;
        self
    }

    /// At most `rows` rows, the first in the scan's order.
    pub fn limit(mut self, rows: usize) -> Self {
        self.limit = rows;
        self
    }

    /// Keys without their payloads.
    pub fn keys_only(mut self) -> Self {
        self.keys_only = true;
        self
    }

    /// The same rows by pages, each of at least one row and bounded in bytes.
    ///
    /// Each page is one view of the job at the time it is asked for: a row that is inserted behind
    /// the position is not seen any more, one ahead of it is.
    pub fn stream(self) -> Pages {
        Pages { scan: self, ended: false }
    }

    /// The rows, all or those of the first page, and whether there are more.
    async fn page(&self, whole: bool) -> Result<(Vec<Row>, bool)> {
        let page = self.packed(whole).await?;
        let mut rows = Vec::with_capacity(page.rows.len());
        let row =
            |(key, payload): (&[u8], &[u8])| Row { key: key.to_vec().into(), payload: payload.to_vec() };
        rows.extend(page.rows.iter().map(row));
        Ok((rows, page.more))
    }

    /// The same in the one buffer in which they travelled, for who does not want each row for itself.
    pub(crate) async fn packed(&self, whole: bool) -> Result<Page> {
        let Some(query) = self.query(whole)? else { return Ok(Page::default()) };
        match self.link.ask(query, whole).await {
            Ok(Found::Page(page)) => Ok(page),
            Ok(_) => Err(misanswered()),
            Err(error) => Err(self.explain(error)),
        }
    }

    /// The query for all rows or for the first page; none if there can be no row.
    pub(crate) fn query(&self, whole: bool) -> Result<Option<Query>> {
        check_category(&self.category).map_err(|error| self.explain(error))?;
        if self.limit == 0 || self.span.is_empty() {
            return Ok(None);
        }
        let rows_max = if whole { self.limit } else { self.limit.min(limits::PAGE_ROWS_MAX) };
        Ok(Some(Query::Page(PageRequest {
            space: Space::Rows(Arc::clone(&self.category)),
            span: self.span.clone(),
            reverse: self.reverse,
            rows_max,
            bytes_max: limits::SCAN_BYTES_MAX,
            keys_only: self.keys_only,
        })))
    }

    fn explain(&self, error: Error) -> Error {
        let (job, category) = (Quoted(&self.link.id), Quoted(&self.category));
        error.in_context(text!("job ", job, ", category ", category, ", scan"))
    }
}

impl IntoFuture for Scan {
    type Output = Result<Vec<Row>>;
    type IntoFuture = Pin<Box<dyn Future<Output = Self::Output> + Send>>;

    fn into_future(self) -> Self::IntoFuture {
        Box::pin(async move { Ok(self.page(true).await?.0) })
    }
}

/// The pages of a scan, see [`Scan::stream`].
#[derive(Debug)]
pub struct Pages {
    scan: Scan,
    ended: bool,
}

impl Pages {
    /// Reads the next page; `None` after the last, and after an error.
    ///
    /// Dropping the future before it is done loses nothing: the page is read again.
    pub async fn next(&mut self) -> Option<Result<Vec<Row>>> {
        if self.ended {
            return None;
        }
        match self.scan.page(false).await {
            Ok((rows, more)) => {
                self.advance(&rows, more);
                (!rows.is_empty()).then_some(Ok(rows))
            }
            Err(error) => {
                self.ended = true;
                Some(Err(error))
            }
        }
    }

    /// The pages as a [`Stream`](futures_core::Stream).
    pub fn into_stream(self) -> impl Stream<Item = Result<Vec<Row>>> + Send + use<> {
        futures_util::stream::unfold(self, |mut pages| async move {
            let page = pages.next().await?;
            Some((page, pages))
        })
    }

    /// Goes on behind the last row.
    fn advance(&mut self, rows: &[Row], more: bool) {
        self.scan.limit = self.scan.limit.saturating_sub(rows.len());
        self.ended = !more || self.scan.limit == 0;
        if let Some(last) = rows.last() {
            let behind = Span::point(last.key.as_bytes());
            match self.scan.reverse {
                true => self.scan.span.end = Some(behind.start),
                false => self.scan.span.start = behind.end.unwrap_or_default(),
            }
        }
    }
}

impl fmt::Debug for Row {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Payloads are user data, and may be large.
        write!(f, "Row({:?}, {} bytes)", self.key, self.payload.len())
    }
}

impl fmt::Debug for Scan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Scan")
            .field("job", &self.link.id)
            .field("category", &self.category)
            .finish_non_exhaustive()
    }
}
