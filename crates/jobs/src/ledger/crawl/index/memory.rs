//! The records that no run holds yet. They are found by their hash, and put in order only when somebody asks for order:
//! nearly every id of a crawl is looked for once and added once, and a tree's nodes are all over the memory.

use std::{
    collections::{BTreeMap, HashMap},
    hash::{BuildHasher, Hasher, RandomState},
};

use xxhash_rust::xxh3::xxh3_64_with_seed;

use super::Record;

#[derive(Debug, Default)]
pub(super) struct Memory {
    /// Those that were put in order; no key of them is in `fresh`.
    ordered: BTreeMap<Box<[u8]>, Record>,
    fresh: HashMap<Box<[u8]>, Record, Seeded>,
}

impl Memory {
    pub(super) fn len(&self) -> usize {
        self.ordered.len() + self.fresh.len()
    }

    pub(super) fn get(&self, key: &[u8]) -> Option<&Record> {
        self.fresh.get(key).or_else(|| self.ordered.get(key))
    }

    pub(super) fn insert(&mut self, key: &[u8], record: Record) {
        match self.ordered.get_mut(key) {
            Some(held) => *held = record,
            None => drop(self.fresh.insert(key.into(), record)),
        }
    }

    /// All of them in order of their keys.
    pub(super) fn in_order(&mut self) -> &BTreeMap<Box<[u8]>, Record> {
        // The table goes, too: it is as large as what it held.
        self.ordered.extend(std::mem::take(&mut self.fresh));
        &self.ordered
    }

    pub(super) fn clear(&mut self) {
        self.ordered.clear();
        self.fresh.clear();
    }
}

/// XXH3 with a seed that nobody outside knows: a server must not be able to make up ids that all have one hash.
#[derive(Debug)]
struct Seeded(u64);

impl Default for Seeded {
    fn default() -> Self {
        Self(RandomState::new().hash_one(0))
    }
}

impl BuildHasher for Seeded {
    type Hasher = KeyHasher;

    fn build_hasher(&self) -> KeyHasher {
        KeyHasher(self.0)
    }
}

struct KeyHasher(u64);

impl Hasher for KeyHasher {
    fn write(&mut self, bytes: &[u8]) {
        self.0 = xxh3_64_with_seed(bytes, self.0);
    }

    // A key is all there is to hash: its length says nothing more.
    fn write_usize(&mut self, _: usize) {}

    fn finish(&self) -> u64 {
        self.0
    }
}
