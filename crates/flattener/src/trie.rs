//! The names that the views of a resource type need, as a tree: what is read of a resource, and what is skipped.

use std::collections::BTreeSet;

use fhirvest_fhir::walk::WrittenKey;

use crate::arena::NONE;

/// The names that the views need, by where they stand.
#[derive(Debug, Clone, Default)]
pub(crate) struct Trie {
    nodes: Vec<TrieNode>,
    names: Vec<String>,
    /// Names of elements whose texts decide which elements a path leads to.
    compared: BTreeSet<u32>,
}

/// One of the names, by where it stands.
#[derive(Debug, Clone, Default)]
pub(crate) struct TrieNode {
    /// The names of the elements below it.
    children: Vec<String>,
    /// What these lead to, in the same order, as they are looked for.
    keys: Vec<Key>,
    /// Where the node's part of [`Order`] begins.
    begin: u32,
    /// Every known name below leads here again: what `repeat` walks has no fixed depth.
    recursive: bool,
    /// Names that no path knows are kept as well: everything below is asked for.
    whole: bool,
    /// An object is kept as its JSON besides its needed fields.
    json: bool,
    /// By R4 an object stands here: what is none is remarkable.
    object: bool,
    /// Its parent and its place in a list are kept: something else belongs to it.
    paired: bool,
    /// What follows from all this.
    keeping: Keeping,
}

/// How the values of a node are kept.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Keeping {
    /// No field is needed.
    pub(crate) leaf: bool,
    /// An object is kept as its JSON, besides its fields.
    pub(crate) json: bool,
    /// R4 has an object there. Of what `repeat` walks nobody knows.
    pub(crate) object: bool,
    /// With their parent and their place in a list.
    pub(crate) paired: bool,
}

impl TrieNode {
    fn change(&mut self, change: impl FnOnce(&mut Self)) {
        change(self);
        self.keeping = Keeping {
            leaf: self.children.is_empty() && !self.recursive,
            json: self.recursive || self.json,
            object: self.object && !self.recursive,
            paired: self.paired,
        };
    }
}

impl Trie {
    pub(crate) const ROOT: u32 = 0;

    /// The number of the name `resourceType`.
    pub(crate) const RESOURCE_TYPE: u32 = 0;

    pub(crate) fn new() -> Self {
        let mut trie = Self::default();
        trie.add();
        trie.child(Self::ROOT, "resourceType");
        trie.compare(Self::RESOURCE_TYPE);
        trie
    }

    /// The node of an element below another, made where there is none.
    pub(crate) fn child(&mut self, of: u32, name: &str) -> u32 {
        if self.nodes[of as usize].recursive {
            self.name(name);
            return of;
        }
        let above = &self.nodes[of as usize];
        if let Some(place) = above.children.iter().position(|known| known == name) {
            return above.keys[place].found.node;
        }
        let number = self.name(name);
        let node = self.add();
        self.nodes[of as usize].change(|above| {
            above.children.push(name.to_owned());
            let found = Found { name: number, node, keeping: Keeping::default() };
            above.keys.push(Key {
                signature: signature(name.as_bytes()),
                length: name.len(),
                written: WrittenKey::of(name),
                found,
            });
        });
        node
    }

    /// A node that nothing leads to yet.
    fn add(&mut self) -> u32 {
        let mut node = TrieNode::default();
        node.change(|_| {});
        self.nodes.push(node);
        u32::try_from(self.nodes.len() - 1).unwrap_or(NONE)
    }

    /// Keeps everything of a known name below a node, however deep.
    pub(crate) fn repeat(&mut self, node: u32) {
        // What was already known below it stays known: its names are among the names, and how it is kept is how all is.
        let (whole, paired) = self.below(node);
        self.nodes[node as usize].change(|node| (node.recursive, node.whole, node.paired) = (true, whole, paired));
    }

    /// Whether a node, or one below it, keeps names that no path knows, and whether one is paired.
    fn below(&self, node: u32) -> (bool, bool) {
        let node = &self.nodes[node as usize];
        node.keys.iter().fold((node.whole, node.paired), |(whole, paired), key| {
            let (more, others) = self.below(key.found.node);
            (whole || more, paired || others)
        })
    }

    /// Keeps everything below a node, whatever its name.
    pub(crate) fn whole(&mut self, node: u32) {
        self.repeat(node);
        self.nodes[node as usize].change(|node| node.whole = true);
    }

    /// Keeps a node's JSON besides its fields.
    pub(crate) fn json(&mut self, node: u32) {
        self.nodes[node as usize].change(|node| node.json = true);
    }

    /// Says that R4 has an object there.
    pub(crate) fn object(&mut self, node: u32) {
        self.nodes[node as usize].change(|node| node.object = true);
    }

    /// Says that a node's values belong to those of another, place by place.
    pub(crate) fn pair(&mut self, node: u32) {
        self.nodes[node as usize].change(|node| node.paired = true);
    }

    /// Says that the texts of the elements of a name decide which elements a path leads to.
    pub(crate) fn compare(&mut self, name: u32) {
        self.compared.insert(name);
    }

    /// Whether they do.
    pub(crate) fn is_compared(&self, name: u32) -> bool {
        self.compared.contains(&name)
    }

    /// The node above another: itself, where what is below has no fixed depth.
    pub(crate) fn parent(&self, node: u32) -> Option<u32> {
        if self.nodes[node as usize].recursive {
            return Some(node);
        }
        let above = self.nodes.iter().position(|above| above.keys.iter().any(|key| key.found.node == node));
        above.and_then(|above| u32::try_from(above).ok())
    }

    /// The name of a number.
    pub(crate) fn name_of(&self, number: u32) -> &str {
        self.names.get(number as usize).map_or("", String::as_str)
    }

    /// The number of a name.
    pub(crate) fn name(&mut self, name: &str) -> u32 {
        let place = self.names.iter().position(|known| known == name).unwrap_or_else(|| {
            self.names.push(name.to_owned());
            self.names.len() - 1
        });
        u32::try_from(place).unwrap_or(NONE)
    }

    /// How many names there are.
    pub(crate) fn names(&self) -> usize {
        self.names.len()
    }

    /// What is known of the objects of a node.
    #[inline]
    pub(crate) fn node(&self, node: u32) -> &TrieNode {
        &self.nodes[node as usize]
    }

    /// What came after what, as far as it is known: nothing.
    pub(crate) fn order(&self) -> Order {
        Order { after: vec![0; self.nodes.iter().map(|node| node.keys.len() + 1).sum()] }
    }

    /// Ends the making: nothing is added any more.
    pub(crate) fn end(&mut self) {
        let keeping: Vec<Keeping> = self.nodes.iter().map(|node| node.keeping).collect();
        let mut begin = 0;
        for node in &mut self.nodes {
            if node.recursive {
                // Every known name leads back.
                node.keys.clear();
            }
            node.begin = begin;
            begin += u32::try_from(node.keys.len() + 1).unwrap_or(0);
            for key in &mut node.keys {
                key.found.keeping = keeping.get(key.found.node as usize).copied().unwrap_or_default();
            }
        }
    }

    /// The number of a name below a node under which every known name leads back to it; `others` are the names that only the
    /// resource has.
    #[cold]
    pub(crate) fn find_everywhere(&self, of: &TrieNode, name: &[u8], others: &mut Vec<String>) -> Option<usize> {
        let known = self.names.iter().position(|known| known.as_bytes() == name);
        match known {
            Some(place) => Some(place),
            // `_birthDate` has the extensions of a primitive, and is no element.
            None if of.whole && !name.starts_with(b"_") => {
                let place = others.iter().position(|known| known.as_bytes() == name).unwrap_or_else(|| {
                    others.push(String::from_utf8_lossy(name).into_owned());
                    others.len() - 1
                });
                Some(self.names.len() + place)
            }
            None => None,
        }
    }
}

impl TrieNode {
    /// How the name at a place is written.
    #[inline(always)]
    pub(crate) fn written(&self, place: usize) -> Option<&WrittenKey> {
        Some(&self.keys.get(place)?.written)
    }

    /// The place of a name among those that lead on. It was not the one that was expected, unless it is long or follows white
    /// space; the next time it is what comes after `slot`.
    #[inline(always)]
    pub(crate) fn place(&self, name: &[u8], expected: usize, (order, slot): (&mut Order, u32)) -> Option<usize> {
        let wanted = signature(name);
        let same = |place: usize, key: &Key| {
            // Names of up to sixteen bytes are equal where their signatures and lengths are.
            let rest = || name.len() <= 16 || self.children.get(place).is_some_and(|known| known.as_bytes() == name);
            key.signature == wanted && key.length == name.len() && rest()
        };
        match self.keys.get(expected) {
            Some(key) if same(expected, key) => Some(expected),
            _ => {
                let place = self.keys.iter().enumerate().position(|(place, key)| same(place, key))?;
                order.learn(slot, place);
                Some(place)
            }
        }
    }

    /// The place of a name among those that lead on.
    pub(crate) fn place_of(&self, name: &[u8]) -> Option<usize> {
        self.children.iter().position(|known| known.as_bytes() == name)
    }

    /// What the name at a place leads to.
    #[inline(always)]
    pub(crate) fn found(&self, place: usize) -> Option<Found> {
        Some(self.keys.get(place)?.found)
    }

    /// Where an object of the node begins in an [`Order`].
    #[inline]
    pub(crate) fn slot(&self) -> u32 {
        self.begin
    }

    /// Whether every known name leads back here.
    #[inline]
    pub(crate) fn recursive(&self) -> bool {
        self.recursive
    }

    /// How its values are kept.
    #[inline]
    pub(crate) fn keeping(&self) -> Keeping {
        self.keeping
    }
}

/// What a name leads to.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Found {
    /// The number of the name.
    pub(crate) name: u32,
    /// The trie's node.
    pub(crate) node: u32,
    /// How its values are kept.
    pub(crate) keeping: Keeping,
}

/// A child's name, as it is looked for.
#[derive(Debug, Clone, Copy)]
struct Key {
    signature: (u64, u64),
    length: usize,
    written: WrittenKey,
    found: Found,
}

/// For each name of each node of a trie, and for the beginning of its objects, the place of the name that came next the last
/// time: who writes resources writes their elements in one order.
#[derive(Debug, Default)]
pub(crate) struct Order {
    after: Vec<u16>,
}

impl Order {
    /// The place of the name that is likely to come next.
    #[inline]
    pub(crate) fn after(&self, slot: u32) -> usize {
        self.after.get(slot as usize).map_or(0, |place| usize::from(*place))
    }

    #[inline]
    fn learn(&mut self, slot: u32, place: usize) {
        if let (Some(after), Ok(place)) = (self.after.get_mut(slot as usize), u16::try_from(place)) {
            *after = place;
        }
    }
}

/// Bytes that tell names of one length apart: all of those of up to sixteen bytes, else the first eight and the last eight.
#[inline(always)]
fn signature(name: &[u8]) -> (u64, u64) {
    if let (Some(first), Some(last)) = (name.first_chunk::<8>(), name.last_chunk::<8>()) {
        return (u64::from_le_bytes(*first), u64::from_le_bytes(*last));
    }
    if let (Some(first), Some(last)) = (name.first_chunk::<4>(), name.last_chunk::<4>()) {
        return (u64::from(u32::from_le_bytes(*first)), u64::from(u32::from_le_bytes(*last)));
    }
    match name {
        [a] => (u64::from(*a), 0),
        [a, b] => (u64::from(*a), u64::from(*b)),
        [a, b, c] => (u64::from(u16::from_le_bytes([*a, *b])), u64::from(*c)),
        _ => (0, 0),
    }
}
