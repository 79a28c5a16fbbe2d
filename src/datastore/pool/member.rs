//! Members: who puts items into a pool, is told what it lacks, and says what it has received.

use std::collections::{BTreeMap, VecDeque};
use std::fmt;
use std::marker::PhantomData;
use std::pin::pin;
use std::sync::Arc;

use futures_core::Stream;
use futures_util::future::{Either, select};

use super::super::content::Content;
use super::super::layout::{ROWS, Reader, What};
use super::super::names::too_often;
use super::super::options::ATTEMPTS_MAX;
use super::super::subscribers::Ticket;
use super::state::Head;
use super::{Basin, Item, ItemId};
use crate::error::{Error, ErrorKind, Result};
use crate::limits::check_bytes;
use crate::watch::Watch;

/// Items of one merge or acknowledgement at most.
const MERGE_ITEMS_MAX: usize = 16 * 1024;
/// Bytes of one merge at most.
const MERGE_BYTES_MAX: usize = 16 * 1024 * 1024;
/// Pages of items that are read for one answer.
const LACKING_PAGES_MAX: usize = 16;

/// A member of a pool, see [`Pool::join`](super::Pool::join).
///
/// Merging, acknowledging and waiting in [`next`](Member::next) say that it is there. One that has been silent
/// for too long has left; it joins again with its next call of these, with nothing acknowledged, and is told
/// everything again.
///
/// Dropping it does not leave: the same name may join again. [`leave`](Member::leave) does.
pub struct Member<C: Content> {
    basin: Arc<Basin>,
    name: String,
    watch: Watch,
    ticket: Ticket,
    round: u64,
    /// Items up to this number have been told by `next`.
    told: u64,
    /// Since when it is a member, as `next` found it last: one that has joined anew is told everything again.
    joined: Option<u64>,
    /// When it has to say that it is there, on the monotonic scale.
    heard_until_ms: u64,
    ready: VecDeque<PoolUpdate<C::Value>>,
    news: bool,
    failed: bool,
    content: PhantomData<fn() -> C>,
}

/// What a merge came to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Merged<V> {
    /// Which of the items were new to the pool; others need to be told of those only.
    pub new: Vec<ItemId>,
    /// What the member lacks, the first of it.
    pub lacking: Lacking<V>,
    /// Whether the pool has converged by this, and been emptied.
    pub converged: bool,
}

/// What a member lacks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lacking<V> {
    /// The items, in the order of their arrival.
    pub items: Vec<Item<V>>,
    /// Whether there are more: acknowledge these and ask again.
    pub more: bool,
}

/// What a member is told by [`Member::next`].
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum PoolUpdate<V> {
    /// Items that it lacks and has not been told of by this handle.
    Items(Vec<Item<V>>),
    /// Every member had everything; the pool has been emptied.
    Converged {
        /// How often that has happened now.
        round: u64,
    },
}

impl<C: Content> Member<C> {
    pub(super) async fn join(basin: &Arc<Basin>, name: &str) -> Result<Self> {
        let shared = &basin.shared;
        let ticket = shared.subscribers.enter(basin.descriptor.generation, name)?;
        let key = basin.descriptor.rows().pool();
        let watch = shared.job.watch(ROWS, key.clone()..=key).await?;
        let head = basin.change(name, |_| Ok(())).await?;
        Ok(Member {
            basin: Arc::clone(basin),
            name: name.to_owned(),
            watch,
            ticket,
            round: head.round,
            told: head.base,
            joined: None,
            heard_until_ms: basin.heard_until_ms(),
            ready: VecDeque::new(),
            news: true,
            failed: false,
            content: PhantomData,
        })
    }

    /// Its name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Puts items into the pool, each of which the member then has; those that are there already change
    /// nothing. In one batch, all or none.
    ///
    /// # Errors
    ///
    /// `TooLarge` beyond 16,384 items or 16 MiB, and beyond the bounds of the pool.
    pub async fn merge(&self, items: &[C::Value]) -> Result<Merged<C::Value>> {
        self.merge_items(items).await.map_err(|error| self.basin.explain(error, "merge"))
    }

    async fn merge_items(&self, items: &[C::Value]) -> Result<Merged<C::Value>> {
        check_count(items.len())?;
        let items: Vec<Vec<u8>> = items.iter().map(C::bytes).collect::<Result<_>>()?;
        check_bytes("items", items.iter().map(Vec::len).sum(), MERGE_BYTES_MAX)?;
        let items: BTreeMap<ItemId, Vec<u8>> =
            items.into_iter().map(|item| (ItemId::of(&item), item)).collect();
        let ids: Vec<ItemId> = items.keys().copied().collect();
        let basin = &self.basin;
        let (rows, parameters) = (basin.descriptor.rows(), &basin.descriptor.parameters);
        for _ in 0..ATTEMPTS_MAX {
            let turn = basin.turn.lock().await;
            let mut state = basin.state().await?;
            // Between the two reads the pool may change; then its head does, and the batch is refused.
            let numbers = self.numbers(&ids).await?;
            state.drop_silent(parameters.member_timeout_ms());
            state.join(&self.name, parameters)?;
            let mut new = Vec::new();
            for ((id, data), number) in items.iter().zip(numbers) {
                let number = match number {
                    Some(number) => number,
                    None => {
                        new.push(*id);
                        state.add(rows, &id.0, data, parameters)?
                    }
                };
                state.has(&self.name, [number]);
            }
            let converged = state.converged(parameters);
            let gaps = state.members.get(&self.name).map(|member| &member.has);
            let gaps = gaps.map_or(Vec::new(), |has| has.gaps(state.head.base, state.head.last));
            if basin.commit(state).await?.is_some() {
                drop(turn);
                let lacking = self.read(gaps, 0).await?.0;
                return Ok(Merged { new, lacking, converged });
            }
        }
        Err(too_often(What::Pool, &basin.id))
    }

    /// What the member lacks, the first of it.
    pub async fn lacking(&self) -> Result<Lacking<C::Value>> {
        let lacking = async {
            let state = self.basin.state().await?;
            let gaps = match state.members.get(&self.name) {
                Some(member) => member.has.gaps(state.head.base, state.head.last),
                None if state.head.last > state.head.base => vec![(state.head.base + 1, state.head.last)],
                None => Vec::new(),
            };
            Ok(self.read(gaps, 0).await?.0)
        };
        lacking.await.map_err(|error| self.basin.explain(error, "lacking"))
    }

    /// Says that the member has these items; returns whether the pool has converged by that and been
    /// emptied. Items that the pool does not hold are ignored: they went with an earlier round.
    ///
    /// # Errors
    ///
    /// `TooLarge` beyond 16,384 items.
    pub async fn acknowledge(&self, items: &[ItemId]) -> Result<bool> {
        self.acknowledge_items(items).await.map_err(|error| self.basin.explain(error, "acknowledge"))
    }

    async fn acknowledge_items(&self, items: &[ItemId]) -> Result<bool> {
        check_count(items.len())?;
        // An item's number never changes, and means nothing in a later round.
        let numbers = self.numbers(items).await?;
        let parameters = &self.basin.descriptor.parameters;
        let converged = std::sync::atomic::AtomicBool::new(false);
        let head = self.basin.change(&self.name, |state| {
            let (base, last) = (state.head.base, state.head.last);
            let known = numbers.iter().flatten().copied().filter(|number| (base + 1..=last).contains(number));
            state.has(&self.name, known);
            converged.store(state.converged(parameters), std::sync::atomic::Ordering::Relaxed);
            Ok(())
        });
        head.await?;
        Ok(converged.into_inner())
    }

    /// Leaves the pool, which no longer waits for this member; returns whether it has converged by that. Ends
    /// [`next`](Member::next) of other handles of this name, which would join again.
    pub async fn leave(self) -> Result<bool> {
        let basin = &self.basin;
        basin.shared.subscribers.end_client(Some(basin.descriptor.generation), &self.name);
        let _turn = basin.turn.lock().await;
        for _ in 0..ATTEMPTS_MAX {
            let mut state = basin.state().await.map_err(|error| basin.explain(error, "leave"))?;
            state.drop_silent(basin.descriptor.parameters.member_timeout_ms());
            state.leave(&self.name);
            let converged = state.converged(&basin.descriptor.parameters);
            if basin.commit(state).await.map_err(|error| basin.explain(error, "leave"))?.is_some() {
                return Ok(converged);
            }
        }
        Err(too_often(What::Pool, &basin.id))
    }

    /// Waits for items that the member lacks, or for the end of a round. Says meanwhile that it is there.
    ///
    /// Each item is told once by a handle; what is not acknowledged is told again by
    /// [`lacking`](Member::lacking), by another handle, and once the member has joined anew. `None` after the client of this name
    /// has been unsubscribed, and after an error. Dropping the future before it is done loses nothing.
    pub async fn next(&mut self) -> Option<Result<PoolUpdate<C::Value>>> {
        loop {
            if self.failed || self.ticket.has_ended() {
                return None;
            }
            let step = if self.basin.shared.clock.monotonic_ms() >= self.heard_until_ms {
                // First of all: on a busy pool there is always something else to do.
                self.say().await
            } else if let Some(update) = self.ready.pop_front() {
                return Some(Ok(update));
            } else if self.news {
                self.look().await
            } else {
                self.wait().await
            };
            if let Err(error) = step {
                self.failed = true;
                return Some(Err(self.basin.explain(error, "member")));
            }
        }
    }

    /// The updates as a [`Stream`](futures_core::Stream).
    pub fn into_stream(self) -> impl Stream<Item = Result<PoolUpdate<C::Value>>> + Send + use<C> {
        futures_util::stream::unfold(self, |mut member| async move {
            let update = member.next().await?;
            Some((update, member))
        })
    }

    async fn look(&mut self) -> Result<()> {
        while self.watch.try_next().is_some() {}
        let state = self.basin.state().await?;
        let Head { round, base, last, .. } = state.head;
        let member = state.members.get(&self.name);
        let anew = member.is_some_and(|member| self.joined != Some(member.joined));
        let told = if anew { base } else { self.told.max(base) };
        let gaps = match member {
            Some(member) => member.has.gaps(told, last),
            None if last > told => vec![(told + 1, last)],
            None => Vec::new(),
        };
        let (lacking, to) = self.read(gaps, told).await?;
        if round > self.round {
            self.round = round;
            self.ready.push_back(PoolUpdate::Converged { round });
        }
        self.news = lacking.more;
        self.told = if lacking.more { to } else { last.max(told) };
        self.joined = member.map(|member| member.joined).or(self.joined);
        if !lacking.items.is_empty() {
            self.ready.push_back(PoolUpdate::Items(lacking.items));
        }
        Ok(())
    }

    async fn wait(&mut self) -> Result<()> {
        let (news, end) = (pin!(self.watch.next()), pin!(self.ticket.ended()));
        let clock = &self.basin.shared.clock;
        match clock.until(Some(self.heard_until_ms), select(news, end)).await {
            Some(Either::Left((Some(item), _))) => {
                item?;
                self.news = true;
            }
            Some(Either::Left((None, _))) => return Err(self.basin.gone()),
            // It has been ended, or has to say that it is there.
            Some(Either::Right(_)) | None => {}
        }
        Ok(())
    }

    /// Says that the member is there, unless its client is unsubscribed first.
    async fn say(&mut self) -> Result<()> {
        let (end, said) = (pin!(self.ticket.ended()), pin!(self.basin.change(&self.name, |_| Ok(()))));
        if let Either::Right((said, _)) = select(end, said).await {
            said?;
            self.heard_until_ms = self.basin.heard_until_ms();
        }
        Ok(())
    }

    /// Reads items of these ranges of numbers, and how far it came.
    async fn read(&self, gaps: Vec<(u64, u64)>, told: u64) -> Result<(Lacking<C::Value>, u64)> {
        let (mut items, mut to) = (Vec::new(), told);
        for (page, (from, last)) in gaps.into_iter().enumerate() {
            if page >= LACKING_PAGES_MAX {
                return Ok((Lacking { items, more: true }, to));
            }
            let (found, all) = self.basin.items(from..=last).await?;
            for (number, id, data) in found {
                items.push(Item { id, data: C::value(data)? });
                to = number;
            }
            if !all {
                return Ok((Lacking { items, more: true }, to));
            }
        }
        Ok((Lacking { items, more: false }, to))
    }

    /// The numbers of items, where the pool holds them.
    async fn numbers(&self, ids: &[ItemId]) -> Result<Vec<Option<u64>>> {
        let rows = self.basin.descriptor.rows();
        let found = self.basin.shared.job.get_many(ROWS, ids.iter().map(|id| rows.hash(&id.0))).await?;
        found.into_iter().map(|row| row.map(|row| Reader(&row).number()).transpose()).collect()
    }
}

fn check_count(items: usize) -> Result<()> {
    if items <= MERGE_ITEMS_MAX {
        return Ok(());
    }
    Err(Error::new(ErrorKind::TooLarge, format!("{items} items, the limit is {MERGE_ITEMS_MAX}")))
}

impl<C: Content> fmt::Debug for Member<C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Member")
            .field("pool", &self.basin.id)
            .field("name", &self.name)
            .finish_non_exhaustive()
    }
}
