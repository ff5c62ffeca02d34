//! One resource, from the places of its quotes to the nodes that the views need: the second of two passes.
//! What no view needs is checked to be JSON as well, so that a broken resource is told whatever the views are.

use fhirvest_fhir::quotes::{JsonError, Quotes};

use crate::{
    arena::{Arena, NONE, Piece, Value},
    trie::{Found, Trie},
};

/// Values within each other; FHIR's own go to about twenty.
const DEEPEST: u32 = 128;

pub(crate) struct Scan<'a> {
    arena: &'a mut Arena,
    trie: &'a Trie,
    text: &'a str,
    bytes: &'a [u8],
    /// Where the text begins in the arena's.
    begin: usize,
    /// The resource's node.
    root: u32,
    /// The places of the quotes.
    quotes: &'a [u32],
    /// The first of them that was not met yet.
    met: usize,
    escapes: bool,
    depth: u32,
}

/// Where a value goes in the arena.
struct Place<'l> {
    /// The trie's node.
    node: u32,
    /// The number of the name.
    name: u32,
    parent: u32,
    last: &'l mut u32,
    /// The place in a list.
    position: u32,
}

impl<'a> Scan<'a> {
    /// Reads a text, and where it begins in the arena's, into a node of the arena.
    pub(crate) fn new(
        arena: &'a mut Arena,
        trie: &'a Trie,
        (text, begin): (&'a str, usize),
        quotes: &'a Quotes,
        root: u32,
    ) -> Self {
        let (escapes, quotes) = (quotes.escapes(), quotes.places());
        Self { arena, trie, text, bytes: text.as_bytes(), begin, root, quotes, met: 0, escapes, depth: 0 }
    }

    /// Reads the text, which has to be one object.
    pub(crate) fn resource(mut self) -> Result<(), JsonError> {
        let begin = self.space(0);
        if self.byte(begin) != b'{' {
            return wrong("no object", begin);
        }
        let end = self.fields(Trie::ROOT, self.root, begin)?;
        let end = self.space(end);
        if end == self.bytes.len() { Ok(()) } else { wrong("something after the object", end) }
    }

    /// The byte at a place; zero, which is no JSON, after the end.
    #[inline]
    fn byte(&self, at: usize) -> u8 {
        self.bytes.get(at).copied().unwrap_or(0)
    }

    /// The place of what follows white space.
    #[inline]
    fn space(&self, mut at: usize) -> usize {
        while matches!(self.byte(at), b' ' | b'\n' | b'\r' | b'\t') {
            at += 1;
        }
        at
    }

    /// The place of the closing quote of the string that comes next.
    #[inline]
    fn string(&mut self) -> usize {
        let close = self.quotes.get(self.met + 1).map_or(self.bytes.len(), |close| *close as usize);
        self.met += 2;
        close
    }

    /// A key with its colon: the places of the closing quote and of the value.
    #[inline]
    fn key(&mut self, at: usize) -> Result<(usize, usize), JsonError> {
        if self.byte(at) != b'"' {
            return wrong("no key", at);
        }
        let close = self.string();
        let colon = self.space(close + 1);
        if self.byte(colon) != b':' {
            return wrong("a key without a colon", colon);
        }
        Ok((close, self.space(colon + 1)))
    }

    /// Reads an object's fields into a node; returns the place after it.
    fn fields(&mut self, of: u32, parent: u32, open: usize) -> Result<usize, JsonError> {
        self.enter(open)?;
        let (mut last, mut seen) = (NONE, 0_u64);
        let mut at = self.space(open + 1);
        if self.byte(at) == b'}' {
            return Ok(self.leave(at));
        }
        loop {
            let (close, value) = self.key(at)?;
            let end = match self.find(of, at + 1, close) {
                // Of duplicate keys the first counts.
                Some(Found { place, .. }) if place < 64 && seen & (1 << place) != 0 => self.skip(value)?,
                Some(Found { place, name, node }) => {
                    if place < 64 {
                        seen |= 1 << place;
                    }
                    self.value(&mut Place { node, name, parent, last: &mut last, position: 0 }, value, false)?
                }
                None => self.skip(value)?,
            };
            at = self.space(end);
            match self.byte(at) {
                b',' => at = self.space(at + 1),
                b'}' => return Ok(self.leave(at)),
                _ => return wrong("neither a comma nor the object's end", at),
            }
        }
    }

    #[inline(always)]
    fn find(&mut self, of: u32, start: usize, close: usize) -> Option<Found> {
        let key = &self.bytes[start..close];
        if self.escapes && key.contains(&b'\\') {
            return self.find_escaped(of, start, close);
        }
        self.trie.find(of, key, self.arena.others())
    }

    #[cold]
    fn find_escaped(&mut self, of: u32, start: usize, close: usize) -> Option<Found> {
        let key: String = serde_json::from_str(self.text.get(start - 1..=close)?).ok()?;
        self.trie.find(of, key.as_bytes(), self.arena.others())
    }

    /// Reads the value of a needed field: one node, or one for each element of a list. Returns the place after it.
    fn value(&mut self, place: &mut Place<'_>, at: usize, within_list: bool) -> Result<usize, JsonError> {
        match self.byte(at) {
            b'"' => {
                let close = self.string();
                if self.escapes && self.bytes[at..close].contains(&b'\\') {
                    self.escaped_text(place, at, close);
                } else {
                    let text = Value::Text(self.piece(at + 1, close));
                    self.leaf(place, text);
                }
                Ok(close + 1)
            }
            // FHIR has no lists of lists: what lies deeper is one value.
            open @ (b'{' | b'[') if self.trie.is_leaf(place.node) && (open == b'{' || within_list) => {
                let end = self.skip(at)?;
                let json = Value::Json(self.piece(at, end));
                self.leaf(place, json);
                Ok(end)
            }
            b'{' => {
                let number = self.arena.add(place.name, place.parent, place.last, Value::Object);
                if self.trie.is_paired(place.node) {
                    self.arena.pair(number, place.parent, place.position);
                }
                let end = self.fields(place.node, number, at)?;
                if self.trie.keeps_json(place.node) {
                    let json = Value::Json(self.piece(at, end));
                    self.arena.set(number, json);
                }
                Ok(end)
            }
            b'[' => self.elements(place, at),
            first => {
                let end = self.primitive(at)?;
                match first {
                    b'n' => {}
                    b't' | b'f' => self.leaf(place, Value::Boolean(first == b't')),
                    _ => {
                        let number = Value::Number(self.piece(at, end));
                        self.leaf(place, number);
                    }
                }
                Ok(end)
            }
        }
    }

    // A value that is made in one branch and stored behind all of them goes through memory, its halves written and then read
    // as one, and waits for its own stores: a tenth of the scan. So each branch stores its own.
    #[inline(always)]
    fn leaf(&mut self, place: &mut Place<'_>, value: Value) {
        let number = self.arena.add(place.name, place.parent, place.last, value);
        if self.trie.has_object(place.node) && !matches!(value, Value::Json(_)) {
            self.arena.odd(number);
        }
        if self.trie.is_paired(place.node) {
            self.arena.pair(number, place.parent, place.position);
        }
    }

    #[cold]
    fn escaped_text(&mut self, place: &mut Place<'_>, open: usize, close: usize) {
        let raw = self.text.get(open..=close).unwrap_or_default();
        // A lone surrogate is no text: the JSON stands for it, and counts as a misfit.
        let value = match serde_json::from_str::<String>(raw) {
            Ok(text) => Value::Text(self.arena.keep(&text)),
            Err(_) => Value::Json(self.piece(open, close + 1)),
        };
        self.leaf(place, value);
    }

    /// The piece of the arena's text that is this text from a place up to another.
    #[inline]
    fn piece(&self, start: usize, end: usize) -> Piece {
        Arena::piece(self.begin + start, self.begin + end)
    }

    fn elements(&mut self, place: &mut Place<'_>, open: usize) -> Result<usize, JsonError> {
        self.enter(open)?;
        let mut at = self.space(open + 1);
        if self.byte(at) == b']' {
            return Ok(self.leave(at));
        }
        loop {
            let end = self.value(place, at, true)?;
            place.position += 1;
            at = self.space(end);
            match self.byte(at) {
                b',' => at = self.space(at + 1),
                b']' => return Ok(self.leave(at)),
                _ => return wrong("neither a comma nor the list's end", at),
            }
        }
    }

    /// Into an object or a list.
    #[inline]
    fn enter(&mut self, at: usize) -> Result<(), JsonError> {
        self.depth += 1;
        if self.depth > DEEPEST { wrong("nested too deeply", at) } else { Ok(()) }
    }

    /// Out of it; returns the place after its bracket.
    #[inline]
    fn leave(&mut self, close: usize) -> usize {
        self.depth -= 1;
        close + 1
    }

    /// Checks a value that no view needs; returns the place after it.
    fn skip(&mut self, mut at: usize) -> Result<usize, JsonError> {
        let outside = self.depth;
        // Whether each of what is open is an object, the innermost lowest: `DEEPEST` fits.
        let mut objects = 0_u128;
        loop {
            let first = self.byte(at);
            at = match first {
                b'"' => self.string() + 1,
                b'{' | b'[' => {
                    self.enter(at)?;
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
                if self.depth == outside {
                    return Ok(at);
                }
                at = self.space(at);
                let in_object = objects & 1 == 1;
                match self.byte(at) {
                    b',' if in_object => {
                        let next = self.space(at + 1);
                        at = self.key(next)?.1;
                        break;
                    }
                    b',' => {
                        at = self.space(at + 1);
                        break;
                    }
                    b'}' if in_object => at = self.leave(at),
                    b']' if !in_object => at = self.leave(at),
                    _ => return wrong("neither a comma nor an end", at),
                }
                objects >>= 1;
            }
        }
    }

    /// A number, `true`, `false` or `null`: the place after it.
    fn primitive(&self, at: usize) -> Result<usize, JsonError> {
        let word = match self.byte(at) {
            b't' => "true",
            b'f' => "false",
            b'n' => "null",
            _ => return self.number(at),
        };
        if self.bytes[at..].starts_with(word.as_bytes()) { Ok(at + word.len()) } else { wrong("no value", at) }
    }

    fn number(&self, begin: usize) -> Result<usize, JsonError> {
        let digits = |mut at: usize| {
            let from = at;
            while self.byte(at).is_ascii_digit() {
                at += 1;
            }
            if at > from { Ok(at) } else { wrong("no value", begin) }
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
        Ok(at)
    }
}

fn wrong<T>(what: &'static str, at: usize) -> Result<T, JsonError> {
    Err(JsonError { what, at })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde::de::IgnoredAny;

    use super::*;

    fn arena(text: &str) -> Result<Arena, JsonError> {
        let mut trie = Trie::new();
        let known = trie.child(Trie::ROOT, "known");
        trie.child(known, "a");
        let whole = trie.child(Trie::ROOT, "whole");
        trie.whole(whole);
        let mut arena = Arena::default();
        arena.read(&trie, text).map(|_| arena)
    }

    /// JSON, and texts that are nearly JSON, below a name that is skipped, read in part, or read whole.
    fn texts() -> impl Strategy<Value = String> {
        let leaf = prop::sample::select(vec![
            "1",
            "-0.5e+3",
            "01",
            "1.",
            "-",
            "+1",
            "true",
            "nul",
            "null",
            "\"\"",
            "\"a{b\"",
            "\"\\u00e9\\n\"",
            "\"\\x\"",
            "\"\t\"",
            "\"",
            "",
            " {} ",
            "[]",
            "[1,]",
            "{\"a\"}",
            "{\"a\":1,}",
            "{,}",
            "]",
            "}",
            "\u{a0}",
            "\"ä\"",
        ]);
        let value = leaf.prop_map(str::to_owned).prop_recursive(4, 24, 3, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..3).prop_map(|list| format!("[{}]", list.join(","))),
                prop::collection::vec(inner, 0..3).prop_map(|list| {
                    let fields =
                        list.iter().zip(["a", "b\\u0061", "c"]).map(|(value, key)| format!(" \"{key}\" :{value}"));
                    format!("{{{}}}", fields.collect::<Vec<_>>().join(", "))
                }),
            ]
        });
        (prop::sample::select(vec!["known", "whole", "other"]), value)
            .prop_map(|(name, value)| format!("{{\"first\":[0],\"{name}\":{value}}}"))
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(2000))]
        #[test]
        fn what_is_json_is_what_serde_json_says(text in texts()) {
            let expected = serde_json::from_str::<IgnoredAny>(&text).is_ok();
            prop_assert_eq!(arena(&text).is_ok(), expected, "{}", text);
        }
    }

    #[test]
    fn only_an_object_is_a_resource() {
        for text in ["", " ", "[]", "1", "\"x\"", "{", "}", "{}}", "{} x", "{\"a\":1", "{\"a\" 1}", "{a:1}"] {
            assert!(arena(text).is_err(), "{text}");
        }
        assert!(arena(" {\n\"a\" : [ 1 , { } , [ ] ] }\r\n").is_ok());
    }
}
