//! A column chunk of texts: with a dictionary as long as its values recur; from then on what differs from one to the next, or
//! plain values where that is most of them.

use std::{hash::BuildHasher, ops::Range};

use arrow::{
    array::{Array, BooleanBufferBuilder, Int32DictionaryArray, StringArray, cast::AsArray},
    buffer::{BooleanBuffer, NullBuffer},
};
use bytes::Bytes;
use hashbrown::{DefaultHashBuilder, HashTable};
use parquet::{
    basic::{Compression, Encoding, ZstdLevel},
    column::{
        page::{CompressedPage, Page, PageWriter},
        writer::ColumnCloseResult,
    },
    errors::{ParquetError, Result},
    file::{
        metadata::ColumnChunkMetaData,
        writer::{SerializedPageWriter, TrackedWrite},
    },
    schema::types::ColumnDescPtr,
};
use zstd::bulk::Compressor;

use super::{LEVEL, failed, front::FrontCoding, hybrid};

/// Rows of a page, and about its most bytes: it stays in the cache of one core until it is compressed.
const PAGE_ROWS: usize = 20_000;
const PAGE_BYTES: usize = 256 << 10;

/// Bytes before a page's plain values, for levels that are short.
const ROOM: usize = 16;

/// Bytes that are copied at once, of values that are not longer.
const SHORT: usize = 32;

/// Stands for a number that is not known yet.
const UNKNOWN: u32 = u32::MAX;

/// Rows between two looks at a page's size.
const STEP: usize = 1024;

/// Distinct values of a dictionary, and their bytes, from which on no more are added.
const MOST_VALUES: usize = 1 << 15;
const MOST_BYTES: usize = 1 << 20;

/// A dictionary whose values are there less often than this, on the average, does not pay.
const LEAST_USES: usize = 3;

/// How values are kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) enum Coding {
    /// As numbers of those that were there before.
    #[default]
    Dictionary,
    /// Each by itself.
    Plain,
    /// By what differs from the one before.
    Front,
}

/// A chunk being filled.
pub(super) struct TextColumn {
    leaf: ColumnDescPtr,
    dictionary: Dictionary,
    /// The dictionary's numbers of the texts whose numbers are added.
    numbers: Vec<u32>,
    coding: Coding,
    page: OpenPage,
    data: Pages,
    /// Whether a data page needs the dictionary, whether one has plain values, and whether one has what differs.
    with_dictionary: bool,
    with_plain: bool,
    with_front_coding: bool,
    rows: usize,
    /// What a page is made of, and made into.
    body: Vec<u8>,
    compressed: Vec<u8>,
}

/// A chunk that is whole.
pub(super) struct Chunk {
    /// Its pages.
    pub(super) bytes: Bytes,
    /// What the file's footer tells of them.
    pub(super) closed: ColumnCloseResult,
    /// How its last values were kept.
    pub(super) coding: Coding,
}

/// A data page being filled.
struct OpenPage {
    /// Whether each row has a value, up to the last that has none.
    valid: BooleanBufferBuilder,
    /// Rows with a value after those.
    present: usize,
    /// Values, as numbers of the dictionary's.
    numbers: Vec<u32>,
    /// Values in Parquet's encoding PLAIN, behind room for the levels.
    plain: Vec<u8>,
    /// Values by what differs from the one before.
    front: FrontCoding,
}

/// Rows to add: texts, or the numbers of texts.
struct Rows<'a> {
    texts: &'a StringArray,
    keys: Option<&'a [i32]>,
}

impl Rows<'_> {
    /// Where a text stands.
    #[inline(always)]
    fn place(&self, number: usize) -> Range<usize> {
        // Offsets are not negative.
        let ends = self.texts.value_offsets();
        ends[number].unsigned_abs() as usize..ends[number + 1].unsigned_abs() as usize
    }
}

/// Pages that are whole.
struct Pages {
    bytes: TrackedWrite<Vec<u8>>,
    /// What they would take without compression.
    uncompressed: usize,
}

impl TextColumn {
    /// Begins a chunk; how its values are kept at first.
    pub(super) fn new(leaf: ColumnDescPtr, coding: Coding) -> Self {
        let valid = BooleanBufferBuilder::new(PAGE_ROWS);
        Self {
            leaf,
            dictionary: Dictionary::default(),
            numbers: Vec::new(),
            coding,
            page: OpenPage {
                valid,
                present: 0,
                numbers: Vec::new(),
                plain: vec![0; ROOM],
                front: FrontCoding::default(),
            },
            data: Pages::default(),
            with_dictionary: false,
            with_plain: false,
            with_front_coding: false,
            rows: 0,
            body: Vec::new(),
            compressed: Vec::new(),
        }
    }

    /// Adds rows.
    pub(super) fn append(&mut self, array: &StringArray, compressor: &mut Compressor<'static>) -> Result<()> {
        self.append_rows(&Rows { texts: array, keys: None }, array.nulls(), array.len(), compressor)
    }

    /// Adds rows that come with a dictionary of their own.
    pub(super) fn append_numbered(
        &mut self,
        array: &Int32DictionaryArray,
        compressor: &mut Compressor<'static>,
    ) -> Result<()> {
        let Some(texts) = array.values().as_string_opt() else {
            return Err(ParquetError::General("a dictionary of something else than texts".into()));
        };
        self.numbers.clear();
        self.numbers.resize(texts.len(), UNKNOWN);
        let keys = Some(&array.keys().values()[..]);
        self.append_rows(&Rows { texts, keys }, array.nulls(), array.len(), compressor)
    }

    fn append_rows(
        &mut self,
        of: &Rows<'_>,
        nulls: Option<&NullBuffer>,
        count: usize,
        compressor: &mut Compressor<'static>,
    ) -> Result<()> {
        let mut begin = 0;
        while begin < count {
            let end = count.min(begin + STEP).min(begin + PAGE_ROWS - self.page.rows());
            self.step(of, nulls, begin..end);
            self.rows += end - begin;
            begin = end;
            let bytes = self.page.plain.len() + self.page.front.bytes();
            if self.page.rows() >= PAGE_ROWS || bytes >= PAGE_BYTES {
                self.end_page(compressor)?;
            }
        }
        Ok(())
    }

    fn step(&mut self, of: &Rows<'_>, nulls: Option<&NullBuffer>, rows: Range<usize>) {
        let nulls = nulls.map(|nulls| nulls.slice(rows.start, rows.len()));
        match nulls.filter(|nulls| nulls.null_count() > 0) {
            None => {
                self.page.present += rows.len();
                self.values(of, rows);
            }
            Some(nulls) => {
                let begin = nulls.offset();
                self.page.present_until_now();
                self.page.valid.append_packed_range(begin..begin + nulls.len(), nulls.validity());
                self.values(of, nulls.valid_indices().map(|row| rows.start + row));
            }
        }
    }

    fn values(&mut self, of: &Rows<'_>, rows: impl Iterator<Item = usize>) {
        match of.keys {
            None => self.texts(of, rows),
            // Keys are not negative.
            Some(keys) => self.texts(of, rows.map(|row| keys[row].unsigned_abs() as usize)),
        }
    }

    /// Adds texts by their numbers in the array.
    fn texts(&mut self, of: &Rows<'_>, texts: impl Iterator<Item = usize>) {
        let Self { dictionary, numbers, page, coding, .. } = self;
        let all = of.texts.value_data();
        match coding {
            Coding::Dictionary if of.keys.is_none() => {
                page.numbers.extend(texts.map(|text| dictionary.number(&all[of.place(text)])));
            }
            Coding::Dictionary => page.numbers.extend(texts.map(|text| {
                if numbers[text] == UNKNOWN {
                    numbers[text] = dictionary.number(&all[of.place(text)]);
                }
                numbers[text]
            })),
            Coding::Plain => texts.for_each(|text| append_plain_part(all, of.place(text), &mut page.plain)),
            Coding::Front => {
                let mut before = usize::MAX;
                texts.for_each(|text| match std::mem::replace(&mut before, text) {
                    before if before == text => page.front.push_again(),
                    _ => page.front.push(all, of.place(text)),
                });
            }
        }
    }

    fn end_page(&mut self, compressor: &mut Compressor<'static>) -> Result<()> {
        let page = &mut self.page;
        if page.rows() == 0 {
            return Ok(());
        }
        if self.coding == Coding::Dictionary && !self.with_dictionary && !self.dictionary.pays(page.numbers.len()) {
            // No page needs the dictionary yet, so none will.
            page.numbers.drain(..).for_each(|number| append_plain(self.dictionary.value(number), &mut page.plain));
            self.coding = Coding::Plain;
        }
        if self.coding == Coding::Plain && FrontCoding::pays_for(&page.plain[ROOM..]) {
            page.front.extend(&page.plain[ROOM..]);
            page.plain.truncate(ROOM);
            self.coding = Coding::Front;
        } else if self.coding == Coding::Front && !page.front.pays() {
            // From the next page on.
            self.coding = Coding::Plain;
        }
        let rows = page.rows();
        self.body.clear();
        page.present_until_now();
        levels(&page.valid.finish(), &mut self.body);
        let num_values = u32::try_from(rows).map_err(|_| ParquetError::General("a page of too many rows".into()))?;
        let (body, encoding) = if !page.front.is_empty() {
            page.front.finish(&mut self.body);
            self.with_front_coding = true;
            (&self.body[..], Encoding::DELTA_BYTE_ARRAY)
        } else if page.numbers.is_empty() {
            self.with_plain = true;
            let body = match ROOM.checked_sub(self.body.len()) {
                // What a column without nulls has to say: the values need not be copied behind it.
                Some(begin) => {
                    page.plain[begin..ROOM].copy_from_slice(&self.body);
                    &page.plain[begin..]
                }
                None => {
                    self.body.extend_from_slice(&page.plain[ROOM..]);
                    &self.body[..]
                }
            };
            (body, Encoding::PLAIN)
        } else {
            let width = hybrid::width(self.dictionary.len() - 1);
            self.body.push(u8::try_from(width).unwrap_or(u8::MAX));
            hybrid::encode(&page.numbers, width, &mut self.body);
            self.with_dictionary = true;
            (&self.body[..], Encoding::RLE_DICTIONARY)
        };
        self.data.add(body, &mut self.compressed, compressor, |buf| Page::DataPage {
            buf,
            num_values,
            encoding,
            def_level_encoding: Encoding::RLE,
            rep_level_encoding: Encoding::RLE,
            statistics: None,
        })?;
        page.numbers.clear();
        page.plain.truncate(ROOM);
        if self.coding == Coding::Dictionary && self.dictionary.is_full() {
            self.coding = Coding::Plain;
        }
        Ok(())
    }

    /// Ends the chunk.
    pub(super) fn close(mut self, compressor: &mut Compressor<'static>) -> Result<Chunk> {
        self.end_page(compressor)?;
        let mut all = Pages::default();
        let mut encodings = vec![Encoding::RLE];
        if self.with_plain || self.with_dictionary {
            // The dictionary's own values are plain.
            encodings.push(Encoding::PLAIN);
        }
        if self.with_front_coding {
            encodings.push(Encoding::DELTA_BYTE_ARRAY);
        }
        if self.with_dictionary {
            encodings.push(Encoding::RLE_DICTIONARY);
            let num_values = u32::try_from(self.dictionary.len()).unwrap_or(u32::MAX);
            all.add(&self.dictionary.plain, &mut self.compressed, compressor, |buf| Page::DictionaryPage {
                buf,
                num_values,
                encoding: Encoding::PLAIN,
                is_sorted: false,
            })?;
        }
        let (mut bytes, before) = (all.bytes.into_inner()?, all.uncompressed);
        let data_begins = bytes.len();
        bytes.extend_from_slice(&self.data.bytes.into_inner()?);
        let metadata = ColumnChunkMetaData::builder(self.leaf)
            .set_encodings(encodings)
            .set_compression_codec(Compression::ZSTD(ZstdLevel::try_new(LEVEL)?).into())
            .set_num_values(signed(self.rows)?)
            .set_total_compressed_size(signed(bytes.len())?)
            .set_total_uncompressed_size(signed(before + self.data.uncompressed)?)
            .set_dictionary_page_offset(self.with_dictionary.then_some(0))
            .set_data_page_offset(signed(data_begins)?)
            .build()?;
        let closed = ColumnCloseResult {
            bytes_written: bytes.len() as u64,
            rows_written: self.rows as u64,
            metadata,
            bloom_filter: None,
            column_index: None,
            offset_index: None,
        };
        Ok(Chunk { bytes: bytes.into(), closed, coding: self.coding })
    }
}

impl OpenPage {
    fn rows(&self) -> usize {
        self.valid.len() + self.present
    }

    /// Notes that the rows up to here have values.
    fn present_until_now(&mut self) {
        self.valid.append_n(std::mem::take(&mut self.present), true);
    }
}

impl Default for Pages {
    fn default() -> Self {
        Self { bytes: TrackedWrite::new(Vec::new()), uncompressed: 0 }
    }
}

impl Pages {
    /// Adds a page of which the body is given.
    fn add(
        &mut self,
        body: &[u8],
        compressed: &mut Vec<u8>,
        compressor: &mut Compressor<'static>,
        page: impl FnOnce(Bytes) -> Page,
    ) -> Result<()> {
        compressed.clear();
        compressed.reserve(zstd::zstd_safe::compress_bound(body.len()));
        compressor.compress_to_buffer(body, compressed).map_err(failed)?;
        let page = CompressedPage::new(page(Bytes::copy_from_slice(compressed)), body.len());
        self.uncompressed += SerializedPageWriter::new(&mut self.bytes).write_page(page)?.uncompressed_size;
        Ok(())
    }
}

/// Which rows have a value, as definition levels 1 and 0 with their length before them.
fn levels(valid: &BooleanBuffer, body: &mut Vec<u8>) {
    let begin = body.len();
    body.extend_from_slice(&[0; 4]);
    match valid.count_set_bits() {
        0 => hybrid::run(0, valid.len(), 1, body),
        all if all == valid.len() => hybrid::run(1, valid.len(), 1, body),
        _ => hybrid::bits(&valid.values()[..valid.len().div_ceil(8)], body),
    }
    let length = u32::try_from(body.len() - begin - 4).unwrap_or(u32::MAX);
    if let Some(place) = body[begin..].first_chunk_mut::<4>() {
        *place = length.to_le_bytes();
    }
}

/// A text after its length, as PLAIN has it.
#[inline]
fn append_plain(text: &[u8], plain: &mut Vec<u8>) {
    // Arrow's texts are shorter than 2 GiB.
    plain.extend_from_slice(&u32::try_from(text.len()).unwrap_or(u32::MAX).to_le_bytes());
    plain.extend_from_slice(text);
}

/// The same of a part of a longer text: where enough follows it, it costs no call, since so many bytes are copied at once.
#[inline]
fn append_plain_part(all: &[u8], part: Range<usize>, plain: &mut Vec<u8>) {
    let length = part.len();
    match all.get(part.start..).and_then(<[u8]>::first_chunk::<SHORT>) {
        Some(more) if length <= SHORT => {
            let mut cell = [0; 4 + SHORT];
            cell[..4].copy_from_slice(&u32::try_from(length).unwrap_or(u32::MAX).to_le_bytes());
            cell[4..].copy_from_slice(more);
            let end = plain.len() + 4 + length;
            plain.extend_from_slice(&cell);
            plain.truncate(end);
        }
        _ => append_plain(&all[part], plain),
    }
}

fn signed(number: usize) -> Result<i64> {
    i64::try_from(number).map_err(|_| ParquetError::General("a chunk of more than 2^63 bytes".into()))
}

/// The distinct values of a chunk, in the order of their first appearance.
#[derive(Default)]
struct Dictionary {
    /// Each after its length: the dictionary's page.
    plain: Vec<u8>,
    /// Where each begins and ends in it, without its length.
    places: Vec<Range<usize>>,
    table: HashTable<u32>,
    hasher: DefaultHashBuilder,
    /// The number that was looked up before: often it is there again.
    last: u32,
}

impl Dictionary {
    /// The number of a value, which is added if it is not there.
    #[inline]
    fn number(&mut self, text: &[u8]) -> u32 {
        if self.places.get(self.last as usize).is_some_and(|place| self.plain[place.clone()] == *text) {
            return self.last;
        }
        let Self { plain, places, table, hasher, .. } = self;
        let of = |number: &u32| &plain[places[*number as usize].clone()];
        let hash = hasher.hash_one(text);
        if let Some(number) = table.find(hash, |number| of(number) == text) {
            self.last = *number;
            return *number;
        }
        let number = u32::try_from(places.len()).unwrap_or(u32::MAX);
        table.insert_unique(hash, number, |number| hasher.hash_one(of(number)));
        append_plain(text, plain);
        places.push(plain.len() - text.len()..plain.len());
        self.last = number;
        number
    }

    fn value(&self, number: u32) -> &[u8] {
        self.places.get(number as usize).map_or(&[], |place| &self.plain[place.clone()])
    }

    fn len(&self) -> usize {
        self.places.len()
    }

    /// Whether its values are there often enough among so many.
    fn pays(&self, values: usize) -> bool {
        self.len() * LEAST_USES <= values
    }

    fn is_full(&self) -> bool {
        self.len() >= MOST_VALUES || self.plain.len() >= MOST_BYTES
    }
}
