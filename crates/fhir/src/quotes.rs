//! Where the quotes of a JSON text stand: the first of two passes over a resource or a page. It looks at 64 bytes at a
//! time and does not branch on them, after "Parsing Gigabytes of JSON per Second" (Langdale and Lemire, 2019). What
//! stands in strings is checked on the way, so that the second pass reads only what stands between them.

use wide::u8x16;

use crate::walk::Strings;

/// A text that is no JSON, or too deep.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{what} at byte {at}")]
pub struct JsonError {
    /// What is wrong.
    pub what: &'static str,
    /// The place in the text, from 0.
    pub at: usize,
}

/// Bytes that are looked at together: one bit of a word for each.
const BLOCK: usize = 64;

/// The places of all quotes that are not escaped, one after another. A string's two quotes are neighbours.
#[derive(Debug, Default)]
pub struct Quotes {
    places: Vec<u32>,
    count: usize,
    escapes: bool,
}

impl Quotes {
    /// The strings, for a walk through the text.
    #[must_use]
    pub fn strings(&self) -> Places<'_> {
        Places { places: &self.places[..self.count], met: 0 }
    }

    /// Whether any string has an escape.
    #[must_use]
    pub fn escapes(&self) -> bool {
        self.escapes
    }

    /// Finds the places in another text.
    ///
    /// # Errors
    /// A string does not end, or has a control character or an escape that JSON does not know; or the text is longer than
    /// 4 GiB.
    pub fn find(&mut self, text: &[u8]) -> Result<(), JsonError> {
        (self.count, self.escapes) = (0, false);
        if u32::try_from(text.len()).is_err() {
            return Err(JsonError { what: "more than 4 GiB", at: 0 });
        }
        self.escapes = look(text, |start, quotes| self.keep(start, quotes))?;
        Ok(())
    }

    #[inline]
    fn keep(&mut self, start: usize, mut marked: u64) {
        if self.places.len() < self.count + BLOCK {
            self.places.resize(2 * self.count + 4 * BLOCK, 0);
        }
        let Some(places) = self.places[self.count..].first_chunk_mut::<BLOCK>() else { return };
        #[allow(clippy::cast_possible_truncation, reason = "texts of more than 4 GiB are refused")]
        let start = start as u32;
        // Counting the bits first costs more than looking at each time whether one is left: not every processor counts bits.
        let mut found = 0;
        for place in places {
            if marked == 0 {
                break;
            }
            *place = start + marked.trailing_zeros();
            marked &= marked.wrapping_sub(1);
            found += 1;
        }
        self.count += found;
    }
}

/// The strings of a text, by the places of their quotes.
#[derive(Debug)]
pub struct Places<'q> {
    places: &'q [u32],
    /// Those of strings that were gone over.
    met: usize,
}

impl Strings for Places<'_> {
    #[inline]
    fn close(&mut self, _open: usize) -> usize {
        // After the last string comes none; what is asked for there is no text's place.
        let close = self.places.get(self.met + 1).map_or(usize::MAX / 2, |close| *close as usize);
        self.met += 2;
        close
    }

    #[inline]
    fn pass(&mut self) {
        self.met += 2;
    }
}

/// The strings of a text, each looked for where it stands: for texts of which only a few are gone over. The end of one that
/// is no JSON is told to be beyond the text.
#[derive(Debug)]
pub struct LookedFor<'t>(pub &'t [u8]);

impl Strings for LookedFor<'_> {
    #[inline]
    fn close(&mut self, open: usize) -> usize {
        string_end(self.0, open + 1).unwrap_or(usize::MAX / 2)
    }

    #[inline]
    fn pass(&mut self) {}
}

/// The place of the quote that ends a string, of which the content begins at a place. Nothing where that is no JSON: a control
/// character or an escape that JSON does not know, or no end.
#[must_use]
pub fn string_end(text: &[u8], mut at: usize) -> Option<usize> {
    loop {
        let stop = plain_until(text, at)?;
        match text.get(stop..)? {
            [b'"', ..] => return Some(stop),
            [b'\\', b'u', ..] => at = stop + 6,
            [b'\\', ..] => at = stop + 2,
            _ => return None,
        }
        check_escapes(text, stop, 1).ok()?;
    }
}

/// The place of the quote that ends a string, of which the content begins at a place. Nothing where it is not plain: it has an
/// escape or a control character, or does not end.
#[inline(always)]
#[must_use]
pub fn plain_end(text: &[u8], at: usize) -> Option<usize> {
    plain_until(text, at).filter(|stop| text.get(*stop) == Some(&b'"'))
}

/// The first place from one on that has a quote, a backslash or a control character.
#[inline(always)]
fn plain_until(text: &[u8], mut at: usize) -> Option<usize> {
    while let Some(bytes) = text.get(at..).and_then(<[u8]>::first_chunk::<16>) {
        let bytes = u8x16::new(*bytes);
        let stops = (is_quote(bytes) | is_backslash(bytes) | is_control(bytes)).to_bitmask();
        if stops != 0 {
            return Some(at + stops.trailing_zeros() as usize);
        }
        at += 16;
    }
    let stop = text.get(at..)?.iter().position(|byte| matches!(byte, b'"' | b'\\' | ..=0x1f))?;
    Some(at + stop)
}

/// The quotes that are not escaped as a bit for each byte of a text: for texts so long that a list of places would not fit
/// near the processor.
#[derive(Debug)]
pub(crate) struct QuoteBits {
    words: Vec<u64>,
    escapes: bool,
}

impl QuoteBits {
    /// Finds them.
    ///
    /// # Errors
    /// A string does not end, or has a control character or an escape that JSON does not know.
    pub(crate) fn find(text: &[u8]) -> Result<Self, JsonError> {
        let mut words = Vec::with_capacity(text.len().div_ceil(BLOCK));
        let escapes = look(text, |_, quotes| words.push(quotes))?;
        Ok(Self { words, escapes })
    }

    /// Whether any string has an escape.
    pub(crate) fn escapes(&self) -> bool {
        self.escapes
    }

    /// The place of the first quote from a place on; where there is none, one after the text's end.
    #[inline]
    fn next(&self, from: usize) -> usize {
        let mut word = from / BLOCK;
        let mut bits = self.words.get(word).copied().unwrap_or(0) & (u64::MAX << (from % BLOCK));
        while bits == 0 {
            word += 1;
            match self.words.get(word) {
                Some(next) => bits = *next,
                None => return (word * BLOCK).max(from),
            }
        }
        word * BLOCK + first(bits)
    }
}

impl Strings for QuoteBits {
    #[inline]
    fn close(&mut self, open: usize) -> usize {
        self.next(open + 1)
    }

    #[inline]
    fn pass(&mut self) {}
}

/// Goes through a text, and tells of each block where it begins and which of its bytes are quotes. Says whether any string
/// has an escape.
#[inline]
fn look(text: &[u8], mut tell: impl FnMut(usize, u64)) -> Result<bool, JsonError> {
    let (mut state, mut escapes) = (State::default(), false);
    let (blocks, rest) = text.as_chunks::<BLOCK>();
    for (number, block) in blocks.iter().enumerate() {
        let start = number * BLOCK;
        tell(start, state.block(text, block, start, &mut escapes)?);
    }
    if !rest.is_empty() {
        let mut last = [b' '; BLOCK];
        last[..rest.len()].copy_from_slice(rest);
        let start = text.len() - rest.len();
        tell(start, state.block(text, &last, start, &mut escapes)?);
    }
    if state.in_string == 0 { Ok(escapes) } else { Err(JsonError { what: "a string without an end", at: text.len() }) }
}

/// What one block leaves for the next.
#[derive(Default)]
struct State {
    /// All ones within a string.
    in_string: u64,
    /// The first byte of the next block is escaped.
    escaped: bool,
}

impl State {
    /// The quotes of the next block that are not escaped.
    #[inline(always)]
    fn block(&mut self, text: &[u8], block: &[u8; BLOCK], start: usize, escapes: &mut bool) -> Result<u64, JsonError> {
        let mut masks = masks(block);
        let mut begins = 0;
        if masks.backslashes != 0 || self.escaped {
            let escaped = self.escapes(masks.backslashes, &mut begins);
            masks.quotes &= !escaped;
            *escapes = true;
        }
        let strings = within(masks.quotes) ^ self.in_string;
        // All ones where the string goes on in the next block.
        self.in_string = 0_u64.wrapping_sub(strings >> 63);
        let control = masks.controls & strings;
        if control != 0 {
            return Err(JsonError { what: "a control character in a string", at: start + first(control) });
        }
        if begins != 0 {
            check_escapes(text, start, begins & strings)?;
        }
        Ok(masks.quotes)
    }

    /// The bytes that are escaped; `begins` gets the backslashes that escape them.
    fn escapes(&mut self, backslashes: u64, begins: &mut u64) -> u64 {
        let mut escaped = u64::from(self.escaped);
        let mut rest = backslashes & !escaped;
        self.escaped = false;
        while rest != 0 {
            let place = rest.trailing_zeros();
            *begins |= 1 << place;
            rest &= !(1 << place);
            if place == 63 {
                self.escaped = true;
            } else {
                escaped |= 2 << place;
                rest &= !(2 << place);
            }
        }
        escaped
    }
}

fn first(mask: u64) -> usize {
    mask.trailing_zeros() as usize
}

/// The bits from each odd one up to the next even one, that without: what is within quotes, the opening one too.
#[inline]
fn within(quotes: u64) -> u64 {
    [1, 2, 4, 8, 16, 32].iter().fold(quotes, |mask, by| mask ^ (mask << by))
}

/// JSON knows nine escapes (RFC 8259, section 7).
fn check_escapes(text: &[u8], start: usize, mut begins: u64) -> Result<(), JsonError> {
    while begins != 0 {
        let at = start + first(begins);
        begins &= begins.wrapping_sub(1);
        let known = match text.get(at + 1) {
            Some(b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't') => true,
            Some(b'u') => text.get(at + 2..at + 6).is_some_and(|hex| hex.iter().all(u8::is_ascii_hexdigit)),
            _ => false,
        };
        if !known {
            return Err(JsonError { what: "an escape that JSON does not know", at });
        }
    }
    Ok(())
}

/// A bit for each byte of a block.
struct Masks {
    quotes: u64,
    backslashes: u64,
    /// Control characters.
    controls: u64,
}

#[inline]
fn masks(block: &[u8; BLOCK]) -> Masks {
    let parts = block.as_chunks::<16>().0;
    let bits = |of: fn(u8x16) -> u8x16| {
        let each = parts.iter().enumerate();
        each.fold(0, |bits, (place, bytes)| bits | (u64::from(of(u8x16::new(*bytes)).to_bitmask()) << (16 * place)))
    };
    let quotes = bits(is_quote);
    // Of the others most blocks have none, which one look for all sixteen bytes of four tells.
    let any = |any: u8x16, bytes: &[u8; 16]| any | is_backslash(u8x16::new(*bytes)) | is_control(u8x16::new(*bytes));
    match parts.iter().fold(u8x16::splat(0), any).to_bitmask() {
        0 => Masks { quotes, backslashes: 0, controls: 0 },
        _ => Masks { quotes, backslashes: bits(is_backslash), controls: bits(is_control) },
    }
}

#[inline(always)]
fn is_quote(bytes: u8x16) -> u8x16 {
    bytes.simd_eq(u8x16::splat(b'"'))
}

#[inline(always)]
fn is_backslash(bytes: u8x16) -> u8x16 {
    bytes.simd_eq(u8x16::splat(b'\\'))
}

#[inline(always)]
fn is_control(bytes: u8x16) -> u8x16 {
    bytes.min(u8x16::splat(0x1f)).simd_eq(bytes)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// The same, byte by byte.
    fn slowly(text: &[u8]) -> Option<Vec<u32>> {
        let (mut places, mut in_string, mut escaped) = (Vec::new(), false, false);
        for (place, byte) in text.iter().enumerate() {
            if in_string && !escaped && *byte < 0x20 {
                return None;
            }
            match byte {
                _ if escaped => escaped = false,
                b'\\' => escaped = true,
                b'"' => {
                    in_string = !in_string;
                    places.push(u32::try_from(place).unwrap());
                }
                _ => {}
            }
        }
        (!in_string).then_some(places)
    }

    proptest! {
        #[test]
        fn the_places_are_those_that_a_loop_finds(
            parts in prop::collection::vec(prop::sample::select(vec!["\"", "\\\\", "\\n", "\\\"", "{", "]", "a", "öl", "  ", "\n"]), 0..200)
        ) {
            let text = parts.concat();
            let mut quotes = Quotes::default();
            let found = quotes.find(text.as_bytes()).ok().map(|()| quotes.strings().places.to_vec());
            prop_assert_eq!(&found, &slowly(text.as_bytes()), "{}", text);
            let bits = QuoteBits::find(text.as_bytes()).ok();
            let places = bits.map(|bits| {
                let next = |from: usize| Some(bits.next(from)).filter(|place| *place < text.len());
                std::iter::successors(next(0), |last| next(last + 1)).map(|place| u32::try_from(place).unwrap()).collect()
            });
            prop_assert_eq!(places, found, "{}", text);
        }

        #[test]
        fn a_plain_string_ends_at_its_first_quote(
            parts in prop::collection::vec(prop::sample::select(vec!["a", "a longer part", "\u{80}\u{10ffff}", " {", "\"", "\\", "\\u00E4", "\\n", "\u{1f}"]), 0..12)
        ) {
            let text = parts.concat();
            let stop = text.bytes().position(|byte| byte == b'"' || byte == b'\\' || byte < b' ');
            let end = stop.filter(|stop| text.as_bytes()[*stop] == b'"');
            for before in ["", "\"\\\u{1}"] {
                let text = format!("{before}{text}");
                let found = plain_end(text.as_bytes(), before.len());
                prop_assert_eq!(found, end.map(|end| end + before.len()), "{}", text);
            }
            // A string is one value of JSON, and what follows it is not looked at.
            let quoted = format!("\"{text}");
            let mut values = serde_json::Deserializer::from_str(&quoted).into_iter::<serde::de::IgnoredAny>();
            let is_string = values.next().is_some_and(|value| value.is_ok());
            prop_assert_eq!(string_end(text.as_bytes(), 0), is_string.then(|| values.byte_offset() - 2), "{}", text);
            prop_assert_eq!(plain_end(text.as_bytes(), text.len() + 1), None);
        }
    }

    #[test]
    fn strings_that_are_none_are_told_with_their_place() {
        let long = "x".repeat(70);
        for (text, at) in [
            (format!("\"{long}"), 71),
            (format!("\"{long}\t\""), 71),
            (format!("\"{long}\\q\""), 71),
            (format!("\"{long}\\u12x4\""), 71),
            (format!("\"{}\\\"", "x".repeat(62)), 65),
        ] {
            assert_eq!(Quotes::default().find(text.as_bytes()).map_err(|error| error.at), Err(at), "{text}");
        }
        assert!(Quotes::default().find(format!("\"{}\\u00e9\"", "x".repeat(62)).as_bytes()).is_ok());
    }
}
