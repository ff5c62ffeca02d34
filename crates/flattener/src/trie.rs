//! The names that the views of a resource type need, as a tree: what is read of a resource, and what is skipped.

use crate::arena::NONE;

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
    /// By R4 an object stands here: what is none is remarkable.
    object: bool,
    /// Its parent and its place in a list are kept: something else belongs to it.
    paired: bool,
    /// What follows from all this.
    keeping: Keeping,
}

/// How the values of a node are kept.
#[derive(Debug, Clone, Copy, Default)]
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
        let mut trie = Self { nodes: Vec::new(), names: Vec::new() };
        trie.add();
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
        let node = self.add();
        self.nodes[of as usize].change(|above| {
            above.children.push((name.to_owned(), number, node));
            above.signatures.push(signature(name.as_bytes()));
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
        node.children.iter().fold((node.whole, node.paired), |(whole, paired), (_, _, child)| {
            let (more, others) = self.below(*child);
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

    /// The node above another: itself, where what is below has no fixed depth.
    pub(crate) fn parent(&self, node: u32) -> Option<u32> {
        if self.nodes[node as usize].recursive {
            return Some(node);
        }
        let above = self.nodes.iter().position(|above| above.children.iter().any(|(_, _, child)| *child == node));
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

    /// What leads on from a node under a name; `others` are the names that only the resource has.
    #[inline(always)]
    pub(crate) fn find(&self, of: u32, name: &[u8], others: &mut Vec<String>) -> Option<Found> {
        let node = &self.nodes[of as usize];
        if node.recursive {
            return self.find_everywhere(of, name, others);
        }
        let wanted = signature(name);
        let mut alike = node.signatures.iter().zip(&node.children).enumerate();
        // Names of up to eight bytes are equal where their signatures and lengths are.
        let same = |known: &str| known.len() == name.len() && (name.len() <= 8 || known.as_bytes() == name);
        alike.find_map(|(place, (signature, (known, number, node)))| {
            (*signature == wanted && same(known)).then_some(Found { place, name: *number, node: *node })
        })
    }

    #[cold]
    fn find_everywhere(&self, of: u32, name: &[u8], others: &mut Vec<String>) -> Option<Found> {
        let known = self.names.iter().position(|known| known.as_bytes() == name);
        let place = match known {
            Some(place) => place,
            // `_birthDate` has the extensions of a primitive, and is no element.
            None if self.nodes[of as usize].whole && !name.starts_with(b"_") => {
                let place = others.iter().position(|known| known.as_bytes() == name).unwrap_or_else(|| {
                    others.push(String::from_utf8_lossy(name).into_owned());
                    others.len() - 1
                });
                self.names.len() + place
            }
            None => return None,
        };
        Some(Found { place, name: u32::try_from(place).unwrap_or(NONE), node: of })
    }

    /// How the values of a node are kept.
    #[inline]
    pub(crate) fn keeping(&self, node: u32) -> Keeping {
        self.nodes[node as usize].keeping
    }
}

/// What a name leads to.
pub(crate) struct Found {
    /// The place among the names of its node: two of one place are duplicates.
    pub(crate) place: usize,
    /// The number of the name.
    pub(crate) name: u32,
    /// The trie's node.
    pub(crate) node: u32,
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
