//! The quickest way to read a resource: that of a resource of the same shape. The shape is all of its text but the contents of
//! values, and the contents of those that conditions of the views compare with a text (codes' systems, extensions' urls). So
//! resources of one shape have the same nodes, with other texts in them, and give the same rows, with other texts in these: what
//! a view makes of a shape is found out once ([`crate::template`]). A source has few shapes: 31 for the 5,400 items of a
//! formulary, 38 for 2,000 roles.
//!
//! Shapes are the paths of a tree, from what stands before the first value to what stands behind the last one.

use fhirvest_fhir::{
    quotes::{LookedFor, Quotes, plain_end, string_end},
    walk::Walk,
};

use super::{Next, Trust, Written, lesson, unescaped};
use crate::{
    arena::{Arena, NONE, Node, Piece, Value},
    trie::Trie,
};

/// Shapes that are kept, and the bytes of their texts.
const MOST_SHAPES: usize = 256;
const MOST_BYTES: usize = 1 << 20;

/// Between the resources of unknown shape of which it is kept lie up to so many others, one more each time: those that come
/// often get in first, in whatever turns they come.
const MOST_BETWEEN: u32 = 6;

/// The shapes of the resources before.
#[derive(Debug)]
pub(crate) struct Shapes {
    /// The first one is where all begin.
    steps: Vec<Step>,
    shapes: Vec<Shape>,
    bytes: usize,
    trust: Trust,
    /// Resources of unknown shape between those of which it is kept, and up to the next one.
    between: u32,
    unkept: u32,
}

/// A value, and what stands before it.
#[derive(Debug)]
struct Step {
    gap: Written,
    /// What is a value in the gap: where it begins there, and its length.
    fixed: Box<[(u32, u32)]>,
    value: Kind,
    /// How many objects and arrays the value stands in.
    depth: u32,
    /// Another one that may stand in its place.
    beside: u32,
    /// One that may follow, and the one that did the last time.
    first: u32,
    likely: u32,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Text,
    Number,
    /// An object that is kept as its JSON.
    Json,
    SkippedText,
    /// Another value that no view needs.
    Skipped,
    /// None: the number of the shape.
    End(u32),
}

/// What resources of one shape have in common.
#[derive(Debug)]
struct Shape {
    /// The nodes but that of the resource; places are counted from there, and the pieces of texts are numbers of values.
    nodes: Box<[Node]>,
    /// The names among the resource's children, and the first node of each.
    names: u64,
    tops: Box<[u32]>,
}

impl Default for Shapes {
    fn default() -> Self {
        let begin = Step::new(&[], Vec::new(), Kind::Skipped, 0);
        Self { steps: vec![begin], shapes: Vec::new(), bytes: 0, trust: Trust::default(), between: 0, unkept: 0 }
    }
}

impl Step {
    fn new(gap: &[u8], fixed: Vec<(u32, u32)>, value: Kind, depth: u32) -> Self {
        Self { gap: Written::new(gap), fixed: fixed.into(), value, depth, beside: NONE, first: NONE, likely: NONE }
    }

    /// Whether a text has it at a place.
    #[inline(always)]
    fn is_at(&self, text: &[u8], at: usize) -> bool {
        self.gap.is_at(text, at)
            && match self.value {
                Kind::Text | Kind::SkippedText | Kind::End(_) => true,
                Kind::Number => matches!(text.get(at + self.gap.all.len()), Some(b'-' | b'0'..=b'9')),
                Kind::Json => text.get(at + self.gap.all.len()) == Some(&b'{'),
                Kind::Skipped => {
                    matches!(text.get(at + self.gap.all.len()), Some(b'-' | b'0'..=b'9' | b'{' | b'['))
                }
            }
    }
}

impl Shapes {
    /// Reads a text, which begins at a place of the arena's; the number of its shape, if that is known.
    pub(crate) fn read(&mut self, arena: &mut Arena, (text, begin): (&str, usize)) -> Option<u32> {
        if self.shapes.is_empty() || !self.trust.tries() {
            return None;
        }
        let shape = self.find(arena, (text, begin));
        self.trust.tried(shape.is_some());
        shape
    }

    fn find(&mut self, arena: &mut Arena, (text, begin): (&str, usize)) -> Option<u32> {
        let bytes = text.as_bytes();
        let (mut at, mut step) = (0, 0);
        loop {
            step = self.next(step, bytes, at)?;
            let Step { gap, fixed, value, depth, .. } = self.steps.get(step as usize)?;
            for (start, length) in fixed {
                let start = begin + at + *start as usize;
                arena.add_value(Arena::piece(start, start + *length as usize));
            }
            at += gap.all.len();
            let end = match value {
                Kind::Text => match plain_end(bytes, at) {
                    Some(end) => end,
                    None => {
                        let (end, unescaped) = unescaped(text, at)?;
                        let piece = arena.keep(&unescaped);
                        arena.add_value(piece);
                        at = end;
                        continue;
                    }
                },
                Kind::Number => Walk::within(text, LookedFor(bytes), *depth).primitive(at)?,
                Kind::Json => Walk::within(text, LookedFor(bytes), *depth).skip(at)?,
                Kind::SkippedText => {
                    at = string_end(bytes, at)?;
                    continue;
                }
                Kind::Skipped => {
                    at = Walk::within(text, LookedFor(bytes), *depth).skip(at)?;
                    continue;
                }
                Kind::End(shape) => return (at == bytes.len()).then_some(*shape),
            };
            arena.add_value(Arena::piece(begin + at, begin + end));
            at = end;
        }
    }

    /// The step after another at a place of a text, if it is known. No two of them are there, since values are what they are
    /// by their first byte.
    #[inline(always)]
    fn next(&mut self, step: u32, text: &[u8], at: usize) -> Option<u32> {
        let Step { first, likely, .. } = *self.steps.get(step as usize)?;
        if self.steps.get(likely as usize)?.is_at(text, at) {
            return Some(likely);
        }
        let mut next = first;
        loop {
            let found = self.steps.get(next as usize)?;
            if found.is_at(text, at) {
                self.steps[step as usize].likely = next;
                return Some(next);
            }
            next = found.beside;
        }
    }

    /// The value that is the type of a shape's resources.
    pub(crate) fn resource_type(&self, shape: u32) -> Option<usize> {
        let Shape { nodes, tops, .. } = self.shapes.get(shape as usize)?;
        // The resource's own node is not among the nodes.
        let node = tops.get(Trie::RESOURCE_TYPE as usize)?.checked_sub(1)?;
        if let Value::Text(piece) = nodes.get(node as usize)?.value { Some(piece.number()) } else { None }
    }

    /// For a resource of a shape and with these values: the names among its children, its nodes but its own, of which the number is
    /// given, and the first node of each name.
    pub(crate) fn nodes<'s>(
        &'s self,
        shape: u32,
        root: u32,
        values: &'s [Piece],
    ) -> (u64, impl Iterator<Item = Node> + 's, impl Iterator<Item = u32> + 's) {
        let Shape { nodes, names, tops, .. } = &self.shapes[shape as usize];
        let value = |piece: Piece| values[piece.number()];
        let nodes = nodes.iter().map(move |node| Node {
            next: node.next.saturating_add(root),
            value: match node.value {
                Value::Text(piece) => Value::Text(value(piece)),
                Value::Number(piece) => Value::Number(value(piece)),
                Value::Json(piece) => Value::Json(value(piece)),
                other => other,
            },
            ..*node
        });
        // NONE stays what it is.
        (*names, nodes, tops.iter().map(move |top| top.saturating_add(root)))
    }

    /// Whether the shape of a resource is to be kept that has none of those known.
    pub(crate) fn wants(&mut self) -> bool {
        if self.trust.rests() || self.shapes.len() >= MOST_SHAPES || self.bytes >= MOST_BYTES {
            return false;
        }
        if let Some(unkept) = self.unkept.checked_sub(1) {
            self.unkept = unkept;
            return false;
        }
        self.between = (self.between + 1) % (MOST_BETWEEN + 1);
        self.unkept = self.between;
        true
    }

    /// Keeps the shape of a text that is JSON, begins at a place of the arena's, and was read into nodes of which none was noted
    /// as odd or paired, the first being the resource's; and of its first children by name. Nothing where it has what shapes have
    /// not.
    #[cold]
    pub(crate) fn keep(
        &mut self,
        trie: &Trie,
        (text, begin): (&str, usize),
        quotes: &Quotes,
        (root, nodes, tops): (u32, &[Node], &[u32]),
    ) -> Option<()> {
        let (parts, true) = lesson::parts(trie, text, quotes) else { return None };
        let bytes = text.as_bytes();
        // Where each value that is kept begins, and its length: they have numbers in this order.
        let mut values = Vec::new();
        let (mut steps, mut fixed, mut gap_begins) = (Vec::new(), Vec::new(), 0);
        for part in parts {
            let content = part.gap.end..part.end;
            let kind = match part.value {
                Next::Text(_) => Kind::Text,
                Next::Other(..) if bytes.get(content.start) == Some(&b'{') => Kind::Json,
                Next::Other(..) => Kind::Number,
                Next::SkippedText => Kind::SkippedText,
                Next::Skipped => Kind::Skipped,
                Next::End => Kind::End(Arena::number(self.shapes.len())),
            };
            if matches!(kind, Kind::Text | Kind::Number | Kind::Json) {
                values.push((begin + content.start, content.len()));
            }
            if let Next::Text(name) = part.value
                && trie.is_compared(name)
            {
                if bytes[content.clone()].contains(&b'\\') {
                    return None;
                }
                fixed.push((Arena::number(content.start - gap_begins), Arena::number(content.len())));
                continue;
            }
            let gap = &bytes[gap_begins..content.start];
            steps.push((gap, std::mem::take(&mut fixed), kind, part.depth));
            gap_begins = content.end;
        }
        let number = |piece: Piece| Some(Piece::numbered(Arena::number(values.binary_search(&piece.place()).ok()?)));
        let from_root = |place: u32| if place == NONE { NONE } else { place - root };
        let (resource, nodes) = nodes.split_first()?;
        let nodes = nodes.iter().map(|node| {
            let value = match node.value {
                Value::Text(piece) => Value::Text(number(piece)?),
                Value::Number(piece) => Value::Number(number(piece)?),
                Value::Json(piece) => Value::Json(number(piece)?),
                other => other,
            };
            Some(Node { next: from_root(node.next), value, ..*node })
        });
        let nodes = nodes.collect::<Option<Box<[Node]>>>()?;
        let with_value = |node: &&Node| matches!(node.value, Value::Text(_) | Value::Number(_) | Value::Json(_));
        if nodes.iter().filter(with_value).count() != values.len() {
            // A key is there twice.
            return None;
        }
        let tops = tops.iter().map(|top| from_root(*top)).collect();
        self.shapes.push(Shape { nodes, names: resource.names, tops });
        let mut last = 0;
        for (gap, fixed, kind, depth) in steps {
            last = self.step(last, gap, fixed, kind, depth);
        }
        Some(())
    }

    /// The step after another, made where there is none.
    fn step(&mut self, after: u32, gap: &[u8], fixed: Vec<(u32, u32)>, value: Kind, depth: u32) -> u32 {
        let first = self.steps[after as usize].first;
        let mut next = first;
        while let Some(step) = self.steps.get(next as usize) {
            if *step.gap.all == *gap && step.value == value {
                return next;
            }
            next = step.beside;
        }
        let number = Arena::number(self.steps.len());
        self.bytes += gap.len();
        self.steps.push(Step { beside: first, ..Step::new(gap, fixed, value, depth) });
        let after = &mut self.steps[after as usize];
        (after.first, after.likely) = (number, number);
        number
    }
}

#[cfg(test)]
impl Shapes {
    /// None is ever known.
    pub(crate) fn none() -> Self {
        Self { bytes: MOST_BYTES, ..Self::default() }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::automaton::tests::{resources, trie};

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(1000))]
        #[test]
        fn what_has_a_known_shape_is_read_as_the_thorough_way_reads_it(
            texts in prop::collection::vec(resources(), 1..6),
            again in prop::collection::vec(any::<prop::sample::Index>(), 30),
        ) {
            let trie = trie();
            let mut learned = Arena::default();
            for text in texts.iter().chain(again.iter().map(|place| place.get(&texts))) {
                let mut thorough = Arena::without_shapes();
                // The second one has other places.
                for _ in 0..2 {
                    prop_assert_eq!(learned.read(&trie, text), thorough.read(&trie, text), "{}", text);
                    (0..learned.resources().len()).for_each(|place| learned.grow(place));
                }
                prop_assert_eq!(learned.told(), thorough.told(), "{}", text);
                learned.clear();
            }
        }
    }

    /// Reads texts, and tells of each whether its shape was known.
    fn known(arena: &mut Arena, texts: &[&str]) -> Vec<bool> {
        let trie = trie();
        arena.clear();
        texts.iter().for_each(|text| assert!(arena.read(&trie, text).is_ok(), "{text}"));
        arena.shapes().iter().map(|(shape, _)| *shape != NONE).collect()
    }

    #[test]
    fn values_make_no_shapes_but_those_that_are_compared() {
        let mut arena = Arena::default();
        let texts = [
            r#"{"id":"1","name":[{"use":"usual","family":"F"}],"rank":1,"x":[1]}"#,
            r#"{"id":"","name":[{"use":"usual","family":"G\n"}],"rank":-2.5,"x":{"a":"b"}}"#,
            r#"{"id":"1","name":[{"use":"old","family":"F"}],"rank":1,"x":[1]}"#,
            r#"{"id":"1","name":[{"use":"usual","family":"F"}],"rank":"1","x":[1]}"#,
            r#"{"id":"1","name":{"use":"usual","family":"F"},"rank":1,"x":[1]}"#,
            r#"{"id":"1","name":[{"use":"usual","family":"F"}], "rank":1,"x":[1]}"#,
            r#"{"id":"1","name":[{"use":"usu\u0061l","family":"F"}],"rank":1,"x":[1]}"#,
        ];
        assert_eq!(known(&mut arena, &texts), [false, true, false, false, false, false, false]);
        // The others are kept in their turn, but for the one of which the compared text is escaped.
        (0..4 * MOST_BETWEEN).for_each(|_| drop(known(&mut arena, &texts)));
        assert_eq!(known(&mut arena, &texts), [true, true, true, true, true, true, false]);
        assert_eq!(arena.known_shapes().map(|shapes| shapes.shapes.len()), Some(5));
    }

    #[test]
    fn a_text_that_joins_halves_of_known_shapes_is_none_of_them() {
        let mut arena = Arena::default();
        let trie = trie();
        let texts = [r#"{"id":["a"],"rank":1}"#, r#"{"id":"a","rank":1}"#, r#"{"rank":1}"#];
        (0..2 * MOST_BETWEEN).for_each(|_| drop(known(&mut arena, &texts)));
        assert_eq!(known(&mut arena, &texts), [true; 3]);
        for broken in
            [r#"{"id":"a"],"rank":1}"#, r#"{"id":["a","rank":1}"#, r#"{"rank":1}}"#, r#"{"rank":1"#, r#"{"rank":01}"#]
        {
            assert!(arena.read(&trie, broken).is_err(), "{broken}");
        }
    }

    #[test]
    fn keys_that_are_data_do_not_make_shapes_without_end() {
        let (trie, mut arena) = (trie(), Arena::default());
        for number in 0..10_000 {
            arena.clear();
            assert!(arena.read(&trie, &format!("{{\"key{number}\":1}}")).is_ok());
        }
        let shapes = arena.known_shapes().unwrap();
        assert!(shapes.shapes.len() <= MOST_SHAPES && shapes.trust.rests(), "it rests where it knows nothing");
    }
}
