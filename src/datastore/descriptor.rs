//! Descriptors: what a collection or pool is for all its life, as it is stored.
//!
//! Pure: reads and writes bytes, never a job.

use super::layout::{Generation, Reader, Rows, What, corrupt};
use crate::error::{Error, ErrorKind, Result};

/// The version of the layout, the first byte of every descriptor.
const VERSION: u8 = 1;

/// What the data of records or items is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Format {
    Bytes,
    Json,
}

/// How long it lives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Lifetime {
    Permanent,
    Temporary { ttl_ms: u64, sliding: bool },
}

/// Everything about a collection or pool that never changes in its life.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Descriptor {
    pub(super) generation: Generation,
    pub(super) created_ms: u64,
    pub(super) parameters: Parameters,
}

/// What whoever opens it again has to say alike.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Parameters {
    pub(super) format: Format,
    pub(super) lifetime: Lifetime,
    /// Named by [`NUMBERS`].
    pub(super) numbers: [u64; 5],
    /// The field of a JSON record that is its key.
    pub(super) primary: String,
}

/// The names of a descriptor's numbers.
pub(super) fn number_names(what: What) -> [&'static str; 5] {
    match what {
        What::Collection => ["record TTL", "tombstone retention", "tombstones", "records", "bytes"],
        What::Pool => ["members needed", "member timeout", "members", "items", "bytes"],
    }
}

impl Descriptor {
    pub(super) fn rows(&self) -> Rows {
        Rows(self.generation)
    }

    /// When it expires if nothing slides; 0 for never.
    pub(super) fn expires_ms(&self, from_ms: u64) -> u64 {
        match self.parameters.lifetime {
            Lifetime::Permanent => 0,
            Lifetime::Temporary { ttl_ms, .. } => from_ms.saturating_add(ttl_ms),
        }
    }

    pub(super) fn sliding(&self) -> bool {
        matches!(self.parameters.lifetime, Lifetime::Temporary { sliding: true, .. })
    }

    pub(super) fn encode(&self) -> Vec<u8> {
        let Parameters { format, lifetime, numbers, primary } = &self.parameters;
        let (kind, ttl_ms) = match lifetime {
            Lifetime::Permanent => (0, 0),
            Lifetime::Temporary { ttl_ms, sliding: false } => (1, *ttl_ms),
            Lifetime::Temporary { ttl_ms, sliding: true } => (2, *ttl_ms),
        };
        let format = match format {
            Format::Bytes => 0,
            Format::Json => 1,
        };
        let mut bytes = vec![VERSION, format, kind];
        bytes.extend(self.generation);
        bytes.extend([self.created_ms, ttl_ms].iter().chain(numbers).flat_map(|number| number.to_be_bytes()));
        bytes.extend(primary.as_bytes());
        bytes
    }

    pub(super) fn decode(bytes: &[u8]) -> Result<Self> {
        let mut reader = Reader(bytes);
        match reader.byte()? {
            VERSION => {}
            newer if newer > VERSION => {
                let message =
                    format!("the layer's layout {newer} is newer than {VERSION}, which this library knows");
                return Err(Error::new(ErrorKind::VersionTooNew, message));
            }
            _ => return Err(corrupt()),
        }
        let format = match reader.byte()? {
            0 => Format::Bytes,
            1 => Format::Json,
            _ => return Err(corrupt()),
        };
        let kind = reader.byte()?;
        let generation = reader.array()?;
        let (created_ms, ttl_ms) = (reader.number()?, reader.number()?);
        let lifetime = match kind {
            0 => Lifetime::Permanent,
            1 => Lifetime::Temporary { ttl_ms, sliding: false },
            2 => Lifetime::Temporary { ttl_ms, sliding: true },
            _ => return Err(corrupt()),
        };
        let mut numbers = [0; 5];
        for number in &mut numbers {
            *number = reader.number()?;
        }
        let primary = String::from_utf8(reader.0.to_vec()).map_err(|_| corrupt())?;
        Ok(Descriptor {
            generation,
            created_ms,
            parameters: Parameters { format, lifetime, numbers, primary },
        })
    }
}
