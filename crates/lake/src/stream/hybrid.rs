//! Parquet's hybrid of runs and bit-packing for small numbers (Apache Parquet, Encodings, "RLE = 3").

/// Numbers of a run that is worth being one; also the size of a bit-packed group.
const GROUP: usize = 8;

/// Bits that numbers up to `most` take.
pub(super) fn width(most: usize) -> u32 {
    usize::BITS - most.leading_zeros()
}

/// Appends numbers of `width` bits, which is not more than 32.
pub(super) fn encode(numbers: &[u32], width: u32, out: &mut Vec<u8>) {
    let (mut at, mut packed) = (0, 0);
    while at < numbers.len() {
        let first = numbers[at];
        let same = numbers[at..].iter().take_while(|number| **number == first).count();
        if same >= GROUP {
            groups(&numbers[packed..at], width, out);
            run(first, same, width, out);
            at += same;
            packed = at;
        } else {
            at = (at + GROUP).min(numbers.len());
        }
    }
    groups(&numbers[packed..], width, out);
}

/// Appends one number many times.
pub(super) fn run(number: u32, times: usize, width: u32, out: &mut Vec<u8>) {
    varint((times as u64) << 1, out);
    out.extend_from_slice(&number.to_le_bytes()[..width.div_ceil(8) as usize]);
}

/// Appends bits that are packed already, the first in the lowest.
pub(super) fn bits(packed: &[u8], out: &mut Vec<u8>) {
    varint(((packed.len() as u64) << 1) | 1, out);
    out.extend_from_slice(packed);
}

/// Appends groups of numbers, told how many, as one that is bit-packed.
fn groups(numbers: &[u32], width: u32, out: &mut Vec<u8>) {
    if !numbers.is_empty() {
        varint(((numbers.len().div_ceil(GROUP) as u64) << 1) | 1, out);
        pack(numbers, width, out);
    }
}

/// Appends numbers of `width` bits, the first in the lowest; the last eight are filled with zeros.
pub(super) fn pack(numbers: &[u32], width: u32, out: &mut Vec<u8>) {
    for group in numbers.chunks(GROUP) {
        let end = out.len() + width as usize;
        let (mut waiting, mut held) = (0_u64, 0);
        for number in group {
            waiting |= u64::from(*number) << held;
            held += width;
            if held >= 32 {
                out.extend_from_slice(&waiting.to_le_bytes()[..4]);
                waiting >>= 32;
                held -= 32;
            }
        }
        out.extend_from_slice(&waiting.to_le_bytes()[..held.div_ceil(8) as usize]);
        out.resize(end, 0);
    }
}

/// Seven bits a byte, the lowest first.
pub(super) fn varint(mut number: u64, out: &mut Vec<u8>) {
    loop {
        let [low, ..] = number.to_le_bytes();
        number >>= 7;
        if number == 0 {
            return out.push(low & 0x7f);
        }
        out.push(low | 0x80);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Read as the specification says.
    fn decode(bytes: &[u8], width: u32, count: usize) -> Vec<u32> {
        let (mut numbers, mut at) = (Vec::new(), 0);
        while at < bytes.len() {
            let (mut header, mut shift) = (0_u64, 0);
            loop {
                header |= u64::from(bytes[at] & 0x7f) << shift;
                at += 1;
                shift += 7;
                if bytes[at - 1] & 0x80 == 0 {
                    break;
                }
            }
            let times = usize::try_from(header >> 1).unwrap();
            if header & 1 == 0 {
                let length = width.div_ceil(8) as usize;
                let number = (0..length).fold(0, |sum, byte| sum | (u32::from(bytes[at + byte]) << (8 * byte)));
                numbers.extend(std::iter::repeat_n(number, times));
                at += length;
                continue;
            }
            for place in 0..times * 8 {
                let bit = |bit: usize| u32::from(bytes[at + bit / 8] >> (bit % 8) & 1);
                let begin = place * width as usize;
                numbers.push((0..width as usize).fold(0, |sum, place| sum | (bit(begin + place) << place)));
            }
            at += times * width as usize;
        }
        numbers.truncate(count);
        numbers
    }

    proptest! {
        #[test]
        fn what_is_decoded_is_what_was_encoded(
            width in 0_u32..=32,
            runs in prop::collection::vec((any::<u32>(), prop::sample::select(vec![1_usize, 1, 1, 2, 7, 8, 9, 300])), 0..60),
        ) {
            let numbers: Vec<u32> = runs
                .iter()
                .flat_map(|(number, times)| std::iter::repeat_n(number.checked_shr(32 - width).unwrap_or(0), *times))
                .collect();
            let mut bytes = Vec::new();
            encode(&numbers, width, &mut bytes);
            prop_assert_eq!(decode(&bytes, width, numbers.len()), numbers);
        }
    }

    #[test]
    fn widths_hold_their_numbers() {
        for (most, bits) in [(0, 0), (1, 1), (2, 2), (3, 2), (4, 3), (255, 8), (256, 9)] {
            assert_eq!(width(most), bits, "{most}");
        }
    }
}
