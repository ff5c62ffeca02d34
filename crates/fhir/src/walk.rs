//! The second pass over a JSON text: from value to value, by the places of the quotes that [`crate::quotes`] found. All that
//! is gone over is checked to be JSON, and nothing is built; what becomes of a value is its caller's business.
//!
//! Each step gives the place after what it went over. Where there is none, [`Walk::into_error`] says why.

use crate::quotes::JsonError;

/// Values within each other that a walk goes into; FHIR's own go to about twenty.
const DEEPEST: u32 = 128;
const TOO_DEEP: &str = "nested too deeply";

/// Where the strings of a text end.
pub trait Strings {
    /// The place of the closing quote of the string that opens at a place. Every string that a walk goes over is asked for
    /// once, in the order of the text.
    fn close(&mut self, open: usize) -> usize;

    /// Goes over a string of which the end is known.
    fn pass(&mut self);
}

/// A key as it stands in a text where no white space follows it: its closing quote and its colon are a part of it. Not of
/// keys that are written with escapes, nor of those of more than fourteen bytes: these are never there.
#[derive(Debug, Clone, Copy)]
pub struct WrittenKey {
    bytes: u128,
    /// The bits of its bytes.
    mask: u128,
    length: usize,
}

impl WrittenKey {
    const MOST: usize = 16;

    /// How a key is written.
    #[must_use]
    pub fn of(key: &str) -> Self {
        let plain = key.bytes().all(|byte| byte >= b' ' && byte != b'"' && byte != b'\\');
        let mut bytes = [0; Self::MOST];
        match bytes.get_mut(..key.len() + 2) {
            Some(place) if plain => {
                place[..key.len()].copy_from_slice(key.as_bytes());
                place[key.len()..].copy_from_slice(b"\":");
                let mask = u128::MAX >> (8 * (Self::MOST - place.len()));
                Self { bytes: u128::from_le_bytes(bytes), mask, length: key.len() + 2 }
            }
            _ => Self { bytes: u128::MAX, mask: 0, length: 0 },
        }
    }

    /// Whether the bytes begin with it.
    #[inline(always)]
    fn begins(&self, bytes: &[u8; Self::MOST]) -> bool {
        u128::from_le_bytes(*bytes) & self.mask == self.bytes
    }
}

/// What becomes of an object's members where the order of its keys can be guessed.
pub trait Members<'a, S> {
    /// The key that is likely to come next.
    fn expected(&self) -> Option<&'a WrittenKey>;

    /// Gets the place of the value of the key that was expected last, and gives the place after it.
    fn value(&mut self, walk: &mut Walk<'a, S>, at: usize) -> Option<usize>;

    /// Gets another key as written, without its quotes, and the place of its value, and gives the place after that.
    fn member(&mut self, walk: &mut Walk<'a, S>, key: &'a [u8], at: usize) -> Option<usize>;
}

/// Members without an expectation.
struct Any<F>(F);

impl<'a, S, F: FnMut(&mut Walk<'a, S>, &'a [u8], usize) -> Option<usize>> Members<'a, S> for Any<F> {
    #[inline(always)]
    fn expected(&self) -> Option<&'a WrittenKey> {
        None
    }

    fn value(&mut self, _walk: &mut Walk<'a, S>, _at: usize) -> Option<usize> {
        None
    }

    #[inline(always)]
    fn member(&mut self, walk: &mut Walk<'a, S>, key: &'a [u8], at: usize) -> Option<usize> {
        self.0(walk, key, at)
    }
}

/// Goes through one text.
#[derive(Debug)]
pub struct Walk<'a, S> {
    text: &'a str,
    bytes: &'a [u8],
    strings: S,
    depth: u32,
    wrong: Option<JsonError>,
}

impl<'a, S: Strings> Walk<'a, S> {
    /// A walk through a text whose strings are known.
    #[inline]
    pub fn new(text: &'a str, strings: S) -> Self {
        Self::within(text, strings, 0)
    }

    /// A walk through a part of a text that stands within so many objects and arrays.
    #[inline]
    pub fn within(text: &'a str, strings: S, depth: u32) -> Self {
        Self { text, bytes: text.as_bytes(), strings, depth, wrong: None }
    }

    /// What stopped the walk.
    pub fn into_error(self) -> JsonError {
        self.wrong.unwrap_or(JsonError { what: "no JSON", at: 0 })
    }

    /// A piece of the text.
    #[inline]
    pub fn piece(&self, start: usize, end: usize) -> Option<&'a str> {
        self.text.get(start..end)
    }

    /// The byte at a place; zero, which is no JSON, after the end.
    #[inline]
    pub fn byte(&self, at: usize) -> u8 {
        self.bytes.get(at).copied().unwrap_or(0)
    }

    /// The place of what follows white space, and its byte.
    #[inline(always)]
    fn token(&self, mut at: usize) -> (usize, u8) {
        let mut byte = self.byte(at);
        while byte <= b' ' && matches!(byte, b' ' | b'\n' | b'\r' | b'\t') {
            at += 1;
            byte = self.byte(at);
        }
        (at, byte)
    }

    /// The place of what follows white space.
    #[inline]
    pub fn space(&self, at: usize) -> usize {
        self.token(at).0
    }

    /// The object that the text has to be, as [`Walk::members`] goes through it.
    #[inline]
    pub fn object(&mut self, each: impl FnMut(&mut Self, &'a [u8], usize) -> Option<usize>) -> Option<()> {
        self.object_of(&mut Any(each))
    }

    /// The same where the order of keys can be guessed.
    #[inline]
    pub fn object_of(&mut self, members: &mut impl Members<'a, S>) -> Option<()> {
        let open = self.space(0);
        if self.byte(open) != b'{' {
            return self.wrong("no object", open);
        }
        let end = self.members_of(open, members)?;
        let end = self.space(end);
        if end == self.bytes.len() { Some(()) } else { self.wrong("something after the object", end) }
    }

    /// Goes through the members of the object that begins here. `each` gets a key as written, without its quotes, and the
    /// place of its value, and gives the place after that.
    #[inline(always)]
    pub fn members(
        &mut self,
        open: usize,
        each: impl FnMut(&mut Self, &'a [u8], usize) -> Option<usize>,
    ) -> Option<usize> {
        self.members_of(open, &mut Any(each))
    }

    /// The same where the order of keys can be guessed.
    #[inline(always)]
    pub fn members_of(&mut self, open: usize, members: &mut impl Members<'a, S>) -> Option<usize> {
        self.enter(open)?;
        let (mut at, mut first) = self.token(open + 1);
        if first == b'}' {
            return Some(self.leave(at));
        }
        loop {
            let end = match self.expected(at, first, members.expected()) {
                Some(value) => members.value(self, value)?,
                None => {
                    let (close, value) = self.key(at, first)?;
                    members.member(self, self.bytes.get(at + 1..close)?, value)?
                }
            };
            let (next, byte) = self.token(end);
            match byte {
                b',' => (at, first) = self.token(next + 1),
                b'}' => return Some(self.leave(next)),
                _ => return self.wrong("neither a comma nor the object's end", next),
            }
        }
    }

    /// Goes through the elements of the array that begins here, in the same way.
    #[inline(always)]
    pub fn elements(&mut self, open: usize, mut each: impl FnMut(&mut Self, usize) -> Option<usize>) -> Option<usize> {
        self.enter(open)?;
        let (mut at, first) = self.token(open + 1);
        if first == b']' {
            return Some(self.leave(at));
        }
        loop {
            let end = each(self, at)?;
            let (next, byte) = self.token(end);
            match byte {
                b',' => at = self.space(next + 1),
                b']' => return Some(self.leave(next)),
                _ => return self.wrong("neither a comma nor the list's end", next),
            }
        }
    }

    /// The closing quote of the string that opens here.
    #[inline]
    pub fn string(&mut self, open: usize) -> usize {
        self.strings.close(open)
    }

    /// Goes over the value that begins here.
    pub fn skip(&mut self, mut at: usize) -> Option<usize> {
        // Whether each of what is open is an object, the innermost lowest: `DEEPEST` fits.
        let (mut objects, mut depth) = (0_u128, 0_u32);
        let room = DEEPEST.saturating_sub(self.depth);
        loop {
            let first = self.byte(at);
            at = match first {
                b'"' => self.string(at) + 1,
                b'{' | b'[' => {
                    depth += 1;
                    if depth > room {
                        return self.wrong(TOO_DEEP, at);
                    }
                    objects = (objects << 1) | u128::from(first == b'{');
                    let next;
                    (at, next) = self.token(at + 1);
                    match (next, first) {
                        // Nothing in it: the loop below closes it.
                        (b'}', b'{') | (b']', b'[') => at,
                        (_, b'{') => {
                            at = self.key(at, next)?.1;
                            continue;
                        }
                        _ => continue,
                    }
                }
                _ => self.primitive(at)?,
            };
            // Out of everything that ends here, and on to the next value.
            loop {
                if depth == 0 {
                    return Some(at);
                }
                let byte;
                (at, byte) = self.token(at);
                let in_object = objects & 1 == 1;
                match byte {
                    b',' if in_object => {
                        let (next, first) = self.token(at + 1);
                        at = self.key(next, first)?.1;
                        break;
                    }
                    b',' => {
                        at = self.space(at + 1);
                        break;
                    }
                    b'}' if in_object => at += 1,
                    b']' if !in_object => at += 1,
                    _ => return self.wrong("neither a comma nor an end", at),
                }
                depth -= 1;
                objects >>= 1;
            }
        }
    }

    /// A number, `true`, `false` or `null`.
    #[inline]
    pub fn primitive(&mut self, at: usize) -> Option<usize> {
        let word = match self.byte(at) {
            b't' => "true",
            b'f' => "false",
            b'n' => "null",
            _ => return self.number(at),
        };
        let is = self.bytes.get(at..).is_some_and(|rest| rest.starts_with(word.as_bytes()));
        if is { Some(at + word.len()) } else { self.wrong("no value", at) }
    }

    fn number(&mut self, begin: usize) -> Option<usize> {
        let found = self.digits(begin);
        if found.is_some() { found } else { self.wrong("no value", begin) }
    }

    fn digits(&self, begin: usize) -> Option<usize> {
        let digits = |from: usize| {
            let mut at = from;
            while self.byte(at).is_ascii_digit() {
                at += 1;
            }
            (at > from).then_some(at)
        };
        let first = begin + usize::from(self.byte(begin) == b'-');
        let mut at = if self.byte(first) == b'0' { first + 1 } else { digits(first)? };
        if self.byte(at) == b'.' {
            at = digits(at + 1)?;
        }
        if matches!(self.byte(at), b'e' | b'E') {
            at += 1 + usize::from(matches!(self.byte(at + 1), b'+' | b'-'));
            at = digits(at)?;
        }
        Some(at)
    }

    /// The place of the value of a key, of which the first byte is known, if it is the one that is expected.
    #[inline(always)]
    fn expected(&mut self, at: usize, first: u8, key: Option<&WrittenKey>) -> Option<usize> {
        let (key, bytes) = (key?, self.bytes.get(at + 1..)?.first_chunk()?);
        if first != b'"' || !key.begins(bytes) {
            return None;
        }
        self.strings.pass();
        Some(self.space(at + 1 + key.length))
    }

    /// A key, of which the first byte is known, with its colon: the places of the closing quote and of the value.
    #[inline(always)]
    fn key(&mut self, at: usize, first: u8) -> Option<(usize, usize)> {
        if first != b'"' {
            return self.wrong("no key", at);
        }
        let close = self.string(at);
        let (colon, byte) = self.token(close + 1);
        if byte != b':' {
            return self.wrong("a key without a colon", colon);
        }
        Some((close, self.space(colon + 1)))
    }

    /// Into an object or a list.
    #[inline]
    fn enter(&mut self, at: usize) -> Option<()> {
        self.depth += 1;
        if self.depth > DEEPEST { self.wrong(TOO_DEEP, at) } else { Some(()) }
    }

    /// Out of it; gives the place after its bracket.
    #[inline]
    fn leave(&mut self, close: usize) -> usize {
        self.depth -= 1;
        close + 1
    }

    #[cold]
    fn wrong<T>(&mut self, what: &'static str, at: usize) -> Option<T> {
        self.wrong = Some(JsonError { what, at });
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_there_where_it_is_written_with_nothing_behind_it() {
        for (key, text, expected) in [
            ("a", "a\":1 and sixteen bytes", true),
            ("a", "a\" :1 and sixteen bytes", false),
            ("a", "b\":1 and sixteen bytes", false),
            ("a", "ab\":1 and sixteen bytes", false),
            ("fourteen_bytes", "fourteen_bytes\":", true),
            ("fourteen_bytes", "fourteen_bytes\"}", false),
            ("fifteen_bytes__", "fifteen_bytes__\":1", false),
            ("", "\":1 and sixteen bytes", true),
            ("a\"", "a\"\":1 and sixteen bytes", false),
            ("a\\", "a\\\":1 and sixteen bytes", false),
        ] {
            let bytes = text.as_bytes().first_chunk().unwrap();
            assert_eq!(WrittenKey::of(key).begins(bytes), expected, "{key} {text}");
        }
    }
}
