//! What this process has last written of channels' buffers, so that the next whole save need not read them.
//!
//! Never believed without proof: a batch that was made from it requires the channel's mark to be the one
//! remembered, and everybody who changes a buffer leaves another mark.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::key::Key;

/// Bytes that are remembered at most; beyond them everything is forgotten.
const REMEMBERED_BYTES_MAX: usize = 4 * 1024 * 1024;

/// The rows of a channel's mark, head and buffers.
pub(super) type Buffers = BTreeMap<Key, Vec<u8>>;

/// Buffers by channel.
#[derive(Default)]
pub(super) struct Remembered(Mutex<Channels>);

#[derive(Default)]
struct Channels {
    all: HashMap<String, Buffers>,
    bytes: usize,
}

impl Remembered {
    pub(super) fn put(&self, channel: &str, buffers: Buffers) {
        let mut channels = self.channels();
        channels.take(channel);
        let bytes = weight(channel, &buffers);
        if channels.bytes + bytes > REMEMBERED_BYTES_MAX {
            *channels = Channels::default();
        }
        if bytes <= REMEMBERED_BYTES_MAX {
            channels.bytes += bytes;
            channels.all.insert(channel.to_owned(), buffers);
        }
    }

    /// What is remembered of the channel, which is forgotten by that.
    pub(super) fn take(&self, channel: &str) -> Option<Buffers> {
        self.channels().take(channel)
    }

    fn channels(&self) -> MutexGuard<'_, Channels> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Channels {
    fn take(&mut self, channel: &str) -> Option<Buffers> {
        let buffers = self.all.remove(channel)?;
        self.bytes -= weight(channel, &buffers);
        Some(buffers)
    }
}

fn weight(channel: &str, buffers: &Buffers) -> usize {
    let rows = buffers.iter().map(|(key, payload)| key.len() + payload.len());
    channel.len() + rows.sum::<usize>()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::test;

    fn buffers(bytes: usize) -> Buffers {
        Buffers::from([(Key::empty(), vec![0; bytes])])
    }

    #[test]
    fn what_is_remembered_is_bounded_in_bytes() {
        let remembered = Remembered::default();
        let third = REMEMBERED_BYTES_MAX / 3 - 1;
        for channel in ["a", "b", "c", "c"] {
            remembered.put(channel, buffers(third));
        }
        assert!(remembered.take("b").is_some() && remembered.take("b").is_none());
        remembered.put("d", buffers(third));
        remembered.put("e", buffers(9));
        assert_eq!(
            ["a", "c", "d", "e"].map(|channel| remembered.take(channel).is_some()),
            [false, false, false, true]
        );
        assert_eq!(remembered.channels().bytes, 0);
        remembered.put("f", buffers(REMEMBERED_BYTES_MAX));
        assert!(remembered.take("f").is_none());
    }
}
