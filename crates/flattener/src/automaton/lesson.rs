//! What the automaton learns from one resource.

use fhirvest_fhir::{quotes::Places, walk::Walk};

use super::{Automaton, Gap, Next, Operation, State, What};
use crate::{
    arena::Arena,
    trie::{Keeping, Trie},
};

/// A walk through a resource.
type Resource<'a> = Walk<'a, Places<'a>>;

/// What is learned from one resource. A step gives nothing where the resource has what the automaton does not deal with.
pub(super) struct Lesson<'a> {
    automaton: &'a mut Automaton,
    trie: &'a Trie,
    text: &'a [u8],
    /// The state before the gap, where it begins, and what it does so far.
    state: u32,
    begin: usize,
    operations: Vec<Operation>,
    /// A bit for the key that was met last, until something has it.
    key: u64,
    /// As in [`Automaton::known`].
    place: Vec<u32>,
}

impl<'a> Lesson<'a> {
    /// Of a text.
    pub(super) fn new(automaton: &'a mut Automaton, trie: &'a Trie, text: &'a [u8]) -> Self {
        Self { automaton, trie, text, state: 0, begin: 0, operations: Vec::new(), key: 0, place: Vec::new() }
    }

    /// Learns from an object, of which the trie's node is given.
    pub(super) fn object(&mut self, walk: &mut Resource<'a>, of: u32, open: usize) -> Option<usize> {
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
    pub(super) fn value(&mut self, at: usize, end: usize, value: Next) {
        let Automaton { states, known, .. } = &mut *self.automaton;
        let (key, operations) = (std::mem::take(&mut self.key), std::mem::take(&mut self.operations));
        let to = match known.get(&self.place) {
            Some(to) => *to,
            None => {
                let to = Arena::number(states.len());
                states.push(State::default());
                known.insert(self.place.clone(), to);
                to
            }
        };
        let text = &self.text[self.begin..at];
        // An object, and perhaps a list, for each name.
        let depth = self.place.chunks_exact(3).map(|name| 1 + name[2]).sum();
        self.automaton.add(self.state, text, Gap::new(text, operations, (value, key, depth), to));
        (self.state, self.begin) = (to, end);
    }
}
