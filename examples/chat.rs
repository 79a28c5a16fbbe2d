//! A chat log: the usual first program, with everything that a store of one's own needs.
//!
//! Channels are the first part of the key, so a channel is a prefix, its end is a scan in reverse, and
//! its deletion is one operation. The number of a message is taken by compare-and-set, which is a
//! batch with a precondition and a loop around it. A watch follows a channel, and the commit log tells
//! after a restart what happened since a position that was kept.
//!
//! `cargo run --example chat --features serde,cli`

use std::path::Path;

use persistency::{
    Batch, ErrorKind, FromPayload, Job, JobOptions, LogRetention, MessagePack, Op, Persistency, Position,
    Result, ToPayload, Watch, WatchItem, key, key_part, prefix_range,
};
use serde::{Deserialize, Serialize};

/// The key of a message. Messages order by channel, then by number.
#[derive(Debug, PartialEq)]
struct MessageId {
    channel: String,
    number: i64,
}
key_part!(MessageId { channel, number });

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Message {
    author: String,
    text: String,
}

#[derive(Clone)]
struct Chat {
    job: Job,
}

impl Chat {
    async fn open(root: &Persistency) -> Result<Self> {
        let options = JobOptions::new().log(LogRetention::LastBytes(16 * 1024 * 1024));
        Ok(Chat { job: root.open_job_with("chat", options).await? })
    }

    /// Appends a message and returns its number, the next one of its channel.
    async fn append(&self, channel: &str, message: &Message) -> Result<i64> {
        loop {
            let last = self.job.get("last", key!(channel)?).await?;
            let number = match &last {
                Some(payload) => i64::from_payload(payload)? + 1,
                None => 1,
            };
            let payload = MessagePack(message).to_payload()?;
            let batch = Batch::new().put("last", key!(channel)?, number.to_payload()?).put(
                "message",
                key!(channel, number)?,
                payload,
            );
            let batch = match last {
                Some(payload) => batch.require_equal("last", key!(channel)?, payload),
                None => batch.require_absent("last", key!(channel)?),
            };
            match self.job.persist_acked(batch).await {
                Ok(_) => return Ok(number),
                // Somebody else was first: nothing of the batch has been applied.
                Err(error) if error.kind() == ErrorKind::Conflict => {}
                // `StorageFull` would ask for room, `Closed` for opening again: the caller's decision.
                Err(error) => return Err(error),
            }
        }
    }

    /// The newest messages of a channel, the oldest of them first.
    async fn newest(&self, channel: &str, count: usize) -> Result<Vec<(MessageId, Message)>> {
        let rows = self.job.scan_prefix("message", key!(channel)?).reverse().limit(count).await?;
        rows.iter().rev().map(|row| Ok((row.key.decode()?, read(&row.payload)?))).collect()
    }

    /// Follows a channel from now on.
    async fn follow(&self, channel: &str) -> Result<Watch> {
        self.job.watch("message", prefix_range(&key!(channel)?)).await
    }

    /// Removes a channel with everything in it.
    async fn delete(&self, channel: &str) -> Result<()> {
        let batch = Batch::new().delete_prefix("message", key!(channel)?).delete("last", key!(channel)?);
        self.job.persist_acked(batch).await?;
        Ok(())
    }
}

fn read(payload: &[u8]) -> Result<Message> {
    let MessagePack(message) = MessagePack::from_payload(payload)?;
    Ok(message)
}

/// The numbers of the messages that a follower is told of, until the job is closed.
async fn listen(mut watch: Watch) -> Result<Vec<i64>> {
    let mut numbers = Vec::new();
    while let Some(item) = watch.next().await {
        match item {
            Ok(WatchItem::Commit(commit)) => {
                for op in commit.operations.iter() {
                    if let Op::Put { key, .. } = op {
                        numbers.push(key.decode::<MessageId>()?.number);
                    }
                }
            }
            // Who cannot know what has been missed reads the channel anew.
            Ok(missed) => panic!("a follower this quick misses nothing: {missed:?}"),
            Err(error) if error.kind() == ErrorKind::Closed => break,
            Err(error) => return Err(error),
        }
    }
    Ok(numbers)
}

/// How many commits the log holds after `position`.
async fn commits_since(job: &Job, position: Position) -> Result<usize> {
    let mut log = job.log_from(position).await?;
    let mut commits = 0;
    while let Some(item) = log.next().await {
        commits += usize::from(matches!(item?, WatchItem::Commit(_)));
    }
    Ok(commits)
}

async fn first_run(directory: &Path) -> Result<()> {
    let root = Persistency::open(directory)?;
    let chat = Chat::open(&root).await?;
    let start = chat.job.position().await?;
    // A position is two plain fields, and is stored like anything else.
    chat.job.persist_encoded("bookmark", key!("start")?, &(start.generation, start.seq)).await?;
    let follower = tokio::spawn(listen(chat.follow("rust").await?));

    let mut writers = tokio::task::JoinSet::<Result<()>>::new();
    for author in ["ada", "grace", "joan"] {
        let chat = chat.clone();
        writers.spawn(async move {
            for text in ["hello", "how are you?"].into_iter().cycle().take(10) {
                let message = Message { author: author.to_owned(), text: text.to_owned() };
                chat.append("rust", &message).await?;
                chat.append("wasm", &message).await?;
            }
            Ok(())
        });
    }
    while let Some(written) = writers.join_next().await {
        written.expect("no writer panics")?;
    }

    root.close().await?; // also makes everything durable
    let heard = follower.await.expect("the follower does not panic")?;
    assert_eq!(heard, Vec::from_iter(1..=30), "each once, in order");
    Ok(())
}

async fn second_run(directory: &Path) -> Result<()> {
    let root = Persistency::open(directory)?;
    let chat = Chat::open(&root).await?;

    let newest = chat.newest("rust", 20).await?;
    assert_eq!(newest.len(), 20);
    assert_eq!(newest[0].0, MessageId { channel: "rust".to_owned(), number: 11 });
    for (id, message) in &newest {
        println!("#{} {:>2} {}: {}", id.channel, id.number, message.author, message.text);
    }

    let bookmark = chat.job.get("bookmark", key!("start")?).await?.expect("the first run has put it");
    let (generation, seq) = FromPayload::from_payload(&bookmark)?;
    let commits = commits_since(&chat.job, Position { generation, seq }).await?;
    assert_eq!(commits, 1 + 2 * 30, "the bookmark, and the messages of two channels");

    chat.delete("rust").await?;
    assert_eq!(chat.newest("rust", 20).await?, []);
    assert_eq!(chat.newest("wasm", 100).await?.len(), 30);
    root.close().await
}

#[tokio::main]
async fn main() -> std::result::Result<(), Box<dyn std::error::Error>> {
    let directory = tempfile::tempdir()?;
    first_run(directory.path()).await?;
    second_run(directory.path()).await?;
    Ok(())
}
