//! Questions to the page, and news for it: kept until the page pulls them.
//!
//! Each question is answered once at most; one that nobody waits for any more is forgotten.

use std::collections::{HashMap, VecDeque};
use std::sync::{Mutex, MutexGuard, PoisonError};

use serde::Serialize;
use serde_bytes::ByteBuf;
use tokio::sync::{Notify, oneshot};

use crate::batch::Batch;
use crate::error::{Error, ErrorKind, Result};
use crate::key::Key;
use crate::write_behind::elsewhere::Snapshot;
use crate::write_behind::schema::Boxed;

/// What the page is asked and told, in order.
#[derive(Serialize)]
#[serde(rename_all = "camelCase", tag = "type")]
pub enum News {
    /// What has memory for these keys, and for what else is dirty? A list for each set.
    Values { id: u32, wanted: Vec<Vec<ByteBuf>> },
    /// Which parents have these rows by the relation of this number?
    Parents { id: u32, relation: u32, rows: Vec<(ByteBuf, ByteBuf)> },
    /// Which batch leads to this version?
    Step { id: u32, version: u64 },
    /// At which version is data without a stamp?
    Legacy { id: u32 },
    /// What was answered to that has been flushed, or has not.
    Settled { id: u32, through: bool },
}

/// What the page has answered.
pub enum Reply {
    Snapshot(Snapshot),
    Parents(Vec<Option<Key>>),
    Step(Batch),
    Legacy(Option<u64>),
}

/// The questions that are open.
#[derive(Default)]
pub struct Questions {
    state: Mutex<State>,
    more: Notify,
}

#[derive(Default)]
struct State {
    last: u32,
    news: VecDeque<News>,
    waiting: HashMap<u32, oneshot::Sender<Result<Reply>>>,
}

impl Questions {
    /// Asks; `read` takes what is wanted out of the reply.
    pub fn ask<T: 'static>(
        &self,
        question: impl FnOnce(u32) -> News,
        read: fn(Reply) -> Option<T>,
    ) -> Boxed<T> {
        let (answer, answered) = oneshot::channel();
        let id = {
            let mut state = lock(&self.state);
            state.waiting.retain(|_, waiting| !waiting.is_closed());
            state.last = state.last.wrapping_add(1);
            let id = state.last;
            state.waiting.insert(id, answer);
            id
        };
        self.tell(question(id));
        Box::pin(async move {
            let gone = |_| Err(Error::new(ErrorKind::Closed, "the page does not answer any more"));
            let other = || Error::new(ErrorKind::InvalidArgument, "the answer to another question");
            read(answered.await.unwrap_or_else(gone)?).ok_or_else(other)
        })
    }

    pub fn tell(&self, news: News) {
        lock(&self.state).news.push_back(news);
        self.more.notify_one();
    }

    /// Takes an answer; `false` if nobody waits for it any more.
    pub fn answer(&self, id: u32, answer: Result<Reply>) -> bool {
        let waiting = lock(&self.state).waiting.remove(&id);
        waiting.is_some_and(|to| to.send(answer).is_ok())
    }

    /// Waits for news.
    pub async fn next(&self) -> Vec<News> {
        loop {
            let news: Vec<News> = lock(&self.state).news.drain(..).collect();
            if !news.is_empty() {
                return news;
            }
            self.more.notified().await;
        }
    }
}

pub fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
