//! Subscribers: who is subscribed to what on this side, bounded, and ended in one call.
//!
//! Never stored: a subscription lives as long as its handle.

use std::collections::{BTreeSet, HashMap};
use std::sync::{Arc, Mutex};

use tokio::sync::watch;

use super::layout::Generation;
use super::options::{NAME_BYTES_MAX, check_name};
use super::store::lock;
use crate::error::{Error, ErrorKind, Result};

/// All subscriptions of one datastore object.
pub(super) struct Subscribers {
    max: usize,
    table: Arc<Mutex<Table>>,
}

#[derive(Default)]
struct Table {
    next: u64,
    entries: HashMap<u64, Entry>,
}

struct Entry {
    generation: Generation,
    client: String,
    /// Dropped to end the subscription.
    _end: watch::Sender<()>,
}

/// One subscription; it leaves the table when this is dropped.
pub(super) struct Ticket {
    number: u64,
    table: Arc<Mutex<Table>>,
    ended: watch::Receiver<()>,
}

impl Subscribers {
    pub(super) fn new(max: usize) -> Self {
        Subscribers { max, table: Arc::default() }
    }

    pub(super) fn enter(&self, generation: Generation, client: &str) -> Result<Ticket> {
        check_name("client", client, NAME_BYTES_MAX)?;
        let mut table = lock(&self.table);
        let same = table.entries.values().filter(|entry| entry.generation == generation).count();
        if same >= self.max {
            let message = format!("more than {} subscriptions", self.max);
            return Err(Error::new(ErrorKind::TooLarge, message));
        }
        let (end, ended) = watch::channel(());
        table.next += 1;
        let number = table.next;
        table.entries.insert(number, Entry { generation, client: client.to_owned(), _end: end });
        Ok(Ticket { number, table: Arc::clone(&self.table), ended })
    }

    /// Who is subscribed, each once, by name.
    pub(super) fn clients(&self, generation: Generation) -> Vec<String> {
        let table = lock(&self.table);
        let clients = table.entries.values().filter(|entry| entry.generation == generation);
        clients.map(|entry| entry.client.clone()).collect::<BTreeSet<_>>().into_iter().collect()
    }

    /// Ends the subscriptions of a client, of one generation or of all; returns how many.
    pub(super) fn end_client(&self, generation: Option<Generation>, client: &str) -> usize {
        self.end(|entry| entry.client == client && generation.is_none_or(|of| of == entry.generation))
    }

    fn end(&self, which: impl Fn(&Entry) -> bool) -> usize {
        let mut table = lock(&self.table);
        let before = table.entries.len();
        table.entries.retain(|_, entry| !which(entry));
        before - table.entries.len()
    }
}

impl Ticket {
    /// Whether the subscription has been ended.
    pub(super) fn has_ended(&self) -> bool {
        self.ended.has_changed().is_err()
    }

    /// Resolves when the subscription is ended.
    pub(super) async fn ended(&mut self) {
        // Nothing is ever sent: it resolves when the sender is dropped.
        self.ended.changed().await.ok();
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        lock(&self.table).entries.remove(&self.number);
    }
}
