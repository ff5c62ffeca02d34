//! A secondary index: which rows carry a term. Sixteen bytes a posting, sorted by the term's hash.

use std::hash::{DefaultHasher, Hash, Hasher};

use super::parameters::Parameter;
use super::terms::terms;
use crate::world::table::ResourceTable;

/// Rows by the hash of a term. Candidates only: the filter itself has the last word.
#[derive(Debug)]
pub(crate) struct TermIndex {
    postings: Vec<(u64, u32)>,
}

impl TermIndex {
    pub(crate) fn build(table: &ResourceTable, parameter: &Parameter) -> Self {
        let mut postings = Vec::new();
        for row in 0..u32::try_from(table.len()).unwrap_or(u32::MAX) {
            terms(table.text(row), parameter, &mut |term| postings.push((hash(term), row)));
        }
        postings.sort_unstable();
        postings.dedup();
        Self { postings }
    }

    /// Adds the rows that may carry the term.
    pub(crate) fn candidates(&self, term: &str, rows: &mut Vec<u32>) {
        let wanted = hash(term);
        let from = self.postings.partition_point(|(hash, _)| *hash < wanted);
        let hits = self.postings.iter().skip(from).take_while(|(hash, _)| *hash == wanted);
        rows.extend(hits.map(|(_, row)| *row));
    }
}

fn hash(term: &str) -> u64 {
    // Fixed keys: the same on every run.
    let mut hasher = DefaultHasher::new();
    term.hash(&mut hasher);
    hasher.finish()
}
