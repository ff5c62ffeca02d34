//! The second pass over a JSON text: from value to value, by the places of the quotes. All of it is checked to be JSON, and
//! nothing is built.

use crate::quotes::{JsonError, QuoteBits};

/// Values within each other that a walk goes into; FHIR's own go to about twenty.
const DEEPEST: u32 = 128;

/// Goes through one text. Whatever is no JSON, or too deep, gives nothing.
pub(crate) struct Walk<'a> {
    text: &'a str,
    bytes: &'a [u8],
    quotes: QuoteBits,
}

impl<'a> Walk<'a> {
    /// # Errors
    /// A string of the text is none, or does not end.
    pub(crate) fn new(text: &'a str) -> Result<Self, JsonError> {
        Ok(Self { text, bytes: text.as_bytes(), quotes: QuoteBits::find(text.as_bytes())? })
    }

    /// Whether any string has an escape.
    pub(crate) fn escapes(&self) -> bool {
        self.quotes.escapes()
    }

    /// A piece of the text.
    #[inline]
    pub(crate) fn piece(&self, start: usize, end: usize) -> Option<&'a str> {
        self.text.get(start..end)
    }

    /// Whether nothing follows a place but white space.
    pub(crate) fn is_end(&self, at: usize) -> bool {
        self.space(at) == self.bytes.len()
    }

    /// The byte at a place; zero, which is no JSON, after the end.
    #[inline]
    pub(crate) fn byte(&self, at: usize) -> u8 {
        self.bytes.get(at).copied().unwrap_or(0)
    }

    /// The place of what follows white space.
    #[inline]
    pub(crate) fn space(&self, mut at: usize) -> usize {
        while matches!(self.byte(at), b' ' | b'\n' | b'\r' | b'\t') {
            at += 1;
        }
        at
    }

    /// A key with its colon: the places of the closing quote and of the value.
    #[inline]
    fn key(&self, at: usize) -> Option<(usize, usize)> {
        if self.byte(at) != b'"' {
            return None;
        }
        let close = self.quotes.next(at + 1);
        let colon = self.space(close + 1);
        (self.byte(colon) == b':').then(|| (close, self.space(colon + 1)))
    }

    /// Goes through the members of the object that begins here. `each` gets a key as written and the place of its value,
    /// and gives the place after it. Gives the place after the object.
    #[inline]
    pub(crate) fn members(&self, open: usize, mut each: impl FnMut(&'a str, usize) -> Option<usize>) -> Option<usize> {
        let mut at = self.space(open + 1);
        if self.byte(at) == b'}' {
            return Some(at + 1);
        }
        loop {
            let (close, value) = self.key(at)?;
            at = self.space(each(self.piece(at + 1, close)?, value)?);
            match self.byte(at) {
                b',' => at = self.space(at + 1),
                b'}' => return Some(at + 1),
                _ => return None,
            }
        }
    }

    /// Goes through the elements of the array that begins here, in the same way.
    #[inline]
    pub(crate) fn elements(&self, open: usize, mut each: impl FnMut(usize) -> Option<usize>) -> Option<usize> {
        let mut at = self.space(open + 1);
        if self.byte(at) == b']' {
            return Some(at + 1);
        }
        loop {
            at = self.space(each(at)?);
            match self.byte(at) {
                b',' => at = self.space(at + 1),
                b']' => return Some(at + 1),
                _ => return None,
            }
        }
    }

    /// Checks the value that begins here; gives the place after it.
    pub(crate) fn skip(&self, mut at: usize) -> Option<usize> {
        // Whether each of what is open is an object, the innermost lowest: `DEEPEST` fits.
        let (mut objects, mut depth) = (0_u128, 0_u32);
        loop {
            let first = self.byte(at);
            at = match first {
                b'"' => self.quotes.next(at + 1) + 1,
                b'{' | b'[' => {
                    depth += 1;
                    if depth > DEEPEST {
                        return None;
                    }
                    objects = (objects << 1) | u128::from(first == b'{');
                    at = self.space(at + 1);
                    match (self.byte(at), first) {
                        // Nothing in it: the loop below closes it.
                        (b'}', b'{') | (b']', b'[') => at,
                        (_, b'{') => {
                            at = self.key(at)?.1;
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
                at = self.space(at);
                let in_object = objects & 1 == 1;
                match self.byte(at) {
                    b',' if in_object => {
                        at = self.key(self.space(at + 1))?.1;
                        break;
                    }
                    b',' => {
                        at = self.space(at + 1);
                        break;
                    }
                    b'}' if in_object => at += 1,
                    b']' if !in_object => at += 1,
                    _ => return None,
                }
                depth -= 1;
                objects >>= 1;
            }
        }
    }

    /// A number, `true`, `false` or `null`: the place after it.
    fn primitive(&self, at: usize) -> Option<usize> {
        let word = match self.byte(at) {
            b't' => "true",
            b'f' => "false",
            b'n' => "null",
            _ => return self.number(at),
        };
        self.bytes.get(at..)?.starts_with(word.as_bytes()).then(|| at + word.len())
    }

    fn number(&self, begin: usize) -> Option<usize> {
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
}
