//! The builder of columns of text: most cells are short texts of the arena, copied sixteen bytes at a time. Where it is wanted,
//! a text that recurs is there once, and rows have its number.

use std::{hash::BuildHasher, sync::Arc};

use arrow::{
    array::{ArrayRef, DictionaryArray, Int32Array, StringArray, builder::NullBufferBuilder},
    buffer::{Buffer, OffsetBuffer, ScalarBuffer},
    datatypes::{DataType, Int32Type},
    error::ArrowError,
};
use hashbrown::{DefaultHashBuilder, HashTable};

/// Bytes that are copied at once, of texts that are not longer.
const SHORT: usize = 16;

/// Texts of a batch from which on no more are looked up.
const MOST_TEXTS: usize = 1 << 12;

/// Texts that are there less often than this in a batch, on the average, are not looked up in the next ones, if there were
/// enough to tell.
const LEAST_USES: usize = 2;
const LEAST_TEXTS: usize = 64;

/// Texts and nulls, row after row.
pub(crate) struct Texts {
    bytes: Vec<u8>,
    /// Where each text ends.
    ends: Vec<i32>,
    /// Whether each row has a text.
    valid: NullBufferBuilder,
    /// Rows with a text after those that `valid` knows.
    texts: usize,
    /// Which text each row has, where rows have numbers.
    dictionary: Option<Dictionary>,
    /// More than 2 GiB: a column's batch cannot hold them.
    too_many: bool,
}

/// What a column of texts is where its rows have numbers.
pub(crate) fn dictionary_of_texts() -> DataType {
    DataType::Dictionary(Box::new(DataType::Int32), Box::new(DataType::Utf8))
}

impl Texts {
    /// Empty; whether rows have numbers.
    pub(crate) fn new(dictionary: bool) -> Self {
        let dictionary = dictionary.then(Dictionary::default);
        Self::with_capacity(0, 0, 0, dictionary)
    }

    /// With room for so many rows, texts and bytes.
    fn with_capacity(rows: usize, texts: usize, bytes: usize, dictionary: Option<Dictionary>) -> Self {
        let mut ends = Vec::with_capacity(texts + 1);
        ends.push(0);
        let valid = NullBufferBuilder::new(rows);
        Self { bytes: Vec::with_capacity(bytes), ends, valid, texts: 0, dictionary, too_many: false }
    }

    /// Adds a text some times.
    pub(crate) fn append(&mut self, text: &str, times: usize) {
        self.append_part(text, (0, text.len()), times);
    }

    /// Adds some times what lies in a text from a place on.
    #[inline(always)]
    pub(crate) fn append_part(&mut self, text: &str, (start, length): (usize, usize), times: usize) {
        let all = text.as_bytes();
        let Some(mask) = MASKS.get(length) else {
            return self.add(Long(all.get(start..start + length).unwrap_or_default()), times);
        };
        let bytes = match all.get(start..).and_then(<[u8]>::first_chunk::<SHORT>) {
            Some(more) => *more,
            None => padded(all.get(start..start + length).unwrap_or_default()),
        };
        self.add(Short { bytes: u128::from_le_bytes(bytes) & mask, length }, times);
    }

    #[inline(always)]
    fn add(&mut self, text: impl Text, times: usize) {
        self.texts += times;
        match &mut self.dictionary {
            None => (0..times).for_each(|_| self.push(text)),
            Some(_) if times == 0 => {}
            Some(dictionary) => {
                let (number, is_new) = dictionary.number(text, &self.bytes, self.ends.len() - 1);
                match times {
                    1 => dictionary.keys.push(number.cast_signed()),
                    _ => dictionary.keys.extend(std::iter::repeat_n(number.cast_signed(), times)),
                }
                if is_new {
                    self.push(text);
                }
            }
        }
    }

    #[inline(always)]
    fn push(&mut self, text: impl Text) {
        text.append_to(&mut self.bytes);
        let end = i32::try_from(self.bytes.len()).unwrap_or_else(|_| {
            self.too_many = true;
            self.bytes.clear();
            0
        });
        self.ends.push(end);
    }

    pub(crate) fn append_nulls(&mut self, times: usize) {
        match &mut self.dictionary {
            Some(dictionary) => dictionary.keys.resize(dictionary.keys.len() + times, 0),
            None => {
                let end = self.ends.last().copied().unwrap_or_default();
                self.ends.resize(self.ends.len() + times, end);
            }
        }
        self.valid.append_n_non_nulls(std::mem::take(&mut self.texts));
        self.valid.append_n_nulls(times);
    }

    /// The column; the builder is empty again, with room for about as much.
    ///
    /// # Errors
    /// More than 2 GiB.
    pub(crate) fn finish(&mut self) -> Result<ArrayRef, ArrowError> {
        let (bytes, texts) = (self.bytes.len(), self.ends.len());
        let keys = self.dictionary.as_mut().map(Dictionary::finish);
        let rows = keys.as_ref().map_or(texts, Vec::len);
        let empty = Self::with_capacity(rows, texts + texts / 8, bytes + bytes / 8 + SHORT, self.dictionary.take());
        let mut full = std::mem::replace(self, empty);
        if full.too_many {
            return Err(ArrowError::OffsetOverflowError(full.bytes.len()));
        }
        full.valid.append_n_non_nulls(full.texts);
        let (ends, bytes) = (OffsetBuffer::new(ScalarBuffer::from(full.ends)), Buffer::from_vec(full.bytes));
        let valid = full.valid.finish();
        Ok(match keys {
            Some(keys) => {
                let keys = Int32Array::try_new(keys.into(), valid)?;
                let texts = StringArray::try_new(ends, bytes, None)?;
                Arc::new(DictionaryArray::<Int32Type>::try_new(keys, Arc::new(texts))?)
            }
            None => Arc::new(StringArray::try_new(ends, bytes, valid)?),
        })
    }
}

/// A text, short or long.
trait Text: Copy {
    /// Its bytes, the others zero, where it is short.
    fn short(self) -> u128;
    fn length(self) -> usize;
    /// Whether it is one of those in the bytes.
    fn is(self, known: &Known, bytes: &[u8]) -> bool;
    fn hash(self, hasher: &DefaultHashBuilder) -> u64;
    fn append_to(self, bytes: &mut Vec<u8>);
}

/// A text of at most [`SHORT`] bytes.
#[derive(Clone, Copy)]
struct Short {
    bytes: u128,
    length: usize,
}

impl Text for Short {
    #[inline(always)]
    fn short(self) -> u128 {
        self.bytes
    }

    #[inline(always)]
    fn length(self) -> usize {
        self.length
    }

    #[inline(always)]
    fn is(self, known: &Known, _bytes: &[u8]) -> bool {
        (known.short, known.length) == (self.bytes, self.length)
    }

    #[inline(always)]
    fn hash(self, hasher: &DefaultHashBuilder) -> u64 {
        hasher.hash_one((self.bytes, self.length))
    }

    /// All sixteen bytes at once, and those that are not its own taken away again.
    #[inline(always)]
    fn append_to(self, bytes: &mut Vec<u8>) {
        let end = bytes.len() + self.length;
        bytes.extend_from_slice(&self.bytes.to_le_bytes());
        bytes.truncate(end);
    }
}

/// A longer text.
#[derive(Clone, Copy)]
struct Long<'a>(&'a [u8]);

impl Text for Long<'_> {
    #[inline(always)]
    fn short(self) -> u128 {
        0
    }

    #[inline(always)]
    fn length(self) -> usize {
        self.0.len()
    }

    #[inline(always)]
    fn is(self, known: &Known, bytes: &[u8]) -> bool {
        known.length == self.0.len() && known.long(bytes).0 == self.0
    }

    #[inline(always)]
    fn hash(self, hasher: &DefaultHashBuilder) -> u64 {
        hasher.hash_one(self.0)
    }

    #[inline(always)]
    fn append_to(self, bytes: &mut Vec<u8>) {
        bytes.extend_from_slice(self.0);
    }
}

/// By length, the bits of a short text's bytes.
const MASKS: [u128; SHORT + 1] = {
    let mut masks = [0; SHORT + 1];
    let mut length = 1;
    while length <= SHORT {
        masks[length] = u128::MAX >> (8 * (SHORT - length));
        length += 1;
    }
    masks
};

/// A short text with zeros behind it.
fn padded(text: &[u8]) -> [u8; SHORT] {
    let mut more = [0; SHORT];
    more[..text.len()].copy_from_slice(text);
    more
}

/// The texts of a batch by their numbers.
#[derive(Default)]
struct Dictionary {
    /// The number of each row's text; any where it has none.
    keys: Vec<i32>,
    known: Vec<Known>,
    table: HashTable<u32>,
    hasher: DefaultHashBuilder,
    /// The number before.
    last: usize,
    /// Texts that were looked up, each once for all rows in turn that have it.
    uses: usize,
    /// Texts are not looked up: each is a new one.
    plain: bool,
}

/// A text of a batch.
#[derive(Clone, Copy)]
struct Known {
    /// Its bytes, the others zero, where it is short.
    short: u128,
    start: usize,
    length: usize,
    /// The number that came after it the last time. Elements stand in an order, so it is likely to come again.
    next: u32,
}

impl Dictionary {
    /// The number of a text among so many, and whether it is new: its bytes go behind the others then.
    #[inline(always)]
    fn number(&mut self, text: impl Text, bytes: &[u8], count: usize) -> (u32, bool) {
        if self.plain {
            return (u32::try_from(count).unwrap_or(u32::MAX), true);
        }
        self.uses += 1;
        let next = self.known.get(self.last).map_or(0, |last| last.next);
        if self.known.get(next as usize).is_some_and(|known| text.is(known, bytes)) {
            self.last = next as usize;
            return (next, false);
        }
        self.look_up(text, bytes)
    }

    #[inline(never)]
    fn look_up(&mut self, text: impl Text, bytes: &[u8]) -> (u32, bool) {
        let Self { known, table, hasher, last, .. } = self;
        let hash = text.hash(hasher);
        let found = table.find(hash, |number| text.is(&known[*number as usize], bytes)).copied();
        let number = found.unwrap_or_else(|| {
            let number = u32::try_from(known.len()).unwrap_or(u32::MAX);
            known.push(Known { short: text.short(), start: bytes.len(), length: text.length(), next: number });
            table.insert_unique(hash, number, |number| known[*number as usize].hash(hasher, bytes));
            number
        });
        if let Some(before) = known.get_mut(*last) {
            before.next = number;
        }
        *last = number as usize;
        self.plain = self.known.len() >= MOST_TEXTS;
        (number, found.is_none())
    }

    /// The numbers of the rows; nothing is known any more.
    fn finish(&mut self) -> Vec<i32> {
        let uses = std::mem::take(&mut self.uses);
        self.plain |= uses >= LEAST_TEXTS && self.known.len() * LEAST_USES > uses;
        self.known.clear();
        self.table.clear();
        self.last = 0;
        let room = Vec::with_capacity(self.keys.len() + self.keys.len() / 8);
        std::mem::replace(&mut self.keys, room)
    }
}

impl Known {
    #[inline]
    fn long<'b>(&self, bytes: &'b [u8]) -> Long<'b> {
        Long(bytes.get(self.start..self.start + self.length).unwrap_or_default())
    }

    fn hash(&self, hasher: &DefaultHashBuilder, bytes: &[u8]) -> u64 {
        match self.length {
            length @ ..=SHORT => Short { bytes: self.short, length }.hash(hasher),
            _ => self.long(bytes).hash(hasher),
        }
    }
}

#[cfg(test)]
mod tests {
    use arrow::{array::Array, compute::cast};
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn numbered_rows_are_the_same_rows(
            batches in prop::collection::vec(prop::collection::vec((prop::option::of(prop::sample::select(vec![
                "", "a", "b", "a\0", "sixteen bytes ab", "sixteen bytes ac", "sixteen bytes abc", "ä", "more than sixteen bytes",
            ])), 0_usize..4), 0..60), 1..3),
            distinct in any::<bool>(),
        ) {
            let (mut rows, mut numbered) = (Texts::new(false), Texts::new(true));
            for (place, cells) in batches.iter().flat_map(|batch| std::iter::once((usize::MAX, (None, 0))).chain(batch.iter().copied().enumerate())).chain([(usize::MAX, (None, 0))]) {
                let (text, times) = cells;
                if place == usize::MAX {
                    let (rows, numbered) = (rows.finish().unwrap(), numbered.finish().unwrap());
                    prop_assert_eq!(numbered.data_type(), &dictionary_of_texts());
                    prop_assert_eq!(&cast(&numbered, &DataType::Utf8).unwrap(), &rows);
                    continue;
                }
                for texts in [&mut rows, &mut numbered] {
                    match text {
                        // With something behind it, as in an arena, and without.
                        Some(text) if distinct => texts.append(&format!("{text}{place}"), times),
                        Some(text) if times % 2 == 0 => {
                            texts.append_part(&format!("x{text}{}", "y".repeat(20)), (1, text.len()), times);
                        }
                        Some(text) => texts.append(text, times),
                        None => texts.append_nulls(times),
                    }
                }
            }
        }
    }
}
