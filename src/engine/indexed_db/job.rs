//! The engine of one open job: the contract's primitives over one connection.
//!
//! Never connects again by itself: a lost connection is an answer, and the worker decides.

use std::cell::RefCell;
use std::pin::pin;
use std::rc::Rc;
use std::sync::Arc;

use async_trait::async_trait;
use futures_util::future::{Either, select};
use tokio::sync::{RwLock, watch};

use super::channel::Channel;
use super::check::{Progress, check_view};
use super::connection::Connection;
use super::fault::{corrupt, lost};
use super::layout::{Area, CHUNKS_NOTE_KEY, Store};
use super::page::{read_categories, read_page};
use super::points::{ask_chunks_note, chunks_before, read_points, read_record, stores_of};
use super::raw::has_direction;
use super::request::{Tx, bytes_to_js, range_of};
use super::transaction::Mode;
use super::write::Writer;
use crate::engine::{
    Change, Engine, EngineError, Fault, Found, Get, Got, Look, OpenMode, Query, Seen, Sharing, Space, Verify,
    Want,
};
use crate::range::Span;

/// An open job. All its calls belong to one thread and may overlap.
pub(crate) struct IndexedDbEngine {
    name: String,
    mode: OpenMode,
    /// `None` once it has been closed.
    connection: RefCell<Option<Rc<Connection>>>,
    channel: Channel,
    /// Long reads share it and a write has it alone, each in its turn: the database lets a write wait
    /// for every read under way and later gets wait behind that write, so a write is not shown to
    /// it before the long reads are through.
    turn: RwLock<()>,
    /// Counts the requests to abort.
    aborts: watch::Sender<u64>,
    /// Whether the browser reads ranges from their end.
    direction: bool,
}

impl IndexedDbEngine {
    pub(super) fn new(name: String, mode: OpenMode, connection: Connection) -> Self {
        IndexedDbEngine {
            channel: Channel::open(&name),
            name,
            mode,
            connection: RefCell::new(Some(Rc::new(connection))),
            turn: RwLock::new(()),
            aborts: watch::Sender::new(0),
            direction: has_direction(),
        }
    }

    /// Reads as browsers do that cannot read ranges from their end.
    #[cfg(test)]
    pub(super) fn without_direction(self) -> Self {
        IndexedDbEngine { direction: false, ..self }
    }

    /// What the browser's `close` event does.
    #[cfg(test)]
    pub(super) fn lose_for_test(&self) {
        if let Some(connection) = &*self.connection.borrow() {
            connection.lose_for_test();
        }
    }

    fn connection(&self) -> Result<Rc<Connection>, EngineError> {
        self.connection.borrow().clone().ok_or_else(lost)
    }

    async fn damage(&self) -> Result<Vec<String>, EngineError> {
        let mut progress = Progress::default();
        while !progress.finished {
            let _turn = self.turn.read().await;
            let stores = [Store::Rows, Store::Chunks, Store::Meta];
            progress = self.connection()?.read(&stores, |tx| check_view(tx, progress)).await?;
        }
        Ok(progress.findings)
    }

    async fn apply_in_turn(&self, change: Change) -> Result<(), EngineError> {
        let mut aborts = self.aborts.subscribe();
        // Nobody asks any more only if the engine has gone, and then this future has too.
        let turn = match select(pin!(self.turn.write()), pin!(aborts.changed())).await {
            Either::Left((turn, _)) => turn,
            Either::Right(_) => {
                return Err(EngineError::new(Fault::Aborted, "aborted before the transaction began"));
            }
        };
        let mode = Mode::Write { durable: change.durable };
        let running = self.connection()?.start(&Store::ALL, mode, |tx| decide_and_write(tx, change))?;
        let ended = match select(running, pin!(aborts.changed())).await {
            Either::Left((ended, _)) => ended,
            Either::Right((_, running)) => {
                running.abort();
                running.await
            }
        };
        drop(turn);
        ended
    }
}

/// The whole of a read inside its transaction; `direction` says whether ranges can be read from their end.
async fn answer(tx: Tx, query: Query, verify: Verify, direction: bool) -> Result<Seen, EngineError> {
    let found = match query {
        Query::Get(Get { points, presence_only, bytes_max }) => {
            let want = if presence_only { Want::Presence } else { Want::Payload(usize::MAX) };
            let looks: Vec<Look> = points.into_iter().map(|point| Look { point, want }).collect();
            Found::Got(read_points(&tx, &looks, bytes_max).await?)
        }
        Query::Page(request) => Found::Page(read_page(&tx, request, direction).await?),
        Query::Count { category, span } => Found::Count(count(&tx, category, &span).await?),
        Query::Categories { bytes_max } => Found::Categories(read_categories(&tx, bytes_max).await?),
        // Not read in one transaction, see `read`.
        Query::Damage | Query::Size => Found::Size(None),
    };
    let record = match verify.wants(&found) {
        true => Some(read_record(&tx).await?),
        false => None,
    };
    Ok(Seen { found, record })
}

async fn count(tx: &Tx, category: Arc<str>, span: &Span) -> Result<u64, EngineError> {
    let Some(bounds) = Area::of(&Space::Rows(category)).bounds(span) else { return Ok(0) };
    let rows = tx.store(Store::Rows)?.count(&bounds.range()?)?.await?;
    Ok(rows.as_f64().ok_or_else(|| corrupt("a count is not a number"))? as u64)
}

/// The whole of an `apply` inside its transaction.
async fn decide_and_write(tx: Tx, change: Change) -> Result<(), EngineError> {
    let note = ask_chunks_note(&tx)?;
    let Got::Payloads(found) = read_points(&tx, &change.reads, usize::MAX).await? else {
        return Err(corrupt("the rows' lengths are impossible"));
    };
    let has_chunks = !note.await?.is_undefined();
    let Some(writes) = (change.decide)(found) else { return Ok(()) };
    let mut writer = Writer::new(&tx, has_chunks)?;
    writes.into_iter().try_for_each(|write| writer.write(write))
}

#[async_trait(?Send)]
impl Engine for IndexedDbEngine {
    fn sharing(&self) -> Sharing {
        match self.mode {
            OpenMode::ReadOnly => Sharing::ReadOnly,
            OpenMode::Create | OpenMode::MustExist => Sharing::Shared,
        }
    }

    async fn read(&self, query: Query, verify: Verify) -> Result<Seen, EngineError> {
        let _turn = match &query {
            Query::Damage => return Ok(Seen::without_record(Found::Damage(self.damage().await?))),
            Query::Size => return Ok(Seen::without_record(Found::Size(None))),
            Query::Get(_) => None,
            Query::Page(_) | Query::Count { .. } | Query::Categories { .. } => Some(self.turn.read().await),
        };
        let stores = stores_of(&query, verify);
        if stores.is_empty() {
            return Ok(Seen::without_record(Found::Got(Got::Payloads(Vec::new()))));
        }
        let direction = self.direction;
        self.connection()?.read(&stores, move |tx| answer(tx, query, verify, direction)).await
    }

    async fn apply(&self, change: Change) -> Result<(), EngineError> {
        self.apply_in_turn(change).await
    }

    fn abort(&self) {
        self.aborts.send_modify(|count| *count += 1);
    }

    async fn reconnect(&self) -> Result<(), EngineError> {
        self.connection.take();
        let connection = Connection::open(&self.name).await?;
        self.connection.replace(Some(Rc::new(connection)));
        Ok(())
    }

    async fn changed(&self) {
        self.channel.heard().await;
    }

    fn announce(&self, generation: [u8; 16], seq: u64) {
        self.channel.announce(generation, seq);
    }

    /// IndexedDB gives room back by itself; what is left to do is to forget that there were chunks.
    async fn compact(&self) -> Result<(), EngineError> {
        let _turn = self.turn.write().await;
        let mode = Mode::Write { durable: false };
        let running = self.connection()?.start(&[Store::Meta, Store::Chunks], mode, |tx| async move {
            let all = range_of(&chunks_before(&[]), None)?;
            if tx.store(Store::Chunks)?.get_key(&all)?.await?.is_undefined() {
                tx.store(Store::Meta)?.delete(&bytes_to_js(CHUNKS_NOTE_KEY))?;
            }
            Ok(())
        })?;
        running.await
    }

    async fn close(&self) -> Result<(), EngineError> {
        self.connection.take();
        Ok(())
    }
}
