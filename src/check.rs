//! Looks for damage: the engine's own findings, and whether the log is as the record says.
//!
//! Never repairs anything.

use std::collections::VecDeque;

use crate::engine::{Found, Query};
use crate::error::{ErrorKind, Result};
use crate::text::text;
use crate::worker::{Link, Read, Reading, misanswered};

/// One sentence for each finding.
pub(crate) async fn check(link: &Link) -> Result<Vec<String>> {
    let mut check = Check::default();
    let mut next = Check::first();
    loop {
        let answer = link.read(next).await;
        match check.take_in(answer)? {
            Some(further) => next = further,
            None => return Ok(check.findings),
        }
    }
}

/// A check under way. Awaits nothing: says what it has to know next, and takes the answer.
#[derive(Debug, Default)]
pub(crate) struct Check {
    /// One sentence for each finding so far.
    pub(crate) findings: Vec<String>,
    stage: Stage,
    /// Whether there is to be a log.
    is_logged: bool,
    /// Up to where it has to go: the last commit when the check began.
    committed_seq: u64,
    /// Commits of the log that have been read, and not yet looked at.
    seqs: VecDeque<u64>,
    /// The last one that has been read.
    after: u64,
    /// The seq that the log goes on with, if it is whole.
    next: u64,
}

/// What the answer is about that comes next.
#[derive(Debug, Default)]
enum Stage {
    #[default]
    Damage,
    Record,
    Commits,
    /// Whether the log has to have what is missing before the next commit: trimming may go on meanwhile.
    Gap,
    /// Whether it has to have what is missing at its end.
    End,
}

impl Check {
    /// What it has to know first.
    pub(crate) fn first() -> Read {
        Read::Ask { query: Query::Damage, whole: true }
    }

    /// Takes the answer; what it has to know next, or `None` if it is through.
    pub(crate) fn take_in(&mut self, answer: Result<Reading>) -> Result<Option<Read>> {
        match self.stage {
            Stage::Damage => {
                let Reading::Found(Found::Damage(findings)) = answer? else { return Err(misanswered()) };
                self.findings = findings;
                Ok(Some(self.ask(Stage::Record)))
            }
            Stage::Record => {
                let record = answer?.details()?.record;
                self.next = record.log.first_seq;
                (self.is_logged, self.committed_seq) = (record.log.is_on(), record.committed_seq);
                Ok(Some(self.ask(Stage::Commits)))
            }
            Stage::Commits => match answer {
                Ok(Reading::Commits(page)) => {
                    self.seqs = page.commits.iter().map(|commit| commit.seq).collect();
                    let Some(last) = self.seqs.back() else { return Ok(self.end()) };
                    self.after = *last;
                    Ok(Some(self.go_on()))
                }
                Ok(_) => Err(misanswered()),
                Err(error) if error.kind() == ErrorKind::Corrupt => {
                    self.findings.push(error.message().to_owned());
                    Ok(self.end())
                }
                Err(error) => Err(error),
            },
            Stage::Gap => {
                let kept_from = answer?.details()?.record.log.first_seq;
                if let Some(seq) = self.seqs.pop_front() {
                    if seq > kept_from {
                        let before = self.next.saturating_sub(1);
                        self.findings.push(text!("the commit log goes from seq ", before, " to ", seq));
                    }
                    self.next = seq + 1;
                }
                Ok(Some(self.go_on()))
            }
            Stage::End => {
                let kept_from = answer?.details()?.record.log.first_seq;
                if self.next >= kept_from {
                    self.findings.push(text!("the commit log ends before seq ", self.committed_seq));
                }
                Ok(None)
            }
        }
    }

    fn ask(&mut self, stage: Stage) -> Read {
        self.stage = stage;
        match self.stage {
            Stage::Damage => Self::first(),
            Stage::Commits => Read::Commits { after: self.after, follow: false },
            Stage::Record | Stage::Gap | Stage::End => Read::Details,
        }
    }

    /// Looks at the commits that have been read.
    fn go_on(&mut self) -> Read {
        while let Some(&seq) = self.seqs.front() {
            // Commits that come in while this runs go on where the record stood.
            if seq != self.next && self.next <= self.committed_seq {
                return self.ask(Stage::Gap);
            }
            self.next = seq + 1;
            self.seqs.pop_front();
        }
        self.ask(Stage::Commits)
    }

    /// There is nothing more in the log.
    fn end(&mut self) -> Option<Read> {
        (self.is_logged && self.next <= self.committed_seq).then(|| self.ask(Stage::End))
    }
}
