//! The questions, answered by range scans of the job alone, and the digest over all answers.
//!
//! Never looks into the text files: what is not in the job is not known here.

use persistency::{Job, Key, Row, Text, key};
use sha2::{Digest, Sha256};

use crate::Result;
use crate::load::{BLOCKS, Block, CHARACTERS};

/// How the names of the third question start.
pub const NAMES: &str = "GREEK SMALL LETTER";

/// What the job answers.
pub struct Answers {
    /// The block Greek and Coptic, ascending.
    pub greek: Vec<Row>,
    /// The last ten of the block Emoticons, descending.
    pub emoticons: Vec<Row>,
    /// The names that start with [`NAMES`], ascending.
    pub names: Vec<Row>,
    /// How many characters each block holds, by block.
    pub counts: Vec<Count>,
    /// Rows that were read, those of the counts not among them.
    pub scanned: u64,
    /// SHA-256 over everything that was answered.
    pub digest: String,
}

/// How many characters a block holds.
pub struct Count {
    /// The block's name.
    pub block: String,
    /// Characters that UnicodeData.txt lists in it.
    pub characters: u64,
}

impl Answers {
    /// Asks all questions.
    pub async fn ask(job: &Job) -> Result<Self> {
        let mut digest = AnswerDigest::default();
        let blocks = job.scan(BLOCKS, ..).await?;
        let mut scanned = blocks.len() as u64;

        let (first, last) = range_of("Greek and Coptic", &blocks)?;
        let greek = job.scan(CHARACTERS, first..=last).await?;
        let (first, last) = range_of("Emoticons", &blocks)?;
        let emoticons = job.scan(CHARACTERS, first..=last).reverse().limit(10).await?;
        let names = job.scan_prefix(crate::load::NAMES, key!(Text::prefix(NAMES))?).await?;
        for rows in [&greek, &emoticons, &names] {
            digest.answer(rows);
            scanned += rows.len() as u64;
        }

        let mut counts = Vec::new();
        for row in &blocks {
            let block = Block::parse(std::str::from_utf8(&row.payload)?)?;
            let characters = job.count(CHARACTERS, key!(block.first)?..=key!(block.last)?).await?;
            digest.row(&row.key, &characters.to_be_bytes());
            counts.push(Count { block: block.name.to_owned(), characters });
        }
        digest.end_of_answer();

        // Everything, by pages: however large a job is, one page of it is in memory.
        for category in job.categories().await? {
            let mut pages = job.scan(&category, ..).stream();
            while let Some(page) = pages.next().await {
                for row in page? {
                    digest.row(&row.key, &row.payload);
                    scanned += 1;
                }
            }
        }
        digest.end_of_answer();
        Ok(Answers { greek, emoticons, names, counts, scanned, digest: digest.hexadecimal() })
    }
}

/// The name in a row of `name`.
pub fn name_in_key(row: &Row) -> Result<String> {
    let (Text(name), _code) = row.key.decode::<(Text<String>, i64)>()?;
    Ok(name)
}

/// The keys of the first and the last character that can be in the block.
fn range_of(name: &str, blocks: &[Row]) -> Result<(Key, Key)> {
    for row in blocks {
        let block = Block::parse(std::str::from_utf8(&row.payload)?)?;
        if block.name == name {
            return Ok((key!(block.first)?, key!(block.last)?));
        }
    }
    Err(format!("the job has no block {name:?}").into())
}

/// The digest as `data/README.md` defines it.
#[derive(Default)]
struct AnswerDigest {
    hash: Sha256,
    /// Rows of the answer that has not ended yet.
    rows: u32,
}

impl AnswerDigest {
    fn answer(&mut self, rows: &[Row]) {
        for row in rows {
            self.row(&row.key, &row.payload);
        }
        self.end_of_answer();
    }

    fn row(&mut self, key: &Key, payload: &[u8]) {
        for bytes in [key.as_bytes(), payload] {
            // No key or payload reaches 4 GiB: the limits are far below.
            self.hash.update((bytes.len() as u32).to_be_bytes());
            self.hash.update(bytes);
        }
        self.rows += 1;
    }

    fn end_of_answer(&mut self) {
        self.hash.update(std::mem::take(&mut self.rows).to_be_bytes());
    }

    fn hexadecimal(self) -> String {
        self.hash.finalize().iter().map(|byte| format!("{byte:02x}")).collect()
    }
}
