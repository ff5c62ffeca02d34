//! Parquet's front coding of texts (Apache Parquet, Encodings, `DELTA_BYTE_ARRAY = 7`): of each value only what differs
//! from the one before it, and how much is the same. The keys of FHIR's resources come in an order, so most of one is the
//! most of the next.

use std::ops::Range;

use super::hybrid;

/// Numbers of a block, and of each of its parts that have a width of their own.
const BLOCK: usize = 128;
const PART: usize = 32;

/// Values that are looked at to tell whether front coding pays.
const LOOKED_AT: usize = 256;

/// Bytes that are compared and copied at once, of values that are not longer.
const SHORT: usize = 32;

/// A page being filled.
#[derive(Default)]
pub(super) struct FrontCoding {
    /// For each value the bytes that it shares with the one before it, and those that follow.
    shared: Vec<u32>,
    lengths: Vec<u32>,
    rest: Vec<u8>,
    /// The value before, with whatever followed it: if it was short, here, else in `long`.
    // As bytes: they are stored sixteen at once, so that the next value need not wait until it can load them so.
    short: [u8; SHORT],
    length: usize,
    long: Vec<u8>,
}

/// Where the values of a page in the encoding `PLAIN` stand, each behind its length.
fn values(plain: &[u8]) -> impl Iterator<Item = Range<usize>> {
    let mut at = 0;
    std::iter::from_fn(move || {
        let length = plain.get(at..)?.first_chunk::<4>()?;
        let begin = at + 4;
        at = begin + u32::from_le_bytes(*length) as usize;
        (at <= plain.len()).then_some(begin..at)
    })
}

/// The bytes that begin at a place, if enough follow.
#[inline(always)]
fn more(all: &[u8], begin: usize) -> Option<&[u8; SHORT]> {
    all.get(begin..)?.first_chunk()
}

fn words(bytes: &[u8; SHORT]) -> [u128; 2] {
    [bytes.first_chunk(), bytes.last_chunk()].map(|half| half.map_or(0, |half| u128::from_le_bytes(*half)))
}

impl FrontCoding {
    /// Whether at least half of what stands in a page of plain values was there one value before.
    pub(super) fn pays_for(plain: &[u8]) -> bool {
        let mut coding = Self::default();
        values(plain).take(LOOKED_AT).for_each(|value| coding.push(plain, value));
        coding.pays()
    }

    /// Whether at least half of the bytes of its values were there one value before.
    pub(super) fn pays(&self) -> bool {
        let same = self.shared.iter().map(|length| *length as usize).sum::<usize>();
        same > 0 && same >= self.rest.len()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.shared.is_empty()
    }

    /// About the bytes that it takes.
    pub(super) fn bytes(&self) -> usize {
        self.rest.len()
    }

    /// Adds the values of a page of plain ones.
    pub(super) fn extend(&mut self, plain: &[u8]) {
        values(plain).for_each(|value| self.push(plain, value));
    }

    /// Adds a value, which is a part of something longer.
    #[inline]
    pub(super) fn push(&mut self, all: &[u8], value: Range<usize>) {
        let length = value.len();
        let (Some(bytes), true) = (more(all, value.start), length <= SHORT && self.length <= SHORT) else {
            return self.push_slowly(&all[value]);
        };
        let (short, before) = (words(bytes), words(&self.short));
        // Whatever follows the shorter of the two, it does not count.
        let differing = [short[0] ^ before[0], short[1] ^ before[1]];
        let same = match differing {
            [0, second] => SHORT / 2 + second.trailing_zeros() as usize / 8,
            [first, _] => first.trailing_zeros() as usize / 8,
        };
        let same = same.min(length).min(self.length);
        (self.short, self.length) = (*bytes, length);
        self.shared.push(number(same));
        self.lengths.push(number(length - same));
        let end = self.rest.len() + length - same;
        match more(all, value.start + same) {
            Some(more) => {
                self.rest.extend_from_slice(more);
                self.rest.truncate(end);
            }
            None => self.rest.extend_from_slice(&all[value.start + same..value.end]),
        }
    }

    /// Adds the value before again; there is one.
    #[inline]
    pub(super) fn push_again(&mut self) {
        self.shared.push(number(self.length));
        self.lengths.push(0);
    }

    #[inline(never)]
    fn push_slowly(&mut self, value: &[u8]) {
        let mut before = std::mem::take(&mut self.long);
        if self.length <= SHORT {
            before.clear();
            before.extend_from_slice(&self.short[..self.length]);
        }
        let same = before.iter().zip(value).take_while(|(one, other)| one == other).count();
        self.shared.push(number(same));
        self.lengths.push(number(value.len() - same));
        self.rest.extend_from_slice(&value[same..]);
        self.length = value.len();
        let kept = value.len().min(SHORT);
        self.short[..kept].copy_from_slice(&value[..kept]);
        before.clear();
        before.extend_from_slice(value);
        self.long = before;
    }

    /// Appends the page, which is empty then.
    pub(super) fn finish(&mut self, out: &mut Vec<u8>) {
        deltas(&self.shared, out);
        deltas(&self.lengths, out);
        out.extend_from_slice(&self.rest);
        self.shared.clear();
        self.lengths.clear();
        self.rest.clear();
        self.length = 0;
    }
}

/// Lengths of values that arrow holds, which are shorter than 2 GiB.
fn number(length: usize) -> u32 {
    u32::try_from(length).unwrap_or(u32::MAX)
}

/// Appends numbers as the differences between neighbours (`DELTA_BINARY_PACKED = 5`).
fn deltas(numbers: &[u32], out: &mut Vec<u8>) {
    let first = numbers.first().copied().unwrap_or(0);
    hybrid::varint(BLOCK as u64, out);
    hybrid::varint((BLOCK / PART) as u64, out);
    hybrid::varint(numbers.len() as u64, out);
    zigzag(first.cast_signed(), out);
    let mut before = first;
    for block in numbers.get(1..).unwrap_or_default().chunks(BLOCK) {
        let mut deltas = [0_i32; BLOCK];
        let mut least = i32::MAX;
        for (delta, number) in deltas.iter_mut().zip(block) {
            *delta = number.wrapping_sub(before).cast_signed();
            least = least.min(*delta);
            before = *number;
        }
        let above = deltas.map(|delta| delta.wrapping_sub(least).cast_unsigned());
        let parts = || above[..block.len()].chunks(PART);
        let width = |part: &[u32]| hybrid::width(part.iter().fold(0, |all, number| all | *number) as usize);
        zigzag(least, out);
        let begin = out.len();
        out.extend(parts().map(|part| u8::try_from(width(part)).unwrap_or(u8::MAX)));
        // Parts that have no number are told, but not there.
        out.resize(begin + BLOCK / PART, 0);
        for part in parts() {
            let whole = part.first_chunk::<PART>().copied().unwrap_or_else(|| {
                let mut whole = [0; PART];
                whole[..part.len()].copy_from_slice(part);
                whole
            });
            hybrid::pack(&whole, width(part), out);
        }
    }
}

/// A number with its sign in the lowest bit.
fn zigzag(number: i32, out: &mut Vec<u8>) {
    let number = i64::from(number);
    hybrid::varint(((number << 1) ^ (number >> 63)).cast_unsigned(), out);
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn plain(texts: &[&str]) -> Vec<u8> {
        texts.iter().flat_map(|text| [&number(text.len()).to_le_bytes()[..], text.as_bytes()].concat()).collect()
    }

    #[test]
    fn it_pays_where_values_begin_alike() {
        assert!(FrontCoding::pays_for(&plain(&["role-0000001", "role-0000001", "role-0000002"])));
        assert!(!FrontCoding::pays_for(&plain(&["1003000126", "1003000134", "2103000142"])));
        assert!(!FrontCoding::pays_for(&plain(&["", ""])));
        assert!(!FrontCoding::pays_for(&[]));
    }

    /// Read as the specification says.
    fn read(bytes: &[u8], at: &mut usize) -> Vec<i64> {
        let varint = |at: &mut usize| {
            let (mut number, mut shift) = (0_u64, 0);
            loop {
                number |= u64::from(bytes[*at] & 0x7f) << shift;
                shift += 7;
                *at += 1;
                if bytes[*at - 1] & 0x80 == 0 {
                    return number;
                }
            }
        };
        let signed = |number: u64| (number >> 1).cast_signed() ^ -(number & 1).cast_signed();
        let mut size = || usize::try_from(varint(at)).unwrap();
        let (block, parts, count) = (size(), size(), size());
        let mut numbers = vec![signed(varint(at))];
        while numbers.len() < count {
            let least = signed(varint(at));
            let widths = bytes[*at..*at + parts].to_vec();
            *at += parts;
            for width in widths {
                if numbers.len() >= count {
                    break;
                }
                let length = block / parts;
                for place in 0..length {
                    let bit = |bit: usize| u64::from(bytes[*at + bit / 8] >> (bit % 8) & 1);
                    let begin = place * width as usize;
                    let above = (0..width as usize).fold(0, |sum, place| sum | (bit(begin + place) << place));
                    numbers.push(numbers.last().unwrap() + least + above.cast_signed());
                }
                *at += length * width as usize / 8;
            }
        }
        numbers.truncate(count);
        numbers
    }

    proptest! {
        #[test]
        fn what_is_read_is_what_was_encoded(
            numbers in prop::collection::vec(prop_oneof![0_u32..20, 0_u32..5000, 0..=i32::MAX.cast_unsigned()], 1..700),
        ) {
            let mut bytes = Vec::new();
            deltas(&numbers, &mut bytes);
            let mut at = 0;
            let expected: Vec<i64> = numbers.iter().map(|number| i64::from(*number)).collect();
            prop_assert_eq!(read(&bytes, &mut at), expected);
            prop_assert_eq!(at, bytes.len());
        }

        #[test]
        fn values_are_what_they_share_and_what_follows(
            texts in prop::collection::vec(
                (prop::sample::select(vec!["", "r", "role-00000", "Location/loc-0000", "sixteen bytes ab", "thirty-two bytes are thirty-two!", "https://example.org/a/long/one/"]), 0_u32..30, 0_usize..40),
                0..40,
            ),
        ) {
            let mut coding = FrontCoding::default();
            let mut expected: Vec<String> = Vec::new();
            for (begin, number, behind) in texts {
                let text = format!("{begin}{number}");
                let all = format!("x{text}{}", "y".repeat(behind));
                coding.push(all.as_bytes(), 1..1 + text.len());
                expected.push(text);
            }
            let is_empty = coding.is_empty();
            let mut bytes = Vec::new();
            coding.finish(&mut bytes);
            if !is_empty {
                let mut at = 0;
                let (shared, lengths) = (read(&bytes, &mut at), read(&bytes, &mut at));
                let mut before: Vec<u8> = Vec::new();
                for ((same, length), text) in shared.iter().zip(lengths).zip(&expected) {
                    let (same, length) = (usize::try_from(*same).unwrap(), usize::try_from(length).unwrap());
                    let begins_alike = before.iter().zip(text.as_bytes()).take_while(|(one, other)| one == other).count();
                    prop_assert_eq!(same, begins_alike, "{:?}", &expected);
                    before.truncate(same);
                    before.extend_from_slice(&bytes[at..at + length]);
                    at += length;
                    prop_assert_eq!(&before[..], text.as_bytes());
                }
                prop_assert_eq!(at, bytes.len());
            }
        }
    }
}
