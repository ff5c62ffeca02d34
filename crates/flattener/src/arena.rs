//! One resource, pruned to what the views need, as a flat list of nodes that is used again for the next.
//!
//! JSON arrays dissolve: an element with several values is several children of the same name, in order, which is what a
//! FHIRPath collection is. Strings and numbers are places in the text, so nothing is copied but strings with escapes.

use fhirvest_fhir::quotes::{JsonError, Quotes};

use crate::{scan::Scan, trie::Trie};

/// A number that stands for no node.
pub(crate) const NONE: u32 = u32::MAX;

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
    /// A bit for each name among the children; names share bits.
    names: u64,
    pub(crate) value: Value,
}

#[inline]
fn bit(name: u32) -> u64 {
    1 << (name & 63)
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
    /// Values that are no objects where R4 has some. Nearly always there are none.
    odd: Vec<u32>,
    /// Nodes that others belong to, in order, each with its parent and its place in a list.
    paired: Vec<(u32, u32, u32)>,
    quotes: Quotes,
}

impl Arena {
    /// Reads a resource, keeping what the trie names. The root is node 0.
    pub(crate) fn read(&mut self, trie: &Trie, text: &str) -> Result<(), JsonError> {
        self.nodes.clear();
        self.side.clear();
        self.others.clear();
        self.odd.clear();
        self.paired.clear();
        self.roots.clear();
        self.roots.resize(trie.names(), NONE);
        self.nodes.push(Node { name: NONE, next: NONE, first_child: NONE, names: 0, value: Value::Object });
        let mut quotes = std::mem::take(&mut self.quotes);
        let read = quotes.find(text.as_bytes()).and_then(|()| Scan::new(self, trie, text, &quotes).resource());
        self.quotes = quotes;
        read
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
        let parent = &self.nodes[of as usize];
        // Most elements are not there.
        if parent.names & bit(name) == 0 {
            return NONE;
        }
        let mut next = parent.first_child;
        while next != NONE {
            let node = &self.nodes[next as usize];
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

    /// The names that no path knows.
    pub(crate) fn others(&mut self) -> &mut Vec<String> {
        &mut self.others
    }

    /// Whether some value is no object where R4 has one.
    #[inline]
    pub(crate) fn has_odd(&self) -> bool {
        !self.odd.is_empty()
    }

    /// Whether a node is such a value.
    #[inline]
    pub(crate) fn is_odd(&self, number: u32) -> bool {
        self.has_odd() && self.odd.binary_search(&number).is_ok()
    }

    /// Says that a node, the latest, is such a value.
    pub(crate) fn odd(&mut self, number: u32) {
        self.odd.push(number);
    }

    /// Keeps the parent of a node, the latest, and its place in a list.
    pub(crate) fn pair(&mut self, number: u32, parent: u32, place: u32) {
        self.paired.push((number, parent, place));
    }

    /// The parent of a node and its place in a list, if they were kept.
    pub(crate) fn pair_of(&self, number: u32) -> Option<(u32, u32)> {
        let found = self.paired.binary_search_by_key(&number, |(number, ..)| *number).ok()?;
        self.paired.get(found).map(|(_, parent, place)| (*parent, *place))
    }

    /// Says what a node is, once that is known.
    pub(crate) fn set(&mut self, number: u32, value: Value) {
        self.nodes[number as usize].value = value;
    }

    /// Adds a computed text.
    pub(crate) fn keep(&mut self, text: &str) -> Piece {
        let start = size(self.side.len());
        self.side.push_str(text);
        Piece { start, length: size(text.len()), side: true }
    }

    /// The piece of the resource's text from a place up to another.
    #[inline]
    pub(crate) fn piece(start: usize, end: usize) -> Piece {
        Piece { start: size(start), length: size(end - start), side: false }
    }

    /// The piece of another piece.
    pub(crate) fn part(piece: Piece, start: usize, length: usize) -> Piece {
        Piece { start: piece.start + size(start), length: size(length), side: piece.side }
    }

    /// Adds a node after its neighbour `last`.
    #[inline]
    pub(crate) fn add(&mut self, name: u32, parent: u32, last: &mut u32, value: Value) -> u32 {
        let number = size(self.nodes.len());
        self.nodes.push(Node { name, next: NONE, first_child: NONE, names: 0, value });
        self.nodes[parent as usize].names |= bit(name);
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
