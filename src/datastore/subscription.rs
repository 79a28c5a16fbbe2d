//! Subscriptions: a snapshot and then every change after it, from this side or another tab.
//!
//! A watch only says that something has happened; what it was is read from the collection, so nothing
//! is missed where a watch is told of a gap, and nothing is told twice.

use std::fmt;
use std::marker::PhantomData;
use std::pin::pin;
use std::sync::Arc;

use futures_core::Stream;
use futures_util::future::{Either, select};

use super::changes::{Changes, Since, Snapshot, Walk, check_reached, snapshot};
use super::content::Content;
use super::layout::ROWS;
use super::shelf::Shelf;
use super::subscribers::Ticket;
use crate::error::Result;
use crate::watch::Watch;

type UpdateOf<C> = Update<<C as Content>::Key, <C as Content>::Value>;

/// What a subscriber is told.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum Update<K, V> {
    /// All records: forget what you had. Comes first, and again if you were so slow that deletions have
    /// been forgotten meanwhile.
    Snapshot(Snapshot<K, V>),
    /// What has changed since the update before.
    Changes(Changes<K, V>),
}

/// Follows a collection, see [`Collection::subscribe`](super::Collection::subscribe).
///
/// Updates join without a gap: each begins behind the seq of the one before. A key that is set several
/// times before the subscriber looks is told once, as it is then. Records that expire are told when they are
/// purged, as deleted.
///
/// Ends when it is dropped, when its client is unsubscribed, and with `Closed` when the collection expires
/// or is removed.
pub struct Subscription<C: Content> {
    shelf: Arc<Shelf>,
    watch: Watch,
    ticket: Ticket,
    /// Up to here everything has been told; none before the snapshot.
    told: Option<u64>,
    /// A way along the changes that is not at its end.
    walk: Option<Walk>,
    /// Whether something may have happened since `told`.
    news: bool,
    failed: bool,
    content: PhantomData<fn() -> C>,
}

impl<C: Content> Subscription<C> {
    pub(super) async fn start(shelf: &Arc<Shelf>, client: &str, since: Option<u64>) -> Result<Self> {
        let ticket = shelf.shared.subscribers.enter(shelf.descriptor.generation, client)?;
        let head = shelf.rows().head();
        // Before anything is read: what comes after that is seen.
        let watch = shelf.shared.job.watch(ROWS, head.clone()..=head).await?;
        let now = shelf.head().await?;
        if let Some(since) = since {
            check_reached(since, now.seq)?;
        }
        Ok(Subscription {
            shelf: Arc::clone(shelf),
            watch,
            ticket,
            told: since,
            walk: None,
            news: since.is_none_or(|since| since < now.seq),
            failed: false,
            content: PhantomData,
        })
    }

    /// Waits for the next update; `None` after the subscription has been ended, and after an error.
    ///
    /// Dropping the future before it is done loses nothing.
    pub async fn next(&mut self) -> Option<Result<UpdateOf<C>>> {
        loop {
            if self.failed || self.ticket.has_ended() {
                return None;
            }
            match self.step().await {
                Ok(None) => {}
                Ok(Some(update)) => return Some(Ok(update)),
                Err(error) => {
                    self.failed = true;
                    return Some(Err(self.shelf.explain(error, "subscription")));
                }
            }
        }
    }

    /// The updates as a [`Stream`](futures_core::Stream).
    pub fn into_stream(self) -> impl Stream<Item = Result<Update<C::Key, C::Value>>> + Send + use<C> {
        futures_util::stream::unfold(self, |mut subscription| async move {
            let update = subscription.next().await?;
            Some((update, subscription))
        })
    }

    async fn step(&mut self) -> Result<Option<UpdateOf<C>>> {
        if !self.news {
            self.wait().await?;
            return Ok(None);
        }
        while self.watch.try_next().is_some() {}
        let Some(told) = self.told else {
            let snapshot = snapshot::<C>(&self.shelf).await?;
            (self.told, self.news) = (Some(snapshot.seq), false);
            return Ok(Some(Update::Snapshot(snapshot)));
        };
        let walk = self.walk.get_or_insert_with(|| Walk::new(told));
        match walk.next::<C>(&self.shelf).await.transpose()? {
            None => (self.walk, self.news) = (None, false),
            Some(Since::Lagged { .. }) => (self.walk, self.told) = (None, None),
            Some(Since::Changes(changes)) => {
                self.told = Some(changes.seq);
                if !changes.changes.is_empty() {
                    return Ok(Some(Update::Changes(changes)));
                }
            }
        }
        Ok(None)
    }

    /// Waits until something may have happened, or there is nothing to wait for any more.
    async fn wait(&mut self) -> Result<()> {
        let shelf = Arc::clone(&self.shelf);
        let expires_ms = shelf.expires_ms();
        let clock = &shelf.shared.clock;
        let left_ms = expires_ms.saturating_add(1).saturating_sub(clock.unix_ms());
        let deadline = (expires_ms != 0).then(|| clock.monotonic_ms().saturating_add(left_ms));
        let (news, end) = (pin!(self.watch.next()), pin!(self.ticket.ended()));
        let happened = clock.until(deadline, select(news, end)).await;
        match happened {
            Some(Either::Left((Some(item), _))) => {
                item?;
                self.news = true;
            }
            Some(Either::Left((None, _))) => return Err(shelf.gone()),
            Some(Either::Right(_)) => {}
            // It has expired, unless it has slid on.
            None => {
                shelf.head().await?;
            }
        }
        Ok(())
    }
}

impl<C: Content> fmt::Debug for Subscription<C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Subscription").field("collection", &self.shelf.id).finish_non_exhaustive()
    }
}
