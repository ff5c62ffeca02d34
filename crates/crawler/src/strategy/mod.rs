//! How a resource type is enumerated: the nine strategies of the crawling notes, and two for the data of
//! persons, as values. A strategy turns a type into
//! partitions, some of which can be split into smaller ones; all of it is pure, the asking is the engine's.

mod bucket;
mod order;

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

pub use bucket::{Bucket, IMPOSSIBLE};
pub(crate) use order::levels;

/// How one resource type is enumerated.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum Strategy {
    /// One search, followed to its end.
    #[default]
    Bare,
    /// One search for each value of a list.
    Values {
        /// The search parameter.
        param: String,
        /// Its values.
        list: Vec<String>,
    },
    /// One search for each beginning of a name, split while it finds too much.
    Prefix {
        /// The search parameter, a string: `family`, `name`.
        param: String,
        /// The characters to go on with.
        alphabet: String,
        /// Matches from which a search is split.
        max_bucket: u64,
    },
    /// Half-open windows of time, split in halves while they hold too much.
    DateRange {
        /// The search parameter, a date: `_lastUpdated`.
        param: String,
        /// What lies before is one window.
        start: DateTime<Utc>,
        /// What lies from here on is one window.
        end: DateTime<Utc>,
        /// Matches from which a window is split.
        max_bucket: u64,
    },
    /// Searches by references to resources that another type's crawl has brought.
    IdChain {
        /// The search parameter, a reference: `practitioner`.
        param: String,
        /// The type whose ids are asked for.
        from: String,
        /// Ids in one search, as a list of alternatives.
        batch: usize,
        /// Whether ids are written as references: `Practitioner/1`.
        as_reference: bool,
    },
    /// Reads of what the resources of the other types refer to, until nothing new is named.
    IdRead,
    /// One search that brings resources of other types along.
    Include {
        /// Values of `_include`.
        include: Vec<String>,
        /// Values of `_revinclude`.
        rev_include: Vec<String>,
    },
    /// No search of its own: what the sweep of another type brings along.
    IncludedBy {
        /// The type that is swept.
        from: String,
    },
    /// A Bulk Data export, one for all types that are enumerated so.
    Bulk(Export),
    /// One search for each member whose data are asked for.
    Patient {
        /// The search parameter: `patient`, `beneficiary`; `_id` for the members themselves.
        param: String,
        /// Ids of the members.
        members: Vec<String>,
    },
    /// `Patient/[id]/$everything` of each member, which brings other types along.
    Everything {
        /// Ids of the members.
        members: Vec<String>,
    },
}

/// How a Bulk Data export is asked for (HL7 Bulk Data Access IG, export).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Export {
    /// The operation relative to the base URL: `$export`, `Patient/$export`, `Group/1/$export`.
    pub operation: String,
}

impl Default for Export {
    fn default() -> Self {
        Self { operation: "$export".into() }
    }
}

/// How the pages of a search follow each other.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum Paging {
    /// By the server's next links.
    #[default]
    Links,
    /// By a parameter that counts up, next links or not.
    Offset(Offset),
    /// There is only a first page; where it is full, the search has to be made smaller.
    FirstPageOnly,
}

/// A parameter that counts up.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Offset {
    /// Its name: `_offset`, `_skip`, `_getpagesoffset`, `page`.
    pub param: String,
    /// Its value on the first page.
    pub first: u64,
    /// What it counts.
    pub unit: OffsetUnit,
    /// The largest value that the server takes; what lies behind it can't be had by this search.
    pub limit: Option<u64>,
}

/// What an offset counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum OffsetUnit {
    /// Matches received so far.
    Matches,
    /// Matches asked for so far.
    Count,
    /// Pages.
    Pages,
}

/// What the partitions of a strategy hold together, by construction.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Closure {
    /// Everything that the server has of the type.
    #[default]
    Closed,
    /// Everything that hangs on what another type's crawl has brought.
    Bounded,
    /// What the chosen values find; the rest is not asked for.
    Open,
}

impl Strategy {
    /// Its name in job files and reports.
    #[must_use]
    pub fn name(&self, paging: &Paging) -> &'static str {
        match self {
            Self::Bare if matches!(paging, Paging::Offset(_)) => "offset",
            Self::Bare => "bare",
            Self::Values { .. } => "values",
            Self::Prefix { .. } => "prefix",
            Self::DateRange { .. } => "daterange",
            Self::IdChain { .. } => "id-chain",
            Self::IdRead => "id-read",
            Self::Include { .. } | Self::IncludedBy { .. } => "include",
            Self::Bulk(_) => "bulk",
            Self::Patient { .. } => "patient",
            Self::Everything { .. } => "everything",
        }
    }

    /// What its partitions hold together.
    #[must_use]
    pub fn closure(&self) -> Closure {
        match self {
            Self::Bare | Self::DateRange { .. } | Self::Include { .. } | Self::Bulk(_) => Closure::Closed,
            // Everything of those who are asked for: nobody else's data are wanted.
            Self::Patient { .. } | Self::Everything { .. } => Closure::Closed,
            Self::Values { .. } | Self::Prefix { .. } => Closure::Open,
            Self::IdChain { .. } | Self::IdRead | Self::IncludedBy { .. } => Closure::Bounded,
        }
    }

    /// The type that has to be crawled before.
    #[must_use]
    pub fn source(&self) -> Option<&str> {
        match self {
            Self::IdChain { from, .. } | Self::IncludedBy { from } => Some(from),
            _ => None,
        }
    }

    /// The partitions to begin with.
    #[must_use]
    pub fn roots(&self) -> Vec<Bucket> {
        match self {
            Self::Bare | Self::Include { .. } => vec![Bucket::All],
            Self::Values { list, .. } => list.iter().map(|value| Bucket::Value { value: value.clone() }).collect(),
            Self::Prefix { alphabet, .. } => bucket::prefixes("", alphabet),
            Self::DateRange { start, end, .. } => bucket::windows(*start, *end),
            Self::IdChain { .. } => vec![Bucket::Chain { after: None }],
            Self::IdRead => vec![Bucket::Reads],
            Self::IncludedBy { .. } => Vec::new(),
            Self::Bulk(_) => Vec::new(),
            Self::Patient { members, .. } | Self::Everything { members } => {
                let of = |(number, id): (usize, &String)| Bucket::Member { number, id: id.clone() };
                members.iter().enumerate().map(of).collect()
            }
        }
    }

    /// Searches that must find nothing if the server heeds the strategy's parameter: many ignore parameters that they
    /// do not know, and would give everything for each partition (habit 24 of the crawling notes). Some heed one of two
    /// bounds only: a second long ago and one far ahead tell both kinds.
    #[must_use]
    pub fn controls(&self) -> Vec<Vec<(String, String)>> {
        match self {
            Self::Values { param, .. } | Self::Prefix { param, .. } => {
                vec![vec![(param.clone(), IMPOSSIBLE.to_owned())]]
            }
            Self::IdChain { param, from, as_reference, .. } => {
                let prefix = if *as_reference { format!("{from}/") } else { String::new() };
                vec![vec![(param.clone(), format!("{prefix}{IMPOSSIBLE}"))]]
            }
            Self::DateRange { .. } => bucket::seconds_without_rows().iter().map(|window| window.params(self)).collect(),
            _ => Vec::new(),
        }
    }

    /// Matches from which a partition is split, where partitions can be split.
    #[must_use]
    pub fn max_bucket(&self) -> Option<u64> {
        match self {
            Self::Prefix { max_bucket, .. } | Self::DateRange { max_bucket, .. } => Some(*max_bucket),
            _ => None,
        }
    }
}
