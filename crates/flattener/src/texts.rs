//! The builder of columns of text: most cells are short texts of the arena, copied sixteen bytes at a time.

use arrow::{
    array::{StringArray, builder::NullBufferBuilder},
    buffer::{Buffer, OffsetBuffer, ScalarBuffer},
    error::ArrowError,
};

/// Bytes that are copied at once, of texts that are not longer.
const SHORT: usize = 16;

/// Texts and nulls, row after row.
pub(crate) struct Texts {
    bytes: Vec<u8>,
    /// Where each row ends.
    ends: Vec<i32>,
    valid: NullBufferBuilder,
    /// Rows with a text after those that `valid` knows.
    texts: usize,
    /// More than 2 GiB: a column's batch cannot hold them.
    too_many: bool,
}

impl Texts {
    /// With room for so many rows and bytes.
    pub(crate) fn with_capacity(rows: usize, bytes: usize) -> Self {
        let mut ends = Vec::with_capacity(rows + 1);
        ends.push(0);
        Self { bytes: Vec::with_capacity(bytes), ends, valid: NullBufferBuilder::new(rows), texts: 0, too_many: false }
    }

    /// Adds a text some times.
    pub(crate) fn append(&mut self, text: &str, times: usize) {
        for _ in 0..times {
            self.bytes.extend_from_slice(text.as_bytes());
            self.end();
        }
        self.texts += times;
    }

    /// Adds some times what lies in a text from a place on.
    #[inline(always)]
    pub(crate) fn append_part(&mut self, text: &str, (start, length): (usize, usize), times: usize) {
        let all = text.as_bytes();
        for _ in 0..times {
            match all.get(start..).and_then(<[u8]>::first_chunk::<SHORT>) {
                Some(more) if length <= SHORT => {
                    let end = self.bytes.len() + length;
                    self.bytes.extend_from_slice(more);
                    self.bytes.truncate(end);
                }
                _ => self.bytes.extend_from_slice(all.get(start..start + length).unwrap_or_default()),
            }
            self.end();
        }
        self.texts += times;
    }

    pub(crate) fn append_nulls(&mut self, times: usize) {
        let end = self.ends.last().copied().unwrap_or_default();
        self.ends.resize(self.ends.len() + times, end);
        self.valid.append_n_non_nulls(std::mem::take(&mut self.texts));
        self.valid.append_n_nulls(times);
    }

    #[inline]
    fn end(&mut self) {
        let end = i32::try_from(self.bytes.len()).unwrap_or_else(|_| {
            self.too_many = true;
            self.bytes.clear();
            0
        });
        self.ends.push(end);
    }

    /// The column; the builder is empty again, with room for about as much.
    ///
    /// # Errors
    /// More than 2 GiB.
    pub(crate) fn finish(&mut self) -> Result<StringArray, ArrowError> {
        let (bytes, rows) = (self.bytes.len(), self.ends.len());
        let mut full = std::mem::replace(self, Self::with_capacity(rows + rows / 8, bytes + bytes / 8 + SHORT));
        if full.too_many {
            return Err(ArrowError::OffsetOverflowError(full.bytes.len()));
        }
        full.valid.append_n_non_nulls(full.texts);
        let ends = OffsetBuffer::new(ScalarBuffer::from(full.ends));
        StringArray::try_new(ends, Buffer::from_vec(full.bytes), full.valid.finish())
    }
}
