//! The members of a JSON object as they stand in the text, one by one: for those who look for a few near its beginning
//! in a text that was read as JSON before, and need not read the rest again.

use std::ops::Range;

use crate::resource::string_end;

/// Goes through the members of an object. Ends early, and makes no sense, where the text is no JSON object.
pub(crate) struct Members<'a> {
    text: &'a str,
    at: usize,
}

impl<'a> Members<'a> {
    pub(crate) fn new(object: &'a str) -> Self {
        let mut members = Self { text: object, at: 0 };
        members.at = if members.peek() == Some(b'{') { members.at + 1 } else { object.len() };
        members
    }

    /// The next byte that is no white space; the place is moved to it.
    fn peek(&mut self) -> Option<u8> {
        let rest = self.text.as_bytes().get(self.at..)?;
        self.at += rest.iter().position(|byte| !byte.is_ascii_whitespace())?;
        self.text.as_bytes().get(self.at).copied()
    }

    /// The place after the value that begins here.
    fn value_end(&self) -> usize {
        let bytes = self.text.as_bytes();
        let (mut at, mut depth) = (self.at, 0_usize);
        while let Some(byte) = bytes.get(at) {
            match byte {
                b'"' => {
                    at = string_end(bytes, at);
                    if depth == 0 {
                        return at;
                    }
                    continue;
                }
                b'{' | b'[' => depth += 1,
                // The end of the object around it.
                b'}' | b']' | b',' if depth == 0 => return at,
                b'}' | b']' => {
                    depth -= 1;
                    if depth == 0 {
                        return at + 1;
                    }
                }
                _ if depth == 0 && byte.is_ascii_whitespace() => return at,
                _ => {}
            }
            at += 1;
        }
        bytes.len()
    }
}

impl<'a> Iterator for Members<'a> {
    /// The key as written, without its quotes, and the place of the value.
    type Item = (&'a str, Range<usize>);

    fn next(&mut self) -> Option<Self::Item> {
        if self.peek()? == b',' {
            self.at += 1;
        }
        if self.peek()? != b'"' {
            return None;
        }
        let key_end = string_end(self.text.as_bytes(), self.at);
        let key = self.text.get(self.at + 1..key_end.checked_sub(1)?)?;
        self.at = key_end;
        if self.peek()? != b':' {
            return None;
        }
        self.at += 1;
        self.peek()?;
        let start = self.at;
        self.at = self.value_end();
        Some((key, start..self.at))
    }
}
