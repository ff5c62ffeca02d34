//! One resource, from the places of its quotes to the nodes that the views need: the second of two passes.
//! What no view needs is checked to be JSON as well, so that a broken resource is told whatever the views are.

use fhirvest_fhir::{
    quotes::{JsonError, Places, Quotes},
    walk::Walk,
};

use crate::{
    arena::{Arena, NONE, Piece, Value},
    trie::{Found, Keeping, Trie},
};

/// A walk through a resource.
type Resource<'a> = Walk<'a, Places<'a>>;

pub(crate) struct Scan<'a> {
    arena: &'a mut Arena,
    trie: &'a Trie,
    /// Where the text begins in the arena's.
    begin: usize,
    /// Whether any string of it has an escape.
    escapes: bool,
}

/// Where a value goes in the arena.
struct Place<'l> {
    /// The trie's node.
    node: u32,
    keeping: Keeping,
    /// The number of the name.
    name: u32,
    parent: u32,
    last: &'l mut u32,
    /// The place in a list.
    position: u32,
}

impl<'a> Scan<'a> {
    /// Reads a text, which has to be one object, and where it begins in the arena's, into a node of the arena.
    pub(crate) fn resource(
        arena: &'a mut Arena,
        trie: &'a Trie,
        (text, begin): (&'a str, usize),
        quotes: &'a Quotes,
        root: u32,
    ) -> Result<(), JsonError> {
        let mut scan = Self { arena, trie, begin, escapes: quotes.escapes() };
        let mut walk = Walk::new(text, quotes.strings());
        let mut fields = Fields { of: Trie::ROOT, parent: root, last: NONE, seen: 0 };
        let read = walk.object(|walk, key, at| scan.field(walk, &mut fields, key, at));
        read.ok_or_else(|| walk.into_error())
    }

    /// Reads an object's fields into a node.
    fn fields(&mut self, walk: &mut Resource<'a>, of: u32, parent: u32, open: usize) -> Option<usize> {
        let mut fields = Fields { of, parent, last: NONE, seen: 0 };
        walk.members(open, |walk, key, at| self.field(walk, &mut fields, key, at))
    }

    #[inline(always)]
    fn field(&mut self, walk: &mut Resource<'a>, fields: &mut Fields, key: &[u8], at: usize) -> Option<usize> {
        let Some(Found { place, name, node }) = self.find(fields.of, key) else { return walk.skip(at) };
        if place < 64 {
            // Of duplicate keys the first counts.
            if fields.seen & (1 << place) != 0 {
                return walk.skip(at);
            }
            fields.seen |= 1 << place;
        }
        let keeping = self.trie.keeping(node);
        let mut place = Place { node, keeping, name, parent: fields.parent, last: &mut fields.last, position: 0 };
        // Most values are strings: those cost no call.
        if walk.byte(at) == b'"' { self.string(walk, &mut place, at) } else { self.value(walk, &mut place, at, false) }
    }

    #[inline(always)]
    fn find(&mut self, of: u32, key: &[u8]) -> Option<Found> {
        if self.escapes && key.contains(&b'\\') {
            return self.find_escaped(of, key);
        }
        self.trie.find(of, key, self.arena.others())
    }

    #[cold]
    fn find_escaped(&mut self, of: u32, key: &[u8]) -> Option<Found> {
        let key: String = serde_json::from_slice(&[b"\"", key, b"\""].concat()).ok()?;
        self.trie.find(of, key.as_bytes(), self.arena.others())
    }

    /// Reads the value of a needed field: one node, or one for each element of a list.
    fn value(&mut self, walk: &mut Resource<'a>, place: &mut Place<'_>, at: usize, within_list: bool) -> Option<usize> {
        match walk.byte(at) {
            b'"' => self.string(walk, place, at),
            // FHIR has no lists of lists: what lies deeper is one value.
            open @ (b'{' | b'[') if place.keeping.leaf && (open == b'{' || within_list) => {
                let end = walk.skip(at)?;
                let json = Value::Json(self.piece(at, end));
                self.leaf(place, json);
                Some(end)
            }
            b'{' => {
                let number = self.arena.add(place.name, place.parent, place.last, Value::Object);
                if place.keeping.paired {
                    self.arena.pair(number, place.parent, place.position);
                }
                let end = self.fields(walk, place.node, number, at)?;
                if place.keeping.json {
                    let json = Value::Json(self.piece(at, end));
                    self.arena.set(number, json);
                }
                Some(end)
            }
            b'[' => walk.elements(at, |walk, at| {
                let end = self.value(walk, place, at, true);
                place.position += 1;
                end
            }),
            first => {
                let end = walk.primitive(at)?;
                match first {
                    b'n' => {}
                    b't' | b'f' => self.leaf(place, Value::Boolean(first == b't')),
                    _ => {
                        let number = Value::Number(self.piece(at, end));
                        self.leaf(place, number);
                    }
                }
                Some(end)
            }
        }
    }

    #[inline(always)]
    fn string(&mut self, walk: &mut Resource<'a>, place: &mut Place<'_>, at: usize) -> Option<usize> {
        let close = walk.string(at);
        if self.escapes && walk.piece(at, close).is_some_and(|text| text.contains('\\')) {
            self.escaped_text(place, walk.piece(at, close + 1)?, at);
        } else {
            let text = Value::Text(self.piece(at + 1, close));
            self.leaf(place, text);
        }
        Some(close + 1)
    }

    // A value that is made in one branch and stored behind all of them goes through memory, its halves written and then read
    // as one, and waits for its own stores: a tenth of the scan. So each branch stores its own.
    #[inline(always)]
    fn leaf(&mut self, place: &mut Place<'_>, value: Value) {
        let number = self.arena.add(place.name, place.parent, place.last, value);
        if place.keeping.object && !matches!(value, Value::Json(_)) {
            self.arena.odd(number);
        }
        if place.keeping.paired {
            self.arena.pair(number, place.parent, place.position);
        }
    }

    #[cold]
    fn escaped_text(&mut self, place: &mut Place<'_>, raw: &str, open: usize) {
        // A lone surrogate is no text: the JSON stands for it, and counts as a misfit.
        let value = match serde_json::from_str::<String>(raw) {
            Ok(text) => Value::Text(self.arena.keep(&text)),
            Err(_) => Value::Json(self.piece(open, open + raw.len())),
        };
        self.leaf(place, value);
    }

    /// The piece of the arena's text that is this text from a place up to another.
    #[inline]
    fn piece(&self, start: usize, end: usize) -> Piece {
        Arena::piece(self.begin + start, self.begin + end)
    }
}

/// The fields of an object, while they are read.
struct Fields {
    /// The trie's node.
    of: u32,
    /// The arena's.
    parent: u32,
    /// The arena's node of the last field.
    last: u32,
    /// A bit for each place among the trie's names that was met.
    seen: u64,
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
