//! A Bloom filter: says of most keys that a run does not hold them, without a look at its file.

/// Bits for each key: with seven places a key, one absent key in a hundred is taken for a present one.
const BITS_PER_KEY: u64 = 10;

/// Places of a key.
const PLACES: u64 = 7;

/// The largest filter, in bits: 8 MiB. Runs of more than seven million records have less precise ones, so that memory
/// stays bounded.
const MOST_BITS: u64 = 64 << 20;

#[derive(Debug)]
pub(super) struct Filter(Vec<u64>);

/// The hash of a key that filters work with.
pub(super) fn hash(key: &[u8]) -> u64 {
    xxhash_rust::xxh3::xxh3_64(key)
}

impl Filter {
    /// A filter for so many keys at most.
    pub(super) fn new(keys: u64) -> Self {
        let bits = keys.saturating_mul(BITS_PER_KEY).clamp(64, MOST_BITS);
        Self(vec![0; usize::try_from(bits.div_ceil(64)).unwrap_or(1)])
    }

    pub(super) fn add(&mut self, hash: u64) {
        for place in self.places(hash) {
            self.0[place / 64] |= 1 << (place % 64);
        }
    }

    /// `false` where the key is certainly absent.
    pub(super) fn may_hold(&self, hash: u64) -> bool {
        self.places(hash).all(|place| self.0[place / 64] & (1 << (place % 64)) != 0)
    }

    /// Double hashing (Kirsch and Mitzenmacher): two halves of one hash give as many places as needed.
    fn places(&self, hash: u64) -> impl Iterator<Item = usize> + use<> {
        let bits = self.0.len() as u64 * 64;
        let step = hash.rotate_left(32) | 1;
        (0..PLACES).map(move |place| {
            let mixed = hash.wrapping_add(step.wrapping_mul(place));
            usize::try_from(mixed % bits).unwrap_or(0)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_added_is_held_and_little_else() {
        let mut filter = Filter::new(10_000);
        let hash_of = |number: u32| hash(&number.to_be_bytes());
        (0..10_000).for_each(|number| filter.add(hash_of(number)));
        assert!((0..10_000).all(|number| filter.may_hold(hash_of(number))));
        let wrong = (10_000..110_000).filter(|number| filter.may_hold(hash_of(*number))).count();
        assert!(wrong < 2_000, "{wrong} of 100,000 absent keys are taken for present ones");
    }
}
