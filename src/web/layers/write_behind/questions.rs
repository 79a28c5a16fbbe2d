//! Questions to the page, and news for it: kept until the page pulls them.
//!
//! Knows nothing of what is asked; each question is answered once at most.

use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};

use serde::Serialize;
use serde_bytes::ByteBuf;
use tokio::sync::{Notify, oneshot};

use crate::error::{Error, ErrorKind, Result};
use crate::key::Key;
use crate::write_behind::elsewhere::{Asking, Snapshot};

/// What the page is asked and told, in order.
#[derive(Serialize)]
#[serde(rename_all = "camelCase", tag = "type")]
pub enum News {
    /// What has memory for these keys, and for what else is dirty? A list for each set.
    Ask { id: u32, wanted: Vec<Vec<ByteBuf>> },
    /// What was answered to that has been flushed, or has not.
    Settled { id: u32, through: bool },
}

/// Questions to the page. One is asked at a time, since one flush runs at a time.
#[derive(Default)]
pub struct Questions {
    state: Mutex<Questioned>,
    more: Notify,
}

#[derive(Default)]
struct Questioned {
    last: u32,
    news: VecDeque<News>,
    waiting: Option<(u32, oneshot::Sender<Result<Snapshot>>)>,
}

impl Questions {
    pub fn ask(&self, wanted: Vec<Vec<Key>>) -> Asking {
        let (answer, answered) = oneshot::channel();
        let mut state = lock(&self.state);
        state.last = state.last.wrapping_add(1);
        let id = state.last;
        state.waiting = Some((id, answer));
        drop(state);
        let bytes = |keys: Vec<Key>| keys.into_iter().map(|key| ByteBuf::from(key.into_bytes())).collect();
        self.tell(News::Ask { id, wanted: wanted.into_iter().map(bytes).collect() });
        let gone = |_| Err(Error::new(ErrorKind::Closed, "the page does not answer any more"));
        Box::pin(async move { answered.await.unwrap_or_else(gone) })
    }

    pub fn tell(&self, news: News) {
        lock(&self.state).news.push_back(news);
        self.more.notify_one();
    }

    /// Takes an answer; `false` if nobody waits for it any more.
    pub fn answer(&self, id: u32, answer: Result<Snapshot>) -> bool {
        let waiting = lock(&self.state).waiting.take_if(|(waiting, _)| *waiting == id);
        waiting.is_some_and(|(_, to)| to.send(answer).is_ok())
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
