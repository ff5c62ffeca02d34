//! Whether one walk from page to page comes by the same ids twice: exact for as many as most types have, told by a sample
//! of the rest, in a megabyte and a hash for each page. Pure.

use std::{
    collections::HashSet,
    hash::{BuildHasher, BuildHasherDefault, DefaultHasher},
};

/// Hashes of ids that are kept at most: 64 ki, about a megabyte.
const KEPT: usize = 1 << 16;

/// Ids of a page that must all have come before, where only a sample is kept, to say so of the page.
const ENOUGH: usize = 8;

/// What one walk has come by. While it holds [`KEPT`] ids or fewer, nothing escapes it; after that it keeps every second,
/// fourth, eighth hash: servers that bring the same twice do so by the page.
#[derive(Debug)]
pub(crate) struct Recurrence {
    /// Hashes of ids, those whose lowest bits are all zero.
    ids: HashSet<u64>,
    /// The bits that are.
    sampled: u64,
    /// Hashes of whole pages: small ones have too few ids in a sample.
    pages: HashSet<u64>,
    any: bool,
    most: usize,
}

impl Default for Recurrence {
    fn default() -> Self {
        Self::keeping(KEPT)
    }
}

impl Recurrence {
    fn keeping(most: usize) -> Self {
        Self { ids: HashSet::new(), sampled: 0, pages: HashSet::new(), any: false, most }
    }

    /// Adds the ids of a page. Whether all of them have come on pages before; a page without ids brings nothing again.
    pub(crate) fn add(&mut self, ids: &[&str]) -> bool {
        let hasher = BuildHasherDefault::<DefaultHasher>::default();
        let whole = !ids.is_empty() && !self.pages.insert(hasher.hash_one(ids));
        let hashes: Vec<u64> = ids.iter().map(|id| hasher.hash_one(id)).collect();
        let kept = |sampled: u64| hashes.iter().copied().filter(move |hash| hash & sampled == 0);
        let least = if self.sampled == 0 { 1 } else { ENOUGH };
        let all = kept(self.sampled).count() >= least && kept(self.sampled).all(|hash| self.ids.contains(&hash));
        for hash in kept(self.sampled) {
            self.any |= !self.ids.insert(hash);
        }
        while self.ids.len() > self.most {
            self.sampled = self.sampled << 1 | 1;
            let sampled = self.sampled;
            self.ids.retain(|hash| hash & sampled == 0);
        }
        whole || all
    }

    /// Whether any id has come twice, on one page or on two.
    pub(crate) fn any(&self) -> bool {
        self.any
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn page(ids: std::ops::Range<usize>) -> Vec<String> {
        ids.map(|id| format!("id-{id}")).collect()
    }

    fn add(recurrence: &mut Recurrence, ids: &[String]) -> bool {
        recurrence.add(&ids.iter().map(String::as_str).collect::<Vec<_>>())
    }

    #[test]
    fn a_page_of_what_came_before_brings_nothing() {
        for (pages, again, any) in [
            (vec![0..20, 20..40, 40..60], false, false),
            (vec![0..20, 19..40, 39..60], false, true),
            (vec![0..20, 20..40, 20..40], true, true),
            (vec![0..20, 20..40, 10..30], true, true),
            (vec![0..20, 0..0, 0..0], false, false),
        ] {
            let mut recurrence = Recurrence::default();
            let mut last = false;
            for ids in &pages {
                last = add(&mut recurrence, &page(ids.clone()));
            }
            assert_eq!((last, recurrence.any()), (again, any), "{pages:?}");
        }
    }

    #[test]
    fn a_sample_is_bounded_and_tells_what_comes_by_the_page() {
        let mut recurrence = Recurrence::keeping(1_000);
        for first in (0..50_000).step_by(500) {
            assert!(!add(&mut recurrence, &page(first..first + 500)), "{first}");
        }
        assert!(!recurrence.any());
        assert!(recurrence.ids.len() <= 1_000, "{}", recurrence.ids.len());
        assert!(recurrence.ids.len() > 300, "{}", recurrence.ids.len());
        assert!(!add(&mut recurrence, &page(49_990..50_010)), "few of a page say nothing");
        assert!(add(&mut recurrence, &page(20_250..20_750)), "moved against the pages before");
        assert!(recurrence.any());
    }
}
