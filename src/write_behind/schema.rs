//! Schemas: which sets an engine has and in which order, how they hang together, how they came to be.
//!
//! Declares only: nothing is read or written before the engine is opened with it.

use std::fmt;
use std::future::Future;
use std::marker::PhantomData;
use std::pin::Pin;
use std::sync::{Arc, OnceLock};

use super::core::Core;
use super::elsewhere::{Ask, Patience};
use super::options::SetBounds;
use super::sets::{Rows, StrongSet, WeakSet};
use crate::batch::{Batch, check_category};
use crate::error::{Error, ErrorKind, Quoted, Result};
use crate::job::Job;
use crate::key::{FromKeyPart, Key, KeyPart};

/// The category of the engine's own rows, which no set may have.
pub(super) const OWN_CATEGORY: &str = "write_behind";

pub(super) type Reader = Box<dyn Fn(&Key) -> Result<Option<Vec<u8>>> + Send + Sync>;
pub(super) type Loader = Box<dyn Fn(&Key, &[u8]) -> Result<()> + Send + Sync>;
type ParentHere = Box<dyn Fn(&Key, &[u8]) -> Result<Option<Key>> + Send + Sync>;
/// Says the parents of some rows, one for each.
pub(crate) type ParentsOf = Box<dyn Fn(Vec<(Key, Vec<u8>)>) -> Boxed<Vec<Option<Key>>> + Send + Sync>;
pub(crate) type Boxed<T> = Pin<Box<dyn Future<Output = Result<T>> + Send>>;
pub(super) type StepOf<T> = Box<dyn Fn(Job) -> Boxed<T> + Send + Sync>;

/// What an engine is about: its sets in their order, its relations, its migrations.
///
/// Sets are declared parents first: a flush writes upserts in the order of declaration and deletes in
/// the reverse one, and relations are repaired in theirs. Mistakes (a category twice, versions that do
/// not ascend) are told when an engine is opened, before it touches anything.
pub struct Schema {
    pub(super) sets: Vec<Set>,
    pub(super) relations: Vec<Relation>,
    pub(super) migrations: Vec<Migration>,
    pub(super) legacy: Option<StepOf<Option<u64>>>,
    pub(super) ask: Option<Ask>,
    /// Where the handles that were given out find their engine.
    pub(super) core: Arc<OnceLock<Arc<Core>>>,
    mistake: Option<Error>,
}

/// One set as it was declared.
pub(super) struct Set {
    pub(super) category: Arc<str>,
    /// None of a strong set.
    pub(super) reader: Option<Reader>,
    pub(super) loader: Option<Loader>,
    pub(super) bounds: SetBounds,
}

/// One relation as it was declared.
pub(super) struct Relation {
    pub(super) kind: RelationKind,
    pub(super) child: usize,
    pub(super) parent: Parent,
    pub(super) parent_of: ParentOf,
}

/// Which side of a relation cannot be without the other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RelationKind {
    /// A row that names a parent is removed if that is missing.
    Requires,
    /// A row that no other one keeps alive is removed.
    KeptBy,
}

/// Who says which parent a row has.
pub(super) enum ParentOf {
    Here(ParentHere),
    Asked(ParentsOf),
}

impl ParentOf {
    /// The rows' keys with their parents.
    pub(super) async fn of(
        &self,
        rows: Vec<(Key, Vec<u8>)>,
        patience: &Patience,
    ) -> Result<Vec<(Key, Option<Key>)>> {
        match self {
            ParentOf::Here(parent_of) => {
                rows.into_iter().map(|(key, payload)| parent_of(&key, &payload).map(|of| (key, of))).collect()
            }
            ParentOf::Asked(ask) => {
                let keys: Vec<Key> = rows.iter().map(|(key, _)| key.clone()).collect();
                let parents = patience.answer("whose children rows are", ask(rows)).await?;
                if parents.len() != keys.len() {
                    let message = format!("{} parents for {} rows", parents.len(), keys.len());
                    return Err(Error::new(ErrorKind::InvalidArgument, message));
                }
                Ok(keys.into_iter().zip(parents).collect())
            }
        }
    }
}

/// Where the parents of a relation are.
pub(super) enum Parent {
    Here(usize),
    Elsewhere(JobOf, Arc<str>),
}

/// Finds an open job, each time that it is needed.
pub(crate) type JobOf = Box<dyn Fn() -> Result<Job> + Send + Sync>;

/// One step of a schema's history.
pub(super) struct Migration {
    pub(super) version: u64,
    pub(super) step: StepOf<Batch>,
}

impl Default for Schema {
    fn default() -> Self {
        Self::new()
    }
}

impl Schema {
    /// A schema without sets.
    pub fn new() -> Self {
        Schema {
            sets: Vec::new(),
            relations: Vec::new(),
            migrations: Vec::new(),
            legacy: None,
            ask: None,
            core: Arc::default(),
            mistake: None,
        }
    }

    /// Declares a weak set: memory holds its values, changed keys are marked, and a flush asks `reader`
    /// for what is to be written.
    ///
    /// `reader` answers with the payload of a key as memory has it now, or `None` if memory has it no
    /// longer, which removes the row. It runs on the thread that flushes, never at the same time as
    /// [`change`](super::WriteBehind::change), and must not call the engine itself. If it fails the flush
    /// fails, and all marks stay; natively that it panics is such a failure, too (`Backend`).
    ///
    /// As all that a schema and its options are given, it is dropped with the engine and may hold sets, its
    /// own too; whatever holds the engine itself keeps it.
    pub fn weak<K: KeyPart + FromKeyPart + 'static>(
        &mut self,
        category: &str,
        reader: impl Fn(&K) -> Result<Option<Vec<u8>>> + Send + Sync + 'static,
    ) -> WeakSet<K> {
        let read = move |key: &Key| reader(&key.decode()?);
        WeakSet::new(self.set(category, Some(Box::new(read))))
    }

    /// A schema whose memory is elsewhere: readers are not called, `ask` is.
    #[cfg_attr(not(feature = "layers"), allow(dead_code, reason = "for pages"))]
    pub(crate) fn elsewhere(ask: Ask) -> Self {
        Schema { ask: Some(ask), ..Schema::new() }
    }

    /// Declares a relation whose parents are asked for.
    #[cfg_attr(not(feature = "layers"), allow(dead_code, reason = "for pages"))]
    pub(crate) fn relation_asked(
        &mut self,
        kind: RelationKind,
        child: &impl Rows<Key>,
        parent: &impl Rows<Key>,
        ask: ParentsOf,
    ) {
        if let (Some(child), Some(parent)) = (self.own(child), self.own(parent)) {
            let (parent, parent_of) = (Parent::Here(parent), ParentOf::Asked(ask));
            self.relations.push(Relation { kind, child, parent, parent_of });
        }
    }

    /// Declares that rows require others of another job, where what they require is asked for.
    #[cfg_attr(not(feature = "layers"), allow(dead_code, reason = "for pages"))]
    pub(crate) fn requires_elsewhere_asked(
        &mut self,
        child: &impl Rows<Key>,
        (parents, category): (JobOf, &str),
        ask: ParentsOf,
    ) {
        if let Err(error) = check_category(category) {
            self.mistake.get_or_insert(error);
        }
        if let Some(child) = self.own(child) {
            let parent = Parent::Elsewhere(parents, Arc::from(category));
            let (kind, parent_of) = (RelationKind::Requires, ParentOf::Asked(ask));
            self.relations.push(Relation { kind, child, parent, parent_of });
        }
    }

    /// Declares a strong set: each write is durable when it is acknowledged, and nothing is marked.
    pub fn strong<K: KeyPart + FromKeyPart + 'static>(&mut self, category: &str) -> StrongSet<K> {
        self.set(category, None)
    }

    /// What the marks of a weak set may come to.
    pub fn bounds<K>(&mut self, set: &WeakSet<K>, bounds: SetBounds) {
        match self.own(set) {
            Some(_) if bounds.marks == 0 || bounds.bytes == 0 => {
                self.mistaken("bounds that no mark is within".to_owned());
            }
            Some(index) => self.sets[index].bounds = bounds,
            None => {}
        }
    }

    /// What is done with each row of the set when an engine is opened, after migration and repair, set
    /// by set in their order. Loading marks nothing.
    ///
    /// An error of `loader` is the error of opening.
    pub fn load<K: FromKeyPart + 'static>(
        &mut self,
        set: &impl Rows<K>,
        loader: impl Fn(K, &[u8]) -> Result<()> + Send + Sync + 'static,
    ) {
        if let Some(index) = self.own(set) {
            let load = move |key: &Key, payload: &[u8]| loader(stored_key(key)?, payload);
            self.sets[index].loader = Some(Box::new(load));
        }
    }

    /// Declares that a row of `child` cannot be without the row of `parent` that `parent_of` says.
    ///
    /// `None` means that the row needs none. Repair removes rows whose parent is missing.
    pub fn requires<C: FromKeyPart + 'static, P: KeyPart + 'static>(
        &mut self,
        child: &impl Rows<C>,
        parent: &impl Rows<P>,
        parent_of: impl Fn(&C, &[u8]) -> Result<Option<P>> + Send + Sync + 'static,
    ) {
        let parent = self.own(parent).map(Parent::Here);
        self.relation(RelationKind::Requires, self.own_quietly(child), parent, parent_of);
    }

    /// As [`requires`](Schema::requires), with parents in a category of another job.
    ///
    /// No batch spans two jobs. A parent that is removed or created there while a repair runs here is
    /// seen or not, and a kill between a write there and one here can leave an orphan; the next repair
    /// finds it.
    pub fn requires_elsewhere<C: FromKeyPart + 'static, P: KeyPart + 'static>(
        &mut self,
        child: &impl Rows<C>,
        parents: &Job,
        category: &str,
        parent_of: impl Fn(&C, &[u8]) -> Result<Option<P>> + Send + Sync + 'static,
    ) {
        if let Err(error) = check_category(category) {
            self.mistake.get_or_insert(error);
        }
        let parents = parents.clone();
        let parent = Some(Parent::Elsewhere(Box::new(move || Ok(parents.clone())), Arc::from(category)));
        self.relation(RelationKind::Requires, self.own_quietly(child), parent, parent_of);
    }

    /// Declares that a row of `parent` is there only as long as some row of `child` keeps it alive: one
    /// for which `parent_of` says its key.
    ///
    /// `None` means that the row keeps nothing alive. Repair removes rows that nothing keeps alive.
    pub fn kept_by<P: KeyPart + 'static, C: FromKeyPart + 'static>(
        &mut self,
        parent: &impl Rows<P>,
        child: &impl Rows<C>,
        parent_of: impl Fn(&C, &[u8]) -> Result<Option<P>> + Send + Sync + 'static,
    ) {
        let parent = self.own(parent).map(Parent::Here);
        self.relation(RelationKind::KeptBy, self.own_quietly(child), parent, parent_of);
    }

    /// Declares the step that brings the job to `version`; versions start at 1 and ascend.
    ///
    /// `step` reads the job as the step before left it and answers with a batch, which is applied
    /// together with the stamp of `version`, all or nothing. It has to be within the limits of a batch;
    /// what needs more is several steps. If another tab is faster the step is left to it.
    pub fn migrate<F: Future<Output = Result<Batch>> + Send + 'static>(
        &mut self,
        version: u64,
        step: impl Fn(Job) -> F + Send + Sync + 'static,
    ) {
        if version <= self.version() {
            self.mistaken(format!("version {version} after version {}", self.version()));
        }
        self.migrations.push(Migration { version, step: Box::new(move |job| Box::pin(step(job))) });
    }

    /// Declares how data without a stamp is recognised: as a version that it is at, which is then
    /// stamped before anything is migrated, or as `None`, version 0. Asked only if the job holds rows.
    ///
    /// Without it such data is of version 0. An error refuses to open.
    pub fn legacy<F: Future<Output = Result<Option<u64>>> + Send + 'static>(
        &mut self,
        recognise: impl Fn(Job) -> F + Send + Sync + 'static,
    ) {
        self.legacy = Some(Box::new(move |job| Box::pin(recognise(job))));
    }

    /// The version that the last declared step leads to; 0 without any.
    pub fn version(&self) -> u64 {
        self.migrations.last().map_or(0, |migration| migration.version)
    }

    pub(super) fn check(&mut self) -> Result<()> {
        match self.mistake.take() {
            Some(error) => Err(error.in_context("schema")),
            None => Ok(()),
        }
    }

    fn set<K>(&mut self, category: &str, reader: Option<Reader>) -> StrongSet<K> {
        if let Err(error) = check_category(category) {
            self.mistake.get_or_insert(error);
        }
        if category == OWN_CATEGORY || self.sets.iter().any(|set| *set.category == *category) {
            self.mistaken(format!("category {} is taken", Quoted(category)));
        }
        let (loader, bounds) = (None, SetBounds::default());
        self.sets.push(Set { category: Arc::from(category), reader, loader, bounds });
        StrongSet { core: Arc::clone(&self.core), index: self.sets.len() - 1, of: PhantomData }
    }

    fn relation<C: FromKeyPart + 'static, P: KeyPart + 'static>(
        &mut self,
        kind: RelationKind,
        child: Option<usize>,
        parent: Option<Parent>,
        parent_of: impl Fn(&C, &[u8]) -> Result<Option<P>> + Send + Sync + 'static,
    ) {
        let (Some(child), Some(parent)) = (child, parent) else {
            return self.mistaken(FOREIGN.to_owned());
        };
        let parent_of = move |key: &Key, payload: &[u8]| {
            let parent = parent_of(&stored_key(key)?, payload)?;
            parent.map(|parent| Key::of(&[&parent])).transpose()
        };
        let parent_of = ParentOf::Here(Box::new(parent_of));
        self.relations.push(Relation { kind, child, parent, parent_of });
    }

    /// The place of a set, if it is one of this schema's.
    fn own<K>(&mut self, set: &impl Rows<K>) -> Option<usize> {
        let own = self.own_quietly(set);
        if own.is_none() {
            self.mistaken(FOREIGN.to_owned());
        }
        own
    }

    fn own_quietly<K>(&self, set: &impl Rows<K>) -> Option<usize> {
        let set = set.strong();
        Arc::ptr_eq(&set.core, &self.core).then_some(set.index)
    }

    fn mistaken(&mut self, message: String) {
        self.mistake.get_or_insert_with(|| Error::new(ErrorKind::InvalidArgument, message));
    }
}

const FOREIGN: &str = "a set of another schema";

/// The typed key of a stored row; `Corrupt` if it is none.
pub(super) fn stored_key<K: FromKeyPart>(key: &Key) -> Result<K> {
    key.decode().map_err(|error| {
        Error::new(ErrorKind::Corrupt, "a stored key that is none of its set's").with_source(Arc::new(error))
    })
}

impl fmt::Debug for Schema {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let categories: Vec<&str> = self.sets.iter().map(|set| &*set.category).collect();
        f.debug_struct("Schema")
            .field("sets", &categories)
            .field("relations", &self.relations.len())
            .field("version", &self.version())
            .finish_non_exhaustive()
    }
}
