//! Options of archives as they cross: what is left out is as the layer has it. Checks nothing but words.

use std::time::Duration;

use serde::Deserialize;

use crate::archive::{ArchiveOptions, CutPolicy};

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Given {
    name: Option<String>,
    cut: CutGiven,
    base_after_bytes: Option<u64>,
    keep_ms: Option<u64>,
    max_attempts: Option<u32>,
    backoff_ms: Option<u64>,
    backoff_max_ms: Option<u64>,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
struct CutGiven {
    age_ms: Option<u64>,
    commits: Option<u64>,
    bytes: Option<u64>,
    early: Option<Early>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
enum Early {
    #[serde(rename_all = "camelCase")]
    At {
        commits: u64,
        age_ms: u64,
    },
    Never,
}

/// Milliseconds that it waits after a failure, at first and at most, if options say only one of them.
const BACKOFF_MS: (u64, u64) = (500, 60_000);

impl Given {
    pub fn archive(self) -> ArchiveOptions {
        let CutGiven { age_ms, commits, bytes, early } = self.cut;
        let mut cut = CutPolicy::new();
        cut = age_ms.map_or(cut, |age_ms| cut.age(Duration::from_millis(age_ms)));
        cut = commits.map_or(cut, |commits| cut.commits(commits));
        cut = bytes.map_or(cut, |bytes| cut.bytes(bytes));
        cut = match early {
            Some(Early::At { commits, age_ms }) => cut.early(commits, Duration::from_millis(age_ms)),
            Some(Early::Never) => cut.not_early(),
            None => cut,
        };
        let mut options = ArchiveOptions::new().cut(cut);
        if let Some(name) = self.name {
            options = options.name(name);
        }
        if let Some(bytes) = self.base_after_bytes {
            options = options.base_after_bytes(bytes);
        }
        if let Some(attempts) = self.max_attempts {
            options = options.max_attempts(attempts);
        }
        if self.backoff_ms.is_some() || self.backoff_max_ms.is_some() {
            let ms = |given: Option<u64>, default| Duration::from_millis(given.unwrap_or(default));
            options =
                options.backoff(ms(self.backoff_ms, BACKOFF_MS.0), ms(self.backoff_max_ms, BACKOFF_MS.1));
        }
        match self.keep_ms {
            Some(ms) => options.keep(Duration::from_millis(ms)),
            None => options,
        }
    }
}
