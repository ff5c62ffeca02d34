//! One resource, from the places of its quotes to the nodes that the views need: the second of two passes.
//! What no view needs is checked to be JSON as well, so that a broken resource is told whatever the views are.

use fhirvest_fhir::{
    quotes::{JsonError, Places, Quotes},
    walk::{Members, Walk, WrittenKey},
};

use crate::{
    arena::{Arena, NONE, Piece, Value, bit},
    trie::{Found, Order, Trie, TrieNode},
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
#[derive(Clone, Copy)]
struct Place {
    found: Found,
    parent: u32,
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
        let fields = Fields::of(Trie::ROOT, trie, root, scan.arena.order());
        let mut object = Object { scan: &mut scan, fields };
        let read = walk.object_of(&mut object);
        let names = object.fields.names;
        scan.arena.name_children(root, names);
        read.ok_or_else(|| walk.into_error())
    }

    /// Reads an object's fields into a node.
    fn fields(&mut self, walk: &mut Resource<'a>, of: u32, parent: u32, open: usize) -> Option<usize> {
        let fields = Fields::of(of, self.trie, parent, self.arena.order());
        let mut object = Object { scan: self, fields };
        let end = walk.members_of(open, &mut object);
        let names = object.fields.names;
        self.arena.name_children(parent, names);
        end
    }

    /// The place of a name that has escapes, or stands where every name leads on.
    #[cold]
    fn find_slowly(&mut self, fields: &Fields<'a>, key: &[u8], escaped: bool) -> Option<usize> {
        let unescaped = || serde_json::from_slice::<String>(&[b"\"", key, b"\""].concat());
        let known = if escaped { Some(unescaped().ok()?) } else { None };
        let key = known.as_ref().map_or(key, String::as_bytes);
        let (others, order) = self.arena.names();
        match fields.node.recursive() {
            true => self.trie.find_everywhere(fields.node, key, others),
            false => fields.node.place(key, fields.expected, (order, fields.slot)),
        }
    }

    /// Reads a value, or one of a list, to be the node after `last`. What most values are costs no call, an object one.
    #[inline(always)]
    fn value(
        &mut self,
        walk: &mut Resource<'a>,
        place: Place,
        last: &mut u32,
        at: usize,
        within_list: bool,
    ) -> Option<usize> {
        let Place { found: Found { name, node, keeping }, parent, position } = place;
        match walk.byte(at) {
            b'"' => {
                let close = walk.string(at);
                if self.escapes && walk.piece(at, close).is_some_and(|text| text.contains('\\')) {
                    *last = self.escaped_text(place.found, (parent, position), *last, walk.piece(at, close + 1)?, at);
                } else {
                    let text = Value::Text(self.piece(at + 1, close));
                    self.leaf(place, last, text);
                }
                Some(close + 1)
            }
            b'{' if !keeping.leaf => {
                let number = self.arena.add(name, last, Value::Object);
                if keeping.paired {
                    self.arena.pair(number, parent, position);
                }
                let end = self.fields(walk, node, number, at)?;
                if keeping.json {
                    let json = Value::Json(self.piece(at, end));
                    self.arena.set(number, json);
                }
                Some(end)
            }
            b'{' | b'[' => {
                let (end, after) = self.nested(walk, place.found, (parent, position), *last, at, within_list)?;
                *last = after;
                Some(end)
            }
            first => {
                let end = walk.primitive(at)?;
                match first {
                    b'n' => {}
                    b't' | b'f' => self.leaf(place, last, Value::Boolean(first == b't')),
                    _ => {
                        let number = Value::Number(self.piece(at, end));
                        self.leaf(place, last, number);
                    }
                }
                Some(end)
            }
        }
    }

    /// Reads an object of which no field is needed, or a list within a list. Gives the place after it and the last node.
    // What a call takes by itself, and not as a whole, need not be in memory where there is no call.
    #[inline(never)]
    fn nested(
        &mut self,
        walk: &mut Resource<'a>,
        found: Found,
        (parent, position): (u32, u32),
        mut last: u32,
        at: usize,
        within_list: bool,
    ) -> Option<(usize, u32)> {
        let mut place = Place { found, parent, position };
        let is_object = walk.byte(at) == b'{';
        // FHIR has no lists of lists: what lies deeper is one value.
        let end = if is_object || found.keeping.leaf && within_list {
            let end = walk.skip(at)?;
            let json = Value::Json(self.piece(at, end));
            self.leaf(place, &mut last, json);
            end
        } else {
            walk.elements(at, |walk, at| {
                let end = self.value(walk, place, &mut last, at, true);
                place.position += 1;
                end
            })?
        };
        Some((end, last))
    }

    // A value that is made in one branch and stored behind all of them goes through memory, its halves written and then read
    // as one, and waits for its own stores: a tenth of the scan. So each branch stores its own.
    #[inline(always)]
    fn leaf(&mut self, place: Place, last: &mut u32, value: Value) {
        let Found { name, keeping, .. } = place.found;
        let number = self.arena.add(name, last, value);
        if keeping.object && !matches!(value, Value::Json(_)) {
            self.arena.odd(number);
        }
        if keeping.paired {
            self.arena.pair(number, place.parent, place.position);
        }
    }

    /// Adds a text with escapes; gives its node.
    #[cold]
    fn escaped_text(
        &mut self,
        found: Found,
        (parent, position): (u32, u32),
        mut last: u32,
        raw: &str,
        open: usize,
    ) -> u32 {
        // A lone surrogate is no text: the JSON stands for it, and counts as a misfit.
        let value = match serde_json::from_str::<String>(raw) {
            Ok(text) => Value::Text(self.arena.keep(&text)),
            Err(_) => Value::Json(self.piece(open, open + raw.len())),
        };
        self.leaf(Place { found, parent, position }, &mut last, value);
        last
    }

    /// The piece of the arena's text that is this text from a place up to another.
    #[inline]
    fn piece(&self, start: usize, end: usize) -> Piece {
        Arena::piece(self.begin + start, self.begin + end)
    }
}

/// An object that is read.
struct Object<'s, 'a> {
    scan: &'s mut Scan<'a>,
    fields: Fields<'a>,
}

impl<'a> Members<'a, Places<'a>> for Object<'_, 'a> {
    #[inline(always)]
    fn expected(&self) -> Option<&'a WrittenKey> {
        self.fields.node.written(self.fields.expected)
    }

    #[inline(always)]
    fn value(&mut self, walk: &mut Resource<'a>, at: usize) -> Option<usize> {
        self.field(walk, self.fields.expected, at)
    }

    #[inline(always)]
    fn member(&mut self, walk: &mut Resource<'a>, key: &'a [u8], at: usize) -> Option<usize> {
        let Self { scan, fields } = self;
        let escaped = scan.escapes && key.contains(&b'\\');
        let place = if escaped || fields.node.recursive() {
            scan.find_slowly(fields, key, escaped)
        } else {
            fields.node.place(key, fields.expected, (scan.arena.names().1, fields.slot))
        };
        match place {
            Some(place) => self.field(walk, place, at),
            None => walk.skip(at),
        }
    }
}

impl<'a> Object<'_, 'a> {
    /// Reads what stands under the name at a place: one node, or one for each element of a list.
    #[inline(always)]
    fn field(&mut self, walk: &mut Resource<'a>, place: usize, at: usize) -> Option<usize> {
        let Self { scan, fields } = self;
        if place < 64 {
            // Of duplicate keys the first counts.
            if fields.seen & (1 << place) != 0 {
                return walk.skip(at);
            }
            fields.seen |= 1 << place;
        }
        let found = if fields.node.recursive() {
            Found { name: Arena::number(place), node: fields.of, keeping: fields.node.keeping() }
        } else {
            fields.slot = fields.node.slot() + 1 + Arena::number(place);
            fields.expected = scan.arena.order().after(fields.slot);
            fields.node.found(place)?
        };
        let before = fields.last;
        let mut place = Place { found, parent: fields.parent, position: 0 };
        let last = &mut fields.last;
        let end = match walk.byte(at) {
            b'[' => walk.elements(at, |walk, at| {
                let end = scan.value(walk, place, last, at, true);
                place.position += 1;
                end
            }),
            _ => scan.value(walk, place, last, at, false),
        };
        if fields.last != before {
            fields.names |= bit(found.name);
        }
        end
    }
}

/// The fields of an object, while they are read.
struct Fields<'a> {
    /// The trie's node, and its number.
    node: &'a TrieNode,
    of: u32,
    /// The arena's.
    parent: u32,
    /// The arena's node of the last field.
    last: u32,
    /// A [`bit`] for each name.
    names: u64,
    /// Where in the order of names they are, and the place of the name that is likely to come next.
    slot: u32,
    expected: usize,
    /// A bit for each place among the trie's names that was met.
    seen: u64,
}

impl<'a> Fields<'a> {
    /// The fields of an object of a node of the trie, to be added below one of the arena.
    #[inline]
    fn of(of: u32, trie: &'a Trie, parent: u32, order: &Order) -> Self {
        let node = trie.node(of);
        let slot = node.slot();
        Self { node, of, parent, last: NONE, names: 0, slot, expected: order.after(slot), seen: 0 }
    }
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
        trie.end();
        let mut arena = Arena::without_shapes();
        // Read twice: the second time the order of its names is known.
        let _ = arena.read(&trie, text);
        arena.clear();
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
    fn what_was_learned_of_the_order_of_names_changes_nothing() {
        let mut trie = Trie::new();
        let known = trie.child(Trie::ROOT, "known");
        let long = trie.child(known, "aNameOfSeventeens");
        for name in ["a", "b", "afterwards", "aNameOfSeventeenS"] {
            trie.child(known, name);
        }
        trie.child(long, "a");
        let whole = trie.child(Trie::ROOT, "whole");
        trie.whole(whole);
        trie.end();
        let texts = [
            r#"{"known":[{"a":1,"b":"2","afterwards":true,"aNameOfSeventeens":{"a":[1,"x"]}},{"a":1,"b":"2"}],"whole":{"a":1}}"#,
            r#"{"known":[{"b":"2","a":1},{"aNameOfSeventeenS":7,"a":1,"a":2}],"whole":{"other":{"a":1}},"known":3}"#,
            r#"{"whole":[1,{"a":[]}], "known" : [ { "a" : 1 , "b":null, "b":"2", "x":{"a":1}, "afterwards":[] } ] }"#,
            r#"{"unknown":{"known":1},"known":{"\u0061":1,"b":"\n","a ":2,"af":3,"afterwardS":4,"b":5}}"#,
            r#"{"known":[{"afterwards":1},{"afterwards":2},{}]}"#,
        ];
        for before in texts {
            for text in texts {
                let (mut fresh, mut arena) = (Arena::without_shapes(), Arena::without_shapes());
                fresh.read(&trie, text).unwrap();
                arena.read(&trie, before).unwrap();
                arena.clear();
                arena.read(&trie, text).unwrap();
                assert_eq!(arena.told(), fresh.told(), "{text} after {before}");
            }
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
