//! Searching a world: which rows match, in which order, found once and remembered.

pub(crate) mod cursor;
pub(crate) mod filter;
pub(crate) mod include;
pub(crate) mod index;
pub(crate) mod instant;
pub(crate) mod parameters;
mod path;
pub(crate) mod query;
pub(crate) mod terms;

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};

use crate::world::table::ResourceTable;
use query::{Order, Query};

/// Searches remembered, so that walking through the pages of one does not search again for each page.
const REMEMBERED_SEARCHES: usize = 64;
/// Rows remembered over all searches: 64 MiB of row numbers.
const REMEMBERED_ROWS: usize = 16 << 20;

/// The matches of a search, in order.
#[derive(Debug, Clone)]
pub(crate) enum Matches {
    /// Every row of the table as stored.
    All(usize),
    /// These rows.
    Listed(Arc<[u32]>),
}

impl Matches {
    pub(crate) fn len(&self) -> usize {
        match self {
            Self::All(len) => *len,
            Self::Listed(rows) => rows.len(),
        }
    }

    /// The rows of one page.
    pub(crate) fn page(&self, offset: usize, count: usize) -> Vec<u32> {
        let from = offset.min(self.len());
        let to = from.saturating_add(count).min(self.len());
        match self {
            Self::All(_) => (from..to).filter_map(|row| u32::try_from(row).ok()).collect(),
            Self::Listed(rows) => rows.get(from..to).unwrap_or(&[]).to_vec(),
        }
    }
}

/// Finds the matches of a query.
pub(crate) fn find(table: &ResourceTable, query: &Query) -> Matches {
    let filtered = (!query.filters.is_empty()).then(|| filter(table, query));
    match (query.order, filtered) {
        (Order::Stored, None) => Matches::All(table.len()),
        (Order::Stored, Some(rows)) => Matches::Listed(rows.into()),
        (Order::Id { descending: false }, None) => Matches::Listed(table.by_id()),
        (Order::Updated { descending: false }, None) => Matches::Listed(table.by_updated()),
        (order, rows) => {
            let mut rows = rows.unwrap_or_else(|| table.by_id().to_vec());
            rows.sort_by(|&a, &b| match order {
                Order::Stored => a.cmp(&b),
                Order::Id { .. } => table.id(a).cmp(table.id(b)),
                Order::Updated { .. } => {
                    table.updated(a).cmp(&table.updated(b)).then_with(|| table.id(a).cmp(table.id(b)))
                }
            });
            if matches!(order, Order::Id { descending: true } | Order::Updated { descending: true }) {
                rows.reverse();
            }
            Matches::Listed(rows.into())
        }
    }
}

fn filter(table: &ResourceTable, query: &Query) -> Vec<u32> {
    let holds = |row: &u32| query.filters.iter().all(|filter| filter.holds(table, *row));
    match query.filters.iter().find_map(|filter| filter.candidates(table)) {
        Some(candidates) => candidates.into_iter().filter(holds).collect(),
        None => (0..u32::try_from(table.len()).unwrap_or(u32::MAX)).filter(holds).collect(),
    }
}

/// Remembers the matches of recent searches. The world does not change, so neither do they.
#[derive(Debug, Default)]
pub(crate) struct SearchCache {
    recent: Mutex<VecDeque<(String, Arc<[u32]>)>>,
}

impl SearchCache {
    /// The matches of a query over a table that `scope` names.
    pub(crate) fn find(&self, scope: &str, table: &ResourceTable, query: &Query) -> Matches {
        if query.filters.is_empty() && query.order == Order::Stored {
            return Matches::All(table.len());
        }
        let key = format!("{scope}/{}?{}", table.name(), query.matches_key());
        if let Some(rows) = self.recall(&key) {
            return Matches::Listed(rows);
        }
        let matches = find(table, query);
        if let Matches::Listed(rows) = &matches {
            self.remember(key, Arc::clone(rows));
        }
        matches
    }

    fn recall(&self, key: &str) -> Option<Arc<[u32]>> {
        let mut recent = self.recent.lock().unwrap_or_else(PoisonError::into_inner);
        let at = recent.iter().position(|(known, _)| known == key)?;
        let hit = recent.remove(at)?;
        let rows = Arc::clone(&hit.1);
        recent.push_front(hit);
        Some(rows)
    }

    fn remember(&self, key: String, rows: Arc<[u32]>) {
        let mut recent = self.recent.lock().unwrap_or_else(PoisonError::into_inner);
        recent.push_front((key, rows));
        let mut held = 0;
        let keep = recent.iter().take(REMEMBERED_SEARCHES).take_while(|(_, rows)| {
            held += rows.len();
            held <= REMEMBERED_ROWS
        });
        let keep = keep.count().max(1);
        recent.truncate(keep);
    }
}

/// The matches of a search that finds nothing.
pub(crate) fn find_nothing() -> Matches {
    Matches::All(0)
}
