//! A few resources, pruned to what the views need, as a flat list of nodes that is used again for the next ones.
//!
//! JSON arrays dissolve: an element with several values is several children of the same name, in order, which is what a
//! FHIRPath collection is. Strings and numbers are places in the text of the resources, which is copied once, as a whole;
//! strings with escapes follow it.

use fhirvest_fhir::quotes::{JsonError, Quotes};

use crate::{
    automaton::{Automaton, Shapes},
    scan::Scan,
    trie::{Order, Trie},
};

/// A number that stands for no node.
pub(crate) const NONE: u32 = u32::MAX;

/// Stands for several nodes where one is wanted.
pub(crate) const SEVERAL: u32 = NONE - 1;

/// A piece of the arena's text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Piece {
    start: u32,
    length: u32,
}

impl Piece {
    /// Where it begins in the arena's text, and its length.
    #[inline]
    pub(crate) fn place(self) -> (usize, usize) {
        (self.start as usize, self.length as usize)
    }

    /// Stands for a piece that has a number somewhere.
    pub(crate) fn numbered(start: u32) -> Self {
        Self { start, length: 0 }
    }

    /// The number that it stands for.
    #[inline]
    pub(crate) fn number(self) -> usize {
        self.start as usize
    }
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
    /// The number of the element's name; [`NONE`] for a resource.
    pub(crate) name: u32,
    /// The next element beside it; for a resource, its place among the resources.
    pub(crate) next: u32,
    /// A [`bit`] for each name among the children; names share bits. The first child of a node that has any is the node after it.
    pub(crate) names: u64,
    pub(crate) value: Value,
}

/// The bit of a name.
#[inline]
pub(crate) fn bit(name: u32) -> u64 {
    1 << (name & 63)
}

/// The nodes of some resources.
#[derive(Debug, Default)]
pub(crate) struct Arena {
    nodes: Vec<Node>,
    text: String,
    /// Names that no path knows, of what is kept whole.
    others: Vec<String>,
    /// The node of each resource; [`NONE`] while it has none, because its shape is known.
    resources: Vec<u32>,
    /// For each resource, its first child under each name: most paths begin there.
    tops: Vec<u32>,
    /// Values that are no objects where R4 has some. Nearly always there are none.
    odd: Vec<u32>,
    /// Nodes that others belong to, in order, each with its parent and its place in a list.
    paired: Vec<(u32, u32, u32)>,
    /// Names that the trie knows.
    names: usize,
    quotes: Quotes,
    /// The order of names in the resources before.
    order: Order,
    /// Each resource's shape, [`NONE`] where it is not known, and the first of its values.
    shape_of: Vec<(u32, u32)>,
    /// The values of the resources of known shapes.
    values: Vec<Piece>,
    /// How the resources before were written, as a whole and piece by piece; none before the first.
    shapes: Option<Box<Shapes>>,
    automaton: Option<Box<Automaton>>,
}

impl Arena {
    /// Forgets all resources.
    pub(crate) fn clear(&mut self) {
        self.nodes.clear();
        self.text.clear();
        self.others.clear();
        self.resources.clear();
        self.shape_of.clear();
        self.values.clear();
        self.tops.clear();
        self.odd.clear();
        self.paired.clear();
    }

    /// Adds a resource, keeping what the trie names. A text that is no JSON object leaves nothing behind.
    pub(crate) fn read(&mut self, trie: &Trie, text: &str) -> Result<(), JsonError> {
        let (before, first) = (self.text.len(), self.values.len());
        if u32::try_from(before + 2 * text.len()).is_err() {
            return Err(JsonError { what: "more than 4 GiB", at: 0 });
        }
        if self.names != trie.names() {
            // The first resource: an arena has one trie.
            (self.names, self.order, self.automaton) = (trie.names(), trie.order(), None);
        }
        self.text.push_str(text);
        let mut shapes = self.shapes.take().unwrap_or_default();
        let shape = shapes.read(self, (text, before));
        self.shape_of.push((shape.unwrap_or(NONE), size(first)));
        self.resources.push(NONE);
        let read = if shape.is_none() {
            self.values.truncate(first);
            self.text.truncate(before + text.len());
            self.read_by_pieces(trie, (text, before), &mut shapes)
        } else {
            Ok(())
        };
        self.shapes = Some(shapes);
        read.inspect_err(|_| self.forget_last(before))
    }

    /// Adds the node of a resource, by its place among the resources.
    fn add_resource(&mut self, place: usize) -> u32 {
        let root = size(self.nodes.len());
        self.resources[place] = root;
        self.nodes.push(Node { name: NONE, next: size(place), names: 0, value: Value::Object });
        self.tops.resize(self.tops.len().max((place + 1) * self.names), NONE);
        root
    }

    /// Makes the nodes of a resource of a known shape, by its place among the resources, unless they are there.
    pub(crate) fn grow(&mut self, place: usize) {
        let (shape, first) = self.shape_of[place];
        if shape == NONE || self.resources[place] != NONE {
            return;
        }
        let root = self.add_resource(place);
        let Some(shapes) = &self.shapes else { return };
        let (names, nodes, tops) = shapes.nodes(shape, root, &self.values[first as usize..]);
        self.nodes.extend(nodes);
        for (top, node) in self.tops[place * self.names..].iter_mut().zip(tops) {
            *top = node;
        }
        self.name_children(root, names);
    }

    /// Reads a text, which begins at a place of the arena's, into the nodes of the latest resource, piece by piece or thoroughly,
    /// has it learned, and keeps its shape if that is wanted.
    fn read_by_pieces(
        &mut self,
        trie: &Trie,
        (text, begin): (&str, usize),
        shapes: &mut Shapes,
    ) -> Result<(), JsonError> {
        let place = self.resources.len() - 1;
        let root = self.add_resource(place);
        let first = root as usize;
        let (odd, paired) = (self.odd.len(), self.paired.len());
        let mut automaton = self.automaton.take().unwrap_or_else(|| Box::new(Automaton::new()));
        let mut quotes = std::mem::take(&mut self.quotes);
        let is_known = automaton.read(self, (text, begin), root);
        let read = if is_known {
            Ok(())
        } else {
            self.nodes.truncate(first + 1);
            self.text.truncate(begin + text.len());
            let found = quotes.find(text.as_bytes());
            found.and_then(|()| Scan::resource(self, trie, (text, begin), &quotes, root))
        };
        if read.is_ok() {
            self.note_first_of_resource(root);
        }
        if read.is_ok() && (self.odd.len(), self.paired.len()) == (odd, paired) {
            if !is_known {
                automaton.learn(trie, text, &quotes);
            }
            // The automaton looks for no quotes.
            if shapes.wants() && (!is_known || quotes.find(text.as_bytes()).is_ok()) {
                let tops = &self.tops[place * self.names..];
                shapes.keep(trie, (text, begin), &quotes, (root, &self.nodes[first..], tops));
            }
        }
        (self.automaton, self.quotes) = (Some(automaton), quotes);
        read
    }

    /// Takes the last resource back, and the text from a place on.
    fn forget_last(&mut self, text: usize) {
        let (Some(root), Some((_, first))) = (self.resources.pop(), self.shape_of.pop()) else { return };
        self.values.truncate(first as usize);
        self.text.truncate(text);
        self.tops.truncate(self.resources.len() * self.names);
        if root != NONE {
            self.nodes.truncate(root as usize);
            self.odd.truncate(self.odd.partition_point(|number| *number < root));
            self.paired.truncate(self.paired.partition_point(|(number, ..)| *number < root));
        }
    }

    /// Takes the last resource back unless it is of a type.
    pub(crate) fn keep_last_if_of(&mut self, resource_type: &str) -> bool {
        let piece = match (self.shape_of.last(), self.resources.last()) {
            (Some((shape, first)), Some(&NONE)) => {
                let value = self.shapes.as_ref().and_then(|shapes| shapes.resource_type(*shape));
                value.and_then(|value| self.values.get(*first as usize + value)).copied()
            }
            (_, Some(root)) => match self.first(*root, Trie::RESOURCE_TYPE) {
                NONE => None,
                first => {
                    if let Value::Text(piece) = self.node(first).value {
                        Some(piece)
                    } else {
                        None
                    }
                }
            },
            _ => None,
        };
        let keep = piece.is_some_and(|piece| self.text(piece) == resource_type);
        if !keep {
            // Its text stays until all is cleared.
            self.forget_last(self.text.len());
        }
        keep
    }

    /// The node of each resource; [`NONE`] while it has none, because its shape is known.
    pub(crate) fn resources(&self) -> &[u32] {
        &self.resources
    }

    /// The shape of each resource, [`NONE`] where it is not known, and the first of its values.
    pub(crate) fn shapes(&self) -> &[(u32, u32)] {
        &self.shape_of
    }

    /// The values of the resources of known shapes.
    #[inline(always)]
    pub(crate) fn values(&self) -> &[Piece] {
        &self.values
    }

    /// Adds a value of a resource of a known shape.
    #[inline(always)]
    pub(crate) fn add_value(&mut self, value: Piece) {
        self.values.push(value);
    }

    /// The place of a resource among the resources, by its node.
    pub(crate) fn place(&self, root: u32) -> u32 {
        self.nodes[root as usize].next
    }

    /// Bytes of text held.
    pub(crate) fn bytes(&self) -> usize {
        self.text.len()
    }

    #[inline]
    pub(crate) fn node(&self, number: u32) -> Node {
        self.nodes[number as usize]
    }

    /// The first child of a node, if it has one.
    pub(crate) fn first_child(&self, of: u32) -> u32 {
        if self.nodes[of as usize].names == 0 { NONE } else { of + 1 }
    }

    /// The first child of a node under a name; its neighbours of the same name follow it.
    #[inline(always)]
    pub(crate) fn first(&self, of: u32, name: u32) -> u32 {
        let parent = &self.nodes[of as usize];
        // Most elements are not there.
        if parent.names & bit(name) == 0 {
            return NONE;
        }
        if parent.name == NONE && (name as usize) < self.names {
            return self.tops[parent.next as usize * self.names + name as usize];
        }
        let mut next = of + 1;
        while next != NONE {
            let node = &self.nodes[next as usize];
            if node.name == name {
                break;
            }
            next = node.next;
        }
        next
    }

    /// What a node is.
    #[inline]
    pub(crate) fn value(&self, number: u32) -> &Value {
        &self.nodes[number as usize].value
    }

    /// Hands on the children of a node under a name.
    #[inline(always)]
    pub(crate) fn each(&self, of: u32, name: u32, mut visit: impl FnMut(u32)) {
        let mut next = self.first(of, name);
        while let Some(node) = self.nodes.get(next as usize).filter(|node| node.name == name) {
            visit(next);
            next = node.next;
        }
    }

    /// The only child of a node under a name; [`NONE`] for none, [`SEVERAL`] for more.
    #[inline(always)]
    pub(crate) fn only(&self, of: u32, name: u32) -> u32 {
        let found = self.first(of, name);
        if found == NONE {
            return NONE;
        }
        let next = self.nodes[found as usize].next;
        if next != NONE && self.nodes[next as usize].name == name { SEVERAL } else { found }
    }

    #[inline]
    pub(crate) fn text(&self, piece: Piece) -> &str {
        self.text.get(piece.start as usize..(piece.start + piece.length) as usize).unwrap_or_default()
    }

    /// The text that all pieces are pieces of.
    pub(crate) fn all_text(&self) -> &str {
        &self.text
    }

    /// The names that no path knows, and the order of names.
    #[inline]
    pub(crate) fn names(&mut self) -> (&mut Vec<String>, &mut Order) {
        (&mut self.others, &mut self.order)
    }

    /// The order of names in the resources before.
    #[inline]
    pub(crate) fn order(&self) -> &Order {
        &self.order
    }

    /// A number of what is limited by the text.
    #[inline]
    pub(crate) fn number(place: usize) -> u32 {
        size(place)
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

    /// Adds a text that no resource has verbatim.
    pub(crate) fn keep(&mut self, text: &str) -> Piece {
        let start = size(self.text.len());
        self.text.push_str(text);
        Piece { start, length: size(text.len()) }
    }

    /// The piece of the text from a place up to another.
    #[inline]
    pub(crate) fn piece(start: usize, end: usize) -> Piece {
        Piece { start: size(start), length: size(end - start) }
    }

    /// The piece of another piece.
    pub(crate) fn part(piece: Piece, start: usize, length: usize) -> Piece {
        Piece { start: piece.start + size(start), length: size(length) }
    }

    /// Adds a node after its neighbour `last`, which it is then.
    #[inline(always)]
    pub(crate) fn add(&mut self, name: u32, last: &mut u32, value: Value) -> u32 {
        let number = size(self.nodes.len());
        self.nodes.push(Node { name, next: NONE, names: 0, value });
        if *last != NONE {
            self.nodes[*last as usize].next = number;
        }
        *last = number;
        number
    }

    /// Notes which nodes are the first of their names in a resource, once all are there.
    fn note_first_of_resource(&mut self, root: u32) {
        let tops = self.place(root) as usize * self.names;
        let mut next = self.first_child(root);
        while next != NONE {
            let node = self.node(next);
            // Names that the trie does not know have no place.
            if (node.name as usize) < self.names
                && let Some(top) = self.tops.get_mut(tops + node.name as usize).filter(|top| **top == NONE)
            {
                *top = next;
            }
            next = node.next;
        }
    }

    /// Says which names the children of a node have, once all are there.
    #[inline]
    pub(crate) fn name_children(&mut self, of: u32, names: u64) {
        self.nodes[of as usize].names = names;
    }
}

/// A place or length in the text, or a number of nodes, of which there are not more than the text has bytes.
#[inline]
#[allow(clippy::cast_possible_truncation, reason = "`read` refuses texts of more than 4 GiB")]
fn size(length: usize) -> u32 {
    length as u32
}

#[cfg(test)]
impl Arena {
    /// All that is known of the resources.
    pub(crate) fn told(&self) -> String {
        let Self { nodes, text, resources, tops, odd, paired, .. } = self;
        format!("{nodes:?} {text} {resources:?} {tops:?} {odd:?} {paired:?}")
    }

    /// Knows no shapes, so that the automaton reads.
    pub(crate) fn without_shapes() -> Self {
        Self { shapes: Some(Box::new(Shapes::none())), ..Self::default() }
    }

    pub(crate) fn automaton(&self) -> Option<&Automaton> {
        self.automaton.as_deref()
    }

    pub(crate) fn known_shapes(&self) -> Option<&Shapes> {
        self.shapes.as_deref()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn children(arena: &Arena, of: u32) -> Vec<Node> {
        let mut found = Vec::new();
        let mut next = arena.first_child(of);
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
        trie.end();
        let text = r#"{"id":"x","name":[{"given":["A","\u0042"],"family":"F"},null,{"given":["C"]}],"rank":[1.50,null,"x"],"name":"again"}"#;
        let mut arena = Arena::default();
        arena.read(&trie, text).unwrap();
        let found = children(&arena, 0);
        assert_eq!(found.len(), 4);
        let given = children(&arena, 1);
        let texts: Vec<&str> = given
            .iter()
            .map(|node| match node.value {
                Value::Text(piece) => arena.text(piece),
                _ => "?",
            })
            .collect();
        assert_eq!(texts, ["A", "B"]);
        assert!(matches!(found[2].value, Value::Number(piece) if arena.text(piece) == "1.50"));
    }

    #[test]
    fn deep_json_is_an_error_not_an_overflow() {
        let mut trie = Trie::new();
        trie.child(Trie::ROOT, "a");
        trie.end();
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
        trie.end();
        let mut arena = Arena::default();
        let text = r#"{"item":{"x":1,"item":[{"value":1.50}]}}"#;
        arena.read(&trie, text).unwrap();
        let inner = children(&arena, 2);
        assert!(matches!(inner[0].value, Value::Number(piece) if arena.text(piece) == "1.50"));
        let deep = format!("{}1{}", "{\"item\":".repeat(10_000), "}".repeat(10_000));
        assert!(arena.read(&trie, &deep).is_err());
    }
}
