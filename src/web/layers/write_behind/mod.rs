//! The layer `write_behind` for the page, whose memory is the truth: a [`WriteBehind`] behind calls.
//!
//! Decides nothing: each method is the one of that name. What is dirty is asked of the page, which answers all of
//! it in one turn of its event loop; the questions and how they ended are pulled by the method `next`.

mod options;
mod questions;

use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use futures_util::future::{Either, select};
use serde::{Deserialize, Serialize};
use serde_bytes::ByteBuf;
use tokio::sync::{OnceCell, oneshot};

use self::options::{Given, History, PolicyGiven, Set, SetGiven};
use self::questions::{News, Questions, Reply, lock};
use super::{Answer, Args, Object, no_method};
use crate::error::{Error, ErrorKind, Result};
use crate::job::Job;
use crate::key::Key;
use crate::spawn::spawn_local;
use crate::web::wire::unpack_batch;
use crate::write_behind::elsewhere::Snapshot;
use crate::write_behind::{
    FlushPolicy, Flushed, Mark, Options, RelationKind, RelationReport, RepairReport, Saved, Schema,
    StrongSet, WeakSet, WriteBehind,
};

/// Makes an engine over a job; it is opened by its first call, since opening may ask the page.
///
/// # Errors
///
/// `InvalidArgument` for other arguments than sets, history and options, or such as cannot be.
pub fn open(job: &Job, args: Args<'_>) -> Result<Answer> {
    let (sets, history, given): (Vec<SetGiven>, History, Given) = args.read()?;
    let policy = Arc::new(Mutex::new(given.policy.unwrap_or_default().policy(FlushPolicy::default())));
    let engine = Engine {
        job: job.clone(),
        declared: Declared { sets, history, given },
        opened: OnceCell::new(),
        policy,
        questions: Arc::default(),
    };
    engine.declare()?;
    Ok(Answer::nothing().with(engine))
}

/// Marks of one set: keys to upsert, keys to delete.
type Marks = (u32, Vec<ByteBuf>, Vec<ByteBuf>);
/// What memory has in one set: keys with their payloads, without one what is gone.
type Values = (u32, Vec<(ByteBuf, Option<ByteBuf>)>);

/// What the page answers to a question: an error, or what is asked for.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct ReplyGiven {
    error: Option<String>,
    snapshot: Option<(Vec<Marks>, Vec<Values>)>,
    parents: Option<Vec<Option<ByteBuf>>>,
    step: Option<ByteBuf>,
    legacy: Option<u64>,
}

struct Engine {
    job: Job,
    declared: Declared,
    opened: OnceCell<Opened>,
    policy: Arc<Mutex<FlushPolicy>>,
    questions: Arc<Questions>,
}

/// What an engine is opened with; kept, since opening may be given up or fail, and is then begun anew.
struct Declared {
    sets: Vec<SetGiven>,
    history: History,
    given: Given,
}

struct Opened {
    engine: WriteBehind,
    sets: Vec<Set>,
}

/// Where an engine stands, as it crosses.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct StatusTold {
    dirty: usize,
    dirty_bytes: usize,
    running: bool,
    flushes: u64,
    rows: u64,
    failures: u32,
    error: Option<String>,
}

#[derive(Serialize)]
struct FlushedTold {
    upserts: usize,
    deletes: usize,
    seq: Option<u64>,
}

impl FlushedTold {
    fn answer(flushed: Flushed) -> Result<Answer> {
        let Flushed { upserts, deletes, seq } = flushed;
        Answer::value(&FlushedTold { upserts, deletes, seq })
    }
}

/// What a repair has removed, as it crosses.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct RepairTold {
    removed: u64,
    batches: usize,
    relations: Vec<RelationTold>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct RelationTold {
    kind: &'static str,
    child: String,
    parent: String,
    examined: u64,
    removed: u64,
}

impl RepairTold {
    fn of(report: &RepairReport) -> Self {
        let told = |relation: &RelationReport| RelationTold {
            kind: if relation.kind == RelationKind::KeptBy { "keptBy" } else { "requires" },
            child: relation.child.clone(),
            parent: relation.parent.clone(),
            examined: relation.examined,
            removed: relation.removed,
        };
        let relations = report.relations.iter().map(told).collect();
        RepairTold { removed: report.removed(), batches: report.batches, relations }
    }
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct BootstrapTold {
    version_before: u64,
    version: u64,
    repair: RepairTold,
}

#[async_trait(?Send)]
impl Object for Engine {
    async fn call(&self, method: &str, args: Args<'_>) -> Result<Answer> {
        match method {
            // These serve the opening itself.
            "next" => {
                args.none()?;
                return self.next().await;
            }
            "answer" => {
                let (id, answer): (u32, ReplyGiven) = args.read()?;
                return self.answer(id, answer).map(|()| Answer::nothing());
            }
            _ => {}
        }
        let opened = self.opened(method == "open").await?;
        let engine = &opened.engine;
        match method {
            "open" => {
                args.none()?;
                let bootstrap = engine.bootstrap();
                return Answer::value(&BootstrapTold {
                    version_before: bootstrap.version_before,
                    version: bootstrap.version,
                    repair: RepairTold::of(&bootstrap.repair),
                });
            }
            "repair" => {
                args.none()?;
                return Answer::value(&RepairTold::of(&engine.repair().await?));
            }
            "repairDryRun" => {
                args.none()?;
                return Answer::value(&RepairTold::of(&engine.repair_dry_run().await?));
            }
            "mark" => {
                let (marks,): (Vec<Marks>,) = args.read()?;
                opened.mark(marks)?;
            }
            "flush" => {
                args.none()?;
                return FlushedTold::answer(engine.flush().await?);
            }
            "start" => {
                args.none()?;
                return Answer::value(&engine.start()?);
            }
            "stop" => {
                args.none()?;
                return FlushedTold::answer(engine.stop().await?);
            }
            "setPolicy" => {
                let (policy,): (PolicyGiven,) = args.read()?;
                let mut now = lock(&self.policy);
                *now = policy.policy(*now);
            }
            "status" => {
                args.none()?;
                let status = engine.status();
                return Answer::value(&StatusTold {
                    dirty: status.dirty,
                    dirty_bytes: status.dirty_bytes,
                    running: status.running,
                    flushes: status.flushes,
                    rows: status.rows,
                    failures: status.failures,
                    error: status.error.map(|error| error.to_string()),
                });
            }
            "write" => {
                let (batch,): (ByteBuf,) = args.read()?;
                return Answer::value(&engine.write(unpack_batch(&batch)?).await?);
            }
            _ => return opened.call_set(method, args).await,
        }
        Ok(Answer::nothing())
    }
}

impl Opened {
    fn set(&self, index: u32) -> Result<&Set> {
        self.sets.get(index as usize).ok_or_else(no_set)
    }

    fn strong(&self, index: u32) -> Result<&StrongSet<Key>> {
        Ok(self.set(index)?.strong())
    }

    fn weak(&self, index: u32) -> Result<&WeakSet<Key>> {
        match self.set(index)? {
            Set::Weak(set) => Ok(set),
            Set::Strong(_) => Err(not_weak()),
        }
    }

    async fn call_set(&self, method: &str, args: Args<'_>) -> Result<Answer> {
        match method {
            "get" => {
                let (set, key): (u32, ByteBuf) = args.read()?;
                let found = self.strong(set)?.get(&key_of(key)).await?;
                Answer::value(&found.map(ByteBuf::from))
            }
            "insert" => {
                let (set, key, payload): (u32, ByteBuf, ByteBuf) = args.read()?;
                self.strong(set)?.insert(&key_of(key), payload.into_vec()).await?;
                Ok(Answer::nothing())
            }
            "ensure" => {
                let (set, key, payload): (u32, ByteBuf, ByteBuf) = args.read()?;
                Answer::value(&self.strong(set)?.ensure(&key_of(key), payload.into_vec()).await?)
            }
            "put" => {
                let (set, key, payload): (u32, ByteBuf, ByteBuf) = args.read()?;
                let saved = self.strong(set)?.put(&key_of(key), payload.into_vec()).await?;
                Answer::value(&matches!(saved, Saved::Created))
            }
            "remove" => {
                let (set, key): (u32, ByteBuf) = args.read()?;
                Answer::value(&self.strong(set)?.remove(&key_of(key)).await?)
            }
            _ => Err(no_method(method)),
        }
    }

    fn mark(&self, marks: Vec<Marks>) -> Result<()> {
        for (set, upserts, deletes) in marks {
            let set = self.weak(set)?;
            for key in upserts {
                set.mark(&key_of(key))?;
            }
            for key in deletes {
                set.mark_delete(&key_of(key))?;
            }
        }
        Ok(())
    }
}

impl Engine {
    /// The engine, opened once.
    ///
    /// The first life repairs. One that goes on after its worker has died does not: what the page has marked, and not
    /// yet told again, would not count.
    async fn opened(&self, is_first: bool) -> Result<&Opened> {
        let open = || async {
            let (schema, sets, options) = self.declare()?;
            let job = self.job.clone();
            let engine = match is_first {
                true => WriteBehind::over(job, schema, options).await,
                false => WriteBehind::again(job, schema, options).await,
            };
            Ok(Opened { engine: engine?, sets })
        };
        self.opened.get_or_try_init(open).await
    }

    /// Declares everything, for one try to open it.
    fn declare(&self) -> Result<(Schema, Vec<Set>, Options)> {
        let asked = Arc::clone(&self.questions);
        let mut schema = Schema::elsewhere(Box::new(move |wanted| {
            let bytes =
                |keys: Vec<Key>| keys.into_iter().map(|key| ByteBuf::from(key.into_bytes())).collect();
            let wanted = wanted.into_iter().map(bytes).collect();
            asked.ask(
                |id| News::Values { id, wanted },
                |reply| match reply {
                    Reply::Snapshot(snapshot) => Some(snapshot),
                    _ => None,
                },
            )
        }));
        let Declared { sets, history, given } = &self.declared;
        let sets: Vec<Set> = sets.iter().map(|set| set.clone().declared(&mut schema)).collect();
        history.clone().declare(&self.job, &mut schema, &sets, &self.questions)?;
        Ok((schema, sets, given.clone().options(Arc::clone(&self.policy))?))
    }

    /// News for the page; none any more when the job has ended.
    async fn next(&self) -> Result<Answer> {
        let mut end = self.job.watch_committed_seq();
        let ended = std::pin::pin!(end.at_least(u64::MAX));
        match select(std::pin::pin!(self.questions.next()), ended).await {
            Either::Left((news, _)) => Answer::value(&news),
            Either::Right((ended, _)) => ended.and_then(|_| Answer::value(&Vec::<News>::new())),
        }
    }

    fn answer(&self, id: u32, given: ReplyGiven) -> Result<()> {
        let ReplyGiven { error, snapshot, parents, step, legacy } = given;
        let reply = match (error, snapshot, parents, step) {
            (Some(error), ..) => {
                let message = format!("the page could not answer: {error}");
                Err(Error::new(ErrorKind::InvalidArgument, message))
            }
            (_, Some((marks, values)), ..) => return self.snapshot(id, marks, values),
            (_, _, Some(parents), _) => {
                Ok(Reply::Parents(parents.into_iter().map(|parent| parent.map(key_of)).collect()))
            }
            (_, _, _, Some(batch)) => unpack_batch(&batch).map(Reply::Step),
            (None, None, None, None) => Ok(Reply::Legacy(legacy)),
        };
        self.questions.answer(id, reply);
        Ok(())
    }

    fn snapshot(&self, id: u32, marks: Vec<Marks>, values: Vec<Values>) -> Result<()> {
        let mut made = Vec::new();
        for (set, upserts, deletes) in marks {
            if self.declared.sets.get(set as usize).ok_or_else(no_set)?.strong {
                return Err(not_weak());
            }
            let marked = |mark: Mark| move |key| (set as usize, key_of(key), mark);
            made.extend(upserts.into_iter().map(marked(Mark::Upsert)));
            made.extend(deletes.into_iter().map(marked(Mark::Delete)));
        }
        let of_set = |(set, values): Values| {
            let values = values.into_iter();
            values.map(move |(key, payload)| (set as usize, key_of(key), payload.map(ByteBuf::into_vec)))
        };
        let values = values.into_iter().flat_map(of_set).collect();
        let (through, settled) = oneshot::channel();
        let snapshot = Snapshot { marks: made, values, through };
        // Also where nobody waits for it any more: then the page is told that it was not flushed.
        self.questions.answer(id, Ok(Reply::Snapshot(snapshot)));
        let questions = Arc::clone(&self.questions);
        spawn_local(async move {
            let through = settled.await.is_ok();
            questions.tell(News::Settled { id, through });
        });
        Ok(())
    }
}

fn no_set() -> Error {
    Error::new(ErrorKind::InvalidArgument, "there is no such set")
}

fn not_weak() -> Error {
    Error::new(ErrorKind::InvalidArgument, "nothing is marked in a strong set")
}

fn key_of(key: ByteBuf) -> Key {
    Key::from_bytes(key.into_vec())
}
