//! The one error type: what went wrong, what it means for the data, and what the caller can do.
//!
//! Never formats keys or payloads: a message names the job, the category and the operation only.

use std::fmt;
use std::sync::Arc;

use crate::text::{Part, digits, text};

/// Shorthand for results of this crate.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// A failure of a persistency operation.
///
/// Cheap to clone: one failed group commit answers many callers. [`Error::kind`] is what programs
/// should match on, the message is for people and may change between versions.
#[derive(Clone)]
pub struct Error(Arc<Inner>);

struct Inner {
    kind: ErrorKind,
    outcome: Outcome,
    message: String,
    conflict: Option<usize>,
    source: Option<Arc<dyn std::error::Error + Send + Sync>>,
}

/// What kind of failure an [`Error`] is; the same fault gives the same kind on both platforms.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ErrorKind {
    /// An argument is malformed or contradicts how the job is open. Correct the call.
    InvalidArgument,
    /// An argument or a whole result is beyond a limit. Split the batch, or use a limit or a stream.
    TooLarge,
    /// The handle, the job or the root has been closed. Open it again.
    Closed,
    /// The job is not open, has been dropped, or its database has gone. Open it again to start a new life.
    JobNotFound,
    /// A precondition of the batch did not hold. Read again, then decide anew.
    Conflict,
    /// The job's queue is full, said only by `try_*` calls. Try later or use the waiting form.
    Overloaded,
    /// Another owner holds the root, or an open was blocked past its deadline. Try later.
    Busy,
    /// The medium or the quota is full. Free room, then try again; reads and deletes still work.
    StorageFull,
    /// Stored data cannot be read as what it should be. Restore from a backup.
    Corrupt,
    /// The data was written by a newer format than this library knows. Update the library.
    VersionTooNew,
    /// The job's deadline passed. [`Error::outcome`] tells whether anything was applied.
    Timeout,
    /// The platform cannot do this: read-only medium, no IndexedDB, an opaque origin.
    Unsupported,
    /// The storage engine failed in a way that has no kind of its own. The source tells more.
    Backend,
}

/// Whether the operation that failed has changed anything.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Outcome {
    /// Nothing of it was applied.
    NotApplied,
    /// All of it was applied; only what followed failed (for example the sync).
    Applied,
    /// It cannot be told whether all or nothing was applied; it is never half.
    Unknown,
}

impl Error {
    /// Makes an error of `kind` whose operation was not applied.
    pub fn new(kind: ErrorKind, message: impl Into<String>) -> Self {
        Error(Arc::new(Inner {
            kind,
            outcome: Outcome::NotApplied,
            message: message.into(),
            conflict: None,
            source: None,
        }))
    }

    /// The failed precondition at `index` of its batch, which is `condition` in words.
    pub(crate) fn conflict(index: usize, condition: impl Part) -> Self {
        let message = text!("precondition ", index, " does not hold: ", condition);
        let mut error = Error::new(ErrorKind::Conflict, message);
        error.edit().conflict = Some(index);
        error
    }

    /// The same error with another outcome.
    pub(crate) fn with_outcome(mut self, outcome: Outcome) -> Self {
        self.edit().outcome = outcome;
        self
    }

    /// The same error with the platform's own error behind it.
    pub(crate) fn with_source(mut self, source: Arc<dyn std::error::Error + Send + Sync>) -> Self {
        self.edit().source = Some(source);
        self
    }

    /// The same error, its message led by what was being done (job, category, operation).
    pub(crate) fn in_context(mut self, context: impl Part) -> Self {
        let inner = self.edit();
        inner.message = text!(context, ": ", inner.message);
        self
    }

    /// The same error, its message followed by what else is to be said.
    pub(crate) fn with_remark(mut self, remark: impl Part) -> Self {
        let inner = self.edit();
        inner.message = text!(inner.message, "; ", remark);
        self
    }

    /// What kind of failure this is.
    pub fn kind(&self) -> ErrorKind {
        self.0.kind
    }

    /// Whether the operation changed anything.
    pub fn outcome(&self) -> Outcome {
        self.0.outcome
    }

    /// The message without its kind: job, category and operation, then what happened.
    pub fn message(&self) -> &str {
        &self.0.message
    }

    /// Which precondition of the batch failed, counted from 0; only for [`ErrorKind::Conflict`].
    pub fn conflict_index(&self) -> Option<usize> {
        self.0.conflict
    }

    /// Whether the same call can succeed later without anything being corrected first.
    ///
    /// An error whose outcome is not [`Outcome::NotApplied`] is retryable only if repeating the
    /// operation is harmless to the caller, which this method cannot know.
    pub fn is_retryable(&self) -> bool {
        matches!(
            self.0.kind,
            ErrorKind::Overloaded | ErrorKind::Busy | ErrorKind::StorageFull | ErrorKind::Timeout
        )
    }

    fn edit(&mut self) -> &mut Inner {
        if Arc::get_mut(&mut self.0).is_none() {
            let old = &*self.0;
            self.0 = Arc::new(Inner {
                kind: old.kind,
                outcome: old.outcome,
                message: old.message.clone(),
                conflict: old.conflict,
                source: old.source.clone(),
            });
        }
        Arc::get_mut(&mut self.0).expect("the only owner: just made")
    }
}

impl ErrorKind {
    /// The kind's stable name, as JavaScript and the message show it.
    pub fn name(self) -> &'static str {
        match self {
            ErrorKind::InvalidArgument => "InvalidArgument",
            ErrorKind::TooLarge => "TooLarge",
            ErrorKind::Closed => "Closed",
            ErrorKind::JobNotFound => "JobNotFound",
            ErrorKind::Conflict => "Conflict",
            ErrorKind::Overloaded => "Overloaded",
            ErrorKind::Busy => "Busy",
            ErrorKind::StorageFull => "StorageFull",
            ErrorKind::Corrupt => "Corrupt",
            ErrorKind::VersionTooNew => "VersionTooNew",
            ErrorKind::Timeout => "Timeout",
            ErrorKind::Unsupported => "Unsupported",
            ErrorKind::Backend => "Backend",
        }
    }
}

impl Outcome {
    /// The outcome's stable name, as JavaScript shows it.
    pub fn name(self) -> &'static str {
        match self {
            Outcome::NotApplied => "NotApplied",
            Outcome::Applied => "Applied",
            Outcome::Unknown => "Unknown",
        }
    }
}

/// A name in quotes. Control characters are escaped, all else is shown as it is: to know what can be
/// printed takes tables that a browser would have to load.
pub(crate) struct Quoted<'a>(pub(crate) &'a str);

impl Part for Quoted<'_> {
    fn put(&self, text: &mut String) {
        text.push('"');
        for character in self.0.chars() {
            match character {
                '"' | '\\' => text.push('\\'),
                '\0'..='\x1f' | '\x7f'..='\u{9f}' => {
                    text.push_str("\\u{");
                    digits(u32::from(character).into(), 16, text);
                    text.push('}');
                    continue;
                }
                _ => {}
            }
            text.push(character);
        }
        text.push('"');
    }
}

impl fmt::Display for Quoted<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&text!(self))
    }
}

impl fmt::Display for ErrorKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl Part for Error {
    fn put(&self, text: &mut String) {
        text.push_str(self.0.kind.name());
        text.push_str(": ");
        text.push_str(&self.0.message);
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&text!(self))
    }
}

impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Error")
            .field("kind", &self.0.kind)
            .field("outcome", &self.0.outcome)
            .field("message", &self.0.message)
            .field("source", &self.0.source)
            .finish()
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        self.0.source.as_deref().map(|source| source as &(dyn std::error::Error + 'static))
    }
}
