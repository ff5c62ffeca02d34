//! One resource, pruned to what the views need, as a flat list of nodes that is used again for the next.
//!
//! JSON arrays dissolve: an element with several values is several children of the same name, in order, which is what a
//! FHIRPath collection is. Strings and numbers are places in the text, so nothing is copied but strings with escapes.

use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::value::RawValue;

/// A number that stands for no node.
pub(crate) const NONE: u32 = u32::MAX;

/// Values within each other, as many as serde_json allows: each level has its own parser here, which counts from zero.
const DEEPEST: usize = 128;

/// A resource of this size may be deep enough for a trap in what is skipped, which the parser does not count.
const LARGE: usize = 16 << 10;

/// Whether brackets outside strings stand deeper within each other.
fn deeper_than(most: usize, json: &str) -> bool {
    let (mut depth, mut in_string, mut escaped) = (0_usize, false, false);
    for byte in json.bytes() {
        match byte {
            _ if escaped => escaped = false,
            b'\\' if in_string => escaped = true,
            b'"' => in_string = !in_string,
            b'{' | b'[' if !in_string => {
                depth += 1;
                if depth > most {
                    return true;
                }
            }
            b'}' | b']' if !in_string => depth = depth.saturating_sub(1),
            _ => {}
        }
    }
    false
}

/// The names that the views need, by where they stand.
#[derive(Debug, Clone, Default)]
pub(crate) struct Trie {
    nodes: Vec<TrieNode>,
    names: Vec<String>,
}

#[derive(Debug, Clone, Default)]
struct TrieNode {
    /// The element's name, the number of the name, the node.
    children: Vec<(String, u32, u32)>,
    /// The signatures of the children's names, in the same order.
    signatures: Vec<u64>,
    /// Every known name below leads here again: what `repeat` walks has no fixed depth.
    recursive: bool,
    /// Names that no path knows are kept as well: everything below is asked for.
    whole: bool,
    /// An object is kept as its JSON besides its needed fields.
    json: bool,
}

impl Trie {
    pub(crate) const ROOT: u32 = 0;

    /// The number of the name `resourceType`.
    pub(crate) const RESOURCE_TYPE: u32 = 0;

    pub(crate) fn new() -> Self {
        let mut trie = Self { nodes: vec![TrieNode::default()], names: Vec::new() };
        trie.child(Self::ROOT, "resourceType");
        trie
    }

    /// The node of an element below another, made where there is none.
    pub(crate) fn child(&mut self, of: u32, name: &str) -> u32 {
        if self.nodes[of as usize].recursive {
            self.name(name);
            return of;
        }
        let known = self.nodes[of as usize].children.iter().find(|(known, _, _)| known == name);
        if let Some((_, _, node)) = known {
            return *node;
        }
        let number = self.name(name);
        let node = u32::try_from(self.nodes.len()).unwrap_or(NONE);
        self.nodes.push(TrieNode::default());
        self.nodes[of as usize].children.push((name.to_owned(), number, node));
        self.nodes[of as usize].signatures.push(signature(name.as_bytes()));
        node
    }

    /// Keeps everything of a known name below a node, however deep.
    pub(crate) fn repeat(&mut self, node: u32) {
        // What was already known of the node stays known: its names are among the names.
        self.nodes[node as usize].recursive = true;
    }

    /// Keeps everything below a node, whatever its name.
    pub(crate) fn whole(&mut self, node: u32) {
        self.nodes[node as usize].recursive = true;
        self.nodes[node as usize].whole = true;
    }

    /// Keeps a node's JSON besides its fields.
    pub(crate) fn json(&mut self, node: u32) {
        self.nodes[node as usize].json = true;
    }

    /// The number of a name.
    pub(crate) fn name(&mut self, name: &str) -> u32 {
        let place = self.names.iter().position(|known| known == name).unwrap_or_else(|| {
            self.names.push(name.to_owned());
            self.names.len() - 1
        });
        u32::try_from(place).unwrap_or(NONE)
    }

    /// What leads on from a node under a name; `others` are the names that only the resource has.
    fn find(&self, of: u32, name: &str, others: &mut Vec<String>) -> Option<(usize, u32, u32)> {
        let node = &self.nodes[of as usize];
        if node.recursive {
            let known = self.names.iter().position(|known| known == name);
            let place = match known {
                Some(place) => place,
                // `_birthDate` has the extensions of a primitive, and is no element.
                None if node.whole && !name.starts_with('_') => {
                    let place = others.iter().position(|known| known == name).unwrap_or_else(|| {
                        others.push(name.to_owned());
                        others.len() - 1
                    });
                    self.names.len() + place
                }
                None => return None,
            };
            return Some((place, u32::try_from(place).unwrap_or(NONE), of));
        }
        let wanted = signature(name.as_bytes());
        let mut alike = node.signatures.iter().zip(&node.children).enumerate();
        // Names of up to eight bytes are equal where their signatures and lengths are.
        let same = |known: &str| known.len() == name.len() && (name.len() <= 8 || known == name);
        alike.find_map(|(place, (signature, (known, number, node)))| {
            (*signature == wanted && same(known)).then_some((place, *number, *node))
        })
    }

    /// Whether a node is read from its raw text: by rules of its own, or to keep that as well.
    fn reads_text(&self, node: u32) -> bool {
        self.nodes[node as usize].recursive || self.nodes[node as usize].json
    }

    fn is_leaf(&self, node: u32) -> bool {
        self.nodes[node as usize].children.is_empty() && !self.nodes[node as usize].recursive
    }
}

/// Eight bytes that tell most names apart: all bytes of short names, else the first four and the last four.
fn signature(name: &[u8]) -> u64 {
    let four = |bytes: &[u8]| match bytes {
        [a, b, c, d] => u64::from(u32::from_le_bytes([*a, *b, *c, *d])),
        _ => 0,
    };
    match name {
        [] => 0,
        [a] => u64::from(*a),
        [a, b] => u64::from(u16::from_le_bytes([*a, *b])),
        [a, b, c] => u64::from(u32::from_le_bytes([*a, *b, *c, 0])),
        _ => four(&name[..4]) | (four(&name[name.len() - 4..]) << 32),
    }
}

/// A piece of text: of the resource, or of the side text that holds what is not verbatim in it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Piece {
    start: u32,
    length: u32,
    side: bool,
}

#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Value {
    /// An object of which some fields are needed.
    Object,
    /// A string.
    Text(Piece),
    /// A number, as written.
    Number(Piece),
    Boolean(bool),
    /// An object that is wanted as its JSON. Its fields are children where they are needed as well.
    Json(Piece),
}

#[derive(Debug, Clone, Copy)]
pub(crate) struct Node {
    /// The number of the element's name.
    pub(crate) name: u32,
    pub(crate) next: u32,
    pub(crate) first_child: u32,
    pub(crate) value: Value,
}

/// The nodes of one resource.
#[derive(Debug, Default)]
pub(crate) struct Arena {
    nodes: Vec<Node>,
    side: String,
    /// Names that no path knows, of what is kept whole.
    others: Vec<String>,
    /// The first child of the root under each name: most paths begin there.
    roots: Vec<u32>,
    /// Values within each other below a node of no fixed depth.
    depth: usize,
}

impl Arena {
    /// Reads a resource, keeping what the trie names. The root is node 0.
    pub(crate) fn read(&mut self, trie: &Trie, text: &str) -> Result<(), serde_json::Error> {
        self.nodes.clear();
        self.side.clear();
        self.others.clear();
        self.roots.clear();
        self.roots.resize(trie.names.len(), NONE);
        self.depth = 0;
        self.nodes.push(Node { name: NONE, next: NONE, first_child: NONE, value: Value::Object });
        if text.len() >= LARGE && deeper_than(DEEPEST, text) {
            return Err(serde::de::Error::custom("nested too deeply"));
        }
        let mut parser = serde_json::Deserializer::from_str(text);
        let seed = Root { arena: self, trie, text };
        parser.deserialize_map(seed)?;
        parser.end()
    }

    #[inline]
    pub(crate) fn node(&self, number: u32) -> Node {
        self.nodes[number as usize]
    }

    /// The first child of a node under a name; its neighbours of the same name follow it.
    #[inline]
    pub(crate) fn first(&self, of: u32, name: u32) -> u32 {
        if of == 0 {
            return self.roots.get(name as usize).copied().unwrap_or(NONE);
        }
        let mut next = self.node(of).first_child;
        while next != NONE {
            let node = self.node(next);
            if node.name == name {
                break;
            }
            next = node.next;
        }
        next
    }

    pub(crate) fn text<'t>(&'t self, resource: &'t str, piece: Piece) -> &'t str {
        let base = if piece.side { self.side.as_str() } else { resource };
        base.get(piece.start as usize..(piece.start + piece.length) as usize).unwrap_or_default()
    }

    /// Adds a computed text.
    pub(crate) fn keep(&mut self, text: &str) -> Piece {
        let start = size(self.side.len());
        self.side.push_str(text);
        Piece { start, length: size(text.len()), side: true }
    }

    /// The piece of another piece.
    pub(crate) fn part(piece: Piece, start: usize, length: usize) -> Piece {
        Piece { start: piece.start + size(start), length: size(length), side: piece.side }
    }

    fn add(&mut self, name: u32, parent: u32, last: &mut u32, value: Value) -> u32 {
        let number = size(self.nodes.len());
        self.nodes.push(Node { name, next: NONE, first_child: NONE, value });
        if *last == NONE {
            self.nodes[parent as usize].first_child = number;
        } else {
            self.nodes[*last as usize].next = number;
        }
        if parent == 0
            && let Some(first) = self.roots.get_mut(name as usize).filter(|first| **first == NONE)
        {
            *first = number;
        }
        *last = number;
        number
    }
}

/// Resources are limited to less than 4 GiB by whoever reads them; beyond that a place is simply out of the text.
fn size(length: usize) -> u32 {
    u32::try_from(length).unwrap_or(NONE)
}

/// The fields of an object.
struct Root<'a> {
    arena: &'a mut Arena,
    trie: &'a Trie,
    text: &'a str,
}

impl<'de> Visitor<'de> for Root<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a resource")
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<(), A::Error> {
        fields(self.arena, self.trie, self.text, Trie::ROOT, 0, map)
    }
}

fn fields<'de, A: MapAccess<'de>>(
    arena: &mut Arena,
    trie: &Trie,
    text: &str,
    at: u32,
    parent: u32,
    mut map: A,
) -> Result<(), A::Error> {
    let (mut last, mut seen) = (NONE, 0_u64);
    while let Some(found) = map.next_key_seed(KeySeed { trie, at, others: &mut arena.others })? {
        match found {
            // Of duplicate keys the first counts.
            Some((place, _, _)) if place < 64 && seen & (1 << place) != 0 => {
                map.next_value::<IgnoredAny>()?;
            }
            Some((place, name, node)) => {
                if place < 64 {
                    seen |= 1 << place;
                }
                map.next_value_seed(ValueSeed {
                    arena: &mut *arena,
                    trie,
                    text,
                    node,
                    name,
                    parent,
                    last: &mut last,
                    json: None,
                })?;
            }
            None => {
                map.next_value::<IgnoredAny>()?;
            }
        }
    }
    Ok(())
}

struct KeySeed<'a> {
    trie: &'a Trie,
    at: u32,
    others: &'a mut Vec<String>,
}

impl<'de> DeserializeSeed<'de> for KeySeed<'_> {
    type Value = Option<(usize, u32, u32)>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_str(self)
    }
}

impl Visitor<'_> for KeySeed<'_> {
    type Value = Option<(usize, u32, u32)>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a key")
    }

    fn visit_str<E>(self, key: &str) -> Result<Self::Value, E> {
        Ok(self.trie.find(self.at, key, self.others))
    }
}

/// The value of a needed field: one node, or one for each element of an array.
struct ValueSeed<'a, 'l> {
    arena: &'a mut Arena,
    trie: &'a Trie,
    text: &'a str,
    node: u32,
    name: u32,
    parent: u32,
    last: &'l mut u32,
    /// The JSON of the object that is being read, where it is kept.
    json: Option<Piece>,
}

impl<'de> DeserializeSeed<'de> for ValueSeed<'_, '_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        if self.trie.is_leaf(self.node) {
            // The raw text is found without reading it twice, and keeps a number's digits.
            let raw = <&RawValue as serde::Deserialize>::deserialize(deserializer)?;
            let start = raw.get().as_ptr().addr().wrapping_sub(self.text.as_ptr().addr());
            leaf(self.arena, raw.get(), start, false, self.name, self.parent, self.last);
            Ok(())
        } else if self.trie.reads_text(self.node) {
            // Everything may stand here, numbers too, whose digits only the raw text has.
            let raw = <&RawValue as serde::Deserialize>::deserialize(deserializer)?;
            self.recursive(raw.get()).map_err(serde::de::Error::custom)
        } else {
            deserializer.deserialize_any(self)
        }
    }
}

fn leaf(arena: &mut Arena, raw: &str, start: usize, within_list: bool, name: u32, parent: u32, last: &mut u32) {
    let piece = |from: usize, length: usize| Piece { start: size(start + from), length: size(length), side: false };
    let value = match raw.as_bytes().first() {
        Some(b'"') => {
            let inner = &raw[1..raw.len() - 1];
            if !inner.contains('\\') {
                Value::Text(piece(1, inner.len()))
            } else if let Ok(text) = serde_json::from_str::<String>(raw) {
                Value::Text(arena.keep(&text))
            } else {
                // A lone surrogate is no text: the JSON stands for it, and counts as a misfit.
                Value::Json(piece(0, raw.len()))
            }
        }
        Some(b'{') => Value::Json(piece(0, raw.len())),
        // FHIR has no lists of lists: what lies deeper is one value, so that depth can't end the stack.
        Some(b'[') if within_list => Value::Json(piece(0, raw.len())),
        Some(b'[') => {
            let leaves = Leaves { arena, raw, start, name, parent, last };
            // The raw text was read before: it is a list.
            let _ = serde_json::Deserializer::from_str(raw).deserialize_seq(leaves);
            return;
        }
        Some(b't') => Value::Boolean(true),
        Some(b'f') => Value::Boolean(false),
        Some(b'n') | None => return,
        Some(_) => Value::Number(piece(0, raw.len())),
    };
    arena.add(name, parent, last, value);
}

/// The elements of a list of which no field is needed.
struct Leaves<'a, 'l> {
    arena: &'a mut Arena,
    raw: &'a str,
    start: usize,
    name: u32,
    parent: u32,
    last: &'l mut u32,
}

impl<'de> Visitor<'de> for Leaves<'_, '_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a list")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<(), A::Error> {
        let Self { arena, raw, start, name, parent, last } = self;
        while let Some(element) = seq.next_element::<&RawValue>()? {
            let within = element.get().as_ptr().addr().wrapping_sub(raw.as_ptr().addr());
            leaf(arena, element.get(), start + within, true, name, parent, last);
        }
        Ok(())
    }
}

impl<'de> Visitor<'de> for ValueSeed<'_, '_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a value")
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<(), A::Error> {
        let value = self.json.map_or(Value::Object, Value::Json);
        let number = self.arena.add(self.name, self.parent, self.last, value);
        fields(self.arena, self.trie, self.text, self.node, number, map)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<(), A::Error> {
        let Self { arena, trie, text, node, name, parent, last, .. } = self;
        while seq
            .next_element_seed(ValueSeed {
                arena: &mut *arena,
                trie,
                text,
                node,
                name,
                parent,
                last: &mut *last,
                json: None,
            })?
            .is_some()
        {}
        Ok(())
    }

    // Something else where an object belongs: it has none of the fields that are needed, but it is there.
    fn visit_unit<E>(self) -> Result<(), E> {
        Ok(())
    }

    fn visit_bool<E>(self, value: bool) -> Result<(), E> {
        self.arena.add(self.name, self.parent, self.last, Value::Boolean(value));
        Ok(())
    }

    fn visit_str<E>(self, text: &str) -> Result<(), E> {
        let piece = self.arena.keep(text);
        self.arena.add(self.name, self.parent, self.last, Value::Text(piece));
        Ok(())
    }

    fn visit_i64<E>(self, number: i64) -> Result<(), E> {
        self.number(&number.to_string())
    }

    fn visit_u64<E>(self, number: u64) -> Result<(), E> {
        self.number(&number.to_string())
    }

    fn visit_f64<E>(self, number: f64) -> Result<(), E> {
        self.number(&number.to_string())
    }
}

impl ValueSeed<'_, '_> {
    fn recursive(self, raw: &str) -> Result<(), serde_json::Error> {
        let start = raw.as_ptr().addr().wrapping_sub(self.text.as_ptr().addr());
        if !raw.starts_with(['{', '[']) {
            leaf(self.arena, raw, start, false, self.name, self.parent, self.last);
            return Ok(());
        }
        if self.arena.depth >= DEEPEST {
            return Err(serde::de::Error::custom("nested too deeply"));
        }
        self.arena.depth += 1;
        let arena = &mut *self.arena;
        let json = raw.starts_with('{').then(|| Piece { start: size(start), length: size(raw.len()), side: false });
        let seed = ValueSeed { arena: &mut *arena, last: &mut *self.last, json, ..self };
        let read = serde_json::Deserializer::from_str(raw).deserialize_any(seed);
        arena.depth -= 1;
        read
    }

    #[allow(clippy::unnecessary_wraps, reason = "the visitor's methods return results")]
    fn number<E>(self, text: &str) -> Result<(), E> {
        let piece = self.arena.keep(text);
        self.arena.add(self.name, self.parent, self.last, Value::Number(piece));
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn children(arena: &Arena, of: u32) -> Vec<Node> {
        let mut found = Vec::new();
        let mut next = arena.node(of).first_child;
        while next != NONE {
            found.push(arena.node(next));
            next = arena.node(next).next;
        }
        found
    }

    #[test]
    fn arrays_dissolve_and_only_what_is_needed_is_kept() {
        let mut trie = Trie::new();
        let name = trie.child(Trie::ROOT, "name");
        trie.child(name, "given");
        trie.child(Trie::ROOT, "rank");
        let text = r#"{"id":"x","name":[{"given":["A","\u0042"],"family":"F"},null,{"given":["C"]}],"rank":[1.50,null,"x"],"name":"again"}"#;
        let mut arena = Arena::default();
        arena.read(&trie, text).unwrap();
        let found = children(&arena, 0);
        assert_eq!(found.len(), 4);
        let given = children(&arena, 1);
        let texts: Vec<&str> = given
            .iter()
            .map(|node| match node.value {
                Value::Text(piece) => arena.text(text, piece),
                _ => "?",
            })
            .collect();
        assert_eq!(texts, ["A", "B"]);
        assert!(matches!(found[2].value, Value::Number(piece) if arena.text(text, piece) == "1.50"));
    }

    #[test]
    fn deep_json_is_an_error_not_an_overflow() {
        let mut trie = Trie::new();
        trie.child(Trie::ROOT, "a");
        let mut arena = Arena::default();
        let deep = format!("{{\"a\":{}1{}}}", "[".repeat(10_000), "]".repeat(10_000));
        let _ = arena.read(&trie, &deep);
        let deep = "{\"b\":".repeat(10_000);
        assert!(arena.read(&trie, &deep).is_err());
        assert!(arena.read(&trie, "[]").is_err());
        let skipped = |levels: usize| format!("{{\"b\":{}{}}}", "[".repeat(levels), "]".repeat(levels));
        assert!(arena.read(&trie, &skipped(10_000)).is_err(), "what no view needs may not be a trap either");
        let text = format!("{{\"b\":[\"{}\\\"{}\"],\"a\":1}}", "[".repeat(20_000), "{".repeat(20_000));
        assert!(arena.read(&trie, &text).is_ok(), "brackets in strings are none");
        assert!(arena.read(&trie, "{} x").is_err());
    }

    #[test]
    fn repeated_elements_keep_their_digits_and_have_a_limit() {
        let mut trie = Trie::new();
        let item = trie.child(Trie::ROOT, "item");
        trie.repeat(item);
        trie.child(item, "item");
        trie.child(item, "value");
        let mut arena = Arena::default();
        let text = r#"{"item":{"x":1,"item":[{"value":1.50}]}}"#;
        arena.read(&trie, text).unwrap();
        let inner = children(&arena, 2);
        assert!(matches!(inner[0].value, Value::Number(piece) if arena.text(text, piece) == "1.50"));
        let deep = format!("{}1{}", "{\"item\":".repeat(10_000), "}".repeat(10_000));
        assert!(arena.read(&trie, &deep).is_err());
    }
}
