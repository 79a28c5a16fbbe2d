//! From the two text files to batches of rows. Never opens, writes or reads a job.

use persistency::{Batch, Op, Row, Text, key};

use crate::Result;

/// One row for each character, by code point.
pub const CHARACTERS: &str = "char";
/// One row for each character, by name and code point.
pub const NAMES: &str = "name";
/// One row for each block, by its first code point.
pub const BLOCKS: &str = "block";

/// Characters in one batch; each makes two rows.
const CHARACTERS_PER_BATCH: usize = 500;

/// What the files say.
pub struct Source<'a> {
    characters: Vec<Character<'a>>,
    blocks: Vec<Block<'a>>,
}

struct Character<'a> {
    code: i64,
    digits: &'a str,
    name: &'a str,
    line: &'a str,
}

/// A line such as `0370..03FF; Greek and Coptic`.
pub struct Block<'a> {
    /// The first code point.
    pub first: i64,
    /// The last code point.
    pub last: i64,
    /// The block's name.
    pub name: &'a str,
    line: &'a str,
}

impl<'a> Source<'a> {
    /// Reads the contents of `UnicodeData.txt` and `Blocks.txt`.
    pub fn parse(unicode_data: &'a str, blocks: &'a str) -> Result<Self> {
        let characters = unicode_data.lines().map(Character::parse).collect::<Result<_>>()?;
        let blocks = blocks.lines().filter(|line| !line.is_empty() && !line.starts_with('#'));
        Ok(Source { characters, blocks: blocks.map(Block::parse).collect::<Result<_>>()? })
    }

    /// How many rows it makes.
    pub fn rows(&self) -> u64 {
        (2 * self.characters.len() + self.blocks.len()) as u64
    }

    /// The batches that replace whatever an earlier run left, to be written in this order.
    pub fn batches(&self) -> Result<Vec<Batch>> {
        let mut batches = vec![Batch::new().clear(BLOCKS).clear(CHARACTERS).clear(NAMES)];
        for characters in self.characters.chunks(CHARACTERS_PER_BATCH) {
            let mut batch = Batch::new();
            for character in characters {
                batch = batch.put(CHARACTERS, key!(character.code)?, character.line);
            }
            for character in characters {
                let key = key!(Text(character.name), character.code)?;
                batch = batch.put(NAMES, key, character.digits);
            }
            batches.push(batch);
        }
        // Last and in one batch: where the blocks are, everything before them is.
        let mut batch = Batch::new();
        for block in &self.blocks {
            batch = batch.put(BLOCKS, key!(block.first)?, block.line);
        }
        batches.push(batch);
        Ok(batches)
    }
}

impl<'a> Character<'a> {
    fn parse(line: &'a str) -> Result<Self> {
        let malformed = || format!("not a line of UnicodeData.txt: {line:?}");
        let mut fields = line.split(';');
        let (digits, name) = fields.next().zip(fields.next()).ok_or_else(malformed)?;
        let code = i64::from_str_radix(digits, 16).map_err(|_| malformed())?;
        Ok(Character { code, digits, name, line })
    }
}

impl<'a> Block<'a> {
    /// Reads one line of `Blocks.txt`.
    pub fn parse(line: &'a str) -> Result<Self> {
        let parts = || {
            let (range, name) = line.split_once("; ")?;
            let (first, last) = range.split_once("..")?;
            let code = |digits| i64::from_str_radix(digits, 16).ok();
            Some(Block { first: code(first)?, last: code(last)?, name, line })
        };
        parts().ok_or_else(|| format!("not a block of Blocks.txt: {line:?}").into())
    }
}

/// Whether an operation makes a row, for the progress bar.
pub fn is_row(op: &Op) -> bool {
    matches!(op, Op::Put { .. })
}

/// The name in a row of `char`.
pub fn name_of(row: &Row) -> Result<&str> {
    Ok(Character::parse(std::str::from_utf8(&row.payload)?)?.name)
}
