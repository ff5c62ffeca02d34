//! A partition while it is driven, and what one walk through its pages has seen.

use std::sync::atomic::Ordering;

use fhirvest_fhir::{
    bundle::{Entry, Mode, Page},
    outcome::Outcome,
};

use super::{ResourcePlan, first::found_by, sweep::Task};
use crate::{
    paging::Trail,
    retry::{FetchError, Fetched},
    store::PartitionKey,
    strategy::{Bucket, Strategy},
    suspicion,
};

/// Entries without a resource on one page that are more than the slip that habit 5 is: an entry of nothing, and a null.
const STRIPPED: usize = 3;

/// Whether a page holds entries that have lost their resources, and no more matches than that; on small pages, all that
/// was asked for.
fn is_stripped(page: &Page, matches: u64, page_size: Option<u32>) -> bool {
    let bare = page.entry_slots.saturating_sub(page.entries.len() + page.outcomes.len());
    let all = matches == 0 && page_size.is_some_and(|size| bare as u64 >= u64::from(size));
    all || (bare >= STRIPPED && bare as u64 >= matches)
}

/// Why a question before a decision was not answered.
pub(super) enum Halt<E> {
    /// The crawl has to stop, or cannot go on.
    Stopped(FetchError),
    /// The store failed.
    Store(E),
}

impl<E> From<E> for Halt<E> {
    fn from(error: E) -> Self {
        Self::Store(error)
    }
}

/// A partition while it is driven.
pub(super) struct Drive<'a> {
    pub(super) task: &'a Task<'a>,
    pub(super) key: &'a PartitionKey,
    pub(super) bucket: &'a Bucket,
    pub(super) trail: Trail,
    /// Some walk has come by something.
    pub(super) found: bool,
    /// A first page held something whose age is another than was asked for: ages tell nothing.
    ageless: bool,
    pub(super) walk: Walk,
}

/// What one walk from page to page has seen.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Walk {
    /// It began with the first page.
    pub(super) from_first: bool,
    /// The page that was looked at last is the first.
    pub(super) first: bool,
    /// Matches on the page that was looked at last.
    pub(super) matches: u64,
    /// Matches on all pages.
    pub(super) seen: u64,
    /// Matches on the fullest page.
    pub(super) most: u64,
    /// The largest count of its own pages.
    pub(super) told: Option<u64>,
    /// Its first page held nothing.
    pub(super) hollow: bool,
    /// A link has lost the question: what came then was not asked for.
    pub(super) strayed: bool,
    /// A page held an error besides its matches, or in place of them.
    pub(super) errored: bool,
    /// A page held entries without what they stand for.
    pub(super) stripped: bool,
    /// A page held resources of other types: where no matches come along, includes are none either.
    pub(super) strangers: bool,
    /// Ids that it has brought.
    pub(super) news: u64,
}

impl<'a> Drive<'a> {
    pub(super) fn new(task: &'a Task<'a>, key: &'a PartitionKey, bucket: &'a Bucket, trail: Trail) -> Self {
        Self { task, key, bucket, trail, found: false, ageless: false, walk: Walk::default() }
    }

    pub(super) fn plan(&self) -> &'a ResourcePlan {
        self.task.plan
    }

    pub(super) fn is_everything(&self) -> bool {
        matches!(self.plan().strategy, Strategy::Everything { .. })
    }

    /// Begins a walk, with the first page or where an earlier one stopped.
    pub(super) fn set_out(&mut self, from_first: bool) {
        self.walk = Walk { from_first, first: from_first, ..Walk::default() };
    }

    /// Takes note of a page. A count that cannot be is taken off it, and marks that say nothing.
    pub(super) fn look_at(&mut self, page: &mut Fetched) {
        let first = self.walk.first;
        suspicion::take_marks_off(&mut page.page, &self.plan().resource_type);
        let mut matches = found_by(page, self.plan());
        match self.others(&page.page) {
            Some(_) if first => self.ageless = true,
            // A link that has lost the question leads to what nobody asked for here.
            Some(others) if !self.ageless && others == matches => (matches, self.walk.strayed) = (0, true),
            _ => {}
        }
        let walk = &mut self.walk;
        // What was counted before has not gone away all at once.
        page.page.total = page.page.total.filter(|total| *total > 0 || walk.told.unwrap_or(0) == 0);
        if first || matches > 0 {
            walk.told = walk.told.max(page.page.total);
        }
        if page.page.total > Some(walk.seen + matches) {
            self.task.counts_ahead.store(true, Ordering::Relaxed);
        }
        walk.hollow |= first && matches == 0;
        walk.matches = matches;
        walk.seen += matches;
        walk.most = walk.most.max(matches);
        walk.errored |= page.page.outcomes.iter().any(Outcome::is_error);
        walk.stripped |= is_stripped(&page.page, matches, self.task.page_size());
        let stranger = |entry: &Entry| suspicion::is_stranger(entry, &self.task.plan.resource_type);
        walk.strangers |= page.page.entries.iter().any(stranger);
        self.found |= matches > 0;
    }

    /// The matches of a page that are of another age than was asked for, if there are any.
    fn others(&self, page: &Page) -> Option<u64> {
        let others = page.entries.iter().filter(|entry| {
            let stamp = entry.last_updated.as_deref().filter(|_| entry.mode != Some(Mode::Include));
            stamp.is_some_and(|stamp| self.bucket.excludes(&self.plan().strategy, stamp))
        });
        Some(others.count() as u64).filter(|others| *others > 0)
    }
}
