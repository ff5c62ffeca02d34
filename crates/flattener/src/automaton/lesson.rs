//! One resource, taken apart for what is to be learned from it.

use std::ops::Range;

use fhirvest_fhir::{
    quotes::{Places, Quotes},
    walk::Walk,
};

use super::{Next, Operation, What};
use crate::{
    arena::Arena,
    trie::{Keeping, Trie},
};

/// A walk through a resource.
type Resource<'a> = Walk<'a, Places<'a>>;

/// A value of a resource, and what stands before it.
#[derive(Debug)]
pub(super) struct Part {
    /// From the end of the value before up to the first byte of this one's content.
    pub(super) gap: Range<usize>,
    pub(super) operations: Vec<Operation>,
    pub(super) value: Next,
    /// As [`Gap::key`](super::Gap::key).
    pub(super) key: u64,
    /// How many objects and arrays it stands in.
    pub(super) depth: u32,
    /// Where its content ends.
    pub(super) end: usize,
    /// As in [`Automaton::known`](super::Automaton::known).
    pub(super) place: Vec<u32>,
}

/// Takes a resource apart, up to what the automaton does not deal with; whether it was all.
pub(super) fn parts(trie: &Trie, text: &str, quotes: &Quotes) -> (Vec<Part>, bool) {
    let mut walk = Walk::new(text, quotes.strings());
    let mut lesson = Lesson { trie, begin: 0, operations: Vec::new(), key: 0, place: Vec::new(), parts: Vec::new() };
    let open = walk.space(0);
    let is_whole = lesson.object(&mut walk, Trie::ROOT, open).is_some();
    if is_whole {
        lesson.value(text.len(), text.len(), Next::End);
    }
    (lesson.parts, is_whole)
}

/// What is learned from one resource. A step gives nothing where the resource has what the automaton does not deal with.
struct Lesson<'a> {
    trie: &'a Trie,
    /// Where the gap begins, and what it does so far.
    begin: usize,
    operations: Vec<Operation>,
    /// A bit for the key that was met last, until something has it.
    key: u64,
    place: Vec<u32>,
    parts: Vec<Part>,
}

impl<'a> Lesson<'a> {
    /// Learns from an object, of which the trie's node is given.
    fn object(&mut self, walk: &mut Resource<'a>, of: u32, open: usize) -> Option<usize> {
        if self.trie.node(of).recursive() {
            return None;
        }
        let end = walk.members(open, |walk, key, at| self.member(walk, of, key, at))?;
        let close = What::Close(self.within_gap(end));
        self.operation(close);
        Some(end)
    }

    fn member(&mut self, walk: &mut Resource<'a>, of: u32, key: &[u8], at: usize) -> Option<usize> {
        if key.contains(&b'\\') {
            return None;
        }
        let node = self.trie.node(of);
        let place = node.place_of(key);
        let is_list = place.is_some() && walk.byte(at) == b'[';
        let number = |place: usize| Some(Arena::number(place) + 1);
        self.place.extend([of, place.map_or(Some(0), number)?, u32::from(is_list)]);
        let end = match place {
            None => self.skipped(walk, at),
            // Of so many names in one object it is not noted which were met.
            Some(64..) => None,
            Some(place) => {
                self.key = 1 << place;
                let found = node.found(place)?;
                let (name, node, keeping) = (found.name, found.node, found.keeping);
                let end = match is_list {
                    true => walk.elements(at, |walk, at| self.element(walk, (name, node), keeping, at)),
                    false => self.element(walk, (name, node), keeping, at),
                };
                if self.key != 0 {
                    self.operation(What::Nothing);
                }
                end
            }
        };
        self.place.truncate(self.place.len() - 3);
        end
    }

    fn skipped(&mut self, walk: &mut Resource<'a>, at: usize) -> Option<usize> {
        match walk.byte(at) {
            b'"' => {
                let end = walk.string(at);
                self.value(at + 1, end, Next::SkippedText);
                Some(end + 1)
            }
            b't' | b'f' | b'n' => walk.primitive(at),
            _ => {
                let end = walk.skip(at)?;
                self.value(at, end, Next::Skipped);
                Some(end)
            }
        }
    }

    fn element(
        &mut self,
        walk: &mut Resource<'a>,
        (name, node): (u32, u32),
        keeping: Keeping,
        at: usize,
    ) -> Option<usize> {
        let first = walk.byte(at);
        match first {
            b'"' => {
                let end = walk.string(at);
                self.value(at + 1, end, Next::Text(name));
                Some(end + 1)
            }
            b'{' if !keeping.leaf => {
                let json = keeping.json.then(|| self.within_gap(at));
                self.operation(What::Open(name, json));
                self.object(walk, node, at)
            }
            b'[' => None,
            b'n' => walk.primitive(at),
            b't' | b'f' => {
                self.operation(What::Boolean(name, first == b't'));
                walk.primitive(at)
            }
            _ => {
                let end = walk.skip(at)?;
                self.value(at, end, Next::Other(name, keeping));
                Some(end)
            }
        }
    }

    /// A place of the text as one in the gap.
    fn within_gap(&self, at: usize) -> u32 {
        Arena::number(at - self.begin)
    }

    fn operation(&mut self, what: What) {
        let key = std::mem::take(&mut self.key);
        self.operations.push(Operation { key, what });
    }

    /// Ends the gap at a value, and begins the next one behind it.
    fn value(&mut self, at: usize, end: usize, value: Next) {
        let (key, operations) = (std::mem::take(&mut self.key), std::mem::take(&mut self.operations));
        // An object, and perhaps a list, for each name.
        let depth = self.place.chunks_exact(3).map(|name| 1 + name[2]).sum();
        let (gap, place) = (self.begin..at, self.place.clone());
        self.parts.push(Part { gap, operations, value, key, depth, end, place });
        self.begin = end;
    }
}
