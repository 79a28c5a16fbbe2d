//! Sets and options as they cross: what is left out is as the layer has it.
//!
//! Checks nothing but words; bounds are checked where an engine is opened.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use serde::Deserialize;
use serde_bytes::ByteBuf;

use super::questions::{News, Questions, Reply, lock};
use crate::error::{Error, ErrorKind, Result};
use crate::job::Job;
use crate::key::Key;
use crate::options::Durability;
use crate::write_behind::schema::{JobOf, ParentsOf};
use crate::write_behind::{
    Backoff, FlushPolicy, Options, RelationKind, Rows, Schema, SetBounds, StrongSet, WeakSet,
};

/// A set as it is declared.
#[derive(Clone, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct SetGiven {
    category: String,
    pub strong: bool,
    marks: Option<usize>,
    bytes: Option<usize>,
    payload_bytes: Option<usize>,
}

/// A set that is open.
pub enum Set {
    Weak(WeakSet<Key>),
    Strong(StrongSet<Key>),
}

/// How the sets hang together and came to be, as it is declared; sets by their places.
#[derive(Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct History {
    relations: Vec<RelationGiven>,
    migrations: Vec<u64>,
    legacy: bool,
}

#[derive(Clone, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct RelationGiven {
    kept_by: bool,
    child: usize,
    parent: ParentGiven,
}

/// Where parents are: a set of the engine, or a category of another job.
#[derive(Clone, Deserialize)]
#[serde(untagged)]
enum ParentGiven {
    Here(usize),
    Elsewhere(String, String),
}

impl History {
    /// Declares what it says, each with a question to the page; other jobs are those that are open beside `job`.
    pub fn declare(
        self,
        job: &Job,
        schema: &mut Schema,
        sets: &[Set],
        questions: &Arc<Questions>,
    ) -> Result<()> {
        let none = || Error::new(ErrorKind::InvalidArgument, "a relation of a set that there is not");
        for (relation, RelationGiven { kept_by, child, parent }) in (0..).zip(self.relations) {
            let child = sets.get(child).ok_or_else(none)?.strong();
            let kind = if kept_by { RelationKind::KeptBy } else { RelationKind::Requires };
            let asked = Arc::clone(questions);
            let ask: ParentsOf = Box::new(move |rows| {
                let bytes = |(key, payload): (Key, Vec<u8>)| {
                    (ByteBuf::from(key.into_bytes()), ByteBuf::from(payload))
                };
                let rows = rows.into_iter().map(bytes).collect();
                asked.ask(
                    |id| News::Parents { id, relation, rows },
                    |reply| match reply {
                        Reply::Parents(parents) => Some(parents),
                        _ => None,
                    },
                )
            });
            match parent {
                ParentGiven::Here(parent) => {
                    schema.relation_asked(kind, child, sets.get(parent).ok_or_else(none)?.strong(), ask);
                }
                ParentGiven::Elsewhere(..) if kept_by => {
                    let message = "rows of another job can be required, not kept alive";
                    return Err(Error::new(ErrorKind::InvalidArgument, message));
                }
                ParentGiven::Elsewhere(id, category) => {
                    let job = job.clone();
                    let parents: JobOf = Box::new(move || job.beside(&id));
                    schema.requires_elsewhere_asked(child, (parents, &category), ask);
                }
            }
        }
        for version in self.migrations {
            let asked = Arc::clone(questions);
            schema.migrate(version, move |_job| {
                asked.ask(
                    |id| News::Step { id, version },
                    |reply| match reply {
                        Reply::Step(batch) => Some(batch),
                        _ => None,
                    },
                )
            });
        }
        if self.legacy {
            let asked = Arc::clone(questions);
            schema.legacy(move |_job| {
                asked.ask(
                    |id| News::Legacy { id },
                    |reply| match reply {
                        Reply::Legacy(version) => Some(version),
                        _ => None,
                    },
                )
            });
        }
        Ok(())
    }
}

impl Set {
    /// Its rows, to be written strongly.
    pub fn strong(&self) -> &StrongSet<Key> {
        match self {
            Set::Weak(set) => Rows::strong(set),
            Set::Strong(set) => set,
        }
    }
}

impl SetGiven {
    pub fn declared(self, schema: &mut Schema) -> Set {
        if self.strong {
            return Set::Strong(schema.strong(&self.category));
        }
        let set = schema.weak(&self.category, |_: &Key| Ok(None));
        let default = SetBounds::default();
        let bounds = SetBounds {
            marks: self.marks.unwrap_or(default.marks),
            bytes: self.bytes.unwrap_or(default.bytes),
            payload_bytes: self.payload_bytes.unwrap_or(default.payload_bytes),
        };
        schema.bounds(&set, bounds);
        Set::Weak(set)
    }
}

/// When to flush, as it crosses; what is left out stays.
#[derive(Clone, Copy, Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct PolicyGiven {
    marks: Option<usize>,
    bytes: Option<usize>,
    interval_ms: Option<u64>,
}

impl PolicyGiven {
    pub fn policy(self, before: FlushPolicy) -> FlushPolicy {
        FlushPolicy {
            marks: self.marks.unwrap_or(before.marks),
            bytes: self.bytes.unwrap_or(before.bytes),
            interval: self.interval_ms.map_or(before.interval, Duration::from_millis),
        }
    }
}

/// Options as they cross.
#[derive(Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Given {
    marks: Option<usize>,
    bytes: Option<usize>,
    durability: Option<String>,
    tick_ms: Option<u64>,
    pub policy: Option<PolicyGiven>,
    backoff_first_ms: Option<u64>,
    backoff_max_ms: Option<u64>,
}

impl Given {
    pub fn options(self, policy: Arc<Mutex<FlushPolicy>>) -> Result<Options> {
        let default = Backoff::default();
        let backoff = Backoff {
            first: self.backoff_first_ms.map_or(default.first, Duration::from_millis),
            max: self.backoff_max_ms.map_or(default.max, Duration::from_millis),
        };
        let mut options = Options::new().backoff(backoff).policy_from(move || *lock(&policy));
        options = match self.durability.as_deref() {
            None | Some("strict") => options,
            Some("relaxed") => options.durability(Durability::Relaxed),
            Some(_) => {
                let message = "the durability of a flush is strict or relaxed";
                return Err(Error::new(ErrorKind::InvalidArgument, message));
            }
        };
        if let Some(marks) = self.marks {
            options = options.marks(marks);
        }
        if let Some(bytes) = self.bytes {
            options = options.bytes(bytes);
        }
        Ok(match self.tick_ms {
            Some(ms) => options.tick(Duration::from_millis(ms)),
            None => options,
        })
    }
}
