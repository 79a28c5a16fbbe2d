//! The merge pool: items that members put together until each of them has all of them.
//!
//! Grow-only while a round lasts, so merging the same items in any order, once or often, comes to the
//! same pool. Nothing in it can be changed or taken out.

mod member;
mod state;

use std::fmt;
use std::marker::PhantomData;
use std::ops::RangeInclusive;
use std::sync::Arc;
use std::time::Duration;

use sha2::{Digest, Sha256};
use tokio::sync::Mutex as Turns;

use super::content::{Content, format};
use super::layout::{Descriptor, Generation, Lifetime, Parameters, ROWS, What};
use super::names::{Found, Lease, fresh_id, too_often};
use super::options::{ATTEMPTS_MAX, BYTES_DEFAULT, slid, temporary, whole_ms, with_ttl};
use super::store::{Datastore, Shared, check_format};
use crate::error::{Error, ErrorKind, Quoted, Result};
pub use member::{Lacking, Member, Merged, PoolUpdate};
use state::{Head, State};

/// Items of a pool at most, unless told otherwise.
pub const ITEMS_DEFAULT: u64 = 100_000;
/// Members of a pool at most, unless told otherwise.
pub const MEMBERS_DEFAULT: u64 = 256;
/// Members that a pool can be made for: so many are read in one view, whatever they have.
pub const MEMBERS_MAX: u64 = 2048;
/// How long a member may be silent before it counts as gone, unless told otherwise: one minute.
pub const MEMBER_TIMEOUT_DEFAULT: Duration = Duration::from_secs(60);

/// What a pool is. Stored with it when it is made; who opens it again says the same.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PoolOptions {
    lifetime: Lifetime,
    needed: u64,
    timeout: Duration,
    members: u64,
    items: u64,
    bytes: u64,
}

impl PoolOptions {
    /// A pool that stays until it is removed.
    pub fn permanent() -> Self {
        PoolOptions {
            lifetime: Lifetime::Permanent,
            needed: 2,
            timeout: MEMBER_TIMEOUT_DEFAULT,
            members: MEMBERS_DEFAULT,
            items: ITEMS_DEFAULT,
            bytes: BYTES_DEFAULT,
        }
    }

    /// A pool that expires an hour after it was made.
    pub fn temporary() -> Self {
        PoolOptions { lifetime: temporary(), ..Self::permanent() }
    }

    /// How long a temporary one lives, counted from when it was made; zero means an hour. A permanent one
    /// ignores it.
    pub fn ttl(mut self, ttl: Duration) -> Self {
        self.lifetime = with_ttl(self.lifetime, ttl);
        self
    }

    /// The time to live of a temporary one counts from the last time that a member was heard of.
    pub fn sliding(mut self) -> Self {
        self.lifetime = slid(self.lifetime);
        self
    }

    /// How many members must have been there at one time before a round can end; 2 by default. Else the
    /// first member would converge with itself before the second one comes.
    pub fn members_needed(mut self, members: u64) -> Self {
        self.needed = members;
        self
    }

    /// How long a member may be silent before it counts as gone; [`MEMBER_TIMEOUT_DEFAULT`] by default.
    pub fn member_timeout(mut self, timeout: Duration) -> Self {
        self.timeout = timeout;
        self
    }

    /// How many members there are at most; [`MEMBERS_DEFAULT`] by default, and not more than [`MEMBERS_MAX`].
    pub fn max_members(mut self, members: u64) -> Self {
        self.members = members;
        self
    }

    /// How many items a round has at most.
    pub fn max_items(mut self, items: u64) -> Self {
        self.items = items;
        self
    }

    /// How many bytes the items of a round have at most.
    pub fn max_bytes(mut self, bytes: u64) -> Self {
        self.bytes = bytes;
        self
    }

    fn parameters<C: Content>(&self) -> Result<Parameters> {
        if self.needed == 0 || self.timeout.is_zero() {
            let message = "a pool needs at least one member, and time to hear of it";
            return Err(Error::new(ErrorKind::InvalidArgument, message));
        }
        if self.members > MEMBERS_MAX {
            let message = format!("a pool for {} members, the limit is {MEMBERS_MAX}", self.members);
            return Err(Error::new(ErrorKind::InvalidArgument, message));
        }
        let numbers = [self.needed, whole_ms(self.timeout), self.members, self.items, self.bytes];
        Ok(Parameters { format: format::<C>(), lifetime: self.lifetime, numbers, primary: String::new() })
    }
}

/// The numbers of a pool's descriptor by their names; items and bytes are where a collection has them.
impl Parameters {
    fn members_needed(&self) -> u64 {
        self.numbers[0]
    }

    fn member_timeout_ms(&self) -> u64 {
        self.numbers[1]
    }

    fn members_max(&self) -> u64 {
        self.numbers[2]
    }
}

/// What names an item: the SHA-256 of its bytes. Shows itself as 64 hexadecimal characters.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ItemId(pub [u8; 32]);

impl ItemId {
    fn of(data: &[u8]) -> Self {
        ItemId(Sha256::digest(data).into())
    }
}

/// One item of a pool.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Item<V> {
    /// What names it.
    pub id: ItemId,
    /// What it is.
    pub data: V,
}

/// How a pool stands.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct PoolInfo {
    /// How often it has converged.
    pub round: u64,
    /// Its items in this round.
    pub items: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Its members by name, each with how many items it lacks.
    pub members: Vec<(String, u64)>,
    /// When it expires, in ms since the Unix epoch; `None` for a permanent one.
    pub expires_ms: Option<u64>,
}

/// A pool of items of which every member is to have all.
///
/// Members [`join`](Pool::join), [`merge`](Member::merge) what they have, are told what they lack, and
/// [`acknowledge`](Member::acknowledge) what they have received. Equal items are one: they go by the hash of
/// their bytes. Once every member has acknowledged everything the pool has **converged**: in the same batch
/// its items are removed and the next round begins. Nothing is lost with a message: what has not been
/// acknowledged is told again to who asks.
///
/// A member that leaves, or is silent for longer than its timeout while another one is heard of, is not waited
/// for. A pool without
/// members keeps its items.
///
/// Cheap to clone. The state is in the job, so two tabs see one pool, and each is a member of it.
pub struct Pool<C: Content> {
    basin: Arc<Basin>,
    content: PhantomData<fn() -> C>,
}

/// An open pool.
struct Basin {
    shared: Arc<Shared>,
    id: String,
    descriptor: Descriptor,
    /// Callers on this side wait for each other; against another tab each change is checked.
    turn: Arc<Turns<()>>,
}

impl Datastore {
    /// Finds the pool of this id, or makes it. An empty id makes one with a [`fresh_id`].
    ///
    /// # Errors
    ///
    /// As for [`collection`](Datastore::collection).
    pub async fn pool<C: Content>(&self, id: &str, options: PoolOptions) -> Result<Pool<C>> {
        let id = if id.is_empty() { fresh_id()? } else { id.to_owned() };
        let parameters = options.parameters::<C>()?;
        let head = |lease: Lease, now_ms| Head::new(lease, now_ms).encode();
        let (descriptor, _) = self.shared.find_or_make(What::Pool, &id, &parameters, head).await?;
        Ok(Pool::new(&self.shared, id, descriptor))
    }

    /// The pool of this id, with the options it was made with; `None` if there is none or it has expired.
    ///
    /// # Errors
    ///
    /// `InvalidArgument` if it was made for other contents.
    pub async fn find_pool<C: Content>(&self, id: &str) -> Result<Option<Pool<C>>> {
        let Some(found) = self.shared.look_alive(What::Pool, id).await? else { return Ok(None) };
        check_format(What::Pool, id, found.descriptor.parameters.format, format::<C>())?;
        Ok(Some(Pool::new(&self.shared, id.to_owned(), found.descriptor)))
    }

    /// Removes the pool with everything in it; whether there was one.
    pub async fn remove_pool(&self, id: &str) -> Result<bool> {
        self.shared.remove(What::Pool, id).await
    }

    /// The ids of all pools that have not expired, in the order of their bytes.
    pub async fn pools(&self) -> Result<Vec<String>> {
        self.shared.ids(What::Pool).await
    }
}

impl<C: Content> Pool<C> {
    fn new(shared: &Arc<Shared>, id: String, descriptor: Descriptor) -> Self {
        Pool { basin: Arc::new(Basin::new(shared, id, descriptor)), content: PhantomData }
    }

    /// Its id.
    pub fn id(&self) -> &str {
        &self.basin.id
    }

    /// What tells this life of the pool from the next of the same id.
    pub fn generation(&self) -> Generation {
        self.basin.descriptor.generation
    }

    /// How it stands.
    pub async fn info(&self) -> Result<PoolInfo> {
        let state = self.basin.state().await.map_err(|error| self.basin.explain(error, "info"))?;
        let Head { round, base, last, bytes, expires_ms, .. } = state.head;
        let lacks =
            |member: &state::Member| member.has.gaps(base, last).iter().map(|(from, to)| to - from + 1).sum();
        Ok(PoolInfo {
            round,
            items: last - base,
            bytes,
            members: state.members.iter().map(|(name, member)| (name.clone(), lacks(member))).collect(),
            expires_ms: (expires_ms != 0).then_some(expires_ms),
        })
    }

    /// Joins as the member of this name. Joining again under the same name is the same member, with what it
    /// has acknowledged: so a process goes on after a restart.
    ///
    /// # Errors
    ///
    /// `TooLarge` for more members than the pool may have; `InvalidArgument` for an empty name.
    pub async fn join(&self, name: &str) -> Result<Member<C>> {
        Member::join(&self.basin, name).await.map_err(|error| self.basin.explain(error, "join"))
    }
}

impl Basin {
    fn new(shared: &Arc<Shared>, id: String, descriptor: Descriptor) -> Self {
        let turn = shared.turn(descriptor.generation);
        Basin { shared: Arc::clone(shared), id, descriptor, turn }
    }

    /// When a member that is heard of now has to be heard of again, on the monotonic scale.
    fn heard_until_ms(&self) -> u64 {
        let timeout_ms = self.descriptor.parameters.member_timeout_ms();
        self.shared.clock.monotonic_ms().saturating_add((timeout_ms / 3).max(1))
    }

    /// The pool in one view; `Closed` if it has expired or been removed.
    async fn state(&self) -> Result<State> {
        let rows = self.descriptor.rows();
        let stored = self.shared.job.scan(ROWS, rows.pool_and_members()).await?;
        let state = State::read(&stored, rows, self.shared.clock.unix_ms())?.ok_or_else(|| self.gone())?;
        match state.head.expired(self.shared.clock.unix_ms()) {
            true => Err(self.gone()),
            false => Ok(state),
        }
    }

    /// Commits a change; `None` if another tab was faster. Else the head that it leaves.
    async fn commit(&self, state: State) -> Result<Option<Head>> {
        let (batch, head) = state.finish(&self.descriptor, &self.id);
        Ok(self.shared.try_batch(batch).await?.then_some(head))
    }

    /// Changes the pool as a member that is heard of by this; `change` may be called several times.
    async fn change(&self, member: &str, change: impl Fn(&mut State) -> Result<()>) -> Result<Head> {
        let _turn = self.turn.lock().await;
        for _ in 0..ATTEMPTS_MAX {
            let mut state = self.state().await?;
            let parameters = &self.descriptor.parameters;
            state.drop_silent(parameters.member_timeout_ms());
            state.join(member, parameters)?;
            change(&mut state)?;
            if let Some(head) = self.commit(state).await? {
                return Ok(head);
            }
        }
        Err(too_often(What::Pool, &self.id))
    }

    /// Items of these numbers; the first ones, as many as one page holds, and whether those are all.
    async fn items(&self, numbers: RangeInclusive<u64>) -> Result<(Vec<(u64, ItemId, Vec<u8>)>, bool)> {
        let rows = self.descriptor.rows();
        let last = *numbers.end();
        let range = rows.item(*numbers.start())..=rows.item(last);
        let page = self.shared.job.scan(ROWS, range).stream().next().await.transpose()?.unwrap_or_default();
        let items: Result<Vec<_>> = page
            .into_iter()
            .map(|row| {
                let (id, data) = row.payload.split_at_checked(32).ok_or_else(super::layout::corrupt)?;
                let id = ItemId(id.try_into().map_err(|_| super::layout::corrupt())?);
                Ok((super::layout::seq_of(&row.key)?, id, data.to_vec()))
            })
            .collect();
        let items = items?;
        let all = items.last().is_none_or(|(number, ..)| *number == last);
        Ok((items, all))
    }

    fn explain(&self, error: Error, operation: &str) -> Error {
        error.in_context(format_args!("pool {}, {operation}", Quoted(&self.id)))
    }

    fn gone(&self) -> Error {
        Error::new(ErrorKind::Closed, "it has expired or been removed")
    }
}

impl Shared {
    /// Moves the time at which a pool is looked after next to where it may have expired.
    pub(super) async fn look_after_pool_later(self: &Arc<Self>, found: &Found) -> Result<bool> {
        let pool = Basin::new(self, found.id.clone(), found.descriptor.clone());
        let mut state = match pool.state().await {
            Err(error) if error.kind() == ErrorKind::Closed && self.job.is_open() => return Ok(true),
            state => state?,
        };
        state.head.due_ms = state.head.expires_ms + 1;
        Ok(pool.commit(state).await?.is_some())
    }
}

impl fmt::Display for ItemId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for ItemId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ItemId({self})")
    }
}

impl<C: Content> Clone for Pool<C> {
    fn clone(&self) -> Self {
        Pool { basin: Arc::clone(&self.basin), content: PhantomData }
    }
}

impl<C: Content> fmt::Debug for Pool<C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pool").field("id", &self.id()).finish_non_exhaustive()
    }
}
